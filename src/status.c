/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* GET .../status: what was counted since the last (re)start, who of the pools holds what, and what the administrator must know.
 * Words of the configuration and numbers: nothing of a caller. */
#include <stddef.h>
#include <stdlib.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <scoreboard.h>

#include "vapi_config.h"
#include "vapi_lookup.h"
#include "vapi_metrics.h"
#include "vapi_shared.h"
#include "vapi_text.h"
#include "vapi_version.h"

APLOG_USE_MODULE(vapi_transfer);

#define DIGITS 6    /* of a real number */

static json_t *number(apr_uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* The path of a section may be any bytes. Takes the value. */
static void set_named(json_t *object, const char *name, json_t *value, apr_pool_t *p)
{
    json_t *key = vapi_text_json(name, p);

    json_object_set_new(object, json_string_value(key), value);
    json_decref(key);
}

/* ---- what was counted ---- */

static json_t *outcomes_status(const vapi_metrics_t *metrics)
{
    json_t *outcomes = json_object();
    int i;

    for (i = 0; vapi_metrics_outcomes[i]; i++) {
        json_object_set_new(outcomes, vapi_metrics_outcomes[i], number(vapi_metrics_read_outcome(metrics, i)));
    }
    return outcomes;
}

static json_t *route_status(const vapi_metrics_t *metrics, const vapi_route_t *route, apr_pool_t *p)
{
    json_t *ended = json_object();
    apr_uint64_t taken, told = 0, n;
    int i;

    for (i = 0; vapi_metrics_endings[i]; i++) {
        n = vapi_metrics_read_ended(metrics, route->number, i);
        told += n;
        json_object_set_new(ended, vapi_metrics_endings[i], number(n));
    }
    /* read last: whoever is told of now was taken before. A report of a call from before the restart may still be one too many */
    taken = vapi_metrics_read_taken(metrics, route->number);
    json_object_set_new(ended, "unreported", number(taken > told && !route->is_none ? taken - told : 0));
    return json_pack("{s:o, s:o, s:o, s:o}", "label", vapi_text_json(route->label, p), "target", vapi_text_json(route->target, p),
                     "taken", number(taken), "ended", ended);
}

static void add_routes(json_t *paths, const vapi_metrics_t *metrics, const apr_array_header_t *table, apr_pool_t *p)
{
    int i;

    for (i = 0; i < table->nelts; i++) {
        const vapi_route_t *route = APR_ARRAY_IDX(table, i, const vapi_route_t *);
        json_t *path = vapi_text_json(route->path, p), *routes = json_object_get(paths, json_string_value(path));

        if (!routes) {
            routes = json_array();
            json_object_set_new(paths, json_string_value(path), routes);
        }
        json_array_append_new(routes, route_status(metrics, route, p));
        json_decref(path);
    }
}

/* Sections of the main server stand in every virtual host. */
static json_t *routes_status(const vapi_global_t *global, const server_rec *s, apr_pool_t *p)
{
    json_t *paths = json_object();
    int i;

    for (i = 0; i < global->endpoints->nelts; i++) {
        const vapi_endpoint_t *endpoint = APR_ARRAY_IDX(global->endpoints, i, const vapi_endpoint_t *);

        /* where none of our directives stands the record does not know its server */
        if (endpoint->routes && (endpoint->server == s || !endpoint->server->is_virtual)) {
            add_routes(paths, global->metrics, endpoint->routes, p);
        }
    }
    return paths;
}

/* To a hundredth. */
static json_t *milliseconds(double ms)
{
    return json_real((double)(apr_uint64_t)(ms * 100 + 0.5) / 100);
}

static json_t *control_status(const vapi_metrics_t *metrics)
{
    vapi_metrics_control_t control;

    vapi_metrics_read_control(metrics, &control);
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "count", number(control.count), "p50_ms", milliseconds(control.p50_ms),
                     "p90_ms", milliseconds(control.p90_ms), "p99_ms", milliseconds(control.p99_ms), "connections",
                     number(control.connections));
}

static json_t *lookups_status(const vapi_metrics_t *metrics, apr_hash_t *objects, apr_pool_t *p)
{
    static const char *const ends[VAPI_METRIC_LOOKUP_ENDS] = { "ok", "none", "error", "cached" };
    const apr_array_header_t *names = vapi_names_sorted(objects, p);
    json_t *lookups = json_object(), *lookup;
    int i, end;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        int of_lookup = vapi_lookup_number(apr_hash_get(objects, name, APR_HASH_KEY_STRING));

        lookup = json_object();
        for (end = 0; end < VAPI_METRIC_LOOKUP_ENDS; end++) {
            json_object_set_new(lookup, ends[end], number(vapi_metrics_read_lookup(metrics, of_lookup, (vapi_metric_lookup)end)));
        }
        set_named(lookups, name, lookup, p);
    }
    return lookups;
}

/* ---- who holds what ---- */

const char *const vapi_presence_words[] = { "available", "paused", "busy", NULL };

const char *vapi_presence_of(const vapi_seat_view_t *view)
{
    int is_resting = view->presence == VAPI_PRESENCE_AVAILABLE && view->rest > 0;    /* what somebody said outlives a rest */

    return vapi_presence_words[is_resting ? VAPI_PRESENCE_PAUSED : view->presence];
}

