/*
 * test_request.c - what the OpenAI adapter reads of a job's body, and the bytes that it sends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/reply.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_urls(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        int api; /* -1: refused */
    } rows[] = {
        {"/v1/chat/completions", API_CHAT},
        {"/v1/completions", API_COMPLETIONS},
        {"/v1/embeddings", API_EMBEDDINGS},
        {"/v1/chat/completions/", -1},
        {"/v1/chat", -1},
        {"/V1/embeddings", -1},
        {"", -1},
        {"/v2/models/x/infer", -1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};
        enum api api = API_CHAT;
        enum rc rc = api_of_url(span_of(rows[i].url), &api, &err);
        assert_int_equal(rc, rows[i].api < 0 ? RC_REJECT : RC_OK);
        if (rc == RC_OK)
            assert_int_equal(api, rows[i].api);
        else
            assert_non_null(strstr(err.text, "/v1/embeddings"));
    }
    enum api api;
    struct err err = {0};
    assert_int_equal(api_of_url((struct span){NULL, 0}, &api, &err), RC_REJECT);
}

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void test_read(void **state)
{
    (void)state;
    static const struct {
        enum api api;
        const char *body;
        const char *model; /* NULL: absent */
        int64_t max_output;
        bool open_ended;
    } rows[] = {
        {API_CHAT, "{" M "}", NULL, -1, false},
        {API_CHAT, "{\"model\":\"m\"," M "}", "m", -1, false},
        {API_CHAT, "{\"model\":null," M "}", NULL, -1, false},
        {API_CHAT, "{\"model\":\"org\\/m\\u00e9\"," M "}", "org/m\xc3\xa9", -1, false},
        {API_CHAT, "{\"max_tokens\":10," M "}", NULL, 10, false},
        {API_CHAT, "{\"max_completion_tokens\":20," M "}", NULL, 20, false},
        {API_CHAT, "{\"max_tokens\":10,\"max_completion_tokens\":20," M "}", NULL, 20, false},
        {API_CHAT, "{\"max_tokens\":10,\"n\":3," M "}", NULL, 30, false},
        {API_CHAT, "{\"max_tokens\":2147483647,\"n\":2147483647," M "}", NULL,
         INT64_C(2147483647) * 2147483647, false},
        {API_CHAT, "{\"n\":3," M "}", NULL, -1, false},
        {API_CHAT, "{\"stream\":false,\"max_tokens\":null," M "}", NULL, -1, false},
        {API_CHAT, "{\"logprobs\":true," M "}", NULL, -1, true},
        {API_CHAT, "{\"logprobs\":false,\"top_logprobs\":0," M "}", NULL, -1, false},
        {API_CHAT, "{\"prompt_logprobs\":1," M "}", NULL, -1, true},
        {API_COMPLETIONS, "{\"prompt\":\"a\",\"max_tokens\":5}", NULL, 5, false},
        {API_COMPLETIONS, "{\"prompt\":[\"a\",\"b]\\\"\",\"c\"],\"max_tokens\":5}", NULL, 15,
         false},
        {API_COMPLETIONS, "{\"prompt\":[1,2,3],\"max_tokens\":5}", NULL, 5, false},
        {API_COMPLETIONS, "{\"prompt\":[[1,2],[3]],\"max_tokens\":5,\"n\":2}", NULL, 20, false},
        {API_COMPLETIONS, "{\"prompt\":[],\"max_tokens\":5,\"best_of\":4,\"n\":2}", NULL, 20,
         false},
        {API_COMPLETIONS, "{\"prompt\":\"a\",\"echo\":true}", NULL, -1, true},
        {API_COMPLETIONS, "{\"prompt\":\"a\",\"logprobs\":5}", NULL, -1, true},
        {API_EMBEDDINGS, "{\"model\":\"e\",\"input\":\"x\"}", "e", -1, false},
        {API_EMBEDDINGS, " {} ", NULL, -1, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};
        struct request_facts facts;
        struct span body = span_of(rows[i].body);
        if (request_read(rows[i].api, body, &facts, &err) != RC_OK)
            fail_msg("row %zu: %s", i, err.text);
        char scratch[REQUEST_MODEL_BYTES];
        struct span model = request_model(&facts, scratch);
        assert_true(!model.p == !rows[i].model);
        assert_true(!rows[i].model || span_is(model, rows[i].model));
        if (facts.max_output_tokens != rows[i].max_output)
            fail_msg("row %zu: at most %lld", i, (long long)facts.max_output_tokens);
        assert_int_equal(facts.open_ended, rows[i].open_ended);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        enum api api;
        const char *body, *why;
    } rows[] = {
        {API_CHAT, "", "JSON"},
        {API_CHAT, "[]", "object"},
        {API_CHAT, "{" M, "early"},
        {API_CHAT, "{\"stream\":true," M "}", "stream"},
        {API_CHAT, "{\"stream\":1," M "}", "stream"},
        {API_CHAT, "{\"model\":1," M "}", "model"},
        {API_CHAT, "{\"model\":\"a\",\"model\":\"b\"," M "}", "twice"},
        {API_CHAT, "{\"max_tokens\":-1," M "}", "max_tokens"},
        {API_CHAT, "{\"max_tokens\":1.5," M "}", "max_tokens"},
        {API_CHAT, "{\"max_tokens\":\"1\"," M "}", "max_tokens"},
        {API_CHAT, "{\"max_tokens\":99999999999999999999," M "}", "max_tokens"},
        {API_CHAT, "{\"n\":0," M "}", "\"n\""},
        {API_CHAT, "{\"best_of\":0," M "}", "best_of"},
        {API_CHAT, "{}", "messages"},
        {API_CHAT, "{\"messages\":[]}", "messages"},
        {API_CHAT, "{\"messages\":\"hi\"}", "messages"},
        {API_COMPLETIONS,
         "{\"prompt\":[\"a\",\"b\",\"c\"],\"n\":2147483647,\"max_tokens\":2147483647}", "counted"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};
        struct request_facts facts;
        assert_int_equal(request_read(rows[i].api, span_of(rows[i].body), &facts, &err), RC_REJECT);
        if (!strstr(err.text, rows[i].why))
            fail_msg("row %zu says: %s", i, err.text);
    }
    char body[400];
    struct request_facts facts;
    struct err err = {0};
    snprintf(body, sizeof body, "{\"model\":\"\\/%0200d\"," M "}", 7);
    assert_int_equal(request_read(API_CHAT, span_of(body), &facts, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "longer"));
}

