/*
 * catalogue_db.c - writes a catalogue into its tables.
 *
 * Happy path: one transaction under one advisory lock, so that workers starting together take
 * turns. Each entry is looked up; what is not there is inserted, what may move (a version's state,
 * a model's current version, the defaults) is moved, and each of these is an audit_log row.
 *
 * Failure modes: an entry that stands in the tables with another content is RC_REJECT, names the
 * entry and says what to do; the transaction is rolled back and every db_id is 0 again. A broken
 * connection is RC_RETRY: doing it all once more is harmless.
 */
#include "common/catalogue.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/hash.h"
#include "common/pg.h"

struct apply {
    struct catalogue *cat;
    struct pgc *conn;
    struct pg_params *params;
    const char *actor;
    int changes;
    struct err *err;
};

/* ---- statements ---------------------------------------------------------------------------- */

static enum rc run(struct apply *a, const char *sql, struct pg_rows **ret_rows)
{
    enum rc rc = pgc_exec(a->conn, sql, a->params, ret_rows, a->err);
    pg_params_reset(a->params);
    return rc;
}

static void add_text(struct apply *a, const char *text)
{
    pg_add_text(a->params, span_of(text));
}

/* The int in the first row and column of what `sql` returns; 0: no row. */
static enum rc run_for_id(struct apply *a, const char *sql, int32_t *ret_id)
{
    struct pg_rows *rows = NULL;
    enum rc rc = run(a, sql, &rows);
    if (rc == RC_OK)
        *ret_id = pg_row_count(rows) ? (int32_t)pg_get_int(rows, 0, 0) : 0;
    pg_rows_free(rows);
    return rc;
}

