/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_expression.h
 * @brief Apache's expression language with this module's words in it (src/vocabulary.c), over one question. The only part that hands
 *        httpd's request on: Apache's language wants one for its own variables.
 */
#ifndef VAPI_EXPRESSION_H
#define VAPI_EXPRESSION_H

#include <apr_pools.h>

#include "vapi_message.h"
#include "vapi_names.h"

struct request_rec;
struct vapi_given_t;
struct vapi_reach_t;
struct vapi_desk_t;

/** Everything that a decision may ask about. Whoever asks (a live call, an explanation, a test) fills it; no part asks the clock
 * or the network by itself. */
typedef struct vapi_question_t {
    struct request_rec *r;             /* for Apache's own variables only */
    apr_pool_t *pool;
    vapi_message_t *message;
    const vapi_tool_call_t *call;      /* the tool call, or the arguments of a destination request; NULL if there is none */
    int attempt;                       /* earlier decided tool calls of this call */
    const char *route, *target, *destination, *member, *outcome;   /* of the route that was chosen; NULL before. Where a member of a
                                                                      pool takes the call, destination is its name, member its label */
    const char *reason;                /* why the latest earlier route was not taken, or why the outcome is what it is */

    /* what may be named, and where answers come from */
    const vapi_names_t *names;         /* NULL: nothing */
    apr_hash_t *sets;                  /* name -> vapi_set_t *, of the section; NULL: none */
    apr_time_t now;                    /* the wall clock that opening hours go by */
    const struct vapi_given_t *given;  /* answers set beforehand; NULL: none is */
    struct vapi_reach_t *reach;        /* how lookups are made; NULL: none is */
    struct vapi_desk_t *desk;          /* who hands out members of pools; NULL: everybody counts as free */
    apr_hash_t *answers;               /* what was answered so far, by the address of the lookup, set or signal; made at first use */

    /* what was met on the way; whoever wants to know sets it to 0 before */
    int read;                          /* VAPI_READS_... of what was really read */
    int met;                           /* VAPI_MET_... */
    int barred;                        /* of failed lookups that were asked: their vapi_on_error, the severest */
} vapi_question_t;

/** What the object (a lookup, a set, a variable: its address) answered this question before; NULL: it was not asked. A table of a thousand
 * routes may ask the same a thousand times. */
const void *vapi_question_answer(const vapi_question_t *q, const void *object);
/** Remembers it, in the question's pool; NULL: forgets it. */
void vapi_question_keep(vapi_question_t *q, const void *object, const void *answer);

/** Where something stands in the configuration: for messages, and for the names that it uses. */
typedef struct vapi_place_t {
    const char *file;
    unsigned int line;
    apr_array_header_t *references;    /* vapi_reference_t: where names that are used here are noted; NULL: nowhere */
    const char *owner;                 /* as in vapi_reference_t */
} vapi_place_t;

/** What an expression or text was seen to read, at start-up (all it might read) and when it was evaluated (what it did read). */
#define VAPI_READS_WORDS  1   /* what the caller or the model said: arg, msg, said, the transcript */
#define VAPI_READS_CALL   2   /* anything else of the payload: the caller's number, names */
#define VAPI_READS_ANSWER 4   /* what a lookup answered, or a VapiSet holds */

#define VAPI_MET_LOOKUP_ERROR 1   /* a lookup failed */
#define VAPI_MET_CLOSED       2   /* hours() said closed or holiday */

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
