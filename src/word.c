/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  word.c
 * @brief Words of a directive's line. Errors name a key or the place of a word and never quote a value: it may be (a part of) a
 *        secret.
 */
#include <errno.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "vapi_word.h"

#define NEAREST_MAX 64           /* longer words are not compared with anything */

/* ---- reading ---- */

/* Length of `[a-z][a-z0-9-]*` when `=` and not `==` follows, else 0. */
static apr_size_t key_length(const char *s)
{
    apr_size_t n = 0;

    if (!apr_islower(s[0])) {
        return 0;
    }
    while (apr_islower(s[n]) || apr_isdigit(s[n]) || s[n] == '-') {
        n++;
    }
    return s[n] == '=' && s[n + 1] != '=' ? n : 0;
}

/* Reads what stands behind the opening quote *s; leaves *s behind the closing one. NULL if there is none. */
static const char *read_quoted(const char **s, apr_pool_t *p)
{
    const char quote = *(*s)++;
    const char *from = *s;
    char *text = apr_palloc(p, strlen(from) + 1);
    char *to = text;

    for (; *from != quote; from++) {
        if (*from == '\0') {
            return NULL;
        }
        if (*from == '\\' && (from[1] == '\\' || from[1] == quote)) {
            from++;
        }
        *to++ = *from;
    }
    *to = '\0';
    *s = from + 1;
    return text;
}

static const char *read_plain(const char **s, apr_pool_t *p)
{
    const char *from = *s;

    while (**s && !apr_isspace(**s)) {
        (*s)++;
    }
    return apr_pstrmemdup(p, from, (apr_size_t)(*s - from));
}

/* Reads one word, `*key` set if it is one. `where` is what an error calls the word. */
static const char *read_word(const char **text, const char **key, const char **s, int place, apr_pool_t *p)
{
    apr_size_t n = key_length(*s);
    const char *where = apr_psprintf(p, "word %d", place);
    int quoted;

    *key = NULL;
    if (n) {
        *key = apr_pstrmemdup(p, *s, n);
        where = apr_pstrcat(p, "the value of ", *key, NULL);
        *s += n + 1;
    }
    quoted = **s == '"' || **s == '\'';
    *text = quoted ? read_quoted(s, p) : read_plain(s, p);
    if (*text == NULL) {
        return apr_pstrcat(p, where, " lacks its closing quote", NULL);
    }
    if (**s && !apr_isspace(**s)) {
        return apr_pstrcat(p, where, ": a blank must follow its closing quote (inside, a quote is written \\\" or \\')", NULL);
    }
    n = !*key && quoted ? key_length(*text) : 0;
    if (n) {
        *key = apr_pstrmemdup(p, *text, n);
        *text += n + 1;
    }
    return NULL;
}

static const char *add_word(vapi_words_t *words, const char *key, const char *text, int place, apr_pool_t *p)
{
    if (key) {
        vapi_key_t *added = apr_array_push(words->keys);

        added->name = key;
        added->value = text;
        return NULL;
    }
    if (words->keys->nelts) {
        const char *before = APR_ARRAY_IDX(words->keys, words->keys->nelts - 1, vapi_key_t).name;

        return apr_psprintf(p, "word %d is no key=value but stands after the key '%s' (a value with blanks is written %s=\"...\")",
                            place, before, before);
    }
    APR_ARRAY_PUSH(words->positional, const char *) = text;
    return NULL;
}

const char *vapi_words_read(vapi_words_t **out, const char *line, apr_pool_t *p)
{
    vapi_words_t *words = apr_palloc(p, sizeof(*words));
    int place = 0;

    words->positional = apr_array_make(p, 4, sizeof(const char *));
    words->keys = apr_array_make(p, 8, sizeof(vapi_key_t));
    for (;;) {
        const char *key, *text, *error;

        while (apr_isspace(*line)) {
            line++;
        }
        if (*line == '\0') {
            *out = words;
            return NULL;
        }
        error = read_word(&text, &key, &line, ++place, p);
        if (!error) {
            error = add_word(words, key, text, place, p);
        }
        if (error) {
            return error;
        }
    }
}

/* ---- asking ---- */

static const vapi_key_rule_t *find_rule(const vapi_key_rule_t *rules, const char *name)
{
    for (; rules->name; rules++) {
        if (strcmp(rules->name, name) == 0) {
            return rules;
        }
    }
    return NULL;
}

