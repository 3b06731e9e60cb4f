/*
 * doctor_applied.c - holds a catalogue file against the tables, without writing: what a worker that
 * started on this file would add, move, or refuse (common/catalogue_db.c, which needs its rights).
 */
#include <stdio.h>

#include "admin/doctor_ask.h"

#define IMMUTABLE "'differs from what was applied, and is immutable'"
#define MISSING "'is not applied yet'"

static const char applied_sql[] =
    "SELECT * FROM ("
    "SELECT 'endpoint ' || u.name || '@' || u.version AS entry, CASE WHEN e.endpoint_id IS NULL "
    " THEN " MISSING " ELSE " IMMUTABLE
    " END, (e.endpoint_id IS NOT NULL)::int::bigint AS refused, "
    " 0::bigint FROM unnest($1::text[], $2::int4[], $3::text[], $4::text[], $5::text[], "
    " $6::int4[], $7::int4[], $8::int4[], $9::bool[], $10::bool[]) u (name, version, base_url, "
    " credential, ca_file, max_in_flight, timeout_ms, connect_timeout_ms, send_ids, idem) "
    " LEFT JOIN endpoint e USING (name, version) WHERE e.endpoint_id IS NULL OR "
    " (e.base_url, e.credential, e.ca_file, e.max_in_flight, e.timeout_ms, e.connect_timeout_ms, "
    "  e.send_ids, e.idempotency_key) IS DISTINCT FROM (u.base_url, u.credential, u.ca_file, "
    "  u.max_in_flight, u.timeout_ms, u.connect_timeout_ms, u.send_ids, u.idem) "
    "UNION ALL SELECT 'model version ' || u.label, CASE WHEN v.label IS NULL THEN " MISSING
    " WHEN (v.upstream_model, e.name, e.version, v.context_tokens, v.max_output_tokens) "
    "  IS DISTINCT FROM (u.upstream, u.endpoint, u.endpoint_version, u.context, u.output) THEN "
    " " IMMUTABLE " ELSE 'has another state there' END, "
    " (v.label IS NOT NULL AND (v.upstream_model, e.name, e.version, v.context_tokens, "
    "  v.max_output_tokens) IS DISTINCT FROM (u.upstream, u.endpoint, u.endpoint_version, "
    "  u.context, u.output))::int::bigint, 0::bigint "
    " FROM unnest($11::text[], $12::text[], $13::text[], $14::int4[], $15::int8[], $16::int8[], "
    " $17::int4[]) u (label, upstream, endpoint, endpoint_version, context, output, state) "
    " LEFT JOIN model_version v USING (label) LEFT JOIN endpoint e USING (endpoint_id) "
    " WHERE v.label IS NULL OR (v.upstream_model, e.name, e.version, v.context_tokens, "
    "  v.max_output_tokens, v.state::int) IS DISTINCT FROM (u.upstream, u.endpoint, "
    "  u.endpoint_version, u.context, u.output, u.state) "
    "UNION ALL SELECT 'price of ' || u.label || ' from ' || (to_timestamp(u.from_ms / 1000) AT "
    "TIME "
    " ZONE 'UTC')::date, CASE WHEN p.price_id IS NULL THEN " MISSING " ELSE " IMMUTABLE " END, "
    " (p.price_id IS NOT NULL)::int::bigint, 0::bigint "
    " FROM unnest($18::text[], $19::int8[], $20::int8[], $21::int8[], $22::int8[]) "
    " u (label, from_ms, input, output, request) LEFT JOIN model_version v USING (label) "
    " LEFT JOIN price p ON p.model_version_id = v.model_version_id "
    " AND p.valid_from = timestamptz 'epoch' + u.from_ms * interval '1 ms' "
    " WHERE p.price_id IS NULL OR (p.input_pusd, p.output_pusd, p.request_pusd) "
    "  IS DISTINCT FROM (u.input, u.output, u.request) "
    "UNION ALL SELECT 'model ' || u.name, CASE WHEN m.name IS NULL THEN " MISSING
    " ELSE 'has another current version there' END, 0::bigint, 0::bigint "
    " FROM unnest($23::text[], $24::text[]) u (name, label) LEFT JOIN model m USING (name) "
    " LEFT JOIN model_version v ON v.model_version_id = m.current_version_id "
    " WHERE v.label IS DISTINCT FROM u.label "
    "UNION ALL SELECT 'limit ' || inferq.code_name('limit_scope', coalesce(u.scope, r.scope)) "
    " || ':' || coalesce(u.key, r.key) || ' ' || inferq.code_name('limit_dimension', "
    " coalesce(u.dimension, r.dimension)), CASE WHEN r.of_catalogue IS NULL THEN " MISSING
    " WHEN u.amount IS NULL THEN 'is not in the file any more' ELSE 'has another amount there' "
    "END, "
    " 0::bigint, 0::bigint FROM unnest($25::int2[], $26::text[], $27::int2[], $28::int8[]) "
    " u (scope, key, dimension, amount) FULL JOIN limit_rule r ON r.scope = u.scope "
    " AND r.key = u.key AND r.dimension = u.dimension "
    " WHERE r.of_catalogue IS DISTINCT FROM u.amount) d ORDER BY refused DESC, entry LIMIT 1000";

