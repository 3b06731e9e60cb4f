/*
 * test_input.c - inputs as sequences of records: names, formats, bad records, reading twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "producer/input.h"

enum { MAX = 64 };
static char root[] = "/tmp/inferq-input-XXXXXX";

static void put(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(root) || chdir(root) != 0 || mkdir("x", 0700) != 0 || mkdir("x/y", 0700) != 0)
        return -1;
    put("x/a", "one");
    put("x/y/a", "two");
    put("x/y/empty", "");
    put("x/y/long", "0123456789012345678901234567890123456789012345678901234567890123456789");
    put("r.jsonl", "{\"a\":1}\n\n \t\r\n{\"b\":2}\n");
    put("o.jsonl", "\n{\"custom_id\":\"c\",\"body\":{}}\n{\"a\":1}\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const all[] = {"x/y/long", "x/y/empty", "x/y/a",   "x/a",
                                      "x/y",      "x",         "r.jsonl", "o.jsonl"};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        (void)remove(all[i]);
    return chdir("/") == 0 ? rmdir(root) : -1;
}

static struct input *open_input(enum input_format format, int count, const char *const *paths)
{
    struct input *in = NULL;
    struct err err = {""};
    const struct input_conf conf = {
        .paths = paths, .path_count = count, .format = format, .doc_bytes_max = MAX, .stop_fd = -1};
    if (input_new(&conf, &in, &err) != RC_OK)
        fail_msg("%s", err.text);
    return in;
}

/* "file:line name=data|" for each record, "file:line BAD reason|" for bad ones. */
static void walk(struct input *in, const char *wanted)
{
    char got[2048] = "";
    struct record record;
    struct err err = {""};
    for (;;) {
        enum input_got what = input_next(in, &record, &err);
        size_t used = strlen(got);
        if (what == INPUT_END)
            break;
        assert_true(what == INPUT_RECORD || what == INPUT_BAD);
        if (what == INPUT_RECORD)
            snprintf(got + used, sizeof got - used, "%s:%d %.*s=%.*s|", record.file,
                     (int)record.line, (int)record.name.n, record.name.p, (int)record.data.n,
                     record.data.p);
        else
            snprintf(got + used, sizeof got - used, "%s:%d BAD %s|", record.file, (int)record.line,
                     err.text);
    }
    assert_string_equal(got, wanted);
}

static void test_one_directory(void **state)
{
    (void)state;
    struct input *in = open_input(INPUT_DOCUMENTS, 1, (const char *const[]){"x/"});
    static const char wanted[] =
        "x/a:0 a=one|x/y/a:0 y/a=two|x/y/empty:0 BAD is empty|"
        "x/y/long:0 BAD has more than 64 bytes, and no message can hold it|";
    walk(in, wanted);
    assert_true(input_can_rewind(in));
    input_rewind(in);
    walk(in, wanted);
    input_free(in);
}

/* Names start below the deepest directory that holds all inputs. */
static void test_names(void **state)
{
    (void)state;
    struct input *in = open_input(INPUT_DOCUMENTS, 1, (const char *const[]){"x/y/a"});
    walk(in, "x/y/a:0 a=two|");
    input_free(in);
    in = open_input(INPUT_DOCUMENTS, 2, (const char *const[]){"x/y/a", "./x/a"});
    walk(in, "x/y/a:0 y/a=two|./x/a:0 a=one|");
    input_free(in);
    in = open_input(INPUT_DOCUMENTS, 2, (const char *const[]){"x/y/a", "r.jsonl"});
    walk(in, "x/y/a:0 x/y/a=two|r.jsonl:0 r.jsonl={\"a\":1}\n\n \t\r\n{\"b\":2}\n|");
    input_free(in);
}

static void test_lines(void **state)
{
    (void)state;
    struct input *in = open_input(INPUT_JSONL, 1, (const char *const[]){"r.jsonl"});
    walk(in, "r.jsonl:1 line-1={\"a\":1}|r.jsonl:4 line-4={\"b\":2}|");
    input_rewind(in);
    walk(in, "r.jsonl:1 line-1={\"a\":1}|r.jsonl:4 line-4={\"b\":2}|");
    input_free(in);
    in = open_input(INPUT_LINES, 2, (const char *const[]){"x/a", "x/y/long"});
    walk(in, "x/a:1 a:1=one|x/y/long:1 BAD has more than 64 bytes, and no message can hold it|");
    input_free(in);
}

/* The first line of each file decides, and holds for the rest of it. */
static void test_format_by_first_line(void **state)
{
    (void)state;
    struct record record;
    struct err err = {""};
    struct input *in = open_input(INPUT_REQUESTS, 2, (const char *const[]){"o.jsonl", "r.jsonl"});
    static const enum input_format wanted[] = {INPUT_OPENAI, INPUT_OPENAI, INPUT_JSONL,
                                               INPUT_JSONL};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(input_next(in, &record, &err), INPUT_RECORD);
        assert_int_equal(record.format, wanted[i]);
    }
    assert_int_equal(input_next(in, &record, &err), INPUT_END);
    input_free(in);
}

static void test_refused(void **state)
{
    static const struct {
        const char *const paths[2];
        int count;
        enum input_format format;
        const char *why;
    } cases[] = {
        {{"nothing-here"}, 1, INPUT_DOCUMENTS, "nothing-here: No such file"},
        {{"x"}, 1, INPUT_REQUESTS, "x is a directory"},
        {{"x/a", "x/../x/a"}, 2, INPUT_DOCUMENTS, "given twice"},
        {{NULL}, 0, INPUT_DOCUMENTS, "nothing to submit"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct input *in = NULL;
        struct err err = {""};
        const struct input_conf conf = {.paths = cases[i].paths,
                                        .path_count = cases[i].count,
                                        .format = cases[i].format,
                                        .doc_bytes_max = MAX,
                                        .stop_fd = -1};
        assert_int_equal(input_new(&conf, &in, &err), RC_REJECT);
        if (!strstr(err.text, cases[i].why))
            fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_directory), cmocka_unit_test(test_names),
        cmocka_unit_test(test_lines),         cmocka_unit_test(test_format_by_first_line),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
