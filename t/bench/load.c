/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  load.c
 * @brief The near end of the bench: Vapi, sending signed tool calls over N keep-alive connections, each at once after the last answer.
 *
 *     load --port N --path PATH --payload FILE --key SECRET [--tls] [--connections 1] [--warmup SECONDS]
 *          [--seconds S | --requests N] [--session PID] [--status 200] [--expect TEXT] [--echo-id]
 *
 * The payload holds CALL_MARK and TOOL_CALL_MARK where each request gets ids of its own, and is signed each time as VapiCredential's
 * preset=body-only wants it. A body that is equal up to the first id is hashed up to there only once: put the ids last.
 * Every reply is checked: its status, TEXT in its body and, with --echo-id, the tool call's id.
 * What is measured begins when the warm-up is over and every connection has had an answer. --session names the server (a session
 * leader): its CPU time over just that time, and its memory before the first connection and at the end under load, come from /proc.
 * Prints one line of JSON; ends with 1 when a reply was wrong, with 2 when it could not measure.
 */
#include "latency.h"
#include "usage.h"
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>

#define CALL_MARK       "@call-id@@@@@@@@@@@@@@@@@@@@@@@@@@@@"  /* 36 bytes, as a UUID */
#define TOOL_CALL_MARK  "@tool-call-id@@@@@@@@@@@@@@@@"         /* 29 bytes, "call_" and 24 more */
#define MARK_LEN        (sizeof CALL_MARK - 1)
#define TOOL_MARK_LEN   (sizeof TOOL_CALL_MARK - 1)
#define MARKS_MAX       32
#define SIGNATURE_LEN   64
#define REPLY_MAX       16384
#define SECOND          1000000000ull
#define PATIENCE        (20 * SECOND)     /* a server that answers nobody for so long hangs */
#define ERRORS_MAX      100 

typedef struct connection_t {
    wire_t wire;
    char *request;                     /* head and body as they go out; ids and signature are written over in place */
    size_t sent;
    char reply[REPLY_MAX + 1];
    size_t reply_len;
    uint64_t began;
    char tool_call[TOOL_MARK_LEN + 1];
    int met;                           /* has had an answer */
} connection_t;

static struct {
    const char *path, *payload, *key, *expect;
    int port, tls, connections, status, echo_id, session;
    double warmup, seconds;
    unsigned long requests;
} opt = { .connections = 1, .status = 200, .seconds = 5 };

static struct {
    char *text;                        /* the request of which each connection has a copy */
    size_t len, body_at, signature_at, first_mark;
    size_t call_at[MARKS_MAX], tool_call_at[MARKS_MAX];
    size_t calls, tool_calls;
    EVP_MD_CTX *inner, *outer, *work;  /* HMAC after the key and the constant part of the body; after the outer key */
} request;

static struct {
    int epoll;
    SSL_CTX *tls;
    enum { WARMING, MEASURING, DRAINING } phase;
    uint64_t began, ends, last_reply;
    unsigned long sent, measured, errors, connects;
    int in_flight, met;
    uint32_t run_id[2];
    usage_t idle, before, after;
    double own_cpu;
    uint64_t measured_ns;
    latency_t latency;
} run;

/* ---- the request ---- */

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    long size;

    if (!f || fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0 || !(text = malloc((size_t)size + 1))) {
        wire_fail(path);
    }
    rewind(f);
    *len = fread(text, 1, (size_t)size, f);
    text[*len] = '\0';
    fclose(f);
    return text;
}

static size_t find_marks(const char *mark, size_t *at)
{
    const char *found = request.text + request.body_at;
    size_t n = 0;

    while ((found = strstr(found, mark))) {
        if (n == MARKS_MAX) {
            wire_fail("too many ids in the payload");
        }
        at[n++] = (size_t)(found - request.text);
        if (at[n - 1] < request.first_mark) {
            request.first_mark = at[n - 1];
        }
        found += strlen(mark);
    }
    if (n == 0) {
        wire_fail("no place for an id in the payload");
    }
    return n;
}

