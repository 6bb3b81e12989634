/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Who of a pool holds how many calls. All seats are one hash in Redis. Leases that this server gave during an outage live on in
 * its own memory: each time Redis is asked to choose it is told of them. A call that was sent by a lease of Redis has a shadow
 * there, on a seat of its own, which counts while Redis is away.
 */
#include "redis_node.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

struct vapi_seat_t {
    vapi_seat_t *local;            /* the same one in the own memory */
    vapi_seat_t *shadow;
    const char *key;
    apr_size_t key_len;
    _Atomic int capacity;          /* as a lease was last asked for; 0: never */
    _Atomic apr_uint32_t number;   /* of the salt that the digest was made with */
    char digest[VAPI_REDIS_DIGEST + 1];
};

static vapi_redis_node_t *node_of(vapi_state_t *st)
{
    return (vapi_redis_node_t *)st;
}

/* Only from within a fill function: then the salt stays what it is. */
static const char *digest_of(const vapi_redis_node_t *node, vapi_seat_t *seat)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    apr_uint32_t number = vapi_redis_salt_number(node);

    if (atomic_load(&seat->number) != number) {
        pthread_mutex_lock(&mutex);
        if (atomic_load(&seat->number) != number) {
            vapi_redis_digest(node, seat->digest, VAPI_REDIS_SEAT, seat->key, seat->key_len);
            atomic_store(&seat->number, number);
        }
        pthread_mutex_unlock(&mutex);
    }
    return seat->digest;
}

/* A copy: once the question is put together another thread may write the digest of another salt. */
static void add_seat(vapi_redis_question_t *q, vapi_seat_t *seat)
{
    vapi_redis_add_text(q, digest_of(q->node, seat), VAPI_REDIS_DIGEST);
}

apr_status_t vapi_redis_seat(vapi_state_t *st, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p)
{
    vapi_redis_node_t *node = node_of(st);
    vapi_seat_t *seat = apr_pcalloc(p, sizeof *seat);
    apr_size_t len;
    const char *shadow = vapi_redis_shadow_key(key, key_len, &len, p);
    apr_status_t rv = vapi_redis_local(node)->seat(node->local, &seat->shadow, shadow, len, p);

    seat->key = apr_pstrmemdup(p, key, key_len);
    seat->key_len = key_len;
    *out = seat;
    return rv == APR_SUCCESS ? vapi_redis_local(node)->seat(node->local, &seat->local, key, key_len, p) : rv;
}

/* ---- choosing ---- */

#define CANDIDATE_LENGTH (VAPI_REDIS_DIGEST + 48)

typedef struct choosing_t {
    const vapi_wish_t *wish;
    const vapi_seat_view_t *here;  /* what the own memory knows of each; NULL: nothing */
    apr_uint64_t token;
} choosing_t;

static void add_candidate(vapi_redis_question_t *q, const vapi_candidate_t *candidate, const vapi_seat_view_t *here)
{
    char text[CANDIDATE_LENGTH];
    int len = apr_snprintf(text, sizeof text, "%s %d %d %d %d %d", digest_of(q->node, candidate->seat), candidate->capacity,
                           candidate->weight, candidate->barred != 0, here ? here->active : 0, here && here->rest > 0);

    vapi_redis_add_text(q, text, (size_t)len);
}

static void fill_lease(vapi_redis_question_t *q, void *baton)
{
    const choosing_t *choosing = baton;
    const vapi_wish_t *wish = choosing->wish;
    int i;

    vapi_redis_ask_seats(q);
    add_seat(q, wish->pool);
    vapi_redis_add_number(q, wish->strategy);
    vapi_redis_add_number(q, wish->leave);
    vapi_redis_add_number(q, wish->preferred + 1);
    vapi_redis_add_span(q, wish->hold);
    vapi_redis_add_number(q, wish->only_look != 0);
    vapi_redis_add_hex(q, choosing->token);
    vapi_redis_add_room(q, wish->n, (size_t)wish->n * CANDIDATE_LENGTH);
    for (i = 0; i < wish->n; i++) {
        add_candidate(q, &wish->candidates[i], choosing->here ? &choosing->here[i] : NULL);
    }
}

typedef enum { LOOK_OWN, LOOK_SHADOWS } look_t;

