/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "state_layout.h"

#include <stdlib.h>
#include <string.h>

#include <apr_errno.h>

#define NIL VAPI_STATE_NIL

static apr_uint32_t blocks_for(apr_uint32_t reply_len)
{
    return (reply_len + VAPI_BLOCK_DATA - 1) / VAPI_BLOCK_DATA;
}

static vapi_list list_of(const vapi_version_t *entry)
{
    switch (entry->state) {
    case VAPI_ENTRY_SETTLED:
        return VAPI_LIST_SETTLED;
    case VAPI_ENTRY_COUNTER:
    case VAPI_ENTRY_OWNED:
        return VAPI_LIST_COUNTERS;
    case VAPI_ENTRY_NOTES:
        return VAPI_LIST_NOTES;
    case VAPI_ENTRY_VALUE:
        return VAPI_LIST_VALUES;
    default:
        return VAPI_LIST_WORK;
    }
}

static apr_uint32_t *bucket_of(const vapi_stripe_t *st, const unsigned char *digest)
{
    apr_uint32_t hash;

    memcpy(&hash, digest + 4, sizeof hash);
    return &st->buckets[hash & (st->geometry->buckets - 1)];
}

apr_uint32_t vapi_stripe_find(const vapi_stripe_t *st, const unsigned char *digest)
{
    apr_uint32_t i = *bucket_of(st, digest);

    while (i != NIL && memcmp(st->slots[i].digest, digest, VAPI_STATE_DIGEST) != 0) {
        i = st->slots[i].next;
    }
    return i;
}

/* Buckets and lists. */

static void enter_bucket(const vapi_stripe_t *st, apr_uint32_t i)
{
    apr_uint32_t *bucket = bucket_of(st, st->slots[i].digest);

    st->slots[i].next = *bucket;
    *bucket = i;
}

static void leave_bucket(const vapi_stripe_t *st, apr_uint32_t i)
{
    apr_uint32_t *link = bucket_of(st, st->slots[i].digest);

    while (*link != i) {
        link = &st->slots[*link].next;
    }
    *link = st->slots[i].next;
}

static void enter_list(const vapi_stripe_t *st, apr_uint32_t i)
{
    vapi_slot_t *slot = &st->slots[i];
    vapi_list list = list_of(vapi_slot_entry(slot));
    apr_uint32_t before = st->head->newest[list];

    slot->older = before;
    slot->newer = NIL;
    *(before == NIL ? &st->head->oldest[list] : &st->slots[before].newer) = i;
    st->head->newest[list] = i;
    st->head->blocks[list] += blocks_for(vapi_slot_entry(slot)->reply_len);
}

static void leave_list(const vapi_stripe_t *st, apr_uint32_t i)
{
    vapi_slot_t *slot = &st->slots[i];
    vapi_list list = list_of(vapi_slot_entry(slot));

    *(slot->older == NIL ? &st->head->oldest[list] : &st->slots[slot->older].newer) = slot->newer;
    *(slot->newer == NIL ? &st->head->newest[list] : &st->slots[slot->newer].older) = slot->older;
    st->head->blocks[list] -= blocks_for(vapi_slot_entry(slot)->reply_len);
}

/* Replies in chains of blocks. */

/* Wiped, since it may hold a caller's data. `used` goes last: a repair wipes what has it set. */
static void free_block(const vapi_stripe_t *st, apr_uint32_t i)
{
    vapi_block_t *block = &st->blocks[i];

    memset(block->data, 0, sizeof block->data);
    VAPI_KEEP_ORDER();
    block->used = 0;
    block->next = st->head->free_block;
    st->head->free_block = i;
    st->head->free_blocks++;
}

static void free_chain(const vapi_stripe_t *st, apr_uint32_t i)
{
    while (i != NIL) {
        apr_uint32_t next = st->blocks[i].next;

        free_block(st, i);
        i = next;
    }
}

/* There are enough free blocks. */
static apr_uint32_t write_chain(const vapi_stripe_t *st, const char *reply, apr_uint32_t len)
{
    apr_uint32_t first = NIL;
    apr_uint32_t *link = &first;

    while (len) {
        apr_uint32_t i = st->head->free_block;
        vapi_block_t *block = &st->blocks[i];

        st->head->free_block = block->next;
        st->head->free_blocks--;
        *link = i;
        link = &block->next;
        block->used = len < VAPI_BLOCK_DATA ? len : VAPI_BLOCK_DATA;
        VAPI_KEEP_ORDER();
        memcpy(block->data, reply, block->used);
        reply += block->used;
        len -= block->used;
    }
    *link = NIL;
    return first;
}

