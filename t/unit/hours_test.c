/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_hours.h"

static apr_pool_t *pool;

static const char *make(vapi_hours_t **hours, const char *line, const char *file, apr_pool_t *p)
{
    vapi_words_t *words;

    assert_null(vapi_words_read(&words, line, p));
    return vapi_hours_make(hours, words, file, file ? strlen(file) : 0, p);
}

static vapi_hours_t *made(const char *line, const char *file)
{
    vapi_hours_t *hours = NULL;
    const char *error = make(&hours, line, file, pool);

    if (error) {
        fail_msg("%s: %s", line, error);
    }
    return hours;
}

/* `2026-03-02T14:00:00`, of Greenwich. */
static apr_time_t instant(const char *text)
{
    struct tm tm = { 0 };
    char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    assert_true(end && (*end == ' ' || *end == '\0'));
    return apr_time_from_sec(timegm(&tm));
}

typedef struct row_t {
    const char *line;
    const char *states[16];        /* "INSTANT STATE", the instant of Greenwich */
} row_t;

static void check_row(const row_t *row, const char *file)
{
    const vapi_hours_t *hours = made(row->line, file);
    int i;

    for (i = 0; row->states[i]; i++) {
        const char *state = vapi_hours_word(vapi_hours_at(hours, vapi_hours_zone(hours), instant(row->states[i])));

        if (strcmp(state, strchr(row->states[i], ' ') + 1) != 0) {
            fail_msg("%s: at %s and not %s", row->line, row->states[i], state);
        }
    }
}

static void check_rows(const row_t *rows, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        check_row(&rows[i], NULL);
    }
}

#define CHECK(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* ---- the week ---- */

static void test_week(void **state)
{
    static const row_t rows[] = {      /* 2026-03-02 is a Monday */
        { "a America/New_York \"Mon-Fri 09:00-17:30\"",
          { "2026-03-02T13:59:59 closed", "2026-03-02T14:00:00 open", "2026-03-02T22:29:59 open", "2026-03-02T22:30:00 closed",
            "2026-02-27T15:00:00 open", "2026-02-28T15:00:00 closed", "2026-03-01T15:00:00 closed", "2026-07-06T12:59:59 closed",
            "2026-07-06T13:00:00 open", "2026-07-06T21:29:59 open", "2026-07-06T21:30:00 closed" } },
        { "a UTC Sat,Sun 10:00-14:00",
          { "2026-03-06T10:00:00 closed", "2026-03-07T10:00:00 open", "2026-03-08T13:59:59 open", "2026-03-08T14:00:00 closed",
            "2026-03-09T12:00:00 closed" } },
        { "a UTC Mon,Wed-Fri,Sun 9:00-10:00",
          { "2026-03-02T09:30:00 open", "2026-03-03T09:30:00 closed", "2026-03-04T09:30:00 open", "2026-03-05T09:30:00 open",
            "2026-03-06T09:30:00 open", "2026-03-07T09:30:00 closed", "2026-03-08T09:30:00 open" } },
        { "a UTC Fri-Mon 9:00-10:00",
          { "2026-03-05T09:30:00 closed", "2026-03-06T09:30:00 open", "2026-03-07T09:30:00 open", "2026-03-08T09:30:00 open",
            "2026-03-09T09:30:00 open", "2026-03-10T09:30:00 closed", "2026-03-11T09:30:00 closed" } },
        { "a UTC Sun-Sat 00:00-24:00",
          { "2026-03-02T00:00:00 open", "2026-03-07T23:59:59 open", "2026-03-08T12:00:00 open" } },
        { "a UTC Wed-Wed 00:00-24:00",
          { "2026-03-03T23:59:59 closed", "2026-03-04T00:00:00 open", "2026-03-04T23:59:59 open",
            "2026-03-05T00:00:00 closed" } },
        /* none: every day */
        { "a UTC 08:15-08:16",
          { "2026-03-01T08:15:59 open", "2026-03-04T08:14:59 closed", "2026-03-04T08:15:00 open",
            "2026-03-04T08:16:00 closed" } },
        /* several ranges of a day, several days; where quotes stand is the same */
        { "a UTC \"Mon-Thu 08:00-12:00 13:00-17:00 Fri 08:00-13:00\"",
          { "2026-03-02T11:59:59 open", "2026-03-02T12:00:00 closed", "2026-03-02T12:59:59 closed", "2026-03-02T13:00:00 open",
            "2026-03-05T16:59:59 open", "2026-03-06T12:30:00 open", "2026-03-06T13:00:00 closed",
            "2026-03-07T09:00:00 closed" } },
        { "a UTC \"Mon-Thu 08:00-12:00\" '13:00-17:00' Fri \" 08:00-13:00\t\"",
          { "2026-03-02T11:59:59 open", "2026-03-02T12:00:00 closed", "2026-03-02T13:00:00 open", "2026-03-06T12:30:00 open",
            "2026-03-06T13:00:00 closed" } },
        { "a UTC \"12:00-13:00 Sat 10:00-11:00\"",
          { "2026-03-04T12:30:00 open", "2026-03-04T10:30:00 closed", "2026-03-07T12:30:00 open", "2026-03-07T10:30:00 open" } },
        { "a UTC \"Mon-Fri 09:00-12:00 Mon 11:00-14:00\"",
          { "2026-03-02T11:30:00 open", "2026-03-02T13:59:59 open", "2026-03-03T12:00:00 closed" } },
        /* over midnight: of the day on which it begins */
        { "a UTC Sun 22:00-06:00",
          { "2026-03-08T05:00:00 closed", "2026-03-08T21:59:59 closed", "2026-03-08T22:00:00 open", "2026-03-08T23:59:59 open",
            "2026-03-09T00:00:00 open", "2026-03-09T05:59:59 open", "2026-03-09T06:00:00 closed",
            "2026-03-09T22:00:00 closed" } },
        { "a UTC 22:00-06:00",
          { "2026-03-04T00:00:00 open", "2026-03-04T06:00:00 closed", "2026-03-04T22:00:00 open", "2026-12-31T23:00:00 open",
            "2027-01-01T05:59:59 open" } },
        { "a UTC Mon 18:00-00:00",
          { "2026-03-02T17:59:59 closed", "2026-03-02T23:59:59 open", "2026-03-03T00:00:00 closed" } },
        { "a UTC Mon 00:01-00:00", { "2026-03-02T00:00:59 closed", "2026-03-02T00:01:00 open", "2026-03-03T00:00:00 closed" } },
        { "a UTC Mon 12:00-11:59",
          { "2026-03-02T11:59:59 closed", "2026-03-02T12:00:00 open", "2026-03-03T11:58:59 open",
            "2026-03-03T11:59:00 closed" } },
    };
    (void)state;
    CHECK(rows);
}

