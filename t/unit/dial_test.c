/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_dial.h"

static apr_pool_t *pool;

typedef struct form_t {
    const char *number;
    int e164, loose;
} form_t;

static void test_numbers(void **state)
{
    static const form_t cases[] = {
        { "+14155550100", 1, 1 }, { "+12", 1, 1 }, { "+123456789012345", 1, 1 }, { "+1234567890123456", 0, 1 }, { "+1", 0, 0 }, { "+", 0, 0 },
        { "", 0, 0 }, { "+04155550100", 0, 1 }, { "14155550100", 0, 1 }, { "1800FLOWERS", 0, 1 }, { "911", 0, 1 }, { "91", 0, 0 },
        { "+1415555010x", 0, 1 }, { "+1 4155550100", 0, 0 }, { "+14155550100 ", 0, 0 }, { "+14155550100\n", 0, 0 }, { "++14155550100", 0, 0 },
        { "+1-415", 0, 0 }, { "\xef\xbc\x8b" "14155550100", 0, 0 }, { "+1\xd9\xa1\xd9\xa2", 0, 0 }, { "tel:+14155550100", 0, 0 },
        { "0123456789012345678901234567890123456789", 0, 1 }, { "01234567890123456789012345678901234567890", 0, 0 },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(vapi_dial_is_e164(cases[i].number), cases[i].e164);
        assert_int_equal(vapi_dial_is_loose(cases[i].number), cases[i].loose);
    }
}

static void test_good_uris(void **state)
{
    static const struct {
        const char *uri, *user, *host;
    } cases[] = {
        { "sip:oncall@pbx.example.com", "oncall", "pbx.example.com" },
        { "SIPS:Oncall@PBX.Example.COM", "Oncall", "pbx.example.com" },
        { "sip:+1234567890@sip.telnyx.com", "+1234567890", "sip.telnyx.com" },
        { "sip:pbx.example.com", NULL, "pbx.example.com" },
        { "sip:a@pbx", "a", "pbx" },
        { "sip:a@pbx.example.com.", "a", "pbx.example.com" },
        { "sip:a@pbx.example.com:5060", "a", "pbx.example.com" },
        { "sip:a@pbx.example.com:5061;transport=tls;lr", "a", "pbx.example.com" },
        { "sip:a:secret@pbx.example.com", "a", "pbx.example.com" },
        { "sip:a:@pbx.example.com", "a", "pbx.example.com" },
        { "sip:%61%2b1@pbx.example.com", "a+1", "pbx.example.com" },
        { "sip:a%40b@pbx.example.com", "a@b", "pbx.example.com" },
        { "sip:+1415;phone-context=x@pbx.example.com", "+1415;phone-context=x", "pbx.example.com" },
        { "sip:a&b=c+d$e,f;g/h-_.!~*'()@pbx.example.com", "a&b=c+d$e,f;g/h-_.!~*'()", "pbx.example.com" },
        { "sip:a@192.0.2.10", "a", "192.0.2.10" },
        { "sip:a@[2001:DB8::1]:5060", "a", "[2001:db8::1]" },
        { "sip:[::1];transport=udp", NULL, "[::1]" },
        { "sip:a@x1-y.2z.example", "a", "x1-y.2z.example" },
        { "sip:a@pbx.example.com;x=%41;y=[1]/:&+$", "a", "pbx.example.com" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *user, *host;

        assert_null(vapi_dial_check_sip(cases[i].uri));
        vapi_dial_sip_parts(cases[i].uri, &user, &host, pool);
        assert_string_equal(host, cases[i].host);
        if (cases[i].user) {
            assert_string_equal(user, cases[i].user);
        }
        else {
            assert_null(user);
        }
    }
}

static void test_bad_uris(void **state)
{
    static const char *const cases[] = {
        "", "sip", "sip:", "sips:", "tel:+1415", "http://pbx.example.com", "a@pbx.example.com", " sip:a@pbx.example.com", "sip :a@b",
        "sip:@pbx.example.com", "sip:a@", "sip:a@b@pbx.example.com", "sip:a b@pbx.example.com", "sip:a@pbx.example.com ", "sip:a@pbx\texample",
        "sip:a@pbx.example.com\r\nX: y", "sip:a@pbx.example.com?Replaces=x", "sip:a?b@pbx.example.com", "<sip:a@pbx.example.com>", "sip:a@<b>",
        "sip:\xc3\xa4@pbx.example.com", "sip:a@pbx.ex\xc3\xa4mple.com", "sip:a%0d%0a@pbx.example.com", "sip:a%00@pbx.example.com", "sip:a%7f@b.example",
        "sip:a%@pbx.example.com", "sip:a%4@pbx.example.com", "sip:a%4g@pbx.example.com", "sip:a\"@pbx.example.com", "sip:a#b@pbx.example.com",
        "sip:a@pbx_1.example.com", "sip:a@-pbx.example.com", "sip:a@pbx-.example.com", "sip:a@pbx..example.com", "sip:a@.example.com", "sip:a@.",
        "sip:a@pbx.example.com..", "sip:a@%70bx.example.com", "sip:a@1.2.3", "sip:a@256.1.1.1", "sip:a@2130706433", "sip:a@0x7f.0.0.1", "sip:a@1.2.3.4.5",
        "sip:a@*.example.com", "sip:a@[::1", "sip:a@[]", "sip:a@[", "sip:a@[1.2.3.4]", "sip:a@[::1%25eth0]", "sip:a@[::1]x", "sip:a@::1",
        "sip:a@pbx.example.com:", "sip:a@pbx.example.com:0", "sip:a@pbx.example.com:65536", "sip:a@pbx.example.com:5060x", "sip:a@pbx.example.com:-1",
        "sip:a@pbx.example.com;", "sip:a@pbx.example.com;;lr", "sip:a@pbx.example.com;=x", "sip:a@pbx.example.com;x=", "sip:a@pbx.example.com;x=a=b",
        "sip:a@pbx.example.com;x=%0a", "sip:a@pbx.example.com/path", "sip:a@pbx.example.com,b@c.example", "sip://a@pbx.example.com",
        "sip:a@pbx.example.com\\@evil.example", "sip:a:b:c@pbx.example.com", "sip:a@pbx.example.com;x=@evil.example",
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!vapi_dial_check_sip(cases[i])) {
            fail_msg("passed: %s", cases[i]);
        }
    }
}

