/*
 * held.h - which of the fleet's limits hold it now, in one line each: for the commands that people
 * look at when nothing moves.
 *
 * A day's budget holds once all of it is taken. Any other limit holds while more is wanted than it
 * allows, and as good as all of it is used, or jobs are parked for it.
 */
#ifndef INFERQ_ADMIN_HELD_H
#define INFERQ_ADMIN_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/limits.h"

enum { HELD_MAX = 20, HELD_NAME_BYTES = 300, HELD_COUNT_MAX = 10000 };

struct held {
    char limit[HELD_NAME_BYTES];    /* "endpoint:eu@1" */
    char endpoint[HELD_NAME_BYTES]; /* that is held with it: "eu@1"; "": an app's jobs, anywhere */
    enum limit_dimension dimension;
    int64_t amount;  /* in force */
    int64_t used;    /* within the last minute, of calls in flight; of a day: taken */
    int64_t wanted;  /* a minute, at once; of a day: 0 */
    int64_t parked;  /* jobs that wait for it in Postgres; up to HELD_COUNT_MAX */
    int64_t pending; /* of a day: jobs of open batches, which may wait for it; of an app: its own */
    int64_t left_ms; /* of a day: until more comes */
};

struct held_list {
    struct held all[HELD_MAX];
    int count; /* the days' budgets first */
    bool more; /* there are others */
};

/* Of one endpoint (its name, all versions; limits of apps hold there, too), or, NULL, of all. */
enum rc held_ask(struct ctx *ctx, const char *endpoint, struct held_list *ret,
                 struct err *err) MUST_CHECK;

/* "endpoint:eu@1 tokens_per_day 5000: all taken, more at 00:00 UTC (14 h 26 min), up to 1057 jobs
 * wait, 12 of them parked; inferq limit show". Control characters are gone. */
void held_line(const struct held *h, struct buf *out);

#endif
