/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  decrypt.c
 * @brief Arguments that arrive encrypted. The parent reads the key, its children inherit it; no message tells why a value could
 *        not be opened.
 */
#include "vapi_decrypt.h"

#include <string.h>
#include <unistd.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_strings.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "vapi_payload.h"

#define FILE_MAX        65536
#define BITS_MIN        2048
#define BITS_MAX        16384                     /* of OpenSSL */
#define CIPHER_MAX      (BITS_MAX / 8)
#define OTHERS          (APR_FPROT_GREAD | APR_FPROT_GWRITE | APR_FPROT_WREAD | APR_FPROT_WWRITE)

struct vapi_decrypt_t {
    EVP_PKEY *key;
    apr_array_header_t *paths;      /* const char * */
};

/* ---- the key ---- */

static const char *status_text(apr_status_t rv, apr_pool_t *p)
{
    char text[120];

    return apr_pstrdup(p, apr_strerror(rv, text, sizeof(text)));
}

/* The mode as chmod writes it. */
static int octal(apr_fileperms_t protection)
{
    return (int)((protection >> 8 & 7) << 6 | (protection >> 4 & 7) << 3 | (protection & 7));
}

/* The open file is asked, not its path: what is read is what was looked at. */
static const char *check_file(apr_file_t *file, apr_pool_t *p)
{
    apr_finfo_t info;
    apr_status_t rv = apr_file_info_get(&info, APR_FINFO_TYPE | APR_FINFO_PROT | APR_FINFO_USER, file);

    if (rv != APR_SUCCESS) {
        return status_text(rv, p);
    }
    if (info.filetype != APR_REG) {
        return "not a regular file";
    }
    if (info.user != 0 && info.user != geteuid()) {
        return "neither root nor the user who starts the server owns it";
    }
    if (info.protection & OTHERS) {
        return apr_psprintf(p, "group or others may read or write it: its mode is %04o (chmod 600)", octal(info.protection));
    }
    return NULL;
}

/* Nobody is asked for a passphrase: a server starts without a terminal. */
static int refuse_passphrase(char *buffer, int size, int writing, void *asked)
{
    (void)buffer;
    (void)size;
    (void)writing;
    *(int *)asked = 1;
    return -1;
}

static const char *check_key(EVP_PKEY *key, int asked, apr_pool_t *p)
{
    if (asked) {
        return "it is protected by a passphrase (openssl pkey -in ... -out ... writes one without)";
    }
    if (!key) {
        return "it holds no private key in PEM";
    }
    if (EVP_PKEY_base_id(key) != EVP_PKEY_RSA) {
        return "its key is no RSA key";
    }
    if (EVP_PKEY_bits(key) < BITS_MIN || EVP_PKEY_bits(key) > BITS_MAX) {
        return apr_psprintf(p, "its key has %d bits, and must have %d to %d", EVP_PKEY_bits(key), BITS_MIN, BITS_MAX);
    }
    return NULL;
}

static const char *parse_key(EVP_PKEY **key, const char *pem, apr_size_t len, apr_pool_t *p)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    int asked = 0;
    const char *error;

    *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &asked) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    error = check_key(*key, asked, p);
    if (error) {
        EVP_PKEY_free(*key);
    }
    return error;
}

static const char *read_key(EVP_PKEY **key, const char *path, apr_pool_t *p)
{
    char pem[FILE_MAX];
    apr_size_t len = 0;
    apr_file_t *file;
    const char *error;
    apr_status_t rv = apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY | APR_FOPEN_NONBLOCK, APR_FPROT_OS_DEFAULT, p);

    if (rv != APR_SUCCESS) {
        return status_text(rv, p);
    }
    error = check_file(file, p);
    if (!error) {
        rv = apr_file_read_full(file, pem, sizeof(pem), &len);
        error = rv == APR_EOF ? parse_key(key, pem, len, p) : rv == APR_SUCCESS ? "it is longer than 64 KB" : status_text(rv, p);
        OPENSSL_cleanse(pem, sizeof(pem));
    }
    apr_file_close(file);
    return error;
}

static apr_status_t release(void *key)
{
    EVP_PKEY_free(key);
    return APR_SUCCESS;
}

