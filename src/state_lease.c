/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The verbs of seats and leases. Each looks at the clock once, under the roster's lock. */
#include "state_roster.h"

#include <string.h>

struct vapi_seat_t {
    unsigned char digest[VAPI_STATE_DIGEST];
    _Atomic apr_uint32_t hint;     /* where its slot was last time */
};

#define SEATS_AT_ONCE 64

/* Those of the configuration lie side by side, since choosing reads all of a pool's. They are made before there are threads. */
static vapi_seat_t *new_seat(vapi_state_table_t *t, apr_pool_t *p)
{
    if (p != t->pool) {
        return apr_palloc(p, sizeof(vapi_seat_t));
    }
    if (!t->spare_seats) {
        t->spare_seats = SEATS_AT_ONCE;
        t->spare_seat = apr_palloc(p, SEATS_AT_ONCE * sizeof(vapi_seat_t));
    }
    t->spare_seats--;
    return t->spare_seat++;
}

apr_status_t vapi_state_table_seat(vapi_state_table_t *t, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p)
{
    vapi_seat_t *seat = new_seat(t, p);

    vapi_state_hash(t, 's', key, key_len, seat->digest);
    atomic_init(&seat->hint, VAPI_STATE_NIL);
    *out = seat;
    return APR_SUCCESS;
}

static vapi_seat_slot_t *find(const vapi_roster_t *r, vapi_seat_t *seat)
{
    return vapi_roster_find(r, seat->digest, &seat->hint);
}

static vapi_seat_slot_t *take(const vapi_roster_t *r, vapi_seat_t *seat)
{
    return vapi_roster_take_seat(r, seat->digest, &seat->hint);
}

/* Choosing. */

#define AHEAD 16                   /* so many slots are on their way from the memory at once */

/** A candidate as he stands now. */
typedef struct standing_t {
    int halted;                    /* paused, busy by presence, or resting */
    int active;
    apr_time_t since;              /* when he had his latest lease, or since when he holds none */
} standing_t;

/** What is known of the candidates looked at so far. */
typedef struct choice_t {
    const vapi_wish_t *wish;
    int chosen;                    /* -1: nobody yet */
    standing_t best;
    apr_uint64_t turn;             /* of the pool */
    apr_uint64_t weights;          /* of who is free */
    apr_int64_t room;              /* free capacity */
    int open;                      /* who is not barred */
    int halted;                    /* of these */
} choice_t;

static standing_t standing_of(const vapi_roster_t *r, const vapi_candidate_t *candidate)
{
    const vapi_seat_slot_t *slot = find(r, candidate->seat);
    standing_t s = { 0, 0, APR_INT64_MIN };
    apr_time_t since;

    if (slot) {
        s.halted = slot->presence != VAPI_PRESENCE_AVAILABLE || slot->rest_until > r->now;
        s.active = (int)slot->active;
        since = s.active || slot->began > slot->ended ? slot->began : slot->ended;
        s.since = since ? since : APR_INT64_MIN;
    }
    return s;
}

static int is_free(const standing_t *s, const vapi_candidate_t *candidate)
{
    return !s->halted && !candidate->barred && s->active < candidate->capacity;
}

static int is_idle_longer(const standing_t *a, const standing_t *b)
{
    int held = (a->active > 0) - (b->active > 0);

    return held ? held < 0 : a->since < b->since;
}

static int is_less_busy(const standing_t *a, int capacity, const standing_t *b, int others)
{
    apr_int64_t left = (apr_int64_t)a->active * others, right = (apr_int64_t)b->active * capacity;

    return left == right ? is_idle_longer(a, b) : left < right;
}

/* Is candidate `i`, who is free, to be taken rather than the one chosen so far? */
static int is_better(const choice_t *c, int i, const standing_t *s)
{
    const vapi_candidate_t *candidates = c->wish->candidates;
    int next;

    if (c->chosen == c->wish->preferred || i == c->wish->preferred) {
        return i == c->wish->preferred;
    }
    switch (c->wish->strategy) {
    case VAPI_LEAST_BUSY:
        return is_less_busy(s, candidates[i].capacity, &c->best, candidates[c->chosen].capacity);
    case VAPI_LONGEST_IDLE:
        return is_idle_longer(s, &c->best);
    case VAPI_ROUND_ROBIN:
        next = (int)(c->turn % (apr_uint64_t)c->wish->n);
        return i >= next && c->chosen < next;
    default:
        return 0;
    }
}

static void look_at(choice_t *c, const vapi_roster_t *r, int i)
{
    const vapi_candidate_t *candidate = &c->wish->candidates[i];
    standing_t s;

    if (candidate->barred && c->wish->leave <= 0) {
        return;                        /* he would count for `leave` alone */
    }
    s = standing_of(r, candidate);
    c->room += !s.halted && s.active < candidate->capacity ? candidate->capacity - s.active : 0;
    c->open += !candidate->barred;
    c->halted += !candidate->barred && s.halted;
    if (!is_free(&s, candidate)) {
        return;
    }
    c->weights += (apr_uint64_t)candidate->weight;
    if (c->chosen < 0 || is_better(c, i, &s)) {
        c->chosen = i;
        c->best = s;
    }
}

