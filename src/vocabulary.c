/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * arg(), msg(), lookup() and all the other words. Whatever stands in quotes in the configuration is taken apart when the configuration is
 * read; a word whose argument is made of a call's values is taken apart when the call asks. Names are resolved for each question, since a
 * virtual host may have things of its own under a name.
 */
#include <stddef.h>

#include <apr_strings.h>
#include <httpd.h>

#include "vapi_hours.h"
#include "vapi_lookup.h"
#include "vapi_map.h"
#include "vapi_pool.h"
#include "vapi_set.h"
#include "vapi_signal.h"
#include "vapi_word.h"
#include "vocabulary.h"

/* ---- variables ---- */

/* One variable: its name, how it is had, whose words it holds, and whether it must be looked for in the payload. */
typedef const char *(*variable_fn)(vapi_question_t *q);

typedef struct variable_t {
    const char *name;
    variable_fn value;
    int reads;
    int is_sought;
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
    { "VAPI_CALLER", var_caller, VAPI_READS_CALL, 1 },
    { "VAPI_CALLED", var_called, VAPI_READS_CALL, 1 },
    { "VAPI_CALL", var_call, VAPI_READS_CALL, 0 },
    { "VAPI_TYPE", var_type, 0, 0 },
    { "VAPI_TOOL", var_tool, VAPI_READS_CALL, 0 },
    { "VAPI_ASSISTANT", var_assistant, VAPI_READS_CALL, 1 },
    { "VAPI_PROVIDER", var_provider, VAPI_READS_CALL, 1 },
    { "VAPI_TRANSPORT", var_transport, VAPI_READS_CALL, 1 },
    { "VAPI_CALL_TYPE", var_call_type, VAPI_READS_CALL, 0 },
    { "VAPI_TRANSCRIPT", var_transcript, VAPI_READS_WORDS, 1 },
    { "VAPI_LAST_SAID", var_last_said, VAPI_READS_WORDS, 1 },
    { "VAPI_TURNS", var_turns, 0, 1 },
    { "VAPI_LANGUAGE", var_language, VAPI_READS_CALL, 1 },
    { "VAPI_ATTEMPT", var_attempt, 0, 0 },
    { "VAPI_ROUTE", var_route, 0, 0 },
    { "VAPI_TARGET", var_target, 0, 0 },
    { "VAPI_DESTINATION", var_destination, 0, 0 },
    { "VAPI_MEMBER", var_member, 0, 0 },
    { "VAPI_OUTCOME", var_outcome, 0, 0 },
    { "VAPI_REASON", var_reason, 0, 0 },
};
#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

static const char *eval_variable(ap_expr_eval_ctx_t *ctx, const void *data)
{
    vapi_question_t *q = ctx->data;
    const variable_t *variable = data;
    const char *value = variable->is_sought ? vapi_question_answer(q, variable) : NULL;

    q->read |= variable->reads;
    if (value) {
        return value;
    }
    value = variable->value(q);
    value = value ? value : "";
    if (variable->is_sought) {
        vapi_question_keep(q, variable, value);
    }
    return value;
}

static int find_variable(ap_expr_lookup_parms *parms, vapi_reading_t *reading)
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

/* ---- what a word's argument says ---- */

/** `NAME`, `NAME.REST`, `NAME:REST` or `NAME@REST`, taken apart. */
typedef struct term_t {
    const char *name;
    const char *rest;          /* NULL: there is no separator */
    vapi_zone_t *zone;         /* of hours('NAME@ZONE') in the configuration */
    vapi_pattern_t *pattern;   /* of said('REGEX') */
} term_t;

static void split(term_t *term, const char *arg, char separator, apr_pool_t *p)
{
    const char *end = strchr(arg, separator);

    memset(term, 0, sizeof(*term));
    term->name = end ? apr_pstrmemdup(p, arg, (apr_size_t)(end - arg)) : arg;
    term->rest = end ? end + 1 : NULL;
}

static void *named(apr_hash_t *class, const char *name)
{
    return class ? apr_hash_get(class, name, APR_HASH_KEY_STRING) : NULL;
}

/* ---- functions: the term is the one of the configuration, or of this moment ---- */

typedef const char *(*word_fn)(const term_t *term, vapi_question_t *q);

static const char *word_arg(const term_t *term, vapi_question_t *q)
{
    q->read |= VAPI_READS_WORDS;
    return q->call ? vapi_tool_call_argument(q->call, term->name, q->pool) : "";
}

static const char *word_msg(const term_t *term, vapi_question_t *q)
{
    q->read |= VAPI_READS_WORDS;
    return vapi_payload_lookup(q->message->payload, q->message->message, term->name);
}

