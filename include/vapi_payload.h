/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_payload.h
 * @brief The bytes of a webhook's body, found by path and parsed by jansson only where somebody asks.
 *
 * Vapi sends the whole assistant and the whole conversation with every tool call: 160 KB after a long talk, of
 * which a decision reads a few hundred bytes. Opening a payload walks the bytes once, without recursion, checks
 * the structure (brackets, commas, colons, literals, numbers; depth and count capped) and remembers where the members
 * of the root, `message`, `message.call` and `message.artifact` begin and end. Everything else is found inside those
 * ranges when asked for. The contents of a string are checked (by jansson) when it is read, not before: a
 * half emoji in a transcript that nobody reads must not cost a caller the transfer.
 *
 * Knows nothing of httpd's request. One payload is used by one thread. Everything lives in the pool it was opened with.
 */
#ifndef VAPI_PAYLOAD_H
#define VAPI_PAYLOAD_H

#include <apr_pools.h>
#include <jansson.h>

#define VAPI_PAYLOAD_MAX_DEPTH   200      /* containers inside containers, anywhere in the body */
#define VAPI_PAYLOAD_MAX_MEMBERS 1024     /* members of one object that is read by name */
#define VAPI_PAYLOAD_MAX_VALUES  1000000  /* values in the whole body */

typedef struct vapi_payload_t vapi_payload_t;

/** What kind of value begins at a place; VAPI_JSON_ABSENT where there is none. */
typedef enum {
    VAPI_JSON_ABSENT = 0, VAPI_JSON_OBJECT, VAPI_JSON_ARRAY, VAPI_JSON_STRING, VAPI_JSON_NUMBER,
    VAPI_JSON_TRUE, VAPI_JSON_FALSE, VAPI_JSON_NULL
} vapi_json_kind;

/** A value inside the body: where its text begins and ends (half-open), quotes and brackets included. */
typedef struct vapi_range_t {
    const char *at;
    apr_size_t len;
    vapi_json_kind kind;
} vapi_range_t;

/**
 * Opens a body. `body` must outlive the payload (it is not copied) and need not end in NUL.
 * @return NULL when it is a well-formed JSON object, else a constant one-line reason that quotes nothing of the body
 *         ("not JSON", "not a JSON object", "nested too deep", "too many values", "too large").
 */
const char *vapi_payload_open(vapi_payload_t **out, const char *body, apr_size_t len, apr_pool_t *p);

/** The pool it was opened with. */
apr_pool_t *vapi_payload_pool(const vapi_payload_t *pl);

/** The whole body as a range (kind OBJECT). */
vapi_range_t vapi_payload_root(const vapi_payload_t *pl);

/**
 * Finds a member of an object by its decoded key. The object's members are indexed when it is first asked and remembered.
 * @return as vapi_payload_find
 */
vapi_range_t vapi_payload_member(vapi_payload_t *pl, vapi_range_t object, const char *key, apr_size_t len, const char **why);

/**
 * Finds the value at an RFC 6901 pointer (`/message/call/id`; "" is the root).
 * @return the range, kind ABSENT where there is none or where a level on the way cannot be read (a key stands twice
 *         at that level, too many members, a bad string); then *why, if `why` is given, is a constant reason, else NULL.
 */
vapi_range_t vapi_payload_find(vapi_payload_t *pl, const char *pointer, const char **why);

/** The same, with the pointer counted from a value found before. */
vapi_range_t vapi_payload_find_in(vapi_payload_t *pl, vapi_range_t from, const char *pointer, const char **why);

/** Walks an array: gives element after element; *cursor starts at 0. Kind ABSENT at the end or where `array` is none. */
vapi_range_t vapi_payload_next(vapi_payload_t *pl, vapi_range_t array, apr_size_t *cursor);

/**
 * Parses a range with jansson, duplicate keys refused; the same range is parsed once and remembered.
 * @return borrowed (lives as long as the payload's pool), or NULL when jansson refuses it or kind is ABSENT.
 */
json_t *vapi_payload_parse(vapi_payload_t *pl, vapi_range_t range);

/**
 * The text of a string, number, true or false in the payload's pool, NUL-terminated, valid UTF-8 without NUL inside.
 * Numbers and booleans as written ("1.50", "true"). @return NULL for null, objects, arrays, absent, and what jansson refuses.
 */
const char *vapi_payload_text(vapi_payload_t *pl, vapi_range_t range);

/** The JSON text of a range, copied into the payload's pool as it stands in the body; NULL if absent or if jansson refuses it. */
const char *vapi_payload_json(vapi_payload_t *pl, vapi_range_t range);

/** Shorthand: text at a pointer, NULL where vapi_payload_text gives NULL. */
const char *vapi_payload_string(vapi_payload_t *pl, const char *pointer);

/**
 * The value a person writes as `customer.id`, `agents.0.phone`, `items.length`, or `/call/type`, below `from`, turned to text: an
 * exact key wins over a path, at each level; a list or an object gives its JSON text without blanks; X.length its size where X is
 * a list or object. An empty path is `from` itself.
 * @return "" where there is nothing. In the payload's pool.
 */
const char *vapi_payload_lookup(vapi_payload_t *pl, vapi_range_t from, const char *path);

/** The same rules over a parsed value (a tool's arguments, the answer of a lookup); a real number in the shortest form that reads
 * back. In `p`. */
const char *vapi_json_lookup(json_t *value, const char *path, apr_pool_t *p);

/** The value itself, borrowed; X.length is no value. NULL where there is nothing. */
json_t *vapi_json_at(json_t *value, const char *path, apr_pool_t *p);

/** Gives a reference away to a pool, which drops it when it is cleared. */
void vapi_json_keep(json_t *value, apr_pool_t *p);

#endif
