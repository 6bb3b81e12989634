/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * mod_watchdog goes through the spool once a second, in one child at a time, on a thread of its own. An action that failed in a
 * pass is not tried again in it: its other errands are put off, so that a server that is down costs one time-out a pass, and not
 * one each.
 */
#include <stddef.h>

#include <pthread.h>

#include <apr_hash.h>
#include <apr_optional.h>

#include <ap_mpm.h>
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <mod_watchdog.h>

#include "errand.h"
#include "vapi_config.h"

APLOG_USE_MODULE(vapi_transfer);

#define WATCHDOG "_vapi_spool_"

/* Held for a pass: mod_watchdog may not wait for its thread when a child ends, whose parts the pass needs. */
static pthread_mutex_t passing = PTHREAD_MUTEX_INITIALIZER;

typedef struct watch_t {
    vapi_spool_t *spool;
    apr_hash_t *actions;         /* id -> vapi_action_t * */
    server_rec *server;
    apr_status_t problem;        /* with the directory, as the log has it; only the watchdog's thread looks at it */
} watch_t;

typedef struct pass_t {
    const watch_t *watch;
    struct vapi_child_t *child;
    apr_hash_t *failing;         /* vapi_action_t *, by address: failed in this pass */
    apr_pool_t *pool;            /* of the pass */
    apr_pool_t *scratch;         /* of one errand */
} pass_t;

static int is_stopping(void)
{
    int state;

    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) == APR_SUCCESS && state == AP_MPMQ_STOPPING;
}

static int is_failing(const pass_t *pass, const vapi_action_t *a)
{
    return apr_hash_get(pass->failing, &a, sizeof(a)) != NULL;
}

static void set_failing(const pass_t *pass, const vapi_action_t *a)
{
    const vapi_action_t **key = apr_pmemdup(pass->pool, &a, sizeof(a));

    apr_hash_set(pass->failing, key, sizeof(a), key);
}

/* Its server failed for another just now: that counts as a failure of this one, too. One that is old is tried once at least
 * before it is given up. */
static void put_off(const pass_t *pass, const errand_t *errand, vapi_spooled_t *file)
{
    if (vapi_errand_is_old(file) && vapi_spool_failures(file) > 0) {
        vapi_errand_finish(file, errand->about, ERRAND_FAILED, "its action fails", pass->watch->server);
    }
    else {
        vapi_spool_later(file, 1);
    }
}

static void work_on(const pass_t *pass, vapi_spooled_t *file, const char *content, apr_size_t len)
{
    const watch_t *watch = pass->watch;
    errand_end end = ERRAND_FAILED;
    const char *what;
    errand_t errand;

    what = vapi_errand_read(&errand, content, len, watch->actions, pass->scratch);
    if (!what && is_failing(pass, errand.action)) {
        put_off(pass, &errand, file);
        return;
    }
    if (!what) {
        end = vapi_errand_try(&errand, pass->child, 1, vapi_spool_is_sync(watch->spool), &what, pass->scratch);
        if (end == ERRAND_FAILED) {
            set_failing(pass, errand.action);
        }
    }
    vapi_errand_finish(file, errand.about, end, what, watch->server);
}

static int each(void *baton, vapi_spooled_t *file, const char *content, apr_size_t len)
{
    const pass_t *pass = baton;

    work_on(pass, file, content, len);
    apr_pool_clear(pass->scratch);
    return !is_stopping();
}

/* A directory that cannot be read is said once, not each second. */
static void tell_problem(watch_t *watch, apr_status_t rv)
{
    if (rv != APR_SUCCESS && rv != watch->problem) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, watch->server, "vapi: VapiSpool: %s, or a file in it, cannot be read",
                     vapi_spool_directory(watch->spool));
    }
    watch->problem = rv;
}

static void go_through(watch_t *watch, apr_pool_t *p)
{
    pass_t pass = { 0 };

    pass.child = vapi_global() ? vapi_global()->child : NULL;
    if (!pass.child || is_stopping()) {
        return;
    }
    pass.watch = watch;
    pass.pool = p;
    pass.failing = apr_hash_make(p);
    apr_pool_create(&pass.scratch, p);
    tell_problem(watch, vapi_spool_walk(watch->spool, each, &pass, p));
}

static apr_status_t each_second(int state, void *data, apr_pool_t *p)
{
    if (state == AP_WATCHDOG_STATE_RUNNING) {
        pthread_mutex_lock(&passing);
        go_through(data, p);
        pthread_mutex_unlock(&passing);
    }
    return APR_SUCCESS;
}

void vapi_errands_await_pass(void)
{
    pthread_mutex_lock(&passing);
    pthread_mutex_unlock(&passing);
}

apr_status_t vapi_errands_watch(vapi_spool_t *spool, apr_hash_t *actions, server_rec *s, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get_instance = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *add_callback = APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    watch_t *watch = apr_pcalloc(pconf, sizeof(*watch));
    ap_watchdog_t *watchdog;
    apr_status_t rv;

    if (!get_instance || !add_callback) {
        return APR_ENOTIMPL;
    }
    watch->spool = spool;
    watch->actions = actions;
    watch->server = s;
    rv = get_instance(&watchdog, WATCHDOG, 0, 1, pconf);
    return rv == APR_SUCCESS ? add_callback(watchdog, AP_WD_TM_INTERVAL, watch, each_second) : rv;
}
