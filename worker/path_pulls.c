/*
 * path_pulls.c - which parked rows this worker pulls.
 *
 * Happy path: the store edge tells how many rows of a key and lane are due, by app. There is room
 * in the lane, at the endpoint that they wait for, or in the limit's share; what there is is
 * divided by app (pulls.h), the jobs that wait here already counted in: so an app whose rows come
 * late finds its part, also where another's jobs fill the lane.
 *
 * Failure mode: no memory: nothing is pulled, and told again a second later.
 */
#include <stdio.h>
#include <stdlib.h>

#include "worker/path_internal.h"
#include "worker/pulls.h"

enum { PULL_MAX = 500 /* rows of one pull */ };

/* The apps whose rows are due, then others that have jobs in the lane: they have a part as well. */
struct parts {
    struct path *p;
    int lane, count;
    struct pull_app apps[];
};

static void count_here(void *arg, struct span app, size_t jobs)
{
    struct parts *x = arg;
    int at = 0;
    while (at < x->count && !span_eq(x->apps[at].app, app))
        at++;
    if (at == x->count)
        x->apps[x->count++] = (struct pull_app){.app = app};
    x->apps[at].here = (int64_t)jobs;
}

/* Whose rows do not say what app they are of has jobs here under other names: they come last. */
static void share(struct parts *x, int64_t most, int64_t here)
{
    uint64_t mixed = x->p->pulls * UINT64_C(0x9e3779b97f4a7c15); /* in step with nothing */
    for (int i = 0; i < x->count; i++)
        if (!x->apps[i].app.n)
            x->apps[i].here = here;
    pulls_share(x->apps, x->count, most, mixed >> 33);
}

/* A lane is pulled full by half, and no app's jobs beyond its part of that. */
static void share_lane(struct parts *x)
{
    const struct path *p = x->p;
    size_t max_jobs = p->conf.lanes[x->lane].max_jobs, half = (max_jobs + 1) / 2;
    size_t waiting = lanes_jobs(p->lanes, x->lane);
    lanes_apps(p->lanes, x->lane, count_here, x);
    share(x, (int64_t)half, (int64_t)waiting);
    for (int i = 0; i < x->count; i++)
        x->apps[i].here = 0;
    int64_t room = (int64_t)(max_jobs + half) - (int64_t)waiting;
    share(x, room < PULL_MAX ? room : PULL_MAX, 0);
}

static void share_limit(struct parts *x, int32_t limit_id)
{
    struct admission *a = x->p->conf.admission;
    static const struct span any = {NULL, 0};
    if (!x->p->limited)
        return;
    int most = admission_stock(a, limit_id, x->p->edges.boot_us(x->p->edges.arg));
    for (int i = 0; i < x->count; i++)
        x->apps[i].here = admission_stands(a, limit_id, x->lane, x->apps[i].app);
    share(x, most, admission_stands(a, limit_id, x->lane, any));
}

/* As many again as it can run at once stand ready, so that it does not wait for rows. */
static void share_endpoint(struct parts *x, int endpoint, int64_t now)
{
    const struct path *p = x->p;
    int64_t here = 0;
    for (int i = 0; i < x->count; i++) {
        x->apps[i].here = (int64_t)lanes_app_ready(p->lanes, x->lane, endpoint, x->apps[i].app);
        here += x->apps[i].here;
    }
    int64_t ready = (int64_t)lanes_ready(p->lanes, endpoint); /* in all lanes */
    share(x, endpoint_room(&p->endpoints[endpoint], now) - (ready - here), here);
}

/* What its limits hold back would take the places of others' rows. */
static void share_limits_of(struct parts *x, int endpoint)
{
    const struct cat_endpoint *e = &x->p->conf.catalogue->endpoints[endpoint];
    char key[CATALOGUE_LIMIT_KEY_BYTES];
    (void)snprintf(key, sizeof key, "%s@%d", e->name, e->version);
    int32_t id;
    for (int n = 0; x->p->limited &&
                    (id = admission_endpoint_limit(x->p->conf.admission, span_of(key), n)) > 0;
         n++)
        share_limit(x, id);
}

/* An endpoint that this catalogue does not know, that left it, or that new jobs have moved off
 * holds nobody back: routing decides anew. -1: it is so. */
static int endpoint_of(const struct path *p, int32_t wait_key)
{
    for (int i = 0; i < p->conf.catalogue->endpoint_count; i++)
        if (p->conf.catalogue->endpoints[i].db_id == wait_key)
            return p->conf.catalogue->endpoints[i].left || p->parking[i].moved_off ? -1 : i;
    return -1;
}

static bool some(const struct parts *x, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any = any || x->apps[i].rows > 0;
    return any;
}

void path_due(struct path *p, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    int endpoint = endpoint_of(p, wait_key);
    for (int i = 0; i < count; i++)
        path_limits_due(p, lane, apps[i].app, apps[i].rows);
    if (p->draining || p->revoking)
        return;
    struct parts *x = malloc(sizeof *x + ((size_t)count + FLOWS_APPS + 1) * sizeof *apps);
    if (!x)
        return;
    *x = (struct parts){.p = p, .lane = lane, .count = count};
    for (int i = 0; i < count; i++)
        x->apps[i] = (struct pull_app){.app = apps[i].app, .rows = apps[i].rows};
    p->pulls++;
    share_lane(x);
    if (wait_key < 0)
        share_limit(x, -wait_key);
    if (endpoint >= 0) {
        if (some(x, count) && endpoint_needs_leave(&p->endpoints[endpoint], now))
            learned_wants(&p->learned[endpoint], now); /* they are pulled when it may probe */
        share_endpoint(x, endpoint, now);
        share_limits_of(x, endpoint);
    }
    int pulled = 0;
    for (int i = 0; i < count; i++)
        if (x->apps[i].rows > 0)
            x->apps[pulled++] = x->apps[i];
    if (pulled)
        p->edges.pull(p->edges.arg, wait_key, lane, x->apps, pulled);
    free(x);
}
