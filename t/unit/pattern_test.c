/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Regular expressions: what they find, and that they end (T31). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <pthread.h>

#include "vapi_clock.h"
#include "vapi_pattern.h"

#define LONG_TEXT 200000
#define SLOW      (10 * VAPI_PATTERN_TIME)   /* what a busy machine with sanitizers may need for VAPI_PATTERN_TIME */

static apr_pool_t *pool;

static vapi_pattern_t *make(const char *written)
{
    vapi_pattern_t *pattern = NULL;
    const char *error = vapi_pattern_make(&pattern, written, pool);

    if (error) {
        fail_msg("%s: %s", written, error);
    }
    return pattern;
}

static vapi_pattern_result find(const char *written, const char *text)
{
    return vapi_pattern_find(make(written), text, strlen(text));
}

static void test_finds(void **state)
{
    static const struct {
        const char *pattern, *text;
        vapi_pattern_result result;
    } cases[] = {
        { "lawyer", "I'll call my LAWYER!", VAPI_PATTERN_FOUND },
        { "lawyer", "law yer", VAPI_PATTERN_MISSED },
        { "(furious|angry|lawyer)", "I am so Angry", VAPI_PATTERN_FOUND },
        { "\\b(sue|court)\\b", "you will be sued", VAPI_PATTERN_MISSED },
        { "\\b(sue|court)\\b", "see you in court.", VAPI_PATTERN_FOUND },
        { "^yes$", "yes", VAPI_PATTERN_FOUND },
        { "^yes$", "oh yes", VAPI_PATTERN_MISSED },
        { "speak (to|with) (a|an)? ?(human|person|agent)", "Can I speak with a person?", VAPI_PATTERN_FOUND },
        { "(?-i)Yes", "yes", VAPI_PATTERN_MISSED },
        { "(\\w+) \\1", "no no", VAPI_PATTERN_FOUND },
        { "m\xc3\xbcller", "Herr M\xc3\x9cLLER", VAPI_PATTERN_FOUND },
        { "\\b\xc3\xa4rger", "Es gibt \xc3\x84rger", VAPI_PATTERN_FOUND },
        { "^.$", "\xf0\x9f\x98\xa0", VAPI_PATTERN_FOUND },
        { "", "", VAPI_PATTERN_FOUND },
        { "x", "", VAPI_PATTERN_MISSED },
        { "(?C7)a", "a", VAPI_PATTERN_FOUND },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (find(cases[i].pattern, cases[i].text) != cases[i].result) {
            fail_msg("%s in '%s'", cases[i].pattern, cases[i].text);
        }
    }
    assert_string_equal(vapi_pattern_written(make("a|b")), "a|b");
    assert_int_equal(vapi_pattern_find(make("c$"), "abcd", 3), VAPI_PATTERN_FOUND);
    assert_int_equal(vapi_pattern_find(make("d"), "abcd", 3), VAPI_PATTERN_MISSED);
}

static void test_refused(void **state)
{
    static const struct {
        const char *pattern, *where;
    } cases[] = {
        { "(", "at offset 1" },    { "a)", "at offset 1" },           { "[", "at offset 1" },
        { "*", "at offset 0" },    { "(?<n>a)(?<n>b)", "at offset" }, { "\\C", "at offset" },
        { "\xff", "at offset 0" }, { "(?P=", "at offset" },
    };
    vapi_pattern_t *pattern = NULL;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *error = vapi_pattern_make(&pattern, cases[i].pattern, pool);

        assert_null(pattern);
        if (!error || !strstr(error, cases[i].where)) {
            fail_msg("%s: %s", cases[i].pattern, error ? error : "taken");
        }
    }
}

/* In a block of exactly its size, so that a byte read behind it is seen. */
static vapi_pattern_result find_bytes(const char *written, const char *bytes, size_t len)
{
    char *block = malloc(len ? len : 1);
    vapi_pattern_result result;

    assert_non_null(block);
    memcpy(block, bytes, len);
    result = vapi_pattern_find(make(written), block, len);
    free(block);
    return result;
}

static void test_foreign_bytes(void **state)
{
    static char foreign[LONG_TEXT];

    (void)state;
    assert_int_equal(find_bytes("angry", "\xff\xfe angry", 8), VAPI_PATTERN_FOUND);
    assert_int_equal(find_bytes("angry", "ang\xffry", 6), VAPI_PATTERN_MISSED);
    assert_int_equal(find_bytes("angry$", "angry\xc3", 6), VAPI_PATTERN_MISSED);
    assert_int_equal(find_bytes("angry", "angry\xc3", 6), VAPI_PATTERN_FOUND);
    assert_int_equal(find_bytes("^a..b$", "a\xed\xa0" "b", 4), VAPI_PATTERN_FOUND);
    assert_int_equal(find_bytes("a.b", "a\0b", 3), VAPI_PATTERN_FOUND);
    assert_int_equal(find_bytes("\xc3\xa4", "\xa4\xc3\xa4\xc3", 4), VAPI_PATTERN_FOUND);
    assert_int_equal(find_bytes("x", "\xc3", 1), VAPI_PATTERN_MISSED);

    memset(foreign, '\xbf', sizeof(foreign));
    assert_int_equal(vapi_pattern_find(make("angry"), foreign, sizeof(foreign)), VAPI_PATTERN_MISSED);
}

