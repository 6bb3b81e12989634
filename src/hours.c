/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  hours.c
 * @brief Opening hours. A date is a number YYYYMMDD, or MMDD for one of every year, and a time of day is counted from its own
 *        day's midnight by the clock on the wall: minutes where they are read, seconds where they are asked.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "vapi_hours.h"

#define DAY_MINUTES (24 * 60)
#define DAY_SECONDS (DAY_MINUTES * 60)
#define EVERY_DAY   0x7f
#define FIRST_YEAR  1900

typedef struct range_t {
    apr_int64_t on;              /* of the week: a bit for each of its days, the first Monday's; of open=: the date */
    int from, to;                /* minutes; over midnight `to` is above DAY_MINUTES */
} range_t;

struct vapi_hours_t {
    const char *name;
    const char *written;         /* the directive's words */
    const vapi_zone_t *zone;
    const char *zone_map;
    apr_array_header_t *week;    /* range_t */
    apr_array_header_t *open;    /* range_t */
    apr_array_header_t *closed;  /* apr_int64_t, sorted */
};

/* ---- ranges ---- */

/* The next word of a text that blanks part, NULL when there is none. */
static const char *next_word(const char **text, apr_pool_t *p)
{
    const char *word;

    while (apr_isspace(**text)) {
        (*text)++;
    }
    word = *text;
    while (**text && !apr_isspace(**text)) {
        (*text)++;
    }
    return *text > word ? apr_pstrmemdup(p, word, (apr_size_t)(*text - word)) : NULL;
}

typedef struct clock_time_t {
    int hour, minute;
} clock_time_t;

/* Reads `H:MM` or `HH:MM`, whatever numbers they are, and leaves *s behind it. */
static int read_clock(clock_time_t *out, const char **s)
{
    const char *at = *s;

    out->hour = 0;
    while (apr_isdigit(*at) && at < *s + 2) {
        out->hour = out->hour * 10 + (*at++ - '0');
    }
    if (at == *s || at[0] != ':' || !apr_isdigit(at[1]) || !apr_isdigit(at[2])) {
        return 0;
    }
    out->minute = (at[1] - '0') * 10 + (at[2] - '0');
    *s = at + 3;
    return 1;
}

static int is_time(const clock_time_t *time)
{
    return time->minute < 60 && time->hour * 60 + time->minute <= DAY_MINUTES;
}

static const char *read_range(range_t *out, const char *word, apr_pool_t *p)
{
    clock_time_t from, to;
    const char *s = word;

    if (!read_clock(&from, &s) || *s++ != '-' || !read_clock(&to, &s) || *s) {
        return apr_psprintf(p, "'%.40s' is no range of times: HH:MM-HH:MM on a clock of 24 hours, as 09:00-17:30", word);
    }
    if (!is_time(&from) || !is_time(&to)) {
        const clock_time_t *wrong = is_time(&from) ? &to : &from;

        return apr_psprintf(p, "'%s': there is no %02d:%02d, a day goes from 00:00 to 24:00", word, wrong->hour, wrong->minute);
    }
    out->from = from.hour * 60 + from.minute;
    out->to = to.hour * 60 + to.minute;
    if (out->from == out->to) {
        return apr_psprintf(p, "'%s' ends where it begins: a whole day is 00:00-24:00", word);
    }
    if (out->from == DAY_MINUTES) {
        return apr_psprintf(p, "'%s' begins at 24:00, which can only end a range: the day behind it begins at 00:00", word);
    }
    out->to += out->to < out->from ? DAY_MINUTES : 0;
    return NULL;
}

static const char *add_range(apr_array_header_t *ranges, apr_int64_t on, const char *word, apr_pool_t *p)
{
    range_t range = { on, 0, 0 };
    const char *error = read_range(&range, word, p);

    if (!error) {
        APR_ARRAY_PUSH(ranges, range_t) = range;
    }
    return error;
}

