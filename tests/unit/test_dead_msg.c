/*
 * test_dead_msg.c - the dead-letter message against the golden vectors and against damage.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/codes.h"
#include "common/dead_msg.h"
#include "tests/unit/vectors.h"

static void assert_text(const json_t *fields, const char *key, struct span got)
{
    assert_true(same_span(vectors_text(fields, key), got));
}

static void assert_fields(const json_t *fields, const struct dead_msg *msg)
{
    assert_int_equal(msg->dead_id, vectors_int(fields, "dead_id", -1));
    struct jobid id = {{0}};
    size_t n = 0;
    if (vectors_text(fields, "job_id").p) {
        uint8_t *bytes = vectors_bytes(fields, "job_id", &n);
        assert_int_equal(n, ID_BYTES);
        memcpy(id.b, bytes, ID_BYTES);
        free(bytes);
    }
    assert_true(jobid_eq(&id, &msg->job_id));
    assert_text(fields, "app", msg->app);
    assert_text(fields, "task", msg->task);
    assert_text(fields, "custom_id", msg->custom_id);
    assert_int_equal(msg->class_code, vectors_int(fields, "class", -1));
    assert_text(fields, "reason", msg->reason);
    assert_int_equal(msg->attempts, vectors_int(fields, "attempts", -1));
    assert_text(fields, "model_version", msg->model_version);
    assert_text(fields, "topic", msg->topic);
    assert_int_equal(msg->partition, vectors_int(fields, "partition", -1));
    assert_int_equal(msg->offset, vectors_int(fields, "offset", -1));
    assert_int_equal(msg->timestamp_ms, vectors_int(fields, "timestamp", 0));
    assert_int_equal(msg->died_at_ms, vectors_int(fields, "died_at", -1));
    uint8_t *payload = vectors_bytes(fields, "payload", &n);
    assert_int_equal(msg->payload.n, n);
    assert_memory_equal(msg->payload.p, payload, n);
    free(payload);
}

static void test_good_vectors(void **state)
{
    (void)state;
    json_t *file = vectors_load("dead.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        struct dead_msg msg;
        struct err err = {""};
        if (dead_msg_decode(bytes, n, &msg, &err) != RC_OK)
            fail_msg("%s: %s", vectors_text(row, "name").p, err.text);
        assert_fields(json_object_get(row, "fields"), &msg);
        if (json_is_true(json_object_get(row, "canonical"))) {
            struct buf out;
            buf_init(&out, n);
            assert_int_equal(dead_msg_encode(&msg, &out, &err), RC_OK);
            assert_int_equal(out.n, n);
            assert_memory_equal(out.p, bytes, n);
            buf_done(&out);
        }
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *exact = exact_copy(bytes, cut);
            assert_int_equal(dead_msg_decode(exact, cut, &msg, &err), RC_REJECT);
            free(exact);
        }
        free(bytes);
    }
    json_decref(file);
}

static void test_bad_vectors(void **state)
{
    (void)state;
    json_t *file = vectors_load("dead.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "bad"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        struct dead_msg msg = {.dead_id = 4711};
        struct err err = {""};
        if (dead_msg_decode(bytes, n, &msg, &err) != RC_REJECT)
            fail_msg("%s: taken", vectors_text(row, "name").p);
        assert_int_equal(msg.dead_id, 4711); /* untouched */
        assert_true(strlen(err.text) > 10);
        free(bytes);
    }
    json_decref(file);
}

/* Every byte changed: a verdict without a crash, and what is taken can be written again. */
static void test_every_byte_changed(void **state)
{
    (void)state;
    json_t *file = vectors_load("dead.json"), *row;
    size_t i, taken = 0;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        for (size_t at = 0; at < n; at++) {
            const uint8_t kept = bytes[at];
            for (int v = 0; v < 256; v++) {
                bytes[at] = (uint8_t)v;
                struct dead_msg msg;
                struct err err = {""};
                if (dead_msg_decode(bytes, n, &msg, &err) != RC_OK)
                    continue;
                struct buf out;
                buf_init(&out, n + 64); /* class_name may grow */
                assert_int_equal(dead_msg_encode(&msg, &out, &err), RC_OK);
                buf_done(&out);
                taken++;
            }
            bytes[at] = kept;
        }
        free(bytes);
    }
    assert_true(taken > 1000);
    json_decref(file);
}

static struct dead_msg sample(void)
{
    return (struct dead_msg){.dead_id = 1,
                             .class_code = CLASS_MALFORMED,
                             .died_at_ms = 5,
                             .payload = SPAN_LIT("\xc1"),
                             .partition = -1,
                             .offset = -1};
}

static void test_encode_refuses(void **state)
{
    (void)state;
    struct dead_msg bad[5];
    for (size_t i = 0; i < 5; i++)
        bad[i] = sample();
    bad[0].dead_id = -1;
    bad[1].attempts = -1;
    bad[2].reason = SPAN_LIT("a\0b");
    bad[3].app = SPAN_LIT("\xff");
    bad[4].topic = SPAN_LIT("t"); /* a topic without partition and offset */
    for (size_t i = 0; i < 5; i++) {
        struct buf out;
        struct err err = {""};
        buf_init(&out, 1000);
        assert_true(buf_add_text(&out, "ab"));
        assert_int_equal(dead_msg_encode(&bad[i], &out, &err), RC_REJECT);
        assert_int_equal(out.n, 2);
        assert_true(strlen(err.text) > 10);
        buf_done(&out);
    }
}

static void test_full_buffer(void **state)
{
    (void)state;
    const struct dead_msg msg = sample();
    struct buf whole, out;
    struct err err = {""};
    buf_init(&whole, 1000);
    assert_int_equal(dead_msg_encode(&msg, &whole, &err), RC_OK);
    for (size_t room = 0; room < whole.n; room++) {
        buf_init(&out, room);
        assert_int_equal(dead_msg_encode(&msg, &out, &err), RC_FULL);
        assert_int_equal(out.n, 0);
        buf_done(&out);
    }
    buf_done(&whole);
}

/* A record of any size that died must be sayable, also one that is too large for a job. */
static void test_large_payload(void **state)
{
    (void)state;
    const size_t n = 9 << 20;
    char *payload = calloc(1, n);
    assert_non_null(payload);
    struct dead_msg msg = sample(), got;
    msg.payload = (struct span){payload, n};
    struct buf out;
    struct err err = {""};
    buf_init(&out, n + 1000);
    assert_int_equal(dead_msg_encode(&msg, &out, &err), RC_OK);
    assert_int_equal(dead_msg_decode(out.p, out.n, &got, &err), RC_OK);
    assert_true(span_eq(got.payload, msg.payload));
    buf_done(&out);
    free(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_vectors),       cmocka_unit_test(test_bad_vectors),
        cmocka_unit_test(test_every_byte_changed), cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_full_buffer),        cmocka_unit_test(test_large_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
