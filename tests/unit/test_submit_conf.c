/*
 * test_submit_conf.c - options as they are understood, and the messages for those that are not.
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

#include "producer/submit_conf.h"

#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct config *settings(const char *key, const char *value)
{
    struct err err = {""};
    struct config *c = config_new(submit_config_keys);
    assert_non_null(c);
    setenv("SUBMIT_TEST_KEY", KEY, 1);
    assert_int_equal(config_set(c, "signing.key", "env:SUBMIT_TEST_KEY", &err), RC_OK);
    if (key && config_set(c, key, value, &err) != RC_OK)
        fail_msg("%s", err.text);
    return c;
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = settings("app", "svc");
    const struct submit_args args = {.team = "t"};
    struct submit_conf conf;
    struct err err = {""};
    if (submit_conf_make(&args, c, &conf, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_true(span_is(conf.app, "svc"));
    assert_true(span_is(conf.team, "t"));
    assert_null(conf.task.p);
    assert_string_equal(conf.topic, "inferq.jobs.normal");
    assert_true(span_is(conf.url, "/v1/chat/completions"));
    assert_int_equal(conf.output_kind, OUTPUT_TEXT);
    assert_int_equal(conf.format, INPUT_REQUESTS);
    assert_int_equal(conf.record_bytes_max, 1 << 20);
    assert_int_equal(conf.max_cost_nusd, -1);
    assert_true(conf.has_key);
    assert_false(conf.skips);
    assert_string_equal(conf.prompt_version, "");
    submit_conf_done(&conf);
    config_free(c);
}

static void test_everything(void **state)
{
    (void)state;
    struct config *c = settings("prefix", "staging");
    const struct submit_args args = {.app = "a",
                                     .priority = "high",
                                     .prompt = "abc",
                                     .output = "label: yes ,no",
                                     .max_output_tokens = "5",
                                     .max_attempts = "3",
                                     .max_cost = "0.05",
                                     .on_error = "skip",
                                     .format = "lines",
                                     .batch = "b"};
    struct submit_conf conf;
    struct err err = {""};
    if (submit_conf_make(&args, c, &conf, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(conf.topic, "staging.jobs.high");
    /* SHA-256 of "abc", FIPS 180-4's own example */
    assert_string_equal(conf.prompt_version,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(conf.output_kind, OUTPUT_LABEL);
    assert_int_equal(conf.label_count, 2);
    const struct job_msg msg = {.output_labels = buf_span(&conf.labels), .output_label_count = 2};
    assert_true(span_is(job_msg_label(&msg, 0), "yes"));
    assert_true(span_is(job_msg_label(&msg, 1), "no"));
    assert_int_equal(conf.max_output_tokens, 5);
    assert_int_equal(conf.max_attempts, 3);
    assert_int_equal(conf.max_cost_nusd, 50000000);
    assert_true(conf.skips);
    assert_int_equal(conf.format, INPUT_LINES);
    submit_conf_done(&conf);
    config_free(c);
}

static void refuse(struct submit_args args, const char *key, const char *value, const char *why)
{
    struct config *c = settings(key, value);
    struct submit_conf conf;
    struct err err = {""};
    if (!args.app && strcmp(why, "--app") != 0)
        args.app = "a";
    assert_int_equal(submit_conf_make(&args, c, &conf, &err), RC_REJECT);
    if (!strstr(err.text, why))
        fail_msg("'%s' is not in '%s'", why, err.text);
    assert_null(strstr(err.text, KEY));
    submit_conf_done(&conf);
    config_free(c);
}

#define ARGS(...) ((struct submit_args){__VA_ARGS__})

