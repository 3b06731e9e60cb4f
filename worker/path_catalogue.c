/*
 * path_catalogue.c - the path's catalogue, and what the path keeps for each of its entries.
 *
 * Happy path: path_prepare makes room, path_take puts the catalogue in force. What is kept is found
 * by an entry's index, which it has for good. A job holds the catalogue that it was routed by; when
 * another is in force, and its last job is gone or routed anew, the old one is let go.
 *
 * Failure mode: no memory in path_prepare, which leaves rooms that are larger than needed.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/path_internal.h"

/* ---- whose entries are in use? --------------------------------------------------------------- */

static void let_go(struct path *p, struct served *served)
{
    struct served **at = &p->served;
    while (*at != served)
        at = &(*at)->older;
    *at = served->older;
    struct catalogue *cat = served->cat;
    free(served->budgets);
    free(served);
    p->edges.unused(p->edges.arg, cat);
}

void path_unserve(struct path *p, struct job *job)
{
    struct served *served = job->served;
    path_unpay(p, job);
    job->served = NULL;
    job->mv = NULL;
    job->retry = NULL;
    job->budget = NULL;
    job->price = NULL;
    if (!served)
        return;
    assert(served->jobs > 0);
    served->jobs--;
    if (!served->jobs && served != p->served)
        let_go(p, served);
}

void path_serve(struct path *p, struct job *job)
{
    path_unserve(p, job);
    job->served = p->served;
    job->served->jobs++;
}

/* ---- room ------------------------------------------------------------------------------------ */

static bool grow_endpoints(struct path *p, int count)
{
    struct endpoint *endpoints = realloc(p->endpoints, ((size_t)count + 1) * sizeof *endpoints);
    if (!endpoints)
        return false;
    p->endpoints = endpoints;
    struct parking *parking = realloc(p->parking, ((size_t)count + 1) * sizeof *parking);
    if (!parking)
        return false;
    p->parking = parking;
    struct learned *learned = realloc(p->learned, ((size_t)count + 1) * sizeof *learned);
    if (!learned)
        return false;
    p->learned = learned;
    p->endpoint_room = count;
    return true;
}

static bool grow_versions(struct path *p, int count)
{
    int64_t *paused = realloc(p->model_paused, ((size_t)count + 1) * sizeof *paused);
    if (!paused)
        return false;
    p->model_paused = paused;
    struct tokens *tokens = realloc(p->tokens, ((size_t)count + 1) * sizeof *tokens);
    if (!tokens)
        return false;
    p->tokens = tokens;
    p->version_room = count;
    return true;
}

enum rc path_prepare(struct path *p, const struct catalogue *next, struct err *err)
{
    enum rc rc = lanes_grow(p->lanes, next->endpoint_count, err);
    if (rc != RC_OK)
        return rc;
    if (!p->next_served)
        p->next_served = calloc(1, sizeof *p->next_served);
    bool ok = p->next_served && path_make_budgets(p->next_served, next);
    if (ok && (!p->endpoints || next->endpoint_count > p->endpoint_room))
        ok = grow_endpoints(p, next->endpoint_count);
    if (ok && (!p->tokens || next->version_count > p->version_room))
        ok = grow_versions(p, next->version_count);
    if (ok && next->version_count > 0 && (rc = path_limits_prepare(p, next, err)) != RC_OK)
        return rc;
    return ok ? RC_OK : err_set(err, RC_NOMEM, "no memory for the catalogue's endpoints");
}

/* ---- in force -------------------------------------------------------------------------------- */

/* What the old one did not have begins; `old` is NULL at the start. */
static void begin_entries(struct path *p, const struct catalogue *old, const struct catalogue *next)
{
    for (int i = old ? old->endpoint_count : 0; i < next->endpoint_count; i++) {
        endpoint_init(&p->endpoints[i], next->endpoints[i].max_in_flight);
        p->endpoints[i].fleet = p->conf.fleet_lease_us > 0;
        learned_init(&p->learned[i], p->conf.fleet_lease_us);
        p->parking[i] = (struct parking){0};
    }
    for (int i = old ? old->version_count : 0; i < next->version_count; i++) {
        p->model_paused[i] = 0;
        tokens_init(&p->tokens[i]);
    }
    for (int i = 0; old && i < old->endpoint_count; i++) {
        p->parking[i].moved_off |= catalogue_moved_off(old, next, i);
        p->parking[i].moved_off &= !catalogue_moved_off(next, old, i);
    }
}

static void reroute_visited(void *arg, struct job *job)
{
    path_reroute(arg, job);
}

void path_take(struct path *p, struct catalogue *next)
{
    const struct catalogue *old = p->conf.catalogue;
    struct served *served = p->next_served, *replaced = p->served;
    assert(served && next->endpoint_count <= p->endpoint_room);
    assert(next->version_count <= p->version_room);
    begin_entries(p, old, next);
    *served = (struct served){.cat = next, .budgets = served->budgets, .older = replaced};
    if (replaced)
        path_take_budgets(served, replaced);
    p->served = served;
    p->next_served = NULL;
    p->conf.catalogue = next;
    if (replaced && !replaced->jobs)
        let_go(p, replaced);
    lanes_walk(p->lanes, reroute_visited, p);
}
