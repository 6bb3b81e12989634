/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Relations between directives. Runs for -t, at a start, and before a running server gives up its old configuration: a
 * problem found here never ends a server that works.
 */
#include <apr_strings.h>

#include <ap_mpm.h>
#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "check.h"
#include "conftree.h"
#include "vapi_lookup.h"

APLOG_USE_MODULE(vapi_transfer);

void vapi_check_report(vapi_check_t *check, int level, server_rec *s, vapi_place_t place, const char *text)
{
    ap_log_error(APLOG_MARK, level, 0, s ? s : check->main, "vapi: %s:%u: %s", place.file ? place.file : "(no file)", place.line,
                 text);
    if (level <= APLOG_ERR) {
        check->errors++;
    }
}

/* The configuration is read twice before the first start is over. */
static int is_restart(void)
{
    return ap_state_query(AP_SQ_CONFIG_GEN) > 1;
}

void vapi_check_report_data(vapi_check_t *check, server_rec *s, vapi_place_t place, const char *text)
{
    vapi_check_report(check, APLOG_ERR, s, place,
                      is_restart() ? apr_pstrcat(check->ptemp, text, "; no call gets this value until the file is mended", NULL) : text);
    check->errors -= is_restart();
}

const char *vapi_check_nearest(apr_hash_t *known, const char *name, apr_pool_t *p)
{
    const char **names = apr_pcalloc(p, (apr_hash_count(known) + 1) * sizeof(*names)), *nearest;
    apr_hash_index_t *hi;
    int i = 0;

    for (hi = apr_hash_first(p, known); hi; hi = apr_hash_next(hi)) {
        names[i++] = apr_hash_this_key(hi);
    }
    nearest = vapi_word_nearest(name, names);
    return nearest ? apr_psprintf(p, "; did you mean '%s'?", nearest) : "";
}

/* ---- virtual hosts ---- */

/* What tells this host's calls from another's in the state store: the same after a restart and on all nodes, whatever their addresses.
 * Virtual hosts of one ServerName (for HTTP and HTTPS) share what is remembered. */
static void name_host(server_rec *s, apr_pool_t *pconf)
{
    char *name = apr_pstrdup(pconf, s->server_hostname ? s->server_hostname : "");

    ap_str_tolower(name);
    vapi_host_conf(s)->id = name;
}

/* An inherited lookup has its number from the main server. */
static void number_lookups(vapi_check_t *check, server_rec *s)
{
    apr_hash_t *inherited = s == check->main ? NULL : vapi_host_conf(check->main)->names.lookups;
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(check->ptemp, vapi_host_conf(s)->names.lookups); hi; hi = apr_hash_next(hi)) {
        vapi_lookup_t *lookup = apr_hash_this_val(hi);

        if (!inherited || apr_hash_get(inherited, vapi_lookup_name(lookup), APR_HASH_KEY_STRING) != lookup) {
            vapi_lookup_set_number(lookup, vapi_global()->lookups_number++);
        }
    }
}

static void check_host(vapi_check_t *check, server_rec *s)
{
    const vapi_names_t *names = &vapi_host_conf(s)->names;
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(check->ptemp, names->destinations); hi; hi = apr_hash_next(hi)) {
        const vapi_destination_t *d = apr_hash_this_val(hi);
        const char *plan = vapi_destination_plan(d);

        if (plan && !apr_hash_get(names->plans, plan, APR_HASH_KEY_STRING)) {
            vapi_check_report(check, APLOG_ERR, s, vapi_destination_place(d),
                   apr_psprintf(check->ptemp, "VapiDestination %s: there is no VapiTransferPlan '%s'%s", vapi_destination_name(d),
                                plan, vapi_check_nearest(names->plans, plan, check->ptemp)));
        }
        if (vapi_destination_is_runtime(d) && !names->allow) {
            vapi_check_report(check, APLOG_WARNING, s, vapi_destination_place(d),
                   apr_psprintf(check->ptemp,
                                "VapiDestination %s: what it dials is known only at run time, and no VapiAllow says what that "
                                "may be: it is never dialled",
                                vapi_destination_name(d)));
        }
    }
}