static void test_refused(void **state)
{
    (void)state;
    refuse(ARGS(.app = ""), NULL, NULL, "--app");
    refuse(ARGS(.app = "\xff"), NULL, NULL, "--app is not UTF-8");
    refuse(ARGS(.batch = ""), NULL, NULL, "--batch is empty");
    refuse(ARGS(.priority = "urgent"), NULL, NULL, "high, normal or low, not 'urgent'");
    refuse(ARGS(.on_error = "continue"), NULL, NULL, "stop or skip");
    refuse(ARGS(.max_output_tokens = "0"), NULL, NULL, "--max-output-tokens: '0'");
    refuse(ARGS(.max_output_tokens = "1e3"), NULL, NULL, "'1e3'");
    refuse(ARGS(.max_attempts = "101"), NULL, NULL, "from 1 to 100");
    refuse(ARGS(.max_cost = "-1"), NULL, NULL, "--max-cost");
    refuse(ARGS(.deadline = "tomorrow"), NULL, NULL, "--deadline: 'tomorrow'");
    refuse(ARGS(.deadline = "2001-01-01T00:00:00Z"), NULL, NULL, "is past");
    refuse(ARGS(.prompt = "a", .prompt_file = "b"), NULL, NULL, "exclude each other");
    refuse(ARGS(.prompt_file = "/nonexistent"), NULL, NULL, "No such file");
    refuse(ARGS(.prompt = "{document}", .format = "jsonl"), NULL, NULL,
           "--prompt is for documents");
    refuse(ARGS(.format = "csv"), NULL, NULL, "not 'csv'");
    refuse(ARGS(.output = "xml"), NULL, NULL, "not 'xml'");
    refuse(ARGS(.output = "label:a,A"), NULL, NULL, "--output label");
    refuse(ARGS(.output = "label:"), NULL, NULL, "--output label");
    refuse(ARGS(.output = "json:{\"minimum\":1}"), NULL, NULL, "minimum");
    refuse(ARGS(.output = "json:/nonexistent"), NULL, NULL, "No such file");
    refuse(ARGS(.app = "a"), "prefix", "a/b", "prefix");
    refuse(ARGS(.app = "a"), "postgres", "host=h password=s3cret", "PGPASSWORD");
    refuse(ARGS(.app = "a"), "postgres", "postgresql://u:s3cret@h/d", "PGPASSWORD");
    refuse(ARGS(.app = "a"), "signing.key", "env:SUBMIT_TEST_UNSET", "signing.key");
    refuse(ARGS(.app = "a"), "signing.key", "", "openssl rand");
}

/* The same command has the same name; another question to the same files has another. */
static void test_batch_name(void **state)
{
    (void)state;
    struct config *c = settings(NULL, NULL);
    struct input *in = NULL, *from_stdin = NULL;
    struct err err = {""};
    char names[3][96];
    const struct input_conf input_conf = {.paths = (const char *const[]){"/etc/passwd"},
                                          .path_count = 1,
                                          .format = INPUT_LINES,
                                          .doc_bytes_max = 100,
                                          .stop_fd = -1};
    struct input_conf stdin_conf = input_conf;
    stdin_conf.paths = (const char *const[]){"-"};
    assert_int_equal(input_new(&input_conf, &in, &err), RC_OK);
    assert_int_equal(input_new(&stdin_conf, &from_stdin, &err), RC_OK);
    const char *const tasks[] = {"t", "t", "u"};
    for (int i = 0; i < 3; i++) {
        const struct submit_args args = {.app = "a", .task = tasks[i]};
        struct submit_conf conf;
        assert_int_equal(submit_conf_make(&args, c, &conf, &err), RC_OK);
        assert_int_equal(submit_conf_batch_name(&conf, in, names[i], sizeof names[i], &err), RC_OK);
        char none[96];
        assert_int_equal(submit_conf_batch_name(&conf, from_stdin, none, sizeof none, &err),
                         RC_REJECT);
        assert_non_null(strstr(err.text, "--batch"));
        submit_conf_done(&conf);
    }
    assert_string_equal(names[0], names[1]);
    assert_string_not_equal(names[0], names[2]);
    assert_memory_equal(names[0], "passwd-", 7);
    input_free(in);
    input_free(from_stdin);
    config_free(c);
}

static void test_deadline(void **state)
{
    (void)state;
    const int64_t now_ms = INT64_C(1800000000000);
    int64_t ms = 7;
    struct err err = {""};
    struct submit_args args = {.deadline = "+2h"};
    const struct submit_conf conf = {.args = &args};
    assert_int_equal(submit_conf_deadline(&conf, now_ms, &ms, &err), RC_OK);
    assert_int_equal(ms, now_ms + 7200000);
    args.deadline = NULL;
    assert_int_equal(submit_conf_deadline(&conf, now_ms, &ms, &err), RC_OK);
    assert_int_equal(ms, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_everything),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_batch_name),
        cmocka_unit_test(test_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
