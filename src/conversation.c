/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What was said: the caller's own turns and the transcript, wherever this payload has them. */
#include <string.h>

#include "vapi_message.h"

/* What the caller said in one turn. */
typedef struct said_t {
    const char *text;
    apr_size_t len;
} said_t;

/* A list of the conversation, and what the words are called in it. */
typedef struct turns_t {
    vapi_range_t list;
    const char *words;
} turns_t;

static turns_t turns_of(vapi_message_t *m)
{
    static const struct {
        const char *list, *words;
    } places[] = {
        { "/artifact/messages", "/message" }, { "/messages", "/message" }, { "/artifact/messagesOpenAIFormatted", "/content" }
    };
    turns_t turns = { { NULL, 0, VAPI_JSON_ABSENT }, "" };
    apr_size_t i;

    for (i = 0; i < sizeof(places) / sizeof(*places) && turns.list.kind != VAPI_JSON_ARRAY; i++) {
        turns.list = vapi_payload_find_in(m->payload, m->message, places[i].list, NULL);
        turns.words = places[i].words;
    }
    return turns;
}

/* The caller's next turn; absent when there is no further one. */
static vapi_range_t next_turn(vapi_message_t *m, const turns_t *turns, apr_size_t *cursor)
{
    vapi_range_t element;

    while ((element = vapi_payload_next(m->payload, turns->list, cursor)).kind != VAPI_JSON_ABSENT) {
        vapi_range_t role = vapi_payload_member(m->payload, element, "role", 4, NULL);
        const char *name = role.kind == VAPI_JSON_STRING ? vapi_payload_text(m->payload, role) : NULL;

        if (name && !strcmp(name, "user")) {
            break;
        }
    }
    return element;
}

static const char *text_of(vapi_message_t *m, vapi_range_t range)
{
    const char *text = range.kind == VAPI_JSON_STRING ? vapi_payload_text(m->payload, range) : NULL;

    return text ? text : "";
}

const char *vapi_conversation_transcript(vapi_message_t *m)
{
    vapi_range_t transcript = vapi_payload_find_in(m->payload, m->message, "/artifact/transcript", NULL);

    if (transcript.kind != VAPI_JSON_STRING) {
        transcript = vapi_payload_find_in(m->payload, m->message, "/transcript", NULL);
    }
    return text_of(m, transcript);
}

const char *vapi_conversation_last_said(vapi_message_t *m)
{
    const turns_t turns = turns_of(m);
    vapi_range_t turn, last = { NULL, 0, VAPI_JSON_ABSENT };
    apr_size_t cursor = 0;

    while ((turn = next_turn(m, &turns, &cursor)).kind != VAPI_JSON_ABSENT) {
        last = turn;
    }
    return text_of(m, vapi_payload_find_in(m->payload, last, turns.words, NULL));
}

int vapi_conversation_turns(vapi_message_t *m)
{
    const turns_t turns = turns_of(m);
    apr_size_t cursor = 0;
    int count = 0;

    while (next_turn(m, &turns, &cursor).kind != VAPI_JSON_ABSENT) {
        count++;
    }
    return count;
}

static apr_array_header_t *read_turns(vapi_message_t *m)
{
    apr_array_header_t *all = apr_array_make(m->pool, 16, sizeof(said_t));
    const turns_t turns = turns_of(m);
    vapi_range_t turn;
    apr_size_t cursor = 0;

    while ((turn = next_turn(m, &turns, &cursor)).kind != VAPI_JSON_ABSENT) {
        said_t *said = apr_array_push(all);

        said->text = text_of(m, vapi_payload_find_in(m->payload, turn, turns.words, NULL));
        said->len = strlen(said->text);
    }
    return all;
}

int vapi_conversation_each(vapi_message_t *m, int (*turn)(void *baton, const char *text, apr_size_t len), void *baton)
{
    int i, stopped = 0;

    if (!m->turns) {
        m->turns = read_turns(m);
    }
    for (i = 0; i < m->turns->nelts && !stopped; i++) {
        const said_t *said = &APR_ARRAY_IDX(m->turns, i, said_t);

        stopped = turn(baton, said->text, said->len);
    }
    return stopped;
}
