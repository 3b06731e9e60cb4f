/*
 * skip.h - what the two forms of `inferq skip` share: skip.c leaves out jobs, skip_record.c
 * records.
 */
#ifndef INFERQ_ADMIN_SKIP_H
#define INFERQ_ADMIN_SKIP_H

#include "admin/cmd.h"

/* RC_REJECT: --reason is too long. */
enum rc skip_check_reason(const struct opts *o, struct err *err) MUST_CHECK;
/* Workers look at once at what is skipped. */
enum rc skip_notify(struct ctx *ctx, struct err *err) MUST_CHECK;
/* --topic, --partition, --offset. */
enum rc skip_record(struct ctx *ctx, struct err *err) MUST_CHECK;

#endif
