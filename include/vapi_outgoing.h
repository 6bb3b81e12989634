/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_outgoing.h
 * @brief What a VapiLookup asks and a VapiAction does: an HTTP request, an SQL statement, a line in a file. Three steps, apart
 *        from each other: read at start-up, filled in for one call, sent. What is filled in holds no secret and can be written to
 *        a spool.
 */
#ifndef VAPI_OUTGOING_H
#define VAPI_OUTGOING_H

#include <httpd.h>
#include <jansson.h>

#include "vapi_http.h"
#include "vapi_secret.h"
#include "vapi_sql.h"
#include "vapi_template.h"

typedef struct vapi_outgoing_t vapi_outgoing_t;

typedef enum { VAPI_OUT_HTTP = 0, VAPI_OUT_SQL, VAPI_OUT_FILE } vapi_out_kind;

/** What reading needs beside the words. */
typedef struct vapi_outgoing_env_t {
    vapi_secret_env_t secrets;         /* its warnings get ours too */
    vapi_place_t place;
    server_rec *server;                /* whose database connections an SQL statement uses */
    const char *label;                 /* unique in the server: "lookup crm", "action book /vapi/transfer" */
    apr_interval_time_t timeout;       /* unless timeout= is given */
    int is_action;                     /* POST unless method= is given, and file= is known; a lookup: GET, or POST with a body */
    apr_pool_t *p, *ptemp;
} vapi_outgoing_env_t;

/**
 * Reads url= method= header= body= sql= arg= bearer= secret-header= ca= proxy= timeout= and, for an action, file=. Exactly one of
 * url=, sql= and file=; keys that do not go with it are refused (unknown and doubled ones are the caller's affair). The URL: http
 * or https (http warns where a secret goes with it), no fragment; a `%{` before the path is refused. Relative files are under
 * ServerRoot. bearer= and secret-header= values are checked as header values. A user and password of the URL, and a header= named
 * Authorization, Cookie, *-key, *-token or *-secret without a placeholder, are secrets too: they are sent, but never filled in.
 * @return NULL or what is wrong, with the key
 */
const char *vapi_outgoing_make(vapi_outgoing_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env);

vapi_out_kind vapi_outgoing_kind(const vapi_outgoing_t *o);
apr_interval_time_t vapi_outgoing_timeout(const vapi_outgoing_t *o);
/** GET or HEAD, or a statement that only reads. */
int vapi_outgoing_only_reads(const vapi_outgoing_t *o);
/** Has it a body=FILE? */
int vapi_outgoing_has_body(const vapi_outgoing_t *o);
/** ` url=... method=...` for a dump: secrets, userinfo and telling headers as `set`. Made at start-up, not in `p`. */
const char *vapi_outgoing_describe(const vapi_outgoing_t *o, apr_pool_t *p);

/** In post_config, with the rights to do so: opens the file of file=, made 0600 if it is not there; its descriptor is the
 * children's, and closed with `pconf`. A no-op for the other kinds, and where it is open. A pipe is opened whether or not
 * somebody reads it. */
apr_status_t vapi_outgoing_open(vapi_outgoing_t *o, apr_pool_t *pconf);

/** One filled in: what goes out for this call, without secrets. All in the question's pool, or that of vapi_filled_read. */
typedef struct vapi_filled_t {
    vapi_out_kind kind;
    const char *method, *url;          /* HTTP; the URL without a user and password */
    apr_array_header_t *headers;       /* HTTP: const char *, "Name: value", those of header= and Content-Type */
    const char *body;                  /* HTTP: JSON text, NULL for none; FILE: the line, without its end */
    apr_size_t body_len;
    apr_array_header_t *args;          /* SQL: const char * */
} vapi_filled_t;

typedef enum {
    VAPI_FILLED = 0,
    VAPI_FILLED_EMPTY,                 /* a placeholder in the path or an arg= is empty, `.` or `..`: a lookup is then not made */
    VAPI_FILLED_BAD                    /* a value may not stand where it would (a line end in a header), or an expression
                                          failed */
} vapi_fill_end;

/**
 * Fills it in. Values are percent-encoded in the URL, JSON strings in a body (as they are: nothing of Liquid is neutralised, it
 * does not go to Vapi), refused with line ends in headers, bound in SQL. What it reads of the caller is not counted as read by
 * the question (q->read).
 * @param otherwise  the body where it has no body=FILE, or NULL: none. Not kept
 * @param why        BAD: constant words
 * EMPTY is found for paths and args; out is filled all the same where the values are empty, so that an action may go on with it;
 * a path segment `.` or `..` makes it BAD for an action and EMPTY for a lookup.
 */
vapi_fill_end vapi_outgoing_fill(const vapi_outgoing_t *o, vapi_question_t *q, const json_t *otherwise, vapi_filled_t *out,
                                 const char **why);

/** As JSON for the spool, a new reference: without the server, which is the configuration's. And back, for `o` as it is
 * configured now. @return NULL or why not, in constant words: it has not that form, or not this kind */
json_t *vapi_filled_json(const vapi_filled_t *filled);
const char *vapi_filled_read(vapi_filled_t *out, const json_t *json, const vapi_outgoing_t *o, apr_pool_t *p);

/** One text that is the same for two of them only if all that is filled in is the same: for memory within a request and keys of
 * kept answers. Secrets are no part of it. */
const char *vapi_filled_key(const vapi_filled_t *filled, apr_size_t *len, apr_pool_t *p);

/** By what it is sent. */
typedef struct vapi_sender_t {
    struct vapi_child_t *child;        /* the HTTP engine and its profiles */
    vapi_workers_t *workers;           /* SQL runs on a thread of theirs and is left there at the deadline; NULL: on this
                                          thread */
    apr_time_t deadline;               /* of vapi_clock; the timeout= of the thing itself counts too */
    const char *idempotency_key;       /* HTTP: sent as Idempotency-Key; NULL: none */
    int is_query;                      /* SQL: the row is wanted */
    int spooled;                       /* HTTP, FILE: it is in a spool, and may be abandoned when the child ends */
    int sync;                          /* FILE: on the disk before it counts as written */
} vapi_sender_t;

typedef enum {
    VAPI_SENT_ANSWERED = 0,            /* HTTP: a whole answer, of whatever status */
    VAPI_SENT_DONE,                    /* SQL: done, `row` where there is one; FILE: written */
    VAPI_SENT_NO_ROW,                  /* SQL: nothing found */
    VAPI_SENT_FAILED                   /* no answer, or the database said no, or the file could not be written */
} vapi_sent_end;

typedef struct vapi_sent_t {
    vapi_sent_end end;
    int status;                        /* HTTP: 0 where none came */
    const char *body;                  /* HTTP: NUL-terminated, at most VAPI_ANSWER_MAX bytes, in `p`; "" */
    apr_size_t body_len;
    int cut;                           /* the body was longer */
    json_t *row;                       /* SQL: borrowed from `p`, NULL if none */
    int timed_out;
    const char *what;                  /* constant words for the log, or NULL */
    apr_interval_time_t took;
} vapi_sent_t;

#define VAPI_ANSWER_MAX 1048576

void vapi_outgoing_send(const vapi_outgoing_t *o, const vapi_filled_t *filled, const vapi_sender_t *sender, vapi_sent_t *sent,
                        apr_pool_t *p);

#endif