static EVP_MD_CTX *hash_after_key(unsigned char pad)
{
    unsigned char block[64] = { 0 };
    size_t i, len = strlen(opt.key);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (!ctx || len > sizeof block || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        wire_fail("HMAC (a key has 64 bytes at most)");
    }
    memcpy(block, opt.key, len);
    for (i = 0; i < sizeof block; i++) {
        block[i] ^= pad;
    }
    EVP_DigestUpdate(ctx, block, sizeof block);
    return ctx;
}

static void prepare_request(void)
{
    size_t body_len;
    char *body = read_file(opt.payload, &body_len);
    size_t room = body_len + strlen(opt.path) + 512;
    int head_len;

    request.text = malloc(room);
    if (!request.text) {
        wire_fail("memory");
    }
    head_len = snprintf(request.text, room, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: axios/1.7.9\r\n"
                       "Accept: application/json, text/plain, */*\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nx-vapi-signature: %0*d\r\n\r\n",
                       opt.path, opt.port, body_len, SIGNATURE_LEN, 0);
    memcpy(request.text + head_len, body, body_len + 1);
    free(body);
    request.body_at = (size_t)head_len;
    request.signature_at = (size_t)head_len - 4 - SIGNATURE_LEN;
    request.len = (size_t)head_len + body_len;
    request.first_mark = request.len;
    request.calls = find_marks(CALL_MARK, request.call_at);
    request.tool_calls = find_marks(TOOL_CALL_MARK, request.tool_call_at);
    request.inner = hash_after_key(0x36);
    request.outer = hash_after_key(0x5c);
    request.work = EVP_MD_CTX_new();
    EVP_DigestUpdate(request.inner, request.text + request.body_at, request.first_mark - request.body_at);
}

static void sign(char *text)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[SIGNATURE_LEN / 2];
    size_t i;

    EVP_MD_CTX_copy_ex(request.work, request.inner);
    EVP_DigestUpdate(request.work, text + request.first_mark, request.len - request.first_mark);
    EVP_DigestFinal_ex(request.work, digest, NULL);
    EVP_MD_CTX_copy_ex(request.work, request.outer);
    EVP_DigestUpdate(request.work, digest, sizeof digest);
    EVP_DigestFinal_ex(request.work, digest, NULL);
    for (i = 0; i < SIGNATURE_LEN / 2; i++) {
        text[request.signature_at + 2 * i] = hex[digest[i] >> 4];
        text[request.signature_at + 2 * i + 1] = hex[digest[i] & 15];
    }
}

/** A new call with a new tool call, unlike those of any other run. The call's id ends with the time, which control.c reads, or with 0
 * where the request does not count. */
static void write_ids(connection_t *c)
{
    char call[MARK_LEN + 1];
    unsigned long n = run.sent++;
    size_t i;

    snprintf(call, sizeof call, "%08x-%04lx-4%03lx-8%03x-%012" PRIx64, run.run_id[0], n & 0xffff, n >> 16 & 0xfff,
             run.run_id[1] & 0xfff, run.phase == MEASURING ? c->began & WIRE_TIME_MASK : 0);
    snprintf(c->tool_call, sizeof c->tool_call, "call_%08x%016lx", run.run_id[0], n);
    for (i = 0; i < request.calls; i++) {
        memcpy(c->request + request.call_at[i], call, MARK_LEN);
    }
    for (i = 0; i < request.tool_calls; i++) {
        memcpy(c->request + request.tool_call_at[i], c->tool_call, TOOL_MARK_LEN);
    }
}

/* ---- one request after the other ---- */

static double own_cpu_us(void)
{
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void start_measuring(void)
{
    run.phase = MEASURING;
    run.before = usage_of_session(opt.session, 0);
    run.own_cpu = own_cpu_us();
    run.began = wire_now();
    run.ends = opt.requests ? UINT64_MAX : run.began + (uint64_t)(opt.seconds * (double)SECOND);
}

static void stop_measuring(void)
{
    run.phase = DRAINING;
    run.measured_ns = wire_now() - run.began;
    run.own_cpu = own_cpu_us() - run.own_cpu;
    run.after = usage_of_session(opt.session, 1);
}

static void connect_to_server(connection_t *c)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        wire_fail("connect to the server");
    }
    run.connects++;
    wire_open(&c->wire, fd, run.tls, run.epoll, c);
}

static void begin_request(connection_t *c)
{
    c->began = wire_now();
    write_ids(c);
    sign(c->request);
    c->sent = 0;
    c->reply_len = 0;
    run.in_flight++;
}

