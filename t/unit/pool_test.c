/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>

#include "../../src/pool.h"
#include "vapi_clock.h"
#include "vapi_given.h"
#include "vapi_pool.h"
#include "vapi_trail.h"

#define SEC     apr_time_from_sec(1)
#define MANY    1000
#define TURNS   2000

/* ---- what stands in for httpd and its expressions ---- */

char *ap_server_root_relative(apr_pool_t *p, const char *name)
{
    return apr_pstrdup(p, name);
}

struct vapi_expression_t {
    const char *written;
};

const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp)
{
    (void)string, (void)place, (void)ptemp;
    *out = apr_palloc(p, sizeof(**out));
    (*out)->written = written;
    return strcmp(written, "%{wrong}") == 0 ? "there is no such variable" : NULL;
}

int vapi_expression_reads(const vapi_expression_t *e)
{
    return strstr(e->written, "arg:") ? VAPI_READS_WORDS : 0;
}

const char *vapi_expression_string(const vapi_expression_t *e, vapi_question_t *q, const char **error)
{
    (void)q, (void)error;
    return e->written;
}

/* ---- a store that notes what it is asked ---- */

static struct {
    vapi_wish_t wish;                  /* the latest; its candidates are copied */
    vapi_candidate_t candidates[MANY];
    vapi_lease_t answer;               /* what the next lease says, with... */
    apr_status_t trouble;              /* ... every verb's status */
    int leases, surveys, seats;
    apr_interval_time_t span, wrap_up; /* of the latest occupy and release */
    vapi_seat_t *seat;                 /* ... and whose */
    apr_hash_t *values;                /* key -> what was put */
    vapi_seat_view_t views[MANY];
} store;

struct vapi_seat_t {
    const char *key;
    apr_size_t len;
};

static int is_same(const vapi_seat_t *a, const vapi_seat_t *b)
{
    return a->len == b->len && memcmp(a->key, b->key, a->len) == 0;
}

static apr_status_t on_seat(vapi_state_t *st, vapi_seat_t **out, const char *key, apr_size_t len, apr_pool_t *p)
{
    (void)st;
    store.seats++;
    *out = apr_palloc(p, sizeof(**out));
    (*out)->key = apr_pmemdup(p, key, len);
    (*out)->len = len;
    return store.trouble;
}

static apr_status_t on_lease(vapi_state_t *st, const vapi_wish_t *wish, vapi_lease_t *out)
{
    (void)st;
    store.leases++;
    store.wish = *wish;
    if (wish->n <= MANY) {
        memcpy(store.candidates, wish->candidates, (size_t)wish->n * sizeof(*wish->candidates));
    }
    *out = store.answer;
    return store.trouble;
}

static apr_status_t on_occupy(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    (void)st;
    assert_int_equal(token, 77);
    store.seat = seat;
    store.span = span;
    return store.trouble;
}

static apr_status_t on_release(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    (void)st;
    assert_int_equal(token, 77);
    store.seat = seat;
    store.wrap_up = wrap_up;
    return store.trouble;
}

static apr_pool_t *pool;

static apr_status_t on_put(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t len, apr_interval_time_t keep)
{
    (void)st;
    store.span = keep;
    apr_hash_set(store.values, apr_pstrmemdup(pool, key, key_len), (apr_ssize_t)key_len, apr_pstrmemdup(pool, value, len));
    return store.trouble;
}

static apr_status_t on_get(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *len, apr_pool_t *p)
{
    (void)st, (void)p;
    *value = apr_hash_get(store.values, key, (apr_ssize_t)key_len);
    *len = *value ? strlen(*value) : 0;
    return *value ? store.trouble : APR_NOTFOUND;
}

static apr_status_t on_survey(vapi_state_t *st, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views)
{
    (void)st, (void)seats;
    store.surveys++;
    memcpy(views, store.views, (size_t)n * sizeof(*views));
    return store.trouble;
}

static const vapi_state_provider_t provider = {
    .name = "test", .put = on_put, .get = on_get, .seat = on_seat, .lease = on_lease, .occupy = on_occupy, .release = on_release, .survey = on_survey
};

static vapi_state_t state = { .provider = &provider };

/* ---- pools in short ---- */

static vapi_names_t names;
static apr_array_header_t *warnings;
static apr_array_header_t *faults;        /* const char *: "line: text" */
static unsigned int line;

