/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Values as text, and how they are found: JSON Pointers and the paths a person writes, over the bytes of a payload and over
 * parsed values, by the same rules.
 */
#include "vapi_payload.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

static const vapi_range_t absent = { NULL, 0, VAPI_JSON_ABSENT };

/* Are these the bytes of a string that stand for themselves? */
static int is_plain(const char *text, apr_size_t len)
{
    apr_size_t i;

    for (i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c >= 0x80 || c == '\\') {
            return 0;
        }
    }
    return 1;
}

static const char *string_text(vapi_payload_t *pl, vapi_range_t range)
{
    const char *text = range.at + 1;
    json_t *value;

    if (is_plain(text, range.len - 2)) {
        return apr_pstrmemdup(vapi_payload_pool(pl), text, range.len - 2);
    }
    value = json_loadb(range.at, range.len, JSON_DECODE_ANY, NULL);
    text = value ? apr_pstrmemdup(vapi_payload_pool(pl), json_string_value(value), json_string_length(value)) : NULL;
    json_decref(value);
    return text;
}

const char *vapi_payload_text(vapi_payload_t *pl, vapi_range_t range)
{
    switch (range.kind) {
    case VAPI_JSON_STRING:
        return string_text(pl, range);
    case VAPI_JSON_NUMBER:          /* one that does not fit is jansson's to refuse */
        return vapi_payload_json(pl, range);
    case VAPI_JSON_TRUE:
        return "true";
    case VAPI_JSON_FALSE:
        return "false";
    default:
        return NULL;
    }
}

const char *vapi_payload_json(vapi_payload_t *pl, vapi_range_t range)
{
    return vapi_payload_parse(pl, range) ? apr_pstrmemdup(vapi_payload_pool(pl), range.at, range.len) : NULL;
}

/* One step of a path: a key or a position. */
typedef struct step_t {
    const char *key;
    apr_size_t len;
} step_t;

/* Takes the first step off a pointer that begins with '/'. @return 0 when it has a bad escape */
static int pointer_step(const char **pointer, step_t *step, apr_pool_t *p)
{
    const char *from = *pointer + 1;
    const apr_size_t len = strcspn(from, "/");
    char *to;
    apr_size_t i;

    *pointer = from + len;
    step->key = from;
    step->len = len;
    if (!memchr(from, '~', len)) {
        return 1;
    }
    step->key = to = apr_palloc(p, len);
    for (i = 0; i < len; i++) {
        if (from[i] != '~') {
            *to++ = from[i];
            continue;
        }
        i++;
        if (i == len || (from[i] != '0' && from[i] != '1')) {
            return 0;
        }
        *to++ = from[i] == '0' ? '~' : '/';
    }
    step->len = (apr_size_t)(to - step->key);
    return 1;
}

/* Takes the first step off a dotted path: *path becomes NULL behind the last one. */
static void dotted_step(const char **path, step_t *step)
{
    step->key = *path;
    step->len = strcspn(*path, ".");
    *path = step->key[step->len] ? step->key + step->len + 1 : NULL;
}

/* A position in an array (RFC 6901: no sign, no leading zero). @return 0 when the step is none */
static int step_position(const step_t *step, apr_size_t *position)
{
    apr_size_t i;

    if (step->len == 0 || step->len > 9 || (step->key[0] == '0' && step->len > 1)) {
        return 0;
    }
    for (*position = 0, i = 0; i < step->len; i++) {
        if (!apr_isdigit(step->key[i])) {
            return 0;
        }
        *position = 10 * *position + (apr_size_t)(step->key[i] - '0');
    }
    return 1;
}

static vapi_range_t range_step(vapi_payload_t *pl, vapi_range_t from, const step_t *step, const char **why)
{
    vapi_range_t element = absent;
    apr_size_t position, cursor = 0;

    if (from.kind != VAPI_JSON_ARRAY) {
        return vapi_payload_member(pl, from, step->key, step->len, why);
    }
    if (!step_position(step, &position)) {
        return absent;
    }
    do {
        element = vapi_payload_next(pl, from, &cursor);
    } while (element.kind != VAPI_JSON_ABSENT && position-- > 0);
    return element;
}

vapi_range_t vapi_payload_find_in(vapi_payload_t *pl, vapi_range_t from, const char *pointer, const char **why)
{
    const char *unread = NULL;
    step_t step;

    while (*pointer && from.kind != VAPI_JSON_ABSENT) {
        if (*pointer != '/' || !pointer_step(&pointer, &step, vapi_payload_pool(pl))) {
            unread = "not a JSON Pointer";
            from = absent;
            break;
        }
        from = range_step(pl, from, &step, &unread);
    }
    if (why) {
        *why = unread;
    }
    return from;
}

vapi_range_t vapi_payload_find(vapi_payload_t *pl, const char *pointer, const char **why)
{
    return vapi_payload_find_in(pl, vapi_payload_root(pl), pointer, why);
}

const char *vapi_payload_string(vapi_payload_t *pl, const char *pointer)
{
    return vapi_payload_text(pl, vapi_payload_find(pl, pointer, NULL));
}

/* The size of a list or an object as text. */
static const char *range_size(vapi_payload_t *pl, vapi_range_t range)
{
    apr_size_t cursor = 0, size = 0;

    if (range.kind == VAPI_JSON_OBJECT) {
        json_t *object = vapi_payload_parse(pl, range);

        return object ? apr_psprintf(vapi_payload_pool(pl), "%" APR_SIZE_T_FMT, json_object_size(object)) : "";
    }
    while (vapi_payload_next(pl, range, &cursor).kind != VAPI_JSON_ABSENT) {
        size++;
    }
    return apr_psprintf(vapi_payload_pool(pl), "%" APR_SIZE_T_FMT, size);
}

