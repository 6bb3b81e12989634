/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "trail_store.h"

#include "vapi_report.h"

/* ---- pools and the rest of the store, as far as a report touches them ---- */

struct vapi_seat_t { const char *name; };
struct vapi_pool_t { apr_interval_time_t wrap_up, no_answer, sticky; };

static apr_array_header_t *done;            /* const char *: what was done, in order */

static void did(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    APR_ARRAY_PUSH(done, const char *) = apr_pvsprintf(pool, format, ap);
    va_end(ap);
}

apr_interval_time_t vapi_pool_wrap_up(const vapi_pool_t *p) { return p->wrap_up; }
apr_interval_time_t vapi_pool_no_answer(const vapi_pool_t *p) { return p->no_answer; }
apr_interval_time_t vapi_pool_sticky(const vapi_pool_t *p) { return p->sticky; }

void vapi_pool_unlearn(const vapi_desk_t *desk, const vapi_pool_t *p, const char *member)
{
    (void)p;
    did("unlearn %s of %s", desk->caller, member);
}

apr_status_t vapi_pool_seat_of(vapi_seat_t **out, vapi_state_t *st, const char *home, const char *name, apr_pool_t *p)
{
    (void)st;
    *out = apr_palloc(p, sizeof(**out));
    (*out)->name = apr_pstrcat(p, home, "/", name, NULL);
    return APR_SUCCESS;
}

static apr_status_t on_release(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    (void)st;
    did("release %s %" APR_UINT64_T_FMT " %d", seat->name, token, (int)apr_time_sec(wrap_up));
    return token == 404 ? APR_NOTFOUND : APR_SUCCESS;
}

static apr_status_t on_rest(vapi_state_t *st, vapi_seat_t *seat, apr_interval_time_t span)
{
    (void)st;
    did("rest %s %d", seat->name, (int)apr_time_sec(span));
    return APR_SUCCESS;
}

static void count(void *baton, const vapi_leg_t *leg)
{
    (void)baton;
    did("count %s %s %s", leg->path, leg->route, leg->status);
}

static vapi_names_t names;
static vapi_once_t *once;

static int begin(void **unused)
{
    static const vapi_pool_t pools[] = { { 5 * SEC, 30 * SEC, 600 * SEC }, { 0, 0, 0 } };

    set_up(unused);
    provider.release = on_release;
    provider.rest = on_rest;
    done = apr_array_make(pool, 8, sizeof(const char *));
    names.pools = apr_hash_make(pool);
    apr_hash_set(names.pools, "support", APR_HASH_KEY_STRING, &pools[0]);
    apr_hash_set(names.pools, "plain", APR_HASH_KEY_STRING, &pools[1]);
    once = call("main", "c1");
    return 0;
}

/* What was done since it was last asked, with "; " between. */
static const char *deeds(void)
{
    const char *all = apr_array_pstrcat(pool, done, ';');

    apr_array_clear(done);
    return all ? all : "";
}

/* ---- the core: messages in short form over legs in short form ---- */

/*
 * Legs: a word each. A capital is a number of its own (`A`), `h` a handoff, and `A=busy` has that status by the end of the call, `A!busy`
 * was told so; both are counted, unless it is connected.
 */
static apr_array_header_t *legs_of(const char *text)
{
    apr_array_header_t *legs = apr_array_make(pool, 4, sizeof(vapi_leg_t *));
    char *last, *word = apr_strtok(apr_pstrdup(pool, text), " ", &last);

    for (; word; word = apr_strtok(NULL, " ", &last)) {
        vapi_leg_t *leg = apr_pcalloc(pool, sizeof(*leg));

        leg->status = word[1] ? word + 2 : "";
        leg->is_told = word[1] == '!';
        leg->is_counted = word[1] && strcmp(leg->status, "connected") != 0 && strcmp(leg->status, "unreported") != 0;
        leg->dialled = word[0] == 'h' ? 0 : vapi_trail_hash(apr_pstrndup(pool, word, 1));
        leg->pool = "support";
        APR_ARRAY_PUSH(legs, vapi_leg_t *) = leg;
    }
    return legs;
}

