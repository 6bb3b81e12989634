/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include <curl/curlver.h>

#include "small_server.h"
#include "vapi_clock.h"
#include "vapi_http.h"

#define MS ((apr_interval_time_t)1000)

static apr_pool_t *pool;
static vapi_http_t *http;
static const vapi_http_profile_t open_profile = { NULL, NULL, 1, 1 };

static int setup(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    return vapi_http_create(&http, 16, pool) == APR_SUCCESS ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

static const char *url_of(int port, const char *scheme, const char *path)
{
    return apr_psprintf(pool, "%s://127.0.0.1:%d%s", scheme, port, path);
}

#define PATIENT 20000               /* ms: as long as an answer may take on the slowest machine */
#define MUCH_LATER (10000 * MS)     /* beyond a deadline: no delay of the machine, it was not kept */

static vapi_http_request_t request_to(int port, const char *method, const char *body)
{
    vapi_http_request_t request = { 0 };

    request.profile = &open_profile;
    request.method = method;
    request.url = url_of(port, "http", "/control");
    request.body = body;
    request.body_len = body ? strlen(body) : 0;
    request.connect_timeout = 10000 * MS;
    request.answer_max = 65536;
    return request;
}

static vapi_http_answer_t perform(vapi_http_request_t request, int ms)
{
    vapi_http_answer_t answer;

    request.deadline = vapi_clock_now() + ms * MS;
    vapi_http_perform(http, &request, &answer, pool);
    return answer;
}

static vapi_http_answer_t post(small_server_t *server, const char *body)
{
    return perform(request_to(server->port, "POST", body), PATIENT);
}

/* ---- Connections ---- */

static void test_reuses_its_connection(void **state)
{
    small_server_t server;
    vapi_http_answer_t answer;
    int i;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    for (i = 0; i < 20; i++) {
        const char *body = apr_psprintf(pool, "{\"n\":%d}", i);

        answer = post(&server, body);
        assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
        assert_int_equal(answer.status, 200);
        assert_string_equal(answer.body, body);
        assert_int_equal(answer.body_len, strlen(body));
        assert_int_equal(answer.new_connections, i == 0);
        assert_null(answer.what);
    }
    assert_int_equal(server.connections, 1);
    assert_int_equal(vapi_http_connections(http), 1);
    small_stop(&server);
}

static void test_keeps_one_connection_for_each_origin(void **state)
{
    small_server_t one, other;
    int i;

    (void)state;
    small_start(&one, small_echo, NULL, NULL);
    small_start(&other, small_echo, NULL, NULL);
    for (i = 0; i < 10; i++) {
        assert_int_equal(post(&one, "1").status, 200);
        assert_int_equal(post(&other, "2").status, 200);
    }
    assert_int_equal(one.connections, 1);
    assert_int_equal(other.connections, 1);
    small_stop(&one);
    small_stop(&other);
}

static void test_profiles_share_no_connection(void **state)
{
    static const vapi_http_profile_t strict = { NULL, NULL, 0, 1 };
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    small_server_t server;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    assert_int_equal(post(&server, "1").status, 200);
    request = request_to(server.port, "POST", "2");
    request.profile = &strict;
    answer = perform(request, PATIENT);
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(answer.address_refused, 1);
    assert_int_equal(server.requests, 1);
    small_stop(&server);
}

static void test_more_origins_than_idle_places(void **state)
{
    small_server_t servers[20];
    int i, round;

    (void)state;
    for (i = 0; i < 20; i++) {
        small_start(&servers[i], small_echo, NULL, NULL);
    }
    for (round = 0; round < 2; round++) {
        for (i = 0; i < 20; i++) {
            assert_int_equal(post(&servers[i], "x").status, 200);
        }
    }
    for (i = 0; i < 20; i++) {
        assert_int_equal(servers[i].requests, 2);
        small_stop(&servers[i]);
    }
}

static atomic_int closed;

/* Says its text, and that there is no more: `closed` counts when the client's system knows. */
static int text_and_end(small_connection_t *c)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);

    small_say(c, c->server->text);
    shutdown(c->fd, SHUT_WR);
    while (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == TCP_FIN_WAIT1) {
        usleep(1000);
    }
    closed++;
    return 0;
}

