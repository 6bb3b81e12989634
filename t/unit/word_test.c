/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_word.h"

static apr_pool_t *pool;

/* The words as `positional|positional|key=<value>|...`, or `! ` and the error. */
static const char *read_as_text(const char *line)
{
    vapi_words_t *words;
    const char *error = vapi_words_read(&words, line, pool);
    const char *text = "";
    int i;

    if (error) {
        return apr_pstrcat(pool, "! ", error, NULL);
    }
    for (i = 0; vapi_words_at(words, i); i++) {
        text = apr_pstrcat(pool, text, vapi_words_at(words, i), "|", NULL);
    }
    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);

        text = apr_pstrcat(pool, text, key->name, "=<", key->value, ">|", NULL);
    }
    return text;
}

typedef struct pair_t {
    const char *in, *out;
} pair_t;

static void test_words(void **state)
{
    static const pair_t cases[] = {
        { "", "" },
        { " \t ", "" },
        { "a b\tc ", "a|b|c|" },
        { "billing +14155550100 say=\"Connecting you.\"", "billing|+14155550100|say=<Connecting you.>|" },
        { "say='Connecting \"you\".'", "say=<Connecting \"you\".>|" },
        { "\"say=Connecting you.\"", "say=<Connecting you.>|" },
        { "'say=Connecting you.' a=b", "say=<Connecting you.>|a=<b>|" },
        { "say=\"\" result=", "say=<>|result=<>|" },
        { "\"\" ''", "||" },
        { "\"two words\" three", "two words|three|" },
        /* escapes: only the backslash itself and the quote that is open, and only inside quotes */
        { "\"a\\\"b\" 'a\\'b' \"a\\'b\" 'a\\\"b'", "a\"b|a'b|a\\'b|a\\\"b|" },
        { "\"\\d+\\\\s\" \\d\\\\s", "\\d+\\s|\\d\\\\s|" },
        { "say=\"a\\\\\" b=\"\\\\\\\"\"", "say=<a\\>|b=<\\\">|" },
        /* a quote opens at the start of a word or of a value, nowhere else */
        { "it's a\"b\" x=a'b'", "it's|a\"b\"|x=<a'b'>|" },
        { "header=\"N: a=b\" header=N:\"x\"", "header=<N: a=b>|header=<N:\"x\">|" },
        /* expressions */
        { "oncall \"arg('urgency') == 'critical'\"", "oncall|arg('urgency') == 'critical'|" },
        { "a=='b'", "a=='b'|" },
        { "\"a=='b'\"", "a=='b'|" },
        { "a== b", "a==|b|" },
        { "\"a = 'b'\"", "a = 'b'|" },
        { "%{VAPI_CALLER}=~/x/", "%{VAPI_CALLER}=~/x/|" },
        /* keys are lower case and begin with a letter */
        { "Key=x k-2=y", "Key=x|k-2=<y>|" },
        { "1a=b -a=b _a=b", "1a=b|-a=b|_a=b|" },
        { "with=crm.tier=enterprise with=crm=error", "with=<crm.tier=enterprise>|with=<crm=error>|" },
        { "secret=abc== a=b", "secret=<abc==>|a=<b>|" },
        { "say=\xc3\xbc\x62\x65r", "say=<\xc3\xbc\x62\x65r>|" },
        /* errors show a place or a key, never a value */
        { "a \"b", "! word 2 lacks its closing quote" },
        { "a 'b\\'", "! word 2 lacks its closing quote" },
        { "a say=\"Hush", "! the value of say lacks its closing quote" },
        { "\"secret=Hush", "! word 1 lacks its closing quote" },
        { "a \"b\"c", "! word 2: a blank must follow its closing quote (inside, a quote is written \\\" or \\')" },
        { "secret=\"hush\"hush", "! the value of secret: a blank must follow its closing quote (inside, a quote is written \\\" or \\')" },
        { "a secret=hush hush2", "! word 3 is no key=value but stands after the key 'secret' (a value with blanks is written secret=\"...\")" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(read_as_text(cases[i].in), cases[i].out);
    }
}

static const char *check(const char *line, const vapi_key_rule_t *rules)
{
    vapi_words_t *words;

    assert_null(vapi_words_read(&words, line, pool));
    return vapi_words_check(words, rules, pool);
}

static void test_keys(void **state)
{
    static const vapi_key_rule_t rules[] = { { "timeout", 0 }, { "header", 1 }, { "body", 0 }, { NULL, 0 } };
    static const vapi_key_rule_t none[] = { { NULL, 0 } };
    vapi_words_t *words;

    (void)state;
    assert_null(check("", rules));
    assert_null(check("x timeout=1 header=a header=b", rules));
    assert_string_equal(check("timout=1", rules), "unknown key 'timout'; did you mean 'timeout'?");
    assert_string_equal(check("haeder=1", rules), "unknown key 'haeder'; did you mean 'header'?");
    assert_string_equal(check("colour=1", rules), "unknown key 'colour'; known are timeout, header, body");
    assert_string_equal(check("body=hush body=hush", rules), "the key 'body' is given twice");
    assert_string_equal(check("a=1", none), "unknown key 'a'");

    assert_null(vapi_words_read(&words, "x y header=a header=b", pool));
    assert_string_equal(vapi_words_get(words, "header"), "a");
    assert_null(vapi_words_get(words, "body"));
    assert_string_equal(vapi_words_at(words, 1), "y");
    assert_null(vapi_words_at(words, 2));
    assert_null(vapi_words_at(words, -1));
}

static void test_names(void **state)
{
    static const char *const good[] = { "a", "Z", "billing", "on-call", "a_1", "x--" };
    static const char *const bad[] = { "", "1a", "-a", "_a", "a b", "a.b", "a:b", "\xc3\xa4", "a\xc3\xa4", "a\n" };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(vapi_word_is_name(good[i]));
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(vapi_word_is_name(bad[i]));
    }
}

