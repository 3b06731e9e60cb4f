/*
 * fake_pg_queue.c - what waits in the fake `parked`, as its index has it: the rows that nobody has,
 * by key, lane and app, and in each such queue by next_at and id.
 *
 * A row that is inserted, changed or put back is only noted; the next look at the queues takes it
 * out of where it stood and puts it where it belongs. So it is no matter what becomes of it between
 * two looks, nor whether that is undone. A row that is deleted leaves its queue at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fake_pg_impl.h"

/* Where a row stands; it stays with the row, and is no part of what an undo brings back. */
struct fake_place {
    struct fake_queue *queue; /* NULL: nowhere */
    int64_t next_at;          /* as it was when it came there */
    bool noted, gone;
};

static void *grown(void *array, int *cap, size_t each)
{
    void *more = realloc(array, (size_t)(*cap ? *cap * 2 : 64) * each);
    if (!more) {
        (void)fputs("fake Postgres: out of memory\n", stderr);
        abort();
    }
    *cap = *cap ? *cap * 2 : 64;
    return more;
}

/* The first place in the queue that is not before (next_at, id). */
static int place_in(const struct fake_queue *q, int64_t next_at, const struct jobid *id)
{
    int low = 0, high = q->n;
    while (low < high) {
        int mid = low + (high - low) / 2;
        const struct fake_parked_row *there = q->rows[mid];
        int64_t at = there->place->next_at;
        if (at < next_at || (at == next_at && jobid_cmp(&there->job_id, id) < 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void leave(const struct fake_parked_row *row)
{
    struct fake_queue *q = row->place->queue;
    if (!q)
        return;
    int at = place_in(q, row->place->next_at, &row->job_id);
    memmove(q->rows + at, q->rows + at + 1, (size_t)(--q->n - at) * sizeof(void *));
    row->place->queue = NULL;
}

static struct fake_queue *queue_of(struct fake_queues *all, const struct fake_parked_row *row)
{
    for (int i = 0; i < all->n; i++) {
        struct fake_queue *q = all->list[i];
        if (q->wait_key == row->wait_key && q->priority == row->priority &&
            span_eq(q->app, row->app))
            return q;
    }
    if (all->n == all->cap)
        all->list = grown(all->list, &all->cap, sizeof(void *));
    struct fake_queue *q = calloc(1, sizeof *q);
    if (!q)
        abort();
    *q = (struct fake_queue){row->wait_key, row->priority, row->app, NULL, 0, 0};
    return all->list[all->n++] = q;
}

static void enter(struct fake_queues *all, const struct fake_parked_row *row)
{
    struct fake_queue *q = queue_of(all, row);
    int at = place_in(q, row->next_at, &row->job_id);
    if (q->n == q->cap)
        q->rows = grown(q->rows, &q->cap, sizeof(void *));
    memmove(q->rows + at + 1, q->rows + at, (size_t)(q->n++ - at) * sizeof(void *));
    q->rows[at] = row;
    row->place->queue = q;
    row->place->next_at = row->next_at;
}

void fake_queue_note(struct fake_pg *db, struct fake_parked_row *row)
{
    struct fake_queues *all = &db->queues;
    if (!row->place)
        row->place = fake_take(&db->kept, sizeof *row->place);
    row->place->gone = false;
    all->deadlines = all->deadlines || row->deadline_at != FAKE_NULL;
    if (row->place->noted)
        return;
    row->place->noted = true;
    if (all->noted_count == all->noted_cap)
        all->noted = grown(all->noted, &all->noted_cap, sizeof(void *));
    all->noted[all->noted_count++] = row;
}

void fake_queue_gone(const struct fake_parked_row *row)
{
    leave(row);
    row->place->gone = true;
}

const struct fake_queues *fake_queues(struct fake_pg *db)
{
    struct fake_queues *all = &db->queues;
    for (int i = 0; i < all->noted_count; i++) {
        const struct fake_parked_row *row = all->noted[i];
        row->place->noted = false;
        leave(row);
        if (!row->place->gone && row->taken_by == FAKE_NULL)
            enter(all, row);
    }
    all->noted_count = 0;
    return all;
}

int fake_queue_due(const struct fake_queue *q, int64_t now_us)
{
    static const struct jobid first;
    return place_in(q, now_us + 1, &first);
}

void fake_queues_done(struct fake_pg *db)
{
    for (int i = 0; i < db->queues.n; i++) {
        free(db->queues.list[i]->rows);
        free(db->queues.list[i]);
    }
    free(db->queues.list);
    free(db->queues.noted);
}
