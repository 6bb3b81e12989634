/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_reach.h
 * @brief How one request reaches the world while it is decided: with what, until when, and what came of it. `made` and `notes`
 *        are there from the start, in a pool that lives as long as all questions of the request.
 */
#ifndef VAPI_REACH_H
#define VAPI_REACH_H

#include <apr_hash.h>
#include <apr_tables.h>
#include <apr_time.h>

struct vapi_child_t;
struct vapi_metrics_t;
struct vapi_state_t;

typedef struct vapi_reach_t {
    struct vapi_child_t *child;        /* the HTTP engine, its profiles, the worker threads (vapi_shared.h) */
    struct vapi_state_t *state;        /* where answers are kept; NULL: nowhere */
    const char *host;                  /* the virtual host's id: part of the keys of what is kept */
    apr_time_t deadline;               /* of vapi_clock: all that is asked ends before */
    int only_asked;                    /* nothing new is asked at all: an action that may delay nothing is filled in */
    int only_reads;                    /* nothing but GET and SELECT may be asked (an explanation) */
    apr_hash_t *made;                  /* what was asked in this request, by lookup and expanded form -> vapi_answer_t * */
    apr_array_header_t *notes;         /* const char *: what went wrong, for the log. Constant words and configured names only.
                                          The log itself is silent while an expression is evaluated (src/expression.c), so
                                          it is written later */
    apr_interval_time_t took;          /* by lookups so far */
    int asked;                         /* lookups made so far, cached ones too */
    struct vapi_metrics_t *metrics;    /* where lookups are counted; NULL: nowhere */
    apr_array_header_t *kept;          /* vapi_owned_t: keys under which an answer was put into the store, or found there, in this
                                          request; in the pool of `made`. NULL: nobody wants to know */
} vapi_reach_t;

#endif