static void test_connection_closed_while_idle(void **state)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    small_server_t server;
    int i;

    (void)state;
    small_start(&server, text_and_end, text, NULL);
    for (i = 1; i <= 5; i++) {
        vapi_http_answer_t answer = post(&server, "x");

        assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
        assert_int_equal(answer.new_connections, 1);
        assert_int_equal(server.requests, i);
        while (closed < i) {
            usleep(1000);
        }
    }
    small_stop(&server);
}

/* Answers the first request of a connection; reads the second wholly and closes. */
static int answer_first_only(small_connection_t *c)
{
    return c->nth == 1 && small_echo(c);
}

static void check_not_sent_twice(small_server_t *server, vapi_http_request_t request)
{
    vapi_http_answer_t answer;

    assert_int_equal(perform(request, PATIENT).status, 200);
    answer = perform(request, PATIENT);
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.timed_out, 0);
    assert_int_equal(answer.new_connections, 0);
    assert_non_null(answer.what);
    usleep(50000);
    assert_int_equal(server->requests, 2);
    assert_int_equal(server->connections, 1);
    assert_int_equal(perform(request, PATIENT).status, 200);    /* and the engine goes on */
}

static void test_kept_connection_that_dies_under_a_post(void **state)
{
    small_server_t server;

    (void)state;
    small_start(&server, answer_first_only, NULL, NULL);
    check_not_sent_twice(&server, request_to(server.port, "POST", "{\"type\":\"transfer\"}"));
    small_stop(&server);
}

static void test_large_post_is_not_sent_twice(void **state)
{
    char *body = apr_palloc(pool, 60001);
    small_server_t server;

    (void)state;
    memset(body, 'x', 60000);
    body[60000] = '\0';
    small_start(&server, answer_first_only, NULL, NULL);
    check_not_sent_twice(&server, request_to(server.port, "POST", body));
    small_stop(&server);
}

static void test_method_without_body_is_not_sent_twice(void **state)
{
    small_server_t server;

    (void)state;
    small_start(&server, answer_first_only, NULL, NULL);
    check_not_sent_twice(&server, request_to(server.port, "DELETE", NULL));
    small_stop(&server);
}

static void test_get_may_be_sent_again(void **state)
{
    small_server_t server;

    (void)state;
    small_start(&server, answer_first_only, NULL, NULL);
    assert_int_equal(perform(request_to(server.port, "GET", NULL), PATIENT).status, 200);
    assert_int_equal(perform(request_to(server.port, "GET", NULL), PATIENT).status, 200);
    assert_int_equal(server.connections, 2);
    small_stop(&server);
}

static void test_honours_keep_alive(void **state)
{
    static const char one[] = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=100\r\nContent-Length: 2\r\n\r\nok";
    static const char two[] = "HTTP/1.1 200 OK\r\nkeep-alive: max=100, timeout=2\r\nContent-Length: 2\r\n\r\nok";
    static const char many[] = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok";
    small_server_t server;

    (void)state;
    small_start(&server, small_text, one, NULL);
    post(&server, "1");
    assert_int_equal(post(&server, "2").new_connections, 1);    /* a second less than 1 s: not at all */
    server.text = many;
    post(&server, "3");
    server.text = two;
    assert_int_equal(post(&server, "4").new_connections, 0);
    usleep(1100000);
    assert_int_equal(post(&server, "5").new_connections, 1);
    small_stop(&server);
}

/* ---- Answers ---- */

static void test_statuses_and_redirects(void **state)
{
    small_server_t server, elsewhere;
    vapi_http_answer_t answer;

    (void)state;
    small_start(&elsewhere, small_echo, NULL, NULL);
    small_start(&server, small_text, "HTTP/1.1 204 No Content\r\n\r\n", NULL);
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
    assert_int_equal(answer.status, 204);
    assert_string_equal(answer.body, "");
    server.text = apr_psprintf(pool, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n", elsewhere.port);
    assert_int_equal(post(&server, "x").status, 302);
    assert_int_equal(elsewhere.connections, 0);
    small_stop(&server);
    small_stop(&elsewhere);
}

static void test_retry_after(void **state)
{
    small_server_t server;
    vapi_http_answer_t answer;

    (void)state;
    small_start(&server, small_text, "HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", NULL);
    answer = post(&server, "x");
    assert_int_equal(answer.has_retry_after, 1);
    assert_int_equal(answer.retry_after, 3000 * MS);
    server.text = "HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n";
    answer = post(&server, "x");
    assert_int_equal(answer.has_retry_after, 1);
    assert_int_equal(answer.retry_after, 0);
    server.text = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    assert_int_equal(post(&server, "x").has_retry_after, 0);
    server.text = "HTTP/1.1 100 Continue\r\nRetry-After: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    answer = post(&server, "x");
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.has_retry_after, 0);
    small_stop(&server);
}

