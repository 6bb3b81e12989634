/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What is named must be there: in expressions and texts, in maps, in actions. And nothing may ask for itself. */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "check.h"
#include "vapi_hours.h"

APLOG_USE_MODULE(vapi_transfer);

static vapi_place_t place_of(const vapi_reference_t *reference)
{
    vapi_place_t place = { reference->file, reference->line, NULL, NULL };
    return place;
}

/* Where a VapiHours stands: in this host, or in the server that it inherits from. */
static vapi_place_t place_of_hours(const vapi_check_t *check, const server_rec *s, const char *name)
{
    static const vapi_place_t nowhere = { NULL, 0, NULL, NULL };
    const char *key = apr_pstrcat(check->ptemp, "hours ", name, NULL);
    const vapi_place_t *place = apr_hash_get(vapi_host_conf(s)->places, key, APR_HASH_KEY_STRING);

    if (!place) {
        place = apr_hash_get(vapi_host_conf(check->main)->places, key, APR_HASH_KEY_STRING);
    }
    return place ? *place : nowhere;
}

/* ---- names ---- */

static const struct {
    const char *directive, *word;
} classes[] = { { "VapiLookup", "lookup" }, { "VapiSet", "var" }, { "VapiHours", "hours" }, { "VapiMap", "map" }, { "VapiSignal", "signal" },
              { "VapiPool", "pool" } };

static void check_reference(vapi_check_t *check, server_rec *s, const vapi_reference_t *reference, apr_hash_t *known)
{
    if (!apr_hash_get(known, reference->name, APR_HASH_KEY_STRING)) {
        vapi_check_report(check, APLOG_ERR, s, place_of(reference),
                          apr_psprintf(check->ptemp, "%s('%s'): there is no %s '%s'%s", classes[reference->class].word, reference->name,
                                       classes[reference->class].directive, reference->name,
                                       vapi_check_nearest(known, reference->name, check->ptemp)));
    }
}

static void check_references(vapi_check_t *check, server_rec *s, const apr_array_header_t *references, apr_hash_t *sets)
{
    const vapi_names_t *names = &vapi_host_conf(s)->names;
    apr_hash_t *const known[] = { names->lookups, sets, names->hours, names->maps, names->signals, names->pools };
    int i;

    for (i = 0; i < references->nelts; i++) {
        const vapi_reference_t *reference = &APR_ARRAY_IDX(references, i, vapi_reference_t);
        check_reference(check, s, reference, known[reference->class]);
    }
}

/* A text outside of sections may name a VapiSet of any section that might use it. */
static apr_hash_t *all_sets(apr_pool_t *p)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    apr_hash_t *sets = apr_hash_make(p);
    int i;

    for (i = 0; i < all->nelts; i++) {
        const vapi_endpoint_t *e = APR_ARRAY_IDX(all, i, vapi_endpoint_t *);
        if (e->sets) {
            sets = apr_hash_overlay(p, sets, e->sets);
        }
    }
    return sets;
}

/* ---- maps of zones ---- */

typedef struct zones_t {
    vapi_check_t *check;
    server_rec *host;
    vapi_hours_t *hours;
    const vapi_map_t *map;
    apr_pool_t *pconf;
} zones_t;

/* Loads the zone that a value names, so that no call has to. */
static int see_zone(void *baton, const char *value, unsigned int line)
{
    zones_t *zones = baton;
    apr_hash_t *known = vapi_host_conf(zones->host)->names.zones;
    vapi_zone_t *zone;
    const char *error;

    if (apr_hash_get(known, value, APR_HASH_KEY_STRING)) {
        return 0;
    }
    if ((error = vapi_zone_load(&zone, value, zones->pconf)) != NULL) {
        vapi_check_report_data(zones->check, zones->host,
                          place_of_hours(zones->check, zones->host, vapi_hours_name(zones->hours)),
                          apr_psprintf(zones->check->ptemp, "VapiHours %s: VapiMap %s%s: %s", vapi_hours_name(zones->hours),
                                       vapi_map_name(zones->map),
                                       line ? apr_psprintf(zones->check->ptemp, ", line %u", line) : ", default=", error));
        return 1;
    }
    apr_hash_set(known, apr_pstrdup(zones->pconf, value), APR_HASH_KEY_STRING, zone);
    return 0;
}

