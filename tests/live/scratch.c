/*
 * scratch.c - see scratch.h. The clock is two functions in a schema of their own that stands before
 * pg_catalog in the path: so the very SQL text of the workers, which says now(), asks them.
 */
#include "tests/live/scratch.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SQL_BYTES_MAX = 1 << 20 };

static bool database_statement(const struct scratch *s, const char *verb)
{
    char sql[128];
    struct pgc *admin = NULL;
    struct err err = {""};
    (void)snprintf(sql, sizeof sql, "%s %s", verb, s->database);
    enum rc rc = pgc_open("dbname=postgres", "inferq-test", &admin, &err);
    if (rc == RC_OK)
        rc = pgc_exec(admin, sql, NULL, NULL, &err);
    if (rc != RC_OK)
        print_error("%s: %s\n", sql, err.text);
    pgc_close(admin);
    return rc == RC_OK;
}

static bool run_file(struct scratch *s, const char *path)
{
    struct err err = {""};
    FILE *file = fopen(path, "rb");
    char *sql = calloc(1, SQL_BYTES_MAX);
    bool well = file && sql && fread(sql, 1, SQL_BYTES_MAX - 1, file) > 0 &&
                pgc_script(s->conn, sql, &err) == RC_OK;
    if (!well)
        print_error("%s: %s\n", path, err.text);
    free(sql);
    if (file)
        (void)fclose(file);
    return well;
}

static bool migrate(struct scratch *s)
{
    glob_t found;
    bool well = glob("schemas/sql/[0-9]*.sql", 0, NULL, &found) == 0;
    if (!well)
        print_error("no migrations: not at the root of the tree?\n");
    for (size_t i = 0; well && i < found.gl_pathc; i++)
        well = run_file(s, found.gl_pathv[i]);
    globfree(&found);
    return well;
}

bool scratch_open(struct scratch *s, const char *name)
{
    struct err err = {""};
    *s = (struct scratch){0};
    (void)snprintf(s->database, sizeof s->database, "inferq_test_%s_%d", name, (int)getpid());
    (void)snprintf(s->conninfo, sizeof s->conninfo, "dbname=%s", s->database);
    if (!database_statement(s, "CREATE DATABASE"))
        return false;
    if (pgc_open(s->conninfo, "inferq-test", &s->conn, &err) != RC_OK) {
        print_error("%s\n", err.text);
        return false;
    }
    return migrate(s);
}

void scratch_close(struct scratch *s)
{
    pgc_close(s->conn);
    s->conn = NULL;
    (void)database_statement(s, "DROP DATABASE IF EXISTS");
}

void scratch_run(struct scratch *s, const char *sql)
{
    struct err err = {""};
    if (pgc_script(s->conn, sql, &err) != RC_OK)
        fail_msg("%s: %s", sql, err.text);
}

struct pg_rows *scratch_ask(struct scratch *s, const char *sql, const struct pg_params *params)
{
    struct err err = {""};
    struct pg_rows *rows = NULL;
    if (pgc_exec(s->conn, sql, params, &rows, &err) != RC_OK)
        fail_msg("%s: %s", sql, err.text);
    assert_non_null(rows);
    return rows;
}

int64_t scratch_int(struct scratch *s, const char *sql)
{
    struct pg_rows *rows = scratch_ask(s, sql, NULL);
    assert_int_equal(pg_row_count(rows), 1);
    int64_t v = pg_get_int(rows, 0, 0);
    pg_rows_free(rows);
    return v;
}

void scratch_take_clock(struct scratch *s)
{
    scratch_run(
        s,
        "CREATE SCHEMA scratch_clock;"
        "CREATE FUNCTION scratch_clock.now() RETURNS timestamptz LANGUAGE sql STABLE"
        "    RETURN 'epoch'::timestamptz"
        "        + current_setting('scratch.now_us')::int8 * interval '1 microsecond';"
        "CREATE FUNCTION scratch_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE"
        "    RETURN scratch_clock.now();"
        "DO $$ DECLARE c record; BEGIN"
        "    FOR c IN SELECT table_name, column_name FROM information_schema.columns"
        "             WHERE table_schema = 'inferq' AND column_default = 'now()' LOOP"
        "        EXECUTE format('ALTER TABLE inferq.%I ALTER %I SET DEFAULT scratch_clock.now()',"
        "                       c.table_name, c.column_name);"
        "    END LOOP;"
        "END $$;"
        "ALTER FUNCTION inferq.ensure_partitions() SET search_path ="
        "    scratch_clock, pg_catalog, inferq, pg_temp;" SCRATCH_CLOCK_PATH);
}
