/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Three servers that know of each other through Redis alone take random steps on the same few members; one of them is killed
 * every now and then and starts anew. As in crowd_test.c a model beside them knows of leases that are surely held: nobody ever
 * holds more of them than his capacity, and at the end nobody can take less.
 *
 * The model knows less than is true, never more. A lease is known after it was had until right before it is released, or until
 * the earliest time at which it can end by itself. Who has just been given one looks at all that is known of its member twice:
 * what was there both times, and lasts longer, was held at the moment in between.
 */
#include "redis_store.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#define NODES    3
#define MEMBERS  7
#define SIZE     4                       /* of a pool: members p, p + 1 ... */
#define POOLS    4
#define KEPT     5
#define STEPS    36000
#define DEATHS   12
#define LONGEST  60000                   /* that anything lasts: microseconds */
#define PATIENCE apr_time_from_sec(60)

static const int capacities[MEMBERS] = { 1, 2, 3, 1, 1, 2, 1 };

/** A lease that is surely held before `until` as long as its token stands here. The token is written last, and taken away first.
 */
typedef struct known_t {
    _Atomic apr_uint64_t token;
    _Atomic apr_time_t until;
    _Atomic int member;
} known_t;

typedef struct model_t {
    known_t known[NODES][KEPT];
    _Atomic long steps, leases, nobody, over;
    _Atomic int wrong, most;
} model_t;

/** One server. */
typedef struct node_t {
    vapi_state_t *st;
    known_t *known;
    vapi_seat_t *members[MEMBERS], *pools[POOLS];
    unsigned seed;
} node_t;

static model_t *model;