/* Reports: `A=busy`; `?=busy` names no number. */
static apr_array_header_t *reports_of(const char *text)
{
    apr_array_header_t *reported = apr_array_make(pool, 4, sizeof(vapi_reported_t));
    char *last, *word = apr_strtok(apr_pstrdup(pool, text), " ", &last);

    for (; word; word = apr_strtok(NULL, " ", &last)) {
        vapi_reported_t *one = apr_array_push(reported);

        one->dialled = *word == '?' ? "" : apr_pstrndup(pool, word, 1);
        one->status = word[1] ? word + 2 : "";
    }
    return reported;
}

/* Takes the message to the legs. What is said of each: status, then `e` ends, `r` rests, `v` in vain, `c` counts; `-` nothing. */
static const char *judge(apr_array_header_t *legs, const char *reports, const char *ended)
{
    const vapi_verdict_t *verdicts = vapi_report_judge(legs, reports_of(reports), ended, pool);
    const char *said = "";
    int i;

    for (i = 0; i < legs->nelts; i++) {
        const vapi_verdict_t *v = &verdicts[i];
        vapi_leg_t *leg = APR_ARRAY_IDX(legs, i, vapi_leg_t *);
        const char *marks = apr_pstrcat(pool, v->ends ? "e" : "", v->rests ? "r" : "", v->was_in_vain ? "v" : "", v->counts ? "c" : "", NULL);

        assert_true(v->status || !*marks);
        said = apr_pstrcat(pool, said, *said ? " " : "", v->status ? v->status : "-", *marks ? "/" : "", marks, NULL);
        if (v->status) {
            leg->status = v->status;
            leg->is_told = v->is_told;
            leg->is_counted = v->is_counted;
        }
    }
    return said;
}

static const char nothing[] = "- - - - - -";

