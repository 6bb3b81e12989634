/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_workers.h
 * @brief Threads of a child that work beside its requests: on what may not delay a reply, and on calls into libraries that know
 *        no time-out (a database), so that a request can stop waiting for them. Knows no httpd.
 *
 * A thread begins when there is work that no other is free for, and stays until the child ends.
 *
 * Not over APR-util's thread pool: it drops what waits without a word to whoever gave it, knows no bound for that, and its threads
 * take the child's signals.
 */
#ifndef VAPI_WORKERS_H
#define VAPI_WORKERS_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct vapi_workers_t vapi_workers_t;

/** A piece of work: `baton` is what was given, `p` the pool given with it. */
typedef void (*vapi_work_fn)(void *baton, apr_pool_t *p);

/**
 * In child_init; no thread is started yet. Ends before anything of pchild does (what was created later ends earlier): no new work
 * is taken, what waits is dropped (its pool destroyed) unless `drain`, what is being done is waited for.
 * @param threads  at most
 * @param waiting  pieces of work that may wait for a thread; more are refused
 * @param drain    how long work that waits is still begun at the end; 0: not at all
 */
apr_status_t vapi_workers_create(vapi_workers_t **out, int threads, int waiting, apr_interval_time_t drain, apr_pool_t *pchild);

/** A pool for a piece of work: with an allocator of its own, used by one thread at a time, child of none. Give it to
 * vapi_workers_push or vapi_workers_wait, or destroy it. */
apr_pool_t *vapi_workers_pool(void);

/** Has it done by a thread, soon. The pool goes with it and is destroyed afterwards. @return APR_SUCCESS; else it is not done and the
 * pool is destroyed: APR_ENOSPC too much waits, APR_EOF the child ends, another: no thread could be started */
apr_status_t vapi_workers_push(vapi_workers_t *w, vapi_work_fn work, void *baton, apr_pool_t *pool);

/**
 * Has it done by a thread and waits for it until `deadline` (vapi_clock). What the work touches must live in `pool`.
 * @return APR_SUCCESS: done; the pool is the caller's again, who destroys it after taking the result. Otherwise the pool is gone,
 *         or goes when the work ends: APR_TIMEUP (it may be going on, but is not begun any more), or as vapi_workers_push
 */
apr_status_t vapi_workers_wait(vapi_workers_t *w, vapi_work_fn work, void *baton, apr_pool_t *pool, apr_time_t deadline);

#endif
