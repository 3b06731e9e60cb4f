/*
 * dead_discard.c - `inferq dead discard`: ends the review of letters that nobody wants to run again
 * or to read: their jobs stay dead, and the letters leave the list of what is open.
 */
#include "admin/cmd.h"
#include "admin/dead_act.h"
#include "admin/dead_walk.h"

static enum rc discard_one(struct dead_walk *w, int64_t dead_id, struct err *err)
{
    struct letter l = {0};
    enum rc rc = letter_read(w->ctx, dead_id, true, &l, err);
    if (rc == RC_OK)
        rc = letter_check_open(w->ctx, &l, err);
    if (rc == RC_OK)
        rc = letter_mark(w->ctx, &l, DEAD_DISCARDED, "discard", NULL, err);
    if (rc == RC_OK) {
        table_int(w->table, dead_id);
        table_text(w->table, l.custom_id);
        table_text(w->table, span_of(class_name(l.class)));
        if (l.has_job)
            table_id(w->table, &l.job_id);
        else
            table_null(w->table);
    }
    letter_done(&l);
    return rc;
}

enum rc dead_discard(struct ctx *ctx, struct err *err)
{
    static const struct table_col cols[] = {{"dead_id", "ID", 0},
                                            {"custom_id", "CUSTOM ID", 40},
                                            {"class", "CLASS", 0},
                                            {"job_id", "JOB", 0},
                                            {0}};
    struct dead_walk w = {
        .ctx = ctx, .verb = "discard", .done_word = "discarded", .cols = cols, .act = discard_one};
    return dead_walk(&w, err);
}
