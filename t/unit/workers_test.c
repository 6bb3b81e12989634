/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_atomic.h>
#include <apr_general.h>
#include <apr_thread_proc.h>
#include <apr_time.h>
#include <pthread.h>
#include <signal.h>

#include "vapi_clock.h"
#include "vapi_workers.h"

#define MS 1000
#define SEC APR_USEC_PER_SEC
#define MANY 64

static apr_pool_t *child;
static vapi_workers_t *workers;
static volatile apr_uint32_t done, at_work, gone;
static volatile apr_uint32_t open_gate;

static void begin(int threads, int waiting, apr_interval_time_t drain)
{
    done = at_work = gone = open_gate = 0;
    apr_pool_create(&child, NULL);
    assert_int_equal(vapi_workers_create(&workers, threads, waiting, drain, child), APR_SUCCESS);
}

static void end(void)
{
    apr_pool_destroy(child);
}

static apr_status_t on_gone(void *unused)
{
    (void)unused;
    apr_atomic_inc32(&gone);
    return APR_SUCCESS;
}

/* A pool whose end is counted. */
static apr_pool_t *counted_pool(void)
{
    apr_pool_t *pool = vapi_workers_pool();

    apr_pool_cleanup_register(pool, NULL, on_gone, apr_pool_cleanup_null);
    return pool;
}

static int becomes(volatile apr_uint32_t *what, apr_uint32_t value)
{
    apr_time_t deadline = vapi_clock_now() + 10 * SEC;

    while (apr_atomic_read32(what) != value) {
        if (vapi_clock_left(deadline) == 0) {
            return 0;
        }
        apr_sleep(MS / 2);
    }
    return 1;
}

/* ---- Pieces of work ---- */

static void count(void *baton, apr_pool_t *p)
{
    (void)baton;
    apr_palloc(p, 100);
    apr_atomic_inc32(&done);
}

static void wait_at_gate(void *baton, apr_pool_t *p)
{
    (void)baton, (void)p;
    apr_atomic_inc32(&at_work);
    while (!apr_atomic_read32(&open_gate)) {
        apr_sleep(MS / 2);
    }
    apr_atomic_inc32(&done);
}

typedef struct sum_t {
    int a, b, sum;
    apr_interval_time_t pause;
} sum_t;

static void add(void *baton, apr_pool_t *p)
{
    sum_t *sum = baton;

    (void)p;
    if (sum->pause) {
        apr_sleep(sum->pause);
    }
    sum->sum = sum->a + sum->b;
    apr_atomic_inc32(&done);
}

static sum_t *a_sum(apr_pool_t *p, int a, int b, apr_interval_time_t pause)
{
    sum_t *sum = apr_pcalloc(p, sizeof(*sum));

    sum->a = a;
    sum->b = b;
    sum->pause = pause;
    return sum;
}

static apr_status_t push(vapi_work_fn work)
{
    return vapi_workers_push(workers, work, NULL, counted_pool());
}

/* ---- Tests ---- */

static void test_nothing_to_do(void **state)
{
    (void)state;
    begin(4, 4, 0);
    end();
    begin(4, 4, SEC);
    end();
}

static void test_push(void **state)
{
    int i;

    (void)state;
    begin(3, 1000, 0);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(push(count), APR_SUCCESS);
    }
    assert_true(becomes(&done, 1000));
    assert_true(becomes(&gone, 1000));
    end();
}

static void test_threads(void **state)
{
    int i;

    (void)state;
    begin(3, 10, 0);
    for (i = 0; i < 5; i++) {
        assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    }
    assert_true(becomes(&at_work, 3));    /* as many as may, at once, and no more */
    apr_sleep(20 * MS);
    assert_int_equal(at_work, 3);
    apr_atomic_set32(&open_gate, 1);
    assert_true(becomes(&gone, 5));
    end();
}

static void test_wait(void **state)
{
    int i;

    (void)state;
    begin(2, 2, 0);
    for (i = 0; i < 100; i++) {
        apr_pool_t *pool = counted_pool();
        sum_t *sum = a_sum(pool, i, 1000, 0);

        assert_int_equal(vapi_workers_wait(workers, add, sum, pool, vapi_clock_now() + 10 * SEC), APR_SUCCESS);
        assert_int_equal(sum->sum, i + 1000);
        assert_int_equal(gone, i);            /* the caller's again */
        apr_pool_destroy(pool);
    }
    end();
}

