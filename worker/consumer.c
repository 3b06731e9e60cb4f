/*
 * consumer.c - see consumer.h.
 *
 * Happy path: librdkafka's one queue wakes the loop through an eventfd; `drain` hands each record
 * to the path at once. The path stores watermarks here; they go to librdkafka ten times a second,
 * which commits them every second.
 *
 * A rebalance (eager assignor): all partitions are revoked, the path lets go of what it can and
 * calls consumer_release; then they are given back, and come again under a new epoch. A pause
 * survives reassignment in librdkafka, so every paused partition is resumed before it is given up.
 *
 * Failure modes: brokers away: librdkafka reconnects, on_error tells; an assignment that was lost
 * is given up without a commit; a fatal error goes to on_fatal.
 */
#include "worker/consumer.h"

#include <assert.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/lanes.h"

enum {
    DRAIN_MAX = 2000,      /* events of one turn of the loop: others want it too */
    TIMER_MS = 100,        /* offsets to librdkafka; also the poll that it wants at least */
    COMMIT_WAIT_MS = 5000, /* for the broker's answer before partitions are given up */
    CLOSE_STEP_MS = 100,
    WHY_BYTES = 512,
};

/* One assigned partition. */
struct part {
    int lane;
    int32_t partition;
    int64_t first_seen; /* offset of the first record; -1: none yet */
    int64_t next;       /* watermark from the path; -1: none yet */
    int64_t stored;     /* the part of it that librdkafka knows */
    bool paused;
};

struct consumer {
    struct consumer_conf conf;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int wake_fd;
    uv_poll_t *poll;
    uv_timer_t *timer;
    struct part *parts;
    int part_count;
    uint32_t epoch;
    bool lane_paused[LANES_MAX];
    bool revoking, lost, stopped, connected;
};

/* ---- partitions -------------------------------------------------------------------------------
 */

static struct part *part_find(const struct consumer *c, int lane, int32_t partition)
{
    for (int i = 0; i < c->part_count; i++)
        if (c->parts[i].partition == partition && c->parts[i].lane == lane)
            return &c->parts[i];
    return NULL;
}

static int lane_of(const struct consumer *c, const char *topic)
{
    for (int i = 0; i < c->conf.topic_count; i++)
        if (strcmp(c->conf.topics[i], topic) == 0)
            return i;
    return -1;
}

static rd_kafka_topic_partition_t *
list_add(const struct consumer *c, rd_kafka_topic_partition_list_t *list, const struct part *part)
{
    return rd_kafka_topic_partition_list_add(list, c->conf.topics[part->lane], part->partition);
}

/* Brings each partition to what its lane says, in pairs: never a resume without a pause. */
static void match_pauses(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *pause = rd_kafka_topic_partition_list_new(c->part_count + 1);
    rd_kafka_topic_partition_list_t *resume = rd_kafka_topic_partition_list_new(c->part_count + 1);
    for (int i = 0; i < c->part_count; i++) {
        struct part *part = &c->parts[i];
        bool wanted = (c->lane_paused[part->lane] || c->stopped) && !c->revoking;
        if (wanted == part->paused)
            continue;
        part->paused = wanted;
        list_add(c, wanted ? pause : resume, part);
    }
    if (pause->cnt)
        rd_kafka_pause_partitions(c->rk, pause);
    if (resume->cnt)
        rd_kafka_resume_partitions(c->rk, resume);
    rd_kafka_topic_partition_list_destroy(pause);
    rd_kafka_topic_partition_list_destroy(resume);
}

/* Hands new watermarks to librdkafka, which commits them within a second. */
static void store_watermarks(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(c->part_count + 1);
    for (int i = 0; i < c->part_count; i++) {
        struct part *part = &c->parts[i];
        if (part->next <= part->stored)
            continue;
        list_add(c, list, part)->offset = part->next;
        part->stored = part->next;
    }
    rd_kafka_resp_err_t rc = list->cnt ? rd_kafka_offsets_store(c->rk, list) : 0;
    if (rc)
        log_event(LOG_WARN, "offsets were not stored; those records may come again",
                  LF_STR("why", rd_kafka_err2str(rc)));
    rd_kafka_topic_partition_list_destroy(list);
}

