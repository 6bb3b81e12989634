/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What is counted: by many threads and processes at once without losing one, and how long control requests took within 8 %. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_general.h>

#include "pool.h"
#include "vapi_metrics.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static vapi_metrics_t *make(int routes, int lookups)
{
    vapi_metrics_t *m = NULL;

    assert_int_equal(vapi_metrics_create(&m, routes, lookups, pool), APR_SUCCESS);
    return m;
}

static int index_of(const char *const *words, const char *word)
{
    int i = 0;

    while (words[i] && strcmp(words[i], word) != 0) {
        i++;
    }
    return words[i] ? i : -1;
}

/* ---- counters ---- */

static void each_is_counted_by_itself(void **state)
{
    vapi_metrics_t *m = make(3, 2);
    int i, end;

    (void)state;
    vapi_metrics_outcome(m, "transferred");
    vapi_metrics_outcome(m, "transferred");
    vapi_metrics_outcome(m, "malformed");
    vapi_metrics_taken(m, 0);
    vapi_metrics_taken(m, 2);
    vapi_metrics_taken(m, 2);
    vapi_metrics_ended(m, 2, "connected");
    vapi_metrics_ended(m, 2, "cancelled");
    vapi_metrics_ended(m, 1, "cancelled");
    vapi_metrics_lookup(m, 0, VAPI_METRIC_OK);
    vapi_metrics_lookup(m, 1, VAPI_METRIC_CACHED);
    vapi_metrics_lookup(m, 1, VAPI_METRIC_CACHED);
    for (i = 0; vapi_metrics_outcomes[i]; i++) {
        assert_int_equal(vapi_metrics_read_outcome(m, i), i == 0 ? 2 : strcmp(vapi_metrics_outcomes[i], "malformed") == 0);
    }
    assert_int_equal(i, 12);
    assert_int_equal(vapi_metrics_read_taken(m, 0), 1);
    assert_int_equal(vapi_metrics_read_taken(m, 1), 0);
    assert_int_equal(vapi_metrics_read_taken(m, 2), 2);
    for (i = 0; vapi_metrics_endings[i]; i++) {
        int cancelled = strcmp(vapi_metrics_endings[i], "cancelled") == 0;

        assert_int_equal(vapi_metrics_read_ended(m, 0, i), 0);
        assert_int_equal(vapi_metrics_read_ended(m, 1, i), cancelled);
        assert_int_equal(vapi_metrics_read_ended(m, 2, i), cancelled || i == 0);
    }
    assert_int_equal(i, 7);
    for (end = 0; end < VAPI_METRIC_LOOKUP_ENDS; end++) {
        assert_int_equal(vapi_metrics_read_lookup(m, 0, (vapi_metric_lookup)end), end == VAPI_METRIC_OK);
        assert_int_equal(vapi_metrics_read_lookup(m, 1, (vapi_metric_lookup)end), end == VAPI_METRIC_CACHED ? 2 : 0);
    }
}

/* T27: a word or number from elsewhere makes no counter. */
static void what_is_unknown_is_not_counted(void **state)
{
    vapi_metrics_t *m = make(2, 1);
    int i, route, end;

    (void)state;
    vapi_metrics_outcome(m, "Transferred");
    vapi_metrics_outcome(m, "");
    vapi_metrics_outcome(m, NULL);
    vapi_metrics_ended(m, 0, "unreported");
    vapi_metrics_ended(m, 0, "");
    vapi_metrics_ended(m, 0, NULL);
    for (i = -2; i < 10000; i += i == -1 ? 3 : 1) {    /* -2, -1, and all from 2 on */
        vapi_metrics_taken(m, i);
        vapi_metrics_ended(m, i, "connected");
        vapi_metrics_lookup(m, i, VAPI_METRIC_OK);
    }
    vapi_metrics_lookup(m, 0, VAPI_METRIC_LOOKUP_ENDS);
    for (i = -1; i < 14; i++) {
        assert_int_equal(vapi_metrics_read_outcome(m, i), 0);
    }
    for (route = -1; route < 4; route++) {
        assert_int_equal(vapi_metrics_read_taken(m, route), 0);
        for (i = -1; i < 9; i++) {
            assert_int_equal(vapi_metrics_read_ended(m, route, i), 0);
        }
        for (end = 0; end <= VAPI_METRIC_LOOKUP_ENDS; end++) {
            assert_int_equal(vapi_metrics_read_lookup(m, route, (vapi_metric_lookup)end), 0);
        }
    }
}

