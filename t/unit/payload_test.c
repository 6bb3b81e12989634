/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The lazy reader of payloads: what it opens and refuses, paths, texts, caps; and that it says of any body what jansson says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../fuzz/payload_fuzz.c"

static apr_pool_t *pool;

/* A copy in a block of exactly its size, so that a byte read behind it is seen. Freed with the pool. */
static apr_status_t release(void *block)
{
    free(block);
    return APR_SUCCESS;
}

static char *exact(const char *text, size_t len)
{
    char *block = malloc(len ? len : 1);

    assert_non_null(block);
    memcpy(block, text, len);
    apr_pool_cleanup_register(pool, block, release, apr_pool_cleanup_null);
    return block;
}

static vapi_payload_t *opened(const char *text)
{
    vapi_payload_t *pl = NULL;
    const char *why = vapi_payload_open(&pl, exact(text, strlen(text)), strlen(text), pool);

    if (why) {
        fail_msg("%s: %s", text, why);
    }
    return pl;
}

static const char *refused(const char *text, size_t len)
{
    vapi_payload_t *pl = NULL;

    return vapi_payload_open(&pl, exact(text, len), len, pool);
}

static int set_up(void **state)
{
    (void)state;
    return apr_pool_create(&pool, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

static void opens_well_formed_objects(void **state)
{
    static const char *const bodies[] = {
        "{}", " \t\r\n{ } \n", "{\"a\":1}", "{\"message\":{}}", "{\"message\" : { } , \"a\":[ ]}", "{\"message\":{\"call\":{},\"artifact\":{}}}",
        "{\"a\":[[],{},[{}]],\"b\":{\"c\":{}}}", "{\"n\":[0,-0,10,1.5,1e5,1E+5,1e-5,-1.25E2]}", "{\"t\":true,\"f\":false,\"n\":null}",
        "{\"s\":\"\\\"\\\\\\u0041\"}", "{\"s\":\"0123456789abcdef\\\\\"}", "{\"0123456789abcdef0\":\"0123456789abcde\\\"0123456789abcdef\"}",
        "{\"big\":99999999999999999999,\"huge\":1e999}", "{\"s\":\"\\ud83d\",\"x\":\"\\q\",\"y\":\"\x01\xff\"}", "{\"a\":1,\"a\":2}"
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        const vapi_range_t root = vapi_payload_root(opened(bodies[i]));

        assert_int_equal(root.kind, VAPI_JSON_OBJECT);
        assert_true(root.at[0] == '{' && root.at[root.len - 1] == '}');
    }
}

static void refuses_what_is_not_json(void **state)
{
    static const char *const bodies[] = {
        "{", "}", "{}}", "{{}", "{}x}", "{} {}", "{\"a\"}", "{\"a\":}", "{\"a\" 1}", "{a:1}", "{'a':1}", "{\"a\":1,}", "{,\"a\":1}",
        "{\"a\":1 \"b\":2}", "{\"a\":1;\"b\":2}", "{\"a\":[1,]}", "{\"a\":[,1]}", "{\"a\":[1 2]}", "{\"a\":[1}", "{\"a\":[1}]}", "{\"a\":{]}",
        "{\"a\":01}", "{\"a\":+1}", "{\"a\":-}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":1e}", "{\"a\":1e+}", "{\"a\":0x10}", "{\"a\":--1}", "{\"a\":1-}",
        "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":True}", "{\"a\":tru}", "{\"a\":truely}", "{\"a\":nul}", "{\"a\":fals}", "{\"a\":undefined}",
        "{\"a\":\"x}", "{\"a\":\"x\\\"}", "{\"a\":\"0123456789abcdef}", "{\"a\":\"\\}", "{\"a\":1/**/}", "{\"a\":1}//}", "{\"message\":{\"a\":1}",
        "{\"message\":{\"call\":{\"a\":1}}", "{\"message\":{\"call\":{}", "{\"message\":{\"call\":{},}}", "{\"message\":{}\"a\":1}",
        "{\"message\":{\"artifact\":{\"a\":[}}}", "{\"a\":\v1}", "{\"a\":\xc2\xa0 1}", "{\"a\":[[}", "{\"a\":{\"b\":{}",
        "{\"a\":{\"b\":1]}", "{\"a\":[[1}]}", "{\"a\":[{\"b\":1]]}"
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        const char *why = refused(bodies[i], strlen(bodies[i]));

        if (!why || (strcmp(why, "not JSON") && strcmp(why, "not a JSON object"))) {
            fail_msg("%s: %s", bodies[i], why ? why : "opened");
        }
    }
    assert_string_equal(refused("", 0), "not JSON");
    assert_string_equal(refused("  ", 2), "not JSON");
    assert_string_equal(refused("[1]", 3), "not a JSON object");
    assert_string_equal(refused("\xef\xbb\xbf{}", 5), "not a JSON object");
    assert_string_equal(refused("{}\0", 3), "not JSON");
    assert_string_equal(refused("{\"a\":1\0}", 8), "not JSON");
    assert_string_equal(refused("\0{}", 3), "not a JSON object");
}

/* Every beginning of a good body is refused, and none is read behind its end. */
static void refuses_every_truncation(void **state)
{
    static const char body[] = "{\"message\":{\"type\":\"tool-calls\",\"call\":{\"id\":\"0123456789abcdef0123\",\"n\":-1.5e+10},\"artifact\":{\"messages\":[{\"a\":true},"
                               "[null,false],\"\\\\\\\"\"]}}}";
    size_t len;

    (void)state;
    for (len = 0; len < sizeof(body) - 1; len++) {
        assert_non_null(refused(body, len));
    }
    assert_null(refused(body, len));
}

static void caps_depth_and_values(void **state)
{
    char *deep = apr_pcalloc(pool, 4096), *many = apr_palloc(pool, 2 * VAPI_PAYLOAD_MAX_VALUES + 16);
    int i;
    size_t len;

    (void)state;
    for (i = VAPI_PAYLOAD_MAX_DEPTH - 1; i <= VAPI_PAYLOAD_MAX_DEPTH; i++) {
        const char *why;

        strcpy(deep, "{\"a\":");
        memset(deep + 5, '[', (size_t)i);
        memset(deep + 5 + i, ']', (size_t)i);
        strcpy(deep + 5 + 2 * i, "}");
        why = refused(deep, strlen(deep));
        assert_true(i == VAPI_PAYLOAD_MAX_DEPTH ? why && !strcmp(why, "nested too deep") : !why);
    }

    memset(deep, '{', 4000);
    for (i = 0; i + 5 < 4000; i += 5) {
        memcpy(deep + i, "{\"a\":", 5);
    }
    memset(deep + i, '}', (size_t)(4000 - i));
    assert_string_equal(refused(deep, 4000), "nested too deep");

    memcpy(many, "{\"a\":[", 6);
    for (i = 0, len = 6; i < VAPI_PAYLOAD_MAX_VALUES; i++) {
        many[len++] = '1';
        many[len++] = ',';
    }
    memcpy(many + len - 1, "]}", 2);
    assert_string_equal(refused(many, len + 1), "too many values");
    memcpy(many + len - 5, "]}", 2);
    assert_null(refused(many, len - 3));
}

static void finds_by_pointer(void **state)
{
    static const char body[] = "{\"message\":{\"call\":{\"id\":\"c1\",\"monitor\":{\"controlUrl\":\"u\"}},\"artifact\":{\"messages\":[{\"role\":\"a\"},{\"role\":\"b\"}, 7 ]},"
                               "\"a/b\":1,\"m~n\":2,\"\":3,\"x\\u002fy\":4,\"\xc3\xa9\":5,\"0\":6}}";
    static const struct {
        const char *pointer, *text, *why;
    } cases[] = {
        { "/message/call/id", "c1", NULL }, { "/message/call/monitor/controlUrl", "u", NULL }, { "/message/artifact/messages/0/role", "a", NULL },
        { "/message/artifact/messages/1/role", "b", NULL }, { "/message/artifact/messages/2", "7", NULL }, { "/message/a~1b", "1", NULL },
        { "/message/m~0n", "2", NULL }, { "/message/", "3", NULL }, { "/message/x~1y", "4", NULL }, { "/message/\xc3\xa9", "5", NULL },
        { "/message/0", "6", NULL }, { "/nope", NULL, NULL }, { "/message/call/id/x", NULL, NULL }, { "/message/artifact/messages/3", NULL, NULL },
        { "/message/artifact/messages/02", NULL, NULL }, { "/message/artifact/messages/-", NULL, NULL }, { "/message/artifact/messages/", NULL, NULL },
        { "/message/artifact/messages/-1", NULL, NULL }, { "/message/artifact/messages/99999999999999999999", NULL, NULL },
        { "message", NULL, "not a JSON Pointer" }, { "/message/m~2n", NULL, "not a JSON Pointer" }, { "/message/m~", NULL, "not a JSON Pointer" },
    };
    vapi_payload_t *pl = opened(body);
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *why = "unset", *text = vapi_payload_text(pl, vapi_payload_find(pl, cases[i].pointer, &why));

        if (!text != !cases[i].text || (text && strcmp(text, cases[i].text)) || !why != !cases[i].why || (why && strcmp(why, cases[i].why))) {
            fail_msg("%s: %s, %s", cases[i].pointer, text ? text : "(none)", why ? why : "(no reason)");
        }
    }
    assert_int_equal(vapi_payload_find(pl, "", NULL).len, sizeof(body) - 1);
    assert_string_equal(vapi_payload_string(pl, "/message/call/id"), "c1");
}

static void refuses_levels_with_a_key_twice(void **state)
{
    vapi_payload_t *pl = opened("{\"message\":{\"call\":{\"id\":1,\"\\u0069d\":1},\"artifact\":{\"x\":{\"k\":1,\"k\":1},\"y\":2},\"s\":{\"\\ud800\":1,\"b\":2}}}");
    const char *why;

    (void)state;
    assert_int_equal(vapi_payload_find(pl, "/message/call/id", &why).kind, VAPI_JSON_ABSENT);
    assert_string_equal(why, "a key stands twice");
    assert_int_equal(vapi_payload_find(pl, "/message/artifact/x/k", &why).kind, VAPI_JSON_ABSENT);
    assert_string_equal(why, "a key stands twice");
    assert_int_equal(vapi_payload_find(pl, "/message/s/b", &why).kind, VAPI_JSON_ABSENT);
    assert_string_equal(why, "a key is not a valid string");
    assert_string_equal(vapi_payload_string(pl, "/message/artifact/y"), "2");
    assert_null(vapi_payload_parse(pl, vapi_payload_find(pl, "/message/artifact/x", NULL)));
    assert_null(vapi_payload_json(pl, vapi_payload_find(pl, "/message/artifact/x", NULL)));
    assert_string_equal(vapi_payload_lookup(pl, vapi_payload_root(pl), "message.artifact.x"), "");
    assert_string_equal(vapi_payload_lookup(pl, vapi_payload_root(pl), "message.artifact.x.length"), "");

    pl = opened("{\"message\":{\"a\":1},\"message\":{\"a\":2}}");
    assert_int_equal(vapi_payload_find(pl, "/message/a", &why).kind, VAPI_JSON_ABSENT);
    assert_string_equal(why, "a key stands twice");
}

/* An object with `count` members; `twice` names one again. */
static vapi_payload_t *with_members(int count, int twice)
{
    char *body = apr_palloc(pool, (apr_size_t)count * 16 + 32), *to = body;
    int i;

    to += sprintf(to, "{\"o\":{");
    for (i = 0; i < count; i++) {
        to += sprintf(to, "\"k%d\":%d,", i, i);
    }
    to += twice >= 0 ? sprintf(to, "\"k%d\":0}}", twice) : sprintf(to - 1, "}}") - 1;
    return opened(apr_pstrmemdup(pool, body, (apr_size_t)(to - body)));
}

static void caps_members(void **state)
{
    const char *why;

    (void)state;
    assert_string_equal(vapi_payload_string(with_members(VAPI_PAYLOAD_MAX_MEMBERS, -1), "/o/k1023"), "1023");
    vapi_payload_find(with_members(VAPI_PAYLOAD_MAX_MEMBERS + 1, -1), "/o/k1", &why);
    assert_string_equal(why, "too many members");
    vapi_payload_find(with_members(VAPI_PAYLOAD_MAX_MEMBERS - 1, 500), "/o/k1", &why);
    assert_string_equal(why, "a key stands twice");
    vapi_payload_find(with_members(32, 31), "/o/k1", &why);
    assert_string_equal(why, "a key stands twice");
    vapi_payload_find(with_members(31, 0), "/o/k1", &why);
    assert_string_equal(why, "a key stands twice");
}

static void gives_texts_as_written(void **state)
{
    static const struct {
        const char *value, *text;
    } cases[] = {
        { "\"\"", "" }, { "\"a b\"", "a b" }, { "\"a\\n\\u00e9\\ud83d\\ude00\"", "a\n\xc3\xa9\xf0\x9f\x98\x80" }, { "\"\xc3\xa9\"", "\xc3\xa9" },
        { "\"\\ud83d\"", NULL }, { "\"a\\u0000b\"", NULL }, { "\"\xff\"", NULL }, { "\"\xed\xa0\xbd\"", NULL }, { "\"\x01\"", NULL }, { "\"\\q\"", NULL },
        { "1.50", "1.50" }, { "-0", "-0" }, { "1E5", "1E5" }, { "9223372036854775807", "9223372036854775807" }, { "9223372036854775808", NULL },
        { "1e999", NULL }, { "true", "true" }, { "false", "false" }, { "null", NULL }, { "[]", NULL }, { "{}", NULL }
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *text = vapi_payload_string(opened(apr_pstrcat(pool, "{\"v\":", cases[i].value, "}", NULL)), "/v");

        if (!text != !cases[i].text || (text && strcmp(text, cases[i].text))) {
            fail_msg("%s: %s", cases[i].value, text ? text : "(none)");
        }
    }
}

static void walks_arrays(void **state)
{
    vapi_payload_t *pl = opened("{\"a\":[ 1 , \"x\" ,[2,3],{} ],\"e\":[ ],\"s\":\"[]\"}");
    vapi_range_t array = vapi_payload_find(pl, "/a", NULL);
    apr_size_t cursor = 0;

    (void)state;
    assert_int_equal(vapi_payload_next(pl, array, &cursor).kind, VAPI_JSON_NUMBER);
    assert_int_equal(vapi_payload_next(pl, array, &cursor).kind, VAPI_JSON_STRING);
    assert_int_equal(vapi_payload_next(pl, array, &cursor).len, 5);
    assert_int_equal(vapi_payload_next(pl, array, &cursor).kind, VAPI_JSON_OBJECT);
    assert_int_equal(vapi_payload_next(pl, array, &cursor).kind, VAPI_JSON_ABSENT);
    assert_int_equal(vapi_payload_next(pl, array, &cursor).kind, VAPI_JSON_ABSENT);
    cursor = 0;
    assert_int_equal(vapi_payload_next(pl, vapi_payload_find(pl, "/e", NULL), &cursor).kind, VAPI_JSON_ABSENT);
    cursor = 0;
    assert_int_equal(vapi_payload_next(pl, vapi_payload_find(pl, "/s", NULL), &cursor).kind, VAPI_JSON_ABSENT);
    cursor = 0;
    assert_int_equal(vapi_payload_next(pl, vapi_payload_find(pl, "/nope", NULL), &cursor).kind, VAPI_JSON_ABSENT);
}

static void parses_a_range_once(void **state)
{
    vapi_payload_t *pl = opened("{\"a\":{\"b\":[1,2]}}");
    const vapi_range_t range = vapi_payload_find(pl, "/a", NULL);

    (void)state;
    assert_non_null(vapi_payload_parse(pl, range));
    assert_ptr_equal(vapi_payload_parse(pl, range), vapi_payload_parse(pl, range));
    assert_null(vapi_payload_parse(pl, vapi_payload_find(pl, "/b", NULL)));
    assert_string_equal(vapi_payload_json(pl, range), "{\"b\":[1,2]}");
}

/* Both lookups, path by path. */
static void looks_up_what_a_person_writes(void **state)
{
    static const char value[] = "{\"tier\":\"gold\",\"n\":42,\"t\":true,\"z\":null,\"customer\":{\"id\":7,\"name.first\":\"Ann\",\"a\":{\"b.c\":1}},\"customer.id\":8,"
                                "\"agents\":[ {\"phone\": \"+1\"} ,{\"phone\":\"+2\",\"tags\":[]}],\"length\":\"own\",\"items\":[1,2,3],\"/customer/id\":9,"
                                "\"q\":{\"length\":5},\"s\":\"a \\\" [ ] b\",\"list\":[ \"a \\\" b\" , { \"c\" : null } ],\"e/f\":{\"g~h\":\"i\"},\"\":{\"\":\"empty\"}}";
    static const struct {
        const char *path, *text;
    } cases[] = {
        { "tier", "gold" }, { "n", "42" }, { "t", "true" }, { "z", "" }, { "nope", "" }, { "nope.x", "" }, { "tier.x", "" }, { "tier.length", "" },
        { "customer.id", "8" }, { "/customer/id", "9" }, { "customer.name.first", "Ann" }, { "customer.a.b.c", "1" }, { "/customer/name.first", "Ann" },
        { "agents.0.phone", "+1" }, { "agents.1.phone", "+2" }, { "agents.2.phone", "" }, { "agents.length", "2" }, { "agents.1.tags.length", "0" },
        { "/agents/1/phone", "+2" }, { "/agents/length", "" }, { "customer.length", "3" }, { "length", "own" }, { "q.length", "5" },
        { "items.length", "3" }, { "items", "[1,2,3]" }, { "agents.0", "{\"phone\":\"+1\"}" }, { "s", "a \" [ ] b" }, { "s.length", "" },
        { "list", "[\"a \\\" b\",{\"c\":null}]" }, { "/e~1f/g~0h", "i" }, { "e/f.g~h", "i" }, { "items.-1", "" }, { "items.01", "" }, { "items.", "" },
        { ".", "empty" }, { "//", "empty" }, { "/tier~", "" }, { "/items/0", "1" }, { "items.0.length", "" }
    };
    vapi_payload_t *pl = opened(apr_pstrcat(pool, "{\"v\":", value, "}", NULL));
    const vapi_range_t from = vapi_payload_find(pl, "/v", NULL);
    json_t *parsed = vapi_payload_parse(pl, from);
    size_t i;

    (void)state;
    assert_non_null(parsed);
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *lazy = vapi_payload_lookup(pl, from, cases[i].path), *text = vapi_json_lookup(parsed, cases[i].path, pool);

        if (strcmp(lazy, cases[i].text) || strcmp(text, cases[i].text)) {
            fail_msg("%s: %s, %s", cases[i].path, lazy, text);
        }
    }
    assert_string_equal(vapi_payload_lookup(pl, vapi_payload_find(pl, "/v/items", NULL), ""), "[1,2,3]");
    assert_string_equal(vapi_json_lookup(json_object_get(parsed, "items"), "", pool), "[1,2,3]");
    assert_string_equal(vapi_json_lookup(json_object_get(parsed, "items"), "length", pool), "3");
    assert_string_equal(vapi_payload_lookup(pl, vapi_payload_find(pl, "/nope", NULL), "a"), "");
    assert_string_equal(vapi_payload_lookup(pl, vapi_payload_find(pl, "/nope", NULL), ""), "");
    assert_string_equal(vapi_json_lookup(NULL, "a", pool), "");
    assert_string_equal(vapi_json_lookup(NULL, "", pool), "");
}

