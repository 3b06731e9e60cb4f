/*
 * encode.c - job messages, one after the other, in one buffer.
 *
 * Happy path: the shared fields stand, the job's own are set, the message is written. Failure: it
 * is larger than a Kafka record may be; the message says the exact limit and the excess.
 */
#include "producer/encode.h"

void encoder_init(struct encoder *e, size_t record_bytes_max)
{
    *e = (struct encoder){.value_bytes_max = record_bytes_max - ENCODE_HEADROOM_BYTES};
    /* Room for a body that is too large, so that it can be told by how much. */
    buf_init(&e->out, JOB_MSG_BYTES_MAX + (1 << 20));
}

void encoder_done(struct encoder *e)
{
    buf_done(&e->out);
}

static enum rc too_large(const struct encoder *e, size_t bytes, struct err *err)
{
    return err_set(err, RC_REJECT,
                   "becomes a message of %zu bytes; at most %zu fit (max_message_bytes less %d for "
                   "headers), so it is %zu bytes too long",
                   bytes, e->value_bytes_max, ENCODE_HEADROOM_BYTES, bytes - e->value_bytes_max);
}

enum rc encoder_job(struct encoder *e, const struct draft *draft, struct span *ret_value,
                    struct err *err)
{
    e->msg.custom_id = draft->custom_id;
    e->msg.url = draft->url;
    e->msg.body = draft->body;
    e->msg.job_id = jobid_make(e->msg.created_at_ms, e->msg.app, e->msg.batch, draft->custom_id,
                               e->msg.generation);
    buf_reset(&e->out);
    enum rc rc = job_msg_encode(&e->msg, &e->out, err);
    if (rc != RC_OK)
        return rc;
    if (e->out.n > e->value_bytes_max)
        return too_large(e, e->out.n, err);
    *ret_value = buf_span(&e->out);
    return RC_OK;
}
