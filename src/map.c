/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  map.c
 * @brief A map's index: a hash table of places in the content, half empty at least, eight bytes a slot. A line is read again when
 *        its key is found, so nothing of it is copied at start-up.
 *
 * The hash is a polynomial of the text's bytes at two points modulo the prime 2^31 - 1. The points are drawn anew for each table:
 * nobody can choose keys or texts that meet in one place, and the hashes of all prefixes of a text cost no more than that of the
 * whole.
 */
#include <stddef.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <glib.h>

#include "vapi_map.h"

#define KEY_MAX   255
#define PRIME     0x7FFFFFFFu
#define BITS_MIN  4                         /* a table has 2^4 slots at least */
#define BOM       "\xEF\xBB\xBF"            /* editors of Windows put it at the beginning of a file */

typedef struct slot_t {
    apr_uint32_t tag;       /* the lower half of the hash */
    apr_uint32_t at;        /* 1 + where the text begins in the content; 0: free */
} slot_t;

/* Does a text of the kind that the table holds end here? */
typedef int (*ends_fn)(const char *s, const char *end);

typedef struct table_t {
    const char *content, *end;
    ends_fn ends;
    slot_t *slots;
    apr_size_t mask;
    int shift;              /* of a hash: its upper bits are the slot */
    apr_uint32_t points[2];
} table_t;

struct vapi_map_t {
    const char *name;
    const char *otherwise;
    int by_prefix;
    table_t keys;
    apr_size_t entries;
    apr_size_t longest;                     /* bytes of the longest key */
    unsigned char occurs[KEY_MAX + 1];      /* [n]: there is a key of n bytes */
};

/* ---- lines ---- */

typedef struct text_t {
    const char *at;
    apr_size_t len;
} text_t;

typedef struct lines_t {
    const char *next, *end;
    unsigned int number;    /* of the line that was read last */
} lines_t;

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static text_t trimmed(const char *from, const char *to)
{
    while (from < to && is_blank(*from)) {
        from++;
    }
    while (from < to && is_blank(to[-1])) {
        to--;
    }
    return (text_t){ from, (apr_size_t)(to - from) };
}

/* What stands from here to the end of the line, which may be CR LF, blanks around it left out. */
static text_t rest_of_line(const char *s, const char *end)
{
    const char *newline = memchr(s, '\n', (apr_size_t)(end - s));
    const char *to = newline ? newline : end;

    return trimmed(s, to > s && to[-1] == '\r' ? to - 1 : to);
}

static lines_t first_line(const char *content, apr_size_t len)
{
    apr_size_t mark = len >= sizeof(BOM) - 1 && memcmp(content, BOM, sizeof(BOM) - 1) == 0 ? sizeof(BOM) - 1 : 0;

    return (lines_t){ content + mark, content + len, 0 };
}

/* The next line, blanks around it left out. @return 0: there is none */
static int next_line(lines_t *lines, text_t *line)
{
    const char *newline;

    if (lines->next == lines->end) {
        return 0;
    }
    *line = rest_of_line(lines->next, lines->end);
    newline = memchr(line->at + line->len, '\n', (apr_size_t)(lines->end - line->at) - line->len);
    lines->next = newline ? newline + 1 : lines->end;
    lines->number++;
    return 1;
}

static int is_entry(text_t line)
{
    return line.len && *line.at != '#';
}

static text_t key_of(text_t line)
{
    apr_size_t n = 0;

    while (n < line.len && !is_blank(line.at[n])) {
        n++;
    }
    return (text_t){ line.at, n };
}

static text_t value_of(text_t line)
{
    return trimmed(line.at + key_of(line).len, line.at + line.len);
}

static unsigned int line_number(const char *content, const char *at)
{
    unsigned int n = 1;

    while ((content = memchr(content, '\n', (apr_size_t)(at - content))) != NULL) {
        content++;
        n++;
    }
    return n;
}

/* ---- the table ---- */

typedef struct hash_t {
    apr_uint64_t sums[2];
} hash_t;

static apr_uint64_t modulo_prime(apr_uint64_t n)
{
    n = (n & PRIME) + (n >> 31);
    return (n & PRIME) + (n >> 31);         /* not always the least remainder: the same text has the same, which is enough */
}

static void add_byte(hash_t *hash, const table_t *table, char c)
{
    hash->sums[0] = modulo_prime(hash->sums[0] * table->points[0] + (unsigned char)c);
    hash->sums[1] = modulo_prime(hash->sums[1] * table->points[1] + (unsigned char)c);
}

/* Spreads neighbours (numbers that follow each other) over the table. */
static apr_uint64_t spread(const hash_t *hash)
{
    apr_uint64_t n = hash->sums[0] << 32 ^ hash->sums[1];

    return (n ^ n >> 29) * APR_UINT64_C(0x9E3779B97F4A7C15);
}

