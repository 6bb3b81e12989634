/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "latency.h"

static unsigned bucket_of(uint64_t ns)
{
    unsigned shift = ns < 2 * LATENCY_PARTS ? 0 : (unsigned)__builtin_clzll(LATENCY_PARTS) - (unsigned)__builtin_clzll(ns);
    unsigned bucket = shift * LATENCY_PARTS + (unsigned)(ns >> shift);

    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static double microseconds_of(unsigned bucket)
{
    unsigned shift = bucket < 2 * LATENCY_PARTS ? 0 : bucket / LATENCY_PARTS - 1;

    return (double)((uint64_t)(bucket - shift * LATENCY_PARTS) << shift) / 1000.0;
}

void latency_add(latency_t *l, uint64_t ns)
{
    l->bucket[bucket_of(ns)]++;
    l->count++;
}

double latency_quantile(const latency_t *l, double q)
{
    uint64_t wanted = (uint64_t)(q * (double)l->count), seen = 0;     /* how many are quicker than the one that is looked for */
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS - 1; i++) {
        seen += l->bucket[i];
        if (seen > wanted || seen == l->count) {
            break;
        }
    }
    return microseconds_of(i);
}
