/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The way of one delivery. The numbers are those of the list in mod_vapi_transfer.c.
 *
 * Until step 2 is over the bytes are somebody's, not Vapi's: they are read up to the cap, hashed and dropped.
 */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_filter.h>

#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_reply.h"
#include "vapi_shared.h"
#include "vapi_webhook.h"

APLOG_USE_MODULE(vapi_transfer);

#define READ_SIZE     65536
#define FIRST_BUFFER  8192
#define STREAM_POLL   2000    /* microseconds between two looks at a stream */
#define POST_RESERVE  apr_time_from_sec(2)    /* what the control POST always keeps, or half of a budget under twice that */

/* ---- 8 reply ---- */

static int reply(request_rec *r, int status, const char *json)
{
    apr_size_t len = strlen(json);

    r->status = status;
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t)len);
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    if (!r->header_only) {
        ap_rwrite(json, (int)len, r);
    }
    return OK;
}

/* A refusal before the body was read whole: the connection is not kept, so that the rest need not be read either. */
static int refuse_unread(request_rec *r, int status, const char *json)
{
    r->connection->keepalive = AP_CONN_CLOSE;
    return reply(r, status, json);
}

static int refuse_unauthorized(request_rec *r, const char *reason, const char *clocks, int unread)
{
    apr_table_setn(r->err_headers_out, "WWW-Authenticate", "Vapi");
    vapi_log_unauthorized(r, reason, clocks);
    return unread ? refuse_unread(r, HTTP_UNAUTHORIZED, "{\"error\":\"authentication failed\"}")
                  : reply(r, HTTP_UNAUTHORIZED, "{\"error\":\"authentication failed\"}");
}

/* ---- 1 read the capped body ---- */

/* Only JSON in UTF-8 is read. Parameters other than charset do not matter. */
static int is_json(request_rec *r)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type"), *charset;
    apr_size_t len;

    if (!type || strncasecmp(type, "application/json", 16) != 0 || (type[16] && type[16] != ';' && !apr_isspace(type[16]))) {
        return 0;
    }
    charset = ap_strcasestr(type + 16, "charset=");
    if (!charset) {
        return 1;
    }
    charset += 8;
    charset += *charset == '"';
    len = strcspn(charset, "\"; \t");
    return (len == 5 && strncasecmp(charset, "utf-8", 5) == 0) || (len == 4 && strncasecmp(charset, "utf8", 4) == 0);
}

/* A compressed body is read only through mod_deflate's input filter, under its limits; that reads gzip. */
static int is_readable_encoding(request_rec *r)
{
    const char *encoding = apr_table_get(r->headers_in, "Content-Encoding");
    ap_filter_t *filter;

    if (!encoding || strcasecmp(encoding, "identity") == 0) {
        return 1;
    }
    if (strcasecmp(encoding, "gzip") != 0 && strcasecmp(encoding, "x-gzip") != 0) {
        return 0;
    }
    for (filter = r->input_filters; filter; filter = filter->next) {
        if (strcasecmp(filter->frec->name, "DEFLATE") == 0) {
            return 1;
        }
    }
    return 0;
}

typedef struct reading_t {
    char *bytes;
    apr_size_t len, room;
    apr_off_t limit;
} reading_t;

/* Room for what is announced, else it doubles; never beyond the cap, and a large announcement is believed only as bytes come. */
static void make_room(reading_t *reading, apr_size_t more, apr_pool_t *p)
{
    apr_size_t room = reading->room;
    char *bytes;

    if (reading->len + more <= room) {
        return;
    }
    while (room < reading->len + more) {
        room *= 2;
    }
    bytes = apr_palloc(p, room);
    memcpy(bytes, reading->bytes, reading->len);
    reading->bytes = bytes;
    reading->room = room;
}

