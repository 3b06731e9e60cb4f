/*
 * consumer.c - librdkafka's consumer group on the loop, through its event queue.
 *
 * Happy path: librdkafka writes to an eventfd when its queue becomes non-empty; `drain` hands each
 * record to on_record until the queue is empty or the turn's budget is spent (then it wakes itself:
 * librdkafka would not). A tick of TICK_MS hands finished offsets to librdkafka, which commits them
 * every second, and polls in any case, because a member that does not poll is thrown out.
 *
 * Rebalances are eager: everything is revoked, then everything assigned anew. From the revoke event
 * until consumer_release nothing is delivered; what librdkafka hands over meanwhile lies above the
 * stored offsets and is fetched again by whoever owns the partition next. Each assignment has an
 * epoch of its own.
 *
 * Failure modes: brokers that are away are librdkafka's to wait out; `connected` tells of it (that
 * they are back, with the next statistics). Unknown topics and refused access are reported and
 * tried again. A fatal error is reported once and ends intake.
 *
 * A partition is resumed only if it was paused here: resuming another rewinds it (before 2.4), and
 * a pause survives the assignment that it was made in.
 */
#include "worker/consumer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/consumer_conf.h"

enum {
    RECORDS_AT_ONCE = 16,
    TURN_US = 1000, /* of records in a turn: about 200 */
    TICK_MS = 100,
    RELEASE_COMMIT_MS = 5000,
    CLOSE_SLICE_MS = 50,
    TEXT_BYTES = 512,
};

struct partition {
    int lane;
    int32_t id;
    bool paused;
    bool dirty;       /* `done` is not with librdkafka yet */
    int64_t done;     /* everything below is done; -1: nothing yet */
    int64_t position; /* what comes next; -1: not known yet */
};

struct consumer {
    struct consumer_conf conf;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int wake_fd;
    uv_poll_t wake;
    uv_idle_t again; /* while more records are there than one turn takes */
    uv_timer_t tick;
    int open_handles;
    struct partition *held;
    int held_count;
    int last_held; /* index of the last hit: records come in runs */
    uint32_t epoch;
    bool *lane_paused;
    bool revoking, lost, stopped, fatal;
    bool connected;
};

/* ---- partitions held ------------------------------------------------------------------------- */

static int find_lane(const struct consumer *c, const char *topic)
{
    for (int lane = 0; lane < c->conf.topic_count; lane++)
        if (strcmp(c->conf.topics[lane], topic) == 0)
            return lane;
    return -1;
}

static struct partition *find_held(struct consumer *c, int lane, int32_t id)
{
    for (int k = 0; k < c->held_count; k++) {
        int i = (c->last_held + k) % c->held_count;
        if (c->held[i].id != id || c->held[i].lane != lane)
            continue;
        c->last_held = i;
        return &c->held[i];
    }
    return NULL;
}

static rd_kafka_topic_partition_t *
list_add(const struct consumer *c, rd_kafka_topic_partition_list_t *list, const struct partition *p)
{
    return rd_kafka_topic_partition_list_add(list, c->conf.topics[p->lane], p->id);
}

/* Pauses or resumes those of the held partitions that are not so yet. lane -1: of all lanes. */
static void pause_held(struct consumer *c, int lane, bool on)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(c->held_count);
    for (int i = 0; i < c->held_count; i++)
        if (c->held[i].paused != on && (lane < 0 || c->held[i].lane == lane))
            list_add(c, list, &c->held[i]);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        code =
            on ? rd_kafka_pause_partitions(c->rk, list) : rd_kafka_resume_partitions(c->rk, list);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *t = &list->elems[i];
        struct partition *p = find_held(c, find_lane(c, t->topic), t->partition);
        if (p && t->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            p->paused = on;
        else
            code = t->err;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_event(LOG_WARN, on ? "kafka partitions not paused" : "kafka partitions not resumed",
                  LF_STR("why", rd_kafka_err2str(code)));
    rd_kafka_topic_partition_list_destroy(list);
}

