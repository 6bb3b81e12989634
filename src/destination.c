/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Destinations at start-up: everything that can be known then is checked then. What a call decides (a number from the arguments,
 * a spoken text) is checked when it is made, in dialling.c.
 */
#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#include <httpd.h>
#include <http_config.h>

#include "destination.h"
#include "vapi_dial.h"

#define CALLER_ID_MAX 40   /* W50 */
#define EXTENSION_MAX 10   /* W50 */

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
    { "say", 0 }, { "plan", 0 }, { "extension", 0 }, { "caller-id", 0 }, { "e164", 0 }, { "sip-header", 1 }, { "from-caller", 0 },
    { "context", 0 }, { NULL, 0 }
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
    if ((error = vapi_template_read(&d->json, file, d->place, p, ptemp)) != NULL) {
        return error;
    }
    if (vapi_template_system_reads(d->json)) {
        return apr_psprintf(p, "%s: a message of role system may hold no value of the caller or the model", file);
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
    else if (strcmp(name, "assistant") == 0
             && (vapi_template_text(d->json, "assistantId") || vapi_template_member(d->json, "assistant"))) {
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

const vapi_text_t *vapi_destination_dialled_text(const vapi_destination_t *d)
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

int vapi_target_has_scheme(const char *target, const char *scheme)
{
    return strncasecmp(target, scheme, strlen(scheme)) == 0;
}

static const char *read_target(vapi_destination_t *d, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *target = d->target, *error;

    if (vapi_target_has_scheme(target, "json:")) {
        d->kind = VAPI_TARGET_JSON;
        return read_json(d, target + 5, p, ptemp);
    }
    if (strstr(target, "%{")) {
        d->kind = VAPI_TARGET_RUNTIME;
        return vapi_text_parse(&d->runtime, target, d->place, p, ptemp);
    }
    if (vapi_target_has_scheme(target, "sip:") || vapi_target_has_scheme(target, "sips:")) {
        d->kind = VAPI_TARGET_SIP;
        d->value = target;
        error = vapi_dial_check_sip(target);
        return error ? apr_psprintf(p, "'%s' is not a SIP URI that Vapi takes: %s", target, error) : NULL;
    }
    if (vapi_target_has_scheme(target, "assistant:")) {
        d->kind = VAPI_TARGET_ASSISTANT;
        d->value = target + 10;
        return *d->value ? NULL : "'assistant:' needs the assistant's name, such as assistant:Triage";
    }
    if (vapi_target_has_scheme(target, "assistant-id:") || vapi_target_has_scheme(target, "squad-id:")) {
        d->kind = vapi_target_has_scheme(target, "squad-id:") ? VAPI_TARGET_SQUAD_ID : VAPI_TARGET_ASSISTANT_ID;
        d->value = strchr(target, ':') + 1;
        return is_uuid(d->value) ? NULL : apr_psprintf(p, "'%s' needs an id such as 3f2b9c1e-0000-4000-8000-000000000000", target);
    }
    if (*target == '+' || apr_isdigit(*target) || !d->e164) {
        d->kind = VAPI_TARGET_NUMBER;
        d->value = target;
        return check_number(target, d->e164, p);
    }
    return apr_psprintf(p, "'%s' is no target: a number such as +14155550100, sip:..., sips:..., assistant:NAME, "
                           "assistant-id:UUID, squad-id:UUID, json:FILE, or a text with %%{...}", target);
}

const char *vapi_destination_refuses(const vapi_destination_t *d, const char *key, apr_pool_t *p)
{
    apr_size_t i;

    for (i = 0; i < sizeof(key_kinds) / sizeof(key_kinds[0]); i++) {
        if (strcmp(key_kinds[i].name, key) == 0 && !(key_kinds[i].kinds & FOR(d->kind))) {
            return apr_psprintf(p, "%s= does not go with %s", key, kind_names[d->kind]);
        }
    }
    return NULL;
}

static const char *check_keys(const vapi_destination_t *d, apr_pool_t *p)
{
    const char *error = NULL;
    apr_size_t i;

    for (i = 0; !error && i < sizeof(key_kinds) / sizeof(key_kinds[0]); i++) {
        error = vapi_words_get(d->words, key_kinds[i].name) ? vapi_destination_refuses(d, key_kinds[i].name, p) : NULL;
    }
    return error;
}

int vapi_destination_is_extension(const char *text)
{
    return *text && strlen(text) <= EXTENSION_MAX && text[strspn(text, "0123456789*#,wWpP")] == '\0';
}

int vapi_destination_is_caller_id(const char *text)
{
    return *text && strlen(text) <= CALLER_ID_MAX && !strpbrk(text, "\r\n\t\"<>");
}

static const char *check_literals(const vapi_destination_t *d, apr_pool_t *p)
{
    const char *literal;

    if (d->extension && vapi_text_is_literal(d->extension, &literal) && !vapi_destination_is_extension(literal)) {
        return apr_psprintf(p, "extension='%.40s': must be 1 to 10 of 0-9 * # , w p", literal);
    }
    if (d->caller_id && vapi_text_is_literal(d->caller_id, &literal) && !vapi_destination_is_caller_id(literal)) {
        return apr_psprintf(p,
                            "caller-id='%.80s': must be 1 to 40 characters: a number, {{customer.number}} or "
                            "{{phoneNumber.number}}", literal);
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

    if ((error = check_keys(d, p)) != NULL || (error = vapi_text_read(&d->say, d->words, "say", d->place, p, ptemp)) != NULL
        || (error = vapi_text_read(&d->extension, d->words, "extension", d->place, p, ptemp)) != NULL
        || (error = vapi_text_read(&d->caller_id, d->words, "caller-id", d->place, p, ptemp)) != NULL
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

const char *vapi_destination_make(vapi_destination_t **out, const vapi_words_t *words, vapi_place_t place,
                                  apr_array_header_t *warnings, apr_pool_t *p, apr_pool_t *ptemp)
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
    text = vapi_destination_dialled_text(d);
    if (text && (vapi_text_reads(text) & VAPI_READS_WORDS) && !d->from_caller) {
        APR_ARRAY_PUSH(warnings, const char *) =
            "the target reads what the caller or the model said: without from-caller=on it is never dialled";
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

int vapi_destination_is_phone(const vapi_destination_t *d)
{
    vapi_target_kind kind = d->kind == VAPI_TARGET_JSON ? d->json_kind : d->kind;

    return kind == VAPI_TARGET_NUMBER || kind == VAPI_TARGET_SIP || kind == VAPI_TARGET_RUNTIME;
}

int vapi_destination_is_runtime(const vapi_destination_t *d)
{
    return vapi_destination_dialled_text(d) != NULL;
}
