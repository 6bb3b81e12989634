/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <string.h>

#include "vapi_key.h"

const char *vapi_key_join(const char *const *words, apr_size_t number, apr_size_t *len, apr_pool_t *p)
{
    apr_size_t i, word;
    char *key, *to;

    for (*len = 0, i = 0; i < number; i++) {
        *len += sizeof(word) + (words[i] ? strlen(words[i]) : 0);
    }
    key = to = apr_palloc(p, *len);
    for (i = 0; i < number; i++) {
        word = words[i] ? strlen(words[i]) : (apr_size_t)-1;
        memcpy(to, &word, sizeof(word));
        to += sizeof(word);
        if (words[i]) {
            memcpy(to, words[i], word);
            to += word;
        }
    }
    return key;
}
