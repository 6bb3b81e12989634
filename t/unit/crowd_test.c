/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Eight processes take three million random steps on the same few members, and one of them is killed again and again. A model
 * beside the store knows of leases that are surely held; nobody may ever hold more of them than his capacity, and at the end
 * nobody can take less.
 *
 * The model knows less than is true, never more. A lease is known after it was had until right before it is released, or until
 * the earliest time at which it can end by itself; who is killed leaves it as it is. Who has just been given a lease looks at all
 * that is known of its member twice: what was there both times, and lasts longer, was held at the moment in between.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "state_store.h"

#define MEMBERS   12
#define POOLS     4
#define POOL_SIZE 6
#define PROCESSES 8
#define STEPS     3000000
#define KEPT      6                      /* leases that one process knows of */
#define INTERVAL  1000                   /* between two deaths, on average */
#define LONGEST   3000                   /* that anything lasts */
#define ENOUGH    1000000                /* of them where the machine is slow, which is so when GOING_ON is over */
#define GOING_ON  apr_time_from_sec(20)
#define PATIENCE  apr_time_from_sec(300)

static const int capacities[MEMBERS] = { 1, 2, 3, 4, 1, 1, 2, 2, 3, 1, 4, 1 };

/** A lease that is surely held before `until` as long as its token stands here. That is written last, and taken away first. */
typedef struct known_t {
    _Atomic apr_uint64_t token;
    _Atomic apr_time_t until;
    _Atomic int member;
} known_t;

/** In memory that all processes share. */
typedef struct model_t {
    known_t known[PROCESSES][KEPT];
    _Atomic long steps, leases, nobody, late;
    _Atomic int most;                    /* leases of one member that were known at once, in percent of his capacity */
} model_t;

/** One process. */
typedef struct crowd_t {
    vapi_state_table_t *t;
    model_t *model;
    known_t *known;                      /* its own row of the model */
    int mine[KEPT];                      /* which of them it may still end */
    vapi_seat_t *members[MEMBERS];
    vapi_seat_t *pools[POOLS];
    unsigned seed;
} crowd_t;

static int chance(crowd_t *c, int n)
{
    return rand_r(&c->seed) % n;
}

static apr_interval_time_t some_time(crowd_t *c)
{
    return 1 + chance(c, chance(c, 6) ? 100 : LONGEST);
}

/* ---- the model ---- */

typedef struct look_t {
    apr_uint64_t token[PROCESSES * KEPT];
    apr_time_t until[PROCESSES * KEPT];
} look_t;

/* `until` belongs to the token that is read after it. */
static void look(look_t *to, const model_t *model, int member)
{
    int i;

    for (i = 0; i < PROCESSES * KEPT; i++) {
        const known_t *k = &model->known[i / KEPT][i % KEPT];
        int of = atomic_load(&k->member);

        to->until[i] = atomic_load(&k->until);
        to->token[i] = of == member ? atomic_load(&k->token) : 0;
    }
}

static void check_member(crowd_t *c, int member)
{
    look_t first, second;
    apr_time_t now;
    int i, n = 0, percent;

    look(&first, c->model, member);
    look(&second, c->model, member);
    now = vapi_clock_now();
    for (i = 0; i < PROCESSES * KEPT; i++) {
        n += first.token[i] && first.token[i] == second.token[i] && second.until[i] > now;
    }
    MUST(n <= capacities[member]);
    percent = n * 100 / capacities[member];
    if (percent > atomic_load(&c->model->most)) {
        atomic_store(&c->model->most, percent);
    }
}

static void learn(known_t *k, int member, apr_uint64_t token, apr_time_t until)
{
    atomic_store(&k->member, member);
    atomic_store(&k->until, until);
    atomic_store(&k->token, token);
}

static void know_no_longer_than(known_t *k, apr_time_t until)
{
    if (until < atomic_load(&k->until)) {
        atomic_store(&k->until, until);
    }
}

/* ---- steps ---- */

