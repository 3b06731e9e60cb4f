/*
 * kafka_setting.h - one setting into librdkafka's configuration, for the producing and the
 * consuming edge.
 */
#ifndef INFERQ_COMMON_KAFKA_SETTING_H
#define INFERQ_COMMON_KAFKA_SETTING_H

#include <librdkafka/rdkafka.h>

#include "common/err.h"

/* RC_REJECT: librdkafka refuses it; the message names the setting, and never shows the value of one
 * that may hold a secret. */
enum rc kafka_setting(rd_kafka_conf_t *conf, const char *name, const char *value,
                      struct err *err) MUST_CHECK;

#endif
