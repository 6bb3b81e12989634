/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_spool.h
 * @brief A directory in which errands wait until they are delivered: one file each, 0600. Knows what a file is, not what stands
 *        in it.
 *
 *   DIRECTORY/NAME              waits. Its name begins with the time it was taken on; its time of change is when it is due again.
 *                               Behind the errand stands a line end for each time it failed
 *   DIRECTORY/set-aside/NAME    given up on: for the administrator, who may move it back
 *   DIRECTORY/.new-NAME         being written; one that its writer left behind is removed after an hour
 *
 * Whoever works on a file holds a lock (flock) on it: two never deliver it at once, and the death of a process lets go of its
 * own.
 */
#ifndef VAPI_SPOOL_H
#define VAPI_SPOOL_H

#include <apr_pools.h>
#include <apr_time.h>

typedef struct vapi_spool_t vapi_spool_t;
typedef struct vapi_spooled_t vapi_spooled_t;    /* one file, held */

#define VAPI_SPOOLED_MAX (4 * 1024 * 1024)       /* bytes of an errand */

/** At the directive: the form of the words. Touches nothing. @param directory  absolute */
const char *vapi_spool_configure(vapi_spool_t **out, const char *directory, int sync, apr_pool_t *p);
const char *vapi_spool_directory(const vapi_spool_t *spool);
int vapi_spool_is_sync(const vapi_spool_t *spool);

/** For -t and the start: may it be used? Looks, changes nothing: a directory that is not there must have a parent; one that is
 * there must be the servers' user's, and no one but its group may look into it. @return NULL or what is wrong */
const char *vapi_spool_check(const vapi_spool_t *spool, apr_pool_t *p);

/** In post_config: makes the directory (0700) and set-aside in it where they are not there, and gives them to the user that the
 * children run as. Both are held open until `p` is cleared; the children go on with them. */
apr_status_t vapi_spool_open(vapi_spool_t *spool, apr_pool_t *p);

/** Writes an errand (text without line ends at its end), whole or not at all (with sync: on the disk), and holds it. The handle
 * is malloc'ed: it must end by one of the three below, on any thread. @return APR_EINVAL over VAPI_SPOOLED_MAX */
apr_status_t vapi_spool_put(vapi_spool_t *spool, const char *content, apr_size_t len, vapi_spooled_t **out);

/** Delivered: removes it. @return why it cannot be removed: it is then put off as by vapi_spool_later, and will be delivered
 * again */
apr_status_t vapi_spool_done(vapi_spooled_t *file);
/** Not now: due again after a pause that grows with its age (1 s at first, at most 15 min); lets go of it.
 * @param failed  1: counts as a failure of it; 0: it was not tried. @return the pause */
apr_interval_time_t vapi_spool_later(vapi_spooled_t *file, int failed);
/** Not ever: moves it to set-aside. @return why it cannot be moved: it is then put off */
apr_status_t vapi_spool_set_aside(vapi_spooled_t *file);

/** How long ago it was taken on. */
apr_interval_time_t vapi_spool_age(const vapi_spooled_t *file);
/** How often it failed so far. */
int vapi_spool_failures(const vapi_spooled_t *file);
/** Where it is held, and its name there. */
const vapi_spool_t *vapi_spool_of(const vapi_spooled_t *file);
const char *vapi_spool_name(const vapi_spooled_t *file);

/** Works on a file that is held, and ends it by one of the three. `content` ends with a NUL and lasts for this call; it is "" for
 * a file over VAPI_SPOOLED_MAX. @return 0: stop the walk */
typedef int (*vapi_spool_each_fn)(void *baton, vapi_spooled_t *file, const char *content, apr_size_t len);

/**
 * Goes through the files that are due, oldest first, and holds each that nobody holds while `each` works on it.
 * @return APR_SUCCESS; why the directory cannot be read; or why a file of it cannot be opened (the others were gone through)
 */
apr_status_t vapi_spool_walk(vapi_spool_t *spool, vapi_spool_each_fn each, void *baton, apr_pool_t *p);

/** How many wait, and how many were set aside. Counts files: for a status page. */
apr_status_t vapi_spool_count(const vapi_spool_t *spool, int *waiting, int *set_aside);

#endif
