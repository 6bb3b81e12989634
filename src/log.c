/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The only place that writes of a call. What goes out is a constant, a configured name, an id of harmless form, or a masked number. */
#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "vapi_dial.h"
#include "vapi_log.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

#define ID_MAX 64

const char *vapi_log_id(const char *id)
{
    apr_size_t len = id ? strlen(id) : 0, i;

    for (i = 0; i < len && i <= ID_MAX; i++) {
        if (!apr_isalnum(id[i]) && !strchr("_.:-", id[i])) {
            return "-";
        }
    }
    return len && len <= ID_MAX ? id : "-";
}

const char *vapi_log_number(const char *number, vapi_log_numbers numbers, apr_pool_t *p)
{
    if (!number || !*number || numbers == VAPI_NUMBERS_NONE) {
        return "-";
    }
    /* in full only what has the form of one: a caller's own line never brings a text of the caller's choice */
    if (numbers == VAPI_NUMBERS_FULL && (vapi_dial_is_e164(number) || vapi_dial_check_sip(number) == NULL)) {
        return number;
    }
    return vapi_dial_mask(number, p);
}

static const char *shown(const char *text)
{
    return text && *text ? text : "-";
}

static void set_note(request_rec *r, const char *name, const char *value)
{
    if (value && *value && strcmp(value, "-") != 0) {
        apr_table_set(r->notes, name, value);
    }
}

/* Milliseconds, a started one counting as one: 0 would read as "no request". */
static int milliseconds(apr_interval_time_t time)
{
    return (int)((time + 999) / 1000);
}

static void set_notes(request_rec *r, const vapi_record_t *record)
{
    set_note(r, "vapi-call", vapi_log_id(record->call));
    set_note(r, "vapi-type", record->type);
    set_note(r, "vapi-tool", vapi_log_id(record->tool));
    set_note(r, "vapi-route", record->route);
    set_note(r, "vapi-destination", record->destination);
    set_note(r, "vapi-member", record->member);
    set_note(r, "vapi-outcome", record->outcome);
    set_note(r, "vapi-reason", record->reason);
    if (record->attempt >= 0) {
        set_note(r, "vapi-attempt", apr_itoa(r->pool, record->attempt));
    }
    if (record->control_time >= 0) {
        set_note(r, "vapi-control-ms", apr_itoa(r->pool, milliseconds(record->control_time)));
    }
    if (record->control_status) {
        set_note(r, "vapi-control-status", apr_itoa(r->pool, record->control_status));
    }
}

