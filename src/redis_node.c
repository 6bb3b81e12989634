/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "redis_node.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_config.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define SALT_BYTES  40                       /* of which the first 8 are its id */
#define SALT_LENGTH (2 * SALT_BYTES)         /* as it is kept in Redis: hex */
#define FIRST_WORDS 4                        /* EVALSHA, script, number of keys, key of the salt: filled in here, ... */
#define ID_WORD     5                        /* ... as is the salt's id, behind the key that the script is about */
#define TRIES       3
#define SPAN_MAX    apr_time_from_sec(10 * 366 * 86400LL)

/* Given by the first node that came; all others take it. Written under the lock, by whoever hears of another one. */
struct vapi_redis_salt_t {
    pthread_rwlock_t lock;
    char text[SALT_LENGTH + 1];
    apr_uint32_t number;
};

/* ---- the salt ---- */

static int make_salt(struct vapi_redis_salt_t *salt)
{
    unsigned char bytes[SALT_BYTES];
    int i;

    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return 0;
    }
    for (i = 0; i < SALT_BYTES; i++) {
        snprintf(salt->text + (size_t)2 * i, 3, "%02x", bytes[i]);
    }
    salt->number = 1;
    return pthread_rwlock_init(&salt->lock, NULL) == 0;
}

static const char *salt_key(const vapi_redis_node_t *node, char *room, size_t size)
{
    apr_snprintf(room, size, "%s:salt", node->config->prefix);
    return room;
}

static void adopt(vapi_redis_node_t *node, const redisReply *reply)
{
    struct vapi_redis_salt_t *salt = node->salt;

    if (reply->type != REDIS_REPLY_STRING || reply->len != SALT_LENGTH) {
        return;
    }
    pthread_rwlock_wrlock(&salt->lock);
    if (memcmp(salt->text, reply->str, SALT_LENGTH) != 0) {
        memcpy(salt->text, reply->str, SALT_LENGTH);
        salt->number++;
    }
    pthread_rwlock_unlock(&salt->lock);
}

/* Ours is the salt unless there is one. */
static apr_status_t agree(vapi_redis_node_t *node)
{
    char key[64], mine[SALT_LENGTH + 1];
    const char *set[] = { "SET", salt_key(node, key, sizeof key), mine, "NX" };
    const char *get[] = { "GET", key };
    redisReply *reply;
    apr_status_t rv;

    pthread_rwlock_rdlock(&node->salt->lock);
    memcpy(mine, node->salt->text, sizeof mine);
    pthread_rwlock_unlock(&node->salt->lock);
    rv = vapi_redis_links_ask(node->links, node->patience, &reply, 4, set);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    freeReplyObject(reply);
    rv = vapi_redis_links_ask(node->links, node->patience, &reply, 2, get);
    if (rv == APR_SUCCESS) {
        adopt(node, reply);
        freeReplyObject(reply);
    }
    return rv;
}