/* Hands finished offsets to librdkafka, which commits them in its own time. */
static void flush_stores(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (int i = 0; i < c->held_count; i++) {
        if (!c->held[i].dirty)
            continue;
        if (!list)
            list = rd_kafka_topic_partition_list_new(c->held_count);
        list_add(c, list, &c->held[i])->offset = c->held[i].done;
        c->held[i].dirty = false;
    }
    if (!list)
        return;
    rd_kafka_resp_err_t code = rd_kafka_offsets_store(c->rk, list);
    FAILPOINT("offset.stored");
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) /* they are committed with a later one, or never */
        log_event(LOG_WARN, "kafka offsets not stored", LF_STR("why", rd_kafka_err2str(code)));
    rd_kafka_topic_partition_list_destroy(list);
}

void consumer_store(struct consumer *c, int lane, int32_t partition, uint32_t epoch,
                    int64_t next_offset)
{
    struct partition *p = epoch == c->epoch ? find_held(c, lane, partition) : NULL;
    if (!p || next_offset <= p->done)
        return;
    p->done = next_offset;
    p->dirty = true;
}

void consumer_pause(struct consumer *c, int lane, bool on)
{
    c->lane_paused[lane] = on;
    if (!c->revoking && !c->stopped)
        pause_held(c, lane, on);
}

void consumer_stop(struct consumer *c)
{
    c->stopped = true;
    if (!c->revoking)
        pause_held(c, -1, true);
}

/* ---- rebalances ------------------------------------------------------------------------------ */

static void say_error(struct consumer *c, const char *what)
{
    if (!c->stopped)
        c->conf.on_error(c->conf.arg, what);
}

static void log_error(const char *what, rd_kafka_error_t *error)
{
    log_event(LOG_ERROR, what, LF_STR("why", rd_kafka_error_string(error)));
    rd_kafka_error_destroy(error);
}

