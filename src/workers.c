/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * A queue and threads that empty it. A piece of work lives in its own pool, which has one owner at a time: who gave it, the queue,
 * the thread that does it, and then who gave it again (if he waits) or nobody. Owners change with the lock held, so that is what
 * hands the pool's memory from thread to thread.
 *
 * pthread's own locks are used, since APR's conditions wait by the wall clock, and so are its threads, for their signals.
 */
#include "vapi_workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "vapi_clock.h"

typedef enum {
    PIECE_WAITS = 0,     /* the queue's */
    PIECE_AT_WORK,       /* its thread's */
    PIECE_DONE,          /* who waits for it has it again */
    PIECE_DROPPED        /* likewise; it was not begun */
} piece_state;

typedef struct piece_t {
    struct piece_t *next;
    vapi_work_fn work;
    void *baton;
    apr_pool_t *pool;            /* this piece lives in it, too */
    piece_state state;
    pthread_cond_t *settled;     /* told when DONE or DROPPED; NULL: nobody waits (any more) */
} piece_t;

struct vapi_workers_t {
    pthread_mutex_t lock;        /* everything below, and every piece's state; not held while work is done or a pool destroyed */
    pthread_cond_t more;         /* a piece was queued, or the end came */
    pthread_cond_t emptied;      /* the queue is empty; told only at the end */
    piece_t *first, **last;
    int n_queued;
    int max_queued;              /* beyond what threads are free for */
    pthread_t *threads;
    int n_threads;
    int max_threads;
    int n_idle;
    apr_interval_time_t drain;
    int ending;
};

/* ---- Pools ---- */

static int out_of_memory(int rv)
{
    (void)rv;
    abort();
}

apr_pool_t *vapi_workers_pool(void)
{
    apr_pool_t *pool = NULL;

    if (apr_pool_create_unmanaged_ex(&pool, out_of_memory, NULL) != APR_SUCCESS) {
        abort();
    }
    return pool;
}

static void destroy_pieces(piece_t *piece)
{
    while (piece) {
        piece_t *next = piece->next;

        apr_pool_destroy(piece->pool);
        piece = next;
    }
}

/* ---- Signals and the lock ---- */

