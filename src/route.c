/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_strings.h>
#include <string.h>

#include "vapi_lookup.h"
#include "vapi_map.h"
#include "vapi_route.h"

#define LEAVE_MAX 100000

#define SAY_UNREACHABLE "A system that is needed to decide about this transfer cannot be reached right now."

static const vapi_key_rule_t rules[] = {
    { "plan", 0 }, { "say", 0 }, { "skills", 0 }, { "leave", 0 }, { "result", 0 }, { "name", 0 }, { NULL, 0 }
};

/* map:NAME[:T] */
static const char *read_map(vapi_route_t *route, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *name = route->target + 4, *key = strchr(name, ':'), *error;
    vapi_reference_t *reference;

    route->map = key ? apr_pstrmemdup(p, name, (apr_size_t)(key - name)) : name;
    if (!vapi_word_is_name(route->map)) {
        return apr_psprintf(p, "'%s' is no TARGET: map:NAME or map:NAME:T, with the NAME of a VapiMap", route->target);
    }
    if (key && (error = vapi_text_parse(&route->map_key, key + 1, place, p, ptemp)) != NULL) {
        return apr_psprintf(p, "'%s': %s", route->target, error);
    }
    if (place.references) {
        reference = apr_array_push(place.references);
        reference->class = VAPI_NAME_MAP;
        reference->name = route->map;
        reference->owner = NULL;
        reference->file = place.file;
        reference->line = place.line;
    }
    return NULL;
}

/* skills= and leave=, of a pool; a map may lead to one. */
static const char *read_demands(vapi_route_t *route, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *leave = vapi_words_get(words, "leave"), *error, *literal;
    apr_int64_t n = 0;

    if (!route->pool && !route->map && (leave || vapi_words_get(words, "skills"))) {
        return "skills= and leave= go with a pool:NAME or map:NAME target";
    }
    if ((error = vapi_text_read(&route->skills, words, "skills", place, p, ptemp)) != NULL) {
        return error;
    }
    if (route->skills && vapi_text_is_literal(route->skills, &literal)
        && (error = vapi_skills_parse(&route->fixed_skills, literal, p)) != NULL) {
        return apr_psprintf(p, "skills=%s: %s", literal, error);
    }
    if (leave && (error = vapi_word_number(&n, leave, 0, LEAVE_MAX, p)) != NULL) {
        return apr_psprintf(p, "leave=%s: must be %s", leave, error);
    }
    route->leave = (int)n;
    return NULL;
}

static const char *read_target(vapi_route_t *route, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *error;

    if ((route->pool = vapi_names_pool(route->target)) != NULL) {
        if (!vapi_word_is_name(route->pool)) {
            return apr_psprintf(p, "'%s' is no TARGET: pool:NAME, with the NAME of a VapiPool", route->target);
        }
    }
    else if (strncmp(route->target, "map:", 4) == 0) {
        if ((error = read_map(route, place, p, ptemp)) != NULL) {
            return error;
        }
    }
    else if (!vapi_word_is_name(route->target)) {
        return apr_psprintf(p, "'%s' is no TARGET: the NAME of a VapiDestination, pool:NAME, map:NAME, or none", route->target);
    }
    if ((error = read_demands(route, words, place, p, ptemp)) != NULL) {
        return error;
    }
    if (route->is_none && (route->plan || route->say)) {
        return "plan= and say= do not go with none: nobody is transferred (result= is what the model gets)";
    }
    return NULL;
}

const char *vapi_route_make(vapi_route_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    vapi_route_t *route = apr_pcalloc(p, sizeof(*route));
    const char *when = vapi_words_at(words, 1), *error;

    route->place = place;
    route->target = vapi_words_at(words, 0);
    if (!route->target) {
        return "a TARGET is missing: the NAME of a VapiDestination, pool:NAME, map:NAME, or none";
    }
    route->is_none = strcmp(route->target, "none") == 0;
    route->plan = vapi_words_get(words, "plan");
    if ((error = vapi_words_check(words, rules, p)) != NULL
        || (error = vapi_text_read(&route->say, words, "say", place, p, ptemp)) != NULL
        || (error = vapi_text_read(&route->result, words, "result", place, p, ptemp)) != NULL
        || (error = read_target(route, words, place, p, ptemp)) != NULL) {
        return error;
    }
    if (vapi_words_at(words, 2)) {
        return apr_psprintf(p, "'%s' is one word too many (the whole expression stands in quotes)", vapi_words_at(words, 2));
    }
    route->label = vapi_words_get(words, "name");
    if (route->label && !vapi_word_is_name(route->label)) {
        return apr_psprintf(p, "name=%s: a letter, then letters, digits, _ and -", route->label);
    }
    if (when && (error = vapi_expression_parse(&route->when, when, 0, place, p, ptemp)) != NULL) {
        return apr_psprintf(p, "in \"%s\": %s", when, error);
    }
    *out = route;
    return NULL;
}

