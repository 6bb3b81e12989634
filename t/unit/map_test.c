/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_map.h"

#define MANY    1000000
#define LOOKUPS 200000

static apr_pool_t *pool;

/* ---- what is a map file ---- */

typedef struct case_t {
    const char *content;
    const char *error;          /* NULL: good */
} case_t;

static const char *check_text(const char *content)
{
    return vapi_map_check(content, strlen(content), pool);
}

static void test_lines(void **state)
{
    static const case_t cases[] = {
        { "", NULL },
        { "\n\n", NULL },
        { "# only a comment", NULL },
        { "a b", NULL },
        { "a b\n", NULL },
        { "a b\r\n\r\n# c\r\nc d\r\n", NULL },
        { "a b\r", NULL },
        { "  \t \n  # indented\n\ta\tb\t\n", NULL },
        { "a # no comment here\n", NULL },
        { "\xEF\xBB\xBF# a byte order mark\na b\n", NULL },
        { "k\xC3\xB6ln \xE2\x82\xAC \xF0\x9F\x93\x9E\n", NULL },
        { "a b\nkey\n", "line 2: its key has no value" },
        { "a b\nkey  \t \r\n", "line 2: its key has no value" },
        { "a b\nkey", "line 2: its key has no value" },
        { "# c\n\na b\nb c\r\na d\n", "line 5: its key is in line 3 already" },
        { "a b\na b\n", "line 2: its key is in line 1 already" },
        { "a b\nx y\x01z\n", "line 2: it holds a control character (byte 0x01)" },
        { "a b\n\n# \x1b[0m\n", "line 3: it holds a control character (byte 0x1b)" },
        { "a b\x7f\n", "line 1: it holds a control character (byte 0x7f)" },
        { "a b\rc d\n", "line 1: it holds a control character (byte 0x0d)" },
        { "a b\r\r\n", "line 1: it holds a control character (byte 0x0d)" },
        { "a b\nb \xC2\x85 c\n", "line 2: it holds a control character (byte 0xc2)" },
        { "a b\nk\xF6ln c\n", "line 2: it is not UTF-8" },
        { "a b\n# K\xF6ln\n", "line 2: it is not UTF-8" },
        { "a \xC3", "line 1: it is not UTF-8" },
        { "a \xC0\xAF\n", "line 1: it is not UTF-8" },
        { "a \xED\xA0\x80\n", "line 1: it is not UTF-8" },
        { "a b\nb\nb c\na d\n", "line 2: its key has no value" },
    };
    apr_size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *error = check_text(cases[i].content);

        if (cases[i].error) {
            assert_non_null(error);
            assert_string_equal(error, cases[i].error);
        }
        else {
            assert_null(error);
        }
    }
}

static void test_nul(void **state)
{
    (void)state;
    assert_string_equal(vapi_map_check("a b\nc\0d e\n", 10, pool), "line 2: it holds a NUL byte");
    assert_string_equal(vapi_map_check("a b\nc d\0", 8, pool), "line 2: it holds a NUL byte");
}

static void test_long_keys(void **state)
{
    char line[300];

    (void)state;
    memset(line, 'k', sizeof(line));
    memcpy(line + 255, " v", 3);
    assert_null(check_text(line));
    memset(line, 'k', 256);
    memcpy(line + 256, " v", 3);
    assert_string_equal(check_text(line), "line 1: the key is longer than 255 bytes");
}

/* ---- asking ---- */

static vapi_map_t *make(const char *content, int by_prefix, const char *otherwise)
{
    vapi_map_t *map;

    assert_null(check_text(content));
    assert_null(vapi_map_make(&map, "region", content, strlen(content), by_prefix, otherwise, pool));
    return map;
}

static void finds(const vapi_map_t *map, const char *key, const char *expected)
{
    const char *found = vapi_map_find(map, key, pool);

    if (expected) {
        assert_non_null(found);
        assert_string_equal(found, expected);
    }
    else {
        assert_null(found);
    }
}

