/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "vapi_credential.h"

#define NOW  APR_INT64_C(1767225600)              /* 2026-01-01T00:00:00Z */
#define BODY "{\"message\":{\"type\":\"tool-calls\"}}"

static apr_pool_t *pool;
static apr_array_header_t *warnings;              /* of the latest try_make() */

/* ---- helpers: signatures are made here by another way than the module's ---- */

static const char *try_make(vapi_credential_t **c, const char *line)
{
    vapi_secret_env_t env = { "/", NULL, 0, NULL };
    vapi_words_t *words;

    env.warnings = warnings = apr_array_make(pool, 2, sizeof(const char *));
    assert_null(vapi_words_read(&words, line, pool));
    return vapi_credential_make(c, words, &env, pool, pool);
}

static vapi_credential_t *make(const char *line)
{
    vapi_credential_t *c = NULL;
    const char *error = try_make(&c, line);

    if (error) {
        fail_msg("%s: %s", line, error);
    }
    return c;
}

static const char *hex(const unsigned char *bytes, size_t len, const char *form)
{
    char *text = apr_pcalloc(pool, len * 2 + 1);
    size_t i;

    for (i = 0; i < len; i++) {
        sprintf(text + i * 2, form, bytes[i]);
    }
    return text;
}

static const char *base64(const unsigned char *bytes, size_t len)
{
    unsigned char *text = apr_pcalloc(pool, len * 2 + 8);

    EVP_EncodeBlock(text, bytes, (int)len);
    return (const char *)text;
}

static const EVP_MD *md_of(const char *algorithm)
{
    return strcmp(algorithm, "sha1") == 0 ? EVP_sha1() : strcmp(algorithm, "sha512") == 0 ? EVP_sha512() : EVP_sha256();
}

/* The signature of `text`, in hex or base64. */
static const char *sign(const char *algorithm, int in_base64, const char *secret, const char *text)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    assert_non_null(HMAC(md_of(algorithm), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), digest, &len));
    return in_base64 ? base64(digest, len) : hex(digest, len, "%02x");
}

/* A delivery at NOW with headers `name, value, ..., NULL`. */
static vapi_auth_delivery_t delivery(const char *name, ...)
{
    apr_table_t *headers = apr_table_make(pool, 8);
    vapi_auth_delivery_t d = { headers, "POST", "https://www.example.com/vapi/transfer?x=1", "/vapi/transfer?x=1", apr_time_from_sec(NOW) };
    va_list rest;

    va_start(rest, name);
    for (; name; name = va_arg(rest, const char *)) {
        apr_table_add(headers, name, va_arg(rest, const char *));
    }
    va_end(rest);
    return d;
}

/* Both steps of a check, as the front door takes them. */
static vapi_auth check(const vapi_credential_t *c, const vapi_auth_delivery_t *d, const char *body)
{
    vapi_auth auth = vapi_credential_check_headers(c, d);

    return auth == VAPI_AUTH_NEEDS_BODY ? vapi_credential_check_body(c, d, body, strlen(body), pool) : auth;
}

static const char *now_text(void)
{
    return apr_psprintf(pool, "%" APR_INT64_T_FMT, NOW);
}

static const char *timed(const char *time)
{
    return apr_pstrcat(pool, time, "." BODY, NULL);
}

/* ---- hmac ---- */

static void test_every_form(void **state)
{
    static const char *const algorithms[] = { "sha256", "sha512", "sha1" };
    static const char *const encodings[] = { "hex", "base64" };
    static const char *const times[] = { "1767225600", "1767225600000", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "2026-01-01T02:00:00+02:00",
                                         "2025-12-31T18:30:00-0530", NULL };
    int a, e, t, timeless;

    (void)state;
    for (a = 0; a < 3; a++) {
        for (e = 0; e < 2; e++) {
            for (t = 0, timeless = 0; !timeless; t++) {
                const char *time = times[t], *signature;
                vapi_credential_t *c;
                vapi_auth_delivery_t d;

                timeless = !time;
                c = make(apr_psprintf(pool, "a hmac secret=hush algorithm=%s encoding=%s%s", algorithms[a], encodings[e],
                                      timeless ? " timestamp-header=none" : ""));
                signature = sign(algorithms[a], e, "hush", timeless ? BODY : timed(time));
                d = delivery("X-Signature", signature, timeless ? NULL : "X-Timestamp", time, NULL);
                assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
                assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_NEEDS_BODY);
                assert_int_equal(check(c, &d, BODY " "), VAPI_AUTH_SIGNATURE_WRONG);
                assert_int_equal(check(c, &d, ""), VAPI_AUTH_SIGNATURE_WRONG);
                d = delivery("X-Signature", sign(algorithms[a], e, "Hush", timeless ? BODY : timed(time)), timeless ? NULL : "X-Timestamp", time, NULL);
                assert_int_equal(check(c, &d, BODY), VAPI_AUTH_SIGNATURE_WRONG);
            }
        }
    }
}

