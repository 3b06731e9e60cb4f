/*
 * test_jobid.c - ids against the golden vectors, their bits, their order, their text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/jobid.h"
#include "tests/unit/vectors.h"

static const int64_t T = 1795000000123;

static void test_golden_ids(void **state)
{
    (void)state;
    json_t *file = vectors_load("ids.json");
    size_t i;
    json_t *row;
    json_array_foreach(vectors_list(file, "ids"), i, row)
    {
        const int64_t created = vectors_int(row, "created_at", -1);
        const struct span app = vectors_text(row, "app"), batch = vectors_text(row, "batch");
        const struct jobid job = jobid_make(created, app, batch, vectors_text(row, "custom_id"),
                                            (uint32_t)vectors_int(row, "generation", -1));
        const struct jobid of_batch = batchid_make(created, app, batch);
        size_t n;
        uint8_t *expected = vectors_bytes(row, "job_id", &n);
        assert_int_equal(n, ID_BYTES);
        assert_memory_equal(job.b, expected, ID_BYTES);
        free(expected);
        expected = vectors_bytes(row, "batch_id", &n);
        assert_int_equal(n, ID_BYTES);
        assert_memory_equal(of_batch.b, expected, ID_BYTES);
        free(expected);

        assert_int_equal(jobid_ms(&job), created);
        assert_int_equal(job.b[6] >> 4, 7); /* version */
        assert_int_equal(job.b[8] >> 6, 2); /* variant */
        assert_false(jobid_eq(&job, &of_batch));
    }
    json_decref(file);
}

static void test_each_field_counts(void **state)
{
    (void)state;
    const struct span a = SPAN_LIT("a"), b = SPAN_LIT("b"), c = SPAN_LIT("c");
    const struct jobid ids[] = {
        jobid_make(T, a, b, c, 0),
        jobid_make(T + 1, a, b, c, 0),
        jobid_make(T, b, b, c, 0),
        jobid_make(T, a, c, c, 0),
        jobid_make(T, a, b, b, 0),
        jobid_make(T, a, b, c, 1),
        jobid_make(T, SPAN_LIT("ab"), SPAN_LIT(""), c, 0),
        jobid_make(T, SPAN_LIT(""), SPAN_LIT("ab"), c, 0),
        jobid_make(T, a, SPAN_LIT("bc"), SPAN_LIT(""), 0),
        jobid_make(T, a, SPAN_LIT(""), SPAN_LIT("bc"), 0),
    };
    const size_t count = sizeof ids / sizeof ids[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < count; k++) {
            assert_int_equal(jobid_eq(&ids[i], &ids[k]), i == k);
            assert_int_equal(jobid_cmp(&ids[i], &ids[k]) == 0, i == k);
        }
    }
    assert_true(jobid_cmp(&ids[0], &ids[1]) < 0); /* time comes first */
    assert_true(jobid_cmp(&ids[1], &ids[2]) > 0);
}

static void test_text_and_back(void **state)
{
    (void)state;
    const struct jobid id = {{0x01, 0xa1, 0xee, 0x83, 0x60, 0x7b, 0x72, 0x34, 0x9a, 0xbc, 0xde,
                              0xf0, 0x00, 0xff, 0x10, 0x09}};
    char text[ID_TEXT_BYTES];
    jobid_text(&id, text);
    assert_string_equal(text, "01a1ee83-607b-7234-9abc-def000ff1009");
    struct jobid back;
    assert_true(jobid_parse(text, &back));
    assert_true(jobid_eq(&id, &back));
    assert_true(jobid_parse("01A1EE83-607B-7234-9aBc-DEF000FF1009", &back));
    assert_true(jobid_eq(&id, &back));
}

static void test_refused_text(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "-",
        "01a1ee83",
        "01a1ee83-607b-7234-9abc-def000ff100",
        "01a1ee83-607b-7234-9abc-def000ff10091",
        "01a1ee83-607b-7234-9abc-def000ff100g",
        "g1a1ee83-607b-7234-9abc-def000ff1009",
        "01a1ee83607b72349abcdef000ff1009",
        "01a1ee83607b72349abcdef000ff10090000",
        "01a1ee83-607b-7234-9abcd-ef000ff1009",
        "01a1ee83-607b-7234-9abc_def000ff1009",
        "{1a1ee83-607b-7234-9abc-def000ff1009",
        " 1a1ee83-607b-7234-9abc-def000ff1009",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct jobid id = {{7}};
        char *exact = (char *)exact_copy(bad[i], strlen(bad[i]) + 1);
        assert_false(jobid_parse(exact, &id));
        assert_int_equal(id.b[0], 7); /* untouched */
        free(exact);
    }
}

/* A table of any power of two must fill evenly, by its low bits and by its high ones. */
static void test_hash_spreads(void **state)
{
    (void)state;
    enum { BUCKETS = 256, IDS = 256 * 64 };
    static int low[BUCKETS], high[BUCKETS];
    for (uint32_t i = 0; i < IDS; i++) {
        const struct jobid id = jobid_make(T, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), i);
        const uint64_t hash = jobid_hash(&id);
        low[hash % BUCKETS]++;
        high[hash >> 56]++;
    }
    for (int i = 0; i < BUCKETS; i++) { /* 64 expected, standard deviation 8 */
        assert_in_range(low[i], 24, 104);
        assert_in_range(high[i], 24, 104);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_ids),    cmocka_unit_test(test_each_field_counts),
        cmocka_unit_test(test_text_and_back), cmocka_unit_test(test_refused_text),
        cmocka_unit_test(test_hash_spreads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
