/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The directives that make things with a name, and those that are given once in a server. */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>

#include "directives.h"
#include "vapi_dial.h"
#include "vapi_hours.h"
#include "vapi_lastgood.h"
#include "vapi_lookup.h"
#include "vapi_map.h"
#include "vapi_signal.h"

APLOG_USE_MODULE(vapi_transfer);

const char *vapi_read_credential(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_secret_env_t env = vapi_directive_secrets(cmd);
    vapi_credential_t *credential;
    const char *error = vapi_credential_make(&credential, words, &env, cmd->pool, cmd->temp_pool);

    if (error || (error = vapi_directive_claim(cmd, host, "credential", vapi_credential_name(credential))) != NULL) {
        return error;
    }
    vapi_directive_warn_all(cmd, env.warnings);
    apr_hash_set(host->credentials, vapi_credential_name(credential), APR_HASH_KEY_STRING, credential);
    return NULL;
}

const char *vapi_read_plan(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_plan_t *plan;
    const char *error = vapi_plan_make(&plan, words, vapi_directive_place(cmd), cmd->pool, cmd->temp_pool);

    if (error || (error = vapi_directive_claim(cmd, host, "plan", vapi_plan_name(plan))) != NULL) {
        return error;
    }
    apr_hash_set(host->names.plans, vapi_plan_name(plan), APR_HASH_KEY_STRING, plan);
    return NULL;
}

const char *vapi_read_destination(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    apr_array_header_t *warnings = apr_array_make(cmd->temp_pool, 2, sizeof(const char *));
    vapi_destination_t *destination;
    const char *error = vapi_destination_make(&destination, words, vapi_directive_place(cmd), warnings, cmd->pool, cmd->temp_pool);

    if (error || (error = vapi_directive_claim(cmd, host, "destination", vapi_destination_name(destination))) != NULL) {
        return error;
    }
    vapi_directive_warn_all(cmd, warnings);
    apr_hash_set(host->names.destinations, vapi_destination_name(destination), APR_HASH_KEY_STRING, destination);
    return NULL;
}

const char *vapi_read_allow(cmd_parms *cmd, void *conf, const vapi_words_t *words)
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

/* The words as a provider reads them: a secret is read before, whoever takes it. */
static const char *state_words(cmd_parms *cmd, apr_array_header_t *all, const vapi_words_t *words)
{
    vapi_secret_env_t env = vapi_directive_secrets(cmd);
    const char *error = NULL;
    int i;

    APR_ARRAY_PUSH(all, const char *) = vapi_words_at(words, 0);
    for (i = 0; i < words->keys->nelts && !error; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        const char *value = key->value;

        if (strcmp(key->name, "password") == 0) {
            error = vapi_secret_read(&value, key->value, "password", &env, cmd->pool, cmd->temp_pool);
        }
        APR_ARRAY_PUSH(all, const char *) = apr_pstrcat(cmd->pool, key->name, "=", value, NULL);
    }
    vapi_directive_warn_all(cmd, env.warnings);
    return error;
}

const char *vapi_read_state(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_global_t *global = vapi_global();
    apr_array_header_t *all = apr_array_make(cmd->pool, 4, sizeof(const char *));
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *first = vapi_words_at(words, 0);

    (void)conf;
    if (error) {
        return error;
    }
    if ((error = vapi_directive_once(cmd, &global->state_place)) != NULL) {
        return error;
    }
    global->provider = vapi_state_provider(first, cmd->temp_pool);
    if (!global->provider) {
        return strncmp(first, "redis", 5) == 0 ? "'redis' needs the module vapi_state_redis, loaded above this line"
                                               : apr_psprintf(cmd->pool,
                                                              "'%.*s' must begin with shm, shm:SIZE, redis:// or rediss://",
                                                              (int)strcspn(first, ":@"),    /* behind it a password may stand */
                                                              first);
    }
    if ((error = state_words(cmd, all, words)) != NULL
        || (error = global->provider->configure(&global->state_config, all, cmd->pool)) != NULL) {
        return error;
    }
    if (strchr(first, '@')) {
        vapi_directive_warn(cmd, "a password in the URL can be read in httpd's own dumps: password=file:PATH");
    }
    return NULL;
}

