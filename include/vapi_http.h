/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_http.h
 * @brief HTTP requests to other servers from inside a request: libcurl handles of a child, deadlines, address checks.
 *        Knows nothing of Vapi and nothing of httpd's request.
 *
 * Each child keeps a small pool of idle libcurl handles, last in first out, each with one live connection at most; a handle is used
 * by one thread at a time, and serves one profile. DNS answers are shared between the handles of a child (CURLSH, with
 * locks), TLS sessions where libcurl can (8.12); connections are not, libcurl does not allow it. A kept connection is used again
 * until a second before the time the server names in Keep-Alive, or for 55 s.
 */
#ifndef VAPI_HTTP_H
#define VAPI_HTTP_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

typedef struct vapi_http_t vapi_http_t;     /* the engine of one child process */

/** How a class of servers is reached; made at start-up, read-only after, compared by address: one for each place in the
 * configuration. */
typedef struct vapi_http_profile_t {
    const char *ca_file;         /* NULL: the system's */
    const char *proxy;           /* NULL: none (environment variables are never asked) */
    int allow_private;           /* may the host resolve to a loopback, private, link-local or other non-public address? (With a proxy
                                    it is the proxy that resolves: not looked at) */
    int allow_plain;             /* may the URL be http://? */
} vapi_http_profile_t;

typedef struct vapi_http_request_t {
    const vapi_http_profile_t *profile;
    const char *method;                    /* "GET", "POST", ... */
    const char *url;                       /* checked by the caller; never logged here */
    const apr_array_header_t *headers;     /* of const char *, "Name: value"; may be NULL. One with CR or LF, or without a name:
                                              NOT_SENT */
    const char *body;                      /* NULL: none. Sent once; libcurl may repeat only a GET or HEAD without one, whose kept
                                              connection died */
    apr_size_t body_len;
    apr_interval_time_t connect_timeout;   /* resolve + connect + TLS; cut to what is left */
    apr_time_t deadline;                   /* of vapi_clock_now(); all is over by then */
    int may_be_abandoned;                  /* somebody does it again: it is given up when the child ends (vapi_http_abandon) */
    apr_size_t answer_max;                 /* bytes of the answer's body that are read; the rest is cut and the connection closed */
} vapi_http_request_t;

typedef enum {
    VAPI_HTTP_ANSWERED = 0,  /* a whole answer, or one cut at answer_max (then `cut`) */
    VAPI_HTTP_NOT_SENT,      /* no byte of the request can have left: resolve, connect, TLS, proxy, address not allowed, no time
                                left */
    VAPI_HTTP_BROKEN         /* bytes left and no whole answer came: time-out, reset, garbage, a kept connection that died */
} vapi_http_end;

typedef struct vapi_http_answer_t {
    vapi_http_end end;
    int status;                       /* the status line that came, also with BROKEN (a drip); 0: none */
    const char *body;                 /* in the request's pool, NUL-terminated; "" if none */
    apr_size_t body_len;
    int cut;                          /* the body was longer than answer_max */
    int timed_out;
    int has_retry_after;              /* the header was there */
    apr_interval_time_t retry_after;  /* its value if given in seconds, else 0 */
    int new_connections;              /* connections made for this request */
    apr_interval_time_t took;
    const char *what;                 /* constant text that may be logged: never a URL, a body or an address; NULL when all was well */
    int address_refused;              /* NOT_SENT because the host resolved to an address that is not allowed */
} vapi_http_answer_t;

/** In child_init: libcurl's global part, the shared caches, the empty pool. Everything ends with pchild. max_idle: handles kept
 * idle (threads of a child). */
apr_status_t vapi_http_create(vapi_http_t **out, int max_idle, apr_pool_t *pchild);

/** Does the request; blocks until it is over, at most until its deadline. Never fails otherwise than by answer->end. The answer's
 * body is in `p`. */
void vapi_http_perform(vapi_http_t *http, const vapi_http_request_t *request, vapi_http_answer_t *answer, apr_pool_t *p);

/** The child ends: what may be abandoned ends within a second, and begins no more. For any thread; nothing is freed yet. */
void vapi_http_abandon(vapi_http_t *http);

/** Was it? For what somebody does again and that waits for something else than an answer. */
int vapi_http_is_abandoned(const vapi_http_t *http);

/** Is this a public unicast address? v4-mapped, NAT64 and 6to4 forms are looked through. `addr` is a struct sockaddr of AF_INET
 * or AF_INET6; other families are not public. */
int vapi_http_address_is_public(const void *addr);

/** Connections made by this child since its start, for status. */
apr_uint32_t vapi_http_connections(const vapi_http_t *http);

#endif
