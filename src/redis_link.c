/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_log.h>

#include "redis_tls.h"

extern module AP_MODULE_DECLARE_DATA vapi_state_redis_module;
APLOG_USE_MODULE(vapi_state_redis);

#define STEP_TIME   apr_time_from_msec(500)
#define ALL_TIME    apr_time_from_sec(1)
#define TRY_AGAIN   apr_time_from_sec(1)
#define SAY_AGAIN   apr_time_from_sec(60)
#define LEAST_TIME  apr_time_from_msec(50)
#define WHY_LENGTH  160

typedef struct link_t link_t;

struct link_t {
    redisContext *c;
    link_t *next;
};

/* Shared by all processes of this server. Times are of the monotonic clock; 0: never, or not. */
typedef struct away_t {
    _Atomic apr_int64_t since;     /* Redis is away since then */
    _Atomic apr_int64_t until;     /* nobody asks before */
    _Atomic apr_int64_t said;
    _Atomic apr_int64_t no_room_said;
} away_t;

struct vapi_redis_links_t {
    vapi_redis_server_t server;
    server_rec *s;
    vapi_redis_tls_t *tls;
    away_t *away;
    apr_thread_mutex_t *mutex;     /* of the two below */
    link_t *idle;
    pid_t owner;                   /* whose connections these are */
};

static apr_time_t now_of_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (apr_time_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000 + 1;
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
static const char *fault_of(const redisContext *c, char *why)
{
    if (c->err == REDIS_ERR_EOF) {
        return "it closed the connection";
    }
    if (c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT)) {
        return "it does not answer within 500 ms";
    }
    apr_cpystrn(why, c->errstr, WHY_LENGTH);
    return why;
}

static void set_time(redisContext *c, apr_time_t end)
{
    apr_interval_time_t left = end - now_of_clock();
    struct timeval tv = { 0, 0 };

    left = left < LEAST_TIME ? LEAST_TIME : left < STEP_TIME ? left : STEP_TIME;
    tv.tv_usec = (suseconds_t)left;
    redisSetTimeout(c, tv);
}

/* hiredis limits each read alone: an answer that drips would never end. @return NULL: see fault_of */
static redisReply *read_reply(redisContext *c, apr_time_t end)
{
    void *reply = NULL;

    while (redisGetReplyFromReader(c, &reply) == REDIS_OK && !reply) {
        if (now_of_clock() > end + LEAST_TIME) {
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
static redisReply *exchange(redisContext *c, apr_time_t end)
{
    int sent = 0;

    while (!sent) {
        if (redisBufferWrite(c, &sent) != REDIS_OK) {
            return NULL;
        }
    }
    return read_reply(c, end);
}

/* One of the answers to who we are. @return NULL or what is wrong */
static const char *read_greeting(redisContext *c, apr_time_t end, const char *otherwise, char *why)
{
    redisReply *reply = exchange(c, end);
    const char *error = NULL;

    if (!reply) {
        return fault_of(c, why);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        error = begins(reply, "LOADING") || begins(reply, "NOAUTH") || begins(reply, "NOPERM") ? explain(reply, why) : otherwise;
    }
    freeReplyObject(reply);
    return error;
}

/* AUTH and SELECT go out together. @return NULL or what is wrong */
static const char *greet(const vapi_redis_server_t *server, redisContext *c, apr_time_t end, char *why)
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
        error = read_greeting(c, end, "it refuses the password, or the user, of VapiState", why);
    }
    if (server->db && !c->err) {
        select_error = read_greeting(c, end, "it has no database of the number that stands behind the / in VapiState", why);
    }
    return error ? error : select_error;
}

static redisContext *connect_to(const vapi_redis_links_t *links, apr_time_t end, const char **error, char *why)
{
    const struct timeval step = { 0, (suseconds_t)STEP_TIME };
    redisContext *c = redisConnectWithTimeout(links->server.host, links->server.port, step);

    if (!c) {
        *error = "no memory";
        return NULL;
    }
    *error = NULL;
    if (c->err) {
        *error = fault_of(c, why);
    }
    else {
        fcntl(c->fd, F_SETFD, FD_CLOEXEC);
        redisEnableKeepAlive(c);
        set_time(c, end);
        if (links->tls) {
            *error = vapi_redis_tls_begin(links->tls, c, why, WHY_LENGTH);
        }
        if (!*error) {
            *error = greet(&links->server, c, end, why);
        }
    }
    if (*error) {
        redisFree(c);
        return NULL;
    }
    return c;
}

static link_t *get_link(vapi_redis_links_t *links, apr_time_t end, const char **error, char *why)
{
    link_t *link;
    redisContext *c;

    while ((link = take_idle(links)) != NULL) {
        if (!has_ended(link)) {
            return link;
        }
        close_link(link);
    }
    c = connect_to(links, end, error, why);
    if (!c) {
        return NULL;
    }
    link = calloc(1, sizeof *link);
    if (!link) {
        redisFree(c);
        *error = "no memory";
        return NULL;
    }
    link->c = c;
    return link;
}

/* ---- being away ---- */

/* Everybody; while it is away one a second. */
static int may_ask(away_t *away, apr_time_t now)
{
    apr_int64_t until = atomic_load(&away->until);

    if (!atomic_load(&away->since)) {
        return 1;
    }
    return now >= until && atomic_compare_exchange_strong(&away->until, &until, now + TRY_AGAIN);
}

static int is_time_to_say(_Atomic apr_int64_t *said, apr_time_t now)
{
    apr_int64_t last = atomic_load(said);

    return (!last || now - last >= SAY_AGAIN) && atomic_compare_exchange_strong(said, &last, now);
}

static void note_away(vapi_redis_links_t *links, const char *why)
{
    const vapi_redis_server_t *server = &links->server;
    apr_time_t now = now_of_clock();
    apr_int64_t since = 0;
    int begins_now;

    atomic_store(&links->away->until, now + TRY_AGAIN);
    begins_now = atomic_compare_exchange_strong(&links->away->since, &since, now);
    if (begins_now) {
        atomic_store(&links->away->said, now);
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, links->s,
                     "VapiState: Redis at %s port %d cannot be used: %s. Until it can, claims and leases hold on this node alone",
                     server->host, server->port, why);
    }
    else if (is_time_to_say(&links->away->said, now)) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, links->s,
                     "VapiState: Redis at %s port %d cannot be used for %" APR_TIME_T_FMT
                     " seconds now: %s. Claims and leases hold on this node alone",
                     server->host, server->port, apr_time_sec(now - since), why);
    }
}

