/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * mod_vapi_state_redis: the provider "redis" of VapiState, in a module of its own. Several Apaches share one Redis and so agree
 * on which deliveries were taken on and who holds how many calls.
 *
 *     LoadModule vapi_transfer_module    modules/mod_vapi_transfer.so
 *     LoadModule vapi_state_redis_module modules/mod_vapi_state_redis.so
 *     VapiState  redis://redis.example.com password=file:/etc/apache2/redis.secret
 *
 *   the line is read          src/redis_configure.c
 *   a verb is put together    src/redis_claims.c, src/redis_kept.c, src/redis_seats.c
 *   it is asked               src/redis_node.c (the salt) over src/redis_link.c (connections and their time)
 *                             with src/redis_away.c, src/redis_address.c and src/redis_tls.c
 *   Redis does it in one step src/redis_scripts.c
 *
 * What Redis cannot be asked is asked of this server's own memory, the provider "shm" of mod_vapi_transfer.
 */
#include <stddef.h>

#include <ap_provider.h>
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "redis_node.h"

module AP_MODULE_DECLARE_DATA vapi_state_redis_module;
APLOG_USE_MODULE(vapi_state_redis);

static const vapi_state_provider_t provider;

/* The own memory as plain `VapiState shm` has it: in its usual file, so that what was done during an outage is known after a
 * restart. */
static apr_status_t open_local(vapi_redis_node_t *node, server_rec *s, apr_pool_t *pconf)
{
    const vapi_state_provider_t *shm = ap_lookup_provider(VAPI_STATE_GROUP, "shm", VAPI_STATE_VERSION);

    if (!shm) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s,
                     "VapiState: mod_vapi_state_redis needs a mod_vapi_transfer of its own version");
        return APR_ENOTIMPL;
    }
    return shm->open(&node->local, NULL, s, pconf);
}

static apr_status_t open_redis(vapi_state_t **out, void *config, server_rec *s, apr_pool_t *pconf)
{
    vapi_redis_node_t *node;
    const char *error = vapi_redis_node_make(&node, config, s, pconf);
    apr_status_t rv;

    if (error) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, 0, s, "VapiState: %s", error);
        return APR_EGENERAL;
    }
    node->st.provider = &provider;
    rv = open_local(node, s, pconf);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    vapi_redis_node_greet(node);
    vapi_redis_links_close(node->links);
    *out = &node->st;
    return APR_SUCCESS;
}

static apr_status_t close_links(void *links)
{
    vapi_redis_links_close(links);
    return APR_SUCCESS;
}

static apr_status_t enter_child(vapi_state_t *st, server_rec *s, apr_pool_t *pchild)
{
    vapi_redis_node_t *node = (vapi_redis_node_t *)st;

    vapi_redis_links_enter_child(node->links);
    apr_pool_cleanup_register(pchild, node->links, close_links, apr_pool_cleanup_null);
    return vapi_redis_local(node)->child ? vapi_redis_local(node)->child(node->local, s, pchild) : APR_SUCCESS;
}

static int is_reached(vapi_state_t *st)
{
    return vapi_redis_node_is_reached((vapi_redis_node_t *)st);
}

static const vapi_state_provider_t provider = {
    "redis",
    vapi_redis_configure,
    open_redis,
    enter_child,
    vapi_redis_claim,
    vapi_redis_commit,
    vapi_redis_settle,
    vapi_redis_recall,
    vapi_redis_abandon,
    vapi_redis_count,
    vapi_redis_put,
    vapi_redis_get,
    vapi_redis_note,
    vapi_redis_notes,
    vapi_redis_own,
    vapi_redis_forget,
    vapi_redis_seat,
    vapi_redis_lease,
    vapi_redis_occupy,
    vapi_redis_release,
    vapi_redis_rest,
    vapi_redis_present,
    vapi_redis_survey,
    is_reached,
    vapi_redis_within
};

static void register_hooks(apr_pool_t *p)
{
    ap_register_provider(p, VAPI_STATE_GROUP, "redis", VAPI_STATE_VERSION, &provider);
    ap_register_provider(p, VAPI_STATE_GROUP, "rediss", VAPI_STATE_VERSION, &provider);
}

module AP_MODULE_DECLARE_DATA vapi_state_redis_module = {
    STANDARD20_MODULE_STUFF,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    register_hooks,
#ifdef AP_MODULE_FLAG_NONE
    AP_MODULE_FLAG_NONE
#endif
};
