/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Statements over mod_dbd's connections. What is known of APR-util's drivers and met here:
 * - Rows are asked for at once (`random`): PostgreSQL's driver answers "no rows" otherwise when the database went away.
 * - A PostgreSQL connection that broke is made anew by apr_dbd_check_conn, which mod_dbd calls too, and has none of its statements
 *   then. So a statement that failed is prepared again; where the connection is found alive, nothing was done, and it may be tried
 *   again.
 * - PostgreSQL knows a statement by an SQL name, unquoted.
 * - SQLite's driver takes a statement that is only done, but gives a row, for failed; MySQL's crashes over one that gives none and
 *   is asked for them.
 */
#include <stddef.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_sha1.h>
#include <apr_strings.h>

#include <apr_dbd.h>
#include <mod_dbd.h>

#include "vapi_sql.h"
#include "vapi_text.h"

#define LABEL_MAX  60    /* PostgreSQL's names have up to 63 bytes */
#define LABEL_HASH 16

typedef enum { ROWS_NEVER, ROWS_ALWAYS, ROWS_IF_ASKED } gives_rows;

struct vapi_sql_t {
    server_rec *server;
    const char *text;
    const char *label;       /* as the database knows it */
    int args;
    int only_reads;
    gives_rows rows;
};

/* Of mod_dbd as this reading of the configuration loaded it. */
static struct {
    APR_OPTIONAL_FN_TYPE(ap_dbd_prepare) *prepare;
    APR_OPTIONAL_FN_TYPE(ap_dbd_open) *open;
    APR_OPTIONAL_FN_TYPE(ap_dbd_close) *close;
} dbd;

void vapi_sql_find_dbd(void)
{
    dbd.prepare = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_prepare);
    dbd.open = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_open);
    dbd.close = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_close);
}

/* ---- The statement's text ---- */

typedef struct reading_t {
    const char *verb;        /* its first word */
    apr_size_t verb_len;
    int returning;           /* has the word RETURNING */
    int args;                /* parameters, as apr_dbd_prepare counts them: a % before a letter, wherever it stands */
    int args_aside;          /* those of them inside quotes and comments, which get no value there */
    int ended;               /* after a semicolon */
    int more;                /* something follows that */
} reading_t;

/* The end of the comment or of the quoted text that begins here; NULL: none does. */
static const char *end_of_aside(const char *at)
{
    const char *end;

    if (at[0] == '-' && at[1] == '-') {
        return at + strcspn(at, "\n");
    }
    if (at[0] == '/' && at[1] == '*') {
        end = strstr(at + 2, "*/");
        return end ? end + 2 : at + strlen(at);
    }
    if (*at != '\'' && *at != '"' && *at != '`') {
        return NULL;
    }
    for (end = at + 1; *end && (*end != *at || end[1] == *at); end++) {
        end += *end == *at;
    }
    return *end ? end + 1 : end;
}

static int count_args(const char *at, const char *end)
{
    int n = 0;

    for (; at < end; at++) {
        if (at[0] == '%' && at[1] == '%') {
            at++;
        }
        else if (at[0] == '%') {
            n += apr_isalpha(at[1]) != 0;
        }
    }
    return n;
}

static const char *end_of_word(const char *at)
{
    while (apr_isalnum(*at) || *at == '_') {
        at++;
    }
    return at;
}

static int is_word(const char *at, apr_size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(at, word, len) == 0;
}

static void note_word(reading_t *reading, const char *at, apr_size_t len)
{
    if (!reading->verb) {
        reading->verb = at;
        reading->verb_len = len;
    }
    reading->returning |= is_word(at, len, "RETURNING");
}

static void read_statement(reading_t *reading, const char *text)
{
    const char *at, *end;

    memset(reading, 0, sizeof(*reading));
    for (at = text; *at; at = end) {
        if ((end = end_of_aside(at))) {
            reading->args_aside += count_args(at, end);
        }
        else if (apr_isalpha(*at) || *at == '_') {
            end = end_of_word(at);
            note_word(reading, at, (apr_size_t)(end - at));
        }
        else {
            end = at + 1 + (*at == '%' && (at[1] == '%' || apr_isalpha(at[1])));
        }
        reading->more |= reading->ended && !apr_isspace(*at) && *at != '-' && *at != '/';
        reading->ended |= *at == ';';
    }
    reading->args = count_args(text, at);
}

