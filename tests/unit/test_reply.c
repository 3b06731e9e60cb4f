/*
 * test_reply.c - replies of the OpenAI protocol, the good, the cut and the strange.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "common/utf8.h"
#include "worker/reply.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct read {
    struct outcome o;
    struct buf answer;
};

static struct read read_span(enum api api, struct span body, bool whole)
{
    struct read r;
    outcome_init(&r.o);
    r.o.class = CLASS_OK;
    buf_init(&r.answer, 1 << 20);
    reply_read(api, body, whole, &r.o, &r.answer);
    assert_true(r.o.class == CLASS_OK || (r.o.error && r.o.error[0]));
    return r;
}

static void read_done(struct read *r)
{
    outcome_done(&r->o);
    buf_done(&r->answer);
}

/* A reply whose first choice has this message and finish reason. */
#define CHAT(message, finish) \
    "{\"choices\":[{\"index\":0,\"message\":" message ",\"finish_reason\":" finish "}]}"

static void test_chat(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool whole;
        enum class class;
        const char *answer;
    } rows[] = {
        {CHAT("{\"content\":\"hi\"}", "\"stop\""), true, CLASS_OK, "hi"},
        {CHAT("{\"content\":\"a\\n\\u00e9\\ud83d\\ude00\"}", "\"stop\""), true, CLASS_OK,
         "a\n\xc3\xa9\xf0\x9f\x98\x80"},
        {CHAT("{\"content\":\"hi\"}", "null"), true, CLASS_OK, "hi"},
        {CHAT("{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image\"},"
              "{\"type\":\"text\",\"text\":\"b\"}]}",
              "\"stop\""),
         true, CLASS_OK, "ab"},
        {CHAT("{\"content\":null,\"tool_calls\":[{\"id\":\"c\"}]}", "\"tool_calls\""), true,
         CLASS_OK, ""},
        {CHAT("{\"content\":null,\"function_call\":{\"name\":\"f\"}}", "\"function_call\""), true,
         CLASS_OK, ""},
        {CHAT("{\"content\":\"hi\",\"refusal\":null,\"tool_calls\":[]}", "\"stop\""), true,
         CLASS_OK, "hi"},
        {CHAT("{\"content\":\"hi\",\"refusal\":\"\"}", "\"stop\""), true, CLASS_OK, "hi"},
        {CHAT("{\"content\":\"cut\"}", "\"length\""), false, CLASS_OK, "cut"},
        {CHAT("{\"content\":\"cut\"}", "\"length\""), true, CLASS_BAD_OUTPUT, "cut"},
        {CHAT("{\"content\":\"cut\"}", "\"content_filter\""), true, CLASS_BAD_OUTPUT, "cut"},
        {CHAT("{\"content\":\"cut\"}", "\"content_filter\""), false, CLASS_OK, "cut"},
        {CHAT("{\"content\":\"\"}", "\"content_filter\""), false, CLASS_REFUSED, ""},
        {CHAT("{\"content\":null,\"refusal\":\"I \\\"won't\\\"\"}", "\"stop\""), true,
         CLASS_REFUSED, ""},
        {CHAT("{\"content\":null}", "\"stop\""), false, CLASS_BAD_OUTPUT, ""},
        {CHAT("{}", "\"stop\""), false, CLASS_BAD_OUTPUT, ""},
        {CHAT("{\"content\":\" \\n\\u0000\\t\"}", "\"stop\""), false, CLASS_BAD_OUTPUT, NULL},
        {CHAT("{\"content\":null,\"tool_calls\":[]}", "\"length\""), false, CLASS_BAD_OUTPUT, ""},
        {CHAT("{\"content\":7}", "\"stop\""), false, CLASS_BAD_REPLY, ""},
        {CHAT("{\"content\":[1]}", "\"stop\""), false, CLASS_BAD_REPLY, ""},
        {CHAT("\"hi\"", "\"stop\""), false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":[{\"message\":{\"content\":\"first\"}},{\"message\":{\"content\":\"2\"}}]}",
         true, CLASS_OK, "first"},
        {"{\"created\":123456789012345678901234567890,\"choices\":[{\"message\":{\"content\":\"n\"}"
         ","
         "\"x\":1e999}]}",
         true, CLASS_OK, "n"},
        {"{\"choices\":[{\"text\":\"x\"}]}", false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":[]}", false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":[1]}", false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":{}}", false, CLASS_BAD_REPLY, ""},
        {"{}", false, CLASS_BAD_REPLY, ""},
        {"[]", false, CLASS_BAD_REPLY, ""},
        {"", false, CLASS_BAD_REPLY, ""},
        {"<html>", false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":[{\"message\":{\"content\":\"hi\"}}]", false, CLASS_BAD_REPLY, ""},
        {"{\"error\":{\"message\":\"boom\"}}", false, CLASS_BAD_REPLY, ""},
        {"{\"error\":null,\"choices\":[{\"message\":{\"content\":\"hi\"}}]}", false, CLASS_OK,
         "hi"},
        {"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}", false, CLASS_BAD_REPLY, ""},
        {"{\"choices\":[{\"message\":{\"content\":\"\\ud800\"}}]}", false, CLASS_BAD_REPLY, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct read r = read_span(API_CHAT, span_of(rows[i].body), rows[i].whole);
        if (r.o.class != rows[i].class)
            fail_msg("row %zu: %s, %s", i, class_name(r.o.class), r.o.error ? r.o.error : "");
        if (rows[i].answer && !span_is(buf_span(&r.answer), rows[i].answer))
            fail_msg("row %zu: answer %.*s", i, (int)r.answer.n, r.answer.p);
        read_done(&r);
    }
}

