/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_address.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>

#include "redis_away.h"

#define FRESH       apr_time_from_sec(1)
#define TOO_LONG    "the search for its address takes too long"
#define A_LITTLE    apr_time_from_msec(100)     /* for newer ones, by who has some */

#if defined(__GLIBC__) && defined(_GNU_SOURCE)

/* What the C library's thread works on: in no pool, since the process may end before it does. */
typedef struct search_t {
    struct gaicb job;
    struct gaicb *list[1];
    struct addrinfo hints;
    char name[];
} search_t;

#endif

struct vapi_redis_host_t {
    const char *name;
    int is_address;                    /* the name is one: there is nothing to search */
    int is_child;
    pthread_mutex_t mutex;             /* of all below; held while somebody waits for a search */
    vapi_redis_address_t addresses[VAPI_REDIS_ADDRESSES];
    int n;
    apr_time_t found;                  /* 0: never */
    const char *error;
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    search_t *search;                  /* one that goes on */
#endif
};

static void take_over(vapi_redis_host_t *host, const struct addrinfo *found)
{
    host->n = 0;
    for (; found && host->n < VAPI_REDIS_ADDRESSES; found = found->ai_next) {
        char *text = host->addresses[host->n].text;

        if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof host->addresses[0].text, NULL, 0, NI_NUMERICHOST) == 0) {
            host->n++;
        }
    }
    host->found = vapi_redis_now();
}

/* What failed leaves the addresses as they were. */
static void end_search(vapi_redis_host_t *host, int rv, struct addrinfo *found)
{
    if (rv == 0) {
        take_over(host, found);
        freeaddrinfo(found);
    }
    host->error = rv ? gai_strerror(rv) : "its name has no address";
}

static struct addrinfo hints_of(int flags)
{
    struct addrinfo hints = { 0 };

    hints.ai_flags = flags;
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    return hints;
}

/* @return 1 if it was found */
static int search_here(vapi_redis_host_t *host, int flags)
{
    const struct addrinfo hints = hints_of(flags);
    struct addrinfo *found = NULL;
    int rv = getaddrinfo(host->name, NULL, &hints, &found);

    end_search(host, rv, found);
    return rv == 0;
}

#if defined(__GLIBC__) && defined(_GNU_SOURCE)

static search_t *begin_search(const vapi_redis_host_t *host)
{
    size_t size = strlen(host->name) + 1;
    search_t *search = calloc(1, sizeof *search + size);

    if (!search) {
        return NULL;
    }
    search->hints = hints_of(0);
    memcpy(search->name, host->name, size);
    search->job.ar_name = search->name;
    search->job.ar_request = &search->hints;
    search->list[0] = &search->job;
    if (getaddrinfo_a(GAI_NOWAIT, search->list, 1, NULL) != 0) {
        free(search);
        return NULL;
    }
    return search;
}

static int is_over(const search_t *search)
{
    return gai_error((struct gaicb *)&search->job) != EAI_INPROGRESS;
}

static void wait_for(search_t *search, apr_time_t end)
{
    apr_interval_time_t left;

    while (!is_over(search) && (left = end - vapi_redis_now()) > 0) {
        const struct timespec limit = { (time_t)(left / APR_USEC_PER_SEC), (long)(left % APR_USEC_PER_SEC) * 1000 };

        gai_suspend((const struct gaicb *const *)search->list, 1, &limit);
    }
}

/* Whoever finds one that goes on has nothing to wait for: it was waited for before. */
static void search_beside(vapi_redis_host_t *host, apr_interval_time_t wait)
{
    if (!host->search) {
        host->search = begin_search(host);
        if (!host->search) {
            host->error = "the search for its address cannot be begun";
            return;
        }
        wait_for(host->search, vapi_redis_now() + wait);
    }
    if (!is_over(host->search)) {
        host->error = TOO_LONG;
        return;
    }
    end_search(host, gai_error(&host->search->job), host->search->job.ar_result);
    free(host->search);
    host->search = NULL;
}

#else

static void search_beside(vapi_redis_host_t *host, apr_interval_time_t wait)
{
    (void)wait;
    search_here(host, 0);
}

#endif

/* Who waits for the mutex waits for one who waits for a search. */
static int lock(vapi_redis_host_t *host, apr_interval_time_t wait)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait / APR_USEC_PER_SEC);
    until.tv_nsec += (long)(wait % APR_USEC_PER_SEC) * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    return pthread_mutex_timedlock(&host->mutex, &until) == 0;
}

static int is_known(const vapi_redis_host_t *host)
{
    return host->is_address || (host->found && vapi_redis_now() - host->found < FRESH);
}

int vapi_redis_host_find(vapi_redis_host_t *host, apr_interval_time_t wait, vapi_redis_address_t *addresses, const char **error)
{
    int n;

    if (!lock(host, wait)) {
        *error = TOO_LONG;
        return 0;
    }
    if (!is_known(host) && host->is_child) {
        search_beside(host, host->n && wait > A_LITTLE ? A_LITTLE : wait);
    }
    else if (!is_known(host)) {
        search_here(host, 0);
    }
    n = host->n;
    memcpy(addresses, host->addresses, (size_t)n * sizeof *addresses);
    *error = host->error;
    pthread_mutex_unlock(&host->mutex);
    return n;
}

void vapi_redis_host_enter_child(vapi_redis_host_t *host)
{
    host->is_child = 1;
}

static apr_status_t forget(void *host)
{
    pthread_mutex_destroy(&((vapi_redis_host_t *)host)->mutex);
    return APR_SUCCESS;
}

vapi_redis_host_t *vapi_redis_host_make(const char *name, apr_pool_t *p)
{
    vapi_redis_host_t *host = apr_pcalloc(p, sizeof *host);

    host->name = name;
    if (pthread_mutex_init(&host->mutex, NULL) != 0) {
        return NULL;
    }
    apr_pool_cleanup_register(p, host, forget, apr_pool_cleanup_null);
    host->is_address = search_here(host, AI_NUMERICHOST);
    return host;
}
