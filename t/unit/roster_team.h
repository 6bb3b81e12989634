/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Some members, and what is asked of the store about them. */
#ifndef ROSTER_TEAM_H
#define ROSTER_TEAM_H

#include "state_store.h"

#define MEMBERS 8

/** Some members as candidates, and a wish that names them. */
typedef struct team_t {
    vapi_state_table_t *t;
    vapi_candidate_t members[MEMBERS];
    vapi_wish_t wish;
} team_t;

static inline vapi_seat_t *seat(vapi_state_table_t *t, const char *key)
{
    vapi_seat_t *out;

    assert_int_equal(vapi_state_table_seat(t, &out, key, strlen(key), pool), APR_SUCCESS);
    return out;
}

/* Over a store that is open: members "m0", "m1", ... of one capacity, weight 1. */
static inline team_t *team(vapi_state_table_t *t, vapi_strategy strategy, int n, int capacity)
{
    team_t *team = apr_pcalloc(pool, sizeof *team);
    int i;

    team->t = t;
    for (i = 0; i < n; i++) {
        team->members[i].seat = seat(t, apr_psprintf(pool, "m%d", i));
        team->members[i].capacity = capacity;
        team->members[i].weight = 1;
    }
    team->wish.pool = seat(t, "a pool");
    team->wish.strategy = strategy;
    team->wish.candidates = team->members;
    team->wish.n = n;
    team->wish.preferred = -1;
    team->wish.hold = 60 * SEC;
    return team;
}

static inline vapi_lease_t ask(team_t *team)
{
    vapi_lease_t lease;

    assert_int_equal(vapi_state_table_lease(team->t, &team->wish, &lease), APR_SUCCESS);
    assert_true((lease.token != 0) == (lease.chosen >= 0 && !team->wish.only_look));
    assert_true(!lease.all_paused || lease.chosen < 0);
    apr_sleep(2);                        /* no two things at the same microsecond */
    return lease;
}

/* Leases one, who must be this one. @return the token */
static inline apr_uint64_t get_one(team_t *team, int member)
{
    vapi_lease_t lease = ask(team);

    assert_int_equal(lease.chosen, member);
    return lease.token;
}

static inline void assert_nobody(team_t *team, int all_paused)
{
    vapi_lease_t lease = ask(team);

    assert_int_equal(lease.chosen, -1);
    assert_int_equal(lease.all_paused, all_paused);
}

static inline apr_status_t occupy(team_t *team, int member, apr_uint64_t token, apr_interval_time_t span)
{
    return vapi_state_table_occupy(team->t, team->members[member].seat, token, span);
}

static inline apr_status_t release(team_t *team, int member, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    apr_status_t rv = vapi_state_table_release(team->t, team->members[member].seat, token, wrap_up);

    apr_sleep(2);
    return rv;
}

static inline void present(team_t *team, int member, vapi_presence presence)
{
    assert_int_equal(vapi_state_table_present(team->t, team->members[member].seat, presence), APR_SUCCESS);
}

static inline void rest(team_t *team, int member, apr_interval_time_t span)
{
    assert_int_equal(vapi_state_table_rest(team->t, team->members[member].seat, span), APR_SUCCESS);
}

static inline vapi_seat_view_t view(team_t *team, int member)
{
    vapi_seat_view_t v;

    assert_int_equal(vapi_state_table_survey(team->t, &team->members[member].seat, 1, &v), APR_SUCCESS);
    return v;
}

#endif
