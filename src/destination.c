/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Destinations. Everything that can be known at start-up is checked there; what a call decides (a number from a lookup, a
 * spoken text) is checked when it is made, and a destination that fails its check is unavailable, never guessed at.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#include <httpd.h>
#include <http_config.h>

#include "vapi_destination.h"
#include "vapi_dial.h"
#include "vapi_template.h"

#define CALLER_ID_MAX 40   /* W50 */
#define EXTENSION_MAX 10   /* W50 */

typedef struct sip_header_t {
    const char *name;
    vapi_text_t *value;
} sip_header_t;

struct vapi_destination_t {
    const char *name, *target;
    vapi_target_kind kind;
    const char *value;                /* the number, URI, name or id of a fixed target */
    vapi_text_t *runtime;             /* VAPI_TARGET_RUNTIME */
    vapi_template_t *json;            /* VAPI_TARGET_JSON */
    vapi_target_kind json_kind;       /* ... and what its `type` makes of it */
    vapi_text_t *say, *extension, *caller_id;
    const char *plan;
    apr_array_header_t *sip_headers;  /* sip_header_t */
    int e164;                         /* is the number checked by Vapi? */
    int from_caller;
    const char *context;              /* contextEngineeringPlan.type, NULL: none given */
    int context_messages;             /* of lastNMessages */
    vapi_place_t place;
    const vapi_words_t *words;
};

/* Which kinds each key makes sense for, as bits of vapi_target_kind. */
#define FOR(kind) (1 << (kind))
#define FOR_NUMBERS (FOR(VAPI_TARGET_NUMBER) | FOR(VAPI_TARGET_RUNTIME))
#define FOR_SIPS (FOR(VAPI_TARGET_SIP) | FOR(VAPI_TARGET_RUNTIME))
#define FOR_PHONES (FOR_NUMBERS | FOR_SIPS)
#define FOR_AGENTS (FOR(VAPI_TARGET_ASSISTANT) | FOR(VAPI_TARGET_ASSISTANT_ID) | FOR(VAPI_TARGET_SQUAD_ID))
#define FOR_ALL 0xff

static const struct {
    const char *name;
    int kinds;
} key_kinds[] = {
    { "say", FOR_ALL }, { "plan", FOR_PHONES }, { "extension", FOR_NUMBERS }, { "caller-id", FOR_PHONES }, { "e164", FOR_NUMBERS },
    { "sip-header", FOR_SIPS }, { "from-caller", FOR(VAPI_TARGET_RUNTIME) | FOR(VAPI_TARGET_JSON) }, { "context", FOR_AGENTS },
};

static const vapi_key_rule_t rules[] = {
    { "say", 0 }, { "plan", 0 }, { "extension", 0 }, { "caller-id", 0 }, { "e164", 0 }, { "sip-header", 1 }, { "from-caller", 0 }, { "context", 0 },
    { NULL, 0 }
};

static const char *const kind_names[] = {
    "a number", "a SIP URI", "an assistant", "an assistant", "a squad", "a json: destination", "a run-time target"
};

/* Who could be meant where: the table of targets by message type. */
int vapi_target_fits(vapi_target_kind kind, vapi_form form)
{
    static const char fits[4][5] = {
        /*                number sip assistant assistant-id squad-id */
        /* control   */ { 1,     1,  1,        1,           0 },
        /* transfer  */ { 1,     1,  1,        0,           0 },
        /* handoff   */ { 0,     0,  1,        1,           1 },
        /* assistant */ { 1,     1,  0,        1,           1 },
    };
    return kind < VAPI_TARGET_JSON ? fits[form][kind] : 1;
}

int vapi_destination_fits(const vapi_destination_t *d, vapi_form form)
{
    if (d->kind == VAPI_TARGET_RUNTIME) {
        return vapi_target_fits(VAPI_TARGET_NUMBER, form);
    }
    return vapi_target_fits(d->kind == VAPI_TARGET_JSON ? d->json_kind : d->kind, form);
}

static int is_uuid(const char *word)
{
    int i;

    for (i = 0; word[i]; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23 ? word[i] != '-' : !apr_isxdigit(word[i])) {
            return 0;
        }
    }
    return i == 36;
}

