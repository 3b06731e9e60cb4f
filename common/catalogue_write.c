/*
 * catalogue_write.c - see catalogue_write.h.
 *
 * Happy path: under one advisory lock, so that workers starting together take turns, each entry is
 * looked up; what is not there is inserted, what may move (a version's state, a model's current
 * version, the defaults, limits) is moved, and each of these is an audit_log row. `at` says which
 * entry it is, `asked` which of its statements is out.
 *
 * Failure modes: an entry that stands in the tables with another content is RC_REJECT, names the
 * entry and says what to do.
 */
#include "common/catalogue_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/catalogue_impl.h"
#include "common/hash.h"

/* ---- statements ---------------------------------------------------------------------------- */

enum statement {
    LOCK = CATALOGUE_WRITE_FIRST,
    NOTE,
    ENDPOINT,
    ENDPOINT_ADD,
    MODEL,
    MODEL_ADD,
    VERSION,
    VERSION_ADD,
    VERSION_STATE,
    PRICE,
    PRICE_ADD,
    CURRENT,
    DEFAULT,
    DEFAULTS_LEFT,
    LIMITS,
    STATEMENT_COUNT,
};

const struct pg_stmt catalogue_write_statements[] = {
    [CATALOGUE_WRITE_BEGIN] = {"begin", "BEGIN"},
    [CATALOGUE_WRITE_COMMIT] = {"commit", "COMMIT"},
    [LOCK] = {"lock", "SELECT pg_advisory_xact_lock(hashtext('inferq catalogue'))"},
    [NOTE] = {"note", "INSERT INTO inferq.audit_log (actor, action, subject, detail) "
                      "VALUES ($1, $2, $3, $4)"},
    [ENDPOINT] = {"endpoint", "SELECT endpoint_id, sha256 FROM inferq.endpoint "
                              "WHERE name = $1 AND version = $2"},
    [ENDPOINT_ADD] = {"endpoint_add",
                      "INSERT INTO inferq.endpoint (name, version, base_url, adapter, credential, "
                      "ca_file, max_in_flight, timeout_ms, connect_timeout_ms, send_ids, "
                      "idempotency_key, sha256) "
                      "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
                      "RETURNING endpoint_id"},
    [MODEL] = {"model", "SELECT provider, owner FROM inferq.model WHERE name = $1"},
    [MODEL_ADD] = {"model_add",
                   "INSERT INTO inferq.model (name, provider, owner) VALUES ($1, $2, $3)"},
    [VERSION] = {"version", "SELECT model_version_id, sha256, state FROM inferq.model_version "
                            "WHERE label = $1"},
    [VERSION_ADD] = {"version_add",
                     "INSERT INTO inferq.model_version (model, version, label, upstream_model, "
                     "endpoint_id, state, context_tokens, max_output_tokens, sha256) "
                     "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING model_version_id"},
    [VERSION_STATE] = {"version_state", "UPDATE inferq.model_version SET state = $2 "
                                        "WHERE model_version_id = $1"},
    [PRICE] = {"price", "SELECT price_id, input_pusd, cached_pusd, output_pusd, reasoning_pusd, "
                        "request_pusd FROM inferq.price WHERE model_version_id = $1 "
                        "AND valid_from = timestamptz 'epoch' + $2::int8 * interval '1 ms'"},
    [PRICE_ADD] = {"price_add",
                   "INSERT INTO inferq.price (model_version_id, valid_from, input_pusd, "
                   "cached_pusd, output_pusd, reasoning_pusd, request_pusd) VALUES ($1, "
                   "timestamptz 'epoch' + $2::int8 * interval '1 ms', $3, $4, $5, $6, $7) "
                   "RETURNING price_id"},
    [CURRENT] = {"current", "UPDATE inferq.model SET current_version_id = $2 "
                            "WHERE name = $1 AND current_version_id IS DISTINCT FROM $2"},
    [DEFAULT] = {"default", "INSERT INTO inferq.model_default AS d (app, task, model) "
                            "VALUES ($1, $2, $3) ON CONFLICT (app, task) DO UPDATE SET model = $3 "
                            "WHERE d.model <> $3"},
    /* The table mirrors the file: what the file no longer says goes. */
    [DEFAULTS_LEFT] = {"defaults_left",
                       "WITH gone AS (DELETE FROM inferq.model_default d WHERE NOT EXISTS (SELECT "
                       "FROM unnest($1::text[], $2::text[]) AS u (app, task) WHERE u.app = d.app "
                       "AND u.task = d.task) RETURNING app, task, model) "
                       "INSERT INTO inferq.audit_log (actor, action, subject, detail) "
                       "SELECT $3, 'default.remove', 'app ' || app || ', task ' || task, "
                       "$4::text || ': ' || model FROM gone"},
    /* Of limits, too, but for what operators have said: that stands in a column of its own. A row
     * whose limit left the file stays, so that the limit keeps its id. Workers are told. */
    [LIMITS] = {"limits",
                "WITH differs AS (SELECT coalesce(u.scope, r.scope) AS scope, coalesce(u.key, "
                "r.key) AS key, coalesce(u.dimension, r.dimension) AS dimension, "
                "r.of_catalogue AS before, u.amount AS after "
                "FROM unnest($1::int2[], $2::text[], $3::int2[], $4::int8[]) "
                "AS u (scope, key, dimension, amount) FULL JOIN inferq.limit_rule r "
                "ON r.scope = u.scope AND r.key = u.key AND r.dimension = u.dimension "
                "WHERE r.of_catalogue IS DISTINCT FROM u.amount), "
                "put AS (INSERT INTO inferq.limit_rule (scope, key, dimension, of_catalogue, "
                "changed_by) SELECT scope, key, dimension, after, $5 FROM differs "
                "ON CONFLICT (scope, key, dimension) DO UPDATE SET of_catalogue = "
                "excluded.of_catalogue, changed_at = now(), changed_by = excluded.changed_by) "
                "INSERT INTO inferq.audit_log (actor, action, subject, detail) SELECT $5, "
                "CASE WHEN after IS NULL THEN 'limit.remove' ELSE 'limit.set' END, "
                "inferq.code_name('limit_scope', scope) || ':' || key || ' ' || "
                "inferq.code_name('limit_dimension', dimension), "
                "$6::text || ': ' || coalesce(before::text, 'none') || ' -> ' || "
                "coalesce(after::text, 'none') FROM differs "
                "WHERE pg_notify('inferq_limit', '')::text IS NOT NULL"},
    [STATEMENT_COUNT] = {0},
};

