/*
 * limits.c - shared limits as operators set them and as the models see them: the witness.
 *
 * Happy path: an amount is written to Postgres at its time, and everybody is told. A call counts
 * from when it arrives at the model, a little after its first byte left: for each limit that binds
 * it, its units of the last 60 s are summed, calls at the model are counted, and a day's tokens are
 * summed; none may be above what the limit allows.
 *
 * What is allowed: the largest amount that was in force within LAPSE_US, as a lower one acts once
 * calls that left before are paid for. A call's units are what it really takes, but no more than
 * was reckoned before it left: nobody can know more, and the rest is owed. Calls of a worker whose
 * row was deleted, because it was silent for too long, are not counted as in flight any more: that
 * others go on then is what leases are for.
 *
 * A job may end as over_limit only if a call of it takes more, as it is reckoned, than one of its
 * limits allows at all; and then it may not be called.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/limits.h"
#include "tests/sim/sim.h"
#include "worker/job.h"

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)
#define LAPSE_US (150 * SECOND)
/* So old may what a worker knows of limits be, beside its lease: asked for, and on its way. */
#define KNOWN_US (5 * SECOND)
/* The worst quartz, of ten minutes: so late may a worker think that a day begins. */
#define MIDNIGHT_US (10 * SECOND)
/* With that quartz, the headroom of a minute leaves so much for the network's whims. */
#define WAY_LEAST_US 5000
#define WAY_MOST_US 500000

/* ---- what operators do ------------------------------------------------------------------ */

static struct span key_of(struct sim *s, const struct plan_limit *l)
{
    if (l->scope == LIMIT_APP)
        return l->of ? SPAN_LIT("app2") : SPAN_LIT("app1");
    if (l->scope == LIMIT_MODEL)
        return span_of(s->catalogue.versions[l->of].label);
    char *key = sim_alloc(s, 32);
    (void)snprintf(key, 32, "%s@%d", s->catalogue.endpoints[l->of].name,
                   s->catalogue.endpoints[l->of].version);
    return span_of(key);
}

static void set(struct sim *s, const struct plan_limit *l, int64_t amount)
{
    struct sim_limit *limit = &s->limits[l - s->plan->limits];
    struct span key = key_of(s, l);
    limit->limit_id = (int32_t)fake_pg_limit(s->db, l->scope, key, l->dimension, FAKE_NULL,
                                             amount ? amount : FAKE_NULL, sim_wall_us(s));
    TELL(s, NULL, "limit %d of %s %.*s: %lld %s", (int)limit->limit_id, limit_scope_name(l->scope),
         (int)key.n, key.p, (long long)amount, limit_dimension_name(l->dimension));
    sim_pg_notify(s);
}

static void says(struct sim *s, struct sim_worker *nobody, void *arg)
{
    const struct plan_limit *l = arg;
    (void)nobody;
    set(s, l, plan_amount(l, s->now_us));
}

void limits_begin(struct sim *s)
{
    for (int k = 0; k < s->plan->limit_count; k++) {
        const struct plan_limit *planned = &s->plan->limits[k];
        if (planned->off)
            continue;
        for (int i = 0; i < planned->says_count; i++)
            if (planned->says[i].at_us > 0)
                sim_after(s, planned->says[i].at_us, says, (void *)(uintptr_t)planned);
        if (plan_amount(planned, 0))
            set(s, planned, plan_amount(planned, 0));
    }
}

void limits_done(struct sim *s)
{
    for (int k = 0; k < PLAN_LIMITS; k++)
        free(s->limits[k].arrivals);
    free(s->all.arrivals);
}

/* ---- what is allowed -------------------------------------------------------------------- */

/* The largest amount in force at any time from `from_us` until now; INT64_MAX: there was none. */
static int64_t largest(const struct sim *s, const struct plan_limit *l, int64_t from_us)
{
    int64_t most = plan_amount(l, from_us > 0 ? from_us : 0);
    bool none = most == 0;
    for (int i = 0; i < l->says_count && l->says[i].at_us <= s->now_us; i++) {
        if (l->says[i].at_us < from_us)
            continue;
        none = none || l->says[i].amount == 0;
        most = l->says[i].amount > most ? l->says[i].amount : most;
    }
    return none ? INT64_MAX : most;
}

static bool binds(const struct plan_limit *l, const struct sim_load *load)
{
    return !l->off && (l->scope == LIMIT_ENDPOINT ? l->of == load->endpoint
                       : l->scope == LIMIT_MODEL  ? l->of == load->version
                                                  : l->of == load->app);
}

static int64_t units_of(const struct plan_limit *l, const struct sim_load *load)
{
    switch (l->dimension) {
    case LIMIT_INPUT_TOKENS_PER_MINUTE:
        return load->input;
    case LIMIT_OUTPUT_TOKENS_PER_MINUTE:
        return load->output;
    case LIMIT_TOKENS_PER_MINUTE:
    case LIMIT_TOKENS_PER_DAY:
        return load->input + load->output;
    default:
        return 1;
    }
}