/* Outcomes that an administrator is to look at. */
static int is_trouble(const char *outcome)
{
    static const char *const trouble[] = { "refused", "failed", "unknown", "no-route", "limited", "malformed" };
    apr_size_t i;

    for (i = 0; i < sizeof(trouble) / sizeof(trouble[0]); i++) {
        if (strcmp(outcome, trouble[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

void vapi_log_decision(request_rec *r, vapi_log_numbers numbers, const vapi_record_t *record)
{
    int level = is_trouble(record->outcome) ? APLOG_WARNING : strcmp(record->outcome, "ignored") == 0 ? APLOG_DEBUG : APLOG_INFO;

    set_notes(r, record);
    if (!APLOG_R_IS_LEVEL(r, level)) {
        return;
    }
    ap_log_rerror(APLOG_MARK, level, 0, r,
                  "vapi: call=%s type=%s tool=%s route=%s destination=%s attempt=%s outcome=%s reason=%s control=%s "
                  "control-ms=%s caller=%s to=%s%s%s%s",
                  vapi_log_id(record->call), shown(record->type), vapi_log_id(record->tool), shown(record->route),
                  shown(record->destination), record->attempt >= 0 ? apr_itoa(r->pool, record->attempt) : "-", record->outcome,
                  shown(record->reason), record->control_status ? apr_itoa(r->pool, record->control_status) : "-",
                  record->control_time >= 0 ? apr_itoa(r->pool, milliseconds(record->control_time)) : "-",
                  vapi_log_number(record->caller, numbers, r->pool), vapi_log_number(record->dialled, numbers, r->pool),
                  record->what ? " (" : "", record->what ? record->what : "", record->what ? ")" : "");
}

void vapi_log_unauthorized(request_rec *r, const char *reason, const char *clocks)
{
    vapi_global_t *global = vapi_global();
    apr_uint32_t count = global->shared ? vapi_shared_refused(global->shared, reason) : 1;

    set_note(r, "vapi-outcome", "unauthorized");
    set_note(r, "vapi-reason", reason);
    if (count) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "vapi: outcome=unauthorized reason=%s%s count=%u (refused since the last such line; at most one a minute "
                      "is written)", reason, clocks, count);
    }
}

/* ---- httpd's own lines about request headers ---- */

struct vapi_quiet_t {
    struct ap_logconf *log;          /* of requests with such a header; NULL: nothing is written of them */
    struct ap_logconf *connection;   /* of connections, on which mod_http2 writes headers before it is known whose they are; NULL
                                        likewise */
    apr_array_header_t *headers;     /* const char *: those that carry a secret */
};

/* The headers in which credentials of this host bring their secret itself; empty where all of them sign. */
static apr_array_header_t *secret_headers(const vapi_host_conf_t *host, apr_pool_t *p)
{
    apr_array_header_t *headers = apr_array_make(p, 2, sizeof(const char *));
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(p, host->credentials); hi; hi = apr_hash_next(hi)) {
        const char *header = vapi_credential_secret_header(apr_hash_this_val(hi));
        if (header) {
            APR_ARRAY_PUSH(headers, const char *) = header;
        }
    }
    return headers;
}

/* A log configuration in which one module stays below the level at which it shows headers; NULL where it does so already. */
static struct ap_logconf *quieter(server_rec *s, const char *module_name, int showing, apr_pool_t *pconf)
{
    module *talker = ap_find_linked_module(module_name);
    struct ap_logconf *log;

    if (!talker || ap_get_server_module_loglevel(s, talker->module_index) < showing) {
        return NULL;
    }
    log = ap_new_log_config(pconf, &s->log);
    ap_set_module_loglevel(pconf, log, talker->module_index, showing - 1);
    return log;
}

void vapi_log_prepare_quiet(server_rec *main_server, apr_pool_t *pconf)
{
    server_rec *s;
    int secrets = 0;

    for (s = main_server; s; s = s->next) {
        vapi_host_conf_t *host = vapi_host_conf(s);

        host->quiet = apr_pcalloc(pconf, sizeof(*host->quiet));
        host->quiet->headers = secret_headers(host, pconf);
        host->quiet->log = host->quiet->headers->nelts ? quieter(s, "http_core.c", APLOG_TRACE4, pconf) : NULL;
        secrets += host->quiet->headers->nelts;
    }
    for (s = main_server; s && secrets; s = s->next) {
        vapi_host_conf(s)->quiet->connection = quieter(s, "mod_http2.c", APLOG_TRACE2, pconf);
    }
}

int vapi_log_quiet_connection(conn_rec *c, void *csd)
{
    const struct vapi_quiet_t *quiet = vapi_host_conf(c->base_server)->quiet;

    (void)csd;
    if (quiet && quiet->connection) {
        c->log = quiet->connection;
    }
    return OK;
}

int vapi_log_quiet(request_rec *r)
{
    const vapi_host_conf_t *host = vapi_host_conf(r->server);
    int i;

    for (i = 0; host->quiet && host->quiet->log && i < host->quiet->headers->nelts; i++) {
        if (apr_table_get(r->headers_in, APR_ARRAY_IDX(host->quiet->headers, i, const char *))) {
            r->log = host->quiet->log;
            break;
        }
    }
    return DECLINED;
}
