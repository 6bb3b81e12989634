/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * The handler vapi-console: who may ask, and which verb below its path answers: status.c, explain.c and, for those that change
 * something, console_verbs.c.
 *
 * Without VapiConsole it is for people at this machine alone. That they are there is seen by the connection, never believed of a
 * header or of mod_remoteip, and a request that a proxy on this machine relayed is somebody else's.
 */
#include <stddef.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_vhost.h>

#include "vapi_body.h"
#include "vapi_config.h"

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

/* ---- the verbs ---- */

typedef struct verb_t {
    const char *name;
    int method;
    int behind;                                            /* words of the path that follow it */
    const char *allow;
    int (*ask)(request_rec *r, int may_manage);
    int (*change)(request_rec *r, const char *rest);       /* one of the two; needs manage */
} verb_t;

/* Of two that a path may mean the first is meant: a member may be called as a verb is. */
static const verb_t verbs[] = {
    { "members", M_POST, 2, "POST", NULL, vapi_members },
    { "release", M_POST, 1, "POST", NULL, vapi_release },
    { "status", M_GET, 0, "GET, HEAD", vapi_status, NULL },
    { "explain", M_POST, 0, "POST", vapi_explain, NULL },
    { "forget", M_POST, 0, "POST", NULL, vapi_forget },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* Is this verb in its place, counted from the path's end? Then what is behind it, else NULL. */
static const char *match_verb(const verb_t *verb, const char *path)
{
    const char *at = path + strlen(path);
    apr_size_t len = strlen(verb->name);
    int behind;

    for (behind = verb->behind; behind > 0; behind--) {
        const char *end = at;

        while (at > path && at[-1] != '/') {
            at--;
        }
        if (at == end || at == path) {
            return NULL;
        }
        at--;
    }
    if ((apr_size_t)(at - path) <= len || at[-1 - (int)len] != '/' || strncmp(at - len, verb->name, len) != 0) {
        return NULL;
    }
    return *at ? at + 1 : at;
}

/* The console may stand at any path, so the verb is found from its end. One with another method only where no other is found. */
static const verb_t *find_verb(const request_rec *r, const char **rest)
{
    const verb_t *other = NULL;
    const char *behind;
    apr_size_t i;

    for (i = 0; i < VERBS; i++) {
        if ((behind = match_verb(&verbs[i], r->uri)) == NULL) {
            continue;
        }
        if (verbs[i].method == r->method_number) {
            *rest = behind;
            return &verbs[i];
        }
        other = other ? other : &verbs[i];
    }
    return other;
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
    const char *rest = "";
    const verb_t *verb = find_verb(r, &rest);
    int refused;

    if (right == VAPI_CONSOLE_UNSET && !is_at_this_machine(r)) {
        return refuse(r, HTTP_FORBIDDEN, "{\"error\":\"without VapiConsole the console answers only to its own machine\"}");
    }
    if (!is_own_host(r)) {
        return refuse(r, HTTP_FORBIDDEN, "{\"error\":\"the Host is no name or address of this virtual host\"}");
    }
    if (!verb) {
        return refuse(r, HTTP_NOT_FOUND,
                      "{\"error\":\"there is nothing here; the console has GET .../status, POST .../explain, "
                      ".../members/POOL/MEMBER, .../release/CALL and .../forget\"}");
    }
    if (r->method_number != verb->method) {
        apr_table_setn(r->err_headers_out, "Allow", verb->allow);
        return refuse(r, HTTP_METHOD_NOT_ALLOWED, apr_psprintf(r->pool, "{\"error\":\"%s takes %s\"}", verb->name, verb->allow));
    }
    if (verb->change && right != VAPI_CONSOLE_MANAGE) {
        return refuse(r, HTTP_FORBIDDEN, apr_psprintf(r->pool, "{\"error\":\"%s needs VapiConsole manage\"}", verb->name));
    }
    if (verb->method == M_POST && (refused = refuse_post(r)) != DECLINED) {
        return refused;
    }
    return verb->change ? verb->change(r, rest) : verb->ask(r, right == VAPI_CONSOLE_MANAGE);
}
