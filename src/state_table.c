/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "state_layout.h"
#include "state_roster.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_siphash.h>
#include <apr_strings.h>
#include <openssl/rand.h>

#include "vapi_clock.h"

#define LEAST_WAIT apr_time_from_msec(100)

#define BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

/* The whole memory. */

int vapi_state_geometry(vapi_geometry_t *out, apr_uint64_t size)
{
    /* Three blocks for two slots: most replies fit into one block, some need two or three. */
    const apr_uint64_t two_slots = 2 * sizeof(vapi_slot_t) + 3 * sizeof(vapi_block_t);
    apr_uint64_t room;
    vapi_geometry_t g = { 0 };

    if (size < VAPI_STATE_SIZE_MIN || size > VAPI_STATE_SIZE_MAX) {
        return 0;
    }
    g.size = size;
    g.stripes = VAPI_STATE_STRIPES;
    while (g.stripes > 1 && size / g.stripes < VAPI_STATE_STRIPE_MIN) {
        g.stripes /= 2;
    }
    vapi_roster_geometry(&g);
    g.stripe_size = (size - VAPI_STATE_HEADER - g.roster_size) / g.stripes & ~(apr_uint64_t)63;
    room = g.stripe_size - sizeof(vapi_stripe_head_t);
    g.buckets = 1;
    while (g.buckets <= room / two_slots) {
        g.buckets *= 2;
    }
    room -= g.buckets * sizeof(apr_uint32_t);
    g.slots = (apr_uint32_t)(room / two_slots * 2);
    g.blocks = g.slots / 2 * 3;
    *out = g;
    return 1;
}

vapi_stripe_t vapi_state_stripe(const vapi_state_table_t *t, apr_uint32_t i)
{
    char *at = (char *)t->mapping.base + VAPI_STATE_HEADER + t->geometry.roster_size + i * t->geometry.stripe_size;
    vapi_stripe_t st;

    st.geometry = &t->geometry;
    st.head = (vapi_stripe_head_t *)(void *)at;
    st.slots = (vapi_slot_t *)(void *)(at + sizeof(vapi_stripe_head_t));
    st.blocks = (vapi_block_t *)(void *)(st.slots + t->geometry.slots);
    st.buckets = (apr_uint32_t *)(void *)(st.blocks + t->geometry.blocks);
    return st;
}

/* "" where the system does not say: then every start counts as one of the machine, and times go through the wall clock. */
static void read_boot_id(char id[40])
{
    int fd = open(BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);

    memset(id, 0, 40);
    if (fd < 0) {
        return;
    }
    if (read(fd, id, 36) != 36) {
        memset(id, 0, 40);
    }
    close(fd);
}

int vapi_state_same_boot(const vapi_header_t *header)
{
    char id[40];

    read_boot_id(id);
    return id[0] && memcmp(header->boot_id, id, sizeof id) == 0;
}

static apr_uint64_t header_seal(const vapi_header_t *header)
{
    return vapi_state_seal(2, header, offsetof(vapi_header_t, seal));
}

static int is_our_layout(const vapi_header_t *header)
{
    return header->layout == VAPI_STATE_LAYOUT && header->byte_order == VAPI_STATE_BYTE_ORDER
           && header->mutex_size == sizeof(pthread_mutex_t) && header->slot_size == sizeof(vapi_slot_t);
}

const char *vapi_state_header_check(const vapi_header_t *header, apr_uint64_t file_size)
{
    vapi_geometry_t g;

    if (file_size < VAPI_STATE_HEADER || memcmp(header->magic, VAPI_STATE_MAGIC, sizeof header->magic) != 0) {
        return "is no state file";
    }
    if (!is_our_layout(header)) {
        return "is of another version or machine";
    }
    if (!vapi_state_geometry(&g, header->geometry.size) || memcmp(&g, &header->geometry, sizeof g) != 0
        || g.size != file_size || header->seal != header_seal(header)) {
        return "is damaged";
    }
    return NULL;
}