static const char *word_lookup(const term_t *term, vapi_question_t *q)
{
    const vapi_lookup_t *lookup = q->names ? named(q->names->lookups, term->name) : NULL;

    q->read |= VAPI_READS_ANSWER;
    return lookup ? vapi_lookup_ask(lookup, q, term->rest ? term->rest : "") : "";
}

static const char *word_var(const term_t *term, vapi_question_t *q)
{
    const vapi_set_t *set = named(q->sets, term->name);

    q->read |= VAPI_READS_ANSWER;
    return set ? vapi_set_value(set, q) : "";
}

static const char *map_value(const char *name, const char *key, const vapi_question_t *q)
{
    const vapi_map_t *map = q->names ? named(q->names->maps, name) : NULL;
    const char *value = map ? vapi_map_find(map, key ? key : vapi_message_caller(q->message), q->pool) : NULL;

    return value ? value : "";
}

static const char *word_map(const term_t *term, vapi_question_t *q)
{
    return map_value(term->name, term->rest, q);
}

/* The zone of that name: of those that a map holds, read at start-up, or else loaded now. */
static const vapi_zone_t *zone_named(const char *name, const vapi_question_t *q)
{
    vapi_zone_t *zone = named(q->names->zones, name);

    return zone || vapi_zone_load(&zone, name, q->pool) == NULL ? zone : NULL;
}

/* In the zone that the term names, or in their own. */
static const char *hours_now(const vapi_hours_t *hours, const term_t *term, const vapi_question_t *q)
{
    const char *map = vapi_hours_zone_map(hours);
    const vapi_zone_t *zone = term->zone;

    if (!zone && term->rest) {
        zone = zone_named(term->rest, q);
    }
    else if (!zone) {
        zone = map ? zone_named(map_value(map, NULL, q), q) : vapi_hours_zone(hours);
    }
    return vapi_hours_word(vapi_hours_at(hours, zone, q->now));
}

static const char *word_hours(const term_t *term, vapi_question_t *q)
{
    const vapi_hours_t *hours = q->names ? named(q->names->hours, term->name) : NULL;
    const char *word = hours && !term->rest ? vapi_question_answer(q, hours) : NULL;

    if (!hours) {
        return "";
    }
    if (!word) {
        word = hours_now(hours, term, q);
        if (!term->rest) {
            vapi_question_keep(q, hours, word);
        }
    }
    q->met |= strcmp(word, vapi_hours_word(VAPI_HOURS_OPEN)) == 0 ? 0 : VAPI_MET_CLOSED;
    return word;
}

/* The log is silent while an expression is evaluated: it is told later, once a request. */
static void note_limit(const vapi_question_t *q, int limited)
{
    static const char words[] = "a regular expression reached its limit in what the caller said, and counts as not found";
    apr_array_header_t *notes = limited && q->reach ? q->reach->notes : NULL;
    int i;

    for (i = 0; notes && i < notes->nelts; i++) {
        if (APR_ARRAY_IDX(notes, i, const char *) == words) {
            return;
        }
    }
    if (notes) {
        APR_ARRAY_PUSH(notes, const char *) = words;
    }
}

static const char *word_signal(const term_t *term, vapi_question_t *q)
{
    const vapi_signal_t *signal = q->names ? named(q->names->signals, term->name) : NULL;
    const char *sum = signal ? vapi_question_answer(q, signal) : NULL;
    int limited = 0;

    if (!signal) {
        return "";
    }
    if (!sum) {
        sum = apr_itoa(q->pool, vapi_signal_sum(signal, q->message, &limited));
        vapi_question_keep(q, signal, sum);
        note_limit(q, limited);
    }
    return sum;
}

static const char *word_pool(const term_t *term, vapi_question_t *q)
{
    const vapi_pool_t *pool = q->names ? named(q->names->pools, term->name) : NULL;

    return pool && term->rest ? vapi_pool_count(pool, term->rest, q) : "";
}

static const char *word_said(const term_t *term, vapi_question_t *q)
{
    const char *said = vapi_question_answer(q, term->pattern);
    int limited = 0;

    q->read |= VAPI_READS_WORDS;
    if (!said) {
        said = vapi_signal_said(term->pattern, q->message, &limited) ? "1" : "";
        vapi_question_keep(q, term->pattern, said);
        note_limit(q, limited);
    }
    return said;
}

/** What a function is called, how its argument is taken apart, and what it names. */
typedef struct function_t {
    const char *name;
    word_fn word;
    char separator;            /* between the name and the rest; 0: it is all one */
    int class;                 /* vapi_name_class of the name, -1: it names no object */
    int reads;
} function_t;

