/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_decrypt.h
 * @brief VapiDecrypt: tool arguments that arrive encrypted, RSA-OAEP with SHA-256 and MGF1-SHA-256, base64 (W67). Knows no httpd.
 */
#ifndef VAPI_DECRYPT_H
#define VAPI_DECRYPT_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <jansson.h>

typedef struct vapi_decrypt_t vapi_decrypt_t;

/**
 * Reads the key at start-up, before privileges drop: a PEM private RSA key of 2048 bits or more, without a passphrase. One that
 * group or others may read or write is refused (T63), and one that neither root nor the starting user owns.
 * @param paths  array of const char *: where in the arguments (`ssn`, `payment.cardNumber`, `/payment/cardNumber`)
 * @return NULL or what is wrong
 */
const char *vapi_decrypt_make(vapi_decrypt_t **out, const char *key_file, const apr_array_header_t *paths, apr_pool_t *p);

const apr_array_header_t *vapi_decrypt_paths(const vapi_decrypt_t *d);

/**
 * Opens the values at the paths. What is not there, null or an empty text is left alone; what is there and cannot be opened, in
 * whatever way, gives the same error: no telling padding from form.
 * @param arguments  an object; not changed
 * @param out        a new reference: the arguments with the values opened (as strings), or `arguments` itself with one reference
 *                   more where nothing stands at any path
 * @return NULL, or one constant-form line for the model that names the path ("The argument 'ssn' could not be read.")
 */
const char *vapi_decrypt_open(const vapi_decrypt_t *d, json_t *arguments, json_t **out, apr_pool_t *p);

#endif
