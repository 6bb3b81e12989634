/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* Step 1 of a delivery: the raw bytes, up to the cap and inside the deadline. Whose they are is not known yet. */
#include <stddef.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_core.h>
#include <http_protocol.h>
#include <util_filter.h>

#include "vapi_body.h"
#include "vapi_clock.h"

#define READ_SIZE     65536
#define FIRST_BUFFER  8192
#define BELIEVED      262144
#define STREAM_POLL   2000    /* microseconds between two looks at a stream */

/* Only JSON in UTF-8 is read. Parameters other than charset do not matter. */
static int is_json(request_rec *r)
{
    const char *type = apr_table_get(r->headers_in, "Content-Type"), *charset;
    apr_size_t len;

    if (!type || strncasecmp(type, "application/json", 16) != 0 || (type[16] && type[16] != ';' && !apr_isspace(type[16]))) {
        return 0;
    }
    charset = ap_strcasestr(type + 16, "charset=");
    if (!charset) {
        return 1;
    }
    charset += 8;
    charset += *charset == '"';
    len = strcspn(charset, "\"; \t");
    return (len == 5 && strncasecmp(charset, "utf-8", 5) == 0) || (len == 4 && strncasecmp(charset, "utf8", 4) == 0);
}

/* A compressed body is read only through mod_deflate's input filter, under its limits; that reads gzip. */
static int is_readable_encoding(request_rec *r)
{
    const char *encoding = apr_table_get(r->headers_in, "Content-Encoding");
    ap_filter_t *filter;

    if (!encoding || strcasecmp(encoding, "identity") == 0) {
        return 1;
    }
    if (strcasecmp(encoding, "gzip") != 0 && strcasecmp(encoding, "x-gzip") != 0) {
        return 0;
    }
    for (filter = r->input_filters; filter; filter = filter->next) {
        if (strcasecmp(filter->frec->name, "DEFLATE") == 0) {
            return 1;
        }
    }
    return 0;
}

int vapi_body_is_readable(request_rec *r)
{
    return is_json(r) && is_readable_encoding(r);
}

typedef struct reading_t {
    char *bytes;
    apr_size_t len, room;
    apr_size_t announced;    /* by Content-Length, 0 if it was not; never beyond the limit */
    apr_off_t limit;
} reading_t;

/* A large announcement is believed once BELIEVED bytes of it have come; a body without one doubles its room. */
static void make_room(reading_t *reading, apr_size_t more, apr_pool_t *p)
{
    apr_size_t room = reading->room;
    char *bytes;

    if (reading->len + more <= room) {
        return;
    }
    if (reading->announced > room && reading->len + more <= reading->announced) {
        room = reading->announced;
    }
    while (room < reading->len + more) {
        room *= 2;
    }
    bytes = apr_palloc(p, room);
    memcpy(bytes, reading->bytes, reading->len);
    reading->bytes = bytes;
    reading->room = room;
}

/* Takes the data of one brigade; *done at its EOS. @return 0 or a status */
static int take(reading_t *reading, apr_bucket_brigade *bb, int *done, apr_pool_t *p)
{
    apr_bucket *b;
    const char *data;
    apr_size_t len;

    for (b = APR_BRIGADE_FIRST(bb); b != APR_BRIGADE_SENTINEL(bb); b = APR_BUCKET_NEXT(b)) {
        if (APR_BUCKET_IS_EOS(b)) {
            *done = 1;
            return 0;
        }
        if (APR_BUCKET_IS_METADATA(b)) {
            continue;
        }
        if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS) {
            return HTTP_BAD_REQUEST;
        }
        if ((apr_off_t)(reading->len + len) > reading->limit) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        make_room(reading, len, p);
        memcpy(reading->bytes + reading->len, data, len);
        reading->len += len;
    }
    return 0;
}

/* The connection's time-out for the read that follows: no longer than the request has left. */
static apr_status_t bound_read(request_rec *r, apr_time_t deadline, apr_interval_time_t usual)
{
    apr_interval_time_t left = vapi_clock_left(deadline);
    apr_socket_t *socket = r->connection->master ? NULL : ap_get_conn_socket(r->connection);

    if (left <= 0) {
        return APR_TIMEUP;
    }
    return socket ? apr_socket_timeout_set(socket, left < usual || usual < 0 ? left : usual) : APR_SUCCESS;
}

/* An HTTP/2 stream has no socket of its own to bound the wait of: it is asked again and again. APR_EAGAIN: nothing is there yet. */
static apr_status_t read_some(vapi_delivery_t *d, apr_bucket_brigade *bb)
{
    int waits = d->r->connection->master == NULL;
    apr_status_t rv =
        ap_get_brigade(d->r->input_filters, bb, AP_MODE_READBYTES, waits ? APR_BLOCK_READ : APR_NONBLOCK_READ, READ_SIZE);

    if (!waits && (APR_STATUS_IS_EAGAIN(rv) || (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(bb)))) {
        apr_sleep(STREAM_POLL);
        return APR_EAGAIN;
    }
    return rv;
}

static int read_brigades(vapi_delivery_t *d, reading_t *reading, apr_interval_time_t usual)
{
    apr_bucket_brigade *bb = apr_brigade_create(d->pool, d->r->connection->bucket_alloc);
    apr_status_t rv;
    int done = 0, status = 0;

    while (!done && !status) {
        rv = bound_read(d->r, vapi_delivery_post_time(d), usual);
        if (rv == APR_SUCCESS) {
            rv = read_some(d, bb);
        }
        if (APR_STATUS_IS_EAGAIN(rv) && d->r->connection->master) {
            continue;
        }
        if (rv != APR_SUCCESS) {
            return APR_STATUS_IS_TIMEUP(rv) ? HTTP_REQUEST_TIME_OUT : ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
        }
        status = take(reading, bb, &done, d->pool);
        apr_brigade_cleanup(bb);
    }
    return status;
}

int vapi_body_read(vapi_delivery_t *d)
{
    apr_socket_t *socket = d->r->connection->master ? NULL : ap_get_conn_socket(d->r->connection);
    const char *announced = apr_table_get(d->r->headers_in, "Content-Length");
    apr_interval_time_t usual = -1;
    reading_t reading = { NULL, 0, FIRST_BUFFER, 0, vapi_endpoint_body_limit(d->endpoint) };
    apr_off_t length = 0;
    char *end;
    int status;

    if (announced && apr_strtoff(&length, announced, &end, 10) == APR_SUCCESS && !*end) {
        if (length > reading.limit) {
            return HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        reading.announced = (apr_size_t)length;
        reading.room = length > BELIEVED ? BELIEVED : length + 1;
    }
    reading.bytes = apr_palloc(d->pool, reading.room);
    if (socket) {
        apr_socket_timeout_get(socket, &usual);
    }
    status = read_brigades(d, &reading, usual);
    if (socket) {
        apr_socket_timeout_set(socket, usual);
    }
    d->body = reading.bytes;
    d->body_len = reading.len;
    return status;
}
