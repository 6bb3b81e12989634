/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** What the readers of directives share. Private to directives.c, directives_named.c, directives_pool.c and directives_endpoint.c. */
#ifndef DIRECTIVES_H
#define DIRECTIVES_H

#include <stddef.h>

#include <httpd.h>
#include <http_config.h>

#include "vapi_config.h"
#include "vapi_secret.h"

/** Turns the words of one line into configuration. `conf` is the virtual host's record for a directive of a server, else the section's.
 * @return NULL or what is wrong, without the directive's name */
typedef const char *(*vapi_read_fn)(cmd_parms *cmd, void *conf, const vapi_words_t *words);

/** Where the directive stands, and where the names that it uses are noted: with its section, or with its virtual host. */
vapi_place_t vapi_directive_place(const cmd_parms *cmd);

void vapi_directive_warn(cmd_parms *cmd, const char *text);
void vapi_directive_warn_all(cmd_parms *cmd, const apr_array_header_t *warnings);

/** What reading a secret needs. */
vapi_secret_env_t vapi_directive_secrets(cmd_parms *cmd);

/** Given twice in the server? Notes where it stands the first time. @return NULL or what is wrong */
const char *vapi_directive_once(cmd_parms *cmd, vapi_place_t *place);

/** Notes where a named object stands; an error when this virtual host has it already. @return NULL or what is wrong */
const char *vapi_directive_claim(cmd_parms *cmd, vapi_host_conf_t *host, const char *class, const char *name);

/* Directives of directives_named.c ... */
const char *vapi_read_credential(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_plan(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_destination(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_allow(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_state(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_hours(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_map(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_signal(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_set(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_lookup(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_action(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_decrypt(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_spool(cmd_parms *cmd, void *conf, const vapi_words_t *words);

/* ... of directives_pool.c ... */
const char *vapi_read_pool(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_member(cmd_parms *cmd, void *conf, const vapi_words_t *words);
/** What stands between <VapiPool>, which was just read, and its end. @return NULL or what is wrong, with the directive's name */
const char *vapi_read_pool_lines(cmd_parms *cmd);

/* ... and of directives_endpoint.c. */
const char *vapi_read_authenticate(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_tool(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_param(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_route(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_time(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_body_limit(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_log_numbers(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_failure_say(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_control_hosts(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_allow_private(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_control_token(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_api_key(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_ca_file(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_proxy(cmd_parms *cmd, void *conf, const vapi_words_t *words);
const char *vapi_read_console(cmd_parms *cmd, void *conf, const vapi_words_t *words);

#endif