static void check_hours(vapi_check_t *check, server_rec *s, vapi_hours_t *hours, apr_pool_t *pconf)
{
    const vapi_names_t *names = &vapi_host_conf(s)->names;
    const char *map = vapi_hours_zone_map(hours);
    zones_t zones = { check, s, hours, map ? apr_hash_get(names->maps, map, APR_HASH_KEY_STRING) : NULL, pconf };

    if (!map) {
        return;
    }
    if (!zones.map) {
        vapi_check_report(check, APLOG_ERR, s, place_of_hours(check, s, vapi_hours_name(hours)),
                          apr_psprintf(check->ptemp, "VapiHours %s: there is no VapiMap '%s'%s", vapi_hours_name(hours), map,
                                       vapi_check_nearest(names->maps, map, check->ptemp)));
        return;
    }
    vapi_map_values(zones.map, see_zone, &zones, check->ptemp);
}

void vapi_check_host_names(vapi_check_t *check, server_rec *s, apr_pool_t *pconf)
{
    const vapi_host_conf_t *host = vapi_host_conf(s);
    apr_hash_index_t *hi;

    check_references(check, s, host->references, all_sets(check->ptemp));
    for (hi = apr_hash_first(check->ptemp, host->names.hours); hi; hi = apr_hash_next(hi)) {
        check_hours(check, s, apr_hash_this_val(hi), pconf);
    }
}

/* ---- maps of targets ---- */

typedef struct targets_t {
    vapi_check_t *check;
    server_rec *host;
    const vapi_route_t *route;
} targets_t;

static int see_target(void *baton, const char *value, unsigned int line)
{
    const targets_t *targets = baton;
    apr_pool_t *p = targets->check->ptemp;
    const vapi_names_t *names = &vapi_host_conf(targets->host)->names;
    const char *pool = vapi_names_pool(value), *name = pool ? pool : value;
    apr_hash_t *known = pool ? names->pools : names->destinations;

    if (apr_hash_get(known, name, APR_HASH_KEY_STRING)) {
        return 0;
    }
    vapi_check_report_data(targets->check, targets->host, targets->route->place,
                      apr_psprintf(p, "VapiRoute %s: VapiMap %s%s: there is no %s '%s'%s", targets->route->label,
                                   targets->route->map, line ? apr_psprintf(p, ", line %u", line) : ", default=",
                                   pool ? "VapiPool" : "VapiDestination", name, vapi_check_nearest(known, name, p)));
    return 1;
}

static const vapi_map_t *map_of(const server_rec *s, const vapi_route_t *route)
{
    return apr_hash_get(vapi_host_conf(s)->names.maps, route->map, APR_HASH_KEY_STRING);
}

/* A section of the server is one of each virtual host, too, which may have another map under that name. */
static void check_mapped_targets(vapi_check_t *check, const vapi_endpoint_t *e)
{
    const vapi_map_t *map;
    server_rec *s;
    int i;

    for (i = 0; e->routes && i < e->routes->nelts; i++) {
        targets_t targets = { check, e->server, APR_ARRAY_IDX(e->routes, i, vapi_route_t *) };

        if (!targets.route->map) {
            continue;
        }
        for (s = e->server; s; s = e->server == check->main ? s->next : NULL) {
            map = map_of(s, targets.route);
            if (map && (s == e->server || map != map_of(e->server, targets.route))) {
                targets.host = s;
                vapi_map_values(map, see_target, &targets, check->ptemp);
            }
        }
    }
}

/* Might the outer section too apply to what the inner one serves? Two paths can tell; a pattern counts as yes. Like httpd, a prefix ends
 * where a segment of the path does. */
static int may_cover(const char *outer, const char *inner)
{
    static const char of_patterns[] = "*?[^$(|";
    apr_size_t len = strlen(outer);

    return strpbrk(outer, of_patterns) || strpbrk(inner, of_patterns)
           || (strncmp(outer, inner, len) == 0 && (!len || outer[len - 1] == '/' || !inner[len] || inner[len] == '/'));
}

/* Its own, its server's, and those of sections around it, with which httpd merges it at a request. */
static apr_hash_t *sets_within_reach(const vapi_check_t *check, const vapi_endpoint_t *section, const vapi_endpoint_t *e)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    apr_hash_t *sets = e->sets ? e->sets : apr_hash_make(check->ptemp);
    int i;

    for (i = 0; section->section && i < all->nelts; i++) {
        const vapi_endpoint_t *other = APR_ARRAY_IDX(all, i, vapi_endpoint_t *);
        if (other->sets && other->section && (other->server == section->server || other->server == check->main)
            && may_cover(other->section, section->section)) {
            sets = apr_hash_overlay(check->ptemp, sets, other->sets);
        }
    }
    return sets;
}

