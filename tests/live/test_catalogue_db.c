/*
 * test_catalogue_db.c - catalogue_apply against a real Postgres (PG* environment): what is written,
 * what is refused, what a second and many simultaneous applications do.
 *
 * Runs from the root of the tree, in a database of its own, made from schemas/sql and dropped at
 * the end; so the user needs CREATEDB, and CREATEROLE where the roles are not there yet.
 */
#include <glob.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/catalogue.h"
#include "common/pg.h"

static char database[64];
static char conninfo[96];
static struct pgc *conn;

/* ---- the scratch database -------------------------------------------------------------------- */

static void must(enum rc rc, const struct err *err)
{
    if (rc != RC_OK)
        fail_msg("%s: %s", rc_name(rc), err->text);
}

static void script_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *sql = calloc(1, 1 << 20);
    assert_true(fread(sql, 1, (1 << 20) - 1, file) > 0);
    fclose(file);
    struct err err = {""};
    must(pgc_exec(conn, "BEGIN", NULL, NULL, &err), &err);
    enum rc rc = pgc_script(conn, sql, &err);
    if (rc != RC_OK)
        fail_msg("%s: %s", path, err.text);
    must(pgc_exec(conn, "COMMIT", NULL, NULL, &err), &err);
    free(sql);
}

static int database_statement(const char *fmt)
{
    char sql[128];
    snprintf(sql, sizeof sql, "%s %s", fmt, database);
    struct pgc *admin = NULL;
    struct err err = {""};
    enum rc rc = pgc_open("dbname=postgres", "test", &admin, &err);
    if (rc == RC_OK)
        rc = pgc_exec(admin, sql, NULL, NULL, &err);
    if (rc != RC_OK)
        fprintf(stderr, "%s: %s\n", sql, err.text);
    pgc_close(admin);
    return rc == RC_OK ? 0 : -1;
}