/* @return 0: all that is known here is of somebody who was here before and died, or was left to end by itself */
static int take_one(crowd_t *c, int i)
{
    vapi_candidate_t candidates[POOL_SIZE];
    vapi_wish_t wish = { 0 };
    apr_time_t before = vapi_clock_now();
    int k, which = chance(c, POOLS);
    vapi_lease_t lease;

    if (atomic_load(&c->known[i].token) && atomic_load(&c->known[i].until) > before) {
        return 0;
    }
    atomic_store(&c->known[i].token, 0);
    for (k = 0; k < POOL_SIZE; k++) {
        int member = (which * 3 + k) % MEMBERS;

        candidates[k].seat = c->members[member];
        candidates[k].capacity = capacities[member];
        candidates[k].weight = 1 + k % 3;
        candidates[k].barred = chance(c, 8) == 0;
    }
    wish.pool = c->pools[which];
    wish.strategy = (vapi_strategy)chance(c, VAPI_ORDERED + 1);
    wish.candidates = candidates;
    wish.n = POOL_SIZE;
    wish.leave = chance(c, 4) ? 0 : chance(c, 4);
    wish.preferred = chance(c, 3) ? -1 : chance(c, POOL_SIZE);
    wish.hold = some_time(c);
    wish.only_look = chance(c, 16) == 0;
    MUST(vapi_state_table_lease(c->t, &wish, &lease) == APR_SUCCESS);
    if (!lease.token) {
        atomic_fetch_add(&c->model->nobody, lease.chosen < 0);
        return 1;
    }
    MUST(!candidates[lease.chosen].barred);
    k = (which * 3 + lease.chosen) % MEMBERS;
    learn(&c->known[i], k, lease.token, before + wish.hold);
    c->mine[i] = 1;
    atomic_fetch_add(&c->model->leases, 1);
    check_member(c, k);
    return 1;
}

/* It was known no longer than it could last. */
static void must_be_over(crowd_t *c, int i)
{
    MUST(atomic_load(&c->known[i].until) <= vapi_clock_now());
    atomic_store(&c->known[i].token, 0);
    c->mine[i] = 0;
    atomic_fetch_add(&c->model->late, 1);
}

static void occupy_one(crowd_t *c, int i)
{
    known_t *k = &c->known[i];
    apr_interval_time_t span = some_time(c);
    apr_time_t was = atomic_load(&k->until), before = vapi_clock_now();

    know_no_longer_than(k, before + span);
    if (vapi_state_table_occupy(c->t, c->members[atomic_load(&k->member)], atomic_load(&k->token), span) == APR_SUCCESS) {
        atomic_store(&k->until, before + span);
        check_member(c, atomic_load(&k->member));
        return;
    }
    MUST(was <= vapi_clock_now());
    must_be_over(c, i);
}

static void release_one(crowd_t *c, int i)
{
    known_t *k = &c->known[i];
    apr_uint64_t token = atomic_load(&k->token);
    apr_time_t was = atomic_load(&k->until), before = vapi_clock_now();
    apr_interval_time_t wrap_up = chance(c, 3) ? some_time(c) : -chance(c, 2);
    apr_status_t rv;

    if (wrap_up > 0) {
        know_no_longer_than(k, before + wrap_up);
    }
    else {
        atomic_store(&k->token, 0);
    }
    rv = vapi_state_table_release(c->t, c->members[atomic_load(&k->member)], token, wrap_up);
    MUST(rv == APR_SUCCESS || (rv == APR_NOTFOUND && was <= vapi_clock_now()));
    if (rv == APR_SUCCESS) {
        MUST(vapi_state_table_release(c->t, c->members[atomic_load(&k->member)], token, 0) == APR_NOTFOUND);
    }
    c->mine[i] = 0;
}

static void look_around(crowd_t *c)
{
    vapi_seat_view_t views[MEMBERS];
    int i;

    MUST(vapi_state_table_survey(c->t, c->members, MEMBERS, views) == APR_SUCCESS);
    for (i = 0; i < MEMBERS; i++) {
        MUST(views[i].active >= 0 && views[i].active <= capacities[i]);
        MUST(views[i].rest <= LONGEST && views[i].presence <= VAPI_PRESENCE_BUSY);
    }
}

/* @return whether the store was asked for anything */
static int step(crowd_t *c)
{
    int i = chance(c, KEPT), m = chance(c, MEMBERS);

    if (chance(c, 8) == 0) {
        sched_yield();                   /* there are fewer processors */
    }
    if (chance(c, 40) == 0) {
        look_around(c);
    }
    else if (chance(c, 100) == 0) {
        MUST(vapi_state_table_rest(c->t, c->members[m], some_time(c) / 10) == APR_SUCCESS);
    }
    else if (chance(c, 60) == 0) {
        MUST(vapi_state_table_present(c->t, c->members[m], (vapi_presence)(chance(c, 4) ? 0 : chance(c, 3))) == APR_SUCCESS);
    }
    else if (!c->mine[i]) {
        return take_one(c, i);
    }
    else if (chance(c, 3) == 0) {
        occupy_one(c, i);
    }
    else if (chance(c, 8)) {
        release_one(c, i);
    }
    else {
        c->mine[i] = 0;                  /* ends by itself */
        return 0;
    }
    return 1;
}

