/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * While it waits an errand is one text, in the spool and on the way to a worker thread alike: what is done at once and what is
 * done after a crash are read from the same bytes, and have the same Idempotency-Key. The text names the action; what the action
 * keeps to itself (secrets, descriptors) stays in the configuration.
 */
#include <stddef.h>

#include <apr_escape.h>
#include <apr_strings.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "errand.h"
#include "vapi_clock.h"
#include "vapi_config.h"
#include "vapi_key.h"
#include "vapi_log.h"
#include "vapi_shared.h"

APLOG_USE_MODULE(vapi_transfer);

#define VERSION   1
#define KEY_BYTES 16                           /* of a SHA-256: 32 hex digits */
#define DAY       apr_time_from_sec(86400)

/** One on its way to a worker thread, in a pool of its own. */
typedef struct pending_t {
    struct vapi_child_t *child;
    vapi_spool_t *spool;
    server_rec *server;
    const char *text, *about;
    apr_size_t len;
    vapi_spooled_t *file;                      /* NULL: in no spool, or ended */
    int begun;
    apr_pool_t *pool;
} pending_t;

/* ---- what is sent ---- */

static const char *time_text(apr_time_t t, apr_pool_t *p)
{
    apr_time_exp_t at;

    apr_time_exp_gmt(&at, t);
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", at.tm_year + 1900, at.tm_mon + 1, at.tm_mday, at.tm_hour,
                        at.tm_min, at.tm_sec, at.tm_usec / 1000);
}

static void add(json_t *object, const char *name, const char *value, apr_pool_t *p)
{
    json_object_set_new(object, name, vapi_text_json(value ? value : "", p));
}

static json_t *default_body(vapi_event event, const vapi_question_t *q)
{
    json_t *body = json_object();

    add(body, "event", vapi_event_name(event), q->pool);
    add(body, "time", time_text(apr_time_now(), q->pool), q->pool);
    add(body, "call", q->message->call_id, q->pool);
    add(body, "route", q->route, q->pool);
    add(body, "target", q->target, q->pool);
    add(body, "member", q->member ? q->destination : NULL, q->pool);    /* the name: a label is for ears */
    add(body, "outcome", q->outcome, q->pool);
    add(body, "reason", q->reason, q->pool);
    json_object_set_new(body, "attempt", json_integer(q->attempt));
    return body;
}

/* What it looks up on the way is no part of the decision: the question keeps no mark of it. */
static vapi_fill_end fill(const vapi_action_t *a, vapi_event event, vapi_question_t *q, vapi_filled_t *filled, const char **why)
{
    json_t *body = vapi_action_has_default_body(a) ? default_body(event, q) : NULL;
    const int read = q->read, met = q->met, barred = q->barred;
    vapi_fill_end end;

    *why = "";
    end = vapi_outgoing_fill(vapi_action_outgoing(a), q, body, filled, why);
    q->read = read;
    q->met = met;
    q->barred = barred;
    json_decref(body);
    return end;
}

/* The same for this action at this event of this delivery, whenever it is asked. */
static const char *idempotency_key(const vapi_errands_t *errands, const vapi_action_t *a, vapi_event event,
                                   const vapi_question_t *q)
{
    const char *const *delivery = errands->identity;
    const char *const words[] = { delivery[0], delivery[1], delivery[2], delivery[3], vapi_action_id(a), vapi_event_name(event),
                                  q->route ? q->route : "" };
    unsigned char digest[EVP_MAX_MD_SIZE];
    apr_size_t len;
    const char *all = vapi_key_join(words, sizeof(words) / sizeof(*words), &len, q->pool);

    if (EVP_Digest(all, len, digest, NULL, EVP_sha256(), NULL) != 1) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, errands->server, "vapi: SHA-256 cannot be had");
        apr_generate_random_bytes(digest, KEY_BYTES);    /* another's key would make a receiver drop this one */
    }
    return apr_pescape_hex(q->pool, digest, KEY_BYTES, 0);
}

/* ---- how it ends ---- */

static errand_end judge(const vapi_sent_t *sent, const char **what, apr_pool_t *p)
{
    if (sent->end == VAPI_SENT_DONE || sent->end == VAPI_SENT_NO_ROW) {
        return ERRAND_DELIVERED;
    }
    if (sent->end != VAPI_SENT_ANSWERED) {
        *what = sent->what ? sent->what : sent->timed_out ? "timed out" : "failed";
        return ERRAND_FAILED;
    }
    if (sent->status / 100 == 2) {
        return ERRAND_DELIVERED;
    }
    *what = apr_psprintf(p, "HTTP %d", sent->status);
    return sent->status / 100 == 4 && sent->status != 408 && sent->status != 429 ? ERRAND_REFUSED : ERRAND_FAILED;
}

