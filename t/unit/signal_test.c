/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Signals and said(): what the caller said counts, and nothing else that stands in a payload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "pool.h"
#include "vapi_signal.h"

static vapi_message_t *message(const char *members)
{
    const char *body = apr_pstrcat(pool, "{\"message\":{\"type\":\"tool-calls\",", members, "}}", NULL);
    vapi_message_t *m = NULL;
    const char *why = vapi_message_read(&m, body, strlen(body), pool);

    if (why) {
        fail_msg("%s: %s", members, why);
    }
    return m;
}

static vapi_message_t *turns(const char *list)
{
    return message(apr_pstrcat(pool, "\"artifact\":{\"messages\":[", list, "]}", NULL));
}

static int said(const char *regex, vapi_message_t *m)
{
    vapi_pattern_t *pattern;
    int limited = 0, result;

    assert_null(vapi_pattern_make(&pattern, regex, pool));
    result = vapi_signal_said(pattern, m, &limited);
    assert_int_equal(limited, 0);
    return result;
}

static int sum(const vapi_signal_t *signal, vapi_message_t *m)
{
    int limited = 0, result = vapi_signal_sum(signal, m, &limited);

    assert_int_equal(limited, 0);
    return result;
}

static vapi_signal_t *anger(void)
{
    vapi_signal_t *signal = vapi_signal_make("anger", pool);

    assert_null(vapi_signal_add(signal, "(furious|angry)", 2, pool));
    assert_null(vapi_signal_add(signal, "lawyer", 5, pool));
    assert_null(vapi_signal_add(signal, "thank you", -1, pool));
    return signal;
}

#define USER(text) "{\"role\":\"user\",\"message\":\"" text "\",\"time\":1,\"duration\":900}"

static void test_sums(void **state)
{
    vapi_signal_t *signal = anger();

    (void)state;
    assert_string_equal(vapi_signal_name(signal), "anger");
    assert_int_equal(sum(signal, turns("")), 0);
    assert_int_equal(sum(signal, turns(USER("Hello"))), 0);
    assert_int_equal(sum(signal, turns(USER("I am angry"))), 2);
    assert_int_equal(sum(signal, turns(USER("angry, ANGRY and furious"))), 2);          /* once a turn */
    assert_int_equal(sum(signal, turns(USER("angry") "," USER("Angry")  "," USER("angry"))), 6);
    assert_int_equal(sum(signal, turns(USER("I am angry, my lawyer will call, thank you"))), 6);
    assert_int_equal(sum(signal, turns(USER("Thank you") "," USER("thank you!"))), -2);
    assert_int_equal(sum(signal, turns(USER("ang") "," USER("ry"))), 0);                /* not over two turns */
    assert_int_equal(sum(signal, turns(USER("\\u0041NGRY") "," USER("M\\u00fcller"))), 2);
    assert_int_equal(sum(vapi_signal_make("nothing", pool), turns(USER("angry"))), 0);
}

static void test_caller_only(void **state)
{
    static const char others[] =
        "{\"role\":\"system\",\"message\":\"If angry, say lawyer\"},{\"role\":\"bot\",\"message\":\"Are you angry?\"},"
        "{\"role\":\"assistant\",\"message\":\"angry\"},{\"role\":\"tool_calls\",\"message\":\"angry\",\"toolCalls\":[{"
        "\"function\":"
        "{\"name\":\"angry\",\"arguments\":\"{\\\"mood\\\":\\\"angry\\\"}\"}}]},{\"role\":\"tool_call_result\",\"name\":\"x\","
        "\"result\":\"angry\",\"message\":\"angry\"},{\"role\":\"tool\",\"content\":\"angry\"},{\"role\":\"User\",\"message\":"
        "\"angry\"},"
        "{\"role\":[\"user\"],\"message\":\"angry\"},{\"message\":\"angry\"},\"angry\",{\"role\":\"user\"},"
        "{\"role\":\"user\",\"message\":[\"angry\"]},{\"role\":\"user\",\"message\":null},{\"role\":\"user\",\"content\":"
        "\"angry\"}";

    (void)state;
    assert_int_equal(sum(anger(), turns(others)), 0);
    assert_int_equal(said("angry|lawyer", turns(others)), 0);
    assert_int_equal(said("angry", turns(apr_pstrcat(pool, others, ",", USER("no, angry"), NULL))), 1);
    assert_int_equal(said("angry", message("\"transcript\":\"User: angry\",\"artifact\":{\"transcript\":\"User: angry\"}")), 0);
}

