/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "state_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

/*
 * Who has PATH locked owns it, and alone may put another file in its place. A new file is made as PATH.new, locked before it is
 * filled, and renamed when it is whole: what stands at PATH is always a whole store. As a lock belongs to the file and not to its
 * name, each look at a name is repeated once the lock is held.
 */

#define LOCK_POLL apr_time_from_msec(50)

typedef struct opening_t {
    const vapi_state_open_t *how;
    apr_array_header_t *notes;
    apr_pool_t *p;
    const char *new_path;
} opening_t;

static void note(opening_t *o, vapi_note_level level, apr_status_t rv, const char *text)
{
    vapi_state_note_t *n = apr_array_push(o->notes);

    n->level = level;
    n->rv = rv;
    n->text = text;
}

static apr_status_t fail(opening_t *o, apr_status_t rv, const char *text)
{
    note(o, VAPI_NOTE_ERROR, rv, text);
    return rv;
}

static vapi_state_table_t *table_over(void *base, apr_size_t size, int fd, apr_pool_t *p)
{
    vapi_state_table_t *t = apr_pcalloc(p, sizeof *t);

    t->mapping.base = base;
    t->mapping.size = size;
    t->mapping.fd = fd;
    t->header = base;
    t->pool = p;
    vapi_state_geometry(&t->geometry, size);
    return t;
}

apr_status_t vapi_state_table_attach(vapi_state_table_t **out, const vapi_state_mapping_t *mapping, apr_pool_t *p)
{
    if (vapi_state_header_check(mapping->base, mapping->size)) {
        return APR_EINVAL;
    }
    *out = table_over(mapping->base, mapping->size, mapping->fd, p);
    return APR_SUCCESS;
}

const vapi_state_mapping_t *vapi_state_table_mapping(const vapi_state_table_t *t)
{
    return &t->mapping;
}

void vapi_state_table_close(vapi_state_table_t *t)
{
    munmap(t->mapping.base, t->mapping.size);
    if (t->mapping.fd >= 0) {
        close(t->mapping.fd);
    }
}

/* Opens a file that is ours alone: no link, no device, nobody else's. @return the descriptor, or -1 with *rv */
static int open_own(const char *path, int flags, apr_status_t *rv, const char **why)
{
    struct stat st;
    int fd = open(path, flags | O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

    *why = "cannot be opened";
    if (fd < 0) {
        *rv = errno;
        if (*rv == ELOOP) {
            *why = "is a symbolic link";
        }
        return -1;
    }
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink <= 1) {
        if (!(st.st_mode & 077) || fchmod(fd, 0600) == 0) {
            return fd;
        }
    }
    *rv = APR_EACCES;
    *why = "is not a regular file with one name that belongs to the user the server was started as";
    close(fd);
    return -1;
}

/* Is `path` still the file that is open? */
static int is_at(int fd, const char *path)
{
    struct stat opened, named;

    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

static apr_status_t lock_file(int fd, apr_interval_time_t wait)
{
    for (;;) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            return APR_SUCCESS;
        }
        if (errno != EINTR && (!APR_STATUS_IS_EAGAIN(errno) || wait <= 0)) {
            return errno;
        }
        apr_sleep(LOCK_POLL);
        wait -= LOCK_POLL;
    }
}

static void *map_shared(int fd, apr_size_t size)
{
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

    return base == MAP_FAILED ? NULL : base;
}

static apr_status_t open_memory(vapi_state_table_t **out, opening_t *o)
{
    void *base = map_shared(-1, o->how->size);
    apr_status_t rv;

    if (!base) {
        return fail(o, errno, "there is no memory of this size to share");
    }
    *out = table_over(base, o->how->size, -1, o->p);
    rv = vapi_state_table_format(*out, NULL);
    if (rv != APR_SUCCESS) {
        vapi_state_table_close(*out);
        return fail(o, rv, "the store in memory cannot be set up");
    }
    return APR_SUCCESS;
}

