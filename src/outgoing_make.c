/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/*
 * Reads what a directive says is to go out. Where it goes stands fast when the configuration is read: scheme, user, host and port
 * of a URL are literal, and are taken apart here by rules stricter than any URL parser's. No message quotes a URL or the value of
 * a header: a secret may stand in it.
 */
#include <stddef.h>
#include <string.h>

#include <apr_encode.h>
#include <apr_escape.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include <httpd.h>
#include <http_config.h>

#include "outgoing.h"

#define TIMEOUT_MIN apr_time_from_msec(10)
#define TIMEOUT_MAX apr_time_from_sec(300)
#define METHOD_MAX  20

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

/* ---- which keys go with which ---- */

static const char *const kinds[] = { [VAPI_OUT_HTTP] = "url", [VAPI_OUT_SQL] = "sql", [VAPI_OUT_FILE] = "file" };

#define WITH_URL  (1u << VAPI_OUT_HTTP)
#define WITH_SQL  (1u << VAPI_OUT_SQL)
#define WITH_FILE (1u << VAPI_OUT_FILE)

static const struct {
    const char *name;
    unsigned int with;
} keys[] = {
    { "url", WITH_URL }, { "method", WITH_URL }, { "header", WITH_URL }, { "bearer", WITH_URL }, { "secret-header", WITH_URL },
    { "ca", WITH_URL }, { "proxy", WITH_URL }, { "body", WITH_URL | WITH_FILE }, { "sql", WITH_SQL }, { "arg", WITH_SQL },
    { "file", WITH_FILE }, { "timeout", WITH_URL | WITH_SQL | WITH_FILE }
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

static const char *read_kind(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    apr_size_t i = VAPI_OUT_HTTP;

    while (i <= VAPI_OUT_FILE && !vapi_words_get(words, kinds[i])) {
        i++;
    }
    if (i > VAPI_OUT_FILE) {
        return env->is_action ? "needs url=, sql= or file=" : "needs url= or sql=";
    }
    o->kind = (vapi_out_kind)i;
    for (i = 0; i < KEYS; i++) {
        if (vapi_words_get(words, keys[i].name) && !(keys[i].with & (1u << o->kind))) {
            return apr_psprintf(env->p, "%s= does not go with %s=", keys[i].name, kinds[o->kind]);
        }
    }
    return NULL;
}

/* ---- small things of HTTP ---- */

static int is_token(const char *word)
{
    const char *at = word;

    while (apr_isascii(*at) && (apr_isalnum(*at) || (*at && strchr("!#$%&'*+-.^_`|~", *at)))) {
        at++;
    }
    return at > word && !*at;
}

int vapi_outgoing_is_method(const char *word)
{
    return *word && strlen(word) <= METHOD_MAX && word[strspn(word, LETTERS)] == '\0';
}

/* Blanks only inside. */
static int is_header_value(const char *value)
{
    const char *at = value;

    while (*at >= ' ' && *at <= '~') {
        at++;
    }
    return !*at && at > value && *value != ' ' && at[-1] != ' ';
}

static int is_one_of(const char *word, const char *const *words)
{
    while (*words && strcasecmp(*words, word) != 0) {
        words++;
    }
    return *words != NULL;
}

/* Does a value under this name tell who asks? */
static int is_telling(const char *name)
{
    static const char *const names[] = { "Authorization", "Cookie", NULL }, *const ends[] = { "-key", "-token", "-secret", NULL };
    const char *end = strrchr(name, '-');

    return is_one_of(name, names) || (end && is_one_of(end, ends));
}

/* Is it written by the engine, or by who does an errand? */
static int is_ours(const char *name, int is_action)
{
    static const char *const names[] = { "Host", "Content-Length", "Transfer-Encoding", "Connection", NULL };

    return is_one_of(name, names) || (is_action && strcasecmp(name, "Idempotency-Key") == 0);
}

static int has_header(const vapi_outgoing_t *o, const char *name)
{
    int i;

    for (i = 0; i < o->headers->nelts; i++) {
        if (strcasecmp(APR_ARRAY_IDX(o->headers, i, outgoing_header_t).name, name) == 0) {
            return 1;
        }
    }
    for (i = 0; i < o->secrets->nelts; i++) {
        if (strcasecmp(APR_ARRAY_IDX(o->secrets, i, outgoing_secret_t).name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *add_secret(vapi_outgoing_t *o, const char *key, const char *name, const char *scheme, const char *value,
                              apr_pool_t *p)
{
    outgoing_secret_t *secret;

    if (has_header(o, name)) {
        return apr_psprintf(p, "%s=: the header %s is given twice", key, name);
    }
    if (!is_header_value(value)) {
        return apr_psprintf(p, "%s=: holds a character that may not stand in a header", key);
    }
    secret = apr_array_push(o->secrets);
    secret->name = name;
    secret->scheme = scheme;
    secret->value = value;
    return NULL;
}

/* ---- the URL ---- */

/* Behind what begins at `at`: a placeholder with all its braces, or a character. Where one is not closed, reading the text says
 * so. */
static const char *behind(const char *at)
{
    int depth = 0;

    if (strncmp(at, "%%{", 3) == 0) {
        return at + 3;
    }
    if (strncmp(at, "%{", 2) != 0) {
        return at + 1;
    }
    for (at++; *at; at++) {
        depth += *at == '{' ? 1 : *at == '}' ? -1 : 0;
        if (depth == 0) {
            return at + 1;
        }
    }
    return at;
}

static const char *check_literals(const char *url)
{
    for (; *url; url = behind(url)) {
        if (*url == '#') {
            return "a fragment (#...) is not sent (the character itself is written %23)";
        }
        if (*url <= ' ' || *url > '~' || strchr("\"<>\\", *url)) {
            return "holds a character that is written percent-encoded in a URL";
        }
    }
    return NULL;
}

/* Does a placeholder stand before the path? */
static int host_depends_on_call(const char *url)
{
    const char *first = strstr(url, "%{"), *host = strstr(url, "://");

    return first && (!host || first < host + 3 + strcspn(host + 3, "/?#"));
}

static int is_host_and_port(const char *host, apr_pool_t *p)
{
    apr_size_t len = strspn(host, LETTERS "abcdefghijklmnopqrstuvwxyz" DIGITS "-._");
    apr_int64_t port;

    if (*host == '[') {
        len = 1 + strspn(host + 1, DIGITS "abcdefABCDEF:.");
        len = host[len] == ']' && len > 2 ? len + 1 : 0;
    }
    if (len == 0 || (host[len] && host[len] != ':')) {
        return 0;
    }
    return !host[len] || vapi_word_number(&port, host + len + 1, 1, 65535, p) == NULL;
}

/* Takes apart what stands before the path. `user` is NULL where there is none. */
static const char *read_base(const char **base, const char **user, const char **rest, const char *url, apr_pool_t *p)
{
    apr_size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    const char *host = url + scheme, *at;

    if (!scheme) {
        return "must begin with https:// or http://";
    }
    *rest = host + strcspn(host, "/?#");
    host = apr_pstrmemdup(p, host, (apr_size_t)(*rest - host));
    at = strrchr(host, '@');
    *user = at ? apr_pstrmemdup(p, host, (apr_size_t)(at - host)) : NULL;
    host = at ? at + 1 : host;
    if (!is_host_and_port(host, p)) {
        return "has no host, or one that cannot be, or a port that is none from 1 to 65535";
    }
    *base = apr_pstrcat(p, apr_pstrmemdup(p, url, scheme), host, NULL);
    return NULL;
}

/* A user and password go out as a header, so that they stand in nothing that is filled in. */
static const char *read_user(vapi_outgoing_t *o, const char *user, vapi_outgoing_env_t *env)
{
    const char *plain = apr_punescape_url(env->ptemp, user, NULL, NULL, 0), *basic;

    if (!plain) {
        return "url=: its user and password are not percent-encoded";
    }
    plain = strchr(plain, ':') ? plain : apr_pstrcat(env->ptemp, plain, ":", NULL);
    basic = apr_pencode_base64(env->p, plain, APR_ENCODE_STRING, APR_ENCODE_NONE, NULL);
    APR_ARRAY_PUSH(env->secrets.warnings, const char *) =
        "url=: a user and password stand in the configuration itself, where -D DUMP_CONFIG and mod_info show them; "
        "secret-header= keeps them out";
    return add_secret(o, "url", "Authorization", "Basic ", basic, env->p);
}

static const char *parse(vapi_text_t **out, const char *key, const char *written, const vapi_outgoing_env_t *env)
{
    const char *error = vapi_text_parse(out, written, env->place, env->p, env->ptemp);

    return error ? apr_psprintf(env->p, "%s=: %s", key, error) : NULL;
}

static const char *read_url(vapi_outgoing_t *o, const vapi_words_t *words, vapi_outgoing_env_t *env)
{
    const char *url = vapi_words_get(words, "url"), *error, *user, *path, *query;

    if (host_depends_on_call(url)) {
        return "the host part of url= may not depend on the call";
    }
    if ((error = check_literals(url)) != NULL || (error = read_base(&o->base, &user, &path, url, env->p)) != NULL) {
        return apr_psprintf(env->p, "url=: %s", error);
    }
    for (query = path; *query && *query != '?'; query = behind(query)) {
    }
    path = query == path ? "/" : apr_pstrmemdup(env->p, path, (apr_size_t)(query - path));
    if ((error = parse(&o->path, "url", path, env)) != NULL
        || (*query && (error = parse(&o->query, "url", query, env)) != NULL)) {
        return error;
    }
    o->profile.allow_plain = o->base[4] == ':';
    o->profile.allow_private = 1;    /* the host is the administrator's */
    return user ? read_user(o, user, env) : NULL;
}

/* ---- what goes with it ---- */

/* `Name: value`, taken apart. */
static const char *split_header(const char **name, const char **value, const char *written, const char *key,
                                const vapi_outgoing_env_t *env)
{
    const char *colon = strchr(written, ':');

    *name = colon ? apr_pstrmemdup(env->p, written, (apr_size_t)(colon - written)) : "";
    *value = colon ? colon + 1 + strspn(colon + 1, " \t") : "";
    if (!is_token(*name) || !**value) {
        return apr_psprintf(env->p, "%s=: must be \"Name: value\"", key);
    }
    return is_ours(*name, env->is_action) ? apr_psprintf(env->p, "%s=: %s is written by the server itself", key, *name) : NULL;
}

static const char *read_header(vapi_outgoing_t *o, const char *written, const vapi_outgoing_env_t *env)
{
    const char *error, *literal;
    outgoing_header_t header;

    if ((error = split_header(&header.name, &literal, written, "header", env)) != NULL
        || (error = parse(&header.value, "header", literal, env)) != NULL) {
        return error;
    }
    if (is_telling(header.name) && vapi_text_is_literal(header.value, &literal)) {
        return add_secret(o, "header", header.name, "", literal, env->p);
    }
    if (has_header(o, header.name)) {
        return apr_psprintf(env->p, "header=: %s is given twice", header.name);
    }
    APR_ARRAY_PUSH(o->headers, outgoing_header_t) = header;
    return NULL;
}

static const char *read_secret_header(vapi_outgoing_t *o, const char *written, const vapi_outgoing_env_t *env)
{
    const char *name, *value, *error = split_header(&name, &value, written, "secret-header", env);

    if (!error) {
        error = vapi_secret_read(&value, value, "secret-header", &env->secrets, env->p, env->ptemp);
    }
    return error ? error : add_secret(o, "secret-header", name, "", value, env->p);
}

static const char *read_bearer(vapi_outgoing_t *o, const char *written, const vapi_outgoing_env_t *env)
{
    const char *value, *error = vapi_secret_read(&value, written, "bearer", &env->secrets, env->p, env->ptemp);

    if (error) {
        return error;
    }
    if (strchr(value, ' ')) {
        return "bearer=: holds a blank, which no token has";
    }
    return add_secret(o, "bearer", "Authorization", "Bearer ", value, env->p);
}

/* Those of all keys that make headers, in their order. */
static const char *read_headers(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *error = NULL;
    int i;

    for (i = 0; i < words->keys->nelts && !error; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        if (strcmp(key->name, "header") == 0) {
            error = read_header(o, key->value, env);
        }
        else if (strcmp(key->name, "secret-header") == 0) {
            error = read_secret_header(o, key->value, env);
        }
        else if (strcmp(key->name, "bearer") == 0) {
            error = read_bearer(o, key->value, env);
        }
    }
    if (!error && o->secrets->nelts && o->profile.allow_plain) {
        APR_ARRAY_PUSH(env->secrets.warnings, const char *) = "url=: is http://: a secret is sent in the clear";
    }
    return error;
}

static const char *read_body(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "body"), *file, *error;

    if (!written) {
        return NULL;
    }
    file = ap_server_root_relative(env->p, written);
    error = file ? vapi_template_read(&o->body, file, env->place, env->p, env->ptemp) : "is no path";
    return error ? apr_psprintf(env->p, "body=: %s", error) : NULL;
}

static const char *read_method(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "method");

    o->method = written ? written : env->is_action || o->body ? "POST" : "GET";
    if (!vapi_outgoing_is_method(o->method)) {
        return "method=: must be an HTTP method, in capitals";
    }
    if (!env->is_action && strcmp(o->method, "HEAD") == 0) {
        return "method=HEAD: its answer holds nothing that could be looked up";
    }
    if (o->body && (strcmp(o->method, "GET") == 0 || strcmp(o->method, "HEAD") == 0)) {
        return apr_psprintf(env->p, "body= does not go with method=%s", o->method);
    }
    return NULL;
}

static const char *read_ca(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "ca");
    apr_status_t rv = APR_EBADPATH;
    apr_file_t *file;
    char text[120];

    if (!written) {
        return NULL;
    }
    o->profile.ca_file = ap_server_root_relative(env->p, written);
    if (o->profile.ca_file) {
        rv = apr_file_open(&file, o->profile.ca_file, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, env->ptemp);
    }
    if (rv != APR_SUCCESS) {
        return apr_psprintf(env->p, "ca=: cannot read %s: %s", written, apr_strerror(rv, text, sizeof(text)));
    }
    apr_file_close(file);
    return NULL;
}

static const char *read_proxy(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "proxy"), *base, *user, *rest;

    if (!written) {
        return NULL;
    }
    o->profile.proxy = written;
    if (read_base(&base, &user, &rest, written, env->p) || user || (*rest && strcmp(rest, "/") != 0)) {
        return "proxy=: must be http://HOST:PORT or https://HOST:PORT, without a user and password";
    }
    return NULL;
}

static const char *read_http(vapi_outgoing_t *o, const vapi_words_t *words, vapi_outgoing_env_t *env)
{
    const char *error;

    o->headers = apr_array_make(env->p, 2, sizeof(outgoing_header_t));
    o->secrets = apr_array_make(env->p, 2, sizeof(outgoing_secret_t));
    if ((error = read_url(o, words, env)) != NULL || (error = read_headers(o, words, env)) != NULL
        || (error = read_body(o, words, env)) != NULL || (error = read_method(o, words, env)) != NULL
        || (error = read_ca(o, words, env)) != NULL) {
        return error;
    }
    return read_proxy(o, words, env);
}

/* ---- a statement, a file ---- */

static const char *read_sql(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *error;
    int i;

    o->args = apr_array_make(env->p, 4, sizeof(vapi_text_t *));
    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        if (strcmp(key->name, "arg") == 0 && (error = parse(apr_array_push(o->args), "arg", key->value, env)) != NULL) {
            return error;
        }
    }
    error = vapi_sql_make(&o->sql, env->server, env->label, vapi_words_get(words, "sql"), o->args->nelts, env->p);
    return error ? apr_psprintf(env->p, "sql=: %s", error) : NULL;
}

