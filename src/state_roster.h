/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  state_roster.h
 * @brief Who holds leases, as it lies in the store's memory:  head | seats | leases | buckets, all under one mutex. Private to
 *        the files state_*.c.
 *
 * What counts is in the seats and in the leases, each of which is there by one word that is written last. How many leases a seat
 * holds, chains, buckets and free lists only repeat it, and are made anew by vapi_roster_repair(): killed at any point, a process
 * leaves a lease or none. A lease names its seat by the seat's digest, so it needs nothing else to be counted.
 *
 * A seat that nobody asked anything of has no slot; it counts as idle. One whose slot holds nothing may lose it to another.
 */
#ifndef VAPI_STATE_ROSTER_H
#define VAPI_STATE_ROSTER_H

#include <string.h>

#include "state_layout.h"

/** Somebody who holds leases, or a pool that has a turn. */
typedef struct vapi_seat_slot_t {
    _Alignas(64) unsigned char digest[VAPI_STATE_DIGEST];
    apr_uint32_t mark;             /* of the digest, written last; 0: free */
    apr_uint32_t presence;
    apr_uint32_t active;           /* leases in its chain */
    apr_uint32_t first;            /* of them; NIL: none */
    apr_time_t soonest;            /* none of them ends before */
    apr_time_t rest_until;
    apr_time_t began;              /* its latest lease; 0: none ever. No two leases of a seat begin at once */
    apr_time_t ended;              /* the latest end of one that was not given back; 0: none ever */
    /* up to here one line of the cache: all that choosing reads */
    apr_uint64_t served;
    apr_uint64_t turn;             /* of a pool: the next in order, or how often it was asked */
    apr_time_t touched;            /* the latest change */
    apr_uint32_t next;             /* in its bucket, or in the free list */
} vapi_seat_slot_t;

enum { VAPI_LEASE_OCCUPIED = 1, VAPI_LEASE_RETIRED = 2 };

typedef struct vapi_lease_slot_t {
    _Alignas(64) apr_uint64_t token;    /* written last; 0: free */
    unsigned char digest[VAPI_STATE_DIGEST];
    apr_time_t began;
    apr_time_t began_before;       /* what the seat's `began` was */
    apr_time_t ends;
    apr_uint32_t flags;
    apr_uint32_t mark;             /* of what does not change: token, digest and beginning */
    apr_uint32_t next;             /* of its seat, or in the free list */
} vapi_lease_slot_t;

typedef struct vapi_roster_head_t {
    _Alignas(64) pthread_mutex_t mutex;
    apr_uint64_t tokens;           /* given so far */
    apr_uint32_t free_seat;
    apr_uint32_t free_lease;
} vapi_roster_head_t;

/** The roster as this process sees it. All functions below that take one want its mutex held. */
typedef struct vapi_roster_t {
    const vapi_geometry_t *geometry;
    vapi_roster_head_t *head;
    apr_uint32_t *buckets;
    vapi_seat_slot_t *seats;
    vapi_lease_slot_t *leases;
    apr_time_t now;
} vapi_roster_t;

/** The roster's part of the geometry, from `size`. */
void vapi_roster_geometry(vapi_geometry_t *g);

vapi_roster_t vapi_state_roster(const vapi_state_table_t *t);

/** Locks the roster, repairs it if its last user died, and reads the clock. */
apr_status_t vapi_roster_lock(const vapi_state_table_t *t, vapi_roster_t *r);
apr_status_t vapi_roster_unlock(vapi_roster_t *r, apr_status_t rv);

/** What vapi_roster_find() does where it cannot be quick. */
vapi_seat_slot_t *vapi_roster_look_up(const vapi_roster_t *r, const unsigned char *digest, _Atomic apr_uint32_t *hint);

/** vapi_roster_find() will soon be called for it: fetches the slot where it was last time. */
static inline void vapi_roster_expect(const vapi_roster_t *r, _Atomic apr_uint32_t *hint)
{
    apr_uint32_t i = atomic_load_explicit(hint, memory_order_relaxed);

    if (i < r->geometry->seats) {
        __builtin_prefetch(&r->seats[i]);
    }
}

static inline int vapi_roster_is_of(const vapi_seat_slot_t *slot, const unsigned char *digest)
{
    return slot->mark && memcmp(slot->digest, digest, VAPI_STATE_DIGEST) == 0;
}

/** The slot of a seat, without the leases that are over; NULL: it has none. *hint: where it was last time. */
static inline vapi_seat_slot_t *vapi_roster_find(const vapi_roster_t *r, const unsigned char *digest, _Atomic apr_uint32_t *hint)
{
    apr_uint32_t i = atomic_load_explicit(hint, memory_order_relaxed);

    if (i < r->geometry->seats && vapi_roster_is_of(&r->seats[i], digest) && r->seats[i].soonest > r->now) {
        return &r->seats[i];
    }
    return vapi_roster_look_up(r, digest, hint);
}

/** Its slot, made if need be, and touched. NULL: all slots hold something. May take the slot of an idle seat away. */
vapi_seat_slot_t *vapi_roster_take_seat(const vapi_roster_t *r, const unsigned char *digest, _Atomic apr_uint32_t *hint);

/** A new lease. NULL: there is no room. */
vapi_lease_slot_t *vapi_roster_take_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_interval_time_t hold);

/** The link to a lease that is neither over nor released, or NULL. */
apr_uint32_t *vapi_roster_find_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_uint64_t token);

/** Frees the lease that this link of its seat's chain names. */
void vapi_roster_end_lease(const vapi_roster_t *r, vapi_seat_slot_t *seat, apr_uint32_t *link);

/** Makes everything anew from seats and leases; drops what does not fit. @return how many were damaged */
apr_uint32_t vapi_roster_repair(const vapi_roster_t *r);

/** Makes the mutex anew and repairs. Leases of who is dead end by themselves. */
apr_status_t vapi_roster_recover(const vapi_state_table_t *t, apr_uint32_t *damaged);

/** Takes seats and leases over, times `shift` later. @return how many were damaged or had no room */
apr_uint32_t vapi_roster_carry(const vapi_state_table_t *t, const vapi_state_table_t *from, apr_int64_t shift);

#endif
