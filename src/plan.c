/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Transfer plans (W40-W45): which mode uses which field is one table, that refuses at start-up what Vapi would silently ignore.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#include "vapi_plan.h"

#define TWIML_MAX 4096   /* W43; after escaping */

/* The fields that only some modes use. */
#define USES_MESSAGE  0x01
#define USES_SUMMARY  0x02
#define USES_TIMEOUT  0x04
#define USES_TWIML    0x08
#define USES_AUDIO    0x10
#define USES_FALLBACK 0x20

typedef struct plan_mode_t {
    const char *name;
    int uses, needs;
    int classic_warm;     /* Twilio only (W45) */
} plan_mode_t;

static const plan_mode_t modes[] = {
    { "blind-transfer", USES_FALLBACK, 0, 0 },
    { "blind-transfer-add-summary-to-sip-header", USES_MESSAGE | USES_SUMMARY | USES_FALLBACK, 0, 0 },
    { "warm-transfer-say-message", USES_MESSAGE, USES_MESSAGE, 1 },
    { "warm-transfer-say-summary", USES_SUMMARY, 0, 1 },
    { "warm-transfer-twiml", USES_TWIML, USES_TWIML, 1 },
    { "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message", USES_MESSAGE | USES_TIMEOUT, USES_MESSAGE, 1 },
    { "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary", USES_SUMMARY | USES_TIMEOUT, 0, 1 },
    { "warm-transfer-experimental", USES_MESSAGE | USES_SUMMARY | USES_AUDIO | USES_FALLBACK, 0, 0 },
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* Names that Vapi's older pages still show: who copied them got a blind transfer, without an error (W42). */
static const struct {
    const char *old, *now;
} retired[] = {
    { "warm-transfer-with-message", "warm-transfer-say-message" },
    { "warm-transfer-with-summary", "warm-transfer-say-summary" },
    { "warm-transfer-with-twiml", "warm-transfer-twiml" },
    { "warm-transfer-wait-for-operator-to-speak-first-and-then-with-message",
      "warm-transfer-wait-for-operator-to-speak-first-and-then-say-message" },
    { "warm-transfer-wait-for-operator-to-speak-first-and-then-with-summary",
      "warm-transfer-wait-for-operator-to-speak-first-and-then-say-summary" },
};

/* Which keys belong to a field of the table above; 0: every mode. */
static const struct {
    const char *key;
    int field;
} fields[] = {
    { "message", USES_MESSAGE }, { "summary", USES_SUMMARY }, { "summary-user", USES_SUMMARY }, { "summary-timeout", USES_SUMMARY },
    { "timeout", USES_TIMEOUT }, { "twiml", USES_TWIML }, { "hold-audio", USES_AUDIO }, { "complete-audio", USES_AUDIO },
    { "fallback-message", USES_FALLBACK }, { "fallback-end-call", USES_FALLBACK },
};

static const vapi_key_rule_t rules[] = {
    { "message", 0 }, { "summary", 0 }, { "summary-user", 0 }, { "summary-timeout", 0 }, { "timeout", 0 }, { "verb", 0 },
    { "dial-timeout", 0 }, { "twiml", 0 }, { "hold-audio", 0 }, { "complete-audio", 0 }, { "fallback-message", 0 },
    { "fallback-end-call", 0 }, { "sip-headers-in-refer", 0 }, { NULL, 0 }
};

struct vapi_plan_t {
    const char *name;
    const plan_mode_t *mode;
    const vapi_words_t *words;         /* as written, for the dump */
    vapi_text_t *message, *summary, *summary_user, *twiml, *fallback_message;
    const char *verb, *hold_audio, *complete_audio;
    int summary_timeout, timeout, dial_timeout;     /* seconds; 0: not given */
    int fallback_end_call, sip_headers_in_refer;    /* -1: not given */
};

static const char *find_mode(const plan_mode_t **mode, const char *word, apr_pool_t *p)
{
    const char *names[MODES + 1] = { NULL };
    const char *error;
    apr_size_t i;
    int index;

    if (!word) {
        return "a MODE is missing, such as blind-transfer or warm-transfer-say-summary";
    }
    for (i = 0; i < sizeof(retired) / sizeof(retired[0]); i++) {
        if (strcasecmp(retired[i].old, word) == 0) {
            return apr_psprintf(p, "the mode '%s' is a retired name that Vapi ignores; write '%s'", word, retired[i].now);
        }
    }
    for (i = 0; i < MODES; i++) {
        names[i] = modes[i].name;
    }
    if ((index = vapi_word_choice(word, names, &error, p)) < 0) {
        return apr_psprintf(p, "MODE %s", error);
    }
    *mode = &modes[index];
    return NULL;
}

/* The modes that use a field, for a message about one that does not. */
static const char *modes_with(int field, apr_pool_t *p)
{
    const char *list = "";
    apr_size_t i;

    for (i = 0; i < MODES; i++) {
        if (modes[i].uses & field) {
            list = apr_pstrcat(p, list, *list ? ", " : "", modes[i].name, NULL);
        }
    }
    return list;
}

static const char *check_fields(const vapi_plan_t *plan, const vapi_words_t *words, apr_pool_t *p)
{
    apr_size_t i;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        int given = vapi_words_get(words, fields[i].key) != NULL;
        if (given && !(plan->mode->uses & fields[i].field)) {
            return apr_psprintf(p, "Vapi ignores %s= in the mode %s; it goes with %s", fields[i].key, plan->mode->name,
                                modes_with(fields[i].field, p));
        }
        if (!given && (plan->mode->needs & fields[i].field)) {
            return apr_psprintf(p, "the mode %s needs %s=", plan->mode->name, fields[i].key);
        }
    }
    if (vapi_words_get(words, "summary-user") && !vapi_words_get(words, "summary")) {
        return "summary-user= needs summary= beside it";
    }
    if (vapi_words_get(words, "fallback-end-call") && !vapi_words_get(words, "fallback-message")) {
        return "fallback-end-call= needs fallback-message= beside it";
    }
    if (vapi_words_get(words, "dial-timeout")
        && (!vapi_words_get(words, "verb") || strcmp(vapi_words_get(words, "verb"), "dial") != 0)) {
        return "dial-timeout= needs verb=dial";
    }
    return NULL;
}