static const char *why_unusable(const reading_t *reading, const char *text, int args, apr_pool_t *p)
{
    if (!reading->verb) {
        return "the statement is empty";
    }
    if (strstr(text, "%{")) {
        return "the statement holds a %{: a value is given to it as %s, and by arg=";
    }
    if (strstr(text, "%pDb") || strstr(text, "%pDc")) {
        return "a parameter is written %s, and no %pDb or %pDc";
    }
    if (reading->more) {
        return "it is more than one statement";
    }
    if (reading->args_aside > 0 && !strchr(text, '\\')) {
        return "a %s stands inside quotes or in a comment, where it gets no value (it is written without quotes; a percent sign is "
               "%%)";
    }
    if (reading->args != args) {
        return apr_psprintf(p, "the statement has %d %%s, and %d arg= %s given", reading->args, args, args == 1 ? "is" : "are");
    }
    return NULL;
}

static gives_rows when_rows(const reading_t *reading)
{
    static const char *const asking[] = { "SELECT", "VALUES", "TABLE", "SHOW" };
    static const char *const doing[] = { "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE" };
    apr_size_t i;

    if (reading->returning) {
        return ROWS_ALWAYS;
    }
    for (i = 0; i < sizeof(asking) / sizeof(asking[0]); i++) {
        if (is_word(reading->verb, reading->verb_len, asking[i])) {
            return ROWS_ALWAYS;
        }
    }
    for (i = 0; i < sizeof(doing) / sizeof(doing[0]); i++) {
        if (is_word(reading->verb, reading->verb_len, doing[i])) {
            return ROWS_NEVER;
        }
    }
    return ROWS_IF_ASKED;
}

/* A name that every database takes without quotes, another for another label: `vapi lookup crm` becomes vapi__lookup__crm. */
static const char *make_label(const char *label, apr_pool_t *p)
{
    char *name = apr_palloc(p, strlen(label) * 3 + 1), *to = name;
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    apr_sha1_ctx_t sha1;
    const char *at;

    for (at = label; *at; at++) {
        if (apr_islower(*at) || (apr_isdigit(*at) && at > label)) {
            *to++ = *at;
        }
        else {
            to += apr_snprintf(to, 4, *at == ' ' ? "__" : "_%02x", (unsigned char)*at);
        }
    }
    *to = '\0';
    if (to - name > LABEL_MAX) {
        apr_sha1_init(&sha1);
        apr_sha1_update_binary(&sha1, (const unsigned char *)label, (unsigned int)strlen(label));
        apr_sha1_final(digest, &sha1);
        to = name + LABEL_MAX - LABEL_HASH;
        for (at = (const char *)digest; to < name + LABEL_MAX; at++, to += 2) {
            apr_snprintf(to, 3, "%02x", (unsigned char)*at);
        }
    }
    return name;
}

const char *vapi_sql_make(vapi_sql_t **out, server_rec *s, const char *label, const char *sql, int args, apr_pool_t *p)
{
    vapi_sql_t *made;
    reading_t reading;
    const char *why;

    vapi_sql_find_dbd();
    if (!dbd.prepare || !dbd.open || !dbd.close) {
        return "needs mod_dbd, loaded above this line";
    }
    read_statement(&reading, sql);
    if ((why = why_unusable(&reading, sql, args, p))) {
        return why;
    }
    made = apr_pcalloc(p, sizeof(*made));
    made->server = s;
    made->text = apr_pstrdup(p, sql);
    made->label = make_label(label, p);
    made->args = args;
    made->only_reads = is_word(reading.verb, reading.verb_len, "SELECT");
    made->rows = when_rows(&reading);
    dbd.prepare(s, made->text, made->label);
    *out = made;
    return NULL;
}

int vapi_sql_only_reads(const vapi_sql_t *sql)
{
    return sql->only_reads;
}

/* ---- A run; on a connection that is this thread's alone ---- */