static void writes_reals_short(void **state)
{
    static const struct {
        double real;
        const char *text;
    } cases[] = { { 0.1, "0.1" }, { 0.30000000000000004, "0.30000000000000004" }, { 1.0, "1.0" }, { 1e25, "1e25" }, { -2.5, "-2.5" }, { 1e-7, "1e-7" },
                  { 5e-324, "4.94065645841247e-324" } };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *real = json_real(cases[i].real), *integer = json_integer(-9007199254740993LL);

        assert_string_equal(vapi_json_lookup(real, "", pool), cases[i].text);
        assert_string_equal(vapi_json_lookup(integer, "", pool), "-9007199254740993");
        json_decref(real);
        json_decref(integer);
    }
}

/* A generator of bodies that says the same on every machine. */
typedef struct maker_t {
    char text[8192];
    size_t len;
    uint32_t seed;
} maker_t;

static uint32_t draw(maker_t *g, uint32_t below)
{
    g->seed ^= g->seed << 13;
    g->seed ^= g->seed >> 17;
    g->seed ^= g->seed << 5;
    return g->seed % below;
}

static void put(maker_t *g, const char *text)
{
    const size_t len = strlen(text);

    if (g->len + len <= sizeof(g->text)) {
        memcpy(g->text + g->len, text, len);
        g->len += len;
    }
}

