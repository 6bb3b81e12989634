/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Pools for one call: who takes it. Who may not is struck out here, by tables made at the start; who of the others does is for the store to
 * say, in one step with the lease.
 */
#include <stddef.h>

#include <apr_strings.h>
#include <string.h>

#include "pool.h"
#include "vapi_clock.h"
#include "vapi_given.h"
#include "vapi_key.h"
#include "vapi_trail.h"

#define AFTERLIFE APR_USEC_PER_SEC    /* how long after its deadline a request may still be about to send the call */

/* ---- who may not ---- */

static void bar_unreachable(const vapi_pool_t *pool, vapi_form form, const vapi_question_t *q, vapi_candidate_t *candidates)
{
    int i, n = pool->lines->nelts, unfit = vapi_destination_is_telephone(q) ? 0 : REACH_PHONE;

    for (i = 0; i < n; i++) {
        candidates[i].barred = !(pool->reach[i] & REACH_FORM(form)) || (pool->reach[i] & unfit);
    }
}

static void bar_unskilled(const vapi_pool_t *pool, const vapi_skills_t *skills, vapi_candidate_t *candidates)
{
    int i, j, n = pool->lines->nelts;

    for (i = 0; skills && i < skills->all->nelts; i++) {
        const skill_t *skill = &APR_ARRAY_IDX(skills->all, i, skill_t);
        const unsigned short *levels = apr_hash_get(pool->skills, skill->name, APR_HASH_KEY_STRING);

        for (j = 0; j < n; j++) {
            candidates[j].barred |= !levels || levels[j] < skill->level;
        }
    }
}

static void bar_members(const vapi_pool_t *pool, const apr_array_header_t *members, vapi_candidate_t *candidates)
{
    int i;

    for (i = 0; members && i < members->nelts; i++) {
        const vapi_member_t *member = APR_ARRAY_IDX(members, i, const vapi_member_t *);
        const vapi_member_line_t *line = apr_hash_get(pool->by_name, member->name, APR_HASH_KEY_STRING);

        if (line && line->member == member) {
            candidates[line->index].barred = 1;
        }
    }
}

static void bar_sent_to(const vapi_pool_t *pool, const apr_array_header_t *legs, vapi_candidate_t *candidates)
{
    int i;

    for (i = 0; legs && i < legs->nelts; i++) {
        const vapi_leg_t *leg = APR_ARRAY_IDX(legs, i, const vapi_leg_t *);
        const vapi_member_line_t *line = apr_hash_get(pool->by_name, leg->member, APR_HASH_KEY_STRING);

        if (line && strcmp(line->member->home, leg->home) == 0) {
            candidates[line->index].barred = 1;
        }
    }
}

/* The first who is not barred; -1: all are. */
static int first_open(const vapi_candidate_t *candidates, int n)
{
    int i;

    for (i = 0; i < n && candidates[i].barred; i++) {
    }
    return i < n ? i : -1;
}

/* ---- who does ---- */

/* The name of whom this caller had last; "" if nobody is known. */
static const char *last_member(const vapi_pool_t *pool, const vapi_desk_t *desk)
{
    apr_size_t key_len, len;
    const char *key, *name;

    if (!pool->sticky || !*desk->caller) {
        return "";
    }
    key = vapi_pool_sticky_key(desk->host, pool, desk->caller, &key_len, desk->pool);
    return desk->state->provider->get(desk->state, key, key_len, &name, &len, desk->pool) == APR_SUCCESS ? name : "";
}

/* Whom this caller had last; -1: nobody, or he may not. */
static int preferred(const vapi_pool_t *pool, const vapi_desk_t *desk, const vapi_candidate_t *candidates)
{
    const vapi_member_line_t *line = apr_hash_get(pool->by_name, last_member(pool, desk), APR_HASH_KEY_STRING);

    return line && !candidates[line->index].barred ? line->index : -1;
}

/* Asks the store. NULL and *lease, or the word why nobody is chosen. */
static const char *ask_store(const vapi_pool_t *pool, const vapi_desk_t *desk, const vapi_candidate_t *candidates, int leave,
                             vapi_lease_t *lease)
{
    vapi_wish_t wish = { 0 };

    wish.pool = pool->seat;
    wish.strategy = pool->strategy;
    wish.candidates = candidates;
    wish.n = pool->lines->nelts;
    wish.leave = leave;
    wish.preferred = preferred(pool, desk, candidates);
    wish.hold = vapi_clock_left(desk->deadline) + AFTERLIFE;
    wish.only_look = desk->only_look;
    if (desk->state->provider->lease(desk->state, &wish, lease) != APR_SUCCESS) {
        return "busy";
    }
    return lease->chosen >= 0 ? NULL : lease->all_paused ? "paused" : "busy";
}

/* Without a store everybody is free, but for what is given. */
static const char *pretend(const vapi_candidate_t *candidates, int n, int free_capacity, int leave, vapi_lease_t *lease)
{
    if (free_capacity - leave < 1) {
        return "busy";
    }
    lease->chosen = first_open(candidates, n);
    return NULL;
}

static const int *given_of(const vapi_pool_t *pool, const vapi_question_t *q)
{
    return q->given ? apr_hash_get(q->given->pools, pool->name, APR_HASH_KEY_STRING) : NULL;
}

