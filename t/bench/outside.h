/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  outside.h
 * @brief What stands in for httpd around the store's providers and the pools, where they are measured without it.
 */
#ifndef OUTSIDE_H
#define OUTSIDE_H

#include <stddef.h>

#include "vapi_state.h"

/** Registers the providers; their files will be in `dir`. Call once. */
void outside_begin(const char *dir);

/** Opens what the words after VapiState say ("shm", "redis://..."); ends the program if it cannot. */
vapi_state_t *outside_open(const char *word);

extern apr_pool_t *outside_pool;       /* lives as long as the program */

/** How often this process has sent something and then waited for the answer; 0 again by outside_forget_trips(). */
extern unsigned long outside_trips;
void outside_forget_trips(void);

#endif
