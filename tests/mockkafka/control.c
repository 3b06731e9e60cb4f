/*
 * mockkafka: the control language.
 *
 * Happy path: a line is split at blanks, its first word is looked up in COMMANDS, its arguments
 * are counted and converted, one function of librdkafka's mock API is called.
 * What goes wrong: an unknown word, a bad number, a broker or partition that is not there: the
 * reply is "error: " and the reason, and nothing has changed.
 */
#include "tests/mockkafka/control.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { WORDS_MAX = 6, ERRORS_MAX = 1000 };

struct call {
    rd_kafka_mock_cluster_t *cluster;
    int argc; /* without the command itself */
    char **argv;
    char *reply;
};

/* The request types that the mock brokers answer. */
static const struct api {
    const char *name;
    int16_t key;
} APIS[] = {
    {"Produce", 0},
    {"Fetch", 1},
    {"ListOffsets", 2},
    {"Metadata", 3},
    {"OffsetCommit", 8},
    {"OffsetFetch", 9},
    {"FindCoordinator", 10},
    {"JoinGroup", 11},
    {"Heartbeat", 12},
    {"LeaveGroup", 13},
    {"SyncGroup", 14},
    {"ApiVersions", 18},
    {"InitProducerId", 22},
    {"OffsetForLeaderEpoch", 23},
    {"AddPartitionsToTxn", 24},
    {"AddOffsetsToTxn", 25},
    {"EndTxn", 26},
    {"TxnOffsetCommit", 28},
};

static bool reply_error(const struct call *call, const char *what, const char *value)
{
    (void)snprintf(call->reply, CONTROL_REPLY_MAX_BYTES, "error: %s: %s", what, value);
    return false;
}

static bool reply_outcome(const struct call *call, rd_kafka_resp_err_t err)
{
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return reply_error(call, rd_kafka_err2name(err), rd_kafka_err2str(err));
    (void)snprintf(call->reply, CONTROL_REPLY_MAX_BYTES, "ok");
    return true;
}

static bool parse_int(const struct call *call, const char *text, long min, long max, int *ret_value)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max)
        return reply_error(call, "not a number in range", text);
    *ret_value = (int)value;
    return true;
}

static bool parse_api(const struct call *call, const char *text, int16_t *ret_key)
{
    for (size_t i = 0; i < sizeof(APIS) / sizeof(APIS[0]); i++) {
        if (strcasecmp(APIS[i].name, text) == 0) {
            *ret_key = APIS[i].key;
            return true;
        }
    }
    int value;
    if (!parse_int(call, text, 0, INT16_MAX, &value))
        return reply_error(call, "unknown request type", text);
    *ret_key = (int16_t)value;
    return true;
}

/* An error's code, or its name as librdkafka spells it ("NOT_LEADER_FOR_PARTITION"). */
static bool parse_error(const struct call *call, const char *text, rd_kafka_resp_err_t *ret_err)
{
    const struct rd_kafka_err_desc *descs;
    size_t count;
    rd_kafka_get_err_descs(&descs, &count);
    for (size_t i = 0; i < count; i++) {
        if (descs[i].name != NULL && strcasecmp(descs[i].name, text) == 0) {
            *ret_err = descs[i].code;
            return true;
        }
    }
    int value;
    if (!parse_int(call, text, INT16_MIN, INT16_MAX, &value))
        return reply_error(call, "unknown error", text);
    *ret_err = (rd_kafka_resp_err_t)value;
    return true;
}

