/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The lazy reader against jansson: whatever body comes, both must say the same of it and of every value in it.
 *
 *     clang -fsanitize=fuzzer,address,undefined ...           fuzzes; -dict=t/fuzz/json.dict t/fuzz/corpus/payload
 *     cc -DVAPI_REPLAY ...                                    replays the files given as arguments
 *
 * t/unit/payload_test.c includes this file and feeds it what it generates.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_tables.h>

#include "vapi_payload.h"

#define STRICT (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int holds, const char *what, const char *path)
{
    if (!holds) {
        fprintf(stderr, "payload and jansson differ: %s at '%s'\n", what, path);
        abort();
    }
}

/* A second, slow walker of its own: where the value at p ends, in text that is known to be well-formed. */
static const char *slow_end(const char *p, const char *end)
{
    int depth = 0, in_string = 0;

    for (; p < end; p++) {
        if (in_string) {
            if (*p == '\\') {
                p++;
            }
            else if (*p == '"') {
                in_string = 0;
                if (depth == 0) {
                    return p + 1;
                }
            }
        }
        else if (*p == '"') {
            in_string = 1;
        }
        else if (*p == '{' || *p == '[') {
            depth++;
        }
        else if (*p == '}' || *p == ']') {
            if (depth == 0) {
                return p;                   /* of what the value stands in */
            }
            if (--depth == 0) {
                return p + 1;
            }
        }
        else if (depth == 0 && strchr(",: \t\r\n", *p)) {
            return p;
        }
    }
    return p;
}

static const char *slow_space(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n", *p)) {
        p++;
    }
    return p;
}

/* "/key" with RFC 6901's escapes. */
static const char *pointer_of(const char *key, apr_pool_t *p)
{
    char *pointer = apr_palloc(p, 2 * strlen(key) + 2), *to = pointer;

    *to++ = '/';
    for (; *key; key++) {
        if (*key == '~' || *key == '/') {
            *to++ = '~';
            *to++ = *key == '~' ? '0' : '1';
            continue;
        }
        *to++ = *key;
    }
    *to = '\0';
    return pointer;
}

/* What is to be checked: the range as the payload found it, the node as jansson did (NULL where it refuses the body). */
typedef struct visit_t {
    vapi_payload_t *pl;
    vapi_range_t range;
    json_t *node;
    const char *path;
    int depth;
} visit_t;

static void check_value(const visit_t *v);

static void check_scalar(const visit_t *v, json_t *own)
{
    const char *text = vapi_payload_text(v->pl, v->range);

    expect(!v->node || (own && json_equal(own, v->node)), "value", v->path);
    switch (v->range.kind) {
    case VAPI_JSON_STRING:
        expect(!text == !own && (!own || !strcmp(text, json_string_value(own))), "text of a string", v->path);
        break;
    case VAPI_JSON_NUMBER:
        expect(!text == !own && (!own || (strlen(text) == v->range.len && !memcmp(text, v->range.at, v->range.len))),
               "text of a number", v->path);
        break;
    case VAPI_JSON_NULL:
        expect(!text, "text of null", v->path);
        break;
    default:
        expect(text && own && !strcmp(text, json_is_true(own) ? "true" : "false"), "text of a boolean", v->path);
        break;
    }
}

static void check_array(const visit_t *v)
{
    const char *p = v->range.at, *const end = p + v->range.len - 1;
    visit_t inner = *v;
    apr_size_t cursor = 0, count = 0;

    inner.depth++;
    for (;;) {
        const char *step, *stop;

        inner.range = vapi_payload_next(v->pl, v->range, &cursor);
        p = slow_space(p + 1, end);
        if (p == end && count == 0) {
            break;
        }
        if (inner.range.kind == VAPI_JSON_ABSENT) {
            break;
        }
        stop = slow_end(p, end);
        expect(inner.range.at == p && inner.range.at + inner.range.len == stop, "place of an element", v->path);
        p = slow_space(stop, end);
        if (count < 20) {
            step = apr_psprintf(vapi_payload_pool(v->pl), "/%" APR_SIZE_T_FMT, count);
            expect(vapi_payload_find_in(v->pl, v->range, step, NULL).at == inner.range.at, "element by position", v->path);
            inner.path = apr_pstrcat(vapi_payload_pool(v->pl), v->path, step, NULL);
        }
        inner.node = json_array_get(v->node, count++);
        expect(!v->node || inner.node, "number of elements", v->path);
        check_value(&inner);
    }
    expect(inner.range.kind == VAPI_JSON_ABSENT && p >= end, "end of an array", v->path);
    expect(!v->node || json_array_size(v->node) == count, "number of elements", v->path);
}

