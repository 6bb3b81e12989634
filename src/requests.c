/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The messages that ask for a destination: decided by the same table, answered in the reply, nothing is posted (W25-W29). */
#include <apr_strings.h>

#include <httpd.h>
#include <http_log.h>

#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_reply.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

static const char *end_with(vapi_record_t *record, vapi_question_t *q, const char *outcome, const char *reason, const char *error)
{
    record->outcome = q->outcome = outcome;
    record->reason = reason;
    return error ? vapi_reply_error(error, q->pool) : NULL;
}

static const char *end_as(vapi_record_t *record, vapi_question_t *q, const vapi_ending_t *ending)
{
    return end_with(record, q, ending->outcome, ending->reason, ending->text);
}

static const char *answer_limited(const vapi_delivery_t *d, vapi_form form, vapi_question_t *q, vapi_record_t *record)
{
    vapi_ending_t ending;

    vapi_ending_limited(vapi_route_last_resort(vapi_endpoint_routes(d->endpoint)), form, q, &ending);
    record->route = q->route;
    return end_as(record, q, &ending);
}

static const char *answer_moving(vapi_question_t *q, vapi_record_t *record)
{
    return end_with(record, q, "limited", "busy", "A transfer of this call is under way.");
}

/* What was decided, as a reply; NULL when an action that is required failed, and the routes behind are to be asked. *given is set when a
 * destination is in it. */
static const char *take_route(const vapi_delivery_t *d, vapi_decision_t *decision, vapi_form form, vapi_question_t *q,
                              vapi_record_t *record, int *given)
{
    apr_interval_time_t left;
    vapi_ending_t ending;
    vapi_leg_t leg;

    if (decision->route->is_none) {
        if (!vapi_delivery_gate(d, VAPI_EVENT_BEFORE_ANSWER, q)) {
            return NULL;
        }
        vapi_delivery_tell(d, VAPI_EVENT_BEFORE_ANSWER, q);
        vapi_delivery_record_route(record, decision);
        vapi_ending_decided(decision, form, q, &ending);
        return end_as(record, q, &ending);
    }
    vapi_delivery_record_route(record, decision);
    if (vapi_gate_is_shut(&d->once, &left)) {
        return answer_moving(q, record);
    }
    if (!vapi_delivery_gate(d, VAPI_EVENT_BEFORE_TRANSFER, q)) {
        return NULL;
    }
    vapi_delivery_tell(d, VAPI_EVENT_BEFORE_TRANSFER, q);
    if (!vapi_delivery_depart(d, decision, &leg)) {
        q->reason = "busy";
        return NULL;
    }
    vapi_delivery_arrive(d, decision);
    *given = 1;
    record->dialled = decision->dialled.dialled;
    vapi_delivery_warn_of_target(d, decision);
    vapi_ending_decided(decision, form, q, &ending);
    end_as(record, q, &ending);
    return vapi_reply_json(decision->dialled.body, d->pool);
}

/* Asks the table until something can be replied. */
static const char *decide(const vapi_delivery_t *d, vapi_form form, vapi_question_t *q, vapi_record_t *record, int *given)
{
    apr_interval_time_t left;
    vapi_decision_t decision;
    vapi_ending_t ending;
    const char *reply = NULL;
    int from = 0;

    while (!reply) {
        vapi_delivery_decide(d, from, form, q, &decision);
        if (vapi_delivery_is_moving(d, &decision, &left)) {
            return answer_moving(q, record);
        }
        if (!decision.route) {
            vapi_ending_decided(&decision, form, q, &ending);
            return end_as(record, q, &ending);
        }
        reply = take_route(d, &decision, form, q, record, given);
        vapi_delivery_put_back(d, &decision);
        from = decision.index + 1;
    }
    return reply;
}

