/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "outside.h"

#include "vapi_given.h"
#include "vapi_state.h"

static small_server_t server;

/* ---- what a request has ---- */

static vapi_reach_t *reach_for(int ms)
{
    vapi_reach_t *reach = apr_pcalloc(pool, sizeof(*reach));

    reach->child = (vapi_child_t *)pool;
    reach->host = "www.example.com 443";
    reach->deadline = vapi_clock_now() + ms * MS;
    reach->made = apr_hash_make(pool);
    reach->notes = apr_array_make(pool, 2, sizeof(const char *));
    return reach;
}

static vapi_question_t question_of(vapi_reach_t *reach)
{
    vapi_question_t q = question();

    q.reach = reach;
    return q;
}

static const char *read_lookup(vapi_lookup_t **out, const char *line)
{
    vapi_outgoing_env_t env = make_env(1);
    vapi_words_t *words;

    assert_null(vapi_words_read(&words, line, pool));
    return vapi_lookup_make(out, words, &env);
}

static vapi_lookup_t *made(const char *line)
{
    vapi_lookup_t *lookup = NULL;
    const char *error = read_lookup(&lookup, line);

    if (error) {
        fail_msg("%s: %s", line, error);
    }
    apr_hash_set(lookups, vapi_lookup_name(lookup), APR_HASH_KEY_STRING, lookup);
    return lookup;
}

/* A lookup of the small server: `path` and more keys. */
static vapi_lookup_t *at_server(const char *name, const char *path, const char *more)
{
    return made(apr_psprintf(pool, "%s url=http://127.0.0.1:%d%s %s%s", name, server.port, path, more, strstr(more, "timeout=") ? "" : " timeout=30"));
}

static const char *note_at(const vapi_reach_t *reach, int i)
{
    return i < reach->notes->nelts ? APR_ARRAY_IDX(reach->notes, i, const char *) : "";
}

/* ---- the directive ---- */

static void what_is_wrong_is_refused(void **state)
{
    static const char *const cases[][2] = {
        { "", "takes a NAME" },
        { "url=https://h/", "takes a NAME" },
        { "1crm url=https://h/", "takes a NAME" },
        { "crm more url=https://h/", "takes a NAME" },
        { "crm", "needs url= or sql=" },
        { "crm file=x", "unknown key 'file'" },
        { "crm url=https://h/ cahce=60", "unknown key 'cahce'; did you mean 'cache'?" },
        { "crm url=https://h/ url=https://h/", "the key 'url' is given twice" },
        { "crm url=https://h/ cache=-1", "cache=-1: must be a time from 0" },
        { "crm url=https://h/ cache=32d", "cache=32d: must be a time" },
        { "crm url=https://h/ on-error=skip", "on-error=: 'skip' is none of continue, skip-route, fail" },
        { "crm url=https://%{x}/", "the host part of url= may not depend on the call" },
    };
    vapi_lookup_t *lookup;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(cases); i++) {
        const char *error = read_lookup(&lookup, cases[i][0]);

        if (!error || !strstr(error, cases[i][1])) {
            fail_msg("%s: %s", cases[i][0], error ? error : "taken");
        }
    }
}

static void a_dump_shows_it(void **state)
{
    vapi_lookup_t *lookup = made("crm url=https://crm.example.com/%{v} bearer=s3cret timeout=3 cache=60 on-error=fail");

    (void)state;
    assert_string_equal(vapi_lookup_name(lookup), "crm");
    assert_string_equal(vapi_lookup_describe(lookup, pool),
                        "crm url=https://crm.example.com/%{v} bearer=set timeout=3 method=GET cache=60 on-error=fail");
}

/* ---- what an answer means ---- */

typedef struct answer_case {
    const char *head, *body;
    const char *path, *state, *value;
    const char *note;                  /* "": none */
} answer_case;

#define OK200 "200 OK"

