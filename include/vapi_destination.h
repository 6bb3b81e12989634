/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_destination.h
 * @brief Destinations: checked at start-up, turned into Vapi's JSON for one call (W30-W32, W50-W53). Knows no httpd request.
 */
#ifndef VAPI_DESTINATION_H
#define VAPI_DESTINATION_H

#include <apr_hash.h>
#include <jansson.h>

#include "vapi_plan.h"

typedef struct vapi_destination_t vapi_destination_t;

/** What a target is to Vapi. */
typedef enum {
    VAPI_TARGET_NUMBER = 0, VAPI_TARGET_SIP, VAPI_TARGET_ASSISTANT, VAPI_TARGET_ASSISTANT_ID, VAPI_TARGET_SQUAD_ID,
    VAPI_TARGET_JSON,        /* json:FILE: its `type` decides */
    VAPI_TARGET_RUNTIME      /* a text that yields a number or SIP URI */
} vapi_target_kind;

/** Where a destination goes: the body of a control POST, or the reply to one of the requests. */
typedef enum {
    VAPI_FORM_CONTROL = 0, VAPI_FORM_TRANSFER_REQUEST, VAPI_FORM_HANDOFF_REQUEST, VAPI_FORM_ASSISTANT_REQUEST
} vapi_form;

/** What turning a destination into JSON needs beside the question. */
typedef struct vapi_dial_rules_t {
    vapi_form form;
    const apr_array_header_t *allow;   /* of the virtual host: vapi_allow_t * */
    const vapi_plan_t *plan;           /* the route's, else the destination's; NULL: none */
    const vapi_text_t *say;            /* the route's, else NULL: the destination's own */
} vapi_dial_rules_t;

typedef struct vapi_dialled_t {
    json_t *body;                      /* borrowed from the question's pool: the control message, or the reply object */
    int is_handoff;                    /* the control message is a handoff */
    vapi_target_kind kind;             /* NUMBER, SIP, ASSISTANT, ASSISTANT_ID or SQUAD_ID */
    int is_own_line;                   /* the number is the one that the caller dialled: the call would come back to this assistant */
    const char *dialled;               /* the number or URI, NULL for assistants and squads; only ever logged masked */
} vapi_dialled_t;

/** @param warnings  array of const char *; may get some */
const char *vapi_destination_make(vapi_destination_t **out, const vapi_words_t *words, vapi_place_t place,
                                  apr_array_header_t *warnings, apr_pool_t *p, apr_pool_t *ptemp);
const char *vapi_destination_name(const vapi_destination_t *d);
vapi_target_kind vapi_destination_kind(const vapi_destination_t *d);
const char *vapi_destination_plan(const vapi_destination_t *d);   /* the name after plan=, or NULL */
vapi_place_t vapi_destination_place(const vapi_destination_t *d);
const char *vapi_destination_describe(const vapi_destination_t *d, apr_pool_t *p);

/** Can this destination ever go out in this form? 0 where the kind says no (json: and run-time targets: by what they may yield). */
int vapi_destination_fits(const vapi_destination_t *d, vapi_form form);

/** Is what it dials known only when a call asks (a text, or a json: file with one)? */
int vapi_destination_is_runtime(const vapi_destination_t *d);

/** As vapi_destination_fits, of a kind. */
int vapi_target_fits(vapi_target_kind kind, vapi_form form);

/** Does it go to a number or SIP URI? */
int vapi_destination_is_phone(const vapi_destination_t *d);

/** Only a telephone call can be put through to a telephone: Vapi drops others (W45). */
int vapi_destination_is_telephone(const vapi_question_t *q);

/** NULL if this key of VapiDestination goes with the target's kind, else what is wrong. */
const char *vapi_destination_refuses(const vapi_destination_t *d, const char *key, apr_pool_t *p);

/**
 * Makes the JSON for this call.
 * @return NULL and *out, or a constant word of %{VAPI_REASON} why the route is unavailable: "wrong-transport", "not-allowed",
 *         "bad-argument"
 */
const char *vapi_destination_dial(const vapi_destination_t *d, const vapi_dial_rules_t *rules, vapi_question_t *q,
                                  vapi_dialled_t *out);

#endif
