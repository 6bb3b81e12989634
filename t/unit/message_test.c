/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Every shape in which Vapi sends what the model asked for (W1-W18, W25, W27), and the odd ones (T12, T13, T17-T20). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "pool.h"
#include "vapi_message.h"

static apr_status_t release(void *block)
{
    free(block);
    return APR_SUCCESS;
}

/* In a block of exactly the body's size, so that a byte read behind it is seen. */
static const char *read_body(vapi_message_t **m, const char *body)
{
    const size_t len = strlen(body);
    char *block = malloc(len ? len : 1);

    assert_non_null(block);
    memcpy(block, body, len);
    apr_pool_cleanup_register(pool, block, release, apr_pool_cleanup_null);
    return vapi_message_read(m, block, len, pool);
}

/* A message of a type, with more members ("" or ",\"key\":..."). */
static vapi_message_t *message(const char *type, const char *members)
{
    vapi_message_t *m = NULL;
    const char *why = read_body(&m, apr_pstrcat(pool, "{\"message\":{\"type\":\"", type, "\"", members, "}}", NULL));

    if (why) {
        fail_msg("%s: %s", members, why);
    }
    return m;
}

static const vapi_tool_call_t *call_at(const vapi_message_t *m, int i)
{
    assert_true(i < m->tool_calls->nelts);
    return &APR_ARRAY_IDX(m->tool_calls, i, vapi_tool_call_t);
}

static const vapi_tool_call_t *only_call(const vapi_message_t *m)
{
    assert_int_equal(m->tool_calls->nelts, 1);
    return call_at(m, 0);
}

/* W14: where the call is listed, where its arguments stand, where its name stands. */
static const char *const lists[] = { "toolCallList", "toolWithToolCallList", "toolCalls" };
static const struct {
    const char *in_function, *in_call;
} argument_places[] = {
    { "\"arguments\":\"{\\\"department\\\":\\\"billing\\\"}\",", "" }, { "\"arguments\":{\"department\":\"billing\"},", "" },
    { "\"parameters\":{\"department\":\"billing\"},", "" }, { "", "\"arguments\":\"{\\\"department\\\":\\\"billing\\\"}\"," },
    { "", "\"arguments\":{\"department\":\"billing\"}," }, { "", "\"parameters\":{\"department\":\"billing\"}," }
};
static const struct {
    const char *in_function, *in_call, *in_tool;
} name_places[] = { { "\"name\":\"transfer_call\",", "", "" }, { "", "\"name\":\"transfer_call\",", "" }, { "", "", "\"tool\":{\"name\":\"transfer_call\"}," } };

static const char *shape(int list, int arguments, int name)
{
    const char *call = apr_pstrcat(pool, "{", argument_places[arguments].in_call, name_places[name].in_call, "\"function\":{",
                                   argument_places[arguments].in_function, name_places[name].in_function, "\"x\":0},\"id\":\"call_1\"}", NULL);
    const char *tool = apr_pstrcat(pool, "{", name_places[name].in_tool, "\"type\":\"function\",\"toolCall\":", list == 1 ? call : "{\"id\":\"call_1\"}", "}", NULL);

    if (list == 1) {
        return apr_pstrcat(pool, ",\"toolWithToolCallList\":[", tool, "]", NULL);
    }
    return apr_pstrcat(pool, ",\"", lists[list], "\":[", call, "]", *name_places[name].in_tool ? ",\"toolWithToolCallList\":[" : "",
                       *name_places[name].in_tool ? tool : "", *name_places[name].in_tool ? "]" : "", NULL);
}

static void reads_every_shape(void **state)
{
    int list, arguments, name;

    (void)state;
    for (list = 0; list < 3; list++) {
        for (arguments = 0; arguments < 6; arguments++) {
            for (name = 0; name < 3; name++) {
                const char *members = shape(list, arguments, name);
                const vapi_tool_call_t *call = only_call(message(name ? "tool-calls" : "tool_calls", members));

                if (!call->id || strcmp(call->id, "call_1") || strcmp(call->name, "transfer_call") || call->arguments_error
                    || strcmp(vapi_tool_call_argument(call, "department", pool), "billing") || !call->fingerprint) {
                    fail_msg("%s", members);
                }
            }
        }
    }
}

