/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_set.h
 * @brief VapiSet: a value with a name, made of the first T whose expression is true; made at its first use, once a question.
 */
#ifndef VAPI_SET_H
#define VAPI_SET_H

#include "vapi_text.h"

typedef struct vapi_set_t vapi_set_t;    /* one NAME: its lines in order */

vapi_set_t *vapi_set_make(const char *name, apr_pool_t *p);

/** Adds a line `VapiSet NAME T [EXPR]`. @return NULL or what is wrong */
const char *vapi_set_add(vapi_set_t *set, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp);

const char *vapi_set_name(const vapi_set_t *set);
int vapi_set_lines(const vapi_set_t *set);
/** Line i as ` "T" "EXPR"`. */
const char *vapi_set_describe(const vapi_set_t *set, int i, apr_pool_t *p);

/** The value, as it is (whoever writes it somewhere encodes it); "" where no line is true. What its T reads of the caller counts as read
 * (q->read), what its expressions read does not: they choose among the administrator's values. */
const char *vapi_set_value(const vapi_set_t *set, vapi_question_t *q);

#endif
