/*
 * scenario.c - see scenario.h.
 *
 * Happy path: a row of the table becomes a plan: its streams of jobs as records, its events as
 * faults, its limits as operators set them. The world plays it with the workers' whole path; once a
 * second what arrived at the models is noted; the numbers come from these notes, never from what
 * workers say.
 *
 *   used           of the first limit, while there was work: what arrived, by what was allowed,
 *                  or by what the model bears a minute, if that is less. Not looked at: the share
 * lease after a death, the minute after a change of the limit, the models' troubles and the minute
 * after them fullest        of all limits, the fullest 60 s (or most calls at once), by what was
 * allowed unfair         the largest distance of a lane's or app's part from what it should have
 *   calls per job  all calls, by first calls
 *   turned away    429 and 503, by all calls, once the first minute is over
 *   overshoot      the most calls at the models that left after the troubles, by the most before
 *                  them (those that left while a model was slow stay for as long as it was)
 *   slowest        of a stream that is watched, from record to first call
 *
 * Seed 1 plays the table's row as it stands. With each other seed things happen some seconds
 * earlier or later, to other workers, models are a little faster or slower, and limits larger or
 * smaller.
 */
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <string.h>

#include "common/limits.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)

enum {
    STREAMS = 4,
    EVENTS = 16,
    SECONDS_MAX = 3600,
    DEATH_S = 9, /* until others have what a dead one held */
    CHANGE_S = 75,
    WARM_S = 75,
    PERMILLE = 1000,
    SPARE = 4,        /* slots for workers that start later */
    AS_IT_STANDS = 1, /* the seed that changes nothing */
};

/* Jobs of one app and lane, from a time on. */
struct stream {
    int app, lane, endpoint, count, from_s;
    int part; /* of the limit that it should have, in permille */
    bool watched;
};

struct happening {
    enum fault_kind kind;
    int at_s, for_s, slot;
};

enum fair { BY_NOTHING, BY_LANE, BY_APP };

struct scenario {
    const char *name;
    int minutes, workers, endpoints;
    struct plan_scene scene;
    struct plan_limit limits[PLAN_LIMITS];
    struct stream streams[STREAMS];
    struct happening events[EVENTS];
    enum fair fair;
    int fair_to_s;
    int trouble_from_s, trouble_to_s;
    struct bounds { /* in permille, slowest in seconds; 0: not judged */
        int used, unfair, per_job, turned_away, overshoot, slowest_s;
    } bounds;
};

#define FOR_EVER 100000
#define OF_ENDPOINT(which, d, n, ...)                                                          \
    {                                                                                          \
        .scope = LIMIT_ENDPOINT, .of = (which), .dimension = (d), .says_count = (n), .says = { \
            __VA_ARGS__                                                                        \
        }                                                                                      \
    }
#define RPM LIMIT_REQUESTS_PER_MINUTE

