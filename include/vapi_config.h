/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_config.h
 * @brief What the directives say: one record a virtual host (named objects), one a section (the endpoint). Read-only once the
 *        server runs.
 */
#ifndef VAPI_CONFIG_H
#define VAPI_CONFIG_H

#include <httpd.h>
#include <http_config.h>

#include "vapi_action.h"
#include "vapi_console.h"
#include "vapi_credential.h"
#include "vapi_decrypt.h"
#include "vapi_pool.h"
#include "vapi_route.h"
#include "vapi_set.h"
#include "vapi_spool.h"
#include "vapi_state.h"
#include "vapi_transfer.h"

/** The one symbol that httpd looks for; everything else is hidden. */
extern module AP_MODULE_DECLARE_DATA vapi_transfer_module __attribute__((visibility("default")));

/** A named object and where it stands. */
typedef struct vapi_named_t {
    void *object;
    vapi_place_t place;
} vapi_named_t;

/** The classes of named objects that live in a server or virtual host. */
typedef struct vapi_host_conf_t {
    apr_hash_t *credentials;          /* name -> vapi_credential_t * */
    vapi_names_t names;               /* what routes and expressions point at; allow NULL: not given here */
    apr_array_header_t *references;   /* vapi_reference_t: names used in this host's own directives outside sections */
    apr_hash_t *places;               /* "class name" -> vapi_place_t *, of this host's own objects: "given twice" */
    struct vapi_pool_t *open_pool;    /* while the lines of a <VapiPool> are read */
    const char *id;                   /* tells virtual hosts apart in the state store, the same on all nodes; set by check_config */
    struct vapi_quiet_t *quiet;       /* see vapi_log.h; set by post_config where a credential's secret travels in a header */
} vapi_host_conf_t;

/** One argument of a tool, as VapiParam says. */
typedef enum { VAPI_PARAM_STRING = 0, VAPI_PARAM_NUMBER, VAPI_PARAM_INTEGER, VAPI_PARAM_BOOLEAN, VAPI_PARAM_PHONE } vapi_param_type;

typedef struct vapi_param_t {
    const char *name, *description;   /* description may be NULL */
    vapi_param_type type;
    int required;
    apr_array_header_t *choices;      /* const char *, NULL: any value */
} vapi_param_t;

typedef struct vapi_tool_t {
    const char *name, *description;   /* description may be NULL */
    apr_array_header_t *params;       /* vapi_param_t * */
} vapi_tool_t;

typedef struct vapi_limits_t {
    int call;                         /* transfers of one call */
    int caller;                       /* transfers of one caller within caller_window; 0: no limit */
    apr_interval_time_t caller_window;
    int outbound;                     /* requests that wait for another server at once; 0: no limit */
} vapi_limits_t;

typedef enum { VAPI_NUMBERS_UNSET = -1, VAPI_NUMBERS_MASKED = 0, VAPI_NUMBERS_FULL, VAPI_NUMBERS_NONE } vapi_log_numbers;

#define VAPI_UNSET (-1)

/**
 * One section's endpoint directives; unset members are NULL or VAPI_UNSET, and read through the vapi_endpoint_... functions below.
 * A list or limit set replaces the outer one whole.
 */
typedef struct vapi_endpoint_t {
    /* who may speak to it */
    apr_array_header_t *authenticate;     /* const char *, names of credentials; may be empty with apache or none */
    int accept_apache, accept_any;        /* `apache`, `none`; meaningful where authenticate is not NULL */
    /* what is asked for, and where it goes */
    apr_array_header_t *tools;            /* vapi_tool_t * */
    apr_array_header_t *routes;           /* vapi_route_t * */
    const vapi_limits_t *limits;
    apr_hash_t *sets;                     /* name -> vapi_set_t *; one of an inner section stands for the outer of its name */
    apr_array_header_t *actions;          /* vapi_action_t *, in order; likewise */
    /* how the control API is reached */
    apr_array_header_t *control_hosts;    /* vapi_control_host_t * */
    int allow_private;
    const char *control_token;
    const char *api_key, *api_url;        /* given together */
    apr_interval_time_t control_timeout, control_connect_timeout;
    const char *ca_file, *proxy;
    /* the rest */
    apr_interval_time_t budget;
    const vapi_text_t *failure_say;
    int failure_silent;                   /* VapiFailureSay none; meaningful where failure_given */
    int failure_given;
    apr_off_t body_limit;
    apr_interval_time_t settle;
    vapi_log_numbers log_numbers;
    vapi_console_right console;
    /* where it stands: for checks and dumps */
    server_rec *server;
    const char *section;                  /* the path of the section, NULL: the server or virtual host itself */
    vapi_place_t place;
    apr_array_header_t *references;       /* vapi_reference_t: names used in this section's own directives */
} vapi_endpoint_t;

