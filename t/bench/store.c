/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Measures the verbs of a store, and pools over it, without httpd:  store DIRECTORY MILLISECONDS WORD GROUP...
 *
 * WORD is what stands after VapiState: "shm", "redis://127.0.0.1:6379". Groups: clock, ping (redis only), leases, cold (a part of
 * these), crowd, verbs, take. Each row takes that many milliseconds and is one line of JSON: how often, the mean, median and 99th
 * percentile of single operations, and how many round trips one took. Two readings of the clock (row "clock") are in each.
 */
#include "outside.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <apr_strings.h>

#ifdef WITH_REDIS
#include <hiredis.h>
#endif

#include "latency.h"
#include "vapi_clock.h"
#include "vapi_given.h"
#include "vapi_pool.h"
#include "vapi_trail.h"

#define SEC     apr_time_from_sec(1)
#define MEMBERS 2000
#define CROWD   8                      /* processes at most */

static vapi_state_t *st;
static const char *word;
static long milliseconds;

#define VERB(name, ...) st->provider->name(st, __VA_ARGS__)

static void must(int so, const char *what)
{
    if (!so) {
        fprintf(stderr, "%s: not so: %s\n", word, what);
        exit(2);
    }
}

#define MUST(what) must(what, #what)

static uint64_t nanoseconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- one row ---- */

typedef struct row_t {
    latency_t latency;
    uint64_t ns;                       /* of all together */
    unsigned long trips;
} row_t;

static row_t row, other;               /* what is measured, and what is measured beside it */
static uint64_t end;

static void begin_row(void)
{
    memset(&row, 0, sizeof row);
    memset(&other, 0, sizeof other);
    end = nanoseconds() + (uint64_t)milliseconds * 1000000;
}

static int goes_on(void)
{
    return nanoseconds() < end;
}

static void add(row_t *to, uint64_t began)
{
    uint64_t took = nanoseconds() - began;

    latency_add(&to->latency, took);
    to->ns += took;
    to->trips += outside_trips;
}

#define TIMED(to, what)                                                                                                    \
    do {                                                                                                                   \
        uint64_t began_;                                                                                                   \
        outside_forget_trips();                                                                                            \
        began_ = nanoseconds();                                                                                            \
        MUST((what) == APR_SUCCESS);                                                                                       \
        add(to, began_);                                                                                                   \
    } while (0)

static void tell(const row_t *r, const char *what)
{
    double count = (double)(r->latency.count ? r->latency.count : 1);

    printf("{\"what\":\"%s\",\"count\":%.0f,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p99_us\":%.3f,\"trips\":%.2f}\n", what, count,
           (double)r->ns / count / 1000, latency_quantile(&r->latency, 0.5), latency_quantile(&r->latency, 0.99),
           (double)r->trips / count);
    fflush(stdout);
}

/* ---- pools ---- */

static vapi_seat_t *seats[MEMBERS];
static vapi_candidate_t candidates[MEMBERS];
static apr_uint64_t held[MEMBERS];
static vapi_wish_t wish;

static vapi_seat_t *seat(const char *name)
{
    vapi_seat_t *out;

    MUST(VERB(seat, &out, name, strlen(name), outside_pool) == APR_SUCCESS);
    return out;
}

static void set_wish(int n, vapi_strategy strategy)
{
    wish.pool = seat(apr_psprintf(outside_pool, "pool-%d-%d", n, (int)strategy));
    wish.strategy = strategy;
    wish.n = n;
    wish.hold = 600 * SEC;
}

/* Who holds a lease once has a place in the store, as in a server that has worked for some time. */
static void fill(int n, int full)
{
    vapi_strategy strategy = wish.strategy;
    vapi_lease_t lease;
    int i, room = wish.n;

    wish.strategy = VAPI_ORDERED;
    wish.n = 1;
    for (i = 0; i < n; i++) {
        wish.candidates = &candidates[i];
        MUST(VERB(lease, &wish, &lease) == APR_SUCCESS && lease.chosen == 0);
        held[i] = lease.token;
    }
    for (i = 0; i < n; i++) {
        if ((full == n / 2) ? i % 2 : i >= full) {
            MUST(VERB(release, seats[i], held[i], 0) == APR_SUCCESS);
            held[i] = 0;
        }
    }
    wish.candidates = candidates;
    wish.strategy = strategy;
    wish.n = room;
}

