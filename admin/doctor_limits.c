/*
 * doctor_limits.c - what is found about limits of the whole fleet (pure but for the texts of its
 * questions).
 */
#include <inttypes.h>

#include "admin/doctor.h"
#include "admin/fleet.h"
#include "common/limits.h"

static void judge_unknown(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* limit; what is missing */
        doctor_say(s, DOCTOR_WARNING, "a limit is set for %s, and %s", row->subject, row->detail);
        doctor_mend(s, "if it is misspelled: inferq limit clear %s, and set it again",
                    row->subject);
    }
}

static void judge_keeper(const struct doctor_facts *f, struct doctor_says *s)
{
    int64_t limits = f->rows[0].a, workers = f->rows[0].b;
    if (limits == 0)
        doctor_say(s, DOCTOR_OK, "no limit is in force");
    else if (workers == 0)
        doctor_say(s, DOCTOR_OK, "%" PRId64 " limits are in force, and no worker is alive", limits);
    else if (!*f->rows[0].subject)
        doctor_say(s, DOCTOR_WARNING,
                   "%" PRId64 " limits are in force, and none of %" PRId64
                   " workers shares them out",
                   limits, workers);
}

static void judge_learned(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++)
        doctor_say(s, DOCTOR_WARNING,
                   "throttling has brought the limits of %s down to %" PRId64 ".%" PRId64 " %%",
                   f->rows[i].subject, f->rows[i].a / 10, f->rows[i].a % 10);
}

static void judge_holds(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* limit; the line; its dimension */
        doctor_say(s, DOCTOR_NOTE, "%s", row->detail);
        doctor_mend(s, "%s: inferq limit set %s %s N",
                    row->a == LIMIT_TOKENS_PER_DAY ? "wait until then, or allow more"
                                                   : "none is needed; to allow more",
                    row->subject, limit_dimension_name((int)row->a));
    }
}

/* The keeper's lock is one key of 64 bits, in two halves. */
#define KEEPER_HOLDS                                                                        \
    "(SELECT 'held' FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted "           \
    "AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database "                     \
    " WHERE datname = current_database()) AND (l.classid::bigint << 32 | l.objid::bigint) " \
    "= hashtext('inferq keeper')::bigint LIMIT 1)"

const struct doctor_check doctor_limit_checks[] = {
    {"limit.unknown", "An operator's limit is for an endpoint, model or app that is not there",
     "inferq limit clear LIMIT, and set it for the one that is meant",
     "SELECT DISTINCT n.scope || ':' || n.key, CASE n.scope WHEN 'app' "
     " THEN 'no job of that app was ever seen' ELSE 'the catalogue has no such ' || n.scope END, "
     "0::bigint, 0::bigint FROM limit_now n WHERE n.source = 'operator' AND CASE n.scope "
     "WHEN 'endpoint' THEN NOT EXISTS (SELECT FROM endpoint e "
     " WHERE e.name || '@' || e.version = n.key) "
     "WHEN 'model' THEN NOT EXISTS (SELECT FROM model_version v WHERE v.label = n.key) "
     "ELSE NOT EXISTS (SELECT FROM batch b WHERE b.app = n.key) END ORDER BY 1 LIMIT 20",
     judge_unknown},
    {"limit.keeper", "Limits are in force, and no worker shares them out",
     "look again in ten seconds: after a worker's death another one takes over; if it stays so, "
     "restart a worker",
     "SELECT coalesce(" KEEPER_HOLDS ", ''), '', (SELECT count(*) FROM limit_now), "
     "(SELECT count(*) FROM worker w WHERE " WORKER_STATE " IN ('alive', 'draining'))",
     judge_keeper},
    {"limit.learned", "Throttling has brought an endpoint's limits down to half or less",
     "ask who runs it what it allows, and set that: inferq limit set endpoint:NAME ...",
     "SELECT 'endpoint:' || l.endpoint, '', l.multiplier::bigint, 0::bigint FROM limit_learned l "
     "WHERE l.multiplier <= 500 AND EXISTS (SELECT FROM limit_rule r WHERE r.scope = 1 "
     " AND r.key = l.endpoint AND coalesce(r.of_operator, r.of_catalogue) IS NOT NULL "
     " AND r.dimension <= 4) ORDER BY 3 LIMIT 20",
     judge_learned},
    {"limit.holds", "A limit that somebody has set holds jobs back",
     "wait, or allow more: inferq limit set LIMIT DIMENSION N", NULL, judge_holds},
    {0},
};
