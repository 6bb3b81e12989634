/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Counters, values, notes, and who owns what. While Redis is away they are the own memory's; notes of both are read as one. */
#include "redis_node.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

static vapi_redis_node_t *node_of(vapi_state_t *st)
{
    return (vapi_redis_node_t *)st;
}

typedef struct about_t {
    const char *key;
    apr_size_t key_len;
    int delta, limit, restart_window;      /* of a counter */
    const char *field, *was, *value;       /* of a note; a value too */
    apr_size_t value_len;
    apr_interval_time_t keep;
} about_t;

/* ---- counters ---- */

static void fill_count(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_KIND_COUNTER, about->key, about->key_len);
    vapi_redis_add_number(q, about->delta);
    vapi_redis_add_number(q, about->limit);
    vapi_redis_add_msec(q, about->keep);
    vapi_redis_add_number(q, about->restart_window != 0);
}

apr_status_t vapi_redis_count(vapi_state_t *st, const char *key, apr_size_t key_len, int delta, int limit,
                              apr_interval_time_t window, int restart_window, int *value)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = {
        .key = key, .key_len = key_len, .delta = delta, .limit = limit, .restart_window = restart_window, .keep = window
    };
    redisReply *reply;
    apr_status_t rv = vapi_redis_run(node, VAPI_SCRIPT_COUNT, fill_count, &about, &reply);

    if (rv == VAPI_REDIS_AWAY) {
        return vapi_redis_local(node)->count(node->local, key, key_len, delta, limit, window, restart_window, value);
    }
    *value = 0;
    if (rv == APR_SUCCESS) {
        *value = (int)vapi_redis_number(reply, 1);
        rv = vapi_redis_number(reply, 0) == VAPI_ANSWER_REFUSED ? APR_EGENERAL : APR_SUCCESS;
        freeReplyObject(reply);
    }
    return rv;
}

/* ---- values ---- */

static void fill_put(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_KIND_VALUE, about->key, about->key_len);
    vapi_redis_add(q, about->value, about->value_len);
    vapi_redis_add_msec(q, about->keep);
}

apr_status_t vapi_redis_put(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t value_len,
                            apr_interval_time_t keep)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { .key = key, .key_len = key_len, .value = value, .value_len = value_len, .keep = keep };
    redisReply *reply;
    apr_status_t rv;

    if (value_len > VAPI_REDIS_LENGTH) {
        return APR_EINVAL;
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_PUT, fill_put, &about, &reply);
    if (rv == VAPI_REDIS_AWAY) {
        return vapi_redis_local(node)->put(node->local, key, key_len, value, value_len, keep);
    }
    if (rv == APR_SUCCESS) {
        freeReplyObject(reply);
    }
    return rv;
}

static void fill_get(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_KIND_VALUE, about->key, about->key_len);
}

apr_status_t vapi_redis_get(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *value_len,
                            apr_pool_t *p)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { .key = key, .key_len = key_len };
    redisReply *reply;
    apr_status_t rv = vapi_redis_run(node, VAPI_SCRIPT_GET, fill_get, &about, &reply);

    if (rv == VAPI_REDIS_AWAY) {
        return vapi_redis_local(node)->get(node->local, key, key_len, value, value_len, p);
    }
    *value = NULL;
    *value_len = 0;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (reply->elements > 1 && reply->element[1]->type == REDIS_REPLY_STRING) {
        *value_len = reply->element[1]->len;
        *value = apr_pstrmemdup(p, reply->element[1]->str, *value_len);
    }
    freeReplyObject(reply);
    return *value ? APR_SUCCESS : APR_NOTFOUND;
}

/* ---- notes ---- */

static void fill_note(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;
    const char *value = about->value ? about->value : "", *was = about->was ? about->was : "";

    vapi_redis_ask_key(q, VAPI_KIND_NOTES, about->key, about->key_len);
    vapi_redis_add(q, about->field, strlen(about->field));
    vapi_redis_add(q, !about->was ? "n" : strcmp(was, "*") == 0 ? "*" : "v", 1);
    vapi_redis_add(q, was, strlen(was));
    vapi_redis_add(q, about->value ? "1" : "0", 1);
    vapi_redis_add(q, value, strlen(value));
    vapi_redis_add_msec(q, about->keep);
}

