/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Configuration records: made with every member unset, merged member by member, read with their defaults. */
#include <apr_strings.h>

#include "vapi_config.h"

#define DEFAULT_BUDGET          apr_time_from_sec(8)
#define DEFAULT_SETTLE          apr_time_from_sec(15)
#define DEFAULT_CONTROL_TIMEOUT apr_time_from_sec(5)
#define DEFAULT_CONNECT_TIMEOUT apr_time_from_sec(2)
#define DEFAULT_BODY_LIMIT      10485760
#define DEFAULT_CALL_LIMIT      10
#define DEFAULT_CONTROL_HOST    "*.vapi.ai"

/* Of the current reading of the configuration; made anew by pre_config, inherited by children. */
static vapi_global_t *global;
static apr_array_header_t *default_hosts;

static apr_status_t end_reading(void *unused)
{
    (void)unused;
    global = NULL;
    default_hosts = NULL;
    return APR_SUCCESS;
}

void vapi_config_begin(apr_pool_t *pconf)
{
    vapi_control_host_t *host;

    /* the next reading makes records before it begins */
    apr_pool_cleanup_register(pconf, NULL, end_reading, apr_pool_cleanup_null);
    global = apr_pcalloc(pconf, sizeof(*global));
    global->endpoints = apr_array_make(pconf, 16, sizeof(vapi_endpoint_t *));
    global->actions = apr_hash_make(pconf);
    global->stale = apr_array_make(pconf, 2, sizeof(const char *));
    default_hosts = apr_array_make(pconf, 1, sizeof(vapi_control_host_t *));
    if (vapi_control_host_parse(&host, DEFAULT_CONTROL_HOST, pconf) == NULL) {
        APR_ARRAY_PUSH(default_hosts, vapi_control_host_t *) = host;
    }
}

vapi_global_t *vapi_global(void)
{
    return global;
}

vapi_host_conf_t *vapi_host_conf(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &vapi_transfer_module);
}

vapi_endpoint_t *vapi_endpoint_of(const ap_conf_vector_t *v)
{
    return ap_get_module_config(v, &vapi_transfer_module);
}

void *vapi_config_create_host(apr_pool_t *p, server_rec *s)
{
    vapi_host_conf_t *host = apr_pcalloc(p, sizeof(*host));

    (void)s;
    host->credentials = apr_hash_make(p);
    host->names.plans = apr_hash_make(p);
    host->names.destinations = apr_hash_make(p);
    host->names.pools = apr_hash_make(p);
    host->names.members = apr_hash_make(p);
    host->names.hours = apr_hash_make(p);
    host->names.maps = apr_hash_make(p);
    host->names.signals = apr_hash_make(p);
    host->names.lookups = apr_hash_make(p);
    host->names.zones = apr_hash_make(p);
    host->names.allow = NULL;
    host->references = apr_array_make(p, 8, sizeof(vapi_reference_t));
    host->places = apr_hash_make(p);
    host->open_pool = NULL;
    host->id = NULL;
    host->quiet = NULL;
    return host;
}

/* A person whose line says of him what the server's says is the server's; a destination of that name may be another here, though. */
static apr_hash_t *overlay_members(const vapi_names_t *add, const vapi_names_t *base, apr_pool_t *p)
{
    apr_hash_t *all = apr_hash_overlay(p, add->members, base->members);
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(p, add->members); hi; hi = apr_hash_next(hi)) {
        const vapi_member_t *own = apr_hash_this_val(hi), *inherited = apr_hash_get(base->members, own->name, APR_HASH_KEY_STRING);

        if (inherited && vapi_member_is_same(inherited, own) && !apr_hash_get(add->destinations, own->target, APR_HASH_KEY_STRING)) {
            apr_hash_set(all, own->name, APR_HASH_KEY_STRING, inherited);
        }
    }
    return all;
}

