/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "redis_address.h"
#include "redis_away.h"
#include "redis_tls.h"

#define STEP_TIME   apr_time_from_msec(500)
#define ALL_TIME    apr_time_from_sec(1)
#define LEAST_TIME  apr_time_from_msec(100)     /* who asks at all waits so long */
#define LEAST_SHARE apr_time_from_msec(250)
#define WHY_LENGTH  160

typedef struct link_t link_t;

struct link_t {
    redisContext *c;
    link_t *next;
};

struct vapi_redis_links_t {
    vapi_redis_server_t server;
    vapi_redis_host_t *host;
    vapi_redis_tls_t *tls;
    vapi_redis_away_t *away;
    apr_thread_mutex_t *mutex;     /* of the two below */
    link_t *idle;
    pid_t owner;                   /* whose connections these are */
};

/* What is asked now. */
typedef struct question_t {
    vapi_redis_patience_t *patience;    /* NULL: that of one question */
    apr_time_t began, end;         /* of vapi_redis_now() */
    apr_interval_time_t step;      /* how long the latest step may wait */
    const char *error;             /* NULL, or what is wrong: a constant, or why */
    char why[WHY_LENGTH];
} question_t;

/* ---- time ---- */

void vapi_redis_be_patient(vapi_redis_patience_t *patience, apr_interval_time_t left)
{
    patience->end = vapi_redis_now() + left;
    patience->share = left / 4 > LEAST_SHARE ? left / 4 : LEAST_SHARE;
    atomic_init(&patience->left, patience->share);
}

/* @return 0: the request has waited enough */
static int begin(question_t *q, vapi_redis_patience_t *patience)
{
    apr_interval_time_t left = patience ? atomic_load(&patience->left) : ALL_TIME;

    q->patience = patience;
    q->began = vapi_redis_now();
    q->end = q->began + (left < ALL_TIME ? left : ALL_TIME);
    if (patience && q->end > patience->end) {
        q->end = patience->end;
    }
    if (q->end < q->began + LEAST_TIME) {
        q->end = q->began + LEAST_TIME;
    }
    q->error = NULL;
    return left > 0;
}

static apr_interval_time_t time_of(question_t *q, int steps)
{
    apr_interval_time_t left = (q->end - vapi_redis_now()) / steps;

    q->step = left < LEAST_TIME ? LEAST_TIME : left < STEP_TIME ? left : STEP_TIME;
    return q->step;
}

static struct timeval timeval_of(apr_interval_time_t span)
{
    const struct timeval tv = { (time_t)(span / APR_USEC_PER_SEC), (suseconds_t)(span % APR_USEC_PER_SEC) };

    return tv;
}

static const char *has_waited(question_t *q)
{
    apr_snprintf(q->why, WHY_LENGTH, "a request has waited %" APR_TIME_T_FMT " ms for its answers in all",
                 apr_time_as_msec(q->patience->share));
    return q->why;
}

/* The time was cut since the request's earlier questions took theirs. */
static const char *is_late(question_t *q)
{
    if (q->patience && q->step < STEP_TIME && atomic_load(&q->patience->left) < q->patience->share / 2) {
        return has_waited(q);
    }
    apr_snprintf(q->why, WHY_LENGTH, "it does not answer within %" APR_TIME_T_FMT " ms", apr_time_as_msec(q->step + 999));
    return q->why;
}

/* Its answers come, but too slowly for a request that asks many times: as good as none. */
static void end(question_t *q, vapi_redis_away_t *away)
{
    apr_interval_time_t took = vapi_redis_now() - q->began;

    if (q->patience && atomic_fetch_sub(&q->patience->left, took) <= took) {
        vapi_redis_is_away(away, has_waited(q));
    }
}

/* ---- the connections ---- */

static void close_link(link_t *link)
{
    redisFree(link->c);
    free(link);
}

/* What another process has opened is not spoken to, not even to take leave. */
static void close_all(vapi_redis_links_t *links)
{
    link_t *link, *next;

    for (link = links->idle; link; link = next) {
        next = link->next;
        close_link(link);
    }
    links->idle = NULL;
}

void vapi_redis_links_close(vapi_redis_links_t *links)
{
    apr_thread_mutex_lock(links->mutex);
    close_all(links);
    apr_thread_mutex_unlock(links->mutex);
}

void vapi_redis_links_enter_child(vapi_redis_links_t *links)
{
    vapi_redis_host_enter_child(links->host);
}

static link_t *take_idle(vapi_redis_links_t *links)
{
    link_t *link;

    apr_thread_mutex_lock(links->mutex);
    if (links->owner != getpid()) {
        close_all(links);
        links->owner = getpid();
    }
    link = links->idle;
    if (link) {
        links->idle = link->next;
    }
    apr_thread_mutex_unlock(links->mutex);
    return link;
}

static void give_back(vapi_redis_links_t *links, link_t *link)
{
    apr_thread_mutex_lock(links->mutex);
    link->next = links->idle;
    links->idle = link;
    apr_thread_mutex_unlock(links->mutex);
}