void vapi_stripe_reply(const vapi_stripe_t *st, const vapi_version_t *entry, char *to)
{
    apr_uint32_t left = entry->reply_len;
    apr_uint32_t i = entry->first_block;

    while (left) {
        apr_uint32_t n = left < VAPI_BLOCK_DATA ? left : VAPI_BLOCK_DATA;

        memcpy(to, st->blocks[i].data, n);
        to += n;
        left -= n;
        i = st->blocks[i].next;
    }
}

apr_uint64_t vapi_state_seal(apr_uint64_t seal, const void *data, apr_size_t bytes)
{
    const unsigned char *at = data;
    apr_uint64_t word;

    for (; bytes; bytes -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        seal = (seal ^ word) * APR_UINT64_C(0x9E3779B97F4A7C15);
        seal ^= seal >> 29;
    }
    return seal;
}

/* The chain has been looked through, or was just written. */
static apr_uint64_t seal_of(const vapi_stripe_t *st, const unsigned char *digest, const vapi_version_t *entry)
{
    apr_uint64_t seal = vapi_state_seal(1, digest, VAPI_STATE_DIGEST);
    apr_uint32_t n = blocks_for(entry->reply_len);
    apr_uint32_t i = entry->first_block;

    seal = vapi_state_seal(seal, entry, offsetof(vapi_version_t, seal));
    for (; n; n--, i = st->blocks[i].next) {
        seal = vapi_state_seal(seal, st->blocks[i].data, VAPI_BLOCK_DATA);
    }
    return seal;
}

/* Room. */

static int is_expired(const vapi_version_t *entry, apr_time_t now)
{
    return entry->expires <= now;
}

static void switch_to(vapi_slot_t *slot, apr_uint32_t which)
{
    VAPI_KEEP_ORDER();
    *(volatile apr_uint32_t *)&slot->which = which;
    VAPI_KEEP_ORDER();
}

void vapi_stripe_remove(const vapi_stripe_t *st, apr_uint32_t i)
{
    vapi_slot_t *slot = &st->slots[i];
    apr_uint32_t chain = vapi_slot_entry(slot)->first_block;

    leave_list(st, i);
    leave_bucket(st, i);
    switch_to(slot, 0);
    free_chain(st, chain);
    memset(slot->version, 0, sizeof slot->version);
    memset(slot->digest, 0, sizeof slot->digest);
    slot->next = st->head->free_slot;
    st->head->free_slot = i;
}

static void remove_all_expired(const vapi_stripe_t *st, apr_time_t now)
{
    apr_uint32_t i;
    apr_time_t soonest = APR_INT64_MAX;

    for (i = 0; i < st->geometry->slots; i++) {
        const vapi_version_t *entry;

        if (!st->slots[i].which) {
            continue;
        }
        entry = vapi_slot_entry(&st->slots[i]);
        if (is_expired(entry, now)) {
            vapi_stripe_remove(st, i);
        }
        else if (entry->expires < soonest) {
            soonest = entry->expires;
        }
    }
    st->head->soonest = soonest;
}

/* A few of the oldest with each new entry, so that nothing stays long after its time. */
static void remove_some_expired(const vapi_stripe_t *st, apr_time_t now)
{
    int list, n;

    for (list = 0; list < VAPI_LISTS; list++) {
        for (n = 0; n < 2; n++) {
            apr_uint32_t i = st->head->oldest[list];

            if (i == NIL || !is_expired(vapi_slot_entry(&st->slots[i]), now)) {
                break;
            }
            vapi_stripe_remove(st, i);
        }
    }
}

static int has_room(const vapi_stripe_t *st, apr_uint32_t blocks, int slot)
{
    return st->head->free_blocks >= blocks && (!slot || st->head->free_slot != NIL);
}

/* The lists before this one may be evicted for such an entry: a value, which can be had again, takes room from values only. */
static int end_of_evictable(const vapi_version_t *next)
{
    return next->state == VAPI_ENTRY_VALUE ? VAPI_LIST_VALUES + 1 : VAPI_LIST_WORK;
}

/* Would there be room for the next version of entry `i`, or for a new one (NIL)? */
static int can_evict_for(const vapi_stripe_t *st, apr_uint32_t i, const vapi_version_t *next)
{
    const vapi_stripe_head_t *head = st->head;
    apr_uint32_t blocks = head->free_blocks;
    int slot = i != NIL || head->free_slot != NIL;
    int end = end_of_evictable(next);
    int list;

    for (list = 0; list < end; list++) {
        blocks += head->blocks[list];
        slot |= head->oldest[list] != NIL;
    }
    if (i != NIL && (int)list_of(vapi_slot_entry(&st->slots[i])) < end) {
        blocks -= blocks_for(vapi_slot_entry(&st->slots[i])->reply_len);
    }
    return slot && blocks >= blocks_for(next->reply_len);
}