static void test_exact(void **state)
{
    const vapi_map_t *map = make("# comment\nde  Germany \t \r\nuk\tUnited  Kingdom\n\n  fr France # and so on\n"
                                 "k\xC3\xB6ln \xE2\x82\xAC", 0, NULL);

    (void)state;
    assert_string_equal(vapi_map_name(map), "region");
    assert_int_equal(vapi_map_entries(map), 4);
    assert_int_equal(vapi_map_is_prefix(map), 0);
    assert_null(vapi_map_default(map));
    finds(map, "de", "Germany");
    finds(map, "uk", "United  Kingdom");
    finds(map, "fr", "France # and so on");
    finds(map, "k\xC3\xB6ln", "\xE2\x82\xAC");
    finds(map, "", NULL);
    finds(map, "d", NULL);
    finds(map, "DE", NULL);
    finds(map, "dee", NULL);
    finds(map, "de ", NULL);
    finds(map, " de", NULL);
    finds(map, "de  Germany", NULL);
    finds(map, "#", NULL);
    finds(map, "k\xC3\xB6", NULL);
}

static void test_default(void **state)
{
    const vapi_map_t *map = make("a b\n", 0, "none of them"), *empty = make("# nothing\n", 1, "all"), *bare = make("", 0, NULL);

    (void)state;
    assert_string_equal(vapi_map_default(map), "none of them");
    finds(map, "a", "b");
    finds(map, "", "none of them");
    finds(map, "x", "none of them");
    assert_int_equal(vapi_map_entries(empty), 0);
    finds(empty, "x", "all");
    finds(bare, "x", NULL);
    finds(bare, "", NULL);
}

static void test_prefix(void **state)
{
    const vapi_map_t *map = make("+1 north america\n+1415 san francisco\n+14155550 our own\n"
                                 "+49 germany\n+4930 berlin\n+44\tuk\n", 1, NULL);

    (void)state;
    assert_int_equal(vapi_map_is_prefix(map), 1);
    finds(map, "", NULL);
    finds(map, "+", NULL);
    finds(map, "+4", NULL);
    finds(map, "+1", "north america");
    finds(map, "+1212", "north america");
    finds(map, "+141", "north america");
    finds(map, "+1415", "san francisco");
    finds(map, "+1415555", "san francisco");
    finds(map, "+14155550", "our own");
    finds(map, "+141555501234567890", "our own");
    finds(map, "+49891234", "germany");
    finds(map, "+49301234", "berlin");
    finds(map, "+4420", "uk");
    finds(map, "1415", NULL);
    finds(map, " +1415", NULL);
    finds(map, "+1 415", "north america");
    finds(map, "+1\t415", "north america");
    finds(map, "+3312345", NULL);
}

static void test_prefix_of_bytes(void **state)
{
    char text[400], *content;
    const vapi_map_t *map;

    (void)state;
    memset(text, 'k', sizeof(text));
    text[255] = '\0';
    content = apr_pstrcat(pool, "k short\n", text, " long\nk\xC3\xB6 umlaut\n", NULL);
    map = make(content, 1, "no");
    finds(map, text, "long");
    text[255] = 'k';
    text[399] = '\0';
    finds(map, text, "long");
    finds(make(content, 0, "no"), text, "no");
    text[254] = '\0';
    finds(map, text, "short");
    finds(map, "k\xC3\xB6ln", "umlaut");
    finds(map, "k\xC3", "short");
    finds(map, "\xFF\xFE", "no");
}

/* A value is given in the caller's pool, and the content is not touched: it may be shared by other maps. */
static void test_copies(void **state)
{
    char content[] = "a first\nb second";
    vapi_map_t *map;
    apr_pool_t *request;
    const char *value;

    (void)state;
    assert_null(vapi_map_make(&map, "m", content, sizeof(content) - 1, 0, "third", pool));
    apr_pool_create(&request, pool);
    value = vapi_map_find(map, "b", request);
    assert_string_equal(value, "second");
    assert_true(value < content || value >= content + sizeof(content));
    assert_ptr_not_equal(vapi_map_find(map, "x", request), vapi_map_default(map));
    apr_pool_destroy(request);
    assert_string_equal(content, "a first\nb second");
}

/* Who skips the check gets its errors from the making. */
static void test_make_checks(void **state)
{
    vapi_map_t *map;

    (void)state;
    assert_string_equal(vapi_map_make(&map, "m", "a b\na c", 7, 0, NULL, pool), "line 2: its key is in line 1 already");
}

/* ---- values ---- */

typedef struct seen_t {
    const char *text;
    int stop_at;
    int n;
} seen_t;

static int see(void *baton, const char *value, unsigned int line)
{
    seen_t *seen = baton;

    seen->text = apr_psprintf(pool, "%s%u=%s|", seen->text, line, value);
    return ++seen->n == seen->stop_at ? 7 : 0;
}