static void test_microseconds(void **state)
{
    const vapi_hours_t *hours = made("a UTC 09:00-10:00", NULL);
    const vapi_zone_t *zone = vapi_hours_zone(hours);
    apr_time_t open = instant("2026-03-02T09:00:00"), long_ago = instant("1960-03-02T09:00:00"), hour = apr_time_from_sec(3600);

    (void)state;
    assert_int_equal(vapi_hours_at(hours, zone, open - 1), VAPI_HOURS_CLOSED);
    assert_int_equal(vapi_hours_at(hours, zone, open), VAPI_HOURS_OPEN);
    assert_int_equal(vapi_hours_at(hours, zone, open + hour - 1), VAPI_HOURS_OPEN);
    assert_int_equal(vapi_hours_at(hours, zone, open + hour), VAPI_HOURS_CLOSED);
    assert_int_equal(vapi_hours_at(hours, zone, long_ago - 1), VAPI_HOURS_CLOSED);
    assert_int_equal(vapi_hours_at(hours, zone, long_ago), VAPI_HOURS_OPEN);
    assert_int_equal(vapi_hours_at(hours, zone, long_ago + hour - 1), VAPI_HOURS_OPEN);
    assert_int_equal(vapi_hours_at(hours, zone, long_ago + hour), VAPI_HOURS_CLOSED);
    /* no clock shows these, but no clock may bring the server down */
    vapi_hours_at(hours, zone, APR_INT64_MAX);
    vapi_hours_at(hours, zone, APR_INT64_MIN);
}

/* ---- zones ---- */

static void test_summer_time(void **state)
{
    static const row_t rows[] = {
        /* 02:00 to 03:00 is not there */
        { "a America/New_York 02:00-03:00", { "2026-03-08T06:59:59 closed", "2026-03-08T07:00:00 closed",
          "2026-03-09T06:00:00 open" } },
        { "a America/New_York 01:30-03:30",
          { "2026-03-08T06:29:59 closed", "2026-03-08T06:30:00 open", "2026-03-08T06:59:59 open", "2026-03-08T07:00:00 open",
            "2026-03-08T07:29:59 open", "2026-03-08T07:30:00 closed" } },
        { "a America/New_York Sat 22:00-06:00",
          { "2026-03-08T02:59:59 closed", "2026-03-08T03:00:00 open", "2026-03-08T09:59:59 open", "2026-03-08T10:00:00 closed",
            "2026-11-01T02:00:00 open", "2026-11-01T10:59:59 open", "2026-11-01T11:00:00 closed" } },
        /* 01:00 to 02:00 comes twice */
        { "a America/New_York 01:00-02:00",
          { "2026-11-01T04:59:59 closed", "2026-11-01T05:00:00 open", "2026-11-01T05:59:59 open", "2026-11-01T06:00:00 open",
            "2026-11-01T06:59:59 open", "2026-11-01T07:00:00 closed" } },
        { "a America/New_York 01:30-01:45",
          { "2026-11-01T05:29:59 closed", "2026-11-01T05:30:00 open", "2026-11-01T05:45:00 closed", "2026-11-01T06:30:00 open",
            "2026-11-01T06:44:59 open", "2026-11-01T06:45:00 closed" } },
        { "a America/New_York 09:00-17:00",
          { "2026-03-07T13:59:59 closed", "2026-03-07T14:00:00 open", "2026-03-08T12:59:59 closed", "2026-03-08T13:00:00 open",
            "2026-10-31T20:59:59 open", "2026-10-31T21:00:00 closed", "2026-11-01T21:59:59 open",
            "2026-11-01T22:00:00 closed" } },
        { "a Europe/Berlin 02:30-04:00",
          { "2026-03-29T00:59:59 closed", "2026-03-29T01:00:00 open", "2026-03-29T01:59:59 open", "2026-03-29T02:00:00 closed",
            "2026-10-25T00:29:59 closed", "2026-10-25T00:30:00 open", "2026-10-25T00:59:59 open", "2026-10-25T01:00:00 closed",
            "2026-10-25T01:29:59 closed", "2026-10-25T01:30:00 open", "2026-10-25T02:59:59 open",
            "2026-10-25T03:00:00 closed" } },
        /* half an hour */
        { "a Australia/Lord_Howe 02:00-02:30",
          { "2026-10-02T15:30:00 open", "2026-10-02T16:00:00 closed", "2026-10-03T15:29:59 closed", "2026-10-03T15:30:00 closed",
            "2026-10-03T16:00:00 closed", "2026-10-04T15:00:00 open" } },
        { "a Australia/Lord_Howe 01:30-02:00",
          { "2026-04-04T14:29:59 closed", "2026-04-04T14:30:00 open", "2026-04-04T14:59:59 open", "2026-04-04T15:00:00 open",
            "2026-04-04T15:29:59 open", "2026-04-04T15:30:00 closed" } },
        /* the other half of the world; the change is at midnight: 23:00 of a Saturday comes twice, 00:00 of a Sunday does not */
        { "a America/Santiago Sat 23:00-24:00",
          { "2026-04-05T01:59:59 closed", "2026-04-05T02:00:00 open", "2026-04-05T02:59:59 open", "2026-04-05T03:00:00 open",
            "2026-04-05T03:59:59 open", "2026-04-05T04:00:00 closed" } },
        { "a America/Santiago Sun 00:00-01:00",
          { "2026-09-06T03:59:59 closed", "2026-09-06T04:00:00 closed", "2026-09-13T03:00:00 open",
            "2026-09-13T04:00:00 closed" } },
        { "a America/Santiago Sat 23:30-00:30",
          { "2026-09-06T03:29:59 closed", "2026-09-06T03:30:00 open", "2026-09-06T03:59:59 open", "2026-09-06T04:00:00 closed",
            "2026-04-05T02:30:00 open", "2026-04-05T02:59:59 open", "2026-04-05T03:00:00 closed", "2026-04-05T03:30:00 open",
            "2026-04-05T04:29:59 open", "2026-04-05T04:30:00 closed" } },
        { "a Australia/Sydney Sun 02:00-04:00",
          { "2026-04-04T14:59:59 closed", "2026-04-04T15:00:00 open", "2026-04-04T15:59:59 open", "2026-04-04T16:00:00 open",
            "2026-04-04T17:59:59 open", "2026-04-04T18:00:00 closed", "2026-10-03T15:59:59 closed", "2026-10-03T16:00:00 open",
            "2026-10-03T16:59:59 open", "2026-10-03T17:00:00 closed" } },
        /* a Friday that was left out, and the Thursday's night on the Saturday that followed is of no day that was */
        { "a Pacific/Apia \"Thu 22:00-02:00 Fri 00:00-24:00\"",
          { "2011-12-30T09:59:59 open", "2011-12-30T10:00:00 closed", "2011-12-31T00:00:00 closed",
            "2012-01-05T08:00:00 open" } },
        { "a Asia/Kathmandu Sun-Fri 10:00-17:00",
          { "2026-03-02T04:14:59 closed", "2026-03-02T04:15:00 open", "2026-03-02T11:14:59 open", "2026-03-02T11:15:00 closed",
            "2026-03-07T05:00:00 closed", "2100-06-01T04:14:59 closed", "2100-06-01T04:15:00 open",
            "2100-06-05T05:00:00 closed" } },
        { "a Pacific/Kiritimati Mon 00:00-24:00",
          { "2026-03-01T09:59:59 closed", "2026-03-01T10:00:00 open", "2026-03-02T09:59:59 open",
            "2026-03-02T10:00:00 closed" } },
        { "a Etc/GMT+5 09:00-10:00", { "2026-07-01T13:59:59 closed", "2026-07-01T14:00:00 open" } },
    };
    (void)state;
    CHECK(rows);
}