static vapi_sender_t sender_of(struct vapi_child_t *child, const char *key, int sync, apr_time_t deadline)
{
    vapi_sender_t sender = { 0 };

    sender.child = child;
    sender.workers = vapi_child_sql_workers(child);
    sender.deadline = deadline;
    sender.idempotency_key = key;
    sender.sync = sync;
    return sender;
}

errand_end vapi_errand_try(const errand_t *errand, struct vapi_child_t *child, int spooled, int sync, const char **what, apr_pool_t *p)
{
    const vapi_outgoing_t *outgoing = vapi_action_outgoing(errand->action);
    vapi_sender_t sender = sender_of(child, errand->key, sync, vapi_clock_now() + vapi_outgoing_timeout(outgoing));
    vapi_sent_t sent;

    sender.spooled = spooled;
    *what = "";
    vapi_outgoing_send(outgoing, &errand->filled, &sender, &sent, p);
    return judge(&sent, what, p);
}

static int spool_sync(const vapi_spool_t *spool)
{
    return spool && vapi_spool_is_sync(spool);
}

/* ---- required ones ---- */

static void note(const vapi_question_t *q, const vapi_action_t *a, const char *what)
{
    if (q->reach->notes) {
        APR_ARRAY_PUSH(q->reach->notes, const char *) = apr_pstrcat(q->pool, "action ", vapi_action_name(a), ": ", what, NULL);
    }
}

/* @return 1: done */
static int do_required(const vapi_errands_t *errands, const vapi_action_t *a, vapi_event event, vapi_question_t *q)
{
    vapi_sender_t sender;
    vapi_filled_t filled;
    vapi_sent_t sent;
    const char *what;

    if (fill(a, event, q, &filled, &what) == VAPI_FILLED_BAD) {
        note(q, a, apr_pstrcat(q->pool, "cannot be filled in: ", what, NULL));
        return 0;
    }
    if (vapi_clock_left(q->reach->deadline) == 0) {
        note(q, a, "no time is left");
        return 0;
    }
    sender = sender_of(errands->child, idempotency_key(errands, a, event, q), spool_sync(errands->spool), q->reach->deadline);
    vapi_outgoing_send(vapi_action_outgoing(a), &filled, &sender, &sent, q->pool);
    if (judge(&sent, &what, q->pool) == ERRAND_DELIVERED) {
        return 1;
    }
    note(q, a, apr_psprintf(q->pool, "%s after %" APR_TIME_T_FMT " ms", what, (sent.took + 999) / 1000));
    return 0;
}

/* Once a request: another asking gets what came of it. */
static int ask_required(vapi_errands_t *errands, const vapi_action_t *a, vapi_event event, vapi_question_t *q)
{
    static const char done[] = "done", failed[] = "failed";
    const char *was;

    if (!errands->done) {
        errands->done = apr_hash_make(errands->pool);
    }
    was = apr_hash_get(errands->done, &a, sizeof(a));
    if (!was) {
        was = do_required(errands, a, event, q) ? done : failed;
        apr_hash_set(errands->done, apr_pmemdup(errands->pool, &a, sizeof(a)), sizeof(a), was);
    }
    return was == done;
}

int vapi_errands_required(vapi_errands_t *errands, const apr_array_header_t *actions, vapi_event event, vapi_question_t *q)
{
    int i, unsure;

    for (i = 0; actions && q->reach && !q->reach->only_reads && i < actions->nelts; i++) {
        const vapi_action_t *a = APR_ARRAY_IDX(actions, i, vapi_action_t *);

        if (!vapi_action_is_required(a) || !vapi_action_applies(a, event, q, &unsure)) {
            continue;
        }
        if (unsure) {
            note(q, a, "its when= cannot be evaluated, and counts as true");
        }
        if (!ask_required(errands, a, event, q)) {
            q->reason = "action-failed";
            return 0;
        }
    }
    return 1;
}

/* ---- as a text, and back ---- */

/* The name at the end of an id that the configuration does not know (any more), if it has the form of one. */
static const char *shown_name(const char *id)
{
    const char *bar = strrchr(id, '|');

    return vapi_log_id(bar ? bar + 1 : id);
}

static const char *about_text(const char *log_call, const char *action, const char *event, apr_pool_t *p)
{
    return apr_psprintf(p, "call=%s action=%s event=%s", log_call, action, event);
}