void *vapi_config_merge_host(apr_pool_t *p, void *base_, void *add_)
{
    vapi_host_conf_t *base = base_, *add = add_, *host = apr_pcalloc(p, sizeof(*host));

    host->credentials = apr_hash_overlay(p, add->credentials, base->credentials);
    host->names.plans = apr_hash_overlay(p, add->names.plans, base->names.plans);
    host->names.destinations = apr_hash_overlay(p, add->names.destinations, base->names.destinations);
    host->names.pools = apr_hash_overlay(p, add->names.pools, base->names.pools);
    host->names.members = overlay_members(&add->names, &base->names, p);
    host->names.hours = apr_hash_overlay(p, add->names.hours, base->names.hours);
    host->names.maps = apr_hash_overlay(p, add->names.maps, base->names.maps);
    host->names.signals = apr_hash_overlay(p, add->names.signals, base->names.signals);
    host->names.lookups = apr_hash_overlay(p, add->names.lookups, base->names.lookups);
    host->names.zones = apr_hash_make(p);    /* filled when all is read, by the host's own maps */
    host->names.allow = add->names.allow ? add->names.allow : base->names.allow;
    host->references = add->references;
    host->places = add->places;
    host->open_pool = NULL;
    host->id = add->id;
    host->quiet = add->quiet;
    return host;
}

void *vapi_config_create_endpoint(apr_pool_t *p, char *path)
{
    vapi_endpoint_t *e = apr_pcalloc(p, sizeof(*e));

    e->authenticate = NULL;
    e->accept_apache = VAPI_UNSET;
    e->accept_any = VAPI_UNSET;
    e->tools = NULL;
    e->routes = NULL;
    e->limits = NULL;
    e->sets = NULL;
    e->actions = NULL;
    e->control_hosts = NULL;
    e->allow_private = VAPI_UNSET;
    e->control_token = NULL;
    e->api_key = NULL;
    e->api_url = NULL;
    e->control_timeout = VAPI_UNSET;
    e->control_connect_timeout = VAPI_UNSET;
    e->ca_file = NULL;
    e->proxy = NULL;
    e->budget = VAPI_UNSET;
    e->failure_say = NULL;
    e->failure_silent = 0;
    e->failure_given = 0;
    e->body_limit = VAPI_UNSET;
    e->settle = VAPI_UNSET;
    e->log_numbers = VAPI_NUMBERS_UNSET;
    e->console = VAPI_CONSOLE_UNSET;
    e->references = apr_array_make(p, 4, sizeof(vapi_reference_t));
    e->server = NULL;
    e->section = path ? apr_pstrdup(p, path) : NULL;
    e->place.file = NULL;
    if (global && !global->child) {    /* a child makes one too where an .htaccess names a directive of ours, only to refuse it */
        APR_ARRAY_PUSH(global->endpoints, vapi_endpoint_t *) = e;
    }
    return e;
}

static apr_hash_t *overlay_sets(apr_hash_t *add, apr_hash_t *base, apr_pool_t *p)
{
    return add && base ? apr_hash_overlay(p, add, base) : add ? add : base;
}

