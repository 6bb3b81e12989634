/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * What became of the call. Reports come in any order, twice or never. Each is held against the trail of the call. What it says that was not
 * known is done, and marked there: freeing a member, which by its token is done once however often it is tried, comes before the
 * mark, so that a process that dies in between leaves nobody held; counting comes after it, and only to whoever marked it.
 *
 * What Vapi reports of a transfer holds for good. What merely follows from the end of the call gives way to such a report, which often
 * comes a moment later, with the end-of-call-report.
 */
#include <string.h>

#include <apr_strings.h>

#include "vapi_report.h"

#define NO_REPORT  (-1)
#define PASSES     4                        /* how often a trail is read again that others change at the same time */
#define REST_OF_FORMER_POOL apr_time_from_sec(60)    /* the default of no-answer= */

#define CONNECTED  "connected"
#define UNREPORTED "unreported"

/* ---- words ---- */

static int same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static const char *one_of(const char *const *words, const char *word)
{
    for (; *words; words++) {
        if (same(*words, word)) {
            return *words;
        }
    }
    return NULL;
}

/* Nobody took the call: whoever was called is not there. */
static int is_unanswered(const char *status)
{
    static const char *const unanswered[] = { "no-answer", "busy", "voicemail", NULL };

    return one_of(unanswered, status) != NULL;
}

static int is_over(const char *status)
{
    return *status && !same(status, CONNECTED);
}

/* What Vapi may say of a transfer, as a constant; NULL: a word that this release does not know says nothing. */
static const char *known_status(const char *sent)
{
    static const char *const known[] = { CONNECTED, "completed", "no-answer", "busy", "voicemail", "failed", "cancelled", NULL };

    return one_of(known, sent);
}

/*
 * What becomes of the transfer that the call ended with, where Vapi reports nothing of it itself (W80, W82). NULL: the call went on to
 * where it was sent, as far as Vapi knows, or it is not said how it ended.
 */
static const char *status_by_end(const char *ended)
{
    static const char *const forwarded[] = {
        "assistant-forwarded-call", "assistant-request-returned-forwarding-phone-number", "call.ringing.hook-executed-transfer",
        "call.ending.hook-executed-transfer", "", NULL
    };
    static const struct {
        const char *ended;      /* with a `*` at its end: what begins like that */
        const char *status;
    } ends[] = {
        { "call.forwarding.operator-busy", "busy" },
        { "call.forwarding.no-answer", "no-answer" },
        { "call.in-progress.error-transfer-failed", "failed" },
        { "call.in-progress.error-warm-transfer-*", "failed" },
        { "customer-ended-call-before-warm-transfer", "cancelled" },
        { "customer-ended-call-during-transfer", "cancelled" }
    };
    apr_size_t i, len;

    if (one_of(forwarded, ended)) {
        return NULL;
    }
    for (i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
        len = strcspn(ends[i].ended, "*");
        if (strncmp(ends[i].ended, ended, len) == 0 && (ends[i].ended[len] == '*' || !ended[len])) {
            return ends[i].status;
        }
    }
    return UNREPORTED;
}

/* ---- which report is of which leg ---- */

static const vapi_leg_t *leg_at(const apr_array_header_t *legs, int i)
{
    return APR_ARRAY_IDX(legs, i, const vapi_leg_t *);
}

/* The first leg to this number that has no report yet; NO_REPORT if there is none. */
static int find_leg(const apr_array_header_t *legs, const int *report_of, apr_uint64_t dialled)
{
    int i;

    for (i = 0; i < legs->nelts; i++) {
        if (leg_at(legs, i)->dialled == dialled && report_of[i] == NO_REPORT) {
            return i;
        }
    }
    return NO_REPORT;
}

/* The leg that is the nth to a number or URI. */
static int nth_dialled(const apr_array_header_t *legs, int n)
{
    int i;

    for (i = 0; i < legs->nelts; i++) {
        if (leg_at(legs, i)->dialled && n-- == 0) {
            break;
        }
    }
    return i;
}

/*
 * For each leg the report of it. A report names its number: the nth report of one is of the nth leg to it. Transfers that this server did
 * not make are reported, too. One that names none is known by its place, if as many are reported as were made.
 */
