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

/** Reads a file of one JSON object at start-up. `file` is absolute. @param place  of the directive that names it. @return NULL or what is
 * wrong, with its line */
const char *vapi_template_read(vapi_template_t **out, const char *file, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp);

/** The text of a member of the object; NULL if it is none or not a string. */
const vapi_text_t *vapi_template_text(const vapi_template_t *t, const char *member);

/** A member as it stands in the file (a borrowed reference), NULL if there is none. */
json_t *vapi_template_member(const vapi_template_t *t, const char *member);

/** VAPI_READS_... of the strings in messages with role `system`, wherever they stand in it: a caller may not instruct the model (T28). */
int vapi_template_system_reads(const vapi_template_t *t);

/** The object for this call, for Vapi: braces of values neutralised. A new reference, or NULL with a constant *why. */
json_t *vapi_template_expand(const vapi_template_t *t, vapi_question_t *q, const char **why);

/** The object for this call, for another server: values as they are. */
json_t *vapi_template_expand_plain(const vapi_template_t *t, vapi_question_t *q, const char **why);

#endif
