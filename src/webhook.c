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

#include "vapi_body.h"
#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_metrics.h"
#include "vapi_reply.h"
#include "vapi_report.h"
#include "vapi_shared.h"
#include "vapi_webhook.h"

APLOG_USE_MODULE(vapi_transfer);

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

/* What never comes to a decision, noted and counted like one. */
static void note_outcome(request_rec *r, const char *outcome)
{
    apr_table_setn(r->notes, "vapi-outcome", outcome);
    vapi_metrics_outcome(vapi_global()->metrics, outcome);
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
    vapi_metrics_outcome(vapi_global()->metrics, "unauthorized");
    return unread ? refuse_unread(r, HTTP_UNAUTHORIZED, "{\"error\":\"authentication failed\"}")
                  : reply(r, HTTP_UNAUTHORIZED, "{\"error\":\"authentication failed\"}");
}

/* ---- 1 read the capped body ---- */

/* Why the body was not read, in words for the far end and, for the cap, for the administrator. */
static int refuse_body(vapi_delivery_t *d, int status)
{
    if (status == AP_FILTER_ERROR || status == DONE) {
        return status;
    }
    note_outcome(d->r, "malformed");
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r,
                      "vapi: outcome=malformed a delivery is longer than VapiBodyLimit (%" APR_OFF_T_FMT
                      " bytes) or LimitRequestBody allow",
                      vapi_endpoint_body_limit(d->endpoint));
        return refuse_unread(d->r, status, "{\"error\":\"the body is too large\"}");
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, d->r, "vapi: outcome=malformed a delivery did not arrive whole, or not in time");
    return refuse_unread(d->r, status,
                         status == HTTP_REQUEST_TIME_OUT ? "{\"error\":\"the body came too slowly\"}"
                                                         : "{\"error\":\"the body could not be read\"}");
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
            return apr_psprintf(d->pool, " sent=%" APR_TIME_T_FMT " now=%" APR_TIME_T_FMT, apr_time_sec(sent),
                                apr_time_sec(auth->now));
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
 * What claims, gate and counters know the call by. Calls without an id must not share them: their control URL tells them apart,
 * or what is asked, or the delivery itself, whose bytes are the same when it comes again. Messages that ask nothing are known by
 * nothing then, and are not claimed.
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
    vapi_delivery_see_state(d);
    d->once.host = d->host->id;
    d->once.call = identity_of(d);
    d->once.pool = d->pool;
    d->came_back = d->transfers && *d->once.call && vapi_message_transfer_failed(last);
    return NULL;
}

static int refuse_malformed(vapi_delivery_t *d, const char *error)
{
    note_outcome(d->r, "malformed");
    ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: outcome=malformed an authenticated delivery cannot be read: %s", error);
    return reply(d->r, HTTP_BAD_REQUEST, vapi_reply_error(error, d->pool));
}

/* ---- what became of the call ---- */

/* The counters' number of the route that a leg was sent by: one of this host, or of a section that all hosts have. -1: it is configured no
 * more. */
static int route_number(const vapi_delivery_t *d, const vapi_leg_t *leg)
{
    const apr_array_header_t *sections = d->global->endpoints;
    int i, j, number = -1;

    for (i = 0; i < sections->nelts; i++) {
        const vapi_endpoint_t *e = APR_ARRAY_IDX(sections, i, vapi_endpoint_t *);
        int is_own = e->server == d->r->server;

        for (j = 0; e->routes && (is_own || number < 0) && j < e->routes->nelts; j++) {
            const vapi_route_t *route = APR_ARRAY_IDX(e->routes, j, vapi_route_t *);
            if (strcmp(route->path, leg->path) == 0 && strcmp(route->label, leg->route) == 0) {
                number = route->number;
            }
        }
    }
    return number;
}

static void count_end(void *baton, const vapi_leg_t *leg)
{
    const vapi_delivery_t *d = baton;

    vapi_metrics_ended(d->global->metrics, route_number(d, leg), leg->status);
}

/* Any message may show what became of an earlier transfer: before anything is decided, so that whoever is free again can be chosen, and a
 * call that came back can be moved again. That an earlier transfer failed says nothing of the last one. */
