/*
 * cost_by.c - the one table of what costs can be told apart by.
 *
 * An app is its batch's; task and team are the job's own, which its result has, and until then its
 * batch's.
 */
#include <string.h>

#include "admin/cost.h"
#include "admin/suggest.h"
#include "common/span.h"

#define OF_JOB(column) "CASE WHEN r.job_id IS NULL THEN b." column " ELSE r." column " END"

static const struct cost_dim dims[] = {
    {"app", "app", "APP", "coalesce(b.app, r.app)"},
    {"task", "task", "TASK", OF_JOB("task")},
    {"team", "team", "TEAM", OF_JOB("team")},
    {"model-version", "model_version", "MODEL VERSION", "v.label"},
    {"endpoint", "endpoint", "ENDPOINT", "e.name"},
    {"batch", "batch", "BATCH", "b.app || '/' || b.name"},
    {"day", "day", "DAY (UTC)", "to_char(c.claimed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"},
};
enum { DIMS = sizeof dims / sizeof *dims };
_Static_assert((int)DIMS <= (int)COST_DIMS_MAX, "each dimension stands once at most");

static enum rc unknown(struct span name, struct err *err)
{
    char word[SUGGEST_WORD_MAX + 1] = "";
    struct suggest near = {0};
    if (name.n <= SUGGEST_WORD_MAX)
        memcpy(word, name.p, name.n);
    for (int i = 0; i < DIMS; i++)
        suggest_offer(&near, word, dims[i].name);
    if (near.best)
        return err_set(err, RC_REJECT, "--by: no '%.*s'; did you mean %s?", (int)name.n, name.p,
                       near.best);
    return err_set(err, RC_REJECT,
                   "--by: '%.*s' is none of app, task, team, model-version, endpoint, batch, day",
                   (int)name.n, name.p);
}

static enum rc add(struct cost_by *by, struct span name, struct err *err)
{
    const struct cost_dim *dim = NULL;
    for (int i = 0; i < DIMS; i++)
        if (span_is(name, dims[i].name))
            dim = &dims[i];
    if (!dim)
        return unknown(name, err);
    for (int i = 0; i < by->count; i++)
        if (by->dims[i] == dim)
            return err_set(err, RC_REJECT, "--by: %s stands there twice", dim->name);
    by->dims[by->count++] = dim; /* no more than the table has */
    return RC_OK;
}

enum rc cost_by_add(struct cost_by *by, const char *names, struct err *err)
{
    enum rc rc = RC_OK;
    while (names && rc == RC_OK) {
        size_t n = strcspn(names, ",");
        rc = add(by, (struct span){names, n}, err);
        names = names[n] ? names + n + 1 : NULL;
    }
    return rc;
}
