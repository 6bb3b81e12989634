/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * tool-calls (and the legacy function-call): each tool call is claimed, decided, transferred, settled and answered by
 * itself; one of them at most moves the call.
 *
 * The order is the promise: claim (nobody else works on it) - decide (a member of a pool is leased for as long as this request can last) -
 * gate (the call is not moving) - required actions - commit (from here on a death counts as "perhaps done") - depart (the trail
 * knows, the member's lease is kept) - POST - spool the other actions - settle (duplicates get this answer).
 */
#include <apr_strings.h>

#include <httpd.h>
#include <http_log.h>

#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_metrics.h"
#include "vapi_reply.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

#define SAY_FAILURE  "I'm sorry, I can't transfer the call right now."
#define SAY_LATE     "The transfer took too long to prepare. Ask again."
#define SAY_UNKNOWN  "The transfer may be under way."

/** One tool call on its way. */
typedef struct work_t {
    vapi_delivery_t *d;
    const vapi_tool_call_t *call;
    vapi_question_t q;
    vapi_decision_t decision;
    vapi_hold_t hold;
    vapi_gate_t gate;
    int undecided;                     /* the table was not asked, or its answer not taken: no attempt */
    int counted;                       /* as a transfer, before the table is asked: 1 yes, 0 a limit refused it, -1 the store
                                          cannot say */
    int gated, committed;              /* what must be given back or closed in the end */
    int ready;                         /* gate, place and control URL are had */
    int place;                         /* among the outbound requests, -1: none taken */
    vapi_leg_t leg;                  /* its place in the call's trail */
    vapi_move_t move;                  /* how the control API is reached, once its URL is known */
    vapi_record_t record;
    const char *answer;                /* {"result":...} or {"error":...} */
} work_t;

static const char *end_with(work_t *w, const char *outcome, const char *reason, int is_error, const char *text)
{
    w->q.outcome = w->record.outcome = outcome;
    if (reason) {
        w->q.reason = w->record.reason = reason;
    }
    w->answer = vapi_reply_answer(is_error, text, w->d->pool);
    return w->answer;
}

static void end_as(work_t *w, const vapi_ending_t *ending)
{
    end_with(w, ending->outcome, ending->reason, ending->is_error, ending->text);
}

/* ---- how the control API is reached ---- */

/* Asks Vapi for the URL where the payload has none and the administrator gave a key; leaves the POST its share of the time. */
static const char *ask_url(work_t *w, const char **why)
{
    const vapi_delivery_t *d = w->d;
    vapi_move_t how = w->move;
    vapi_http_profile_t api = *w->move.profile;

    how.deadline = vapi_delivery_post_time(d);
    api.allow_private = 1;    /* the host is the administrator's own choice */
    how.profile = vapi_child_profile(d->global->child, &api);
    return vapi_transfer_ask_url(vapi_child_http(d->global->child), &how, d->endpoint->api_url, d->endpoint->api_key,
                                 d->message->call_id, why, d->pool);
}

/* Fills w->move; 0 with the answer made when there is no URL that may be called. */
static int find_control_url(work_t *w)
{
    vapi_delivery_t *d = w->d;
    const char *url = vapi_message_control_url(d->message), *host, *why = NULL;

    if (w->move.url) {
        return 1;
    }
    if (!url && d->endpoint->api_key && *d->message->call_id) {
        url = ask_url(w, &why);
    }
    if (!url) {
        vapi_delivery_warn_once(d, "the payload has no control URL (is monitorPlan.controlEnabled false?)");
        w->record.what = why;
        end_with(w, "failed", "no-control-url", 1, "The call cannot be transferred: it has no control URL.");
        return 0;
    }
    why = vapi_control_url_check(url, vapi_endpoint_control_hosts(d->endpoint), &host, d->pool);
    if (why) {
        w->record.what = apr_psprintf(d->pool, "%s: %s", why, host);
        end_with(w, "failed", "not-allowed", 1, "The call cannot be transferred: its control URL is not allowed.");
        return 0;
    }
    w->move.url = url;
    return 1;
}

static void prepare_move(work_t *w)
{
    const vapi_endpoint_t *e = w->d->endpoint;
    vapi_http_profile_t profile;

    vapi_endpoint_profile(e, &profile);
    w->move.profile = vapi_child_profile(w->d->global->child, &profile);
    w->move.token = e->control_token;
    w->move.timeout = vapi_endpoint_control_timeout(e);
    w->move.connect_timeout = vapi_endpoint_connect_timeout(e);
    w->move.deadline = w->d->deadline;
}

/* ---- limits and the gate ---- */

static void answer_limited(work_t *w)
{
    vapi_ending_t ending;

    vapi_ending_limited(vapi_route_last_resort(vapi_endpoint_routes(w->d->endpoint)), VAPI_FORM_CONTROL, &w->q, &ending);
    w->record.route = w->q.route;
    end_as(w, &ending);
}

static void answer_moving(work_t *w, apr_interval_time_t left)
{
    int seconds = left > 0 ? (int)apr_time_sec(left + APR_USEC_PER_SEC - 1) : 1;

    end_with(w, "limited", "busy", 1,
             apr_psprintf(w->d->pool, "A transfer of this call is under way. If the caller is still here, ask again in %d "
                          "second%s.", seconds, seconds == 1 ? "" : "s"));
}

/* One of VapiLimit's outbound places; 0 with the answer made when all are taken. */
static int take_place(work_t *w)
{
    const vapi_delivery_t *d = w->d;
    const vapi_limits_t *limits = vapi_endpoint_limits(d->endpoint);

    if (!limits->outbound || w->place >= 0) {
        return 1;
    }
    w->place = vapi_shared_enter(d->global->shared, limits->outbound, d->deadline);
    if (w->place < 0) {
        answer_limited(w);
        return 0;
    }
    return 1;
}

/* Everything that must be had before something is sent, each only once for a tool call; 0 with the answer made when it cannot be
 * had. */
static int may_send(work_t *w)
{
    const vapi_delivery_t *d = w->d;
    apr_interval_time_t settle = vapi_endpoint_settle(d->endpoint);

    if (w->ready) {
        return 1;
    }
    if (d->moved) {
        answer_moving(w, settle);
        return 0;
    }
    vapi_gate_enter(&d->once, settle, &w->gate);
    w->gated = w->gate.verdict == VAPI_GATE_OPEN;
    if (w->gate.verdict == VAPI_GATE_MOVING) {
        answer_moving(w, w->gate.left);
        return 0;
    }
    if (!w->gated) {
        end_with(w, "failed", "busy", 1, "The call cannot be transferred right now.");
        return 0;
    }
    w->ready = take_place(w) && find_control_url(w);
    return w->ready;
}

/* From here on it counts as perhaps done. */
static int commit(work_t *w)
{
    const vapi_delivery_t *d = w->d;

    if (!w->committed) {
        w->committed = vapi_once_commit(&d->once, &w->hold, "{\"error\":\"" SAY_UNKNOWN "\"}")
                       && vapi_gate_commit(&d->once, &w->gate, vapi_endpoint_settle(d->endpoint), d->transfers);
    }
    if (!w->committed) {
        end_with(w, "failed", "timeout", 1, SAY_LATE);
    }
    return w->committed;
}

/* ---- the transfer ---- */

/* Sends what was decided. 1: this is the end of it; 0: Vapi refused, another route may be asked. */
static int send_transfer(work_t *w)
{
    vapi_delivery_t *d = w->d;
    vapi_ending_t ending;
    vapi_moved_t moved;

    if (!vapi_delivery_depart(d, &w->decision, &w->leg)) {
        end_with(w, "failed", "timeout", 1, SAY_LATE);
        return 1;
    }
    vapi_delivery_warn_of_target(d, &w->decision);
    w->move.body = vapi_reply_json(w->decision.dialled.body, d->pool);
    w->move.body_len = strlen(w->move.body);
    vapi_transfer_move(vapi_child_http(d->global->child), &w->move, &moved, d->pool);
    vapi_metrics_control(d->global->metrics, moved.took, moved.new_connections);
    w->record.control_status = moved.status;
    w->record.control_time = (w->record.control_time < 0 ? 0 : w->record.control_time) + moved.took;
    w->record.dialled = w->decision.dialled.dialled;
    w->record.what = moved.what;
    switch (moved.outcome) {
    case VAPI_MOVE_ACCEPTED:
        d->moved = 1;
        vapi_ending_decided(&w->decision, VAPI_FORM_CONTROL, &w->q, &ending);
        end_as(w, &ending);
        w->record.reason = NULL;
        vapi_delivery_arrive(d, &w->decision);
        return 1;
    case VAPI_MOVE_UNKNOWN:
        d->moved = 1;
        w->decision.taken.pool = NULL;    /* the member may have the call: the lease runs on */
        end_with(w, "unknown", moved.reason, 1, SAY_UNKNOWN);
        return 1;
    case VAPI_MOVE_FAILED:
        vapi_delivery_turn_back(d, &w->leg);
        end_with(w, "failed", moved.reason, 1,
                 strcmp(moved.reason, "call-gone") == 0 ? "The transfer failed: the call is not there any more."
                                                        : "The transfer failed. It is not possible right now.");
        return 1;
    case VAPI_MOVE_REFUSED:
        vapi_delivery_turn_back(d, &w->leg);
        w->q.reason = moved.reason;
        end_with(w, "refused", moved.reason, 1, "The transfer was refused. It is not possible right now.");
        break;
    }
    return 0;
}

static void answer_no_route(work_t *w)
{
    vapi_ending_t ending;

    if (!w->answer) {
        vapi_ending_decided(&w->decision, VAPI_FORM_CONTROL, &w->q, &ending);
        end_as(w, &ending);
    }
    w->q.outcome = w->record.outcome;
}

/* What was decided: 1 the end of it; 0 the routes behind are to be asked, since an action that is required failed, or Vapi refused. */
static int take_route(work_t *w)
{
    const vapi_delivery_t *d = w->d;
    vapi_ending_t ending;

    if (w->decision.route->is_none) {
        if (!vapi_delivery_gate(d, VAPI_EVENT_BEFORE_ANSWER, &w->q)) {
            return 0;
        }
        vapi_delivery_tell(d, VAPI_EVENT_BEFORE_ANSWER, &w->q);
        vapi_delivery_record_route(&w->record, &w->decision);
        vapi_ending_decided(&w->decision, VAPI_FORM_CONTROL, &w->q, &ending);
        end_as(w, &ending);
        return 1;
    }
    vapi_delivery_record_route(&w->record, &w->decision);
    if (!may_send(w)) {
        return 1;
    }
    if (!vapi_delivery_gate(d, VAPI_EVENT_BEFORE_TRANSFER, &w->q)) {
        return 0;
    }
    if (!commit(w)) {
        return 1;
    }
    vapi_delivery_tell(d, VAPI_EVENT_BEFORE_TRANSFER, &w->q);
    return send_transfer(w);
}

/* Asks the table, does what it says, and asks the routes behind where that cannot be done. */
static void route_and_send(work_t *w)
{
    apr_interval_time_t left;
    int from = 0, is_end;

    if (vapi_delivery_asks_outside(w->d) && !take_place(w)) {
        return;
    }
    for (;;) {
        vapi_delivery_decide(w->d, from, VAPI_FORM_CONTROL, &w->q, &w->decision);
        if (!w->gated && vapi_delivery_is_moving(w->d, &w->decision, &left)) {
            answer_moving(w, left);
            return;
        }
        if (!w->decision.route) {
            answer_no_route(w);
            return;
        }
        is_end = take_route(w);
        vapi_delivery_put_back(w->d, &w->decision);
        if (is_end) {
            return;
        }
        from = w->decision.index + 1;
        w->q.outcome = NULL;    /* the refused route's; the next one has none yet */
    }
}

/* ---- one tool call ---- */

/* Things that need no table: 1 when the answer is made. */
static int is_answered_early(work_t *w)
{
    const vapi_delivery_t *d = w->d;
    const vapi_limits_t *limits = vapi_endpoint_limits(d->endpoint);
    int any_name;
    const vapi_tool_t *tool = vapi_endpoint_tool(d->endpoint, w->call->name, &any_name);
    const char *error;

    if (!tool && !any_name) {
        end_with(w, "no-route", "bad-argument", 1, "unknown tool");
        return 1;
    }
    if ((error = vapi_arguments_take(tool, d->global->decrypt, &w->call, d->pool)) != NULL) {
        end_with(w, "no-route", "bad-argument", 1, error);
        return 1;
    }
    w->q.call = w->call;
    w->counted = vapi_once_count_transfer(&d->once, limits->call, d->caller, limits->caller, limits->caller_window);
    if (w->counted == 0) {
        answer_limited(w);
    }
    else if (w->counted < 0) {
        end_with(w, "failed", "busy", 1, "The call cannot be transferred right now.");
    }
    return w->counted != 1;
}

/* Vapi ignores the reply of an async tool (W23): the caller hears of a failure over the control URL, or not at all. */
static void say_failure(work_t *w)
{
    const vapi_delivery_t *d = w->d;
    const vapi_endpoint_t *e = d->endpoint;
    const char *outcome = w->record.outcome;
    int failed = strcmp(outcome, "failed") == 0 || strcmp(outcome, "refused") == 0 || strcmp(outcome, "no-route") == 0;

    if (!failed || !w->call->is_async || e->failure_silent || d->moved) {
        return;
    }
    if (!w->move.url) {
        const char *url = vapi_message_control_url(d->message);
        if (!url || vapi_control_url_check(url, vapi_endpoint_control_hosts(e), NULL, d->pool)) {
            return;
        }
        w->move.url = url;
    }
    vapi_transfer_say(vapi_child_http(d->global->child), &w->move, vapi_delivery_text(e->failure_say, SAY_FAILURE, &w->q), d->pool);
}

/* Gives back and records, in the order that keeps the promise if this process dies between two of them. */
static void settle(work_t *w)
{
    vapi_delivery_t *d = w->d;
    const vapi_limits_t *limits = vapi_endpoint_limits(d->endpoint);
    int moved = w->committed && (strcmp(w->record.outcome, "unknown") == 0 || strcmp(w->record.outcome, "transferred") == 0
                                 || strcmp(w->record.outcome, "handed-off") == 0);

    vapi_once_settle(&d->once, &w->hold, w->answer);
    if (w->gated) {
        vapi_gate_leave(&d->once, &w->gate, moved, vapi_endpoint_settle(d->endpoint), d->transfers);
    }
    if (w->counted == 1 && !moved) {
        vapi_once_uncount_transfer(&d->once, d->caller, limits->caller, limits->caller_window);
    }
    if (w->place >= 0) {
        vapi_shared_leave(d->global->shared, w->place);
    }
    if (w->undecided || strcmp(w->record.outcome, "limited") == 0) {
        vapi_once_drop_attempt(&d->once);
    }
}

/* A delivery that was seen before, or cannot be claimed: nothing is done again. */
static const char *answer_unclaimed(work_t *w, vapi_once_verdict verdict, const char *reply, int changed)
{
    vapi_delivery_t *d = w->d;

    w->record.attempt = -1;
    switch (verdict) {
    case VAPI_ONCE_SEEN:
        if (changed) {
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r,
                          "vapi: call=%s a tool call came again with other arguments; it gets the answer of the first",
                          vapi_log_id(d->message->call_id));
        }
        w->record.outcome = "duplicate";
        w->answer = reply;
        break;
    case VAPI_ONCE_STILL_WORKING:
        end_with(w, "duplicate", NULL, 1, "This transfer is already in progress.");
        break;
    default:
        end_with(w, "failed", "busy", 1, "The call cannot be transferred right now.");
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, d->r,
                      "vapi: call=%s the state store has no room or cannot be reached: nothing was transferred",
                      vapi_log_id(d->message->call_id));
    }
    vapi_delivery_log(d, &w->record);
    return w->answer;
}