/* Takes the data of one brigade; *done at its EOS. @return 0 or a status */
static int take(reading_t *reading, apr_bucket_brigade *bb, int *done, apr_pool_t *p)
{
    apr_bucket *b;
    const char *data;
    apr_size_t len;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = APR_BUCKET_NEXT(b)) {
        if (APR_BUCKET_IS_EOS(b)) {
            *done = 1;
            return 0;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS) {
            return HTTP_BAD_REQUEST;
        }
        if ((apr_off_t)(reading->len + len) > reading->limit) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        make_room(reading, len, p);
        memcpy(reading->bytes + reading->len, data, len);
        reading->len += len;
    }
    return 0;
}

/* The connection's time-out for the read that follows: no longer than the request has left. */
static apr_status_t bound_read(request_rec *r, apr_time_t deadline, apr_interval_time_t usual)
{
    apr_interval_time_t left = vapi_clock_left(deadline);
    apr_socket_t *socket = r->connection->master ? NULL : ap_get_conn_socket(r->connection);

    if (left <= 0) {
        return APR_TIMEUP;
    }
    return socket ? apr_socket_timeout_set(socket, left < usual || usual < 0 ? left : usual) : APR_SUCCESS;
}

/* An HTTP/2 stream has no socket of its own to bound the wait of: it is asked again and again. APR_EAGAIN: nothing is there yet. */
static apr_status_t read_some(vapi_delivery_t *d, apr_bucket_brigade *bb)
{
    int waits = d->r->connection->master == NULL;
    apr_status_t rv = ap_get_brigade(d->r->input_filters, bb, AP_MODE_READBYTES, waits ? APR_BLOCK_READ : APR_NONBLOCK_READ, READ_SIZE);

    if (!waits && (APR_STATUS_IS_EAGAIN(rv) || (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(bb)))) {
        apr_sleep(STREAM_POLL);
        return APR_EAGAIN;
    }
    return rv;
}

static int read_brigades(vapi_delivery_t *d, reading_t *reading, apr_interval_time_t usual)
{
    apr_bucket_brigade *bb = apr_brigade_create(d->pool, d->r->connection->bucket_alloc);
    apr_status_t rv;
    int done = 0, status = 0;

    while (!done && !status) {
        rv = bound_read(d->r, vapi_delivery_post_time(d), usual);
        if (rv == APR_SUCCESS) {
            rv = read_some(d, bb);
        }
        if (APR_STATUS_IS_EAGAIN(rv) && d->r->connection->master) {
            continue;
        }
        if (rv != APR_SUCCESS) {
            return APR_STATUS_IS_TIMEUP(rv) ? HTTP_REQUEST_TIME_OUT : ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
        status = take(reading, bb, &done, d->pool);
        apr_brigade_cleanup(bb);
    }
    return status;
}

/* @return 0, an HTTP status to answer with, or AP_FILTER_ERROR: a filter has answered already */
static int read_body(vapi_delivery_t *d)
{
    apr_socket_t *socket = d->r->connection->master ? NULL : ap_get_conn_socket(d->r->connection);
    const char *announced = apr_table_get(d->r->headers_in, "Content-Length");
    apr_interval_time_t usual = -1;
    reading_t reading = { NULL, 0, FIRST_BUFFER, vapi_endpoint_body_limit(d->endpoint) };
    apr_off_t length = 0;
    char *end;
    int status;

    if (announced && apr_strtoff(&length, announced, &end, 10) == APR_SUCCESS && !*end) {
        if (length > reading.limit) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        reading.room = length > READ_SIZE * 4 ? READ_SIZE * 4 : (apr_size_t)length + 1;
    }
    reading.bytes = apr_palloc(d->pool, reading.room);
    if (socket) {
        apr_socket_timeout_get(socket, &usual);
    }
    status = read_brigades(d, &reading, usual);
    if (socket) {
        apr_socket_timeout_set(socket, usual);
    }
    d->body = reading.bytes;
    d->body_len = reading.len;
    return status;
}

/* Why the body was not read, in words for the far end and, for the cap, for the administrator. */
static int refuse_body(vapi_delivery_t *d, int status)
{
    if (status == AP_FILTER_ERROR || status == DONE) {
        return status;
    }
    apr_table_setn(d->r->notes, "vapi-outcome", "malformed");
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: outcome=malformed a delivery is longer than VapiBodyLimit (%" APR_OFF_T_FMT
                      " bytes) or LimitRequestBody allow", vapi_endpoint_body_limit(d->endpoint));
        return refuse_unread(d->r, status, "{\"error\":\"the body is too large\"}");
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, d->r, "vapi: outcome=malformed a delivery did not arrive whole, or not in time");
    return refuse_unread(d->r, status, status == HTTP_REQUEST_TIME_OUT ? "{\"error\":\"the body came too slowly\"}" : "{\"error\":\"the body could not be read\"}");
}