static const char *read_text(vapi_text_t **text, const vapi_words_t *words, const char *key, vapi_place_t place, apr_pool_t *p,
                             apr_pool_t *ptemp)
{
    const char *written = vapi_words_get(words, key);

    return written && !*written ? apr_psprintf(p, "%s= is empty", key) : vapi_text_read(text, words, key, place, p, ptemp);
}

/* Whole seconds, as Vapi takes them. */
static const char *read_seconds(int *seconds, const vapi_words_t *words, const char *key, int min, int max, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key), *error;
    apr_interval_time_t time;

    if (!written) {
        return NULL;
    }
    error = vapi_word_time(&time, written, apr_time_from_sec(min), apr_time_from_sec(max), p);
    if (error || time % APR_USEC_PER_SEC) {
        return apr_psprintf(p, "%s=%s: must be %s", key, written, error ? error : "whole seconds");
    }
    *seconds = (int)apr_time_sec(time);
    return NULL;
}

static const char *read_flag(int *flag, const vapi_words_t *words, const char *key, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key), *error;

    *flag = -1;
    if (!written || (error = vapi_word_flag(flag, written)) == NULL) {
        return NULL;
    }
    return apr_psprintf(p, "%s=%s: must be %s", key, written, error);
}

static const char *read_audio(const char **url, const vapi_words_t *words, const char *key, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key);

    if (written && (strncmp(written, "https://", 8) != 0 || strlen(written) < 9 || strpbrk(written, " \"<>\\"))) {
        return apr_psprintf(p, "%s='%.80s': must be an https:// URL of an MP3 or WAV file", key, written);
    }
    *url = written;
    return NULL;
}

