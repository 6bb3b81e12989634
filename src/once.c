/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Claims and the gate. A key is made of the virtual host, the call and what is claimed, each with its length before it,
 * so that no two different things can make the same key. The provider keeps digests only.
 */
#include <apr_strings.h>
#include <apr_time.h>
#include <stdlib.h>
#include <string.h>

#include "vapi_clock.h"
#include "vapi_key.h"
#include "vapi_once.h"

#define FIRST_PAUSE   2000      /* microseconds between looks at another's claim; doubled up to the longest */
#define LONGEST_PAUSE 50000
#define AFTERLIFE     APR_USEC_PER_SEC   /* how long after its deadline a claim's owner counts as alive */
#define WORK_MIN      apr_time_from_sec(2)   /* who waited so long that less is left (half, if there was little) leaves a freed
                                                claim to the next retry */
#define NO_LIMIT      (-1)

static const vapi_state_provider_t *verbs(const vapi_once_t *once)
{
    return once->state->provider;
}

static const char *make_key(const vapi_once_t *once, const char *what, const char *a, const char *b, apr_size_t *len)
{
    const char *const words[] = { what, once->host, a, b };

    return vapi_key_join(words, sizeof(words) / sizeof(*words), len, once->pool);
}

static void call_key(const vapi_once_t *once, const char *what, vapi_hold_t *hold)
{
    hold->key = make_key(once, what, once->call, "", &hold->key_len);
    hold->token = 0;
}

static apr_interval_time_t work_time(const vapi_once_t *once)
{
    return vapi_clock_left(once->deadline) + AFTERLIFE;
}

/* Another has the claim: waits for its answer inside our own time. Its owner's death frees the claim, which is then claimed again. */
static int pause_for_other(const vapi_once_t *once, apr_interval_time_t *pause)
{
    apr_interval_time_t left = vapi_clock_left(once->deadline);

    if (left <= 0) {
        return 0;
    }
    apr_sleep(*pause < left ? *pause : left);
    *pause = *pause * 2 < LONGEST_PAUSE ? *pause * 2 : LONGEST_PAUSE;
    return 1;
}

/* Takes the claim, or only looks when it is too late to begin. */
static apr_status_t look(const vapi_once_t *once, const vapi_hold_t *hold, apr_uint64_t fingerprint, int may_begin,
                         vapi_claim_t *claim)
{
    return may_begin ? verbs(once)->claim(once->state, hold->key, hold->key_len, fingerprint, work_time(once), claim, once->pool)
                     : verbs(once)->recall(once->state, hold->key, hold->key_len, claim, once->pool);
}

vapi_once_verdict vapi_once_claim(const vapi_once_t *once, const char *type, const char *id, apr_uint64_t fingerprint,
                                  vapi_hold_t *hold, const char **reply, int *changed)
{
    apr_interval_time_t pause = FIRST_PAUSE, left = vapi_clock_left(once->deadline);
    apr_time_t latest = once->deadline - (left < 2 * WORK_MIN ? left / 2 : WORK_MIN);
    const char *what = apr_pstrcat(once->pool, "d|", type, NULL);
    vapi_claim_t claim;
    int waited = 0;

    *changed = 0;
    hold->key = make_key(once, what, once->call, id, &hold->key_len);
    do {
        if (look(once, hold, fingerprint, !waited || vapi_clock_left(latest) > 0, &claim) != APR_SUCCESS) {
            return VAPI_ONCE_ERROR;
        }
        hold->token = claim.token;
        if (claim.verdict == VAPI_CLAIM_MINE) {
            return VAPI_ONCE_MINE;
        }
        if (claim.verdict == VAPI_CLAIM_NONE) {
            break;
        }
        *changed = claim.fingerprint != fingerprint;
        if (claim.verdict == VAPI_CLAIM_SETTLED) {
            *reply = claim.reply;
            return VAPI_ONCE_SEEN;
        }
        waited = 1;
    } while (pause_for_other(once, &pause));
    return VAPI_ONCE_STILL_WORKING;
}

int vapi_once_commit(const vapi_once_t *once, const vapi_hold_t *hold, const char *reply_if_lost)
{
    return verbs(once)->commit(once->state, hold->key, hold->key_len, hold->token, reply_if_lost, strlen(reply_if_lost),
                               once->state->keep) == APR_SUCCESS;
}

void vapi_once_settle(const vapi_once_t *once, const vapi_hold_t *hold, const char *reply)
{
    verbs(once)->settle(once->state, hold->key, hold->key_len, hold->token, reply, strlen(reply), once->state->keep);
}

void vapi_once_release(const vapi_once_t *once, const vapi_hold_t *hold)
{
    verbs(once)->abandon(once->state, hold->key, hold->key_len, hold->token);
}

/* ---- the gate ---- */

void vapi_gate_enter(const vapi_once_t *once, apr_interval_time_t settle, vapi_gate_t *gate)
{
    vapi_claim_t claim;

    memset(gate, 0, sizeof(*gate));
    call_key(once, "gate", &gate->hold);
    if (verbs(once)->claim(once->state, gate->hold.key, gate->hold.key_len, 0, work_time(once), &claim, once->pool) != APR_SUCCESS) {
        gate->verdict = VAPI_GATE_ERROR;
        return;
    }
    gate->hold.token = claim.token;
    gate->verdict = claim.verdict == VAPI_CLAIM_MINE ? VAPI_GATE_OPEN : VAPI_GATE_MOVING;
    gate->left = claim.verdict == VAPI_CLAIM_SETTLED || claim.left > settle ? claim.left : settle;
}

