/*
 * doctor_fleet.c - what is found about workers and what waits for them (pure but for the texts of
 * its questions).
 */
#include <inttypes.h>
#include <string.h>

#include "admin/doctor.h"
#include "admin/fleet.h"

static void judge_workers(const struct doctor_facts *f, struct doctor_says *s)
{
    int64_t alive = f->rows[0].a, parked = f->rows[0].b, records = doctor_lag(f->kafka);
    if (alive == 0 && (parked > 0 || records > 0))
        doctor_say(s, DOCTOR_ERROR,
                   "no worker is alive, and %" PRId64 " records and %" PRId64 "%s parked jobs wait",
                   records, parked, parked == 1000 ? " or more" : "");
    else if (alive == 0)
        doctor_say(s, DOCTOR_OK, "no worker is alive, and nothing waits");
    else
        doctor_say(s, DOCTOR_OK, "%" PRId64 " alive", alive);
}

static void judge_silent(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    for (int i = 0; i < f->row_count; i++)
        doctor_say(s, DOCTOR_WARNING, "worker %s on %s has not renewed its lease for %s",
                   f->rows[i].subject, f->rows[i].detail, doctor_age(f->rows[i].a, age));
}

static void judge_fenced(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++)
        doctor_say(s, DOCTOR_WARNING,
                   "worker %s on %s was fenced within the last day: it died, or "
                   "was stopped or cut off for longer than its lease",
                   f->rows[i].subject, f->rows[i].detail);
}

static void judge_builds(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 1; i < f->row_count; i++)
        doctor_say(s, DOCTOR_WARNING, "%" PRId64 " workers run build %s (%s), %" PRId64 " run %s",
                   f->rows[i].a, f->rows[i].subject, f->rows[i].detail, f->rows[0].a,
                   f->rows[0].subject);
    if (f->row_count == 1)
        doctor_say(s, DOCTOR_OK, "all run %s", f->rows[0].subject);
}

static void judge_draining(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    for (int i = 0; i < f->row_count; i++) {
        if (f->rows[i].a < f->patience_ms)
            continue;
        doctor_say(s, DOCTOR_WARNING, "worker %s on %s was told to leave %s ago, and is there",
                   f->rows[i].subject, f->rows[i].detail, doctor_age(f->rows[i].a, age));
    }
}

static void judge_letters(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    if (f->rows[0].a > 0 && f->rows[0].b >= f->patience_ms)
        doctor_say(s, DOCTOR_WARNING,
                   "%" PRId64 " dead letters are not on the dead topic, the "
                   "oldest for %s",
                   f->rows[0].a, doctor_age(f->rows[0].b, age));
}

static void judge_parked(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    for (int i = 0; i < f->row_count; i++) {
        if (f->rows[i].b < f->patience_ms)
            continue;
        doctor_say(s, DOCTOR_WARNING,
                   "%" PRId64 " parked jobs are due and not pulled (%s), the "
                   "first for %s",
                   f->rows[i].a, f->rows[i].subject, doctor_age(f->rows[i].b, age));
    }
}

#define AGE_MS(since) "(extract(epoch FROM clock_timestamp() - " since ") * 1000)::bigint"
#define PLACE "w.host || ', pid ' || w.pid"

const struct doctor_check doctor_fleet_checks[] = {
    {"fleet.workers", "Jobs wait, and no worker is alive",
     "start workers; a worker that ends says why in its log",
     "SELECT '', '', count(*) FILTER (WHERE " WORKER_STATE " IN ('alive', 'draining')), "
     "(SELECT count(*) FROM (SELECT FROM parked WHERE taken_by IS NULL AND next_at < now() "
     "LIMIT 1000) d) FROM worker w WHERE NOT w.fenced",
     judge_workers},
    {"fleet.silent", "A worker of the last week went silent, and nobody has fenced it",
     "look at its host: is the process there, and does it reach Postgres? Its jobs are taken over "
     "when they come up again",
     "SELECT w.worker_id::text, " PLACE
     ", " AGE_MS("w.lease_until") ", 0::bigint FROM worker w "
                                  "WHERE w.stopped_at IS NULL AND NOT w.fenced AND w.lease_until < "
                                  "now() - interval '5 s' "
                                  "AND w.lease_until > now() - interval '7 days' ORDER BY "
                                  "w.lease_until DESC LIMIT 10",
     judge_silent},
    {"fleet.fenced", "A worker lost its lease within the last day",
     "look at its log and at what its host did then (memory, suspension, network); `inferq worker "
     "list --all` shows when",
     "SELECT w.worker_id::text, " PLACE ", 0::bigint, 0::bigint FROM worker w WHERE w.fenced "
     "AND w.stopped_at IS NULL AND w.lease_until > now() - interval '1 day' ORDER BY w.lease_until "
     "DESC LIMIT 10",
     judge_fenced},
    {"fleet.builds", "Workers run different builds",
     "finish the rollout: `inferq worker list` shows each, `inferq worker drain ID` ends one",
     "SELECT w.build, string_agg(DISTINCT w.host, ', '), count(*), 0::bigint FROM worker w "
     "WHERE " WORKER_STATE " IN ('alive', 'draining') GROUP BY 1 ORDER BY 3 DESC, 1",
     judge_builds},
    {"fleet.draining", "A worker was told to leave and has not",
     "its calls may be long (drain.timeout bounds them); SIGTERM twice gives them up",
     "SELECT w.worker_id::text, " PLACE
     ", " AGE_MS("w.drain_requested_at") ", 0::bigint "
                                         "FROM worker w WHERE " WORKER_STATE
                                         " = 'draining' ORDER BY 3 DESC LIMIT 10",
     judge_draining},
    {"fleet.letters", "Dead letters are not published",
     "workers publish them: are some alive, and does the dead topic take them (kafka.topics, "
     "kafka.message_bytes)?",
     "SELECT '', '', count(*), coalesce(" AGE_MS("min(created_at)") ", 0) FROM dead_letter "
                                                                    "WHERE published_at IS NULL",
     judge_letters},
    {"fleet.parked", "Parked jobs are due, and nobody pulls them",
     "start or restart workers; `inferq endpoint show` says what an endpoint's jobs wait for",
     "SELECT coalesce('for endpoint ' || e.name, 'for a time'), '', count(*), "
     "coalesce(" AGE_MS("min(p.next_at)") ", 0) FROM parked p "
                                          "LEFT JOIN endpoint e ON e.endpoint_id = p.wait_key "
                                          "WHERE p.taken_by IS NULL AND p.next_at < now() "
                                          "AND p.wait_key >= 0 AND NOT "
                                          "EXISTS (SELECT FROM endpoint_pause q "
                                          "WHERE q.name = e.name AND q.version IN (0, e.version)) "
                                          "GROUP BY 1 ORDER BY 4 DESC LIMIT 10",
     judge_parked},
    {0},
};
