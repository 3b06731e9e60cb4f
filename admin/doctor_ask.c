/*
 * doctor_ask.c - see doctor_ask.h. A question that the server refuses leaves the connection usable,
 * and the next is asked.
 */
#include "admin/doctor_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/held.h"
#include "admin/migrations.h"
#include "common/clock.h"
#include "common/sign.h"

/* ---- rows --------------------------------------------------------------------------------- */

void doctor_answers_done(struct doctor_answers *a)
{
    free(a->rows);
    *a = (struct doctor_answers){0};
}

static void copy(char *out, size_t out_bytes, struct span text)
{
    (void)snprintf(out, out_bytes, "%.*s", (int)text.n, text.p ? text.p : "");
}

static enum rc one_row(struct doctor_answers *ret, struct err *err)
{
    ret->rows = calloc(1, sizeof *ret->rows);
    ret->count = ret->rows ? 1 : 0;
    return cmd_have(ret->rows, err);
}

enum rc doctor_ask_rows(struct ctx *ctx, const char *sql, const struct pg_params *params,
                        struct doctor_answers *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(ctx->conn, sql, params, &rows, err);
    int count = rc == RC_OK ? pg_row_count(rows) : 0;
    if (rc == RC_OK) {
        ret->rows = calloc((size_t)count + 1, sizeof *ret->rows);
        rc = cmd_have(ret->rows, err);
    }
    for (int i = 0; rc == RC_OK && i < count; i++) {
        struct doctor_row *row = &ret->rows[i];
        copy(row->subject, sizeof row->subject, pg_get_span(rows, i, 0));
        copy(row->detail, sizeof row->detail, pg_get_span(rows, i, 1));
        row->a = pg_get_int(rows, i, 2);
        row->b = pg_get_int(rows, i, 3);
        ret->count = i + 1;
    }
    pg_rows_free(rows);
    return rc;
}

/* ---- Postgres ----------------------------------------------------------------------------- */

/* Of a few tries the quickest: the shorter the way, the less is not known. */
enum rc doctor_ask_clock(struct ctx *ctx, struct doctor_answers *ret, struct err *err)
{
    enum { TRIES = 3 };
    int64_t best_us = INT64_MAX;
    enum rc rc = one_row(ret, err);
    for (int i = 0; rc == RC_OK && i < TRIES; i++) {
        struct pg_rows *rows = NULL;
        int64_t start_us = clock_mono_us(), start_ms = clock_wall_ms();
        rc = pgc_exec(ctx->conn, "SELECT clock_timestamp()", NULL, &rows, err);
        int64_t trip_us = clock_mono_us() - start_us;
        if (rc == RC_OK && trip_us < best_us) {
            best_us = trip_us;
            ret->rows[0].a = pg_get_time_ms(rows, 0, 0) - (start_ms + trip_us / 2000);
            ret->rows[0].b = trip_us / 2000;
        }
        pg_rows_free(rows);
    }
    return rc;
}

enum rc doctor_ask_migrations(struct ctx *ctx, struct doctor_answers *ret, struct err *err)
{
    struct migrations m = {0};
    struct err why = {0};
    enum rc rc = one_row(ret, err);
    if (rc != RC_OK)
        return rc;
    struct doctor_row *row = &ret->rows[0];
    enum rc matched = migrate_compare(ctx, &m, &why);
    if (matched == RC_RETRY || *pgc_sqlstate(ctx->conn)) {
        rc = err_set(err, matched, "%s", why.text);
    } else if (matched != RC_OK) {
        row->b = 1;
        copy(row->subject, sizeof row->subject, span_of(why.text));
    }
    for (int i = m.count; matched == RC_OK && i-- > 0;) {
        row->a += !m.all[i].applied_ms;
        if (!m.all[i].applied_ms || !*row->subject)
            copy(row->subject, sizeof row->subject, span_of(m.all[i].file));
    }
    migrations_done(&m);
    return rc;
}

/* A batch has ended when it is sealed and nothing of it is pending. */
static const char fleet_sql[] =
    "SELECT (SELECT count(*) FROM worker WHERE stopped_at IS NULL AND NOT fenced "
    " AND lease_until > now()), EXISTS (SELECT FROM call), count(*), "
    "coalesce(max(extract(epoch FROM b.deadline_at) * 1000 - b.created_ms), 0)::bigint, "
    "count(*) FILTER (WHERE b.deadline_at IS NULL) "
    "FROM batch b JOIN batch_progress p USING (batch_id) "
    "WHERE p.pending IS NULL OR p.pending > 0";

