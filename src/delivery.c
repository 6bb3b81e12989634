/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What tool calls and requests for a destination have in common: the question they ask, the record they leave, the time they have. */
#include <stddef.h>
#include <string.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_log.h>

#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_metrics.h"
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
    q->desk = d->desk;
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
    record->route_number = -1;
}

void vapi_delivery_record_route(vapi_record_t *record, const vapi_decision_t *decision)
{
    const vapi_route_t *route = decision->route;
    const vapi_member_t *member = decision->taken.member;

    record->route = route->label;
    record->route_number = route->number;
    record->destination = route->is_none ? NULL : member ? member->name : vapi_destination_name(decision->destination);
    record->member = member ? member->name : NULL;
    record->target = route->target;
    record->label = decision->taken.label;
}

/* Was the route that the record names the end of it? */
static int is_taken(const char *outcome)
{
    static const char *const taken[] = { "transferred", "handed-off", "unknown", "answered" };
    apr_size_t i;

    for (i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        if (strcmp(outcome, taken[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

void vapi_delivery_log(const vapi_delivery_t *d, const vapi_record_t *record)
{
    vapi_log_decision(d->r, vapi_endpoint_log_numbers(d->endpoint), record);
    vapi_metrics_outcome(d->global->metrics, record->outcome);
    if (is_taken(record->outcome)) {
        vapi_metrics_taken(d->global->metrics, record->route_number);
    }
}

void vapi_delivery_see_state(vapi_delivery_t *d)
{
    d->once.state = vapi_state_within(d->global->state, vapi_clock_left(d->deadline), d->pool);
    d->once.deadline = d->deadline;
}

void vapi_delivery_limit(vapi_delivery_t *d, apr_interval_time_t budget)
{
    if (d->arrival + budget < d->deadline) {
        d->deadline = d->arrival + budget;
        vapi_delivery_see_state(d);
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
    if (d->desk && !d->desk->sent_to) {
        d->desk->sent_to = vapi_trail_read(&d->once);
    }
    vapi_route_decide(vapi_endpoint_routes(d->endpoint), from, &d->host->names, form, q, decision);
    if (decision->error) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s an expression of the table failed: %s",
                      vapi_log_id(d->message->call_id), decision->error);
    }
}

/* Was the call not sent to a pool since nobody there could be had for it? */
static int has_passed_pool(const vapi_decision_t *decision)
{
    int i;

    for (i = 0; i < decision->trace->nelts; i++) {
        const char *why = APR_ARRAY_IDX(decision->trace, i, vapi_trace_t).why;
        if (why && (strcmp(why, "busy") == 0 || strcmp(why, "paused") == 0)) {
            return 1;
        }
    }
    return 0;
}

int vapi_delivery_is_moving(const vapi_delivery_t *d, const vapi_decision_t *decision, apr_interval_time_t *left)
{
    *left = 0;
    if ((decision->route && !decision->route->is_none) || !has_passed_pool(decision)) {
        return 0;
    }
    return d->moved || vapi_gate_is_shut(&d->once, left);
}

/* ---- members ---- */

vapi_desk_t *vapi_delivery_desk(const vapi_delivery_t *d)
{
    vapi_desk_t *desk;

    if (!apr_hash_count(d->host->names.pools)) {
        return NULL;
    }
    desk = apr_pcalloc(d->pool, sizeof(*desk));
    desk->state = d->once.state;
    desk->host = d->host->id;
    desk->call = d->once.call;
    desk->caller = d->caller;
    desk->deadline = d->deadline;
    desk->pool = d->pool;
    return desk;
}

int vapi_delivery_depart(const vapi_delivery_t *d, const vapi_decision_t *decision, vapi_leg_t *leg)
{
    const vapi_taken_t *taken = &decision->taken;
    const char *dialled = decision->dialled.dialled;

    memset(leg, 0, sizeof(*leg));
    leg->path = decision->route->path;
    leg->route = decision->route->label;
    leg->pool = taken->pool ? vapi_pool_name(taken->pool) : "";
    leg->home = taken->pool ? taken->member->home : "";
    leg->member = taken->pool ? taken->member->name : "";
    leg->token = taken->token;
    leg->dialled = dialled ? vapi_trail_hash(dialled) : 0;
    if (!vapi_trail_add(&d->once, leg)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, d->r,
                      "vapi: call=%s the state store has no room or cannot be reached: what becomes of this transfer will not be known",
                      vapi_log_id(d->message->call_id));
        leg->id = NULL;
    }
    if (taken->pool && !vapi_pool_occupy(d->desk, taken)) {
        vapi_delivery_turn_back(d, leg);
        return 0;
    }
    return 1;
}

void vapi_delivery_turn_back(const vapi_delivery_t *d, const vapi_leg_t *leg)
{
    if (leg->id) {
        vapi_trail_drop(&d->once, leg);
    }
}

void vapi_delivery_put_back(const vapi_delivery_t *d, vapi_decision_t *decision)
{
    if (decision->taken.pool) {
        vapi_pool_give_back(d->desk, &decision->taken);
        decision->taken.pool = NULL;
    }
}

void vapi_delivery_arrive(const vapi_delivery_t *d, vapi_decision_t *decision)
{
    const vapi_taken_t *taken = &decision->taken;
    const char *key;
    apr_size_t len;

    if (!taken->pool) {
        return;
    }
    vapi_pool_remember(d->desk, taken);
    if (vapi_pool_sticky(taken->pool) && *d->caller) {
        key = vapi_pool_sticky_key(d->desk->host, taken->pool, d->caller, &len, d->pool);
        vapi_delivery_owns(d, VAPI_KIND_VALUE, key, len);
    }
    decision->taken.pool = NULL;
}

/* ---- lookups and actions ---- */

void vapi_delivery_open(vapi_delivery_t *d, apr_time_t until)
{
    vapi_reach_t *reach = apr_pcalloc(d->pool, sizeof(*reach));
    vapi_errands_t *errands = apr_pcalloc(d->pool, sizeof(*errands));

    reach->child = d->global->child;
    reach->state = d->once.state;
    reach->host = d->host->id;
    reach->deadline = until;
    reach->made = apr_hash_make(d->pool);
    reach->notes = apr_array_make(d->pool, 2, sizeof(const char *));
    reach->kept = d->owned = apr_array_make(d->pool, 8, sizeof(vapi_owned_t));
    reach->metrics = d->global->metrics;
    d->reach = reach;
    d->desk = vapi_delivery_desk(d);

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
        q->target = record->target;
        q->destination = record->destination;
        q->member = record->label;
    }
    q->outcome = record->outcome;
    q->reason = record->reason;
    vapi_delivery_tell(d, (vapi_event)event, q);
}

void vapi_delivery_owns(const vapi_delivery_t *d, vapi_kind kind, const char *key, apr_size_t key_len)
{
    vapi_owned_add(d->owned, kind, key, key_len);
}

/* What is kept about a call is its caller's, and goes when he is to be forgotten. */
static void own(const vapi_delivery_t *d)
{
    vapi_state_t *state = d->once.state;
    const char *trail;
    apr_size_t len;

    if (!d->owned->nelts || !*d->caller) {
        return;
    }
    vapi_once_owned(&d->once, d->caller, d->owned);
    trail = vapi_trail_key(&d->once, &len);
    vapi_delivery_owns(d, VAPI_KIND_NOTES, trail, len);
    state->provider->own(state, vapi_once_owner(d->host->id, d->caller, d->pool), (const vapi_owned_t *)d->owned->elts,
                         d->owned->nelts, state->owned > state->keep ? state->owned : state->keep);
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
    own(d);
    if (d->reach->asked) {
        apr_table_setn(d->r->notes, "vapi-lookup-ms", apr_itoa(d->pool, (int)((d->reach->took + 999) / 1000)));
    }
}