/* Nothing may come before something is asked: what does is the end. */
static int has_ended(const link_t *link)
{
    struct pollfd fd = { link->c->fd, POLLIN, 0 };

    return poll(&fd, 1, 0) != 0;
}

/* The code that an error of Redis begins with: capitals. The rest might quote what was asked. */
static const char *code_of(const redisReply *reply, char *why)
{
    apr_size_t n = 0;

    while (n < 30 && apr_isupper(reply->str[n])) {
        n++;
    }
    apr_snprintf(why, WHY_LENGTH, "it answers %.*s", n ? (int)n : 8, n ? reply->str : "an error");
    return why;
}

static int begins(const redisReply *reply, const char *code)
{
    return strncmp(reply->str, code, strlen(code)) == 0;
}

/* Of an answer that is an error. */
static const char *explain(const redisReply *reply, char *why)
{
    static const struct {
        const char *code, *words;
    } known[] = {
        { "NOAUTH", "it wants a password: password= of VapiState" },
        { "WRONGPASS", "it refuses the password, or the user, of VapiState" },
        { "NOPERM", "its ACL lets this user not do what is needed: docs/redis.md lists it" },
        { "LOADING", "it is still loading its data" },
        { "READONLY", "it is a replica that may not be written to: VapiState takes the primary" },
        { "MISCONF", "it refuses to write because it cannot save its data" },
        { "MASTERDOWN", "it is a replica whose primary is away" },
        { "MOVED", "it is a node of a cluster, which VapiState does not take" },
        { "CROSSSLOT", "it is a node of a cluster, which VapiState does not take" },
        { "CLUSTERDOWN", "it is a node of a cluster, which VapiState does not take" },
        { "BUSY", "it is busy with somebody's script" }
    };
    apr_size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (begins(reply, known[i].code)) {
            return known[i].words;
        }
    }
    return code_of(reply, why);
}

/* Of a connection that failed. */
static const char *fault_of(question_t *q, const redisContext *c)
{
    if (c->err == REDIS_ERR_EOF) {
        return "it closed the connection";
    }
    if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT)) {
        return is_late(q);
    }
    apr_cpystrn(q->why, c->errstr, WHY_LENGTH);
    return q->why;
}

static void set_time(question_t *q, redisContext *c)
{
    redisSetTimeout(c, timeval_of(time_of(q, 1)));
}

/* hiredis limits each read alone: an answer that drips would never end. @return NULL: see fault_of */
static redisReply *read_reply(const question_t *q, redisContext *c)
{
    void *reply = NULL;

    while (redisGetReplyFromReader(c, &reply) == REDIS_OK && !reply) {
        if (vapi_redis_now() > q->end + LEAST_TIME) {
            c->err = REDIS_ERR_IO;
            errno = ETIMEDOUT;
            return NULL;
        }
        if (redisBufferRead(c) != REDIS_OK) {
            return NULL;
        }
    }
    return reply;
}

/* What was put in before goes out. */
static redisReply *exchange(const question_t *q, redisContext *c)
{
    int sent = 0;

    while (!sent) {
        if (redisBufferWrite(c, &sent) != REDIS_OK) {
            return NULL;
        }
    }
    return read_reply(q, c);
}

/* One of the answers to who we are. @return NULL or what is wrong */
static const char *read_greeting(question_t *q, redisContext *c, const char *otherwise)
{
    redisReply *reply = exchange(q, c);
    const char *error = NULL;

    if (!reply) {
        return fault_of(q, c);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        error = begins(reply, "LOADING") || begins(reply, "NOAUTH") || begins(reply, "NOPERM") ? explain(reply, q->why) : otherwise;
    }
    freeReplyObject(reply);
    return error;
}

/* AUTH and SELECT go out together. @return NULL or what is wrong */
static const char *greet(question_t *q, const vapi_redis_server_t *server, redisContext *c)
{
    const char *auth[] = { "AUTH", server->user ? server->user : server->password, server->password };
    const char *error = NULL, *select_error = NULL;

    if (server->password) {
        redisAppendCommandArgv(c, server->user ? 3 : 2, auth, NULL);
    }
    if (server->db) {
        redisAppendCommand(c, "SELECT %d", server->db);
    }
    if (server->password) {
        error = read_greeting(q, c, "it refuses the password, or the user, of VapiState");
    }
    if (server->db && !c->err) {
        select_error = read_greeting(q, c, "it has no database of the number that stands behind the / in VapiState");
    }
    return error ? error : select_error;
}

/* The first address that takes it; each has its part of the time that is left. @return NULL: q->error */
static redisContext *reach(question_t *q, const vapi_redis_links_t *links)
{
    vapi_redis_address_t addresses[VAPI_REDIS_ADDRESSES];
    int i, n = vapi_redis_host_find(links->host, time_of(q, 2), addresses, &q->error);
    redisContext *c;

    for (i = 0; i < n; i++) {
        c = redisConnectWithTimeout(addresses[i].text, links->server.port, timeval_of(time_of(q, n - i)));
        if (c && !c->err) {
            return c;
        }
        q->error = c ? fault_of(q, c) : "no memory";
        if (c) {
            redisFree(c);
        }
    }
    return NULL;
}

