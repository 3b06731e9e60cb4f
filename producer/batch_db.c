/*
 * batch_db.c - the statements.
 *
 * Happy path: one statement, one row. Failures come from pg.h and are only given a remedy here:
 * 42P01, 42883 and 3F000 say that the migrations were not run, 42501 that the login lacks a role.
 */
#include "producer/batch_db.h"

#include <stdio.h>
#include <string.h>

#include "common/lane_set.h"

static enum rc explain(struct pgc *conn, enum rc rc, struct err *err)
{
    const char *state = pgc_sqlstate(conn);
    if (rc != RC_REJECT)
        return rc;
    if (!strcmp(state, "42P01") || !strcmp(state, "3F000") || !strcmp(state, "42883"))
        return err_set(err, RC_REJECT,
                       "the database has no inferq tables yet: run `inferq migrate` first");
    if (!strcmp(state, "42501"))
        return err_prefix(err, rc, "the login lacks the role inferq_producer");
    return rc;
}

static enum rc run(struct pgc *conn, const char *sql, const struct pg_params *params,
                   struct pg_rows **ret_rows, struct err *err)
{
    if (!params)
        return err_set(err, RC_NOMEM, "no memory for a statement");
    enum rc rc = pgc_exec(conn, sql, params, ret_rows, err);
    return rc == RC_OK ? rc : explain(conn, rc, err);
}

