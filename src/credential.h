/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  credential.h
 * @brief A credential from inside: what credential_make.c makes at start-up and credential.c holds a delivery against.
 */
#ifndef CREDENTIAL_H
#define CREDENTIAL_H

#include <openssl/evp.h>

#include "vapi_credential.h"

/* What the payload that is signed is put together from. */
typedef enum { PART_BODY, PART_TIMESTAMP, PART_METHOD, PART_URL, PART_ID, PART_TEXT } part_kind;

typedef struct part_t {
    part_kind kind;
    const char *text;                      /* of PART_TEXT */
    apr_size_t len;
} part_t;

typedef struct fingerprint_t {
    unsigned char bytes[32];               /* SHA-256 of a bearer secret; the secret itself is not kept */
} fingerprint_t;

struct vapi_credential_t {
    const char *name;
    const char *header;                    /* the signature or the bearer secret stands in it */
    int is_hmac;

    apr_array_header_t *fingerprints;      /* bearer: fingerprint_t */
    int has_scheme;                        /* bearer: `Bearer ` stands before the secret */

    apr_array_header_t *signers;           /* hmac: EVP_MD_CTX *, one a secret, ready to be copied; only ever read */
    const EVP_MD *md;
    apr_size_t digest_len;
    const char *preset, *algorithm;        /* as shown; preset NULL: none */
    const char *timestamp_header;          /* NULL: no time is sent */
    apr_interval_time_t tolerance;
    const char *payload;                   /* as written */
    apr_array_header_t *parts;             /* part_t: the payload, read */
    unsigned int uses;                     /* 1 << part_kind */
    const char *prefix;                    /* before a signature; "" for none */
    int is_base64, secret_is_base64;
    int several;                           /* signatures parted by blanks; those with another prefix are of other schemes */
    const char *id_header;                 /* NULL: none */
    const char *url;                       /* NULL: the delivery's own */
    int url_has_path;
};

/** Does the payload name this placeholder? */
int vapi_credential_uses(const vapi_credential_t *c, part_kind kind);

/** Is the SHA-256 of a secret made? */
int vapi_credential_fingerprint(fingerprint_t *out, const char *secret);

/**
 * Base64 in both alphabets, as Vapi's own runtime reads both. The padding may be left out, but neither be wrong nor hide bits.
 * @return bytes written to `out`, -1 for another form or for more than `max`
 */
int vapi_credential_base64(unsigned char *out, apr_size_t max, const char *text, apr_size_t len);

/** A time in seconds, in milliseconds (told by its magnitude) or in ISO 8601 (with Z or an offset). @return whether it is one */
int vapi_credential_time(apr_time_t *out, const char *text);

#endif
