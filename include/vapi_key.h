/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_key.h
 * @brief Keys made of several words, some of which a caller or a model may choose: no two different sequences of words make the same key.
 */
#ifndef VAPI_KEY_H
#define VAPI_KEY_H

#include <apr_pools.h>

/** Each word with its length before it, in `p`; bytes, not print. A word may be NULL, which is another than an empty one. */
const char *vapi_key_join(const char *const *words, apr_size_t number, apr_size_t *len, apr_pool_t *p);

#endif
