/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Apache's expression language with this module's vocabulary. The short names (arg, msg, VAPI_...) exist only inside our
 * directives: they are given to ap_expr_parse as a lookup function of our own, never registered for the whole server.
 *
 * httpd logs the value of each string expression at trace4. A caller's words may not stand in a log at any level, so
 * the request's log configuration is swapped for a silent one around each evaluation.
 */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <ap_expr.h>
#include <httpd.h>
#include <http_log.h>

#include "vapi_expression.h"
#include "vocabulary.h"

extern module AP_MODULE_DECLARE_DATA vapi_transfer_module __attribute__((visibility("default")));
APLOG_USE_MODULE(vapi_transfer);

#define REGEX_LIMIT "(*LIMIT_MATCH=1000)"

struct vapi_expression_t {
    ap_expr_info_t info;
    const char *written;
    int reads;
};

/* Where the reading of the expression that is being parsed is found: hung on the temporary pool of that parse. */
static const char reading_key[] = "vapi-expression-reading";

static int lookup(ap_expr_lookup_parms *parms)
{
    void *reading = NULL;
    int rc;

    apr_pool_userdata_get(&reading, reading_key, parms->ptemp);
    rc = vapi_vocabulary_find(parms, reading);
    if (rc != DECLINED) {
        return rc;
    }
    rc = ap_expr_lookup_default(parms);
    return rc == OK ? rc : (vapi_vocabulary_nearest(parms) == DECLINED ? rc : !OK);
}

/* The length of a quoted string at `at`, with both quotes; 1 where it is not closed. */
static apr_size_t quoted_length(const char *at)
{
    const char *end = at + 1;

    while (*end && *end != *at) {
        end += *end == '\\' && end[1] ? 2 : 1;
    }
    return *end ? (apr_size_t)(end - at) + 1 : 1;
}

/* Where the regular expression behind `=~` or `!~` begins: behind the delimiter of /.../ or m#...#; NULL: there is none. */
static const char *regex_at(const char *at)
{
    if (strncmp(at, "=~", 2) != 0 && strncmp(at, "!~", 2) != 0) {
        return NULL;
    }
    at += 2 + strspn(at + 2, " \t");
    if (*at == '/') {
        return at + 1;
    }
    return *at == 'm' && at[1] && strchr("/#$%^|?!'\",;:.-", at[1]) ? at + 2 : NULL;
}

/* Its closing delimiter, or the end. */
static const char *regex_end(const char *regex)
{
    const char delimiter = regex[-1];

    while (*regex && *regex != delimiter) {
        regex += *regex == '\\' && regex[1] ? 2 : 1;
    }
    return regex;
}

static int ends_with(const char *from, const char **end, const char *word)
{
    apr_size_t len = strlen(word);

    while (*end > from && apr_isspace((*end)[-1])) {
        (*end)--;
    }
    if ((apr_size_t)(*end - from) < len || strncasecmp(*end - len, word, len) != 0) {
        return 0;
    }
    *end -= len;
    return 1;
}

/* Does the quoted string at `at` stand in said(...)? */
static int is_said(const char *written, const char *at)
{
    return ends_with(written, &at, "(") && ends_with(written, &at, "said")
           && (at == written || (!apr_isalnum(at[-1]) && at[-1] != '_'));
}

/* A quoted string whose backslashes come through ap_expr, which takes \b for a control character and \d for a d. An escaped quote
 * is still one. */
static const char *keep_backslashes(const char *quoted, apr_size_t len, apr_pool_t *p)
{
    char *out = apr_palloc(p, 2 * len + 1), *to = out;
    const char *at = quoted, *end = quoted + len;

    while (at < end) {
        if (*at == '\\') {
            if (at[1] != *quoted) {
                *to++ = '\\';
            }
            *to++ = *at++;
            if (*at == '\\') {
                *to++ = '\\';
            }
        }
        *to++ = *at++;
    }
    *to = '\0';
    return out;
}

/* A caller may say what makes a pattern search for minutes: each gets a limit, unless it brings one of its own. The
 * pattern of said() has one of its own, and is given to it as it is written. */