static const char *read_json(vapi_destination_t *d, const char *file, apr_pool_t *p, apr_pool_t *ptemp)
{
    const vapi_text_t *type;
    const char *error, *name;

    if ((file = ap_server_root_relative(p, file)) == NULL) {
        return "json: needs the path of a file";
    }
    if ((error = vapi_template_read(&d->json, file, p, ptemp)) != NULL) {
        return error;
    }
    type = vapi_template_text(d->json, "type");
    name = type ? vapi_text_written(type) : "";
    if (strcmp(name, "number") == 0 && vapi_template_text(d->json, "number")) {
        d->json_kind = VAPI_TARGET_NUMBER;
    }
    else if (strcmp(name, "sip") == 0 && vapi_template_text(d->json, "sipUri")) {
        d->json_kind = VAPI_TARGET_SIP;
    }
    else if (strcmp(name, "assistant") == 0 && vapi_template_text(d->json, "assistantName")) {
        d->json_kind = VAPI_TARGET_ASSISTANT;
    }
    else if (strcmp(name, "assistant") == 0 && (vapi_template_text(d->json, "assistantId") || vapi_template_member(d->json, "assistant"))) {
        d->json_kind = VAPI_TARGET_ASSISTANT_ID;
    }
    else if (strcmp(name, "squad") == 0 && (vapi_template_text(d->json, "squadId") || vapi_template_member(d->json, "squad"))) {
        d->json_kind = VAPI_TARGET_SQUAD_ID;
    }
    else {
        return apr_psprintf(p, "%s: must be a destination of Vapi: \"type\" number (with \"number\"), sip (\"sipUri\"), "
                               "assistant (\"assistantName\" or \"assistantId\") or squad (\"squadId\")", file);
    }
    return NULL;
}

/* The text that is dialled, where it is not known before the call: NULL for fixed targets. */
static const vapi_text_t *dialled_text(const vapi_destination_t *d)
{
    const vapi_text_t *text = d->runtime;

    if (d->kind == VAPI_TARGET_JSON && d->json_kind <= VAPI_TARGET_SIP) {
        text = vapi_template_text(d->json, d->json_kind == VAPI_TARGET_NUMBER ? "number" : "sipUri");
        return vapi_text_is_literal(text, NULL) ? NULL : text;
    }
    return text;
}

static const char *check_number(const char *number, int e164, apr_pool_t *p)
{
    if (e164 ? vapi_dial_is_e164(number) : vapi_dial_is_loose(number)) {
        return NULL;
    }
    return e164 ? apr_psprintf(p, "'%s' is not a number in E.164 form, such as +14155550100 (e164=off for others)", number)
                : apr_psprintf(p, "'%s' is not a number: + if any, then letters and digits, 3 to 40 in all", number);
}

static int has_scheme(const char *target, const char *scheme)
{
    return strncasecmp(target, scheme, strlen(scheme)) == 0;
}

static const char *read_target(vapi_destination_t *d, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *target = d->target, *error;

    if (has_scheme(target, "json:")) {
        d->kind = VAPI_TARGET_JSON;
        return read_json(d, target + 5, p, ptemp);
    }
    if (strstr(target, "%{")) {
        d->kind = VAPI_TARGET_RUNTIME;
        return vapi_text_parse(&d->runtime, target, d->place, p, ptemp);
    }
    if (has_scheme(target, "sip:") || has_scheme(target, "sips:")) {
        d->kind = VAPI_TARGET_SIP;
        d->value = target;
        error = vapi_dial_check_sip(target);
        return error ? apr_psprintf(p, "'%s' is not a SIP URI that Vapi takes: %s", target, error) : NULL;
    }
    if (has_scheme(target, "assistant:")) {
        d->kind = VAPI_TARGET_ASSISTANT;
        d->value = target + 10;
        return *d->value ? NULL : "'assistant:' needs the assistant's name, such as assistant:Triage";
    }
    if (has_scheme(target, "assistant-id:") || has_scheme(target, "squad-id:")) {
        d->kind = has_scheme(target, "squad-id:") ? VAPI_TARGET_SQUAD_ID : VAPI_TARGET_ASSISTANT_ID;
        d->value = strchr(target, ':') + 1;
        return is_uuid(d->value) ? NULL : apr_psprintf(p, "'%s' needs an id such as 3f2b9c1e-0000-4000-8000-000000000000", target);
    }
    if (*target == '+' || apr_isdigit(*target) || !d->e164) {
        d->kind = VAPI_TARGET_NUMBER;
        d->value = target;
        return check_number(target, d->e164, p);
    }
    return apr_psprintf(p, "'%s' is no target: a number such as +14155550100, sip:..., sips:..., assistant:NAME, assistant-id:UUID, squad-id:UUID, "
                           "json:FILE, or a text with %%{...}", target);
}

