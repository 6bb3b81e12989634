/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * What the console changes: the state of a pool's member, the leases of a call, what is remembered of a caller. Each answers what
 * it is after the change, and leaves one line in the log: who did what. A caller's number is in neither.
 */
#include <stddef.h>
#include <string.h>

#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "vapi_body.h"
#include "vapi_clock.h"
#include "vapi_delivery.h"
#include "vapi_dial.h"
#include "vapi_payload.h"
#include "vapi_reply.h"
#include "vapi_text.h"

APLOG_USE_MODULE(vapi_transfer);

#define BODY_MAX 4096

static int refuse(request_rec *r, int status, const char *why)
{
    return vapi_console_reply(r, status, vapi_reply_error(why, r->pool));
}

static int refuse_store(request_rec *r, apr_status_t rv, const char *verb)
{
    ap_log_rerror(APLOG_MARK, APLOG_ERR, rv, r, "vapi: console=%s: the state store (%s) does not answer", verb,
                  vapi_global()->provider->name);
    return refuse(r, HTTP_SERVICE_UNAVAILABLE, "the state store does not answer");
}

/* Takes the answer. While the store is away only what this machine remembers by itself was changed. */
static int answer(request_rec *r, json_t *object)
{
    const vapi_global_t *global = vapi_global();
    const char *json;

    if (global->provider->is_reached && !global->provider->is_reached(global->state)) {
        json_object_set_new(object, "here_only", json_true());
    }
    json = vapi_reply_json(object, r->pool);
    json_decref(object);
    return vapi_console_reply(r, HTTP_OK, json);
}

static const char *who(const request_rec *r)
{
    return r->user && *r->user ? r->user : r->useragent_ip;
}

/* ---- the body ---- */