static void test_what_is_told(void **state)
{
    (void)state;
    struct read r = read_span(API_CHAT,
                              SPAN_LIT("{\"model\":\"gpt\\u0000x\",\"choices\":[{\"message\":{"
                                       "\"refusal\":\"I \\\"won't\\\"\"},"
                                       "\"finish_reason\":\"stop\"}]}"),
                              true);
    assert_string_equal(r.o.model_reported, "gpt?x"); /* Postgres takes no NUL */
    assert_string_equal(r.o.finish_reason, "stop");
    assert_string_equal(r.o.error, "the model refused: I \"won't\"");
    read_done(&r);
    r = read_span(API_CHAT, SPAN_LIT("{\"error\":{\"message\":\"boom\"}}"), true);
    assert_string_equal(r.o.error, "the reply is an error: boom");
    read_done(&r);
    r = read_span(API_CHAT, SPAN_LIT(CHAT("{\"content\":\"a\\u0000b\"}", "\"stop\"")), true);
    assert_int_equal(r.answer.n, 3); /* a NUL is a character of the answer */
    assert_memory_equal(r.answer.p, "a\0b", 3);
    read_done(&r);
}

/* Long names are cut between characters. */
static void test_long_names(void **state)
{
    (void)state;
    for (int shift = 0; shift < 3; shift++) {
        char body[4000];
        int n = snprintf(body, sizeof body, "{\"model\":\"%.*s", shift, "xx");
        for (int i = 0; i < 300; i++)
            n += snprintf(body + n, sizeof body - (size_t)n, i % 2 ? "\\u20ac" : "\xe2\x82\xac");
        snprintf(body + n, sizeof body - (size_t)n, "\",\"choices\":[]}");
        struct read r = read_span(API_CHAT, span_of(body), true);
        size_t bytes = strlen(r.o.model_reported);
        assert_in_range(bytes, OUTCOME_NAME_BYTES - 4, OUTCOME_NAME_BYTES - 1);
        assert_true(utf8_text(span_of(r.o.model_reported)));
        read_done(&r);
    }
}

