/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* How a decision ends, in a word for the log and in words for whoever asked: the same for a live delivery and for an explanation. */
#include <string.h>

#include "vapi_delivery.h"

#define SAY_NO_MORE "No more transfers of this call are possible now."

/* What the route says, else what is said otherwise. The outcome may stand in the text. */
static void end_with_result(const vapi_route_t *route, const char *otherwise, vapi_question_t *q, vapi_ending_t *out)
{
    q->outcome = out->outcome;
    out->text = vapi_delivery_text(route->result, otherwise, q);
    out->is_written = route->result != NULL;
}

void vapi_ending_decided(const vapi_decision_t *decision, vapi_form form, vapi_question_t *q, vapi_ending_t *out)
{
    int is_tool_call = form == VAPI_FORM_CONTROL;

    memset(out, 0, sizeof(*out));
    if (!decision->route) {
        out->outcome = "no-route";
        out->reason = decision->reason;
        out->is_error = 1;
        out->text = decision->failed ? decision->failed : is_tool_call ? VAPI_SAY_NO_ROUTE : VAPI_SAY_NONE;
    }
    else if (decision->route->is_none) {
        out->outcome = "answered";
        out->reason = decision->reason;
        out->is_error = !is_tool_call;    /* a message that asks for a destination can be told of nothing else (W25-W29) */
        end_with_result(decision->route, VAPI_SAY_NONE, q, out);
    }
    else if (is_tool_call) {
        out->outcome = decision->dialled.is_handoff ? "handed-off" : "transferred";
        end_with_result(decision->route, VAPI_SAY_DONE, q, out);
    }
    else {
        out->outcome = "answered";
    }
    q->outcome = out->outcome;
}

void vapi_ending_limited(const vapi_route_t *last, vapi_form form, vapi_question_t *q, vapi_ending_t *out)
{
    int is_tool_call = form == VAPI_FORM_CONTROL;

    memset(out, 0, sizeof(*out));
    q->reach = NULL;    /* nothing more is asked, not even for the words of the answer */
    q->route = last ? last->label : NULL;
    q->reason = out->reason = out->outcome = "limited";
    out->is_error = !last || !is_tool_call;
    if (last) {
        end_with_result(last, VAPI_SAY_NONE, q, out);
    }
    else {
        q->outcome = out->outcome;
        out->text = is_tool_call ? SAY_NO_MORE : VAPI_SAY_NONE;
    }
}
