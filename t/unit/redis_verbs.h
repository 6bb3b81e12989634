/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The verbs in short, of a store known by its face, and a pool of three. */
#ifndef REDIS_VERBS_H
#define REDIS_VERBS_H

#include "redis_store.h"

static vapi_state_t *st;
static const char *prefix;

#define VERB(name, ...) st->provider->name(st, __VA_ARGS__)

/* ---- verbs in short ---- */

static inline vapi_claim_t claim_of(vapi_state_t *at, const char *key, apr_interval_time_t work)
{
    vapi_claim_t c;

    assert_int_equal(at->provider->claim(at, key, strlen(key), 7, work, &c, pool), APR_SUCCESS);
    return c;
}

static inline vapi_claim_t claim(const char *key, apr_interval_time_t work)
{
    return claim_of(st, key, work);
}

static inline apr_uint64_t take(const char *key, apr_interval_time_t work)
{
    vapi_claim_t c = claim(key, work);

    assert_int_equal(c.verdict, VAPI_CLAIM_MINE);
    assert_true(c.token != 0);
    return c.token;
}

static inline vapi_claim_t recall(const char *key)
{
    vapi_claim_t c;

    assert_int_equal(VERB(recall, key, strlen(key), &c, pool), APR_SUCCESS);
    return c;
}

static inline apr_status_t commit(const char *key, apr_uint64_t token, const char *reply, apr_interval_time_t keep)
{
    return VERB(commit, key, strlen(key), token, reply, strlen(reply), keep);
}

static inline apr_status_t settle(const char *key, apr_uint64_t token, const char *reply, apr_interval_time_t keep)
{
    return VERB(settle, key, strlen(key), token, reply, strlen(reply), keep);
}

static inline apr_status_t abandon(const char *key, apr_uint64_t token)
{
    return VERB(abandon, key, strlen(key), token);
}

static inline apr_status_t count(const char *key, int delta, int limit, apr_interval_time_t window, int restart, int *value)
{
    return VERB(count, key, strlen(key), delta, limit, window, restart, value);
}

static inline int value_of(const char *key)
{
    int value;

    assert_int_equal(count(key, 0, -1, SEC, 0, &value), APR_SUCCESS);
    return value;
}

static inline const char *get(const char *key)
{
    const char *value;
    apr_size_t len;
    apr_status_t rv = VERB(get, key, strlen(key), &value, &len, pool);

    assert_int_equal(rv, value ? APR_SUCCESS : APR_NOTFOUND);
    assert_int_equal(len, value ? strlen(value) : 0);
    return value;
}

static inline apr_status_t put(const char *key, const char *value, apr_interval_time_t keep)
{
    return VERB(put, key, strlen(key), value, strlen(value), keep);
}

static inline apr_status_t note(const char *key, const char *field, const char *was, const char *value)
{
    return VERB(note, key, strlen(key), field, was, value, 60 * SEC);
}

/* "field=value field=value" */
static inline const char *notes(const char *key)
{
    apr_array_header_t *all;
    const char *text = "";
    int i;

    assert_int_equal(VERB(notes, key, strlen(key), &all, pool), APR_SUCCESS);
    for (i = 0; i < all->nelts; i++) {
        const vapi_note_t *n = &APR_ARRAY_IDX(all, i, vapi_note_t);

        text = apr_pstrcat(pool, text, i ? " " : "", n->field, "=", n->value, NULL);
    }
    return text;
}

static inline vapi_seat_t *seat(const char *key)
{
    vapi_seat_t *out;

    assert_int_equal(VERB(seat, &out, key, strlen(key), pool), APR_SUCCESS);
    return out;
}

static inline vapi_seat_view_t view(vapi_seat_t *of)
{
    vapi_seat_view_t v;

    assert_int_equal(VERB(survey, &of, 1, &v), APR_SUCCESS);
    return v;
}

/* Three members of one pool. */
static vapi_candidate_t crew[3];
static vapi_wish_t wish;

static inline void make_crew(vapi_strategy strategy)
{
    static const char *const names[] = { "alice", "bob", "carol" };
    int i;

    memset(&wish, 0, sizeof wish);
    for (i = 0; i < 3; i++) {
        crew[i] = (vapi_candidate_t){ seat(names[i]), 1, 1, 0 };
    }
    wish.pool = seat("pool");
    wish.strategy = strategy;
    wish.candidates = crew;
    wish.n = 3;
    wish.preferred = -1;
    wish.hold = 60 * SEC;
}

static inline vapi_lease_t lease(void)
{
    vapi_lease_t out;

    assert_int_equal(VERB(lease, &wish, &out), APR_SUCCESS);
    assert_int_equal(out.token != 0, out.chosen >= 0 && !wish.only_look);
    return out;
}

/* Whom the next n leases go to. */
static inline const char *sequence(int n)
{
    char *text = apr_pcalloc(pool, (apr_size_t)n + 1);
    int i;

    for (i = 0; i < n; i++) {
        int chosen = lease().chosen;

        text[i] = chosen < 0 ? '-' : (char)('a' + chosen);
    }
    return text;
}

/* ---- setting up ---- */

static inline int set_up(void **unused)
{
    static int number;

    (void)unused;
    apr_pool_create(&pool, NULL);
    prefix = apr_psprintf(pool, "test%d", ++number);
    log_text[0] = '\0';
    return 0;
}

static inline int set_up_redis(void **unused)
{
    set_up(unused);
    if (!redis_pid) {
        start_redis();
    }
    kill(redis_pid, SIGCONT);
    st = open_redis(prefix);
    return 0;
}

static inline int tear_down(void **unused)
{
    char *line, *rest = log_text;

    (void)unused;
    while ((line = strtok_r(rest, "\n", &rest)) != NULL) {
        print_message("# %s\n", line);
    }
    apr_pool_destroy(pool);
    return 0;
}

#endif
