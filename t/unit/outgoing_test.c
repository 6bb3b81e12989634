/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "outside.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* ---- reading ---- */

/* `line` are the directive's keys. @return what is wrong, NULL if nothing; `warnings` may be NULL */
static const char *read_line(vapi_outgoing_t **out, const char *line, int is_action, apr_array_header_t **warnings)
{
    vapi_outgoing_env_t env = make_env(is_action);
    vapi_words_t *words;

    assert_null(vapi_words_read(&words, line, pool));
    if (warnings) {
        *warnings = env.secrets.warnings;
    }
    return vapi_outgoing_make(out, words, &env);
}

static vapi_outgoing_t *made(const char *line, int is_action)
{
    vapi_outgoing_t *o = NULL;
    const char *error = read_line(&o, line, is_action, NULL);

    if (error) {
        fail_msg("%s: %s", line, error);
    }
    return o;
}

typedef struct refused_case {
    const char *line;
    const char *error;
} refused_case;

#define HOST_DEPENDS "the host part of url= may not depend on the call"
#define LITERAL      "written percent-encoded"

static const refused_case refused_lookups[] = {
    { "timeout=1", "needs url= or sql=" },
    { "url=https://h/ sql=SELECT", "sql= does not go with url=" },
    { "sql=SELECT header=\"A: b\"", "header= does not go with sql=" },
    { "sql=SELECT bearer=x", "bearer= does not go with sql=" },
    { "url=https://h/ arg=x", "arg= does not go with url=" },
    { "url=https://h/ timeout=0", "timeout=0: must be a time from 10ms to 5min" },

    /* T22, and rule 3: no caller chooses a host */
    { "url=%{x}", HOST_DEPENDS },
    { "url=%{x}://h/", HOST_DEPENDS },
    { "url=https://%{x}/", HOST_DEPENDS },
    { "url=https://%{x}", HOST_DEPENDS },
    { "url=https://h%{x}", HOST_DEPENDS },
    { "url=https://h.example%{x}/path", HOST_DEPENDS },
    { "url=https://h:%{x}/", HOST_DEPENDS },
    { "url=https://%{x}@h/", HOST_DEPENDS },
    { "url=https://u:%{x}@h/", HOST_DEPENDS },
    { "url=https://%%{x}/", HOST_DEPENDS },
    { "url=https://h%{map:a/b}", HOST_DEPENDS },
    { "url=https://h%{map:a?b}", HOST_DEPENDS },

    { "url=ftp://h/", "must begin with https:// or http://" },
    { "url=h/path", "must begin with https:// or http://" },
    { "url=https:///path", "has no host" },
    { "url=https://u@/path", "has no host" },
    { "url=https://h:0/", "a port that is none" },
    { "url=https://h:65536/", "a port that is none" },
    { "url=https://h:/", "a port that is none" },
    { "url=https://h:80a/", "a port that is none" },
    { "url=https://[::1/", "has no host" },
    { "url=https://[]/", "has no host" },
    { "url=https://a%41/", "has no host" },
    { "url=https://h/#x", "a fragment" },
    { "url=https://h/%{x}#%{y}", "a fragment" },
    { "url='https://h/a b'", LITERAL },
    { "url=https://h\\\\@evil/", LITERAL },
    { "url=https://h/\\\\x", LITERAL },
    { "url=https://h/\xc3\xa4", LITERAL },
    { "url=https://h/\x01", LITERAL },
    { "url=https://h/\x7f", LITERAL },
    { "url=https://u:%zz@h/", "its user and password are not percent-encoded" },
    { "url=https://u:%0a@h/ bearer=x", "the header Authorization is given twice" },
    { "url=https://h/%{x", "a %{ is not closed" },
    { "url=https://h/%{wrong}", "there is no such variable" },
    { "url=https://h/?%{wrong}", "there is no such variable" },

    { "url=https://h/ method=get", "must be an HTTP method, in capitals" },
    { "url=https://h/ method='GET x'", "must be an HTTP method, in capitals" },
    { "url=https://h/ method=", "must be an HTTP method, in capitals" },
    { "url=https://h/ method=HEAD", "its answer holds nothing" },
    { "url=https://h/ method=GET body=body.json", "body= does not go with method=GET" },
    { "url=https://h/ body=absent.json", "cannot read" },
    { "url=https://h/ body=broken.json", "line 1" },
    { "url=https://h/ body=list.json", "must hold one JSON object" },
    { "url=https://h/ ca=absent.pem", "ca=: cannot read absent.pem" },
    { "url=https://h/ proxy=h:80", "proxy=: must be http://HOST:PORT" },
    { "url=https://h/ proxy=http://u:p@h:80", "without a user and password" },
    { "url=https://h/ proxy=http://h:80/x", "proxy=: must be http://HOST:PORT" },

    { "url=https://h/ header=X", "header=: must be \"Name: value\"" },
    { "url=https://h/ header=X:", "header=: must be \"Name: value\"" },
    { "url=https://h/ header=': x'", "header=: must be \"Name: value\"" },
    { "url=https://h/ header='A b: x'", "header=: must be \"Name: value\"" },
    { "url=https://h/ header='host: x'", "host is written by the server itself" },
    { "url=https://h/ header='Content-Length: 1'", "is written by the server itself" },
    { "url=https://h/ header='Transfer-Encoding: chunked'", "is written by the server itself" },
    { "url=https://h/ header='Connection: close'", "is written by the server itself" },
    { "url=https://h/ secret-header='Host: x'", "is written by the server itself" },
    { "url=https://h/ header='A: %{wrong}'", "header=: in %{wrong}: there is no such variable" },
    { "url=https://h/ header='A: b' header='a: c'", "a is given twice" },
    { "url=https://h/ bearer=x header='authorization: y'", "the header authorization is given twice" },
    { "url=https://h/ bearer=x secret-header='Authorization: y'", "the header Authorization is given twice" },
    { "url=https://h/ header='A: b' secret-header='A: y'", "the header A is given twice" },
    { "url=https://h/ bearer=", "bearer: is empty" },
    { "url=https://h/ bearer='a b'", "a blank, which no token has" },
    { "url=https://h/ bearer=\xc3\xa4", "bearer=: holds a character that may not stand in a header" },
    { "url=https://h/ bearer=env:VAPI_TEST_UNSET", "bearer: the environment variable VAPI_TEST_UNSET is not set" },
    { "url=https://h/ secret-header=value", "secret-header=: must be \"Name: value\"" },
    { "url=https://h/ secret-header='A: x\ty'", "secret-header=: holds a character" },
    { "sql='SELECT %{x}'", "sql=: a %{ has no meaning here" },
    { "sql=SELECT arg=%{wrong}", "arg=: in %{wrong}: there is no such variable" },
};

