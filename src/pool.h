/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  pool.h
 * @brief What a pool is made of: read by pool_make.c, put together by pool.c once the whole configuration is read, only read by
 *        pool_take.c for a call.
 */
#ifndef POOL_PARTS_H
#define POOL_PARTS_H

#include "vapi_pool.h"

/** A skill and its level, 1 or more. */
typedef struct skill_t {
    const char *name;
    int level;
} skill_t;

struct vapi_skills_t {
    const char *written;
    apr_array_header_t *all;          /* skill_t */
};

/** A VapiMember line. What it leaves out is taken from the line that gives its member's TARGET, once that is known. */
struct vapi_member_line_t {
    const char *name, *target;        /* target NULL: given elsewhere */
    int capacity;                     /* 0: not given */
    int weight;                       /* 0: not given */
    vapi_skills_t *skills;            /* NULL: none are given */
    const char *label, *plan;
    vapi_text_t *say;
    vapi_place_t place;
    int index;                        /* in its pool */
    vapi_member_t *member;            /* set by vapi_pool_resolve */
};

/** Where a member's target can go: one bit a vapi_form, and whether it is a telephone. */
#define REACH_FORM(form) (1 << (form))
#define REACH_PHONE      (1 << 7)

struct vapi_pool_t {
    const char *name, *home;          /* home: id of the virtual host where it stands */
    vapi_place_t place;
    const vapi_words_t *words;
    vapi_strategy strategy;
    apr_interval_time_t lease, wrap_up, no_answer, sticky;
    apr_array_header_t *lines;        /* vapi_member_line_t * */
    apr_hash_t *by_name;              /* name -> vapi_member_line_t * */
    /* made by vapi_pool_resolve */
    int capacity;                     /* of all members */
    unsigned char *reach;             /* of each member */
    apr_hash_t *skills;               /* name -> unsigned short *, the level of each member: 0 without it */
    /* made by vapi_pool_seat */
    vapi_seat_t *seat, **seats;       /* the pool's and its members' */
    vapi_candidate_t *candidates;     /* all members, nobody barred */
};

/** A line of the pool. */
const vapi_member_line_t *vapi_pool_line(const vapi_pool_t *pool, int i);

#endif
