/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <string.h>

#include <apr_strings.h>

#include "vapi_reply.h"
#include "vapi_text.h"

/* Text that grows as jansson writes it: asking for the length first would write everything twice. */
typedef struct writing_t {
    char *text;
    size_t len, room;
    apr_pool_t *pool;
} writing_t;

static int put(const char *piece, size_t len, void *data)
{
    writing_t *w = data;
    char *text;

    if (w->len + len >= w->room) {
        w->room = 2 * (w->len + len) + 1;
        text = apr_palloc(w->pool, w->room);
        memcpy(text, w->text, w->len);
        w->text = text;
    }
    memcpy(w->text + w->len, piece, len);
    w->len += len;
    return 0;
}

static void begin(writing_t *w, apr_pool_t *p)
{
    w->len = 0;
    w->room = 512;
    w->text = apr_palloc(p, w->room);
    w->pool = p;
}

static const char *end(writing_t *w)
{
    w->text[w->len] = '\0';
    return w->text;
}

static void put_text(writing_t *w, const char *text)
{
    put(text, strlen(text), w);
}

static void put_string(writing_t *w, const char *text)
{
    json_t *string = vapi_text_json(text, w->pool);

    json_dump_callback(string, put, w, JSON_ENCODE_ANY);
    json_decref(string);
}

const char *vapi_reply_json(const json_t *object, apr_pool_t *p)
{
    writing_t w;

    begin(&w, p);
    json_dump_callback(object, put, &w, JSON_COMPACT);
    return end(&w);
}

const char *vapi_reply_answer(int is_error, const char *text, apr_pool_t *p)
{
    writing_t w;

    begin(&w, p);
    put_text(&w, is_error ? "{\"error\":" : "{\"result\":");
    put_string(&w, vapi_text_one_line(text, p));
    put_text(&w, "}");
    return end(&w);
}

const char *vapi_reply_error(const char *text, apr_pool_t *p)
{
    return vapi_reply_answer(1, text, p);
}

const char *vapi_reply_results(const apr_array_header_t *calls, const char *const *answers, apr_pool_t *p)
{
    writing_t w;
    int i, some = 0;

    begin(&w, p);
    put_text(&w, "{\"results\":[");
    for (i = 0; i < calls->nelts; i++) {
        const vapi_tool_call_t *call = &APR_ARRAY_IDX(calls, i, vapi_tool_call_t);

        if (!answers[i] || *answers[i] != '{') {
            continue;
        }
        put_text(&w, some++ ? ",{\"name\":" : "{\"name\":");
        put_string(&w, call->name);
        put_text(&w, ",\"toolCallId\":");
        put_string(&w, call->id);
        put_text(&w, ",");
        put_text(&w, answers[i] + 1);    /* the answer's members and its closing brace */
    }
    put_text(&w, "]}");
    return some ? end(&w) : "{}";
}