static const refused_case refused_actions[] = {
    { "timeout=1", "needs url=, sql= or file=" },
    { "url=https://h/ file=x", "file= does not go with url=" },
    { "file=x method=POST", "method= does not go with file=" },
    { "file=x bearer=y", "bearer= does not go with file=" },
    { "file=", "file=: is no path" },
    { "file=absent/lines", "file=: there is no directory" },
    { "file=.", "is a directory" },
    { "url=https://h/ header='Idempotency-Key: x'", "Idempotency-Key is written by the server itself" },
};

static void refuse_all(const refused_case *cases, size_t n, int is_action)
{
    vapi_outgoing_t *o;
    size_t i;

    for (i = 0; i < n; i++) {
        const char *error = read_line(&o, cases[i].line, is_action, NULL);

        if (!error || !strstr(error, cases[i].error)) {
            fail_msg("%s: \"%s\" and not \"%s\"", cases[i].line, error ? error : "no error", cases[i].error);
        }
    }
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    write_file("body.json", "{\"a\":\"%{x}\"}");
    write_file("broken.json", "{\"a\":}");
    write_file("list.json", "[]");
    refuse_all(refused_lookups, COUNT(refused_lookups), 0);
    refuse_all(refused_actions, COUNT(refused_actions), 1);
}

/* T49 */
static void no_error_or_dump_shows_a_secret(void **state)
{
    static const char *const wrong[] = {
        "url=https://u:s3cret@h:99999/", "url=https://u:s3cret@h/#x", "url=https://u:s3cret%zz@h/",
        "url=https://h/ bearer='s3cret x'", "url=https://h/ secret-header='A: s3cret\t'", "url=https://h/ secret-header=s3cret",
        "url=https://h/ secret-header='A s3cret'", "url=https://h/ proxy=http://u:s3cret@h",
        "url=https://h/ header='Cookie: s3cret\t'",
    };
    vapi_outgoing_t *o;
    const char *shown;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(wrong); i++) {
        const char *error = read_line(&o, wrong[i], 0, NULL);

        assert_non_null(error);
        assert_null(strstr(error, "s3cret"));
    }
    shown = vapi_outgoing_describe(made("url=https://u:s3cret@h:8443/a@b?c=%{x} header='X-Api-Key: s3cret' "
                                        "header='X-Other: %{x}' secret-header='X-More: s3cret' timeout=3 cache=60", 0), pool);
    assert_string_equal(shown, " url=https://set@h:8443/a@b?c=%{x} header=\"X-Api-Key: set\" header=\"X-Other: %{x}\" "
                               "secret-header=\"X-More: set\" timeout=3 method=GET");
    shown = vapi_outgoing_describe(made("url=https://h/ bearer=s3cret header='x-auth-token: %{x}' header='Cookie: s3cret' "
                                        "header='A-Secret: s3cret' method=PUT", 1), pool);
    assert_string_equal(shown, " url=https://h/ bearer=set header=\"x-auth-token: set\" header=\"Cookie: set\" "
                               "header=\"A-Secret: set\" method=PUT");
    assert_string_equal(vapi_outgoing_describe(made("sql='SELECT 1' arg=%{x}", 0), pool), " sql=\"SELECT 1\" arg=%{x}");
}

static int count_warnings(const char *line)
{
    apr_array_header_t *warnings;
    vapi_outgoing_t *o;

    assert_null(read_line(&o, line, 0, &warnings));
    return warnings->nelts;
}

