/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_delivery.h
 * @brief One webhook POST on its way through the house: made by webhook.c, served by delivery.c, answered by tool_calls.c or
 *        requests.c.
 */
#ifndef VAPI_DELIVERY_H
#define VAPI_DELIVERY_H

#include "vapi_config.h"
#include "vapi_errand.h"
#include "vapi_log.h"
#include "vapi_once.h"
#include "vapi_reach.h"
#include "vapi_trail.h"

/** What `none` says where its route has no result=; what a tool call gets that was transferred by a route without one, or had no route. */
#define VAPI_SAY_NONE     "I can't transfer the call right now."
#define VAPI_SAY_DONE     "The call is being transferred."
#define VAPI_SAY_NO_ROUTE "No destination is available for this transfer right now."

/** What lookups and actions leave of the time where nothing is posted: for the reply. */
#define VAPI_REPLY_RESERVE apr_time_from_msec(250)

typedef struct vapi_delivery_t {
    request_rec *r;                     /* for its log, its notes and Apache's own variables */
    apr_pool_t *pool;
    const vapi_endpoint_t *endpoint;    /* merged */
    const vapi_host_conf_t *host;
    vapi_global_t *global;
    apr_time_t arrival;                 /* vapi_clock time */
    apr_time_t deadline;                /* of the whole request; shortened once the message is read */
    const char *body;
    apr_size_t body_len;
    vapi_message_t *message;
    const char *caller;                 /* "" if unknown */
    int transfers;                      /* in artifact.transfers */
    int came_back;                      /* of which the last failed */
    vapi_once_t once;
    int moved;                          /* a tool call of this delivery was transferred, or may have been */
    vapi_reach_t *reach;                /* how lookups are made; NULL: none is */
    vapi_desk_t *desk;                  /* who hands out members of pools; NULL: this host has none, or nothing is decided yet */
    apr_array_header_t *owned;          /* vapi_owned_t: what is kept about the caller since this delivery */
    vapi_errands_t *errands;            /* what actions there are to do; NULL before vapi_delivery_open */
} vapi_delivery_t;

/** Once it is known what is asked and how much time there is: from now on lookups can be made, until `until` at most (vapi_clock),
 * members be leased and actions be done. */
void vapi_delivery_open(vapi_delivery_t *d, apr_time_t until);

/** Does deciding wait for other servers, so that it needs one of VapiLimit's outbound places? */
int vapi_delivery_asks_outside(const vapi_delivery_t *d);

/** Tells apart what is asked in this delivery, for the errands' Idempotency-Keys: `type` and `id` as in vapi_once_claim. */
void vapi_delivery_identify(const vapi_delivery_t *d, const char *type, const char *id);

/** The required actions of an event. @return 0: one failed, and the route is not available */
int vapi_delivery_gate(const vapi_delivery_t *d, vapi_event event, vapi_question_t *q);

/** The other actions of an event: filled in and spooled. Before a transfer or an answer they ask no lookup that was not asked. */
void vapi_delivery_tell(const vapi_delivery_t *d, vapi_event event, vapi_question_t *q);

/** What came of it is known (record->outcome): its actions are filled in and spooled. `q` gets what the record says of the route. */
void vapi_delivery_after(const vapi_delivery_t *d, vapi_question_t *q, const vapi_record_t *record);

/** Who hands out members while this delivery is decided; NULL where the host has no pools. */
vapi_desk_t *vapi_delivery_desk(const vapi_delivery_t *d);

/** This is kept under a key since this delivery, and goes when its caller is to be forgotten. */
void vapi_delivery_owns(const vapi_delivery_t *d, vapi_kind kind, const char *key, apr_size_t key_len);

/** Right before the call is sent where it was decided: it is noted in the call's trail, and the member's lease is kept from now on.
 * @return 0: the lease was lost in the meantime, and nothing may be sent */
int vapi_delivery_depart(const vapi_delivery_t *d, const vapi_decision_t *decision, vapi_leg_t *leg);

/** It was not sent there after all (refused, failed): the trail forgets it. The member goes back to the pool by vapi_delivery_put_back. */
void vapi_delivery_turn_back(const vapi_delivery_t *d, const vapi_leg_t *leg);

/** The decision is not carried out, or in vain: the member that was leased for it, if any, is free again. */
void vapi_delivery_put_back(const vapi_delivery_t *d, vapi_decision_t *decision);