/* Commits what is stored and waits for the answer, for a bounded time. */
static void commit_now(struct consumer *c)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(c->part_count + 1);
    for (int i = 0; i < c->part_count; i++)
        if (c->parts[i].stored >= 0)
            list_add(c, list, &c->parts[i])->offset = c->parts[i].stored;
    if (list->cnt) {
        rd_kafka_queue_t *answer = rd_kafka_queue_new(c->rk);
        rd_kafka_resp_err_t rc = rd_kafka_commit_queue(c->rk, list, answer, NULL, NULL);
        rd_kafka_event_t *event = rc ? NULL : rd_kafka_queue_poll(answer, COMMIT_WAIT_MS);
        if (event && rd_kafka_event_error(event))
            rc = rd_kafka_event_error(event);
        if (rc || !event)
            log_event(LOG_WARN, "the last offsets were not committed; some records come again",
                      LF_STR("why", rc ? rd_kafka_err2str(rc) : "no answer in time"));
        rd_kafka_event_destroy(event);
        rd_kafka_queue_destroy(answer);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void forget_parts(struct consumer *c)
{
    free(c->parts);
    c->parts = NULL;
    c->part_count = 0;
}

/* ---- rebalances -------------------------------------------------------------------------------
 */

static void fatal(struct consumer *c)
{
    char why[WHY_BYTES] = "unknown";
    rd_kafka_fatal_error(c->rk, why, sizeof why);
    c->conf.on_fatal(c->conf.arg, why);
}

static void assigned(struct consumer *c, const rd_kafka_topic_partition_list_t *list)
{
    forget_parts(c);
    c->parts = calloc((size_t)list->cnt + 1, sizeof *c->parts);
    if (!c->parts) {
        c->conf.on_fatal(c->conf.arg, "no memory for the assigned partitions");
        return;
    }
    c->epoch++;
    c->connected = true;
    for (int i = 0; i < list->cnt; i++) {
        int lane = lane_of(c, list->elems[i].topic);
        assert(lane >= 0); /* we subscribed to nothing else */
        c->parts[c->part_count++] = (struct part){.lane = lane,
                                                  .partition = list->elems[i].partition,
                                                  .first_seen = -1,
                                                  .next = -1,
                                                  .stored = -1};
        c->conf.on_assigned(c->conf.arg, lane, list->elems[i].partition, c->epoch);
    }
    rd_kafka_resp_err_t rc = rd_kafka_assign(c->rk, list);
    if (rc)
        c->conf.on_error(c->conf.arg, rd_kafka_err2str(rc));
    match_pauses(c);
    log_event(LOG_INFO, "partitions assigned", LF_INT("count", list->cnt),
              LF_INT("epoch", c->epoch));
}

static void revoked(struct consumer *c)
{
    c->revoking = true;
    c->lost = rd_kafka_assignment_lost(c->rk) != 0;
    log_event(c->lost ? LOG_WARN : LOG_INFO, "partitions revoked", LF_INT("count", c->part_count),
              LF_STR("lost", c->lost ? "yes" : "no"));
    c->conf.on_revoke(c->conf.arg, c->lost);
}

void consumer_release(struct consumer *c)
{
    if (!c->revoking)
        return;
    match_pauses(c); /* resumes all: a pause would survive the reassignment */
    if (!c->lost) {
        store_watermarks(c);
        commit_now(c);
    }
    c->revoking = false;
    forget_parts(c);
    rd_kafka_assign(c->rk, NULL);
}

bool consumer_revoking(const struct consumer *c)
{
    return c->revoking;
}

static void rebalance(struct consumer *c, rd_kafka_event_t *event)
{
    switch ((int)rd_kafka_event_error(event)) { /* int: of hundreds of codes two are meant */
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        assigned(c, rd_kafka_event_topic_partition_list(event));
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        revoked(c);
        break;
    default:
        c->conf.on_error(c->conf.arg, rd_kafka_event_error_string(event));
        c->lost = true;
        c->revoking = true;
        c->conf.on_revoke(c->conf.arg, true);
        break;
    }
}

/* ---- records and other events -----------------------------------------------------------------
 */

static struct span header(const rd_kafka_headers_t *headers, const char *name)
{
    const void *value = NULL;
    size_t n = 0;
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &n) || !value)
        return (struct span){NULL, 0};
    return (struct span){value, n};
}

