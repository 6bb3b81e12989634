/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Notes, and what is forgotten with its owner. */
#include <signal.h>
#include <sys/wait.h>

#include "moved_clock.h"
#include "state_store.h"

static apr_status_t note(vapi_state_table_t *t, const char *key, const char *field, const char *was, const char *value)
{
    return vapi_state_table_note(t, key, strlen(key), field, was, value, 60 * SEC);
}

/* "field=value field=value", in their order. */
static const char *noted(vapi_state_table_t *t, const char *key)
{
    apr_array_header_t *all;
    const char *text = "";
    int i;

    assert_int_equal(vapi_state_table_notes(t, key, strlen(key), &all, pool), APR_SUCCESS);
    for (i = 0; i < all->nelts; i++) {
        const vapi_note_t *n = &APR_ARRAY_IDX(all, i, vapi_note_t);

        text = apr_pstrcat(pool, text, i ? " " : "", n->field, "=", n->value, NULL);
    }
    return text;
}

static char *long_text(apr_size_t len)
{
    char *text = memset(apr_palloc(pool, len + 1), 'n', len);

    text[len] = '\0';
    return text;
}

static void test_notes(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    int value;

    (void)unused;
    assert_string_equal(noted(t, "a"), "");
    assert_int_equal(note(t, "a", "leg", "x", "1"), APR_EGENERAL);
    assert_int_equal(note(t, "a", "leg", NULL, "1"), APR_SUCCESS);
    assert_int_equal(note(t, "a", "leg", NULL, "2"), APR_EGENERAL);
    assert_int_equal(note(t, "a", "leg", "2", "3"), APR_EGENERAL);
    assert_int_equal(note(t, "a", "end", "*", "soon"), APR_SUCCESS);
    assert_int_equal(note(t, "a", "", NULL, ""), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "leg=1 end=soon =");
    assert_int_equal(note(t, "a", "leg", "1", "a longer one"), APR_SUCCESS);
    assert_int_equal(note(t, "a", "end", "*", ""), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "leg=a longer one end= =");
    assert_int_equal(note(t, "a", "end", NULL, "again"), APR_EGENERAL);    /* "" is something */
    assert_int_equal(note(t, "a", "end", "", "again"), APR_SUCCESS);
    assert_int_equal(note(t, "a", "", "", NULL), APR_SUCCESS);
    assert_int_equal(note(t, "a", "soon", "*", NULL), APR_SUCCESS);
    assert_int_equal(note(t, "a", "soon", NULL, NULL), APR_SUCCESS);
    assert_int_equal(note(t, "a", "again", "soon", NULL), APR_EGENERAL);
    assert_int_equal(note(t, "a", "leg", "no", NULL), APR_EGENERAL);
    assert_string_equal(noted(t, "a"), "leg=a longer one end=again");
    put_settled(t, "a", "answered");
    assert_int_equal(put(t, "a", "a value", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count(t, "a", 3, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(note(t, "a", "leg", "a longer one", NULL), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "end=again");
    assert_int_equal(note(t, "a", "end", "*", NULL), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "");
    assert_int_equal(note(t, "a", "end", NULL, "new"), APR_SUCCESS);
    assert_string_equal(recall(t, "a").reply, "answered");
    assert_string_equal(get(t, "a"), "a value");
    assert_int_equal(value_of(t, "a"), 3);
    close_checked(t);
}

static void test_limits(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    const char *first = long_text(30000), *rest = long_text(65536 - 30003 - 3);
    int i;

    (void)unused;
    assert_int_equal(note(t, "a", "f", NULL, first), APR_SUCCESS);
    assert_int_equal(note(t, "a", "g", NULL, long_text(65536 - 30003 - 2)), APR_EINVAL);
    assert_int_equal(note(t, "a", "g", NULL, rest), APR_SUCCESS);
    assert_int_equal(note(t, "a", "h", NULL, ""), APR_EINVAL);
    assert_string_equal(noted(t, "a"), apr_pstrcat(pool, "f=", first, " g=", rest, NULL));
    assert_int_equal(note(t, "a", "f", "*", "short"), APR_SUCCESS);
    assert_int_equal(note(t, "a", "g", rest, "short, too"), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "f=short g=short, too");
    for (i = 0; i < 500; i++) {
        assert_int_equal(note(t, "many", apr_psprintf(pool, "field %d", i), NULL, "some value"), APR_SUCCESS);
    }
    assert_int_equal(note(t, "many", "field 250", "some value", "another"), APR_SUCCESS);
    assert_non_null(strstr(noted(t, "many"), "field 249=some value field 250=another field 251=some value"));
    close_checked(t);
}

static void test_expiry(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);

    (void)unused;
    assert_int_equal(vapi_state_table_note(t, "a", 1, "f", NULL, "1", 30 * SEC), APR_SUCCESS);
    assert_int_equal(vapi_state_table_note(t, "b", 1, "f", NULL, "1", 30 * SEC), APR_SUCCESS);
    assert_int_equal(vapi_state_table_note(t, "b", 1, "g", NULL, "2", 60 * SEC), APR_SUCCESS);
    assert_int_equal(vapi_state_table_note(t, "c", 1, "g", NULL, "2", 0), APR_SUCCESS);
    assert_string_equal(noted(t, "a"), "f=1");
    assert_string_equal(noted(t, "c"), "");
    pass(31 * SEC);
    assert_string_equal(noted(t, "a"), "");
    assert_int_equal(note(t, "a", "f", "1", "2"), APR_EGENERAL);
    assert_string_equal(noted(t, "b"), "f=1 g=2");
    close_checked(t);
}

/* Values and settled claims go for notes; notes never for values. */
static void test_full(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint32_t room = t->geometry.slots * t->geometry.stripes, i;

    (void)unused;
    for (i = 0; i < room; i++) {
        put_settled(t, apr_psprintf(pool, "s%u", i), "answered");
    }
    for (i = 0; i < room / 2; i++) {
        assert_int_equal(note(t, apr_psprintf(pool, "n%u", i), "f", NULL, "noted"), APR_SUCCESS);
    }
    for (i = 0; i < 2 * room; i++) {
        put_settled(t, apr_psprintf(pool, "more%u", i), "answered");
    }
    for (i = 0; i < room / 2; i++) {
        assert_string_equal(noted(t, apr_psprintf(pool, "n%u", i)), "f=noted");
    }
    for (i = 0; i < 3 * room; i++) {
        assert_int_equal(note(t, apr_psprintf(pool, "more%u", i), "f", NULL, "noted"), APR_SUCCESS);
    }
    assert_string_equal(noted(t, "n0"), "");
    assert_int_equal(put(t, "v", "a value", 60 * SEC), APR_ENOSPC);
    for (i = 0; i < room; i++) {
        assert_int_equal(note(t, apr_psprintf(pool, "longer%u", i), "f", NULL, "noted"), APR_SUCCESS);
        assert_int_equal(note(t, apr_psprintf(pool, "longer%u", i), "g", NULL, long_text(i % 500)), APR_SUCCESS);
    }
    assert_string_equal(noted(t, apr_psprintf(pool, "longer%u", room - 1)),
                        apr_pstrcat(pool, "f=noted g=", long_text((room - 1) % 500), NULL));
    close_checked(t);
}

/* Who compares before he writes loses nothing of the others. */
static void test_compare(void **unused)
{
    enum { PROCESSES = 4, STEPS = 3000 };
    vapi_state_table_t *t = open_store(NULL, MB);
    int i, n, status;

    (void)unused;
    assert_int_equal(note(t, "n", "sum", NULL, "0"), APR_SUCCESS);
    for (i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            for (n = 0; n < STEPS; ) {
                apr_array_header_t *all;
                apr_pool_t *p;
                const char *was;

                apr_pool_create(&p, pool);
                MUST(vapi_state_table_notes(t, "n", 1, &all, p) == APR_SUCCESS && all->nelts >= 1);
                was = APR_ARRAY_IDX(all, 0, vapi_note_t).value;
                n += note(t, "n", "sum", was, apr_itoa(p, atoi(was) + 1)) == APR_SUCCESS;
                MUST(note(t, "n", apr_itoa(p, i), "*", n % 2 ? "odd" : "even") == APR_SUCCESS);
                apr_pool_destroy(p);
            }
            _exit(0);
        }
    }
    for (i = 0; i < PROCESSES; i++) {
        wait(&status);
        assert_int_equal(status, 0);
    }
    assert_int_equal(strncmp(noted(t, "n"), "sum=12000 ", 10), 0);
    close_checked(t);
}

/* ---- owners ---- */

static void own_for(vapi_state_table_t *t, const char *owner, vapi_kind kind, const char *key, apr_interval_time_t keep)
{
    vapi_owned_t thing = { kind, key, strlen(key) };

    assert_int_equal(vapi_state_table_own(t, owner, &thing, 1, keep), APR_SUCCESS);
}

static void own(vapi_state_table_t *t, const char *owner, vapi_kind kind, const char *key)
{
    own_for(t, owner, kind, key, 60 * SEC);
}

static int forget(vapi_state_table_t *t, const char *owner)
{
    int dropped = -1;

    assert_int_equal(vapi_state_table_forget(t, owner, &dropped), APR_SUCCESS);
    return dropped;
}

static void test_forget(void **unused)
{
    static const vapi_owned_t all[] = { { VAPI_KIND_CLAIM, "k", 1 }, { VAPI_KIND_COUNTER, "k", 1 }, { VAPI_KIND_VALUE, "k", 1 },
                                        { VAPI_KIND_NOTES, "k", 1 } };
    vapi_state_table_t *t = open_store(NULL, MB);
    int value;

    (void)unused;
    assert_int_equal(forget(t, "alice"), 0);
    assert_int_equal(vapi_state_table_own(t, "alice", all, 4, 60 * SEC), APR_SUCCESS);
    assert_int_equal(vapi_state_table_own(t, "alice", all, 4, 60 * SEC), APR_SUCCESS);
    assert_int_equal(vapi_state_table_own(t, "alice", NULL, 0, 60 * SEC), APR_SUCCESS);
    put_settled(t, "k", "answered");
    put_settled(t, "bob's", "answered");
    assert_int_equal(put(t, "k", "a value", 60 * SEC), APR_SUCCESS);
    assert_int_equal(count(t, "k", 3, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(note(t, "k", "f", NULL, "noted"), APR_SUCCESS);
    own(t, "bob", VAPI_KIND_CLAIM, "bob's");
    assert_int_equal(forget(t, "carol"), 0);
    assert_int_equal(forget(t, "alice"), 4);
    assert_int_equal(recall(t, "k").verdict, VAPI_CLAIM_NONE);
    assert_null(get(t, "k"));
    assert_int_equal(value_of(t, "k"), 0);
    assert_string_equal(noted(t, "k"), "");
    put_settled(t, "k", "answered");
    assert_int_equal(forget(t, "alice"), 0);    /* the list went, too */
    assert_string_equal(recall(t, "bob's").reply, "answered");
    assert_int_equal(forget(t, "bob"), 1);
    close_checked(t);
}

/* What is worked on stays, and stays owned. */
static void test_forget_work(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint64_t working = take(t, "working", 60 * SEC), committed = take(t, "committed", 60 * SEC);

    (void)unused;
    own(t, "alice", VAPI_KIND_CLAIM, "working");
    own(t, "alice", VAPI_KIND_CLAIM, "committed");
    own(t, "alice", VAPI_KIND_CLAIM, "lost");
    own(t, "alice", VAPI_KIND_VALUE, "v");
    assert_int_equal(put(t, "v", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(commit(t, "committed", committed, "half", 60 * SEC), APR_SUCCESS);
    assert_int_equal(commit(t, "lost", take(t, "lost", 20 * SEC), "half", 60 * SEC), APR_SUCCESS);
    pass(21 * SEC);
    assert_int_equal(forget(t, "alice"), 2);
    assert_int_equal(recall(t, "lost").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(forget(t, "alice"), 0);
    assert_int_equal(settle(t, "working", working, "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle(t, "committed", committed, "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(forget(t, "alice"), 2);
    assert_int_equal(forget(t, "alice"), 0);
    close_checked(t);
}

static apr_uint32_t owned_by(const vapi_state_table_t *t, const char *owner)
{
    vapi_state_place_t place;
    apr_uint32_t len;

    vapi_state_enter(t, 'o', owner, strlen(owner), &place);
    len = vapi_state_entry(&place) ? vapi_state_entry(&place)->reply_len : 0;
    vapi_state_leave(&place, APR_SUCCESS);
    return len / 24;
}

/* Each thing is owned for as long as was said, and no list grows for ever: the latest stay. */
static void test_owned_for(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, 8 * MB);
    int i, most = VAPI_STATE_REPLY_MAX / 24;

    (void)unused;
    own_for(t, "alice", VAPI_KIND_VALUE, "short", 30 * SEC);
    own_for(t, "alice", VAPI_KIND_VALUE, "longer", 60 * SEC);
    own_for(t, "alice", VAPI_KIND_VALUE, "longer", 30 * SEC);
    own_for(t, "bob", VAPI_KIND_VALUE, "short", 30 * SEC);
    own_for(t, "bob", VAPI_KIND_VALUE, "none", 0);
    assert_int_equal(put(t, "short", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "longer", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(owned_by(t, "alice"), 2);
    assert_int_equal(owned_by(t, "bob"), 1);
    pass(31 * SEC);
    own(t, "alice", VAPI_KIND_VALUE, "another");
    assert_int_equal(owned_by(t, "alice"), 2);
    assert_int_equal(owned_by(t, "bob"), 0);
    assert_int_equal(forget(t, "alice"), 1);
    assert_string_equal(get(t, "short"), "x");
    for (i = 0; i < most + 10; i++) {
        own(t, "pbx", VAPI_KIND_VALUE, apr_psprintf(pool, "v%d", i));
    }
    assert_int_equal(owned_by(t, "pbx"), most);
    assert_int_equal(put(t, "v9", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "v10", "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, apr_psprintf(pool, "v%d", most + 9), "x", 60 * SEC), APR_SUCCESS);
    assert_int_equal(forget(t, "pbx"), 2);
    assert_string_equal(get(t, "v9"), "x");
    close_checked(t);
}

/* Processes that own and forget across all stripes, and are killed: nobody waits for another for ever, and all is whole. */
static void churn(vapi_state_table_t *t, unsigned seed)
{
    alarm(60);                           /* should nobody kill it */
    for (;;) {
        const char *owner = rand_r(&seed) % 2 ? "a" : "b";
        char key[16];
        apr_pool_t *p;
        apr_array_header_t *all;
        vapi_owned_t thing = { rand_r(&seed) % 2 ? VAPI_KIND_VALUE : VAPI_KIND_NOTES, key, 0 };
        int dropped;

        apr_pool_create(&p, pool);
        thing.key_len = (apr_size_t)snprintf(key, sizeof key, "%d", rand_r(&seed) % 300);
        MUST(vapi_state_table_own(t, owner, &thing, 1, rand_r(&seed) % 2 ? SEC : 1000) == APR_SUCCESS);
        MUST(put(t, key, "some value", SEC) == APR_SUCCESS);
        note(t, key, rand_r(&seed) % 2 ? "f" : "g", "*", rand_r(&seed) % 4 ? "some longer value of a note" : NULL);
        MUST(vapi_state_table_notes(t, key, thing.key_len, &all, p) == APR_SUCCESS && all->nelts <= 2);
        if (rand_r(&seed) % 20 == 0) {
            MUST(vapi_state_table_forget(t, owner, &dropped) == APR_SUCCESS);
        }
        apr_pool_destroy(p);
    }
}

static void test_kill(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB);
    int i, status, repaired = 0;
    pid_t pid[3];

    (void)unused;
    for (i = 0; i < 3 + 60; i++) {
        if (i >= 3) {
            apr_sleep(3000 + rand() % 8000);
            kill(pid[i % 3], SIGKILL);
            assert_int_equal(waitpid(pid[i % 3], &status, 0), pid[i % 3]);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            repaired += check_all(t);
        }
        pid[i % 3] = fork();
        if (pid[i % 3] == 0) {
            churn(t, (unsigned)i);
        }
    }
    for (i = 0; i < 3; i++) {
        kill(pid[i], SIGKILL);
        waitpid(pid[i], &status, 0);
    }
    repaired += check_all(t);
    print_message("# %d stripes were left locked and found so here\n", repaired);
    vapi_state_table_close(t);
    t = open_store(path, MB);
    assert_int_equal(notes->nelts, 0);
    close_checked(t);
}

/* Another size, and the same again. */
static void test_restart(void **unused)
{
    vapi_state_table_t *t = open_store(path, MB);

    (void)unused;
    assert_int_equal(note(t, "call", "leg", NULL, "alice"), APR_SUCCESS);
    assert_int_equal(note(t, "call", "end", NULL, "no"), APR_SUCCESS);
    own(t, "caller", VAPI_KIND_NOTES, "call");
    own(t, "caller", VAPI_KIND_CLAIM, "told");
    put_settled(t, "told", "so");
    close_checked(t);
    t = open_store(path, MB);
    assert_string_equal(noted(t, "call"), "leg=alice end=no");
    close_checked(t);
    t = open_store(path, 2 * MB);
    assert_int_equal(notes->nelts, 0);
    assert_string_equal(noted(t, "call"), "leg=alice end=no");
    assert_int_equal(forget(t, "caller"), 2);
    assert_string_equal(noted(t, "call"), "");
    close_checked(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_notes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_compare, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_forget_work, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_owned_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_restart, set_up, tear_down),
    };

    return run_store_tests(tests, sizeof tests / sizeof tests[0]);
}