/* Vapi's phone provider knows five verbs here (W43); others are dropped or end the call. */
static const char *check_twiml(const char *twiml, apr_pool_t *p)
{
    static const char *const verbs[] = { "Play", "Say", "Gather", "Hangup", "Pause", "Response", NULL };
    const char *at;

    if (strlen(twiml) > TWIML_MAX) {
        return apr_psprintf(p, "twiml=: longer than %d characters", TWIML_MAX);
    }
    for (at = twiml; (at = strchr(at, '<')) != NULL; at++) {
        const char *name = at[1] == '/' ? at + 2 : at + 1;
        apr_size_t len = strcspn(name, " \t\r\n/>");
        int i, known = at[1] == '?' || at[1] == '!';
        for (i = 0; verbs[i] && !known; i++) {
            known = strlen(verbs[i]) == len && strncmp(verbs[i], name, len) == 0;
        }
        if (!known) {
            return apr_psprintf(p, "twiml=: <%.20s> is none of Play, Say, Gather, Hangup, Pause", apr_pstrmemdup(p, name, len));
        }
    }
    return NULL;
}

static const char *read_texts(vapi_plan_t *plan, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *error;

    if ((error = read_text(&plan->message, words, "message", place, p, ptemp)) != NULL
        || (error = read_text(&plan->summary, words, "summary", place, p, ptemp)) != NULL
        || (error = read_text(&plan->summary_user, words, "summary-user", place, p, ptemp)) != NULL
        || (error = read_text(&plan->twiml, words, "twiml", place, p, ptemp)) != NULL
        || (error = read_text(&plan->fallback_message, words, "fallback-message", place, p, ptemp)) != NULL) {
        return error;
    }
    if (plan->summary && vapi_text_reads(plan->summary)) {
        return "summary= is the system message of the summary: it may hold no value of the caller or the model (summary-user= may)";
    }
    return plan->twiml ? check_twiml(vapi_text_written(plan->twiml), p) : NULL;
}

const char *vapi_plan_make(vapi_plan_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    static const char *const verbs[] = { "refer", "bye", "dial", NULL };
    vapi_plan_t *plan = apr_pcalloc(p, sizeof(*plan));
    const char *error;

    plan->name = vapi_words_at(words, 0);
    plan->words = words;
    if (!plan->name) {
        return "a NAME and a MODE are missing, such as: brief warm-transfer-say-summary";
    }
    if (!vapi_word_is_name(plan->name)) {
        return apr_psprintf(p, "'%.40s' is no NAME: a letter, then letters, digits, _ and -", plan->name);
    }
    if ((error = find_mode(&plan->mode, vapi_words_at(words, 1), p)) != NULL
        || (error = vapi_words_check(words, rules, p)) != NULL
        || (error = check_fields(plan, words, p)) != NULL
        || (error = read_texts(plan, words, place, p, ptemp)) != NULL
        || (error = read_seconds(&plan->summary_timeout, words, "summary-timeout", 1, 60, p)) != NULL
        || (error = read_seconds(&plan->timeout, words, "timeout", 1, 600, p)) != NULL
        || (error = read_seconds(&plan->dial_timeout, words, "dial-timeout", 1, 600, p)) != NULL
        || (error = read_audio(&plan->hold_audio, words, "hold-audio", p)) != NULL
        || (error = read_audio(&plan->complete_audio, words, "complete-audio", p)) != NULL
        || (error = read_flag(&plan->fallback_end_call, words, "fallback-end-call", p)) != NULL
        || (error = read_flag(&plan->sip_headers_in_refer, words, "sip-headers-in-refer", p)) != NULL) {
        return error;
    }
    if (vapi_words_at(words, 2)) {
        return apr_psprintf(p, "'%s' is one word too many", vapi_words_at(words, 2));
    }
    plan->verb = vapi_words_get(words, "verb");
    if (plan->verb && vapi_word_choice(plan->verb, verbs, &error, p) < 0) {
        return apr_psprintf(p, "verb= %s", error);
    }
    *out = plan;
    return NULL;
}

const char *vapi_plan_name(const vapi_plan_t *plan)
{
    return plan->name;
}

int vapi_plan_is_classic_warm(const vapi_plan_t *plan)
{
    return plan->mode->classic_warm;
}

const char *vapi_plan_describe(const vapi_plan_t *plan, apr_pool_t *p)
{
    return apr_pstrcat(p, plan->name, " ", plan->mode->name, vapi_words_describe(plan->words, p), NULL);
}

