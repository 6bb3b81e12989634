/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Patterns and URLs are split by the same few rules, stricter than any URL parser's: what another reader could take for another
 * host (userinfo, backslash, percent sign, `0x7f.1`) is refused, not understood.
 */
#include "vapi_transfer.h"

#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define URL_MAX    2048
#define HOST_MAX   253
#define LABEL_MAX  63
#define LOGGED_MAX 100

typedef enum { HOST_NAME, HOST_IPV4, HOST_IPV6 } host_kind;

struct vapi_control_host_t {
    const char *text;       /* as written */
    const char *name;       /* lower case; an IPv6 literal in its one short form, without brackets */
    host_kind kind;
    int plain;              /* http:// */
    int below;              /* *.name: the names below it, not itself */
    int port;               /* 0: any */
};

/* "HOST[:PORT]", taken apart. */
typedef struct authority_t {
    const char *name;
    host_kind kind;
    const char *port;       /* NULL: none written */
} authority_t;

/* ---- What stands between "//" and the path ---- */

static const char *lower(const char *text, apr_size_t len, apr_pool_t *p)
{
    char *copy = apr_pstrmemdup(p, text, len), *at;

    for (at = copy; *at; at++) {
        *at = (char)apr_tolower(*at);
    }
    return copy;
}

static const char *check_labels(const char *name)
{
    apr_size_t len;

    for (;; name += len + 1) {
        len = strcspn(name, ".");
        if (len == 0) {
            return name[0] ? "empty label in the host" : "trailing dot in the host";
        }
        if (len > LABEL_MAX) {
            return "label of the host too long";
        }
        if (!name[len]) {
            return NULL;
        }
    }
}

/* Resolvers take a name with such a last label for an IPv4 address: 2130706433, 0x7f.1 */
static int ends_in_number(const char *name)
{
    const char *dot = strrchr(name, '.'), *label = dot ? dot + 1 : name;

    if (label[0] == '0' && label[1] == 'x') {
        return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
    }
    return label[strspn(label, "0123456789")] == '\0';
}

static const char *read_name(authority_t *out, const char *name)
{
    struct in_addr v4;
    const char *wrong;

    if (!*name) {
        return "no host";
    }
    if (strlen(name) > HOST_MAX) {
        return "host too long";
    }
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-")]) {
        return "character not allowed in the host";
    }
    if ((wrong = check_labels(name))) {
        return wrong;
    }
    out->name = name;
    out->kind = ends_in_number(name) ? HOST_IPV4 : HOST_NAME;
    if (out->kind == HOST_IPV4 && inet_pton(AF_INET, name, &v4) != 1) {
        return "odd form of an IP address";
    }
    return NULL;
}

static const char *read_ipv6(authority_t *out, const char *literal, apr_pool_t *p)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;

    if (inet_pton(AF_INET6, literal, &v6) != 1) {
        return "not an IPv6 address";
    }
    out->name = apr_pstrdup(p, inet_ntop(AF_INET6, &v6, text, sizeof(text)));
    out->kind = HOST_IPV6;
    return NULL;
}

/* `written` is in lower case. */
static const char *read_authority(authority_t *out, const char *written, apr_pool_t *p)
{
    const char *end = *written == '[' ? strchr(written, ']') : written + strcspn(written, ":");
    const char *host;

    if (!end) {
        return "no ] after an IPv6 address";
    }
    host = apr_pstrmemdup(p, written, (apr_size_t)(end - written));
    end += *end == ']';
    if (*end && *end != ':') {
        return "character not allowed in the host";
    }
    out->port = *end ? end + 1 : NULL;
    return *host == '[' ? read_ipv6(out, host + 1, p) : read_name(out, host);
}

/* 0: not a port. */
static int read_port(const char *text)
{
    apr_size_t len = strlen(text);
    long port;

    if (len == 0 || len > 5 || text[strspn(text, "0123456789")]) {
        return 0;
    }
    port = strtol(text, NULL, 10);
    return port <= 65535 ? (int)port : 0;
}

/* ---- Patterns ---- */