static apr_int64_t wall_offset(apr_time_t now)
{
    return apr_time_now() - now;
}

apr_status_t vapi_state_table_format(vapi_state_table_t *t, const unsigned char *salt)
{
    vapi_header_t *header = t->header;
    apr_uint32_t damaged;

    header->layout = VAPI_STATE_LAYOUT;
    header->byte_order = VAPI_STATE_BYTE_ORDER;
    header->mutex_size = sizeof(pthread_mutex_t);
    header->slot_size = sizeof(vapi_slot_t);
    header->geometry = t->geometry;
    if (salt) {
        memcpy(header->salt, salt, sizeof header->salt);
    }
    else if (RAND_bytes(header->salt, sizeof header->salt) != 1) {
        return APR_EGENERAL;
    }
    memcpy(header->magic, VAPI_STATE_MAGIC, sizeof header->magic);
    header->seal = header_seal(header);
    read_boot_id(header->boot_id);
    atomic_store(&header->wall, wall_offset(vapi_clock_now()));
    return vapi_state_table_recover(t, &damaged);
}

apr_status_t vapi_state_make_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);

    if (rc) {
        return rc;
    }
    memset(mutex, 0, sizeof *mutex);
    rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (!rc) {
        rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    }
    if (!rc) {
        rc = pthread_mutex_init(mutex, &attr);
    }
    pthread_mutexattr_destroy(&attr);
    return rc;
}

apr_status_t vapi_state_table_recover(vapi_state_table_t *t, apr_uint32_t *damaged)
{
    apr_status_t rv = vapi_roster_recover(t, damaged);
    apr_uint32_t i;

    for (i = 0; rv == APR_SUCCESS && i < t->geometry.stripes; i++) {
        vapi_stripe_t st = vapi_state_stripe(t, i);

        rv = vapi_state_make_mutex(&st.head->mutex);
        if (rv != APR_SUCCESS) {
            break;
        }
        *damaged += vapi_stripe_repair(&st, vapi_clock_now());
        vapi_stripe_end_work(&st, vapi_clock_now());
    }
    return rv;
}

/* From one memory to another. */

typedef struct found_t {
    apr_time_t since;
    apr_uint32_t stripe;
    apr_uint32_t slot;
} found_t;

static int compare_found(const void *a, const void *b)
{
    apr_time_t left = ((const found_t *)a)->since;
    apr_time_t right = ((const found_t *)b)->since;

    return (left > right) - (left < right);
}

static found_t *find_entries(const vapi_state_table_t *from, apr_size_t *n, apr_uint32_t *damaged)
{
    found_t *found = malloc((apr_size_t)from->geometry.stripes * from->geometry.slots * sizeof *found);
    apr_uint32_t i, j;

    *n = 0;
    *damaged = 0;
    for (i = 0; found && i < from->geometry.stripes; i++) {
        vapi_stripe_t st = vapi_state_stripe(from, i);

        for (j = 0; j < from->geometry.slots; j++) {
            if (!st.slots[j].which) {
                continue;
            }
            if (!vapi_stripe_is_whole(&st, &st.slots[j])) {
                ++*damaged;
                continue;
            }
            found[*n].since = vapi_slot_entry(&st.slots[j])->since;
            found[*n].stripe = i;
            found[(*n)++].slot = j;
        }
    }
    return found;
}

static int is_far(apr_int64_t time)
{
    return time > APR_INT64_MAX / 4 || time < -(APR_INT64_MAX / 4);
}

apr_time_t vapi_state_shifted(apr_time_t time, apr_int64_t shift, apr_time_t now)
{
    if (!is_far(time) && !is_far(shift)) {
        time += shift;
    }
    return time < now ? time : now;
}

static void shift_times(vapi_version_t *entry, apr_int64_t shift, apr_time_t now)
{
    apr_time_t since = entry->since;

    if (entry->expires == APR_INT64_MAX) {
        return;
    }
    entry->since = vapi_state_shifted(since, shift, now);
    entry->expires = vapi_state_after(entry->since, entry->expires - since);
    entry->work_until = vapi_state_after(entry->since, entry->work_until - since);
}

