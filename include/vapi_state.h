/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_state.h
 * @brief What all processes (and later all nodes) must agree on: which deliveries were taken on, and what was answered. Beside it
 *        a value is kept that can be had again: what a lookup gave.
 *
 * A provider (ap_register_provider, group VAPI_STATE_GROUP) keeps it. Every verb is atomic: there is no get-then-set
 * anywhere above this face. A provider never stores a key as given: it may hold a caller's number, so only a salted digest is kept.
 *
 * The life of a claim:   (none) --claim--> working --commit--> committed --settle--> settled --keep over--> (none)
 *                                            |  \--abandon--> (none)            settled --abandon--> (none)
 *  working whose owner is gone (its `work` time is over): free to be claimed again.
 *  committed whose owner is gone: what it was about to do may have been done; it counts as settled with the reply given to commit().
 *
 * Claims, counters and values of one key are different things. When room ends values go first, then settled claims, then
 * counters.
 */
#ifndef VAPI_STATE_H
#define VAPI_STATE_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <httpd.h>

#define VAPI_STATE_GROUP   "vapi-state"
#define VAPI_STATE_VERSION "1"

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
} vapi_state_provider_t;

struct vapi_state_t {
    const vapi_state_provider_t *provider;
    apr_interval_time_t keep;      /* how long settled deliveries are kept (keep=) */
};

/** Registers the shared-memory provider; from the module's register_hooks. */
void vapi_state_shm_register(apr_pool_t *p);

/** The provider that is registered under what stands before the colon in the first word of VapiState ("shm:16M", "redis://h"), or
 * NULL. */
const vapi_state_provider_t *vapi_state_provider(const char *word, apr_pool_t *p);

#endif
