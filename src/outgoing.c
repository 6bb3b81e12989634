/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Fills in what is to go out for one call, turns that into JSON and back, and sends it. */
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "outgoing.h"
#include "vapi_clock.h"
#include "vapi_key.h"
#include "vapi_shared.h"

#define CONNECT_TIMEOUT apr_time_from_sec(2)
#define LOCK_PAUSE      apr_time_from_msec(1)    /* between two tries to lock a file */

vapi_out_kind vapi_outgoing_kind(const vapi_outgoing_t *o)
{
    return o->kind;
}

apr_interval_time_t vapi_outgoing_timeout(const vapi_outgoing_t *o)
{
    return o->timeout;
}

static int has_no_body(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

int vapi_outgoing_only_reads(const vapi_outgoing_t *o)
{
    return o->kind == VAPI_OUT_HTTP ? has_no_body(o->method) : o->kind == VAPI_OUT_SQL && vapi_sql_only_reads(o->sql);
}

int vapi_outgoing_has_body(const vapi_outgoing_t *o)
{
    return o->body != NULL;
}

const char *vapi_outgoing_describe(const vapi_outgoing_t *o, apr_pool_t *p)
{
    (void)p;
    return o->described;
}

/* ---- filling in ---- */

/* A URL's `..` means the level above, whatever it was put together from. */
static int has_dot_segment(const char *path)
{
    apr_size_t len;

    while (*path) {
        path += *path == '/';
        len = strcspn(path, "/");
        if ((len == 1 && *path == '.') || (len == 2 && strncmp(path, "..", 2) == 0)) {
            return 1;
        }
        path += len;
    }
    return 0;
}

static vapi_fill_end fill_url(const vapi_outgoing_t *o, vapi_question_t *q, vapi_filled_t *out, const char **why)
{
    const char *path, *query = "";
    int empty = 0;

    if ((path = vapi_text_expand_path(o->path, q, &empty, why)) == NULL
        || (o->query && (query = vapi_text_expand(o->query, q, VAPI_TEXT_URL, why)) == NULL)) {
        return VAPI_FILLED_BAD;
    }
    out->url = apr_pstrcat(q->pool, o->base, path, query, NULL);
    if (!vapi_text_is_literal(o->path, NULL) && has_dot_segment(path)) {
        *why = "a value makes a part of the path . or ..";
        return o->is_action ? VAPI_FILLED_BAD : VAPI_FILLED_EMPTY;
    }
    return empty ? VAPI_FILLED_EMPTY : VAPI_FILLED;
}

static const char *dumped(const json_t *json, apr_pool_t *p)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *copy = text ? apr_pstrdup(p, text) : NULL;

    free(text);
    return copy;
}

static int fill_body(const vapi_outgoing_t *o, vapi_question_t *q, const json_t *otherwise, vapi_filled_t *out, const char **why)
{
    json_t *json;

    if (o->body) {
        if ((json = vapi_template_expand_plain(o->body, q, why)) == NULL) {
            return 0;
        }
        out->body = dumped(json, q->pool);
        json_decref(json);
    }
    else if (otherwise && !(out->method && has_no_body(out->method))) {
        out->body = dumped(otherwise, q->pool);
    }
    else {
        return 1;
    }
    out->body_len = out->body ? strlen(out->body) : 0;
    return out->body != NULL;
}

/* Line ends are refused by the text; a tab may stand in a header, no other control character may. */
static int has_control(const char *value)
{
    while (*value && (*value == '\t' || ((unsigned char)*value >= ' ' && *value != 0x7f))) {
        value++;
    }
    return *value != '\0';
}

static int fill_headers(const vapi_outgoing_t *o, vapi_question_t *q, vapi_filled_t *out, const char **why)
{
    const char *value;
    int i, typed = 0;

    out->headers = apr_array_make(q->pool, o->headers->nelts + 1, sizeof(const char *));
    for (i = 0; i < o->headers->nelts; i++) {
        const outgoing_header_t *header = &APR_ARRAY_IDX(o->headers, i, outgoing_header_t);

        if ((value = vapi_text_expand(header->value, q, VAPI_TEXT_HEADER, why)) == NULL) {
            return 0;
        }
        if (has_control(value)) {
            *why = "a value with a control character may not stand in a header";
            return 0;
        }
        APR_ARRAY_PUSH(out->headers, const char *) = apr_pstrcat(q->pool, header->name, ": ", value, NULL);
        typed |= strcasecmp(header->name, "Content-Type") == 0;
    }
    if (out->body && !typed) {
        APR_ARRAY_PUSH(out->headers, const char *) = "Content-Type: application/json";
    }
    return 1;
}

