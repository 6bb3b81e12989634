/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What is Redis' own: it goes away, stands still, forgets, is full, comes back; and what each verb costs. */
#include "redis_verbs.h"

static void test_nothing_is_readable(void **unused)
{
    const vapi_owned_t thing = { VAPI_KIND_CLAIM, "+14155550123", 12 };
    redisContext *c = connect_plain();
    redisReply *reply;
    size_t i;

    (void)unused;
    settle("+14155550123", take("+14155550123", SEC), "x", 60 * SEC);
    put("+14155550123", "x", 60 * SEC);
    VERB(own, "+14155550123", &thing, 1, 60 * SEC);
    make_crew(VAPI_ORDERED);
    lease();
    reply = redisCommand(c, "KEYS %s:*", prefix);
    assert_true(reply->elements >= 5);
    for (i = 0; i < reply->elements; i++) {
        assert_null(strstr(reply->element[i]->str, "4155550123"));
    }
    freeReplyObject(reply);
    reply = redisCommand(c, "HGETALL %s:seats", prefix);
    for (i = 0; i < reply->elements; i++) {
        assert_null(strstr(reply->element[i]->str, "alice"));
    }
    freeReplyObject(reply);
    redisFree(c);
}

static void test_flushed(void **unused)
{
    apr_uint64_t token = take("a", 10 * SEC);
    vapi_lease_t one;
    int value;

    (void)unused;
    make_crew(VAPI_ORDERED);
    one = lease();
    redis_says("FLUSHALL");
    assert_int_equal(commit("a", token, "x", SEC), APR_NOTFOUND);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, SEC), APR_NOTFOUND);
    assert_int_equal(claim("a", SEC).verdict, VAPI_CLAIM_BUSY);    /* its owner may not know yet */
    take("b", SEC);
    assert_int_equal(count("n", 1, -1, SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(lease().chosen, 0);
    redis_says("SCRIPT FLUSH");
    assert_int_equal(lease().chosen, 1);
    assert_int_equal(claim("b", SEC).verdict, VAPI_CLAIM_BUSY);
    assert_string_equal(log_text, "");
}

/* What this server settled it knows when Redis has lost all, and tells Redis again; what was given back it does not hold against anybody. */
static void test_lost(void **unused)
{
    apr_uint64_t settled = take("settled", 10 * SEC), back = take("back", 10 * SEC), shut = take("shut", 10 * SEC);
    vapi_state_t *other = open_redis(prefix);
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(settle("settled", settled, "the reply", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle("shut", shut, "", 60 * SEC), APR_SUCCESS);
    assert_int_equal(st->provider->abandon(st, "back", 4, back), APR_SUCCESS);
    c = claim_of(other, "shut", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_int_equal(other->provider->abandon(other, "shut", 4, c.token), APR_SUCCESS);
    take("shut", SEC);                /* another server opened it: it is not taken for lost */
    redis_says("FLUSHALL");
    assert_int_equal(recall("settled").verdict, VAPI_CLAIM_SETTLED);
    c = claim("settled", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_string_equal(c.reply, "the reply");
    assert_string_equal(claim_of(other, "settled", SEC).reply, "the reply");
    take("back", SEC);
}

/* Another server made another salt meanwhile: both go by that. */
static void test_other_salt(void **unused)
{
    vapi_state_t *other;
    vapi_claim_t c;

    (void)unused;
    redis_says("FLUSHALL");
    other = open_redis(prefix);
    assert_int_equal(claim_of(other, "a", SEC).verdict, VAPI_CLAIM_MINE);
    assert_int_equal(claim("a", SEC).verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(other->provider->recall(other, "a", 1, &c, pool), APR_SUCCESS);
    assert_int_equal(c.verdict, VAPI_CLAIM_BUSY);
}

static void wait_for_redis(void)
{
    int tries;

    for (tries = 0; tries < 300 && !st->provider->is_reached(st); tries++) {
        apr_sleep(10 * MS);
    }
    if (!st->provider->is_reached(st)) {
        fail_msg("%s", log_text);
    }
}

static void test_away(void **unused)
{
    apr_uint64_t settled = take("settled", 10 * SEC), committed = take("committed", 10 * SEC), begun = take("begun", 10 * SEC),
                 here;
    vapi_lease_t one;
    int value;

    (void)unused;
    make_crew(VAPI_ORDERED);
    crew[0].capacity = 2;
    one = lease();
    assert_int_equal(settle("settled", settled, "done", 60 * SEC), APR_SUCCESS);
    assert_int_equal(commit("committed", committed, "perhaps", 60 * SEC), APR_SUCCESS);
    stop_redis();
    assert_false(st->provider->is_reached(st));
    assert_true(log_has("cannot be used"));
    /* what this server knows of what Redis had */
    assert_string_equal(claim("settled", SEC).reply, "done");
    assert_int_equal(claim("settled", SEC).fingerprint, 7);
    assert_int_equal(claim("committed", SEC).verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(claim("begun", SEC).verdict, VAPI_CLAIM_BUSY);
    /* which goes on */
    assert_int_equal(commit("begun", begun, "half", 60 * SEC), APR_SUCCESS);
    assert_int_equal(commit("begun", begun, "half again", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle("begun", begun, "whole", 60 * SEC), APR_SUCCESS);
    assert_string_equal(claim("begun", SEC).reply, "whole");
    assert_int_equal(settle("committed", committed, "done too", 60 * SEC), APR_SUCCESS);
    assert_string_equal(recall("committed").reply, "done too");
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, 60 * SEC), APR_SUCCESS);
    /* what begins now */
    here = take("new", 10 * SEC);
    assert_int_equal(commit("new", here, "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle("new", here, "newly done", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count("n", 2, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(put("v", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(note("t", "leg", NULL, "sent"), APR_SUCCESS);
    assert_string_equal(sequence(1), "a");
    assert_int_equal(lease().chosen, 1);
    assert_int_equal(view(crew[0].seat).active, 2);
    log_text[0] = '\0';
    start_redis();
    wait_for_redis();
    assert_true(log_has("is back after"));
    /* and is honoured afterwards */
    assert_string_equal(claim("new", SEC).reply, "newly done");
    assert_string_equal(claim("begun", SEC).reply, "whole");
    assert_int_equal(note("t", "leg", "sent", "connected"), APR_SUCCESS);
    assert_int_equal(note("t", "two", NULL, "there"), APR_SUCCESS);
    assert_string_equal(notes("t"), "two=there leg=connected");
    assert_int_equal(view(crew[0].seat).active, 2);
    assert_int_equal(lease().chosen, 2);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_NOTFOUND);
    assert_int_equal(lease().chosen, 0);
    assert_int_equal(lease().chosen, -1);
}

/* A call that was sent before Redis went away still counts at the server that sent it. */
static void test_leases_of_before(void **unused)
{
    vapi_lease_t one, two;

    (void)unused;
    make_crew(VAPI_ORDERED);
    one = lease();
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, 60 * SEC), APR_SUCCESS);
    two = lease();
    assert_int_equal(VERB(occupy, crew[1].seat, two.token, 60 * SEC), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[1].seat, two.token, 0), APR_SUCCESS);
    assert_int_equal(view(crew[0].seat).active, 1);
    stop_redis();
    assert_int_equal(view(crew[0].seat).active, 1);
    assert_int_equal(view(crew[1].seat).active, 0);
    two = lease();
    assert_int_equal(two.chosen, 1);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_NOTFOUND);
    assert_int_equal(lease().chosen, 0);
    assert_int_equal(lease().chosen, 2);
    assert_int_equal(lease().chosen, -1);
    start_redis();
    wait_for_redis();
    assert_int_equal(view(crew[1].seat).active, 1);
    assert_int_equal(lease().chosen, -1);
    assert_int_equal(VERB(release, crew[1].seat, two.token, 0), APR_SUCCESS);
    assert_int_equal(lease().chosen, 1);
}

/* Two servers alone give leases of the same seat: a report about one that comes to the other ends nothing there. */
static void test_leases_of_others(void **unused)
{
    vapi_state_t *first = st, *second = open_redis(prefix);
    vapi_lease_t one, two;

    (void)unused;
    stop_redis();
    make_crew(VAPI_ORDERED);
    one = lease();
    st = second;
    make_crew(VAPI_ORDERED);
    two = lease();
    assert_true(one.chosen == 0 && two.chosen == 0 && one.token != two.token);
    assert_int_equal(VERB(release, crew[0].seat, one.token, 0), APR_NOTFOUND);
    assert_int_equal(VERB(occupy, crew[0].seat, one.token, SEC), APR_NOTFOUND);
    assert_int_equal(VERB(occupy, crew[0].seat, two.token, SEC), APR_SUCCESS);
    assert_int_equal(VERB(release, crew[0].seat, two.token, 0), APR_SUCCESS);
    st = first;
}

/* It stands still: whoever asks first waits half a second, nobody else does. */
static void test_halted(void **unused)
{
    apr_time_t start;
    int i;

    (void)unused;
    take("before", 60 * SEC);
    kill(redis_pid, SIGSTOP);
    start = apr_time_now();
    take("a", 60 * SEC);
    assert_true(apr_time_now() - start < 5 * SEC);
    start = apr_time_now();
    for (i = 0; i < 1000; i++) {
        assert_int_equal(claim("a", SEC).verdict, VAPI_CLAIM_BUSY);
    }
    assert_true(apr_time_now() - start < 10 * SEC);       /* all would take 500 s */
    assert_true(log_has("does not answer within 500 ms"));
    kill(redis_pid, SIGCONT);
    wait_for_redis();
    assert_int_equal(claim("a", SEC).verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(recall("before").verdict, VAPI_CLAIM_BUSY);
}

/* ---- somebody else than Redis answers ---- */

/* Answers each time it is spoken to with this text; `drips`: over and over, a byte each 50 ms. */
static void answer_for_ever(int fd, const char *text, int drips)
{
    char said[65536];

    while (read(fd, said, sizeof said) > 0 && write(fd, text, drips ? 1 : strlen(text)) >= 0) {
        while (drips && write(fd, text + 1, 1) == 1) {
            apr_sleep(50 * MS);
        }
    }
    close(fd);
}

static pid_t start_impostor(const char *text, int drips, int *port)
{
    int fd = listen_at(port);
    pid_t pid = fork();

    if (pid == 0) {
        for (;;) {
            answer_for_ever(accept(fd, NULL, NULL), text, drips);
        }
    }
    close(fd);
    return pid;
}

/* Each verb ends, soon, whatever it says. */
static void ask_all(apr_interval_time_t most)
{
    const vapi_owned_t thing = { VAPI_KIND_CLAIM, "k", 1 };
    const apr_uint64_t token = 1 | (apr_uint64_t)1 << 63;
    apr_array_header_t *all;
    vapi_claim_t c;
    vapi_seat_view_t v;
    vapi_lease_t out;
    const char *text;
    apr_size_t len;
    apr_time_t start;
    int n;

#define ENDS(...)                                                                                                          \
    do {                                                                                                                   \
        later += 2;                                                                                                        \
        start = apr_time_now();                                                                                            \
        __VA_ARGS__;                                                                                                       \
        assert_true(apr_time_now() - start < most);                                                                        \
    } while (0)

    ENDS(VERB(claim, "k", 1, 7, SEC, &c, pool));
    ENDS(VERB(commit, "k", 1, token, "r", 1, SEC));
    ENDS(VERB(recall, "k", 1, &c, pool));
    ENDS(VERB(settle, "k", 1, token, "r", 1, SEC));
    ENDS(VERB(abandon, "k", 1, token));
    ENDS(VERB(count, "k", 1, 1, -1, SEC, 0, &n));
    ENDS(VERB(get, "k", 1, &text, &len, pool));
    ENDS(VERB(note, "k", 1, "f", "*", "v", SEC));
    ENDS(VERB(notes, "t", 1, &all, pool));
    ENDS(VERB(own, "k", &thing, 1, SEC));
    ENDS(VERB(forget, "k", &n));
    ENDS(VERB(lease, &wish, &out));
    ENDS(VERB(occupy, crew[0].seat, token, SEC));
    ENDS(VERB(release, crew[0].seat, token, 0));
    ENDS(VERB(survey, &crew[0].seat, 1, &v));
}

static void test_impostors(void **unused)
{
    static const char *const answers[] = {
        ":1\r\n", "$-1\r\n", "+OK\r\n", "+\r\n", "-\r\n", "*0\r\n", "*-1\r\n", "*1\r\n:0\r\n", "*1\r\n$-1\r\n",
        "*1\r\n-ERR no\r\n", "*1\r\n:-1\r\n", "*1\r\n:9223372036854775807\r\n", "*2\r\n:0\r\n*2\r\n:1\r\n:2\r\n",
        "*2\r\n:0\r\n*2\r\n$2\r\n=f\r\n:2\r\n",
        "*2\r\n:0\r\n*1\r\n$-1\r\n", "*2\r\n:0\r\n*3\r\n$-1\r\n$-1\r\n$1\r\na\r\n", "*2\r\n:0\r\n$-1\r\n",
        "*6\r\n:2\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", "*3\r\n:9999\r\n:0\r\n$3\r\nxyz\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*1000000000000\r\n", "$99999999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "\r\n",
        ":1\r\n:2\r\n:3\r\n"
    };
    const int true_port = redis_port;
    size_t i;
    int status;

    (void)unused;
    for (i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        pid_t impostor = start_impostor(answers[i], 0, &redis_port);

        st = open_redis(prefix);
        make_crew(VAPI_ORDERED);
        ask_all(5 * SEC);
        kill(impostor, SIGKILL);
        waitpid(impostor, &status, 0);
    }
    redis_port = true_port;
    later = 0;
    log_text[0] = '\0';
}

/* A byte now and then is no answer. */
static void test_dripping(void **unused)
{
    const int true_port = redis_port;
    pid_t impostor = start_impostor("+x", 1, &redis_port);
    apr_time_t start = apr_time_now();
    vapi_claim_t c;
    int status;

    (void)unused;
    st = open_redis(prefix);
    assert_true(apr_time_now() - start < 5 * SEC);
    assert_true(log_has("does not answer within"));
    apr_sleep(SEC + 100 * MS);
    start = apr_time_now();
    assert_int_equal(VERB(claim, "k", 1, 7, SEC, &c, pool), APR_SUCCESS);
    assert_true(apr_time_now() - start < 5 * SEC);
    kill(impostor, SIGKILL);
    waitpid(impostor, &status, 0);
    redis_port = true_port;
}

/* The second server of a machine that asks would wait, too: what one process has seen the others know. */
static void test_said_once_a_minute(void **unused)
{
    int i, status;

    (void)unused;
    stop_redis();
    for (i = 0; i < 20; i++) {
        if (fork() == 0) {
            later += i;
            recall("a");
            _exit(lines_of_log());
        }
        wait(&status);
        assert_int_equal(WEXITSTATUS(status), i == 0);
    }
    later += 61;
    recall("a");
    recall("a");
    assert_int_equal(lines_of_log(), 1);
    assert_true(log_has("cannot be used for 61 seconds now"));
    later += 59;
    recall("a");
    assert_int_equal(lines_of_log(), 1);
    later += 2;
    recall("a");
    assert_int_equal(lines_of_log(), 2);
    start_redis();
    later += 2;
    assert_true(st->provider->is_reached(st));
    assert_true(log_has("is back after 124 seconds"));
    later = 0;
}

static void test_full(void **unused)
{
    vapi_claim_t c;
    int value;

    (void)unused;
    take("before", 60 * SEC);
    redis_says("CONFIG SET maxmemory 1");
    assert_int_equal(VERB(claim, "a", 1, 0, SEC, &c, pool), APR_ENOSPC);
    assert_int_equal(count("n", 1, -1, SEC, 0, &value), APR_ENOSPC);
    assert_int_equal(recall("before").verdict, VAPI_CLAIM_BUSY);
    assert_true(log_has("has no room"));
    redis_says("CONFIG SET maxmemory 0");
    assert_int_equal(VERB(claim, "a", 1, 0, SEC, &c, pool), APR_SUCCESS);
}

/* Each verb is one script: the only commands that clients send are EVALSHA. */
static long long sent_commands(void)
{
    redisContext *c = connect_plain();
    redisReply *reply = redisCommand(c, "INFO commandstats");
    const char *at = reply ? strstr(reply->str, "cmdstat_evalsha:calls=") : NULL;
    long long n = at ? atoll(at + 22) : 0;

    assert_non_null(reply);
    assert_null(strstr(reply->str, "cmdstat_eval:"));
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

static void measure(const char *what, apr_time_t start, int n)
{
    print_message("# %-8s %5.1f us\n", what, (double)(apr_time_now() - start) / n);
}

#define MANY 300
#define TIMED(what, ...)                                                                                                   \
    do {                                                                                                                   \
        apr_time_t start;                                                                                                  \
        int i;                                                                                                             \
        key = "warm", __VA_ARGS__;                                                                                         \
        redis_says("CONFIG RESETSTAT");                                                                                    \
        start = apr_time_now();                                                                                            \
        for (i = 0; i < MANY; i++) {                                                                                       \
            key = keys[i];                                                                                                 \
            __VA_ARGS__;                                                                                                   \
        }                                                                                                                  \
        measure(what, start, MANY);                                                                                        \
        assert_int_equal(sent_commands(), MANY);                                                                           \
    } while (0)

/* A thousand members, all free, then each with a lease of its own. */
static void measure_many(void)
{
    vapi_candidate_t *many = apr_pcalloc(pool, 1000 * sizeof *many);
    vapi_wish_t large = { .pool = seat("large pool"), .candidates = many, .n = 1000, .preferred = -1, .hold = 1 };
    vapi_lease_t out;
    apr_time_t start;
    int i, half;

    for (i = 0; i < 1000; i++) {
        many[i] = (vapi_candidate_t){ seat(apr_psprintf(pool, "large%d", i)), 1000, 1, 0 };
    }
    for (half = 0; half < 2; half++) {
        for (i = 0; i < (half ? 1000 : 0); i++) {
            VERB(lease, &large, &out);
        }
        start = apr_time_now();
        for (i = 0; i < 50; i++) {
            VERB(lease, &large, &out);
        }
        measure(half ? "of 1000 who had calls" : "of 1000", start, 50);
        large.hold = 60 * SEC;
    }
}

static void test_one_round_trip(void **unused)
{
    const char *keys[MANY], *key;
    const vapi_owned_t thing = { VAPI_KIND_CLAIM, "k1", 2 };
    apr_uint64_t token[MANY];
    vapi_seat_view_t v;
    vapi_lease_t out;
    int n, value;

    (void)unused;
    for (n = 0; n < MANY; n++) {
        keys[n] = apr_psprintf(pool, "k%d", n);
    }
    make_crew(VAPI_LEAST_BUSY);
    crew[0].capacity = crew[1].capacity = crew[2].capacity = 2 * MANY;
    n = 0;
    TIMED("claim", token[n++ % MANY] = take(key, 60 * SEC));
    TIMED("recall", recall(key));
    n = 1;
    TIMED("commit",
          strcmp(key, "warm") ? commit(key, token[n++ % MANY], "reply", 60 * SEC) : commit(key, token[0], "r", 60 * SEC));
    TIMED("abandon", abandon(key, 1 | (apr_uint64_t)1 << 63));
    TIMED("settle", settle(key, 1 | (apr_uint64_t)1 << 63, "reply", 60 * SEC));
    TIMED("count", count(key, 1, -1, 60 * SEC, 0, &value));
    TIMED("put", put(key, "value", 60 * SEC));
    TIMED("get", get(key));
    TIMED("note", note(key, "f", "*", "v"));
    TIMED("notes", notes(key));
    TIMED("own", VERB(own, key, &thing, 1, 60 * SEC));
    TIMED("forget", VERB(forget, key, &value));
    wish.hold = 1;
    TIMED("lease", VERB(lease, &wish, &out));
    measure_many();
    TIMED("occupy", VERB(occupy, crew[0].seat, out.token, 60 * SEC));
    TIMED("release", VERB(release, crew[0].seat, out.token, 1));
    TIMED("rest", VERB(rest, crew[0].seat, 1));
    TIMED("present", VERB(present, crew[0].seat, VAPI_PRESENCE_AVAILABLE));
    TIMED("survey", VERB(survey, &crew[0].seat, 1, &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_is_readable, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_flushed, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_lost, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_other_salt, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_away, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_leases_of_before, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_leases_of_others, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_halted, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_impostors, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_dripping, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_said_once_a_minute, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up_redis, tear_down),
        cmocka_unit_test_setup_teardown(test_one_round_trip, set_up_redis, tear_down)
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    begin_redis_tests(vapi_state_redis_module.register_hooks);
    failed = _cmocka_run_group_tests("redis_away", tests, sizeof tests / sizeof tests[0], NULL, NULL);
    end_redis_tests();
    return failed;
}
