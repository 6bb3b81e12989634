/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Apache's expression language with this module's vocabulary. The short names (arg, msg, VAPI_...) exist only inside our
 * directives: they are given to ap_expr_parse as a lookup function of our own, never registered for the whole server.
 *
 * httpd logs the value of each string expression at trace4. A caller's words may not stand in a log at any level, so
 * the request's log configuration is swapped for a silent one around each evaluation.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include <ap_expr.h>
#include <httpd.h>
#include <http_log.h>

#include "vapi_expression.h"
#include "vapi_word.h"

extern module AP_MODULE_DECLARE_DATA vapi_transfer_module __attribute__((visibility("default")));
APLOG_USE_MODULE(vapi_transfer);

struct vapi_expression_t {
    ap_expr_info_t info;
    const char *written;
    int reads;
};

/** What the lookup function learns while one expression is parsed; hung on the temporary pool of that parse. */
typedef struct reading_t {
    int string;
    int reads;
} reading_t;

static const char reading_key[] = "vapi-expression-reading";

/* One variable: its name without VAPI_, how it is had, and whose words it holds. */
typedef const char *(*variable_fn)(vapi_question_t *q);

typedef struct variable_t {
    const char *name;
    variable_fn value;
    int reads;
} variable_t;

static const char *var_caller(vapi_question_t *q)     { return vapi_message_caller(q->message); }
static const char *var_called(vapi_question_t *q)     { return vapi_message_called(q->message); }
static const char *var_call(vapi_question_t *q)       { return q->message->call_id; }
static const char *var_type(vapi_question_t *q)       { return q->message->type_name; }
static const char *var_tool(vapi_question_t *q)       { return q->call ? q->call->name : ""; }
static const char *var_assistant(vapi_question_t *q)  { return vapi_message_assistant(q->message); }
static const char *var_provider(vapi_question_t *q)   { return vapi_message_provider(q->message); }
static const char *var_transport(vapi_question_t *q)  { return vapi_message_transport(q->message); }
static const char *var_call_type(vapi_question_t *q)  { return q->message->call_type; }
static const char *var_transcript(vapi_question_t *q) { return vapi_conversation_transcript(q->message); }
static const char *var_last_said(vapi_question_t *q)  { return vapi_conversation_last_said(q->message); }
static const char *var_turns(vapi_question_t *q)      { return apr_itoa(q->pool, vapi_conversation_turns(q->message)); }
static const char *var_language(vapi_question_t *q)   { return vapi_message_language(q->message); }
static const char *var_attempt(vapi_question_t *q)    { return apr_itoa(q->pool, q->attempt); }
static const char *var_route(vapi_question_t *q)       { return q->route; }
static const char *var_target(vapi_question_t *q)      { return q->target; }
static const char *var_destination(vapi_question_t *q) { return q->destination; }
static const char *var_member(vapi_question_t *q)      { return q->member; }
static const char *var_outcome(vapi_question_t *q)     { return q->outcome; }
static const char *var_reason(vapi_question_t *q)      { return q->reason; }

static const variable_t variables[] = {
    { "VAPI_CALLER", var_caller, VAPI_READS_CALL },
    { "VAPI_CALLED", var_called, VAPI_READS_CALL },
    { "VAPI_CALL", var_call, VAPI_READS_CALL },
    { "VAPI_TYPE", var_type, 0 },
    { "VAPI_TOOL", var_tool, VAPI_READS_CALL },
    { "VAPI_ASSISTANT", var_assistant, VAPI_READS_CALL },
    { "VAPI_PROVIDER", var_provider, VAPI_READS_CALL },
    { "VAPI_TRANSPORT", var_transport, VAPI_READS_CALL },
    { "VAPI_CALL_TYPE", var_call_type, VAPI_READS_CALL },
    { "VAPI_TRANSCRIPT", var_transcript, VAPI_READS_WORDS },
    { "VAPI_LAST_SAID", var_last_said, VAPI_READS_WORDS },
    { "VAPI_TURNS", var_turns, 0 },
    { "VAPI_LANGUAGE", var_language, VAPI_READS_CALL },
    { "VAPI_ATTEMPT", var_attempt, 0 },
    { "VAPI_ROUTE", var_route, 0 },
    { "VAPI_TARGET", var_target, 0 },
    { "VAPI_DESTINATION", var_destination, 0 },
    { "VAPI_MEMBER", var_member, 0 },
    { "VAPI_OUTCOME", var_outcome, 0 },
    { "VAPI_REASON", var_reason, 0 },
};
#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

static const char *eval_variable(ap_expr_eval_ctx_t *ctx, const void *data)
{
    const variable_t *variable = data;
    const char *value = variable->value(ctx->data);
    return value ? value : "";
}

