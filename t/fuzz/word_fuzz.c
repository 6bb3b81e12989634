/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/**
 * @file  word_fuzz.c
 * @brief Whatever a line is, vapi_words_read either refuses it with a reason or gives words that keep its rules; and what it gives, written
 *        again in quotes, reads as the same words. With -DVAPI_REPLAY a main that replays the files named on its command line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "vapi_word.h"

static apr_pool_t *pool;

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static const char *quoted(const char *text, apr_pool_t *p)
{
    char *out = apr_palloc(p, strlen(text) * 2 + 3), *to = out;

    *to++ = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            *to++ = '\\';
        }
        *to++ = *text;
    }
    *to++ = '"';
    *to = '\0';
    return out;
}

static const char *written(const vapi_words_t *words, apr_pool_t *p)
{
    apr_array_header_t *parts = apr_array_make(p, 16, sizeof(const char *));
    int i;

    for (i = 0; vapi_words_at(words, i); i++) {
        APR_ARRAY_PUSH(parts, const char *) = quoted(vapi_words_at(words, i), p);
    }
    for (i = 0; i < words->keys->nelts; i++) {
        const vapi_key_t *key = &APR_ARRAY_IDX(words->keys, i, vapi_key_t);

        APR_ARRAY_PUSH(parts, const char *) = apr_pstrcat(p, key->name, "=", quoted(key->value, p), NULL);
    }
    return apr_array_pstrcat(p, parts, ' ');
}

static void must_equal(const vapi_words_t *a, const vapi_words_t *b)
{
    int i;

    must(a->positional->nelts == b->positional->nelts && a->keys->nelts == b->keys->nelts);
    for (i = 0; i < a->positional->nelts; i++) {
        must(strcmp(vapi_words_at(a, i), vapi_words_at(b, i)) == 0);
    }
    for (i = 0; i < a->keys->nelts; i++) {
        must(strcmp(APR_ARRAY_IDX(a->keys, i, vapi_key_t).name, APR_ARRAY_IDX(b->keys, i, vapi_key_t).name) == 0);
        must(strcmp(APR_ARRAY_IDX(a->keys, i, vapi_key_t).value, APR_ARRAY_IDX(b->keys, i, vapi_key_t).value) == 0);
    }
}

static void use(const vapi_words_t *words, apr_pool_t *p)
{
    static const vapi_key_rule_t rules[] = { { "secret", 1 }, { "timeout", 0 }, { NULL, 0 } };
    static const char *const choices[] = { "sha256", "least-busy", NULL };
    apr_int64_t n;
    apr_interval_time_t t;
    const char *word, *error;
    int i;

    vapi_words_check(words, rules, p);
    for (i = 0; (word = vapi_words_at(words, i)) != NULL; i++) {
        must(vapi_word_number(&n, word, -5, 1000, p) || (n >= -5 && n <= 1000));
        must(vapi_word_time(&t, word, 0, APR_USEC_PER_SEC, p) || (t >= 0 && t <= APR_USEC_PER_SEC));
        vapi_word_choice(word, choices, &error, p);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    apr_initialize();
    apr_pool_create(&pool, NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p;
    vapi_words_t *words = NULL, *again = NULL;
    const char *error;

    apr_pool_create(&p, pool);
    error = vapi_words_read(&words, apr_pstrmemdup(p, (const char *)data, size), p);
    must((error == NULL) == (words != NULL));
    if (words) {
        must(vapi_words_read(&again, written(words, p), p) == NULL);
        must_equal(words, again);
        use(words, p);
    }
    apr_pool_destroy(p);
    return 0;
}

#ifdef VAPI_REPLAY
int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    int i;

    LLVMFuzzerInitialize(&argc, &argv);
    for (i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t size;

        if (!file) {
            perror(argv[i]);
            return 1;
        }
        size = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs replayed\n", argc - 1);
    apr_pool_destroy(pool);
    apr_terminate();
    return 0;
}
#endif