static void take_assign(struct consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    struct partition *held = calloc((size_t)list->cnt + 1, sizeof *held);
    if (!held) { /* not accepted: librdkafka rejoins after max.poll.interval or the next change */
        rd_kafka_assign(c->rk, NULL);
        say_error(c, "no memory for a list of partitions");
        return;
    }
    free(c->held);
    c->held = held;
    c->held_count = c->last_held = 0;
    c->epoch++;
    for (int i = 0; i < list->cnt; i++) {
        int lane = find_lane(c, list->elems[i].topic);
        if (lane >= 0)
            held[c->held_count++] = (struct partition){
                .lane = lane, .id = list->elems[i].partition, .done = -1, .position = -1};
    }
    FAILPOINT("assign.take");
    rd_kafka_resp_err_t code = rd_kafka_assign(c->rk, list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_event(LOG_ERROR, "kafka assignment refused", LF_STR("why", rd_kafka_err2str(code)));
    log_event(LOG_INFO, "kafka partitions assigned", LF_INT("partitions", c->held_count),
              LF_INT("epoch", c->epoch));
    for (int lane = 0; lane < c->conf.topic_count; lane++)
        if (c->lane_paused[lane] || c->stopped)
            pause_held(c, lane, true);
    for (int i = 0; i < c->held_count; i++)
        c->conf.on_assigned(c->conf.arg, held[i].lane, held[i].id, c->epoch);
}

/* Commits what is stored; waits for the answer, as the partitions' next owner starts from it. */
static void commit_stored(struct consumer *c, int timeout_ms)
{
    flush_stores(c);
    rd_kafka_queue_t *answers = rd_kafka_queue_new(c->rk);
    rd_kafka_resp_err_t code = rd_kafka_commit_queue(c->rk, NULL, answers, NULL, NULL);
    rd_kafka_event_t *event = NULL;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        event = rd_kafka_queue_poll(answers, timeout_ms);
        code = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(answers);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        log_event(LOG_WARN, "kafka offsets not committed", LF_STR("why", rd_kafka_err2str(code)));
}

static void give_back(struct consumer *c, int timeout_ms)
{
    pause_held(c, -1, false); /* the pause would survive into the next assignment */
    FAILPOINT("revoke.commit");
    if (!c->lost && timeout_ms > 0)
        commit_stored(c, timeout_ms);
    FAILPOINT("revoke.committed");
    c->revoking = c->lost = false;
    c->held_count = c->last_held = 0;
    c->epoch++;
    rd_kafka_resp_err_t code = rd_kafka_assign(c->rk, NULL);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_event(LOG_WARN, "kafka partitions not given back",
                  LF_STR("why", rd_kafka_err2str(code)));
}

void consumer_release(struct consumer *c)
{
    if (c->revoking)
        give_back(c, RELEASE_COMMIT_MS);
}

bool consumer_revoking(const struct consumer *c)
{
    return c->revoking;
}

static void take_revoke(struct consumer *c)
{
    FAILPOINT("revoke.taken");
    c->lost = rd_kafka_assignment_lost(c->rk) != 0;
    log_event(LOG_INFO, "kafka partitions revoked", LF_INT("partitions", c->held_count),
              LF_INT("epoch", c->epoch), LF_STR("lost", c->lost ? "yes" : "no"));
    c->revoking = true;
    if (c->held_count == 0)
        consumer_release(c);
    else
        c->conf.on_revoke(c->conf.arg, c->lost);
}

static void take_rebalance(struct consumer *c, rd_kafka_event_t *event)
{
    c->connected = true;
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        take_assign(c, rd_kafka_event_topic_partition_list(event));
    else
        take_revoke(c);
}

/* ---- records --------------------------------------------------------------------------------- */

static struct span get_header(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value;
    size_t n;
    if (rd_kafka_header_get_last(headers, name, &value, &n) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return (struct span){0};
    return (struct span){value ? value : "", n};
}

static void take_record(struct consumer *c, const rd_kafka_message_t *message)
{
    int lane = find_lane(c, rd_kafka_topic_name(message->rkt));
    struct partition *p = find_held(c, lane, message->partition);
    if (!p || c->revoking || c->stopped)
        return; /* it lies above what is stored: whoever owns the partition next fetches it */
    struct record record = {.lane = lane,
                            .partition = message->partition,
                            .epoch = c->epoch,
                            .offset = message->offset,
                            .key = {message->key, message->key_len},
                            .value = {message->payload, message->len}};
    rd_kafka_timestamp_type_t type;
    record.timestamp_ms = rd_kafka_message_timestamp(message, &type);
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        record.signature = get_header(headers, "inferq-signature");
        record.traceparent = get_header(headers, "traceparent");
    }
    p->position = message->offset + 1;
    c->connected = true;
    FAILPOINT("record.taken");
    c->conf.on_record(c->conf.arg, &record);
}

/* The end of a partition: what comes next is what the broker will append. */
static void take_end(struct consumer *c, rd_kafka_event_t *event)
{
    int64_t low, high;
    rd_kafka_topic_partition_t *t = rd_kafka_event_topic_partition(event);
    if (!t)
        return;
    struct partition *p = find_held(c, find_lane(c, t->topic), t->partition);
    if (p && p->position < 0 &&
        rd_kafka_get_watermark_offsets(c->rk, t->topic, t->partition, &low, &high) ==
            RD_KAFKA_RESP_ERR_NO_ERROR &&
        high >= 0)
        p->position = high;
    rd_kafka_topic_partition_destroy(t);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void take_fatal(struct consumer *c)
{
    char why[TEXT_BYTES] = "";
    if (c->fatal)
        return;
    c->fatal = c->stopped = true;
    (void)rd_kafka_fatal_error(c->rk, why, sizeof why);
    c->conf.on_fatal(c->conf.arg, why);
}

static void take_error(struct consumer *c, rd_kafka_event_t *event)
{
    char text[TEXT_BYTES];
    rd_kafka_resp_err_t code = rd_kafka_event_error(event);
    const char *what = rd_kafka_event_error_string(event);
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        c->connected = true;
        take_end(c, event);
        return;
    }
    if (rd_kafka_event_error_is_fatal(event) || code == RD_KAFKA_RESP_ERR__FATAL) {
        take_fatal(c);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        c->connected = false;
    bool unknown =
        code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    (void)snprintf(text, sizeof text, "%s%s", what ? what : rd_kafka_err2str(code),
                   unknown ? " (`inferq topics` creates the topics)" : "");
    say_error(c, text);
}

/* From any of librdkafka's threads. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    const char *body = strncmp(text, "[thrd:", 6) == 0 ? strstr(text, "]: ") : NULL;
    bool setting = strcmp(facility, "CONFWARN") == 0; /* a producer's setting, say */
    log_event(level <= 4 && !setting ? LOG_WARN : LOG_DEBUG, "librdkafka",
              LF_STR("facility", facility), LF_STR("text", body ? body + 3 : text));
}

/* ---- are they back? -------------------------------------------------------------------------- */

/* librdkafka says when all brokers are gone, and does not say when one is back: its statistics do.
 */
static void take_statistics(struct consumer *c, rd_kafka_event_t *event)
{
    const char *json = rd_kafka_event_stats(event);
    c->connected = json && strstr(json, "\"state\":\"UP\"") != NULL;
}

bool consumer_connected(const struct consumer *c)
{
    return c->connected;
}

/* ---- the loop's side ------------------------------------------------------------------------- */

/* Returns the number of records it held. */
static int take_event(struct consumer *c, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    int records = 0;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_FETCH:
        while ((message = rd_kafka_event_message_next(event)) != NULL) {
            records++;
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
                take_record(c, message);
        }
        break;
    case RD_KAFKA_EVENT_REBALANCE:
        take_rebalance(c, event);
        break;
    case RD_KAFKA_EVENT_ERROR:
        take_error(c, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        take_statistics(c, event);
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR)
            c->connected = true;
        break;
    default:
        break;
    }
    return records;
}