void vapi_redis_digest(const vapi_redis_node_t *node, char *out, char kind, const char *key, apr_size_t key_len)
{
    char salt[SALT_LENGTH - VAPI_REDIS_SALT_ID + 1];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int i, len = 0;

    memcpy(salt, node->salt->text + VAPI_REDIS_SALT_ID, sizeof salt - 1);
    salt[sizeof salt - 1] = kind;
    HMAC(EVP_sha256(), salt, sizeof salt, (const unsigned char *)key, key_len, digest, &len);
    for (i = 0; i < VAPI_REDIS_DIGEST / 2; i++) {
        static const char hex[] = "0123456789abcdef";

        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[VAPI_REDIS_DIGEST] = '\0';
}

apr_uint32_t vapi_redis_salt_number(const vapi_redis_node_t *node)
{
    return node->salt->number;
}

/* ---- a question ---- */

static void begin(vapi_redis_question_t *q, vapi_redis_node_t *node)
{
    q->node = node;
    q->words = q->few;
    q->lens = q->few_lens;
    q->n = FIRST_WORDS;
    q->room = VAPI_REDIS_WORDS;
    q->failed = 0;
    q->text = q->few_text;
    q->text_end = q->few_text + sizeof q->few_text;
}

static void end(vapi_redis_question_t *q)
{
    if (q->words != q->few) {
        free(q->words);
    }
}

/* All in one piece: words, lengths, text. */
void vapi_redis_add_room(vapi_redis_question_t *q, int n, size_t bytes)
{
    size_t room = (size_t)q->n + (size_t)n;
    char *piece;

    if (room <= (size_t)q->room && bytes <= (size_t)(q->text_end - q->text)) {
        return;
    }
    piece = q->words == q->few ? malloc(room * (sizeof(char *) + sizeof(size_t)) + bytes) : NULL;
    if (!piece) {
        q->failed = 1;
        return;
    }
    q->words = (const char **)(void *)piece;
    q->lens = (size_t *)(void *)(piece + room * sizeof(char *));
    q->text = piece + room * (sizeof(char *) + sizeof(size_t));
    q->text_end = q->text + bytes;
    q->room = (int)room;
    memcpy(q->words, q->few, (size_t)q->n * sizeof(char *));
    memcpy(q->lens, q->few_lens, (size_t)q->n * sizeof(size_t));
}

void vapi_redis_add(vapi_redis_question_t *q, const char *word, size_t len)
{
    if (q->n == q->room) {
        q->failed = 1;
        return;
    }
    q->words[q->n] = word;
    q->lens[q->n++] = len;
}

/* A word that is made of these. */
static void add_made(vapi_redis_question_t *q, const char *a, size_t a_len, const char *b, size_t b_len)
{
    if ((size_t)(q->text_end - q->text) < a_len + b_len) {
        q->failed = 1;
        return;
    }
    memcpy(q->text, a, a_len);
    memcpy(q->text + a_len, b, b_len);
    vapi_redis_add(q, q->text, a_len + b_len);
    q->text += a_len + b_len;
}

void vapi_redis_add_text(vapi_redis_question_t *q, const char *word, size_t len)
{
    add_made(q, word, len, "", 0);
}

void vapi_redis_add_number(vapi_redis_question_t *q, apr_int64_t n)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%" APR_INT64_T_FMT, n);

    add_made(q, text, (size_t)len, "", 0);
}

void vapi_redis_add_hex(vapi_redis_question_t *q, apr_uint64_t n)
{
    char text[24];
    int len = snprintf(text, sizeof text, "%016" APR_UINT64_T_HEX_FMT, n);

    add_made(q, text, (size_t)len, "", 0);
}

static apr_interval_time_t cut(apr_interval_time_t span)
{
    return span > SPAN_MAX ? SPAN_MAX : span;
}

void vapi_redis_add_span(vapi_redis_question_t *q, apr_interval_time_t span)
{
    vapi_redis_add_number(q, cut(span));
}

void vapi_redis_add_msec(vapi_redis_question_t *q, apr_interval_time_t span)
{
    vapi_redis_add_number(q, span <= 0 ? 0 : (cut(span) + 999) / 1000);
}

void vapi_redis_add_thing(vapi_redis_question_t *q, char kind, const char *key, apr_size_t key_len)
{
    const char head[] = { kind, ':' };
    char digest[VAPI_REDIS_DIGEST + 1];

    vapi_redis_digest(q->node, digest, kind, key, key_len);
    add_made(q, head, sizeof head, digest, VAPI_REDIS_DIGEST);
}

static void ask_about(vapi_redis_question_t *q, const char *tail, size_t len)
{
    add_made(q, q->node->config->prefix, strlen(q->node->config->prefix), tail, len);
    vapi_redis_add(q, "", 0);
}