/* T45 */
static const answer_case answers[] = {
    { OK200, "{\"tier\":\"gold\",\"n\":7}", "tier", "ok", "gold", "" },
    { OK200, "{\"a\":{\"b\":[{\"c\":1.5}]}}", "a.b.0.c", "ok", "1.5", "" },
    { OK200, "{\"a\":[1,2,3]}", "a.length", "ok", "3", "" },
    { OK200, "[{\"x\":true}]", "0.x", "ok", "true", "" },
    { OK200, "\"just text\"", "tier", "ok", "", "" },
    { OK200, "42", "tier", "ok", "", "" },
    { OK200, "null", "tier", "ok", "", "" },
    { "201 Created", "{\"tier\":null}", "tier", "ok", "", "" },
    { OK200, "{\"tier\":\"x\\r\\ny\"}", "tier", "ok", "x\r\ny", "" },
    { "204 No Content", NULL, "tier", "none", "", "" },
    { "404 Not Found", "{\"tier\":\"gold\"}", "tier", "none", "", "" },
    { OK200, "", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "<html>gold</html>", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":\"gold\"", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":\"gold\"} x", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":\"gold\",\"tier\":\"iron\"}", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":\"\\u0000\"}", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":\"\xff\"}", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { OK200, "{\"tier\":1e999}", "tier", "error", "", "lookup crm: the answer is not JSON" },
    { "500 Oops gold", "{\"tier\":\"gold\"}", "tier", "error", "", "lookup crm: HTTP 500 after " },
    { "302 Found", "{\"tier\":\"gold\"}", "tier", "error", "", "lookup crm: HTTP 302 after " },
    { "401 Unauthorized", "{\"tier\":\"gold\"}", "tier", "error", "", "lookup crm: HTTP 401 after " },
    { "410 Gone", "{\"tier\":\"gold\"}", "tier", "error", "", "lookup crm: HTTP 410 after " },
};

static const char *http_text(const char *head, const char *body)
{
    return body ? apr_psprintf(pool, "HTTP/1.1 %s\r\nLocation: /x\r\nContent-Length: %" APR_SIZE_T_FMT "\r\n\r\n%s", head,
                               strlen(body), body)
                : apr_psprintf(pool, "HTTP/1.1 %s\r\n\r\n", head);
}

static void each_answer_has_its_state(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(answers); i++) {
        const answer_case *c = &answers[i];
        vapi_reach_t *reach = reach_for(30000);
        vapi_question_t q = question_of(reach);
        vapi_lookup_t *lookup;
        const char *got, *value;

        small_start(&server, small_text, http_text(c->head, c->body), NULL);
        lookup = at_server("crm", "/c", "");
        got = vapi_lookup_ask(lookup, &q, "");
        value = vapi_lookup_ask(lookup, &q, c->path);
        small_stop(&server);
        if (strcmp(got, c->state) != 0 || strcmp(value, c->value) != 0
            || strncmp(note_at(reach, 0), c->note, *c->note ? strlen(c->note) : 1) != 0) {
            fail_msg("%s %s: %s '%s' (%s)", c->head, c->body, got, value, note_at(reach, 0));
        }
        assert_int_equal(server.requests, 1);
        assert_null(strstr(note_at(reach, 0), "gold"));
        assert_null(strstr(note_at(reach, 0), "127.0.0.1"));
        assert_int_equal(q.met, strcmp(got, "error") == 0 ? VAPI_MET_LOOKUP_ERROR : 0);
        assert_int_equal(q.barred, VAPI_ON_ERROR_CONTINUE);
        assert_int_equal(reach->asked, 1);
        assert_true(reach->took > 0);
    }
}