static void wrong_reply(connection_t *c, const char *why)
{
    if (run.errors++ == 0) {
        fprintf(stderr, "bench: wrong reply (%s): %.600s\n", why, c->reply);
    }
    if (run.errors == ERRORS_MAX) {
        errno = 0;
        wire_fail("too many wrong replies");
    }
}

/** @return 1 when the reply is whole. A chunked one is: nothing follows it, and no JSON holds the bytes that end it. */
static int reply_is_whole(connection_t *c)
{
    const char *end = strstr(c->reply, "\r\n\r\n"), *length;

    if (!end) {
        return 0;
    }
    length = strcasestr(c->reply, "\r\nContent-Length:");
    if (length && length < end) {
        return c->reply_len >= (size_t)(end + 4 - c->reply) + strtoul(length + 17, NULL, 10);
    }
    return c->reply_len >= 7 && strcmp(c->reply + c->reply_len - 7, "\r\n0\r\n\r\n") == 0;
}

static void check_reply(connection_t *c)
{
    const char *body = strstr(c->reply, "\r\n\r\n");

    if (c->reply_len < 12 || atoi(c->reply + 9) != opt.status) {
        wrong_reply(c, "status");
    }
    else if (opt.expect && !strstr(body, opt.expect)) {
        wrong_reply(c, "text");
    }
    else if (opt.echo_id && !strstr(body, c->tool_call)) {
        wrong_reply(c, "tool call id");
    }
}

/** What is said once a request has ended, well or not. @return 1 when the connection goes on with another one */
static int end_request(connection_t *c)
{
    uint64_t now = wire_now();

    run.in_flight--;
    run.met += !c->met;
    c->met = 1;
    if (run.phase == MEASURING) {
        latency_add(&run.latency, now - c->began);
        run.measured++;
        if (now >= run.ends || (opt.requests && run.measured >= opt.requests)) {
            stop_measuring();
        }
    }
    else if (run.phase == WARMING && now >= run.ends && run.met == opt.connections) {
        start_measuring();
    }
    return run.phase != DRAINING;
}

static void reconnect(connection_t *c)
{
    wire_close(&c->wire);
    connect_to_server(c);
}

static void connection_lost(connection_t *c)
{
    c->reply[c->reply_len] = '\0';
    wrong_reply(c, "connection closed before the reply was whole");
    if (end_request(c)) {
        reconnect(c);
        begin_request(c);
    }
}

static int server_closes(const connection_t *c)
{
    const char *close = strcasestr(c->reply, "\r\nConnection: close\r\n");

    return close && close < strstr(c->reply, "\r\n\r\n");
}

static ssize_t read_reply(connection_t *c)
{
    ssize_t got = c->reply_len < REPLY_MAX ? wire_read(&c->wire, c->reply + c->reply_len, REPLY_MAX - c->reply_len) : WIRE_BROKEN;

    if (got <= 0) {
        return got;
    }
    c->reply_len += (size_t)got;
    c->reply[c->reply_len] = '\0';
    if (!reply_is_whole(c)) {
        return got;
    }
    check_reply(c);
    run.last_reply = wire_now();
    if (!end_request(c)) {
        return WIRE_LATER;
    }
    if (server_closes(c)) {
        reconnect(c);
    }
    begin_request(c);
    return got;
}

/** Goes on with a connection, for one reply at most: that the next one comes is an event of its own, and the others have their turn. */
static void advance(connection_t *c)
{
    const uint64_t began = c->began;
    ssize_t moved;

    if (run.phase == DRAINING && c->reply_len && reply_is_whole(c)) {
        return;                        /* this one is done */
    }
    do {
        if (c->sent < request.len) {
            moved = wire_write(&c->wire, c->request + c->sent, request.len - c->sent);
            c->sent += moved > 0 ? (size_t)moved : 0;
        }
        else {
            moved = read_reply(c);
        }
    } while (moved > 0 && (c->began == began || c->sent < request.len));
    if (moved <= 0 && moved != WIRE_LATER) {
        connection_lost(c);
    }
}

/* ---- a run ---- */