static const char *answer_one(vapi_delivery_t *d, const vapi_tool_call_t *call, const char *id)
{
    work_t *w = apr_pcalloc(d->pool, sizeof(*w));
    vapi_once_verdict verdict;
    const char *reply = NULL;
    int changed;

    w->d = d;
    w->call = call;
    w->place = -1;
    vapi_delivery_question(d, call, &w->q);
    vapi_delivery_record(d, &w->q, &w->record);
    prepare_move(w);
    verdict = vapi_once_claim(&d->once, d->message->type == VAPI_MESSAGE_FUNCTION_CALL ? "function-call" : "tool-calls", id,
                              call->fingerprint, &w->hold, &reply, &changed);
    if (verdict != VAPI_ONCE_MINE) {
        return answer_unclaimed(w, verdict, reply, changed);
    }
    vapi_delivery_owns(d, VAPI_KIND_CLAIM, w->hold.key, w->hold.key_len);
    w->record.attempt = w->q.attempt = vapi_once_begin_attempt(&d->once);
    vapi_delivery_identify(d, "tool-calls", id);
    w->undecided = is_answered_early(w);
    if (!w->undecided) {
        route_and_send(w);
        vapi_delivery_after(d, &w->q, &w->record);
    }
    settle(w);
    vapi_delivery_log(d, &w->record);
    say_failure(w);
    return w->answer;
}

