/*
 * test_outspec.c - output specs: schemas that compile or are refused with the place, answers that
 * satisfy them or not, labels, fences, and the second question.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "common/buf.h"
#include "common/outspec.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct outspec *spec_of(const char *schema)
{
    struct outspec *s = NULL;
    struct err err = {""};
    if (outspec_json(span_of(schema), &s, &err) != RC_OK)
        fail_msg("refused: %s: %s", schema, err.text);
    return s;
}

struct answer_case {
    const char *schema, *answer, *reason; /* NULL: accepted */
};

static void run_answers(const struct answer_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct outspec *s = spec_of(cases[i].schema);
        struct err err = {""};
        enum rc rc = outspec_check(s, span_of(cases[i].answer), &err);
        if (rc != (cases[i].reason ? RC_REJECT : RC_OK))
            fail_msg("%s against %s: %s", cases[i].answer, cases[i].schema, err.text);
        if (cases[i].reason && !strstr(err.text, cases[i].reason))
            fail_msg("'%s' is not in '%s'", cases[i].reason, err.text);
        outspec_free(s);
    }
}

static void test_types(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        {"{}", "null", NULL},
        {"{}", "[1,{\"a\":2}]", NULL},
        {"{\"type\":\"null\"}", "null", NULL},
        {"{\"type\":\"null\"}", "0", "top level: must be null, but is integer"},
        {"{\"type\":\"boolean\"}", "true", NULL},
        {"{\"type\":\"boolean\"}", "false", NULL},
        {"{\"type\":\"boolean\"}", "\"true\"", "must be boolean, but is string"},
        {"{\"type\":\"integer\"}", "12", NULL},
        {"{\"type\":\"integer\"}", "-1.0", NULL},
        {"{\"type\":\"integer\"}", "1e2", NULL},
        {"{\"type\":\"integer\"}", "1.5", "must be integer, but is number"},
        {"{\"type\":\"number\"}", "1.5", NULL},
        {"{\"type\":\"number\"}", "3", NULL},
        {"{\"type\":\"number\"}", "\"3\"", "must be number, but is string"},
        {"{\"type\":\"string\"}", "\"\"", NULL},
        {"{\"type\":\"string\"}", "[]", "must be string, but is array"},
        {"{\"type\":\"array\"}", "[]", NULL},
        {"{\"type\":\"array\"}", "{}", "must be array, but is object"},
        {"{\"type\":\"object\"}", "{}", NULL},
        {"{\"type\":\"object\"}", "null", "must be object, but is null"},
        {"{\"type\":[\"string\",\"null\"]}", "null", NULL},
        {"{\"type\":[\"string\",\"null\"]}", "true", "must be null or string, but is boolean"},
        {"{\"type\":[\"integer\",\"number\"]}", "0.5", NULL},
    };
    run_answers(cases, COUNT(cases));
}

#define PERSON                                                                           \
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"t\","     \
    "\"description\":\"d\",\"type\":\"object\",\"properties\":{"                         \
    "\"name\":{\"type\":\"string\",\"default\":\"x\",\"examples\":[1]},"                 \
    "\"a/b~c\":{\"type\":\"integer\"},"                                                  \
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"required\":[\"id\"]," \
    "\"properties\":{\"id\":{\"type\":\"integer\"}}}}},"                                 \
    "\"required\":[\"name\"],\"additionalProperties\":false}"