static apr_status_t survey_here(const vapi_redis_node_t *node, vapi_seat_t *const *seats, int n, look_t at,
                                vapi_seat_view_t *views)
{
    vapi_seat_t **here = malloc(((size_t)n + 1) * sizeof(vapi_seat_t *));
    apr_status_t rv;
    int i;

    if (!here) {
        return APR_ENOMEM;
    }
    for (i = 0; i < n; i++) {
        here[i] = at == LOOK_OWN ? seats[i]->local : seats[i]->shadow;
    }
    rv = vapi_redis_local(node)->survey(node->local, here, n, views);
    free(here);
    return rv;
}

/* What the own memory knows of the candidates; NULL: it does not say. For free(). */
static vapi_seat_view_t *look_here(const vapi_redis_node_t *node, const vapi_wish_t *wish, look_t at)
{
    vapi_seat_view_t *views = malloc(((size_t)wish->n + 1) * sizeof *views);
    vapi_seat_t **seats = malloc(((size_t)wish->n + 1) * sizeof(vapi_seat_t *));
    int i, known = 0;

    if (views && seats) {
        for (i = 0; i < wish->n; i++) {
            seats[i] = wish->candidates[i].seat;
        }
        known = survey_here(node, seats, wish->n, at, views) == APR_SUCCESS;
    }
    free(seats);
    if (!known) {
        free(views);
        return NULL;
    }
    return views;
}

/* The same wish, of the own memory's seats, without the places that shadows hold. */
static apr_status_t lease_here(const vapi_redis_node_t *node, const vapi_wish_t *wish, vapi_lease_t *out)
{
    vapi_candidate_t *candidates = malloc(((size_t)wish->n + 1) * sizeof *candidates);
    vapi_seat_view_t *shadows = look_here(node, wish, LOOK_SHADOWS);
    vapi_wish_t same = *wish;
    apr_status_t rv = APR_ENOMEM;
    int i;

    if (candidates && shadows) {
        for (i = 0; i < wish->n; i++) {
            candidates[i] = wish->candidates[i];
            candidates[i].seat = wish->candidates[i].seat->local;
            candidates[i].capacity -= shadows[i].active;
        }
        same.pool = wish->pool->local;
        same.candidates = candidates;
        rv = vapi_redis_local(node)->lease(node->local, &same, out);
    }
    free(candidates);
    free(shadows);
    return rv;
}

static apr_uint64_t marked(const vapi_redis_node_t *node, apr_uint64_t token)
{
    return token ? token | node->mark << VAPI_REDIS_MARK_AT : 0;
}

/* The token in the own memory; 0: it is another server's. */
static apr_uint64_t unmarked(const vapi_redis_node_t *node, apr_uint64_t token)
{
    return token >> VAPI_REDIS_MARK_AT == node->mark ? token & (((apr_uint64_t)1 << VAPI_REDIS_MARK_AT) - 1) : 0;
}

/* Who was paused at one server and came back at another is here, too, when Redis is away; and who was paused there is not. */
static void learn_presence(const vapi_redis_node_t *node, vapi_seat_t *seat, vapi_presence here, apr_int64_t there)
{
    if (there != (apr_int64_t)here && there >= VAPI_PRESENCE_AVAILABLE && there <= VAPI_PRESENCE_BUSY) {
        vapi_redis_local(node)->present(node->local, seat->local, (vapi_presence)there);
    }
}

static void learn_presences(const vapi_redis_node_t *node, const vapi_wish_t *wish, const vapi_seat_view_t *here, const redisReply *reply)
{
    const redisReply *digits = reply->elements > 2 ? reply->element[2] : NULL;
    int i;

    if (!here || !digits || digits->type != REDIS_REPLY_STRING || digits->len != (size_t)wish->n) {
        return;
    }
    for (i = 0; i < wish->n; i++) {
        learn_presence(node, wish->candidates[i].seat, here[i].presence, digits->str[i] - '0');
    }
}