/* ---- where it is --------------------------------------------------------------------------- */

enum phase {
    PHASE_LOCK,
    PHASE_ENDPOINTS,
    PHASE_MODELS, /* without their current version, which may not be there yet */
    PHASE_VERSIONS,
    PHASE_CURRENTS,
    PHASE_DEFAULTS,
    PHASE_DEFAULTS_LEFT,
    PHASE_LIMITS,
    PHASE_DONE,
};

enum { NOTE_BYTES = 512, SUBJECT_BYTES = 2 * CATALOGUE_NAME_MAX + 16 };

struct catalogue_write {
    struct catalogue *cat;
    const char *actor;
    struct pg_params *params;
    struct {
        enum phase phase;
        int entry;
        int price; /* of the version that it is at; -1: the version itself */
    } at;
    enum statement asked;
    bool missing, moved; /* the entry is to be inserted; its state to be set */
    int old_state;
    uint8_t digest[HASH_BYTES]; /* the entry's */
    int changes;
    const char *action; /* of the row of audit_log that is to come; NULL: none is */
    char subject[SUBJECT_BYTES], note[NOTE_BYTES];
};

static int entries_of(const struct catalogue *cat, enum phase phase)
{
    switch (phase) {
    case PHASE_ENDPOINTS:
        return cat->endpoint_count;
    case PHASE_VERSIONS:
        return cat->version_count;
    case PHASE_MODELS:
    case PHASE_CURRENTS:
        return cat->model_count;
    case PHASE_DEFAULTS:
        return cat->default_count;
    case PHASE_LOCK:
    case PHASE_DEFAULTS_LEFT:
    case PHASE_LIMITS:
    case PHASE_DONE:
        break;
    }
    return 1;
}

