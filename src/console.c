/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The handler vapi-console: who may ask, and the verbs below its path. What it answers of itself is here; an explanation is made
 * in explain.c.
 *
 * Without VapiConsole it is for people at this machine alone. That they are there is seen by the connection, never believed of a
 * header or of mod_remoteip, and a request that a proxy on this machine relayed is somebody else's.
 */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_vhost.h>
#include <scoreboard.h>

#include "vapi_body.h"
#include "vapi_config.h"
#include "vapi_reply.h"
#include "vapi_shared.h"
#include "vapi_text.h"
#include "vapi_version.h"

APLOG_USE_MODULE(vapi_transfer);

int vapi_console_reply(request_rec *r, int status, const char *json)
{
    apr_size_t len = strlen(json);

    r->status = status;
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t)len);
    apr_table_setn(r->err_headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->err_headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->err_headers_out, "Content-Security-Policy", "default-src 'none'");
    if (!r->header_only) {
        ap_rwrite(json, (int)len, r);
    }
    return OK;
}

/* A refusal before a body was read: the connection is not kept, so that it need not be read either. */
static int refuse(request_rec *r, int status, const char *json)
{
    if (r->method_number != M_GET) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
    return vapi_console_reply(r, status, json);
}

/* ---- who asks ---- */

static int is_loopback(apr_sockaddr_t *address)
{
    char *ip;
    return apr_sockaddr_ip_get(&ip, address) == APR_SUCCESS && (strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0);
}

/* mod_remoteip takes the header away when it believes it: then the address that it made of it is no loopback address. */
static int is_at_this_machine(const request_rec *r)
{
    static const char *const relayed[] = { "Forwarded", "X-Forwarded-For", "Via" };
    apr_size_t i;

    for (i = 0; i < sizeof(relayed) / sizeof(relayed[0]); i++) {
        if (apr_table_get(r->headers_in, relayed[i])) {
            return 0;
        }
    }
    return is_loopback(r->connection->client_addr) && is_loopback(r->useragent_addr);
}

/* A page elsewhere whose name was made to point here (DNS rebinding) asks under that name. */
static int is_own_host(request_rec *r)
{
    const char *host = r->hostname;
    const server_addr_rec *address;

    if (!host || !*host) {
        return 0;
    }
    if (is_loopback(r->connection->client_addr)
        && (strcasecmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0)) {
        return 1;
    }
    for (address = r->server->addrs; address; address = address->next) {
        if (strcasecmp(host, address->virthost) == 0) {
            return 1;
        }
    }
    return strcasecmp(host, r->connection->local_ip) == 0 || ap_matches_request_vhost(r, host, r->server->port);
}

/* What a browser says of the page that asks. */
static int is_cross_site(request_rec *r)
{
    const char *site = apr_table_get(r->headers_in, "Sec-Fetch-Site"), *origin = apr_table_get(r->headers_in, "Origin");
    const char *host = apr_table_get(r->headers_in, "Host"), *of_origin;

    if (site && ap_find_token(r->pool, site, "cross-site")) {
        return 1;
    }
    if (!origin) {
        return 0;
    }
    of_origin = strstr(origin, "://");
    return !of_origin || !host || strcasecmp(of_origin + 3, host) != 0;
}

/* ---- status ---- */

static json_t *state_status(const vapi_global_t *global, apr_pool_t *p)
{
    static const char nobody[] = "vapi-console";    /* as good a key as any: what counts is that the store answers */
    vapi_claim_t claim;
    int ok = global->state
             && global->provider->recall(global->state, nobody, sizeof(nobody) - 1, &claim, p) == APR_SUCCESS;

    return json_pack("{s:s, s:b}", "provider", global->provider->name, "ok", ok);
}

