/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_given.h
 * @brief Answers that are set beforehand, so that a table can be asked without a world around it (`with=` of explain).
 */
#ifndef VAPI_GIVEN_H
#define VAPI_GIVEN_H

#include "vapi_lookup.h"

typedef struct vapi_given_t {
    apr_hash_t *lookups;     /* name -> vapi_answer_t *; one that is not here is `none`, unless lookups are made (vapi_reach_t) */
    apr_hash_t *sets;        /* name -> const char * */
    apr_hash_t *pools;       /* name -> const int *: capacity that is free of it; 0: busy */
    int attempt;             /* 0 unless given */
    int lacks_pool;          /* a pool was named that there is not */
} vapi_given_t;

vapi_given_t *vapi_given_make(apr_pool_t *p);

/**
 * Adds one: `crm.tier=enterprise` (a field, also `crm.customer.tier=...`), `crm=error|none|ok` (a state), `var:level=3`,
 * `pool:support=busy|free`, `pool:support.free=2`, `attempt=1`. A field makes its lookup `ok`; `ok` alone gives it no fields. Two states
 * of one lookup, and a pool twice, are refused.
 * @param names  what may be named: a lookup or pool that is not there is an error
 * @return NULL or a constant-form reason (its name is quoted only if it has the form of a name)
 */
const char *vapi_given_add(vapi_given_t *given, const char *with, const vapi_names_t *names, apr_pool_t *p);

#endif