static void judge(struct sim *s, int k, int64_t has, int64_t allowed, const char *when)
{
    const struct plan_limit *l = &s->plan->limits[k];
    int64_t permille = allowed == INT64_MAX ? 0 : has * 1000 / allowed;
    if (permille > s->limits[k].fullest)
        s->limits[k].fullest = permille;
    if (has > allowed)
        sim_break(s, "LM", "limit %d, %s of %s %d: the models see %lld of %lld %s",
                  (int)s->limits[k].limit_id, limit_dimension_name(l->dimension),
                  limit_scope_name(l->scope), l->of, (long long)has, (long long)allowed, when);
}

/* ---- what the models see ---------------------------------------------------------------- */

static void let_age(const struct sim *s, struct sim_limit *limit)
{
    while (limit->first < limit->count && limit->arrivals[limit->first].at_us <= s->now_us - MINUTE)
        limit->sum -= limit->arrivals[limit->first++].units;
}

int64_t limits_minute(const struct sim *s, int limit)
{
    struct sim_limit l = s->limits[limit];
    let_age(s, &l);
    return l.sum;
}

int64_t limits_calls(const struct sim *s)
{
    struct sim_limit all = s->all;
    let_age(s, &all);
    return all.sum;
}

static void add_arrival(struct sim *s, struct sim_limit *limit, int64_t units)
{
    let_age(s, limit);
    if (limit->count == limit->room) {
        limit->room = limit->room ? 2 * limit->room : 256;
        limit->arrivals = realloc(limit->arrivals, limit->room * sizeof *limit->arrivals);
        if (!limit->arrivals)
            exit(3);
    }
    limit->arrivals[limit->count++] = (struct sim_arrival){s->now_us, units};
    limit->sum += units;
}

/* Of the day in which it left. */
static void count_day(struct sim *s, int k, const struct sim_load *load)
{
    struct sim_limit *limit = &s->limits[k];
    int64_t left_us = SIM_WALL_US + load->left_us, into_us = left_us % DAY;
    if (into_us < MIDNIGHT_US)
        return;
    if (left_us / DAY != limit->day)
        limit->day_sum = 0;
    limit->day = left_us / DAY;
    limit->day_sum += units_of(&s->plan->limits[k], load);
    judge(s, k, limit->day_sum, largest(s, &s->plan->limits[k], load->left_us - into_us),
          "in a day");
}

static void count(struct sim *s, int k, const struct sim_load *load)
{
    const struct plan_limit *l = &s->plan->limits[k];
    struct sim_limit *limit = &s->limits[k];
    int64_t allowed = largest(s, l, s->now_us - LAPSE_US);
    if (l->dimension == LIMIT_TOKENS_PER_DAY) {
        count_day(s, k, load);
        return;
    }
    if (l->dimension == LIMIT_IN_FLIGHT) {
        limit->in_flight += !load->ended;
        judge(s, k, limit->in_flight, allowed, "at once");
        return;
    }
    add_arrival(s, limit, units_of(l, load));
    limit->largest = units_of(l, load) > limit->largest ? units_of(l, load) : limit->largest;
    s->tally.units[k] += units_of(l, load);
    judge(s, k, limit->sum, allowed, "within 60 s");
}

