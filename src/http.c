/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_http.h"

#include <ctype.h>
#include <string.h>

#include <dirent.h>

#include <apr_atomic.h>
#include <apr_thread_mutex.h>

#include "http_handle.h"
#include "vapi_clock.h"

#define TIME_MIN      apr_time_from_msec(5)    /* less is none: libcurl counts in milliseconds, and ends what came before a little early */
#define CA_HASHED_MIN 16      /* fewer hashed names are somebody's additions, not the system's store */

struct vapi_http_t {
    apr_thread_mutex_t *lock;                /* idle, n_idle; never held while anything is sent, closed or freed */
    vapi_handle_t **idle;                    /* the last given back at the end */
    int n_idle;
    int max_idle;
    CURLSH *share;
    apr_thread_mutex_t *share_locks[CURL_LOCK_DATA_LAST];
    int ca_directory;                        /* authorities are looked up by hash: a bundle file costs 30 ms of each connection */
    volatile apr_uint32_t connections;
    volatile apr_uint32_t ending;
};

/* ---- The idle handles ---- */

/* The length of "scheme://host:port" in a URL; 0 if it is too long to be kept. */
static apr_size_t origin_of(const char *url)
{
    const char *authority = strstr(url, "://");
    apr_size_t len;

    if (!authority) {
        return 0;
    }
    len = (apr_size_t)(authority - url) + 3;
    len += strcspn(url + len, "/?#");
    return len < VAPI_ORIGIN_MAX ? len : 0;
}

static int is_for(const vapi_handle_t *handle, const vapi_http_profile_t *profile, const char *url, apr_size_t len)
{
    return handle->profile == profile && handle->origin_len == len && memcmp(handle->origin, url, len) == 0;
}

/* With the lock held. */
static vapi_handle_t *take_out(vapi_http_t *http, int at)
{
    vapi_handle_t *handle = http->idle[at];

    for (http->n_idle--; at < http->n_idle; at++) {
        http->idle[at] = http->idle[at + 1];
    }
    return handle;
}

/*
 * The youngest idle handle with a connection to the request's origin, or a new one: another's connection would have
 * to go, and it is worth more than a handle. Those that have grown too old are left for give_back().
 */
static vapi_handle_t *take(vapi_http_t *http, const vapi_http_request_t *request, apr_time_t now)
{
    apr_size_t len = origin_of(request->url);
    vapi_handle_t *handle = NULL;
    int i;

    apr_thread_mutex_lock(http->lock);
    for (i = http->n_idle - 1; i >= 0 && !handle; i--) {
        if (is_for(http->idle[i], request->profile, request->url, len) && http->idle[i]->usable_until > now) {
            handle = take_out(http, i);
        }
    }
    apr_thread_mutex_unlock(http->lock);

    if (!handle && (handle = vapi_handle_make(request->profile, http->share, http->ca_directory))) {
        memcpy(handle->origin, request->url, len);
        handle->origin_len = len;
    }
    return handle;
}

/* Keeps the handle; the one that was idle longest goes when there is no room for it or its connection is too old. */
static void give_back(vapi_http_t *http, vapi_handle_t *handle)
{
    apr_time_t now = vapi_clock_now();
    vapi_handle_t *oldest = NULL;

    handle->usable_until = now + handle->kept_for;
    apr_thread_mutex_lock(http->lock);
    if (http->n_idle > 0 && (http->n_idle == http->max_idle || http->idle[0]->usable_until <= now)) {
        oldest = take_out(http, 0);
    }
    http->idle[http->n_idle++] = handle;
    apr_thread_mutex_unlock(http->lock);

    if (oldest) {
        vapi_handle_free(oldest);
    }
}

/* ---- One request ---- */

/* libcurl sends a line break in a header as it is. A NUL cannot be told from a header's end, so it cannot get in either. */
static const char *why_unsendable(const vapi_http_request_t *request)
{
    int i;

    for (i = 0; request->headers && i < request->headers->nelts; i++) {
        const char *header = APR_ARRAY_IDX(request->headers, i, const char *);
        apr_size_t name = strcspn(header, ": \t\r\n");

        if (strpbrk(header, "\r\n")) {
            return "a header holds a line break";
        }
        if (name == 0 || header[name] != ':') {
            return "a header has no name";
        }
    }
    return strpbrk(request->method, " \t\r\n") || !*request->method ? "not a method" : NULL;
}