static void test_far_dates(void **state)
{
    static const row_t rows[] = {
        { "a America/New_York \"Mon-Fri 09:00-17:30\"",
          { "1969-12-31T13:59:59 closed", "1969-12-31T14:00:00 open", "1969-12-31T22:29:59 open", "1969-12-31T22:30:00 closed",
            "1960-07-04T12:59:59 closed", "1960-07-04T13:00:00 open", "1960-07-03T15:00:00 closed" } },
        { "a UTC Mon 00:00-24:00 closed=1950-01-09,2100-03-08",
          { "1950-01-01T23:59:59 closed", "1950-01-02T00:00:00 open", "1950-01-02T23:59:59 open", "1950-01-03T00:00:00 closed",
            "1950-01-09T12:00:00 holiday", "1899-12-31T23:59:59 closed", "1900-01-01T00:00:00 open", "2100-03-01T00:00:00 open",
            "2100-02-28T23:59:59 closed", "2100-03-08T00:00:00 holiday", "2399-12-27T12:00:00 open" } },
        /* 02-29 is a date of leap years, which 1900 and 2100 are not */
        { "a UTC 00:00-24:00 closed=02-29",
          { "2024-02-28T23:59:59 open", "2024-02-29T00:00:00 holiday", "2024-02-29T23:59:59 holiday", "2024-03-01T00:00:00 open",
            "2025-02-28T12:00:00 open", "2025-03-01T12:00:00 open", "2000-02-29T12:00:00 holiday", "1900-03-01T12:00:00 open",
            "2100-02-28T12:00:00 open", "2100-03-01T12:00:00 open" } },
        { "a UTC Sun 10:00-11:00 closed=2024-02-29,12-31 open=\"02-29 09:00-10:00\"",
          { "2024-02-29T09:30:00 holiday", "2028-02-29T09:30:00 open", "2028-02-29T10:00:00 closed", "2026-03-01T09:30:00 closed",
            "2026-12-31T10:00:00 holiday", "2027-01-01T00:00:00 closed" } },
    };
    (void)state;
    CHECK(rows);
}

static void test_no_zone(void **state)
{
    vapi_hours_t *hours = made("a map:regions 00:00-24:00 closed=12-25", NULL);
    vapi_zone_t *zone;

    (void)state;
    assert_null(vapi_hours_zone(hours));
    assert_string_equal(vapi_hours_zone_map(hours), "regions");
    assert_int_equal(vapi_hours_at(hours, NULL, instant("2026-03-02T12:00:00")), VAPI_HOURS_CLOSED);
    assert_int_equal(vapi_hours_at(hours, NULL, instant("2026-12-25T12:00:00")), VAPI_HOURS_CLOSED);
    assert_null(vapi_zone_load(&zone, "Pacific/Auckland", pool));
    assert_int_equal(vapi_zone_offset(zone, apr_time_sec(instant("2026-12-24T12:00:00"))), 13 * 3600);
    assert_int_equal(vapi_hours_at(hours, zone, instant("2026-12-24T10:59:59")), VAPI_HOURS_OPEN);
    assert_int_equal(vapi_hours_at(hours, zone, instant("2026-12-24T11:00:00")), VAPI_HOURS_HOLIDAY);

    hours = made("a UTC 00:00-24:00", NULL);
    assert_non_null(vapi_hours_zone(hours));
    assert_null(vapi_hours_zone_map(hours));
}

/* ---- dates ---- */

