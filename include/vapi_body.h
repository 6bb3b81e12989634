/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_body.h
 * @brief The body of a delivery, read up to VapiBodyLimit and inside its deadline, whoever sent it.
 */
#ifndef VAPI_BODY_H
#define VAPI_BODY_H

#include "vapi_delivery.h"

/** By its headers: is it application/json in UTF-8, plain or unpacked by mod_deflate's input filter? */
int vapi_body_is_readable(request_rec *r);

/**
 * Reads it into d->body and d->body_len, in the delivery's pool.
 * @return 0, an HTTP status to answer with (413 over the cap, 408 too slow, 400 broken off), or AP_FILTER_ERROR: a filter has
 *         answered already
 */
int vapi_body_read(vapi_delivery_t *d);

#endif