static vapi_fill_end fill_http(const vapi_outgoing_t *o, vapi_question_t *q, const json_t *otherwise, vapi_filled_t *out,
                               const char **why)
{
    vapi_fill_end end = fill_url(o, q, out, why);

    out->method = o->method;
    if (end == VAPI_FILLED_BAD || (end == VAPI_FILLED_EMPTY && !o->is_action)) {
        return end;
    }
    return fill_body(o, q, otherwise, out, why) && fill_headers(o, q, out, why) ? end : VAPI_FILLED_BAD;
}

static vapi_fill_end fill_sql(const vapi_outgoing_t *o, vapi_question_t *q, vapi_filled_t *out, const char **why)
{
    vapi_fill_end end = VAPI_FILLED;
    const char *value;
    int i;

    out->args = apr_array_make(q->pool, o->args->nelts + 1, sizeof(const char *));
    for (i = 0; i < o->args->nelts; i++) {
        if ((value = vapi_text_expand(APR_ARRAY_IDX(o->args, i, vapi_text_t *), q, VAPI_TEXT_DIAL, why)) == NULL) {
            return VAPI_FILLED_BAD;
        }
        if (!*value || strcmp(value, ".") == 0 || strcmp(value, "..") == 0) {
            end = VAPI_FILLED_EMPTY;
        }
        APR_ARRAY_PUSH(out->args, const char *) = value;
    }
    return end;
}

vapi_fill_end vapi_outgoing_fill(const vapi_outgoing_t *o, vapi_question_t *q, const json_t *otherwise, vapi_filled_t *out,
                                 const char **why)
{
    vapi_fill_end end;
    int read = q->read;

    memset(out, 0, sizeof(*out));
    out->kind = o->kind;
    *why = "no memory";
    if (o->kind == VAPI_OUT_HTTP) {
        end = fill_http(o, q, otherwise, out, why);
    }
    else if (o->kind == VAPI_OUT_SQL) {
        end = fill_sql(o, q, out, why);
    }
    else {
        end = fill_body(o, q, otherwise, out, why) ? VAPI_FILLED : VAPI_FILLED_BAD;
    }
    q->read = read;
    return end;
}

/* ---- as JSON, and back ---- */

static const char *const kind_words[] = { [VAPI_OUT_HTTP] = "http", [VAPI_OUT_SQL] = "sql", [VAPI_OUT_FILE] = "file" };

static json_t *texts_json(const apr_array_header_t *texts)
{
    json_t *array = json_array();
    int i;

    for (i = 0; i < texts->nelts; i++) {
        json_array_append_new(array, vapi_text_json(APR_ARRAY_IDX(texts, i, const char *), texts->pool));
    }
    return array;
}

json_t *vapi_filled_json(const vapi_filled_t *filled)
{
    json_t *json = json_pack("{s:s}", "kind", kind_words[filled->kind]);

    if (filled->kind == VAPI_OUT_HTTP) {
        json_object_set_new(json, "method", json_string(filled->method));
        json_object_set_new(json, "target", json_string(strchr(strstr(filled->url, "://") + 3, '/')));
        json_object_set_new(json, "headers", texts_json(filled->headers));
    }
    if (filled->args) {
        json_object_set_new(json, "args", texts_json(filled->args));
    }
    if (filled->body) {
        json_object_set_new(json, "body", json_string(filled->body));
    }
    return json;
}

static apr_array_header_t *read_texts(const json_t *array, apr_pool_t *p)
{
    apr_array_header_t *texts = apr_array_make(p, 4, sizeof(const char *));
    size_t i;

    if (!json_is_array(array)) {
        return NULL;
    }
    for (i = 0; i < json_array_size(array); i++) {
        const json_t *text = json_array_get(array, i);
        if (!json_is_string(text)) {
            return NULL;
        }
        APR_ARRAY_PUSH(texts, const char *) = apr_pstrdup(p, json_string_value(text));
    }
    return texts;
}

