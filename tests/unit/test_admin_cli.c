/*
 * test_admin_cli.c - numbers as text, suggestions, options, and finding a command.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/batch_ref.h"
#include "admin/cost.h"
#include "admin/dead_filter.h"
#include "admin/fmt.h"
#include "admin/help.h"
#include "admin/opts.h"
#include "admin/suggest.h"
#include "admin/why.h"
#include "common/codes.h"

static void test_usd(void **state)
{
    (void)state;
    const struct {
        int64_t nusd;
        const char *text;
    } rows[] = {{0, "0"},
                {1, "0.000000001"},
                {1500000000, "1.5"},
                {2000000000, "2"},
                {-1500, "-0.0000015"},
                {INT64_MAX, "9223372036.854775807"},
                {INT64_MIN, "-9223372036.854775808"}};
    char out[FMT_BYTES];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(fmt_usd(rows[i].nusd, out), rows[i].text);
    assert_string_equal(fmt_usd_per_million(2500000, out), "2.5");
    assert_string_equal(fmt_usd_per_million(1, out), "0.000001");
}

static void test_duration(void **state)
{
    (void)state;
    const int64_t second = 1000000;
    const struct {
        int64_t us;
        const char *text;
    } rows[] = {{0, "0 s"},
                {1, "1 us"},
                {999, "999 us"},
                {1000, "1 ms"},
                {999999, "999 ms"},
                {second, "1 s"},
                {1250000, "1.25 s"},
                {59999999, "59.99 s"},
                {60 * second, "1 min"},
                {200 * second, "3 min 20 s"},
                {3600 * second, "1 h"},
                {7500 * second, "2 h 5 min"},
                {86400 * second, "1 d"},
                {(3 * 86400 + 4 * 3600) * second, "3 d 4 h"},
                {-200 * second, "-3 min 20 s"},
                {INT64_MIN, "-106751991 d 4 h"}};
    char out[FMT_BYTES];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(fmt_duration(rows[i].us, out), rows[i].text);
}

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("", ""), 0);
    assert_int_equal(suggest_distance("list", "list"), 0);
    assert_int_equal(suggest_distance("list", ""), 4);
    assert_int_equal(suggest_distance("lsit", "list"), 1); /* neighbours swapped */
    assert_int_equal(suggest_distance("lists", "list"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    char longer[2 * SUGGEST_WORD_MAX] = {0};
    memset(longer, 'a', sizeof longer - 1);
    assert_int_equal(suggest_distance(longer, "a"), SUGGEST_WORD_MAX);
}

static void test_suggestion(void **state)
{
    (void)state;
    struct suggest s = {0};
    suggest_offer(&s, "explian", "results");
    assert_null(s.best);
    suggest_offer(&s, "explian", "explains");
    suggest_offer(&s, "explian", "explain");
    suggest_offer(&s, "explian", "explainss");
    assert_string_equal(s.best, "explain");
}

static void test_costs_are_told_apart_by_names(void **state)
{
    (void)state;
    struct err err;
    struct cost_by by = {0};
    assert_int_equal(cost_by_add(&by, "day,model-version", &err), RC_OK);
    assert_int_equal(cost_by_add(&by, "app", &err), RC_OK);
    assert_int_equal(by.count, 3);
    assert_string_equal(by.dims[0]->name, "day");
    assert_string_equal(by.dims[1]->key, "model_version");
    assert_int_equal(cost_by_add(&by, "app", &err), RC_REJECT);
    assert_non_null(strstr(err.text, "app stands there twice"));
    const struct {
        const char *names, *said;
    } rows[] = {{"taem", "did you mean team?"},
                {"", "none of app, task"},
                {"task,", "none of app, task"},
                {"priority-of-the-job", "none of app, task, team, model-version"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct cost_by none = {0};
        assert_int_equal(cost_by_add(&none, rows[i].names, &err), RC_REJECT);
        assert_non_null(strstr(err.text, rows[i].said));
    }
}

/* ---- options ------------------------------------------------------------------------------ */

static const struct opt options[] = {
    {.name = "json", .type = OPT_FLAG},
    {.name = "app", .type = OPT_TEXT},
    {.name = "limit", .type = OPT_INT, .min = 1, .max = 9},
    {.name = "set", .type = OPT_LIST},
    {.name = "by", .type = OPT_LIST},
    {0},
};

static enum rc parse(const char *const *argv, struct opts *ret, struct err *err)
{
    int argc = 0;
    while (argv[argc])
        argc++;
    return opts_parse(options, cmd_keys, argc, argv, ret, err);
}

static void test_options(void **state)
{
    (void)state;
    struct err err;
    struct opts o;
    const char *const argv[] = {"one",         "--json",  "--app=x=y",   "--limit", "3",
                                "--kafka.a.b", "v",       "--prefix=p2", "two",     "-",
                                "--",          "--three", NULL};
    assert_int_equal(parse(argv, &o, &err), RC_OK);
    assert_true(opts_set(&o, "json"));
    assert_string_equal(opts_text(&o, "app", ""), "x=y");
    assert_int_equal(opts_int(&o, "limit", 0), 3);
    assert_int_equal(o.arg_count, 4);
    assert_string_equal(o.args[0], "one");
    assert_string_equal(o.args[2], "-");
    assert_string_equal(o.args[3], "--three");
    assert_int_equal(o.setting_count, 2);
    assert_string_equal(o.settings[0].key, "kafka.a.b");
    assert_string_equal(o.settings[0].value, "v");
    assert_string_equal(o.settings[1].key, "prefix");
    assert_string_equal(o.settings[1].value, "p2");
    opts_done(&o);

    const char *const none[] = {NULL};
    assert_int_equal(parse(none, &o, &err), RC_OK);
    assert_false(opts_set(&o, "json"));
    assert_string_equal(opts_text(&o, "app", "z"), "z");
    assert_int_equal(opts_int(&o, "limit", 5), 5);
    opts_done(&o);
}

static void test_options_that_stand_many_times(void **state)
{
    (void)state;
    struct err err;
    struct opts o;
    const char *const argv[] = {"--set", "a=1", "--by", "x", "--set=b=2", NULL};
    assert_int_equal(parse(argv, &o, &err), RC_OK);
    assert_true(opts_set(&o, "set"));
    assert_string_equal(opts_each(&o, "set", 0), "a=1");
    assert_string_equal(opts_each(&o, "set", 1), "b=2");
    assert_null(opts_each(&o, "set", 2));
    assert_string_equal(opts_each(&o, "by", 0), "x");
    assert_null(opts_each(&o, "by", 1));
    opts_done(&o);

    const char *many[2 * OPTS_LIST_MAX + 3];
    for (int i = 0; i <= OPTS_LIST_MAX; i++) {
        many[2 * i] = "--set";
        many[2 * i + 1] = "a=1";
    }
    many[2 * OPTS_LIST_MAX + 2] = NULL;
    assert_int_equal(parse(many, &o, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "--set stands there more than 64 times"));
    opts_done(&o);
}

static void test_bad_options(void **state)
{
    (void)state;
    const struct {
        const char *argv[4];
        const char *said;
    } rows[] = {
        {{"--jsn"}, "did you mean --json?"},
        {{"--prefx", "x"}, "did you mean --prefix?"},
        {{"--xyzzy"}, "no option --xyzzy here"},
        {{"-x"}, "no option -x here"},
        {{"--json=yes"}, "--json takes no value"},
        {{"--app"}, "--app needs a value"},
        {{"--limit", "0"}, "from 1 to 9"},
        {{"--limit", "10"}, "from 1 to 9"},
        {{"--limit", "3x"}, "from 1 to 9"},
        {{"--limit="}, "from 1 to 9"},
        {{"--limit", "99999999999999999999"}, "from 1 to 9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err = {0};
        struct opts o;
        assert_int_equal(parse(rows[i].argv, &o, &err), RC_REJECT);
        assert_non_null(strstr(err.text, rows[i].said));
        opts_done(&o);
    }
}

/* ---- commands ----------------------------------------------------------------------------- */

static void test_every_command_is_found_and_explained(void **state)
{
    (void)state;
    for (const struct cmd *c = cmd_table; c->name; c++) {
        struct err err;
        const struct cmd *found = NULL;
        int words = 0;
        char name[64], *second;
        assert_true(strlen(c->name) < sizeof name);
        memcpy(name, c->name, strlen(c->name) + 1);
        second = strchr(name, ' ');
        if (second)
            *second++ = '\0';
        const char *const argv[] = {name, second ? second : "x", "rest"};
        assert_int_equal(help_find(3, argv, &found, &words, &err), RC_OK);
        assert_ptr_equal(found, c);
        assert_int_equal(words, second ? 2 : 1);

        struct buf text;
        buf_init(&text, 1 << 16);
        help_command(c, &text);
        buf_add_byte(&text, '\0');
        assert_non_null(strstr(text.p, c->summary));
        for (const struct opt *o = c->opts; o->name; o++)
            assert_true(o->help && strstr(text.p, o->help) && strstr(text.p, o->name));
        buf_done(&text);
    }
}

static void test_keys_are_documented(void **state)
{
    (void)state;
    for (const struct config_key *k = cmd_keys; k->name; k++) {
        assert_non_null(k->deflt);
        assert_non_null(k->help);
        assert_int_equal(k->secret, strcmp(k->name, "signing.key") == 0);
    }
}

/* ---- names of things ---------------------------------------------------------------------- */

static void test_batch_refs(void **state)
{
    (void)state;
    struct err err;
    struct batch_ref ref;
    assert_int_equal(batch_ref_parse("pipe/2026/11", &ref, &err), RC_OK);
    assert_false(ref.by_id);
    assert_true(span_is(ref.app, "pipe") && span_is(ref.name, "2026/11"));
    assert_int_equal(batch_ref_parse("01A1FDE7-193c-78fe-8a46-c3adbbba296b", &ref, &err), RC_OK);
    assert_true(ref.by_id);
    assert_int_equal(ref.id.b[0], 0x01);
    const char *const bad[] = {"", "pipe", "/name", "pipe/", "01a1fde7"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(batch_ref_parse(bad[i], &ref, &err), RC_REJECT);
}

static void test_batch_range_holds_its_jobs(void **state)
{
    (void)state;
    const int64_t times[] = {0, 255, 1795000000123, (INT64_C(1) << 48) - 2};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct jobid first, past, before;
        batch_range(times[i], &first, &past);
        for (uint32_t generation = 0; generation < 50; generation++) {
            struct jobid id =
                jobid_make(times[i], SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), generation);
            assert_true(jobid_cmp(&first, &id) <= 0 && jobid_cmp(&id, &past) < 0);
            id = jobid_make(times[i] + 1, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), generation);
            assert_true(jobid_cmp(&past, &id) <= 0);
        }
        if (times[i]) {
            before = jobid_make(times[i] - 1, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), 0);
            assert_true(jobid_cmp(&before, &first) < 0);
        }
    }
}