static void reads_names_of_tools(void **state)
{
    static const char *const tools[] = { "\"function\":{\"name\":\"n\",\"parameters\":{\"type\":\"object\"}}", "\"name\":\"n\"", "\"tool\":{\"name\":\"n\"}" };
    size_t i;

    (void)state;
    for (i = 0; i < 3; i++) {
        const vapi_tool_call_t *call = only_call(message("tool-calls", apr_pstrcat(pool, ",\"toolWithToolCallList\":[{", tools[i],
                                                         ",\"parameters\":[{\"key\":\"k\",\"value\":\"v\"}],\"toolCall\":{\"id\":\"a\"}}]", NULL)));

        assert_string_equal(call->name, "n");
        assert_int_equal(json_object_size(call->arguments), 0);
    }
}

static void joins_lists_on_id(void **state)
{
    vapi_message_t *m = message("tool-calls",
        ",\"toolCalls\":[{\"id\":\"c\",\"function\":{\"name\":\"third\",\"arguments\":{\"x\":3}}},{\"id\":\"a\",\"function\":{\"name\":\"no\",\"arguments\":{\"x\":9}}}]"
        ",\"toolWithToolCallList\":[{\"async\":true,\"server\":{\"timeoutSeconds\":12},\"toolCall\":{\"id\":\"b\",\"function\":{\"name\":\"second\","
        "\"arguments\":\"{\\\"x\\\":2}\"}}},{\"server\":{\"timeoutSeconds\":7.5},\"toolCall\":{\"id\":\"a\",\"function\":{\"arguments\":{\"x\":8}}}}]"
        ",\"toolCallList\":[{\"id\":\"a\",\"function\":{\"name\":\"first\",\"arguments\":{\"x\":1}}}]");
    static const char *const names[] = { "first", "second", "third" }, *const values[] = { "1", "2", "3" };
    int i;

    (void)state;
    assert_int_equal(m->tool_calls->nelts, 3);
    for (i = 0; i < 3; i++) {
        assert_string_equal(call_at(m, i)->name, names[i]);
        assert_string_equal(vapi_tool_call_argument(call_at(m, i), "x", pool), values[i]);
        assert_int_equal(call_at(m, i)->is_async, i == 1);
    }
    assert_int_equal(call_at(m, 0)->server_timeout, 7500000);
    assert_int_equal(call_at(m, 1)->server_timeout, 12000000);
    assert_int_equal(call_at(m, 2)->server_timeout, 0);
}

static void refuses_server_timeouts_out_of_range(void **state)
{
    static const char *const timeouts[] = { "0", "-1", "301", "1e999", "\"20\"", "null", "99999999999999999999" };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(timeouts) / sizeof(*timeouts); i++) {
        const char *members = apr_pstrcat(pool, ",\"toolWithToolCallList\":[{\"async\":\"true\",\"server\":{\"timeoutSeconds\":", timeouts[i],
                                          "},\"toolCall\":{\"id\":\"a\"}}]", NULL);

        assert_int_equal(only_call(message("tool-calls", members))->server_timeout, 0);
        assert_int_equal(only_call(message("tool-calls", members))->is_async, 0);
    }
}

