/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_link.h
 * @brief Connections to one Redis, and questions over them inside their time. Private to mod_vapi_state_redis.
 *
 * A connection is used by one thread at a time; there are as many as threads that asked at once. Each step has 500 ms, all of a
 * question a second; the questions of one request have what its patience says. Redis is away for all when it takes longer.
 */
#ifndef REDIS_LINK_H
#define REDIS_LINK_H

#include <stdatomic.h>
#include <stddef.h>

#include <apr_pools.h>
#include <apr_thread_mutex.h>
#include <httpd.h>

#include <hiredis.h>

/* Beside APR_SUCCESS and APR_ENOSPC: the question was not answered. */
#define VAPI_REDIS_AWAY (APR_OS_START_USERERR + 1)

typedef struct vapi_redis_server_t {
    const char *host;
    int port;
    int db;
    const char *user;              /* NULL: none */
    const char *password;          /* NULL: none */
    int tls;
    const char *ca;                /* NULL: what the system trusts */
} vapi_redis_server_t;

typedef struct vapi_redis_links_t vapi_redis_links_t;

/** How long one request may wait for Redis, in all its threads: its share in all, and never (but for 100 ms a question) past its end. */
typedef struct vapi_redis_patience_t {
    apr_time_t end;                /* of vapi_redis_now() */
    apr_interval_time_t share;
    _Atomic apr_int64_t left;      /* of the share */
} vapi_redis_patience_t;

/** Of a request that has `left` to live: a quarter of it. */
void vapi_redis_be_patient(vapi_redis_patience_t *patience, apr_interval_time_t left);

/** In the parent, before children are forked; closed with `p`. @return NULL and *out, or what is wrong (TLS that cannot be set
 * up) */
const char *vapi_redis_links_make(vapi_redis_links_t **out, const vapi_redis_server_t *server, server_rec *s, apr_pool_t *p);

/** In each new child. */
void vapi_redis_links_enter_child(vapi_redis_links_t *links);

/** Closes this process's connections; those that were inherited are only forgotten. */
void vapi_redis_links_close(vapi_redis_links_t *links);

/**
 * Asks, unless Redis is away and it is not the time to try, or the patience is at its end.
 * @param patience  NULL: that of one question
 * @param reply  for freeReplyObject; neither NULL nor an error on success
 * @return APR_SUCCESS; APR_ENOSPC: Redis has no room; VAPI_REDIS_AWAY: it may have done what it was asked, or not
 */
apr_status_t vapi_redis_links_ask(vapi_redis_links_t *links, vapi_redis_patience_t *patience, redisReply **reply, int argc,
                                  const char **argv);

/** A script with its arguments: argv[0] to argv[2] are EVALSHA, the script's name and the number of keys. Sends the script itself
 * where Redis does not have it, and then changes argv and lens. */
apr_status_t vapi_redis_links_run(vapi_redis_links_t *links, vapi_redis_patience_t *patience, redisReply **reply, const char *text,
                                  int argc, const char **argv, size_t *lens);

#endif
