/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_errand.h
 * @brief An errand: an action filled in for one call, on its way to be done. A required one is done at once and gates the
 *        transfer; any other is put into the spool (where there is one), done by a worker thread after the reply has gone to
 *        Vapi, and by mod_watchdog again and again until it is delivered.
 */
#ifndef VAPI_ERRAND_H
#define VAPI_ERRAND_H

#include "vapi_action.h"
#include "vapi_reach.h"
#include "vapi_spool.h"

/** What one request's errands need; filled in once a request. */
typedef struct vapi_errands_t {
    struct vapi_child_t *child;
    vapi_spool_t *spool;               /* NULL: each is tried once */
    server_rec *server;                /* for the log */
    const char *log_call;              /* the call's id as it may be logged (vapi_log_id) */
    const char *identity[4];           /* what delivery this is: host, call, type and id, for the Idempotency-Key. Not logged; may
                                          change from one tool call of a request to the next, as may log_call */
    apr_pool_t *pool;                  /* of the request: r->pool itself, which is cleared when the reply has left */
    apr_array_header_t *waiting;       /* errands to be done after that; made at first use. Private to errand.c */
    apr_hash_t *done;                  /* required actions of this request, by address: how they ended. Private to errand.c */
} vapi_errands_t;

/**
 * Runs the required actions of this event that apply to the question as it is now, in order, each once a request (a second asking
 * gets the first one's result); each ends before reach->deadline. Notes go to reach->notes.
 * @param actions  vapi_action_t *, of the section
 * @return 1: go on; 0: one of them failed (the question's reason is then "action-failed")
 */
int vapi_errands_required(vapi_errands_t *errands, const apr_array_header_t *actions, vapi_event event, vapi_question_t *q);

/** Fills in the other actions of this event that apply, and writes them to the spool. Worker threads get them when errands->pool
 * is cleared: the reply has left then. What cannot be spooled is logged (error) and tried once. */
void vapi_errands_collect(vapi_errands_t *errands, const apr_array_header_t *actions, vapi_event event, vapi_question_t *q);

/**
 * post_config: has mod_watchdog look after the spool, in one child at a time.
 * @param actions  id -> vapi_action_t *: all of the configuration
 * @return APR_ENOTIMPL where mod_watchdog is not loaded
 */
apr_status_t vapi_errands_watch(vapi_spool_t *spool, apr_hash_t *actions, server_rec *s, apr_pool_t *pconf);

/** The child ends, and vapi_global()->child is NULL by now: returns when nobody goes through the spool on its behalf any more. */
void vapi_errands_await_pass(void);

#endif