static void without_a_place_nothing_is_counted(void **state)
{
    vapi_metrics_control_t control;
    vapi_metrics_t *empty = make(0, 0);

    (void)state;
    vapi_metrics_outcome(NULL, "transferred");
    vapi_metrics_taken(NULL, 0);
    vapi_metrics_ended(NULL, 0, "connected");
    vapi_metrics_lookup(NULL, 0, VAPI_METRIC_OK);
    vapi_metrics_control(NULL, 1000, 1);
    assert_int_equal(vapi_metrics_read_outcome(NULL, 0), 0);
    assert_int_equal(vapi_metrics_read_taken(NULL, 0), 0);
    vapi_metrics_read_control(NULL, &control);
    assert_int_equal(control.count, 0);
    vapi_metrics_taken(empty, 0);
    vapi_metrics_lookup(empty, 0, VAPI_METRIC_OK);
    assert_int_equal(vapi_metrics_read_taken(empty, 0), 0);
    vapi_metrics_outcome(empty, "ignored");
    assert_int_equal(vapi_metrics_read_outcome(empty, index_of(vapi_metrics_outcomes, "ignored")), 1);
}

/* ---- how long control requests took ---- */

static void nothing_took_nothing(void **state)
{
    vapi_metrics_control_t control;

    (void)state;
    vapi_metrics_read_control(make(0, 0), &control);
    assert_int_equal(control.count, 0);
    assert_int_equal(control.connections, 0);
    assert_true(control.p50_ms == 0 && control.p90_ms == 0 && control.p99_ms == 0);
}

static void is_near(double got, double wanted_us, const char *what)
{
    double wanted = wanted_us / 1000;

    if (fabs(got - wanted) > 0.08 * wanted) {
        fail_msg("%s: %f ms, not %f", what, got, wanted);
    }
}

/* From 0.1 ms to 120 s, each by itself: all percentiles are it. */
static void one_time_is_all_percentiles(void **state)
{
    double at;

    (void)state;
    for (at = 100; at <= 120e6; at *= 1.013) {
        vapi_metrics_t *m = make(0, 0);
        vapi_metrics_control_t control;
        apr_interval_time_t took = (apr_interval_time_t)at;

        vapi_metrics_control(m, took, 0);
        vapi_metrics_read_control(m, &control);
        is_near(control.p50_ms, (double)took, "p50 of one");
        is_near(control.p90_ms, (double)took, "p90 of one");
        is_near(control.p99_ms, (double)took, "p99 of one");
    }
}

