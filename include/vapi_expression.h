/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_expression.h
 * @brief arg(), msg() and the %{VAPI_...} variables, over one question. The only part that hands httpd's request on:
 *        Apache's expression language wants one for its own variables.
 */
#ifndef VAPI_EXPRESSION_H
#define VAPI_EXPRESSION_H

#include <apr_pools.h>

#include "vapi_message.h"

struct request_rec;

/** Everything that a decision may ask about. Whoever asks (a live call, an explanation, a test) fills it; no part asks the clock
 * or the network by itself. */
typedef struct vapi_question_t {
    struct request_rec *r;             /* for Apache's own variables only */
    apr_pool_t *pool;
    vapi_message_t *message;
    const vapi_tool_call_t *call;      /* the tool call, or the arguments of a destination request; NULL if there is none */
    int attempt;                       /* earlier decided tool calls of this call */
    const char *route, *target, *destination, *member, *outcome;   /* of the route that was chosen; NULL before */
    const char *reason;                /* why the latest earlier route was not taken, or why the outcome is what it is */
} vapi_question_t;

/** Where something stands in the configuration, for messages. */
typedef struct vapi_place_t {
    const char *file;
    unsigned int line;
} vapi_place_t;

/** What an expression or text was seen to read, at start-up. */
#define VAPI_READS_WORDS 1   /* what the caller or the model said: arg, msg, the transcript */
#define VAPI_READS_CALL  2   /* anything else of the payload: the caller's number, names */

typedef struct vapi_expression_t vapi_expression_t;

/**
 * Reads an expression at start-up.
 * @param string  1: it yields a string (one placeholder of a text), and file functions are refused; 0: true or false
 * @return NULL or what is wrong (with the nearest name for an unknown one)
 */
const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp);

const char *vapi_expression_written(const vapi_expression_t *e);
int vapi_expression_reads(const vapi_expression_t *e);

/** 1 true, 0 false, -1 error: then *error holds httpd's words, which never quote a value of the call. */
int vapi_expression_true(const vapi_expression_t *e, vapi_question_t *q, const char **error);

/** The string, "" for none; NULL on error. */
const char *vapi_expression_string(const vapi_expression_t *e, vapi_question_t *q, const char **error);

#endif