static int has_field(const apr_array_header_t *notes, const char *field)
{
    int i;

    for (i = 0; i < notes->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(notes, i, vapi_note_t).field, field) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Was it noted in the own memory? */
static int is_noted_here(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, const char *field)
{
    apr_array_header_t *notes;
    apr_pool_t *p;
    int noted;

    if (apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return 0;
    }
    noted = vapi_redis_local(node)->notes(node->local, key, key_len, &notes, p) == APR_SUCCESS && has_field(notes, field);
    apr_pool_destroy(p);
    return noted;
}

/*
 * While Redis is away what it holds is not known: what the own memory does not have is taken to be as the caller expects. Of two
 * who expect the same there the second is refused, as ever.
 */
static apr_status_t note_here(const vapi_redis_node_t *node, const about_t *about)
{
    apr_status_t rv =
        vapi_redis_local(node)->note(node->local, about->key, about->key_len, about->field, NULL, about->value, about->keep);

    return rv != APR_EGENERAL || !about->was ? rv
                                             : vapi_redis_local(node)->note(node->local, about->key, about->key_len, about->field,
                                                                            about->was, about->value, about->keep);
}

apr_status_t vapi_redis_note(vapi_state_t *st, const char *key, apr_size_t key_len, const char *field, const char *was,
                             const char *value, apr_interval_time_t keep)
{
    static const apr_status_t meaning[] = { [VAPI_ANSWER_REFUSED] = APR_EGENERAL, [VAPI_ANSWER_TOO_LONG] = APR_EINVAL };
    vapi_redis_node_t *node = node_of(st);
    about_t about = { .key = key, .key_len = key_len, .field = field, .was = was, .value = value, .keep = keep };
    redisReply *reply;
    apr_int64_t answer;
    apr_status_t rv;

    if (is_noted_here(node, key, key_len, field)) {
        return vapi_redis_local(node)->note(node->local, key, key_len, field, was, value, keep);
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_NOTE, fill_note, &about, &reply);
    if (rv == VAPI_REDIS_AWAY) {
        return note_here(node, &about);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    answer = vapi_redis_number(reply, 0);
    freeReplyObject(reply);
    return answer == VAPI_ANSWER_REFUSED || answer == VAPI_ANSWER_TOO_LONG ? meaning[answer] : APR_SUCCESS;
}

typedef struct numbered_t {
    apr_int64_t number;
    vapi_note_t note;
} numbered_t;

static int compare_numbered(const void *a, const void *b)
{
    apr_int64_t left = ((const numbered_t *)a)->number, right = ((const numbered_t *)b)->number;

    return (left > right) - (left < right);
}

/* '=FIELD' and 'NUMBER:VALUE', in turns and in no order. */
static apr_array_header_t *read_notes(const redisReply *all, apr_pool_t *p)
{
    apr_array_header_t *notes = apr_array_make(p, (int)all->elements / 2 + 1, sizeof(numbered_t));
    size_t i;

    for (i = 0; i + 1 < all->elements; i += 2) {
        const redisReply *field = all->element[i], *value = all->element[i + 1];
        const char *colon = value->type == REDIS_REPLY_STRING ? strchr(value->str, ':') : NULL;
        numbered_t *one;

        if (field->type != REDIS_REPLY_STRING || field->str[0] != '=' || !colon) {
            continue;
        }
        one = apr_array_push(notes);
        one->number = apr_atoi64(value->str);
        one->note.field = apr_pstrdup(p, field->str + 1);
        one->note.value = apr_pstrdup(p, colon + 1);
    }
    qsort(notes->elts, (size_t)notes->nelts, sizeof(numbered_t), compare_numbered);
    return notes;
}

static void fill_notes(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_KIND_NOTES, about->key, about->key_len);
}

/* Those of the own memory come last: they are of an outage, and newer. One that is in both is the own memory's. */
apr_status_t vapi_redis_notes(vapi_state_t *st, const char *key, apr_size_t key_len, apr_array_header_t **out, apr_pool_t *p)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { .key = key, .key_len = key_len };
    apr_array_header_t *here, *there;
    redisReply *reply;
    apr_status_t rv = vapi_redis_local(node)->notes(node->local, key, key_len, &here, p);
    int i;

    *out = here;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_NOTES, fill_notes, &about, &reply);
    if (rv != APR_SUCCESS) {
        return rv == VAPI_REDIS_AWAY ? APR_SUCCESS : rv;
    }
    if (reply->elements > 1 && reply->element[1]->type == REDIS_REPLY_ARRAY) {
        there = read_notes(reply->element[1], p);
        *out = apr_array_make(p, there->nelts + here->nelts + 1, sizeof(vapi_note_t));
        for (i = 0; i < there->nelts; i++) {
            const vapi_note_t *note = &APR_ARRAY_IDX(there, i, numbered_t).note;

            if (!has_field(here, note->field)) {
                APR_ARRAY_PUSH(*out, vapi_note_t) = *note;
            }
        }
        apr_array_cat(*out, here);
    }
    freeReplyObject(reply);
    return APR_SUCCESS;
}

