/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* <VapiPool> and what stands in it. */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>

#include "directives.h"
#include "vapi_pool.h"

const char *vapi_read_pool(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    vapi_pool_t *pool;
    const char *error = vapi_pool_make(&pool, words, vapi_directive_place(cmd), cmd->pool);

    if (error || (error = vapi_directive_claim(cmd, host, "pool", vapi_pool_name(pool))) != NULL) {
        return error;
    }
    apr_hash_set(host->names.pools, vapi_pool_name(pool), APR_HASH_KEY_STRING, pool);
    host->open_pool = pool;
    return NULL;
}

/* IfDefine, IfModule and Include were followed when the tree was made: what they brought stands in their place. */
const char *vapi_read_pool_lines(cmd_parms *cmd)
{
    vapi_host_conf_t *host = vapi_host_conf(cmd->server);
    const ap_directive_t *line;
    const char *error;

    for (line = cmd->directive->first_child; line; line = line->next) {
        if (strcasecmp(line->directive, "VapiMember") != 0) {
            cmd->err_directive = line;
            return apr_psprintf(cmd->pool, "VapiPool %s: only VapiMember may stand inside, not %s%s", vapi_pool_name(host->open_pool),
                                line->directive, *line->directive == '<' ? ">" : "");
        }
    }
    error = ap_walk_config(cmd->directive->first_child, cmd, cmd->context);
    host->open_pool = NULL;
    return error;
}

const char *vapi_read_member(cmd_parms *cmd, void *conf, const vapi_words_t *words)
{
    vapi_host_conf_t *host = conf;
    apr_array_header_t *warnings = apr_array_make(cmd->temp_pool, 2, sizeof(const char *));
    const char *error;

    if (!host->open_pool) {
        return "stands inside a <VapiPool> only";
    }
    error = vapi_pool_add(host->open_pool, words, vapi_directive_place(cmd), host->names.members, warnings, cmd->pool, cmd->temp_pool);
    if (!error) {
        vapi_directive_warn_all(cmd, warnings);
    }
    return error;
}