/* What stands in a target came from fill_url, or from somebody's hand. */
static int is_target(const char *target)
{
    const char *at = target;

    while (*at > ' ' && *at <= '~' && *at != '#') {
        at++;
    }
    return *target == '/' && !*at;
}

static const char *read_http(vapi_filled_t *out, const json_t *json, const vapi_outgoing_t *o, apr_pool_t *p)
{
    const char *method = json_string_value(json_object_get(json, "method"));
    const char *target = json_string_value(json_object_get(json, "target"));
    int i;

    out->headers = read_texts(json_object_get(json, "headers"), p);
    if (!method || !vapi_outgoing_is_method(method) || !target || !is_target(target) || !out->headers) {
        return "it has not the form of a request";
    }
    for (i = 0; i < out->headers->nelts; i++) {
        if (has_control(APR_ARRAY_IDX(out->headers, i, const char *))) {
            return "a header of it holds a control character";
        }
    }
    out->method = apr_pstrdup(p, method);
    out->url = apr_pstrcat(p, o->base, target, NULL);    /* the secrets go nowhere but where the configuration says */
    return NULL;
}

const char *vapi_filled_read(vapi_filled_t *out, const json_t *json, const vapi_outgoing_t *o, apr_pool_t *p)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const json_t *body = json_object_get(json, "body");
    const char *error = NULL;

    memset(out, 0, sizeof(*out));
    out->kind = o->kind;
    if (!kind || strcmp(kind, kind_words[o->kind]) != 0) {
        return "it is of another kind than the configuration's";
    }
    if (o->kind == VAPI_OUT_HTTP) {
        error = read_http(out, json, o, p);
    }
    else if (o->kind == VAPI_OUT_SQL) {
        out->args = read_texts(json_object_get(json, "args"), p);
        error = !out->args ? "it has no arguments"
              : out->args->nelts != o->args->nelts ? "the statement of the configuration has another number of arguments" : NULL;
    }
    else if (!json_is_string(body)) {
        error = "it has no line";
    }
    if (json_is_string(body)) {
        out->body_len = json_string_length(body);
        out->body = apr_pstrmemdup(p, json_string_value(body), out->body_len);
    }
    return error;
}

/* ---- the key ---- */

/* All of them, and an end that no word is. */
static void add_words(apr_array_header_t *to, const apr_array_header_t *words)
{
    if (words) {
        apr_array_cat(to, words);
    }
    APR_ARRAY_PUSH(to, const char *) = NULL;
}

const char *vapi_filled_key(const vapi_filled_t *filled, apr_size_t *len, apr_pool_t *p)
{
    apr_array_header_t *words = apr_array_make(p, 12, sizeof(const char *));

    APR_ARRAY_PUSH(words, const char *) = kind_words[filled->kind];
    APR_ARRAY_PUSH(words, const char *) = filled->method;
    APR_ARRAY_PUSH(words, const char *) = filled->url;
    add_words(words, filled->headers);
    APR_ARRAY_PUSH(words, const char *) = filled->body;
    add_words(words, filled->args);
    return vapi_key_join((const char *const *)words->elts, (apr_size_t)words->nelts, len, p);
}

/* ---- sending ---- */

static const apr_array_header_t *all_headers(const vapi_outgoing_t *o, const vapi_filled_t *filled, const char *idempotency_key,
                                             apr_pool_t *p)
{
    apr_array_header_t *headers = apr_array_copy(p, filled->headers);
    int i;

    for (i = 0; i < o->secrets->nelts; i++) {
        const outgoing_secret_t *secret = &APR_ARRAY_IDX(o->secrets, i, outgoing_secret_t);
        APR_ARRAY_PUSH(headers, const char *) = apr_pstrcat(p, secret->name, ": ", secret->scheme, secret->value, NULL);
    }
    if (idempotency_key) {
        APR_ARRAY_PUSH(headers, const char *) = apr_pstrcat(p, "Idempotency-Key: ", idempotency_key, NULL);
    }
    return headers;
}

