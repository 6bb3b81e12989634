/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <apr_strings.h>
#include <string.h>

#include "vapi_template.h"

/* One value of the file. Strings carry their text; everything without a string below it is kept as jansson read it. */
typedef struct node_t node_t;
struct node_t {
    const char *key;         /* in an object; NULL in a list */
    json_t *value;           /* borrowed from the file's tree */
    vapi_text_t *text;       /* of a string */
    vapi_encoding encoding;  /* ... and what its place asks of the values in it */
    node_t *child, *next;    /* members or elements, in order */
    int reads;               /* of all texts in it */
};

struct vapi_template_t {
    node_t *root;
    int system_reads;        /* of the messages with role "system" */
};

/* What reading needs at every level. */
typedef struct reader_t {
    vapi_template_t *t;
    vapi_place_t place;
    apr_pool_t *p, *ptemp;
} reader_t;

static const char *read_node(node_t **out, const char *key, json_t *value, const node_t *parent, reader_t *reader);

/* A message that instructs the model, or may: its role is known only at run time. */
static int is_system_message(const node_t *object)
{
    const node_t *node;

    for (node = object->child; node; node = node->next) {
        if (node->text && strcmp(node->key, "role") == 0) {
            return !vapi_text_is_literal(node->text, NULL) || strcmp(vapi_text_written(node->text), "system") == 0;
        }
    }
    return 0;
}

/* TwiML is XML, and SIP headers end where a line does, also inside a plan or destination that a file writes out. */
static vapi_encoding encoding_at(const char *key, const node_t *parent)
{
    if (key && strcmp(key, "twiml") == 0) {
        return VAPI_TEXT_XML;
    }
    return parent && parent->key && strcmp(parent->key, "sipHeaders") == 0 ? VAPI_TEXT_HEADER : VAPI_TEXT_PLAIN;
}

static const char *read_children(node_t *node, reader_t *reader)
{
    node_t **tail = &node->child;
    const char *key, *error = NULL;
    json_t *value;
    size_t i;

    if (json_is_array(node->value)) {
        json_array_foreach(node->value, i, value) {
            if ((error = read_node(tail, NULL, value, node, reader)) != NULL) {
                return error;
            }
            node->reads |= (*tail)->reads;
            tail = &(*tail)->next;
        }
        return NULL;
    }
    json_object_foreach(node->value, key, value) {
        if ((error = read_node(tail, key, value, node, reader)) != NULL) {
            return error;
        }
        node->reads |= (*tail)->reads;
        tail = &(*tail)->next;
    }
    reader->t->system_reads |= is_system_message(node) ? node->reads : 0;
    return NULL;
}

/* Goes as deep as the administrator's own file; jansson has already bounded that. */
/* NOLINTNEXTLINE(misc-no-recursion) */
static const char *read_node(node_t **out, const char *key, json_t *value, const node_t *parent, reader_t *reader)
{
    node_t *node = *out = apr_pcalloc(reader->p, sizeof(*node));
    const char *error;

    node->key = key;
    node->value = value;
    if (!json_is_string(value)) {
        return read_children(node, reader);
    }
    node->encoding = encoding_at(key, parent);
    error = vapi_text_parse(&node->text, json_string_value(value), reader->place, reader->p, reader->ptemp);
    if (error) {
        return apr_psprintf(reader->p, "%s%s%s", key ? key : "", key ? ": " : "", error);
    }
    node->reads = vapi_text_reads(node->text);
    return NULL;
}

const char *vapi_template_read(vapi_template_t **out, const char *file, vapi_place_t place, apr_pool_t *p, apr_pool_t *ptemp)
{
    vapi_template_t *t = apr_pcalloc(p, sizeof(*t));
    reader_t reader = { t, place, p, ptemp };
    json_error_t where;
    json_t *json = json_load_file(file, JSON_REJECT_DUPLICATES, &where);
    const char *error;

    if (!json) {
        return where.line > 0 ? apr_psprintf(p, "%s, line %d: %s", file, where.line, where.text)
                              : apr_psprintf(p, "cannot read %s", file);
    }
    vapi_json_keep(json, p);
    if (!json_is_object(json)) {
        return apr_psprintf(p, "%s: must hold one JSON object", file);
    }
    if ((error = read_node(&t->root, NULL, json, NULL, &reader)) != NULL) {
        return apr_psprintf(p, "%s: %s", file, error);
    }
    *out = t;
    return NULL;
}

static const node_t *member(const vapi_template_t *t, const char *key)
{
    const node_t *node = t->root->child;

    while (node && strcmp(node->key, key) != 0) {
        node = node->next;
    }
    return node;
}

const vapi_text_t *vapi_template_text(const vapi_template_t *t, const char *key)
{
    const node_t *node = member(t, key);
    return node ? node->text : NULL;
}

json_t *vapi_template_member(const vapi_template_t *t, const char *key)
{
    const node_t *node = member(t, key);
    return node ? node->value : NULL;
}

int vapi_template_system_reads(const vapi_template_t *t)
{
    return t->system_reads;
}

static json_t *expand(const node_t *node, vapi_question_t *q, int plain, const char **why) /* NOLINT(misc-no-recursion) */
{
    const node_t *child;
    const char *text;
    json_t *out, *value;

    if (node->text) {
        text = vapi_text_expand(node->text, q, plain ? VAPI_TEXT_DIAL : node->encoding, why);
        return text ? vapi_text_json(text, q->pool) : NULL;
    }
    if (!json_is_object(node->value) && !json_is_array(node->value)) {
        return json_deep_copy(node->value);    /* the file's own values are shared by all threads: their counts are left alone */
    }
    out = json_is_object(node->value) ? json_object() : json_array();
    for (child = node->child; child; child = child->next) {
        if ((value = expand(child, q, plain, why)) == NULL) {
            json_decref(out);
            return NULL;
        }
        if (child->key) {
            json_object_set_new(out, child->key, value);
        }
        else {
            json_array_append_new(out, value);
        }
    }
    return out;
}

json_t *vapi_template_expand(const vapi_template_t *t, vapi_question_t *q, const char **why)
{
    return expand(t->root, q, 0, why);
}

json_t *vapi_template_expand_plain(const vapi_template_t *t, vapi_question_t *q, const char **why)
{
    return expand(t->root, q, 1, why);
}