static apr_uint64_t hash_of(const table_t *table, text_t text)
{
    hash_t hash = { { 0, 0 } };
    apr_size_t i;

    for (i = 0; i < text.len; i++) {
        add_byte(&hash, table, text.at[i]);
    }
    return spread(&hash);
}

/* Every key has a value, so a blank follows it. */
static int key_ends(const char *s, const char *end)
{
    return s < end && is_blank(*s);
}

static int value_ends(const char *s, const char *end)
{
    return rest_of_line(s, end).len == 0;
}

static int stands_at(const table_t *table, const char *at, text_t text)
{
    return (apr_size_t)(table->end - at) >= text.len && memcmp(at, text.at, text.len) == 0
           && table->ends(at + text.len, table->end);
}

/* Where the text is, or the free slot where it would be. */
static slot_t *slot_of(const table_t *table, apr_uint64_t hash, text_t text)
{
    apr_size_t i = (apr_size_t)(hash >> table->shift);

    for (;; i = (i + 1) & table->mask) {
        slot_t *slot = &table->slots[i];

        if (!slot->at || (slot->tag == (apr_uint32_t)hash && stands_at(table, table->content + slot->at - 1, text))) {
            return slot;
        }
    }
}

/* @return NULL when it is in now, else where the same text was before */
static const char *put(table_t *table, text_t text)
{
    apr_uint64_t hash = hash_of(table, text);
    slot_t *slot = slot_of(table, hash, text);

    if (slot->at) {
        return table->content + slot->at - 1;
    }
    slot->tag = (apr_uint32_t)hash;
    slot->at = (apr_uint32_t)(text.at - table->content) + 1;
    return NULL;
}

/* Slots for twice as many texts as there may be. */
static void make_slots(table_t *table, apr_size_t texts, apr_pool_t *p)
{
    int bits = BITS_MIN;

    while (((apr_size_t)1 << bits) / 2 < texts) {
        bits++;
    }
    table->shift = 64 - bits;
    table->mask = ((apr_size_t)1 << bits) - 1;
    table->slots = apr_pcalloc(p, (table->mask + 1) * sizeof(slot_t));
}

static apr_status_t draw_points(table_t *table)
{
    apr_status_t rv = apr_generate_random_bytes((unsigned char *)table->points, sizeof(table->points));
    int i;

    for (i = 0; i < 2; i++) {
        table->points[i] = 256 + table->points[i] % (PRIME - 256);
    }
    return rv;
}

/* ---- reading a file's content ---- */

static int is_control(const char *s, apr_size_t len)
{
    unsigned char c = (unsigned char)s[0], next = len > 1 ? (unsigned char)s[1] : 0;

    return (c < ' ' && c != '\t') || c == 0x7F || (c == 0xC2 && next >= 0x80 && next < 0xA0);
}

static const char *check_bytes(text_t line, apr_pool_t *p)
{
    unsigned char seen = 0;
    apr_size_t i;

    for (i = 0; i < line.len; i++) {
        if (line.at[i] == '\0') {
            return "it holds a NUL byte";
        }
        if (is_control(line.at + i, line.len - i)) {
            return apr_psprintf(p, "it holds a control character (byte 0x%02x)", (unsigned char)line.at[i]);
        }
        seen |= (unsigned char)line.at[i];
    }
    return seen >= 0x80 && !g_utf8_validate(line.at, (gssize)line.len, NULL) ? "it is not UTF-8" : NULL;
}

static const char *add_entry(vapi_map_t *map, text_t line, apr_pool_t *p)
{
    text_t key = key_of(line);
    const char *before;

    if (key.len > KEY_MAX) {
        return apr_psprintf(p, "the key is longer than %d bytes", KEY_MAX);
    }
    if (value_of(line).len == 0) {
        return "its key has no value";    /* which may be a number: no key is named */
    }
    before = put(&map->keys, key);
    if (before) {
        return apr_psprintf(p, "its key is in line %u already", line_number(map->keys.content, before));
    }
    map->entries++;
    map->occurs[key.len] = 1;
    map->longest = key.len > map->longest ? key.len : map->longest;
    return NULL;
}

static const char *add_all(vapi_map_t *map, lines_t lines, apr_pool_t *p)
{
    text_t line;

    while (next_line(&lines, &line)) {
        const char *error = check_bytes(line, p);

        if (!error && is_entry(line)) {
            error = add_entry(map, line, p);
        }
        if (error) {
            return apr_psprintf(p, "line %u: %s", lines.number, error);
        }
    }
    return NULL;
}

