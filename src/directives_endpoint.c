/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The directives of an endpoint: who may speak to it, what is asked for, where it goes, within which limits. */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>

#include "directives.h"
#include "vapi_dial.h"

/* ---- the endpoint: who, what, where ---- */

const char *vapi_read_authenticate(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    int i;

    if (!e->authenticate) {
        e->authenticate = apr_array_make(cmd->pool, 2, sizeof(const char *));
        e->accept_apache = e->accept_any = 0;
    }
    for (i = 0; i < words->positional->nelts; i++) {
        const char *word = vapi_words_at(words, i);
        if (strcmp(word, "apache") == 0) {
            e->accept_apache = 1;
        }
        else if (strcmp(word, "none") == 0) {
            e->accept_any = 1;
            vapi_directive_warn(cmd, "none: whoever reaches this URL can move calls");
        }
        else {
            APR_ARRAY_PUSH(e->authenticate, const char *) = word;
        }
    }
    if (e->accept_any && (e->accept_apache || e->authenticate->nelts)) {
        return "none does not go with others: it lets everybody in";
    }
    return NULL;
}

/* Names of tools and of their parameters, as OpenAI's schema wants them. */
static int is_tool_name(const char *name)
{
    return *name && strlen(name) <= 64
           && name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] == '\0';
}

const char *vapi_read_tool(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    vapi_tool_t *tool = apr_pcalloc(cmd->pool, sizeof(*tool));
    int any_name;

    tool->name = vapi_words_at(words, 0);
    tool->description = vapi_words_at(words, 1);
    tool->params = apr_array_make(cmd->pool, 4, sizeof(vapi_param_t *));
    if (!is_tool_name(tool->name)) {
        return apr_psprintf(cmd->pool, "'%s': a tool's name is 1 to 64 of a-z A-Z 0-9 _ -", tool->name);
    }
    if (vapi_endpoint_tool(e, tool->name, &any_name)) {
        return apr_psprintf(cmd->pool, "'%s' is given twice in this section", tool->name);
    }
    if (!e->tools) {
        e->tools = apr_array_make(cmd->pool, 2, sizeof(vapi_tool_t *));
    }
    APR_ARRAY_PUSH(e->tools, vapi_tool_t *) = tool;
    return NULL;
}

static const char *read_choices(vapi_param_t *param, const char *list, apr_pool_t *p, apr_pool_t *ptemp)
{
    char *rest = apr_pstrdup(ptemp, list), *word, *last;

    if (!*list) {
        return "enum= is empty";
    }
    param->choices = apr_array_make(p, 4, sizeof(const char *));
    for (word = apr_strtok(rest, ",", &last); word; word = apr_strtok(NULL, ",", &last)) {
        apr_size_t len;

        word += strspn(word, " ");
        for (len = strlen(word); len && word[len - 1] == ' '; len--) {
        }
        APR_ARRAY_PUSH(param->choices, const char *) = apr_pstrmemdup(p, word, len);
    }
    return param->choices->nelts ? NULL : "enum= is empty";
}

const char *vapi_read_param(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    static const char *const types[] = { "string", "number", "integer", "boolean", "phone", NULL };
    vapi_endpoint_t *e = conf;
    vapi_param_t *param = apr_pcalloc(cmd->pool, sizeof(*param));
    vapi_tool_t *tool = e->tools ? APR_ARRAY_IDX(e->tools, e->tools->nelts - 1, vapi_tool_t *) : NULL;
    const char *error, *word;
    int i, type;

    param->name = vapi_words_at(words, 0);
    if (!tool) {
        return "needs a VapiTool before it in the same section";
    }
    if (!is_tool_name(param->name)) {
        return apr_psprintf(cmd->pool, "'%s': a parameter's name is 1 to 64 of a-z A-Z 0-9 _ -", param->name);
    }
    for (i = 0; i < tool->params->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(tool->params, i, vapi_param_t *)->name, param->name) == 0) {
            return apr_psprintf(cmd->pool, "'%s' is given twice for the tool %s", param->name, tool->name);
        }
    }
    if ((type = vapi_word_choice(vapi_words_at(words, 1), types, &error, cmd->pool)) < 0) {
        return apr_psprintf(cmd->pool, "the type %s", error);
    }
    param->type = (vapi_param_type)type;
    for (i = 2; (word = vapi_words_at(words, i)) != NULL; i++) {
        if (i == 2 && strcmp(word, "required") == 0) {
            param->required = 1;
        }
        else if (!param->description) {
            param->description = word;
        }
        else {
            return apr_psprintf(cmd->pool, "'%s' is one word too many (a description stands in quotes)", word);
        }
    }
    APR_ARRAY_PUSH(tool->params, vapi_param_t *) = param;
    return vapi_words_get(words, "enum") ? read_choices(param, vapi_words_get(words, "enum"), cmd->pool, cmd->temp_pool) : NULL;
}

