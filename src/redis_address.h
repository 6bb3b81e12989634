/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_address.h
 * @brief The addresses of Redis' host, looked up without making a request wait for a DNS that does not answer. Private to
 * mod_vapi_state_redis.
 *
 * A child leaves the search to a thread of the C library (getaddrinfo_a) and waits for it no longer than it may; where that thread
 * needs more the addresses that were found last are taken. Where the C library has no such thread (glibc has) it waits itself.
 */
#ifndef REDIS_ADDRESS_H
#define REDIS_ADDRESS_H

#include <stddef.h>

#include <apr_pools.h>
#include <apr_time.h>

#define VAPI_REDIS_ADDRESSES 4         /* of one host that are tried */

/** As text: also of IPv6, with its zone. */
typedef struct vapi_redis_address_t {
    char text[72];
} vapi_redis_address_t;

typedef struct vapi_redis_host_t vapi_redis_host_t;

/** In the parent, before children are forked; for all threads. `name` (or address) lives as long as `p`. @return NULL: no lock */
vapi_redis_host_t *vapi_redis_host_make(const char *name, apr_pool_t *p);

/** In each new child: from now on searches are left to a thread. The parent makes none: what it has of threads its children would
 * inherit. */
void vapi_redis_host_enter_child(vapi_redis_host_t *host);

/**
 * Looks the name up, at most once a second.
 * @param wait   microseconds at most
 * @param error  when there are none: what is wrong, in words that live on
 * @return how many addresses there are; 0: *error
 */
int vapi_redis_host_find(vapi_redis_host_t *host, apr_interval_time_t wait, vapi_redis_address_t *addresses, const char **error);

#endif