/* The same id twice in one delivery is answered twice and done once: the first answer is taken. */
static const char *answered_before(const apr_array_header_t *calls, const char *const *answers, int i)
{
    const char *id = APR_ARRAY_IDX(calls, i, vapi_tool_call_t).id;
    int j;

    for (j = 0; j < i; j++) {
        const char *other = APR_ARRAY_IDX(calls, j, vapi_tool_call_t).id;
        if (other && strcmp(other, id) == 0) {
            return answers[j];
        }
    }
    return NULL;
}

/* The tool's own time-out, three quarters of it: the reply must be there before Vapi stops waiting (W69). */
static void limit_by_tools(vapi_delivery_t *d)
{
    int i;

    for (i = 0; i < d->message->tool_calls->nelts; i++) {
        apr_interval_time_t timeout = APR_ARRAY_IDX(d->message->tool_calls, i, vapi_tool_call_t).server_timeout;
        if (timeout > 0) {
            vapi_delivery_limit(d, timeout / 4 * 3);
        }
    }
}

const char *vapi_tool_calls_answer(vapi_delivery_t *d)
{
    const apr_array_header_t *calls = d->message->tool_calls;
    const char **answers = apr_pcalloc(d->pool, ((apr_size_t)calls->nelts + 1) * sizeof(*answers));
    int i, nameless = 0;

    limit_by_tools(d);
    vapi_delivery_open(d, vapi_delivery_post_time(d));
    if (d->message->type == VAPI_MESSAGE_FUNCTION_CALL && calls->nelts) {
        return answer_one(d, &APR_ARRAY_IDX(calls, 0, vapi_tool_call_t), d->message->timestamp);
    }
    for (i = 0; i < calls->nelts; i++) {
        const vapi_tool_call_t *call = &APR_ARRAY_IDX(calls, i, vapi_tool_call_t);
        if (!call->id || !*call->id) {
            nameless++;
            continue;
        }
        answers[i] = answered_before(calls, answers, i);
        if (!answers[i]) {
            answers[i] = answer_one(d, call, call->id);
        }
    }
    if (nameless || !calls->nelts) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, d->r, "vapi: call=%s %d tool calls have no id and cannot be answered",
                      vapi_log_id(d->message->call_id), nameless);
    }
    return vapi_reply_results(calls, answers, d->pool);
}