static void test_objects_and_arrays(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        {PERSON, "{\"name\":\"a\"}", NULL},
        {PERSON, " {\"tags\":[],\"name\":\"a\",\"a/b~c\":1} ", NULL},
        {PERSON, "{\"name\":\"a\",\"tags\":[{\"id\":1},{\"id\":2,\"more\":true}]}", NULL},
        {PERSON, "{}", "top level: the required property 'name' is missing"},
        {PERSON, "{\"name\":null}", "/name: must be string, but is null"},
        {PERSON, "{\"name\":\"a\",\"age\":1}", "top level: the property 'age' is not allowed"},
        {PERSON, "{\"name\":\"a\",\"a/b~c\":true}", "/a~1b~0c: must be integer, but is boolean"},
        {PERSON, "{\"name\":\"a\",\"tags\":[{\"id\":1},{}]}",
         "/tags/1: the required property 'id'"},
        {PERSON, "{\"name\":\"a\",\"tags\":[{\"id\":\"x\"}]}", "/tags/0/id: must be integer"},
        {"{\"items\":{\"items\":{\"type\":\"null\"}}}", "[[],[null],[null,0]]",
         "/2/1: must be null, but is integer"},
        {"{\"items\":{\"type\":\"null\"}}", "\"not an array: items says nothing\"", NULL},
        {"{\"required\":[\"a\"]}", "[]", NULL},
        {"{\"additionalProperties\":true,\"properties\":{}}", "{\"x\":1}", NULL},
        {"{\"additionalProperties\":false}", "{\"x\":1}", "the property 'x' is not allowed"},
        {"{\"additionalProperties\":false}", "{}", NULL},
    };
    run_answers(cases, COUNT(cases));
}

#define MIXED "{\"enum\":[\"a\",1,2.5,null,true,[1,{\"x\":1}],{\"p\":1,\"q\":[2]},\"n\\u0000l\"]}"

static void test_enum(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        {MIXED, "\"a\"", NULL},
        {MIXED, "1", NULL},
        {MIXED, "1.0", NULL},
        {MIXED, "10e-1", NULL},
        {MIXED, "2.5", NULL},
        {MIXED, "25e-1", NULL},
        {MIXED, "null", NULL},
        {MIXED, "true", NULL},
        {MIXED, "[1.0,{\"x\":1e0}]", NULL},
        {MIXED, "{\"q\":[2],\"p\":1}", NULL},
        {MIXED, "\"n\\u0000l\"", NULL},
        {MIXED, "\"A\"", "top level: is none of the values that 'enum' allows"},
        {MIXED, "\"1\"", "none of the values"},
        {MIXED, "2", "none of the values"},
        {MIXED, "false", "none of the values"},
        {MIXED, "[1]", "none of the values"},
        {MIXED, "[{\"x\":1},1]", "none of the values"},
        {MIXED, "{\"p\":1}", "none of the values"},
        {MIXED, "{\"p\":1,\"q\":[2],\"r\":0}", "none of the values"},
        {MIXED, "{\"p\":1,\"r\":[2]}", "none of the values"},
        {MIXED, "\"n\"", "none of the values"},
        {MIXED, "0", "none of the values"},
        {"{\"enum\":[9007199254740993]}", "9007199254740993", NULL},
        {"{\"enum\":[9007199254740993]}", "9007199254740992", "none of the values"},
        {"{\"enum\":[9007199254740993]}", "9007199254740992.0", "none of the values"},
        {"{\"enum\":[9223372036854775807]}", "9223372036854775808.0", "none of the values"},
        {"{\"type\":\"integer\",\"enum\":[\"a\",1]}", "\"a\"", "must be integer"},
        {"{\"properties\":{\"v\":{\"enum\":[0]}}}", "{\"v\":1}", "/v: is none of the values"},
    };
    run_answers(cases, COUNT(cases));
}

static void test_large_numbers(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        {"{\"type\":\"integer\"}", "9223372036854775808", NULL},
        {"{\"type\":\"integer\"}", "-99999999999999999999999999", NULL},
        {"{\"type\":\"integer\"}", "9e308", NULL},
        {"{\"type\":\"number\"}", "-1.5e99999", NULL},
        {"{\"type\":\"string\"}", "1e999", "must be string, but is integer"},
        {"{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"},"
         "\"s\":{\"enum\":[\"9e999\\\"9e999\"]},\"one\":{\"enum\":[1]}}}",
         "{\"n\":18446744073709551616,\"s\":\"9e999\\\"9e999\",\"one\":1,\"x\":[2e400,-2e400]}",
         NULL},
        {"{\"items\":{\"type\":\"integer\"}}", "[123456789012345678901,0.5]",
         "/1: must be integer, but is number"},
        {"{\"enum\":[1e-400,18446744073709551616]}", "18446744073709551616", NULL},
    };
    run_answers(cases, COUNT(cases));
    char digits[1001];
    memset(digits, '7', 1000);
    digits[1000] = '\0';
    const struct answer_case longest = {"{\"type\":\"integer\"}", digits, NULL};
    run_answers(&longest, 1);
}

