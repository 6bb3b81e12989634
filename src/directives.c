/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The command table: every directive's name, form and help, and the function that turns its words into configuration. A
 * line is parted into words here, once and for all directives; the functions below see words only.
 */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>

#include "vapi_config.h"
#include "vapi_dial.h"
#include "vapi_secret.h"

APLOG_USE_MODULE(vapi_transfer);

/** What a directive's entry in the command table points at. */
typedef struct form_t {
    const char *(*read)(cmd_parms *cmd, void *conf, const vapi_words_t *words);
    int min, max;                     /* positional words; max 0: any number */
    const vapi_key_rule_t *keys;      /* NULL: no keys, or checked by what reads them */
    int own_keys;
    int secret;                       /* a word of it is a secret: no error about the words' form quotes one */
} form_t;

static vapi_place_t place_of(const cmd_parms *cmd)
{
    vapi_place_t place = { cmd->directive->filename, (unsigned int)cmd->directive->line_num };
    return place;
}

static void warn(cmd_parms *cmd, const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, cmd->server, "vapi: %s:%d: %s: %s", cmd->directive->filename, cmd->directive->line_num,
                 cmd->cmd->name, text);
}

static void warn_all(cmd_parms *cmd, const apr_array_header_t *warnings)
{
    int i;

    for (i = 0; i < warnings->nelts; i++) {
        warn(cmd, APR_ARRAY_IDX(warnings, i, const char *));
    }
}

/* ---- the two ways in ---- */

static const char *read_line(cmd_parms *cmd, void *conf, const char *args)
{
    static const vapi_key_rule_t no_keys[] = { { NULL, 0 } };
    const form_t *form = cmd->info;
    vapi_words_t *words;
    const char *error = vapi_words_read(&words, args, cmd->pool);

    if (!error && !form->own_keys) {
        error = vapi_words_check(words, form->keys ? form->keys : no_keys, cmd->pool);
    }
    if (error && form->secret) {
        error = apr_psprintf(cmd->pool, "takes %s; no word of it may be KEY=... otherwise", cmd->cmd->errmsg);
    }
    if (!error && (words->positional->nelts < form->min || (form->max && words->positional->nelts > form->max))) {
        error = apr_psprintf(cmd->pool, "takes %s", cmd->cmd->errmsg);
    }
    if (!error) {
        error = form->read(cmd, conf, words);
    }
    return error ? apr_psprintf(cmd->pool, "%s: %s", cmd->cmd->name, error) : NULL;
}

static const char *host_directive(cmd_parms *cmd, void *unused, const char *args)
{
    (void)unused;
    return read_line(cmd, vapi_host_conf(cmd->server), args);
}

static const char *endpoint_directive(cmd_parms *cmd, void *conf, const char *args)
{
    vapi_endpoint_t *e = conf;
    const char *error = ap_check_cmd_context(cmd, NOT_IN_LIMIT | NOT_IN_FILES | NOT_IN_HTACCESS);

    if (error) {
        return error;
    }
    if (!e->server) {
        e->server = cmd->server;
        e->place = place_of(cmd);
    }
    return read_line(cmd, conf, args);
}

/* ---- named objects ---- */

/* Notes where a name stands; an error when this host has it already. */
static const char *claim_name(cmd_parms *cmd, vapi_host_conf_t *host, const char *class, const char *name)
{
    const char *key = apr_pstrcat(cmd->pool, class, " ", name, NULL);
    vapi_place_t *place = apr_hash_get(host->places, key, APR_HASH_KEY_STRING);

    if (place) {
        return apr_psprintf(cmd->pool, "'%s' is given twice; first in %s:%u", name, place->file, place->line);
    }
    place = apr_palloc(cmd->pool, sizeof(*place));
    *place = place_of(cmd);
    apr_hash_set(host->places, key, APR_HASH_KEY_STRING, place);
    return NULL;
}

static vapi_secret_env_t secret_env(cmd_parms *cmd)
{
    vapi_secret_env_t env;

    env.server_root = ap_server_root;
    env.process = cmd->server->process->pool;
    env.first_pass = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;
    env.warnings = apr_array_make(cmd->temp_pool, 2, sizeof(const char *));
    return env;
}