static vapi_place_t here(void)
{
    vapi_place_t place = { "test.conf", ++line, NULL, NULL };
    return place;
}

static const vapi_words_t *words(const char *text)
{
    vapi_words_t *read = NULL;

    assert_null(vapi_words_read(&read, text, pool));
    return read;
}

static vapi_pool_t *make(const char *text)
{
    vapi_pool_t *made = NULL;

    assert_null(vapi_pool_make(&made, words(text), here(), pool));
    apr_hash_set(names.pools, vapi_pool_name(made), APR_HASH_KEY_STRING, made);
    return made;
}

static const char *add(vapi_pool_t *to, const char *text)
{
    return vapi_pool_add(to, words(text), here(), names.members, warnings, pool, pool);
}

static void destination(const char *text)
{
    vapi_destination_t *made = NULL;

    assert_null(vapi_destination_make(&made, words(text), here(), warnings, pool, pool));
    apr_hash_set(names.destinations, vapi_destination_name(made), APR_HASH_KEY_STRING, made);
}

static void on_fault(void *baton, vapi_place_t place, const char *text, apr_hash_t *known, const char *name)
{
    (void)baton;
    assert_true((known != NULL) == (name != NULL));
    APR_ARRAY_PUSH(faults, const char *) = apr_psprintf(pool, "%u: %s", place.line, text);
}

static void resolve(vapi_pool_t *made)
{
    vapi_pool_resolve(made, "host", &names, on_fault, NULL, pool);
}

static void expect_faults(const char *expected)
{
    assert_string_equal(apr_array_pstrcat(pool, faults, '|'), expected);
}

/* A pool of alice (two calls, billing and Spanish), bob (billing), carol (an assistant) and dave (a squad), put together. */
static vapi_pool_t *usual(const char *head)
{
    vapi_pool_t *made = make(head);

    assert_null(add(made, "alice +14155550121 capacity=2 skills=billing,es:2"));
    assert_null(add(made, "bob +14155550122 skills=billing"));
    assert_null(add(made, "carol assistant:Carol skills=es"));
    assert_null(add(made, "dave squad-id:3f2b9c1e-0000-4000-8000-000000000000"));
    resolve(made);
    expect_faults("");
    return made;
}

static vapi_desk_t desk;
static vapi_question_t question;
static vapi_message_t message;

/* The question is asked at a desk from now on. */
static void open_desk(vapi_pool_t *made)
{
    assert_int_equal(vapi_pool_seat(made, &state, pool), APR_SUCCESS);
    question.desk = &desk;
    store.answer.chosen = -1;
}

static const char *take(const vapi_pool_t *made, const char *wanted, int leave, vapi_form form, const apr_array_header_t *barred, vapi_taken_t *taken)
{
    vapi_skills_t *skills = NULL;

    assert_true(!wanted || vapi_skills_parse(&skills, wanted, pool) == NULL);
    return vapi_pool_take(made, skills, leave, form, barred, &question, taken);
}

/* Who takes the call, or the word why nobody does. */
static const char *who(const vapi_pool_t *made, const char *wanted, int leave, vapi_form form)
{
    vapi_taken_t taken;
    const char *why = take(made, wanted, leave, form, NULL, &taken);

    assert_true(why ? taken.pool == NULL : taken.pool == made && taken.member != NULL);
    return why ? why : taken.member->name;
}

static int set_up(void **unused)
{
    (void)unused;
    apr_pool_create(&pool, NULL);
    memset(&store, 0, sizeof(store));
    store.values = apr_hash_make(pool);
    memset(&names, 0, sizeof(names));
    names.destinations = apr_hash_make(pool);
    names.pools = apr_hash_make(pool);
    names.members = apr_hash_make(pool);
    names.plans = apr_hash_make(pool);
    warnings = apr_array_make(pool, 1, sizeof(const char *));
    faults = apr_array_make(pool, 1, sizeof(const char *));
    line = 0;
    memset(&message, 0, sizeof(message));
    message.call_type = "inboundPhoneCall";
    memset(&question, 0, sizeof(question));
    question.pool = pool;
    question.message = &message;
    question.names = &names;
    memset(&desk, 0, sizeof(desk));
    desk.state = &state;
    desk.host = "host";
    desk.call = "call";
    desk.caller = "+14155550199";
    desk.deadline = vapi_clock_now() + 5 * SEC;
    desk.pool = pool;
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    apr_pool_destroy(pool);
    return 0;
}