/* ---- sections ---- */

static void check_credentials(vapi_check_t *check, const vapi_endpoint_t *e)
{
    apr_hash_t *known = vapi_host_conf(e->server)->credentials;
    int i;

    for (i = 0; e->authenticate && i < e->authenticate->nelts; i++) {
        const char *name = APR_ARRAY_IDX(e->authenticate, i, const char *);
        if (!apr_hash_get(known, name, APR_HASH_KEY_STRING)) {
            vapi_check_report(check, APLOG_ERR, e->server, e->place,
                   apr_psprintf(check->ptemp, "VapiAuthenticate: there is no VapiCredential '%s'%s", name,
                                vapi_check_nearest(known, name, check->ptemp)));
        }
    }
}

static void check_route(vapi_check_t *check, const vapi_endpoint_t *e, const vapi_route_t *route)
{
    const vapi_names_t *names = &vapi_host_conf(e->server)->names;
    apr_hash_t *known = route->pool ? names->pools : names->destinations;
    const char *name = route->pool ? route->pool : route->target;

    if (!route->is_none && !route->map && !apr_hash_get(known, name, APR_HASH_KEY_STRING)) {
        vapi_check_report(check, APLOG_ERR, e->server, route->place,
               apr_psprintf(check->ptemp, "VapiRoute: there is no %s '%s'%s", route->pool ? "VapiPool" : "VapiDestination", name,
                            vapi_check_nearest(known, name, check->ptemp)));
    }
    vapi_check_demands(check, e, route);
    if (route->plan && !apr_hash_get(names->plans, route->plan, APR_HASH_KEY_STRING)) {
        vapi_check_report(check, APLOG_ERR, e->server, route->place,
               apr_psprintf(check->ptemp, "VapiRoute %s: there is no VapiTransferPlan '%s'%s", route->label, route->plan,
                            vapi_check_nearest(names->plans, route->plan, check->ptemp)));
    }
}

static int target_fits(const vapi_names_t *names, const char *target, vapi_form form)
{
    const char *name = vapi_names_pool(target);
    const vapi_pool_t *pool = name ? apr_hash_get(names->pools, name, APR_HASH_KEY_STRING) : NULL;
    const vapi_destination_t *d = name ? NULL : apr_hash_get(names->destinations, target, APR_HASH_KEY_STRING);

    return (pool && vapi_pool_fits(pool, form))
           || (d && vapi_destination_fits(d, form) && (!vapi_destination_is_runtime(d) || names->allow));
}

typedef struct fitting_t {
    const vapi_names_t *names;
    vapi_form form;
} fitting_t;

static int value_fits(void *baton, const char *value, unsigned int line)
{
    const fitting_t *fitting = baton;

    (void)line;
    return target_fits(fitting->names, value, fitting->form);
}

/* May this route ever be available in that form? */
static int can_be_available(const vapi_endpoint_t *e, const vapi_route_t *route, vapi_form form, apr_pool_t *ptemp)
{
    const vapi_names_t *names = &vapi_host_conf(e->server)->names;
    const vapi_map_t *map = route->map ? apr_hash_get(names->maps, route->map, APR_HASH_KEY_STRING) : NULL;
    fitting_t fitting = { names, form };

    if (route->is_none) {
        return 1;
    }
    return route->map ? map && vapi_map_values(map, value_fits, &fitting, ptemp) : target_fits(names, route->target, form);
}

/* What a table without a last route that is always there leaves open. */
static const char *no_last_resort(const apr_array_header_t *routes, apr_pool_t *p)
{
    const vapi_route_t *last = APR_ARRAY_IDX(routes, routes->nelts - 1, vapi_route_t *);

    if (!last->when && last->pool) {
        return apr_psprintf(p, "VapiRoute: the table has no last route without an expression to a destination or none: everybody of %s "
                               "may be busy", last->target);
    }
    return "VapiRoute: the table has no last route without an expression: a call may match none of them";
}

