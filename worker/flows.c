/*
 * flows.c - apps take turns, and an app's turn goes to its job with the earliest deadline (pure).
 *
 * Happy path: the jobs of one app for one endpoint and gate are a flow. Deadlines mostly arrive in
 * order (none at all, or a batch's one), so a job is appended to the flow's list; only one whose
 * deadline lies before the last one's goes to a heap beside it. The next job of a flow is the
 * earlier of both heads. Apps that have jobs stand in a ring; the one that is served goes to its
 * end. Apps without jobs keep their memory, and the longest idle one gives it up to a new app.
 *
 * Failure modes: without memory, and beyond FLOWS_APPS busy apps, jobs go to `further`, an app
 * whose flows are made at the start.
 */
#include "worker/flows.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/job_msg.h"
#include "worker/deadlines.h"
#include "worker/job.h"

enum { ANY_GATE = -1 /* of further apps' flows */ };

struct flow {
    struct flow *next; /* of its app; idle ones stay */
    struct flow_app *app;
    int endpoint, gate;
    size_t count;
    struct job *head, *tail; /* deadlines never fall */
    struct deadlines *early; /* NULL until one is needed */
    uint64_t turn;           /* its app's last one at this endpoint */
    bool blocked;            /* its next job may not go ... */
    int64_t ask_at_us;       /* ... and is asked again then */
};

struct flow_app {
    struct flow_app *next, *prev; /* in the ring, or among the idle */
    struct flow *flows;
    size_t jobs;
    size_t name_bytes;
    char name[JOB_NAME_BYTES_MAX];
};

struct ring {
    struct flow_app *first, *last;
};

struct flows {
    struct ring busy, idle;
    size_t jobs;
    struct flow_app *recent; /* jobs of a batch come in a row */
    uint64_t turns;          /* so far */
    int app_count;
    struct flow_app further; /* those beyond FLOWS_APPS; has a flow for each endpoint */
    int endpoint_count;
};

/* ---- rings --------------------------------------------------------------------------------- */

static void ring_append(struct ring *r, struct flow_app *app)
{
    app->prev = r->last;
    app->next = NULL;
    *(r->last ? &r->last->next : &r->first) = app;
    r->last = app;
}

static void ring_remove(struct ring *r, struct flow_app *app)
{
    *(app->prev ? &app->prev->next : &r->first) = app->next;
    *(app->next ? &app->next->prev : &r->last) = app->prev;
}

/* ---- making and unmaking ------------------------------------------------------------------- */

static struct flow *flow_new(struct flow_app *app, int endpoint, int gate)
{
    struct flow *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct flow){.next = app->flows, .app = app, .endpoint = endpoint, .gate = gate};
    app->flows = f;
    return f;
}

static struct flow *flow_find(const struct flow_app *app, int endpoint, int gate)
{
    struct flow *f = app->flows;
    while (f && (f->endpoint != endpoint || f->gate != gate))
        f = f->next;
    return f;
}

static void app_done(struct flow_app *app)
{
    for (struct flow *f = app->flows, *next; f; f = next) {
        next = f->next;
        deadlines_free(f->early);
        free(f);
    }
}

static void app_free(struct flow_app *app)
{
    app_done(app);
    free(app);
}

struct flows *flows_new(int endpoint_count)
{
    struct flows *t = calloc(1, sizeof *t);
    if (t && !flows_grow(t, endpoint_count)) {
        flows_free(t);
        return NULL;
    }
    return t;
}

bool flows_grow(struct flows *t, int endpoint_count)
{
    for (; t->endpoint_count < endpoint_count; t->endpoint_count++)
        if (!flow_new(&t->further, t->endpoint_count, ANY_GATE))
            return false;
    return true;
}

void flows_free(struct flows *t)
{
    if (!t)
        return;
    assert(!t->busy.first);
    for (struct flow_app *app = t->idle.first, *next; app; app = next) {
        next = app->next;
        app_free(app);
    }
    app_done(&t->further);
    free(t);
}

/* ---- which flow? -------------------------------------------------------------------------- */

static bool is_named(const struct flow_app *app, struct span name)
{
    return app->name_bytes == name.n && memcmp(app->name, name.p, name.n) == 0;
}

static struct flow_app *ring_find(const struct ring *r, struct span name)
{
    struct flow_app *app = r->first;
    while (app && !is_named(app, name))
        app = app->next;
    return app;
}

/* A new entry among the idle; in place of the longest idle one when there are too many. NULL:
 * none can be had. */
