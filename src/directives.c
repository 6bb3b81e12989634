/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The command table: every directive's name, form and help. A line is parted into words here, once and for all directives; what turns the
 * words into configuration stands in directives_named.c (things with a name), directives_pool.c and directives_endpoint.c.
 */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>

#include "directives.h"

APLOG_USE_MODULE(vapi_transfer);

/** What a directive's entry in the command table points at. */
typedef struct form_t {
    vapi_read_fn read;
    int min, max;                     /* positional words; max 0: any number */
    const vapi_key_rule_t *keys;      /* NULL: no keys, or checked by what reads them */
    int own_keys;
    int secret;                       /* a word of it is a secret: no error about the words' form quotes one */
} form_t;

/* ---- what the readers share ---- */

vapi_place_t vapi_directive_place(const cmd_parms *cmd)
{
    const vapi_endpoint_t *section = cmd->path ? vapi_endpoint_of(cmd->context) : NULL;
    vapi_place_t place = { cmd->directive->filename, (unsigned int)cmd->directive->line_num, NULL, NULL };

    place.references = section ? section->references : vapi_host_conf(cmd->server)->references;
    return place;
}

void vapi_directive_warn(cmd_parms *cmd, const char *text)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, cmd->server, "vapi: %s:%d: %s: %s", cmd->directive->filename, cmd->directive->line_num,
                 cmd->cmd->name, text);
}

void vapi_directive_warn_all(cmd_parms *cmd, const apr_array_header_t *warnings)
{
    int i;

    for (i = 0; i < warnings->nelts; i++) {
        vapi_directive_warn(cmd, APR_ARRAY_IDX(warnings, i, const char *));
    }
}

vapi_secret_env_t vapi_directive_secrets(cmd_parms *cmd)
{
    vapi_secret_env_t env;

    env.server_root = ap_server_root;
    env.process = cmd->server->process->pool;
    env.first_pass = ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG;
    env.warnings = apr_array_make(cmd->temp_pool, 2, sizeof(const char *));
    return env;
}

const char *vapi_directive_once(cmd_parms *cmd, vapi_place_t *place)
{
    if (place->file) {
        return apr_psprintf(cmd->pool, "is given twice; first in %s:%u", place->file, place->line);
    }
    *place = vapi_directive_place(cmd);
    return NULL;
}

const char *vapi_directive_claim(cmd_parms *cmd, vapi_host_conf_t *host, const char *class, const char *name)
{
    const char *key = apr_pstrcat(cmd->pool, class, " ", name, NULL);
    vapi_place_t *place = apr_hash_get(host->places, key, APR_HASH_KEY_STRING);

    if (place) {
        return apr_psprintf(cmd->pool, "'%s' is given twice; first in %s:%u", name, place->file, place->line);
    }
    place = apr_palloc(cmd->pool, sizeof(*place));
    *place = vapi_directive_place(cmd);
    apr_hash_set(host->places, key, APR_HASH_KEY_STRING, place);
    return NULL;
}

/* ---- the ways in ---- */

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
    return error ? apr_psprintf(cmd->pool, "%s: %s", cmd->cmd->name + (*cmd->cmd->name == '<'), error) : NULL;
}

static const char *host_directive(cmd_parms *cmd, void *unused, const char *args)
{
    (void)unused;
    return read_line(cmd, vapi_host_conf(cmd->server), args);
}

/* The words stand before the `>`. */
static const char *pool_directive(cmd_parms *cmd, void *unused, const char *args)
{
    const char *end = ap_strrchr_c(args, '>'), *error;

    (void)unused;
    if (!end || end[1 + strspn(end + 1, " \t")]) {
        return apr_pstrcat(cmd->pool, cmd->cmd->name, "> directive missing closing '>'", NULL);
    }
    error = read_line(cmd, vapi_host_conf(cmd->server), apr_pstrmemdup(cmd->temp_pool, args, (apr_size_t)(end - args)));
    return error ? error : vapi_read_pool_lines(cmd);
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
        e->place = vapi_directive_place(cmd);
    }
    return read_line(cmd, conf, args);
}

/* ---- the table ---- */

static const vapi_key_rule_t limit_keys[] = { { "call", 0 }, { "caller", 0 }, { "outbound", 0 }, { NULL, 0 } };
static const vapi_key_rule_t param_keys[] = { { "enum", 0 }, { NULL, 0 } };
static const vapi_key_rule_t map_keys[] = { { "default", 0 }, { NULL, 0 } };
static const vapi_key_rule_t signal_keys[] = { { "weight", 0 }, { NULL, 0 } };
static const vapi_key_rule_t spool_keys[] = { { "sync", 0 }, { NULL, 0 } };
static const vapi_key_rule_t api_key_keys[] = { { "url", 0 }, { NULL, 0 } };