static void judges_single_messages(void **unused)
{
    static const struct {
        const char *legs, *reports, *ended, *said;
    } cases[] = {
        /* each word of Vapi's, while the call goes on and at its end */
        { "A", "A=completed", NULL, "completed/ec" },
        { "A", "A=no-answer", NULL, "no-answer/ervc" },
        { "A", "A=busy", NULL, "busy/ervc" },
        { "A", "A=voicemail", NULL, "voicemail/ervc" },
        { "A", "A=failed", NULL, "failed/evc" },
        { "A", "A=cancelled", NULL, "cancelled/evc" },
        { "A", "A=connected", NULL, "connected" },
        { "A", "A=connected", "customer-ended-call", "connected/c" },
        { "A", "A=connected", "", "connected/c" },
        { "A", "A=completed", "customer-ended-call", "completed/ec" },
        { "A", "A=no-answer", "assistant-forwarded-call", "no-answer/ervc" },
        { "A", "A=Completed", NULL, "-" },
        { "A", "A=something-new", NULL, "-" },
        { "A", "A=", NULL, "-" },
        { "A", "A=unreported", NULL, "-" },
        { "A", "A=something-new", "customer-ended-call", "unreported/ev" },
        { "A", "A=something-new", "assistant-forwarded-call", "-" },
        { "A", "", NULL, "-" },
        { "", "A=busy", "customer-ended-call", "" },
        { "A", "B=busy", NULL, "-" },
        /* what was there before */
        { "A!connected", "A=completed", NULL, "completed/ec" },
        { "A!connected", "A=connected", NULL, "-" },
        { "A!connected", "A=connected", "x", "connected/c" },
        { "A!connected", "", "customer-ended-call", "connected/c" },
        { "A!connected", "", "assistant-forwarded-call", "connected/c" },
        { "A!connected", "A=failed", NULL, "failed/evc" },
        { "A!completed", "A=no-answer", NULL, "-" },
        { "A!no-answer", "A=connected", "customer-ended-call", "-" },
        { "A!busy", "A=busy", "customer-ended-call", "-" },
        { "A=unreported", "A=no-answer", NULL, "no-answer/rc" },
        { "A=unreported", "A=completed", "x", "completed/c" },
        { "A=unreported", "A=connected", NULL, "connected/c" },
        { "A!unreported", "A=connected", "x", "connected/c" },
        { "A=failed", "A=voicemail", "x", "voicemail/r" },
        { "A=busy", "A=busy", "x", "busy" },
        { "A=busy", "A=connected", "x", "connected" },
        { "A=busy", "", "customer-ended-call", "-" },
        /* how the call ended */
        { "A", "", "assistant-forwarded-call", "-" },
        { "A", "", "assistant-request-returned-forwarding-phone-number", "-" },
        { "A", "", "call.ringing.hook-executed-transfer", "-" },
        { "A", "", "call.ending.hook-executed-transfer", "-" },
        { "A", "", "", "-" },
        { "A", "", "call.forwarding.operator-busy", "busy/ervc" },
        { "A", "", "call.forwarding.no-answer", "no-answer/ervc" },
        { "A", "", "call.forwarding.no-answer-but-new", "unreported/ev" },
        { "A", "", "call.in-progress.error-transfer-failed", "failed/evc" },
        { "A", "", "call.in-progress.error-warm-transfer-max-duration", "failed/evc" },
        { "A", "", "call.in-progress.error-warm-transfer-assistant-cancelled", "failed/evc" },
        { "A", "", "call.in-progress.error-warm-transfer-silence-timeout", "failed/evc" },
        { "A", "", "call.in-progress.error-warm-transfer-microphone-timeout", "failed/evc" },
        { "A", "", "call.in-progress.error-warm", "unreported/ev" },
        { "A", "", "customer-ended-call-before-warm-transfer", "cancelled/evc" },
        { "A", "", "customer-ended-call-during-transfer", "cancelled/evc" },
        { "A", "", "customer-ended-call-after-warm-transfer-attempt", "unreported/ev" },
        { "A", "", "customer-ended-call", "unreported/ev" },
        { "A", "", "assistant-ended-call", "unreported/ev" },
        { "A", "", "silence-timed-out", "unreported/ev" },
        { "A", "", "call.in-progress.error-something-of-next-year", "unreported/ev" },
        { "A", "", "assistant-forwarded-call-2", "unreported/ev" },
        /* several legs: the caller is nowhere but where he was sent last, and sticks to nobody before */
        { "A B C", "", "assistant-forwarded-call", "unreported/e unreported/e -" },
        { "A B", "", "", "unreported/e -" },
        { "A B", "", "customer-ended-call", "unreported/e unreported/ev" },
        { "A B", "", "call.forwarding.operator-busy", "unreported/e busy/ervc" },
        { "A B", "A=no-answer", "assistant-forwarded-call", "no-answer/erc -" },
        { "A B", "B=no-answer", "assistant-forwarded-call", "unreported/e no-answer/ervc" },
        { "A B", "A=connected B=no-answer", "customer-ended-call", "connected/c no-answer/ervc" },
        { "A B", "B=busy", NULL, "- busy/ervc" },
        /* handoffs: nobody reports them, and when the call is over no assistant has it */
        { "h", "", NULL, "-" },
        { "h", "", "customer-ended-call", "unreported/e" },
        { "h", "", "assistant-forwarded-call", "unreported/e" },
        { "h A", "", "assistant-forwarded-call", "unreported/e -" },
        { "A h", "", "assistant-forwarded-call", "unreported/e unreported/e" },
        { "h A", "A=busy", NULL, "- busy/ervc" },
        /* which is which */
        { "A B", "B=busy A=completed", NULL, "completed/ec busy/ervc" },
        { "A A", "A=busy", NULL, "busy/erc -" },
        { "A A", "A=busy A=completed", NULL, "busy/erc completed/ec" },
        { "A B A", "A=busy B=failed A=completed", NULL, "busy/erc failed/ec completed/ec" },
        { "A", "A=busy A=completed", NULL, "busy/ervc" },
        { "A B", "X=completed B=busy", NULL, "- busy/ervc" },
        { "A B", "?=busy ?=completed", NULL, "busy/erc completed/ec" },
        { "A h B", "?=busy ?=completed", NULL, "busy/erc - completed/ec" },
        { "A B", "?=busy B=completed", NULL, "busy/erc completed/ec" },
        { "A B", "?=busy A=completed", NULL, "completed/ec -" },
        { "A B", "?=busy", NULL, "- -" },
        { "A", "?=busy ?=completed", NULL, "-" },
        { "h", "?=busy", NULL, "-" },
        { "h", "h=busy", NULL, "-" },
    };
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        apr_array_header_t *legs = legs_of(cases[i].legs);
        const char *said = judge(legs, cases[i].reports, cases[i].ended), *again;

        if (strcmp(said, cases[i].said) != 0) {
            fail_msg("[%s] told [%s], ended %s: %s, not %s", cases[i].legs, cases[i].reports, cases[i].ended ? cases[i].ended : "not", said, cases[i].said);
        }
        again = judge(legs, cases[i].reports, cases[i].ended);
        if (strncmp(again, nothing, strlen(again)) != 0) {
            fail_msg("[%s] told [%s] twice: %s", cases[i].legs, cases[i].reports, again);
        }
    }
}

