/*
 * kafka_producer.c - librdkafka's idempotent producer, used from one thread.
 *
 * Happy path: send hands a copy to librdkafka's queue; its threads batch, compress and deliver;
 * the report comes back in poll or flush and is passed on: that, and nothing else, settles a
 * record.
 *
 * Failure modes: a full queue is the caller's to wait out (RC_FULL). Brokers that are away are
 * librdkafka's to wait out, up to message.timeout.ms. A fatal error (the idempotent producer has
 * lost track of its sequence) ends the instance: poll and flush serve what is still reported, purge
 * the rest and make a new one from the same settings, at most once a second.
 *
 * librdkafka's complaints come through its log, from its own threads; the last one is kept, because
 * "timed out" alone tells nobody that the port was wrong.
 */
#include "common/kafka_producer.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "common/clock.h"
#include "common/kafka_producer_internal.h"
#include "common/kafka_setting.h"
#include "common/log.h"

enum {
    REBUILD_EVERY_US = 1000 * 1000,
    LAST_REPORTS_MS = 5000, /* for what is in flight when an instance ends */
    POLL_SLICE_MS = 100,
};

/* Set before the user's: theirs win. The queue's bound is small, as whole programs live in 128 MB.
 * How large a record may be is for its topic to say: librdkafka's own bound, 1 MB, would refuse
 * what the topics were made for. */
static const char *const defaults[][2] = {
    {"linger.ms", "5"},
    {"compression.type", "lz4"},
    {"queue.buffering.max.kbytes", "32768"},
    {"message.max.bytes", "16777216"},
};

/* Set after the user's: the guarantees rest on them. */
static const char *const musts[][2] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"partitioner", "murmur2_random"},
    {"delivery.report.only.error", "false"},
};

/* ---- settings ----------------------------------------------------------------------------- */

static bool is_must(const char *name, const char *value)
{
    if (strcmp(name, "request.required.acks") == 0) /* the old name */
        name = "acks";
    for (size_t i = 0; i < sizeof musts / sizeof musts[0]; i++) {
        if (strcmp(name, musts[i][0]) != 0)
            continue;
        if (strcmp(value, musts[i][1]) != 0)
            log_event(LOG_WARN, "kafka setting overridden", LF_STR("setting", name),
                      LF_STR("used", musts[i][1]));
        return true;
    }
    return false;
}

static enum rc set_users(rd_kafka_conf_t *conf, const struct config *config, struct err *err)
{
    const char *name, *value;
    enum rc rc = RC_OK;
    for (size_t i = 0; rc == RC_OK && config_kafka_entry(config, i, &name, &value); i++)
        if (!is_must(name, value))
            rc = kafka_setting(conf, name, value, err);
    return rc;
}

static bool is_set(const rd_kafka_conf_t *conf, const char *name, char *value, size_t value_bytes)
{
    size_t n = value_bytes;
    return rd_kafka_conf_get(conf, name, value, &n) == RD_KAFKA_CONF_OK && *value &&
           strcmp(value, "0") != 0;
}

/* Also notes the brokers' addresses, for messages. */
static enum rc check_brokers(struct kafka_producer *p, struct err *err)
{
    char mocks[16] = "";
    if (is_set(p->conf, "bootstrap.servers", p->bootstrap, sizeof p->bootstrap))
        return RC_OK;
    snprintf(p->bootstrap, sizeof p->bootstrap, "an embedded mock cluster");
    if (is_set(p->conf, "test.mock.num.brokers", mocks, sizeof mocks))
        return RC_OK;
    return err_set(err, RC_REJECT,
                   "no Kafka brokers are named: set kafka.bootstrap.servers (HOST:PORT,...) or "
                   "KAFKA_BOOTSTRAP_SERVERS");
}

static enum rc make_conf(struct kafka_producer *p, const struct config *config,
                         const char *client_id, struct err *err)
{
    enum rc rc = kafka_setting(p->conf, "client.id", client_id, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof defaults / sizeof defaults[0]; i++)
        rc = kafka_setting(p->conf, defaults[i][0], defaults[i][1], err);
    if (rc == RC_OK)
        rc = set_users(p->conf, config, err);
    for (size_t i = 0; rc == RC_OK && i < sizeof musts / sizeof musts[0]; i++)
        rc = kafka_setting(p->conf, musts[i][0], musts[i][1], err);
    if (rc == RC_OK)
        rc = check_brokers(p, err);
    return rc;
}

/* ---- librdkafka's callbacks --------------------------------------------------------------- */

static void keep_complaint(struct kafka_producer *p, const char *text)
{
    if (strstr(text, "brokers are down")) /* says less than what came before it */
        return;
    pthread_mutex_lock(&p->lock);
    snprintf(p->complaint, sizeof p->complaint, "%s", text);
    pthread_mutex_unlock(&p->lock);
}