static vapi_seat_t *seat(vapi_state_table_t *t, const char *what, int i)
{
    const char *key = apr_psprintf(pool, "%s %d", what, i);
    vapi_seat_t *out;

    MUST(vapi_state_table_seat(t, &out, key, strlen(key), pool) == APR_SUCCESS);
    return out;
}

static crowd_t *join(vapi_state_table_t *t, model_t *model, int row, unsigned seed)
{
    crowd_t *c = apr_pcalloc(pool, sizeof *c);
    int i;

    c->t = t;
    c->model = model;
    c->known = model->known[row];
    c->seed = seed;
    for (i = 0; i < MEMBERS; i++) {
        c->members[i] = seat(t, "member", i);
    }
    for (i = 0; i < POOLS; i++) {
        c->pools[i] = seat(t, "pool", i);
    }
    return c;
}

static pid_t start(vapi_state_table_t *t, model_t *model, int row, unsigned seed)
{
    pid_t pid = fork();
    crowd_t *c;

    if (pid) {
        return pid;
    }
    alarm((unsigned)apr_time_sec(PATIENCE));
    c = join(t, model, row, seed);
    while (atomic_load(&model->steps) < STEPS) {
        atomic_fetch_add(&model->steps, step(c));
    }
    _exit(0);
}

/* ---- all of it ---- */

/* Those who have come to the end by themselves are found again. */
static void end(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

/* @return how many were killed */
static int run(vapi_state_table_t *t, model_t *model, int *found_locked)
{
    apr_time_t began = vapi_clock_now();
    pid_t pid[PROCESSES];
    int i, is_slow = 0, deaths = 0;

    for (i = 0; i < PROCESSES; i++) {
        pid[i] = start(t, model, i, (unsigned)i);
    }
    while (atomic_load(&model->steps) < (is_slow ? ENOUGH : STEPS) && vapi_clock_now() < began + PATIENCE) {
        apr_sleep((1 + rand() % (2 * INTERVAL)) * (is_slow ? 50 : 1));    /* a new process needs its time, too */
        i = rand() % PROCESSES;
        end(pid[i]);
        deaths++;
        *found_locked += check_roster_of(t);
        pid[i] = start(t, model, i, (unsigned)(PROCESSES + deaths));
        is_slow = vapi_clock_now() > began + GOING_ON;
    }
    for (i = 0; i < PROCESSES; i++) {
        end(pid[i]);
    }
    return deaths;
}

/* All has run out: each member can take exactly what his capacity is. */
static void check_capacities(vapi_state_table_t *t, model_t *model)
{
    crowd_t *c = join(t, model, 0, 0);
    vapi_candidate_t candidate = { 0 };
    vapi_wish_t wish = { 0 };
    vapi_seat_view_t view;
    vapi_lease_t lease;
    int i, n;

    wish.pool = c->pools[0];
    wish.candidates = &candidate;
    wish.n = 1;
    wish.preferred = -1;
    wish.hold = apr_time_from_sec(60);
    for (i = 0; i < MEMBERS; i++) {
        assert_int_equal(vapi_state_table_survey(t, &c->members[i], 1, &view), APR_SUCCESS);
        assert_int_equal(view.active, 0);
        assert_int_equal(vapi_state_table_present(t, c->members[i], VAPI_PRESENCE_AVAILABLE), APR_SUCCESS);
        candidate.seat = c->members[i];
        candidate.capacity = capacities[i];
        candidate.weight = 1;
        for (n = 0; n <= capacities[i]; n++) {
            assert_int_equal(vapi_state_table_lease(t, &wish, &lease), APR_SUCCESS);
            assert_int_equal(lease.chosen, n < capacities[i] ? 0 : -1);
        }
    }
}

static void test_crowd(void **unused)
{
    vapi_state_table_t *t = open_store(NULL, MB);
    model_t *model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int deaths, found_locked = 0;

    (void)unused;
    assert_ptr_not_equal(model, MAP_FAILED);
    deaths = run(t, model, &found_locked);
    print_message("# %ld steps, %ld leases, %ld times nobody was free, %ld leases ran out before their step\n",
                  (long)model->steps, (long)model->leases, (long)model->nobody, (long)model->late);
    print_message("# %d processes were killed, %d times one of them held the lock when it was looked at\n", deaths, found_locked);
    assert_true(model->steps >= ENOUGH);
    assert_true(model->leases > model->steps / 10 && model->nobody > 0 && model->late > 0);
    assert_int_equal(model->most, 100);  /* the model saw members that were full, and none that was more than that */
    apr_sleep(2 * LONGEST);
    check_capacities(t, model);
    munmap(model, sizeof *model);
    close_checked(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crowd, set_up, tear_down),
    };

    return run_store_tests(tests, sizeof tests / sizeof tests[0]);
}
