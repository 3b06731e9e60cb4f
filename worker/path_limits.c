/*
 * path_limits.c - the shared limits' part of the path: gates, units, and what waits for them.
 *
 * Happy path: a job that comes into its lane is counted at the gate of its model version and app
 * (admission.h), so that the fleet knows what is wanted; dispatch asks the gate; what goes takes
 * its units with its claim, begins its minute with its first byte, and settles what it used when it
 * has ended. Without limits a job has no gate, and nothing here costs anything.
 *
 * A gate that is blocked holds back its own jobs alone; path_parking.c says when they make room.
 *
 * What comes a second time, after a rebalance, and has long ended or been parked, is found out in
 * bulk while it waits: its claim would tell, but behind a small limit claims go one at a time, and
 * while they are told of nothing new nothing is called.
 *
 * Failure modes: no memory for a gate: its jobs wait, and it is asked for again. Postgres does not
 * answer for what it knows: the claims do.
 */
#include <stdio.h>
#include <stdlib.h>

#include "worker/path_internal.h"

enum {
    ASK_AGAIN_US = 50 * 1000,    /* what ended calls give back is seen after this */
    KNOWN_US = 10 * 1000 * 1000, /* for so long one that is known lets others be expected */
    KNOWN_ASKS = 500,            /* at a time */
};

static struct admission_units units_of(const struct job *job)
{
    return (struct admission_units){job->estimated_input, job->estimated_output};
}

static int64_t boot_us(const struct path *p)
{
    return p->edges.boot_us(p->edges.arg);
}

/* ---- in and out of its lane ------------------------------------------------------------------ */

static void count_in(struct path *p, struct job *job)
{
    struct admission *a = p->conf.admission;
    if (job->mv) /* anew each time: while it was elsewhere its gate may have become another's */
        job->gate = admission_gate(a, job->mv->index, job->msg.app);
    if (job->gate < 0)
        return;
    struct admission_units units = units_of(job);
    admission_waits(a, job->gate, job->lane, &units, 1);
    job->gate_was_us = admission_blocked_us(a, job->gate, boot_us(p));
    admission_held(a, job->gate, boot_us(p), &job->gate_was);
    job->counted = true;
}

/* How long which limits held it back: as long as each blocked its gate while it waited there. */
static void count_out(struct path *p, struct job *job)
{
    struct admission *a = p->conf.admission;
    struct admission_units units = units_of(job);
    admission_waits(a, job->gate, job->lane, &units, -1);
    job->counted = false;
    int64_t left_us = p->edges.mono_us(p->edges.arg) - job->waiting_since_us;
    struct admission_held is;
    admission_held(a, job->gate, boot_us(p), &is);
    for (int i = 0; i < ADMISSION_GATE_LIMITS && left_us > 0; i++) {
        int64_t held_us = INT64_C(1000) * (uint32_t)(is.ms[i] - job->gate_was.ms[i]);
        held_us = held_us < left_us ? held_us : left_us;
        waits_add(&job->held, admission_held_by(a, job->gate, i), held_us);
        left_us -= held_us;
    }
}

void path_enter_lane(struct path *p, struct job *job)
{
    if (p->limited)
        count_in(p, job);
    lanes_push(p->lanes, job);
}

void path_leave_lane(struct path *p, struct job *job)
{
    lanes_remove(p->lanes, job);
    if (job->counted)
        count_out(p, job);
}

/* ---- may it go? ------------------------------------------------------------------------------ */

bool path_over_limit(struct path *p, struct job *job, struct err *why)
{
    struct admission *a = p->conf.admission;
    if (!p->limited)
        return false;
    job->gate = admission_gate(a, job->mv->index, job->msg.app);
    struct admission_units units = units_of(job);
    const struct admission_rule *rule =
        job->gate >= 0 ? admission_over(a, job->gate, &units) : NULL;
    if (!rule)
        return false;
    int64_t most = rule->configured > rule->amount ? rule->configured : rule->amount;
    (void)err_set(why, RC_REJECT,
                  "one call takes about %lld input and %lld output tokens, more than the limit %s "
                  "of %s %.*s allows (%lld): a smaller request or max_tokens, another model, or a "
                  "higher limit (inferq limit set)",
                  (long long)units.input_tokens, (long long)units.output_tokens,
                  limit_dimension_name(rule->dimension), limit_scope_name(rule->scope),
                  (int)rule->key.n, rule->key.p, (long long)most);
    return true;
}