static const struct scenario scenarios[] = {
    /* The README's example. */
    {.name = "steady",
     .minutes = 12,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 500}),
                OF_ENDPOINT(0, LIMIT_TOKENS_PER_MINUTE, 1, {0, 200000})},
     .streams = {{0, 0, 0, 4400, 0, 600, false},
                 {0, 1, 0, 2000, 0, 150, false},
                 {1, 1, 0, 2000, 0, 150, false},
                 {1, 2, 0, 2000, 0, 100, false}},
     .fair = BY_LANE,
     .bounds = {.used = 950, .unfair = 50}},
    {.name = "workers-come-and-go",
     .minutes = 12,
     .workers = 3,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600})},
     .streams = {{0, 1, 0, 9000, 0, 0, false}},
     .events = {{FAULT_START, 120, 0, 0},
                {FAULT_START, 150, 0, 0},
                {FAULT_DRAIN, 240, 1, 1},
                {FAULT_CRASH, 330, FOR_EVER, 0},
                {FAULT_CRASH, 420, 5, 2},
                {FAULT_FREEZE, 540, 20, 3}},
     .bounds = {.used = 950}},
    {.name = "limits-change",
     .minutes = 14,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 4, {0, 600}, {200 * SECOND, 150}, {440 * SECOND, 1200},
                            {640 * SECOND, 400})},
     .streams = {{0, 1, 0, 9500, 0, 0, false}},
     .bounds = {.used = 950}},
    {.name = "model-slows",
     .minutes = 14,
     .workers = 4,
     .endpoints = 1,
     .scene = {1 * SECOND, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600}), OF_ENDPOINT(0, LIMIT_IN_FLIGHT, 1, {0, 40})},
     .streams = {{0, 1, 0, 9000, 0, 0, false}},
     .events = {{FAULT_ENDPOINT_SLOW, 240, 180, 0}},
     .trouble_from_s = 240,
     .trouble_to_s = 420,
     .bounds = {.used = 950, .overshoot = 1200}},
    {.name = "storm-of-429",
     .minutes = 14,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600})},
     .streams = {{0, 1, 0, 9000, 0, 0, false}},
     .events = {{FAULT_ENDPOINT_THROTTLES, 240, 120, 0}},
     .trouble_from_s = 240,
     .trouble_to_s = 360,
     .bounds = {.used = 950, .per_job = 1200, .overshoot = 1200}},
    {.name = "limit-ten-times-too-high",
     .minutes = 14,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 100},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 1000})},
     .streams = {{0, 1, 0, 4000, 0, 0, false}},
     .bounds = {.used = 880, .per_job = 1200, .turned_away = 15}},
    {.name = "regional-outage",
     .minutes = 16,
     .workers = 4,
     .endpoints = 3,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600}), OF_ENDPOINT(1, RPM, 1, {0, 300}),
                OF_ENDPOINT(2, RPM, 1, {0, 300})},
     .streams = {{0, 1, 0, 9000, 0, 0, false},
                 {0, 1, 1, 4500, 0, 0, false},
                 {1, 1, 2, 5000, 0, 0, false}},
     .events = {{FAULT_ENDPOINT_DOWN, 240, 300, 0}, {FAULT_ENDPOINT_DOWN, 240, 300, 1}},
     .trouble_from_s = 240,
     .trouble_to_s = 540,
     .bounds = {.used = 950, .per_job = 1200, .overshoot = 1200}},
    {.name = "overloaded-outage",
     .minutes = 16,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 60, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600})},
     .streams = {{0, 1, 0, 9000, 0, 0, false}},
     .events = {{FAULT_ENDPOINT_BUSY, 240, 300, 0}},
     .trouble_from_s = 240,
     .trouble_to_s = 540,
     .bounds = {.used = 950, .per_job = 1200, .overshoot = 1200}},
    {.name = "many-beside-ten",
     .minutes = 10,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 300})},
     .streams = {{0, 1, 0, 6000, 0, 0, false}, {1, 1, 0, 10, 300, 0, true}},
     .bounds = {.used = 950, .slowest_s = 60}},
    {.name = "two-apps",
     .minutes = 10,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600})},
     .streams = {{0, 1, 0, 20000, 0, 500, false}, {1, 1, 0, 4000, 0, 500, false}},
     .fair = BY_APP,
     .bounds = {.used = 950, .unfair = 50}},
    {.name = "three-priorities",
     .minutes = 10,
     .workers = 4,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 600})},
     .streams = {{0, 0, 0, 4400, 0, 600, false},
                 {0, 1, 0, 3000, 0, 300, false},
                 {0, 2, 0, 3000, 0, 100, false}},
     .fair = BY_LANE,
     .bounds = {.used = 950, .unfair = 50}},
    {.name = "one-worker",
     .minutes = 8,
     .workers = 1,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 500})},
     .streams = {{0, 1, 0, 6000, 0, 0, false}},
     .bounds = {.used = 950}},
    {.name = "forty-workers",
     .minutes = 8,
     .workers = 40,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 3000})},
     .streams = {{0, 0, 0, 30000, 0, 0, false}},
     .events = {{FAULT_CRASH, 200, FOR_EVER, 3},
                {FAULT_CRASH, 200, FOR_EVER, 4},
                {FAULT_START, 260, 0, 0},
                {FAULT_DRAIN, 320, 1, 7}},
     .bounds = {.used = 950}},
    {.name = "thousand-workers",
     .minutes = 5,
     .workers = 1000,
     .endpoints = 1,
     .scene = {500 * MS, 3 * SECOND, 0, 0},
     .limits = {OF_ENDPOINT(0, RPM, 1, {0, 10000})},
     .streams = {{0, 1, 0, 60000, 0, 0, false}},
     .events = {{FAULT_CRASH, 180, FOR_EVER, 3}, {FAULT_CRASH, 180, FOR_EVER, 4}},
     .bounds = {.used = 950}},
};

