/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Claims. What was claimed in the own memory during an outage is asked for first, always: it is honoured while it lives. What
 * Redis gave, and what became of it, is also written to the own memory, as a shadow under another key. By it are measured who comes
 * during an outage, and who comes when Redis knows nothing at all of the claim, since it came back empty; nobody else, as another
 * server may have freed the claim meanwhile.
 */
#include "redis_node.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define MOMENT apr_time_from_sec(1)      /* of work that is left, for what must be noted at the end of it */

static vapi_redis_node_t *node_of(vapi_state_t *st)
{
    return (vapi_redis_node_t *)st;
}

/* ---- asking Redis ---- */

typedef struct about_t {
    const char *key;
    apr_size_t key_len;
    apr_uint64_t token;            /* 0: whoever's */
    apr_uint64_t fingerprint;
    const char *reply;             /* NULL: not with this script, as is the fingerprint otherwise */
    apr_size_t reply_len;
    apr_interval_time_t span;
} about_t;

static void fill_claim(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_REDIS_CLAIM, about->key, about->key_len);
    vapi_redis_add_hex(q, about->token);
    if (about->reply) {
        vapi_redis_add(q, about->reply, about->reply_len);
    }
    else {
        vapi_redis_add_hex(q, about->fingerprint);
    }
    vapi_redis_add_span(q, about->span);
}

/* No token is no word. */
static void fill_token(vapi_redis_question_t *q, void *baton)
{
    const about_t *about = baton;

    vapi_redis_ask_key(q, VAPI_REDIS_CLAIM, about->key, about->key_len);
    if (about->token) {
        vapi_redis_add_hex(q, about->token);
    }
    else {
        vapi_redis_add(q, "", 0);
    }
}

/* For scripts that answer with a verdict alone. */
static apr_status_t ask(vapi_redis_node_t *node, vapi_script script, vapi_redis_fill_fn *fill, about_t *about)
{
    redisReply *reply;
    apr_status_t rv = vapi_redis_run(node, script, fill, about, &reply);

    if (rv == APR_SUCCESS) {
        rv = vapi_redis_number(reply, 0) == VAPI_ANSWER_DONE ? APR_SUCCESS : APR_NOTFOUND;
        freeReplyObject(reply);
    }
    return rv;
}

/* BUSY or SETTLED, or `otherwise`. */
static void tell(vapi_claim_t *out, const redisReply *reply, vapi_claim_verdict otherwise, apr_pool_t *p)
{
    memset(out, 0, sizeof *out);
    out->verdict = otherwise;
    if (vapi_redis_number(reply, 0) == VAPI_ANSWER_BUSY) {
        out->verdict = VAPI_CLAIM_BUSY;
    }
    else if (vapi_redis_number(reply, 0) == VAPI_ANSWER_SETTLED && reply->elements > 5
             && reply->element[5]->type == REDIS_REPLY_STRING) {
        out->verdict = VAPI_CLAIM_SETTLED;
        out->token = vapi_redis_hex(reply, 3);
        out->lost = vapi_redis_number(reply, 4) != 0;
        out->reply = apr_pstrmemdup(p, reply->element[5]->str, reply->element[5]->len);
        out->reply_len = reply->element[5]->len;
    }
    out->fingerprint = vapi_redis_hex(reply, 1);
    out->left = vapi_redis_number(reply, 2);
}

/* ---- the own memory ---- */

static apr_status_t recall_local(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, vapi_claim_t *out,
                                 apr_pool_t *p)
{
    return vapi_redis_local(node)->recall(node->local, key, key_len, out, p);
}

const char *vapi_redis_shadow_key(const char *key, apr_size_t key_len, apr_size_t *len, apr_pool_t *p)
{
    static const char head[] = "redis|";
    char *shadow = apr_palloc(p, sizeof head - 1 + key_len);

    memcpy(shadow, head, sizeof head - 1);
    memcpy(shadow + sizeof head - 1, key, key_len);
    *len = sizeof head - 1 + key_len;
    return shadow;
}

typedef enum { SHADOW_WORKING, SHADOW_COMMITTED, SHADOW_SETTLED, SHADOW_GONE } shadow_t;

/*
 * Made anew each time, by whom Redis says that the claim is his. That it could not be noted is no reason to refuse what Redis has
 * granted. In a pool of its own: not all verbs have one.
 */