/* ---- what expressions can name ---- */

/* Several lines may name one file. */
static void note_stale(const char *file)
{
    apr_array_header_t *stale = vapi_global()->stale;
    int i;

    for (i = 0; i < stale->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(stale, i, const char *), file) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(stale, const char *) = file;
}

static const char *check_name(const char *name, apr_pool_t *p)
{
    return vapi_word_is_name(name) ? NULL : apr_psprintf(p, "'%s' is no NAME: a letter, then letters, digits, _ and -", name);
}

/* A file of the configuration, or its last good content: then the start says so, and goes on. */
static const char *read_kept_file(cmd_parms *cmd, const char *written, vapi_lastgood_check_fn check, vapi_lastgood_t *out)
{
    const char *file = ap_server_root_relative(cmd->pool, written), *error;

    if (!file) {
        return apr_psprintf(cmd->pool, "'%s' is no path", written);
    }
    if ((error = vapi_lastgood_read(out, file, check, cmd->server->process->pool, cmd->pool)) != NULL || !out->stale) {
        return error;
    }
    ap_log_error(APLOG_MARK, APLOG_ERR, 0, cmd->server, "vapi: %s:%d: %s: %s; its last good content stays in use",
                 cmd->directive->filename, cmd->directive->line_num, cmd->cmd->name, out->why);
    note_stale(file);
    return NULL;
}

const char *vapi_read_hours(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_lastgood_t closed = { NULL, 0, 0, NULL };
    const char *file = vapi_words_get(words, "closed-file");
    const char *error = file ? read_kept_file(cmd, file, vapi_hours_check_file, &closed) : NULL;
    vapi_hours_t *hours;

    if (error || (error = vapi_hours_make(&hours, words, closed.content, closed.len, cmd->pool)) != NULL
        || (error = vapi_directive_claim(cmd, host, "hours", vapi_hours_name(hours))) != NULL) {
        return error;
    }
    apr_hash_set(host->names.hours, vapi_hours_name(hours), APR_HASH_KEY_STRING, hours);
    return NULL;
}

const char *vapi_read_map(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    static const char *const kinds[] = { "exact", "prefix", NULL };
    vapi_host_conf_t *host = conf;
    const char *name = vapi_words_at(words, 0), *error;
    vapi_lastgood_t content = { NULL, 0, 0, NULL };
    vapi_map_t *map;
    int kind;

    if ((error = check_name(name, cmd->pool)) != NULL) {
        return error;
    }
    if ((kind = vapi_word_choice(vapi_words_at(words, 2), kinds, &error, cmd->pool)) < 0
        || (error = vapi_directive_claim(cmd, host, "map", name)) != NULL
        || (error = read_kept_file(cmd, vapi_words_at(words, 1), vapi_map_check, &content)) != NULL
        || (error = vapi_map_make(&map, name, content.content, content.len, kind == 1, vapi_words_get(words, "default"),
                                  cmd->pool)) != NULL) {
        return error;
    }
    apr_hash_set(host->names.maps, name, APR_HASH_KEY_STRING, map);
    return NULL;
}

const char *vapi_read_signal(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    const char *name = vapi_words_at(words, 0), *weight = vapi_words_get(words, "weight"), *error;
    vapi_signal_t *signal;
    apr_int64_t n = 1;

    if ((error = check_name(name, cmd->pool)) != NULL) {
        return error;
    }
    if (weight && (error = vapi_word_number(&n, weight, -1000, 1000, cmd->pool)) != NULL) {
        return apr_psprintf(cmd->pool, "weight=%s: must be %s", weight, error);
    }
    signal = apr_hash_get(host->names.signals, name, APR_HASH_KEY_STRING);
    if (!signal) {
        signal = vapi_signal_make(apr_pstrdup(cmd->pool, name), cmd->pool);
        apr_hash_set(host->names.signals, vapi_signal_name(signal), APR_HASH_KEY_STRING, signal);
    }
    error = vapi_signal_add(signal, vapi_words_at(words, 1), (int)n, cmd->pool);
    return error ? apr_psprintf(cmd->pool, "'%s': %s", vapi_words_at(words, 1), error) : NULL;
}