static void an_answer_that_is_too_long_is_an_error(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach);
    char *body = apr_palloc(pool, VAPI_ANSWER_MAX + 3);

    (void)state;
    memset(body, 'a', VAPI_ANSWER_MAX + 2);
    body[0] = body[VAPI_ANSWER_MAX + 1] = '"';
    body[VAPI_ANSWER_MAX + 2] = '\0';
    small_start(&server, small_text, http_text(OK200, body), NULL);
    assert_string_equal(vapi_lookup_ask(at_server("crm", "/", ""), &q, ""), "error");
    assert_string_equal(note_at(reach, 0), "lookup crm: the answer is longer than 1048576 bytes");
    small_stop(&server);

    memmove(body + 1, body + 3, VAPI_ANSWER_MAX);
    small_start(&server, small_text, http_text(OK200, body), NULL);
    assert_string_equal(vapi_lookup_ask(at_server("crm", "/", ""), &q, ""), "ok");
    small_stop(&server);
}

static int say_nothing(small_connection_t *c)
{
    while (!c->server->stopping) {
        usleep(5000);
    }
    return 0;
}

/* T45, T47 */
static void no_answer_in_time_is_an_error(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach), second;

    (void)state;
    small_start(&server, say_nothing, NULL, NULL);
    assert_string_equal(vapi_lookup_ask(at_server("slow", "/", "timeout=100ms"), &q, ""), "error");
    assert_true(reach->took >= 80 * MS && reach->took < 15000 * MS);
    assert_int_equal(strncmp(note_at(reach, 0), "lookup slow: ", 13), 0);

    reach = reach_for(100);    /* all that is left of the request */
    second = question_of(reach);
    assert_string_equal(vapi_lookup_ask(at_server("slow", "/", "timeout=30"), &second, ""), "error");
    assert_string_equal(vapi_lookup_ask(at_server("slow2", "/", "timeout=30"), &second, ""), "error");
    assert_true(reach->took < 15000 * MS);
    assert_int_equal(reach->notes->nelts, 2);
    small_stop(&server);
}

static void what_a_database_says_has_its_state(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach);
    vapi_lookup_t *lookup = made("crm sql='SELECT tier FROM c WHERE phone = %s' arg=%{v}");

    (void)state;
    set("v", "+1415'; DROP");
    sql_result.end = VAPI_SQL_ROW;
    sql_result.row = json_pack("{s:s, s:s}", "tier", "gold", "note", "");
    assert_string_equal(vapi_lookup_ask(lookup, &q, "tier"), "gold");
    assert_string_equal(vapi_lookup_ask(lookup, &q, "note"), "");
    assert_string_equal(vapi_lookup_ask(lookup, &q, ""), "ok");
    json_decref(sql_result.row);
    sql_result.row = NULL;
    assert_int_equal(sql_runs, 1);
    assert_int_equal(sql_was_query, 1);
    assert_string_equal(sql_values[0], "+1415'; DROP");
    assert_ptr_equal(sql_workers_used, pool);

    q = question_of(reach_for(30000));
    sql_result.end = VAPI_SQL_NO_ROW;
    assert_string_equal(vapi_lookup_ask(lookup, &q, ""), "none");
    reach = reach_for(30000);
    q = question_of(reach);
    sql_result.end = VAPI_SQL_TIMEOUT;
    sql_result.what = "no answer in time";
    assert_string_equal(vapi_lookup_ask(lookup, &q, ""), "error");
    assert_string_equal(note_at(reach, 0), "lookup crm: no answer in time");
    set("v", "");
    q = question_of(reach_for(30000));
    assert_string_equal(vapi_lookup_ask(lookup, &q, ""), "none");
    assert_int_equal(sql_runs, 3);
}

/* ---- when it is asked ---- */