#define PUT_ONE_OF(g, list) put(g, (list)[draw(g, sizeof(list) / sizeof(*(list)))])

static void put_space(maker_t *g)
{
    static const char *const spaces[] = { " ", "\n", "\t", "\r\n", "  " };

    if (draw(g, 12) == 0) {
        PUT_ONE_OF(g, spaces);
    }
}

static void put_key(maker_t *g)
{
    static const char *const keys[] = { "message", "call", "artifact", "messages", "id", "type", "length", "a/b", "m~n", "x.y", "", "0", "1", "\\u006dessage",
                                        "\\u0063all", "c\\u0061ll", "\xc3\xa9", "\\u00e9", "k\\\"k", "k\\\\", "monitor", "aVeryLongKeyThatFillsMoreThanABlock" };

    put(g, "\"");
    PUT_ONE_OF(g, keys);
    if (draw(g, 3)) {
        char suffix[12];

        sprintf(suffix, "%u", draw(g, 40));
        put(g, suffix);
    }
    put(g, "\"");
}

static void put_scalar(maker_t *g)
{
    static const char *const scalars[] = {
        "true", "false", "null", "0", "-0", "1", "-17", "3.25", "1e5", "1E-3", "9223372036854775807", "0.1", "1700000000000", "12.345", "\"\"", "\"user\"",
        "\"a text of some length, longer than one block of sixteen bytes\"", "\"\\u00e9\\n\\t\\\"\\\\\"", "\"\xf0\x9f\x98\x80\"", "\"\\ud83d\\ude00\"", "\"0123456789abcde\\\\\""
    };
    static const char *const bad[] = { "\"\\ud83d\"", "\"\\u0000\"", "\"\xff\"", "1e999", "9223372036854775808", "\"\\q\"", "\"\x01\"", "01", "1.", "tru", "\"\\\"", "" };

    if (draw(g, 400) == 0) {
        PUT_ONE_OF(g, bad);
        return;
    }
    PUT_ONE_OF(g, scalars);
}

