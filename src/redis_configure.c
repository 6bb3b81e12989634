/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* `redis[s]://[:PASSWORD@]HOST[:PORT][/DB] [user=NAME] [password=S] [ca=FILE] [prefix=vapi] [keep=86400]`. Nothing that goes
 * wrong here quotes the first word whole: a password may stand in it. */
#include "redis_node.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_config.h>

#include "redis_tls.h"

#define USUAL_PORT   6379
#define USUAL_PREFIX "vapi"
#define PREFIX_MAX     40
#define DB_MAX         65535
#define KEEP_MAX_SEC   (366 * 86400LL)

enum { KEY_USER, KEY_PASSWORD, KEY_CA, KEY_PREFIX, KEY_KEEP, KEYS };

static const char *const names[KEYS] = { "user", "password", "ca", "prefix", "keep" };

/* A whole number of digits alone, at most `max`. */
static int read_number(apr_int64_t *out, const char *text, apr_int64_t max)
{
    const char *c = text;
    apr_int64_t n = 0;

    for (; apr_isdigit(*c) && n <= max; c++) {
        n = n * 10 + (*c - '0');
    }
    *out = n;
    return *text && !*c && n <= max;
}

/* Behind the host. */
static const char *read_port_and_db(vapi_redis_server_t *server, const char *rest, apr_pool_t *p)
{
    const char *slash = strchr(rest, '/');
    apr_int64_t n;

    if (*rest == ':') {
        const char *port = slash ? apr_pstrmemdup(p, rest + 1, (apr_size_t)(slash - rest - 1)) : rest + 1;

        if (!read_number(&n, port, 65535) || n == 0) {
            return "the port must be a whole number from 1 to 65535";
        }
        server->port = (int)n;
    }
    if (slash && slash[1]) {
        if (!read_number(&n, slash + 1, DB_MAX)) {
            return apr_psprintf(p, "the database behind the / must be a whole number from 0 to %d", DB_MAX);
        }
        server->db = (int)n;
    }
    return NULL;
}

/* What a hostname or an address is made of. */
static int is_host(const char *host, int in_brackets)
{
    const char *others = in_brackets ? ":.%" : "-._";

    if (!*host) {
        return 0;
    }
    for (; *host; host++) {
        if (!apr_isalnum(*host) && !strchr(others, *host)) {
            return 0;
        }
    }
    return 1;
}

static const char *read_host(vapi_redis_server_t *server, const char *at, apr_pool_t *p)
{
    const char *close = *at == '[' ? strchr(at, ']') : NULL;
    apr_size_t len = close ? (apr_size_t)(close - at - 1) : strcspn(at, ":/");

    if (*at == '[' && (!close || (close[1] && close[1] != ':' && close[1] != '/'))) {
        return "an IPv6 address stands in brackets: [::1]";
    }
    server->host = apr_pstrmemdup(p, close ? at + 1 : at, len);
    if (!is_host(server->host, close != NULL)) {
        return "a host must stand behind redis[s]://";
    }
    return read_port_and_db(server, close ? close + 1 : at + len, p);
}

/* %XX is read as in any URL: a password may hold an @ or a / that way. */
static const char *unescape(const char **out, const char *written, apr_pool_t *p)
{
    char *to = apr_palloc(p, strlen(written) + 1);

    *out = to;
    for (; *written; written++) {
        if (*written != '%') {
            *to++ = *written;
            continue;
        }
        if (!apr_isxdigit(written[1]) || !apr_isxdigit(written[2])) {
            return "in the password of the URL a % must be written %25";
        }
        *to = (char)apr_strtoi64(apr_pstrmemdup(p, written + 1, 2), NULL, 16);
        if (!*to++) {
            return "the password of the URL holds a NUL";
        }
        written += 2;
    }
    *to = '\0';
    return NULL;
}

static const char *read_url(vapi_redis_server_t *server, const char *url, apr_pool_t *p)
{
    const char *at = strstr(url, "://"), *end, *error;

    if (!at || (strncmp(url, "redis://", 8) != 0 && strncmp(url, "rediss://", 9) != 0)) {
        return "must begin with redis:// or rediss://";
    }
    server->tls = url[5] == 's';
    at += 3;
    end = strrchr(at, '@');
    if (end) {
        if (*at != ':') {
            return "a user is given by user=, only :PASSWORD may stand before the @";
        }
        if ((error = unescape(&server->password, apr_pstrmemdup(p, at + 1, (apr_size_t)(end - at - 1)), p)) != NULL) {
            return error;
        }
        if (!*server->password) {
            return "the password before the @ is empty";
        }
        at = end + 1;
    }
    if ((error = read_host(server, at, p)) != NULL) {
        return error;
    }
    return server->tls ? vapi_redis_tls_lacks() : NULL;
}

