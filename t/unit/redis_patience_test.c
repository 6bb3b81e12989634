/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* How long a request waits for a Redis that is slow, stands still, or whose address is not found; and how much is said of it. */
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>

#include "redis_verbs.h"

/* ---- what stands in for the name service: it says what the test wants ---- */

static int searches;                  /* begun */
static int search_ends = 1;           /* else it goes on for ever */
static int search_fails;
static const char *found[2];          /* addresses, as the name service gives them */

static struct addrinfo *make_addresses(void)
{
    struct addrinfo hints = { 0 }, *first = NULL, *second = NULL;

    hints.ai_flags = AI_NUMERICHOST;
    hints.ai_socktype = SOCK_STREAM;
    assert_int_equal(getaddrinfo(found[0], NULL, &hints, &first), 0);
    if (found[1]) {
        assert_int_equal(getaddrinfo(found[1], NULL, &hints, &second), 0);
        first->ai_next = second;
    }
    return first;
}

/* The parent searches itself, and finds nothing; addresses are what they are. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    int (*true_one)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;

    if (strcmp(name, "redis.example") == 0) {
        return EAI_NONAME;
    }
    *(void **)&true_one = dlsym(RTLD_NEXT, "getaddrinfo");
    return true_one(name, service, hints, out);
}

int getaddrinfo_a(int mode, struct gaicb *list[], int n, struct sigevent *event)
{
    (void)event;
    assert_int_equal(mode, GAI_NOWAIT);
    assert_int_equal(n, 1);
    assert_string_equal(list[0]->ar_name, "redis.example");
    searches++;
    return 0;
}

int gai_error(struct gaicb *job)
{
    if (!search_ends) {
        return EAI_INPROGRESS;
    }
    if (!search_fails && !job->ar_result) {
        job->ar_result = make_addresses();
    }
    return search_fails ? EAI_AGAIN : 0;
}

int gai_suspend(const struct gaicb *const list[], int n, const struct timespec *limit)
{
    (void)list, (void)n;
    assert_true(limit->tv_sec == 0);
    apr_sleep(limit->tv_nsec / 1000);
    return EAI_AGAIN;
}

/* ---- a wire that takes its time ---- */

static void relay(int one, int other, apr_interval_time_t delay)
{
    struct pollfd ends[] = { { one, POLLIN, 0 }, { other, POLLIN, 0 } };
    char text[65536];

    for (;;) {
        int i;

        poll(ends, 2, -1);
        for (i = 0; i < 2; i++) {
            ssize_t n = ends[i].revents ? read(ends[i].fd, text, sizeof text) : 0;

            if (ends[i].revents && n <= 0) {
                _exit(0);
            }
            apr_sleep(n > 0 && i == 1 ? delay : 0);
            if (n > 0 && write(ends[!i].fd, text, (size_t)n) != n) {
                _exit(0);
            }
        }
    }
}

/* Leads to Redis; each answer comes `delay` late. */
static pid_t start_slow_wire(apr_interval_time_t delay, int *port)
{
    int fd = listen_at(port);
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        alarm(120);                      /* should the test end before end_wire() */
        signal(SIGCHLD, SIG_IGN);
        for (;;) {
            int one = accept(fd, NULL, NULL);

            if (fork() == 0) {
                redisContext *c = connect_plain();

                alarm(120);
                relay(one, c->fd, delay);
            }
            close(one);
        }
    }
    close(fd);
    return pid;
}

static void end_wire(pid_t wire)
{
    int status;

    kill(-wire, SIGKILL);
    waitpid(wire, &status, 0);
}

/* The store as a request sees it that has so long to live. */
static vapi_state_t *within(apr_interval_time_t left)
{
    return st->provider->within(st, left, pool);
}

/* ---- the tests ---- */

/* Each answer alone would be in time; ten of them are not. */
static void test_slow(void **unused)
{
    const int true_port = redis_port;
    pid_t wire;
    int port, i, asked;
    apr_time_t start;
    vapi_state_t *request;

    (void)unused;
    wire = start_slow_wire(150 * MS, &port);
    redis_port = port;
    st = open_redis(prefix);
    redis_port = true_port;
    assert_string_equal(log_text, "");
    claim("warm", SEC);
    request = within(3 * SEC);
    start = apr_time_now();
    for (i = 0; i < 40; i++) {
        assert_int_equal(claim_of(request, apr_psprintf(pool, "k%d", i), 60 * SEC).verdict, VAPI_CLAIM_MINE);
    }
    assert_true(apr_time_now() - start < 4 * SEC);         /* 750 ms and what the last question took; all would take 6 s */
    assert_int_equal(lines_of_log(), 1);
    assert_true(log_has("cannot be used: a request has waited 750 ms for its answers in all"));
    end_wire(wire);

    st = open_redis(prefix);
    for (i = asked = 0; i < 40; i++) {
        asked += recall(apr_psprintf(pool, "k%d", i)).verdict != VAPI_CLAIM_NONE;
    }
    assert_true(asked >= 1 && asked <= 6);                 /* by Redis itself; the others by the own memory */
}

