/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* A store for tests, its verbs in short, and what must hold in it between any two of them. */
#ifndef STATE_STORE_H
#define STATE_STORE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "../../src/state_roster.h"
#include "vapi_clock.h"

#define SEC      apr_time_from_sec(1)
#define MB       (1024L * 1024)

static apr_pool_t *pool;
static char dir[] = "/tmp/vapi-state-XXXXXX";
static char *path;
static apr_array_header_t *notes;

static vapi_state_table_t *open_store(const char *at, apr_size_t size)
{
    vapi_state_open_t how = { at, size, 0 };
    vapi_state_table_t *t = NULL;

    notes = apr_array_make(pool, 1, sizeof(vapi_state_note_t));
    assert_int_equal(vapi_state_table_open(&t, &how, notes, pool), APR_SUCCESS);
    return t;
}

static int set_up(void **unused)
{
    (void)unused;
    apr_pool_create(&pool, NULL);
    path = apr_pstrcat(pool, dir, "/state", NULL);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    unlink(path);
    unlink(apr_pstrcat(pool, path, ".old", NULL));
    unlink(apr_pstrcat(pool, path, ".new", NULL));
    apr_pool_destroy(pool);
    return 0;
}

/* Shorter forms of the verbs. */

static vapi_claim_t claim(vapi_state_table_t *t, const char *key, apr_interval_time_t work)
{
    vapi_claim_t c;

    assert_int_equal(vapi_state_table_claim(t, key, strlen(key), 7, work, &c, pool), APR_SUCCESS);
    return c;
}

static apr_uint64_t take(vapi_state_table_t *t, const char *key, apr_interval_time_t work)
{
    vapi_claim_t c = claim(t, key, work);

    assert_int_equal(c.verdict, VAPI_CLAIM_MINE);
    assert_true(c.token != 0);
    assert_null(c.reply);
    return c.token;
}

static inline vapi_claim_t recall(vapi_state_table_t *t, const char *key)
{
    vapi_claim_t c;

    assert_int_equal(vapi_state_table_recall(t, key, strlen(key), &c, pool), APR_SUCCESS);
    return c;
}

static inline apr_status_t commit(vapi_state_table_t *t, const char *key, apr_uint64_t token, const char *reply, apr_interval_time_t keep)
{
    return vapi_state_table_commit(t, key, strlen(key), token, reply, strlen(reply), keep);
}

static apr_status_t settle(vapi_state_table_t *t, const char *key, apr_uint64_t token, const char *reply, apr_interval_time_t keep)
{
    return vapi_state_table_settle(t, key, strlen(key), token, reply, strlen(reply), keep);
}

static apr_status_t count(vapi_state_table_t *t, const char *key, int delta, int limit, apr_interval_time_t window, int restart, int *value)
{
    return vapi_state_table_count(t, key, strlen(key), delta, limit, window, restart, value);
}

static inline int value_of(vapi_state_table_t *t, const char *key)
{
    int value;

    assert_int_equal(count(t, key, 0, -1, SEC, 0, &value), APR_SUCCESS);
    return value;
}

static inline void put_settled(vapi_state_table_t *t, const char *key, const char *reply)
{
    assert_int_equal(settle(t, key, take(t, key, 60 * SEC), reply, 60 * SEC), APR_SUCCESS);
}

static inline apr_status_t put(vapi_state_table_t *t, const char *key, const char *value, apr_interval_time_t keep)
{
    return vapi_state_table_put(t, key, strlen(key), value, strlen(value), keep);
}

/* NULL: there is none. */
static inline const char *get(vapi_state_table_t *t, const char *key)
{
    const char *value;
    apr_size_t len;
    apr_status_t rv = vapi_state_table_get(t, key, strlen(key), &value, &len, pool);

    assert_int_equal(rv, value ? APR_SUCCESS : APR_NOTFOUND);
    assert_int_equal(len, value ? strlen(value) : 0);
    return value;
}

/* What must hold in every stripe between any two verbs. Aborts, so that a forked process can use it too. */

#define MUST(what) do { if (!(what)) { fprintf(stderr, "# line %d: not so: %s\n", __LINE__, #what); abort(); } } while (0)

static apr_uint32_t blocks_of(const vapi_version_t *entry)
{
    return (entry->reply_len + VAPI_BLOCK_DATA - 1) / VAPI_BLOCK_DATA;
}

static void check_lists(const vapi_stripe_t *st, char *seen)
{
    static const int lists[] = { -1, VAPI_LIST_WORK, VAPI_LIST_WORK, VAPI_LIST_SETTLED, VAPI_LIST_COUNTERS, VAPI_LIST_VALUES,
                                 VAPI_LIST_NOTES, VAPI_LIST_COUNTERS };
    apr_uint32_t blocks, i, before;
    int list;

    for (list = 0; list < VAPI_LISTS; list++) {
        before = VAPI_STATE_NIL;
        blocks = 0;
        for (i = st->head->oldest[list]; i != VAPI_STATE_NIL; before = i, i = st->slots[i].newer) {
            const vapi_version_t *entry = vapi_slot_entry(&st->slots[i]);

            MUST(entry->state <= VAPI_ENTRY_OWNED && lists[entry->state] == list && st->slots[i].older == before && !seen[i]);
            MUST(before == VAPI_STATE_NIL || vapi_slot_entry(&st->slots[before])->since <= entry->since);
            MUST(entry->expires >= st->head->soonest);
            seen[i] = 1;
            blocks += blocks_of(entry);
        }
        MUST(st->head->newest[list] == before && st->head->blocks[list] == blocks);
    }
}

