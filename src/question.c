/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What a question was answered so far. */
#include <apr_strings.h>

#include "vapi_expression.h"

const void *vapi_question_answer(const vapi_question_t *q, const void *object)
{
    return q->answers ? apr_hash_get(q->answers, &object, sizeof(object)) : NULL;
}

void vapi_question_keep(vapi_question_t *q, const void *object, const void *answer)
{
    if (!q->answers) {
        q->answers = apr_hash_make(q->pool);
    }
    apr_hash_set(q->answers, apr_pmemdup(q->pool, &object, sizeof(object)), sizeof(object), answer);
}
