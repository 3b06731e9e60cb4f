/*
 * job_msg_internal.h - what reading and writing the job message share.
 */
#ifndef INFERQ_COMMON_JOB_MSG_INTERNAL_H
#define INFERQ_COMMON_JOB_MSG_INTERNAL_H

#include <stdint.h>

#include "common/err.h"
#include "common/job_msg.h"
#include "common/mp_read.h"

enum { KIND_COUNT = 3 };
extern const char *const job_msg_kind_names[KIND_COUNT]; /* by enum output_kind */

/* Whether `value`, one well-formed value, keeps the rules for tags; `name` is for the error. */
enum rc job_msg_check_tags(const char *name, struct mp_cursor value, struct err *err) MUST_CHECK;
/* The same for labels; *ret_count is how many there are. */
enum rc job_msg_check_labels(struct mp_cursor value, uint32_t *ret_count,
                             struct err *err) MUST_CHECK;

#endif
