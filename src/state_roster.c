/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Seats and leases in memory: found, made, freed, repaired, carried. What is done with them is in state_lease.c. */
#include "state_roster.h"

#include <errno.h>
#include <string.h>

#include "vapi_clock.h"

#define NIL VAPI_STATE_NIL

/* A machine that stops without notice may leave the count of tokens older in the file than what was noted of them elsewhere. This many
 * are never given between two times that the system writes its memory out. */
#define UNSEEN_TOKENS (APR_UINT64_C(1) << 24)

/* The memory. */

void vapi_roster_geometry(vapi_geometry_t *g)
{
    const apr_uint64_t seat = sizeof(vapi_seat_slot_t) + VAPI_ROSTER_LEASES * sizeof(vapi_lease_slot_t);
    apr_uint64_t size = g->size / 16 & ~(apr_uint64_t)63;
    apr_uint64_t room;

    size = size < VAPI_ROSTER_MIN ? VAPI_ROSTER_MIN : size > VAPI_ROSTER_MAX ? VAPI_ROSTER_MAX : size;
    room = size - sizeof(vapi_roster_head_t);
    g->roster_size = (apr_uint32_t)size;
    g->seat_buckets = 1;
    while (g->seat_buckets <= room / seat) {
        g->seat_buckets *= 2;
    }
    room -= g->seat_buckets * sizeof(apr_uint32_t);
    g->seats = (apr_uint32_t)(room / seat);
    g->leases = g->seats * VAPI_ROSTER_LEASES;
}

vapi_roster_t vapi_state_roster(const vapi_state_table_t *t)
{
    vapi_roster_t r;

    r.geometry = &t->geometry;
    r.head = (vapi_roster_head_t *)(void *)((char *)t->mapping.base + VAPI_STATE_HEADER);
    r.seats = (vapi_seat_slot_t *)(void *)(r.head + 1);
    r.leases = (vapi_lease_slot_t *)(void *)(r.seats + t->geometry.seats);
    r.buckets = (apr_uint32_t *)(void *)(r.leases + t->geometry.leases);
    r.now = 0;
    return r;
}

apr_status_t vapi_roster_lock(const vapi_state_table_t *t, vapi_roster_t *r)
{
    int rc;

    *r = vapi_state_roster(t);
    rc = vapi_state_lock(t, &r->head->mutex);
    r->now = vapi_clock_now();
    if (rc == EOWNERDEAD) {
        vapi_roster_repair(r);
        rc = pthread_mutex_consistent(&r->head->mutex);
    }
    return rc;
}

apr_status_t vapi_roster_unlock(vapi_roster_t *r, apr_status_t rv)
{
    pthread_mutex_unlock(&r->head->mutex);
    return rv;
}

/* What shows that a slot is whole; never 0. */

static apr_uint32_t fold(apr_uint64_t seal)
{
    return (apr_uint32_t)(seal ^ seal >> 32) | 1;
}

static apr_uint32_t mark_of_seat(const vapi_seat_slot_t *seat)
{
    return fold(vapi_state_seal(3, seat->digest, sizeof seat->digest));
}

static apr_uint32_t mark_of_lease(const vapi_lease_slot_t *lease, apr_uint64_t token)
{
    const apr_size_t from = offsetof(vapi_lease_slot_t, digest), to = offsetof(vapi_lease_slot_t, began_before);

    return fold(vapi_state_seal(token, (const char *)lease + from, to - from));
}

static void mark_seat(vapi_seat_slot_t *seat, apr_uint32_t mark)
{
    VAPI_KEEP_ORDER();
    *(volatile apr_uint32_t *)&seat->mark = mark;
    VAPI_KEEP_ORDER();
}

static void mark_lease(vapi_lease_slot_t *lease, apr_uint64_t token)
{
    VAPI_KEEP_ORDER();
    *(volatile apr_uint64_t *)&lease->token = token;
    VAPI_KEEP_ORDER();
}

/* Leases. */

static apr_time_t later(apr_time_t a, apr_time_t b)
{
    return a > b ? a : b;
}

static apr_time_t earlier(apr_time_t a, apr_time_t b)
{
    return a < b ? a : b;
}

static void free_lease(const vapi_roster_t *r, apr_uint32_t i)
{
    r->leases[i].next = r->head->free_lease;
    r->head->free_lease = i;
}

/* Its token is written. */
static void chain_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_uint32_t i)
{
    vapi_lease_slot_t *lease = &r->leases[i];

    lease->next = seat->first;
    seat->first = i;
    seat->active++;
    seat->began = later(seat->began, lease->began);
    seat->soonest = earlier(seat->soonest, lease->ends);
}

