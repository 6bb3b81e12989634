/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * T values. Parsed once into literals and placeholders; each placeholder is an expression by itself, so that what one
 * of them yields can be encoded whole, and nothing in it can be read as part of the text around it.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>

#include "vapi_text.h"

typedef struct part_t {
    const char *literal;          /* NULL: a placeholder */
    vapi_expression_t *placeholder;
} part_t;

struct vapi_text_t {
    const char *written;
    const char *literal;          /* the whole text where it has no placeholder, else NULL */
    apr_array_header_t *parts;    /* part_t */
    int reads;
};

/* The end of a placeholder that begins at `at` ("%{"): behind its closing brace, or NULL. Braces inside must balance. */
static const char *placeholder_end(const char *at)
{
    int depth = 0;

    for (; *at; at++) {
        if (*at == '{') {
            depth++;
        }
        else if (*at == '}' && --depth == 0) {
            return at + 1;
        }
    }
    return NULL;
}

static void add_literal(vapi_text_t *t, const char *from, const char *to, apr_pool_t *p)
{
    part_t *part;

    if (from < to) {
        part = apr_array_push(t->parts);
        part->literal = apr_pstrmemdup(p, from, (apr_size_t)(to - from));
        part->placeholder = NULL;
    }
}

static const char *add_placeholder(vapi_text_t *t, const char *from, const char *to, vapi_place_t place, apr_pool_t *p,
                                   apr_pool_t *ptemp)
{
    const char *written = apr_pstrmemdup(p, from, (apr_size_t)(to - from));
    part_t *part = apr_array_push(t->parts);
    const char *error;

    part->literal = NULL;
    error = vapi_expression_parse(&part->placeholder, written, 1, place, p, ptemp);
    if (error) {
        return apr_psprintf(p, "in %s: %s", written, error);
    }
    t->reads |= vapi_expression_reads(part->placeholder);
    return NULL;
}

/* Made at start-up: threads ask for it, and may take no memory of the configuration. */
static void join_literals(vapi_text_t *t, apr_pool_t *p)
{
    const char *all = "";
    int i;

    for (i = 0; i < t->parts->nelts; i++) {
        const part_t *part = &APR_ARRAY_IDX(t->parts, i, part_t);
        if (part->placeholder) {
            return;
        }
        all = apr_pstrcat(p, all, part->literal, NULL);
    }
    t->literal = all;
}

const char *vapi_text_parse(vapi_text_t **out, const char *written, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    vapi_text_t *t = apr_pcalloc(p, sizeof(*t));
    const char *at = written, *literal = written, *end, *error;

    t->written = apr_pstrdup(p, written);
    t->parts = apr_array_make(p, 3, sizeof(part_t));
    while ((at = strchr(at, '%')) != NULL) {
        if (strncmp(at, "%%{", 3) == 0) {
            add_literal(t, literal, at, p);
            literal = at + 1;
            at += 3;
        }
        else if (at[1] != '{') {
            at++;
        }
        else {
            end = placeholder_end(at + 1);
            if (!end) {
                return "a %{ is not closed (write %%{ for the characters themselves)";
            }
            add_literal(t, literal, at, p);
            if ((error = add_placeholder(t, at, end, place, p, ptemp)) != NULL) {
                return error;
            }
            literal = at = end;
        }
    }
    add_literal(t, literal, literal + strlen(literal), p);
    join_literals(t, p);
    *out = t;
    return NULL;
}

const char *vapi_text_read(vapi_text_t **out, const vapi_words_t *words, const char *key, vapi_place_t place, apr_pool_t *p,
                           apr_pool_t *ptemp)
{
    const char *written = vapi_words_get(words, key), *error;

    if (!written) {
        return NULL;
    }
    error = vapi_text_parse(out, written, place, p, ptemp);
    return error ? apr_psprintf(p, "%s=: %s", key, error) : NULL;
}