static void drain(struct consumer *c);

static void on_again(uv_idle_t *idle)
{
    drain(idle->data);
}

/* (A timer of 0 ms would not do: libuv runs it again in the same turn.) */
static void drain(struct consumer *c)
{
    rd_kafka_event_t *event;
    int64_t until_us = clock_mono_us() + TURN_US;
    do {
        for (int records = 0; records < RECORDS_AT_ONCE;) {
            event = rd_kafka_queue_poll(c->queue, 0);
            if (!event) {
                uv_idle_stop(&c->again); /* the next one wakes us */
                return;
            }
            records += 1 + take_event(c, event);
            rd_kafka_event_destroy(event);
        }
    } while (clock_mono_us() < until_us);
    uv_idle_start(&c->again, on_again);
}

static void on_wake(uv_poll_t *poll, int status, int events)
{
    struct consumer *c = poll->data;
    uint64_t count;
    (void)status, (void)events;
    while (read(c->wake_fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    drain(c);
}

static void on_tick(uv_timer_t *timer)
{
    struct consumer *c = timer->data;
    flush_stores(c);
    drain(c);
}

int64_t consumer_lag(const struct consumer *c, int lane)
{
    int64_t lag = 0, low, high;
    for (int i = 0; i < c->held_count; i++) {
        const struct partition *p = &c->held[i];
        if (p->lane != lane)
            continue;
        if (p->position < 0 ||
            rd_kafka_get_watermark_offsets(c->rk, c->conf.topics[lane], p->id, &low, &high) !=
                RD_KAFKA_RESP_ERR_NO_ERROR ||
            high < 0)
            return -1;
        lag += high > p->position ? high - p->position : 0;
    }
    return lag;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum rc make_client(struct consumer *c, struct err *err)
{
    char why[TEXT_BYTES];
    rd_kafka_conf_t *conf = NULL;
    enum rc rc = consumer_conf_make(&c->conf, &conf, err);
    if (rc != RC_OK)
        return rc;
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR |
                                       RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_FETCH |
                                       RD_KAFKA_EVENT_STATS);
    c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!c->rk) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, RC_REJECT, "kafka settings: %s", why);
    }
    rd_kafka_poll_set_consumer(c->rk);
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    return RC_OK;
}

