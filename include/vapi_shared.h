/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_shared.h
 * @brief What this server's processes share beside the state store (a small anonymous segment), and what one child keeps for itself.
 */
#ifndef VAPI_SHARED_H
#define VAPI_SHARED_H

#include <httpd.h>

#include "vapi_http.h"
#include "vapi_workers.h"

typedef struct vapi_shared_t vapi_shared_t;

/** post_config: `slots` is the greatest VapiLimit outbound= of all sections (0: none given). Lives as long as pconf. */
apr_status_t vapi_shared_create(vapi_shared_t **out, int slots, apr_pool_t *pconf);

/**
 * Takes one of the first `limit` places for a request that will wait for another server until `deadline` at most. A place whose
 * deadline has passed is free again, so a killed child costs nothing for long.
 * @return the place, or -1 when all are taken
 */
int vapi_shared_enter(vapi_shared_t *shared, int limit, apr_time_t deadline);
void vapi_shared_leave(vapi_shared_t *shared, int place);

/** Counts one refused delivery by reason. @return 0: stay silent; n > 0: log, n were refused for it since the last line (at most
 * one line a minute) */
apr_uint32_t vapi_shared_refused(vapi_shared_t *shared, const char *reason);

/** Counts an errand that was delivered, and says how many were since the last start. */
void vapi_shared_delivered(vapi_shared_t *shared);
apr_uint64_t vapi_shared_deliveries(const vapi_shared_t *shared);

typedef struct vapi_child_t vapi_child_t;

/** child_init. threads: of requests; as many libcurl handles are kept. spooled: errands that wait when the child ends are safe in the spool
 * and need not be done first. */
apr_status_t vapi_child_create(vapi_child_t **out, int threads, int spooled, apr_pool_t *pchild);
vapi_http_t *vapi_child_http(vapi_child_t *child);

/** The threads on which databases are asked, and those that do errands. Apart, since the latter wait for the former. */
vapi_workers_t *vapi_child_sql_workers(vapi_child_t *child);
vapi_workers_t *vapi_child_errand_workers(vapi_child_t *child);

/**
 * The one profile of this child that says what `wanted` says: connections are kept by its address, and sections are merged anew
 * for every request. The strings of `wanted` must be the configuration's.
 */
const vapi_http_profile_t *vapi_child_profile(vapi_child_t *child, const vapi_http_profile_t *wanted);

/** 1 the first time that this process meets `what` (a constant) at this assistant, then 0. Safe between threads; remembers a
 * bounded number. */
int vapi_child_first_time(vapi_child_t *child, const char *what, const char *assistant);

#endif