/* `Mon` or `Mon-Fri`: sets their bits. */
static const char *add_days(apr_int64_t *days, const char *item, apr_pool_t *p)
{
    static const char *const names[] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", NULL };
    const char *dash = strchr(item, '-'), *error = NULL;
    int first, last;

    first = vapi_word_choice(dash ? apr_pstrmemdup(p, item, (apr_size_t)(dash - item)) : item, names, &error, p);
    last = dash && first >= 0 ? vapi_word_choice(dash + 1, names, &error, p) : first;
    if (error) {
        return error;
    }
    for (*days |= 1 << first; first != last; *days |= 1 << first) {
        first = (first + 1) % 7;
    }
    return NULL;
}

static const char *read_days(apr_int64_t *days, const char *word, apr_pool_t *p)
{
    const char *item = word, *error;
    apr_size_t n;

    *days = 0;
    for (;; item += n + 1) {
        n = strcspn(item, ",");
        if ((error = add_days(days, apr_pstrmemdup(p, item, n), p)) != NULL) {
            return apr_psprintf(p, "the days '%.40s': %s", word, error);
        }
        if (!item[n]) {
            return NULL;
        }
    }
}

/* Days, then their ranges; then further days, and so on. */
static const char *read_week(apr_array_header_t *week, const char *text, apr_pool_t *p)
{
    const char *word, *waiting = NULL, *error = NULL;
    apr_int64_t days = EVERY_DAY;

    while (!error && (word = next_word(&text, p)) != NULL) {
        if (apr_isdigit(*word)) {
            error = add_range(week, days, word, p);
            waiting = NULL;
        }
        else if (waiting) {
            break;
        }
        else {
            error = read_days(&days, word, p);
            waiting = word;
        }
    }
    if (!error && waiting) {
        error = apr_psprintf(p, "no times stand behind '%.40s'; days, then times, without blanks in either: Mon-Fri 09:00-17:30",
                             waiting);
    }
    return error;
}

/* ---- dates ---- */

/* Is this the shape, in which a 0 stands for any digit? */
static int has_shape(const char *s, const char *shape)
{
    for (; *shape; s++, shape++) {
        if (*shape == '0' ? !apr_isdigit(*s) : *s != *shape) {
            return 0;
        }
    }
    return *s == '\0';
}

static int is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* `2026-12-25`, or `12-25` of every year; 02-29 of every year is in those that have one. */
static const char *read_date(apr_int64_t *out, const char *word, apr_pool_t *p)
{
    static const char lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int dated = has_shape(word, "0000-00-00");
    const char *month_day = dated ? word + 5 : word;
    int year, month, day, length;

    if (!dated && !has_shape(word, "00-00")) {
        return apr_psprintf(p, "'%.20s' is no date: YYYY-MM-DD, such as 2026-12-25, or MM-DD for every year", word);
    }
    year = dated ? atoi(word) : 0;
    month = atoi(month_day);
    day = atoi(month_day + 3);
    if (dated && year < FIRST_YEAR) {
        return apr_psprintf(p, "'%s': a year is %d or later", word, FIRST_YEAR);
    }
    if (month < 1 || month > 12) {
        return apr_psprintf(p, "'%s': there is no month %02d (YYYY-MM-DD, or MM-DD for every year)", word, month);
    }
    length = lengths[month - 1] + (month == 2 && is_leap(year));
    if (day < 1 || day > length) {
        return apr_psprintf(p, "'%s': the days of that month are 01 to %d", word, length);
    }
    *out = year * 10000 + month * 100 + day;
    return NULL;
}

static const char *add_date(apr_array_header_t *closed, const char *word, apr_pool_t *p)
{
    apr_int64_t date = 0;
    const char *error = read_date(&date, word, p);

    if (!error) {
        APR_ARRAY_PUSH(closed, apr_int64_t) = date;
    }
    return error;
}