static void a_secret_in_the_clear_is_warned_about(void **state)
{
    (void)state;
    write_file("token", "t0ken\n");
    chmod(in_root("token"), 0600);
    assert_int_equal(count_warnings("url=https://h/ bearer=file:token"), 0);
    assert_int_equal(count_warnings("url=http://h/ bearer=file:token"), 1);
    assert_int_equal(count_warnings("url=http://h/"), 0);
    assert_int_equal(count_warnings("url=https://h/ bearer=literal"), 1);
    assert_int_equal(count_warnings("url=http://u:p@h/"), 2);
}

static void methods_and_kinds_have_defaults(void **state)
{
    (void)state;
    write_file("body.json", "{\"a\":\"%{x}\"}");
    assert_true(vapi_outgoing_only_reads(made("url=https://h/", 0)));
    assert_false(vapi_outgoing_only_reads(made("url=https://h/ method=POST", 0)));
    assert_false(vapi_outgoing_only_reads(made("url=https://h/ body=body.json", 0)));
    assert_false(vapi_outgoing_only_reads(made("url=https://h/", 1)));
    assert_true(vapi_outgoing_only_reads(made("url=https://h/ method=HEAD", 1)));
    assert_true(vapi_outgoing_only_reads(made("sql='SELECT 1'", 0)));
    assert_false(vapi_outgoing_only_reads(made("sql='INSERT'", 0)));
    assert_false(vapi_outgoing_only_reads(made("file=lines", 1)));
    assert_true(vapi_outgoing_has_body(made("file=lines body=body.json", 1)));
    assert_int_equal(vapi_outgoing_kind(made("file=lines", 1)), VAPI_OUT_FILE);
    assert_int_equal(vapi_outgoing_timeout(made("url=https://h/", 0)), 2000 * MS);
    assert_int_equal(vapi_outgoing_timeout(made("url=https://h/ timeout=300ms", 0)), 300 * MS);
}

/* ---- filling in ---- */

static vapi_fill_end fill(vapi_filled_t *out, const char *line, int is_action, const char **why)
{
    vapi_question_t q = question();
    vapi_fill_end end = vapi_outgoing_fill(made(line, is_action), &q, NULL, out, why);

    assert_int_equal(q.read, 0);    /* what a lookup reads of the caller is not what the question reads */
    return end;
}

typedef struct url_case {
    const char *written, *value, *url;
    vapi_fill_end lookup, action;
} url_case;

static const url_case url_cases[] = {
    { "https://h", "v", "https://h/", VAPI_FILLED, VAPI_FILLED },
    { "https://h?a=%{v}", "x", "https://h/?a=x", VAPI_FILLED, VAPI_FILLED },
    { "http://[::1]:8080/c/%{v}", "+14155550100", "http://[::1]:8080/c/%2B14155550100", VAPI_FILLED, VAPI_FILLED },
    { "https://u:p@h/%{v}", "x", "https://h/x", VAPI_FILLED, VAPI_FILLED },
    { "https://h/a%20b/$x/%%{v}/%2e", "x", "https://h/a%20b/$x/%{v}/%2e", VAPI_FILLED, VAPI_FILLED },

    /* R3: a value leaves neither its segment nor its parameter */
    { "https://h/c/%{v}/x?y=1", "../../admin", "https://h/c/..%2F..%2Fadmin/x?y=1", VAPI_FILLED, VAPI_FILLED },
    { "https://h/c/%{v}", "a?b=c&d#e f\r\nX: y", "https://h/c/a%3Fb%3Dc%26d%23e%20f%0D%0AX%3A%20y", VAPI_FILLED, VAPI_FILLED },
    { "https://h/q?n=%{v}&z", "' OR 1=1 --&n=2", "https://h/q?n=%27%20OR%201%3D1%20--%26n%3D2&z", VAPI_FILLED, VAPI_FILLED },
    { "https://h/%{v}", "@evil.example", "https://h/%40evil.example", VAPI_FILLED, VAPI_FILLED },
    { "https://h/%{v}", "%2e%2e", "https://h/%252e%252e", VAPI_FILLED, VAPI_FILLED },
    { "https://h/%{v}", "\xc3\xa4", "https://h/%C3%A4", VAPI_FILLED, VAPI_FILLED },

    /* T20 */
    { "https://h/c/%{v}", "", "https://h/c/", VAPI_FILLED_EMPTY, VAPI_FILLED_EMPTY },
    { "https://h/c/%{v}?d", "", "https://h/c/?d", VAPI_FILLED_EMPTY, VAPI_FILLED_EMPTY },
    { "https://h/c?d=%{v}", "", "https://h/c?d=", VAPI_FILLED, VAPI_FILLED },
    { "https://h/c?d=%{v}", "..", "https://h/c?d=..", VAPI_FILLED, VAPI_FILLED },
    { "https://h/c?d=/%{v}/", "..", "https://h/c?d=/../", VAPI_FILLED, VAPI_FILLED },
    { "https://h/c/%{v}/d", "..", NULL, VAPI_FILLED_EMPTY, VAPI_FILLED_BAD },
    { "https://h/c/%{v}", ".", NULL, VAPI_FILLED_EMPTY, VAPI_FILLED_BAD },
    { "https://h/c/.%{v}", ".", NULL, VAPI_FILLED_EMPTY, VAPI_FILLED_BAD },
    { "https://h/c/.%{v}", "", NULL, VAPI_FILLED_EMPTY, VAPI_FILLED_BAD },
    { "https://h/c/%{v}%{v}/d", ".", NULL, VAPI_FILLED_EMPTY, VAPI_FILLED_BAD },
    { "https://h/c/v1.%{v}", ".", "https://h/c/v1..", VAPI_FILLED_EMPTY, VAPI_FILLED_EMPTY },
    { "https://h/c/../d", "", "https://h/c/../d", VAPI_FILLED, VAPI_FILLED },

    /* braces and marks inside a placeholder are its own */
    { "https://h/c/%{map:a?b/{v}}/x?y=%{v}", "v", "https://h/c/m/x?y=v", VAPI_FILLED, VAPI_FILLED },
    { "https://h/%{fail}", "", NULL, VAPI_FILLED_BAD, VAPI_FILLED_BAD },
    { "https://h/?%{fail}", "", NULL, VAPI_FILLED_BAD, VAPI_FILLED_BAD },
};

