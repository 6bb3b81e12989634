/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_transfer.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <jansson.h>

#include "vapi_clock.h"

#define ANSWER_MAX  65536                            /* of a control answer: ok, or an error text */
#define CALL_MAX    1048576                          /* of GET /call/ID: a whole call with its messages */
#define PAUSE       250000                           /* before the second try, where Vapi names none */
#define TRY_MIN     50000                            /* less than this is no try */
#define TRY_KEPT    (2 * APR_USEC_PER_SEC)           /* a pause leaves this much for the second try, or half of what is left */

/* ---- What an answer means ---- */

static int is_error_status(const json_t *value)
{
    const char *text = json_string_value(value);
    char *end;
    double status;

    if (!text) {
        return json_number_value(value) >= 400;
    }
    status = strtod(text, &end);
    return end != text && *end == '\0' && status >= 400;
}

static int is_said(const json_t *value)
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        return json_string_length(value) > 0;
    case JSON_OBJECT:
        return json_object_size(value) > 0;
    case JSON_ARRAY:
        return json_array_size(value) > 0;
    case JSON_INTEGER:
    case JSON_REAL:
        return json_number_value(value) != 0;
    default:
        return json_is_true(value);
    }
}

/* Vapi answers 200 with an error in the body where a member of the request is wrong (W31). */
static int tells_an_error(const vapi_http_answer_t *answer)
{
    json_t *root;
    int tells;

    if (answer->body_len == 0) {
        return 0;
    }
    root = json_loadb(answer->body, answer->body_len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    tells = json_is_object(root)
            && (is_error_status(json_object_get(root, "statusCode")) || is_said(json_object_get(root, "error")));
    json_decref(root);
    return tells;
}

static vapi_move_outcome ended(vapi_move_outcome outcome, const char *as, const char **reason)
{
    *reason = as;
    return outcome;
}

/* The reasons are a fixed list. `timeout` is said wherever no answer could be had; libcurl's own words in the log tell the cases
 * apart. */
#define NO_ANSWER "timeout"

static vapi_move_outcome classify_2xx(const vapi_http_answer_t *answer, const char **reason)
{
    if (answer->end == VAPI_HTTP_BROKEN) {
        return ended(VAPI_MOVE_UNKNOWN, NO_ANSWER, reason);
    }
    if (!answer->cut && tells_an_error(answer)) {
        return ended(VAPI_MOVE_REFUSED, "refused", reason);
    }
    return ended(VAPI_MOVE_ACCEPTED, NULL, reason);
}

static vapi_move_outcome classify_4xx(int status, const char **reason, int *again)
{
    switch (status) {
    case 401:
    case 403:
    case 409:
        return ended(VAPI_MOVE_FAILED, "refused", reason);
    case 404:
    case 410:
        return ended(VAPI_MOVE_FAILED, "call-gone", reason);
    case 408:
        return ended(VAPI_MOVE_UNKNOWN, "timeout", reason);
    case 429:
        *again = 1;
        return ended(VAPI_MOVE_FAILED, "limited", reason);
    default:
        return ended(VAPI_MOVE_REFUSED, "refused", reason);
    }
}

static vapi_move_outcome classify_5xx(const vapi_http_answer_t *answer, const char **reason, int *again)
{
    switch (answer->status) {
    case 500:
    case 501:
        return ended(VAPI_MOVE_FAILED, "refused", reason);
    case 503:
        if (answer->has_retry_after) {
            *again = 1;
            return ended(VAPI_MOVE_FAILED, "refused", reason);
        }
        return ended(VAPI_MOVE_UNKNOWN, NO_ANSWER, reason);
    case 504:
        return ended(VAPI_MOVE_UNKNOWN, "timeout", reason);
    default:    /* 502, and what gateways of their own invention say (520 to 526): who knows what lies behind them */
        return ended(VAPI_MOVE_UNKNOWN, NO_ANSWER, reason);
    }
}

vapi_move_outcome vapi_transfer_classify(const vapi_http_answer_t *answer, const char **reason, int *again)
{
    *again = 0;
    if (answer->end == VAPI_HTTP_NOT_SENT) {
        /* An address that is not allowed will not be allowed the second time. */
        *again = !answer->address_refused;
        return ended(VAPI_MOVE_FAILED, answer->address_refused ? "not-allowed" : NO_ANSWER, reason);
    }
    /* A status that came before the rest broke counts: Vapi had decided. */
    switch (answer->status / 100) {
    case 2:
        return classify_2xx(answer, reason);
    case 3:
        return ended(VAPI_MOVE_FAILED, "refused", reason);
    case 4:
        return classify_4xx(answer->status, reason, again);
    case 5:
        return classify_5xx(answer, reason, again);
    default:
        return ended(VAPI_MOVE_UNKNOWN, NO_ANSWER, reason);
    }
}

/* ---- Requests to Vapi ---- */

static const apr_array_header_t *headers_with(const char *token, int has_body, apr_pool_t *p)
{
    apr_array_header_t *headers = apr_array_make(p, 2, sizeof(const char *));

    if (has_body) {
        APR_ARRAY_PUSH(headers, const char *) = "Content-Type: application/json";
    }
    if (token) {
        APR_ARRAY_PUSH(headers, const char *) = apr_pstrcat(p, "Authorization: Bearer ", token, NULL);
    }
    return headers;
}

static vapi_http_request_t post_of(const vapi_move_t *move, apr_pool_t *p)
{
    vapi_http_request_t request = { 0 };

    request.profile = move->profile;
    request.method = "POST";
    request.url = move->url;
    request.headers = headers_with(move->token, 1, p);
    request.body = move->body;
    request.body_len = move->body_len;
    request.connect_timeout = move->connect_timeout;
    request.answer_max = ANSWER_MAX;
    return request;
}

static void try_once(vapi_http_t *http, const vapi_move_t *how, vapi_http_request_t *request, vapi_http_answer_t *answer,
                     apr_pool_t *p)
{
    request->deadline = vapi_clock_now() + how->timeout;
    if (request->deadline > how->deadline) {
        request->deadline = how->deadline;
    }
    vapi_http_perform(http, request, answer, p);
}

/* Waits as Vapi asks, so far as a fair second try remains. 0: there is no time for one. */
static int pause_before_again(const vapi_http_answer_t *answer, apr_time_t deadline)
{
    apr_interval_time_t left = vapi_clock_left(deadline);
    apr_interval_time_t pause = answer->retry_after > 0 ? answer->retry_after : PAUSE;
    apr_interval_time_t spare = left - (left < 2 * TRY_KEPT ? left / 2 : TRY_KEPT);

    if (left < TRY_MIN) {
        return 0;
    }
    apr_sleep(pause < spare ? pause : spare);
    return 1;
}

static void count_try(vapi_moved_t *moved, const vapi_http_answer_t *answer, int *again)
{
    moved->outcome = vapi_transfer_classify(answer, &moved->reason, again);
    moved->status = answer->status;
    moved->what = answer->what;
    moved->new_connections += answer->new_connections;
    moved->tries++;
}

void vapi_transfer_move(vapi_http_t *http, const vapi_move_t *move, vapi_moved_t *moved, apr_pool_t *p)
{
    vapi_http_request_t request = post_of(move, p);
    apr_time_t began = vapi_clock_now();
    vapi_http_answer_t answer;
    int again;

    memset(moved, 0, sizeof(*moved));
    try_once(http, move, &request, &answer, p);
    count_try(moved, &answer, &again);
    if (again && pause_before_again(&answer, move->deadline)) {
        try_once(http, move, &request, &answer, p);
        count_try(moved, &answer, &again);
    }
    moved->took = vapi_clock_now() - began;
}

int vapi_transfer_say(vapi_http_t *http, const vapi_move_t *how, const char *text, apr_pool_t *p)
{
    json_t *root = json_pack("{s:s, s:s}", "type", "say", "content", text);
    char *body = root ? json_dumps(root, JSON_COMPACT) : NULL;
    vapi_http_request_t request;
    vapi_http_answer_t answer;
    const char *reason;
    int again;

    json_decref(root);
    if (!body) {
        return 0;
    }
    request = post_of(how, p);
    request.body = body;
    request.body_len = strlen(body);
    try_once(http, how, &request, &answer, p);
    free(body);
    return vapi_transfer_classify(&answer, &reason, &again) == VAPI_MOVE_ACCEPTED;
}

/* ---- The control URL, asked for ---- */

/* One segment of a path: everything but RFC 3986's unreserved characters is encoded. */
static const char *encode_segment(const char *text, apr_pool_t *p)
{
    static const char hex[] = "0123456789ABCDEF";
    char *encoded = apr_palloc(p, 3 * strlen(text) + 1), *out = encoded;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c < 0x80 && apr_isalnum(c)) || strchr("-._~", c)) {
            *out++ = (char)c;
        }
        else {
            *out++ = '%';
            *out++ = hex[c >> 4];
            *out++ = hex[c & 15];
        }
    }
    *out = '\0';
    return encoded;
}