/* Fills `map`, all zeros before. */
static const char *index_content(vapi_map_t *map, const char *content, apr_size_t len, apr_pool_t *p)
{
    apr_status_t rv = draw_points(&map->keys);
    char text[120];

    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "no random numbers: %s", apr_strerror(rv, text, sizeof(text)));
    }
    if (len >= APR_UINT32_MAX) {
        return "it is larger than 4 GB";
    }
    map->keys.content = content;
    map->keys.end = content + len;
    map->keys.ends = key_ends;
    make_slots(&map->keys, line_number(content, map->keys.end), p);
    return add_all(map, first_line(content, len), p);
}

const char *vapi_map_check(const char *content, apr_size_t len, apr_pool_t *p)
{
    vapi_map_t map = { 0 };
    apr_pool_t *scratch;
    const char *error;

    apr_pool_create(&scratch, p);
    error = index_content(&map, content, len, scratch);
    error = error ? apr_pstrdup(p, error) : NULL;
    apr_pool_destroy(scratch);
    return error;
}

const char *vapi_map_make(vapi_map_t **out, const char *name, const char *content, apr_size_t len, int by_prefix,
                          const char *otherwise, apr_pool_t *p)
{
    vapi_map_t *map = apr_pcalloc(p, sizeof(*map));

    map->name = apr_pstrdup(p, name);
    map->otherwise = apr_pstrdup(p, otherwise);
    map->by_prefix = by_prefix;
    *out = map;
    return index_content(map, content, len, p);
}

const char *vapi_map_name(const vapi_map_t *map)
{
    return map->name;
}

apr_size_t vapi_map_entries(const vapi_map_t *map)
{
    return map->entries;
}

int vapi_map_is_prefix(const vapi_map_t *map)
{
    return map->by_prefix;
}

const char *vapi_map_default(const vapi_map_t *map)
{
    return map->otherwise;
}

/* ---- asking ---- */

/* No key holds a blank: what stands behind one cannot be found, and must not be compared with the line behind its key. */
static int may_be_of_key(char c)
{
    return c != '\0' && !is_blank(c);
}

static const char *place_in(const table_t *keys, apr_uint64_t hash, const char *key, apr_size_t len)
{
    const slot_t *slot = slot_of(keys, hash, (text_t){ key, len });

    return slot->at ? keys->content + slot->at - 1 : NULL;
}

static const char *find_exact(const vapi_map_t *map, const char *key)
{
    hash_t hash = { { 0, 0 } };
    apr_size_t n;

    for (n = 0; n < map->longest && may_be_of_key(key[n]); n++) {
        add_byte(&hash, &map->keys, key[n]);
    }
    return key[n] == '\0' && map->occurs[n] ? place_in(&map->keys, spread(&hash), key, n) : NULL;
}

typedef struct candidate_t {
    apr_uint64_t hash;
    apr_size_t len;
} candidate_t;

/* All slots are asked for before the first is looked at: the waits for memory are then one. */
static const char *find_longest(const vapi_map_t *map, const char *text)
{
    candidate_t candidates[KEY_MAX];
    hash_t hash = { { 0, 0 } };
    const char *found = NULL;
    apr_size_t len = 0;
    int n = 0;

    while (len < map->longest && may_be_of_key(text[len])) {
        add_byte(&hash, &map->keys, text[len++]);
        if (map->occurs[len]) {
            candidates[n] = (candidate_t){ spread(&hash), len };
            __builtin_prefetch(&map->keys.slots[candidates[n++].hash >> map->keys.shift]);
        }
    }
    while (n && !found) {
        n--;
        found = place_in(&map->keys, candidates[n].hash, text, candidates[n].len);
    }
    return found;
}

const char *vapi_map_find(const vapi_map_t *map, const char *key, apr_pool_t *p)
{
    const char *found = map->by_prefix ? find_longest(map, key) : find_exact(map, key);
    text_t value;

    if (!found) {
        return apr_pstrdup(p, map->otherwise);
    }
    value = value_of(rest_of_line(found, map->keys.end));
    return apr_pstrmemdup(p, value.at, value.len);
}

int vapi_map_values(const vapi_map_t *map, int (*see)(void *baton, const char *value, unsigned int line), void *baton,
                    apr_pool_t *p)
{
    const char *otherwise = map->otherwise;
    table_t seen = map->keys;
    lines_t lines = first_line(map->keys.content, (apr_size_t)(map->keys.end - map->keys.content));
    apr_pool_t *scratch;
    text_t line;
    int last = 0;

    apr_pool_create(&scratch, p);
    seen.ends = value_ends;
    make_slots(&seen, map->entries, scratch);
    while (!last && next_line(&lines, &line)) {
        text_t value = value_of(line);

        if (is_entry(line) && !put(&seen, value)) {
            last = see(baton, apr_pstrmemdup(p, value.at, value.len), lines.number);
        }
    }
    apr_pool_destroy(scratch);
    return last || !otherwise ? last : see(baton, otherwise, 0);
}
