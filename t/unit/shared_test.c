/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* How often the log is told of refusals, and the places of VapiLimit outbound=, by a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <apr_general.h>
#include <cmocka.h>

#include "vapi_clock.h"
#include "vapi_shared.h"

static apr_pool_t *pool;
static apr_time_t now = 1000000;

apr_time_t vapi_clock_now(void)
{
    return now;
}

apr_interval_time_t vapi_clock_left(apr_time_t deadline)
{
    return deadline > now ? deadline - now : 0;
}

static vapi_shared_t *make(int slots)
{
    vapi_shared_t *shared;

    assert_int_equal(vapi_shared_create(&shared, slots, pool), APR_SUCCESS);
    return shared;
}

static void a_reason_is_told_once_a_minute_with_its_count(void **state)
{
    vapi_shared_t *shared = make(0);
    int i;

    (void)state;
    assert_int_equal(vapi_shared_refused(shared, "signature-wrong"), 1);
    for (i = 0; i < 41; i++) {
        assert_int_equal(vapi_shared_refused(shared, "signature-wrong"), 0);
    }
    now += apr_time_from_sec(59);
    assert_int_equal(vapi_shared_refused(shared, "signature-wrong"), 0);
    now += apr_time_from_sec(1);
    assert_int_equal(vapi_shared_refused(shared, "signature-wrong"), 43);
    assert_int_equal(vapi_shared_refused(shared, "signature-wrong"), 0);
}

static void reasons_are_counted_by_themselves(void **state)
{
    static const char *const reasons[] = { "signature-missing", "signature-wrong", "timestamp-stale", "secret-wrong", "not-configured", "no-user" };
    vapi_shared_t *shared = make(0);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        assert_int_equal(vapi_shared_refused(shared, reasons[i]), 1);
    }
    now += apr_time_from_sec(61);
    assert_int_equal(vapi_shared_refused(shared, "no-user"), 1);
}

static void places_are_few_and_end_by_themselves(void **state)
{
    vapi_shared_t *shared = make(2);
    int first = vapi_shared_enter(shared, 2, now + apr_time_from_sec(5)), second = vapi_shared_enter(shared, 2, now + apr_time_from_sec(9));

    (void)state;
    assert_true(first >= 0 && second >= 0 && first != second);
    assert_int_equal(vapi_shared_enter(shared, 2, now + apr_time_from_sec(5)), -1);
    vapi_shared_leave(shared, second);
    assert_int_equal(vapi_shared_enter(shared, 2, now + apr_time_from_sec(9)), second);
    now += apr_time_from_sec(6);
    assert_int_equal(vapi_shared_enter(shared, 2, now + apr_time_from_sec(5)), first);
    assert_int_equal(vapi_shared_enter(shared, 2, now + apr_time_from_sec(5)), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reason_is_told_once_a_minute_with_its_count),
        cmocka_unit_test(reasons_are_counted_by_themselves),
        cmocka_unit_test(places_are_few_and_end_by_themselves),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = cmocka_run_group_tests_name("shared", tests, NULL, NULL);
    apr_terminate();
    return failed;
}