/* ---- start-up ---- */

static void what_a_pool_says(void **unused)
{
    vapi_pool_t *made = make("support");

    (void)unused;
    assert_string_equal(vapi_pool_name(made), "support");
    assert_string_equal(vapi_pool_strategy(made), "least-busy");
    assert_int_equal(vapi_pool_lease(made), 600 * SEC);
    assert_int_equal(vapi_pool_wrap_up(made), 0);
    assert_int_equal(vapi_pool_no_answer(made), 60 * SEC);
    assert_int_equal(vapi_pool_sticky(made), 0);
    assert_string_equal(vapi_pool_describe(made, pool), "support strategy=least-busy");
    made = make("sales strategy=ordered lease=1 wrap-up=500ms no-answer=0 sticky=744h");
    assert_string_equal(vapi_pool_strategy(made), "ordered");
    assert_int_equal(vapi_pool_lease(made), SEC);
    assert_int_equal(vapi_pool_wrap_up(made), SEC / 2);
    assert_int_equal(vapi_pool_no_answer(made), 0);
    assert_int_equal(vapi_pool_sticky(made), 31 * 86400 * SEC);
    assert_string_equal(vapi_pool_describe(made, pool), "sales strategy=ordered lease=1 wrap-up=500ms no-answer=0 sticky=744h");
    assert_int_equal(vapi_pool_size(made), 0);
}

static void skills_are_read(void **unused)
{
    static const char *const wrong[] = { ",", "es,", ",es", "es:", "es:0", "es:1001", "es:x", "2", "es fr", "es,es", "es:1:2", ":2" };
    static const char *const right[] = { "", "es", "es:1000", "es, fr:2 ,de", " es", "a-b_C9" };
    vapi_skills_t *skills;
    apr_array_header_t *many = apr_array_make(pool, 65, sizeof(const char *));
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_non_null(vapi_skills_parse(&skills, wrong[i], pool));
    }
    for (i = 0; i < sizeof(right) / sizeof(*right); i++) {
        assert_null(vapi_skills_parse(&skills, right[i], pool));
    }
    for (i = 0; i < 64; i++) {
        APR_ARRAY_PUSH(many, const char *) = apr_psprintf(pool, "s%d", (int)i);
    }
    assert_null(vapi_skills_parse(&skills, apr_array_pstrcat(pool, many, ','), pool));
    APR_ARRAY_PUSH(many, const char *) = "more";
    assert_non_null(vapi_skills_parse(&skills, apr_array_pstrcat(pool, many, ','), pool));
}

static void a_person_is_one_wherever(void **unused)
{
    vapi_pool_t *sales = make("sales"), *support = make("support strategy=weighted");

    (void)unused;
    assert_null(add(sales, "alice label=Ally skills=fr"));
    assert_null(add(sales, "bob"));
    assert_null(add(support, "alice +14155550121 capacity=2 weight=3 skills=es label=\"Alice B\" say=Hello"));
    assert_null(add(support, "bob billing"));
    destination("billing +14155550100 plan=brief");
    apr_hash_set(names.plans, "brief", APR_HASH_KEY_STRING, "brief");
    resolve(sales);
    resolve(support);
    expect_faults("");
    assert_ptr_equal(vapi_pool_find(sales, "alice"), vapi_pool_find(support, "alice"));
    assert_ptr_equal(vapi_pool_member(sales, 0), vapi_pool_find(support, "alice"));
    assert_null(vapi_pool_find(sales, "carol"));
    assert_string_equal(vapi_pool_member(sales, 0)->home, "host");
    assert_int_equal(vapi_pool_member(sales, 0)->capacity, 2);
    assert_int_equal(vapi_pool_capacity(sales), 3);
    assert_string_equal(vapi_destination_name(vapi_pool_member(sales, 1)->destination), "billing");
    assert_string_equal(vapi_pool_describe_member(sales, 0, pool), "alice +14155550121 capacity=2 skills=fr label=Ally say=Hello");
    assert_string_equal(vapi_pool_describe_member(support, 0, pool), "alice +14155550121 capacity=2 weight=3 skills=es label=\"Alice B\" say=Hello");
    assert_string_equal(vapi_pool_describe_member(sales, 1, pool), "bob billing capacity=1 plan=brief");
}

