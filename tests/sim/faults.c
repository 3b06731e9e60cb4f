/*
 * faults.c - the plan's faults, at their times, arrows and statements.
 */
#include "tests/sim/sim.h"

enum { WATCHING = sizeof((struct sim_worker){0}.watching) / sizeof(struct plan_fault *) };

static void happened(struct sim *s, const struct plan_fault *f)
{
    s->counts->faults++;
    s->counts->fault[f->kind]++;
}

/* ---- crashes at an arrow, or between two statements ------------------------------------- */

static void meets(struct sim_worker *w, struct plan_fault *f)
{
    if (f->off || w->dying || --f->nth > 0)
        return;
    f->off = true;
    happened(w->sim, f);
    w->dying = true; /* when this event is over; nothing leaves it any more */
    sim_worker_again(w->sim, w->slot, f->for_us);
}

void faults_arrow(struct sim_worker *w, enum job_state from, enum job_state to)
{
    for (int i = 0; i < w->watching_count; i++) {
        struct plan_fault *f = w->watching[i];
        if (f->kind == FAULT_CRASH_ARROW && f->from == (int)from && f->to == (int)to)
            meets(w, f);
    }
}

void faults_sent(struct sim_worker *w)
{
    for (int i = 0; i < w->watching_count; i++)
        if (w->watching[i]->kind == FAULT_CRASH_SEND)
            meets(w, w->watching[i]);
}

static void watch(struct sim *s, struct sim_worker *w, struct plan_fault *f)
{
    if (w->phase == SIM_DOWN || w->watching_count == WATCHING)
        return;
    (void)s;
    w->watching[w->watching_count++] = f;
}

/* ---- faults of one worker --------------------------------------------------------------- */

static void freeze(struct sim *s, struct sim_worker *w, const struct plan_fault *f)
{
    TELL(s, w,
         f->kind == FAULT_SLEEP ? "sleeps, machine and all, for %.1f s" : "is frozen for %.1f s",
         (double)f->for_us / 1e6);
    int64_t from = w->frozen_until_us > s->now_us ? w->frozen_until_us : s->now_us;
    int64_t until = s->now_us + f->for_us;
    if (until <= from)
        return; /* it would not notice */
    w->frozen_until_us = until;
    if (f->kind == FAULT_SLEEP)
        w->slept_us += until - from;
}

static void second_term(struct sim *s, struct sim_worker *nobody, void *arg)
{
    (void)nobody;
    struct sim_worker *w = arg;
    (void)s;
    if (w->phase == SIM_DRAINING)
        sim_worker_term(w);
}

static void term(struct sim *s, struct sim_worker *w, const struct plan_fault *f)
{
    if (w->phase != SIM_RUNNING)
        return;
    s->running = w;
    sim_worker_term(w);
    s->running = NULL;
    if (w->dying)
        sim_worker_crash(w);
    else
        sim_worker_turn(w);
    if (f->kind == FAULT_TERM_TWICE)
        sim_after(s, f->for_us / 4, second_term, w);
    if (f->at_us % 4) /* three in four come back */
        sim_worker_again(s, w->slot, f->for_us + s->plan->drain_us);
}

/* It hears of it with its next heartbeat, should that come through. */
static void drain(struct sim *s, struct sim_worker *w, const struct plan_fault *f)
{
    if (w->phase != SIM_RUNNING || !fake_pg_drain(s->db, store_worker_id(w->store), sim_wall_us(s)))
        return;
    TELL(s, w, "is asked to drain");
    check_txn(s, NULL);
    if (f->at_us % 4)
        sim_worker_again(s, w->slot, f->for_us + s->plan->drain_us);
}

/* Between two turns, as SIGHUP is served. */
static void reload(struct sim *s, struct sim_worker *w, uint64_t draw)
{
    if (w->phase != SIM_RUNNING)
        return;
    TELL(s, w, "takes over other settings");
    s->running = w;
    sim_worker_reload(w, draw);
    s->running = NULL;
    if (w->dying)
        sim_worker_crash(w);
    else
        sim_worker_turn(w);
}