void vapi_http_perform(vapi_http_t *http, const vapi_http_request_t *request, vapi_http_answer_t *answer, apr_pool_t *p)
{
    apr_time_t began = vapi_clock_now();
    apr_interval_time_t left = request->deadline - began;
    vapi_handle_t *handle;

    memset(answer, 0, sizeof(*answer));
    answer->end = VAPI_HTTP_NOT_SENT;
    answer->body = "";
    if ((answer->what = why_unsendable(request))) {
        return;
    }
    if (left < TIME_MIN) {
        answer->timed_out = 1;
        answer->what = "no time left";
        return;
    }
    if (!(handle = take(http, request, began))) {
        answer->what = "no libcurl handle";
        return;
    }
    handle->ending = request->may_be_abandoned ? &http->ending : NULL;
    if (vapi_handle_send(handle, request, left, answer, p) && handle->origin_len > 0) {
        give_back(http, handle);
    }
    else {
        vapi_handle_free(handle);    /* after a failure nothing of it is trusted */
    }
    apr_atomic_add32(&http->connections, (apr_uint32_t)answer->new_connections);
    answer->took = vapi_clock_now() - began;
}

void vapi_http_abandon(vapi_http_t *http)
{
    apr_atomic_set32(&http->ending, 1);
}

int vapi_http_is_abandoned(const vapi_http_t *http)
{
    return apr_atomic_read32((volatile apr_uint32_t *)&http->ending) != 0;
}

apr_uint32_t vapi_http_connections(const vapi_http_t *http)
{
    return apr_atomic_read32((volatile apr_uint32_t *)&http->connections);
}

/* ---- The engine ---- */

static void lock_shared(CURL *curl, curl_lock_data data, curl_lock_access access, void *baton)
{
    (void)curl, (void)access;
    apr_thread_mutex_lock(((vapi_http_t *)baton)->share_locks[data]);
}

static void unlock_shared(CURL *curl, curl_lock_data data, void *baton)
{
    (void)curl;
    apr_thread_mutex_unlock(((vapi_http_t *)baton)->share_locks[data]);
}

static int is_hashed_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == 8 && name[8] == '.' && isdigit((unsigned char)name[9]);
}

static int has_hashed_names(const char *directory)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;
    int n = 0;

    if (!dir) {
        return 0;
    }
    while (n < CA_HASHED_MIN && (entry = readdir(dir))) {
        n += is_hashed_name(entry->d_name);
    }
    closedir(dir);
    return n == CA_HASHED_MIN;
}

static apr_status_t end_global(void *unused)
{
    (void)unused;
    curl_global_cleanup();
    return APR_SUCCESS;
}

static apr_status_t end_engine(void *data)
{
    vapi_http_t *http = data;

    while (http->n_idle > 0) {
        vapi_handle_free(http->idle[--http->n_idle]);
    }
    if (http->share) {
        curl_share_cleanup(http->share);
    }
    return APR_SUCCESS;
}

static apr_status_t make_share(vapi_http_t *http, apr_pool_t *p)
{
    apr_status_t rv;
    int i;

    for (i = 0; i < CURL_LOCK_DATA_LAST; i++) {
        if ((rv = apr_thread_mutex_create(&http->share_locks[i], APR_THREAD_MUTEX_DEFAULT, p)) != APR_SUCCESS) {
            return rv;
        }
    }
    if (!(http->share = curl_share_init())
        || curl_share_setopt(http->share, CURLSHOPT_LOCKFUNC, lock_shared) != CURLSHE_OK
        || curl_share_setopt(http->share, CURLSHOPT_UNLOCKFUNC, unlock_shared) != CURLSHE_OK
        || curl_share_setopt(http->share, CURLSHOPT_USERDATA, http) != CURLSHE_OK
#if LIBCURL_VERSION_NUM >= 0x080c00
        /* Before 8.12 threads may not share these, whatever the locks; a new connection then costs 0.3 ms more. */
        || curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK
#endif
        || curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK) {
        return APR_ENOMEM;
    }
    return APR_SUCCESS;
}

apr_status_t vapi_http_create(vapi_http_t **out, int max_idle, apr_pool_t *pchild)
{
    vapi_http_t *http = apr_pcalloc(pchild, sizeof(*http));
    apr_status_t rv;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return APR_EGENERAL;
    }
    apr_pool_cleanup_register(pchild, NULL, end_global, apr_pool_cleanup_null);
    http->max_idle = max_idle > 0 ? max_idle : 1;
    http->idle = apr_pcalloc(pchild, sizeof(vapi_handle_t *) * (apr_size_t)http->max_idle);
    http->ca_directory = has_hashed_names(VAPI_CA_DIRECTORY);
    if ((rv = apr_thread_mutex_create(&http->lock, APR_THREAD_MUTEX_DEFAULT, pchild)) != APR_SUCCESS
        || (rv = make_share(http, pchild)) != APR_SUCCESS) {
        return rv;
    }
    apr_pool_cleanup_register(pchild, http, end_engine, apr_pool_cleanup_null);    /* last: runs first, while the locks live */
    *out = http;
    return APR_SUCCESS;
}