const char *vapi_text_written(const vapi_text_t *t)
{
    return t->written;
}

int vapi_text_is_literal(const vapi_text_t *t, const char **literal)
{
    if (t->literal && literal) {
        *literal = t->literal;
    }
    return t->literal != NULL;
}

int vapi_text_reads(const vapi_text_t *t)
{
    return t->reads;
}

/* The length of a control character or line end at `at`, 0 if there is none; *parts: it stands between words, as a line end or
 * tab does. */
static int control_at(const unsigned char *at, int *parts)
{
    *parts = *at >= '\t' && *at <= '\r';
    if (*at < 0x20 || *at == 0x7f) {
        return 1;
    }
    if (at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f) {    /* U+0080..U+009F, of which U+0085 ends a line */
        *parts = at[1] == 0x85;
        return 2;
    }
    *parts = at[0] == 0xe2 && at[1] == 0x80 && (at[2] == 0xa8 || at[2] == 0xa9);    /* U+2028, U+2029 */
    return *parts ? 3 : 0;
}

/* Line ends and tabs become one blank each time, and runs of blanks that this makes are folded; other control characters go. */
const char *vapi_text_one_line(const char *text, apr_pool_t *p)
{
    char *out = apr_palloc(p, strlen(text) + 1), *to = out;
    const unsigned char *at = (const unsigned char *)text;
    int len, parts;

    for (; *at; at++) {
        if ((len = control_at(at, &parts)) == 0) {
            *to++ = (char)*at;
            continue;
        }
        at += len - 1;
        if (parts && to > out && to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    while (to > out && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
    return out;
}

/* Would these two characters, side by side, open or close something that Vapi expands (Liquid)? */
static int is_liquid_pair(char a, char b)
{
    return (a == '{' && (b == '{' || b == '%')) || (b == '}' && (a == '}' || a == '%'));
}

/*
 * Vapi expands {{...}} and {%...%} in what it speaks. A value may not bring such braces: a blank parts each pair, also where a
 * value's brace would meet one of the text around it. `before` and `after` are the neighbouring characters.
 */
static const char *neutral(const char *value, char before, char after, apr_pool_t *p)
{
    char *out = apr_palloc(p, strlen(value) * 2 + 3), *to = out;
    char last = before;

    for (; *value; value++) {
        if (is_liquid_pair(last, *value)) {
            *to++ = ' ';
        }
        *to++ = last = *value;
    }
    if (is_liquid_pair(last, after)) {
        *to++ = ' ';
    }
    *to = '\0';
    return out;
}

/* What does not stand for itself in XML. */
#define XML_CONTROL \
    "\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
#define XML_SPECIAL "&<>\"'" XML_CONTROL

static const char *xml_entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return "";    /* a control character, which may not stand in XML at all */
    }
}

static const char *as_xml(const char *value, apr_pool_t *p)
{
    apr_array_header_t *pieces = apr_array_make(p, 8, sizeof(const char *));
    const char *at;
    apr_size_t run;

    for (at = value; *at; at += run) {
        run = strcspn(at, XML_SPECIAL);
        if (run) {
            APR_ARRAY_PUSH(pieces, const char *) = apr_pstrmemdup(p, at, run);
            continue;
        }
        APR_ARRAY_PUSH(pieces, const char *) = xml_entity(*at);
        run = 1;
    }
    return apr_array_pstrcat(p, pieces, 0);
}

static const char *as_url(const char *value, apr_pool_t *p)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = apr_palloc(p, strlen(value) * 3 + 1), *to = out;

    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (apr_isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~') {
            *to++ = (char)c;
        }
        else {
            *to++ = '%';
            *to++ = hex[c >> 4];
            *to++ = hex[c & 15];
        }
    }
    *to = '\0';
    return out;
}

