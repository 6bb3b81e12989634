/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Pools as they are read, line by line. What depends on other lines waits until all are read: pool.c. */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <string.h>

#include "pool.h"

#define DAY            apr_time_from_sec(86400)
#define LEASE          apr_time_from_sec(600)
#define NO_ANSWER      apr_time_from_sec(60)
#define STICKY_MAX     (31 * DAY)
#define CAPACITY_MAX   1000
#define WEIGHT_MAX     1000
#define LABEL_MAX      100     /* characters */
#define LEVEL_MAX      1000
#define SKILLS_MAX     64      /* of one member or route */
#define SKILL_NAME_MAX 64

static const vapi_key_rule_t pool_rules[] = {
    { "strategy", 0 }, { "lease", 0 }, { "wrap-up", 0 }, { "no-answer", 0 }, { "sticky", 0 }, { NULL, 0 }
};

static const vapi_key_rule_t member_rules[] = {
    { "capacity", 0 }, { "weight", 0 }, { "skills", 0 }, { "label", 0 }, { "say", 0 }, { "plan", 0 }, { NULL, 0 }
};

/* In the order of vapi_strategy. */
static const char *const strategies[] = { "least-busy", "longest-idle", "round-robin", "weighted", "ordered", NULL };

static const char *check_name(const char *name, const char *missing, apr_pool_t *p)
{
    if (!name) {
        return missing;
    }
    return vapi_word_is_name(name) ? NULL : apr_psprintf(p, "'%.40s' is no NAME: a letter, then letters, digits, _ and -", name);
}

/* ---- a pool ---- */

/* Leaves *out alone where the key is not given. */
static const char *read_time(apr_interval_time_t *out, const vapi_words_t *words, const char *key, apr_interval_time_t min,
                             apr_interval_time_t max, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key), *error = written ? vapi_word_time(out, written, min, max, p) : NULL;

    return error ? apr_psprintf(p, "%s=%s: must be %s", key, written, error) : NULL;
}

static const char *read_strategy(vapi_pool_t *pool, apr_pool_t *p)
{
    const char *written = vapi_words_get(pool->words, "strategy"), *error = NULL;
    int choice = written ? vapi_word_choice(written, strategies, &error, p) : VAPI_LEAST_BUSY;

    pool->strategy = (vapi_strategy)choice;
    return choice < 0 ? apr_psprintf(p, "strategy= %s", error) : NULL;
}

const char *vapi_pool_make(vapi_pool_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p)
{
    vapi_pool_t *pool = apr_pcalloc(p, sizeof(*pool));
    const char *error;

    pool->name = vapi_words_at(words, 0);
    pool->place = place;
    pool->words = words;
    pool->lease = LEASE;
    pool->no_answer = NO_ANSWER;
    pool->lines = apr_array_make(p, 8, sizeof(vapi_member_line_t *));
    pool->by_name = apr_hash_make(p);
    if ((error = check_name(pool->name, "a NAME is missing, such as: support", p)) != NULL) {
        return error;
    }
    if (vapi_words_at(words, 1)) {
        return apr_psprintf(p, "'%.40s' is one word too many (members stand on lines of their own)", vapi_words_at(words, 1));
    }
    if ((error = vapi_words_check(words, pool_rules, p)) != NULL || (error = read_strategy(pool, p)) != NULL
        || (error = read_time(&pool->lease, words, "lease", APR_USEC_PER_SEC, DAY, p)) != NULL
        || (error = read_time(&pool->wrap_up, words, "wrap-up", 0, DAY, p)) != NULL
        || (error = read_time(&pool->no_answer, words, "no-answer", 0, DAY, p)) != NULL
        || (error = read_time(&pool->sticky, words, "sticky", 0, STICKY_MAX, p)) != NULL) {
        return error;
    }
    *out = pool;
    return NULL;
}

const char *vapi_pool_strategy(const vapi_pool_t *pool)
{
    return strategies[pool->strategy];
}

/* ---- skills ---- */

static skill_t *find_skill(const apr_array_header_t *all, const char *name)
{
    int i;

    for (i = 0; i < all->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(all, i, skill_t).name, name) == 0) {
            return &APR_ARRAY_IDX(all, i, skill_t);
        }
    }
    return NULL;
}