/* The first place that is there and not empty decides, also when it cannot be read. */
static void takes_the_first_place_of_arguments(void **state)
{
    static const struct {
        const char *call;       /* members beside the id */
        const char *value;      /* of the argument "x"; NULL: an error */
        int size;
    } cases[] = {
        { "\"function\":{\"arguments\":\"{\\\"x\\\":1}\",\"parameters\":{\"x\":2}},\"arguments\":{\"x\":3},\"parameters\":{\"x\":4}", "1", 1 },
        { "\"function\":{\"arguments\":\"\",\"parameters\":{\"x\":2}},\"arguments\":{\"x\":3}", "2", 1 },
        { "\"function\":{\"arguments\":{},\"parameters\":{}},\"arguments\":{\"x\":3},\"parameters\":{\"x\":4}", "3", 1 },
        { "\"function\":{\"arguments\":\"{}\"},\"arguments\":\"\",\"parameters\":{\"x\":4}", "4", 1 },
        { "\"function\":{\"arguments\":null},\"parameters\":{\"x\":4}", "4", 1 },
        { "\"function\":{\"arguments\":\" {\\\"x\\\" : \\\"\\u00e9\\\"}\\n\"}", "\xc3\xa9", 1 },
        { "\"function\":{\"arguments\":\"{}\"}", "", 0 }, { "\"function\":{\"arguments\":\"\"}", "", 0 }, { "\"function\":{}", "", 0 }, { "\"n\":0", "", 0 },
        { "\"function\":\"x\",\"arguments\":{\"x\":1}", "1", 1 },
        { "\"function\":{\"arguments\":\"not json\",\"parameters\":{\"x\":2}}", NULL, 0 }, { "\"function\":{\"arguments\":\"{\\\"x\\\":1\"}", NULL, 0 },
        { "\"function\":{\"arguments\":\"[1]\"}", NULL, 0 }, { "\"function\":{\"arguments\":\"null\"}", NULL, 0 }, { "\"function\":{\"arguments\":\"\\\"{}\\\"\"}", NULL, 0 },
        { "\"function\":{\"arguments\":\"{\\\"x\\\":1,\\\"x\\\":2}\"}", NULL, 0 }, { "\"function\":{\"arguments\":{\"x\":1,\"x\":2}}", NULL, 0 },
        { "\"function\":{\"arguments\":{\"o\":{\"x\":1,\"\\u0078\":2}}}", NULL, 0 }, { "\"function\":{\"arguments\":{\"x\":\"\\ud83d\"}}", NULL, 0 },
        { "\"function\":{\"arguments\":{\"x\":\"\\u0000\"}}", NULL, 0 }, { "\"function\":{\"arguments\":{\"x\":1e999}}", NULL, 0 },
        { "\"function\":{\"arguments\":\"{\\\"x\\\":\\\"\\\\u0000\\\"}\"}", NULL, 0 }, { "\"function\":{\"arguments\":\"\\ud83d\"}", NULL, 0 },
        { "\"function\":{\"arguments\":[1]},\"parameters\":{\"x\":4}", NULL, 0 }, { "\"function\":{\"arguments\":7}", NULL, 0 },
        { "\"function\":{\"arguments\":true}", NULL, 0 }, { "\"function\":{\"arguments\":{\"x\":1},\"arguments\":{\"x\":2}}", NULL, 0 },
        { "\"arguments\":{\"x\":1},\"arguments\":{\"x\":2}", NULL, 0 }
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const vapi_tool_call_t *call = only_call(message("tool-calls", apr_pstrcat(pool, ",\"toolCallList\":[{\"id\":\"a\",", cases[i].call, "}]", NULL)));

        if (!cases[i].value) {
            if (call->arguments || !call->arguments_error || *vapi_tool_call_argument(call, "x", pool)) {
                fail_msg("%s", cases[i].call);
            }
        }
        else if (!call->arguments || call->arguments_error || (int)json_object_size(call->arguments) != cases[i].size
                 || strcmp(vapi_tool_call_argument(call, "x", pool), cases[i].value)) {
            fail_msg("%s", cases[i].call);
        }
        assert_true(call->fingerprint != 0);
    }
}

/* Nested deeper than a stack may bear: jansson would follow it down. */
static void refuses_deep_arguments(void **state)
{
    char *deep = apr_palloc(pool, 5000);
    int i;

    (void)state;
    for (i = 0; i < 4000; i++) {
        deep[i] = '[';
    }
    deep[i] = '\0';
    assert_null(only_call(message("tool-calls", apr_pstrcat(pool, ",\"toolCallList\":[{\"id\":\"a\",\"arguments\":\"{\\\"x\\\":", deep, "}\"}]", NULL)))->arguments);
    for (i = 0; i < 2000; i++) {
        deep[i] = '[';
        deep[2000 + i] = ']';
    }
    assert_null(only_call(message("tool-calls", apr_pstrcat(pool, ",\"toolCallList\":[{\"id\":\"a\",\"arguments\":\"{\\\"x\\\":", deep, "}\"}]", NULL)))->arguments);
}

static void tells_arguments_apart(void **state)
{
    static const char *const bodies[] = { ",\"toolCallList\":[{\"id\":\"a\",\"arguments\":{\"x\":1}}]", ",\"toolCallList\":[{\"id\":\"a\",\"arguments\":{\"x\":2}}]",
                                          ",\"toolCallList\":[{\"id\":\"a\"}]" };
    apr_uint64_t seen[3];
    int i;

    (void)state;
    for (i = 0; i < 3; i++) {
        seen[i] = only_call(message("tool-calls", bodies[i]))->fingerprint;
        assert_true(seen[i] == only_call(message("tool-calls", bodies[i]))->fingerprint);
    }
    assert_true(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2]);
}

