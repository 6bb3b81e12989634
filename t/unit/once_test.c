/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "state_store.h"
#include "vapi_once.h"

/* A provider over a store in memory that can be made to fail. */

typedef struct test_state_t {
    vapi_state_t st;
    vapi_state_table_t *table;
} test_state_t;

static apr_status_t trouble;            /* what every verb says, if not APR_SUCCESS */

static vapi_state_table_t *of(vapi_state_t *st)
{
    return ((test_state_t *)st)->table;
}

static apr_status_t on_claim(vapi_state_t *st, const char *key, apr_size_t len, apr_uint64_t fingerprint, apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p)
{
    return trouble ? trouble : vapi_state_table_claim(of(st), key, len, fingerprint, work, out, p);
}

static apr_status_t on_commit(vapi_state_t *st, const char *key, apr_size_t len, apr_uint64_t token, const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    return trouble ? trouble : vapi_state_table_commit(of(st), key, len, token, reply, reply_len, keep);
}

static apr_status_t on_settle(vapi_state_t *st, const char *key, apr_size_t len, apr_uint64_t token, const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    return trouble ? trouble : vapi_state_table_settle(of(st), key, len, token, reply, reply_len, keep);
}

static vapi_once_t *reenter;            /* right after a recall another message opens the gate, and this request takes it */
static vapi_gate_t reentered;

static apr_status_t on_recall(vapi_state_t *st, const char *key, apr_size_t len, vapi_claim_t *out, apr_pool_t *p)
{
    apr_status_t rv = trouble ? trouble : vapi_state_table_recall(of(st), key, len, out, p);
    vapi_once_t *other = reenter;

    if (other) {
        reenter = NULL;
        vapi_state_table_abandon(of(st), key, len, 0);
        vapi_gate_enter(other, 15 * SEC, &reentered);
    }
    return rv;
}

static apr_status_t on_abandon(vapi_state_t *st, const char *key, apr_size_t len, apr_uint64_t token)
{
    return trouble ? trouble : vapi_state_table_abandon(of(st), key, len, token);
}

static apr_status_t on_count(vapi_state_t *st, const char *key, apr_size_t len, int delta, int limit, apr_interval_time_t window, int restart, int *value)
{
    return trouble ? trouble : vapi_state_table_count(of(st), key, len, delta, limit, window, restart, value);
}

static const vapi_state_provider_t provider = {
    .name = "test", .claim = on_claim, .commit = on_commit, .settle = on_settle, .recall = on_recall, .abandon = on_abandon, .count = on_count
};

static test_state_t store;

#define AMPLE (60 * SEC)                /* a budget that no delay of this machine uses up */

static int begin(void **unused)
{
    set_up(unused);
    trouble = APR_SUCCESS;
    store.st.provider = &provider;
    store.st.keep = 60 * SEC;
    store.table = open_store(NULL, MB);
    return 0;
}

static int end(void **unused)
{
    close_checked(store.table);
    return tear_down(unused);
}

static vapi_once_t a_request(const char *host, const char *call, apr_interval_time_t budget)
{
    vapi_once_t once = { &store.st, host, call, vapi_clock_now() + budget, pool };

    return once;
}

static vapi_once_verdict claim_once(const vapi_once_t *once, const char *id, vapi_hold_t *hold, const char **reply)
{
    int changed;

    return vapi_once_claim(once, "tool-calls", id, 1, hold, reply, &changed);
}

/* Which claims are the same: all else being equal, one difference makes another. */
static void test_keys(void **unused)
{
    static const char *const claims[][4] = {
        { "host", "call", "tool-calls", "id" }, { "host2", "call", "tool-calls", "id" }, { "host", "call2", "tool-calls", "id" },
        { "host", "call", "function-call", "id" }, { "host", "call", "tool-calls", "id2" }, { "host", "call", "tool-calls", "" },
        { "host", "callid", "tool-calls", "" }, { "hostcall", "", "tool-calls", "id" }, { "host|4:call", "", "tool-calls", "id" },
        { "host", "call|2:id", "tool-calls", "" }, { "", "", "", "" }
    };
    const char *reply;
    vapi_hold_t hold;
    apr_size_t i;
    int changed;

    (void)unused;
    for (i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
        vapi_once_t once = a_request(claims[i][0], claims[i][1], AMPLE);

        assert_int_equal(vapi_once_claim(&once, claims[i][2], claims[i][3], 1, &hold, &reply, &changed), VAPI_ONCE_MINE);
        vapi_once_settle(&once, &hold, claims[i][3]);
        assert_int_equal(vapi_once_claim(&once, claims[i][2], claims[i][3], 2, &hold, &reply, &changed), VAPI_ONCE_SEEN);
        assert_string_equal(reply, claims[i][3]);
        assert_int_equal(changed, 1);
    }
}

