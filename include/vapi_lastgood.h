/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_lastgood.h
 * @brief Files of the configuration that a running server can lose without losing what they said: where one cannot be read, or is
 *        broken, at a restart, its last good content stays in use.
 *
 * Contents are kept in pools below the process's, found again through its userdata: plain data without a pointer into this
 * module, which is unloaded between two readings. A content stays at its address as long as the reading of the configuration that
 * asked for it (`pconf`); the next reading that asks for any file frees what this one did not use. At start-up only, by one
 * thread.
 */
#ifndef VAPI_LASTGOOD_H
#define VAPI_LASTGOOD_H

#include <apr_pools.h>
#include <apr_tables.h>

typedef struct vapi_lastgood_t {
    const char *content;     /* NUL behind its end; the administrator's file as it is. Never written to */
    apr_size_t len;
    int stale;               /* the file is not this content: it could not be read, or is broken */
    const char *why;         /* stale: what is wrong with it ("FILE, line 3: ..."), in pconf */
} vapi_lastgood_t;

/** Is this content good? @return NULL, or what is wrong, with the line ("line 3: ...") */
typedef const char *(*vapi_lastgood_check_fn)(const char *content, apr_size_t len, apr_pool_t *p);

/**
 * Reads `file` (absolute; 1 GB at most), once in a reading of the configuration however often it is asked for, and has it
 * checked, once by each `check`. What is no regular file is refused without waiting for it.
 * @param process  the process's pool (outlives all readings)
 * @param pconf    the reading's pool
 * @return NULL and *out; or what is wrong, when there is no earlier good content: "FILE, line 3: ...", "cannot read FILE: ...";
 *         *out is then all zeros
 */
const char *vapi_lastgood_read(vapi_lastgood_t *out, const char *file, vapi_lastgood_check_fn check, apr_pool_t *process,
                               apr_pool_t *pconf);

#endif
