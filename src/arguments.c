/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  arguments.c
 * @brief What a tool's arguments must be, as VapiParam says (T16-T18), and the one form that each then has for routes, lookups
 *        and actions. The answers name the argument, so that the model can ask the caller again.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <glib.h>

#include "vapi_delivery.h"

#define ARGUMENT_MAX  4096                  /* bytes of one argument's text */
#define WHOLE_MAX     9007199254740992.0    /* up to here a double holds every whole number */
#define DIGITS_MIN    7                     /* of a telephone number */
#define DIGITS_MAX    15

/* A template that Vapi did not fill in, such as {{customerNumber}}, is no value (W17). */
static int is_unresolved(const char *text)
{
    const char *open = strstr(text, "{{");
    return open && strstr(open, "}}");
}

static const char *trimmed(const char *text, apr_pool_t *p)
{
    apr_size_t len;

    while (apr_isspace(*text)) {
        text++;
    }
    len = strlen(text);
    while (len && apr_isspace(text[len - 1])) {
        len--;
    }
    return apr_pstrmemdup(p, text, len);
}

/* ---- one form for each type ---- */

/* Each gives a new reference, or NULL for a value of another type. `text` is a string's, without the blanks around it; NULL where
 * the value is no string. */

static json_t *whole(double number)
{
    return number >= -9223372036854775808.0 && number < 9223372036854775808.0 && number == floor(number)
               ? json_integer((json_int_t)number) : NULL;
}

static json_t *turn_string(json_t *value, const char *text, apr_pool_t *p)
{
    if (!text && !json_is_number(value) && !json_is_boolean(value)) {
        return NULL;
    }
    return json_string(text ? text : vapi_json_lookup(value, "", p));
}

/* By GLib, which reads a point whatever the locale says. A whole number stays one: "1e3" is 1000. */
static json_t *turn_number(json_t *value, const char *text)
{
    char *end;
    double number;
    apr_int64_t integer;

    if (!text) {
        return json_is_number(value) ? json_incref(value) : NULL;
    }
    if (!strpbrk(text, "0123456789") || text[strspn(text, "+-.0123456789eE")]) {
        return NULL;
    }
    errno = 0;
    integer = apr_strtoi64(text, &end, 10);
    if (!*end && errno == 0) {
        return json_integer(integer);
    }
    number = g_ascii_strtod(text, &end);
    if (*end || !isfinite(number)) {
        return NULL;
    }
    return fabs(number) <= WHOLE_MAX && number == floor(number) ? whole(number) : json_real(number);
}

static json_t *turn_integer(json_t *value, const char *text)
{
    char *end;
    apr_int64_t integer;

    if (!text) {
        return json_is_real(value) ? whole(json_real_value(value)) : json_is_integer(value) ? json_incref(value) : NULL;
    }
    errno = 0;
    integer = apr_strtoi64(text, &end, 10);
    return *text && !*end && errno == 0 ? json_integer(integer) : NULL;
}

static json_t *turn_boolean(json_t *value, const char *text)
{
    if (!text) {
        return json_is_boolean(value) ? json_incref(value) : NULL;
    }
    return apr_cstr_casecmp(text, "true") == 0 ? json_true() : apr_cstr_casecmp(text, "false") == 0 ? json_false() : NULL;
}

/*
 * A number as people dictate it, with blanks, dots, dashes and brackets between its digits. With + or 00 before it, its country
 * is known and it becomes + and digits; of any other nobody here knows the country. Whether the zero of +44 (0)20 is dialled
 * depends on the country: such a number is asked for again.
 */
static json_t *turn_phone(const char *text, apr_pool_t *p)
{
    const int plus = text && *text == '+', zero = text && strstr(text, "(0)");
    char *number, *to, *digits;
    int abroad;     /* with its country's code */

    if (!text || text[plus + strspn(text + plus, "0123456789 .-()")]) {
        return NULL;
    }
    number = to = apr_palloc(p, strlen(text) + 2);
    for (*to++ = '+'; *text; text++) {
        if (apr_isdigit(*text)) {
            *to++ = *text;
        }
    }
    *to = '\0';
    abroad = plus || (number[1] == '0' && number[2] == '0');
    digits = number + (plus || !abroad ? 1 : 3);
    if (to - digits < DIGITS_MIN || to - digits > DIGITS_MAX || (abroad && (*digits == '0' || zero))) {
        return NULL;
    }
    if (abroad) {
        *--digits = '+';
    }
    return json_string(digits);
}

static json_t *turn(json_t *value, const char *text, vapi_param_type type, apr_pool_t *p)
{
    switch (type) {
    case VAPI_PARAM_STRING:
        return turn_string(value, text, p);
    case VAPI_PARAM_NUMBER:
        return turn_number(value, text);
    case VAPI_PARAM_INTEGER:
        return turn_integer(value, text);
    case VAPI_PARAM_BOOLEAN:
        return turn_boolean(value, text);
    case VAPI_PARAM_PHONE:
        return turn_phone(text, p);
    }
    return NULL;
}

