/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * mod_vapi_transfer: a Vapi webhook comes in, a call goes out to a person.
 *
 * The way of one delivery (a POST from Vapi), each step in the file named beside it:
 *
 *   1  read the body, up to a cap                    src/webhook.c -> src/body.c
 *   2  authenticate it: raw bytes and headers        src/webhook.c -> src/credential.c
 *   3  read the message, in whatever shape           src/message.c over src/payload.c
 *   4  claim it: no delivery is worked on twice      src/once.c over a state provider (src/state_shm.c, or Redis: src/redis_node.c)
 *   5  decide: the first route that is true and      src/route.c, src/expression.c, src/dialling.c; of a pool a member
 *      available                                     is leased: src/pool_take.c
 *   6  transfer: one POST to the call's control URL  src/tool_calls.c -> src/transfer.c -> src/http.c
 *   7  settle the claim: duplicates get this answer  src/once.c
 *   8  reply                                         src/reply.c
 *
 * Messages that ask for a destination instead of calling a tool go from 5 to 7: src/requests.c. On the way, 5 asks what a route wants to
 * know (src/vocabulary.c: opening hours, maps, signals, and lookups, src/lookup.c), and 6 does the actions that must come first; the others
 * are spooled before 7 and done after 8 (src/errand.c, src/spool.c).
 *
 * What became of the call is told by later messages, in any order: src/report.c holds them against where the call was sent (src/trail.c).
 *
 * The console (src/console.c) asks the same table without doing anything (src/explain.c), shows what is counted and who holds what
 * (src/status.c), and takes what people say of the members (src/console_verbs.c).
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <ap_mpm.h>
#include <mpm_common.h>
#include <httpd.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

#include "vapi_config.h"
#include "vapi_console.h"
#include "vapi_errand.h"
#include "vapi_log.h"
#include "vapi_lookup.h"
#include "vapi_metrics.h"
#include "vapi_shared.h"
#include "vapi_version.h"
#include "vapi_webhook.h"

APLOG_USE_MODULE(vapi_transfer);


static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)plog;
    (void)ptemp;
    vapi_config_begin(pconf);
    return OK;
}

/* The greatest VapiLimit outbound= of all sections. */
static int outbound_places(const vapi_global_t *global)
{
    int i, places = 0;

    for (i = 0; i < global->endpoints->nelts; i++) {
        const vapi_limits_t *limits = APR_ARRAY_IDX(global->endpoints, i, vapi_endpoint_t *)->limits;
        if (limits && limits->outbound > places) {
            places = limits->outbound;
        }
    }
    return places;
}

/* The files of actions, the spool, and who looks after it. */
static int open_actions(vapi_global_t *global, server_rec *s, apr_pool_t *pconf)
{
    apr_hash_index_t *hi;
    apr_status_t rv;

    for (hi = apr_hash_first(pconf, global->actions); hi; hi = apr_hash_next(hi)) {
        const vapi_action_t *action = apr_hash_this_val(hi);
        if ((rv = vapi_outgoing_open(vapi_action_outgoing(action), pconf)) != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: VapiAction %s: its file cannot be opened", vapi_action_name(action));
            return 0;
        }
    }
    if (!global->spool) {
        return 1;
    }
    if ((rv = vapi_spool_open(global->spool, pconf)) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: VapiSpool: the directory %s cannot be used",
                     vapi_spool_directory(global->spool));
        return 0;
    }
    if ((rv = vapi_errands_watch(global->spool, global->actions, s, pconf)) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: VapiSpool: mod_watchdog does not look after it");
        return 0;
    }
    return 1;
}

static void lengthen(apr_interval_time_t *longest, apr_interval_time_t span)
{
    *longest = span > *longest ? span : *longest;
}

/* As long as a lease lasts it is known whose it is, and as long as anything is kept of a caller it can be forgotten. */
static void measure_keeping(const vapi_global_t *global, server_rec *s, apr_pool_t *pconf)
{
    vapi_state_t *state = global->state;
    apr_hash_index_t *hi;
    int i;

    for (; s; s = s->next) {
        const vapi_names_t *names = &vapi_host_conf(s)->names;

        for (hi = apr_hash_first(pconf, names->pools); hi; hi = apr_hash_next(hi)) {
            lengthen(&state->trail, vapi_pool_lease(apr_hash_this_val(hi)) + vapi_pool_wrap_up(apr_hash_this_val(hi)));
            lengthen(&state->owned, vapi_pool_sticky(apr_hash_this_val(hi)));
        }
        for (hi = apr_hash_first(pconf, names->lookups); hi; hi = apr_hash_next(hi)) {
            lengthen(&state->owned, vapi_lookup_cache(apr_hash_this_val(hi)));
        }
    }
    for (i = 0; i < global->endpoints->nelts; i++) {
        lengthen(&state->owned, vapi_endpoint_limits(APR_ARRAY_IDX(global->endpoints, i, vapi_endpoint_t *))->caller_window);
    }
    lengthen(&state->owned, state->trail);
}

