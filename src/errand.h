/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** What doing an errand after the reply and doing it again later have in common. Private to errand.c and redelivery.c. */
#ifndef ERRAND_H
#define ERRAND_H

#include "vapi_errand.h"

/** One read back from its text. */
typedef struct errand_t {
    const vapi_action_t *action;
    const char *about;             /* for the log: "call=ID action=NAME event=EVENT" */
    const char *key;               /* Idempotency-Key */
    vapi_filled_t filled;
} errand_t;

typedef enum {
    ERRAND_DELIVERED = 0,
    ERRAND_FAILED,                 /* may be delivered another time */
    ERRAND_REFUSED                 /* will be refused every time */
} errand_end;

/** @param actions  id -> vapi_action_t *. @return NULL, or constant words for what is wrong; `about` is set all the same */
const char *vapi_errand_read(errand_t *errand, const char *text, apr_size_t len, apr_hash_t *actions, apr_pool_t *p);

/** Does it, within the action's timeout. *what: words for the log, in `p` or constant. */
errand_end vapi_errand_try(const errand_t *errand, struct vapi_child_t *child, int spooled, int sync, const char **what, apr_pool_t *p);

/** Ends a held file by how its errand ended, and says so in the log: it is removed, put off, or (refused, or failing for a day)
 * set aside. */
void vapi_errand_finish(vapi_spooled_t *file, const char *about, errand_end end, const char *what, server_rec *s);

/** Has it waited for a day? */
int vapi_errand_is_old(const vapi_spooled_t *file);

#endif