static void test_strict(void **state)
{
    (void)state;
    static const struct answer_case cases[] = {
        {"{}", "", "the answer is empty"},
        {"{}", " \n\t", "the answer is empty"},
        {"{}", "{\"a\":1,\"a\":1}", "a member stands twice"},
        {"{}", "{\"a\":1,\"\\u0061\":1}", "a member stands twice"},
        {"{}", "{} {}", "text after the end"},
        {"{}", "Here is the JSON: {}", "not one JSON value: byte 0"},
        {"{}", "{\"a\":1,}", "not one JSON value: byte 7"},
        {"{}", "{'a':1}", "not one JSON value"},
        {"{}", "{\"a\":1", "ends too early"},
        {"{}", "NaN", "not one JSON value"},
        {"{}", "\"\xff\"", "not valid UTF-8"},
        {"{}", "{\"a\\u0000\":1}", "holds U+0000"},
        {"{\"type\":\"string\"}", "\"a\\u0000b\"", NULL},
    };
    run_answers(cases, COUNT(cases));
}

static void test_fences(void **state)
{
    (void)state;
    static const char schema[] = "{\"type\":\"object\"}";
    static const struct answer_case cases[] = {
        {schema, "```json\n{\"a\":1}\n```", NULL},
        {schema, "\n ```JSON \r\n{\"a\":\"```\"}\r\n``` \n", NULL},
        {schema, "```\n{}\n```", NULL},
        {schema, "```json\n{}```", NULL},
        {schema, "```yaml\n{}\n```", "not one JSON value"},
        {schema, "```json\n{}\n", "not one JSON value"},
        {schema, "{}\n```", "not one JSON value"},
        {schema, "Sure:\n```json\n{}\n```", "not one JSON value"},
        {schema, "```json\n```json\n{}\n```\n```", "not one JSON value"},
        {schema, "```json\n{}\n```\n```json\n{}\n```", "not one JSON value"},
        {schema, "``````", "not one JSON value"},
        {schema, "```\n```", "not one JSON value"},
        {schema, "```json\n[]\n```", "must be object, but is array"},
    };
    run_answers(cases, COUNT(cases));
}

static void test_refused_schemas(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *reason;
    } cases[] = {
        {"{\"properties\":{\"age\":{\"minimum\":1}}}",
         "/properties/age: keyword 'minimum' is not checked by inferq: remove it"},
        {"{\"$ref\":\"#\"}", "top level: keyword '$ref'"},
        {"{\"items\":{\"items\":{\"pattern\":\"x\"}}}", "/items/items: keyword 'pattern'"},
        {"{\"properties\":{\"a/b\":{\"x~y\":1}}}", "/properties/a~1b: keyword 'x~y'"},
        {"{\"anyOf\":[]}", "keyword 'anyOf'"},
        {"{\"Type\":\"string\"}", "keyword 'Type'"},
        {"{\"type\":\"text\"}", "/type: must be null, boolean"},
        {"{\"type\":7}", "/type: must be null, boolean"},
        {"{\"type\":[]}", "/type: an empty list allows nothing"},
        {"{\"type\":[\"string\",\"string\"]}", "/type: names 'string' twice"},
        {"{\"type\":[\"string\",7]}", "/type: must be null, boolean"},
        {"{\"properties\":[]}", "/properties: must be an object of schemas"},
        {"{\"properties\":{\"a\":true}}", "/properties/a: a schema must be an object"},
        {"{\"required\":\"a\"}", "/required: must be a list of property names"},
        {"{\"required\":[1]}", "/required: must be a list of property names"},
        {"{\"required\":[\"a\",\"b\",\"a\"]}", "/required: names 'a' twice"},
        {"{\"required\":[\"a\\u0000\"]}", "/required: a property name with U+0000"},
        {"{\"items\":[{}]}", "/items: a schema must be an object"},
        {"{\"enum\":[]}", "/enum: must be a list of at least one"},
        {"{\"enum\":\"a\"}", "/enum: must be a list of at least one"},
        {"{\"additionalProperties\":{}}", "/additionalProperties: must be true or false"},
        {"{\"required\":[\"a\"],\"additionalProperties\":false}", "nothing could satisfy that"},
        {"true", "top level: a schema must be an object"},
        {"[]", "top level: a schema must be an object"},
        {"", "not one JSON value"},
        {"{\"type\":\"string\"", "not one JSON value"},
        {"{\"type\":\"string\",\"type\":\"null\"}", "a member stands twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct outspec *s = NULL;
        struct err err = {""};
        if (outspec_json(span_of(cases[i].schema), &s, &err) != RC_REJECT)
            fail_msg("not refused: %s", cases[i].schema);
        assert_null(s);
        if (!strstr(err.text, cases[i].reason))
            fail_msg("'%s' is not in '%s'", cases[i].reason, err.text);
    }
}

