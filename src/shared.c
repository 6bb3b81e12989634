/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_hash.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <stdatomic.h>
#include <string.h>

#include "vapi_clock.h"
#include "vapi_shared.h"

#define REASONS         8
#define REMEMBERED_MAX  1024
#define MINUTE          apr_time_from_sec(60)
#define ERRAND_THREADS  8       /* of a child, beside those of its requests */
#define WAITING_MAX     1024
#define SPOOLED_MAX     32      /* each that waits holds its file open, and others do it later: a server that is down must not cost the
                                   child its descriptors */
#define DRAIN_TIME      apr_time_from_sec(5)

/* Refusals of one kind since the last line in the log. */
typedef struct refusals_t {
    _Atomic apr_uint64_t next_line;      /* vapi_clock time */
    _Atomic apr_uint32_t count;
} refusals_t;

struct vapi_shared_t {
    refusals_t refusals[REASONS];
    _Atomic apr_uint64_t delivered;      /* errands */
    int slots;
    _Atomic apr_uint64_t busy_until[];    /* vapi_clock time; 0: free */
};

apr_status_t vapi_shared_create(vapi_shared_t **out, int slots, apr_pool_t *pconf)
{
    apr_size_t size = sizeof(vapi_shared_t) + (apr_size_t)slots * sizeof(apr_uint64_t);
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, size, NULL, pconf);

    if (rv == APR_SUCCESS) {
        *out = apr_shm_baseaddr_get(shm);
        memset(*out, 0, size);
        (*out)->slots = slots;
    }
    return rv;
}

int vapi_shared_enter(vapi_shared_t *shared, int limit, apr_time_t deadline)
{
    apr_uint64_t now = (apr_uint64_t)vapi_clock_now(), was;
    int i;

    for (i = 0; i < limit && i < shared->slots; i++) {
        was = atomic_load(&shared->busy_until[i]);
        if (was < now && atomic_compare_exchange_strong(&shared->busy_until[i], &was, (apr_uint64_t)deadline)) {
            return i;
        }
    }
    return -1;
}

void vapi_shared_leave(vapi_shared_t *shared, int place)
{
    atomic_store(&shared->busy_until[place], 0);
}

/* The reasons are few and fixed; what is none of them shares the last place. */
static refusals_t *refusals_of(vapi_shared_t *shared, const char *reason)
{
    static const char *const known[REASONS] = {
        "signature-missing", "signature-wrong", "timestamp-stale", "secret-wrong", "not-configured", "no-user"
    };
    int i = 0;

    while (i < REASONS - 1 && known[i] && strcmp(known[i], reason) != 0) {
        i++;
    }
    return &shared->refusals[i];
}

apr_uint32_t vapi_shared_refused(vapi_shared_t *shared, const char *reason)
{
    refusals_t *refusals = refusals_of(shared, reason);
    apr_uint64_t now = (apr_uint64_t)vapi_clock_now(), next = atomic_load(&refusals->next_line);

    atomic_fetch_add(&refusals->count, 1);
    if (now < next || !atomic_compare_exchange_strong(&refusals->next_line, &next, now + (apr_uint64_t)MINUTE)) {
        return 0;
    }
    return atomic_exchange(&refusals->count, 0);
}

void vapi_shared_delivered(vapi_shared_t *shared)
{
    atomic_fetch_add(&shared->delivered, 1);
}

apr_uint64_t vapi_shared_deliveries(const vapi_shared_t *shared)
{
    return atomic_load(&shared->delivered);
}

struct vapi_child_t {
    vapi_http_t *http;
    vapi_workers_t *sql_workers, *errand_workers;
    apr_thread_mutex_t *lock;     /* guards the rest */
    apr_pool_t *pool;
    apr_hash_t *met;              /* "what assistant" -> itself */
    apr_array_header_t *profiles; /* vapi_http_profile_t *, one for each way to reach servers that the configuration has */
};

apr_status_t vapi_child_create(vapi_child_t **out, int threads, int spooled, apr_pool_t *pchild)
{
    vapi_child_t *child = apr_pcalloc(pchild, sizeof(*child));
    apr_status_t rv = vapi_http_create(&child->http, threads + ERRAND_THREADS, pchild);

    if (rv == APR_SUCCESS) {
        rv = vapi_workers_create(&child->sql_workers, threads + ERRAND_THREADS, WAITING_MAX, 0, pchild);
    }
    if (rv == APR_SUCCESS) {    /* ends before the one that its work waits for */
        rv = vapi_workers_create(&child->errand_workers, ERRAND_THREADS, spooled ? SPOOLED_MAX : WAITING_MAX, spooled ? 0 : DRAIN_TIME,
                                 pchild);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_thread_mutex_create(&child->lock, APR_THREAD_MUTEX_DEFAULT, pchild);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_pool_create(&child->pool, pchild);
    }
    if (rv == APR_SUCCESS) {
        child->met = apr_hash_make(child->pool);
        child->profiles = apr_array_make(child->pool, 4, sizeof(vapi_http_profile_t *));
        *out = child;
    }
    return rv;
}

vapi_http_t *vapi_child_http(vapi_child_t *child)
{
    return child->http;
}

vapi_workers_t *vapi_child_sql_workers(vapi_child_t *child)
{
    return child->sql_workers;
}

vapi_workers_t *vapi_child_errand_workers(vapi_child_t *child)
{
    return child->errand_workers;
}

static int same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static const vapi_http_profile_t *find_profile(const vapi_child_t *child, const vapi_http_profile_t *wanted)
{
    int i;

    for (i = 0; i < child->profiles->nelts; i++) {
        const vapi_http_profile_t *profile = APR_ARRAY_IDX(child->profiles, i, vapi_http_profile_t *);
        if (profile->allow_private == wanted->allow_private && profile->allow_plain == wanted->allow_plain
            && same_text(profile->ca_file, wanted->ca_file) && same_text(profile->proxy, wanted->proxy)) {
            return profile;
        }
    }
    return NULL;
}

const vapi_http_profile_t *vapi_child_profile(vapi_child_t *child, const vapi_http_profile_t *wanted)
{
    const vapi_http_profile_t *profile;

    apr_thread_mutex_lock(child->lock);
    profile = find_profile(child, wanted);
    if (!profile) {
        profile = APR_ARRAY_PUSH(child->profiles, vapi_http_profile_t *) = apr_pmemdup(child->pool, wanted, sizeof(*wanted));
    }
    apr_thread_mutex_unlock(child->lock);
    return profile;
}

int vapi_child_first_time(vapi_child_t *child, const char *what, const char *assistant)
{
    char key[256];
    int first = 0;

    apr_snprintf(key, sizeof(key), "%s %s", what, assistant);
    apr_thread_mutex_lock(child->lock);
    if (!apr_hash_get(child->met, key, APR_HASH_KEY_STRING) && apr_hash_count(child->met) < REMEMBERED_MAX) {
        const char *copy = apr_pstrdup(child->pool, key);
        apr_hash_set(child->met, copy, APR_HASH_KEY_STRING, copy);
        first = 1;
    }
    apr_thread_mutex_unlock(child->lock);
    return first;
}