/* ---- the choices of enum= ---- */

/* The choice as it is configured; letters of another case are the same. NULL: none. */
static const char *choice_of(const apr_array_header_t *choices, const char *text)
{
    const char *found = NULL;
    int i;

    for (i = 0; i < choices->nelts; i++) {
        const char *choice = APR_ARRAY_IDX(choices, i, const char *);

        if (strcmp(choice, text) == 0) {
            return choice;
        }
        if (!found && apr_cstr_casecmp(choice, text) == 0) {
            found = choice;
        }
    }
    return found;
}

/* Holds a turned value against the choices, as it was written and as it is now; a string becomes the choice. */
static const char *choose(const vapi_param_t *param, const char *text, json_t *turned, apr_pool_t *p)
{
    const char *choice = text ? choice_of(param->choices, text) : NULL;

    if (!choice) {
        choice = choice_of(param->choices, vapi_json_lookup(turned, "", p));
    }
    if (!choice) {
        return apr_psprintf(p, "The argument '%s' must be one of: %s.", param->name, apr_array_pstrcat(p, param->choices, ','));
    }
    if (param->type == VAPI_PARAM_STRING) {
        json_string_set(turned, choice);
    }
    return NULL;
}

/* ---- all arguments ---- */

/* Puts the one form of an argument into `arguments`, which is ours to change. */
static const char *take_param(const vapi_param_t *param, json_t *arguments, apr_pool_t *p)
{
    static const char *const words[] = { "text", "a number", "a whole number", "true or false", "a phone number" };
    json_t *value = json_object_get(arguments, param->name), *turned;
    const char *text = json_is_string(value) ? trimmed(json_string_value(value), p) : NULL, *error = NULL;

    if (!value || json_is_null(value) || (text && (!*text || is_unresolved(text)))) {
        json_object_del(arguments, param->name);
        return param->required ? apr_psprintf(p, "The argument '%s' is missing.", param->name) : NULL;
    }
    turned = turn(value, text, param->type, p);
    if (!turned) {
        return apr_psprintf(p, "The argument '%s' must be %s.", param->name, words[param->type]);
    }
    if (param->choices) {
        error = choose(param, text, turned, p);
    }
    json_object_set_new(arguments, param->name, turned);
    return error;
}

/* Over-long values are refused whether or not a VapiParam names them; only a configured name is repeated to the model. */
static const char *check_lengths(json_t *arguments)
{
    const char *key;
    json_t *value;

    json_object_foreach(arguments, key, value) {
        if (json_is_string(value) ? json_string_length(value) > ARGUMENT_MAX
                                  : json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > ARGUMENT_MAX) {
            return "An argument is too long.";
        }
    }
    return NULL;
}

/* Opens what is encrypted; *arguments is then a value of the pool's. */
static const char *open_encrypted(const vapi_decrypt_t *decrypt, json_t **arguments, apr_pool_t *p)
{
    json_t *opened;
    const char *error = vapi_decrypt_open(decrypt, *arguments, &opened, p);

    if (!error) {
        vapi_json_keep(opened, p);
        *arguments = opened;
        error = check_lengths(opened);
    }
    return error;
}

static const char *take_params(const vapi_tool_t *tool, json_t **arguments, apr_pool_t *p)
{
    const char *error = NULL;
    int i;

    *arguments = json_copy(*arguments);
    if (!*arguments) {
        return "The arguments could not be read.";
    }
    vapi_json_keep(*arguments, p);
    for (i = 0; i < tool->params->nelts && !error; i++) {
        error = take_param(APR_ARRAY_IDX(tool->params, i, vapi_param_t *), *arguments, p);
    }
    return error;
}

const char *vapi_arguments_take(const vapi_tool_t *tool, const vapi_decrypt_t *decrypt, const vapi_tool_call_t **call,
                                apr_pool_t *p)
{
    json_t *arguments = (*call)->arguments;
    vapi_tool_call_t *taken;
    const char *error;

    if (!arguments) {
        return apr_psprintf(p, "The arguments could not be read: %s.", (*call)->arguments_error);
    }
    error = check_lengths(arguments);
    if (!error && decrypt) {
        error = open_encrypted(decrypt, &arguments, p);
    }
    if (!error && tool && tool->params->nelts) {
        error = take_params(tool, &arguments, p);
    }
    if (!error && arguments != (*call)->arguments) {
        taken = apr_pmemdup(p, *call, sizeof(*taken));
        taken->arguments = arguments;
        *call = taken;
    }
    return error;
}
