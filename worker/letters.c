/*
 * letters.c - see letters.h. The producer is polled by a timer that runs only while letters are
 * out.
 */
#include "worker/letters.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "common/codes.h"
#include "common/dead_msg.h"
#include "common/failpoint.h"
#include "common/kafka_producer.h"
#include "common/log.h"

enum { POLL_MS = 20, CLOSE_MS = 2000, HEADERS_MAX = 12, NUMBER_BYTES = 24 };

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
    FAILPOINT("letter.published");
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
    enum rc rc = kafka_producer_new(config, "inferq-worker-dead", delivered, l, &l->producer, err);
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

/* A header is left out where there is nothing to say. */
struct header_list {
    struct kafka_header of[HEADERS_MAX];
    char numbers[HEADERS_MAX][NUMBER_BYTES];
    int count;
};

static void add_text(struct header_list *l, const char *name, struct span value)
{
    assert(l->count < HEADERS_MAX);
    if (value.p)
        l->of[l->count++] = (struct kafka_header){name, value};
}

static void add_number(struct header_list *l, const char *name, int64_t value)
{
    char *text = l->numbers[l->count];
    snprintf(text, NUMBER_BYTES, "%lld", (long long)value);
    add_text(l, name, span_of(text));
}

static void list_headers(const struct letters *l, const struct store_letter *letter,
                         struct header_list *list)
{
    add_text(list, "inferq-schema", SPAN_LIT("dead/1"));
    add_text(list, "inferq-app", letter->app);
    add_text(list, "inferq-class", span_of(class_name(letter->class_code)));
    add_text(list, "inferq-reason", letter->reason);
    add_number(list, "inferq-attempts", letter->attempts);
    add_text(list, "inferq-model-version", letter->model_version);
    if (!letter->topic.p)
        return;
    add_text(list, "inferq-topic", letter->topic);
    add_number(list, "inferq-partition", letter->partition);
    add_number(list, "inferq-offset", letter->offset);
    add_number(list, "inferq-timestamp", letter->timestamp_ms);
    add_text(list, "inferq-group", span_of(l->group));
}

void letters_send(struct letters *l, const struct store_letter *letter)
{
    static const struct jobid no_job = {{0}};
    struct err err = {0};
    struct header_list headers = {.count = 0};
    char dead_id[NUMBER_BYTES];
    snprintf(dead_id, sizeof dead_id, "%lld", (long long)letter->dead_id);
    list_headers(l, letter, &headers);
    enum rc rc = encode(l, letter, &err);
    if (FAILPOINT_FAILS("letter.send", letter->custom_id))
        rc = err_set(&err, RC_RETRY, "a failpoint");
    struct kafka_out out = {
        .topic = l->topic,
        .key = jobid_eq(&letter->job_id, &no_job)
                   ? span_of(dead_id)
                   : (struct span){(const char *)letter->job_id.b, ID_BYTES},
        .value = buf_span(&l->value),
        .headers = headers.of,
        .header_count = headers.count,
        .opaque = (void *)(intptr_t)letter->dead_id,
    };
    if (rc == RC_OK)
        rc = kafka_producer_send(l->producer, &out, &err);
    FAILPOINT_OF("letter.sent", letter->custom_id);
    if (rc == RC_OK) {
        uv_timer_start(&l->timer, on_poll, POLL_MS, POLL_MS);
        return;
    }
    log_event(LOG_WARN, "a dead letter could not be sent; it is tried again",
              LF_INT("dead_id", letter->dead_id), LF_STR("why", err.text));
    l->done(l->arg, letter->dead_id, false);
}