/* T19 */
static void reads_odd_ids(void **state)
{
    vapi_message_t *m = message("tool-calls", ",\"toolCallList\":[{\"name\":\"n\"},{\"id\":\"\",\"name\":\"e\"},{\"id\":7,\"name\":\"i\"},"
                                              "{\"id\":\"a\\u0001\\n\",\"name\":\"c\"},{\"id\":\"\\u0000\"},null,[],\"x\"]");
    vapi_message_t *twice = message("tool-calls", ",\"toolCallList\":[{\"id\":\"a\"},{\"id\":\"a\"}],\"toolWithToolCallList\":[{\"toolCall\":{\"id\":\"a\"}},"
                                                  "{\"async\":true,\"toolCall\":{\"id\":\"a\"}}],\"toolCalls\":[{\"id\":\"a\"}]");
    char *id = apr_palloc(pool, 10241);

    (void)state;
    assert_int_equal(m->tool_calls->nelts, 5);
    assert_null(call_at(m, 0)->id);
    assert_null(call_at(m, 1)->id);
    assert_null(call_at(m, 2)->id);
    assert_string_equal(call_at(m, 3)->id, "a\x01\n");
    assert_null(call_at(m, 4)->id);
    assert_string_equal(call_at(m, 4)->name, "");

    assert_int_equal(twice->tool_calls->nelts, 2);
    assert_string_equal(call_at(twice, 1)->id, "a");
    assert_int_equal(call_at(twice, 0)->is_async, 0);
    assert_int_equal(call_at(twice, 1)->is_async, 1);

    memset(id, 'a', 10240);
    id[10240] = '\0';
    assert_string_equal(only_call(message("tool-calls", apr_pstrcat(pool, ",\"toolCalls\":[{\"id\":\"", id, "\"}]", NULL)))->id, id);
}

static void caps_tool_calls(void **state)
{
    const char *members = ",\"toolCallList\":[{\"id\":\"0\"}";
    vapi_message_t *m;
    int i;

    (void)state;
    for (i = 1; i < 40; i++) {
        members = apr_psprintf(pool, "%s,{\"id\":\"%d\"}", members, i);
    }
    m = message("tool-calls", apr_pstrcat(pool, members, "],\"toolCalls\":[{\"id\":\"x\"},{\"id\":\"0\",\"name\":\"n\"}]", NULL));
    assert_int_equal(m->tool_calls->nelts, 32);
    assert_string_equal(call_at(m, 31)->id, "31");
    assert_string_equal(call_at(m, 0)->name, "n");
    assert_int_equal(message("tool-calls", "")->tool_calls->nelts, 0);
    assert_int_equal(message("tool-calls", ",\"toolCallList\":{},\"toolCalls\":7,\"toolWithToolCallList\":[{},{\"toolCall\":1}]")->tool_calls->nelts, 0);
}

static void reads_function_calls(void **state)
{
    const vapi_tool_call_t *call = only_call(message("function-call", ",\"functionCall\":{\"name\":\"f\",\"parameters\":{\"a\":{\"b\":[1,true]}}}"));

    (void)state;
    assert_null(call->id);
    assert_string_equal(call->name, "f");
    assert_string_equal(vapi_tool_call_argument(call, "a.b.1", pool), "true");
    assert_string_equal(vapi_tool_call_argument(call, "/a/b/0", pool), "1");
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "{\"b\":[1,true]}");
    call = only_call(message("function-call", ",\"functionCall\":{\"name\":\"f\",\"parameters\":\"{\\\"a\\\":1.50}\"}"));
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "1.5");
    assert_null(only_call(message("function-call", ",\"functionCall\":{\"name\":\"f\",\"parameters\":\"{\"}"))->arguments);
    assert_int_equal(json_object_size(only_call(message("function-call", ",\"functionCall\":{\"name\":\"f\"}"))->arguments), 0);
    assert_int_equal(message("function-call", "")->tool_calls->nelts, 0);
}

#define TALK ",\"artifact\":{\"messages\":[{\"role\":\"user\",\"message\":\"hi\"},{\"role\":\"tool_calls\",\"toolCalls\":[{\"id\":\"old\"}]},{\"role\":\"tool_calls\"," \
             "\"toolCalls\":[{\"id\":\"t0\"},{\"id\":\"t1\",\"function\":{\"name\":\"transferCall\",\"arguments\":\"{\\\"a\\\":1}\"}}]},"                          \
             "{\"role\":\"tool_calls\",\"toolCalls\":[]},{\"role\":\"bot\",\"message\":\"one moment\"},7]}"

