/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_clock.h
 * @brief The one clock that deadlines, leases and claims are measured with.
 *
 * A wall clock may jump; a caller's eight seconds may not. Wall time is asked only for signatures and
 * opening hours. All processes of a machine see the same monotonic clock, so its readings may be shared
 * between them, until the machine starts anew.
 */
#ifndef VAPI_CLOCK_H
#define VAPI_CLOCK_H

#include <apr_time.h>

/** Microseconds on CLOCK_MONOTONIC. Never 0, so that 0 can mean "never". */
apr_time_t vapi_clock_now(void);

/** Microseconds until `deadline` (a vapi_clock_now() value); 0 when it has passed. */
apr_interval_time_t vapi_clock_left(apr_time_t deadline);

#endif
