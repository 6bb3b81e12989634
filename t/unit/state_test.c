/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "moved_clock.h"
#include "state_store.h"

static apr_status_t abandon(vapi_state_table_t *t, const char *key, apr_uint64_t token)
{
    return vapi_state_table_abandon(t, key, strlen(key), token);
}

/* The verbs. */

static void test_life(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint64_t token;
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(recall(t, "a").verdict, VAPI_CLAIM_NONE);
    token = take(t, "a", 10 * SEC);
    c = claim(t, "a", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(c.fingerprint, 7);
    assert_true(c.left > 9 * SEC && c.left <= 10 * SEC && !c.token && !c.reply);
    assert_int_equal(commit(t, "a", token, "half", 60 * SEC), APR_SUCCESS);
    assert_int_equal(recall(t, "a").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(commit(t, "a", token, "half again", 60 * SEC), APR_SUCCESS);
    assert_int_equal(settle(t, "a", token, "whole", 30 * SEC), APR_SUCCESS);
    c = claim(t, "a", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_string_equal(c.reply, "whole");
    assert_true(c.reply_len == 5 && c.fingerprint == 7 && !c.lost && c.token == token && c.left > 29 * SEC && c.left <= 30 * SEC);
    assert_int_equal(abandon(t, "a", 0), APR_SUCCESS);
    assert_int_equal(abandon(t, "a", 0), APR_NOTFOUND);
    assert_true(take(t, "a", SEC) != token);
    close_checked(t);
}

static void test_tokens(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint64_t token = take(t, "a", 10 * SEC), other = take(t, "b", 10 * SEC);

    (void)unused;
    assert_int_equal(commit(t, "a", 0, "x", SEC), APR_NOTFOUND);
    assert_int_equal(commit(t, "a", other, "x", SEC), APR_NOTFOUND);
    assert_int_equal(settle(t, "a", token + 1, "x", SEC), APR_NOTFOUND);
    assert_int_equal(abandon(t, "a", other), APR_NOTFOUND);
    assert_int_equal(settle(t, "nobody's", token, "x", SEC), APR_NOTFOUND);
    assert_int_equal(abandon(t, "a", token), APR_SUCCESS);
    assert_int_equal(settle(t, "a", token, "x", SEC), APR_NOTFOUND);
    assert_int_equal(commit(t, "b", other, "x", SEC), APR_SUCCESS);
    assert_int_equal(abandon(t, "b", other), APR_NOTFOUND);
    assert_int_equal(settle(t, "b", other, "x", SEC), APR_SUCCESS);
    assert_int_equal(settle(t, "b", other, "y", SEC), APR_NOTFOUND);
    assert_int_equal(commit(t, "b", other, "y", SEC), APR_NOTFOUND);
    assert_int_equal(abandon(t, "b", token), APR_NOTFOUND);
    assert_int_equal(abandon(t, "b", other), APR_SUCCESS);
    token = take(t, "b", 10 * SEC);
    assert_int_equal(abandon(t, "b", other), APR_NOTFOUND);
    assert_int_equal(commit(t, "b", token, "x", SEC), APR_SUCCESS);
    assert_int_equal(settle(t, "b", token, "x", 0), APR_SUCCESS);
    take(t, "b", SEC);
    close_checked(t);
}

/* No later claim has the token of one that a store of another size took over. */
static void test_tokens_carried(void **unused)
{
    vapi_state_table_t *t = open_store(path, 2 * MB);
    apr_uint64_t seen = 0;
    int i;

    (void)unused;
    for (i = 0; i < 20; i++) {
        abandon(t, "a", seen);
        seen = take(t, "a", 10 * SEC);
        assert_int_equal(settle(t, "a", seen, "x", 60 * SEC), APR_SUCCESS);
    }
    close_checked(t);
    t = open_store(path, MB);
    assert_true(recall(t, "a").token == seen);
    assert_int_equal(abandon(t, "a", seen), APR_SUCCESS);
    for (i = 0; i < 100; i++) {
        assert_true(take(t, "a", 10 * SEC) != seen);
        assert_int_equal(abandon(t, "a", 0), APR_SUCCESS);
    }
    close_checked(t);
}

static void test_expiry(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint64_t dead = take(t, "dead", 150 * SEC), lost = take(t, "lost", 150 * SEC), token;
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(commit(t, "lost", lost, "perhaps", 600 * SEC), APR_SUCCESS);
    token = take(t, "short", SEC * 60);
    assert_int_equal(settle(t, "short", token, "x", 20 * SEC), APR_SUCCESS);
    token = take(t, "brief", 600 * SEC);
    assert_int_equal(commit(t, "brief", token, "x", 1), APR_SUCCESS);
    pass(151 * SEC);
    assert_int_equal(recall(t, "dead").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(commit(t, "dead", dead, "x", SEC), APR_NOTFOUND);
    assert_int_equal(settle(t, "dead", dead, "x", SEC), APR_NOTFOUND);
    assert_true(take(t, "dead", SEC) != dead);
    assert_int_equal(recall(t, "short").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(recall(t, "brief").verdict, VAPI_CLAIM_BUSY);
    c = claim(t, "lost", SEC);
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_true(c.lost && c.left > 400 * SEC && c.left < 450 * SEC);
    assert_string_equal(c.reply, "perhaps");
    assert_int_equal(commit(t, "lost", lost, "again", SEC), APR_NOTFOUND);
    assert_int_equal(settle(t, "lost", lost, "it was", SEC), APR_SUCCESS);
    c = recall(t, "lost");
    assert_true(!c.lost);
    assert_string_equal(c.reply, "it was");
    close_checked(t);
}

static void test_replies(void **unused)
{
    static const apr_size_t lengths[] = { 0, 1, 239, 240, 241, 480, 481, 5000, 65535, 65536 };
    vapi_state_table_t *t = open_store(NULL, MB);
    char *reply = apr_palloc(pool, 65537);
    apr_size_t i;
    vapi_claim_t c;

    (void)unused;
    for (i = 0; i < 65537; i++) {
        reply[i] = (char)(i * 7 + i / 240);
    }
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *key = apr_psprintf(pool, "k%d", (int)i);
        apr_uint64_t token = take(t, key, SEC);

        assert_int_equal(vapi_state_table_commit(t, key, strlen(key), token, reply, lengths[i], SEC), APR_SUCCESS);
        assert_int_equal(vapi_state_table_settle(t, key, strlen(key), token, reply, lengths[i], 60 * SEC), APR_SUCCESS);
        c = recall(t, key);
        assert_int_equal(c.reply_len, lengths[i]);
        assert_memory_equal(c.reply, reply, lengths[i]);
        assert_int_equal(c.reply[c.reply_len], 0);
    }
    take(t, "long", SEC);
    assert_int_equal(vapi_state_table_settle(t, "long", 4, recall(t, "long").token, reply, 65537, SEC), APR_EINVAL);
    assert_int_equal(vapi_state_table_commit(t, "long", 4, 1, reply, 65537, SEC), APR_EINVAL);
    close_checked(t);
}

static void test_counters(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    int value = -5;

    (void)unused;
    assert_int_equal(count(t, "n", -3, -1, SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(count(t, "n", 2, 3, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 2);
    assert_int_equal(count(t, "n", 2, 3, 60 * SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(value, 2);
    assert_int_equal(count(t, "n", 1, 3, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(count(t, "n", -1, 1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 2);
    assert_int_equal(count(t, "n", -9, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(count(t, "n", 0x7fffffff, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_int_equal(count(t, "n", 1, -1, 60 * SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(count(t, "none", 1, 0, SEC, 0, &value), APR_EGENERAL);
    assert_int_equal(recall(t, "n").verdict, VAPI_CLAIM_NONE);
    take(t, "n", SEC);
    assert_int_equal(value_of(t, "n"), 0x7fffffff);
    close_checked(t);
}

static void test_windows(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    int i, value;

    (void)unused;
    for (i = 0; i < 4; i++) {
        assert_int_equal(count(t, "fixed", 1, -1, 400 * SEC, 0, &value), APR_SUCCESS);
        assert_int_equal(count(t, "moving", 1, -1, 400 * SEC, 1, &value), APR_SUCCESS);
        pass(150 * SEC);
    }
    assert_true(value_of(t, "fixed") < 4);
    assert_int_equal(value_of(t, "moving"), 4);
    pass(260 * SEC);
    assert_int_equal(value_of(t, "moving"), 0);
    close_checked(t);
}

static void test_full(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint32_t room = t->geometry.slots * t->geometry.stripes;
    apr_uint32_t i, tries;
    apr_uint64_t token = take(t, "mine", 60 * SEC);
    int value, ended = 0;
    vapi_claim_t c;

    (void)unused;
    assert_int_equal(count(t, "counter", 1, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    put_settled(t, "oldest", "o");
    assert_int_equal(settle(t, "ends", take(t, "ends", SEC), "e", 1), APR_SUCCESS);
    for (i = 0; i < 3 * room; i++) {
        put_settled(t, apr_psprintf(pool, "s%u", i), "a reply of some length");
    }
    assert_int_equal(recall(t, "mine").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(value_of(t, "counter"), 1);
    assert_int_equal(recall(t, "oldest").verdict, VAPI_CLAIM_NONE);
    for (i = 0; i < room / 2; i++) {
        assert_int_equal(recall(t, apr_psprintf(pool, "s%u", 3 * room - 1 - i)).verdict, VAPI_CLAIM_SETTLED);
    }
    assert_int_equal(commit(t, "mine", token, "r", 60 * SEC), APR_SUCCESS);
    for (i = tries = 0; ended < 50 && tries < 3 * room; tries++) {
        char *key = apr_psprintf(pool, "w%u", tries);
        apr_status_t rv = vapi_state_table_claim(t, key, strlen(key), 0, 60 * SEC, &c, pool);

        assert_true(rv == APR_SUCCESS || rv == APR_ENOSPC);
        i += rv == APR_SUCCESS;
        ended += rv == APR_ENOSPC;
    }
    for (; tries < 3 * room; tries++) {
        char *key = apr_psprintf(pool, "w%u", tries);

        i += vapi_state_table_claim(t, key, strlen(key), 0, 60 * SEC, &c, pool) == APR_SUCCESS;
    }
    assert_int_equal(i + 1, room);
    assert_int_equal(value_of(t, "counter"), 0);
    assert_int_equal(recall(t, "mine").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(count(t, "another", 1, -1, SEC, 0, &value), APR_ENOSPC);
    assert_int_equal(recall(t, "w0").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(settle(t, "mine", token, "still room for this", SEC), APR_SUCCESS);
    close_checked(t);
}

/* Long replies fill a stripe before its slots are gone; what is committed stays, whatever comes. */
static void test_full_of_replies(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    char *reply = memset(apr_palloc(pool, 60001), 'r', 60000);
    int i, refused = 0;

    (void)unused;
    reply[60000] = '\0';
    for (i = 0; i < 40; i++) {
        put_settled(t, apr_psprintf(pool, "s%d", i), reply);
    }
    for (i = 0; i < 40; i++) {
        char *key = apr_psprintf(pool, "c%d", i);
        apr_status_t rv = commit(t, key, take(t, key, 60 * SEC), reply, 60 * SEC);

        assert_true(rv == APR_SUCCESS || rv == APR_ENOSPC);
        refused += rv == APR_ENOSPC;
    }
    assert_true(refused > 20 && refused < 38);
    for (i = 0; i < 40; i++) {
        assert_int_equal(recall(t, apr_psprintf(pool, "c%d", i)).verdict, VAPI_CLAIM_BUSY);
    }
    close_checked(t);
}

/* Values. */

static void test_values(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    int value;

    (void)unused;
    assert_null(get(t, "a"));
    assert_int_equal(put(t, "a", "the first", 60 * SEC), APR_SUCCESS);
    assert_string_equal(get(t, "a"), "the first");
    assert_int_equal(put(t, "a", "the second", 60 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "b", "", 60 * SEC), APR_SUCCESS);
    assert_string_equal(get(t, "a"), "the second");
    assert_string_equal(get(t, "b"), "");
    assert_int_equal(recall(t, "a").verdict, VAPI_CLAIM_NONE);
    assert_int_equal(abandon(t, "a", 0), APR_NOTFOUND);
    put_settled(t, "a", "answered");
    assert_int_equal(count(t, "a", 3, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    assert_string_equal(get(t, "a"), "the second");
    assert_int_equal(put(t, "a", "the third", 20 * SEC), APR_SUCCESS);
    assert_int_equal(put(t, "c", "gone at once", 0), APR_SUCCESS);
    assert_null(get(t, "c"));
    pass(21 * SEC);
    assert_null(get(t, "a"));
    assert_string_equal(get(t, "b"), "");
    assert_string_equal(recall(t, "a").reply, "answered");
    assert_int_equal(value_of(t, "a"), 3);
    close_checked(t);
}

static void test_value_lengths(void **unused)
{
    static const apr_size_t lengths[] = { 0, 1, 239, 240, 241, 1024, 65535, 65536 };
    vapi_state_table_t *t = open_store(NULL, MB);
    char *given = apr_palloc(pool, 65537);
    const char *value;
    apr_size_t i, len;

    (void)unused;
    for (i = 0; i < 65537; i++) {
        given[i] = (char)(i * 7 + i / 240);
    }
    for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(vapi_state_table_put(t, "k", 1, given, lengths[i], 60 * SEC), APR_SUCCESS);
        assert_int_equal(vapi_state_table_get(t, "k", 1, &value, &len, pool), APR_SUCCESS);
        assert_int_equal(len, lengths[i]);
        assert_memory_equal(value, given, len);
        assert_int_equal(value[len], 0);
    }
    assert_int_equal(vapi_state_table_put(t, "k", 1, given, 65537, 60 * SEC), APR_EINVAL);
    close_checked(t);
}

/* How many entries one list has: in a stripe that has the fewest of them, and in all stripes. */
static apr_uint32_t length_of(const vapi_state_table_t *t, vapi_list list, apr_uint32_t *fewest)
{
    apr_uint32_t s, i, n, sum = 0;

    *fewest = VAPI_STATE_NIL;
    for (s = 0; s < t->geometry.stripes; s++, sum += n) {
        vapi_stripe_t st = vapi_state_stripe(t, s);

        for (n = 0, i = st.head->oldest[list]; i != VAPI_STATE_NIL; i = st.slots[i].newer) {
            n++;
        }
        *fewest = n < *fewest ? n : *fewest;
    }
    return sum;
}

static apr_uint32_t total(const vapi_state_table_t *t, vapi_list list)
{
    apr_uint32_t fewest;

    return length_of(t, list, &fewest);
}

static apr_uint32_t fewest(const vapi_state_table_t *t, vapi_list list)
{
    apr_uint32_t n;

    length_of(t, list, &n);
    return n;
}

/* Until each stripe has had to let values go, whatever its size. */
static void fill_with_values(vapi_state_table_t *t, const char *value, apr_uint32_t n)
{
    apr_uint32_t i;

    for (i = 0; i < n; i++) {
        assert_int_equal(put(t, apr_psprintf(pool, "v%u", i), value, 60 * SEC), APR_SUCCESS);
    }
    assert_null(get(t, "v0"));
    assert_string_equal(get(t, apr_psprintf(pool, "v%u", n - 1)), value);
}

/* Slots end: values push out values alone, and go before settled claims and counters. */
static void test_values_go_first(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    apr_uint32_t room = t->geometry.slots * t->geometry.stripes;
    apr_uint32_t i, n;
    int value;

    (void)unused;
    take(t, "mine", 60 * SEC);
    for (i = 0; i < 50; i++) {
        put_settled(t, apr_psprintf(pool, "s%u", i), "answered");
        assert_int_equal(count(t, apr_psprintf(pool, "n%u", i), 1, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    }
    fill_with_values(t, "a value", 3 * room);
    assert_int_equal(total(t, VAPI_LIST_VALUES), room - 101);
    for (n = 50; fewest(t, VAPI_LIST_VALUES) > 1; n++) {
        put_settled(t, apr_psprintf(pool, "s%u", n), "answered");
        assert_int_equal(count(t, apr_psprintf(pool, "n%u", n), 1, -1, 60 * SEC, 0, &value), APR_SUCCESS);
    }
    assert_true(n > room / 4);
    assert_int_equal(total(t, VAPI_LIST_SETTLED), n);
    assert_int_equal(total(t, VAPI_LIST_COUNTERS), n);
    for (i = n; total(t, VAPI_LIST_VALUES); i++) {
        put_settled(t, apr_psprintf(pool, "s%u", i), "answered");
    }
    assert_int_equal(total(t, VAPI_LIST_COUNTERS), n);
    n = total(t, VAPI_LIST_SETTLED);
    for (i = 0; i < 50; i++) {
        assert_int_equal(put(t, apr_psprintf(pool, "v%u", i), "no room", 60 * SEC), APR_ENOSPC);
    }
    assert_int_equal(total(t, VAPI_LIST_SETTLED), n);
    assert_int_equal(total(t, VAPI_LIST_WORK), 1);
    put_settled(t, "one more", "as ever at the cost of the oldest settled one");
    assert_int_equal(total(t, VAPI_LIST_SETTLED), n);
    close_checked(t);
}

static char *long_text(apr_size_t len)
{
    char *text = memset(apr_palloc(pool, len + 1), 'r', len);

    text[len] = '\0';
    return text;
}

/* Blocks end: commit and settle evict values and nothing settled, as long as there are any. */
static void test_long_values_go_first(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    const char *reply = long_text(20000);
    apr_uint32_t n, committed = 0;

    (void)unused;
    fill_with_values(t, long_text(3000), 1000);
    for (n = 0; fewest(t, VAPI_LIST_VALUES) > 20; n++) {
        put_settled(t, apr_psprintf(pool, "s%u", n), reply);
    }
    assert_true(n > 10);
    assert_int_equal(total(t, VAPI_LIST_SETTLED), n);
    for (n = 0; committed < 100 && n < 200; n++) {
        char *key = apr_psprintf(pool, "c%u", n);

        committed += commit(t, key, take(t, key, 60 * SEC), reply, 60 * SEC) == APR_SUCCESS;
    }
    assert_true(total(t, VAPI_LIST_VALUES) < 20);    /* too few for one more reply */
    assert_int_equal(total(t, VAPI_LIST_SETTLED), 0);
    for (n = 0; put(t, apr_psprintf(pool, "v%u", n), "short", 60 * SEC) != APR_SUCCESS; n++) {
        assert_true(n < 1000);
    }
    n = total(t, VAPI_LIST_VALUES);
    assert_int_equal(put(t, "v", reply, 60 * SEC), APR_ENOSPC);
    assert_int_equal(total(t, VAPI_LIST_VALUES), n);
    close_checked(t);
}

/* A value that is replaced while there is no room: others go for it; and there being none, it goes itself. */
static void test_replace_when_full(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    const char *reply = long_text(60000);
    apr_uint32_t n, i;

    (void)unused;
    fill_with_values(t, long_text(3000), 1000);
    for (n = 1000; get(t, apr_psprintf(pool, "v%u", n - 1)); n--) {
        ;
    }
    assert_int_equal(put(t, apr_psprintf(pool, "v%u", n), reply, 60 * SEC), APR_SUCCESS);
    assert_string_equal(get(t, apr_psprintf(pool, "v%u", n)), reply);
    check_all(t);
    for (i = 0; total(t, VAPI_LIST_VALUES) || i < 40; i++) {
        char *key = apr_psprintf(pool, "c%u", i);

        commit(t, key, take(t, key, 60 * SEC), i < 40 ? reply : "a short one", 60 * SEC);
    }
    while (put(t, "v", long_text(n), 60 * SEC) == APR_ENOSPC) {
        n /= 2;                          /* what is still free in its stripe */
    }
    while (put(t, "v", long_text(n + 1), 60 * SEC) == APR_SUCCESS) {
        n++;
    }
    assert_null(get(t, "v"));            /* the last one had no room, and the one before it is out of date */
    check_all(t);
    assert_int_equal(put(t, "v", long_text(n), 60 * SEC), APR_SUCCESS);
    close_checked(t);
}

/* Many processes. */

static void test_exactly_once(void **unused)
{
    vapi_state_table_t *t = open_store(path, 32 * MB);
    _Atomic int *mine = mmap(NULL, 10000 * sizeof *mine, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int i, k, status;
    vapi_claim_t c;

    (void)unused;
    for (i = 0; i < 8; i++) {
        if (fork() == 0) {
            for (k = 0; k < 10000; k++) {
                char key[16];

                snprintf(key, sizeof key, "%d", (k + i * 100) % 10000);
                MUST(vapi_state_table_claim(t, key, strlen(key), 0, 60 * SEC, &c, pool) == APR_SUCCESS);
                atomic_fetch_add(&mine[(k + i * 100) % 10000], c.verdict == VAPI_CLAIM_MINE);
            }
            _exit(0);
        }
    }
    for (i = 0; i < 8; i++) {
        wait(&status);
        assert_int_equal(status, 0);
    }
    for (k = 0; k < 10000; k++) {
        assert_int_equal(mine[k], 1);
    }
    munmap((void *)mine, 10000 * sizeof *mine);
    close_checked(t);
}

/* A reply that says whose it is and is the same throughout, so that a torn or mixed one is seen. */
static apr_size_t make_reply(char *to, int key, unsigned seed)
{
    apr_size_t len = (apr_size_t)(seed % 6) * (seed % 331), i;

    for (i = 0; i < len; i++) {
        to[i] = (char)('a' + (key * 31 + (int)(len % 97)) % 26);
    }
    return len;
}

static void check_reply(const vapi_claim_t *c, int key)
{
    apr_size_t i;

    for (i = 0; i < c->reply_len; i++) {
        MUST(c->reply[i] == (char)('a' + (key * 31 + (int)(c->reply_len % 97)) % 26));
    }
}

static void hammer(vapi_state_table_t *t, unsigned seed)
{
    char reply[2048];

    alarm(60);                           /* should nobody kill it */
    for (;;) {
        apr_pool_t *p;
        vapi_claim_t c;
        char key[16];
        int k, value;

        apr_pool_create(&p, pool);
        k = rand_r(&seed) % 2500;
        snprintf(key, sizeof key, "%d", k);
        MUST(vapi_state_table_claim(t, key, strlen(key), 0, SEC / 100, &c, p) == APR_SUCCESS);
        if (c.verdict == VAPI_CLAIM_MINE) {
            if (rand_r(&seed) % 2) {
                vapi_state_table_commit(t, key, strlen(key), c.token, reply, make_reply(reply, k, rand_r(&seed)), SEC);
            }
            if (rand_r(&seed) % 8) {
                vapi_state_table_settle(t, key, strlen(key), c.token, reply, make_reply(reply, k, rand_r(&seed)),
                                        rand_r(&seed) % 2 ? 60 * SEC : 1000);
            }
        }
        else {
            check_reply(&c, k);
            if (rand_r(&seed) % 4 == 0) {
                vapi_state_table_abandon(t, key, strlen(key), 0);
            }
        }
        MUST(vapi_state_table_count(t, key, strlen(key), 1, 5, 500, 0, &value) != APR_ENOSPC && value <= 5);
        if (vapi_state_table_get(t, key, strlen(key), &c.reply, &c.reply_len, p) == APR_SUCCESS) {
            check_reply(&c, k);
        }
        if (rand_r(&seed) % 2) {
            vapi_state_table_put(t, key, strlen(key), reply, make_reply(reply, k, rand_r(&seed)), rand_r(&seed) % 2 ? 60 * SEC : 1000);
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
            apr_sleep(5000 + rand() % 10000);
            kill(pid[i % 3], SIGKILL);
            assert_int_equal(waitpid(pid[i % 3], &status, 0), pid[i % 3]);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            repaired += check_all(t);
        }
        pid[i % 3] = fork();
        if (pid[i % 3] == 0) {
            hammer(t, (unsigned)i);
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

#if defined(__linux__) && defined(__x86_64__)
/*
 * Stops a process after each single instruction of a claim's life and then a value's, and looks at what a start would find if
 * it were killed there: whole, and in its old or its new state, never one of before.
 */
static void live_stepwise(vapi_state_table_t *t)
{
    char *reply = memset(malloc(700), 'r', 700);
    vapi_claim_t c;
    int value;

    vapi_state_table_count(t, "a", 1, 1, -1, 60 * SEC, 0, &value);    /* libcrypto's first use takes many steps */
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
        _exit(77);
    }
    raise(SIGSTOP);
    vapi_state_table_claim(t, "a", 1, 0, 60 * SEC, &c, pool);
    vapi_state_table_commit(t, "a", 1, c.token, reply, 300, 60 * SEC);
    vapi_state_table_settle(t, "a", 1, c.token, reply, 700, 60 * SEC);
    vapi_state_table_count(t, "a", 1, 1, -1, 60 * SEC, 0, &value);
    vapi_state_table_abandon(t, "a", 1, 0);
    vapi_state_table_put(t, "a", 1, reply, 300, 60 * SEC);
    vapi_state_table_put(t, "a", 1, reply, 700, 60 * SEC);
    _exit(0);
}

static int rank_of(vapi_state_table_t *t, int was)
{
    vapi_claim_t c = recall(t, "a");
    const char *value = get(t, "a");

    if (value) {
        return strlen(value) == 300 ? 5 : 6;
    }
    if (c.verdict == VAPI_CLAIM_NONE) {
        return was >= 3 ? 4 : 0;
    }
    assert_int_equal(c.verdict, VAPI_CLAIM_SETTLED);
    assert_int_equal(c.reply_len, c.lost ? 300 : 700);
    return c.lost ? 2 : 3;
}

/* What a claim's life changes stands at the beginning of its stripe's slots and blocks. */
static int has_changed(const vapi_state_table_t *t, char *last)
{
    apr_uint32_t i;
    int changed = 0;

    for (i = 0; i < t->geometry.stripes; i++, last += 65536) {
        vapi_stripe_t st = vapi_state_stripe(t, i);
        apr_size_t head = sizeof *st.head + 8 * sizeof *st.slots, data = 16 * sizeof *st.blocks;

        if (memcmp(last, st.head, head) != 0 || memcmp(last + head, st.blocks, data) != 0) {
            memcpy(last, st.head, head);
            memcpy(last + head, st.blocks, data);
            changed = 1;
        }
    }
    return changed;
}

static void test_every_step(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB), *copy = open_store(NULL, MB);
    char *last = apr_pcalloc(pool, (apr_size_t)2 * 65536);
    apr_time_t end = vapi_clock_now() + 4 * SEC;
    int status, looks = 0, rank = 0;
    apr_uint32_t damaged;
    pid_t pid = fork();

    (void)unused;
    if (pid == 0) {
        live_stepwise(t);
    }
    for (waitpid(pid, &status, 0); WIFSTOPPED(status) && vapi_clock_now() < end; waitpid(pid, &status, 0)) {
        if (has_changed(t, last)) {
            int was = rank;

            memcpy(copy->mapping.base, t->mapping.base, MB);
            assert_int_equal(vapi_state_table_recover(copy, &damaged), APR_SUCCESS);
            assert_int_equal(damaged, 0);
            check_all(copy);
            rank = rank_of(copy, rank);
            assert_true(rank >= was);
            assert_in_range(value_of(copy, "a"), 1, 2);
            looks++;
        }
        ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
    }
    if (WIFSTOPPED(status)) {
        print_message("# stepping is too slow here: stopped after %d looks\n", looks);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    else if (status == 0) {
        print_message("# %d looks\n", looks);
        assert_int_equal(rank, 6);
        assert_true(looks > 100);
    }
    vapi_state_table_close(t);
    vapi_state_table_close(copy);
}
#endif

/* ---- whoever holds a lock stands still ---- */

/* A process that has the locks of a key and of the members, and does nothing any more. */
static pid_t hold_locks(vapi_state_table_t *t, const char *key)
{
    unsigned char digest[VAPI_STATE_DIGEST];
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        vapi_state_place_t place;
        vapi_roster_t roster;

        alarm(120);
        vapi_state_hash(t, VAPI_KIND_CLAIM, key, strlen(key), digest);
        if (vapi_state_enter_digest(t, digest, &place) == APR_SUCCESS && vapi_roster_lock(t, &roster) == APR_SUCCESS) {
            raise(SIGSTOP);
        }
        _exit(1);
    }
    waitpid(pid, &status, WUNTRACED);
    assert_true(WIFSTOPPED(status));
    return pid;
}

static void test_holder_stands_still(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, VAPI_STATE_SIZE_MIN), *request;
    vapi_seat_t *seat;
    vapi_seat_view_t view;
    vapi_claim_t c;
    apr_time_t start = 0;
    pid_t holder;
    int i, status;

    (void)unused;
    assert_int_equal(vapi_state_table_seat(t, &seat, "ann", 3, pool), APR_SUCCESS);
    take(t, "k", 60 * SEC);
    holder = hold_locks(t, "k");
    request = vapi_state_table_within(t, SEC, pool);
    for (i = 0; i < 3; i++) {
        start = i ? start : vapi_clock_now();
        assert_int_equal(vapi_state_table_recall(request, "k", 1, &c, pool), ETIMEDOUT);
        assert_int_equal(vapi_state_table_survey(request, &seat, 1, &view), ETIMEDOUT);
    }
    assert_true(vapi_clock_now() - start >= SEC * 9 / 10);      /* half a second, and five times a tenth */
    assert_true(vapi_clock_now() - start < 10 * SEC);
    kill(holder, SIGKILL);
    waitpid(holder, &status, 0);
    assert_int_equal(recall(request, "k").verdict, VAPI_CLAIM_BUSY);
    assert_int_equal(vapi_state_table_survey(request, &seat, 1, &view), APR_SUCCESS);
    assert_int_equal(recall(t, "k").verdict, VAPI_CLAIM_BUSY);
    vapi_state_table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tokens_carried, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_expiry, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_counters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_windows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full_of_replies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_value_lengths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_values_go_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_long_values_go_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_replace_when_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_exactly_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_holder_stands_still, set_up, tear_down),
#if defined(__linux__) && defined(__x86_64__)
        cmocka_unit_test_setup_teardown(test_every_step, set_up, tear_down),
#endif
    };

    return run_store_tests(tests, sizeof tests / sizeof tests[0]);
}
