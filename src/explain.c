/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * POST .../explain: what a section would do with a payload, by the same table and the same checks as a live delivery, with a set
 * clock and set answers. Nothing is claimed, counted, gated or sent: claims, limits, required actions, the gate and the control
 * API's answers are left out, and the outcome is that of a first delivery which Vapi accepts.
 */
#include <stddef.h>

#include <apr_strings.h>
#include <glib.h>

#include <httpd.h>
#include <ap_expr.h>
#include <http_config.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "vapi_body.h"
#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_dial.h"
#include "vapi_given.h"
#include "vapi_reply.h"
#include "vapi_text.h"

#define HIDDEN    "***"
#define TIME_MAX  40    /* characters of at= */

/** What the query string says, as it says it. */
typedef struct asked_t {
    const char *location, *at, *lookups;    /* NULL: not given */
    apr_array_header_t *with;               /* const char * */
} asked_t;

typedef struct explanation_t {
    vapi_delivery_t d;
    int whole;                    /* nothing is masked */
    apr_time_t now;
    vapi_given_t *given;
    vapi_question_t q;
    vapi_decision_t decision;
    vapi_ending_t end;
} explanation_t;

static int refuse(request_rec *r, int status, const char *why)
{
    return vapi_console_reply(r, status, vapi_reply_error(why, r->pool));
}

/* ---- the query string ---- */

static const char *take_once(const char **member, const char *name, const char *value, apr_pool_t *p)
{
    if (*member) {
        return apr_pstrcat(p, name, " is given twice", NULL);
    }
    *member = value;
    return NULL;
}

static const char *take_parameter(asked_t *asked, const char *name, const char *value, apr_pool_t *p)
{
    if (strcmp(name, "location") == 0) {
        return take_once(&asked->location, name, value, p);
    }
    if (strcmp(name, "at") == 0) {
        return take_once(&asked->at, name, value, p);
    }
    if (strcmp(name, "lookups") == 0) {
        return take_once(&asked->lookups, name, value, p);
    }
    if (strcmp(name, "with") == 0) {
        APR_ARRAY_PUSH(asked->with, const char *) = value;
        return NULL;
    }
    return apr_pstrcat(p, "unknown parameter", vapi_word_is_name(name) ? " " : "", vapi_word_is_name(name) ? name : "",
                       "; known are location, at, with and lookups", NULL);
}

/* @return NULL or what is wrong */
static const char *read_query(asked_t *asked, const char *query, apr_pool_t *p)
{
    char *rest = apr_pstrdup(p, query ? query : ""), *piece, *last, *value;
    const char *error;

    memset(asked, 0, sizeof(*asked));
    asked->with = apr_array_make(p, 4, sizeof(const char *));
    for (piece = apr_strtok(rest, "&", &last); piece; piece = apr_strtok(NULL, "&", &last)) {
        if ((value = strchr(piece, '=')) != NULL) {
            *value++ = '\0';
        }
        else {
            value = piece + strlen(piece);
        }
        if (ap_unescape_urlencoded(piece) != OK || ap_unescape_urlencoded(value) != OK) {
            return "the query string has a percent sign that is no encoding";
        }
        if ((error = take_parameter(asked, piece, value, p)) != NULL) {
            return error;
        }
    }
    if (!asked->location || *asked->location != '/') {
        return "location must be the path of an endpoint, such as /vapi/transfer";
    }
    if (asked->lookups && strcmp(asked->lookups, "on") != 0 && strcmp(asked->lookups, "off") != 0) {
        return "lookups must be on or off";
    }
    return NULL;
}

/* ISO 8601 with a zone; 0: it is none. Seconds may be left out, and where the zone's + was not percent-encoded a blank came. */
static int read_time(apr_time_t *out, const char *text, apr_pool_t *p)
{
    char *copy = apr_pstrdup(p, text), *blank = strrchr(copy, ' ');
    GDateTime *time;

    if (strlen(text) > TIME_MAX) {
        return 0;
    }
    if (blank && blank - copy > 10) {
        *blank = '+';
    }
    if (strlen(copy) > 16 && copy[13] == ':' && copy[16] != ':') {
        copy = apr_pstrcat(p, apr_pstrmemdup(p, copy, 16), ":00", copy + 16, NULL);
    }
    if ((time = g_date_time_new_from_iso8601(copy, NULL)) == NULL) {
        return 0;
    }
    *out = apr_time_make(g_date_time_to_unix(time), g_date_time_get_microsecond(time));
    g_date_time_unref(time);
    return 1;
}