static void what_is_wrong_between_lines(void **unused)
{
    vapi_pool_t *made = make("support");

    (void)unused;
    assert_null(add(made, "alice"));                           /* 2 */
    assert_null(add(made, "bob nowhere"));
    assert_null(add(made, "carol assistant:Carol plan=brief"));
    assert_null(add(made, "dave +14155550124 plan=brief"));
    resolve(made);
    expect_faults("2: VapiMember alice: no line gives 'alice' a TARGET|3: VapiMember bob: there is no VapiDestination 'nowhere'"
                  "|4: VapiMember carol: plan= does not go with an assistant|5: VapiMember dave: there is no VapiTransferPlan 'brief'");
    assert_true(vapi_pool_fits(made, VAPI_FORM_CONTROL));    /* asked all the same before the start fails */
    assert_int_equal(warnings->nelts, 0);
}

static void a_person_of_a_virtual_host(void **unused)
{
    apr_hash_t *of_server = names.members;
    vapi_pool_t *inherited = make("inherited"), *own;
    const vapi_member_t *alice, *bob;

    (void)unused;
    assert_null(add(inherited, "alice +14155550121 capacity=2"));
    assert_null(add(inherited, "bob +14155550122"));
    resolve(inherited);
    alice = vapi_pool_find(inherited, "alice");
    bob = vapi_pool_find(inherited, "bob");

    names.members = apr_hash_make(pool);
    own = make("own");
    assert_null(add(own, "alice +14155550121"));
    assert_null(add(own, "bob +14155550122 capacity=2"));
    assert_true(vapi_member_is_same(alice, apr_hash_get(names.members, "alice", APR_HASH_KEY_STRING)));
    assert_false(vapi_member_is_same(bob, apr_hash_get(names.members, "bob", APR_HASH_KEY_STRING)));
    apr_hash_set(names.members, "alice", APR_HASH_KEY_STRING, NULL);
    names.members = apr_hash_overlay(pool, names.members, of_server);
    vapi_pool_resolve(own, "voice", &names, on_fault, NULL, pool);
    expect_faults("");
    assert_ptr_equal(vapi_pool_find(own, "alice"), alice);
    assert_string_equal(vapi_pool_find(own, "alice")->home, "host");
    assert_ptr_not_equal(vapi_pool_find(own, "bob"), bob);
    assert_string_equal(vapi_pool_find(own, "bob")->home, "voice");
    assert_string_equal(bob->home, "host");
}

static void seats_are_taken_once(void **unused)
{
    vapi_pool_t *made = usual("support"), *other = make("other");
    vapi_seat_t *seat;

    (void)unused;
    assert_null(add(other, "alice"));
    resolve(other);
    assert_int_equal(vapi_pool_seat(made, &state, pool), APR_SUCCESS);
    assert_int_equal(store.seats, 5);
    assert_int_equal(vapi_pool_seat(made, &state, pool), APR_SUCCESS);
    assert_int_equal(store.seats, 5);
    seat = vapi_pool_member(made, 0)->seat;
    assert_int_equal(vapi_pool_seat(other, &state, pool), APR_SUCCESS);
    assert_int_equal(store.seats, 6);
    assert_ptr_equal(vapi_pool_member(other, 0)->seat, seat);
    assert_int_equal(vapi_pool_seat_of(&seat, &state, "host", "alice", pool), APR_SUCCESS);
    assert_true(is_same(seat, vapi_pool_member(made, 0)->seat));
    vapi_pool_seat_of(&seat, &state, "other", "alice", pool);
    assert_false(is_same(seat, vapi_pool_member(made, 0)->seat) || is_same(seat, made->seat));
}

static void a_store_without_seats(void **unused)
{
    (void)unused;
    store.trouble = APR_EGENERAL;
    assert_int_equal(vapi_pool_seat(usual("support"), &state, pool), APR_EGENERAL);
}

/* ---- one call ---- */