static bool has_left(const struct catalogue *cat, enum phase phase, int entry)
{
    return (phase == PHASE_ENDPOINTS && cat->endpoints[entry].left) ||
           (phase == PHASE_VERSIONS && cat->versions[entry].left);
}

/* To the next entry, or a version's next price. */
static void step_on(struct catalogue_write *w)
{
    const struct catalogue *cat = w->cat;
    w->missing = w->moved = false;
    if (w->at.phase == PHASE_VERSIONS && w->at.price + 1 < cat->versions[w->at.entry].price_count) {
        w->at.price++;
        return;
    }
    w->at.price = -1;
    do {
        if (++w->at.entry >= entries_of(cat, w->at.phase)) {
            w->at.phase++;
            w->at.entry = -1;
        }
    } while (w->at.phase != PHASE_DONE &&
             (w->at.entry < 0 || has_left(cat, w->at.phase, w->at.entry)));
}

static void note_change(struct catalogue_write *w, const char *action, const char *subject,
                        const char *detail)
{
    w->changes++;
    w->action = action;
    (void)snprintf(w->subject, sizeof w->subject, "%s", subject);
    (void)snprintf(w->note, sizeof w->note, "catalogue %s%s%s", w->cat->name, *detail ? ": " : "",
                   detail);
}

static struct cat_endpoint *endpoint_at(const struct catalogue_write *w)
{
    return &w->cat->endpoints[w->at.entry];
}

static struct cat_model_version *version_at(const struct catalogue_write *w)
{
    return &w->cat->versions[w->at.entry];
}

static struct cat_price *price_at(const struct catalogue_write *w)
{
    return &version_at(w)->prices[w->at.price];
}

static const struct cat_model *model_at(const struct catalogue_write *w)
{
    return &w->cat->models[w->at.entry];
}

static void add_text(struct catalogue_write *w, const char *text)
{
    pg_add_text(w->params, span_of(text));
}

/* ---- digests -------------------------------------------------------------------------------- */

/*
 * The immutable content of an entry as a text: a form's name, then one "key=<bytes>:<value>" line
 * each. The lengths keep values from running into each other. Stored digests depend on this form
 * for ever: a change of it needs another form's name, and both to be tried.
 */
enum { CANONICAL_BYTES_MAX = 32768 };

static void canonical_text(struct buf *b, const char *key, const char *value)
{
    buf_addf(b, "%s=%zu:", key, strlen(value));
    buf_add_text(b, value);
    buf_add_byte(b, '\n');
}

static void canonical_int(struct buf *b, const char *key, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    canonical_text(b, key, text);
}

static enum rc canonical_digest(struct catalogue_write *w, struct buf *b, struct err *err)
{
    bool failed = b->failed;
    struct span text = buf_span(b);
    if (!failed)
        hash_sha256(&text, 1, w->digest);
    buf_done(b);
    return failed ? err_set(err, RC_NOMEM, "no memory for a catalogue entry's digest") : RC_OK;
}

static enum rc endpoint_digest(struct catalogue_write *w, struct err *err)
{
    const struct cat_endpoint *e = endpoint_at(w);
    struct buf b;
    buf_init(&b, CANONICAL_BYTES_MAX);
    buf_add_text(&b, "endpoint 1\n");
    canonical_text(&b, "name", e->name);
    canonical_int(&b, "version", e->version);
    canonical_text(&b, "base_url", e->base_url);
    canonical_int(&b, "adapter", (int64_t)e->adapter);
    canonical_text(&b, "credential", e->credential);
    canonical_text(&b, "ca_file", e->ca_file);
    canonical_int(&b, "max_in_flight", e->max_in_flight);
    canonical_int(&b, "timeout_ms", e->timeout_us / 1000);
    canonical_int(&b, "connect_timeout_ms", e->connect_timeout_us / 1000);
    canonical_int(&b, "send_ids", e->send_ids);
    canonical_int(&b, "idempotency_key", e->idempotency_key);
    return canonical_digest(w, &b, err);
}

