/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** What a url=, sql= or file= was read into. Private to outgoing.c and outgoing_make.c. */
#ifndef OUTGOING_H
#define OUTGOING_H

#include <apr_thread_mutex.h>

#include "vapi_outgoing.h"

/** A header= whose value is made for each call. */
typedef struct outgoing_header_t {
    const char *name;
    vapi_text_t *value;
} outgoing_header_t;

/** A header that is a secret: it is added when the request is sent, and stands in nothing that is filled in. */
typedef struct outgoing_secret_t {
    const char *name;
    const char *scheme;               /* "Bearer ", or "" */
    const char *value;
} outgoing_secret_t;

/** The file of file=. Children inherit its descriptor; the rest is each one's own. */
typedef struct outgoing_file_t {
    const char *path;
    int fd;                           /* -1: not open */
    int is_regular;
    apr_thread_mutex_t *lock;         /* between the threads of a child; between children: fcntl */
    int torn;                         /* with the lock held: what was written last, to a pipe, ended in the middle of a line */
} outgoing_file_t;

struct vapi_outgoing_t {
    vapi_out_kind kind;
    int is_action;
    apr_interval_time_t timeout;
    const char *described;
    vapi_template_t *body;            /* NULL: none */

    /* HTTP */
    const char *method;
    const char *base;                 /* scheme://host[:port] */
    vapi_text_t *path;                /* begins with a slash */
    vapi_text_t *query;               /* begins with a question mark; NULL: none */
    apr_array_header_t *headers;      /* outgoing_header_t */
    apr_array_header_t *secrets;      /* outgoing_secret_t */
    vapi_http_profile_t profile;

    vapi_sql_t *sql;
    apr_array_header_t *args;         /* vapi_text_t * */

    outgoing_file_t *file;
};

/** Letters, all of them capitals? */
int vapi_outgoing_is_method(const char *word);

#endif
