/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_reply.h
 * @brief What goes back to Vapi, one form a message type (W20-W29). JSON text; knows no httpd request.
 */
#ifndef VAPI_REPLY_H
#define VAPI_REPLY_H

#include <jansson.h>

#include "vapi_message.h"

/** One tool call's answer: `result` or `error`, made one line. The form that is recorded for duplicates: {"result":...} or
 * {"error":...}. */
const char *vapi_reply_answer(int is_error, const char *text, apr_pool_t *p);

/** {"results":[{"name","toolCallId", ...answer}, ...]}: `answers` (const char *, NULL: left out) go with the message's tool calls
 * in order. "{}" if none is left. */
const char *vapi_reply_results(const apr_array_header_t *calls, const char *const *answers, apr_pool_t *p);

/** A JSON object as text in `p`. */
const char *vapi_reply_json(const json_t *object, apr_pool_t *p);

/** {"error": text}, one line. */
const char *vapi_reply_error(const char *text, apr_pool_t *p);

#endif