static int make_database(void **state)
{
    (void)state;
    snprintf(database, sizeof database, "inferq_test_catalogue_%d", (int)getpid());
    snprintf(conninfo, sizeof conninfo, "dbname=%s", database);
    if (database_statement("CREATE DATABASE") != 0)
        return -1;
    struct err err = {""};
    if (pgc_open(conninfo, "test", &conn, &err) != RC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    glob_t found;
    if (glob("schemas/sql/[0-9]*.sql", 0, NULL, &found) != 0)
        return -1;
    for (size_t i = 0; i < found.gl_pathc; i++)
        script_file(found.gl_pathv[i]);
    globfree(&found);
    return 0;
}

static int drop_database(void **state)
{
    (void)state;
    pgc_close(conn);
    conn = NULL;
    return database_statement("DROP DATABASE IF EXISTS");
}

static int empty_tables(void **state)
{
    (void)state;
    struct err err = {""};
    must(pgc_exec(conn,
                  "TRUNCATE inferq.endpoint, inferq.model, inferq.model_version, inferq.price, "
                  "inferq.model_default, inferq.audit_log, inferq.limit_rule CASCADE",
                  NULL, NULL, &err),
         &err);
    return 0;
}

/* ---- catalogues ------------------------------------------------------------------------------ */

/* What the tests vary; NULL stands for what is written in `parse`. */
struct variant {
    const char *url, *timeout, *extra_endpoint, *owner, *current, *upstream, *state, *input,
        *extra_price, *defaults;
};

static const char * or (const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static struct catalogue *parse(struct variant v)
{
    char yaml[4096];
    snprintf(yaml, sizeof yaml,
             "catalogue: test\n"
             "endpoints:\n"
             "  - {name: eu, base_url: '%s', credential: env:KEY, timeout: %s}\n%s"
             "models:\n"
             "  - name: m\n"
             "    provider: p\n"
             "    owner: \"%s\"\n"
             "    current: '%s'\n"
             "    versions:\n"
             "      - {version: '1', upstream_model: u1, endpoint: eu@1}\n"
             "      - version: '2'\n"
             "        upstream_model: '%s'\n"
             "        endpoint: eu@1\n"
             "        state: %s\n"
             "        context_tokens: 1000\n"
             "        prices:\n"
             "          - {from: 1970-01-01, input_per_million_usd: %s, per_request_usd: 0.5}\n%s"
             "%s",
             or (v.url, "http://eu"), or (v.timeout, "30s"), or (v.extra_endpoint, ""),
             or (v.owner, "o'wner"), or (v.current, "1"), or (v.upstream, "u2"),
             or (v.state, "approved"), or (v.input, "0.15"), or (v.extra_price, ""),
             or (v.defaults, "defaults: [{model: m}, {app: a, task: t, model: m}]\n"));
    struct catalogue *cat = NULL;
    struct err err = {""};
    if (catalogue_parse(span_of(yaml), "test.yaml", &cat, &err) != RC_OK)
        fail_msg("%s", err.text);
    return cat;
}

static int64_t number(const char *sql)
{
    struct pg_rows *rows = NULL;
    struct err err = {""};
    must(pgc_exec(conn, sql, NULL, &rows, &err), &err);
    assert_int_equal(pg_row_count(rows), 1);
    int64_t n = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return n;
}

static int64_t audit_rows(void)
{
    return number("SELECT count(*) FROM inferq.audit_log");
}

static int apply(struct variant v)
{
    struct catalogue *cat = parse(v);
    struct err err = {""};
    int changes = -1;
    int64_t before = audit_rows();
    must(catalogue_apply(cat, conn, "tester", &changes, &err), &err);
    assert_int_equal(audit_rows() - before, changes);
    catalogue_free(cat);
    return changes;
}

/* The file is refused, for this reason, and nothing of it is written. */
static void refuse(struct variant v, const char *reason)
{
    struct catalogue *cat = parse(v);
    struct err err = {""};
    int changes = -1;
    int64_t audit_before = audit_rows();
    int64_t endpoints_before = number("SELECT count(*) FROM inferq.endpoint");
    assert_int_equal(catalogue_apply(cat, conn, "tester", &changes, &err), RC_REJECT);
    if (!strstr(err.text, reason))
        fail_msg("'%s' is not in '%s'", reason, err.text);
    assert_int_equal(changes, -1);
    assert_int_equal(audit_rows(), audit_before);
    assert_int_equal(number("SELECT count(*) FROM inferq.endpoint"), endpoints_before);
    for (int i = 0; i < cat->endpoint_count; i++)
        assert_int_equal(cat->endpoints[i].db_id, 0);
    for (int i = 0; i < cat->version_count; i++)
        assert_int_equal(cat->versions[i].db_id, 0);
    catalogue_free(cat);
}

/* ---- tests ----------------------------------------------------------------------------------- */

enum {
    FIRST_CHANGES = 1 /* endpoint */ + 1 /* model */ + 2 /* versions */ + 1 /* price */ +
                    1 /* current */ + 2 /* defaults */
};

static void test_first(void **state)
{
    (void)state;
    struct catalogue *cat = parse((struct variant){0});
    struct err err = {""};
    int changes = -1;
    must(catalogue_apply(cat, conn, "tester", &changes, &err), &err);
    assert_int_equal(changes, FIRST_CHANGES);
    assert_int_equal(cat->endpoints[0].db_id, number("SELECT endpoint_id FROM inferq.endpoint"));
    assert_int_equal(cat->versions[0].db_id,
                     number("SELECT current_version_id FROM inferq.model WHERE name = 'm'"));
    assert_int_equal(cat->versions[1].prices[0].db_id, number("SELECT price_id FROM inferq.price"));
    assert_int_equal(
        number("SELECT count(*) FROM inferq.endpoint WHERE name = 'eu' AND version = 1 AND "
               "base_url = 'http://eu' AND adapter = 0 AND credential = 'env:KEY' AND ca_file = '' "
               "AND max_in_flight = 64 AND timeout_ms = 30000 AND connect_timeout_ms = 10000 AND "
               "NOT send_ids AND NOT idempotency_key AND length(sha256) = 32"),
        1);
    assert_int_equal(
        number(
            "SELECT count(*) FROM inferq.model_version v JOIN inferq.endpoint USING (endpoint_id) "
            "WHERE model = 'm' AND v.version = '2' AND label = 'm@2' AND upstream_model = 'u2' "
            "AND state = 2 AND context_tokens = 1000 AND max_output_tokens = 0"),
        1);
    assert_int_equal(
        number(
            "SELECT count(*) FROM inferq.price JOIN inferq.model_version USING (model_version_id) "
            "WHERE label = 'm@2' AND valid_from = '1970-01-01Z' AND input_pusd = 150000 AND "
            "cached_pusd IS NULL AND output_pusd IS NULL AND reasoning_pusd IS NULL AND "
            "request_pusd = 500000000000"),
        1);
    assert_int_equal(number("SELECT count(*) FROM inferq.model WHERE provider = 'p' AND "
                            "owner = 'o''wner'"),
                     1);
    assert_int_equal(number("SELECT count(*) FROM inferq.model_default WHERE model = 'm' AND "
                            "(app, task) IN (('*', '*'), ('a', 't'))"),
                     2);
    assert_int_equal(number("SELECT count(*) FROM inferq.audit_log WHERE actor = 'tester' AND "
                            "detail LIKE 'catalogue test%'"),
                     FIRST_CHANGES);
    catalogue_free(cat);
}

/* Stored digests must be found again by every later build: computed by other means, once. */
static void test_digests(void **state)
{
    (void)state;
    apply((struct variant){0});
    assert_int_equal(number("SELECT count(*) FROM inferq.endpoint WHERE encode(sha256, 'hex') = "
                            "'6cdfee0753de1a46b57fc2cc4a3bca78ff5134e295b3c5afa0d066e47df103df'"),
                     1);
    assert_int_equal(number("SELECT count(*) FROM inferq.model_version WHERE label = 'm@2' AND "
                            "encode(sha256, 'hex') = "
                            "'75bde9b10978e112d6daf15392eb2bd0ee4563fa39edc0964bcda76deb860bdb'"),
                     1);
}

static void test_again(void **state)
{
    (void)state;
    assert_int_equal(apply((struct variant){0}), FIRST_CHANGES);
    struct catalogue *cat = parse((struct variant){0});
    struct err err = {""};
    int changes = -1;
    must(catalogue_apply(cat, conn, "tester", &changes, &err), &err);
    assert_int_equal(changes, 0);
    assert_int_equal(cat->endpoints[0].db_id, number("SELECT endpoint_id FROM inferq.endpoint"));
    assert_int_equal(
        cat->versions[1].db_id,
        number("SELECT model_version_id FROM inferq.model_version WHERE label = 'm@2'"));
    assert_int_equal(cat->versions[1].prices[0].db_id, number("SELECT price_id FROM inferq.price"));
    catalogue_free(cat);
}

static void test_moves(void **state)
{
    (void)state;
    apply((struct variant){0});
    assert_int_equal(apply((struct variant){.state = "blocked"}), 1);
    assert_int_equal(number("SELECT state FROM inferq.model_version WHERE label = 'm@2'"), 5);
    assert_int_equal(number("SELECT count(*) FROM inferq.audit_log WHERE action = "
                            "'model_version.state' AND subject = 'm@2' AND "
                            "detail = 'catalogue test: approved -> blocked'"),
                     1);
    assert_int_equal(apply((struct variant){.state = "blocked", .current = "2"}), 1);
    assert_int_equal(number("SELECT count(*) FROM inferq.model m JOIN inferq.model_version v "
                            "ON v.model_version_id = m.current_version_id WHERE v.label = 'm@2'"),
                     1);
    assert_int_equal(apply((struct variant){0}), 2); /* both back */
    assert_int_equal(apply((struct variant){.defaults = "defaults: [{app: b, model: m}]\n"}), 3);
    assert_int_equal(number("SELECT count(*) FROM inferq.model_default"), 1);
    assert_int_equal(number("SELECT count(*) FROM inferq.audit_log WHERE action = "
                            "'default.remove' AND subject = 'app a, task t'"),
                     1);
    assert_int_equal(apply((struct variant){.defaults = ""}), 1);
    assert_int_equal(number("SELECT count(*) FROM inferq.model_default"), 0);
}

static void test_additions(void **state)
{
    (void)state;
    apply((struct variant){0});
    const char *endpoint = "  - {name: eu, version: 2, base_url: 'http://eu2'}\n";
    const char *price = "          - {from: 2025-01-01, input_per_million_usd: 0.1}\n";
    assert_int_equal(apply((struct variant){.extra_endpoint = endpoint, .extra_price = price}), 2);
    /* What leaves the file stays in the tables. */
    assert_int_equal(apply((struct variant){0}), 0);
    assert_int_equal(number("SELECT count(*) FROM inferq.endpoint"), 2);
    assert_int_equal(number("SELECT count(*) FROM inferq.price"), 2);
}

/* ---- limits ---------------------------------------------------------------------------------- */

#define LIMITED(n) \
    "  - {name: us, base_url: 'http://us', limits: {requests_per_minute: " n ", in_flight: 8}}\n"
#define APPS(limits) "apps: [{name: nightly, limits: {" limits "}}]\n"

/* As "endpoint:us@1 1 500/-" each: code of the dimension, the file's amount, the operator's. */
static void expect_limits(const char *want)
{
    struct pg_rows *rows = NULL;
    struct err err = {""};
    must(pgc_exec(conn,
                  "SELECT coalesce(string_agg(inferq.code_name('limit_scope', scope) || ':' || key"
                  " || ' ' || dimension || ' ' || coalesce(of_catalogue::text, '-') || '/'"
                  " || coalesce(of_operator::text, '-'), ', ' ORDER BY scope, key, dimension), '')"
                  " FROM inferq.limit_rule",
                  NULL, &rows, &err),
         &err);
    struct span got = pg_get_span(rows, 0, 0);
    if (!span_is(got, want))
        fail_msg("limits are '%.*s', not '%s'", (int)got.n, got.p, want);
    pg_rows_free(rows);
}

static void expect_audit(const char *action, const char *subject, const char *detail)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM inferq.audit_log WHERE actor = 'tester' AND action = '%s' "
             "AND subject = '%s' AND detail = 'catalogue test: %s'",
             action, subject, detail);
    assert_int_equal(number(sql), 1);
}