static void test_dates(void **state)
{
    static const row_t rows[] = {      /* 2026-12-25 is a Friday */
        { "a America/New_York \"Mon-Fri 09:00-17:30\" closed=2026-12-25",
          { "2026-12-25T04:59:59 closed", "2026-12-25T05:00:00 holiday", "2026-12-25T15:00:00 holiday",
            "2026-12-26T04:59:59 holiday", "2026-12-26T05:00:00 closed", "2025-12-25T15:00:00 open" } },
        { "a UTC \"Mon-Fri 09:00-17:30\" closed=12-25",
          { "2026-12-25T12:00:00 holiday", "2025-12-25T12:00:00 holiday", "1999-12-25T12:00:00 holiday",
            "2026-12-24T12:00:00 open" } },
        { "a UTC 00:00-24:00 closed=2026-12-25,12-31 \"closed= 01-01 , 2026-03-02 \" closed=12-31",
          { "2026-12-25T12:00:00 holiday", "2026-12-31T12:00:00 holiday", "2027-01-01T12:00:00 holiday",
            "2026-03-02T12:00:00 holiday", "2026-12-30T12:00:00 open", "2027-03-02T12:00:00 open" } },
        /* an open date has its own hours and none of the week's */
        { "a UTC \"Mon-Fri 09:00-17:30\" open=\"2026-12-24 10:00-12:00\"",
          { "2026-12-24T09:30:00 closed", "2026-12-24T10:00:00 open", "2026-12-24T11:59:59 open", "2026-12-24T12:00:00 closed",
            "2026-12-24T15:00:00 closed", "2025-12-24T09:30:00 open", "2026-12-23T09:30:00 open" } },
        { "a UTC \"Mon-Fri 09:00-17:30\" open=\"12-27 10:00-12:00 13:00-14:00\" open=\"12-27 16:00-17:00\"",
          { "2026-12-27T10:00:00 open", "2026-12-27T12:30:00 closed", "2026-12-27T13:30:00 open", "2026-12-27T15:00:00 closed",
            "2026-12-27T16:59:59 open", "2026-12-27T17:00:00 closed", "2022-12-27T16:30:00 open",
            "2022-12-27T09:30:00 closed" } },
        { "a UTC \"open=2026-12-27 10:00-24:00\"",
          { "2026-12-27T09:59:59 closed", "2026-12-27T10:00:00 open", "2026-12-27T23:59:59 open",
            "2026-12-28T00:00:00 closed" } },
        { "a UTC open=\"12-27 10:00-11:00\" open=\"2026-12-27 12:00-13:00\"",
          { "2026-12-27T10:30:00 open", "2026-12-27T12:30:00 open", "2025-12-27T10:30:00 open", "2025-12-27T12:30:00 closed" } },
        /* one year is closed of a day that is open every year */
        { "a UTC \"Sun 09:00-10:00\" open=\"12-24 09:00-12:00\" closed=2026-12-24",
          { "2026-12-24T10:00:00 holiday", "2025-12-24T10:00:00 open", "2027-12-24T11:59:59 open" } },
    };
    (void)state;
    CHECK(rows);
}

static void test_nights(void **state)
{
    static const row_t rows[] = {
        /* of the week, before and behind a closed date: what would go on into it ends at its midnight, its own does not begin */
        { "a UTC 22:00-06:00 closed=2026-12-25",
          { "2026-12-24T22:00:00 open", "2026-12-24T23:59:59 open", "2026-12-25T00:00:00 holiday", "2026-12-25T05:00:00 holiday",
            "2026-12-25T23:00:00 holiday", "2026-12-26T00:00:00 closed", "2026-12-26T05:59:59 closed", "2026-12-26T22:00:00 open",
            "2026-12-27T05:59:59 open" } },
        /* of the week, into an open date: the day before's */
        { "a UTC 22:00-06:00 open=\"2026-12-25 10:00-12:00\"",
          { "2026-12-25T00:00:00 open", "2026-12-25T05:59:59 open", "2026-12-25T06:00:00 closed", "2026-12-25T10:00:00 open",
            "2026-12-25T12:00:00 closed", "2026-12-25T22:00:00 closed", "2026-12-26T00:00:00 closed",
            "2026-12-26T05:59:59 closed", "2026-12-26T22:00:00 open" } },
        /* an open date's own, into a day of the week, into a closed date, and into another open date */
        { "a UTC Mon 09:00-10:00 open=\"2026-12-24 20:00-02:00\" closed=2026-12-26 open=\"12-25 21:00-03:00\"",
          { "2026-12-24T19:59:59 closed", "2026-12-24T20:00:00 open", "2026-12-25T01:59:59 open", "2026-12-25T02:00:00 closed",
            "2026-12-25T21:00:00 open", "2026-12-25T23:59:59 open", "2026-12-26T00:00:00 holiday", "2026-12-26T02:00:00 holiday",
            "2026-12-27T00:00:00 closed", "2025-12-26T00:00:00 open", "2025-12-26T02:59:59 open",
            "2025-12-26T03:00:00 closed" } },
        { "a UTC open=\"12-31 20:00-04:00\"",
          { "2026-12-31T19:59:59 closed", "2026-12-31T23:59:59 open", "2027-01-01T00:00:00 open", "2027-01-01T03:59:59 open",
            "2027-01-01T04:00:00 closed" } },
        { "a UTC \"Fri 22:00-06:00\" closed=12-25,12-26", { "2026-12-25T22:00:00 holiday", "2026-12-27T00:00:00 closed" } },
    };
    (void)state;
    CHECK(rows);
}

/* ---- the file ---- */

