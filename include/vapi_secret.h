/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_secret.h
 * @brief A secret written in the configuration: file:PATH, env:NAME, exec:/PROGRAM ARGS, or a literal.
 */
#ifndef VAPI_SECRET_H
#define VAPI_SECRET_H

#include <apr_pools.h>
#include <apr_tables.h>

/** What reading needs of the server that is being configured. */
typedef struct vapi_secret_env_t {
    const char *server_root;          /* where relative file: paths begin */
    apr_pool_t *process;              /* outlives a reading of the configuration: the process pool; NULL: nothing is left for a
                                         second reading */
    int first_pass;                   /* the configuration is about to be read once more (AP_SQ_MS_CREATE_PRE_CONFIG) */
    apr_array_header_t *warnings;     /* const char *: gets what the administrator should hear of, beginning with the key's name */
} vapi_secret_env_t;

/**
 * Reads a secret, at start-up only.
 *  file:  first line; refused when group or others may write the file; warned about when others may read it. Relative to the
 *         server root.
 *  env:   of the server's environment.
 *  exec:  first line of the program's output; absolute path, blanks part the arguments, no shell, no standard input, 10 s at
 *         most; refused when the program may be written by group or others. Its standard error is the server's. Runs once a
 *         (re)start although httpd reads its configuration twice at a first start: the first pass leaves the value in the process
 *         pool for the second, which takes and wipes it.
 *  else   a literal: warned about, as httpd's own dumps print it.
 * Trailing CR and blanks of the line are dropped. Empty is an error.
 * @param key  "secret", "bearer": what the messages call it; they never show the value, a part of it, or program output
 * @return NULL and *value (in `p`, wiped by a cleanup of `p`), or what is wrong, beginning with the key
 */
const char *vapi_secret_read(const char **value, const char *written, const char *key, const vapi_secret_env_t *env, apr_pool_t *p,
                             apr_pool_t *ptemp);

/** How it was written, for dumps: "file", "env", "exec" or "literal". Constant. */
const char *vapi_secret_kind(const char *written);

#endif
