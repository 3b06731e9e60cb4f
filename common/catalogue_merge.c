/*
 * catalogue_merge.c - a catalogue file that was read again, and the catalogue in force: what holds
 * from then on (pure).
 *
 * Happy path: every entry of the file that the catalogue in force has, too, takes that one's place;
 * the others come behind; what the file has no more is copied to where it stood, and marked. So
 * whoever knows an endpoint or a version by its index goes on knowing it.
 *
 * Failure modes: an entry whose immutable content differs is refused by name (the tables would
 * refuse it as well, but they are asked later); so is a file that leaves too many entries behind. A
 * file that cannot be merged is as it was.
 */
#include "common/catalogue.h"

#include <stdlib.h>
#include <string.h>

#include "common/catalogue_impl.h"

/* ---- what is immutable ----------------------------------------------------------------------- */

enum rc catalogue_endpoint_changed(const struct cat_endpoint *e, struct err *err)
{
    return err_set(err, RC_REJECT,
                   "endpoint '%s' version %d was applied before with another content, and is "
                   "immutable: give the changed one version %d (and the model versions that are "
                   "to use it new versions)",
                   e->name, e->version, e->version + 1);
}

enum rc catalogue_version_changed(const struct cat_model_version *mv, struct err *err)
{
    return err_set(err, RC_REJECT,
                   "model version '%s' was applied before with another content (upstream_model, "
                   "endpoint or token limits), and is immutable: give the changed one a new "
                   "version",
                   mv->label);
}

enum rc catalogue_price_changed(const struct cat_model_version *mv, int price, struct err *err)
{
    return err_set(err, RC_REJECT,
                   "price %d of '%s' was applied before with other amounts, and is immutable: "
                   "calls were priced by it; add a price with a later 'from' instead",
                   price + 1, mv->label);
}

enum rc catalogue_model_changed(const char *name, struct err *err)
{
    return err_set(err, RC_REJECT,
                   "model '%s' was applied before with another provider or owner, which are "
                   "immutable: write those again, or give the model another name",
                   name);
}

static bool is_endpoint(const struct cat_endpoint *a, const struct cat_endpoint *b)
{
    return a->version == b->version && strcmp(a->name, b->name) == 0;
}

static bool same_endpoint(const struct cat_endpoint *a, const struct cat_endpoint *b)
{
    return strcmp(a->base_url, b->base_url) == 0 && a->adapter == b->adapter &&
           strcmp(a->credential, b->credential) == 0 && strcmp(a->ca_file, b->ca_file) == 0 &&
           a->max_in_flight == b->max_in_flight && a->timeout_us == b->timeout_us &&
           a->connect_timeout_us == b->connect_timeout_us && a->send_ids == b->send_ids &&
           a->idempotency_key == b->idempotency_key;
}

static bool same_price(const struct price *a, const struct price *b)
{
    return a->input_pusd == b->input_pusd && a->cached_pusd == b->cached_pusd &&
           a->output_pusd == b->output_pusd && a->reasoning_pusd == b->reasoning_pusd &&
           a->request_pusd == b->request_pusd;
}

static enum rc check_prices(const struct cat_model_version *held,
                            const struct cat_model_version *mv, struct err *err)
{
    for (int i = 0; i < mv->price_count; i++)
        for (int j = 0; j < held->price_count; j++)
            if (mv->prices[i].from_ms == held->prices[j].from_ms &&
                !same_price(&mv->prices[i].price, &held->prices[j].price))
                return catalogue_price_changed(mv, i, err);
    return RC_OK;
}

static enum rc check_version(const struct catalogue *held, const struct catalogue *next,
                             const struct cat_model_version *a, const struct cat_model_version *b,
                             struct err *err)
{
    if (strcmp(a->model, b->model) != 0)
        return RC_OK;
    if (strcmp(a->provider, b->provider) != 0 || strcmp(a->owner, b->owner) != 0)
        return catalogue_model_changed(b->model, err);
    if (strcmp(a->version, b->version) != 0)
        return RC_OK;
    if (strcmp(a->upstream_model, b->upstream_model) != 0 ||
        a->context_tokens != b->context_tokens || a->max_output_tokens != b->max_output_tokens ||
        !is_endpoint(&held->endpoints[a->endpoint], &next->endpoints[b->endpoint]))
        return catalogue_version_changed(b, err);
    return check_prices(a, b, err);
}

