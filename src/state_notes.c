/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Notes, and who owns what. Both are one entry's blob, rewritten as a whole. */
#include "state_layout.h"

#include <stdlib.h>
#include <string.h>

/* ---- notes: field, NUL, value, NUL, and so on, in the order of the first note ---- */

typedef struct blob_t {
    char *text;
    apr_size_t len;
} blob_t;

/* Behind `at`, which is in the blob: where the next field begins. */
static char *behind(char *at)
{
    at += strlen(at) + 1;
    return at + strlen(at) + 1;
}

static char *find_field(const blob_t *blob, const char *field)
{
    char *at = blob->text;

    while (at < blob->text + blob->len && strcmp(at, field) != 0) {
        at = behind(at);
    }
    return at < blob->text + blob->len ? at : NULL;
}

static int is_expected(const char *was, const char *at)
{
    if (was && strcmp(was, "*") == 0) {
        return 1;
    }
    return was && at ? strcmp(was, at + strlen(at) + 1) == 0 : !was && !at;
}

/* Puts field and value in the place of what is at `at` (NULL: at the end); there is room. value NULL: takes it away. */
static void splice(blob_t *blob, char *at, const char *field, const char *value)
{
    char *end = blob->text + blob->len;
    char *start = at ? at : end;
    char *rest = at ? behind(at) : end;
    apr_size_t field_len = strlen(field) + 1;
    apr_size_t value_len = value ? strlen(value) + 1 : 0;
    apr_size_t len = value ? field_len + value_len : 0;

    memmove(start + len, rest, (apr_size_t)(end - rest));
    if (value) {
        memcpy(start, field, field_len);
        memcpy(start + field_len, value, value_len);
    }
    blob->len = blob->len - (apr_size_t)(rest - start) + len;
}

static apr_status_t write_blob(const vapi_state_place_t *place, vapi_entry_state state, const void *data, apr_size_t len,
                               apr_interval_time_t keep)
{
    vapi_version_t next = { 0 };

    if (!len) {
        if (place->slot != VAPI_STATE_NIL) {
            vapi_stripe_remove(&place->st, place->slot);
        }
        return APR_SUCCESS;
    }
    if (len > VAPI_STATE_REPLY_MAX) {
        return APR_EINVAL;
    }
    next.state = state;
    next.since = place->now;
    next.expires = vapi_state_after(place->now, keep);
    next.reply_len = (apr_uint32_t)len;
    return vapi_state_write(place, &next, data);
}

static apr_status_t write_note(const vapi_state_place_t *place, blob_t *blob, const char *field, const char *was,
                               const char *value, apr_interval_time_t keep)
{
    char *at = find_field(blob, field);

    if (!is_expected(was, at)) {
        return APR_EGENERAL;
    }
    if (!at && !value) {
        return APR_SUCCESS;
    }
    splice(blob, at, field, value);
    return write_blob(place, VAPI_ENTRY_NOTES, blob->text, blob->len, keep);
}

apr_status_t vapi_state_table_note(vapi_state_table_t *t, const char *key, apr_size_t key_len, const char *field, const char *was,
                                   const char *value, apr_interval_time_t keep)
{
    const vapi_version_t *entry;
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_NOTES, key, key_len, &place);
    blob_t blob;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    entry = vapi_state_entry(&place);
    blob.len = entry ? entry->reply_len : 0;
    blob.text = malloc(blob.len + strlen(field) + (value ? strlen(value) : 0) + 2);
    if (!blob.text) {
        return vapi_state_leave(&place, APR_ENOMEM);
    }
    if (entry) {
        vapi_stripe_reply(&place.st, entry, blob.text);
    }
    rv = vapi_state_leave(&place, write_note(&place, &blob, field, was, value, keep));
    free(blob.text);
    return rv;
}

apr_status_t vapi_state_table_notes(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_array_header_t **out,
                                    apr_pool_t *p)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, VAPI_KIND_NOTES, key, key_len, &place);
    const char *at = "", *end = at;

    *out = apr_array_make(p, 8, sizeof(vapi_note_t));
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (vapi_state_entry(&place)) {
        at = vapi_state_copy_reply(&place, p);
        end = at + vapi_state_entry(&place)->reply_len;
    }
    vapi_state_leave(&place, APR_SUCCESS);
    while (at < end) {
        vapi_note_t *note = apr_array_push(*out);

        note->field = at;
        note->value = at + strlen(at) + 1;
        at = note->value + strlen(note->value) + 1;
    }
    return APR_SUCCESS;
}

/* ---- owners ---- */

#define KEY_OF_OWNER 'o'
#define OWNED_MAX    (VAPI_STATE_REPLY_MAX / sizeof(owned_t))

/** One thing that is kept about an owner; the earliest told first. */
typedef struct owned_t {
    unsigned char digest[VAPI_STATE_DIGEST];
    apr_interval_time_t left;      /* behind the entry's `since`: until it is forgotten that it was owned */
} owned_t;

typedef struct list_t {
    owned_t *things;
    apr_size_t n;
} list_t;

/* The list under an owner's digest, whose stripe is locked, with room for `more`; each `left` from now. 0: no memory. */
static int read_list(list_t *list, const vapi_state_place_t *place, apr_size_t more)
{
    const vapi_version_t *entry = vapi_state_entry(place);
    apr_size_t i;

    list->n = entry ? entry->reply_len / sizeof(owned_t) : 0;
    list->things = malloc((list->n + more + 1) * sizeof(owned_t));
    if (!list->things) {
        return 0;
    }
    if (entry) {
        vapi_stripe_reply(&place->st, entry, (char *)list->things);
    }
    for (i = 0; i < list->n; i++) {
        list->things[i].left -= place->now - entry->since;
    }
    return 1;
}

