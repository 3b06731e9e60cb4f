/*
 * test_job_msg.c - the job message against the golden vectors, against damage of every kind, and
 * against itself: whatever is taken is written again, and read as the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/codes.h"
#include "common/job_msg.h"
#include "common/outspec.h"
#include "common/mp_read.h"
#include "common/mp_write.h"
#include "tests/unit/vectors.h"

/* ---- what a decoded message must be ------------------------------------------------------ */

static void assert_text(const json_t *fields, const char *key, struct span got)
{
    const struct span wanted = vectors_text(fields, key);
    if (!same_span(wanted, got))
        fail_msg("%s is '%.*s'", key, (int)got.n, got.p ? got.p : "");
}

static void assert_id(const json_t *fields, const char *key, const struct jobid *got)
{
    size_t n;
    uint8_t *wanted = vectors_bytes(fields, key, &n);
    assert_int_equal(n, ID_BYTES);
    assert_memory_equal(got->b, wanted, ID_BYTES);
    free(wanted);
}

static void assert_output(const json_t *fields, const struct job_msg *msg)
{
    static const char *const kinds[] = {"text", "json", "label"};
    const json_t *output = json_object_get(fields, "output");
    assert_text(output, "kind", span_of(kinds[msg->output_kind]));
    assert_text(output, "schema", msg->output_schema);
    const json_t *labels = json_object_get(output, "labels");
    assert_int_equal(json_is_array(labels), msg->output_kind == OUTPUT_LABEL);
    const size_t count = json_array_size(labels);
    assert_int_equal(msg->output_label_count, count);
    for (size_t i = 0; i < count; i++) {
        const struct span label = job_msg_label(msg, (uint32_t)i);
        assert_true(span_is(label, json_string_value(json_array_get(labels, i))));
    }
    assert_null(job_msg_label(msg, (uint32_t)count).p);
}

static void assert_tags(const json_t *fields, const struct job_msg *msg)
{
    const json_t *tags = json_object_get(fields, "tags");
    assert_int_equal(json_is_object(tags), msg->tags.p != NULL);
    if (!msg->tags.p)
        return;
    struct mp_cursor at = mp_cursor_of(msg->tags);
    struct mp_token map, key, value;
    assert_int_equal(mp_next(&at, &map), MP_OK);
    assert_int_equal(map.u, json_object_size(tags));
    for (uint64_t i = 0; i < map.u; i++) {
        assert_int_equal(mp_next(&at, &key), MP_OK);
        assert_int_equal(mp_next(&at, &value), MP_OK);
        char name[JOB_NAME_BYTES_MAX + 1] = "";
        memcpy(name, key.bytes.p, key.bytes.n);
        assert_true(same_span(vectors_text(tags, name), value.bytes));
    }
    assert_ptr_equal(at.p, at.end);
}

static void assert_fields(const json_t *fields, const struct job_msg *msg)
{
    assert_id(fields, "job_id", &msg->job_id);
    assert_id(fields, "batch_id", &msg->batch_id);
    assert_text(fields, "batch", msg->batch);
    assert_text(fields, "custom_id", msg->custom_id);
    assert_text(fields, "app", msg->app);
    assert_text(fields, "task", msg->task);
    assert_text(fields, "team", msg->team);
    const struct span priority = vectors_text(fields, "priority");
    assert_int_equal(msg->priority, priority.p ? priority_parse(priority.p) : -1);
    assert_text(fields, "url", msg->url);
    assert_text(fields, "body", msg->body);
    assert_output(fields, msg);
    assert_text(fields, "context_version", msg->context_version);
    assert_text(fields, "prompt_version", msg->prompt_version);
    assert_text(fields, "sensitivity", msg->sensitivity);
    assert_tags(fields, msg);
    assert_int_equal(msg->created_at_ms, vectors_int(fields, "created_at", -1));
    assert_int_equal(msg->deadline_ms, vectors_int(fields, "deadline", 0));
    assert_int_equal(msg->max_attempts, vectors_int(fields, "max_attempts", 0));
    assert_int_equal(msg->max_cost_nusd, vectors_int(fields, "max_cost", -1));
    assert_int_equal(msg->generation, vectors_int(fields, "generation", -1));
}

