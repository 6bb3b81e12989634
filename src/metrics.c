/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Counters of all processes. Each stands by itself, so nothing orders one against another; a reader may see a route taken before
 * its outcome.
 */
#include <apr_shm.h>
#include <stdatomic.h>
#include <string.h>

#include "vapi_metrics.h"

const char *const vapi_metrics_outcomes[] = {
    "transferred", "handed-off", "answered",  "no-route", "refused",      "failed",    "unknown",
    "limited",     "duplicate",  "ignored",   "unauthorized", "malformed", NULL
};
const char *const vapi_metrics_endings[] = {
    "connected", "completed", "no-answer", "busy", "voicemail", "failed", "cancelled", NULL
};

#define OUTCOMES ((int)(sizeof(vapi_metrics_outcomes) / sizeof(vapi_metrics_outcomes[0])) - 1)
#define ENDINGS  ((int)(sizeof(vapi_metrics_endings) / sizeof(vapi_metrics_endings[0])) - 1)

/* Times in microseconds: each power of two from 2^LOWEST on is cut into PARTS, so that a bucket is 1/16 wide of where it begins.
 * What is shorter (64 us) is one bucket, what is longer (134 s) is in the last. */
#define LOWEST  6
#define HIGHEST 27
#define PART_BITS 4
#define PARTS   (1 << PART_BITS)
#define BUCKETS (1 + (HIGHEST - LOWEST) * PARTS)

typedef _Atomic apr_uint64_t counter_t;

struct vapi_metrics_t {
    int routes, lookups;
    counter_t outcomes[OUTCOMES];
    counter_t connections;             /* opened for control requests */
    counter_t control[BUCKETS];        /* control requests, by how long they took */
    counter_t by_number[];             /* of each route: taken and its endings; then of each lookup: its ends */
};

#define PER_ROUTE (1 + ENDINGS)

apr_status_t vapi_metrics_create(vapi_metrics_t **out, int routes, int lookups, apr_pool_t *pconf)
{
    apr_size_t numbered = (apr_size_t)routes * PER_ROUTE + (apr_size_t)lookups * VAPI_METRIC_LOOKUP_ENDS;
    apr_size_t size = sizeof(vapi_metrics_t) + numbered * sizeof(counter_t);
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, size, NULL, pconf);

    if (rv == APR_SUCCESS) {
        *out = apr_shm_baseaddr_get(shm);
        memset(*out, 0, size);
        (*out)->routes = routes;
        (*out)->lookups = lookups;
    }
    return rv;
}

/* ---- where each is counted; -1: nowhere ---- */

