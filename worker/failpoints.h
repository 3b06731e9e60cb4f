/*
 * failpoints.h - the worker's failpoints: the one table of all places (common/failpoint.h says what
 * a failpoint is and how a test sets one).
 */
#ifndef INFERQ_WORKER_FAILPOINTS_H
#define INFERQ_WORKER_FAILPOINTS_H

#include "common/err.h"
#include "common/failpoint.h"

#ifdef INFERQ_FAILPOINTS

/* Ends with a NULL name. */
extern const struct failpoint_place worker_failpoints[];

/* From INFERQ_FAILPOINT and INFERQ_FAILPOINT_LOG. RC_REJECT: not understood; all places were listed
 * on standard error. */
enum rc failpoints_setup(struct err *err) MUST_CHECK;

#else

#define failpoints_setup(err) RC_OK

#endif

#endif