/* ---- golden vectors ---------------------------------------------------------------------- */

static void test_good_vectors(void **state)
{
    (void)state;
    json_t *file = vectors_load("job.json"), *row;
    size_t i, canonical = 0;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        struct job_msg msg;
        struct err err = {""};
        int class_code = CLASS_NONE;
        if (job_msg_decode(bytes, n, &msg, &class_code, &err) != RC_OK)
            fail_msg("%s: %s", vectors_text(row, "name").p, err.text);
        assert_int_equal(class_code, CLASS_NONE);
        assert_fields(json_object_get(row, "fields"), &msg);
        assert_int_equal(job_msg_id_matches(&msg),
                         json_is_true(json_object_get(row, "id_matches")));
        if (json_is_true(json_object_get(row, "canonical"))) {
            struct buf out;
            buf_init(&out, n); /* it fits exactly */
            assert_int_equal(job_msg_encode(&msg, &out, &err), RC_OK);
            assert_int_equal(out.n, n);
            assert_memory_equal(out.p, bytes, n);
            buf_done(&out);
            canonical++;
        }
        free(bytes);
    }
    assert_true(canonical > 10);
    json_decref(file);
}

static void test_bad_vectors(void **state)
{
    (void)state;
    json_t *file = vectors_load("job.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "bad"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        struct job_msg msg;
        struct err err = {""};
        int class_code = CLASS_NONE;
        if (job_msg_decode(bytes, n, &msg, &class_code, &err) != RC_REJECT)
            fail_msg("%s: taken", vectors_text(row, "name").p);
        if (class_code != class_parse(vectors_text(row, "class").p))
            fail_msg("%s: %s (%s)", vectors_text(row, "name").p, class_name(class_code), err.text);
        assert_true(strlen(err.text) > 5);
        free(bytes);
    }
    json_decref(file);
}

/* ---- damage ------------------------------------------------------------------------------- */

static void assert_inside(struct span s, const uint8_t *bytes, size_t n)
{
    const uint8_t *p = (const uint8_t *)s.p;
    if (p)
        assert_true(p >= bytes && p <= bytes + n && s.n <= n - (size_t)(p - bytes));
}

static void assert_same(const struct job_msg *a, const struct job_msg *b)
{
    assert_true(jobid_eq(&a->job_id, &b->job_id) && jobid_eq(&a->batch_id, &b->batch_id));
    assert_true(same_span(a->batch, b->batch) && same_span(a->custom_id, b->custom_id));
    assert_true(same_span(a->app, b->app) && same_span(a->task, b->task));
    assert_true(same_span(a->team, b->team) && same_span(a->url, b->url));
    assert_true(same_span(a->body, b->body) && same_span(a->output_schema, b->output_schema));
    assert_true(same_span(a->output_labels, b->output_labels) && same_span(a->tags, b->tags));
    assert_true(same_span(a->context_version, b->context_version));
    assert_true(same_span(a->prompt_version, b->prompt_version));
    assert_true(same_span(a->sensitivity, b->sensitivity));
    assert_true(a->priority == b->priority && a->output_kind == b->output_kind);
    assert_int_equal(a->output_label_count, b->output_label_count);
    assert_int_equal(a->created_at_ms, b->created_at_ms);
    assert_int_equal(a->deadline_ms, b->deadline_ms);
    assert_int_equal(a->max_attempts, b->max_attempts);
    assert_int_equal(a->max_cost_nusd, b->max_cost_nusd);
    assert_int_equal(a->generation, b->generation);
}

/* What holds for any bytes: a verdict; every span inside the input; what is taken can be written,
 * and is then read as the same. Returns whether it was taken. */