/* Takes the blanks between tokens out of JSON text, in place. */
static void compact(char *json)
{
    const char *from;
    int in_string = 0;

    for (from = json; *from; from++) {
        if (in_string && *from == '\\') {
            *json++ = *from++;
        }
        else if (*from == '"') {
            in_string = !in_string;
        }
        else if (!in_string && apr_isspace(*from)) {
            continue;
        }
        *json++ = *from;
    }
    *json = '\0';
}

static const char *range_written(vapi_payload_t *pl, vapi_range_t range)
{
    const char *text;
    char *json;

    if (range.kind != VAPI_JSON_OBJECT && range.kind != VAPI_JSON_ARRAY) {
        text = vapi_payload_text(pl, range);
        return text ? text : "";
    }
    if (!(text = vapi_payload_json(pl, range))) {
        return "";
    }
    json = apr_pstrdup(vapi_payload_pool(pl), text);
    compact(json);
    return json;
}

const char *vapi_payload_lookup(vapi_payload_t *pl, vapi_range_t from, const char *path)
{
    vapi_range_t exact;
    step_t step;

    if (!*path) {
        return range_written(pl, from);
    }
    if (*path == '/') {
        exact = vapi_payload_member(pl, from, path, strlen(path), NULL);
        return range_written(pl, exact.kind != VAPI_JSON_ABSENT ? exact : vapi_payload_find_in(pl, from, path, NULL));
    }
    while (path && from.kind != VAPI_JSON_ABSENT) {
        exact = vapi_payload_member(pl, from, path, strlen(path), NULL);
        if (exact.kind != VAPI_JSON_ABSENT) {
            return range_written(pl, exact);
        }
        if (!strcmp(path, "length") && (from.kind == VAPI_JSON_ARRAY || from.kind == VAPI_JSON_OBJECT)) {
            return range_size(pl, from);
        }
        dotted_step(&path, &step);
        from = range_step(pl, from, &step, NULL);
    }
    return range_written(pl, from);
}

static json_t *value_step(json_t *from, const step_t *step, apr_pool_t *p)
{
    apr_size_t position;

    if (json_is_array(from)) {
        return step_position(step, &position) ? json_array_get(from, position) : NULL;
    }
    return json_object_get(from, apr_pstrmemdup(p, step->key, step->len));
}

static json_t *value_at_pointer(json_t *value, const char *pointer, apr_pool_t *p)
{
    step_t step;

    while (*pointer && value) {
        value = pointer_step(&pointer, &step, p) ? value_step(value, &step, p) : NULL;
    }
    return value;
}

static const char *dumped(const json_t *value, size_t flags, apr_pool_t *p)
{
    char *text = json_dumps(value, flags | JSON_COMPACT | JSON_ENCODE_ANY);
    const char *copy = text ? apr_pstrdup(p, text) : "";

    free(text);
    return copy;
}

/* By jansson, which writes a point whatever the locale says. */
static const char *real_written(const json_t *real, apr_pool_t *p)
{
    const char *text = "";
    size_t digits;

    for (digits = 15; digits <= 17; digits++) {
        json_t *again;
        int same;

        text = dumped(real, JSON_REAL_PRECISION(digits), p);
        again = json_loads(text, JSON_DECODE_ANY, NULL);
        same = again && json_real_value(again) == json_real_value(real);
        json_decref(again);
        if (same) {
            break;
        }
    }
    return text;
}

static const char *value_written(const json_t *value, apr_pool_t *p)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        return apr_pstrdup(p, json_string_value(value));
    case JSON_INTEGER:
        return apr_psprintf(p, "%" APR_INT64_T_FMT, (apr_int64_t)json_integer_value(value));
    case JSON_REAL:
        return real_written(value, p);
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "";
    default:
        return dumped(value, 0, p);
    }
}

static const char *value_size(const json_t *value, apr_pool_t *p)
{
    return apr_psprintf(p, "%" APR_SIZE_T_FMT, json_is_array(value) ? json_array_size(value) : json_object_size(value));
}

/* *sized, if `sized` is given: set to what the path asks the size of (X.length); then there is no value. */
static json_t *value_at(json_t *value, const char *path, json_t **sized, apr_pool_t *p)
{
    json_t *exact = json_object_get(value, path);
    step_t step;

    if (exact || *path == '/') {
        return exact ? exact : value_at_pointer(value, path, p);
    }
    while (path && value) {
        if ((exact = json_object_get(value, path))) {
            return exact;
        }
        if (sized && !strcmp(path, "length") && (json_is_array(value) || json_is_object(value))) {
            *sized = value;
            return NULL;
        }
        dotted_step(&path, &step);
        value = value_step(value, &step, p);
    }
    return value;
}

json_t *vapi_json_at(json_t *value, const char *path, apr_pool_t *p)
{
    return value_at(value, path, NULL, p);
}

const char *vapi_json_lookup(json_t *value, const char *path, apr_pool_t *p)
{
    json_t *sized = NULL, *found = *path ? value_at(value, path, &sized, p) : value;

    return sized ? value_size(sized, p) : value_written(found, p);
}

static apr_status_t drop(void *value)
{
    json_decref(value);
    return APR_SUCCESS;
}

void vapi_json_keep(json_t *value, apr_pool_t *p)
{
    apr_pool_cleanup_register(p, value, drop, apr_pool_cleanup_null);
}
