/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* One suite over both providers: what holds of the store in shared memory holds of the one in Redis. */
#include "redis_verbs.h"

static void test_life(void **unused)
{
    apr_uint64_t token;
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(recall("a").verdict, VAPI_CLAIM_NONE);
    token = take("a", 10 * SEC);
    c = claim("a", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(c.fingerprint, 7);
    assert_true(c.left > 9 * SEC && c.left <= 10 * SEC && !c.token && !c.reply);
    assert_int_equal(commit("a", token, "half", 60 * SEC), APR_SUCCESS);
    assert_int_equal(recall("a").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(commit("a", token, "half again", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle("a", token, "whole", 30 * SEC), APR_SUCCESS);
    c = claim("a", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_string_equal(c.reply, "whole");
    assert_true(c.reply_len == 5 && c.fingerprint == 7 && !c.lost && c.token == token && c.left > 29 * SEC && c.left <= 30 * SEC);
    assert_int_equal(abandon("a", 0), APR_SUCCESS);
    assert_int_equal(abandon("a", 0), APR_NOTFOUND);
    assert_true(take("a", SEC) != token);
}

static void test_tokens(void **unused)
{
    apr_uint64_t token = take("a", 10 * SEC), other = take("b", 10 * SEC);

    (void)unused;
    assert_int_equal(commit("a", 0, "x", SEC), APR_NOTFOUND);
    assert_int_equal(commit("a", other, "x", SEC), APR_NOTFOUND);
    assert_int_equal(settle("a", token + 1, "x", SEC), APR_NOTFOUND);
    assert_int_equal(abandon("a", other), APR_NOTFOUND);
    assert_int_equal(settle("nobody's", token, "x", SEC), APR_NOTFOUND);
    assert_int_equal(abandon("a", token), APR_SUCCESS);
    assert_int_equal(settle("a", token, "x", SEC), APR_NOTFOUND);
    assert_int_equal(commit("b", other, "x", SEC), APR_SUCCESS);
    assert_int_equal(abandon("b", other), APR_NOTFOUND);
    assert_int_equal(settle("b", other, "x", SEC), APR_SUCCESS);
    assert_int_equal(settle("b", other, "y", SEC), APR_NOTFOUND);
    assert_int_equal(commit("b", other, "y", SEC), APR_NOTFOUND);
    assert_int_equal(abandon("b", token), APR_NOTFOUND);
    assert_int_equal(abandon("b", other), APR_SUCCESS);
    token = take("b", 10 * SEC);
    assert_int_equal(abandon("b", other), APR_NOTFOUND);
    assert_int_equal(commit("b", token, "x", SEC), APR_SUCCESS);
    assert_int_equal(settle("b", token, "x", 0), APR_SUCCESS);
    take("b", SEC);
}

static void test_expiry(void **unused)
{
    apr_uint64_t dead = take("dead", 150000), lost = take("lost", 150000), token;
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(commit("lost", lost, "perhaps", 60 * SEC), APR_SUCCESS);
    token = take("short", SEC);
    assert_int_equal(settle("short", token, "x", 20000), APR_SUCCESS);
    token = take("brief", 60 * SEC);
    assert_int_equal(commit("brief", token, "x", 1), APR_SUCCESS);
    apr_sleep(160000);
    assert_int_equal(recall("dead").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(commit("dead", dead, "x", SEC), APR_NOTFOUND);
    assert_int_equal(settle("dead", dead, "x", SEC), APR_NOTFOUND);
    assert_true(take("dead", SEC) != dead);
    assert_int_equal(recall("short").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(recall("brief").verdict, VAPI_CLAIM_BUSY);
    c = claim("lost", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_true(c.lost && c.left > 59 * SEC && c.left < 60 * SEC);
    assert_string_equal(c.reply, "perhaps");
    assert_int_equal(commit("lost", lost, "again", SEC), APR_NOTFOUND);
    assert_int_equal(settle("lost", lost, "it was", SEC), APR_SUCCESS);
    c = recall("lost");
    assert_true(!c.lost);
    assert_string_equal(c.reply, "it was");
}

static char *any_text(apr_size_t len)
{
    char *text = apr_palloc(pool, len + 1);
    apr_size_t i;

    for (i = 0; i < len; i++) {
        text[i] = (char)(i * 7 + i / 240);
    }
    text[len] = '\0';
    return text;
}

static void test_lengths(void **unused)
{
    static const apr_size_t lengths[] = { 0, 1, 240, 5000, 65535, 65536 };
    char *reply = any_text(65537);
    const char *value;
    apr_size_t i, len;
    vapi_claim_t c;

    (void)unused;
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *key = apr_psprintf(pool, "k%d", (int)i);
        apr_uint64_t token = take(key, SEC);

        assert_int_equal(VERB(commit, key, strlen(key), token, reply, lengths[i], SEC), APR_SUCCESS);
        assert_int_equal(VERB(settle, key, strlen(key), token, reply, lengths[i], 60 * SEC), APR_SUCCESS);
        c = recall(key);
        assert_int_equal(c.reply_len, lengths[i]);
        assert_memory_equal(c.reply, reply, lengths[i]);
        assert_int_equal(c.reply[c.reply_len], 0);
        assert_int_equal(VERB(put, key, strlen(key), reply, lengths[i], 60 * SEC), APR_SUCCESS);
        assert_int_equal(VERB(get, key, strlen(key), &value, &len, pool), APR_SUCCESS);
        assert_int_equal(len, lengths[i]);
        assert_memory_equal(value, reply, len);
        assert_int_equal(value[len], 0);
    }
    assert_int_equal(VERB(settle, "long", 4, take("long", SEC), reply, 65537, SEC), APR_EINVAL);
    assert_int_equal(VERB(commit, "long", 4, 1, reply, 65537, SEC), APR_EINVAL);
    assert_int_equal(VERB(put, "long", 4, reply, 65537, SEC), APR_EINVAL);
    assert_int_equal(take(apr_pstrmemdup(pool, "a\n b", 4), SEC) != 0, 1);
}

static void test_counters(void **unused)
{
    int value = -5;

    (void)unused;
    assert_int_equal(count("n", -3, -1, SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(count("n", 2, 3, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 2);
    assert_int_equal(count("n", 2, 3, 60 * SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(value, 2);
    assert_int_equal(count("n", 1, 3, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(count("n", -1, 1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 2);
    assert_int_equal(count("n", -9, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(count("n", 0x7fffffff, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(count("n", 1, -1, 60 * SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(count("none", 1, 0, SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(recall("n").verdict, VAPI_CLAIM_NONE);
    take("n", SEC);
    assert_int_equal(value_of("n"), 0x7fffffff);
}

static void test_windows(void **unused)
{
    int i, value;

    (void)unused;
    for (i = 0; i < 4; i++) {
        assert_int_equal(count("fixed", 1, -1, 400000, 0, &value), APR_SUCCESS);
        assert_int_equal(count("moving", 1, -1, 400000, 1, &value), APR_SUCCESS);
        apr_sleep(150000);
    }
    assert_true(value_of("fixed") < 4);
    assert_int_equal(value_of("moving"), 4);
    apr_sleep(260000);
    assert_int_equal(value_of("moving"), 0);
}

static void test_values(void **unused)
{
    int value;

    (void)unused;
    assert_null(get("a"));
    assert_int_equal(put("a", "the first", 60 * SEC), APR_SUCCESS);
    assert_string_equal(get("a"), "the first");
    assert_int_equal(put("a", "the second", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put("b", "", 60 * SEC), APR_SUCCESS);
    assert_string_equal(get("a"), "the second");
    assert_string_equal(get("b"), "");
    assert_int_equal(abandon("a", 0), APR_NOTFOUND);
    assert_int_equal(settle("a", take("a", SEC), "answered", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count("a", 3, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(put("a", "the third", 20000), APR_SUCCESS);
    assert_int_equal(put("c", "gone at once", 0), APR_SUCCESS);
    assert_null(get("c"));
    apr_sleep(30000);
    assert_null(get("a"));
    assert_string_equal(recall("a").reply, "answered");
    assert_int_equal(value_of("a"), 3);
}

static void test_notes(void **unused)
{
    (void)unused;
    assert_string_equal(notes("k"), "");
    assert_int_equal(note("k", "b", NULL, "1"), APR_SUCCESS);
    assert_int_equal(note("k", "a", NULL, "2:x"), APR_SUCCESS);
    assert_int_equal(note("k", "#", NULL, ""), APR_SUCCESS);
    assert_string_equal(notes("k"), "b=1 a=2:x #=");
    assert_int_equal(note("k", "b", NULL, "3"), APR_EGENERAL);
    assert_int_equal(note("k", "b", "2", "3"), APR_EGENERAL);
    assert_int_equal(note("k", "c", "2", "3"), APR_EGENERAL);
    assert_int_equal(note("k", "b", "1", "3"), APR_SUCCESS);
    assert_int_equal(note("k", "a", "*", "4"), APR_SUCCESS);
    assert_int_equal(note("k", "c", "*", "5"), APR_SUCCESS);
    assert_string_equal(notes("k"), "b=3 a=4 #= c=5");
    assert_int_equal(note("k", "b", "3", NULL), APR_SUCCESS);
    assert_int_equal(note("k", "b", NULL, NULL), APR_SUCCESS);
    assert_int_equal(note("k", "b", NULL, "6"), APR_SUCCESS);
    assert_string_equal(notes("k"), "a=4 #= c=5 b=6");
    assert_int_equal(note("k", "a", "*", NULL), APR_SUCCESS);
    assert_int_equal(note("k", "#", "", NULL), APR_SUCCESS);
    assert_int_equal(note("k", "c", "*", NULL), APR_SUCCESS);
    assert_int_equal(note("k", "b", "*", NULL), APR_SUCCESS);
    assert_string_equal(notes("k"), "");
    assert_int_equal(note("k", "big", NULL, memset(any_text(60000), 'x', 60000)), APR_SUCCESS);
    assert_int_equal(note("k", "more", NULL, memset(any_text(6000), 'x', 6000)), APR_EINVAL);
    assert_int_equal(note("k", "more", NULL, "x"), APR_SUCCESS);
    assert_int_equal(VERB(note, "brief", 5, "f", NULL, "v", 20000), APR_SUCCESS);
    apr_sleep(30000);
    assert_string_equal(notes("brief"), "");
}

static void test_owners(void **unused)
{
    const vapi_owned_t things[] = {
        { VAPI_KIND_CLAIM, "settled", 7 }, { VAPI_KIND_CLAIM, "working", 7 },   { VAPI_KIND_COUNTER, "n", 1 },
        { VAPI_KIND_VALUE, "v", 1 },       { VAPI_KIND_NOTES, "t", 1 },         { VAPI_KIND_CLAIM, "none", 4 },
    };
    apr_uint64_t token;
    int value, dropped;

    (void)unused;
    settle("settled", take("settled", SEC), "x", 60 * SEC);
    token = take("working", 60 * SEC);
    count("n", 3, -1, 60 * SEC, 0, &value);
    put("v", "x", 60 * SEC);
    note("t", "f", NULL, "x");
    put("other", "x", 60 * SEC);
    assert_int_equal(VERB(own, "+14155550100", things, 6, 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(forget, "+14155550199", &dropped), APR_SUCCESS);
    assert_int_equal(dropped, 0);
    assert_int_equal(VERB(forget, "+14155550100", &dropped), APR_SUCCESS);
    assert_int_equal(dropped, 4);
    assert_int_equal(recall("settled").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(recall("working").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(value_of("n"), 0);
    assert_null(get("v"));
    assert_string_equal(notes("t"), "");
    assert_string_equal(get("other"), "x");
    assert_int_equal(settle("working", token, "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(forget, "+14155550100", &dropped), APR_SUCCESS);
    assert_int_equal(dropped, 1);
    assert_int_equal(recall("working").verdict, VAPI_CLAIM_NONE);
}

static void test_lease_life(void **unused)
{
    vapi_lease_t one;

    (void)unused;
    make_crew(VAPI_ORDERED);
    wish.only_look = 1;
    assert_string_equal(sequence(2), "aa");
    wish.only_look = 0;
    one = lease();
    assert_int_equal(one.chosen, 0);
    assert_int_equal(view(crew[0].seat).active, 1);
    assert_int_equal(view(crew[0].seat).served, 0);
    assert_int_equal(VERB(occupy, crew[1].seat, one.token, SEC), APR_NOTFOUND);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(view(crew[0].seat).served, 1);
    assert_int_equal(lease().chosen, 1);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 150 * MS), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_NOTFOUND);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, SEC), APR_NOTFOUND);
    assert_int_equal(view(crew[0].seat).active, 1);
    apr_sleep(160 * MS);
    assert_int_equal(view(crew[0].seat).active, 0);
    assert_int_equal(view(crew[0].seat).served, 1);
    one = lease();
    assert_int_equal(one.chosen, 0);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, SEC), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, one.token, -1), APR_SUCCESS);
    assert_int_equal(view(crew[0].seat).active, 0);
    assert_int_equal(view(crew[0].seat).served, 1);
    wish.hold = 20 * MS;
    one = lease();
    apr_sleep(30 * MS);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, SEC), APR_NOTFOUND);
    assert_int_equal(view(crew[0].seat).active, 0);
    wish.hold = 60 * SEC;
    one = lease();
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_NOTFOUND);
}

static void test_capacity(void **unused)
{
    vapi_lease_t none;

    (void)unused;
    make_crew(VAPI_LEAST_BUSY);
    crew[1].capacity = 2;
    assert_string_equal(sequence(6), "abcb--");
    none = lease();
    assert_int_equal(none.all_paused, 0);
    make_crew(VAPI_ORDERED);
    crew[0].capacity = 3;
    crew[1].capacity = crew[2].capacity = 5;
    wish.leave = 6;
    assert_string_equal(sequence(4), "aab-");
    crew[0].barred = 1;
    wish.leave = 5;
    assert_string_equal(sequence(2), "b-");
    wish.leave = 0;
    crew[0].barred = crew[1].barred = crew[2].barred = 1;
    none = lease();
    assert_true(none.chosen == -1 && !none.all_paused);
}

static void test_presence(void **unused)
{
    (void)unused;
    make_crew(VAPI_ORDERED);
    assert_int_equal(VERB(present, crew[0].seat, VAPI_PRESENCE_PAUSED), APR_SUCCESS);
    assert_int_equal(VERB(present, crew[1].seat, VAPI_PRESENCE_BUSY), APR_SUCCESS);
    assert_int_equal(view(crew[0].seat).presence, VAPI_PRESENCE_PAUSED);
    assert_int_equal(view(crew[1].seat).presence, VAPI_PRESENCE_BUSY);
    assert_string_equal(sequence(1), "c");
    assert_int_equal(lease().all_paused, 0);
    crew[2].barred = 1;
    assert_int_equal(lease().all_paused, 1);
    assert_int_equal(VERB(rest, crew[0].seat, 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(rest, crew[0].seat, SEC), APR_SUCCESS);
    assert_true(view(crew[0].seat).rest > 59 * SEC && view(crew[0].seat).rest <= 60 * SEC);
    assert_int_equal(VERB(present, crew[0].seat, VAPI_PRESENCE_AVAILABLE), APR_SUCCESS);
    assert_true(view(crew[0].seat).rest == 0);
    assert_int_equal(VERB(rest, crew[0].seat, 30 * MS), APR_SUCCESS);
    assert_int_equal(lease().all_paused, 1);
    apr_sleep(40 * MS);
    assert_string_equal(sequence(1), "a");
}

static void test_strategies(void **unused)
{
    vapi_lease_t one[3];
    int i, n[3] = { 0, 0, 0 };

    (void)unused;
    make_crew(VAPI_ROUND_ROBIN);
    crew[0].capacity = crew[1].capacity = crew[2].capacity = 9;
    assert_string_equal(sequence(4), "abca");
    wish.preferred = 0;
    assert_string_equal(sequence(1), "a");
    wish.preferred = -1;
    crew[1].barred = 1;
    assert_string_equal(sequence(3), "cac");
    make_crew(VAPI_LONGEST_IDLE);
    for (i = 0; i < 3; i++) {
        crew[i].seat = seat(apr_psprintf(pool, "idle%d", i));
        crew[i].capacity = 2;
    }
    for (i = 0; i < 3; i++) {
        one[i] = lease();
        assert_int_equal(one[i].chosen, i);
        apr_sleep(1000);
    }
    assert_int_equal(VERB(release, crew[1].seat, one[1].token, 0), APR_SUCCESS);
    apr_sleep(1000);
    assert_int_equal(VERB(release, crew[0].seat, one[0].token, 0), APR_SUCCESS);
    for (i = 0; i < 4; i++) {                    /* idle ones, then by their latest lease */
        assert_int_equal(lease().chosen, "\1\0\2\1"[i]);
        apr_sleep(1000);
    }
    make_crew(VAPI_WEIGHTED);
    wish.pool = seat("another pool");
    for (i = 0; i < 3; i++) {
        crew[i].seat = seat(apr_psprintf(pool, "heavy%d", i));
        crew[i].capacity = 1000;
        crew[i].weight = i + 1;
    }
    for (i = 0; i < 60; i++) {
        n[lease().chosen]++;
    }
    assert_in_range(n[0], 9, 11);
    assert_in_range(n[1], 19, 21);
    assert_in_range(n[2], 29, 31);
}

static void test_many(void **unused)
{
    vapi_candidate_t *many = apr_pcalloc(pool, 1200 * sizeof *many);
    vapi_seat_t **seats = apr_pcalloc(pool, 1200 * sizeof(vapi_seat_t *));
    vapi_seat_view_t *views = apr_pcalloc(pool, 1200 * sizeof *views);
    int i;

    (void)unused;
    make_crew(VAPI_LEAST_BUSY);
    for (i = 0; i < 1200; i++) {
        many[i] = (vapi_candidate_t){ seats[i] = seat(apr_psprintf(pool, "m%d", i)), 1, 1, 0 };
    }
    wish.candidates = many;
    wish.n = 1200;
    for (i = 0; i < 1200; i++) {
        assert_int_equal(lease().chosen, i);
    }
    assert_int_equal(lease().chosen, -1);
    assert_int_equal(VERB(survey, seats, 1200, views), APR_SUCCESS);
    for (i = 0; i < 1200; i++) {
        assert_int_equal(views[i].active, 1);
    }
}

static int set_up_shm(void **unused)
{
    static const char *const words[] = { "shm:16M", "file=none", NULL };

    set_up(unused);
    st = open_store("shm", words);
    return 0;
}

#define BOTH(test)                                                                                                         \
    { #test " (shm)", test, set_up_shm, tear_down, NULL },                                                                 \
    {                                                                                                                      \
        #test " (redis)", test, set_up_redis, tear_down, NULL                                                              \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_life), BOTH(test_tokens), BOTH(test_expiry), BOTH(test_lengths), BOTH(test_counters), BOTH(test_windows),
        BOTH(test_values), BOTH(test_notes), BOTH(test_owners), BOTH(test_lease_life), BOTH(test_capacity), BOTH(test_presence),
        BOTH(test_strategies), BOTH(test_many)
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    begin_redis_tests(vapi_state_redis_module.register_hooks);
    failed = _cmocka_run_group_tests("redis", tests, sizeof tests / sizeof tests[0], NULL, NULL);
    end_redis_tests();
    return failed;
}
