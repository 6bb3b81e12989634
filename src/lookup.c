/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Lookups. What one answers is kept at three places, each wider than the one before: by the question (whose expressions ask it
 * again and again), by the request (whose tool calls may ask the same), and, where cache= says so, in the state store. What is
 * kept is as hostile as what came: it is handed on as it is, and whoever writes it somewhere encodes it.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "vapi_given.h"
#include "vapi_key.h"
#include "vapi_lookup.h"
#include "vapi_metrics.h"
#include "vapi_shared.h"
#include "vapi_state.h"

#define TIMEOUT   apr_time_from_sec(2)
#define CACHE_MAX apr_time_from_sec(31 * 86400)
#define KEPT_MAX  65536

/* What is kept in the store: a letter, and behind OK's the answer as JSON. */
#define KEPT_OK   'o'
#define KEPT_NONE 'n'

struct vapi_lookup_t {
    const char *name;
    int number;                   /* in vapi_metrics; -1: not counted */
    vapi_outgoing_t *outgoing;
    apr_interval_time_t cache;    /* 0: not kept */
    vapi_on_error on_error;
    const char *described;
};

/* What a question holds of it: the answer, and what was met when it was asked, of itself and of those its request was made of. */
typedef struct told_t {
    const vapi_answer_t *answer;
    int met, barred;
} told_t;

static const vapi_answer_t none = { VAPI_LOOKUP_NONE, NULL };
static const vapi_answer_t failed = { VAPI_LOOKUP_ERROR, NULL };

/* ---- the directive ---- */

static const char *const on_errors[] = { "continue", "skip-route", "fail", NULL };

static const char *read_cache(vapi_lookup_t *lookup, const vapi_words_t *words, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, "cache"), *error;

    error = written ? vapi_word_time(&lookup->cache, written, 0, CACHE_MAX, p) : NULL;
    return error ? apr_psprintf(p, "cache=%s: must be %s", written, error) : NULL;
}

static const char *read_on_error(vapi_lookup_t *lookup, const vapi_words_t *words, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, "on-error"), *error;
    int choice = written ? vapi_word_choice(written, on_errors, &error, p) : VAPI_ON_ERROR_CONTINUE;

    lookup->on_error = (vapi_on_error)choice;
    return choice < 0 ? apr_psprintf(p, "on-error=: %s", error) : NULL;
}

static const char *described(const vapi_lookup_t *lookup, const vapi_words_t *words, apr_pool_t *p)
{
    const char *cache = vapi_words_get(words, "cache"), *on_error = vapi_words_get(words, "on-error");

    cache = cache ? vapi_word_pair("cache", cache, p) : "";
    on_error = on_error ? vapi_word_pair("on-error", on_error, p) : "";
    return apr_pstrcat(p, lookup->name, vapi_outgoing_describe(lookup->outgoing, p), cache, on_error, NULL);
}

const char *vapi_lookup_make(vapi_lookup_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env)
{
    static const vapi_key_rule_t rules[] = {
        { "url", 0 }, { "method", 0 }, { "header", 1 }, { "body", 0 }, { "sql", 0 }, { "arg", 1 }, { "bearer", 0 },
        { "secret-header", 1 }, { "ca", 0 }, { "proxy", 0 }, { "timeout", 0 }, { "cache", 0 }, { "on-error", 0 }, { NULL, 0 }
    };
    vapi_lookup_t *lookup = apr_pcalloc(env->p, sizeof(*lookup));
    const char *error;

    lookup->number = -1;
    lookup->name = vapi_words_at(words, 0);
    if (!lookup->name || !vapi_word_is_name(lookup->name) || vapi_words_at(words, 1)) {
        return "takes a NAME (letters, digits, - and _, a letter first), and then only keys";
    }
    env->place.owner = env->label = apr_pstrcat(env->p, "lookup ", lookup->name, NULL);
    env->timeout = TIMEOUT;
    env->is_action = 0;
    if ((error = vapi_words_check(words, rules, env->p)) != NULL
        || (error = vapi_outgoing_make(&lookup->outgoing, words, env)) != NULL
        || (error = read_cache(lookup, words, env->p)) != NULL || (error = read_on_error(lookup, words, env->p)) != NULL) {
        return error;
    }
    lookup->described = described(lookup, words, env->p);
    *out = lookup;
    return NULL;
}