/* RFC 4231, test case 2: the digest comes from the paper, not from OpenSSL. */
static void test_known_answer(void **state)
{
    vapi_credential_t *c = make("a hmac secret=Jefe preset=body-only");
    vapi_auth_delivery_t d = delivery("x-vapi-signature", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843", NULL);

    (void)state;
    assert_int_equal(check(c, &d, "what do ya want for nothing?"), VAPI_AUTH_OK);
    assert_int_equal(check(c, &d, "what do ya want for nothing!"), VAPI_AUTH_SIGNATURE_WRONG);
}

/* Every placeholder in one payload. */
static void test_payload(void **state)
{
    vapi_credential_t *c = make("a hmac secret=hush id-header=svix-id payload=\"v0:{method}:{url}:{svix-id}:{timestamp}:{body}:{body}}\"");
    const char *text = "v0:POST:https://www.example.com/vapi/transfer?x=1:msg_1:1767225600:" BODY ":" BODY "}";
    vapi_auth_delivery_t d = delivery("X-Signature", sign("sha256", 0, "hush", text), "X-Timestamp", "1767225600", "Svix-Id", "msg_1", NULL);

    (void)state;
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
    d.method = "PUT";
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("X-Signature", sign("sha256", 0, "hush", text), "X-Timestamp", "1767225600", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("X-Signature", sign("sha256", 0, "hush", text), "X-Timestamp", "1767225600", "Svix-Id", "", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
}

static void test_url(void **state)
{
    static const struct {
        const char *url, *called;
    } cases[] = {
        { "", "https://www.example.com/vapi/transfer?x=1" },
        { "url=https://public.example", "https://public.example/vapi/transfer?x=1" },
        { "url=http://public.example:8080", "http://public.example:8080/vapi/transfer?x=1" },
        { "url=https://public.example/", "https://public.example/" },
        { "url=https://public.example/hook", "https://public.example/hook" },
        { "url=https://public.example/hook?a=b", "https://public.example/hook?a=b" },
        { "url=https://public.example?a=b", "https://public.example?a=b" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vapi_credential_t *c = make(apr_pstrcat(pool, "a hmac secret=hush timestamp-header=none payload={url}{body} ", cases[i].url, NULL));
        vapi_auth_delivery_t d = delivery("X-Signature", sign("sha256", 0, "hush", apr_pstrcat(pool, cases[i].called, BODY, NULL)), NULL);

        assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
        d.url = "https://evil.example/vapi/transfer?x=1";
        assert_int_equal(check(c, &d, BODY), *cases[i].url ? VAPI_AUTH_OK : VAPI_AUTH_SIGNATURE_WRONG);
    }
}

static void test_raw_bytes(void **state)
{
    static const char body[] = "a\0b\xff";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len;
    vapi_credential_t *c = make("a hmac secret=hush preset=body-only");
    vapi_auth_delivery_t d;

    (void)state;
    HMAC(EVP_sha256(), "hush", 4, (const unsigned char *)body, 4, digest, &len);
    d = delivery("x-vapi-signature", hex(digest, len, "%02X"), NULL);
    assert_int_equal(vapi_credential_check_body(c, &d, body, 4, pool), VAPI_AUTH_OK);
    assert_int_equal(vapi_credential_check_body(c, &d, body, 3, pool), VAPI_AUTH_SIGNATURE_WRONG);
    HMAC(EVP_sha256(), "hush", 4, (const unsigned char *)"", 0, digest, &len);
    d = delivery("x-vapi-signature", hex(digest, len, "%02x"), NULL);
    assert_int_equal(vapi_credential_check_body(c, &d, NULL, 0, pool), VAPI_AUTH_OK);
}

static void test_rotation(void **state)
{
    vapi_credential_t *c = make("a hmac secret=new secret=old secret=older preset=body-only");
    static const char *const secrets[] = { "new", "old", "older" };
    vapi_auth_delivery_t d;
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        d = delivery("x-vapi-signature", sign("sha256", 0, secrets[i], BODY), NULL);
        assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
    }
    d = delivery("x-vapi-signature", sign("sha256", 0, "oldest", BODY), NULL);
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_SIGNATURE_WRONG);
}

static void test_prefix(void **state)
{
    vapi_credential_t *c = make("a hmac secret=hush prefix=sha256= timestamp-header=none");
    const char *signature = sign("sha256", 0, "hush", BODY);
    vapi_auth_delivery_t d = delivery("x-signature", apr_pstrcat(pool, "sha256=", signature, NULL), NULL);

    (void)state;
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
    d = delivery("x-signature", signature, NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("x-signature", apr_pstrcat(pool, "sha1=", signature, NULL), NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("x-signature", "sha256=", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("x-signature", "sha", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
}

static void test_base64_secret(void **state)
{
    const char *signature = sign("sha256", 0, "hush?>~", BODY);
    static const char *const written[] = { "aHVzaD8+fg==", "aHVzaD8+fg", "aHVzaD8-fg" };
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        vapi_credential_t *c = make(apr_pstrcat(pool, "a hmac preset=body-only secret-encoding=base64 secret=", written[i], NULL));
        vapi_auth_delivery_t d = delivery("x-vapi-signature", signature, NULL);

        assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
    }
}

/* The example of the Standard Webhooks specification. */
static void test_standard_webhooks(void **state)
{
    static const char body[] = "{\"test\": 2432232314}";
    static const char good[] = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    static const char other[] = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    static const struct {
        const char *signatures;
        vapi_auth auth;
    } cases[] = {
        { "%s", VAPI_AUTH_OK }, { "v1a,xyz %s", VAPI_AUTH_OK }, { " %s ", VAPI_AUTH_OK }, { "v2,!! v1 , %s", VAPI_AUTH_OK },
        { "%s, %s", VAPI_AUTH_SIGNATURE_WRONG }, { "v1,abc %s", VAPI_AUTH_SIGNATURE_WRONG }, { "v1, %s", VAPI_AUTH_SIGNATURE_WRONG },
        { "v1a,xyz", VAPI_AUTH_SIGNATURE_WRONG }, { " ", VAPI_AUTH_SIGNATURE_WRONG }, { "V%s", VAPI_AUTH_SIGNATURE_WRONG }, { "", VAPI_AUTH_SIGNATURE_MISSING },
    };
    const char *many = "";
    vapi_credential_t *c = make("a hmac preset=standard-webhooks secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    vapi_credential_t *bare = make("a hmac preset=standard-webhooks secret=AAAA secret=MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = apr_psprintf(pool, cases[i].signatures, good, good);
        vapi_auth_delivery_t d = delivery("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature", text, NULL);

        d.now = apr_time_from_sec(1614265330);
        assert_int_equal(check(c, &d, body), cases[i].auth);
        assert_int_equal(check(bare, &d, body), cases[i].auth);
    }
    for (i = 0; i < 17; i++) {
        vapi_auth_delivery_t d = delivery("Webhook-Id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature",
                                          apr_pstrcat(pool, many, good, NULL), NULL);

        d.now = apr_time_from_sec(1614265330);
        assert_int_equal(check(c, &d, body), i < 16 ? VAPI_AUTH_OK : VAPI_AUTH_SIGNATURE_WRONG);
        many = apr_pstrcat(pool, many, other, " ", NULL);
    }
}

static void test_presets_give_way(void **state)
{
    vapi_credential_t *c = make("a hmac preset=body-only secret=hush header=x-sig algorithm=sha512 encoding=base64 timestamp-header=x-time");
    vapi_credential_t *plain = make("a hmac preset=standard-webhooks secret=whsec_1 secret-encoding=plain payload={timestamp}.{body}");
    vapi_auth_delivery_t d = delivery("x-sig", sign("sha512", 1, "hush", timed(now_text())), "x-time", now_text(), NULL);

    (void)state;
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_OK);
    d = delivery("webhook-signature", apr_pstrcat(pool, "v1,", sign("sha256", 1, "whsec_1", timed(now_text())), NULL), "webhook-timestamp", now_text(), NULL);
    assert_int_equal(check(plain, &d, BODY), VAPI_AUTH_OK);
}

/* T1 to T3: what a sender without the secret may try, all of it seen before the body is read. */
static void test_bad_signatures(void **state)
{
    const char *good = sign("sha256", 0, "hush", timed(now_text()));
    const char *b64 = sign("sha256", 1, "hush", timed(now_text()));
    vapi_credential_t *c = make("a hmac secret=hush");
    vapi_credential_t *c64 = make("a hmac secret=hush encoding=base64");
    const char *wrong[14];
    size_t i, n = 0;
    vapi_auth_delivery_t d = delivery("x-timestamp", now_text(), NULL);

    (void)state;
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_MISSING);
    d = delivery("x-signature", "", "x-timestamp", now_text(), NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_MISSING);

    wrong[n++] = "x";
    wrong[n++] = apr_pstrndup(pool, good, 62);
    wrong[n++] = apr_pstrndup(pool, good, 63);
    wrong[n++] = apr_pstrcat(pool, good, "00", NULL);
    wrong[n++] = apr_pstrcat(pool, good, " ", NULL);
    wrong[n++] = apr_pstrcat(pool, " ", good, NULL);
    wrong[n++] = apr_pstrcat(pool, good, ", ", good, NULL);
    wrong[n++] = apr_pstrcat(pool, good, " ", good, NULL);
    wrong[n++] = apr_pstrcat(pool, "g", good + 1, NULL);
    wrong[n++] = apr_pstrcat(pool, "sha256=", good, NULL);
    wrong[n++] = b64;
    wrong[n++] = sign("sha512", 0, "hush", timed(now_text()));
    wrong[n++] = sign("sha1", 0, "hush", timed(now_text()));
    wrong[n++] = memset(apr_pcalloc(pool, 100001), 'a', 100000);
    for (i = 0; i < n; i++) {
        d = delivery("x-signature", wrong[i], "x-timestamp", now_text(), NULL);
        assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
        assert_int_equal(vapi_credential_check_body(c, &d, BODY, strlen(BODY), pool), VAPI_AUTH_SIGNATURE_WRONG);
        d = delivery("x-signature", wrong[i] == b64 ? good : wrong[i], "x-timestamp", now_text(), NULL);
        assert_int_equal(vapi_credential_check_headers(c64, &d), VAPI_AUTH_SIGNATURE_WRONG);
    }
    d = delivery("x-signature", good, "x-signature", good, "x-timestamp", now_text(), NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SIGNATURE_WRONG);
    d = delivery("x-signature", apr_pstrcat(pool, "0", good + 1, NULL), "x-timestamp", now_text(), NULL);
    assert_int_equal(check(c, &d, BODY), *good == '0' ? VAPI_AUTH_OK : VAPI_AUTH_SIGNATURE_WRONG);
}

static void test_base64_forms(void **state)
{
    const char *good = sign("sha256", 1, "hush", BODY);       /* 43 letters and one = */
    vapi_credential_t *c = make("a hmac secret=hush encoding=base64 timestamp-header=none");
    const struct {
        const char *text;
        vapi_auth auth;
    } cases[] = {
        { good, VAPI_AUTH_OK },
        { apr_pstrndup(pool, good, 43), VAPI_AUTH_OK },
        { apr_pstrndup(pool, good, 42), VAPI_AUTH_SIGNATURE_WRONG },
        { apr_pstrcat(pool, good, "=", NULL), VAPI_AUTH_SIGNATURE_WRONG },
        { apr_pstrcat(pool, apr_pstrndup(pool, good, 42), "==", NULL), VAPI_AUTH_SIGNATURE_WRONG },
        { apr_pstrcat(pool, "=", good, NULL), VAPI_AUTH_SIGNATURE_WRONG },
        { apr_pstrcat(pool, apr_pstrndup(pool, good, 42), "\x01=", NULL), VAPI_AUTH_SIGNATURE_WRONG },
        { "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", VAPI_AUTH_SIGNATURE_WRONG },
        { "====", VAPI_AUTH_SIGNATURE_WRONG }, { "=", VAPI_AUTH_SIGNATURE_WRONG }, { "A", VAPI_AUTH_SIGNATURE_WRONG },
        { apr_pstrcat(pool, apr_pstrndup(pool, good, 20), "\n", good + 20, NULL), VAPI_AUTH_SIGNATURE_WRONG },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vapi_auth_delivery_t d = delivery("x-signature", cases[i].text, NULL);

        assert_int_equal(check(c, &d, BODY), cases[i].auth);
    }
}

/* T4. Signed rightly, all of them: only the time decides. */
static void test_times(void **state)
{
    static const struct {
        const char *text;
        int fresh;
    } cases[] = {
        { "1767225600", 1 }, { "1767225300", 1 }, { "1767225900", 1 }, { "1767225299", 0 }, { "1767225901", 0 },
        { "1767225300000", 1 }, { "1767225299999", 0 }, { "1767225900001", 0 }, { "001767225600", 1 },
        { "2026-01-01T00:05:00Z", 1 }, { "2026-01-01T00:05:01Z", 0 }, { "2025-12-31T23:55:00z", 1 }, { "2025-12-31T23:54:59Z", 0 },
        { "2026-01-01t00:00:00.000Z", 1 }, { "2025-12-31T23:59:60Z", 1 }, { "2026-01-01T01:00:00+01:00", 1 }, { "2026-01-01T01:00:00-01:00", 0 },
        { "2026-01-01T00:00:00+00:00", 1 }, { "2026-01-01T00:00:00", 0 }, { "2026-01-01 00:00:00Z", 0 }, { "2026-01-01", 0 }, { "2026-01-01T00:00Z", 0 },
        { "2026-01-01T00:00:00.Z", 0 }, { "2026-01-01T24:00:00Z", 0 }, { "2026-01-01T00:60:00Z", 0 }, { "2025-12-31T23:59:61Z", 0 }, { "2026-13-01T00:00:00Z", 0 },
        { "2026-00-01T00:00:00Z", 0 }, { "2025-12-32T00:00:00Z", 0 }, { "2026-01-00T00:00:00Z", 0 }, { "2026-01-01T00:00:00+1:00", 0 }, { "2026-01-01T00:00:00+24:00", 0 },
        { "2026-01-01T00:00:00+00:60", 0 }, { "2026-01-01T00:00:00+", 0 }, { "2026-01-01T00:00:00Zx", 0 }, { "2026-01-01T00:00:00+00:00x", 0 },
        { "1969-12-31T23:59:59Z", 0 }, { "9999-12-31T23:59:59Z", 0 },
        { "0", 0 }, { "-1767225600", 0 }, { "+1767225600", 0 }, { "1767225600.0", 0 }, { "1.767e9", 0 }, { " 1767225600", 0 }, { "1767225600 ", 0 },
        { "1767225600, 1767225600", 0 }, { "1767225600000000", 0 }, { "99999999999999", 0 }, { "9223372036854775807", 0 }, { "18446744075476777216", 0 },
        { "99999999999999999999999999999999", 0 }, { "now", 0 }, { "NaN", 0 }, { "0x6955b900", 0 }, { "\xd9\xa1", 0 },
    };
    vapi_credential_t *c = make("a hmac secret=hush");
    vapi_auth_delivery_t d;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        d = delivery("x-signature", sign("sha256", 0, "hush", timed(cases[i].text)), "x-timestamp", cases[i].text, NULL);
        if (check(c, &d, BODY) != (cases[i].fresh ? VAPI_AUTH_OK : VAPI_AUTH_TIMESTAMP_STALE)) {
            fail_msg("%s", cases[i].text);
        }
        assert_int_equal(vapi_credential_check_headers(c, &d), cases[i].fresh ? VAPI_AUTH_NEEDS_BODY : VAPI_AUTH_TIMESTAMP_STALE);
    }
    d = delivery("x-signature", sign("sha256", 0, "hush", timed("")), NULL);
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_TIMESTAMP_STALE);
    d = delivery("x-signature", sign("sha256", 0, "hush", timed("")), "x-timestamp", "", NULL);
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_TIMESTAMP_STALE);
    d = delivery("x-signature", sign("sha256", 0, "hush", timed(now_text())), "x-timestamp", now_text(), "x-timestamp", "1", NULL);
    assert_int_equal(check(c, &d, BODY), VAPI_AUTH_TIMESTAMP_STALE);
}

