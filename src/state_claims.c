/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Claims, counters and values: one entry of one stripe each. */
#include "state_layout.h"

#include <limits.h>
#include <string.h>

/* BUSY or SETTLED, from the entry that is there. */
static void tell(const vapi_state_place_t *place, vapi_claim_t *out, apr_pool_t *p)
{
    const vapi_version_t *entry = vapi_state_entry(place);

    out->fingerprint = entry->fingerprint;
    out->lost = vapi_state_is_owner_gone(entry, place->now);
    if (entry->state != VAPI_ENTRY_SETTLED && !out->lost) {
        out->verdict = VAPI_CLAIM_BUSY;
        out->left = entry->work_until - place->now;
        return;
    }
    out->token = entry->token;
    out->verdict = VAPI_CLAIM_SETTLED;
    out->reply = vapi_state_copy_reply(place, p);
    out->reply_len = entry->reply_len;
    out->left = entry->expires - place->now;
}

/* Never 0, and no other claim of this stripe had it. */
static apr_uint64_t new_token(const vapi_state_table_t *t, const vapi_state_place_t *place)
{
    return ++place->st.head->tokens * t->geometry.stripes + place->stripe;
}

/* The verbs. */

apr_status_t vapi_state_table_claim(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                                    apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p)
{
    vapi_version_t next = { 0 };
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_CLAIM, key, key_len, &place);

    memset(out, 0, sizeof *out);
    out->verdict = VAPI_CLAIM_NONE;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    vapi_state_note_wall(t, place.now);
    if (place.slot != VAPI_STATE_NIL) {
        tell(&place, out, p);
        return vapi_state_leave(&place, APR_SUCCESS);
    }
    next.state = VAPI_ENTRY_WORKING;
    next.token = new_token(t, &place);
    next.fingerprint = fingerprint;
    next.since = place.now;
    next.work_until = next.expires = vapi_state_after(place.now, work);
    rv = vapi_state_write(&place, &next, NULL);
    if (rv == APR_SUCCESS) {
        out->verdict = VAPI_CLAIM_MINE;
        out->token = next.token;
        out->fingerprint = fingerprint;
    }
    return vapi_state_leave(&place, rv);
}

static int is_callers(const vapi_version_t *entry, apr_uint64_t token)
{
    return entry && token && entry->token == token && entry->state != VAPI_ENTRY_SETTLED;
}

/* To a claim that is the caller's, with a reply that fits. Nothing is locked after an error. */
static apr_status_t enter_as_owner(const vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token,
                                   apr_size_t reply_len, vapi_state_place_t *place)
{
    apr_status_t rv = reply_len > VAPI_STATE_REPLY_MAX ? APR_EINVAL : vapi_state_enter(t, VAPI_KIND_CLAIM, key, key_len, place);

    if (rv == APR_SUCCESS && !is_callers(vapi_state_entry(place), token)) {
        return vapi_state_leave(place, APR_NOTFOUND);
    }
    return rv;
}

apr_status_t vapi_state_table_commit(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token,
                                     const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    vapi_version_t next;
    vapi_state_place_t place;
    apr_status_t rv = enter_as_owner(t, key, key_len, token, reply_len, &place);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (vapi_state_is_owner_gone(vapi_state_entry(&place), place.now)) {
        return vapi_state_leave(&place, APR_NOTFOUND);
    }
    next = *vapi_state_entry(&place);
    next.state = VAPI_ENTRY_COMMITTED;
    next.since = place.now;
    next.expires = vapi_state_after(place.now, keep);
    if (next.expires < next.work_until) {
        next.expires = next.work_until;
    }
    next.reply_len = (apr_uint32_t)reply_len;
    return vapi_state_leave(&place, vapi_state_write(&place, &next, reply));
}

/* An owner that comes late to what it committed still settles it: nobody else could have taken it on. */
apr_status_t vapi_state_table_settle(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token,
                                     const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    vapi_version_t next;
    vapi_state_place_t place;
    apr_status_t rv = enter_as_owner(t, key, key_len, token, reply_len, &place);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    next = *vapi_state_entry(&place);
    next.state = VAPI_ENTRY_SETTLED;
    next.since = place.now;
    next.work_until = place.now;
    next.expires = vapi_state_after(place.now, keep);
    next.reply_len = (apr_uint32_t)reply_len;
    return vapi_state_leave(&place, vapi_state_write(&place, &next, reply));
}

