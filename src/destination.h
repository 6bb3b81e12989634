/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  destination.h
 * @brief What a destination is made of: filled by destination.c at start-up, only read by dialling.c for a call.
 */
#ifndef VAPI_DESTINATION_PARTS_H
#define VAPI_DESTINATION_PARTS_H

#include "vapi_destination.h"
#include "vapi_template.h"

typedef struct sip_header_t {
    const char *name;
    vapi_text_t *value;
} sip_header_t;

struct vapi_destination_t {
    const char *name, *target;
    vapi_target_kind kind;
    const char *value;                /* the number, URI, name or id of a fixed target */
    vapi_text_t *runtime;             /* VAPI_TARGET_RUNTIME */
    vapi_template_t *json;            /* VAPI_TARGET_JSON */
    vapi_target_kind json_kind;       /* ... and what its `type` makes of it */
    vapi_text_t *say, *extension, *caller_id;
    const char *plan;
    apr_array_header_t *sip_headers;  /* sip_header_t */
    int e164;                         /* is the number checked by Vapi? */
    int from_caller;
    const char *context;              /* contextEngineeringPlan.type, NULL: none given */
    int context_messages;             /* of lastNMessages */
    vapi_place_t place;
    const vapi_words_t *words;
};

/** The text that is dialled, where it is not known before the call: NULL for fixed targets. */
const vapi_text_t *vapi_destination_dialled_text(const vapi_destination_t *d);

/** Does the target begin with this scheme ("sip:"), in whatever case? */
int vapi_target_has_scheme(const char *target, const char *scheme);

/** 1 to 10 of what can be keyed in, and 1 to 40 characters that fit a caller id (W50). */
int vapi_destination_is_extension(const char *text);
int vapi_destination_is_caller_id(const char *text);

#endif
