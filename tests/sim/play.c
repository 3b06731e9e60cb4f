/*
 * play.c - one seed from beginning to end: the world is made, faults strike until the plan's calm,
 * then time runs until everything is at rest, for half an hour of virtual time at most.
 */
#include "tests/sim/sim.h"

#define SECOND INT64_C(1000000)
enum { REST_S = 1800 };

static void begin(struct sim *s, const struct plan *plan, struct sim_counts *counts, bool telling)
{
    s->plan = plan;
    s->counts = counts;
    s->telling = telling;
    s->hash = plan->seed;
    sim_here = s;
    s->workers = sim_alloc(s, (size_t)plan->slots * sizeof *s->workers);
    sim_pg_begin(s);
    sim_catalogue_make(s);
    sim_jobs_make(s);
    for (int i = 0; i < s->plan->slots; i++) {
        s->workers[i].sim = s;
        s->workers[i].slot = i;
        s->workers[i].life = 1;
    }
    kafka_begin(s);
    faults_begin(s);
    limits_begin(s);
    for (int i = 0; i < plan->workers; i++)
        sim_worker_again(s, i, sim_range(draw_mix(plan->seed, 1, (uint64_t)i, 0), 0, 2 * SECOND));
}

static void end(struct sim *s)
{
    int64_t crashes = s->counts->crashes;
    for (int i = 0; i < s->plan->slots; i++)
        sim_worker_crash(&s->workers[i]);
    s->counts->crashes = crashes; /* these were none */
    for (int i = 0; i < s->plan->job_count; i++)
        s->counts->jobs += s->jobs[i].accepted;
    s->counts->seeds++;
}

static void play(struct sim *s)
{
    const struct plan *plan = s->plan;
    sim_run(s, plan->calm_us);
    if (plan->scene)
        return; /* its work has no end */
    int64_t from = plan->calm_us + REST_S * SECOND;
    while (!s->broken[0] && s->now_us < from + limits_longest_us(s) &&
           !(s->calm && check_at_rest(s)))
        sim_run(s, s->now_us + SECOND);
    if (!s->broken[0])
        check_end(s);
}

bool sim_play(struct sim *s, const struct plan *plan, struct sim_counts *counts, bool telling)
{
    begin(s, plan, counts, telling);
    s->in_play = true;
    if (setjmp(s->back) == 0) {
        play(s);
        s->in_play = false;
        end(s);
    }
    s->in_play = false;
    return !s->broken[0];
}
