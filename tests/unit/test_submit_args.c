/*
 * test_submit_args.c - the command line: options, settings, inputs, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "producer/submit_args.h"

enum { WORDS_MAX = 16 };

static enum rc parse(const char *const *words, struct submit_args *args, struct err *err)
{
    static char copies[WORDS_MAX][64];
    char *argv[WORDS_MAX + 1] = {NULL};
    int argc = 0;
    for (; words[argc]; argc++) {
        snprintf(copies[argc], sizeof copies[argc], "%s", words[argc]);
        argv[argc] = copies[argc];
    }
    return submit_args_parse(argc, argv, args, err);
}

static void test_all_kinds(void **state)
{
    static const char *const words[] = {"inferq-submit",
                                        "--app",
                                        "a",
                                        "in1",
                                        "--task=t=1",
                                        "--wait",
                                        "--kafka.linger.ms",
                                        "5",
                                        "--max-message-bytes=2MiB",
                                        "--signing-key",
                                        "env:K",
                                        "-",
                                        "--",
                                        "--app",
                                        NULL};
    struct submit_args args;
    struct err err = {""};
    (void)state;
    assert_int_equal(parse(words, &args, &err), RC_OK);
    assert_string_equal(args.app, "a");
    assert_string_equal(args.task, "t=1");
    assert_true(args.wait);
    assert_false(args.dry_run);
    assert_null(args.team);
    assert_int_equal(args.input_count, 3);
    assert_string_equal(args.inputs[0], "in1");
    assert_string_equal(args.inputs[1], "-");
    assert_string_equal(args.inputs[2], "--app");
    assert_int_equal(args.setting_count, 3);
    assert_string_equal(args.settings[0].key, "kafka.linger.ms");
    assert_string_equal(args.settings[0].value, "5");
    assert_string_equal(args.settings[1].key, "max_message_bytes");
    assert_string_equal(args.settings[2].key, "signing.key");
    submit_args_done(&args);
}

static void test_refused(void **state)
{
    static const struct {
        const char *words[WORDS_MAX];
        const char *why;
    } cases[] = {
        {{"s", "--nonsense"}, "unknown option --nonsense"},
        {{"s", "--dead", "x"}, "did you mean --deadline?"},
        {{"s", "--app"}, "--app needs a value"},
        {{"s", "--app", "a", "--app=b"}, "--app is given twice"},
        {{"s", "--wait=yes"}, "--wait takes no value"},
        {{"s", "-x"}, "unknown option -x"},
        {{"s", "--kafka.", "x"}, "unknown option --kafka."},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct submit_args args;
        struct err err = {""};
        assert_int_equal(parse(cases[i].words, &args, &err), RC_REJECT);
        if (!strstr(err.text, cases[i].why))
            fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
    }
}

/* Every option and every setting stands in --help. */
static void test_help(void **state)
{
    static const char *const some[] = {"--app NAME",  "--on-error stop|skip",
                                       "--dry-run",   "--output KIND",
                                       "signing.key", "max_message_bytes"};
    char *text = NULL;
    size_t n = 0;
    (void)state;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    submit_args_help(out);
    fclose(out);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        if (!strstr(text, some[i]))
            fail_msg("'%s' is not in --help", some[i]);
    for (const struct config_key *k = submit_config_keys; k->name; k++)
        assert_non_null(strstr(text, k->name));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
