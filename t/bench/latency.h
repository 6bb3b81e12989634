/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  latency.h
 * @brief How long things took: 1,024 buckets for each power of two of nanoseconds, so a value is told to 0.1 %.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdint.h>

#define LATENCY_PARTS   1024
#define LATENCY_BUCKETS (LATENCY_PARTS * 40)    /* up to ten minutes and more */

typedef struct latency_t {
    uint64_t count;
    uint32_t bucket[LATENCY_BUCKETS];
} latency_t;

void latency_add(latency_t *l, uint64_t ns);

/** Microseconds; q from 0 to 1. */
double latency_quantile(const latency_t *l, double q);

#endif
