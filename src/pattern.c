/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  pattern.c
 * @brief Regular expressions with an end. PCRE2's match limit counts the steps from one place where a match may begin, and a
 *        step may run over the whole text: alone it bounds nothing. So a callout stands before every item of a pattern, and looks
 *        at the clock.
 */
#include "vapi_pattern.h"

#include <string.h>
#include <time.h>

#include <apr_strings.h>
#include <glib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "vapi_clock.h"

#define MATCH_LIMIT     20000      /* steps from one place */
#define HEAP_LIMIT      4096       /* KiB: a pattern with many groups needs much for each step */
#define CLOCK_INTERVAL  16         /* callouts from one look at the clock to the next */
#define FOREIGN         '\x1a'     /* SUBSTITUTE, in the place of a byte that is not UTF-8 */

struct vapi_pattern_t {
    const char *written;
    pcre2_code *code;
};

/* One search: what its callouts know. Its time is that of this thread's own work: a machine that is busy with other things must not make
 * the caller's words unheard. The clock of that costs ten times as much as the other, which is asked first. */
typedef struct search_t {
    apr_time_t deadline;           /* vapi_pattern_clock() */
    apr_time_t not_before;         /* vapi_clock_now(): earlier than this the deadline cannot have come */
    unsigned int callouts;
} search_t;

apr_time_t vapi_pattern_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (apr_time_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static apr_status_t release(void *code)
{
    pcre2_code_free(code);
    return APR_SUCCESS;
}

const char *vapi_pattern_make(vapi_pattern_t **out, const char *written, apr_pool_t *p)
{
    static const uint32_t options = PCRE2_CASELESS | PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
    vapi_pattern_t *pattern = apr_palloc(p, sizeof(*pattern));
    PCRE2_UCHAR words[256];
    PCRE2_SIZE offset;
    int error;

    pattern->written = apr_pstrdup(p, written);
    pattern->code = pcre2_compile((PCRE2_SPTR)written, PCRE2_ZERO_TERMINATED, options, &error, &offset, NULL);
    if (!pattern->code) {
        pcre2_get_error_message(error, words, sizeof(words));
        return apr_psprintf(p, "%s, at offset %" APR_SIZE_T_FMT, (const char *)words, (apr_size_t)offset);
    }
    apr_pool_cleanup_register(p, pattern->code, release, apr_pool_cleanup_null);
    *out = pattern;
    return NULL;
}

const char *vapi_pattern_written(const vapi_pattern_t *pattern)
{
    return pattern->written;
}

static int look_at_clock(pcre2_callout_block *block, void *baton)
{
    search_t *search = baton;

    (void)block;
    if (++search->callouts % CLOCK_INTERVAL != 0 || vapi_clock_now() < search->not_before) {
        return 0;
    }
    return vapi_pattern_clock() > search->deadline ? PCRE2_ERROR_CALLOUT : 0;
}

/* Searches a text that is UTF-8. Where there is no memory to search with, nothing is found. */
static vapi_pattern_result find_valid(const vapi_pattern_t *pattern, const char *text, apr_size_t len, search_t *search)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int found = PCRE2_ERROR_NOMEMORY;

    if (data && context) {
        pcre2_set_match_limit(context, MATCH_LIMIT);
        pcre2_set_heap_limit(context, HEAP_LIMIT);
        pcre2_set_callout(context, look_at_clock, search);
        found = pcre2_match(pattern->code, (PCRE2_SPTR)text, len, 0, PCRE2_NO_UTF_CHECK, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    if (found >= 0) {
        return VAPI_PATTERN_FOUND;
    }
    return found == PCRE2_ERROR_NOMATCH ? VAPI_PATTERN_MISSED : VAPI_PATTERN_LIMIT;
}

/* A copy in which every byte that is not UTF-8 became a character that is; NULL for want of memory. */
static char *mended(const char *text, apr_size_t len)
{
    char *copy = g_try_malloc(len), *at = copy;
    const gchar *end;

    if (!copy) {
        return NULL;
    }
    memcpy(copy, text, len);
    while (!g_utf8_validate(at, (gssize)(copy + len - at), &end)) {
        at += end - at;
        *at++ = FOREIGN;
    }
    return copy;
}

vapi_pattern_result vapi_pattern_find_until(const vapi_pattern_t *pattern, const char *text, apr_size_t len, apr_time_t deadline)
{
    const apr_time_t now = vapi_pattern_clock(), own = now + VAPI_PATTERN_TIME, until = own < deadline ? own : deadline;
    search_t search = { until, vapi_clock_now() + (until - now), 0 };
    vapi_pattern_result result;
    char *copy;

    if (now >= deadline) {
        return VAPI_PATTERN_LIMIT;
    }
    if (g_utf8_validate(text, (gssize)len, NULL)) {
        return find_valid(pattern, text, len, &search);
    }
    copy = mended(text, len);
    result = copy ? find_valid(pattern, copy, len, &search) : VAPI_PATTERN_LIMIT;
    g_free(copy);
    return result;
}

vapi_pattern_result vapi_pattern_find(const vapi_pattern_t *pattern, const char *text, apr_size_t len)
{
    return vapi_pattern_find_until(pattern, text, len, APR_INT64_MAX);
}