/* A flow's answer (flows.h), by the monotonic clock. */
int64_t path_limits_free_at(void *arg, struct job *job)
{
    const struct look *look = arg;
    struct path *p = look->p;
    if (job->gate < 0) /* of before there were limits, or there was no memory */
        return look->now_us + ASK_AGAIN_US;
    struct admission_units units = units_of(job);
    int64_t boot = boot_us(p);
    if (admission_may(p->conf.admission, job->gate, &units, boot))
        return look->now_us;
    if (admission_over(p->conf.admission, job->gate, &units))
        return look->now_us; /* it can never go: path_dispatch refuses it */
    int64_t when = admission_when(p->conf.admission, job->gate, &units, boot);
    if (when == INT64_MAX)
        return INT64_MAX;
    int64_t wait_us = when - boot < ASK_AGAIN_US ? when - boot : ASK_AGAIN_US;
    return look->now_us + wait_us;
}

/* ---- has it been here before? ---------------------------------------------------------------- */

void path_expect_known(struct path *p)
{
    p->known_until_us = p->edges.mono_us(p->edges.arg) + KNOWN_US;
}

/* Its first call is still to be claimed, by the record alone: whatever stands in Postgres is not of
 * this worker's making. */
static bool is_untouched(const struct job *job)
{
    return !job->from_parked && job->number == 1 && !job->claim_sent;
}

struct known_ask {
    struct path *p;
    struct job *jobs[KNOWN_ASKS];
    int n;
};

static void gather(void *arg, struct job *job)
{
    struct known_ask *ask = arg;
    const struct admission *a = ask->p->conf.admission;
    if (ask->n < KNOWN_ASKS && !job->asked && job->counted && is_untouched(job) &&
        admission_blocked_us(a, job->gate, boot_us(ask->p)) > job->gate_was_us)
        ask->jobs[ask->n++] = job;
}

void path_ask_known(struct path *p, int64_t now)
{
    struct known_ask ask = {.p = p};
    if (!p->limited || p->draining || p->revoking || now >= p->known_until_us)
        return;
    lanes_walk(p->lanes, gather, &ask);
    if (!ask.n || !p->edges.ask_known(p->edges.arg, ask.jobs, ask.n))
        return;
    for (int i = 0; i < ask.n; i++)
        ask.jobs[i]->asked = true;
}

/* It may have moved on meanwhile, or be another copy of the record: then its claim tells. */
void path_known(struct path *p, const struct jobid *id)
{
    struct job *job = jobtable_find(p->table, id);
    if (!job || job->state != JOB_THROTTLE || !is_untouched(job))
        return;
    path_expect_known(p);
    p->edges.seen(p->edges.arg, SIGHT_NOTHING_NEW, job);
    path_leave(p, job, true);
}

/* ---- a call ---------------------------------------------------------------------------------- */

void path_limits_take(struct path *p, struct job *job)
{
    struct admission_units units = units_of(job);
    if (job->gate < 0 || !p->limited)
        return;
    admission_take(p->conf.admission, job->gate, job->lane, &units, boot_us(p), &job->call->taken);
    job->call->has_taken = true;
}

bool path_may_leave(struct path *p, struct job *job)
{
    if (!job->call->has_taken)
        return true;
    job->call->has_taken = admission_leave(p->conf.admission, &job->call->taken, boot_us(p));
    return job->call->has_taken;
}

void path_limits_give_back(struct path *p, struct job *job)
{
    if (!job->call || !job->call->has_taken)
        return;
    job->call->has_taken = false;
    admission_give_back(p->conf.admission, &job->call->taken, boot_us(p));
    lanes_wake(p->lanes, false);
}