static int index_of(const char *const *words, const char *word)
{
    int i;

    for (i = 0; word && words[i]; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    return -1;
}

/* `what`: 0 taken, 1 + an ending. */
static int place_of_route(const vapi_metrics_t *m, int route, int what)
{
    return m && route >= 0 && route < m->routes && what >= 0 && what < PER_ROUTE ? route * PER_ROUTE + what : -1;
}

static int place_of_lookup(const vapi_metrics_t *m, int lookup, int end)
{
    return m && lookup >= 0 && lookup < m->lookups && end >= 0 && end < VAPI_METRIC_LOOKUP_ENDS
               ? m->routes * PER_ROUTE + lookup * VAPI_METRIC_LOOKUP_ENDS + end
               : -1;
}

/* ---- counting ---- */

static void add(counter_t *counter, apr_uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void add_at(vapi_metrics_t *m, int place)
{
    if (place >= 0) {
        add(&m->by_number[place], 1);
    }
}

void vapi_metrics_outcome(vapi_metrics_t *m, const char *outcome)
{
    int i = index_of(vapi_metrics_outcomes, outcome);

    if (m && i >= 0) {
        add(&m->outcomes[i], 1);
    }
}

void vapi_metrics_taken(vapi_metrics_t *m, int route)
{
    add_at(m, place_of_route(m, route, 0));
}

void vapi_metrics_ended(vapi_metrics_t *m, int route, const char *status)
{
    int ending = index_of(vapi_metrics_endings, status);

    add_at(m, ending < 0 ? -1 : place_of_route(m, route, 1 + ending));
}

void vapi_metrics_lookup(vapi_metrics_t *m, int lookup, vapi_metric_lookup end)
{
    add_at(m, place_of_lookup(m, lookup, (int)end));
}

static int bucket_of(apr_interval_time_t took)
{
    int power;

    if (took < 1 << LOWEST) {
        return 0;
    }
    if (took >= APR_INT64_C(1) << HIGHEST) {
        return BUCKETS - 1;
    }
    power = 63 - __builtin_clzll((unsigned long long)took);
    return 1 + (power - LOWEST) * PARTS + (int)((took >> (power - PART_BITS)) & (PARTS - 1));
}

void vapi_metrics_control(vapi_metrics_t *m, apr_interval_time_t took, int connections)
{
    if (m) {
        add(&m->control[bucket_of(took)], 1);
        add(&m->connections, connections > 0 ? (apr_uint64_t)connections : 0);
    }
}

/* ---- reading ---- */

static apr_uint64_t read_counter(const counter_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static apr_uint64_t read_at(const vapi_metrics_t *m, int place)
{
    return place >= 0 ? read_counter(&m->by_number[place]) : 0;
}

apr_uint64_t vapi_metrics_read_outcome(const vapi_metrics_t *m, int outcome)
{
    return m && outcome >= 0 && outcome < OUTCOMES ? read_counter(&m->outcomes[outcome]) : 0;
}

apr_uint64_t vapi_metrics_read_taken(const vapi_metrics_t *m, int route)
{
    return read_at(m, place_of_route(m, route, 0));
}

apr_uint64_t vapi_metrics_read_ended(const vapi_metrics_t *m, int route, int ending)
{
    return read_at(m, ending < 0 ? -1 : place_of_route(m, route, 1 + ending));
}

apr_uint64_t vapi_metrics_read_lookup(const vapi_metrics_t *m, int lookup, vapi_metric_lookup end)
{
    return read_at(m, place_of_lookup(m, lookup, (int)end));
}

/* Where a bucket begins, in milliseconds; of the bucket behind the last: where that ends. */
static double bucket_begin(int bucket)
{
    int power = LOWEST + (bucket - 1) / PARTS, part = (bucket - 1) % PARTS;

    return bucket ? (double)((APR_INT64_C(1) << power) + ((apr_int64_t)part << (power - PART_BITS))) / 1000 : 0;
}

/* The time that this share of all control requests did not exceed: between the ends of its bucket, as if they were spread there. */
static double percentile(const apr_uint64_t *counts, apr_uint64_t all, double share)
{
    double wanted = share * (double)all, before = 0;
    int i;

    for (i = 0; i < BUCKETS - 1 && before + (double)counts[i] < wanted; i++) {
        before += (double)counts[i];
    }
    return counts[i] ? bucket_begin(i) + (bucket_begin(i + 1) - bucket_begin(i)) * (wanted - before) / (double)counts[i] : 0;
}

void vapi_metrics_read_control(const vapi_metrics_t *m, vapi_metrics_control_t *out)
{
    apr_uint64_t counts[BUCKETS];
    int i;

    memset(out, 0, sizeof(*out));
    if (!m) {
        return;
    }
    for (i = 0; i < BUCKETS; i++) {    /* once: what is counted meanwhile must not move the percentiles' ground */
        counts[i] = read_counter(&m->control[i]);
        out->count += counts[i];
    }
    out->connections = read_counter(&m->connections);
    out->p50_ms = percentile(counts, out->count, 0.50);
    out->p90_ms = percentile(counts, out->count, 0.90);
    out->p99_ms = percentile(counts, out->count, 0.99);
}