static void of_worker(struct sim *s, struct sim_worker *w, struct plan_fault *f)
{
    uint64_t draw = draw_mix(s->plan->seed, 0x6661756c74, (uint64_t)f->at_us, 0);
    switch ((int)f->kind) {
    case FAULT_CRASH:
        sim_worker_crash(w);
        sim_worker_again(s, w->slot, f->for_us);
        break;
    case FAULT_CRASH_ARROW:
    case FAULT_CRASH_SEND:
        watch(s, w, f);
        return; /* it counts when it happens */
    case FAULT_FREEZE:
    case FAULT_SLEEP:
        freeze(s, w, f);
        break;
    case FAULT_CLOCK:
        TELL(s, w, "has its clock set by %+.0f s", (double)f->for_us / 1e6);
        w->wall_off_us += f->for_us;
        break;
    case FAULT_TERM:
    case FAULT_TERM_TWICE:
        term(s, w, f);
        break;
    case FAULT_DRAIN:
        drain(s, w, f);
        break;
    case FAULT_RELOAD:
        reload(s, w, draw);
        break;
    case FAULT_PG_CUT:
    case FAULT_PG_CUT_REPLY:
        sim_pg_cut(w, (int)(draw % 3), f->kind == FAULT_PG_CUT_REPLY);
        break;
    case FAULT_PG_SILENT:
        TELL(s, w, "does not reach Postgres for %.1f s", (double)f->for_us / 1e6);
        w->pg_silent_until_us = s->now_us + f->for_us;
        break;
    case FAULT_PG_STUCK:
        TELL(s, w, "has backends that hang for %.1f s", (double)f->for_us / 1e6);
        if (draw >> 40 & 1)
            sim_pg_answer_late(w, f->for_us);
        else
            sim_pg_stick(w, f->for_us, sim_range(draw, s->plan->lease_us / 3, s->plan->lease_us));
        break;
    case FAULT_COMMIT_LOST:
        w->lose_commit = true;
        break;
    default:
        return;
    }
    happened(s, f);
}

/* ---- faults of all ---------------------------------------------------------------------- */

static void start_one(struct sim *s)
{
    for (int i = s->plan->workers; i < s->plan->slots; i++)
        if (s->workers[i].phase == SIM_DOWN) {
            sim_worker_again(s, i, 0);
            return;
        }
}

static void cancel(struct sim *s, int batch)
{
    for (int i = 0; i < s->plan->job_count; i++) {
        if (s->plan->jobs[i].batch != batch)
            continue;
        bool known = fake_pg_cancel(s->db, &s->jobs[i].batch_id, sim_wall_us(s));
        TELL(s, NULL, "batch %d is cancelled%s", batch, known ? "" : ": nobody knows it yet");
        check_txn(s, NULL);
        sim_pg_notify(s);
        return;
    }
}

static void resume(struct sim *s, struct sim_worker *nobody, void *arg)
{
    const struct plan_fault *f = arg;
    (void)nobody;
    if (s->held_until_us[f->slot] > s->now_us)
        return; /* it was paused once more meanwhile, for longer */
    TELL(s, NULL, "endpoint %d is resumed", f->slot);
    fake_pg_hold(s->db, f->slot + 1, false);
    sim_pg_notify(s);
}

static void hold(struct sim *s, struct plan_fault *f)
{
    TELL(s, NULL, "endpoint %d is paused by an operator for %.1f s", f->slot,
         (double)f->for_us / 1e6);
    if (s->held_until_us[f->slot] < s->now_us + f->for_us)
        s->held_until_us[f->slot] = s->now_us + f->for_us;
    fake_pg_hold(s->db, f->slot + 1, true);
    sim_pg_notify(s);
    sim_after(s, f->for_us, resume, f);
}