/* Every pool of every host, and whoever is in it, as the store knows them. */
static apr_status_t seat_pools(const vapi_global_t *global, server_rec *s, apr_pool_t *pconf)
{
    apr_status_t rv = APR_SUCCESS;
    apr_hash_index_t *hi;

    for (; s; s = s->next) {
        for (hi = apr_hash_first(pconf, vapi_host_conf(s)->names.pools); hi && rv == APR_SUCCESS; hi = apr_hash_next(hi)) {
            rv = vapi_pool_seat(apr_hash_this_val(hi), global->state, pconf);
        }
    }
    return rv;
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    vapi_global_t *global = vapi_global();
    apr_status_t rv;

    (void)plog;
    (void)ptemp;
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    vapi_log_prepare_quiet(s, pconf);
    if ((rv = global->provider->open(&global->state, global->state_config, s, pconf)) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: VapiState: the store (%s) cannot be opened", global->provider->name);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if ((rv = vapi_shared_create(&global->shared, outbound_places(global), pconf)) != APR_SUCCESS
        || (rv = vapi_metrics_create(&global->metrics, global->routes_number, global->lookups_number, pconf)) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: no shared memory can be had");
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    measure_keeping(global, s, pconf);
    if ((rv = seat_pools(global, s, pconf)) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: VapiPool: the store (%s) does not take the members", global->provider->name);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    vapi_sql_find_dbd();
    if (!open_actions(global, s, pconf)) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, s, "vapi: mod_vapi_transfer/" VAPI_VERSION " is ready; state: %s", global->provider->name);
    return OK;
}

/* Before the child's parts end: what still comes leaves its errands to the spool. */
static apr_status_t end_child(void *data)
{
    vapi_global_t *global = data;

    vapi_http_abandon(vapi_child_http(global->child));
    global->child = NULL;
    vapi_errands_await_pass();
    return APR_SUCCESS;
}

#if AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
/* Earlier than that: what can be done again is given up while requests still end. May run in a signal handler. */
static void child_stopping(apr_pool_t *pchild, int graceful)
{
    (void)pchild, (void)graceful;
    if (vapi_global() && vapi_global()->child) {
        vapi_http_abandon(vapi_child_http(vapi_global()->child));
    }
}
#endif

static void child_init(apr_pool_t *pchild, server_rec *s)
{
    vapi_global_t *global = vapi_global();
    int threads = 0;
    apr_status_t rv;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    rv = vapi_child_create(&global->child, threads > 0 ? threads : 1, global->spool != NULL, pchild);
    if (rv == APR_SUCCESS && global->provider->child) {
        rv = global->provider->child(global->state, s, pchild);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, s, "vapi: this child cannot serve calls and ends");
        exit(APEXIT_CHILDSICK);
    }
    apr_pool_pre_cleanup_register(pchild, global, end_child);
}

/* The signals that end a prefork child do so wherever its one thread is, inside malloc too, and then wait for threads that need
 * malloc to end: they come when the request is answered. Under the other MPMs they do not come to this thread. */
static int serve(request_rec *r, int (*answer)(request_rec *r))
{
    sigset_t ends, before;
    int rc;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, &before);
    rc = answer(r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static int handler(request_rec *r)
{
    if (strcmp(r->handler, "vapi-transfer") == 0) {
        return serve(r, vapi_webhook);
    }
    return strcmp(r->handler, "vapi-console") == 0 ? serve(r, vapi_console) : DECLINED;
}

static void register_hooks(apr_pool_t *p)
{
    static const char *const watchdog[] = { "mod_watchdog.c", NULL };    /* its thread finds the child made */

    vapi_state_shm_register(p);
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(vapi_config_check, NULL, NULL, APR_HOOK_LAST);
    ap_hook_test_config(vapi_dump, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, watchdog, APR_HOOK_MIDDLE);
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
#endif
    ap_hook_pre_connection(vapi_log_quiet_connection, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_post_read_request(vapi_log_quiet, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_check_access_ex(vapi_explain_access, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA vapi_transfer_module = {
    STANDARD20_MODULE_STUFF,
    vapi_config_create_endpoint,
    vapi_config_merge_endpoint,
    vapi_config_create_host,
    vapi_config_merge_host,
    vapi_directives,
    register_hooks,
#ifdef AP_MODULE_FLAG_NONE
    AP_MODULE_FLAG_NONE
#endif
};
