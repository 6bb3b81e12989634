/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What tool calls and requests for a destination have in common: the question they ask, the record they leave, the time they have. */
#include <stddef.h>
#include <string.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_log.h>

#include "vapi_delivery.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

#define NO_ACTIONS (-1)
#define POST_RESERVE apr_time_from_sec(2)    /* what the control POST always keeps, or half of a budget under twice that */

void vapi_delivery_question(const vapi_delivery_t *d, const vapi_tool_call_t *call, vapi_question_t *q)
{
    memset(q, 0, sizeof(*q));
    q->r = d->r;
    q->pool = d->pool;
    q->message = d->message;
    q->call = call;
    q->names = &d->host->names;
    q->sets = d->endpoint->sets;
    q->now = apr_time_now();
    q->reach = d->reach;
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
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s assistant=%s: %s", vapi_log_id(d->message->call_id),
                      vapi_log_id(assistant), text);
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

void vapi_delivery_decide(const vapi_delivery_t *d, int from, vapi_form form, vapi_question_t *q, vapi_decision_t *decision)
{
    vapi_route_decide(vapi_endpoint_routes(d->endpoint), from, &d->host->names, form, q, decision);
    if (decision->error) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s an expression of the table failed: %s",
                      vapi_log_id(d->message->call_id), decision->error);
    }
}

/* ---- lookups and actions ---- */

void vapi_delivery_open(vapi_delivery_t *d, apr_time_t until)
{
    vapi_reach_t *reach = apr_pcalloc(d->pool, sizeof(*reach));
    vapi_errands_t *errands = apr_pcalloc(d->pool, sizeof(*errands));

    reach->child = d->global->child;
    reach->state = d->global->state;
    reach->host = d->host->id;
    reach->deadline = until;
    reach->made = apr_hash_make(d->pool);
    reach->notes = apr_array_make(d->pool, 2, sizeof(const char *));
    d->reach = reach;

    errands->child = d->global->child;
    errands->spool = d->global->spool;
    errands->server = d->r->server;
    errands->log_call = vapi_log_id(d->message->call_id);
    errands->pool = d->pool;
    d->errands = errands;
}

int vapi_delivery_asks_outside(const vapi_delivery_t *d)
{
    int i;

    if (apr_hash_count(d->host->names.lookups)) {
        return 1;
    }
    for (i = 0; d->endpoint->actions && i < d->endpoint->actions->nelts; i++) {
        if (vapi_action_is_required(APR_ARRAY_IDX(d->endpoint->actions, i, vapi_action_t *))) {
            return 1;
        }
    }
    return 0;
}

void vapi_delivery_identify(const vapi_delivery_t *d, const char *type, const char *id)
{
    const char **identity = d->errands->identity;

    identity[0] = d->host->id;
    identity[1] = d->once.call;
    identity[2] = type;
    identity[3] = id;
}

int vapi_delivery_gate(const vapi_delivery_t *d, vapi_event event, vapi_question_t *q)
{
    return !d->endpoint->actions || vapi_errands_required(d->errands, d->endpoint->actions, event, q);
}

void vapi_delivery_tell(const vapi_delivery_t *d, vapi_event event, vapi_question_t *q)
{
    if (!d->endpoint->actions) {
        return;
    }
    /* the caller waits for the transfer: what only an action wants to know is not asked before it */
    d->reach->only_asked = event == VAPI_EVENT_BEFORE_TRANSFER || event == VAPI_EVENT_BEFORE_ANSWER;
    vapi_errands_collect(d->errands, d->endpoint->actions, event, q);
    d->reach->only_asked = 0;
}

/* Which actions an outcome has; what was limited, or only seen again, has none. */
static int event_of(const char *outcome)
{
    static const struct {
        const char *outcome;
        vapi_event event;
    } events[] = {
        { "transferred", VAPI_EVENT_AFTER_TRANSFER }, { "handed-off", VAPI_EVENT_AFTER_TRANSFER }, { "unknown", VAPI_EVENT_AFTER_TRANSFER },
        { "refused", VAPI_EVENT_TRANSFER_FAILED }, { "failed", VAPI_EVENT_TRANSFER_FAILED }, { "no-route", VAPI_EVENT_TRANSFER_FAILED },
        { "answered", VAPI_EVENT_ANSWERED }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (strcmp(events[i].outcome, outcome) == 0) {
            return (int)events[i].event;
        }
    }
    return NO_ACTIONS;
}

void vapi_delivery_after(const vapi_delivery_t *d, vapi_question_t *q, const vapi_record_t *record)
{
    int event = event_of(record->outcome);

    if (event == NO_ACTIONS) {
        return;
    }
    if (!q->route) {    /* no further route was found behind the one that was refused */
        q->route = record->route;
        q->destination = q->target = record->destination;
    }
    q->outcome = record->outcome;
    q->reason = record->reason;
    vapi_delivery_tell(d, (vapi_event)event, q);
}

void vapi_delivery_close(const vapi_delivery_t *d)
{
    int i;

    if (!d->reach) {
        return;
    }
    for (i = 0; i < d->reach->notes->nelts; i++) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s %s", vapi_log_id(d->message->call_id),
                      APR_ARRAY_IDX(d->reach->notes, i, const char *));
    }
    if (d->reach->asked) {
        apr_table_setn(d->r->notes, "vapi-lookup-ms", apr_itoa(d->pool, (int)((d->reach->took + 999) / 1000)));
    }
}