static void test_values(void **state)
{
    const vapi_map_t *map = make("a sales\n# c\nb  help desk \nc sales\t\nd help desk\r\ne help\nf desk\ng sales", 0, "front");
    seen_t seen = { "", 0, 0 }, stopped = { "", 2, 0 }, at_default = { "", 5, 0 }, none = { "", 0, 0 };

    (void)state;
    assert_int_equal(vapi_map_values(map, see, &seen, pool), 0);
    assert_string_equal(seen.text, "1=sales|3=help desk|6=help|7=desk|0=front|");
    assert_int_equal(vapi_map_values(map, see, &stopped, pool), 7);
    assert_string_equal(stopped.text, "1=sales|3=help desk|");
    assert_int_equal(vapi_map_values(map, see, &at_default, pool), 7);
    assert_int_equal(vapi_map_values(make("# nothing\n", 0, NULL), see, &none, pool), 0);
    assert_int_equal(none.n, 0);
}

/* ---- a large one ---- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Entry i's key: whole numbers as they are dealt out, in blocks; or prefixes of 2 to 8 bytes, most of them inside each other. */
static int put_key(char *to, int by_prefix, unsigned int i)
{
    return by_prefix ? sprintf(to, "+%u", i + 1) : sprintf(to, "+1%u", 2000000000u + (i / 1000) * 7919 + i % 1000);
}

static const char *many_lines(int by_prefix, unsigned int n, apr_size_t *len)
{
    char *content = apr_palloc(pool, (apr_size_t)n * 48), *to = content;
    unsigned int i;

    for (i = 0; i < n; i++) {
        to += put_key(to, by_prefix, i);
        to += sprintf(to, " team-%u of the day\n", i % 1000);
    }
    *len = (apr_size_t)(to - content);
    return content;
}

/* The mean time of a lookup in nanoseconds. `+0` begins none of the keys, but all lengths must be tried. */
static double time_lookups(const vapi_map_t *map, unsigned int n, int hits)
{
    static char keys[LOOKUPS][32];
    apr_pool_t *request;
    unsigned int i;
    double begin;

    for (i = 0; i < LOOKUPS; i++) {
        int end = put_key(keys[i], vapi_map_is_prefix(map), (unsigned int)(i * APR_UINT64_C(2654435761) % n));

        apr_cpystrn(keys[i] + end, vapi_map_is_prefix(map) ? "5550123" : "", 8);
        keys[i][1] = hits ? keys[i][1] : '0';
    }
    apr_pool_create(&request, pool);
    begin = seconds();
    for (i = 0; i < LOOKUPS; i++) {
        assert_true((vapi_map_find(map, keys[i], request) != NULL) == hits);
        if (i % 64 == 63) {
            apr_pool_clear(request);
        }
    }
    begin = (seconds() - begin) / LOOKUPS * 1e9;
    apr_pool_destroy(request);
    return begin;
}

static void load_many(unsigned int n, int by_prefix)
{
    vapi_map_t *map;
    apr_size_t len;
    const char *content = many_lines(by_prefix, n, &len);
    seen_t seen = { "", 0, 0 };
    double begin = seconds(), loaded;
    char key[64];

    assert_null(vapi_map_check(content, len, pool));
    assert_null(vapi_map_make(&map, "m", content, len, by_prefix, NULL, pool));
    loaded = seconds() - begin;
    assert_int_equal(vapi_map_entries(map), n);
    print_message("# %7u entries, %s: loaded in %.1f ms, found in %.0f ns, not found in %.0f ns\n", n,
                  by_prefix ? "prefix" : "exact", loaded * 1e3, time_lookups(map, n, 1), time_lookups(map, n, 0));
    assert_true(loaded < 2);
    put_key(key, by_prefix, n - 1);
    finds(map, key, "team-999 of the day");
    assert_int_equal(vapi_map_values(map, see, &seen, pool), 0);
    assert_int_equal(seen.n, 1000);
}

static void test_many(void **state)
{
    (void)state;
    load_many(1000, 0);
    load_many(MANY, 0);
    load_many(1000, 1);
    load_many(MANY, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_nul), cmocka_unit_test(test_long_keys), cmocka_unit_test(test_exact),
        cmocka_unit_test(test_default), cmocka_unit_test(test_prefix), cmocka_unit_test(test_prefix_of_bytes),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_make_checks), cmocka_unit_test(test_values),
        cmocka_unit_test(test_many),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("map", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
