/*
 * lane_set.c - see lane_set.h.
 *
 * Happy path: the table is read once when a program starts; after that there are only look-ups in
 * an array of a few. Failure: a database that lacks the table was not migrated, and is told so.
 */
#include "common/lane_set.h"

#include <stdio.h>
#include <string.h>

#include "common/codes.h"
#include "common/pg.h"

void lane_set_default(struct lane_set *ret)
{
    *ret = (struct lane_set){.count = PRIORITY_COUNT};
    for (int i = 0; i < PRIORITY_COUNT; i++) {
        ret->lanes[i].code = i;
        (void)snprintf(ret->lanes[i].name, LANE_NAME_BYTES, "%s", priority_name(i));
    }
}

bool lane_name_ok(struct span name)
{
    if (!name.p || name.n < 1 || name.n >= LANE_NAME_BYTES || name.p[0] == '-')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return false;
    }
    return true;
}

/* ---- looking ------------------------------------------------------------------------------ */

const struct lane_entry *lane_set_find(const struct lane_set *set, struct span name)
{
    for (int i = 0; i < set->count; i++)
        if (span_is(name, set->lanes[i].name))
            return &set->lanes[i];
    return NULL;
}

const struct lane_entry *lane_set_code(const struct lane_set *set, int code)
{
    for (int i = 0; i < set->count; i++)
        if (set->lanes[i].code == code)
            return &set->lanes[i];
    return NULL;
}

/* How closely the rule fits: 0: not at all, 1: the task, 2: the app, 3: both. */
static int fit(const struct lane_entry *lane, struct span app, struct span task)
{
    if ((lane->app[0] && !span_is(app, lane->app)) || (lane->task[0] && !span_is(task, lane->task)))
        return 0;
    return (lane->app[0] ? 2 : 0) + (lane->task[0] ? 1 : 0);
}

const struct lane_entry *lane_set_rule(const struct lane_set *set, struct span app,
                                       struct span task)
{
    const struct lane_entry *best = NULL;
    int best_fit = 0;
    for (int i = 0; i < set->count; i++) {
        int closely = fit(&set->lanes[i], app, task);
        if (closely <= best_fit)
            continue;
        best_fit = closely;
        best = &set->lanes[i];
    }
    return best;
}

const char *lane_set_names(const struct lane_set *set, char out[LANE_LIST_BYTES])
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < set->count; i++) {
        int more =
            snprintf(out + n, LANE_LIST_BYTES - n, "%s%s", i ? ", " : "", set->lanes[i].name);
        n += more > 0 ? (size_t)more : 0;
    }
    return out;
}

enum rc lane_set_unknown(const struct lane_set *set, struct span name, struct err *err)
{
    char names[LANE_LIST_BYTES];
    bool possible = lane_name_ok(name);
    return err_set(err, RC_REJECT, "there is no lane '%.*s': the lanes are %s%s%.*s%s",
                   name.n < 64 ? (int)name.n : 64, name.p ? name.p : "", lane_set_names(set, names),
                   possible ? "; `inferq lane add " : "", possible ? (int)name.n : 0,
                   possible ? name.p : "", possible ? "` adds it" : "");
}

/* ---- the table ---------------------------------------------------------------------------- */

static void copy(char *out, size_t out_bytes, struct span from)
{
    (void)snprintf(out, out_bytes, "%.*s", (int)from.n, from.p ? from.p : "");
}

const char lane_set_sql[] =
    "SELECT code, name, app, task FROM inferq.lane WHERE removed_at IS NULL ORDER BY code";

enum rc lane_set_take(const struct pg_rows *rows, struct lane_set *ret, struct err *err)
{
    int n = pg_row_count(rows);
    if (n < PRIORITY_COUNT || n > LANE_SET_MAX)
        return err_set(err, RC_REJECT, "the table inferq.lane has %d lanes: %d to %d are possible",
                       n, (int)PRIORITY_COUNT, (int)LANE_SET_MAX);
    *ret = (struct lane_set){.count = n};
    for (int i = 0; i < n; i++) {
        struct lane_entry *lane = &ret->lanes[i];
        lane->code = (int)pg_get_int(rows, i, 0);
        copy(lane->name, sizeof lane->name, pg_get_span(rows, i, 1));
        copy(lane->app, sizeof lane->app, pg_get_span(rows, i, 2));
        copy(lane->task, sizeof lane->task, pg_get_span(rows, i, 3));
    }
    return RC_OK;
}

enum rc lane_set_read(struct pgc *conn, struct lane_set *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = pgc_exec(conn, lane_set_sql, NULL, &rows, err);
    if (rc == RC_REJECT && strcmp(pgc_sqlstate(conn), "42P01") == 0)
        rc = err_set(err, rc, "the database has no table of lanes yet: run `inferq migrate`");
    if (rc == RC_OK)
        rc = lane_set_take(rows, ret, err);
    pg_rows_free(rows);
    return rc;
}