/* W25 */
static void reads_transfer_destination_requests(void **state)
{
    const vapi_tool_call_t *call = only_call(message("transfer-destination-request", TALK));

    (void)state;
    assert_string_equal(call->id, "t1");
    assert_string_equal(call->name, "transferCall");
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "1");
    call = only_call(message("transfer-destination-request", TALK ",\"functionCall\":{\"name\":\"f\",\"parameters\":{\"a\":2}}"));
    assert_string_equal(call->id, "t1");
    assert_string_equal(call->name, "f");
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "2");
    call = only_call(message("transfer-destination-request", ",\"artifact\":{\"messages\":[{\"tool_calls\":[{\"id\":\"s\",\"name\":\"n\",\"parameters\":{\"a\":3}}]}]}"));
    assert_string_equal(call->id, "s");
    assert_string_equal(call->name, "n");
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "3");

    call = only_call(message("transfer-destination-request", ""));
    assert_null(call->id);
    assert_string_equal(call->name, "");
    assert_int_equal(json_object_size(call->arguments), 0);
    call = only_call(message("transfer-destination-request", ",\"artifact\":{\"messages\":[],\"messages\":[]}"));
    assert_null(call->id);
    assert_null(call->arguments);
    assert_non_null(call->arguments_error);
    call = only_call(message("transfer-destination-request", ",\"artifact\":{\"messages\":[{\"toolCalls\":[{\"id\":\"a\"}]},{\"toolCalls\":[],\"toolCalls\":[]}]}"));
    assert_null(call->id);
    assert_null(call->arguments);
}

/* W27 */
static void reads_handoff_destination_requests(void **state)
{
    const vapi_tool_call_t *call = only_call(message("handoff-destination-request", TALK ",\"parameters\":{\"a\":5}"));

    (void)state;
    assert_string_equal(call->id, "t1");
    assert_string_equal(call->name, "transferCall");
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "5");
    call = only_call(message("handoff-destination-request", TALK));
    assert_string_equal(vapi_tool_call_argument(call, "a", pool), "");
    assert_int_equal(json_object_size(call->arguments), 0);
    call = only_call(message("handoff-destination-request", ",\"parameters\":{\"a\":5,\"a\":6}"));
    assert_null(call->id);
    assert_null(call->arguments);
}

static void reads_types(void **state)
{
    static const struct {
        const char *sent;
        vapi_message_type type;
        const char *name;
    } cases[] = {
        { "tool-calls", VAPI_MESSAGE_TOOL_CALLS, "tool-calls" }, { "tool_calls", VAPI_MESSAGE_TOOL_CALLS, "tool_calls" },
        { "function-call", VAPI_MESSAGE_FUNCTION_CALL, "function-call" }, { "assistant-request", VAPI_MESSAGE_ASSISTANT_REQUEST, "assistant-request" },
        { "transfer-destination-request", VAPI_MESSAGE_TRANSFER_DESTINATION, "transfer-destination-request" },
        { "handoff-destination-request", VAPI_MESSAGE_HANDOFF_DESTINATION, "handoff-destination-request" },
        { "status-update", VAPI_MESSAGE_STATUS_UPDATE, "status-update" }, { "end-of-call-report", VAPI_MESSAGE_END_OF_CALL, "end-of-call-report" },
        { "transfer-update", VAPI_MESSAGE_TRANSFER_UPDATE, "transfer-update" }, { "voice-request", VAPI_MESSAGE_UNSERVED, "voice-request" },
        { "phone-call-control", VAPI_MESSAGE_UNSERVED, "phone-call-control" }, { "campaign.predial", VAPI_MESSAGE_UNSERVED, "campaign.predial" },
        { "speech-update", VAPI_MESSAGE_OTHER, "speech-update" }, { "transcript[transcriptType=\\\"final\\\"]", VAPI_MESSAGE_OTHER, "transcript[transcriptType=\"final\"]" },
        { "brand-new", VAPI_MESSAGE_OTHER, "other" }, { "Tool-Calls", VAPI_MESSAGE_OTHER, "other" }, { "", VAPI_MESSAGE_OTHER, "other" },
        { "tool\\u002dcalls", VAPI_MESSAGE_TOOL_CALLS, "tool-calls" }
    };
    static const char *const no_string[] = { "{\"message\":{}}", "{\"message\":{\"type\":7}}", "{\"message\":{\"type\":[\"tool-calls\"]}}", "{\"message\":{\"type\":null}}" };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        vapi_message_t *m = message(cases[i].sent, "");

        assert_int_equal(m->type, cases[i].type);
        assert_string_equal(m->type_name, cases[i].name);
    }
    for (i = 0; i < sizeof(no_string) / sizeof(*no_string); i++) {
        vapi_message_t *m;

        assert_null(read_body(&m, no_string[i]));
        assert_int_equal(m->type, VAPI_MESSAGE_OTHER);
        assert_string_equal(m->type_name, "other");
        assert_string_equal(m->call_id, "");
        assert_int_equal(m->tool_calls->nelts, 0);
    }
}