static bool survive(const uint8_t *bytes, size_t n)
{
    struct job_msg msg, again;
    struct err err = {""};
    int class_code = CLASS_NONE;
    const enum rc rc = job_msg_decode(bytes, n, &msg, &class_code, &err);
    const struct span spans[] = {msg.batch,
                                 msg.custom_id,
                                 msg.app,
                                 msg.task,
                                 msg.team,
                                 msg.url,
                                 msg.body,
                                 msg.output_schema,
                                 msg.output_labels,
                                 msg.tags,
                                 msg.context_version,
                                 msg.prompt_version,
                                 msg.sensitivity};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        assert_inside(spans[i], bytes, n);
    if (rc != RC_OK) {
        assert_int_equal(rc, RC_REJECT);
        assert_true(class_code == CLASS_MALFORMED || class_code == CLASS_INVALID_JOB);
        assert_true(err.text[0] != '\0');
        return false;
    }
    (void)job_msg_id_matches(&msg);
    for (uint32_t i = 0; i < msg.output_label_count; i++)
        assert_inside(job_msg_label(&msg, i), bytes, n);
    struct buf out;
    buf_init(&out, n);
    assert_int_equal(job_msg_encode(&msg, &out, &err), RC_OK);
    assert_int_equal(job_msg_decode(out.p, out.n, &again, &class_code, &err), RC_OK);
    assert_same(&msg, &again);
    buf_done(&out);
    return true;
}

static void test_every_truncation(void **state)
{
    (void)state;
    json_t *file = vectors_load("job.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *exact = exact_copy(bytes, cut);
            assert_false(survive(exact, cut));
            free(exact);
        }
        free(bytes);
    }
    json_decref(file);
}

/* Every byte becomes each of: one bit off, its complement, the ends of ranges, heads that lie. */
static void test_every_byte_changed(void **state)
{
    (void)state;
    static const uint8_t others[] = {0x00, 0x7f, 0x80, 0x8f, 0x9f, 0xa0, 0xc0, 0xc1,
                                     0xc6, 0xc9, 0xd3, 0xdb, 0xdd, 0xdf, 0xff};
    json_t *file = vectors_load("job.json"), *row;
    size_t i, taken = 0;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        for (size_t at = 0; at < n && n < 1000; at++) {
            const uint8_t kept = bytes[at];
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] = (uint8_t)(kept ^ 1 << bit);
                taken += survive(bytes, n);
            }
            for (size_t k = 0; k < sizeof others; k++) {
                bytes[at] = others[k];
                taken += survive(bytes, n);
            }
            bytes[at] = kept;
        }
        free(bytes);
    }
    assert_true(taken > 1000); /* a changed letter in a text is no damage */
    json_decref(file);
}

/* SplitMix64: the same mutations at every run. */
static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

struct samples {
    uint8_t *bytes[256];
    size_t n[256];
    size_t count;
};

static void load_samples(struct samples *samples)
{
    json_t *file = vectors_load("job.json"), *row;
    size_t i;
    json_array_foreach(vectors_list(file, "good"), i, row)
    {
        assert_true(samples->count < 256);
        samples->bytes[samples->count] = vectors_bytes(row, "hex", &samples->n[samples->count]);
        samples->count++;
    }
    json_decref(file);
}

