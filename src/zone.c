/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  zone.c
 * @brief Time zones of the machine's zone data, by way of GLib, which is shown nothing but names of files that are there.
 */
#include <stddef.h>
#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <glib.h>

#include "vapi_hours.h"

#define ZONE_LINE   512          /* longer lines of the list of zones are cut; their names stand at the beginning */
#define FOUR_MONTHS (122 * 24 * 3600)

struct vapi_zone_t {
    GTimeZone *tz;
};

/* ---- names ---- */

/* `[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*`: nothing else is shown to GLib, which would open what a path names. */
static int is_zone_name(const char *name)
{
    const char *part = name;

    for (; *name; name++) {
        if (*name == '/' && name > part) {
            part = name + 1;
        }
        else if (!apr_isascii(*name) || (!apr_isalnum(*name) && !strchr("_+-", *name))) {
            return 0;
        }
    }
    return name > part;
}

/* Where GLib looks. */
static const char *zone_directory(apr_pool_t *p)
{
    const char *dir = g_getenv("TZDIR");
    apr_finfo_t info;

    if (!dir) {
        dir = "/usr/share/zoneinfo";
        if (apr_stat(&info, dir, APR_FINFO_TYPE, p) != APR_SUCCESS) {
            dir = "/usr/lib/zoneinfo";
        }
    }
    return apr_stat(&info, dir, APR_FINFO_TYPE, p) == APR_SUCCESS && info.filetype == APR_DIR ? dir : NULL;
}

/* GLib also makes zones of names that are no file ("+05"), and complains on stderr of files that are no zone. The zones of right/
 * count leap seconds, which the clock of the machine does not. */
static int has_zone(const char *dir, const char *name, apr_pool_t *p)
{
    const char *path = apr_pstrcat(p, dir, "/", name, NULL);
    char magic[4];
    apr_file_t *file;
    apr_finfo_t info;
    int found;

    if (strncmp(name, "right/", 6) == 0 || apr_stat(&info, path, APR_FINFO_TYPE, p) != APR_SUCCESS || info.filetype != APR_REG
        || apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BINARY, APR_FPROT_OS_DEFAULT, p) != APR_SUCCESS) {
        return 0;
    }
    found = apr_file_read_full(file, magic, sizeof(magic), NULL) == APR_SUCCESS && memcmp(magic, "TZif", 4) == 0;
    apr_file_close(file);
    return found;
}

/* The name in a line of the list of zones (`Z NAME ...`, `L TARGET NAME`), NULL in any other. */
static const char *listed_name(const char *line, apr_pool_t *p)
{
    const char *name;

    if (strncmp(line, "Z ", 2) != 0 && strncmp(line, "L ", 2) != 0) {
        return NULL;
    }
    name = line + 2;
    if (*line == 'L') {
        name += strcspn(name, " ");
        name += *name == ' ';
    }
    return apr_pstrmemdup(p, name, strcspn(name, " \r\n"));
}

/* All names that the zone data knows, NULL behind them; none where it came without its list. */
static const char *const *zone_names(const char *dir, apr_pool_t *p)
{
    apr_array_header_t *names = apr_array_make(p, 640, sizeof(const char *));
    const char *path = apr_pstrcat(p, dir, "/tzdata.zi", NULL), *name;
    char line[ZONE_LINE];
    apr_file_t *file;

    if (apr_file_open(&file, path, APR_FOPEN_READ | APR_FOPEN_BUFFERED, APR_FPROT_OS_DEFAULT, p) == APR_SUCCESS) {
        while (apr_file_gets(line, sizeof(line), file) == APR_SUCCESS) {
            if ((name = listed_name(line, p)) != NULL) {
                APR_ARRAY_PUSH(names, const char *) = name;
            }
        }
        apr_file_close(file);
    }
    APR_ARRAY_PUSH(names, const char *) = NULL;
    return (const char *const *)names->elts;
}

static const char *last_part(const char *name)
{
    const char *slash = strrchr(name, '/');

    return slash ? slash + 1 : name;
}

/* Is it the same, with no heed to case and to how blanks are written? */
static int same_place(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, "_ ");
        b += strspn(b, "_ ");
        if (!*a || apr_tolower(*a) != apr_tolower(*b)) {
            return *a == *b;
        }
    }
}

/* "; did you mean America/New_York?", or "". */
static const char *near_zone(const char *dir, const char *name, apr_pool_t *p)
{
    const char *const *names = zone_names(dir, p), *const *at;
    const char *near = NULL;

    for (at = names; *at && !near; at++) {
        if (same_place(last_part(name), last_part(*at)) && has_zone(dir, *at, p)) {
            near = *at;
        }
    }
    if (!near) {
        near = vapi_word_nearest(name, names);
    }
    return near && has_zone(dir, near, p) ? apr_pstrcat(p, "; did you mean ", near, "?", NULL) : "";
}

/* ---- data ---- */

/* With the colon GLib reads the zone data in any case: `EST5EDT` alone it would take for a rule. */
static GTimeZone *read_zone(const char *name, apr_pool_t *p)
{
    const char *identifier = apr_pstrcat(p, ":", name, NULL);

#if GLIB_CHECK_VERSION(2, 68, 0)
    return g_time_zone_new_identifier(identifier);
#else
    return g_time_zone_new(identifier);
#endif
}

int vapi_zone_offset(const vapi_zone_t *zone, apr_int64_t second)
{
    return g_time_zone_get_offset(zone->tz, g_time_zone_find_interval(zone->tz, G_TIME_TYPE_UNIVERSAL, second));
}

/*
 * Ireland's winter is the exception to its standard time, and a rule that says so ("IST-1GMT0") is taken by GLib for one that
 * goes to +2. That shows where the zone data does not also list the changes one by one. One of the three instants is in winter,
 * which is five months long.
 */
static int is_misread(const char *name, const vapi_zone_t *zone)
{
    apr_int64_t now = apr_time_sec(apr_time_now());

    return (strcmp(last_part(name), "Dublin") == 0 || strcmp(name, "Eire") == 0)
           && (vapi_zone_offset(zone, now) > 3600 || vapi_zone_offset(zone, now + FOUR_MONTHS) > 3600
               || vapi_zone_offset(zone, now + 2 * FOUR_MONTHS) > 3600);
}

static apr_status_t unref_zone(void *tz)
{
    g_time_zone_unref(tz);
    return APR_SUCCESS;
}

const char *vapi_zone_load(vapi_zone_t **out, const char *name, apr_pool_t *p)
{
    const char *dir = zone_directory(p);
    vapi_zone_t *zone;

    if (!dir) {
        return "this machine has no data of time zones (mostly a package named tzdata)";
    }
    if (!is_zone_name(name)) {
        return apr_psprintf(p, "'%.40s' is no time zone: an IANA name is wanted, such as America/New_York or UTC%s",
                            name, near_zone(dir, name, p));
    }
    if (!has_zone(dir, name, p)) {
        return apr_psprintf(p, "there is no zone '%.40s'%s", name, near_zone(dir, name, p));
    }
    zone = apr_palloc(p, sizeof(*zone));
    zone->tz = read_zone(name, p);
    if (!zone->tz) {
        return apr_psprintf(p, "the data of the zone '%.40s' is broken", name);
    }
    apr_pool_cleanup_register(p, zone->tz, unref_zone, apr_pool_cleanup_null);
    if (is_misread(name, zone)) {
        return "GLib misreads this machine's data of Europe/Dublin; Europe/London has the same clock";
    }
    *out = zone;
    return NULL;
}
