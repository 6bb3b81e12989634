/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_pattern.h
 * @brief Regular expressions that end in time, whatever text a caller says to them (T31): PCRE2 with a match limit for each place
 *        where a match may begin, and a limit of time for all of them. Knows no httpd.
 */
#ifndef VAPI_PATTERN_H
#define VAPI_PATTERN_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct vapi_pattern_t vapi_pattern_t;

#define VAPI_PATTERN_TIME 50000    /* microseconds of a thread's work that one search may take at most, about */

/** Compiles a case-insensitive pattern (Perl's syntax, UTF-8) at start-up; it ends with `p`. @return NULL or PCRE's words and the
 * offset */
const char *vapi_pattern_make(vapi_pattern_t **out, const char *written, apr_pool_t *p);

const char *vapi_pattern_written(const vapi_pattern_t *pattern);

typedef enum { VAPI_PATTERN_MISSED = 0, VAPI_PATTERN_FOUND, VAPI_PATTERN_LIMIT } vapi_pattern_result;

/** Is it in the text? LIMIT: a limit was reached, which counts as no match. Safe between threads. Text that is not UTF-8 is
 * searched without an error: a foreign byte is a control character to it. */
vapi_pattern_result vapi_pattern_find(const vapi_pattern_t *pattern, const char *text, apr_size_t len);

/** Microseconds that this thread has worked. */
apr_time_t vapi_pattern_clock(void);

/** The same, and LIMIT at `deadline` (of vapi_pattern_clock(), in this thread) where that comes before VAPI_PATTERN_TIME has passed. */
vapi_pattern_result vapi_pattern_find_until(const vapi_pattern_t *pattern, const char *text, apr_size_t len, apr_time_t deadline);

#endif