static void test_file(void **state)
{
    static const char *const contents[] = {
        "2026-12-25\n12-26\n",
        "2026-12-25\n12-26",
        "2026-12-25\r\n12-26\r\n",
        "12-26\r\n\r\n# 2026-12-27\r\n \t2026-12-25\r",
        "\357\273\2772026-12-25 No\xc3\xabl, the office is closed\n\n  # 2026-12-27\n#2026-12-27\n\t12-26\tBoxing # 12-27\n",
        "12-26\n12-26\n2026-12-25\n2026-12-25 again\n2020-01-01\n1999-01-01\n01-06\n11-01 \n",
    };
    static const row_t row = {
        "a UTC \"10:00-12:00\" closed=12-31 closed-file=closed.txt open=\"2026-12-26 09:00-11:00\"",
        { "2026-12-25T11:00:00 holiday", "2025-12-25T11:00:00 open", "2026-12-26T11:00:00 holiday", "2025-12-26T11:00:00 holiday",
          "2026-12-27T11:00:00 open", "2026-12-31T11:00:00 holiday" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        assert_null(vapi_hours_check_file(contents[i], strlen(contents[i]), pool));
        check_row(&row, contents[i]);
    }
    assert_null(vapi_hours_check_file("", 0, pool));
    assert_null(vapi_hours_check_file("# none\n", 7, pool));
    assert_null(vapi_hours_check_file("12-26junk", 5, pool));            /* no NUL needs to stand behind it */
}

static void test_long_file(void **state)
{
    char *content = apr_palloc(pool, 20000 * 11 + 1), *to = content;
    const vapi_hours_t *hours;
    int i, year, found = 0;

    (void)state;
    for (i = 19999; i >= 0; i--) {                                      /* each date of 60 years' months up to the 28th,
      backwards */
        year = 2000 + i / 336;
        to += sprintf(to, "%04d-%02d-%02d\n", year, i % 336 / 28 + 1, i % 28 + 1);
    }
    hours = made("a UTC 00:00-24:00 closed-file=x", content);
    for (i = 0; i < 365 * 59 + 15; i++) {
        found += vapi_hours_at(hours, vapi_hours_zone(hours), instant("2000-01-01T12:00:00") + apr_time_from_sec(86400) * i)
                 == VAPI_HOURS_HOLIDAY;
    }
    assert_int_equal(found, 336 * 59);                                  /* 59 years, 15 of them leap years */
}

static void test_bad_files(void **state)
{
    static const char *const rows[][2] = {
        { "2026-12-25\n2026-12-32\n", "line 2: '2026-12-32': the days of that month are 01 to 31" },
        { "# a\r\n\r\nChristmas 2026-12-25\r\n",
          "line 3: 'Christmas' is no date: YYYY-MM-DD, such as 2026-12-25, or MM-DD for every year" },
        { "12-25\n\n25-12", "line 3: '25-12': there is no month 25 (YYYY-MM-DD, or MM-DD for every year)" },
        { "2026-12-25,2026-12-26\n",
          "line 1: '2026-12-25,2026-12-2' is no date: YYYY-MM-DD, such as 2026-12-25, or MM-DD for every year" },
        { "2026-12-25#x\n", "line 1: '2026-12-25#x' is no date: YYYY-MM-DD, such as 2026-12-25, or MM-DD for every year" },
        { "\n2025-02-29", "line 2: '2025-02-29': the days of that month are 01 to 28" },
    };
    vapi_hours_t *hours;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(vapi_hours_check_file(rows[i][0], strlen(rows[i][0]), pool), rows[i][1]);
        assert_string_equal(make(&hours, "a UTC 09:00-10:00 closed-file=/etc/closed.txt", rows[i][0], pool),
                            apr_pstrcat(pool, "/etc/closed.txt, ", rows[i][1], NULL));
    }
    assert_string_equal(vapi_hours_check_file("12-25\n12-\0" "26\n", 13, pool), "line 2: a NUL byte: this is no file of text");
}

/* ---- what is refused ---- */

#define MEANT " is none of Mon, Tue, Wed, Thu, Fri, Sat, Sun"
#define NO_RANGE " is no range of times: HH:MM-HH:MM on a clock of 24 hours, as 09:00-17:30"
#define NO_TIMES "; days, then times, without blanks in either: Mon-Fri 09:00-17:30"
#define NO_DATE " is no date: YYYY-MM-DD, such as 2026-12-25, or MM-DD for every year"