void vapi_redis_ask_key(vapi_redis_question_t *q, char kind, const char *key, apr_size_t key_len)
{
    char tail[VAPI_REDIS_DIGEST + 4] = { ':', kind, ':' };

    vapi_redis_digest(q->node, tail + 3, kind, key, key_len);
    ask_about(q, tail, VAPI_REDIS_DIGEST + 3);
}

void vapi_redis_ask_seats(vapi_redis_question_t *q)
{
    ask_about(q, ":seats", 6);
}

/* ---- asking it ---- */

static apr_status_t ask(vapi_redis_question_t *q, vapi_script script, const char *id, redisReply **reply)
{
    vapi_redis_node_t *node = q->node;
    char key[64];
    const char *const first[FIRST_WORDS] = { "EVALSHA", node->sha[script], "2", salt_key(node, key, sizeof key) };
    int i;

    for (i = 0; i < FIRST_WORDS; i++) {
        q->words[i] = first[i];
        q->lens[i] = strlen(first[i]);
    }
    q->words[ID_WORD] = id;
    q->lens[ID_WORD] = VAPI_REDIS_SALT_ID;
    return q->failed ? APR_ENOMEM : vapi_redis_links_run(node->links, node->patience, reply, vapi_script_text(script),
                                                                q->n, q->words, q->lens);
}

