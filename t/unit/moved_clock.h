/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* vapi_clock as it is, and as much later as a test says: what is to run out does so without a pause, and nothing runs out because
 * the machine was slow between two lines. A process has the clock of the moment at which it was forked. */
#ifndef MOVED_CLOCK_H
#define MOVED_CLOCK_H

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <apr_time.h>

static apr_interval_time_t passed;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int rc = (int)syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && id == CLOCK_MONOTONIC) {
        apr_interval_time_t us = ts->tv_nsec / 1000 + apr_time_usec(passed);

        ts->tv_sec += (time_t)(apr_time_sec(passed) + us / APR_USEC_PER_SEC);
        ts->tv_nsec = (long)(us % APR_USEC_PER_SEC) * 1000 + ts->tv_nsec % 1000;
    }
    return rc;
}

static void pass(apr_interval_time_t span)
{
    passed += span;
}

#endif
