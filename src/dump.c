/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* What was understood: -t -D DUMP_VAPI for people, -t -D DUMP_VAPI_TOOL for Vapi's API. Secrets show as `set`. */
#include <apr_file_io.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>

#include "conftree.h"
#include "vapi_config.h"
#include "vapi_dial.h"
#include "vapi_hours.h"
#include "vapi_lookup.h"
#include "vapi_map.h"
#include "vapi_reply.h"
#include "vapi_signal.h"

typedef const char *(*describe_fn)(const void *object, apr_pool_t *p);

static const char *describe_credential(const void *object, apr_pool_t *p)
{
    return vapi_credential_describe(object, p);
}

static const char *describe_plan(const void *object, apr_pool_t *p)
{
    return vapi_plan_describe(object, p);
}

static const char *describe_destination(const void *object, apr_pool_t *p)
{
    return vapi_destination_describe(object, p);
}

static const char *describe_hours(const void *object, apr_pool_t *p)
{
    return vapi_hours_describe(object, p);
}

static const char *describe_map(const void *object, apr_pool_t *p)
{
    const vapi_map_t *map = object;
    const char *otherwise = vapi_map_default(map);

    return apr_psprintf(p, "%s %s%s (%" APR_SIZE_T_FMT " entries)", vapi_map_name(map), vapi_map_is_prefix(map) ? "prefix" : "exact",
                        otherwise ? vapi_word_pair("default", otherwise, p) : "", vapi_map_entries(map));
}

static const char *describe_signal(const void *object, apr_pool_t *p)
{
    return apr_pstrcat(p, vapi_signal_name(object), vapi_signal_describe(object, p), NULL);
}

static const char *describe_lookup(const void *object, apr_pool_t *p)
{
    return vapi_lookup_describe(object, p);
}

static void dump_class(apr_file_t *out, const char *directive, apr_hash_t *objects, describe_fn describe, apr_pool_t *p)
{
    const apr_array_header_t *names = vapi_names_sorted(objects, p);
    int i;

    for (i = 0; i < names->nelts; i++) {
        apr_file_printf(out, "  %s %s\n", directive,
                        describe(apr_hash_get(objects, APR_ARRAY_IDX(names, i, const char *), APR_HASH_KEY_STRING), p));
    }
}

static void dump_pools(apr_file_t *out, apr_hash_t *pools, apr_pool_t *p)
{
    const apr_array_header_t *names = vapi_names_sorted(pools, p);
    int i, j;

    for (i = 0; i < names->nelts; i++) {
        const vapi_pool_t *pool = apr_hash_get(pools, APR_ARRAY_IDX(names, i, const char *), APR_HASH_KEY_STRING);
        apr_file_printf(out, "  VapiPool %s\n", vapi_pool_describe(pool, p));
        for (j = 0; j < vapi_pool_size(pool); j++) {
            apr_file_printf(out, "    VapiMember %s\n", vapi_pool_describe_member(pool, j, p));
        }
    }
}

static void dump_host(apr_file_t *out, server_rec *s, apr_pool_t *p)
{
    const vapi_host_conf_t *host = vapi_host_conf(s);
    int i;

    apr_file_printf(out, "%s %s%s%s\n", s->is_virtual ? "virtual host" : "server", s->server_hostname ? s->server_hostname : "",
                    s->port ? apr_psprintf(p, ":%u", s->port) : "",
                    s->defn_name ? apr_psprintf(p, " (%s:%u)", s->defn_name, s->defn_line_number) : "");
    dump_class(out, "VapiCredential", host->credentials, describe_credential, p);
    dump_class(out, "VapiTransferPlan", host->names.plans, describe_plan, p);
    dump_class(out, "VapiDestination", host->names.destinations, describe_destination, p);
    dump_pools(out, host->names.pools, p);
    dump_class(out, "VapiHours", host->names.hours, describe_hours, p);
    dump_class(out, "VapiMap", host->names.maps, describe_map, p);
    dump_class(out, "VapiSignal", host->names.signals, describe_signal, p);
    dump_class(out, "VapiLookup", host->names.lookups, describe_lookup, p);
    if (host->names.allow) {
        apr_file_printf(out, "  VapiAllow");
        for (i = 0; i < host->names.allow->nelts; i++) {
            apr_file_printf(out, " %s", vapi_allow_text(APR_ARRAY_IDX(host->names.allow, i, vapi_allow_t *)));
        }
        apr_file_printf(out, "\n");
    }
}

