/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  control.c
 * @brief The far end of both sides of the bench: Vapi's control API for the module, the backend for mod_proxy_http.
 *
 *     control [--cert FILE --key FILE] [--delay MILLISECONDS]
 *
 * Listens on a free loopback port, prints "port N", and answers every request with 200 and a small JSON once its body
 * is read and the delay has passed; keeps connections open. Prints its counts as one line of JSON at SIGUSR1 and at the
 * end (SIGTERM, SIGINT, or when the program that started it is gone).
 *
 * Of the requests to a control URL (/CALL-ID/control) it tells how long ago their webhook was begun, which load.c writes into the
 * call's id: p50_us and p99_us are of those that came since the last SIGUSR1, without the warm-up's. answer_p99_us is what the delay
 * came to: on a busy machine it is longer than it should be.
 */
#include "latency.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define HEAD_MAX  16384
#define CALL_AT   6                  /* behind "POST /" */
#define CALL_LEN  36
#define TIME_AT   (CALL_AT + 24)     /* the last twelve digits of the call's id */

static const char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"status\":\"done\"}";
static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";

typedef enum { READING_HEAD, READING_BODY, WAITING, ANSWERING } step_t;

typedef struct connection_t {
    wire_t wire;
    step_t step;
    char head[HEAD_MAX + 1];
    size_t head_len;
    size_t body_left;
    size_t sent;
    uint64_t due;                    /* when the delay is over */
    struct connection_t *next;       /* in the queue of those that wait; all wait equally long, so first in is first out */
} connection_t;

static struct {
    int epoll, listener, signals, timer;
    SSL_CTX *tls;
    uint64_t delay;
    connection_t *first, *last;      /* that wait */
    unsigned long connections, requests, open, busy, busiest;
    latency_t arrivals;              /* from the webhook's beginning to the request for its call */
    latency_t answers;               /* from a request that waits to its answer: the delay, and how late this program was */
} control;

static void print_counts(void)
{
    printf("{\"connections\":%lu,\"requests\":%lu,\"open\":%lu,\"busiest\":%lu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"answer_p99_us\":%.1f}\n",
           control.connections, control.requests, control.open, control.busiest, latency_quantile(&control.arrivals, 0.5),
           latency_quantile(&control.arrivals, 0.99), latency_quantile(&control.answers, 0.99));
    fflush(stdout);
    memset(&control.arrivals, 0, sizeof control.arrivals);
    memset(&control.answers, 0, sizeof control.answers);
}

static void drop(connection_t *c)
{
    if (c->step == ANSWERING) {
        control.busy--;
    }
    control.open--;
    wire_close(&c->wire);
    free(c);
}

static const char *header_value(const char *head, const char *name)
{
    size_t len = strlen(name);
    const char *line;

    for (line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            return line + 3 + len + strspn(line + 3 + len, " ");
        }
    }
    return NULL;
}

/** Reads the head, with what came of the body. @return what wire_read said last, or the bytes taken once the head is whole */
static ssize_t read_head(connection_t *c)
{
    ssize_t got = wire_read(&c->wire, c->head + c->head_len, HEAD_MAX - c->head_len);
    const char *end, *length;
    size_t early;

    if (got <= 0) {
        return got;
    }
    c->head_len += (size_t)got;
    c->head[c->head_len] = '\0';
    end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        return c->head_len < HEAD_MAX ? got : WIRE_BROKEN;
    }
    length = header_value(c->head, "Content-Length");
    early = c->head_len - (size_t)(end + 4 - c->head);
    c->body_left = length ? strtoul(length, NULL, 10) : 0;
    if (early > c->body_left) {
        return WIRE_BROKEN;
    }
    if (early == 0 && header_value(c->head, "Expect") && wire_write(&c->wire, go_on, sizeof go_on - 1) < 0) {
        return WIRE_BROKEN;
    }
    c->body_left -= early;
    c->step = READING_BODY;
    return got;
}

static void note_arrival(const connection_t *c)
{
    uint64_t began;

    if (c->head_len <= CALL_AT + CALL_LEN || strncmp(c->head + CALL_AT + CALL_LEN, "/control ", 9) != 0) {
        return;
    }
    began = strtoull(c->head + TIME_AT, NULL, 16);
    if (began) {
        latency_add(&control.arrivals, (wire_now() - began) & WIRE_TIME_MASK);
    }
}

static ssize_t read_body(connection_t *c)
{
    static char thrown_away[65536];
    ssize_t got = 1;

    while (c->body_left > 0) {
        got = wire_read(&c->wire, thrown_away, c->body_left < sizeof thrown_away ? c->body_left : sizeof thrown_away);
        if (got <= 0) {
            return got;
        }
        c->body_left -= (size_t)got;
    }
    control.requests++;
    note_arrival(c);
    if (++control.busy > control.busiest) {
        control.busiest = control.busy;
    }
    c->sent = 0;
    c->step = ANSWERING;
    if (control.delay) {
        c->step = WAITING;
        c->due = wire_now() + control.delay;
        c->next = NULL;
        *(control.first ? &control.last->next : &control.first) = c;
        control.last = c;
    }
    return got;
}

