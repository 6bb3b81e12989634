/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Encrypted arguments: what is opened, what is not, and which key files are refused. The keys and the cipher texts are made here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_file_io.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <pthread.h>

#include "vapi_decrypt.h"

static apr_pool_t *pool;
static EVP_PKEY *key;
static const char *directory, *key_file;

static EVP_PKEY *rsa_key(int bits)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    EVP_PKEY *made = NULL;

    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, bits), 1);
    assert_int_equal(EVP_PKEY_keygen(context, &made), 1);
    EVP_PKEY_CTX_free(context);
    return made;
}

static EVP_PKEY *elliptic_key(void)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    EVP_PKEY *made = NULL;

    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1), 1);
    assert_int_equal(EVP_PKEY_keygen(context, &made), 1);
    EVP_PKEY_CTX_free(context);
    return made;
}

/* @return its path */
static const char *write_file(const char *name, const char *text, mode_t mode)
{
    const char *path = apr_pstrcat(pool, directory, "/", name, NULL);
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static const char *write_key(const char *name, EVP_PKEY *which, const char *passphrase, int traditional, mode_t mode)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const EVP_CIPHER *cipher = passphrase ? EVP_aes_256_cbc() : NULL;
    unsigned char *phrase = passphrase ? (unsigned char *)apr_pstrdup(pool, passphrase) : NULL;
    const int length = passphrase ? (int)strlen(passphrase) : 0;
    const char *path;
    char *text;

    if (traditional) {
        assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, which, cipher, phrase, length, NULL, NULL), 1);
    }
    else {
        assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, which, cipher, (char *)phrase, length, NULL, NULL), 1);
    }
    BIO_write(bio, "", 1);
    BIO_get_mem_data(bio, &text);
    path = write_file(name, text, mode);
    BIO_free(bio);
    return path;
}

/* As Vapi does, unless another digest or padding is asked for. */
static const char *encrypt_with(EVP_PKEY *which, const char *plain, size_t len, int padding, const EVP_MD *digest,
                                const EVP_MD *mask)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(which, NULL);
    unsigned char cipher[1024];
    size_t size = sizeof(cipher);
    char *text = apr_palloc(pool, 2048);

    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, padding), 1);
    if (padding == RSA_PKCS1_OAEP_PADDING) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(context, digest), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(context, mask), 1);
    }
    assert_int_equal(EVP_PKEY_encrypt(context, cipher, &size, (const unsigned char *)plain, len), 1);
    EVP_PKEY_CTX_free(context);
    EVP_EncodeBlock((unsigned char *)text, cipher, (int)size);
    return text;
}

static const char *encrypt(const char *plain)
{
    return encrypt_with(key, plain, strlen(plain), RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256());
}

static apr_array_header_t *paths_of(const char *list)
{
    apr_array_header_t *paths = apr_array_make(pool, 4, sizeof(const char *));
    char *rest = apr_pstrdup(pool, list), *last, *path;

    for (path = apr_strtok(rest, " ", &last); path; path = apr_strtok(NULL, " ", &last)) {
        APR_ARRAY_PUSH(paths, const char *) = path;
    }
    return paths;
}

static vapi_decrypt_t *make(const char *paths)
{
    vapi_decrypt_t *d = NULL;
    const char *error = vapi_decrypt_make(&d, key_file, paths_of(paths), pool);

    if (error) {
        fail_msg("%s", error);
    }
    return d;
}

static json_t *read_json(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    if (!value) {
        fail_msg("not JSON: %s", text);
    }
    return value;
}

/* Opens and compares; `arguments` must be as before. */
static void check_opened(const char *paths, const char *arguments, const char *expected)
{
    json_t *before = read_json(arguments), *again = read_json(arguments), *wanted = read_json(expected), *out = NULL;
    const char *error = vapi_decrypt_open(make(paths), before, &out, pool);

    if (error) {
        fail_msg("%s: %s", paths, error);
    }
    if (!json_equal(out, wanted)) {
        fail_msg("%s: %s", paths, json_dumps(out, 0));
    }
    assert_true(json_equal(before, again));
    json_decref(out);
    json_decref(wanted);
    json_decref(again);
    json_decref(before);
}