static void test_params(void **state)
{
    (void)state;
    assert_true(vapi_dial_sip_has_param("sip:a@b.example;lr;MADDR=c.example", "maddr", pool));
    assert_true(vapi_dial_sip_has_param("sip:a@b.example:5060;m%61ddr=c.example", "maddr", pool));
    assert_true(vapi_dial_sip_has_param("sip:b.example;maddr", "maddr", pool));
    assert_false(vapi_dial_sip_has_param("sip:a;maddr=x@b.example;maddrx=1;x=maddr", "maddr", pool));
    assert_false(vapi_dial_sip_has_param("sip:a@b.example", "maddr", pool));
}

static const apr_array_header_t *allow_list(const char *words)
{
    apr_array_header_t *allow = apr_array_make(pool, 8, sizeof(vapi_allow_t *));
    char *last, *word = apr_strtok(apr_pstrdup(pool, words), " ", &last);

    for (; word; word = apr_strtok(NULL, " ", &last)) {
        vapi_allow_t *entry;

        assert_null(vapi_allow_parse(&entry, word, pool));
        assert_string_equal(vapi_allow_text(entry), word);
        APR_ARRAY_PUSH(allow, vapi_allow_t *) = entry;
    }
    return allow;
}

typedef struct target_t {
    const char *target;
    int passes;
} target_t;

static void check_targets(const char *words, const target_t *cases, size_t count)
{
    const apr_array_header_t *allow = allow_list(words);
    size_t i;

    for (i = 0; i < count; i++) {
        if (vapi_allow_passes(allow, cases[i].target, pool) != cases[i].passes) {
            fail_msg("%s is %s under %s", cases[i].target, cases[i].passes ? "refused" : "passed", words);
        }
    }
}

#define CHECK(words, cases) check_targets(words, cases, sizeof(cases) / sizeof(cases[0]))