/* ---- 2 authenticate ---- */

/* What credentials may need of the request. The URL is made of ServerName: a Host header is the far end's to choose. */
static void describe_request(const vapi_delivery_t *d, vapi_auth_delivery_t *auth)
{
    request_rec *r = d->r;
    const server_rec *s = r->server;
    const char *scheme = s->server_scheme ? s->server_scheme : ap_http_scheme(r);
    apr_port_t port = s->port ? s->port : ap_default_port(r);
    int usual = port == (strcmp(scheme, "https") == 0 ? 443 : 80);

    auth->headers = r->headers_in;
    auth->method = r->method;
    auth->path_and_query = r->unparsed_uri && *r->unparsed_uri == '/' ? r->unparsed_uri : r->uri;
    auth->url = apr_pstrcat(d->pool, scheme, "://", s->server_hostname ? s->server_hostname : "localhost",
                            usual ? "" : apr_psprintf(d->pool, ":%u", port), auth->path_and_query, NULL);
    auth->now = apr_time_now();
}

/* Two refusals: the one that got further is the one that helps to find the fault. */
static vapi_auth further(vapi_auth a, vapi_auth b)
{
    static const char rank[] = { 9, 8, 1, 4, 3, 2 };    /* by vapi_auth */
    return rank[a] >= rank[b] ? a : b;
}

/* One pass over the section's credentials, with the headers alone or with the body too. */
static vapi_auth try_credentials(const vapi_delivery_t *d, const vapi_auth_delivery_t *auth, int with_body)
{
    const apr_array_header_t *names = d->endpoint->authenticate;
    vapi_auth best = VAPI_AUTH_SIGNATURE_MISSING, got;
    int i;

    for (i = 0; i < names->nelts && best != VAPI_AUTH_OK; i++) {
        const vapi_credential_t *c = apr_hash_get(d->host->credentials, APR_ARRAY_IDX(names, i, const char *), APR_HASH_KEY_STRING);
        if (!c) {
            continue;    /* refused at start-up where the start can see it */
        }
        got = vapi_credential_check_headers(c, auth);
        if (with_body && got == VAPI_AUTH_NEEDS_BODY) {
            got = vapi_credential_check_body(c, auth, d->body, d->body_len, d->pool);
        }
        best = i == 0 ? got : further(got, best);
    }
    return best;
}

/* For the log of a stale delivery: one of the two clocks is wrong, and they tell which. */
static const char *both_clocks(const vapi_delivery_t *d, const vapi_auth_delivery_t *auth)
{
    const apr_array_header_t *names = d->endpoint->authenticate;
    apr_time_t sent;
    int i;

    for (i = 0; i < names->nelts; i++) {
        const vapi_credential_t *c = apr_hash_get(d->host->credentials, APR_ARRAY_IDX(names, i, const char *), APR_HASH_KEY_STRING);
        if (c && vapi_credential_sent(&sent, c, auth)) {
            return apr_psprintf(d->pool, " sent=%" APR_TIME_T_FMT " now=%" APR_TIME_T_FMT, apr_time_sec(sent), apr_time_sec(auth->now));
        }
    }
    return apr_psprintf(d->pool, " sent=- now=%" APR_TIME_T_FMT, apr_time_sec(auth->now));
}

