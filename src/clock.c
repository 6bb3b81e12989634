/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_clock.h"

#include <time.h>

apr_time_t vapi_clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (apr_time_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000 + 1;
}

apr_interval_time_t vapi_clock_left(apr_time_t deadline)
{
    apr_time_t now = vapi_clock_now();

    return deadline > now ? deadline - now : 0;
}