/* Until so many blocks are free. `spared` gets its next version, and has its old one until then. */
static void evict_for_blocks(const vapi_stripe_t *st, int list, apr_uint32_t spared, apr_uint32_t blocks)
{
    apr_uint32_t i, newer;

    for (i = st->head->oldest[list]; i != NIL && st->head->free_blocks < blocks; i = newer) {
        newer = st->slots[i].newer;
        if (i != spared && vapi_slot_entry(&st->slots[i])->reply_len) {
            vapi_stripe_remove(st, i);
        }
    }
}

/* What has expired goes first, then list by list, the oldest of each first. */
static apr_status_t make_room(const vapi_stripe_t *st, apr_uint32_t i, const vapi_version_t *next, apr_time_t now)
{
    vapi_stripe_head_t *head = st->head;
    apr_uint32_t blocks = blocks_for(next->reply_len);
    int end = end_of_evictable(next);
    int list;

    if (has_room(st, blocks, i == NIL)) {
        return APR_SUCCESS;
    }
    if (head->soonest <= now) {
        remove_all_expired(st, now);
    }
    if (!can_evict_for(st, i, next)) {
        return APR_ENOSPC;
    }
    for (list = 0; list < end; list++) {
        evict_for_blocks(st, list, i, blocks);
    }
    for (list = 0; i == NIL && head->free_slot == NIL; list++) {
        if (head->oldest[list] != NIL) {
            vapi_stripe_remove(st, head->oldest[list]);
        }
    }
    return APR_SUCCESS;
}

static apr_uint32_t take_slot(const vapi_stripe_t *st, const unsigned char *digest)
{
    apr_uint32_t i = st->head->free_slot;

    st->head->free_slot = st->slots[i].next;
    memcpy(st->slots[i].digest, digest, VAPI_STATE_DIGEST);
    return i;
}

apr_status_t vapi_stripe_put(const vapi_stripe_t *st, apr_uint32_t i, const unsigned char *digest, const vapi_version_t *next,
                             const char *reply, apr_time_t now)
{
    int is_new = i == NIL;
    apr_uint32_t old_chain = NIL;
    vapi_version_t *version;
    vapi_slot_t *slot;

    if (is_new) {
        remove_some_expired(st, now);
    }
    if (make_room(st, i, next, now) != APR_SUCCESS) {
        return APR_ENOSPC;
    }
    if (is_new) {
        i = take_slot(st, digest);
    }
    slot = &st->slots[i];
    if (!is_new) {
        old_chain = vapi_slot_entry(slot)->first_block;
        leave_list(st, i);
    }
    version = &slot->version[slot->which == 1];
    *version = *next;
    version->first_block = write_chain(st, reply, next->reply_len);
    version->seal = seal_of(st, slot->digest, version);
    switch_to(slot, slot->which == 1 ? 2 : 1);
    free_chain(st, old_chain);
    enter_list(st, i);
    if (is_new) {
        enter_bucket(st, i);
    }
    if (next->expires < st->head->soonest) {
        st->head->soonest = next->expires;
    }
    return APR_SUCCESS;
}

/* Repair. */

static int chain_is_sound(const vapi_stripe_t *st, const vapi_version_t *entry)
{
    apr_uint32_t left = entry->reply_len;
    apr_uint32_t i = entry->first_block;

    while (left) {
        apr_uint32_t n = left < VAPI_BLOCK_DATA ? left : VAPI_BLOCK_DATA;

        if (i >= st->geometry->blocks || st->blocks[i].used != n) {
            return 0;
        }
        left -= n;
        i = st->blocks[i].next;
    }
    return i == NIL;
}

int vapi_stripe_is_whole(const vapi_stripe_t *st, const vapi_slot_t *slot)
{
    const vapi_version_t *entry;

    if (slot->which < 1 || slot->which > 2) {
        return 0;
    }
    entry = &slot->version[slot->which - 1];
    return entry->state >= VAPI_ENTRY_WORKING && entry->state <= VAPI_ENTRY_OWNED && entry->reply_len <= VAPI_STATE_REPLY_MAX
           && chain_is_sound(st, entry) && entry->seal == seal_of(st, slot->digest, entry);
}

