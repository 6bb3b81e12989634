/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  credential.c
 * @brief Is this delivery from Vapi? Headers first, so that most of what is not costs no body.
 */
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <openssl/crypto.h>

#include "credential.h"

#define DIGEST_MAX      64                 /* bytes of sha512 */
#define SIGNATURES_MAX  16                 /* of one delivery: rotation needs two */

const char *vapi_auth_reason(vapi_auth auth)
{
    switch (auth) {
    case VAPI_AUTH_SIGNATURE_MISSING:
        return "signature-missing";
    case VAPI_AUTH_SIGNATURE_WRONG:
        return "signature-wrong";
    case VAPI_AUTH_TIMESTAMP_STALE:
        return "timestamp-stale";
    case VAPI_AUTH_SECRET_WRONG:
        return "secret-wrong";
    default:
        return NULL;
    }
}

const char *vapi_credential_name(const vapi_credential_t *c)
{
    return c->name;
}

const char *vapi_credential_secret_header(const vapi_credential_t *c)
{
    return c->is_hmac ? NULL : c->header;
}

int vapi_credential_uses(const vapi_credential_t *c, part_kind kind)
{
    return (c->uses >> kind & 1u) != 0;
}

/* ---- hex and base64 ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* @return bytes written to `out`, -1 for another form or for more than `max` */
static int decode_hex(unsigned char *out, apr_size_t max, const char *text, apr_size_t len)
{
    apr_size_t i;

    if (len % 2 || len / 2 > max) {
        return -1;
    }
    for (i = 0; i < len; i += 2) {
        int high = hex_value(text[i]), low = hex_value(text[i + 1]);

        if (high < 0 || low < 0) {
            return -1;
        }
        out[i / 2] = (unsigned char)(high << 4 | low);
    }
    return (int)(len / 2);
}

int vapi_credential_base64(unsigned char *out, apr_size_t max, const char *text, apr_size_t len)
{
    unsigned int bits = 0;
    int have = 0;
    apr_size_t used = 0, i;

    if (len % 4 == 0) {
        len -= len && text[len - 1] == '=';
        len -= len % 4 == 3 && text[len - 1] == '=';
    }
    if (len % 4 == 1 || len / 4 * 3 + len % 4 * 3 / 4 > max) {
        return -1;
    }
    for (i = 0; i < len; i++) {
        int value = base64_value(text[i]);

        if (value < 0) {
            return -1;
        }
        bits = (bits << 6 | (unsigned int)value) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[used++] = (unsigned char)(bits >> have);
        }
    }
    return (bits & ((1u << have) - 1)) ? -1 : (int)used;
}

/* ---- times ---- */

/* Exactly `width` digits at *s, which moves behind them. @return their value, -1 for anything else */
static int read_field(const char **s, int width)
{
    int value = 0;

    while (width-- > 0) {
        if (!apr_isdigit(**s)) {
            return -1;
        }
        value = value * 10 + (*(*s)++ - '0');
    }
    return value;
}

static int skip(const char **s, char expected)
{
    return **s == expected ? (*s)++, 1 : 0;
}

