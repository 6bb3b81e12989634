/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  state_layout.h
 * @brief How the store lies in mapped memory, and what is done to one stripe of it. Private to the files state_*.c.
 *
 *     header | roster | stripe 0 | stripe 1 | ...        a stripe:  head | slots | blocks | buckets
 *
 * The roster (state_roster.h) has who holds leases. All else is in the stripes.
 * A key belongs to one stripe and to one slot there. What counts is in the slots: `which` says which of the two versions is in
 * force (0: free), and that version names the chain of blocks with the reply (of a value: the value itself). Buckets, lists and
 * free lists only repeat it, and are made anew from the slots by vapi_stripe_repair(). A change writes new blocks and the version
 * not in force, then switches `which`, then frees what is not used any more: killed at any point, a process leaves the old entry
 * or the new one. A seal over entry and reply shows what a crash of the whole machine has torn.
 *
 * Only indexes stand in the memory, never addresses: each process may see it elsewhere.
 */
#ifndef VAPI_STATE_LAYOUT_H
#define VAPI_STATE_LAYOUT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include <apr_time.h>

#include "vapi_state_table.h"

#define VAPI_STATE_MAGIC      "VAPISTAT"
#define VAPI_STATE_BYTE_ORDER 0x01020304u
#define VAPI_STATE_HEADER     4096
#define VAPI_STATE_STRIPES    64
#define VAPI_STATE_STRIPE_MIN 524288          /* a smaller store has fewer stripes, so that the longest reply fits into any */
#define VAPI_STATE_DIGEST     16
#define VAPI_ROSTER_MIN       131072
#define VAPI_ROSTER_MAX       16777216
#define VAPI_ROSTER_LEASES    4               /* for each seat, on average */
#define VAPI_STATE_NIL        0xffffffffu
#define VAPI_BLOCK_DATA       240

/** What follows from the size alone. */
typedef struct vapi_geometry_t {
    apr_uint64_t size;             /* of the whole mapping */
    apr_uint64_t stripe_size;
    apr_uint32_t stripes;          /* a power of two, as are buckets */
    apr_uint32_t buckets;          /* of one stripe, as slots and blocks */
    apr_uint32_t slots;
    apr_uint32_t blocks;
    apr_uint32_t roster_size;
    apr_uint32_t seat_buckets;     /* a power of two */
    apr_uint32_t seats;
    apr_uint32_t leases;
} vapi_geometry_t;

typedef struct vapi_header_t {
    char magic[8];
    apr_uint32_t layout;
    apr_uint32_t byte_order;
    apr_uint32_t mutex_size;
    apr_uint32_t slot_size;
    vapi_geometry_t geometry;
    unsigned char salt[32];
    apr_uint64_t seal;             /* of all above */
    char boot_id[40];              /* which run of the machine the times below belong to */
    _Atomic apr_int64_t wall;      /* wall clock minus vapi_clock_now() */
} vapi_header_t;

typedef enum {
    VAPI_ENTRY_WORKING = 1,
    VAPI_ENTRY_COMMITTED,
    VAPI_ENTRY_SETTLED,
    VAPI_ENTRY_COUNTER,
    VAPI_ENTRY_VALUE,
    VAPI_ENTRY_NOTES,
    VAPI_ENTRY_OWNED               /* digests of what is kept about somebody */
} vapi_entry_state;

typedef struct vapi_version_t {
    apr_uint32_t state;
    apr_int32_t value;             /* of a counter */
    apr_uint64_t token;
    apr_uint64_t fingerprint;
    apr_time_t since;              /* of the latest change */
    apr_time_t work_until;         /* when the owner of a claim counts as gone */
    apr_time_t expires;
    apr_uint32_t first_block;      /* NIL: no reply */
    apr_uint32_t reply_len;
    apr_uint64_t seal;             /* of the key, all above and the reply */
} vapi_version_t;

typedef struct vapi_slot_t {
    unsigned char digest[VAPI_STATE_DIGEST];
    apr_uint32_t which;            /* 0: free; n: version[n - 1] is in force */
    apr_uint32_t next;             /* in its bucket, or in the free list */
    apr_uint32_t older;            /* in its list */
    apr_uint32_t newer;
    vapi_version_t version[2];
} vapi_slot_t;