static void fill(const vapi_pool_t *pool, const vapi_lease_t *lease, vapi_taken_t *out)
{
    const vapi_member_line_t *line = vapi_pool_line(pool, lease->chosen);

    out->pool = pool;
    out->member = line->member;
    out->label = line->label;
    out->plan = line->plan;
    out->say = line->say;
    out->token = lease->token;
}

const char *vapi_pool_take(const vapi_pool_t *pool, const vapi_skills_t *skills, int leave, vapi_form form,
                           const apr_array_header_t *barred, vapi_question_t *q, vapi_taken_t *out)
{
    int n = pool->lines->nelts;
    const vapi_desk_t *desk = pool->candidates ? q->desk : NULL;
    const int *given = given_of(pool, q);
    vapi_candidate_t *candidates;
    vapi_lease_t lease = { -1, 0, 0 };
    const char *why;

    memset(out, 0, sizeof(*out));
    candidates = desk ? apr_pmemdup(q->pool, pool->candidates, (apr_size_t)n * sizeof(*candidates))
                      : apr_pcalloc(q->pool, (apr_size_t)n * sizeof(*candidates));
    bar_unreachable(pool, form, q, candidates);
    bar_unskilled(pool, skills, candidates);
    bar_members(pool, barred, candidates);
    if (first_open(candidates, n) < 0) {
        return "no-match";
    }
    bar_sent_to(pool, desk ? desk->sent_to : NULL, candidates);
    if (first_open(candidates, n) < 0) {
        return "busy";
    }
    why = desk && !given ? ask_store(pool, desk, candidates, leave, &lease)
                         : pretend(candidates, n, given ? *given : pool->capacity, leave, &lease);
    if (!why) {
        fill(pool, &lease, out);
    }
    return why;
}

/* ---- what becomes of the lease ---- */

int vapi_pool_occupy(const vapi_desk_t *desk, const vapi_taken_t *taken)
{
    if (!taken->token) {
        return 1;
    }
    return desk->state->provider->occupy(desk->state, taken->member->seat, taken->token, taken->pool->lease + taken->pool->wrap_up)
           == APR_SUCCESS;
}

void vapi_pool_give_back(const vapi_desk_t *desk, const vapi_taken_t *taken)
{
    if (taken->token) {
        desk->state->provider->release(desk->state, taken->member->seat, taken->token, -1);
    }
}

/* ---- who is preferred ---- */

const char *vapi_pool_sticky_key(const char *host, const vapi_pool_t *pool, const char *caller, apr_size_t *len, apr_pool_t *p)
{
    const char *const words[] = { "sticky", host, pool->name, caller };

    return vapi_key_join(words, sizeof(words) / sizeof(*words), len, p);
}

/* name "": nobody is. */
static void prefer(const vapi_desk_t *desk, const vapi_pool_t *pool, const char *name)
{
    apr_size_t len;
    const char *key;

    if (pool->sticky && *desk->caller && !desk->only_look) {
        key = vapi_pool_sticky_key(desk->host, pool, desk->caller, &len, desk->pool);
        desk->state->provider->put(desk->state, key, len, name, strlen(name), pool->sticky);
    }
}

void vapi_pool_remember(const vapi_desk_t *desk, const vapi_taken_t *taken)
{
    prefer(desk, taken->pool, taken->member->name);
}

/* A later call of his may have reached somebody else by now. */
void vapi_pool_unlearn(const vapi_desk_t *desk, const vapi_pool_t *pool, const char *member)
{
    if (strcmp(last_member(pool, desk), member) == 0) {
        prefer(desk, pool, "");
    }
}

/* ---- counts ---- */

/** What the store says of a pool, once a question. */
typedef struct counts_t {
    int free, busy;
} counts_t;

static void survey(const vapi_pool_t *pool, const vapi_desk_t *desk, counts_t *counts)
{
    int i, left, n = pool->lines->nelts;
    vapi_seat_view_t *views = apr_pcalloc(desk->pool, (apr_size_t)n * sizeof(*views));

    if (desk->state->provider->survey(desk->state, pool->seats, n, views) != APR_SUCCESS) {
        return;    /* where the store cannot say, it leases nobody either */
    }
    for (i = 0; i < n; i++) {
        left = pool->candidates[i].capacity - views[i].active;
        counts->busy += views[i].active;
        counts->free += views[i].presence == VAPI_PRESENCE_AVAILABLE && !views[i].rest && left > 0 ? left : 0;
    }
}

static const counts_t *count(const vapi_pool_t *pool, vapi_question_t *q)
{
    const counts_t *known = vapi_question_answer(q, pool);
    const int *given = given_of(pool, q);
    counts_t *counts;

    if (known) {
        return known;
    }
    counts = apr_pcalloc(q->pool, sizeof(*counts));
    if (given || !q->desk || !pool->candidates) {
        counts->free = given ? *given : pool->capacity;
        counts->busy = counts->free < pool->capacity ? pool->capacity - counts->free : 0;
    }
    else {
        survey(pool, q->desk, counts);
    }
    vapi_question_keep(q, pool, counts);
    return counts;
}

const char *vapi_pool_count(const vapi_pool_t *pool, const char *what, vapi_question_t *q)
{
    if (strcmp(what, "members") == 0) {
        return apr_itoa(q->pool, pool->lines->nelts);
    }
    if (strcmp(what, "free") == 0) {
        return apr_itoa(q->pool, count(pool, q)->free);
    }
    return strcmp(what, "busy") == 0 ? apr_itoa(q->pool, count(pool, q)->busy) : "";
}
