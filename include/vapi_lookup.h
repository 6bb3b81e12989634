/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_lookup.h
 * @brief VapiLookup: a question to the customer's own systems, asked at its first use in a request, once.
 */
#ifndef VAPI_LOOKUP_H
#define VAPI_LOOKUP_H

#include "vapi_names.h"
#include "vapi_outgoing.h"
#include "vapi_reach.h"

typedef struct vapi_lookup_t vapi_lookup_t;

typedef enum { VAPI_LOOKUP_OK = 0, VAPI_LOOKUP_NONE, VAPI_LOOKUP_ERROR } vapi_lookup_state;

typedef enum { VAPI_ON_ERROR_CONTINUE = 0, VAPI_ON_ERROR_SKIP_ROUTE, VAPI_ON_ERROR_FAIL } vapi_on_error;

/** What came of it, in the pool of the request. */
typedef struct vapi_answer_t {
    vapi_lookup_state state;
    json_t *fields;            /* OK: the answer, borrowed; NULL otherwise */
} vapi_answer_t;

/** Reads `NAME url=T ... | sql=... [cache=0] [on-error=continue|skip-route|fail]`. The label, the timeout, is_action and
 * place.owner of `env` are set here. @return NULL or what is wrong */
const char *vapi_lookup_make(vapi_lookup_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env);

/** Its number in vapi_metrics; -1, it is not counted, until it is set at start-up. */
void vapi_lookup_set_number(vapi_lookup_t *lookup, int number);
int vapi_lookup_number(const vapi_lookup_t *lookup);

/** cache=: how long an answer is kept; 0: it is not. */
apr_interval_time_t vapi_lookup_cache(const vapi_lookup_t *lookup);

const char *vapi_lookup_name(const vapi_lookup_t *lookup);
const char *vapi_lookup_describe(const vapi_lookup_t *lookup, apr_pool_t *p);

/**
 * A field of the answer (vapi_json_lookup's paths), or with path "" its state: "ok", "none", "error". Made when the question
 * first asks it: from what is given (q->given), else, where q->reach is there, from what this request asked before, from the
 * state store, from the world. A lookup that asks for itself (by another lookup or set: refused at start-up) is `none`. Where the
 * store or the world is asked it is counted.
 *
 * Where nothing new may be asked (only_asked), one that was not asked before is `none`, and a note says so.
 *
 * Where it failed, q->met gets VAPI_MET_LOOKUP_ERROR, and q->barred what on-error= says, each time it is asked.
 * @return "" where there is nothing; in the question's pool
 */
const char *vapi_lookup_ask(const vapi_lookup_t *lookup, vapi_question_t *q, const char *path);

#endif
