/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_signal.h
 * @brief VapiSignal and said(): patterns in what the caller said, and in nothing that the assistant said. Knows no httpd request.
 */
#ifndef VAPI_SIGNAL_H
#define VAPI_SIGNAL_H

#include "vapi_message.h"
#include "vapi_pattern.h"

typedef struct vapi_signal_t vapi_signal_t;    /* one NAME: its patterns, each with a weight */

vapi_signal_t *vapi_signal_make(const char *name, apr_pool_t *p);
const char *vapi_signal_name(const vapi_signal_t *signal);

/** Adds a line `VapiSignal NAME REGEX [weight=N]`. @param weight  -1000 to 1000. @return NULL or what is wrong with REGEX */
const char *vapi_signal_add(vapi_signal_t *signal, const char *regex, int weight, apr_pool_t *p);

/** ` "REGEX" weight=N ...` for a dump. */
const char *vapi_signal_describe(const vapi_signal_t *signal, apr_pool_t *p);

/**
 * The weights that the caller's turns add up to: a pattern counts once in every turn in which it is found. *limited is set to 1
 * where a limit was reached (left alone otherwise). All turns together take 100 ms at most; what is left then counts as not
 * found.
 */
int vapi_signal_sum(const vapi_signal_t *signal, vapi_message_t *m, int *limited);

/** Did the caller say it, in any turn? 1 or 0; limits as above. */
int vapi_signal_said(const vapi_pattern_t *pattern, vapi_message_t *m, int *limited);

#endif