static void empty(int n)
{
    int i;

    for (i = 0; i < n; i++) {
        if (held[i]) {
            MUST(VERB(release, seats[i], held[i], 0) == APR_SUCCESS);
            held[i] = 0;
        }
    }
}

static void lease_and_release(void)
{
    vapi_lease_t lease;

    TIMED(&row, VERB(lease, &wish, &lease));
    MUST(lease.chosen >= 0);
    TIMED(&other, VERB(release, seats[lease.chosen], lease.token, 0));
}

static const char *const strategies[] = { "least-busy", "longest-idle", "round-robin", "weighted", "ordered" };

static void measure_lease(int n, vapi_strategy strategy, const char *how, int full)
{
    set_wish(n, strategy);
    fill(n, full);
    begin_row();
    while (goes_on()) {
        lease_and_release();
    }
    empty(n);
    tell(&row, apr_psprintf(outside_pool, "lease %d %s %s", n, strategies[strategy], how));
}

/* The processor's caches hold other things when a call comes in. */
static void measure_cold(int n, size_t much, const char *cache)
{
    volatile unsigned char *others = calloc(1, much);
    size_t i;

    MUST(others != NULL);
    set_wish(n, VAPI_LEAST_BUSY);
    fill(n, 0);
    begin_row();
    while (goes_on()) {
        for (i = 0; i < much; i += 64) {
            others[i]++;
        }
        lease_and_release();
    }
    tell(&row, apr_psprintf(outside_pool, "lease %d least-busy, not in %s", n, cache));
    empty(n);
    free((void *)others);
}

/* Nobody of them ever held a lease. */
static void measure_new(int n)
{
    vapi_candidate_t *nobody = apr_pmemdup(outside_pool, candidates, (apr_size_t)n * sizeof *nobody);
    vapi_lease_t lease;
    int i;

    for (i = 0; i < n; i++) {
        nobody[i].seat = seat(apr_psprintf(outside_pool, "new-%d", i));
    }
    set_wish(n, VAPI_LEAST_BUSY);
    wish.candidates = nobody;
    wish.only_look = 1;
    begin_row();
    while (goes_on()) {
        TIMED(&row, VERB(lease, &wish, &lease));
    }
    wish.candidates = candidates;
    wish.only_look = 0;
    tell(&row, apr_psprintf(outside_pool, "look at %d new ones", n));
}

static void measure_all_cold(void)
{
    measure_cold(1000, 4 << 20, "L2");
    measure_cold(1000, 64 << 20, "L3");
}

static void measure_leases(void)
{
    static const int sizes[] = { 10, 100, 1000, 2000 };
    size_t i;
    int s;

    measure_new(1000);
    measure_all_cold();
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (s = VAPI_LEAST_BUSY; s <= VAPI_ORDERED; s++) {
            measure_lease(sizes[i], (vapi_strategy)s, "free", 0);
            measure_lease(sizes[i], (vapi_strategy)s, "half", sizes[i] / 2);
            measure_lease(sizes[i], (vapi_strategy)s, "one-left", sizes[i] - 1);
        }
    }
}

/* ---- several processes on one pool ---- */

typedef struct crowd_t {
    _Atomic int ready;
    row_t rows[CROWD];
} crowd_t;

static void work_in_crowd(crowd_t *crowd, int who, int processes)
{
    vapi_lease_t lease;

    if (st->provider->child) {
        st->provider->child(st, NULL, outside_pool);
    }
    atomic_fetch_add(&crowd->ready, 1);
    while (atomic_load(&crowd->ready) < processes) {
        usleep(100);
    }
    begin_row();
    while (goes_on()) {
        TIMED(&row, VERB(lease, &wish, &lease));
        MUST(lease.chosen >= 0);
        MUST(VERB(occupy, seats[lease.chosen], lease.token, 600 * SEC) == APR_SUCCESS);
        MUST(VERB(release, seats[lease.chosen], lease.token, 0) == APR_SUCCESS);
    }
    crowd->rows[who] = row;
    _exit(0);
}

