/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_away.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include <http_config.h>
#include <http_log.h>

extern module AP_MODULE_DECLARE_DATA vapi_state_redis_module;
APLOG_USE_MODULE(vapi_state_redis);

#define TRY_AGAIN  apr_time_from_sec(1)
#define SAY_AGAIN  apr_time_from_sec(60)
#define BEGINNINGS 3                   /* that are told of in SAY_AGAIN */

/* Shared by all processes of this server. 0: never, or not. */
typedef struct shared_t {
    _Atomic apr_int64_t since;         /* Redis is away since then */
    _Atomic apr_int64_t until;         /* nobody asks before */
    _Atomic apr_int64_t said;
    _Atomic apr_int64_t counted;       /* since when beginnings are counted */
    _Atomic apr_int64_t beginnings;
    _Atomic apr_int64_t no_room_said;
} shared_t;

struct vapi_redis_away_t {
    shared_t *shared;
    const char *host;
    int port;
    server_rec *s;
};

apr_time_t vapi_redis_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (apr_time_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000 + 1;
}

int vapi_redis_may_ask(vapi_redis_away_t *away, apr_time_t now)
{
    shared_t *shared = away->shared;
    apr_int64_t until = atomic_load(&shared->until);

    if (!atomic_load(&shared->since)) {
        return 1;
    }
    return now >= until && atomic_compare_exchange_strong(&shared->until, &until, now + TRY_AGAIN);
}

static int is_time_to_say(_Atomic apr_int64_t *said, apr_time_t now)
{
    apr_int64_t last = atomic_load(said);

    return (!last || now - last >= SAY_AGAIN) && atomic_compare_exchange_strong(said, &last, now);
}

/* Whoever comes and goes all the time does not fill the log. */
static int may_say_that_it_begins(shared_t *shared, apr_time_t now)
{
    if (is_time_to_say(&shared->counted, now)) {
        atomic_store(&shared->beginnings, 0);
    }
    return atomic_fetch_add(&shared->beginnings, 1) < BEGINNINGS;
}

static void begin(const vapi_redis_away_t *away, apr_time_t now, const char *why)
{
    if (!may_say_that_it_begins(away->shared, now)) {
        return;
    }
    atomic_store(&away->shared->said, now);
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, away->s,
                 "VapiState: Redis at %s port %d cannot be used: %s. Until it can, claims and leases hold on this node alone",
                 away->host, away->port, why);
}

void vapi_redis_is_away(vapi_redis_away_t *away, const char *why)
{
    apr_time_t now = vapi_redis_now();
    apr_int64_t since = 0;

    atomic_store(&away->shared->until, now + TRY_AGAIN);
    if (atomic_compare_exchange_strong(&away->shared->since, &since, now)) {
        begin(away, now, why);
    }
    else if (is_time_to_say(&away->shared->said, now)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, away->s,
                     "VapiState: Redis at %s port %d cannot be used for %" APR_TIME_T_FMT
                     " seconds now: %s. Claims and leases hold on this node alone",
                     away->host, away->port, apr_time_sec(now - since), why);
    }
}

/* An answer to what was asked before it went away shows nothing. Nobody is told of the end of what he was not told of. */
void vapi_redis_is_back(vapi_redis_away_t *away, apr_time_t asked)
{
    apr_int64_t since = atomic_load(&away->shared->since);

    if (since && asked > since && atomic_compare_exchange_strong(&away->shared->since, &since, 0)
        && atomic_load(&away->shared->said) >= since) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, away->s,
                     "VapiState: Redis at %s port %d is back after %" APR_TIME_T_FMT " seconds", away->host, away->port,
                     apr_time_sec(asked - since));
    }
}

void vapi_redis_has_no_room(vapi_redis_away_t *away)
{
    if (is_time_to_say(&away->shared->no_room_said, vapi_redis_now())) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, away->s,
                     "VapiState: Redis at %s port %d has no room (maxmemory): what comes is refused until it has", away->host,
                     away->port);
    }
}

static apr_status_t forget(void *shared)
{
    munmap(shared, sizeof(shared_t));
    return APR_SUCCESS;
}

vapi_redis_away_t *vapi_redis_away_make(const char *host, int port, server_rec *s, apr_pool_t *p)
{
    vapi_redis_away_t *away = apr_pcalloc(p, sizeof *away);
    void *shared = mmap(NULL, sizeof(shared_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED) {
        return NULL;
    }
    apr_pool_cleanup_register(p, shared, forget, apr_pool_cleanup_null);
    away->shared = shared;
    away->host = host;
    away->port = port;
    away->s = s;
    return away;
}
