/*
 * test_kafka_producer_live.c - the producer against the brokers in KAFKA_BOOTSTRAP_SERVERS, and,
 * for faults, against librdkafka's mock cluster in this process. Makes topics with a name of its
 * own and deletes them again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/kafka_producer.h"

enum { RECORDS_MAX = 10000, SOON_MS = 60000, API_PRODUCE = 0 };

static struct err last;

/* The mock cluster may stand in for Kafka: it judges neither sizes nor settings of topics, gives
 * each 4 partitions, and deletes none. */
static bool is_mock;

#define assert_rc(call, want)                                       \
    do {                                                            \
        enum rc got = (call);                                       \
        if (got != (want))                                          \
            fail_msg("%s: %s: %s", #call, rc_name(got), last.text); \
    } while (0)

/* ---- the fixture -------------------------------------------------------------------------- */

struct record {
    int reports;
    enum rc rc;
    char why[128];
};

struct live {
    struct config *config;
    struct kafka_producer *producer;
    rd_kafka_t *mock_owner;
    rd_kafka_mock_cluster_t *mock;
    int reports;
    struct record records[RECORDS_MAX];
};

static const struct config_key keys[] = {{.name = NULL}};

static void delivered(void *arg, void *opaque, enum rc rc, const char *why)
{
    struct live *l = arg;
    struct record *r = opaque;
    l->reports++;
    r->reports++;
    r->rc = rc;
    snprintf(r->why, sizeof r->why, "%s", why);
}

static int setup(void **state)
{
    struct live *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->config = config_new(keys);
    *state = l;
    return l->config ? 0 : -1;
}

static int teardown(void **state)
{
    struct live *l = *state;
    kafka_producer_free(l->producer, 1000);
    for (int i = 0; i < RECORDS_MAX; i++)
        assert_true(l->records[i].reports <= 1);
    config_free(l->config);
    if (l->mock)
        rd_kafka_mock_cluster_destroy(l->mock);
    if (l->mock_owner)
        rd_kafka_destroy(l->mock_owner);
    free(l);
    return 0;
}

static void put(struct live *l, const char *key, const char *value)
{
    assert_rc(config_set(l->config, key, value, &last), RC_OK);
}

static void start(struct live *l)
{
    assert_rc(kafka_producer_new(l->config, "live-test", delivered, l, &l->producer, &last), RC_OK);
}

static void start_real(struct live *l)
{
    put(l, "kafka.bootstrap.servers", getenv("KAFKA_BOOTSTRAP_SERVERS"));
    start(l);
}

static void use_mock(struct live *l)
{
    char why[256];
    l->mock_owner = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), why, sizeof why);
    assert_non_null(l->mock_owner);
    l->mock = rd_kafka_mock_cluster_new(l->mock_owner, 1);
    assert_non_null(l->mock);
    assert_int_equal(rd_kafka_mock_topic_create(l->mock, "t", 2, 1), 0);
    put(l, "kafka.bootstrap.servers", rd_kafka_mock_cluster_bootstraps(l->mock));
    put(l, "kafka.reconnect.backoff.max.ms", "200");
}

static const char *topic_name(const char *suffix)
{
    static char name[64];
    snprintf(name, sizeof name, "live-test-%ld-%s", (long)getpid(), suffix);
    return name;
}

static enum rc send_one(struct live *l, int i, const char *topic, struct span value)
{
    const struct kafka_out out = {
        .topic = topic, .key = SPAN_LIT("k"), .value = value, .opaque = &l->records[i]};
    return kafka_producer_send(l->producer, &out, &last);
}

static void poll_until_reported(struct live *l, int reports)
{
    for (int ms = 0; ms < SOON_MS && l->reports < reports; ms += 50)
        (void)kafka_producer_poll(l->producer, 50);
    assert_int_equal(l->reports, reports);
}

static void make_topic(struct live *l, const char *name, int partitions, const char *const *config)
{
    const struct kafka_topic topic = {name, partitions, 0, -1, config};
    struct kafka_topic_state made = {0};
    assert_rc(kafka_topics_ensure(l->producer, &topic, 1, SOON_MS, &made, &last), RC_OK);
    assert_true(made.created);
}