static const char *statuses_of(const apr_array_header_t *legs)
{
    const char *all = "";
    int i;

    for (i = 0; i < legs->nelts; i++) {
        all = apr_pstrcat(pool, all, " ", APR_ARRAY_IDX(legs, i, vapi_leg_t *)->status, NULL);
    }
    return all;
}

static int times(const char *text, char c)
{
    int n = 0;

    for (; *text; text++) {
        n += *text == c;
    }
    return n;
}

/* How often each leg's lease was ended, and it was counted, and rested: in what was said of all messages. */
static void assert_sound(const apr_array_header_t *said, const char *what)
{
    int i, j, n = 0;

    for (i = 0; i < said->nelts; i++) {
        char *last, *word = apr_strtok(apr_pstrdup(pool, APR_ARRAY_IDX(said, i, const char *)), " ", &last);
        int legs = 0;
        for (; word; word = apr_strtok(NULL, " ", &last)) {
            legs++;
        }
        n = legs > n ? legs : n;
    }
    for (j = 0; j < n; j++) {
        int ends = 0, counts = 0, rests = 0;

        for (i = 0; i < said->nelts; i++) {
            char *last, *word = apr_strtok(apr_pstrdup(pool, APR_ARRAY_IDX(said, i, const char *)), " ", &last);
            const char *marks;
            int k;

            for (k = 0; k < j; k++) {
                word = apr_strtok(NULL, " ", &last);
            }
            marks = strchr(word, '/') ? strchr(word, '/') : "";
            ends += times(marks, 'e');
            counts += times(marks, 'c');
            rests += times(marks, 'r');
        }
        if (ends > 1 || counts > 1 || rests > 1) {
            fail_msg("%s: leg %d ended %d times, counted %d, rested %d", what, j, ends, counts, rests);
        }
    }
}