/* ---- where each entry goes ------------------------------------------------------------------- */

/* For each entry of the file its new index, and how many there are in all. */
struct places {
    int *endpoint, *version;
    int endpoint_count, version_count;
};

static enum rc place_endpoints(const struct catalogue *held, const struct catalogue *next,
                               struct places *at, struct err *err)
{
    at->endpoint_count = held->endpoint_count;
    for (int i = 0; i < next->endpoint_count; i++) {
        int j = 0;
        while (j < held->endpoint_count && !is_endpoint(&held->endpoints[j], &next->endpoints[i]))
            j++;
        at->endpoint[i] = j < held->endpoint_count ? j : at->endpoint_count++;
        if (j < held->endpoint_count && !same_endpoint(&held->endpoints[j], &next->endpoints[i]))
            return catalogue_endpoint_changed(&next->endpoints[i], err);
    }
    return RC_OK;
}

static enum rc place_versions(const struct catalogue *held, const struct catalogue *next,
                              struct places *at, struct err *err)
{
    at->version_count = held->version_count;
    for (int i = 0; i < next->version_count; i++) {
        at->version[i] = -1;
        for (int j = 0; j < held->version_count; j++) {
            enum rc rc = check_version(held, next, &held->versions[j], &next->versions[i], err);
            if (rc != RC_OK)
                return rc;
            if (strcmp(held->versions[j].label, next->versions[i].label) == 0)
                at->version[i] = j;
        }
        if (at->version[i] < 0)
            at->version[i] = at->version_count++;
    }
    return RC_OK;
}

static enum rc place(const struct catalogue *held, const struct catalogue *next, struct places *at,
                     struct err *err)
{
    enum rc rc = place_endpoints(held, next, at, err);
    if (rc == RC_OK)
        rc = place_versions(held, next, at, err);
    if (rc != RC_OK)
        return rc;
    if (at->endpoint_count > CATALOGUE_ENTRIES_MAX || at->version_count > CATALOGUE_ENTRIES_MAX)
        return err_set(err, RC_REJECT,
                       "with those that have left the file there would be %d endpoints and %d "
                       "model versions, at most %d each are kept: restart, which forgets those",
                       at->endpoint_count, at->version_count, (int)CATALOGUE_ENTRIES_MAX);
    return RC_OK;
}

/* ---- copies ---------------------------------------------------------------------------------- */

static bool copy_text(char **ret, const char *text)
{
    return (*ret = strdup(text)) != NULL;
}

static bool copy_endpoint(struct cat_endpoint *to, const struct cat_endpoint *from)
{
    *to = *from;
    to->left = true;
    to->name = to->base_url = to->credential = to->ca_file = NULL;
    return copy_text(&to->name, from->name) && copy_text(&to->base_url, from->base_url) &&
           copy_text(&to->credential, from->credential) && copy_text(&to->ca_file, from->ca_file);
}

static bool copy_version(struct cat_model_version *to, const struct cat_model_version *from)
{
    *to = *from;
    to->left = true;
    to->model = to->version = to->label = to->upstream_model = to->provider = to->owner = NULL;
    to->prices = calloc((size_t)from->price_count + 1, sizeof *to->prices);
    if (!to->prices)
        return false;
    for (int i = 0; i < from->price_count; i++)
        to->prices[i] = from->prices[i];
    return copy_text(&to->model, from->model) && copy_text(&to->version, from->version) &&
           copy_text(&to->label, from->label) &&
           copy_text(&to->upstream_model, from->upstream_model) &&
           copy_text(&to->provider, from->provider) && copy_text(&to->owner, from->owner);
}