#define BLOCKS 16384

static atomic_int blocks_sent;

/* What a client sees that asks for a gigabyte. */
static int answer_endlessly(small_connection_t *c)
{
    static char block[65536];
    int i, more = small_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");

    for (i = 0; more && i < BLOCKS; i++) {
        more = small_send(c, block, sizeof(block));
    }
    blocks_sent = i;
    return 0;
}

static void test_cuts_a_long_answer(void **state)
{
    small_server_t server;
    vapi_http_answer_t answer;

    (void)state;
    small_start(&server, answer_endlessly, NULL, NULL);
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.cut, 1);
    assert_int_equal(answer.body_len, 65536);
    small_stop(&server);
    assert_in_range(blocks_sent, 1, BLOCKS - 1);    /* the connection was not kept for what was still to come */
}

static void test_answer_of_just_the_most(void **state)
{
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    small_server_t server;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    request = request_to(server.port, "POST", "0123456789");
    request.answer_max = 10;
    answer = perform(request, PATIENT);
    assert_int_equal(answer.cut, 0);
    assert_string_equal(answer.body, "0123456789");
    request.answer_max = 9;
    answer = perform(request, PATIENT);
    assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
    assert_int_equal(answer.cut, 1);
    assert_string_equal(answer.body, "012345678");
    request.answer_max = 0;
    answer = perform(request, PATIENT);
    assert_int_equal(answer.cut, 1);
    assert_string_equal(answer.body, "");
    small_stop(&server);
}

static int answer_in_drips(small_connection_t *c)
{
    int more = small_say(c, c->server->text);

    while (more && !c->server->stopping) {
        usleep(20000);
        more = small_say(c, "x");
    }
    return 0;
}

static void test_slow_drip_ends_at_the_deadline(void **state)
{
    small_server_t server;
    vapi_http_answer_t answer;

    (void)state;
    small_start(&server, answer_in_drips, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", NULL);
    answer = perform(request_to(server.port, "POST", "x"), 1000);
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.timed_out, 1);
    assert_in_range(answer.took, 950 * MS, MUCH_LATER);
    server.text = "HTTP/1.1 200 OK\r\nX-Slow: ";
    answer = perform(request_to(server.port, "POST", "x"), 300);
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_in_range(answer.took, 250 * MS, MUCH_LATER);
    small_stop(&server);
}

static void test_answers_that_break_off(void **state)
{
    small_server_t server;
    vapi_http_answer_t answer;

    (void)state;
    small_start(&server, small_text_and_close, "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf", NULL);
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 500);
    assert_int_equal(answer.timed_out, 0);
    assert_string_equal(answer.body, "half");
    server.text = "";
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 0);
    server.text = "\x15\x03\x01 what is this\r\n\r\n";
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 0);
    server.text = "{\"no\":\"status line\"}";
    answer = post(&server, "x");
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);
    assert_int_equal(answer.status, 0);
    assert_non_null(answer.what);
    small_stop(&server);
}

/* ---- Requests ---- */

static void check_sent(small_server_t *server, const char *wanted)
{
    if (!strstr(server->last, wanted)) {
        fail_msg("no %s in %s", wanted, server->last);
    }
}

static void test_what_is_sent(void **state)
{
    apr_array_header_t *headers = apr_array_make(pool, 2, sizeof(const char *));
    vapi_http_request_t request;
    small_server_t server;

    (void)state;
    APR_ARRAY_PUSH(headers, const char *) = "Content-Type: application/json";
    APR_ARRAY_PUSH(headers, const char *) = "Authorization: Bearer t0ken";
    small_start(&server, small_echo, NULL, NULL);
    request = request_to(server.port, "POST", "{}");
    request.headers = headers;
    request.url = url_of(server.port, "http", "/a/../b?c=%20");
    assert_int_equal(perform(request, PATIENT).status, 200);
    check_sent(&server, "POST /a/../b?c=%20 HTTP/1.1\r\n");
    check_sent(&server, "\r\nUser-Agent: mod_vapi_transfer/");
    check_sent(&server, "\r\nContent-Type: application/json\r\nAuthorization: Bearer t0ken\r\n");
    check_sent(&server, "\r\n\r\n{}");
    assert_null(strstr(server.last, "Expect"));
    small_stop(&server);
}

