/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/* The provider "shm": `VapiState shm[:SIZE] [file=PATH|none] [keep=86400]`. The store outlives graceful restarts in this process,
 * and any others in its file. */
#include "vapi_state.h"

#include <errno.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <ap_provider.h>
#include <http_config.h>
#include <http_log.h>

#include "vapi_state_table.h"
#include "vapi_word.h"

extern module AP_MODULE_DECLARE_DATA vapi_transfer_module;
APLOG_USE_MODULE(vapi_transfer);

#define DEFAULT_FILE "vapi_transfer.state"
#define KEEP_DEFAULT apr_time_from_sec(86400)
#define KEEP_MIN     apr_time_from_sec(1)
#define KEEP_MAX     apr_time_from_sec(366 * 86400LL)
#define LOCK_WAIT    apr_time_from_sec(2)

/* The layout is part of the key: another version of the module must not find what it cannot read. */
#define RETAINED_KEY "vapi_transfer-state-" APR_STRINGIFY(VAPI_STATE_LAYOUT)

typedef struct shm_config_t {
    apr_size_t size;
    const char *file;              /* as written; NULL: memory only */
    int file_given;
    apr_interval_time_t keep;
} shm_config_t;

typedef struct shm_state_t {
    vapi_state_t st;
    vapi_state_table_t *table;
} shm_state_t;

/* Lives as long as the parent, and may be read by the module after it was loaded anew: nothing in it points into the module. */
typedef struct retained_t {
    vapi_state_mapping_t mapping;  /* base NULL: not open yet */
    char *path;                    /* what was asked for, also when it could not be had; in the process's pool */
    apr_size_t size;
} retained_t;

static const char size_help[] = "takes bytes, or a number with K, M or G, from 1M to 64G";

static const char *read_size(apr_size_t *out, const char *text)
{
    static const char units[] = "KMG";
    const char *unit;
    char *end;
    apr_int64_t size;
    int shift = 0;

    if (!apr_isdigit(*text)) {
        return size_help;
    }
    size = apr_strtoi64(text, &end, 10);
    unit = *end ? strchr(units, apr_toupper(*end)) : NULL;
    if (unit) {
        shift = 10 * (int)(unit - units + 1);
        end++;
    }
    if (*end || size < 0 || size > VAPI_STATE_SIZE_MAX >> shift || size << shift < VAPI_STATE_SIZE_MIN) {
        return size_help;
    }
    *out = (apr_size_t)(size << shift);
    return NULL;
}

static shm_config_t *make_defaults(apr_pool_t *p)
{
    shm_config_t *config = apr_palloc(p, sizeof *config);

    config->size = VAPI_STATE_SIZE_DEFAULT;
    config->file = DEFAULT_FILE;
    config->file_given = 0;
    config->keep = KEEP_DEFAULT;
    return config;
}

static const char *read_key(shm_config_t *config, unsigned *given, const char *word, apr_pool_t *p)
{
    static const char *const names[] = { "file", "keep", NULL };
    const char *value = strchr(word, '=') + 1;
    const char *error = NULL;
    int key = vapi_word_choice(apr_pstrmemdup(p, word, (apr_size_t)(value - 1 - word)), names, &error, p);

    if (key < 0) {
        return apr_pstrcat(p, "unknown key: ", error, NULL);
    }
    if (*given & 1u << key) {
        return apr_psprintf(p, "%s= is given twice", names[key]);
    }
    *given |= 1u << key;
    if (key == 0) {
        config->file = strcmp(value, "none") == 0 ? NULL : value;
        config->file_given = 1;
        return *value ? NULL : "file= takes a path, or none";
    }
    error = vapi_word_time(&config->keep, value, KEEP_MIN, KEEP_MAX, p);
    return error ? apr_psprintf(p, "keep= takes %s, not '%s'", error, value) : NULL;
}

static const char *shm_configure(void **out, const apr_array_header_t *words, apr_pool_t *pconf)
{
    shm_config_t *config = make_defaults(pconf);
    const char *first = APR_ARRAY_IDX(words, 0, const char *);
    const char *error = first[3] == ':' ? read_size(&config->size, first + 4) : NULL;
    unsigned given = 0;
    int i;

    if (error) {
        return apr_psprintf(pconf, "'%.40s': shm:SIZE %s", first, error);
    }
    for (i = 1; !error && i < words->nelts; i++) {
        const char *word = APR_ARRAY_IDX(words, i, const char *);

        error = strchr(word, '=') ? read_key(config, &given, word, pconf)
                                  : apr_psprintf(pconf, "'%s' is not expected behind '%s'", word, first);
    }
    *out = config;
    return error;
}