/* A user whom this section's Require demanded, asked as httpd asked: one that SSLUserName or the like only names has shown nothing. */
static int is_demanded_user(request_rec *r)
{
    char *user = r->user;
    int demanded;

    if (!user || !*user) {
        return 0;
    }
    r->user = NULL;
    demanded = ap_run_access_checker_ex(r) == DECLINED;
    r->user = user;
    return demanded;
}

/* What can be said before the body is read: VAPI_AUTH_OK, VAPI_AUTH_NEEDS_BODY, or a refusal with *reason. */
static vapi_auth authenticate_headers(const vapi_delivery_t *d, vapi_auth_delivery_t *auth, const char **reason)
{
    const vapi_endpoint_t *e = d->endpoint;
    vapi_auth got;

    if (!e->authenticate) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, d->r, "vapi: no VapiAuthenticate is in force here: every delivery is refused");
        *reason = "not-configured";
        return VAPI_AUTH_SECRET_WRONG;
    }
    if (e->accept_any || (e->accept_apache && is_demanded_user(d->r))) {
        return VAPI_AUTH_OK;
    }
    if (!e->authenticate->nelts) {
        *reason = "no-user";
        return VAPI_AUTH_SECRET_WRONG;
    }
    describe_request(d, auth);
    got = try_credentials(d, auth, 0);
    *reason = vapi_auth_reason(got);
    return got;
}

/* ---- 3 read the message ---- */

void vapi_delivery_question(const vapi_delivery_t *d, const vapi_tool_call_t *call, vapi_question_t *q)
{
    memset(q, 0, sizeof(*q));
    q->r = d->r;
    q->pool = d->pool;
    q->message = d->message;
    q->call = call;
}

void vapi_delivery_record(const vapi_delivery_t *d, const vapi_question_t *q, vapi_record_t *record)
{
    memset(record, 0, sizeof(*record));
    record->call = d->message->call_id;
    record->type = d->message->type_name;
    record->tool = q->call ? q->call->name : NULL;
    record->caller = d->caller;
    record->attempt = -1;
    record->control_time = -1;
}

void vapi_delivery_limit(vapi_delivery_t *d, apr_interval_time_t budget)
{
    if (d->arrival + budget < d->deadline) {
        d->deadline = d->arrival + budget;
        d->once.deadline = d->deadline;
    }
}

apr_time_t vapi_delivery_post_time(const vapi_delivery_t *d)
{
    apr_interval_time_t budget = d->deadline - d->arrival;

    return d->deadline - (budget < 2 * POST_RESERVE ? budget / 2 : POST_RESERVE);
}

void vapi_delivery_warn_once(const vapi_delivery_t *d, const char *text)
{
    const char *assistant = vapi_message_assistant_id(d->message);

    if (vapi_child_first_time(d->global->child, text, assistant)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s assistant=%s: %s", vapi_log_id(d->message->call_id), vapi_log_id(assistant), text);
    }
}

void vapi_delivery_warn_of_target(const vapi_delivery_t *d, const vapi_decision_t *decision)
{
    const char *provider = vapi_message_provider(d->message);

    if (decision->dialled.kind == VAPI_TARGET_SIP && strcmp(vapi_message_transport(d->message), "pstn") == 0) {
        vapi_delivery_warn_once(d, "a SIP destination is used for a call over pstn, which Vapi drops");
    }
    if (decision->dialled.is_own_line) {
        vapi_delivery_warn_once(d, "a destination is the line that the caller dialled: the call comes straight back");
    }
    if (decision->plan && decision->dialled.kind <= VAPI_TARGET_SIP && vapi_plan_is_classic_warm(decision->plan)
        && *provider && strcmp(provider, "twilio") != 0) {
        vapi_delivery_warn_once(d, "a warm transfer plan is used on a provider other than Twilio, which does not have it");
    }
}