/* The fewest letters to be put in, taken out or changed to come from one to the other. */
static int distance(const char *a, const char *b)
{
    int row[16], i, j;
    int n = (int)strlen(b) < 15 ? (int)strlen(b) : 15;

    for (j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (i = 1; a[i - 1]; i++) {
        int corner = row[0];

        row[0] = i;
        for (j = 1; j <= n; j++) {
            int best = corner + (a[i - 1] != b[j - 1]);

            corner = row[j];
            best = best < row[j] + 1 ? best : row[j] + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
        }
    }
    return row[n];
}

static int find_key(const char *name, const char **error, apr_pool_t *p)
{
    int i, nearest = 0;

    for (i = 0; i < KEYS; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
        if (distance(name, names[i]) < distance(name, names[nearest])) {
            nearest = i;
        }
    }
    *error = apr_psprintf(p, "unknown key '%.40s': redis takes user, password, ca, prefix, keep%s", name,
                          distance(name, names[nearest]) > 2 ? "" : apr_psprintf(p, " (did you mean %s?)", names[nearest]));
    return -1;
}

static const char *read_prefix(vapi_redis_config_t *config, const char *value, apr_pool_t *p)
{
    const char *c = value;

    while (apr_isalnum(*c) || (*c && strchr("-_.:", *c))) {
        c++;
    }
    if (!*value || *c || c - value > PREFIX_MAX) {
        return apr_psprintf(p, "prefix= takes 1 to %d letters, digits, and - _ . :", PREFIX_MAX);
    }
    config->prefix = value;
    return NULL;
}

static const char *read_keep(vapi_redis_config_t *config, const char *value, apr_pool_t *p)
{
    const char *unit = apr_isdigit(*value) ? "s" : NULL;

    if (!unit || ap_timeout_parameter_parse(value, &config->keep, unit) != APR_SUCCESS || config->keep < apr_time_from_sec(1)
        || config->keep > apr_time_from_sec(KEEP_MAX_SEC)) {
        return apr_psprintf(p, "keep= takes a time from 1s to 366 days, not '%.40s'", value);
    }
    return NULL;
}

static const char *take_key(vapi_redis_config_t *config, int key, const char *value, apr_pool_t *p)
{
    vapi_redis_server_t *server = &config->server;

    if (!*value) {
        return apr_psprintf(p, "%s= is empty", names[key]);
    }
    switch (key) {
    case KEY_USER:
        server->user = value;
        return NULL;
    case KEY_PASSWORD:
        if (server->password) {
            return "the password is given twice: in the URL and by password=";
        }
        server->password = value;
        return NULL;
    case KEY_CA:
        server->ca = ap_server_root_relative(p, value);
        return server->ca ? NULL : apr_psprintf(p, "ca=%s is no path", value);
    case KEY_PREFIX:
        return read_prefix(config, value, p);
    default:
        return read_keep(config, value, p);
    }
}

static const char *read_word(vapi_redis_config_t *config, unsigned *given, const char *word, apr_pool_t *p)
{
    const char *equals = strchr(word, '='), *error = NULL;
    int key;

    if (!equals) {
        return "only words of the form key=value may stand behind the URL";
    }
    key = find_key(apr_pstrmemdup(p, word, (apr_size_t)(equals - word)), &error, p);
    if (key < 0) {
        return error;
    }
    if (*given & 1u << key) {
        return apr_psprintf(p, "%s= is given twice", names[key]);
    }
    *given |= 1u << key;
    return take_key(config, key, equals + 1, p);
}

const char *vapi_redis_configure(void **out, const apr_array_header_t *words, apr_pool_t *pconf)
{
    vapi_redis_config_t *config = apr_pcalloc(pconf, sizeof *config);
    const char *error;
    unsigned given = 0;
    int i;

    config->server.port = USUAL_PORT;
    config->prefix = USUAL_PREFIX;
    config->keep = apr_time_from_sec(86400);
    error = read_url(&config->server, APR_ARRAY_IDX(words, 0, const char *), pconf);
    for (i = 1; !error && i < words->nelts; i++) {
        error = read_word(config, &given, APR_ARRAY_IDX(words, i, const char *), pconf);
    }
    if (error) {
        return error;
    }
    if (config->server.user && !config->server.password) {
        return "user= needs a password=";
    }
    if (config->server.ca && !config->server.tls) {
        return "ca= is for rediss:// alone";
    }
    *out = config;
    return NULL;
}
