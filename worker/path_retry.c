/*
 * path_retry.c - what the path keeps of each route's retry budget (retry_budget.h), and what calls
 * again may cost.
 *
 * Happy path: first calls earn, retries are paid for before they are claimed. A retry that cannot
 * be paid for waits in Postgres, and asks again later: it is delayed, and never lost. Jobs that no
 * route fits have a budget for each model version, so that one that fails holds back no other's.
 *
 * Budgets are of a catalogue in force, like the routes; another catalogue takes over what routes of
 * the same app, task and model have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/outcome_table.h"
#include "worker/path_internal.h"
#include "worker/policy.h"

/* ---- whose budgets --------------------------------------------------------------------------- */

bool path_make_budgets(struct served *served, const struct catalogue *cat)
{
    size_t count = (size_t)cat->route_count + (size_t)cat->version_count;
    struct retry_budget *budgets = calloc(count + 1, sizeof *budgets);
    if (!budgets)
        return false;
    free(served->budgets);
    served->budgets = budgets;
    return true;
}

static bool same_route(const struct catalogue *a, const struct cat_route *x,
                       const struct catalogue *b, const struct cat_route *y)
{
    if (strcmp(x->app, y->app) != 0 || strcmp(x->task, y->task) != 0)
        return false;
    if (x->model < 0 || y->model < 0)
        return x->model < 0 && y->model < 0;
    return strcmp(a->models[x->model].name, b->models[y->model].name) == 0;
}

void path_take_budgets(struct served *to, const struct served *from)
{
    const struct catalogue *now = to->cat, *old = from->cat;
    for (int i = 0; i < now->route_count; i++)
        for (int j = 0; j < old->route_count; j++)
            if (same_route(now, &now->routes[i], old, &old->routes[j]))
                to->budgets[i] = from->budgets[j];
    for (int i = 0; i < now->version_count && i < old->version_count; i++)
        to->budgets[now->route_count + i] = from->budgets[old->route_count + i];
}

struct retry_budget *path_budget_of(const struct job *job)
{
    const struct catalogue *cat = job->served->cat;
    int route = catalogue_route_of(cat, job->retry);
    return &job->served->budgets[route >= 0 ? route : cat->route_count + job->mv->index];
}

/* ---- what calls cost ------------------------------------------------------------------------- */

/* The first call at a version with a larger context, which a model's own answer asked for, is none;
 * nor is one that tells the model what was wrong; nor one after calls that all were refused before
 * they had their chance: for those the endpoint was paused, and a probe at a time goes.
 * `attempts`: calls that counted before. */
static bool is_retry(const struct job *job, int attempts)
{
    return job->kind == CALL_RETRY && attempts > 0;
}

/* A claim that may stand in the ledger already is asked for, whatever it costs. */
bool path_may_call(struct path *p, struct job *job)
{
    if (!is_retry(job, job->attempts) || job->paid || job->claim_sent)
        return true;
    job->paid = retry_budget_take(job->budget, p->edges.mono_us(p->edges.arg));
    return job->paid;
}

bool path_hold_retry(struct path *p, struct job *job)
{
    if (p->in_state[JOB_PARK].count >= PARKING_MAX)
        return false;
    int64_t at = retry_budget_ask_at(job->budget, p->edges.mono_us(p->edges.arg),
                                     p->edges.random(p->edges.arg));
    (void)path_park(p, job, 0, CLASS_RETRY_BUDGET, at);
    return true;
}

void path_unpay(struct path *p, struct job *job)
{
    if (job->paid)
        retry_budget_give_back(job->budget, p->edges.mono_us(p->edges.arg));
    job->paid = false;
}

/* What another worker lost is called again whether there is a budget or not: it was claimed before
 * anybody knew that it had been called. */
void path_count_call(struct path *p, struct job *job, bool begun)
{
    int64_t now = p->edges.mono_us(p->edges.arg);
    if (!begun)
        path_unpay(p, job);
    else if (job->number == 1)
        retry_budget_first(job->budget, job->retry->budget_permille, now);
    else if (is_retry(job, job->attempts) && !job->paid)
        retry_budget_charge(job->budget, now);
    job->paid = false;
}

void path_count_answer(struct path *p, struct job *job)
{
    enum class class = job->call->outcome.class;
    if (is_retry(job, job->attempts - outcome_counts(class)) &&
        outcome_rule(class)->sign == SIGN_LIFE)
        retry_budget_answered(job->budget, p->edges.mono_us(p->edges.arg));
}

/* ---- money ----------------------------------------------------------------------------------- *
 * A route may bound what calls cost that are made again although nobody knows what came of the one
 * before. The money is the fleet's and the day's: Postgres counts it, one statement for the jobs
 * that owe just then, and none for all others. Dies while it is asked: paid for nothing; the
 * ledger shows whoever comes next a call of which nobody knows what came, and it is paid again. */

bool path_owes(const struct job *job, enum class class)
{
    return policy_unknown(class) && policy_pays(job->retry);
}

static void hold_unpaid(struct path *p, struct job *job)
{
    const struct job_call *call = job->state == JOB_STORE ? job->call : NULL;
    const char *error = call && call->outcome.error ? call->outcome.error : "";
    char reason[OUTCOME_ERROR_BYTES + 160];
    (void)snprintf(reason, sizeof reason,
                   "what its route may pay today for calls again, when nobody knows what came of "
                   "one, does not cover it%s%s",
                   *error ? ": " : "", error);
    job->verdict_call = call ? job->number : 0;
    path_end_dead(p, job, CLASS_HELD, reason);
}

/* What is not known to be bounded is more than any sum. */
bool path_pay(struct path *p, struct job *job)
{
    int64_t nusd = job->upper_nusd >= 0 ? job->upper_nusd : job->estimated_nusd;
    job->owes = false;
    job->owed_nusd = nusd;
    if (nusd < 0 || nusd > job->retry->ambiguous_nusd_per_day)
        hold_unpaid(p, job);
    else
        p->edges.pay(p->edges.arg, job);
    return false;
}

void path_paid(struct path *p, struct job *job)
{
    if (!job->granted) {
        hold_unpaid(p, job);
        return;
    }
    job->settled = true;
    if (job->state == JOB_CLAIM) /* a call that another worker lost: claim again */
        path_move(p, job, JOB_THROTTLE);
    path_advance(p, job);
}