/** What of the configuration is one for the whole server: kept in the main server's pool for this generation, found from any
 * server_rec. */
typedef struct vapi_global_t {
    apr_array_header_t *endpoints;        /* vapi_endpoint_t *: every section in which one of our directives stands */
    const vapi_state_provider_t *provider;
    void *state_config;                   /* of the provider */
    vapi_place_t state_place;
    vapi_state_t *state;                  /* opened in post_config */
    struct vapi_shared_t *shared;         /* see vapi_shared.h; post_config */
    struct vapi_metrics_t *metrics;       /* see vapi_metrics.h; post_config */
    struct vapi_child_t *child;           /* see vapi_shared.h; child_init */
    vapi_decrypt_t *decrypt;              /* VapiDecrypt, or NULL */
    vapi_spool_t *spool;                  /* VapiSpool, or NULL */
    vapi_place_t decrypt_place, spool_place;
    apr_hash_t *actions;                  /* id -> vapi_action_t *: those of all sections; made by check_config */
    int routes_number, lookups_number;    /* of all sections and virtual hosts, for vapi_metrics; made by check_config */
    apr_array_header_t *stale;            /* const char *: files of VapiMap and VapiHours whose last good content is in use */
} vapi_global_t;

void *vapi_config_create_host(apr_pool_t *p, server_rec *s);
void *vapi_config_merge_host(apr_pool_t *p, void *base, void *add);
void *vapi_config_create_endpoint(apr_pool_t *p, char *path);
void *vapi_config_merge_endpoint(apr_pool_t *p, void *base, void *add);

/** In pre_config: a fresh record for this reading of the configuration. */
void vapi_config_begin(apr_pool_t *pconf);
vapi_global_t *vapi_global(void);
vapi_host_conf_t *vapi_host_conf(const server_rec *s);
vapi_endpoint_t *vapi_endpoint_of(const ap_conf_vector_t *v);
/** A section's directives over those of its server, as far as the start can see them; in `p`, or `e` itself. */
const vapi_endpoint_t *vapi_endpoint_effective(const vapi_endpoint_t *e, apr_pool_t *p);

/** The members with their defaults. */
apr_interval_time_t vapi_endpoint_budget(const vapi_endpoint_t *e);
apr_interval_time_t vapi_endpoint_settle(const vapi_endpoint_t *e);
apr_interval_time_t vapi_endpoint_control_timeout(const vapi_endpoint_t *e);
apr_interval_time_t vapi_endpoint_connect_timeout(const vapi_endpoint_t *e);
apr_off_t vapi_endpoint_body_limit(const vapi_endpoint_t *e);
vapi_log_numbers vapi_endpoint_log_numbers(const vapi_endpoint_t *e);
const vapi_limits_t *vapi_endpoint_limits(const vapi_endpoint_t *e);
const apr_array_header_t *vapi_endpoint_control_hosts(const vapi_endpoint_t *e);
const apr_array_header_t *vapi_endpoint_routes(const vapi_endpoint_t *e);
/** Is there one of that name in a list of actions? */
int vapi_actions_have(const apr_array_header_t *actions, const char *name);
/** How the control API is reached. */
void vapi_endpoint_profile(const vapi_endpoint_t *e, vapi_http_profile_t *profile);
/** The tool of that name; NULL if there is none. *any_name: no VapiTool is given, so every name is answered. */
const vapi_tool_t *vapi_endpoint_tool(const vapi_endpoint_t *e, const char *name, int *any_name);

/** check_config: relations between directives. Logs each problem with file and line; OK or an HTTP error. */
int vapi_config_check(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s);

/** The command table. */
extern const command_rec vapi_directives[];

/** test_config: -D DUMP_VAPI and -D DUMP_VAPI_TOOL. */
void vapi_dump(apr_pool_t *pconf, server_rec *s);

#endif