static apr_size_t find_thing(const list_t *list, const unsigned char *digest)
{
    apr_size_t i;

    for (i = 0; i < list->n && memcmp(list->things[i].digest, digest, VAPI_STATE_DIGEST) != 0; i++) {
    }
    return i;
}

static apr_status_t write_list(const vapi_state_place_t *place, const list_t *list)
{
    apr_interval_time_t keep = 0;
    apr_size_t i;

    for (i = 0; i < list->n; i++) {
        keep = list->things[i].left > keep ? list->things[i].left : keep;
    }
    return write_blob(place, VAPI_ENTRY_OWNED, list->things, list->n * sizeof(owned_t), keep);
}

/* There is room. It goes to the end, and is kept no shorter than was told before. */
static void add_thing(list_t *list, const owned_t *thing)
{
    apr_size_t i = find_thing(list, thing->digest);
    owned_t last = *thing;

    if (i < list->n) {
        last.left = list->things[i].left > last.left ? list->things[i].left : last.left;
        list->n--;
        memmove(&list->things[i], &list->things[i + 1], (list->n - i) * sizeof(owned_t));
    }
    list->things[list->n++] = last;
}

static void drop_old(list_t *list)
{
    apr_size_t i, n = 0;

    for (i = 0; i < list->n; i++) {
        if (list->things[i].left > 0) {
            list->things[n++] = list->things[i];
        }
    }
    list->n = n;
    if (n > OWNED_MAX) {
        memmove(list->things, list->things + (n - OWNED_MAX), OWNED_MAX * sizeof(owned_t));
        list->n = OWNED_MAX;
    }
}

apr_status_t vapi_state_table_own(vapi_state_table_t *t, const char *owner, const vapi_owned_t *things, int n,
                                  apr_interval_time_t keep)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, KEY_OF_OWNER, owner, strlen(owner), &place);
    list_t list;
    int i;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!read_list(&list, &place, (apr_size_t)n)) {
        return vapi_state_leave(&place, APR_ENOMEM);
    }
    for (i = 0; i < n; i++) {
        owned_t thing;

        vapi_state_hash(t, (char)things[i].kind, things[i].key, things[i].key_len, thing.digest);
        thing.left = keep;
        add_thing(&list, &thing);
    }
    drop_old(&list);
    rv = vapi_state_leave(&place, write_list(&place, &list));
    free(list.things);
    return rv;
}

static int is_worked_on(const vapi_version_t *entry, apr_time_t now)
{
    return entry->state == VAPI_ENTRY_WORKING || (entry->state == VAPI_ENTRY_COMMITTED && !vapi_state_is_owner_gone(entry, now));
}

typedef enum { FATE_NONE, FATE_DROPPED, FATE_SPARED } fate_t;

static apr_status_t drop_entry(vapi_state_table_t *t, const unsigned char *digest, fate_t *fate)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter_digest(t, digest, &place);
    const vapi_version_t *entry;

    *fate = FATE_NONE;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    entry = vapi_state_entry(&place);
    if (entry && is_worked_on(entry, place.now)) {
        *fate = FATE_SPARED;
    }
    else if (entry) {
        vapi_stripe_remove(&place.st, place.slot);
        *fate = FATE_DROPPED;
    }
    return vapi_state_leave(&place, APR_SUCCESS);
}

/* Leaves those in the list that are spared. */
static apr_status_t drop_entries(vapi_state_table_t *t, list_t *list, int *dropped)
{
    apr_size_t i, n = 0;
    fate_t fate;

    for (i = 0; i < list->n; i++) {
        apr_status_t rv = drop_entry(t, list->things[i].digest, &fate);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        *dropped += fate == FATE_DROPPED;
        if (fate == FATE_SPARED) {
            list->things[n++] = list->things[i];
        }
    }
    list->n = n;
    return APR_SUCCESS;
}

/* What was added while no lock was held stays, as does what was spared. */
static apr_status_t rewrite_list(vapi_state_table_t *t, const char *owner, const list_t *before, const list_t *spared)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, KEY_OF_OWNER, owner, strlen(owner), &place);
    apr_size_t i, n = 0;
    list_t list;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!read_list(&list, &place, 0)) {
        return vapi_state_leave(&place, APR_ENOMEM);
    }
    for (i = 0; i < list.n; i++) {
        const unsigned char *digest = list.things[i].digest;

        if (find_thing(spared, digest) < spared->n || find_thing(before, digest) == before->n) {
            list.things[n++] = list.things[i];
        }
    }
    list.n = n;
    rv = vapi_state_leave(&place, write_list(&place, &list));
    free(list.things);
    return rv;
}

/* No two stripes are ever locked at once: the list is read, then its things are dropped one by one, then it is read again. */
apr_status_t vapi_state_table_forget(vapi_state_table_t *t, const char *owner, int *dropped)
{
    vapi_state_place_t place;
    apr_status_t rv = vapi_state_enter(t, KEY_OF_OWNER, owner, strlen(owner), &place);
    list_t before, spared;

    *dropped = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!read_list(&before, &place, 0)) {
        return vapi_state_leave(&place, APR_ENOMEM);
    }
    vapi_state_leave(&place, APR_SUCCESS);
    spared.n = before.n;
    spared.things = malloc((before.n + 1) * sizeof(owned_t));
    if (!spared.things) {
        free(before.things);
        return APR_ENOMEM;
    }
    memcpy(spared.things, before.things, before.n * sizeof(owned_t));
    rv = drop_entries(t, &spared, dropped);
    if (rv == APR_SUCCESS && before.n) {
        rv = rewrite_list(t, owner, &before, &spared);
    }
    free(spared.things);
    free(before.things);
    return rv;
}