void vapi_lookup_set_number(vapi_lookup_t *lookup, int number)
{
    lookup->number = number;
}

int vapi_lookup_number(const vapi_lookup_t *lookup)
{
    return lookup->number;
}

apr_interval_time_t vapi_lookup_cache(const vapi_lookup_t *lookup)
{
    return lookup->cache;
}

const char *vapi_lookup_name(const vapi_lookup_t *lookup)
{
    return lookup->name;
}

const char *vapi_lookup_describe(const vapi_lookup_t *lookup, apr_pool_t *p)
{
    (void)p;
    return lookup->described;
}

/* ---- what went wrong ---- */

/* Of the first failure in a request: what follows is most often the same again. */
static void note(const vapi_lookup_t *lookup, vapi_reach_t *reach, const char *what)
{
    const char *begins = apr_pstrcat(reach->notes->pool, "lookup ", lookup->name, ": ", NULL);
    int i;

    for (i = 0; i < reach->notes->nelts; i++) {
        if (strncmp(APR_ARRAY_IDX(reach->notes, i, const char *), begins, strlen(begins)) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(reach->notes, const char *) = apr_pstrcat(reach->notes->pool, begins, what, NULL);
}

/* ---- from what came to an answer ---- */

/* What is remembered in a request lives as long as it. */
static apr_pool_t *pool_of(const vapi_reach_t *reach)
{
    return apr_hash_pool_get(reach->made);
}

/* Takes the reference. */
static const vapi_answer_t *ok(json_t *fields, apr_pool_t *p)
{
    vapi_answer_t *answer = apr_palloc(p, sizeof(*answer));

    vapi_json_keep(fields, p);
    answer->state = VAPI_LOOKUP_OK;
    answer->fields = fields;
    return answer;
}

static json_t *parsed(const char *text, apr_size_t len)
{
    return json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
}

static const vapi_answer_t *judge_http(const vapi_lookup_t *lookup, const vapi_sent_t *sent, vapi_reach_t *reach)
{
    json_t *fields;

    if (sent->status == 204 || sent->status == 404) {
        return &none;
    }
    if (sent->status < 200 || sent->status > 299) {
        note(lookup, reach, apr_psprintf(reach->notes->pool, "HTTP %d after %" APR_TIME_T_FMT " ms", sent->status,
                                         apr_time_as_msec(sent->took)));
        return &failed;
    }
    if (sent->cut) {
        note(lookup, reach, apr_psprintf(reach->notes->pool, "the answer is longer than %d bytes", VAPI_ANSWER_MAX));
        return &failed;
    }
    if ((fields = parsed(sent->body, sent->body_len)) == NULL) {
        note(lookup, reach, "the answer is not JSON");
        return &failed;
    }
    return ok(fields, pool_of(reach));
}

static const vapi_answer_t *judge(const vapi_lookup_t *lookup, const vapi_sent_t *sent, vapi_reach_t *reach)
{
    switch (sent->end) {
    case VAPI_SENT_ANSWERED:
        return judge_http(lookup, sent, reach);
    case VAPI_SENT_DONE:
        return ok(sent->row ? json_incref(sent->row) : json_object(), pool_of(reach));
    case VAPI_SENT_NO_ROW:
        return &none;
    default:
        note(lookup, reach, sent->what ? sent->what : "no answer");
        return &failed;
    }
}

static const vapi_answer_t *ask_world(const vapi_lookup_t *lookup, const vapi_filled_t *filled, vapi_reach_t *reach)
{
    vapi_sender_t sender = { 0 };
    const vapi_answer_t *answer;
    vapi_sent_t sent;
    apr_pool_t *scratch;

    apr_pool_create(&scratch, pool_of(reach));
    sender.child = reach->child;
    sender.workers = filled->kind == VAPI_OUT_SQL ? vapi_child_sql_workers(reach->child) : NULL;
    sender.deadline = reach->deadline;
    sender.is_query = 1;
    vapi_outgoing_send(lookup->outgoing, filled, &sender, &sent, scratch);
    reach->asked++;
    reach->took += sent.took;
    answer = judge(lookup, &sent, reach);
    apr_pool_destroy(scratch);
    return answer;
}

/* ---- what is kept in the state store ---- */

static const vapi_answer_t *recall(const char *key, apr_size_t len, vapi_reach_t *reach)
{
    const char *value;
    apr_size_t value_len;
    json_t *fields;

    if (reach->state->provider->get(reach->state, key, len, &value, &value_len, pool_of(reach)) != APR_SUCCESS
        || value_len == 0) {
        return NULL;
    }
    if (*value == KEPT_NONE) {
        return &none;
    }
    fields = *value == KEPT_OK ? parsed(value + 1, value_len - 1) : NULL;
    return fields ? ok(fields, pool_of(reach)) : NULL;
}

/* Also where the store did not say that it keeps it: it may. */
static void tell_kept(const char *key, apr_size_t len, vapi_reach_t *reach)
{
    if (reach->kept) {
        vapi_owned_add(reach->kept, VAPI_KIND_VALUE, key, len);
    }
}

/* An answer that is too long, or for which there is no room, is asked again the next time. */
static void keep(const vapi_lookup_t *lookup, const vapi_answer_t *answer, const char *key, apr_size_t len, vapi_reach_t *reach)
{
    char *json = answer->fields ? json_dumps(answer->fields, JSON_COMPACT | JSON_ENCODE_ANY) : NULL, *value;
    apr_size_t value_len = 1 + (json ? strlen(json) : 0);

    if (value_len <= KEPT_MAX && (json || answer->state == VAPI_LOOKUP_NONE)) {
        value = apr_palloc(pool_of(reach), value_len);
        *value = json ? KEPT_OK : KEPT_NONE;
        if (json) {
            memcpy(value + 1, json, value_len - 1);
        }
        reach->state->provider->put(reach->state, key, len, value, value_len, lookup->cache);
        tell_kept(key, len, reach);
    }
    free(json);
}

static vapi_metric_lookup end_of(const vapi_answer_t *answer)
{
    return answer->state == VAPI_LOOKUP_OK     ? VAPI_METRIC_OK
           : answer->state == VAPI_LOOKUP_NONE ? VAPI_METRIC_NONE
                                               : VAPI_METRIC_ERROR;
}

static const vapi_answer_t *ask_store_or_world(const vapi_lookup_t *lookup, const vapi_filled_t *filled, const char *key,
                                               apr_size_t len, vapi_reach_t *reach)
{
    int kept = lookup->cache && reach->state && reach->state->provider->put && reach->state->provider->get;
    const vapi_answer_t *answer = kept ? recall(key, len, reach) : NULL;

    if (answer) {
        reach->asked++;
        vapi_metrics_lookup(reach->metrics, lookup->number, VAPI_METRIC_CACHED);
        tell_kept(key, len, reach);
        return answer;
    }
    answer = ask_world(lookup, filled, reach);
    vapi_metrics_lookup(reach->metrics, lookup->number, end_of(answer));
    if (kept && answer->state != VAPI_LOOKUP_ERROR) {
        keep(lookup, answer, key, len, reach);
    }
    return answer;
}

/* ---- asking ---- */

/* Which lookup of which virtual host, as it is configured now, and all that it sends. Another lookup may send the same with another
 * secret, to be told other things. */
static const char *make_key(const vapi_lookup_t *lookup, const vapi_filled_t *filled, const vapi_reach_t *reach, apr_size_t *len)
{
    const char *const words[] = { "lookup", reach->host, lookup->name, lookup->described };
    apr_size_t own_len, filled_len;
    const char *own = vapi_key_join(words, sizeof(words) / sizeof(*words), &own_len, pool_of(reach));
    const char *sent = vapi_filled_key(filled, &filled_len, pool_of(reach));
    char *key = apr_palloc(pool_of(reach), own_len + filled_len);

    memcpy(key, own, own_len);
    memcpy(key + own_len, sent, filled_len);
    *len = own_len + filled_len;
    return key;
}

static const vapi_answer_t *reach_out(const vapi_lookup_t *lookup, vapi_question_t *q)
{
    vapi_reach_t *reach = q->reach;
    const vapi_answer_t *answer;
    vapi_filled_t filled;
    const char *why, *key;
    vapi_fill_end end;
    apr_size_t len;

    if (reach->only_reads && !vapi_outgoing_only_reads(lookup->outgoing)) {
        return &none;
    }
    end = vapi_outgoing_fill(lookup->outgoing, q, NULL, &filled, &why);
    if (end == VAPI_FILLED_EMPTY) {
        return &none;
    }
    if (end == VAPI_FILLED_BAD) {
        note(lookup, reach, why);
        return &failed;
    }
    key = make_key(lookup, &filled, reach, &len);
    if ((answer = apr_hash_get(reach->made, key, (apr_ssize_t)len)) == NULL) {
        answer = ask_store_or_world(lookup, &filled, key, len, reach);
        apr_hash_set(reach->made, key, (apr_ssize_t)len, answer);
    }
    return answer;
}

static const vapi_answer_t *answer_of(const vapi_lookup_t *lookup, vapi_question_t *q)
{
    const vapi_answer_t *given = q->given ? apr_hash_get(q->given->lookups, lookup->name, APR_HASH_KEY_STRING) : NULL;

    return given ? given : q->reach ? reach_out(lookup, q) : &none;
}

static int severer(int a, int b)
{
    return a > b ? a : b;
}

/* The request itself may be made of what other lookups answer: what is met there counts each time that this one is asked. */
static const told_t *tell(const vapi_lookup_t *lookup, vapi_question_t *q)
{
    told_t *told = apr_pcalloc(q->pool, sizeof(*told));
    int met = q->met, barred = q->barred;

    told->answer = &none;    /* what it is while it is made: one that asks for itself gets no further */
    vapi_question_keep(q, lookup, told);
    q->met = q->barred = 0;
    told->answer = answer_of(lookup, q);
    told->met = q->met;
    told->barred = q->barred;
    if (told->answer->state == VAPI_LOOKUP_ERROR) {
        told->met |= VAPI_MET_LOOKUP_ERROR;
        told->barred = severer(told->barred, lookup->on_error);
    }
    q->met = met;
    q->barred = barred;
    return told;
}

const char *vapi_lookup_ask(const vapi_lookup_t *lookup, vapi_question_t *q, const char *path)
{
    static const char *const states[] = { "ok", "none", "error" };
    const told_t *told = vapi_question_answer(q, lookup);

    if (!told && q->reach && q->reach->only_asked) {    /* not remembered: whoever may wait can still ask */
        note(lookup, q->reach, "the decision did not ask it, and an action before the transfer asks nothing: it is none there");
        return *path ? "" : states[VAPI_LOOKUP_NONE];
    }
    if (!told) {
        told = tell(lookup, q);
    }
    q->met |= told->met;
    q->barred = severer(q->barred, told->barred);
    if (!*path) {
        return states[told->answer->state];
    }
    return told->answer->state == VAPI_LOOKUP_OK ? vapi_json_lookup(told->answer->fields, path, q->pool) : "";
}