static const int *match(const apr_array_header_t *legs, const apr_array_header_t *reported, apr_pool_t *p)
{
    int *report_of = apr_palloc(p, ((apr_size_t)legs->nelts + 1) * sizeof(*report_of));
    int i, leg, dialled = 0;

    for (i = 0; i < legs->nelts; i++) {
        report_of[i] = NO_REPORT;
        dialled += leg_at(legs, i)->dialled != 0;
    }
    for (i = 0; i < reported->nelts; i++) {
        const char *number = APR_ARRAY_IDX(reported, i, vapi_reported_t).dialled;
        if (*number && (leg = find_leg(legs, report_of, vapi_trail_hash(number))) != NO_REPORT) {
            report_of[leg] = i;
        }
    }
    for (i = 0; i < reported->nelts && reported->nelts == dialled; i++) {
        leg = nth_dialled(legs, i);
        if (!*APR_ARRAY_IDX(reported, i, vapi_reported_t).dialled && report_of[leg] == NO_REPORT) {
            report_of[leg] = i;
        }
    }
    return report_of;
}

/* Is the last report one of an earlier leg, and none of the latest? A number that no leg has may be the latest one's, written otherwise. */
static int is_of_earlier(const apr_array_header_t *legs, const apr_array_header_t *reported, apr_pool_t *p)
{
    const int *report_of = match(legs, reported, p);
    int i = 0, latest = legs->nelts - 1;

    while (i < latest && report_of[i] != reported->nelts - 1) {
        i++;
    }
    return reported->nelts && i < latest && report_of[latest] == NO_REPORT;
}

/* ---- what it means ---- */

/* The leg gets this status, whatever it had. */
static void conclude(vapi_verdict_t *verdict, const vapi_leg_t *leg, const char *status, int is_told, int has_ended)
{
    int known = !same(status, UNREPORTED);

    verdict->status = status;
    verdict->is_told = is_told;
    verdict->counts = known && !leg->is_counted && (has_ended || is_over(status));
    verdict->is_counted = leg->is_counted || verdict->counts;
    verdict->ends = is_over(status) && !is_over(leg->status);
    verdict->rests = is_unanswered(status) && !is_unanswered(leg->status);
    verdict->was_in_vain = verdict->ends && !same(status, "completed") && leg->dialled;
}

/* Vapi reports of this leg. */
static void judge_told(vapi_verdict_t *verdict, const vapi_leg_t *leg, const char *status, int has_ended)
{
    if (is_over(leg->status) && leg->is_told && !same(leg->status, UNREPORTED)) {
        return;
    }
    has_ended = has_ended || is_over(leg->status);    /* it was known before this report came */
    if (!same(status, CONNECTED) || !same(leg->status, CONNECTED) || (has_ended && !leg->is_counted)) {
        conclude(verdict, leg, status, 1, has_ended);
    }
}

/* The call has ended, and Vapi reports nothing of this leg now. */
static void judge_by_end(vapi_verdict_t *verdict, const vapi_leg_t *leg, int is_last, const char *ended)
{
    /* whoever had the call before the last one has it no more, nor has an assistant when it is over */
    const char *status = is_last && leg->dialled ? status_by_end(ended) : UNREPORTED;

    if (same(leg->status, CONNECTED) && !leg->is_counted) {
        conclude(verdict, leg, CONNECTED, 1, 1);
    }
    else if (!*leg->status && status) {
        conclude(verdict, leg, status, 0, 1);
    }
}

/* Whom the caller was sent to last of a pool is preferred for him, nobody before. */
static int is_last_of_pool(const apr_array_header_t *legs, int i)
{
    int later;

    for (later = i + 1; later < legs->nelts; later++) {
        if (same(leg_at(legs, later)->pool, leg_at(legs, i)->pool)) {
            return 0;
        }
    }
    return 1;
}

const vapi_verdict_t *vapi_report_judge(const apr_array_header_t *legs, const apr_array_header_t *reported, const char *ended,
                                        apr_pool_t *p)
{
    vapi_verdict_t *verdicts = apr_pcalloc(p, ((apr_size_t)legs->nelts + 1) * sizeof(*verdicts));
    const int *report_of = match(legs, reported, p);
    const char *status;
    int i;

    for (i = 0; i < legs->nelts; i++) {
        status = report_of[i] == NO_REPORT ? NULL : known_status(APR_ARRAY_IDX(reported, report_of[i], vapi_reported_t).status);
        if (status) {
            judge_told(&verdicts[i], leg_at(legs, i), status, ended != NULL);
        }
        else if (ended) {
            judge_by_end(&verdicts[i], leg_at(legs, i), i == legs->nelts - 1, ended);
        }
        verdicts[i].was_in_vain = verdicts[i].was_in_vain && is_last_of_pool(legs, i);
    }
    return verdicts;
}