static void values_stay_in_their_place_of_the_url(void **state)
{
    vapi_filled_t filled;
    const char *why;
    size_t i;
    int is_action;

    (void)state;
    set("map:a?b/{v}", "m");
    for (i = 0; i < COUNT(url_cases); i++) {
        const url_case *c = &url_cases[i];

        set("v", c->value);
        for (is_action = 0; is_action < 2; is_action++) {
            vapi_fill_end end = fill(&filled, apr_pstrcat(pool, "url=\"", c->written, "\"", NULL), is_action, &why);

            if (end != (is_action ? c->action : c->lookup)) {
                fail_msg("%s of '%s': ends %d", c->written, c->value, end);
            }
            if (c->url) {
                assert_string_equal(filled.url, c->url);
            }
        }
    }
}

static const char *header_at(const vapi_filled_t *filled, int i)
{
    return i < filled->headers->nelts ? APR_ARRAY_IDX(filled->headers, i, const char *) : "";
}

static void headers_take_no_line_end(void **state)
{
    static const char *const bad[] = { "a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x01", "a\x7f", "a\x1b[0m" };
    vapi_filled_t filled;
    const char *why = NULL;
    size_t i;

    (void)state;
    set("v", "x y\tz");
    assert_int_equal(fill(&filled, "url=https://h/ header='X-A: <%{v}>' header='Authorization: Basic abc' header='X-B-Key: %{v}'",
                          0, &why), VAPI_FILLED);
    assert_int_equal(filled.headers->nelts, 2);
    assert_string_equal(header_at(&filled, 0), "X-A: <x y\tz>");
    assert_string_equal(header_at(&filled, 1), "X-B-Key: x y\tz");
    for (i = 0; i < COUNT(bad); i++) {
        set("v", bad[i]);
        assert_int_equal(fill(&filled, "url=https://h/ header='X-A: %{v}'", (int)i & 1, &why), VAPI_FILLED_BAD);
        assert_non_null(why);
        assert_null(strstr(why, bad[i]));
    }
}

static void a_body_is_json_by_construction(void **state)
{
    json_t *otherwise = json_pack("{s:s, s:i}", "event", "answered", "attempt", 1), *read;
    vapi_question_t q = question();
    vapi_filled_t filled;
    const char *why;

    (void)state;
    write_file("body.json", "{ \"n\": [\"%{v}\", 1, null],\n \"q\": \"a %{v}\" }");
    set("v", "\",\"admin\":true,\"x\":\"{{y}}\\\n\xc3\xa4");
    assert_int_equal(fill(&filled, "url=https://h/ body=body.json", 0, &why), VAPI_FILLED);
    assert_string_equal(filled.method, "POST");
    assert_string_equal(header_at(&filled, 0), "Content-Type: application/json");
    assert_null(strpbrk(filled.body, "\n\r"));
    assert_int_equal(filled.body_len, strlen(filled.body));
    read = json_loads(filled.body, JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(json_object_size(read), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(read, "n"), 0)), apr_hash_get(values, "v", 1));
    json_decref(read);

    assert_int_equal(fill(&filled, "url=https://h/ body=body.json header='content-type: application/x'", 0, &why), VAPI_FILLED);
    assert_int_equal(filled.headers->nelts, 1);
    assert_string_equal(header_at(&filled, 0), "content-type: application/x");

    assert_int_equal(vapi_outgoing_fill(made("url=https://h/", 1), &q, otherwise, &filled, &why), VAPI_FILLED);
    assert_string_equal(filled.body, "{\"event\":\"answered\",\"attempt\":1}");
    assert_int_equal(filled.headers->nelts, 1);
    assert_int_equal(vapi_outgoing_fill(made("url=https://h/ method=GET", 1), &q, otherwise, &filled, &why), VAPI_FILLED);
    assert_null(filled.body);
    assert_int_equal(filled.headers->nelts, 0);
    assert_int_equal(vapi_outgoing_fill(made("file=lines", 1), &q, otherwise, &filled, &why), VAPI_FILLED);
    assert_string_equal(filled.body, "{\"event\":\"answered\",\"attempt\":1}");
    json_decref(otherwise);

    write_file("body.json", "{\"a\":\"%{fail}\"}");
    assert_int_equal(fill(&filled, "url=https://h/ body=body.json", 0, &why), VAPI_FILLED_BAD);
}