static rd_kafka_t *client(rd_kafka_type_t type)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", getenv("KAFKA_BOOTSTRAP_SERVERS"), why,
                      sizeof why);
    if (type == RD_KAFKA_CONSUMER)
        rd_kafka_conf_set(conf, "group.id", "live-test", why, sizeof why);
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    assert_non_null(rk);
    return rk;
}

static void delete_topic(const char *name)
{
    if (is_mock)
        return;
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER);
    rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_DeleteTopics(rk, &gone, 1, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, SOON_MS);
    assert_non_null(event);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy(gone);
    rd_kafka_destroy(rk);
}

static void needs_real_kafka(void)
{
    if (is_mock)
        skip();
}

/* ---- settings ----------------------------------------------------------------------------- */

static void refused(struct live *l, const char *word)
{
    assert_int_equal(kafka_producer_new(l->config, "x", delivered, l, &l->producer, &last),
                     RC_REJECT);
    assert_null(l->producer);
    assert_non_null(strstr(last.text, word));
}

static void settings_refused(void **state)
{
    struct live *l = *state;
    refused(l, "kafka.bootstrap.servers");
    put(l, "kafka.bootstrap.servers", "127.0.0.1:1");
    put(l, "kafka.max.in.flight", "10");
    refused(l, "max.in.flight");
    put(l, "kafka.max.in.flight", "5");
    put(l, "kafka.linger.ms", "soon");
    refused(l, "kafka.linger.ms");
    put(l, "kafka.linger.ms", "1");
    put(l, "kafka.no.such.setting", "1");
    refused(l, "kafka.no.such.setting");
}

/* A setting that would break a guarantee is overridden, not obeyed: without idempotence, ten
 * requests in flight would be allowed. */
static void guarantees_win(void **state)
{
    struct live *l = *state;
    put(l, "kafka.bootstrap.servers", "127.0.0.1:1");
    put(l, "kafka.enable.idempotence", "false");
    put(l, "kafka.max.in.flight", "10");
    refused(l, "max.in.flight");
}

/* ---- the real thing ----------------------------------------------------------------------- */

static void ping(void **state)
{
    struct live *l = *state;
    start_real(l);
    assert_rc(kafka_producer_ping(l->producer, SOON_MS, &last), RC_OK);
}

static void ping_nobody(void **state)
{
    struct live *l = *state;
    put(l, "kafka.bootstrap.servers", "127.0.0.1:1");
    start(l);
    /* It waits in vain, as long as it may; why, it knows once it has tried to connect. */
    for (int ms = 0; ms < SOON_MS && !strstr(last.text, "refused"); ms += 500)
        assert_rc(kafka_producer_ping(l->producer, 500, &last), RC_RETRY);
    assert_non_null(strstr(last.text, "127.0.0.1:1"));
    assert_non_null(strstr(last.text, "refused"));
}

static void assert_state(const struct kafka_topic_state *state, bool created, int partitions)
{
    assert_int_equal(state->created, created);
    assert_int_equal(state->partitions, partitions);
}

static void topics(void **state)
{
    struct live *l = *state;
    char first[64], second[64];
    const char *const settings[] = {"cleanup.policy", "compact", "retention.ms", "60000", NULL};
    snprintf(first, sizeof first, "%s", topic_name("a"));
    snprintf(second, sizeof second, "%s", topic_name("b"));
    struct kafka_topic both[] = {{first, 3, 3, -1, NULL}, {second, 1, 1, 1, settings}};
    struct kafka_topic_state states[2];
    needs_real_kafka();
    start_real(l);
    make_topic(l, first, 3, NULL);
    assert_rc(kafka_topics_ensure(l->producer, both, 2, SOON_MS, states, &last), RC_OK);
    assert_state(&states[0], false, 3); /* it stood already */
    assert_state(&states[1], true, 1);
    assert_rc(kafka_topics_ensure(l->producer, both, 2, SOON_MS, states, &last), RC_OK);
    assert_state(&states[0], false, 3);
    assert_state(&states[1], false, 1);

    const char *const bad[] = {"retention.ms", "for ever", NULL};
    const struct kafka_topic refused_topic = {topic_name("c"), 1, 1, -1, bad};
    assert_rc(kafka_topics_ensure(l->producer, &refused_topic, 1, SOON_MS, states, &last),
              RC_REJECT);
    assert_non_null(strstr(last.text, "cannot be created"));
    delete_topic(first);
    delete_topic(second);
}