/* ---- doing it ---- */

/* The member rests before its place is free, so that nobody is sent there in between. @return 1: he rests */
static int free_member(vapi_report_t *report, const vapi_leg_t *leg, const vapi_verdict_t *verdict, const vapi_pool_t *pool)
{
    const vapi_once_t *once = report->once;
    const vapi_state_provider_t *verbs = once->state->provider;
    apr_interval_time_t rest = pool ? vapi_pool_no_answer(pool) : REST_OF_FORMER_POOL;
    vapi_seat_t *seat;
    int rests = 0;

    if (vapi_pool_seat_of(&seat, once->state, leg->home, leg->member, once->pool) != APR_SUCCESS) {
        return 0;
    }
    if (verdict->rests && rest > 0) {
        rests = verbs->rest(once->state, seat, rest) == APR_SUCCESS;
    }
    if (verdict->ends && leg->token) {
        report->released += verbs->release(once->state, seat, leg->token, pool ? vapi_pool_wrap_up(pool) : 0) == APR_SUCCESS;
    }
    return rests;
}

static void unlearn(const vapi_report_t *report, const vapi_pool_t *pool, const char *member)
{
    vapi_desk_t desk;

    memset(&desk, 0, sizeof(desk));
    desk.state = report->once->state;
    desk.host = report->once->host;
    desk.call = report->once->call;
    desk.caller = report->caller;
    desk.deadline = report->once->deadline;
    desk.pool = report->once->pool;
    vapi_pool_unlearn(&desk, pool, member);
}

/* The leg was marked, and by us. */
static void carry_out(const vapi_report_t *report, const vapi_leg_t *leg, const vapi_verdict_t *verdict, const vapi_pool_t *pool)
{
    if (verdict->was_in_vain && pool && vapi_pool_sticky(pool) && *report->caller) {
        unlearn(report, pool, leg->member);
    }
    if (verdict->counts) {
        report->count(report->baton, leg);
    }
}

/* @return 0: somebody changed a leg at the same time, and all is to be looked at again */
static int settle_once(vapi_report_t *report, const apr_array_header_t *reported, const char *ended)
{
    const apr_array_header_t *legs = vapi_trail_read(report->once);
    const vapi_verdict_t *verdicts;
    int i, rests, all = 1;

    if (!legs || !legs->nelts) {
        return 1;
    }
    report->is_of_earlier = is_of_earlier(legs, reported, report->once->pool);
    verdicts = vapi_report_judge(legs, reported, ended, report->once->pool);
    for (i = 0; i < legs->nelts; i++) {
        vapi_leg_t *leg = APR_ARRAY_IDX(legs, i, vapi_leg_t *);
        const vapi_pool_t *pool = *leg->pool ? apr_hash_get(report->names->pools, leg->pool, APR_HASH_KEY_STRING) : NULL;

        if (!verdicts[i].status) {
            continue;
        }
        rests = *leg->member && (verdicts[i].ends || verdicts[i].rests) && free_member(report, leg, &verdicts[i], pool);
        leg->is_told = verdicts[i].is_told;
        leg->is_counted = verdicts[i].is_counted;
        if (vapi_trail_mark(report->once, leg, verdicts[i].status)) {
            report->rested += rests;    /* another may have let him rest at the same time */
            carry_out(report, leg, &verdicts[i], pool);
        }
        else {
            all = 0;
        }
    }
    return all;
}

void vapi_report_settle(vapi_report_t *report)
{
    const char *ended = vapi_message_ended(report->message);
    const apr_array_header_t *reported;
    int pass;

    report->released = report->rested = report->is_of_earlier = 0;
    if (!*report->once->call) {
        return;
    }
    reported = vapi_message_reported(report->message);
    if (!reported->nelts && !ended) {
        return;
    }
    for (pass = 0; pass < PASSES && !settle_once(report, reported, ended); pass++)
        ;
}