/* In a process of its own cmocka's assertions do not help. */
#define MUST(condition)                                                                                                    \
    do {                                                                                                                   \
        if (!(condition)) {                                                                                                \
            fprintf(stderr, "# line %d: %s\n", __LINE__, #condition);                                                      \
            atomic_store(&model->wrong, 1);                                                                                \
            _exit(1);                                                                                                      \
        }                                                                                                                  \
    } while (0)

static apr_time_t now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (apr_time_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static int chance(node_t *n, int of)
{
    return rand_r(&n->seed) % of;
}

static apr_interval_time_t some_time(node_t *n)
{
    return 1000 + chance(n, LONGEST - 1000);
}

typedef struct look_t {
    apr_uint64_t token[NODES * KEPT];
    apr_time_t until[NODES * KEPT];
} look_t;

static void look(look_t *to, int member)
{
    int i;

    for (i = 0; i < NODES * KEPT; i++) {
        const known_t *k = &model->known[i / KEPT][i % KEPT];
        int of = atomic_load(&k->member);

        to->until[i] = atomic_load(&k->until);
        to->token[i] = of == member ? atomic_load(&k->token) : 0;
    }
}

static void check_member(int member)
{
    look_t first, second;
    apr_time_t at;
    int i, held = 0;

    look(&first, member);
    look(&second, member);
    at = now();
    for (i = 0; i < NODES * KEPT; i++) {
        held += first.token[i] && first.token[i] == second.token[i] && second.until[i] > at;
    }
    MUST(held <= capacities[member]);
    if (held * 100 / capacities[member] > atomic_load(&model->most)) {
        atomic_store(&model->most, held * 100 / capacities[member]);
    }
}

static void take_one(node_t *n, known_t *k)
{
    vapi_candidate_t candidates[SIZE];
    vapi_wish_t wish = { .candidates = candidates, .n = SIZE, .preferred = -1 };
    int i, which = chance(n, POOLS);
    apr_time_t before = now();
    vapi_lease_t lease;

    for (i = 0; i < SIZE; i++) {
        candidates[i] = (vapi_candidate_t){ n->members[which + i], capacities[which + i], 1 + i, chance(n, 8) == 0 };
    }
    wish.pool = n->pools[which];
    wish.strategy = (vapi_strategy)chance(n, VAPI_ORDERED + 1);
    wish.hold = some_time(n);
    MUST(n->st->provider->lease(n->st, &wish, &lease) == APR_SUCCESS);
    if (lease.chosen < 0) {
        atomic_fetch_add(&model->nobody, 1);
        return;
    }
    MUST(!candidates[lease.chosen].barred && lease.token >> 63);
    atomic_store(&k->member, which + lease.chosen);
    atomic_store(&k->until, before + wish.hold);
    atomic_store(&k->token, lease.token);
    atomic_fetch_add(&model->leases, 1);
    check_member(which + lease.chosen);
}

static void occupy_one(node_t *n, known_t *k)
{
    apr_interval_time_t span = some_time(n);
    apr_time_t was = atomic_load(&k->until), before = now();

    if (before + span < was) {
        atomic_store(&k->until, before + span);
    }
    if (n->st->provider->occupy(n->st, n->members[atomic_load(&k->member)], atomic_load(&k->token), span) == APR_SUCCESS) {
        atomic_store(&k->until, before + span);
        check_member(atomic_load(&k->member));
        return;
    }
    MUST(was <= now());
    atomic_store(&k->token, 0);
    atomic_fetch_add(&model->over, 1);
}

static void release_one(node_t *n, known_t *k)
{
    vapi_seat_t *member = n->members[atomic_load(&k->member)];
    apr_uint64_t token = atomic_load(&k->token);
    apr_time_t was = atomic_load(&k->until);
    apr_status_t rv;

    atomic_store(&k->token, 0);
    rv = n->st->provider->release(n->st, member, token, chance(n, 2) ? some_time(n) / 4 : -chance(n, 2));
    MUST(rv == APR_SUCCESS || (rv == APR_NOTFOUND && was <= now()));
    MUST(n->st->provider->release(n->st, member, token, 0) == APR_NOTFOUND);
}

static void step(node_t *n)
{
    known_t *k = &n->known[chance(n, KEPT)];

    if (atomic_load(&k->token) && atomic_load(&k->until) <= now() && chance(n, 2)) {
        atomic_store(&k->token, 0);      /* was left to end by itself */
    }
    if (!atomic_load(&k->token)) {
        take_one(n, k);
    }
    else if (chance(n, 3) == 0) {
        occupy_one(n, k);
    }
    else if (chance(n, 4)) {
        release_one(n, k);
    }
    if (chance(n, 80) == 0) {
        MUST(n->st->provider->rest(n->st, n->members[chance(n, MEMBERS)], some_time(n) / 4) == APR_SUCCESS);
    }
    atomic_fetch_add(&model->steps, 1);
}

static void seat_all(node_t *n)
{
    int i;

    for (i = 0; i < MEMBERS; i++) {
        const char *key = apr_psprintf(pool, "member %d", i);

        n->st->provider->seat(n->st, &n->members[i], key, strlen(key), pool);
    }
    for (i = 0; i < POOLS; i++) {
        const char *key = apr_psprintf(pool, "pool %d", i);

        n->st->provider->seat(n->st, &n->pools[i], key, strlen(key), pool);
    }
}

/* Which of them this is decides what it knows of: what one knew who died is known until it ends by itself. */
static pid_t start_node(int which, int life)
{
    pid_t pid = fork();

    if (pid == 0) {
        node_t n = { .known = model->known[which], .seed = (unsigned)(which * 1000 + life) };

        apr_pool_create(&pool, NULL);
        snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/%d-%d", which, life);
        n.st = apr_dir_make(dir, APR_FPROT_OS_DEFAULT, pool) == APR_SUCCESS ? open_redis("nodes") : NULL;
        MUST(n.st);
        seat_all(&n);
        while (atomic_load(&model->steps) < STEPS) {
            step(&n);
        }
        MUST(log_text[0] == '\0');
        _exit(0);
    }
    return pid;
}

static void kill_one(pid_t *pids, int which, int life)
{
    int i, status;

    kill(pids[which], SIGKILL);
    waitpid(pids[which], &status, 0);
    for (i = 0; i < KEPT; i++) {
        known_t *k = &model->known[which][i];

        if (atomic_load(&k->until) > now()) {
            apr_sleep(atomic_load(&k->until) - now());    /* its row is another's from now on */
        }
        atomic_store(&k->token, 0);
    }
    pids[which] = start_node(which, life);
}

/* All is over: everybody can be had as often as he has room. */
static void check_nobody_is_lost(void)
{
    node_t n = { .st = open_redis("nodes") };
    vapi_seat_view_t views[MEMBERS];
    vapi_lease_t lease;
    int i, k;

    seat_all(&n);
    apr_sleep(2L * LONGEST);
    assert_int_equal(n.st->provider->survey(n.st, n.members, MEMBERS, views), APR_SUCCESS);
    for (i = 0; i < MEMBERS; i++) {
        vapi_candidate_t candidate = { n.members[i], capacities[i], 1, 0 };
        vapi_wish_t wish = {
            .pool = n.pools[0], .strategy = VAPI_ORDERED, .candidates = &candidate, .n = 1, .preferred = -1, .hold = 60 * SEC
        };

        assert_int_equal(views[i].active, 0);
        assert_true(views[i].rest == 0);
        for (k = 0; k <= capacities[i]; k++) {
            assert_int_equal(n.st->provider->lease(n.st, &wish, &lease), APR_SUCCESS);
            assert_int_equal(lease.chosen, k < capacities[i] ? 0 : -1);
        }
    }
}

static void test_three_nodes(void **unused)
{
    apr_time_t end = now() + PATIENCE;
    pid_t pids[NODES];
    int i, status, deaths = 0;

    (void)unused;
    model = mmap(NULL, sizeof *model, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(model != MAP_FAILED);
    apr_pool_create(&pool, NULL);
    start_redis();
    for (i = 0; i < NODES; i++) {
        pids[i] = start_node(i, 0);
    }
    while (atomic_load(&model->steps) < STEPS && !atomic_load(&model->wrong) && now() < end) {
        apr_sleep(5000);
        if (deaths < DEATHS && atomic_load(&model->steps) > (deaths + 1) * (long)STEPS / (DEATHS + 2)) {
            kill_one(pids, deaths % NODES, deaths + 1);
            deaths++;
        }
    }
    assert_true(now() < end);
    for (i = 0; i < NODES; i++) {
        waitpid(pids[i], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(model->wrong, 0);
    print_message("# %ld steps, %ld leases, nobody free %ld times, %ld were over, %d deaths\n", model->steps, model->leases, model->nobody,
                  model->over, deaths);
    assert_int_equal(deaths, DEATHS);
    assert_int_equal(model->most, 100);
    check_nobody_is_lost();
    munmap(model, sizeof *model);
    apr_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_three_nodes) };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    begin_redis_tests(vapi_state_redis_module.register_hooks);
    failed = cmocka_run_group_tests_name("redis_nodes", tests, NULL, NULL);
    end_redis_tests();
    return failed;
}