static const char *limit_regexes(const char *written, apr_pool_t *p)
{
    const char *at = written, *from = written, *regex, *limited = "";
    apr_size_t len;

    while (*at) {
        if (*at == '\'' || *at == '"') {
            len = quoted_length(at);
            if (len > 1 && is_said(written, at)) {
                limited = apr_pstrcat(p, limited, apr_pstrmemdup(p, from, (apr_size_t)(at - from)),
                                      keep_backslashes(at, len, p), NULL);
                from = at + len;
            }
            at += len;
        }
        else if ((regex = regex_at(at)) == NULL) {
            at++;
        }
        else {
            if (strncmp(regex, "(*LIMIT_MATCH", 13) != 0) {
                limited = apr_pstrcat(p, limited, apr_pstrmemdup(p, from, (apr_size_t)(regex - from)), REGEX_LIMIT, NULL);
                from = regex;
            }
            at = regex_end(regex);    /* a quote inside it is no quote, nor is one that ends it */
            at += *at != '\0';
        }
    }
    return apr_pstrcat(p, limited, from, NULL);
}

const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp)
{
    vapi_expression_t *e = apr_pcalloc(p, sizeof(*e));
    vapi_reading_t reading = { string, 0, place };
    apr_pool_t *scratch;
    const char *error;

    if (string && strpbrk(written, "'\"")) {
        return "a quote may not stand in a %{...}";    /* httpd's scanner would end the process, without a word where */
    }
    apr_pool_create(&scratch, ptemp);
    apr_pool_userdata_setn(&reading, reading_key, NULL, scratch);
    e->written = apr_pstrdup(p, written);
    e->info.filename = place.file;
    e->info.line_number = place.line;
    e->info.flags = AP_EXPR_FLAG_DONT_VARY | (string ? AP_EXPR_FLAG_STRING_RESULT : 0);
    e->info.module_index = APLOG_MODULE_INDEX;
    error = ap_expr_parse(p, scratch, &e->info, string ? e->written : limit_regexes(written, p), lookup);
    if (error) {
        error = apr_pstrcat(p, error, strstr(error, "unexpected $end") ? " (a condition compares, such as -n said('...'))" : "",
                            NULL);
    }
    e->reads = reading.reads;
    apr_pool_destroy(scratch);
    *out = e;
    return error;
}

const char *vapi_expression_written(const vapi_expression_t *e)
{
    return e->written;
}

int vapi_expression_reads(const vapi_expression_t *e)
{
    return e->reads;
}

static int evaluate(const vapi_expression_t *e, vapi_question_t *q, const char **result, const char **error)
{
    static const struct ap_logconf silent = { NULL, APLOG_EMERG };
    const struct ap_logconf *log = q->r->log;
    ap_regmatch_t matches[AP_MAX_REG_MATCH];
    const char *source = NULL;
    ap_expr_eval_ctx_t ctx = { 0 };
    int rc;

    memset(matches, 0, sizeof(matches));
    ctx.r = q->r;
    ctx.c = q->r->connection;
    ctx.s = q->r->server;
    ctx.p = q->pool;
    ctx.err = error;
    ctx.info = &e->info;
    ctx.re_pmatch = matches;
    ctx.re_nmatch = AP_MAX_REG_MATCH;
    ctx.re_source = &source;
    ctx.result_string = result;
    ctx.data = q;
    q->r->log = &silent;
    rc = ap_expr_exec_ctx(&ctx);
    q->r->log = log;
    return rc;
}

int vapi_expression_true(const vapi_expression_t *e, vapi_question_t *q, const char **error)
{
    const char *unused = NULL;
    int rc = evaluate(e, q, &unused, error);
    return rc < 0 ? -1 : rc > 0;
}

const char *vapi_expression_string(const vapi_expression_t *e, vapi_question_t *q, const char **error)
{
    const char *result = NULL;

    if (evaluate(e, q, &result, error) < 0) {
        return NULL;
    }
    return result ? result : "";
}