static void test_refused(void **state)
{
    static const char *const rows[][2] = {
        { "", "a NAME, a ZONE and times are missing, such as: office America/New_York \"Mon-Fri 09:00-17:30\"" },
        { "9to5 UTC 09:00-17:00", "'9to5' is no NAME: a letter, then letters, digits, _ and -" },
        { "a", "a ZONE is missing, such as America/New_York, or map:NAME" },
        { "a map: 09:00-17:00", "'map:': map: wants the name of a VapiMap" },
        { "a map:a/b 09:00-17:00", "'map:a/b': map: wants the name of a VapiMap" },
        { "a UTC 09:00-17:00 close=12-25", "unknown key 'close'; did you mean 'closed'?" },
        { "a UTC 09:00-17:00 closed-file=a closed-file=b", "the key 'closed-file' is given twice" },
        /* no times */
        { "a UTC", "times are missing behind UTC, such as \"Mon-Fri 09:00-17:30\"" },
        { "a UTC \"\" \" \"", "times are missing behind UTC, such as \"Mon-Fri 09:00-17:30\"" },
        { "a map:zones closed=12-25", "times are missing behind map:zones, such as \"Mon-Fri 09:00-17:30\"" },
        { "a UTC Mon-Fri", "no times stand behind 'Mon-Fri'" NO_TIMES },
        { "a UTC \"Mon-Fri 09:00-17:30 Sat\"", "no times stand behind 'Sat'" NO_TIMES },
        { "a UTC \"Mon - Fri 09:00-17:30\"", "no times stand behind 'Mon'" NO_TIMES },
        { "a UTC \"Mon Tue 09:00-17:30\"", "no times stand behind 'Mon'" NO_TIMES },
        /* days */
        { "a UTC \"Mno-Fri 09:00-17:30\"", "the days 'Mno-Fri': 'Mno'" MEANT " (did you mean Mon?)" },
        { "a UTC \"Mon-Fir 09:00-17:30\"", "the days 'Mon-Fir': 'Fir'" MEANT " (did you mean Fri?)" },
        { "a UTC \"mon 09:00-17:30\"", "the days 'mon': 'mon'" MEANT " (did you mean Mon?)" },
        { "a UTC \"Tues 09:00-17:30\"", "the days 'Tues': 'Tues'" MEANT " (did you mean Tue?)" },
        { "a UTC \"daily 09:00-17:30\"", "the days 'daily': 'daily'" MEANT },
        { "a UTC \"Mon,Tue, 09:00-17:30\"", "the days 'Mon,Tue,': ''" MEANT },
        { "a UTC \"Mon,-Tue 09:00-17:30\"", "the days 'Mon,-Tue': ''" MEANT },
        { "a UTC \"Mon-Wed-Fri 09:00-17:30\"", "the days 'Mon-Wed-Fri': 'Wed-Fri'" MEANT },
        /* times */
        { "a UTC 25:00-26:00", "'25:00-26:00': there is no 25:00, a day goes from 00:00 to 24:00" },
        { "a UTC 09:00-25:00", "'09:00-25:00': there is no 25:00, a day goes from 00:00 to 24:00" },
        { "a UTC 9:60-10:00", "'9:60-10:00': there is no 09:60, a day goes from 00:00 to 24:00" },
        { "a UTC 9:00-24:01", "'9:00-24:01': there is no 24:01, a day goes from 00:00 to 24:00" },
        { "a UTC 24:00-06:00", "'24:00-06:00' begins at 24:00, which can only end a range: the day behind it begins at 00:00" },
        { "a UTC 09:00-9:00", "'09:00-9:00' ends where it begins: a whole day is 00:00-24:00" },
        { "a UTC 00:00-00:00", "'00:00-00:00' ends where it begins: a whole day is 00:00-24:00" },
        { "a UTC 24:00-24:00", "'24:00-24:00' ends where it begins: a whole day is 00:00-24:00" },
        { "a UTC 9-17", "'9-17'" NO_RANGE },
        { "a UTC 9am-5pm", "'9am-5pm'" NO_RANGE },
        { "a UTC \"09:00 - 17:00\"", "'09:00'" NO_RANGE },
        { "a UTC 09:00-", "'09:00-'" NO_RANGE },
        { "a UTC 09:00-17:00:00", "'09:00-17:00:00'" NO_RANGE },
        { "a UTC 009:00-17:00", "'009:00-17:00'" NO_RANGE },
        { "a UTC 09:0-17:00", "'09:0-17:00'" NO_RANGE },
        { "a UTC 09:00-17:00,18:00-19:00", "'09:00-17:00,18:00-19:00'" NO_RANGE },
        { "a UTC 09:00\342\200\22317:00", "'09:00\342\200\22317:00'" NO_RANGE },
        /* dates */
        { "a UTC 9:00-10:00 closed=02-30", "closed=: '02-30': the days of that month are 01 to 29" },
        { "a UTC 9:00-10:00 closed=2025-02-29", "closed=: '2025-02-29': the days of that month are 01 to 28" },
        { "a UTC 9:00-10:00 closed=2100-02-29", "closed=: '2100-02-29': the days of that month are 01 to 28" },
        { "a UTC 9:00-10:00 closed=04-31", "closed=: '04-31': the days of that month are 01 to 30" },
        { "a UTC 9:00-10:00 closed=12-00", "closed=: '12-00': the days of that month are 01 to 31" },
        { "a UTC 9:00-10:00 closed=00-10", "closed=: '00-10': there is no month 00 (YYYY-MM-DD, or MM-DD for every year)" },
        { "a UTC 9:00-10:00 closed=25-12", "closed=: '25-12': there is no month 25 (YYYY-MM-DD, or MM-DD for every year)" },
        { "a UTC 9:00-10:00 closed=2026-13-01",
          "closed=: '2026-13-01': there is no month 13 (YYYY-MM-DD, or MM-DD for every year)" },
        { "a UTC 9:00-10:00 closed=0000-12-25", "closed=: '0000-12-25': a year is 1900 or later" },
        { "a UTC 9:00-10:00 closed=12/25/2026", "closed=: '12/25/2026'" NO_DATE },
        { "a UTC 9:00-10:00 closed=2026-12-2", "closed=: '2026-12-2'" NO_DATE },
        { "a UTC 9:00-10:00 closed=", "closed=: ''" NO_DATE },
        { "a UTC 9:00-10:00 closed=12-25,", "closed=: ''" NO_DATE },
        { "a UTC 9:00-10:00 closed=12-25,,12-26", "closed=: ''" NO_DATE },
        { "a UTC 9:00-10:00 \"closed=12-25 12-26\"", "closed=: '12-25 12-26'" NO_DATE },
        { "a UTC open=", "open=: ''" NO_DATE },
        { "a UTC open=\"10:00-12:00\"", "open=: '10:00-12:00'" NO_DATE },
        { "a UTC open=12-24", "open=: the date's times are missing, such as open=\"2026-12-24 09:00-12:00\"" },
        { "a UTC open=\"12-24 Mon 10:00-12:00\"", "open=: 'Mon'" NO_RANGE },
        { "a UTC open=\"12-24 10:00-10:00\"", "open=: '10:00-10:00' ends where it begins: a whole day is 00:00-24:00" },
        { "a UTC open=\"12-24 10:00-11:00\" closed=12-24", "12-24 is both a closed and an open date" },
        { "a UTC closed=2026-12-25,2026-01-05 open=\"2026-01-05 10:00-11:00\"", "2026-01-05 is both a closed and an open date" },
        { "a UTC open=\"2026-12-24 10:00-11:00\" closed=12-24", "2026-12-24 is both a closed and an open date" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vapi_hours_t *hours;
        const char *error = make(&hours, rows[i][0], NULL, pool);

        if (!error || strcmp(error, rows[i][1]) != 0) {
            fail_msg("%s: %s", rows[i][0], error ? error : "taken");
        }
    }
}

static void test_shown(void **state)
{
    static const char *const rows[][2] = {
        { "office America/New_York Mon-Fri 09:00-17:30 closed=2026-12-25,12-26 open=\"12-24 09:00-12:00\"",
          "office America/New_York \"Mon-Fri 09:00-17:30\" closed=2026-12-25,12-26 open=\"12-24 09:00-12:00\"" },
        { "night-desk map:zones \"22:00-06:00\" \"Sat,Sun 00:00-24:00\" closed-file=conf/closed.txt",
          "night-desk map:zones \"22:00-06:00 Sat,Sun 00:00-24:00\" closed-file=conf/closed.txt" },
        { "fair UTC \"open=2026-12-24 09:00-12:00\"", "fair UTC open=\"2026-12-24 09:00-12:00\"" },
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        vapi_hours_t *hours = made(rows[i][0], "");

        assert_string_equal(vapi_hours_describe(hours, pool), rows[i][1]);
        assert_string_equal(vapi_hours_describe(made(rows[i][1], ""), pool), rows[i][1]);
        assert_memory_equal(vapi_hours_name(hours), rows[i][1], strlen(vapi_hours_name(hours)));
    }
}

/* ---- zone data ---- */

static const char *put_number(char **to, unsigned int n)
{
    *(*to)++ = (char)(n >> 24);
    *(*to)++ = (char)(n >> 16);
    *(*to)++ = (char)(n >> 8);
    *(*to)++ = (char)n;
    return *to;
}

/* A zone file as `zic -b slim` makes them: `seconds` east since 1970 and then a rule. */
static void write_zone(const char *dir, const char *name, int seconds, const char *rule)
{
    const char *path = apr_pstrcat(pool, dir, "/", name, NULL);
    char bytes[512], *to = bytes;
    FILE *file = fopen(path, "wb");
    int part, i;

    assert_non_null(file);
    for (part = 1; part <= 2; part++) {                   /* times of 4 bytes, then all again with times of 8 */
        memcpy(to, "TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        to += 20;
        for (i = 0; i < 6; i++) {
            put_number(&to, i == 3 || i == 4 ? 1 : i == 5 ? 4 : 0);      /* one change, one type, four letters */
        }
        for (i = 0; i < part; i++) {
            put_number(&to, 0);
        }
        *to++ = 0;
        put_number(&to, (unsigned int)seconds);
        memcpy(to, "\0\0XXX\0", 6);
        to += 6;
    }
    to += sprintf(to, "\n%s\n", rule);
    assert_int_equal(fwrite(bytes, 1, (size_t)(to - bytes), file), to - bytes);
    fclose(file);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    FILE *file = fopen(apr_pstrcat(pool, dir, "/", name, NULL), "wb");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char *zone_data(void)
{
    char *dir = apr_pstrdup(pool, "/tmp/hours-test-XXXXXX");

    assert_non_null(mkdtemp(dir));
    assert_int_equal(mkdir(apr_pstrcat(pool, dir, "/America", NULL), 0755), 0);
    assert_int_equal(mkdir(apr_pstrcat(pool, dir, "/Europe", NULL), 0755), 0);
    assert_int_equal(mkdir(apr_pstrcat(pool, dir, "/right", NULL), 0755), 0);
    write_zone(dir, "America/New_York", -18000, "EST5EDT,M3.2.0,M11.1.0");
    write_zone(dir, "right/UTC", 0, "UTC0");
    write_zone(dir, "EST5EDT", -18000, "EST5");           /* not what the name would be as a rule */
    write_zone(dir, "Europe/London", 0, "GMT0BST,M3.5.0/1,M10.5.0");
    write_zone(dir, "Europe/Dublin", 3600, "IST-1GMT0,M10.5.0,M3.5.0/1");
    write_text(dir, "tzdata.zi", "# version x\nR A 1916 o - Jun 14 23s 1 S\nZ America/New_York -4:56:2 - LMT 1883 N 18 17u\n"
               "-5 u E%sT 1920\nL America/New_York US/Eastern\r\nL America/New_York America/Detroit\n"
               "Z Europe/London -0:1:15 - LMT 1847\nL\nZ \nL x\n");
    write_text(dir, "leapseconds", "# a text\n");
    assert_int_equal(symlink("/etc/passwd", apr_pstrcat(pool, dir, "/outside", NULL)), 0);
    setenv("TZDIR", dir, 1);
    return dir;
}

static void end_zone_data(const char *dir)
{
    static const char *const names[] = { "America/New_York", "America", "right/UTC", "right", "Europe/London", "Europe/Dublin",
                                         "Europe", "EST5EDT", "tzdata.zi", "leapseconds", "outside", "" };
    size_t i;

    unsetenv("TZDIR");
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(remove(apr_pstrcat(pool, dir, "/", names[i], NULL)), 0);
    }
}

#define NO_ZONE " is no time zone: an IANA name is wanted, such as America/New_York or UTC"

static void test_zone_names(void **state)
{
    static const char *const rows[][2] = {
        /* another form */
        { "", "''" NO_ZONE }, { "+05:30", "'+05:30'" NO_ZONE }, { "EST5EDT,M3.2.0,M11.1.0", "'EST5EDT,M3.2.0,M11.1.0'" NO_ZONE },
        { "<-03>3", "'<-03>3'" NO_ZONE },
        { ":America/New_York", "':America/New_York'" NO_ZONE "; did you mean America/New_York?" },
        { "/usr/share/zoneinfo/UTC", "'/usr/share/zoneinfo/UTC'" NO_ZONE }, { "../../etc/passwd", "'../../etc/passwd'" NO_ZONE },
        { "America/../Europe/London", "'America/../Europe/London'" NO_ZONE "; did you mean Europe/London?" },
        { "America//New_York", "'America//New_York'" NO_ZONE "; did you mean America/New_York?" },
        { "America/", "'America/'" NO_ZONE },
        { "America/New York", "'America/New York'" NO_ZONE "; did you mean America/New_York?" },
        { "Europe/M\xc3\xbcnchen", "'Europe/M\xc3\xbcnchen'" NO_ZONE }, { ".", "'.'" NO_ZONE },
        /* no zone of this machine */
        { "+05", "there is no zone '+05'" }, { "EST5", "there is no zone 'EST5'" }, { "America", "there is no zone 'America'" },
        { "leapseconds", "there is no zone 'leapseconds'" }, { "outside", "there is no zone 'outside'" },
        { "America/NewYork", "there is no zone 'America/NewYork'; did you mean America/New_York?" },
        { "america/new_york", "there is no zone 'america/new_york'; did you mean America/New_York?" },
        { "New_York", "there is no zone 'New_York'; did you mean America/New_York?" },
        { "Europe/Londno", "there is no zone 'Europe/Londno'; did you mean Europe/London?" },
        { "London", "there is no zone 'London'; did you mean Europe/London?" },
        { "US/Eastern", "there is no zone 'US/Eastern'" },     /* listed, but not there */
        { "right/UTC", "there is no zone 'right/UTC'" },
        { "right/New_York", "there is no zone 'right/New_York'; did you mean America/New_York?" },
    };
    const char *dir = zone_data();
    vapi_hours_t *hours;
    vapi_zone_t *zone;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *error = vapi_zone_load(&zone, rows[i][0], pool);

        if (!error || strcmp(error, rows[i][1]) != 0) {
            fail_msg("%s: %s", rows[i][0], error ? error : "taken");
        }
    }
    assert_string_equal(make(&hours, "a America/NewYork 9:00-10:00", NULL, pool),
                        "there is no zone 'America/NewYork'; did you mean America/New_York?");
    assert_int_equal(remove(apr_pstrcat(pool, dir, "/tzdata.zi", NULL)), 0);
    assert_string_equal(vapi_zone_load(&zone, "America/NewYork", pool), "there is no zone 'America/NewYork'");
    write_text(dir, "tzdata.zi", "");
    end_zone_data(dir);

    setenv("TZDIR", "/nonexistent", 1);
    assert_string_equal(vapi_zone_load(&zone, "UTC", pool),
    "this machine has no data of time zones (mostly a package named tzdata)");
    unsetenv("TZDIR");
    assert_null(vapi_zone_load(&zone, "UTC", pool));
    assert_null(vapi_zone_load(&zone, "America/Argentina/Buenos_Aires", pool));
    assert_null(vapi_zone_load(&zone, "America/Port-au-Prince", pool));
    assert_null(vapi_zone_load(&zone, "Etc/GMT-14", pool));
    assert_int_equal(vapi_zone_offset(zone, 0), 14 * 3600);
}

/* Of data that holds a rule only: the rule counts, and a file before a rule of the same name. */
static void test_zone_data(void **state)
{
    apr_int64_t winter = apr_time_sec(instant("2100-01-15T12:00:00")), summer = apr_time_sec(instant("2100-07-15T12:00:00"));
    const char *dir = zone_data(), *error;
    vapi_zone_t *zone;
    apr_pool_t *p;

    (void)state;
    apr_pool_create(&p, pool);
    assert_null(vapi_zone_load(&zone, "America/New_York", p));
    assert_int_equal(vapi_zone_offset(zone, winter), -18000);
    assert_int_equal(vapi_zone_offset(zone, summer), -14400);
    assert_null(vapi_zone_load(&zone, "EST5EDT", p));
    assert_int_equal(vapi_zone_offset(zone, summer), -18000);
    assert_null(vapi_zone_load(&zone, "Europe/London", p));
    assert_int_equal(vapi_zone_offset(zone, winter), 0);
    assert_int_equal(vapi_zone_offset(zone, summer), 3600);
    /* GLib may understand Ireland's rule one day; until then no wrong clock is taken */
    error = vapi_zone_load(&zone, "Europe/Dublin", p);
    if (error) {
        assert_string_equal(error, "GLib misreads this machine's data of Europe/Dublin; Europe/London has the same clock");
    }
    else {
        assert_int_equal(vapi_zone_offset(zone, winter), 0);
    }
    /* the zone goes with its pool: data that is new is read anew */
    write_zone(dir, "EST5EDT", 32400, "XST-9");
    apr_pool_clear(p);
    assert_null(vapi_zone_load(&zone, "EST5EDT", p));
    assert_int_equal(vapi_zone_offset(zone, summer), 32400);
    apr_pool_destroy(p);
    end_zone_data(dir);
}

/* ---- against another's arithmetic ---- */

/*
 * Each row is a count of instants, step seconds apart, and a number made of all their states. The numbers are Python's:
 *
 *   h = 2166136261
 *   for i in range(n):
 *       at = (datetime(1970, 1, 1,
 tzinfo=utc) + timedelta(seconds=first + i * step)).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
 *       state = 2 if closed(at.date()) else int(any(a <= at < b for d in (at.date(), at.date() - timedelta(1)) for a,
 b in spans(d)))
 *       h = (h * 16777619 ^ state) & 0xffffffff
 *
 * with spans(d) the hours that begin on a date, as pairs of datetime. Until 2025, and zones whose past is settled.
 */
typedef struct sum_t {
    const char *line;
    apr_int64_t first, step;
    int n;
    apr_uint32_t sum;
} sum_t;

static const sum_t sums[] = {
    { "a America/New_York \"Mon-Fri 09:00-17:30 Sat 22:00-03:00\"",
      0, 43717, 40000, 0xae5094c2 },
    { "a Europe/Berlin \"Mon-Thu 08:00-12:00 13:00-17:00 Fri 08:00-13:30 Sat,Sun 22:30-06:15\""
      " closed=12-25,12-26,2020-05-01 open=\"12-24 08:00-12:00\" open=\"2022-02-05 20:00-02:00\"",
      315532800, 35829, 40000, 0x5f58e8c8 },
    { "a Australia/Lord_Howe \"00:00-02:00 23:45-00:15\"",
      473385600, 42511, 30000, 0x7cbb5edb },
    { "a Asia/Kathmandu \"Sun-Fri 10:00-17:00\" closed=02-29",
      0, 58291, 30000, 0x4bd088be },
    { "a America/Santiago \"Fri-Mon 23:00-01:00\"",
      631152000, 37251, 30000, 0xed7581e4 },
    { "a Pacific/Apia \"Fri 00:00-24:00\" closed=2011-12-31",
      1262304000, 16213, 30000, 0x2843b6d0 },
    { "a UTC \"Mon 00:00-24:00\"",
      -2208988800, 131923, 30000, 0xd242a299 },
};
#define SUMS (sizeof(sums) / sizeof(sums[0]))

static apr_uint32_t sum_of(const sum_t *row, const vapi_hours_t *hours)
{
    apr_uint32_t sum = 2166136261u;
    int i;

    for (i = 0; i < row->n; i++) {
        sum = sum * 16777619u ^ vapi_hours_at(hours, vapi_hours_zone(hours), apr_time_from_sec(row->first + i * row->step) + i);
    }
    return sum;
}

static void test_sums(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < SUMS; i++) {
        if (sum_of(&sums[i], made(sums[i].line, NULL)) != sums[i].sum) {
            fail_msg("%s: other states than Python's", sums[i].line);
        }
    }
}

