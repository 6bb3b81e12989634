/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Who takes a call, and what becomes of the lease. */
#include "moved_clock.h"
#include "roster_team.h"

/* ---- strategies ---- */

static void test_least_busy(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LEAST_BUSY, 3, 2);
    apr_uint64_t first;

    (void)unused;
    a->members[1].capacity = 4;
    first = get_one(a, 0);               /* nobody ever held one: the first in order */
    get_one(a, 1);
    get_one(a, 2);
    get_one(a, 1);                       /* 1/4 is less than 1/2 */
    get_one(a, 0);                       /* all half busy: whose latest lease began first */
    get_one(a, 2);
    get_one(a, 1);
    assert_int_equal(release(a, 0, first, 0), APR_SUCCESS);
    get_one(a, 0);
    get_one(a, 1);
    assert_nobody(a, 0);
    close_checked(t);
}

static void test_least_busy_idle(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LEAST_BUSY, 3, 1);
    apr_uint64_t token[3];
    int i;

    (void)unused;
    for (i = 0; i < 3; i++) {
        token[i] = get_one(a, i);
    }
    for (i = 2; i >= 0; i--) {           /* the last is idle longest then */
        assert_int_equal(release(a, i, token[i], 0), APR_SUCCESS);
    }
    for (i = 2; i >= 0; i--) {
        get_one(a, i);
    }
    close_checked(t);
}

static void test_longest_idle(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LONGEST_IDLE, 3, 3);
    apr_uint64_t token[3];
    int i;

    (void)unused;
    for (i = 0; i < 3; i++) {
        token[i] = get_one(a, i);
    }
    assert_int_equal(release(a, 1, token[1], 0), APR_SUCCESS);
    assert_int_equal(release(a, 0, token[0], 0), APR_SUCCESS);
    get_one(a, 1);                       /* who holds none for the longest */
    get_one(a, 0);
    get_one(a, 2);                       /* all hold some: whose latest lease began first */
    get_one(a, 1);
    get_one(a, 0);
    close_checked(t);
}

static void test_round_robin(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ROUND_ROBIN, 4, 2), *b = team(t, VAPI_ROUND_ROBIN, 2, 9);

    (void)unused;
    b->wish.pool = seat(t, "another pool");
    get_one(a, 0);
    get_one(b, 0);                       /* each pool has its own turn */
    get_one(a, 1);
    a->members[2].barred = 1;
    get_one(a, 3);
    a->members[2].barred = 0;
    get_one(a, 1);                       /* m0 is full with the other pool's */
    get_one(a, 2);
    get_one(a, 3);
    get_one(a, 2);
    assert_nobody(a, 0);
    get_one(b, 1);
    get_one(b, 0);
    b->wish.n = 1;                       /* a pool that has become smaller */
    get_one(b, 0);
    get_one(b, 0);
    close_checked(t);
}

static void test_ordered(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 3, 1);
    apr_uint64_t token = get_one(a, 0);

    (void)unused;
    get_one(a, 1);
    assert_int_equal(release(a, 0, token, 0), APR_SUCCESS);
    get_one(a, 0);
    get_one(a, 2);
    assert_nobody(a, 0);
    close_checked(t);
}

/* Shares after any number of turns are as near as can be expected; who is out leaves his to the others. */
static void test_weighted(void **unused)
{
    static const int weights[] = { 5, 1, 3, 1 };
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_WEIGHTED, 4, 1);
    int got[4] = { 0 }, i, m;

    (void)unused;
    for (i = 0; i < 4; i++) {
        a->members[i].weight = weights[i];
    }
    for (i = 1; i <= 1000; i++) {
        vapi_lease_t lease = ask(a);

        got[lease.chosen]++;
        assert_int_equal(release(a, lease.chosen, lease.token, 0), APR_SUCCESS);
        for (m = 0; m < 4; m++) {
            assert_true(abs(got[m] * 10 - i * weights[m]) <= 30);
        }
    }
    present(a, 0, VAPI_PRESENCE_PAUSED);
    memset(got, 0, sizeof got);
    for (i = 0; i < 500; i++) {
        vapi_lease_t lease = ask(a);

        got[lease.chosen]++;
        assert_int_equal(release(a, lease.chosen, lease.token, 0), APR_SUCCESS);
    }
    assert_true(!got[0] && abs(got[1] - 100) <= 3 && abs(got[2] - 300) <= 3 && abs(got[3] - 100) <= 3);
    close_checked(t);
}