static void send_http(const vapi_outgoing_t *o, const vapi_filled_t *filled, const vapi_sender_t *sender, apr_time_t deadline,
                      vapi_sent_t *sent, apr_pool_t *p)
{
    vapi_http_request_t request = { 0 };
    vapi_http_answer_t answer;

    request.profile = vapi_child_profile(sender->child, &o->profile);
    request.method = filled->method;
    request.url = filled->url;
    request.headers = all_headers(o, filled, sender->idempotency_key, p);
    request.body = filled->body;
    request.body_len = filled->body_len;
    request.connect_timeout = CONNECT_TIMEOUT;
    request.deadline = deadline;
    request.answer_max = VAPI_ANSWER_MAX;
    request.may_be_abandoned = sender->spooled;
    vapi_http_perform(vapi_child_http(sender->child), &request, &answer, p);

    sent->end = answer.end == VAPI_HTTP_ANSWERED ? VAPI_SENT_ANSWERED : VAPI_SENT_FAILED;
    sent->status = answer.status;
    sent->body = answer.body;
    sent->body_len = answer.body_len;
    sent->cut = answer.cut;
    sent->timed_out = answer.timed_out;
    sent->what = answer.what;
}

static void send_sql(const vapi_outgoing_t *o, const vapi_filled_t *filled, const vapi_sender_t *sender, apr_time_t deadline,
                     vapi_sent_t *sent, apr_pool_t *p)
{
    vapi_sql_result_t result;

    vapi_sql_run(o->sql, sender->is_query, (const char *const *)filled->args->elts, sender->workers, deadline, &result);
    sent->end = result.end == VAPI_SQL_ROW ? VAPI_SENT_DONE : result.end == VAPI_SQL_NO_ROW ? VAPI_SENT_NO_ROW : VAPI_SENT_FAILED;
    sent->timed_out = result.end == VAPI_SQL_TIMEOUT;
    sent->what = result.what;
    sent->row = result.row;
    if (sent->row) {
        vapi_json_keep(sent->row, p);
    }
}

/* ---- a line in a file ---- */

static apr_status_t close_file(void *data)
{
    outgoing_file_t *file = data;

    close(file->fd);
    file->fd = -1;
    return APR_SUCCESS;
}

/* A process has one lock of a file, whichever of its descriptors asks for it: actions that write to the same file must share
 * the mutex that stands before it. */
static outgoing_file_t *shared_file(outgoing_file_t *file, const struct stat *info, apr_pool_t *pconf)
{
    static const char key[] = "vapi-outgoing-files";
    const char *id = apr_psprintf(pconf, "%" APR_UINT64_T_FMT " %" APR_UINT64_T_FMT, (apr_uint64_t)info->st_dev,
                                  (apr_uint64_t)info->st_ino);
    outgoing_file_t *known;
    void *files = NULL;

    apr_pool_userdata_get(&files, key, pconf);
    if (!files) {
        files = apr_hash_make(pconf);
        apr_pool_userdata_setn(files, key, NULL, pconf);
    }
    if ((known = apr_hash_get(files, id, APR_HASH_KEY_STRING)) != NULL) {
        apr_pool_cleanup_run(pconf, file, close_file);
        return known;
    }
    apr_hash_set(files, id, APR_HASH_KEY_STRING, file);
    return file;
}

