/*
 * test_migrations.c - which SQL files are a set, and what a database has to do with them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/migrations.h"

static void test_names(void **state)
{
    (void)state;
    int number = 0;
    char name[MIGRATION_NAME_MAX];
    assert_true(migration_parse_name("0001_core.sql", &number, name));
    assert_int_equal(number, 1);
    assert_string_equal(name, "core");
    assert_true(migration_parse_name("1234_a_b-c.sql", &number, name));
    assert_int_equal(number, 1234);
    assert_string_equal(name, "a_b-c");
    const char *const bad[] = {"",           "1_a.sql",     "0001.sql",
                               "0001_.sql",  "0001-a.sql",  "x001_a.sql",
                               "0001_a.SQL", "0001_a.sql~", "00011_a.sql"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(migration_parse_name(bad[i], &number, name));
    char longer[200];
    memset(longer, 'a', sizeof longer);
    memcpy(longer, "0001_", 5);
    memcpy(longer + sizeof longer - 5, ".sql", 5);
    assert_false(migration_parse_name(longer, &number, name));
}

static struct migration file(int number)
{
    struct migration m = {.number = number};
    (void)snprintf(m.file, sizeof m.file, "%04d_x.sql", number);
    m.sha256[0] = (uint8_t)number;
    return m;
}

static void test_order(void **state)
{
    (void)state;
    struct err err;
    struct migration in_disorder[] = {file(3), file(1), file(2)};
    struct migrations m = {in_disorder, 3};
    assert_int_equal(migrations_order(&m, &err), RC_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(m.all[i].number, i + 1);

    struct migration gap[] = {file(1), file(3)};
    assert_int_equal(migrations_order(&(struct migrations){gap, 2}, &err), RC_REJECT);
    assert_string_equal(err.text, "migration 0002 is missing: the next file is 0003_x.sql");
    struct migration from_two[] = {file(2)};
    assert_int_equal(migrations_order(&(struct migrations){from_two, 1}, &err), RC_REJECT);
    struct migration zero[] = {file(0), file(1)};
    assert_int_equal(migrations_order(&(struct migrations){zero, 2}, &err), RC_REJECT);
    struct migration twice[] = {file(1), file(1)};
    assert_int_equal(migrations_order(&(struct migrations){twice, 2}, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "have the same number"));
}

static const char sums[4][32] = {{0}, {1}, {2}, {3}};

static struct migration_row row(int number)
{
    return (struct migration_row){number, SPAN_LIT("x"), {sums[number], 32}, 1000 + number};
}

static void test_match(void **state)
{
    (void)state;
    struct err err;
    struct migration files[] = {file(1), file(2), file(3)};
    struct migrations m = {files, 3};
    struct migration_row rows[] = {row(1), row(2)};
    assert_int_equal(migrations_match(&m, NULL, 0, &err), RC_OK);
    assert_int_equal(files[0].applied_ms, 0);
    assert_int_equal(migrations_match(&m, rows, 2, &err), RC_OK);
    assert_int_equal(files[0].applied_ms, 1001);
    assert_int_equal(files[1].applied_ms, 1002);
    assert_int_equal(files[2].applied_ms, 0);
    assert_false(files[1].changed);
}

static void test_mismatches(void **state)
{
    (void)state;
    struct err err;
    struct migration files[] = {file(1), file(2), file(3)};
    struct migrations m = {files, 3};
    struct migration_row newer = row(3);
    newer.number = 4;
    assert_int_equal(migrations_match(&m, &newer, 1, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "knows up to 3"));

    struct migration_row changed = row(1);
    changed.sha256.p = sums[2];
    assert_int_equal(migrations_match(&m, &changed, 1, &err), RC_REJECT);
    assert_true(files[0].changed);
    assert_non_null(strstr(err.text, "0001_x.sql was changed after it was applied"));
    assert_non_null(strstr(err.text, "number 0004"));

    struct migration fresh[] = {file(1), file(2), file(3)};
    struct migration_row hole = row(2);
    assert_int_equal(migrations_match(&(struct migrations){fresh, 3}, &hole, 1, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "has 0002_x.sql but not 0001_x.sql"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_mismatches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