static const char *check_keys(const vapi_destination_t *d, apr_pool_t *p)
{
    apr_size_t i;

    for (i = 0; i < sizeof(key_kinds) / sizeof(key_kinds[0]); i++) {
        if (vapi_words_get(d->words, key_kinds[i].name) && !(key_kinds[i].kinds & FOR(d->kind))) {
            return apr_psprintf(p, "%s= does not go with %s", key_kinds[i].name, kind_names[d->kind]);
        }
    }
    return NULL;
}

static const char *read_text(vapi_text_t **text, const vapi_destination_t *d, const char *key, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *written = vapi_words_get(d->words, key), *error;

    if (!written) {
        return NULL;
    }
    error = vapi_text_parse(text, written, d->place, p, ptemp);
    return error ? apr_psprintf(p, "%s=: %s", key, error) : NULL;
}

static int is_extension(const char *text)
{
    return *text && strlen(text) <= EXTENSION_MAX && text[strspn(text, "0123456789*#,wWpP")] == '\0';
}

static int is_caller_id(const char *text)
{
    return *text && strlen(text) <= CALLER_ID_MAX && !strpbrk(text, "\r\n\t\"<>");
}

static const char *check_literals(const vapi_destination_t *d, apr_pool_t *p)
{
    const char *literal;

    if (d->extension && vapi_text_is_literal(d->extension, &literal) && !is_extension(literal)) {
        return apr_psprintf(p, "extension='%.40s': must be 1 to 10 of 0-9 * # , w p", literal);
    }
    if (d->caller_id && vapi_text_is_literal(d->caller_id, &literal) && !is_caller_id(literal)) {
        return apr_psprintf(p, "caller-id='%.80s': must be 1 to 40 characters: a number, {{customer.number}} or {{phoneNumber.number}}", literal);
    }
    return NULL;
}

static const char *read_sip_header(vapi_destination_t *d, const char *written, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *colon = strchr(written, ':'), *error;
    sip_header_t *header;
    apr_size_t i, len = colon ? (apr_size_t)(colon - written) : 0;

    if (len < 3 || strncasecmp(written, "X-", 2) != 0) {
        return apr_psprintf(p, "sip-header='%.80s': must be \"X-Name: text\" (only names that begin with X-)", written);
    }
    for (i = 0; i < len; i++) {
        if (!apr_isalnum(written[i]) && written[i] != '-') {
            return apr_psprintf(p, "sip-header='%.80s': a name is made of letters, digits and -", written);
        }
    }
    header = apr_array_push(d->sip_headers);
    header->name = apr_pstrmemdup(p, written, len);
    error = vapi_text_parse(&header->value, colon + 1 + strspn(colon + 1, " "), d->place, p, ptemp);
    return error ? apr_psprintf(p, "sip-header=: %s", error) : NULL;
}

static const char *read_context(vapi_destination_t *d, apr_pool_t *p)
{
    static const char *const choices[] = { "all", "none", "user-and-assistant", "previous-assistant", "last:N", NULL };
    static const char *const types[] = { "all", "none", "userAndAssistantMessages", "previousAssistantMessages" };
    const char *written = vapi_words_get(d->words, "context"), *error;
    apr_int64_t n;
    int choice;

    if (!written) {
        return NULL;
    }
    if (strncmp(written, "last:", 5) == 0) {
        if ((error = vapi_word_number(&n, written + 5, 0, 10000, p)) != NULL) {
            return apr_psprintf(p, "context=%s: must be %s after last:", written, error);
        }
        d->context = "lastNMessages";
        d->context_messages = (int)n;
        return NULL;
    }
    choice = vapi_word_choice(written, choices, &error, p);
    if (choice < 0 || choice > 3) {
        return apr_psprintf(p, "context= %s", choice < 0 ? error : "last:N needs a number");
    }
    d->context = types[choice];
    return NULL;
}

