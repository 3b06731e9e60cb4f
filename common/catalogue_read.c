/*
 * catalogue_read.c - from the file's tree to the catalogue: every key checked, every name resolved.
 *
 * Happy path: `read_section` turns a map into one field per key of its table (defaults filled in,
 * unknown keys refused); the functions below it build the entries, in the order endpoints, models
 * with their versions and prices, defaults, routes, so that each name is known before it is used.
 *
 * Failure modes: the first thing wrong ends the reading, as RC_REJECT "FILE:LINE: key 'x': ...".
 * What was built so far is freed by catalogue_free.
 */
#include "common/catalogue_impl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/catalogue_keys.h"
#include "common/clock.h"
#include "common/config_impl.h"

/* ---- errors and memory ----------------------------------------------------------------------- */

struct reader {
    const char *file_name;
    struct catalogue *cat;
    struct catalogue_larger *larger; /* by version */
    struct err *err;
};

static enum rc bad(const struct reader *r, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static enum rc bad(const struct reader *r, int line, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(r->err, RC_REJECT, "%s:%d: %s", r->file_name, line, text);
}

static enum rc no_memory(const struct reader *r)
{
    return err_set(r->err, RC_NOMEM, "%s: no memory for the catalogue", r->file_name);
}

static bool copy_text(char **to, const char *text)
{
    *to = strdup(text);
    return *to != NULL;
}

/* ---- sections -------------------------------------------------------------------------------- */

enum { FIELDS_MAX = 12 };

struct field {
    int line;
    const char *text; /* scalars: as written, or the default; never NULL, also elsewhere */
    int64_t num;      /* all types but TEXT */
    const struct yaml_node *list; /* lists and maps: NULL when absent */
};

static enum yaml_kind kind_of(const struct config_key *key)
{
    if (strcmp(key->unit, "list") == 0)
        return YAML_KIND_LIST;
    return strcmp(key->unit, "map") == 0 ? YAML_KIND_MAP : YAML_KIND_TEXT;
}

static const char *key_name(enum catalogue_section_index section, int field)
{
    return catalogue_sections[section].keys[field].name;
}

/* Prefixes the error that stands by "FILE:LINE: key 'x'". */
static enum rc bad_key(const struct reader *r, int line, const char *key, enum rc rc)
{
    return err_prefix(r->err, rc, "%s:%d: key '%s'", r->file_name, line, key);
}

static enum rc set_field(const struct reader *r, const struct yaml_node *node,
                         const struct config_key *key, struct field *field)
{
    enum yaml_kind wanted = kind_of(key);
    field->line = node->line;
    if (node->kind != wanted)
        return bad(r, node->line, "key '%s' must be %s, and is %s", key->name,
                   yaml_kind_name(wanted), yaml_kind_name(node->kind));
    if (wanted != YAML_KIND_TEXT) {
        field->list = node;
        if (wanted == YAML_KIND_LIST && node->item_count > CATALOGUE_ENTRIES_MAX)
            return bad(r, node->line, "key '%s' holds %d entries; at most %d are allowed",
                       key->name, node->item_count, (int)CATALOGUE_ENTRIES_MAX);
        return RC_OK;
    }
    field->text = node->text;
    if (!*node->text && (!key->deflt || *key->deflt))
        return bad(r, node->line, "key '%s' must not be empty", key->name);
    enum rc rc = config_value_parse(key, node->text, &field->num, r->err);
    return rc == RC_OK ? rc : bad_key(r, node->line, key->name, rc);
}

static enum rc set_default(const struct reader *r, const struct yaml_node *map,
                           const struct catalogue_section *section, const struct config_key *key,
                           struct field *field)
{
    field->line = map->line;
    if (!key->deflt)
        return bad(r, map->line, "the key '%s' of this %s is missing", key->name, section->title);
    field->text = key->deflt;
    if (key->type == CONFIG_TEXT)
        return RC_OK;
    enum rc rc = config_value_parse(key, key->deflt, &field->num, r->err);
    return rc == RC_OK ? rc : bad_key(r, map->line, key->name, rc);
}

static enum rc unknown_key(const struct reader *r, const struct yaml_node *node,
                           const struct catalogue_section *section)
{
    const char *near = config_nearest(section->keys, node->key);
    return bad(r, node->line, "this %s has an unknown key '%.64s'%s%s%s", section->title, node->key,
               near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* fields[i] is the table's key i. */
static enum rc read_section(const struct reader *r, const struct yaml_node *map,
                            enum catalogue_section_index which, struct field *fields)
{
    const struct catalogue_section *section = &catalogue_sections[which];
    for (int i = 0; i < FIELDS_MAX; i++)
        fields[i] = (struct field){.text = ""};
    if (map->kind != YAML_KIND_MAP)
        return bad(r, map->line, "%s must be a map of keys, and is %s", section->title,
                   yaml_kind_name(map->kind));
    for (int i = 0; i < map->item_count; i++) {
        const struct config_key *key = section->keys;
        while (key->name && strcmp(key->name, map->items[i].key) != 0)
            key++;
        if (!key->name)
            return unknown_key(r, &map->items[i], section);
        enum rc rc = set_field(r, &map->items[i], key, &fields[key - section->keys]);
        if (rc != RC_OK)
            return rc;
    }
    for (const struct config_key *key = section->keys; key->name; key++) {
        struct field *field = &fields[key - section->keys];
        enum rc rc = field->line ? RC_OK : set_default(r, map, section, key, field);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

/* Names stand in metrics, labels and request bodies. '@' separates the version. */
static enum rc check_name(const struct reader *r, const struct field *field, const char *key)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+-";
    if (field->text[strspn(field->text, allowed)] == '\0')
        return RC_OK;
    return bad(r, field->line, "key '%s': only letters, digits and . _ : / + - are allowed", key);
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static enum rc endpoint_texts(const struct reader *r, const struct field *f, struct cat_endpoint *e)
{
    enum rc rc = catalogue_expand(f[EP_URL].text, &e->base_url, r->err);
    if (rc == RC_OK)
        rc = catalogue_check_url(e->base_url, r->err);
    if (rc != RC_OK)
        return bad_key(r, f[EP_URL].line, "base_url", rc);
    rc = catalogue_check_credential(f[EP_CREDENTIAL].text, r->err);
    if (rc != RC_OK)
        return bad_key(r, f[EP_CREDENTIAL].line, "credential", rc);
    bool ok = copy_text(&e->name, f[EP_NAME].text) &&
              copy_text(&e->credential, f[EP_CREDENTIAL].text) &&
              copy_text(&e->ca_file, f[EP_CA_FILE].text);
    return ok ? RC_OK : no_memory(r);
}

static enum rc read_endpoint(const struct reader *r, const struct yaml_node *node)
{
    struct field f[FIELDS_MAX];
    struct cat_endpoint *e = &r->cat->endpoints[r->cat->endpoint_count];
    e->index = r->cat->endpoint_count++;
    enum rc rc = read_section(r, node, CATALOGUE_ENDPOINT, f);
    if (rc == RC_OK)
        rc = check_name(r, &f[EP_NAME], "name");
    if (rc == RC_OK)
        rc = endpoint_texts(r, f, e);
    if (rc != RC_OK)
        return rc;
    e->version = (int)f[EP_VERSION].num;
    e->adapter = (enum adapter)f[EP_ADAPTER].num;
    e->max_in_flight = (int)f[EP_IN_FLIGHT].num;
    e->timeout_us = f[EP_TIMEOUT].num;
    e->connect_timeout_us = f[EP_CONNECT_TIMEOUT].num;
    e->send_ids = f[EP_SEND_IDS].num != 0;
    e->idempotency_key = f[EP_IDEMPOTENCY].num != 0;
    rc = catalogue_read_limits(f[EP_LIMITS].list, r->file_name, &e->limits, r->err);
    if (rc != RC_OK)
        return rc;
    if (e->timeout_us % 1000 != 0 || e->connect_timeout_us % 1000 != 0)
        return bad(r, node->line, "timeouts are whole milliseconds");
    if (e->connect_timeout_us > e->timeout_us)
        return bad(r, f[EP_CONNECT_TIMEOUT].line,
                   "key 'connect_timeout' is longer than the whole call's timeout");
    for (const struct cat_endpoint *other = r->cat->endpoints; other < e; other++)
        if (strcmp(other->name, e->name) == 0 && other->version == e->version)
            return bad(r, f[EP_NAME].line, "endpoint '%s' version %d stands twice", e->name,
                       e->version);
    return RC_OK;
}

/* "name" when one version of it is there, "name@version" always. */
static enum rc find_endpoint(const struct reader *r, const struct field *f, int *ret_index)
{
    const char *at = strchr(f->text, '@');
    size_t n = at ? (size_t)(at - f->text) : strlen(f->text);
    int found = -1;
    for (int i = 0; i < r->cat->endpoint_count; i++) {
        const struct cat_endpoint *e = &r->cat->endpoints[i];
        char version[16];
        snprintf(version, sizeof version, "%d", e->version);
        if (strlen(e->name) != n || memcmp(e->name, f->text, n) != 0 ||
            (at && strcmp(at + 1, version) != 0))
            continue;
        if (found >= 0)
            return bad(r, f->line,
                       "there are several versions of endpoint '%s': write '%s@%d', for "
                       "example",
                       e->name, e->name, e->version);
        found = i;
    }
    if (found < 0)
        return bad(r, f->line, "there is no endpoint '%.150s' in this file", f->text);
    *ret_index = found;
    return RC_OK;
}

/* ---- prices ---------------------------------------------------------------------------------- */

static enum rc read_from(const struct reader *r, const struct field *f, int64_t *ret_ms)
{
    char text[96];
    bool date = strlen(f->text) == 10;
    snprintf(text, sizeof text, "%s%s", f->text, date ? "T00:00:00Z" : "");
    int64_t ms = text[0] == '+' ? -1 : clock_parse(text, 0);
    if (ms < 0)
        return bad(r, f->line,
                   "key 'from': '%s' is neither a date such as 2026-01-31 nor a time "
                   "such as 2026-01-31T12:00:00Z",
                   f->text);
    *ret_ms = ms;
    return RC_OK;
}

/* *ret_pusd: -1 when the key is absent. */
static enum rc read_usd(const struct reader *r, const struct field *fields, enum price_field which,
                        int64_t per, int64_t *ret_pusd)
{
    *ret_pusd = -1;
    if (!*fields[which].text)
        return RC_OK;
    enum rc rc = price_parse_pusd(fields[which].text, per, ret_pusd, r->err);
    return rc == RC_OK ? rc : bad_key(r, fields[which].line, key_name(CATALOGUE_PRICE, which), rc);
}

static enum rc read_price(const struct reader *r, const struct yaml_node *node,
                          struct cat_price *price)
{
    enum { PER_MILLION = 1000000 };
    struct field f[FIELDS_MAX];
    struct price *p = &price->price;
    enum rc rc = read_section(r, node, CATALOGUE_PRICE, f);
    if (rc == RC_OK)
        rc = read_from(r, &f[PRICE_FROM], &price->from_ms);
    if (rc == RC_OK)
        rc = read_usd(r, f, PRICE_INPUT, PER_MILLION, &p->input_pusd);
    if (rc == RC_OK)
        rc = read_usd(r, f, PRICE_CACHED, PER_MILLION, &p->cached_pusd);
    if (rc == RC_OK)
        rc = read_usd(r, f, PRICE_OUTPUT, PER_MILLION, &p->output_pusd);
    if (rc == RC_OK)
        rc = read_usd(r, f, PRICE_REASONING, PER_MILLION, &p->reasoning_pusd);
    if (rc == RC_OK)
        rc = read_usd(r, f, PRICE_REQUEST, 1, &p->request_pusd);
    return rc;
}

static enum rc read_prices(const struct reader *r, const struct field *f,
                           struct cat_model_version *mv)
{
    if (!f->list || f->list->item_count == 0)
        return RC_OK;
    if (!(mv->prices = calloc((size_t)f->list->item_count, sizeof *mv->prices)))
        return no_memory(r);
    for (; mv->price_count < f->list->item_count; mv->price_count++) {
        const struct yaml_node *node = &f->list->items[mv->price_count];
        struct cat_price *price = &mv->prices[mv->price_count];
        enum rc rc = read_price(r, node, price);
        if (rc != RC_OK)
            return rc;
        if (mv->price_count && price[-1].from_ms >= price->from_ms)
            return bad(r, node->line,
                       "prices must be in order of 'from', each later than the one "
                       "before");
    }
    return RC_OK;
}

/* ---- models ---------------------------------------------------------------------------------- */

static enum rc version_texts(const struct reader *r, const struct field *model,
                             const struct field *f, struct cat_model_version *mv)
{
    char label[2 * CATALOGUE_NAME_MAX + 2];
    snprintf(label, sizeof label, "%s@%s", model[MODEL_NAME].text, f[MV_VERSION].text);
    bool ok = copy_text(&mv->model, model[MODEL_NAME].text) &&
              copy_text(&mv->version, f[MV_VERSION].text) && copy_text(&mv->label, label) &&
              copy_text(&mv->upstream_model, f[MV_UPSTREAM].text) &&
              copy_text(&mv->provider, model[MODEL_PROVIDER].text) &&
              copy_text(&mv->owner, model[MODEL_OWNER].text);
    return ok ? RC_OK : no_memory(r);
}

static enum rc read_version(const struct reader *r, const struct field *model,
                            const struct yaml_node *node, int first)
{
    struct field f[FIELDS_MAX];
    struct cat_model_version *mv = &r->cat->versions[r->cat->version_count];
    mv->index = r->cat->version_count++;
    enum rc rc = read_section(r, node, CATALOGUE_VERSION, f);
    if (rc == RC_OK)
        rc = check_name(r, &f[MV_VERSION], "version");
    if (rc == RC_OK)
        rc = version_texts(r, model, f, mv);
    if (rc == RC_OK)
        rc = find_endpoint(r, &f[MV_ENDPOINT], &mv->endpoint);
    if (rc != RC_OK)
        return rc;
    mv->state = (enum version_state)(f[MV_STATE].num + VERSION_TEST);
    mv->context_tokens = f[MV_CONTEXT].num;
    mv->max_output_tokens = f[MV_MAX_OUTPUT].num;
    for (int i = first; i < mv->index; i++)
        if (strcmp(r->cat->versions[i].version, mv->version) == 0)
            return bad(r, f[MV_VERSION].line, "version '%s' of this model stands twice",
                       mv->version);
    r->larger[mv->index] = (struct catalogue_larger){f[MV_LARGER].text, f[MV_LARGER].line};
    rc = catalogue_read_limits(f[MV_LIMITS].list, r->file_name, &mv->limits, r->err);
    if (rc != RC_OK)
        return rc;
    return read_prices(r, &f[MV_PRICES], mv);
}

static enum rc find_current(const struct reader *r, const struct field *f, int first,
                            struct cat_model *model)
{
    int count = r->cat->version_count - first;
    const char *wanted = f[MODEL_CURRENT].text;
    if (!*wanted && count > 1)
        return bad(r, f[MODEL_NAME].line,
                   "model '%s' has several versions: say in 'current' which "
                   "one serves",
                   model->name);
    for (int i = first; i < r->cat->version_count; i++) {
        if (*wanted && strcmp(r->cat->versions[i].version, wanted) != 0)
            continue;
        model->current = i;
        return RC_OK;
    }
    return bad(r, f[MODEL_CURRENT].line,
               "key 'current': model '%s' has no version '%s' in this "
               "file",
               model->name, wanted);
}

static enum rc read_model(const struct reader *r, const struct yaml_node *node)
{
    struct field f[FIELDS_MAX];
    struct cat_model *model = &r->cat->models[r->cat->model_count++];
    int first = r->cat->version_count;
    enum rc rc = read_section(r, node, CATALOGUE_MODEL, f);
    if (rc == RC_OK)
        rc = check_name(r, &f[MODEL_NAME], "name");
    if (rc == RC_OK && !copy_text(&model->name, f[MODEL_NAME].text))
        rc = no_memory(r);
    if (rc != RC_OK)
        return rc;
    for (const struct cat_model *other = r->cat->models; other < model; other++)
        if (strcmp(other->name, model->name) == 0)
            return bad(r, f[MODEL_NAME].line, "model '%s' stands twice", model->name);
    const struct yaml_node *versions = f[MODEL_VERSIONS].list;
    if (versions->item_count == 0)
        return bad(r, versions->line, "model '%s' has no version", model->name);
    for (int i = 0; rc == RC_OK && i < versions->item_count; i++)
        rc = read_version(r, f, &versions->items[i], first);
    return rc == RC_OK ? find_current(r, f, first, model) : rc;
}

/* ---- defaults
 * ------------------------------------------------------------------------------------ */

static enum rc find_model(const struct reader *r, const struct field *f, int *ret_model)
{
    for (int i = 0; i < r->cat->model_count; i++)
        if (strcmp(r->cat->models[i].name, f->text) == 0) {
            *ret_model = i;
            return RC_OK;
        }
    return bad(r, f->line, "there is no model '%s' in this file", f->text);
}

static enum rc add_default(const struct reader *r, int line, const struct field *app,
                           const struct field *task, const struct field *model)
{
    struct cat_default *d = &r->cat->defaults[r->cat->default_count++];
    if (!copy_text(&d->app, app->text) || !copy_text(&d->task, task->text))
        return no_memory(r);
    for (const struct cat_default *other = r->cat->defaults; other < d; other++)
        if (strcmp(other->app, d->app) == 0 && strcmp(other->task, d->task) == 0)
            return bad(r, line, "the default of app '%s' and task '%s' stands twice", d->app,
                       d->task);
    return find_model(r, model, &d->model);
}

static enum rc read_default(const struct reader *r, const struct yaml_node *node)
{
    struct field f[FIELDS_MAX];
    enum rc rc = read_section(r, node, CATALOGUE_DEFAULT, f);
    if (rc != RC_OK)
        return rc;
    return add_default(r, node->line, &f[DEFAULT_APP], &f[DEFAULT_TASK], &f[DEFAULT_MODEL]);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static enum rc read_usd_a_day(const struct reader *r, const struct field *f,
                              struct cat_retry *retry)
{
    enum { PUSD_PER_NUSD = 1000 };
    int64_t pusd = 0;
    retry->ambiguous_nusd_per_day = -1;
    if (!*f->text)
        return RC_OK;
    enum rc rc = price_parse_pusd(f->text, 1, &pusd, r->err);
    if (rc != RC_OK)
        return bad_key(r, f->line, key_name(CATALOGUE_RETRY, RETRY_USD), rc);
    if (retry->ambiguous != AMBIGUOUS_RETRY)
        return bad(r, f->line, "key '%s' bounds what `ambiguous: retry` costs, and this says '%s'",
                   key_name(CATALOGUE_RETRY, RETRY_USD),
                   retry->ambiguous == AMBIGUOUS_HOLD ? "hold" : "give_up");
    retry->ambiguous_nusd_per_day = pusd / PUSD_PER_NUSD;
    return RC_OK;
}

/* `node` may be NULL: as ever. */
static enum rc read_retry(const struct reader *r, const struct yaml_node *node,
                          struct cat_retry *retry)
{
    struct field f[FIELDS_MAX];
    *retry = (struct cat_retry)CATALOGUE_RETRY_DEFAULT;
    if (!node)
        return RC_OK;
    enum rc rc = read_section(r, node, CATALOGUE_RETRY, f);
    if (rc != RC_OK)
        return rc;
    *retry = (struct cat_retry){
        .max_attempts = (int)f[RETRY_ATTEMPTS].num,
        .ambiguous = (enum ambiguous)f[RETRY_AMBIGUOUS].num,
        .backoff_base_us = f[RETRY_BASE].num,
        .backoff_cap_us = f[RETRY_CAP].num,
    };
    rc = catalogue_share_parse(f[RETRY_BUDGET].text, &retry->budget_permille, r->err);
    if (rc != RC_OK)
        return bad_key(r, f[RETRY_BUDGET].line, key_name(CATALOGUE_RETRY, RETRY_BUDGET), rc);
    rc = read_usd_a_day(r, &f[RETRY_USD], retry);
    if (rc != RC_OK)
        return rc;
    if (retry->backoff_base_us > retry->backoff_cap_us)
        return bad(r, f[RETRY_BASE].line, "key 'backoff_base' is longer than 'backoff_cap'");
    return RC_OK;
}

/* No two routes have the same app, task and model, so of those that fit one fits best. */
static enum rc check_unique(const struct reader *r, int line, const struct cat_route *route)
{
    for (const struct cat_route *other = r->cat->routes; other < route; other++)
        if (strcmp(other->app, route->app) == 0 && strcmp(other->task, route->task) == 0 &&
            other->model == route->model)
            return bad(r, line, "the route of app '%s', task '%s' and model '%s' stands twice",
                       route->app, route->task,
                       route->model < 0 ? "*" : r->cat->models[route->model].name);
    return RC_OK;
}

/* As whom it spends: whoever has the same app, task and model spends the same money. */
static enum rc name_route(const struct reader *r, const struct field *f, struct cat_retry *retry)
{
    char name[3 * CATALOGUE_NAME_MAX + 32];
    (void)snprintf(name, sizeof name, "app=%s task=%s model=%s", f[ROUTE_APP].text,
                   f[ROUTE_TASK].text, f[ROUTE_MODEL].text);
    return copy_text(&retry->route, name) ? RC_OK : no_memory(r);
}

static enum rc read_route(const struct reader *r, const struct yaml_node *node)
{
    struct field f[FIELDS_MAX];
    struct cat_route *route = &r->cat->routes[r->cat->route_count++];
    bool any_model = false;
    enum rc rc = read_section(r, node, CATALOGUE_ROUTE, f);
    if (rc != RC_OK)
        return rc;
    if (!copy_text(&route->app, f[ROUTE_APP].text) || !copy_text(&route->task, f[ROUTE_TASK].text))
        return no_memory(r);
    any_model = strcmp(f[ROUTE_MODEL].text, "*") == 0;
    route->model = -1;
    if (!any_model)
        rc = find_model(r, &f[ROUTE_MODEL], &route->model);
    if (rc == RC_OK)
        rc = check_unique(r, node->line, route);
    if (rc == RC_OK)
        rc = read_retry(r, f[ROUTE_RETRY].list, &route->retry);
    if (rc == RC_OK && route->retry.ambiguous_nusd_per_day >= 0)
        rc = name_route(r, f, &route->retry);
    if (rc != RC_OK || !f[ROUTE_DEFAULT].num)
        return rc;
    if (any_model)
        return bad(r, f[ROUTE_DEFAULT].line,
                   "a route for any model cannot be a default: say in 'model' which one serves");
    return add_default(r, node->line, &f[ROUTE_APP], &f[ROUTE_TASK], &f[ROUTE_MODEL]);
}

/* ---- apps ------------------------------------------------------------------------------------ */

static enum rc read_app(const struct reader *r, const struct yaml_node *node)
{
    struct field f[FIELDS_MAX];
    struct cat_app *app = &r->cat->apps[r->cat->app_count++];
    enum rc rc = read_section(r, node, CATALOGUE_APP, f);
    if (rc != RC_OK)
        return rc;
    if (!copy_text(&app->name, f[APP_NAME].text))
        return no_memory(r);
    if (strcmp(app->name, "*") == 0)
        return bad(r, f[APP_NAME].line, "limits are those of one app: '*' is none");
    for (const struct cat_app *other = r->cat->apps; other < app; other++)
        if (strcmp(other->name, app->name) == 0)
            return bad(r, f[APP_NAME].line, "app '%s' stands twice", app->name);
    return catalogue_read_limits(f[APP_LIMITS].list, r->file_name, &app->limits, r->err);
}

/* ---- the whole
 * ------------------------------------------------------------------------------------ */

/* A list that may be absent. */
static int count_of(const struct yaml_node *list)
{
    return list ? list->item_count : 0;
}

/* Versions of all models; a wrong shape counts nothing here, and is refused where it is read. */
static int count_versions(const struct yaml_node *models)
{
    int count = 0;
    for (int i = 0; i < count_of(models); i++)
        for (int j = 0; j < models->items[i].item_count; j++)
            if (models->items[i].kind == YAML_KIND_MAP &&
                strcmp(models->items[i].items[j].key, "versions") == 0)
                count += models->items[i].items[j].item_count;
    return count;
}

static enum rc make_room(const struct reader *r, const struct field *f)
{
    struct catalogue *cat = r->cat;
    int endpoints = count_of(f[ROOT_ENDPOINTS].list), models = count_of(f[ROOT_MODELS].list);
    int defaults = count_of(f[ROOT_DEFAULTS].list), routes = count_of(f[ROOT_ROUTES].list);
    int versions = count_versions(f[ROOT_MODELS].list), apps = count_of(f[ROOT_APPS].list);
    if (versions > CATALOGUE_ENTRIES_MAX)
        return bad(r, f[ROOT_MODELS].line, "%d model versions; at most %d are allowed", versions,
                   (int)CATALOGUE_ENTRIES_MAX);
    /* One more each: calloc(0) may be NULL. */
    cat->endpoints = calloc((size_t)endpoints + 1, sizeof *cat->endpoints);
    cat->models = calloc((size_t)models + 1, sizeof *cat->models);
    cat->versions = calloc((size_t)versions + 1, sizeof *cat->versions);
    cat->defaults = calloc((size_t)defaults + (size_t)routes + 1, sizeof *cat->defaults);
    cat->routes = calloc((size_t)routes + 1, sizeof *cat->routes);
    cat->apps = calloc((size_t)apps + 1, sizeof *cat->apps);
    bool ok = cat->endpoints && cat->models && cat->versions && cat->defaults && cat->routes &&
              cat->apps && copy_text(&cat->name, f[ROOT_NAME].text);
    return ok ? RC_OK : no_memory(r);
}

typedef enum rc (*read_entry)(const struct reader *r, const struct yaml_node *node);

static enum rc read_all(const struct reader *r, const struct yaml_node *list, read_entry read)
{
    for (int i = 0; i < count_of(list); i++) {
        enum rc rc = read(r, &list->items[i]);
        if (rc != RC_OK)
            return rc;
    }
    return RC_OK;
}

enum rc catalogue_read(const struct yaml_node *root, const char *file_name, struct catalogue *cat,
                       struct err *err)
{
    struct reader r = {file_name, cat, NULL, err};
    struct field f[FIELDS_MAX];
    enum rc rc = read_section(&r, root, CATALOGUE_ROOT, f);
    if (rc == RC_OK)
        rc = make_room(&r, f);
    if (rc == RC_OK && !(r.larger = calloc((size_t)CATALOGUE_ENTRIES_MAX, sizeof *r.larger)))
        rc = no_memory(&r);
    if (rc == RC_OK)
        rc = read_all(&r, f[ROOT_ENDPOINTS].list, read_endpoint);
    if (rc == RC_OK)
        rc = read_all(&r, f[ROOT_MODELS].list, read_model);
    if (rc == RC_OK)
        rc = catalogue_find_larger(cat, r.larger, file_name, err);
    if (rc == RC_OK)
        rc = read_all(&r, f[ROOT_DEFAULTS].list, read_default);
    if (rc == RC_OK)
        rc = read_all(&r, f[ROOT_ROUTES].list, read_route);
    if (rc == RC_OK)
        rc = read_all(&r, f[ROOT_APPS].list, read_app);
    free(r.larger);
    return rc;
}
