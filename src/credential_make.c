/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  credential_make.c
 * @brief Makes credentials at start-up: keys, the payload's parts and header names are ready, and checked, before the first
 *        delivery. And shows them.
 */
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/crypto.h>

#include "credential.h"

#define TOLERANCE_MAX  (APR_USEC_PER_SEC * 86400)

static const char *const placeholders[] = {
    [PART_BODY] = "body", [PART_TIMESTAMP] = "timestamp", [PART_METHOD] = "method", [PART_URL] = "url",
    [PART_ID] = "svix-id", [PART_TEXT] = NULL
};

/* What is in force where the administrator says nothing. */
typedef struct preset_t {
    const char *header, *timestamp_header, *payload, *prefix, *encoding, *secret_encoding, *id_header;
    int several;
} preset_t;

static const char *const preset_names[] = { "body-only", "standard-webhooks", NULL };

static const preset_t no_preset = { "x-signature", "x-timestamp", NULL, "", "hex", "plain", NULL, 0 };
static const preset_t presets[] = {
    { "x-vapi-signature", "none", NULL, "", "hex", "plain", NULL, 0 },
    { "webhook-signature", "webhook-timestamp", "{svix-id}.{timestamp}.{body}", "v1,", "base64", "base64", "webhook-id", 1 },
};

static const vapi_key_rule_t hmac_keys[] = {
    { "secret", 1 }, { "algorithm", 0 }, { "header", 0 }, { "timestamp-header", 0 }, { "tolerance", 0 }, { "payload", 0 },
    { "prefix", 0 }, { "encoding", 0 }, { "secret-encoding", 0 }, { "id-header", 0 }, { "url", 0 }, { "preset", 0 }, { NULL, 0 }
};
static const vapi_key_rule_t bearer_keys[] = { { "secret", 1 }, { "header", 0 }, { "prefix", 0 }, { NULL, 0 } };

static const char *const kinds[] = { "hmac", "bearer", NULL };
static const char *const algorithms[] = { "sha256", "sha512", "sha1", NULL };
static const char *const encodings[] = { "hex", "base64", NULL };
static const char *const secret_encodings[] = { "plain", "base64", NULL };
static const char *const schemes[] = { "Bearer", "none", NULL };

/* ---- making one ---- */

static const char *given(const vapi_words_t *words, const char *key, const char *otherwise)
{
    const char *value = vapi_words_get(words, key);

    return value ? value : otherwise;
}

/* The index of a key's value among its choices. @return NULL or what is wrong */
static const char *choose(int *out, const vapi_words_t *words, const char *key, const char *otherwise, const char *const *choices,
                          apr_pool_t *p)
{
    const char *error;

    *out = vapi_word_choice(given(words, key, otherwise), choices, &error, p);
    return *out < 0 ? apr_pstrcat(p, key, ": ", error, NULL) : NULL;
}

/* A header's name: a token of HTTP. @return NULL or what is wrong */
static const char *take_header(const char **out, const char *key, const char *name, apr_pool_t *p)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    const char *s = name;

    while (*s && apr_isascii(*s) && (apr_isalnum(*s) || strchr(others, *s))) {
        s++;
    }
    if (s == name || *s) {
        return apr_psprintf(p, "%s: '%.40s' is no name of an HTTP header", key, name);
    }
    *out = apr_pstrdup(p, name);
    return NULL;
}

static const char *add_placeholder(vapi_credential_t *c, const char *name, apr_pool_t *p)
{
    const char *error;
    int kind = vapi_word_choice(name, placeholders, &error, p);
    part_t *part;

    if (kind < 0) {
        return apr_pstrcat(p, "payload: the placeholder ", error, NULL);
    }
    part = apr_array_push(c->parts);
    part->kind = (part_kind)kind;
    c->uses |= 1u << kind;
    return NULL;
}

static void add_text(vapi_credential_t *c, const char *text, apr_size_t len)
{
    if (len) {
        part_t *part = apr_array_push(c->parts);

        part->kind = PART_TEXT;
        part->text = text;
        part->len = len;
    }
}