static void test_release(void **unused)
{
    vapi_once_t once = a_request("h", "c", AMPLE);
    vapi_hold_t hold;
    const char *reply;

    (void)unused;
    assert_int_equal(claim_once(&once, "id", &hold, &reply), VAPI_ONCE_MINE);
    vapi_once_release(&once, &hold);
    assert_int_equal(vapi_once_commit(&once, &hold, "x"), 0);
    assert_int_equal(claim_once(&once, "id", &hold, &reply), VAPI_ONCE_MINE);
}

/* A duplicate waits no longer than it may. */
static void test_wait(void **unused)
{
    vapi_once_t first = a_request("h", "c", AMPLE), duplicate = a_request("h", "c", SEC / 5);
    vapi_hold_t hold, other;
    apr_time_t ended;
    const char *reply;

    (void)unused;
    assert_int_equal(claim_once(&first, "id", &hold, &reply), VAPI_ONCE_MINE);
    assert_int_equal(claim_once(&duplicate, "id", &other, &reply), VAPI_ONCE_STILL_WORKING);
    ended = vapi_clock_now();
    assert_true(ended >= duplicate.deadline && ended < duplicate.deadline + AMPLE / 2);
    assert_int_equal(vapi_once_commit(&first, &hold, "lost"), 1);
    assert_int_equal(claim_once(&duplicate, "id", &other, &reply), VAPI_ONCE_STILL_WORKING);
    vapi_once_settle(&first, &hold, "done");
    assert_int_equal(claim_once(&duplicate, "id", &other, &reply), VAPI_ONCE_SEEN);
    assert_string_equal(reply, "done");
}

/*
 * The first has died, and counts as dead a second after its deadline. Who waited for it begins in its place if there is time for the work,
 * and gets what it was about to say if it had committed.
 */
static void test_dead_owner(void **unused)
{
    static const struct {
        const char *id;
        apr_interval_time_t budget;
        int committed;
        vapi_once_verdict verdict;
    } cases[] = {
        { "time enough", AMPLE, 0, VAPI_ONCE_MINE },
        { "half of a short budget", SEC * 39 / 10, 0, VAPI_ONCE_MINE },
        { "too little left", SEC * 12 / 10, 0, VAPI_ONCE_STILL_WORKING },
        { "committed", AMPLE, 1, VAPI_ONCE_SEEN },
        { "committed, little left", SEC * 12 / 10, 1, VAPI_ONCE_SEEN }
    };
    vapi_once_t waiting;
    vapi_hold_t hold;
    const char *reply;
    apr_size_t i;

    (void)unused;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        vapi_once_t dead = a_request("h", "c", 0);

        assert_int_equal(claim_once(&dead, cases[i].id, &hold, &reply), VAPI_ONCE_MINE);
        if (cases[i].committed) {
            assert_int_equal(vapi_once_commit(&dead, &hold, "perhaps"), 1);
        }
        waiting = dead;
        waiting.deadline += cases[i].budget;
        assert_int_equal(claim_once(&waiting, cases[i].id, &hold, &reply), cases[i].verdict);
        if (cases[i].committed) {
            assert_string_equal(reply, "perhaps");
        }
    }
}

/* ---- the gate ---- */

static vapi_gate_t enter_gate(const vapi_once_t *once, apr_interval_time_t settle)
{
    vapi_gate_t gate;

    vapi_gate_enter(once, settle, &gate);
    return gate;
}

