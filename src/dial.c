/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  dial.c
 * @brief The forms of numbers and SIP URIs, and how one is shown in a log.
 */
#include <string.h>

#include <arpa/inet.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "vapi_dial.h"

#define DIGITS     "0123456789"
#define ALPHA      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define UNRESERVED ALPHA DIGITS "-_.!~*'()"          /* RFC 3261, 25.1 */

#define MASK_SHOWN 4          /* digits a log may show, of a number with at least MASK_LEAST */
#define MASK_LEAST 8

/* ---- numbers ---- */

int vapi_dial_is_e164(const char *number)
{
    apr_size_t n;

    if (number[0] != '+' || number[1] < '1' || number[1] > '9') {
        return 0;
    }
    n = strspn(number + 1, DIGITS);
    return n >= 2 && n <= 15 && number[1 + n] == '\0';
}

int vapi_dial_is_loose(const char *number)
{
    apr_size_t len = strlen(number);
    apr_size_t plus = number[0] == '+';

    return len >= 3 && len <= 40 && strspn(number + plus, ALPHA DIGITS) == len - plus;
}

/* ---- SIP URIs ---- */

/* Where the parts of a URI lie in its text; a part that is absent has no `at`. */
typedef struct part_t {
    const char *at;
    apr_size_t len;
} part_t;

typedef struct sip_t {
    part_t user, password, host, port, params;
} sip_t;

int vapi_dial_is_sip(const char *target)
{
    return strncasecmp(target, "sip:", 4) == 0 || strncasecmp(target, "sips:", 5) == 0;
}

static part_t part(const char *from, const char *to)
{
    part_t made = { from, (apr_size_t)(to - from) };

    return made;
}

static void split_userinfo(sip_t *sip, const char *from, const char *at)
{
    const char *colon = memchr(from, ':', (apr_size_t)(at - from));

    sip->user = part(from, colon ? colon : at);
    if (colon) {
        sip->password = part(colon + 1, at);
    }
}

