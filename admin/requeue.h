/*
 * requeue.h - a dead job's next generation, as it is or with another body.
 */
#ifndef INFERQ_ADMIN_REQUEUE_H
#define INFERQ_ADMIN_REQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "admin/dead_act.h"
#include "admin/requeue_msg.h"
#include "admin/table.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/sign.h"

struct requeue {
    struct ctx *ctx;
    int64_t deadline_ms; /* DEADLINE_KEEP, DEADLINE_NONE, or Unix ms */
    bool sign;
    struct sign_key key;
    struct buf message; /* of the letter at hand */
};

extern const struct table_col requeue_cols[]; /* of the table that requeue_letter adds to */

/* From --deadline and signing.key. RC_REJECT: one of them is wrong. requeue_done in any case. */
enum rc requeue_init(struct requeue *q, struct ctx *ctx, struct err *err) MUST_CHECK;
void requeue_done(struct requeue *q);

struct requeue_edit {
    struct span body;
    bool other_prompt; /* as in struct requeue_change */
};

/* Parks the letter's next generation, marks the letter and adds a row to `t`. The letter is locked
 * and was found runnable. `edit` NULL: with the body that it has. */
enum rc requeue_letter(struct requeue *q, const struct letter *l, const struct requeue_edit *edit,
                       struct table *t, struct jobid *ret_job, struct err *err) MUST_CHECK;

#endif
