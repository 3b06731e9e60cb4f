/*
 * results_failed.h - `inferq results --failed`: the requests of the jobs that did not succeed, in
 * the shape of an OpenAI batch input file, which `inferq submit` accepts.
 */
#ifndef INFERQ_ADMIN_RESULTS_FAILED_H
#define INFERQ_ADMIN_RESULTS_FAILED_H

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "common/err.h"

enum rc results_failed(struct ctx *ctx, const struct batch *b, struct err *err) MUST_CHECK;

#endif
