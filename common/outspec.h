/*
 * outspec.h - what a job's output must look like, and whether an answer does (pure).
 *
 * text: not empty (white space and NULs alone are empty). label: exactly one of a list after
 * trimming white space, quotes and a final full stop, compared without case; the canonical label is
 * what counts. json: one JSON value that satisfies a small, closed subset of JSON Schema: type
 * (string or list of strings), properties, required, items, enum, additionalProperties (true or
 * false only), plus the annotations title, description, default, examples, $schema, which are
 * ignored. Any other keyword is refused when the schema is compiled, so nobody believes in a check
 * that is not made.
 */
#ifndef INFERQ_COMMON_OUTSPEC_H
#define INFERQ_COMMON_OUTSPEC_H

#include <stdbool.h>

#include "common/err.h"
#include "common/job_msg.h"
#include "common/span.h"

enum { OUTSPEC_SCHEMA_BYTES_MAX = 64 << 10, OUTSPEC_DEPTH_MAX = 32, OUTSPEC_LABELS_MAX = 1000 };

struct outspec;

/* From a schema text. RC_REJECT names the place ("/properties/age: keyword 'minimum' is not
 * checked by inferq; remove it or ..."). returns owned */
enum rc outspec_json(struct span schema, struct outspec **ret_spec, struct err *err) MUST_CHECK;
/* From labels: 1 .. OUTSPEC_LABELS_MAX, each 1..128 bytes, different without case. returns owned */
enum rc outspec_labels(const struct span *labels, uint32_t count, struct outspec **ret_spec,
                       struct err *err) MUST_CHECK;
/* From a message; OUTPUT_TEXT gives a spec too. returns owned */
enum rc outspec_of_job(const struct job_msg *msg, struct outspec **ret_spec,
                       struct err *err) MUST_CHECK;
void outspec_free(struct outspec *s);

/* Does the answer's text satisfy it? RC_OK, or RC_REJECT with the reason in words that fit both a
 * dead letter and the re-ask put to the model. One ```json fence around the value is forgiven. */
enum rc outspec_check(const struct outspec *s, struct span answer, struct err *err) MUST_CHECK;

/* The label of the list that the answer means, as the list spells it; absent: none, or not a label
 * spec. Lives as long as the spec. */
struct span outspec_label(const struct outspec *s, struct span answer);

/* Appends the sentence that asks the model again: what was wrong, what is wanted. */
struct buf;
bool outspec_reask(const struct outspec *s, const char *what_was_wrong, struct buf *out);

#endif
