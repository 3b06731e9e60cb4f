/*
 * letters.c - see letters.h. The producer is polled by a timer that runs only while letters are out.
 */
#include "worker/letters.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "common/codes.h"
#include "common/dead_msg.h"
#include "common/kafka_producer.h"
#include "common/log.h"

enum { POLL_MS = 20, CLOSE_MS = 2000, HEADER_BYTES = 64 };

struct letters {
    struct kafka_producer *producer;
    uv_timer_t timer;
    const char *topic, *group;
    letters_done done;
    void *arg;
    struct buf value;
};

static void delivered(void *arg, void *opaque, enum rc rc, const char *why)
{
    struct letters *l = arg;
    if (rc != RC_OK)
        log_event(LOG_WARN, "a dead letter is not on the topic yet; it is sent again",
                  LF_INT("dead_id", (intptr_t)opaque), LF_STR("why", why));
    l->done(l->arg, (int64_t)(intptr_t)opaque, rc == RC_OK);
}

static void on_poll(uv_timer_t *timer)
{
    struct letters *l = timer->data;
    kafka_producer_poll(l->producer, 0);
    if (!kafka_producer_pending(l->producer))
        uv_timer_stop(timer);
}

enum rc letters_new(struct uv_loop_s *loop, const struct config *config, const char *topic,
                    const char *group, letters_done done, void *arg, struct letters **ret_letters,
                    struct err *err)
{
    struct letters *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, RC_NOMEM, "no memory for the dead letters' publisher");
    l->topic = topic;
    l->group = group;
    l->done = done;
    l->arg = arg;
    buf_init(&l->value, 2 * (size_t)JOB_MSG_BYTES_MAX);
    enum rc rc =
        kafka_producer_new(config, "inferq-worker-dead", delivered, l, &l->producer, err);
    if (rc != RC_OK) {
        free(l);
        return rc;
    }
    uv_timer_init(loop, &l->timer);
    l->timer.data = l;
    *ret_letters = l;
    return RC_OK;
}

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void ignore(void *arg, int64_t dead_id, bool ok)
{
    (void)arg;
    (void)dead_id;
    (void)ok;
}

void letters_free(struct letters *l)
{
    if (!l)
        return;
    l->done = ignore; /* what is not reported yet is published again by the next keeper */
    kafka_producer_free(l->producer, CLOSE_MS);
    buf_done(&l->value);
    uv_close((uv_handle_t *)&l->timer, closed);
}

static enum rc encode(struct letters *l, const struct store_letter *letter, struct err *err)
{
    struct dead_msg msg = {
        .dead_id = letter->dead_id,
        .job_id = letter->job_id,
        .app = letter->app,
        .task = letter->task,
        .custom_id = letter->custom_id,
        .class_code = letter->class_code,
        .reason = letter->reason,
        .attempts = letter->attempts,
        .model_version = letter->model_version,
        .topic = letter->topic,
        .partition = letter->partition,
        .offset = letter->offset,
        .timestamp_ms = letter->timestamp_ms,
        .died_at_ms = letter->died_at_ms,
        .payload = letter->payload,
    };
    buf_reset(&l->value);
    return dead_msg_encode(&msg, &l->value, err);
}

static struct span number(char *out, int64_t value)
{
    int n = snprintf(out, HEADER_BYTES, "%lld", (long long)value);
    return (struct span){out, (size_t)n};
}

void letters_send(struct letters *l, const struct store_letter *letter)
{
    struct err err = {0};
    char partition[HEADER_BYTES], offset[HEADER_BYTES], timestamp[HEADER_BYTES];
    char attempts[HEADER_BYTES];
    struct kafka_header headers[] = {
        {"inferq-schema", SPAN_LIT("dead/1")},
        {"inferq-topic", letter->topic},
        {"inferq-partition", number(partition, letter->partition)},
        {"inferq-offset", number(offset, letter->offset)},
        {"inferq-timestamp", number(timestamp, letter->timestamp_ms)},
        {"inferq-group", span_of(l->group)},
        {"inferq-class", span_of(class_name(letter->class_code))},
        {"inferq-reason", letter->reason},
        {"inferq-attempts", number(attempts, letter->attempts)},
        {"inferq-model-version", letter->model_version},
    };
    enum rc rc = encode(l, letter, &err);
    struct kafka_out out = {
        .topic = l->topic,
        .key = {(const char *)letter->job_id.b, ID_BYTES},
        .value = buf_span(&l->value),
        .headers = headers,
        .header_count = sizeof headers / sizeof headers[0],
        .opaque = (void *)(intptr_t)letter->dead_id,
    };
    if (rc == RC_OK)
        rc = kafka_producer_send(l->producer, &out, &err);
    if (rc == RC_OK) {
        uv_timer_start(&l->timer, on_poll, POLL_MS, POLL_MS);
        return;
    }
    log_event(LOG_WARN, "a dead letter could not be sent; it is tried again",
              LF_INT("dead_id", letter->dead_id), LF_STR("why", err.text));
    l->done(l->arg, letter->dead_id, false);
}
