/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_plan.h
 * @brief Transfer plans: how a call is handed over (W40-W45). Checked at start-up. Knows no httpd request.
 */
#ifndef VAPI_PLAN_H
#define VAPI_PLAN_H

#include <jansson.h>

#include "vapi_text.h"
#include "vapi_word.h"

typedef struct vapi_plan_t vapi_plan_t;

/** Reads `VapiTransferPlan NAME MODE key=value...`; `words` must live as long as `p`. @return NULL or what is wrong */
const char *vapi_plan_make(vapi_plan_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp);

const char *vapi_plan_name(const vapi_plan_t *plan);

/** Is it one of the classic warm modes, which only Twilio's numbers have (W45)? */
int vapi_plan_is_classic_warm(const vapi_plan_t *plan);

/** One line for -D DUMP_VAPI. */
const char *vapi_plan_describe(const vapi_plan_t *plan, apr_pool_t *p);

/** Vapi's transferPlan for this call: a new reference, or NULL when a text of it cannot be made (then the route is unavailable). */
json_t *vapi_plan_json(const vapi_plan_t *plan, vapi_question_t *q);

#endif