static redisContext *connect_to(question_t *q, const vapi_redis_links_t *links)
{
    redisContext *c = reach(q, links);

    if (!c) {
        return NULL;
    }
    fcntl(c->fd, F_SETFD, FD_CLOEXEC);
    redisEnableKeepAlive(c);
    set_time(q, c);
    q->error = links->tls ? vapi_redis_tls_begin(links->tls, c, q->why, WHY_LENGTH) : NULL;
    if (!q->error) {
        q->error = greet(q, &links->server, c);
    }
    if (q->error) {
        redisFree(c);
        return NULL;
    }
    return c;
}

/* @return NULL: q->error */
static link_t *get_link(question_t *q, vapi_redis_links_t *links)
{
    link_t *link;
    redisContext *c;

    while ((link = take_idle(links)) != NULL) {
        if (!has_ended(link)) {
            return link;
        }
        close_link(link);
    }
    c = connect_to(q, links);
    if (!c) {
        return NULL;
    }
    link = calloc(1, sizeof *link);
    if (!link) {
        redisFree(c);
        q->error = "no memory";
        return NULL;
    }
    link->c = c;
    return link;
}

/* ---- asking ---- */

/* `text` is the script that argv names, or NULL. Where Redis does not have it argv and lens are changed. */
static redisReply *send_words(const question_t *q, redisContext *c, const char *text, int argc, const char **argv, size_t *lens)
{
    redisReply *reply = redisAppendCommandArgv(c, argc, argv, lens) == REDIS_OK ? exchange(q, c) : NULL;

    if (!text || !reply || reply->type != REDIS_REPLY_ERROR || !begins(reply, "NOSCRIPT")) {
        return reply;
    }
    freeReplyObject(reply);
    argv[0] = "EVAL";
    lens[0] = strlen(argv[0]);
    argv[1] = text;
    lens[1] = strlen(text);
    return redisAppendCommandArgv(c, argc, argv, lens) == REDIS_OK ? exchange(q, c) : NULL;
}

/* An error of Redis makes it as useless as one of the connection, but for want of room. */
static apr_status_t judge(question_t *q, vapi_redis_links_t *links, link_t *link, redisReply *reply)
{
    if (reply && reply->type != REDIS_REPLY_ERROR) {
        give_back(links, link);
        vapi_redis_is_back(links->away, q->began);
        return APR_SUCCESS;
    }
    if (reply && begins(reply, "OOM")) {
        give_back(links, link);
        vapi_redis_has_no_room(links->away);
        return APR_ENOSPC;
    }
    vapi_redis_is_away(links->away, reply ? explain(reply, q->why) : fault_of(q, link->c));
    close_link(link);
    return VAPI_REDIS_AWAY;
}

static apr_status_t ask(question_t *q, vapi_redis_links_t *links, redisReply **out, const char *text, int argc, const char **argv,
                        size_t *lens)
{
    link_t *link = get_link(q, links);
    apr_status_t rv;

    if (!link) {
        vapi_redis_is_away(links->away, q->error);
        return VAPI_REDIS_AWAY;
    }
    set_time(q, link->c);
    *out = send_words(q, link->c, text, argc, argv, lens);
    rv = judge(q, links, link, *out);
    if (rv != APR_SUCCESS && *out) {
        freeReplyObject(*out);
        *out = NULL;
    }
    return rv;
}

apr_status_t vapi_redis_links_run(vapi_redis_links_t *links, vapi_redis_patience_t *patience, redisReply **reply, const char *text,
                                  int argc, const char **argv, size_t *lens)
{
    question_t q;
    apr_status_t rv;

    *reply = NULL;
    if (!begin(&q, patience) || !vapi_redis_may_ask(links->away, q.began)) {
        return VAPI_REDIS_AWAY;
    }
    rv = ask(&q, links, reply, text, argc, argv, lens);
    end(&q, links->away);
    return rv;
}

apr_status_t vapi_redis_links_ask(vapi_redis_links_t *links, vapi_redis_patience_t *patience, redisReply **reply, int argc,
                                  const char **argv)
{
    return vapi_redis_links_run(links, patience, reply, NULL, argc, argv, NULL);
}

/* ---- opening ---- */

static apr_status_t forget_links(void *links)
{
    vapi_redis_links_close(links);
    return APR_SUCCESS;
}

const char *vapi_redis_links_make(vapi_redis_links_t **out, const vapi_redis_server_t *server, server_rec *s, apr_pool_t *p)
{
    vapi_redis_links_t *links = apr_pcalloc(p, sizeof *links);

    links->away = vapi_redis_away_make(server->host, server->port, s, p);
    if (!links->away) {
        return "no shared memory can be had";
    }
    links->host = vapi_redis_host_make(server->host, p);
    if (!links->host || apr_thread_mutex_create(&links->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return "no mutex can be had";
    }
    links->server = *server;
    links->owner = getpid();
    apr_pool_cleanup_register(p, links, forget_links, apr_pool_cleanup_null);
    *out = links;
    return server->tls ? vapi_redis_tls_make(&links->tls, server, p) : NULL;
}