static ssize_t send_answer(connection_t *c)
{
    ssize_t sent = wire_write(&c->wire, answer + c->sent, sizeof answer - 1 - c->sent);

    if (sent <= 0) {
        return sent;
    }
    c->sent += (size_t)sent;
    if (c->sent == sizeof answer - 1) {
        control.busy--;
        c->head_len = 0;
        c->step = READING_HEAD;
    }
    return sent;
}

/** Goes on with a connection as far as it goes now. One that waits is left alone: the queue still points at it. */
static void advance(connection_t *c)
{
    ssize_t moved = 1;

    while (moved > 0 && c->step != WAITING) {
        moved = c->step == READING_HEAD ? read_head(c) : c->step == READING_BODY ? read_body(c) : send_answer(c);
    }
    if (moved == WIRE_CLOSED || moved == WIRE_BROKEN) {
        drop(c);
    }
}

static void accept_all(void)
{
    connection_t *c;
    int fd;

    while ((fd = accept(control.listener, NULL, NULL)) >= 0) {
        c = calloc(1, sizeof *c);
        if (!c) {
            wire_fail("memory");
        }
        control.connections++;
        control.open++;
        wire_open(&c->wire, fd, control.tls, control.epoll, c);
    }
}

/** Answers those whose delay is over, and has the timer wake us for the next: epoll's own time-out counts whole milliseconds. */
static void answer_due(void)
{
    struct itimerspec next = { 0 };
    connection_t *c;

    while ((c = control.first) && c->due <= wire_now()) {
        control.first = c->next;
        latency_add(&control.answers, wire_now() - c->due + control.delay);
        c->step = ANSWERING;
        advance(c);
    }
    if (c) {
        next.it_value.tv_sec = (time_t)(c->due / 1000000000u);
        next.it_value.tv_nsec = (long)(c->due % 1000000000u);
        timerfd_settime(control.timer, TFD_TIMER_ABSTIME, &next, NULL);
    }
}

static void take_expiry(void)
{
    uint64_t expired;

    if (read(control.timer, &expired, sizeof expired) < 0 && errno != EAGAIN) {
        wire_fail("timer");
    }
}

/** @return 0 when it is time to end */
static int take_signal(void)
{
    struct signalfd_siginfo info;

    if (read(control.signals, &info, sizeof info) != sizeof info) {
        return 1;
    }
    print_counts();
    return info.ssi_signo == SIGUSR1;
}

static void watch(int fd, int *owner)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = owner };

    if (epoll_ctl(control.epoll, EPOLL_CTL_ADD, fd, &ev) != 0) {
        wire_fail("epoll_ctl");
    }
}

static void listen_somewhere(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;

    control.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (control.listener < 0 || bind(control.listener, (struct sockaddr *)&at, sizeof at) != 0
        || listen(control.listener, 1024) != 0 || getsockname(control.listener, (struct sockaddr *)&at, &len) != 0) {
        wire_fail("listen");
    }
    watch(control.listener, &control.listener);
    printf("port %d\n", ntohs(at.sin_port));
    fflush(stdout);
}

static void take_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    control.signals = signalfd(-1, &set, SFD_CLOEXEC);
    watch(control.signals, &control.signals);
}

static void make_timer(void)
{
    control.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (control.timer < 0) {
        wire_fail("timerfd_create");
    }
    watch(control.timer, &control.timer);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "cert", required_argument, NULL, 'c' }, { "key", required_argument, NULL, 'k' },
        { "delay", required_argument, NULL, 'd' }, { NULL, 0, NULL, 0 }
    };
    const char *cert = NULL, *key = NULL;
    int found;

    while ((found = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (found) {
        case 'c': cert = optarg; break;
        case 'k': key = optarg; break;
        case 'd': control.delay = strtoul(optarg, NULL, 10) * 1000000u; break;
        default: exit(2);
        }
    }
    if (!cert) {
        return;
    }
    control.tls = SSL_CTX_new(TLS_server_method());
    if (!control.tls || SSL_CTX_use_certificate_chain_file(control.tls, cert) != 1
        || SSL_CTX_use_PrivateKey_file(control.tls, key ? key : cert, SSL_FILETYPE_PEM) != 1) {
        wire_fail("certificate or key");
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    int i, n, running = 1;

    read_options(argc, argv);
    control.epoll = epoll_create1(EPOLL_CLOEXEC);
    take_signals();
    make_timer();
    listen_somewhere();
    while (running) {
        answer_due();
        n = epoll_wait(control.epoll, events, 256, -1);
        if (n < 0 && errno != EINTR) {
            wire_fail("epoll_wait");
        }
        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == &control.listener) {
                accept_all();
            }
            else if (events[i].data.ptr == &control.signals) {
                running = take_signal();
            }
            else if (events[i].data.ptr == &control.timer) {
                take_expiry();
            }
            else {
                advance(events[i].data.ptr);
            }
        }
    }
    return 0;
}
