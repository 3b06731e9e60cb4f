/*
 * dead_requeue.c - `inferq dead requeue`: runs dead jobs again, each as the next generation of
 * itself, with an id of its own.
 */
#include "admin/cmd.h"
#include "admin/dead_act.h"
#include "admin/dead_walk.h"
#include "admin/requeue.h"

static enum rc requeue_one(struct dead_walk *w, int64_t dead_id, struct err *err)
{
    struct letter l = {0};
    struct jobid new_job;
    enum rc rc = letter_read(w->ctx, dead_id, true, &l, err);
    if (rc == RC_OK)
        rc = letter_check_runnable(w->ctx, &l, err);
    if (rc == RC_OK)
        rc = requeue_letter(w->arg, &l, NULL, w->table, &new_job, err);
    letter_done(&l);
    return rc;
}

enum rc dead_requeue(struct ctx *ctx, struct err *err)
{
    struct requeue q;
    struct dead_walk w = {.ctx = ctx,
                          .verb = "requeue",
                          .done_word = "requeued",
                          .cols = requeue_cols,
                          .jobs_only = true,
                          .act = requeue_one,
                          .arg = &q};
    enum rc rc = requeue_init(&q, ctx, err);
    if (rc == RC_OK)
        rc = dead_walk(&w, err);
    requeue_done(&q);
    return rc;
}