const char *vapi_read_route(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    vapi_route_t *route;
    const char *error = vapi_route_make(&route, words, vapi_directive_place(cmd), cmd->pool, cmd->temp_pool);

    if (error) {
        return error;
    }
    if (!e->routes) {
        e->routes = apr_array_make(cmd->pool, 8, sizeof(vapi_route_t *));
    }
    return vapi_route_add(e->routes, route, cmd->pool);
}

/* ---- the endpoint: limits and times ---- */

static const char *read_count(int *count, const vapi_words_t *words, const char *key, int max, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key), *error;
    apr_int64_t n;

    if (!written) {
        return NULL;
    }
    if ((error = vapi_word_number(&n, written, 1, max, p)) != NULL) {
        return apr_psprintf(p, "%s=%s: must be %s", key, written, error);
    }
    *count = (int)n;
    return NULL;
}

static const char *read_caller_limit(vapi_limits_t *limits, const char *written, apr_pool_t *p)
{
    const char *slash = written ? strchr(written, '/') : NULL, *error = "N/SECONDS";
    apr_int64_t n;

    if (!written) {
        return NULL;
    }
    if (!slash || (error = vapi_word_number(&n, apr_pstrmemdup(p, written, (apr_size_t)(slash - written)), 1, 100000, p)) != NULL
        || (error = vapi_word_time(&limits->caller_window, slash + 1, apr_time_from_sec(1),
                                    apr_time_from_sec(31 * 86400), p)) != NULL) {
        return apr_psprintf(p, "caller=%s: must be %s, such as 5/3600", written, slash ? error : "N/SECONDS");
    }
    limits->caller = (int)n;
    return NULL;
}

const char *vapi_read_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    /* a second line of the section adds to the first */
    vapi_limits_t *limits = apr_pmemdup(cmd->pool, vapi_endpoint_limits(e), sizeof(*limits));
    const char *error;

    if (words->positional->nelts) {
        return apr_psprintf(cmd->pool, "'%s' is no key=value: needs call=N, caller=N/SECONDS or outbound=N", vapi_words_at(words, 0));
    }
    if (!words->keys->nelts) {
        return "needs call=N, caller=N/SECONDS or outbound=N";
    }
    if ((error = read_count(&limits->call, words, "call", 100000, cmd->pool)) != NULL
        || (error = read_caller_limit(limits, vapi_words_get(words, "caller"), cmd->pool)) != NULL
        || (error = read_count(&limits->outbound, words, "outbound", 4096, cmd->pool)) != NULL) {
        return error;
    }
    e->limits = limits;
    return NULL;
}

/* The directives of one time: where it goes, and its range in seconds (0.001 s at least where the range begins at 0). */
typedef struct time_form_t {
    const char *name;
    apr_size_t offset;
    apr_interval_time_t min, max;
} time_form_t;

static const time_form_t time_forms[] = {
    { "VapiControlTimeout", APR_OFFSETOF(vapi_endpoint_t, control_timeout), apr_time_from_msec(10), apr_time_from_sec(300) },
    { "VapiControlConnectTimeout", APR_OFFSETOF(vapi_endpoint_t, control_connect_timeout), apr_time_from_msec(10),
      apr_time_from_sec(300) },
    { "VapiBudget", APR_OFFSETOF(vapi_endpoint_t, budget), apr_time_from_msec(100), apr_time_from_sec(300) },
    { "VapiSettle", APR_OFFSETOF(vapi_endpoint_t, settle), 0, apr_time_from_sec(3600) },
};

const char *vapi_read_time(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    const time_form_t *form = time_forms;
    const char *error;

    while (strcasecmp(form->name, cmd->cmd->name) != 0) {
        form++;
    }
    error = vapi_word_time((apr_interval_time_t *)((char *)conf + form->offset), vapi_words_at(words, 0), form->min, form->max,
                           cmd->pool);
    return error ? apr_psprintf(cmd->pool, "'%s': must be %s", vapi_words_at(words, 0), error) : NULL;
}

const char *vapi_read_body_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    apr_int64_t limit;
    const char *error = vapi_word_number(&limit, vapi_words_at(words, 0), 1024, 1073741824, cmd->pool);

    e->body_limit = (apr_off_t)limit;
    return error ? apr_psprintf(cmd->pool, "'%s': must be %s (bytes)", vapi_words_at(words, 0), error) : NULL;
}

const char *vapi_read_log_numbers(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    static const char *const choices[] = { "masked", "full", "none", NULL };
    vapi_endpoint_t *e = conf;
    const char *error;
    int choice = vapi_word_choice(vapi_words_at(words, 0), choices, &error, cmd->pool);

    if (choice < 0) {
        return error;
    }
    e->log_numbers = (vapi_log_numbers)choice;
    if (choice == VAPI_NUMBERS_FULL) {
        vapi_directive_warn(cmd, "full: telephone numbers stand in the error log");
    }
    return NULL;
}