void path_limits_settle(struct path *p, struct job *job)
{
    const struct usage *usage = &job->call->outcome.usage;
    struct admission_units used = {usage->input, usage->output};
    if (!job->call->has_taken)
        return;
    if (!job->call->taken.left_us) {
        path_limits_give_back(p, job);
        return;
    }
    job->call->has_taken = false;
    admission_settle(p->conf.admission, &job->call->taken, &used, boot_us(p));
    lanes_wake(p->lanes, false);
}

/* ---- model versions -------------------------------------------------------------------------- */

enum rc path_limits_prepare(struct path *p, const struct catalogue *next, struct err *err)
{
    size_t count = (size_t)next->version_count;
    if (!p->conf.admission)
        return RC_OK;
    struct admission_model *models = calloc(count + 1, sizeof *models);
    char(*keys)[CATALOGUE_LIMIT_KEY_BYTES] = calloc(count + 1, sizeof *keys);
    for (size_t i = 0; models && keys && i < count; i++) {
        const struct cat_endpoint *e = &next->endpoints[next->versions[i].endpoint];
        (void)snprintf(keys[i], sizeof keys[i], "%s@%d", e->name, e->version);
        models[i] = (struct admission_model){keys[i], next->versions[i].label};
    }
    enum rc rc = models && keys
                     ? admission_models(p->conf.admission, models, next->version_count, err)
                     : err_set(err, RC_NOMEM, "no memory for %zu model versions", count);
    free(models);
    free(keys);
    return rc;
}

/* ---- limits come, go and move ---------------------------------------------------------------- */

/* It came before there were limits. */
static void look_again(void *arg, struct job *job)
{
    struct path *p = arg;
    if (!job->mv || job->counted)
        return;
    job->gate = admission_gate(p->conf.admission, job->mv->index, job->msg.app);
    if (job->gate < 0)
        return;
    path_leave_lane(p, job); /* its flow is another now */
    path_enter_lane(p, job);
}

/* Calls that began before there were limits count as in flight, too. */
static void count_running(struct path *p, enum job_state state)
{
    for (struct job *job = p->in_state[state].head; job; job = job->next) {
        if (!job->begun || job->call->has_taken)
            continue;
        job->gate = admission_gate(p->conf.admission, job->mv->index, job->msg.app);
        if (job->gate < 0)
            continue;
        admission_running(p->conf.admission, job->gate, job->lane, boot_us(p), &job->call->taken);
        job->call->has_taken = true;
    }
}

static bool is_closed(void *arg, int model)
{
    const struct look *look = arg;
    const struct path *p = look->p;
    const struct cat_model_version *v = &p->conf.catalogue->versions[model];
    return p->model_paused[model] > look->now_us ||
           endpoint_is_closed(&p->endpoints[v->endpoint], look->now_us);
}

void path_limits_close(struct path *p, int64_t now_us)
{
    struct look look = {p, now_us};
    if (p->limited)
        admission_close(p->conf.admission, is_closed, &look);
}

void path_limits_moved(struct path *p)
{
    struct admission *a = p->conf.admission;
    p->limited = admission_on(a);
    if (admission_generation(a) != p->limits_seen) {
        p->limits_seen = admission_generation(a);
        if (p->limited) {
            lanes_walk(p->lanes, look_again, p);
            count_running(p, JOB_CLAIM);
            count_running(p, JOB_CALL);
        }
    }
    lanes_wake(p->lanes, true);
}

void path_limits_expect_back(struct path *p)
{
    if (p->limited && !p->draining)
        admission_expect_back(p->conf.admission, boot_us(p));
}

void path_limits_dealt(struct path *p)
{
    if (p->limited)
        admission_dealt(p->conf.admission, boot_us(p));
}

void path_limits_due(struct path *p, int lane, struct span app, int64_t rows)
{
    if (p->limited && rows > 0)
        admission_due(p->conf.admission, lane, app, rows, boot_us(p));
}