void vapi_roster_end_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_uint32_t *link)
{
    apr_uint32_t i = *link;

    mark_lease(&r->leases[i], 0);
    *link = r->leases[i].next;
    free_lease(r, i);
    seat->active--;
}

static void drop_due(const vapi_roster_t *r, vapi_seat_slot_t *seat)
{
    apr_uint32_t *link = &seat->first;
    apr_time_t soonest = APR_INT64_MAX;

    while (*link != NIL) {
        const vapi_lease_slot_t *lease = &r->leases[*link];

        if (lease->ends <= r->now) {
            seat->ended = later(seat->ended, lease->ends);
            vapi_roster_end_lease(r, seat, link);
            continue;
        }
        soonest = earlier(soonest, lease->ends);
        link = &r->leases[*link].next;
    }
    seat->soonest = soonest;
}

apr_uint32_t *vapi_roster_find_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_uint64_t token)
{
    apr_uint32_t *link = &seat->first;

    while (*link != NIL && r->leases[*link].token != token) {
        link = &r->leases[*link].next;
    }
    return *link == NIL || r->leases[*link].flags & VAPI_LEASE_RETIRED ? NULL : link;
}

/* Seats. */

static apr_uint32_t *bucket_of(const vapi_roster_t *r, const unsigned char *digest)
{
    apr_uint32_t hash;

    memcpy(&hash, digest + 4, sizeof hash);
    return &r->buckets[hash & (r->geometry->seat_buckets - 1)];
}

static void enter_bucket(const vapi_roster_t *r, apr_uint32_t i)
{
    apr_uint32_t *bucket = bucket_of(r, r->seats[i].digest);

    r->seats[i].next = *bucket;
    *bucket = i;
}

static void free_seat(const vapi_roster_t *r, apr_uint32_t i)
{
    vapi_seat_slot_t *seat = &r->seats[i];

    mark_seat(seat, 0);
    memset(seat, 0, sizeof *seat);
    seat->next = r->head->free_seat;
    r->head->free_seat = i;
}

static apr_uint32_t find_seat(const vapi_roster_t *r, const unsigned char *digest)
{
    apr_uint32_t i = *bucket_of(r, digest);

    while (i != NIL && memcmp(r->seats[i].digest, digest, VAPI_STATE_DIGEST) != 0) {
        i = r->seats[i].next;
    }
    return i;
}

vapi_seat_slot_t *vapi_roster_look_up(const vapi_roster_t *r, const unsigned char *digest, _Atomic apr_uint32_t *hint)
{
    apr_uint32_t i = atomic_load_explicit(hint, memory_order_relaxed);

    if (i >= r->geometry->seats || !vapi_roster_is_of(&r->seats[i], digest)) {
        i = find_seat(r, digest);
        if (i == NIL) {
            return NULL;
        }
        atomic_store_explicit(hint, i, memory_order_relaxed);
    }
    if (r->seats[i].soonest <= r->now) {
        drop_due(r, &r->seats[i]);
    }
    return &r->seats[i];
}

static int is_idle(const vapi_roster_t *r, const vapi_seat_slot_t *seat)
{
    return !seat->active && seat->presence == VAPI_PRESENCE_AVAILABLE && seat->rest_until <= r->now;
}

static void drop_all_due(const vapi_roster_t *r)
{
    apr_uint32_t i;

    for (i = 0; i < r->geometry->seats; i++) {
        if (r->seats[i].mark && r->seats[i].soonest <= r->now) {
            drop_due(r, &r->seats[i]);
        }
    }
}

/* NIL: nobody is idle. */
static apr_uint32_t longest_untouched(const vapi_roster_t *r)
{
    apr_uint32_t i, oldest = NIL;

    for (i = 0; i < r->geometry->seats; i++) {
        const vapi_seat_slot_t *seat = &r->seats[i];

        if (seat->mark && is_idle(r, seat) && (oldest == NIL || seat->touched < r->seats[oldest].touched)) {
            oldest = i;
        }
    }
    return oldest;
}

static void evict_seat(const vapi_roster_t *r, apr_uint32_t i)
{
    apr_uint32_t *link = bucket_of(r, r->seats[i].digest);

    while (*link != i) {
        link = &r->seats[*link].next;
    }
    *link = r->seats[i].next;
    free_seat(r, i);
}