static const function_t functions[] = {
    { "arg", word_arg, 0, -1, VAPI_READS_WORDS },
    { "msg", word_msg, 0, -1, VAPI_READS_WORDS },
    { "lookup", word_lookup, '.', VAPI_NAME_LOOKUP, VAPI_READS_ANSWER },
    { "var", word_var, 0, VAPI_NAME_SET, VAPI_READS_ANSWER },
    { "hours", word_hours, '@', VAPI_NAME_HOURS, 0 },
    { "map", word_map, ':', VAPI_NAME_MAP, 0 },
    { "signal", word_signal, 0, VAPI_NAME_SIGNAL, 0 },
    { "pool", word_pool, '.', VAPI_NAME_POOL, 0 },
    { "said", word_said, 0, -1, VAPI_READS_WORDS },
};
#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

/** A function where it stands. */
typedef struct use_t {
    const function_t *function;
    int is_fixed;              /* the argument stands in the configuration: `term` */
    term_t term;
} use_t;

static const char *eval_function(ap_expr_eval_ctx_t *ctx, const void *data, const char *arg)
{
    const use_t *use = data;
    vapi_question_t *q = ctx->data;
    term_t *term;

    if (use->is_fixed) {
        return use->function->word(&use->term, q);
    }
    if (!arg || !*arg) {
        return "";
    }
    term = apr_palloc(q->pool, sizeof(*term));
    split(term, arg, use->function->separator, q->pool);
    return use->function->word(term, q);
}

static void note_reference(const use_t *use, const vapi_place_t *place)
{
    vapi_reference_t *reference;

    if (use->function->class < 0 || !place->references) {
        return;
    }
    reference = apr_array_push(place->references);
    reference->class = (vapi_name_class)use->function->class;
    reference->name = use->term.name;
    reference->owner = place->owner;
    reference->file = place->file;
    reference->line = place->line;
}

/* Behind the dot of pool('NAME.WHAT'). */
static const char *check_count(const char *what, apr_pool_t *p)
{
    static const char *const counts[] = { "free", "busy", "members", NULL };
    const char *error = "the NAME of a VapiPool, then .free, .busy or .members";

    return what && vapi_word_choice(what, counts, &error, p) >= 0 ? NULL : error;
}

/* Takes a fixed argument apart. @return NULL or what is wrong */
static const char *read_fixed(use_t *use, const char *arg, const vapi_place_t *place, apr_pool_t *p)
{
    const char *error = NULL, *name = use->function->name;

    if (!*arg) {
        return apr_psprintf(p, "%s('') names no value", name);
    }
    use->is_fixed = 1;
    split(&use->term, apr_pstrdup(p, arg), use->function->separator, p);
    if (use->function->class >= 0 && !vapi_word_is_name(use->term.name)) {
        return apr_psprintf(p, "%s('%s'): '%s' is no name", name, arg, use->term.name);
    }
    if (use->function->word == word_said) {
        error = vapi_pattern_make(&use->term.pattern, arg, p);
    }
    else if (use->function->word == word_hours && use->term.rest) {
        error = vapi_zone_load(&use->term.zone, use->term.rest, p);
    }
    else if (use->function->word == word_pool) {
        error = check_count(use->term.rest, p);
    }
    if (error) {
        return apr_psprintf(p, "%s('%s'): %s", name, arg, error);
    }
    note_reference(use, place);
    return NULL;
}

static int is_file_function(const char *name)
{
    return strcasecmp(name, "file") == 0 || strcasecmp(name, "filesize") == 0 || strcasecmp(name, "filemod") == 0;
}

static int find_function(ap_expr_lookup_parms *parms, vapi_reading_t *reading)
{
    const char *error = NULL;
    use_t *use;
    apr_size_t i;

    for (i = 0; i < FUNCTIONS && strcasecmp(functions[i].name, parms->name) != 0; i++) {
    }
    if (i == FUNCTIONS) {
        if (reading->string && is_file_function(parms->name)) {
            *parms->err = apr_psprintf(parms->pool, "%s() is not allowed in a text", parms->name);
            return !OK;
        }
        return DECLINED;
    }
    use = apr_pcalloc(parms->pool, sizeof(*use));
    use->function = &functions[i];
    if (parms->arg) {
        error = read_fixed(use, parms->arg, &reading->place, parms->pool);
    }
    else if (functions[i].word == word_said) {
        error = "said() takes a regular expression in quotes, not one made of other values";
    }
    if (error) {
        *parms->err = error;
        return !OK;
    }
    *parms->func = (const void *)eval_function;
    *parms->data = use;
    reading->reads |= functions[i].reads;
    return OK;
}

int vapi_vocabulary_find(ap_expr_lookup_parms *parms, vapi_reading_t *reading)
{
    if (parms->type == AP_EXPR_FUNC_VAR) {
        return find_variable(parms, reading);
    }
    return parms->type == AP_EXPR_FUNC_STRING ? find_function(parms, reading) : DECLINED;
}

int vapi_vocabulary_nearest(ap_expr_lookup_parms *parms)
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
