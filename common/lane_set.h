/*
 * lane_set.h - the lanes that there are: the rows of inferq.lane (pure but for lane_set_read).
 *
 * A lane is a topic, PREFIX.jobs.NAME, and a small code, which messages' rows hold in their column
 * `priority`. Which jobs go there is the submitter's wish (--lane), else the rule of a lane (its
 * app, its task, or both), else the priority. high, normal and low are always there.
 */
#ifndef INFERQ_COMMON_LANE_SET_H
#define INFERQ_COMMON_LANE_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/span.h"

enum {
    LANE_SET_MAX = 16,
    LANE_NAME_BYTES = 33,  /* with its NUL */
    LANE_RULE_BYTES = 129, /* of an app or a task, with its NUL */
    LANE_LIST_BYTES = LANE_SET_MAX * (LANE_NAME_BYTES + 2),
};

struct lane_entry {
    int code;
    char name[LANE_NAME_BYTES];
    char app[LANE_RULE_BYTES], task[LANE_RULE_BYTES]; /* ""; both: no rule; one: of any */
};

struct lane_set {
    int count;
    struct lane_entry lanes[LANE_SET_MAX]; /* by code */
};

/* high, normal and low, without rules. */
void lane_set_default(struct lane_set *ret);

/* What lane_set_take reads: for who has a way of his own to ask. RC_REJECT: what cannot be. */
extern const char lane_set_sql[];
struct pg_rows;
enum rc lane_set_take(const struct pg_rows *rows, struct lane_set *ret, struct err *err) MUST_CHECK;

/* The lanes that have not been removed. RC_REJECT: the table is not there, or holds what cannot
 * be; RC_RETRY: Postgres is away. `ret` is untouched then. */
struct pgc;
enum rc lane_set_read(struct pgc *conn, struct lane_set *ret, struct err *err) MUST_CHECK;

/* [a-z0-9][a-z0-9-]{0,31} */
bool lane_name_ok(struct span name);

const struct lane_entry *lane_set_find(const struct lane_set *set, struct span name); /* NULL */
const struct lane_entry *lane_set_code(const struct lane_set *set, int code);         /* NULL */
/* The lane whose rule fits a batch best: app and task, then the app alone, then the task alone.
 * NULL: none does. `task` may be absent. */
const struct lane_entry *lane_set_rule(const struct lane_set *set, struct span app,
                                       struct span task);

/* "high, normal, low", for messages. Returns `out`. */
const char *lane_set_names(const struct lane_set *set, char out[LANE_LIST_BYTES]);
/* RC_REJECT: names the lanes that there are, and how to add one. */
enum rc lane_set_unknown(const struct lane_set *set, struct span name, struct err *err);

#endif
