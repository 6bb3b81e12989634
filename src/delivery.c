/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What tool calls and requests for a destination have in common: the question they ask, the record they leave, the time they have. */
#include <string.h>

#include <httpd.h>
#include <http_log.h>

#include "vapi_delivery.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

#define POST_RESERVE apr_time_from_sec(2)    /* what the control POST always keeps, or half of a budget under twice that */

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