/* All but those of the thread's own faults. */
static void block_signals(sigset_t *before)
{
    static const int own_faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
    sigset_t blocked;
    apr_size_t i;

    sigfillset(&blocked);
    for (i = 0; i < sizeof(own_faults) / sizeof(own_faults[0]); i++) {
        sigdelset(&blocked, own_faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, before);
}

/* Who gives work may be the only thread of a prefork child, whose handler of SIGTERM ends the child on the spot, and that takes the
 * lock: it comes when the lock is free again, which is at the deadline of who waits at the latest. */
static void lock(vapi_workers_t *w, sigset_t *before)
{
    block_signals(before);
    pthread_mutex_lock(&w->lock);
}

static void unlock(vapi_workers_t *w, const sigset_t *before)
{
    pthread_mutex_unlock(&w->lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ---- The queue; all with the lock held ---- */

static void append(vapi_workers_t *w, piece_t *piece)
{
    *w->last = piece;
    w->last = &piece->next;
    w->n_queued++;
}

static piece_t *take_first(vapi_workers_t *w)
{
    piece_t *piece = w->first;

    if (!(w->first = piece->next)) {
        w->last = &w->first;
        pthread_cond_signal(&w->emptied);
    }
    w->n_queued--;
    return piece;
}

static void take_out(vapi_workers_t *w, const piece_t *piece)
{
    piece_t **at = &w->first;

    while (*at != piece) {
        at = &(*at)->next;
    }
    if (!(*at = piece->next)) {
        w->last = at;
    }
    w->n_queued--;
}

/* Takes out all that waits. Who waits for a piece is told; the others' pieces are returned, to be destroyed without the lock. */
static piece_t *drop_all(vapi_workers_t *w)
{
    piece_t *dropped = NULL;

    while (w->first) {
        piece_t *piece = take_first(w);

        piece->state = PIECE_DROPPED;
        if (piece->settled) {
            pthread_cond_signal(piece->settled);
        }
        else {
            piece->next = dropped;
            dropped = piece;
        }
    }
    return dropped;
}

/* ---- The threads ---- */

static void *run(void *data)
{
    vapi_workers_t *w = data;
    piece_t *piece;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->ending) {
            w->n_idle++;
            pthread_cond_wait(&w->more, &w->lock);
            w->n_idle--;
        }
        if (!w->first) {
            break;
        }
        piece = take_first(w);
        piece->state = PIECE_AT_WORK;
        pthread_mutex_unlock(&w->lock);
        piece->work(piece->baton, piece->pool);
        pthread_mutex_lock(&w->lock);
        if (piece->settled) {
            piece->state = PIECE_DONE;
            pthread_cond_signal(piece->settled);
        }
        else {
            pthread_mutex_unlock(&w->lock);
            apr_pool_destroy(piece->pool);
            pthread_mutex_lock(&w->lock);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals are for the child's main thread: a handler may want to end the child, which waits for this thread. */
static apr_status_t start_thread(vapi_workers_t *w)
{
    sigset_t before;
    int rc;

    block_signals(&before);
    rc = pthread_create(&w->threads[w->n_threads], NULL, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        w->n_threads++;
    }
    return rc;
}

/* With the lock held. Unless APR_SUCCESS is returned the piece is the caller's still. */
static apr_status_t enqueue(vapi_workers_t *w, piece_t *piece)
{
    apr_status_t rv;

    if (w->ending) {
        return APR_EOF;
    }
    if (w->n_queued >= w->n_idle + w->max_threads - w->n_threads + w->max_queued) {
        return APR_ENOSPC;
    }
    if (w->n_queued >= w->n_idle && w->n_threads < w->max_threads && (rv = start_thread(w)) != APR_SUCCESS && w->n_threads == 0) {
        return rv;
    }
    append(w, piece);
    pthread_cond_signal(&w->more);
    return APR_SUCCESS;
}

/* ---- Work ---- */

static piece_t *make_piece(vapi_work_fn work, void *baton, apr_pool_t *pool)
{
    piece_t *piece = apr_pcalloc(pool, sizeof(*piece));

    piece->work = work;
    piece->baton = baton;
    piece->pool = pool;
    return piece;
}

apr_status_t vapi_workers_push(vapi_workers_t *w, vapi_work_fn work, void *baton, apr_pool_t *pool)
{
    piece_t *piece = make_piece(work, baton, pool);
    sigset_t signals;
    apr_status_t rv;

    lock(w, &signals);
    rv = enqueue(w, piece);
    unlock(w, &signals);
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(pool);
    }
    return rv;
}

/* On vapi_clock's clock. */
static apr_status_t make_cond(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);

    if (rc == 0) {
        rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        if (rc == 0) {
            rc = pthread_cond_init(cond, &attr);
        }
        pthread_condattr_destroy(&attr);
    }
    return rc;
}

/* 0 once it was told; a condition may also wake for nothing. */
static int wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, apr_time_t deadline)
{
    const struct timespec ts = { .tv_sec = apr_time_sec(deadline), .tv_nsec = apr_time_usec(deadline) * 1000 };

    return pthread_cond_timedwait(cond, lock, &ts);
}

/* With the lock held: what becomes of a piece whose time is over. *mine: its pool is the caller's. */
static apr_status_t give_up(vapi_workers_t *w, piece_t *piece, int *mine)
{
    *mine = piece->state != PIECE_AT_WORK;
    if (piece->state == PIECE_WAITS) {
        take_out(w, piece);
    }
    piece->settled = NULL;
    return APR_TIMEUP;
}

static apr_status_t wait_for(vapi_workers_t *w, piece_t *piece, apr_time_t deadline, int *mine)
{
    int rc = 0;

    while (piece->state == PIECE_WAITS || piece->state == PIECE_AT_WORK) {
        if (rc == ETIMEDOUT) {
            return give_up(w, piece, mine);
        }
        rc = wait_until(piece->settled, &w->lock, deadline);
    }
    *mine = 1;
    return piece->state == PIECE_DONE ? APR_SUCCESS : APR_EOF;
}

apr_status_t vapi_workers_wait(vapi_workers_t *w, vapi_work_fn work, void *baton, apr_pool_t *pool, apr_time_t deadline)
{
    piece_t *piece = make_piece(work, baton, pool);
    pthread_cond_t settled;    /* on this stack: nobody looks at it once piece->settled is NULL, or it was told */
    int mine = 1;
    sigset_t signals;
    apr_status_t rv = make_cond(&settled);

    if (rv == APR_SUCCESS) {
        piece->settled = &settled;
        lock(w, &signals);
        rv = vapi_clock_left(deadline) == 0 ? APR_TIMEUP : enqueue(w, piece);
        if (rv == APR_SUCCESS) {
            rv = wait_for(w, piece, deadline, &mine);
        }
        unlock(w, &signals);
        pthread_cond_destroy(&settled);
    }
    if (rv != APR_SUCCESS && mine) {
        apr_pool_destroy(pool);
    }
    return rv;
}

/* ---- The child ---- */

/* With the lock held: lets the threads go on with what waits, for as long as that may take. */
static void go_on(vapi_workers_t *w)
{
    apr_time_t deadline = vapi_clock_now() + w->drain;
    int rc = 0;

    while (w->first && rc != ETIMEDOUT) {
        rc = wait_until(&w->emptied, &w->lock, deadline);
    }
}

/* The lock stays: a pool that goes after this (the last request's) may still want to give work away, and is told APR_EOF. */
static apr_status_t end(void *data)
{
    vapi_workers_t *w = data;
    piece_t *dropped;
    int i;

    pthread_mutex_lock(&w->lock);
    w->ending = 1;
    pthread_cond_broadcast(&w->more);
    go_on(w);
    dropped = drop_all(w);
    pthread_mutex_unlock(&w->lock);
    destroy_pieces(dropped);
    for (i = 0; i < w->n_threads; i++) {
        pthread_join(w->threads[i], NULL);
    }
    return APR_SUCCESS;
}

apr_status_t vapi_workers_create(vapi_workers_t **out, int threads, int waiting, apr_interval_time_t drain, apr_pool_t *pchild)
{
    vapi_workers_t *w = apr_pcalloc(pchild, sizeof(*w));
    apr_status_t rv;

    w->last = &w->first;
    w->max_queued = waiting;
    w->max_threads = threads > 0 ? threads : 1;
    w->threads = apr_pcalloc(pchild, sizeof(pthread_t) * (apr_size_t)w->max_threads);
    w->drain = drain;
    if ((rv = pthread_mutex_init(&w->lock, NULL)) != APR_SUCCESS || (rv = make_cond(&w->more)) != APR_SUCCESS
        || (rv = make_cond(&w->emptied)) != APR_SUCCESS) {
        return rv;
    }
    /* Before pchild's own pools go, in which the connections live that are at work. */
    apr_pool_pre_cleanup_register(pchild, w, end);
    *out = w;
    return APR_SUCCESS;
}