/* closed=: dates with commas, and blanks if wanted, between them. */
static const char *read_closed(apr_array_header_t *closed, const char *list, apr_pool_t *p)
{
    const char *error;
    apr_size_t n, len;

    for (;; list += n + 1) {
        list += strspn(list, " \t");
        n = len = strcspn(list, ",");
        while (len && apr_isspace(list[len - 1])) {
            len--;
        }
        if ((error = add_date(closed, apr_pstrmemdup(p, list, len), p)) != NULL) {
            return apr_pstrcat(p, "closed=: ", error, NULL);
        }
        if (!list[n]) {
            return NULL;
        }
    }
}

/* open=: a date and its ranges. */
static const char *read_open(apr_array_header_t *open, const char *value, apr_pool_t *p)
{
    const char *word = next_word(&value, p), *error;
    apr_int64_t date = 0;
    int ranges = open->nelts;

    error = read_date(&date, word ? word : "", p);
    while (!error && (word = next_word(&value, p)) != NULL) {
        error = add_range(open, date, word, p);
    }
    if (!error && open->nelts == ranges) {
        error = "the date's times are missing, such as open=\"2026-12-24 09:00-12:00\"";
    }
    return error ? apr_pstrcat(p, "open=: ", error, NULL) : NULL;
}

static int compare_dates(const void *a, const void *b)
{
    apr_int64_t x = *(const apr_int64_t *)a, y = *(const apr_int64_t *)b;

    return (x > y) - (x < y);
}

static int has_date(const apr_array_header_t *closed, apr_int64_t date)
{
    return closed->nelts && bsearch(&date, closed->elts, (size_t)closed->nelts, sizeof(date), compare_dates) != NULL;
}

static void sort_dates(apr_array_header_t *closed)
{
    if (closed->nelts) {
        qsort(closed->elts, (size_t)closed->nelts, sizeof(apr_int64_t), compare_dates);
    }
}

/* One date, or both of every year, or an open date on a day that is closed every year: it could never be open. (A day that is
 * open every year may be closed in one.) The file's dates are not held against open=: who keeps it need not know of this line. */
static const char *check_dates(const vapi_hours_t *hours, apr_pool_t *p)
{
    int i;

    for (i = 0; i < hours->open->nelts; i++) {
        apr_int64_t date = APR_ARRAY_IDX(hours->open, i, range_t).on, yearly = date % 10000;
        const char *text = date == yearly ? "" : apr_psprintf(p, "%d-", (int)(date / 10000));

        if (has_date(hours->closed, date) || has_date(hours->closed, yearly)) {
            return apr_psprintf(p, "%s%02d-%02d is both a closed and an open date", text, (int)yearly / 100, (int)yearly % 100);
        }
    }
    return NULL;
}

/* ---- the file ---- */

/* A date, blanks and a remark; `closed` has it then. */
static const char *read_line(apr_array_header_t *closed, const char *line, apr_size_t len, apr_pool_t *p)
{
    apr_size_t start = 0, end;

    if (memchr(line, '\0', len)) {
        return "a NUL byte: this is no file of text";
    }
    while (start < len && apr_isspace(line[start])) {
        start++;
    }
    if (start == len || line[start] == '#') {
        return NULL;
    }
    for (end = start; end < len && !apr_isspace(line[end]); end++) {
    }
    return add_date(closed, apr_pstrmemdup(p, line + start, end - start), p);
}

static const char *read_file(apr_array_header_t *closed, const char *content, apr_size_t len, apr_pool_t *p)
{
    const char *at = content, *end = content + len, *error;
    int line;

    if (len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) {      /* the mark that editors of Windows begin a file with */
        at += 3;
    }
    for (line = 1; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline ? newline : end;

        if ((error = read_line(closed, at, (apr_size_t)(stop - at), p)) != NULL) {
            return apr_psprintf(p, "line %d: %s", line, error);
        }
        at = newline ? newline + 1 : end;
    }
    return NULL;
}