const char *vapi_delivery_text(const vapi_text_t *text, const char *otherwise, vapi_question_t *q)
{
    const char *why, *said = text ? vapi_text_expand(text, q, VAPI_TEXT_SPOKEN, &why) : NULL;
    return said && *said ? said : otherwise;
}

/* FNV-1a, 64 bits, of the delivery's bytes. */
static const char *body_id(const vapi_delivery_t *d)
{
    apr_uint64_t hash = APR_UINT64_C(14695981039346656037);
    apr_size_t i;

    for (i = 0; i < d->body_len; i++) {
        hash = (hash ^ (unsigned char)d->body[i]) * APR_UINT64_C(1099511628211);
    }
    return apr_psprintf(d->pool, "body %" APR_UINT64_T_HEX_FMT, hash);
}

/*
 * What claims, gate and counters know the call by. Calls without an id must not share them: their control URL tells them apart, or what is asked, or the
 * delivery itself, whose bytes are the same when it comes again. Messages that ask nothing are known by nothing then, and are not claimed.
 */
static const char *identity_of(const vapi_delivery_t *d)
{
    vapi_message_t *m = d->message;
    const char *url;

    if (*m->call_id) {
        return m->call_id;
    }
    if ((url = vapi_message_control_url(m)) != NULL) {
        return url;
    }
    if (m->tool_calls->nelts && APR_ARRAY_IDX(m->tool_calls, 0, vapi_tool_call_t).id) {
        return APR_ARRAY_IDX(m->tool_calls, 0, vapi_tool_call_t).id;
    }
    return m->type <= VAPI_MESSAGE_ASSISTANT_REQUEST ? body_id(d) : "";
}

static const char *read_message(vapi_delivery_t *d)
{
    const char *last, *error = vapi_message_read(&d->message, d->body, d->body_len, d->pool);

    if (error) {
        return error;
    }
    d->caller = vapi_message_caller(d->message);
    d->transfers = vapi_message_transfers(d->message, &last);
    d->once.state = d->global->state;
    d->once.host = d->host->id;
    d->once.call = identity_of(d);
    d->once.deadline = d->deadline;
    d->once.pool = d->pool;
    if (d->transfers && *d->once.call && vapi_message_transfer_failed(last)) {
        vapi_gate_came_back(&d->once, d->transfers);
    }
    return NULL;
}

static int refuse_malformed(vapi_delivery_t *d, const char *error)
{
    apr_table_setn(d->r->notes, "vapi-outcome", "malformed");
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: outcome=malformed an authenticated delivery cannot be read: %s", error);
    return reply(d->r, HTTP_BAD_REQUEST, vapi_reply_error(error, d->pool));
}

/* ---- 4 to 7, by the type of the message ---- */

/* Messages that only tell: nothing to do yet but to know them again. */
static const char *note_report(vapi_delivery_t *d)
{
    vapi_question_t q;
    vapi_record_t record;
    vapi_hold_t hold;
    const char *seen = NULL, *id = d->message->type == VAPI_MESSAGE_STATUS_UPDATE ? vapi_message_status(d->message) : "";
    vapi_once_verdict verdict = VAPI_ONCE_ERROR;
    int changed;

    vapi_delivery_question(d, NULL, &q);
    vapi_delivery_record(d, &q, &record);
    if (*d->once.call && d->message->type != VAPI_MESSAGE_OTHER && d->message->type != VAPI_MESSAGE_UNSERVED) {
        verdict = vapi_once_claim(&d->once, d->message->type_name, id, 0, &hold, &seen, &changed);
    }
    if (verdict == VAPI_ONCE_MINE) {
        vapi_once_settle(&d->once, &hold, "{}");
    }
    if (d->message->type == VAPI_MESSAGE_UNSERVED) {
        vapi_delivery_warn_once(d, apr_pstrcat(d->pool, "this URL receives ", d->message->type_name, ", which mod_vapi_transfer does not serve", NULL));
    }
    record.outcome = verdict == VAPI_ONCE_SEEN || verdict == VAPI_ONCE_STILL_WORKING ? "duplicate" : "ignored";
    vapi_log_decision(d->r, vapi_endpoint_log_numbers(d->endpoint), &record);
    return "{}";
}

