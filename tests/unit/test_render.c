/*
 * test_render.c - prompt templates: where the document goes, what is escaped, what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/json_scan.h"
#include "producer/render.h"

#define CHAT "/v1/chat/completions"

static struct render *make(const char *prompt, const char *model, int64_t tokens, const char *url)
{
    struct render *r = NULL;
    struct err err = {""};
    const struct render_conf conf = {.prompt = span_of(prompt),
                                     .model = span_of(model),
                                     .max_output_tokens = tokens,
                                     .url = span_of(url),
                                     .body_bytes_max = 1 << 20};
    if (render_new(&conf, &r, &err) != RC_OK)
        fail_msg("%s", err.text);
    return r;
}

static void check(struct render *r, struct span document, const char *wanted)
{
    struct buf out;
    enum json_type type;
    buf_init(&out, 1 << 20);
    assert_true(render_document(r, document, &out));
    buf_add_byte(&out, 0);
    assert_string_equal(out.p, wanted);
    out.n--;
    assert_int_equal(json_check(buf_span(&out), &type, NULL), RC_OK);
    assert_int_equal(type, JSON_TYPE_OBJECT);
    buf_done(&out);
    render_free(r);
}

static void test_shapes(void **state)
{
    (void)state;
    check(make("Sum: {document}!", "m", 5, CHAT), SPAN_LIT("d"),
          "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Sum: d!\"}],"
          "\"max_tokens\":5}");
    check(make(NULL, NULL, 0, CHAT), SPAN_LIT("d"),
          "{\"messages\":[{\"role\":\"user\",\"content\":\"d\"}]}");
    check(make("{document}", "m", 5, "/v1/completions"), SPAN_LIT("d"),
          "{\"model\":\"m\",\"prompt\":\"d\",\"max_tokens\":5}");
    check(make("{document}", "m", 5, "/v1/embeddings"), SPAN_LIT("d"),
          "{\"model\":\"m\",\"input\":\"d\"}");
    check(make("{document}", NULL, 5, "/v1/responses"), SPAN_LIT("d"),
          "{\"input\":\"d\",\"max_output_tokens\":5}");
}

static void test_marks_and_braces(void **state)
{
    (void)state;
    check(make("{document}{document}", NULL, 0, "/v1/embeddings"), SPAN_LIT("ab"),
          "{\"input\":\"abab\"}");
    check(make("{x} {{document}} {document", NULL, 0, "/v1/embeddings"), SPAN_LIT("ab"),
          "{\"input\":\"{x} {ab} {document\"}");
    /* What the document says is no template. */
    check(make("<{document}>", NULL, 0, "/v1/embeddings"), SPAN_LIT("{document}"),
          "{\"input\":\"<{document}>\"}");
}

static void test_escapes(void **state)
{
    (void)state;
    check(make("\"q\"\n{document}\\", "a\"b", 0, "/v1/embeddings"),
          (struct span){"\"\\\n\t\r\b\f\x01\0\x7f/\xc3\xa9", 13},
          "{\"model\":\"a\\\"b\",\"input\":\"\\\"q\\\"\\n\\\"\\\\\\n\\t\\r\\b\\f\\u0001\\u0000\x7f/"
          "\xc3\xa9\\\\\"}");
}

static void test_refused(void **state)
{
    static const struct {
        const char *prompt, *url, *why;
    } cases[] = {
        {"no mark", CHAT, "put {document} in it"},
        {"{Document}", CHAT, "put {document} in it"},
        {"\xff{document}", CHAT, "not UTF-8"},
        {"{document}", "/v2/models/m/infer", "ready bodies as JSONL"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct render *r = NULL;
        struct err err = {""};
        const struct render_conf conf = {.prompt = span_of(cases[i].prompt),
                                         .url = span_of(cases[i].url),
                                         .body_bytes_max = 1024};
        assert_int_equal(render_new(&conf, &r, &err), RC_REJECT);
        assert_non_null(strstr(err.text, cases[i].why));
        assert_null(r);
    }
}

static void test_full(void **state)
{
    (void)state;
    struct buf out;
    struct render *r = make("{document}", NULL, 0, CHAT);
    buf_init(&out, 64);
    assert_true(render_document(r, SPAN_LIT("short"), &out));
    buf_reset(&out);
    assert_false(render_document(r, SPAN_LIT("a document that is longer than the rest"), &out));
    buf_done(&out);
    render_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),  cmocka_unit_test(test_marks_and_braces),
        cmocka_unit_test(test_escapes), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
