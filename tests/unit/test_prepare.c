/*
 * test_prepare.c - records become drafts: each kind, what options put in, what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "producer/prepare.h"

#define CHAT "/v1/chat/completions"
#define MESSAGES "\"messages\":[1]"

static struct preparer *make(const char *model, int64_t tokens)
{
    struct preparer *p = NULL;
    struct err err = {""};
    const struct prepare_conf conf = {.prompt = SPAN_LIT("<{document}>"),
                                      .model = span_of(model),
                                      .max_output_tokens = tokens,
                                      .url = SPAN_LIT(CHAT),
                                      .body_bytes_max = 4096,
                                      .renders = true};
    if (preparer_new(&conf, &p, &err) != RC_OK)
        fail_msg("%s", err.text);
    return p;
}

static struct record record_of(enum input_format format, const char *data)
{
    return (struct record){.file = "f",
                           .line = 3,
                           .name = SPAN_LIT("line-3"),
                           .data = span_of(data),
                           .format = format};
}

struct good {
    enum input_format format;
    const char *data, *model; /* option */
    int64_t tokens;           /* option */
    const char *id, *url, *body, *model_named;
    int64_t limit;
};

static void test_good(void **state)
{
    static const struct good cases[] = {
        {INPUT_DOCUMENTS, "d", "m", 9, "line-3", CHAT,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"<d>\"}],\"max_tokens\":"
         "9}",
         "m", 9},
        {INPUT_LINES, "d", NULL, 0, "line-3", CHAT,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"<d>\"}]}", NULL, -1},
        {INPUT_JSONL, "{ " MESSAGES " }", NULL, 0, "line-3", CHAT, "{ " MESSAGES " }", NULL, -1},
        {INPUT_JSONL, "{" MESSAGES "}", "m", 9, "line-3", CHAT,
         "{\"model\":\"m\",\"max_tokens\":9," MESSAGES "}", "m", 9},
        {INPUT_JSONL, "{\"model\":\"o\\u0041\",\"max_tokens\":4," MESSAGES "}", "m", 9, "line-3",
         CHAT, "{\"model\":\"o\\u0041\",\"max_tokens\":4," MESSAGES "}", "oA", 4},
        {INPUT_JSONL, "{\"max_tokens\":null," MESSAGES "}", "m", 9, "line-3", CHAT,
         "{\"model\":\"m\",\"max_tokens\":null," MESSAGES "}", "m", -1},
        {INPUT_JSONL, "{\"custom_id\":\"c\\n1\"," MESSAGES "}", "m", 0, "c\n1", CHAT,
         "{\"model\":\"m\"," MESSAGES "}", "m", -1},
        {INPUT_OPENAI,
         "{\"custom_id\":\"c\",\"url\":\"/v1/embeddings\",\"body\":{\"input\":\"q\"}}", "m", 9, "c",
         "/v1/embeddings", "{\"model\":\"m\",\"input\":\"q\"}", "m", -1},
        {INPUT_OPENAI,
         "{\"custom_id\":\"c\",\"url\":\"\\/v1\\/responses\",\"body\":{\"input\":[1]}}", NULL, 9,
         "c", "/v1/responses", "{\"max_output_tokens\":9,\"input\":[1]}", NULL, 9},
        {INPUT_OPENAI, "{\"custom_id\":\"c\",\"body\":{" MESSAGES "}}", NULL, 0, "c", CHAT,
         "{" MESSAGES "}", NULL, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct preparer *p = make(cases[i].model, cases[i].tokens);
        struct record record = record_of(cases[i].format, cases[i].data);
        struct draft draft;
        struct err err = {""};
        if (prepare(p, &record, &draft, &err) != RC_OK)
            fail_msg("%s: %s", cases[i].data, err.text);
        assert_true(span_is(draft.custom_id, cases[i].id));
        assert_true(span_is(draft.url, cases[i].url));
        if (!span_is(draft.body, cases[i].body))
            fail_msg("%s became %.*s", cases[i].data, (int)draft.body.n, draft.body.p);
        assert_int_equal(draft.model.p == NULL, cases[i].model_named == NULL);
        if (draft.model.p)
            assert_true(span_is(draft.model, cases[i].model_named));
        assert_int_equal(draft.max_output_tokens, cases[i].limit);
        preparer_free(p);
    }
}

static void test_bad(void **state)
{
    static const struct {
        enum input_format format;
        const char *data, *why;
    } cases[] = {
        {INPUT_DOCUMENTS, "ab\xff", "not UTF-8 at byte 2 (0xff)"},
        {INPUT_JSONL, "plain text", "byte 0"},
        {INPUT_JSONL, "{\"custom_id\":\"a\\u0000b\"," MESSAGES "}", "without NUL"},
        {INPUT_OPENAI, "{\"custom_id\":\"c\",\"url\":\"http://x/\",\"body\":{}}", "a path such as"},
        {INPUT_OPENAI, "{\"custom_id\":\"c\",\"body\":{\"stream\":true}}",
         "in \"body\": \"stream\""},
        {INPUT_OPENAI, "{\"body\":{}}", "\"custom_id\" must be there"},
    };
    struct preparer *p = make(NULL, 0);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record record = record_of(cases[i].format, cases[i].data);
        struct draft draft;
        struct err err = {""};
        assert_int_equal(prepare(p, &record, &draft, &err), RC_REJECT);
        if (!strstr(err.text, cases[i].why))
            fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
    }
    preparer_free(p);
}

/* 512 bytes of name are taken, 513 are not. */
static void test_name_length(void **state)
{
    static char name[513];
    struct preparer *p = make(NULL, 0);
    struct record record = record_of(INPUT_DOCUMENTS, "d");
    struct draft draft;
    struct err err = {""};
    (void)state;
    memset(name, 'n', sizeof name);
    record.name = (struct span){name, 512};
    assert_int_equal(prepare(p, &record, &draft, &err), RC_OK);
    record.name.n = 513;
    assert_int_equal(prepare(p, &record, &draft, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "513 bytes"));
    preparer_free(p);
}

static void test_refused_options(void **state)
{
    struct preparer *p = NULL;
    struct err err = {""};
    struct prepare_conf conf = {.url = SPAN_LIT("nowhere"), .body_bytes_max = 64};
    (void)state;
    assert_int_equal(preparer_new(&conf, &p, &err), RC_REJECT);
    conf.url = SPAN_LIT(CHAT);
    conf.model = SPAN_LIT("\xff");
    assert_int_equal(preparer_new(&conf, &p, &err), RC_REJECT);
    conf.model = (struct span){0};
    conf.prompt = SPAN_LIT("no mark");
    conf.renders = true;
    assert_int_equal(preparer_new(&conf, &p, &err), RC_REJECT);
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_name_length),
        cmocka_unit_test(test_refused_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