static void without_a_store_everybody_is_free(void **unused)
{
    const vapi_pool_t *made = usual("support");

    (void)unused;
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, "", 0, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, "es", 0, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, "es:3", 0, VAPI_FORM_CONTROL), "no-match");
    assert_string_equal(who(made, "billing,es:2", 0, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, "chess", 0, VAPI_FORM_CONTROL), "no-match");
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_HANDOFF_REQUEST), "carol");
    assert_string_equal(who(made, "billing", 0, VAPI_FORM_HANDOFF_REQUEST), "no-match");
    assert_string_equal(who(made, NULL, 4, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, NULL, 5, VAPI_FORM_CONTROL), "busy");
    message.call_type = "webCall";
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "carol");
    assert_string_equal(who(made, "billing", 0, VAPI_FORM_CONTROL), "no-match");
    message.call_type = "";
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "alice");
}

static void who_is_barred_by_the_asker(void **unused)
{
    vapi_pool_t *made = usual("support");
    apr_array_header_t *barred = apr_array_make(pool, 2, sizeof(const vapi_member_t *));
    vapi_member_t stranger = *vapi_pool_member(made, 1);
    vapi_taken_t taken;

    (void)unused;
    APR_ARRAY_PUSH(barred, const vapi_member_t *) = vapi_pool_member(made, 0);
    APR_ARRAY_PUSH(barred, const vapi_member_t *) = &stranger;    /* bob of another virtual host */
    assert_null(take(made, "billing", 0, VAPI_FORM_CONTROL, barred, &taken));
    assert_string_equal(taken.member->name, "bob");
    APR_ARRAY_PUSH(barred, const vapi_member_t *) = vapi_pool_member(made, 1);
    assert_string_equal(take(made, "billing", 0, VAPI_FORM_CONTROL, barred, &taken), "no-match");
    assert_null(taken.pool);
}

static void what_the_store_is_asked(void **unused)
{
    vapi_pool_t *made = usual("support strategy=longest-idle sticky=60");
    vapi_taken_t taken;

    (void)unused;
    open_desk(made);
    store.answer.chosen = 1;
    store.answer.token = 77;
    assert_null(take(made, "billing", 3, VAPI_FORM_CONTROL, NULL, &taken));
    assert_ptr_equal(taken.pool, made);
    assert_string_equal(taken.member->name, "bob");
    assert_string_equal(taken.label, "bob");
    assert_null(taken.plan);
    assert_null(taken.say);
    assert_int_equal(taken.token, 77);
    assert_ptr_equal(store.wish.pool, made->seat);
    assert_int_equal(store.wish.strategy, VAPI_LONGEST_IDLE);
    assert_int_equal(store.wish.n, 4);
    assert_int_equal(store.wish.leave, 3);
    assert_int_equal(store.wish.preferred, -1);
    assert_int_equal(store.wish.only_look, 0);
    assert_true(store.wish.hold > 5 * SEC && store.wish.hold <= 6 * SEC);
    assert_true(store.candidates[0].capacity == 2 && store.candidates[1].capacity == 1);
    assert_true(!store.candidates[0].barred && !store.candidates[1].barred && store.candidates[2].barred && store.candidates[3].barred);
    assert_ptr_equal(store.candidates[1].seat, vapi_pool_member(made, 1)->seat);
    desk.only_look = 1;
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.only_look, 1);
    assert_int_equal(made->candidates[2].barred, 0);    /* the pool's own is left as it is */
}

static void what_the_store_says_of_nobody(void **unused)
{
    vapi_pool_t *made = usual("support");

    (void)unused;
    open_desk(made);
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "busy");
    store.answer.all_paused = 1;
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "paused");
    store.answer.chosen = 0;
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "alice");
    store.trouble = APR_ENOSPC;
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "busy");
    store.leases = 0;
    assert_string_equal(who(made, "chess", 0, VAPI_FORM_CONTROL), "no-match");
    assert_int_equal(store.leases, 0);
}

static void nobody_is_called_twice(void **unused)
{
    vapi_pool_t *made = usual("support");
    vapi_leg_t legs[] = { { .home = "host", .member = "alice", .status = "" }, { .home = "other", .member = "bob", .status = "" },
                          { .home = "", .member = "", .status = "" }, { .home = "host", .member = "gone", .status = "busy" } };
    vapi_leg_t last = { .home = "host", .member = "bob", .status = "no-answer" };
    apr_array_header_t *sent_to = apr_array_make(pool, 8, sizeof(const vapi_leg_t *));
    size_t i;

    (void)unused;
    open_desk(made);
    for (i = 0; i < sizeof(legs) / sizeof(*legs); i++) {
        APR_ARRAY_PUSH(sent_to, const vapi_leg_t *) = &legs[i];
    }
    desk.sent_to = sent_to;
    store.answer.chosen = 1;
    assert_string_equal(who(made, "billing", 0, VAPI_FORM_CONTROL), "bob");
    assert_true(store.candidates[0].barred && !store.candidates[1].barred);
    APR_ARRAY_PUSH(sent_to, const vapi_leg_t *) = &last;
    store.leases = 0;
    assert_string_equal(who(made, "billing", 0, VAPI_FORM_CONTROL), "busy");
    assert_int_equal(store.leases, 0);
}