/* One to four of: change a byte, cut the end, insert bytes, take bytes out, copy from another. */
static size_t mutate(const struct samples *samples, uint64_t *seed, uint8_t *bytes, size_t n)
{
    static const uint8_t heads[] = {0x80, 0x81, 0x90, 0x91, 0xa1, 0xc0, 0xc4, 0xcf, 0xd9, 0xdd};
    for (uint64_t left = 1 + next_random(seed) % 4; left > 0 && n > 16; left--) {
        const size_t at = next_random(seed) % n, k = next_random(seed) % samples->count;
        const size_t length = next_random(seed) % 8;
        switch (next_random(seed) % 6) {
        case 0:
            bytes[at] = (uint8_t)next_random(seed);
            break;
        case 1:
            bytes[at] = heads[next_random(seed) % sizeof heads];
            break;
        case 2:
            n -= length;
            break;
        case 3: /* the buffer has room for all four inserts */
            memmove(bytes + at + length, bytes + at, n - at);
            n += length;
            break;
        case 4:
            if (at + length < n) {
                memmove(bytes + at, bytes + at + length, n - at - length);
                n -= length;
            }
            break;
        default:
            if (at + length <= n && at + length <= samples->n[k])
                memcpy(bytes + at, samples->bytes[k] + at, length);
        }
    }
    return n;
}

static void test_mutations(void **state)
{
    (void)state;
    enum { ROUNDS = 200000, LONGEST = 1500, ROOM = LONGEST + 32 };
    struct samples samples = {.count = 0};
    load_samples(&samples);
    uint64_t seed = 20261121;
    size_t taken = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const size_t k = next_random(&seed) % samples.count;
        if (samples.n[k] > LONGEST)
            continue;
        uint8_t bytes[ROOM];
        memcpy(bytes, samples.bytes[k], samples.n[k]);
        const size_t n = mutate(&samples, &seed, bytes, samples.n[k]);
        uint8_t *exact = exact_copy(bytes, n);
        taken += survive(exact, n);
        free(exact);
    }
    assert_true(taken > 1000);
    for (size_t i = 0; i < samples.count; i++)
        free(samples.bytes[i]);
}

/* ---- bounds and failures ------------------------------------------------------------------ */

static struct job_msg sample_msg(void)
{
    struct job_msg msg = {
        .batch = SPAN_LIT("b"),
        .custom_id = SPAN_LIT("c"),
        .app = SPAN_LIT("demo"),
        .priority = -1,
        .url = SPAN_LIT("/v1/embeddings"),
        .body = SPAN_LIT("{}"),
        .created_at_ms = 1795000000123,
        .max_cost_nusd = -1,
    };
    msg.job_id = jobid_make(msg.created_at_ms, msg.app, msg.batch, msg.custom_id, 0);
    msg.batch_id = batchid_make(msg.created_at_ms, msg.app, msg.batch);
    return msg;
}

static enum rc encode(const struct job_msg *msg, struct buf *out)
{
    struct err err = {""};
    const enum rc rc = job_msg_encode(msg, out, &err);
    assert_int_equal(rc == RC_OK, err.text[0] == '\0');
    return rc;
}

/* The largest message there may be is taken, one byte more is not. */
static void test_largest_message(void **state)
{
    (void)state;
    struct job_msg msg = sample_msg(), got;
    struct buf out;
    buf_init(&out, JOB_MSG_BYTES_MAX + 100);
    assert_int_equal(encode(&msg, &out), RC_OK);
    const size_t rest = out.n - 2 + 3; /* all but the body; whose length takes 4 bytes, not 1 */
    char *body = malloc(JOB_MSG_BYTES_MAX);
    assert_non_null(body);
    memset(body, ' ', JOB_MSG_BYTES_MAX);
    body[0] = '{';
    msg.body = (struct span){body, JOB_MSG_BYTES_MAX - rest};
    body[msg.body.n - 1] = '}';
    buf_reset(&out);
    assert_int_equal(encode(&msg, &out), RC_OK);
    assert_int_equal(out.n, JOB_MSG_BYTES_MAX);
    int class_code = CLASS_NONE;
    struct err err = {""};
    assert_int_equal(job_msg_decode(out.p, out.n, &got, &class_code, &err), RC_OK);
    assert_int_equal(got.body.n, msg.body.n);

    body[msg.body.n++] = '}';
    buf_reset(&out);
    assert_int_equal(encode(&msg, &out), RC_REJECT);
    assert_int_equal(out.n, 0);
    free(body);
    buf_done(&out);
}