static bool run_ping(const struct call *call)
{
    return reply_outcome(call, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static bool run_topic(const struct call *call)
{
    int partitions, replicas = 1;
    if (!parse_int(call, call->argv[1], 1, 10000, &partitions))
        return false;
    if (call->argc > 2 && !parse_int(call, call->argv[2], 1, 100, &replicas))
        return false;
    return control_create_topic(call->cluster, call->argv[0], partitions, replicas, call->reply);
}

static bool run_down(const struct call *call)
{
    int broker;
    return parse_int(call, call->argv[0], 1, INT_MAX, &broker) &&
           reply_outcome(call, rd_kafka_mock_broker_set_down(call->cluster, broker));
}

static bool run_up(const struct call *call)
{
    int broker;
    return parse_int(call, call->argv[0], 1, INT_MAX, &broker) &&
           reply_outcome(call, rd_kafka_mock_broker_set_up(call->cluster, broker));
}

static bool run_rtt(const struct call *call)
{
    int broker, rtt_ms;
    return parse_int(call, call->argv[0], 1, INT_MAX, &broker) &&
           parse_int(call, call->argv[1], 0, 3600000, &rtt_ms) &&
           reply_outcome(call, rd_kafka_mock_broker_set_rtt(call->cluster, broker, rtt_ms));
}

static bool run_leader(const struct call *call)
{
    int partition, broker;
    return parse_int(call, call->argv[1], 0, INT_MAX, &partition) &&
           parse_int(call, call->argv[2], -1, INT_MAX, &broker) &&
           reply_outcome(call, rd_kafka_mock_partition_set_leader(call->cluster, call->argv[0],
                                                                  partition, broker));
}

static bool run_coordinator(const struct call *call)
{
    int broker;
    return parse_int(call, call->argv[2], -1, INT_MAX, &broker) &&
           reply_outcome(call, rd_kafka_mock_coordinator_set(call->cluster, call->argv[0],
                                                             call->argv[1], broker));
}

static bool run_topic_error(const struct call *call)
{
    rd_kafka_resp_err_t err;
    if (!parse_error(call, call->argv[1], &err))
        return false;
    rd_kafka_mock_topic_set_error(call->cluster, call->argv[0], err);
    return reply_outcome(call, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static bool run_fail(const struct call *call)
{
    int16_t api;
    rd_kafka_resp_err_t err;
    int count = 1;
    if (!parse_api(call, call->argv[0], &api) || !parse_error(call, call->argv[1], &err))
        return false;
    if (call->argc > 2 && !parse_int(call, call->argv[2], 1, ERRORS_MAX, &count))
        return false;
    rd_kafka_resp_err_t errs[ERRORS_MAX];
    for (int i = 0; i < count; i++)
        errs[i] = err;
    rd_kafka_mock_push_request_errors_array(call->cluster, api, (size_t)count, errs);
    return reply_outcome(call, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static bool run_fail_broker(const struct call *call)
{
    int broker, count = 1, rtt_ms = 0;
    int16_t api;
    rd_kafka_resp_err_t err;
    if (!parse_int(call, call->argv[0], 1, INT_MAX, &broker) ||
        !parse_api(call, call->argv[1], &api) || !parse_error(call, call->argv[2], &err))
        return false;
    if (call->argc > 3 && !parse_int(call, call->argv[3], 1, ERRORS_MAX, &count))
        return false;
    if (call->argc > 4 && !parse_int(call, call->argv[4], 0, 3600000, &rtt_ms))
        return false;
    rd_kafka_resp_err_t outcome = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < count && outcome == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        outcome = rd_kafka_mock_broker_push_request_error_rtts(call->cluster, broker, api, 1, err,
                                                               rtt_ms);
    return reply_outcome(call, outcome);
}

static bool run_pending(const struct call *call)
{
    int broker;
    int16_t api;
    size_t count = 0;
    if (!parse_int(call, call->argv[0], 1, INT_MAX, &broker) ||
        !parse_api(call, call->argv[1], &api))
        return false;
    rd_kafka_resp_err_t err =
        rd_kafka_mock_broker_error_stack_cnt(call->cluster, broker, api, &count);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
        return reply_outcome(call, err);
    (void)snprintf(call->reply, CONTROL_REPLY_MAX_BYTES, "ok %zu", count);
    return true;
}

static bool run_clear(const struct call *call)
{
    int16_t api;
    if (!parse_api(call, call->argv[0], &api))
        return false;
    rd_kafka_mock_clear_request_errors(call->cluster, api);
    return reply_outcome(call, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static bool run_help(const struct call *call);

static const struct command {
    const char *name;
    int args_min;
    int args_max;
    bool (*run)(const struct call *call);
    const char *usage;
} COMMANDS[] = {
    {"ping", 0, 0, run_ping, "answers ok"},
    {"topic", 2, 3, run_topic, "NAME PARTITIONS [REPLICAS]: create a topic"},
    {"down", 1, 1, run_down, "BROKER: refuse and drop its connections"},
    {"up", 1, 1, run_up, "BROKER: accept again"},
    {"rtt", 2, 2, run_rtt, "BROKER MS: delay each of its answers"},
    {"leader", 3, 3, run_leader, "TOPIC PARTITION BROKER: move a leader (-1: none)"},
    {"coordinator", 3, 3, run_coordinator, "group|transaction KEY BROKER: move a coordinator"},
    {"topic-error", 2, 2, run_topic_error, "TOPIC ERROR: metadata requests answer ERROR"},
    {"fail", 2, 3, run_fail, "API ERROR [COUNT]: the next COUNT requests of any broker fail"},
    {"fail-broker", 3, 5, run_fail_broker, "BROKER API ERROR [COUNT [RTT_MS]]: one broker's"},
    {"pending", 2, 2, run_pending, "BROKER API: how many of fail-broker's are left"},
    {"clear", 1, 1, run_clear, "API: forget what fail left"},
    {"help", 0, 0, run_help, "this list"},
};

static bool run_help(const struct call *call)
{
    size_t used = 0;
    (void)snprintf(call->reply, CONTROL_REPLY_MAX_BYTES, "ok");
    used = strlen(call->reply);
    for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
        int n = snprintf(call->reply + used, CONTROL_REPLY_MAX_BYTES - used, "\n%s %s",
                         COMMANDS[i].name, COMMANDS[i].usage);
        assert(n > 0 && used + (size_t)n < CONTROL_REPLY_MAX_BYTES);
        used += (size_t)n;
    }
    return true;
}

/* Splits at blanks, in place; WORDS_MAX + 1 says that there are more. */
static int split(char *line, char **ret_words)
{
    int count = 0;
    char *save = NULL;
    for (char *word = strtok_r(line, " \t\r", &save); word != NULL;
         word = strtok_r(NULL, " \t\r", &save)) {
        if (count == WORDS_MAX)
            return WORDS_MAX + 1;
        ret_words[count++] = word;
    }
    return count;
}

bool control_create_topic(rd_kafka_mock_cluster_t *cluster, const char *topic, int partitions,
                          int replicas, char *reply)
{
    struct call call = {.cluster = cluster, .reply = reply};
    return reply_outcome(&call, rd_kafka_mock_topic_create(cluster, topic, partitions, replicas));
}

bool control_run(rd_kafka_mock_cluster_t *cluster, char *line, char *reply)
{
    char *words[WORDS_MAX];
    struct call call = {.cluster = cluster, .reply = reply};
    int count = split(line, words);
    if (count == 0)
        return reply_error(&call, "no command", "try help");
    if (count > WORDS_MAX)
        return reply_error(&call, "too many words", words[0]);
    call.argc = count - 1;
    call.argv = words + 1;
    for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++) {
        if (strcmp(COMMANDS[i].name, words[0]) != 0)
            continue;
        if (call.argc < COMMANDS[i].args_min || call.argc > COMMANDS[i].args_max)
            return reply_error(&call, COMMANDS[i].name, COMMANDS[i].usage);
        return COMMANDS[i].run(&call);
    }
    return reply_error(&call, "unknown command", words[0]);
}
