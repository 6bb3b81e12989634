/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_template.h
 * @brief A JSON file whose strings are T values: JSON by construction, whatever the values hold.
 */
#ifndef VAPI_TEMPLATE_H
#define VAPI_TEMPLATE_H

#include <jansson.h>

#include "vapi_text.h"

typedef struct vapi_template_t vapi_template_t;

/** Reads a file of one JSON object at start-up. `file` is absolute. @return NULL or what is wrong, with its line */
const char *vapi_template_read(vapi_template_t **out, const char *file, apr_pool_t *p, apr_pool_t *ptemp);

/** The text of a member of the object; NULL if it is none or not a string. */
const vapi_text_t *vapi_template_text(const vapi_template_t *t, const char *member);

/** A member as it stands in the file (a borrowed reference), NULL if there is none. */
json_t *vapi_template_member(const vapi_template_t *t, const char *member);

/** VAPI_READS_... of all its strings. */
int vapi_template_reads(const vapi_template_t *t);

/** The object for this call: a new reference, or NULL with a constant *why. */
json_t *vapi_template_expand(const vapi_template_t *t, vapi_question_t *q, const char **why);

#endif