static void test_limits(void **state)
{
    (void)state;
    struct variant v = {.extra_endpoint = LIMITED("500"), .defaults = APPS("tokens_per_day: 2M")};
    assert_int_equal(apply(v), FIRST_CHANGES - 2 + 1 + 3);
    expect_limits("endpoint:us@1 1 500/-, endpoint:us@1 6 8/-, app:nightly 5 2000000/-");
    expect_audit("limit.set", "app:nightly tokens_per_day", "none -> 2000000");
    assert_int_equal(apply(v), 0);
    v.extra_endpoint = LIMITED("400");
    assert_int_equal(apply(v), 1);
    expect_audit("limit.set", "endpoint:us@1 requests_per_minute", "500 -> 400");
    v.defaults = APPS("");
    assert_int_equal(apply(v), 1);
    expect_audit("limit.remove", "app:nightly tokens_per_day", "2000000 -> none");
    expect_limits("endpoint:us@1 1 400/-, endpoint:us@1 6 8/-, app:nightly 5 -/-");
    v.extra_endpoint = "";
    assert_int_equal(apply(v), 2); /* the endpoint stays, its limits go */
    expect_limits("endpoint:us@1 1 -/-, endpoint:us@1 6 -/-, app:nightly 5 -/-");
}

/* What an operator has said stands beside it, untouched. */
static void test_limits_of_operators_stay(void **state)
{
    (void)state;
    struct err err = {""};
    struct variant v = {.extra_endpoint = LIMITED("500")};
    apply(v);
    must(pgc_exec(conn,
                  "INSERT INTO inferq.limit_rule (scope, key, dimension, of_operator, changed_by)"
                  " VALUES (1, 'us@1', 1, 300, 'ann'), (2, 'm@1', 4, 70, 'ann')"
                  " ON CONFLICT (scope, key, dimension) DO UPDATE SET of_operator = 300",
                  NULL, NULL, &err),
         &err);
    assert_int_equal(apply(v), 0);
    expect_limits("endpoint:us@1 1 500/300, endpoint:us@1 6 8/-, model:m@1 4 -/70");
    v.extra_endpoint = LIMITED("400");
    assert_int_equal(apply(v), 1);
    v.extra_endpoint = "";
    assert_int_equal(apply(v), 2);
    expect_limits("endpoint:us@1 1 -/300, endpoint:us@1 6 -/-, model:m@1 4 -/70");
    assert_int_equal(number("SELECT count(*) FROM inferq.limit_now"), 2);
}

