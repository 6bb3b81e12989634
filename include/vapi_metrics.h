/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_metrics.h
 * @brief What all processes of this server count since its last (re)start: in a shared anonymous segment, by atomic additions,
 *        without a lock. Labels come from the configuration alone. What a process counts after a restart it no longer belongs to
 *        is lost.
 */
#ifndef VAPI_METRICS_H
#define VAPI_METRICS_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct vapi_metrics_t vapi_metrics_t;

/** The words of vapi-outcome, in the order of their counters; NULL-terminated. */
extern const char *const vapi_metrics_outcomes[];
/** The ends of a transfer: connected, completed, no-answer, busy, voicemail, failed, cancelled; NULL-terminated. */
extern const char *const vapi_metrics_endings[];

/** How a lookup ended, beside its state. */
typedef enum {
    VAPI_METRIC_OK = 0, VAPI_METRIC_NONE, VAPI_METRIC_ERROR, VAPI_METRIC_CACHED, VAPI_METRIC_LOOKUP_ENDS
} vapi_metric_lookup;

/** post_config. Routes and lookups are numbered from 0. Lives as long as pconf. */
apr_status_t vapi_metrics_create(vapi_metrics_t **out, int routes, int lookups, apr_pool_t *pconf);

/* Counting; m NULL, a number below 0 and an unknown word count nothing. */
void vapi_metrics_outcome(vapi_metrics_t *m, const char *outcome);
void vapi_metrics_taken(vapi_metrics_t *m, int route);
void vapi_metrics_ended(vapi_metrics_t *m, int route, const char *status);
/** One control POST that had an answer or ran out of time: how long it took, and how many connections were opened for it. */
void vapi_metrics_control(vapi_metrics_t *m, apr_interval_time_t took, int connections);
void vapi_metrics_lookup(vapi_metrics_t *m, int lookup, vapi_metric_lookup end);

/* Reading; consistent enough for people, not a snapshot. */
apr_uint64_t vapi_metrics_read_outcome(const vapi_metrics_t *m, int outcome);
apr_uint64_t vapi_metrics_read_taken(const vapi_metrics_t *m, int route);
apr_uint64_t vapi_metrics_read_ended(const vapi_metrics_t *m, int route, int ending);
apr_uint64_t vapi_metrics_read_lookup(const vapi_metrics_t *m, int lookup, vapi_metric_lookup end);

typedef struct vapi_metrics_control_t {
    apr_uint64_t count, connections;
    double p50_ms, p90_ms, p99_ms;     /* 0 while nothing was counted; within 8 % of the value */
} vapi_metrics_control_t;

void vapi_metrics_read_control(const vapi_metrics_t *m, vapi_metrics_control_t *out);

#endif
