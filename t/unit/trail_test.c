/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "trail_store.h"

static vapi_leg_t *leg(const char *route, const char *member, const char *dialled)
{
    vapi_leg_t *made = apr_pcalloc(pool, sizeof(*made));

    made->path = "/vapi/transfer";
    made->route = route;
    made->pool = *member ? "support" : "";
    made->home = *member ? "main" : "";
    made->member = member;
    made->token = *member ? APR_UINT64_C(0xfedcba9876543210) : 0;
    made->dialled = dialled ? vapi_trail_hash(dialled) : 0;
    return made;
}

static const vapi_leg_t *at(const apr_array_header_t *legs, int i)
{
    return APR_ARRAY_IDX(legs, i, const vapi_leg_t *);
}

static void assert_same_leg(const vapi_leg_t *a, const vapi_leg_t *b)
{
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->path, b->path);
    assert_string_equal(a->route, b->route);
    assert_string_equal(a->pool, b->pool);
    assert_string_equal(a->home, b->home);
    assert_string_equal(a->member, b->member);
    assert_true(a->token == b->token);
    assert_true(a->dialled == b->dialled);
    assert_string_equal(a->status, b->status);
    assert_int_equal(a->is_told, b->is_told);
    assert_int_equal(a->is_counted, b->is_counted);
    assert_string_equal(a->as_kept, b->as_kept);
}

static void keeps_legs_in_order(void **unused)
{
    vapi_once_t *once = call("main", "c1");
    vapi_leg_t *first = leg("pool:support", "alice", "+14155550121"), *second = leg("billing", "", "sip:a@pbx.example.com"), *third = leg("triage", "", NULL);
    const apr_array_header_t *legs;

    (void)unused;
    assert_int_equal(vapi_trail_read(once)->nelts, 0);
    assert_true(vapi_trail_add(once, first) && vapi_trail_add(once, second) && vapi_trail_add(once, third));
    assert_true(kept_for == 60 * SEC);
    legs = vapi_trail_read(once);
    assert_int_equal(legs->nelts, 3);
    assert_same_leg(at(legs, 0), first);
    assert_same_leg(at(legs, 1), second);
    assert_same_leg(at(legs, 2), third);
    assert_string_equal(at(legs, 0)->status, "");
    assert_true(at(legs, 2)->dialled == 0);
    assert_string_not_equal(first->id, second->id);
    assert_int_equal(vapi_trail_read(call("main", "c2"))->nelts, 0);
    assert_int_equal(vapi_trail_read(call("other", "c1"))->nelts, 0);
}

/* A label, a path and a name of a host are the administrator's: they may hold whatever marks off a word. */
static void keeps_odd_words(void **unused)
{
    static const char *const words[] = { "", ":", "0:", "7:billing", "a\x1f-b", "\x1f", "1", "\"", "\\", "{}", "\xff\xfe", "\n", "t", "c", "caf\xc3\xa9" };
    vapi_once_t *once = call("main", "c1");
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        vapi_leg_t *odd = leg(words[i], words[i], "x");
        const vapi_leg_t *read;

        odd->path = odd->pool = odd->home = words[i];
        assert_true(vapi_trail_add(once, odd));
        read = at(vapi_trail_read(once), (int)i);
        assert_same_leg(read, odd);
        assert_false(read->is_told || read->is_counted);
    }
}

