/*
 * plan.c - see plan.h. Each seed is of another kind: some are nearly quiet, some are all crashes,
 * some have one thing wrong for long.
 */
#include "tests/sim/plan.h"

#include <string.h>

#include "common/limits.h"
#include "worker/job.h"

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)

enum { SLOTS = 5, PARTITIONS = 3 /* of a lane, at most */ };

static const char *const fault_names[FAULT_KINDS] = {
    [FAULT_CRASH] = "crash",
    [FAULT_CRASH_ARROW] = "crash_at_arrow",
    [FAULT_CRASH_SEND] = "crash_at_send",
    [FAULT_FREEZE] = "freeze",
    [FAULT_SLEEP] = "sleep",
    [FAULT_CLOCK] = "clock_jump",
    [FAULT_TERM] = "stop",
    [FAULT_TERM_TWICE] = "stop_abort",
    [FAULT_DRAIN] = "drain",
    [FAULT_RELOAD] = "reload",
    [FAULT_START] = "start",
    [FAULT_PG_CUT] = "pg_cut",
    [FAULT_PG_CUT_REPLY] = "pg_reply_lost",
    [FAULT_PG_SILENT] = "pg_silent",
    [FAULT_PG_STUCK] = "pg_stuck",
    [FAULT_PG_RESTART] = "pg_restart",
    [FAULT_PG_SLOW] = "pg_slow",
    [FAULT_PG_ERROR] = "pg_error",
    [FAULT_KAFKA_DOWN] = "kafka_down",
    [FAULT_KAFKA_MOVE] = "kafka_rebalance",
    [FAULT_COMMIT_LOST] = "kafka_commit_lost",
    [FAULT_CANCEL] = "cancel",
    [FAULT_ENDPOINT_DOWN] = "endpoint_down",
    [FAULT_ENDPOINT_BUSY] = "endpoint_busy",
    [FAULT_ENDPOINT_THROTTLES] = "endpoint_throttles",
    [FAULT_ENDPOINT_KEY] = "endpoint_key",
    [FAULT_ENDPOINT_MODEL] = "endpoint_model_gone",
    [FAULT_ENDPOINT_HANGS] = "endpoint_hangs",
    [FAULT_ENDPOINT_CUTS] = "endpoint_cuts",
    [FAULT_ENDPOINT_HELD] = "endpoint_held",
    [FAULT_ENDPOINT_SLOW] = "endpoint_slow",
};

static const char *const sort_names[SORT_COUNT] = {
    [SORT_TEXT] = "text",         [SORT_LABEL] = "label",         [SORT_EMBEDDING] = "embedding",
    [SORT_BAD_URL] = "bad url",   [SORT_NO_MODEL] = "no model",   [SORT_RETIRED] = "retired model",
    [SORT_POOR] = "poor",         [SORT_MALFORMED] = "malformed", [SORT_FORGED] = "forged",
    [SORT_UNSIGNED] = "unsigned",
};

static const char *const temper_names[TEMPER_COUNT] = {
    [TEMPER_PLAIN] = "plain",     [TEMPER_SLOW] = "slow",       [TEMPER_CRASHES] = "always 500",
    [TEMPER_CUTS] = "always cut", [TEMPER_BAD] = "always 400",  [TEMPER_REFUSES] = "refused",
    [TEMPER_BABBLES] = "babble",  [TEMPER_GARBLES] = "garbled", [TEMPER_SNUBBED] = "always 403",
};

const char *fault_name(enum fault_kind kind)
{
    return fault_names[kind];
}

const char *sort_name(enum job_sort sort)
{
    return sort_names[sort];
}

const char *temper_name(enum job_temper temper)
{
    return temper_names[temper];
}

/* splitmix64's finaliser over the words, one after the other. */
uint64_t draw_mix(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t words[] = {b, c, d}, x = a;
    for (int i = 0; i < 3; i++) {
        x += UINT64_C(0x9e3779b97f4a7c15) + words[i];
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31;
    }
    return x;
}

/* The plan's own stream: only plan_draw uses it. */
struct dice {
    uint64_t seed, n;
};

static int64_t range(struct dice *d, int64_t least, int64_t most)
{
    uint64_t x = draw_mix(d->seed, 0x706c616e, d->n++, 0);
    return least + (int64_t)(x % (uint64_t)(most - least + 1));
}