static const char *read_credential(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_secret_env_t env = secret_env(cmd);
    vapi_credential_t *credential;
    const char *error = vapi_credential_make(&credential, words, &env, cmd->pool, cmd->temp_pool);

    if (error || (error = claim_name(cmd, host, "credential", vapi_credential_name(credential))) != NULL) {
        return error;
    }
    warn_all(cmd, env.warnings);
    apr_hash_set(host->credentials, vapi_credential_name(credential), APR_HASH_KEY_STRING, credential);
    return NULL;
}

static const char *read_plan(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_plan_t *plan;
    const char *error = vapi_plan_make(&plan, words, place_of(cmd), cmd->pool, cmd->temp_pool);

    if (error || (error = claim_name(cmd, host, "plan", vapi_plan_name(plan))) != NULL) {
        return error;
    }
    apr_hash_set(host->names.plans, vapi_plan_name(plan), APR_HASH_KEY_STRING, plan);
    return NULL;
}

static const char *read_destination(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    apr_array_header_t *warnings = apr_array_make(cmd->temp_pool, 2, sizeof(const char *));
    vapi_destination_t *destination;
    const char *error = vapi_destination_make(&destination, words, place_of(cmd), warnings, cmd->pool, cmd->temp_pool);

    if (error || (error = claim_name(cmd, host, "destination", vapi_destination_name(destination))) != NULL) {
        return error;
    }
    warn_all(cmd, warnings);
    apr_hash_set(host->names.destinations, vapi_destination_name(destination), APR_HASH_KEY_STRING, destination);
    return NULL;
}

static const char *read_allow(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_allow_t *entry;
    const char *error;
    int i;

    if (!host->names.allow) {
        host->names.allow = apr_array_make(cmd->pool, 8, sizeof(vapi_allow_t *));
    }
    for (i = 0; i < words->positional->nelts; i++) {
        if ((error = vapi_allow_parse(&entry, vapi_words_at(words, i), cmd->pool)) != NULL) {
            return error;
        }
        APR_ARRAY_PUSH(host->names.allow, vapi_allow_t *) = entry;
    }
    return NULL;
}

static const char *read_state(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_global_t *global = vapi_global();
    apr_array_header_t *all = apr_array_make(cmd->pool, 4, sizeof(const char *));
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *first = vapi_words_at(words, 0);
    int i;

    (void)conf;
    if (error) {
        return error;
    }
    if (global->state_given) {
        return apr_psprintf(cmd->pool, "is given twice; first in %s:%u", global->state_place.file, global->state_place.line);
    }
    global->provider = vapi_state_provider(first, cmd->temp_pool);
    if (!global->provider) {
        return strncmp(first, "redis", 5) == 0 ? "'redis' needs the module vapi_state_redis, loaded above this line"
                                               : apr_psprintf(cmd->pool,
                                                              "'%.*s' must begin with shm, shm:SIZE, redis:// or rediss://",
                                                              (int)strcspn(first, ":@"),    /* behind it a password may stand */
                                                              first);
    }
    APR_ARRAY_PUSH(all, const char *) = first;
    for (i = 0; i < words->keys->nelts; i++) {
        vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        APR_ARRAY_PUSH(all, const char *) = apr_pstrcat(cmd->pool, key->name, "=", key->value, NULL);
    }
    global->state_given = 1;
    global->state_place = place_of(cmd);
    return global->provider->configure(&global->state_config, all, cmd->pool);
}

/* ---- the endpoint: who, what, where ---- */

static const char *read_authenticate(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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
            warn(cmd, "none: whoever reaches this URL can move calls");
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

static const char *read_tool(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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
        APR_ARRAY_PUSH(param->choices, const char *) = apr_pstrdup(p, word);
    }
    return param->choices->nelts ? NULL : "enum= is empty";
}

