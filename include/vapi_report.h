/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_report.h
 * @brief What became of the call: what Vapi reports (artifact.transfers, the end of the call) held against where the call was sent. Members
 *        who do not have the call are free again. Knows no httpd request.
 */
#ifndef VAPI_REPORT_H
#define VAPI_REPORT_H

#include "vapi_names.h"
#include "vapi_pool.h"
#include "vapi_trail.h"

/** What a message says of one leg that was not known before. All 0: nothing. */
typedef struct vapi_verdict_t {
    const char *status;                /* a constant: to be marked with; NULL: nothing new */
    int is_told, is_counted;           /* to be marked, too */
    int ends;                          /* the lease is over */
    int rests;                         /* nobody answered: the member is left alone for a while */
    int was_in_vain;                   /* the caller never got there */
    int counts;                        /* it is to be counted now */
} vapi_verdict_t;

/**
 * Judges each leg. What was marked is not said again, and messages that come in another order leave the same marks; but a lease that is
 * over does not come back.
 * @param legs      vapi_leg_t *, in order
 * @param reported  vapi_reported_t, in order
 * @param ended     how the call ended, "" not said how, NULL: not that we know
 * @return vapi_verdict_t, one a leg
 */
const vapi_verdict_t *vapi_report_judge(const apr_array_header_t *legs, const apr_array_header_t *reported, const char *ended,
                                        apr_pool_t *p);

typedef struct vapi_report_t {
    const vapi_once_t *once;           /* whose call it is */
    const vapi_names_t *names;         /* where its pools are */
    const char *caller;                /* "" if unknown */
    vapi_message_t *message;
    void (*count)(void *baton, const vapi_leg_t *leg);    /* this leg ended with its status, which was not known before */
    void *baton;
    int released, rested;              /* set: how many members */
    int is_of_earlier;                 /* set: the last transfer that it names is not the one by which the call was sent last, but an earlier one */
} vapi_report_t;

/** Settles what the message says: of any type, every authenticated one is to be shown here. Nothing is asked of the store where it can
 * say nothing. */
void vapi_report_settle(vapi_report_t *report);

#endif
