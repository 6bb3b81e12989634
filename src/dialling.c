/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * A destination for one call: Vapi's JSON, in the form of a control POST or of a reply. What cannot be made as it should be makes the
 * destination unavailable; nothing is guessed.
 */
#include <apr_strings.h>
#include <string.h>
#include <strings.h>

#include "destination.h"
#include "vapi_dial.h"

/* What the call yields for a run-time target: a word of VAPI_REASON, or NULL when it may be dialled. */
static const char *allowed_at_run_time(const vapi_destination_t *d, const char *dialled, const vapi_dial_rules_t *dial_rules,
                                       vapi_question_t *q)
{
    const vapi_text_t *text = vapi_destination_dialled_text(d);
    const char *why;
    int sip = vapi_target_has_scheme(dialled, "sip:") || vapi_target_has_scheme(dialled, "sips:");

    if (!text) {
        return NULL;
    }
    q->read = 0;    /* a VapiSet may bring the caller's words along: what counts is what was really read */
    vapi_text_expand(text, q, VAPI_TEXT_DIAL, &why);
    if (((vapi_text_reads(text) | q->read) & VAPI_READS_WORDS) && !d->from_caller) {
        return "not-allowed";
    }
    if (d->kind == VAPI_TARGET_JSON && sip != (d->json_kind == VAPI_TARGET_SIP)) {
        return "not-allowed";    /* a file says which of them stands there */
    }
    if (sip ? vapi_dial_check_sip(dialled) != NULL || strcasestr(dialled, ";maddr") != NULL
            : (d->e164 ? !vapi_dial_is_e164(dialled) : !vapi_dial_is_loose(dialled))) {
        return "not-allowed";
    }
    return vapi_allow_passes(dial_rules->allow, dialled, q->pool) ? NULL : "not-allowed";
}

/* A payload that names no type is taken as a telephone call's. */
int vapi_destination_is_telephone(const vapi_question_t *q)
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
    int good = set_checked(object, "callerId", d->caller_id, vapi_destination_is_caller_id, q);

    if (sip) {
        good = good && set_sip_headers(object, d, q);
    }
    else {
        good = good && set_checked(object, "extension", d->extension, vapi_destination_is_extension, q);
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
    } checks[] = { { "callerId", vapi_destination_is_caller_id }, { "extension", vapi_destination_is_extension } };
    apr_size_t i;

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const vapi_text_t *text = vapi_template_text(d->json, checks[i].member);
        if (text && !vapi_text_is_literal(text, NULL)
            && !checks[i].check(json_string_value(json_object_get(object, checks[i].member)))) {
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
 * Puts the destination into what is sent. It is spoken once (W38): over the control URL as `content`, in replies as the
 * destination's `message`; "" is silent, which over the control URL too only `message` can say. Takes over `object`.
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
static const char *resolve(const vapi_destination_t *d, const vapi_dial_rules_t *dial_rules, vapi_question_t *q,
                           json_t *from_file, vapi_dialled_t *out)
{
    const char *why;

    out->kind = d->kind == VAPI_TARGET_JSON ? d->json_kind : d->kind;
    if (d->kind == VAPI_TARGET_RUNTIME) {
        out->dialled = vapi_text_expand(d->runtime, q, VAPI_TEXT_DIAL, &why);
        if (!out->dialled) {
            return "bad-argument";
        }
        out->kind = vapi_target_has_scheme(out->dialled, "sip:") || vapi_target_has_scheme(out->dialled, "sips:")
                        ? VAPI_TARGET_SIP
                        : VAPI_TARGET_NUMBER;
    }
    else if (out->kind <= VAPI_TARGET_SIP) {
        out->dialled = from_file
                           ? json_string_value(json_object_get(from_file, out->kind == VAPI_TARGET_SIP ? "sipUri" : "number"))
                           : d->value;
    }
    if (out->kind > VAPI_TARGET_SIP) {
        return NULL;
    }
    if (!vapi_destination_is_telephone(q)) {
        return "wrong-transport";
    }
    out->is_own_line = strcmp(out->dialled, vapi_message_called(q->message)) == 0;
    if (out->is_own_line && vapi_destination_dialled_text(d)) {
        return "not-allowed";    /* it would come straight back (T48); a fixed one is the administrator's own word, and is warned
                                    about */
    }
    return allowed_at_run_time(d, out->dialled, dial_rules, q);
}

const char *vapi_destination_dial(const vapi_destination_t *d, const vapi_dial_rules_t *dial_rules, vapi_question_t *q,
                                  vapi_dialled_t *out)
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
    if ((reason = resolve(d, dial_rules, q, object, out)) == NULL && object && out->kind <= VAPI_TARGET_SIP
        && !json_fits_phone(d, object)) {
        reason = "bad-argument";
    }
    if (reason) {
        json_decref(object);
        return reason;
    }
    if (!object) {
        object = out->kind <= VAPI_TARGET_SIP ? phone_json(d, out->dialled, out->kind == VAPI_TARGET_SIP, q)
                                              : agent_json(d, dial_rules->form, q->pool);
    }
    out->dialled = out->dialled ? apr_pstrdup(q->pool, out->dialled) : NULL;    /* it may have been the object's own */
    if (!object || (dial_rules->plan && out->kind <= VAPI_TARGET_SIP && !set_plan(object, dial_rules, q))
        || (say_text && (say = vapi_text_expand(say_text, q, VAPI_TEXT_SPOKEN, &why)) == NULL)) {
        json_decref(object);
        return "bad-argument";
    }
    out->is_handoff = out->kind > VAPI_TARGET_SIP;
    out->body = wrap(object, out->kind, dial_rules->form, say, q->pool);
    vapi_json_keep(out->body, q->pool);
    return NULL;
}