typedef struct seen_t {
    const char *key;
    vapi_range_t value;
} seen_t;

/* All members of an object by the slow walker. @return why the object cannot be read by name (any text), or NULL */
static const char *slow_members(const visit_t *v, apr_array_header_t *members)
{
    apr_pool_t *pool = vapi_payload_pool(v->pl);
    apr_hash_t *keys = apr_hash_make(pool);
    const char *p = v->range.at, *const end = p + v->range.len - 1, *why = NULL;

    while ((p = slow_space(p + 1, end)) < end) {
        const char *stop = slow_end(p, end);
        json_t *key = json_loadb(p, (size_t)(stop - p), STRICT, NULL);
        seen_t *seen = apr_array_push(members);

        seen->key = key ? apr_pstrdup(pool, json_string_value(key)) : NULL;
        json_decref(key);
        if (!seen->key || apr_hash_get(keys, seen->key, APR_HASH_KEY_STRING)) {
            why = seen->key ? "a key stands twice" : "a bad key";
        }
        else {
            apr_hash_set(keys, seen->key, APR_HASH_KEY_STRING, "");
        }
        p = slow_space(slow_space(stop, end) + 1, end);
        stop = slow_end(p, end);
        seen->value.at = p;
        seen->value.len = (apr_size_t)(stop - p);
        p = slow_space(stop, end);
    }
    return members->nelts > VAPI_PAYLOAD_MAX_MEMBERS ? "too many members" : why;
}

static void check_object(const visit_t *v)
{
    apr_pool_t *pool = vapi_payload_pool(v->pl);
    apr_array_header_t *members = apr_array_make(pool, 8, sizeof(seen_t));
    const char *expected = slow_members(v, members), *why;
    visit_t inner = *v;
    int i;

    expect(vapi_payload_find_in(v->pl, v->range, "/no such key", &why).kind == VAPI_JSON_ABSENT || !why,
           "a key that is not there", v->path);
    expect(!expected == !why, "whether an object can be read by name", v->path);
    expect(!v->node || expected || json_object_size(v->node) == (size_t)members->nelts, "number of members", v->path);
    inner.depth++;
    for (i = 0; i < members->nelts; i++) {
        const seen_t *seen = &APR_ARRAY_IDX(members, i, seen_t);
        const char *step = seen->key ? pointer_of(seen->key, pool) : "/?";

        inner.path = v->depth < 20 ? apr_pstrcat(pool, v->path, step, NULL) : v->path;
        inner.range = vapi_payload_find_in(v->pl, v->range, step, &why);
        if (expected) {
            expect(inner.range.kind == VAPI_JSON_ABSENT && why, "a member of an object that cannot be read", inner.path);
            continue;
        }
        expect(!why && inner.range.at == seen->value.at && inner.range.len == seen->value.len, "place of a member", inner.path);
        expect(vapi_payload_member(v->pl, v->range, seen->key, strlen(seen->key), NULL).at == seen->value.at, "member by key", inner.path);
        inner.node = json_object_get(v->node, seen->key);
        expect(!v->node || inner.node, "a member", inner.path);
        check_value(&inner);
    }
}