/* Splits without checking characters. An `@` cannot stand behind the one that ends the user part, escaped ones aside. */
static void split(sip_t *sip, const char *uri)
{
    const char *rest = strchr(uri, ':') + 1;
    const char *at = strchr(rest, '@');
    const char *end;

    memset(sip, 0, sizeof(*sip));
    if (at) {
        split_userinfo(sip, rest, at);
        rest = at + 1;
    }
    end = *rest == '[' ? rest + strcspn(rest, "]") : rest;
    end += strcspn(end, ":;");
    sip->host = part(rest, end);
    if (*end == ':') {
        rest = end + 1;
        end = rest + strcspn(rest, ";");
        sip->port = part(rest, end);
    }
    if (*end == ';') {
        sip->params = part(end, end + strlen(end));
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Does the part hold only characters of `set` and escapes of what is no control character? */
static int made_of(part_t text, const char *set)
{
    apr_size_t i;

    for (i = 0; i < text.len; i++) {
        int high, low, c;

        if (text.at[i] != '%') {
            if (text.at[i] == '\0' || !strchr(set, text.at[i])) {
                return 0;
            }
            continue;
        }
        high = i + 2 < text.len ? hex_value(text.at[i + 1]) : -1;
        low = i + 2 < text.len ? hex_value(text.at[i + 2]) : -1;
        c = high * 16 + low;
        if (high < 0 || low < 0 || c < 0x20 || c == 0x7f) {
            return 0;
        }
        i += 2;
    }
    return 1;
}

/* Labels of letters, digits and inner hyphens, the last one beginning with a letter; a dot may end it. */
static int is_hostname(const char *host)
{
    const char *label = host, *top = host;

    while (*label) {
        apr_size_t n = strspn(label, ALPHA DIGITS "-");

        if (n == 0 || n > 63 || label[0] == '-' || label[n - 1] == '-' || (label[n] && label[n] != '.')) {
            return 0;
        }
        top = label;
        label += n + (label[n] == '.');
    }
    return apr_isalpha(*top) && strlen(host) <= 254;
}

static int is_host(part_t host)
{
    struct in6_addr address;
    char text[256];

    if (host.len == 0 || host.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, host.at, host.len);
    text[host.len] = '\0';
    if (text[0] == '[') {
        if (text[host.len - 1] != ']') {
            return 0;
        }
        text[host.len - 1] = '\0';
        return inet_pton(AF_INET6, text + 1, &address) == 1;
    }
    return is_hostname(text) || inet_pton(AF_INET, text, &address) == 1;
}

static int is_port(part_t port)
{
    int n = 0;
    apr_size_t i;

    if (port.len < 1 || port.len > 5) {
        return 0;
    }
    for (i = 0; i < port.len; i++) {
        if (!apr_isdigit(port.at[i])) {
            return 0;
        }
        n = n * 10 + (port.at[i] - '0');
    }
    return n >= 1 && n <= 65535;
}

/* `;name` or `;name=value`, one behind the other. */
static int are_params(part_t params)
{
    static const char paramchar[] = UNRESERVED "[]/:&+$";
    const char *s = params.at, *end = params.at + params.len;

    while (s < end) {
        const char *from = s + 1;
        const char *to = memchr(from, ';', (apr_size_t)(end - from));
        const char *equals;

        to = to ? to : end;
        equals = memchr(from, '=', (apr_size_t)(to - from));
        if (from == (equals ? equals : to) || !made_of(part(from, equals ? equals : to), paramchar)) {
            return 0;
        }
        if (equals && (equals + 1 == to || !made_of(part(equals + 1, to), paramchar))) {
            return 0;
        }
        s = to;
    }
    return 1;
}

/* What no URI may hold at all, wherever it stands. */
static const char *check_characters(const char *uri)
{
    for (; *uri; uri++) {
        unsigned char c = (unsigned char)*uri;

        if (c <= 0x20 || c == 0x7f) {
            return "blanks and control characters are not allowed in a SIP URI";
        }
        if (c > 0x7f) {
            return "a SIP URI is ASCII; other characters are written %XX";
        }
        if (c == '?') {
            return "headers (?) are not allowed in a SIP URI";
        }
        if (c == '<' || c == '>') {
            return "a SIP URI stands without < and >";
        }
    }
    return NULL;
}

const char *vapi_dial_check_sip(const char *uri)
{
    const char *reason = check_characters(uri);
    sip_t sip;

    if (reason) {
        return reason;
    }
    if (!vapi_dial_is_sip(uri)) {
        return "a SIP URI begins with sip: or sips:";
    }
    if (strchr(uri, ':')[1] == '/') {
        return "a SIP URI has no // behind its scheme";
    }
    split(&sip, uri);
    if (sip.user.at && (sip.user.len == 0 || !made_of(sip.user, UNRESERVED "&=+$,;/"))) {
        return "the user part of the SIP URI is empty or holds characters that must be written %XX";
    }
    if (sip.password.at && !made_of(sip.password, UNRESERVED "&=+$,")) {
        return "the password of the SIP URI holds characters that must be written %XX";
    }
    if (!is_host(sip.host)) {
        return "the host of the SIP URI is neither a name nor an address";
    }
    if (sip.port.at && !is_port(sip.port)) {
        return "the port of the SIP URI is not from 1 to 65535";
    }
    if (sip.params.at && !are_params(sip.params)) {
        return "the parameters of the SIP URI are not of the form ;name=value";
    }
    return NULL;
}

static const char *decode(part_t text, apr_pool_t *p)
{
    char *decoded = apr_palloc(p, text.len + 1);
    char *to = decoded;
    apr_size_t i;

    for (i = 0; i < text.len; i++) {
        if (text.at[i] == '%') {
            *to++ = (char)(hex_value(text.at[i + 1]) * 16 + hex_value(text.at[i + 2]));
            i += 2;
        }
        else {
            *to++ = text.at[i];
        }
    }
    *to = '\0';
    return decoded;
}

void vapi_dial_sip_parts(const char *uri, const char **user, const char **host, apr_pool_t *p)
{
    char *name;
    sip_t sip;

    split(&sip, uri);
    *user = sip.user.at ? decode(sip.user, p) : NULL;
    *host = name = apr_pstrmemdup(p, sip.host.at, sip.host.len);
    if (name[sip.host.len - 1] == '.') {
        name[sip.host.len - 1] = '\0';
    }
    for (; *name; name++) {
        *name = (char)apr_tolower(*name);
    }
}

int vapi_dial_sip_has_param(const char *uri, const char *name, apr_pool_t *p)
{
    sip_t sip;
    const char *s, *end;

    split(&sip, uri);
    for (s = sip.params.at; s && *s; s = end) {
        end = s + 1 + strcspn(s + 1, ";");
        if (strcasecmp(decode(part(s + 1, s + 1 + strcspn(s + 1, "=;")), p), name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- logs ---- */

/* `***`, with the last digits behind it where `number` is one and long enough to stay unknown. */
static const char *mask_number(const char *number, apr_pool_t *p)
{
    char shown[MASK_SHOWN + 1];
    apr_size_t len = strlen(number), digits = 0, i;
    int left = MASK_SHOWN;

    for (i = 0; i < len; i++) {
        digits += apr_isdigit(number[i]) != 0;
    }
    if (digits < MASK_LEAST || strspn(number, DIGITS "+-.()") != len) {
        return "***";
    }
    shown[MASK_SHOWN] = '\0';
    while (left > 0) {
        if (apr_isdigit(number[--len])) {
            shown[--left] = number[len];
        }
    }
    return apr_pstrcat(p, "***", shown, NULL);
}

const char *vapi_dial_mask(const char *target, apr_pool_t *p)
{
    const char *user, *host;

    if (!vapi_dial_is_sip(target)) {
        return mask_number(target, p);
    }
    if (vapi_dial_check_sip(target)) {
        return "***";
    }
    vapi_dial_sip_parts(target, &user, &host, p);
    return apr_pstrcat(p, "sip:", mask_number(user ? user : "", p), "@", host, NULL);
}