/* ---- owners ---- */

typedef struct owned_t {
    const char *owner;
    const vapi_owned_t *things;
    int n;
    apr_interval_time_t keep;
    const char *head;              /* what all keys begin with */
} owned_t;

static void fill_own(vapi_redis_question_t *q, void *baton)
{
    const owned_t *owned = baton;
    int i;

    vapi_redis_ask_key(q, VAPI_REDIS_OWNER, owned->owner, strlen(owned->owner));
    vapi_redis_add_msec(q, owned->keep);
    vapi_redis_add_room(q, owned->n, (size_t)owned->n * (VAPI_REDIS_DIGEST + 2));
    for (i = 0; i < owned->n; i++) {
        vapi_redis_add_thing(q, (char)owned->things[i].kind, owned->things[i].key, owned->things[i].key_len);
    }
}

/* The own memory has the shadows of claims, too. */
static apr_status_t own_here(const vapi_redis_node_t *node, const char *owner, const vapi_owned_t *things, int n,
                             apr_interval_time_t keep)
{
    apr_array_header_t *all;
    apr_status_t rv;
    apr_pool_t *p;
    int i;

    rv = apr_pool_create(&p, NULL);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    all = apr_array_make(p, 2 * n + 1, sizeof(vapi_owned_t));
    for (i = 0; i < n; i++) {
        APR_ARRAY_PUSH(all, vapi_owned_t) = things[i];
        if (things[i].kind == VAPI_KIND_CLAIM) {
            vapi_owned_t *shadow = apr_array_push(all);

            shadow->kind = VAPI_KIND_CLAIM;
            shadow->key = vapi_redis_shadow_key(things[i].key, things[i].key_len, &shadow->key_len, p);
        }
    }
    rv = vapi_redis_local(node)->own(node->local, owner, (const vapi_owned_t *)all->elts, all->nelts, keep);
    apr_pool_destroy(p);
    return rv;
}

apr_status_t vapi_redis_own(vapi_state_t *st, const char *owner, const vapi_owned_t *things, int n, apr_interval_time_t keep)
{
    vapi_redis_node_t *node = node_of(st);
    owned_t owned = { owner, things, n, keep, NULL };
    apr_status_t here = own_here(node, owner, things, n, keep);
    redisReply *reply;
    apr_status_t rv = vapi_redis_run(node, VAPI_SCRIPT_OWN, fill_own, &owned, &reply);

    if (rv == APR_SUCCESS) {
        freeReplyObject(reply);
    }
    return rv == VAPI_REDIS_AWAY ? here : rv;
}

static void fill_forget(vapi_redis_question_t *q, void *baton)
{
    const owned_t *owned = baton;

    vapi_redis_ask_key(q, VAPI_REDIS_OWNER, owned->owner, strlen(owned->owner));
    vapi_redis_add(q, owned->head, strlen(owned->head));
}

/* What both had counts once where it cannot be told: shadows are no things of their own. */
apr_status_t vapi_redis_forget(vapi_state_t *st, const char *owner, int *dropped)
{
    vapi_redis_node_t *node = node_of(st);
    char head[64];
    owned_t owned = { owner, NULL, 0, 0, head };
    redisReply *reply;
    int here = 0;
    apr_status_t rv, here_rv = vapi_redis_local(node)->forget(node->local, owner, &here);

    apr_snprintf(head, sizeof head, "%s:", node->config->prefix);
    rv = vapi_redis_run(node, VAPI_SCRIPT_FORGET, fill_forget, &owned, &reply);
    *dropped = here;
    if (rv == VAPI_REDIS_AWAY) {
        return here_rv;
    }
    if (rv == APR_SUCCESS) {
        int there = (int)vapi_redis_number(reply, 1);

        *dropped = there > here ? there : here;
        freeReplyObject(reply);
    }
    return rv;
}