static const char *read_file(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "file"), *directory, *slash;
    apr_finfo_t info;

    o->file = apr_pcalloc(env->p, sizeof(*o->file));
    o->file->fd = -1;
    o->file->path = *written ? ap_server_root_relative(env->p, written) : NULL;
    slash = o->file->path ? strrchr(o->file->path, '/') : NULL;
    if (!slash) {
        return "file=: is no path";
    }
    if (apr_stat(&info, o->file->path, APR_FINFO_TYPE, env->ptemp) == APR_SUCCESS) {
        return info.filetype == APR_DIR ? apr_psprintf(env->p, "file=: %s is a directory", written) : NULL;
    }
    directory = slash > o->file->path ? apr_pstrmemdup(env->ptemp, o->file->path, (apr_size_t)(slash - o->file->path)) : "/";
    if (apr_stat(&info, directory, APR_FINFO_TYPE, env->ptemp) != APR_SUCCESS || info.filetype != APR_DIR) {
        return apr_psprintf(env->p, "file=: there is no directory %s", directory);
    }
    return NULL;
}

/* ---- dumps ---- */

/* The URL without its user and password. */
static const char *shown_url(const char *url, apr_pool_t *p)
{
    const char *host = strstr(url, "://") + 3, *end = host + strcspn(host, "/?#"), *at;

    for (at = end; at > host && at[-1] != '@'; at--) {
    }
    return at > host ? apr_pstrcat(p, apr_pstrmemdup(p, url, (apr_size_t)(host - url)), "set@", at, NULL) : url;
}

