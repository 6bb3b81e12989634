/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Every shape that Vapi sends, as one message: which type it is, and what the model asked for. The tool calls stand in up to
 * three lists, with the name in one of three places and the arguments in one of six; nothing is read but those places.
 */
#include "vapi_message.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "vapi_dial.h"

#define MAX_TOOL_CALLS 32
#define MAX_SERVER_TIMEOUT 300      /* seconds (W69) */
#define MAX_REPORTED 64             /* no call is transferred that often */

#define LISTS 3

static const vapi_range_t absent = { NULL, 0, VAPI_JSON_ABSENT };

static const struct {
    const char *name;
    vapi_message_type type;
} types[] = {
    { "tool-calls", VAPI_MESSAGE_TOOL_CALLS },
    { "tool_calls", VAPI_MESSAGE_TOOL_CALLS },
    { "function-call", VAPI_MESSAGE_FUNCTION_CALL },
    { "transfer-destination-request", VAPI_MESSAGE_TRANSFER_DESTINATION },
    { "handoff-destination-request", VAPI_MESSAGE_HANDOFF_DESTINATION },
    { "assistant-request", VAPI_MESSAGE_ASSISTANT_REQUEST },
    { "status-update", VAPI_MESSAGE_STATUS_UPDATE },
    { "end-of-call-report", VAPI_MESSAGE_END_OF_CALL },
    { "transfer-update", VAPI_MESSAGE_TRANSFER_UPDATE },
    { "knowledge-base-request", VAPI_MESSAGE_UNSERVED },
    { "voice-request", VAPI_MESSAGE_UNSERVED },
    { "call.endpointing.request", VAPI_MESSAGE_UNSERVED },
    { "campaign.predial", VAPI_MESSAGE_UNSERVED },
    { "phone-call-control", VAPI_MESSAGE_UNSERVED },
    { "conversation-update", VAPI_MESSAGE_OTHER },
    { "hang", VAPI_MESSAGE_OTHER },
    { "speech-update", VAPI_MESSAGE_OTHER },
    { "user-interrupted", VAPI_MESSAGE_OTHER },
    { "assistant.started", VAPI_MESSAGE_OTHER },
    { "assistant.speechStarted", VAPI_MESSAGE_OTHER },
    { "language-changed", VAPI_MESSAGE_OTHER },
    { "language-change-detected", VAPI_MESSAGE_OTHER },
    { "model-output", VAPI_MESSAGE_OTHER },
    { "transcript", VAPI_MESSAGE_OTHER },
    { "transcript[transcriptType=\"final\"]", VAPI_MESSAGE_OTHER },
    { "voice-input", VAPI_MESSAGE_OTHER },
    { "chat.created", VAPI_MESSAGE_OTHER },
    { "chat.deleted", VAPI_MESSAGE_OTHER },
    { "session.created", VAPI_MESSAGE_OTHER },
    { "session.updated", VAPI_MESSAGE_OTHER },
    { "session.deleted", VAPI_MESSAGE_OTHER },
    { "call.deleted", VAPI_MESSAGE_OTHER },
    { "call.delete.failed", VAPI_MESSAGE_OTHER },
    { "call.artifact.upload", VAPI_MESSAGE_OTHER },
    { NULL, VAPI_MESSAGE_OTHER }
};

/* One tool call as it stands in the lists: in each at most once. */
typedef struct listed_t {
    const char *id;
    vapi_range_t calls[LISTS];      /* in the order of the lists, absent where one has it not */
    vapi_range_t tool;              /* the tool's configuration around it */
    int last;                       /* the last list that has it */
} listed_t;

/* A place where arguments may stand. */
typedef struct place_t {
    vapi_range_t range;
    const char *why;                /* a level on the way to it cannot be read */
} place_t;

static vapi_range_t find(vapi_message_t *m, const char *pointer)
{
    return vapi_payload_find_in(m->payload, m->message, pointer, NULL);
}

/* The text of a string, "" for anything else. */
static const char *string_of(vapi_message_t *m, vapi_range_t range)
{
    const char *text = range.kind == VAPI_JSON_STRING ? vapi_payload_text(m->payload, range) : NULL;

    return text ? text : "";
}

static const char *string_at(vapi_message_t *m, const char *pointer)
{
    return string_of(m, find(m, pointer));
}

/* The first of two that is a string with something in it. */
static const char *string_at_either(vapi_message_t *m, const char *pointer, const char *other)
{
    const char *text = string_at(m, pointer);

    return *text ? text : string_at(m, other);
}

