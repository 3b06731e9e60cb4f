/*
 * config_impl.h - what config.c, config_value.c and config_show.c share; nobody else includes it.
 */
#ifndef INFERQ_COMMON_CONFIG_IMPL_H
#define INFERQ_COMMON_CONFIG_IMPL_H

#include "common/config.h"

enum config_rank {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_COMMON_ENV, /* a variable that other programs know too */
    CONFIG_FROM_ENV,
    CONFIG_FROM_FLAG,
};

struct config_value {
    char *text;   /* owned; NULL: required and not there yet */
    int64_t num;  /* all types but TEXT */
    char *origin; /* owned; NULL as text */
    enum config_rank rank;
    int load; /* which config_load_file set it */
};

struct config_kafka {
    char *name; /* owned, without "kafka." */
    struct config_value value;
};

struct config {
    const struct config_key *keys; /* borrowed */
    size_t key_count;
    struct config_value *values; /* one per key */
    struct config_kafka *kafka;
    size_t kafka_count;
    int loads;
};

/* Reads `text` as the key's type and holds it against its range. RC_REJECT: says what is wrong and
 * what would be right, without the key's name and without a secret's text. */
enum rc config_value_parse(const struct config_key *key, const char *text, int64_t *ret_num,
                           struct err *err) MUST_CHECK;

enum { CONFIG_NUMBER_BYTES = 32 };
/* The number as one would write it for this type: "64KiB", "250ms", "12". Returns `out`. */
const char *config_value_text(enum config_type type, int64_t num, char out[CONFIG_NUMBER_BYTES]);

/* The key that was probably meant; NULL: none is near. */
const char *config_nearest(const struct config_key *keys, const char *name);

#endif