static enum rc version_digest(struct catalogue_write *w, struct err *err)
{
    const struct cat_model_version *mv = version_at(w);
    const struct cat_endpoint *e = &w->cat->endpoints[mv->endpoint];
    struct buf b;
    buf_init(&b, CANONICAL_BYTES_MAX);
    buf_add_text(&b, "model_version 1\n");
    canonical_text(&b, "model", mv->model);
    canonical_text(&b, "version", mv->version);
    canonical_text(&b, "upstream_model", mv->upstream_model);
    canonical_text(&b, "endpoint", e->name);
    canonical_int(&b, "endpoint_version", e->version);
    canonical_int(&b, "context_tokens", mv->context_tokens);
    canonical_int(&b, "max_output_tokens", mv->max_output_tokens);
    return canonical_digest(w, &b, err);
}

static struct span digest(const struct catalogue_write *w)
{
    return (struct span){(const char *)w->digest, sizeof w->digest};
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static enum rc ask_endpoint(struct catalogue_write *w, struct err *err)
{
    const struct cat_endpoint *e = endpoint_at(w);
    w->asked = w->missing ? ENDPOINT_ADD : ENDPOINT;
    add_text(w, e->name);
    pg_add_int(w->params, PG_INT4, e->version);
    if (!w->missing)
        return endpoint_digest(w, err);
    add_text(w, e->base_url);
    pg_add_int(w->params, PG_INT2, (int64_t)e->adapter);
    add_text(w, e->credential);
    add_text(w, e->ca_file);
    pg_add_int(w->params, PG_INT4, e->max_in_flight);
    pg_add_int(w->params, PG_INT4, e->timeout_us / 1000);
    pg_add_int(w->params, PG_INT4, e->connect_timeout_us / 1000);
    pg_add_bool(w->params, e->send_ids);
    pg_add_bool(w->params, e->idempotency_key);
    pg_add_bytea(w->params, digest(w));
    return RC_OK;
}

static enum rc take_endpoint(struct catalogue_write *w, const struct pg_rows *rows, struct err *err)
{
    struct cat_endpoint *e = endpoint_at(w);
    if (!w->missing && pg_row_count(rows) == 0) {
        w->missing = true;
        return RC_OK;
    }
    if (!w->missing && !span_eq(pg_get_span(rows, 0, 1), digest(w)))
        return catalogue_endpoint_changed(e, err);
    e->db_id = (int32_t)pg_get_int(rows, 0, 0);
    if (!w->missing) {
        step_on(w);
        return RC_OK;
    }
    char subject[CATALOGUE_NAME_MAX + 16];
    (void)snprintf(subject, sizeof subject, "%s@%d", e->name, e->version);
    note_change(w, "endpoint.add", subject, e->base_url);
    return RC_OK;
}

/* ---- models ---------------------------------------------------------------------------------- */

static void ask_model(struct catalogue_write *w)
{
    const struct cat_model_version *mv = &w->cat->versions[model_at(w)->current];
    w->asked = w->missing ? MODEL_ADD : MODEL;
    add_text(w, model_at(w)->name);
    if (!w->missing)
        return;
    add_text(w, mv->provider);
    add_text(w, mv->owner);
}

static enum rc take_model(struct catalogue_write *w, const struct pg_rows *rows, struct err *err)
{
    const struct cat_model *model = model_at(w);
    const struct cat_model_version *mv = &w->cat->versions[model->current];
    if (w->missing) {
        note_change(w, "model.add", model->name, "");
        return RC_OK;
    }
    w->missing = pg_row_count(rows) == 0;
    if (w->missing)
        return RC_OK;
    if (!span_is(pg_get_span(rows, 0, 0), mv->provider) ||
        !span_is(pg_get_span(rows, 0, 1), mv->owner))
        return catalogue_model_changed(model->name, err);
    step_on(w);
    return RC_OK;
}

static void ask_current(struct catalogue_write *w)
{
    w->asked = CURRENT;
    add_text(w, model_at(w)->name);
    pg_add_int(w->params, PG_INT4, w->cat->versions[model_at(w)->current].db_id);
}

static void take_current(struct catalogue_write *w, const struct pg_rows *rows)
{
    const struct cat_model *model = model_at(w);
    if (pg_affected(rows) > 0)
        note_change(w, "model.current", model->name, w->cat->versions[model->current].version);
    else
        step_on(w);
}

/* ---- versions -------------------------------------------------------------------------------- */

static const char *state_name(int state)
{
    static const char *const names[] = {"unknown",    "test",    "approved",
                                        "deprecated", "retired", "blocked"};
    return state >= VERSION_TEST && state <= VERSION_BLOCKED ? names[state] : names[0];
}

static void ask_version_add(struct catalogue_write *w)
{
    const struct cat_model_version *mv = version_at(w);
    w->asked = VERSION_ADD;
    add_text(w, mv->model);
    add_text(w, mv->version);
    add_text(w, mv->label);
    add_text(w, mv->upstream_model);
    pg_add_int(w->params, PG_INT4, w->cat->endpoints[mv->endpoint].db_id);
    pg_add_int(w->params, PG_INT2, (int64_t)mv->state);
    pg_add_int(w->params, PG_INT8, mv->context_tokens);
    pg_add_int(w->params, PG_INT8, mv->max_output_tokens);
    pg_add_bytea(w->params, digest(w));
}

static enum rc ask_version(struct catalogue_write *w, struct err *err)
{
    const struct cat_model_version *mv = version_at(w);
    if (w->missing) {
        ask_version_add(w);
        return RC_OK;
    }
    if (w->moved) {
        w->asked = VERSION_STATE;
        pg_add_int(w->params, PG_INT4, mv->db_id);
        pg_add_int(w->params, PG_INT2, (int64_t)mv->state);
        return RC_OK;
    }
    w->asked = VERSION;
    add_text(w, mv->label);
    return version_digest(w, err);
}

static enum rc take_version(struct catalogue_write *w, const struct pg_rows *rows, struct err *err)
{
    struct cat_model_version *mv = version_at(w);
    if (pg_row_count(rows) == 0) {
        w->missing = true;
        return RC_OK;
    }
    if (!span_eq(pg_get_span(rows, 0, 1), digest(w)))
        return catalogue_version_changed(mv, err);
    mv->db_id = (int32_t)pg_get_int(rows, 0, 0);
    w->old_state = (int)pg_get_int(rows, 0, 2);
    w->moved = w->old_state != (int)mv->state;
    if (!w->moved)
        step_on(w);
    return RC_OK;
}

static void take_version_add(struct catalogue_write *w, const struct pg_rows *rows)
{
    struct cat_model_version *mv = version_at(w);
    mv->db_id = (int32_t)pg_get_int(rows, 0, 0);
    note_change(w, "model_version.add", mv->label, state_name((int)mv->state));
}

static void take_version_state(struct catalogue_write *w)
{
    const struct cat_model_version *mv = version_at(w);
    char detail[64];
    (void)snprintf(detail, sizeof detail, "%s -> %s", state_name(w->old_state),
                   state_name((int)mv->state));
    note_change(w, "model_version.state", mv->label, detail);
}

/* ---- prices ---------------------------------------------------------------------------------- */

static void add_pusd(struct catalogue_write *w, int64_t pusd)
{
    if (pusd < 0)
        pg_add_null(w->params, PG_INT8);
    else
        pg_add_int(w->params, PG_INT8, pusd);
}

static void ask_price(struct catalogue_write *w)
{
    const struct cat_price *price = price_at(w);
    const struct price *p = &price->price;
    w->asked = w->missing ? PRICE_ADD : PRICE;
    pg_add_int(w->params, PG_INT4, version_at(w)->db_id);
    pg_add_int(w->params, PG_INT8, price->from_ms);
    if (!w->missing)
        return;
    add_pusd(w, p->input_pusd);
    add_pusd(w, p->cached_pusd);
    add_pusd(w, p->output_pusd);
    add_pusd(w, p->reasoning_pusd);
    pg_add_int(w->params, PG_INT8, p->request_pusd);
}

static int64_t get_pusd(const struct pg_rows *rows, int col)
{
    return pg_null(rows, 0, col) ? -1 : pg_get_int(rows, 0, col);
}

static bool same_price(const struct pg_rows *rows, const struct price *p)
{
    return get_pusd(rows, 1) == p->input_pusd && get_pusd(rows, 2) == p->cached_pusd &&
           get_pusd(rows, 3) == p->output_pusd && get_pusd(rows, 4) == p->reasoning_pusd &&
           get_pusd(rows, 5) == p->request_pusd;
}

static void note_price(struct catalogue_write *w)
{
    const struct price *p = &price_at(w)->price;
    char detail[192];
    (void)snprintf(detail, sizeof detail,
                   "from Unix ms %" PRId64 ", pico-USD: input %" PRId64 ", cached %" PRId64
                   ", output %" PRId64 ", reasoning %" PRId64 ", request %" PRId64,
                   price_at(w)->from_ms, p->input_pusd, p->cached_pusd, p->output_pusd,
                   p->reasoning_pusd, p->request_pusd);
    note_change(w, "price.add", version_at(w)->label, detail);
}

static enum rc take_price(struct catalogue_write *w, const struct pg_rows *rows, struct err *err)
{
    if (!w->missing && pg_row_count(rows) == 0) {
        w->missing = true;
        return RC_OK;
    }
    if (!w->missing && !same_price(rows, &price_at(w)->price))
        return catalogue_price_changed(version_at(w), w->at.price, err);
    price_at(w)->db_id = (int32_t)pg_get_int(rows, 0, 0);
    if (w->missing)
        note_price(w);
    else
        step_on(w);
    return RC_OK;
}

/* ---- defaults -------------------------------------------------------------------------------- */

static void ask_default(struct catalogue_write *w)
{
    const struct cat_default *d = &w->cat->defaults[w->at.entry];
    w->asked = DEFAULT;
    add_text(w, d->app);
    add_text(w, d->task);
    add_text(w, w->cat->models[d->model].name);
}

static void take_default(struct catalogue_write *w, const struct pg_rows *rows)
{
    const struct cat_default *d = &w->cat->defaults[w->at.entry];
    char subject[SUBJECT_BYTES];
    if (pg_affected(rows) == 0) {
        step_on(w);
        return;
    }
    (void)snprintf(subject, sizeof subject, "app %s, task %s", d->app, d->task);
    note_change(w, "default.set", subject, w->cat->models[d->model].name);
}

static void ask_defaults_left(struct catalogue_write *w)
{
    const struct catalogue *cat = w->cat;
    w->asked = DEFAULTS_LEFT;
    pg_array(w->params, PG_TEXT);
    for (int i = 0; i < cat->default_count; i++)
        pg_elem_span(w->params, span_of(cat->defaults[i].app));
    pg_array(w->params, PG_TEXT);
    for (int i = 0; i < cat->default_count; i++)
        pg_elem_span(w->params, span_of(cat->defaults[i].task));
    add_text(w, w->actor);
    (void)snprintf(w->note, sizeof w->note, "catalogue %s", cat->name);
    add_text(w, w->note);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void ask_limits(struct catalogue_write *w)
{
    w->asked = LIMITS;
    catalogue_add_limits(w->cat, w->params);
    add_text(w, w->actor);
    (void)snprintf(w->note, sizeof w->note, "catalogue %s", w->cat->name);
    add_text(w, w->note);
}

/* ---- the whole ------------------------------------------------------------------------------- */

struct catalogue_write *catalogue_write_new(struct catalogue *cat, const char *actor)
{
    struct catalogue_write *w = calloc(1, sizeof *w);
    if (!w || !(w->params = pg_params_new())) {
        free(w);
        return NULL;
    }
    w->cat = cat;
    w->actor = actor;
    w->at.price = -1;
    return w;
}

static void ask_note(struct catalogue_write *w)
{
    w->asked = NOTE;
    add_text(w, w->actor);
    add_text(w, w->action);
    add_text(w, w->subject);
    add_text(w, w->note);
}

static enum rc ask(struct catalogue_write *w, struct err *err)
{
    switch (w->at.phase) {
    case PHASE_LOCK:
        w->asked = LOCK;
        break;
    case PHASE_ENDPOINTS:
        return ask_endpoint(w, err);
    case PHASE_MODELS:
        ask_model(w);
        break;
    case PHASE_VERSIONS:
        if (w->at.price < 0)
            return ask_version(w, err);
        ask_price(w);
        break;
    case PHASE_CURRENTS:
        ask_current(w);
        break;
    case PHASE_DEFAULTS:
        ask_default(w);
        break;
    case PHASE_DEFAULTS_LEFT:
        ask_defaults_left(w);
        break;
    case PHASE_LIMITS:
        ask_limits(w);
        break;
    case PHASE_DONE:
        break;
    }
    return RC_OK;
}

enum rc catalogue_write_next(struct catalogue_write *w, int *ret_statement,
                             const struct pg_params **ret_params, struct err *err)
{
    enum rc rc = RC_OK;
    pg_params_reset(w->params);
    if (w->action)
        ask_note(w);
    else
        rc = ask(w, err);
    if (rc != RC_OK)
        return rc;
    *ret_statement = !w->action && w->at.phase == PHASE_DONE ? -1 : (int)w->asked;
    *ret_params = w->params;
    return RC_OK;
}

enum rc catalogue_write_take(struct catalogue_write *w, const struct pg_rows *rows, struct err *err)
{
    switch (w->asked) {
    case NOTE:
        w->action = NULL;
        step_on(w);
        break;
    case ENDPOINT:
    case ENDPOINT_ADD:
        return take_endpoint(w, rows, err);
    case MODEL:
    case MODEL_ADD:
        return take_model(w, rows, err);
    case VERSION:
        return take_version(w, rows, err);
    case VERSION_ADD:
        take_version_add(w, rows);
        break;
    case VERSION_STATE:
        take_version_state(w);
        break;
    case PRICE:
    case PRICE_ADD:
        return take_price(w, rows, err);
    case CURRENT:
        take_current(w, rows);
        break;
    case DEFAULT:
        take_default(w, rows);
        break;
    case DEFAULTS_LEFT:
    case LIMITS:
        w->changes += (int)pg_affected(rows);
        step_on(w);
        break;
    case LOCK:
        step_on(w);
        break;
    case STATEMENT_COUNT:
        break;
    }
    return RC_OK;
}

int catalogue_write_changes(const struct catalogue_write *w)
{
    return w->changes;
}

static void forget_ids(struct catalogue *cat)
{
    for (int i = 0; i < cat->endpoint_count; i++)
        cat->endpoints[i].db_id = 0;
    for (int i = 0; i < cat->version_count; i++) {
        cat->versions[i].db_id = 0;
        for (int j = 0; j < cat->versions[i].price_count; j++)
            cat->versions[i].prices[j].db_id = 0;
    }
}

void catalogue_write_free(struct catalogue_write *w, bool committed)
{
    if (!w)
        return;
    if (!committed)
        forget_ids(w->cat);
    pg_params_free(w->params);
    free(w);
}
