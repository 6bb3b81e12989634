/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The bytes of a webhook's body: one strict walk over all of them when it is opened, and an index of the few objects
 * that are read by name. What jansson thinks of a value is asked when the value is read.
 */
#include "vapi_payload.h"

#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "json_scan.h"

#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)

/* Up to so many members, keys are compared each with each; above, sorted. */
#define FEW_MEMBERS 32

static const char too_many_members[] = "too many members";
static const char key_twice[] = "a key stands twice";
static const char key_bad[] = "a key is not a valid string";

typedef struct member_t {
    const char *key;            /* raw inside the body until the level is checked, then decoded */
    apr_uint32_t key_len;
    apr_uint32_t tag;           /* of the decoded key: unequal tags, unequal keys */
    vapi_range_t value;
} member_t;

/* The members of one object. */
typedef struct level_t level_t;
struct level_t {
    const char *at;             /* its opening bracket: what the index of levels is keyed by; NULL: not in the body */
    member_t *members;
    int count, size;
    int checked;                /* keys are decoded and compared: done when the level is first asked */
    const char *why;            /* it cannot be read by name */
    level_t *outer;             /* while scanning: the level it stands in, and its value there */
    vapi_range_t *range;
};

/* The levels that are indexed while the body is opened. */
enum { LEVEL_ROOT = 0, LEVEL_MESSAGE, LEVEL_CALL, LEVEL_ARTIFACT, LEVELS };

typedef struct parsed_t {
    struct {
        const char *at;
        apr_size_t len;
    } key;
    json_t *value;              /* NULL: jansson refused it */
} parsed_t;

struct vapi_payload_t {
    apr_pool_t *pool;
    vapi_range_t root;
    level_t first[LEVELS];
    apr_hash_t *later;          /* opening bracket -> level_t *; NULL until one is needed */
    apr_hash_t *parsed;         /* place and length -> parsed_t * */
};

/* A new member of a level; its value is still to be filled in. NULL when the level has too many. */
static member_t *level_add(level_t *level, const char *key, apr_size_t key_len, apr_pool_t *p)
{
    member_t *m;

    if (level->count == level->size) {
        member_t *members;

        if (level->count == VAPI_PAYLOAD_MAX_MEMBERS) {
            level->why = too_many_members;
            return NULL;
        }
        level->size = level->size ? 2 * level->size : 8;
        members = apr_palloc(p, (apr_size_t)level->size * sizeof(*members));
        if (level->count) {
            memcpy(members, level->members, (apr_size_t)level->count * sizeof(*members));
        }
        level->members = members;
    }
    m = &level->members[level->count++];
    m->key = key;
    m->key_len = (apr_uint32_t)key_len;
    m->tag = 0;
    return m;
}

/* Which of the first levels a member opens; LEVEL_ROOT: none. */
static int level_of_member(const level_t *first, const level_t *level, const member_t *m)
{
    if (level == &first[LEVEL_ROOT]) {
        return m->key_len == 7 && !memcmp(m->key, "message", 7) ? LEVEL_MESSAGE : LEVEL_ROOT;
    }
    if (level != &first[LEVEL_MESSAGE]) {
        return LEVEL_ROOT;
    }
    if (m->key_len == 4 && !memcmp(m->key, "call", 4)) {
        return LEVEL_CALL;
    }
    return m->key_len == 8 && !memcmp(m->key, "artifact", 8) ? LEVEL_ARTIFACT : LEVEL_ROOT;
}

/* Where the value that is about to be scanned is an object with a level of its own that is still free: that level. */
static level_t *level_to_enter(level_t *first, level_t *level, member_t *m, const char *value)
{
    int which = first && m && *value == '{' ? level_of_member(first, level, m) : LEVEL_ROOT;
    level_t *inner;

    if (which == LEVEL_ROOT || first[which].at) {
        return NULL;
    }
    inner = &first[which];
    inner->outer = level;
    inner->range = &m->value;
    return inner;
}

static void range_set(vapi_range_t *range, const char *at, const char *end)
{
    range->at = at;
    range->len = (apr_size_t)(end - at);
    switch (*at) {
    case '{': range->kind = VAPI_JSON_OBJECT; break;
    case '[': range->kind = VAPI_JSON_ARRAY; break;
    case '"': range->kind = VAPI_JSON_STRING; break;
    case 't': range->kind = VAPI_JSON_TRUE; break;
    case 'f': range->kind = VAPI_JSON_FALSE; break;
    case 'n': range->kind = VAPI_JSON_NULL; break;
    default: range->kind = VAPI_JSON_NUMBER; break;
    }
}

/*
 * Walks the object that begins at p into `level`, and the first levels inside it into theirs (`first` NULL: none). No recursion: the
 * levels that are open are chained by `outer`.
 * @return behind the object (which may be s->end), or NULL and s->why
 */