static const char *read_flags(vapi_destination_t *d, apr_pool_t *p)
{
    const char *written, *error;

    d->e164 = 1;
    if ((written = vapi_words_get(d->words, "e164")) != NULL && (error = vapi_word_flag(&d->e164, written)) != NULL) {
        return apr_psprintf(p, "e164=%s: must be %s", written, error);
    }
    if ((written = vapi_words_get(d->words, "from-caller")) != NULL && (error = vapi_word_flag(&d->from_caller, written)) != NULL) {
        return apr_psprintf(p, "from-caller=%s: must be %s", written, error);
    }
    return NULL;
}

static const char *read_keys(vapi_destination_t *d, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *error;
    int i;

    if ((error = check_keys(d, p)) != NULL || (error = read_text(&d->say, d, "say", p, ptemp)) != NULL
        || (error = read_text(&d->extension, d, "extension", p, ptemp)) != NULL
        || (error = read_text(&d->caller_id, d, "caller-id", p, ptemp)) != NULL
        || (error = check_literals(d, p)) != NULL || (error = read_context(d, p)) != NULL) {
        return error;
    }
    d->plan = vapi_words_get(d->words, "plan");
    d->sip_headers = apr_array_make(p, 2, sizeof(sip_header_t));
    for (i = 0; i < d->words->keys->nelts; i++) {
        vapi_key_t *key = &APR_ARRAY_IDX(d->words->keys, i, vapi_key_t);
        if (strcmp(key->name, "sip-header") == 0 && (error = read_sip_header(d, key->value, p, ptemp)) != NULL) {
            return error;
        }
    }
    return NULL;
}

/* A json: file may carry fixed targets, which are checked as those of the directive are. */
static const char *check_json_target(const vapi_destination_t *d, apr_pool_t *p)
{
    const vapi_text_t *text;
    const char *literal, *error = NULL;

    if (d->json_kind == VAPI_TARGET_NUMBER) {
        text = vapi_template_text(d->json, "number");
        error = vapi_text_is_literal(text, &literal)
                ? check_number(literal, !json_is_false(vapi_template_member(d->json, "numberE164CheckEnabled")), p) : NULL;
    }
    else if (d->json_kind == VAPI_TARGET_SIP) {
        text = vapi_template_text(d->json, "sipUri");
        error = vapi_text_is_literal(text, &literal) ? vapi_dial_check_sip(literal) : NULL;
        error = error ? apr_psprintf(p, "'%s' is not a SIP URI that Vapi takes: %s", literal, error) : NULL;
    }
    return error ? apr_psprintf(p, "%s: %s", d->target + strlen("json:"), error) : NULL;
}

const char *vapi_destination_make(vapi_destination_t **out, const vapi_words_t *words, vapi_place_t place, apr_array_header_t *warnings,
                                  apr_pool_t *p, apr_pool_t *ptemp)
{
    vapi_destination_t *d = apr_pcalloc(p, sizeof(*d));
    const vapi_text_t *text;
    const char *error;

    d->words = words;
    d->place = place;
    d->name = vapi_words_at(words, 0);
    d->target = vapi_words_at(words, 1);
    if (!d->name) {
        return "a NAME and a TARGET are missing, such as: billing +14155550100";
    }
    if (!vapi_word_is_name(d->name)) {
        return apr_psprintf(p, "'%.40s' is no NAME: a letter, then letters, digits, _ and -", d->name);
    }
    if (strcmp(d->name, "none") == 0) {
        return "'none' is kept for the route that transfers nobody; name the destination otherwise";
    }
    if (!d->target || !*d->target) {
        return "a TARGET is missing, such as +14155550100, sip:oncall@pbx.example.com or assistant:Triage";
    }
    if (vapi_words_at(words, 2)) {
        return apr_psprintf(p, "'%s' is one word too many", vapi_words_at(words, 2));
    }
    if ((error = vapi_words_check(words, rules, p)) != NULL || (error = read_flags(d, p)) != NULL
        || (error = read_target(d, p, ptemp)) != NULL || (error = read_keys(d, p, ptemp)) != NULL
        || (d->kind == VAPI_TARGET_JSON && (error = check_json_target(d, p)) != NULL)) {
        return error;
    }
    text = dialled_text(d);
    if (text && (vapi_text_reads(text) & VAPI_READS_WORDS) && !d->from_caller) {
        APR_ARRAY_PUSH(warnings, const char *) = "the target reads what the caller or the model said: without from-caller=on it is never dialled";
    }
    *out = d;
    return NULL;
}