static void test_immutable(void **state)
{
    (void)state;
    apply((struct variant){0});
    const char *new_endpoint = "  - {name: us, base_url: 'http://us'}\n";
    refuse((struct variant){.url = "http://other"},
           "endpoint 'eu' version 1 was applied before with another content");
    refuse((struct variant){.timeout = "31s"}, "give the changed one version 2");
    refuse((struct variant){.extra_endpoint = new_endpoint, .upstream = "other"},
           "model version 'm@2' was applied before with another content");
    refuse((struct variant){.extra_endpoint = new_endpoint, .input = "0.16"},
           "price 1 of 'm@2' was applied before with other amounts");
    refuse((struct variant){.extra_endpoint = new_endpoint, .owner = "other"},
           "model 'm' was applied before with another provider or owner");
    assert_int_equal(apply((struct variant){0}), 0); /* the connection is usable still */
}

struct racer {
    pthread_t thread;
    struct catalogue *cat;
    enum rc rc;
    struct err err;
    int changes;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct pgc *own = NULL;
    r->rc = pgc_open(conninfo, "racer", &own, &r->err);
    if (r->rc == RC_OK)
        r->rc = catalogue_apply(r->cat, own, "racer", &r->changes, &r->err);
    pgc_close(own);
    return NULL;
}