static void refuses_malformed_bodies(void **state)
{
    static const char *const bodies[] = {
        "", "x", "[]", "{}", "{\"message\":null}", "{\"message\":[]}", "{\"message\":\"x\"}", "{\"message\":{}", "{\"type\":\"tool-calls\"}",
        "{\"message\":{\"type\":\"a\",\"type\":\"a\"}}", "{\"message\":{},\"message\":{}}", "{\"message\":{},\"\\u006dessage\":{}}",
        "{\"message\":{\"call\":{\"id\":\"a\",\"id\":\"a\"}}}", "{\"message\":{\"call\":{},\"c\\u0061ll\":{}}}", "{\"message\":{\"\xff\":1}}"
    };
    vapi_message_t *m;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        if (!read_body(&m, bodies[i])) {
            fail_msg("%s", bodies[i]);
        }
    }
    assert_null(read_body(&m, "{\"message\":{\"artifact\":{\"transcript\":\"\\ud83d\",\"x\":1,\"x\":2},\"unread\":{\"a\":1e999,\"a\":\"\xff\"}}}"));
    assert_string_equal(vapi_conversation_transcript(m), "");
}

static void reads_the_world_of_a_call(void **state)
{
    vapi_message_t *m = message("status-update",
        ",\"timestamp\":1700000000000.5,\"status\":\"forwarding\",\"call\":{\"id\":\"c1\",\"type\":\"inboundPhoneCall\",\"phoneCallProvider\":\"twilio\","
        "\"phoneCallTransport\":\"pstn\",\"customer\":{\"number\":\"+14155550100\"},\"monitor\":{\"controlUrl\":\"https://a.vapi.ai/c/control\"},\"assistantId\":\"as1\"}"
        ",\"customer\":{\"number\":\"+14155550199\"},\"phoneNumber\":{\"number\":\"+14155550000\"},\"assistant\":{\"name\":\"Front\",\"serverMessages\":[\"tool-calls\","
        "\"phone-call-control\"],\"transcriber\":{\"language\":\"en\"}},\"artifact\":{\"transfers\":[{\"status\":\"no-answer\"},{\"status\":\"connected\"}]}");
    const char *status;

    (void)state;
    assert_string_equal(m->call_id, "c1");
    assert_string_equal(m->call_type, "inboundPhoneCall");
    assert_string_equal(m->timestamp, "1700000000000.5");
    assert_string_equal(vapi_message_caller(m), "+14155550100");
    assert_string_equal(vapi_message_called(m), "+14155550000");
    assert_string_equal(vapi_message_assistant(m), "Front");
    assert_string_equal(vapi_message_assistant_id(m), "as1");
    assert_string_equal(vapi_message_provider(m), "twilio");
    assert_string_equal(vapi_message_transport(m), "pstn");
    assert_string_equal(vapi_message_language(m), "en");
    assert_string_equal(vapi_message_status(m), "forwarding");
    assert_string_equal(vapi_message_control_url(m), "https://a.vapi.ai/c/control");
    assert_true(vapi_message_delegates_call_control(m));
    assert_int_equal(vapi_message_transfers(m, &status), 2);
    assert_string_equal(status, "connected");

    m = message("language-changed", ",\"timestamp\":\"t\",\"language\":\"es\",\"call\":null,\"assistant\":{\"serverMessages\":[\"tool-calls\"]}");
    assert_string_equal(m->call_id, "");
    assert_string_equal(m->timestamp, "t");
    assert_string_equal(vapi_message_caller(m), "");
    assert_string_equal(vapi_message_called(m), "");
    assert_string_equal(vapi_message_assistant(m), "");
    assert_string_equal(vapi_message_assistant_id(m), "");
    assert_string_equal(vapi_message_language(m), "es");
    assert_null(vapi_message_control_url(m));
    assert_false(vapi_message_delegates_call_control(m));
    assert_int_equal(vapi_message_transfers(m, &status), 0);
    assert_string_equal(status, "");
}

