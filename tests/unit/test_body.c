/*
 * test_body.c - request bodies: what is refused and why, what is noted, how one is edited.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "common/json_scan.h"
#include "producer/body.h"

#define CHAT "/v1/chat/completions"
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]"
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_accepted(void **state)
{
    static const struct {
        const char *url, *body;
    } cases[] = {
        {CHAT, "{" MESSAGES "}"},
        {CHAT, " {" MESSAGES ",\"stream\":false,\"temperature\":0.5,\"n\":1,\"x\":[1]} "},
        {CHAT, "{" MESSAGES ",\"stream\":null,\"max_tokens\":null,\"temperature\":null}"},
        {"/v1/completions", "{\"prompt\":\"q\"}"},
        {"/v1/completions", "{\"prompt\":[1,2]}"},
        {"/v1/embeddings", "{\"input\":[\"a\",\"b\"]}"},
        {"/v1/responses", "{\"input\":\"q\",\"max_output_tokens\":7}"},
        {"/v2/models/m/infer", "{}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct body_facts facts;
        struct err err = {""};
        if (body_check(span_of(cases[i].body), span_of(cases[i].url), &facts, &err) != RC_OK)
            fail_msg("%s: %s", cases[i].body, err.text);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *url, *body, *why;
    } cases[] = {
        {CHAT, "", "byte 0"},
        {CHAT, "[]", "object"},
        {CHAT, "{" MESSAGES, "byte"},
        {CHAT, "{" MESSAGES "} x", "byte"},
        {CHAT, "{\"a\":\"\xe9\"}", "not UTF-8 at byte 6 (0xe9)"},
        {CHAT, "{" MESSAGES ",\"stream\":true}", "\"stream\" is true"},
        {CHAT, "{" MESSAGES ",\"stream\":1}", "\"stream\" must be true or false"},
        {CHAT, "{" MESSAGES ",\"model\":7}", "\"model\" must be text"},
        {CHAT, "{" MESSAGES ",\"model\":null}", "\"model\" must be text"},
        {CHAT, "{" MESSAGES ",\"model\":\"\"}", "not empty"},
        {CHAT, "{" MESSAGES ",\"model\":\"a\",\"model\":\"b\"}", "twice"},
        {CHAT, "{" MESSAGES ",\"max_tokens\":\"9\"}", "\"max_tokens\" must be a whole number"},
        {CHAT, "{" MESSAGES ",\"max_tokens\":1.5}", "\"max_tokens\" must be a whole number"},
        {CHAT, "{" MESSAGES ",\"max_completion_tokens\":0}", "1 or more"},
        {CHAT, "{" MESSAGES ",\"n\":-1}", "\"n\" must be"},
        {CHAT, "{" MESSAGES ",\"temperature\":\"hot\"}", "\"temperature\" must be a number"},
        {CHAT, "{" MESSAGES ",\"custom_id\":7}", "\"custom_id\" must be text"},
        {CHAT, "{" MESSAGES ",\"custom_id\":null}", "\"custom_id\" must be text"},
        {CHAT, "{\"prompt\":\"q\"}", "needs \"messages\""},
        {CHAT, "{\"messages\":\"q\"}", "\"messages\" must be an array"},
        {CHAT, "{\"messages\":[ ]}", "\"messages\" is empty"},
        {"/v1/completions", "{" MESSAGES "}", "needs \"prompt\""},
        {"/v1/embeddings", "{\"input\":{}}", "\"input\" must be text or an array"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct body_facts facts;
        struct err err = {""};
        if (body_check(span_of(cases[i].body), span_of(cases[i].url), &facts, &err) != RC_REJECT)
            fail_msg("accepted: %s", cases[i].body);
        if (!strstr(err.text, cases[i].why))
            fail_msg("'%s' is not in '%s'", cases[i].why, err.text);
    }
}

static void test_facts(void **state)
{
    struct body_facts facts;
    struct err err = {""};
    (void)state;
    assert_int_equal(body_check(SPAN_LIT("{\"model\":\"m\\u0041\",\"custom_id\":\"c\"," MESSAGES
                                         ",\"max_completion_tokens\":12}"),
                                SPAN_LIT(CHAT), &facts, &err),
                     RC_OK);
    assert_true(span_is(facts.model, "\"m\\u0041\""));
    assert_true(span_is(facts.custom_id, "\"c\""));
    assert_int_equal(facts.max_output_tokens, 12);
    assert_true(facts.limits_output);
    assert_int_equal(body_check(SPAN_LIT("{" MESSAGES "}"), SPAN_LIT(CHAT), &facts, &err), RC_OK);
    assert_null(facts.model.p);
    assert_null(facts.custom_id.p);
    assert_int_equal(facts.max_output_tokens, -1);
    assert_false(facts.limits_output);
}

static void test_urls(void **state)
{
    static const char *const good[] = {"/v1/chat/completions", "/", "/v2/models/a.b/infer"};
    static const char *const bad[] = {"",     "v1",   "//host/x",  "http://h/x", "/a b",
                                      "/a\n", "/a#b", "/\xc3\xa9", "/a\\b"};
    struct err err = {""};
    char long_url[600];
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_int_equal(body_check_url(span_of(good[i]), &err), RC_OK);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(body_check_url(span_of(bad[i]), &err), RC_REJECT);
    memset(long_url, '/', sizeof long_url);
    long_url[1] = 'a';
    assert_int_equal(body_check_url((struct span){long_url, sizeof long_url}, &err), RC_REJECT);
}

static void test_openai(void **state)
{
    static const struct {
        const char *line, *why;
    } bad[] = {
        {"{\"url\":\"/v1\",\"body\":{}}", "\"custom_id\" must be there"},
        {"{\"custom_id\":\"\",\"body\":{}}", "\"custom_id\" must be there"},
        {"{\"custom_id\":7,\"body\":{}}", "\"custom_id\" must be there"},
        {"{\"custom_id\":\"a\",\"method\":\"GET\",\"body\":{}}", "\"POST\""},
        {"{\"custom_id\":\"a\",\"url\":7,\"body\":{}}", "\"url\" must be text"},
        {"{\"custom_id\":\"a\",\"url\":\"/v1\"}", "\"body\" must be there"},
        {"{\"custom_id\":\"a\",\"body\":\"{}\"}", "\"body\" must be there"},
        {"{\"custom_id\":\"a\",\"custom_id\":\"b\",\"body\":{}}", "twice"},
        {"{\"custom_id\":\"\xff\",\"body\":{}}", "not UTF-8 at byte 14"},
    };
    struct openai_line line;
    struct err err = {""};
    (void)state;
    assert_int_equal(body_split_openai(SPAN_LIT("{\"custom_id\":\"r1\",\"method\":\"POST\","
                                                "\"url\":\"/v1/x\",\"body\":{\"a\": 1}}"),
                                       &line, &err),
                     RC_OK);
    assert_true(span_is(line.custom_id, "\"r1\""));
    assert_true(span_is(line.url, "\"/v1/x\""));
    assert_true(span_is(line.body, "{\"a\": 1}"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(body_split_openai(span_of(bad[i].line), &line, &err), RC_REJECT);
        if (!strstr(err.text, bad[i].why))
            fail_msg("'%s' is not in '%s'", bad[i].why, err.text);
    }
    assert_true(body_is_openai(SPAN_LIT("{\"body\":{}}")));
    assert_false(body_is_openai(SPAN_LIT("{\"body\":\"x\"}")));
    assert_false(body_is_openai(SPAN_LIT("{\"messages\":[]}")));
    assert_false(body_is_openai(SPAN_LIT("no JSON")));
}

static void test_cut(void **state)
{
    static const struct {
        const char *body, *wanted;
    } cases[] = {
        {"{\"custom_id\":\"a\"}", "{}"},
        {"{\"custom_id\":\"a\",\"b\":1}", "{\"b\":1}"},
        {"{\"b\":1,\"custom_id\":\"a\"}", "{\"b\":1}"},
        {"{\"b\":1, \"custom_id\" : \"a\" , \"c\":2}", "{\"b\":1,  \"c\":2}"},
        {" { \"b\" : [1, 2] , \"custom_id\" : \"a\" } ", " { \"b\" : [1, 2] } "},
        {"{\"custom_\\u0069d\":\"a,\\\"}\",\"b\":1}", "{\"b\":1}"},
        {"{\"b\":{\"custom_id\":\"in\"},\"custom_id\":\"a\"}", "{\"b\":{\"custom_id\":\"in\"}}"},
        {"{\"b\":\"x\\\\\",\"custom_id\":\"a\"}", "{\"b\":\"x\\\\\"}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct span value;
        enum json_type type;
        struct err err = {""};
        struct buf out;
        buf_init(&out, 1024);
        assert_int_equal(json_member(span_of(cases[i].body), "custom_id", &value, &type), RC_OK);
        assert_true(body_cut(span_of(cases[i].body), value, &out));
        if (!span_is(buf_span(&out), cases[i].wanted))
            fail_msg("%s: got %.*s", cases[i].body, (int)out.n, out.p);
        assert_int_equal(json_check(buf_span(&out), &type, &err), RC_OK);
        buf_done(&out);
    }
}

static void test_put_first(void **state)
{
    static const struct {
        const char *body, *wanted;
    } cases[] = {
        {"{}", "{\"m\":1}"},
        {"{ \n }", "{\"m\":1 \n }"},
        {"{\"a\":2}", "{\"m\":1,\"a\":2}"},
        {" \t{ \"a\":2}", " \t{\"m\":1, \"a\":2}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct buf out;
        buf_init(&out, 1024);
        assert_true(body_put_first(span_of(cases[i].body), SPAN_LIT("\"m\":1"), &out));
        assert_true(span_is(buf_span(&out), cases[i].wanted));
        buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_facts),     cmocka_unit_test(test_urls),
        cmocka_unit_test(test_openai),    cmocka_unit_test(test_cut),
        cmocka_unit_test(test_put_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
