/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_names.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const apr_array_header_t *vapi_names_sorted(apr_hash_t *objects, apr_pool_t *p)
{
    apr_array_header_t *names = apr_array_make(p, (int)apr_hash_count(objects) + 1, sizeof(const char *));
    apr_hash_index_t *hi;

    for (hi = apr_hash_first(p, objects); hi; hi = apr_hash_next(hi)) {
        APR_ARRAY_PUSH(names, const char *) = apr_hash_this_key(hi);
    }
    qsort(names->elts, (size_t)names->nelts, sizeof(const char *), by_name);
    return names;
}

const char *vapi_names_pool(const char *target)
{
    return strncmp(target, "pool:", 5) == 0 ? target + 5 : NULL;
}
