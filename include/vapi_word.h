/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_word.h
 * @brief Words of a directive's line: positionals, then key=value. One tokenizer for all directives.
 */
#ifndef VAPI_WORD_H
#define VAPI_WORD_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

typedef struct vapi_key_t {
    const char *name;
    const char *value;
} vapi_key_t;

typedef struct vapi_words_t {
    apr_array_header_t *positional;   /* const char * */
    apr_array_header_t *keys;         /* vapi_key_t, in order; a name may stand several times */
} vapi_words_t;

/** One key that a directive knows. A list of them ends with name NULL. */
typedef struct vapi_key_rule_t {
    const char *name;
    int many;                         /* may be repeated */
} vapi_key_rule_t;

/**
 * Parts a line into words: by blanks; `key="two words"`, `key='two words'` and `"key=two words"` are the same; inside quotes only
 * `\\` and the escaped quote are escapes. A word that begins `[a-z][a-z0-9-]*=` and not `==` is a key, any other positional; a
 * positional after a key is an error.
 * @return NULL, or what is wrong
 */
const char *vapi_words_read(vapi_words_t **out, const char *line, apr_pool_t *p);

/** Refuses unknown and doubled keys, naming the nearest known one. @return NULL or what is wrong */
const char *vapi_words_check(const vapi_words_t *words, const vapi_key_rule_t *rules, apr_pool_t *p);

/** The value of a key (the first if repeated); NULL if not given. */
const char *vapi_words_get(const vapi_words_t *words, const char *name);

/** Positional word i, NULL past the end. */
const char *vapi_words_at(const vapi_words_t *words, int i);

/** Is this `[A-Za-z][A-Za-z0-9_-]*`? */
int vapi_word_is_name(const char *word);

/** A whole number in [min, max], nothing behind it. @return NULL or what is allowed ("a whole number from 1 to 10") */
const char *vapi_word_number(apr_int64_t *out, const char *word, apr_int64_t min, apr_int64_t max, apr_pool_t *p);

/** A time: seconds, or with httpd's units (300ms, 5s, 2min, 1h), in [min, max] microseconds. @return NULL or what is allowed */
const char *vapi_word_time(apr_interval_time_t *out, const char *word, apr_interval_time_t min, apr_interval_time_t max,
                           apr_pool_t *p);

/** on|off. @return NULL or what is allowed */
const char *vapi_word_flag(int *out, const char *word);

/** The nearest of the names (a NULL-terminated list) to `word` by edit distance, NULL if none is near. */
const char *vapi_word_nearest(const char *word, const char *const *names);

/** Index of `word` in a NULL-terminated list of choices, or -1 with *error = "'x' is none of a, b, c (did you mean b?)". */
int vapi_word_choice(const char *word, const char *const *choices, const char **error, apr_pool_t *p);

/** ` name=value`, in quotes where it must be written so. Start-up only. */
const char *vapi_word_pair(const char *name, const char *value, apr_pool_t *p);

/** The keys as ` key=value ...` for dumps; not for lines that may hold a secret. Start-up only. */
const char *vapi_words_describe(const vapi_words_t *words, apr_pool_t *p);

#endif