/* ---- who may be chosen ---- */

static void test_preferred(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ROUND_ROBIN, 3, 2);
    int strategy;

    (void)unused;
    get_one(a, 0);
    a->wish.preferred = 2;
    get_one(a, 2);
    a->wish.preferred = -1;
    get_one(a, 1);                       /* the turn has not moved */
    a->wish.preferred = 2;
    a->members[2].barred = 1;
    get_one(a, 0);                       /* he may not: m2 would have been next */
    a->members[2].barred = 0;
    get_one(a, 2);
    get_one(a, 1);                       /* he is full */
    assert_nobody(a, 0);
    vapi_state_table_close(t);
    for (strategy = VAPI_LEAST_BUSY; strategy <= VAPI_ORDERED; strategy++) {
        t = open_store(NULL, MB);
        a = team(t, strategy, 4, 2);
        a->wish.preferred = 1;
        get_one(a, 1);
        get_one(a, 1);
        rest(a, 0, SEC);
        assert_true(ask(a).chosen >= 2);
        close_checked(t);
    }
}

static void test_leave(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 3, 2);

    (void)unused;
    a->wish.leave = 4;
    a->members[0].barred = 1;            /* his free capacity counts all the same */
    get_one(a, 1);
    get_one(a, 1);
    assert_nobody(a, 0);
    a->wish.leave = 3;
    present(a, 0, VAPI_PRESENCE_BUSY);   /* but not where he cannot be had */
    assert_nobody(a, 0);
    present(a, 0, VAPI_PRESENCE_AVAILABLE);
    rest(a, 0, 50 * SEC);
    assert_nobody(a, 0);
    pass(51 * SEC);
    get_one(a, 2);
    a->wish.leave = 2;
    a->members[1].capacity = 1;          /* holds more than he may: that takes nothing from the others */
    get_one(a, 2);
    assert_nobody(a, 0);
    close_checked(t);
}

static void test_paused(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LEAST_BUSY, 3, 1);
    apr_uint64_t token;

    (void)unused;
    present(a, 0, VAPI_PRESENCE_PAUSED);
    present(a, 1, VAPI_PRESENCE_BUSY);
    token = get_one(a, 2);
    assert_nobody(a, 0);                 /* one is merely full */
    a->members[2].barred = 1;
    assert_nobody(a, 1);
    a->members[2].barred = 0;
    assert_int_equal(release(a, 2, token, 0), APR_SUCCESS);
    rest(a, 2, 60 * SEC);
    assert_nobody(a, 1);
    a->members[0].barred = a->members[1].barred = a->members[2].barred = 1;
    assert_nobody(a, 0);                 /* nobody could be chosen anyway */
    a->members[0].barred = a->members[1].barred = a->members[2].barred = 0;
    a->wish.leave = 1;
    assert_nobody(a, 1);
    present(a, 1, VAPI_PRESENCE_AVAILABLE);
    assert_nobody(a, 0);                 /* somebody is free, but must stay so */
    a->wish.leave = 0;
    get_one(a, 1);
    a->wish.n = 0;
    assert_nobody(a, 0);
    close_checked(t);
}

static void test_only_look(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ROUND_ROBIN, 3, 1);
    int strategy;

    (void)unused;
    for (strategy = VAPI_LEAST_BUSY; strategy <= VAPI_ORDERED; strategy++) {
        char *before = apr_pmemdup(pool, t->mapping.base, MB);

        a->wish.strategy = strategy;
        a->wish.only_look = 1;
        get_one(a, 0);
        get_one(a, 0);
        a->wish.preferred = 1;
        get_one(a, 1);
        a->wish.preferred = -1;
        view(a, 0);
        assert_memory_equal(before + VAPI_STATE_HEADER + sizeof(vapi_roster_head_t),
                            (char *)t->mapping.base + VAPI_STATE_HEADER + sizeof(vapi_roster_head_t),
                            MB - VAPI_STATE_HEADER - (long)sizeof(vapi_roster_head_t));
    }
    a->wish.strategy = VAPI_ROUND_ROBIN;
    a->wish.only_look = 0;
    get_one(a, 0);
    a->wish.only_look = 1;
    get_one(a, 1);
    get_one(a, 1);
    close_checked(t);
}

