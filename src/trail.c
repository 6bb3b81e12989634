/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The trail of a call: one note a leg, under a key of the call. A value is made of words, each with its length before it
 * ("7:billing"), since a configured word may hold any character.
 */
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_key.h"
#include "vapi_trail.h"

/* The words of a value, in order. */
enum { STATUS, FLAGS, PATH, ROUTE, POOL, HOME, MEMBER, TOKEN, DIALLED, WORDS };

#define TOLD    "t"
#define COUNTED "c"

static const vapi_state_provider_t *verbs(const vapi_once_t *once)
{
    return once->state->provider;
}

/* FNV-1a, 64 bits. */
apr_uint64_t vapi_trail_hash(const char *dialled)
{
    apr_uint64_t hash = APR_UINT64_C(14695981039346656037);

    for (; *dialled; dialled++) {
        hash = (hash ^ (unsigned char)*dialled) * APR_UINT64_C(1099511628211);
    }
    return hash ? hash : 1;
}

const char *vapi_trail_key(const vapi_once_t *once, apr_size_t *len)
{
    const char *const words[] = { "trail", once->host, once->call };

    return vapi_key_join(words, sizeof(words) / sizeof(*words), len, once->pool);
}

/* ---- a leg as text ---- */

static const char *hex(apr_uint64_t n, apr_pool_t *p)
{
    return apr_psprintf(p, "%" APR_UINT64_T_HEX_FMT, n);
}

static const char *write_leg(const vapi_leg_t *leg, const char *status, apr_pool_t *p)
{
    const char *words[WORDS];
    apr_array_header_t *parts = apr_array_make(p, WORDS, sizeof(const char *));
    int i;

    words[STATUS] = status;
    words[FLAGS] = apr_pstrcat(p, leg->is_told ? TOLD : "", leg->is_counted ? COUNTED : "", NULL);
    words[PATH] = leg->path;
    words[ROUTE] = leg->route;
    words[POOL] = leg->pool;
    words[HOME] = leg->home;
    words[MEMBER] = leg->member;
    words[TOKEN] = hex(leg->token, p);
    words[DIALLED] = hex(leg->dialled, p);
    for (i = 0; i < WORDS; i++) {
        APR_ARRAY_PUSH(parts, const char *) = apr_psprintf(p, "%" APR_SIZE_T_FMT ":%s", strlen(words[i]), words[i]);
    }
    return apr_array_pstrcat(p, parts, 0);
}

/* The next word; NULL: this is no value of ours. */
static const char *read_word(const char **from, apr_pool_t *p)
{
    const char *word;
    char *end;
    unsigned long len = strtoul(*from, &end, 10);

    if (end == *from || *end != ':' || strlen(end + 1) < len) {
        return NULL;
    }
    word = apr_pstrmemdup(p, end + 1, len);
    *from = end + 1 + len;
    return word;
}

/* NULL: another release of this module wrote it. */
static vapi_leg_t *read_leg(const vapi_note_t *note, apr_pool_t *p)
{
    vapi_leg_t *leg = apr_pcalloc(p, sizeof(*leg));
    const char *from = note->value, *words[WORDS];
    int i;

    for (i = 0; i < WORDS; i++) {
        if ((words[i] = read_word(&from, p)) == NULL) {
            return NULL;
        }
    }
    leg->id = note->field;
    leg->as_kept = note->value;
    leg->status = words[STATUS];
    leg->is_told = strstr(words[FLAGS], TOLD) != NULL;
    leg->is_counted = strstr(words[FLAGS], COUNTED) != NULL;
    leg->path = words[PATH];
    leg->route = words[ROUTE];
    leg->pool = words[POOL];
    leg->home = words[HOME];
    leg->member = words[MEMBER];
    leg->token = strtoull(words[TOKEN], NULL, 16);
    leg->dialled = strtoull(words[DIALLED], NULL, 16);
    return leg;
}

/* ---- the store ---- */

static apr_status_t note(const vapi_once_t *once, const char *id, const char *was, const char *value)
{
    apr_size_t len;
    const char *key = vapi_trail_key(once, &len);

    return verbs(once)->note(once->state, key, len, id, was, value,
                             once->state->trail > once->state->keep ? once->state->trail : once->state->keep);
}

int vapi_trail_add(const vapi_once_t *once, vapi_leg_t *leg)
{
    apr_uint64_t id;

    leg->id = NULL;
    leg->status = "";
    leg->is_told = leg->is_counted = 0;
    leg->as_kept = write_leg(leg, leg->status, once->pool);
    if (!*once->call) {
        return 1;
    }
    if (apr_generate_random_bytes((unsigned char *)&id, sizeof(id)) != APR_SUCCESS) {
        return 0;
    }
    leg->id = hex(id, once->pool);
    if (note(once, leg->id, NULL, leg->as_kept) != APR_SUCCESS) {
        leg->id = NULL;
    }
    return leg->id != NULL;
}

void vapi_trail_drop(const vapi_once_t *once, const vapi_leg_t *leg)
{
    if (leg->id) {
        note(once, leg->id, "*", NULL);
    }
}

const apr_array_header_t *vapi_trail_read(const vapi_once_t *once)
{
    apr_array_header_t *legs = apr_array_make(once->pool, 4, sizeof(vapi_leg_t *)), *notes;
    apr_size_t len;
    const char *key;
    int i;

    if (!*once->call) {
        return legs;
    }
    key = vapi_trail_key(once, &len);
    if (verbs(once)->notes(once->state, key, len, &notes, once->pool) != APR_SUCCESS) {
        return NULL;
    }
    for (i = 0; i < notes->nelts; i++) {
        vapi_leg_t *leg = read_leg(&APR_ARRAY_IDX(notes, i, vapi_note_t), once->pool);
        if (leg) {
            APR_ARRAY_PUSH(legs, vapi_leg_t *) = leg;
        }
    }
    return legs;
}

int vapi_trail_mark(const vapi_once_t *once, vapi_leg_t *leg, const char *status)
{
    const char *value = write_leg(leg, status, once->pool);

    if (!leg->id || note(once, leg->id, leg->as_kept, value) != APR_SUCCESS) {
        return 0;
    }
    leg->status = status;
    leg->as_kept = value;
    return 1;
}
