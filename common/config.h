/*
 * config.h - configuration from one table.
 *
 * A program states its keys once: name, type, default, range, whether it may change at run time,
 * whether it is secret. Values come from, in rising order: default, file (`key = value` lines),
 * environment (INFERQ_KEY: upper case, dots and dashes as underscores), command line. Unknown keys
 * are refused with the nearest known name; everything is validated before anything connects.
 * `kafka.*` keys pass through to librdkafka under their own names.
 */
#ifndef INFERQ_COMMON_CONFIG_H
#define INFERQ_COMMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/err.h"
#include "common/span.h"

enum config_type {
    CONFIG_TEXT,     /* ret: char *, owned by the config; range: length */
    CONFIG_INT,      /* int64_t */
    CONFIG_BOOL,     /* "true|false|yes|no|on|off|1|0" -> int64_t 0/1 */
    CONFIG_DURATION, /* "250ms", "3s", "5m", "2h", "7d" -> int64_t microseconds */
    CONFIG_BYTES,    /* "64KiB", "1MiB", "2GiB", "4096" -> int64_t bytes */
    CONFIG_CHOICE,   /* one of `choices`, separated by '|' -> int64_t index */
};

struct config_key {
    const char *name; /* "endpoint.max_in_flight": lower case, dots. A part in capitals stands for
                         any name ("lane.NAME.weight"): such a key is reloadable and not secret, and
                         its default holds for every name that was given no value */
    enum config_type type;
    const char *deflt;   /* as text; NULL: required; "": absent allowed (TEXT) */
    int64_t min, max;    /* inclusive, in the unit of the value; both 0: no range */
    const char *choices; /* CONFIG_CHOICE: "off|require" */
    bool reloadable;     /* SIGHUP takes it over */
    bool secret;         /* its value is never shown; must be a reference env:/file: */
    const char *unit;    /* for the docs: "", "bytes", "jobs" ... */
    const char *help;    /* one sentence, for --help, man pages and the README's table */
};

struct config;

/* Values are single lines: blanks around them are dropped, other control characters are refused. In
 * a file, `#` begins a comment only as a line's first character, and a key may stand once. After
 * an error the config holds what was read before it; the caller is expected to give up.
 *
 * The source decides which value stands, not the order of the calls: flag over environment over
 * file over default; of two of the same source the later. */

enum {
    CONFIG_TEXT_MAX_BYTES = 4096,
    CONFIG_FILE_MAX_BYTES = 1 << 20,
    CONFIG_KAFKA_MAX = 256,
    CONFIG_NAMED_MAX = 256, /* values of keys with a name in them */
    CONFIG_NAME_MAX = 32, /* bytes of such a name: lower-case letters, digits, dashes in between */
};

/* `keys` is borrowed and ends with a row whose name is NULL; it must be sound (names unique,
 * defaults valid: asserted). returns owned; NULL: no memory */
struct config *config_new(const struct config_key *keys);
void config_free(struct config *c);

/* RC_REJECT: "FILE:LINE: what, and how to mend it". An absent file is an error too. */
enum rc config_load_file(struct config *c, const char *path, struct err *err) MUST_CHECK;
/* Reads every known key from the environment, INFERQ_KAFKA_* as kafka.* (underscores become dots),
 * and INFERQ_LANE_NIGHTLY_RUN_WEIGHT as lane.nightly-run.weight. KAFKA_BOOTSTRAP_SERVERS stands for
 * kafka.bootstrap.servers, below all INFERQ_ names. An empty variable is one that is not set.
 * Programs share an environment, so a stranger's INFERQ_ name is passed over. */
enum rc config_load_env(struct config *c, struct err *err) MUST_CHECK;
/* One setting from the command line ("key", "value"). */
enum rc config_set(struct config *c, const char *key, const char *value,
                   struct err *err) MUST_CHECK;
/* Required keys are there. Call after all loading, before any use. */
enum rc config_check(const struct config *c, struct err *err) MUST_CHECK;

int64_t config_int(const struct config *c, const char *key); /* all but TEXT; asserts it exists */
const char *config_text(const struct config *c, const char *key); /* "" when absent */
/* Where the value came from, for `--print-config`: "default", "FILE:LINE", "environment", "flag".
 */
const char *config_origin(const struct config *c, const char *key);

/* The reference of a `secret` key is what config_text gives: secret_load resolves it. */

/* Walks the pass-through keys, in the order they came in, without their "kafka." prefix; false past
 * the end. */
bool config_kafka_entry(const struct config *c, size_t i, const char **ret_name,
                        const char **ret_value);

/* Walks the keys with a name in them that were set ("lane.nightly.weight", its name "nightly"), in
 * the order they came in; false past the end. */
bool config_named_entry(const struct config *c, size_t i, const char **ret_key,
                        struct span *ret_name);

/* Whether both have the same value for it (of "lane.NAME.weight": for every name), wherever that
 * comes from; both of the same table. */
bool config_same(const struct config *a, const struct config *b, const char *key);
/* The same of all kafka.* keys together. */
bool config_same_kafka(const struct config *a, const struct config *b);
/* Gives `c` the values that `from` has for the reloadable keys, and `from` those of `c`: no memory
 * is needed, so it cannot fail. What config_text gave for a reloadable key lives as long as `from`
 * now; for others nothing changes. */
void config_take_reloadable(struct config *c, struct config *from);

/* All keys with values and origins, as a file that would load again; secrets (and Kafka's) only as
 * a comment that says "(set)". */
void config_print(const struct config *c, FILE *out);
/* The reference table of the keys: plain text for --help, Markdown for the README. */
void config_help(const struct config_key *keys, FILE *out);
void config_markdown(const struct config_key *keys, FILE *out);

#endif