/* T20 */
static void reads_callers(void **state)
{
    static const struct {
        const char *members, *caller;
    } cases[] = {
        { ",\"customer\":{\"number\":\"+14155550100\"}", "+14155550100" }, { ",\"call\":{\"customer\":{}},\"customer\":{\"number\":\"+14155550100\"}", "+14155550100" },
        { ",\"call\":{\"customer\":{\"sipUri\":\"sip:ann@example.com\"}}", "sip:ann@example.com" }, { ",\"customer\":{\"number\":\"sip:ann@example.com\"}", "sip:ann@example.com" },
        { ",\"customer\":{\"number\":\"anonymous\"}", "" }, { ",\"customer\":{\"number\":\"4155550100\"}", "" }, { ",\"customer\":{\"number\":\"\"}", "" },
        { ",\"customer\":{\"number\":14155550100}", "" }, { ",\"customer\":{\"number\":\"{{customerNumber}}\"}", "" }, { ",\"customer\":{\"number\":\"+1415555\\u00000100\"}", "" },
        { ",\"customer\":{\"number\":\"+14155550100\\n\"}", "" }, { ",\"customer\":{\"sipUri\":\"sip:a b@example.com\"}", "" }, { ",\"customer\":\"+14155550100\"", "" },
        { ",\"customer\":{\"number\":\"+1\",\"number\":\"+14155550100\"}", "" }
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *caller = vapi_message_caller(message("status-update", cases[i].members));

        if (strcmp(caller, cases[i].caller)) {
            fail_msg("%s: %s", cases[i].members, caller);
        }
    }
}

static void reads_control_urls(void **state)
{
    static const struct {
        const char *sent, *url;
    } cases[] = { { "\"<https://a.vapi.ai/control>\"", "https://a.vapi.ai/control" }, { "\"\"", NULL }, { "\"<>\"", NULL }, { "null", NULL }, { "7", NULL },
                  { "\"<\"", "<" }, { "\"<x\"", "<x" } };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *url = vapi_message_control_url(message("tool-calls", apr_pstrcat(pool, ",\"call\":{\"monitor\":{\"controlUrl\":", cases[i].sent, "}}", NULL)));

        assert_true(!url == !cases[i].url && (!url || !strcmp(url, cases[i].url)));
    }
}

static void knows_failed_transfers(void **state)
{
    static const char *const failed[] = { "no-answer", "busy", "voicemail", "failed", "cancelled" }, *const not_failed[] = { "connected", "completed", "", "Failed", "x" };
    size_t i;

    (void)state;
    for (i = 0; i < 5; i++) {
        assert_true(vapi_message_transfer_failed(failed[i]));
        assert_false(vapi_message_transfer_failed(not_failed[i]));
    }
}

static const char *reported(const char *transfers)
{
    const apr_array_header_t *all = vapi_message_reported(message("tool-calls", apr_pstrcat(pool, ",\"artifact\":{\"transfers\":", transfers, "}", NULL)));
    const char *text = "";
    int i;

    for (i = 0; i < all->nelts; i++) {
        const vapi_reported_t *one = &APR_ARRAY_IDX(all, i, vapi_reported_t);
        text = apr_pstrcat(pool, text, one->dialled, "=", one->status, ";", NULL);
    }
    return text;
}

static void reads_reported_transfers(void **state)
{
    static const struct {
        const char *transfers, *read;
    } cases[] = {
        { "[]", "" },
        { "null", "" },
        { "{\"destination\":{\"number\":\"+1\"},\"status\":\"busy\"}", "" },
        { "[{\"destination\":{\"type\":\"number\",\"number\":\"+1\"},\"mode\":\"blind-transfer\",\"status\":\"busy\"}]", "+1=busy;" },
        { "[{\"destination\":{\"type\":\"sip\",\"sipUri\":\"sip:a@b\"},\"status\":\"new\"},{\"destination\":{\"number\":\"+2\"}}]", "sip:a@b=new;+2=;" },
        { "[{\"destination\":{\"number\":\"\",\"sipUri\":\"sip:a@b\"},\"status\":7}]", "sip:a@b=;" },
        { "[{\"destination\":{\"number\":1},\"status\":[\"busy\"]},7,null,[],{},{\"destination\":\"+1\",\"status\":{\"x\":1}}]", "=;=;=;=;=;=;" },
        { "[{\"destination\":{\"number\":\"\\ud83d\"},\"status\":\"\\ud83d\"}]", "=;" },
    };
    char *many = apr_pstrdup(pool, "[");
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        if (strcmp(reported(cases[i].transfers), cases[i].read) != 0) {
            fail_msg("%s: %s", cases[i].transfers, reported(cases[i].transfers));
        }
    }
    assert_int_equal(vapi_message_reported(message("tool-calls", ""))->nelts, 0);
    for (i = 0; i < 100; i++) {
        many = apr_pstrcat(pool, many, i ? "," : "", "{\"status\":\"busy\"}", NULL);
    }
    assert_int_equal(strlen(reported(apr_pstrcat(pool, many, "]", NULL))), 64 * strlen("=busy;"));
}