static const form_t pool_form = { vapi_read_pool, 1, 0, NULL, 1, 0 };
static const form_t member_form = { vapi_read_member, 1, 0, NULL, 1, 0 };
static const form_t credential_form = { vapi_read_credential, 1, 0, NULL, 1, 0 };
static const form_t plan_form = { vapi_read_plan, 1, 0, NULL, 1, 0 };
static const form_t destination_form = { vapi_read_destination, 1, 0, NULL, 1, 0 };
static const form_t allow_form = { vapi_read_allow, 1, 0, NULL, 0, 0 };
static const form_t state_form = { vapi_read_state, 1, 1, NULL, 1, 0 };
static const form_t hours_form = { vapi_read_hours, 2, 0, NULL, 1, 0 };
static const form_t map_form = { vapi_read_map, 3, 3, map_keys, 0, 0 };
static const form_t signal_form = { vapi_read_signal, 2, 2, signal_keys, 0, 0 };
static const form_t set_form = { vapi_read_set, 2, 3, NULL, 0, 0 };
static const form_t lookup_form = { vapi_read_lookup, 1, 1, NULL, 1, 0 };
static const form_t action_form = { vapi_read_action, 2, 3, NULL, 1, 0 };
static const form_t decrypt_form = { vapi_read_decrypt, 2, 0, NULL, 0, 0 };
static const form_t spool_form = { vapi_read_spool, 1, 1, spool_keys, 0, 0 };
static const form_t authenticate_form = { vapi_read_authenticate, 1, 0, NULL, 0, 0 };
static const form_t tool_form = { vapi_read_tool, 1, 2, NULL, 0, 0 };
static const form_t param_form = { vapi_read_param, 2, 4, param_keys, 0, 0 };
static const form_t route_form = { vapi_read_route, 1, 0, NULL, 1, 0 };
static const form_t limit_form = { vapi_read_limit, 0, 0, limit_keys, 0, 0 };
static const form_t time_form = { vapi_read_time, 1, 1, NULL, 0, 0 };
static const form_t body_limit_form = { vapi_read_body_limit, 1, 1, NULL, 0, 0 };
static const form_t log_numbers_form = { vapi_read_log_numbers, 1, 1, NULL, 0, 0 };
static const form_t failure_say_form = { vapi_read_failure_say, 1, 1, NULL, 0, 0 };
static const form_t control_hosts_form = { vapi_read_control_hosts, 1, 0, NULL, 0, 0 };
static const form_t allow_private_form = { vapi_read_allow_private, 1, 1, NULL, 0, 0 };
static const form_t control_token_form = { vapi_read_control_token, 1, 1, NULL, 0, 1 };
static const form_t api_key_form = { vapi_read_api_key, 1, 1, api_key_keys, 0, 1 };
static const form_t ca_file_form = { vapi_read_ca_file, 1, 1, NULL, 0, 0 };
static const form_t console_form = { vapi_read_console, 1, 1, NULL, 0, 0 };
static const form_t proxy_form = { vapi_read_proxy, 1, 1, NULL, 0, 0 };

#define HOST(name, form, help)     AP_INIT_RAW_ARGS(name, host_directive, (void *)&(form), RSRC_CONF, help)
#define POOL(name, form, help)     AP_INIT_RAW_ARGS("<" name, pool_directive, (void *)&(form), RSRC_CONF, help)
#define ENDPOINT(name, form, help) AP_INIT_RAW_ARGS(name, endpoint_directive, (void *)&(form), RSRC_CONF | ACCESS_CONF, help)

const command_rec vapi_directives[] = {
    HOST("VapiCredential", credential_form,
         "NAME hmac|bearer secret=S [key=value ...]: how Vapi shows that a delivery is its own"),
    HOST("VapiTransferPlan", plan_form, "NAME MODE [key=value ...]: how a call is handed over to a number or SIP URI"),
    HOST("VapiDestination", destination_form, "NAME TARGET [key=value ...]: where a call can go"),
    POOL("VapiPool", pool_form,
         "NAME [strategy=least-busy] [lease=600] [wrap-up=0] [no-answer=60] [sticky=0]: people who take calls"),
    HOST("VapiMember", member_form,
         "NAME [TARGET] [capacity=N] [weight=N] [skills=a,b:3] [label=TEXT] [say=T] [plan=PLAN]: one of a <VapiPool>"),
    HOST("VapiAllow", allow_form, "[!]PREFIX|DOMAIN|USER@DOMAIN ...: what a target that is known only at run time may be"),
    HOST("VapiState", state_form, "shm[:SIZE] [file=PATH|none] [keep=86400], or redis[s]://...: where deliveries and leases are remembered"),
    HOST("VapiHours", hours_form, "NAME ZONE RANGE ... [closed=DATE,...] [open=\"DATE RANGE\"] [closed-file=FILE]: when somebody is there"),
    HOST("VapiMap", map_form, "a NAME, a FILE, and exact or prefix [default=VALUE]: values by key"),
    HOST("VapiSignal", signal_form, "a NAME and a REGEX [weight=N]: what is counted in the caller's turns"),
    ENDPOINT("VapiSet", set_form, "a NAME, a T and, in quotes, an expression: a value for var('NAME')"),
    HOST("VapiLookup", lookup_form, "NAME url=T|sql=STATEMENT [key=value ...]: what is asked of the customer's own systems"),
    ENDPOINT("VapiAction", action_form,
             "NAME EVENT [required] url=T|sql=STATEMENT|file=PATH [key=value ...]: what is done before or after a transfer"),
    HOST("VapiDecrypt", decrypt_form, "a private key's file and the PATHs of arguments that arrive encrypted"),
    HOST("VapiSpool", spool_form, "a DIRECTORY [sync=on|off]: where actions wait until they are delivered"),
    ENDPOINT("VapiAuthenticate", authenticate_form, "the NAME of a VapiCredential or several, or apache, or none"),
    ENDPOINT("VapiTool", tool_form, "a tool's NAME and, in quotes, its description: what is answered here"),
    ENDPOINT("VapiParam", param_form,
             "NAME string|number|integer|boolean|phone [required] [\"DESCRIPTION\"] [enum=a,b,c]: an argument of the VapiTool "
             "before it"),
    ENDPOINT("VapiRoute", route_form,
             "TARGET (a destination, pool:NAME, map:NAME[:T] or none) [EXPR] [plan=PLAN] [say=T] [skills=T] [leave=N] [result=T] "
             "[name=LABEL]: the first that is true and available is taken"),
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
    ENDPOINT("VapiConsole", console_form, "read or manage: what those may do at the console whom Require lets in"),
    ENDPOINT("VapiLogNumbers", log_numbers_form, "masked, full or none: telephone numbers in the log"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