static const char *read_param(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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

static const char *read_route(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    vapi_route_t *route;
    const char *error = vapi_route_make(&route, words, place_of(cmd), cmd->pool, cmd->temp_pool);

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

static const char *read_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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

static const char *read_time(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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

static const char *read_body_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    apr_int64_t limit;
    const char *error = vapi_word_number(&limit, vapi_words_at(words, 0), 1024, 1073741824, cmd->pool);

    e->body_limit = (apr_off_t)limit;
    return error ? apr_psprintf(cmd->pool, "'%s': must be %s (bytes)", vapi_words_at(words, 0), error) : NULL;
}

static const char *read_log_numbers(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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
        warn(cmd, "full: telephone numbers stand in the error log");
    }
    return NULL;
}

static const char *read_failure_say(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *written = vapi_words_at(words, 0);
    vapi_text_t *text = NULL;
    const char *error = NULL;

    e->failure_given = 1;
    e->failure_silent = strcmp(written, "none") == 0 || !*written;
    if (!e->failure_silent) {
        error = vapi_text_parse(&text, written, place_of(cmd), cmd->pool, cmd->temp_pool);
        e->failure_say = text;
    }
    return error;
}

/* ---- the endpoint: the control API ---- */

static const char *read_control_hosts(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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
            warn(cmd, "an http:// pattern sends transfers in the clear: for tests only");
        }
        APR_ARRAY_PUSH(e->control_hosts, vapi_control_host_t *) = host;
    }
    return NULL;
}

static const char *read_allow_private(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *error = vapi_word_flag(&e->allow_private, vapi_words_at(words, 0));

    if (error) {
        return apr_psprintf(cmd->pool, "'%s': must be %s", vapi_words_at(words, 0), error);
    }
    if (e->allow_private) {
        warn(cmd, "on: a control host may resolve to an address inside this network");
    }
    return NULL;
}

/* A header value it will become: what would end the header is refused here. */
static const char *read_header_secret(cmd_parms *cmd, const char **secret, const vapi_words_t *words, const char *key)
{
    vapi_secret_env_t env = secret_env(cmd);
    const char *error = vapi_secret_read(secret, vapi_words_at(words, 0), key, &env, cmd->pool, cmd->temp_pool), *at;

    for (at = *secret; !error && *at; at++) {
        if ((unsigned char)*at < 0x21 || (unsigned char)*at > 0x7e) {
            error = apr_psprintf(cmd->pool, "%s holds a character that no token has", key);
        }
    }
    warn_all(cmd, env.warnings);
    return error;
}

static const char *read_control_token(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    return read_header_secret(cmd, &e->control_token, words, "token");
}

static int is_web_url(const char *url)
{
    return (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0) && strlen(strstr(url, "://")) > 3
           && !strpbrk(url, " \t\"<>\\^`{|}#?@");
}

static const char *read_api_key(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *url = vapi_words_get(words, "url");

    if (url && !is_web_url(url)) {
        return "url=: must be an https:// URL without userinfo, query or fragment";
    }
    if (url && strncmp(url, "http://", 7) == 0) {
        warn(cmd, "url=http://...: the key is sent in the clear");
    }
    e->api_url = url ? url : "https://api.vapi.ai";
    return read_header_secret(cmd, &e->api_key, words, "key");
}