apr_status_t vapi_redis_lease(vapi_state_t *st, const vapi_wish_t *wish, vapi_lease_t *out)
{
    vapi_redis_node_t *node = node_of(st);
    vapi_seat_view_t *here = look_here(node, wish, LOOK_OWN);
    choosing_t choosing = { wish, here, vapi_redis_new_token() };
    redisReply *reply;
    apr_int64_t chosen;
    apr_status_t rv;

    memset(out, 0, sizeof *out);
    out->chosen = -1;
    rv = vapi_redis_run(node, VAPI_SCRIPT_LEASE, fill_lease, &choosing, &reply);
    if (rv == APR_SUCCESS) {
        learn_presences(node, wish, here, reply);
    }
    free(here);
    if (rv == VAPI_REDIS_AWAY) {
        rv = lease_here(node, wish, out);
        out->token = marked(node, out->token);
        return rv;
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    chosen = vapi_redis_number(reply, 0);
    out->all_paused = vapi_redis_number(reply, 1) != 0;
    freeReplyObject(reply);
    if (chosen >= 1 && chosen <= wish->n) {
        const vapi_candidate_t *candidate = &wish->candidates[chosen - 1];

        out->chosen = (int)chosen - 1;
        out->token = wish->only_look ? 0 : choosing.token;
        atomic_store(&candidate->seat->capacity, candidate->capacity);
    }
    return APR_SUCCESS;
}

/* ---- the life of a lease ---- */

typedef struct about_t {
    vapi_seat_t *seat;
    apr_uint64_t token;            /* 0: the script takes none */
    apr_interval_time_t span;
    int presence;                  /* -1: the script takes a span */
} about_t;

static void fill_seat(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_seats(q);
    add_seat(q, about->seat);
    if (about->token) {
        vapi_redis_add_hex(q, about->token);
    }
    if (about->presence < 0) {
        vapi_redis_add_span(q, about->span);
    }
    else {
        vapi_redis_add_number(q, about->presence);
    }
}

static apr_status_t ask(vapi_redis_node_t *node, vapi_script script, about_t *about)
{
    redisReply *reply;
    apr_status_t rv = vapi_redis_run(node, script, fill_seat, about, &reply);

    if (rv == APR_SUCCESS) {
        rv = vapi_redis_number(reply, 0) == VAPI_ANSWER_DONE ? APR_SUCCESS : APR_NOTFOUND;
        freeReplyObject(reply);
    }
    return rv;
}

/* That it could not be noted is no reason to send no call. */
static void cast_shadow(vapi_redis_node_t *node, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    vapi_candidate_t candidate = { seat->shadow, INT_MAX, 1, 0 };
    vapi_wish_t wish = {
        .pool = seat->shadow, .strategy = VAPI_ORDERED, .candidates = &candidate, .n = 1, .preferred = -1, .hold = span
    };
    apr_uint64_t shadow = vapi_redis_twin(node, VAPI_TWIN_SHADOW, token);
    vapi_lease_t lease;

    if (shadow && vapi_redis_local(node)->occupy(node->local, seat->shadow, shadow, span) == APR_SUCCESS) {
        vapi_redis_remember(node, VAPI_TWIN_SHADOW, token, shadow, span);
    }
    else if (vapi_redis_local(node)->lease(node->local, &wish, &lease) == APR_SUCCESS && lease.token) {
        vapi_redis_remember(node, VAPI_TWIN_SHADOW, token, lease.token, span);
    }
}

static apr_status_t end_shadow(const vapi_redis_node_t *node, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    apr_uint64_t shadow = vapi_redis_twin(node, VAPI_TWIN_SHADOW, token);

    return shadow ? vapi_redis_local(node)->release(node->local, seat->shadow, shadow, wrap_up) : APR_NOTFOUND;
}

/*
 * Redis gave the lease and went away before the call was sent: the own memory gives one in its place if by what it knows the
 * member has room. That of Redis ends with its `hold`.
 */
static apr_uint64_t take_over(vapi_redis_node_t *node, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    vapi_candidate_t candidate = { seat, atomic_load(&seat->capacity), 1, 0 };
    vapi_wish_t wish = {
        .pool = seat, .strategy = VAPI_ORDERED, .candidates = &candidate, .n = 1, .preferred = -1, .hold = span
    };
    apr_uint64_t mine = vapi_redis_twin(node, VAPI_TWIN_TAKEN, token);
    vapi_lease_t lease;

    end_shadow(node, seat, token, -1);
    if (mine || candidate.capacity < 1 || lease_here(node, &wish, &lease) != APR_SUCCESS || lease.chosen < 0) {
        return mine;
    }
    vapi_redis_remember(node, VAPI_TWIN_TAKEN, token, lease.token, span);
    return lease.token;
}

apr_status_t vapi_redis_occupy(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { seat, token, span, -1 };

    if (token & VAPI_REDIS_TOKEN_BIT) {
        apr_status_t rv = ask(node, VAPI_SCRIPT_OCCUPY, &about);

        if (rv == APR_SUCCESS) {
            cast_shadow(node, seat, token, span);
        }
        if (rv != VAPI_REDIS_AWAY) {
            return rv;
        }
        token = take_over(node, seat, token, span);
    }
    else {
        token = unmarked(node, token);
    }
    return token ? vapi_redis_local(node)->occupy(node->local, seat->local, token, span) : APR_NOTFOUND;
}

/* A lease of Redis that is released while it is away is free here at once, and there when it ends by itself. */
static apr_status_t release_redis(vapi_redis_node_t *node, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    about_t about = { seat, token, wrap_up, -1 };
    apr_status_t rv = ask(node, VAPI_SCRIPT_RELEASE, &about);
    apr_status_t shadow = end_shadow(node, seat, token, wrap_up);
    apr_uint64_t taken;

    if (rv != VAPI_REDIS_AWAY && rv != APR_NOTFOUND) {
        return rv;
    }
    taken = vapi_redis_twin(node, VAPI_TWIN_TAKEN, token);
    if (taken) {
        return vapi_redis_local(node)->release(node->local, seat->local, taken, wrap_up);
    }
    return rv == VAPI_REDIS_AWAY ? shadow : rv;
}

apr_status_t vapi_redis_release(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    vapi_redis_node_t *node = node_of(st);

    if (token & VAPI_REDIS_TOKEN_BIT) {
        return release_redis(node, seat, token, wrap_up);
    }
    token = unmarked(node, token);
    return token ? vapi_redis_local(node)->release(node->local, seat->local, token, wrap_up) : APR_NOTFOUND;
}

/* ---- what is said of somebody ---- */

apr_status_t vapi_redis_rest(vapi_state_t *st, vapi_seat_t *seat, apr_interval_time_t span)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { seat, 0, span, -1 };
    apr_status_t rv = ask(node, VAPI_SCRIPT_REST, &about);

    return rv == VAPI_REDIS_AWAY ? vapi_redis_local(node)->rest(node->local, seat->local, span) : rv;
}

