/*
 * test_sign.c - signatures against the golden vectors: keys read, headers made, headers checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/sign.h"
#include "tests/unit/vectors.h"

static struct span bytes_span(const uint8_t *p, size_t n)
{
    return (struct span){(const char *)p, n};
}

static void test_keys(void **state)
{
    (void)state;
    json_t *file = vectors_load("signatures.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "keys"), i, row)
    {
        struct sign_key key;
        struct err err = {""};
        assert_int_equal(sign_key_parse(vectors_text(row, "text"), &key, &err), RC_OK);
        assert_true(span_eq(span_of(key.id), vectors_text(row, "id")));
        size_t n;
        uint8_t *expected = vectors_bytes(row, "hex", &n);
        assert_int_equal(key.key_bytes, n);
        assert_memory_equal(key.key, expected, n);
        free(expected);
        sign_key_wipe(&key);
        assert_int_equal(key.key[0] | key.key[n - 1] | key.id[0], 0);
    }
    json_decref(file);
}

/* A refused key is not taken, and its digits are not in the message. */
static void test_bad_keys(void **state)
{
    (void)state;
    json_t *file = vectors_load("signatures.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "bad_keys"), i, row)
    {
        struct sign_key key = {.key_bytes = 7};
        struct err err = {""};
        const struct span text = {json_string_value(row), json_string_length(row)};
        if (sign_key_parse(text, &key, &err) != RC_REJECT)
            fail_msg("taken: '%s'", text.p);
        assert_int_equal(key.key_bytes, 7);
        assert_true(strlen(err.text) > 20);
        assert_null(strstr(err.text, "00000000"));
    }
    json_decref(file);
}

static void test_headers_made(void **state)
{
    (void)state;
    json_t *file = vectors_load("signatures.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "signed"), i, row)
    {
        struct sign_key key;
        struct err err = {""};
        assert_int_equal(sign_key_parse(vectors_text(row, "key"), &key, &err), RC_OK);
        size_t n;
        uint8_t *value = vectors_bytes(row, "value", &n);
        char header[SIGN_HEADER_BYTES];
        const size_t length = sign_header(&key, bytes_span(value, n), header);
        const struct span expected = vectors_text(row, "header");
        assert_int_equal(length, expected.n);
        assert_string_equal(header, expected.p);
        free(value);
    }
    json_decref(file);
}

static void test_longest_header_fits(void **state)
{
    (void)state;
    struct sign_key key = {.key_bytes = SIGN_KEY_BYTES_MAX};
    memset(key.id, 'i', SIGN_KEY_ID_MAX);
    char header[SIGN_HEADER_BYTES];
    assert_int_equal(sign_header(&key, SPAN_LIT("x"), header), SIGN_HEADER_BYTES - 1);
}

static void test_checks(void **state)
{
    (void)state;
    json_t *file = vectors_load("signatures.json"), *row;
    struct sign_ring *ring = NULL;
    struct err err = {""};
    assert_int_equal(sign_ring_parse(vectors_text(file, "ring"), &ring, &err), RC_OK);
    size_t i;
    json_array_foreach(vectors_list(file, "checks"), i, row)
    {
        size_t n;
        uint8_t *value = vectors_bytes(row, "value", &n);
        const struct span text = vectors_text(row, "header");
        uint8_t *header = exact_copy(text.p, text.n);
        const bool valid = sign_verify(ring, vectors_text(row, "app"), bytes_span(header, text.n),
                                       bytes_span(value, n));
        if (valid != json_is_true(json_object_get(row, "valid")))
            fail_msg("check %zu is %s", i, valid ? "taken" : "refused");
        free(header);
        free(value);
    }
    const struct span absent = {NULL, 0};
    assert_false(sign_verify(ring, absent, absent, absent));
    assert_false(sign_verify(ring, SPAN_LIT("demo"), absent, absent));
    sign_ring_free(ring);
    json_decref(file);
}

static void test_bad_rings(void **state)
{
    (void)state;
    json_t *file = vectors_load("signatures.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "bad_rings"), i, row)
    {
        struct sign_ring *ring = NULL;
        struct err err = {""};
        assert_int_equal(sign_ring_parse(span_of(json_string_value(row)), &ring, &err), RC_REJECT);
        assert_null(ring);
        assert_true(strlen(err.text) > 10);
        assert_null(strstr(err.text, "00000000"));
    }
    json_decref(file);
}

static void test_empty_ring_knows_nobody(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n\n", "# nothing yet", "  \t\r\n#\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct sign_ring *ring = NULL;
        struct err err = {""};
        assert_int_equal(sign_ring_parse(span_of(texts[i]), &ring, &err), RC_OK);
        assert_false(sign_verify(ring, SPAN_LIT("demo"), SPAN_LIT("v1:k1:00"), SPAN_LIT("x")));
        assert_false(sign_ring_knows(ring, SPAN_LIT("demo")));
        assert_int_equal(sign_ring_count(ring), 0);
        sign_ring_free(ring);
    }
    sign_ring_free(NULL);
}

/* Every key of a ring of many is found, whatever order they were written in. */
static void test_many_keys(void **state)
{
    (void)state;
    enum { APPS = 200, LINE = 128 };
    static const char HEX[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d";
    char *text = calloc(APPS, LINE), *end = text;
    for (int i = 0; i < APPS; i++)
        end += snprintf(end, LINE, "app-%d k%d:%s%04x\n", i * 37 % APPS, i % 3, HEX, i * 37 % APPS);
    struct sign_ring *ring = NULL;
    struct err err = {""};
    assert_int_equal(sign_ring_parse(span_of(text), &ring, &err), RC_OK);
    const char *line = text;
    for (int i = 0; i < APPS; i++, line = strchr(line, '\n') + 1) {
        const size_t app_bytes = strcspn(line, " "), key_bytes = strcspn(line, "\n") - app_bytes;
        const struct span app = {line, app_bytes};
        struct sign_key key;
        assert_int_equal(sign_key_parse((struct span){line + app_bytes, key_bytes}, &key, &err),
                         RC_OK);
        char header[SIGN_HEADER_BYTES];
        const size_t n = sign_header(&key, SPAN_LIT("value"), header);
        assert_true(sign_verify(ring, app, (struct span){header, n}, SPAN_LIT("value")));
        assert_true(sign_ring_knows(ring, app));
        assert_false(sign_ring_knows(ring, SPAN_LIT("app-")));
        assert_false(sign_verify(ring, app, (struct span){header, n}, SPAN_LIT("valu3")));
        assert_false(
            sign_verify(ring, SPAN_LIT("app-"), (struct span){header, n}, SPAN_LIT("value")));
    }
    sign_ring_free(ring);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_headers_made),
        cmocka_unit_test(test_longest_header_fits),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_bad_rings),
        cmocka_unit_test(test_empty_ring_knows_nobody),
        cmocka_unit_test(test_many_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
