/*
 * test_json_scan.c - the scanner against tables of good and bad texts, and against jansson on
 * thousands of mutated ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <jansson.h>

#include "common/json_scan.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool accepts(struct span text)
{
    return json_check(text, NULL, NULL) == RC_OK;
}

/* A copy of exact size, so that the sanitizer sees any read past the end. */
static bool accepts_copy(const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    bool ok = accepts((struct span){copy, n});
    free(copy);
    return ok;
}

static void test_good(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}",
        "[]",
        "0",
        "-0",
        "1",
        "-12",
        "1.5",
        "1e5",
        "1E+5",
        "1e-05",
        "-0.0e-0",
        "true",
        "false",
        "null",
        "\"\"",
        "\"a\"",
        " \t\r\n[ \t\r\n] \t\r\n",
        "[1,2,3]",
        "[[],{}]",
        "{\"a\":1}",
        "{\"a\":{\"b\":[{\"c\":null}]}}",
        "{ \"a\" : 1 , \"b\" : [ ] }",
        "{\"a\":1,\"a\":2}",
        "{\"\":0}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\"",
        "\"\\u00e9\\uD83D\\uDE00\"",
        "\"\xc3\xa9\xf0\x9f\x98\x80\"",
        "\"\x7f\"",
        "123456789012345678901234567890123456789012345678901234567890",
        "1e999",
        "-1e-999",
        "[\"01234567\",\"0123456\\n\",\"\\\\\"]",
        "[{},[],\"\",0,true]",
        "[[[]],[[]]]",
    };
    for (size_t i = 0; i < COUNT(good); i++)
        if (!accepts_copy(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
}

static void test_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[",
        "}",
        "]",
        "\"",
        "\"abc",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1,,2]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:2}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "[1}",
        "[}",
        "{]",
        "01",
        "-",
        "-a",
        "+1",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "0x1",
        "1_0",
        "--1",
        "-01",
        "00",
        "NaN",
        "Infinity",
        "-Infinity",
        "nul",
        "nulll",
        "True",
        "tru",
        "truefalse",
        "1 2",
        "{}{}",
        "[] x",
        "[]]",
        "\"\t\"",
        "\"\n\"",
        "\"\x1f\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\",
        "\"\\u",
        "\"\\\"",
        "\"\\uD800\"",
        "\"\\uD800x\"",
        "\"\\uD800\\n\"",
        "\"\\uD800\\u0041\"",
        "\"\\uDC00\"",
        "\"\\uD83D\\uD83D\"",
        "\"\\a\"",
        "\"\\'\"",
        "// c\n1",
        "/* */1",
        "[1]#",
        "\xef\xbb\xbf{}",
        "\x0c[]",
        "[\xa0]",
        "{\"a\":1,\"b\"}",
        "{\"a\":1,2}",
        "[\"a\":1]",
        "\"a\"b",
        "-true",
        "\"0123456\001\"",
        "\"01234567\00189\"",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (accepts_copy(bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    assert_false(accepts_copy("[]\0", 3));
    assert_false(accepts_copy("\"a\0b\"", 5));
    assert_false(accepts((struct span){NULL, 0}));
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * (JSON_DEPTH_MAX + 1)];
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(accepts_copy(text, 2 * depth), depth == JSON_DEPTH_MAX);
    }
    struct span inner;
    enum json_type type;
    char object[600] = "{\"a\":";
    size_t n = strlen(object);
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        object[n++] = '[';
    assert_int_equal(json_member((struct span){object, n}, "a", &inner, &type), RC_REJECT);
}

static void test_place_is_told(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(json_check(SPAN_LIT("[1, x]"), NULL, &err), RC_REJECT);
    assert_string_equal(err.text, "byte 4: not a JSON value");
    assert_int_equal(json_check(SPAN_LIT("[1, "), NULL, &err), RC_REJECT);
    assert_string_equal(err.text, "byte 4: the JSON text ends too early");
    assert_int_equal(json_check(SPAN_LIT("{\"key\" 1}"), NULL, &err), RC_REJECT);
    assert_string_equal(err.text, "byte 7: ':' is wanted after a member's name");
    enum json_type type = JSON_TYPE_ABSENT;
    assert_int_equal(json_check(SPAN_LIT(" [ ] "), &type, &err), RC_OK);
    assert_int_equal(type, JSON_TYPE_ARRAY);
}

