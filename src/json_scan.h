/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Walking JSON text: where a value ends, strictly, without recursion and without looking into strings. Private to payload.c.
 */
#ifndef JSON_SCAN_H
#define JSON_SCAN_H

#include <string.h>

#include <apr.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "vapi_payload.h"

static const char not_json[] = "not JSON";
static const char too_deep[] = "nested too deep";
static const char too_many_values[] = "too many values";

/*
 * The body, or a container in it, being walked. Its last byte is known to be a closing bracket, which is part of no blank, number,
 * literal, comma or colon: so it stops every loop, and only strings and what follows a closing bracket need a look at `end`.
 */
typedef struct scan_t {
    const char *end;
    apr_uint32_t values_left;
    const char *why;
} scan_t;

static const char *refuse(scan_t *s, const char *why)
{
    s->why = why;
    return NULL;
}

static inline int is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *skip_space(const char *p)
{
    while (is_space(*p)) {
        p++;
    }
    return p;
}

/* Is there one among the next eight bytes? A byte of x is zero where the high bit of (x - 01..01) & ~x & 80..80 first stands. */
static inline int has_quote_or_backslash(const char *p)
{
    const apr_uint64_t ones = APR_UINT64_C(0x0101010101010101);
    apr_uint64_t quote, backslash;

    memcpy(&quote, p, sizeof(quote));
    backslash = quote ^ (ones * '\\');
    quote ^= ones * '"';
    return ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)) & (ones << 7)) != 0;
}

/* From behind the opening quote to behind the closing one; NULL if there is none. Short strings are the rule: no call, one load. */
static inline const char *string_end(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');

    while (end - p >= 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(const void *)p);
        const int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));

        if (!found) {
            p += 16;
            continue;
        }
        p += __builtin_ctz((unsigned int)found);
        if (*p == '"') {
            return p + 1;
        }
        p += 2;
    }
#endif
    while (p < end) {
        if (end - p >= 8 && !has_quote_or_backslash(p)) {
            p += 8;
            continue;
        }
        if (*p == '"') {
            return p + 1;
        }
        p += *p == '\\' ? 2 : 1;
    }
    return NULL;
}

static inline const char *digits_end(const char *p)
{
    if ((unsigned char)(*p - '0') > 9) {
        return NULL;
    }
    do {
        p++;
    } while ((unsigned char)(*p - '0') <= 9);
    return p;
}

/* JSON's number grammar; whether the value fits is seen when it is read. A digit after a leading 0 is left for whoever wants a
 * comma. */
static inline const char *number_end(const char *p)
{
    if (*p == '-') {
        p++;
    }
    p = *p == '0' ? p + 1 : digits_end(p);
    if (p && *p == '.') {
        p = digits_end(p + 1);
    }
    if (p && (*p == 'e' || *p == 'E')) {
        p++;
        p = digits_end(*p == '+' || *p == '-' ? p + 1 : p);
    }
    return p;
}

static inline const char *literal_end(const char *p)
{
    if (*p == 't') {
        return p[1] == 'r' && p[2] == 'u' && p[3] == 'e' ? p + 4 : NULL;
    }
    if (*p == 'f') {
        return p[1] == 'a' && p[2] == 'l' && p[3] == 's' && p[4] == 'e' ? p + 5 : NULL;
    }
    return *p == 'n' && p[1] == 'u' && p[2] == 'l' && p[3] == 'l' ? p + 4 : NULL;
}

/* From a member's key to its value; *key_end (may be NULL) gets the place behind the closing quote. */
static inline const char *value_of_key(const char *p, const char *end, const char **key_end)
{
    if (*p != '"' || !(p = string_end(p + 1, end))) {
        return NULL;
    }
    if (key_end) {
        *key_end = p;
    }
    p = skip_space(p);
    return *p == ':' ? skip_space(p + 1) : NULL;
}

/*
 * Walks one value that begins at p, `depth` containers deep, without recursion.
 * @return behind it (which may be s->end), or NULL and s->why
 */
static const char *skip_value(scan_t *s, const char *p, const int depth)
{
    apr_uint64_t objects[VAPI_PAYLOAD_MAX_DEPTH / 64 + 1] = { 0 };   /* bit d: the container at depth d is an object */
    const char *const end = s->end;
    int deep = depth, in_object = 0;

value:
    if (s->values_left-- == 0) {
        return refuse(s, too_many_values);
    }
    if (*p == '"') {
        p = string_end(p + 1, end);
    }
    else if (*p == '{' || *p == '[') {
        if (++deep > VAPI_PAYLOAD_MAX_DEPTH) {
            return refuse(s, too_deep);
        }
        in_object = *p == '{';
        objects[deep / 64] = (objects[deep / 64] & ~(1ULL << (deep % 64))) | ((apr_uint64_t)in_object << (deep % 64));
        p = skip_space(p + 1);
        if (*p == (in_object ? '}' : ']')) {
            goto close;
        }
        goto item;
    }
    else {
        p = (unsigned char)(*p - '0') <= 9 || *p == '-' ? number_end(p) : literal_end(p);
    }
    if (!p) {
        return refuse(s, not_json);
    }

after:
    if (deep == depth) {
        return p;
    }
    p = skip_space(p);
    if (*p == ',') {
        p = skip_space(p + 1);
        goto item;
    }
    if (*p != (in_object ? '}' : ']')) {
        return refuse(s, not_json);
    }

close:
    p++;
    if (--deep > depth) {
        if (p == end) {
            return refuse(s, not_json);
        }
        in_object = (objects[deep / 64] >> (deep % 64)) & 1;
    }
    goto after;

item:
    if (in_object && !(p = value_of_key(p, end, NULL))) {
        return refuse(s, not_json);
    }
    goto value;
}

#endif
