/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "conftree.h"

int vapi_tree_is_section(const ap_directive_t *dir, const char *name)
{
    return strncasecmp(dir->directive, name, strlen(name)) == 0;
}

int vapi_tree_has(const ap_directive_t *level, const char *name)
{
    for (; level; level = level->next) {
        if (strcasecmp(level->directive, name) == 0) {
            return 1;
        }
    }
    return 0;
}

int vapi_tree_is_handler(const ap_directive_t *dir)
{
    const char *args = dir->args;

    if (strcasecmp(dir->directive, "SetHandler") != 0) {
        return 0;
    }
    args += *args == '"';
    return strncasecmp(args, "vapi-transfer", 13) == 0 && !strchr("-_", args[13] ? args[13] : ' ');
}

int vapi_tree_has_handler(const ap_directive_t *level)
{
    for (; level; level = level->next) {
        if (vapi_tree_is_handler(level)) {
            return 1;
        }
    }
    return 0;
}

const ap_directive_t *vapi_tree_of(const server_rec *host)
{
    const ap_directive_t *dir = ap_conftree;

    if (!host->is_virtual) {
        return dir;
    }
    for (; dir; dir = dir->next) {
        if (vapi_tree_is_section(dir, "<VirtualHost") && host->defn_name && (unsigned int)dir->line_num == host->defn_line_number
            && strcmp(dir->filename, host->defn_name) == 0) {
            return dir->first_child;
        }
    }
    return NULL;
}

const char *vapi_tree_location(const ap_directive_t *section, apr_pool_t *p)
{
    const char *path = section->args;

    if (strcasecmp(section->directive, "<Location") != 0) {
        return NULL;
    }
    path += *path == '"';
    return *path == '/' && !strpbrk(path, "*?[") ? apr_pstrmemdup(p, path, strcspn(path, "\">")) : NULL;
}