const char *vapi_hours_check_file(const char *content, apr_size_t len, apr_pool_t *p)
{
    return read_file(apr_array_make(p, 64, sizeof(apr_int64_t)), content, len, p);
}

/* ---- the directive ---- */

static const vapi_key_rule_t rules[] = { { "closed", 1 }, { "open", 1 }, { "closed-file", 0 }, { NULL, 0 } };

static const char *read_zone_word(vapi_hours_t *hours, const char *word, apr_pool_t *p)
{
    vapi_zone_t *zone = NULL;
    const char *error;

    if (strncmp(word, "map:", 4) == 0) {
        hours->zone_map = word + 4;
        return vapi_word_is_name(hours->zone_map) ? NULL : apr_psprintf(p, "'%.40s': map: wants the name of a VapiMap", word);
    }
    error = vapi_zone_load(&zone, word, p);
    hours->zone = zone;
    return error;
}

static const char *read_keys(vapi_hours_t *hours, const vapi_words_t *words, apr_pool_t *p)
{
    const char *error = NULL;
    int i;

    for (i = 0; i < words->keys->nelts && !error; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);

        if (strcmp(key->name, "closed") == 0) {
            error = read_closed(hours->closed, key->value, p);
        }
        else if (strcmp(key->name, "open") == 0) {
            error = read_open(hours->open, key->value, p);
        }
    }
    sort_dates(hours->closed);
    return error ? error : check_dates(hours, p);
}

static const char *check_names(const vapi_words_t *words, apr_pool_t *p)
{
    const char *name = vapi_words_at(words, 0);

    if (!name) {
        return "a NAME, a ZONE and times are missing, such as: office America/New_York \"Mon-Fri 09:00-17:30\"";
    }
    if (!vapi_word_is_name(name)) {
        return apr_psprintf(p, "'%.40s' is no NAME: a letter, then letters, digits, _ and -", name);
    }
    return vapi_words_at(words, 1) ? NULL : "a ZONE is missing, such as America/New_York, or map:NAME";
}

/* The positionals behind NAME and ZONE, with blanks. */
static const char *join_ranges(const vapi_words_t *words, apr_pool_t *p)
{
    apr_array_header_t *ranges = apr_array_make(p, 4, sizeof(const char *));
    int i;

    for (i = 2; vapi_words_at(words, i); i++) {
        APR_ARRAY_PUSH(ranges, const char *) = vapi_words_at(words, i);
    }
    return apr_array_pstrcat(p, ranges, ' ');
}

const char *vapi_hours_make(vapi_hours_t **out, const vapi_words_t *words, const char *file, apr_size_t file_len, apr_pool_t *p)
{
    vapi_hours_t *hours = apr_pcalloc(p, sizeof(*hours));
    const char *ranges = join_ranges(words, p), *error;

    hours->week = apr_array_make(p, 4, sizeof(range_t));
    hours->open = apr_array_make(p, 2, sizeof(range_t));
    hours->closed = apr_array_make(p, 16, sizeof(apr_int64_t));
    if ((error = check_names(words, p)) != NULL || (error = vapi_words_check(words, rules, p)) != NULL
        || (error = read_zone_word(hours, vapi_words_at(words, 1), p)) != NULL
        || (error = read_week(hours->week, ranges, p)) != NULL || (error = read_keys(hours, words, p)) != NULL) {
        return error;
    }
    if (!hours->week->nelts && !hours->open->nelts) {
        return apr_psprintf(p, "times are missing behind %s, such as \"Mon-Fri 09:00-17:30\"", vapi_words_at(words, 1));
    }
    if (file && (error = read_file(hours->closed, file, file_len, p)) != NULL) {
        return apr_pstrcat(p, vapi_words_get(words, "closed-file"), ", ", error, NULL);
    }
    sort_dates(hours->closed);
    hours->name = vapi_words_at(words, 0);
    hours->written = apr_pstrcat(p, hours->name, " ", vapi_words_at(words, 1), *ranges ? " \"" : "", ranges, *ranges ? "\"" : "",
                                 vapi_words_describe(words, p), NULL);
    *out = hours;
    return NULL;
}

