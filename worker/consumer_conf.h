/*
 * consumer_conf.h - librdkafka's settings for the consumer: ours, the user's, and which wins.
 * Only consumer.c includes it.
 */
#ifndef INFERQ_WORKER_CONSUMER_CONF_H
#define INFERQ_WORKER_CONSUMER_CONF_H

#include <librdkafka/rdkafka.h>

#include "worker/consumer.h"

/* RC_REJECT: no brokers are named, or librdkafka refuses a setting. returns owned */
enum rc consumer_conf_make(const struct consumer_conf *conf, rd_kafka_conf_t **ret_conf,
                           struct err *err) MUST_CHECK;

#endif