static void test_members(void **state)
{
    (void)state;
    static const char *const keys[] = {"model", "n", "stream", "logprobs", "stop", "user", "none"};
    struct json_value v[COUNT(keys)];
    struct span body = SPAN_LIT(" { \"n\" : -3 ,\"messages\":[{\"model\":\"inner\",\"n\":9}],"
                                "\"mod\\u0065l\":\"a\\/b\\u00e9\",\"stream\":false,"
                                "\"logprobs\":true , \"stop\":[\"]\",\"}\"],\"user\":null} ");
    assert_int_equal(json_members(body, keys, COUNT(keys), v, NULL), RC_OK);
    static const struct {
        enum json_type type;
        const char *text;
    } want[COUNT(keys)] = {
        {JSON_TYPE_STRING, "\"a\\/b\\u00e9\""},
        {JSON_TYPE_NUMBER, "-3"},
        {JSON_TYPE_FALSE, "false"},
        {JSON_TYPE_TRUE, "true"},
        {JSON_TYPE_ARRAY, "[\"]\",\"}\"]"},
        {JSON_TYPE_NULL, "null"},
        {JSON_TYPE_ABSENT, NULL},
    };
    for (size_t i = 0; i < COUNT(keys); i++) {
        assert_int_equal(v[i].type, want[i].type);
        if (want[i].text)
            assert_true(span_is(v[i].text, want[i].text));
        else
            assert_null(v[i].text.p);
    }
    char scratch[8];
    assert_true(span_is(json_unquote(v[0].text, scratch, sizeof scratch), "a/b\xc3\xa9"));
    assert_null(json_unquote(v[0].text, scratch, 4).p);
}

static void test_members_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "\"model\"",
        "{\"model\":1,\"model\":1}",
        "{\"model\":1,\"\\u006dodel\":2}",
        "{\"model\":1}x",
        "{\"model\":1,}",
        "{\"model\" 1}",
        "{\"model\":1",
        "{",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct span value = SPAN_LIT("kept");
        enum json_type type = JSON_TYPE_NULL;
        assert_int_equal(json_member(span_of(bad[i]), "model", &value, &type), RC_REJECT);
        assert_true(span_is(value, "kept"));
        assert_int_equal(type, JSON_TYPE_NULL);
    }
    struct span value;
    enum json_type type;
    /* Another member may stand twice: that is between the sender and the server. */
    assert_int_equal(json_member(SPAN_LIT("{\"a\":1,\"a\":2,\"model\":3}"), "model", &value, &type),
                     RC_OK);
    assert_true(span_is(value, "3"));
    assert_int_equal(json_member(SPAN_LIT("{}"), "model", &value, &type), RC_OK);
    assert_int_equal(type, JSON_TYPE_ABSENT);
    struct err err;
    const char *key = "model";
    struct json_value v;
    assert_int_equal(json_members(SPAN_LIT("{\"model\":1, \"model\":2}"), &key, 1, &v, &err),
                     RC_REJECT);
    assert_string_equal(err.text, "byte 12: this member stands twice in the object");
}

static void test_long_keys(void **state)
{
    (void)state;
    char object[256] = "{\"";
    memset(object + 2, 'k', 100);
    memcpy(object + 102, "\\u006d\":1,\"model\":\"x\"}", 23);
    struct span value;
    enum json_type type;
    assert_int_equal(json_member(span_of(object), "model", &value, &type), RC_OK);
    assert_true(span_is(value, "\"x\""));
}

static void test_splice(void **state)
{
    (void)state;
    static const struct {
        const char *body, *value, *want;
    } cases[] = {
        {"{\"model\":\"a\"}", "b", "{\"model\":\"b\"}"},
        {" {\"x\" : 1.0e0,\n \"model\" : null , \"y\":[1]} ", "m/1",
         " {\"x\" : 1.0e0,\n \"model\" : \"m/1\" , \"y\":[1]} "},
        {"{\"\\u006dodel\":{\"model\":1}}", "b", "{\"\\u006dodel\":\"b\"}"},
        {"{}", "b", "{\"model\":\"b\"}"},
        {"{ }", "b", "{\"model\":\"b\" }"},
        {"{ \"x\":1}", "b", "{\"model\":\"b\", \"x\":1}"},
        {"{\"x\":{\"model\":\"in\"}}", "b", "{\"model\":\"b\",\"x\":{\"model\":\"in\"}}"},
        {"{\"model\":1}", "q\"s\\t\t\x01\xc3\xa9", "{\"model\":\"q\\\"s\\\\t\\t\\u0001\xc3\xa9\"}"},
        {"{\"model\":1}", "", "{\"model\":\"\"}"},
    };
    struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < COUNT(cases); i++) {
        buf_reset(&out);
        assert_true(buf_add_text(&out, ">"));
        assert_int_equal(json_splice_string(span_of(cases[i].body), "model",
                                            span_of(cases[i].value), &out, NULL),
                         RC_OK);
        struct span got = buf_span(&out);
        assert_true(span_is((struct span){got.p + 1, got.n - 1}, cases[i].want));
    }
    size_t before = out.n;
    assert_int_equal(json_splice_string(SPAN_LIT("[1]"), "model", SPAN_LIT("b"), &out, NULL),
                     RC_REJECT);
    assert_int_equal(out.n, before);
    buf_done(&out);
}