static void check_refused(const char *path, const char *arguments)
{
    json_t *before = read_json(arguments), *out = NULL;
    const char *error = vapi_decrypt_open(make(path), before, &out, pool);

    assert_null(out);
    if (!error || strcmp(error, apr_psprintf(pool, "The argument '%s' could not be read.", path))) {
        fail_msg("%s in %s: %s", path, arguments, error ? error : "opened");
    }
    json_decref(before);
}

static const char *with_ssn(const char *text)
{
    return apr_psprintf(pool, "{\"ssn\":\"%s\"}", text);
}

static void test_opened(void **state)
{
    (void)state;
    check_opened("ssn", apr_psprintf(pool, "{\"a\":1,\"ssn\":\"%s\",\"b\":[2]}", encrypt("078-05-1120")),
                 "{\"a\":1,\"ssn\":\"078-05-1120\",\"b\":[2]}");
    check_opened("ssn", with_ssn(encrypt("M\xc3\xbcller \xf0\x9f\x98\x80")), with_ssn("M\xc3\xbcller \xf0\x9f\x98\x80"));
    check_opened("ssn", with_ssn(encrypt("")), with_ssn(""));
    check_opened("ssn", with_ssn(encrypt(apr_pstrndup(pool, apr_psprintf(pool, "%0190d", 7), 190))),
                 with_ssn(apr_psprintf(pool, "%0190d", 7)));
}

static void test_paths(void **state)
{
    const char *nested = apr_psprintf(pool, "{\"payment\":{\"cardNumber\":\"%s\",\"cvc\":\"%s\",\"name\":\"Ann\"}}",
                                      encrypt("4111"), encrypt("123"));
    const char *list = apr_psprintf(pool, "{\"cards\":[{\"no\":\"x\"},{\"no\":\"%s\"}],\"a/b\":\"%s\",\"m~n\":\"%s\"}",
                                    encrypt("1"), encrypt("2"), encrypt("3"));
    const char *dotted =
        apr_psprintf(pool, "{\"a.b\":\"%s\",\"a\":{\"b\":\"plain\",\"c.d\":\"%s\"},\"/x/y\":\"%s\",\"x\":{\"y\":\"plain\"}}",
                     encrypt("exact"), encrypt("inner"), encrypt("slash"));

    (void)state;
    check_opened("payment.cardNumber payment.cvc", nested,
                 "{\"payment\":{\"cardNumber\":\"4111\",\"cvc\":\"123\",\"name\":\"Ann\"}}");
    check_opened("/payment/cardNumber /payment/cvc", nested,
                 "{\"payment\":{\"cardNumber\":\"4111\",\"cvc\":\"123\",\"name\":\"Ann\"}}");
    check_opened("payment.cvc /payment/cvc payment.cvc payment.cardNumber", nested,
                 "{\"payment\":{\"cardNumber\":\"4111\",\"cvc\":\"123\",\"name\":\"Ann\"}}");
    check_opened("cards.1.no /a~1b /m~0n", list, "{\"cards\":[{\"no\":\"x\"},{\"no\":\"1\"}],\"a/b\":\"2\",\"m~n\":\"3\"}");
    check_opened("/cards/1/no a/b m~n", list, "{\"cards\":[{\"no\":\"x\"},{\"no\":\"1\"}],\"a/b\":\"2\",\"m~n\":\"3\"}");
    check_opened("a.b a.c.d /x/y", dotted,
                 "{\"a.b\":\"exact\",\"a\":{\"b\":\"plain\",\"c.d\":\"inner\"},\"/x/y\":\"slash\",\"x\":{\"y\":\"plain\"}}");
    assert_int_equal(vapi_decrypt_paths(make("a b.c"))->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(vapi_decrypt_paths(make("a b.c")), 1, const char *), "b.c");
}