/* The same text, or JSON text of the same value: escapes and real numbers stand in a body as they were written. */
static int same_text(const char *a, const char *b)
{
    json_t *x, *y;
    int same = !strcmp(a, b);

    if (!same) {
        x = json_loads(a, JSON_DECODE_ANY, NULL);
        y = json_loads(b, JSON_DECODE_ANY, NULL);
        same = x && y && json_equal(x, y);
        json_decref(x);
        json_decref(y);
    }
    return same;
}

/* The same path over the bytes and over the parsed body. */
static void check_lookup(const visit_t *v, json_t *root)
{
    apr_pool_t *pool = vapi_payload_pool(v->pl);
    const vapi_range_t from = vapi_payload_root(v->pl);
    char *dotted = apr_pstrdup(pool, v->path + 1), *c;
    const char *paths[3];
    int i;

    for (c = dotted; *c; c++) {
        *c = *c == '/' ? '.' : *c;
    }
    paths[0] = v->path;
    paths[1] = dotted;
    paths[2] = apr_pstrcat(pool, dotted, ".length", NULL);
    for (i = 0; i < 3; i++) {
        expect(same_text(vapi_payload_lookup(v->pl, from, paths[i]), vapi_json_lookup(root, paths[i], pool)), "lookup", paths[i]);
    }
}

static void check_value(const visit_t *v)
{
    json_t *own = NULL;

    if (v->range.kind == VAPI_JSON_OBJECT) {
        check_object(v);
        return;
    }
    if (v->range.kind == VAPI_JSON_ARRAY) {
        check_array(v);
        return;
    }
    own = json_loadb(v->range.at, v->range.len, STRICT, NULL);
    expect(!own == !vapi_payload_parse(v->pl, v->range), "whether a value can be read", v->path);
    expect(!own || json_equal(own, vapi_payload_parse(v->pl, v->range)), "parsed value", v->path);
    check_scalar(v, own);
    json_decref(own);
    if (v->node && v->depth > 0 && v->depth < 6) {
        json_t *root = vapi_payload_parse(v->pl, vapi_payload_root(v->pl));

        if (root) {
            check_lookup(v, root);
        }
    }
}

static void check_body(const char *body, size_t size, apr_pool_t *pool)
{
    json_t *lenient = json_loadb(body, size, JSON_DECODE_ANY, NULL), *strict = json_loadb(body, size, STRICT, NULL);
    vapi_payload_t *pl = NULL;
    const char *why = vapi_payload_open(&pl, body, size, pool);
    visit_t root = { 0 };

    if (why) {      /* jansson overlooks a NUL behind a number; the payload does not */
        expect(!json_is_object(lenient) || memchr(body, '\0', size) || !strcmp(why, "nested too deep")
               || !strcmp(why, "too many values"), why, "");
    }
    else {
        expect(!lenient || json_is_object(lenient), "a body that is no object", "");
        expect(!strict == !vapi_payload_parse(pl, vapi_payload_root(pl)), "whether the whole body can be read", "");
        expect(!strict || json_equal(strict, vapi_payload_parse(pl, vapi_payload_root(pl))), "the whole body", "");
        root.pl = pl;
        root.range = vapi_payload_root(pl);
        root.node = lenient;
        root.path = "";
        check_value(&root);
    }
    json_decref(lenient);
    json_decref(strict);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *all;
    apr_pool_t *pool;
    char *body;

    if (!all) {
        apr_initialize();
        apr_pool_create(&all, NULL);
    }
    apr_pool_create(&pool, all);
    body = malloc(size ? size : 1);         /* exactly as long as the body: a byte read behind it is seen */
    if (!body) {
        abort();
    }
    if (size) {
        memcpy(body, data, size);
    }
    check_body(body, size, pool);
    apr_pool_destroy(pool);
    free(body);
    return 0;
}

#ifdef VAPI_REPLAY
int main(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        static uint8_t data[1 << 20];
        size_t size;

        if (!file) {
            perror(argv[i]);
            return 1;
        }
        size = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        printf("%s\n", argv[i]);
    }
    return 0;
}
#endif
