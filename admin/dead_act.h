/*
 * dead_act.h - what every act of the review desk does to one letter: lock it, judge whether its
 * review is still open, mark it, and write down who did it and why.
 */
#ifndef INFERQ_ADMIN_DEAD_ACT_H
#define INFERQ_ADMIN_DEAD_ACT_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "common/codes.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/pg.h"

/* One letter; its spans live as long as `rows`. */
struct letter {
    int64_t dead_id;
    bool has_job;
    struct jobid job_id, batch_id; /* has_job */
    int state, class;
    struct span custom_id; /* absent allowed */
    struct span topic, payload, headers;
    int lane; /* its code: where the job ended, else its batch's; -1: neither is a lane now */
    bool batch_cancelled;
    struct pg_rows *rows; /* owned */
};

/* Reads it; `lock`: and holds it until the transaction ends. RC_REJECT: there is none. `ret` must
 * be released with letter_done. */
enum rc letter_read(struct ctx *ctx, int64_t dead_id, bool lock, struct letter *ret,
                    struct err *err) MUST_CHECK;
void letter_done(struct letter *l);

/* RC_REJECT: its review is over, with what came of it. */
enum rc letter_check_open(struct ctx *ctx, const struct letter *l, struct err *err) MUST_CHECK;
/* The same; RC_REJECT also where it holds no job, or its job may not run again. */
enum rc letter_check_runnable(struct ctx *ctx, const struct letter *l, struct err *err) MUST_CHECK;

/* The letter's new state, and the one row of review_event: the command's --actor and --reason.
 * `new_job_id` may be NULL. In the transaction that holds it. */
enum rc letter_mark(struct ctx *ctx, const struct letter *l, enum dead_state state,
                    const char *action, const struct jobid *new_job_id, struct err *err) MUST_CHECK;

#endif
