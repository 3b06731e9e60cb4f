/*
 * test_config_named.c - keys with a name in them: which fit, where their values come from, what
 * stands where none was given, that they print, compare and change sides as all others do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/config.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define NAME_32 "abcdefghijklmnopqrstuvwxyz012345"

static const struct config_key keys[] = {
    {"lane.high.weight", CONFIG_INT, "8", 1, 100, NULL, true, false, "", "Of one by name."},
    {"lane.NAME.weight", CONFIG_INT, "3", 1, 100, NULL, true, false, "", "Of all others."},
    {"lane.NAME.max_bytes", CONFIG_BYTES, "64KiB", 1, 1 << 20, NULL, true, false, "", "Bytes."},
    {"note", CONFIG_TEXT, "", 0, 0, NULL, true, false, "", "Free text."},
    {0},
};

static struct err err;

static struct config *fresh(void)
{
    struct config *c = config_new(keys);
    assert_non_null(c);
    return c;
}

static void set(struct config *c, const char *key, const char *value)
{
    if (config_set(c, key, value, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static void test_values(void **state)
{
    struct config *c = fresh();
    const char *key;
    struct span name;
    (void)state;
    assert_int_equal(config_int(c, "lane.nightly.weight"), 3);
    assert_string_equal(config_origin(c, "lane.nightly.weight"), "default");
    assert_false(config_named_entry(c, 0, &key, &name));
    set(c, "lane.nightly.weight", "7");
    set(c, "lane.a-1.max_bytes", "1KiB");
    set(c, "lane.high.weight", "9"); /* a key of its own */
    set(c, "lane." NAME_32 ".weight", "5");
    assert_int_equal(config_int(c, "lane.nightly.weight"), 7);
    assert_string_equal(config_origin(c, "lane.nightly.weight"), "flag");
    assert_int_equal(config_int(c, "lane.nightly.max_bytes"), 65536);
    assert_int_equal(config_int(c, "lane.a-1.max_bytes"), 1024);
    assert_int_equal(config_int(c, "lane.high.weight"), 9);
    assert_true(config_named_entry(c, 0, &key, &name));
    assert_string_equal(key, "lane.nightly.weight");
    assert_true(span_is(name, "nightly"));
    assert_true(config_named_entry(c, 1, &key, &name));
    assert_true(span_is(name, "a-1"));
    assert_true(config_named_entry(c, 2, &key, &name));
    assert_true(span_is(name, NAME_32));
    assert_false(config_named_entry(c, 3, &key, &name));
    config_free(c);
}

static void test_refused(void **state)
{
    static const char too_long[] = "lane." NAME_32 "x.weight";
    static const char *const bad[] = {
        "lane.NAME.weight", "lane..weight",    "lane.-a.weight", "lane.a.b.weight",
        "lane.A.weight",    "lane.a_b.weight", "lane.a.wieght",  "lane.a.",
        "lane.weight",      "xlane.a.weight",  "lane.a.weight.", "lane.a b.weight",
        "Lane.a.weight",    too_long,
    };
    struct config *c = fresh();
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(config_set(c, bad[i], "5", &err), RC_REJECT);
        assert_non_null(strstr(err.text, "unknown key"));
    }
    assert_int_equal(config_set(c, "lane.a.weight", "101", &err), RC_REJECT);
    assert_non_null(strstr(err.text, "lane.a.weight: "));
    assert_int_equal(config_int(c, "lane.a.weight"), 3);
    config_free(c);
}

static void test_cap(void **state)
{
    struct config *c = fresh();
    char key[64];
    (void)state;
    for (int i = 0; i < CONFIG_NAMED_MAX; i++) {
        (void)snprintf(key, sizeof key, "lane.l%d.weight", i);
        set(c, key, "4");
    }
    set(c, "lane.l0.weight", "5"); /* that one is there */
    assert_int_equal(config_set(c, "lane.more.weight", "5", &err), RC_REJECT);
    assert_int_equal(config_int(c, "lane.l255.weight"), 4);
    config_free(c);
}

static void test_environment(void **state)
{
    static const char *const names[] = {
        "INFERQ_LANE_NIGHTLY_RUN_WEIGHT", "INFERQ_LANE_HIGH_WEIGHT", "INFERQ_LANE_A_MAX_BYTES",
        "INFERQ_LANE_a_WEIGHT",           "INFERQ_LANE__WEIGHT",     "INFERQ_LANE_NAME_WEIGHT"};
    struct config *c = fresh();
    const char *key;
    struct span name;
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(setenv(names[i], "40", 1), 0);
    assert_int_equal(setenv("INFERQ_LANE_EMPTY_WEIGHT", "", 1), 0);
    set(c, "lane.a.max_bytes", "2KiB"); /* a flag outranks it */
    assert_int_equal(config_load_env(c, &err), RC_OK);
    assert_int_equal(config_int(c, "lane.nightly-run.weight"), 40);
    assert_string_equal(config_origin(c, "lane.nightly-run.weight"), "environment");
    assert_int_equal(config_int(c, "lane.high.weight"), 40);
    assert_int_equal(config_int(c, "lane.a.max_bytes"), 2048);
    assert_int_equal(config_int(c, "lane.a.weight"), 3); /* strangers are passed over */
    assert_int_equal(config_int(c, "lane.name.weight"), 40);
    assert_int_equal(config_int(c, "lane.empty.weight"), 3);
    assert_false(config_named_entry(c, 3, &key, &name));
    assert_int_equal(setenv("INFERQ_LANE_A_WEIGHT", "none", 1), 0);
    assert_int_equal(config_load_env(c, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "environment variable INFERQ_LANE_A_WEIGHT: lane.a.weight: "));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_int_equal(unsetenv(names[i]), 0);
    assert_int_equal(unsetenv("INFERQ_LANE_A_WEIGHT"), 0);
    assert_int_equal(unsetenv("INFERQ_LANE_EMPTY_WEIGHT"), 0);
    config_free(c);
}

static void test_reload(void **state)
{
    struct config *a = fresh(), *b = fresh();
    (void)state;
    assert_true(config_same(a, b, "lane.NAME.weight"));
    set(a, "lane.x.weight", "3"); /* the default, said */
    assert_true(config_same(a, b, "lane.NAME.weight"));
    set(b, "lane.y.weight", "4");
    assert_false(config_same(a, b, "lane.NAME.weight"));
    assert_false(config_same(b, a, "lane.NAME.weight"));
    assert_true(config_same(a, b, "lane.NAME.max_bytes"));
    assert_true(config_same(a, b, "lane.x.weight"));
    assert_false(config_same(a, b, "lane.y.weight"));
    config_take_reloadable(a, b);
    assert_int_equal(config_int(a, "lane.y.weight"), 4);
    assert_int_equal(config_int(b, "lane.y.weight"), 3);
    config_free(a);
    config_free(b);
}

static void test_print(void **state)
{
    char *text = NULL;
    size_t n = 0;
    struct config *c = fresh();
    FILE *f = open_memstream(&text, &n);
    (void)state;
    set(c, "lane.nightly.weight", "7");
    config_print(c, f);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "# from: flag\nlane.nightly.weight = 7\n"));
    assert_null(strstr(text, "NAME"));
    free(text);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cap),    cmocka_unit_test(test_environment),
        cmocka_unit_test(test_reload), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