static apr_uint32_t make_seat(const vapi_roster_t *r, const unsigned char *digest)
{
    apr_uint32_t i = r->head->free_seat;
    vapi_seat_slot_t *seat;

    if (i == NIL) {
        drop_all_due(r);
        i = longest_untouched(r);
        if (i == NIL) {
            return NIL;
        }
        evict_seat(r, i);
    }
    seat = &r->seats[i];
    r->head->free_seat = seat->next;
    memcpy(seat->digest, digest, VAPI_STATE_DIGEST);
    seat->first = NIL;
    seat->soonest = APR_INT64_MAX;
    mark_seat(seat, mark_of_seat(seat));
    enter_bucket(r, i);
    return i;
}

vapi_seat_slot_t *vapi_roster_take_seat(const vapi_roster_t *r, const unsigned char *digest, _Atomic apr_uint32_t *hint)
{
    vapi_seat_slot_t *seat = vapi_roster_find(r, digest, hint);

    if (!seat) {
        apr_uint32_t i = make_seat(r, digest);

        if (i == NIL) {
            return NULL;
        }
        atomic_store_explicit(hint, i, memory_order_relaxed);
        seat = &r->seats[i];
    }
    seat->touched = r->now;
    return seat;
}

vapi_lease_slot_t *vapi_roster_take_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_interval_time_t hold)
{
    vapi_lease_slot_t *lease;
    apr_uint32_t i;

    if (r->head->free_lease == NIL) {
        drop_all_due(r);
    }
    i = r->head->free_lease;
    if (i == NIL) {
        return NULL;
    }
    lease = &r->leases[i];
    r->head->free_lease = lease->next;
    memcpy(lease->digest, seat->digest, VAPI_STATE_DIGEST);
    lease->began = r->now > seat->began ? r->now : seat->began + 1;
    lease->began_before = seat->began;
    lease->ends = vapi_state_after(r->now, hold);
    lease->flags = 0;
    lease->mark = mark_of_lease(lease, ++r->head->tokens);
    mark_lease(lease, r->head->tokens);
    chain_lease(r, seat, i);
    return lease;
}

/* Repair. */

static void empty_lists(const vapi_roster_t *r)
{
    apr_uint32_t i;

    for (i = 0; i < r->geometry->seat_buckets; i++) {
        r->buckets[i] = NIL;
    }
    r->head->free_seat = r->head->free_lease = NIL;
}

static int is_whole(const vapi_lease_slot_t *lease)
{
    return lease->token && lease->mark == mark_of_lease(lease, lease->token);
}

static int is_seat(const vapi_seat_slot_t *seat)
{
    return seat->mark == mark_of_seat(seat) && seat->presence <= VAPI_PRESENCE_BUSY;
}

/* @return whether it was damaged */
static int repair_seat(const vapi_roster_t *r, apr_uint32_t i)
{
    vapi_seat_slot_t *seat = &r->seats[i];
    apr_uint32_t mark = seat->mark;

    if (is_seat(seat) && find_seat(r, seat->digest) == NIL) {
        seat->active = 0;
        seat->first = NIL;
        seat->soonest = APR_INT64_MAX;
        seat->began = earlier(seat->began, r->now);
        seat->ended = earlier(seat->ended, r->now);
        enter_bucket(r, i);
        return 0;
    }
    free_seat(r, i);
    return mark != 0;
}

/* @return whether it was damaged, or there is no seat for it */
static int repair_lease(const vapi_roster_t *r, apr_uint32_t i)
{
    vapi_lease_slot_t *lease = &r->leases[i];
    apr_uint64_t token = lease->token;
    int whole = is_whole(lease);
    apr_uint32_t seat = whole ? find_seat(r, lease->digest) : NIL;

    if (whole && lease->ends > r->now) {
        seat = seat == NIL ? make_seat(r, lease->digest) : seat;
        if (seat != NIL) {
            lease->began_before = earlier(lease->began_before, lease->began);
            chain_lease(r, &r->seats[seat], i);
            r->head->tokens = token > r->head->tokens ? token : r->head->tokens;
            return 0;
        }
    }
    else if (seat != NIL) {
        r->seats[seat].ended = later(r->seats[seat].ended, lease->ends);
    }
    mark_lease(lease, 0);
    free_lease(r, i);
    return token && (!whole || lease->ends > r->now);
}

apr_uint32_t vapi_roster_repair(const vapi_roster_t *r)
{
    apr_uint32_t i, damaged = 0;

    empty_lists(r);
    for (i = r->geometry->seats; i-- > 0; ) {
        damaged += (apr_uint32_t)repair_seat(r, i);
    }
    for (i = r->geometry->leases; i-- > 0; ) {
        damaged += (apr_uint32_t)repair_lease(r, i);
    }
    return damaged;
}

