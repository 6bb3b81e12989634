/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What a VapiParam takes, and the one form that it gives (T16-T18). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pool.h"
#include "vapi_delivery.h"

static vapi_param_t *add_param(vapi_tool_t *tool, const char *name, vapi_param_type type, int required, const char *choices)
{
    vapi_param_t *param = apr_pcalloc(pool, sizeof(*param));
    char *rest = choices ? apr_pstrdup(pool, choices) : NULL, *last, *choice;

    param->name = name;
    param->type = type;
    param->required = required;
    param->choices = choices ? apr_array_make(pool, 4, sizeof(const char *)) : NULL;
    for (choice = rest ? apr_strtok(rest, ",", &last) : NULL; choice; choice = apr_strtok(NULL, ",", &last)) {
        APR_ARRAY_PUSH(param->choices, const char *) = choice;
    }
    APR_ARRAY_PUSH(tool->params, vapi_param_t *) = param;
    return param;
}

static vapi_tool_t *make_tool(void)
{
    vapi_tool_t *tool = apr_pcalloc(pool, sizeof(*tool));

    tool->name = "transferCall";
    tool->params = apr_array_make(pool, 4, sizeof(vapi_param_t *));
    return tool;
}

static vapi_tool_t *tool_of(vapi_param_type type, int required, const char *choices)
{
    vapi_tool_t *tool = make_tool();

    add_param(tool, "a", type, required, choices);
    return tool;
}

static vapi_tool_call_t *call_of(json_t *arguments)
{
    vapi_tool_call_t *call = apr_pcalloc(pool, sizeof(*call));

    call->id = "call_1";
    call->name = "transferCall";
    call->fingerprint = 42;
    call->is_async = 1;
    call->arguments = arguments;
    if (arguments) {
        vapi_json_keep(arguments, pool);
    }
    return call;
}

static json_t *read_json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

    if (!value) {
        fail_msg("not JSON: %s", text);
    }
    return value;
}

/* The arguments as they were taken, or the error; what the payload holds must be as before. */
static const char *taken(const vapi_tool_t *tool, const char *arguments)
{
    json_t *given = read_json(arguments), *before = json_deep_copy(given);
    vapi_tool_call_t *call = call_of(given);
    const vapi_tool_call_t *after = call;
    const char *error = vapi_arguments_take(tool, NULL, &after, pool);
    char *text;
    const char *copy;

    assert_true(json_equal(given, before));
    assert_ptr_equal(call->arguments, given);
    json_decref(before);
    if (error) {
        assert_ptr_equal(after, call);
        return error;
    }
    assert_string_equal(after->id, "call_1");
    assert_string_equal(after->name, "transferCall");
    assert_true(after->fingerprint == 42 && after->is_async == 1);
    text = json_dumps(after->arguments, JSON_COMPACT | JSON_REAL_PRECISION(15));
    copy = apr_pstrdup(pool, text);
    free(text);
    return copy;
}

typedef struct case_t {
    const char *value, *turned;     /* NULL: refused */
} case_t;

static void check_cases(vapi_param_type type, const char *words, const case_t *cases, size_t count)
{
    const vapi_tool_t *tool = tool_of(type, 1, NULL);
    size_t i;

    for (i = 0; i < count; i++) {
        const char *got = taken(tool, apr_psprintf(pool, "{\"a\":%s}", cases[i].value));
        const char *expected = cases[i].turned ? apr_psprintf(pool, "{\"a\":%s}", cases[i].turned)
                                               : apr_psprintf(pool, "The argument 'a' must be %s.", words);

        if (strcmp(got, expected)) {
            fail_msg("%s: %s, not %s", cases[i].value, got, expected);
        }
    }
}

#define CHECK(type, words, ...) \
    do { \
        static const case_t cases[] = { __VA_ARGS__ }; \
        check_cases(type, words, cases, sizeof(cases) / sizeof(*cases)); \
    } while (0)