/* From any of its threads. Without an error callback its errors come here too, as ERROR, mostly
 * repeating a line that went before. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    enum { SYSLOG_WARNING = 4 };
    struct kafka_producer *p = rd_kafka_opaque(rk);
    const char *body = strncmp(text, "[thrd:", 6) == 0 ? strstr(text, "]: ") : NULL;
    text = body ? body + 3 : text;
    bool trouble = level <= SYSLOG_WARNING && strcmp(facility, "CONFWARN") != 0;
    if (p && trouble)
        keep_complaint(p, text);
    log_event(trouble && strcmp(facility, "ERROR") != 0 ? LOG_WARN : LOG_DEBUG, "librdkafka",
              LF_STR("facility", facility), LF_STR("text", text));
}

static enum rc judge(rd_kafka_resp_err_t code)
{
    /* Not a switch: the enum has some two hundred values, and new ones come. */
    static const rd_kafka_resp_err_t never[] = {
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
        RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
        RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        RD_KAFKA_RESP_ERR__INVALID_ARG,
        RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    };
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return RC_OK;
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        if (code == never[i])
            return RC_REJECT;
    return RC_RETRY;
}

static void on_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    struct kafka_producer *p = opaque;
    (void)rk;
    p->pending--;
    p->served++;
    enum rc rc = judge(message->err);
    p->delivered(p->arg, message->_private, rc, rc == RC_OK ? "" : rd_kafka_err2str(message->err));
}

/* ---- an instance's life ------------------------------------------------------------------- */

static enum rc make_instance(struct kafka_producer *p, struct err *err)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(p->conf);
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        return err_set(err, RC_REJECT, "kafka settings: %s", why);
    }
    p->rk = rk;
    return RC_OK;
}

/* Every record that is still out is reported before the instance goes. */
static void end_instance(struct kafka_producer *p, int flush_ms)
{
    if (!p->rk)
        return;
    p->ending = true;
    if (p->pending > 0)
        (void)rd_kafka_flush(p->rk, flush_ms);
    if (p->pending > 0)
        (void)rd_kafka_purge(p->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    int64_t until_us = clock_mono_us() + LAST_REPORTS_MS * INT64_C(1000);
    while (p->pending > 0 && clock_mono_us() < until_us)
        (void)rd_kafka_poll(p->rk, POLL_SLICE_MS);
    if (p->pending > 0)
        log_event(LOG_ERROR, "kafka records without a delivery report", LF_INT("n", p->pending));
    p->pending = 0;
    rd_kafka_destroy(p->rk);
    p->rk = NULL;
    p->ending = false;
}

/* Replaces an instance that has failed for good. Called where reports may be served. */
static void heal(struct kafka_producer *p)
{
    char why[256] = "";
    struct err err = {0};
    if (p->rk && rd_kafka_fatal_error(p->rk, why, sizeof why) == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    int64_t now_us = clock_mono_us();
    if (now_us < p->next_rebuild_us)
        return;
    p->next_rebuild_us = now_us + REBUILD_EVERY_US;
    log_event(LOG_ERROR, "kafka producer failed for good and is made anew", LF_STR("why", why),
              LF_INT("pending", p->pending));
    end_instance(p, LAST_REPORTS_MS);
    if (make_instance(p, &err) != RC_OK)
        log_event(LOG_ERROR, "kafka producer not made", LF_STR("why", err.text));
}

enum rc kafka_producer_new(const struct config *config, const char *client_id,
                           kafka_delivered delivered, void *arg,
                           struct kafka_producer **ret_producer, struct err *err)
{
    struct kafka_producer *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, RC_NOMEM, "no memory for a Kafka producer");
    pthread_mutex_init(&p->lock, NULL);
    p->delivered = delivered;
    p->arg = arg;
    p->conf = rd_kafka_conf_new();
    enum rc rc = make_conf(p, config, client_id, err);
    if (rc == RC_OK)
        rc = make_instance(p, err);
    if (rc != RC_OK) {
        kafka_producer_free(p, 0);
        return rc;
    }
    *ret_producer = p;
    return RC_OK;
}

bool kafka_producer_free(struct kafka_producer *p, int timeout_ms)
{
    if (!p)
        return true;
    if (p->unanswered)
        return false;
    end_instance(p, timeout_ms);
    rd_kafka_conf_destroy(p->conf);
    pthread_mutex_destroy(&p->lock);
    free(p);
    return true;
}

/* ---- sending ------------------------------------------------------------------------------ */

static enum rc make_headers(const struct kafka_out *out, rd_kafka_headers_t **ret_headers,
                            struct err *err)
{
    if (out->header_count == 0)
        return RC_OK;
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)out->header_count);
    for (int i = 0; i < out->header_count; i++) {
        const struct kafka_header *h = &out->headers[i];
        if (rd_kafka_header_add(headers, h->name, -1, h->value.p, (ssize_t)h->value.n)) {
            rd_kafka_headers_destroy(headers);
            return err_set(err, RC_NOMEM, "no memory for a record's headers");
        }
    }
    *ret_headers = headers;
    return RC_OK;
}

