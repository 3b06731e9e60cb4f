/*
 * consumer_conf.c - librdkafka's settings for the consumer.
 *
 * Happy path: our defaults, then the user's kafka.* keys over them, then what the guarantees rest
 * on, over all. Failure: a setting that librdkafka refuses is RC_REJECT with its reason; a user's
 * value that must not stand is overruled and said so in the log.
 */
#include "worker/consumer_conf.h"

#include <stdio.h>
#include <string.h>

#include "common/kafka_setting.h"
#include "common/log.h"

/* The user's win. queued.min.messages stays at its default of 100,000: small values choke a fast
 * consumer; the queue is bounded by bytes. */
static const char *const defaults[][2] = {
    {"fetch.wait.max.ms", "100"}, /* a record ends the wait; a lane that resumes waits it out */
    {"queued.max.messages.kbytes", "16384"},
    {"fetch.max.bytes", "16777216"},
    {"max.partition.fetch.bytes", "262144"}, /* compressed: text is many times that in memory */
    {"auto.commit.interval.ms", "1000"},
    {"session.timeout.ms", "10000"}, /* until a killed worker's partitions are another's */
};

/* Offsets are stored after the Postgres commit only; a group new to a topic begins at its
 * beginning; eager assignment, because librdkafka's cooperative one loses assignments before 2.10;
 * no static members. Statistics tell whether brokers are there. */
static const char *const musts[][2] = {
    {"enable.auto.offset.store", "false"}, {"enable.auto.commit", "true"},
    {"auto.offset.reset", "earliest"},     {"partition.assignment.strategy", "roundrobin"},
    {"enable.partition.eof", "true"},      {"allow.auto.create.topics", "false"},
    {"statistics.interval.ms", "2000"},    {"group.instance.id", NULL},
};

/* Ours stands, whatever the user wrote. */
static bool is_ours(const struct consumer_conf *conf, const char *name, const char *value)
{
    const char *ours = NULL;
    bool found = true;
    if (strcmp(name, "group.id") == 0)
        ours = conf->group;
    else if (strcmp(name, "client.id") == 0)
        ours = conf->client_id;
    else
        found = false;
    for (size_t i = 0; !found && i < sizeof musts / sizeof musts[0]; i++) {
        found = strcmp(name, musts[i][0]) == 0;
        ours = musts[i][1];
    }
    if (found && (!ours || strcmp(value, ours) != 0))
        log_event(LOG_WARN, "kafka setting overruled", LF_STR("setting", name),
                  LF_STR("used", ours ? ours : "none"));
    return found;
}

static enum rc set_users(rd_kafka_conf_t *rk_conf, const struct consumer_conf *conf,
                         struct err *err)
{
    const char *name, *value;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && config_kafka_entry(conf->config, i, &name, &value); i++)
        if (!is_ours(conf, name, value))
            rc = kafka_setting(rk_conf, name, value, err);
    return rc;
}

static enum rc check_brokers(const rd_kafka_conf_t *conf, struct err *err)
{
    char value[256] = "";
    size_t n = sizeof value;
    /* UNKNOWN also stands for "not set"; a list too long for `value` is set. */
    if (rd_kafka_conf_get(conf, "bootstrap.servers", NULL, &n) == RD_KAFKA_CONF_OK && n > 1)
        return RC_OK;
    n = sizeof value;
    if (rd_kafka_conf_get(conf, "test.mock.num.brokers", value, &n) == RD_KAFKA_CONF_OK && *value &&
        strcmp(value, "0") != 0)
        return RC_OK;
    return err_set(err, RC_REJECT,
                   "no Kafka brokers are named: set kafka.bootstrap.servers (HOST:PORT,...) or "
                   "KAFKA_BOOTSTRAP_SERVERS");
}

enum rc consumer_conf_make(const struct consumer_conf *conf, rd_kafka_conf_t **ret_conf,
                           struct err *err)
{
    rd_kafka_conf_t *made = rd_kafka_conf_new();
    enum rc rc = kafka_setting(made, "client.id", conf->client_id, err);
    if (rc == RC_OK)
        rc = kafka_setting(made, "group.id", conf->group, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof defaults / sizeof defaults[0]; i++)
        rc = kafka_setting(made, defaults[i][0], defaults[i][1], err);
    if (rc == RC_OK)
        rc = set_users(made, conf, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof musts / sizeof musts[0]; i++)
        if (musts[i][1])
            rc = kafka_setting(made, musts[i][0], musts[i][1], err);
    if (rc == RC_OK)
        rc = check_brokers(made, err);
    if (rc != RC_OK) {
        rd_kafka_conf_destroy(made);
        return rc;
    }
    *ret_conf = made;
    return RC_OK;
}
