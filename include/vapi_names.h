/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_names.h
 * @brief The named things of a virtual host, and who names them: references are noted while the configuration is read and held against
 *        what there is once all of it was read.
 */
#ifndef VAPI_NAMES_H
#define VAPI_NAMES_H

#include <apr_hash.h>
#include <apr_tables.h>

/** The named things that routes and expressions point at, as the virtual host sees them. */
typedef struct vapi_names_t {
    apr_hash_t *destinations;           /* name -> vapi_destination_t * */
    apr_hash_t *pools;                  /* name -> vapi_pool_t * */
    apr_hash_t *members;                /* name -> vapi_member_t *: those whose TARGET stands here or is inherited */
    apr_hash_t *plans;                  /* name -> vapi_plan_t * */
    apr_hash_t *hours;                  /* name -> vapi_hours_t * */
    apr_hash_t *maps;                   /* name -> vapi_map_t * */
    apr_hash_t *signals;                /* name -> vapi_signal_t * */
    apr_hash_t *lookups;                /* name -> vapi_lookup_t * */
    apr_hash_t *zones;                  /* name -> vapi_zone_t *: those that maps of zones hold; filled by check_config */
    apr_array_header_t *allow;          /* vapi_allow_t *, or NULL */
} vapi_names_t;

/** The names of a class, in order, in `p`. */
const apr_array_header_t *vapi_names_sorted(apr_hash_t *objects, apr_pool_t *p);

/** The NAME of a target that is written pool:NAME; NULL: it is another one. */
const char *vapi_names_pool(const char *target);

/** What an expression can name. */
typedef enum { VAPI_NAME_LOOKUP = 0, VAPI_NAME_SET, VAPI_NAME_HOURS, VAPI_NAME_MAP, VAPI_NAME_SIGNAL, VAPI_NAME_POOL } vapi_name_class;

/** A use of a name, seen at start-up. */
typedef struct vapi_reference_t {
    vapi_name_class class;
    const char *name;
    const char *owner;                  /* "var level", "lookup crm": whose text or expression it stands in; NULL: of no object that can
                                           be named by an expression, so that it can be part of no cycle */
    const char *file;
    unsigned int line;
} vapi_reference_t;

#endif