int vapi_actions_have(const apr_array_header_t *actions, const char *name)
{
    int i;

    for (i = 0; i < actions->nelts; i++) {
        if (strcmp(vapi_action_name(APR_ARRAY_IDX(actions, i, vapi_action_t *)), name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The outer ones first; one of an inner section stands for the outer of its name. */
static apr_array_header_t *overlay_actions(apr_array_header_t *add, apr_array_header_t *base, apr_pool_t *p)
{
    apr_array_header_t *all;
    int i;

    if (!add || !base) {
        return add ? add : base;
    }
    all = apr_array_make(p, base->nelts + add->nelts, sizeof(vapi_action_t *));
    for (i = 0; i < base->nelts; i++) {
        vapi_action_t *action = APR_ARRAY_IDX(base, i, vapi_action_t *);
        if (!vapi_actions_have(add, vapi_action_name(action))) {
            APR_ARRAY_PUSH(all, vapi_action_t *) = action;
        }
    }
    apr_array_cat(all, add);
    return all;
}

#define PICK(member, unset) e->member = add->member != (unset) ? add->member : base->member

void *vapi_config_merge_endpoint(apr_pool_t *p, void *base_, void *add_)
{
    vapi_endpoint_t *base = base_, *add = add_, *e = apr_pcalloc(p, sizeof(*e));
    vapi_endpoint_t *who = add->authenticate ? add : base, *failure = add->failure_given ? add : base;

    e->authenticate = who->authenticate;
    e->accept_apache = who->accept_apache;
    e->accept_any = who->accept_any;
    PICK(tools, NULL);
    PICK(routes, NULL);
    PICK(limits, NULL);
    e->sets = overlay_sets(add->sets, base->sets, p);
    e->actions = overlay_actions(add->actions, base->actions, p);
    PICK(control_hosts, NULL);
    PICK(allow_private, VAPI_UNSET);
    PICK(control_token, NULL);
    PICK(api_key, NULL);
    e->api_url = add->api_key ? add->api_url : base->api_url;
    PICK(control_timeout, VAPI_UNSET);
    PICK(control_connect_timeout, VAPI_UNSET);
    PICK(ca_file, NULL);
    PICK(proxy, NULL);
    PICK(budget, VAPI_UNSET);
    e->failure_say = failure->failure_say;
    e->failure_silent = failure->failure_silent;
    e->failure_given = failure->failure_given;
    PICK(body_limit, VAPI_UNSET);
    PICK(settle, VAPI_UNSET);
    PICK(log_numbers, VAPI_NUMBERS_UNSET);
    PICK(console, VAPI_CONSOLE_UNSET);
    e->references = add->references;
    e->server = add->server ? add->server : base->server;
    e->section = add->section;
    e->place = add->place.file ? add->place : base->place;
    return e;
}

const vapi_endpoint_t *vapi_endpoint_effective(const vapi_endpoint_t *e, apr_pool_t *p)
{
    vapi_endpoint_t *base = vapi_endpoint_of(e->server->lookup_defaults);
    return base && base != e ? vapi_config_merge_endpoint(p, base, (void *)e) : e;
}

static apr_interval_time_t time_or(apr_interval_time_t given, apr_interval_time_t otherwise)
{
    return given == VAPI_UNSET ? otherwise : given;
}

apr_interval_time_t vapi_endpoint_budget(const vapi_endpoint_t *e)
{
    return time_or(e->budget, DEFAULT_BUDGET);
}

apr_interval_time_t vapi_endpoint_settle(const vapi_endpoint_t *e)
{
    return time_or(e->settle, DEFAULT_SETTLE);
}

apr_interval_time_t vapi_endpoint_control_timeout(const vapi_endpoint_t *e)
{
    return time_or(e->control_timeout, DEFAULT_CONTROL_TIMEOUT);
}

apr_interval_time_t vapi_endpoint_connect_timeout(const vapi_endpoint_t *e)
{
    return time_or(e->control_connect_timeout, DEFAULT_CONNECT_TIMEOUT);
}

apr_off_t vapi_endpoint_body_limit(const vapi_endpoint_t *e)
{
    return e->body_limit == VAPI_UNSET ? DEFAULT_BODY_LIMIT : e->body_limit;
}

vapi_log_numbers vapi_endpoint_log_numbers(const vapi_endpoint_t *e)
{
    return e->log_numbers == VAPI_NUMBERS_UNSET ? VAPI_NUMBERS_MASKED : e->log_numbers;
}

const vapi_limits_t *vapi_endpoint_limits(const vapi_endpoint_t *e)
{
    static const vapi_limits_t usual = { DEFAULT_CALL_LIMIT, 0, 0, 0 };
    return e->limits ? e->limits : &usual;
}

const apr_array_header_t *vapi_endpoint_control_hosts(const vapi_endpoint_t *e)
{
    return e->control_hosts ? e->control_hosts : default_hosts;
}

const apr_array_header_t *vapi_endpoint_routes(const vapi_endpoint_t *e)
{
    static const apr_array_header_t empty = { NULL, sizeof(vapi_route_t *), 0, 0, NULL };
    return e->routes ? e->routes : &empty;
}

void vapi_endpoint_profile(const vapi_endpoint_t *e, vapi_http_profile_t *profile)
{
    profile->ca_file = e->ca_file;
    profile->proxy = e->proxy;
    profile->allow_private = e->allow_private == 1;
    profile->allow_plain = 1;    /* which URLs may be plain is for VapiControlHosts to say; the URL was held against it */
}

const vapi_tool_t *vapi_endpoint_tool(const vapi_endpoint_t *e, const char *name, int *any_name)
{
    int i;

    *any_name = e->tools == NULL;
    for (i = 0; e->tools && i < e->tools->nelts; i++) {
        const vapi_tool_t *tool = APR_ARRAY_IDX(e->tools, i, vapi_tool_t *);
        if (strcmp(tool->name, name) == 0) {
            return tool;
        }
    }
    return NULL;
}
