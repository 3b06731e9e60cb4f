/*
 * main.c - sim: plays seeds, and tells the story of those that break a guarantee.
 *
 *   sim [--from N] [--seeds N] [--minutes M] [--jobs N]   plays seeds; stops at the first that
 * fails sim --story SEED [--whole]                            plays one and tells it, shrunk if it
 * fails
 *
 * Happy path: one line at the end with what was played, exit 0. A seed that breaks a guarantee is
 * shrunk and told; exit 1. `--keep-going` plays on, with one line for each that fails. `--coverage`
 * lists how often each arrow of the path and each fault occurred; one that never did is a failure.
 * `--hash` prints each seed's hash: the same seed has the same, always.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/scenario.h"
#include "tests/sim/shrink.h"
#include "worker/path_internal.h"

enum { SHRINK_RUNS = 600, EXIT_BROKEN_G = 1, EXIT_BAD_USE = 2 };

struct options {
    uint64_t from, seeds, story;
    int jobs;
    double minutes;
    bool tell, whole, keep_going, coverage, hash;
    const char *scenario, *curve;
};

static const char usage[] =
    "sim [--from N] [--seeds N] [--minutes M] [--jobs N] [--keep-going] [--coverage] [--hash]\n"
    "sim --story SEED [--jobs N] [--whole]\n"
    "sim --scenario NAME|all|list [--from SEED] [--seeds N] [--curve FILE]\n";

/* ---- what was played -------------------------------------------------------------------- */

static void print_counts(const struct sim_counts *c, uint64_t from, double seconds)
{
    printf("seeds %lld from %llu, jobs %lld, calls %lld, extra calls %lld, probes %lld, crashes "
           "%lld, rows "
           "refused %lld, rows crossed %lld, over_limit %lld, events %lld, faults %lld (",
           (long long)c->seeds, (unsigned long long)from, (long long)c->jobs, (long long)c->calls,
           (long long)c->extra, (long long)c->probes, (long long)c->crashes, (long long)c->refused,
           (long long)c->crossed, (long long)c->over_limit, (long long)c->events,
           (long long)c->faults);
    for (int i = 0, n = 0; i < FAULT_KINDS; i++)
        if (c->fault[i])
            printf("%s%s %lld", n++ ? ", " : "", fault_name((enum fault_kind)i),
                   (long long)c->fault[i]);
    printf("), %.1f s\nbroken: lost %lld, doubled %lld, unrecorded %lld, other %lld\n", seconds,
           (long long)c->lost, (long long)c->doubled, (long long)c->unrecorded,
           (long long)c->other);
}

/* Which seeds break what, in the words of the promise. */
static void count_broken(struct sim_counts *c, const char *guarantee)
{
    if (strcmp(guarantee, "G1") == 0 || strcmp(guarantee, "G3") == 0 ||
        strcmp(guarantee, "LV") == 0)
        c->lost++;
    else if (strcmp(guarantee, "G2") == 0 || strcmp(guarantee, "G4") == 0 ||
             strcmp(guarantee, "G6") == 0)
        c->doubled++;
    else if (strcmp(guarantee, "G5") == 0)
        c->unrecorded++;
    else
        c->other++;
}

/* Only a partition of `result` that is dropped makes a job take these, and none is here. */
static bool is_not_played(int from, int to)
{
    return to == JOB_BURY && (from == JOB_THROTTLE || from == JOB_CLAIM || from == JOB_STORE);
}

/* Returns how many arrows that the path allows, and faults, never occurred. */
static int print_coverage(const struct sim_counts *c)
{
    int missing = 0;
    for (int from = 0; from < JOB_STATE_COUNT; from++)
        for (int to = 0; to < JOB_STATE_COUNT; to++) {
            if (!path_may_move((enum job_state)from, (enum job_state)to) || is_not_played(from, to))
                continue;
            missing += !c->arrow[from][to];
            printf("%s arrow %s>%s %lld\n", c->arrow[from][to] ? "seen" : "NEVER",
                   job_state_name((enum job_state)from), job_state_name((enum job_state)to),
                   (long long)c->arrow[from][to]);
        }
    for (int i = 0; i < FAULT_KINDS; i++) {
        missing += !c->fault[i];
        printf("%s fault %s %lld\n", c->fault[i] ? "seen" : "NEVER", fault_name((enum fault_kind)i),
               (long long)c->fault[i]);
    }
    return missing;
}