/* "; did you mean 'b'?", or the known names when none is near. */
static const char *suggestion(const char *word, const char *const *names, apr_pool_t *p)
{
    const char *near = vapi_word_nearest(word, names);
    const char *list = "";

    if (near) {
        return apr_pstrcat(p, "; did you mean '", near, "'?", NULL);
    }
    for (; *names; names++) {
        list = apr_pstrcat(p, list, *list ? ", " : "; known are ", *names, NULL);
    }
    return list;
}

static const char *unknown_key(const char *name, const vapi_key_rule_t *rules, apr_pool_t *p)
{
    apr_array_header_t *names = apr_array_make(p, 16, sizeof(const char *));

    for (; rules->name; rules++) {
        APR_ARRAY_PUSH(names, const char *) = rules->name;
    }
    APR_ARRAY_PUSH(names, const char *) = NULL;
    return apr_pstrcat(p, "unknown key '", name, "'", suggestion(name, (const char *const *)names->elts, p), NULL);
}

const char *vapi_words_check(const vapi_words_t *words, const vapi_key_rule_t *rules, apr_pool_t *p)
{
    int i, j;

    for (i = 0; i < words->keys->nelts; i++) {
        const char *name = APR_ARRAY_IDX(words->keys, i, vapi_key_t).name;
        const vapi_key_rule_t *rule = find_rule(rules, name);

        if (!rule) {
            return unknown_key(name, rules, p);
        }
        for (j = 0; j < i && !rule->many; j++) {
            if (strcmp(APR_ARRAY_IDX(words->keys, j, vapi_key_t).name, name) == 0) {
                return apr_pstrcat(p, "the key '", name, "' is given twice", NULL);
            }
        }
    }
    return NULL;
}

const char *vapi_words_get(const vapi_words_t *words, const char *name)
{
    int i;

    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);

        if (strcmp(key->name, name) == 0) {
            return key->value;
        }
    }
    return NULL;
}

const char *vapi_words_at(const vapi_words_t *words, int i)
{
    return i >= 0 && i < words->positional->nelts ? APR_ARRAY_IDX(words->positional, i, const char *) : NULL;
}

/* ---- single words ---- */

int vapi_word_is_name(const char *word)
{
    if (!apr_isascii(*word) || !apr_isalpha(*word)) {
        return 0;
    }
    while (apr_isascii(*word) && (apr_isalnum(*word) || *word == '_' || *word == '-')) {
        word++;
    }
    return *word == '\0';
}

/* Digits at the start of `word`, with a `-` before them if `sign`. @return where they end, NULL without any or when they overflow */
static const char *read_digits(apr_int64_t *out, const char *word, int sign)
{
    char *end;

    if (!apr_isdigit(word[sign && *word == '-'])) {
        return NULL;
    }
    errno = 0;
    *out = apr_strtoi64(word, &end, 10);
    return errno ? NULL : end;
}

