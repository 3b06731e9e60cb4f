/*
 * dead_walk.h - one act of the review desk, on the letters that a command names.
 *
 * By ids, or by a filter, which then needs --yes or --dry-run. One transaction a letter, so that
 * one that is refused does not stop the others; --dry-run does it all and takes it back.
 */
#ifndef INFERQ_ADMIN_DEAD_WALK_H
#define INFERQ_ADMIN_DEAD_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "admin/table.h"
#include "common/err.h"

struct dead_walk {
    struct ctx *ctx;
    const char *verb, *done_word; /* "requeue", "requeued" */
    const struct table_col *cols;
    bool jobs_only; /* a filter leaves letters without a job alone */
    /* One letter, within the transaction; adds its row to the table. RC_REJECT without an SQLSTATE
     * is about this letter only. */
    enum rc (*act)(struct dead_walk *w, int64_t dead_id, struct err *err);
    void *arg;
    struct table *table; /* of the walk's making */
    bool dry_run;
    int64_t done, refused;
};

/* Walks and prints what was done. The command's table must have DEAD_ACT_OPTS. The exit code is set
 * to EXIT_JOBS_FAILED when some were refused; RC_REJECT: all were, or the options are wrong. */
enum rc dead_walk(struct dead_walk *w, struct err *err) MUST_CHECK;

#endif
