/*
 * test_mp_read.c - the cursor against the specification's heads, against lies about counts and
 * lengths, and against msgpack-c's own reader.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <msgpack.h>

#include "common/buf.h"
#include "common/mp_read.h"
#include "common/mp_write.h"
#include "tests/unit/vectors.h"

struct row {
    const char *bytes;
    size_t n;
    enum mp_type type;
    uint64_t u;
    size_t payload; /* length of it */
};

#define ROW(s, type, u, payload)                   \
    {                                              \
        (s), sizeof(s) - 1, (type), (u), (payload) \
    }

static const struct row scalars[] = {
    ROW("\x00", MP_UINT, 0, 0),
    ROW("\x7f", MP_UINT, 127, 0),
    ROW("\xe0", MP_NEGATIVE, (uint64_t)-32, 0),
    ROW("\xff", MP_NEGATIVE, (uint64_t)-1, 0),
    ROW("\xc0", MP_NIL, 0, 0),
    ROW("\xc2", MP_BOOL, 0, 0),
    ROW("\xc3", MP_BOOL, 1, 0),
    ROW("\xcc\xff", MP_UINT, 255, 0),
    ROW("\xcd\x01\x02", MP_UINT, 0x0102, 0),
    ROW("\xce\x01\x02\x03\x04", MP_UINT, 0x01020304, 0),
    ROW("\xcf\xff\xff\xff\xff\xff\xff\xff\xff", MP_UINT, UINT64_MAX, 0),
    ROW("\xd0\x05", MP_UINT, 5, 0),
    ROW("\xd0\x80", MP_NEGATIVE, (uint64_t)-128, 0),
    ROW("\xd1\xff\xfe", MP_NEGATIVE, (uint64_t)-2, 0),
    ROW("\xd1\x7f\xff", MP_UINT, 32767, 0),
    ROW("\xd2\x80\x00\x00\x00", MP_NEGATIVE, (uint64_t)INT32_MIN, 0),
    ROW("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", MP_NEGATIVE, (uint64_t)INT64_MIN, 0),
    ROW("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", MP_UINT, INT64_MAX, 0),
    ROW("\xca\x00\x00\x00\x00", MP_FLOAT, 0, 0),
    ROW("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", MP_FLOAT, 0, 0),
    ROW("\xa0", MP_STR, 0, 0),
    ROW("\xa3"
        "abc",
        MP_STR, 0, 3),
    ROW("\xd9\x03"
        "abc",
        MP_STR, 0, 3),
    ROW("\xda\x00\x03"
        "abc",
        MP_STR, 0, 3),
    ROW("\xdb\x00\x00\x00\x03"
        "abc",
        MP_STR, 0, 3),
    ROW("\xc4\x02"
        "ab",
        MP_BIN, 0, 2),
    ROW("\xc5\x00\x02"
        "ab",
        MP_BIN, 0, 2),
    ROW("\xc6\x00\x00\x00\x02"
        "ab",
        MP_BIN, 0, 2),
    ROW("\xc7\x03\x09"
        "abc",
        MP_EXT, 0, 3),
    ROW("\xc8\x00\x03\x09"
        "abc",
        MP_EXT, 0, 3),
    ROW("\xc9\x00\x00\x00\x03\x09"
        "abc",
        MP_EXT, 0, 3),
    ROW("\xd4\x09"
        "a",
        MP_EXT, 0, 1),
    ROW("\xd5\x09"
        "ab",
        MP_EXT, 0, 2),
    ROW("\xd6\x09"
        "abcd",
        MP_EXT, 0, 4),
    ROW("\xd7\x09"
        "abcdabcd",
        MP_EXT, 0, 8),
    ROW("\xd8\x09"
        "abcdabcdabcdabcd",
        MP_EXT, 0, 16),
};

static enum mp_fault check(const void *p, size_t n)
{
    uint8_t *exact = exact_copy(p, n);
    const enum mp_fault fault = mp_check((struct span){(const char *)exact, n});
    free(exact);
    return fault;
}

