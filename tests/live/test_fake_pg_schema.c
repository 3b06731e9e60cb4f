/*
 * test_fake_pg_schema.c - the tables of the simulation's Postgres are those of schemas/sql, and it
 * knows every statement of the workers: what is new there has to be taught to it (tests/sim), and
 * then to the histories that show it (test_fake_pg.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/live/scratch.h"
#include "tests/sim/fake_pg.h"
#include "tests/sim/fake_pg_impl.h"
#include "worker/store_sql.h"

static struct scratch scratch;

static int open_scratch(void **state)
{
    (void)state;
    return scratch_open(&scratch, "fake_schema") ? 0 : -1;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close(&scratch);
    return 0;
}

/* The fake's columns are the tables' own: names, types, order, and which must not be NULL. */
static void columns_agree(void **state)
{
    static const char *const types[] = {"bool", "int2",  "int4", "int8",
                                        "text", "bytea", "uuid", "timestamptz"};
    (void)state;
    for (enum fake_table table = 0; table < FAKE_TABLES; table++) {
        int n = 0;
        const struct fake_column *cols = fake_pg_columns(table, &n);
        struct pg_params *p = pg_params_new();
        pg_add_text(p, span_of(fake_pg_table_name(table)));
        struct pg_rows *rows = scratch_ask(
            &scratch,
            "SELECT column_name::text, udt_name::text, is_nullable = 'NO'"
            " FROM information_schema.columns"
            " WHERE table_schema = 'inferq' AND table_name = $1 ORDER BY ordinal_position",
            p);
        assert_int_equal(pg_row_count(rows), n);
        for (int i = 0; i < n; i++)
            if (!span_is(pg_get_span(rows, i, 0), cols[i].name) ||
                !span_is(pg_get_span(rows, i, 1), types[cols[i].type]) ||
                pg_get_bool(rows, i, 2) != cols[i].not_null)
                fail_msg("%s.%s is not column %d", fake_pg_table_name(table), cols[i].name, i);
        pg_rows_free(rows);
        pg_params_free(p);
    }
}

/* All else in the schema that decides what a statement does. What is new here, the fake has to
 * learn. */
