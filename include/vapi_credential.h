/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_credential.h
 * @brief Is this delivery from Vapi? Raw headers and bytes in, yes or a reason out (W60-W65). Knows no httpd request.
 */
#ifndef VAPI_CREDENTIAL_H
#define VAPI_CREDENTIAL_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "vapi_secret.h"
#include "vapi_word.h"

typedef struct vapi_credential_t vapi_credential_t;

typedef enum {
    VAPI_AUTH_OK = 0,
    VAPI_AUTH_NEEDS_BODY,          /* headers are in order; the signature is still to be held against the body */
    VAPI_AUTH_SIGNATURE_MISSING,   /* absent or empty */
    VAPI_AUTH_SIGNATURE_WRONG,     /* wrong form, or does not match */
    VAPI_AUTH_TIMESTAMP_STALE,     /* absent, unreadable, too old or too new */
    VAPI_AUTH_SECRET_WRONG         /* bearer: absent, empty or another */
} vapi_auth;

/** "signature-missing", ...; NULL for OK and NEEDS_BODY. Constant. */
const char *vapi_auth_reason(vapi_auth auth);

/** What a check needs of a delivery. `url` is what `{url}` stands for when the credential has no url= of its own. */
typedef struct vapi_auth_delivery_t {
    const apr_table_t *headers;
    const char *method;
    const char *url;               /* scheme://servername[:port]/path?query, made from ServerName, never from Host */
    const char *path_and_query;    /* "/path?query": appended to a url= without a path */
    apr_time_t now;                /* wall clock */
} vapi_auth_delivery_t;

/**
 * Makes a credential from the words of `VapiCredential NAME hmac|bearer key=value...` (words->positional[0] = NAME, [1] = kind).
 * Start-up only: secrets are read here (they may run a program). Lives in `p`; keys are freed and wiped by a cleanup of `p`, of a
 * bearer secret only its hash is kept.
 * @param env  env->warnings gets what to warn the administrator of (a literal secret, a file others may read, a time that is not
 *             signed)
 * @return NULL or what is wrong, without the directive's name; never quotes a secret
 */
const char *vapi_credential_make(vapi_credential_t **out, const vapi_words_t *words, const vapi_secret_env_t *env, apr_pool_t *p,
                                 apr_pool_t *ptemp);

const char *vapi_credential_name(const vapi_credential_t *c);

/** The header this credential's secret itself travels in (bearer), NULL for hmac. */
const char *vapi_credential_secret_header(const vapi_credential_t *c);

/** One line for -D DUMP_VAPI: every setting in force, secrets as `set`. */
const char *vapi_credential_describe(const vapi_credential_t *c, apr_pool_t *p);

/** What the headers alone say. bearer: OK or SECRET_WRONG; hmac: NEEDS_BODY or a refusal. Times are compared with d->now. */
vapi_auth vapi_credential_check_headers(const vapi_credential_t *c, const vapi_auth_delivery_t *d);

/** When a delivery says it was sent, by this credential's timestamp header. @return whether it says so in a way that can be read */
int vapi_credential_sent(apr_time_t *out, const vapi_credential_t *c, const vapi_auth_delivery_t *d);

/**
 * Holds the signature against the raw body; after NEEDS_BODY, with the same delivery. Constant time in the secret's part; every
 * secret is tried.
 * @return OK or SIGNATURE_WRONG
 */
vapi_auth vapi_credential_check_body(const vapi_credential_t *c, const vapi_auth_delivery_t *d, const char *body, apr_size_t len,
                                     apr_pool_t *p);

#endif
