/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_action.h
 * @brief VapiAction: what is to be done before and after a transfer. This part reads the directive and says which action fires;
 *        vapi_errand.h does it.
 */
#ifndef VAPI_ACTION_H
#define VAPI_ACTION_H

#include "vapi_outgoing.h"

typedef struct vapi_action_t vapi_action_t;

typedef enum {
    VAPI_EVENT_BEFORE_TRANSFER = 0,    /* a destination is about to be used */
    VAPI_EVENT_BEFORE_ANSWER,          /* a `none` route is about to answer */
    VAPI_EVENT_AFTER_TRANSFER,         /* transferred, handed-off, unknown */
    VAPI_EVENT_TRANSFER_FAILED,        /* refused at the last route, failed, no-route */
    VAPI_EVENT_ANSWERED,
    VAPI_EVENT_END_OF_CALL
} vapi_event;

/** Reads `NAME EVENT [required] url=... | sql=... | file=... [route=LABEL[,LABEL]] [when=EXPR] ...` at start-up. env->timeout is
 * set here: 2 s for a required one, else 10 s. @return NULL or what is wrong */
const char *vapi_action_make(vapi_action_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env);

const char *vapi_action_name(const vapi_action_t *a);
vapi_event vapi_action_event(const vapi_action_t *a);
const char *vapi_event_name(vapi_event event);
int vapi_action_is_required(const vapi_action_t *a);
const apr_array_header_t *vapi_action_routes(const vapi_action_t *a);   /* const char *, labels; NULL: all */
vapi_place_t vapi_action_place(const vapi_action_t *a);
vapi_outgoing_t *vapi_action_outgoing(const vapi_action_t *a);
/** Does it send an event's own JSON, for want of a body=FILE? Not where nothing is sent: SQL, GET, DELETE. */
int vapi_action_has_default_body(const vapi_action_t *a);
/** ` EVENT [required] key=value ...` for a dump, without the name. */
const char *vapi_action_describe(const vapi_action_t *a, apr_pool_t *p);

/** What it is known by over restarts: the virtual host, the section and its name; set once all is read. */
void vapi_action_set_id(vapi_action_t *a, const char *id);
const char *vapi_action_id(const vapi_action_t *a);

/** Is it for this event, and do its route= and when= hold for the question as it is now? An expression that fails counts as yes
 * where the action is required (it then gates), else as no; *failed is set. What it reads leaves no mark on the question
 * (q->read, met, barred). */
int vapi_action_applies(const vapi_action_t *a, vapi_event event, vapi_question_t *q, int *failed);

#endif
