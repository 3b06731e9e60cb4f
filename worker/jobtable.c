/*
 * jobtable.c - the jobs this process holds, by id (pure).
 *
 * Happy path: a chained hash table that doubles when it holds as many jobs as buckets. The hash is
 * the id's tail, which is a digest already. Failure mode: without memory to double, chains grow
 * longer instead and nothing is refused.
 */
#include "worker/jobtable.h"

#include <assert.h>
#include <stdlib.h>

#include "worker/job.h"

enum { FIRST_BUCKETS = 1024 };

struct jobtable {
    struct job **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

struct jobtable *jobtable_new(void)
{
    struct jobtable *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->buckets = calloc(FIRST_BUCKETS, sizeof(struct job *));
    if (!t->buckets) {
        free(t);
        return NULL;
    }
    t->bucket_count = FIRST_BUCKETS;
    return t;
}

void jobtable_free(struct jobtable *t)
{
    if (!t)
        return;
    free(t->buckets);
    free(t);
}

static size_t bucket_of(const struct jobid *id, size_t bucket_count)
{
    return (size_t)jobid_hash(id) & (bucket_count - 1);
}

struct job *jobtable_find(const struct jobtable *t, const struct jobid *id)
{
    struct job *job = t->buckets[bucket_of(id, t->bucket_count)];
    while (job && !jobid_eq(&job->msg.job_id, id))
        job = job->table_next;
    return job;
}

static void chain(struct job **buckets, size_t bucket_count, struct job *job)
{
    struct job **bucket = &buckets[bucket_of(&job->msg.job_id, bucket_count)];
    job->table_next = *bucket;
    *bucket = job;
}

static void grow(struct jobtable *t)
{
    size_t bucket_count = t->bucket_count * 2;
    struct job **buckets = calloc(bucket_count, sizeof(struct job *));
    if (!buckets)
        return;
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (struct job *job = t->buckets[i], *next; job; job = next) {
            next = job->table_next;
            chain(buckets, bucket_count, job);
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->bucket_count = bucket_count;
}

bool jobtable_add(struct jobtable *t, struct job *job)
{
    assert(!jobtable_find(t, &job->msg.job_id));
    if (t->count >= t->bucket_count)
        grow(t);
    chain(t->buckets, t->bucket_count, job);
    t->count++;
    return true;
}

void jobtable_remove(struct jobtable *t, struct job *job)
{
    struct job **at = &t->buckets[bucket_of(&job->msg.job_id, t->bucket_count)];
    while (*at && *at != job)
        at = &(*at)->table_next;
    assert(*at == job);
    *at = job->table_next;
    job->table_next = NULL;
    t->count--;
}

size_t jobtable_count(const struct jobtable *t)
{
    return t->count;
}