apr_status_t vapi_redis_run(vapi_redis_node_t *node, vapi_script script, vapi_redis_fill_fn *fill, void *baton,
                            redisReply **reply)
{
    apr_status_t rv;
    int tries;

    for (tries = 0; tries < TRIES; tries++) {
        vapi_redis_question_t q;
        char id[VAPI_REDIS_SALT_ID];

        begin(&q, node);
        pthread_rwlock_rdlock(&node->salt->lock);
        fill(&q, baton);
        memcpy(id, node->salt->text, sizeof id);
        pthread_rwlock_unlock(&node->salt->lock);
        rv = ask(&q, script, id, reply);
        end(&q);
        if (rv != APR_SUCCESS || vapi_redis_number(*reply, 0) != VAPI_ANSWER_OTHER_SALT) {
            return rv;
        }
        freeReplyObject(*reply);
        *reply = NULL;
        rv = agree(node);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return VAPI_REDIS_AWAY;
}

apr_int64_t vapi_redis_number(const redisReply *reply, size_t i)
{
    const redisReply *element = reply->type == REDIS_REPLY_ARRAY && i < reply->elements ? reply->element[i] : NULL;

    return element && element->type == REDIS_REPLY_INTEGER ? element->integer : 0;
}

apr_uint64_t vapi_redis_hex(const redisReply *reply, size_t i)
{
    const redisReply *element = reply->type == REDIS_REPLY_ARRAY && i < reply->elements ? reply->element[i] : NULL;

    return element && element->type == REDIS_REPLY_STRING ? strtoull(element->str, NULL, 16) : 0;
}

/* ---- the node ---- */

/* Of the machine and the directory in which the own memory lies: as long as that is found again. */
static apr_uint64_t make_mark(apr_pool_t *p)
{
    const char *directory = ap_runtime_dir_relative(p, "");
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    char host[256] = "";
    const char *whole;

    apr_gethostname(host, sizeof host, p);
    whole = apr_pstrcat(p, host, "\n", directory, NULL);
    EVP_Digest(whole, strlen(whole), digest, NULL, EVP_sha256(), NULL);
    return ((apr_uint64_t)digest[0] << 16 | (apr_uint64_t)digest[1] << 8 | digest[2]) & VAPI_REDIS_MARK_MAX;
}

static apr_status_t free_salt(void *salt)
{
    pthread_rwlock_destroy(&((struct vapi_redis_salt_t *)salt)->lock);
    return APR_SUCCESS;
}

const char *vapi_redis_node_make(vapi_redis_node_t **out, const vapi_redis_config_t *config, server_rec *s, apr_pool_t *p)
{
    vapi_redis_node_t *node = apr_pcalloc(p, sizeof *node);
    int i;

    node->config = config;
    node->st.keep = config->keep;
    node->mark = make_mark(p);
    node->salt = apr_pcalloc(p, sizeof *node->salt);
    if (!make_salt(node->salt)) {
        return "no random numbers, or no lock, can be had";
    }
    apr_pool_cleanup_register(p, node->salt, free_salt, apr_pool_cleanup_null);
    for (i = 0; i < VAPI_SCRIPTS; i++) {
        vapi_script_sha((vapi_script)i, node->sha[i]);
    }
    *out = node;
    return vapi_redis_links_make(&node->links, &config->server, s, p);
}

vapi_state_t *vapi_redis_within(vapi_state_t *st, apr_interval_time_t left, apr_pool_t *p)
{
    vapi_redis_node_t *node = apr_pmemdup(p, st, sizeof *node);

    node->patience = apr_palloc(p, sizeof *node->patience);
    vapi_redis_be_patient(node->patience, left);
    node->local = vapi_state_within(node->local, left, p);
    return &node->st;
}

void vapi_redis_node_greet(vapi_redis_node_t *node)
{
    agree(node);
}

int vapi_redis_node_is_reached(vapi_redis_node_t *node)
{
    const char *ping[] = { "PING" };
    redisReply *reply;

    if (vapi_redis_links_ask(node->links, node->patience, &reply, 1, ping) != APR_SUCCESS) {
        return 0;
    }
    freeReplyObject(reply);
    return 1;
}

/* ---- tokens ---- */

apr_uint64_t vapi_redis_new_token(void)
{
    apr_uint64_t token = 0;

    RAND_bytes((unsigned char *)&token, sizeof token);
    return token | VAPI_REDIS_TOKEN_BIT;
}

static int make_name(char *name, size_t size, vapi_twin twin, apr_uint64_t redis_token)
{
    return snprintf(name, size, "%s|%016" APR_UINT64_T_HEX_FMT, twin == VAPI_TWIN_TAKEN ? "taken" : "shadow", redis_token);
}

/* A claim that was settled with the token there: those are kept when values have to go. */
void vapi_redis_remember(const vapi_redis_node_t *node, vapi_twin twin, apr_uint64_t redis_token, apr_uint64_t token,
                         apr_interval_time_t keep)
{
    char key[32], reply[24];
    apr_size_t key_len = (apr_size_t)make_name(key, sizeof key, twin, redis_token);
    int reply_len = snprintf(reply, sizeof reply, "%" APR_UINT64_T_HEX_FMT, token);
    apr_pool_t *p;
    vapi_claim_t claim;

    if (apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return;
    }
    vapi_redis_local(node)->abandon(node->local, key, key_len, 0);
    if (vapi_redis_local(node)->claim(node->local, key, key_len, 0, keep, &claim, p) == APR_SUCCESS
        && claim.verdict == VAPI_CLAIM_MINE) {
        vapi_redis_local(node)->settle(node->local, key, key_len, claim.token, reply, (apr_size_t)reply_len, keep);
    }
    apr_pool_destroy(p);
}

apr_uint64_t vapi_redis_twin(const vapi_redis_node_t *node, vapi_twin twin, apr_uint64_t redis_token)
{
    char key[32];
    apr_size_t key_len = (apr_size_t)make_name(key, sizeof key, twin, redis_token);
    apr_uint64_t token = 0;
    apr_pool_t *p;
    vapi_claim_t claim;

    if (apr_pool_create(&p, NULL) != APR_SUCCESS) {
        return 0;
    }
    if (vapi_redis_local(node)->recall(node->local, key, key_len, &claim, p) == APR_SUCCESS
        && claim.verdict == VAPI_CLAIM_SETTLED) {
        token = strtoull(claim.reply, NULL, 16);
    }
    apr_pool_destroy(p);
    return token;
}