/* One handle does them in turn: nothing of one request may stay for the next. */
static void test_methods_in_turn(void **state)
{
    small_server_t server;

    (void)state;
    small_start(&server, small_text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL);
    perform(request_to(server.port, "PUT", "{\"a\":1}"), PATIENT);
    check_sent(&server, "PUT /control HTTP/1.1\r\n");
    check_sent(&server, "{\"a\":1}");
    assert_null(strstr(server.last, "Content-Type"));
    perform(request_to(server.port, "HEAD", NULL), PATIENT);
    check_sent(&server, "HEAD /control HTTP/1.1\r\n");
    perform(request_to(server.port, "POST", "x"), PATIENT);
    check_sent(&server, "POST /control HTTP/1.1\r\n");
    perform(request_to(server.port, "DELETE", NULL), PATIENT);
    check_sent(&server, "DELETE /control HTTP/1.1\r\n");
    assert_null(strstr(server.last, "Content-Length"));
    perform(request_to(server.port, "POST", NULL), PATIENT);
    check_sent(&server, "Content-Length: 0\r\n");
    perform(request_to(server.port, "GET", NULL), PATIENT);
    check_sent(&server, "GET /control HTTP/1.1\r\n");
    assert_null(strstr(server.last, "Content-Length"));
    assert_int_equal(server.requests, 6);
    assert_int_equal(server.connections, 1);
    small_stop(&server);
}

static void test_headers_that_would_inject(void **state)
{
    static const char *const bad[] = { "X-A: 1\r\nX-Evil: 2", "X-A: 1\nX-Evil: 2", "X-A: 1\r", "no colon", ": no name", "X A: 1", "" };
    small_server_t server;
    size_t i;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        apr_array_header_t *headers = apr_array_make(pool, 1, sizeof(const char *));
        vapi_http_request_t request = request_to(server.port, "POST", "x");
        vapi_http_answer_t answer;

        APR_ARRAY_PUSH(headers, const char *) = bad[i];
        request.headers = headers;
        answer = perform(request, PATIENT);
        assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
        assert_non_null(answer.what);
    }
    assert_int_equal(perform(request_to(server.port, "GET /x HTTP/1.1\r\nX-Evil: 1", NULL), PATIENT).end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(server.connections, 0);
    small_stop(&server);
}

/* ---- Not sent ---- */

static void test_refused_port(void **state)
{
    vapi_http_answer_t answer;
    int port, fd = take_port(&port);

    (void)state;
    answer = perform(request_to(port, "POST", "x"), PATIENT);
    close(fd);
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(answer.status, 0);
    assert_int_equal(answer.new_connections, 0);
    assert_int_equal(answer.address_refused, 0);
    assert_non_null(answer.what);
}

static void test_private_addresses_are_refused(void **state)
{
    static const vapi_http_profile_t public_only = { NULL, NULL, 0, 1 };
    static const char *const hosts[] = { "127.0.0.1", "localhost", "2130706433", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
                                         "10.0.0.1", "169.254.169.254" };
    size_t i;
    int port, fd = small_listen(&port);

    (void)state;
    for (i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        vapi_http_request_t request = request_to(port, "POST", "x");
        vapi_http_answer_t answer;

        request.profile = &public_only;
        request.url = apr_psprintf(pool, "http://%s:%d/", hosts[i], port);
        answer = perform(request, PATIENT);
        assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
        assert_int_equal(answer.address_refused, 1);
    }
    close(fd);
}