static void test_scalars(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof scalars / sizeof scalars[0]; r++) {
        const struct row *row = &scalars[r];
        struct mp_cursor at = mp_cursor_of((struct span){row->bytes, row->n});
        struct mp_token token;
        assert_int_equal(mp_next(&at, &token), MP_OK);
        assert_ptr_equal(at.p, at.end);
        assert_int_equal(token.type, row->type);
        assert_int_equal(token.u, row->u);
        assert_int_equal(token.bytes.n, row->payload);
        if (row->payload > 0)
            assert_ptr_equal(token.bytes.p + token.bytes.n, row->bytes + row->n);
        assert_int_equal(check(row->bytes, row->n), MP_OK);
    }
}

/* Every prefix of every scalar is cut, and the cursor then stands where it stood. */
static void test_prefixes(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof scalars / sizeof scalars[0]; r++) {
        for (size_t n = 0; n < scalars[r].n; n++) {
            uint8_t *exact = exact_copy(scalars[r].bytes, n);
            struct mp_cursor at = {exact, exact + n};
            struct mp_token token;
            assert_int_equal(mp_next(&at, &token), MP_CUT);
            assert_int_equal(mp_skip(&at), MP_CUT);
            assert_ptr_equal(at.p, exact);
            free(exact);
        }
    }
}

static void test_containers(void **state)
{
    (void)state;
    struct mp_cursor at = mp_cursor_of(SPAN_LIT("\x82\x01\x92\x02\x03\x04\x80\x05"));
    struct mp_token token;
    assert_int_equal(mp_next(&at, &token), MP_OK);
    assert_int_equal(token.type, MP_MAP);
    assert_int_equal(token.u, 2);
    assert_int_equal(mp_next(&at, &token), MP_OK);
    assert_int_equal(token.u, 1);
    assert_int_equal(mp_skip(&at), MP_OK); /* [2, 3] */
    assert_int_equal(mp_next(&at, &token), MP_OK);
    assert_int_equal(token.u, 4);
    assert_int_equal(mp_next(&at, &token), MP_OK);
    assert_int_equal(token.type, MP_MAP);
    assert_int_equal(token.u, 0);
    assert_int_equal(at.end - at.p, 1);

    assert_int_equal(check("\xdc\x00\x02\x01\x02", 5), MP_OK);
    assert_int_equal(check("\xdd\x00\x00\x00\x02\x01\x02", 7), MP_OK);
    assert_int_equal(check("\xde\x00\x01\x01\x02", 5), MP_OK);
    assert_int_equal(check("\xdf\x00\x00\x00\x01\x01\x02", 7), MP_OK);
    assert_int_equal(check("\xdf\x00\x00\x00\x01\x01", 6), MP_CUT); /* half a pair */
}

static void test_faults(void **state)
{
    (void)state;
    assert_int_equal(check("", 0), MP_CUT);
    assert_int_equal(mp_check((struct span){NULL, 0}), MP_CUT);
    assert_int_equal(check("\xc1", 1), MP_NOT_MSGPACK);
    assert_int_equal(check("\x91\xc1", 2), MP_NOT_MSGPACK);
    assert_int_equal(check("\x01\x02", 2), MP_TRAILING);
    assert_int_equal(check("\xdd\x04\x00\x00\x00", 5), MP_CUT);
    assert_int_equal(check("\xdd\xff\xff\xff\xff\x01", 6), MP_CUT);
    assert_int_equal(check("\xdf\xff\xff\xff\xff\x01", 6), MP_CUT);
    assert_int_equal(check("\xdf\x80\x00\x00\x00", 5), MP_CUT); /* 2^31 pairs are 2^32 items */
    assert_int_equal(check("\xc6\xff\xff\xff\xff", 5), MP_CUT);
    assert_int_equal(check("\xc9\xff\xff\xff\xff\x01", 6), MP_CUT);
    for (int fault = MP_OK; fault <= MP_TRAILING; fault++)
        assert_string_not_equal(mp_fault_text((enum mp_fault)fault), "unknown");
    for (int type = MP_NIL; type <= MP_MAP; type++)
        assert_string_not_equal(mp_type_name((enum mp_type)type), "unknown");
}