static const char *file_label(const char *path)
{
    return path ? path : "memory only (file=none)";
}

static void log_notes(const apr_array_header_t *notes, const char *path, server_rec *s)
{
    static const int levels[] = { APLOG_INFO, APLOG_WARNING, APLOG_ERR };
    int i;

    for (i = 0; i < notes->nelts; i++) {
        const vapi_state_note_t *n = &APR_ARRAY_IDX(notes, i, vapi_state_note_t);

        ap_log_error(APLOG_MARK, levels[n->level], n->rv, s, "VapiState: state file %s: %s", file_label(path), n->text);
    }
}

static int is_same_path(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A restart in the same parent: old children still work in the mapping, so it stays whatever the configuration now says. */
static apr_status_t open_again(vapi_state_table_t **out, const retained_t *retained, const char *path, apr_size_t size, server_rec *s,
                               apr_pool_t *pconf)
{
    if (!is_same_path(path, retained->path) || size != retained->size) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "VapiState: another file or size takes effect when the server is stopped and started; "
                     "until then it is %s with %" APR_SIZE_T_FMT " bytes",
                     file_label(retained->path), retained->size);
    }
    if (retained->path && retained->mapping.fd < 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "VapiState: state file %s could not be had at the start: the store is still in memory only", retained->path);
    }
    return vapi_state_table_attach(out, &retained->mapping, pconf);
}

/* A file that nobody named need not be there: a server without its usual directory still transfers calls. One that was named
 * must; and who put a link in its place may not choose what is forgotten. */
static apr_status_t open_first(vapi_state_table_t **out, retained_t *retained, const char *path, int given, apr_size_t size,
                               server_rec *s, apr_pool_t *pconf)
{
    vapi_state_open_t how = { path, size, LOCK_WAIT };
    apr_array_header_t *notes = apr_array_make(pconf, 2, sizeof(vapi_state_note_t));
    apr_status_t rv = vapi_state_table_open(out, &how, notes, pconf);

    log_notes(notes, path, s);
    if (rv != APR_SUCCESS && rv != ELOOP && path && !given) {
        how.path = NULL;
        rv = vapi_state_table_open(out, &how, notes, pconf);
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "VapiState: without its file the store is in memory only, and forgets what was transferred when the "
                     "server is stopped: make DefaultRuntimeDir, or name a file (VapiState shm file=PATH)");
    }
    if (rv == APR_SUCCESS) {
        retained->mapping = *vapi_state_table_mapping(*out);
        retained->path = path ? apr_pstrdup(s->process->pool, path) : NULL;
        retained->size = size;
    }
    return rv;
}

static const vapi_state_provider_t shm_provider;

static apr_status_t shm_open(vapi_state_t **out, void *config, server_rec *s, apr_pool_t *pconf)
{
    const shm_config_t *c = config ? config : make_defaults(pconf);
    const char *path = c->file ? ap_runtime_dir_relative(pconf, c->file) : NULL;
    retained_t *retained = ap_retained_data_get(RETAINED_KEY);
    shm_state_t *state = apr_pcalloc(pconf, sizeof *state);
    apr_status_t rv;

    if (!retained) {
        retained = ap_retained_data_create(RETAINED_KEY, sizeof *retained);
    }
    state->st.provider = &shm_provider;
    state->st.keep = c->keep;
    if (retained->mapping.base) {
        rv = open_again(&state->table, retained, path, c->size, s, pconf);
    }
    else {
        rv = open_first(&state->table, retained, path, c->file_given, c->size, s, pconf);
    }
    *out = &state->st;
    return rv;
}

static vapi_state_table_t *table_of(vapi_state_t *st)
{
    return ((shm_state_t *)st)->table;
}

static apr_status_t shm_claim(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t fingerprint,
                              apr_interval_time_t work, vapi_claim_t *out, apr_pool_t *p)
{
    return vapi_state_table_claim(table_of(st), key, key_len, fingerprint, work, out, p);
}

static apr_status_t shm_commit(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token,
                               const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    return vapi_state_table_commit(table_of(st), key, key_len, token, reply, reply_len, keep);
}

static apr_status_t shm_settle(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token,
                               const char *reply, apr_size_t reply_len, apr_interval_time_t keep)
{
    return vapi_state_table_settle(table_of(st), key, key_len, token, reply, reply_len, keep);
}