int vapi_gate_is_shut(const vapi_once_t *once, apr_interval_time_t *left)
{
    vapi_hold_t hold;
    vapi_claim_t claim;

    call_key(once, "gate", &hold);
    if (verbs(once)->recall(once->state, hold.key, hold.key_len, &claim, once->pool) != APR_SUCCESS
        || claim.verdict == VAPI_CLAIM_NONE) {
        return 0;
    }
    *left = claim.left;
    return 1;
}

int vapi_gate_commit(const vapi_once_t *once, const vapi_gate_t *gate, apr_interval_time_t settle, int transfers)
{
    const char *known = apr_itoa(once->pool, transfers);
    apr_interval_time_t shut = vapi_clock_left(once->deadline) + settle + AFTERLIFE;

    return verbs(once)->commit(once->state, gate->hold.key, gate->hold.key_len, gate->hold.token, known, strlen(known), shut)
           == APR_SUCCESS;
}

/* By the token in any case: a gate that has run out, committed or not, may be another's by now. */
void vapi_gate_leave(const vapi_once_t *once, const vapi_gate_t *gate, int moved, apr_interval_time_t settle, int transfers)
{
    const char *known = apr_itoa(once->pool, transfers);

    verbs(once)->settle(once->state, gate->hold.key, gate->hold.key_len, gate->hold.token, known, strlen(known), moved ? settle : 0);
}

void vapi_gate_came_back(const vapi_once_t *once, int transfers)
{
    vapi_hold_t hold;
    vapi_claim_t claim;

    call_key(once, "gate", &hold);
    if (verbs(once)->recall(once->state, hold.key, hold.key_len, &claim, once->pool) == APR_SUCCESS
        && claim.verdict == VAPI_CLAIM_SETTLED && claim.reply && transfers > atoi(claim.reply)) {
        /* another message may have opened it since, and a request shut it again */
        verbs(once)->abandon(once->state, hold.key, hold.key_len, claim.token);
    }
}

/* ---- what is kept ---- */

void vapi_once_owned(const vapi_once_t *once, const char *caller, apr_array_header_t *owned)
{
    static const struct {
        vapi_kind kind;
        const char *what;
    } kept[] = { { VAPI_KIND_CLAIM, "gate" }, { VAPI_KIND_COUNTER, "attempts" }, { VAPI_KIND_COUNTER, "transfers" } };
    vapi_hold_t hold;
    apr_size_t i;

    for (i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        call_key(once, kept[i].what, &hold);
        vapi_owned_add(owned, kept[i].kind, hold.key, hold.key_len);
    }
    hold.key = make_key(once, "caller", caller, "", &hold.key_len);
    vapi_owned_add(owned, VAPI_KIND_COUNTER, hold.key, hold.key_len);
}

const char *vapi_once_owner(const char *host, const char *caller, apr_pool_t *p)
{
    return apr_pstrcat(p, host, "\n", caller, NULL);
}

/* ---- counters ---- */

/* Adds to a counter of this call that ends `keep` after its latest change. */
static apr_status_t count_call(const vapi_once_t *once, const char *what, int delta, int limit, int *value)
{
    vapi_hold_t hold;

    call_key(once, what, &hold);
    return verbs(once)->count(once->state, hold.key, hold.key_len, delta, limit, once->state->keep, 1, value);
}

int vapi_once_begin_attempt(const vapi_once_t *once)
{
    int value = 1;

    count_call(once, "attempts", 1, NO_LIMIT, &value);
    return value - 1;
}

void vapi_once_drop_attempt(const vapi_once_t *once)
{
    int value;

    count_call(once, "attempts", -1, NO_LIMIT, &value);
}

static apr_status_t count_caller(const vapi_once_t *once, const char *caller, int delta, int limit, apr_interval_time_t window,
                                 int *value)
{
    apr_size_t len;
    const char *key = make_key(once, "caller", caller, "", &len);

    return verbs(once)->count(once->state, key, len, delta, limit, window, 0, value);
}

int vapi_once_count_transfer(const vapi_once_t *once, int call_limit, const char *caller, int caller_limit,
                             apr_interval_time_t caller_window)
{
    apr_status_t rv;
    int value;

    rv = count_call(once, "transfers", 1, call_limit, &value);
    if (rv == APR_SUCCESS && caller_limit && *caller
        && (rv = count_caller(once, caller, 1, caller_limit, caller_window, &value)) != APR_SUCCESS) {
        count_call(once, "transfers", -1, NO_LIMIT, &value);
    }
    return rv == APR_SUCCESS ? 1 : rv == APR_EGENERAL ? 0 : -1;
}

void vapi_once_uncount_transfer(const vapi_once_t *once, const char *caller, int caller_limit, apr_interval_time_t caller_window)
{
    int value;

    count_call(once, "transfers", -1, NO_LIMIT, &value);
    if (caller_limit && *caller) {
        count_caller(once, caller, -1, NO_LIMIT, caller_window, &value);
    }
}
