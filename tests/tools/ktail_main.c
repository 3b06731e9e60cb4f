/*
 * ktail: reads whole topics, and where a consumer group stands in them, for tests that check what
 * the programs left in Kafka.
 *
 *   ktail TOPIC...                    every record, as JSON lines {"topic", "partition", "offset",
 *                                     "timestamp", "key", "value", "headers"}; bytes in hex
 *   ktail --committed GROUP TOPIC...  a line per partition {"topic", "partition", "low", "high",
 *                                     "committed"}; committed -1: nothing was
 *
 * Happy path: asks for the partitions of each topic, reads them from the first record to the end
 * that each has now, prints. Brokers: KAFKA_BOOTSTRAP_SERVERS. It joins no group and commits
 * nothing. What goes wrong: brokers or topics that are not there, no end within a minute: a message
 * and exit 1.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>

enum { ASK_MS = 20000, READ_S = 60, POLL_MS = 200, WHY_BYTES = 256 };

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "ktail: %s: %s\n", what, why);
    exit(1);
}

static rd_kafka_t *connect_consumer(const char *group)
{
    char why[WHY_BYTES];
    const char *servers = getenv("KAFKA_BOOTSTRAP_SERVERS");
    const char *const settings[][2] = {{"bootstrap.servers", servers ? servers : ""},
                                       {"group.id", group},
                                       {"enable.auto.commit", "false"},
                                       {"enable.auto.offset.store", "false"},
                                       {"enable.partition.eof", "true"},
                                       {"auto.offset.reset", "error"},
                                       {"fetch.wait.max.ms", "10"},
                                       {"fetch.message.max.bytes", "10485760"}};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], why, sizeof why) !=
            RD_KAFKA_CONF_OK)
            die(settings[i][0], why);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!rk)
        die("no consumer", why);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

static void add_partitions(rd_kafka_t *rk, const char *name, rd_kafka_topic_partition_list_t *list)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 0, topic, &metadata, ASK_MS);
    if (code)
        die(name, rd_kafka_err2str(code));
    if (metadata->topic_cnt != 1 || metadata->topics[0].err)
        die(name, "no such topic");
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++)
        rd_kafka_topic_partition_list_add(list, name, metadata->topics[0].partitions[i].id)
            ->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

static void print_hex(const char *name, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    printf("\"%s\": \"", name);
    for (size_t i = 0; i < n; i++)
        printf("%02x", at[i]);
    printf("\"");
}

/* Names of headers are written as they are: those that tests send need no escape. */
static void print_record(const rd_kafka_message_t *m)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t n;
    printf("{\"topic\": \"%s\", \"partition\": %" PRId32 ", \"offset\": %" PRId64
           ", \"timestamp\": %" PRId64 ", ",
           rd_kafka_topic_name(m->rkt), m->partition, m->offset,
           rd_kafka_message_timestamp(m, NULL));
    print_hex("key", m->key, m->key_len);
    printf(", ");
    print_hex("value", m->payload, m->len);
    printf(", \"headers\": {");
    if (rd_kafka_message_headers(m, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &n); i++) {
            printf("%s", i ? ", " : "");
            print_hex(name, value, n);
        }
    printf("}}\n");
}

static void read_all(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
    time_t end = time(NULL) + READ_S;
    int open = list->cnt;
    rd_kafka_resp_err_t code = rd_kafka_assign(rk, list);
    if (code)
        die("not assigned", rd_kafka_err2str(code));
    while (open > 0) {
        if (time(NULL) > end)
            die("read", "no end in time");
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, POLL_MS);
        if (!m)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            open--;
        else if (m->err && m->rkt)
            die("read", rd_kafka_message_errstr(m));
        else if (!m->err)
            print_record(m);
        rd_kafka_message_destroy(m);
    }
}

/* A broker that has just started coordinates its groups only a little later, and leads a topic's
 * partitions only a little after that was made. */
static bool passing(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
           code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
           code == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
           code == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

/* One question, until its answer is no passing one. */
typedef rd_kafka_resp_err_t (*question)(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                                        int i, int64_t *ret_low, int64_t *ret_high);

static rd_kafka_resp_err_t committed_of(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                                        int i, int64_t *ret_low, int64_t *ret_high)
{
    (void)i, (void)ret_low, (void)ret_high;
    return rd_kafka_committed(rk, list, ASK_MS);
}

static rd_kafka_resp_err_t ends_of(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int i,
                                   int64_t *ret_low, int64_t *ret_high)
{
    return rd_kafka_query_watermark_offsets(rk, list->elems[i].topic, list->elems[i].partition,
                                            ret_low, ret_high, ASK_MS);
}

static void ask(const char *what, question q, rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list,
                int i, int64_t *ret_low, int64_t *ret_high)
{
    time_t end = time(NULL) + ASK_MS / 1000;
    rd_kafka_resp_err_t code;
    while (passing(code = q(rk, list, i, ret_low, ret_high)) && time(NULL) <= end)
        rd_kafka_poll(rk, POLL_MS);
    if (code)
        die(what, rd_kafka_err2str(code));
}

static void print_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list)
{
    ask("committed offsets", committed_of, rk, list, 0, NULL, NULL);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *at = &list->elems[i];
        int64_t low = 0, high = 0;
        ask("watermarks", ends_of, rk, list, i, &low, &high);
        printf("{\"topic\": \"%s\", \"partition\": %" PRId32 ", \"low\": %" PRId64
               ", \"high\": %" PRId64 ", \"committed\": %" PRId64 "}\n",
               at->topic, at->partition, low, high, at->offset < 0 ? -1 : at->offset);
    }
}

int main(int argc, char **argv)
{
    bool committed = argc > 2 && strcmp(argv[1], "--committed") == 0;
    int first = committed ? 3 : 1;
    if (argc <= first)
        die("usage", "ktail [--committed GROUP] TOPIC...");
    rd_kafka_t *rk = connect_consumer(committed ? argv[2] : "ktail");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(argc);
    for (int i = first; i < argc; i++)
        add_partitions(rk, argv[i], list);
    if (committed)
        print_committed(rk, list);
    else
        read_all(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
    return fflush(stdout) == 0 ? 0 : 1;
}