static void gather(const crowd_t *crowd, int processes)
{
    int i, b;

    begin_row();
    for (i = 0; i < processes; i++) {
        row.ns += crowd->rows[i].ns;
        row.trips += crowd->rows[i].trips;
        row.latency.count += crowd->rows[i].latency.count;
        for (b = 0; b < LATENCY_BUCKETS; b++) {
            row.latency.bucket[b] += crowd->rows[i].latency.bucket[b];
        }
    }
}

static void measure_crowd_of(int processes, int n)
{
    crowd_t *crowd = mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int i, status;

    MUST(crowd != MAP_FAILED);
    set_wish(n, VAPI_LEAST_BUSY);
    fill(n, 0);
    fflush(stdout);
    for (i = 0; i < processes; i++) {
        pid_t pid = fork();

        MUST(pid >= 0);
        if (pid == 0) {
            work_in_crowd(crowd, i, processes);
        }
    }
    for (i = 0; i < processes; i++) {
        MUST(wait(&status) > 0 && status == 0);
    }
    gather(crowd, processes);
    tell(&row, apr_psprintf(outside_pool, "lease %d least-busy, %d processes", n, processes));
    munmap(crowd, sizeof *crowd);
}

static void measure_crowd(void)
{
    static const int crowds[] = { 1, 2, 8 };
    size_t i;

    for (i = 0; i < sizeof crowds / sizeof *crowds; i++) {
        measure_crowd_of(crowds[i], 10);
        measure_crowd_of(crowds[i], 1000);
    }
}

/* ---- the other verbs ---- */

static void measure_seats(void)
{
    vapi_seat_view_t *views = apr_pcalloc(outside_pool, 1000 * sizeof *views);
    vapi_lease_t lease;

    set_wish(10, VAPI_LEAST_BUSY);
    fill(1000, 500);
    empty(10);
    begin_row();
    while (goes_on()) {
        MUST(VERB(lease, &wish, &lease) == APR_SUCCESS && lease.chosen >= 0);
        TIMED(&row, VERB(occupy, seats[lease.chosen], lease.token, 600 * SEC));
        TIMED(&other, VERB(release, seats[lease.chosen], lease.token, 0));
    }
    tell(&row, "occupy");
    tell(&other, "release");
    begin_row();
    while (goes_on()) {
        TIMED(&row, VERB(survey, seats, 1000, views));
    }
    tell(&row, "survey 1000");
    empty(1000);
}

/* A call notes three things under one key, and reads them. */
static void measure_notes(void)
{
    static const char *const fields[] = { "leg", "status", "sent" };
    apr_array_header_t *all;
    apr_pool_t *p;
    char key[32];
    int i;

    apr_pool_create(&p, outside_pool);
    begin_row();
    for (i = 0; goes_on(); i++) {
        snprintf(key, sizeof key, "note-%d", i / 3 % 5000);
        TIMED(&row, VERB(note, key, strlen(key), fields[i % 3], "*", "support alice home 1234567890abcdef connected", 600 * SEC));
        TIMED(&other, VERB(notes, key, strlen(key), &all, p));
        apr_pool_clear(p);
    }
    tell(&row, "note");
    tell(&other, "notes");
}

static void measure_own(void)
{
    char claimed[32], valued[32], owner[32];
    int i;

    begin_row();
    for (i = 0; goes_on(); i++) {
        vapi_owned_t things[] = { { VAPI_KIND_CLAIM, claimed, 0 }, { VAPI_KIND_VALUE, valued, 0 } };

        things[0].key_len = (apr_size_t)snprintf(claimed, sizeof claimed, "call-%d", i);
        things[1].key_len = (apr_size_t)snprintf(valued, sizeof valued, "sticky-%d", i);
        snprintf(owner, sizeof owner, "+1415555%04d", i % 5000);
        TIMED(&row, VERB(own, owner, things, 2, 600 * SEC));
    }
    tell(&row, "own, two things");
}