static bool chance(struct dice *d, int permille)
{
    return range(d, 0, 999) < permille;
}

static int64_t one_of(struct dice *d, const int64_t *values, int n)
{
    return values[range(d, 0, n - 1)];
}

#define ONE_OF(d, ...)                          \
    one_of((d), (const int64_t[]){__VA_ARGS__}, \
           (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

const char *const plan_lane_names[PLAN_LANES] = {"high", "normal", "low", "bulk", "nightly"};
const char *const plan_lane_topics[PLAN_LANES] = {"jobs.high", "jobs.normal", "jobs.low",
                                                  "jobs.bulk", "jobs.nightly"};

/* Half of the fleets have the three lanes that are always there; the others two to five, whose
 * codes are not their places. Without the dice, so that all else stays as the seed has it. */
static void draw_lanes(struct plan *p)
{
    static const int codes[] = {0, 1, 2}, weights[] = {8, 3, 1};
    uint64_t draw = draw_mix(p->seed, 0x6c616e65, 0, 0);
    bool plain = draw % 2 == 0;
    p->lanes = plain ? 3 : 2 + (int)(draw / 2 % (PLAN_LANES - 1));
    for (int i = 0; i < p->lanes; i++) {
        p->lane_codes[i] = plain ? codes[i] : 2 * i + (int)(draw / 16 % 3);
        p->lane_weights[i] = plain ? weights[i] : 1 + (int)(draw >> (16 + 6 * i) & 15);
    }
}

static void draw_settings(struct plan *p, struct dice *d)
{
    p->workers = (int)ONE_OF(d, 1, 1, 2, 2, 2, 3, 4);
    p->slots = SLOTS;
    p->partitions = (int)range(d, 1, PARTITIONS);
    p->endpoints = (int)range(d, 1, PLAN_ENDPOINTS);
    p->batches = (int)range(d, 1, PLAN_BATCHES);
    p->calm_us = range(d, 5, 60) * SECOND;
    p->max_in_flight = (int)ONE_OF(d, 1, 2, 3, 5, 8, 20);
    p->endpoint_in_flight = (int)ONE_OF(d, 1, 1, 2, 4, 16);
    p->max_attempts = (int)ONE_OF(d, 1, 2, 3, 5, 5);
    p->lane_jobs = (int)ONE_OF(d, 2, 4, 10, 40, 200);
    p->lease_us = chance(d, 600) ? 15 * SECOND : range(d, 6000, 20000) * MS;
    p->heartbeat_us = p->lease_us / range(d, 5, 8);
    p->short_wait_us = ONE_OF(d, 0, 500 * MS, 5 * SECOND, 5 * SECOND);
    p->offset_span = ONE_OF(d, 2, 4, 8, 20, 1000);
    p->drain_us = ONE_OF(d, 0, 2 * SECOND, 30 * SECOND);
    p->timeout_us = ONE_OF(d, 3 * SECOND, 8 * SECOND, 30 * SECOND, 90 * SECOND);
    p->reply_max_bytes =
        ONE_OF(d, 4096, 65536, 4 << 20); /* some calls alone may break the budget */
    int64_t one_call = (24 << 10) + (8 << 20) + p->reply_max_bytes;
    int64_t records = 3 * INT64_C(400) << 10;
    p->memory_bytes = one_call + records + (chance(d, 300) ? range(d, 0, 40) << 10 : 64 << 20);
    p->signatures = chance(d, 200);
    p->trouble_permille = (int)ONE_OF(d, 0, 50, 150, 400);
}

static void draw_jobs(struct plan *p, struct dice *d, int jobs)
{
    static const int64_t odd_sorts[] = {SORT_BAD_URL,   SORT_NO_MODEL, SORT_RETIRED, SORT_POOR,
                                        SORT_MALFORMED, SORT_FORGED,   SORT_UNSIGNED};
    int odd = (int)ONE_OF(d, 0, 50, 150), moody = (int)ONE_OF(d, 0, 100, 300);
    int poisoned = (int)ONE_OF(d, 0, 0, 30), bounded = (int)ONE_OF(d, 0, 0, 100, 300);
    p->job_count = jobs ? jobs : (int)ONE_OF(d, 1, 2, 5, 10, 20, 40, 60);
    if (p->job_count > PLAN_JOBS)
        p->job_count = PLAN_JOBS;
    for (int i = 0; i < p->job_count; i++) {
        struct plan_job *job = &p->jobs[i];
        *job = (struct plan_job){.sort = (enum job_sort)ONE_OF(d, SORT_TEXT, SORT_TEXT, SORT_LABEL,
                                                               SORT_LABEL, SORT_EMBEDDING),
                                 .batch = (int)range(d, 0, p->batches - 1),
                                 .endpoint = (int)range(d, 0, p->endpoints - 1)};
        if (chance(d, odd))
            job->sort = (enum job_sort)one_of(d, odd_sorts, 7);
        if (chance(d, moody))
            job->temper = (enum job_temper)range(d, 1, TEMPER_COUNT - 1);
        if (chance(d, poisoned))
            job->poison = (enum job_poison)range(d, 1, POISON_COUNT - 1);
        if (chance(d, 200))
            job->max_attempts = (int)range(d, 1, 4);
        if (chance(d, bounded))
            job->deadline_us = range(d, 1, p->calm_us / SECOND + 10) * SECOND;
    }
}

static void add_record(struct plan *p, struct dice *d, int job, int64_t at_us)
{
    if (p->record_count == PLAN_RECORDS)
        return;
    int lane = (int)ONE_OF(d, 0, 1, 1, 2), of_all = p->record_count % p->lanes;
    p->records[p->record_count++] = (struct plan_record){
        .job = job,
        .lane = p->lanes == 3 ? lane : of_all,
        .partition = (int)range(d, 0, p->partitions - 1),
        .at_us = at_us,
    };
}

/* Most come early, some on the way; some come twice, at once or later, here or in another lane. */
static void draw_records(struct plan *p, struct dice *d)
{
    int64_t spread = ONE_OF(d, 1, 2, 10, p->calm_us / SECOND) * SECOND;
    int twice = (int)ONE_OF(d, 0, 0, 100, 400);
    for (int i = 0; i < p->job_count; i++) {
        int64_t at = range(d, 0, spread);
        add_record(p, d, i, at);
        if (chance(d, twice))
            add_record(p, d, i,
                       at + (chance(d, 500) ? range(d, 0, SECOND) : range(d, 0, p->calm_us)));
    }
}

static void draw_crash(struct plan_fault *f, struct dice *d)
{
    static const enum job_state arrows[][2] = {
        {JOB_THROTTLE, JOB_CLAIM}, {JOB_CLAIM, JOB_CALL},    {JOB_PARSE, JOB_CHECK},
        {JOB_CHECK, JOB_STORE},    {JOB_STORE, JOB_SETTLED}, {JOB_STORE, JOB_RETRY},
        {JOB_STORE, JOB_PARK},     {JOB_PARK, JOB_SETTLED},  {JOB_CLAIM, JOB_WAIT},
        {JOB_FETCHED, JOB_ADMIT},  {JOB_FETCHED, JOB_BURY},  {JOB_BURY, JOB_SETTLED},
        {JOB_RETRY, JOB_THROTTLE}, {JOB_THROTTLE, JOB_PARK}, {JOB_CLAIM, JOB_PARK},
    };
    int i = (int)range(d, 0, (int)(sizeof arrows / sizeof arrows[0]) - 1);
    f->from = (int)arrows[i][0];
    f->to = (int)arrows[i][1];
    f->nth = (int)ONE_OF(d, 1, 1, 2, 3, 10);
    if (f->kind == FAULT_CRASH_SEND)
        f->nth = (int)range(d, 1, 40);
    f->for_us = chance(d, 200) ? range(d, 20, 60) * SECOND : range(d, 100, 5000) * MS;
}

static void draw_fault(struct plan *p, struct dice *d, enum fault_kind kind)
{
    struct plan_fault *f = &p->faults[p->fault_count++];
    *f = (struct plan_fault){
        .kind = kind,
        .slot = (int)range(d, 0, p->workers - 1),
        .at_us = range(d, 0, p->calm_us - SECOND),
        .for_us = range(d, 1, 15) * SECOND,
    };
    if (kind <= FAULT_CRASH_SEND)
        draw_crash(f, d);
    else if (kind == FAULT_FREEZE || kind == FAULT_SLEEP || kind == FAULT_PG_SILENT)
        f->for_us = chance(d, 500) ? range(d, 100, 9000) * MS : range(d, 9, 50) * SECOND;
    else if (kind == FAULT_PG_STUCK)
        f->for_us = p->lease_us + range(d, 0, 25) * SECOND;
    else if (kind == FAULT_CLOCK)
        f->for_us = range(d, -120, 120) * SECOND;
    else if (kind == FAULT_CANCEL)
        f->slot = (int)range(d, 0, p->batches - 1);
    else if (kind == FAULT_PG_RESTART || kind == FAULT_KAFKA_DOWN)
        f->for_us = chance(d, 700) ? range(d, 100, 5000) * MS : range(d, 5, 40) * SECOND;
    else if (kind == FAULT_ENDPOINT_DOWN || kind >= FAULT_ENDPOINT_BUSY)
        f->slot = (int)range(d, 0, p->endpoints - 1);
    if (f->kind != FAULT_CLOCK && f->at_us + f->for_us > p->calm_us)
        f->for_us = p->calm_us - f->at_us;
}

/* A few kinds at a time, so that some seeds are all about one thing. */
static void draw_faults(struct plan *p, struct dice *d)
{
    int kinds = (int)ONE_OF(d, 0, 1, 1, 2, 4, FAULT_KINDS);
    int count = (int)ONE_OF(d, 1, 2, 4, 8, 16);
    int64_t liked[FAULT_KINDS];
    for (int i = 0; i < kinds; i++)
        liked[i] = kinds == FAULT_KINDS ? i : range(d, 0, FAULT_KINDS - 1);
    for (int i = 0; i < count && kinds > 0; i++)
        draw_fault(p, d, (enum fault_kind)one_of(d, liked, kinds));
}

static void draw_route(struct plan_route *route, struct dice *d)
{
    *route = (struct plan_route){
        .is = true,
        .unknown = (enum plan_unknown)ONE_OF(d, UNKNOWN_RETRY, UNKNOWN_HOLD, UNKNOWN_GIVE_UP),
        .max_attempts = (int)ONE_OF(d, 0, 0, 1, 2, 4),
    };
}

/* Last of all, so that the rest of a seed's world is what it would be without. */
static void draw_routes(struct plan *p, struct dice *d)
{
    int routed = (int)ONE_OF(d, 0, 0, 0, 500, 1000);
    for (int i = 0; i < PLAN_ENDPOINTS; i++)
        if (chance(d, routed))
            draw_route(&p->of_model[i], d);
    if (chance(d, routed / 2))
        draw_route(&p->of_app2, d);
}

/* Most are such that all calls of a world are made within minutes; some are smaller than one. */
static int64_t draw_amount(const struct plan *p, struct dice *d, int dimension)
{
    enum { CALL_TOKENS = 90 };
    int64_t jobs = p->job_count;
    int64_t calls = ONE_OF(d, jobs / 8 + 1, jobs / 4 + 2, jobs / 2 + 3, 2 * jobs + 5, 1000);
    switch (dimension) {
    case LIMIT_IN_FLIGHT:
        return ONE_OF(d, 1, 1, 2, 3, 5, 10);
    case LIMIT_REQUESTS_PER_MINUTE:
        return calls;
    case LIMIT_TOKENS_PER_DAY:
        return chance(d, 100) ? 3 /* for none */
                              : (jobs * range(d, 1, 4) + 60) * CALL_TOKENS;
    default:
        return chance(d, 100) ? range(d, 1, CALL_TOKENS) : calls * ONE_OF(d, 30, 60, 90);
    }
}

static void draw_says(struct plan *p, struct dice *d, struct plan_limit *l)
{
    int64_t at = chance(d, 700) ? 0 : range(d, 0, p->calm_us);
    l->says_count = (int)ONE_OF(d, 1, 1, 1, 2, 3, 4);
    for (int i = 0; i < l->says_count; i++) {
        bool none = i > 0 && chance(d, 250);
        l->says[i] = (struct plan_says){at, none ? 0 : draw_amount(p, d, l->dimension)};
        at += range(d, 0, p->calm_us);
    }
}

static bool is_there(const struct plan *p, const struct plan_limit *limit)
{
    for (const struct plan_limit *l = p->limits; l < limit; l++)
        if (l->scope == limit->scope && l->of == limit->of && l->dimension == limit->dimension)
            return true;
    return false;
}

/* In half of the worlds, of dice of their own. */
static void draw_limits(struct plan *p)
{
    struct dice d = {draw_mix(p->seed, 0x6c696d6974, 0, 0), 0};
    if (chance(&d, 500))
        return;
    p->limit_count = (int)ONE_OF(&d, 1, 1, 2, 3, PLAN_LIMITS);
    for (int i = 0; i < p->limit_count; i++) {
        struct plan_limit *l = &p->limits[i];
        l->scope = (int)range(&d, LIMIT_ENDPOINT, LIMIT_APP);
        l->dimension = (int)range(&d, LIMIT_REQUESTS_PER_MINUTE, LIMIT_IN_FLIGHT);
        l->of = (int)range(&d, 0, l->scope == LIMIT_APP ? 1 : p->endpoints - 1);
        if (l->scope == LIMIT_MODEL && chance(&d, 200))
            l->of += p->endpoints + 1; /* the version that another catalogue has serve */
        draw_says(p, &d, l);
        l->off = is_there(p, l);
    }
}

int64_t plan_amount(const struct plan_limit *l, int64_t at_us)
{
    int64_t amount = 0;
    for (int i = 0; i < l->says_count && l->says[i].at_us <= at_us; i++)
        amount = l->says[i].amount;
    return l->off ? 0 : amount;
}

/* A call costs some 45,000 at most: some days have not enough for one, some for all. */
static void draw_money(struct plan_route *route, uint64_t draw)
{
    static const int64_t amounts[] = {0, 1, 60000, 200000, 1000000, 1000000000};
    route->nusd_per_day = route->unknown != UNKNOWN_RETRY || draw % 2 ? -1 : amounts[draw / 2 % 6];
}

/* Without the dice, as lanes are. */
static void draw_contexts(struct plan *p)
{
    static const int shares[] = {0, 10, 50, 200, 200, 1000};
    uint64_t draw = draw_mix(p->seed, 0x6c6f6e67, 0, 0);
    if (draw >> 56 < 40) {
        p->conflict_from_us = (int64_t)(draw >> 8 & 7) * SECOND;
        p->conflict_until_us = p->calm_us;
    }
    uint64_t long_permille = draw % 3 ? 0 : 50 + draw / 4 % 400;
    for (int i = 0; i + 1 < p->endpoints; i++)
        p->larger[i] = draw >> (20 + i) & 1;
    for (int i = 0; i < p->job_count; i++) {
        uint64_t of_job = draw_mix(p->seed, 0x6c6f6e67, 1, (uint64_t)i);
        if (of_job % 1000 < long_permille)
            p->jobs[i].too_long = 1 + (int)(of_job / 1000 % PLAN_ENDPOINTS);
    }
    for (int i = 0; i < PLAN_ENDPOINTS; i++)
        p->of_model[i].budget_permille = shares[(draw >> (30 + 4 * i)) % 6];
    p->of_app2.budget_permille = shares[(draw >> 50) % 6];
    for (int i = 0; i <= PLAN_ENDPOINTS; i++)
        draw_money(i < PLAN_ENDPOINTS ? &p->of_model[i] : &p->of_app2,
                   draw_mix(p->seed, 0x6d6f6e6579, (uint64_t)i, 0));
}

void plan_draw(struct plan *p, uint64_t seed, int jobs)
{
    struct dice d = {seed, 0};
    memset(p, 0, sizeof *p);
    p->jobs = p->own_jobs;
    p->records = p->own_records;
    p->seed = seed;
    draw_lanes(p);
    draw_settings(p, &d);
    draw_jobs(p, &d, jobs);
    draw_records(p, &d);
    draw_faults(p, &d);
    draw_routes(p, &d);
    draw_contexts(p);
    p->parked_max = ONE_OF(&d, 1, 3, 10, 1000000, 1000000, 1000000);
    draw_limits(p);
}

void plan_copy(struct plan *to, const struct plan *from)
{
    *to = *from;
    if (from->jobs == from->own_jobs)
        to->jobs = to->own_jobs;
    if (from->records == from->own_records)
        to->records = to->own_records;
}

int plan_jobs_on(const struct plan *p)
{
    int n = 0;
    for (int i = 0; i < p->job_count; i++)
        n += !p->jobs[i].off;
    return n;
}

int plan_faults_on(const struct plan *p)
{
    int n = 0;
    for (int i = 0; i < p->fault_count; i++)
        n += !p->faults[i].off;
    return n;
}
