/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  usage.h
 * @brief What a server, all its processes together, has used, as /proc tells it.
 */
#ifndef USAGE_H
#define USAGE_H

#include <sys/types.h>

typedef struct usage_t {
    double cpu_us, user_us;           /* utime + stime, and utime, since the start; those of children that have ended included */
    unsigned long pss_kb, rss_kb;     /* resident; of a page that k processes share, pss counts 1/k in each */
    int processes;
} usage_t;

/** Sums over every process of the session that `leader` leads; all 0 when leader is 0. Memory is slow to read: only if wanted. */
usage_t usage_of_session(pid_t leader, int with_memory);

#endif