/* Messages of one call that do not contradict each other, in every order, and each twice: the same marks, nothing done twice. */
static void takes_any_order(void **unused)
{
    typedef struct { const char *reports, *ended; } message_t;
    static const struct {
        const char *legs;
        message_t messages[3];
    } cases[] = {
        { "A", { { "", "customer-ended-call" }, { "A=no-answer", "customer-ended-call" }, { "A=no-answer", NULL } } },
        { "A", { { "", "assistant-forwarded-call" }, { "A=completed", "assistant-forwarded-call" }, { "", NULL } } },
        { "A", { { "A=connected", NULL }, { "A=completed", "assistant-forwarded-call" }, { "A=connected", "" } } },
        { "A", { { "A=connected", NULL }, { "A=connected", "customer-ended-call" }, { "", "customer-ended-call" } } },
        { "A", { { "", "call.forwarding.operator-busy" }, { "A=busy", "call.forwarding.operator-busy" }, { "", "" } } },
        { "A", { { "", "call.in-progress.error-transfer-failed" }, { "A=voicemail", "call.in-progress.error-transfer-failed" }, { "A=voicemail", NULL } } },
        { "A B", { { "", "assistant-forwarded-call" }, { "A=no-answer B=no-answer", "assistant-forwarded-call" }, { "A=no-answer", NULL } } },
        { "A B", { { "", "assistant-forwarded-call" }, { "B=no-answer", "assistant-forwarded-call" }, { "B=no-answer", NULL } } },
        { "A B", { { "", "" }, { "A=failed B=connected", "assistant-forwarded-call" }, { "A=failed", NULL } } },
        { "A h B", { { "", "" }, { "?=failed ?=connected", "assistant-forwarded-call" }, { "A=failed", NULL } } },
    };
    static const int orders[][6] = {
        { 0, 1, 2, 0, 1, 2 }, { 0, 2, 1, 0, 2, 1 }, { 1, 0, 2, 1, 0, 2 }, { 1, 2, 0, 1, 2, 0 }, { 2, 0, 1, 2, 0, 1 }, { 2, 1, 0, 2, 1, 0 },
        { 0, 0, 1, 1, 2, 2 }, { 2, 2, 1, 1, 0, 0 }, { 0, 1, 0, 2, 1, 2 }
    };
    size_t i, o;
    int m;

    (void)unused;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *first = NULL;

        for (o = 0; o < sizeof(orders) / sizeof(*orders); o++) {
            apr_array_header_t *legs = legs_of(cases[i].legs), *said = apr_array_make(pool, 6, sizeof(const char *));
            const char *what = apr_psprintf(pool, "case %d, order %d", (int)i, (int)o);

            for (m = 0; m < 6; m++) {
                const message_t *message = &cases[i].messages[orders[o][m]];
                APR_ARRAY_PUSH(said, const char *) = judge(legs, message->reports, message->ended);
            }
            assert_sound(said, what);
            if (first && strcmp(first, statuses_of(legs)) != 0) {
                fail_msg("%s:%s, elsewhere%s", what, statuses_of(legs), first);
            }
            first = statuses_of(legs);
        }
    }
}

/* ---- what is done of it ---- */

static vapi_leg_t *sent(const char *pool_name, const char *member, const char *number, apr_uint64_t token)
{
    vapi_leg_t *leg = apr_pcalloc(pool, sizeof(*leg));

    leg->path = "/t";
    leg->route = *pool_name ? pool_name : "billing";
    leg->pool = pool_name;
    leg->home = *pool_name ? "main" : "";
    leg->member = member;
    leg->token = token;
    leg->dialled = vapi_trail_hash(number);
    assert_true(vapi_trail_add(once, leg));
    return leg;
}

static vapi_message_t *message(const char *type, const char *members)
{
    vapi_message_t *m;
    const char *body = apr_psprintf(pool, "{\"message\":{\"type\":\"%s\"%s}}", type, members);

    assert_null(vapi_message_read(&m, body, strlen(body), pool));
    return m;
}

static vapi_report_t settle(const char *type, const char *members)
{
    vapi_report_t report = { once, &names, "+14155550100", message(type, members), count, NULL, -1, -1, -1 };

    vapi_report_settle(&report);
    return report;
}

#define TRANSFERS(list) ",\"artifact\":{\"transfers\":[" list "]}"
#define TRANSFER(number, status) "{\"destination\":{\"type\":\"number\",\"number\":\"" number "\"},\"status\":\"" status "\"}"

static void frees_members(void **unused)
{
    vapi_report_t report;

    (void)unused;
    sent("support", "alice", "+1", 7);
    report = settle("conversation-update", TRANSFERS(TRANSFER("+1", "no-answer")));
    assert_string_equal(deeds(), "rest main/alice 30;release main/alice 7 5;unlearn +14155550100 of alice;count /t support no-answer");
    assert_int_equal(report.released, 1);
    assert_int_equal(report.rested, 1);
    report = settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "no-answer")) ",\"endedReason\":\"customer-ended-call\"");
    assert_string_equal(deeds(), "");
    assert_int_equal(report.released + report.rested, 0);
}