static void rules_agree(void **state)
{
    static const char *const rules[] = {
        "batch: CHECK ((requeued >= 0))", /* nothing here writes requeued or total */
        "batch: CHECK ((total >= 0))",
        "batch: PRIMARY KEY (batch_id)",
        "batch: UNIQUE (app, name)",
        "batch: registered_at now",
        "batch: requeued 0",
        "call: PRIMARY KEY (job_id, number)",
        "call: claimed_at now",
        "dead_letter: PRIMARY KEY (dead_id)",
        "dead_letter: UNIQUE (source)",
        "dead_letter: attempts 0",
        "dead_letter: created_at now",
        "dead_letter: dead_id identity",
        "dead_letter: state 1",
        "limit_day: CHECK ((taken >= 0))", /* a chunk is never less than 0, nor is what is used */
        "limit_day: CHECK ((used >= 0))",
        "limit_day: FOREIGN KEY (limit_id) REFERENCES limit_rule(limit_id)", /* joined */
        "limit_day: PRIMARY KEY (limit_id, day)",
        "limit_learned: CHECK (((multiplier >= 1) AND (multiplier <= 1000)))", /* it stays there */
        "limit_learned: CHECK (((probe_worker IS NULL) = (probe_until IS NULL)))",
        "limit_learned: CHECK ((concurrency >= 1))",
        "limit_learned: PRIMARY KEY (endpoint)",
        "limit_learned: ceiling 1000",
        "limit_learned: changed_at now",
        "limit_learned: faults 0",
        "limit_learned: multiplier 1000",
        "limit_learned: probing false",
        "limit_rule: CHECK (((dimension >= 1) AND (dimension <= 6)))", /* nor this */
        ("limit_rule: CHECK (((of_catalogue >= 1) AND (of_catalogue <= "
         "'1000000000000000'::bigint)))"),
        "limit_rule: CHECK (((of_operator >= 1) AND (of_operator <= '1000000000000000'::bigint)))",
        "limit_rule: CHECK (((scope >= 1) AND (scope <= 3)))",
        "limit_rule: CHECK ((key <> ''::text))",
        "limit_rule: PRIMARY KEY (limit_id)",
        "limit_rule: UNIQUE (scope, key, dimension)",
        "limit_rule: changed_at now",
        "limit_rule: limit_id identity",
        "limit_share: CHECK ((in_use >= 0))",
        "limit_share: CHECK ((need >= 0))",
        "limit_share: CHECK ((seen >= 0))",
        "limit_share: CHECK ((share >= 0))",
        "limit_share: CHECK ((want >= 0))",
        "limit_share: FOREIGN KEY (limit_id) REFERENCES limit_rule(limit_id)", /* joined */
        "limit_share: PRIMARY KEY (limit_id, worker_id)",
        "limit_share: share 0",
        "parked: PRIMARY KEY (job_id)",
        "parked: app ''::text",
        "parked: limit_id 0",
        "parked: limit_us 0",
        "parked: parked_at now",
        "partition_span: PRIMARY KEY (lower_ms)", /* what makes them cannot make one twice */
        "partition_span: UNIQUE (suffix)",
        "progress: at now",
        "result: PRIMARY KEY (job_id)",
        "result: finished_at now",
        "retry_cost: CHECK ((used_nusd >= 0))",
        "retry_cost: PRIMARY KEY (route, day)",
        "worker: PRIMARY KEY (worker_id)",
        "worker: fenced false",
        "worker: started_at now",
        "worker: worker_id identity",
    };
    (void)state;
    struct pg_rows *rows = scratch_ask(
        &scratch,
        "WITH t AS (SELECT oid, relname::text FROM pg_class"
        "  WHERE relnamespace = 'inferq'::regnamespace AND relname IN ('batch', 'call',"
        "  'dead_letter', 'limit_day', 'limit_learned', 'limit_rule', 'limit_share', 'parked',"
        "  'partition_span', 'progress', 'result', 'retry_cost', 'worker'))"
        " SELECT relname || ': ' || rule FROM t, LATERAL ("
        "  SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        "    WHERE conrelid = t.oid AND contype <> 'n'"
        "  UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgrelid = t.oid"
        "    AND NOT tgisinternal"
        "  UNION ALL SELECT 'rule ' || rulename FROM pg_rewrite WHERE ev_class = t.oid"
        "  UNION ALL SELECT 'policy ' || polname FROM pg_policy WHERE polrelid = t.oid"
        "  UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index i WHERE indrelid = t.oid"
        "    AND indisunique AND NOT EXISTS (SELECT FROM pg_constraint"
        "      WHERE conindid = i.indexrelid)"
        "  UNION ALL SELECT attname || ' ' || CASE WHEN attidentity <> '' THEN 'identity'"
        "      WHEN pg_get_expr(adbin, adrelid) LIKE '%now()' THEN 'now'"
        "      ELSE pg_get_expr(adbin, adrelid) END"
        "    FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        "    WHERE attrelid = t.oid AND (attidentity <> '' OR adbin IS NOT NULL)) r (rule)"
        " ORDER BY (relname || ': ' || rule) COLLATE \"C\"",
        NULL);
    int n = sizeof rules / sizeof rules[0];
    for (int i = 0; i < n && i < pg_row_count(rows); i++) {
        struct span rule = pg_get_span(rows, i, 0);
        if (!span_is(rule, rules[i]))
            fail_msg("the schema has \"%.*s\" where \"%s\" was", (int)rule.n, rule.p, rules[i]);
    }
    assert_int_equal(pg_row_count(rows), n);
    pg_rows_free(rows);
}

/* Each of the workers' statements is known. */
static void statements_agree(void **state)
{
    static const struct pg_stmt *const lists[] = {store_sql_claim, store_sql_store, store_sql_keep};
    (void)state;
    for (size_t list = 0; list < sizeof lists / sizeof lists[0]; list++)
        for (int i = 0; lists[list][i].name; i++)
            if (!fake_verb_find(lists[list][i].name))
                fail_msg("the fake knows no statement %s", lists[list][i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_agree),
        cmocka_unit_test(rules_agree),
        cmocka_unit_test(statements_agree),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