static void test_strings(void **state)
{
    (void)state;
    CHECK(VAPI_PARAM_STRING, "text", { "\"x\"", "\"x\"" }, { "\" x y \\n\"", "\"x y\"" }, { "7", "\"7\"" }, { "1.5", "\"1.5\"" },
          { "5.0", "\"5.0\"" }, { "true", "\"true\"" }, { "false", "\"false\"" }, { "{}", NULL }, { "[\"x\"]", NULL },
          { "\"{single}\"", "\"{single}\"" }, { "\"007\"", "\"007\"" }, { "-9223372036854775808", "\"-9223372036854775808\"" },
          { "\"M\xc3\xbcller\"", "\"M\xc3\xbcller\"" });
}

static void test_numbers(void **state)
{
    (void)state;
    CHECK(VAPI_PARAM_NUMBER, "a number", { "1", "1" }, { "-1.5", "-1.5" }, { "5.0", "5.0" }, { "\"12\"", "12" },
          { "\" 5 \"", "5" }, { "\"+5\"", "5" }, { "\"-5\"", "-5" }, { "\"007\"", "7" }, { "\"2.5\"", "2.5" },
          { "\".5\"", "0.5" }, { "\"1e3\"", "1000" }, { "\"1E-2\"", "0.01" }, { "\"-0\"", "0" },
          { "\"9223372036854775807\"", "9223372036854775807" }, { "\"99999999999999999999\"", "1e20" }, { "\"1e300\"", "1e300" },
          { "\"5x\"", NULL }, { "\"1e999\"", NULL }, { "\"NaN\"", NULL }, { "\"nan\"", NULL }, { "\"inf\"", NULL },
          { "\"Infinity\"", NULL }, { "\"0x10\"", NULL }, { "\"1,5\"", NULL }, { "\"1 000\"", NULL }, { "\"--1\"", NULL },
          { "\"+-1\"", NULL }, { "\"+ 5\"", NULL }, { "\".\"", NULL }, { "\"-\"", NULL }, { "\"e5\"", NULL }, { "\"1e\"", NULL },
          { "\"five\"", NULL }, { "true", NULL }, { "[1]", NULL }, { "{}", NULL });
}

/* A comma where the locale wants one changes nothing. */
static void test_locale(void **state)
{
    (void)state;
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") || setlocale(LC_NUMERIC, "fr_FR.UTF-8")) {
        assert_string_equal(taken(tool_of(VAPI_PARAM_NUMBER, 1, NULL), "{\"a\":\"2.5\"}"), "{\"a\":2.5}");
        setlocale(LC_NUMERIC, "C");
    }
}

static void test_integers(void **state)
{
    (void)state;
    CHECK(VAPI_PARAM_INTEGER, "a whole number", { "5", "5" }, { "5.0", "5" }, { "-5.0", "-5" }, { "1e3", "1000" },
          { "\"007\"", "7" }, { "\"-5\"", "-5" }, { "\"+5\"", "5" }, { "\" 5 \"", "5" },
          { "9223372036854775807", "9223372036854775807" }, { "\"-9223372036854775808\"", "-9223372036854775808" },
          { "\"9223372036854775808\"", NULL }, { "9.3e18", NULL }, { "-9.3e18", NULL }, { "1e300", NULL }, { "5.5", NULL },
          { "\"5.5\"", NULL }, { "\"5.0\"", NULL }, { "\"1e3\"", NULL }, { "\"5x\"", NULL }, { "\"0x5\"", NULL },
          { "\"NaN\"", NULL }, { "\"five\"", NULL }, { "\"-\"", NULL }, { "\"+\"", NULL }, { "\"5 5\"", NULL }, { "true", NULL },
          { "[]", NULL });
}

static void test_booleans(void **state)
{
    (void)state;
    CHECK(VAPI_PARAM_BOOLEAN, "true or false", { "true", "true" }, { "false", "false" }, { "\"TRUE\"", "true" },
          { "\"False\"", "false" }, { "\" true \"", "true" }, { "1", NULL }, { "0", NULL }, { "\"yes\"", NULL },
          { "\"truely\"", NULL }, { "\"t\"", NULL }, { "[true]", NULL });
}

