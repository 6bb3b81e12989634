/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What a tool's arguments must be, as VapiParam says (T16-T18). The answers name the argument, so that the model can ask the
 * caller again. */
#include <apr_lib.h>
#include <apr_strings.h>
#include <stdlib.h>

#include "vapi_delivery.h"
#include "vapi_dial.h"

#define ARGUMENT_MAX 4096   /* bytes of one argument's text */

/* A template that Vapi did not fill in, such as {{customerNumber}}, is no value (W17). */
static int is_unresolved(const char *text)
{
    const char *open = strstr(text, "{{");
    return open && strstr(open, "}}");
}

static int is_number(json_t *value, int integer)
{
    const char *text = json_string_value(value);
    char *end;
    double number;

    if (json_is_integer(value)) {
        return 1;
    }
    if (json_is_real(value)) {
        number = json_real_value(value);
        return !integer || (number >= -9223372036854775808.0 && number < 9223372036854775808.0 && number == (double)(long long)number);
    }
    if (!text || !*text || apr_isspace(*text) || text[strspn(text, "+-.0123456789eE")]) {
        return 0;
    }
    if (integer) {
        strtoll(text, &end, 10);
    }
    else {
        strtod(text, &end);
    }
    return *end == '\0';
}

static int is_boolean(json_t *value)
{
    const char *text = json_string_value(value);
    return json_is_boolean(value) || (text && (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0));
}

/* A number as people dictate it: an optional +, then 7 to 15 digits, with blanks, dots, dashes and brackets between. */
static int is_phone(json_t *value)
{
    const char *text = json_string_value(value);
    int digits = 0;

    if (!text) {
        return 0;
    }
    for (text += *text == '+'; *text; text++) {
        if (apr_isdigit(*text)) {
            digits++;
        }
        else if (!strchr(" .-()", *text)) {
            return 0;
        }
    }
    return digits >= 7 && digits <= 15;
}

static int has_type(json_t *value, vapi_param_type type)
{
    switch (type) {
    case VAPI_PARAM_STRING:
        return json_is_string(value) || json_is_number(value) || json_is_boolean(value);
    case VAPI_PARAM_NUMBER:
        return is_number(value, 0);
    case VAPI_PARAM_INTEGER:
        return is_number(value, 1);
    case VAPI_PARAM_BOOLEAN:
        return is_boolean(value);
    case VAPI_PARAM_PHONE:
        return is_phone(value);
    }
    return 0;
}

static const char *check_choice(const vapi_param_t *param, const char *text, apr_pool_t *p)
{
    int i;

    for (i = 0; param->choices && i < param->choices->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(param->choices, i, const char *), text) == 0) {
            return NULL;
        }
    }
    return param->choices
               ? apr_psprintf(p, "The argument '%s' must be one of: %s.", param->name, apr_array_pstrcat(p, param->choices, ','))
               : NULL;
}

static const char *check_param(const vapi_param_t *param, const vapi_tool_call_t *call, apr_pool_t *p)
{
    static const char *const words[] = { "text", "a number", "a whole number", "true or false", "a phone number" };
    json_t *value = json_object_get(call->arguments, param->name);
    const char *text = json_string_value(value);

    if (!value || json_is_null(value) || (text && (!*text || is_unresolved(text)))) {
        return param->required ? apr_psprintf(p, "The argument '%s' is missing.", param->name) : NULL;
    }
    if (!has_type(value, param->type)) {
        return apr_psprintf(p, "The argument '%s' must be %s.", param->name, words[param->type]);
    }
    return check_choice(param, vapi_tool_call_argument(call, param->name, p), p);
}

/* Over-long values are refused whether or not a VapiParam names them; only a configured name is repeated to the model. */
static const char *check_lengths(const vapi_tool_call_t *call)
{
    const char *key;
    json_t *value;

    json_object_foreach(call->arguments, key, value) {
        if (json_is_string(value) ? json_string_length(value) > ARGUMENT_MAX
                                  : json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY) > ARGUMENT_MAX) {
            return "An argument is too long.";
        }
    }
    return NULL;
}

const char *vapi_arguments_check(const vapi_tool_t *tool, const vapi_tool_call_t *call, apr_pool_t *p)
{
    const char *error;
    int i;

    if (!call->arguments) {
        return apr_psprintf(p, "The arguments could not be read: %s.", call->arguments_error);
    }
    if ((error = check_lengths(call)) != NULL) {
        return error;
    }
    for (i = 0; tool && i < tool->params->nelts; i++) {
        if ((error = check_param(APR_ARRAY_IDX(tool->params, i, vapi_param_t *), call, p)) != NULL) {
            return error;
        }
    }
    return NULL;
}