/* All room is taken now: a full disk must not show when a child writes. */
static apr_status_t reserve(int fd, apr_size_t size)
{
    int rc = ftruncate(fd, 0) == 0 ? 0 : errno;

    while (!rc && (rc = posix_fallocate(fd, 0, (off_t)size)) == EINTR) {
        rc = 0;
    }
    return rc;
}

/* Fills the locked, new file; takes over what `old` has, if not NULL. */
static apr_status_t fill(vapi_state_table_t **out, opening_t *o, int fd, const vapi_state_table_t *old)
{
    apr_size_t size = o->how->size;
    apr_status_t rv = reserve(fd, size);
    apr_uint32_t lost = 0;
    void *base;

    if (rv != APR_SUCCESS) {
        return fail(o, rv, apr_psprintf(o->p, "there is no room for its %" APR_SIZE_T_FMT " bytes", size));
    }
    base = map_shared(fd, size);
    if (!base) {
        return fail(o, errno, "cannot be mapped");
    }
    *out = table_over(base, size, fd, o->p);
    rv = vapi_state_table_format(*out, old ? old->header->salt : NULL);
    if (rv == APR_SUCCESS && old) {
        rv = vapi_state_table_carry(*out, old, &lost);
    }
    if (rv != APR_SUCCESS) {
        munmap(base, size);
        return fail(o, rv, "cannot be set up");
    }
    if (lost) {
        note(o, VAPI_NOTE_WARNING, APR_SUCCESS, apr_psprintf(o->p, "%u entries were damaged or had no room, and are lost", lost));
    }
    return APR_SUCCESS;
}

/* Opens and locks PATH.new. APR_EAGAIN: another start was quicker, look again. */
static int open_new(opening_t *o, apr_status_t *rv)
{
    const char *why;
    int fd = open_own(o->new_path, O_CREAT, rv, &why);

    if (fd < 0) {
        fail(o, *rv, apr_pstrcat(o->p, "its successor (.new) ", why, NULL));
        return -1;
    }
    *rv = lock_file(fd, 0);
    if (*rv == APR_SUCCESS && is_at(fd, o->new_path)) {
        return fd;
    }
    if (*rv == APR_SUCCESS || APR_STATUS_IS_EAGAIN(*rv)) {
        *rv = APR_EAGAIN;
    }
    else {
        fail(o, *rv, "its successor (.new) cannot be locked");
    }
    close(fd);
    return -1;
}

/* Puts a new file at PATH: where there was none (old_fd -1), or in the place of the one that is locked. */
static apr_status_t install(vapi_state_table_t **out, opening_t *o, int old_fd, const vapi_state_table_t *old, const char *aside)
{
    const char *path = o->how->path;
    apr_status_t rv;
    struct stat st;
    int fd = open_new(o, &rv);

    if (fd < 0) {
        return rv;
    }
    if (old_fd < 0 ? lstat(path, &st) == 0 : !is_at(old_fd, path)) {
        unlink(o->new_path);
        close(fd);
        return APR_EAGAIN;
    }
    rv = fill(out, o, fd, old);
    if (rv == APR_SUCCESS && ((aside && rename(path, aside) != 0) || rename(o->new_path, path) != 0)) {
        rv = fail(o, errno, "cannot be renamed");
        munmap((*out)->mapping.base, (*out)->mapping.size);
    }
    if (rv != APR_SUCCESS) {
        unlink(o->new_path);
        close(fd);
    }
    return rv;
}

static apr_status_t replace_unusable(vapi_state_table_t **out, opening_t *o, int fd, const char *why)
{
    apr_status_t rv = install(out, o, fd, NULL, apr_pstrcat(o->p, o->how->path, ".old", NULL));

    if (rv == APR_SUCCESS) {
        note(o, VAPI_NOTE_WARNING, APR_SUCCESS,
             apr_psprintf(o->p, "%s and was not taken: it is kept with .old behind its name, and the store starts empty", why));
    }
    return rv;
}