static void test_numbers(void **state)
{
    static const char *const bad[] = { "", " 1", "1 ", "+1", "0x1", "1.0", "1e3", "a", "-", "--1", "0", "11", "-1",
                                       "99999999999999999999999", "-99999999999999999999999", "5x" };
    apr_int64_t n = 77;
    size_t i;

    (void)state;
    assert_null(vapi_word_number(&n, "1", 1, 10, pool));
    assert_int_equal(n, 1);
    assert_null(vapi_word_number(&n, "010", 1, 10, pool));
    assert_int_equal(n, 10);
    assert_null(vapi_word_number(&n, "-5", -10, 10, pool));
    assert_int_equal(n, -5);
    assert_null(vapi_word_number(&n, "9223372036854775807", 0, APR_INT64_MAX, pool));
    assert_true(n == APR_INT64_MAX);
    n = 77;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(vapi_word_number(&n, bad[i], 1, 10, pool), "a whole number from 1 to 10");
        assert_int_equal(n, 77);
    }
}

static void test_times(void **state)
{
    static const struct {
        const char *in;
        apr_interval_time_t out;
    } good[] = {
        { "0", 0 }, { "5", 5000000 }, { "5s", 5000000 }, { "300ms", 300000 }, { "2min", 120000000 }, { "1h", APR_INT64_C(3600000000) },
        { "5S", 5000000 }, { "60min", APR_INT64_C(3600000000) },
    };
    static const char *const bad[] = { "", "s", "-1", "+1", "1.5", "1m", "1d", "1 s", "5s ", "5sx", "61min", "2h", "3601",
                                       "9223372036854775807", "9223372036854775807h", "99999999999999999999" };
    apr_interval_time_t t = 77;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(vapi_word_time(&t, good[i].in, 0, apr_time_from_sec(3600), pool));
        assert_true(t == good[i].out);
    }
    t = 77;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_string_equal(vapi_word_time(&t, bad[i], 0, apr_time_from_sec(3600), pool),
                            "a time from 0 to 1h, in seconds or with a unit (ms, s, min, h)");
        assert_true(t == 77);
    }
    assert_string_equal(vapi_word_time(&t, "0", 1500000, apr_time_from_sec(90), pool),
                        "a time from 1500ms to 90s, in seconds or with a unit (ms, s, min, h)");
}

static void test_flags(void **state)
{
    int on = 7;

    (void)state;
    assert_string_equal(vapi_word_flag(&on, "yes"), "on or off");
    assert_string_equal(vapi_word_flag(&on, ""), "on or off");
    assert_int_equal(on, 7);
    assert_null(vapi_word_flag(&on, "On"));
    assert_int_equal(on, 1);
    assert_null(vapi_word_flag(&on, "off"));
    assert_int_equal(on, 0);
}

static void test_near(void **state)
{
    static const char *const names[] = { "least-busy", "longest-idle", "round-robin", "weighted", "ordered", "on", NULL };
    static const pair_t cases[] = {
        { "leastbusy", "least-busy" }, { "Least-Busy", "least-busy" }, { "wieghted", "weighted" }, { "orderd", "ordered" }, { "round_robbin", "round-robin" },
        { "no", "on" }, { "om", "on" }, { "zebra", NULL }, { "", NULL }, { "completely-different-thing", NULL },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *near = vapi_word_nearest(cases[i].in, names);

        if (cases[i].out) {
            assert_non_null(near);
            assert_string_equal(near, cases[i].out);
        }
        else {
            assert_null(near);
        }
    }
    assert_null(vapi_word_nearest(apr_pstrcat(pool, "least-busy-least-busy-least-busy-least-busy-least-busy-least-busy-least-busy", NULL), names));
}

static void test_choices(void **state)
{
    static const char *const names[] = { "sha256", "sha512", "sha1", NULL };
    const char *error = "untouched";

    (void)state;
    assert_int_equal(vapi_word_choice("sha512", names, &error, pool), 1);
    assert_string_equal(error, "untouched");
    assert_int_equal(vapi_word_choice("sha-256", names, &error, pool), -1);
    assert_string_equal(error, "'sha-256' is none of sha256, sha512, sha1 (did you mean sha256?)");
    assert_int_equal(vapi_word_choice("md5", names, &error, pool), -1);
    assert_string_equal(error, "'md5' is none of sha256, sha512, sha1");
    assert_int_equal(vapi_word_choice("0123456789012345678901234567890123456789 and much more", names, &error, pool), -1);
    assert_string_equal(error, "'0123456789012345678901234567890123456789' is none of sha256, sha512, sha1");
}

static void test_shown(void **state)
{
    static const char *const lines[] = {
        "a=b c=\"\" d=\"x y\" e=it's", "header=\"N: \\\"v\\\"\" header=\"a\\\\\"", "x='\"'",
    };
    vapi_words_t *words, *again;
    size_t i;

    (void)state;
    assert_string_equal(vapi_word_pair("a", "b", pool), " a=b");
    assert_string_equal(vapi_word_pair("a", "", pool), " a=\"\"");
    assert_string_equal(vapi_word_pair("a", "x \"y\\", pool), " a=\"x \\\"y\\\\\"");
    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char *text;

        assert_null(vapi_words_read(&words, lines[i], pool));
        text = vapi_words_describe(words, pool);
        assert_null(vapi_words_read(&again, text, pool));
        assert_string_equal(vapi_words_describe(again, pool), text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_keys), cmocka_unit_test(test_names), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_times), cmocka_unit_test(test_flags), cmocka_unit_test(test_near), cmocka_unit_test(test_choices),
        cmocka_unit_test(test_shown),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("word", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
