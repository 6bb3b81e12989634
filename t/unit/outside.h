/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * What stands in for httpd, its expressions, the database and the child in tests of what is asked and done outside. A placeholder
 * %{NAME} yields what the test has set for NAME; %{fail} cannot be evaluated; %{lookup:NAME.PATH} asks a lookup.
 */
#ifndef OUTSIDE_H
#define OUTSIDE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <apr_general.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>

#include "small_server.h"
#include "vapi_clock.h"
#include "vapi_lookup.h"
#include "vapi_shared.h"

#define MS ((apr_interval_time_t)1000)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static apr_pool_t *pool;
static apr_hash_t *values;       /* name -> value of its placeholder */
static apr_hash_t *lookups;      /* name -> vapi_lookup_t * */
static char root[] = "/tmp/vapi-outside-XXXXXX";

static inline const char *in_root(const char *name)
{
    return apr_pstrcat(pool, root, "/", name, NULL);
}

static inline void set(const char *name, const char *value)
{
    apr_hash_set(values, name, APR_HASH_KEY_STRING, value);
}

static inline const char *write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_root(name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return in_root(name);
}

/* ---- httpd ---- */

char *ap_server_root_relative(apr_pool_t *p, const char *name)
{
    return *name == '/' ? apr_pstrdup(p, name) : apr_pstrcat(p, root, "/", name, NULL);
}

struct vapi_expression_t {
    const char *name;
};

const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp)
{
    (void)string, (void)place, (void)ptemp;
    *out = apr_palloc(p, sizeof(**out));
    (*out)->name = apr_pstrmemdup(p, written + 2, strlen(written) - 3);
    return strcmp((*out)->name, "wrong") == 0 ? "there is no such variable" : NULL;
}

int vapi_expression_reads(const vapi_expression_t *e)
{
    (void)e;
    return VAPI_READS_WORDS;
}

static const char *from_lookup(const char *written, vapi_question_t *q)
{
    const char *dot = strchr(written, '.');
    const char *name = dot ? apr_pstrmemdup(q->pool, written, (apr_size_t)(dot - written)) : written;

    return vapi_lookup_ask(apr_hash_get(lookups, name, APR_HASH_KEY_STRING), q, dot ? dot + 1 : "");
}

const char *vapi_expression_string(const vapi_expression_t *e, vapi_question_t *q, const char **error)
{
    const char *value = apr_hash_get(values, e->name, APR_HASH_KEY_STRING);

    q->read |= VAPI_READS_WORDS;
    if (strcmp(e->name, "fail") == 0) {
        *error = "it failed";
        return NULL;
    }
    if (strncmp(e->name, "lookup:", 7) == 0) {
        return from_lookup(e->name + 7, q);
    }
    return value ? value : "";
}

/* ---- the database ---- */

struct vapi_sql_t {
    const char *text;
    const char *label;
    int args;
};

static vapi_sql_result_t sql_result;      /* what the next statements end in; a row is copied */
static const char *sql_values[8];         /* the latest's */
static int sql_runs, sql_was_query;
static vapi_workers_t *sql_workers_used;

const char *vapi_sql_make(vapi_sql_t **out, server_rec *s, const char *label, const char *sql, int args, apr_pool_t *p)
{
    (void)s;
    *out = apr_palloc(p, sizeof(**out));
    (*out)->text = sql;
    (*out)->label = label;
    (*out)->args = args;
    return strstr(sql, "%{") ? "a %{ has no meaning here" : NULL;
}

int vapi_sql_only_reads(const vapi_sql_t *sql)
{
    return strncasecmp(sql->text, "select", 6) == 0;
}

void vapi_sql_run(const vapi_sql_t *sql, int is_query, const char *const *given, vapi_workers_t *workers, apr_time_t deadline,
                  vapi_sql_result_t *result)
{
    int i;

    assert_true(deadline > 0);
    for (i = 0; i < sql->args; i++) {
        sql_values[i] = apr_pstrdup(pool, given[i]);
    }
    sql_runs++;
    sql_was_query = is_query;
    sql_workers_used = workers;
    *result = sql_result;
    result->row = sql_result.row ? json_deep_copy(sql_result.row) : NULL;
}

/* ---- the child ---- */

static vapi_http_t *http;

vapi_http_t *vapi_child_http(vapi_child_t *child)
{
    (void)child;
    return http;
}

const vapi_http_profile_t *vapi_child_profile(vapi_child_t *child, const vapi_http_profile_t *wanted)
{
    (void)child;
    return wanted;
}

vapi_workers_t *vapi_child_sql_workers(vapi_child_t *child)
{
    return (vapi_workers_t *)child;
}

/* ---- what tests begin with ---- */

static inline int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static inline int remove_root(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static inline int set_up(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    values = apr_hash_make(pool);
    lookups = apr_hash_make(pool);
    memset(&sql_result, 0, sizeof(sql_result));
    sql_runs = 0;
    return vapi_http_create(&http, 4, pool) == APR_SUCCESS ? 0 : -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

/* What reading a directive needs; its warnings are collected. */
static inline vapi_outgoing_env_t make_env(int is_action)
{
    vapi_outgoing_env_t env = { 0 };

    env.secrets.server_root = root;
    env.secrets.warnings = apr_array_make(pool, 2, sizeof(const char *));
    env.place.file = "test.conf";
    env.place.line = 1;
    env.label = "test";
    env.timeout = 2000 * MS;
    env.is_action = is_action;
    env.p = env.ptemp = pool;
    return env;
}

static inline vapi_question_t question(void)
{
    vapi_question_t q = { 0 };

    q.pool = pool;
    return q;
}

#endif