static void test_depth(void **state)
{
    (void)state;
    uint8_t bytes[MP_DEPTH_MAX + 2];
    for (int map = 0; map < 2; map++) {
        memset(bytes, 0x91, sizeof bytes);
        bytes[MP_DEPTH_MAX - 1] = map ? 0x80 : 0x90;
        assert_int_equal(check(bytes, MP_DEPTH_MAX), MP_OK);
        bytes[MP_DEPTH_MAX - 1] = 0x91;
        bytes[MP_DEPTH_MAX] = map ? 0x80 : 0x90;
        assert_int_equal(check(bytes, MP_DEPTH_MAX + 1), MP_DEEP);
    }
    /* Depth is what is open at once: many brothers are not deep. */
    uint8_t wide[1000] = {0xdc, 0x03, 0xe5};
    memset(wide + 3, 0x90, sizeof wide - 3);
    assert_int_equal(check(wide, sizeof wide), MP_OK);
}

static bool msgpack_c_takes(const void *p, size_t n)
{
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t end = 0;
    const msgpack_unpack_return rc = msgpack_unpack_next(&unpacked, p, n, &end);
    msgpack_unpacked_destroy(&unpacked);
    return rc == MSGPACK_UNPACK_SUCCESS && end == n;
}

/* What the cursor takes, msgpack-c takes too, over good messages with one byte changed. (The other
 * way round cannot be asked: msgpack-c would reserve what the bytes promise.) */
static void test_agrees_with_msgpack_c(void **state)
{
    (void)state;
    json_t *file = vectors_load("job.json"), *row;
    size_t i, taken = 0;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        const size_t step = n / 300 + 1;
        for (size_t at = 0; at < n; at += step) {
            const uint8_t kept = bytes[at];
            bytes[at] = (uint8_t)(kept * 31u + 0xb7u + i);
            if (mp_check((struct span){(const char *)bytes, n}) == MP_OK) {
                assert_true(msgpack_c_takes(bytes, n));
                taken++;
            }
            bytes[at] = kept;
        }
        assert_true(msgpack_c_takes(bytes, n));
        free(bytes);
    }
    assert_true(taken > 1000); /* else it compared nothing */
    json_decref(file);
}

static void test_writes_shortest(void **state)
{
    (void)state;
    static const char EXPECTED[] = "\x82\xa1k\xcd\x01\x00\xa0\x93\xff\xc4\x02\x00\xff\xd9\x20"
                                   "0123456789abcdef0123456789abcdef";
    struct buf out;
    buf_init(&out, 100);
    mp_put_map(&out, 2);
    mp_put_str(&out, SPAN_LIT("k"));
    mp_put_int(&out, 256);
    mp_put_str(&out, (struct span){NULL, 0});
    mp_put_array(&out, 3);
    mp_put_int(&out, -1);
    mp_put_bin(&out, SPAN_LIT("\x00\xff"));
    mp_put_str(&out, SPAN_LIT("0123456789abcdef0123456789abcdef"));
    assert_false(out.failed);
    assert_true(span_eq(buf_span(&out), SPAN_LIT(EXPECTED)));
    mp_put_bin(&out, (struct span){EXPECTED, sizeof EXPECTED});
    mp_put_bin(&out, (struct span){EXPECTED, sizeof EXPECTED});
    assert_true(out.failed); /* past 100 bytes */
    buf_reset(&out);
    mp_put_str(&out, (struct span){EXPECTED, (size_t)UINT32_MAX + 1}); /* not looked at */
    assert_true(out.failed);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),         cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_containers),      cmocka_unit_test(test_faults),
        cmocka_unit_test(test_depth),           cmocka_unit_test(test_agrees_with_msgpack_c),
        cmocka_unit_test(test_writes_shortest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