/* `view` NULL: nobody knows. */
static json_t *member_status(const vapi_member_t *member, const vapi_seat_view_t *view)
{
    return json_pack("{s:o, s:i, s:o, s:o}", "state", view ? json_string(vapi_presence_of(view)) : json_null(), "capacity",
                     member->capacity, "active", view ? json_integer(view->active) : json_null(), "served",
                     view ? number(view->served) : json_null());
}

/* All members of a pool are asked for at once: with a store elsewhere each asking is a way there and back. */
static json_t *pool_status(const vapi_global_t *global, const vapi_pool_t *pool, int *answered, apr_pool_t *p)
{
    int n = vapi_pool_size(pool), i, known;
    vapi_seat_t **seats = apr_palloc(p, ((apr_size_t)n + 1) * sizeof(vapi_seat_t *));
    vapi_seat_view_t *views = apr_pcalloc(p, ((apr_size_t)n + 1) * sizeof(*views));
    json_t *members = json_object();

    for (i = 0; i < n; i++) {
        seats[i] = vapi_pool_member(pool, i)->seat;
    }
    known = n == 0 || global->provider->survey(global->state, seats, n, views) == APR_SUCCESS;
    *answered &= known;
    for (i = 0; i < n; i++) {
        const vapi_member_t *member = vapi_pool_member(pool, i);
        set_named(members, member->name, member_status(member, known ? &views[i] : NULL), p);
    }
    return json_pack("{s:s, s:o}", "strategy", vapi_pool_strategy(pool), "members", members);
}

static json_t *pools_status(const vapi_global_t *global, apr_hash_t *objects, int *answered, apr_pool_t *p)
{
    const apr_array_header_t *names = vapi_names_sorted(objects, p);
    json_t *pools = json_object();
    int i;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        set_named(pools, name, pool_status(global, apr_hash_get(objects, name, APR_HASH_KEY_STRING), answered, p), p);
    }
    return pools;
}

/* ---- what the administrator must know ---- */

static int state_answers(const vapi_global_t *global, apr_pool_t *p)
{
    static const char nobody[] = "vapi-console";    /* as good a key as any: what counts is that the store answers */
    vapi_claim_t claim;

    if (!global->state || (global->provider->is_reached && !global->provider->is_reached(global->state))) {
        return 0;
    }
    return global->provider->recall(global->state, nobody, sizeof(nobody) - 1, &claim, p) == APR_SUCCESS;
}

/* null where the directory cannot be read: nobody should take that for an empty one. */
static json_t *spool_status(request_rec *r, const vapi_global_t *global)
{
    json_t *spool = json_pack("{s:i, s:o, s:i}", "waiting", 0, "delivered", number(vapi_shared_deliveries(global->shared)),
                              "set_aside", 0);
    int waiting, set_aside;
    apr_status_t rv;

    if (!global->spool) {
        return spool;
    }
    rv = vapi_spool_count(global->spool, &waiting, &set_aside);
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, rv, r, "vapi: VapiSpool: %s cannot be read",
                      vapi_spool_directory(global->spool));
    }
    json_object_set_new(spool, "waiting", rv == APR_SUCCESS ? json_integer(waiting) : json_null());
    json_object_set_new(spool, "set_aside", rv == APR_SUCCESS ? json_integer(set_aside) : json_null());
    return spool;
}

static json_t *stale_files(const vapi_global_t *global, apr_pool_t *p)
{
    json_t *stale = json_array();
    int i;

    for (i = 0; global->stale && i < global->stale->nelts; i++) {
        json_array_append_new(stale, vapi_text_json(APR_ARRAY_IDX(global->stale, i, const char *), p));
    }
    return stale;
}

/* ---- all of it ---- */

/* Takes it. */
static const char *text_of(json_t *status, apr_pool_t *p)
{
    char *text = json_dumps(status, JSON_COMPACT | JSON_REAL_PRECISION(DIGITS));
    const char *copy = apr_pstrdup(p, text ? text : "{}");

    free(text);
    json_decref(status);
    return copy;
}

int vapi_status(request_rec *r, int may_manage)
{
    const vapi_global_t *global = vapi_global();
    const vapi_names_t *names = &vapi_host_conf(r->server)->names;
    apr_interval_time_t up = apr_time_now() - ap_scoreboard_image->global->restart_time;
    json_t *status = json_object();
    int answered = state_answers(global, r->pool);

    (void)may_manage;
    json_object_set_new(status, "version", json_string(VAPI_VERSION));
    json_object_set_new(status, "uptime", json_integer(up > 0 ? apr_time_sec(up) : 0));
    json_object_set_new(status, "outcomes", outcomes_status(global->metrics));
    json_object_set_new(status, "routes", routes_status(global, r->server, r->pool));
    json_object_set_new(status, "control", control_status(global->metrics));
    json_object_set_new(status, "pools", pools_status(global, names->pools, &answered, r->pool));
    json_object_set_new(status, "lookups", lookups_status(global->metrics, names->lookups, r->pool));
    json_object_set_new(status, "spool", spool_status(r, global));
    json_object_set_new(status, "state", json_pack("{s:s, s:b}", "provider", global->provider->name, "ok", answered));
    json_object_set_new(status, "stale", stale_files(global, r->pool));
    return vapi_console_reply(r, HTTP_OK, text_of(status, r->pool));
}