/* Puts a text into the JSON object; 0 with *why when its value may not stand there. */
static int set_text(json_t *object, const char *key, const vapi_text_t *text, vapi_question_t *q, vapi_encoding encoding,
                    const char **why)
{
    const char *value;

    if (!text) {
        return 1;
    }
    if ((value = vapi_text_expand(text, q, encoding, why)) == NULL) {
        return 0;
    }
    json_object_set_new(object, key, vapi_text_json(value, q->pool));
    return 1;
}

static json_t *role(const char *who, const vapi_text_t *text, const char *otherwise, vapi_question_t *q, const char **why)
{
    json_t *message = json_pack("{s:s}", "role", who);

    if (!text) {
        json_object_set_new(message, "content", json_string(otherwise));
    }
    else if (!set_text(message, "content", text, q, VAPI_TEXT_PLAIN, why)) {
        json_decref(message);
        return NULL;
    }
    return message;
}

static int set_summary(json_t *object, const vapi_plan_t *plan, vapi_question_t *q, const char **why)
{
    json_t *summary, *messages, *system, *user;

    if (!plan->summary && !plan->summary_timeout) {
        return 1;
    }
    summary = json_pack("{s:b}", "enabled", 1);
    json_object_set_new(object, "summaryPlan", summary);
    if (plan->summary_timeout) {
        json_object_set_new(summary, "timeoutSeconds", json_integer(plan->summary_timeout));
    }
    if (!plan->summary) {
        return 1;
    }
    messages = json_array();
    json_object_set_new(summary, "messages", messages);
    if ((system = role("system", plan->summary, NULL, q, why)) == NULL) {
        return 0;
    }
    json_array_append_new(messages, system);
    if ((user = role("user", plan->summary_user, "{{transcript}}", q, why)) == NULL) {
        return 0;
    }
    json_array_append_new(messages, user);
    return 1;
}

static int set_fallback(json_t *object, const vapi_plan_t *plan, vapi_question_t *q, const char **why)
{
    json_t *fallback;

    if (!plan->fallback_message) {
        return 1;
    }
    fallback = json_object();
    json_object_set_new(object, "fallbackPlan", fallback);
    if (plan->fallback_end_call >= 0) {
        json_object_set_new(fallback, "endCallEnabled", json_boolean(plan->fallback_end_call));
    }
    return set_text(fallback, "message", plan->fallback_message, q, VAPI_TEXT_SPOKEN, why);
}

static int set_twiml(json_t *object, const vapi_plan_t *plan, vapi_question_t *q, const char **why)
{
    const char *twiml;

    if (!plan->twiml) {
        return 1;
    }
    if ((twiml = vapi_text_expand(plan->twiml, q, VAPI_TEXT_XML, why)) == NULL) {
        return 0;
    }
    if (strlen(twiml) > TWIML_MAX) {
        *why = "twiml is too long";
        return 0;
    }
    json_object_set_new(object, "twiml", vapi_text_json(twiml, q->pool));
    return 1;
}

static void set_seconds(json_t *object, const char *key, int seconds)
{
    if (seconds) {
        json_object_set_new(object, key, json_integer(seconds));
    }
}

static void set_string(json_t *object, const char *key, const char *value)
{
    if (value) {
        json_object_set_new(object, key, json_string(value));
    }
}

json_t *vapi_plan_json(const vapi_plan_t *plan, vapi_question_t *q)
{
    json_t *object = json_pack("{s:s}", "mode", plan->mode->name);
    const char *why;

    set_string(object, "sipVerb", plan->verb);
    set_seconds(object, "timeout", plan->timeout);
    set_seconds(object, "dialTimeout", plan->dial_timeout);
    set_string(object, "holdAudioUrl", plan->hold_audio);
    set_string(object, "transferCompleteAudioUrl", plan->complete_audio);
    if (plan->sip_headers_in_refer >= 0) {
        json_object_set_new(object, "sipHeadersInReferToEnabled", json_boolean(plan->sip_headers_in_refer));
    }
    if (!set_text(object, "message", plan->message, q, VAPI_TEXT_SPOKEN, &why) || !set_summary(object, plan, q, &why)
        || !set_fallback(object, plan, q, &why) || !set_twiml(object, plan, q, &why)) {
        json_decref(object);
        return NULL;
    }
    return object;
}