/* The golden section spreads the turns of a pool as evenly over the weights as can be, however many have been taken. */
static int weighted(const choice_t *c, const vapi_roster_t *r)
{
    apr_uint64_t share = c->turn * APR_UINT64_C(0x9E3779B97F4A7C15);
    double point = (double)(share >> 11) / (double)(APR_UINT64_C(1) << 53) * (double)c->weights;
    double reached = 0;
    int i, last = c->chosen;

    for (i = 0; i < c->wish->n; i++) {
        const vapi_candidate_t *candidate = &c->wish->candidates[i];
        standing_t s = standing_of(r, candidate);

        if (!is_free(&s, candidate)) {
            continue;
        }
        last = i;
        reached += candidate->weight;
        if (point < reached) {
            break;
        }
    }
    return last;
}

/* Slots lie anywhere in the memory: that of a later candidate is fetched while this one is looked at. */
static void expect(const vapi_roster_t *r, const vapi_wish_t *wish, int i)
{
    if (i < wish->n) {
        vapi_roster_expect(r, &wish->candidates[i].seat->hint);
    }
}

static int has_turn(const vapi_wish_t *wish)
{
    return wish->strategy == VAPI_ROUND_ROBIN || wish->strategy == VAPI_WEIGHTED;
}

static void choose(choice_t *c, const vapi_roster_t *r, const vapi_wish_t *wish)
{
    const vapi_seat_slot_t *pool = has_turn(wish) ? find(r, wish->pool) : NULL;
    int i;

    memset(c, 0, sizeof *c);
    c->wish = wish;
    c->chosen = -1;
    c->turn = pool ? pool->turn : 0;
    for (i = 0; i < wish->n; i++) {
        expect(r, wish, i + AHEAD);
        look_at(c, r, i);
    }
    if (c->chosen >= 0 && c->chosen != wish->preferred && wish->strategy == VAPI_WEIGHTED) {
        c->chosen = weighted(c, r);
    }
    if (c->room - 1 < wish->leave) {
        c->chosen = -1;
    }
}

/* Where there is no slot for a pool the turn stays; that is no reason to refuse a call. */
static void advance(const choice_t *c, const vapi_roster_t *r)
{
    vapi_seat_slot_t *pool;

    if (!has_turn(c->wish) || c->chosen == c->wish->preferred) {
        return;
    }
    pool = take(r, c->wish->pool);
    if (pool) {
        pool->turn = c->wish->strategy == VAPI_ROUND_ROBIN ? (apr_uint64_t)c->chosen + 1 : c->turn + 1;
    }
}

static apr_status_t grant(vapi_lease_t *out, const choice_t *c, const vapi_roster_t *r)
{
    vapi_seat_slot_t *slot = take(r, c->wish->candidates[c->chosen].seat);
    const vapi_lease_slot_t *lease = slot ? vapi_roster_take_lease(r, slot, c->wish->hold) : NULL;

    if (!lease) {
        return APR_ENOSPC;
    }
    out->chosen = c->chosen;
    out->token = lease->token;
    advance(c, r);
    return APR_SUCCESS;
}

apr_status_t vapi_state_table_lease(vapi_state_table_t *t, const vapi_wish_t *wish, vapi_lease_t *out)
{
    vapi_roster_t r;
    choice_t c;
    apr_status_t rv = vapi_roster_lock(t, &r);

    out->chosen = -1;
    out->token = 0;
    out->all_paused = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    choose(&c, &r, wish);
    if (c.chosen >= 0 && !wish->only_look) {
        return vapi_roster_unlock(&r, grant(out, &c, &r));
    }
    out->chosen = c.chosen;
    out->all_paused = c.chosen < 0 && c.open && c.halted == c.open;
    return vapi_roster_unlock(&r, APR_SUCCESS);
}

/* The life of a lease. */

/** A lease, the roster locked. */
typedef struct held_t {
    vapi_roster_t r;
    vapi_seat_slot_t *slot;
    apr_uint32_t *link;
    vapi_lease_slot_t *lease;
} held_t;

/* @return APR_NOTFOUND: it is over. Then, as after any error, nothing is locked */
static apr_status_t hold(const vapi_state_table_t *t, vapi_seat_t *seat, apr_uint64_t token, held_t *held)
{
    apr_status_t rv = vapi_roster_lock(t, &held->r);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    held->slot = find(&held->r, seat);
    held->link = held->slot ? vapi_roster_find_lease(&held->r, held->slot, token) : NULL;
    if (!held->link) {
        return vapi_roster_unlock(&held->r, APR_NOTFOUND);
    }
    held->slot->touched = held->r.now;
    held->lease = &held->r.leases[*held->link];
    return APR_SUCCESS;
}