static const char *shown(const vapi_key_t *key, apr_pool_t *p)
{
    const char *name = apr_pstrmemdup(p, key->value, strcspn(key->value, ":"));

    if (strcmp(key->name, "bearer") == 0) {
        return "set";
    }
    if (strcmp(key->name, "url") == 0) {
        return shown_url(key->value, p);
    }
    if (strcmp(key->name, "secret-header") == 0 || (strcmp(key->name, "header") == 0 && is_telling(name))) {
        return apr_pstrcat(p, name, ": set", NULL);
    }
    return key->value;
}

static int is_key(const char *name)
{
    apr_size_t i;

    for (i = 0; i < KEYS && strcmp(keys[i].name, name) != 0; i++) {
    }
    return i < KEYS;
}

static const char *describe(const vapi_outgoing_t *o, const vapi_words_t *words, apr_pool_t *p)
{
    const char *text = "";
    int i;

    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);
        if (is_key(key->name)) {
            text = apr_pstrcat(p, text, vapi_word_pair(key->name, shown(key, p), p), NULL);
        }
    }
    return o->method && !vapi_words_get(words, "method") ? apr_pstrcat(p, text, " method=", o->method, NULL) : text;
}

/* ---- all of it ---- */

static const char *read_timeout(vapi_outgoing_t *o, const vapi_words_t *words, const vapi_outgoing_env_t *env)
{
    const char *written = vapi_words_get(words, "timeout"), *error;

    o->timeout = env->timeout;
    error = written ? vapi_word_time(&o->timeout, written, TIMEOUT_MIN, TIMEOUT_MAX, env->p) : NULL;
    return error ? apr_psprintf(env->p, "timeout=%s: must be %s", written, error) : NULL;
}

const char *vapi_outgoing_make(vapi_outgoing_t **out, const vapi_words_t *words, vapi_outgoing_env_t *env)
{
    vapi_outgoing_t *o = apr_pcalloc(env->p, sizeof(*o));
    const char *error;

    o->is_action = env->is_action;
    if ((error = read_kind(o, words, env)) != NULL || (error = read_timeout(o, words, env)) != NULL) {
        return error;
    }
    if (o->kind == VAPI_OUT_HTTP) {
        error = read_http(o, words, env);
    }
    else if (o->kind == VAPI_OUT_SQL) {
        error = read_sql(o, words, env);
    }
    else if ((error = read_file(o, words, env)) == NULL) {
        error = read_body(o, words, env);
    }
    o->described = error ? "" : describe(o, words, env->p);
    *out = o;
    return error;
}