typedef struct vapi_block_t {
    apr_uint32_t next;             /* in its chain, or in the free list */
    apr_uint32_t used;             /* bytes; 0: free, and wiped */
    apr_uint32_t owner;            /* slot + 1, while a stripe is repaired */
    apr_uint32_t padding;
    unsigned char data[VAPI_BLOCK_DATA];    /* zero behind `used` */
} vapi_block_t;

/** Each entry is in one list, oldest change first. When room ends, lists are evicted in this order. */
typedef enum {
    VAPI_LIST_VALUES = 0,
    VAPI_LIST_SETTLED,
    VAPI_LIST_COUNTERS,            /* what is owned, too */
    VAPI_LIST_NOTES,
    VAPI_LIST_WORK,                /* working and committed: never evicted */
    VAPI_LISTS
} vapi_list;

typedef struct vapi_stripe_head_t {
    pthread_mutex_t mutex;
    apr_uint64_t tokens;           /* given so far */
    apr_time_t soonest;            /* nothing expires before */
    apr_uint32_t free_slot;
    apr_uint32_t free_block;
    apr_uint32_t free_blocks;
    apr_uint32_t blocks[VAPI_LISTS];    /* what the entries of each list hold */
    apr_uint32_t oldest[VAPI_LISTS];
    apr_uint32_t newest[VAPI_LISTS];
} vapi_stripe_head_t;

/** One stripe as this process sees it. All functions below want its mutex held. */
typedef struct vapi_stripe_t {
    const vapi_geometry_t *geometry;
    vapi_stripe_head_t *head;
    apr_uint32_t *buckets;
    vapi_slot_t *slots;
    vapi_block_t *blocks;
} vapi_stripe_t;

struct vapi_state_table_t {
    vapi_state_mapping_t mapping;
    vapi_header_t *header;
    vapi_geometry_t geometry;      /* of this process's own: not to be changed by another */
    apr_pool_t *pool;              /* where it was opened */
    vapi_seat_t *spare_seat;       /* in that pool, for seats to come */
    int spare_seats;
    apr_time_t patience;           /* until when a verb waits for whoever holds a lock; 0: as long as it takes */
};

/** Locks one of the memory's mutexes, which survive their holder's death (EOWNERDEAD). A holder that stands still, as while its core is
 * dumped, is waited for until the table's patience is over, and then for 100 ms: ETIMEDOUT. */
int vapi_state_lock(const vapi_state_table_t *t, pthread_mutex_t *mutex);

/** A process may be killed between any two stores; the compiler must not change the order of those that a repair relies on. */
#define VAPI_KEEP_ORDER() atomic_signal_fence(memory_order_seq_cst)

/** The version in force of an entry. */
static inline vapi_version_t *vapi_slot_entry(vapi_slot_t *slot)
{
    return &slot->version[slot->which - 1];
}

/** A span after a time, without overflow. */
static inline apr_time_t vapi_state_after(apr_time_t from, apr_interval_time_t span)
{
    if (span <= 0) {
        return from;
    }
    return from > APR_INT64_MAX - span ? APR_INT64_MAX : from + span;
}

/** The entry of a key, NIL if there is none. Expired ones are found too. */
apr_uint32_t vapi_stripe_find(const vapi_stripe_t *st, const unsigned char *digest);

/**
 * Gives an entry its next version and reply, making room where needed; for a value only at the cost of other values.
 * @param slot  the entry, which has not expired, or NIL: a new one for `digest`
 * @param next  state, value, token, fingerprint, times and reply_len are read
 * @return APR_SUCCESS or APR_ENOSPC; then nothing has changed but that expired entries are gone
 */
apr_status_t vapi_stripe_put(const vapi_stripe_t *st, apr_uint32_t slot, const unsigned char *digest, const vapi_version_t *next,
                             const char *reply, apr_time_t now);

void vapi_stripe_remove(const vapi_stripe_t *st, apr_uint32_t slot);

/** Copies the reply of an entry; `to` has room for reply_len bytes. */
void vapi_stripe_reply(const vapi_stripe_t *st, const vapi_version_t *entry, char *to);

