/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>

#include "vapi_action.h"

#define TIMEOUT_REQUIRED apr_time_from_sec(2)
#define TIMEOUT          apr_time_from_sec(10)

struct vapi_action_t {
    const char *name, *id;
    vapi_event event;
    int required;
    vapi_expression_t *when;      /* NULL: always */
    apr_array_header_t *routes;   /* const char *; NULL: all */
    vapi_place_t place;
    vapi_outgoing_t *outgoing;
    int has_default_body;
};

static const char *const event_names[] = {
    "before-transfer", "before-answer", "after-transfer", "transfer-failed", "answered", "end-of-call", NULL
};

static const vapi_key_rule_t rules[] = {
    { "route", 0 }, { "when", 0 }, { "url", 0 }, { "method", 0 }, { "header", 1 }, { "body", 0 }, { "sql", 0 }, { "arg", 1 },
    { "bearer", 0 }, { "secret-header", 1 }, { "ca", 0 }, { "proxy", 0 }, { "timeout", 0 }, { "file", 0 }, { NULL, 0 }
};

static const char *read_required(vapi_action_t *a, const char *word, apr_pool_t *p)
{
    if (!word) {
        return NULL;
    }
    if (strcmp(word, "required") != 0) {
        return "behind the EVENT only the word required may stand, and then keys";
    }
    if (a->event != VAPI_EVENT_BEFORE_TRANSFER && a->event != VAPI_EVENT_BEFORE_ANSWER) {
        return apr_psprintf(p, "required goes with before-transfer and before-answer: at %s nothing can be gated any more",
                            event_names[a->event]);
    }
    a->required = 1;
    return NULL;
}

static const char *read_routes(vapi_action_t *a, const char *labels, apr_pool_t *p)
{
    char *label, *end;

    a->routes = apr_array_make(p, 2, sizeof(const char *));
    for (label = apr_pstrdup(p, labels); label; label = end) {
        if ((end = strchr(label, ',')) != NULL) {
            *end++ = '\0';
        }
        apr_collapse_spaces(label, label);
        if (!*label) {
            return apr_psprintf(p, "route=%s: must be LABEL[,LABEL ...]", labels);
        }
        APR_ARRAY_PUSH(a->routes, const char *) = label;
    }
    return NULL;
}

/* Does what goes out take a text, without a body=FILE that says which? */
static int wants_body(const vapi_action_t *a, const vapi_words_t *words)
{
    const char *method = vapi_words_get(words, "method");

    if (vapi_outgoing_has_body(a->outgoing) || vapi_outgoing_kind(a->outgoing) == VAPI_OUT_SQL) {
        return 0;
    }
    return vapi_outgoing_kind(a->outgoing) == VAPI_OUT_FILE || !method || strcmp(method, "POST") == 0
           || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

static const char *read_positionals(vapi_action_t *a, const vapi_words_t *words, apr_pool_t *p)
{
    const char *event = vapi_words_at(words, 1), *error = NULL;
    int choice;

    a->name = vapi_words_at(words, 0);
    if (!a->name || !vapi_word_is_name(a->name)) {
        return apr_psprintf(p, "'%s' is no NAME: a letter, then letters, digits, _ and -", a->name ? a->name : "");
    }
    if (!event) {
        return "an EVENT is missing: before-transfer, before-answer, after-transfer, transfer-failed, answered or end-of-call";
    }
    if ((choice = vapi_word_choice(event, event_names, &error, p)) < 0) {
        return error;
    }
    a->event = (vapi_event)choice;
    if ((error = read_required(a, vapi_words_at(words, 2), p)) != NULL) {
        return error;
    }
    return vapi_words_at(words, 3) ? apr_psprintf(p, "'%s' is one word too many", vapi_words_at(words, 3)) : NULL;
}

const char *vapi_action_make(vapi_action_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env)
{
    vapi_action_t *a = apr_pcalloc(env->p, sizeof(*a));
    const char *routes = vapi_words_get(words, "route"), *when = vapi_words_get(words, "when"), *error;

    a->place = env->place;
    if ((error = read_positionals(a, words, env->p)) != NULL || (error = vapi_words_check(words, rules, env->p)) != NULL
        || (routes && (error = read_routes(a, routes, env->p)) != NULL)) {
        return error;
    }
    if (when && (error = vapi_expression_parse(&a->when, when, 0, env->place, env->p, env->ptemp)) != NULL) {
        return apr_psprintf(env->p, "in when=\"%s\": %s", when, error);
    }
    env->is_action = 1;
    env->timeout = a->required ? TIMEOUT_REQUIRED : TIMEOUT;
    if ((error = vapi_outgoing_make(&a->outgoing, words, env)) != NULL) {
        return error;
    }
    a->has_default_body = wants_body(a, words);
    *out = a;
    return NULL;
}

const char *vapi_action_name(const vapi_action_t *a)
{
    return a->name;
}

vapi_event vapi_action_event(const vapi_action_t *a)
{
    return a->event;
}

const char *vapi_event_name(vapi_event event)
{
    return event_names[event];
}

int vapi_action_is_required(const vapi_action_t *a)
{
    return a->required;
}

const apr_array_header_t *vapi_action_routes(const vapi_action_t *a)
{
    return a->routes;
}

vapi_place_t vapi_action_place(const vapi_action_t *a)
{
    return a->place;
}

vapi_outgoing_t *vapi_action_outgoing(const vapi_action_t *a)
{
    return a->outgoing;
}

int vapi_action_has_default_body(const vapi_action_t *a)
{
    return a->has_default_body;
}

const char *vapi_action_describe(const vapi_action_t *a, apr_pool_t *p)
{
    return apr_pstrcat(p, " ", event_names[a->event], a->required ? " required" : "",
                       a->routes ? vapi_word_pair("route", apr_array_pstrcat(p, a->routes, ','), p) : "",
                       a->when ? vapi_word_pair("when", vapi_expression_written(a->when), p) : "",
                       vapi_outgoing_describe(a->outgoing, p), NULL);
}

void vapi_action_set_id(vapi_action_t *a, const char *id)
{
    a->id = id;
}

const char *vapi_action_id(const vapi_action_t *a)
{
    return a->id;
}

/* ---- at a call ---- */

static int is_for_route(const vapi_action_t *a, const char *route)
{
    int i;

    for (i = 0; a->routes && i < a->routes->nelts; i++) {
        if (route && strcmp(APR_ARRAY_IDX(a->routes, i, const char *), route) == 0) {
            return 1;
        }
    }
    return !a->routes;
}

int vapi_action_applies(const vapi_action_t *a, vapi_event event, vapi_question_t *q, int *failed)
{
    const int read = q->read, met = q->met, barred = q->barred;
    const char *error;
    int holds;

    *failed = 0;
    if (a->event != event || !is_for_route(a, q->route)) {
        return 0;
    }
    if (!a->when) {
        return 1;
    }
    holds = vapi_expression_true(a->when, q, &error);
    q->read = read;    /* what an action asks is no part of the decision */
    q->met = met;
    q->barred = barred;
    *failed = holds < 0;
    return holds < 0 ? a->required : holds;
}