static void arguments_of_a_statement_go_as_they_are(void **state)
{
    vapi_filled_t filled;
    const char *why;

    (void)state;
    set("v", "'; DROP TABLE x; -- %s");
    assert_int_equal(fill(&filled, "sql='SELECT a WHERE b = %s AND c = %s' arg=%{v} arg=fixed", 0, &why), VAPI_FILLED);
    assert_int_equal(filled.args->nelts, 2);
    assert_string_equal(APR_ARRAY_IDX(filled.args, 0, const char *), "'; DROP TABLE x; -- %s");
    assert_string_equal(APR_ARRAY_IDX(filled.args, 1, const char *), "fixed");
    assert_int_equal(fill(&filled, "sql=SELECT arg=%{v} arg=%{nothing}", 0, &why), VAPI_FILLED_EMPTY);
    assert_int_equal(filled.args->nelts, 2);
    set("v", "..");
    assert_int_equal(fill(&filled, "sql=SELECT arg=%{v}", 0, &why), VAPI_FILLED_EMPTY);
    assert_int_equal(fill(&filled, "sql=SELECT arg=%{fail}", 0, &why), VAPI_FILLED_BAD);
    assert_int_equal(fill(&filled, "sql=SELECT", 0, &why), VAPI_FILLED);
}

/* ---- as JSON, and its key ---- */

static const char *text_of(const vapi_filled_t *filled)
{
    json_t *json = vapi_filled_json(filled);
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    const char *copy = apr_pstrdup(pool, text);

    free(text);
    json_decref(json);
    return copy;
}

static const char *read_text(vapi_filled_t *out, const char *text, const char *line)
{
    json_t *json = json_loads(text, 0, NULL);
    const char *error;

    assert_non_null(json);
    error = vapi_filled_read(out, json, made(line, 1), pool);
    json_decref(json);
    return error;
}

static void what_is_filled_in_survives_a_spool(void **state)
{
    static const char *const lines[] = {
        "url=https://u:p4ss@h/a/%{v}?b=%{v} body=body.json secret-header='Api-Key: t0ken' header='A: %{v}' header='B-Key: s3cret'",
        "url=https://h/ method=DELETE", "sql=INSERT arg=%{v} arg=b", "sql=INSERT", "file=lines body=body.json",
    };
    vapi_filled_t filled, again;
    const char *why, *text;
    apr_size_t len, len_again;
    size_t i;

    (void)state;
    write_file("body.json", "{\"a\":\"%{v}\"}");
    set("v", "x \"y\" \xe2\x82\xac");
    for (i = 0; i < COUNT(lines); i++) {
        assert_int_equal(fill(&filled, lines[i], 1, &why), VAPI_FILLED);
        text = text_of(&filled);
        assert_null(strstr(text, "t0ken"));
        assert_null(strstr(text, "p4ss"));
        assert_null(strstr(text, "s3cret"));
        assert_null(read_text(&again, text, lines[i]));
        assert_string_equal(text_of(&again), text);
        why = vapi_filled_key(&filled, &len, pool);
        assert_memory_equal(vapi_filled_key(&again, &len_again, pool), why, len);
        assert_int_equal(len_again, len);
        assert_int_equal(again.body_len, filled.body_len);
    }
    set("v", "\xff\xfe");    /* of a map file, say */
    assert_int_equal(fill(&filled, "sql=INSERT arg=%{v}", 1, &why), VAPI_FILLED);
    assert_string_equal(text_of(&filled), "{\"args\":[\"??\"],\"kind\":\"sql\"}");
}

static void a_spool_cannot_choose_the_server(void **state)
{
    static const refused_case wrong[] = {
        { "{}", "another kind" },
        { "[]", "another kind" },
        { "{\"kind\":\"sql\",\"args\":[]}", "another kind" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"headers\":[]}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"post\",\"target\":\"/\",\"headers\":[]}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"@evil/\",\"headers\":[]}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"/a b\",\"headers\":[]}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"/\"}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"/\",\"headers\":[1]}", "not the form" },
        { "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"/\",\"headers\":[\"A: b\\r\\nC: d\"]}", "control character" },
    };
    vapi_filled_t out;
    size_t i;

    (void)state;
    for (i = 0; i < COUNT(wrong); i++) {
        const char *error = read_text(&out, wrong[i].line, "url=https://h/");

        if (!error || !strstr(error, wrong[i].error)) {
            fail_msg("%s: %s", wrong[i].line, error ? error : "taken");
        }
    }
    assert_null(read_text(&out, "{\"kind\":\"http\",\"method\":\"POST\",\"target\":\"/x?y\",\"headers\":[]}",
                          "url=https://new.example/"));
    assert_string_equal(out.url, "https://new.example/x?y");
    assert_non_null(read_text(&out, "{\"kind\":\"sql\",\"args\":[\"a\"]}", "sql=INSERT arg=a arg=b"));
    assert_non_null(read_text(&out, "{\"kind\":\"sql\"}", "sql=INSERT"));
    assert_non_null(read_text(&out, "{\"kind\":\"file\"}", "file=lines"));
}

