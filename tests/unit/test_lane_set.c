/*
 * test_lane_set.c - names of lanes, which lane a batch goes to, what is said of one that is not
 * there; and a worker's settings of them: keys with a name in them, which lanes it serves.
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
#include "common/lane_set.h"
#include "worker/lanes.h"
#include "worker/settings.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct err err;

/* ---- names and rules ---------------------------------------------------------------------- */

static void test_names(void **state)
{
    static const char *const good[] = {
        "a", "0", "nightly", "app-7", "a-", "a--b", "abcdefghijklmnopqrstuvwxyz012345"};
    static const char *const bad[] = {
        "",    "-",  "-a",  "A",        "nightLy", "a_b",
        "a.b", "a ", "a\n", "\xc3\xa4", "a/b",     "abcdefghijklmnopqrstuvwxyz0123456"};
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(lane_name_ok(span_of(good[i])));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(lane_name_ok(span_of(bad[i])));
    assert_false(lane_name_ok((struct span){0}));
    assert_false(lane_name_ok((struct span){"a\0b", 3}));
}

static void add(struct lane_set *set, int code, const char *name, const char *app, const char *task)
{
    struct lane_entry *lane = &set->lanes[set->count++];
    lane->code = code;
    (void)snprintf(lane->name, sizeof lane->name, "%s", name);
    (void)snprintf(lane->app, sizeof lane->app, "%s", app);
    (void)snprintf(lane->task, sizeof lane->task, "%s", task);
}

/* The three, and lanes whose codes have holes: some were removed. */
static struct lane_set some_lanes(void)
{
    struct lane_set set;
    lane_set_default(&set);
    add(&set, 4, "by-task", "", "embed");
    add(&set, 5, "by-app", "shop", "");
    add(&set, 9, "by-both", "shop", "embed");
    add(&set, 12, "plain", "", "");
    return set;
}

static void test_rules(void **state)
{
    static const struct {
        const char *app, *task, *lane;
    } rows[] = {
        {"shop", "embed", "by-both"},
        {"shop", "other", "by-app"},
        {"shop", NULL, "by-app"},
        {"bank", "embed", "by-task"},
        {"bank", "other", NULL},
        {"bank", NULL, NULL},
        {"", "", NULL},
        {"shopper", NULL, NULL},
        {"sho", "embe", NULL},
    };
    struct lane_set set = some_lanes();
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct span task = rows[i].task ? span_of(rows[i].task) : (struct span){0};
        const struct lane_entry *lane = lane_set_rule(&set, span_of(rows[i].app), task);
        if (!rows[i].lane)
            assert_null(lane);
        else
            assert_string_equal(lane->name, rows[i].lane);
    }
}

static void test_look_ups(void **state)
{
    struct lane_set set = some_lanes();
    char names[LANE_LIST_BYTES];
    (void)state;
    assert_int_equal(lane_set_find(&set, SPAN_LIT("low"))->code, 2);
    assert_int_equal(lane_set_find(&set, SPAN_LIT("by-both"))->code, 9);
    assert_null(lane_set_find(&set, SPAN_LIT("lo")));
    assert_string_equal(lane_set_code(&set, 9)->name, "by-both");
    assert_null(lane_set_code(&set, 6));
    assert_string_equal(lane_set_names(&set, names),
                        "high, normal, low, by-task, by-app, by-both, plain");
    assert_int_equal(lane_set_unknown(&set, SPAN_LIT("nite"), &err), RC_REJECT);
    assert_non_null(strstr(err.text, "no lane 'nite'"));
    assert_non_null(strstr(err.text, "by-both, plain; `inferq lane add nite` adds it"));
    assert_int_equal(lane_set_unknown(&set, SPAN_LIT("N!"), &err), RC_REJECT);
    assert_null(strstr(err.text, "lane add")); /* no name of a lane */
}

