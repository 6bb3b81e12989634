/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef VAPI_WEBHOOK_H
#define VAPI_WEBHOOK_H

#include <httpd.h>

/** Answers one request to a `SetHandler vapi-transfer`: OK, or what a filter that has answered already gave. */
int vapi_webhook(request_rec *r);

#endif
