/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_console.h
 * @brief The handler `vapi-console`: who may ask what (read, manage), and the verbs below its path.
 */
#ifndef VAPI_CONSOLE_H
#define VAPI_CONSOLE_H

#include <httpd.h>

/** VapiConsole read|manage; unset: this machine alone, read only. */
typedef enum { VAPI_CONSOLE_UNSET = -1, VAPI_CONSOLE_READ = 0, VAPI_CONSOLE_MANAGE } vapi_console_right;

/** The handler; answers every request itself. */
int vapi_console(request_rec *r);

/** Writes an answer as the console does: JSON, no-store, nosniff. */
int vapi_console_reply(request_rec *r, int status, const char *json);

/**
 * POST explain?location=...[&at=...][&with=...][&lookups=on]: what would be done with the payload in the request's body.
 * @param may_manage  lookups may be made, and the body that would be sent is shown whole
 */
int vapi_explain(request_rec *r, int may_manage);

/** access_checker_ex, before all others: Require and logins are not asked of the request that only finds the section at location=
 * and is never run. */
int vapi_explain_access(request_rec *r);

#endif