/* An answer to what was asked before it went away shows nothing. */
static void note_back(vapi_redis_links_t *links, apr_time_t asked)
{
    apr_int64_t since = atomic_load(&links->away->since);

    if (since && asked > since && atomic_compare_exchange_strong(&links->away->since, &since, 0)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, links->s,
                     "VapiState: Redis at %s port %d is back after %" APR_TIME_T_FMT " seconds", links->server.host,
                     links->server.port, apr_time_sec(asked - since));
    }
}

/* ---- asking ---- */

static apr_status_t no_room(vapi_redis_links_t *links)
{
    if (is_time_to_say(&links->away->no_room_said, now_of_clock())) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, links->s,
                     "VapiState: Redis at %s port %d has no room (maxmemory): what comes is refused until it has",
                     links->server.host, links->server.port);
    }
    return APR_ENOSPC;
}

/* `text` is the script that argv names, or NULL. Where Redis does not have it argv and lens are changed. */
static redisReply *send_words(redisContext *c, apr_time_t end, const char *text, int argc, const char **argv, size_t *lens)
{
    redisReply *reply = redisAppendCommandArgv(c, argc, argv, lens) == REDIS_OK ? exchange(c, end) : NULL;

    if (!text || !reply || reply->type != REDIS_REPLY_ERROR || !begins(reply, "NOSCRIPT")) {
        return reply;
    }
    freeReplyObject(reply);
    argv[0] = "EVAL";
    lens[0] = strlen(argv[0]);
    argv[1] = text;
    lens[1] = strlen(text);
    return redisAppendCommandArgv(c, argc, argv, lens) == REDIS_OK ? exchange(c, end) : NULL;
}

/* An error of Redis makes it as useless as one of the connection, but for want of room. */
static apr_status_t judge(vapi_redis_links_t *links, link_t *link, redisReply *reply, apr_time_t asked)
{
    char why[WHY_LENGTH];

    if (reply && reply->type != REDIS_REPLY_ERROR) {
        give_back(links, link);
        note_back(links, asked);
        return APR_SUCCESS;
    }
    if (reply && begins(reply, "OOM")) {
        give_back(links, link);
        return no_room(links);
    }
    note_away(links, reply ? explain(reply, why) : fault_of(link->c, why));
    close_link(link);
    return VAPI_REDIS_AWAY;
}

static apr_status_t ask(vapi_redis_links_t *links, redisReply **out, const char *text, int argc, const char **argv, size_t *lens)
{
    apr_time_t now = now_of_clock(), end = now + ALL_TIME;
    char why[WHY_LENGTH];
    const char *error = NULL;
    apr_status_t rv;
    link_t *link;

    *out = NULL;
    if (!may_ask(links->away, now)) {
        return VAPI_REDIS_AWAY;
    }
    link = get_link(links, end, &error, why);
    if (!link) {
        note_away(links, error);
        return VAPI_REDIS_AWAY;
    }
    set_time(link->c, end);
    *out = send_words(link->c, end, text, argc, argv, lens);
    rv = judge(links, link, *out, now);
    if (rv != APR_SUCCESS && *out) {
        freeReplyObject(*out);
        *out = NULL;
    }
    return rv;
}

apr_status_t vapi_redis_links_ask(vapi_redis_links_t *links, redisReply **reply, int argc, const char **argv)
{
    return ask(links, reply, NULL, argc, argv, NULL);
}

apr_status_t vapi_redis_links_run(vapi_redis_links_t *links, redisReply **reply, const char *text, int argc, const char **argv,
                                  size_t *lens)
{
    return ask(links, reply, text, argc, argv, lens);
}

/* ---- opening ---- */

static apr_status_t forget_away(void *away)
{
    munmap(away, sizeof(away_t));
    return APR_SUCCESS;
}

static apr_status_t forget_links(void *links)
{
    vapi_redis_links_close(links);
    return APR_SUCCESS;
}

const char *vapi_redis_links_make(vapi_redis_links_t **out, const vapi_redis_server_t *server, server_rec *s, apr_pool_t *p)
{
    vapi_redis_links_t *links = apr_pcalloc(p, sizeof *links);
    void *shared = mmap(NULL, sizeof(away_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED) {
        return "no shared memory can be had";
    }
    apr_pool_cleanup_register(p, shared, forget_away, apr_pool_cleanup_null);
    if (apr_thread_mutex_create(&links->mutex, APR_THREAD_MUTEX_DEFAULT, p) != APR_SUCCESS) {
        return "no mutex can be had";
    }
    links->server = *server;
    links->s = s;
    links->away = shared;
    links->owner = getpid();
    apr_pool_cleanup_register(p, links, forget_links, apr_pool_cleanup_null);
    *out = links;
    return server->tls ? vapi_redis_tls_make(&links->tls, server, p) : NULL;
}