/* Schemas within schemas, the innermost one empty. */
static char *nested_schema(int levels)
{
    char *text = malloc(64 + (size_t)levels * 10);
    size_t n = 0;
    for (int i = 1; i < levels; i++, n += 9)
        memcpy(text + n, "{\"items\":", 9);
    memcpy(text + n, "{}", 2);
    n += 2;
    for (int i = 1; i < levels; i++)
        text[n++] = '}';
    text[n] = '\0';
    return text;
}

static void test_bounds(void **state)
{
    (void)state;
    for (int levels = OUTSPEC_DEPTH_MAX; levels <= OUTSPEC_DEPTH_MAX + 1; levels++) {
        char *text = nested_schema(levels);
        struct outspec *s = NULL;
        struct err err = {""};
        enum rc rc = outspec_json(span_of(text), &s, &err);
        assert_int_equal(rc, levels == OUTSPEC_DEPTH_MAX ? RC_OK : RC_REJECT);
        outspec_free(s);
        free(text);
    }
    size_t n = 5 << 20;
    char *big = malloc(n);
    memset(big, ' ', n);
    memcpy(big, "{}", 2);
    struct outspec *s = NULL;
    struct err err = {""};
    assert_int_equal(outspec_json((struct span){big, OUTSPEC_SCHEMA_BYTES_MAX + 1}, &s, &err),
                     RC_REJECT);
    assert_non_null(strstr(err.text, "at most 65536"));
    assert_int_equal(outspec_json((struct span){big, OUTSPEC_SCHEMA_BYTES_MAX}, &s, &err), RC_OK);
    memset(big, '[', n);
    assert_int_equal(outspec_check(s, (struct span){big, n}, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "too large"));
    assert_int_equal(outspec_check(s, (struct span){big, 1 << 20}, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "nested too deeply"));
    outspec_free(s);
    free(big);
}

/* Names come from the answer, and may be anything: the reason stays short. */
static void test_reason_is_bounded(void **state)
{
    (void)state;
    char answer[3000] = "{\"";
    memset(answer + 2, 'n', 2900);
    memcpy(answer + 2902, "\":{\"x\":1}}", 11);
    struct outspec *s = spec_of("{\"additionalProperties\":false}");
    struct err err = {""};
    assert_int_equal(outspec_check(s, span_of(answer), &err), RC_REJECT);
    assert_true(strlen(err.text) < 150);
    outspec_free(s);
}

/* ---- text and labels ------------------------------------------------------------------------ */

