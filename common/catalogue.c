/*
 * catalogue.c - a catalogue in memory: loaded whole, then asked which version serves and what it
 * costs.
 *
 * Happy path: catalogue_load reads the file, catalogue_parse makes a tree of it and a catalogue of
 * the tree. The lists are short (a fleet serves tens of models), so look-ups walk them.
 *
 * Failure modes: whatever is wrong with the file is RC_REJECT with its line; nothing half-loaded is
 * ever returned.
 */
#include "common/catalogue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/catalogue_impl.h"
#include "common/hash.h"

/* ---- loading ------------------------------------------------------------------------------- */

static enum rc read_file(FILE *file, const char *path, char *text, size_t *ret_n, struct err *err)
{
    size_t n = fread(text, 1, CATALOGUE_BYTES_MAX + 1, file);
    if (ferror(file))
        return err_set(err, RC_REJECT, "%s: cannot be read: %s", path, strerror(errno));
    if (n > CATALOGUE_BYTES_MAX)
        return err_set(err, RC_REJECT, "%s: larger than %d bytes", path, (int)CATALOGUE_BYTES_MAX);
    *ret_n = n;
    return RC_OK;
}

enum rc catalogue_load(const char *path, struct catalogue **ret_cat, struct err *err)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return err_set(err, RC_REJECT, "%s: cannot be opened: %s", path, strerror(errno));
    size_t n = 0;
    char *text = malloc(CATALOGUE_BYTES_MAX + 1);
    enum rc rc = text ? read_file(file, path, text, &n, err)
                      : err_set(err, RC_NOMEM, "%s: no memory to read it", path);
    fclose(file);
    if (rc == RC_OK)
        rc = catalogue_parse((struct span){text, n}, path, ret_cat, err);
    free(text);
    return rc;
}

enum rc catalogue_parse(struct span yaml, const char *file_name, struct catalogue **ret_cat,
                        struct err *err)
{
    if (yaml.n > CATALOGUE_BYTES_MAX)
        return err_set(err, RC_REJECT, "%s: larger than %d bytes", file_name,
                       (int)CATALOGUE_BYTES_MAX);
    struct yaml_node *root = NULL;
    enum rc rc = yaml_tree_parse(yaml, file_name, &root, err);
    if (rc != RC_OK)
        return rc;
    struct catalogue *cat = calloc(1, sizeof *cat);
    rc = cat ? catalogue_read(root, file_name, cat, err)
             : err_set(err, RC_NOMEM, "%s: no memory for the catalogue", file_name);
    yaml_tree_free(root);
    if (rc != RC_OK) {
        catalogue_free(cat);
        return rc;
    }
    hash_sha256(&yaml, 1, cat->sha256);
    *ret_cat = cat;
    return RC_OK;
}

void catalogue_endpoint_done(struct cat_endpoint *e)
{
    free(e->name);
    free(e->base_url);
    free(e->credential);
    free(e->ca_file);
}

void catalogue_version_done(struct cat_model_version *mv)
{
    free(mv->model);
    free(mv->version);
    free(mv->label);
    free(mv->upstream_model);
    free(mv->provider);
    free(mv->owner);
    free(mv->prices);
}

void catalogue_free(struct catalogue *cat)
{
    if (!cat)
        return;
    for (int i = 0; i < cat->endpoint_count; i++)
        catalogue_endpoint_done(&cat->endpoints[i]);
    for (int i = 0; i < cat->version_count; i++)
        catalogue_version_done(&cat->versions[i]);
    for (int i = 0; i < cat->model_count; i++)
        free(cat->models[i].name);
    for (int i = 0; i < cat->default_count; i++) {
        free(cat->defaults[i].app);
        free(cat->defaults[i].task);
    }
    for (int i = 0; i < cat->route_count; i++) {
        free(cat->routes[i].app);
        free(cat->routes[i].task);
        free(cat->routes[i].retry.route);
    }
    for (int i = 0; i < cat->app_count; i++)
        free(cat->apps[i].name);
    free(cat->endpoints);
    free(cat->versions);
    free(cat->models);
    free(cat->defaults);
    free(cat->routes);
    free(cat->apps);
    free(cat->name);
    free(cat);
}

/* ---- questions ------------------------------------------------------------------------------ */

static const struct cat_model_version *pinned(const struct catalogue *cat, struct span label)
{
    for (int i = 0; i < cat->version_count; i++)
        if (!cat->versions[i].left && span_is(label, cat->versions[i].label))
            return &cat->versions[i];
    return NULL;
}

/* How well an entry of (app, task) fits: both 3, the app 2, the task 1, any 0; -1: not at all. */
static int fit(const char *entry_app, const char *entry_task, struct span app, struct span task)
{
    bool any_app = strcmp(entry_app, "*") == 0, any_task = strcmp(entry_task, "*") == 0;
    if ((!any_app && !span_is(app, entry_app)) || (!any_task && !span_is(task, entry_task)))
        return -1;
    return (any_app ? 0 : 2) + (any_task ? 0 : 1);
}

static const struct cat_model *default_model(const struct catalogue *cat, struct span app,
                                             struct span task)
{
    const struct cat_default *best = NULL;
    int best_fit = -1;
    for (int i = 0; i < cat->default_count; i++) {
        int this_fit = fit(cat->defaults[i].app, cat->defaults[i].task, app, task);
        if (this_fit > best_fit) {
            best = &cat->defaults[i];
            best_fit = this_fit;
        }
    }
    return best ? &cat->models[best->model] : NULL;
}

const struct cat_model_version *catalogue_route(const struct catalogue *cat, struct span model,
                                                struct span app, struct span task)
{
    if (!model.p) {
        const struct cat_model *found = default_model(cat, app, task);
        return found ? &cat->versions[found->current] : NULL;
    }
    for (int i = 0; i < cat->model_count; i++)
        if (span_is(model, cat->models[i].name))
            return &cat->versions[cat->models[i].current];
    return pinned(cat, model);
}

const struct cat_retry *catalogue_retry(const struct catalogue *cat,
                                        const struct cat_model_version *mv, struct span app,
                                        struct span task)
{
    static const struct cat_retry as_ever = CATALOGUE_RETRY_DEFAULT;
    const struct cat_retry *best = &as_ever;
    int best_fit = -1;
    for (int i = 0; i < cat->route_count; i++) {
        const struct cat_route *r = &cat->routes[i];
        int this_fit = fit(r->app, r->task, app, task);
        if (this_fit < 0 || (r->model >= 0 && strcmp(cat->models[r->model].name, mv->model) != 0))
            continue;
        this_fit = 2 * this_fit + (r->model >= 0);
        if (this_fit > best_fit) {
            best = &r->retry;
            best_fit = this_fit;
        }
    }
    return best;
}

int catalogue_route_of(const struct catalogue *cat, const struct cat_retry *retry)
{
    for (int i = 0; i < cat->route_count; i++)
        if (&cat->routes[i].retry == retry)
            return i;
    return -1;
}

const struct cat_price *catalogue_price(const struct cat_model_version *mv, int64_t at_ms)
{
    for (int i = mv->price_count; i-- > 0;)
        if (mv->prices[i].from_ms <= at_ms)
            return &mv->prices[i];
    return NULL;
}
