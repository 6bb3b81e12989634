/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  redis_node.h
 * @brief One server's view of the store in Redis: its connections, the salt that all servers share, and its own memory, which
 * answers while Redis is away. Private to mod_vapi_state_redis.
 *
 * Who took a claim or a lease shows its token: those of Redis have the highest bit set, those of the own memory never have it. A
 * lease of the own memory may be shown to another server, which must not take it for one of its own: its token also says whose it
 * is.
 */
#ifndef REDIS_NODE_H
#define REDIS_NODE_H

#include <stddef.h>

#include "redis_link.h"
#include "redis_scripts.h"
#include "vapi_state.h"

#define VAPI_REDIS_DIGEST    32            /* hex digits */
#define VAPI_REDIS_TOKEN_BIT ((apr_uint64_t)1 << 63)
#define VAPI_REDIS_MARK_AT   42            /* of a lease's token; below it stands that of the own memory */
#define VAPI_REDIS_MARK_MAX  0x1fffff      /* up to the highest bit but one */
#define VAPI_REDIS_LENGTH    65536         /* of a reply or a value */
#define VAPI_REDIS_CLAIM     'c'           /* kinds of keys: those of vapi_kind, and the next two */
#define VAPI_REDIS_OWNER     'o'
#define VAPI_REDIS_SEAT      's'

/** What the words behind VapiState say. */
typedef struct vapi_redis_config_t {
    vapi_redis_server_t server;
    const char *prefix;
    apr_interval_time_t keep;
} vapi_redis_config_t;

typedef struct vapi_redis_node_t vapi_redis_node_t;

/* ---- what is asked ---- */

#define VAPI_REDIS_WORDS 24

/** A question while it is put together: its words, of which the long ones are pointed to. */
typedef struct vapi_redis_question_t {
    vapi_redis_node_t *node;
    const char **words;            /* few, or of their own */
    size_t *lens;
    int n, room;
    int failed;                    /* no memory */
    char *text, *text_end;         /* where words that are made here are written */
    const char *few[VAPI_REDIS_WORDS];
    size_t few_lens[VAPI_REDIS_WORDS];
    char few_text[512];
} vapi_redis_question_t;

void vapi_redis_add(vapi_redis_question_t *q, const char *word, size_t len);
/** A word that does not live as long as the question. */
void vapi_redis_add_text(vapi_redis_question_t *q, const char *word, size_t len);
void vapi_redis_add_number(vapi_redis_question_t *q, apr_int64_t n);
void vapi_redis_add_hex(vapi_redis_question_t *q, apr_uint64_t n);
/** Microseconds, cut to what Redis can add to its time: ten years. */
void vapi_redis_add_span(vapi_redis_question_t *q, apr_interval_time_t span);
/** The same, in milliseconds, and not 0 unless it is. */
void vapi_redis_add_msec(vapi_redis_question_t *q, apr_interval_time_t span);

/** KIND:DIGEST; only from within a fill function. */
void vapi_redis_add_thing(vapi_redis_question_t *q, char kind, const char *key, apr_size_t key_len);

/** What the script is about: PREFIX:KIND:DIGEST, or all seats. The first thing that a fill function puts in. */
void vapi_redis_ask_key(vapi_redis_question_t *q, char kind, const char *key, apr_size_t key_len);
void vapi_redis_ask_seats(vapi_redis_question_t *q);

/** Room for `n` more words, and for `bytes` of those that are made here. */
void vapi_redis_add_room(vapi_redis_question_t *q, int n, size_t bytes);

/** Writes a salted digest of VAPI_REDIS_DIGEST digits and a NUL; only from within a fill function. */
void vapi_redis_digest(const vapi_redis_node_t *node, char *out, char kind, const char *key, apr_size_t key_len);

/** Puts what the script is about, then its arguments behind the salt's id, into the question; called again when the salt is
 * another one. */
typedef void vapi_redis_fill_fn(vapi_redis_question_t *q, void *baton);

/**
 * Runs a script. @param reply  an array whose first element is a number; for freeReplyObject
 * @return APR_SUCCESS, APR_ENOSPC, APR_ENOMEM or VAPI_REDIS_AWAY
 */
apr_status_t vapi_redis_run(vapi_redis_node_t *node, vapi_script script, vapi_redis_fill_fn *fill, void *baton,
                            redisReply **reply);

/** Element i of a reply, as a number; 0 if there is none. Strings are hex. */
apr_int64_t vapi_redis_number(const redisReply *reply, size_t i);
apr_uint64_t vapi_redis_hex(const redisReply *reply, size_t i);

/* ---- the node ---- */