static void of_endpoint(struct sim *s, const struct plan_fault *f)
{
    TELL(s, NULL, "endpoint %d: %s for %.1f s", f->slot, fault_name(f->kind),
         (double)f->for_us / 1e6);
    s->endpoint_fault[f->slot] = f->kind;
    s->endpoint_until_us[f->slot] = s->now_us + f->for_us;
}

static void of_all(struct sim *s, struct plan_fault *f)
{
    double seconds = (double)f->for_us / 1e6;
    switch ((int)f->kind) {
    case FAULT_START:
        start_one(s);
        break;
    case FAULT_PG_RESTART:
        TELL(s, NULL, "Postgres restarts, away for %.1f s", seconds);
        sim_pg_restart(s, f->for_us);
        break;
    case FAULT_PG_SLOW:
        TELL(s, NULL, "Postgres is slow for %.1f s", seconds);
        s->pg_slow_until_us = s->now_us + f->for_us;
        break;
    case FAULT_PG_ERROR:
        TELL(s, NULL, "Postgres refuses statements for %.1f s", seconds);
        s->pg_error_until_us = s->now_us + f->for_us;
        break;
    case FAULT_KAFKA_DOWN:
        TELL(s, NULL, "Kafka is away for %.1f s", seconds);
        s->kafka.down_until_us = s->now_us + f->for_us;
        break;
    case FAULT_KAFKA_MOVE:
        TELL(s, NULL, "Kafka rebalances");
        kafka_move(s);
        break;
    case FAULT_CANCEL:
        cancel(s, f->slot);
        break;
    case FAULT_ENDPOINT_HELD:
        hold(s, f);
        break;
    default:
        of_endpoint(s, f);
    }
    happened(s, f);
}

static bool is_of_worker(enum fault_kind kind)
{
    return (kind <= FAULT_RELOAD) || kind == FAULT_PG_CUT || kind == FAULT_PG_CUT_REPLY ||
           kind == FAULT_PG_SILENT || kind == FAULT_PG_STUCK || kind == FAULT_COMMIT_LOST;
}

static void strike(struct sim *s, struct sim_worker *nobody, void *arg)
{
    struct plan_fault *f = arg;
    (void)nobody;
    if (!is_of_worker(f->kind)) {
        of_all(s, f);
        return;
    }
    struct sim_worker *w = &s->workers[f->slot];
    bool signal = f->kind == FAULT_TERM || f->kind == FAULT_TERM_TWICE;
    if (signal && w->phase != SIM_DOWN && w->frozen_until_us > s->now_us)
        sim_after(s, w->frozen_until_us - s->now_us, strike, f);
    else if (w->phase != SIM_DOWN)
        of_worker(s, w, f);
}

/* Nothing fails any more. Workers that were to come back have done so; one is kept at least. */
static void calm_down(struct sim *s, struct sim_worker *nobody, void *arg)
{
    bool stuck = false;
    (void)nobody, (void)arg;
    TELL(s, NULL, "from here on nothing fails");
    s->calm = true;
    for (int i = 0; i < s->plan->fault_count; i++)
        s->faults[i].off = true;
    for (int i = 0; i < s->plan->job_count; i++)
        stuck = stuck || (!s->plan->jobs[i].off && s->plan->jobs[i].poison >= POISON_PARK);
    for (int i = 0; i < s->plan->slots; i++) {
        if (stuck) /* its record stands above the watermark until somebody fetches it again */
            sim_worker_crash(&s->workers[i]);
        for (int again = 1; i < s->plan->workers && again <= 61; again += 30)
            sim_worker_again(s, i, again * INT64_C(1000000)); /* some are still on their way out */
    }
}

void faults_begin(struct sim *s)
{
    for (int i = 0; i < s->plan->fault_count; i++) {
        s->faults[i] = s->plan->faults[i];
        if (!s->faults[i].off)
            sim_after(s, s->faults[i].at_us, strike, &s->faults[i]);
    }
    sim_after(s, s->plan->calm_us, calm_down, NULL);
}
