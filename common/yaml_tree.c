/*
 * yaml_tree.c - libyaml's documents, copied into plain trees.
 *
 * Happy path: load the one document, copy it node by node, check that nothing follows.
 *
 * Failure modes: everything wrong with the text is RC_REJECT with its line. An alias may point
 * anywhere, also to what holds it: the copy is bounded by depth and by number of nodes.
 */
#include "common/yaml_tree.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

struct copier {
    yaml_document_t *doc;
    const char *file_name;
    struct err *err;
    int node_count;
};

static int line_of(const yaml_node_t *node)
{
    return (int)node->start_mark.line + 1;
}

static enum rc bad(const struct copier *c, int line, const char *what)
{
    return err_set(c->err, RC_REJECT, "%s:%d: %s", c->file_name, line, what);
}

static enum rc no_memory(const struct copier *c)
{
    return err_set(c->err, RC_NOMEM, "%s: no memory to read it", c->file_name);
}

static bool is_left_out(const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*text || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static enum rc copy_text(const struct copier *c, const yaml_node_t *from, int line, char **ret_text)
{
    if (from->type != YAML_SCALAR_NODE)
        return bad(c, line, "a key must be a plain text");
    if (is_left_out(from))
        return bad(c, line, "a value is missing: write it, or remove the line");
    size_t n = from->data.scalar.length;
    if (memchr(from->data.scalar.value, '\0', n))
        return bad(c, line, "a text holds U+0000");
    char *text = malloc(n + 1);
    if (!text)
        return no_memory(c);
    memcpy(text, from->data.scalar.value, n + 1);
    *ret_text = text;
    return RC_OK;
}

static enum rc copy_node(struct copier *c, int id, int depth, struct yaml_node *to);

static enum rc copy_list(struct copier *c, const yaml_node_t *from, int depth, struct yaml_node *to)
{
    const yaml_node_item_t *start = from->data.sequence.items.start;
    size_t count = (size_t)(from->data.sequence.items.top - start);
    to->kind = YAML_KIND_LIST;
    if (!(to->items = calloc(count + 1, sizeof *to->items)))
        return no_memory(c);
    for (size_t i = 0; i < count; i++) {
        to->item_count++;
        enum rc rc = copy_node(c, start[i], depth, &to->items[i]);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc key_is_new(const struct copier *c, const struct yaml_node *map,
                          const struct yaml_node *member)
{
    for (const struct yaml_node *m = map->items; m < member; m++)
        if (strcmp(m->key, member->key) == 0)
            return err_set(c->err, RC_REJECT, "%s:%d: key '%.64s' stands twice; first in line %d",
                           c->file_name, member->line, member->key, m->line);
    return RC_OK;
}

static enum rc copy_member(struct copier *c, const yaml_node_pair_t *pair, int depth,
                           struct yaml_node *map)
{
    struct yaml_node *member = &map->items[map->item_count++];
    const yaml_node_t *key = yaml_document_get_node(c->doc, pair->key);
    int line = line_of(key);
    enum rc rc = copy_text(c, key, line, &member->key);
    if (rc == RC_OK)
        rc = copy_node(c, pair->value, depth, member);
    member->line = line;
    return rc == RC_OK ? key_is_new(c, map, member) : rc;
}

static enum rc copy_map(struct copier *c, const yaml_node_t *from, int depth, struct yaml_node *to)
{
    const yaml_node_pair_t *start = from->data.mapping.pairs.start;
    size_t count = (size_t)(from->data.mapping.pairs.top - start);
    to->kind = YAML_KIND_MAP;
    if (count > 256)
        return bad(c, line_of(from), "more than 256 keys in one map");
    if (!(to->items = calloc(count + 1, sizeof *to->items)))
        return no_memory(c);
    for (size_t i = 0; i < count; i++) {
        enum rc rc = copy_member(c, &start[i], depth, to);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

static enum rc copy_node(struct copier *c, int id, int depth, struct yaml_node *to)
{
    const yaml_node_t *from = yaml_document_get_node(c->doc, id);
    to->line = line_of(from);
    if (depth > YAML_TREE_DEPTH_MAX)
        return bad(c, to->line, "nested too deeply");
    if (++c->node_count > YAML_TREE_NODES_MAX)
        return bad(c, to->line, "the file holds too many entries");
    switch (from->type) {
    case YAML_SEQUENCE_NODE:
        return copy_list(c, from, depth + 1, to);
    case YAML_MAPPING_NODE:
        return copy_map(c, from, depth + 1, to);
    case YAML_SCALAR_NODE:
    case YAML_NO_NODE:
    default:
        to->kind = YAML_KIND_TEXT;
        return copy_text(c, from, to->line, &to->text);
    }
}

/* ---- loading ------------------------------------------------------------------------------ */

static enum rc parser_failed(const struct copier *c, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return no_memory(c);
    if (parser->error == YAML_READER_ERROR)
        return err_set(c->err, RC_REJECT, "%s: byte %zu: %s", c->file_name, parser->problem_offset,
                       parser->problem ? parser->problem : "unreadable");
    return err_set(c->err, RC_REJECT, "%s:%zu: not YAML: %s%s%s", c->file_name,
                   parser->problem_mark.line + 1, parser->problem ? parser->problem : "unreadable",
                   parser->context ? " " : "", parser->context ? parser->context : "");
}

static enum rc nothing_follows(const struct copier *c, yaml_parser_t *parser)
{
    yaml_document_t next;
    if (!yaml_parser_load(parser, &next))
        return parser_failed(c, parser);
    const yaml_node_t *root = yaml_document_get_root_node(&next);
    enum rc rc = root ? bad(c, line_of(root), "a second document: one file holds one") : RC_OK;
    yaml_document_delete(&next);
    return rc;
}

static enum rc load(struct copier *c, yaml_parser_t *parser, struct yaml_node *root)
{
    yaml_document_t doc;
    if (!yaml_parser_load(parser, &doc))
        return parser_failed(c, parser);
    c->doc = &doc;
    enum rc rc = yaml_document_get_root_node(&doc) ? copy_node(c, 1, 0, root)
                                                   : bad(c, 1, "the file is empty");
    if (rc == RC_OK)
        rc = nothing_follows(c, parser);
    yaml_document_delete(&doc);
    c->doc = NULL;
    return rc;
}

enum rc yaml_tree_parse(struct span yaml, const char *file_name, struct yaml_node **ret_root,
                        struct err *err)
{
    struct copier c = {.file_name = file_name, .err = err};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return no_memory(&c);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml.p, yaml.n);
    struct yaml_node *root = calloc(1, sizeof *root);
    enum rc rc = root ? load(&c, &parser, root) : no_memory(&c);
    yaml_parser_delete(&parser);
    if (rc == RC_OK)
        *ret_root = root;
    else
        yaml_tree_free(root);
    return rc;
}

static void node_done(struct yaml_node *node)
{
    for (int i = 0; i < node->item_count; i++)
        node_done(&node->items[i]);
    free(node->items);
    free(node->key);
    free(node->text);
}

void yaml_tree_free(struct yaml_node *root)
{
    if (!root)
        return;
    node_done(root);
    free(root);
}

const char *yaml_kind_name(enum yaml_kind kind)
{
    static const char *const names[] = {"a single value", "a list", "a map of keys"};
    return names[kind];
}