static void test_phones(void **state)
{
    (void)state;
    CHECK(VAPI_PARAM_PHONE, "a phone number", { "\"(415) 555-0100\"", "\"4155550100\"" },
          { "\"+1 415-555-0100\"", "\"+14155550100\"" }, { "\"0044 20 7946 0000\"", "\"+442079460000\"" },
          { "\"+14155550100\"", "\"+14155550100\"" }, { "\" +1 (415) 555.0100 \"", "\"+14155550100\"" },
          { "\"5550123\"", "\"5550123\"" }, { "\"020 7946 0000\"", "\"02079460000\"" },
          { "\"(020) 7946 0000\"", "\"02079460000\"" }, { "\"+123456789012345\"", "\"+123456789012345\"" },
          { "\"00123456789012345\"", "\"+123456789012345\"" }, { "\"123456789012345\"", "\"123456789012345\"" },
          { "\"+1234567890123456\"", NULL }, { "\"1234567890123456\"", NULL }, { "\"555012\"", NULL }, { "\"+555012\"", NULL },
          { "\"00555012\"", NULL }, { "\"415-CALL-NOW\"", NULL }, { "\"call me\"", NULL }, { "\"+\"", NULL }, { "\"00\"", NULL },
          { "\"++14155550100\"", NULL }, { "\"1+4155550100\"", NULL }, { "\"+04155550100\"", NULL },
          { "\"0004155550100\"", NULL }, { "\"+44 (0)20 7946 0000\"", NULL }, { "\"4155550100;ext=1\"", NULL },
          { "\"sip:a@b.example\"", NULL }, { "\"4155550100,,1\"", NULL }, { "14155550100", NULL }, { "true", NULL },
          { "\"\xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4\xd9\xa5\xd9\xa6\xd9\xa7\"", NULL });
}

static void test_choices(void **state)
{
    static const char wrong[] = "The argument 'a' must be one of: billing,Tech Support,4.";
    const vapi_tool_t *tool = tool_of(VAPI_PARAM_STRING, 1, "billing,Tech Support,4"),
                      *both = tool_of(VAPI_PARAM_STRING, 1, "US,us");
    const vapi_tool_t *whole = tool_of(VAPI_PARAM_INTEGER, 1, "1,2"), *real = tool_of(VAPI_PARAM_NUMBER, 1, "1.50,2");
    const vapi_tool_t *phone = tool_of(VAPI_PARAM_PHONE, 1, "+14155550100"), *yes = tool_of(VAPI_PARAM_BOOLEAN, 1, "true");

    (void)state;
    assert_string_equal(taken(tool, "{\"a\":\"billing\"}"), "{\"a\":\"billing\"}");
    assert_string_equal(taken(tool, "{\"a\":\" BILLING\\t\"}"), "{\"a\":\"billing\"}");
    assert_string_equal(taken(tool, "{\"a\":\"tech support\"}"), "{\"a\":\"Tech Support\"}");
    assert_string_equal(taken(tool, "{\"a\":4}"), "{\"a\":\"4\"}");
    assert_string_equal(taken(tool, "{\"a\":\"sales\"}"), wrong);
    assert_string_equal(taken(tool, "{\"a\":\"billing,Tech Support\"}"), wrong);
    assert_string_equal(taken(tool, "{\"a\":\"bill\"}"), wrong);
    assert_string_equal(taken(tool, "{\"a\":true}"), wrong);
    assert_string_equal(taken(tool, "{\"a\":[\"billing\"]}"), "The argument 'a' must be text.");
    assert_string_equal(taken(both, "{\"a\":\"us\"}"), "{\"a\":\"us\"}");
    assert_string_equal(taken(both, "{\"a\":\"Us\"}"), "{\"a\":\"US\"}");
    assert_string_equal(taken(whole, "{\"a\":\"2\"}"), "{\"a\":2}");
    assert_string_equal(taken(whole, "{\"a\":\"02\"}"), "{\"a\":2}");
    assert_string_equal(taken(whole, "{\"a\":1.0}"), "{\"a\":1}");
    assert_string_equal(taken(whole, "{\"a\":3}"), "The argument 'a' must be one of: 1,2.");
    assert_string_equal(taken(real, "{\"a\":\"1.50\"}"), "{\"a\":1.5}");
    assert_string_equal(taken(real, "{\"a\":2}"), "{\"a\":2}");
    assert_string_equal(taken(phone, "{\"a\":\"001 415 555 0100\"}"), "{\"a\":\"+14155550100\"}");
    assert_string_equal(taken(yes, "{\"a\":\"True\"}"), "{\"a\":true}");
    assert_string_equal(taken(yes, "{\"a\":false}"), "The argument 'a' must be one of: true.");
}