static int garbage;               /* was thrown into the file: free blocks need not be wiped */

static void check_blocks(const vapi_stripe_t *st, char *used)
{
    static const unsigned char zero[VAPI_BLOCK_DATA];
    apr_uint32_t n = 0, i, b;

    for (i = 0; i < st->geometry->slots; i++) {
        if (!st->slots[i].which) {
            continue;
        }
        for (b = vapi_slot_entry(&st->slots[i])->first_block; b != VAPI_STATE_NIL; b = st->blocks[b].next) {
            MUST(!used[b]++);
            n++;
        }
    }
    for (i = 0, b = st->head->free_block; b != VAPI_STATE_NIL; b = st->blocks[b].next, i++) {
        MUST(!used[b]++ && !st->blocks[b].used && (garbage || memcmp(st->blocks[b].data, zero, sizeof zero) == 0));
    }
    MUST(i == st->head->free_blocks);
    MUST(i + n == st->geometry->blocks);
}

static void check_stripe(const vapi_state_table_t *t, apr_uint32_t stripe, const vapi_stripe_t *st)
{
    char *seen = calloc(st->geometry->slots, 1);
    char *used = calloc(st->geometry->blocks, 1);
    apr_uint32_t live = 0, free_slots = 0, i;

    check_lists(st, seen);
    for (i = 0; i < st->geometry->slots; i++) {
        MUST(seen[i] == (st->slots[i].which != 0));
        if (st->slots[i].which) {
            live++;
            MUST(vapi_stripe_is_whole(st, &st->slots[i]));
            MUST(vapi_stripe_find(st, st->slots[i].digest) == i);
            MUST((st->slots[i].digest[0] & (t->geometry.stripes - 1)) == stripe);
        }
    }
    for (i = st->head->free_slot; i != VAPI_STATE_NIL; i = st->slots[i].next) {
        MUST(!seen[i]++);
        free_slots++;
    }
    MUST(live + free_slots == st->geometry->slots);
    check_blocks(st, used);
    free(seen);
    free(used);
}

/* Chains, counts and free lists repeat what is in seats and leases. */
static void check_roster(const vapi_roster_t *r)
{
    apr_uint32_t *seen = calloc(r->geometry->leases, sizeof *seen), held = 0, n = 0, i, j, chained;

    for (i = 0; i < r->geometry->seats; i++) {
        const vapi_seat_slot_t *seat = &r->seats[i];
        _Atomic apr_uint32_t hint = VAPI_STATE_NIL;
        vapi_roster_t then = *r;

        if (!seat->mark) {
            continue;
        }
        n++;
        then.now = APR_INT64_MIN;        /* nothing is over */
        MUST(vapi_roster_find(&then, seat->digest, &hint) == seat && hint == i);
        for (j = seat->first, chained = 0; j != VAPI_STATE_NIL; j = r->leases[j].next, chained++) {
            const vapi_lease_slot_t *lease = &r->leases[j];

            MUST(!seen[j]++ && lease->token && lease->token <= r->head->tokens);
            MUST(memcmp(lease->digest, seat->digest, sizeof seat->digest) == 0);
            MUST(lease->ends >= seat->soonest && lease->began <= seat->began && lease->began_before <= lease->began);
        }
        MUST(chained == seat->active && seat->presence <= VAPI_PRESENCE_BUSY);
        held += chained;
    }
    for (i = r->head->free_seat; i != VAPI_STATE_NIL; i = r->seats[i].next, n++) {
        MUST(!r->seats[i].mark && !r->seats[i].active && !r->seats[i].served);
    }
    for (i = r->head->free_lease; i != VAPI_STATE_NIL; i = r->leases[i].next, held++) {
        MUST(!seen[i]++ && !r->leases[i].token);
    }
    MUST(n == r->geometry->seats && held == r->geometry->leases);
    free(seen);
}

static int check_roster_of(const vapi_state_table_t *t)
{
    vapi_roster_t r = vapi_state_roster(t);
    int rc = pthread_mutex_lock(&r.head->mutex);

    if (rc == EOWNERDEAD) {
        r.now = vapi_clock_now();
        MUST(vapi_roster_repair(&r) == 0);
        pthread_mutex_consistent(&r.head->mutex);
    }
    check_roster(&r);
    pthread_mutex_unlock(&r.head->mutex);
    return rc == EOWNERDEAD;
}

/* @return how many stripes (and the roster) their dead owner had left locked */
static int check_all(const vapi_state_table_t *t)
{
    apr_uint32_t i;
    int repaired = check_roster_of(t);

    for (i = 0; i < t->geometry.stripes; i++) {
        vapi_stripe_t st = vapi_state_stripe(t, i);

        if (pthread_mutex_lock(&st.head->mutex) == EOWNERDEAD) {
            MUST(vapi_stripe_repair(&st, vapi_clock_now()) == 0);
            pthread_mutex_consistent(&st.head->mutex);
            repaired++;
        }
        check_stripe(t, i, &st);
        pthread_mutex_unlock(&st.head->mutex);
    }
    return repaired;
}

static void close_checked(vapi_state_table_t *t)
{
    check_all(t);
    vapi_state_table_close(t);
}

static inline int run_store_tests(const struct CMUnitTest *tests, size_t n)
{
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    if (!mkdtemp(dir)) {
        return 1;
    }
    failed = _cmocka_run_group_tests("state", tests, n, NULL, NULL);
    rmdir(dir);
    apr_terminate();
    return failed;
}

#endif