void vapi_check_section_names(vapi_check_t *check, const vapi_endpoint_t *section, const vapi_endpoint_t *e)
{
    check_references(check, section->server, section->references, sets_within_reach(check, section, e));
    check_mapped_targets(check, section);
}

/* ---- cycles ---- */

/** Who is on the way from the reference that is looked at, by owner. */
typedef struct walk_t {
    vapi_check_t *check;
    apr_array_header_t *references;    /* const vapi_reference_t *, those of one section and its server that have an owner */
    apr_hash_t *marks;
} walk_t;

static const char *owner_named(const vapi_reference_t *reference, apr_pool_t *p)
{
    return apr_pstrcat(p, classes[reference->class].word, " ", reference->name, NULL);
}

/* Gives the reference that closes a cycle, NULL where there is none. As deep as sets and lookups of the administrator refer to each other. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static const vapi_reference_t *follow(walk_t *walk, const char *owner)
{
    static const char on_the_way[] = "1", done[] = "2";
    const vapi_reference_t *found = NULL;
    int i;

    apr_hash_set(walk->marks, owner, APR_HASH_KEY_STRING, on_the_way);
    for (i = 0; i < walk->references->nelts && !found; i++) {
        const vapi_reference_t *reference = APR_ARRAY_IDX(walk->references, i, const vapi_reference_t *);
        const char *to = owner_named(reference, walk->check->ptemp), *mark;

        if (strcmp(reference->owner, owner) != 0) {
            continue;
        }
        mark = apr_hash_get(walk->marks, to, APR_HASH_KEY_STRING);
        found = mark == on_the_way ? reference : mark ? NULL : follow(walk, to);
    }
    apr_hash_set(walk->marks, owner, APR_HASH_KEY_STRING, done);
    return found;
}

/* @param sets  of the section: what an outer VapiSet of such a name refers to does not count */
static void add_owned(walk_t *walk, const apr_array_header_t *references, apr_hash_t *sets)
{
    int i;

    for (i = 0; i < references->nelts; i++) {
        const vapi_reference_t *reference = &APR_ARRAY_IDX(references, i, vapi_reference_t);
        if (!reference->owner || (reference->class != VAPI_NAME_LOOKUP && reference->class != VAPI_NAME_SET)
            || (sets && strncmp(reference->owner, "var ", 4) == 0
                && apr_hash_get(sets, reference->owner + 4, APR_HASH_KEY_STRING))) {
            continue;
        }
        APR_ARRAY_PUSH(walk->references, const vapi_reference_t *) = reference;
    }
}

static int find_cycle(walk_t *walk)
{
    const vapi_reference_t *found = NULL;
    int i;

    for (i = 0; i < walk->references->nelts && !found; i++) {
        const char *owner = APR_ARRAY_IDX(walk->references, i, const vapi_reference_t *)->owner;
        found = apr_hash_get(walk->marks, owner, APR_HASH_KEY_STRING) ? NULL : follow(walk, owner);
    }
    if (found) {
        vapi_check_report(walk->check, APLOG_ERR, NULL, place_of(found),
                          apr_psprintf(walk->check->ptemp, "%s('%s') is needed to make itself: a cycle", classes[found->class].word,
                                       found->name));
    }
    return found != NULL;
}

/* The outermost section of a server holds what stands outside of all others; its references are the server's. */
static int has_cycle(vapi_check_t *check, server_rec *s, const vapi_endpoint_t *section)
{
    walk_t walk = { check, apr_array_make(check->ptemp, 8, sizeof(const vapi_reference_t *)), apr_hash_make(check->ptemp) };
    apr_hash_t *sets = section ? section->sets : NULL;

    add_owned(&walk, vapi_host_conf(check->main)->references, sets);
    if (s != check->main) {
        add_owned(&walk, vapi_host_conf(s)->references, sets);
    }
    if (section) {
        add_owned(&walk, section->references, NULL);
    }
    return find_cycle(&walk);
}

void vapi_check_cycles(vapi_check_t *check)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    server_rec *s;
    int i, found = 0;

    for (s = check->main; s && !found; s = s->next) {
        found = has_cycle(check, s, NULL);
    }
    for (i = 0; i < all->nelts && !found; i++) {
        const vapi_endpoint_t *section = APR_ARRAY_IDX(all, i, vapi_endpoint_t *);
        found = section->server && section->section && has_cycle(check, section->server, section);
    }
}

/* ---- actions ---- */

