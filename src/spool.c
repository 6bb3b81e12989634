/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * What stands at a name is always a whole errand: it is written under another name, and locked before it gets its own. A lock
 * belongs to the file and not to its name: whoever gets one looks whether the name still stands for this file and whether it is
 * still due, since another may have worked on it meanwhile.
 */
#include "vapi_spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <httpd.h>
#include <unixd.h>

#define STAMP_LEN    16                          /* hex digits of the time it was taken on (microseconds), and random ones */
#define NAME_LEN     (2 * STAMP_LEN + 1)
#define NEW          ".new-"
#define NEW_LEN      (sizeof(NEW) - 1)
#define ASIDE        "set-aside"
#define HEAD_START   apr_time_from_sec(2)        /* a new one is held by who is about to do it: no need to look at it */
#define PAUSE_MIN    apr_time_from_sec(1)
#define PAUSE_MAX    apr_time_from_sec(15 * 60)
#define AHEAD_MAX    apr_time_from_sec(20 * 60)  /* no pause reaches so far: the clock was set back */
#define NEW_AGE_MAX  apr_time_from_sec(3600)

struct vapi_spool_t {
    const char *path;
    int sync;
    int dir, aside;                              /* descriptors; -1 before vapi_spool_open */
};

struct vapi_spooled_t {
    const vapi_spool_t *spool;
    int fd;                                      /* locked */
    int failures;
    apr_time_t taken;
    char name[NAME_LEN + 1];
};

/** A name in a list of them. */
typedef struct name_t {
    char text[NAME_LEN + 1];
} name_t;

const char *vapi_spool_configure(vapi_spool_t **out, const char *directory, int sync, apr_pool_t *p)
{
    vapi_spool_t *spool = apr_pcalloc(p, sizeof(*spool));
    apr_size_t len = strlen(directory);

    if (*directory != '/') {
        return apr_psprintf(p, "'%s' is no absolute path", directory);
    }
    while (len > 1 && directory[len - 1] == '/') {
        len--;
    }
    spool->path = apr_pstrmemdup(p, directory, len);
    spool->sync = sync;
    spool->dir = spool->aside = -1;
    *out = spool;
    return NULL;
}

const char *vapi_spool_directory(const vapi_spool_t *spool)
{
    return spool->path;
}

int vapi_spool_is_sync(const vapi_spool_t *spool)
{
    return spool->sync;
}

/* ---- the directory ---- */

/* Whom the files belong to: the user that the children run as. */
static uid_t owner(void)
{
    return geteuid() == 0 ? ap_unixd_config.user_id : geteuid();
}