static void measure_values(void)
{
    const char *value;
    apr_size_t len;
    apr_pool_t *p;
    char key[32];
    int i;

    apr_pool_create(&p, outside_pool);
    begin_row();
    for (i = 0; goes_on(); i++) {
        snprintf(key, sizeof key, "value-%d", i % 5000);
        TIMED(&row, VERB(put, key, strlen(key), "alice", 5, 600 * SEC));
        TIMED(&other, VERB(get, key, strlen(key), &value, &len, p));
        apr_pool_clear(p);
    }
    tell(&row, "put");
    tell(&other, "get");
}

static void measure_claims(void)
{
    static const char reply[] = "{\"results\":[{\"toolCallId\":\"call_1234567890\","
                                "\"result\":\"The call is being transferred.\"}]}";
    vapi_claim_t claim;
    apr_pool_t *p;
    char key[48];
    int i;

    apr_pool_create(&p, outside_pool);
    begin_row();
    for (i = 0; goes_on(); i++) {
        snprintf(key, sizeof key, "claim-%d-%ld", i, (long)getpid());
        TIMED(&row, VERB(claim, key, strlen(key), 7, 10 * SEC, &claim, p));
        MUST(claim.verdict == VAPI_CLAIM_MINE);
        TIMED(&other, VERB(settle, key, strlen(key), claim.token, reply, sizeof reply - 1, 600 * SEC));
        apr_pool_clear(p);
    }
    tell(&row, "claim");
    tell(&other, "settle");
}

static void measure_verbs(void)
{
    measure_seats();
    measure_notes();
    measure_own();
    measure_values();
    measure_claims();
}

/* ---- vapi_pool_take: skills, who was preferred, whom the call was sent to before, the store ---- */

static void on_fault(void *baton, vapi_place_t place, const char *text, apr_hash_t *known, const char *name)
{
    (void)baton, (void)place, (void)known, (void)name;
    must(0, text);
}

static vapi_pool_t *make_pool(int n, const char *how)
{
    vapi_names_t names = { 0 };
    vapi_place_t place = { "bench", 1, NULL, NULL };
    apr_array_header_t *warnings = apr_array_make(outside_pool, 1, sizeof(const char *));
    vapi_words_t *words;
    vapi_pool_t *made;
    int i;

    names.destinations = apr_hash_make(outside_pool);
    names.pools = apr_hash_make(outside_pool);
    names.members = apr_hash_make(outside_pool);
    names.plans = apr_hash_make(outside_pool);
    MUST(!vapi_words_read(&words, how, outside_pool) && !vapi_pool_make(&made, words, place, outside_pool));
    for (i = 0; i < n; i++) {
        const char *line = apr_psprintf(outside_pool, "m%d +1415555%04d skills=billing,es:%d", i, i, 1 + i % 3);

        MUST(!vapi_words_read(&words, line, outside_pool));
        MUST(!vapi_pool_add(made, words, place, names.members, warnings, outside_pool, outside_pool));
    }
    vapi_pool_resolve(made, "host", &names, on_fault, NULL, outside_pool);
    MUST(vapi_pool_seat(made, st, outside_pool) == APR_SUCCESS);
    return made;
}

/* The callers are a thousand: with sticky= somebody is preferred from each one's second call on. */
static void take_once(const vapi_pool_t *made, const vapi_skills_t *skills, int i, apr_pool_t *p)
{
    vapi_leg_t leg = { .home = "host", .member = "m1" };
    vapi_message_t message = { .call_type = "inboundPhoneCall" };
    const vapi_leg_t **sent_to;
    vapi_desk_t desk = { .state = st, .host = "host", .call = "call", .pool = p };
    vapi_question_t question = { .pool = p, .message = &message, .desk = &desk };
    apr_array_header_t *barred = apr_array_make(p, 1, sizeof(const vapi_member_t *));
    apr_array_header_t *legs = apr_array_make(p, 1, sizeof(const vapi_leg_t *));
    vapi_taken_t taken;

    sent_to = apr_array_push(legs);
    *sent_to = &leg;
    APR_ARRAY_PUSH(barred, const vapi_member_t *) = vapi_pool_member(made, 2);
    desk.sent_to = legs;
    desk.caller = apr_psprintf(p, "+1415555%04d", i % 1000);
    desk.deadline = vapi_clock_now() + 8 * SEC;
    TIMED(&row, vapi_pool_take(made, skills, 0, VAPI_FORM_CONTROL, barred, &question, &taken) ? APR_EGENERAL : APR_SUCCESS);
    vapi_pool_remember(&desk, &taken);
    MUST(VERB(release, taken.member->seat, taken.token, 0) == APR_SUCCESS);
}

