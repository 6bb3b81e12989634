/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>

void wire_fail(const char *what)
{
    fprintf(stderr, "bench: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(2);
}

uint64_t wire_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void wire_open(wire_t *w, int fd, SSL_CTX *tls, int epoll, void *owner)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = owner };
    int on = 1;

    w->fd = fd;
    w->ssl = NULL;
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        wire_fail("socket options");
    }
    if (tls) {
        w->ssl = SSL_new(tls);
        if (!w->ssl || !SSL_set_fd(w->ssl, fd)) {
            wire_fail("SSL_new");
        }
        SSL_set_mode(w->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        if (SSL_is_server(w->ssl)) {
            SSL_set_accept_state(w->ssl);
        }
        else {
            SSL_set_connect_state(w->ssl);
        }
    }
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
        wire_fail("epoll_ctl");
    }
}

void wire_close(wire_t *w)
{
    SSL_free(w->ssl);
    close(w->fd);
    w->ssl = NULL;
    w->fd = -1;
}

static ssize_t tls_result(wire_t *w, int moved)
{
    if (moved > 0) {
        return moved;
    }
    switch (SSL_get_error(w->ssl, moved)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return WIRE_LATER;
    case SSL_ERROR_ZERO_RETURN:
        return WIRE_CLOSED;
    default:
        return WIRE_BROKEN;
    }
}

ssize_t wire_read(wire_t *w, void *buf, size_t len)
{
    ssize_t got;

    if (w->ssl) {
        ERR_clear_error();
        return tls_result(w, SSL_read(w->ssl, buf, (int)len));
    }
    got = recv(w->fd, buf, len, 0);
    if (got >= 0) {
        return got;
    }
    return errno == EAGAIN ? WIRE_LATER : WIRE_BROKEN;
}

ssize_t wire_write(wire_t *w, const void *buf, size_t len)
{
    ssize_t sent;

    if (w->ssl) {
        ERR_clear_error();
        return tls_result(w, SSL_write(w->ssl, buf, (int)len));
    }
    sent = send(w->fd, buf, len, MSG_NOSIGNAL);
    if (sent >= 0) {
        return sent;
    }
    return errno == EAGAIN || errno == ENOTCONN ? WIRE_LATER : WIRE_BROKEN;
}