static const char *check_missing(const char *path, apr_pool_t *p)
{
    const char *slash = strrchr(path, '/');
    const char *parent = slash == path ? "/" : apr_pstrmemdup(p, path, (apr_size_t)(slash - path));
    struct stat st;

    if (stat(parent, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return apr_psprintf(p, "%s is not there, and cannot be made: there is no directory %s", path, parent);
    }
    if (access(parent, W_OK | X_OK) != 0) {
        return apr_psprintf(p, "%s is not there, and cannot be made: %s may not be written", path, parent);
    }
    return NULL;
}

/* Nobody else may put a file in, or take one away; and others do not even see when calls came. */
static const char *check_directory(const char *path, const struct stat *st, apr_pool_t *p)
{
    if (!S_ISDIR(st->st_mode)) {
        return apr_psprintf(p, "%s is no directory", path);
    }
    if (st->st_uid != owner()) {
        return apr_psprintf(p, "%s belongs to another user than the one the servers run as: chown it to %s", path,
                            geteuid() == 0 && ap_unixd_config.user_name ? ap_unixd_config.user_name : "that one");
    }
    if (st->st_mode & 027) {
        return apr_psprintf(p, "%s may be %s by others than its owner: chmod 700 (or 750, for a group that may look into it)",
                            path, st->st_mode & 022 ? "written" : "read");
    }
    return NULL;
}

const char *vapi_spool_check(const vapi_spool_t *spool, apr_pool_t *p)
{
    const char *aside = apr_pstrcat(p, spool->path, "/" ASIDE, NULL), *error;
    struct stat st;

    if (stat(spool->path, &st) != 0) {
        return errno == ENOENT ? check_missing(spool->path, p)
                               : apr_psprintf(p, "%s cannot be looked at: %s", spool->path, strerror(errno));
    }
    if ((error = check_directory(spool->path, &st, p)) != NULL) {
        return error;
    }
    if (lstat(aside, &st) != 0) {
        return errno == ENOENT ? NULL : apr_psprintf(p, "%s cannot be looked at: %s", aside, strerror(errno));
    }
    return check_directory(aside, &st, p);
}

/* Opens a directory, which is made where it is not there. @return its descriptor, or -1 */
static int open_directory(int at, const char *path, int flags)
{
    int made = mkdirat(at, path, 0700) == 0;
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);

    if (fd >= 0 && made && geteuid() == 0 && fchown(fd, ap_unixd_config.user_id, ap_unixd_config.group_id) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static apr_status_t close_directories(void *data)
{
    vapi_spool_t *spool = data;

    if (spool->aside >= 0) {
        close(spool->aside);
    }
    close(spool->dir);
    spool->dir = spool->aside = -1;
    return APR_SUCCESS;
}

apr_status_t vapi_spool_open(vapi_spool_t *spool, apr_pool_t *p)
{
    if ((spool->dir = open_directory(AT_FDCWD, spool->path, 0)) < 0) {
        return errno;
    }
    apr_pool_cleanup_register(p, spool, close_directories, apr_pool_cleanup_null);
    return (spool->aside = open_directory(spool->dir, ASIDE, O_NOFOLLOW)) >= 0 ? APR_SUCCESS : errno;
}

/* ---- names and times ---- */

static int is_name(const char *name)
{
    int i;

    for (i = 0; i < NAME_LEN; i++) {
        if (i == STAMP_LEN ? name[i] != '-' : !(apr_isdigit(name[i]) || (name[i] >= 'a' && name[i] <= 'f'))) {
            return 0;
        }
    }
    return name[i] == '\0';
}

static apr_status_t make_name(char *name, apr_time_t taken)
{
    apr_uint64_t random;
    apr_status_t rv = apr_generate_random_bytes((unsigned char *)&random, sizeof(random));

    apr_snprintf(name, NAME_LEN + 1, "%016" APR_UINT64_T_HEX_FMT "-%016" APR_UINT64_T_HEX_FMT, (apr_uint64_t)taken, random);
    return rv;
}

static apr_time_t changed(const struct stat *st)
{
    return apr_time_from_sec(st->st_mtim.tv_sec) + st->st_mtim.tv_nsec / 1000;
}

static int is_due(const struct stat *st, apr_time_t now)
{
    return changed(st) <= now || changed(st) - now > AHEAD_MAX;
}

static int set_due(int fd, apr_time_t due)
{
    struct timespec times[2] = { { 0, UTIME_OMIT }, { apr_time_sec(due), apr_time_usec(due) * 1000 } };

    return futimens(fd, times);
}

apr_interval_time_t vapi_spool_age(const vapi_spooled_t *file)
{
    apr_time_t now = apr_time_now();

    return now > file->taken ? now - file->taken : 0;
}

int vapi_spool_failures(const vapi_spooled_t *file)
{
    return file->failures;
}

const vapi_spool_t *vapi_spool_of(const vapi_spooled_t *file)
{
    return file->spool;
}

const char *vapi_spool_name(const vapi_spooled_t *file)
{
    return file->name;
}

/* ---- one file ---- */

static vapi_spooled_t *make_file(const vapi_spool_t *spool)
{
    vapi_spooled_t *file = calloc(1, sizeof(*file));

    if (file) {
        file->spool = spool;
        file->fd = -1;
    }
    return file;
}

static void let_go(vapi_spooled_t *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    free(file);
}

static apr_status_t write_all(int fd, const char *content, apr_size_t len)
{
    while (len) {
        ssize_t n = write(fd, content, len);
        if (n < 0 && errno != EINTR) {
            return errno;
        }
        if (n > 0) {
            content += n;
            len -= (apr_size_t)n;
        }
    }
    return APR_SUCCESS;
}

/* The new file, whole, under its first name. */
static apr_status_t fill(vapi_spooled_t *file, const char *content, apr_size_t len)
{
    apr_status_t rv;

    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        return errno;
    }
    if ((rv = write_all(file->fd, content, len)) != APR_SUCCESS) {
        return rv;
    }
    if (set_due(file->fd, file->taken + HEAD_START) != 0 || (file->spool->sync && fsync(file->fd) != 0)) {
        return errno;
    }
    return APR_SUCCESS;
}

/* Gives it its name. */
static apr_status_t publish(const vapi_spooled_t *file, const char *first_name)
{
    const vapi_spool_t *spool = file->spool;
    apr_status_t rv = APR_SUCCESS;

    if (renameat(spool->dir, first_name, spool->dir, file->name) != 0) {
        return errno;
    }
    if (spool->sync && fsync(spool->dir) != 0) {
        rv = errno;
        unlinkat(spool->dir, file->name, 0);
    }
    return rv;
}

static apr_status_t write_file(vapi_spooled_t *file, const char *content, apr_size_t len)
{
    char first_name[NEW_LEN + NAME_LEN + 1];
    apr_status_t rv;

    file->taken = apr_time_now();
    if ((rv = make_name(file->name, file->taken)) != APR_SUCCESS) {
        return rv;
    }
    apr_snprintf(first_name, sizeof(first_name), NEW "%s", file->name);
    file->fd = openat(file->spool->dir, first_name, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file->fd < 0) {
        return errno;
    }
    if ((rv = fill(file, content, len)) != APR_SUCCESS || (rv = publish(file, first_name)) != APR_SUCCESS) {
        unlinkat(file->spool->dir, first_name, 0);
    }
    return rv;
}

apr_status_t vapi_spool_put(vapi_spool_t *spool, const char *content, apr_size_t len, vapi_spooled_t **out)
{
    vapi_spooled_t *file = len <= VAPI_SPOOLED_MAX ? make_file(spool) : NULL;
    apr_status_t rv;

    if (!file) {
        return len <= VAPI_SPOOLED_MAX ? APR_ENOMEM : APR_EINVAL;
    }
    if ((rv = write_file(file, content, len)) != APR_SUCCESS) {
        let_go(file);
        return rv;
    }
    *out = file;
    return APR_SUCCESS;
}

apr_interval_time_t vapi_spool_later(vapi_spooled_t *file, int failed)
{
    apr_interval_time_t age = vapi_spool_age(file);
    apr_interval_time_t pause = age < PAUSE_MIN ? PAUSE_MIN : age > PAUSE_MAX ? PAUSE_MAX : age;

    if (failed) {
        (void)write_all(file->fd, "\n", 1);    /* a full disk costs the count of failures, which is for the log */
    }
    set_due(file->fd, apr_time_now() + pause);
    let_go(file);
    return pause;
}

apr_status_t vapi_spool_done(vapi_spooled_t *file)
{
    if (unlinkat(file->spool->dir, file->name, 0) != 0 && errno != ENOENT) {
        apr_status_t rv = errno;
        vapi_spool_later(file, 1);
        return rv;
    }
    let_go(file);
    return APR_SUCCESS;
}

apr_status_t vapi_spool_set_aside(vapi_spooled_t *file)
{
    if (renameat(file->spool->dir, file->name, file->spool->aside, file->name) != 0) {
        apr_status_t rv = errno;
        vapi_spool_later(file, 1);
        return rv;
    }
    let_go(file);
    return APR_SUCCESS;
}

/* ---- all files ---- */

/* What is called with each name in a directory. */
typedef void (*name_fn)(const vapi_spool_t *spool, const char *name, void *baton);

static apr_status_t read_directory(const vapi_spool_t *spool, int at, name_fn each, void *baton)
{
    int fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    apr_status_t rv;

    if (!dir) {
        rv = errno;
        if (fd >= 0) {
            close(fd);
        }
        return rv;
    }
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        each(spool, entry->d_name, baton);
    }
    rv = errno;
    closedir(dir);
    return rv;
}