/** The member has the call, or may have it: who is sticky is remembered, and the lease is nobody's to give back any more. */
void vapi_delivery_arrive(const vapi_delivery_t *d, vapi_decision_t *decision);

/** The line of the log, the notes and the counters for what was decided. */
void vapi_delivery_log(const vapi_delivery_t *d, const vapi_record_t *record);

/** What the record says of a route that was chosen. */
void vapi_delivery_record_route(vapi_record_t *record, const vapi_decision_t *decision);

/** At the end: what went wrong on the way is logged, how long lookups took is noted, and what is kept about the caller is made known to
 * the store. */
void vapi_delivery_close(const vapi_delivery_t *d);

/** The question a table is asked for this delivery, now: `call` may be NULL. */
void vapi_delivery_question(const vapi_delivery_t *d, const vapi_tool_call_t *call, vapi_question_t *q);

/** Asks the section's table from route `from` on; an expression that fails is warned about. */
void vapi_delivery_decide(const vapi_delivery_t *d, int from, vapi_form form, vapi_question_t *q, vapi_decision_t *decision);

/**
 * Nobody of a pool could be had, so that the call would stay where it is, while an earlier request is just moving it: the member whom it was
 * sent to is the one who cannot be had. Then "nobody is there" is not the truth. Not to be asked by whoever holds the gate.
 */
int vapi_delivery_is_moving(const vapi_delivery_t *d, const vapi_decision_t *decision, apr_interval_time_t *left);

/** A record with what every line of this delivery has. */
void vapi_delivery_record(const vapi_delivery_t *d, const vapi_question_t *q, vapi_record_t *record);

/** Gives d->once the store as this request sees it until its deadline. */
void vapi_delivery_see_state(vapi_delivery_t *d);

/** Shortens the deadline to `budget` from the arrival, if that is less than it had. */
void vapi_delivery_limit(vapi_delivery_t *d, apr_interval_time_t budget);

/** When the control POST must be able to begin: it keeps 2 seconds of the budget, or half of one under 4. What comes before it
 * ends here. */
apr_time_t vapi_delivery_post_time(const vapi_delivery_t *d);

/** Warns once per assistant, kind and process: a constant text about how the assistant is set up. */
void vapi_delivery_warn_once(const vapi_delivery_t *d, const char *text);

/** Warns so of what Vapi is known to drop or ignore with this target (W45); the administrator's table still decides. */
void vapi_delivery_warn_of_target(const vapi_delivery_t *d, const vapi_decision_t *decision);

/** tool-calls and function-call: routes, transfers, and gives the reply's body. */
const char *vapi_tool_calls_answer(vapi_delivery_t *d);

/** transfer-destination-request, handoff-destination-request and assistant-request: routes, and gives the reply's body. */
const char *vapi_destination_request_answer(vapi_delivery_t *d, vapi_form form);

/** How a decision ends. */
typedef struct vapi_ending_t {
    const char *outcome, *reason;       /* constants */
    const char *text;                   /* what is told to whoever asked; NULL: decision->dialled.body is the answer */
    int is_error;                       /* ... as an error */
    int is_written;                     /* ... in a route's own words, which may hold values of the call */
} vapi_ending_t;

/** The ending of what was decided, taken that Vapi accepts the transfer. Sets the question's outcome. */
void vapi_ending_decided(const vapi_decision_t *decision, vapi_form form, vapi_question_t *q, vapi_ending_t *out);

/** A limit is reached. `last`: the table's route for that (vapi_route_last_resort), or NULL. Nothing more can be asked of the question. */
void vapi_ending_limited(const vapi_route_t *last, vapi_form form, vapi_question_t *q, vapi_ending_t *out);

/** What a T of the administrator says, or the default where it says nothing. */
const char *vapi_delivery_text(const vapi_text_t *text, const char *otherwise, vapi_question_t *q);

/**
 * Opens the encrypted arguments of a call, checks all of them against the tool's VapiParams and gives each that a VapiParam names
 * the form of its type: JSON numbers and booleans, `+` and digits, a choice in the spelling of enum=; an optional one without a
 * value is left out. What no VapiParam names stays as it is.
 * @param tool     NULL: any arguments will do
 * @param decrypt  NULL: nothing is encrypted
 * @param call     on success it may point to a copy, in `p`, with arguments of its own
 * @return NULL, or one line for the model that names the argument; *call is then untouched
 */
const char *vapi_arguments_take(const vapi_tool_t *tool, const vapi_decrypt_t *decrypt, const vapi_tool_call_t **call,
                                apr_pool_t *p);

#endif
