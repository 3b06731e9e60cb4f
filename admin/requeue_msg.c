/*
 * requeue_msg.c - the next generation of a message.
 *
 * The message is not decoded and encoded again, which would lose the keys that this release does
 * not know: its pairs are copied, but for those that change, which are written behind them.
 */
#include "admin/requeue_msg.h"

#include "common/clock.h"
#include "common/codes.h"
#include "common/mp_read.h"
#include "common/mp_write.h"

static enum rc read_old(struct span payload, const struct jobid *job_id, struct job_msg *ret,
                        struct err *err)
{
    int class;
    enum rc rc = job_msg_decode(payload.p, payload.n, ret, &class, err);
    if (rc != RC_OK)
        return err_prefix(err, rc, "its payload is no job");
    if (!jobid_eq(&ret->job_id, job_id) || !job_msg_id_matches(ret))
        return err_set(err, RC_REJECT, "its payload is another job than the letter says");
    if (ret->generation == UINT32_MAX)
        return err_set(err, RC_REJECT, "it has no generations left");
    return RC_OK;
}

static enum rc check_deadline(int64_t deadline_ms, int64_t now_ms, struct err *err)
{
    char at[CLOCK_RFC3339_BYTES];
    if (deadline_ms == DEADLINE_NONE || deadline_ms > now_ms)
        return RC_OK;
    clock_rfc3339(deadline_ms, at, sizeof at);
    return err_set(err, RC_REJECT, "its deadline was %s: give a new one, --deadline +24h or none",
                   at);
}

static bool is_changed(struct span key, const struct requeue_change *change)
{
    return span_is(key, "job_id") || span_is(key, "generation") || span_is(key, "deadline") ||
           (change->body.p && span_is(key, "body")) ||
           (change->other_prompt && span_is(key, "prompt_version"));
}

/* Appends the pairs that stay. The bytes were checked by job_msg_decode. */
static uint32_t copy_pairs(struct span payload, const struct requeue_change *change,
                           struct buf *out)
{
    struct mp_cursor c = mp_cursor_of(payload);
    struct mp_token map, key;
    uint32_t kept = 0;
    if (mp_next(&c, &map) != MP_OK)
        return 0;
    for (uint64_t i = 0; i < map.u; i++) {
        const uint8_t *from = c.p;
        if (mp_next(&c, &key) != MP_OK || mp_skip(&c) != MP_OK)
            return 0;
        if (is_changed(key.bytes, change))
            continue;
        buf_add(out, from, (size_t)(c.p - from));
        kept++;
    }
    return kept;
}

static void write_new(struct span payload, const struct jobid *id, uint32_t generation,
                      const struct requeue_change *change, struct buf *out)
{
    struct buf pairs;
    buf_init(&pairs, JOB_MSG_BYTES_MAX);
    uint32_t kept = copy_pairs(payload, change, &pairs);
    mp_put_map(out, kept + 2 + (change->deadline_ms != DEADLINE_NONE) + (change->body.p != NULL));
    buf_add_span(out, buf_span(&pairs));
    mp_put_str(out, SPAN_LIT("job_id"));
    mp_put_bin(out, (struct span){(const char *)id->b, sizeof id->b});
    mp_put_str(out, SPAN_LIT("generation"));
    mp_put_int(out, generation);
    if (change->deadline_ms != DEADLINE_NONE) {
        mp_put_str(out, SPAN_LIT("deadline"));
        mp_put_int(out, change->deadline_ms);
    }
    if (change->body.p) {
        mp_put_str(out, SPAN_LIT("body"));
        mp_put_bin(out, change->body);
    }
    out->failed |= pairs.failed;
    buf_done(&pairs);
}

enum rc requeue_msg(struct span payload, const struct jobid *job_id,
                    const struct requeue_change *change, int64_t now_ms, struct buf *out,
                    struct job_msg *ret_msg, struct err *err)
{
    struct job_msg old, new;
    struct requeue_change made = *change;
    int class;
    enum rc rc = read_old(payload, job_id, &old, err);
    if (rc != RC_OK)
        return rc;
    if (made.deadline_ms == DEADLINE_KEEP)
        made.deadline_ms = old.deadline_ms;
    rc = check_deadline(made.deadline_ms, now_ms, err);
    if (rc != RC_OK)
        return rc;
    uint32_t generation = old.generation + 1;
    struct jobid id = jobid_make(old.created_at_ms, old.app, old.batch, old.custom_id, generation);
    size_t from = out->n;
    write_new(payload, &id, generation, &made, out);
    if (out->failed)
        return err_set(err, RC_NOMEM, "no memory for its new message");
    rc = job_msg_decode(out->p + from, out->n - from, &new, &class, err);
    if (rc != RC_OK)
        return err_prefix(err, RC_REJECT, "its new message is no job");
    if (!job_msg_id_matches(&new))
        return err_set(err, RC_FATAL, "its new message does not verify");
    *ret_msg = new;
    return RC_OK;
}

int requeue_lane(int lane, int msg_priority)
{
    if (lane >= 0)
        return lane;
    return msg_priority >= 0 ? msg_priority : PRIORITY_NORMAL;
}
