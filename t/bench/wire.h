/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  wire.h
 * @brief A non-blocking connection, plain or TLS, as the two bench tools use it: watched edge-triggered for everything
 *        at once, so a user reads or writes until WIRE_LATER and then waits for the next event, whatever TLS wanted.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <sys/types.h>

#include <openssl/ssl.h>

#define WIRE_CLOSED  0     /* wire_read: the peer is done */
#define WIRE_LATER  (-1)   /* nothing more now */
#define WIRE_BROKEN (-2)

typedef struct wire_t {
    int fd;
    SSL *ssl;              /* NULL: plain */
} wire_t;

/** Takes over a socket: non-blocking, without Nagle, in the epoll set with `owner` as its data. The TLS role is the context's. */
void wire_open(wire_t *w, int fd, SSL_CTX *tls, int epoll, void *owner);
void wire_close(wire_t *w);

/** Both give the number of bytes moved (> 0) or one of the words above; a TLS handshake runs inside them. */
ssize_t wire_read(wire_t *w, void *buf, size_t len);
ssize_t wire_write(wire_t *w, const void *buf, size_t len);

/** Monotonic nanoseconds. */
uint64_t wire_now(void);

/** As much of it as a call's id has room for, 78 hours: load.c writes there when the webhook was begun, control.c reads it. */
#define WIRE_TIME_MASK UINT64_C(0xffffffffffff)

/** Prints "bench: ..." with the word of errno when it is set, and ends the program with status 2. */
void wire_fail(const char *what) __attribute__((noreturn));

#endif