static const char *string_in(vapi_message_t *m, vapi_range_t from, const char *pointer)
{
    return string_of(m, vapi_payload_find_in(m->payload, from, pointer, NULL));
}

/* An id that is missing, empty or no string is NULL. */
static const char *id_in(vapi_message_t *m, vapi_range_t from)
{
    const char *id = string_in(m, from, "/id");

    return *id ? id : NULL;
}

/* FNV-1a, 64 bits. */
static apr_uint64_t fingerprint(vapi_range_t range)
{
    apr_uint64_t hash = APR_UINT64_C(14695981039346656037);
    apr_size_t i;

    for (i = 0; i < range.len; i++) {
        hash = (hash ^ (unsigned char)range.at[i]) * APR_UINT64_C(1099511628211);
    }
    return hash ? hash : 1;
}

static json_t *empty_object(apr_pool_t *p)
{
    json_t *object = json_object();

    vapi_json_keep(object, p);
    return object;
}

/* Arguments as a string of JSON (W9). Opened like a payload, since its depth must be capped before jansson sees it. */
static json_t *parse_text(vapi_message_t *m, const char *text, const char **error)
{
    vapi_payload_t *inner;
    json_t *object = NULL;

    if (!vapi_payload_open(&inner, text, strlen(text), m->pool)) {
        object = vapi_payload_parse(inner, vapi_payload_root(inner));
    }
    *error = object ? NULL : "the arguments are not the JSON of an object";
    return object;
}

/* What stands at one place: an object, or NULL and *error, or NULL and no error where there is nothing. */
static json_t *arguments_at(vapi_message_t *m, const place_t *place, const char **error)
{
    const char *text;
    json_t *object;

    *error = NULL;
    if (place->why) {
        *error = "the tool call cannot be read";
        return NULL;
    }
    switch (place->range.kind) {
    case VAPI_JSON_ABSENT:
    case VAPI_JSON_NULL:
        return NULL;
    case VAPI_JSON_OBJECT:
        object = vapi_payload_parse(m->payload, place->range);
        *error = object ? NULL : "the arguments cannot be read";
        return object;
    case VAPI_JSON_STRING:
        text = vapi_payload_text(m->payload, place->range);
        if (!text) {
            *error = "the arguments cannot be read";
            return NULL;
        }
        return *text ? parse_text(m, text, error) : NULL;
    default:
        *error = "the arguments are not an object";
        return NULL;
    }
}

/* The first place that is there and not empty decides, for better or worse; an empty object where there is none. */
static void read_arguments(vapi_message_t *m, vapi_tool_call_t *call, const apr_array_header_t *places)
{
    int i;

    for (i = 0; i < places->nelts; i++) {
        const place_t *place = &APR_ARRAY_IDX(places, i, place_t);
        json_t *arguments = arguments_at(m, place, &call->arguments_error);

        if (call->arguments_error || json_object_size(arguments) > 0) {
            call->arguments = arguments;
            call->fingerprint = fingerprint(place->range);
            return;
        }
    }
    call->arguments = empty_object(m->pool);
    call->fingerprint = fingerprint(absent);
}

static void add_place(vapi_message_t *m, apr_array_header_t *places, vapi_range_t from, const char *pointer)
{
    place_t *place = apr_array_push(places);

    place->range = vapi_payload_find_in(m->payload, from, pointer, &place->why);
}

/* The places of one tool call, in the order in which they count (W9-W12). */
static void add_places(vapi_message_t *m, apr_array_header_t *places, vapi_range_t call)
{
    static const char *const pointers[] = { "/function/arguments", "/function/parameters", "/arguments", "/parameters" };
    apr_size_t i;

    for (i = 0; i < sizeof(pointers) / sizeof(*pointers); i++) {
        add_place(m, places, call, pointers[i]);
    }
}

/* The name of one tool call (W13); "" if it has none. */
static const char *name_of(vapi_message_t *m, vapi_range_t call)
{
    const char *name = string_in(m, call, "/function/name");

    return *name ? name : string_in(m, call, "/name");
}

static const char *name_of_listed(vapi_message_t *m, const listed_t *listed)
{
    const char *name = "";
    int i;

    for (i = 0; i < LISTS && !*name; i++) {
        name = name_of(m, listed->calls[i]);
    }
    if (!*name) {
        name = name_of(m, listed->tool);
    }
    return *name ? name : string_in(m, listed->tool, "/tool/name");
}