enum { SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

const char *scenario_name(int index)
{
    return index < SCENARIOS ? scenarios[index].name : NULL;
}

/* ---- another for each seed ------------------------------------------------------------------ */

static int64_t vary(uint64_t seed, int what, int64_t value, int permille)
{
    uint64_t draw = draw_mix(seed, 0x7363656e65, (uint64_t)what, 0);
    return value * (PERMILLE + sim_range(draw, -permille, permille)) / PERMILLE;
}

static bool is_of_models(enum fault_kind kind)
{
    return kind == FAULT_ENDPOINT_DOWN || kind >= FAULT_ENDPOINT_BUSY;
}

/* The troubles of models move together; the victims are others, and as many. */
static void vary_events(struct scenario *x, uint64_t seed)
{
    enum { MOVES_S = 4, TROUBLES_MOVE_S = 15 };
    int troubles_s = (int)sim_range(draw_mix(seed, 0x7363656e65, 1, 1), 0, TROUBLES_MOVE_S);
    int victims = (int)(draw_mix(seed, 0x7363656e65, 2, 2) % (uint64_t)x->workers);
    for (int i = 0; i < EVENTS && x->events[i].at_s; i++) {
        struct happening *h = &x->events[i];
        uint64_t draw = draw_mix(seed, 0x7363656e65, 3, (uint64_t)i);
        if (is_of_models(h->kind)) {
            h->at_s += troubles_s;
            continue;
        }
        h->at_s += (int)sim_range(draw, -MOVES_S, MOVES_S);
        h->slot = h->slot < x->workers ? (h->slot + victims) % x->workers : h->slot;
    }
    x->trouble_from_s += x->trouble_to_s ? troubles_s : 0;
    x->trouble_to_s += x->trouble_to_s ? troubles_s : 0;
}

static void vary_all(struct scenario *x, uint64_t seed)
{
    enum { LATENCY = 200, AMOUNT = 100, BEARS = 100 };
    x->scene.least_us = vary(seed, 10, x->scene.least_us, LATENCY);
    x->scene.most_us = vary(seed, 11, x->scene.most_us, LATENCY);
    x->scene.bears = (int)vary(seed, 12, x->scene.bears, BEARS);
    x->scene.per_minute = vary(seed, 13, x->scene.per_minute, BEARS);
    for (int k = 0; k < PLAN_LIMITS; k++)
        for (int i = 0; i < x->limits[k].says_count; i++) {
            struct plan_says *says = &x->limits[k].says[i];
            says->amount = vary(seed, 14, says->amount, AMOUNT); /* all by the same */
            says->at_us += says->at_us ? vary(seed, 15 + i, SECOND, PERMILLE) * 4 : 0;
        }
    vary_events(x, seed);
}

/* ---- a plan of it ------------------------------------------------------------------------ */

static void plan_fleet(const struct scenario *x, struct plan *p, uint64_t seed)
{
    static const int codes[] = {0, 1, 2}, weights[] = {6, 3, 1};
    *p = (struct plan){.seed = seed,
                       .scene = &x->scene,
                       .workers = x->workers,
                       .slots = x->workers + SPARE,
                       .partitions = x->workers < 8 ? 12 : x->workers + SPARE,
                       .endpoints = x->endpoints,
                       .batches = 2,
                       .calm_us = (int64_t)x->minutes * 60 * SECOND,
                       .max_in_flight = 128,
                       .endpoint_in_flight = 64,
                       .max_attempts = 5,
                       .lane_jobs = 400,
                       .lanes = 3,
                       .lease_us = 15 * SECOND,
                       .heartbeat_us = 3 * SECOND,
                       .short_wait_us = 5 * SECOND,
                       .offset_span = 20000,
                       .drain_us = 30 * SECOND,
                       .timeout_us = 60 * SECOND,
                       .reply_max_bytes = 65536,
                       .memory_bytes = INT64_C(256) << 20,
                       .parked_max = 1000000};
    memcpy(p->lane_codes, codes, sizeof codes);
    memcpy(p->lane_weights, weights, sizeof weights);
}

static void plan_stream(struct plan *p, const struct stream *x, int lane_jobs[PLAN_LANES])
{
    for (int i = 0; i < x->count; i++) {
        int job = p->job_count++;
        p->jobs[job] = (struct plan_job){.batch = x->app, .endpoint = x->endpoint};
        p->records[p->record_count++] =
            (struct plan_record){.job = job,
                                 .lane = x->lane,
                                 .partition = lane_jobs[x->lane]++ % p->partitions,
                                 .at_us = (int64_t)x->from_s * SECOND + i};
    }
}

static void plan_jobs(const struct scenario *x, struct plan *p)
{
    int count = 0, lane_jobs[PLAN_LANES] = {0};
    for (int i = 0; i < STREAMS; i++)
        count += x->streams[i].count;
    p->jobs = calloc((size_t)count, sizeof *p->jobs);
    p->records = calloc((size_t)count, sizeof *p->records);
    if (!p->jobs || !p->records)
        exit(3);
    for (int i = 0; i < STREAMS; i++)
        plan_stream(p, &x->streams[i], lane_jobs);
}

static void make_plan(const struct scenario *x, struct plan *p, uint64_t seed)
{
    plan_fleet(x, p, seed);
    plan_jobs(x, p);
    memcpy(p->limits, x->limits, sizeof p->limits);
    while (p->limit_count < PLAN_LIMITS && p->limits[p->limit_count].scope)
        p->limit_count++;
    for (const struct happening *h = x->events; h < x->events + EVENTS && h->at_s; h++)
        p->faults[p->fault_count++] = (struct plan_fault){.kind = h->kind,
                                                          .slot = h->slot,
                                                          .at_us = h->at_s * SECOND,
                                                          .for_us = h->for_s * SECOND};
}

/* ---- what is noted ----------------------------------------------------------------------- */

struct note {
    struct sim_tally tally;
    int64_t minute[PLAN_LIMITS]; /* units of the last 60 s */
    int workers;
    int64_t since; /* calls at the models that left after the troubles */
};

struct notes {
    const struct scenario *of;
    int count;
    struct note at[SECONDS_MAX];
};

static int64_t left_since(const struct sim *s, int64_t from_us)
{
    int64_t calls = 0;
    for (const struct sim_load *load = s->loads; load; load = load->next)
        calls += load->left_us >= from_us;
    return calls;
}

static void take_note(struct sim *s, struct sim_worker *nobody, void *arg)
{
    struct notes *notes = arg;
    struct note *n = &notes->at[notes->count++];
    (void)nobody;
    n->tally = s->tally;
    n->since = left_since(s, notes->of->trouble_to_s * SECOND);
    for (int k = 0; k < s->plan->limit_count; k++)
        n->minute[k] = limits_minute(s, k);
    for (int i = 0; i < s->plan->slots; i++)
        n->workers += s->workers[i].phase == SIM_RUNNING;
    if (notes->count < SECONDS_MAX)
        sim_after(s, SECOND, take_note, notes);
}

/* ---- numbers ----------------------------------------------------------------------------- */

static bool within(int second, int from_s, int to_s)
{
    return second >= from_s && second < to_s;
}

/* Is this second one in which the limit should be used up? */
static bool counts(const struct scenario *x, int second)
{
    if (second < WARM_S ||
        (x->trouble_to_s && within(second, x->trouble_from_s, x->trouble_to_s + CHANGE_S)))
        return false;
    for (const struct happening *h = x->events; h < x->events + EVENTS && h->at_s; h++) {
        if (h->kind == FAULT_CRASH && within(second, h->at_s, h->at_s + DEATH_S))
            return false;
        if (h->kind == FAULT_FREEZE && within(second, h->at_s, h->at_s + h->for_s + DEATH_S))
            return false;
    }
    for (int i = 1; i < x->limits[0].says_count; i++) {
        int at_s = (int)(x->limits[0].says[i].at_us / SECOND);
        if (within(second, at_s, at_s + CHANGE_S))
            return false;
    }
    return true;
}

static int permille_used(const struct notes *notes)
{
    const struct plan_limit *l = &notes->of->limits[0];
    int64_t units = 0, allowed = 0;
    for (int i = 1; i < notes->count; i++) {
        if (!counts(notes->of, i))
            continue;
        int64_t amount = plan_amount(l, i * SECOND), bears = notes->of->scene.per_minute;
        units += notes->at[i].tally.units[0] - notes->at[i - 1].tally.units[0];
        allowed += bears && bears < amount ? bears : amount;
    }
    return allowed ? (int)(units * 60 * PERMILLE / allowed) : 0;
}

static int64_t part_of(const struct scenario *x, const struct sim_tally *t, const struct stream *f)
{
    return x->fair == BY_LANE ? t->by_lane[f->lane] : t->by_app[f->app];
}

/* Streams of the same lane or app are one part. */
static int permille_unfair(const struct notes *notes)
{
    const struct scenario *x = notes->of;
    int worst = 0, to = notes->count - 1;
    const struct sim_tally *from = &notes->at[WARM_S].tally, *until = &notes->at[to].tally;
    int64_t all =
        until->first - from->first + until->begun - until->first - from->begun + from->first;
    for (const struct stream *f = x->streams; x->fair && f < x->streams + STREAMS && f->count;
         f++) {
        int should = 0;
        for (const struct stream *g = x->streams; g < x->streams + STREAMS && g->count; g++)
            should += (x->fair == BY_LANE ? g->lane == f->lane : g->app == f->app) ? g->part : 0;
        int64_t has = part_of(x, until, f) - part_of(x, from, f);
        int off = abs((int)(has * PERMILLE / (all ? all : 1)) - should);
        worst = off > worst ? off : worst;
    }
    return worst;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int permille_overshoot(const struct notes *notes)
{
    const struct scenario *x = notes->of;
    int64_t before = 0, after = 0;
    for (int i = WARM_S; i < x->trouble_from_s && i < notes->count; i++)
        before = larger(before, notes->at[i].tally.at_models);
    for (int i = x->trouble_to_s; i < notes->count; i++)
        after = larger(after, notes->at[i].since);
    return x->trouble_to_s && before ? (int)(after * PERMILLE / before) : 0;
}

/* From record to first call, of the streams that are watched. */
static int slowest_s(const struct sim *s, const struct scenario *x)
{
    int64_t slowest = 0;
    int job = 0;
    for (const struct stream *f = x->streams; f < x->streams + STREAMS; f++)
        for (int i = 0; i < f->count; i++, job++) {
            int64_t at = s->now_us;
            for (int k = s->jobs[job].seen; k; k = s->seen[k - 1].earlier)
                at = s->seen[k - 1].at_us;
            int64_t waited = at - (int64_t)f->from_s * SECOND;
            slowest = f->watched && waited > slowest ? waited : slowest;
        }
    return (int)((slowest + SECOND - 1) / SECOND);
}

static int64_t permille(int64_t part, int64_t of)
{
    return of ? part * PERMILLE / of : 0;
}

static int64_t permille_turned_away(const struct notes *notes)
{
    const struct sim_tally *from = &notes->at[WARM_S].tally,
                           *to = &notes->at[notes->count - 1].tally;
    return permille(to->refused + to->overloaded - from->refused - from->overloaded,
                    to->begun - from->begun);
}

/* ---- telling and judging ------------------------------------------------------------------ */

static void write_curve(const struct notes *notes, FILE *out)
{
    const struct scenario *x = notes->of;
    (void)fputs("second,limit,minute,units,begun,turned_away,unsent,answered,at_models,workers,"
                "app1,app2,high,normal,low\n",
                out);
    for (int i = 1; i < notes->count; i++) {
        const struct sim_tally *t = &notes->at[i].tally, *was = &notes->at[i - 1].tally;
        (void)fprintf(out, "%d", i);
        const int64_t columns[] = {plan_amount(&x->limits[0], i * SECOND),
                                   notes->at[i].minute[0],
                                   t->units[0] - was->units[0],
                                   t->begun - was->begun,
                                   t->refused + t->overloaded - was->refused - was->overloaded,
                                   t->unsent - was->unsent,
                                   t->answered - was->answered,
                                   t->at_models,
                                   notes->at[i].workers,
                                   t->by_app[0] - was->by_app[0],
                                   t->by_app[1] - was->by_app[1],
                                   t->by_lane[0] - was->by_lane[0],
                                   t->by_lane[1] - was->by_lane[1],
                                   t->by_lane[2] - was->by_lane[2]};
        for (size_t k = 0; k < sizeof columns / sizeof columns[0]; k++)
            (void)fprintf(out, ",%lld", (long long)columns[k]);
        (void)fputc('\n', out);
    }
}

static bool judge(const char *what, int64_t is, int64_t bound, bool at_least, char *ret_why,
                  size_t why_bytes)
{
    bool fine = !bound || (at_least ? is >= bound : is <= bound);
    if (!fine && !ret_why[0])
        (void)snprintf(ret_why, why_bytes, "%s is %lld, and should be %lld %s", what, (long long)is,
                       (long long)bound, at_least ? "or more" : "or less");
    return fine;
}

static bool tell(const struct sim *s, const struct notes *notes, char *ret_why, size_t why_bytes)
{
    const struct bounds *b = &notes->of->bounds;
    const struct sim_tally *t = &s->tally;
    int64_t used = permille_used(notes), unfair = permille_unfair(notes), fullest = 0;
    int64_t per_job = permille(t->begun, t->first), overshoot = permille_overshoot(notes);
    int64_t away = permille_turned_away(notes), slow = slowest_s(s, notes->of);
    for (int k = 0; k < s->plan->limit_count; k++)
        fullest = s->limits[k].fullest > fullest ? s->limits[k].fullest : fullest;
    printf(
        "%-26s seed %llu  used %5.1f %%  fullest %5.1f %%  unfair %4.1f %%  calls per job %5.3f  "
        "turned away %5.2f %%  overshoot %4.2f  slowest %d s  violations %d  (%lld calls)\n",
        notes->of->name, (unsigned long long)s->plan->seed, (double)used / 10, (double)fullest / 10,
        (double)unfair / 10, (double)per_job / PERMILLE, (double)away / 10,
        (double)overshoot / PERMILLE, (int)slow, strcmp(s->broken, "LM") == 0, (long long)t->begun);
    return judge("used (permille)", used, b->used, true, ret_why, why_bytes) &&
           judge("unfair (permille)", unfair, b->unfair, false, ret_why, why_bytes) &&
           judge("calls per job (permille)", per_job, b->per_job, false, ret_why, why_bytes) &&
           judge("turned away (permille)", away, b->turned_away, false, ret_why, why_bytes) &&
           judge("overshoot (permille)", overshoot, b->overshoot, false, ret_why, why_bytes) &&
           judge("slowest (s)", slow, b->slowest_s, false, ret_why, why_bytes);
}

bool scenario_play(struct sim *s, const char *name, uint64_t seed, FILE *curve, char *ret_why,
                   size_t why_bytes)
{
    static struct plan plan;
    static struct notes notes;
    static struct scenario it;
    struct sim_counts counts = {0};
    const struct scenario *x = scenarios;
    while (x < scenarios + SCENARIOS && strcmp(x->name, name) != 0)
        x++;
    ret_why[0] = '\0';
    if (x == scenarios + SCENARIOS) {
        (void)snprintf(ret_why, why_bytes, "there is no scenario '%s'", name);
        return false;
    }
    it = *x;
    if (seed != AS_IT_STANDS)
        vary_all(&it, seed);
    memset(&notes, 0, sizeof notes);
    notes.of = &it;
    make_plan(&it, &plan, seed);
    sim_after(s, 0, take_note, &notes);
    bool held = sim_play(s, &plan, &counts, false);
    if (!held)
        (void)snprintf(ret_why, why_bytes, "%s at %.3f s: %s", s->broken,
                       (double)s->broken_us / 1e6, s->why);
    held = tell(s, &notes, ret_why, why_bytes) && held;
    if (curve)
        write_curve(&notes, curve);
    sim_world_done(s);
    free(plan.jobs);
    free(plan.records);
    return held;
}
