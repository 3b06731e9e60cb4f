/*
 * test_encode.c - messages of a batch: what they say, and the exact limit of their size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "producer/encode.h"

enum { RECORD_MAX = 64 << 10, CREATED_MS = 1790000000 };

static void shared(struct encoder *e)
{
    encoder_init(e, RECORD_MAX);
    e->msg = (struct job_msg){.app = SPAN_LIT("a"),
                              .batch = SPAN_LIT("b"),
                              .priority = 1,
                              .created_at_ms = CREATED_MS,
                              .max_cost_nusd = -1,
                              .batch_id = batchid_make(CREATED_MS, SPAN_LIT("a"), SPAN_LIT("b"))};
}

static void test_says(void **state)
{
    struct encoder e;
    struct span value;
    struct job_msg msg;
    struct err err = {""};
    int class_code;
    (void)state;
    shared(&e);
    const struct draft draft = {.custom_id = SPAN_LIT("c"),
                                .url = SPAN_LIT("/v1/embeddings"),
                                .body = SPAN_LIT("{\"input\":\"q\"}")};
    assert_int_equal(encoder_job(&e, &draft, &value, &err), RC_OK);
    assert_int_equal(job_msg_decode(value.p, value.n, &msg, &class_code, &err), RC_OK);
    assert_true(job_msg_id_matches(&msg));
    assert_true(span_is(msg.custom_id, "c"));
    assert_true(span_is(msg.body, "{\"input\":\"q\"}"));
    assert_true(jobid_eq(&msg.job_id, &e.msg.job_id));
    struct jobid id = jobid_make(CREATED_MS, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), 0);
    assert_true(jobid_eq(&msg.job_id, &id));
    encoder_done(&e);
}

/* A body as large as fits, and one byte more. */
static void test_limit(void **state)
{
    struct encoder e;
    struct span value;
    struct err err = {""};
    (void)state;
    shared(&e);
    char *body = malloc(RECORD_MAX);
    assert_non_null(body);
    memset(body, ' ', RECORD_MAX);
    body[0] = '{';
    body[1] = '}';
    struct draft draft = {
        .custom_id = SPAN_LIT("c"), .url = SPAN_LIT("/v1/x"), .body = {body, RECORD_MAX / 2}};
    assert_int_equal(encoder_job(&e, &draft, &value, &err), RC_OK);
    draft.body.n += e.value_bytes_max - value.n; /* both lengths take three bytes in msgpack */
    assert_int_equal(encoder_job(&e, &draft, &value, &err), RC_OK);
    assert_int_equal(value.n, RECORD_MAX - ENCODE_HEADROOM_BYTES);
    draft.body.n++;
    assert_int_equal(encoder_job(&e, &draft, &value, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "at most 64512 fit"));
    assert_non_null(strstr(err.text, "1 bytes too long"));
    draft.body.n = RECORD_MAX;
    assert_int_equal(encoder_job(&e, &draft, &value, &err), RC_REJECT);
    free(body);
    encoder_done(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