/* Cuts at the last blank before `max` characters (not bytes); a single longer word is cut inside. */
static const char *cut_at_word(const char *text, int max, apr_pool_t *p)
{
    const char *at, *word_end = NULL;
    int count = 0;

    for (at = text; *at; at++) {
        if (((unsigned char)*at & 0xc0) == 0x80) {
            continue;
        }
        if (*at == ' ') {
            word_end = at;
        }
        if (count++ == max) {
            return apr_pstrmemdup(p, text, (apr_size_t)((word_end ? word_end : at) - text));
        }
    }
    return text;
}

/* May it not be a part of a path by itself? */
static int is_no_segment(const char *value)
{
    return !*value || strcmp(value, ".") == 0 || strcmp(value, "..") == 0;
}

static const char *encode(const char *value, vapi_encoding encoding, char before, char after, apr_pool_t *p, const char **why)
{
    switch (encoding) {
    case VAPI_TEXT_SPOKEN:
    case VAPI_TEXT_LINE:
        return neutral(vapi_text_one_line(value, p), before, after, p);
    case VAPI_TEXT_PLAIN:
        return neutral(value, before, after, p);
    case VAPI_TEXT_XML:
        return neutral(as_xml(value, p), before, after, p);
    case VAPI_TEXT_URL:
        return as_url(value, p);
    case VAPI_TEXT_HEADER:
        if (strpbrk(value, "\r\n")) {
            *why = "a value with a line end may not stand in a header";
            return NULL;
        }
        return value;
    case VAPI_TEXT_DIAL:
        break;
    }
    return value;
}

static char last_char(const char *text, char otherwise)
{
    return *text ? text[strlen(text) - 1] : otherwise;
}

static const char *expand(const vapi_text_t *t, vapi_question_t *q, vapi_encoding encoding, int *empty, const char **why)
{
    apr_array_header_t *pieces = apr_array_make(q->pool, t->parts->nelts + 1, sizeof(const char *));
    const char *piece, *error = NULL;
    char before = '\0', after;
    int i;

    for (i = 0; i < t->parts->nelts; i++) {
        part_t *part = &APR_ARRAY_IDX(t->parts, i, part_t);
        if (part->literal) {
            piece = part->literal;
        }
        else {
            part_t *next = i + 1 < t->parts->nelts ? part + 1 : NULL;
            after = next && next->literal ? *next->literal : '\0';
            piece = vapi_expression_string(part->placeholder, q, &error);
            if (!piece) {
                *why = "a placeholder could not be evaluated";
                return NULL;
            }
            if (empty && is_no_segment(piece)) {
                *empty = 1;
            }
            if ((piece = encode(piece, encoding, before, after, q->pool, why)) == NULL) {
                return NULL;
            }
        }
        APR_ARRAY_PUSH(pieces, const char *) = piece;
        before = last_char(piece, before);
    }
    piece = apr_array_pstrcat(q->pool, pieces, 0);
    if (encoding == VAPI_TEXT_SPOKEN) {
        return cut_at_word(vapi_text_one_line(piece, q->pool), VAPI_SPOKEN_MAX, q->pool);
    }
    return encoding == VAPI_TEXT_LINE ? vapi_text_one_line(piece, q->pool) : piece;
}

const char *vapi_text_expand(const vapi_text_t *t, vapi_question_t *q, vapi_encoding encoding, const char **why)
{
    return expand(t, q, encoding, NULL, why);
}

const char *vapi_text_expand_path(const vapi_text_t *t, vapi_question_t *q, int *empty, const char **why)
{
    return expand(t, q, VAPI_TEXT_URL, empty, why);
}

json_t *vapi_text_json(const char *text, apr_pool_t *p)
{
    json_t *string = json_string(text);
    char *copy, *at;

    if (string) {
        return string;
    }
    copy = apr_pstrdup(p, text);
    for (at = copy; *at; at++) {
        if ((unsigned char)*at >= 0x80) {
            *at = '?';
        }
    }
    return json_string(copy);
}