static void it_is_asked_once(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach), second = question_of(reach);
    vapi_lookup_t *crm, *other, *post;

    (void)state;
    small_start(&server, small_text, http_text(OK200, "{\"tier\":\"gold\"}"), NULL);
    crm = at_server("crm", "/c/%{v}", "");
    other = at_server("other", "/c/%{v}", "bearer=x");
    post = at_server("post", "/c/%{v}", "method=POST");
    set("v", "a");
    assert_string_equal(vapi_lookup_ask(crm, &q, "tier"), "gold");
    assert_string_equal(vapi_lookup_ask(crm, &q, "none"), "");
    set("v", "b");    /* the question does not look again */
    assert_string_equal(vapi_lookup_ask(crm, &q, ""), "ok");
    assert_int_equal(server.requests, 1);

    set("v", "a");
    assert_string_equal(vapi_lookup_ask(crm, &second, "tier"), "gold");
    assert_int_equal(server.requests, 1);
    second = question_of(reach);
    set("v", "b");    /* another tool call, another customer */
    assert_string_equal(vapi_lookup_ask(crm, &second, "tier"), "gold");
    assert_int_equal(server.requests, 2);
    assert_string_equal(vapi_lookup_ask(other, &second, "tier"), "gold");    /* it may be told other things */
    assert_int_equal(server.requests, 3);
    assert_string_equal(vapi_lookup_ask(post, &second, "tier"), "gold");
    second = question_of(reach);
    assert_string_equal(vapi_lookup_ask(post, &second, "tier"), "gold");
    assert_int_equal(server.requests, 4);
    assert_int_equal(reach->asked, 4);
    small_stop(&server);
}

static void one_that_fails_is_asked_once_too(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach), second = question_of(reach);
    vapi_lookup_t *crm;

    (void)state;
    small_start(&server, small_text, http_text("503 Busy", "{}"), NULL);
    crm = at_server("crm", "/", "");
    assert_string_equal(vapi_lookup_ask(crm, &q, ""), "error");
    assert_string_equal(vapi_lookup_ask(crm, &second, ""), "error");
    assert_int_equal(second.met, VAPI_MET_LOOKUP_ERROR);
    assert_int_equal(server.requests, 1);
    assert_int_equal(reach->notes->nelts, 1);
    small_stop(&server);
}

/* T20 */
static void without_a_value_it_is_not_asked(void **state)
{
    static const char *const empty[] = { "", ".", ".." };
    vapi_reach_t *reach = reach_for(30000);
    size_t i;

    (void)state;
    small_start(&server, small_text, http_text(OK200, "{}"), NULL);
    for (i = 0; i < COUNT(empty); i++) {
        vapi_question_t q = question_of(reach);

        set("v", empty[i]);
        assert_string_equal(vapi_lookup_ask(at_server("crm", "/c/%{v}/d", ""), &q, ""), "none");
        assert_int_equal(q.met, 0);
    }
    assert_int_equal(server.requests, 0);
    assert_int_equal(reach->asked, 0);
    assert_int_equal(reach->notes->nelts, 0);
    small_stop(&server);
}

static void what_cannot_be_filled_in_is_an_error(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach), second = question_of(reach);
    vapi_lookup_t *crm;

    (void)state;
    small_start(&server, small_text, http_text(OK200, "{}"), NULL);
    crm = at_server("crm", "/", "header='X-A: %{v}' on-error=skip-route");
    set("v", "a\r\nX-Evil: 1");
    assert_string_equal(vapi_lookup_ask(crm, &q, ""), "error");
    assert_int_equal(q.barred, VAPI_ON_ERROR_SKIP_ROUTE);
    assert_string_equal(note_at(reach, 0), "lookup crm: a value with a line end may not stand in a header");
    assert_string_equal(vapi_lookup_ask(crm, &second, ""), "error");
    assert_int_equal(reach->notes->nelts, 1);
    assert_int_equal(server.requests, 0);
    small_stop(&server);
}

static void a_failure_bars_each_time_it_is_asked(void **state)
{
    vapi_question_t q = question_of(reach_for(30000));
    vapi_lookup_t *inner, *outer;

    (void)state;
    inner = made("inner sql='SELECT 1' on-error=fail");
    sql_result.end = VAPI_SQL_ERROR;
    small_start(&server, small_text, http_text(OK200, "{\"tier\":\"gold\"}"), NULL);
    outer = at_server("outer", "/?x=%{lookup:inner.x}", "on-error=skip-route");
    assert_string_equal(vapi_lookup_ask(outer, &q, "tier"), "gold");
    assert_int_equal(q.met, VAPI_MET_LOOKUP_ERROR);
    assert_int_equal(q.barred, VAPI_ON_ERROR_FAIL);
    q.met = q.barred = 0;    /* the next route */
    assert_string_equal(vapi_lookup_ask(outer, &q, "tier"), "gold");
    assert_int_equal(q.barred, VAPI_ON_ERROR_FAIL);
    q.met = q.barred = 0;
    assert_string_equal(vapi_lookup_ask(inner, &q, ""), "error");
    assert_int_equal(q.barred, VAPI_ON_ERROR_FAIL);
    assert_int_equal(server.requests, 1);
    small_stop(&server);
}

