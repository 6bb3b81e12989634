/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_map.h
 * @brief VapiMap: a key's value out of a file, exact or by longest prefix. Indexed at start-up; a lookup does not grow with the
 *        table. Knows no httpd.
 */
#ifndef VAPI_MAP_H
#define VAPI_MAP_H

#include <apr_pools.h>

typedef struct vapi_map_t vapi_map_t;

/**
 * Is this a map file? A line is a key of 255 bytes at most, blanks (space, tab), and the rest of the line as value; blanks before
 * the key and behind the value are part of neither. Empty lines and lines that begin with `#` are skipped, lines may end with
 * CR LF, and a byte order mark may stand first. A key without a value, a longer key, a key twice, a NUL or other control
 * character, and what is no UTF-8 (in a comment too) are errors.
 * @return NULL or "line N: ..." (the key may be named: it is the administrator's)
 */
const char *vapi_map_check(const char *content, apr_size_t len, apr_pool_t *p);

/**
 * Indexes a content that vapi_map_check passed; it must live as long as the map. A million entries in well under a second.
 * @param by_prefix  the longest key that the looked-up text starts with; else the key that it is
 * @param otherwise  default=, or NULL
 * @return NULL or what is wrong
 */
const char *vapi_map_make(vapi_map_t **out, const char *name, const char *content, apr_size_t len, int by_prefix,
                          const char *otherwise, apr_pool_t *p);

const char *vapi_map_name(const vapi_map_t *map);
apr_size_t vapi_map_entries(const vapi_map_t *map);
int vapi_map_is_prefix(const vapi_map_t *map);
const char *vapi_map_default(const vapi_map_t *map);    /* NULL: none */

/** The value for `key`: copied into `p`; the default where there is none; NULL where there is no default either. An empty key has
 * none but the default, and a key with a blank in it (a prefix may end before the blank). Safe between threads. */
const char *vapi_map_find(const vapi_map_t *map, const char *key, apr_pool_t *p);

/** Walks the distinct values in the file's order, then the default, at start-up: calls `see` for each until it returns other than
 * 0. `line` is the value's (first) line in the file, 0 for the default; the value is NUL-terminated, in `p`. @return what `see`
 * returned last, 0 if there was none */
int vapi_map_values(const vapi_map_t *map, int (*see)(void *baton, const char *value, unsigned int line), void *baton,
                    apr_pool_t *p);

#endif
