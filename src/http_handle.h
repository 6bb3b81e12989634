/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  http_handle.h
 * @brief One libcurl handle and the connection it keeps: made for a profile, used for one request after the other.
 */
#ifndef VAPI_HTTP_HANDLE_H
#define VAPI_HTTP_HANDLE_H

#include <curl/curl.h>

#include "vapi_http.h"

#define VAPI_ORIGIN_MAX   320                /* "https://" + a name of 253 bytes + a port; a longer one is not kept for */
#define VAPI_CA_DIRECTORY "/etc/ssl/certs"

typedef struct vapi_handle_t {
    CURL *curl;
    const vapi_http_profile_t *profile;
    char origin[VAPI_ORIGIN_MAX];            /* of its connection: scheme, host and port */
    apr_size_t origin_len;                   /* 0: its connection is not to be used again */
    apr_time_t usable_until;                 /* while idle: after this its connection is too old */
    apr_interval_time_t kept_for;            /* how long that is from the last answer */

    char *buffer;                            /* the answer's body, as it comes */
    apr_size_t room, len;

    const vapi_http_request_t *request;      /* from here on: of the request under way */
    vapi_http_answer_t *answer;
    int once;                                /* may not be sent a second time */
    int reached;                             /* a connection stood, the request was about to leave */
    long before;                             /* bytes libcurl had counted as sent then (a proxy's CONNECT) */
    const volatile apr_uint32_t *ending;     /* becomes 1 when it is to be given up; NULL: it is not */
    int died;                                /* it would have been sent a second time */
    int no_memory;
} vapi_handle_t;

/** @param ca_directory  find the system's authorities in VAPI_CA_DIRECTORY? @return NULL when libcurl does not do what it must */
vapi_handle_t *vapi_handle_make(const vapi_http_profile_t *profile, CURLSH *share, int ca_directory);

/** Also closes its connection. */
void vapi_handle_free(vapi_handle_t *handle);

/** Does a request in the time that is left. @return 1 when the handle may be kept, 0 when it is to be freed */
int vapi_handle_send(vapi_handle_t *handle, const vapi_http_request_t *request, apr_interval_time_t left,
                     vapi_http_answer_t *answer, apr_pool_t *p);

#endif