enum rc doctor_ask_fleet(struct ctx *ctx, struct doctor_facts *facts, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(ctx->conn, fleet_sql, NULL, &rows, err);
    if (rc == RC_OK) {
        facts->fleet_known = true;
        facts->workers_alive = pg_get_int(rows, 0, 0);
        facts->calls_exist = pg_get_bool(rows, 0, 1);
        facts->open_batches = pg_get_int(rows, 0, 2);
        facts->longest_wait_ms = pg_get_int(rows, 0, 3);
        facts->without_deadline = pg_get_int(rows, 0, 4);
    }
    pg_rows_free(rows);
    return rc;
}

enum rc doctor_ask_held(struct ctx *ctx, struct doctor_answers *ret, struct err *err)
{
    struct held_list held;
    enum rc rc = held_ask(ctx, NULL, &held, err);
    if (rc != RC_OK)
        return rc;
    ret->rows = calloc((size_t)held.count + 1, sizeof *ret->rows);
    rc = cmd_have(ret->rows, err);
    for (int i = 0; rc == RC_OK && i < held.count; i++) {
        struct doctor_row *row = &ret->rows[ret->count++];
        struct buf line;
        buf_init(&line, DOCTOR_TEXT_BYTES);
        held_line(&held.all[i], &line);
        copy(row->subject, sizeof row->subject, span_of(held.all[i].limit));
        copy(row->detail, sizeof row->detail, buf_span(&line));
        row->a = held.all[i].dimension;
        buf_done(&line);
    }
    return rc;
}

/* ---- files and references ----------------------------------------------------------------- */

enum rc doctor_ask_signing(struct ctx *ctx, struct doctor_answers *ret, struct err *err)
{
    const char *ref = config_text(ctx->config, "signing.key");
    struct secret *secret = NULL;
    struct sign_key key;
    struct err why = {0};
    enum rc rc = one_row(ret, err);
    if (rc != RC_OK)
        return rc;
    struct doctor_row *row = &ret->rows[0];
    if (!*ref) {
        copy(row->detail, sizeof row->detail, SPAN_LIT("not set: requeued jobs are not signed"));
        return RC_OK;
    }
    enum rc read = secret_load(ref, &secret, &why);
    if (read == RC_OK)
        read = sign_key_parse(secret_value(secret), &key, &why);
    row->a = read != RC_OK;
    if (read == RC_OK)
        (void)snprintf(row->detail, sizeof row->detail, "key %s", key.id);
    else
        copy(row->detail, sizeof row->detail, span_of(why.text));
    sign_key_wipe(&key);
    secret_free(secret);
    return RC_OK;
}

static enum rc load_ring(const char *ref, struct sign_ring **ret_ring, struct err *err)
{
    struct secret *secret = NULL;
    enum rc rc = secret_load(ref, &secret, err);
    if (rc == RC_OK)
        rc = sign_ring_parse(secret_value(secret), ret_ring, err);
    secret_free(secret);
    return rc;
}

/* Keeps those whose app the ring does not know. */
static void keep_strangers(struct doctor_answers *answers, const struct sign_ring *ring)
{
    int kept = 0;
    for (int i = 0; i < answers->count; i++)
        if (i == 0 || !sign_ring_knows(ring, span_of(answers->rows[i].subject)))
            answers->rows[kept++] = answers->rows[i];
    answers->count = kept;
}

enum rc doctor_ask_ring(struct ctx *ctx, struct doctor_answers *ret, struct err *err)
{
    static const char apps[] =
        "SELECT '', '', 0::bigint, 0::bigint UNION ALL SELECT * FROM (SELECT app, '', 0::bigint,"
        " count(*) FROM batch WHERE registered_at > now() - interval '7 days' GROUP BY app"
        " ORDER BY app LIMIT 1000) a";
    struct sign_ring *ring = NULL;
    struct err why = {0};
    const char *ref = opts_text(&ctx->opts, "signature-keys", NULL);
    if (!ref)
        return RC_OK;
    enum rc rc = doctor_ask_rows(ctx, apps, NULL, ret, err);
    if (rc != RC_OK)
        return rc;
    struct doctor_row *row = &ret->rows[0];
    if (load_ring(ref, &ring, &why) != RC_OK) {
        row->a = 1;
        ret->count = 1;
        copy(row->detail, sizeof row->detail, span_of(why.text));
    } else if (sign_ring_count(ring) == 0) {
        row->a = 1;
        ret->count = 1;
        copy(row->detail, sizeof row->detail, SPAN_LIT("it holds no key: no job would verify"));
    } else {
        (void)snprintf(row->detail, sizeof row->detail, "%zu keys", sign_ring_count(ring));
        keep_strangers(ret, ring);
    }
    sign_ring_free(ring);
    return RC_OK;
}