apr_status_t vapi_roster_recover(const vapi_state_table_t *t, apr_uint32_t *damaged)
{
    vapi_roster_t r = vapi_state_roster(t);

    r.now = vapi_clock_now();
    *damaged = vapi_roster_repair(&r);
    return vapi_state_make_mutex(&r.head->mutex);
}

/* From one memory to another. */

/* 0 is "never". */
static apr_time_t shifted(apr_time_t time, apr_int64_t shift, apr_time_t now)
{
    apr_time_t there = vapi_state_shifted(time, shift, now);

    return time && !there ? 1 : time ? there : 0;
}

/* Any two times may stand in a damaged file. */
static apr_time_t shifted_end(apr_time_t end, apr_time_t from, apr_int64_t shift, apr_time_t now)
{
    apr_uint64_t span = end > from ? (apr_uint64_t)end - (apr_uint64_t)from : 0;

    span = span > APR_INT64_MAX ? APR_INT64_MAX : span;
    return vapi_state_after(vapi_state_shifted(from, shift, now), (apr_interval_time_t)span);
}

/* What of its leases is carried is there already. @return whether what it holds is lost */
static int carry_seat(const vapi_roster_t *to, const vapi_seat_slot_t *old, apr_int64_t shift)
{
    apr_time_t rest_until = shifted_end(old->rest_until, old->touched, shift, to->now);
    apr_time_t began = shifted(old->began, shift, to->now);
    apr_uint32_t i = find_seat(to, old->digest);
    vapi_seat_slot_t *seat;

    i = i == NIL ? make_seat(to, old->digest) : i;
    if (i == NIL) {
        return old->presence != VAPI_PRESENCE_AVAILABLE || rest_until > to->now;
    }
    seat = &to->seats[i];
    seat->presence = old->presence;
    seat->rest_until = rest_until;
    seat->began = seat->active ? later(seat->began, began) : began;
    seat->ended = shifted(old->ended, shift, to->now);
    seat->served = old->served;
    seat->turn = old->turn;
    seat->touched = vapi_state_shifted(old->touched, shift, to->now);
    return 0;
}

/* @return whether it is lost */
static int carry_lease(const vapi_roster_t *to, const vapi_lease_slot_t *old, apr_int64_t shift)
{
    apr_time_t ends = shifted_end(old->ends, old->began, shift, to->now);
    apr_uint32_t seat, i = to->head->free_lease;
    vapi_lease_slot_t *lease;

    if (ends <= to->now) {
        return 0;
    }
    seat = find_seat(to, old->digest);
    seat = seat == NIL ? make_seat(to, old->digest) : seat;
    if (seat == NIL || i == NIL) {
        return 1;
    }
    lease = &to->leases[i];
    to->head->free_lease = lease->next;
    *lease = *old;
    lease->began = shifted(old->began, shift, to->now);
    lease->began_before = earlier(shifted(old->began_before, shift, to->now), lease->began);
    lease->ends = ends;
    lease->mark = mark_of_lease(lease, lease->token);
    chain_lease(to, &to->seats[seat], i);
    to->head->tokens = lease->token > to->head->tokens ? lease->token : to->head->tokens;
    return 0;
}

/* What has run out since ended when it did. */
static void carry_end(const vapi_roster_t *to, const vapi_lease_slot_t *old, apr_int64_t shift)
{
    apr_time_t ends = shifted_end(old->ends, old->began, shift, to->now);
    apr_uint32_t seat = ends <= to->now && is_whole(old) ? find_seat(to, old->digest) : NIL;

    if (seat != NIL) {
        to->seats[seat].ended = later(to->seats[seat].ended, ends);
    }
}

apr_uint32_t vapi_roster_carry(const vapi_state_table_t *t, const vapi_state_table_t *from, apr_int64_t shift)
{
    vapi_roster_t to = vapi_state_roster(t);
    vapi_roster_t old = vapi_state_roster(from);
    apr_uint32_t i, lost = 0;

    to.now = vapi_clock_now();
    to.head->tokens = old.head->tokens + UNSEEN_TOKENS;
    for (i = 0; i < old.geometry->leases; i++) {
        if (old.leases[i].token) {
            lost += (apr_uint32_t)(!is_whole(&old.leases[i]) || carry_lease(&to, &old.leases[i], shift));
        }
    }
    for (i = 0; i < old.geometry->seats; i++) {
        const vapi_seat_slot_t *seat = &old.seats[i];

        if (seat->mark) {
            lost += (apr_uint32_t)(!is_seat(seat) || carry_seat(&to, seat, shift));
        }
    }
    for (i = 0; i < old.geometry->leases; i++) {
        carry_end(&to, &old.leases[i], shift);
    }
    return lost;
}