/* One `NAME` or `NAME:LEVEL`; blanks around it count for nothing. */
static const char *read_skill(vapi_skills_t *skills, char *word, int is_put_together, apr_pool_t *p)
{
    char *colon = strchr(word, ':');
    apr_int64_t level = 1;
    const char *error;
    skill_t *same;

    if (is_put_together && !*word) {
        return NULL;
    }

    if (colon) {
        *colon = '\0';
        if ((error = vapi_word_number(&level, colon + 1, 1, LEVEL_MAX, p)) != NULL) {
            return apr_psprintf(p, "a skill's level must be %s", error);
        }
    }
    if (!vapi_word_is_name(word) || strlen(word) > SKILL_NAME_MAX) {
        return "must be NAME or NAME:LEVEL, parted by commas, such as billing,es:2";
    }
    if ((same = find_skill(skills->all, word)) != NULL) {
        same->level = level > same->level ? (int)level : same->level;
        return is_put_together ? NULL : apr_psprintf(p, "the skill '%s' is given twice", word);
    }
    if (skills->all->nelts == SKILLS_MAX) {
        return apr_psprintf(p, "takes %d skills at most", SKILLS_MAX);
    }
    APR_ARRAY_PUSH(skills->all, skill_t).name = word;
    APR_ARRAY_IDX(skills->all, skills->all->nelts - 1, skill_t).level = (int)level;
    return NULL;
}

static const char *read_skills(vapi_skills_t **out, const char *text, int is_put_together, apr_pool_t *p)
{
    vapi_skills_t *skills = apr_palloc(p, sizeof(*skills));
    char *word = apr_pstrdup(p, text), *comma, *end;
    const char *error;

    skills->written = text;
    skills->all = apr_array_make(p, 4, sizeof(skill_t));
    for (; *text; word = comma + 1) {
        comma = strchr(word, ',');
        end = comma ? comma : word + strlen(word);
        while (apr_isspace(*word)) {
            word++;
        }
        while (end > word && apr_isspace(end[-1])) {
            end--;
        }
        *end = '\0';
        if ((error = read_skill(skills, word, is_put_together, p)) != NULL) {
            return error;
        }
        if (!comma) {
            break;
        }
    }
    *out = skills;
    return NULL;
}

const char *vapi_skills_parse(vapi_skills_t **out, const char *text, apr_pool_t *p)
{
    return read_skills(out, text, 0, p);
}

const char *vapi_skills_of_call(vapi_skills_t **out, const char *text, apr_pool_t *p)
{
    return read_skills(out, text, 1, p);
}

/* ---- a member ---- */

static const char *read_count(int *out, const vapi_words_t *words, const char *key, int max, apr_pool_t *p)
{
    const char *written = vapi_words_get(words, key), *error;
    apr_int64_t n = 0;

    if (written && (error = vapi_word_number(&n, written, 1, max, p)) != NULL) {
        return apr_psprintf(p, "%s=%s: must be %s", key, written, error);
    }
    *out = (int)n;
    return NULL;
}

/* What is spoken for the name: nothing in it comes from a call. */
static const char *read_label(vapi_member_line_t *line, const vapi_words_t *words)
{
    const char *c;
    int characters = 0;

    line->label = vapi_words_get(words, "label");
    for (c = line->label; c && *c; c++) {
        if (apr_iscntrl(*c)) {
            return "label= must be one line, without control characters";
        }
        characters += (*c & 0xc0) != 0x80;
    }
    if (line->label && (!characters || characters > LABEL_MAX)) {
        return "label= must have 1 to 100 characters";
    }
    return line->label && strstr(line->label, "%{") ? "label= is spoken as it stands: it may hold no %{...}" : NULL;
}

static const char *read_line(vapi_member_line_t *line, const vapi_words_t *words, apr_pool_t *p, apr_pool_t *ptemp)
{
    const char *skills = vapi_words_get(words, "skills"), *error;

    line->name = vapi_words_at(words, 0);
    line->target = vapi_words_at(words, 1);
    line->plan = vapi_words_get(words, "plan");
    if ((error = check_name(line->name, "a NAME is missing, such as: alice +14155550121", p)) != NULL
        || (error = vapi_words_check(words, member_rules, p)) != NULL
        || (error = read_count(&line->capacity, words, "capacity", CAPACITY_MAX, p)) != NULL
        || (error = read_count(&line->weight, words, "weight", WEIGHT_MAX, p)) != NULL
        || (error = read_label(line, words)) != NULL
        || (error = vapi_text_read(&line->say, words, "say", line->place, p, ptemp)) != NULL) {
        return error;
    }
    if (vapi_words_at(words, 2)) {
        return apr_psprintf(p, "'%.40s' is one word too many", vapi_words_at(words, 2));
    }
    if (skills && (error = vapi_skills_parse(&line->skills, skills, p)) != NULL) {
        return apr_psprintf(p, "skills=%s: %s", skills, error);
    }
    if (line->capacity && !line->target) {
        return apr_psprintf(p, "capacity= stands on the line that gives the TARGET of '%s', not on one that only names it", line->name);
    }
    return NULL;
}

