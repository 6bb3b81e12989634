/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_transfer.h
 * @brief The one POST that moves a call, and what the control API's answers mean. Also: is this control URL one we may call?
 *        Knows no httpd request.
 */
#ifndef VAPI_TRANSFER_H
#define VAPI_TRANSFER_H

#include "vapi_http.h"

/** One pattern of VapiControlHosts, parsed: `[http://]HOST[:PORT|:*]`. */
typedef struct vapi_control_host_t vapi_control_host_t;

/**
 * Reads a pattern at start-up. HOST: a name, `*.name` (any labels before it), an IPv4 or [IPv6] literal; port 443 unless given
 * (80 with http://), `:*` any.
 * @return NULL or what is wrong with it, without the directive's name.
 */
const char *vapi_control_host_parse(vapi_control_host_t **out, const char *pattern, apr_pool_t *p);

/** The pattern as written, for dumps. */
const char *vapi_control_host_text(const vapi_control_host_t *host);

/**
 * May this control URL be called (W34, T40)? https only unless the pattern says http://; no userinfo, query, fragment, backslash,
 * space, control or non-ASCII character, percent sign in the host, trailing dot; at most 2048 bytes; an IP literal or another
 * port only where a pattern names it.
 * @param hosts   array of vapi_control_host_t *
 * @param host    out, if not NULL: the URL's host where one could be read, made of [a-z0-9.:-] only and cut at 100 bytes, so that
 *                it may be logged; else "?"
 * @return NULL when allowed, else a constant reason ("host not allowed", "not https", ...) that quotes nothing
 */
const char *vapi_control_url_check(const char *url, const apr_array_header_t *hosts, const char **host, apr_pool_t *p);

/** What became of the POST; the table of control answers in the documentation. */
typedef enum {
    VAPI_MOVE_ACCEPTED = 0,  /* Vapi took it */
    VAPI_MOVE_REFUSED,       /* Vapi says this destination will not do: another may */
    VAPI_MOVE_FAILED,        /* no transfer, and another destination would not help */
    VAPI_MOVE_UNKNOWN        /* it may have been taken: nothing may be tried again */
} vapi_move_outcome;

typedef struct vapi_move_t {
    const vapi_http_profile_t *profile;
    const char *url;                        /* passed vapi_control_url_check */
    const char *token;                      /* VapiControlToken, or NULL */
    const char *body;                       /* JSON */
    apr_size_t body_len;
    apr_interval_time_t timeout;            /* VapiControlTimeout: of one try */
    apr_interval_time_t connect_timeout;    /* VapiControlConnectTimeout */
    apr_time_t deadline;                    /* of the whole request */
} vapi_move_t;

typedef struct vapi_moved_t {
    vapi_move_outcome outcome;
    const char *reason;                     /* constant, of %{VAPI_REASON}'s words: "refused", "call-gone" (404, 410), "timeout",
                                               ...; NULL when accepted */
    int status;                             /* the last answer's status, 0: none */
    int tries;                              /* 1 or 2 */
    int new_connections;
    apr_interval_time_t took;               /* all tries and the pause between */
    const char *what;                       /* constant words for the log ("Operation timed out"), or NULL */
} vapi_moved_t;

/** Posts the transfer, once more where the table says so and time is left. */
void vapi_transfer_move(vapi_http_t *http, const vapi_move_t *move, vapi_moved_t *moved, apr_pool_t *p);

/** Speaks to the caller over the control URL: {"type":"say","content":...} (W30). One try. @return 1 when Vapi took it. */
int vapi_transfer_say(vapi_http_t *http, const vapi_move_t *how, const char *text, apr_pool_t *p);

/**
 * Asks Vapi for a call's control URL: GET base/call/ID with the private key (W36). The answer is not checked yet.
 * @return the URL in `p`, or NULL and *why (constant)
 */
const char *vapi_transfer_ask_url(vapi_http_t *http, const vapi_move_t *how, const char *base, const char *key,
                                  const char *call_id, const char **why, apr_pool_t *p);

/** Classifies one answer by the table; *again is set where it means "not sent: once more if time is left". For tests too. */
vapi_move_outcome vapi_transfer_classify(const vapi_http_answer_t *answer, const char **reason, int *again);

#endif