static const char *eval_arg(ap_expr_eval_ctx_t *ctx, const void *data, const char *path)
{
    vapi_question_t *q = ctx->data;
    (void)data;
    return q->call && path ? vapi_tool_call_argument(q->call, path, ctx->p) : "";
}

static const char *eval_msg(ap_expr_eval_ctx_t *ctx, const void *data, const char *path)
{
    vapi_question_t *q = ctx->data;
    (void)data;
    return path ? vapi_payload_lookup(q->message->payload, q->message->message, path) : "";
}

typedef struct function_t {
    const char *name;
    ap_expr_string_func_t *call;
} function_t;

static const function_t functions[] = {
    { "arg", eval_arg },
    { "msg", eval_msg },
};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

static reading_t *reading_of(ap_expr_lookup_parms *parms)
{
    void *reading = NULL;
    apr_pool_userdata_get(&reading, reading_key, parms->ptemp);
    return reading;
}

static int lookup_variable(ap_expr_lookup_parms *parms, reading_t *reading)
{
    const char *names[VARIABLES + 1] = { NULL };
    const char *nearest;
    apr_size_t i;

    for (i = 0; i < VARIABLES; i++) {
        if (strcasecmp(variables[i].name, parms->name) == 0) {
            *parms->func = (const void *)eval_variable;
            *parms->data = &variables[i];
            reading->reads |= variables[i].reads;
            return OK;
        }
        names[i] = variables[i].name;
    }
    if (strncasecmp(parms->name, "VAPI_", 5) != 0) {
        return DECLINED;
    }
    nearest = vapi_word_nearest(parms->name, names);
    *parms->err = apr_psprintf(parms->pool, "there is no variable %%{%s}%s%s%s", parms->name, nearest ? "; did you mean %{" : "",
                               nearest ? nearest : "", nearest ? "}?" : "");
    return !OK;
}

static int is_file_function(const char *name)
{
    return strcasecmp(name, "file") == 0 || strcasecmp(name, "filesize") == 0 || strcasecmp(name, "filemod") == 0;
}

static int lookup_function(ap_expr_lookup_parms *parms, reading_t *reading)
{
    apr_size_t i;

    for (i = 0; i < FUNCTIONS; i++) {
        if (strcasecmp(functions[i].name, parms->name) == 0) {
            if (parms->arg && *parms->arg == '\0') {
                *parms->err = apr_psprintf(parms->pool, "%s('') names no value", functions[i].name);
                return !OK;
            }
            *parms->func = (const void *)functions[i].call;
            *parms->data = functions[i].name;
            reading->reads |= VAPI_READS_WORDS;
            return OK;
        }
    }
    if (reading->string && is_file_function(parms->name)) {
        *parms->err = apr_psprintf(parms->pool, "%s() is not allowed in a text", parms->name);
        return !OK;
    }
    return DECLINED;
}

/* The nearest of our functions goes into the message for one that nobody knows; httpd's own text names only what is wrong. */
static int lookup_unknown(ap_expr_lookup_parms *parms)
{
    const char *names[FUNCTIONS + 1] = { NULL };
    const char *nearest;
    apr_size_t i;

    for (i = 0; i < FUNCTIONS; i++) {
        names[i] = functions[i].name;
    }
    nearest = parms->type == AP_EXPR_FUNC_STRING ? vapi_word_nearest(parms->name, names) : NULL;
    if (!nearest) {
        return DECLINED;
    }
    *parms->err = apr_psprintf(parms->pool, "there is no function %s(); did you mean %s()?", parms->name, nearest);
    return !OK;
}

static int lookup(ap_expr_lookup_parms *parms)
{
    reading_t *reading = reading_of(parms);
    int rc = DECLINED;

    if (parms->type == AP_EXPR_FUNC_VAR) {
        rc = lookup_variable(parms, reading);
    }
    else if (parms->type == AP_EXPR_FUNC_STRING) {
        rc = lookup_function(parms, reading);
    }
    if (rc != DECLINED) {
        return rc;
    }
    rc = ap_expr_lookup_default(parms);
    return rc == OK ? rc : (lookup_unknown(parms) == DECLINED ? rc : !OK);
}

const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp)
{
    vapi_expression_t *e = apr_pcalloc(p, sizeof(*e));
    reading_t reading = { string, 0 };
    apr_pool_t *scratch;
    const char *error;

    apr_pool_create(&scratch, ptemp);
    apr_pool_userdata_setn(&reading, reading_key, NULL, scratch);
    e->written = apr_pstrdup(p, written);
    e->info.filename = place.file;
    e->info.line_number = place.line;
    e->info.flags = AP_EXPR_FLAG_DONT_VARY | (string ? AP_EXPR_FLAG_STRING_RESULT : 0);
    e->info.module_index = APLOG_MODULE_INDEX;
    error = ap_expr_parse(p, scratch, &e->info, e->written, lookup);
    if (error) {
        error = apr_pstrdup(p, error);
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