static void one_that_asks_for_itself_gets_nothing(void **state)
{
    vapi_question_t q = question_of(reach_for(30000));
    vapi_lookup_t *a;

    (void)state;
    small_start(&server, small_text, http_text(OK200, "{\"tier\":\"gold\"}"), NULL);
    a = at_server("a", "/?b=%{lookup:b.tier}", "");
    at_server("b", "/?a=%{lookup:a}%{lookup:a.tier}", "");
    assert_string_equal(vapi_lookup_ask(a, &q, "tier"), "gold");
    assert_int_equal(server.requests, 2);
    assert_non_null(strstr(server.last, "GET /?b=gold "));
    small_stop(&server);
}

static void an_explanation_changes_nothing(void **state)
{
    vapi_reach_t *reach = reach_for(30000);
    vapi_question_t q = question_of(reach);

    (void)state;
    reach->only_reads = 1;
    sql_result.end = VAPI_SQL_ROW;
    small_start(&server, small_text, http_text(OK200, "{}"), NULL);
    assert_string_equal(vapi_lookup_ask(at_server("get", "/", ""), &q, ""), "ok");
    assert_string_equal(vapi_lookup_ask(at_server("post", "/", "method=POST"), &q, ""), "none");
    assert_string_equal(vapi_lookup_ask(made("insert sql='INSERT ... RETURNING id'"), &q, ""), "none");
    assert_string_equal(vapi_lookup_ask(made("select sql='SELECT 1'"), &q, ""), "ok");
    assert_int_equal(server.requests, 1);
    assert_int_equal(sql_runs, 1);
    small_stop(&server);
}

/* ---- what is kept ---- */

typedef struct kept_t {
    char *value;
    apr_size_t len;
} kept_t;

static apr_hash_t *store;
static apr_interval_time_t kept_for;
static int puts_made;

static apr_status_t put(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t value_len,
                        apr_interval_time_t keep)
{
    kept_t *kept = apr_palloc(pool, sizeof(*kept));

    (void)st;
    kept->value = apr_pmemdup(pool, value, value_len);
    kept->len = value_len;
    apr_hash_set(store, apr_pmemdup(pool, key, key_len), (apr_ssize_t)key_len, kept);
    kept_for = keep;
    puts_made++;
    return APR_SUCCESS;
}

static apr_status_t get(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *value_len,
                        apr_pool_t *p)
{
    const kept_t *kept = apr_hash_get(store, key, (apr_ssize_t)key_len);

    (void)st;
    if (!kept) {
        return APR_NOTFOUND;
    }
    *value = apr_pstrmemdup(p, kept->value, kept->len);
    *value_len = kept->len;
    return APR_SUCCESS;
}

static const vapi_state_provider_t keeps = { .name = "test", .put = put, .get = get };
static const vapi_state_provider_t keeps_nothing = { .name = "test" };

static vapi_question_t question_with(const vapi_state_provider_t *provider, const char *host)
{
    vapi_reach_t *reach = reach_for(30000);

    reach->state = apr_pcalloc(pool, sizeof(*reach->state));
    reach->state->provider = provider;
    reach->host = host;
    return question_of(reach);
}

/* Asks in a request of its own. @return the answer's tier, or its state if it is not ok */
static const char *ask_anew(const vapi_lookup_t *lookup, const char *host)
{
    vapi_question_t q = question_with(&keeps, host);
    const char *state = vapi_lookup_ask(lookup, &q, "");

    return strcmp(state, "ok") == 0 ? vapi_lookup_ask(lookup, &q, "tier") : state;
}

