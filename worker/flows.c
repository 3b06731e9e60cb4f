/*
 * flows.c - apps take turns, and an app's turn goes to its job with the earliest deadline (pure).
 *
 * Happy path: the jobs of one app for one endpoint are a flow. Deadlines mostly arrive in order
 * (none at all, or a batch's one), so a job is appended to the flow's list; only one whose
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

struct flow {
    struct flow *next; /* of its app; idle ones stay */
    struct flow_app *app;
    int endpoint;
    size_t count;
    struct job *head, *tail; /* deadlines never fall */
    struct deadlines *early; /* NULL until one is needed */
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

static struct flow *flow_new(struct flow_app *app, int endpoint)
{
    struct flow *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct flow){.next = app->flows, .app = app, .endpoint = endpoint};
    app->flows = f;
    return f;
}

static struct flow *flow_find(const struct flow_app *app, int endpoint)
{
    struct flow *f = app->flows;
    while (f && f->endpoint != endpoint)
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
        if (!flow_new(&t->further, t->endpoint_count))
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
    struct flow *f = app ? flow_find(app, job->endpoint) : NULL;
    if (app && !f)
        f = flow_new(app, job->endpoint);
    if (!f)
        f = flow_find(&t->further, job->endpoint);
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

static struct job *best_of_app(const struct flow_app *app, const uint64_t *endpoints)
{
    struct job *best = NULL;
    for (const struct flow *f = app->flows; f; f = f->next) {
        if (!f->count || !(endpoints[f->endpoint / 64] >> (f->endpoint % 64) & 1))
            continue;
        best = first_of(best, f->head);
        best = first_of(best, f->early ? deadlines_first(f->early) : NULL);
    }
    return best;
}

struct job *flows_next(struct flows *t, const uint64_t *endpoints)
{
    struct job *job = NULL;
    struct flow_app *app = t->busy.first;
    while (app && !(job = best_of_app(app, endpoints)))
        app = app->next;
    if (!job)
        return NULL;
    ring_remove(&t->busy, app);
    ring_append(&t->busy, app);
    return job;
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