static const char *read_parts(vapi_credential_t *c, apr_pool_t *p)
{
    const char *s = c->payload;

    c->parts = apr_array_make(p, 6, sizeof(part_t));
    while (*s) {
        apr_size_t len = strcspn(s, "{");
        const char *close = strchr(s + len, '}'), *error;

        add_text(c, s, len);
        s += len;
        if (*s == '\0') {
            break;
        }
        if (!close) {
            return apr_psprintf(p, "payload: '%.80s': a { lacks its }", c->payload);
        }
        error = add_placeholder(c, apr_pstrmemdup(p, s + 1, (apr_size_t)(close - s - 1)), p);
        if (error) {
            return error;
        }
        s = close + 1;
    }
    return NULL;
}

static void warn(const vapi_secret_env_t *env, const char *text)
{
    APR_ARRAY_PUSH(env->warnings, const char *) = text;
}

static const char *make_payload(vapi_credential_t *c, const vapi_words_t *words, const preset_t *preset, const vapi_secret_env_t *env,
                                apr_pool_t *p)
{
    const char *otherwise = preset->payload ? preset->payload : c->timestamp_header ? "{timestamp}.{body}" : "{body}";
    const char *error;

    c->payload = apr_pstrdup(p, given(words, "payload", otherwise));
    error = read_parts(c, p);
    if (error) {
        return error;
    }
    if (!vapi_credential_uses(c, PART_BODY)) {
        return "payload: without {body} nothing of what is said would be signed";
    }
    if (vapi_credential_uses(c, PART_TIMESTAMP) && !c->timestamp_header) {
        return "payload: {timestamp} needs a timestamp-header";
    }
    if (vapi_credential_uses(c, PART_ID) && !c->id_header) {
        return "payload: {svix-id} needs an id-header";
    }
    if (c->timestamp_header && !vapi_credential_uses(c, PART_TIMESTAMP)) {
        warn(env, "payload: without {timestamp} the time is not signed and anybody may renew it");
    }
    if (vapi_words_get(words, "url") && !vapi_credential_uses(c, PART_URL)) {
        warn(env, "url: is not used, as the payload has no {url}");
    }
    if (vapi_words_get(words, "id-header") && !vapi_credential_uses(c, PART_ID)) {
        warn(env, "id-header: is not used, as the payload has no {svix-id}");
    }
    return NULL;
}

static const char *make_url(vapi_credential_t *c, const vapi_words_t *words, apr_pool_t *p)
{
    const char *url = vapi_words_get(words, "url");
    const char *s = url, *host;

    if (!url) {
        return NULL;
    }
    host = strncasecmp(url, "http://", 7) == 0 ? url + 7 : strncasecmp(url, "https://", 8) == 0 ? url + 8 : "";
    while (*s > ' ' && *s < 0x7f && *s != '#') {
        s++;
    }
    if (*s || strcspn(host, "/?") == 0) {
        return "url: an absolute URL that begins http:// or https:// is expected, without blanks and #";
    }
    c->url = apr_pstrdup(p, url);
    c->url_has_path = host[strcspn(host, "/?")] != '\0';
    return NULL;
}

static apr_status_t free_signer(void *signer)
{
    EVP_MD_CTX_free(signer);
    return APR_SUCCESS;
}

/* Made ready once: a delivery copies it, which costs half of what setting up an HMAC does. */
static const char *add_key(vapi_credential_t *c, const unsigned char *bytes, apr_size_t len, apr_pool_t *p)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, bytes, len);
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    int made = key && signer && EVP_DigestSignInit(signer, NULL, c->md, NULL, key) == 1;

    EVP_PKEY_free(key);    /* the signer holds it */
    if (!made) {
        EVP_MD_CTX_free(signer);
        return "secret: OpenSSL makes no key of it";
    }
    apr_pool_cleanup_register(p, signer, free_signer, apr_pool_cleanup_null);
    APR_ARRAY_PUSH(c->signers, EVP_MD_CTX *) = signer;
    return NULL;
}

