/*
 * test_consumer.c - the consuming edge against the brokers in KAFKA_BOOTSTRAP_SERVERS and, for
 * faults, against librdkafka's mock cluster in this process. Topics and groups have names of their
 * own.
 *
 * A member stores the offset of each record as it comes (as if its job were done at once), so that
 * what is stored, committed, delivered again or lost can be told from what each record saw.
 *
 * A test that fails jumps out with its members and the mock cluster open: teardown ends what is in
 * `members` and `mock`, within a bound, so that the reason is told. What librdkafka calls only
 * counts, and never asserts: a jump out of it would leave an event behind that nobody can destroy.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <uv.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/clock.h"
#include "common/kafka_producer.h"
#include "tests/live/loop.h"
#include "worker/consumer.h"
#include "worker/consumer_conf.h"

enum {
    LANES = 2,
    PARTITIONS = 4,
    RECORDS_MAX = 40000,
    MEMBERS_MAX = 2,
    API_OFFSET_COMMIT = 8,
    API_HEARTBEAT = 12,
    REFUSALS = 1000,     /* more than there are tries */
    PATIENCE_MS = 60000, /* a rebalance on a loaded machine takes many seconds */
    PATIENCE_LATER_MS = 10000,
    LEAVE_MS = 10000,
    GRACE_MS = 300,
};

static const struct config_key keys[] = {{.name = NULL}};

static uv_loop_t loop;
static struct config *config;
static struct kafka_producer *producer;
static char topic_names[LANES][64], group[64];
static const char *topics[LANES] = {topic_names[0], topic_names[1]};
static int seen[RECORDS_MAX]; /* how often each record was delivered, over all members */
static int produced, reported, refused;
static int round_number;
static int64_t patience_ms = PATIENCE_MS;
static uv_timer_t ticks;
static rd_kafka_t *mock_owner;
static rd_kafka_mock_cluster_t *mock;

struct member {
    struct consumer *consumer;
    int records, malformed, assignments, revokes, lost, errors, fatals;
    bool stores, release_due, paused[LANES];
    int64_t last[LANES][PARTITIONS];
    int64_t stored[LANES][PARTITIONS]; /* next offset, -1: none */
    int64_t first[LANES][PARTITIONS];  /* first offset delivered, -1: none */
    uint32_t epoch;
    int held;
    int out_of_order, while_paused, old_epoch, unannounced;
    int64_t store_below; /* only records of lower offset are stored */
    char error[512];
};

static struct member members[MEMBERS_MAX]; /* `consumer` NULL: not in use */

/* ---- the edge's user ------------------------------------------------------------------------- */

/* As `produce` made it. */
static bool is_well_formed(const struct record *r)
{
    uint32_t number;
    if (r->value.n != sizeof number || r->key.n != sizeof number)
        return false;
    memcpy(&number, r->value.p, sizeof number);
    return number < RECORDS_MAX && r->lane >= 0 && r->lane < LANES && r->partition >= 0 &&
           r->partition < PARTITIONS && number % LANES == (uint32_t)r->lane &&
           span_is(r->signature, "v1:k:00") && r->traceparent.p == NULL &&
           r->timestamp_ms > INT64_C(1600000000000);
}

static void on_record(void *arg, const struct record *r)
{
    struct member *m = arg;
    uint32_t number;
    if (!is_well_formed(r)) {
        m->malformed++;
        return;
    }
    memcpy(&number, r->value.p, sizeof number);
    seen[number]++;
    m->records++;
    m->old_epoch += r->epoch != m->epoch;
    m->while_paused += m->paused[r->lane];
    int64_t *last = &m->last[r->lane][r->partition];
    m->out_of_order += *last >= 0 && r->offset != *last + 1;
    *last = r->offset;
    if (m->first[r->lane][r->partition] < 0)
        m->first[r->lane][r->partition] = r->offset;
    if (!m->stores || r->offset >= m->store_below)
        return;
    m->stored[r->lane][r->partition] = r->offset + 1;
    consumer_store(m->consumer, r->lane, r->partition, r->epoch, r->offset + 1);
}

static void on_assigned(void *arg, int lane, int32_t partition, uint32_t epoch)
{
    struct member *m = arg;
    m->last[lane][partition] = -1;
    m->assignments += epoch != m->epoch;
    m->epoch = epoch;
    m->held++;
}

