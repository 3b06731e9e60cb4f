/*
 * pass.c - the loop of submit.
 *
 * Happy path: record -> draft -> message -> is its custom_id new -> into the digest -> into Kafka's
 * queue. A full queue is waited out, so memory stays bounded whatever the input's size. Failures:
 * a bad record is named, and left out or the end; a failed delivery, a signal and a set of ids that
 * is full end the pass.
 */
#include "producer/pass.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "producer/say.h"
#include "producer/stopper.h"

enum { LOOK_AROUND_EVERY = 64, QUEUE_WAIT_MS = 100, NAMED_MAX = 1000, TOLD_ID_BYTES = 120 };

/* Puts "FILE:LINE: " before the reason. */
static enum rc place(const struct record *record, struct err *err)
{
    if (record->line > 0)
        return err_prefix(err, RC_REJECT, "%s:%" PRId64, record->file, record->line);
    return err_prefix(err, RC_REJECT, "%s", record->file);
}

static enum rc bad_record(struct pass *p, struct pass_result *result, const struct record *record,
                          struct err *err)
{
    (void)place(record, err);
    if (!p->skips) {
        char why[ERR_TEXT_BYTES];
        memcpy(why, err->text, sizeof why);
        return err_set(err, RC_REJECT,
                       "%s (--on-error skip names such records and leaves them out)", why);
    }
    result->left_out++;
    if (p->quiet || result->left_out > NAMED_MAX)
        return RC_OK;
    progress_clear(p->progress);
    say("%s", err->text);
    if (result->left_out == NAMED_MAX)
        say("more records left out are only counted");
    return RC_OK;
}

/* Now and then: reports, signals, the progress line. */
static enum rc look_around(struct pass *p, struct pass_result *result, int wait_ms, struct err *err)
{
    result->signal = stopper_signal(p->stop_fd, 0);
    if (result->signal != 0)
        return err_set(err, RC_RETRY, p->outbox ? "interrupted" : "interrupted; nothing was sent");
    progress_show(p->progress, clock_mono_us(), p->outbox ? "sent" : "checked", result->accepted,
                  p->total, result->left_out);
    return p->outbox ? outbox_serve(p->outbox, wait_ms, err) : RC_OK;
}

static enum rc send(struct pass *p, struct pass_result *result, struct span value, struct err *err)
{
    for (;;) {
        enum rc rc = outbox_send(p->outbox, &p->encoder->msg.job_id, value, err);
        if (rc != RC_FULL)
            return rc;
        rc = look_around(p, result, QUEUE_WAIT_MS, err);
        if (rc != RC_OK)
            return rc;
    }
}

static enum rc remember_id(struct pass *p, const struct draft *draft, bool *ret_new,
                           struct err *err)
{
    switch (idset_add(p->ids, jobid_hash(&p->encoder->msg.job_id))) {
    case IDSET_NEW:
        *ret_new = true;
        return RC_OK;
    case IDSET_SEEN:
        *ret_new = false;
        return err_set(
            err, RC_REJECT, "custom_id \"%.*s\" stands twice in this batch: give each job its own",
            (int)(draft->custom_id.n < TOLD_ID_BYTES ? draft->custom_id.n : TOLD_ID_BYTES),
            draft->custom_id.p);
    case IDSET_FULL:
        break;
    }
    return err_set(err, RC_FULL,
                   "more jobs than %zu bytes can tell apart: raise custom_ids_bytes (12 bytes a "
                   "job), or split the input over several batches",
                   idset_bytes(p->ids));
}

/* RC_REJECT with *ret_bad: this record cannot be a job. Anything else ends the pass. */
static enum rc take(struct pass *p, struct pass_result *result, const struct record *record,
                    bool *ret_bad, struct err *err)
{
    struct draft draft;
    struct span value;
    bool is_new = false;
    *ret_bad = true;
    enum rc rc = prepare(p->preparer, record, &draft, err);
    if (rc == RC_OK)
        rc = encoder_job(p->encoder, &draft, &value, err);
    if (rc != RC_OK) {
        *ret_bad = rc == RC_REJECT;
        return rc;
    }
    rc = remember_id(p, &draft, &is_new, err);
    if (rc == RC_REJECT)
        return rc;
    *ret_bad = false;
    if (rc != RC_OK)
        return rc;
    digest_add(&p->digest, (const struct span[]){draft.custom_id, draft.url, draft.body}, 3);
    if (p->estimate)
        estimate_add(p->estimate, &draft);
    if (p->outbox)
        rc = send(p, result, value, err);
    if (rc == RC_OK)
        result->accepted++;
    return rc;
}

/* What all jobs of the batch share, beside what names the batch. */
static void digest_shared(struct pass *p)
{
    const struct job_msg *msg = &p->encoder->msg;
    const char kind = (char)msg->output_kind;
    digest_init(&p->digest);
    digest_add(&p->digest,
               (const struct span[]){
                   {&kind, 1}, msg->output_schema, msg->output_labels, msg->context_version},
               4);
}

/* One record, or what stands in its place. *ret_more false: the input is at its end. */
static enum rc step(struct pass *p, struct pass_result *result, bool *ret_more, struct err *err)
{
    struct record record;
    bool bad = true;
    enum rc rc = RC_OK;
    switch (input_next(p->input, &record, err)) {
    case INPUT_END:
        *ret_more = false;
        return RC_OK;
    case INPUT_STOPPED:
        return look_around(p, result, 0, err);
    case INPUT_FAILED:
        return place(&record, err);
    case INPUT_BAD:
        rc = RC_REJECT;
        break;
    case INPUT_RECORD:
        rc = take(p, result, &record, &bad, err);
        break;
    }
    return rc == RC_REJECT && bad ? bad_record(p, result, &record, err) : rc;
}

enum rc pass_run(struct pass *p, struct pass_result *ret_result, struct err *err)
{
    bool more = true;
    enum rc rc = RC_OK;
    *ret_result = (struct pass_result){0};
    idset_clear(p->ids);
    digest_shared(p);
    progress_begin(p->progress, clock_mono_us());
    for (int64_t n = 1; rc == RC_OK && more; n++) {
        rc = step(p, ret_result, &more, err);
        if (rc == RC_OK && n % LOOK_AROUND_EVERY == 0)
            rc = look_around(p, ret_result, 0, err);
    }
    memcpy(ret_result->sum, p->digest.sum, HASH_BYTES);
    return rc;
}
