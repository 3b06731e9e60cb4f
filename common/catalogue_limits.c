/*
 * catalogue_limits.c - the map `limits` of an endpoint, of a model's version and of an app.
 *
 * Happy path: each key is a dimension, each value an amount of it. What a map does not say is no
 * limit. Failure: RC_REJECT "FILE:LINE: key 'x': ...", as everywhere in the file.
 */
#include "common/catalogue_impl.h"

#include <stdio.h>

#include "common/config_impl.h"
#include "common/pg.h"

#define AMOUNT_KEY(n, h)                                                              \
    {                                                                                 \
        .name = (n), .type = CONFIG_TEXT, .deflt = "", .unit = "amount", .help = (h), \
    }

/* In the order of enum limit_dimension, from 1: a test holds the names against it. */
const struct config_key catalogue_limit_keys[] = {
    AMOUNT_KEY("requests_per_minute", "Calls that begin."),
    AMOUNT_KEY("input_tokens_per_minute", "Tokens of requests, cached ones too."),
    AMOUNT_KEY("output_tokens_per_minute", "Tokens of answers."),
    AMOUNT_KEY("tokens_per_minute", "Input and output together."),
    AMOUNT_KEY("tokens_per_day", "Input and output together, from midnight to midnight UTC."),
    AMOUNT_KEY("in_flight", "Calls at once, of all workers together."),
    {.name = NULL},
};

static enum rc read_amount(const struct yaml_node *node, const char *file_name,
                           struct cat_limits *limits, struct err *err)
{
    int dimension = limit_dimension_parse(span_of(node->key));
    if (dimension < 0) {
        const char *near = config_nearest(catalogue_limit_keys, node->key);
        return err_set(err, RC_REJECT, "%s:%d: there is no limit '%.64s'%s%s%s", file_name,
                       node->line, node->key, near ? ": did you mean '" : "", near ? near : "",
                       near ? "'?" : "");
    }
    if (node->kind != YAML_KIND_TEXT)
        return err_set(err, RC_REJECT, "%s:%d: key '%s' must be %s, and is %s", file_name,
                       node->line, node->key, yaml_kind_name(YAML_KIND_TEXT),
                       yaml_kind_name(node->kind));
    enum rc rc = limit_amount_parse(span_of(node->text), (enum limit_dimension)dimension,
                                    &limits->amount[dimension], err);
    return rc == RC_OK ? rc
                       : err_prefix(err, rc, "%s:%d: key '%s'", file_name, node->line, node->key);
}

enum rc catalogue_read_limits(const struct yaml_node *map, const char *file_name,
                              struct cat_limits *limits, struct err *err)
{
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && map && i < map->item_count; i++)
        rc = read_amount(&map->items[i], file_name, limits, err);
    return rc;
}

/* ---- all of a catalogue ---------------------------------------------------------------------- */

/* Those of one entry, from the dimension after `*dimension` on; 0: no more. */
static int64_t next_amount(const struct cat_limits *limits, int *dimension)
{
    while (++*dimension < LIMIT_DIMENSION_END)
        if (limits->amount[*dimension])
            return limits->amount[*dimension];
    *dimension = 0;
    return 0;
}

/* False: the scope has no such entry. *ret_limits: NULL of one that left the file. */
static bool entry_of(const struct catalogue *cat, const struct cat_limit_walk *w,
                     const struct cat_limits **ret_limits)
{
    int i = w->index;
    switch (w->scope) {
    case LIMIT_ENDPOINT:
        if (i < cat->endpoint_count)
            *ret_limits = cat->endpoints[i].left ? NULL : &cat->endpoints[i].limits;
        return i < cat->endpoint_count;
    case LIMIT_MODEL:
        if (i < cat->version_count)
            *ret_limits = cat->versions[i].left ? NULL : &cat->versions[i].limits;
        return i < cat->version_count;
    case LIMIT_APP:
        if (i < cat->app_count)
            *ret_limits = &cat->apps[i].limits;
        return i < cat->app_count;
    case LIMIT_SCOPE_END:
        break;
    }
    return false;
}

bool catalogue_next_limit(const struct catalogue *cat, struct cat_limit_walk *w)
{
    if (!w->scope)
        w->scope = LIMIT_ENDPOINT;
    while (w->scope < LIMIT_SCOPE_END) {
        const struct cat_limits *limits = NULL;
        bool there = entry_of(cat, w, &limits);
        if (limits && (w->amount = next_amount(limits, &w->dimension)) > 0)
            return true;
        w->index = there ? w->index + 1 : 0;
        w->scope += there ? 0 : 1;
    }
    return false;
}

const char *catalogue_limit_key(const struct catalogue *cat, const struct cat_limit_walk *w,
                                char out[CATALOGUE_LIMIT_KEY_BYTES])
{
    const struct cat_endpoint *e = &cat->endpoints[w->index];
    if (w->scope == LIMIT_MODEL)
        return cat->versions[w->index].label;
    if (w->scope == LIMIT_APP)
        return cat->apps[w->index].name;
    snprintf(out, CATALOGUE_LIMIT_KEY_BYTES, "%s@%d", e->name, e->version);
    return out;
}

void catalogue_add_limits(const struct catalogue *cat, struct pg_params *params)
{
    static const enum pg_type types[] = {PG_INT2, PG_TEXT, PG_INT2, PG_INT8};
    enum { SCOPE, KEY, DIMENSION, AMOUNT, COLUMNS };
    for (int col = SCOPE; col < COLUMNS; col++) {
        struct cat_limit_walk w = {0};
        char key[CATALOGUE_LIMIT_KEY_BYTES];
        pg_array(params, types[col]);
        while (catalogue_next_limit(cat, &w))
            if (col == KEY)
                pg_elem_span(params, span_of(catalogue_limit_key(cat, &w, key)));
            else
                pg_elem_int(params, col == SCOPE       ? (int64_t)w.scope
                                    : col == DIMENSION ? w.dimension
                                                       : w.amount);
    }
}