static const char *add_hmac_secret(vapi_credential_t *c, const char *secret, apr_pool_t *p, apr_pool_t *ptemp)
{
    unsigned char *bytes;
    const char *error;
    apr_size_t len;
    int n;

    if (!c->secret_is_base64) {
        return add_key(c, (const unsigned char *)secret, strlen(secret), p);
    }
    if (c->several && strncmp(secret, "whsec_", 6) == 0) {
        secret += 6;
    }
    len = strlen(secret);
    bytes = apr_palloc(ptemp, len + 1);
    n = vapi_credential_base64(bytes, len, secret, len);
    error = n > 0 ? add_key(c, bytes, (apr_size_t)n, p) : n == 0 ? "secret: is empty" : "secret: is not base64";
    OPENSSL_cleanse(bytes, len + 1);
    return error;
}

static const char *add_bearer_secret(vapi_credential_t *c, const char *secret)
{
    return vapi_credential_fingerprint(apr_array_push(c->fingerprints), secret) ? NULL : "secret: OpenSSL makes no hash of it";
}

static const char *make_secrets(vapi_credential_t *c, const vapi_words_t *words, const vapi_secret_env_t *env, apr_pool_t *p,
                                apr_pool_t *ptemp)
{
    int i, found = 0;

    c->signers = apr_array_make(p, 2, sizeof(EVP_MD_CTX *));
    c->fingerprints = apr_array_make(p, 2, sizeof(fingerprint_t));
    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        const char *secret, *error;

        if (strcmp(key->name, "secret") != 0) {
            continue;
        }
        found = 1;
        error = vapi_secret_read(&secret, key->value, "secret", env, ptemp, ptemp);
        if (!error) {
            error = c->is_hmac ? add_hmac_secret(c, secret, p, ptemp) : add_bearer_secret(c, secret);
        }
        if (error) {
            return error;
        }
    }
    return found ? NULL : "secret= is missing";
}

static const char *take_preset(const preset_t **out, vapi_credential_t *c, const vapi_words_t *words, apr_pool_t *p)
{
    const char *error;
    int i;

    *out = &no_preset;
    if (!vapi_words_get(words, "preset")) {
        return NULL;
    }
    error = choose(&i, words, "preset", "", preset_names, p);
    if (!error) {
        *out = &presets[i];
        c->preset = preset_names[i];
        c->several = presets[i].several;
    }
    return error;
}

static const char *make_algorithm(vapi_credential_t *c, const vapi_words_t *words, const preset_t *preset, apr_pool_t *p)
{
    const EVP_MD *const mds[] = { EVP_sha256(), EVP_sha512(), EVP_sha1() };
    const char *error;
    int i = 0;

    error = choose(&i, words, "algorithm", "sha256", algorithms, p);
    if (!error) {
        c->algorithm = algorithms[i];
        c->md = mds[i];
        c->digest_len = (apr_size_t)EVP_MD_size(c->md);
        error = choose(&c->is_base64, words, "encoding", preset->encoding, encodings, p);
    }
    return error ? error : choose(&c->secret_is_base64, words, "secret-encoding", preset->secret_encoding, secret_encodings, p);
}

static const char *make_headers(vapi_credential_t *c, const vapi_words_t *words, const preset_t *preset, apr_pool_t *p)
{
    const char *timestamp = given(words, "timestamp-header", preset->timestamp_header);
    const char *id = given(words, "id-header", preset->id_header);
    const char *tolerance = given(words, "tolerance", "300");
    const char *error = take_header(&c->header, "header", given(words, "header", preset->header), p);

    if (!error && strcmp(timestamp, "none") != 0) {
        error = take_header(&c->timestamp_header, "timestamp-header", timestamp, p);
    }
    if (!error && id) {
        error = take_header(&c->id_header, "id-header", id, p);
    }
    if (!error) {
        error = vapi_word_time(&c->tolerance, tolerance, APR_USEC_PER_SEC, TOLERANCE_MAX, p);
        error = error ? apr_psprintf(p, "tolerance: '%.40s' must be %s", tolerance, error) : NULL;
    }
    return error;
}