/** Is this entry as it was written, its reply too? Trusts nothing that stands in the memory. */
int vapi_stripe_is_whole(const vapi_stripe_t *st, const vapi_slot_t *slot);

/** All owners of claims are dead: frees what they worked on, and what they had committed counts as lost from now on. */
void vapi_stripe_end_work(const vapi_stripe_t *st, apr_time_t now);

/** Makes everything anew from the slots; drops what has expired or is damaged. @return how many were damaged */
apr_uint32_t vapi_stripe_repair(const vapi_stripe_t *st, apr_time_t now);

/** Not for secrets: shows damage. `bytes` is a multiple of 8. */
apr_uint64_t vapi_state_seal(apr_uint64_t seal, const void *data, apr_size_t bytes);

/** 0 when no store can have this size. */
int vapi_state_geometry(vapi_geometry_t *out, apr_uint64_t size);

vapi_stripe_t vapi_state_stripe(const vapi_state_table_t *t, apr_uint32_t i);

/** Makes zeroed memory of t->geometry an empty store. @param salt  NULL: a new one */
apr_status_t vapi_state_table_format(vapi_state_table_t *t, const unsigned char *salt);

/** Makes the mutexes anew, repairs all stripes and ends all work: nobody else may have the mapping, so its owners are dead.
 * *damaged: entries that were dropped. */
apr_status_t vapi_state_table_recover(vapi_state_table_t *t, apr_uint32_t *damaged);

/** Takes over what `from` has, whose owners are dead, but for its values; times by the wall clock if the machine was started anew
 * since. *lost: damaged, or no room. */
apr_status_t vapi_state_table_carry(vapi_state_table_t *t, const vapi_state_table_t *from, apr_uint32_t *lost);

/** Mutexes that survive their holder. */
apr_status_t vapi_state_make_mutex(pthread_mutex_t *mutex);

/**
 * A time of another run of the machine, as one of this run: `shift` later, but not in the future. A wall clock that was put back
 * in between must not make anything live longer than it was given.
 */
apr_time_t vapi_state_shifted(apr_time_t time, apr_int64_t shift, apr_time_t now);

/** Notes the wall clock's offset if it was put right: whoever starts after the next boot needs the latest. */
void vapi_state_note_wall(vapi_state_table_t *t, apr_time_t now);

/* One key, its stripe locked. */

typedef struct vapi_state_place_t {
    vapi_stripe_t st;
    unsigned char digest[VAPI_STATE_DIGEST];
    apr_uint32_t stripe;
    apr_uint32_t slot;             /* of the live entry, NIL if there is none */
    apr_time_t now;
} vapi_state_place_t;

/** What a key of some kind (vapi_kind, or a letter besides) is known by. */
void vapi_state_hash(const vapi_state_table_t *t, char kind, const char *key, apr_size_t key_len, unsigned char *digest);

/** Locks the stripe of a digest and looks for its entry. Never while another stripe is locked. */
apr_status_t vapi_state_enter_digest(const vapi_state_table_t *t, const unsigned char *digest, vapi_state_place_t *place);
apr_status_t vapi_state_enter(const vapi_state_table_t *t, char kind, const char *key, apr_size_t key_len,
                              vapi_state_place_t *place);

/** Unlocks. @return rv */
apr_status_t vapi_state_leave(vapi_state_place_t *place, apr_status_t rv);

/** NULL: there is none. */
vapi_version_t *vapi_state_entry(const vapi_state_place_t *place);

apr_status_t vapi_state_write(const vapi_state_place_t *place, const vapi_version_t *next, const char *reply);

/** Was it committed by somebody whose time to work is over? */
int vapi_state_is_owner_gone(const vapi_version_t *entry, apr_time_t now);

/** The reply of the entry that is there, NUL-terminated. */
const char *vapi_state_copy_reply(const vapi_state_place_t *place, apr_pool_t *p);

/** Was this header written in the present run of the machine? */
int vapi_state_same_boot(const vapi_header_t *header);

/** NULL, or why a file of `file_size` bytes with this header cannot be taken (constant). */
const char *vapi_state_header_check(const vapi_header_t *header, apr_uint64_t file_size);

#endif