static apr_uint32_t stripe_of(const vapi_state_table_t *t, const unsigned char *digest)
{
    return digest[0] & (t->geometry.stripes - 1);
}

/* A value is left behind: it can be had again, and after a restart of the machine what it tells may be long out of date. */
static apr_status_t carry_entry(const vapi_state_table_t *t, const vapi_stripe_t *from, const vapi_slot_t *slot, apr_int64_t shift)
{
    static const char none[] = "";
    apr_time_t now = vapi_clock_now();
    vapi_stripe_t st = vapi_state_stripe(t, stripe_of(t, slot->digest));
    vapi_version_t entry = slot->version[slot->which - 1];
    char *reply = NULL;
    apr_status_t rv;

    shift_times(&entry, shift, now);
    if (entry.expires <= now || entry.state == VAPI_ENTRY_WORKING || entry.state == VAPI_ENTRY_VALUE) {
        return APR_SUCCESS;
    }
    entry.work_until = entry.work_until < now ? entry.work_until : now;    /* of a committed one: its owner is dead */
    if (vapi_stripe_find(&st, slot->digest) != VAPI_STATE_NIL) {
        return APR_EEXIST;
    }
    if (entry.reply_len) {
        reply = malloc(entry.reply_len);
        if (!reply) {
            return APR_ENOMEM;
        }
        vapi_stripe_reply(from, &entry, reply);
    }
    rv = vapi_stripe_put(&st, VAPI_STATE_NIL, slot->digest, &entry, reply ? reply : none, now);
    if (st.head->tokens < entry.token / t->geometry.stripes) {
        st.head->tokens = entry.token / t->geometry.stripes;    /* no later claim gets the same */
    }
    free(reply);
    return rv;
}

apr_status_t vapi_state_table_carry(vapi_state_table_t *t, const vapi_state_table_t *from, apr_uint32_t *lost)
{
    apr_int64_t shift = vapi_state_same_boot(from->header) ? 0 : atomic_load(&from->header->wall) - wall_offset(vapi_clock_now());
    apr_size_t i, n;
    found_t *found = find_entries(from, &n, lost);

    if (!found) {
        return APR_ENOMEM;
    }
    qsort(found, n, sizeof *found, compare_found);
    for (i = 0; i < n; i++) {
        vapi_stripe_t st = vapi_state_stripe(from, found[i].stripe);

        *lost += carry_entry(t, &st, &st.slots[found[i].slot], shift) != APR_SUCCESS;
    }
    free(found);
    *lost += vapi_roster_carry(t, from, shift);
    return APR_SUCCESS;
}

/* One key, its stripe locked. */

/* Two halves under the two halves of the salt, whose first bytes the kind changes. */
void vapi_state_hash(const vapi_state_table_t *t, char kind, const char *key, apr_size_t key_len, unsigned char *digest)
{
    unsigned char salt[2][APR_SIPHASH_KSIZE];
    apr_uint64_t half[2];

    memcpy(salt, t->header->salt, sizeof salt);
    salt[0][0] ^= (unsigned char)kind;
    salt[1][0] ^= (unsigned char)kind;
    half[0] = apr_siphash24(key, key_len, salt[0]);
    half[1] = apr_siphash24(key, key_len, salt[1]);
    memcpy(digest, half, VAPI_STATE_DIGEST);
}

/* The clock of the limit is the wall's: one that is set meanwhile makes it longer or shorter, once. */
int vapi_state_lock(const vapi_state_table_t *t, pthread_mutex_t *mutex)
{
    int rc = pthread_mutex_trylock(mutex);
    apr_interval_time_t left;
    struct timespec limit;

    if (rc != EBUSY) {
        return rc;
    }
    if (!t->patience) {
        return pthread_mutex_lock(mutex);
    }
    left = vapi_clock_left(t->patience);
    left = left < LEAST_WAIT ? LEAST_WAIT : left;
    clock_gettime(CLOCK_REALTIME, &limit);
    left += limit.tv_nsec / 1000;
    limit.tv_sec += (time_t)(left / APR_USEC_PER_SEC);
    limit.tv_nsec = (long)(left % APR_USEC_PER_SEC) * 1000;
    return pthread_mutex_timedlock(mutex, &limit);
}