const char *vapi_word_number(apr_int64_t *out, const char *word, apr_int64_t min, apr_int64_t max, apr_pool_t *p)
{
    apr_int64_t n = 0;
    const char *end = read_digits(&n, word, 1);

    if (!end || *end || n < min || n > max) {
        return apr_psprintf(p, "a whole number from %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT, min, max);
    }
    *out = n;
    return NULL;
}

typedef struct unit_t {
    const char *name;
    apr_interval_time_t length;
} unit_t;

static const unit_t units[] = {          /* the longest first, so that a limit is shown in the largest unit that fits */
    { "h", APR_USEC_PER_SEC * 3600 },
    { "min", APR_USEC_PER_SEC * 60 },
    { "s", APR_USEC_PER_SEC },
    { "ms", 1000 },
};
#define UNITS (sizeof(units) / sizeof(units[0]))

/* The unit of this name, seconds for "", NULL for any other. */
static const unit_t *find_unit(const char *name)
{
    apr_size_t i;

    for (i = 0; i < UNITS; i++) {
        if (strcasecmp(*name ? name : "s", units[i].name) == 0) {
            return &units[i];
        }
    }
    return NULL;
}

static const char *time_text(apr_interval_time_t t, apr_pool_t *p)
{
    apr_size_t i = 0;

    if (t == 0) {
        return "0";
    }
    while (i < UNITS - 1 && t % units[i].length) {
        i++;
    }
    return apr_psprintf(p, "%" APR_TIME_T_FMT "%s", t / units[i].length, units[i].name);
}

const char *vapi_word_time(apr_interval_time_t *out, const char *word, apr_interval_time_t min, apr_interval_time_t max, apr_pool_t *p)
{
    apr_int64_t n = 0;
    const char *end = read_digits(&n, word, 0);
    const unit_t *unit = end ? find_unit(end) : NULL;

    if (!unit || n > APR_INT64_MAX / unit->length || n * unit->length < min || n * unit->length > max) {
        return apr_psprintf(p, "a time from %s to %s, in seconds or with a unit (ms, s, min, h)", time_text(min, p),
                            time_text(max, p));
    }
    *out = n * unit->length;
    return NULL;
}

const char *vapi_word_flag(int *out, const char *word)
{
    int on = strcasecmp(word, "on") == 0;

    if (!on && strcasecmp(word, "off") != 0) {
        return "on or off";
    }
    *out = on;
    return NULL;
}

/* ---- near names ---- */

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Edit distance that knows swapped neighbours (optimal string alignment), case ignored. Both words up to NEAREST_MAX. */
static int distance(const char *a, const char *b)
{
    int rows[3][NEAREST_MAX + 1];
    int *before = rows[0], *last = rows[1], *now = rows[2];
    int lb = (int)strlen(b);
    int i, j;

    for (j = 0; j <= lb; j++) {
        last[j] = j;
    }
    for (i = 1; a[i - 1]; i++) {
        int *free_row = before;

        now[0] = i;
        for (j = 1; j <= lb; j++) {
            int differs = apr_tolower(a[i - 1]) != apr_tolower(b[j - 1]);

            now[j] = least(last[j] + 1, now[j - 1] + 1, last[j - 1] + differs);
            if (i > 1 && j > 1 && apr_tolower(a[i - 1]) == apr_tolower(b[j - 2]) && apr_tolower(a[i - 2]) == apr_tolower(b[j - 1])) {
                now[j] = least(now[j], now[j], before[j - 2] + 1);
            }
        }
        before = last;
        last = now;
        now = free_row;
    }
    return last[lb];
}

const char *vapi_word_nearest(const char *word, const char *const *names)
{
    apr_size_t len = strlen(word);
    int best = len < 6 ? 2 : (int)(len / 3) + 1;         /* a third of the word may be wrong, in a short one a single letter */
    const char *nearest = NULL;

    if (len > NEAREST_MAX) {
        return NULL;
    }
    for (; *names; names++) {
        int d = strlen(*names) <= NEAREST_MAX ? distance(word, *names) : best;

        if (d < best) {
            best = d;
            nearest = *names;
        }
    }
    return nearest;
}

int vapi_word_choice(const char *word, const char *const *choices, const char **error, apr_pool_t *p)
{
    const char *list = "", *near;
    int i;

    for (i = 0; choices[i]; i++) {
        if (strcmp(choices[i], word) == 0) {
            return i;
        }
        list = apr_pstrcat(p, list, i ? ", " : "", choices[i], NULL);
    }
    near = vapi_word_nearest(word, choices);
    *error = apr_psprintf(p, "'%.40s' is none of %s", word, list);
    if (near) {
        *error = apr_pstrcat(p, *error, " (did you mean ", near, "?)", NULL);
    }
    return -1;
}

/* ---- showing ---- */

const char *vapi_word_pair(const char *name, const char *value, apr_pool_t *p)
{
    char *quoted, *to;

    if (*value && !strpbrk(value, " \t\"'\\")) {
        return apr_pstrcat(p, " ", name, "=", value, NULL);
    }
    quoted = to = apr_palloc(p, strlen(value) * 2 + 1);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\') {
            *to++ = '\\';
        }
        *to++ = *value;
    }
    *to = '\0';
    return apr_pstrcat(p, " ", name, "=\"", quoted, "\"", NULL);
}

const char *vapi_words_describe(const vapi_words_t *words, apr_pool_t *p)
{
    const char *text = "";
    int i;

    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);

        text = apr_pstrcat(p, text, vapi_word_pair(key->name, key->value, p), NULL);
    }
    return text;
}
