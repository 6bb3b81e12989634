/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_scripts.h
 * @brief What Redis does in one step, a verb each. Private to mod_vapi_state_redis.
 *
 * KEYS[1] is the key of the salt and ARGV[1] the salt's id, of all of them. Each answers with a list whose first element says how
 * it went: one of those below, or, of lease, the one who was chosen.
 */
#ifndef REDIS_SCRIPTS_H
#define REDIS_SCRIPTS_H

#define VAPI_REDIS_SALT_ID 16          /* characters of the salt's value, at its beginning */

typedef enum {
    VAPI_ANSWER_OTHER_SALT = -1,       /* nothing was done */
    VAPI_ANSWER_DONE = 0,
    VAPI_ANSWER_BUSY,
    VAPI_ANSWER_SETTLED,
    VAPI_ANSWER_NOT_FOUND,
    VAPI_ANSWER_REFUSED,
    VAPI_ANSWER_TOO_LONG
} vapi_answer;

typedef enum {
    VAPI_SCRIPT_CLAIM = 0, VAPI_SCRIPT_COMMIT, VAPI_SCRIPT_SETTLE, VAPI_SCRIPT_RECALL, VAPI_SCRIPT_ABANDON, VAPI_SCRIPT_COUNT,
    VAPI_SCRIPT_PUT, VAPI_SCRIPT_GET, VAPI_SCRIPT_NOTE, VAPI_SCRIPT_NOTES, VAPI_SCRIPT_OWN, VAPI_SCRIPT_FORGET, VAPI_SCRIPT_LEASE,
    VAPI_SCRIPT_OCCUPY, VAPI_SCRIPT_RELEASE, VAPI_SCRIPT_REST, VAPI_SCRIPT_PRESENT, VAPI_SCRIPT_SURVEY,
    VAPI_SCRIPTS
} vapi_script;

/** Its text, and the name by which EVALSHA knows it (40 hex digits; `sha` has room for 41). */
const char *vapi_script_text(vapi_script script);
void vapi_script_sha(vapi_script script, char *sha);

#endif
