/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Pools once all is read: who is who, what each can do, and where they sit in the store. Nothing here changes while calls come. */
#include <stddef.h>

#include <apr_strings.h>
#include <string.h>

#include "pool.h"
#include "vapi_key.h"

static vapi_member_line_t *line_at(const vapi_pool_t *pool, int i)
{
    return APR_ARRAY_IDX(pool->lines, i, vapi_member_line_t *);
}

const vapi_member_line_t *vapi_pool_line(const vapi_pool_t *pool, int i)
{
    return line_at(pool, i);
}

/* ---- who is who ---- */

/** What one pool is put together with. */
typedef struct seen_t {
    const char *home;
    const vapi_names_t *names;
    vapi_pool_fault_fn *fault;
    void *baton;
    apr_pool_t *p;
} seen_t;

/* A name that is not among the known ones. */
static void report_missing(const seen_t *seen, const vapi_member_line_t *line, const char *what, const char *name, apr_hash_t *known)
{
    seen->fault(seen->baton, line->place, apr_psprintf(seen->p, "VapiMember %s: there is no %s '%s'", line->name, what, name), known, name);
}

/* The first pool that meets a person settles where it is at home: a virtual host's own pools come after those that it inherits. */
static void settle_member(const seen_t *seen, vapi_member_t *member)
{
    if (member->home) {
        return;
    }
    member->home = seen->home;
    if (!member->destination) {
        member->destination = apr_hash_get(seen->names->destinations, member->target, APR_HASH_KEY_STRING);
        if (!member->destination) {
            report_missing(seen, member->line, "VapiDestination", member->target, seen->names->destinations);
        }
    }
}

static void check_plan(const seen_t *seen, const vapi_member_line_t *line)
{
    const char *error = vapi_destination_refuses(line->member->destination, "plan", seen->p);

    if (error) {
        seen->fault(seen->baton, line->place, apr_psprintf(seen->p, "VapiMember %s: %s", line->name, error), NULL, NULL);
    }
    else if (!apr_hash_get(seen->names->plans, line->plan, APR_HASH_KEY_STRING)) {
        report_missing(seen, line, "VapiTransferPlan", line->plan, seen->names->plans);
    }
}

/* What this line leaves out. */
static void fill_in(vapi_member_line_t *line)
{
    const vapi_member_line_t *giver = line->member->line;

    line->weight = line->weight ? line->weight : giver->weight ? giver->weight : 1;
    line->skills = line->skills ? line->skills : giver->skills;
    line->label = line->label ? line->label : giver->label ? giver->label : line->name;
    line->say = line->say ? line->say : giver->say;
    line->plan = line->plan ? line->plan : giver->plan ? giver->plan : vapi_destination_plan(line->member->destination);
}

static void resolve_line(const seen_t *seen, vapi_member_line_t *line)
{
    line->member = apr_hash_get(seen->names->members, line->name, APR_HASH_KEY_STRING);
    if (!line->member) {
        seen->fault(seen->baton, line->place, apr_psprintf(seen->p, "VapiMember %s: no line gives '%s' a TARGET", line->name, line->name),
                    seen->names->members, line->name);
        return;
    }
    settle_member(seen, line->member);
    if (!line->member->destination) {
        return;
    }
    if (line->plan) {
        check_plan(seen, line);
    }
    fill_in(line);
}

/* ---- what each can do ---- */

static int reach_of(const vapi_member_t *member)
{
    int form, reach = 0;

    if (!member || !member->destination) {
        return 0;
    }
    for (form = VAPI_FORM_CONTROL; form <= VAPI_FORM_ASSISTANT_REQUEST; form++) {
        reach |= vapi_destination_fits(member->destination, (vapi_form)form) ? REACH_FORM(form) : 0;
    }
    return vapi_destination_is_phone(member->destination) ? reach | REACH_PHONE : reach;
}

/* A level of each member for each skill that anybody has: a call's wishes are held against columns of numbers. */
static void prepare_skills(vapi_pool_t *pool, const vapi_member_line_t *line, apr_pool_t *p)
{
    int i;

    for (i = 0; line->skills && i < line->skills->all->nelts; i++) {
        const skill_t *skill = &APR_ARRAY_IDX(line->skills->all, i, skill_t);
        unsigned short *levels = apr_hash_get(pool->skills, skill->name, APR_HASH_KEY_STRING);

        if (!levels) {
            levels = apr_pcalloc(p, (apr_size_t)pool->lines->nelts * sizeof(*levels));
            apr_hash_set(pool->skills, skill->name, APR_HASH_KEY_STRING, levels);
        }
        levels[line->index] = (unsigned short)skill->level;
    }
}

void vapi_pool_resolve(vapi_pool_t *pool, const char *home, const vapi_names_t *names, vapi_pool_fault_fn *fault, void *baton,
                       apr_pool_t *p)
{
    const seen_t seen = { home, names, fault, baton, p };
    int i;

    pool->home = home;
    pool->skills = apr_hash_make(p);
    pool->reach = apr_pcalloc(p, (apr_size_t)pool->lines->nelts + 1);
    for (i = 0; i < pool->lines->nelts; i++) {
        vapi_member_line_t *line = line_at(pool, i);

        resolve_line(&seen, line);
        prepare_skills(pool, line, p);
        pool->reach[i] = (unsigned char)reach_of(line->member);
        pool->capacity += line->member ? line->member->capacity : 0;
    }
}