static void test_no_bytes(void **state)
{
    (void)state;
    struct job_msg msg;
    struct err err = {""};
    int class_code = CLASS_NONE;
    assert_int_equal(job_msg_decode(NULL, 0, &msg, &class_code, &err), RC_REJECT);
    assert_int_equal(class_code, CLASS_MALFORMED);
    assert_int_equal(job_msg_decode(NULL, 0, &msg, &class_code, NULL), RC_REJECT);
}

/* A refused job still says whose it was, if that stood there in order. */
static void test_refused_job_is_named(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    const struct job_msg msg = sample_msg();
    mp_put_map(&out, 5);
    mp_put_str(&out, SPAN_LIT("v"));
    mp_put_int(&out, 1);
    mp_put_str(&out, SPAN_LIT("body"));
    mp_put_str(&out, SPAN_LIT("as text"));
    mp_put_str(&out, SPAN_LIT("app"));
    mp_put_str(&out, msg.app);
    mp_put_str(&out, SPAN_LIT("job_id"));
    mp_put_bin(&out, (struct span){(const char *)msg.job_id.b, ID_BYTES});
    mp_put_str(&out, SPAN_LIT("custom_id"));
    mp_put_str(&out, SPAN_LIT("\xff"));
    struct job_msg got;
    struct err err = {""};
    int class_code = CLASS_NONE;
    assert_int_equal(job_msg_decode(out.p, out.n, &got, &class_code, &err), RC_REJECT);
    assert_int_equal(class_code, CLASS_INVALID_JOB);
    assert_string_equal(err.text, "key 'body' must be bin, and is str"); /* the first fault */
    assert_true(span_is(got.app, "demo"));
    assert_true(jobid_eq(&got.job_id, &msg.job_id));
    assert_null(got.custom_id.p); /* not UTF-8: nobody may store it */
    assert_null(got.body.p);
    assert_int_equal(got.priority, -1);
    assert_int_equal(got.max_cost_nusd, -1);
    buf_done(&out);
}

static void test_prompt_is_explained(void **state)
{
    (void)state;
    json_t *file = vectors_load("job.json"), *row;
    size_t i, found = 0;
    json_array_foreach(vectors_list(file, "bad"), i, row)
    {
        if (!span_is(vectors_text(row, "name"), "prompt instead of body"))
            continue;
        size_t n;
        uint8_t *bytes = vectors_bytes(row, "hex", &n);
        struct job_msg msg;
        struct err err = {""};
        int class_code = CLASS_NONE;
        assert_int_equal(job_msg_decode(bytes, n, &msg, &class_code, &err), RC_REJECT);
        assert_non_null(strstr(err.text, "not served by this version"));
        free(bytes);
        found++;
    }
    assert_int_equal(found, 1);
    json_decref(file);
}

/* Whatever room there is: it is written whole, or refused with the buffer as it was. */
static void test_full_buffer(void **state)
{
    (void)state;
    const struct job_msg msg = sample_msg();
    struct buf whole, out;
    buf_init(&whole, 1000);
    assert_int_equal(encode(&msg, &whole), RC_OK);
    for (size_t room = 0; room < whole.n; room++) {
        buf_init(&out, room + 3);
        assert_true(buf_add_text(&out, "abc"));
        assert_int_equal(encode(&msg, &out), RC_FULL);
        assert_int_equal(out.n, 3);
        assert_true(out.failed);
        buf_done(&out);
    }
    buf_done(&whole);
}