/* More partitions than there are: an error only for who insists, and then nothing is made. */
static void topics_with_fewer_partitions(void **state)
{
    struct live *l = *state;
    char there[64], absent[64];
    snprintf(there, sizeof there, "%s", topic_name("f"));
    snprintf(absent, sizeof absent, "%s", topic_name("g"));
    struct kafka_topic both[] = {{absent, 5, 5, -1, NULL}, {there, 5, 5, -1, NULL}};
    const struct kafka_topic_state untouched = {.partitions = -1};
    struct kafka_topic_state states[2] = {untouched, untouched};
    needs_real_kafka();
    start_real(l);
    make_topic(l, there, 2, NULL);
    assert_rc(kafka_topics_ensure(l->producer, both, 2, SOON_MS, states, &last), RC_REJECT);
    assert_non_null(strstr(last.text, "has 2 partitions, 5 are asked for"));
    assert_non_null(strstr(last.text, there));
    assert_state(&states[0], false, -1);
    assert_state(&states[1], false, -1);

    both[0].partitions_min = both[1].partitions_min = 0;
    assert_rc(kafka_topics_ensure(l->producer, both, 2, SOON_MS, states, &last), RC_OK);
    assert_state(&states[0], true, 5); /* so the refusal had not made it */
    assert_state(&states[1], false, 2);
    delete_topic(there);
    delete_topic(absent);
}

static const rd_kafka_message_t *must_be(rd_kafka_message_t *m, const char *key, const char *value)
{
    assert_non_null(m);
    assert_int_equal(m->err, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(m->key != NULL, key != NULL);
    if (key)
        assert_true(span_is((struct span){m->key, m->key_len}, key));
    assert_int_equal(m->payload != NULL, value != NULL);
    if (value)
        assert_true(span_is((struct span){m->payload, m->len}, value));
    return m;
}

static rd_kafka_message_t *next_message(rd_kafka_t *consumer)
{
    for (int ms = 0; ms < SOON_MS; ms += 100) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 100);
        if (m && m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return m;
        if (m)
            rd_kafka_message_destroy(m);
    }
    return NULL;
}