static int count_words(small_connection_t *c)
{
    return small_say(c, strstr(c->request, "/absent") ? http_text("404 No", "")
                        : strstr(c->request, "/broken") ? http_text("500 No", "") : http_text(OK200, "{\"tier\":\"gold\"}"));
}

static void what_is_kept_is_not_asked_again(void **state)
{
    vapi_lookup_t *crm, *absent, *broken, *other, *uncached, *database;
    vapi_question_t q;

    (void)state;
    store = apr_hash_make(pool);
    puts_made = 0;
    small_start(&server, count_words, NULL, NULL);
    crm = at_server("crm", "/c/%{v}", "cache=60");
    other = at_server("other", "/c/%{v}", "cache=60");
    absent = at_server("absent", "/absent", "cache=5");
    broken = at_server("broken", "/broken", "cache=60");
    uncached = at_server("uncached", "/c", "");
    set("v", "a");
    assert_string_equal(ask_anew(crm, "h"), "gold");
    assert_int_equal(kept_for, apr_time_from_sec(60));
    assert_string_equal(ask_anew(crm, "h"), "gold");
    assert_int_equal(server.requests, 1);
    assert_string_equal(ask_anew(crm, "h2"), "gold");      /* another virtual host has other customers */
    assert_string_equal(ask_anew(other, "h"), "gold");     /* another lookup may have another secret */
    set("v", "b");
    assert_string_equal(ask_anew(crm, "h"), "gold");
    assert_int_equal(server.requests, 4);

    assert_string_equal(ask_anew(absent, "h"), "none");
    assert_string_equal(ask_anew(absent, "h"), "none");
    assert_int_equal(kept_for, apr_time_from_sec(5));
    assert_int_equal(server.requests, 5);
    assert_string_equal(ask_anew(broken, "h"), "error");
    assert_string_equal(ask_anew(broken, "h"), "error");
    assert_string_equal(ask_anew(uncached, "h"), "gold");
    assert_string_equal(ask_anew(uncached, "h"), "gold");
    assert_int_equal(server.requests, 9);
    assert_int_equal(puts_made, 5);

    q = question_with(&keeps, "h");
    vapi_lookup_ask(crm, &q, "");
    assert_int_equal(q.reach->asked, 1);
    assert_int_equal(q.reach->took, 0);
    assert_int_equal(server.requests, 9);
    q = question_with(&keeps_nothing, "h");
    assert_string_equal(vapi_lookup_ask(crm, &q, "tier"), "gold");
    assert_int_equal(server.requests, 10);

    database = made("db sql='SELECT 1' cache=60");
    sql_result.end = VAPI_SQL_ROW;
    sql_result.row = json_pack("{s:s}", "tier", "iron");
    assert_string_equal(ask_anew(database, "h"), "iron");
    json_decref(sql_result.row);
    sql_result.row = NULL;
    assert_string_equal(ask_anew(database, "h"), "iron");
    assert_int_equal(sql_runs, 1);
    small_stop(&server);
}

static void what_is_too_long_is_not_kept(void **state)
{
    char *body = apr_palloc(pool, 65537);
    vapi_lookup_t *crm;

    (void)state;
    store = apr_hash_make(pool);
    puts_made = 0;
    memset(body, 'a', 65535);
    body[0] = body[65534] = '"';
    body[65535] = '\0';
    small_start(&server, small_text, http_text(OK200, body), NULL);
    crm = at_server("crm", "/", "cache=60");
    assert_string_equal(ask_anew(crm, "h"), "");
    assert_int_equal(puts_made, 1);
    assert_string_equal(ask_anew(crm, "h"), "");
    assert_int_equal(server.requests, 1);
    small_stop(&server);
    body[65534] = 'a';
    body[65535] = '"';
    body[65536] = '\0';
    small_start(&server, small_text, http_text(OK200, body), NULL);
    crm = at_server("crm", "/", "cache=60");
    assert_string_equal(ask_anew(crm, "h"), "");
    assert_string_equal(ask_anew(crm, "h"), "");
    assert_int_equal(puts_made, 1);
    assert_int_equal(server.requests, 2);
    small_stop(&server);
}