static void check_table(vapi_check_t *check, const vapi_endpoint_t *e)
{
    const vapi_route_t *always = NULL;
    int i, available = 0;

    for (i = 0; i < e->routes->nelts; i++) {
        const vapi_route_t *route = APR_ARRAY_IDX(e->routes, i, vapi_route_t *);
        int form;

        check_route(check, e, route);
        for (form = VAPI_FORM_CONTROL; form <= VAPI_FORM_ASSISTANT_REQUEST; form++) {
            /* where tools are named it is tool-calls that come */
            available |= (form == VAPI_FORM_CONTROL || !e->tools) && can_be_available(e, route, (vapi_form)form, check->ptemp);
        }
        if (always) {
            vapi_check_report(check, APLOG_WARNING, e->server, route->place,
                   apr_psprintf(check->ptemp, "VapiRoute %s: never reached%s: the route '%s' before it has no expression",
                                route->label,
                                always->is_none ? "" : " unless Vapi refuses the transfer or its target is unavailable",
                                always->label));
            continue;
        }
        if (!route->when && !route->map && !route->pool) {    /* a map may have no entry for the call, a pool nobody who is free */
            always = route;
        }
    }
    if (e->routes->nelts && !always) {
        vapi_check_report(check, APLOG_WARNING, e->server, e->place, no_last_resort(e->routes, check->ptemp));
    }
    if (e->routes->nelts && !available) {
        vapi_check_report(check, APLOG_WARNING, e->server, e->place, "VapiRoute: every target of the table is unavailable for tool calls");
    }
}

static void check_outbound(vapi_check_t *check, const vapi_endpoint_t *e)
{
    int daemons = 0, threads = 0;

    if (!e->limits || !e->limits->outbound) {
        return;
    }
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &daemons);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    vapi_check_report(check, APLOG_NOTICE, e->server, e->place,
           apr_psprintf(check->ptemp, "VapiLimit: outbound=%d of MaxRequestWorkers %d may wait for another server at once",
                        e->limits->outbound, daemons * (threads > 0 ? threads : 1)));
}

static void number_routes(const vapi_endpoint_t *section)
{
    int i;

    for (i = 0; section->routes && i < section->routes->nelts; i++) {
        vapi_route_t *route = APR_ARRAY_IDX(section->routes, i, vapi_route_t *);

        route->number = vapi_global()->routes_number++;
        route->path = section->section ? section->section : "/";
    }
}

static void check_section(vapi_check_t *check, const vapi_endpoint_t *section)
{
    const vapi_endpoint_t *e;

    if (!section->server) {
        return;    /* none of our directives stands in it */
    }
    number_routes(section);
    check_credentials(check, section);
    e = vapi_endpoint_effective(section, check->ptemp);
    if (section->routes) {
        check_table(check, e);
    }
    check_outbound(check, section);
    vapi_check_section_names(check, section, e);
    vapi_check_actions(check, section, e);
}

/* ---- endpoints without VapiAuthenticate ---- */

/* Might this section too apply to what `path` serves? Plain prefixes can be told; patterns and directories cannot, and count as yes.
 * Like httpd, a prefix ends where a segment of the path does. */
static int may_cover(const ap_directive_t *section, const char *path)
{
    const char *args = section->args;
    apr_size_t len;

    if (strcasecmp(section->directive, "<Location") != 0 || *args == '~' || strpbrk(args, "*?[")) {
        return 1;
    }
    args += *args == '"';
    len = strcspn(args, "\">");
    path += *path == '"';
    return strncmp(args, path, len) == 0 && (!len || args[len - 1] == '/' || !path[len] || strchr("/\">", path[len]));
}

/* Is there a section at this level that covers the path and says who may speak to it? */
static int covered(const ap_directive_t *level, const char *path)
{
    for (; level; level = level->next) {
        if (strcasecmp(level->directive, "VapiAuthenticate") == 0) {
            return 1;
        }
        if (level->first_child && !vapi_tree_is_section(level, "<VirtualHost") && may_cover(level, path)
            && vapi_tree_has(level->first_child, "VapiAuthenticate")) {
            return 1;
        }
    }
    return 0;
}