static void test_since(void **state)
{
    (void)state;
    const int64_t now = 1795000000000;
    assert_int_equal(dead_since_parse("24h", now), now - 86400000);
    assert_int_equal(dead_since_parse("-90s", now), now - 90000);
    assert_int_equal(dead_since_parse("1970-01-01T00:00:01Z", now), 1000);
    assert_int_equal(dead_since_parse("99999d", now), 1); /* before all times: everything */
    const char *const bad[] = {"", "+24h", "soon", "24", "h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dead_since_parse(bad[i], now), -1);
}

static void test_dead_ids(void **state)
{
    (void)state;
    struct err err;
    int64_t id = 0;
    assert_int_equal(dead_id_parse("9007199254740993", &id, &err), RC_OK);
    assert_true(id == 9007199254740993);
    const char *const bad[] = {"", "0", "-1", "1x", "x", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dead_id_parse(bad[i], &id, &err), RC_REJECT);
    assert_true(id == 9007199254740993);
}

/* ---- why ---------------------------------------------------------------------------------- */

static void check_why(struct why why, const char *want)
{
    struct buf out;
    buf_init(&out, 4096);
    why_sentence(&why, &out);
    buf_add_byte(&out, '\0');
    assert_string_equal(out.p, want);
    buf_done(&out);
}

static void test_why(void **state)
{
    (void)state;
    check_why((struct why){.status = STATUS_SUCCEEDED, .class_code = CLASS_OK, .call_number = 3},
              "It succeeded: call 3 gave the answer.");
    check_why(
        (struct why){.status = STATUS_SUCCEEDED, .call_number = 1, .validation = VALIDATION_PASSED},
        "It succeeded: the answer to call 1 passed its check.");
    check_why((struct why){.status = STATUS_EXPIRED, .class_code = CLASS_EXPIRED},
              "It expired without any call: its deadline passed.");
    check_why((struct why){.status = STATUS_DEAD,
                           .class_code = CLASS_INVALID,
                           .call_count = 1,
                           .reason = SPAN_LIT("bad\nfield")},
              "It died after 1 call: the server refused the request as invalid (bad?field).");
    check_why(
        (struct why){.status = STATUS_CANCELLED, .class_code = CLASS_CANCELLED, .call_count = 2},
        "It was cancelled after 2 calls: its batch was cancelled.");
}

static void test_every_class_has_words(void **state)
{
    (void)state;
    const char *name, *unknown = why_class(9999);
    int code;
    int count = 0;
    for (int i = 0; codes_entry("class", i, &code, &name); i++, count++)
        if (code != CLASS_NONE)
            assert_string_not_equal(why_class(code), unknown);
    assert_true(count > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usd),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_suggestion),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_costs_are_told_apart_by_names),
        cmocka_unit_test(test_options_that_stand_many_times),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_every_command_is_found_and_explained),
        cmocka_unit_test(test_keys_are_documented),
        cmocka_unit_test(test_batch_refs),
        cmocka_unit_test(test_batch_range_holds_its_jobs),
        cmocka_unit_test(test_since),
        cmocka_unit_test(test_dead_ids),
        cmocka_unit_test(test_why),
        cmocka_unit_test(test_every_class_has_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