static void test_text(void **state)
{
    (void)state;
    struct job_msg msg = {.output_kind = OUTPUT_TEXT};
    struct outspec *s = NULL;
    struct err err = {""};
    assert_int_equal(outspec_of_job(&msg, &s, &err), RC_OK);
    assert_int_equal(outspec_check(s, SPAN_LIT("x"), &err), RC_OK);
    assert_int_equal(outspec_check(s, SPAN_LIT("\0a"), &err), RC_OK);
    assert_int_equal(outspec_check(s, SPAN_LIT(""), &err), RC_REJECT);
    assert_string_equal(err.text, "the answer is empty");
    assert_int_equal(outspec_check(s, SPAN_LIT(" \r\n\t"), &err), RC_REJECT);
    assert_int_equal(outspec_check(s, SPAN_LIT("\0 \0"), &err), RC_REJECT);
    assert_int_equal(outspec_check(s, (struct span){NULL, 0}, &err), RC_REJECT);
    assert_null(outspec_label(s, SPAN_LIT("x")).p);
    outspec_free(s);
}

static void test_labels(void **state)
{
    (void)state;
    const struct span labels[] = {SPAN_LIT("Spam"),       SPAN_LIT("not spam"),
                                  SPAN_LIT("U.S."),       SPAN_LIT("\"as is\""),
                                  SPAN_LIT("\u00c4rger"), SPAN_LIT("\u0421\u043f\u0430\u043c"),
                                  SPAN_LIT("a.b")};
    static const struct {
        const char *answer, *label; /* NULL: none */
    } cases[] = {
        {"Spam", "Spam"},
        {"spam", "Spam"},
        {" SPAM.\n", "Spam"},
        {"\"Spam\".", "Spam"},
        {"\"Spam.\"", "Spam"},
        {"'spam'", "Spam"},
        {"`spam`", "Spam"},
        {"\u201cspam\u201d", "Spam"},
        {"\u00abspam\u00bb", "Spam"},
        {"\" spam . \"", "Spam"},
        {"Not  spam", NULL},
        {"Not Spam", "not spam"},
        {"u.s.", "U.S."},
        {"u.s", NULL},
        {"'U.S.'.", "U.S."},
        {"\"as is\"", "\"as is\""},
        {"'\"as is\".'", "\"as is\""},
        {"as is", NULL},
        {"\u00e4RGER", "\u00c4rger"},
        {"\u0441\u041f\u0410\u041c", "\u0421\u043f\u0430\u043c"},
        {"a.b.", "a.b"},
        {"Spam..", NULL},
        {"Spam or not spam", NULL},
        {"The answer is Spam", NULL},
        {"Spam\xff", NULL},
        {"\"\"", NULL},
        {".", NULL},
    };
    struct outspec *s = NULL;
    struct err err = {""};
    assert_int_equal(outspec_labels(labels, COUNT(labels), &s, &err), RC_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct span answer = span_of(cases[i].answer);
        struct span label = outspec_label(s, answer);
        if (!span_eq(label, span_of(cases[i].label)))
            fail_msg("%s is taken for %.*s", cases[i].answer, (int)label.n, label.p);
        assert_int_equal(outspec_check(s, answer, &err), cases[i].label ? RC_OK : RC_REJECT);
    }
    assert_int_equal(outspec_check(s, SPAN_LIT("Spam\0"), &err), RC_REJECT);
    assert_non_null(strstr(err.text, "the answer is not one of the labels 'Spam', 'not spam', "));
    assert_int_equal(outspec_check(s, SPAN_LIT(""), &err), RC_REJECT);
    outspec_free(s);
}

