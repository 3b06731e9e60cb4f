/*
 * yaml_tree.h - one YAML document as a tree of texts, lists and maps that know their lines.
 *
 * libyaml stays behind this header. Stricter than YAML where people would be surprised: no key
 * twice, no value left out, no NULs, one document, bounded depth and size (aliases are copied, and
 * count in full).
 */
#ifndef INFERQ_COMMON_YAML_TREE_H
#define INFERQ_COMMON_YAML_TREE_H

#include "common/err.h"
#include "common/span.h"

enum { YAML_TREE_DEPTH_MAX = 16, YAML_TREE_NODES_MAX = 200000 };
enum yaml_kind { YAML_KIND_TEXT, YAML_KIND_LIST, YAML_KIND_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line;                /* from 1; a map's member: its key's line */
    char *key;               /* of a map's member; NULL elsewhere */
    char *text;              /* YAML_KIND_TEXT: UTF-8, no NUL within, never NULL */
    struct yaml_node *items; /* elements or members, in the file's order */
    int item_count;
};

/* RC_REJECT: "FILE:LINE: what is wrong". returns owned */
enum rc yaml_tree_parse(struct span yaml, const char *file_name, struct yaml_node **ret_root,
                        struct err *err) MUST_CHECK;
void yaml_tree_free(struct yaml_node *root);

/* "list", ...: for messages. */
const char *yaml_kind_name(enum yaml_kind kind);

#endif