static void test_time_is_up(void **state)
{
    apr_time_t began = vapi_clock_now(), took;
    apr_pool_t *pool;

    (void)state;
    begin(1, 2, 0);
    pool = counted_pool();
    assert_int_equal(vapi_workers_wait(workers, wait_at_gate, NULL, pool, began + 400 * MS), APR_TIMEUP);
    took = vapi_clock_now() - began;
    assert_true(took >= 399 * MS && took < 5 * SEC);
    assert_int_equal(gone, 0);                /* it goes on, with its pool */
    assert_int_equal(at_work, 1);

    /* Another that never began is done with at once. */
    assert_int_equal(vapi_workers_wait(workers, count, NULL, counted_pool(), vapi_clock_now() + 20 * MS), APR_TIMEUP);
    assert_int_equal(gone, 1);
    apr_atomic_set32(&open_gate, 1);
    assert_true(becomes(&gone, 2));
    assert_int_equal(done, 1);

    /* No time at all: not even begun. */
    assert_int_equal(vapi_workers_wait(workers, count, NULL, counted_pool(), vapi_clock_now()), APR_TIMEUP);
    assert_int_equal(gone, 3);
    assert_int_equal(done, 1);
    assert_int_equal(push(count), APR_SUCCESS);
    assert_true(becomes(&done, 2));
    end();
}

/* What is taken out of the middle, the end and the beginning of the queue leaves the rest in it. */
static void test_taken_out(void **state)
{
    (void)state;
    begin(1, 10, 0);
    assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    assert_true(becomes(&at_work, 1));
    assert_int_equal(vapi_workers_wait(workers, wait_at_gate, NULL, counted_pool(), vapi_clock_now() + 10 * MS), APR_TIMEUP);
    assert_int_equal(push(count), APR_SUCCESS);
    assert_int_equal(vapi_workers_wait(workers, wait_at_gate, NULL, counted_pool(), vapi_clock_now() + 10 * MS), APR_TIMEUP);
    assert_int_equal(push(count), APR_SUCCESS);
    assert_int_equal(gone, 2);
    apr_atomic_set32(&open_gate, 1);
    assert_true(becomes(&gone, 5));
    assert_int_equal(done, 3);
    assert_int_equal(at_work, 1);
    end();
}

static void test_full(void **state)
{
    apr_time_t began;
    int i;

    (void)state;
    begin(2, 3, 0);
    for (i = 0; i < 5; i++) {
        assert_int_equal(push(wait_at_gate), APR_SUCCESS);
        if (i < 2) {
            assert_true(becomes(&at_work, (apr_uint32_t)i + 1));
        }
    }
    began = vapi_clock_now();
    assert_int_equal(push(count), APR_ENOSPC);
    assert_int_equal(vapi_workers_wait(workers, count, NULL, counted_pool(), began + 10 * SEC), APR_ENOSPC);
    assert_true(vapi_clock_now() - began < 5 * SEC);
    assert_int_equal(gone, 2);
    apr_atomic_set32(&open_gate, 1);
    assert_true(becomes(&gone, 7));
    assert_int_equal(done, 5);
    assert_int_equal(push(count), APR_SUCCESS);
    assert_true(becomes(&done, 6));
    end();
}

/* None may wait: what an idle thread can take is taken all the same. */
static void test_none_may_wait(void **state)
{
    (void)state;
    begin(1, 0, 0);
    assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    assert_true(becomes(&at_work, 1));
    assert_int_equal(push(count), APR_ENOSPC);
    apr_atomic_set32(&open_gate, 1);
    end();
    assert_int_equal(done, 1);
    assert_int_equal(gone, 2);
}

static void *APR_THREAD_FUNC open_later(apr_thread_t *thread, void *baton)
{
    const apr_uint32_t *dropped = baton;

    (void)thread;
    apr_sleep(50 * MS);
    becomes(&gone, *dropped);
    apr_atomic_set32(&open_gate, 1);
    return NULL;
}