/* A pointer's escapes are ~0 and ~1. */
static int is_path(const char *path)
{
    const char *escape = *path == '/' ? strchr(path, '~') : NULL;

    while (escape && (escape[1] == '0' || escape[1] == '1')) {
        escape = strchr(escape + 2, '~');
    }
    return *path && !escape;
}

const char *vapi_decrypt_make(vapi_decrypt_t **out, const char *key_file, const apr_array_header_t *paths, apr_pool_t *p)
{
    vapi_decrypt_t *d = apr_palloc(p, sizeof(*d));
    const char *error;
    int i;

    if (paths->nelts == 0) {
        return "no argument is named";
    }
    d->paths = apr_array_make(p, paths->nelts, sizeof(const char *));
    for (i = 0; i < paths->nelts; i++) {
        const char *path = APR_ARRAY_IDX(paths, i, const char *);

        if (!is_path(path)) {
            return apr_psprintf(p, "'%s' names no argument", path);
        }
        APR_ARRAY_PUSH(d->paths, const char *) = apr_pstrdup(p, path);
    }
    if ((error = read_key(&d->key, key_file, p)) != NULL) {
        return apr_psprintf(p, "the key file %s is refused: %s", key_file, error);
    }
    apr_pool_cleanup_register(p, d->key, release, apr_pool_cleanup_null);
    *out = d;
    return NULL;
}

const apr_array_header_t *vapi_decrypt_paths(const vapi_decrypt_t *d)
{
    return d->paths;
}

/* ---- opening ---- */

/* What the model left out is no value; everything else must open. */
static int is_nothing(const json_t *value)
{
    return !value || json_is_null(value) || (json_is_string(value) && json_string_length(value) == 0);
}

/* Standard base64 of exactly `size` bytes, and nothing beside it. `cipher` has room for CIPHER_MAX + 2. */
static int read_base64(unsigned char *cipher, apr_size_t size, const json_t *value)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *text = json_string_value(value);
    const apr_size_t padding = (3 - size % 3) % 3, len = (size + padding) / 3 * 4;
    int spare = 0;
    apr_size_t i;

    if (!text || json_string_length(value) != len || strspn(text, alphabet) != len - padding
        || strspn(text + len - padding, "=") != padding || EVP_DecodeBlock(cipher, (const unsigned char *)text, (int)len) < 0) {
        return 0;
    }
    for (i = 0; i < padding; i++) {
        spare |= cipher[size + i];
    }
    return spare == 0;
}

static int decrypt(EVP_PKEY *key, unsigned char *plain, size_t *len, const unsigned char *cipher, size_t size)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    const int opened = context && EVP_PKEY_decrypt_init(context) > 0
                       && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0
                       && EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) > 0
                       && EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) > 0
                       && EVP_PKEY_decrypt(context, plain, len, cipher, size) > 0;

    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return opened;
}

/* Puts the plain text where the cipher text stood: it must be UTF-8 without NUL. @return 0 where that cannot be */
static int open_value(EVP_PKEY *key, const json_t *value, json_t *opened)
{
    unsigned char cipher[CIPHER_MAX + 2], plain[CIPHER_MAX];
    const apr_size_t size = (apr_size_t)EVP_PKEY_size(key);
    size_t len = sizeof(plain);
    int done = 0;

    if (read_base64(cipher, size, value) && decrypt(key, plain, &len, cipher, size)) {
        done = !memchr(plain, '\0', len) && json_string_setn(opened, (const char *)plain, len) == 0;
    }
    OPENSSL_cleanse(plain, sizeof(plain));
    return done;
}

const char *vapi_decrypt_open(const vapi_decrypt_t *d, json_t *arguments, json_t **out, apr_pool_t *p)
{
    json_t *copy = NULL;
    int i;

    for (i = 0; i < d->paths->nelts; i++) {
        const char *path = APR_ARRAY_IDX(d->paths, i, const char *);
        const json_t *value = vapi_json_at(arguments, path, p);

        if (is_nothing(value)) {
            continue;
        }
        if (!copy && !(copy = json_deep_copy(arguments))) {
            return "The arguments could not be read.";
        }
        if (!open_value(d->key, value, vapi_json_at(copy, path, p))) {
            json_decref(copy);
            return apr_psprintf(p, "The argument '%s' could not be read.", path);
        }
    }
    *out = copy ? copy : json_incref(arguments);
    return NULL;
}