/* @return NULL or what is wrong */
static const char *read_world(explanation_t *x, const asked_t *asked)
{
    const char *error;
    int i;

    x->now = apr_time_now();
    x->given = vapi_given_make(x->d.pool);
    if (asked->at && !read_time(&x->now, asked->at, x->d.pool)) {
        return "at must be a time with its zone, such as 2026-05-04T15:00:00Z or 2026-05-04T15:00:00-04:00";
    }
    for (i = 0; i < asked->with->nelts; i++) {
        error = vapi_given_add(x->given, APR_ARRAY_IDX(asked->with, i, const char *), &x->d.host->names, x->d.pool);
        if (error) {
            return apr_pstrcat(x->d.pool, "with: ", error, NULL);
        }
    }
    return NULL;
}

/* ---- the endpoint ---- */

static int is_endpoint(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const char *error = NULL, *handler = core->handler;

    if (core->expr_handler) {
        handler = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    return !error && handler && strcmp(handler, "vapi-transfer") == 0;
}

/* Marks a request of the console for as long as it looks at what Apache has at another path. */
static const char looking[] = "vapi-console looks";

int vapi_explain_access(request_rec *r)
{
    return r->main && ap_get_module_config(r->main->request_config, &vapi_transfer_module) == looking ? OK : DECLINED;
}

/* What Apache has at that path, as a request that is never run; NULL where that is no endpoint. */
static request_rec *find_endpoint(request_rec *r, const char *location)
{
    request_rec *found;

    ap_set_module_config(r->request_config, &vapi_transfer_module, (void *)looking);
    found = ap_sub_req_method_uri("POST", location, r, NULL);
    ap_set_module_config(r->request_config, &vapi_transfer_module, NULL);
    return is_endpoint(found) ? found : NULL;
}

static void prepare(explanation_t *x, request_rec *r, const request_rec *endpoint)
{
    vapi_delivery_t *d = &x->d;

    d->r = r;
    d->pool = r->pool;
    d->endpoint = vapi_endpoint_of(endpoint->per_dir_config);
    d->host = vapi_host_conf(r->server);
    d->global = vapi_global();
    d->arrival = vapi_clock_now();
    d->deadline = d->arrival + vapi_endpoint_budget(d->endpoint);
}

/* Members are chosen as they are now, for this call as it is known by now, but nobody is leased. */
static void look_at_pools(vapi_delivery_t *d)
{
    if ((d->desk = vapi_delivery_desk(d)) != NULL) {
        d->desk->only_look = 1;
        d->desk->sent_to = vapi_trail_read(&d->once);
    }
}

static int refuse_body(request_rec *r, int status)
{
    if (status == AP_FILTER_ERROR || status == DONE) {
        return status;
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    switch (status) {
    case HTTP_REQUEST_ENTITY_TOO_LARGE:
        return refuse(r, status, "the body is larger than VapiBodyLimit or LimitRequestBody allow");
    case HTTP_REQUEST_TIME_OUT:
        return refuse(r, status, "the body came too slowly");
    default:
        return refuse(r, status, "the body could not be read");
    }
}

/* ---- the decision ---- */

/* Before the table is asked. */
static void end_early(explanation_t *x, const char *outcome, const char *reason, const char *error)
{
    x->end.outcome = x->q.outcome = outcome;
    x->end.reason = reason;
    x->end.text = error;
    x->end.is_error = error != NULL;
}

/* The tool call that a live delivery would take first: one without an id is never answered (the legacy form has none). */
static const vapi_tool_call_t *first_call(const vapi_message_t *m)
{
    int i;

    for (i = 0; i < m->tool_calls->nelts; i++) {
        const vapi_tool_call_t *call = &APR_ARRAY_IDX(m->tool_calls, i, vapi_tool_call_t);
        if (m->type != VAPI_MESSAGE_TOOL_CALLS || (call->id && *call->id)) {
            return call;
        }
    }
    return NULL;
}

static void explain_call(explanation_t *x, vapi_form form)
{
    vapi_delivery_t *d = &x->d;
    const vapi_tool_call_t *call = first_call(d->message);
    int any_name = 1;
    const vapi_tool_t *tool = call ? vapi_endpoint_tool(d->endpoint, call->name, &any_name) : NULL;
    const char *error;

    if (form == VAPI_FORM_CONTROL && !call) {
        end_early(x, "ignored", NULL, NULL);
        return;
    }
    if (form == VAPI_FORM_CONTROL && !tool && !any_name) {
        end_early(x, "no-route", "bad-argument", "unknown tool");
        return;
    }
    if (call && (error = vapi_arguments_take(tool, d->global->decrypt, &call, d->pool)) != NULL) {
        end_early(x, "no-route", "bad-argument", error);
        return;
    }
    vapi_delivery_question(d, call, &x->q);
    x->q.attempt = x->given->attempt;
    x->q.now = x->now;
    x->q.given = x->given;
    vapi_route_decide(vapi_endpoint_routes(d->endpoint), 0, &d->host->names, form, &x->q, &x->decision);
    vapi_ending_decided(&x->decision, form, &x->q, &x->end);
}

static void explain(explanation_t *x)
{
    switch (x->d.message->type) {
    case VAPI_MESSAGE_TOOL_CALLS:
    case VAPI_MESSAGE_FUNCTION_CALL:
        explain_call(x, VAPI_FORM_CONTROL);
        break;
    case VAPI_MESSAGE_TRANSFER_DESTINATION:
        explain_call(x, VAPI_FORM_TRANSFER_REQUEST);
        break;
    case VAPI_MESSAGE_HANDOFF_DESTINATION:
        explain_call(x, VAPI_FORM_HANDOFF_REQUEST);
        break;
    case VAPI_MESSAGE_ASSISTANT_REQUEST:
        explain_call(x, VAPI_FORM_ASSISTANT_REQUEST);
        break;
    default:
        end_early(x, "ignored", NULL, NULL);
    }
}

/* ---- the answer ---- */

static int is_one_of(const char *word, const char *const *list)
{
    while (*list && strcmp(*list, word) != 0) {
        list++;
    }
    return *list != NULL;
}

/*
 * A string of what would be sent, for those who may only read: shown where it is Vapi's own word or a fixed target, hidden where
 * a value of the call may be in it. Any string of a json: file may hold one, except the type of the destination and what it dials
 * if that is fixed. `level`: 1 for members of the whole, 2 for those of its objects.
 */
static const char *masked_text(const explanation_t *x, const char *member, int level, const char *text)
{
    static const char *const types[] = { "transfer", "handoff", "number", "sip", "assistant", "squad", NULL };
    static const char *const words[] = { "type", "mode", "sipVerb", "role", "assistantName", "assistantId", "squadId", NULL };
    const vapi_destination_t *destination = x->decision.destination;
    vapi_target_kind kind = x->decision.dialled.kind;

    if (level <= 2 && kind <= VAPI_TARGET_SIP && strcmp(member, kind == VAPI_TARGET_SIP ? "sipUri" : "number") == 0) {
        return !vapi_destination_is_runtime(destination) ? text
               : vapi_endpoint_log_numbers(x->d.endpoint) == VAPI_NUMBERS_NONE ? HIDDEN : vapi_dial_mask(text, x->d.pool);
    }
    if (vapi_destination_kind(destination) == VAPI_TARGET_JSON) {
        return strcmp(member, "type") == 0 && is_one_of(text, types) ? text : HIDDEN;
    }
    return is_one_of(member, words) ? text : HIDDEN;
}

static json_t *masked(const explanation_t *x, const char *member, int level, json_t *value) /* NOLINT(misc-no-recursion) */
{
    json_t *out, *inner;
    const char *key;
    size_t i;

    if (json_is_string(value)) {
        return vapi_text_json(masked_text(x, member, level, json_string_value(value)), x->d.pool);
    }
    if (json_is_array(value)) {
        out = json_array();
        json_array_foreach(value, i, inner) {
            json_array_append_new(out, masked(x, member, level + 1, inner));
        }
        return out;
    }
    if (!json_is_object(value)) {
        return json_deep_copy(value);
    }
    out = json_object();
    json_object_foreach(value, key, inner) {
        json_object_set_new(out, key, masked(x, key, level + 1, inner));
    }
    return out;
}

static json_t *body_json(const explanation_t *x)
{
    json_t *body = x->decision.dialled.body;
    return x->whole ? json_deep_copy(body) : masked(x, "", 0, body);
}

static json_t *reply_json(const explanation_t *x)
{
    json_t *reply;

    if (!x->end.text) {
        return x->decision.route ? body_json(x) : json_object();
    }
    reply = json_object();
    json_object_set_new(reply, x->end.is_error ? "error" : "result",
                        x->end.is_written && !x->whole ? json_string(HIDDEN)
                                                   : vapi_text_json(vapi_text_one_line(x->end.text, x->d.pool), x->d.pool));
    return reply;
}

static json_t *word_json(const char *word, apr_pool_t *p)
{
    return word && *word ? vapi_text_json(word, p) : json_null();
}

static json_t *trace_json(const apr_array_header_t *trace, apr_pool_t *p)
{
    json_t *list = json_array();
    int i;

    for (i = 0; trace && i < trace->nelts; i++) {
        const vapi_trace_t *asked = &APR_ARRAY_IDX(trace, i, vapi_trace_t);

        json_array_append_new(list, json_pack("{s:o, s:s, s:o}", "route", vapi_text_json(asked->route->label, p), "result",
                                              asked->result, "why", word_json(asked->why, p)));
    }
    return list;
}

static const char *answer(const explanation_t *x)
{
    const vapi_decision_t *decision = &x->decision;
    apr_pool_t *p = x->d.pool;
    int moves = decision->route && !decision->route->is_none;
    int is_posted = moves && (x->d.message->type == VAPI_MESSAGE_TOOL_CALLS || x->d.message->type == VAPI_MESSAGE_FUNCTION_CALL);
    json_t *all = json_object();
    const char *json;

    json_object_set_new(all, "outcome", json_string(x->end.outcome));
    json_object_set_new(all, "reason", word_json(x->end.reason, p));
    json_object_set_new(all, "route", word_json(decision->route ? decision->route->label : NULL, p));
    json_object_set_new(all, "target", word_json(decision->route ? decision->route->target : NULL, p));
    json_object_set_new(all, "destination", word_json(moves ? x->q.destination : NULL, p));
    json_object_set_new(all, "control", is_posted ? body_json(x) : json_null());
    json_object_set_new(all, "reply", reply_json(x));
    json_object_set_new(all, "trace", trace_json(decision->trace, p));
    json = vapi_reply_json(all, p);
    json_decref(all);
    return json;
}

int vapi_explain(request_rec *r, int may_manage)
{
    explanation_t *x = apr_pcalloc(r->pool, sizeof(*x));
    request_rec *endpoint;
    const char *error;
    asked_t asked;
    int status, lookups;

    if ((error = read_query(&asked, r->args, r->pool)) != NULL) {
        return refuse(r, HTTP_BAD_REQUEST, error);
    }
    lookups = asked.lookups && strcmp(asked.lookups, "on") == 0;
    if (lookups && !may_manage) {
        return refuse(r, HTTP_FORBIDDEN, "lookups=on needs VapiConsole manage");
    }
    if ((endpoint = find_endpoint(r, asked.location)) == NULL) {
        return refuse(r, HTTP_NOT_FOUND, "there is no SetHandler vapi-transfer at this location");
    }
    prepare(x, r, endpoint);
    x->whole = may_manage;
    if ((error = read_world(x, &asked)) != NULL) {
        return refuse(r, x->given->lacks_pool ? HTTP_NOT_FOUND : HTTP_BAD_REQUEST, error);
    }
    if ((status = vapi_body_read(&x->d)) != 0) {
        return refuse_body(r, status);
    }
    if ((error = vapi_message_read(&x->d.message, x->d.body, x->d.body_len, r->pool)) != NULL) {
        return refuse(r, HTTP_BAD_REQUEST, error);
    }
    x->d.r = endpoint;    /* Apache's own variables are those of the endpoint, not of the console */
    x->d.caller = vapi_message_caller(x->d.message);
    vapi_delivery_see_state(&x->d);
    x->d.once.host = x->d.host->id;
    x->d.once.call = x->d.message->call_id;
    x->d.once.pool = r->pool;
    if (lookups) {
        vapi_delivery_open(&x->d, vapi_delivery_post_time(&x->d));
        x->d.reach->only_reads = 1;
    }
    look_at_pools(&x->d);
    explain(x);
    vapi_delivery_close(&x->d);
    return vapi_console_reply(r, HTTP_OK, answer(x));
}
