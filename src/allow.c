/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  allow.c
 * @brief VapiAllow: which numbers and SIP URIs a run-time target may be. What is not understood does not pass: a dialled number
 *        costs money.
 */
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "vapi_dial.h"

#define DIGITS "0123456789"

struct vapi_allow_t {
    const char *text;        /* as written */
    int refuses;
    const char *prefix;      /* `+1900`, else NULL */
    const char *user;        /* NULL: any user */
    const char *domain;      /* lower case; `.example.com` for `*.example.com` */
};

static const char *parse_prefix(vapi_allow_t *entry, const char *word)
{
    apr_size_t n = strspn(word + 1, DIGITS);

    if (n < 1 || n > 15 || word[1 + n]) {
        return "a prefix is + and 1 to 15 digits";
    }
    entry->prefix = word;
    return NULL;
}

/* Lets the URI's own rules check user and domain: the word must be all of a SIP URI but its scheme, and a `*.`. */
static const char *parse_address(vapi_allow_t *entry, const char *word, apr_pool_t *p)
{
    static const char wrong[] = "neither + and digits, nor a domain (pbx.example.com, *.example.com), nor USER@DOMAIN";
    const char *at = strchr(word, '@');
    const char *user = at ? apr_pstrmemdup(p, word, (apr_size_t)(at + 1 - word)) : "";
    const char *domain = at ? at + 1 : word;
    int wild = strncmp(domain, "*.", 2) == 0;
    const char *uri, *host, *rest;

    domain += wild ? 2 : 0;
    uri = apr_pstrcat(p, "sip:", user, domain, NULL);
    if (strchr(user, ':') || vapi_dial_check_sip(uri)) {
        return wrong;
    }
    vapi_dial_sip_parts(uri, &entry->user, &host, p);
    rest = domain + strlen(host);
    if ((*rest && strcmp(rest, ".") != 0) || (wild && (host[0] == '[' || host[strspn(host, DIGITS ".")] == '\0'))) {
        return wrong;
    }
    entry->domain = wild ? apr_pstrcat(p, ".", host, NULL) : host;
    return NULL;
}

const char *vapi_allow_parse(vapi_allow_t **out, const char *word, apr_pool_t *p)
{
    vapi_allow_t *entry = apr_pcalloc(p, sizeof(*entry));
    const char *error;

    entry->text = apr_pstrdup(p, word);
    entry->refuses = word[0] == '!';
    word = entry->text + entry->refuses;
    error = word[0] == '+' && !strchr(word, '@') ? parse_prefix(entry, word) : parse_address(entry, word, p);
    if (error) {
        return apr_psprintf(p, "'%.80s': %s", entry->text, error);
    }
    *out = entry;
    return NULL;
}

const char *vapi_allow_text(const vapi_allow_t *entry)
{
    return entry->text;
}

/* ---- matching: every function gives the length of the match, 0 for none ---- */

static apr_size_t match_number(const vapi_allow_t *entry, const char *number)
{
    apr_size_t len = entry->prefix ? strlen(entry->prefix) : 0;

    return len && strncmp(number, entry->prefix, len) == 0 ? len : 0;
}

static apr_size_t match_domain(const vapi_allow_t *entry, const char *host)
{
    apr_size_t len = strlen(host), listed = entry->domain ? strlen(entry->domain) : 0;

    if (listed && entry->domain[0] == '.') {
        return len > listed && strcmp(host + len - listed, entry->domain) == 0 ? listed : 0;
    }
    return listed && strcmp(host, entry->domain) == 0 ? listed + 1 : 0;
}

/* A user is compared by the letter where it opens the door, in any case where it shuts it: some exchanges fold case. */
static int match_user(const vapi_allow_t *entry, const char *user)
{
    if (!entry->user || !user) {
        return 0;
    }
    return entry->refuses ? strcasecmp(entry->user, user) == 0 : strcmp(entry->user, user) == 0;
}

typedef struct verdict_t {
    apr_size_t length;       /* of the longest match so far */
    int passes;
} verdict_t;

static void weigh(verdict_t *verdict, const vapi_allow_t *entry, apr_size_t length)
{
    if (length > verdict->length) {
        verdict->length = length;
        verdict->passes = !entry->refuses;
    }
    else if (length && length == verdict->length && entry->refuses) {
        verdict->passes = 0;
    }
}

/* `number` with a +, and without the separators that a person may write (RFC 3966). NULL if it holds anything but digits then. */
static const char *plain_number(const char *number, apr_pool_t *p)
{
    char *plain = apr_palloc(p, strlen(number) + 2);
    char *to = plain;

    *to++ = '+';
    for (number += *number == '+'; *number; number++) {
        if (apr_isdigit(*number)) {
            *to++ = *number;
        }
        else if (!strchr("-.()", *number)) {
            return NULL;
        }
    }
    *to = '\0';
    return plain[1] ? plain : NULL;
}

static int number_passes(const apr_array_header_t *allow, const char *number, apr_pool_t *p)
{
    const char *plain = plain_number(number, p);
    verdict_t verdict = { 0, 0 };
    int i;

    for (i = 0; plain && i < allow->nelts; i++) {
        const vapi_allow_t *entry = APR_ARRAY_IDX(allow, i, const vapi_allow_t *);

        weigh(&verdict, entry, match_number(entry, plain));
    }
    return verdict.passes;
}

/* Would an exchange take this user part for something to dial: digits with the signs around them, at least one digit? */
static int is_dialled(const char *user)
{
    return strpbrk(user, DIGITS) && user[strspn(user, DIGITS "+*#-.(),")] == '\0';
}

static int sip_passes(const apr_array_header_t *allow, const char *uri, apr_pool_t *p)
{
    verdict_t by_user = { 0, 0 }, by_domain = { 0, 0 };
    const char *user, *host;
    int i;

    if (vapi_dial_check_sip(uri) || vapi_dial_sip_has_param(uri, "maddr", p)) {
        return 0;
    }
    vapi_dial_sip_parts(uri, &user, &host, p);
    for (i = 0; i < allow->nelts; i++) {
        const vapi_allow_t *entry = APR_ARRAY_IDX(allow, i, const vapi_allow_t *);

        if (match_user(entry, user)) {
            weigh(&by_user, entry, match_domain(entry, host));
        }
        else if (!entry->user) {
            weigh(&by_domain, entry, match_domain(entry, host));
        }
    }
    if (by_user.length) {
        return by_user.passes;
    }
    if (!by_domain.passes || (user && strpbrk(user, ";@:?%<>\"\\ "))) {
        return 0;
    }
    return !user || !is_dialled(user) || number_passes(allow, user, p);
}

int vapi_allow_passes(const apr_array_header_t *allow, const char *target, apr_pool_t *p)
{
    if (!allow) {
        return 0;
    }
    if (vapi_dial_is_sip(target)) {
        return sip_passes(allow, target, p);
    }
    return vapi_dial_is_loose(target) && number_passes(allow, target, p);
}