static struct flow_app *app_new(struct flows *t, struct span name)
{
    struct flow_app *app = NULL;
    if (t->app_count == FLOWS_APPS) {
        app = t->idle.first;
        if (!app)
            return NULL;
        ring_remove(&t->idle, app);
        if (t->recent == app)
            t->recent = NULL;
        app_free(app);
        t->app_count--;
    }
    app = calloc(1, sizeof *app);
    if (!app)
        return NULL;
    memcpy(app->name, name.p, name.n);
    app->name_bytes = name.n;
    ring_append(&t->idle, app);
    t->app_count++;
    return app;
}

static struct flow_app *app_of(struct flows *t, struct span name)
{
    if (t->recent && is_named(t->recent, name))
        return t->recent;
    struct flow_app *app = ring_find(&t->busy, name);
    if (!app)
        app = ring_find(&t->idle, name);
    if (!app && name.n <= sizeof app->name)
        app = app_new(t, name);
    t->recent = app;
    return app;
}

static struct flow *flow_of(struct flows *t, const struct job *job)
{
    struct flow_app *app = app_of(t, job->msg.app);
    struct flow *f = app ? flow_find(app, job->endpoint, job->gate) : NULL;
    if (app && !f)
        f = flow_new(app, job->endpoint, job->gate);
    if (!f)
        f = flow_find(&t->further, job->endpoint, ANY_GATE);
    assert(f); /* it has one for every endpoint */
    return f;
}

/* ---- in and out ---------------------------------------------------------------------------- */

static int64_t deadline_of(const struct job *job)
{
    return job->msg.deadline_ms ? job->msg.deadline_ms : INT64_MAX;
}

static bool before(const struct job *a, const struct job *b)
{
    int64_t x = deadline_of(a), y = deadline_of(b);
    return x < y || (x == y && a->waiting_since_us < b->waiting_since_us);
}

static bool push_early(struct flow *f, struct job *job)
{
    if (!f->early)
        f->early = deadlines_new();
    return f->early && deadlines_set(f->early, job, deadline_of(job));
}

static void append(struct flow *f, struct job *job)
{
    job->flow_prev = f->tail;
    job->flow_next = NULL;
    *(f->tail ? &f->tail->flow_next : &f->head) = job;
    f->tail = job;
}

void flows_push(struct flows *t, struct job *job)
{
    struct flow *f = flow_of(t, job);
    job->flow = f;
    bool early = f->tail && deadline_of(job) < deadline_of(f->tail);
    if (!early || !push_early(f, job))
        append(f, job);
    if (early || !f->count)
        f->ask_at_us = 0; /* it has another next job */
    f->count++;
    t->jobs++;
    if (f->app->jobs++)
        return;
    if (f->app != &t->further)
        ring_remove(&t->idle, f->app);
    ring_append(&t->busy, f->app);
}

void flows_remove(struct flows *t, struct job *job)
{
    struct flow *f = job->flow;
    if (job->heap_index >= 0) {
        deadlines_clear(f->early, job);
    } else {
        *(job->flow_prev ? &job->flow_prev->flow_next : &f->head) = job->flow_next;
        *(job->flow_next ? &job->flow_next->flow_prev : &f->tail) = job->flow_prev;
    }
    job->flow = NULL;
    f->ask_at_us = 0;
    f->blocked = f->blocked && f->count > 1;
    f->count--;
    t->jobs--;
    if (--f->app->jobs)
        return;
    ring_remove(&t->busy, f->app);
    if (f->app != &t->further)
        ring_append(&t->idle, f->app);
}

/* ---- whose turn is it? --------------------------------------------------------------------- */

static struct job *first_of(struct job *a, struct job *b)
{
    return !a || (b && before(b, a)) ? b : a;
}

static struct job *next_of_flow(const struct flow *f)
{
    return first_of(f->head, f->early ? deadlines_first(f->early) : NULL);
}

static bool is_passed_over(const struct flow *f, struct flow_ask *ask)
{
    if (!ask || !f->blocked || f->ask_at_us <= ask->now_us)
        return false;
    ask->next_us = f->ask_at_us < ask->next_us ? f->ask_at_us : ask->next_us;
    return true;
}

static struct job *best_of_app(const struct flow_app *app, const uint64_t *endpoints,
                               struct flow_ask *ask)
{
    struct job *best = NULL;
    for (const struct flow *f = app->flows; f; f = f->next)
        if (f->count && (endpoints[f->endpoint / 64] >> (f->endpoint % 64) & 1) &&
            !is_passed_over(f, ask))
            best = first_of(best, next_of_flow(f));
    return best;
}

