/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** The words that expressions get from this module. Private to vocabulary.c and expression.c. */
#ifndef VOCABULARY_H
#define VOCABULARY_H

#include <stddef.h>

#include <ap_expr.h>

#include "vapi_expression.h"

/** What is learnt while one expression is parsed. */
typedef struct vapi_reading_t {
    int string;              /* it yields a string: file functions are refused */
    int reads;               /* VAPI_READS_... of what was seen so far */
    vapi_place_t place;
} vapi_reading_t;

/** Gives httpd's parser the function or variable that it met, as an ap_expr lookup does: OK; DECLINED: none of ours; !OK with parms->err. Each
 * gets the vapi_question_t as ctx->data. */
int vapi_vocabulary_find(ap_expr_lookup_parms *parms, vapi_reading_t *reading);

/** For a name that httpd does not know either: names the nearest of ours in parms->err and returns !OK, or DECLINED. */
int vapi_vocabulary_nearest(ap_expr_lookup_parms *parms);

#endif