/* Both lists at their new length, with copies of all that is held; what the file has, too, is put
 * in their place later. */
static bool copy_lists(const struct catalogue *held, const struct places *at,
                       struct catalogue *into)
{
    into->endpoints = calloc((size_t)at->endpoint_count + 1, sizeof *into->endpoints);
    into->versions = calloc((size_t)at->version_count + 1, sizeof *into->versions);
    bool ok = into->endpoints && into->versions;
    while (ok && into->endpoint_count < held->endpoint_count) {
        int i = into->endpoint_count++;
        ok = copy_endpoint(&into->endpoints[i], &held->endpoints[i]);
    }
    while (ok && into->version_count < held->version_count) {
        int i = into->version_count++;
        ok = copy_version(&into->versions[i], &held->versions[i]);
    }
    return ok;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* From here on nothing can fail: the file's entries go where they belong, and `into` gives its
 * lists up for theirs. */
static void put_in_place(struct catalogue *next, const struct places *at, struct catalogue *into)
{
    for (int i = 0; i < next->endpoint_count; i++) {
        struct cat_endpoint *e = &into->endpoints[at->endpoint[i]];
        catalogue_endpoint_done(e);
        int32_t db_id = e->db_id;
        *e = next->endpoints[i];
        e->index = at->endpoint[i];
        e->db_id = db_id;
    }
    for (int i = 0; i < next->version_count; i++) {
        struct cat_model_version *mv = &into->versions[at->version[i]];
        catalogue_version_done(mv);
        int32_t db_id = mv->db_id;
        *mv = next->versions[i];
        mv->index = at->version[i];
        mv->db_id = db_id;
        mv->endpoint = at->endpoint[mv->endpoint];
        mv->larger = mv->larger ? at->version[mv->larger - 1] + 1 : 0;
    }
    for (int i = 0; i < next->model_count; i++)
        next->models[i].current = at->version[next->models[i].current];
    free(next->endpoints);
    free(next->versions);
    next->endpoints = into->endpoints;
    next->versions = into->versions;
    next->endpoint_count = at->endpoint_count;
    next->version_count = at->version_count;
    *into = (struct catalogue){0};
}

static void lists_done(struct catalogue *into)
{
    for (int i = 0; i < into->endpoint_count; i++)
        catalogue_endpoint_done(&into->endpoints[i]);
    for (int i = 0; i < into->version_count; i++)
        catalogue_version_done(&into->versions[i]);
    free(into->endpoints);
    free(into->versions);
}

enum rc catalogue_merge(const struct catalogue *held, struct catalogue *next, struct err *err)
{
    struct catalogue into = {0};
    struct places at = {
        .endpoint = calloc((size_t)next->endpoint_count + 1, sizeof *at.endpoint),
        .version = calloc((size_t)next->version_count + 1, sizeof *at.version),
    };
    enum rc rc = at.endpoint && at.version ? place(held, next, &at, err) : RC_NOMEM;
    if (rc == RC_OK && !copy_lists(held, &at, &into))
        rc = RC_NOMEM;
    if (rc == RC_OK)
        put_in_place(next, &at, &into);
    if (rc == RC_NOMEM)
        err_set(err, rc, "no memory for another catalogue");
    lists_done(&into);
    free(at.endpoint);
    free(at.version);
    return rc;
}

/* ---- who serves? ----------------------------------------------------------------------------- */

static bool serves(const struct catalogue *cat, int version)
{
    enum version_state state = cat->versions[version].state;
    if (cat->versions[version].left || state == VERSION_RETIRED || state == VERSION_BLOCKED)
        return false;
    for (int i = 0; i < cat->model_count; i++)
        if (cat->models[i].current == version)
            return true;
    return false;
}

bool catalogue_moved_off(const struct catalogue *before, const struct catalogue *now, int endpoint)
{
    for (int i = 0; i < before->version_count; i++)
        if (before->versions[i].endpoint == endpoint && serves(before, i) && !serves(now, i))
            return true;
    return false;
}