/* @return malloc'ed, NULL for want of memory */
static char *make_text(const vapi_errands_t *errands, const vapi_action_t *a, vapi_event event, const char *key,
                       const vapi_filled_t *filled, apr_pool_t *p)
{
    json_t *whole = json_object();
    char *text;

    json_object_set_new(whole, "version", json_integer(VERSION));
    add(whole, "action", vapi_action_id(a), p);
    add(whole, "key", key, p);
    add(whole, "call", errands->log_call, p);
    add(whole, "event", vapi_event_name(event), p);
    add(whole, "time", time_text(apr_time_now(), p), p);
    json_object_set_new(whole, "send", vapi_filled_json(filled));
    text = json_dumps(whole, JSON_COMPACT);
    json_decref(whole);
    return text;
}

static apr_status_t release_json(void *json)
{
    json_decref(json);
    return APR_SUCCESS;
}

static const char *member(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));

    return value ? value : "";
}

static int is_key(const char *key)
{
    return strlen(key) == 2 * KEY_BYTES && strspn(key, "0123456789abcdef") == 2 * KEY_BYTES;
}

const char *vapi_errand_read(errand_t *errand, const char *text, apr_size_t len, apr_hash_t *actions, apr_pool_t *p)
{
    json_t *whole = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *id = member(whole, "action");

    apr_pool_cleanup_register(p, whole, release_json, apr_pool_cleanup_null);
    errand->action = apr_hash_get(actions, id, APR_HASH_KEY_STRING);
    errand->key = member(whole, "key");
    errand->about = about_text(vapi_log_id(member(whole, "call")), shown_name(id), vapi_log_id(member(whole, "event")), p);
    if (!whole || json_integer_value(json_object_get(whole, "version")) != VERSION || !is_key(errand->key)) {
        return "is not readable";
    }
    if (!errand->action) {
        return "is of an action that the configuration has no more";
    }
    return vapi_filled_read(&errand->filled, json_object_get(whole, "send"), vapi_action_outgoing(errand->action), p)
               ? "does not fit its action, which was changed"
               : NULL;
}

/* ---- its file ---- */

int vapi_errand_is_old(const vapi_spooled_t *file)
{
    return vapi_spool_age(file) >= DAY;
}

static void end_delivered(vapi_spooled_t *file, const char *about, server_rec *s)
{
    int failures = vapi_spool_failures(file);
    apr_interval_time_t age = vapi_spool_age(file);
    apr_status_t rv = vapi_spool_done(file);

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s,
                     "vapi: %s: delivered, but cannot be removed from the spool: it will be delivered again", about);
        return;
    }
    ap_log_error(APLOG_MARK, failures ? APLOG_INFO : APLOG_DEBUG, 0, s,
                 "vapi: %s: delivered %" APR_TIME_T_FMT " ms after it was taken on", about, age / 1000);
}

static void end_aside(vapi_spooled_t *file, const char *about, const char *what, server_rec *s)
{
    const char *directory = vapi_spool_directory(vapi_spool_of(file));
    apr_status_t rv = vapi_spool_set_aside(file);

    if (rv == APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, s, "vapi: %s: %s; not tried any more: set aside in %s/set-aside", about, what,
                     directory);
    }
    else {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, s, "vapi: %s: %s; cannot be set aside in %s/set-aside", about, what, directory);
    }
}

static void end_later(vapi_spooled_t *file, const char *about, const char *what, server_rec *s)
{
    int first = vapi_spool_failures(file) == 0;
    apr_interval_time_t pause = vapi_spool_later(file, 1);

    ap_log_error(APLOG_MARK, first ? APLOG_WARNING : APLOG_INFO, 0, s, "vapi: %s: %s; tried again in %" APR_TIME_T_FMT " s",
                 about, what, apr_time_sec(pause));
}

void vapi_errand_finish(vapi_spooled_t *file, const char *about, errand_end end, const char *what, server_rec *s)
{
    if (end == ERRAND_DELIVERED) {
        vapi_shared_delivered(vapi_global()->shared);
        end_delivered(file, about, s);
    }
    else if (end == ERRAND_REFUSED || vapi_errand_is_old(file)) {
        end_aside(file, about, what, s);
    }
    else {
        end_later(file, about, what, s);
    }
}

/* ---- after the reply ---- */

/* In no spool: there is no second time. */
static void finish_unspooled(const pending_t *pending, errand_end end, const char *what)
{
    if (end == ERRAND_DELIVERED) {
        vapi_shared_delivered(vapi_global()->shared);
        ap_log_error(APLOG_MARK, APLOG_DEBUG, 0, pending->server, "vapi: %s: delivered", pending->about);
        return;
    }
    ap_log_error(APLOG_MARK, APLOG_WARNING, 0, pending->server, "vapi: %s: %s; failed and is not tried again (%s)",
                 pending->about, what, pending->spool ? "it is not in the spool" : "no VapiSpool");
}