/* librdkafka copies both, but its interface does not say const. */
static void *bytes_of(struct span s)
{
    union {
        const char *borrowed;
        void *given;
    } p = {s.p};
    return p.given;
}

static rd_kafka_resp_err_t produce(struct kafka_producer *p, const struct kafka_out *out,
                                   rd_kafka_headers_t *headers)
{
    if (!headers)
        return rd_kafka_producev(p->rk, RD_KAFKA_V_TOPIC(out->topic),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_KEY(bytes_of(out->key), out->key.n),
                                 RD_KAFKA_V_VALUE(bytes_of(out->value), out->value.n),
                                 RD_KAFKA_V_TIMESTAMP(out->timestamp_ms),
                                 RD_KAFKA_V_OPAQUE(out->opaque), RD_KAFKA_V_END);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        p->rk, RD_KAFKA_V_TOPIC(out->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(bytes_of(out->key), out->key.n),
        RD_KAFKA_V_VALUE(bytes_of(out->value), out->value.n),
        RD_KAFKA_V_TIMESTAMP(out->timestamp_ms), RD_KAFKA_V_OPAQUE(out->opaque),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers); /* taken only on success */
    return code;
}

enum rc kafka_producer_send(struct kafka_producer *p, const struct kafka_out *out, struct err *err)
{
    rd_kafka_headers_t *headers = NULL;
    if (!p->rk || p->ending)
        return err_set(err, RC_RETRY, "the Kafka producer is being made anew");
    enum rc rc = make_headers(out, &headers, err);
    if (rc != RC_OK)
        return rc;
    rd_kafka_resp_err_t code = produce(p, out, headers);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        p->pending++;
        return RC_OK;
    }
    rc = code == RD_KAFKA_RESP_ERR__QUEUE_FULL ? RC_FULL : judge(code);
    return err_set(err, rc, "topic %s, %zu bytes: %s", out->topic, out->value.n,
                   rd_kafka_err2str(code));
}

int kafka_producer_poll(struct kafka_producer *p, int timeout_ms)
{
    p->served = 0;
    if (p->rk)
        (void)rd_kafka_poll(p->rk, timeout_ms);
    else
        (void)poll(NULL, 0, timeout_ms < POLL_SLICE_MS ? timeout_ms : POLL_SLICE_MS);
    heal(p);
    return p->served;
}

enum rc kafka_producer_flush(struct kafka_producer *p, int timeout_ms, struct err *err)
{
    int64_t until_us = clock_mono_us() + timeout_ms * INT64_C(1000);
    int64_t left_us = timeout_ms * INT64_C(1000);
    do {
        int slice_ms = left_us < POLL_SLICE_MS * 1000 ? (int)(left_us / 1000) : POLL_SLICE_MS;
        if (p->rk)
            (void)rd_kafka_flush(p->rk, slice_ms); /* short, so that a fatal error is soon seen */
        heal(p);
        left_us = until_us - clock_mono_us();
    } while (p->pending > 0 && left_us > 0);
    if (p->pending == 0)
        return RC_OK;
    return kafka_err_away(p, RD_KAFKA_RESP_ERR__TIMED_OUT, "records wait for their reports", err);
}

int kafka_producer_pending(const struct kafka_producer *p)
{
    return p->pending;
}

/* ---- are they there ----------------------------------------------------------------------- */

enum rc kafka_err_away(struct kafka_producer *p, rd_kafka_resp_err_t code, const char *what,
                       struct err *err)
{
    char complaint[sizeof p->complaint];
    pthread_mutex_lock(&p->lock);
    snprintf(complaint, sizeof complaint, "%s", p->complaint);
    pthread_mutex_unlock(&p->lock);
    return err_set(err, RC_RETRY, "Kafka at %s: %s: %s%s%s%s", p->bootstrap, what,
                   rd_kafka_err2str(code), *complaint ? " (" : "", complaint,
                   *complaint ? ")" : "");
}

enum rc kafka_producer_ping(struct kafka_producer *p, int timeout_ms, struct err *err)
{
    const rd_kafka_metadata_t *metadata = NULL;
    if (!p->rk)
        return err_set(err, RC_RETRY, "the Kafka producer is being made anew");
    rd_kafka_resp_err_t code = rd_kafka_metadata(p->rk, 0, NULL, &metadata, timeout_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kafka_err_away(p, code, "no answer", err);
    rd_kafka_metadata_destroy(metadata);
    return RC_OK;
}