/* ---- the life of a lease ---- */

static void test_hold(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 1, 2);
    apr_uint64_t lost, kept;

    (void)unused;
    a->wish.hold = 50 * SEC;
    lost = get_one(a, 0);
    kept = get_one(a, 0);
    assert_true(lost != kept);
    assert_nobody(a, 0);
    assert_int_equal(occupy(a, 0, kept, 600 * SEC), APR_SUCCESS);
    assert_int_equal(view(a, 0).active, 2);
    pass(51 * SEC);
    assert_int_equal(view(a, 0).active, 1);
    assert_int_equal(occupy(a, 0, lost, 60 * SEC), APR_NOTFOUND);
    assert_int_equal(release(a, 0, lost, 0), APR_NOTFOUND);
    assert_int_equal(release(a, 0, lost, -1), APR_NOTFOUND);
    lost = get_one(a, 0);
    assert_nobody(a, 0);
    assert_int_equal(occupy(a, 0, lost, 20 * SEC), APR_SUCCESS);    /* shorter than it was held for */
    assert_int_equal(view(a, 0).served, 2);
    pass(21 * SEC);
    assert_int_equal(view(a, 0).active, 1);
    assert_int_equal(view(a, 0).served, 2);
    assert_int_equal(occupy(a, 0, kept, 60 * SEC), APR_SUCCESS);
    assert_int_equal(view(a, 0).served, 2);    /* is told a second time, serves once */
    close_checked(t);
}

static void test_release(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 2, 1), *b = team(t, VAPI_ORDERED, 1, 1);
    apr_uint64_t token = get_one(a, 0), other = get_one(a, 1);

    (void)unused;
    assert_int_equal(release(a, 0, other, 0), APR_NOTFOUND);
    assert_int_equal(occupy(a, 0, other, SEC), APR_NOTFOUND);
    assert_int_equal(release(a, 0, 0, 0), APR_NOTFOUND);
    assert_int_equal(vapi_state_table_release(t, seat(t, "nobody"), token, 0), APR_NOTFOUND);
    assert_int_equal(release(b, 0, token, 0), APR_SUCCESS);    /* the same member by another seat */
    assert_int_equal(release(a, 0, token, 0), APR_NOTFOUND);
    assert_int_equal(occupy(a, 0, token, SEC), APR_NOTFOUND);
    assert_true(get_one(b, 0) != token);
    close_checked(t);
}

