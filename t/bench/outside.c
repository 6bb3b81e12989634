/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "outside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <http_config.h>
#include <http_log.h>

#include "vapi_expression.h"

apr_pool_t *outside_pool;

static server_rec server;
static process_rec process;
static const char *run_dir;

/* ---- httpd ---- */

module AP_MODULE_DECLARE_DATA vapi_transfer_module;
const char *ap_server_root = "/";

typedef struct entry_t {
    const char *name;
    const void *value;
} entry_t;

static entry_t providers[4];
static void *retained;                 /* of one server at a time */

apr_status_t ap_register_provider(apr_pool_t *p, const char *group, const char *name, const char *version, const void *provider)
{
    int i = 0;

    (void)p, (void)group, (void)version;
    while (providers[i].name) {
        i++;
    }
    providers[i] = (entry_t){ name, provider };
    return APR_SUCCESS;
}

void *ap_lookup_provider(const char *group, const char *name, const char *version)
{
    int i;

    (void)group, (void)version;
    for (i = 0; providers[i].name && strcmp(providers[i].name, name) != 0; i++) {
    }
    return (void *)providers[i].value;
}

void ap_log_error_(const char *file, int line, int module_index, int level, apr_status_t status, const server_rec *s,
                   const char *fmt, ...)
{
    char text[1024];
    va_list args;

    (void)file, (void)line, (void)module_index, (void)status, (void)s;
    if ((level & APLOG_LEVELMASK) > APLOG_WARNING) {
        return;
    }
    va_start(args, fmt);
    apr_vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "%s\n", text);
}

void *ap_retained_data_get(const char *key)
{
    (void)key;
    return retained;
}

void *ap_retained_data_create(const char *key, apr_size_t size)
{
    (void)key;
    return retained = apr_pcalloc(outside_pool, size);
}

char *ap_runtime_dir_relative(apr_pool_t *p, const char *name)
{
    return apr_pstrcat(p, run_dir, "/", name, NULL);
}

char *ap_server_root_relative(apr_pool_t *p, const char *name)
{
    return apr_pstrdup(p, name);
}

apr_status_t ap_timeout_parameter_parse(const char *text, apr_interval_time_t *timeout, const char *unit)
{
    char *end;

    (void)unit;
    *timeout = apr_time_from_sec(apr_strtoi64(text, &end, 10));
    return *end && strcmp(end, "s") != 0 ? APR_EGENERAL : APR_SUCCESS;
}

/* Members' numbers are no expressions. */

const char *vapi_expression_parse(vapi_expression_t **out, const char *written, int string, vapi_place_t place, apr_pool_t *p,
                                  apr_pool_t *ptemp)
{
    (void)string, (void)place, (void)p, (void)ptemp;
    *out = (vapi_expression_t *)(void *)written;
    return NULL;
}

int vapi_expression_reads(const vapi_expression_t *e)
{
    (void)e;
    return 0;
}

const char *vapi_expression_string(const vapi_expression_t *e, vapi_question_t *q, const char **error)
{
    (void)q, (void)error;
    return (const char *)e;
}

/* ---- the wire: hiredis' calls are taken here; it sends and receives by these or by those ---- */

unsigned long outside_trips;
static int has_sent;

void outside_forget_trips(void)
{
    outside_trips = 0;
    has_sent = 0;
}

/* What is asked again because only a part was there is one wait. */
static ssize_t received(ssize_t n)
{
    if (n > 0 && has_sent) {
        has_sent = 0;
        outside_trips++;
    }
    return n;
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    has_sent = 1;
    return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t write(int fd, const void *data, size_t len)
{
    has_sent = 1;
    return syscall(SYS_write, fd, data, len);
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    return received(syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL));
}

ssize_t read(int fd, void *data, size_t len)
{
    return received(syscall(SYS_read, fd, data, len));
}

/* ---- stores ---- */

#ifdef WITH_REDIS
extern module AP_MODULE_DECLARE_DATA vapi_state_redis_module;
#endif

void outside_begin(const char *dir)
{
    apr_initialize();
    apr_pool_create(&outside_pool, NULL);
    process.pool = outside_pool;
    server.process = &process;
    run_dir = dir;
    vapi_state_shm_register(outside_pool);
#ifdef WITH_REDIS
    vapi_state_redis_module.register_hooks(outside_pool);
#endif
}

vapi_state_t *outside_open(const char *word)
{
    const char *name = apr_pstrmemdup(outside_pool, word, strcspn(word, ":"));
    const vapi_state_provider_t *provider = ap_lookup_provider(VAPI_STATE_GROUP, name, VAPI_STATE_VERSION);
    apr_array_header_t *words = apr_array_make(outside_pool, 1, sizeof(const char *));
    const char *error = provider ? NULL : "there is no such provider";
    vapi_state_t *st = NULL;
    void *config = NULL;

    APR_ARRAY_PUSH(words, const char *) = word;
    error = error ? error : provider->configure(&config, words, outside_pool);
    if (error || provider->open(&st, config, &server, outside_pool) != APR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", word, error ? error : "cannot be opened");
        exit(2);
    }
    return st;
}
