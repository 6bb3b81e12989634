/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  lastgood.c
 * @brief Contents that outlive the reading of the configuration that found them. Three owners of memory:
 *
 *   the process's pool   kept_t, one for each file that the last reading asked for; the first is found through userdata
 *   a pool by itself     each content: freed when the reading that used it last is over and the next one has begun
 *   pconf                reading_t: what this reading asked for and was told
 *
 * What lies in the process's memory is read by the next load of this module, maybe a newer one: no function or constant of ours
 * is referred to from there, and the key of the userdata names the layout.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "vapi_lastgood.h"

#define PROCESS_KEY "mod_vapi_transfer: last good files, layout 1"
#define PCONF_KEY   "mod_vapi_transfer: files of this reading"
#define FILE_MAX_MB 1024

typedef struct content_t {
    struct content_t *older;
    apr_pool_t *pool;           /* its own, this struct in it; a child of the process's */
    apr_uint64_t used;          /* the last reading that went by it */
    apr_size_t len;
    char bytes[];
} content_t;

typedef struct kept_t {
    struct kept_t *next;
    apr_pool_t *pool;           /* its own, this struct in it; a child of the process's */
    apr_uint64_t asked;         /* the last reading that asked for the file */
    content_t *contents;        /* newest first; the one that is no good, too, until the next reading */
    char file[];
} kept_t;

typedef struct store_t {
    apr_uint64_t reading;       /* the number of the latest; one that asks for no file has none */
    kept_t *files;
} store_t;

typedef struct reading_t {
    store_t *store;
    apr_hash_t *files;          /* name -> asked_t * */
} reading_t;

/* A file as this reading found it. */
typedef struct asked_t {
    kept_t *kept;
    const content_t *present;   /* NULL: it cannot be read */
    const char *unreadable;     /* and why */
    apr_array_header_t *answers;    /* answer_t */
} asked_t;

/* A file may be asked for by two kinds of directive, each with its own check. */
typedef struct answer_t {
    vapi_lastgood_check_fn check;
    vapi_lastgood_t good;
    const char *error;
} answer_t;

/* ---- reading a file ---- */

static const char *status_text(apr_status_t rv, apr_pool_t *p)
{
    char text[120];

    return apr_pstrdup(p, apr_strerror(rv, text, sizeof(text)));
}

/* A pool whose memory goes back to the system with it, and which hands out NULL rather than end the process. */
static apr_pool_t *make_pool(apr_pool_t *process)
{
    apr_allocator_t *allocator;
    apr_pool_t *pool;

    if (apr_allocator_create(&allocator) != APR_SUCCESS) {
        return NULL;
    }
    if (apr_pool_create_ex(&pool, process, NULL, allocator) != APR_SUCCESS) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    apr_pool_abort_set(NULL, pool);
    return pool;
}

static content_t *make_content(apr_size_t len, apr_pool_t *process)
{
    apr_pool_t *pool = make_pool(process);
    content_t *content = pool ? apr_palloc(pool, sizeof(*content) + len + 2) : NULL;

    if (content) {
        content->pool = pool;
        content->older = NULL;
        content->used = 0;
        content->len = len;
    }
    else if (pool) {
        apr_pool_destroy(pool);
    }
    return content;
}

/* Reads one byte more than there should be. @return NULL or what is wrong */
static const char *fill(content_t *content, int fd, apr_pool_t *p)
{
    apr_size_t filled = 0;
    ssize_t n;

    do {
        n = read(fd, content->bytes + filled, content->len + 1 - filled);
        filled += n > 0 ? (apr_size_t)n : 0;
    } while ((n > 0 && filled <= content->len) || (n < 0 && errno == EINTR));
    if (n < 0) {
        return status_text(errno, p);
    }
    content->bytes[filled] = '\0';
    return filled == content->len ? NULL : "it was changed while it was read";
}

static const char *read_open(content_t **out, int fd, apr_pool_t *process, apr_pool_t *p)
{
    struct stat status;
    content_t *content;
    const char *error;

    if (fstat(fd, &status) != 0) {
        return status_text(errno, p);
    }
    if (!S_ISREG(status.st_mode)) {
        return S_ISDIR(status.st_mode) ? status_text(EISDIR, p) : "it is not a regular file";
    }
    if (status.st_size > (off_t)FILE_MAX_MB * 1024 * 1024) {
        return apr_psprintf(p, "it is larger than %d MB", FILE_MAX_MB);
    }
    content = make_content((apr_size_t)status.st_size, process);
    if (!content) {
        return status_text(ENOMEM, p);
    }
    error = fill(content, fd, p);
    if (error) {
        apr_pool_destroy(content->pool);
        return error;
    }
    *out = content;
    return NULL;
}

/* A FIFO without a writer would block a plain opening. */
static const char *read_file(content_t **out, const char *file, apr_pool_t *process, apr_pool_t *p)
{
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    const char *error = fd < 0 ? status_text(errno, p) : read_open(out, fd, process, p);

    if (fd >= 0) {
        close(fd);
    }
    return error ? apr_psprintf(p, "cannot read %s: %s", file, error) : NULL;
}

/* ---- what the process keeps ---- */