static void open_connections(void)
{
    connection_t *c;
    int i;

    for (i = 0; i < opt.connections; i++) {
        c = calloc(1, sizeof *c);
        if (!c || !(c->request = malloc(request.len))) {
            wire_fail("memory");
        }
        memcpy(c->request, request.text, request.len);
        connect_to_server(c);
        begin_request(c);
    }
}

static void send_and_receive(void)
{
    struct epoll_event events[256];
    int i, n;

    while (run.in_flight > 0) {
        n = epoll_wait(run.epoll, events, 256, 1000);
        if (n < 0 && errno != EINTR) {
            wire_fail("epoll_wait");
        }
        for (i = 0; i < n; i++) {
            advance(events[i].data.ptr);
        }
        if (wire_now() > run.last_reply + PATIENCE) {
            errno = 0;
            wire_fail("the server does not answer any more");
        }
    }
}

static void print_result(void)
{
    double seconds = (double)run.measured_ns / (double)SECOND, n = run.measured ? (double)run.measured : 1.0;

    printf("{\"requests\":%lu,\"seconds\":%.4f,\"requests_a_second\":%.1f,\"cpu_us\":%.2f,\"cpu_user_us\":%.2f,\"p50_us\":%.1f,\"p90_us\":%.1f,"
           "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"sent\":%lu,\"errors\":%lu,\"connects\":%lu,\"body_bytes\":%zu,"
           "\"idle_pss_kb\":%lu,\"pss_kb\":%lu,\"rss_kb\":%lu,\"processes\":%d,\"load_cpu_us\":%.2f}\n",
           run.measured, seconds, (double)run.measured / seconds, (run.after.cpu_us - run.before.cpu_us) / n,
           (run.after.user_us - run.before.user_us) / n, latency_quantile(&run.latency, 0.5), latency_quantile(&run.latency, 0.9), latency_quantile(&run.latency, 0.99), latency_quantile(&run.latency, 0.999), latency_quantile(&run.latency, 1.0),
           run.sent, run.errors, run.connects, request.len - request.body_at, run.idle.pss_kb, run.after.pss_kb, run.after.rss_kb,
           run.after.processes, run.own_cpu / n);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "port", required_argument, NULL, 'p' }, { "path", required_argument, NULL, 'u' },
        { "payload", required_argument, NULL, 'b' }, { "key", required_argument, NULL, 'k' },
        { "tls", no_argument, NULL, 't' }, { "connections", required_argument, NULL, 'c' },
        { "warmup", required_argument, NULL, 'w' }, { "seconds", required_argument, NULL, 's' },
        { "requests", required_argument, NULL, 'n' }, { "session", required_argument, NULL, 'x' },
        { "status", required_argument, NULL, 'o' }, { "expect", required_argument, NULL, 'e' },
        { "echo-id", no_argument, NULL, 'i' }, { NULL, 0, NULL, 0 }
    };
    int found;

    while ((found = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (found) {
        case 'p': opt.port = atoi(optarg); break;
        case 'u': opt.path = optarg; break;
        case 'b': opt.payload = optarg; break;
        case 'k': opt.key = optarg; break;
        case 't': opt.tls = 1; break;
        case 'c': opt.connections = atoi(optarg); break;
        case 'w': opt.warmup = atof(optarg); break;
        case 's': opt.seconds = atof(optarg); break;
        case 'n': opt.requests = strtoul(optarg, NULL, 10); break;
        case 'x': opt.session = atoi(optarg); break;
        case 'o': opt.status = atoi(optarg); break;
        case 'e': opt.expect = optarg; break;
        case 'i': opt.echo_id = 1; break;
        default: exit(2);
        }
    }
    if (!opt.port || !opt.path || !opt.payload || !opt.key || opt.connections < 1) {
        wire_fail("--port, --path, --payload, --key and at least one connection are needed");
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    prepare_request();
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.tls = opt.tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    if (getrandom(run.run_id, sizeof run.run_id, 0) != sizeof run.run_id) {
        wire_fail("getrandom");
    }
    run.idle = usage_of_session(opt.session, 1);
    run.last_reply = wire_now();
    run.ends = run.last_reply + (uint64_t)(opt.warmup * (double)SECOND);
    open_connections();
    send_and_receive();
    print_result();
    return run.errors ? 1 : 0;
}