/* In a section with a table of its own, route= must name one of it; outside of sections it may be meant for some table only. */
static void check_labels(vapi_check_t *check, const vapi_endpoint_t *e, const vapi_action_t *action)
{
    const apr_array_header_t *labels = vapi_action_routes(action), *routes = vapi_endpoint_routes(e);
    apr_hash_t *known = apr_hash_make(check->ptemp);
    int i;

    for (i = 0; i < routes->nelts; i++) {
        const char *label = APR_ARRAY_IDX(routes, i, vapi_route_t *)->label;
        apr_hash_set(known, label, APR_HASH_KEY_STRING, label);
    }
    for (i = 0; labels && i < labels->nelts; i++) {
        const char *label = APR_ARRAY_IDX(labels, i, const char *);
        if (!vapi_route_has_label(routes, label)) {
            vapi_check_report(check, APLOG_ERR, e->server, vapi_action_place(action),
                              apr_psprintf(check->ptemp, "VapiAction %s: route=%s: no route of the table has this label%s",
                                           vapi_action_name(action), label, vapi_check_nearest(known, label, check->ptemp)));
        }
    }
}

/* May a failure of it leave the caller without any route? */
static int gates_last(const vapi_endpoint_t *e, const vapi_action_t *action)
{
    const apr_array_header_t *routes = vapi_endpoint_routes(e), *labels = vapi_action_routes(action);
    const vapi_route_t *last = routes->nelts ? APR_ARRAY_IDX(routes, routes->nelts - 1, vapi_route_t *) : NULL;
    int i;

    if (!last || !vapi_action_is_required(action) || last->is_none != (vapi_action_event(action) == VAPI_EVENT_BEFORE_ANSWER)) {
        return 0;
    }
    for (i = 0; labels && i < labels->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(labels, i, const char *), last->label) == 0) {
            return 1;
        }
    }
    return !labels;
}

void vapi_check_actions(vapi_check_t *check, const vapi_endpoint_t *section, const vapi_endpoint_t *e)
{
    const char *host = vapi_host_conf(section->server)->id;
    int i;

    for (i = 0; section->actions && i < section->actions->nelts; i++) {
        vapi_action_t *action = APR_ARRAY_IDX(section->actions, i, vapi_action_t *);
        const char *id = apr_pstrcat(section->actions->pool, host, "|", section->section ? section->section : "", "|",
                                     vapi_action_name(action), NULL);

        while (apr_hash_get(vapi_global()->actions, id, APR_HASH_KEY_STRING)) {
            id = apr_pstrcat(section->actions->pool, id, "+", NULL);    /* the same section is written twice */
        }
        vapi_action_set_id(action, id);
        apr_hash_set(vapi_global()->actions, id, APR_HASH_KEY_STRING, action);
        if (section->routes) {
            check_labels(check, e, action);
        }
    }
    for (i = 0; section->routes && e->actions && i < e->actions->nelts; i++) {
        const vapi_action_t *action = APR_ARRAY_IDX(e->actions, i, vapi_action_t *);
        if (gates_last(e, action)) {
            vapi_check_report(check, APLOG_WARNING, e->server, vapi_action_place(action),
                              apr_psprintf(check->ptemp,
                                           "VapiAction %s: is required, and gates the table's last route: when it fails, the caller "
                                           "may be left without any",
                                           vapi_action_name(action)));
        }
    }
}

void vapi_check_spool(vapi_check_t *check)
{
    const vapi_global_t *global = vapi_global();
    const vapi_action_t *lost = NULL;
    apr_hash_index_t *hi;
    const char *error;

    if (global->spool) {
        if ((error = vapi_spool_check(global->spool, check->ptemp)) != NULL) {
            vapi_check_report(check, APLOG_ERR, NULL, global->spool_place, apr_psprintf(check->ptemp, "VapiSpool: %s", error));
        }
        if (!ap_find_linked_module("mod_watchdog.c")) {
            vapi_check_report(check, APLOG_ERR, NULL, global->spool_place, "VapiSpool: needs mod_watchdog: load it");
        }
        return;
    }
    for (hi = apr_hash_first(check->ptemp, global->actions); hi; hi = apr_hash_next(hi)) {
        const vapi_action_t *action = apr_hash_this_val(hi);
        lost = vapi_action_is_required(action) ? lost : action;
    }
    if (lost) {
        vapi_check_report(check, APLOG_WARNING, NULL, vapi_action_place(lost),
                          apr_psprintf(check->ptemp,
                                       "VapiAction %s: there is no VapiSpool: actions are tried once, and lost when that fails or "
                                       "Apache dies",
                                       vapi_action_name(lost)));
    }
}
