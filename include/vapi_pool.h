/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_pool.h
 * @brief Pools: people who take calls. Read at start-up; for one call, who takes it. Knows no httpd request.
 *
 * A member is one person wherever it stands: the pools of a virtual host (and those it inherits) that name it share its leases. What a
 * pool's own line says of it (weight, skills, label, say, plan) counts in that pool; what a line leaves out is taken from
 * the line that gives the TARGET.
 */
#ifndef VAPI_POOL_H
#define VAPI_POOL_H

#include "vapi_destination.h"
#include "vapi_state.h"

typedef struct vapi_pool_t vapi_pool_t;
typedef struct vapi_member_line_t vapi_member_line_t;    /* of a pool's own parts */

/** One person. */
typedef struct vapi_member_t {
    const char *name;
    const char *home;              /* id of the virtual host whose line gives the target; set by vapi_pool_resolve */
    const char *target;            /* as written: a TARGET, or the name of a destination */
    const vapi_destination_t *destination;    /* made of the target; NULL until it is resolved where the target is a name */
    int capacity;
    vapi_place_t place;
    const vapi_member_line_t *line;    /* that gives the target */
    vapi_seat_t *seat;             /* set once the store is open */
} vapi_member_t;

/* ---- start-up ---- */

/** Reads `NAME [strategy=] [lease=] [wrap-up=] [no-answer=] [sticky=]` of a <VapiPool>. @return NULL or what is wrong */
const char *vapi_pool_make(vapi_pool_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p);

/**
 * Adds a VapiMember line: `NAME [TARGET] [capacity=] [weight=] [skills=] [label=] [say=] [plan=]`.
 * @param members   name -> vapi_member_t *: the people whose TARGET this virtual host gives; may get one. The same TARGET once more, with
 *                  the same capacity or none, is a reference; others are refused
 * @param warnings  array of const char *; may get some
 * @return NULL or what is wrong
 */
const char *vapi_pool_add(vapi_pool_t *pool, const vapi_words_t *words, vapi_place_t place, apr_hash_t *members,
                          apr_array_header_t *warnings, apr_pool_t *p, apr_pool_t *ptemp);

/** Does what the line of `member` gives say of `known` what is known of him? */
int vapi_member_is_same(const vapi_member_t *known, const vapi_member_t *member);

/** What is wrong with one line of a pool once all is read. Where a name is not there: `known` holds what is; else NULL. */
typedef void vapi_pool_fault_fn(void *baton, vapi_place_t place, const char *text, apr_hash_t *known, const char *name);

/**
 * Once the whole configuration is read: finds each line's member, its destination and its plan among what the pool's own virtual host
 * sees. Done once a pool, and for the pools that a virtual host inherits before its own. Faults: nobody of that name has a TARGET, no such
 * destination or plan, a plan that does not go with the target's kind. That a pool is empty (vapi_pool_size) is for the caller to say.
 */
void vapi_pool_resolve(vapi_pool_t *pool, const char *home, const vapi_names_t *names, vapi_pool_fault_fn *fault, void *baton,
                       apr_pool_t *p);

/** Once the store is open: gives the pool and its members their seats. Who has one keeps it. */
apr_status_t vapi_pool_seat(vapi_pool_t *pool, vapi_state_t *state, apr_pool_t *p);

const char *vapi_pool_name(const vapi_pool_t *pool);
vapi_place_t vapi_pool_place(const vapi_pool_t *pool);
const char *vapi_pool_strategy(const vapi_pool_t *pool);                       /* as written in the directive */
const char *vapi_pool_describe(const vapi_pool_t *pool, apr_pool_t *p);        /* its own line, for dumps */
const char *vapi_pool_describe_member(const vapi_pool_t *pool, int i, apr_pool_t *p);
int vapi_pool_size(const vapi_pool_t *pool);
const vapi_member_t *vapi_pool_member(const vapi_pool_t *pool, int i);         /* in order */
const vapi_member_t *vapi_pool_find(const vapi_pool_t *pool, const char *name);    /* NULL: it has none of that name */
int vapi_pool_capacity(const vapi_pool_t *pool);                               /* of all members together */
apr_interval_time_t vapi_pool_lease(const vapi_pool_t *pool);
apr_interval_time_t vapi_pool_wrap_up(const vapi_pool_t *pool);
apr_interval_time_t vapi_pool_no_answer(const vapi_pool_t *pool);
apr_interval_time_t vapi_pool_sticky(const vapi_pool_t *pool);                 /* 0: not sticky */