static void test_missing(void **state)
{
    static const char *const missing[] = {
        "{\"b\":1}",
        "{\"a\":null,\"b\":1}",
        "{\"a\":\"\",\"b\":1}",
        "{\"a\":\"  \",\"b\":1}",
        "{\"a\":\"{{customerNumber}}\",\"b\":1}",
        "{\"a\":\"for {{ name }} now\",\"b\":1}",
    };
    vapi_param_type type;
    size_t i;

    (void)state;
    for (type = VAPI_PARAM_STRING; type <= VAPI_PARAM_PHONE; type++) {
        for (i = 0; i < sizeof(missing) / sizeof(*missing); i++) {
            assert_string_equal(taken(tool_of(type, 1, NULL), missing[i]), "The argument 'a' is missing.");
            assert_string_equal(taken(tool_of(type, 1, "1"), missing[i]), "The argument 'a' is missing.");
            assert_string_equal(taken(tool_of(type, 0, NULL), missing[i]), "{\"b\":1}");
            assert_string_equal(taken(tool_of(type, 0, "1"), missing[i]), "{\"b\":1}");
        }
    }
    assert_string_equal(taken(tool_of(VAPI_PARAM_STRING, 0, NULL), "{\"a\":\"{{ open\"}"), "{\"a\":\"{{ open\"}");
    assert_string_equal(taken(tool_of(VAPI_PARAM_PHONE, 0, NULL), "{\"a\":\"nonsense\"}"),
                        "The argument 'a' must be a phone number.");
}

static void test_several(void **state)
{
    vapi_tool_t *tool = make_tool();

    (void)state;
    add_param(tool, "number", VAPI_PARAM_PHONE, 1, NULL);
    add_param(tool, "level", VAPI_PARAM_INTEGER, 0, NULL);
    add_param(tool, "zip", VAPI_PARAM_STRING, 0, NULL);
    assert_string_equal(
        taken(tool, "{\"x\":\" 7 \",\"number\":\"+1 415 555 "
                    "0100\",\"list\":[{\"level\":\"1\"}],\"level\":\"3\",\"zip\":94107,\"y\":\"{{z}}\",\"n\":null}"),
        "{\"x\":\" 7 "
        "\",\"number\":\"+14155550100\",\"list\":[{\"level\":\"1\"}],\"level\":3,\"zip\":\"94107\",\"y\":\"{{z}}\",\"n\":null}");
    assert_string_equal(taken(tool, "{\"level\":\"x\"}"), "The argument 'number' is missing.");
    assert_string_equal(taken(tool, "{\"level\":\"x\",\"number\":\"5550123\"}"), "The argument 'level' must be a whole number.");
    assert_string_equal(taken(make_tool(), "{\"x\":\" 7 \"}"), "{\"x\":\" 7 \"}");
    assert_string_equal(taken(NULL, "{\"x\":\" 7 \"}"), "{\"x\":\" 7 \"}");
}

static void test_untouched(void **state)
{
    vapi_tool_call_t *call = call_of(read_json("{\"x\":1}")), *unreadable = call_of(NULL);
    const vapi_tool_call_t *after = call;

    (void)state;
    assert_null(vapi_arguments_take(NULL, NULL, &after, pool));
    assert_ptr_equal(after, call);
    after = unreadable;
    unreadable->arguments_error = "the arguments are not JSON";
    assert_string_equal(vapi_arguments_take(NULL, NULL, &after, pool),
                        "The arguments could not be read: the arguments are not JSON.");
    assert_ptr_equal(after, unreadable);
}