/* What was sent is what a consumer reads: keys and values absent or empty, headers, times. */
static void read_back(void **state)
{
    struct live *l = *state;
    const char *topic = topic_name("r");
    needs_real_kafka();
    start_real(l);
    make_topic(l, topic, 1, NULL);
    const struct kafka_header headers[] = {
        {"type", SPAN_LIT("job")}, {"nul", {"a\0b", 3}}, {"absent", {NULL, 0}}};
    struct kafka_out out = {.topic = topic, .key = SPAN_LIT("key"), .value = SPAN_LIT("value")};
    out.headers = headers;
    out.header_count = 3;
    out.timestamp_ms = INT64_C(1763721780123);
    out.opaque = &l->records[0];
    assert_rc(kafka_producer_send(l->producer, &out, &last), RC_OK);
    out = (struct kafka_out){.topic = topic, .value = SPAN_LIT(""), .opaque = &l->records[1]};
    assert_rc(kafka_producer_send(l->producer, &out, &last), RC_OK);
    out = (struct kafka_out){.topic = topic, .key = SPAN_LIT("gone"), .opaque = &l->records[2]};
    assert_rc(kafka_producer_send(l->producer, &out, &last), RC_OK);
    assert_int_equal(kafka_producer_pending(l->producer), 3);
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(kafka_producer_pending(l->producer), 0);

    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(consumer, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);

    rd_kafka_message_t *m = next_message(consumer);
    must_be(m, "key", "value");
    rd_kafka_headers_t *got = NULL;
    const void *bytes = NULL;
    size_t n = 0;
    assert_true(rd_kafka_message_timestamp(m, NULL) == INT64_C(1763721780123));
    assert_int_equal(rd_kafka_message_headers(m, &got), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_header_cnt(got), 3);
    assert_int_equal(rd_kafka_header_get_last(got, "nul", &bytes, &n), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_true(span_eq((struct span){bytes, n}, (struct span){"a\0b", 3}));
    assert_int_equal(rd_kafka_header_get_last(got, "absent", &bytes, &n),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_null(bytes);
    rd_kafka_message_destroy(m);
    m = next_message(consumer);
    must_be(m, NULL, "");
    rd_kafka_message_destroy(m);
    m = next_message(consumer);
    must_be(m, "gone", NULL);
    rd_kafka_message_destroy(m);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    delete_topic(topic);
}

static void many(void **state)
{
    struct live *l = *state;
    const char *topic = topic_name("m");
    put(l, "kafka.queue.buffering.max.messages", "1000");
    start_real(l);
    make_topic(l, topic, 3, NULL);
    int full = 0;
    for (int i = 0; i < RECORDS_MAX;) {
        enum rc rc = send_one(l, i, topic, SPAN_LIT("some value"));
        if (rc == RC_FULL) {
            full++;
            (void)kafka_producer_poll(l->producer, 100);
            continue;
        }
        assert_rc(rc, RC_OK);
        i++;
    }
    assert_true(full > 0); /* so the bound was met, and waited out */
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    for (int i = 0; i < RECORDS_MAX; i++) {
        assert_int_equal(l->records[i].reports, 1);
        assert_int_equal(l->records[i].rc, RC_OK);
    }
    delete_topic(topic);
}

static void too_large(void **state)
{
    struct live *l = *state;
    const char *topic = topic_name("l");
    const char *const small[] = {"max.message.bytes", "2000", NULL};
    needs_real_kafka();
    char *value = calloc(1, 2 << 20);
    put(l, "kafka.compression.type", "none");
    put(l, "kafka.message.max.bytes", "1000000");
    start_real(l);
    make_topic(l, topic, 1, small);
    assert_rc(send_one(l, 0, topic, (struct span){value, 2 << 20}), RC_REJECT); /* our own limit */
    assert_non_null(strstr(last.text, topic));
    assert_rc(send_one(l, 1, topic, (struct span){value, 5000}), RC_OK); /* the topic's */
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(l->records[0].reports, 0);
    assert_int_equal(l->records[1].rc, RC_REJECT);
    assert_true(strlen(l->records[1].why) > 0);
    assert_rc(send_one(l, 2, topic, (struct span){value, 100}), RC_OK); /* and the next is fine */
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(l->records[2].rc, RC_OK);
    free(value);
    delete_topic(topic);
}

/* Where the user sets no bound, the topic's is the one that counts. */
static void large(void **state)
{
    struct live *l = *state;
    const char *topic = topic_name("x");
    const char *const large_records[] = {"max.message.bytes", "9000000", NULL};
    needs_real_kafka();
    char *value = calloc(1, 8 << 20);
    put(l, "kafka.compression.type", "none");
    start_real(l);
    make_topic(l, topic, 1, large_records);
    assert_rc(send_one(l, 0, topic, (struct span){value, 8 << 20}), RC_OK);
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(l->records[0].rc, RC_OK);
    free(value);
    delete_topic(topic);
}

static void unknown_topic(void **state)
{
    struct live *l = *state;
    put(l, "kafka.topic.metadata.propagation.max.ms", "200");
    needs_real_kafka();
    start_real(l);
    assert_rc(send_one(l, 0, topic_name("none"), SPAN_LIT("x")), RC_OK); /* not known yet */
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(l->records[0].rc, RC_REJECT);
}

/* ---- faults, on the mock cluster ---------------------------------------------------------- */

static void broker_down_and_up(void **state)
{
    struct live *l = *state;
    use_mock(l);
    start(l);
    assert_rc(send_one(l, 0, "t", SPAN_LIT("x")), RC_OK);
    poll_until_reported(l, 1);
    assert_int_equal(rd_kafka_mock_broker_set_down(l->mock, 1), 0);
    assert_rc(send_one(l, 1, "t", SPAN_LIT("x")), RC_OK);
    assert_rc(kafka_producer_flush(l->producer, 500, &last), RC_RETRY);
    assert_non_null(strstr(last.text, rd_kafka_mock_cluster_bootstraps(l->mock)));
    assert_int_equal(l->reports, 1);
    assert_int_equal(kafka_producer_pending(l->producer), 1);
    assert_int_equal(rd_kafka_mock_broker_set_up(l->mock, 1), 0);
    assert_rc(kafka_producer_flush(l->producer, SOON_MS, &last), RC_OK);
    assert_int_equal(l->records[1].rc, RC_OK);
}

static void broker_away_for_too_long(void **state)
{
    struct live *l = *state;
    use_mock(l);
    put(l, "kafka.message.timeout.ms", "500");
    start(l);
    assert_int_equal(rd_kafka_mock_broker_set_down(l->mock, 1), 0);
    assert_rc(send_one(l, 0, "t", SPAN_LIT("x")), RC_OK);
    poll_until_reported(l, 1);
    assert_int_equal(l->records[0].rc, RC_RETRY);
}

/* A full queue takes nothing; closing reports every record that it had taken, once. */
static void queue_full_then_freed(void **state)
{
    struct live *l = *state;
    put(l, "kafka.bootstrap.servers", "127.0.0.1:1");
    put(l, "kafka.queue.buffering.max.messages", "100");
    start(l);
    int taken = 0;
    while (taken < 1000 && send_one(l, taken, "t", SPAN_LIT("x")) == RC_OK)
        taken++;
    assert_int_equal(taken, 100);
    assert_rc(send_one(l, 100, "t", SPAN_LIT("x")), RC_FULL);
    kafka_producer_free(l->producer, 0);
    l->producer = NULL;
    assert_int_equal(l->reports, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(l->records[i].rc, RC_RETRY);
    assert_int_equal(l->records[100].reports, 0);
}

/* The idempotent producer has lost its sequence: it is replaced, and goes on. */
static void fatal_error(void **state)
{
    struct live *l = *state;
    use_mock(l);
    start(l);
    assert_rc(send_one(l, 0, "t", SPAN_LIT("x")), RC_OK);
    poll_until_reported(l, 1);
    rd_kafka_mock_push_request_errors(l->mock, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int i = 1; i < 20; i++)
        assert_rc(send_one(l, i, "t", SPAN_LIT("x")), RC_OK);
    poll_until_reported(l, 20);
    int lost = 0;
    for (int i = 1; i < 20; i++) {
        assert_int_equal(l->records[i].reports, 1);
        lost += l->records[i].rc == RC_RETRY;
    }
    assert_true(lost > 0);
    for (int ms = 0; ms < SOON_MS; ms += 50) { /* until the new one takes it */
        if (send_one(l, 20, "t", SPAN_LIT("x")) == RC_OK)
            break;
        (void)kafka_producer_poll(l->producer, 50);
    }
    poll_until_reported(l, 21);
    assert_int_equal(l->records[20].rc, RC_OK);
}

/* The mock has no admin API: topics come by being named. */
static void topics_without_admin(void **state)
{
    struct live *l = *state;
    use_mock(l);
    start(l);
    make_topic(l, "made-by-name", 4, NULL);
    assert_rc(send_one(l, 0, "made-by-name", SPAN_LIT("x")), RC_OK);
    poll_until_reported(l, 1);
    assert_int_equal(l->records[0].rc, RC_OK);
}

static int check_environment(void **state)
{
    (void)state;
    const char *bootstrap = getenv("KAFKA_BOOTSTRAP_SERVERS");
    if (!bootstrap) {
        print_error("no Kafka to test with: set KAFKA_BOOTSTRAP_SERVERS\n");
        return -1;
    }
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER);
    char *id = rd_kafka_clusterid(rk, SOON_MS);
    is_mock = id && strncmp(id, "mockCluster", strlen("mockCluster")) == 0;
    if (!id)
        print_error("no answer from Kafka at %s\n", bootstrap);
    int result = id ? 0 : -1;
    rd_kafka_mem_free(rk, id);
    rd_kafka_destroy(rk);
    return result;
}

#define LIVE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIVE(settings_refused),
        LIVE(guarantees_win),
        LIVE(ping),
        LIVE(ping_nobody),
        LIVE(topics),
        LIVE(topics_with_fewer_partitions),
        LIVE(read_back),
        LIVE(many),
        LIVE(too_large),
        LIVE(large),
        LIVE(unknown_topic),
        LIVE(broker_down_and_up),
        LIVE(broker_away_for_too_long),
        LIVE(queue_full_then_freed),
        LIVE(fatal_error),
        LIVE(topics_without_admin),
    };
    return cmocka_run_group_tests(tests, check_environment, NULL);
}