static apr_status_t shm_recall(vapi_state_t *st, const char *key, apr_size_t key_len, vapi_claim_t *out, apr_pool_t *p)
{
    return vapi_state_table_recall(table_of(st), key, key_len, out, p);
}

static apr_status_t shm_abandon(vapi_state_t *st, const char *key, apr_size_t key_len, apr_uint64_t token)
{
    return vapi_state_table_abandon(table_of(st), key, key_len, token);
}

static apr_status_t shm_count(vapi_state_t *st, const char *key, apr_size_t key_len, int delta, int limit,
                              apr_interval_time_t window, int restart_window, int *value)
{
    return vapi_state_table_count(table_of(st), key, key_len, delta, limit, window, restart_window, value);
}

static apr_status_t shm_put(vapi_state_t *st, const char *key, apr_size_t key_len, const char *value, apr_size_t value_len,
                            apr_interval_time_t keep)
{
    return vapi_state_table_put(table_of(st), key, key_len, value, value_len, keep);
}

static apr_status_t shm_get(vapi_state_t *st, const char *key, apr_size_t key_len, const char **value, apr_size_t *value_len,
                            apr_pool_t *p)
{
    return vapi_state_table_get(table_of(st), key, key_len, value, value_len, p);
}

static apr_status_t shm_note(vapi_state_t *st, const char *key, apr_size_t key_len, const char *field, const char *was,
                             const char *value, apr_interval_time_t keep)
{
    return vapi_state_table_note(table_of(st), key, key_len, field, was, value, keep);
}

static apr_status_t shm_notes(vapi_state_t *st, const char *key, apr_size_t key_len, apr_array_header_t **out, apr_pool_t *p)
{
    return vapi_state_table_notes(table_of(st), key, key_len, out, p);
}

static apr_status_t shm_own(vapi_state_t *st, const char *owner, const vapi_owned_t *things, int n, apr_interval_time_t keep)
{
    return vapi_state_table_own(table_of(st), owner, things, n, keep);
}

static apr_status_t shm_forget(vapi_state_t *st, const char *owner, int *dropped)
{
    return vapi_state_table_forget(table_of(st), owner, dropped);
}

static apr_status_t shm_seat(vapi_state_t *st, vapi_seat_t **out, const char *key, apr_size_t key_len, apr_pool_t *p)
{
    return vapi_state_table_seat(table_of(st), out, key, key_len, p);
}

static apr_status_t shm_lease(vapi_state_t *st, const vapi_wish_t *wish, vapi_lease_t *out)
{
    return vapi_state_table_lease(table_of(st), wish, out);
}

static apr_status_t shm_occupy(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t span)
{
    return vapi_state_table_occupy(table_of(st), seat, token, span);
}

static apr_status_t shm_release(vapi_state_t *st, vapi_seat_t *seat, apr_uint64_t token, apr_interval_time_t wrap_up)
{
    return vapi_state_table_release(table_of(st), seat, token, wrap_up);
}

static apr_status_t shm_rest(vapi_state_t *st, vapi_seat_t *seat, apr_interval_time_t span)
{
    return vapi_state_table_rest(table_of(st), seat, span);
}

static apr_status_t shm_present(vapi_state_t *st, vapi_seat_t *seat, vapi_presence presence)
{
    return vapi_state_table_present(table_of(st), seat, presence);
}

static apr_status_t shm_survey(vapi_state_t *st, vapi_seat_t *const *seats, int n, vapi_seat_view_t *views)
{
    return vapi_state_table_survey(table_of(st), seats, n, views);
}

static vapi_state_t *shm_within(vapi_state_t *st, apr_interval_time_t left, apr_pool_t *p)
{
    shm_state_t *view = apr_pmemdup(p, st, sizeof *view);

    view->table = vapi_state_table_within(table_of(st), left, p);
    return &view->st;
}

static const vapi_state_provider_t shm_provider = {
    "shm",
    shm_configure,
    shm_open,
    NULL,
    shm_claim,
    shm_commit,
    shm_settle,
    shm_recall,
    shm_abandon,
    shm_count,
    shm_put,
    shm_get,
    shm_note,
    shm_notes,
    shm_own,
    shm_forget,
    shm_seat,
    shm_lease,
    shm_occupy,
    shm_release,
    shm_rest,
    shm_present,
    shm_survey,
    NULL,
    shm_within
};

void vapi_state_shm_register(apr_pool_t *p)
{
    ap_register_provider(p, VAPI_STATE_GROUP, shm_provider.name, VAPI_STATE_VERSION, &shm_provider);
}