static void test_splice_bounded(void **state)
{
    (void)state;
    struct span body = SPAN_LIT("{\"messages\":[],\"model\":\"a\",\"x\":1}");
    for (size_t max = 1; max < body.n; max++) {
        struct buf out;
        buf_init(&out, max);
        assert_int_equal(json_splice_string(body, "model", SPAN_LIT("b"), &out, NULL), RC_FULL);
        assert_int_equal(out.n, 0);
        buf_done(&out);
    }
}

static void test_int64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"42", true, 42},
        {"-7", true, -7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"-", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t v = 77;
        assert_int_equal(json_int64(span_of(cases[i].text), &v), cases[i].ok);
        assert_int_equal(v, cases[i].ok ? cases[i].want : 77);
    }
}

/* ---- against jansson ---------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

enum verdict { REFUSED, ACCEPTED, NO_JUDGE };

/* jansson limits what RFC 8259 does not: sizes of numbers, U+0000 in names; and it checks UTF-8,
 * which the scanner leaves to others. There it is no judge. */
static enum verdict jansson_says(const char *p, size_t n)
{
    json_error_t error;
    json_t *tree = json_loadb(p, n, JSON_ALLOW_NUL, &error);
    if (tree) {
        json_decref(tree);
        return ACCEPTED;
    }
    enum json_error_code code = json_error_code(&error);
    bool other_rule = code == json_error_numeric_overflow || code == json_error_invalid_utf8 ||
                      code == json_error_null_byte_in_key;
    return other_rule ? NO_JUDGE : REFUSED;
}

static size_t mutate(char *text, size_t n, size_t room, uint64_t *seed)
{
    static const char alphabet[] = "{}[]\",:0123456789.eE+-truefalsn \\/bu\t\ndD8Cc\x01xAf";
    size_t changes = 1 + next_random(seed) % 3;
    while (changes-- && n > 1) {
        size_t at = next_random(seed) % n;
        char c = alphabet[next_random(seed) % (sizeof alphabet - 1)];
        switch (next_random(seed) % 4) {
        case 0:
            text[at] = c;
            break;
        case 1:
            memmove(text + at, text + at + 1, --n - at);
            break;
        case 2:
            if (n < room) {
                memmove(text + at + 1, text + at, n++ - at);
                text[at] = c;
            }
            break;
        default:
            n = 1 + at;
            break; /* cut short */
        }
    }
    return n;
}

static void test_like_jansson(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\\n\\u00e9\"}],\"n\":1}",
        "[1,-2.5e+3,true,false,null,\"\\ud83d\\ude00\",[[{}]],{\"a\":[]}]",
        "{\"a\":{\"b\":{\"c\":[0.1,1E5,{\"d\":\"\\\\\\\"\"}]}},\"e\":\"\\u0000\"}",
        " [ \"0123456789abcdef\" , { \"k\" : -0 } ] ",
    };
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
    int judged = 0, accepted = 0;
    for (int round = 0; round < 40000; round++) {
        char text[160];
        const char *from = seeds[(size_t)round % COUNT(seeds)];
        size_t n = strlen(from);
        memcpy(text, from, n);
        n = mutate(text, n, sizeof text, &seed);
        enum verdict want = jansson_says(text, n);
        enum json_type type = JSON_TYPE_ABSENT;
        bool got = json_check((struct span){text, n}, &type, NULL) == RC_OK &&
                   (type == JSON_TYPE_OBJECT || type == JSON_TYPE_ARRAY);
        if (want != NO_JUDGE && got != (want == ACCEPTED))
            fail_msg("%s by the scanner alone: %.*s", got ? "accepted" : "refused", (int)n, text);
        judged += want != NO_JUDGE;
        accepted += want == ACCEPTED;
    }
    /* The loop is worth something only while both verdicts are common. */
    assert_true(judged > 35000);
    assert_true(accepted > 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),           cmocka_unit_test(test_bad),
        cmocka_unit_test(test_depth),          cmocka_unit_test(test_place_is_told),
        cmocka_unit_test(test_members),        cmocka_unit_test(test_members_refused),
        cmocka_unit_test(test_long_keys),      cmocka_unit_test(test_splice),
        cmocka_unit_test(test_splice_bounded), cmocka_unit_test(test_int64),
        cmocka_unit_test(test_like_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