/* Each of these asks for more than a lifetime, or for seconds within what the match limit allows. */
static void test_ends(void **state)
{
    static const char *const hopeless[] = {
        "(a+)+\\d",
        "(a|aa)+$",
        "(a*)*b!",
        "^(a?){50}a{50}z",
        "(.*)\\1\\1q",
        "(?=(a+))a*b\\1",
        ".*?.*?.*?a*+x",
        "(?:a*b)*?x",
        "\\w+@\\w+@",
        "\\p{L}*\\d@",
        "[a-c]*+x",
        "a*+x",
        "\\X*+q",
        "(?:\\w+\\s*){0,5}angry",
        "(x+x+)+y|(a+a+)+z",
        "(a+)+$",
        "(?R)?a(?R)?!!",
        "((((((((a*)*)*)*)*)*)*)*)*x",
    };
    static char text[LONG_TEXT + 1];
    size_t i;

    (void)state;
    memset(text, 'a', LONG_TEXT);
    memcpy(text + LONG_TEXT - 12, "! bdcqz1x@y!", 12);
    for (i = 0; i < sizeof(hopeless) / sizeof(*hopeless); i++) {
        vapi_pattern_t *pattern = make(hopeless[i]);
        const apr_time_t begun = vapi_pattern_clock();
        const vapi_pattern_result result = vapi_pattern_find(pattern, text, LONG_TEXT);
        const apr_interval_time_t took = vapi_pattern_clock() - begun;

        if (took > SLOW) {
            fail_msg("%s: %ld microseconds", hopeless[i], (long)took);
        }
        if (result == VAPI_PATTERN_FOUND) {
            fail_msg("%s: found", hopeless[i]);
        }
    }
    assert_int_equal(vapi_pattern_find(make("(a+)+\\d"), text, LONG_TEXT), VAPI_PATTERN_LIMIT);
    assert_int_equal(vapi_pattern_find(make("a*+x"), text, LONG_TEXT), VAPI_PATTERN_LIMIT);

    memset(text, 'a', LONG_TEXT);
    assert_int_equal(vapi_pattern_find(make("(a|b)+c"), "abababababababababababababab", 28), VAPI_PATTERN_MISSED);
    assert_int_equal(vapi_pattern_find(make("(furious|lawyer)"), text, LONG_TEXT), VAPI_PATTERN_MISSED);
}

/* Many groups make each step large: memory has its own limit. */
static void test_memory(void **state)
{
    char *written = apr_palloc(pool, 3000 * 2 + 32), *to = written;
    char text[4096];
    int i;

    (void)state;
    for (i = 0; i < 3000; i++) {
        *to++ = '(';
        *to++ = ')';
    }
    strcpy(to, "(?:a|b)*c");
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = 'c';
    assert_int_equal(vapi_pattern_find(make(written), text, sizeof(text)), VAPI_PATTERN_LIMIT);
}

static void test_deadline(void **state)
{
    vapi_pattern_t *pattern = make("a*+x");
    static char text[LONG_TEXT];
    apr_time_t begun = vapi_pattern_clock();

    (void)state;
    memset(text, 'a', LONG_TEXT);
    text[LONG_TEXT - 1] = 'x';
    text[LONG_TEXT - 2] = ' ';
    assert_int_equal(vapi_pattern_find_until(pattern, "x", 1, begun), VAPI_PATTERN_LIMIT);
    assert_int_equal(vapi_pattern_find_until(pattern, "x", 1, begun + SLOW), VAPI_PATTERN_FOUND);
    begun = vapi_pattern_clock();
    assert_int_equal(vapi_pattern_find_until(make("a*+y|a*+z|a*+!"), text, LONG_TEXT, begun + 1000), VAPI_PATTERN_LIMIT);
    assert_true(vapi_pattern_clock() - begun < SLOW);
}

typedef struct work_t {
    const vapi_pattern_t *pattern;
    int wrong;
} work_t;

static void *search_often(void *data)
{
    work_t *work = data;
    int i;

    for (i = 0; i < 2000; i++) {
        work->wrong += vapi_pattern_find(work->pattern, "I am very angry", 15) != VAPI_PATTERN_FOUND;
        work->wrong += vapi_pattern_find(work->pattern, "I am very calm", 14) != VAPI_PATTERN_MISSED;
        work->wrong += vapi_pattern_find(work->pattern, "angr\xffy", 6) != VAPI_PATTERN_MISSED;
    }
    return NULL;
}

static void test_threads(void **state)
{
    vapi_pattern_t *pattern = make("\\b(furious|angry|lawyer)\\b");
    work_t work[4];
    pthread_t threads[4];
    int i;

    (void)state;
    for (i = 0; i < 4; i++) {
        work[i].pattern = pattern;
        work[i].wrong = 0;
        assert_int_equal(pthread_create(&threads[i], NULL, search_often, &work[i]), 0);
    }
    for (i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds),   cmocka_unit_test(test_refused), cmocka_unit_test(test_foreign_bytes),
        cmocka_unit_test(test_ends),    cmocka_unit_test(test_memory),  cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_threads),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