static void on_revoke(void *arg, bool lost)
{
    struct member *m = arg;
    m->revokes++;
    m->lost += lost;
    m->release_due = true; /* answered from a later turn, as the path does */
    m->unannounced += !consumer_revoking(m->consumer);
}

static void on_error(void *arg, const char *what)
{
    struct member *m = arg;
    m->errors++;
    if (!strstr(m->error, "inferq topics")) /* the one a test looks for stays */
        (void)snprintf(m->error, sizeof m->error, "%s", what);
}

static void on_fatal(void *arg, const char *what)
{
    (void)what;
    ((struct member *)arg)->fatals++;
}

static struct member *join(void)
{
    struct member *m = members[0].consumer ? &members[1] : &members[0];
    assert_null(m->consumer);
    *m = (struct member){.stores = true, .store_below = INT64_MAX};
    struct err err = {0};
    struct consumer_conf conf = {.config = config,
                                 .group = group,
                                 .client_id = "inferq-test",
                                 .topics = topics,
                                 .topic_count = LANES,
                                 .arg = m,
                                 .on_record = on_record,
                                 .on_assigned = on_assigned,
                                 .on_revoke = on_revoke,
                                 .on_error = on_error,
                                 .on_fatal = on_fatal};
    memset(m->last, -1, sizeof m->last);
    memset(m->stored, -1, sizeof m->stored);
    memset(m->first, -1, sizeof m->first);
    if (consumer_new(&loop, &conf, &m->consumer, &err) != RC_OK)
        fail_msg("%s", err.text);
    return m;
}

static void leave(struct member *m)
{
    int64_t start = clock_mono_us();
    consumer_free(m->consumer, LEAVE_MS);
    int64_t took_ms = (clock_mono_us() - start) / 1000;
    m->consumer = NULL;
    assert_in_range(took_ms, 0, 3 * LEAVE_MS);
    assert_int_equal(m->malformed, 0);
    assert_int_equal(m->out_of_order, 0);
    assert_int_equal(m->while_paused, 0);
    assert_int_equal(m->old_epoch, 0);
    assert_int_equal(m->unannounced, 0);
    assert_int_equal(m->fatals, 0);
}

static void nothing(uv_timer_t *timer)
{
    (void)timer;
}

static void answer_revoke(struct member *m)
{
    if (!m->consumer || !m->release_due)
        return;
    m->release_due = false;
    m->held = 0;
    consumer_release(m->consumer);
    assert_false(consumer_revoking(m->consumer));
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_ONCE); /* `ticks` ends it after 5 ms */
    for (int i = 0; i < MEMBERS_MAX; i++)
        answer_revoke(&members[i]);
}

static int count_seen(int from, int times)
{
    int n = 0;
    for (int i = from; i < produced; i++)
        n += seen[i] == times;
    return n;
}

/* Tells where things stand. Where one wait was in vain, others may be: they end sooner. */
static void give_up(void)
{
    patience_ms = PATIENCE_LATER_MS;
    print_error("%d of %d records seen\n", produced - count_seen(0, 0), produced);
    for (int i = 0; i < MEMBERS_MAX; i++) {
        const struct member *m = &members[i];
        if (m->consumer)
            print_error("member %d: records %d, held %d, assignments %d, revokes %d (lost %d), "
                        "connected %d, errors %d, the last: %s\n",
                        i, m->records, m->held, m->assignments, m->revokes, m->lost,
                        consumer_connected(m->consumer), m->errors, m->error);
    }
}