static void test_nothing_there(void **state)
{
    static const char *const arguments[] = {
        "{}",
        "{\"other\":\"x\"}",
        "{\"ssn\":null}",
        "{\"ssn\":\"\"}",
        "{\"payment\":\"x\"}",
        "{\"payment\":{}}",
        "{\"payment\":[1]}",
        "{\"SSN\":\"x\"}",
        "{\"list\":[{\"a\":1}]}",
        "{\"payment\":{\"cardNumber\":null}}",
    };
    vapi_decrypt_t *d =
        make("ssn payment.cardNumber /payment/cardNumber list.1.a list.00.a list.-1 list.99999999999999999999 /list/ list..a");
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(arguments) / sizeof(*arguments); i++) {
        json_t *before = read_json(arguments[i]), *out = NULL;

        assert_null(vapi_decrypt_open(d, before, &out, pool));
        assert_ptr_equal(before, out);
        json_decref(out);
        json_decref(before);
    }
}

static void test_refused(void **state)
{
    EVP_PKEY *other = rsa_key(2048), *larger = rsa_key(3072);
    const char *good = encrypt("secret"), *bad;
    const size_t len = strlen(good);
    char *changed;

    (void)state;
    check_refused("ssn", "{\"ssn\":7}");
    check_refused("ssn", "{\"ssn\":true}");
    check_refused("ssn", "{\"ssn\":{}}");
    check_refused("ssn", "{\"ssn\":[\"x\"]}");
    check_refused("ssn", with_ssn("078-05-1120"));
    check_refused("ssn", with_ssn("{{ssn}}"));
    check_refused("ssn", with_ssn("AAAA"));
    check_refused("ssn", with_ssn(apr_pstrcat(pool, good, "\\n", NULL)));
    check_refused("ssn", with_ssn(apr_pstrcat(pool, " ", good, NULL)));
    check_refused("ssn", with_ssn(apr_pstrcat(pool, good, good, NULL)));
    check_refused("ssn", with_ssn(apr_pstrndup(pool, good, len - 1)));
    check_refused("ssn", with_ssn(apr_pstrndup(pool, good, len - 4)));
    check_refused("ssn", with_ssn(apr_pstrcat(pool, apr_pstrndup(pool, good, 60), "\\n", good + 61, NULL)));

    changed = apr_pstrdup(pool, good);
    changed[100] = changed[100] == 'A' ? 'B' : 'A';
    check_refused("ssn", with_ssn(changed));
    changed = apr_pstrdup(pool, good);
    changed[100] = '-';
    check_refused("ssn", with_ssn(changed));
    changed = apr_pstrdup(pool, good);     /* 256 bytes end in two padded characters: one more bit says nothing */
    changed[len - 3] = "BRhx"[strchr("AQgw", changed[len - 3]) - "AQgw"];
    check_refused("ssn", with_ssn(changed));
    memset(changed, 'A', len - 2);          /* 0 to the power of d */
    check_refused("ssn", with_ssn(changed));
    memset(changed, '/', len - 3);          /* more than the modulus */
    changed[len - 3] = 'w';
    check_refused("ssn", with_ssn(changed));

    check_refused("ssn", with_ssn(encrypt_with(other, "x", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256())));
    check_refused("ssn", with_ssn(encrypt_with(larger, "x", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256())));
    check_refused("ssn", with_ssn(encrypt_with(key, "x", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha1(), EVP_sha1())));
    check_refused("ssn", with_ssn(encrypt_with(key, "x", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha1())));
    check_refused("ssn", with_ssn(encrypt_with(key, "x", 1, RSA_PKCS1_PADDING, NULL, NULL)));
    check_refused("ssn", with_ssn(encrypt_with(key, "a\0b", 3, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256())));
    check_refused("ssn", with_ssn(encrypt_with(key, "\xff", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256())));
    check_refused("ssn", with_ssn(encrypt_with(key, "\xed\xa0\x80", 3, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256())));

    bad = apr_psprintf(pool, "{\"a\":\"%s\",\"payment\":{\"cardNumber\":\"4111\"}}", good);
    check_refused("payment.cardNumber", bad);
    check_refused("/payment/cardNumber", bad);
    EVP_PKEY_free(other);
    EVP_PKEY_free(larger);
}

