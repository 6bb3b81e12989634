/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_trail.h
 * @brief Where a call was sent, in order: noted right before it is, so that reports, which come in any order, twice or never, can be
 *        held against it on any process and node. Over any state provider; knows no httpd request.
 */
#ifndef VAPI_TRAIL_H
#define VAPI_TRAIL_H

#include "vapi_once.h"

/** One leg of a call: a time that it was sent somewhere. Strings are configured words; no number is kept, only a hash of it. */
typedef struct vapi_leg_t {
    const char *id;                    /* of this entry; made by vapi_trail_add. NULL: it is not noted */
    const char *path, *route;          /* the section ("" for a whole host) and the route's label */
    const char *pool;                  /* "" where the target was no pool; then home, member and token are empty, too */
    const char *home, *member;         /* whose lease it is: as in vapi_member_t */
    apr_uint64_t token;                /* of the lease */
    apr_uint64_t dialled;              /* vapi_trail_hash of the number or URI; 0 for assistants and squads */
    const char *status;                /* "" while nothing is known of its end, "connected" while it is known to be there, then
                                          completed, no-answer, busy, voicemail, failed, cancelled or unreported */
    int is_told;                       /* Vapi reported this status of this leg; else it follows from how the call ended, and a
                                          report may still say it better */
    int is_counted;                    /* its end stands in the counters */
    const char *as_kept;               /* the whole entry as the store has it: what vapi_trail_mark expects to find */
} vapi_leg_t;

/** Of a number or SIP URI, never 0; not for secrets. */
apr_uint64_t vapi_trail_hash(const char *dialled);

/** Notes that the call is about to be sent; fills in id, status and as_kept. A call without an identity has no trail. @return 0: the
 * store does not take it */
int vapi_trail_add(const vapi_once_t *once, vapi_leg_t *leg);

/** It was not sent after all. */
void vapi_trail_drop(const vapi_once_t *once, const vapi_leg_t *leg);

/** All entries of the call, in order: vapi_leg_t *. Empty where nothing is known, or the call has no identity. NULL: the store cannot
 * say. */
const apr_array_header_t *vapi_trail_read(const vapi_once_t *once);

/** Gives an entry a status (a constant), is_told and is_counted as the leg has them. @return 1: by us; 0: somebody changed it since it
 * was read, or the store cannot say */
int vapi_trail_mark(const vapi_once_t *once, vapi_leg_t *leg, const char *status);

/** The key of the trail: for vapi_state's own(). */
const char *vapi_trail_key(const vapi_once_t *once, apr_size_t *len);

#endif