/* The gate opens when so many pools have gone without it. */
static void end_while_gate_is_shut(apr_pool_t *whose, apr_uint32_t dropped)
{
    apr_thread_t *opener;
    apr_pool_t *pool = vapi_workers_pool();
    apr_status_t rv;

    assert_int_equal(apr_thread_create(&opener, NULL, open_later, &dropped, pool), APR_SUCCESS);
    apr_pool_destroy(whose);
    apr_thread_join(&rv, opener);
    apr_pool_destroy(pool);
}

/* At the end what is at work is waited for, abandoned or not, and what waits is dropped. */
static void test_end_drops(void **state)
{
    int i;

    (void)state;
    begin(2, 10, 0);
    assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    assert_int_equal(vapi_workers_wait(workers, wait_at_gate, NULL, counted_pool(), vapi_clock_now() + 400 * MS), APR_TIMEUP);
    assert_true(becomes(&at_work, 2));
    for (i = 0; i < 5; i++) {
        assert_int_equal(push(count), APR_SUCCESS);
    }
    end_while_gate_is_shut(child, 5);
    assert_int_equal(done, 2);
    assert_int_equal(gone, 7);
}

static void test_end_drains(void **state)
{
    int i;

    (void)state;
    begin(1, 10, 10 * SEC);
    assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    for (i = 0; i < 5; i++) {
        assert_int_equal(push(count), APR_SUCCESS);
    }
    end_while_gate_is_shut(child, 0);
    assert_int_equal(done, 6);
    assert_int_equal(gone, 6);
}

static void test_end_drains_so_long(void **state)
{
    apr_time_t began;
    int i;

    (void)state;
    begin(1, 10, 20 * MS);
    assert_int_equal(push(wait_at_gate), APR_SUCCESS);
    assert_true(becomes(&at_work, 1));
    for (i = 0; i < 5; i++) {
        assert_int_equal(push(count), APR_SUCCESS);
    }
    began = vapi_clock_now();
    end_while_gate_is_shut(child, 5);
    assert_true(vapi_clock_now() - began < 5 * SEC);
    assert_int_equal(done, 1);
    assert_int_equal(gone, 6);
}

static apr_status_t last_push, last_wait;

static apr_status_t ask_at_the_end(void *unused)
{
    (void)unused;
    last_push = push(count);
    last_wait = vapi_workers_wait(workers, count, NULL, counted_pool(), vapi_clock_now() + 10 * SEC);
    return APR_SUCCESS;
}

/* A pool of the child's goes after the threads: what it wants done then is refused. */
static void test_too_late(void **state)
{
    apr_pool_t *request;

    (void)state;
    begin(2, 10, SEC);
    assert_int_equal(push(count), APR_SUCCESS);
    apr_pool_create(&request, child);
    apr_pool_cleanup_register(request, NULL, ask_at_the_end, apr_pool_cleanup_null);
    last_push = last_wait = APR_SUCCESS;
    end();
    assert_int_equal(last_push, APR_EOF);
    assert_int_equal(last_wait, APR_EOF);
    assert_int_equal(gone, 3);
    assert_int_equal(done, 1);
}

/* Threads that wait for other threads' work, which is dropped under them. */

static vapi_workers_t *inner;
static volatile apr_uint32_t asked, told_so;

static void ask_inner(void *baton, apr_pool_t *p)
{
    (void)baton, (void)p;
    apr_atomic_inc32(&asked);
    if (vapi_workers_wait(inner, count, NULL, counted_pool(), vapi_clock_now() + 10 * SEC) == APR_EOF) {
        apr_atomic_inc32(&told_so);
    }
}

static void test_dropped_is_told(void **state)
{
    apr_pool_t *inner_child;
    int i;

    (void)state;
    begin(4, 10, 0);
    asked = told_so = 0;
    apr_pool_create(&inner_child, NULL);
    assert_int_equal(vapi_workers_create(&inner, 1, 10, 0, inner_child), APR_SUCCESS);
    assert_int_equal(vapi_workers_push(inner, wait_at_gate, NULL, counted_pool()), APR_SUCCESS);
    assert_true(becomes(&at_work, 1));
    for (i = 0; i < 3; i++) {
        assert_int_equal(push(ask_inner), APR_SUCCESS);
    }
    assert_true(becomes(&asked, 3));
    apr_sleep(20 * MS);
    end_while_gate_is_shut(inner_child, 6);
    assert_true(becomes(&told_so, 3));
    end();
    assert_int_equal(gone, 7);
    assert_int_equal(done, 1);
}

