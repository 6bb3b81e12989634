/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_route.h
 * @brief The routing table: the first route whose expression is true and whose target is available. Knows no httpd request.
 */
#ifndef VAPI_ROUTE_H
#define VAPI_ROUTE_H

#include "vapi_pool.h"

typedef struct vapi_route_t {
    const char *label;                  /* name=, else the target, made unique within the table */
    const char *target;                 /* as written */
    int is_none;                        /* answers the model, moves nobody */
    const char *map;                    /* map:NAME: the map whose value names the destination; NULL: the target does */
    vapi_text_t *map_key;               /* ... and what is looked up in it; NULL: the caller's number */
    const char *pool;                   /* pool:NAME: the pool; NULL: the target is no pool (a map's value may name one all the same) */
    vapi_text_t *skills;                /* what is asked of a member; NULL: nothing */
    vapi_skills_t *fixed_skills;        /* ... where that is known before the call */
    int leave;                          /* so much of the pool's capacity stays free */
    vapi_expression_t *when;            /* NULL: always */
    const char *plan;                   /* name, or NULL */
    vapi_text_t *say;                   /* NULL: the destination's */
    vapi_text_t *result;                /* NULL: the default */
    vapi_place_t place;
    int number;                         /* of all routes of the server, for vapi_metrics; set by check_config */
    const char *path;                   /* the section it stands in, "/" for a whole host; set by check_config */
} vapi_route_t;

/** Reads `VapiRoute TARGET [EXPR] key=value...`; labels are given by vapi_route_add. @return NULL or what is wrong */
const char *vapi_route_make(vapi_route_t **out, const vapi_words_t *words, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp);

/** Puts a route at a table's end and gives it its label. @return NULL or what is wrong (a label twice) */
const char *vapi_route_add(apr_array_header_t *table, vapi_route_t *route, apr_pool_t *p);

/** Is there a route of this label in the table? */
int vapi_route_has_label(const apr_array_header_t *table, const char *label);

/** How one route fared. */
typedef struct vapi_trace_t {
    const vapi_route_t *route;
    const char *result;                 /* "matched", "false", "unavailable", "error" */
    const char *why;                    /* a word of %{VAPI_REASON}, or NULL */
} vapi_trace_t;

typedef struct vapi_decision_t {
    const vapi_route_t *route;          /* NULL: none */
    const vapi_destination_t *destination;
    vapi_taken_t taken;                 /* the member whose destination it is; taken.pool NULL: no pool's. Its lease is the asker's: to
                                           be occupied, or given back */
    const vapi_plan_t *plan;            /* that goes with it, or NULL */
    vapi_dialled_t dialled;             /* where route is no `none` route */
    int index;                          /* of the route in the table; ask again from index + 1 after a refusal */
    const char *reason;                 /* why the latest route before it was not taken; "no-match" if no route was even tried */
    const char *error;                  /* an expression failed: where it stands, for the log; its route counts as not taken */
    const char *failed;                 /* a lookup with on-error=fail failed: no route is taken, and this is what the model gets */
    apr_array_header_t *trace;          /* vapi_trace_t, in order, of this asking */
} vapi_decision_t;

/**
 * Decides, from route `from` on. Fills the question's route, target, destination, member and reason as it goes; the lookups that are
 * asked on the way are made (see vapi_lookup.h), and a member of a pool is leased at the question's desk.
 * A call of another type than a telephone call has no number or SIP target.
 */
void vapi_route_decide(const apr_array_header_t *table, int from, const vapi_names_t *names, vapi_form form, vapi_question_t *q,
                       vapi_decision_t *out);

/** The first unconditional `none` route, or NULL: answers when a limit is reached. */
const vapi_route_t *vapi_route_last_resort(const apr_array_header_t *table);

#endif