/* Lets go of what the latest reading did not use. Nothing refers to it: that reading's pconf is gone. */
static void drop_unused(store_t *store)
{
    kept_t **link = &store->files;

    while (*link) {
        kept_t *kept = *link;
        content_t **older = &kept->contents;

        while (*older) {
            content_t *content = *older;

            if (content->used == store->reading) {
                older = &content->older;
            }
            else {
                *older = content->older;
                apr_pool_destroy(content->pool);
            }
        }
        if (kept->asked == store->reading) {
            link = &kept->next;
        }
        else {
            *link = kept->next;
            apr_pool_destroy(kept->pool);
        }
    }
}

static store_t *store_of(apr_pool_t *process)
{
    void *store = NULL;

    apr_pool_userdata_get(&store, PROCESS_KEY, process);
    if (!store) {
        store = apr_pcalloc(process, sizeof(store_t));
        apr_pool_userdata_set(store, PROCESS_KEY, NULL, process);
    }
    return store;
}

/* pconf is emptied between two readings: one that does not know us yet begins now. */
static reading_t *reading_of(apr_pool_t *process, apr_pool_t *pconf)
{
    void *found = NULL;
    reading_t *reading;

    apr_pool_userdata_get(&found, PCONF_KEY, pconf);
    if (found) {
        return found;
    }
    reading = apr_palloc(pconf, sizeof(*reading));
    reading->store = store_of(process);
    reading->files = apr_hash_make(pconf);
    drop_unused(reading->store);
    reading->store->reading++;
    apr_pool_userdata_setn(reading, PCONF_KEY, NULL, pconf);
    return reading;
}

static kept_t *kept_of(store_t *store, const char *file, apr_pool_t *process)
{
    apr_size_t len = strlen(file);
    kept_t *kept = store->files;
    apr_pool_t *pool;

    while (kept && strcmp(kept->file, file) != 0) {
        kept = kept->next;
    }
    if (!kept) {
        apr_pool_create(&pool, process);
        kept = apr_pcalloc(pool, sizeof(*kept) + len + 1);
        kept->pool = pool;
        memcpy(kept->file, file, len);
        kept->next = store->files;
        store->files = kept;
    }
    kept->asked = store->reading;
    return kept;
}

/* What was read becomes the newest content, unless it is what is there. @return the newest */
static const content_t *keep(kept_t *kept, content_t *content)
{
    content_t *newest = kept->contents;

    if (newest && newest->len == content->len && memcmp(newest->bytes, content->bytes, content->len) == 0) {
        apr_pool_destroy(content->pool);
        return newest;
    }
    content->older = newest;
    kept->contents = content;
    return content;
}

/* ---- asking ---- */

static asked_t *asked_of(reading_t *reading, const char *file, apr_pool_t *process, apr_pool_t *pconf)
{
    asked_t *asked = apr_hash_get(reading->files, file, APR_HASH_KEY_STRING);
    content_t *content = NULL;

    if (asked) {
        return asked;
    }
    asked = apr_pcalloc(pconf, sizeof(*asked));
    asked->kept = kept_of(reading->store, file, process);
    asked->unreadable = read_file(&content, file, process, pconf);
    asked->present = content ? keep(asked->kept, content) : NULL;
    asked->answers = apr_array_make(pconf, 1, sizeof(answer_t));
    apr_hash_set(reading->files, apr_pstrdup(pconf, file), APR_HASH_KEY_STRING, asked);
    return asked;
}

/* @return NULL or "FILE, line 3: ..." */
static const char *check_content(const content_t *content, const char *file, vapi_lastgood_check_fn check, apr_pool_t *pconf)
{
    apr_pool_t *scratch;
    const char *error;

    apr_pool_create(&scratch, pconf);
    error = check(content->bytes, content->len, scratch);
    error = error ? apr_pstrcat(pconf, file, ", ", error, NULL) : NULL;
    apr_pool_destroy(scratch);
    return error;
}

/* The newest content that passes. A present one that does not says why the answer is stale, or is none. */
static void make_answer(answer_t *answer, const asked_t *asked, apr_uint64_t reading, apr_pool_t *pconf)
{
    const char *why = asked->unreadable;
    content_t *content;

    for (content = asked->kept->contents; content; content = content->older) {
        const char *error = check_content(content, asked->kept->file, answer->check, pconf);

        if (!error) {
            content->used = reading;
            answer->good = (vapi_lastgood_t){ content->bytes, content->len, content != asked->present, why };
            return;
        }
        why = content == asked->present ? error : why;
    }
    answer->error = why;
}

const char *vapi_lastgood_read(vapi_lastgood_t *out, const char *file, vapi_lastgood_check_fn check, apr_pool_t *process,
                               apr_pool_t *pconf)
{
    reading_t *reading = reading_of(process, pconf);
    asked_t *asked = asked_of(reading, file, process, pconf);
    answer_t *answer = NULL;
    int i;

    for (i = 0; i < asked->answers->nelts && !answer; i++) {
        answer_t *given = &APR_ARRAY_IDX(asked->answers, i, answer_t);

        answer = given->check == check ? given : NULL;
    }
    if (!answer) {
        answer = apr_array_push(asked->answers);
        *answer = (answer_t){ .check = check };
        make_answer(answer, asked, reading->store->reading, pconf);
    }
    *out = answer->good;
    return answer->error;
}