static void marks_once(void **unused)
{
    vapi_once_t *once = call("main", "c1");
    vapi_leg_t *sent = leg("pool:support", "alice", "+14155550121"), *mine, *other;

    (void)unused;
    assert_true(vapi_trail_add(once, sent));
    mine = (vapi_leg_t *)at(vapi_trail_read(once), 0);
    other = (vapi_leg_t *)at(vapi_trail_read(once), 0);
    mine->is_told = 1;
    assert_int_equal(vapi_trail_mark(once, mine, "connected"), 1);
    assert_string_equal(mine->status, "connected");
    assert_int_equal(vapi_trail_mark(once, other, "no-answer"), 0);
    assert_string_equal(other->status, "");
    assert_int_equal(vapi_trail_mark(once, sent, "no-answer"), 0);
    assert_same_leg(at(vapi_trail_read(once), 0), mine);
    mine->is_counted = 1;
    assert_int_equal(vapi_trail_mark(once, mine, "completed"), 1);
    assert_same_leg(at(vapi_trail_read(once), 0), mine);
    assert_true(mine->is_told && mine->is_counted);
}

static void drops(void **unused)
{
    vapi_once_t *once = call("main", "c1");
    vapi_leg_t *first = leg("a", "", "1"), *second = leg("b", "", "2"), *seen;

    (void)unused;
    vapi_trail_add(once, first);
    vapi_trail_add(once, second);
    seen = (vapi_leg_t *)at(vapi_trail_read(once), 0);
    vapi_trail_mark(once, (vapi_leg_t *)at(vapi_trail_read(once), 0), "failed");
    vapi_trail_drop(once, first);
    assert_int_equal(vapi_trail_read(once)->nelts, 1);
    assert_same_leg(at(vapi_trail_read(once), 0), second);
    assert_int_equal(vapi_trail_mark(once, seen, "busy"), 0);
    vapi_trail_drop(once, first);
    assert_int_equal(vapi_trail_read(once)->nelts, 1);
}

static void knows_no_nameless_calls(void **unused)
{
    vapi_once_t *once = call("main", "");
    vapi_leg_t *sent = leg("a", "", "1");

    (void)unused;
    assert_int_equal(vapi_trail_add(once, sent), 1);
    assert_null(sent->id);
    assert_int_equal(vapi_trail_read(once)->nelts, 0);
    assert_int_equal(vapi_trail_mark(once, sent, "busy"), 0);
    vapi_trail_drop(once, sent);
    assert_int_equal(reads + writes, 0);
}

static void says_when_the_store_fails(void **unused)
{
    vapi_once_t *once = call("main", "c1");
    vapi_leg_t *sent = leg("a", "", "1"), *lost = leg("b", "", "2");

    (void)unused;
    assert_true(vapi_trail_add(once, sent));
    trouble = APR_ENOSPC;
    assert_int_equal(vapi_trail_add(once, lost), 0);
    assert_null(lost->id);
    assert_null(vapi_trail_read(once));
    assert_int_equal(vapi_trail_mark(once, sent, "busy"), 0);
    vapi_trail_drop(once, sent);
    trouble = APR_SUCCESS;
    vapi_trail_drop(once, lost);
    assert_int_equal(vapi_trail_read(once)->nelts, 1);
}

static void leaves_out_what_it_cannot_read(void **unused)
{
    static const char *const values[] = { "", "x", "1", "99:a", "-1:", "18446744073709551615:a", "0:0:0:0:0:0:0:0:", "0:0:0:0:0:0:0:0:2:1" };
    vapi_once_t *once = call("main", "c1");
    apr_size_t len;
    const char *key = vapi_trail_key(once, &len);
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof(values) / sizeof(*values); i++) {
        on_note(&state, key, len, apr_itoa(pool, (int)i), NULL, values[i], SEC);
    }
    assert_int_equal(vapi_trail_read(once)->nelts, 0);
}

static void hashes(void **unused)
{
    (void)unused;
    assert_true(vapi_trail_hash("") != 0);
    assert_true(vapi_trail_hash("+14155550121") == vapi_trail_hash("+14155550121"));
    assert_true(vapi_trail_hash("+14155550121") != vapi_trail_hash("+14155550122"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keeps_legs_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_odd_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(marks_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(drops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_no_nameless_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_when_the_store_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_out_what_it_cannot_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hashes, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    return cmocka_run_group_tests_name("trail", tests, NULL, NULL);
}