static void add_texts(struct pg_params *p, const struct catalogue *cat,
                      const char *(*text)(const struct cat_endpoint *e))
{
    pg_array(p, PG_TEXT);
    for (int i = 0; i < cat->endpoint_count; i++)
        pg_elem_span(p, span_of(text(&cat->endpoints[i])));
}

static const char *name_of(const struct cat_endpoint *e)
{
    return e->name;
}
static const char *url_of(const struct cat_endpoint *e)
{
    return e->base_url;
}
static const char *credential_of(const struct cat_endpoint *e)
{
    return e->credential;
}
static const char *ca_of(const struct cat_endpoint *e)
{
    return e->ca_file;
}

static void add_endpoints(struct pg_params *p, const struct catalogue *cat)
{
    const struct cat_endpoint *all = cat->endpoints;
    int n = cat->endpoint_count;
    add_texts(p, cat, name_of);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].version);
    add_texts(p, cat, url_of);
    add_texts(p, cat, credential_of);
    add_texts(p, cat, ca_of);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].max_in_flight);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].timeout_us / 1000);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].connect_timeout_us / 1000);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, all[i].send_ids);
    pg_array(p, PG_BOOL);
    for (int i = 0; i < n; i++)
        pg_elem_bool(p, all[i].idempotency_key);
}

static void add_versions(struct pg_params *p, const struct catalogue *cat)
{
    const struct cat_model_version *all = cat->versions;
    int n = cat->version_count;
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, span_of(all[i].label));
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, span_of(all[i].upstream_model));
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_elem_span(p, span_of(cat->endpoints[all[i].endpoint].name));
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, cat->endpoints[all[i].endpoint].version);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].context_tokens);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, all[i].max_output_tokens);
    pg_array(p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, (int64_t)all[i].state);
}

/* -1 is "not known": NULL in the table. */
static void elem_pusd(struct pg_params *p, int64_t pusd)
{
    if (pusd < 0)
        pg_elem_null(p);
    else
        pg_elem_int(p, pusd);
}

enum price_part { PRICE_FROM, PRICE_INPUT, PRICE_OUTPUT, PRICE_REQUEST, PRICE_PARTS };

static void elem_price(struct pg_params *p, const struct cat_price *price, enum price_part part)
{
    const int64_t values[PRICE_PARTS] = {price->from_ms, price->price.input_pusd,
                                         price->price.output_pusd, price->price.request_pusd};
    elem_pusd(p, values[part]);
}

static void add_prices(struct pg_params *p, const struct catalogue *cat)
{
    pg_array(p, PG_TEXT);
    for (int i = 0; i < cat->version_count; i++)
        for (int j = 0; j < cat->versions[i].price_count; j++)
            pg_elem_span(p, span_of(cat->versions[i].label));
    for (enum price_part part = PRICE_FROM; part < PRICE_PARTS; part++) {
        pg_array(p, PG_INT8);
        for (int i = 0; i < cat->version_count; i++)
            for (int j = 0; j < cat->versions[i].price_count; j++)
                elem_price(p, &cat->versions[i].prices[j], part);
    }
}

static void add_models(struct pg_params *p, const struct catalogue *cat)
{
    pg_array(p, PG_TEXT);
    for (int i = 0; i < cat->model_count; i++)
        pg_elem_span(p, span_of(cat->models[i].name));
    pg_array(p, PG_TEXT);
    for (int i = 0; i < cat->model_count; i++)
        pg_elem_span(p, span_of(cat->versions[cat->models[i].current].label));
}

enum rc doctor_ask_applied(struct ctx *ctx, const struct catalogue *cat, struct doctor_answers *ret,
                           struct err *err)
{
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    add_endpoints(p, cat);
    add_versions(p, cat);
    add_prices(p, cat);
    add_models(p, cat);
    catalogue_add_limits(cat, p);
    rc = doctor_ask_rows(ctx, applied_sql, p, ret, err);
    pg_params_free(p);
    return rc;
}