static void different_things_have_different_keys(void **state)
{
    static const char *const lines[] = {
        "url=https://h/a", "url=https://h/b", "url=https://h/a method=PUT", "url=https://h/a header='A: b'",
        "url=https://h/a header='A: c'", "url=https://h/a header='A: b' header='C: d'", "url=https://h/a body=body.json",
        "sql=SELECT", "sql=SELECT arg=a", "sql=SELECT arg=a arg=b", "sql=SELECT arg=ab", "file=lines body=body.json",
    };
    const char *keys[COUNT(lines)], *why;
    apr_size_t lens[COUNT(lines)];
    vapi_filled_t filled;
    size_t i, j;

    (void)state;
    write_file("body.json", "{}");
    for (i = 0; i < COUNT(lines); i++) {
        assert_int_equal(fill(&filled, lines[i], 1, &why), VAPI_FILLED);
        keys[i] = vapi_filled_key(&filled, &lens[i], pool);
        for (j = 0; j < i; j++) {
            assert_false(lens[i] == lens[j] && memcmp(keys[i], keys[j], lens[i]) == 0);
        }
    }
}

/* ---- sending ---- */

static vapi_sender_t sender_for(int ms)
{
    vapi_sender_t sender = { 0 };

    sender.child = (vapi_child_t *)pool;
    sender.deadline = vapi_clock_now() + ms * MS;
    return sender;
}

static vapi_sent_t send_line(const char *line, const vapi_sender_t *sender)
{
    vapi_outgoing_t *o = made(line, 1);
    vapi_question_t q = question();
    vapi_filled_t filled;
    vapi_sent_t sent;
    const char *why;

    assert_int_equal(vapi_outgoing_fill(o, &q, NULL, &filled, &why), VAPI_FILLED);
    vapi_outgoing_send(o, &filled, sender, &sent, pool);
    return sent;
}

static const char *url_of(const small_server_t *server, const char *user, const char *path)
{
    return apr_psprintf(pool, "url=http://%s127.0.0.1:%d%s", user, server->port, path);
}

