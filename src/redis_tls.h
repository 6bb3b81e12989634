/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_tls.h
 * @brief TLS to Redis, where hiredis has it (VAPI_REDIS_TLS). Private to mod_vapi_state_redis.
 */
#ifndef REDIS_TLS_H
#define REDIS_TLS_H

#include "redis_link.h"

typedef struct vapi_redis_tls_t vapi_redis_tls_t;

/** NULL, or why this module cannot speak TLS (constant). */
const char *vapi_redis_tls_lacks(void);

/** What is trusted, and who is spoken to. In the parent. @return NULL or what is wrong */
const char *vapi_redis_tls_make(vapi_redis_tls_t **out, const vapi_redis_server_t *server, apr_pool_t *p);

/** Makes a connection that was just opened a safe one, or says why not: in `why`, or a constant. */
const char *vapi_redis_tls_begin(vapi_redis_tls_t *tls, redisContext *c, char *why, size_t room);

#endif