enum rc doctor_ask_file(const struct doctor_file *file, struct doctor_answers *ret, struct err *err)
{
    if (!file->path)
        return RC_OK;
    enum rc rc = one_row(ret, err);
    if (rc != RC_OK)
        return rc;
    struct doctor_row *row = &ret->rows[0];
    row->a = !file->cat;
    if (file->cat)
        (void)snprintf(row->detail, sizeof row->detail, "%s: %d endpoints, %d model versions",
                       file->path, file->cat->endpoint_count, file->cat->version_count);
    else
        copy(row->detail, sizeof row->detail, span_of(file->err.text));
    return RC_OK;
}

/* ---- endpoints ---------------------------------------------------------------------------- */

enum { ENDPOINTS_MAX = 100, PROBE_TIMEOUT_MS = 10000 };

void doctor_endpoints_free(struct doctor_endpoint *all, int count)
{
    for (int i = 0; i < count; i++) {
        free(all[i].base_url);
        free(all[i].ca_file);
        free(all[i].credential);
    }
    free(all);
}

/* The texts are copied. */
static enum rc fill(struct doctor_endpoint *e, struct span name, struct span base_url,
                    struct span ca_file, struct span credential, struct err *err)
{
    copy(e->name, sizeof e->name, name);
    e->base_url = strndup(base_url.p ? base_url.p : "", base_url.n);
    e->ca_file = strndup(ca_file.p ? ca_file.p : "", ca_file.n);
    e->credential = strndup(credential.p ? credential.p : "", credential.n);
    return cmd_have(e->base_url && e->ca_file && e->credential ? e : NULL, err);
}

static bool in_use(const struct catalogue *cat, int endpoint)
{
    for (int i = 0; i < cat->version_count; i++)
        if (cat->versions[i].endpoint == endpoint && cat->versions[i].state < VERSION_RETIRED)
            return true;
    return false;
}

static enum rc of_file(const struct catalogue *cat, struct doctor_endpoint *all, int *count,
                       struct err *err)
{
    enum rc rc = RC_OK;
    for (int i = 0; rc == RC_OK && i < cat->endpoint_count && *count < ENDPOINTS_MAX; i++) {
        const struct cat_endpoint *e = &cat->endpoints[i];
        char name[CATALOGUE_NAME_MAX + 16];
        if (!in_use(cat, i))
            continue;
        (void)snprintf(name, sizeof name, "%s@%d", e->name, e->version);
        rc = fill(&all[(*count)++], span_of(name), span_of(e->base_url), span_of(e->ca_file),
                  span_of(e->credential), err);
    }
    return rc;
}

static enum rc of_tables(struct ctx *ctx, struct doctor_endpoint *all, int *count, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(ctx->conn,
                          "SELECT e.name || '@' || e.version, e.base_url, e.ca_file, e.credential "
                          "FROM endpoint e WHERE EXISTS (SELECT FROM model_version v "
                          "WHERE v.endpoint_id = e.endpoint_id AND v.state IN (1, 2, 3)) "
                          "ORDER BY 1",
                          NULL, &rows, err);
    for (int i = 0; rc == RC_OK && i < pg_row_count(rows) && *count < ENDPOINTS_MAX; i++)
        rc = fill(&all[(*count)++], pg_get_span(rows, i, 0), pg_get_span(rows, i, 1),
                  pg_get_span(rows, i, 2), pg_get_span(rows, i, 3), err);
    pg_rows_free(rows);
    return rc;
}

static enum rc probe_them(struct doctor_endpoint *all, int count, bool call, struct err *err)
{
    struct secret *secrets[ENDPOINTS_MAX] = {0};
    struct probe probes[ENDPOINTS_MAX] = {0};
    for (int i = 0; i < count; i++) {
        struct err why = {0};
        if (*all[i].credential && secret_load(all[i].credential, &secrets[i], &why) != RC_OK)
            copy(all[i].credential_why, sizeof all[i].credential_why, span_of(why.text));
        probes[i] =
            (struct probe){all[i].base_url, all[i].ca_file, secrets[i], call, &all[i].probe};
    }
    enum rc rc = probe_all(probes, count, PROBE_TIMEOUT_MS, err);
    for (int i = 0; i < count; i++)
        secret_free(secrets[i]);
    return rc;
}

enum rc doctor_ask_endpoints(struct ctx *ctx, const struct catalogue *cat, bool call,
                             struct doctor_endpoint **ret, int *ret_count, struct err *err)
{
    int count = 0;
    struct doctor_endpoint *all = calloc(ENDPOINTS_MAX, sizeof *all);
    enum rc rc = cmd_have(all, err);
    if (rc == RC_OK)
        rc = cat ? of_file(cat, all, &count, err) : of_tables(ctx, all, &count, err);
    if (rc == RC_OK)
        rc = probe_them(all, count, call, err);
    if (rc == RC_OK) {
        *ret = all;
        *ret_count = count;
    } else {
        doctor_endpoints_free(all, count);
    }
    return rc;
}