/* Who has waited enough asks no more, also when Redis is there for all others. */
static void test_share_is_over(void **unused)
{
    vapi_state_t *request = within(SEC), *other = open_redis(prefix);
    apr_time_t start;

    (void)unused;
    kill(redis_pid, SIGSTOP);
    start = apr_time_now();
    claim_of(request, "a", SEC);
    assert_true(apr_time_now() - start >= 240 * MS && apr_time_now() - start < 3 * SEC);
    assert_true(log_has("does not answer within 250 ms"));
    kill(redis_pid, SIGCONT);
    later += 2;
    assert_int_equal(claim_of(other, "b", 60 * SEC).verdict, VAPI_CLAIM_MINE);
    assert_int_equal(claim_of(other, "c", 60 * SEC).verdict, VAPI_CLAIM_MINE);
    assert_int_equal(claim_of(within(SEC), "b", SEC).verdict, VAPI_CLAIM_BUSY);
    assert_true(log_has("is back"));
    assert_int_equal(claim_of(request, "c", SEC).verdict, VAPI_CLAIM_MINE);
}

/* At the end of its time a request still settles what it did; that must not take long. */
static void test_at_the_deadline(void **unused)
{
    vapi_state_t *request = within(0);
    apr_uint64_t token;
    apr_time_t start;
    int i;

    (void)unused;
    for (i = 0; i < 20; i++) {
        token = claim_of(request, "a", 60 * SEC).token;
        assert_int_equal(request->provider->settle(request, "a", 1, token, "x", 1, 0), APR_SUCCESS);
    }
    assert_string_equal(log_text, "");
    kill(redis_pid, SIGSTOP);
    start = apr_time_now();
    assert_int_equal(claim_of(request, "b", 60 * SEC).verdict, VAPI_CLAIM_MINE);
    assert_int_equal(claim_of(request, "b", 60 * SEC).verdict, VAPI_CLAIM_BUSY);
    assert_true(apr_time_now() - start < 3 * SEC);
    assert_true(log_has("does not answer within 100 ms"));
    kill(redis_pid, SIGCONT);
}

static vapi_state_t *open_named(void)
{
    const char *words[] = { apr_psprintf(pool, "redis://redis.example:%d", redis_port), apr_pstrcat(pool, "prefix=", prefix, NULL),
                            NULL };
    vapi_state_t *named = open_store("redis", words);

    assert_int_equal(named->provider->child(named, &server, pool), APR_SUCCESS);
    log_text[0] = '\0';
    later += 61;                       /* what keeps it away from now on is said again */
    return named;
}

static int is_reached(vapi_state_t *named)
{
    later += 2;
    return named->provider->is_reached(named);
}

static void test_name_is_not_found(void **unused)
{
    apr_time_t start;

    (void)unused;
    st = open_named();
    searches = search_ends = 0;
    start = apr_time_now();
    claim_of(within(8 * SEC), "a", SEC);
    assert_true(apr_time_now() - start >= 450 * MS && apr_time_now() - start < 5 * SEC);
    assert_true(log_has(": the search for its address takes too long"));
    start = apr_time_now();
    assert_false(is_reached(st));
    assert_false(is_reached(st));
    assert_true(apr_time_now() - start < 900 * MS);       /* it was waited for once */
    assert_int_equal(searches, 1);

    search_ends = search_fails = 1;
    later += 60;
    assert_false(is_reached(st));
    assert_true(log_has("Temporary failure in name resolution"));
    search_fails = 0;
    found[0] = "127.0.0.1";
    assert_true(is_reached(st));
    assert_int_equal(searches, 2);
}

/* The first one may be down. */
static void test_many_addresses(void **unused)
{
    (void)unused;
    found[0] = "::1";
    found[1] = "127.0.0.1";
    st = open_named();
    assert_true(is_reached(st));
    found[0] = "127.0.0.2";
    st = open_named();
    assert_true(is_reached(st));
    found[0] = found[1] = "127.0.0.3";
    st = open_named();
    assert_false(is_reached(st));
    assert_true(log_has("Connection refused"));
    found[0] = "127.0.0.1";
    assert_true(is_reached(st));
}

/* What was found is taken as long as nothing newer is. */
static void test_old_addresses(void **unused)
{
    apr_time_t start;

    (void)unused;
    found[0] = "127.0.0.1";
    st = open_named();
    assert_true(is_reached(st));
    search_ends = 0;
    stop_redis();
    assert_false(is_reached(st));
    start_redis();
    start = apr_time_now();
    assert_true(is_reached(st));
    assert_true(apr_time_now() - start < 450 * MS);
    search_ends = search_fails = 1;
    stop_redis();
    assert_false(is_reached(st));
    start_redis();
    assert_true(is_reached(st));
}

/* One that comes and goes does not fill the log, and what was not said to have gone is not said to be back. */
static void test_comes_and_goes(void **unused)
{
    int i;

    (void)unused;
    for (i = 0; i < 8; i++) {
        stop_redis();
        assert_false(is_reached(st));
        start_redis();
        assert_true(is_reached(st));
    }
    assert_int_equal(lines_of_log(), 6);
    log_text[0] = '\0';
    stop_redis();
    assert_false(is_reached(st));
    assert_int_equal(lines_of_log(), 0);
    later += 60;
    assert_false(is_reached(st));
    assert_int_equal(lines_of_log(), 1);
    assert_true(log_has("cannot be used for 62 seconds now"));
    start_redis();
    assert_true(is_reached(st));
    assert_true(log_has("is back"));
}

static int begin(void **unused)
{
    later = 0;
    search_ends = 1;
    search_fails = 0;
    found[0] = found[1] = NULL;
    return set_up_redis(unused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slow, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_share_is_over, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_at_the_deadline, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_name_is_not_found, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_many_addresses, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_old_addresses, begin, tear_down),
        cmocka_unit_test_setup_teardown(test_comes_and_goes, begin, tear_down),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    begin_redis_tests(vapi_state_redis_module.register_hooks);
    failed = cmocka_run_group_tests_name("redis_patience", tests, NULL, NULL);
    end_redis_tests();
    return failed;
}