static void test_gate(void **unused)
{
    vapi_once_t once = a_request("h", "c", 10 * SEC), other = a_request("h", "other", 10 * SEC);
    vapi_gate_t gate = enter_gate(&once, 15 * SEC), second;
    apr_interval_time_t left = 0;

    (void)unused;
    assert_int_equal(gate.verdict, VAPI_GATE_OPEN);
    second = enter_gate(&once, 15 * SEC);
    assert_int_equal(second.verdict, VAPI_GATE_MOVING);
    assert_true(second.left == 15 * SEC);
    assert_int_equal(enter_gate(&other, 15 * SEC).verdict, VAPI_GATE_OPEN);
    assert_int_equal(vapi_gate_is_shut(&once, &left), 1);

    vapi_gate_leave(&once, &gate, 0, 15 * SEC, 0);
    assert_int_equal(vapi_gate_is_shut(&once, &left), 0);
    gate = enter_gate(&once, 15 * SEC);
    assert_int_equal(vapi_gate_commit(&once, &gate, 15 * SEC, 0), 1);
    vapi_gate_leave(&once, &gate, 0, 15 * SEC, 0);
    gate = enter_gate(&once, 15 * SEC);
    assert_int_equal(gate.verdict, VAPI_GATE_OPEN);
    assert_int_equal(vapi_gate_commit(&once, &gate, 15 * SEC, 0), 1);
    vapi_gate_leave(&once, &gate, 1, 15 * SEC, 0);
    second = enter_gate(&once, 15 * SEC);
    assert_int_equal(second.verdict, VAPI_GATE_MOVING);
    assert_true(second.left > 5 * SEC && second.left <= 15 * SEC);
    assert_int_equal(vapi_gate_is_shut(&once, &left), 1);
    assert_true(left > 5 * SEC && left <= 15 * SEC);
}

static void test_gate_without_settle(void **unused)
{
    vapi_once_t once = a_request("h", "c", AMPLE);
    vapi_gate_t gate = enter_gate(&once, 0);

    (void)unused;
    assert_int_equal(enter_gate(&once, 0).verdict, VAPI_GATE_MOVING);
    assert_int_equal(vapi_gate_commit(&once, &gate, 0, 0), 1);
    vapi_gate_leave(&once, &gate, 1, 0, 0);
    assert_int_equal(enter_gate(&once, 0).verdict, VAPI_GATE_OPEN);
}

/* Who was held up for longer than its work was to last leaves the gate to whoever has taken it since. */
static void test_gate_left_late(void **unused)
{
    vapi_once_t once = a_request("h", "c", -1200000);    /* a second is added to it: over before anything is done */
    vapi_once_t next = a_request("h", "c", AMPLE);
    vapi_gate_t late = enter_gate(&once, 15 * SEC), gate = enter_gate(&next, 15 * SEC);
    apr_interval_time_t left;

    (void)unused;
    assert_int_equal(late.verdict, VAPI_GATE_OPEN);
    while (gate.verdict != VAPI_GATE_OPEN) {
        apr_sleep(20000);
        gate = enter_gate(&next, 15 * SEC);
    }
    assert_int_equal(vapi_gate_commit(&once, &late, 15 * SEC, 0), 0);
    vapi_gate_leave(&once, &late, 0, 15 * SEC, 0);
    assert_int_equal(vapi_gate_is_shut(&next, &left), 1);
    assert_int_equal(vapi_gate_commit(&next, &gate, 15 * SEC, 0), 1);
    vapi_gate_leave(&once, &late, 0, 15 * SEC, 0);
    assert_int_equal(vapi_gate_is_shut(&next, &left), 1);
}

/* Two messages show the same failure: the second must not open what was shut again since. */
static void test_gate_came_back_twice(void **unused)
{
    vapi_once_t once = a_request("h", "c", AMPLE);
    vapi_gate_t gate = enter_gate(&once, 15 * SEC);
    apr_interval_time_t left;

    (void)unused;
    assert_int_equal(vapi_gate_commit(&once, &gate, 15 * SEC, 0), 1);
    vapi_gate_leave(&once, &gate, 1, 15 * SEC, 0);
    reenter = &once;
    vapi_gate_came_back(&once, 1);
    assert_int_equal(reentered.verdict, VAPI_GATE_OPEN);
    assert_int_equal(vapi_gate_is_shut(&once, &left), 1);
    assert_int_equal(vapi_gate_commit(&once, &reentered, 15 * SEC, 1), 1);
}

/* Shut with `known` transfers shown; a message shows `shown`, the last of them failed. */
static void test_gate_came_back(void **unused)
{
    static const struct { int known, shown, opens; } cases[] = { { 0, 1, 1 }, { 1, 1, 0 }, { 1, 2, 1 }, { 2, 1, 0 }, { 0, 3, 1 } };
    apr_interval_time_t left;
    apr_size_t i;

    (void)unused;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        vapi_once_t once = a_request("h", apr_itoa(pool, (int)i), AMPLE);
        vapi_gate_t gate = enter_gate(&once, 15 * SEC);

        vapi_gate_came_back(&once, cases[i].shown);
        assert_int_equal(vapi_gate_is_shut(&once, &left), 1);    /* one that is at work is never opened */
        assert_int_equal(vapi_gate_commit(&once, &gate, 15 * SEC, cases[i].known), 1);
        vapi_gate_came_back(&once, cases[i].shown);
        assert_int_equal(vapi_gate_is_shut(&once, &left), 1);
        vapi_gate_leave(&once, &gate, 1, 15 * SEC, cases[i].known);
        vapi_gate_came_back(&once, cases[i].shown);
        assert_int_equal(vapi_gate_is_shut(&once, &left), !cases[i].opens);
    }
}