/* A key of another size has other padding at its base64's end. */
static void test_sizes(void **state)
{
    static const int sizes[] = { 2048, 2056, 2064, 3072, 4096 };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        EVP_PKEY *sized = rsa_key(sizes[i]);
        const char *file = write_key("sized.pem", sized, NULL, 0, 0600);
        const char *cipher = encrypt_with(sized, "x", 1, RSA_PKCS1_OAEP_PADDING, EVP_sha256(), EVP_sha256());
        json_t *before = read_json(with_ssn(cipher)), *out = NULL;
        vapi_decrypt_t *d = NULL;

        assert_null(vapi_decrypt_make(&d, file, paths_of("ssn"), pool));
        assert_null(vapi_decrypt_open(d, before, &out, pool));
        assert_string_equal(json_string_value(json_object_get(out, "ssn")), "x");
        json_decref(out);
        json_decref(before);
        EVP_PKEY_free(sized);
    }
}

static void check_file(const char *file, const char *why)
{
    vapi_decrypt_t *d = NULL;
    const char *error = vapi_decrypt_make(&d, file, paths_of("ssn"), pool);

    assert_null(d);
    if (!error || !strstr(error, why) || !strstr(error, file)) {
        fail_msg("%s: %s", why, error ? error : "taken");
    }
}

static void test_key_files(void **state)
{
    static const struct {
        mode_t mode;
        const char *why;
    } open_modes[] = { { 0640, "0640" }, { 0620, "0620" }, { 0604, "0604" }, { 0602, "0602" }, { 0644, "0644 (chmod 600)" },
                       { 0666, "0666" } };
    static const mode_t closed_modes[] = { 0600, 0400, 0700 };
    EVP_PKEY *small = rsa_key(1024), *elliptic = elliptic_key();
    const char *fifo = apr_pstrcat(pool, directory, "/fifo", NULL), *owned;
    vapi_decrypt_t *d = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *large = apr_palloc(pool, 70001);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(open_modes) / sizeof(*open_modes); i++) {
        check_file(write_key("open.pem", key, NULL, 0, open_modes[i].mode), open_modes[i].why);
    }
    for (i = 0; i < sizeof(closed_modes) / sizeof(*closed_modes); i++) {
        assert_null(vapi_decrypt_make(&d, write_key(apr_psprintf(pool, "closed%d.pem", (int)i), key, NULL, 0, closed_modes[i]),
                                      paths_of("ssn"), pool));
    }
    assert_null(vapi_decrypt_make(&d, write_key("traditional.pem", key, NULL, 1, 0600), paths_of("ssn"), pool));

    check_file(write_key("locked8.pem", key, "open sesame", 0, 0600), "protected by a passphrase");
    check_file(write_key("locked1.pem", key, "open sesame", 1, 0600), "protected by a passphrase");
    check_file(write_key("small.pem", small, NULL, 0, 0600), "its key has 1024 bits, and must have 2048");
    check_file(write_key("elliptic.pem", elliptic, NULL, 0, 0600), "no RSA key");
    check_file(write_file("empty.pem", "", 0600), "no private key");
    check_file(write_file("words.pem", "-----BEGIN PRIVATE KEY-----\nnothing\n-----END PRIVATE KEY-----\n", 0600),
               "no private key");
    PEM_write_bio_PUBKEY(bio, key);
    BIO_write(bio, "", 1);
    BIO_get_mem_data(bio, &text);
    check_file(write_file("public.pem", text, 0600), "no private key");
    BIO_free(bio);
    memset(large, 'x', 70000);
    large[70000] = '\0';
    check_file(write_file("large.pem", large, 0600), "longer than 64 KB");

    check_file(directory, "");
    check_file(apr_pstrcat(pool, directory, "/absent.pem", NULL), "No such file");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    check_file(fifo, "not a regular file");
    if (geteuid() == 0) {
        owned = write_key("owned.pem", key, NULL, 0, 0600);
        assert_int_equal(chown(owned, 12345, 12345), 0);
        check_file(owned, "owns it");
    }
    EVP_PKEY_free(small);
    EVP_PKEY_free(elliptic);
}

