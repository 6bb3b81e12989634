/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Pools once all is read: everybody in them is somebody, and each of them is reached somehow. */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "check.h"
#include "conftree.h"

APLOG_USE_MODULE(vapi_transfer);

/** Whose pools are put together. */
typedef struct putting_t {
    vapi_check_t *check;
    server_rec *host;
} putting_t;

static void say_fault(void *baton, vapi_place_t place, const char *text, apr_hash_t *known, const char *name)
{
    const putting_t *putting = baton;
    apr_pool_t *p = putting->check->ptemp;

    vapi_check_report(putting->check, APLOG_ERR, putting->host, place,
                      apr_pstrcat(p, text, known ? vapi_check_nearest(known, name, p) : "", NULL));
}

/* Is this the main server's, as it is seen in one of its virtual hosts? */
static int is_inherited(const vapi_check_t *check, const server_rec *s, const void *object, apr_hash_t *of_main, const char *name)
{
    return s != check->main && apr_hash_get(of_main, name, APR_HASH_KEY_STRING) == object;
}

/* What is dialled only if VapiAllow passes it; a destination with a name of its own says so itself. */
static void check_runtime(vapi_check_t *check, server_rec *s)
{
    const vapi_names_t *names = &vapi_host_conf(s)->names;
    apr_hash_index_t *hi;

    if (names->allow) {
        return;
    }
    for (hi = apr_hash_first(check->ptemp, names->members); hi; hi = apr_hash_next(hi)) {
        const vapi_member_t *member = apr_hash_this_val(hi);

        if (is_inherited(check, s, member, vapi_host_conf(check->main)->names.members, member->name) || !member->destination
            || vapi_word_is_name(member->target) || !vapi_destination_is_runtime(member->destination)) {
            continue;
        }
        vapi_check_report(check, APLOG_WARNING, s, member->place,
               apr_psprintf(check->ptemp,
                            "VapiMember %s: what it dials is known only at run time, and no VapiAllow says what that may be: it is never "
                            "dialled", member->name));
    }
}

void vapi_check_pools(vapi_check_t *check, server_rec *s, apr_pool_t *pconf)
{
    const vapi_host_conf_t *host = vapi_host_conf(s);
    putting_t putting = { check, s };
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(check->ptemp, host->names.pools); hi; hi = apr_hash_next(hi)) {
        vapi_pool_t *pool = apr_hash_this_val(hi);

        if (is_inherited(check, s, pool, vapi_host_conf(check->main)->names.pools, vapi_pool_name(pool))) {
            continue;
        }
        if (!vapi_pool_size(pool)) {
            vapi_check_report(check, APLOG_ERR, s, vapi_pool_place(pool),
                              apr_psprintf(check->ptemp, "VapiPool %s: has no VapiMember: nobody can take a call", vapi_pool_name(pool)));
        }
        vapi_pool_resolve(pool, host->id, &host->names, say_fault, &putting, pconf);
    }
    check_runtime(check, s);
}

void vapi_check_demands(vapi_check_t *check, const vapi_endpoint_t *e, const vapi_route_t *route)
{
    const vapi_pool_t *pool = route->pool ? apr_hash_get(vapi_host_conf(e->server)->names.pools, route->pool, APR_HASH_KEY_STRING) : NULL;

    if (!pool || !vapi_pool_size(pool)) {
        return;
    }
    if (route->leave >= vapi_pool_capacity(pool)) {
        vapi_check_report(check, APLOG_WARNING, e->server, route->place,
               apr_psprintf(check->ptemp, "VapiRoute %s: leave=%d: is never available: the pool has a capacity of %d in all", route->label,
                            route->leave, vapi_pool_capacity(pool)));
    }
    if (route->fixed_skills && !vapi_pool_can(pool, route->fixed_skills)) {
        vapi_check_report(check, APLOG_WARNING, e->server, route->place,
               apr_psprintf(check->ptemp, "VapiRoute %s: skills=%s: is never available: no member of the pool has them", route->label,
                            vapi_text_written(route->skills)));
    }
}

static int has_endpoint(const server_rec *s)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    int i;

    for (i = 0; i < all->nelts; i++) {
        const vapi_endpoint_t *e = APR_ARRAY_IDX(all, i, vapi_endpoint_t *);
        if (e->server == s && (e->routes || e->authenticate)) {
            return 1;
        }
    }
    return 0;
}

void vapi_check_cluster(vapi_check_t *check)
{
    const vapi_global_t *global = vapi_global();
    server_rec *s;

    if (strcmp(global->provider->name, "shm") == 0) {
        return;
    }
    for (s = check->main; s; s = s->next) {
        const ap_directive_t *tree = vapi_tree_of(s);

        if (tree && !vapi_tree_has(tree, "ServerName") && has_endpoint(s)) {
            vapi_check_report(check, APLOG_WARNING, s, global->state_place,
                   apr_psprintf(check->ptemp, "VapiState: %s has an endpoint and no ServerName of its own: nodes know each other's calls "
                                              "by it, so give it the same one on all of them",
                                s->is_virtual ? apr_psprintf(check->ptemp, "the virtual host at %s:%u", s->defn_name ? s->defn_name : "",
                                                             s->defn_line_number)
                                              : "the server"));
        }
    }
}
