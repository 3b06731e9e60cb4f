/*
 * audit.h - the append-only record of who changed what.
 */
#ifndef INFERQ_ADMIN_AUDIT_H
#define INFERQ_ADMIN_AUDIT_H

#include "admin/cmd.h"
#include "common/err.h"

/* One row of audit_log, in the transaction that is open. */
enum rc audit(struct ctx *ctx, const char *action, const char *subject, const char *detail,
              struct err *err) MUST_CHECK;

#endif
