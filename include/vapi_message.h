/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_message.h
 * @brief Every shape that Vapi sends (W1-W18), as one `vapi_message_t`. Knows no httpd request.
 */
#ifndef VAPI_MESSAGE_H
#define VAPI_MESSAGE_H

#include <apr_tables.h>
#include <apr_time.h>

#include "vapi_payload.h"

typedef enum {
    VAPI_MESSAGE_TOOL_CALLS,            /* "tool-calls", and "tool_calls" (W8) */
    VAPI_MESSAGE_FUNCTION_CALL,         /* "function-call", legacy */
    VAPI_MESSAGE_TRANSFER_DESTINATION,  /* "transfer-destination-request" */
    VAPI_MESSAGE_HANDOFF_DESTINATION,   /* "handoff-destination-request" */
    VAPI_MESSAGE_ASSISTANT_REQUEST,     /* "assistant-request" */
    VAPI_MESSAGE_STATUS_UPDATE,
    VAPI_MESSAGE_END_OF_CALL,           /* "end-of-call-report" */
    VAPI_MESSAGE_TRANSFER_UPDATE,
    VAPI_MESSAGE_UNSERVED,              /* expects an answer that this module does not give (W72) */
    VAPI_MESSAGE_OTHER                  /* everything else: {} */
} vapi_message_type;

/** One thing that the model asked for. */
typedef struct vapi_tool_call_t {
    const char *id;                     /* NULL: missing (T19) */
    const char *name;                   /* "" if none */
    json_t *arguments;                  /* an object, borrowed from the payload's pool; NULL if they cannot be read */
    const char *arguments_error;        /* constant words for the model when arguments is NULL ("the arguments are not JSON") */
    apr_uint64_t fingerprint;           /* of the arguments' bytes, to see "same id, other arguments" (T6); never 0 */
    int is_async;                       /* the tool is async: Vapi ignores the reply (W15, W23) */
    apr_interval_time_t server_timeout; /* the tool's server.timeoutSeconds; 0 if not in the payload */
} vapi_tool_call_t;

typedef struct vapi_message_t {
    vapi_payload_t *payload;
    apr_pool_t *pool;
    vapi_range_t message;               /* the `message` object */
    vapi_message_type type;
    const char *type_name;              /* as sent when it is one this module knows by name (served, unserved, or listed in W70,
                                           W71), else "other": may be logged */
    const char *call_id;                /* "" if none */
    const char *call_type;              /* "inboundPhoneCall" ...; "" if none */
    const char *timestamp;              /* message.timestamp as written, "" if none */
    apr_array_header_t *tool_calls;     /* vapi_tool_call_t: for tool-calls and function-call all; for destination requests one,
                                           whose arguments and name a route sees (W25, W27) and whose id claims the delivery (NULL
                                           if there is none); else empty */
    apr_array_header_t *turns;          /* conversation.c's own: what the caller said, once somebody asked; else NULL */
} vapi_message_t;

/**
 * Reads what every message has; the rest is read when asked for.
 * @return NULL, or a constant reason why this authenticated body is malformed (400): not JSON, no `message` object, a key twice
 *         at a level that is read. A type that is missing or no string is VAPI_MESSAGE_OTHER, not an error.
 */
const char *vapi_message_read(vapi_message_t **out, const char *body, apr_size_t len, apr_pool_t *p);

/** Known outside world of a call, each "" if absent; in the message's pool, read at each call: keep what you ask often. */
const char *vapi_message_caller(vapi_message_t *m);      /* far end: E.164 number or SIP URI, from message.call.customer, then
                                                            message.customer; anything else counts as unknown (T20, W2, W3) */
const char *vapi_message_called(vapi_message_t *m);      /* own line: phoneNumber.number of message, then of message.call */
const char *vapi_message_assistant(vapi_message_t *m);   /* assistant name: message.assistant.name, then message.call.assistant.name */
const char *vapi_message_assistant_id(vapi_message_t *m);/* message.call.assistantId, message.assistant.id: to warn once per
                                                            assistant */
const char *vapi_message_provider(vapi_message_t *m);    /* message.call.phoneCallProvider */
const char *vapi_message_transport(vapi_message_t *m);   /* message.call.phoneCallTransport */
const char *vapi_message_language(vapi_message_t *m);    /* message.language (of language-changed...), else
                                                            assistant.transcriber.language */
const char *vapi_message_status(vapi_message_t *m);      /* message.status of a status-update */

/** message.call.monitor.controlUrl as sent, surrounding `<>` taken off (W34); NULL if there is none. Never to be logged. */
const char *vapi_message_control_url(vapi_message_t *m);

/** Is the message type "phone-call-control" among assistant.serverMessages (W46)? */
int vapi_message_delegates_call_control(vapi_message_t *m);

/** artifact.transfers: how many there are, and the status of the last one ("" if none) (W81). */
int vapi_message_transfers(vapi_message_t *m, const char **last_status);

/** One transfer that Vapi reports (W81). */
typedef struct vapi_reported_t {
    const char *dialled;                /* number or SIP URI; "" if there is none */
    const char *status;                 /* as sent, "" if absent */
} vapi_reported_t;

/** artifact.transfers: vapi_reported_t, in order; bounded. */
const apr_array_header_t *vapi_message_reported(vapi_message_t *m);

/** How the call ended (W82): message.endedReason of an end-of-call-report, or of a status-update that says "ended"; "" if it does not say
 * how; NULL: this message does not say that the call has ended. Unknown ones are given as they are. */
const char *vapi_message_ended(vapi_message_t *m);

/** Does this TransferArtifact status say that the call came back (no-answer, busy, voicemail, failed, cancelled)? */
int vapi_message_transfer_failed(const char *status);

/** An argument by key, dotted path or pointer, as text; "" if absent. */
const char *vapi_tool_call_argument(const vapi_tool_call_t *call, const char *path, apr_pool_t *p);

/* The conversation: the caller's own turns are messages with role "user" in artifact.messages (else message.messages, else
 * artifact.messagesOpenAIFormatted). */
const char *vapi_conversation_transcript(vapi_message_t *m);  /* artifact.transcript, else message.transcript */
const char *vapi_conversation_last_said(vapi_message_t *m);   /* text of the caller's latest turn */
int vapi_conversation_turns(vapi_message_t *m);               /* number of the caller's turns */

/** Calls `turn` for each of the caller's turns, in order, until it gives something other than 0, and gives that; else 0. The text,
 * "" where a turn has none, is in the message's pool and made once a message. */
int vapi_conversation_each(vapi_message_t *m, int (*turn)(void *baton, const char *text, apr_size_t len), void *baton);

#endif