static void cast_shadow(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, const vapi_claim_t *claim,
                        shadow_t state, const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    const vapi_state_provider_t *local = vapi_redis_local(node);
    vapi_claim_t before, now = { .verdict = VAPI_CLAIM_NONE };
    apr_size_t len;
    apr_pool_t *p;

    if (apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return;
    }
    key = vapi_redis_shadow_key(key, key_len, &len, p);
    if (!claim && state != SHADOW_GONE && recall_local(node, key, len, &before, p) == APR_SUCCESS) {
        claim = &before;
    }
    local->abandon(node->local, key, len, 0);
    if (claim && state != SHADOW_GONE) {
        apr_interval_time_t work = state == SHADOW_WORKING || claim->left > MOMENT ? claim->left : MOMENT;

        local->claim(node->local, key, len, claim->fingerprint, work, &now, p);
    }
    if (now.verdict == VAPI_CLAIM_MINE && state == SHADOW_COMMITTED) {
        local->commit(node->local, key, len, now.token, reply, reply_len, keep);
    }
    else if (now.verdict == VAPI_CLAIM_MINE && state == SHADOW_SETTLED) {
        local->settle(node->local, key, len, now.token, reply, reply_len, keep);
    }
    apr_pool_destroy(p);
}

/* What a caller is told who comes while Redis is away: BUSY, SETTLED or NONE. */
static apr_status_t recall_shadow(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, vapi_claim_t *out,
                                  apr_pool_t *p)
{
    apr_size_t len;
    const char *shadow = vapi_redis_shadow_key(key, key_len, &len, p);

    return recall_local(node, shadow, len, out, p);
}

/*
 * Redis knows nothing of the claim, not even that it was given back: it may have come back empty. What this server did itself it knows.
 * @param token  of the claim that Redis gave now, 0 if it was only asked: where the shadow was settled, Redis is told so, too
 */
static apr_status_t recall_lost(vapi_redis_node_t *node, const char *key, apr_size_t key_len, apr_uint64_t token, vapi_claim_t *out,
                                apr_pool_t *p)
{
    vapi_claim_t shadow;

    if (recall_shadow(node, key, key_len, &shadow, p) != APR_SUCCESS || shadow.verdict == VAPI_CLAIM_NONE) {
        return APR_NOTFOUND;
    }
    if (shadow.verdict == VAPI_CLAIM_SETTLED && token) {
        about_t about = { key, key_len, token, 0, shadow.reply, shadow.reply_len, shadow.left };

        shadow.token = token;
        ask(node, VAPI_SCRIPT_SETTLE, fill_claim, &about);
    }
    *out = shadow;
    return APR_SUCCESS;
}

/*
 * A claim of Redis is taken over by the own memory, where what is about to be done must be known now: Redis will say that it is
 * free when its work time is over. Nobody else of this server can have it: who came meanwhile saw the shadow.
 */
static apr_uint64_t take_over(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, apr_uint64_t token,
                              apr_interval_time_t keep)
{
    apr_uint64_t mine = vapi_redis_twin(node, VAPI_TWIN_TAKEN, token);
    vapi_claim_t shadow, claim = { .verdict = VAPI_CLAIM_NONE };
    apr_pool_t *p;

    if (mine || apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return mine;
    }
    if (recall_shadow(node, key, key_len, &shadow, p) == APR_SUCCESS && shadow.verdict == VAPI_CLAIM_BUSY
        && vapi_redis_local(node)->claim(node->local, key, key_len, shadow.fingerprint, shadow.left, &claim, p) == APR_SUCCESS
        && claim.verdict == VAPI_CLAIM_MINE) {
        mine = claim.token;
        vapi_redis_remember(node, VAPI_TWIN_TAKEN, token, mine, keep > shadow.left ? keep : shadow.left);
    }
    apr_pool_destroy(p);
    return mine;
}

/* ---- the verbs ---- */

apr_status_t vapi_redis_claim(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                              apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { key, key_len, vapi_redis_new_token(), fingerprint, NULL, 0, work };
    redisReply *reply;
    int known;
    apr_status_t rv = recall_local(node, key, key_len, out, p);

    if (rv != APR_SUCCESS || out->verdict != VAPI_CLAIM_NONE) {
        return rv;
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_CLAIM, fill_claim, &about, &reply);
    if (rv == VAPI_REDIS_AWAY) {
        rv = recall_shadow(node, key, key_len, out, p);
        return rv != APR_SUCCESS || out->verdict != VAPI_CLAIM_NONE
                   ? rv
                   : vapi_redis_local(node)->claim(node->local, key, key_len, fingerprint, work, out, p);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    tell(out, reply, VAPI_CLAIM_MINE, p);
    known = vapi_redis_number(reply, 1) != 0;
    freeReplyObject(reply);
    if (out->verdict == VAPI_CLAIM_MINE && (known || recall_lost(node, key, key_len, about.token, out, p) != APR_SUCCESS)) {
        out->token = about.token;
        out->fingerprint = fingerprint;
        out->left = work;
        cast_shadow(node, key, key_len, out, SHADOW_WORKING, NULL, 0, 0);
        out->left = 0;
    }
    return APR_SUCCESS;
}

apr_status_t vapi_redis_commit(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token, const char *reply,
                               apr_size_t reply_len, apr_interval_time_t keep)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { key, key_len, token, 0, reply, reply_len, keep };
    apr_status_t rv;

    if (reply_len > VAPI_REDIS_LENGTH) {
        return APR_EINVAL;
    }
    if (token & VAPI_REDIS_TOKEN_BIT) {
        rv = ask(node, VAPI_SCRIPT_COMMIT, fill_claim, &about);
        if (rv == APR_SUCCESS) {
            cast_shadow(node, key, key_len, NULL, SHADOW_COMMITTED, reply, reply_len, keep);
        }
        if (rv != VAPI_REDIS_AWAY) {
            return rv;
        }
        token = take_over(node, key, key_len, token, keep);
    }
    return vapi_redis_local(node)->commit(node->local, key, key_len, token, reply, reply_len, keep);
}