const char *vapi_read_set(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *name = vapi_words_at(words, 0), *error = check_name(name, cmd->pool);
    vapi_set_t *set;

    if (error) {
        return error;
    }
    if (!e->sets) {
        e->sets = apr_hash_make(cmd->pool);
    }
    set = apr_hash_get(e->sets, name, APR_HASH_KEY_STRING);
    if (!set) {
        set = vapi_set_make(name, cmd->pool);
        apr_hash_set(e->sets, vapi_set_name(set), APR_HASH_KEY_STRING, set);
    }
    return vapi_set_add(set, words, vapi_directive_place(cmd), cmd->pool, cmd->temp_pool);
}

/* ---- what goes out ---- */

/* What is the same for all; the rest is for the object to say. */
static void outgoing_env(cmd_parms *cmd, vapi_outgoing_env_t *env)
{
    memset(env, 0, sizeof(*env));
    env->secrets = vapi_directive_secrets(cmd);
    env->place = vapi_directive_place(cmd);
    env->server = cmd->server;
    env->p = cmd->pool;
    env->ptemp = cmd->temp_pool;
}

const char *vapi_read_lookup(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_outgoing_env_t env;
    vapi_lookup_t *lookup;
    const char *error;

    outgoing_env(cmd, &env);
    if ((error = vapi_lookup_make(&lookup, words, &env)) != NULL
        || (error = vapi_directive_claim(cmd, host, "lookup", vapi_lookup_name(lookup))) != NULL) {
        return error;
    }
    vapi_directive_warn_all(cmd, env.secrets.warnings);
    apr_hash_set(host->names.lookups, vapi_lookup_name(lookup), APR_HASH_KEY_STRING, lookup);
    return NULL;
}

const char *vapi_read_action(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_endpoint_t *e = conf;
    const char *name = vapi_words_at(words, 0), *error;
    vapi_outgoing_env_t env;
    vapi_action_t *action;

    if (e->actions && vapi_actions_have(e->actions, name)) {
        return apr_psprintf(cmd->pool, "'%s' is given twice in this section", name);
    }
    outgoing_env(cmd, &env);
    env.label = apr_pstrcat(cmd->pool, "action ", name, " ", e->section ? e->section : "", NULL);
    if ((error = vapi_action_make(&action, words, &env)) != NULL) {
        return error;
    }
    vapi_directive_warn_all(cmd, env.secrets.warnings);
    if (!e->actions) {
        e->actions = apr_array_make(cmd->pool, 4, sizeof(vapi_action_t *));
    }
    APR_ARRAY_PUSH(e->actions, vapi_action_t *) = action;
    return NULL;
}

/* ---- given once in a server ---- */

const char *vapi_read_decrypt(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_global_t *global = vapi_global();
    apr_array_header_t *paths = apr_array_make(cmd->pool, 4, sizeof(const char *));
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *file;
    int i;

    (void)conf;
    if (error || (error = vapi_directive_once(cmd, &global->decrypt_place)) != NULL) {
        return error;
    }
    if ((file = ap_server_root_relative(cmd->pool, vapi_words_at(words, 0))) == NULL) {
        return apr_psprintf(cmd->pool, "'%s' is no path", vapi_words_at(words, 0));
    }
    for (i = 1; i < words->positional->nelts; i++) {
        APR_ARRAY_PUSH(paths, const char *) = vapi_words_at(words, i);
    }
    return vapi_decrypt_make(&global->decrypt, file, paths, cmd->pool);
}

const char *vapi_read_spool(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_global_t *global = vapi_global();
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *sync = vapi_words_get(words, "sync"), *directory;
    int is_sync = 0;

    (void)conf;
    if (error || (error = vapi_directive_once(cmd, &global->spool_place)) != NULL) {
        return error;
    }
    if (sync && (error = vapi_word_flag(&is_sync, sync)) != NULL) {
        return apr_psprintf(cmd->pool, "sync=%s: must be %s", sync, error);
    }
    if ((directory = ap_server_root_relative(cmd->pool, vapi_words_at(words, 0))) == NULL) {
        return apr_psprintf(cmd->pool, "'%s' is no path", vapi_words_at(words, 0));
    }
    return vapi_spool_configure(&global->spool, directory, is_sync, cmd->pool);
}