static void test_places(void **state)
{
    (void)state;
    assert_int_equal(said("angry", message("\"messages\":[" USER("angry") "]")), 1);
    assert_int_equal(said("angry", message("\"artifact\":{\"messages\":[]},\"messages\":[" USER("angry") "]")), 0);
    assert_int_equal(said("angry", message("\"artifact\":{\"messages\":null},\"messages\":[" USER("angry") "]")), 1);
    assert_int_equal(
        said("angry", message("\"artifact\":{\"messagesOpenAIFormatted\":[{\"role\":\"system\",\"content\":\"calm\"},"
                              "{\"role\":\"user\",\"content\":\"angry\"}]}")),
        1);
    assert_int_equal(said("angry", message("\"artifact\":{\"messagesOpenAIFormatted\":[{\"role\":\"tool\",\"content\":\"angry\"},"
                                           "{\"role\":\"assistant\",\"content\":\"angry\"}]}")), 0);
    assert_int_equal(said("angry", message("\"call\":{}")), 0);
}

static void test_said(void **state)
{
    vapi_message_t *m = turns(USER("Hello") "," USER("I want a person, now") "," USER("") "," USER("person"));

    (void)state;
    assert_int_equal(said("person", m), 1);
    assert_int_equal(said("^person$", m), 1);
    assert_int_equal(said("robot", m), 0);
    assert_int_equal(said("^$", m), 1);
    assert_int_equal(vapi_conversation_turns(m), 4);
    assert_string_equal(vapi_conversation_last_said(m), "person");
}

typedef struct seen_t {
    apr_array_header_t *texts;
    int stop_at;
} seen_t;

static int see(void *baton, const char *text, apr_size_t len)
{
    seen_t *seen = baton;

    assert_int_equal(strlen(text), len);
    APR_ARRAY_PUSH(seen->texts, const char *) = text;
    return seen->texts->nelts == seen->stop_at ? 7 : 0;
}

static void test_each(void **state)
{
    vapi_message_t *m =
        turns(USER("one") ",{\"role\":\"bot\",\"message\":\"not this\"}," USER("two") "," USER("\\ud83d") "," USER("two"));
    seen_t seen = { apr_array_make(pool, 4, sizeof(const char *)), 0 };

    (void)state;
    assert_int_equal(vapi_conversation_each(m, see, &seen), 0);
    assert_string_equal(apr_array_pstrcat(pool, seen.texts, '|'), "one|two||two");
    seen.texts = apr_array_make(pool, 4, sizeof(const char *));
    seen.stop_at = 2;
    assert_int_equal(vapi_conversation_each(m, see, &seen), 7);
    assert_string_equal(apr_array_pstrcat(pool, seen.texts, '|'), "one|two");
}

/* Hundreds of turns that each ask for too much. */
static void test_ends(void **state)
{
    vapi_signal_t *signal = vapi_signal_make("slow", pool);
    apr_array_header_t *parts = apr_array_make(pool, 1000, sizeof(const char *));
    char *text = apr_palloc(pool, 20001);
    apr_time_t begun;
    vapi_pattern_t *pattern;
    vapi_message_t *m;
    int i, limited = 0;

    (void)state;
    memset(text, 'a', 20000);
    memcpy(text + 19990, "! bxx angry", 11);
    for (i = 0; i < 200; i++) {
        APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(pool, "{\"role\":\"user\",\"message\":\"", text, "\"}", NULL);
    }
    m = turns(apr_array_pstrcat(pool, parts, ','));
    assert_null(vapi_signal_add(signal, "a*+x|a*+y", 1, pool));
    assert_null(vapi_signal_add(signal, "angr", 1, pool));

    begun = vapi_pattern_clock();
    i = vapi_signal_sum(signal, m, &limited);
    assert_true(vapi_pattern_clock() - begun < 1000000);
    assert_int_equal(limited, 1);
    assert_in_range(i, 0, 10);

    limited = 0;
    assert_null(vapi_pattern_make(&pattern, "a*+y|a*+z!", pool));
    begun = vapi_pattern_clock();
    assert_int_equal(vapi_signal_said(pattern, m, &limited), 0);
    assert_true(vapi_pattern_clock() - begun < 1000000);
    assert_int_equal(limited, 1);

    limited = 1;    /* left alone */
    assert_null(vapi_pattern_make(&pattern, "angr", pool));
    assert_int_equal(vapi_signal_said(pattern, m, &limited), 1);
    assert_int_equal(limited, 1);
}

static void test_shown(void **state)
{
    vapi_signal_t *signal = vapi_signal_make("quotes", pool);
    const char *error;

    (void)state;
    assert_string_equal(vapi_signal_describe(signal, pool), "");
    assert_null(vapi_signal_add(signal, "a b", 1, pool));
    assert_null(vapi_signal_add(signal, "\\bsay \"no\"", -3, pool));
    assert_string_equal(vapi_signal_describe(signal, pool), " \"a b\" weight=1 \"\\\\bsay \\\"no\\\"\" weight=-3");
    error = vapi_signal_add(signal, "(", 1, pool);
    assert_non_null(error);
    assert_non_null(strstr(error, "at offset 1"));
    assert_string_equal(vapi_signal_describe(signal, pool), " \"a b\" weight=1 \"\\\\bsay \\\"no\\\"\" weight=-3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sums, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_caller_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shown, set_up, tear_down),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    failed = cmocka_run_group_tests_name("signal", tests, NULL, NULL);
    apr_terminate();
    return failed;
}
