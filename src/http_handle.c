/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * A request is sent once. libcurl by itself sends it again, on a new connection, when a kept connection dies before the first
 * byte of an answer, and no option forbids that: a call would be moved twice. Two callbacks refuse it: about_to_send(), which
 * libcurl calls before each sending (7.80 and later), and open_socket(), since a handle keeps one connection at most, so that a
 * repeat needs a new one. (A body that libcurl cannot rewind would do too, but it is sent apart from its headers: a packet more.)
 *
 * A handle serves one profile all its life, so its options are set when it is made; what differs between two requests is set,
 * all of it, by set_request().
 */
#include "http_handle.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>

#include <apr_atomic.h>
#include <apr_strings.h>

#include "vapi_version.h"

#define BUFFER_FIRST  4096
#define BUFFER_KEPT   65536                      /* a handle that needed more gives it back */
#define KEPT_FOR      (55 * APR_USEC_PER_SEC)    /* common servers and load balancers close at 60 s and above, or say when */
#define KEEPALIVE_MAX 86400
#define RETRY_MAX     86400

/* ---- What libcurl calls ---- */

/* Has any of this request left? Unreadable counts as yes: then nothing is sent twice. */
static int has_left(const vapi_handle_t *handle)
{
    long sent = 0;

    if (!handle->reached) {
        return 0;
    }
    return curl_easy_getinfo(handle->curl, CURLINFO_REQUEST_SIZE, &sent) != CURLE_OK || sent > handle->before;
}

#if LIBCURL_VERSION_NUM >= 0x075000
static int about_to_send(void *baton, char *peer, char *self, int peer_port, int self_port)
{
    vapi_handle_t *handle = baton;

    (void)peer, (void)self, (void)peer_port, (void)self_port;
    if (handle->once && has_left(handle)) {
        handle->died = 1;
        return CURL_PREREQFUNC_ABORT;
    }
    curl_easy_getinfo(handle->curl, CURLINFO_REQUEST_SIZE, &handle->before);
    handle->reached = 1;
    return CURL_PREREQFUNC_OK;
}
#endif

static curl_socket_t open_socket(void *baton, curlsocktype purpose, struct curl_sockaddr *address)
{
    vapi_handle_t *handle = baton;
    const vapi_http_profile_t *profile = handle->profile;

    (void)purpose;
    if (handle->once && has_left(handle)) {
        handle->died = 1;
        return CURL_SOCKET_BAD;
    }
    /* With a proxy this is the proxy's address, which the administrator named; the host's is the proxy's affair. */
    if (!profile->proxy && !profile->allow_private && !vapi_http_address_is_public(&address->addr)) {
        handle->answer->address_refused = 1;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int make_room(vapi_handle_t *handle, apr_size_t needed)
{
    apr_size_t room = handle->room ? handle->room : BUFFER_FIRST;
    char *larger;

    while (room < needed) {
        room *= 2;
    }
    if (room == handle->room) {
        return 1;
    }
    if (!(larger = realloc(handle->buffer, room))) {
        handle->no_memory = 1;
        return 0;
    }
    handle->buffer = larger;
    handle->room = room;
    return 1;
}

static size_t take_body(char *bytes, size_t one, size_t n, void *baton)
{
    vapi_handle_t *handle = baton;
    apr_size_t left = handle->request->answer_max - handle->len;
    apr_size_t taken = n;

    (void)one;
    if (n > left) {
        handle->answer->cut = 1;
        taken = left;
    }
    if (!make_room(handle, handle->len + taken)) {
        return 0;
    }
    memcpy(handle->buffer + handle->len, bytes, taken);
    handle->len += taken;
    return taken;    /* less than n ends the transfer and closes the connection */
}

/* Up to `max` of the digits at `at`; -1 where there are none. */
static long read_seconds(const char *at, const char *end, long max)
{
    long seconds = 0;

    if (at == end || !isdigit((unsigned char)*at)) {
        return -1;
    }
    for (; at < end && isdigit((unsigned char)*at); at++) {
        seconds = seconds * 10 + (*at - '0');
        seconds = seconds < max ? seconds : max;
    }
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) {
        at++;
    }
    return at == end || *at == ',' || *at == ';' ? seconds : -1;
}

/* The value of the header called `name` (with its colon), or NULL if this is another. */
static const char *header_value(const char *line, const char *end, const char *name)
{
    apr_size_t len = strlen(name);

    if ((apr_size_t)(end - line) < len || strncasecmp(line, name, len) != 0) {
        return NULL;
    }
    for (line += len; line < end && (*line == ' ' || *line == '\t'); line++);
    return line;
}

static void take_keep_alive(vapi_handle_t *handle, const char *at, const char *end)
{
    long seconds;

    for (; end - at > 8; at++) {
        if (strncasecmp(at, "timeout=", 8) == 0) {
            seconds = read_seconds(at + 8, end, KEEPALIVE_MAX);
            /* A second less than it says: the far side must not close while our next request is on its way. */
            if (seconds >= 0 && apr_time_from_sec(seconds - 1) < handle->kept_for) {
                handle->kept_for = apr_time_from_sec(seconds - 1);
            }
            return;
        }
    }
}

static size_t take_header(char *line, size_t one, size_t n, void *baton)
{
    vapi_handle_t *handle = baton;
    vapi_http_answer_t *answer = handle->answer;
    const char *end = line + n, *value;
    long seconds;

    (void)one;
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {    /* the final answer's block, after an interim one's (100) */
        answer->has_retry_after = 0;
        answer->retry_after = 0;
        handle->kept_for = KEPT_FOR;
    }
    else if ((value = header_value(line, end, "retry-after:"))) {
        seconds = read_seconds(value, end, RETRY_MAX);
        answer->has_retry_after = 1;
        answer->retry_after = seconds > 0 ? apr_time_from_sec(seconds) : 0;
    }
    else if ((value = header_value(line, end, "keep-alive:"))) {
        take_keep_alive(handle, value, end);
    }
    return n;
}

/* ---- A handle: what holds for its profile, what holds for one request ---- */

#define SET(option, value) do { if ((rc = curl_easy_setopt(curl, option, value)) != CURLE_OK) { return rc; } } while (0)

static CURLcode set_tls(CURL *curl, const vapi_http_profile_t *profile, int ca_directory)
{
    CURLcode rc;

    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (profile->ca_file) {
        SET(CURLOPT_CAINFO, profile->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    else if (ca_directory) {
        SET(CURLOPT_CAINFO, NULL);
        SET(CURLOPT_CAPATH, VAPI_CA_DIRECTORY);
    }
    return CURLE_OK;
}

/* libcurl asks about once a second while it waits. */
static int is_ending(void *data, curl_off_t down, curl_off_t down_now, curl_off_t up, curl_off_t up_now)
{
    const vapi_handle_t *handle = data;

    (void)down, (void)down_now, (void)up, (void)up_now;
    return handle->ending && apr_atomic_read32((volatile apr_uint32_t *)handle->ending);
}

static CURLcode set_callbacks(CURL *curl, vapi_handle_t *handle)
{
    CURLcode rc;

    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, handle);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, handle);
    SET(CURLOPT_XFERINFOFUNCTION, is_ending);
    SET(CURLOPT_XFERINFODATA, handle);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, handle);
#if LIBCURL_VERSION_NUM >= 0x075000
    SET(CURLOPT_PREREQFUNCTION, about_to_send);
    SET(CURLOPT_PREREQDATA, handle);
#endif
    return CURLE_OK;
}