/* ---- one seed told ---------------------------------------------------------------------- */

static void print_plan(const struct plan *p)
{
    printf("%d workers, %d lanes of %d partitions, %d endpoints; in flight %d (%d an endpoint), "
           "attempts "
           "%d, lane %d, span %lld, lease %lld ms, short wait %lld ms, timeout %lld s, trouble %d "
           "permille; calm at %lld s\n",
           p->workers, p->lanes, p->partitions, p->endpoints, p->max_in_flight,
           p->endpoint_in_flight, p->max_attempts, p->lane_jobs, (long long)p->offset_span,
           (long long)p->lease_us / 1000, (long long)p->short_wait_us / 1000,
           (long long)p->timeout_us / 1000000, p->trouble_permille,
           (long long)p->calm_us / 1000000);
    for (int i = 0; i < p->job_count; i++)
        if (!p->jobs[i].off)
            printf("  job %d: %s, %s, batch %d, endpoint %d%s%s\n", i, sort_name(p->jobs[i].sort),
                   temper_name(p->jobs[i].temper), p->jobs[i].batch, p->jobs[i].endpoint,
                   p->jobs[i].deadline_us ? ", with a deadline" : "",
                   p->jobs[i].poison ? ", its rows are refused" : "");
    for (int i = 0; i < p->fault_count; i++)
        if (!p->faults[i].off)
            printf("  fault at %.1f s: %s, %d, for %.1f s (%d>%d, %d)\n",
                   (double)p->faults[i].at_us / 1e6, fault_name(p->faults[i].kind),
                   p->faults[i].slot, (double)p->faults[i].for_us / 1e6, p->faults[i].from,
                   p->faults[i].to, p->faults[i].nth);
}

static int tell_story(struct sim *s, const struct options *o)
{
    static struct plan plan;
    struct sim_counts counts = {0};
    plan_draw(&plan, o->story, o->jobs);
    bool held = sim_play(s, &plan, &counts, false);
    char guarantee[sizeof s->broken];
    memcpy(guarantee, s->broken, sizeof guarantee);
    sim_world_done(s);
    if (!held && !o->whole)
        shrink(s, &plan, guarantee, SHRINK_RUNS);
    printf("seed %llu%s\n", (unsigned long long)o->story, !held && !o->whole ? ", shrunk" : "");
    print_plan(&plan);
    counts = (struct sim_counts){0};
    held = sim_play(s, &plan, &counts, true);
    if (held)
        printf("all guarantees held, hash %016llx\n", (unsigned long long)s->hash);
    else
        printf("seed %llu breaks %s at %.3f s: %s\n", (unsigned long long)o->story, s->broken,
               (double)s->broken_us / 1e6, s->why);
    sim_world_done(s);
    return held ? 0 : EXIT_BROKEN_G;
}

/* ---- many seeds ------------------------------------------------------------------------- */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool play_seed(struct sim *s, const struct options *o, uint64_t seed,
                      struct sim_counts *counts)
{
    static struct plan plan;
    plan_draw(&plan, seed, o->jobs);
    bool held = sim_play(s, &plan, counts, false);
    if (o->hash)
        printf("%llu %016llx\n", (unsigned long long)seed, (unsigned long long)s->hash);
    if (!held) {
        count_broken(counts, s->broken);
        printf("seed %llu breaks %s: %s\n", (unsigned long long)seed, s->broken, s->why);
    }
    sim_world_done(s);
    return held;
}