/* Asks within the limit of requests that wait for another server. */
static const char *decide_in_place(const vapi_delivery_t *d, vapi_form form, vapi_question_t *q, vapi_record_t *record, int *given)
{
    const vapi_limits_t *limits = vapi_endpoint_limits(d->endpoint);
    const char *reply;
    int place;

    if (!limits->outbound || !vapi_delivery_asks_outside(d)) {
        return decide(d, form, q, record, given);
    }
    if ((place = vapi_shared_enter(d->global->shared, limits->outbound, d->deadline)) < 0) {
        return answer_limited(d, form, q, record);
    }
    reply = decide(d, form, q, record, given);
    vapi_shared_leave(d->global->shared, place);
    return reply;
}

/* One claimed request: arguments, limits, the table. An assistant-request is no tool call, so no attempt either. */
static const char *work_on(const vapi_delivery_t *d, vapi_form form, vapi_question_t *q, vapi_record_t *record)
{
    const vapi_limits_t *limits = vapi_endpoint_limits(d->endpoint);
    int any_name, given = 0, counted, is_tool = form != VAPI_FORM_ASSISTANT_REQUEST;
    const vapi_tool_t *tool = q->call ? vapi_endpoint_tool(d->endpoint, q->call->name, &any_name) : NULL;
    const char *reply, *error = q->call ? vapi_arguments_take(tool, d->global->decrypt, &q->call, d->pool) : NULL;

    if (error) {
        return end_with(record, q, "no-route", "bad-argument", error);
    }
    if (is_tool) {
        record->attempt = q->attempt = vapi_once_begin_attempt(&d->once);
    }
    counted = vapi_once_count_transfer(&d->once, limits->call, d->caller, limits->caller, limits->caller_window);
    reply = counted == 1 ? decide_in_place(d, form, q, record, &given) : answer_limited(d, form, q, record);
    if (counted == 1 && !given) {
        vapi_once_uncount_transfer(&d->once, d->caller, limits->caller, limits->caller_window);
    }
    if (is_tool && strcmp(record->outcome, "limited") == 0) {
        vapi_once_drop_attempt(&d->once);
    }
    vapi_delivery_after(d, q, record);
    return reply;
}

const char *vapi_destination_request_answer(vapi_delivery_t *d, vapi_form form)
{
    const vapi_tool_call_t *call = d->message->tool_calls->nelts ? &APR_ARRAY_IDX(d->message->tool_calls, 0, vapi_tool_call_t) : NULL;
    const char *id = call && call->id && form != VAPI_FORM_ASSISTANT_REQUEST ? call->id : "", *reply = NULL;
    vapi_once_verdict verdict;
    vapi_question_t q;
    vapi_record_t record;
    vapi_hold_t hold;
    int changed;

    vapi_delivery_limit(d, form == VAPI_FORM_ASSISTANT_REQUEST ? apr_time_from_sec(6) : apr_time_from_sec(5));
    if (!*id && form != VAPI_FORM_ASSISTANT_REQUEST) {
        id = d->message->timestamp;
    }
    vapi_delivery_open(d, d->deadline - VAPI_REPLY_RESERVE);
    vapi_delivery_question(d, call, &q);
    vapi_delivery_record(d, &q, &record);
    vapi_delivery_identify(d, d->message->type_name, id);
    verdict = vapi_once_claim(&d->once, d->message->type_name, id, call ? call->fingerprint : 0, &hold, &reply, &changed);
    if (verdict == VAPI_ONCE_MINE) {
        vapi_delivery_owns(d, VAPI_KIND_CLAIM, hold.key, hold.key_len);
        reply = work_on(d, form, &q, &record);
        vapi_once_settle(&d->once, &hold, reply);
    }
    else if (verdict == VAPI_ONCE_SEEN) {
        if (changed) {
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r,
                          "vapi: call=%s a request came again with other arguments; it gets the answer of the first",
                          vapi_log_id(d->message->call_id));
        }
        record.outcome = "duplicate";
    }
    else {
        reply = end_with(&record, &q, verdict == VAPI_ONCE_ERROR ? "failed" : "duplicate", "busy", VAPI_SAY_NONE);
    }
    vapi_delivery_log(d, &record);
    return reply;
}