#define THREADS 6

static const vapi_hours_t *shared[SUMS];

/* All threads ask the same hours, and load zones for themselves. */
static void *ask(void *start)
{
    size_t i, wrong = 0;
    vapi_zone_t *zone;
    apr_pool_t *p;

    apr_pool_create(&p, NULL);
    for (i = 0; i < SUMS; i++) {
        size_t at = (i + (size_t)(uintptr_t)start) % SUMS;

        wrong += vapi_zone_load(&zone, "America/Chicago", p) != NULL || vapi_zone_offset(zone, 1767225600) != -21600;
        wrong += sum_of(&sums[at], shared[at]) != sums[at].sum;
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return (void *)(uintptr_t)wrong;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    void *wrong;
    size_t i;

    (void)state;
    for (i = 0; i < SUMS; i++) {
        shared[i] = made(sums[i].line, NULL);
    }
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, (void *)(uintptr_t)i), 0);
    }
    for (i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_week), cmocka_unit_test(test_microseconds), cmocka_unit_test(test_summer_time),
        cmocka_unit_test(test_far_dates), cmocka_unit_test(test_no_zone), cmocka_unit_test(test_dates),
        cmocka_unit_test(test_nights),
        cmocka_unit_test(test_file), cmocka_unit_test(test_long_file), cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_shown), cmocka_unit_test(test_zone_names),
        cmocka_unit_test(test_zone_data), cmocka_unit_test(test_sums), cmocka_unit_test(test_threads),
    };
    int failed;

    cmocka_set_message_output(CM_OUTPUT_TAP);
    unsetenv("TZDIR");
    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests_name("hours", tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
