/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_once.h
 * @brief At most one transfer for what the model asked once: claims of deliveries, the gate of a call, its counters. Over any
 *        state provider; knows no httpd request.
 */
#ifndef VAPI_ONCE_H
#define VAPI_ONCE_H

#include "vapi_state.h"

/** What all verbs here need: the store, whose calls (the virtual host) and which call, and until when the request may wait. */
typedef struct vapi_once_t {
    vapi_state_t *state;
    const char *host;
    const char *call;
    apr_time_t deadline;
    apr_pool_t *pool;
} vapi_once_t;

/** One claimed delivery (or tool call of one). */
typedef struct vapi_hold_t {
    const char *key;
    apr_size_t key_len;
    apr_uint64_t token;
} vapi_hold_t;

typedef enum {
    VAPI_ONCE_MINE = 0,        /* do it; end with vapi_once_settle or vapi_once_release */
    VAPI_ONCE_SEEN,            /* done before: *reply */
    VAPI_ONCE_STILL_WORKING,   /* another works on it, and our time is over */
    VAPI_ONCE_ERROR            /* the store cannot say: nothing may be done */
} vapi_once_verdict;

/**
 * Claims what `type` and `id` name, or waits, inside the deadline, for the answer of whoever has it.
 * @param fingerprint  of what is asked; *changed is set when the first one asked otherwise
 */
vapi_once_verdict vapi_once_claim(const vapi_once_t *once, const char *type, const char *id, apr_uint64_t fingerprint,
                                  vapi_hold_t *hold, const char **reply, int *changed);

/** Right before the transfer is sent. If this process dies from here on, duplicates get `reply_if_lost`. @return 0: the claim was
 * lost, send nothing */
int vapi_once_commit(const vapi_once_t *once, const vapi_hold_t *hold, const char *reply_if_lost);

void vapi_once_settle(const vapi_once_t *once, const vapi_hold_t *hold, const char *reply);
void vapi_once_release(const vapi_once_t *once, const vapi_hold_t *hold);

/** The gate of a call: one transfer at a time, and none within `settle` after one that was, or may have been, accepted. */
typedef enum { VAPI_GATE_OPEN = 0, VAPI_GATE_MOVING, VAPI_GATE_ERROR } vapi_gate_verdict;

typedef struct vapi_gate_t {
    vapi_gate_verdict verdict;
    vapi_hold_t hold;              /* OPEN */
    apr_interval_time_t left;      /* MOVING: until it may be asked again */
} vapi_gate_t;

/** Takes the gate, or says how long it stays shut. */
void vapi_gate_enter(const vapi_once_t *once, apr_interval_time_t settle, vapi_gate_t *gate);

/** Looks without taking: 1 when the call is being moved; *left until it may be asked again. */
int vapi_gate_is_shut(const vapi_once_t *once, apr_interval_time_t *left);

/**
 * Before the transfer is sent: from now on shut for `settle`, whatever becomes of this process. `transfers`: how many transfers
 * artifact.transfers shows now; kept with the gate, to tell later failures from earlier ones. @return 0: the gate was lost, send
 * nothing
 */
int vapi_gate_commit(const vapi_once_t *once, const vapi_gate_t *gate, apr_interval_time_t settle, int transfers);
/** After it: accepted or unknown keeps it shut for `settle` from now; anything else opens it. */
void vapi_gate_leave(const vapi_once_t *once, const vapi_gate_t *gate, int moved, apr_interval_time_t settle, int transfers);

/** A message shows `transfers` transfers of which the last failed: opens a gate that was shut before that one. */
void vapi_gate_came_back(const vapi_once_t *once, int transfers);

/** What is kept about a call, and its caller, by the verbs above and below but for claims: pushed to `owned` (vapi_owned_t). */
void vapi_once_owned(const vapi_once_t *once, const char *caller, apr_array_header_t *owned);

/** A caller of a virtual host, as the store's own() and forget() know him. */
const char *vapi_once_owner(const char *host, const char *caller, apr_pool_t *p);

/** Counts this tool call as decided. @return how many of this call were before */
int vapi_once_begin_attempt(const vapi_once_t *once);
/** Takes that back: it was not decided after all. */
void vapi_once_drop_attempt(const vapi_once_t *once);

/** Counts a transfer of this call and, with caller_limit > 0, of this caller. @return 1 counted, 0 a limit is reached (nothing
 * counted), -1 the store cannot say */
int vapi_once_count_transfer(const vapi_once_t *once, int call_limit, const char *caller, int caller_limit,
                             apr_interval_time_t caller_window);
/** Takes such a count back: it was not transferred. */
void vapi_once_uncount_transfer(const vapi_once_t *once, const char *caller, int caller_limit, apr_interval_time_t caller_window);

#endif
