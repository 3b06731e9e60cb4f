/*
 * pulls.c - see pulls.h.
 *
 * The level is found by bisection, which needs neither order nor memory.
 */
#include "worker/pulls.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows and jobs are counts of what is in memory or was counted up to a cap: sums are safe. */
static int64_t filled(const struct pull_app *apps, int count, int64_t level)
{
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += smaller(apps[i].here + apps[i].rows, level);
    return sum;
}

/* The highest for which there is room: 0 .. most. */
static int64_t level_of(const struct pull_app *apps, int count, int64_t most)
{
    int64_t fits = 0, exceeds = most + 1;
    while (exceeds - fits > 1) {
        int64_t level = fits + (exceeds - fits) / 2;
        if (filled(apps, count, level) <= most)
            fits = level;
        else
            exceeds = level;
    }
    return fits;
}

void pulls_share(struct pull_app *apps, int count, int64_t most, uint64_t turn)
{
    most = most > 0 ? most : 0;
    int64_t level = level_of(apps, count, most);
    int64_t over = most - filled(apps, count, level); /* less than there are apps above the level */
    for (int i = 0; i < count; i++)
        over -= apps[i].here > level;
    for (int i = 0; i < count; i++) {
        struct pull_app *a = &apps[(turn + (uint64_t)i) % (uint64_t)count];
        int64_t may = level - a->here;
        if (may >= 0 && may < a->rows && over > 0) {
            may++;
            over--;
        }
        a->rows = smaller(a->rows, may > 0 ? may : 0);
    }
}