static void test_race(void **state)
{
    (void)state;
    enum { RACERS = 6 };
    struct racer racers[RACERS] = {0};
    for (int i = 0; i < RACERS; i++) {
        racers[i].cat = parse((struct variant){0});
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    int changes = 0;
    for (int i = 0; i < RACERS; i++) {
        pthread_join(racers[i].thread, NULL);
        must(racers[i].rc, &racers[i].err);
        changes += racers[i].changes;
        assert_int_equal(racers[i].cat->versions[1].db_id, racers[0].cat->versions[1].db_id);
        assert_int_not_equal(racers[i].cat->versions[1].db_id, 0);
    }
    for (int i = 0; i < RACERS; i++)
        catalogue_free(racers[i].cat);
    assert_int_equal(changes, FIRST_CHANGES);
    assert_int_equal(audit_rows(), FIRST_CHANGES);
    assert_int_equal(number("SELECT count(*) FROM inferq.model_version"), 2);
}

/* The connection dies in the middle: an error, no ids; and the next try does it all. */
static void test_broken_connection(void **state)
{
    (void)state;
    struct catalogue *cat = parse((struct variant){0});
    struct pgc *own = NULL;
    struct err err = {""};
    must(pgc_open(conninfo, "victim", &own, &err), &err);
    must(pgc_exec(conn,
                  "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                  "WHERE application_name = 'victim'",
                  NULL, NULL, &err),
         &err);
    int changes = -1;
    assert_int_equal(catalogue_apply(cat, own, "tester", &changes, &err), RC_RETRY);
    assert_int_equal(changes, -1);
    assert_int_equal(cat->endpoints[0].db_id, 0);
    pgc_close(own);
    must(catalogue_apply(cat, conn, "tester", &changes, &err), &err);
    assert_int_equal(changes, FIRST_CHANGES);
    catalogue_free(cat);
}

/* Workers hold no more rights than they need: these suffice. */
static void test_as_worker(void **state)
{
    (void)state;
    struct err err = {""};
    if (pgc_exec(conn, "GRANT inferq_worker TO CURRENT_USER", NULL, NULL, &err) != RC_OK) {
        print_message("left out: this user may not take the role inferq_worker: %s\n", err.text);
        skip();
    }
    must(pgc_exec(conn, "SET ROLE inferq_worker", NULL, NULL, &err), &err);
    assert_int_equal(apply((struct variant){0}), FIRST_CHANGES);
    assert_int_equal(apply((struct variant){.state = "retired", .current = "2", .defaults = ""}),
                     4);
    assert_int_equal(apply((struct variant){.extra_endpoint = LIMITED("500"), .defaults = ""}),
                     1 + 2 + 2);
    assert_int_equal(apply((struct variant){.defaults = ""}), 2);
    assert_int_equal(
        pgc_exec(conn, "UPDATE inferq.limit_rule SET of_operator = 1", NULL, NULL, &err),
        RC_REJECT);
    assert_string_equal(pgc_sqlstate(conn), "42501");
    must(pgc_exec(conn, "RESET ROLE", NULL, NULL, &err), &err);
    must(pgc_exec(conn, "REVOKE inferq_worker FROM CURRENT_USER", NULL, NULL, &err), &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first, empty_tables),
        cmocka_unit_test_setup(test_digests, empty_tables),
        cmocka_unit_test_setup(test_again, empty_tables),
        cmocka_unit_test_setup(test_moves, empty_tables),
        cmocka_unit_test_setup(test_additions, empty_tables),
        cmocka_unit_test_setup(test_limits, empty_tables),
        cmocka_unit_test_setup(test_limits_of_operators_stay, empty_tables),
        cmocka_unit_test_setup(test_immutable, empty_tables),
        cmocka_unit_test_setup(test_race, empty_tables),
        cmocka_unit_test_setup(test_broken_connection, empty_tables),
        cmocka_unit_test_setup(test_as_worker, empty_tables),
    };
    return cmocka_run_group_tests(tests, make_database, drop_database);
}
