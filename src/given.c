/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <string.h>

#include <apr_strings.h>

#include "vapi_given.h"
#include "vapi_pool.h"
#include "vapi_text.h"

#define ATTEMPT_MAX 1000
#define STEPS_MAX   32      /* of a field's path */
#define FREE_MAX    1000000

static const char form[] = "must be LOOKUP.FIELD=VALUE, LOOKUP=ok|none|error, var:NAME=VALUE, pool:NAME=busy|free, pool:NAME.free=N or "
                           "attempt=N";

vapi_given_t *vapi_given_make(apr_pool_t *p)
{
    vapi_given_t *given = apr_pcalloc(p, sizeof(*given));

    given->lookups = apr_hash_make(p);
    given->sets = apr_hash_make(p);
    given->pools = apr_hash_make(p);
    return given;
}

/* ---- a lookup ---- */

static vapi_answer_t *new_answer(vapi_given_t *given, const char *name, vapi_lookup_state state, apr_pool_t *p)
{
    vapi_answer_t *answer = apr_pcalloc(p, sizeof(*answer));

    answer->state = state;
    if (state == VAPI_LOOKUP_OK) {
        answer->fields = json_object();
        vapi_json_keep(answer->fields, p);
    }
    apr_hash_set(given->lookups, name, APR_HASH_KEY_STRING, answer);
    return answer;
}

/* The object that a step leads to, made where there is none; NULL: a value stands there, or the step is no text. */
static json_t *enter(json_t *object, const char *step)
{
    json_t *inner = json_object_get(object, step);

    if (!inner) {
        inner = json_object();
        return json_object_set_new(object, step, inner) == 0 ? inner : NULL;
    }
    return json_is_object(inner) ? inner : NULL;
}

static const char *set_field(json_t *object, const char *path, const char *value, apr_pool_t *p)
{
    char *step = apr_pstrdup(p, path), *dot;
    int steps = 0;

    for (; (dot = strchr(step, '.')) != NULL; step = dot + 1) {
        *dot = '\0';
        if (!*step || ++steps == STEPS_MAX) {
            return form;
        }
        if ((object = enter(object, step)) == NULL) {
            return "gives a value and fields below it";
        }
    }
    if (!*step) {
        return form;
    }
    if (json_is_object(json_object_get(object, step))) {
        return "gives a value and fields below it";
    }
    return json_object_set_new(object, step, vapi_text_json(value, p)) == 0 ? NULL : form;
}

static const char *add_lookup(vapi_given_t *given, const char *what, const char *value, const vapi_names_t *names, apr_pool_t *p)
{
    static const char *const states[] = { "ok", "none", "error", NULL };
    const char *dot = strchr(what, '.'), *name = dot ? apr_pstrmemdup(p, what, (apr_size_t)(dot - what)) : what, *unused;
    int state = dot ? VAPI_LOOKUP_OK : vapi_word_choice(value, states, &unused, p);
    vapi_answer_t *answer;

    if (!vapi_word_is_name(name) || state < 0) {
        return form;
    }
    if (!names || !names->lookups || !apr_hash_get(names->lookups, name, APR_HASH_KEY_STRING)) {
        return apr_psprintf(p, "there is no VapiLookup '%.64s'", name);
    }
    answer = apr_hash_get(given->lookups, name, APR_HASH_KEY_STRING);
    if (answer && (int)answer->state != state) {
        return apr_psprintf(p, "gives the VapiLookup '%.64s' two states", name);
    }
    if (!answer) {
        answer = new_answer(given, name, (vapi_lookup_state)state, p);
    }
    return dot ? set_field(answer->fields, dot + 1, value, p) : NULL;
}

/* ---- all of them ---- */

static const char *add_attempt(vapi_given_t *given, const char *value, apr_pool_t *p)
{
    apr_int64_t n;

    if (vapi_word_number(&n, value, 0, ATTEMPT_MAX, p)) {
        return "attempt must be a whole number from 0 to 1000";
    }
    given->attempt = (int)n;
    return NULL;
}

static const char *add_set(vapi_given_t *given, const char *name, const char *value, apr_pool_t *p)
{
    if (!vapi_word_is_name(name)) {
        return form;
    }
    apr_hash_set(given->sets, name, APR_HASH_KEY_STRING, apr_pstrdup(p, value));
    return NULL;
}

/* NAME=busy|free or NAME.free=N. */
static const char *add_pool(vapi_given_t *given, const char *what, const char *value, const vapi_names_t *names, apr_pool_t *p)
{
    static const char *const states[] = { "busy", "free", NULL };
    const char *dot = strchr(what, '.'), *name = dot ? apr_pstrmemdup(p, what, (apr_size_t)(dot - what)) : what, *unused;
    int state = dot ? -1 : vapi_word_choice(value, states, &unused, p), *free_capacity;
    const vapi_pool_t *pool;
    apr_int64_t n = 0;

    if (!vapi_word_is_name(name) || (dot ? strcmp(dot, ".free") != 0 || vapi_word_number(&n, value, 0, FREE_MAX, p) : state < 0)) {
        return form;
    }
    if (!names || !names->pools || (pool = apr_hash_get(names->pools, name, APR_HASH_KEY_STRING)) == NULL) {
        given->lacks_pool = 1;
        return apr_psprintf(p, "there is no VapiPool '%.64s'", name);
    }
    if (apr_hash_get(given->pools, name, APR_HASH_KEY_STRING)) {
        return apr_psprintf(p, "gives the VapiPool '%.64s' twice", name);
    }
    free_capacity = apr_palloc(p, sizeof(*free_capacity));
    *free_capacity = dot ? (int)n : state ? vapi_pool_capacity(pool) : 0;
    apr_hash_set(given->pools, name, APR_HASH_KEY_STRING, free_capacity);
    return NULL;
}

const char *vapi_given_add(vapi_given_t *given, const char *with, const vapi_names_t *names, apr_pool_t *p)
{
    const char *equals = strchr(with, '='), *what;

    if (!equals) {
        return form;
    }
    what = apr_pstrmemdup(p, with, (apr_size_t)(equals - with));
    if (strcmp(what, "attempt") == 0) {
        return add_attempt(given, equals + 1, p);
    }
    if (strncmp(what, "var:", 4) == 0) {
        return add_set(given, what + 4, equals + 1, p);
    }
    if (vapi_names_pool(what)) {
        return add_pool(given, vapi_names_pool(what), equals + 1, names, p);
    }
    return add_lookup(given, what, equals + 1, names, p);
}