/* What is known of a leg stands in the trail, for the next message. */
static void remembers_what_was_told(void **unused)
{
    const vapi_leg_t *leg;

    (void)unused;
    sent("support", "alice", "+1", 7);
    settle("conversation-update", TRANSFERS(TRANSFER("+1", "connected")));
    assert_string_equal(deeds(), "");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "connected")));
    assert_string_equal(deeds(), "count /t support connected");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "connected")));
    assert_string_equal(deeds(), "");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "completed")));
    assert_string_equal(deeds(), "release main/alice 7 5");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "no-answer")));
    assert_string_equal(deeds(), "");
    leg = APR_ARRAY_IDX(vapi_trail_read(once), 0, const vapi_leg_t *);
    assert_string_equal(leg->status, "completed");
    assert_true(leg->is_told && leg->is_counted);
}

static void knows_pools_that_are_no_more(void **unused)
{
    vapi_report_t report;

    (void)unused;
    sent("former", "bob", "+1", 7);
    report = settle("tool-calls", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_equal(deeds(), "rest main/bob 60;release main/bob 7 0;count /t former busy");
    assert_int_equal(report.released, 1);
}

static void minds_the_pools_settings(void **unused)
{
    vapi_report_t report;

    (void)unused;
    sent("plain", "carol", "+1", 404);
    sent("", "", "+2", 0);
    sent("support", "dave", "+3", 0);
    report = settle("tool-calls", TRANSFERS(TRANSFER("+1", "busy") "," TRANSFER("+2", "failed") "," TRANSFER("+3", "completed")));
    assert_string_equal(deeds(), "release main/carol 404 0;count /t plain busy;count /t billing failed;count /t support completed");
    assert_int_equal(report.released + report.rested, 0);
}

static void knows_when_a_call_has_ended(void **unused)
{
    (void)unused;
    sent("support", "alice", "+1", 7);
    settle("status-update", ",\"status\":\"forwarding\"");
    settle("status-update", ",\"status\":\"in-progress\",\"endedReason\":\"customer-ended-call\"");
    settle("transfer-update", ",\"destination\":{\"number\":\"+1\"},\"endedReason\":\"customer-ended-call\",\"status\":\"ended\"");
    settle("transcript", ",\"status\":\"ended\",\"endedReason\":\"customer-ended-call\"");
    settle("status-update", ",\"status\":\"ended\"");
    settle("end-of-call-report", "");
    settle("end-of-call-report", ",\"endedReason\":7");
    settle("end-of-call-report", ",\"endedReason\":\"assistant-forwarded-call\"");
    assert_string_equal(deeds(), "");
    settle("status-update", ",\"status\":\"ended\",\"endedReason\":\"customer-ended-call\"");
    assert_string_equal(deeds(), "release main/alice 7 5;unlearn +14155550100 of alice");
    settle("transfer-update", TRANSFERS(TRANSFER("+1", "voicemail")));
    assert_string_equal(deeds(), "rest main/alice 30;count /t support voicemail");
}

/* Whether what is named last is where the call was sent before: +1, then +2. */
static void tells_of_earlier(void **unused)
{
    static const struct {
        const char *members;
        int is_of_earlier;
    } cases[] = {
        { TRANSFERS(TRANSFER("+2", "busy")), 0 },
        { TRANSFERS(TRANSFER("+1", "busy")), 1 },
        { TRANSFERS(TRANSFER("+9", "busy")), 0 },
        { TRANSFERS(TRANSFER("+9", "busy") "," TRANSFER("+1", "busy")), 1 },
        { TRANSFERS(TRANSFER("+2", "busy") "," TRANSFER("+1", "busy")), 0 },
        { TRANSFERS(TRANSFER("+1", "busy") "," TRANSFER("+2", "busy")), 0 },
        { TRANSFERS(TRANSFER("+2", "busy") "," TRANSFER("+9", "busy")), 0 },
        { TRANSFERS("{\"status\":\"busy\"}"), 0 },
        { "", 0 }
    };
    size_t i;

    (void)unused;
    sent("support", "alice", "+1", 7);
    sent("support", "bob", "+2", 8);
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(settle("conversation-update", cases[i].members).is_of_earlier, cases[i].is_of_earlier);
    }
}

