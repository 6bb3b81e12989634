/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_state_table.h
 * @brief Claims, counters, values, notes, seats and leases in memory that processes share, with or without a file behind it. Knows nothing of httpd.
 *
 * The verbs are those of vapi_state_provider_t (vapi_state.h says what they do). Locks live in the memory and survive the death
 * of their holder. A file is held by flock() for as long as any process that inherited its descriptor lives.
 */
#ifndef VAPI_STATE_TABLE_H
#define VAPI_STATE_TABLE_H

#include <apr_pools.h>
#include <apr_tables.h>

#include "vapi_state.h"

#define VAPI_STATE_LAYOUT       3                      /* of the memory; another one is not taken */
#define VAPI_STATE_SIZE_DEFAULT (32L * 1024 * 1024)
#define VAPI_STATE_SIZE_MIN     (1024L * 1024)
#define VAPI_STATE_SIZE_MAX     (64LL * 1024 * 1024 * 1024)
#define VAPI_STATE_REPLY_MAX    65536                  /* of a value and of all notes of a key, too */

/** All there is to know of an open store in order to find it again in this process and its children. */
typedef struct vapi_state_mapping_t {
    void *base;
    apr_size_t size;
    int fd;                        /* of the file that is held; -1: memory only */
} vapi_state_mapping_t;

typedef struct vapi_state_table_t vapi_state_table_t;

typedef enum {
    VAPI_NOTE_INFO = 0,
    VAPI_NOTE_WARNING,
    VAPI_NOTE_ERROR
} vapi_note_level;

/** What the administrator must know of an open. */
typedef struct vapi_state_note_t {
    vapi_note_level level;
    apr_status_t rv;               /* APR_SUCCESS if no error of the system is behind it */
    const char *text;
} vapi_state_note_t;

typedef struct vapi_state_open_t {
    const char *path;              /* NULL: memory only */
    apr_size_t size;
    apr_interval_time_t lock_wait; /* how long processes that were just killed may take to let go of the file */
} vapi_state_open_t;

/**
 * Opens a store. A file of another layout, or a damaged one, is renamed to PATH.old; one of another size, or from before the
 * machine's last start, is copied into a new one that takes its place, without its values; one that is in use elsewhere is left
 * alone, and the store is in memory only.
 * @param notes  array of vapi_state_note_t, added to
 * @return APR_SUCCESS, or why there is no store (said in the notes too)
 */
apr_status_t vapi_state_table_open(vapi_state_table_t **out, const vapi_state_open_t *how, apr_array_header_t *notes, apr_pool_t *p);

/** The store in a mapping that this process has open already. */
apr_status_t vapi_state_table_attach(vapi_state_table_t **out, const vapi_state_mapping_t *mapping, apr_pool_t *p);

/** The store as one request sees it that has `left` to live, in `p`: its verbs wait for whoever holds a lock for half of that, and then
 * give an error. */
vapi_state_table_t *vapi_state_table_within(const vapi_state_table_t *t, apr_interval_time_t left, apr_pool_t *p);

/** What must be kept to attach again. */
const vapi_state_mapping_t *vapi_state_table_mapping(const vapi_state_table_t *t);

/** Unmaps the store and lets go of the file, for this process. */
void vapi_state_table_close(vapi_state_table_t *t);

apr_status_t vapi_state_table_claim(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                                    apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p);
apr_status_t vapi_state_table_commit(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token,
                                     const char *reply, apr_size_t reply_len, apr_interval_time_t keep);
apr_status_t vapi_state_table_settle(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token,
                                     const char *reply, apr_size_t reply_len, apr_interval_time_t keep);
apr_status_t vapi_state_table_recall(vapi_state_table_t *t, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p);
apr_status_t vapi_state_table_abandon(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_uint64_t token);
apr_status_t vapi_state_table_count(vapi_state_table_t *t, const char *key, apr_size_t key_len, int delta, int limit,
                                    apr_interval_time_t window, int restart_window, int *value);
apr_status_t vapi_state_table_put(vapi_state_table_t *t, const char *key, apr_size_t key_len,
                                  const char *value, apr_size_t value_len, apr_interval_time_t keep);
apr_status_t vapi_state_table_get(vapi_state_table_t *t, const char *key, apr_size_t key_len, const char **value,
                                  apr_size_t *value_len, apr_pool_t *p);
apr_status_t vapi_state_table_note(vapi_state_table_t *t, const char *key, apr_size_t key_len, const char *field, const char *was,
                                   const char *value, apr_interval_time_t keep);
apr_status_t vapi_state_table_notes(vapi_state_table_t *t, const char *key, apr_size_t key_len, apr_array_header_t **out,
                                    apr_pool_t *p);
apr_status_t vapi_state_table_own(vapi_state_table_t *t, const char *owner, const vapi_owned_t *things, int n,
                                  apr_interval_time_t keep);
apr_status_t vapi_state_table_forget(vapi_state_table_t *t, const char *owner, int *dropped);

apr_status_t vapi_state_table_seat(vapi_state_table_t *t, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p);
apr_status_t vapi_state_table_lease(vapi_state_table_t *t, const vapi_wish_t *wish, vapi_lease_t *out);
apr_status_t vapi_state_table_occupy(vapi_state_table_t *t, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span);
apr_status_t vapi_state_table_release(vapi_state_table_t *t, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up);
apr_status_t vapi_state_table_rest(vapi_state_table_t *t, vapi_seat_t *seat, apr_interval_time_t span);
apr_status_t vapi_state_table_present(vapi_state_table_t *t, vapi_seat_t *seat, vapi_presence presence);
apr_status_t vapi_state_table_survey(vapi_state_table_t *t, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views);

#endif