static enum rc note_change(struct apply *a, const char *action, const char *subject,
                           const char *detail)
{
    char text[512];
    snprintf(text, sizeof text, "catalogue %s%s%s", a->cat->name, *detail ? ": " : "", detail);
    a->changes++;
    add_text(a, a->actor);
    add_text(a, action);
    add_text(a, subject);
    add_text(a, text);
    return run(a,
               "INSERT INTO inferq.audit_log (actor, action, subject, detail) "
               "VALUES ($1, $2, $3, $4)",
               NULL);
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

static enum rc canonical_digest(struct apply *a, struct buf *b, uint8_t out[HASH_BYTES])
{
    bool failed = b->failed;
    struct span text = buf_span(b);
    if (!failed)
        hash_sha256(&text, 1, out);
    buf_done(b);
    return failed ? err_set(a->err, RC_NOMEM, "no memory for a catalogue entry's digest") : RC_OK;
}

static enum rc endpoint_digest(struct apply *a, const struct cat_endpoint *e,
                               uint8_t out[HASH_BYTES])
{
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
    return canonical_digest(a, &b, out);
}

static enum rc version_digest(struct apply *a, const struct cat_model_version *mv,
                              uint8_t out[HASH_BYTES])
{
    const struct cat_endpoint *e = &a->cat->endpoints[mv->endpoint];
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
    return canonical_digest(a, &b, out);
}

/* ---- endpoints ------------------------------------------------------------------------------- */

static enum rc insert_endpoint(struct apply *a, struct cat_endpoint *e, struct span digest)
{
    char subject[CATALOGUE_NAME_MAX + 16];
    snprintf(subject, sizeof subject, "%s@%d", e->name, e->version);
    add_text(a, e->name);
    pg_add_int(a->params, PG_INT4, e->version);
    add_text(a, e->base_url);
    pg_add_int(a->params, PG_INT2, (int64_t)e->adapter);
    add_text(a, e->credential);
    add_text(a, e->ca_file);
    pg_add_int(a->params, PG_INT4, e->max_in_flight);
    pg_add_int(a->params, PG_INT4, e->timeout_us / 1000);
    pg_add_int(a->params, PG_INT4, e->connect_timeout_us / 1000);
    pg_add_bool(a->params, e->send_ids);
    pg_add_bool(a->params, e->idempotency_key);
    pg_add_bytea(a->params, digest);
    enum rc rc = run_for_id(a,
                            "INSERT INTO inferq.endpoint (name, version, base_url, adapter, "
                            "credential, ca_file, max_in_flight, timeout_ms, connect_timeout_ms, "
                            "send_ids, idempotency_key, sha256) "
                            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
                            "RETURNING endpoint_id",
                            &e->db_id);
    return rc == RC_OK ? note_change(a, "endpoint.add", subject, e->base_url) : rc;
}

static enum rc apply_endpoint(struct apply *a, struct cat_endpoint *e)
{
    uint8_t digest[HASH_BYTES];
    enum rc rc = endpoint_digest(a, e, digest);
    if (rc != RC_OK)
        return rc;
    struct span wanted = {(const char *)digest, sizeof digest};
    struct pg_rows *rows = NULL;
    add_text(a, e->name);
    pg_add_int(a->params, PG_INT4, e->version);
    rc = run(a, "SELECT endpoint_id, sha256 FROM inferq.endpoint WHERE name = $1 AND version = $2",
             &rows);
    if (rc == RC_OK && pg_row_count(rows) == 0)
        rc = insert_endpoint(a, e, wanted);
    else if (rc == RC_OK && !span_eq(pg_get_span(rows, 0, 1), wanted))
        rc = err_set(a->err, RC_REJECT,
                     "endpoint '%s' version %d was applied before with another content, and is "
                     "immutable: give the changed one version %d (and the model versions that are "
                     "to use it new versions)",
                     e->name, e->version, e->version + 1);
    else if (rc == RC_OK)
        e->db_id = (int32_t)pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

/* ---- prices ---------------------------------------------------------------------------------- */

static void add_pusd(struct apply *a, int64_t pusd)
{
    if (pusd < 0)
        pg_add_null(a->params, PG_INT8);
    else
        pg_add_int(a->params, PG_INT8, pusd);
}

static int64_t get_pusd(const struct pg_rows *rows, int col)
{
    return pg_null(rows, 0, col) ? -1 : pg_get_int(rows, 0, col);
}

static enum rc insert_price(struct apply *a, const struct cat_model_version *mv,
                            struct cat_price *price)
{
    const struct price *p = &price->price;
    char detail[192];
    snprintf(detail, sizeof detail,
             "from Unix ms %" PRId64 ", pico-USD: input %" PRId64 ", cached %" PRId64
             ", output %" PRId64 ", reasoning %" PRId64 ", request %" PRId64,
             price->from_ms, p->input_pusd, p->cached_pusd, p->output_pusd, p->reasoning_pusd,
             p->request_pusd);
    pg_add_int(a->params, PG_INT4, mv->db_id);
    pg_add_int(a->params, PG_INT8, price->from_ms);
    add_pusd(a, p->input_pusd);
    add_pusd(a, p->cached_pusd);
    add_pusd(a, p->output_pusd);
    add_pusd(a, p->reasoning_pusd);
    pg_add_int(a->params, PG_INT8, p->request_pusd);
    enum rc rc = run_for_id(a,
                            "INSERT INTO inferq.price (model_version_id, valid_from, input_pusd, "
                            "cached_pusd, output_pusd, reasoning_pusd, request_pusd) VALUES ($1, "
                            "timestamptz 'epoch' + $2 * interval '1 ms', $3, $4, $5, $6, $7) "
                            "RETURNING price_id",
                            &price->db_id);
    return rc == RC_OK ? note_change(a, "price.add", mv->label, detail) : rc;
}

static bool same_price(const struct pg_rows *rows, const struct price *p)
{
    return get_pusd(rows, 1) == p->input_pusd && get_pusd(rows, 2) == p->cached_pusd &&
           get_pusd(rows, 3) == p->output_pusd && get_pusd(rows, 4) == p->reasoning_pusd &&
           get_pusd(rows, 5) == p->request_pusd;
}

static enum rc apply_price(struct apply *a, const struct cat_model_version *mv,
                           struct cat_price *price)
{
    struct pg_rows *rows = NULL;
    pg_add_int(a->params, PG_INT4, mv->db_id);
    pg_add_int(a->params, PG_INT8, price->from_ms);
    enum rc rc = run(a,
                     "SELECT price_id, input_pusd, cached_pusd, output_pusd, reasoning_pusd, "
                     "request_pusd FROM inferq.price WHERE model_version_id = $1 "
                     "AND valid_from = timestamptz 'epoch' + $2 * interval '1 ms'",
                     &rows);
    if (rc == RC_OK && pg_row_count(rows) == 0)
        rc = insert_price(a, mv, price);
    else if (rc == RC_OK && !same_price(rows, &price->price))
        rc = err_set(a->err, RC_REJECT,
                     "price %d of '%s' was applied before with other amounts, and is immutable: "
                     "calls were priced by it; add a price with a later 'from' instead",
                     (int)(price - mv->prices) + 1, mv->label);
    else if (rc == RC_OK)
        price->db_id = (int32_t)pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return rc;
}

/* ---- models ---------------------------------------------------------------------------------- */

static const char *state_name(int state)
{
    static const char *const names[] = {"unknown",    "test",    "approved",
                                        "deprecated", "retired", "blocked"};
    return state >= VERSION_TEST && state <= VERSION_BLOCKED ? names[state] : names[0];
}

static enum rc insert_version(struct apply *a, struct cat_model_version *mv, struct span digest)
{
    add_text(a, mv->model);
    add_text(a, mv->version);
    add_text(a, mv->label);
    add_text(a, mv->upstream_model);
    pg_add_int(a->params, PG_INT4, a->cat->endpoints[mv->endpoint].db_id);
    pg_add_int(a->params, PG_INT2, (int64_t)mv->state);
    pg_add_int(a->params, PG_INT8, mv->context_tokens);
    pg_add_int(a->params, PG_INT8, mv->max_output_tokens);
    pg_add_bytea(a->params, digest);
    enum rc rc =
        run_for_id(a,
                   "INSERT INTO inferq.model_version (model, version, label, "
                   "upstream_model, endpoint_id, state, context_tokens, "
                   "max_output_tokens, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
                   "RETURNING model_version_id",
                   &mv->db_id);
    return rc == RC_OK ? note_change(a, "model_version.add", mv->label, state_name((int)mv->state))
                       : rc;
}

static enum rc move_state(struct apply *a, struct cat_model_version *mv, int old_state)
{
    if (old_state == (int)mv->state)
        return RC_OK;
    char detail[64];
    snprintf(detail, sizeof detail, "%s -> %s", state_name(old_state), state_name((int)mv->state));
    pg_add_int(a->params, PG_INT4, mv->db_id);
    pg_add_int(a->params, PG_INT2, (int64_t)mv->state);
    enum rc rc =
        run(a, "UPDATE inferq.model_version SET state = $2 WHERE model_version_id = $1", NULL);
    return rc == RC_OK ? note_change(a, "model_version.state", mv->label, detail) : rc;
}

static enum rc apply_version(struct apply *a, struct cat_model_version *mv)
{
    uint8_t digest[HASH_BYTES];
    enum rc rc = version_digest(a, mv, digest);
    if (rc != RC_OK)
        return rc;
    struct span wanted = {(const char *)digest, sizeof digest};
    struct pg_rows *rows = NULL;
    add_text(a, mv->label);
    rc = run(a, "SELECT model_version_id, sha256, state FROM inferq.model_version WHERE label = $1",
             &rows);
    if (rc == RC_OK && pg_row_count(rows) == 0) {
        rc = insert_version(a, mv, wanted);
    } else if (rc == RC_OK && !span_eq(pg_get_span(rows, 0, 1), wanted)) {
        rc = err_set(a->err, RC_REJECT,
                     "model version '%s' was applied before with another content (upstream_model, "
                     "endpoint or token limits), and is immutable: give the changed one a new "
                     "version",
                     mv->label);
    } else if (rc == RC_OK) {
        mv->db_id = (int32_t)pg_get_int(rows, 0, 0);
        rc = move_state(a, mv, (int)pg_get_int(rows, 0, 2));
    }
    pg_rows_free(rows);
    for (int i = 0; rc == RC_OK && i < mv->price_count; i++)
        rc = apply_price(a, mv, &mv->prices[i]);
    return rc;
}

/* The model's row, without its current version, which may not be there yet. */
static enum rc apply_model(struct apply *a, const struct cat_model *model)
{
    const struct cat_model_version *mv = &a->cat->versions[model->current];
    struct pg_rows *rows = NULL;
    add_text(a, model->name);
    enum rc rc = run(a, "SELECT provider, owner FROM inferq.model WHERE name = $1", &rows);
    if (rc == RC_OK && pg_row_count(rows) == 0) {
        add_text(a, model->name);
        add_text(a, mv->provider);
        add_text(a, mv->owner);
        rc = run(a, "INSERT INTO inferq.model (name, provider, owner) VALUES ($1, $2, $3)", NULL);
        if (rc == RC_OK)
            rc = note_change(a, "model.add", model->name, "");
    } else if (rc == RC_OK && (!span_is(pg_get_span(rows, 0, 0), mv->provider) ||
                               !span_is(pg_get_span(rows, 0, 1), mv->owner))) {
        rc = err_set(a->err, RC_REJECT,
                     "model '%s' was applied before with another provider or owner, which are "
                     "immutable: write those again, or give the model another name",
                     model->name);
    }
    pg_rows_free(rows);
    return rc;
}

static enum rc apply_current(struct apply *a, const struct cat_model *model)
{
    const struct cat_model_version *mv = &a->cat->versions[model->current];
    struct pg_rows *rows = NULL;
    add_text(a, model->name);
    pg_add_int(a->params, PG_INT4, mv->db_id);
    enum rc rc = run(a,
                     "UPDATE inferq.model SET current_version_id = $2 "
                     "WHERE name = $1 AND current_version_id IS DISTINCT FROM $2",
                     &rows);
    bool moved = rc == RC_OK && pg_affected(rows) > 0;
    pg_rows_free(rows);
    return moved ? note_change(a, "model.current", model->name, mv->version) : rc;
}

/* ---- defaults -------------------------------------------------------------------------------- */

static enum rc note_default(struct apply *a, const char *action, struct span app, struct span task,
                            const char *model)
{
    char subject[2 * CATALOGUE_NAME_MAX + 16];
    snprintf(subject, sizeof subject, "app %.*s, task %.*s", (int)app.n, app.p, (int)task.n,
             task.p);
    return note_change(a, action, subject, model);
}

static enum rc apply_default(struct apply *a, const struct cat_default *d)
{
    const char *model = a->cat->models[d->model].name;
    struct pg_rows *rows = NULL;
    add_text(a, d->app);
    add_text(a, d->task);
    add_text(a, model);
    enum rc rc = run(a,
                     "INSERT INTO inferq.model_default AS d (app, task, model) "
                     "VALUES ($1, $2, $3) ON CONFLICT (app, task) DO UPDATE SET model = $3 "
                     "WHERE d.model <> $3",
                     &rows);
    bool moved = rc == RC_OK && pg_affected(rows) > 0;
    pg_rows_free(rows);
    return moved ? note_default(a, "default.set", span_of(d->app), span_of(d->task), model) : rc;
}

/* The table mirrors the file: what the file no longer says goes. */
static enum rc remove_old_defaults(struct apply *a)
{
    const struct catalogue *cat = a->cat;
    struct pg_rows *rows = NULL;
    pg_array(a->params, PG_TEXT);
    for (int i = 0; i < cat->default_count; i++)
        pg_elem_span(a->params, span_of(cat->defaults[i].app));
    pg_array(a->params, PG_TEXT);
    for (int i = 0; i < cat->default_count; i++)
        pg_elem_span(a->params, span_of(cat->defaults[i].task));
    enum rc rc = run(a,
                     "DELETE FROM inferq.model_default d WHERE NOT EXISTS (SELECT FROM "
                     "unnest($1::text[], $2::text[]) AS u (app, task) WHERE u.app = d.app "
                     "AND u.task = d.task) RETURNING app, task, model",
                     &rows);
    for (int i = 0; rc == RC_OK && i < pg_row_count(rows); i++) {
        char model[CATALOGUE_NAME_MAX + 1];
        struct span name = pg_get_span(rows, i, 2);
        snprintf(model, sizeof model, "%.*s", (int)name.n, name.p);
        rc = note_default(a, "default.remove", pg_get_span(rows, i, 0), pg_get_span(rows, i, 1),
                          model);
    }
    pg_rows_free(rows);
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static enum rc apply_all(struct apply *a)
{
    struct catalogue *cat = a->cat;
    enum rc rc = run(a, "SELECT pg_advisory_xact_lock(hashtext('inferq catalogue'))", NULL);
    for (int i = 0; rc == RC_OK && i < cat->endpoint_count; i++)
        rc = apply_endpoint(a, &cat->endpoints[i]);
    for (int i = 0; rc == RC_OK && i < cat->model_count; i++)
        rc = apply_model(a, &cat->models[i]);
    for (int i = 0; rc == RC_OK && i < cat->version_count; i++)
        rc = apply_version(a, &cat->versions[i]);
    for (int i = 0; rc == RC_OK && i < cat->model_count; i++)
        rc = apply_current(a, &cat->models[i]);
    for (int i = 0; rc == RC_OK && i < cat->default_count; i++)
        rc = apply_default(a, &cat->defaults[i]);
    return rc == RC_OK ? remove_old_defaults(a) : rc;
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

enum rc catalogue_apply(struct catalogue *cat, struct pgc *conn, const char *actor, int *ret_new,
                        struct err *err)
{
    struct apply a = {.cat = cat, .conn = conn, .actor = actor, .err = err};
    a.params = pg_params_new();
    if (!a.params)
        return err_set(err, RC_NOMEM, "no memory to apply the catalogue");
    enum rc rc = pgc_exec(conn, "BEGIN", NULL, NULL, err);
    if (rc != RC_OK)
        goto out;
    rc = apply_all(&a);
    if (rc == RC_OK)
        rc = pgc_exec(conn, "COMMIT", NULL, NULL, err);
    if (rc == RC_OK) {
        *ret_new = a.changes;
    } else {
        /* A connection that broke has rolled back by itself: the first error is the one to tell. */
        enum rc undone = pgc_exec(conn, "ROLLBACK", NULL, NULL, NULL);
        (void)undone;
        forget_ids(cat);
    }
out:
    pg_params_free(a.params);
    return rc;
}