/* The own memory hears of it in any case: it is asked when Redis is away. */
apr_status_t vapi_redis_present(vapi_state_t *st, vapi_seat_t *seat, vapi_presence presence)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { seat, 0, 0, (int)presence };
    apr_status_t here = vapi_redis_local(node)->present(node->local, seat->local, presence);
    apr_status_t rv = ask(node, VAPI_SCRIPT_PRESENT, &about);

    return rv == VAPI_REDIS_AWAY ? here : rv;
}

typedef struct surveying_t {
    vapi_seat_t *const *seats;
    int n;
} surveying_t;

static void fill_survey(vapi_redis_question_t *q, void *baton)
{
    const surveying_t *surveying = baton;
    int i;

    vapi_redis_ask_seats(q);
    vapi_redis_add_room(q, surveying->n, (size_t)surveying->n * VAPI_REDIS_DIGEST);
    for (i = 0; i < surveying->n; i++) {
        add_seat(q, surveying->seats[i]);
    }
}

/* While Redis is away. */
static apr_status_t add_shadows(const vapi_redis_node_t *node, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views)
{
    vapi_seat_view_t *shadows = malloc(((size_t)n + 1) * sizeof *shadows);
    apr_status_t rv = shadows ? survey_here(node, seats, n, LOOK_SHADOWS, shadows) : APR_ENOMEM;
    int i;

    for (i = 0; rv == APR_SUCCESS && i < n; i++) {
        views[i].active += shadows[i].active;
    }
    free(shadows);
    return rv;
}

/* To what the own memory knows of them; of presence Redis knows best. */
static void add_views(vapi_seat_view_t *views, int n, const redisReply *reply)
{
    int i;

    for (i = 0; i < n; i++) {
        size_t at = 1 + (size_t)4 * (size_t)i;
        apr_interval_time_t rest = vapi_redis_number(reply, at + 2);

        views[i].presence = (vapi_presence)vapi_redis_number(reply, at);
        views[i].active += (int)vapi_redis_number(reply, at + 1);
        views[i].rest = rest > views[i].rest ? rest : views[i].rest;
        views[i].served += (apr_uint64_t)vapi_redis_number(reply, at + 3);
    }
}

apr_status_t vapi_redis_survey(vapi_state_t *st, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views)
{
    vapi_redis_node_t *node = node_of(st);
    surveying_t surveying = { seats, n };
    apr_status_t rv = survey_here(node, seats, n, LOOK_OWN, views);
    redisReply *reply;
    int i;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_SURVEY, fill_survey, &surveying, &reply);
    if (rv == APR_SUCCESS) {
        for (i = 0; i < n; i++) {
            learn_presence(node, seats[i], views[i].presence, vapi_redis_number(reply, 1 + (size_t)4 * (size_t)i));
        }
        add_views(views, n, reply);
        freeReplyObject(reply);
    }
    return rv == VAPI_REDIS_AWAY ? add_shadows(node, seats, n, views) : rv;
}