typedef struct looking_t {
    apr_array_header_t *due;    /* name_t */
    apr_time_t now;
} looking_t;

static void remove_old(const vapi_spool_t *spool, const char *name, apr_time_t now)
{
    struct stat st;

    if (fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && now - changed(&st) > NEW_AGE_MAX) {
        unlinkat(spool->dir, name, 0);
    }
}

static void look_at(const vapi_spool_t *spool, const char *name, void *baton)
{
    looking_t *looking = baton;
    struct stat st;

    if (strncmp(name, NEW, NEW_LEN) == 0 && is_name(name + NEW_LEN)) {
        remove_old(spool, name, looking->now);
    }
    else if (is_name(name) && fstatat(spool->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_due(&st, looking->now)) {
        memcpy(((name_t *)apr_array_push(looking->due))->text, name, NAME_LEN + 1);
    }
}

static int by_name(const void *a, const void *b)
{
    return memcmp(a, b, NAME_LEN);
}

/* Opens and locks a file. @return APR_EAGAIN: another has it, or it is gone or not due any more */
static apr_status_t hold(vapi_spooled_t *file, const char *name, struct stat *st)
{
    struct stat named;

    memcpy(file->name, name, NAME_LEN + 1);
    file->taken = apr_strtoi64(name, NULL, 16);
    file->fd = openat(file->spool->dir, name, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file->fd < 0) {
        return errno == ENOENT ? APR_EAGAIN : errno;
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0 || fstatat(file->spool->dir, name, &named, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == EWOULDBLOCK || errno == ENOENT ? APR_EAGAIN : errno;
    }
    if (fstat(file->fd, st) != 0) {
        return errno;
    }
    if (!S_ISREG(st->st_mode)) {
        return APR_EINVAL;
    }
    return st->st_ino == named.st_ino && st->st_dev == named.st_dev && is_due(st, apr_time_now()) ? APR_SUCCESS : APR_EAGAIN;
}

/* The errand, and how many line ends stand behind it. */
static const char *read_content(vapi_spooled_t *file, apr_off_t size, apr_size_t *len, apr_pool_t *p)
{
    apr_size_t room = size <= 2 * (apr_off_t)VAPI_SPOOLED_MAX ? (apr_size_t)size : 0, got = 0;
    char *content = apr_palloc(p, room + 1);
    ssize_t n = 1;

    while (got < room && n != 0) {
        n = pread(file->fd, content + got, room - got, (off_t)got);
        if (n < 0 && errno != EINTR) {
            break;
        }
        got += n > 0 ? (apr_size_t)n : 0;
    }
    for (; got && content[got - 1] == '\n'; got--) {
        file->failures++;
    }
    *len = got <= VAPI_SPOOLED_MAX ? got : 0;
    content[*len] = '\0';
    return content;
}

/* @return 0: stop */
static int work_on(vapi_spool_t *spool, const char *name, vapi_spool_each_fn each, void *baton, apr_status_t *rv, apr_pool_t *p)
{
    vapi_spooled_t *file = make_file(spool);
    const char *content;
    apr_status_t held;
    apr_size_t len;
    struct stat st = { 0 };

    if (!file) {
        *rv = APR_ENOMEM;
        return 0;
    }
    if ((held = hold(file, name, &st)) != APR_SUCCESS) {
        *rv = held == APR_EAGAIN ? *rv : held;
        let_go(file);
        return 1;
    }
    content = read_content(file, st.st_size, &len, p);
    return each(baton, file, content, len);
}

apr_status_t vapi_spool_walk(vapi_spool_t *spool, vapi_spool_each_fn each, void *baton, apr_pool_t *p)
{
    looking_t looking = { apr_array_make(p, 64, sizeof(name_t)), apr_time_now() };
    apr_status_t rv = read_directory(spool, spool->dir, look_at, &looking);
    apr_pool_t *scratch;
    int i, go_on = 1;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    qsort(looking.due->elts, (size_t)looking.due->nelts, sizeof(name_t), by_name);
    apr_pool_create(&scratch, p);
    for (i = 0; i < looking.due->nelts && go_on; i++) {
        go_on = work_on(spool, APR_ARRAY_IDX(looking.due, i, name_t).text, each, baton, &rv, scratch);
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
    return rv;
}

static void count_name(const vapi_spool_t *spool, const char *name, void *baton)
{
    (void)spool;
    *(int *)baton += is_name(name);
}

apr_status_t vapi_spool_count(const vapi_spool_t *spool, int *waiting, int *set_aside)
{
    apr_status_t rv;

    *waiting = *set_aside = 0;
    rv = read_directory(spool, spool->dir, count_name, waiting);
    return rv == APR_SUCCESS ? read_directory(spool, spool->aside, count_name, set_aside) : rv;
}