static void test_toll_fraud(void **state)
{
    static const target_t cases[] = {
        { "+14155550100", 1 }, { "14155550100", 1 }, { "+19005550100", 0 }, { "19005550100", 0 }, { "+18095550100", 1 },
        { "+442079460000", 0 }, { "+881612345678", 0 }, { "911", 0 }, { "0014155550100", 0 }, { "01119005550100", 0 }, { "1900FLOWERS", 0 },
        { "+1-415-555-0100", 0 }, { " +14155550100", 0 }, { "+14155550100,,9", 0 }, { "tel:+14155550100", 0 }, { "", 0 }, { "+", 0 },
        { "assistant:Triage", 0 }, { "https://pbx.example.com", 0 },

        { "sip:bob@pbx.example.com", 1 }, { "SIPS:bob@PBX.EXAMPLE.COM:5061;transport=tls", 1 }, { "sip:pbx.example.com", 1 },
        { "sip:bob@sales.example.com", 1 }, { "sip:bob@a.b.example.com", 1 }, { "sip:bob@example.com", 0 }, { "sip:bob@evilexample.com", 0 },
        { "sip:bob@pbx.example.com.evil.example", 0 }, { "sip:bob@pbx.example.com.", 1 }, { "sip:bob@evil.example", 0 }, { "sip:bob@192.0.2.1", 0 },
        { "sip:bob@[2001:db8::1]", 0 }, { "sip:pbx.example.com@evil.example", 0 }, { "sip:bob@evil.example;x=pbx.example.com", 0 },
        { "sip:bob@pbx.example.com?X-Y=z", 0 }, { "sip:bob@pbx.example.com@evil.example", 0 },
        { "sip:bob@pbx.example.com;maddr=evil.example", 0 }, { "sip:bob@pbx.example.com;m%61ddr=192.0.2.1", 0 },

        { "sip:+14155550100@pbx.example.com", 1 }, { "sip:14155550100@pbx.example.com", 1 }, { "sip:+19005550100@pbx.example.com", 0 },
        { "sip:19005550100@pbx.example.com", 0 }, { "sip:+442079460000@pbx.example.com", 0 }, { "sip:+14155550100@evil.example", 0 },
        { "sip:%2B19005550100@pbx.example.com", 0 }, { "sip:%2b1%39005550100@pbx.example.com", 0 }, { "sip:%2B14155550100@pbx.example.com", 1 },
        { "sip:+1-900-555-0100@pbx.example.com", 0 }, { "sip:+1.(900).5550100@pbx.example.com", 0 }, { "sip:+1-415-555-0100@pbx.example.com", 1 },
        { "sip:+19005550100:pw@pbx.example.com", 0 }, { "sip:+19005550100@pbx.example.com;user=phone", 0 },
        { "sip:+14155550100;phone-context=+1900@pbx.example.com", 0 }, { "sip:+19005550100;x=y@pbx.example.com", 0 },
        { "sip:+19005550100%3Bx@pbx.example.com", 0 }, { "sip:bob;x=y@pbx.example.com", 0 }, { "sip:bob%40evil.example@pbx.example.com", 0 },
        { "sip:%252B19005550100@pbx.example.com", 0 }, { "sip:bob%20+1900@pbx.example.com", 0 },
        { "sip:*6719005550100@pbx.example.com", 0 }, { "sip:9,19005550100@pbx.example.com", 0 }, { "sip:%2319005550100@pbx.example.com", 0 },
        { "sip:+@pbx.example.com", 1 }, { "sip:0019005550100@pbx.example.com", 0 },

        { "sip:desk@other.example", 1 }, { "sip:desk:pw@other.example:5060", 1 }, { "sip:d%65sk@OTHER.example", 1 }, { "sip:Desk@other.example", 0 },
        { "sip:desk2@other.example", 0 }, { "sip:other.example", 0 }, { "sip:desk@x.other.example", 0 }, { "sip:desk@other.example;maddr=1.2.3.4", 0 },
    };

    (void)state;
    CHECK("+1 !+1900 +1809 pbx.example.com *.example.com desk@other.example", cases);
}