static void test_completions_and_embeddings(void **state)
{
    (void)state;
    static const struct {
        enum api api;
        const char *body;
        enum class class;
        const char *answer;
    } rows[] = {
        {API_COMPLETIONS, "{\"choices\":[{\"text\":\"hi\"}]}", CLASS_OK, "hi"},
        {API_COMPLETIONS, "{\"choices\":[{\"text\":\"\"}]}", CLASS_BAD_OUTPUT, ""},
        {API_COMPLETIONS, "{\"choices\":[{\"text\":null}]}", CLASS_BAD_OUTPUT, ""},
        {API_COMPLETIONS, "{\"choices\":[{\"message\":{\"content\":\"hi\"}}]}", CLASS_BAD_REPLY,
         ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[0.1,-2e-3]}]}", CLASS_OK, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[1]},{\"embedding\":[2]}]}", CLASS_OK, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":\"AAAA\"}]}", CLASS_OK, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":\"\"}]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[]}]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[null]}]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[1]},{}]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"data\":[{\"embedding\":[1]},7]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"data\":[]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"choices\":[{\"text\":\"hi\"}]}", CLASS_BAD_REPLY, ""},
        {API_EMBEDDINGS, "{\"error\":\"no\"}", CLASS_BAD_REPLY, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct read r = read_span(rows[i].api, span_of(rows[i].body), true);
        if (r.o.class != rows[i].class)
            fail_msg("row %zu: %s", i, class_name(r.o.class));
        assert_true(span_is(buf_span(&r.answer), rows[i].answer));
        read_done(&r);
    }
}