static void test_wrap_up(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 1, 1);
    apr_uint64_t token = get_one(a, 0);

    (void)unused;
    assert_int_equal(occupy(a, 0, token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(release(a, 0, token, 50 * SEC), APR_SUCCESS);
    assert_int_equal(release(a, 0, token, 0), APR_NOTFOUND);
    assert_int_equal(release(a, 0, token, -1), APR_NOTFOUND);
    assert_int_equal(release(a, 0, token, 50 * SEC), APR_NOTFOUND);
    assert_int_equal(occupy(a, 0, token, 60 * SEC), APR_NOTFOUND);
    assert_int_equal(view(a, 0).active, 1);
    assert_int_equal(view(a, 0).served, 1);
    assert_nobody(a, 0);
    pass(51 * SEC);
    assert_int_equal(view(a, 0).active, 0);
    token = get_one(a, 0);
    assert_int_equal(occupy(a, 0, token, 50 * SEC), APR_SUCCESS);
    assert_int_equal(release(a, 0, token, 600 * SEC), APR_SUCCESS);    /* no longer than it would have lasted */
    assert_nobody(a, 0);
    pass(51 * SEC);
    get_one(a, 0);
    close_checked(t);
}

/* As if there had been no lease, whatever was leased and ended in between. */
static void test_give_back(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LONGEST_IDLE, 2, 3), *b = team(t, VAPI_LONGEST_IDLE, 1, 3);
    apr_uint64_t token, first, second;

    (void)unused;
    token = get_one(a, 0);
    assert_int_equal(occupy(a, 0, token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(view(a, 0).served, 1);
    assert_int_equal(release(a, 0, token, -1), APR_SUCCESS);
    assert_int_equal(view(a, 0).served, 0);
    token = get_one(a, 0);               /* never held one, as before */
    assert_int_equal(release(a, 0, token, 0), APR_SUCCESS);
    token = get_one(a, 1);
    assert_int_equal(release(a, 1, token, 0), APR_SUCCESS);
    first = get_one(b, 0);
    second = get_one(b, 0);
    assert_int_equal(release(b, 0, first, -1), APR_SUCCESS);
    get_one(a, 1);                       /* m0 holds the second */
    assert_int_equal(release(b, 0, second, -1), APR_SUCCESS);
    first = get_one(a, 0);               /* holds none, and since before m1 */
    assert_int_equal(release(a, 0, first, 0), APR_SUCCESS);
    first = get_one(a, 0);
    second = get_one(a, 1);
    assert_int_equal(release(b, 0, first, -1), APR_SUCCESS);
    get_one(a, 0);
    close_checked(t);
}

/* What ran out ended when it did, not when it was seen. */
static void test_end_counts(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_LONGEST_IDLE, 2, 1);
    apr_uint64_t token;

    (void)unused;
    a->wish.hold = 20 * SEC;
    get_one(a, 0);
    token = get_one(a, 1);
    pass(10 * SEC);
    assert_int_equal(release(a, 1, token, 40 * SEC), APR_SUCCESS);    /* ends with its hold, too, but began later */
    pass(31 * SEC);
    a->wish.hold = 60 * SEC;
    get_one(a, 0);
    get_one(a, 1);
    close_checked(t);
}

static void test_rest(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 2, 1);

    (void)unused;
    rest(a, 0, 60 * SEC);
    rest(a, 0, 1000);                    /* what was left is longer */
    assert_true(view(a, 0).rest > 30 * SEC && view(a, 0).rest <= 60 * SEC);
    rest(a, 0, 120 * SEC);
    assert_true(view(a, 0).rest > 90 * SEC);
    get_one(a, 1);
    assert_nobody(a, 0);
    present(a, 0, VAPI_PRESENCE_PAUSED);
    assert_true(view(a, 0).rest > 90 * SEC && view(a, 0).presence == VAPI_PRESENCE_PAUSED);
    present(a, 0, VAPI_PRESENCE_AVAILABLE);
    assert_int_equal(view(a, 0).rest, 0);
    rest(a, 0, 30 * SEC);
    assert_nobody(a, 0);
    pass(31 * SEC);
    assert_int_equal(view(a, 0).rest, 0);
    get_one(a, 0);
    close_checked(t);
}

static void test_survey(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    team_t *a = team(t, VAPI_ORDERED, 3, 2);
    vapi_seat_t *seats[3];
    vapi_seat_view_t v[3];
    int i;

    (void)unused;
    for (i = 0; i < 3; i++) {
        seats[i] = a->members[i].seat;
    }
    assert_int_equal(vapi_state_table_survey(t, seats, 0, v), APR_SUCCESS);
    assert_int_equal(vapi_state_table_survey(t, seats, 3, v), APR_SUCCESS);
    for (i = 0; i < 3; i++) {
        assert_true(!v[i].active && !v[i].rest && !v[i].served && v[i].presence == VAPI_PRESENCE_AVAILABLE);
    }
    assert_int_equal(occupy(a, 0, get_one(a, 0), SEC), APR_SUCCESS);
    get_one(a, 0);
    get_one(a, 1);
    present(a, 2, VAPI_PRESENCE_BUSY);
    assert_int_equal(vapi_state_table_survey(t, seats, 3, v), APR_SUCCESS);
    assert_true(v[0].active == 2 && v[0].served == 1 && v[1].active == 1 && !v[1].served && !v[2].active);
    assert_int_equal(v[2].presence, VAPI_PRESENCE_BUSY);
    close_checked(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_least_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_least_busy_idle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_longest_idle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_round_robin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ordered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_weighted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_preferred, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_look, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_release, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrap_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_give_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_survey, set_up, tear_down),
    };

    return run_store_tests(tests, sizeof tests / sizeof tests[0]);
}