static int days_of(int year, int month)
{
    static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

    return days[month - 1] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* `Z`, `+01:00` or `+0100` up to the end. */
static int read_offset(int *seconds, const char *s)
{
    int east = *s == '-' ? -1 : 1, hours, minutes;

    *seconds = 0;
    if (*s == 'Z' || *s == 'z') {
        return s[1] == '\0';
    }
    if (*s != '+' && *s != '-') {
        return 0;
    }
    s++;
    hours = read_field(&s, 2);
    skip(&s, ':');
    minutes = hours < 0 ? -1 : read_field(&s, 2);
    *seconds = east * (hours * 3600 + minutes * 60);
    return hours >= 0 && hours <= 23 && minutes >= 0 && minutes <= 59 && *s == '\0';
}

/* `2026-03-01T12:30:00`, a fraction if there is one, an offset. */
static int read_iso(apr_time_t *out, const char *s)
{
    apr_time_exp_t t;
    int year, month, day;

    memset(&t, 0, sizeof(t));
    if ((year = read_field(&s, 4)) < 1970 || !skip(&s, '-') || (month = read_field(&s, 2)) < 1 || month > 12 || !skip(&s, '-')
        || (day = read_field(&s, 2)) < 1 || day > days_of(year, month)) {
        return 0;
    }
    if (!(skip(&s, 'T') || skip(&s, 't')) || (t.tm_hour = read_field(&s, 2)) < 0 || t.tm_hour > 23 || !skip(&s, ':')
        || (t.tm_min = read_field(&s, 2)) < 0 || t.tm_min > 59 || !skip(&s, ':') || (t.tm_sec = read_field(&s, 2)) < 0
        || t.tm_sec > 60) {
        return 0;
    }
    if (skip(&s, '.') && strspn(s, "0123456789") == 0) {
        return 0;
    }
    s += strspn(s, "0123456789");                     /* less than a second decides nothing */
    t.tm_year = year - 1900;
    t.tm_mon = month - 1;
    t.tm_mday = day;
    return read_offset(&t.tm_gmtoff, s) && apr_time_exp_gmt_get(out, &t) == APR_SUCCESS;
}

int vapi_credential_time(apr_time_t *out, const char *text)
{
    apr_size_t len = strspn(text, "0123456789");
    apr_int64_t n;

    if (len == 0 || text[len]) {
        return read_iso(out, text);
    }
    if (len > 14) {
        return 0;
    }
    n = apr_atoi64(text);
    *out = n < APR_INT64_C(100000000000) ? n * APR_USEC_PER_SEC : n * 1000;      /* seconds until the year 5138 */
    return 1;
}

/* ---- headers ---- */

typedef struct search_t {
    const char *value;
    int count;
} search_t;

static int count_header(void *data, const char *name, const char *value)
{
    search_t *search = data;

    (void)name;
    search->value = value;
    search->count++;
    return 1;
}

/* The value of a header that stands there once and is not empty; else NULL, and *absent tells whether there was nothing at all. */
static const char *find_header(const apr_table_t *headers, const char *name, int *absent)
{
    search_t search = { "", 0 };

    apr_table_do(count_header, &search, headers, name, NULL);
    *absent = *search.value == '\0';
    return search.count == 1 && !*absent ? search.value : NULL;
}

/* The signatures of a delivery, decoded. */
typedef struct signatures_t {
    unsigned char bytes[SIGNATURES_MAX][DIGEST_MAX];
    int count;
} signatures_t;

/* Adds one signature behind its prefix. @return whether it has the right form and length */
static int add_signature(const vapi_credential_t *c, signatures_t *found, const char *text, apr_size_t len)
{
    unsigned char *to;
    int n;

    if (found->count == SIGNATURES_MAX) {
        return 0;
    }
    to = found->bytes[found->count];
    n = c->is_base64 ? vapi_credential_base64(to, DIGEST_MAX, text, len) : decode_hex(to, DIGEST_MAX, text, len);
    if (n < 0 || (apr_size_t)n != c->digest_len) {
        return 0;
    }
    found->count++;
    return 1;
}

/* Two headers of a name, which httpd joins by a comma, have no right form: neither hex nor base64 knows commas. */
static int read_signatures(const vapi_credential_t *c, signatures_t *found, const char *value)
{
    apr_size_t prefix = strlen(c->prefix);

    found->count = 0;
    if (!c->several) {
        return strncmp(value, c->prefix, prefix) == 0 && add_signature(c, found, value + prefix, strlen(value + prefix));
    }
    while (*value) {
        apr_size_t len = strcspn(value, " ");

        if (len >= prefix && len && strncmp(value, c->prefix, prefix) == 0 && !add_signature(c, found, value + prefix, len - prefix)) {
            return 0;
        }
        value += len;
        value += strspn(value, " ");
    }
    return found->count > 0;
}

int vapi_credential_sent(apr_time_t *out, const vapi_credential_t *c, const vapi_auth_delivery_t *d)
{
    int absent;
    const char *value = c->timestamp_header ? find_header(d->headers, c->timestamp_header, &absent) : NULL;

    return value && vapi_credential_time(out, value);
}

static int is_fresh(const vapi_credential_t *c, const vapi_auth_delivery_t *d)
{
    apr_time_t sent = 0;

    return vapi_credential_sent(&sent, c, d) && sent >= d->now - c->tolerance && sent <= d->now + c->tolerance;
}

static vapi_auth check_signature_headers(const vapi_credential_t *c, const vapi_auth_delivery_t *d)
{
    signatures_t found;
    int absent;
    const char *value = find_header(d->headers, c->header, &absent);

    if (absent) {
        return VAPI_AUTH_SIGNATURE_MISSING;
    }
    if (!value || !read_signatures(c, &found, value)) {
        return VAPI_AUTH_SIGNATURE_WRONG;
    }
    if (vapi_credential_uses(c, PART_ID) && !find_header(d->headers, c->id_header, &absent)) {
        return VAPI_AUTH_SIGNATURE_WRONG;
    }
    if (c->timestamp_header && !is_fresh(c, d)) {
        return VAPI_AUTH_TIMESTAMP_STALE;
    }
    return VAPI_AUTH_NEEDS_BODY;
}

/* ---- bearer ---- */

/* What stands behind `Bearer `; NULL without it. */
static const char *behind_scheme(const char *value)
{
    apr_size_t blanks;

    if (strncasecmp(value, "Bearer", 6) != 0) {
        return NULL;
    }
    blanks = strspn(value + 6, " \t");
    return blanks ? value + 6 + blanks : NULL;
}

int vapi_credential_fingerprint(fingerprint_t *out, const char *secret)
{
    return EVP_Digest(secret, strlen(secret), out->bytes, NULL, EVP_sha256(), NULL) == 1;
}

/* Hashes are compared, so that time tells neither where a difference is nor how long the secret is. */
static vapi_auth check_bearer(const vapi_credential_t *c, const vapi_auth_delivery_t *d)
{
    int absent, i, matches = 0;
    const char *value = find_header(d->headers, c->header, &absent);
    const char *token = value && c->has_scheme ? behind_scheme(value) : value;
    fingerprint_t found;

    if (!token || !vapi_credential_fingerprint(&found, token)) {
        return VAPI_AUTH_SECRET_WRONG;
    }
    for (i = 0; i < c->fingerprints->nelts; i++) {
        const fingerprint_t *known = &APR_ARRAY_IDX(c->fingerprints, i, fingerprint_t);

        matches |= CRYPTO_memcmp(known->bytes, found.bytes, sizeof(found.bytes)) == 0;
    }
    return matches ? VAPI_AUTH_OK : VAPI_AUTH_SECRET_WRONG;
}

vapi_auth vapi_credential_check_headers(const vapi_credential_t *c, const vapi_auth_delivery_t *d)
{
    return c->is_hmac ? check_signature_headers(c, d) : check_bearer(c, d);
}

/* ---- bodies ---- */

/* What each placeholder stands for in one delivery. */
typedef struct signed_t {
    part_t parts[PART_TEXT];
} signed_t;

static void put(signed_t *all, part_kind kind, const char *text, apr_size_t len)
{
    all->parts[kind].text = text;
    all->parts[kind].len = len;
}

static void put_text(signed_t *all, part_kind kind, const char *text)
{
    put(all, kind, text, strlen(text));
}

/* The URL that Vapi called: a proxy may have changed it since, therefore url= (W64). */
static const char *called_url(const vapi_credential_t *c, const vapi_auth_delivery_t *d, apr_pool_t *p)
{
    if (!c->url) {
        return d->url;
    }
    return c->url_has_path ? c->url : apr_pstrcat(p, c->url, d->path_and_query, NULL);
}

static void gather(signed_t *all, const vapi_credential_t *c, const vapi_auth_delivery_t *d, apr_pool_t *p)
{
    int absent;

    memset(all, 0, sizeof(*all));
    if (vapi_credential_uses(c, PART_TIMESTAMP)) {
        put_text(all, PART_TIMESTAMP, find_header(d->headers, c->timestamp_header, &absent));
    }
    if (vapi_credential_uses(c, PART_ID)) {
        put_text(all, PART_ID, find_header(d->headers, c->id_header, &absent));
    }
    if (vapi_credential_uses(c, PART_METHOD)) {
        put_text(all, PART_METHOD, d->method);
    }
    if (vapi_credential_uses(c, PART_URL)) {
        put_text(all, PART_URL, called_url(c, d, p));
    }
}

/* The digest under one secret. @return whether OpenSSL made it */
static int sign(unsigned char *digest, const vapi_credential_t *c, const EVP_MD_CTX *signer, const signed_t *all)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len = DIGEST_MAX;
    int i, done = ctx && EVP_MD_CTX_copy_ex(ctx, signer) == 1;

    for (i = 0; i < c->parts->nelts && done; i++) {
        const part_t *part = &APR_ARRAY_IDX(c->parts, i, part_t);

        part = part->kind == PART_TEXT ? part : &all->parts[part->kind];
        done = part->len == 0 || EVP_DigestSignUpdate(ctx, part->text, part->len) == 1;
    }
    done = done && EVP_DigestSignFinal(ctx, digest, &len) == 1 && len == c->digest_len;
    EVP_MD_CTX_free(ctx);
    return done;
}

vapi_auth vapi_credential_check_body(const vapi_credential_t *c, const vapi_auth_delivery_t *d, const char *body, apr_size_t len,
                                     apr_pool_t *p)
{
    signatures_t found;
    signed_t all;
    int i, j, matches = 0;

    if (check_signature_headers(c, d) != VAPI_AUTH_NEEDS_BODY || !read_signatures(c, &found, find_header(d->headers, c->header, &i))) {
        return VAPI_AUTH_SIGNATURE_WRONG;
    }
    gather(&all, c, d, p);
    put(&all, PART_BODY, body, len);
    for (i = 0; i < c->signers->nelts; i++) {
        unsigned char digest[DIGEST_MAX];
        int made = sign(digest, c, APR_ARRAY_IDX(c->signers, i, EVP_MD_CTX *), &all);

        for (j = 0; j < found.count && made; j++) {
            matches |= CRYPTO_memcmp(digest, found.bytes[j], c->digest_len) == 0;
        }
    }
    return matches ? VAPI_AUTH_OK : VAPI_AUTH_SIGNATURE_WRONG;
}