static void test_plain_only_where_allowed(void **state)
{
    static const vapi_http_profile_t secure = { NULL, NULL, 1, 0 };
    vapi_http_request_t request;
    small_server_t server;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    request = request_to(server.port, "POST", "x");
    request.profile = &secure;
    assert_int_equal(perform(request, PATIENT).end, VAPI_HTTP_NOT_SENT);
    request.profile = &open_profile;
    request.url = "file:///etc/passwd";
    assert_int_equal(perform(request, PATIENT).end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(server.connections, 0);
    small_stop(&server);
}

static void test_environment_is_not_asked(void **state)
{
    small_server_t server, proxy;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    small_start(&proxy, small_echo, NULL, NULL);
    setenv("http_proxy", url_of(proxy.port, "http", "/"), 1);
    assert_int_equal(post(&server, "x").status, 200);
    unsetenv("http_proxy");
    assert_int_equal(proxy.connections, 0);
    small_stop(&server);
    small_stop(&proxy);
}

static void test_no_time_left(void **state)
{
    vapi_http_answer_t answer = perform(request_to(9, "POST", "x"), 0);

    (void)state;
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(answer.timed_out, 1);
    assert_string_equal(answer.what, "no time left");
}

static void test_server_that_hangs(void **state)
{
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    int port, fd = small_listen(&port);

    (void)state;
    request = request_to(port, "POST", "x");
    answer = perform(request, 600);
    assert_int_equal(answer.end, VAPI_HTTP_BROKEN);    /* the system took the connection, and the request with it */
    assert_int_equal(answer.timed_out, 1);
    assert_in_range(answer.took, 550 * MS, MUCH_LATER);

    request.url = url_of(port, "https", "/");          /* no TLS, so nothing was sent */
    answer = perform(request, 200);
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(answer.timed_out, 1);
    assert_in_range(answer.took, 150 * MS, MUCH_LATER);

    request.connect_timeout = 100 * MS;
    answer = perform(request, PATIENT);
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(answer.timed_out, 1);
    assert_in_range(answer.took, 50 * MS, MUCH_LATER);
    close(fd);
}

/* ---- A proxy ---- */

static void test_proxy_that_refuses_has_sent_nothing(void **state)
{
    vapi_http_profile_t profile = { NULL, NULL, 0, 0 };
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    small_server_t proxy;

    (void)state;
    small_start(&proxy, small_text_and_close, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", NULL);
    profile.proxy = url_of(proxy.port, "http", "");
    request = request_to(1, "POST", "secret");
    request.profile = &profile;
    request.url = "https://control.example/";
    answer = perform(request, PATIENT);
#if LIBCURL_VERSION_NUM >= 0x075000
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
#endif
    assert_int_equal(answer.status, 0);
    assert_int_equal(proxy.requests, 1);
    check_sent(&proxy, "CONNECT control.example:443 HTTP/1.1\r\n");
    assert_null(strstr(proxy.last, "secret"));
    small_stop(&proxy);
}

/* ---- TLS ---- */

static vapi_http_profile_t tls_profile;
static SSL_CTX *tls;

static void make_tls(void)
{
    static char path[] = "/tmp/vapi-http-test-XXXXXX";

    if (!tls) {
        close(mkstemp(path));
        tls = small_tls(path);
        tls_profile.ca_file = path;
        tls_profile.allow_private = 1;
    }
}

static void test_tls_reuses_its_connection(void **state)
{
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    small_server_t server;
    int i;

    (void)state;
    make_tls();
    small_start(&server, small_echo, NULL, tls);
    for (i = 0; i < 10; i++) {
        request = request_to(server.port, "POST", "{}");
        request.profile = &tls_profile;
        request.url = url_of(server.port, "https", "/");
        answer = perform(request, PATIENT);
        assert_int_equal(answer.end, VAPI_HTTP_ANSWERED);
        assert_string_equal(answer.body, "{}");
    }
    assert_int_equal(server.connections, 1);
    small_stop(&server);
}

static void test_tls_post_is_not_sent_twice(void **state)
{
    vapi_http_request_t request;
    small_server_t server;

    (void)state;
    make_tls();
    small_start(&server, answer_first_only, NULL, tls);
    request = request_to(server.port, "POST", "{}");
    request.profile = &tls_profile;
    request.url = url_of(server.port, "https", "/");
    check_not_sent_twice(&server, request);
    small_stop(&server);
}

static void test_tls_is_verified(void **state)
{
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    small_server_t server;

    (void)state;
    make_tls();
    small_start(&server, small_echo, NULL, tls);
    request = request_to(server.port, "POST", "x");
    request.url = url_of(server.port, "https", "/");
    answer = perform(request, PATIENT);                  /* the system's authorities do not know it */
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_non_null(answer.what);
    request.profile = &tls_profile;
    request.url = apr_psprintf(pool, "https://localhost:%d/", server.port);
    answer = perform(request, PATIENT);                  /* known, but of another name */
    assert_int_equal(answer.end, VAPI_HTTP_NOT_SENT);
    assert_int_equal(server.requests, 0);
    SSL_CTX_set_max_proto_version(tls, TLS1_1_VERSION);
    request.url = url_of(server.port, "https", "/");
    assert_int_equal(perform(request, PATIENT).end, VAPI_HTTP_NOT_SENT);
    SSL_CTX_set_max_proto_version(tls, 0);
    assert_int_equal(perform(request, PATIENT).status, 200);
    small_stop(&server);
}

/* ---- Threads ---- */

#define THREADS  16
#define REQUESTS 200

static void *post_many(void *data)
{
    small_server_t *server = data;
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    apr_pool_t *mine;
    char body[64], url[64];
    intptr_t wrong = 0;
    int i;

    apr_pool_create(&mine, NULL);
    for (i = 0; i < REQUESTS; i++) {
        snprintf(body, sizeof(body), "{\"thread\":\"%p\",\"n\":%d}", (void *)&answer, i);
        snprintf(url, sizeof(url), "%s://127.0.0.1:%d/", server->tls ? "https" : "http", server->port);
        memset(&request, 0, sizeof(request));
        request.profile = server->tls ? &tls_profile : &open_profile;
        request.method = "POST";
        request.url = url;
        request.body = body;
        request.body_len = strlen(body);
        request.connect_timeout = 30000 * MS;
        request.deadline = vapi_clock_now() + 60000 * MS;
        request.answer_max = 1024;
        vapi_http_perform(http, &request, &answer, mine);
        wrong += answer.end != VAPI_HTTP_ANSWERED || strcmp(answer.body, body) != 0;
        apr_pool_clear(mine);
    }
    apr_pool_destroy(mine);
    return (void *)wrong;
}

static void check_threads(small_server_t *server)
{
    pthread_t threads[THREADS];
    intptr_t wrong = 0;
    void *result;
    int i;

    for (i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, post_many, server);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &result);
        wrong += (intptr_t)result;
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(server->requests, THREADS * REQUESTS);
    assert_in_range(server->connections, 1, THREADS);
    assert_int_equal(vapi_http_connections(http), server->connections);
}

static void test_threads_share_the_idle_handles(void **state)
{
    small_server_t server;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    check_threads(&server);
    small_stop(&server);
}

static void test_threads_over_tls(void **state)
{
    small_server_t server;

    (void)state;
    make_tls();
    small_start(&server, small_echo, NULL, tls);
    check_threads(&server);
    small_stop(&server);
}

static int remove_tls(void **state)
{
    (void)state;
    if (tls) {
        unlink(tls_profile.ca_file);
        SSL_CTX_free(tls);
    }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest http_tests[] = {
        TEST(test_reuses_its_connection),
        TEST(test_keeps_one_connection_for_each_origin),
        TEST(test_profiles_share_no_connection),
        TEST(test_more_origins_than_idle_places),
        TEST(test_connection_closed_while_idle),
        TEST(test_kept_connection_that_dies_under_a_post),
        TEST(test_large_post_is_not_sent_twice),
        TEST(test_method_without_body_is_not_sent_twice),
        TEST(test_get_may_be_sent_again),
        TEST(test_honours_keep_alive),
        TEST(test_statuses_and_redirects),
        TEST(test_retry_after),
        TEST(test_cuts_a_long_answer),
        TEST(test_answer_of_just_the_most),
        TEST(test_slow_drip_ends_at_the_deadline),
        TEST(test_answers_that_break_off),
        TEST(test_what_is_sent),
        TEST(test_methods_in_turn),
        TEST(test_headers_that_would_inject),
        TEST(test_refused_port),
        TEST(test_private_addresses_are_refused),
        TEST(test_plain_only_where_allowed),
        TEST(test_environment_is_not_asked),
        TEST(test_no_time_left),
        TEST(test_server_that_hangs),
        TEST(test_proxy_that_refuses_has_sent_nothing),
        TEST(test_tls_reuses_its_connection),
        TEST(test_tls_post_is_not_sent_twice),
        TEST(test_tls_is_verified),
        TEST(test_threads_share_the_idle_handles),
        TEST(test_threads_over_tls)
    };
    int failed;

    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = cmocka_run_group_tests(http_tests, NULL, remove_tls);
    apr_terminate();
    return failed;
}