static void who_is_preferred(void **unused)
{
    vapi_pool_t *made = usual("support sticky=60"), *loose = make("loose");
    vapi_taken_t taken;
    apr_size_t len, other;
    const char *one, *another;

    (void)unused;
    open_desk(made);
    store.answer.chosen = 1;
    assert_null(take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken));
    vapi_pool_remember(&desk, &taken);
    assert_int_equal(store.span, 60 * SEC);
    assert_int_equal(apr_hash_count(store.values), 1);
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, 1);
    take(made, "es", 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, -1);    /* he speaks no Spanish */
    vapi_pool_unlearn(&desk, made, "nobody");
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, 1);     /* it was not him that the caller missed */
    vapi_pool_unlearn(&desk, made, taken.member->name);
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, -1);

    vapi_pool_remember(&desk, &taken);
    desk.caller = "+14155550198";
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, -1);
    desk.caller = "";
    vapi_pool_remember(&desk, &taken);
    vapi_pool_unlearn(&desk, made, taken.member->name);
    take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken);
    assert_int_equal(store.wish.preferred, -1);
    desk.caller = "+14155550197";
    desk.only_look = 1;
    vapi_pool_remember(&desk, &taken);
    taken.pool = loose;
    vapi_pool_remember(&desk, &taken);
    assert_int_equal(apr_hash_count(store.values), 1);
    one = vapi_pool_sticky_key("a", made, "b", &len, pool);
    another = vapi_pool_sticky_key("a", loose, "b", &other, pool);
    assert_false(len == other && memcmp(one, another, len) == 0);
}

static void what_becomes_of_a_lease(void **unused)
{
    vapi_pool_t *made = usual("support lease=300 wrap-up=20");
    vapi_taken_t taken;

    (void)unused;
    open_desk(made);
    store.answer.chosen = 0;
    store.answer.token = 77;
    assert_null(take(made, NULL, 0, VAPI_FORM_CONTROL, NULL, &taken));
    assert_true(vapi_pool_occupy(&desk, &taken));
    assert_int_equal(store.span, 320 * SEC);
    assert_ptr_equal(store.seat, taken.member->seat);
    vapi_pool_give_back(&desk, &taken);
    assert_true(store.wrap_up < 0);
    store.trouble = APR_NOTFOUND;
    assert_false(vapi_pool_occupy(&desk, &taken));
    taken.token = 0;
    store.seat = NULL;
    assert_true(vapi_pool_occupy(&desk, &taken));
    vapi_pool_give_back(&desk, &taken);
    assert_null(store.seat);
}

static void counts_are_asked_once(void **unused)
{
    vapi_pool_t *made = usual("support");

    (void)unused;
    assert_string_equal(vapi_pool_count(made, "free", &question), "5");
    assert_string_equal(vapi_pool_count(made, "busy", &question), "0");
    question.answers = NULL;
    open_desk(made);
    store.views[0].active = 1;
    store.views[1].active = 1;
    store.views[2].presence = VAPI_PRESENCE_PAUSED;
    store.views[3].rest = 1;
    assert_string_equal(vapi_pool_count(made, "free", &question), "1");
    assert_string_equal(vapi_pool_count(made, "busy", &question), "2");
    assert_string_equal(vapi_pool_count(made, "members", &question), "4");
    assert_string_equal(vapi_pool_count(made, "other", &question), "");
    assert_int_equal(store.surveys, 1);
    question.answers = NULL;
    store.trouble = APR_EGENERAL;
    assert_string_equal(vapi_pool_count(made, "free", &question), "0");
    question.answers = NULL;
    store.trouble = APR_SUCCESS;
    store.views[0].active = 3;    /* its capacity was larger before a restart */
    assert_string_equal(vapi_pool_count(made, "free", &question), "0");
}