static void a_store_that_lies_is_not_believed(void **state)
{
    static const char *const lies[] = { "", "o", "o{", "x{}", "{}" };
    apr_hash_index_t *hi;
    vapi_lookup_t *crm;
    size_t i;

    (void)state;
    store = apr_hash_make(pool);
    small_start(&server, small_text, http_text(OK200, "{\"tier\":\"gold\"}"), NULL);
    crm = at_server("crm", "/", "cache=60");
    assert_string_equal(ask_anew(crm, "h"), "gold");
    for (i = 0; i < COUNT(lies); i++) {
        hi = apr_hash_first(pool, store);
        ((kept_t *)apr_hash_this_val(hi))->value = apr_pstrdup(pool, lies[i]);
        ((kept_t *)apr_hash_this_val(hi))->len = strlen(lies[i]);
        assert_string_equal(ask_anew(crm, "h"), "gold");
    }
    assert_int_equal(server.requests, 1 + (int)COUNT(lies));
    small_stop(&server);
}

/* ---- what is given ---- */

static void what_is_given_is_not_asked(void **state)
{
    vapi_given_t *given = vapi_given_make(pool);
    vapi_names_t names = { 0 };
    vapi_question_t q = question();
    vapi_lookup_t *crm, *db, *gone, *never;

    (void)state;
    small_start(&server, small_text, http_text(OK200, "{\"tier\":\"gold\"}"), NULL);
    crm = at_server("crm", "/", "on-error=skip-route");
    db = made("db sql='SELECT 1'");
    gone = at_server("gone", "/", "on-error=skip-route");
    never = at_server("never", "/", "");
    names.lookups = lookups;
    assert_null(vapi_given_add(given, "crm.tier=enterprise=yes", &names, pool));
    assert_null(vapi_given_add(given, "crm.customer.name=x", &names, pool));
    assert_null(vapi_given_add(given, "crm.customer.plan.level=3", &names, pool));
    assert_null(vapi_given_add(given, "crm=ok", &names, pool));
    assert_null(vapi_given_add(given, "crm.tier=gold", &names, pool));
    assert_null(vapi_given_add(given, "crm.bad=\xff!", &names, pool));
    assert_null(vapi_given_add(given, "db=ok", &names, pool));
    assert_null(vapi_given_add(given, "gone=error", &names, pool));
    assert_null(vapi_given_add(given, "var:level=3", &names, pool));
    assert_null(vapi_given_add(given, "attempt=2", &names, pool));
    assert_int_equal(given->attempt, 2);
    assert_string_equal(apr_hash_get(given->sets, "level", APR_HASH_KEY_STRING), "3");
    q.given = given;
    assert_string_equal(vapi_lookup_ask(crm, &q, ""), "ok");
    assert_string_equal(vapi_lookup_ask(crm, &q, "tier"), "gold");
    assert_string_equal(vapi_lookup_ask(crm, &q, "customer.name"), "x");
    assert_string_equal(vapi_lookup_ask(crm, &q, "customer.plan.level"), "3");
    assert_string_equal(vapi_lookup_ask(crm, &q, "customer.plan"), "{\"level\":\"3\"}");
    assert_string_equal(vapi_lookup_ask(crm, &q, "bad"), "?!");
    assert_string_equal(vapi_lookup_ask(db, &q, ""), "ok");
    assert_string_equal(vapi_lookup_ask(db, &q, "tier"), "");
    assert_int_equal(q.met, 0);
    assert_string_equal(vapi_lookup_ask(gone, &q, ""), "error");
    assert_int_equal(q.met, VAPI_MET_LOOKUP_ERROR);
    assert_int_equal(q.barred, VAPI_ON_ERROR_SKIP_ROUTE);
    assert_string_equal(vapi_lookup_ask(never, &q, ""), "none");
    assert_int_equal(server.requests, 0);

    q = question_of(reach_for(30000));    /* what is given wins, also where lookups are made */
    q.given = given;
    assert_string_equal(vapi_lookup_ask(gone, &q, ""), "error");
    assert_string_equal(vapi_lookup_ask(never, &q, "tier"), "gold");
    assert_int_equal(server.requests, 1);
    small_stop(&server);
}