static void test_write(void **state)
{
    (void)state;
    static const struct {
        const char *body, *sent;
    } rows[] = {
        {"{\"model\":\"a\", \"x\" : 1.50e+400,\"y\":\"\\u0041\\/\"}",
         "{\"model\":\"up\\\"1\", \"x\" : 1.50e+400,\"y\":\"\\u0041\\/\"}"},
        {"{ \"b\":{\"model\":\"a\"} }", "{\"model\":\"up\\\"1\", \"b\":{\"model\":\"a\"} }"},
        {"{}", "{\"model\":\"up\\\"1\"}"},
        {"{\"a\":12345678901234567890123,\"mod\\u0065l\":null}",
         "{\"a\":12345678901234567890123,\"mod\\u0065l\":\"up\\\"1\"}"},
        {"{\"model\":\"up\\\"1\"}", "{\"model\":\"up\\\"1\"}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out;
        buf_init(&out, 1000);
        assert_true(buf_add_text(&out, "before "));
        struct request_facts facts;
        struct span body = span_of(rows[i].body), sent;
        assert_int_equal(request_read(API_EMBEDDINGS, body, &facts, NULL), RC_OK);
        assert_int_equal(request_write(body, &facts, "up\"1", &out, &sent, NULL), RC_OK);
        assert_memory_equal(out.p, "before ", 7);
        assert_true(sent.p == out.p + 7 && sent.n == out.n - 7);
        if (!span_is(sent, rows[i].sent))
            fail_msg("sent %.*s", (int)sent.n, sent.p);
        buf_done(&out);
    }
}

/* Nothing is copied where nothing changes; a name that only looks the same is written. */
static void test_write_same_model(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool same;
    } rows[] = {
        {"{\"model\":\"org/m\",\"x\":1}", true}, {"{ \"model\" : \"org/m\" } ", true},
        {"{\"model\":\"org/m2\"}", false},       {"{\"model\":\"org/\"}", false},
        {"{\"model\":\"org\\/m\"}", false},      {"{\"model\":null}", false},
        {"{\"user\":\"org/m\"}", false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct request_facts facts;
        struct span body = span_of(rows[i].body), sent;
        struct buf out;
        buf_init(&out, 1000);
        assert_int_equal(request_read(API_EMBEDDINGS, body, &facts, NULL), RC_OK);
        assert_int_equal(request_write(body, &facts, "org/m", &out, &sent, NULL), RC_OK);
        if ((sent.p == body.p && sent.n == body.n && out.n == 0) != rows[i].same)
            fail_msg("row %zu: sent %.*s", i, (int)sent.n, sent.p);
        assert_int_equal(request_read(API_EMBEDDINGS, sent, &facts, NULL), RC_OK);
        char scratch[REQUEST_MODEL_BYTES];
        assert_true(span_is(request_model(&facts, scratch), "org/m"));
        buf_done(&out);
    }
}

static void test_write_reask(void **state)
{
    (void)state;
    static const struct {
        const char *body, *answer, *sent;
    } rows[] = {
        {"{\"messages\":[ {\"content\":\"]}\"} ],\"n\":1}", "bad \"x\"\n",
         "{\"model\":\"m\",\"messages\":[ {\"content\":\"]}\"} "
         ",{\"role\":\"assistant\",\"content\":\"bad \\\"x\\\"\\n\"}"
         ",{\"role\":\"user\",\"content\":\"a label\"}],\"n\":1}"},
        {"{\"model\":\"a\",\"messages\":[1]}", "",
         "{\"model\":\"m\",\"messages\":[1,{\"role\":\"user\",\"content\":\"a label\"}]}"},
        {"{\"messages\":[ ]}", "x",
         "{\"model\":\"m\",\"messages\":[ {\"role\":\"assistant\",\"content\":\"x\"}"
         ",{\"role\":\"user\",\"content\":\"a label\"}]}"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out;
        struct err err = {0};
        buf_init(&out, 1000);
        if (request_write_reask(span_of(rows[i].body), "m", span_of(rows[i].answer), "a label",
                                &out, &err) != RC_OK)
            fail_msg("row %zu: %s", i, err.text);
        if (!span_is(buf_span(&out), rows[i].sent))
            fail_msg("sent %.*s", (int)out.n, out.p);
        buf_done(&out);
    }
}

static void test_write_failures(void **state)
{
    (void)state;
    struct buf out;
    struct span body = SPAN_LIT("{\"model\":\"a\"," M "}");
    buf_init(&out, 1000);
    assert_int_equal(
        request_write_reask(body, "upstream", SPAN_LIT("an answer"), "why", &out, NULL), RC_OK);
    size_t whole = out.n + 2;
    buf_done(&out);
    for (size_t max = 2; max < whole + 5; max++) { /* every place where it can become too large */
        struct err too_large = {0};
        buf_init(&out, max);
        assert_true(buf_add_text(&out, "{}"));
        enum rc rc =
            request_write_reask(body, "upstream", SPAN_LIT("an answer"), "why", &out, &too_large);
        assert_int_equal(rc, max >= whole ? RC_OK : RC_FULL);
        assert_int_equal(out.n, rc == RC_OK ? whole : 2);
        assert_true(rc == RC_OK || too_large.text[0]);
        buf_done(&out);
    }
    struct request_facts facts;
    struct err err = {0};
    struct span sent;
    static const char *const bodies[] = {"{\"model\":\"a\",\"n\":1}", "{ }"};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        buf_init(&out, 1000);
        assert_int_equal(request_read(API_EMBEDDINGS, span_of(bodies[i]), &facts, NULL), RC_OK);
        assert_int_equal(request_write(span_of(bodies[i]), &facts, "upstream", &out, &sent, NULL),
                         RC_OK);
        whole = sent.n;
        buf_done(&out);
        for (size_t max = 1; max < whole + 3; max++) {
            buf_init(&out, max);
            assert_int_equal(
                request_write(span_of(bodies[i]), &facts, "upstream", &out, &sent, &err),
                max >= whole ? RC_OK : RC_FULL);
            assert_int_equal(out.n, max >= whole ? whole : 0);
            buf_done(&out);
        }
    }
    buf_init(&out, 1000);
    assert_int_equal(request_write_reask(SPAN_LIT("{"), "m", SPAN_LIT("a"), "b", &out, &err),
                     RC_REJECT);
    assert_int_equal(
        request_write_reask(SPAN_LIT("{\"prompt\":\"x\"}"), "m", SPAN_LIT("a"), "b", &out, &err),
        RC_REJECT);
    assert_int_equal(out.n, 0);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_same_model),
        cmocka_unit_test(test_write_reask),
        cmocka_unit_test(test_write_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