static int refuse_body(request_rec *r, int status)
{
    if (status == AP_FILTER_ERROR || status == DONE) {
        return status;
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    return refuse(r, status, status == HTTP_REQUEST_ENTITY_TOO_LARGE ? "the body is too large"
                             : status == HTTP_REQUEST_TIME_OUT       ? "the body came too slowly"
                                                                     : "the body could not be read");
}

/* Reads the body as a delivery's. @return DECLINED and the text of this member, NULL where it has none; or what was answered */
static int read_member(request_rec *r, const char *name, const char **text)
{
    vapi_endpoint_t endpoint = *vapi_endpoint_of(r->per_dir_config);
    vapi_delivery_t d = { .r = r, .pool = r->pool, .endpoint = &endpoint, .arrival = vapi_clock_now() };
    vapi_payload_t *payload;
    vapi_range_t member;
    const char *error;
    int status;

    endpoint.body_limit = BODY_MAX;
    d.deadline = d.arrival + vapi_endpoint_budget(&endpoint);
    if ((status = vapi_body_read(&d)) != 0) {
        return refuse_body(r, status);
    }
    if ((error = vapi_payload_open(&payload, d.body, d.body_len, r->pool)) != NULL) {
        return refuse(r, HTTP_BAD_REQUEST, apr_pstrcat(r->pool, "the body is ", error, NULL));
    }
    member = vapi_payload_member(payload, vapi_payload_root(payload), name, strlen(name), &error);
    *text = member.kind == VAPI_JSON_STRING ? vapi_payload_text(payload, member) : NULL;
    return DECLINED;
}

/* ---- members ---- */

static int presence_of(const char *word)
{
    int i;

    for (i = 0; word && vapi_presence_words[i]; i++) {
        if (strcmp(vapi_presence_words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

int vapi_members(request_rec *r, const char *rest)
{
    const vapi_global_t *global = vapi_global();
    const char *slash = strchr(rest, '/'), *name = apr_pstrmemdup(r->pool, rest, (apr_size_t)(slash - rest)), *word = NULL;
    const vapi_pool_t *pool = apr_hash_get(vapi_host_conf(r->server)->names.pools, name, APR_HASH_KEY_STRING);
    const vapi_member_t *member = pool ? vapi_pool_find(pool, slash + 1) : NULL;
    vapi_seat_view_t view;
    apr_status_t rv;
    int answered, presence;

    if (!member) {
        return refuse(r, HTTP_NOT_FOUND, pool ? "the pool has no such member" : "there is no such pool");
    }
    if ((answered = read_member(r, "state", &word)) != DECLINED) {
        return answered;
    }
    if ((presence = presence_of(word)) < 0) {
        return refuse(r, HTTP_BAD_REQUEST, "state must be available, paused or busy");
    }
    if ((rv = global->provider->present(global->state, member->seat, (vapi_presence)presence)) != APR_SUCCESS) {
        return refuse_store(r, rv, "members");
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "vapi: console=members by=%s pool=%s member=%s state=%s", who(r), name,
                  member->name, word);
    if ((rv = global->provider->survey(global->state, &member->seat, 1, &view)) != APR_SUCCESS) {
        return refuse_store(r, rv, "members");
    }
    return answer(r, json_pack("{s:s, s:s, s:s, s:i, s:i}", "pool", name, "member", member->name, "state",
                               vapi_presence_of(&view), "active", view.active, "capacity", member->capacity));
}

/* ---- release ---- */

static int is_final(const vapi_leg_t *leg)
{
    return *leg->status && strcmp(leg->status, "connected") != 0;
}

/* Ends the lease of one leg, and its story: nobody waits for a report any more. A member may be configured no more. */
static apr_status_t release_leg(const vapi_once_t *once, vapi_leg_t *leg, apr_hash_t *pools, int *released)
{
    const vapi_pool_t *pool = apr_hash_get(pools, leg->pool, APR_HASH_KEY_STRING);
    vapi_seat_t *seat;
    apr_status_t rv = vapi_pool_seat_of(&seat, once->state, leg->home, leg->member, once->pool);

    if (rv == APR_SUCCESS) {
        rv = once->state->provider->release(once->state, seat, leg->token, pool ? vapi_pool_wrap_up(pool) : 0);
    }
    if (rv != APR_SUCCESS && !APR_STATUS_IS_NOTFOUND(rv)) {
        return rv;
    }
    *released += rv == APR_SUCCESS;
    if (!is_final(leg)) {
        vapi_trail_mark(once, leg, "unreported");
    }
    return APR_SUCCESS;
}

int vapi_release(request_rec *r, const char *rest)
{
    const vapi_host_conf_t *host = vapi_host_conf(r->server);
    vapi_once_t once = { vapi_global()->state, host->id, rest, vapi_clock_now(), r->pool };
    const apr_array_header_t *trail = vapi_trail_read(&once);
    apr_status_t rv, failed = APR_SUCCESS;
    int i, released = 0;

    if (!trail) {
        return refuse_store(r, APR_EGENERAL, "release");
    }
    if (!trail->nelts) {
        return refuse(r, HTTP_NOT_FOUND, "nothing is known of such a call");
    }
    for (i = 0; i < trail->nelts; i++) {
        vapi_leg_t *leg = APR_ARRAY_IDX(trail, i, vapi_leg_t *);

        if (leg->token && (rv = release_leg(&once, leg, host->names.pools, &released)) != APR_SUCCESS) {
            failed = rv;
        }
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "vapi: console=release by=%s call=%s released=%d", who(r), vapi_log_id(rest),
                  released);
    if (failed != APR_SUCCESS) {
        return refuse_store(r, failed, "release");
    }
    return answer(r, json_pack("{s:o, s:i}", "call", vapi_text_json(rest, r->pool), "released", released));
}

/* ---- forget ---- */

int vapi_forget(request_rec *r, const char *rest)
{
    const vapi_global_t *global = vapi_global();
    const char *number = NULL, *owner;
    apr_status_t rv;
    int answered, forgotten = 0;

    (void)rest;
    if ((answered = read_member(r, "number", &number)) != DECLINED) {
        return answered;
    }
    if (!number || (!vapi_dial_is_e164(number) && vapi_dial_check_sip(number) != NULL)) {
        return refuse(r, HTTP_BAD_REQUEST, "number must be a telephone number such as +14155550100, or a SIP URI");
    }
    owner = vapi_once_owner(vapi_host_conf(r->server)->id, number, r->pool);
    if ((rv = global->provider->forget(global->state, owner, &forgotten)) != APR_SUCCESS) {
        return refuse_store(r, rv, "forget");
    }
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r, "vapi: console=forget by=%s forgotten=%d", who(r), forgotten);
    return answer(r, json_pack("{s:i}", "forgotten", forgotten));
}