static void test_tolerance_and_leap_years(void **state)
{
    vapi_credential_t *c = make("a hmac secret=hush tolerance=1min");
    static const struct {
        const char *text;
        apr_int64_t now;
        int fresh;
    } cases[] = {
        { "2024-02-29T00:00:00Z", 1709164800, 1 }, { "2025-02-29T00:00:00Z", 1740787200, 0 }, { "2000-02-29T00:00:00Z", 951782400, 1 },
        { "2100-02-29T00:00:00Z", APR_INT64_C(4107542400), 0 }, { "2100-03-01T00:00:00Z", APR_INT64_C(4107542400), 1 },
        { "1709164860", 1709164800, 1 }, { "1709164861", 1709164800, 0 }, { "2026-04-31T00:00:00Z", 1777593600, 0 },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vapi_auth_delivery_t d = delivery("x-signature", sign("sha256", 0, "hush", timed(cases[i].text)), "x-timestamp", cases[i].text, NULL);

        d.now = apr_time_from_sec(cases[i].now);
        assert_int_equal(check(c, &d, BODY), cases[i].fresh ? VAPI_AUTH_OK : VAPI_AUTH_TIMESTAMP_STALE);
    }
}

/* ---- bearer ---- */

static void test_bearer(void **state)
{
    static const struct {
        const char *header, *value;
        vapi_auth auth;
    } cases[] = {
        { "Authorization", "Bearer hush", VAPI_AUTH_OK }, { "authorization", "bearer hush", VAPI_AUTH_OK }, { "Authorization", "BEARER  \t hush", VAPI_AUTH_OK },
        { "Authorization", "Bearer older", VAPI_AUTH_OK }, { "Authorization", "Bearer Hush", VAPI_AUTH_SECRET_WRONG },
        { "Authorization", "Bearer hus", VAPI_AUTH_SECRET_WRONG }, { "Authorization", "Bearer hush2", VAPI_AUTH_SECRET_WRONG },
        { "Authorization", "Bearerhush", VAPI_AUTH_SECRET_WRONG }, { "Authorization", "Bearer", VAPI_AUTH_SECRET_WRONG },
        { "Authorization", "Bearer ", VAPI_AUTH_SECRET_WRONG }, { "Authorization", "hush", VAPI_AUTH_SECRET_WRONG },
        { "Authorization", "Basic hush", VAPI_AUTH_SECRET_WRONG }, { "Authorization", "", VAPI_AUTH_SECRET_WRONG },
        { "Authorization", "Bearer hush, Bearer hush", VAPI_AUTH_SECRET_WRONG }, { "X-Vapi-Secret", "hush", VAPI_AUTH_SECRET_WRONG },
    };
    vapi_credential_t *c = make("a bearer secret=hush secret=older");
    vapi_auth_delivery_t d = delivery("Authorization", "Bearer hush", "Authorization", "Bearer hush", NULL);
    size_t i;

    (void)state;
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SECRET_WRONG);
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        d = delivery(cases[i].header, cases[i].value, NULL);
        assert_int_equal(vapi_credential_check_headers(c, &d), cases[i].auth);
    }
    assert_string_equal(vapi_credential_secret_header(c), "Authorization");
}