static apr_interval_time_t server_timeout(vapi_message_t *m, vapi_range_t tool)
{
    vapi_range_t range = vapi_payload_find_in(m->payload, tool, "/server/timeoutSeconds", NULL);
    double seconds = range.kind == VAPI_JSON_NUMBER ? json_number_value(vapi_payload_parse(m->payload, range)) : 0;

    return seconds > 0 && seconds <= MAX_SERVER_TIMEOUT ? (apr_interval_time_t)(seconds * APR_USEC_PER_SEC) : 0;
}

static void add_listed(vapi_message_t *m, const listed_t *listed)
{
    apr_array_header_t *places = apr_array_make(m->pool, 4 * LISTS, sizeof(place_t));
    vapi_tool_call_t *call = apr_array_push(m->tool_calls);
    int i;

    memset(call, 0, sizeof(*call));
    call->id = listed->id;
    call->name = name_of_listed(m, listed);
    for (i = 0; i < LISTS; i++) {
        add_places(m, places, listed->calls[i]);
    }
    read_arguments(m, call, places);
    call->is_async = vapi_payload_find_in(m->payload, listed->tool, "/async", NULL).kind == VAPI_JSON_TRUE;
    call->server_timeout = server_timeout(m, listed->tool);
}

static int same_id(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

/*
 * The entry that this one of list `list` is another sight of: the first with its id that the list has not named yet. An id that
 * stands twice in one list is two calls, each to be answered (T19).
 */
static listed_t *join(apr_array_header_t *all, const char *id, int list)
{
    listed_t *listed;
    int i;

    for (i = 0; i < all->nelts; i++) {
        listed = &APR_ARRAY_IDX(all, i, listed_t);
        if (listed->last < list && same_id(listed->id, id)) {
            return listed;
        }
    }
    if (all->nelts == MAX_TOOL_CALLS) {
        return NULL;
    }
    listed = apr_array_push(all);
    memset(listed, 0, sizeof(*listed));
    listed->id = id;
    return listed;
}

static void read_list(vapi_message_t *m, apr_array_header_t *all, int list)
{
    static const struct {
        const char *list;
        const char *call;       /* inside an element */
    } lists[LISTS] = { { "/toolCallList", "" }, { "/toolWithToolCallList", "/toolCall" }, { "/toolCalls", "" } };
    vapi_range_t elements = find(m, lists[list].list), element;
    apr_size_t cursor = 0;
    int left = MAX_TOOL_CALLS;      /* a list of a million is not walked to its end */

    while (left-- > 0 && (element = vapi_payload_next(m->payload, elements, &cursor)).kind != VAPI_JSON_ABSENT) {
        vapi_range_t call = vapi_payload_find_in(m->payload, element, lists[list].call, NULL);
        listed_t *listed;

        if (call.kind != VAPI_JSON_OBJECT || !(listed = join(all, id_in(m, call), list))) {
            continue;
        }
        listed->last = list;
        listed->calls[list] = call;
        if (*lists[list].call) {
            listed->tool = element;
        }
    }
}

/* The union of the three lists (W8), in the order in which the calls are first named. */
static void read_tool_calls(vapi_message_t *m)
{
    apr_array_header_t *all = apr_array_make(m->pool, 4, sizeof(listed_t));
    int i;

    for (i = 0; i < LISTS; i++) {
        read_list(m, all, i);
    }
    for (i = 0; i < all->nelts; i++) {
        add_listed(m, &APR_ARRAY_IDX(all, i, listed_t));
    }
}

static vapi_range_t last_of(vapi_message_t *m, vapi_range_t array)
{
    vapi_range_t element, last = absent;
    apr_size_t cursor = 0;

    while ((element = vapi_payload_next(m->payload, array, &cursor)).kind != VAPI_JSON_ABSENT) {
        last = element;
    }
    return last;
}

/* The tool call that a message of the conversation shows, the last if several; absent if none. */
static vapi_range_t tool_call_of(vapi_message_t *m, vapi_range_t element, const char **why)
{
    vapi_range_t calls = vapi_payload_find_in(m->payload, element, "/toolCalls", why);

    if (calls.kind == VAPI_JSON_ABSENT && !*why) {
        calls = vapi_payload_find_in(m->payload, element, "/tool_calls", NULL);
    }
    return last_of(m, calls);
}

/* The last tool call in artifact.messages: Vapi tells nowhere else which one a destination request belongs to (W25). */
static vapi_range_t last_tool_call(vapi_message_t *m, const char **why)
{
    vapi_range_t messages = vapi_payload_find_in(m->payload, m->message, "/artifact/messages", why), element;
    apr_array_header_t *elements = apr_array_make(m->pool, 64, sizeof(vapi_range_t));
    vapi_range_t call = absent;
    apr_size_t cursor = 0;

    while ((element = vapi_payload_next(m->payload, messages, &cursor)).kind != VAPI_JSON_ABSENT) {
        APR_ARRAY_PUSH(elements, vapi_range_t) = element;
    }
    while (elements->nelts > 0 && call.kind == VAPI_JSON_ABSENT && !*why) {
        call = tool_call_of(m, *(vapi_range_t *)apr_array_pop(elements), why);
    }
    return call;
}

static void read_function_call(vapi_message_t *m)
{
    apr_array_header_t *places = apr_array_make(m->pool, 1, sizeof(place_t));
    vapi_range_t function = find(m, "/functionCall");
    vapi_tool_call_t *call;

    if (function.kind != VAPI_JSON_OBJECT) {
        return;
    }
    call = apr_array_push(m->tool_calls);
    memset(call, 0, sizeof(*call));
    call->name = string_in(m, function, "/name");
    add_place(m, places, function, "/parameters");
    read_arguments(m, call, places);
}

static void read_destination_request(vapi_message_t *m)
{
    const int handoff = m->type == VAPI_MESSAGE_HANDOFF_DESTINATION;
    apr_array_header_t *places = apr_array_make(m->pool, 8, sizeof(place_t));
    vapi_tool_call_t *call = apr_array_push(m->tool_calls);
    const char *why;
    vapi_range_t last = last_tool_call(m, &why);

    memset(call, 0, sizeof(*call));
    call->id = id_in(m, last);
    call->name = handoff ? "" : string_at(m, "/functionCall/name");
    if (!*call->name) {
        call->name = name_of(m, last);
    }
    add_place(m, places, m->message, handoff ? "/parameters" : "/functionCall/parameters");
    if (!handoff) {
        add_places(m, places, last);
        APR_ARRAY_PUSH(places, place_t) = (place_t){ absent, why };
    }
    read_arguments(m, call, places);
}

/* Without these two nothing can be done: what cannot be read there is no absent value. @return NULL or what is wrong */
static const char *check_string(vapi_message_t *m, const char *pointer)
{
    const char *why;
    vapi_range_t range = vapi_payload_find_in(m->payload, m->message, pointer, &why);

    return range.kind == VAPI_JSON_STRING && !vapi_payload_text(m->payload, range) ? "a string is not valid" : why;
}

static void read_type(vapi_message_t *m)
{
    const char *sent = string_at(m, "/type");
    int i;

    for (i = 0; types[i].name && strcmp(types[i].name, sent) != 0; i++)
        ;
    m->type = types[i].type;
    m->type_name = types[i].name ? types[i].name : "other";
}

static const char *timestamp_of(vapi_message_t *m)
{
    const char *text = vapi_payload_text(m->payload, find(m, "/timestamp"));

    return text ? text : "";
}

const char *vapi_message_read(vapi_message_t **out, const char *body, apr_size_t len, apr_pool_t *p)
{
    vapi_message_t *m = apr_pcalloc(p, sizeof(*m));
    const char *why = vapi_payload_open(&m->payload, body, len, p);

    if (why) {
        return why;
    }
    m->pool = p;
    m->message = vapi_payload_find(m->payload, "/message", &why);
    if (why) {
        return why;
    }
    if (m->message.kind != VAPI_JSON_OBJECT) {
        return "no message object";
    }
    if ((why = check_string(m, "/type")) != NULL || (why = check_string(m, "/call/id")) != NULL) {
        return why;
    }

    read_type(m);
    m->call_id = string_at(m, "/call/id");
    m->call_type = string_at(m, "/call/type");
    m->timestamp = timestamp_of(m);
    m->tool_calls = apr_array_make(p, 1, sizeof(vapi_tool_call_t));
    switch (m->type) {
    case VAPI_MESSAGE_TOOL_CALLS:
        read_tool_calls(m);
        break;
    case VAPI_MESSAGE_FUNCTION_CALL:
        read_function_call(m);
        break;
    case VAPI_MESSAGE_TRANSFER_DESTINATION:
    case VAPI_MESSAGE_HANDOFF_DESTINATION:
        read_destination_request(m);
        break;
    default:
        break;
    }
    *out = m;
    return NULL;
}

static int is_far_end(const char *number)
{
    return vapi_dial_is_e164(number) || !vapi_dial_check_sip(number);
}

const char *vapi_message_caller(vapi_message_t *m)
{
    static const char *const pointers[] = {
        "/call/customer/number", "/call/customer/sipUri", "/customer/number", "/customer/sipUri"
    };
    apr_size_t i;

    for (i = 0; i < sizeof(pointers) / sizeof(*pointers); i++) {
        const char *number = string_at(m, pointers[i]);

        if (is_far_end(number)) {
            return number;
        }
    }
    return "";
}

const char *vapi_message_called(vapi_message_t *m)
{
    return string_at_either(m, "/phoneNumber/number", "/call/phoneNumber/number");
}

const char *vapi_message_assistant(vapi_message_t *m)
{
    return string_at_either(m, "/assistant/name", "/call/assistant/name");
}

const char *vapi_message_assistant_id(vapi_message_t *m)
{
    return string_at_either(m, "/call/assistantId", "/assistant/id");    /* the first costs no look into the assistant's own record */
}

const char *vapi_message_provider(vapi_message_t *m)
{
    return string_at(m, "/call/phoneCallProvider");
}

const char *vapi_message_transport(vapi_message_t *m)
{
    return string_at(m, "/call/phoneCallTransport");
}

const char *vapi_message_language(vapi_message_t *m)
{
    return string_at_either(m, "/language", "/assistant/transcriber/language");
}

const char *vapi_message_status(vapi_message_t *m)
{
    return string_at(m, "/status");
}

const char *vapi_message_control_url(vapi_message_t *m)
{
    const char *url = string_at(m, "/call/monitor/controlUrl");
    const apr_size_t len = strlen(url);

    if (len > 1 && url[0] == '<' && url[len - 1] == '>') {
        url = apr_pstrmemdup(m->pool, url + 1, len - 2);
    }
    return *url ? url : NULL;
}

int vapi_message_delegates_call_control(vapi_message_t *m)
{
    static const char wanted[] = "phone-call-control";
    vapi_range_t assistant = find(m, "/assistant"), types_sent, element;
    apr_size_t cursor = 0;

    if (!assistant.len || !memmem(assistant.at, assistant.len, wanted, sizeof(wanted) - 1)) {
        return 0;    /* almost always: the assistant's record need not be read */
    }
    types_sent = find(m, "/assistant/serverMessages");
    while ((element = vapi_payload_next(m->payload, types_sent, &cursor)).kind != VAPI_JSON_ABSENT) {
        if (!strcmp(string_of(m, element), wanted)) {
            return 1;
        }
    }
    return 0;
}

int vapi_message_transfers(vapi_message_t *m, const char **last_status)
{
    vapi_range_t transfers = find(m, "/artifact/transfers"), element, last = absent;
    apr_size_t cursor = 0;
    int count = 0;

    while ((element = vapi_payload_next(m->payload, transfers, &cursor)).kind != VAPI_JSON_ABSENT) {
        last = element;
        count++;
    }
    *last_status = string_in(m, last, "/status");
    return count;
}

const apr_array_header_t *vapi_message_reported(vapi_message_t *m)
{
    apr_array_header_t *reported = apr_array_make(m->pool, 4, sizeof(vapi_reported_t));
    vapi_range_t transfers = find(m, "/artifact/transfers"), element;
    apr_size_t cursor = 0;

    while (reported->nelts < MAX_REPORTED
           && (element = vapi_payload_next(m->payload, transfers, &cursor)).kind != VAPI_JSON_ABSENT) {
        vapi_reported_t *one = apr_array_push(reported);

        one->dialled = string_in(m, element, "/destination/number");
        if (!*one->dialled) {
            one->dialled = string_in(m, element, "/destination/sipUri");
        }
        one->status = string_in(m, element, "/status");
    }
    return reported;
}

const char *vapi_message_ended(vapi_message_t *m)
{
    int has_ended = m->type == VAPI_MESSAGE_END_OF_CALL
                    || (m->type == VAPI_MESSAGE_STATUS_UPDATE && !strcmp(vapi_message_status(m), "ended"));

    return has_ended ? string_at(m, "/endedReason") : NULL;
}

int vapi_message_transfer_failed(const char *status)
{
    static const char *const failed[] = { "no-answer", "busy", "voicemail", "failed", "cancelled" };
    apr_size_t i;

    for (i = 0; i < sizeof(failed) / sizeof(*failed); i++) {
        if (!strcmp(status, failed[i])) {
            return 1;
        }
    }
    return 0;
}

const char *vapi_tool_call_argument(const vapi_tool_call_t *call, const char *path, apr_pool_t *p)
{
    return call->arguments ? vapi_json_lookup(call->arguments, path, p) : "";
}