/* As many lanes as there may be, with names as long as they may be: the list holds them. */
static void test_full_list(void **state)
{
    struct lane_set set = {0};
    char names[LANE_LIST_BYTES];
    (void)state;
    for (int i = 0; i < LANE_SET_MAX; i++)
        add(&set, i, "abcdefghijklmnopqrstuvwxyz012345", "", "");
    assert_int_equal(strlen(lane_set_names(&set, names)), LANE_SET_MAX * 34 - 2);
}

/* ---- a worker's settings ------------------------------------------------------------------ */

static struct config *settings(const char *const *pairs)
{
    struct config *c = config_new(settings_keys);
    assert_non_null(c);
    assert_int_equal(config_set(c, "catalogue", "x", &err), RC_OK);
    for (; pairs && *pairs; pairs += 2)
        assert_int_equal(config_set(c, pairs[0], pairs[1], &err), RC_OK);
    return c;
}

static void check_served(const char *const *pairs, const char *want)
{
    struct lane_set known = some_lanes(), served = {0};
    char names[LANE_LIST_BYTES];
    struct config *c = settings(pairs);
    assert_int_equal(settings_check(c, &err), RC_OK);
    assert_int_equal(settings_lanes(c, &known, &served, &err), RC_OK);
    assert_string_equal(lane_set_names(&served, names), want);
    config_free(c);
}

static void check_refused(const char *const *pairs, const char *why)
{
    struct lane_set known = some_lanes(), served = {0};
    struct config *c = settings(pairs);
    enum rc rc = settings_check(c, &err);
    if (rc == RC_OK)
        rc = settings_lanes(c, &known, &served, &err);
    assert_int_equal(rc, RC_REJECT);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
    assert_int_equal(served.count, 0);
    config_free(c);
}

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_served(void **state)
{
    (void)state;
    check_served(NULL, "high, normal, low, by-task, by-app, by-both, plain");
    check_served(PAIRS("lanes", "plain"), "plain");
    check_served(PAIRS("lanes", " plain,,high  low "), "high, low, plain"); /* the table's order */
    check_served(PAIRS("lanes", "plain plain"), "plain");
    check_served(PAIRS("lanes", "high", "lane.plain.weight", "9"), "high");
    check_refused(PAIRS("lanes", "high nightly"),
                  "lanes: there is no lane 'nightly': the lanes are "
                  "high, normal, low, by-task");
    check_refused(PAIRS("lanes", "Plain"), "lanes: 'Plain' is no name of a lane");
    check_refused(PAIRS("lane.nightly.max_jobs", "500"),
                  "lane.nightly.max_jobs: there is no lane 'nightly'");
    check_refused(PAIRS("lane.plain.max_bytes", "400MiB"), "more than half of memory.max_bytes");
    check_refused(PAIRS("lanes", "plain", "lane.plain.max_bytes", "600MiB"), "more than half");
    check_refused(PAIRS("lane.high.max_bytes", "600MiB"), "more than half");
    check_served(PAIRS("lanes", "high", "lane.plain.max_bytes", "400MiB"), "high");
}

static void test_lane_settings(void **state)
{
    struct config *c = settings(PAIRS("lane.plain.weight", "12", "lane.plain.min_share", "7",
                                      "lane.by-app.max_jobs", "200", "lane.low.weight", "2"));
    struct lane_conf lane;
    (void)state;
    settings_lane(c, "plain", &lane);
    assert_int_equal(lane.weight, 12);
    assert_int_equal(lane.min_share_permille, 7);
    assert_int_equal(lane.max_jobs, 32000);
    settings_lane(c, "by-app", &lane); /* what is not said is as it is for normal */
    assert_int_equal(lane.weight, 3);
    assert_int_equal(lane.min_share_permille, 50);
    assert_int_equal(lane.max_jobs, 200);
    assert_int_equal(lane.max_bytes, 64 << 20);
    settings_lane(c, "high", &lane);
    assert_int_equal(lane.weight, 8);
    settings_lane(c, "low", &lane);
    assert_int_equal(lane.weight, 2);
    config_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),    cmocka_unit_test(test_rules),
        cmocka_unit_test(test_look_ups), cmocka_unit_test(test_full_list),
        cmocka_unit_test(test_served),   cmocka_unit_test(test_lane_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