static CURLcode set_profile(CURL *curl, const vapi_http_profile_t *profile)
{
    CURLcode rc;

#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, profile->allow_plain ? "http,https" : "https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(profile->allow_plain ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT, 1L);            /* or a dead name server holds us beyond every time-out */
#endif
#if LIBCURL_VERSION_NUM >= 0x074000
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
#endif
    SET(CURLOPT_PROXY, profile->proxy ? profile->proxy : "");    /* "" and not NULL: or the environment is asked */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PATH_AS_IS, 1L);            /* the caller checked this path, not one that libcurl makes of it */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_MAXCONNECTS, 1L);           /* open_socket() relies on it */
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_USERAGENT, "mod_vapi_transfer/" VAPI_VERSION);
    return CURLE_OK;
}

static CURLcode set_method(CURL *curl, const vapi_http_request_t *request)
{
    int post = strcmp(request->method, "POST") == 0, head = strcmp(request->method, "HEAD") == 0;
    int get = strcmp(request->method, "GET") == 0;
    CURLcode rc;

    if (request->body || post) {
        /* Not copied, and sent in one packet with the headers where it is short. */
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(request->body ? request->body_len : 0));
        SET(CURLOPT_CUSTOMREQUEST, post ? NULL : request->method);
        return CURLE_OK;
    }
    SET(CURLOPT_HTTPGET, 1L);
    if (head) {
        SET(CURLOPT_NOBODY, 1L);
    }
    SET(CURLOPT_CUSTOMREQUEST, get || head ? NULL : request->method);
    return CURLE_OK;
}

static struct curl_slist *prepend(struct curl_slist *list, const char *header, apr_pool_t *p)
{
    struct curl_slist *first = apr_palloc(p, sizeof(*first));

    first->data = (char *)header;    /* libcurl only reads it */
    first->next = list;
    return first;
}

/* A header with an empty value is left out by libcurl unless it is written so. */
static const char *with_value(const char *header, apr_pool_t *p)
{
    apr_size_t name = strcspn(header, ":");
    int is_empty = header[name] && !header[name + 1 + strspn(header + name + 1, " \t")];

    return is_empty ? apr_pstrcat(p, apr_pstrmemdup(p, header, name), ";", NULL) : header;
}

static struct curl_slist *header_list(const vapi_http_request_t *request, apr_pool_t *p)
{
    struct curl_slist *list = NULL;
    int i, typed = 0;

    for (i = request->headers ? request->headers->nelts - 1 : -1; i >= 0; i--) {
        const char *header = APR_ARRAY_IDX(request->headers, i, const char *);

        typed |= strncasecmp(header, "content-type:", 13) == 0;
        list = prepend(list, with_value(header, p), p);
    }
    if (request->body) {
        list = prepend(list, "Expect:", p);
        list = typed ? list : prepend(list, "Content-Type:", p);    /* or libcurl calls it a web form */
    }
    return list;
}