typedef struct run_t {
    const vapi_sql_t *sql;
    int is_query;
    const char **values;
    vapi_sql_result_t result;
    ap_dbd_t *db;
    apr_pool_t *answers;         /* of the driver's results: gone before the connection is another's */
    apr_dbd_results_t *rows;     /* NULL: it was only done */
} run_t;

static const char unreachable[] = "the database cannot be reached";
static const char refused[] = "the database refused the statement";
static const char broken_off[] = "the connection to the database broke, and the statement may have been done";

static int is_driver(const run_t *run, const char *name)
{
    return strcmp(apr_dbd_name(run->db->driver), name) == 0;
}

static int execute(run_t *run)
{
    const vapi_sql_t *sql = run->sql;
    apr_dbd_prepared_t *prepared = apr_hash_get(run->db->prepared, sql->label, APR_HASH_KEY_STRING);
    int n;

    run->rows = NULL;
    if (!prepared) {
        return -1;
    }
    if (sql->rows == ROWS_NEVER || (sql->rows == ROWS_IF_ASKED && !run->is_query)) {
        return apr_dbd_pquery(run->db->driver, run->answers, run->db->handle, &n, prepared, sql->args, run->values);
    }
    return apr_dbd_pselect(run->db->driver, run->answers, run->db->handle, &run->rows, prepared, 1, sql->args, run->values);
}

/* A pool of the connection for this statement, which takes the place of the one it had when it was prepared again before. */
static int prepare_again(const run_t *run)
{
    const vapi_sql_t *sql = run->sql;
    const ap_dbd_t *db = run->db;
    apr_dbd_prepared_t *prepared = NULL;
    void *before = NULL;
    apr_pool_t *pool;
    int n;

    apr_pool_create(&pool, db->pool);
    if (is_driver(run, "pgsql")) {
        apr_dbd_query(db->driver, db->handle, &n, apr_pstrcat(pool, "DEALLOCATE ", sql->label, NULL));
    }
    if (apr_dbd_prepare(db->driver, pool, db->handle, sql->text, sql->label, &prepared) != 0) {
        apr_pool_destroy(pool);
        return 0;
    }
    apr_hash_set(db->prepared, sql->label, APR_HASH_KEY_STRING, prepared);
    apr_pool_userdata_get(&before, sql->label, db->pool);
    apr_pool_userdata_setn(pool, sql->label, NULL, db->pool);
    if (before) {
        apr_pool_destroy(before);
    }
    return 1;
}

static int is_alive(const run_t *run)
{
    apr_dbd_results_t *rows = NULL;

    return apr_dbd_select(run->db->driver, run->answers, run->db->handle, &rows, "SELECT 1", 1) == 0;
}

/* @return NULL: it is a new connection, or as good as one, and knows the statement */
static const char *revive(const run_t *run)
{
    int rv = apr_dbd_check_conn(run->db->driver, run->answers, run->db->handle);

    if (rv != APR_SUCCESS && rv != APR_ENOTIMPL) {
        return unreachable;
    }
    return prepare_again(run) ? NULL : refused;
}

/* SQLite's driver says "not an error" where it did not run a statement, but found that the run before had failed. */
static int is_outdated(const run_t *run, const char *error)
{
    return strcmp(error, "database schema has changed") == 0 || (run->sql->only_reads && strcmp(error, "not an error") == 0);
}

/*
 * After a failure. SQLite loses no connections, but its statements when another process changes a table; its driver keeps each
 * that was ever prepared, so that only this makes another.
 * @return NULL: nothing was done, and it is worth another try
 */
static const char *mend(const run_t *run, int rv)
{
    if (is_driver(run, "sqlite3")) {
        const char *error = apr_dbd_error(run->db->driver, run->db->handle, rv);

        if (error && strcmp(error, "database is locked") == 0) {
            return "another has locked the database";
        }
        return error && is_outdated(run, error) && prepare_again(run) ? NULL : refused;
    }
    if (is_alive(run)) {
        return prepare_again(run) ? NULL : refused;
    }
    return run->sql->only_reads ? revive(run) : broken_off;
}