static void reads_how_a_call_ended(void **state)
{
    static const struct {
        const char *type, *members, *ended;
    } cases[] = {
        { "end-of-call-report", ",\"endedReason\":\"customer-ended-call\"", "customer-ended-call" },
        { "end-of-call-report", ",\"endedReason\":\"of next year\"", "of next year" },
        { "end-of-call-report", "", "" },
        { "end-of-call-report", ",\"endedReason\":null", "" },
        { "end-of-call-report", ",\"endedReason\":[\"x\"]", "" },
        { "status-update", ",\"status\":\"ended\",\"endedReason\":\"x\"", "x" },
        { "status-update", ",\"status\":\"ended\"", "" },
        { "status-update", ",\"status\":\"forwarding\",\"endedReason\":\"x\"", NULL },
        { "status-update", ",\"status\":\"Ended\"", NULL },
        { "status-update", ",\"endedReason\":\"x\"", NULL },
        { "transfer-update", ",\"status\":\"ended\",\"endedReason\":\"x\"", NULL },
        { "tool-calls", ",\"status\":\"ended\",\"endedReason\":\"x\"", NULL },
        { "conversation-update", ",\"status\":\"ended\",\"endedReason\":\"x\"", NULL },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *ended = vapi_message_ended(message(cases[i].type, cases[i].members));

        if (!ended != !cases[i].ended || (ended && strcmp(ended, cases[i].ended) != 0)) {
            fail_msg("%s %s: %s", cases[i].type, cases[i].members, ended ? ended : "has not ended");
        }
    }
}

static void hears_the_caller(void **state)
{
    vapi_message_t *m = message("tool-calls", ",\"artifact\":{\"messages\":[{\"role\":\"system\",\"message\":\"s\"},{\"role\":\"user\",\"message\":\"one\"},"
                                              "{\"role\":\"bot\",\"message\":\"b\"},{\"role\":\"user\",\"message\":\"two\\n\\u00e9\"},{\"role\":\"bot\",\"message\":\"c\"},7,{}],"
                                              "\"messagesOpenAIFormatted\":[{\"role\":\"user\",\"content\":\"x\"}],\"transcript\":\"AI: hi\\n\"},\"transcript\":\"y\"");

    (void)state;
    assert_int_equal(vapi_conversation_turns(m), 2);
    assert_string_equal(vapi_conversation_last_said(m), "two\n\xc3\xa9");
    assert_string_equal(vapi_conversation_transcript(m), "AI: hi\n");

    m = message("transcript", ",\"messages\":[{\"role\":\"user\",\"message\":\"m\"}],\"transcript\":\"y\",\"artifact\":{\"messagesOpenAIFormatted\":[]}");
    assert_int_equal(vapi_conversation_turns(m), 1);
    assert_string_equal(vapi_conversation_last_said(m), "m");
    assert_string_equal(vapi_conversation_transcript(m), "y");

    m = message("x", ",\"artifact\":{\"messagesOpenAIFormatted\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"o\"}]}");
    assert_int_equal(vapi_conversation_turns(m), 1);
    assert_string_equal(vapi_conversation_last_said(m), "o");

    m = message("x", ",\"artifact\":{\"messages\":[{\"role\":\"user\",\"message\":\"\\ud83d\"}],\"transcript\":null}");
    assert_int_equal(vapi_conversation_turns(m), 1);
    assert_string_equal(vapi_conversation_last_said(m), "");
    assert_string_equal(vapi_conversation_transcript(m), "");
    m = message("x", "");
    assert_int_equal(vapi_conversation_turns(m), 0);
    assert_string_equal(vapi_conversation_last_said(m), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_every_shape, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_names_of_tools, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joins_lists_on_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_server_timeouts_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_first_place_of_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_deep_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tells_arguments_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_odd_ids, set_up, tear_down),
        cmocka_unit_test_setup_teardown(caps_tool_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_function_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_transfer_destination_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_handoff_destination_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_malformed_bodies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_the_world_of_a_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_callers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_control_urls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_failed_transfers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_reported_transfers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reads_how_a_call_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hears_the_caller, set_up, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