static void what_is_given_goes_first(void **unused)
{
    static const char *const wrong[] = { "pool:support", "pool:=busy", "pool:support=full", "pool:support=", "pool:support.free=-1", "pool:support.free=x",
                                         "pool:support.busy=1", "pool:support.free.x=1", "pool:nobody=busy", "pool:nobody.free=1" };
    vapi_pool_t *made = usual("support");
    vapi_given_t *given = vapi_given_make(pool);
    size_t i;

    (void)unused;
    for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_non_null(vapi_given_add(given, wrong[i], &names, pool));
    }
    assert_string_equal(vapi_given_add(given, "pool:nobody=busy", &names, pool), "there is no VapiPool 'nobody'");
    open_desk(made);
    question.given = given;
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "busy");    /* nothing is given of this pool: the store says so */
    assert_int_equal(store.leases, 1);
    assert_null(vapi_given_add(given, "pool:support=busy", &names, pool));
    assert_non_null(vapi_given_add(given, "pool:support=free", &names, pool));
    assert_string_equal(who(made, NULL, 0, VAPI_FORM_CONTROL), "busy");
    assert_string_equal(vapi_pool_count(made, "free", &question), "0");
    assert_string_equal(vapi_pool_count(made, "busy", &question), "5");

    question.given = given = vapi_given_make(pool);
    question.answers = NULL;
    assert_null(vapi_given_add(given, "pool:support=free", &names, pool));
    assert_string_equal(who(made, "es", 0, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, "chess", 0, VAPI_FORM_CONTROL), "no-match");
    assert_string_equal(vapi_pool_count(made, "free", &question), "5");

    question.given = given = vapi_given_make(pool);
    question.answers = NULL;
    assert_null(vapi_given_add(given, "pool:support.free=2", &names, pool));
    assert_string_equal(who(made, NULL, 1, VAPI_FORM_CONTROL), "alice");
    assert_string_equal(who(made, NULL, 2, VAPI_FORM_CONTROL), "busy");
    assert_string_equal(vapi_pool_count(made, "busy", &question), "3");
    assert_int_equal(store.leases, 1);
    assert_int_equal(store.surveys, 0);
}

/* How long it takes here beside the store; said, and far from what would be noticed. */
static void a_thousand_members(void **unused)
{
    vapi_pool_t *made = make("many");
    vapi_skills_t *skills;
    vapi_taken_t taken;
    apr_pool_t *request;
    apr_time_t began;
    double took;
    int i;

    (void)unused;
    for (i = 0; i < MANY; i++) {
        assert_null(add(made, apr_psprintf(pool, "m%d +1415555%04d skills=s%d,common:%d", i, i, i % 50, 1 + i % 3)));
    }
    resolve(made);
    open_desk(made);
    store.answer.chosen = MANY - 1;
    assert_null(vapi_skills_parse(&skills, "common:2,s49", pool));
    apr_pool_create(&request, pool);
    question.pool = desk.pool = request;
    began = vapi_clock_now();
    for (i = 0; i < TURNS; i++) {
        assert_null(vapi_pool_take(made, skills, 0, VAPI_FORM_CONTROL, NULL, &question, &taken));
        apr_pool_clear(request);
    }
    took = (double)(vapi_clock_now() - began) / TURNS;
    print_message("# choosing from %d members without the store: %.2f us\n", MANY, took);
    assert_true(took < 1000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_a_pool_says), TEST(skills_are_read), TEST(a_person_is_one_wherever), TEST(what_is_wrong_between_lines), TEST(a_person_of_a_virtual_host),
        TEST(seats_are_taken_once), TEST(a_store_without_seats), TEST(without_a_store_everybody_is_free), TEST(who_is_barred_by_the_asker),
        TEST(what_the_store_is_asked), TEST(what_the_store_says_of_nobody), TEST(nobody_is_called_twice), TEST(who_is_preferred),
        TEST(what_becomes_of_a_lease), TEST(counts_are_asked_once), TEST(what_is_given_goes_first), TEST(a_thousand_members),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    apr_initialize();
    failed = _cmocka_run_group_tests("pool", tests, sizeof(tests) / sizeof(*tests), NULL, NULL);
    apr_terminate();
    return failed;
}
