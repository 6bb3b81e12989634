/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_text.h
 * @brief T values: literal text with %{...} placeholders, each result encoded for where it goes, the literal never.
 */
#ifndef VAPI_TEXT_H
#define VAPI_TEXT_H

#include <jansson.h>

#include "vapi_expression.h"
#include "vapi_word.h"

typedef struct vapi_text_t vapi_text_t;

typedef enum {
    VAPI_TEXT_SPOKEN,   /* one line, no control characters, {{ }} of placeholders neutralised, cut at a word to 1,000 characters */
    VAPI_TEXT_LINE,     /* one line to the model: as spoken, but not cut */
    VAPI_TEXT_PLAIN,    /* a string of Vapi's JSON (the JSON quoting is jansson's): {{ }} of placeholders neutralised */
    VAPI_TEXT_DIAL,     /* a number or URI: as it is; whoever uses it checks it whole */
    VAPI_TEXT_HEADER,   /* refused with CR, LF, NUL */
    VAPI_TEXT_URL,      /* percent-encoded */
    VAPI_TEXT_XML       /* &, <, >, quotes as entities, {{ }} of placeholders neutralised */
} vapi_encoding;

#define VAPI_SPOKEN_MAX 1000   /* W53, in characters */

/** Reads a T at start-up; `%%{` writes `%{`. @return NULL or what is wrong */
const char *vapi_text_parse(vapi_text_t **out, const char *written, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp);

/** Reads the T of a directive's key; leaves *out alone where the key is not given. @return NULL or what is wrong, with the key */
const char *vapi_text_read(vapi_text_t **out, const vapi_words_t *words, const char *key, vapi_place_t place, apr_pool_t *p,
                           apr_pool_t *ptemp);

/** As written, for dumps. */
const char *vapi_text_written(const vapi_text_t *t);

/** Has it no placeholder? Then *literal, if `literal` is given, is the text. */
int vapi_text_is_literal(const vapi_text_t *t, const char **literal);

/** VAPI_READS_... of all its placeholders. */
int vapi_text_reads(const vapi_text_t *t);

/** Expands it in the question's pool. @return NULL with a constant *why when a placeholder fails or its value may not stand there */
const char *vapi_text_expand(const vapi_text_t *t, vapi_question_t *q, vapi_encoding encoding, const char **why);

/** Expands it as VAPI_TEXT_URL. *empty is set to 1 where a placeholder was empty, `.` or `..` (left alone otherwise). */
const char *vapi_text_expand_path(const vapi_text_t *t, vapi_question_t *q, int *empty, const char **why);

/** A JSON string of bytes that may not be UTF-8 (then each foreign byte becomes `?`). Never NULL but for want of memory. */
json_t *vapi_text_json(const char *text, apr_pool_t *p);

/** Makes any text one line as VAPI_TEXT_LINE does to a placeholder's value. */
const char *vapi_text_one_line(const char *text, apr_pool_t *p);

#endif
