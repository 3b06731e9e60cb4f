/*
 * test_requeue_msg.c - the next generation of a message: what changes, what stays, what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/csv.h"
#include "admin/requeue_msg.h"
#include "admin/results_fields.h"
#include "common/codes.h"

static const int64_t T = 1795000000123;

static struct job_msg sample(uint32_t generation, int64_t deadline_ms)
{
    struct span app = SPAN_LIT("pipe"), batch = SPAN_LIT("night"), custom_id = SPAN_LIT("c1");
    return (struct job_msg){
        .job_id = jobid_make(T, app, batch, custom_id, generation),
        .batch_id = batchid_make(T, app, batch),
        .batch = batch,
        .custom_id = custom_id,
        .app = app,
        .task = SPAN_LIT("sum"),
        .priority = PRIORITY_LOW,
        .url = SPAN_LIT("/v1/chat/completions"),
        .body = SPAN_LIT("{\"model\":\"m\"}"),
        .created_at_ms = T,
        .deadline_ms = deadline_ms,
        .max_attempts = 5,
        .max_cost_nusd = 77,
        .generation = generation,
    };
}

static void encode(const struct job_msg *msg, struct buf *out)
{
    struct err err;
    buf_init(out, JOB_MSG_BYTES_MAX);
    assert_int_equal(job_msg_encode(msg, out, &err), RC_OK);
}

static void check_new(const struct job_msg *new, const struct job_msg *old, int64_t deadline_ms)
{
    struct jobid id = jobid_make(T, old->app, old->batch, old->custom_id, old->generation + 1);
    assert_true(jobid_eq(&new->job_id, &id));
    assert_true(job_msg_id_matches(new));
    assert_int_equal(new->generation, old->generation + 1);
    assert_int_equal(new->deadline_ms, deadline_ms);
    assert_true(jobid_eq(&new->batch_id, &old->batch_id));
    assert_true(span_eq(new->body, old->body) && span_eq(new->task, old->task));
    assert_int_equal(new->priority, old->priority);
    assert_int_equal(new->max_attempts, 5);
    assert_int_equal(new->max_cost_nusd, 77);
}

static void test_next_generation(void **state)
{
    (void)state;
    const struct {
        uint32_t generation;
        int64_t old_ms, asked_ms, new_ms;
    } rows[] = {
        {0, 0, DEADLINE_KEEP, 0},          {7, T + 5000, DEADLINE_KEEP, T + 5000},
        {0, T + 5000, DEADLINE_NONE, 0},   {0, T - 5000, DEADLINE_NONE, 0},
        {0, T - 5000, T + 9000, T + 9000}, {0, 0, T + 9000, T + 9000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct err err;
        struct buf payload, out;
        struct job_msg old = sample(rows[i].generation, rows[i].old_ms), new;
        encode(&old, &payload);
        buf_init(&out, JOB_MSG_BYTES_MAX);
        const struct requeue_change change = {.deadline_ms = rows[i].asked_ms};
        assert_int_equal(
            requeue_msg(buf_span(&payload), &old.job_id, &change, T + 1000, &out, &new, &err),
            RC_OK);
        check_new(&new, &old, rows[i].new_ms);
        buf_done(&payload);
        buf_done(&out);
    }
}

static void test_another_body(void **state)
{
    (void)state;
    for (int other_prompt = 0; other_prompt < 2; other_prompt++) {
        struct err err;
        struct buf payload, out;
        struct job_msg old = sample(0, 0), new;
        old.prompt_version = SPAN_LIT("p7");
        const struct requeue_change change = {.deadline_ms = DEADLINE_KEEP,
                                              .body = SPAN_LIT("{\"model\":\"other\"}"),
                                              .other_prompt = other_prompt};
        encode(&old, &payload);
        buf_init(&out, JOB_MSG_BYTES_MAX);
        assert_int_equal(
            requeue_msg(buf_span(&payload), &old.job_id, &change, T + 1000, &out, &new, &err),
            RC_OK);
        assert_true(span_eq(new.body, change.body));
        assert_int_equal(new.prompt_version.p != NULL, !other_prompt);
        new.body = old.body;
        check_new(&new, &old, 0);
        buf_done(&payload);
        buf_done(&out);
    }
}

static void test_a_body_that_no_job_may_have(void **state)
{
    (void)state;
    struct err err;
    struct buf payload, out, body;
    struct job_msg old = sample(0, 0), new;
    buf_init(&body, JOB_MSG_BYTES_MAX);
    encode(&old, &payload);
    buf_init(&out, 2 * JOB_MSG_BYTES_MAX);
    memset(buf_room(&body, JOB_MSG_BYTES_MAX), ' ', JOB_MSG_BYTES_MAX);
    body.n = JOB_MSG_BYTES_MAX;
    const struct requeue_change change = {.deadline_ms = DEADLINE_KEEP, .body = buf_span(&body)};
    assert_int_equal(
        requeue_msg(buf_span(&payload), &old.job_id, &change, T + 1000, &out, &new, &err),
        RC_REJECT);
    assert_non_null(strstr(err.text, "its new message is no job"));
    buf_done(&payload);
    buf_done(&out);
    buf_done(&body);
}

static void check_refused(struct span payload, const struct jobid *id, const char *said)
{
    struct err err;
    struct buf out;
    struct job_msg new;
    const struct requeue_change change = {.deadline_ms = DEADLINE_KEEP};
    buf_init(&out, JOB_MSG_BYTES_MAX);
    assert_int_equal(requeue_msg(payload, id, &change, T + 1000, &out, &new, &err), RC_REJECT);
    assert_non_null(strstr(err.text, said));
    buf_done(&out);
}

static void test_refusals(void **state)
{
    (void)state;
    struct buf payload;
    struct job_msg msg = sample(0, T + 999);
    struct jobid other = jobid_make(T, SPAN_LIT("a"), SPAN_LIT("b"), SPAN_LIT("c"), 0);

    encode(&msg, &payload);
    check_refused(buf_span(&payload), &msg.job_id, "its deadline was 2026-");
    check_refused(buf_span(&payload), &other, "another job than the letter says");
    check_refused((struct span){payload.p, payload.n - 1}, &msg.job_id, "its payload is no job");
    check_refused(SPAN_LIT(""), &msg.job_id, "its payload is no job");
    buf_done(&payload);

    msg = sample(UINT32_MAX, 0);
    encode(&msg, &payload);
    check_refused(buf_span(&payload), &msg.job_id, "no generations left");
    buf_done(&payload);

    msg = sample(0, 0);
    msg.job_id = other; /* an id that does not follow from the fields */
    encode(&msg, &payload);
    check_refused(buf_span(&payload), &other, "another job than the letter says");
    buf_done(&payload);
}