static const char *make_hmac(vapi_credential_t *c, const vapi_words_t *words, const vapi_secret_env_t *env, apr_pool_t *p)
{
    const preset_t *preset;
    const char *error = take_preset(&preset, c, words, p);

    if (!error) {
        error = make_algorithm(c, words, preset, p);
    }
    if (!error) {
        error = make_headers(c, words, preset, p);
    }
    if (!error) {
        error = make_payload(c, words, preset, env, p);
    }
    if (!error) {
        error = make_url(c, words, p);
    }
    c->prefix = apr_pstrdup(p, given(words, "prefix", preset->prefix));
    return error;
}

static const char *make_bearer(vapi_credential_t *c, const vapi_words_t *words, apr_pool_t *p)
{
    int scheme = 0;
    const char *error = choose(&scheme, words, "prefix", "Bearer", schemes, p);

    c->has_scheme = scheme == 0;
    return error ? error : take_header(&c->header, "header", given(words, "header", "Authorization"), p);
}

const char *vapi_credential_make(vapi_credential_t **out, const vapi_words_t *words, const vapi_secret_env_t *env, apr_pool_t *p,
                                 apr_pool_t *ptemp)
{
    vapi_credential_t *c = apr_pcalloc(p, sizeof(*c));
    const char *error;
    int kind;

    if (words->positional->nelts != 2) {
        return "expected is NAME hmac|bearer secret=...";
    }
    c->name = apr_pstrdup(p, vapi_words_at(words, 0));
    if (!vapi_word_is_name(c->name)) {
        return apr_psprintf(p, "'%.40s' is no NAME: a letter, then letters, digits, _ and -", c->name);
    }
    if (strcmp(c->name, "none") == 0 || strcmp(c->name, "apache") == 0) {
        return apr_psprintf(p, "'%s' is a word of VapiAuthenticate: name the credential otherwise", c->name);
    }
    kind = vapi_word_choice(vapi_words_at(words, 1), kinds, &error, p);
    if (kind < 0) {
        return error;
    }
    c->is_hmac = kind == 0;
    error = vapi_words_check(words, c->is_hmac ? hmac_keys : bearer_keys, p);
    if (!error) {
        error = c->is_hmac ? make_hmac(c, words, env, p) : make_bearer(c, words, p);
    }
    if (!error) {
        error = make_secrets(c, words, env, p, ptemp);
    }
    if (!error) {
        *out = c;
    }
    return error;
}

/* ---- showing one ---- */

static const char *shown(const char *key, const char *value, apr_pool_t *p)
{
    return value ? vapi_word_pair(key, value, p) : "";
}

static const char *shown_secrets(int count, apr_pool_t *p)
{
    const char *text = "";

    while (count-- > 0) {
        text = apr_pstrcat(p, text, " secret=set", NULL);
    }
    return text;
}

/* A public URL may carry a password or a token. */
static const char *shown_url(const char *url)
{
    return url && strpbrk(url, "@?") ? "set" : url;
}

static const char *describe_hmac(const vapi_credential_t *c, apr_pool_t *p)
{
    const char *tolerance = apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(c->tolerance));
    const char *time = apr_pstrcat(p, shown("timestamp-header", c->timestamp_header ? c->timestamp_header : "none", p),
                                   shown("tolerance", c->timestamp_header ? tolerance : NULL, p), NULL);

    return apr_pstrcat(p, c->name, " hmac", shown_secrets(c->signers->nelts, p), shown("preset", c->preset, p),
                       shown("algorithm", c->algorithm, p), shown("header", c->header, p), time, shown("payload", c->payload, p),
                       shown("prefix", *c->prefix ? c->prefix : NULL, p), shown("encoding", encodings[c->is_base64], p),
                       shown("secret-encoding", secret_encodings[c->secret_is_base64], p), shown("id-header", c->id_header, p),
                       shown("url", shown_url(c->url), p), NULL);
}

const char *vapi_credential_describe(const vapi_credential_t *c, apr_pool_t *p)
{
    if (c->is_hmac) {
        return describe_hmac(c, p);
    }
    return apr_pstrcat(p, c->name, " bearer", shown_secrets(c->fingerprints->nelts, p), shown("header", c->header, p),
                       shown("prefix", schemes[!c->has_scheme], p), NULL);
}