vapi_state_table_t *vapi_state_table_within(const vapi_state_table_t *t, apr_interval_time_t left, apr_pool_t *p)
{
    vapi_state_table_t *view = apr_pmemdup(p, t, sizeof *t);

    view->patience = vapi_clock_now() + left / 2;
    return view;
}

static apr_status_t lock_stripe(const vapi_state_table_t *t, const vapi_stripe_t *st)
{
    int rc = vapi_state_lock(t, &st->head->mutex);

    if (rc == EOWNERDEAD) {
        vapi_stripe_repair(st, vapi_clock_now());
        rc = pthread_mutex_consistent(&st->head->mutex);
    }
    return rc;
}

apr_status_t vapi_state_enter_digest(const vapi_state_table_t *t, const unsigned char *digest, vapi_state_place_t *place)
{
    apr_status_t rv;

    memcpy(place->digest, digest, VAPI_STATE_DIGEST);
    place->stripe = stripe_of(t, digest);
    place->st = vapi_state_stripe(t, place->stripe);
    rv = lock_stripe(t, &place->st);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    place->now = vapi_clock_now();
    place->slot = vapi_stripe_find(&place->st, digest);
    if (place->slot != VAPI_STATE_NIL && vapi_slot_entry(&place->st.slots[place->slot])->expires <= place->now) {
        vapi_stripe_remove(&place->st, place->slot);
        place->slot = VAPI_STATE_NIL;
    }
    return APR_SUCCESS;
}

apr_status_t vapi_state_enter(const vapi_state_table_t *t, char kind, const char *key, apr_size_t key_len,
                              vapi_state_place_t *place)
{
    unsigned char digest[VAPI_STATE_DIGEST];

    vapi_state_hash(t, kind, key, key_len, digest);
    return vapi_state_enter_digest(t, digest, place);
}

apr_status_t vapi_state_leave(vapi_state_place_t *place, apr_status_t rv)
{
    pthread_mutex_unlock(&place->st.head->mutex);
    return rv;
}

vapi_version_t *vapi_state_entry(const vapi_state_place_t *place)
{
    return place->slot == VAPI_STATE_NIL ? NULL : vapi_slot_entry(&place->st.slots[place->slot]);
}

apr_status_t vapi_state_write(const vapi_state_place_t *place, const vapi_version_t *next, const char *reply)
{
    return vapi_stripe_put(&place->st, place->slot, place->digest, next, reply, place->now);
}

int vapi_state_is_owner_gone(const vapi_version_t *entry, apr_time_t now)
{
    return entry->state == VAPI_ENTRY_COMMITTED && entry->work_until <= now;
}

const char *vapi_state_copy_reply(const vapi_state_place_t *place, apr_pool_t *p)
{
    const vapi_version_t *entry = vapi_state_entry(place);
    char *reply = apr_palloc(p, (apr_size_t)entry->reply_len + 1);

    vapi_stripe_reply(&place->st, entry, reply);
    reply[entry->reply_len] = '\0';
    return reply;
}

/* The machine's wall clock may be put right at any time; whoever starts after the next boot needs its latest offset. */
void vapi_state_note_wall(vapi_state_table_t *t, apr_time_t now)
{
    apr_int64_t offset = wall_offset(now);
    apr_int64_t noted = atomic_load_explicit(&t->header->wall, memory_order_relaxed);

    if (offset - noted > APR_USEC_PER_SEC || noted - offset > APR_USEC_PER_SEC) {
        atomic_store_explicit(&t->header->wall, offset, memory_order_relaxed);
    }
}