static void test_priority(void **state)
{
    (void)state;
    assert_int_equal(requeue_lane(PRIORITY_HIGH, PRIORITY_LOW), PRIORITY_HIGH);
    assert_int_equal(requeue_lane(7, PRIORITY_LOW), 7);
    assert_int_equal(requeue_lane(-1, PRIORITY_LOW), PRIORITY_LOW);
    assert_int_equal(requeue_lane(-1, -1), PRIORITY_NORMAL);
}

/* ---- results' fields ---------------------------------------------------------------------- */

static void test_fields(void **state)
{
    (void)state;
    struct err err;
    struct field_list list;
    assert_int_equal(fields_parse("status,custom_id", &list, &err), RC_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.all[0]->name, "status");
    assert_string_equal(list.all[1]->name, "custom_id");
    assert_int_equal(fields_parse(NULL, &list, &err), RC_OK);
    assert_true(list.count > 20);
    for (int i = 0; i < list.count; i++)
        assert_true(list.all[i]->standard);
    const char *const bad[] = {"", "status,", ",status", "status,status", "statuss", "Status"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(fields_parse(bad[i], &list, &err), RC_REJECT);
}

static void test_every_field_can_be_asked_for(void **state)
{
    (void)state;
    int count = 0;
    for (const struct field *f = fields_table; f->name; f++, count++) {
        struct err err;
        struct field_list list;
        assert_int_equal(fields_parse(f->name, &list, &err), RC_OK);
        assert_ptr_equal(list.all[0], f);
        assert_true((f->type == FIELD_CODE) == (f->code_name != NULL));
    }
    assert_true(count <= RESULTS_FIELDS_MAX);
}

static void check_csv(struct span value, const char *want)
{
    struct buf out;
    buf_init(&out, 1024);
    csv_add(&out, value);
    assert_true(span_is(buf_span(&out), want));
    buf_done(&out);
}

static void test_csv(void **state)
{
    (void)state;
    check_csv((struct span){0}, "");
    check_csv(SPAN_LIT(""), "\"\"");
    check_csv(SPAN_LIT("plain text"), "plain text");
    check_csv(SPAN_LIT("a,b"), "\"a,b\"");
    check_csv(SPAN_LIT("a\nb"), "\"a\nb\"");
    check_csv(SPAN_LIT("a\rb"), "\"a\rb\"");
    check_csv(SPAN_LIT("\"a\" \"b\""), "\"\"\"a\"\" \"\"b\"\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_generation),
        cmocka_unit_test(test_another_body),
        cmocka_unit_test(test_a_body_that_no_job_may_have),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_every_field_can_be_asked_for),
        cmocka_unit_test(test_csv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
