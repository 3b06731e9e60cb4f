/*
 * pulls.h - how many of each app's parked rows come into memory (pure).
 *
 * Equal parts, as far as each has rows (max-min fairness): what room there is goes to those that
 * have least of it, so an app with a million rows leaves another's ten as much as it takes itself.
 * What stands in memory already counts as had. Source: Bertsekas and Gallager, "Data Networks",
 * 1987, 6.5.2.
 */
#ifndef INFERQ_WORKER_PULLS_H
#define INFERQ_WORKER_PULLS_H

#include <stdint.h>

#include "common/span.h"

struct pull_app {
    struct span app; /* borrowed; "": of rows that do not say */
    int64_t rows;    /* that are due, then those of them that may come; 0: it has a part all the
                        same, of what stands here */
    int64_t here;    /* jobs of it that stand here */
};

/* Lowers `rows` so that here + rows rises to one level for all, and room for `most` is not
 * exceeded; who stands above that level keeps what it has, gets nothing, and takes no more of the
 * room than its part. What cannot be divided goes to some of them, which ones `turn` says. */
void pulls_share(struct pull_app *apps, int count, int64_t most, uint64_t turn);

#endif
