/* Licensed under the Apache License, Version 2.0; see LICENSE. */
/** What the configuration's tree tells of endpoints: where a handler stands, and beside what. For the checks and dumps of a start. */
#ifndef CONFTREE_H
#define CONFTREE_H

#include <httpd.h>
#include <http_config.h>

/** Is it a section of that name, such as `<VirtualHost`? */
int vapi_tree_is_section(const ap_directive_t *dir, const char *name);

/** Does this directive stand at that level? */
int vapi_tree_has(const ap_directive_t *level, const char *name);

/** Is it `SetHandler vapi-transfer`? */
int vapi_tree_is_handler(const ap_directive_t *dir);

/** Does `SetHandler vapi-transfer` stand at that level? */
int vapi_tree_has_handler(const ap_directive_t *level);

/** What stands directly in the server (`host` is not virtual) or in its <VirtualHost>. */
const ap_directive_t *vapi_tree_of(const server_rec *host);

/** The path of a plain <Location>; NULL for other sections and for patterns. */
const char *vapi_tree_location(const ap_directive_t *section, apr_pool_t *p);

#endif
