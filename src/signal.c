/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Patterns in the caller's own turns. */
#include "vapi_signal.h"

#include <string.h>

#include <apr_strings.h>


#define ALL_TURNS_TIME 100000   /* microseconds for all patterns in all turns */

typedef struct weighed_t {
    vapi_pattern_t *pattern;
    int weight;
} weighed_t;

struct vapi_signal_t {
    const char *name;
    apr_array_header_t *patterns;   /* weighed_t */
};

/* What a walk over the turns looks for, and what it came to. */
typedef struct hearing_t {
    const apr_array_header_t *patterns;   /* of vapi_signal_sum */
    const vapi_pattern_t *pattern;        /* of vapi_signal_said */
    apr_time_t deadline;
    int sum;
    int limited;
} hearing_t;

vapi_signal_t *vapi_signal_make(const char *name, apr_pool_t *p)
{
    vapi_signal_t *signal = apr_palloc(p, sizeof(*signal));

    signal->name = name;
    signal->patterns = apr_array_make(p, 4, sizeof(weighed_t));
    return signal;
}

const char *vapi_signal_name(const vapi_signal_t *signal)
{
    return signal->name;
}

const char *vapi_signal_add(vapi_signal_t *signal, const char *regex, int weight, apr_pool_t *p)
{
    weighed_t added = { NULL, weight };
    const char *error = vapi_pattern_make(&added.pattern, regex, p);

    if (!error) {
        APR_ARRAY_PUSH(signal->patterns, weighed_t) = added;
    }
    return error;
}

/* As the words of a line are written in quotes. */
static const char *quoted(const char *text, apr_pool_t *p)
{
    char *const line = apr_palloc(p, 2 * strlen(text) + 3), *to = line;

    *to++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            *to++ = '\\';
        }
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return line;
}

const char *vapi_signal_describe(const vapi_signal_t *signal, apr_pool_t *p)
{
    apr_array_header_t *parts = apr_array_make(p, signal->patterns->nelts, sizeof(const char *));
    int i;

    for (i = 0; i < signal->patterns->nelts; i++) {
        const weighed_t *weighed = &APR_ARRAY_IDX(signal->patterns, i, weighed_t);

        APR_ARRAY_PUSH(parts, const char *) =
            apr_psprintf(p, " %s weight=%d", quoted(vapi_pattern_written(weighed->pattern), p), weighed->weight);
    }
    return apr_array_pstrcat(p, parts, 0);
}

static int hears(hearing_t *hearing, const vapi_pattern_t *pattern, const char *text, apr_size_t len)
{
    const vapi_pattern_result result = vapi_pattern_find_until(pattern, text, len, hearing->deadline);

    hearing->limited |= result == VAPI_PATTERN_LIMIT;
    return result == VAPI_PATTERN_FOUND;
}

static int weigh_turn(void *baton, const char *text, apr_size_t len)
{
    hearing_t *hearing = baton;
    int i;

    for (i = 0; i < hearing->patterns->nelts; i++) {
        const weighed_t *weighed = &APR_ARRAY_IDX(hearing->patterns, i, weighed_t);

        if (hears(hearing, weighed->pattern, text, len)) {
            hearing->sum += weighed->weight;
        }
    }
    return 0;
}

static int search_turn(void *baton, const char *text, apr_size_t len)
{
    hearing_t *hearing = baton;

    return hears(hearing, hearing->pattern, text, len);
}

int vapi_signal_sum(const vapi_signal_t *signal, vapi_message_t *m, int *limited)
{
    hearing_t hearing = { signal->patterns, NULL, vapi_pattern_clock() + ALL_TURNS_TIME, 0, 0 };

    vapi_conversation_each(m, weigh_turn, &hearing);
    *limited |= hearing.limited;
    return hearing.sum;
}

int vapi_signal_said(const vapi_pattern_t *pattern, vapi_message_t *m, int *limited)
{
    hearing_t hearing = { NULL, pattern, vapi_pattern_clock() + ALL_TURNS_TIME, 0, 0 };
    const int said = vapi_conversation_each(m, search_turn, &hearing);

    *limited |= hearing.limited;
    return said;
}