/* ---- counters ---- */

static void test_attempts(void **unused)
{
    vapi_once_t once = a_request("h", "c", AMPLE), other = a_request("h2", "c", AMPLE);

    (void)unused;
    assert_int_equal(vapi_once_begin_attempt(&once), 0);
    assert_int_equal(vapi_once_begin_attempt(&once), 1);
    vapi_once_drop_attempt(&once);
    assert_int_equal(vapi_once_begin_attempt(&once), 1);
    assert_int_equal(vapi_once_begin_attempt(&other), 0);
}

/* Both or none are counted; 60 s are the caller's window. */
static void test_limits(void **unused)
{
    vapi_once_t one = a_request("h", "1", AMPLE), two = a_request("h", "2", AMPLE), three = a_request("h", "3", AMPLE);

    (void)unused;
    assert_int_equal(vapi_once_count_transfer(&one, 2, "+1", 2, 60 * SEC), 1);
    assert_int_equal(vapi_once_count_transfer(&one, 2, "+1", 2, 60 * SEC), 1);
    assert_int_equal(vapi_once_count_transfer(&one, 2, "+2", 2, 60 * SEC), 0);    /* the call's own */
    assert_int_equal(vapi_once_count_transfer(&two, 1, "+1", 2, 60 * SEC), 0);    /* the caller's */
    assert_int_equal(vapi_once_count_transfer(&two, 1, "+2", 2, 60 * SEC), 1);    /* nothing of that was kept */
    vapi_once_uncount_transfer(&one, "+1", 2, 60 * SEC);
    assert_int_equal(vapi_once_count_transfer(&three, 1, "+1", 2, 60 * SEC), 1);
    assert_int_equal(vapi_once_count_transfer(&one, 2, "+1", 2, 60 * SEC), 0);
    assert_int_equal(vapi_once_count_transfer(&one, 2, "+1", 0, 0), 1);           /* no limit for callers */
    vapi_once_uncount_transfer(&one, "+1", 0, 0);
    assert_int_equal(vapi_once_count_transfer(&one, 2, "", 2, 60 * SEC), 1);      /* nobody in particular */
    assert_int_equal(vapi_once_count_transfer(&one, 2, "", 2, 60 * SEC), 0);
}

/* A store that cannot say lets nothing be sent. */
static void test_trouble(void **unused)
{
    vapi_once_t once = a_request("h", "c", AMPLE);
    vapi_gate_t gate = enter_gate(&once, SEC);
    apr_interval_time_t left;
    vapi_hold_t hold;
    const char *reply;

    (void)unused;
    assert_int_equal(claim_once(&once, "id", &hold, &reply), VAPI_ONCE_MINE);
    trouble = APR_ENOSPC;
    assert_int_equal(vapi_once_commit(&once, &hold, "x"), 0);
    assert_int_equal(vapi_gate_commit(&once, &gate, SEC, 0), 0);
    assert_int_equal(claim_once(&once, "other", &hold, &reply), VAPI_ONCE_ERROR);
    assert_int_equal(enter_gate(&once, SEC).verdict, VAPI_GATE_ERROR);
    assert_int_equal(vapi_gate_is_shut(&once, &left), 0);
    assert_int_equal(vapi_once_count_transfer(&once, 2, "+1", 2, SEC), -1);
    assert_int_equal(vapi_once_begin_attempt(&once), 0);
    vapi_gate_came_back(&once, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keys), TEST(test_release), TEST(test_wait), TEST(test_dead_owner), TEST(test_gate), TEST(test_gate_without_settle),
        TEST(test_gate_left_late), TEST(test_gate_came_back), TEST(test_gate_came_back_twice), TEST(test_attempts), TEST(test_limits), TEST(test_trouble)
    };

    return run_store_tests(tests, sizeof(tests) / sizeof(*tests));
}