/* Redis is away and the claim is its own: what was done is known here at least. */
static apr_status_t settle_shadow(vapi_redis_node_t *node, const about_t *about)
{
    cast_shadow(node, about->key, about->key_len, NULL, about->span > 0 ? SHADOW_SETTLED : SHADOW_GONE, about->reply,
                about->reply_len, about->span);
    return APR_SUCCESS;
}

apr_status_t vapi_redis_settle(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token, const char *reply,
                               apr_size_t reply_len, apr_interval_time_t keep)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { key, key_len, token, 0, reply, reply_len, keep };
    apr_uint64_t taken = token;
    apr_status_t rv = APR_NOTFOUND, here = APR_NOTFOUND;

    if (reply_len > VAPI_REDIS_LENGTH) {
        return APR_EINVAL;
    }
    if (token & VAPI_REDIS_TOKEN_BIT) {
        rv = ask(node, VAPI_SCRIPT_SETTLE, fill_claim, &about);
        taken = vapi_redis_twin(node, VAPI_TWIN_TAKEN, token);
        if (rv == APR_SUCCESS || rv == VAPI_REDIS_AWAY) {
            rv = settle_shadow(node, &about);
        }
    }
    if (taken) {
        here = vapi_redis_local(node)->settle(node->local, key, key_len, taken, reply, reply_len, keep);
    }
    return rv == APR_NOTFOUND ? here : rv;
}

apr_status_t vapi_redis_recall(vapi_state_t *st, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { key, key_len, 0, 0, NULL, 0, 0 };
    redisReply *reply;
    apr_status_t rv = recall_local(node, key, key_len, out, p);

    if (rv != APR_SUCCESS || out->verdict != VAPI_CLAIM_NONE) {
        return rv;
    }
    rv = vapi_redis_run(node, VAPI_SCRIPT_RECALL, fill_token, &about, &reply);
    if (rv == VAPI_REDIS_AWAY) {
        return recall_shadow(node, key, key_len, out, p);
    }
    if (rv == APR_SUCCESS) {
        tell(out, reply, VAPI_CLAIM_NONE, p);
        if (out->verdict == VAPI_CLAIM_NONE && !vapi_redis_number(reply, 1)) {
            recall_lost(node, key, key_len, 0, out, p);
        }
        freeReplyObject(reply);
    }
    return rv;
}

/* The shadow, and what this server claimed itself during an outage. */
static apr_status_t abandon_here(const vapi_redis_node_t *node, const char *key, apr_size_t key_len, apr_uint64_t token)
{
    apr_status_t rv = vapi_redis_local(node)->abandon(node->local, key, key_len, token);
    apr_status_t shadow_rv = APR_NOTFOUND;
    apr_size_t len;
    apr_pool_t *p;

    if ((rv == APR_NOTFOUND || !token) && apr_pool_create(&p, NULL) == APR_SUCCESS) {
        key = vapi_redis_shadow_key(key, key_len, &len, p);
        shadow_rv = vapi_redis_local(node)->abandon(node->local, key, len, token);
        apr_pool_destroy(p);
    }
    return rv == APR_NOTFOUND ? shadow_rv : rv;
}

apr_status_t vapi_redis_abandon(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token)
{
    vapi_redis_node_t *node = node_of(st);
    about_t about = { key, key_len, token, 0, NULL, 0, 0 };
    apr_status_t rv, here;

    if (token && !(token & VAPI_REDIS_TOKEN_BIT)) {
        return abandon_here(node, key, key_len, token);
    }
    rv = ask(node, VAPI_SCRIPT_ABANDON, fill_token, &about);
    if (token && rv == APR_NOTFOUND) {
        return rv;
    }
    if (token) {
        cast_shadow(node, key, key_len, NULL, SHADOW_GONE, NULL, 0, 0);
        return rv == VAPI_REDIS_AWAY ? APR_SUCCESS : rv;
    }
    here = abandon_here(node, key, key_len, 0);
    return rv == APR_SUCCESS || rv == APR_ENOSPC ? rv : here;
}