/* A SetHandler vapi-transfer: who may speak to it must stand in its section, its virtual host or the server. */
static void check_handler(vapi_check_t *check, const ap_directive_t *dir, const ap_directive_t *host)
{
    const ap_directive_t *section = dir->parent && dir->parent != host ? dir->parent : NULL;
    const char *path = section ? section->args : "/";
    vapi_place_t place = { dir->filename, (unsigned int)dir->line_num, NULL, NULL };

    if ((section && vapi_tree_has(section->first_child, "VapiAuthenticate")) || covered(ap_conftree, path)
        || (host && covered(host->first_child, path))) {
        return;
    }
    vapi_check_report(check, APLOG_ERR, NULL, place,
           apr_psprintf(check->ptemp,
                        "SetHandler vapi-transfer%s%s: VapiAuthenticate is missing: say who may move calls here "
                        "(the NAME of a VapiCredential, apache, or none)",
                        section ? " in " : "",
                        section ? apr_pstrcat(check->ptemp, section->directive, " ", section->args, NULL) : ""));
}

/* Two levels deep: sections stand in virtual hosts or in the server; <If> and the like inside them are seen too. */
static void check_handlers(vapi_check_t *check, const ap_directive_t *level, const ap_directive_t *host)
{
    const ap_directive_t *dir, *child;

    for (dir = level; dir; dir = dir->next) {
        if (vapi_tree_is_handler(dir)) {
            check_handler(check, dir, host);
        }
        if (vapi_tree_is_section(dir, "<VirtualHost")) {
            continue;
        }
        for (child = dir->first_child; child; child = child->next) {
            if (vapi_tree_is_handler(child)) {
                check_handler(check, child, host);
            }
        }
    }
}

/* ---- consoles that anybody may use ---- */

/* Somewhere inside, also in <RequireAny> and the like. As deep as sections are written in each other. */
static int requires(const ap_directive_t *level) /* NOLINT(misc-no-recursion) */
{
    for (; level; level = level->next) {
        if (strcasecmp(level->directive, "Require") == 0 || (level->first_child && requires(level->first_child))) {
            return 1;
        }
    }
    return 0;
}

static void check_consoles(vapi_check_t *check, const ap_directive_t *level) /* NOLINT(misc-no-recursion) */
{
    const ap_directive_t *dir;

    for (dir = level; dir; dir = dir->next) {
        if (dir->first_child) {
            check_consoles(check, dir->first_child);
        }
        if (strcasecmp(dir->directive, "VapiConsole") == 0 && !requires(level)) {
            vapi_place_t place = { dir->filename, (unsigned int)dir->line_num, NULL, NULL };
            vapi_check_report(check, APLOG_WARNING, NULL, place,
                              "VapiConsole: no Require stands beside it: whoever reaches this URL may use the console");
        }
    }
}

int vapi_config_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    vapi_global_t *global = vapi_global();
    vapi_check_t check = { s, ptemp, 0 };
    const ap_directive_t *dir;
    server_rec *host;
    int i;

    (void)plog;
    if (!global->provider) {
        global->provider = vapi_state_provider("shm", ptemp);
    }
    /* made before pre_config began the list */
    APR_ARRAY_PUSH(global->endpoints, vapi_endpoint_t *) = vapi_endpoint_of(s->lookup_defaults);
    for (host = s; host; host = host->next) {
        name_host(host, pconf);
        check_host(&check, host);
        vapi_check_host_names(&check, host, pconf);
        vapi_check_pools(&check, host, pconf);
        number_lookups(&check, host);
    }
    for (i = 0; i < global->endpoints->nelts; i++) {
        check_section(&check, APR_ARRAY_IDX(global->endpoints, i, vapi_endpoint_t *));
    }
    vapi_check_cycles(&check);
    vapi_check_spool(&check);
    vapi_check_cluster(&check);
    check_consoles(&check, ap_conftree);
    check_handlers(&check, ap_conftree, NULL);
    for (dir = ap_conftree; dir; dir = dir->next) {
        if (vapi_tree_is_section(dir, "<VirtualHost")) {
            check_handlers(&check, dir->first_child, dir);
        }
    }
    return check.errors ? HTTP_INTERNAL_SERVER_ERROR : OK;
}