static void trouble(struct consumer *c, const rd_kafka_message_t *m)
{
    switch ((int)m->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        break;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        c->conf.on_error(c->conf.arg, "a topic does not exist: run `inferq topics`");
        break;
    default:
        c->conf.on_error(c->conf.arg, rd_kafka_message_errstr(m));
    }
}

static void record(struct consumer *c, const rd_kafka_message_t *m)
{
    int lane = m->rkt ? lane_of(c, rd_kafka_topic_name(m->rkt)) : -1;
    struct part *part = lane >= 0 ? part_find(c, lane, m->partition) : NULL;
    if (m->err || !part || c->stopped) {
        if (m->err)
            trouble(c, m);
        return;
    }
    if (part->first_seen < 0)
        part->first_seen = m->offset;
    c->connected = true;
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = NULL;
    int64_t timestamp_ms = rd_kafka_message_timestamp(m, NULL);
    struct record r = {
        .lane = lane,
        .partition = m->partition,
        .epoch = c->epoch,
        .offset = m->offset,
        .timestamp_ms = timestamp_ms > 0 ? timestamp_ms : 0,
        .key = {m->key, m->key_len},
        .value = {m->payload ? m->payload : "", m->len},
        .signature = header(headers, "inferq-signature"),
        .traceparent = header(headers, "traceparent"),
    };
    c->conf.on_record(c->conf.arg, &r);
}

static void fetched(struct consumer *c, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *m;
    while ((m = rd_kafka_event_message_next(event)) != NULL)
        record(c, m);
}

static void failed(struct consumer *c, rd_kafka_event_t *event)
{
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL) {
        fatal(c);
        return;
    }
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        c->connected = false;
    c->conf.on_error(c->conf.arg, rd_kafka_event_error_string(event));
}

/* librdkafka tells of brokers that went, never of those that came back; its statistics do. */
static void statistics(struct consumer *c, rd_kafka_event_t *event)
{
    const char *json = rd_kafka_event_stats(event);
    c->connected = json && strstr(json, "\"state\":\"UP\"") != NULL;
}

static void library_log(rd_kafka_event_t *event)
{
    const char *facility = "", *text = "";
    int level = 0;
    if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
        log_event(level <= 4 ? LOG_WARN : LOG_DEBUG, "librdkafka", LF_STR("facility", facility),
                  LF_STR("text", text));
}