static void dump_who(apr_file_t *out, const vapi_endpoint_t *e)
{
    int i;

    apr_file_printf(out, "    VapiAuthenticate%s%s", e->authenticate && e->accept_apache ? " apache" : "",
                    e->authenticate && e->accept_any ? " none" : "");
    for (i = 0; e->authenticate && i < e->authenticate->nelts; i++) {
        apr_file_printf(out, " %s", APR_ARRAY_IDX(e->authenticate, i, const char *));
    }
    apr_file_printf(out, "%s\n", e->authenticate ? "" : " (not given: every delivery is refused)");
}

static void dump_tools(apr_file_t *out, const vapi_endpoint_t *e)
{
    static const char *const types[] = { "string", "number", "integer", "boolean", "phone" };
    int i, j;

    for (i = 0; e->tools && i < e->tools->nelts; i++) {
        const vapi_tool_t *tool = APR_ARRAY_IDX(e->tools, i, vapi_tool_t *);
        apr_file_printf(out, "    VapiTool %s\n", tool->name);
        for (j = 0; j < tool->params->nelts; j++) {
            const vapi_param_t *param = APR_ARRAY_IDX(tool->params, j, vapi_param_t *);
            apr_file_printf(out, "      VapiParam %s %s%s%s%s\n", param->name, types[param->type],
                            param->required ? " required" : "", param->choices ? " enum=" : "",
                            param->choices ? apr_array_pstrcat(e->tools->pool, param->choices, ',') : "");
        }
    }
}

static void dump_sets(apr_file_t *out, const vapi_endpoint_t *e, apr_pool_t *p)
{
    const apr_array_header_t *names = e->sets ? vapi_names_sorted(e->sets, p) : NULL;
    int i, j;

    for (i = 0; names && i < names->nelts; i++) {
        const vapi_set_t *set = apr_hash_get(e->sets, APR_ARRAY_IDX(names, i, const char *), APR_HASH_KEY_STRING);
        for (j = 0; j < vapi_set_lines(set); j++) {
            apr_file_printf(out, "    VapiSet %s%s\n", vapi_set_name(set), vapi_set_describe(set, j, p));
        }
    }
}

static void dump_actions(apr_file_t *out, const vapi_endpoint_t *e, apr_pool_t *p)
{
    int i;

    for (i = 0; e->actions && i < e->actions->nelts; i++) {
        const vapi_action_t *action = APR_ARRAY_IDX(e->actions, i, vapi_action_t *);
        apr_file_printf(out, "    VapiAction %s%s\n", vapi_action_name(action), vapi_action_describe(action, p));
    }
}

static void dump_routes(apr_file_t *out, const vapi_endpoint_t *e, apr_pool_t *p)
{
    const apr_array_header_t *routes = vapi_endpoint_routes(e);
    int i;

    for (i = 0; i < routes->nelts; i++) {
        const vapi_route_t *route = APR_ARRAY_IDX(routes, i, vapi_route_t *);
        apr_file_printf(out, "    %d. %s -> %s%s%s%s%s%s%s%s (%s:%u)\n", i + 1, route->label, route->target,
                        route->when ? " when " : "", route->when ? vapi_expression_written(route->when) : "",
                        route->skills ? vapi_word_pair("skills", vapi_text_written(route->skills), p) : "",
                        route->leave ? apr_psprintf(p, " leave=%d", route->leave) : "",
                        route->plan ? " plan=" : "", route->plan ? route->plan : "", route->say ? " say=..." : "",
                        route->place.file, route->place.line);
    }
}

/* A time as a directive takes it. */
static const char *time_text(apr_interval_time_t time, apr_pool_t *p)
{
    return time % APR_USEC_PER_SEC ? apr_psprintf(p, "%" APR_TIME_T_FMT "ms", apr_time_as_msec(time))
                                   : apr_psprintf(p, "%" APR_TIME_T_FMT, apr_time_sec(time));
}