apr_status_t vapi_state_table_recall(vapi_state_table_t *t, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_CLAIM, key, key_len, &place);

    memset(out, 0, sizeof *out);
    out->verdict = VAPI_CLAIM_NONE;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (place.slot != VAPI_STATE_NIL) {
        tell(&place, out, p);
    }
    return vapi_state_leave(&place, APR_SUCCESS);
}

/* Committed, and its owner lives. */
static int is_under_way(const vapi_version_t *entry, apr_time_t now)
{
    return entry->state == VAPI_ENTRY_COMMITTED && !vapi_state_is_owner_gone(entry, now);
}

apr_status_t vapi_state_table_abandon(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token)
{
    const vapi_version_t *entry;
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_CLAIM, key, key_len, &place);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    entry = vapi_state_entry(&place);
    if (!entry || (token && (entry->token != token || is_under_way(entry, place.now)))) {
        return vapi_state_leave(&place, APR_NOTFOUND);
    }
    vapi_stripe_remove(&place.st, place.slot);
    return vapi_state_leave(&place, APR_SUCCESS);
}

apr_status_t vapi_state_table_count(vapi_state_table_t *t, const char *key, apr_size_t key_len, int delta, int limit,
                                    apr_interval_time_t window, int restart_window, int *value)
{
    vapi_version_t next = { 0 };
    apr_int64_t sum;
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_COUNTER, key, key_len, &place);

    *value = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (vapi_state_entry(&place)) {
        next = *vapi_state_entry(&place);
    }
    *value = next.value;
    sum = (apr_int64_t)next.value + delta;
    if (delta == 0 || (delta < 0 && place.slot == VAPI_STATE_NIL)) {
        return vapi_state_leave(&place, APR_SUCCESS);
    }
    if (delta > 0 && (sum > INT_MAX || (limit >= 0 && sum > limit))) {
        return vapi_state_leave(&place, APR_EGENERAL);
    }
    if (place.slot == VAPI_STATE_NIL || restart_window) {
        next.expires = vapi_state_after(place.now, window);
    }
    next.state = VAPI_ENTRY_COUNTER;
    next.since = place.now;
    next.value = sum < 0 ? 0 : (apr_int32_t)sum;
    rv = vapi_state_write(&place, &next, NULL);
    if (rv == APR_SUCCESS) {
        *value = next.value;
    }
    return vapi_state_leave(&place, rv);
}

apr_status_t vapi_state_table_put(vapi_state_table_t *t, const char *key, apr_size_t key_len,
                                  const char *value, apr_size_t value_len, apr_interval_time_t keep)
{
    vapi_version_t next = { 0 };
    vapi_state_place_t place;
    apr_status_t rv;

    if (value_len > VAPI_STATE_REPLY_MAX) {
        return APR_EINVAL;
    }
    rv = vapi_state_enter(t, VAPI_KIND_VALUE, key, key_len, &place);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    next.state = VAPI_ENTRY_VALUE;
    next.since = place.now;
    next.expires = vapi_state_after(place.now, keep);
    next.reply_len = (apr_uint32_t)value_len;
    rv = vapi_state_write(&place, &next, value);
    if (rv == APR_ENOSPC && place.slot != VAPI_STATE_NIL) {    /* no room for both: what is out of date must not be what stays */
        vapi_stripe_remove(&place.st, place.slot);
        place.slot = VAPI_STATE_NIL;
        rv = vapi_state_write(&place, &next, value);
    }
    return vapi_state_leave(&place, rv);
}

apr_status_t vapi_state_table_get(vapi_state_table_t *t, const char *key, apr_size_t key_len, const char **value,
                                  apr_size_t *value_len, apr_pool_t *p)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_VALUE, key, key_len, &place);

    *value = NULL;
    *value_len = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (place.slot == VAPI_STATE_NIL) {
        return vapi_state_leave(&place, APR_NOTFOUND);
    }
    *value = vapi_state_copy_reply(&place, p);
    *value_len = vapi_state_entry(&place)->reply_len;
    return vapi_state_leave(&place, APR_SUCCESS);
}
