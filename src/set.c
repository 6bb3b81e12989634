/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_strings.h>

#include "vapi_given.h"
#include "vapi_reach.h"
#include "vapi_set.h"

typedef struct line_t {
    vapi_text_t *text;
    vapi_expression_t *when;    /* NULL: always */
} line_t;

struct vapi_set_t {
    const char *name;
    apr_array_header_t *lines;  /* line_t */
};

/* What a question holds of it: the value, and what was met while it was made. */
typedef struct value_t {
    const char *text;
    int read;                   /* by its text alone: expressions choose among the administrator's values */
    int met, barred;
} value_t;

vapi_set_t *vapi_set_make(const char *name, apr_pool_t *p)
{
    vapi_set_t *set = apr_palloc(p, sizeof(*set));

    set->name = apr_pstrdup(p, name);
    set->lines = apr_array_make(p, 3, sizeof(line_t));
    return set;
}

const char *vapi_set_add(vapi_set_t *set, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *written = vapi_words_at(words, 1), *when = vapi_words_at(words, 2), *error;
    line_t line = { NULL, NULL };

    if (!written) {
        return "a T is missing: the value";
    }
    place.owner = apr_pstrcat(p, "var ", set->name, NULL);
    if ((error = vapi_text_parse(&line.text, written, place, p, ptemp)) != NULL) {
        return apr_psprintf(p, "in \"%s\": %s", written, error);
    }
    if (when && (error = vapi_expression_parse(&line.when, when, 0, place, p, ptemp)) != NULL) {
        return apr_psprintf(p, "in \"%s\": %s", when, error);
    }
    APR_ARRAY_PUSH(set->lines, line_t) = line;
    return NULL;
}

const char *vapi_set_name(const vapi_set_t *set)
{
    return set->name;
}

int vapi_set_lines(const vapi_set_t *set)
{
    return set->lines->nelts;
}

const char *vapi_set_describe(const vapi_set_t *set, int i, apr_pool_t *p)
{
    const line_t *line = &APR_ARRAY_IDX(set->lines, i, line_t);

    return apr_pstrcat(p, " \"", vapi_text_written(line->text), "\"", line->when ? " \"" : "",
                       line->when ? vapi_expression_written(line->when) : "", line->when ? "\"" : "", NULL);
}

/* An expression that fails is not true. */
static const line_t *true_line(const vapi_set_t *set, vapi_question_t *q)
{
    const char *error;
    int i;

    for (i = 0; i < set->lines->nelts; i++) {
        const line_t *line = &APR_ARRAY_IDX(set->lines, i, line_t);
        if (!line->when || vapi_expression_true(line->when, q, &error) > 0) {
            return line;
        }
    }
    return NULL;
}

static value_t *make_value(const vapi_set_t *set, vapi_question_t *q)
{
    value_t *value = apr_pcalloc(q->pool, sizeof(*value));
    const int read = q->read, met = q->met, barred = q->barred;
    const line_t *line;
    const char *why;

    value->text = "";    /* what it is while it is made: a cycle ends here, should one get past the start */
    vapi_question_keep(q, set, value);
    q->met = q->barred = 0;
    line = true_line(set, q);
    q->read = 0;
    if (line && (value->text = vapi_text_expand(line->text, q, VAPI_TEXT_DIAL, &why)) == NULL) {
        value->text = "";
    }
    value->read = q->read;
    value->met = q->met;
    value->barred = q->barred;
    if (q->reach && q->reach->only_asked) {    /* a lookup that it wants may be none only here: not remembered, as the lookup is not */
        vapi_question_keep(q, set, NULL);
    }
    q->read = read;
    q->met = met;
    q->barred = barred;
    return value;
}

static const char *given_value(const vapi_set_t *set, const vapi_question_t *q)
{
    return q->given ? apr_hash_get(q->given->sets, set->name, APR_HASH_KEY_STRING) : NULL;
}

const char *vapi_set_value(const vapi_set_t *set, vapi_question_t *q)
{
    const char *given = given_value(set, q);
    const value_t *value = given ? NULL : vapi_question_answer(q, set);

    if (given) {
        return given;
    }
    if (!value) {
        value = make_value(set, q);
    }
    q->read |= value->read;
    q->met |= value->met;
    q->barred = value->barred > q->barred ? value->barred : q->barred;
    return value->text;
}