static void serve(struct consumer *c, rd_kafka_event_t *event)
{
    switch ((int)rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_FETCH:
        fetched(c, event);
        break;
    case RD_KAFKA_EVENT_REBALANCE:
        rebalance(c, event);
        break;
    case RD_KAFKA_EVENT_ERROR:
        failed(c, event);
        break;
    case RD_KAFKA_EVENT_STATS:
        statistics(c, event);
        break;
    case RD_KAFKA_EVENT_LOG:
        library_log(event);
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        if (rd_kafka_event_error(event) &&
            rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR__NO_OFFSET)
            c->conf.on_error(c->conf.arg, rd_kafka_event_error_string(event));
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

static void wake(struct consumer *c)
{
    uint64_t one = 1;
    if (write(c->wake_fd, &one, sizeof one) < 0)
        return; /* full: it is awake already */
}

/* To the end, or for a fair while: the queue tells only of empty -> non-empty. */
static void drain(struct consumer *c)
{
    for (int i = 0; i < DRAIN_MAX; i++) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(c->queue, 0);
        if (!event)
            return;
        serve(c, event);
    }
    wake(c);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct consumer *c = poll->data;
    uint64_t count;
    (void)status, (void)events;
    if (read(c->wake_fd, &count, sizeof count) < 0)
        return; /* somebody took it */
    drain(c);
}

static void on_timer(uv_timer_t *timer)
{
    struct consumer *c = timer->data;
    drain(c);
    if (!c->revoking || !c->lost)
        store_watermarks(c);
}

/* ---- the path's calls -------------------------------------------------------------------------
 */

void consumer_pause(struct consumer *c, int lane, bool on)
{
    c->lane_paused[lane] = on;
    match_pauses(c);
}

void consumer_store(struct consumer *c, int lane, int32_t partition, uint32_t epoch,
                    int64_t next_offset)
{
    struct part *part = epoch == c->epoch ? part_find(c, lane, partition) : NULL;
    if (part && next_offset > part->next)
        part->next = next_offset;
}

int64_t consumer_lag(const struct consumer *c, int lane)
{
    int64_t lag = 0;
    bool known = false;
    for (int i = 0; i < c->part_count; i++) {
        const struct part *part = &c->parts[i];
        int64_t low = -1, high = -1;
        if (part->lane != lane ||
            rd_kafka_get_watermark_offsets(c->rk, c->conf.topics[lane], part->partition, &low,
                                           &high) ||
            high < 0)
            continue;
        int64_t done = part->next >= 0 ? part->next : part->first_seen;
        lag += done >= 0 && high > done ? high - done : 0;
        known = true;
    }
    return known ? lag : -1;
}

bool consumer_connected(const struct consumer *c)
{
    return c->connected;
}

void consumer_stop(struct consumer *c)
{
    c->stopped = true;
    match_pauses(c);
}

/* ---- making ------------------------------------------------------------------------------------
 */

static enum rc set(rd_kafka_conf_t *conf, const char *name, const char *value, struct err *err)
{
    char why[WHY_BYTES];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return RC_OK;
    return err_set(err, RC_REJECT, "kafka.%s: %s", name, why);
}

/* What guarantees need; a user's other wish is overruled, and told. */
static const char *const ours[][2] = {
    {"enable.auto.offset.store", "false"},           /* only after the Postgres commit */
    {"enable.auto.commit", "true"},                  /* of what is stored */
    {"auto.offset.reset", "earliest"},               /* the default loses jobs */
    {"partition.assignment.strategy", "roundrobin"}, /* eager: cooperative hangs before 2.10 */
    {"enable.partition.eof", "false"},
    {"log.queue", "true"},
};
/* What serves well unless the user knows better. */
static const char *const defaults[][2] = {
    {"auto.commit.interval.ms", "1000"},
    {"session.timeout.ms", "10000"},
    {"queued.max.messages.kbytes", "16384"},
    {"fetch.wait.max.ms", "20"}, /* a resumed partition waits for the fetch under way */
    {"statistics.interval.ms", "5000"},
};

static enum rc set_all(rd_kafka_conf_t *conf, const struct consumer_conf *cc, struct err *err)
{
    enum rc rc = RC_OK;
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0] && rc == RC_OK; i++)
        rc = set(conf, defaults[i][0], defaults[i][1], err);
    const char *name, *value;
    for (size_t i = 0; rc == RC_OK && config_kafka_entry(cc->config, i, &name, &value); i++)
        rc = set(conf, name, value, err);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0] && rc == RC_OK; i++) {
        char stands[WHY_BYTES];
        size_t n = sizeof stands;
        bool users = false;
        for (size_t k = 0; config_kafka_entry(cc->config, k, &name, &value); k++)
            users = users || strcmp(name, ours[i][0]) == 0;
        if (users && rd_kafka_conf_get(conf, ours[i][0], stands, &n) == RD_KAFKA_CONF_OK &&
            strcmp(stands, ours[i][1]) != 0)
            log_event(LOG_WARN, "a kafka setting is overruled: a guarantee rests on it",
                      LF_STR("key", ours[i][0]), LF_STR("value", ours[i][1]));
        rc = set(conf, ours[i][0], ours[i][1], err);
    }
    if (rc == RC_OK)
        rc = set(conf, "group.id", cc->group, err);
    return rc == RC_OK ? set(conf, "client.id", cc->client_id, err) : rc;
}

