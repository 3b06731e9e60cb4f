/*
 * outbox.c - the last steps of a job on this side: signature, headers, Kafka.
 *
 * Happy path: send copies the record into librdkafka's queue; serve counts the reports. A record is
 * written when its report says so, and at no other moment. Failure: the first failed report is
 * kept, and everything afterwards is answered with it, because a batch with a hole is not complete:
 * the caller stops, leaves the batch unsealed, and a new run sends it again.
 */
#include "producer/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/kafka_producer.h"

enum {
    PING_MS = 10000,
    TRACE_BYTES = 56, /* "00-<32>-<16>-00" and NUL */
    TRACE_SPAN_AT = 36,
};

struct outbox {
    struct kafka_producer *producer;
    const struct sign_key *key;
    struct span app;
    const char *topic;
    char trace[TRACE_BYTES];
    int64_t written;
    enum rc failed_rc;
    struct err failed;
};

static void delivered(void *arg, void *opaque, enum rc rc, const char *why)
{
    struct outbox *o = arg;
    (void)opaque;
    if (rc == RC_OK) {
        o->written++;
        return;
    }
    if (o->failed_rc != RC_OK)
        return;
    o->failed_rc = rc;
    if (rc == RC_REJECT && strstr(why, "nknown topic"))
        (void)err_set(&o->failed, rc,
                      "topic %s is not there: make it with `inferq topics`, or set prefix to the "
                      "topics' own",
                      o->topic);
    else
        (void)err_set(&o->failed, rc, "topic %s: a record was not written: %s", o->topic, why);
}

/* The queue is kept small, for the whole program is to fit in 128 MB. */
static const char *const modest[][2] = {
    {"queue.buffering.max.messages", "20000"},
    {"queue.buffering.max.kbytes", "16384"},
    {"topic.metadata.propagation.max.ms", "5000"}, /* how soon a missing topic is told */
};

static enum rc set_kafka(struct config *settings, const char *name, const char *value,
                         struct err *err)
{
    char key[160];
    snprintf(key, sizeof key, "kafka.%s", name);
    return config_set(settings, key, value, err);
}

/* A copy of the kafka.* settings with ours where the user's say nothing. */
static enum rc kafka_settings(const struct outbox_conf *conf, struct config **ret_settings,
                              struct err *err)
{
    static const struct config_key no_keys[] = {{.name = NULL}};
    char record_bytes_max[32];
    const char *name, *value;
    struct config *settings = config_new(no_keys);
    if (!settings)
        return err_set(err, RC_NOMEM, "no memory");
    snprintf(record_bytes_max, sizeof record_bytes_max, "%zu", conf->record_bytes_max);
    enum rc rc = set_kafka(settings, "message.max.bytes", record_bytes_max, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof modest / sizeof modest[0]; i++)
        rc = set_kafka(settings, modest[i][0], modest[i][1], err);
    for (size_t i = 0; rc == RC_OK && config_kafka_entry(conf->config, i, &name, &value); i++)
        rc = set_kafka(settings, name, value, err);
    if (rc != RC_OK) {
        config_free(settings);
        return rc;
    }
    *ret_settings = settings;
    return RC_OK;
}

enum rc outbox_new(const struct outbox_conf *conf, struct outbox **ret_outbox, struct err *err)
{
    struct config *settings = NULL;
    struct outbox *o = calloc(1, sizeof *o);
    if (!o)
        return err_set(err, RC_NOMEM, "no memory");
    o->key = conf->key;
    o->app = conf->app;
    o->topic = conf->topic;
    enum rc rc = kafka_settings(conf, &settings, err);
    if (rc == RC_OK)
        rc = kafka_producer_new(settings, "inferq-submit", delivered, o, &o->producer, err);
    config_free(settings);
    if (rc == RC_OK)
        rc = kafka_producer_ping(o->producer, PING_MS, err);
    if (rc != RC_OK) {
        outbox_free(o);
        return rc;
    }
    *ret_outbox = o;
    return RC_OK;
}

void outbox_free(struct outbox *o)
{
    if (!o)
        return;
    kafka_producer_free(o->producer, 0);
    free(o);
}

void outbox_begin(struct outbox *o, const struct jobid *batch_id)
{
    memset(o->trace, '0', sizeof o->trace);
    hex_encode(batch_id->b, ID_BYTES, o->trace + 3);
    o->trace[2] = o->trace[TRACE_SPAN_AT - 1] = o->trace[TRACE_SPAN_AT + 16] = '-';
    o->trace[TRACE_BYTES - 1] = '\0';
}

enum rc outbox_send(struct outbox *o, const struct jobid *id, struct span value, struct err *err)
{
    char signature[SIGN_HEADER_BYTES];
    if (o->failed_rc != RC_OK) {
        *err = o->failed;
        return o->failed_rc;
    }
    size_t signature_bytes = sign_header(o->key, value, signature);
    /* W3C trace context: the trace is the batch, the span the tail of the job's id. */
    hex_encode(id->b + ID_BYTES - 8, 8, o->trace + TRACE_SPAN_AT);
    const struct kafka_header headers[] = {
        {"inferq-schema", SPAN_LIT("job/1")},
        {"inferq-app", o->app},
        {"inferq-signature", {signature, signature_bytes}},
        {"traceparent", {o->trace, TRACE_BYTES - 1}},
    };
    const struct kafka_out out = {
        .topic = o->topic,
        .key = {(const char *)id->b, ID_BYTES},
        .value = value,
        .headers = headers,
        .header_count = sizeof headers / sizeof headers[0],
    };
    return kafka_producer_send(o->producer, &out, err);
}

enum rc outbox_serve(struct outbox *o, int wait_ms, struct err *err)
{
    (void)kafka_producer_poll(o->producer, wait_ms);
    if (o->failed_rc != RC_OK)
        *err = o->failed;
    return o->failed_rc;
}

int64_t outbox_written(const struct outbox *o)
{
    return o->written;
}

int outbox_pending(const struct outbox *o)
{
    return kafka_producer_pending(o->producer);
}