static void asks_the_store_for_reports_only(void **unused)
{
    static const char *const members[] = { "", ",\"artifact\":{\"transfers\":[]}", ",\"artifact\":{\"transfers\":{}}", ",\"artifact\":7" };
    vapi_report_t nameless = { call("main", ""), &names, "", NULL, count, NULL, 0, 0, 0 };
    size_t i;

    (void)unused;
    sent("support", "alice", "+1", 7);
    reads = writes = 0;
    for (i = 0; i < sizeof(members) / sizeof(*members); i++) {
        settle("tool-calls", members[i]);
        settle("transfer-update", members[i]);
        settle("status-update", apr_pstrcat(pool, members[i], ",\"status\":\"in-progress\"", NULL));
    }
    nameless.message = message("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    vapi_report_settle(&nameless);
    assert_int_equal(reads + writes, 0);
    settle("end-of-call-report", "");
    assert_int_equal(reads, 1);
}

static void minds_whose_call_it_is(void **unused)
{
    vapi_once_t *mine = once;

    (void)unused;
    sent("support", "alice", "+1", 7);
    once = call("main", "c2");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    once = call("other", "c1");
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_equal(deeds(), "");
    assert_int_equal(writes, 1);
    once = mine;
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "cancelled")));
    assert_string_equal(deeds(), "release main/alice 7 5;unlearn +14155550100 of alice;count /t support cancelled");
}

static void the_same_report(void)
{
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
}

static void another_report(void)
{
    settle("status-update", ",\"status\":\"ended\",\"endedReason\":\"customer-ended-call\"");
}

static vapi_leg_t *under_way;

static void the_tool_calls_own_end(void)
{
    vapi_trail_drop(once, under_way);
}

static void settles_once_in_a_race(void **unused)
{
    (void)unused;
    sent("support", "alice", "+1", 7);
    meanwhile = the_same_report;
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    /* freed once more, which by its token does nothing; counted once */
    assert_string_equal(deeds(), "rest main/alice 30;release main/alice 7 5;rest main/alice 30;release main/alice 7 5;"
                                 "unlearn +14155550100 of alice;count /t support busy");

    once = call("main", "c2");
    sent("support", "bob", "+1", 8);
    meanwhile = another_report;
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_equal(deeds(), "rest main/bob 30;release main/bob 8 5;release main/bob 8 5;unlearn +14155550100 of bob;"
                                 "rest main/bob 30;count /t support busy");

    once = call("main", "c3");
    under_way = sent("support", "bob", "+1", 9);
    meanwhile = the_tool_calls_own_end;
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_equal(deeds(), "rest main/bob 30;release main/bob 9 5");
}

static void does_nothing_without_the_store(void **unused)
{
    vapi_report_t report;

    (void)unused;
    sent("support", "alice", "+1", 7);
    trouble = APR_EGENERAL;
    report = settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_equal(deeds(), "");
    assert_int_equal(report.released + report.rested, 0);
    trouble = APR_SUCCESS;
    settle("end-of-call-report", TRANSFERS(TRANSFER("+1", "busy")));
    assert_string_not_equal(deeds(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(judges_single_messages, begin, tear_down),
        cmocka_unit_test_setup_teardown(takes_any_order, begin, tear_down),
        cmocka_unit_test_setup_teardown(frees_members, begin, tear_down),
        cmocka_unit_test_setup_teardown(remembers_what_was_told, begin, tear_down),
        cmocka_unit_test_setup_teardown(knows_pools_that_are_no_more, begin, tear_down),
        cmocka_unit_test_setup_teardown(minds_the_pools_settings, begin, tear_down),
        cmocka_unit_test_setup_teardown(knows_when_a_call_has_ended, begin, tear_down),
        cmocka_unit_test_setup_teardown(tells_of_earlier, begin, tear_down),
        cmocka_unit_test_setup_teardown(asks_the_store_for_reports_only, begin, tear_down),
        cmocka_unit_test_setup_teardown(minds_whose_call_it_is, begin, tear_down),
        cmocka_unit_test_setup_teardown(settles_once_in_a_race, begin, tear_down),
        cmocka_unit_test_setup_teardown(does_nothing_without_the_store, begin, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