static void test_lengths(void **state)
{
    char *text = apr_palloc(pool, 6000);
    const char *fits, *too_long;

    (void)state;
    memset(text, 'x', 4097);
    text[4097] = '\0';
    too_long = apr_psprintf(pool, "{\"a\":\"%s\"}", text);
    text[4096] = '\0';
    fits = apr_psprintf(pool, "{\"a\":\"%s\"}", text);
    assert_string_equal(taken(tool_of(VAPI_PARAM_STRING, 1, NULL), fits), fits);
    assert_string_equal(taken(tool_of(VAPI_PARAM_STRING, 1, NULL), too_long), "An argument is too long.");
    assert_string_equal(taken(NULL, too_long), "An argument is too long.");
    assert_string_equal(taken(NULL, apr_psprintf(pool, "{\"b\":{\"a\":[\"%s\"]}}", text)), "An argument is too long.");
}

/* A key file and what opens with it. */
static const vapi_decrypt_t *make_decrypt(EVP_PKEY **key, const char *path)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    apr_array_header_t *paths = apr_array_make(pool, 1, sizeof(const char *));
    char name[] = "/tmp/vapi_arguments_XXXXXX";
    FILE *file = fdopen(mkstemp(name), "w");
    vapi_decrypt_t *decrypt = NULL;

    *key = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048), 1);
    assert_int_equal(EVP_PKEY_keygen(context, key), 1);
    EVP_PKEY_CTX_free(context);
    assert_int_equal(PEM_write_PrivateKey(file, *key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    APR_ARRAY_PUSH(paths, const char *) = path;
    assert_null(vapi_decrypt_make(&decrypt, name, paths, pool));
    unlink(name);
    return decrypt;
}

static const char *encrypt(EVP_PKEY *key, const char *plain)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    unsigned char cipher[256];
    size_t size = sizeof(cipher);
    char *text = apr_palloc(pool, 400);

    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()), 1);
    assert_int_equal(EVP_PKEY_encrypt(context, cipher, &size, (const unsigned char *)plain, strlen(plain)), 1);
    EVP_PKEY_CTX_free(context);
    EVP_EncodeBlock((unsigned char *)text, cipher, (int)size);
    return text;
}

static void test_encrypted(void **state)
{
    EVP_PKEY *key;
    const vapi_decrypt_t *decrypt = make_decrypt(&key, "a");
    const vapi_tool_t *tool = tool_of(VAPI_PARAM_PHONE, 1, NULL);
    vapi_tool_call_t *call = call_of(json_pack("{s:s,s:i}", "a", encrypt(key, " +1 415 555 0100"), "b", 7));
    const vapi_tool_call_t *after = call;
    json_t *before = json_deep_copy(call->arguments);

    (void)state;
    assert_null(vapi_arguments_take(tool, decrypt, &after, pool));
    assert_string_equal(vapi_tool_call_argument(after, "a", pool), "+14155550100");
    assert_string_equal(vapi_tool_call_argument(after, "b", pool), "7");
    assert_true(json_equal(before, call->arguments));
    assert_true(after->fingerprint == 42);
    json_decref(before);

    after = call;      /* without a VapiTool */
    assert_null(vapi_arguments_take(NULL, decrypt, &after, pool));
    assert_string_equal(vapi_tool_call_argument(after, "a", pool), " +1 415 555 0100");

    after = call = call_of(json_pack("{s:s}", "a", encrypt(key, "nobody")));
    assert_string_equal(vapi_arguments_take(tool, decrypt, &after, pool), "The argument 'a' must be a phone number.");
    assert_ptr_equal(after, call);

    after = call = call_of(json_pack("{s:s}", "a", "+14155550100"));
    assert_string_equal(vapi_arguments_take(tool, decrypt, &after, pool), "The argument 'a' could not be read.");
    assert_ptr_equal(after, call);

    after = call_of(json_pack("{s:i}", "b", 7));
    assert_string_equal(vapi_arguments_take(tool, decrypt, &after, pool), "The argument 'a' is missing.");
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_locale, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_integers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_booleans, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_phones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_untouched, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_lengths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_encrypted, set_up, tear_down),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    failed = cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
    apr_terminate();
    return failed;
}