/* Requests that push, wait and give up, all at once; every pool goes, every answer is its own. */

typedef struct request_t {
    apr_thread_t *thread;
    int number, right, late, refused;
} request_t;

static void *APR_THREAD_FUNC many_waits(apr_thread_t *thread, void *data)
{
    request_t *r = data;
    int i;

    (void)thread;
    for (i = 0; i < 200; i++) {
        apr_pool_t *pool = counted_pool();
        sum_t *sum = a_sum(pool, r->number, i, i % 7 == 0 ? 3 * MS : 0);
        apr_status_t rv = vapi_workers_wait(workers, add, sum, pool, vapi_clock_now() + (i % 7 == 0 ? 2 * MS : 5 * SEC));

        if (rv == APR_SUCCESS) {
            r->right += sum->sum == r->number + i;
            apr_pool_destroy(pool);
        }
        r->late += rv == APR_TIMEUP;
        r->refused += rv == APR_ENOSPC;
        r->refused += i % 5 == 0 && push(count) == APR_ENOSPC;
    }
    return NULL;
}

static void test_many(void **state)
{
    request_t requests[8];
    apr_uint32_t right = 0, late = 0, refused = 0;
    apr_status_t rv;
    int i;

    (void)state;
    begin(4, MANY, 10 * SEC);
    memset(requests, 0, sizeof(requests));
    for (i = 0; i < 8; i++) {
        requests[i].number = i * 1000;
        assert_int_equal(apr_thread_create(&requests[i].thread, NULL, many_waits, &requests[i], child), APR_SUCCESS);
    }
    for (i = 0; i < 8; i++) {
        apr_thread_join(&rv, requests[i].thread);
        right += (apr_uint32_t)requests[i].right;
        late += (apr_uint32_t)requests[i].late;
        refused += (apr_uint32_t)requests[i].refused;
    }
    end();
    assert_int_equal(right + late + refused, 8 * 200);
    assert_int_equal(refused, 0);
    assert_true(late > 0 && late <= 8 * 29);
    assert_int_equal(gone, 8 * (200 + 40));
    assert_true(done >= right + 8 * 40);
}

static void note_mask(void *baton, apr_pool_t *p)
{
    (void)p;
    pthread_sigmask(SIG_SETMASK, NULL, baton);
    apr_atomic_inc32(&done);
}

static void test_signals(void **state)
{
    apr_pool_t *pool = vapi_workers_pool();
    sigset_t *mask = apr_pcalloc(pool, sizeof(*mask)), ours;

    (void)state;
    begin(1, 1, 0);
    assert_int_equal(vapi_workers_wait(workers, note_mask, mask, pool, vapi_clock_now() + 10 * SEC), APR_SUCCESS);
    assert_true(sigismember(mask, SIGTERM) && sigismember(mask, SIGHUP));
    assert_true(sigismember(mask, SIGUSR1) && sigismember(mask, SIGWINCH));
    assert_false(sigismember(mask, SIGSEGV));
    apr_pool_destroy(pool);
    pthread_sigmask(SIG_SETMASK, NULL, &ours);
    assert_false(sigismember(&ours, SIGTERM));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do), cmocka_unit_test(test_push), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_wait), cmocka_unit_test(test_time_is_up), cmocka_unit_test(test_taken_out), cmocka_unit_test(test_full),
        cmocka_unit_test(test_none_may_wait), cmocka_unit_test(test_end_drops), cmocka_unit_test(test_end_drains),
        cmocka_unit_test(test_end_drains_so_long), cmocka_unit_test(test_too_late), cmocka_unit_test(test_dropped_is_told),
        cmocka_unit_test(test_many), cmocka_unit_test(test_signals),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    failed = cmocka_run_group_tests_name("workers", tests, NULL, NULL);
    apr_terminate();
    return failed;
}