/* Does the line say of the person what is known already? */
static int is_same(const vapi_member_t *known, const vapi_member_line_t *line)
{
    return strcmp(known->target, line->target) == 0 && (!line->capacity || line->capacity == known->capacity);
}

int vapi_member_is_same(const vapi_member_t *known, const vapi_member_t *member)
{
    return is_same(known, member->line);
}

/* A target that is no name of a destination is one by itself. */
static const char *make_destination(vapi_member_t *member, const vapi_member_line_t *line, apr_array_header_t *warnings, apr_pool_t *p,
                                    apr_pool_t *ptemp)
{
    apr_array_header_t *reads_words = apr_array_make(ptemp, 1, sizeof(const char *));
    vapi_words_t *words = apr_palloc(p, sizeof(*words));
    vapi_destination_t *destination = NULL;
    const char *error;

    if (vapi_word_is_name(line->target)) {
        return NULL;
    }
    words->positional = apr_array_make(p, 2, sizeof(const char *));
    words->keys = apr_array_make(p, 1, sizeof(vapi_key_t));
    APR_ARRAY_PUSH(words->positional, const char *) = line->name;
    APR_ARRAY_PUSH(words->positional, const char *) = line->target;
    if ((error = vapi_destination_make(&destination, words, line->place, reads_words, p, ptemp)) != NULL) {
        return error;
    }
    if (reads_words->nelts) {
        APR_ARRAY_PUSH(warnings, const char *) =
            apr_psprintf(p, "%s: the target reads what the caller or the model said, and is never dialled: name a VapiDestination "
                            "with from-caller=on instead", line->name);
    }
    member->destination = destination;
    return NULL;
}

/* The person whose TARGET the line gives: a new one, or one that is known by the same. */
static const char *read_target(const vapi_member_line_t *line, apr_hash_t *members, apr_array_header_t *warnings, apr_pool_t *p,
                               apr_pool_t *ptemp)
{
    const vapi_member_t *known = apr_hash_get(members, line->name, APR_HASH_KEY_STRING);
    vapi_member_t *member;
    const char *error;

    if (known) {
        return is_same(known, line) ? NULL
               : apr_psprintf(p, "'%s' is one person: another TARGET or capacity stands in %s:%u", line->name, known->place.file,
                              known->place.line);
    }
    member = apr_pcalloc(p, sizeof(*member));
    member->name = line->name;
    member->target = line->target;
    member->capacity = line->capacity ? line->capacity : 1;
    member->place = line->place;
    member->line = line;
    if ((error = make_destination(member, line, warnings, p, ptemp)) == NULL) {
        apr_hash_set(members, member->name, APR_HASH_KEY_STRING, member);
    }
    return error;
}

const char *vapi_pool_add(vapi_pool_t *pool, const vapi_words_t *words, vapi_place_t place, apr_hash_t *members,
                          apr_array_header_t *warnings, apr_pool_t *p, apr_pool_t *ptemp)
{
    vapi_member_line_t *line = apr_pcalloc(p, sizeof(*line));
    const vapi_member_line_t *other;
    const char *error;

    line->place = place;
    if ((error = read_line(line, words, p, ptemp)) != NULL) {
        return error;
    }
    if ((other = apr_hash_get(pool->by_name, line->name, APR_HASH_KEY_STRING)) != NULL) {
        return apr_psprintf(p, "'%s' is given twice in this pool; first in %s:%u", line->name, other->place.file, other->place.line);
    }
    if (line->target && (error = read_target(line, members, warnings, p, ptemp)) != NULL) {
        return error;
    }
    if (line->weight && pool->strategy != VAPI_WEIGHTED) {
        APR_ARRAY_PUSH(warnings, const char *) = apr_psprintf(p, "%s: weight= counts with strategy=weighted, and this pool's is %s",
                                                              line->name, vapi_pool_strategy(pool));
    }
    line->index = pool->lines->nelts;
    APR_ARRAY_PUSH(pool->lines, vapi_member_line_t *) = line;
    apr_hash_set(pool->by_name, line->name, APR_HASH_KEY_STRING, line);
    return NULL;
}