static enum rc make_client(struct consumer *c, struct err *err)
{
    char why[WHY_BYTES];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum rc rc = set_all(conf, &c->conf, err);
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(conf);
        return rc;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE |
                                       RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS |
                                       RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_OFFSET_COMMIT);
    c->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why); /* takes conf when it works */
    if (!c->rk) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, RC_REJECT, "kafka: %s", why);
    }
    rd_kafka_poll_set_consumer(c->rk);
    rd_kafka_set_log_queue(c->rk, NULL);
    c->queue = rd_kafka_queue_get_consumer(c->rk);
    return RC_OK;
}

static enum rc subscribe(struct consumer *c, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(c->conf.topic_count);
    for (int i = 0; i < c->conf.topic_count; i++)
        rd_kafka_topic_partition_list_add(list, c->conf.topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t rc = rd_kafka_subscribe(c->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rc ? err_set(err, RC_REJECT, "kafka: subscribe: %s", rd_kafka_err2str(rc)) : RC_OK;
}

static enum rc watch(struct consumer *c, struct uv_loop_s *loop, struct err *err)
{
    uint64_t one = 1;
    c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uv_poll_t *poll = calloc(1, sizeof *poll);
    uv_timer_t *timer = calloc(1, sizeof *timer);
    if (c->wake_fd < 0 || !poll || !timer || uv_poll_init(loop, poll, c->wake_fd) != 0) {
        free(poll);
        free(timer);
        return err_set(err, RC_NOMEM, "no descriptor or memory for the Kafka consumer");
    }
    c->poll = poll;
    c->timer = timer;
    uv_timer_init(loop, timer);
    poll->data = timer->data = c;
    rd_kafka_queue_io_event_enable(c->queue, c->wake_fd, &one, sizeof one);
    uv_poll_start(poll, UV_READABLE, on_poll);
    uv_timer_start(timer, on_timer, TIMER_MS, TIMER_MS);
    return RC_OK;
}

enum rc consumer_new(struct uv_loop_s *loop, const struct consumer_conf *conf,
                     struct consumer **ret_consumer, struct err *err)
{
    assert(conf->topic_count <= LANES_MAX);
    struct consumer *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, RC_NOMEM, "no memory for the Kafka consumer");
    c->conf = *conf;
    c->wake_fd = -1;
    enum rc rc = make_client(c, err);
    if (rc == RC_OK)
        rc = watch(c, loop, err);
    if (rc == RC_OK)
        rc = subscribe(c, err);
    if (rc == RC_OK)
        *ret_consumer = c;
    else
        consumer_free(c, 0);
    return rc;
}

/* ---- leaving ------------------------------------------------------------------------------------
 */

/* Serves the last rebalance until the group is left. */
static void leave_group(struct consumer *c, int timeout_ms)
{
    int64_t until = clock_mono_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(c->rk, c->queue);
    if (error) {
        rd_kafka_error_destroy(error);
        return;
    }
    while (!rd_kafka_consumer_closed(c->rk) && clock_mono_us() < until) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(c->queue, CLOSE_STEP_MS);
        if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            rd_kafka_assign(c->rk, NULL);
        rd_kafka_event_destroy(event);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    free(handle);
}

void consumer_free(struct consumer *c, int timeout_ms)
{
    if (!c)
        return;
    if (c->poll)
        uv_close((uv_handle_t *)c->poll, handle_closed);
    if (c->timer)
        uv_close((uv_handle_t *)c->timer, handle_closed);
    if (c->queue && timeout_ms > 0) {
        store_watermarks(c);
        commit_now(c);
        c->revoking = true;
        match_pauses(c); /* resumes all, for whoever gets them */
        leave_group(c, timeout_ms);
    }
    if (c->queue) {
        rd_kafka_queue_io_event_enable(c->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(c->queue);
    }
    if (c->rk)
        rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (c->wake_fd >= 0)
        close(c->wake_fd);
    forget_parts(c);
    free(c);
}
