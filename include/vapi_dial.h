/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_dial.h
 * @brief Numbers and SIP URIs: their forms (W50, W51), which of them a run-time target may be (VapiAllow), and how one is shown
 *        in a log.
 */
#ifndef VAPI_DIAL_H
#define VAPI_DIAL_H

#include <apr_pools.h>
#include <apr_tables.h>

/** `^\+[1-9]\d{1,14}$` (W50). */
int vapi_dial_is_e164(const char *number);

/** With the E.164 check off: `^\+?[a-zA-Z0-9]+$`, 3 to 40 characters (W50). */
int vapi_dial_is_loose(const char *number);

/** Does this begin with `sip:` or `sips:`, in any case? */
int vapi_dial_is_sip(const char *target);

/**
 * `sip:`/`sips:` [user[:password]@]host[:port][;params] by RFC 3261 (W51); the host is a name, an IPv4 address or an IPv6 address
 * in brackets. `?headers`, `<>`, blanks, control characters (also percent-encoded ones) and non-ASCII characters are refused.
 * @return NULL or a constant reason
 */
const char *vapi_dial_check_sip(const char *uri);

/**
 * Host (lower case, no trailing dot, IPv6 in brackets) and user (percent-decoded; NULL if none; a password is no part of it) of a
 * URI that vapi_dial_check_sip passed.
 */
void vapi_dial_sip_parts(const char *uri, const char **user, const char **host, apr_pool_t *p);

/** Has the URI, which vapi_dial_check_sip passed, a parameter of this name (compared as it is read: decoded, in any case)? */
int vapi_dial_sip_has_param(const char *uri, const char *name, apr_pool_t *p);

typedef struct vapi_allow_t vapi_allow_t;    /* one entry of VapiAllow */

/**
 * One word of VapiAllow: `[!]PREFIX` (+ and digits), `[!]DOMAIN` (`pbx.example.com`, `*.example.com`), `[!]USER@DOMAIN`.
 * @return NULL or what is wrong
 */
const char *vapi_allow_parse(vapi_allow_t **out, const char *word, apr_pool_t *p);
const char *vapi_allow_text(const vapi_allow_t *entry);

/**
 * May a run-time target be dialled? Longest match wins, `!` refuses (also beside an equal entry without it), no match refuses. An
 * entry with a user beats every one without. A SIP URI passes by its domain and, when its user part is made of dial characters,
 * only if that number passes too (without + it is tried with one; `-`, `.`, `(`, `)` are left out) or USER@DOMAIN is listed. Only
 * if USER@DOMAIN is listed passes a user part with parameters (`+1415;phone-context=...`) or with a delimiter hidden by a
 * percent-escape. A URI with `maddr` passes never: it is sent there, not to its domain.
 * @param allow  array of vapi_allow_t *, NULL or empty: nothing passes
 */
int vapi_allow_passes(const apr_array_header_t *allow, const char *target, apr_pool_t *p);

/**
 * A number or URI for a log: `***0100` (the last four digits if it has at least eight, else `***`); a SIP URI as `sip:***@host`
 * with a numeric user's last four kept. Anything else is `***`.
 */
const char *vapi_dial_mask(const char *target, apr_pool_t *p);

#endif
