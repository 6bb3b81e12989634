/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_away.h
 * @brief What all processes of this server know of Redis' being away, and what they say of it. Private to mod_vapi_state_redis.
 *
 * After a failure nobody of this server asks for a second, then one does: a second later the next, until it answers. No locks: a
 * process that dies here leaves nothing behind.
 */
#ifndef REDIS_AWAY_H
#define REDIS_AWAY_H

#include <stddef.h>

#include <apr_pools.h>
#include <apr_time.h>
#include <httpd.h>

typedef struct vapi_redis_away_t vapi_redis_away_t;

/** In the parent, before children are forked; `host` and `port` are for the log. Lives as long as `p`. @return NULL: there is no
 * shared memory */
vapi_redis_away_t *vapi_redis_away_make(const char *host, int port, server_rec *s, apr_pool_t *p);

/** The clock of all times here: monotonic, microseconds, never 0. */
apr_time_t vapi_redis_now(void);

/** Whether Redis may be asked at `now`: always, or while it is away by one in a second, which is the one told so. */
int vapi_redis_may_ask(vapi_redis_away_t *away, apr_time_t now);

/** It could not be used; `why` is for the log: when it begins and once a minute. One that comes and goes is told of three times a
 * minute. */
void vapi_redis_is_away(vapi_redis_away_t *away, const char *why);

/** It answered what it was asked at `asked`. */
void vapi_redis_is_back(vapi_redis_away_t *away, apr_time_t asked);

/** It is there, but has no room. */
void vapi_redis_has_no_room(vapi_redis_away_t *away);

#endif
