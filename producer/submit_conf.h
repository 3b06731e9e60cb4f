/*
 * submit_conf.h - what one run of submit is to do: options and settings, read, checked and turned
 * into what the jobs of the batch will say.
 */
#ifndef INFERQ_PRODUCER_SUBMIT_CONF_H
#define INFERQ_PRODUCER_SUBMIT_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/config.h"
#include "common/err.h"
#include "common/job_msg.h"
#include "common/sign.h"
#include "common/span.h"
#include "producer/input.h"
#include "producer/submit_args.h"

enum { SUBMIT_TOPIC_BYTES = 160, PROMPT_VERSION_BYTES = 65 /* hex SHA-256 and NUL */ };

struct submit_conf {
    const struct submit_args *args; /* borrowed */
    const struct config *config;    /* borrowed */

    struct span app, team, task; /* team and task may be absent */
    struct span batch;           /* absent: to be made from the inputs */
    struct span lane;            /* absent: as the lanes' rules, then the priority say */
    int priority;
    struct span model, url, context_version; /* absent: not given; url always stands */
    int64_t max_output_tokens;               /* 0: not given */
    int max_attempts;                        /* 0: not given */
    int64_t max_cost_nusd;                   /* -1: not given */

    struct buf prompt_text;
    struct span prompt;                        /* absent: none */
    char prompt_version[PROMPT_VERSION_BYTES]; /* "" without a prompt */

    enum output_kind output_kind;
    struct buf schema_text, labels;
    uint32_t label_count;

    enum input_format format;
    bool skips;                     /* --on-error skip */
    char topic[SUBMIT_TOPIC_BYTES]; /* of the lane, or the priority, until a rule says otherwise */
    size_t record_bytes_max;

    bool has_key;
    struct sign_key key;
};

/* RC_REJECT names the option and says what would be right. `args` and `config` must outlive
 * `ret_conf`; submit_conf_done in every case. */
enum rc submit_conf_make(const struct submit_args *args, const struct config *config,
                         struct submit_conf *ret_conf, struct err *err) MUST_CHECK;
void submit_conf_done(struct submit_conf *conf);

/* The topic of this lane, from now on. */
void submit_conf_topic(struct submit_conf *conf, const char *lane);

/* A name for the batch that the same command always has: what the first input is called, and a
 * short hash of all inputs' absolute paths and of what is asked of them. RC_REJECT: standard input
 * has no path. `out`: at least 96 bytes. */
enum rc submit_conf_batch_name(const struct submit_conf *conf, const struct input *input, char *out,
                               size_t out_bytes, struct err *err) MUST_CHECK;

/* --deadline against Postgres's clock: Unix ms, 0: none. RC_REJECT: no time, or past. */
enum rc submit_conf_deadline(const struct submit_conf *conf, int64_t now_ms, int64_t *ret_ms,
                             struct err *err) MUST_CHECK;

#endif