static void set_end(vapi_seat_slot_t *slot, vapi_lease_slot_t *lease, apr_time_t ends)
{
    lease->ends = ends;
    slot->soonest = ends < slot->soonest ? ends : slot->soonest;
}

apr_status_t vapi_state_table_occupy(vapi_state_table_t *t, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    held_t held;
    apr_status_t rv = hold(t, seat, token, &held);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!(held.lease->flags & VAPI_LEASE_OCCUPIED)) {
        held.lease->flags |= VAPI_LEASE_OCCUPIED;
        held.slot->served++;
    }
    set_end(held.slot, held.lease, vapi_state_after(held.r.now, span));
    return vapi_roster_unlock(&held.r, APR_SUCCESS);
}

/* A process that dies in between leaves a lease that ends early, and can be released again. */
static void retire(vapi_seat_slot_t *slot, vapi_lease_slot_t *lease, apr_time_t ends)
{
    set_end(slot, lease, ends < lease->ends ? ends : lease->ends);
    VAPI_KEEP_ORDER();
    lease->flags |= VAPI_LEASE_RETIRED;
}

/* Whoever stands behind it in time stands now where it stood. Of those that were carried from another memory several may seem to have
 * begun at once. */
static void undo(const vapi_roster_t *r, vapi_seat_slot_t *slot, const vapi_lease_slot_t *lease)
{
    apr_uint32_t i;

    if (slot->began == lease->began) {
        slot->began = lease->began_before;
    }
    for (i = slot->first; i != VAPI_STATE_NIL; i = r->leases[i].next) {
        vapi_lease_slot_t *other = &r->leases[i];

        if (other == lease) {
            continue;
        }
        if (other->began_before == lease->began) {
            other->began_before = lease->began_before;
        }
        slot->began = other->began > slot->began ? other->began : slot->began;
    }
    slot->served -= lease->flags & VAPI_LEASE_OCCUPIED && slot->served;
}

apr_status_t vapi_state_table_release(vapi_state_table_t *t, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    held_t held;
    apr_status_t rv = hold(t, seat, token, &held);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (wrap_up > 0) {
        retire(held.slot, held.lease, vapi_state_after(held.r.now, wrap_up));
        return vapi_roster_unlock(&held.r, APR_SUCCESS);
    }
    if (wrap_up < 0) {
        undo(&held.r, held.slot, held.lease);
    }
    else {
        held.slot->ended = held.r.now;
    }
    vapi_roster_end_lease(&held.r, held.slot, held.link);
    return vapi_roster_unlock(&held.r, APR_SUCCESS);
}

/* What is said of somebody. */

apr_status_t vapi_state_table_rest(vapi_state_table_t *t, vapi_seat_t *seat, apr_interval_time_t span)
{
    vapi_seat_slot_t *slot;
    vapi_roster_t r;
    apr_status_t rv = vapi_roster_lock(t, &r);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    slot = take(&r, seat);
    if (slot) {
        apr_time_t until = vapi_state_after(r.now, span);

        slot->rest_until = until > slot->rest_until ? until : slot->rest_until;
    }
    return vapi_roster_unlock(&r, slot ? APR_SUCCESS : APR_ENOSPC);
}

apr_status_t vapi_state_table_present(vapi_state_table_t *t, vapi_seat_t *seat, vapi_presence presence)
{
    vapi_seat_slot_t *slot;
    vapi_roster_t r;
    apr_status_t rv = vapi_roster_lock(t, &r);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    slot = find(&r, seat);
    if (!slot && presence == VAPI_PRESENCE_AVAILABLE) {
        return vapi_roster_unlock(&r, APR_SUCCESS);
    }
    slot = take(&r, seat);
    if (slot) {
        slot->presence = presence;
        slot->rest_until = presence == VAPI_PRESENCE_AVAILABLE ? 0 : slot->rest_until;
    }
    return vapi_roster_unlock(&r, slot ? APR_SUCCESS : APR_ENOSPC);
}

apr_status_t vapi_state_table_survey(vapi_state_table_t *t, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views)
{
    vapi_roster_t r;
    apr_status_t rv = vapi_roster_lock(t, &r);
    int i;

    memset(views, 0, (apr_size_t)n * sizeof *views);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (i = 0; i < n; i++) {
        const vapi_seat_slot_t *slot = find(&r, seats[i]);

        if (slot) {
            views[i].presence = (vapi_presence)slot->presence;
            views[i].active = (int)slot->active;
            views[i].rest = slot->rest_until > r.now ? slot->rest_until - r.now : 0;
            views[i].served = slot->served;
        }
    }
    return vapi_roster_unlock(&r, APR_SUCCESS);
}
