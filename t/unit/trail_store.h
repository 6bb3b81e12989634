/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* A store that keeps notes, for tests of trails: it can be made to fail, and be changed by somebody else in between. */
#ifndef TRAIL_STORE_H
#define TRAIL_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_trail.h"

#define SEC apr_time_from_sec(1)

typedef struct kept_t {
    const char *key;
    apr_size_t key_len;
    const char *field, *value;      /* value NULL: it was taken away */
} kept_t;

static apr_pool_t *pool;
static apr_array_header_t *kept;
static apr_status_t trouble;                /* what every verb says, if not APR_SUCCESS */
static apr_interval_time_t kept_for;        /* what the latest note asked for */
static int reads, writes;
static void (*meanwhile)(void);             /* done once, right before the next note */

static int is_of(const kept_t *one, const char *key, apr_size_t len)
{
    return one->key_len == len && memcmp(one->key, key, len) == 0;
}

static kept_t *find_kept(const char *key, apr_size_t len, const char *field)
{
    int i;

    for (i = 0; i < kept->nelts; i++) {
        kept_t *one = &APR_ARRAY_IDX(kept, i, kept_t);
        if (is_of(one, key, len) && strcmp(one->field, field) == 0) {
            return one;
        }
    }
    return NULL;
}

static apr_status_t on_note(vapi_state_t *st, const char *key, apr_size_t len, const char *field, const char *was, const char *value,
                            apr_interval_time_t keep)
{
    void (*first)(void) = meanwhile;
    kept_t *one;
    const char *now;

    (void)st;
    writes++;
    if (first) {
        meanwhile = NULL;
        first();
    }
    if (trouble) {
        return trouble;
    }
    one = find_kept(key, len, field);
    now = one ? one->value : NULL;
    if (!(was && strcmp(was, "*") == 0) && (was ? !now || strcmp(was, now) != 0 : now != NULL)) {
        return APR_EGENERAL;
    }
    if (!one) {
        one = apr_array_push(kept);
        one->key = apr_pmemdup(pool, key, len);
        one->key_len = len;
        one->field = apr_pstrdup(pool, field);
    }
    one->value = apr_pstrdup(pool, value);
    kept_for = keep;
    return APR_SUCCESS;
}

static apr_status_t on_notes(vapi_state_t *st, const char *key, apr_size_t len, apr_array_header_t **out, apr_pool_t *p)
{
    int i;

    (void)st;
    reads++;
    *out = apr_array_make(p, 4, sizeof(vapi_note_t));
    for (i = 0; i < kept->nelts && !trouble; i++) {
        const kept_t *one = &APR_ARRAY_IDX(kept, i, kept_t);
        if (one->value && is_of(one, key, len)) {
            vapi_note_t *note = apr_array_push(*out);
            note->field = one->field;
            note->value = one->value;
        }
    }
    return trouble;
}

static vapi_state_provider_t provider;
static vapi_state_t state;

static vapi_once_t *call(const char *host, const char *id)
{
    vapi_once_t *once = apr_pcalloc(pool, sizeof(*once));

    once->state = &state;
    once->host = host;
    once->call = id;
    once->pool = pool;
    return once;
}

static int set_up(void **unused)
{
    (void)unused;
    apr_pool_create(&pool, NULL);
    kept = apr_array_make(pool, 8, sizeof(kept_t));
    trouble = APR_SUCCESS;
    meanwhile = NULL;
    reads = writes = 0;
    provider.name = "test";
    provider.note = on_note;
    provider.notes = on_notes;
    state.provider = &provider;
    state.keep = 60 * SEC;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    apr_pool_destroy(pool);
    return 0;
}

#endif
