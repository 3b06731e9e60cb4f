/*
 * config_impl.h - what config.c, config_named.c, config_value.c and config_show.c share; nobody
 * else includes it.
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

/* The value of "lane.nightly.weight", of the key "lane.NAME.weight". */
struct config_named {
    size_t of; /* which key */
    char *key; /* owned */
    struct config_value value;
};

struct config {
    const struct config_key *keys; /* borrowed */
    size_t key_count;
    struct config_value *values; /* one per key */
    struct config_kafka *kafka;
    size_t kafka_count;
    struct config_named *named;
    size_t named_count;
    int loads;
};

enum { CONFIG_ENV_BYTES = 128 }; /* the longest INFERQ_ name */

bool config_is_pattern(const struct config_key *key);
/* The key whose name has a part in capitals where `key` has a name; -1: none. */
int config_pattern_of(const struct config_key *keys, const char *key, struct span *ret_name);
/* "INFERQ_LANE_NIGHTLY_WEIGHT" -> "lane.nightly.weight"; false: no key of a pattern. */
bool config_pattern_env(const struct config_key *keys, struct span env,
                        char ret_key[CONFIG_ENV_BYTES]);
/* What was set for this very key; NULL: nothing. */
struct config_named *config_named_find(const struct config *c, const char *key);
/* The same, added with the default's value if need be. RC_REJECT: there are too many. */
enum rc config_named_slot(struct config *c, size_t of, const char *key,
                          struct config_named **ret_slot, struct err *err) MUST_CHECK;
void config_named_free(struct config *c);
bool config_value_same(enum config_type type, const struct config_value *a,
                       const struct config_value *b);
/* For every name that either has a value for. */
bool config_named_same(const struct config *a, const struct config *b, size_t of);

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
