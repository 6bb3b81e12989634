/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_state.h
 * @brief What all processes and nodes must agree on: which deliveries were taken on, and what was answered; who of a pool holds how many
 *        calls; what a call was sent to. Beside it a value is kept that can be had again: what a lookup gave.
 *
 * A provider (ap_register_provider, group VAPI_STATE_GROUP) keeps it. Every verb is atomic: there is no get-then-set
 * anywhere above this face. A provider never stores a key as given: it may hold a caller's number, so only a salted digest is kept.
 * This header is all that a provider in a module of its own needs; it calls nothing of mod_vapi_transfer's.
 *
 * The life of a claim:   (none) --claim--> working --commit--> committed --settle--> settled --keep over--> (none)
 *                                            |  \--abandon--> (none)            settled --abandon--> (none)
 *  working whose owner is gone (its `work` time is over): free to be claimed again.
 *  committed whose owner is gone: what it was about to do may have been done; it counts as settled with the reply given to commit().
 *
 * Claims, counters, values and notes of one key are different things. When room ends values go first, then settled claims, then
 * counters, then notes. Leases, rests and presence are never evicted; a member without any of them may count as new.
 *
 * The life of a lease:   lease --occupy--> kept for the call --release or its end--> wrap-up --> (free)
 *                          |  \--release, or its `hold` is over--> (free)
 *  A process that dies between lease and occupy costs the member for the rest of `hold`, which is no longer than a request.
 */
#ifndef VAPI_STATE_H
#define VAPI_STATE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <httpd.h>

#define VAPI_STATE_GROUP   "vapi-state"
#define VAPI_STATE_VERSION "3"

typedef enum {
    VAPI_CLAIM_MINE = 0,    /* nobody had it: the caller works on it now, and must settle or abandon it */
    VAPI_CLAIM_BUSY,        /* somebody else works on it */
    VAPI_CLAIM_SETTLED,     /* it was answered: `reply` */
    VAPI_CLAIM_NONE         /* recall only: unknown, or its owner died before it committed to anything */
} vapi_claim_verdict;

typedef struct vapi_claim_t {
    vapi_claim_verdict verdict;
    apr_uint64_t token;            /* MINE: shows to commit, settle and abandon that the claim is still the caller's; never 0.
                                      SETTLED: shows to abandon that the claim is still the one that was seen */
    apr_uint64_t fingerprint;      /* BUSY, SETTLED: what the first claimer gave */
    const char *reply;             /* SETTLED: in the pool given, NUL-terminated; NULL otherwise */
    apr_size_t reply_len;
    apr_interval_time_t left;      /* SETTLED: until it is forgotten. BUSY: until its owner counts as gone */
    int lost;                      /* SETTLED: the owner died after commit; `reply` is the one given to commit */
} vapi_claim_t;

/** A store, opened: first member of every provider's own struct. */
typedef struct vapi_state_t vapi_state_t;

/** Somebody who holds leases (or a pool, that has a turn), as the provider knows it. Made once at the start for those of the configuration;
 * shared by all threads. */
typedef struct vapi_seat_t vapi_seat_t;

typedef enum { VAPI_LEAST_BUSY = 0, VAPI_LONGEST_IDLE, VAPI_ROUND_ROBIN, VAPI_WEIGHTED, VAPI_ORDERED } vapi_strategy;

/** What somebody outside said of a member. Only an available one is chosen. */
typedef enum { VAPI_PRESENCE_AVAILABLE = 0, VAPI_PRESENCE_PAUSED, VAPI_PRESENCE_BUSY } vapi_presence;

/** One member of a pool, where one is to be chosen. */
typedef struct vapi_candidate_t {
    vapi_seat_t *seat;
    int capacity;                  /* leases at once, 1 or more */
    int weight;                    /* WEIGHTED: its share, 1 or more */
    int barred;                    /* not to be chosen (other skills, this call was sent there before); its free capacity counts for `leave` */
} vapi_candidate_t;

typedef struct vapi_wish_t {
    vapi_seat_t *pool;             /* whose turn ROUND_ROBIN and WEIGHTED go by */
    vapi_strategy strategy;
    const vapi_candidate_t *candidates;    /* in the order of the configuration */
    int n;
    int leave;                     /* so much capacity of all candidates together must stay free afterwards */
    int preferred;                 /* taken if it can be, whatever the strategy; -1: none */
    apr_interval_time_t hold;      /* the lease ends after it unless it is occupied before */
    int only_look;                 /* says who would be chosen, and changes nothing */
} vapi_wish_t;

typedef struct vapi_lease_t {
    int chosen;                    /* of the candidates; -1: nobody */
    apr_uint64_t token;            /* of the lease, never 0; 0 where only looked or nobody */
    int all_paused;                /* nobody: whoever is not barred is paused, busy by presence or resting, none merely full */
} vapi_lease_t;

/** What a member holds now. */
typedef struct vapi_seat_view_t {
    vapi_presence presence;
    int active;                    /* leases, those in wrap-up too */
    apr_interval_time_t rest;      /* until it is chosen again after rest(); 0: it does not rest */
    apr_uint64_t served;           /* leases that were occupied, but for those that were given back */
} vapi_seat_view_t;