static const char *scan_level(scan_t *s, const char *p, level_t *level, level_t *first, apr_pool_t *pool)
{
    level_t *const outermost = level;
    int depth = 1;

    for (level->at = p;;) {
        const char *key, *key_end;
        level_t *inner;
        member_t *m;

        /* behind an opening bracket or a comma */
        key = skip_space(p + 1);
        if (*p == '{' && *key == '}') {
            p = key;
        }
        else {
            if (!(p = value_of_key(key, s->end, &key_end))) {
                return refuse(s, not_json);
            }
            m = level_add(level, key + 1, (apr_size_t)(key_end - key) - 2, pool);
            if ((inner = level_to_enter(first, level, m, p))) {
                inner->at = p;
                level = inner;
                depth++;
                continue;
            }
            key = p;
            if (!(p = skip_value(s, p, depth))) {
                return NULL;
            }
            if (m) {
                range_set(&m->value, key, p);
            }
            if (p == s->end) {
                return refuse(s, not_json);
            }
            p = skip_space(p);
        }

        /* behind a value, or at the end of an empty object */
        while (*p == '}') {
            p++;
            if (level == outermost) {
                return p;
            }
            range_set(level->range, level->at, p);
            level = level->outer;
            depth--;
            if (p == s->end) {
                return refuse(s, not_json);
            }
            p = skip_space(p);
        }
        if (*p != ',') {
            return refuse(s, not_json);
        }
    }
}

const char *vapi_payload_open(vapi_payload_t **out, const char *body, apr_size_t len, apr_pool_t *p)
{
    scan_t s = { body + len, VAPI_PAYLOAD_MAX_VALUES, NULL };
    vapi_payload_t *pl;
    const char *end;

    while (body < s.end && is_space(*body)) {
        body++;
    }
    while (body < s.end && is_space(s.end[-1])) {
        s.end--;
    }
    if (s.end - body < 2 || *body != '{') {
        return body < s.end && *body != '{' ? "not a JSON object" : not_json;
    }
    if (s.end[-1] != '}') {
        return not_json;
    }
    if ((apr_uint64_t)(s.end - body) > APR_UINT32_MAX) {
        return "too large";
    }

    pl = apr_pcalloc(p, sizeof(*pl));
    pl->pool = p;
    end = scan_level(&s, body, &pl->first[LEVEL_ROOT], pl->first, p);
    if (!end) {
        return s.why;
    }
    if (end != s.end) {
        return not_json;
    }
    range_set(&pl->root, body, end);
    *out = pl;
    return NULL;
}

apr_pool_t *vapi_payload_pool(const vapi_payload_t *pl)
{
    return pl->pool;
}

vapi_range_t vapi_payload_root(const vapi_payload_t *pl)
{
    return pl->root;
}

/* The decoded key where the raw one has escapes or bytes that jansson must judge. @return 0 when jansson refuses it */
static int key_decode(member_t *m, apr_pool_t *p)
{
    json_t *decoded = json_loadb(m->key - 1, (apr_size_t)m->key_len + 2, PARSE_FLAGS, NULL);

    if (!decoded) {
        return 0;
    }
    m->key_len = (apr_uint32_t)json_string_length(decoded);
    m->key = apr_pstrmemdup(p, json_string_value(decoded), m->key_len);
    json_decref(decoded);
    return 1;
}

/* FNV-1a of the bytes; *plain: nothing in them needs decoding. */
static apr_uint32_t key_tag(const char *key, apr_uint32_t len, int *plain)
{
    apr_uint32_t tag = 2166136261U, i;

    *plain = 1;
    for (i = 0; i < len; i++) {
        const unsigned char c = (unsigned char)key[i];

        *plain &= c >= 0x20 && c < 0x80 && c != '\\';
        tag = (tag ^ c) * 16777619U;
    }
    return tag;
}

static int key_compare(const member_t *a, const member_t *b)
{
    if (a->tag != b->tag) {
        return a->tag < b->tag ? -1 : 1;
    }
    if (a->key_len != b->key_len) {
        return a->key_len < b->key_len ? -1 : 1;
    }
    return memcmp(a->key, b->key, a->key_len);
}

static int key_compare_sorting(const void *a, const void *b)
{
    return key_compare(*(const member_t *const *)a, *(const member_t *const *)b);
}