static void test_usage(void **state)
{
    (void)state;
    static const struct {
        enum api api;
        const char *usage;
        struct usage want;
    } rows[] = {
        {API_CHAT, "null", {-1, -1, -1, -1}},
        {API_CHAT, "[]", {-1, -1, -1, -1}},
        {API_CHAT, "{}", {-1, 0, -1, 0}},
        {API_CHAT, "{\"prompt_tokens\":10,\"completion_tokens\":3}", {10, 0, 3, 0}},
        {API_CHAT, "{\"prompt_tokens\":\"10\",\"completion_tokens\":\"3\"}", {10, 0, 3, 0}},
        {API_CHAT, "{\"prompt_tokens\":\"ten\",\"completion_tokens\":-3}", {-1, 0, -1, 0}},
        {API_CHAT,
         "{\"prompt_tokens\":1.5,\"completion_tokens\":99999999999999999999}",
         {-1, 0, -1, 0}},
        {API_CHAT, "{\"prompt_tokens\":0,\"completion_tokens\":0}", {-1, 0, -1, 0}},
        {API_CHAT, "{\"prompt_tokens\":10,\"total_tokens\":14}", {10, 0, 4, 0}},
        {API_CHAT, "{\"completion_tokens\":4,\"total_tokens\":14}", {10, 0, 4, 0}},
        {API_CHAT, "{\"completion_tokens\":4,\"total_tokens\":3}", {-1, 0, 4, 0}},
        {API_CHAT,
         "{\"prompt_tokens\":10,\"completion_tokens\":3,\"prompt_tokens_details\":"
         "{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}",
         {10, 4, 3, 2}},
        {API_CHAT,
         "{\"prompt_tokens\":10,\"completion_tokens\":3,\"prompt_tokens_details\":"
         "{\"cached_tokens\":40},\"completion_tokens_details\":{\"reasoning_tokens\":20}}",
         {10, 10, 3, 3}},
        {API_CHAT,
         "{\"prompt_tokens\":10,\"completion_tokens\":3,\"prompt_tokens_details\":"
         "{\"cached_tokens\":4,\"cached_tokens\":5}}",
         {10, 0, 3, 0}}, /* which? */
        {API_CHAT,
         "{\"prompt_tokens\":10,\"completion_tokens\":3,\"prompt_tokens_details\":null,"
         "\"completion_tokens_details\":{\"reasoning_tokens\":null}}",
         {10, 0, 3, 0}},
        {API_CHAT,
         "{\"prompt_tokens\":10,\"completion_tokens\":3,\"prompt_cache_hit_tokens\":6}",
         {10, 6, 3, 0}},
        {API_EMBEDDINGS, "{\"prompt_tokens\":8,\"total_tokens\":8}", {8, 0, 0, 0}},
        {API_EMBEDDINGS, "{\"total_tokens\":8}", {8, 0, 0, 0}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char body[600];
        snprintf(body, sizeof body,
                 "{\"usage\":%s,\"data\":[{\"embedding\":[1]}],\"choices\":[{"
                 "\"message\":{\"content\":\"x\"}}]}",
                 rows[i].usage);
        struct read r = read_span(rows[i].api, span_of(body), true);
        assert_int_equal(r.o.class, CLASS_OK);
        if (memcmp(&r.o.usage, &rows[i].want, sizeof r.o.usage) != 0)
            fail_msg("row %zu: %lld %lld %lld %lld", i, (long long)r.o.usage.input,
                     (long long)r.o.usage.cached, (long long)r.o.usage.output,
                     (long long)r.o.usage.reasoning);
        read_done(&r);
    }
    /* a bad answer still has its cost */
    struct read r = read_span(API_CHAT,
                              SPAN_LIT("{\"choices\":[],\"usage\":{\"prompt_tokens\":7,"
                                       "\"completion_tokens\":0}}"),
                              true);
    assert_int_equal(r.o.class, CLASS_BAD_REPLY);
    assert_int_equal(r.o.usage.input, 7);
    assert_int_equal(r.o.usage.output, 0);
    read_done(&r);
}

/* Cut anywhere, or with any byte changed: a class and no crash, and never an answer half copied. */
static void test_mangled(void **state)
{
    (void)state;
    static const char good[] =
        "{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":[{\"text\":\"a\\\"]}\"}],"
        "\"tool_calls\":[{}]},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":\"1\","
        "\"completion_tokens_details\":{\"reasoning_tokens\":2}},\"data\":[{\"embedding\":[1]}]}";
    srand(3);
    for (size_t n = 0; n < sizeof good - 1; n++) {
        char *cut = malloc(n + 1); /* exact, so that the sanitizer sees a step beyond */
        memcpy(cut, good, n);
        struct read r = read_span(API_CHAT, (struct span){cut, n}, true);
        assert_int_equal(r.o.class, CLASS_BAD_REPLY);
        assert_int_equal(r.answer.n, 0);
        read_done(&r);
        free(cut);
    }
    for (int i = 0; i < 20000; i++) {
        char *changed = malloc(sizeof good - 1);
        memcpy(changed, good, sizeof good - 1);
        for (int k = rand() % 3; k >= 0; k--)
            changed[(size_t)rand() % (sizeof good - 1)] = "\"\\[]{},:0a\0\xff"[rand() % 12];
        struct span body = {changed, sizeof good - 1};
        struct read r = read_span((enum api)(rand() % 3), body, rand() % 2);
        assert_true(r.o.class != CLASS_BAD_REPLY || r.answer.n == 0);
        read_done(&r);
        free(changed);
    }
}

/* An answer larger than its bound is no answer. */
static void test_bound(void **state)
{
    (void)state;
    struct outcome o;
    struct buf answer;
    outcome_init(&o);
    buf_init(&answer, 16);
    reply_read(API_CHAT, SPAN_LIT(CHAT("{\"content\":\"0123456789012345678901\"}", "\"stop\"")),
               true, &o, &answer);
    assert_int_equal(o.class, CLASS_BAD_REPLY);
    assert_int_equal(answer.n, 0);
    outcome_done(&o);
    buf_done(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chat),       cmocka_unit_test(test_what_is_told),
        cmocka_unit_test(test_long_names), cmocka_unit_test(test_completions_and_embeddings),
        cmocka_unit_test(test_usage),      cmocka_unit_test(test_mangled),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