static const char *answer(vapi_delivery_t *d)
{
    if (d->message->type != VAPI_MESSAGE_OTHER && vapi_message_delegates_call_control(d->message)) {
        vapi_delivery_warn_once(d, "serverMessages holds phone-call-control, which hands transfer and hang-up to this server and breaks Vapi's own");
    }
    switch (d->message->type) {
    case VAPI_MESSAGE_TOOL_CALLS:
    case VAPI_MESSAGE_FUNCTION_CALL:
        return vapi_tool_calls_answer(d);
    case VAPI_MESSAGE_TRANSFER_DESTINATION:
        return vapi_destination_request_answer(d, VAPI_FORM_TRANSFER_REQUEST);
    case VAPI_MESSAGE_HANDOFF_DESTINATION:
        return vapi_destination_request_answer(d, VAPI_FORM_HANDOFF_REQUEST);
    case VAPI_MESSAGE_ASSISTANT_REQUEST:
        return vapi_destination_request_answer(d, VAPI_FORM_ASSISTANT_REQUEST);
    default:
        return note_report(d);
    }
}

/* The monotonic time at which the request arrived: httpd noted the wall clock. */
static apr_time_t arrival_of(const request_rec *r)
{
    apr_interval_time_t age = apr_time_now() - r->request_time;

    if (age < 0 || age > apr_time_from_sec(60)) {
        age = 0;    /* the wall clock jumped */
    }
    return vapi_clock_now() - age;
}

int vapi_webhook(request_rec *r)
{
    vapi_delivery_t *d = apr_pcalloc(r->pool, sizeof(*d));
    vapi_auth_delivery_t auth;
    vapi_auth got;
    const char *reason = NULL, *error;
    int status;

    d->r = r;
    d->pool = r->pool;
    d->endpoint = vapi_endpoint_of(r->per_dir_config);
    d->host = vapi_host_conf(r->server);
    d->global = vapi_global();
    d->arrival = arrival_of(r);
    d->deadline = d->arrival + vapi_endpoint_budget(d->endpoint);

    if (r->method_number != M_POST) {
        apr_table_setn(r->err_headers_out, "Allow", "POST");
        return refuse_unread(r, HTTP_METHOD_NOT_ALLOWED, "{\"error\":\"this URL takes POST requests from Vapi: set it as the server URL of a tool or assistant\"}");
    }
    got = authenticate_headers(d, &auth, &reason);
    if (got > VAPI_AUTH_NEEDS_BODY) {
        return refuse_unauthorized(r, reason, got == VAPI_AUTH_TIMESTAMP_STALE ? both_clocks(d, &auth) : "", 1);
    }
    if (!is_json(r) || !is_readable_encoding(r)) {
        apr_table_setn(r->notes, "vapi-outcome", "malformed");
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "vapi: outcome=malformed a delivery is not application/json in UTF-8, or is compressed and no mod_deflate unpacks it");
        return refuse_unread(r, HTTP_UNSUPPORTED_MEDIA_TYPE, "{\"error\":\"the body must be application/json in UTF-8\"}");
    }
    if ((status = read_body(d)) != 0) {                                              /* 1 */
        return refuse_body(d, status);
    }
    if (got == VAPI_AUTH_NEEDS_BODY && (got = try_credentials(d, &auth, 1)) != VAPI_AUTH_OK) {   /* 2 */
        return refuse_unauthorized(r, vapi_auth_reason(got), "", 0);
    }
    if ((error = read_message(d)) != NULL) {                                         /* 3 */
        return refuse_malformed(d, error);
    }
    return reply(r, HTTP_OK, answer(d));                                             /* 4 to 8 */
}