static void what_cannot_be_given_is_refused(void **state)
{
    static const char *const cases[][2] = {
        { "", "must be LOOKUP.FIELD=VALUE" },
        { "crm", "must be LOOKUP.FIELD=VALUE" },
        { "=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm=maybe", "must be LOOKUP.FIELD=VALUE" },
        { "crm.=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm..a=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm.a.=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm.\xff=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm.\xff.a=x", "gives a value and fields below it" },
        { "crm.tier.x=y", "gives a value and fields below it" },
        { "crm.deep=y", "gives a value and fields below it" },
        { "crm.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a=x", "must be LOOKUP.FIELD=VALUE" },
        { "crm=none", "gives the VapiLookup 'crm' two states" },
        { "db.x=y", "gives the VapiLookup 'db' two states" },
        { "db=ok", "gives the VapiLookup 'db' two states" },
        { "nothing.x=y", "there is no VapiLookup 'nothing'" },
        { "nothing=ok", "there is no VapiLookup 'nothing'" },
        { "<script>=ok", "must be LOOKUP.FIELD=VALUE" },
        { "<script>.x=y", "must be LOOKUP.FIELD=VALUE" },
        { "var:=x", "must be LOOKUP.FIELD=VALUE" },
        { "var:a b=x", "must be LOOKUP.FIELD=VALUE" },
        { "pool:support=busy", "there is no VapiPool 'support'" },
        { "attempt=-1", "attempt must be a whole number from 0 to 1000" },
        { "attempt=1001", "attempt must be a whole number from 0 to 1000" },
        { "attempt=x", "attempt must be a whole number from 0 to 1000" },
    };
    vapi_given_t *given = vapi_given_make(pool);
    vapi_names_t names = { 0 };
    size_t i;

    (void)state;
    made("crm url=https://h/");
    made("db sql='SELECT 1'");
    assert_non_null(vapi_given_add(given, "crm=ok", &names, pool));    /* a host without lookups */
    assert_non_null(vapi_given_add(given, "crm=ok", NULL, pool));
    names.lookups = lookups;
    assert_null(vapi_given_add(given, "crm.tier=a", &names, pool));
    assert_null(vapi_given_add(given, "crm.deep.x=a", &names, pool));
    assert_null(vapi_given_add(given, "db=none", &names, pool));
    for (i = 0; i < COUNT(cases); i++) {
        const char *error = vapi_given_add(given, cases[i][0], &names, pool);

        if (!error || !strstr(error, cases[i][1])) {
            fail_msg("%s: %s", cases[i][0], error ? error : "taken");
        }
        assert_null(strstr(error, "script"));
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_wrong_is_refused),
        TEST(a_dump_shows_it),
        TEST(each_answer_has_its_state),
        TEST(an_answer_that_is_too_long_is_an_error),
        TEST(no_answer_in_time_is_an_error),
        TEST(what_a_database_says_has_its_state),
        TEST(it_is_asked_once),
        TEST(one_that_fails_is_asked_once_too),
        TEST(without_a_value_it_is_not_asked),
        TEST(what_cannot_be_filled_in_is_an_error),
        TEST(a_failure_bars_each_time_it_is_asked),
        TEST(one_that_asks_for_itself_gets_nothing),
        TEST(an_explanation_changes_nothing),
        TEST(what_is_kept_is_not_asked_again),
        TEST(what_is_too_long_is_not_kept),
        TEST(a_store_that_lies_is_not_believed),
        TEST(what_is_given_is_not_asked),
        TEST(what_cannot_be_given_is_refused),
    };

    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
