/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_log.h
 * @brief One line a decision, the request's notes, and the form in which anything of a call may be shown. Nothing else of this
 *        module writes of a call.
 */
#ifndef VAPI_LOG_H
#define VAPI_LOG_H

#include <httpd.h>

#include "vapi_config.h"

/** What a decision was; strings are constants or come from the configuration unless said otherwise. */
typedef struct vapi_record_t {
    const char *call;          /* as sent: shown only if it has the form of an id */
    const char *type;
    const char *tool;          /* as sent: shown only if it has the form of a tool's name */
    const char *route, *destination, *member;
    const char *target, *label;     /* what the route names, and what is spoken for the member: for actions, not shown */
    int route_number;          /* for the counters; -1: none */
    const char *outcome, *reason;
    const char *caller, *dialled;   /* shown as VapiLogNumbers says */
    int attempt;               /* -1: not known */
    int control_status;        /* 0: none */
    apr_interval_time_t control_time;   /* -1: no control request */
    const char *what;          /* constant words of libcurl, or NULL */
} vapi_record_t;

/** Sets the notes of interface section 3 and writes the line: INFO, or WARN for refused, failed, unknown, no-route, limited,
 * malformed. */
void vapi_log_decision(request_rec *r, vapi_log_numbers numbers, const vapi_record_t *record);

/** A delivery that did not authenticate: notes always, a line at most once a minute a reason. `clocks`: " sent=... now=..." of a
 * stale one, else "". */
void vapi_log_unauthorized(request_rec *r, const char *reason, const char *clocks);

/** An id of a call or tool call as it may be logged: itself if made of [A-Za-z0-9_.:-] and no longer than 64, else "-". */
const char *vapi_log_id(const char *id);

/** A number or URI as VapiLogNumbers says. */
const char *vapi_log_number(const char *number, vapi_log_numbers numbers, apr_pool_t *p);

/**
 * httpd writes all request headers at trace4, mod_http2 at trace2, a bearer secret among them. post_config: where a credential's
 * secret travels in a header, log configurations that stop httpd's http module at trace3, for its virtual host, and mod_http2 at
 * trace1, for all. post_read_request: puts the one on requests that bring such a header; pre_connection: the other on
 * connections.
 */
void vapi_log_prepare_quiet(server_rec *s, apr_pool_t *pconf);
int vapi_log_quiet(request_rec *r);
int vapi_log_quiet_connection(conn_rec *c, void *csd);

#endif
