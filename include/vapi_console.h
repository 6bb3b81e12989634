/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_console.h
 * @brief The handler `vapi-console`: who may ask what (read, manage), and the verbs below its path.
 */
#ifndef VAPI_CONSOLE_H
#define VAPI_CONSOLE_H

#include <httpd.h>

#include "vapi_state.h"

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

/** GET status: what was counted since the last start, who holds what, and what the administrator must know. */
int vapi_status(request_rec *r, int may_manage);

/** The words of a member's state, by vapi_presence; NULL-terminated. */
extern const char *const vapi_presence_words[];
/** ... and the one that is shown: who rests is paused. */
const char *vapi_presence_of(const vapi_seat_view_t *view);

/** POST members/POOL/MEMBER {"state":"available|paused|busy"}. `rest` is what is behind the verb in the path: "POOL/MEMBER". */
int vapi_members(request_rec *r, const char *rest);

/** POST release/CALL: ends the leases of a call. `rest`: "CALL". */
int vapi_release(request_rec *r, const char *rest);

/** POST forget {"number":"+1..."}: drops what is remembered of a caller. `rest` is empty. */
int vapi_forget(request_rec *r, const char *rest);

/** access_checker_ex, before all others: Require and logins are not asked of the request that only finds the section at location=
 * and is never run. */
int vapi_explain_access(request_rec *r);

#endif
