/*
 * test_offsets.c - the watermark: never beyond an undone record, in any order of finishing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/offsets.h"

static uint64_t add(struct offsets *o, int64_t offset)
{
    struct err err = {0};
    uint64_t ticket = 0;
    assert_int_equal(offsets_add(o, offset, &ticket, &err), RC_OK);
    return ticket;
}

static void test_holes_and_order(void **state)
{
    (void)state;
    struct offsets *o = offsets_new();
    uint64_t oldest;
    assert_int_equal(offsets_watermark(o), -1);
    assert_false(offsets_oldest(o, &oldest));
    static const int64_t at[] = {7, 8, 11, 40}; /* control records leave holes */
    uint64_t t[4];
    for (int i = 0; i < 4; i++)
        t[i] = add(o, at[i]);
    for (int i = 1; i < 4; i++)
        assert_int_equal(t[i], t[i - 1] + 1);
    assert_int_equal(offsets_span(o), 4);

    assert_false(offsets_finish(o, t[2]));
    assert_false(offsets_finish(o, t[2])); /* again: harmless */
    assert_int_equal(offsets_watermark(o), -1);
    assert_int_equal(offsets_undone(o), 3);
    assert_true(offsets_finish(o, t[0]));
    assert_int_equal(offsets_watermark(o), 8);
    assert_false(offsets_finish(o, t[0]));
    assert_true(offsets_oldest(o, &oldest));
    assert_int_equal(oldest, t[1]);
    assert_true(offsets_finish(o, t[1]));
    assert_int_equal(offsets_watermark(o), 12);
    assert_int_equal(offsets_span(o), 1);
    assert_true(offsets_finish(o, t[3]));
    assert_int_equal(offsets_watermark(o), 41);
    assert_int_equal(offsets_undone(o), 0);
    assert_false(offsets_oldest(o, &oldest));
    assert_false(offsets_finish(o, t[3] + 1)); /* never given */
    offsets_free(o);
    offsets_free(NULL);
}

static void test_rewound(void **state)
{
    (void)state;
    static const int64_t bad[] = {-1, 0, 4, 5};
    struct offsets *o = offsets_new();
    uint64_t ticket = add(o, 5), same = 99;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        assert_int_equal(offsets_add(o, bad[i], &same, &err), RC_REJECT);
        assert_int_equal(same, 99);
        assert_true(err.text[0]);
    }
    assert_true(offsets_finish(o, ticket)); /* done, and still not to be seen again */
    assert_int_equal(offsets_add(o, 5, &same, NULL), RC_REJECT);
    assert_int_equal(add(o, 6), ticket + 1);
    offsets_free(o);
}

/* Against a plain array: random holes, random order of finishing, a window that grows and shrinks.
 */
static void test_against_model(void **state)
{
    (void)state;
    enum { RECORDS = 20000 };
    int64_t *offset = calloc(RECORDS, sizeof *offset);
    bool *done = calloc(RECORDS, sizeof *done);
    struct offsets *o = offsets_new();
    uint64_t first = 0;
    int count = 0, low = 0, undone = 0;
    int64_t at = 0, watermark = -1;
    srand(1);
    while (low < RECORDS) {
        bool may_add = count < RECORDS;
        if (may_add && (count == low || rand() % 100 < (count / 4000 % 2 ? 45 : 60))) {
            at += 1 + rand() % 3;
            uint64_t ticket = add(o, at);
            first = count == 0 ? ticket : first;
            assert_int_equal(ticket, first + (uint64_t)count);
            offset[count++] = at;
            undone++;
        } else {
            int i = low + rand() % (count - low);
            bool moves = i == low && !done[i];
            undone -= !done[i];
            done[i] = true;
            for (; low < count && done[low]; low++)
                watermark = offset[low] + 1;
            assert_int_equal(offsets_finish(o, first + (uint64_t)i), moves);
        }
        assert_int_equal(offsets_watermark(o), watermark);
        assert_int_equal(offsets_span(o), count - low);
        assert_int_equal(offsets_undone(o), undone);
    }
    offsets_free(o);
    free(offset);
    free(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_holes_and_order),
        cmocka_unit_test(test_rewound),
        cmocka_unit_test(test_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