/** One field of what is noted under a key. */
typedef struct vapi_note_t {
    const char *field, *value;
} vapi_note_t;

/** Kinds of things under a key, for own(). */
typedef enum { VAPI_KIND_CLAIM = 'c', VAPI_KIND_COUNTER = 'n', VAPI_KIND_VALUE = 'v', VAPI_KIND_NOTES = 't' } vapi_kind;

typedef struct vapi_owned_t {
    vapi_kind kind;
    const char *key;
    apr_size_t key_len;
} vapi_owned_t;

/** Adds one to an array of them. */
static inline void vapi_owned_add(apr_array_header_t *owned, vapi_kind kind, const char *key, apr_size_t key_len)
{
    vapi_owned_t *thing = (vapi_owned_t *)apr_array_push(owned);

    thing->kind = kind;
    thing->key = key;
    thing->key_len = key_len;
}

typedef struct vapi_state_provider_t {
    const char *name;              /* as written in the directive, in logs and in `status`: "shm", "redis" */

    /**
     * Reads the words after VapiState (array of const char *, `key=value` words unquoted, first word the provider's own:
     * "shm", "shm:64M", "redis://..."). Start-up only; touches nothing outside. *config goes to open().
     * @return NULL or what is wrong, without the directive's name.
     */
    const char *(*configure)(void **config, const apr_array_header_t *words, apr_pool_t *pconf);

    /**
     * Opens the store in the parent, once a (re)start, before children are forked. `config` NULL: the defaults. Logs to `s` what
     * an administrator must know. The store is used by children as it is inherited. Cleaned up with pconf, but what it holds
     * outlives pconf.
     */
    apr_status_t (*open)(vapi_state_t **out, void *config, server_rec *s, apr_pool_t *pconf);

    /** In each new child, before requests. May be NULL. */
    apr_status_t (*child)(vapi_state_t *st, server_rec *s, apr_pool_t *pchild);

    /**
     * Takes `key` on, or says who has it.
     * @param fingerprint  of what is asked (0 if none): given back to duplicates, so that "same id, other arguments" is seen
     * @param work         how long the caller will work at most; later the claim counts as its owner's death
     * @return APR_SUCCESS and *out; APR_ENOSPC when there is no room for it (nothing expired, no value, nothing settled);
     *         other errors when the store cannot be reached
     */
    apr_status_t (*claim)(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                          apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p);

    /**
     * To be called right before what cannot be undone. From now on the claim is never free again before `keep` is over: if its
     * owner dies it counts as settled with `reply`. May be called again while the work lasts, with another reply.
     * @return APR_NOTFOUND when the claim is not the caller's any more: then nothing may be done; APR_EINVAL for a reply over 64
     *         KB; APR_ENOSPC
     */
    apr_status_t (*commit)(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token,
                           const char *reply, apr_size_t reply_len, apr_interval_time_t keep);

    /**
     * Records the answer for duplicates, for `keep` (0: forgets the claim at once). What was committed may be settled late, after
     * its `work` time.
     * @return APR_NOTFOUND when the claim is not the caller's any more; APR_EINVAL for a reply over 64 KB; APR_ENOSPC: then a
     *         committed claim stays so
     */
    apr_status_t (*settle)(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token,
                           const char *reply, apr_size_t reply_len, apr_interval_time_t keep);

    /** Looks without taking: NONE, BUSY or SETTLED. */
    apr_status_t (*recall)(vapi_state_t *st, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p);

    /**
     * Gives a claim back as if it had not been: the caller's own before it is committed, or one that was seen SETTLED, by its
     * token; with token 0 whoever's, in whatever state. APR_NOTFOUND if there is none, or another one.
     */
    apr_status_t (*abandon)(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token);

    /**
     * A counter that ends by itself: adds `delta` unless the sum would exceed `limit` (-1: no limit).
     * A new counter starts at 0 and ends `window` after its first change (restart_window: after its latest). It never goes
     * below 0. delta 0 only reads. The limit refuses only what adds.
     * @param value  the counter afterwards (unchanged when refused)
     * @return APR_SUCCESS; APR_EGENERAL when the limit refused it; APR_ENOSPC; other errors when out of reach
     */
    apr_status_t (*count)(vapi_state_t *st, const char *key, apr_size_t key_len, int delta, int limit,
                          apr_interval_time_t window, int restart_window, int *value);

    /**
     * Keeps a value that can be had again (an answer to a lookup) for `keep`; one that is there is replaced. Never makes room at
     * the cost of a claim or counter: values are the first to go when room ends, the oldest first.
     * @return APR_ENOSPC; APR_EINVAL for a value over 64 KB
     */
    apr_status_t (*put)(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t value_len,
                        apr_interval_time_t keep);

    /** The value, in `p`, NUL-terminated. @return APR_NOTFOUND if there is none (any more) */
    apr_status_t (*get)(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *value_len,
                        apr_pool_t *p);

    /**
     * Notes `value` under a field of `key` (value NULL: takes the field away), if it holds what is expected: `was` NULL: nothing, "*":
     * whatever. All of the key is kept for `keep` after its latest note. Fields and values are NUL-terminated text.
     * @return APR_SUCCESS; APR_EGENERAL when the field holds something else; APR_ENOSPC; APR_EINVAL when all fields and values of
     *         the key together would exceed 64 KB
     */
    apr_status_t (*note)(vapi_state_t *st, const char *key, apr_size_t key_len, const char *field, const char *was, const char *value,
                         apr_interval_time_t keep);

    /** All that is noted under a key: vapi_note_t, in the order of their first note; empty if there is nothing. */
    apr_status_t (*notes)(vapi_state_t *st, const char *key, apr_size_t key_len, apr_array_header_t **out, apr_pool_t *p);

    /** Remembers for `keep` that these things are kept about `owner` (a caller's number), for forget(). They need not be there yet or
     * any more. Of very many the earliest may be left out (shm: all but the latest 2,700). */
    apr_status_t (*own)(vapi_state_t *st, const char *owner, const vapi_owned_t *things, int n, apr_interval_time_t keep);

    /** Drops what is kept about an owner, but for claims that are worked on or committed: these stay owned. *dropped: how many
     * things were there. */
    apr_status_t (*forget)(vapi_state_t *st, const char *owner, int *dropped);

    /** What `key` (which names a member or a pool for good, on all nodes) is known by, in `p`. Asks nothing outside. */
    apr_status_t (*seat)(vapi_state_t *st, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p);

    /**
     * Chooses one of the candidates and gives it a lease, in one step. Free is who is available, does not rest and holds fewer leases
     * than its capacity; of these
     *   LEAST_BUSY   the lowest leases/capacity, then who is idle longest
     *   LONGEST_IDLE who holds none for the longest; where all hold some, whose latest lease began first
     *   ROUND_ROBIN  the next behind the last chosen of this pool, in order
     *   WEIGHTED     by shares of the free ones' weights, evenly spread over the pool's turns
     *   ORDERED      the first
     * Who never held a lease is idle longest; among equals the first in order is taken.
     * @return APR_SUCCESS, *out says whether somebody was chosen; APR_ENOSPC when the store has no room for the lease
     */
    apr_status_t (*lease)(vapi_state_t *st, const vapi_wish_t *wish, vapi_lease_t *out);

    /** Right before the call is sent to the member: the lease lasts for `span` from now. Its member counts as having served it.
     * @return APR_NOTFOUND when the lease is over: the place may be another's, so nothing may be sent */
    apr_status_t (*occupy)(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span);

    /**
     * Ends a lease: its place is free after `wrap_up` from now, but no later than it would have been. Negative: the call was not sent
     * there after all; as if there had been no lease.
     * @return APR_NOTFOUND when there is no such lease (any more), or it was released before
     */
    apr_status_t (*release)(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up);

    /** Not chosen for `span` from now, or for what was left if that is longer. */
    apr_status_t (*rest)(vapi_state_t *st, vapi_seat_t *seat, apr_interval_time_t span);

    /** Somebody says so. AVAILABLE ends a rest, too. */
    apr_status_t (*present)(vapi_state_t *st, vapi_seat_t *seat, vapi_presence presence);

    /** What each of these members holds now. */
    apr_status_t (*survey)(vapi_state_t *st, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views);

    /** Can the store be reached now? May be NULL: it is always there. */
    int (*is_reached)(vapi_state_t *st);

    /**
     * The store as one request sees it that has `left` (microseconds) to live, in `p`: no verb makes it wait past that, nor do all
     * together for more than a part of it; what cannot be had in the time is answered as when the store is out of reach. For all
     * threads of the request. May be NULL: nothing here waits.
     */
    vapi_state_t *(*within)(vapi_state_t *st, apr_interval_time_t left, apr_pool_t *p);
} vapi_state_provider_t;

struct vapi_state_t {
    const vapi_state_provider_t *provider;
    apr_interval_time_t keep;      /* how long settled deliveries are kept (keep=) */
    apr_interval_time_t trail;     /* how long it is known where a call was sent, if that is longer: as long as a lease may last; set by
                                      mod_vapi_transfer, as is the next */
    apr_interval_time_t owned;     /* how long anything may be kept about a caller, if that is longer than both */
};

/** `st` as one request sees it that has `left` to live: see within() above. */
static inline vapi_state_t *vapi_state_within(vapi_state_t *st, apr_interval_time_t left, apr_pool_t *p)
{
    return st->provider->within ? st->provider->within(st, left, p) : st;
}

/** Registers the shared-memory provider; from the module's register_hooks. */
void vapi_state_shm_register(apr_pool_t *p);

/** The provider that is registered under what stands before the colon in the first word of VapiState ("shm:16M", "redis://h"), or
 * NULL. */
const vapi_state_provider_t *vapi_state_provider(const char *word, apr_pool_t *p);

#endif