/* Turns the loop until the condition holds. */
#define turn_until(condition)                                             \
    do {                                                                  \
        int64_t until_us = clock_mono_us() + patience_ms * INT64_C(1000); \
        while (!(condition)) {                                            \
            if (clock_mono_us() > until_us) {                             \
                give_up();                                                \
                fail_msg("not in time: %s", #condition);                  \
            }                                                             \
            turn();                                                       \
        }                                                                 \
    } while (0)

static void turn_for(int ms)
{
    int64_t end_us = clock_mono_us() + ms * INT64_C(1000);
    turn_until(clock_mono_us() >= end_us);
}

/* ---- records --------------------------------------------------------------------------------- */

static void on_delivered(void *arg, void *opaque, enum rc rc, const char *why)
{
    (void)arg, (void)opaque;
    if (rc != RC_OK)
        print_error("not delivered: %s\n", why);
    refused += rc != RC_OK;
    reported++;
}

/* Record n goes to lane n % LANES. */
static void produce(int count)
{
    struct kafka_header header = {"inferq-signature", SPAN_LIT("v1:k:00")};
    struct err err = {0};
    for (int i = 0; i < count; i++) {
        uint32_t number = (uint32_t)produced++;
        struct span bytes = {(const char *)&number, sizeof number};
        struct kafka_out out = {.topic = topics[number % LANES],
                                .key = bytes,
                                .value = bytes,
                                .headers = &header,
                                .header_count = 1};
        enum rc rc;
        while ((rc = kafka_producer_send(producer, &out, &err)) == RC_FULL)
            kafka_producer_poll(producer, 10);
        if (rc != RC_OK)
            fail_msg("%s", err.text);
    }
    if (kafka_producer_flush(producer, 30000, &err) != RC_OK)
        fail_msg("%s", err.text);
    assert_int_equal(reported, produced);
    assert_int_equal(refused, 0);
}

static void make_topics(void)
{
    struct err err = {0};
    struct kafka_topic_state states[LANES] = {0};
    struct kafka_topic made[LANES];
    for (int i = 0; i < LANES; i++) {
        (void)snprintf(topic_names[i], sizeof topic_names[i], "inferq-test-%d-%d-%lld.lane%d",
                       (int)getpid(), round_number, (long long)clock_mono_us(), i);
        made[i] =
            (struct kafka_topic){.name = topics[i], .partitions = PARTITIONS, .replication = -1};
    }
    (void)snprintf(group, sizeof group, "%s.group", topics[0]);
    if (kafka_topics_ensure(producer, made, LANES, 30000, states, &err) != RC_OK)
        fail_msg("%s", err.text);
}

/* What the group has committed, over all partitions; all topics begin at 0. */
static int64_t count_committed(void)
{
    char why[256];
    struct err err = {0};
    int64_t n = 0;
    struct consumer_conf conf = {.config = config, .group = group, .client_id = "inferq-looker"};
    rd_kafka_conf_t *settings = NULL;
    if (consumer_conf_make(&conf, &settings, &err) != RC_OK)
        fail_msg("%s", err.text);
    rd_kafka_t *looker = rd_kafka_new(RD_KAFKA_CONSUMER, settings, why, sizeof why);
    assert_non_null(looker);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(LANES * PARTITIONS);
    for (int i = 0; i < LANES * PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(list, topics[i % LANES], i / LANES);
    rd_kafka_resp_err_t code = rd_kafka_committed(looker, list, 10000);
    for (int i = 0; i < list->cnt; i++)
        n += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(looker);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? n : -1;
}

static void start(const char *bootstrap)
{
    struct err err = {0};
    round_number++;
    produced = reported = refused = 0;
    memset(seen, 0, sizeof seen);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &ticks);
    uv_timer_start(&ticks, nothing, 5, 5);
    config = config_new(keys);
    assert_int_equal(config_load_env(config, &err), RC_OK);
    if (bootstrap)
        assert_int_equal(config_set(config, "kafka.bootstrap.servers", bootstrap, &err), RC_OK);
    /* Nobody is thrown out because the machine is busy. */
    assert_int_equal(config_set(config, "kafka.session.timeout.ms", "30000", &err), RC_OK);
    /* The guarantees do not rest on what users write: these are overruled. */
    assert_int_equal(config_set(config, "kafka.enable.auto.offset.store", "true", &err), RC_OK);
    assert_int_equal(config_set(config, "kafka.auto.offset.reset", "latest", &err), RC_OK);
    assert_int_equal(config_set(config, "kafka.group.id", "another", &err), RC_OK);
    assert_int_equal(config_set(config, "kafka.client.id", "another", &err), RC_OK);
    if (kafka_producer_new(config, "inferq-test", on_delivered, NULL, &producer, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    (void)state;
    start(NULL);
    make_topics();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < MEMBERS_MAX; i++) {
        consumer_free(members[i].consumer, 1000);
        members[i].consumer = NULL;
    }
    kafka_producer_free(producer, 1000);
    config_free(config);
    if (mock) {
        rd_kafka_mock_cluster_destroy(mock);
        rd_kafka_destroy(mock_owner);
        mock = NULL;
    }
    uv_close((uv_handle_t *)&ticks, NULL);
    return loop_end(&loop);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_all_arrive_once(void **state)
{
    (void)state;
    produce(20000);
    struct member *m = join();
    turn_until(m->records >= 20000);
    assert_int_equal(count_seen(0, 1), 20000);
    assert_int_equal(m->held, LANES * PARTITIONS);
    assert_true(consumer_connected(m->consumer));
    turn_until(consumer_lag(m->consumer, 0) == 0 && consumer_lag(m->consumer, 1) == 0);
    produce(100); /* an idle consumer wakes for news */
    turn_until(m->records >= 20100);
    turn_for(GRACE_MS);
    assert_int_equal(m->records, 20100);
    leave(m);
}

static void test_restart_resumes_there(void **state)
{
    (void)state;
    produce(8000);
    struct member *m = join();
    m->store_below = 700;
    turn_until(m->records >= 8000);
    int64_t stored[LANES][PARTITIONS];
    memcpy(stored, m->stored, sizeof stored);
    leave(m);

    int finished = 0;
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < PARTITIONS; i++)
            finished += (int)stored[lane][i];
    m = join();
    turn_until(m->records >= 8000 - finished);
    turn_for(GRACE_MS);
    assert_int_equal(m->records, 8000 - finished);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < PARTITIONS; i++)
            assert_int_equal(m->first[lane][i], stored[lane][i]);
    leave(m);

    m = join(); /* all was stored by then */
    turn_until(m->held == LANES * PARTITIONS && consumer_lag(m->consumer, 0) == 0);
    turn_for(GRACE_MS);
    assert_int_equal(m->records, 0);
    leave(m);
}

static void test_what_is_not_stored_comes_again(void **state)
{
    (void)state;
    produce(500);
    struct member *m = join();
    m->stores = false;
    turn_until(m->records >= 500);
    turn_for(1500);                                           /* past librdkafka's own commits */
    consumer_store(m->consumer, 0, 0, m->epoch + 1, 1000000); /* not this assignment's */
    consumer_store(m->consumer, 0, PARTITIONS, m->epoch, 1000000);
    leave(m);
    m = join();
    turn_until(m->records >= 500);
    assert_int_equal(count_seen(0, 2), 500);
    leave(m);
}

/* Drops nothing, repeats nothing, delivers nothing while paused, however often. */
static void test_pause_and_resume(void **state)
{
    (void)state;
    struct member *m = join();
    turn_until(m->held == LANES * PARTITIONS);
    for (int i = 0; i < 10; i++) {
        produce(1000);
        m->paused[0] = true;
        consumer_pause(m->consumer, 0, true);
        consumer_pause(m->consumer, 0, true);
        int before = m->records;
        turn_until(m->records >= before + 300);
        m->paused[0] = false;
        consumer_pause(m->consumer, 0, false);
        consumer_pause(m->consumer, 0, false); /* resuming what is not paused would rewind it */
        turn_for(20);
    }
    turn_until(m->records >= 10000);
    turn_for(GRACE_MS);
    assert_int_equal(m->records, 10000);
    assert_int_equal(count_seen(0, 1), 10000);
    leave(m);
}

/* A second member comes and goes while lane 0 is paused at the first. */
static void test_rebalance_while_paused(void **state)
{
    (void)state;
    produce(4000);
    struct member *a = join();
    turn_until(a->records >= 1000);
    a->paused[0] = true;
    consumer_pause(a->consumer, 0, true);
    struct member *b = join();
    turn_until(b->held == LANES * PARTITIONS / 2 && a->held == LANES * PARTITIONS / 2);
    assert_true(a->revokes >= 1);
    produce(4000);
    turn_for(GRACE_MS);
    a->paused[0] = false;
    consumer_pause(a->consumer, 0, false);
    turn_until(a->records + b->records >= 8000);
    assert_true(b->records > 0);
    leave(b);
    turn_until(a->held == LANES * PARTITIONS);
    produce(2000);
    turn_until(count_seen(8000, 1) == 2000);
    turn_for(GRACE_MS);
    /* All was stored as it came, and committed at each release: nothing comes twice. */
    assert_int_equal(count_seen(0, 1), 10000);
    leave(a);
}

static void test_stop(void **state)
{
    (void)state;
    produce(1000);
    struct member *m = join();
    turn_until(m->records >= 1000);
    m->paused[0] = m->paused[1] = true;
    consumer_stop(m->consumer);
    produce(1000);
    turn_for(GRACE_MS);
    assert_int_equal(m->records, 1000);
    leave(m);
    m = join();
    turn_until(m->records >= 1000);
    assert_int_equal(count_seen(0, 1), 2000);
    leave(m);
}

static void test_unknown_topic(void **state)
{
    (void)state;
    (void)snprintf(topic_names[1], sizeof topic_names[1], "inferq-test-%d-nowhere", (int)getpid());
    struct member *m = join();
    turn_until(strstr(m->error, "inferq topics") != NULL);
    assert_non_null(strstr(m->error, topic_names[1]));
    leave(m);
}

static void test_refused_settings(void **state)
{
    (void)state;
    struct err err = {0};
    struct consumer *none = NULL;
    struct consumer_conf conf = {
        .config = config, .group = group, .client_id = "x", .topics = topics, .topic_count = LANES};
    assert_int_equal(config_set(config, "kafka.no.such.setting", "1", &err), RC_OK);
    assert_int_equal(consumer_new(&loop, &conf, &none, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "no.such.setting"));
    struct config *empty = config_new(keys);
    conf.config = empty;
    assert_int_equal(consumer_new(&loop, &conf, &none, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "bootstrap"));
    rd_kafka_conf_t *settings = NULL; /* a cluster within the client stands for brokers */
    assert_int_equal(config_set(empty, "kafka.test.mock.num.brokers", "1", &err), RC_OK);
    assert_int_equal(consumer_conf_make(&conf, &settings, &err), RC_OK);
    rd_kafka_conf_destroy(settings);
    /* Each is taken alone; together they make no sense. */
    assert_int_equal(config_set(empty, "kafka.bootstrap.servers", "127.0.0.1:1", &err), RC_OK);
    assert_int_equal(config_set(empty, "kafka.session.timeout.ms", "60000", &err), RC_OK);
    assert_int_equal(config_set(empty, "kafka.max.poll.interval.ms", "6000", &err), RC_OK);
    assert_int_equal(consumer_new(&loop, &conf, &none, &err), RC_REJECT);
    assert_non_null(strstr(err.text, "max.poll.interval.ms"));
    assert_null(none);
    config_free(empty);
}

/* A member that does not poll is thrown out: it hears so, commits nothing, and comes back. */
static void test_lost_assignment(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(config_set(config, "kafka.session.timeout.ms", "6000", &err), RC_OK);
    assert_int_equal(config_set(config, "kafka.max.poll.interval.ms", "6000", &err), RC_OK);
    produce(1000);
    struct member *m = join();
    turn_until(m->records >= 1000);
    turn_until(count_committed() == 1000);
    for (int i = 0; i < 5 && m->lost == 0; i++) {
        sleep(7); /* librdkafka looks once a second */
        turn_for(GRACE_MS);
    }
    assert_true(m->lost >= 1);
    turn_until(m->held == LANES * PARTITIONS);
    assert_true(m->assignments >= 2);
    produce(500);
    turn_until(count_seen(1000, 0) == 0);
    assert_int_equal(count_seen(0, 1) - count_seen(1000, 1),
                     1000); /* what was committed stays so */
    leave(m);
}

static int setup_mock(void **state)
{
    (void)state;
    char why[256];
    struct err err = {0};
    mock_owner = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    mock = rd_kafka_mock_cluster_new(mock_owner, 1);
    start(rd_kafka_mock_cluster_bootstraps(mock));
    assert_int_equal(config_set(config, "kafka.session.timeout.ms", "6000", &err), RC_OK);
    make_topics();
    return 0;
}

static void test_brokers_away(void **state)
{
    (void)state;
    produce(1000);
    struct member *m = join();
    turn_until(m->records >= 1000);
    assert_true(consumer_connected(m->consumer));
    for (int i = 1; i <= 2; i++) {
        rd_kafka_mock_broker_set_down(mock, 1);
        turn_until(!consumer_connected(m->consumer));
        turn_until(m->errors > 0);
        /* Longer than it takes to look whether they are back; a look from before may come late. */
        turn_for(2500);
        turn_until(!consumer_connected(m->consumer));
        rd_kafka_mock_broker_set_up(mock, 1);
        if (i == 2) /* news or not, it is seen to be back */
            produce(1000);
        turn_until(consumer_connected(m->consumer));
    }
    /* All arrive; if the outage outlasted the session, the first ones once more. */
    turn_until(count_seen(0, 0) == 0);
    assert_int_equal(produced, 2000);
    leave(m);
}

/* It leaves the group while the news that it lost its partitions lies unread in the queue: one
 * revocation is answered once. */
static void test_leaves_with_a_loss_unread(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(config_set(config, "kafka.heartbeat.interval.ms", "100", &err), RC_OK);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(group, sizeof group, "%s.group%d", topics[0], i); /* nobody is waited for */
        produce(100);
        struct member *m = join();
        turn_until(count_seen(0, 0) == 0);
        rd_kafka_mock_push_request_errors(mock, API_HEARTBEAT, 1,
                                          RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
        (void)poll(NULL, 0, 500); /* librdkafka's own thread hears it; nobody reads its queue */
        leave(m);
    }
}

/* It leaves while it still owes the answer to a revocation: what it has stored is committed. */
static void test_leaves_while_revoking(void **state)
{
    (void)state;
    produce(100);
    struct member *a = join();
    turn_until(count_seen(0, 0) == 0);
    struct member *b = join();
    while (!a->release_due)
        uv_run(&loop, UV_RUN_ONCE);
    a->release_due = false;
    leave(a);
    turn_until(b->held == LANES * PARTITIONS);
    produce(100);
    turn_until(count_seen(0, 1) == 200);
    leave(b);
}

/* The group refuses every commit, the last one at the revocation too: nobody waits for it, and what
 * is not committed comes again. */
static void test_commits_fail(void **state)
{
    (void)state;
    rd_kafka_resp_err_t refusals[REFUSALS];
    for (int i = 0; i < REFUSALS; i++)
        refusals[i] = RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    produce(100);
    rd_kafka_mock_push_request_errors_array(mock, API_OFFSET_COMMIT, REFUSALS, refusals);
    struct member *m = join();
    turn_until(count_seen(0, 0) == 0);
    leave(m);
    assert_int_equal(count_committed(), 0);
    rd_kafka_mock_clear_request_errors(mock, API_OFFSET_COMMIT);
    m = join();
    turn_until(count_seen(0, 2) == 100);
    leave(m);
    assert_int_equal(count_committed(), 100);
}

/* It is told once that there is no going on, and hands over nothing any more. */
static void test_fatal(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(config_set(config, "kafka.heartbeat.interval.ms", "100", &err), RC_OK);
    produce(100);
    struct member *m = join();
    turn_until(count_seen(0, 0) == 0);
    rd_kafka_mock_push_request_errors(mock, API_HEARTBEAT, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    turn_until(m->fatals > 0);
    produce(100);
    turn_for(GRACE_MS);
    assert_int_equal(m->fatals, 1);
    assert_int_equal(m->records, 100);
    m->fatals = 0; /* leave() wants none */
    leave(m);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_arrive_once),
        TEST(test_restart_resumes_there),
        TEST(test_what_is_not_stored_comes_again),
        TEST(test_pause_and_resume),
        TEST(test_rebalance_while_paused),
        TEST(test_stop),
        TEST(test_unknown_topic),
        TEST(test_refused_settings),
        TEST(test_leaves_while_revoking),
        TEST(test_lost_assignment),
        cmocka_unit_test_setup_teardown(test_brokers_away, setup_mock, teardown),
        cmocka_unit_test_setup_teardown(test_leaves_with_a_loss_unread, setup_mock, teardown),
        cmocka_unit_test_setup_teardown(test_commits_fail, setup_mock, teardown),
        cmocka_unit_test_setup_teardown(test_fatal, setup_mock, teardown),
    };
    if (getenv("INFERQ_TEST_ONLY"))
        cmocka_set_test_filter(getenv("INFERQ_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