apr_status_t vapi_outgoing_open(vapi_outgoing_t *o, apr_pool_t *pconf)
{
    outgoing_file_t *file = o->file;
    struct stat info;
    apr_status_t rv;

    if (!file || file->fd >= 0) {
        return APR_SUCCESS;
    }
    if ((rv = apr_thread_mutex_create(&file->lock, APR_THREAD_MUTEX_DEFAULT, pconf)) != APR_SUCCESS) {
        return rv;
    }
    /* O_RDWR: a pipe then opens without a reader, and the end of a regular file can be looked at */
    file->fd = open(file->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    if (file->fd < 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    apr_pool_cleanup_register(pconf, file, close_file, apr_pool_cleanup_null);
    if (fstat(file->fd, &info) != 0) {
        return APR_FROM_OS_ERROR(errno);
    }
    file->is_regular = S_ISREG(info.st_mode);
    o->file = shared_file(file, &info, pconf);
    return APR_SUCCESS;
}

static int lock_range(const outgoing_file_t *file, short type)
{
    struct flock range = { .l_type = type, .l_whence = SEEK_SET };
    int rc;

    while ((rc = fcntl(file->fd, F_SETLK, &range)) != 0 && errno == EINTR) {
    }
    return rc;
}

/* Between the threads of this child, and the processes that write to the file too. What cannot be locked at all is written without. */
static int try_lock(const outgoing_file_t *file)
{
    if (apr_thread_mutex_trylock(file->lock) != APR_SUCCESS) {
        return 0;
    }
    if (lock_range(file, F_WRLCK) != 0 && (errno == EAGAIN || errno == EACCES)) {
        apr_thread_mutex_unlock(file->lock);
        return 0;
    }
    return 1;
}

static int is_abandoned(const vapi_sender_t *sender)
{
    return sender->spooled && vapi_http_is_abandoned(vapi_child_http(sender->child));
}

/* Anybody may hold the file, for as long as he likes: nobody waits for that beyond his own time, nor the end of the child. */
static int lock_file(const outgoing_file_t *file, const vapi_sender_t *sender, apr_time_t deadline)
{
    int locked;

    while (!(locked = try_lock(file)) && vapi_clock_left(deadline) > 0 && !is_abandoned(sender)) {
        apr_sleep(LOCK_PAUSE);
    }
    return locked;
}

static void unlock_file(const outgoing_file_t *file)
{
    lock_range(file, F_UNLCK);
    apr_thread_mutex_unlock(file->lock);
}

/* Has the last line no end? A full disk may have cut it, under us or another process. */
static int is_torn(const outgoing_file_t *file)
{
    off_t end = file->is_regular ? lseek(file->fd, 0, SEEK_END) : 0;
    char last = '\n';

    return file->is_regular ? end > 0 && pread(file->fd, &last, 1, end - 1) == 1 && last != '\n' : file->torn;
}

/* With the locks held. `line`: a line end, the line, a line end. One write; a part of a line is ended where the next one begins.
 * */
static int write_line(outgoing_file_t *file, const char *line, apr_size_t len)
{
    apr_size_t from = is_torn(file) ? 0 : 1;
    ssize_t n;

    do {
        n = write(file->fd, line + from, len - from);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        file->torn = (apr_size_t)n < len - from && !(from == 0 && n == 1);
    }
    return n > 0 && (apr_size_t)n == len - from;
}

static const char *append(outgoing_file_t *file, const vapi_filled_t *filled, const vapi_sender_t *sender, apr_time_t deadline,
                          apr_pool_t *p)
{
    const char *body = filled->body ? filled->body : "";
    const char *line = apr_pstrcat(p, "\n", body, "\n", NULL);
    apr_size_t len = strlen(line);
    int whole;

    if (!lock_file(file, sender, deadline)) {
        return "another process has locked the file";
    }
    whole = write_line(file, line, len) || (is_torn(file) && write_line(file, line, len));
    unlock_file(file);
    if (!whole) {
        return "the file could not be written";
    }
    return sender->sync && file->is_regular && fdatasync(file->fd) != 0 ? "the file could not be brought to the disk" : NULL;
}

static void send_file(const vapi_outgoing_t *o, const vapi_filled_t *filled, const vapi_sender_t *sender, apr_time_t deadline,
                      vapi_sent_t *sent, apr_pool_t *p)
{
    sent->what = o->file->fd < 0 ? "the file is not open" : append(o->file, filled, sender, deadline, p);
    sent->end = sent->what ? VAPI_SENT_FAILED : VAPI_SENT_DONE;
}

void vapi_outgoing_send(const vapi_outgoing_t *o, const vapi_filled_t *filled, const vapi_sender_t *sender, vapi_sent_t *sent,
                        apr_pool_t *p)
{
    apr_time_t began = vapi_clock_now();
    apr_time_t deadline = sender->deadline < began + o->timeout ? sender->deadline : began + o->timeout;

    memset(sent, 0, sizeof(*sent));
    sent->body = "";
    if (o->kind == VAPI_OUT_HTTP) {
        send_http(o, filled, sender, deadline, sent, p);
    }
    else if (o->kind == VAPI_OUT_SQL) {
        send_sql(o, filled, sender, deadline, sent, p);
    }
    else {
        send_file(o, filled, sender, deadline, sent, p);
    }
    sent->took = vapi_clock_now() - began;
}