int vapi_route_has_label(const apr_array_header_t *table, const char *label)
{
    int i;

    for (i = 0; i < table->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(table, i, vapi_route_t *)->label, label) == 0) {
            return 1;
        }
    }
    return 0;
}

/* How many labels are the target, or made of it. */
static int labels_of(const apr_array_header_t *table, const char *target)
{
    apr_size_t len = strlen(target);
    int i, n = 0;

    for (i = 0; i < table->nelts; i++) {
        const char *label = APR_ARRAY_IDX(table, i, vapi_route_t *)->label;
        n += strncmp(label, target, len) == 0 && (label[len] == '\0' || label[len] == '#');
    }
    return n;
}

const char *vapi_route_add(apr_array_header_t *table, vapi_route_t *route, apr_pool_t *p)
{
    int number;

    if (route->label && vapi_route_has_label(table, route->label)) {
        return apr_psprintf(p, "name=%s: another route of this table has that name", route->label);
    }
    if (!route->label) {
        route->label = route->target;
        for (number = labels_of(table, route->target) + 1; vapi_route_has_label(table, route->label); number++) {
            route->label = apr_psprintf(p, "%s#%d", route->target, number);
        }
    }
    APR_ARRAY_PUSH(table, vapi_route_t *) = route;
    return NULL;
}

/* What was met while a route was tried says more than that it did not match. */
static const char *met(const vapi_question_t *q, const char *otherwise)
{
    if (q->met & VAPI_MET_LOOKUP_ERROR) {
        return "lookup-error";
    }
    return otherwise ? otherwise : q->met & VAPI_MET_CLOSED ? "closed" : NULL;
}

/* The name that the map's value gives, NULL where it has none for this call. */
static const char *mapped(const vapi_route_t *route, const vapi_names_t *names, vapi_question_t *q)
{
    const vapi_map_t *map = apr_hash_get(names->maps, route->map, APR_HASH_KEY_STRING);
    const char *why, *key = vapi_message_caller(q->message);

    if (route->map_key) {
        key = vapi_text_expand(route->map_key, q, VAPI_TEXT_DIAL, &why);
    }
    return map && key ? vapi_map_find(map, key, q->pool) : NULL;
}

/* Finds the plan, and makes what would be sent to out->destination. NULL, or the word why that cannot be. */
static const char *dial(const vapi_route_t *route, const vapi_names_t *names, vapi_form form, vapi_question_t *q,
                        vapi_decision_t *out)
{
    vapi_dial_rules_t dial_rules = { form, names->allow, NULL, route->say ? route->say : out->taken.say };
    const char *plan = route->plan;

    if (!plan) {
        plan = out->taken.pool ? out->taken.plan : out->destination ? vapi_destination_plan(out->destination) : NULL;
    }
    dial_rules.plan = plan ? apr_hash_get(names->plans, plan, APR_HASH_KEY_STRING) : NULL;
    if (!out->destination || (plan && !dial_rules.plan)) {
        return "no-match";    /* refused at start-up wherever the start can see it */
    }
    out->plan = dial_rules.plan;
    return vapi_destination_dial(out->destination, &dial_rules, q, &out->dialled);
}

/* Nobody of a pool is held any more: the route is not taken after all. */
static void give_back(vapi_question_t *q, vapi_decision_t *out)
{
    if (out->taken.pool && q->desk) {
        vapi_pool_give_back(q->desk, &out->taken);
    }
    memset(&out->taken, 0, sizeof(out->taken));
    q->member = NULL;
}

/* What this route asks of a member. 0: its text asks for what is no skill, so that nobody has it. */
static int find_skills(const vapi_route_t *route, vapi_question_t *q, vapi_skills_t **out)
{
    const char *why, *text = NULL;

    *out = route->fixed_skills;
    if (route->skills && !*out) {
        text = vapi_text_expand(route->skills, q, VAPI_TEXT_DIAL, &why);
        return text && vapi_skills_of_call(out, text, q->pool) == NULL;
    }
    return 1;
}