/** May any member's target ever go out in this form? */
int vapi_pool_fits(const vapi_pool_t *pool, vapi_form form);

/** `billing,es:2`: what a member has, or what a route asks for; "": nothing. `text` must live as long as it.
 * @return NULL or what is wrong */
typedef struct vapi_skills_t vapi_skills_t;
const char *vapi_skills_parse(vapi_skills_t **out, const char *text, apr_pool_t *p);

/** The same of a text that was put together for a call: what is empty in it is passed over, and of a skill that comes twice the higher
 * level counts (`billing,%{arg:language}`, where the call names no language). */
const char *vapi_skills_of_call(vapi_skills_t **out, const char *text, apr_pool_t *p);

/** Has any member all of these skills? */
int vapi_pool_can(const vapi_pool_t *pool, const vapi_skills_t *skills);

/* ---- one call ---- */

/** Who hands out members while one request is decided; in the request's pool. */
typedef struct vapi_desk_t {
    vapi_state_t *state;
    const char *host;                  /* virtual host's id and call: as in vapi_once_t */
    const char *call;
    const char *caller;                /* "" if unknown: then nobody is preferred for him */
    apr_time_t deadline;               /* of vapi_clock: when a lease that was not occupied ends */
    int only_look;                     /* leases nobody: an explanation */
    const apr_array_header_t *sent_to; /* const vapi_leg_t * (vapi_trail.h) that may not be sent to again; NULL until it was read */
    apr_pool_t *pool;
} vapi_desk_t;

/** Who takes the call. */
typedef struct vapi_taken_t {
    const vapi_pool_t *pool;           /* NULL: nobody is taken */
    const vapi_member_t *member;
    const char *label;                 /* as it is spoken: label=, else the name */
    const char *plan;                  /* the line's plan=, else the destination's; a name, or NULL */
    const vapi_text_t *say;            /* the line's say=; NULL: the destination's */
    apr_uint64_t token;                /* of the lease; 0: none was made (only looked, or no store) */
} vapi_taken_t;

/**
 * Chooses a member and leases it until the desk's deadline. Never chosen: who lacks a skill, whose target does not go out in this form or
 * on this kind of call, and to whom this call was sent before. Answers that are given (q->given) go first; without a
 * desk everybody is free.
 * @param skills   NULL: none are asked for
 * @param leave    so much of the pool's capacity stays free
 * @param barred   vapi_member_t *: not to be chosen either (their targets were found to be unavailable for this call)
 * @return NULL and *out, or a constant word of %{VAPI_REASON}: "busy", "paused", "no-match" (nobody has the skills, or fits)
 */
const char *vapi_pool_take(const vapi_pool_t *pool, const vapi_skills_t *skills, int leave, vapi_form form,
                           const apr_array_header_t *barred, vapi_question_t *q, vapi_taken_t *out);

/** Right before the call is sent: the lease is kept for the pool's lease= and wrap-up=. @return 0: the lease was lost, send nothing */
int vapi_pool_occupy(const vapi_desk_t *desk, const vapi_taken_t *taken);

/** The call was not sent to the member after all. */
void vapi_pool_give_back(const vapi_desk_t *desk, const vapi_taken_t *taken);

/** The call went to the member, or may have: sticky= counts from now. */
void vapi_pool_remember(const vapi_desk_t *desk, const vapi_taken_t *taken);

/** It never reached the member, who is preferred for this caller no more. */
void vapi_pool_unlearn(const vapi_desk_t *desk, const vapi_pool_t *pool, const char *member);

/** The key under which the member is preferred for a caller: for vapi_state's own(). */
const char *vapi_pool_sticky_key(const char *host, const vapi_pool_t *pool, const char *caller, apr_size_t *len, apr_pool_t *p);

/** The value of pool('NAME.WHAT'): "free" (capacity that is free of those who are available), "busy" (leases), "members"; asked of
 * the store once a question. "" for another word. */
const char *vapi_pool_count(const vapi_pool_t *pool, const char *what, vapi_question_t *q);

/** A seat by what the trail kept of it: also of a member that is configured no more. */
apr_status_t vapi_pool_seat_of(vapi_seat_t **out, vapi_state_t *state, const char *home, const char *name, apr_pool_t *p);

#endif