const char *vapi_destination_name(const vapi_destination_t *d)
{
    return d->name;
}

vapi_target_kind vapi_destination_kind(const vapi_destination_t *d)
{
    return d->kind;
}

const char *vapi_destination_plan(const vapi_destination_t *d)
{
    return d->plan;
}

vapi_place_t vapi_destination_place(const vapi_destination_t *d)
{
    return d->place;
}

const char *vapi_destination_describe(const vapi_destination_t *d, apr_pool_t *p)
{
    return apr_pstrcat(p, d->name, " ", d->target, vapi_words_describe(d->words, p), NULL);
}

int vapi_destination_is_runtime(const vapi_destination_t *d)
{
    return dialled_text(d) != NULL;
}

/* What the call yields for a run-time target: a word of VAPI_REASON, or NULL when it may be dialled. */
static const char *allowed_at_run_time(const vapi_destination_t *d, const char *dialled, const vapi_dial_rules_t *dial_rules, vapi_question_t *q)
{
    const vapi_text_t *text = dialled_text(d);
    int sip = has_scheme(dialled, "sip:") || has_scheme(dialled, "sips:");

    if (!text) {
        return NULL;
    }
    if ((vapi_text_reads(text) & VAPI_READS_WORDS) && !d->from_caller) {
        return "not-allowed";
    }
    if (sip ? vapi_dial_check_sip(dialled) != NULL || strcasestr(dialled, ";maddr") != NULL
            : (d->e164 ? !vapi_dial_is_e164(dialled) : !vapi_dial_is_loose(dialled))) {
        return "not-allowed";
    }
    return vapi_allow_passes(dial_rules->allow, dialled, q->pool) ? NULL : "not-allowed";
}

/* Only a telephone call can be put through to a telephone: Vapi drops others (W45). A payload that names no type is taken as one. */
static int is_telephone(const vapi_question_t *q)
{
    const char *type = q->message->call_type;
    return !*type || strcmp(type, "inboundPhoneCall") == 0 || strcmp(type, "outboundPhoneCall") == 0;
}

static json_t *context_json(const vapi_destination_t *d)
{
    json_t *context = json_pack("{s:s}", "type", d->context);

    if (strcmp(d->context, "lastNMessages") == 0) {
        json_object_set_new(context, "maxMessages", json_integer(d->context_messages));
    }
    return context;
}

/* An assistant or squad; contextEngineeringPlan is a handoff's (W28). */
static json_t *agent_json(const vapi_destination_t *d, vapi_form form, apr_pool_t *p)
{
    static const char *const members[] = { "assistantName", "assistantId", "squadId" };
    json_t *object = json_pack("{s:s}", "type", d->kind == VAPI_TARGET_SQUAD_ID ? "squad" : "assistant");

    json_object_set_new(object, members[d->kind - VAPI_TARGET_ASSISTANT], vapi_text_json(d->value, p));
    if (d->context && form != VAPI_FORM_TRANSFER_REQUEST) {
        json_object_set_new(object, "contextEngineeringPlan", context_json(d));
    }
    return object;
}

/* Adds a text to the destination where one was given; 0 when its value may not stand there. */
static int set_checked(json_t *object, const char *member, const vapi_text_t *text, int (*check)(const char *), vapi_question_t *q)
{
    const char *why, *value;

    if (!text) {
        return 1;
    }
    value = vapi_text_expand(text, q, VAPI_TEXT_PLAIN, &why);
    if (!value || !check(value)) {
        return 0;
    }
    json_object_set_new(object, member, vapi_text_json(value, q->pool));
    return 1;
}