static void settle_reports(vapi_delivery_t *d)
{
    vapi_report_t report = { &d->once, &d->host->names, d->caller, d->message, count_end, d, 0, 0, 0 };

    vapi_report_settle(&report);
    if (d->came_back && !report.is_of_earlier) {
        vapi_gate_came_back(&d->once, d->transfers);
    }
    if (report.released || report.rested) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, d->r, "vapi: call=%s report released %d, rested %d", vapi_log_id(d->message->call_id),
                      report.released, report.rested);
    }
}

/* ---- 4 to 7, by the type of the message ---- */

/* Messages that only tell: known again when they come twice, and the end of a call has its actions. */
static const char *note_report(vapi_delivery_t *d)
{
    vapi_question_t q;
    vapi_record_t record;
    vapi_hold_t hold;
    const char *seen = NULL, *id = d->message->type == VAPI_MESSAGE_STATUS_UPDATE ? vapi_message_status(d->message) : "";
    vapi_once_verdict verdict = VAPI_ONCE_ERROR;
    int changed, is_report = *d->once.call && d->message->type != VAPI_MESSAGE_OTHER && d->message->type != VAPI_MESSAGE_UNSERVED;

    vapi_delivery_open(d, d->deadline - VAPI_REPLY_RESERVE);
    vapi_delivery_question(d, NULL, &q);
    vapi_delivery_record(d, &q, &record);
    vapi_delivery_identify(d, d->message->type_name, id);
    if (is_report) {
        verdict = vapi_once_claim(&d->once, d->message->type_name, id, 0, &hold, &seen, &changed);
    }
    /* better told twice than not at all where the store cannot say; its key is the same */
    if (is_report && d->message->type == VAPI_MESSAGE_END_OF_CALL && (verdict == VAPI_ONCE_MINE || verdict == VAPI_ONCE_ERROR)) {
        vapi_delivery_tell(d, VAPI_EVENT_END_OF_CALL, &q);
    }
    if (verdict == VAPI_ONCE_MINE) {
        vapi_once_settle(&d->once, &hold, "{}");
    }
    if (d->message->type == VAPI_MESSAGE_UNSERVED) {
        vapi_delivery_warn_once(d, apr_pstrcat(d->pool, "this URL receives ", d->message->type_name,
                                               ", which mod_vapi_transfer does not serve", NULL));
    }
    record.outcome = verdict == VAPI_ONCE_SEEN || verdict == VAPI_ONCE_STILL_WORKING ? "duplicate" : "ignored";
    vapi_delivery_log(d, &record);
    return "{}";
}

static const char *answer(vapi_delivery_t *d)
{
    if (d->message->type != VAPI_MESSAGE_OTHER && vapi_message_delegates_call_control(d->message)) {
        vapi_delivery_warn_once(d,
                                "serverMessages holds phone-call-control, which hands transfer and hang-up to this server and "
                                "breaks Vapi's own");
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
    const char *reason = NULL, *error, *said;
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
        return refuse_unread(r, HTTP_METHOD_NOT_ALLOWED,
                             "{\"error\":\"this URL takes POST requests from Vapi: set it as the server "
                             "URL of a tool or assistant\"}");
    }
    got = authenticate_headers(d, &auth, &reason);
    if (got > VAPI_AUTH_NEEDS_BODY) {
        return refuse_unauthorized(r, reason, got == VAPI_AUTH_TIMESTAMP_STALE ? both_clocks(d, &auth) : "", 1);
    }
    if (!vapi_body_is_readable(r)) {
        note_outcome(r, "malformed");
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "vapi: outcome=malformed a delivery is not application/json in UTF-8, or is compressed and no mod_deflate "
                      "unpacks it");
        return refuse_unread(r, HTTP_UNSUPPORTED_MEDIA_TYPE, "{\"error\":\"the body must be application/json in UTF-8\"}");
    }
    if ((status = vapi_body_read(d)) != 0) {                                              /* 1 */
        return refuse_body(d, status);
    }
    if (got == VAPI_AUTH_NEEDS_BODY && (got = try_credentials(d, &auth, 1)) != VAPI_AUTH_OK) {   /* 2 */
        return refuse_unauthorized(r, vapi_auth_reason(got), "", 0);
    }
    if ((error = read_message(d)) != NULL) {                                         /* 3 */
        return refuse_malformed(d, error);
    }
    settle_reports(d);
    said = answer(d);                                                                /* 4 to 7 */
    vapi_delivery_close(d);
    return reply(r, HTTP_OK, said);                                                  /* 8; then the errands, when r->pool is cleared */
}