static void do_pending(void *baton, apr_pool_t *p)
{
    pending_t *pending = baton;
    errand_t errand;
    const char *what = vapi_errand_read(&errand, pending->text, pending->len, vapi_global()->actions, p);
    errand_end end = ERRAND_FAILED;

    pending->begun = 1;
    if (!what) {
        end = vapi_errand_try(&errand, pending->child, pending->file != NULL, spool_sync(pending->spool), &what, p);
    }
    if (pending->file) {
        vapi_errand_finish(pending->file, errand.about, end, what, pending->server);
        pending->file = NULL;
    }
    else {
        finish_unspooled(pending, end, what);
    }
}

/* When its pool goes. One that no thread began (too many waited, or the child ends) is left to the watchdog, or lost. */
static apr_status_t let_go(void *data)
{
    pending_t *pending = data;

    if (pending->file) {
        vapi_spool_later(pending->file, 0);
    }
    else if (!pending->begun) {
        finish_unspooled(pending, ERRAND_FAILED, "no thread could take it");
    }
    return APR_SUCCESS;
}

/* The reply has left. The child may be gone already: a connection's pool can outlive it. */
static apr_status_t hand_out(void *data)
{
    const apr_array_header_t *waiting = data;
    int i;

    for (i = 0; i < waiting->nelts; i++) {
        pending_t *pending = APR_ARRAY_IDX(waiting, i, pending_t *);

        if (vapi_global()->child != pending->child) {
            apr_pool_destroy(pending->pool);
        }
        else {
            vapi_workers_push(vapi_child_errand_workers(pending->child), do_pending, pending, pending->pool);
        }
    }
    return APR_SUCCESS;
}

static void put_in_spool(pending_t *pending)
{
    apr_status_t rv = vapi_spool_put(pending->spool, pending->text, pending->len, &pending->file);

    if (rv != APR_SUCCESS) {
        pending->file = NULL;
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, pending->server, "vapi: %s: cannot be written to the spool %s; tried once",
                     pending->about, vapi_spool_directory(pending->spool));
    }
}

static pending_t *make_pending(const vapi_errands_t *errands, const char *text, const char *about)
{
    apr_pool_t *pool = vapi_workers_pool();
    pending_t *pending = apr_pcalloc(pool, sizeof(*pending));

    pending->pool = pool;
    pending->child = errands->child;
    pending->spool = errands->spool;
    pending->server = errands->server;
    pending->about = apr_pstrdup(pool, about);
    pending->len = strlen(text);
    pending->text = apr_pstrmemdup(pool, text, pending->len);
    if (pending->spool) {
        put_in_spool(pending);
    }
    apr_pool_cleanup_register(pool, pending, let_go, apr_pool_cleanup_null);
    return pending;
}

static void collect(vapi_errands_t *errands, const vapi_action_t *a, vapi_event event, vapi_question_t *q)
{
    const char *about = about_text(errands->log_call, vapi_action_name(a), vapi_event_name(event), q->pool), *why;
    vapi_filled_t filled;
    pending_t *pending;
    char *text;

    if (fill(a, event, q, &filled, &why) == VAPI_FILLED_BAD) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, errands->server, "vapi: %s: cannot be filled in and is not done: %s", about,
                     why);
        return;
    }
    text = make_text(errands, a, event, idempotency_key(errands, a, event, q), &filled, q->pool);
    if (!text) {
        ap_log_error(APLOG_MARK, APLOG_ERR, APR_ENOMEM, errands->server, "vapi: %s: is not done", about);
        return;
    }
    if (!errands->waiting) {
        errands->waiting = apr_array_make(errands->pool, 2, sizeof(pending_t *));
        apr_pool_cleanup_register(errands->pool, errands->waiting, hand_out, apr_pool_cleanup_null);
    }
    pending = make_pending(errands, text, about);
    APR_ARRAY_PUSH(errands->waiting, pending_t *) = pending;    /* whole: a signal may end a prefork child at any moment */
    free(text);
}

void vapi_errands_collect(vapi_errands_t *errands, const apr_array_header_t *actions, vapi_event event, vapi_question_t *q)
{
    int i, unsure;

    for (i = 0; actions && i < actions->nelts; i++) {
        const vapi_action_t *a = APR_ARRAY_IDX(actions, i, vapi_action_t *);

        if (vapi_action_is_required(a)) {
            continue;
        }
        if (vapi_action_applies(a, event, q, &unsure)) {
            collect(errands, a, event, q);
        }
        else if (unsure) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, errands->server, "vapi: %s: its when= cannot be evaluated; not done",
                         about_text(errands->log_call, vapi_action_name(a), vapi_event_name(event), q->pool));
        }
    }
}