static void secrets_are_sent(void **state)
{
    vapi_sender_t sender = sender_for(30000);
    small_server_t server;
    vapi_sent_t sent;

    (void)state;
    small_start(&server, small_echo, NULL, NULL);
    write_file("body.json", "{\"a\":\"%{v}\"}");
    set("v", "\r\nX-Evil: 1");
    sender.idempotency_key = "abc-1";
    sent = send_line(apr_pstrcat(pool, url_of(&server, "", "/x/%{v}"),
                                 " body=body.json bearer=t0ken secret-header='X-B: two words' "
                                 "header='Cookie: c=d' header='X-C: plain'", NULL), &sender);
    assert_int_equal(sent.end, VAPI_SENT_ANSWERED);
    assert_int_equal(sent.status, 200);
    assert_string_equal(sent.body, "{\"a\":\"\\r\\nX-Evil: 1\"}");
    assert_true(sent.took > 0);
    assert_null(sent.what);
    assert_non_null(strstr(server.last, "POST /x/%0D%0AX-Evil%3A%201 HTTP/1.1\r\n"));
    assert_non_null(strstr(server.last, "\r\nAuthorization: Bearer t0ken\r\n"));
    assert_non_null(strstr(server.last, "\r\nX-B: two words\r\n"));
    assert_non_null(strstr(server.last, "\r\nCookie: c=d\r\n"));
    assert_non_null(strstr(server.last, "\r\nX-C: plain\r\n"));
    assert_non_null(strstr(server.last, "\r\nIdempotency-Key: abc-1\r\n"));
    assert_non_null(strstr(server.last, "\r\nContent-Type: application/json\r\n"));
    assert_null(strstr(server.last, "\r\nX-Evil"));

    sender.idempotency_key = NULL;
    sent = send_line(apr_pstrcat(pool, url_of(&server, "us%3aer:p%40ss@", "/"), " method=GET", NULL), &sender);
    assert_int_equal(sent.end, VAPI_SENT_ANSWERED);
    assert_non_null(strstr(server.last, "\r\nAuthorization: Basic dXM6ZXI6cEBzcw==\r\n"));
    assert_null(strstr(server.last, "Idempotency-Key"));
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
static void neither_time_is_exceeded(void **state)
{
    vapi_sender_t sender = sender_for(30000);
    small_server_t server;
    vapi_sent_t sent;

    (void)state;
    small_start(&server, say_nothing, NULL, NULL);
    sent = send_line(apr_pstrcat(pool, url_of(&server, "", "/"), " timeout=100ms", NULL), &sender);
    assert_int_equal(sent.end, VAPI_SENT_FAILED);
    assert_true(sent.timed_out);
    assert_non_null(sent.what);
    assert_true(sent.took >= 80 * MS && sent.took < 15000 * MS);
    sender = sender_for(100);
    sent = send_line(apr_pstrcat(pool, url_of(&server, "", "/"), " timeout=30", NULL), &sender);
    assert_true(sent.timed_out);
    assert_true(sent.took < 15000 * MS);
    small_stop(&server);
    sender = sender_for(30000);
    sent = send_line(url_of(&server, "", "/"), &sender);
    assert_int_equal(sent.end, VAPI_SENT_FAILED);
    assert_false(sent.timed_out);
    assert_null(strstr(sent.what, "127.0.0.1"));
}

/* T42 */
static void a_redirect_is_an_answer(void **state)
{
    vapi_sender_t sender = sender_for(30000);
    small_server_t server;
    vapi_sent_t sent;

    (void)state;
    small_start(&server, small_text, "HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", NULL);
    sent = send_line(apr_pstrcat(pool, url_of(&server, "", "/"), " bearer=t0ken", NULL), &sender);
    assert_int_equal(sent.status, 302);
    assert_int_equal(server.requests, 1);
    small_stop(&server);
}

static void a_statement_is_run(void **state)
{
    vapi_sender_t sender = sender_for(30000);
    vapi_sent_t sent;

    (void)state;
    set("v", "' OR 1");
    sender.is_query = 1;
    sender.workers = (vapi_workers_t *)pool;
    sql_result.end = VAPI_SQL_ROW;
    sql_result.row = json_pack("{s:s}", "tier", "gold");
    sent = send_line("sql='SELECT %s %s' arg=%{v} arg=b", &sender);
    json_decref(sql_result.row);
    sql_result.row = NULL;
    assert_int_equal(sent.end, VAPI_SENT_DONE);
    assert_string_equal(json_string_value(json_object_get(sent.row, "tier")), "gold");
    assert_string_equal(sql_values[0], "' OR 1");
    assert_string_equal(sql_values[1], "b");
    assert_int_equal(sql_was_query, 1);
    assert_ptr_equal(sql_workers_used, pool);

    sql_result.end = VAPI_SQL_NO_ROW;
    assert_int_equal(send_line("sql='SELECT 1'", &sender).end, VAPI_SENT_NO_ROW);
    sql_result.end = VAPI_SQL_TIMEOUT;
    sql_result.what = "no answer in time";
    sent = send_line("sql='SELECT 1'", &sender);
    assert_int_equal(sent.end, VAPI_SENT_FAILED);
    assert_true(sent.timed_out);
    assert_string_equal(sent.what, "no answer in time");
    sql_result.end = VAPI_SQL_ERROR;
    sent = send_line("sql='SELECT 1'", &sender);
    assert_int_equal(sent.end, VAPI_SENT_FAILED);
    assert_false(sent.timed_out);
}

/* ---- a line in a file ---- */

static vapi_outgoing_t *opened(const char *name)
{
    vapi_outgoing_t *o = made(apr_pstrcat(pool, "file=", name, " timeout=60", NULL), 1);

    assert_int_equal(vapi_outgoing_open(o, pool), APR_SUCCESS);
    return o;
}

static vapi_sent_t write_json(vapi_outgoing_t *o, const json_t *json, int sync, apr_pool_t *p)
{
    vapi_sender_t sender = sender_for(60000);
    vapi_filled_t filled;
    vapi_sent_t sent;
    const char *why;
    vapi_question_t q = question();

    q.pool = p;
    sender.sync = sync;
    assert_int_equal(vapi_outgoing_fill(o, &q, json, &filled, &why), VAPI_FILLED);
    vapi_outgoing_send(o, &filled, &sender, &sent, p);
    return sent;
}

static vapi_sent_t write_number(vapi_outgoing_t *o, int n)
{
    json_t *json = json_pack("{s:i, s:s}", "n", n, "text", "two\nlines");
    vapi_sent_t sent = write_json(o, json, n & 1, pool);

    json_decref(json);
    return sent;
}

static const char *contents(const char *name)
{
    FILE *file = fopen(in_root(name), "r");
    char *text = apr_pcalloc(pool, 2000000);

    assert_non_null(file);
    assert_true(fread(text, 1, 1999999, file) < 1999999);
    fclose(file);
    return text;
}

static void lines_are_appended(void **state)
{
    vapi_outgoing_t *o = opened("lines");
    struct stat info;

    (void)state;
    assert_int_equal(stat(in_root("lines"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(write_number(o, 1).end, VAPI_SENT_DONE);
    assert_int_equal(write_number(o, 2).end, VAPI_SENT_DONE);
    assert_string_equal(contents("lines"), "{\"n\":1,\"text\":\"two\\nlines\"}\n{\"n\":2,\"text\":\"two\\nlines\"}\n");
    assert_int_equal(vapi_outgoing_open(o, pool), APR_SUCCESS);
    chmod(in_root("lines"), 0640);
    o = opened("lines");
    assert_int_equal(stat(in_root("lines"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(write_number(made("file=lines", 1), 3).end, VAPI_SENT_FAILED);    /* never opened */
    assert_int_equal(vapi_outgoing_open(made("url=https://h/", 1), pool), APR_SUCCESS);
    assert_int_equal(write_number(o, 3).end, VAPI_SENT_DONE);
}

static void half_a_line_stays_alone(void **state)
{
    (void)state;
    write_file("torn", "{\"n\":0}\n{\"n\":");
    assert_int_equal(write_number(opened("torn"), 1).end, VAPI_SENT_DONE);
    assert_string_equal(contents("torn"), "{\"n\":0}\n{\"n\":\n{\"n\":1,\"text\":\"two\\nlines\"}\n");
}

/* A file that may not grow beyond a size, as on a disk that is full. */
static void a_full_disk_is_a_failure(void **state)
{
    vapi_outgoing_t *o = opened("full");
    int status = 0;

    (void)state;
    if (fork() == 0) {
        struct rlimit limit = { 40, 40 };    /* the first line has 28 bytes */

        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(write_number(o, 1).end == VAPI_SENT_DONE && write_number(o, 2).end == VAPI_SENT_FAILED ? 0 : 1);
    }
    wait(&status);
    assert_int_equal(status, 0);
    assert_int_equal(strlen(contents("full")), 40);
    assert_int_equal(write_number(o, 3).end, VAPI_SENT_DONE);    /* room again, and another process */
    assert_non_null(strstr(contents("full"), "\n{\"n\":3,\"text\":\"two\\nlines\"}\n"));
}

static void a_pipe_holds_nobody_up(void **state)
{
    char text[4096];
    vapi_outgoing_t *o;
    int fd, i, n;

    (void)state;
    assert_int_equal(mkfifo(in_root("pipe"), 0600), 0);
    o = opened("pipe");
    assert_int_equal(write_number(o, 1).end, VAPI_SENT_DONE);
    fd = open(in_root("pipe"), O_RDONLY | O_NONBLOCK);
    n = (int)read(fd, text, sizeof(text));
    assert_int_equal(n, 28);
    for (i = 0; i < 10000 && write_number(o, 2).end == VAPI_SENT_DONE; i++) {
    }
    assert_true(i > 100 && i < 10000);    /* nobody reads: it is full, and says so at once */
    close(fd);
}

typedef struct writer_t {
    vapi_outgoing_t *o;
    int n, failures;
} writer_t;

#define WRITERS 4
#define LINES   200

static void *write_many(void *data)
{
    writer_t *writer = data;
    apr_pool_t *p;
    int i;

    apr_pool_create(&p, NULL);
    for (i = 0; i < LINES; i++) {
        /* longer than a page, so that a write has parts */
        json_t *json = json_pack("{s:i, s:s}", "n", writer->n, "text", apr_psprintf(p, "%05000d", i));

        writer->failures += write_json(writer->o, json, 0, p).end != VAPI_SENT_DONE;
        json_decref(json);
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static int write_with_threads(vapi_outgoing_t *o, int first)
{
    pthread_t threads[WRITERS];
    writer_t writers[WRITERS];
    int i, failures = 0;

    for (i = 0; i < WRITERS; i++) {
        writers[i] = (writer_t){ o, first + i, 0 };
        pthread_create(&threads[i], NULL, write_many, &writers[i]);
    }
    for (i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        failures += writers[i].failures;
    }
    return failures;
}

static void many_writers_lose_no_line(void **state)
{
    vapi_outgoing_t *o = opened("many");
    int status = 0, counts[2 * WRITERS] = { 0 }, lines = 0, i;
    char line[8192];
    FILE *file;

    (void)state;
    if (fork() == 0) {
        _exit(write_with_threads(o, WRITERS) == 0 ? 0 : 1);
    }
    assert_int_equal(write_with_threads(o, 0), 0);
    wait(&status);
    assert_int_equal(status, 0);
    file = fopen(in_root("many"), "r");
    while (fgets(line, sizeof(line), file)) {
        json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

        assert_non_null(json);
        counts[json_integer_value(json_object_get(json, "n"))]++;
        json_decref(json);
        lines++;
    }
    fclose(file);
    assert_int_equal(lines, 2 * WRITERS * LINES);
    for (i = 0; i < 2 * WRITERS; i++) {
        assert_int_equal(counts[i], LINES);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_wrong_is_refused),
        TEST(no_error_or_dump_shows_a_secret),
        TEST(a_secret_in_the_clear_is_warned_about),
        TEST(methods_and_kinds_have_defaults),
        TEST(values_stay_in_their_place_of_the_url),
        TEST(headers_take_no_line_end),
        TEST(a_body_is_json_by_construction),
        TEST(arguments_of_a_statement_go_as_they_are),
        TEST(what_is_filled_in_survives_a_spool),
        TEST(a_spool_cannot_choose_the_server),
        TEST(different_things_have_different_keys),
        TEST(secrets_are_sent),
        TEST(neither_time_is_exceeded),
        TEST(a_redirect_is_an_answer),
        TEST(a_statement_is_run),
        TEST(lines_are_appended),
        TEST(half_a_line_stays_alone),
        TEST(a_full_disk_is_a_failure),
        TEST(a_pipe_holds_nobody_up),
        TEST(many_writers_lose_no_line),
    };

    apr_initialize();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