/* ---- seats ---- */

static apr_status_t take_seat(vapi_seat_t **out, vapi_state_t *state, const char *class, const char *home, const char *name, apr_pool_t *p)
{
    const char *const words[] = { class, home, name };
    apr_size_t len;
    const char *key = vapi_key_join(words, sizeof(words) / sizeof(*words), &len, p);

    return state->provider->seat(state, out, key, len, p);
}

apr_status_t vapi_pool_seat_of(vapi_seat_t **out, vapi_state_t *state, const char *home, const char *name, apr_pool_t *p)
{
    return take_seat(out, state, "member", home, name, p);
}

apr_status_t vapi_pool_seat(vapi_pool_t *pool, vapi_state_t *state, apr_pool_t *p)
{
    apr_status_t rv;
    int i;

    if (pool->seat) {
        return APR_SUCCESS;    /* by another virtual host that has it, too */
    }
    rv = take_seat(&pool->seat, state, "pool", pool->home, pool->name, p);
    pool->seats = apr_pcalloc(p, (apr_size_t)pool->lines->nelts * sizeof(*pool->seats));
    pool->candidates = apr_pcalloc(p, (apr_size_t)pool->lines->nelts * sizeof(*pool->candidates));
    for (i = 0; rv == APR_SUCCESS && i < pool->lines->nelts; i++) {
        vapi_member_t *member = line_at(pool, i)->member;

        if (!member->seat) {
            rv = vapi_pool_seat_of(&member->seat, state, member->home, member->name, p);
        }
        pool->seats[i] = pool->candidates[i].seat = member->seat;
        pool->candidates[i].capacity = member->capacity;
        pool->candidates[i].weight = line_at(pool, i)->weight;
    }
    return rv;
}

/* ---- asking ---- */

const char *vapi_pool_name(const vapi_pool_t *pool)
{
    return pool->name;
}

vapi_place_t vapi_pool_place(const vapi_pool_t *pool)
{
    return pool->place;
}

int vapi_pool_size(const vapi_pool_t *pool)
{
    return pool->lines->nelts;
}

const vapi_member_t *vapi_pool_member(const vapi_pool_t *pool, int i)
{
    return line_at(pool, i)->member;
}

const vapi_member_t *vapi_pool_find(const vapi_pool_t *pool, const char *name)
{
    const vapi_member_line_t *line = apr_hash_get(pool->by_name, name, APR_HASH_KEY_STRING);

    return line ? line->member : NULL;
}

int vapi_pool_capacity(const vapi_pool_t *pool)
{
    return pool->capacity;
}

apr_interval_time_t vapi_pool_lease(const vapi_pool_t *pool)
{
    return pool->lease;
}

apr_interval_time_t vapi_pool_wrap_up(const vapi_pool_t *pool)
{
    return pool->wrap_up;
}

apr_interval_time_t vapi_pool_no_answer(const vapi_pool_t *pool)
{
    return pool->no_answer;
}

apr_interval_time_t vapi_pool_sticky(const vapi_pool_t *pool)
{
    return pool->sticky;
}

int vapi_pool_fits(const vapi_pool_t *pool, vapi_form form)
{
    int i;

    for (i = 0; i < pool->lines->nelts; i++) {
        if (pool->reach[i] & REACH_FORM(form)) {
            return 1;
        }
    }
    return 0;
}

static int can(const vapi_pool_t *pool, int i, const vapi_skills_t *skills)
{
    int j;

    for (j = 0; j < skills->all->nelts; j++) {
        const skill_t *skill = &APR_ARRAY_IDX(skills->all, j, skill_t);
        const unsigned short *levels = apr_hash_get(pool->skills, skill->name, APR_HASH_KEY_STRING);

        if (!levels || levels[i] < skill->level) {
            return 0;
        }
    }
    return 1;
}

int vapi_pool_can(const vapi_pool_t *pool, const vapi_skills_t *skills)
{
    int i;

    for (i = 0; i < pool->lines->nelts && !can(pool, i, skills); i++) {
    }
    return i < pool->lines->nelts;
}

/* ---- dumps ---- */

const char *vapi_pool_describe(const vapi_pool_t *pool, apr_pool_t *p)
{
    const char *given = vapi_words_get(pool->words, "strategy");

    return apr_pstrcat(p, pool->name, given ? "" : vapi_word_pair("strategy", vapi_pool_strategy(pool), p),
                       vapi_words_describe(pool->words, p), NULL);
}

const char *vapi_pool_describe_member(const vapi_pool_t *pool, int i, apr_pool_t *p)
{
    const vapi_member_line_t *line = line_at(pool, i);
    const char *text = apr_psprintf(p, "%s %s capacity=%d", line->name, line->member->target, line->member->capacity);

    if (pool->strategy == VAPI_WEIGHTED) {
        text = apr_psprintf(p, "%s weight=%d", text, line->weight);
    }
    return apr_pstrcat(p, text, line->skills ? vapi_word_pair("skills", line->skills->written, p) : "",
                       strcmp(line->label, line->name) != 0 ? vapi_word_pair("label", line->label, p) : "",
                       line->say ? vapi_word_pair("say", vapi_text_written(line->say), p) : "",
                       line->plan ? vapi_word_pair("plan", line->plan, p) : "", NULL);
}