static const char *call_url(const char *base, const char *call_id, apr_pool_t *p)
{
    apr_size_t len = strlen(base);

    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    return apr_pstrcat(p, apr_pstrmemdup(p, base, len), "/call/", encode_segment(call_id, p), NULL);
}

static const char *control_url_in(const vapi_http_answer_t *answer, apr_pool_t *p)
{
    json_t *root = json_loadb(answer->body, answer->body_len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    const json_t *url = json_object_get(json_object_get(root, "monitor"), "controlUrl");
    const char *found = json_string_value(url);

    found = found && *found && strlen(found) == json_string_length(url) ? apr_pstrdup(p, found) : NULL;
    json_decref(root);
    return found;
}

static const char *why_not_told(const vapi_http_answer_t *answer)
{
    if (answer->timed_out) {
        return "Vapi did not answer in time";
    }
    if (answer->end != VAPI_HTTP_ANSWERED) {
        return answer->what;
    }
    switch (answer->status) {
    case 200:
        return answer->cut ? "Vapi's answer is too long" : NULL;
    case 401:
    case 403:
        return "Vapi refuses the API key";
    case 404:
        return "Vapi does not know the call";
    default:
        return "Vapi answered with an error";
    }
}

const char *vapi_transfer_ask_url(vapi_http_t *http, const vapi_move_t *how, const char *base, const char *key,
                                  const char *call_id, const char **why, apr_pool_t *p)
{
    vapi_http_request_t request = { 0 };
    vapi_http_answer_t answer;
    const char *url;

    if (!*call_id || strcmp(call_id, ".") == 0 || strcmp(call_id, "..") == 0) {
        *why = "the payload has no call id";
        return NULL;
    }
    request.profile = how->profile;
    request.method = "GET";
    request.url = call_url(base, call_id, p);
    request.headers = headers_with(key, 0, p);
    request.connect_timeout = how->connect_timeout;
    request.answer_max = CALL_MAX;
    try_once(http, how, &request, &answer, p);
    if ((*why = why_not_told(&answer))) {
        return NULL;
    }
    url = control_url_in(&answer, p);
    *why = url ? NULL : "the call has no control URL";
    return url;
}