/*
 * What reads is tried, and once more where that failed. What writes is sent over a connection that was just seen alive, and tried
 * once more only when it still is afterwards.
 * @return NULL: it was done
 */
static const char *execute_well(run_t *run)
{
    const char *why;
    int rv;

    if (!run->sql->only_reads && !is_driver(run, "sqlite3") && !is_alive(run) && (why = revive(run))) {
        return why;
    }
    if ((rv = execute(run)) == 0) {
        return NULL;
    }
    if ((why = mend(run, rv))) {
        return why;
    }
    if (execute(run) == 0) {
        return NULL;
    }
    return run->sql->only_reads || is_driver(run, "sqlite3") || is_alive(run) ? refused : broken_off;
}

static apr_status_t forget_row(void *result)
{
    json_decref(((vapi_sql_result_t *)result)->row);
    return APR_SUCCESS;
}

static void read_row(run_t *run)
{
    const apr_dbd_driver_t *driver = run->db->driver;
    int i, columns = run->rows ? apr_dbd_num_cols(driver, run->rows) : 0;
    apr_dbd_row_t *row = NULL;

    run->result.end = VAPI_SQL_ROW;
    if (!run->is_query || columns <= 0) {
        return;
    }
    if (apr_dbd_get_row(driver, run->answers, run->rows, &row, -1) != 0) {
        run->result.end = VAPI_SQL_NO_ROW;
        return;
    }
    run->result.row = json_object();
    for (i = 0; i < columns; i++) {
        const char *name = apr_dbd_get_name(driver, run->rows, i), *value = apr_dbd_get_entry(driver, row, i);

        if (name) {
            json_object_set_new(run->result.row, name, vapi_text_json(value ? value : "", run->answers));
        }
    }
}

static void run_it(void *data, apr_pool_t *p)
{
    run_t *run = data;

    if (!(run->db = dbd.open(p, run->sql->server))) {
        run->result.what = "no connection to the database; mod_dbd's own line in the error log says why";
        return;
    }
    apr_pool_create(&run->answers, p);
    if (!(run->result.what = execute_well(run))) {
        read_row(run);
    }
    apr_pool_destroy(run->answers);
    dbd.close(run->sql->server, run->db);
}

static run_t *make_run(const vapi_sql_t *sql, int is_query, const char *const *values, apr_pool_t *pool)
{
    run_t *run = apr_pcalloc(pool, sizeof(*run));
    int i;

    run->sql = sql;
    run->is_query = is_query;
    run->result.end = VAPI_SQL_ERROR;
    run->values = apr_pcalloc(pool, sizeof(char *) * ((apr_size_t)sql->args + 1));
    for (i = 0; i < sql->args; i++) {
        run->values[i] = apr_pstrdup(pool, values[i]);
    }
    apr_pool_cleanup_register(pool, &run->result, forget_row, apr_pool_cleanup_null);
    return run;
}

/* It was not done by a thread, or not in time. */
static void set_failure(vapi_sql_result_t *result, apr_status_t rv)
{
    result->end = APR_STATUS_IS_TIMEUP(rv) ? VAPI_SQL_TIMEOUT : VAPI_SQL_ERROR;
    result->row = NULL;
    result->what = APR_STATUS_IS_TIMEUP(rv) ? "no answer from the database in time"
                   : rv == APR_ENOSPC       ? "too many statements wait for the database already"
                   : APR_STATUS_IS_EOF(rv)  ? "the server is ending"
                                            : "no thread could be started for the database";
}

void vapi_sql_run(const vapi_sql_t *sql, int is_query, const char *const *values, vapi_workers_t *workers, apr_time_t deadline,
                  vapi_sql_result_t *result)
{
    apr_pool_t *pool = vapi_workers_pool();
    run_t *run = make_run(sql, is_query, values, pool);
    apr_status_t rv = APR_SUCCESS;

    if (workers) {
        rv = vapi_workers_wait(workers, run_it, run, pool, deadline);
    }
    else {
        run_it(run, pool);
    }
    if (rv == APR_SUCCESS) {
        *result = run->result;
        run->result.row = NULL;
        apr_pool_destroy(pool);
    }
    else {
        set_failure(result, rv);
    }
}
