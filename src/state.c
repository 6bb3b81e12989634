/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "vapi_state.h"

#include <apr_strings.h>
#include <ap_provider.h>

const vapi_state_provider_t *vapi_state_provider(const char *word, apr_pool_t *p)
{
    const char *scheme = apr_pstrmemdup(p, word, strcspn(word, ":"));

    return ap_lookup_provider(VAPI_STATE_GROUP, scheme, VAPI_STATE_VERSION);
}
