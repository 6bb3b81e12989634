/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_tls.h"

#include <string.h>

#include <apr_strings.h>

#ifdef VAPI_REDIS_TLS

#include <hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/* hiredis alone checks who signed a certificate, but not whose it is: so the session is made here. */
struct vapi_redis_tls_t {
    SSL_CTX *ctx;
    const char *host;
    int is_address;
};

const char *vapi_redis_tls_lacks(void)
{
    return NULL;
}

static apr_status_t free_ctx(void *ctx)
{
    SSL_CTX_free(ctx);
    return APR_SUCCESS;
}

static int is_address(const char *host)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(host);

    ASN1_OCTET_STRING_free(address);
    ERR_clear_error();
    return address != NULL;
}

const char *vapi_redis_tls_make(vapi_redis_tls_t **out, const vapi_redis_server_t *server, apr_pool_t *p)
{
    vapi_redis_tls_t *tls = apr_pcalloc(p, sizeof *tls);

    tls->ctx = SSL_CTX_new(TLS_client_method());
    if (!tls->ctx) {
        return "OpenSSL gives no TLS";
    }
    apr_pool_cleanup_register(p, tls->ctx, free_ctx, apr_pool_cleanup_null);
    SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
    if (server->ca ? !SSL_CTX_load_verify_locations(tls->ctx, server->ca, NULL) : !SSL_CTX_set_default_verify_paths(tls->ctx)) {
        ERR_clear_error();
        return apr_psprintf(p, "ca=%s: no certificates can be read there", server->ca ? server->ca : "");
    }
    tls->host = server->host;
    tls->is_address = is_address(server->host);
    *out = tls;
    return NULL;
}

static SSL *make_session(const vapi_redis_tls_t *tls)
{
    SSL *ssl = SSL_new(tls->ctx);
    int named;

    if (!ssl) {
        return NULL;
    }
    if (tls->is_address) {
        named = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->host);
    }
    else {
        SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        named = SSL_set1_host(ssl, tls->host) && SSL_set_tlsext_host_name(ssl, tls->host);
    }
    if (!named) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

const char *vapi_redis_tls_begin(vapi_redis_tls_t *tls, redisContext *c, char *why, size_t room)
{
    SSL *ssl = make_session(tls);
    long verdict;

    ERR_clear_error();
    if (!ssl) {
        return "OpenSSL makes no session";
    }
    if (redisInitiateSSL(c, ssl) == REDIS_OK) {
        return NULL;
    }
    verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK) {
        apr_snprintf(why, room, "its certificate is not taken: %s", X509_verify_cert_error_string(verdict));
    }
    else {
        apr_snprintf(why, room, "TLS: %s", c->errstr);
    }
    SSL_free(ssl);
    ERR_clear_error();
    return why;
}

#else

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

const char *vapi_redis_tls_lacks(void)
{
    return "this module was built against hiredis " VERSION_TEXT(HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH)
           " without TLS; hiredis 1.0 or newer with its SSL part (hiredis_ssl) is needed";
}

const char *vapi_redis_tls_make(vapi_redis_tls_t **out, const vapi_redis_server_t *server, apr_pool_t *p)
{
    (void)out;
    (void)server;
    (void)p;
    return vapi_redis_tls_lacks();
}

const char *vapi_redis_tls_begin(vapi_redis_tls_t *tls, redisContext *c, char *why, size_t room)
{
    (void)tls;
    (void)c;
    (void)why;
    (void)room;
    return vapi_redis_tls_lacks();
}

#endif
