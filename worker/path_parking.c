/*
 * path_parking.c - which waiting jobs leave for `parked`, so that they hold back neither others nor
 * offsets, and how many may wait there.
 *
 * Happy path: nobody is parked. A paused endpoint's jobs all leave; those of a busy endpoint, of a
 * limit or of an app leave where they fill a lane that stands still and others could use it, or
 * where they hold back too many records. What waits for an endpoint has its id for a key, what
 * waits for a limit has its id negated: each is pulled when there is room for it (path_due).
 *
 * Failure mode: `parked` holds as many of a key as may be (conf.parked_max): the jobs stay in their
 * lane, which fills, and Kafka keeps the rest.
 */
#include <stdlib.h>

#include "worker/path_internal.h"

enum {
    OTHERS_ASK_US = 5 * 1000 * 1000,
    PARKED_LOOK_US = 5 * 1000 * 1000, /* how often rows of `parked` are counted, at most */
    SPENT_WAIT_US = 60 * 1000 * 1000, /* what waits for another day is looked at so often */
    BUSY_WAITS = 6, /* short waits after which a busy endpoint's jobs make room for others */
};

/* ---- how much may wait there? ---------------------------------------------------------------- */

/* Those of endpoints, by index, then those of limits that jobs have waited for. */
static int parking_count(const struct path *p)
{
    return p->conf.catalogue->endpoint_count + p->limit_parking_count;
}

static struct parking *nth_parking(const struct path *p, int n)
{
    int endpoints = p->conf.catalogue->endpoint_count;
    return n < endpoints ? &p->parking[n] : &p->limit_parking[n - endpoints];
}

static int32_t nth_key(const struct path *p, int n)
{
    int endpoints = p->conf.catalogue->endpoint_count;
    return n < endpoints ? p->conf.catalogue->endpoints[n].db_id
                         : p->limit_parking[n - endpoints].key;
}

static bool is_full(const struct path *p, const struct parking *k)
{
    return k->rows >= p->conf.parked_max;
}

bool path_parking_full(const struct path *p, int32_t wait_key)
{
    for (int i = 0; i < parking_count(p); i++)
        if (nth_key(p, i) == wait_key && is_full(p, nth_parking(p, i)))
            return true;
    return false;
}

bool path_may_park(const struct path *p, const struct job *job)
{
    return job->from_parked || !is_full(p, &p->parking[job->endpoint]);
}

/* NULL: no memory. Limits keep their ids, and there are few: the list only grows. */
static struct parking *of_limit(struct path *p, int32_t limit_id)
{
    for (int i = 0; i < p->limit_parking_count; i++)
        if (p->limit_parking[i].key == -limit_id)
            return &p->limit_parking[i];
    size_t more = (size_t)p->limit_parking_count + 1;
    struct parking *list = realloc(p->limit_parking, more * sizeof *list);
    if (!list)
        return NULL;
    p->limit_parking = list;
    list[p->limit_parking_count] = (struct parking){.key = -limit_id};
    return &list[p->limit_parking_count++];
}

void path_parking_sent(struct path *p, const struct job *job)
{
    struct parking *k = NULL;
    if (job->park_key > 0)
        k = &p->parking[job->endpoint];
    else if (job->park_key < 0)
        k = of_limit(p, -job->park_key);
    if (!k || job->from_parked)
        return;
    k->rows++;
    k->missed++;
}

bool path_parked_count(struct path *p, int32_t wait_key, int64_t rows)
{
    bool changed = false;
    for (int i = 0; i < parking_count(p); i++) {
        struct parking *k = nth_parking(p, i);
        if (nth_key(p, i) != wait_key)
            continue;
        k->counted = rows;
        k->rows = rows + k->missed;
        changed = k->told_full != is_full(p, k);
        k->told_full = is_full(p, k);
    }
    return changed;
}

/* Rows that a count may or may not find. */
static int64_t on_the_way(const struct path *p, int32_t wait_key)
{
    int64_t jobs = 0;
    for (const struct job *job = p->in_state[JOB_PARK].head; job; job = job->next)
        jobs += job->park_key == wait_key && !job->from_parked;
    return jobs;
}

/* The other workers park, too, and pulls make room: what was sent there is counted anew now and
 * then, and what is full until it is not. Between two looks the fleet may go beyond. */
void path_count_parked(struct path *p, int64_t now)
{
    for (int i = 0; i < parking_count(p); i++) {
        struct parking *k = nth_parking(p, i);
        if (now < k->look_at_us || (k->rows == k->counted && !is_full(p, k)))
            continue;
        k->look_at_us = now + PARKED_LOOK_US;
        k->missed = on_the_way(p, nth_key(p, i));
        p->edges.count_parked(p->edges.arg, nth_key(p, i), p->conf.parked_max);
    }
}

/* ---- who makes room? ------------------------------------------------------------------------- */

/* Jobs whose endpoint is paused for long leave for `parked`, a bounded number at a time. Where that
 * is full they stay: their lane fills, and Kafka keeps the rest. */
void path_park_paused(struct path *p, int64_t now)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++) {
        struct job *job;
        while (endpoint_free_at(&p->endpoints[i], now) - now > p->conf.short_wait_us &&
               p->in_state[JOB_PARK].count < PARKING_MAX &&
               (job = lanes_peek(p->lanes, -1, i)) != NULL && path_may_park(p, job))
            path_advance(p, job);
    }
}

/* The head of a lane that its endpoint cannot take for long, while others could use the lane or its
 * record holds back too many: it waits in Postgres. An endpoint that works, and only has more to do
 * than it can, is given longer: what is parked costs Postgres twice. */
