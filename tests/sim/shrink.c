/*
 * shrink.c - see shrink.h. Faults, jobs and second records are switched off in blocks that get
 * smaller, then workers, chance trouble and tempers are taken away; what still breaks the same
 * guarantee is kept. Chance is drawn per thing, so the rest of the world stays much as it was.
 */
#include "tests/sim/shrink.h"

#include <string.h>

struct search {
    struct sim *s;
    struct plan *plan;
    char guarantee[8];
    int left;
};

static bool still_breaks(struct search *x, const struct plan *plan)
{
    struct sim_counts counts = {0};
    if (x->left-- <= 0)
        return false;
    bool held = sim_play(x->s, plan, &counts, false);
    bool same = !held && strcmp(x->s->broken, x->guarantee) == 0;
    sim_world_done(x->s);
    return same;
}

static bool keep_if_breaks(struct search *x, const struct plan *tried)
{
    if (!still_breaks(x, tried))
        return false;
    plan_copy(x->plan, tried);
    return true;
}

/* ---- lists of things, switched off in blocks -------------------------------------------- */

enum list { FAULTS, JOBS, RECORDS, LIMITS };

static int length(const struct plan *p, enum list list)
{
    return list == FAULTS    ? p->fault_count
           : list == JOBS    ? p->job_count
           : list == RECORDS ? p->record_count
                             : p->limit_count;
}

static bool *off(struct plan *p, enum list list, int i)
{
    return list == FAULTS    ? &p->faults[i].off
           : list == JOBS    ? &p->jobs[i].off
           : list == RECORDS ? &p->records[i].off
                             : &p->limits[i].off;
}

static void thin(struct search *x, enum list list)
{
    int n = length(x->plan, list);
    for (int block = n; block > 0; block /= 2)
        for (int from = 0; from < n && x->left > 0; from += block) {
            struct plan tried;
            plan_copy(&tried, x->plan);
            bool any = false;
            for (int i = from; i < from + block && i < n; i++) {
                any = any || !*off(&tried, list, i);
                *off(&tried, list, i) = true;
            }
            if (any)
                keep_if_breaks(x, &tried);
        }
}

/* ---- the rest --------------------------------------------------------------------------- */

static void fewer_workers(struct search *x)
{
    for (int n = 1; n < x->plan->workers; n++) {
        struct plan tried;
        plan_copy(&tried, x->plan);
        tried.workers = n;
        if (keep_if_breaks(x, &tried))
            return;
    }
}

static void simpler_jobs(struct search *x)
{
    for (int i = 0; i < x->plan->job_count; i++) {
        struct plan tried;
        plan_copy(&tried, x->plan);
        struct plan_job *job = &tried.jobs[i];
        if (job->off)
            continue;
        *job = (struct plan_job){.batch = job->batch, .endpoint = job->endpoint};
        keep_if_breaks(x, &tried);
    }
}

static void simpler_world(struct search *x)
{
    struct plan tried;
    plan_copy(&tried, x->plan);
    tried.trouble_permille = 0;
    keep_if_breaks(x, &tried);
    for (int i = 0; i < x->plan->fault_count; i++) {
        plan_copy(&tried, x->plan);
        if (tried.faults[i].off || tried.faults[i].for_us < 2000000)
            continue;
        tried.faults[i].for_us /= 4;
        keep_if_breaks(x, &tried);
    }
}

void shrink(struct sim *s, struct plan *plan, const char *guarantee, int runs)
{
    struct search x = {.s = s, .plan = plan, .left = runs};
    memcpy(x.guarantee, guarantee, strnlen(guarantee, sizeof x.guarantee - 1));
    for (int before = 0, now = 1; now != before && x.left > 0;) {
        before = plan_jobs_on(plan) + plan_faults_on(plan) + plan->workers;
        thin(&x, FAULTS);
        thin(&x, JOBS);
        thin(&x, RECORDS);
        thin(&x, LIMITS);
        fewer_workers(&x);
        simpler_world(&x);
        simpler_jobs(&x);
        now = plan_jobs_on(plan) + plan_faults_on(plan) + plan->workers;
    }
}