static int by_time(const void *a, const void *b)
{
    const apr_interval_time_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void check_sample(apr_interval_time_t *times, int n, const char *what)
{
    vapi_metrics_t *m = make(0, 0);
    vapi_metrics_control_t control;
    int i;

    for (i = 0; i < n; i++) {
        vapi_metrics_control(m, times[i], i % 10 == 0);
    }
    qsort(times, (size_t)n, sizeof(times[0]), by_time);
    vapi_metrics_read_control(m, &control);
    assert_int_equal(control.count, n);
    assert_int_equal(control.connections, (n + 9) / 10);
    is_near(control.p50_ms, (double)times[(int)ceil(0.50 * n) - 1], what);
    is_near(control.p90_ms, (double)times[(int)ceil(0.90 * n) - 1], what);
    is_near(control.p99_ms, (double)times[(int)ceil(0.99 * n) - 1], what);
}

static void percentiles_are_near_those_of_the_sample(void **state)
{
    static const int sizes[] = { 1, 2, 3, 7, 10, 99, 100, 101, 5000 };
    apr_interval_time_t times[5000];
    size_t s;
    int i;

    (void)state;
    srand(7);
    for (s = 0; s < COUNT(sizes); s++) {
        for (i = 0; i < sizes[s]; i++) {
            times[i] = 100 + rand() % 5000000;
        }
        check_sample(times, sizes[s], "even");
        for (i = 0; i < sizes[s]; i++) {
            times[i] = (apr_interval_time_t)(100 * exp(14 * (double)rand() / RAND_MAX));
        }
        check_sample(times, sizes[s], "logarithmic");
        for (i = 0; i < sizes[s]; i++) {
            times[i] = i % 20 ? 80000 + rand() % 1000 : 5000000;
        }
        check_sample(times, sizes[s], "two humps");
    }
}

static void what_is_out_of_range_is_at_its_end(void **state)
{
    vapi_metrics_t *m = make(0, 0);
    vapi_metrics_control_t control;

    (void)state;
    vapi_metrics_control(m, 0, 0);
    vapi_metrics_control(m, -5, -5);
    vapi_metrics_control(m, APR_INT64_MIN, 0);
    vapi_metrics_read_control(m, &control);
    assert_int_equal(control.count, 3);
    assert_int_equal(control.connections, 0);
    assert_true(control.p99_ms >= 0 && control.p99_ms < 0.1);

    m = make(0, 0);
    vapi_metrics_control(m, APR_INT64_MAX, 0);
    vapi_metrics_control(m, apr_time_from_sec(86400), 0);
    vapi_metrics_read_control(m, &control);
    assert_int_equal(control.count, 2);
    assert_true(control.p50_ms >= 120000 && control.p99_ms < 140000);
}

static void a_long_time_does_not_hide_the_others(void **state)
{
    vapi_metrics_t *m = make(0, 0);
    vapi_metrics_control_t control;
    int i;

    (void)state;
    for (i = 0; i < 1000000; i++) {
        vapi_metrics_control(m, i % 100 < 98 ? 50000 : 9000000, 0);
    }
    vapi_metrics_read_control(m, &control);
    is_near(control.p50_ms, 50000, "p50");
    is_near(control.p90_ms, 50000, "p90");
    is_near(control.p99_ms, 9000000, "p99");
}

/* ---- all at once ---- */

#define PROCESSES 4
#define THREADS   4
#define EACH      20000

static void *count_much(void *data)
{
    vapi_metrics_t *m = data;
    int i;

    for (i = 0; i < EACH; i++) {
        vapi_metrics_outcome(m, vapi_metrics_outcomes[i % 12]);
        vapi_metrics_taken(m, i % 2);
        vapi_metrics_ended(m, i % 2, i % 4 < 2 ? "completed" : "busy");
        vapi_metrics_lookup(m, 0, (vapi_metric_lookup)(i % VAPI_METRIC_LOOKUP_ENDS));
        vapi_metrics_control(m, i * 100, 1);
    }
    return NULL;
}

static void count_with_threads(vapi_metrics_t *m)
{
    pthread_t threads[THREADS];
    int i;

    for (i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, count_much, m) != 0) {
            _exit(1);
        }
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    _exit(0);
}

static void nothing_is_lost_between_threads_and_processes(void **state)
{
    const apr_uint64_t all = PROCESSES * THREADS * EACH;
    vapi_metrics_t *m = make(2, 1);
    vapi_metrics_control_t control;
    apr_uint64_t sum = 0;
    pid_t children[PROCESSES];
    int i, status;

    (void)state;
    for (i = 0; i < PROCESSES; i++) {
        if ((children[i] = fork()) == 0) {
            count_with_threads(m);
        }
        assert_true(children[i] > 0);
    }
    for (i = 0; i < PROCESSES; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    for (i = 0; vapi_metrics_outcomes[i]; i++) {
        sum += vapi_metrics_read_outcome(m, i);
    }
    assert_int_equal(sum, all);
    assert_int_equal(vapi_metrics_read_taken(m, 0), all / 2);
    assert_int_equal(vapi_metrics_read_taken(m, 1), all / 2);
    assert_int_equal(vapi_metrics_read_ended(m, 0, index_of(vapi_metrics_endings, "completed")), all / 4);
    assert_int_equal(vapi_metrics_read_ended(m, 1, index_of(vapi_metrics_endings, "busy")), all / 4);
    for (i = 0; i < VAPI_METRIC_LOOKUP_ENDS; i++) {
        assert_int_equal(vapi_metrics_read_lookup(m, 0, (vapi_metric_lookup)i), all / 4);
    }
    vapi_metrics_read_control(m, &control);
    assert_int_equal(control.count, all);
    assert_int_equal(control.connections, all);
    is_near(control.p50_ms, EACH * 50, "p50");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_is_counted_by_itself),
        TEST(what_is_unknown_is_not_counted),
        TEST(without_a_place_nothing_is_counted),
        TEST(nothing_took_nothing),
        TEST(one_time_is_all_percentiles),
        TEST(percentiles_are_near_those_of_the_sample),
        TEST(what_is_out_of_range_is_at_its_end),
        TEST(a_long_time_does_not_hide_the_others),
        TEST(nothing_is_lost_between_threads_and_processes),
    };
    int failed;

    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
    apr_terminate();
    return failed;
}