static void dump_values(apr_file_t *out, const vapi_endpoint_t *e, apr_pool_t *p)
{
    const apr_array_header_t *hosts = vapi_endpoint_control_hosts(e);
    const vapi_limits_t *limits = vapi_endpoint_limits(e);
    static const char *const numbers[] = { "masked", "full", "none" };
    int i;

    apr_file_printf(out, "    VapiControlHosts");
    for (i = 0; i < hosts->nelts; i++) {
        apr_file_printf(out, " %s", vapi_control_host_text(APR_ARRAY_IDX(hosts, i, vapi_control_host_t *)));
    }
    apr_file_printf(out, "\n    VapiBudget %s  VapiSettle %s  VapiControlTimeout %s  VapiControlConnectTimeout %s"
                    "  VapiBodyLimit %" APR_OFF_T_FMT "\n",
                    time_text(vapi_endpoint_budget(e), p), time_text(vapi_endpoint_settle(e), p),
                    time_text(vapi_endpoint_control_timeout(e), p), time_text(vapi_endpoint_connect_timeout(e), p),
                    vapi_endpoint_body_limit(e));
    apr_file_printf(out, "    VapiLimit call=%d", limits->call);
    if (limits->caller) {
        apr_file_printf(out, " caller=%d/%s", limits->caller, time_text(limits->caller_window, p));
    }
    if (limits->outbound) {
        apr_file_printf(out, " outbound=%d", limits->outbound);
    }
    apr_file_printf(out, "\n    VapiLogNumbers %s%s%s%s%s\n", numbers[vapi_endpoint_log_numbers(e)],
                    e->allow_private == 1 ? "  VapiControlAllowPrivate on" : "", e->control_token ? "  VapiControlToken set" : "",
                    e->api_key ? "  VapiApiKey set" : "", e->proxy ? "  VapiControlProxy set" : "");
}

/* Is the section worth showing: does it route, or say who may speak to it? */
static int is_endpoint(const vapi_endpoint_t *e)
{
    return e->server && (e->routes || e->tools || (e->section && (e->authenticate || e->sets || e->actions)));
}

static void dump_sections(apr_file_t *out, const server_rec *s, apr_pool_t *p)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    int i;

    for (i = 0; i < all->nelts; i++) {
        const vapi_endpoint_t *section = APR_ARRAY_IDX(all, i, vapi_endpoint_t *), *e;
        if (!is_endpoint(section) || section->server != s) {
            continue;
        }
        e = vapi_endpoint_effective(section, p);
        apr_file_printf(out, "  endpoint %s (%s:%u)\n", section->section ? section->section : "(whole host)", section->place.file,
                        section->place.line);
        dump_who(out, e);
        dump_tools(out, e);
        dump_sets(out, e, p);
        dump_actions(out, e, p);
        dump_routes(out, e, p);
        dump_values(out, e, p);
    }
}

/* ---- DUMP_VAPI_TOOL ---- */

static json_t *param_json(const vapi_param_t *param)
{
    static const char *const types[] = { "string", "number", "integer", "boolean", "string" };
    json_t *object = json_pack("{s:s}", "type", types[param->type]), *choices;
    int i;

    if (param->description) {
        json_object_set_new(object, "description", json_string(param->description));
    }
    else if (param->type == VAPI_PARAM_PHONE) {
        json_object_set_new(object, "description", json_string("A phone number with its country code, such as +14155550100"));
    }
    if (param->choices) {
        choices = json_array();
        for (i = 0; i < param->choices->nelts; i++) {
            json_array_append_new(choices, json_string(APR_ARRAY_IDX(param->choices, i, const char *)));
        }
        json_object_set_new(object, "enum", choices);
    }
    return object;
}

static json_t *parameters_json(const vapi_tool_t *tool)
{
    json_t *properties = json_object(), *required = json_array();
    int i;

    for (i = 0; i < tool->params->nelts; i++) {
        const vapi_param_t *param = APR_ARRAY_IDX(tool->params, i, vapi_param_t *);
        json_object_set_new(properties, param->name, param_json(param));
        if (param->required) {
            json_array_append_new(required, json_string(param->name));
        }
    }
    return json_pack("{s:s, s:o, s:o}", "type", "object", "properties", properties, "required", required);
}

/* ServerName with its scheme and the section's path: what Vapi is to call. */
static const char *url_of(const server_rec *s, const char *path, apr_pool_t *p)
{
    const char *scheme = s->server_scheme ? s->server_scheme : s->port == 80 ? "http" : "https";
    int usual = !s->port || s->port == (strcmp(scheme, "https") == 0 ? 443 : 80);

    return apr_pstrcat(p, scheme, "://", s->server_hostname, usual ? "" : apr_psprintf(p, ":%u", s->port), path, NULL);
}