const char *vapi_control_host_parse(vapi_control_host_t **out, const char *pattern, apr_pool_t *p)
{
    vapi_control_host_t *host = apr_pcalloc(p, sizeof(*host));
    const char *written = lower(pattern, strlen(pattern), p), *wrong;
    authority_t authority = { NULL, HOST_NAME, NULL };

    host->text = apr_pstrdup(p, pattern);
    host->plain = strncmp(written, "http://", 7) == 0;
    written += host->plain ? 7 : 0;
    if (strncmp(written, "https://", 8) == 0) {
        return "https is what a pattern means without a scheme: write the host alone";
    }
    if (strchr(written, '/')) {
        return "a pattern is [http://]HOST[:PORT|:*], without a path";
    }
    host->below = strncmp(written, "*.", 2) == 0;
    written += host->below ? 2 : 0;
    if ((wrong = read_authority(&authority, written, p))) {
        return wrong;
    }
    if (host->below && authority.kind != HOST_NAME) {
        return "*. stands before a name, not before an IP address";
    }
    host->name = authority.name;
    host->kind = authority.kind;
    if (!authority.port) {
        host->port = host->plain ? 80 : 443;
    }
    else if (strcmp(authority.port, "*") != 0 && (host->port = read_port(authority.port)) == 0) {
        return "a port is a number from 1 to 65535, or *";
    }
    *out = host;
    return NULL;
}

const char *vapi_control_host_text(const vapi_control_host_t *host)
{
    return host->text;
}

static int is_host_of(const vapi_control_host_t *pattern, const authority_t *authority)
{
    apr_size_t whole = strlen(authority->name), part = strlen(pattern->name);

    if (pattern->kind != authority->kind) {
        return 0;
    }
    if (!pattern->below) {
        return strcmp(authority->name, pattern->name) == 0;
    }
    return whole > part + 1 && authority->name[whole - part - 1] == '.'
           && strcmp(authority->name + whole - part, pattern->name) == 0;
}

/* ---- URLs ---- */

static const char *check_characters(const char *url)
{
    const char *at;

    if (strnlen(url, URL_MAX + 1) > URL_MAX) {
        return "URL too long";
    }
    for (at = url; *at; at++) {
        if (*at <= ' ' || *at > '~' || strchr("\\\"<>^`{|}", *at)) {
            return "character not allowed in a URL";
        }
    }
    if (strchr(url, '#')) {
        return "fragment not allowed";
    }
    return strchr(url, '?') ? "query not allowed" : NULL;
}

/* The host for the log, also out of a URL that is refused. `written` is the authority, in lower case. */
static const char *for_log(const char *written, apr_pool_t *p)
{
    const char *at = strrchr(written, '@'), *end;

    written = at ? at + 1 : written;
    end = *written == '[' ? strchr(++written, ']') : written + strcspn(written, ":");
    if (!end || end == written || written + strspn(written, "abcdefghijklmnopqrstuvwxyz0123456789.:-") < end) {
        return "?";
    }
    return apr_pstrmemdup(p, written, end - written < LOGGED_MAX ? (apr_size_t)(end - written) : LOGGED_MAX);
}

/* The authority of an http or https URL, in lower case; NULL: it is neither. */
static const char *authority_of(const char *url, int *plain, apr_pool_t *p)
{
    *plain = strncasecmp(url, "http://", 7) == 0;
    if (!*plain && strncasecmp(url, "https://", 8) != 0) {
        return NULL;
    }
    url += *plain ? 7 : 8;
    return lower(url, strcspn(url, "/?#"), p);
}

static const char *match(const authority_t *authority, int plain, int port, const apr_array_header_t *hosts)
{
    const char *wrong = plain ? "not https" : "host not allowed";
    int i;

    for (i = 0; i < hosts->nelts; i++) {
        const vapi_control_host_t *pattern = APR_ARRAY_IDX(hosts, i, const vapi_control_host_t *);

        if (pattern->plain == plain && is_host_of(pattern, authority)) {
            if (pattern->port == 0 || pattern->port == port) {
                return NULL;
            }
            wrong = "port not allowed";
        }
    }
    return wrong;
}

const char *vapi_control_url_check(const char *url, const apr_array_header_t *hosts, const char **host, apr_pool_t *p)
{
    authority_t authority = { NULL, HOST_NAME, NULL };
    const char *wrong, *written;
    int plain, port;

    written = authority_of(url, &plain, p);
    if (host) {
        *host = written ? for_log(written, p) : "?";
    }
    if ((wrong = check_characters(url))) {
        return wrong;
    }
    if (!written) {
        return "not https";
    }
    if (strchr(written, '@')) {
        return "user name in the URL";
    }
    if ((wrong = read_authority(&authority, written, p))) {
        return wrong;
    }
    port = authority.port ? read_port(authority.port) : plain ? 80 : 443;
    return port ? match(&authority, plain, port, hosts) : "not a port";
}