static void test_refused_labels(void **state)
{
    (void)state;
    static const char long_text[130] = "label";
    const struct {
        struct span labels[3];
        uint32_t count;
        const char *reason;
    } cases[] = {
        {{SPAN_LIT("a")}, 0, "1 to 1000 labels"},
        {{SPAN_LIT("a")}, OUTSPEC_LABELS_MAX + 1, "1 to 1000 labels"},
        {{SPAN_LIT("a"), SPAN_LIT("")}, 2, "label 2 must have 1 to 128 bytes"},
        {{SPAN_LIT("a"), SPAN_LIT("b"), {long_text, 129}}, 3, "label 3 must have 1 to 128 bytes"},
        {{SPAN_LIT("a ")}, 1, "label 1 starts or ends with white space"},
        {{SPAN_LIT("yes"), SPAN_LIT("no"), SPAN_LIT("YES")},
         3,
         "same without case: 'yes' and 'YES'"},
        {{SPAN_LIT("\u00e9"), SPAN_LIT("\u00c9")}, 2, "same without case"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct outspec *s = NULL;
        struct err err = {""};
        assert_int_equal(outspec_labels(cases[i].labels, cases[i].count, &s, &err), RC_REJECT);
        assert_null(s);
        if (!strstr(err.text, cases[i].reason) && !strstr(err.text, "same without case"))
            fail_msg("'%s' is not in '%s'", cases[i].reason, err.text);
    }
}

static void test_labels_and_schema_of_job(void **state)
{
    (void)state;
    struct err err = {""};
    struct buf raw;
    buf_init(&raw, 4096);
    const struct span labels[] = {SPAN_LIT("yes"), SPAN_LIT("no")};
    assert_int_equal(job_msg_labels_encode(labels, 2, &raw, &err), RC_OK);
    struct job_msg msg = {
        .output_kind = OUTPUT_LABEL, .output_labels = buf_span(&raw), .output_label_count = 2};
    struct outspec *s = NULL;
    assert_int_equal(outspec_of_job(&msg, &s, &err), RC_OK);
    assert_true(span_is(outspec_label(s, SPAN_LIT("No.")), "no"));
    outspec_free(s);
    msg.output_label_count = 0;
    assert_int_equal(outspec_of_job(&msg, &s, &err), RC_REJECT);
    buf_done(&raw);

    msg = (struct job_msg){.output_kind = OUTPUT_JSON,
                           .output_schema = SPAN_LIT("{\"type\":\"array\"}")};
    assert_int_equal(outspec_of_job(&msg, &s, &err), RC_OK);
    assert_int_equal(outspec_check(s, SPAN_LIT("[]"), &err), RC_OK);
    assert_int_equal(outspec_check(s, SPAN_LIT("{}"), &err), RC_REJECT);
    outspec_free(s);
    msg.output_schema = (struct span){NULL, 0};
    assert_int_equal(outspec_of_job(&msg, &s, &err), RC_REJECT);
}

/* ---- asking again --------------------------------------------------------------------------- */

static void check_reask(const struct outspec *s, const char *want)
{
    struct buf out;
    buf_init(&out, 4096);
    assert_true(outspec_reask(s, "it is wrong", &out));
    assert_true(span_is(buf_span(&out), want));
    struct buf small;
    buf_init(&small, out.n - 1);
    assert_false(outspec_reask(s, "it is wrong", &small));
    assert_int_equal(small.n, 0);
    buf_done(&small);
    buf_done(&out);
}

static void test_reask(void **state)
{
    (void)state;
    struct outspec *s = spec_of(" {\"type\":\"null\"}\n");
    check_reask(s,
                "Your last answer cannot be used: it is wrong.\nAnswer again with one JSON value "
                "and nothing else: no explanation, no code fence. It must satisfy this JSON "
                "Schema:\n{\"type\":\"null\"}");
    outspec_free(s);
    const struct span labels[] = {SPAN_LIT("yes"), SPAN_LIT("no")};
    assert_int_equal(outspec_labels(labels, 2, &s, NULL), RC_OK);
    check_reask(s,
                "Your last answer cannot be used: it is wrong.\nAnswer again with exactly one of "
                "the following labels, spelled as here, and nothing else:\nyes\nno");
    outspec_free(s);
    struct job_msg msg = {.output_kind = OUTPUT_TEXT};
    assert_int_equal(outspec_of_job(&msg, &s, NULL), RC_OK);
    check_reask(s,
                "Your last answer cannot be used: it is wrong.\nAnswer again; the answer must not "
                "be empty.");
    outspec_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_objects_and_arrays),
        cmocka_unit_test(test_enum),
        cmocka_unit_test(test_large_numbers),
        cmocka_unit_test(test_strict),
        cmocka_unit_test(test_fences),
        cmocka_unit_test(test_refused_schemas),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_reason_is_bounded),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_refused_labels),
        cmocka_unit_test(test_labels_and_schema_of_job),
        cmocka_unit_test(test_reask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