/* null where the directory cannot be read: nobody should take that for an empty one. */
static json_t *spool_status(request_rec *r, const vapi_global_t *global)
{
    json_t *spool = json_pack("{s:i, s:I, s:i}", "waiting", 0, "delivered", (json_int_t)vapi_shared_deliveries(global->shared),
                              "set_aside", 0);
    int waiting, set_aside;
    apr_status_t rv;

    if (!global->spool) {
        return spool;
    }
    rv = vapi_spool_count(global->spool, &waiting, &set_aside);
    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, rv, r, "vapi: VapiSpool: %s cannot be read",
                      vapi_spool_directory(global->spool));
    }
    json_object_set_new(spool, "waiting", rv == APR_SUCCESS ? json_integer(waiting) : json_null());
    json_object_set_new(spool, "set_aside", rv == APR_SUCCESS ? json_integer(set_aside) : json_null());
    return spool;
}

static json_t *stale_files(const vapi_global_t *global, apr_pool_t *p)
{
    json_t *stale = json_array();
    int i;

    for (i = 0; global->stale && i < global->stale->nelts; i++) {
        json_array_append_new(stale, vapi_text_json(APR_ARRAY_IDX(global->stale, i, const char *), p));
    }
    return stale;
}

static int show_status(request_rec *r, int may_manage)
{
    const vapi_global_t *global = vapi_global();
    apr_interval_time_t up = apr_time_now() - ap_scoreboard_image->global->restart_time;
    json_t *status = json_pack("{s:s, s:I}", "version", VAPI_VERSION, "uptime", (json_int_t)(up > 0 ? apr_time_sec(up) : 0));
    const char *json;

    (void)may_manage;
    json_object_set_new(status, "state", state_status(global, r->pool));
    json_object_set_new(status, "spool", spool_status(r, global));
    json_object_set_new(status, "stale", stale_files(global, r->pool));
    json = vapi_reply_json(status, r->pool);
    json_decref(status);
    return vapi_console_reply(r, HTTP_OK, json);
}

/* ---- the verbs ---- */

typedef struct verb_t {
    const char *name;
    int method;
    const char *allow;
    int (*serve)(request_rec *r, int may_manage);
} verb_t;

static const verb_t verbs[] = { { "status", M_GET, "GET, HEAD", show_status }, { "explain", M_POST, "POST", vapi_explain } };

/* The console may stand at any path: its verb is what comes last. */
static const verb_t *find_verb(const char *path)
{
    const char *last = strrchr(path, '/');
    apr_size_t i;

    for (i = 0; last && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(last + 1, verbs[i].name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

/* Every POST is kept from pages of other sites, which could send one but for its type without asking. */
static int refuse_post(request_rec *r)
{
    if (is_cross_site(r)) {
        return refuse(r, HTTP_FORBIDDEN, "{\"error\":\"the console takes no request from a page of another site\"}");
    }
    if (!vapi_body_is_readable(r)) {
        return refuse(r, HTTP_UNSUPPORTED_MEDIA_TYPE, "{\"error\":\"the body must be application/json in UTF-8\"}");
    }
    return DECLINED;
}

int vapi_console(request_rec *r)
{
    vapi_console_right right = vapi_endpoint_of(r->per_dir_config)->console;
    const verb_t *verb = find_verb(r->uri);
    int refused;

    if (right == VAPI_CONSOLE_UNSET && !is_at_this_machine(r)) {
        return refuse(r, HTTP_FORBIDDEN, "{\"error\":\"without VapiConsole the console answers only to its own machine\"}");
    }
    if (!is_own_host(r)) {
        return refuse(r, HTTP_FORBIDDEN, "{\"error\":\"the Host is no name or address of this virtual host\"}");
    }
    if (!verb) {
        return refuse(r, HTTP_NOT_FOUND,
                      "{\"error\":\"there is nothing here; the console has GET .../status and POST .../explain\"}");
    }
    if (r->method_number != verb->method) {
        apr_table_setn(r->err_headers_out, "Allow", verb->allow);
        return refuse(r, HTTP_METHOD_NOT_ALLOWED, apr_psprintf(r->pool, "{\"error\":\"%s takes %s\"}", verb->name, verb->allow));
    }
    if (verb->method == M_POST && (refused = refuse_post(r)) != DECLINED) {
        return refused;
    }
    return verb->serve(r, right == VAPI_CONSOLE_MANAGE);
}
