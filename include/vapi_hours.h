/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  vapi_hours.h
 * @brief Opening hours: read at start-up, asked with an instant. GLib's GTimeZone does the arithmetic of zones; nothing here
 *        touches the process's own zone. Knows no httpd.
 *
 * What counts is the clock on the wall in the zone: at the change of summer time an hour of it may come twice or not at all, and
 * a range is then an hour longer or shorter, as it is for the people who work by it.
 */
#ifndef VAPI_HOURS_H
#define VAPI_HOURS_H

#include <apr_pools.h>
#include <apr_time.h>

#include "vapi_word.h"

typedef struct vapi_zone_t vapi_zone_t;    /* an IANA zone, loaded; lives as long as its pool */
typedef struct vapi_hours_t vapi_hours_t;

typedef enum { VAPI_HOURS_CLOSED = 0, VAPI_HOURS_OPEN, VAPI_HOURS_HOLIDAY } vapi_hours_state;

/**
 * Loads a zone by its IANA name (`America/New_York`, `UTC`). Reads files: for start-up. Safe between threads.
 * @return NULL, or what is wrong: a name of another form (offsets, paths, `EST5EDT,...`) or one that the system's zone data does
 * not have, with the nearest that it has
 */
const char *vapi_zone_load(vapi_zone_t **out, const char *name, apr_pool_t *p);

/** Seconds east of Greenwich at this second since 1970. Safe between threads, takes no memory. */
int vapi_zone_offset(const vapi_zone_t *zone, apr_int64_t second);

/**
 * Reads `NAME ZONE RANGE... [closed=DATE[,DATE...]]... [open="DATE RANGE"]... [closed-file=FILE]` at start-up.
 *
 * The positionals behind ZONE are joined with blanks, so that quotes around a RANGE are the administrator's choice: days
 * (`Mon-Fri`, `Sat,Sun`, `Fri-Mon`; none: every day), then one or more `HH:MM-HH:MM` of them; then further days, and so on.
 * Half-open, [open, close); to 24:00; over midnight where close is before open: then it belongs to the day on which it begins.
 *
 * DATE is `2026-12-25` or `12-25` (every year). An open date may have several ranges, behind one DATE or each behind its own;
 * it is refused where closed= has it too, but not where only the file has it: then it is closed. The file holds a DATE a
 * line, blanks and a remark behind it, `#` comments.
 * @param file  the content of the file that closed-file= names, passed by vapi_hours_check_file; NULL without that key
 * @param file_len  of `file`
 * @return NULL or what is wrong, with the word; of the file: "FILE, line N: ..."
 */
const char *vapi_hours_make(vapi_hours_t **out, const vapi_words_t *words, const char *file, apr_size_t file_len, apr_pool_t *p);

/** Is this the content of a closed-file? @return NULL or "line N: what is wrong" */
const char *vapi_hours_check_file(const char *content, apr_size_t len, apr_pool_t *p);

const char *vapi_hours_name(const vapi_hours_t *hours);

/** NULL where ZONE is `map:NAME`; then that NAME is vapi_hours_zone_map(), else NULL. */
const vapi_zone_t *vapi_hours_zone(const vapi_hours_t *hours);
const char *vapi_hours_zone_map(const vapi_hours_t *hours);

/** The directive's words as they were written, for a dump. */
const char *vapi_hours_describe(const vapi_hours_t *hours, apr_pool_t *p);

/**
 * At this instant (wall clock, microseconds since 1970), in this zone: a closed date of that day: HOLIDAY; an open date: OPEN
 * inside its ranges, else CLOSED; else the week. What is left after midnight of a range that began on the day before counts
 * by that day: it is open only if that day's own hours are (an open date's range over midnight goes on into the next day, a
 * closed date's does not begin); but a closed date is HOLIDAY from its own midnight on. `zone` NULL (unknown): CLOSED. Safe
 * between threads, takes no memory.
 */
vapi_hours_state vapi_hours_at(const vapi_hours_t *hours, const vapi_zone_t *zone, apr_time_t at);

/** "closed", "open", "holiday" */
const char *vapi_hours_word(vapi_hours_state state);

#endif