static void park_stuck(struct path *p, int lane, int endpoint, int64_t now)
{
    int64_t short_us = p->conf.short_wait_us, half = p->conf.offset_span / 2;
    bool neighbours = p->lane[lane].paused && p->conf.catalogue->endpoint_count > 1 &&
                      lanes_waiting(p->lanes, lane, endpoint) * 4 > lanes_jobs(p->lanes, lane) * 3;
    bool works = now - p->endpoints[endpoint].begun_us <= short_us;
    struct job *job;
    while (p->in_state[JOB_PARK].count < PARKING_MAX &&
           (job = lanes_peek(p->lanes, lane, endpoint)) != NULL && path_may_park(p, job)) {
        int64_t waited_us = now - job->waiting_since_us;
        bool in_the_way = neighbours && waited_us > (works ? BUSY_WAITS * short_us : short_us);
        bool holds_back = partitions_behind(p->partitions, job) > half && waited_us > short_us;
        if (!in_the_way && !holds_back)
            return;
        path_park(p, job, job->endpoint_id, CLASS_NONE, now);
    }
}

/* One app fills a lane that stands still, and Kafka holds others' jobs behind: the app's last ones
 * wait in Postgres, so that partitions are read on and the others have their turns. A lane that
 * moves on within a short wait is left alone, and so is an app that nobody waits behind: what is
 * parked costs Postgres twice. Once somebody is known to wait, the crowd is parked as fast as it is
 * read. */
static void park_crowd(struct path *p, int lane, int64_t now)
{
    bool somebody_waits = now < p->lane[lane].crowd_until_us;
    if (p->draining || p->revoking || !lanes_full(p->lanes, lane) || !p->lane[lane].paused ||
        (!somebody_waits && now - p->lane[lane].paused_us <= p->conf.short_wait_us))
        return;
    struct job *job = lanes_crowd(p->lanes, lane);
    if (job && now >= p->lane[lane].ask_at_us) {
        p->lane[lane].ask_at_us = now + OTHERS_ASK_US;
        p->edges.others_wait(p->edges.arg, lane, job);
    }
    while (job && somebody_waits && path_may_park(p, job) &&
           p->in_state[JOB_PARK].count < PARKING_MAX && lanes_full(p->lanes, lane)) {
        path_park(p, job, job->endpoint_id, CLASS_NONE, now);
        job = lanes_crowd(p->lanes, lane);
    }
}

void path_others_wait(struct path *p, int lane)
{
    p->lane[lane].crowd_until_us = p->edges.mono_us(p->edges.arg) + 2 * OTHERS_ASK_US;
}

/* A limit's jobs, that fill a lane which others could use or hold back offsets. */
static bool park_for_limit(struct path *p, struct job *job, int64_t now)
{
    const struct admission_rule *rule = admission_blocker(p->conf.admission, job->gate);
    struct parking *k = rule ? of_limit(p, rule->limit_id) : NULL;
    if (!k || p->in_state[JOB_PARK].count >= PARKING_MAX || (is_full(p, k) && !job->from_parked))
        return false;
    bool spent = rule->dimension == LIMIT_TOKENS_PER_DAY;
    path_park(p, job, k->key, CLASS_NONE, spent ? now + SPENT_WAIT_US : now);
    return true;
}

/* Others' jobs could be in this lane in their place: of another version, or, as Postgres says
 * (park_crowd asks), of another app. */
static bool others_could(const struct path *p, int lane, int64_t now)
{
    return p->conf.catalogue->version_count > 1 || now < p->lane[lane].crowd_until_us;
}

/* What limits hold back: the oldest, when it holds back too many records; and the last ones, while
 * the lane stands still and is mostly theirs. */
static void park_limited(struct path *p, int lane, int64_t now)
{
    size_t jobs;
    struct job *job;
    if (!p->limited || p->draining || p->revoking)
        return;
    while ((job = lanes_blocked(p->lanes, lane, false, &jobs)) != NULL &&
           now - job->waiting_since_us > p->conf.short_wait_us &&
           partitions_behind(p->partitions, job) > p->conf.offset_span / 2 &&
           park_for_limit(p, job, now))
        ;
    if (!p->lane[lane].paused || now - p->lane[lane].paused_us <= p->conf.short_wait_us ||
        !others_could(p, lane, now))
        return;
    while (lanes_full(p->lanes, lane) &&
           (job = lanes_blocked(p->lanes, lane, true, &jobs)) != NULL &&
           jobs * 4 > lanes_jobs(p->lanes, lane) * 3 && park_for_limit(p, job, now))
        ;
}

void path_park_behind(struct path *p, int64_t now)
{
    for (int lane = 0; lane < p->conf.lane_count; lane++) {
        park_limited(p, lane, now);
        park_crowd(p, lane, now);
    }
    for (int lane = 0; lane < p->conf.lane_count; lane++)
        for (int i = 0; i < p->conf.catalogue->endpoint_count; i++)
            if (!endpoint_can_run(&p->endpoints[i], now))
                park_stuck(p, lane, i, now);
    if (partitions_span(p->partitions) <= p->conf.offset_span / 2)
        return;
    for (struct job *job = p->in_state[JOB_CALL].head; job; job = job->next) {
        if (job->parking || partitions_behind(p->partitions, job) <= p->conf.offset_span / 2)
            continue;
        job->parking = true; /* and runs on */
        p->edges.park(p->edges.arg, job);
    }
}