static void test_longest_match(void **state)
{
    static const target_t numbers[] = {
        { "+14155550100", 1 }, { "+19005550100", 0 }, { "+19005551234", 1 }, { "+441234", 0 }, { "+44123", 0 }, { "+49891234", 0 }, { "+1900", 0 },
    };
    static const target_t domains[] = {
        { "sip:a@x.example.com", 1 }, { "sip:a@bad.example.com", 0 }, { "sip:a@good.bad.example.com", 1 }, { "sip:a@other.bad.example.com", 0 },
        { "sip:a@a.test", 0 }, { "sip:a@b.test", 1 },
        { "sip:5551234@x.example.com", 0 }, { "sip:5551234@other.bad.example.com", 1 }, { "sip:+19005550100@x.example.com", 1 },
        { "sip:+19005550100@y.example.com", 0 }, { "sip:root@x.example.com", 0 }, { "sip:ROOT@x.example.com", 0 }, { "sip:root@good.bad.example.com", 0 },
        { "sip:root@safe.example.com", 1 },
    };
    static const target_t addresses[] = {
        { "sip:a@192.0.2.10", 1 }, { "sip:a@192.0.2.11", 0 }, { "sip:a@[2001:db8::1]", 1 }, { "sip:a@[2001:DB8::1]:5060", 1 }, { "sip:a@[2001:db8::2]", 0 },
        { "sip:a;b=c@192.0.2.10", 0 }, { "sip:+1415;ext=3@listed.example", 1 },
    };

    (void)state;
    CHECK("!+1900 +1 +19005551 +44 !+44 !+49", numbers);
    CHECK("*.example.com !bad.example.com good.bad.example.com !*.bad.example.com *.test !a.test 5551234@*.bad.example.com "
          "+19005550100@x.example.com !root@*.example.com root@safe.example.com", domains);
    CHECK("192.0.2.10 [2001:db8::1] +1415;ext=3@listed.example", addresses);
}

static void test_nothing_passes_by_default(void **state)
{
    static const target_t cases[] = { { "+14155550100", 0 }, { "sip:bob@pbx.example.com", 0 } };

    (void)state;
    CHECK("", cases);
    CHECK("!+1900 !pbx.example.com", cases);
    assert_false(vapi_allow_passes(NULL, "+14155550100", pool));
}

static void test_allow_words(void **state)
{
    static const char *const bad[] = {
        "", "!", "+", "!+", "+1x", "+1-415", "+1234567890123456", "14155550100", "*", "*.", "*example.com", "*.*.example.com", "*.192.0.2.1", "*.[::1]",
        "a.*.example.com", "-x.example.com", "pbx.example.com:5060", "pbx.example.com;lr", "sip:bob@pbx.example.com", "@pbx.example.com", "bob@",
        "bob:pw@pbx.example.com", "a b@pbx.example.com", "bob@pbx.example.com:5060", "!!+1", "<pbx.example.com>", "pbx.example.com?x=y", "a@b@c",
    };
    vapi_allow_t *entry = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (!vapi_allow_parse(&entry, bad[i], pool)) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    assert_null(entry);
    assert_string_equal(vapi_allow_parse(&entry, "!+1x", pool), "'!+1x': a prefix is + and 1 to 15 digits");
}

static void test_masks(void **state)
{
    static const struct {
        const char *target, *shown;
    } cases[] = {
        { "+14155550100", "***0100" }, { "14155550100", "***0100" }, { "+1-415-555-01-00", "***0100" }, { "+1234567", "***" }, { "+12345678", "***5678" },
        { "911", "***" }, { "", "***" }, { "1800FLOWERS12345678", "***" }, { "caller said 12345678", "***" }, { "anonymous", "***" },
        { "sip:oncall@pbx.example.com", "sip:***@pbx.example.com" }, { "sips:+14155550100@PBX.example.com:5061;lr", "sip:***0100@pbx.example.com" },
        { "sip:%2B1415555%30100@pbx.example.com", "sip:***0100@pbx.example.com" }, { "sip:1001@pbx.example.com", "sip:***@pbx.example.com" },
        { "sip:a:pw@pbx.example.com", "sip:***@pbx.example.com" }, { "sip:pbx.example.com", "sip:***@pbx.example.com" },
        { "sip:+14155550100@evil\nline", "***" }, { "sip:", "***" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_string_equal(vapi_dial_mask(cases[i].target, pool), cases[i].shown);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_good_uris), cmocka_unit_test(test_bad_uris), cmocka_unit_test(test_params),
        cmocka_unit_test(test_toll_fraud), cmocka_unit_test(test_longest_match), cmocka_unit_test(test_nothing_passes_by_default),
        cmocka_unit_test(test_allow_words), cmocka_unit_test(test_masks),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("dial", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
