/*
 * skips.c - see skips.h. One piece of memory: the places, sorted, and their texts behind them.
 * Every record is looked for, and hardly ever is there anything to find: then it costs one branch.
 */
#include "worker/skips.h"

#include <stdlib.h>
#include <string.h>

static int by_place(const void *a, const void *b)
{
    const struct skip *x = a, *y = b;
    if (x->lane != y->lane)
        return x->lane < y->lane ? -1 : 1;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

enum rc skips_set(struct skips *s, const struct skip *list, int count, struct err *err)
{
    size_t bytes = (size_t)count * sizeof *list;
    for (int i = 0; i < count; i++)
        bytes += list[i].reason.n;
    struct skip *all = count ? malloc(bytes) : NULL;
    if (count && !all)
        return err_set(err, RC_NOMEM, "no memory for %d skipped records", count);
    char *text = (char *)(all + count);
    for (int i = 0; i < count; i++) {
        all[i] = list[i];
        all[i].reason.p = text;
        if (list[i].reason.n)
            memcpy(text, list[i].reason.p, list[i].reason.n);
        text += list[i].reason.n;
    }
    if (count)
        qsort(all, (size_t)count, sizeof *all, by_place);
    skips_done(s);
    *s = (struct skips){all, count};
    return RC_OK;
}

void skips_done(struct skips *s)
{
    free(s->all);
    *s = (struct skips){0};
}

const struct skip *skips_find(const struct skips *s, int lane, int32_t partition, int64_t offset)
{
    const struct skip wanted = {.lane = lane, .partition = partition, .offset = offset};
    if (s->count == 0)
        return NULL;
    return bsearch(&wanted, s->all, (size_t)s->count, sizeof *s->all, by_place);
}