static const char *read_ca_file(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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

static const char *read_proxy(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;

    e->proxy = vapi_words_at(words, 0);
    if (is_web_url(e->proxy)) {
        return NULL;
    }
    return strchr(e->proxy, '@') ? "must be http://HOST:PORT or https://HOST:PORT, without a user and password"
                                 : apr_psprintf(cmd->pool, "'%s': must be http://HOST:PORT or https://HOST:PORT", e->proxy);
}

/* ---- the table ---- */

static const vapi_key_rule_t limit_keys[] = { { "call", 0 }, { "caller", 0 }, { "outbound", 0 }, { NULL, 0 } };
static const vapi_key_rule_t param_keys[] = { { "enum", 0 }, { NULL, 0 } };
static const vapi_key_rule_t api_key_keys[] = { { "url", 0 }, { NULL, 0 } };

static const form_t credential_form = { read_credential, 1, 0, NULL, 1, 0 };
static const form_t plan_form = { read_plan, 1, 0, NULL, 1, 0 };
static const form_t destination_form = { read_destination, 1, 0, NULL, 1, 0 };
static const form_t allow_form = { read_allow, 1, 0, NULL, 0, 0 };
static const form_t state_form = { read_state, 1, 1, NULL, 1, 0 };
static const form_t authenticate_form = { read_authenticate, 1, 0, NULL, 0, 0 };
static const form_t tool_form = { read_tool, 1, 2, NULL, 0, 0 };
static const form_t param_form = { read_param, 2, 4, param_keys, 0, 0 };
static const form_t route_form = { read_route, 1, 0, NULL, 1, 0 };
static const form_t limit_form = { read_limit, 0, 0, limit_keys, 0, 0 };
static const form_t time_form = { read_time, 1, 1, NULL, 0, 0 };
static const form_t body_limit_form = { read_body_limit, 1, 1, NULL, 0, 0 };
static const form_t log_numbers_form = { read_log_numbers, 1, 1, NULL, 0, 0 };
static const form_t failure_say_form = { read_failure_say, 1, 1, NULL, 0, 0 };
static const form_t control_hosts_form = { read_control_hosts, 1, 0, NULL, 0, 0 };
static const form_t allow_private_form = { read_allow_private, 1, 1, NULL, 0, 0 };
static const form_t control_token_form = { read_control_token, 1, 1, NULL, 0, 1 };
static const form_t api_key_form = { read_api_key, 1, 1, api_key_keys, 0, 1 };
static const form_t ca_file_form = { read_ca_file, 1, 1, NULL, 0, 0 };
static const form_t proxy_form = { read_proxy, 1, 1, NULL, 0, 0 };

#define HOST(name, form, help)     AP_INIT_RAW_ARGS(name, host_directive, (void *)&(form), RSRC_CONF, help)
#define ENDPOINT(name, form, help) AP_INIT_RAW_ARGS(name, endpoint_directive, (void *)&(form), RSRC_CONF | ACCESS_CONF, help)

const command_rec vapi_directives[] = {
    HOST("VapiCredential", credential_form,
         "NAME hmac|bearer secret=S [key=value ...]: how Vapi shows that a delivery is its own"),
    HOST("VapiTransferPlan", plan_form, "NAME MODE [key=value ...]: how a call is handed over to a number or SIP URI"),
    HOST("VapiDestination", destination_form, "NAME TARGET [key=value ...]: where a call can go"),
    HOST("VapiAllow", allow_form, "[!]PREFIX|DOMAIN|USER@DOMAIN ...: what a target that is known only at run time may be"),
    HOST("VapiState", state_form, "shm[:SIZE] [file=PATH|none] [keep=86400], or redis[s]://...: where deliveries are remembered"),
    ENDPOINT("VapiAuthenticate", authenticate_form, "the NAME of a VapiCredential or several, or apache, or none"),
    ENDPOINT("VapiTool", tool_form, "a tool's NAME and, in quotes, its description: what is answered here"),
    ENDPOINT("VapiParam", param_form,
             "NAME string|number|integer|boolean|phone [required] [\"DESCRIPTION\"] [enum=a,b,c]: an argument of the VapiTool "
             "before it"),
    ENDPOINT("VapiRoute", route_form,
             "TARGET [EXPR] [plan=PLAN] [say=T] [result=T] [name=LABEL]: the first that is true and available is taken"),
    ENDPOINT("VapiLimit", limit_form, "[call=10] [caller=N/SECONDS] [outbound=N]: how many transfers"),
    ENDPOINT("VapiControlHosts", control_hosts_form,
             "[http://]HOST[:PORT|:*] ...: where control URLs may point; *.vapi.ai unless given"),
    ENDPOINT("VapiControlAllowPrivate", allow_private_form, "on or off: whether a control host may resolve to a private address"),
    ENDPOINT("VapiControlToken", control_token_form,
             "a secret (file:, env:, exec:): the token of assistants that demand control authentication"),
    ENDPOINT("VapiApiKey", api_key_form,
             "a secret (file:, env:, exec:) and [url=https://api.vapi.ai]: asks Vapi for a control URL that is not in the "
             "payload"),
    ENDPOINT("VapiControlTimeout", time_form, "a time: for one control request"),
    ENDPOINT("VapiControlConnectTimeout", time_form, "a time: to resolve, connect and shake hands with the control API"),
    ENDPOINT("VapiControlCAFile", ca_file_form, "a file of CA certificates, instead of the system's, for the control API"),
    ENDPOINT("VapiControlProxy", proxy_form, "the URL of an HTTP proxy to the control API"),
    ENDPOINT("VapiBudget", time_form, "a time: for all work of one request"),
    ENDPOINT("VapiFailureSay", failure_say_form, "a text in quotes, or none: spoken when an async tool's transfer fails"),
    ENDPOINT("VapiBodyLimit", body_limit_form, "a number of bytes: the longest delivery that is read"),
    ENDPOINT("VapiSettle", time_form, "a time: a call that was transferred is not moved again before it is over"),
    ENDPOINT("VapiLogNumbers", log_numbers_form, "masked, full or none: telephone numbers in the log"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
