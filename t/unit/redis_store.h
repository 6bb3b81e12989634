/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* A redis-server of the test's own, what stands in for httpd around the providers, and stores that are opened by their face
 * alone. */
#ifndef REDIS_STORE_H
#define REDIS_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <hiredis.h>

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include "vapi_state.h"

#define SEC apr_time_from_sec(1)
#define MS  apr_time_from_msec(1)

static apr_pool_t *pool;
static char dir[64] = "/tmp/vapi-redis-XXXXXX";
static char log_text[65536];         /* what was said at NOTICE and above */
static server_rec server;
static process_rec process;

/* ---- the clock, which a test may put forward ---- */

static long later;                   /* seconds */

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += id == CLOCK_MONOTONIC ? later : 0;
    return rc;
}

/* ---- httpd ---- */

extern module AP_MODULE_DECLARE_DATA vapi_state_redis_module;
module AP_MODULE_DECLARE_DATA vapi_transfer_module;
const char *ap_server_root = "/";

static const void *providers[3];
static const char *provider_names[3];
static void *retained;               /* what a server keeps over its restarts; a test of several servers changes it */
static const char *run_dir;

apr_status_t ap_register_provider(apr_pool_t *p, const char *group, const char *name, const char *version, const void *provider)
{
    int i;

    (void)p, (void)group, (void)version;
    for (i = 0; i < 3 && provider_names[i]; i++) {
    }
    providers[i] = provider;
    provider_names[i] = name;
    return APR_SUCCESS;
}

void *ap_lookup_provider(const char *group, const char *name, const char *version)
{
    int i;

    (void)group, (void)version;
    for (i = 0; i < 3 && strcmp(provider_names[i], name) != 0; i++) {
    }
    assert_true(i < 3);
    return (void *)providers[i];
}

void ap_log_error_(const char *file, int line, int module_index, int level, apr_status_t status, const server_rec *s,
                   const char *fmt, ...)
{
    char text[1024];
    va_list args;

    (void)file, (void)line, (void)module_index, (void)status, (void)s;
    va_start(args, fmt);
    apr_vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if ((level & APLOG_LEVELMASK) <= APLOG_NOTICE && strlen(log_text) + strlen(text) + 2 < sizeof log_text) {
        strcat(strcat(log_text, text), "\n");
    }
}

void *ap_retained_data_get(const char *key)
{
    (void)key;
    return retained;
}

void *ap_retained_data_create(const char *key, apr_size_t size)
{
    (void)key;
    return retained = apr_pcalloc(process.pool, size);
}

char *ap_runtime_dir_relative(apr_pool_t *p, const char *name)
{
    return apr_pstrcat(p, run_dir, "/", name, NULL);
}

char *ap_server_root_relative(apr_pool_t *p, const char *name)
{
    return *name == '/' ? apr_pstrdup(p, name) : apr_pstrcat(p, "/", name, NULL);
}

apr_status_t ap_timeout_parameter_parse(const char *text, apr_interval_time_t *timeout, const char *unit)
{
    char *end;

    (void)unit;
    *timeout = apr_time_from_sec(apr_strtoi64(text, &end, 10));
    return *end && strcmp(end, "s") != 0 ? APR_EGENERAL : APR_SUCCESS;
}

/* ---- what was said ---- */

static inline int log_has(const char *text)
{
    return strstr(log_text, text) != NULL;
}

static inline int lines_of_log(void)
{
    const char *at;
    int n = 0;

    for (at = log_text; (at = strchr(at, '\n')) != NULL; at++) {
        n++;
    }
    return n;
}

/* ---- redis-server ---- */

static int redis_port;
static pid_t redis_pid;

/* It stays ours while Redis is down: the socket does not listen, and lets only those in who ask to share the port, as Redis does. */
static int free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        abort();
    }
    return ntohs(at.sin_port);
}

/* A socket at a port of its own, for somebody who is no Redis. */
static inline int listen_at(int *port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static redisContext *connect_plain(void)
{
    redisContext *c = redisConnect("127.0.0.1", redis_port);

    if (c && c->err) {
        redisFree(c);
        return NULL;
    }
    return c;
}

/* A command of one's own; its answer as a number. */
static inline long long redis_says(const char *command)
{
    redisContext *c = connect_plain();
    redisReply *reply;
    long long n;

    assert_non_null(c);
    reply = redisCommand(c, command);
    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    n = reply->integer;
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

static void exec_redis(void)
{
    char port[16], *const args[] = { "redis-server", "--port", port,          "--bind", "127.0.0.1", "--save", "",
                                     "--appendonly", "no",     "--daemonize", "no",     NULL };
    int out = open("/dev/null", O_WRONLY);

    snprintf(port, sizeof port, "%d", redis_port);
    dup2(out, 1);
    dup2(out, 2);
    if (chdir(dir) == 0) {
        execvp("redis-server", args);
        execvp("redis-check-rdb", args);
    }
    _exit(127);
}

static void start_redis(void)
{
    redisContext *c = NULL;
    int tries;

    redis_port = redis_port ? redis_port : free_port();
    redis_pid = fork();
    if (redis_pid == 0) {
        setsid();
        exec_redis();
    }
    for (tries = 0; tries < 3000 && !c; tries++) {
        apr_sleep(10 * MS);
        c = connect_plain();
    }
    assert_non_null(c);
    redisFree(c);
}

static void stop_redis(void)
{
    int status;

    if (redis_pid > 0) {
        kill(redis_pid, SIGKILL);
        waitpid(redis_pid, &status, 0);
    }
    redis_pid = 0;
}

/* ---- stores ---- */

/* Opens what these words say, as a server of its own: a directory and a memory that no other has. */
static vapi_state_t *open_store(const char *name, const char *const *words)
{
    const vapi_state_provider_t *provider = ap_lookup_provider(VAPI_STATE_GROUP, name, VAPI_STATE_VERSION);
    apr_array_header_t *all = apr_array_make(pool, 4, sizeof(const char *));
    static int number;
    void *config = NULL;
    vapi_state_t *st = NULL;
    const char *error;

    for (; *words; words++) {
        APR_ARRAY_PUSH(all, const char *) = *words;
    }
    error = provider->configure(&config, all, pool);
    if (error) {
        fail_msg("configure: %s", error);
    }
    retained = NULL;
    run_dir = apr_psprintf(pool, "%s/%d", dir, ++number);
    apr_dir_make(run_dir, APR_FPROT_OS_DEFAULT, pool);
    assert_int_equal(provider->open(&st, config, &server, pool), APR_SUCCESS);
    return st;
}

static vapi_state_t *open_redis(const char *prefix)
{
    const char *words[] = { apr_psprintf(pool, "redis://127.0.0.1:%d", redis_port), apr_pstrcat(pool, "prefix=", prefix, NULL),
                            NULL };

    return open_store("redis", words);
}

static void begin_redis_tests(void (*register_redis)(apr_pool_t *))
{
    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(dir)) {
        abort();
    }
    apr_pool_create(&process.pool, NULL);
    server.process = &process;
    vapi_state_shm_register(process.pool);
    register_redis(process.pool);
}

static void end_redis_tests(void)
{
    char command[96];

    stop_redis();
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command) != 0) {
        fprintf(stderr, "%s is left\n", dir);
    }
}

#endif
