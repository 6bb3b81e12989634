/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** Relations between directives, checked when all of the configuration was read. Private to check.c, check_names.c and check_pools.c. */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>

#include <httpd.h>

#include "vapi_config.h"
#include "vapi_map.h"

/** What all checks need. */
typedef struct vapi_check_t {
    server_rec *main;
    apr_pool_t *ptemp;
    int errors;
} vapi_check_t;

/** Says it, with file and line; APLOG_ERR and worse fail the check. `s` NULL: the main server. */
void vapi_check_report(vapi_check_t *check, int level, server_rec *s, vapi_place_t place, const char *text);

/**
 * Says what is wrong with data of the administrator's, which may change from one restart to the next by other hands than the configuration.
 * An error at a first start and for -t; a running server goes on without that one value.
 */
void vapi_check_report_data(vapi_check_t *check, server_rec *s, vapi_place_t place, const char *text);

/** "; did you mean 'x'?" for a name that is not there, or "". */
const char *vapi_check_nearest(apr_hash_t *known, const char *name, apr_pool_t *p);

/** The names that a virtual host's own directives use, its maps' values, and the zones of its hours. */
void vapi_check_host_names(vapi_check_t *check, server_rec *s, apr_pool_t *pconf);

/** The names that a section's own directives use. `e`: the section over its server. */
void vapi_check_section_names(vapi_check_t *check, const vapi_endpoint_t *section, const vapi_endpoint_t *e);

/** A lookup or set that would ask for itself. */
void vapi_check_cycles(vapi_check_t *check);

/** Puts a virtual host's own pools together. Those of the main server come first. */
void vapi_check_pools(vapi_check_t *check, server_rec *s, apr_pool_t *pconf);

/** May a route to a pool ever find somebody? */
void vapi_check_demands(vapi_check_t *check, const vapi_endpoint_t *e, const vapi_route_t *route);

/** Are virtual hosts known by the same name on all nodes? */
void vapi_check_cluster(vapi_check_t *check);

/** Gives a section's own actions what they are known by, and looks at what they name and gate. */
void vapi_check_actions(vapi_check_t *check, const vapi_endpoint_t *section, const vapi_endpoint_t *e);

/** May the spool be used? Is there one where it is wanted? */
void vapi_check_spool(vapi_check_t *check);

#endif