/* Takes a member whose target can be dialled for this call. NULL, or the word why there is none. */
static const char *dial_member(const vapi_route_t *route, const char *name, const vapi_names_t *names, vapi_form form,
                               vapi_question_t *q, vapi_decision_t *out)
{
    const vapi_pool_t *pool = apr_hash_get(names->pools, name, APR_HASH_KEY_STRING);
    apr_array_header_t *barred = apr_array_make(q->pool, 2, sizeof(const vapi_member_t *));
    const char *why = "no-match", *dialled = NULL;
    vapi_skills_t *skills;

    if (!pool || !find_skills(route, q, &skills)) {
        return why;
    }
    while ((why = vapi_pool_take(pool, skills, route->leave, form, barred, q, &out->taken)) == NULL) {
        out->destination = out->taken.member->destination;
        q->destination = out->taken.member->name;
        q->member = out->taken.label;
        if ((dialled = dial(route, names, form, q, out)) == NULL) {
            return NULL;
        }
        APR_ARRAY_PUSH(barred, const vapi_member_t *) = out->taken.member;
        give_back(q, out);
    }
    return dialled && strcmp(why, "no-match") == 0 ? dialled : why;
}

/* Makes what would be sent to what the route, or its map, names. */
static const char *dial_target(const vapi_route_t *route, const vapi_names_t *names, vapi_form form, vapi_question_t *q,
                               vapi_decision_t *out)
{
    const char *pool = vapi_names_pool(q->destination);

    memset(&out->taken, 0, sizeof(out->taken));
    if (pool) {
        return dial_member(route, pool, names, form, q, out);
    }
    out->destination = apr_hash_get(names->destinations, q->destination, APR_HASH_KEY_STRING);
    return dial(route, names, form, q, out);
}

/* Is the route to be taken? NULL: yes, and `out` says with what; else what its trace says, with *why. */
static const char *try_route(const vapi_route_t *route, const vapi_names_t *names, vapi_form form, vapi_question_t *q,
                             vapi_decision_t *out, const char **why)
{
    const char *values;    /* httpd's own words for an error may quote what was evaluated: a caller's, so they are dropped */
    int match;

    q->met = 0;
    q->barred = VAPI_ON_ERROR_CONTINUE;
    match = route->when ? vapi_expression_true(route->when, q, &values) : 1;
    *why = met(q, NULL);
    if (q->barred != VAPI_ON_ERROR_CONTINUE) {
        return "unavailable";
    }
    if (match <= 0) {
        return match < 0 ? "error" : "false";
    }
    q->route = route->label;
    q->target = route->target;
    q->member = NULL;
    q->destination = route->is_none ? "" : route->map ? mapped(route, names, q) : route->target;
    if (!q->destination) {
        *why = met(q, NULL);
        return q->barred != VAPI_ON_ERROR_CONTINUE ? "unavailable" : "false";
    }
    *why = route->is_none ? NULL : dial_target(route, names, form, q, out);
    if (*why || q->barred != VAPI_ON_ERROR_CONTINUE) {
        give_back(q, out);
        *why = met(q, *why);
        return "unavailable";
    }
    return NULL;
}

static void note(vapi_decision_t *out, const vapi_route_t *route, const char *result, const char *why)
{
    vapi_trace_t *trace = apr_array_push(out->trace);

    trace->route = route;
    trace->result = result;
    trace->why = why;
}

void vapi_route_decide(const apr_array_header_t *table, int from, const vapi_names_t *names, vapi_form form, vapi_question_t *q,
                       vapi_decision_t *out)
{
    const char *result, *why;
    int i;

    memset(out, 0, sizeof(*out));
    out->trace = apr_array_make(q->pool, table->nelts - from, sizeof(vapi_trace_t));
    out->reason = q->reason;
    for (i = from; i < table->nelts; i++) {
        const vapi_route_t *route = APR_ARRAY_IDX(table, i, vapi_route_t *);

        result = try_route(route, names, form, q, out, &why);
        note(out, route, result ? result : "matched", why);
        if (result && !out->error && strcmp(result, "error") == 0) {
            out->error = apr_psprintf(q->pool, "%s:%u: VapiRoute %s", route->place.file, route->place.line, route->label);
        }
        out->index = i;
        if (!result) {
            out->route = route;
            return;
        }
        if (why || !q->reason || !*q->reason) {
            q->reason = out->reason = why ? why : "no-match";    /* what is known better stands */
        }
        if (q->barred == VAPI_ON_ERROR_FAIL) {
            out->failed = SAY_UNREACHABLE;
            break;
        }
    }
    q->route = q->target = q->destination = q->member = NULL;
    out->destination = NULL;
    out->plan = NULL;
    if (!out->reason || !*out->reason) {
        q->reason = out->reason = "no-match";
    }
}

const vapi_route_t *vapi_route_last_resort(const apr_array_header_t *table)
{
    int i;

    for (i = 0; i < table->nelts; i++) {
        const vapi_route_t *route = APR_ARRAY_IDX(table, i, vapi_route_t *);
        if (route->is_none && !route->when) {
            return route;
        }
    }
    return NULL;
}