static void arrives(struct sim *s, struct sim_worker *nobody, void *arg)
{
    struct sim_load *load = arg;
    (void)nobody;
    load->arrived = true;
    s->tally.by_app[load->app]++;
    s->tally.by_lane[load->lane]++;
    for (int k = 0; k < s->plan->limit_count; k++)
        if (binds(&s->plan->limits[k], load))
            count(s, k, load);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct sim_load *limits_leave(struct sim_worker *w, const struct job *job, int index, bool accepted)
{
    struct sim *s = w->sim;
    struct sim_load *load = sim_alloc(s, sizeof *load);
    int64_t input, output;
    sim_usage(s, index, &input, &output);
    *load = (struct sim_load){.next = s->loads,
                              .endpoint = job->endpoint,
                              .version = job->mv->index,
                              .app = s->plan->jobs[index].batch % 2,
                              .lane = job->lane,
                              .worker_id = job->claimed_by,
                              .left_us = s->now_us,
                              .way_us = sim_range(sim_draw(w), WAY_LEAST_US, WAY_MOST_US),
                              .input = least(input, job->estimated_input),
                              .output = least(output, job->estimated_output)};
    s->loads = load;
    s->tally.at_models++;
    if (accepted)
        add_arrival(s, &s->all, 1);
    sim_after(s, load->way_us, arrives, load);
    return load;
}

/* It was counted at its arrival, by limits of calls in flight that bind it. */
static void leave_flight(struct sim *s, const struct sim_load *load, int k)
{
    const struct plan_limit *l = &s->plan->limits[k];
    if (l->dimension == LIMIT_IN_FLIGHT && load->arrived && binds(l, load) &&
        !(load->let_go >> k & 1))
        s->limits[k].in_flight--;
}

void limits_end(struct sim *s, struct sim_load *load)
{
    struct sim_load **at = &s->loads;
    if (load->ended)
        return;
    load->ended = true;
    s->tally.at_models--;
    for (int k = 0; k < s->plan->limit_count; k++)
        leave_flight(s, load, k);
    while (*at != load)
        at = &(*at)->next;
    *at = load->next;
}

void limits_let_go(struct sim *s, int64_t limit_id, int64_t worker_id)
{
    for (int k = 0; k < s->plan->limit_count; k++)
        for (struct sim_load *load = s->loads; load; load = load->next) {
            if (s->limits[k].limit_id != limit_id || load->worker_id != worker_id)
                continue;
            leave_flight(s, load, k);
            load->let_go |= load->arrived ? 1U << k : 0;
        }
}

void limits_share(struct sim *s, const struct fake_share_row *row,
                  const struct fake_share_row *before)
{
    const struct fake_share_row *any = row ? row : before;
    int64_t was = before ? before->share : 0, is = row ? row->share : 0;
    if (was != is)
        TELL(s, NULL, "limit %d, worker id %lld: its share is %lld, and was %lld",
             (int)any->limit_id, (long long)any->worker_id, (long long)is, (long long)was);
}

void limits_tell(struct sim *s)
{
    for (int i = 0; i < fake_pg_count(s->db, FAKE_SHARE); i++) {
        const struct fake_share_row *r = fake_pg_share_at(s->db, i);
        TELL(s, NULL, "limit %d, worker id %lld: share %lld, seen %lld, wants %lld, needs %lld",
             (int)r->limit_id, (long long)r->worker_id, (long long)r->share, (long long)r->seen,
             (long long)r->want, (long long)r->need);
    }
}

/* ---- calls larger than a limit ------------------------------------------------------------ */

/* Is one call of it larger than what this limit allowed all the time (or ever) of late? */
static bool too_large(const struct sim *s, const struct plan_limit *l, const struct sim_load *load,
                      bool all_the_time)
{
    int64_t from_us = s->now_us - s->plan->lease_us - KNOWN_US, units = units_of(l, load);
    int64_t amount = plan_amount(l, from_us > 0 ? from_us : 0);
    bool is = amount && units > amount;
    for (int i = 0; i < l->says_count && l->says[i].at_us <= s->now_us; i++) {
        if (l->says[i].at_us <= from_us)
            continue;
        bool then = l->says[i].amount && units > l->says[i].amount;
        is = all_the_time ? is && then : is || then;
    }
    return is && binds(l, load);
}

static struct sim_load load_of(const struct sim *s, const struct job *job)
{
    int index = sim_job_of(s, &job->msg.job_id);
    return (struct sim_load){.endpoint = job->endpoint,
                             .version = job->mv->index,
                             .app = s->plan->jobs[index].batch % 2,
                             .input = job->estimated_input,
                             .output = job->estimated_output};
}

void limits_refused(struct sim_worker *w, const struct job *job)
{
    struct sim *s = w->sim;
    struct sim_load load = load_of(s, job);
    bool over = false;
    for (int k = 0; k < s->plan->limit_count; k++)
        over = over || too_large(s, &s->plan->limits[k], &load, false);
    s->counts->over_limit++;
    if (!over)
        sim_break(s, "OL", "%s ends job %d as over a limit, and no limit is smaller than its call",
                  w->name, sim_job_of(s, &job->msg.job_id));
}

void limits_asked(struct sim_worker *w, const struct job *job)
{
    struct sim *s = w->sim;
    struct sim_load load = load_of(s, job);
    for (int k = 0; k < s->plan->limit_count; k++)
        if (too_large(s, &s->plan->limits[k], &load, true))
            sim_break(s, "OL", "%s claims job %d, a call of which is larger than limit %d allows",
                      w->name, sim_job_of(s, &job->msg.job_id), (int)s->limits[k].limit_id);
}

/* ---- how long it may take --------------------------------------------------------------- */

/* Of the limit that takes longest: three times what a fleet would need that wastes nothing. */
int64_t limits_longest_us(const struct sim *s)
{
    int64_t longest_us = 0;
    for (int k = 0; k < s->plan->limit_count; k++) {
        int64_t amount = plan_amount(&s->plan->limits[k], s->now_us);
        if (!amount || !limit_is_rate(s->plan->limits[k].dimension))
            continue;
        int64_t units = s->plan->job_count * s->limits[k].largest;
        int64_t us = 3 * MINUTE * units / amount;
        longest_us = us > longest_us ? us : longest_us;
    }
    return s->plan->limit_count ? 30 * MINUTE + longest_us : 0;
}