static enum rc subscribe(struct consumer *c, struct err *err)
{
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new(c->conf.topic_count);
    for (int i = 0; i < c->conf.topic_count; i++)
        rd_kafka_topic_partition_list_add(topics, c->conf.topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(c->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? RC_OK
               : err_set(err, RC_REJECT, "kafka topics cannot be subscribed to: %s",
                         rd_kafka_err2str(code));
}

static enum rc join_loop(struct consumer *c, struct uv_loop_s *loop, struct err *err)
{
    static const uint64_t one = 1;
    c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->wake_fd < 0 || uv_poll_init(loop, &c->wake, c->wake_fd) != 0)
        return err_set(err, RC_RETRY, "no descriptor for the Kafka consumer");
    uv_idle_init(loop, &c->again);
    uv_timer_init(loop, &c->tick);
    c->wake.data = c->again.data = c->tick.data = c;
    c->open_handles = 3;
    rd_kafka_queue_io_event_enable(c->queue, c->wake_fd, &one, sizeof one);
    uv_poll_start(&c->wake, UV_READABLE, on_wake);
    uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
    return RC_OK;
}

static void done(struct consumer *c)
{
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    free(c->lane_paused);
    free(c->held);
    free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct consumer *c = handle->data;
    if (--c->open_handles == 0)
        done(c);
}

enum rc consumer_new(struct uv_loop_s *loop, const struct consumer_conf *conf,
                     struct consumer **ret_consumer, struct err *err)
{
    struct consumer *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NOMEM, "no memory for a Kafka consumer");
    c->conf = *conf;
    c->wake_fd = -1;
    c->lane_paused = calloc((size_t)conf->topic_count + 1, sizeof *c->lane_paused);
    enum rc rc = c->lane_paused ? RC_OK : err_set(err, RC_NOMEM, "no memory for a Kafka consumer");
    if (rc == RC_OK)
        rc = make_client(c, err);
    if (rc == RC_OK)
        rc = join_loop(c, loop, err);
    if (rc == RC_OK)
        rc = subscribe(c, err);
    if (rc != RC_OK) {
        consumer_free(c, 0);
        return rc;
    }
    *ret_consumer = c;
    return RC_OK;
}

/* Leaves the group: the others get the partitions at once, not after the session's timeout. What
 * is held is given back when librdkafka asks for it: it may have asked already (a rebalance or a
 * loss that lies in the queue), and a revocation answered twice aborts the process. */
static bool leave_group(struct consumer *c, int timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * INT64_C(1000);
    int64_t left_us;
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(c->rk, c->queue);
    if (error) {
        log_error("kafka group cannot be left", error);
        return false;
    }
    while (!rd_kafka_consumer_closed(c->rk) && (left_us = until_us - clock_mono_us()) > 0) {
        rd_kafka_event_t *event =
            rd_kafka_queue_poll(c->queue, left_us < CLOSE_SLICE_MS * 1000 ? 1 : CLOSE_SLICE_MS);
        if (!event)
            continue;
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
            c->lost = c->lost || rd_kafka_assignment_lost(c->rk);
            give_back(c, (int)(left_us / 1000));
        }
        rd_kafka_event_destroy(event);
    }
    return rd_kafka_consumer_closed(c->rk) != 0;
}

static void end_client(struct consumer *c, int timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * INT64_C(1000);
    bool left = false;
    c->stopped = true;
    rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
    if (c->revoking && timeout_ms > 0)
        give_back(c, timeout_ms);
    int64_t left_ms = (until_us - clock_mono_us()) / 1000;
    if (left_ms > 0)
        left = leave_group(c, (int)left_ms);
    rd_kafka_queue_destroy(c->queue);
    rd_kafka_destroy_flags(c->rk, left ? 0 : RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void consumer_free(struct consumer *c, int timeout_ms)
{
    if (!c)
        return;
    if (c->rk)
        end_client(c, timeout_ms);
    if (c->open_handles == 0) {
        done(c);
        return;
    }
    uv_close((uv_handle_t *)&c->wake, on_closed);
    uv_close((uv_handle_t *)&c->again, on_closed);
    uv_close((uv_handle_t *)&c->tick, on_closed);
}
