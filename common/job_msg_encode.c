/*
 * job_msg_encode.c - the job message, version 1, written (pure).
 *
 * The keys go out in the order in which job_msg.c expects them, and what was written is then
 * decoded again: so there is one set of rules, and no message leaves that its readers would refuse.
 * On any failure the buffer holds what it held before.
 */
#include "common/job_msg.h"

#include <assert.h>

#include "common/codes.h"
#include "common/job_msg_internal.h"
#include "common/mp_read.h"
#include "common/mp_write.h"

/*
 * Each put_* writes one pair, unless its value is absent, and returns how many it wrote (0 or 1).
 * With `out` NULL it only counts: a map's head comes before its pairs and holds their number.
 */

static uint32_t put_key(struct buf *out, const char *key)
{
    if (out)
        mp_put_str(out, span_of(key));
    return 1;
}

static uint32_t put_id(struct buf *out, const char *key, const struct jobid *id)
{
    if (out) {
        put_key(out, key);
        mp_put_bin(out, (struct span){(const char *)id->b, ID_BYTES});
    }
    return 1;
}

static uint32_t put_text(struct buf *out, const char *key, struct span text)
{
    if (text.n == 0)
        return 0;
    if (out) {
        put_key(out, key);
        mp_put_str(out, text);
    }
    return 1;
}

static uint32_t put_int(struct buf *out, const char *key, int64_t v, int64_t absent)
{
    if (v == absent)
        return 0;
    if (out) {
        put_key(out, key);
        mp_put_int(out, v);
    }
    return 1;
}

static uint32_t put_body(struct buf *out, struct span body)
{
    if (out) {
        put_key(out, "body");
        mp_put_bin(out, body);
    }
    return 1;
}

static uint32_t put_output(struct buf *out, const struct job_msg *msg)
{
    if (msg->output_kind == OUTPUT_TEXT)
        return 0;
    if (out) {
        const bool json = msg->output_kind == OUTPUT_JSON;
        put_key(out, "output");
        mp_put_map(out, 2);
        put_key(out, "kind");
        put_key(out, job_msg_kind_names[msg->output_kind]);
        put_key(out, json ? "schema" : "labels");
        if (json)
            mp_put_str(out, msg->output_schema);
        else
            buf_add_span(out, msg->output_labels);
    }
    return 1;
}

static uint32_t put_tags(struct buf *out, struct span tags)
{
    if (!tags.p)
        return 0;
    if (out) {
        put_key(out, "tags");
        buf_add_span(out, tags);
    }
    return 1;
}

/* In the order of `fields`. */
static uint32_t put_pairs(struct buf *out, const struct job_msg *msg)
{
    const char *priority = msg->priority < 0 ? NULL : priority_name(msg->priority);
    uint32_t pairs = put_int(out, "v", JOB_MSG_VERSION, 0);
    pairs += put_id(out, "job_id", &msg->job_id);
    pairs += put_id(out, "batch_id", &msg->batch_id);
    pairs += put_text(out, "batch", msg->batch);
    pairs += put_text(out, "custom_id", msg->custom_id);
    pairs += put_text(out, "app", msg->app);
    pairs += put_text(out, "task", msg->task);
    pairs += put_text(out, "team", msg->team);
    pairs += put_text(out, "priority", span_of(priority));
    pairs += put_text(out, "url", msg->url);
    pairs += put_body(out, msg->body);
    pairs += put_output(out, msg);
    pairs += put_text(out, "context_version", msg->context_version);
    pairs += put_text(out, "prompt_version", msg->prompt_version);
    pairs += put_text(out, "sensitivity", msg->sensitivity);
    pairs += put_tags(out, msg->tags);
    pairs += put_int(out, "created_at", msg->created_at_ms, INT64_MIN);
    pairs += put_int(out, "deadline", msg->deadline_ms, 0);
    pairs += put_int(out, "max_attempts", msg->max_attempts, 0);
    pairs += put_int(out, "max_cost", msg->max_cost_nusd, -1);
    pairs += put_int(out, "generation", msg->generation, 0);
    return pairs;
}

/* What goes into the message as raw msgpack is one value: else it could smuggle in keys. */
static enum rc check_raw(const struct job_msg *msg, struct err *err)
{
    if (msg->tags.p && mp_check(msg->tags) != MP_OK)
        return err_set(err, RC_REJECT, "tags are not one msgpack value");
    if (msg->output_kind == OUTPUT_LABEL && mp_check(msg->output_labels) != MP_OK)
        return err_set(err, RC_REJECT, "output labels are not one msgpack value");
    return RC_OK;
}

enum rc job_msg_encode(const struct job_msg *msg, struct buf *out, struct err *err)
{
    assert((unsigned)msg->output_kind < KIND_COUNT);
    enum rc rc = check_raw(msg, err);
    if (rc != RC_OK)
        return rc;
    const size_t start = out->n;
    mp_put_map(out, put_pairs(NULL, msg));
    put_pairs(out, msg);
    if (out->failed) {
        rc = err_set(err, RC_FULL, "the job does not fit in what is left of %zu bytes",
                     out->max_bytes);
    } else {
        struct job_msg again;
        int class_code;
        rc = job_msg_decode(out->p + start, out->n - start, &again, &class_code, err);
    }
    if (rc != RC_OK)
        out->n = start;
    return rc;
}

/* ---- labels and tags -------------------------------------------------------------------- */

/* Ends a put of labels or tags: what was written from `start` on stands only if `rc` does. */
static enum rc settle(struct buf *out, size_t start, enum rc rc, struct err *err)
{
    if (out->failed)
        rc = err_set(err, RC_FULL, "no room in a buffer of %zu bytes", out->max_bytes);
    if (rc != RC_OK)
        out->n = start;
    return rc;
}

static struct mp_cursor written(const struct buf *out, size_t start)
{
    return mp_cursor_of((struct span){out->p + start, out->n - start});
}

enum rc job_msg_labels_encode(const struct span *labels, uint32_t count, struct buf *out,
                              struct err *err)
{
    const size_t start = out->n;
    mp_put_array(out, count);
    for (uint32_t i = 0; i < count; i++)
        mp_put_str(out, labels[i]);
    uint32_t found;
    const enum rc rc =
        out->failed ? RC_FULL : job_msg_check_labels(written(out, start), &found, err);
    return settle(out, start, rc, err);
}

enum rc job_msg_tags_encode(const struct span *pairs, uint32_t pair_count, struct buf *out,
                            struct err *err)
{
    const size_t start = out->n;
    mp_put_map(out, pair_count);
    for (uint32_t i = 0; i < pair_count; i++) {
        mp_put_str(out, pairs[2 * i]);
        mp_put_str(out, pairs[2 * i + 1]);
    }
    const enum rc rc = out->failed ? RC_FULL : job_msg_check_tags("tags", written(out, start), err);
    return settle(out, start, rc, err);
}