static void test_encode_refuses(void **state)
{
    (void)state;
    struct job_msg bad[12];
    for (size_t i = 0; i < 12; i++)
        bad[i] = sample_msg();
    bad[0].app = SPAN_LIT("");
    bad[1].custom_id = SPAN_LIT("a\0b");
    bad[2].body = SPAN_LIT("[]");
    bad[3].url = SPAN_LIT("v1");
    bad[4].created_at_ms = -1;
    bad[5].max_attempts = 101;
    bad[6].tags = SPAN_LIT("\x80\xa1x"); /* smuggles in more than one value */
    bad[7].tags = SPAN_LIT("\x81\xa1k\x01");
    bad[8].output_kind = OUTPUT_JSON; /* without a schema */
    bad[9].output_kind = OUTPUT_LABEL;
    bad[10].output_kind = OUTPUT_LABEL;
    bad[10].output_labels = SPAN_LIT("\x91\xa1"
                                     "a"
                                     "\xc0");
    bad[11].deadline_ms = -5;
    for (size_t i = 0; i < 12; i++) {
        struct buf out;
        buf_init(&out, 1000);
        if (encode(&bad[i], &out) != RC_REJECT)
            fail_msg("row %zu is taken", i);
        assert_int_equal(out.n, 0);
        assert_false(out.failed);
        buf_done(&out);
    }
}

static void test_schema_bound(void **state)
{
    (void)state;
    struct job_msg msg = sample_msg();
    char *schema = calloc(1, OUTSPEC_SCHEMA_BYTES_MAX + 1);
    assert_non_null(schema);
    memset(schema, ' ', OUTSPEC_SCHEMA_BYTES_MAX + 1);
    struct buf out;
    buf_init(&out, 1 << 20);
    msg.output_kind = OUTPUT_JSON;
    msg.output_schema = (struct span){schema, OUTSPEC_SCHEMA_BYTES_MAX};
    assert_int_equal(encode(&msg, &out), RC_OK);
    msg.output_schema.n++;
    assert_int_equal(encode(&msg, &out), RC_REJECT);
    buf_done(&out);
    free(schema);
}

static void test_labels_and_tags_written(void **state)
{
    (void)state;
    const struct span labels[] = {SPAN_LIT("yes"), SPAN_LIT("no"), SPAN_LIT("")};
    const struct span pairs[] = {SPAN_LIT("site"), SPAN_LIT("muc"),  SPAN_LIT("kind"),
                                 SPAN_LIT(""),     SPAN_LIT("site"), SPAN_LIT("ber")};
    struct buf out;
    struct err err = {""};
    buf_init(&out, 60);
    assert_true(buf_add_text(&out, "ab"));
    assert_int_equal(job_msg_labels_encode(labels, 2, &out, &err), RC_OK);
    assert_true(span_is(buf_span(&out), "ab\x92\xa3yes\xa2no"));
    assert_int_equal(job_msg_labels_encode(labels, 3, &out, &err), RC_REJECT); /* an empty one */
    assert_int_equal(job_msg_labels_encode(labels, 0, &out, &err), RC_REJECT);
    assert_int_equal(out.n, 10);
    assert_int_equal(job_msg_tags_encode(pairs, 2, &out, &err), RC_OK);
    assert_true(span_is(buf_span(&out), "ab\x92\xa3yes\xa2no\x82\xa4site\xa3muc\xa4kind\xa0"));
    assert_int_equal(job_msg_tags_encode(pairs, 3, &out, &err), RC_REJECT); /* site twice */
    assert_int_equal(out.n, 26);
    buf_done(&out);

    buf_init(&out, 8);
    assert_int_equal(job_msg_tags_encode(pairs, 2, &out, &err), RC_FULL);
    assert_int_equal(job_msg_labels_encode(labels, 2, &out, &err), RC_FULL);
    assert_int_equal(out.n, 0);
    buf_reset(&out);
    assert_int_equal(job_msg_tags_encode(NULL, 0, &out, &err), RC_OK);
    assert_true(span_is(buf_span(&out), "\x80"));
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_vectors),
        cmocka_unit_test(test_bad_vectors),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_largest_message),
        cmocka_unit_test(test_no_bytes),
        cmocka_unit_test(test_refused_job_is_named),
        cmocka_unit_test(test_prompt_is_explained),
        cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_schema_bound),
        cmocka_unit_test(test_labels_and_tags_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