static void put_value(maker_t *g, int depth)
{
    const uint32_t kind = depth < 3 ? draw(g, 3) : draw(g, 12);
    uint32_t i, count = depth > 12 ? 0 : draw(g, 6);
    const int object = depth == 0 || kind == 0;

    if (depth > 0 && kind > 1) {
        put_scalar(g);
        return;
    }
    put(g, object ? "{" : "[");
    put_space(g);
    for (i = 0; i < count; i++) {
        if (i) {
            put(g, ",");
            put_space(g);
        }
        if (object) {
            put_key(g);
            put_space(g);
            put(g, ":");
            put_space(g);
        }
        put_value(g, depth + 1);
        put_space(g);
    }
    put(g, object ? "}" : "]");
}

static void mutate(maker_t *g)
{
    static const char bytes[] = "{}[]:,\"\\ 0-.e\x01\xff\n/tfn";
    const size_t at = g->len ? draw(g, (uint32_t)g->len) : 0;

    switch (g->len ? draw(g, 5) : 0) {
    case 0:         /* one more byte */
        if (g->len < sizeof(g->text)) {
            memmove(g->text + at + 1, g->text + at, g->len - at);
            g->text[at] = bytes[draw(g, sizeof(bytes))];
            g->len++;
        }
        break;
    case 1:         /* one less */
        memmove(g->text + at, g->text + at + 1, g->len - at - 1);
        g->len--;
        break;
    case 2:         /* another */
        g->text[at] = bytes[draw(g, sizeof(bytes))];
        break;
    case 3:         /* a bracket of the other kind */
        if (strchr("{}[]", g->text[at])) {
            g->text[at] ^= '{' ^ '[';
        }
        break;
    default:        /* cut off, closed anew */
        g->len = at;
        put(g, "}");
        break;
    }
}

static void says_what_jansson_says(void **state)
{
    maker_t *g = apr_pcalloc(pool, sizeof(*g));
    int i, m;

    (void)state;
    g->seed = 20260401;
    for (i = 0; i < 3000; i++) {
        g->len = 0;
        put_value(g, 0);
        LLVMFuzzerTestOneInput((const uint8_t *)g->text, g->len);
        for (m = 0; m < 3; m++) {
            mutate(g);
            LLVMFuzzerTestOneInput((const uint8_t *)g->text, g->len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(opens_well_formed_objects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_is_not_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_every_truncation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(caps_depth_and_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_by_pointer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_levels_with_a_key_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(caps_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_texts_as_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(walks_arrays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parses_a_range_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(looks_up_what_a_person_writes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(writes_reals_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_what_jansson_says, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
