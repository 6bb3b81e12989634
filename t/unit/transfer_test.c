/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "small_server.h"
#include "vapi_clock.h"
#include "vapi_transfer.h"

#define MS ((apr_interval_time_t)1000)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static apr_pool_t *pool;
static vapi_http_t *http;
static const vapi_http_profile_t profile = { NULL, NULL, 1, 1 };

static int setup(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    return vapi_http_create(&http, 4, pool) == APR_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

/* ---- Which control URLs may be called ---- */

/* `patterns`: parted by blanks */
static const apr_array_header_t *hosts_of(const char *patterns)
{
    apr_array_header_t *hosts = apr_array_make(pool, 2, sizeof(vapi_control_host_t *));
    char *last, *pattern = apr_strtok(apr_pstrdup(pool, patterns), " ", &last);

    for (; pattern; pattern = apr_strtok(NULL, " ", &last)) {
        vapi_control_host_t *host = NULL;

        assert_null(vapi_control_host_parse(&host, pattern, pool));
        assert_string_equal(vapi_control_host_text(host), pattern);
        APR_ARRAY_PUSH(hosts, vapi_control_host_t *) = host;
    }
    return hosts;
}

typedef struct url_case {
    const char *patterns;
    const char *url;
    const char *wrong;    /* NULL: allowed */
    const char *host;
} url_case;

#define VAPI "*.vapi.ai"
#define TEST_HOSTS "http://127.0.0.1:* [::1] *.vapi.ai:* http://mock.test Exact.Example:8443"

static const url_case url_cases[] = {
    /* W34 */
    { VAPI, "https://aws-us-west-2-production1-phone-call-websocket.vapi.ai/7420f27a-30fd-4f49-a995-5549ae7cc00d/control", NULL,
      "aws-us-west-2-production1-phone-call-websocket.vapi.ai" },
    { VAPI, "https://phone-call-websocket.aws-us-west-2-backend-production3.vapi.ai/7420f27a/control", NULL,
      "phone-call-websocket.aws-us-west-2-backend-production3.vapi.ai" },
    { VAPI, "https://x.vapi.ai:443/control", NULL, "x.vapi.ai" },
    { VAPI, "HTTPS://X.VAPI.AI/control", NULL, "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai", NULL, "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai/a%20b/control", NULL, "x.vapi.ai" },

    /* T40 */
    { VAPI, "http://x.vapi.ai/control", "not https", "x.vapi.ai" },
    { VAPI, "https://evilvapi.ai/control", "host not allowed", "evilvapi.ai" },
    { VAPI, "https://vapi.ai.evil.com/control", "host not allowed", "vapi.ai.evil.com" },
    { VAPI, "https://x.vapi.ai.evil.com/control", "host not allowed", "x.vapi.ai.evil.com" },
    { VAPI, "https://vapi.ai/control", "host not allowed", "vapi.ai" },
    { VAPI, "https://xvapi.ai/control", "host not allowed", "xvapi.ai" },
    { VAPI, "https://169.254.169.254/control", "host not allowed", "169.254.169.254" },
    { VAPI, "https://[::1]/control", "host not allowed", "::1" },
    { VAPI, "https://x.vapi.ai:8443/control", "port not allowed", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:80/control", "port not allowed", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:0/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:65979/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:4294967739/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:443x/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai:+443/control", "not a port", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai@evil.com/control", "user name in the URL", "evil.com" },
    { VAPI, "https://evil.com@x.vapi.ai/control", "user name in the URL", "x.vapi.ai" },
    { VAPI, "https://a:b@x.vapi.ai/control", "user name in the URL", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai./control", "trailing dot in the host", "x.vapi.ai." },
    { VAPI, "https://x..vapi.ai/control", "empty label in the host", "x..vapi.ai" },
    { VAPI, "https://.vapi.ai/control", "empty label in the host", ".vapi.ai" },
    { VAPI, "https://b\xc3\xbc" "cher.vapi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "https://x.v\xd0\xb0pi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "https://x.vapi.ai/control#a", "fragment not allowed", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai/control?a=b", "query not allowed", "x.vapi.ai" },
    { VAPI, "https://evil.com#x.vapi.ai/control", "fragment not allowed", "evil.com" },
    { VAPI, "https://evil.com?x.vapi.ai/control", "query not allowed", "evil.com" },
    { VAPI, "https://evil%2ecom.vapi.ai/control", "character not allowed in the host", "?" },
    { VAPI, "https://evil.com%2f.vapi.ai/control", "character not allowed in the host", "?" },
    { VAPI, "https://evil.com\\.vapi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "https:\\\\x.vapi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "https://x.vapi.ai/con\ttrol", "character not allowed in a URL", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai/con trol", "character not allowed in a URL", "x.vapi.ai" },
    { VAPI, "https://x.vapi.ai/con\r\ntrol", "character not allowed in a URL", "x.vapi.ai" },
    { VAPI, " https://x.vapi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "<https://x.vapi.ai/control>", "character not allowed in a URL", "?" },
    { VAPI, "https://<x.vapi.ai>/control", "character not allowed in a URL", "?" },
    { VAPI, "https://{{x}}.vapi.ai/control", "character not allowed in a URL", "?" },
    { VAPI, "https:///control", "no host", "?" },
    { VAPI, "https://:443/control", "no host", "?" },
    { VAPI, "https://", "no host", "?" },
    { VAPI, "", "not https", "?" },
    { VAPI, "x.vapi.ai/control", "not https", "?" },
    { VAPI, "//x.vapi.ai/control", "not https", "?" },
    { VAPI, "https:x.vapi.ai/control", "not https", "?" },
    { VAPI, "https:/x.vapi.ai/control", "not https", "?" },
    { VAPI, "file:///etc/passwd", "not https", "?" },
    { VAPI, "wss://x.vapi.ai/control", "not https", "?" },
    { VAPI, "https://x_y.vapi.ai/control", "character not allowed in the host", "?" },

    /* other ways to write an address */
    { "http://127.0.0.1:*", "http://2130706433:80/", "odd form of an IP address", "2130706433" },
    { "http://127.0.0.1:*", "http://0x7f000001/", "odd form of an IP address", "0x7f000001" },
    { "http://127.0.0.1:*", "http://0x7f.1/", "odd form of an IP address", "0x7f.1" },
    { "http://127.0.0.1:*", "http://127.1/", "odd form of an IP address", "127.1" },
    { "http://127.0.0.1:*", "http://0177.0.0.1/", "odd form of an IP address", "0177.0.0.1" },
    { "http://127.0.0.1:*", "http://x.vapi.0x/", "odd form of an IP address", "x.vapi.0x" },
    { "http://127.0.0.1:*", "http://[::ffff:127.0.0.1]/", "not https", "::ffff:127.0.0.1" },
    { "[::1]", "https://[::1%25lo]/", "not an IPv6 address", "?" },
    { "[::1]", "https://[::1/", "no ] after an IPv6 address", "?" },
    { "[::1]", "https://[::1]x/", "character not allowed in the host", "::1" },
    { "[::1]", "https://::1/", "no host", "?" },

    /* named on purpose */
    { TEST_HOSTS, "http://127.0.0.1:8080/call/control", NULL, "127.0.0.1" },
    { TEST_HOSTS, "http://127.0.0.1/call/control", NULL, "127.0.0.1" },
    { TEST_HOSTS, "https://127.0.0.1:8080/call/control", "host not allowed", "127.0.0.1" },
    { TEST_HOSTS, "http://127.0.0.2:8080/", "not https", "127.0.0.2" },
    { TEST_HOSTS, "https://[::1]/", NULL, "::1" },
    { TEST_HOSTS, "https://[0:0:0:0:0:0:0:1]:443/", NULL, "0:0:0:0:0:0:0:1" },
    { TEST_HOSTS, "https://[::1]:444/", "port not allowed", "::1" },
    { TEST_HOSTS, "http://[::1]/", "not https", "::1" },
    { TEST_HOSTS, "https://a.b.vapi.ai:8443/", NULL, "a.b.vapi.ai" },
    { TEST_HOSTS, "http://mock.test/", NULL, "mock.test" },
    { TEST_HOSTS, "http://mock.test:80/", NULL, "mock.test" },
    { TEST_HOSTS, "http://mock.test:81/", "port not allowed", "mock.test" },
    { TEST_HOSTS, "https://exact.example:8443/", NULL, "exact.example" },
    { TEST_HOSTS, "https://exact.example/", "port not allowed", "exact.example" },
    { TEST_HOSTS, "https://a.exact.example:8443/", "host not allowed", "a.exact.example" },
};

static void test_control_urls(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(url_cases); i++) {
        const url_case *c = &url_cases[i];
        const apr_array_header_t *hosts = hosts_of(c->patterns);
        const char *host = NULL, *wrong = vapi_control_url_check(c->url, hosts, &host, pool);

        if ((!wrong != !c->wrong) || (wrong && strcmp(wrong, c->wrong) != 0) || strcmp(host, c->host) != 0) {
            fail_msg("%s: \"%s\", host %s", c->url, wrong ? wrong : "allowed", host);
        }
        assert_true(vapi_control_url_check(c->url, hosts, NULL, pool) == wrong);
    }
}

static void test_control_url_lengths(void **state)
{
    const apr_array_header_t *hosts = hosts_of(VAPI);
    char url[2100] = "https://x.vapi.ai/", name[400] = "https://";
    const char *host;

    (void)state;
    memset(url + 18, 'a', sizeof(url) - 19);
    url[2048] = '\0';
    assert_null(vapi_control_url_check(url, hosts, NULL, pool));
    url[2048] = 'a';
    url[2049] = '\0';
    assert_string_equal(vapi_control_url_check(url, hosts, NULL, pool), "URL too long");
    memset(name + 8, 'b', 64);
    memcpy(name + 72, ".vapi.ai/", 10);
    assert_string_equal(vapi_control_url_check(name, hosts, &host, pool), "label of the host too long");
    for (char *at = name + 8; at < name + 288; at += 2) {
        memcpy(at, "c.", 2);
    }
    memcpy(name + 288, "vapi.ai/", 9);
    assert_string_equal(vapi_control_url_check(name, hosts, &host, pool), "host too long");
    assert_int_equal(strlen(host), 100);
}

static void test_control_host_patterns_refused(void **state)
{
    static const char *const bad[] = { "", "*", "*.", "*.*", "a.*", "*vapi.ai", "https://vapi.ai", "ftp://vapi.ai", "vapi.ai/", "vapi.ai:", "vapi.ai:0",
                                       "vapi.ai:65536", "vapi.ai:x", "vapi.ai.", ".vapi.ai", "a..b", "a b", "::1", "[::1", "[::1]x", "[1.2.3.4]", "1.2.3",
                                       "1.2.3.256", "0x7f000001", "*.1.2.3.4", "*.[::1]", "user@vapi.ai", "v\xc3\xa4pi.ai", "http://", "http://*" };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(bad); i++) {
        vapi_control_host_t *host = NULL;

        if (!vapi_control_host_parse(&host, bad[i], pool)) {
            fail_msg("%s was taken", bad[i]);
        }
        assert_null(host);
    }
}

/* ---- Addresses ---- */

typedef struct address_case {
    const char *address;
    int is_public;
} address_case;

static const address_case address_cases[] = {
    { "0.0.0.0", 0 }, { "0.255.255.255", 0 }, { "1.0.0.0", 1 }, { "9.255.255.255", 1 }, { "10.0.0.0", 0 }, { "10.255.255.255", 0 }, { "11.0.0.0", 1 },
    { "100.63.255.255", 1 }, { "100.64.0.0", 0 }, { "100.127.255.255", 0 }, { "100.128.0.0", 1 }, { "126.255.255.255", 1 }, { "127.0.0.1", 0 },
    { "127.255.255.255", 0 }, { "128.0.0.1", 1 }, { "169.253.255.255", 1 }, { "169.254.0.0", 0 }, { "169.254.169.254", 0 }, { "169.255.0.0", 1 },
    { "172.15.255.255", 1 }, { "172.16.0.0", 0 }, { "172.31.255.255", 0 }, { "172.32.0.0", 1 }, { "191.255.255.255", 1 }, { "192.0.0.8", 0 },
    { "192.0.1.0", 1 }, { "192.0.2.255", 0 }, { "192.0.3.0", 1 }, { "192.88.98.255", 1 }, { "192.88.99.1", 0 }, { "192.88.100.0", 1 },
    { "192.167.255.255", 1 }, { "192.168.0.0", 0 }, { "192.168.255.255", 0 }, { "192.169.0.0", 1 }, { "198.17.255.255", 1 }, { "198.18.0.0", 0 },
    { "198.19.255.255", 0 }, { "198.20.0.0", 1 }, { "198.51.99.255", 1 }, { "198.51.100.1", 0 }, { "198.51.101.0", 1 }, { "203.0.112.255", 1 },
    { "203.0.113.7", 0 }, { "203.0.114.0", 1 }, { "223.255.255.255", 1 }, { "224.0.0.1", 0 }, { "239.255.255.255", 0 }, { "240.0.0.1", 0 },
    { "255.255.255.255", 0 }, { "8.8.8.8", 1 },

    { "::", 0 }, { "::1", 0 }, { "::8.8.8.8", 0 }, { "::ffff:127.0.0.1", 0 }, { "::ffff:10.1.2.3", 0 }, { "::ffff:8.8.8.8", 1 },
    { "64:ff9b::10.0.0.1", 0 }, { "64:ff9b::169.254.169.254", 0 }, { "64:ff9b::8.8.8.8", 1 }, { "64:ff9b:1::8.8.8.8", 0 }, { "100::1", 0 },
    { "2001::1", 0 }, { "2001:1ff::1", 0 }, { "2001:200::1", 1 }, { "2001:db8::1", 0 }, { "2001:db9::1", 1 }, { "2002:7f00:1::", 0 },
    { "2002:c0a8:101::1", 0 }, { "2002:808:808::1", 1 }, { "2606:4700::1111", 1 }, { "3fff::1", 0 }, { "3fff:1000::1", 1 }, { "4000::1", 0 },
    { "5f00::1", 0 }, { "fc00::1", 0 }, { "fdff::1", 0 }, { "fe80::1", 0 }, { "febf::1", 0 }, { "fec0::1", 0 }, { "ff02::1", 0 }, { "ffff::1", 0 },
};

static void test_public_addresses(void **state)
{
    const struct sockaddr_storage other = { .ss_family = AF_UNIX };
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(address_cases); i++) {
        const address_case *c = &address_cases[i];
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        int is_v6 = strchr(c->address, ':') != NULL;

        assert_int_equal(inet_pton(is_v6 ? AF_INET6 : AF_INET, c->address, is_v6 ? (void *)&v6.sin6_addr : (void *)&v4.sin_addr), 1);
        if (vapi_http_address_is_public(is_v6 ? (void *)&v6 : (void *)&v4) != c->is_public) {
            fail_msg("%s", c->address);
        }
    }
    assert_int_equal(vapi_http_address_is_public(&other), 0);
}

/* ---- What answers mean ---- */

#define ACCEPTED VAPI_MOVE_ACCEPTED
#define REFUSED  VAPI_MOVE_REFUSED
#define FAILED   VAPI_MOVE_FAILED
#define UNKNOWN  VAPI_MOVE_UNKNOWN

enum { WHOLE = 0, CUT = 1, TIMED_OUT = 2, RETRY_AFTER = 4, ADDRESS = 8 };

typedef struct answer_case {
    vapi_http_end end;
    int status;
    int how;
    const char *body;
    vapi_move_outcome outcome;
    int again;
    const char *reason;
} answer_case;

static const answer_case answer_cases[] = {
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"success\":true}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 204, WHOLE, "", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 202, WHOLE, "ok", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "<html>error</html>", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, CUT, "{\"error\":\"no\"}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":400,\"message\":[\"property x should not exist\"]}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 201, WHOLE, "{\"statusCode\":\"422\"}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":500.0}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":99999999999999999999}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":200}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":399}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":\"400 Bad\"}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"statusCode\":\"\"}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":\"Bad Request\"}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":{\"code\":1}}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":[\"x\"]}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":true}", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, " {\"error\":\"a\\u0000b\"} ", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":\"\"}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":{}}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":[]}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":null}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":false}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"error\":0}", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "[{\"error\":\"x\"}]", ACCEPTED, 0, NULL },
    { VAPI_HTTP_ANSWERED, 200, WHOLE, "{\"message\":{\"error\":\"x\"}}", ACCEPTED, 0, NULL },

    { VAPI_HTTP_ANSWERED, 400, WHOLE, "", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 402, WHOLE, "", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 405, WHOLE, "", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 422, CUT, "", REFUSED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 401, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 403, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 404, WHOLE, "", FAILED, 0, "call-gone" },
    { VAPI_HTTP_ANSWERED, 409, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 410, WHOLE, "", FAILED, 0, "call-gone" },
    { VAPI_HTTP_ANSWERED, 301, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 304, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 500, WHOLE, "", FAILED, 0, "refused" },
    { VAPI_HTTP_ANSWERED, 501, WHOLE, "", FAILED, 0, "refused" },

    { VAPI_HTTP_ANSWERED, 429, WHOLE, "", FAILED, 1, "limited" },
    { VAPI_HTTP_ANSWERED, 503, RETRY_AFTER, "", FAILED, 1, "refused" },
    { VAPI_HTTP_NOT_SENT, 0, WHOLE, "", FAILED, 1, "timeout" },
    { VAPI_HTTP_NOT_SENT, 0, TIMED_OUT, "", FAILED, 1, "timeout" },
    { VAPI_HTTP_NOT_SENT, 0, ADDRESS, "", FAILED, 0, "not-allowed" },

    { VAPI_HTTP_ANSWERED, 408, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 502, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 503, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 504, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 520, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_BROKEN, 0, TIMED_OUT, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_BROKEN, 0, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_BROKEN, 100, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_BROKEN, 200, TIMED_OUT, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_BROKEN, 200, WHOLE, "{\"error\":\"x\"}", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 101, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 600, WHOLE, "", UNKNOWN, 0, "timeout" },
    { VAPI_HTTP_ANSWERED, 999, WHOLE, "", UNKNOWN, 0, "timeout" },

    /* the status came, the body broke */
    { VAPI_HTTP_BROKEN, 400, TIMED_OUT, "", REFUSED, 0, "refused" },
    { VAPI_HTTP_BROKEN, 404, WHOLE, "", FAILED, 0, "call-gone" },
    { VAPI_HTTP_BROKEN, 429, WHOLE, "", FAILED, 1, "limited" },
    { VAPI_HTTP_BROKEN, 500, TIMED_OUT, "", FAILED, 0, "refused" },
    { VAPI_HTTP_BROKEN, 503, RETRY_AFTER, "", FAILED, 1, "refused" },
    { VAPI_HTTP_BROKEN, 502, WHOLE, "", UNKNOWN, 0, "timeout" },
};

static void test_classification(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(answer_cases); i++) {
        const answer_case *c = &answer_cases[i];
        vapi_http_answer_t answer = { 0 };
        const char *reason = "unset";
        int again = -1, outcome;

        answer.end = c->end;
        answer.status = c->status;
        answer.body = c->body;
        answer.body_len = strlen(c->body);
        answer.cut = (c->how & CUT) != 0;
        answer.timed_out = (c->how & TIMED_OUT) != 0;
        answer.has_retry_after = (c->how & RETRY_AFTER) != 0;
        answer.address_refused = (c->how & ADDRESS) != 0;
        outcome = (int)vapi_transfer_classify(&answer, &reason, &again);
        if (outcome != (int)c->outcome || again != c->again || (!reason != !c->reason) || (reason && strcmp(reason, c->reason) != 0)) {
            fail_msg("%d %d %s: outcome %d, again %d, reason %s", c->end, c->status, c->body, outcome, again, reason ? reason : "none");
        }
    }
}

/* ---- The POST ---- */

#define OK_ANSWER   "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define BUSY_ANSWER "HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n"

#define PATIENT 20000               /* ms: as long as an answer may take on the slowest machine */
#define MUCH_LATER (10000 * MS)     /* beyond the time that was given: no delay of the machine, it was not kept */

static vapi_move_t move_to(int port, int budget_ms)
{
    vapi_move_t move = { 0 };

    move.profile = &profile;
    move.url = apr_psprintf(pool, "http://127.0.0.1:%d/call-1/control", port);
    move.body = "{\"type\":\"transfer\"}";
    move.body_len = strlen(move.body);
    move.timeout = PATIENT * MS;
    move.connect_timeout = PATIENT * MS;
    move.deadline = vapi_clock_now() + budget_ms * MS;
    return move;
}

/* The server's text first, accepted from then on. */
static int text_then_ok(small_connection_t *c)
{
    return small_say(c, c->server->requests == 1 ? c->server->text : OK_ANSWER);
}

static int read_and_close(small_connection_t *c)
{
    (void)c;
    return 0;
}

static void test_move_accepted(void **state)
{
    small_server_t server;
    vapi_moved_t moved;
    vapi_move_t move;

    (void)state;
    small_start(&server, small_text, OK_ANSWER, NULL);
    move = move_to(server.port, PATIENT);
    move.token = "t0ken";
    vapi_transfer_move(http, &move, &moved, pool);
    assert_int_equal(moved.outcome, ACCEPTED);
    assert_null(moved.reason);
    assert_null(moved.what);
    assert_int_equal(moved.status, 200);
    assert_int_equal(moved.tries, 1);
    assert_int_equal(moved.new_connections, 1);
    assert_non_null(strstr(server.last, "POST /call-1/control HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(server.last, "Authorization: Bearer t0ken\r\n"));
    assert_non_null(strstr(server.last, "\r\n\r\n{\"type\":\"transfer\"}"));
    small_stop(&server);
}

static vapi_moved_t move_after(const char *first, int budget_ms, small_server_t *server)
{
    vapi_moved_t moved;
    vapi_move_t move;

    small_start(server, text_then_ok, first, NULL);
    move = move_to(server->port, budget_ms);
    vapi_transfer_move(http, &move, &moved, pool);
    small_stop(server);
    return moved;
}

static void test_move_once_more(void **state)
{
    small_server_t server;
    vapi_moved_t moved;

    (void)state;
    moved = move_after(BUSY_ANSWER, PATIENT, &server);
    assert_int_equal(moved.outcome, ACCEPTED);
    assert_int_equal(moved.tries, 2);
    assert_in_range(moved.took, 245 * MS, MUCH_LATER);

    moved = move_after("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", PATIENT, &server);
    assert_int_equal(moved.outcome, ACCEPTED);
    assert_in_range(moved.took, 995 * MS, MUCH_LATER);

    /* 60 s are asked for, 2 s are left: half of it is for the pause */
    moved = move_after("HTTP/1.1 429 Slow\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n", 2000, &server);
    assert_int_equal(moved.outcome, ACCEPTED);
    assert_in_range(moved.took, 500 * MS, 2000 * MS);

    /* the first try takes all the time there is: its body never comes */
    moved = move_after("HTTP/1.1 429 Slow\r\nContent-Length: 9\r\n\r\n", 600, &server);
    assert_int_equal(moved.outcome, FAILED);
    assert_string_equal(moved.reason, "limited");
    assert_int_equal(moved.tries, 1);
}

static void test_move_not_once_more(void **state)
{
    small_server_t server;
    vapi_moved_t moved;

    (void)state;
    moved = move_after("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", PATIENT, &server);
    assert_int_equal(moved.outcome, REFUSED);
    assert_int_equal(moved.status, 400);
    assert_int_equal(server.requests, 1);
    moved = move_after("HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n", PATIENT, &server);
    assert_int_equal(moved.outcome, UNKNOWN);
    assert_int_equal(server.requests, 1);
    moved = move_after("garbage\r\n\r\n", PATIENT, &server);
    assert_int_equal(moved.outcome, UNKNOWN);
    assert_int_equal(server.requests, 1);
    assert_non_null(moved.what);
}

static void test_move_that_breaks_is_unknown(void **state)
{
    small_server_t server;
    vapi_moved_t moved;
    vapi_move_t move;

    (void)state;
    small_start(&server, read_and_close, NULL, NULL);
    move = move_to(server.port, PATIENT);
    vapi_transfer_move(http, &move, &moved, pool);
    assert_int_equal(moved.outcome, UNKNOWN);
    assert_int_equal(moved.tries, 1);
    assert_int_equal(server.requests, 1);
    small_stop(&server);
}

static void test_move_twice_limited_fails(void **state)
{
    small_server_t server;
    vapi_moved_t moved;
    vapi_move_t move;

    (void)state;
    small_start(&server, small_text, BUSY_ANSWER, NULL);
    move = move_to(server.port, PATIENT);
    vapi_transfer_move(http, &move, &moved, pool);
    assert_int_equal(moved.outcome, FAILED);
    assert_string_equal(moved.reason, "limited");
    assert_int_equal(moved.tries, 2);
    assert_int_equal(server.requests, 2);
    assert_int_equal(moved.new_connections, 1);
    small_stop(&server);
}

static void test_move_to_a_closed_port(void **state)
{
    int port, fd = take_port(&port);
    vapi_moved_t moved;
    vapi_move_t move;

    (void)state;
    move = move_to(port, PATIENT);
    vapi_transfer_move(http, &move, &moved, pool);
    close(fd);
    assert_int_equal(moved.outcome, FAILED);
    assert_string_equal(moved.reason, "timeout");
    assert_int_equal(moved.tries, 2);
    assert_int_equal(moved.status, 0);
    assert_in_range(moved.took, 245 * MS, MUCH_LATER);
}

static void test_move_times_out(void **state)
{
    int port, fd = small_listen(&port);
    vapi_moved_t moved;
    vapi_move_t move;

    (void)state;
    move = move_to(port, PATIENT);
    move.timeout = 400 * MS;
    vapi_transfer_move(http, &move, &moved, pool);
    assert_int_equal(moved.outcome, UNKNOWN);
    assert_string_equal(moved.reason, "timeout");
    assert_int_equal(moved.tries, 1);
    assert_in_range(moved.took, 350 * MS, MUCH_LATER);
    move = move_to(port, 400);
    vapi_transfer_move(http, &move, &moved, pool);
    assert_int_equal(moved.outcome, UNKNOWN);
    assert_in_range(moved.took, 350 * MS, MUCH_LATER);
    close(fd);
}

static void test_say(void **state)
{
    small_server_t server;
    vapi_move_t how;

    (void)state;
    small_start(&server, small_text, OK_ANSWER, NULL);
    how = move_to(server.port, PATIENT);
    assert_int_equal(vapi_transfer_say(http, &how, "I'm \"sorry\", no transfer \xc3\xa4", pool), 1);
    assert_non_null(strstr(server.last, "\r\n\r\n{\"type\":\"say\",\"content\":\"I'm \\\"sorry\\\", no transfer \xc3\xa4\"}"));
    server.text = BUSY_ANSWER;
    assert_int_equal(vapi_transfer_say(http, &how, "x", pool), 0);
    assert_int_equal(server.requests, 2);
    small_stop(&server);
}

/* ---- The control URL, asked for ---- */

typedef struct ask_case {
    const char *answer;
    const char *url;
    const char *why;
} ask_case;

#define JSON_ANSWER(len, json) "HTTP/1.1 200 OK\r\nContent-Length: " #len "\r\n\r\n" json

static const ask_case ask_cases[] = {
    { JSON_ANSWER(58, "{\"monitor\":{\"controlUrl\":\"https://x.vapi.ai/abc/control\"}}   "), "https://x.vapi.ai/abc/control", NULL },
    { JSON_ANSWER(14, "{\"monitor\":{}}"), NULL, "the call has no control URL" },
    { JSON_ANSWER(32, "{\"monitor\":{\"controlUrl\":\"\"}}    "), NULL, "the call has no control URL" },
    { JSON_ANSWER(32, "{\"monitor\":{\"controlUrl\":7}}      "), NULL, "the call has no control URL" },
    { JSON_ANSWER(37, "{\"monitor\":{\"controlUrl\":\"a\\u0000b\"}}  "), NULL, "the call has no control URL" },
    { JSON_ANSWER(2, "[]"), NULL, "the call has no control URL" },
    { JSON_ANSWER(6, "<html>"), NULL, "the call has no control URL" },
    { "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", NULL, "Vapi refuses the API key" },
    { "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", NULL, "Vapi does not know the call" },
    { "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", NULL, "Vapi answered with an error" },
};

static void test_ask_url(void **state)
{
    const char *why, *url, *base;
    small_server_t server;
    vapi_move_t how;
    size_t i;

    (void)state;
    small_start(&server, small_text, NULL, NULL);
    how = move_to(server.port, PATIENT);
    base = apr_psprintf(pool, "http://127.0.0.1:%d/v1/", server.port);
    for (i = 0; i < COUNT(ask_cases); i++) {
        server.text = ask_cases[i].answer;
        why = NULL;
        url = vapi_transfer_ask_url(http, &how, base, "k3y", "a/b?c \xff", &why, pool);
        if ((!url != !ask_cases[i].url) || (url && strcmp(url, ask_cases[i].url) != 0)) {
            fail_msg("case %d: %s", (int)i, url ? url : why);
        }
        assert_true(why == ask_cases[i].why || strcmp(why, ask_cases[i].why) == 0);
    }
    assert_non_null(strstr(server.last, "GET /v1/call/a%2Fb%3Fc%20%FF HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last, "Authorization: Bearer k3y\r\n"));
    assert_null(strstr(server.last, "Content-Type"));
    assert_null(vapi_transfer_ask_url(http, &how, base, "k3y", "..", &why, pool));
    assert_non_null(why);
    assert_null(vapi_transfer_ask_url(http, &how, base, "k3y", "", &why, pool));
    assert_int_equal(server.requests, COUNT(ask_cases));
    small_stop(&server);
}

static void test_ask_url_in_vain(void **state)
{
    int refusing, refused = take_port(&refusing), port, fd = small_listen(&port);
    const char *why = NULL, *base = apr_psprintf(pool, "http://127.0.0.1:%d", port);
    vapi_move_t how = move_to(port, 100);

    (void)state;
    assert_null(vapi_transfer_ask_url(http, &how, base, "k", "id", &why, pool));
    assert_string_equal(why, "Vapi did not answer in time");
    close(fd);
    base = apr_psprintf(pool, "http://127.0.0.1:%d", refusing);
    how = move_to(refusing, PATIENT);
    assert_null(vapi_transfer_ask_url(http, &how, base, "k", "id", &why, pool));
    assert_non_null(why);
    close(refused);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest transfer_tests[] = {
        TEST(test_control_urls),
        TEST(test_control_url_lengths),
        TEST(test_control_host_patterns_refused),
        TEST(test_public_addresses),
        TEST(test_classification),
        TEST(test_move_accepted),
        TEST(test_move_once_more),
        TEST(test_move_not_once_more),
        TEST(test_move_that_breaks_is_unknown),
        TEST(test_move_twice_limited_fails),
        TEST(test_move_to_a_closed_port),
        TEST(test_move_times_out),
        TEST(test_say),
        TEST(test_ask_url),
        TEST(test_ask_url_in_vain)
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = cmocka_run_group_tests(transfer_tests, NULL, NULL);
    apr_terminate();
    return failed;
}