const char *vapi_hours_name(const vapi_hours_t *hours)
{
    return hours->name;
}

const vapi_zone_t *vapi_hours_zone(const vapi_hours_t *hours)
{
    return hours->zone;
}

const char *vapi_hours_zone_map(const vapi_hours_t *hours)
{
    return hours->zone_map;
}

const char *vapi_hours_describe(const vapi_hours_t *hours, apr_pool_t *p)
{
    return apr_pstrdup(p, hours->written);
}

/* ---- asking ---- */

static apr_int64_t floor_div(apr_int64_t a, apr_int64_t b)
{
    return a / b - (a % b < 0);
}

typedef struct day_t {
    apr_int64_t date;
    int weekday;                 /* 0 is Monday */
} day_t;

/* The day that is `number` days after 1970-01-01. Years are counted from March here, so that a leap day is the last of its year,
 * and in eras of 400 years, which all have 146097 days. */
static day_t day_of(apr_int64_t number)
{
    apr_int64_t since = number + 719468, era = floor_div(since, 146097);
    int in_era = (int)(since - era * 146097);
    int year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int in_year = in_era - (365 * year + year / 4 - year / 100);
    int from_march = (5 * in_year + 2) / 153;
    int month = from_march < 10 ? from_march + 3 : from_march - 9;
    day_t day;

    day.date = (era * 400 + year + (month < 3)) * 10000 + month * 100 + in_year - (153 * from_march + 2) / 5 + 1;
    day.weekday = (int)(number + 3 - floor_div(number + 3, 7) * 7);
    return day;
}

static int is_closed(const vapi_hours_t *hours, const day_t *day)
{
    return has_date(hours->closed, day->date) || has_date(hours->closed, day->date % 10000);
}

static int is_in(const range_t *range, int second)
{
    return second >= range->from * 60 && second < range->to * 60;
}

/* Do the day's own hours hold this second, counted from its midnight on into the next day? */
static int is_open(const vapi_hours_t *hours, const day_t *day, int second)
{
    int i, special = 0;

    if (is_closed(hours, day)) {
        return 0;
    }
    for (i = 0; i < hours->open->nelts; i++) {
        const range_t *range = &APR_ARRAY_IDX(hours->open, i, range_t);

        if (range->on == day->date || range->on == day->date % 10000) {
            special = 1;
            if (is_in(range, second)) {
                return 1;
            }
        }
    }
    for (i = 0; i < hours->week->nelts && !special; i++) {
        const range_t *range = &APR_ARRAY_IDX(hours->week, i, range_t);

        if ((range->on & (1 << day->weekday)) && is_in(range, second)) {
            return 1;
        }
    }
    return 0;
}

vapi_hours_state vapi_hours_at(const vapi_hours_t *hours, const vapi_zone_t *zone, apr_time_t at)
{
    apr_int64_t local, number;
    day_t today, yesterday;
    int second;

    if (!zone) {
        return VAPI_HOURS_CLOSED;
    }
    local = floor_div(at, APR_USEC_PER_SEC);
    local += vapi_zone_offset(zone, local);
    number = floor_div(local, DAY_SECONDS);
    second = (int)(local - number * DAY_SECONDS);
    today = day_of(number);
    if (is_closed(hours, &today)) {
        return VAPI_HOURS_HOLIDAY;
    }
    yesterday = day_of(number - 1);
    if (is_open(hours, &today, second) || is_open(hours, &yesterday, second + DAY_SECONDS)) {
        return VAPI_HOURS_OPEN;
    }
    return VAPI_HOURS_CLOSED;
}

const char *vapi_hours_word(vapi_hours_state state)
{
    static const char *const words[] = { "closed", "open", "holiday" };

    return words[state];
}