static int set_sip_headers(json_t *object, const vapi_destination_t *d, vapi_question_t *q)
{
    json_t *headers = d->sip_headers->nelts ? json_object() : NULL;
    const char *why, *value;
    int i;

    if (headers) {
        json_object_set_new(object, "sipHeaders", headers);
    }
    for (i = 0; i < d->sip_headers->nelts; i++) {
        sip_header_t *header = &APR_ARRAY_IDX(d->sip_headers, i, sip_header_t);
        if ((value = vapi_text_expand(header->value, q, VAPI_TEXT_HEADER, &why)) == NULL) {
            return 0;
        }
        json_object_set_new(headers, header->name, vapi_text_json(value, q->pool));
    }
    return 1;
}

/* A number or SIP destination; NULL when a text of it cannot be made. */
static json_t *phone_json(const vapi_destination_t *d, const char *dialled, int sip, vapi_question_t *q)
{
    json_t *object = json_pack("{s:s, s:s}", "type", sip ? "sip" : "number", sip ? "sipUri" : "number", dialled);
    int good = set_checked(object, "callerId", d->caller_id, is_caller_id, q);

    if (sip) {
        good = good && set_sip_headers(object, d, q);
    }
    else {
        good = good && set_checked(object, "extension", d->extension, is_extension, q);
        if (!d->e164) {
            json_object_set_new(object, "numberE164CheckEnabled", json_false());
        }
    }
    if (!good) {
        json_decref(object);
        return NULL;
    }
    return object;
}

/* A json: file's texts for a telephone are checked as those of the directive are. */
static int json_fits_phone(const vapi_destination_t *d, const json_t *object)
{
    static const struct {
        const char *member;
        int (*check)(const char *);
    } checks[] = { { "callerId", is_caller_id }, { "extension", is_extension } };
    apr_size_t i;

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const vapi_text_t *text = vapi_template_text(d->json, checks[i].member);
        if (text && !vapi_text_is_literal(text, NULL) && !checks[i].check(json_string_value(json_object_get(object, checks[i].member)))) {
            return 0;
        }
    }
    return 1;
}

/* The plan that goes with a telephone; 0 when a text of it cannot be made. */
static int set_plan(json_t *object, const vapi_dial_rules_t *dial_rules, vapi_question_t *q)
{
    json_t *plan = vapi_plan_json(dial_rules->plan, q);
    return plan && json_object_set_new(object, "transferPlan", plan) == 0;
}

static apr_status_t forget(void *value)
{
    json_decref(value);
    return APR_SUCCESS;
}

/* assistant-request takes a destination, or an assistant or squad beside it (W29). */
static json_t *assistant_reply(json_t *object, vapi_target_kind kind)
{
    static const char *const members[] = { "assistantId", "assistant", "assistantOverrides", "squadId", "squad", "squadOverrides" };
    json_t *reply = json_object(), *value;
    apr_size_t i;

    if (kind <= VAPI_TARGET_SIP) {
        json_object_set_new(reply, "destination", object);
        return reply;
    }
    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if ((value = json_object_get(object, members[i])) != NULL) {
            json_object_set(reply, members[i], value);
        }
    }
    json_decref(object);
    return reply;
}

/* A json: file serves every form, and Vapi refuses a member that the form at hand does not know (W27, W31, W52). */
static void drop_foreign(json_t *object, vapi_target_kind kind, vapi_form form)
{
    static const char *const of_transfers[] = { "message", "transferMode", NULL };
    static const char *const of_handoffs[] = { "contextEngineeringPlan", "variableExtractionPlan", "assistantOverrides", NULL };
    const char *const *foreign = form == VAPI_FORM_TRANSFER_REQUEST ? of_handoffs : of_transfers;

    for (; kind > VAPI_TARGET_SIP && *foreign; foreign++) {
        json_object_del(object, *foreign);
    }
}

/*
 * Puts the destination into what is sent. It is spoken once (W38): over the control URL as `content`, in replies as the destination's `message`;
 * "" is silent, which over the control URL too only `message` can say. Takes over `object`.
 */