static bool may_go(struct flow *f, struct job *job, struct flow_ask *ask)
{
    f->ask_at_us = ask ? ask->free_at(ask->arg, job) : 0;
    f->blocked = ask && f->ask_at_us > ask->now_us;
    return !f->blocked;
}

/* The best may have to wait: then the next best of another flow is asked. */
static struct job *goes_of_app(const struct flow_app *app, const uint64_t *endpoints,
                               struct flow_ask *ask)
{
    for (struct job *job; (job = best_of_app(app, endpoints, ask));)
        if (may_go(job->flow, job, ask))
            return job;
    return NULL;
}

struct job *flows_next(struct flows *t, const uint64_t *endpoints, struct flow_ask *ask)
{
    struct job *job = NULL;
    struct flow_app *app = t->busy.first;
    while (app && !(job = goes_of_app(app, endpoints, ask)))
        app = app->next;
    return job;
}

/* The flow whose app's turn at this endpoint is longest ago; of one app's, that with the best job.
 */
static struct flow *longest_ago(const struct flows *t, int endpoint, struct flow_ask *ask)
{
    struct flow *best = NULL;
    for (const struct flow_app *app = t->busy.first; app; app = app->next)
        for (struct flow *f = app->flows; f; f = f->next)
            if (f->count && f->endpoint == endpoint && !is_passed_over(f, ask) &&
                (!best || f->turn < best->turn ||
                 (f->app == best->app && before(next_of_flow(f), next_of_flow(best)))))
                best = f;
    return best;
}

struct job *flows_next_at(struct flows *t, int endpoint, struct flow_ask *ask)
{
    for (struct flow *f; (f = longest_ago(t, endpoint, ask));) {
        struct job *job = next_of_flow(f);
        if (may_go(f, job, ask))
            return job;
    }
    return NULL;
}

void flows_turn(struct flows *t, const struct job *job)
{
    struct flow_app *app = job->flow->app;
    ring_remove(&t->busy, app);
    ring_append(&t->busy, app);
    t->turns++;
    for (struct flow *f = app->flows; f; f = f->next)
        if (f->endpoint == job->endpoint)
            f->turn = t->turns;
}

/* ---- who has to wait? ----------------------------------------------------------------------- */

void flows_wake(struct flows *t, bool all)
{
    for (struct flow_app *app = t->busy.first; app; app = app->next)
        for (struct flow *f = app->flows; f; f = f->next)
            if (all || f->ask_at_us == INT64_MAX)
                f->ask_at_us = 0;
}

struct job *flows_blocked(const struct flows *t, bool last, size_t *ret_jobs)
{
    const struct flow *most = NULL;
    *ret_jobs = 0;
    for (const struct flow_app *app = t->busy.first; app; app = app->next) {
        for (const struct flow *f = app->flows; f; f = f->next) {
            if (!f->blocked)
                continue;
            *ret_jobs += f->count;
            most = !most || f->count > most->count ? f : most;
        }
    }
    if (!most)
        return NULL;
    return last && most->tail ? most->tail : next_of_flow(most);
}

static size_t ready_of(const struct flow_app *app, int endpoint)
{
    size_t jobs = 0;
    for (const struct flow *f = app->flows; f; f = f->next)
        jobs += f->endpoint == endpoint && !f->blocked ? f->count : 0;
    return jobs;
}

size_t flows_ready(const struct flows *t, int endpoint)
{
    size_t jobs = 0;
    for (const struct flow_app *app = t->busy.first; app; app = app->next)
        jobs += ready_of(app, endpoint);
    return jobs;
}

size_t flows_app_ready(const struct flows *t, int endpoint, struct span name)
{
    const struct flow_app *app = ring_find(&t->busy, name);
    return app ? ready_of(app, endpoint) : 0;
}

void flows_apps(const struct flows *t, void (*tell)(void *arg, struct span app, size_t jobs),
                void *arg)
{
    for (const struct flow_app *app = t->busy.first; app; app = app->next)
        tell(arg, (struct span){app->name, app->name_bytes}, app->jobs);
}

/* ---- who has the most? ---------------------------------------------------------------------- */

struct job *flows_crowd(const struct flows *t)
{
    const struct flow_app *app = t->busy.first;
    while (app && (app == &t->further || app->jobs * 4 < t->jobs * 3))
        app = app->next;
    const struct flow *most = NULL;
    for (const struct flow *f = app ? app->flows : NULL; f; f = f->next)
        if (!most || f->count > most->count)
            most = f;
    if (!most)
        return NULL;
    return most->tail ? most->tail : deadlines_first(most->early);
}