enum rc batch_db_clock(struct pgc *conn, int64_t *ret_now_ms, int64_t *ret_oldest_ms,
                       struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    enum rc rc = run(conn,
                     "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, "
                     "oldest_live_ms()",
                     params, &rows, err);
    if (rc == RC_OK) {
        *ret_now_ms = pg_get_int(rows, 0, 0);
        *ret_oldest_ms = pg_get_int(rows, 0, 1);
    }
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

static void read_row(const struct pg_rows *rows, struct batch_row *row)
{
    struct span digest = pg_get_span(rows, 0, 6);
    *row = (struct batch_row){
        .id = pg_get_uuid(rows, 0, 0),
        .created_ms = pg_get_int(rows, 0, 1),
        .deadline_ms = pg_get_time_ms(rows, 0, 2),
        .total = pg_null(rows, 0, 3) ? -1 : pg_get_int(rows, 0, 3),
        .sealed_ms = pg_get_time_ms(rows, 0, 4),
        .cancelled = !pg_null(rows, 0, 5),
        .lane = pg_null(rows, 0, 7) ? -1 : (int)pg_get_int(rows, 0, 7),
    };
    if (digest.p && digest.n == HASH_BYTES) {
        row->has_digest = true;
        memcpy(row->digest, digest.p, HASH_BYTES);
    }
}

enum rc batch_db_lanes(struct pgc *conn, struct lane_set *ret_lanes, struct err *err)
{
    enum rc rc = lane_set_read(conn, ret_lanes, err);
    return rc == RC_OK ? rc : explain(conn, rc, err);
}

enum rc batch_db_find(struct pgc *conn, struct span app, struct span name, bool *ret_found,
                      struct batch_row *ret_row, struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    if (params) {
        pg_add_text(params, app);
        pg_add_text(params, name);
    }
    enum rc rc = run(conn,
                     "SELECT batch_id, created_ms, deadline_at, total, sealed_at, "
                     "cancel_requested_at, input_sha256, priority FROM batch "
                     "WHERE app = $1 AND name = $2",
                     params, &rows, err);
    if (rc == RC_OK) {
        *ret_found = pg_row_count(rows) == 1;
        if (*ret_found)
            read_row(rows, ret_row);
    }
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

enum rc batch_db_register(struct pgc *conn, const struct batch_want *want, int64_t now_ms,
                          struct batch_row *ret_row, struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct jobid id = batchid_make(now_ms, want->app, want->name);
    bool found = false;
    if (params) {
        pg_add_uuid(params, &id);
        pg_add_text(params, want->app);
        pg_add_text(params, want->name);
        pg_add_text(params, want->task);
        pg_add_text(params, want->team);
        pg_add_int(params, PG_INT2, want->lane);
        pg_add_int(params, PG_INT8, now_ms);
        pg_add_time_ms(params, want->deadline_ms);
        pg_add_bytea(params, want->digest ? (struct span){(const char *)want->digest, HASH_BYTES}
                                          : (struct span){0});
    }
    enum rc rc = run(conn,
                     "INSERT INTO batch (batch_id, app, name, task, team, priority, created_ms, "
                     "deadline_at, input_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
                     "ON CONFLICT (app, name) DO NOTHING",
                     params, NULL, err);
    pg_params_free(params);
    if (rc == RC_OK)
        rc = batch_db_find(conn, want->app, want->name, &found, ret_row, err);
    if (rc == RC_OK && !found)
        rc = err_set(err, RC_REJECT, "the batch was deleted while it was registered");
    return rc;
}

enum rc batch_db_seal(struct pgc *conn, const struct jobid *id, int64_t total,
                      const uint8_t digest[HASH_BYTES], bool *ret_sealed, struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    if (params) {
        pg_add_uuid(params, id);
        pg_add_int(params, PG_INT8, total);
        pg_add_bytea(params, (struct span){(const char *)digest, HASH_BYTES});
    }
    enum rc rc = run(conn,
                     "UPDATE batch SET total = $2, input_sha256 = $3, sealed_at = now() "
                     "WHERE batch_id = $1 AND sealed_at IS NULL",
                     params, &rows, err);
    if (rc == RC_OK)
        *ret_sealed = pg_affected(rows) == 1;
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

enum rc batch_db_add_prompt(struct pgc *conn, struct span version, struct span prompt,
                            struct err *err)
{
    struct pg_params *params = pg_params_new();
    if (params) {
        pg_add_text(params, version);
        pg_add_text(params, prompt);
    }
    enum rc rc = run(conn,
                     "INSERT INTO prompt_version (prompt_version, template) VALUES ($1, $2) "
                     "ON CONFLICT (prompt_version) DO NOTHING",
                     params, NULL, err);
    pg_params_free(params);
    return rc;
}

enum rc batch_db_counts(struct pgc *conn, const struct jobid *id, struct batch_counts *ret_counts,
                        struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    if (params)
        pg_add_uuid(params, id);
    enum rc rc = run(conn,
                     "SELECT accepted, succeeded, dead, cancelled, expired, pending, cost_nusd, "
                     "requeued, dead_accepted FROM batch_progress WHERE batch_id = $1",
                     params, &rows, err);
    if (rc == RC_OK && pg_row_count(rows) != 1)
        rc = err_set(err, RC_REJECT, "the batch is no longer there");
    if (rc == RC_OK)
        *ret_counts = (struct batch_counts){
            .accepted = pg_get_int(rows, 0, 0),
            .succeeded = pg_get_int(rows, 0, 1),
            .dead = pg_get_int(rows, 0, 2),
            .cancelled = pg_get_int(rows, 0, 3),
            .expired = pg_get_int(rows, 0, 4),
            .pending = pg_get_int(rows, 0, 5),
            .cost_nusd = pg_null(rows, 0, 6) ? -1 : pg_get_int(rows, 0, 6),
            .requeued = pg_get_int(rows, 0, 7),
            .dead_accepted = pg_get_int(rows, 0, 8),
        };
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

/* The same rule as catalogue_route: a model by name, or "model@version"; else the most specific
 * default. */
static const char model_sql[] =
    "SELECT v.label, v.max_output_tokens, p.input_pusd, p.cached_pusd, p.output_pusd, "
    "       p.reasoning_pusd, p.request_pusd "
    "FROM model_version v "
    "LEFT JOIN LATERAL (SELECT * FROM price q WHERE q.model_version_id = v.model_version_id "
    "                   AND q.valid_from <= now() ORDER BY q.valid_from DESC LIMIT 1) p ON true "
    "WHERE v.model_version_id = coalesce("
    "    (SELECT current_version_id FROM model WHERE name = $1), "
    "    (SELECT model_version_id FROM model_version WHERE label = $1), "
    "    (SELECT m.current_version_id FROM model_default d JOIN model m ON m.name = d.model "
    "     WHERE $1::text IS NULL AND d.app IN ($2, '*') AND d.task IN ($3, '*') "
    "     ORDER BY d.app = '*', d.task = '*' LIMIT 1))";

static int64_t price_or_unknown(const struct pg_rows *rows, int col)
{
    return pg_null(rows, 0, col) ? -1 : pg_get_int(rows, 0, col);
}

static void read_model(const struct pg_rows *rows, struct batch_model *model)
{
    struct span label = pg_get_span(rows, 0, 0);
    *model = (struct batch_model){.max_output_tokens = pg_get_int(rows, 0, 1),
                                  .priced = !pg_null(rows, 0, 6)};
    snprintf(model->label, sizeof model->label, "%.*s", (int)label.n, label.p);
    if (model->priced)
        model->price = (struct price){
            .input_pusd = price_or_unknown(rows, 2),
            .cached_pusd = price_or_unknown(rows, 3),
            .output_pusd = price_or_unknown(rows, 4),
            .reasoning_pusd = price_or_unknown(rows, 5),
            .request_pusd = pg_get_int(rows, 0, 6),
        };
}

enum rc batch_db_model(struct pgc *conn, struct span model, struct span app, struct span task,
                       bool *ret_found, struct batch_model *ret_model, struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    if (params) {
        pg_add_text(params, model);
        pg_add_text(params, app);
        pg_add_text(params, task.p ? task : SPAN_LIT("*"));
    }
    enum rc rc = run(conn, model_sql, params, &rows, err);
    if (rc == RC_OK) {
        *ret_found = pg_row_count(rows) == 1;
        if (*ret_found)
            read_model(rows, ret_model);
    }
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}

enum rc batch_db_has_catalogue(struct pgc *conn, bool *ret_has, struct err *err)
{
    struct pg_params *params = pg_params_new();
    struct pg_rows *rows = NULL;
    enum rc rc = run(conn, "SELECT EXISTS (SELECT FROM model)", params, &rows, err);
    if (rc == RC_OK)
        *ret_has = pg_get_bool(rows, 0, 0);
    pg_rows_free(rows);
    pg_params_free(params);
    return rc;
}