static void measure_take_of(int n, const char *strategy, const char *asked)
{
    const char *sticky = *asked ? " sticky=1h" : "";
    const char *head = apr_psprintf(outside_pool, "%s-%d%s strategy=%s%s", strategy, n, *asked ? "-asked" : "", strategy, sticky);
    const vapi_pool_t *made = make_pool(n, head);
    vapi_skills_t *skills = NULL;
    apr_pool_t *p;
    int i;

    MUST(!*asked || !vapi_skills_parse(&skills, asked, outside_pool));
    apr_pool_create(&p, outside_pool);
    begin_row();
    for (i = 0; goes_on(); i++) {
        take_once(made, skills, i, p);
        apr_pool_clear(p);
    }
    tell(&row, apr_psprintf(outside_pool, "take %d %s%s", n, strategy, *asked ? ", two skills, sticky" : ""));
}

static void measure_take(void)
{
    int n;

    for (n = 10; n <= 1000; n *= 10) {
        measure_take_of(n, "least-busy", "");
        measure_take_of(n, "least-busy", "billing,es:2");
    }
    measure_take_of(1000, "round-robin", "billing,es:2");
    measure_take_of(1000, "weighted", "billing,es:2");
}

/* ---- a round trip, and what Redis itself says it did ---- */

#ifdef WITH_REDIS
static void measure_ping(void)
{
    const char *colon = strrchr(word, ':');
    redisContext *c = redisConnect("127.0.0.1", atoi(colon + 1));
    redisReply *reply;

    MUST(c && !c->err);
    begin_row();
    while (goes_on()) {
        TIMED(&row, (reply = redisCommand(c, "PING")) ? APR_SUCCESS : APR_EGENERAL);
        freeReplyObject(reply);
    }
    redisFree(c);
    tell(&row, "PING");
}
#endif

static void measure_clock(void)
{
    begin_row();
    while (goes_on()) {
        TIMED(&row, APR_SUCCESS);
    }
    tell(&row, "clock");
}

typedef struct group_t {
    const char *name;
    void (*measure)(void);
} group_t;

static const group_t groups[] = {
    { "clock", measure_clock },
#ifdef WITH_REDIS
    { "ping", measure_ping },
#endif
    { "leases", measure_leases },
    { "cold", measure_all_cold },
    { "crowd", measure_crowd },
    { "verbs", measure_verbs },
    { "take", measure_take },
};

static void run_group(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof groups / sizeof *groups; i++) {
        if (strcmp(groups[i].name, name) == 0) {
            groups[i].measure();
            return;
        }
    }
    fprintf(stderr, "there is no group %s here\n", name);
    exit(2);
}

/* They come to their places in the store in any order. */
static void make_members(void)
{
    int i, at;

    for (i = 0; i < MEMBERS; i++) {
        seats[i] = seat(apr_psprintf(outside_pool, "member-%d", i));
        candidates[i] = (vapi_candidate_t){ seats[i], 1, 1 + i % 3, 0 };
    }
    for (i = 0; i < MEMBERS; i++) {
        at = i * 1237 % MEMBERS;
        MUST(VERB(rest, seats[at], 1) == APR_SUCCESS);
    }
    wish.candidates = candidates;
    wish.preferred = -1;
}

int main(int argc, char **argv)
{
    int i;

    if (argc < 5) {
        fprintf(stderr, "usage: store DIRECTORY MILLISECONDS WORD GROUP...\n");
        return 2;
    }
    milliseconds = atol(argv[2]);
    word = argv[3];
    outside_begin(argv[1]);
    st = outside_open(word);
    make_members();
    for (i = 4; i < argc; i++) {
        run_group(argv[i]);
    }
    return 0;
}