static json_t *wrap(json_t *object, vapi_target_kind kind, vapi_form form, const char *say, apr_pool_t *p)
{
    json_t *body;

    drop_foreign(object, kind, form);
    if (say && kind <= VAPI_TARGET_SIP && (form != VAPI_FORM_CONTROL || !*say)) {
        json_object_set_new(object, "message", vapi_text_json(say, p));
    }
    else if (say && form == VAPI_FORM_TRANSFER_REQUEST) {
        json_object_set_new(object, "message", vapi_text_json(say, p));
    }
    if (form == VAPI_FORM_ASSISTANT_REQUEST) {
        return assistant_reply(object, kind);
    }
    if (form != VAPI_FORM_CONTROL) {
        return json_pack("{s:o}", "destination", object);
    }
    body = json_pack("{s:s, s:o}", "type", kind <= VAPI_TARGET_SIP ? "transfer" : "handoff", "destination", object);
    if (say && *say) {
        json_object_del(object, "message");    /* a json: file may have one */
        json_object_set_new(body, "content", vapi_text_json(say, p));
    }
    return body;
}

/* What this call makes of the target: kind and, for telephones, what is dialled. */
static const char *resolve(const vapi_destination_t *d, const vapi_dial_rules_t *dial_rules, vapi_question_t *q, json_t *from_file, vapi_dialled_t *out)
{
    const char *why;

    out->kind = d->kind == VAPI_TARGET_JSON ? d->json_kind : d->kind;
    if (d->kind == VAPI_TARGET_RUNTIME) {
        out->dialled = vapi_text_expand(d->runtime, q, VAPI_TEXT_DIAL, &why);
        if (!out->dialled) {
            return "bad-argument";
        }
        out->kind = has_scheme(out->dialled, "sip:") || has_scheme(out->dialled, "sips:") ? VAPI_TARGET_SIP : VAPI_TARGET_NUMBER;
    }
    else if (out->kind <= VAPI_TARGET_SIP) {
        out->dialled = from_file ? json_string_value(json_object_get(from_file, out->kind == VAPI_TARGET_SIP ? "sipUri" : "number")) : d->value;
    }
    if (out->kind > VAPI_TARGET_SIP) {
        return NULL;
    }
    if (!is_telephone(q)) {
        return "wrong-transport";
    }
    out->is_own_line = strcmp(out->dialled, vapi_message_called(q->message)) == 0;
    if (out->is_own_line && dialled_text(d)) {
        return "not-allowed";    /* it would come straight back (T48); a fixed one is the administrator's own word, and is warned about */
    }
    return allowed_at_run_time(d, out->dialled, dial_rules, q);
}

const char *vapi_destination_dial(const vapi_destination_t *d, const vapi_dial_rules_t *dial_rules, vapi_question_t *q, vapi_dialled_t *out)
{
    const vapi_text_t *say_text = dial_rules->say ? dial_rules->say : d->say;
    const char *why = NULL, *say = NULL, *reason;
    json_t *object = NULL;

    memset(out, 0, sizeof(*out));
    if (!vapi_destination_fits(d, dial_rules->form)) {
        return "wrong-transport";
    }
    if (d->kind == VAPI_TARGET_JSON && (object = vapi_template_expand(d->json, q, &why)) == NULL) {
        return "bad-argument";
    }
    if ((reason = resolve(d, dial_rules, q, object, out)) == NULL && object && out->kind <= VAPI_TARGET_SIP && !json_fits_phone(d, object)) {
        reason = "bad-argument";
    }
    if (reason) {
        json_decref(object);
        return reason;
    }
    if (!object) {
        object = out->kind <= VAPI_TARGET_SIP ? phone_json(d, out->dialled, out->kind == VAPI_TARGET_SIP, q) : agent_json(d, dial_rules->form, q->pool);
    }
    out->dialled = out->dialled ? apr_pstrdup(q->pool, out->dialled) : NULL;    /* it may have been the object's own */
    if (!object || (dial_rules->plan && out->kind <= VAPI_TARGET_SIP && !set_plan(object, dial_rules, q))
        || (say_text && (say = vapi_text_expand(say_text, q, VAPI_TEXT_SPOKEN, &why)) == NULL)) {
        json_decref(object);
        return "bad-argument";
    }
    out->is_handoff = out->kind > VAPI_TARGET_SIP;
    out->body = wrap(object, out->kind, dial_rules->form, say, q->pool);
    apr_pool_cleanup_register(q->pool, out->body, forget, apr_pool_cleanup_null);
    return NULL;
}
