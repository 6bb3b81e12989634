/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * A small HTTP server on 127.0.0.1 in threads of the test program: what it does with each request is a function of the test.
 * Plain, or TLS with a certificate made on the spot.
 */
#ifndef SMALL_SERVER_H
#define SMALL_SERVER_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define SMALL_REQUEST_MAX 65536
#define SMALL_CONNECTIONS 512

typedef struct small_server_t small_server_t;

typedef struct small_connection_t {
    small_server_t *server;
    int fd;
    SSL *ssl;
    int nth;                              /* request of this connection, from 1 */
    char *body;                           /* of the request at hand */
    char request[SMALL_REQUEST_MAX];
} small_connection_t;

/* Answers one request that was read wholly; 0: close the connection. */
typedef int small_answer_t(small_connection_t *connection);

struct small_server_t {
    int listener;
    int port;
    SSL_CTX *tls;
    small_answer_t *answer;
    const char *text;                     /* for the answer function */
    pthread_t thread;
    pthread_t serving[SMALL_CONNECTIONS];
    atomic_int connections;
    atomic_int requests;                  /* read wholly */
    atomic_int stopping;
    pthread_mutex_t lock;                 /* last */
    char last[SMALL_REQUEST_MAX];         /* the request read last; for tests with one request at a time */
};

static int small_send(small_connection_t *c, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, bytes, (int)len) : send(c->fd, bytes, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return 0;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return 1;
}

static int small_say(small_connection_t *c, const char *text)
{
    return small_send(c, text, strlen(text));
}

/* One read; 0 when the peer is gone or the server stops. */
static int small_read(small_connection_t *c, char *into, size_t room)
{
    struct pollfd p = { c->fd, POLLIN, 0 };
    ssize_t n;

    while (!(c->ssl && SSL_pending(c->ssl)) && poll(&p, 1, 20) == 0) {
        if (c->server->stopping) {
            return 0;
        }
    }
    n = c->ssl ? SSL_read(c->ssl, into, (int)room) : recv(c->fd, into, room, 0);
    return n > 0 ? (int)n : 0;
}

static int small_read_request(small_connection_t *c)
{
    size_t have = 0, wanted = 0;
    char *end, *length;
    int n;

    for (;;) {
        if (have >= sizeof(c->request) - 1 || (n = small_read(c, c->request + have, sizeof(c->request) - 1 - have)) == 0) {
            return 0;
        }
        have += (size_t)n;
        c->request[have] = '\0';
        if (wanted == 0 && (end = strstr(c->request, "\r\n\r\n"))) {
            length = strstr(c->request, "Content-Length: ");
            c->body = end + 4;
            wanted = (size_t)(c->body - c->request) + (length && length < end ? strtoul(length + 16, NULL, 10) : 0);
        }
        if (wanted > 0 && have >= wanted) {
            pthread_mutex_lock(&c->server->lock);
            memcpy(c->server->last, c->request, have + 1);
            pthread_mutex_unlock(&c->server->lock);
            c->server->requests++;
            c->nth++;
            return 1;
        }
    }
}

static void *small_serve(void *data)
{
    small_connection_t *c = data;

    if (c->server->tls) {
        c->ssl = SSL_new(c->server->tls);
        SSL_set_fd(c->ssl, c->fd);
    }
    if (!c->ssl || SSL_accept(c->ssl) == 1) {
        while (small_read_request(c) && c->server->answer(c));
    }
    if (c->ssl) {
        SSL_free(c->ssl);
    }
    ERR_clear_error();
    close(c->fd);
    free(c);
    return NULL;
}

static void *small_accept(void *data)
{
    small_server_t *server = data;
    struct pollfd p = { server->listener, POLLIN, 0 };
    int i, n = 0, one = 1;

    while (!server->stopping) {
        small_connection_t *c;

        if (poll(&p, 1, 10) != 1 || n == SMALL_CONNECTIONS) {
            continue;
        }
        c = calloc(1, sizeof(*c));
        c->server = server;
        c->fd = accept(server->listener, NULL, NULL);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        server->connections++;
        pthread_create(&server->serving[n++], NULL, small_serve, c);
    }
    for (i = 0; i < n; i++) {
        pthread_join(server->serving[i], NULL);
    }
    return NULL;
}

/* A socket that listens; nobody accepts. */
static int small_listen(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);

    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 128) != 0) {
        abort();
    }
    getsockname(fd, (struct sockaddr *)&at, &len);
    *port = ntohs(at.sin_port);
    return fd;
}

static void small_start(small_server_t *server, small_answer_t *answer, const char *text, SSL_CTX *tls)
{
    memset(server, 0, sizeof(*server));
    server->listener = small_listen(&server->port);
    server->answer = answer;
    server->text = text;
    server->tls = tls;
    pthread_mutex_init(&server->lock, NULL);
    pthread_create(&server->thread, NULL, small_accept, server);
}

static void small_stop(small_server_t *server)
{
    server->stopping = 1;
    pthread_join(server->thread, NULL);
    close(server->listener);
}

/* 200 with the request's body. */
static inline int small_echo(small_connection_t *c)
{
    char head[128];

    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(c->body));
    return small_say(c, head) && small_say(c, c->body);
}

/* The server's text as it is, and the connection stays. */
static inline int small_text(small_connection_t *c)
{
    return small_say(c, c->server->text);
}

static inline int small_text_and_close(small_connection_t *c)
{
    small_say(c, c->server->text);
    return 0;
}

/* A key and a self-signed certificate for 127.0.0.1; the certificate also goes to `ca_path` for the client. */
static inline SSL_CTX *small_tls(const char *ca_path)
{
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509 *cert = X509_new();
    EVP_PKEY *key = NULL;
    FILE *file = fopen(ca_path, "w");

    if (EVP_PKEY_keygen_init(maker) != 1 || EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker, NID_X9_62_prime256v1) != 1
        || EVP_PKEY_keygen(maker, &key) != 1 || !file) {
        abort();
    }
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"small", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_add_ext(cert, names, -1);
    X509_sign(cert, key, EVP_sha256());
    PEM_write_X509(file, cert);
    fclose(file);
    SSL_CTX_use_certificate(tls, cert);
    SSL_CTX_use_PrivateKey(tls, key);
    X509_EXTENSION_free(names);
    EVP_PKEY_CTX_free(maker);
    EVP_PKEY_free(key);
    X509_free(cert);
    return tls;
}

/* A port that refuses connections: it is taken, and nobody listens there. */
static inline int take_port(int *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    getsockname(fd, (struct sockaddr *)&at, &len);
    *port = ntohs(at.sin_port);
    return fd;
}

#endif