/* Shared by all, but for the copies that requests have. */
struct vapi_redis_node_t {
    vapi_state_t st;               /* must be first */
    const vapi_redis_config_t *config;
    vapi_redis_links_t *links;
    vapi_redis_patience_t *patience;    /* of the request whose view this is; NULL: nobody's */
    vapi_state_t *local;           /* answers while Redis is away */
    struct vapi_redis_salt_t *salt;
    apr_uint64_t mark;             /* of the leases of the own memory: the same after a restart, another one on another server */
    char sha[VAPI_SCRIPTS][41];
};

/** The verbs of the own memory. */
static inline const vapi_state_provider_t *vapi_redis_local(const vapi_redis_node_t *node)
{
    return node->local->provider;
}

/** Makes the node, but for `local`; asks nothing yet. @return NULL or what is wrong */
const char *vapi_redis_node_make(vapi_redis_node_t **out, const vapi_redis_config_t *config, server_rec *s, apr_pool_t *p);

/** Agrees with Redis on the salt; what keeps it from that is logged. */
void vapi_redis_node_greet(vapi_redis_node_t *node);

int vapi_redis_node_is_reached(vapi_redis_node_t *node);

/** Which salt is in use: grows when it is another. Only from within a fill function. */
apr_uint32_t vapi_redis_salt_number(const vapi_redis_node_t *node);

/** A new token, with the highest bit. */
apr_uint64_t vapi_redis_new_token(void);

/** What the own memory has beside a claim or a lease of Redis: one that it has taken over, which counts from then on; or a
 * shadow, which counts while Redis is away. */
typedef enum { VAPI_TWIN_TAKEN, VAPI_TWIN_SHADOW } vapi_twin;

/** Keeps the token of the twin under that of Redis, for `keep`. */
void vapi_redis_remember(const vapi_redis_node_t *node, vapi_twin twin, apr_uint64_t redis_token, apr_uint64_t token,
                         apr_interval_time_t keep);
/** The token of the twin; 0: there is none. */
apr_uint64_t vapi_redis_twin(const vapi_redis_node_t *node, vapi_twin twin, apr_uint64_t redis_token);

/* ---- reading and the verbs ---- */

const char *vapi_redis_configure(void **config, const apr_array_header_t *words, apr_pool_t *pconf);

vapi_state_t *vapi_redis_within(vapi_state_t *st, apr_interval_time_t left, apr_pool_t *p);
apr_status_t vapi_redis_claim(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                              apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p);
apr_status_t vapi_redis_commit(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token, const char *reply,
                               apr_size_t reply_len, apr_interval_time_t keep);
apr_status_t vapi_redis_settle(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token, const char *reply,
                               apr_size_t reply_len, apr_interval_time_t keep);
apr_status_t vapi_redis_recall(vapi_state_t *st, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p);
apr_status_t vapi_redis_abandon(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token);
/** The shadow of a claim, or of a seat: what the own memory knows of one that Redis has. Asked only while Redis is away. */
const char *vapi_redis_shadow_key(const char *key, apr_size_t key_len, apr_size_t *len, apr_pool_t *p);

apr_status_t vapi_redis_count(vapi_state_t *st, const char *key, apr_size_t key_len, int delta, int limit,
                              apr_interval_time_t window, int restart_window, int *value);
apr_status_t vapi_redis_put(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t value_len,
                            apr_interval_time_t keep);
apr_status_t vapi_redis_get(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *value_len,
                            apr_pool_t *p);
apr_status_t vapi_redis_note(vapi_state_t *st, const char *key, apr_size_t key_len, const char *field, const char *was,
                             const char *value, apr_interval_time_t keep);
apr_status_t vapi_redis_notes(vapi_state_t *st, const char *key, apr_size_t key_len, apr_array_header_t **out, apr_pool_t *p);
apr_status_t vapi_redis_own(vapi_state_t *st, const char *owner, const vapi_owned_t *things, int n, apr_interval_time_t keep);
apr_status_t vapi_redis_forget(vapi_state_t *st, const char *owner, int *dropped);

apr_status_t vapi_redis_seat(vapi_state_t *st, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p);
apr_status_t vapi_redis_lease(vapi_state_t *st, const vapi_wish_t *wish, vapi_lease_t *out);
apr_status_t vapi_redis_occupy(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span);
apr_status_t vapi_redis_release(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up);
apr_status_t vapi_redis_rest(vapi_state_t *st, vapi_seat_t *seat, apr_interval_time_t span);
apr_status_t vapi_redis_present(vapi_state_t *st, vapi_seat_t *seat, vapi_presence presence);
apr_status_t vapi_redis_survey(vapi_state_t *st, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views);

#endif
