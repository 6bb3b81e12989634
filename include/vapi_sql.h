/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_sql.h
 * @brief Prepared statements over mod_dbd, with bound parameters only, a deadline, and a cure for connections whose database was
 *        restarted. Knows nothing of Vapi.
 */
#ifndef VAPI_SQL_H
#define VAPI_SQL_H

#include <httpd.h>
#include <jansson.h>

#include "vapi_workers.h"

typedef struct vapi_sql_t vapi_sql_t;    /* one statement */

/**
 * At the directive: has mod_dbd prepare it on every connection of `s`. mod_dbd must be loaded.
 * @param sql   the administrator's, with `%s` where a parameter goes (`%d`, `%f` and the like for a number; `%%` is a percent
 *              sign). A `%{` is refused, and so are a parameter inside quotes (it would get no value), a second statement, a BLOB
 * @param args  how many parameters will be given: as many as the statement has
 * @param label unique in the server, any text: "vapi lookup crm" (the database knows it as vapi__lookup__crm)
 * @return NULL or what is wrong ("needs mod_dbd, loaded above this line", "the statement has 2 %s, and 1 arg= is given")
 */
const char *vapi_sql_make(vapi_sql_t **out, server_rec *s, const char *label, const char *sql, int args, apr_pool_t *p);


/** Does it only read (begins with SELECT, after comments and blanks)? */
int vapi_sql_only_reads(const vapi_sql_t *sql);

typedef enum {
    VAPI_SQL_ROW = 0,    /* *row: its first row; of a statement that gives no rows: it was done */
    VAPI_SQL_NO_ROW,
    VAPI_SQL_ERROR,      /* the database said no, or cannot be reached: nothing was done, as far as it can be told */
    VAPI_SQL_TIMEOUT     /* no answer in time: what the statement does may still be done */
} vapi_sql_end;

typedef struct vapi_sql_result_t {
    vapi_sql_end end;
    json_t *row;             /* ROW of a query: an object, column -> string, a NULL as ""; NULL otherwise. The caller's */
    const char *what;        /* ERROR, TIMEOUT: constant words for the log. Never the database's own, which may quote a value */
} vapi_sql_result_t;

/**
 * Runs it on one of the server's connections, which it holds no longer than that. A connection whose database was restarted is made
 * anew on the way. What reads is tried twice then; what writes is sent over a connection that was just seen alive, and again only if
 * it was not done: ERROR may still mean that it was, where the connection broke in the midst (and then says so).
 * @param is_query  1: rows are wanted (SELECT, or ... RETURNING); 0: it is only done
 * @param values    as many strings as it has parameters; NULL among them: SQL's NULL
 * @param workers   runs it on a thread of theirs and stops waiting at `deadline` (vapi_clock); NULL: on this thread, with no limit
 */
void vapi_sql_run(const vapi_sql_t *sql, int is_query, const char *const *values, vapi_workers_t *workers, apr_time_t deadline,
                  vapi_sql_result_t *result);

/** Looks for mod_dbd's functions, which are others after each reading of the configuration. vapi_sql_make does, too. */
void vapi_sql_find_dbd(void);

#endif