static apr_status_t take_as_it_is(vapi_state_table_t **out, opening_t *o, int fd, vapi_state_table_t *t)
{
    apr_uint32_t damaged;
    apr_status_t rv = vapi_state_table_recover(t, &damaged);

    if (rv != APR_SUCCESS) {
        return fail(o, rv, "its locks cannot be set up");
    }
    if (damaged) {
        note(o, VAPI_NOTE_WARNING, APR_SUCCESS, apr_psprintf(o->p, "%u entries were damaged and are lost", damaged));
    }
    t->mapping.fd = fd;
    *out = t;
    return APR_SUCCESS;
}

/* The file is locked. Its descriptor is kept in *out only when the file itself is. */
static apr_status_t take(vapi_state_table_t **out, opening_t *o, int fd)
{
    vapi_header_t header;
    vapi_state_table_t *old;
    const char *why;
    apr_status_t rv;
    struct stat st;
    void *base;

    memset(&header, 0, sizeof header);
    if (fstat(fd, &st) != 0 || pread(fd, &header, sizeof header, 0) < 0) {
        return fail(o, errno, "cannot be read");
    }
    why = vapi_state_header_check(&header, (apr_uint64_t)st.st_size);
    if (why) {
        return replace_unusable(out, o, fd, why);
    }
    base = map_shared(fd, (apr_size_t)st.st_size);
    if (!base) {
        return fail(o, errno, "cannot be mapped");
    }
    old = table_over(base, (apr_size_t)st.st_size, -1, o->p);
    if (old->mapping.size == o->how->size && vapi_state_same_boot(&header)) {
        rv = take_as_it_is(out, o, fd, old);
    }
    else {
        rv = install(out, o, fd, old, NULL);
    }
    if (rv != APR_SUCCESS || *out != old) {
        munmap(base, (apr_size_t)st.st_size);
    }
    return rv;
}

static apr_status_t open_memory_instead(vapi_state_table_t **out, opening_t *o)
{
    note(o, VAPI_NOTE_ERROR, APR_SUCCESS,
         "is in use by another server, and was not taken: the store is in memory only and knows nothing of it");
    return open_memory(out, o);
}

/* APR_EAGAIN: what stands at the path has changed, look again. */
static apr_status_t open_file(vapi_state_table_t **out, opening_t *o)
{
    const char *why;
    apr_status_t rv;
    int fd = open_own(o->how->path, 0, &rv, &why);

    if (fd < 0) {
        return APR_STATUS_IS_ENOENT(rv) ? install(out, o, -1, NULL, NULL) : fail(o, rv, why);
    }
    rv = lock_file(fd, o->how->lock_wait);
    if (APR_STATUS_IS_EAGAIN(rv)) {
        close(fd);
        return open_memory_instead(out, o);
    }
    if (rv != APR_SUCCESS) {
        close(fd);
        return fail(o, rv, "cannot be locked");
    }
    rv = is_at(fd, o->how->path) ? take(out, o, fd) : APR_EAGAIN;
    if (rv != APR_SUCCESS || (*out)->mapping.fd != fd) {
        close(fd);
    }
    return rv;
}

apr_status_t vapi_state_table_open(vapi_state_table_t **out, const vapi_state_open_t *how, apr_array_header_t *notes, apr_pool_t *p)
{
    opening_t o = { how, notes, p, NULL };
    vapi_geometry_t g;
    apr_status_t rv;
    int tries = 20;

    if (!vapi_state_geometry(&g, how->size)) {
        return fail(&o, APR_EINVAL, "no store can have this size");
    }
    if (!how->path) {
        return open_memory(out, &o);
    }
    o.new_path = apr_pstrcat(p, how->path, ".new", NULL);
    while ((rv = open_file(out, &o)) == APR_EAGAIN && --tries) {
        apr_sleep(LOCK_POLL);
    }
    if (rv == APR_EAGAIN) {
        return open_memory_instead(out, &o);
    }
    return rv;
}