/* Vapi must wait longer than our budget, of which a request gets three quarters at most (W69: 20 s unless said, 300 at most). */
static int timeout_of(const vapi_endpoint_t *e)
{
    int seconds = (int)apr_time_sec(vapi_endpoint_budget(e) * 4 / 3 + APR_USEC_PER_SEC - 1);
    return seconds < 20 ? 20 : seconds > 300 ? 300 : seconds;
}

static json_t *tool_json(const vapi_endpoint_t *e, const vapi_tool_t *tool, const char *url)
{
    json_t *function = json_pack("{s:s}", "name", tool->name);

    if (tool->description) {
        json_object_set_new(function, "description", json_string(tool->description));
    }
    json_object_set_new(function, "parameters", parameters_json(tool));
    return json_pack("{s:s, s:b, s:o, s:{s:s, s:i}}", "type", "function", "async", 0, "function", function,
                     "server", "url", url, "timeoutSeconds", timeout_of(e));
}

static void add_tools(json_t *tools, const vapi_endpoint_t *e, const char *url)
{
    int i;

    for (i = 0; i < e->tools->nelts; i++) {
        json_array_append_new(tools, tool_json(e, APR_ARRAY_IDX(e->tools, i, vapi_tool_t *), url));
    }
}

/* A tool that stands in no section serves the host's <Location>s with the handler and no VapiTool of their own. */
static void add_inherited_tools(json_t *tools, const server_rec *s, apr_pool_t *p)
{
    const vapi_endpoint_t *e = vapi_endpoint_of(s->lookup_defaults);
    const ap_directive_t *dir;

    for (dir = e->tools ? vapi_tree_of(s) : NULL; dir; dir = dir->next) {
        const char *path = vapi_tree_location(dir, p);
        if (path && vapi_tree_has_handler(dir->first_child) && !vapi_tree_has(dir->first_child, "VapiTool")) {
            add_tools(tools, e, url_of(s, path, p));
        }
    }
}

static json_t *all_tools(server_rec *main_server, apr_pool_t *p)
{
    const apr_array_header_t *all = vapi_global()->endpoints;
    json_t *tools = json_array();
    const server_rec *s;
    int i, inside;

    for (s = main_server; s; s = s->next) {
        add_inherited_tools(tools, s, p);
    }
    for (inside = 1; inside >= 0; inside--) {
        for (i = 0; i < all->nelts; i++) {
            const vapi_endpoint_t *section = APR_ARRAY_IDX(all, i, vapi_endpoint_t *);
            /* outside a section, and no <Location> was found: the URL's path is for the administrator to fill in */
            if (section->server && section->tools && (inside ? section->section != NULL : !json_array_size(tools))) {
                add_tools(tools, vapi_endpoint_effective(section, p), url_of(section->server, inside ? section->section : "/", p));
            }
        }
    }
    return tools;
}

static void dump_tool_json(apr_file_t *out, server_rec *s, apr_pool_t *p)
{
    json_t *tools = all_tools(s, p), *shown = json_array_size(tools) == 1 ? json_array_get(tools, 0) : tools;
    char *text = json_dumps(shown, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (text) {
        apr_file_printf(out, "%s\n", text);
        free(text);
    }
    json_decref(tools);
}

static void dump_global(apr_file_t *out, const vapi_global_t *global, apr_pool_t *p)
{
    if (global->decrypt) {
        apr_file_printf(out, "VapiDecrypt (key set) %s\n", apr_array_pstrcat(p, vapi_decrypt_paths(global->decrypt), ' '));
    }
    if (global->spool) {
        apr_file_printf(out, "VapiSpool %s sync=%s\n", vapi_spool_directory(global->spool), vapi_spool_is_sync(global->spool) ? "on" : "off");
    }
}

void vapi_dump(apr_pool_t *pconf, server_rec *s)
{
    apr_file_t *out;
    server_rec *host;

    if (!ap_exists_config_define("DUMP_VAPI") && !ap_exists_config_define("DUMP_VAPI_TOOL")) {
        return;
    }
    apr_file_open_stdout(&out, pconf);
    if (ap_exists_config_define("DUMP_VAPI_TOOL")) {
        dump_tool_json(out, s, pconf);
        return;
    }
    apr_file_printf(out, "state: %s\n", vapi_global()->provider->name);
    dump_global(out, vapi_global(), pconf);
    for (host = s; host; host = host->next) {
        dump_host(out, host, pconf);
        dump_sections(out, host, pconf);
    }
}