static void test_bad_paths(void **state)
{
    static const char *const bad[] = { "/a~2", "/a~", "" };
    vapi_decrypt_t *d = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        apr_array_header_t *paths = apr_array_make(pool, 1, sizeof(const char *));

        APR_ARRAY_PUSH(paths, const char *) = bad[i];
        assert_string_equal(vapi_decrypt_make(&d, key_file, paths, pool), apr_psprintf(pool, "'%s' names no argument", bad[i]));
    }
    assert_string_equal(vapi_decrypt_make(&d, key_file, paths_of(""), pool), "no argument is named");
    assert_null(d);
}

typedef struct work_t {
    const vapi_decrypt_t *d;
    const char *good, *bad;
    int wrong;
} work_t;

static void *open_often(void *data)
{
    work_t *work = data;
    apr_pool_t *own;
    int i;

    apr_pool_create(&own, NULL);
    for (i = 0; i < 40; i++) {
        json_t *good = json_pack("{s:s}", "ssn", work->good), *bad = json_pack("{s:s}", "ssn", work->bad), *out = NULL;

        work->wrong += vapi_decrypt_open(work->d, good, &out, own) != NULL ||
                       strcmp(json_string_value(json_object_get(out, "ssn")), "secret") != 0;
        json_decref(out);
        work->wrong += vapi_decrypt_open(work->d, bad, &out, own) == NULL;
        json_decref(good);
        json_decref(bad);
    }
    apr_pool_destroy(own);
    return NULL;
}

static void test_threads(void **state)
{
    const vapi_decrypt_t *d = make("ssn");
    const char *good = encrypt("secret");
    char *bad = apr_pstrdup(pool, good);
    work_t work[4];
    pthread_t threads[4];
    int i;

    (void)state;
    bad[50] = bad[50] == 'A' ? 'B' : 'A';
    for (i = 0; i < 4; i++) {
        work_t one = { d, good, bad, 0 };

        work[i] = one;
        assert_int_equal(pthread_create(&threads[i], NULL, open_often, &work[i]), 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].wrong, 0);
    }
}

static int set_up(void **state)
{
    char template[] = "/tmp/vapi_decrypt_XXXXXX";

    (void)state;
    apr_pool_create(&pool, NULL);
    directory = apr_pstrdup(pool, mkdtemp(template));
    key = rsa_key(2048);
    key_file = write_key("key.pem", key, NULL, 0, 0600);
    return 0;
}

static int tear_down(void **state)
{
    apr_dir_t *dir;
    apr_finfo_t info;

    (void)state;
    apr_dir_open(&dir, directory, pool);
    while (apr_dir_read(&info, APR_FINFO_NAME, dir) == APR_SUCCESS) {
        if (info.name[0] != '.') {
            unlink(apr_pstrcat(pool, directory, "/", info.name, NULL));
        }
    }
    apr_dir_close(dir);
    rmdir(directory);
    EVP_PKEY_free(key);
    apr_pool_destroy(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opened),    cmocka_unit_test(test_paths),   cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_sizes),   cmocka_unit_test(test_key_files),
        cmocka_unit_test(test_bad_paths), cmocka_unit_test(test_threads),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    failed = cmocka_run_group_tests_name("decrypt", tests, set_up, tear_down);
    apr_terminate();
    return failed;
}