static int level_has_key_twice(const level_t *level, apr_pool_t *p)
{
    const member_t **sorted;
    int i, j;

    if (level->count <= FEW_MEMBERS) {
        for (i = 1; i < level->count; i++) {
            for (j = 0; j < i; j++) {
                if (level->members[i].tag == level->members[j].tag && !key_compare(&level->members[i], &level->members[j])) {
                    return 1;
                }
            }
        }
        return 0;
    }
    sorted = apr_palloc(p, (apr_size_t)level->count * sizeof(*sorted));
    for (i = 0; i < level->count; i++) {
        sorted[i] = &level->members[i];
    }
    qsort(sorted, (size_t)level->count, sizeof(*sorted), key_compare_sorting);
    for (i = 1; i < level->count; i++) {
        if (!key_compare(sorted[i - 1], sorted[i])) {
            return 1;
        }
    }
    return 0;
}

/* Decodes and compares the keys: once, when the level is first asked. */
static void level_check(level_t *level, apr_pool_t *p)
{
    int i;

    level->checked = 1;
    for (i = 0; i < level->count && !level->why; i++) {
        member_t *m = &level->members[i];
        int plain;

        m->tag = key_tag(m->key, m->key_len, &plain);
        if (plain) {
            continue;
        }
        if (!key_decode(m, p)) {
            level->why = key_bad;
            break;
        }
        m->tag = key_tag(m->key, m->key_len, &plain);
    }
    if (!level->why && level_has_key_twice(level, p)) {
        level->why = key_twice;
    }
}

/* The index of an object, made when it is first entered. */
static level_t *level_enter(vapi_payload_t *pl, vapi_range_t object)
{
    level_t *level = NULL;
    int i;

    for (i = 0; i < LEVELS && !level; i++) {
        level = pl->first[i].at == object.at ? &pl->first[i] : NULL;
    }
    if (!level && !pl->later) {
        pl->later = apr_hash_make(pl->pool);
    }
    if (!level) {
        level = apr_hash_get(pl->later, &object.at, sizeof(object.at));
    }
    if (!level) {
        scan_t s = { object.at + object.len, VAPI_PAYLOAD_MAX_VALUES, NULL };

        level = apr_pcalloc(pl->pool, sizeof(*level));
        scan_level(&s, object.at, level, NULL, pl->pool);   /* cannot fail: it was walked when the body was opened */
        apr_hash_set(pl->later, &level->at, sizeof(level->at), level);
    }
    if (!level->checked) {
        level_check(level, pl->pool);
    }
    return level;
}

vapi_range_t vapi_payload_member(vapi_payload_t *pl, vapi_range_t object, const char *key, apr_size_t len, const char **why)
{
    static const vapi_range_t absent = { NULL, 0, VAPI_JSON_ABSENT };
    level_t *level;
    int i;

    if (why) {
        *why = NULL;
    }
    if (object.kind != VAPI_JSON_OBJECT) {
        return absent;
    }
    level = level_enter(pl, object);
    if (level->why) {
        if (why) {
            *why = level->why;
        }
        return absent;
    }
    for (i = 0; i < level->count; i++) {
        const member_t *m = &level->members[i];

        if (m->key_len == len && !memcmp(m->key, key, len)) {
            return m->value;
        }
    }
    return absent;
}

vapi_range_t vapi_payload_next(vapi_payload_t *pl, vapi_range_t array, apr_size_t *cursor)
{
    vapi_range_t element = { NULL, 0, VAPI_JSON_ABSENT };
    scan_t s = { array.at + array.len, VAPI_PAYLOAD_MAX_VALUES, NULL };
    const char *p, *end;

    (void)pl;
    if (array.kind != VAPI_JSON_ARRAY || *cursor >= array.len) {
        return element;
    }
    p = skip_space(array.at + *cursor + 1);     /* behind the opening bracket or a comma */
    if (*p == ']') {
        *cursor = array.len;
        return element;
    }
    if (!(end = skip_value(&s, p, 0))) {
        return element;
    }
    range_set(&element, p, end);
    end = skip_space(end);
    *cursor = *end == ',' ? (apr_size_t)(end - array.at) : array.len;
    return element;
}

json_t *vapi_payload_parse(vapi_payload_t *pl, vapi_range_t range)
{
    parsed_t *parsed, wanted;

    if (range.kind == VAPI_JSON_ABSENT) {
        return NULL;
    }
    memset(&wanted, 0, sizeof(wanted));
    wanted.key.at = range.at;
    wanted.key.len = range.len;
    if (!pl->parsed) {
        pl->parsed = apr_hash_make(pl->pool);
    }
    parsed = apr_hash_get(pl->parsed, &wanted.key, sizeof(wanted.key));
    if (parsed) {
        return parsed->value;
    }

    parsed = apr_pmemdup(pl->pool, &wanted, sizeof(wanted));
    parsed->value = json_loadb(range.at, range.len, PARSE_FLAGS, NULL);
    if (parsed->value) {
        vapi_json_keep(parsed->value, pl->pool);
    }
    apr_hash_set(pl->parsed, &parsed->key, sizeof(parsed->key), parsed);
    return parsed->value;
}
