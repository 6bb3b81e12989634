/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_strings.h>
#include <stdlib.h>

#include "vapi_reply.h"
#include "vapi_text.h"

const char *vapi_reply_json(const json_t *object, apr_pool_t *p)
{
    size_t len = json_dumpb(object, NULL, 0, JSON_COMPACT);
    char *text = apr_palloc(p, len + 1);

    json_dumpb(object, text, len, JSON_COMPACT);
    text[len] = '\0';
    return text;
}

static const char *as_text(json_t *object, apr_pool_t *p)
{
    const char *text = vapi_reply_json(object, p);

    json_decref(object);
    return text;
}

const char *vapi_reply_answer(int is_error, const char *text, apr_pool_t *p)
{
    return as_text(json_pack("{s:o}", is_error ? "error" : "result", vapi_text_json(vapi_text_one_line(text, p), p)), p);
}

const char *vapi_reply_error(const char *text, apr_pool_t *p)
{
    return vapi_reply_answer(1, text, p);
}

const char *vapi_reply_results(const apr_array_header_t *calls, const char *const *answers, apr_pool_t *p)
{
    json_t *results = json_array(), *result, *answer;
    int i;

    for (i = 0; i < calls->nelts; i++) {
        const vapi_tool_call_t *call = &APR_ARRAY_IDX(calls, i, vapi_tool_call_t);

        if (!answers[i] || (answer = json_loads(answers[i], 0, NULL)) == NULL) {
            continue;
        }
        result = json_object();
        json_object_set_new(result, "name", vapi_text_json(call->name, p));
        json_object_set_new(result, "toolCallId", vapi_text_json(call->id, p));
        json_object_update(result, answer);
        json_decref(answer);
        json_array_append_new(results, result);
    }
    if (!json_array_size(results)) {
        json_decref(results);
        return "{}";
    }
    return as_text(json_pack("{s:o}", "results", results), p);
}
