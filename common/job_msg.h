/*
 * job_msg.h - the job message, version 1 (schemas/messages/job.md), to and from msgpack.
 *
 * Decoding checks shape, types and bounds, never trusts a length, and copies nothing: all spans
 * point into the bytes that were given. What it accepts is safe to hold in Postgres except that
 * strings may be any UTF-8 without NUL (checked here) and `body` any UTF-8 JSON text.
 */
#ifndef INFERQ_COMMON_JOB_MSG_H
#define INFERQ_COMMON_JOB_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/span.h"

enum {
    JOB_MSG_VERSION = 1,
    JOB_MSG_BYTES_MAX = 8 << 20, /* absolute bound; configuration may be stricter */
    JOB_TEXT_BYTES_MAX = 512,    /* batch, custom_id, url, context_version, prompt_version */
    JOB_NAME_BYTES_MAX = 128,    /* app, task, team, sensitivity, tag keys */
    JOB_TAGS_MAX = 16,
    JOB_ATTEMPTS_MAX = 100,
};

enum output_kind { OUTPUT_TEXT = 0, OUTPUT_JSON = 1, OUTPUT_LABEL = 2 };

struct job_msg {
    struct jobid job_id, batch_id;
    struct span batch, custom_id, app, task, team; /* task and team may be absent */
    int priority;                                  /* enum priority; -1 absent (topic wins) */
    struct span url;                               /* "/v1/chat/completions" */
    struct span body;                              /* UTF-8 JSON object text, kept as sent */
    enum output_kind output_kind;
    struct span output_schema; /* JSON text, OUTPUT_JSON */
    struct span output_labels; /* raw msgpack array of str, OUTPUT_LABEL: see job_msg_label */
    uint32_t output_label_count;
    struct span context_version, prompt_version; /* absent allowed */
    struct span sensitivity;                     /* absent allowed */
    struct span tags;                            /* raw msgpack map of str to str; absent allowed */
    int64_t created_at_ms; /* Unix ms, the batch's creation: equals the id's first six bytes */
    int64_t deadline_ms;   /* Unix ms; 0: none */
    int max_attempts;      /* 1 .. JOB_ATTEMPTS_MAX; 0: the worker's default */
    int64_t max_cost_nusd; /* -1: none */
    uint32_t generation;
};

/* RC_REJECT: not a job; *ret_class says CLASS_MALFORMED (no msgpack map, too deep, unknown version)
 * or CLASS_INVALID_JOB (a field is missing, of the wrong type or out of range). `ret` is then
 * filled as far as was read, with job_id left zero unless it was read, for the dead letter.
 * Does not check the id against the fields: job_msg_id_matches does. */
enum rc job_msg_decode(const void *p, size_t n, struct job_msg *ret, int *ret_class,
                       struct err *err) MUST_CHECK;

/* Appends the message. RC_REJECT: a field is out of bounds; RC_FULL: `out` is. */
enum rc job_msg_encode(const struct job_msg *msg, struct buf *out, struct err *err) MUST_CHECK;

/* The id (and the batch's creation time) are what the fields make them. */
bool job_msg_id_matches(const struct job_msg *msg);

/* The i-th label, i < output_label_count; empty span past the end. */
struct span job_msg_label(const struct job_msg *msg, uint32_t i);
/* Appends a msgpack array of str made from labels, for output_labels. */
enum rc job_msg_labels_encode(const struct span *labels, uint32_t count, struct buf *out,
                              struct err *err) MUST_CHECK;
/* Appends a msgpack map of str to str made from pairs (key, value, key, value ...). */
enum rc job_msg_tags_encode(const struct span *pairs, uint32_t pair_count, struct buf *out,
                            struct err *err) MUST_CHECK;

#endif