/* Takes the blocks of an entry for it; 0 when another one has one of them. */
static int own_chain(const vapi_stripe_t *st, apr_uint32_t slot)
{
    apr_uint32_t first = vapi_slot_entry(&st->slots[slot])->first_block;
    apr_uint32_t i, back;

    for (i = first; i != NIL && !st->blocks[i].owner; i = st->blocks[i].next) {
        st->blocks[i].owner = slot + 1;
    }
    if (i == NIL) {
        return 1;
    }
    for (back = first; back != i; back = st->blocks[back].next) {
        st->blocks[back].owner = 0;
    }
    return 0;
}

static void empty_lists(const vapi_stripe_t *st)
{
    vapi_stripe_head_t *head = st->head;
    apr_uint32_t i;
    int list;

    for (i = 0; i < st->geometry->buckets; i++) {
        st->buckets[i] = NIL;
    }
    for (i = 0; i < st->geometry->blocks; i++) {
        st->blocks[i].owner = 0;
    }
    for (list = 0; list < VAPI_LISTS; list++) {
        head->oldest[list] = head->newest[list] = NIL;
        head->blocks[list] = 0;
    }
    head->free_slot = head->free_block = NIL;
    head->free_blocks = 0;
    head->soonest = APR_INT64_MAX;
}

static void free_unowned_blocks(const vapi_stripe_t *st)
{
    apr_uint32_t i;

    for (i = st->geometry->blocks; i-- > 0; ) {
        vapi_block_t *block = &st->blocks[i];

        if (block->owner) {
            continue;
        }
        if (block->used) {
            free_block(st, i);
            continue;
        }
        block->next = st->head->free_block;
        st->head->free_block = i;
        st->head->free_blocks++;
    }
}

typedef struct aged_t {
    apr_time_t since;
    apr_uint32_t slot;
} aged_t;

static int compare_age(const void *a, const void *b)
{
    apr_time_t left = ((const aged_t *)a)->since;
    apr_time_t right = ((const aged_t *)b)->since;

    return (left > right) - (left < right);
}

/* Without memory to sort in, the order of eviction is lost and nothing else. */
static void enter_lists_by_age(const vapi_stripe_t *st)
{
    aged_t *aged = malloc(st->geometry->slots * sizeof *aged);    /* NOLINT(*UnixAPI): there are slots */
    apr_uint32_t i, n = 0;

    for (i = 0; i < st->geometry->slots; i++) {
        if (!st->slots[i].which) {
            continue;
        }
        if (!aged) {
            enter_list(st, i);
            continue;
        }
        aged[n].since = vapi_slot_entry(&st->slots[i])->since;
        aged[n++].slot = i;
    }
    if (!aged) {
        return;
    }
    qsort(aged, n, sizeof *aged, compare_age);
    for (i = 0; i < n; i++) {
        enter_list(st, aged[i].slot);
    }
    free(aged);
}

static int is_sound(const vapi_stripe_t *st, apr_uint32_t i)
{
    const vapi_slot_t *slot = &st->slots[i];

    return vapi_stripe_is_whole(st, slot) && vapi_stripe_find(st, slot->digest) == NIL && own_chain(st, i);
}

/* As with any change, killed at any point the old version is in force or the new one; they share the chain. */
static void lose_owner(const vapi_stripe_t *st, apr_uint32_t i, apr_time_t now)
{
    vapi_slot_t *slot = &st->slots[i];
    vapi_version_t *next = &slot->version[slot->which == 1];

    *next = *vapi_slot_entry(slot);
    next->work_until = next->work_until < now ? next->work_until : now;
    next->seal = seal_of(st, slot->digest, next);
    switch_to(slot, slot->which == 1 ? 2 : 1);
}

void vapi_stripe_end_work(const vapi_stripe_t *st, apr_time_t now)
{
    apr_uint32_t i, newer;

    for (i = st->head->oldest[VAPI_LIST_WORK]; i != NIL; i = newer) {
        newer = st->slots[i].newer;
        if (vapi_slot_entry(&st->slots[i])->state == VAPI_ENTRY_COMMITTED) {
            lose_owner(st, i, now);
        }
        else {
            vapi_stripe_remove(st, i);
        }
    }
}

apr_uint32_t vapi_stripe_repair(const vapi_stripe_t *st, apr_time_t now)
{
    apr_uint32_t i, damaged = 0;

    empty_lists(st);
    for (i = st->geometry->slots; i-- > 0; ) {
        vapi_slot_t *slot = &st->slots[i];

        if (slot->which && is_sound(st, i)) {
            enter_bucket(st, i);
            continue;
        }
        damaged += slot->which != 0;
        switch_to(slot, 0);
        slot->next = st->head->free_slot;
        st->head->free_slot = i;
    }
    free_unowned_blocks(st);
    enter_lists_by_age(st);
    remove_all_expired(st, now);
    return damaged;
}
