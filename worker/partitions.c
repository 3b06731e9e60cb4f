/*
 * partitions.c - see partitions.h. A worker holds tens of partitions, so a flat array per lane,
 * indexed by the partition's number, is all that is needed.
 */
#include "worker/partitions.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/job.h"
#include "worker/lanes.h"
#include "worker/offsets.h"

struct held {
    struct offsets *offsets; /* NULL: not held, or frozen */
    bool frozen;             /* held, and there was no memory for its offsets */
    uint32_t epoch;
    uint64_t newest; /* ticket given last */
};

struct partitions {
    struct held *of_lane[LANES_MAX];
    int32_t count[LANES_MAX];
    int homeless; /* assigned, and there was no memory even for their place: frozen too */
};

struct partitions *partitions_new(void)
{
    return calloc(1, sizeof(struct partitions));
}

void partitions_free(struct partitions *ps)
{
    if (!ps)
        return;
    partitions_revoke_all(ps);
    for (int lane = 0; lane < LANES_MAX; lane++)
        free(ps->of_lane[lane]);
    free(ps);
}

static struct held *find(const struct partitions *ps, const struct job *job)
{
    if (job->partition < 0 || job->partition >= ps->count[job->lane])
        return NULL;
    struct held *h = &ps->of_lane[job->lane][job->partition];
    return h->offsets && h->epoch == job->epoch ? h : NULL;
}

static enum rc make_room(struct partitions *ps, int lane, int32_t partition, struct err *err)
{
    if (partition < ps->count[lane])
        return RC_OK;
    size_t count = (size_t)partition + 1;
    struct held *grown = realloc(ps->of_lane[lane], count * sizeof *grown);
    if (!grown)
        return err_set(err, RC_NOMEM, "no memory for partition %d", (int)partition);
    for (size_t i = (size_t)ps->count[lane]; i < count; i++)
        grown[i] = (struct held){0};
    ps->of_lane[lane] = grown;
    ps->count[lane] = partition + 1;
    return RC_OK;
}

enum rc partitions_assign(struct partitions *ps, int lane, int32_t partition, uint32_t epoch,
                          struct err *err)
{
    assert(lane >= 0 && lane < LANES_MAX && partition >= 0);
    enum rc rc = make_room(ps, lane, partition, err);
    if (rc != RC_OK) {
        ps->homeless++;
        return rc;
    }
    struct offsets *offsets = offsets_new();
    struct held *h = &ps->of_lane[lane][partition];
    offsets_free(h->offsets);
    *h = (struct held){.offsets = offsets, .frozen = !offsets, .epoch = epoch};
    return offsets ? RC_OK
                   : err_set(err, RC_NOMEM, "no memory for the offsets of partition %d",
                             (int)partition);
}

void partitions_revoke_all(struct partitions *ps)
{
    for (int lane = 0; lane < LANES_MAX; lane++) {
        for (int32_t i = 0; i < ps->count[lane]; i++) {
            offsets_free(ps->of_lane[lane][i].offsets);
            ps->of_lane[lane][i].offsets = NULL;
            ps->of_lane[lane][i].frozen = false;
        }
    }
    ps->homeless = 0;
}

enum rc partitions_track(struct partitions *ps, struct job *job, struct err *err)
{
    struct held *h = find(ps, job);
    if (!h)
        return err_set(err, RC_REJECT, "partition %d is not held in epoch %u", (int)job->partition,
                       (unsigned)job->epoch);
    enum rc rc = offsets_add(h->offsets, job->offset, &job->ticket, err);
    if (rc == RC_NOMEM) { /* those behind it would carry the watermark past it */
        offsets_free(h->offsets);
        h->offsets = NULL;
        h->frozen = true;
    }
    if (rc != RC_OK)
        return rc;
    job->has_ticket = true;
    h->newest = job->ticket;
    return RC_OK;
}

int64_t partitions_finish(struct partitions *ps, struct job *job)
{
    if (!job->has_ticket)
        return -1;
    job->has_ticket = false;
    struct held *h = find(ps, job);
    if (!h || !offsets_finish(h->offsets, job->ticket))
        return -1;
    return offsets_watermark(h->offsets);
}

int64_t partitions_behind(const struct partitions *ps, const struct job *job)
{
    const struct held *h = job->has_ticket ? find(ps, job) : NULL;
    return h ? (int64_t)(h->newest - job->ticket) : 0;
}

int partitions_frozen(const struct partitions *ps)
{
    int frozen = ps->homeless;
    for (int lane = 0; lane < LANES_MAX; lane++)
        for (int32_t i = 0; i < ps->count[lane]; i++)
            frozen += ps->of_lane[lane][i].frozen;
    return frozen;
}

int64_t partitions_span(const struct partitions *ps)
{
    int64_t longest = 0;
    for (int lane = 0; lane < LANES_MAX; lane++) {
        for (int32_t i = 0; i < ps->count[lane]; i++) {
            const struct held *h = &ps->of_lane[lane][i];
            int64_t span = h->offsets ? (int64_t)offsets_span(h->offsets) : 0;
            longest = span > longest ? span : longest;
        }
    }
    return longest;
}