static int play_seeds(struct sim *s, struct options *o)
{
    static struct sim_counts counts;
    double begun = now_s();
    bool all_held = true;
    for (uint64_t i = 0; i < o->seeds; i++) {
        if (o->minutes > 0 && now_s() - begun > o->minutes * 60)
            break;
        bool held = play_seed(s, o, o->from + i, &counts);
        all_held = all_held && held;
        if (held || o->keep_going)
            continue;
        o->story = o->from + i;
        (void)tell_story(s, o);
        break;
    }
    int missing = o->coverage ? print_coverage(&counts) : 0;
    if (missing)
        printf("%d arrows or faults never occurred\n", missing);
    print_counts(&counts, o->from, now_s() - begun);
    return all_held && !missing ? 0 : EXIT_BROKEN_G;
}

/* ---- scenarios --------------------------------------------------------------------------- */

static bool play_scenario(struct sim *s, const struct options *o, const char *name, uint64_t seed)
{
    char why[600];
    FILE *curve = o->curve ? fopen(o->curve, "w") : NULL;
    bool held = scenario_play(s, name, seed, curve, why, sizeof why);
    if (!held)
        printf("%s, seed %llu: %s\n", name, (unsigned long long)seed, why);
    if (curve && fclose(curve) != 0)
        held = false;
    return held;
}

static int play_scenarios(struct sim *s, const struct options *o)
{
    bool all = strcmp(o->scenario, "all") == 0, held = true;
    for (int i = 0; strcmp(o->scenario, "list") == 0; i++) {
        if (!scenario_name(i))
            return 0;
        puts(scenario_name(i));
    }
    for (uint64_t seed = o->from; seed < o->from + o->seeds; seed++)
        for (int i = 0; all ? scenario_name(i) != NULL : i == 0; i++)
            held = play_scenario(s, o, all ? scenario_name(i) : o->scenario, seed) && held;
    return held ? 0 : EXIT_BROKEN_G;
}

/* ---- the command line ------------------------------------------------------------------- */

static bool take_number(int argc, char **argv, int *i, double *ret)
{
    char *end = NULL;
    if (*i + 1 >= argc)
        return false;
    *ret = strtod(argv[++*i], &end);
    return end != argv[*i] && *end == '\0' && *ret >= 0;
}

static bool take_flag(const char *word, struct options *o)
{
    struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--whole", &o->whole},
                 {"--keep-going", &o->keep_going},
                 {"--coverage", &o->coverage},
                 {"--hash", &o->hash}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(word, flags[i].name) == 0)
            return *flags[i].flag = true;
    return false;
}

static bool parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.from = 1, .seeds = 0};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        double n = 0;
        if (take_flag(word, o))
            continue;
        if (i + 1 < argc && strcmp(word, "--scenario") == 0) {
            o->scenario = argv[++i];
            continue;
        }
        if (i + 1 < argc && strcmp(word, "--curve") == 0) {
            o->curve = argv[++i];
            continue;
        }
        if (!take_number(argc, argv, &i, &n))
            return false;
        if (strcmp(word, "--from") == 0)
            o->from = (uint64_t)n;
        else if (strcmp(word, "--seeds") == 0)
            o->seeds = (uint64_t)n;
        else if (strcmp(word, "--jobs") == 0)
            o->jobs = (int)n;
        else if (strcmp(word, "--minutes") == 0)
            o->minutes = n;
        else if (strcmp(word, "--story") == 0)
            o->story = (uint64_t)n, o->tell = true;
        else
            return false;
    }
    if (!o->seeds)
        o->seeds = o->scenario ? 1 : 1000;
    return true;
}

int main(int argc, char **argv)
{
    struct options options;
    if (!parse(argc, argv, &options)) {
        (void)fputs(usage, stderr);
        return EXIT_BAD_USE;
    }
    struct sim *s = calloc(1, sizeof *s);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (!s)
        return 3;
    int exit_code = options.scenario ? play_scenarios(s, &options)
                    : options.tell   ? tell_story(s, &options)
                                     : play_seeds(s, &options);
    free(s);
    return exit_code;
}