const char *vapi_read_failure_say(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *written = vapi_words_at(words, 0);
    vapi_text_t *text = NULL;
    const char *error = NULL;

    e->failure_given = 1;
    e->failure_silent = strcmp(written, "none") == 0 || !*written;
    if (!e->failure_silent) {
        error = vapi_text_parse(&text, written, vapi_directive_place(cmd), cmd->pool, cmd->temp_pool);
        e->failure_say = text;
    }
    return error;
}

/* ---- the endpoint: the control API ---- */

const char *vapi_read_control_hosts(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    vapi_control_host_t *host;
    const char *error, *word;
    int i;

    if (!e->control_hosts) {
        e->control_hosts = apr_array_make(cmd->pool, 4, sizeof(vapi_control_host_t *));
    }
    for (i = 0; (word = vapi_words_at(words, i)) != NULL; i++) {
        if ((error = vapi_control_host_parse(&host, word, cmd->pool)) != NULL) {
            return apr_psprintf(cmd->pool, "'%s': %s", word, error);
        }
        if (strncasecmp(word, "http://", 7) == 0) {
            vapi_directive_warn(cmd, "an http:// pattern sends transfers in the clear: for tests only");
        }
        APR_ARRAY_PUSH(e->control_hosts, vapi_control_host_t *) = host;
    }
    return NULL;
}

const char *vapi_read_allow_private(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *error = vapi_word_flag(&e->allow_private, vapi_words_at(words, 0));

    if (error) {
        return apr_psprintf(cmd->pool, "'%s': must be %s", vapi_words_at(words, 0), error);
    }
    if (e->allow_private) {
        vapi_directive_warn(cmd, "on: a control host may resolve to an address inside this network");
    }
    return NULL;
}

/* A header value it will become: what would end the header is refused here. */
static const char *read_header_secret(cmd_parms *cmd, const char **secret, const vapi_words_t *words, const char *key)
{
    vapi_secret_env_t env = vapi_directive_secrets(cmd);
    const char *error = vapi_secret_read(secret, vapi_words_at(words, 0), key, &env, cmd->pool, cmd->temp_pool), *at;

    for (at = *secret; !error && *at; at++) {
        if ((unsigned char)*at < 0x21 || (unsigned char)*at > 0x7e) {
            error = apr_psprintf(cmd->pool, "%s holds a character that no token has", key);
        }
    }
    vapi_directive_warn_all(cmd, env.warnings);
    return error;
}

const char *vapi_read_control_token(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    return read_header_secret(cmd, &e->control_token, words, "token");
}

static int is_web_url(const char *url)
{
    return (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0) && strlen(strstr(url, "://")) > 3
           && !strpbrk(url, " \t\"<>\\^`{|}#?@");
}

const char *vapi_read_api_key(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *url = vapi_words_get(words, "url");

    if (url && !is_web_url(url)) {
        return "url=: must be an https:// URL without userinfo, query or fragment";
    }
    if (url && strncmp(url, "http://", 7) == 0) {
        vapi_directive_warn(cmd, "url=http://...: the key is sent in the clear");
    }
    e->api_url = url ? url : "https://api.vapi.ai";
    return read_header_secret(cmd, &e->api_key, words, "key");
}

const char *vapi_read_ca_file(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    apr_file_t *file;
    apr_status_t rv = APR_EBADPATH;
    char text[120];

    e->ca_file = ap_server_root_relative(cmd->pool, vapi_words_at(words, 0));
    if (!e->ca_file || (rv = apr_file_open(&file, e->ca_file, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, cmd->temp_pool)) != APR_SUCCESS) {
        return apr_psprintf(cmd->pool, "cannot read %s: %s", e->ca_file ? e->ca_file : vapi_words_at(words, 0),
                            apr_strerror(rv, text, sizeof(text)));
    }
    apr_file_close(file);
    return NULL;
}

const char *vapi_read_proxy(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;

    e->proxy = vapi_words_at(words, 0);
    if (is_web_url(e->proxy)) {
        return NULL;
    }
    return strchr(e->proxy, '@') ? "must be http://HOST:PORT or https://HOST:PORT, without a user and password"
                                 : apr_psprintf(cmd->pool, "'%s': must be http://HOST:PORT or https://HOST:PORT", e->proxy);
}

/* ---- the console ---- */

const char *vapi_read_console(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    static const char *const rights[] = { "read", "manage", NULL };
    vapi_endpoint_t *e = conf;
    const char *error;
    int right = vapi_word_choice(vapi_words_at(words, 0), rights, &error, cmd->pool);

    if (!cmd->path) {
        return "goes into <Location> or <Directory>, beside SetHandler vapi-console";
    }
    if (right < 0) {
        return error;
    }
    e->console = (vapi_console_right)right;
    return NULL;
}