static CURLcode set_request(CURL *curl, const vapi_http_request_t *request, apr_interval_time_t left, apr_pool_t *p)
{
    apr_interval_time_t connect = request->connect_timeout < left ? request->connect_timeout : left;
    CURLcode rc;

    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_HTTPHEADER, header_list(request, p));
    SET(CURLOPT_NOPROGRESS, request->may_be_abandoned ? 0L : 1L);
    SET(CURLOPT_TIMEOUT_MS, (long)(left / 1000));
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(connect >= 1000 ? connect / 1000 : 1));
    return set_method(curl, request);
}

#undef SET

void vapi_handle_free(vapi_handle_t *handle)
{
    curl_easy_cleanup(handle->curl);
    free(handle->buffer);
    free(handle);
}

vapi_handle_t *vapi_handle_make(const vapi_http_profile_t *profile, CURLSH *share, int ca_directory)
{
    vapi_handle_t *handle = calloc(1, sizeof(*handle));
    CURL *curl;

    if (!handle) {
        return NULL;
    }
    handle->profile = profile;
    handle->curl = curl = curl_easy_init();
    if (!curl || set_profile(curl, profile) != CURLE_OK || set_tls(curl, profile, ca_directory) != CURLE_OK
        || set_callbacks(curl, handle) != CURLE_OK || curl_easy_setopt(curl, CURLOPT_SHARE, share) != CURLE_OK) {
        vapi_handle_free(handle);
        return NULL;
    }
    return handle;
}

/* ---- One request ---- */

static void judge(vapi_handle_t *handle, CURLcode rc)
{
    vapi_http_answer_t *answer = handle->answer;
    long status = 0;

    curl_easy_getinfo(handle->curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    answer->timed_out = rc == CURLE_OPERATION_TIMEDOUT;
    if ((rc == CURLE_OK && status > 0) || (rc == CURLE_WRITE_ERROR && answer->cut)) {
        answer->end = VAPI_HTTP_ANSWERED;
        return;
    }
    answer->end = handle->died || has_left(handle) ? VAPI_HTTP_BROKEN : VAPI_HTTP_NOT_SENT;
    answer->address_refused = answer->end == VAPI_HTTP_NOT_SENT && answer->address_refused && rc == CURLE_COULDNT_CONNECT;
    answer->what = handle->died ? "a kept connection died under the request"
                 : handle->no_memory ? "no memory for the answer"
                 : answer->address_refused ? "the host resolves to an address that is not public"
                 : rc == CURLE_OK ? "the answer is not HTTP"
                 : rc == CURLE_ABORTED_BY_CALLBACK ? "given up, since the server process ends"
                 : curl_easy_strerror(rc);
}

static int connections_made(const vapi_handle_t *handle)
{
    double connected = 0;
    long made = 0;

    curl_easy_getinfo(handle->curl, CURLINFO_NUM_CONNECTS, &made);
    if (made > 0 && !handle->died) {
        curl_easy_getinfo(handle->curl, CURLINFO_CONNECT_TIME, &connected);
    }
    return connected > 0 ? (int)made : 0;    /* tries that came to nothing are counted by libcurl too */
}

static void keep_body(vapi_handle_t *handle, apr_pool_t *p)
{
    if (handle->len > 0) {
        handle->answer->body = apr_pstrmemdup(p, handle->buffer, handle->len);
        handle->answer->body_len = handle->len;
    }
    if (handle->room > BUFFER_KEPT) {
        free(handle->buffer);
        handle->buffer = NULL;
        handle->room = 0;
    }
}

/* Only GET and HEAD, which ask and change nothing, may be sent again by libcurl over a new connection. */
static int must_be_sent_once(const vapi_http_request_t *request)
{
    return request->body || (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0);
}

static void begin(vapi_handle_t *handle, const vapi_http_request_t *request, vapi_http_answer_t *answer)
{
    handle->request = request;
    handle->answer = answer;
    handle->kept_for = KEPT_FOR;
    handle->once = must_be_sent_once(request);
    handle->reached = LIBCURL_VERSION_NUM < 0x075000;    /* without about_to_send() a proxy's CONNECT counts as the request */
    handle->before = 0;
    handle->len = 0;
    handle->died = handle->no_memory = 0;
}

int vapi_handle_send(vapi_handle_t *handle, const vapi_http_request_t *request, apr_interval_time_t left,
                     vapi_http_answer_t *answer, apr_pool_t *p)
{
    CURLcode rc;

    begin(handle, request, answer);
    if (set_request(handle->curl, request, left, p) != CURLE_OK) {
        answer->what = "libcurl takes no such request";
        return 0;
    }
    rc = curl_easy_perform(handle->curl);
    judge(handle, rc);
    answer->new_connections = connections_made(handle);
    keep_body(handle, p);
    return rc == CURLE_OK && answer->end == VAPI_HTTP_ANSWERED && handle->kept_for > 0;
}