/* The inline `secret` of Vapi; W63: it came empty. */
static void test_inline_secret(void **state)
{
    vapi_credential_t *c = make("legacy bearer header=X-Vapi-Secret prefix=none secret=hush");
    vapi_auth_delivery_t d = delivery("x-vapi-secret", "hush", NULL);

    (void)state;
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_OK);
    d = delivery("x-vapi-secret", "", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SECRET_WRONG);
    d = delivery("x-vapi-secret", "Bearer hush", NULL);
    assert_int_equal(vapi_credential_check_headers(c, &d), VAPI_AUTH_SECRET_WRONG);
    assert_string_equal(vapi_credential_secret_header(c), "X-Vapi-Secret");
    assert_string_equal(vapi_credential_name(c), "legacy");
}

/* ---- start-up ---- */

static void test_refused_at_start(void **state)
{
    static const struct {
        const char *line, *error;
    } cases[] = {
        { "", "expected is NAME hmac|bearer secret=..." },
        { "a secret=hush", "expected is NAME hmac|bearer secret=..." },
        { "a hmac more secret=hush", "expected is NAME hmac|bearer secret=..." },
        { "1a hmac secret=hush", "'1a' is no NAME: a letter, then letters, digits, _ and -" },
        { "a hmca secret=hush", "'hmca' is none of hmac, bearer (did you mean hmac?)" },
        { "a hmac", "secret= is missing" },
        { "a bearer", "secret= is missing" },
        { "a hmac secret=", "secret: is empty" },
        { "a bearer secret=hush secret=\"\"", "secret: is empty" },
        { "a hmac secret=hush algorithm=sha265", "algorithm: 'sha265' is none of sha256, sha512, sha1 (did you mean sha256?)" },
        { "a hmac secret=hush algorithm=md5", "algorithm: 'md5' is none of sha256, sha512, sha1" },
        { "a hmac secret=hush encoding=base46", "encoding: 'base46' is none of hex, base64 (did you mean base64?)" },
        { "a hmac secret=hush secret-encoding=hex", "secret-encoding: 'hex' is none of plain, base64" },
        { "a hmac secret=hush preset=svix", "preset: 'svix' is none of body-only, standard-webhooks" },
        { "a hmac secret=hush! secret-encoding=base64", "secret: is not base64" },
        { "a hmac secret=hushx secret-encoding=base64", "secret: is not base64" },
        { "a hmac secret=whsec_ preset=standard-webhooks", "secret: is empty" },
        { "a hmac secret=whsec_aHVz secret-encoding=base64 header=\"x signature\"", "header: 'x signature' is no name of an HTTP header" },
        { "a hmac secret=hush header=", "header: '' is no name of an HTTP header" },
        { "a hmac secret=hush header=x-signature:", "header: 'x-signature:' is no name of an HTTP header" },
        { "a hmac secret=hush timestamp-header=\"\"", "timestamp-header: '' is no name of an HTTP header" },
        { "a hmac secret=hush id-header=x/y", "id-header: 'x/y' is no name of an HTTP header" },
        { "a bearer secret=hush header=\xc3\xa4", "header: '\xc3\xa4' is no name of an HTTP header" },
        { "a hmac secret=hush tolerance=0", "tolerance: '0' must be a time from 1s to 24h, in seconds or with a unit (ms, s, min, h)" },
        { "a hmac secret=hush tolerance=86401", "tolerance: '86401' must be a time from 1s to 24h, in seconds or with a unit (ms, s, min, h)" },
        { "a hmac secret=hush tolerance=5x", "tolerance: '5x' must be a time from 1s to 24h, in seconds or with a unit (ms, s, min, h)" },
        { "a hmac secret=hush payload={timestamp}", "payload: without {body} nothing of what is said would be signed" },
        { "a hmac secret=hush payload=\"\"", "payload: without {body} nothing of what is said would be signed" },
        { "a hmac secret=hush payload={timestamp}.{bodi}",
          "payload: the placeholder 'bodi' is none of body, timestamp, method, url, svix-id (did you mean body?)" },
        { "a hmac secret=hush payload={}", "payload: the placeholder '' is none of body, timestamp, method, url, svix-id" },
        { "a hmac secret=hush payload={body", "payload: '{body': a { lacks its }" },
        { "a hmac secret=hush payload={timestamp}.{body} timestamp-header=none", "payload: {timestamp} needs a timestamp-header" },
        { "a hmac secret=hush preset=standard-webhooks timestamp-header=none", "payload: {timestamp} needs a timestamp-header" },
        { "a hmac secret=hush payload={svix-id}.{timestamp}.{body}", "payload: {svix-id} needs an id-header" },
        { "a hmac secret=hush url=public.example", "url: an absolute URL that begins http:// or https:// is expected, without blanks and #" },
        { "a hmac secret=hush url=https:///x", "url: an absolute URL that begins http:// or https:// is expected, without blanks and #" },
        { "a hmac secret=hush url=\"https://a b\"", "url: an absolute URL that begins http:// or https:// is expected, without blanks and #" },
        { "a hmac secret=hush url=https://a/#b", "url: an absolute URL that begins http:// or https:// is expected, without blanks and #" },
        { "a hmac secret=hush url=ftp://a", "url: an absolute URL that begins http:// or https:// is expected, without blanks and #" },
        { "a hmac secret=hush algoritm=sha1", "unknown key 'algoritm'; did you mean 'algorithm'?" },
        { "a hmac secret=hush header=a header=b", "the key 'header' is given twice" },
        { "a bearer secret=hush algorithm=sha1", "unknown key 'algorithm'; known are secret, header, prefix" },
        { "a bearer secret=hush prefix=Token", "prefix: 'Token' is none of Bearer, none" },
        { "a hmac secret=env:VAPI_TEST_NONE", "secret: the environment variable VAPI_TEST_NONE is not set" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        vapi_credential_t *c = NULL;
        const char *error = try_make(&c, cases[i].line);

        assert_null(c);
        if (!error || strcmp(error, cases[i].error) != 0) {
            fail_msg("%s: %s", cases[i].line, error ? error : "taken");
        }
        assert_null(strstr(error, "hush"));
    }
}

static void test_warned_about(void **state)
{
    static const struct {
        const char *line, *warning;
    } cases[] = {
        { "a hmac secret=hush payload={body}", "payload: without {timestamp} the time is not signed and anybody may renew it" },
        { "a hmac secret=hush url=https://public.example", "url: is not used, as the payload has no {url}" },
        { "a hmac secret=hush id-header=svix-id", "id-header: is not used, as the payload has no {svix-id}" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        make(cases[i].line);
        assert_int_equal(warnings->nelts, 2);                 /* the other one is of the literal secret */
        assert_string_equal(APR_ARRAY_IDX(warnings, 0, const char *), cases[i].warning);
    }
    make("a bearer secret=hush");
    assert_int_equal(warnings->nelts, 1);
    make("a bearer secret=env:PATH");
    assert_int_equal(warnings->nelts, 0);
}

static void test_described(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        { "prod hmac secret=hush secret=hush2",
          "prod hmac secret=set secret=set algorithm=sha256 header=x-signature timestamp-header=x-timestamp tolerance=300 payload={timestamp}.{body} encoding=hex "
          "secret-encoding=plain" },
        { "prod hmac secret=hush preset=body-only",
          "prod hmac secret=set preset=body-only algorithm=sha256 header=x-vapi-signature timestamp-header=none payload={body} encoding=hex secret-encoding=plain" },
        { "w hmac secret=aHVzaA== preset=standard-webhooks tolerance=2min",
          "w hmac secret=set preset=standard-webhooks algorithm=sha256 header=webhook-signature timestamp-header=webhook-timestamp tolerance=120 "
          "payload={svix-id}.{timestamp}.{body} prefix=v1, encoding=base64 secret-encoding=base64 id-header=webhook-id" },
        { "u hmac secret=hush payload=\"{url} \\\"{body}\\\\\" url=https://u:p@public.example timestamp-header=none",
          "u hmac secret=set algorithm=sha256 header=x-signature timestamp-header=none payload=\"{url} \\\"{body}\\\\\" encoding=hex secret-encoding=plain url=set" },
        { "u hmac secret=hush payload={url}{body} url=https://public.example timestamp-header=none",
          "u hmac secret=set algorithm=sha256 header=x-signature timestamp-header=none payload={url}{body} encoding=hex secret-encoding=plain "
          "url=https://public.example" },
        { "b bearer secret=hush", "b bearer secret=set header=Authorization prefix=Bearer" },
        { "b bearer secret=hush secret=hush2 header=X-Vapi-Secret prefix=none", "b bearer secret=set secret=set header=X-Vapi-Secret prefix=none" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(vapi_credential_describe(make(cases[i].line), pool), cases[i].text);
    }
    assert_null(vapi_credential_secret_header(make("prod hmac secret=hush")));
}

static void test_reasons(void **state)
{
    (void)state;
    assert_null(vapi_auth_reason(VAPI_AUTH_OK));
    assert_null(vapi_auth_reason(VAPI_AUTH_NEEDS_BODY));
    assert_string_equal(vapi_auth_reason(VAPI_AUTH_SIGNATURE_MISSING), "signature-missing");
    assert_string_equal(vapi_auth_reason(VAPI_AUTH_SIGNATURE_WRONG), "signature-wrong");
    assert_string_equal(vapi_auth_reason(VAPI_AUTH_TIMESTAMP_STALE), "timestamp-stale");
    assert_string_equal(vapi_auth_reason(VAPI_AUTH_SECRET_WRONG), "secret-wrong");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form), cmocka_unit_test(test_known_answer), cmocka_unit_test(test_payload), cmocka_unit_test(test_url),
        cmocka_unit_test(test_raw_bytes), cmocka_unit_test(test_rotation), cmocka_unit_test(test_prefix), cmocka_unit_test(test_base64_secret),
        cmocka_unit_test(test_standard_webhooks), cmocka_unit_test(test_presets_give_way), cmocka_unit_test(test_bad_signatures),
        cmocka_unit_test(test_base64_forms), cmocka_unit_test(test_times), cmocka_unit_test(test_tolerance_and_leap_years), cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_inline_secret), cmocka_unit_test(test_refused_at_start), cmocka_unit_test(test_warned_about),
        cmocka_unit_test(test_described), cmocka_unit_test(test_reasons),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("credential", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
