/*
 * lanes.c - `inferq lane`: the lanes that there are, one added, its jobs chosen, one removed.
 *
 * A lane is a row of inferq.lane and a topic. Added: the topic first, then the row, so that nobody
 * sends to a topic that is not there; workers serve it when they have started anew. Removed: only
 * when no job waits in it any more; the row stays, without being a lane, because results have its
 * code, and the topic stays, because its records are the user's to delete.
 *
 * Failure: refusals say what stands in the way. Two people at once wait for each other: changes
 * hold an advisory lock.
 */
#include "admin/lanes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin/audit.h"
#include "admin/jsonw.h"
#include "admin/lane_topics.h"
#include "admin/out.h"
#include "common/codes.h"

enum { DETAIL_BYTES = 512 };

bool lanes_read_or_default(struct ctx *ctx, struct lane_set *ret)
{
    struct err ignored;
    bool known =
        ctx_connect(ctx, &ignored) == RC_OK && lane_set_read(ctx->conn, ret, &ignored) == RC_OK;
    if (!known)
        lane_set_default(ret);
    return known;
}

enum rc lanes_read(struct ctx *ctx, struct lane_set *ret, struct err *err)
{
    struct pg_rows *rows = NULL;
    enum rc rc = ctx_exec(ctx, lane_set_sql, NULL, &rows, err);
    if (rc == RC_OK)
        rc = lane_set_take(rows, ret, err);
    pg_rows_free(rows);
    return rc;
}

/* ---- lane list ---------------------------------------------------------------------------- */

enum rc lane_list(struct ctx *ctx, struct err *err)
{
    static const struct table_col cols[] = {{"lane", "LANE", 0},
                                            {"code", "CODE", 0},
                                            {"app", "APP", 40},
                                            {"task", "TASK", 40},
                                            {"parked", "PARKED", 0},
                                            {"topic", "TOPIC", 0},
                                            {0}};
    struct pg_rows *rows = NULL;
    struct table *t = table_new(cols);
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(t, err);
    if (rc == RC_OK)
        rc = cmd_have(p, err);
    if (rc == RC_OK) {
        pg_add_text(p, span_of(config_text(ctx->config, "prefix")));
        rc = ctx_exec(
            ctx,
            "SELECT l.name, l.code, l.app, l.task, "
            "coalesce(w.n, 0), "
            "$1 || '.jobs.' || l.name "
            "FROM lane l LEFT JOIN (SELECT priority, count(*) AS n FROM parked GROUP BY 1) w "
            "ON w.priority = l.code WHERE l.removed_at IS NULL ORDER BY l.code",
            p, &rows, err);
    }
    for (int i = 0; rc == RC_OK && i < pg_row_count(rows); i++) {
        table_text(t, pg_get_span(rows, i, 0));
        table_int(t, pg_get_int(rows, i, 1));
        table_text(t, pg_get_span(rows, i, 2));
        table_text(t, pg_get_span(rows, i, 3));
        table_int(t, pg_get_int(rows, i, 4));
        table_text(t, pg_get_span(rows, i, 5));
    }
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    pg_rows_free(rows);
    pg_params_free(p);
    table_free(t);
    return rc;
}

/* ---- what they share ---------------------------------------------------------------------- */

struct change {
    struct span name, app, task; /* app, task: absent allowed */
    struct lane_set lanes;       /* as they are, once `begin` has read them */
    struct kafka_topic_state topic;
    int64_t code;
};

static enum rc read_rule(const struct opts *o, const char *option, struct span *ret,
                         struct err *err)
{
    const char *text = opts_text(o, option, NULL);
    if (text && (!*text || strlen(text) >= LANE_RULE_BYTES))
        return err_set(err, RC_REJECT, "--%s: 1 to %d bytes", option, LANE_RULE_BYTES - 1);
    *ret = text ? span_of(text) : (struct span){0};
    return RC_OK;
}

static enum rc read_change(struct ctx *ctx, bool rules, struct change *c, struct err *err)
{
    c->name = span_of(ctx->opts.args[0]);
    if (!lane_name_ok(c->name))
        return err_set(
            err, RC_REJECT,
            "'%.64s' is no name of a lane: lower-case letters, digits and '-', not first, "
            "32 at most",
            ctx->opts.args[0]);
    enum rc rc = rules ? read_rule(&ctx->opts, "app", &c->app, err) : RC_OK;
    return rc == RC_OK && rules ? read_rule(&ctx->opts, "task", &c->task, err) : rc;
}

/* A transaction in which nobody else changes lanes, and the lanes as they are. */
static enum rc begin(struct ctx *ctx, struct change *c, struct err *err)
{
    enum rc rc = ctx_begin(ctx, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('inferq lanes'))", NULL, NULL,
                      err);
    return rc == RC_OK ? lanes_read(ctx, &c->lanes, err) : rc;
}

/* No two lanes for the same jobs. */
static enum rc check_rule(const struct change *c, struct err *err)
{
    for (int i = 0; (c->app.p || c->task.p) && i < c->lanes.count; i++) {
        const struct lane_entry *lane = &c->lanes.lanes[i];
        if (span_is(c->name, lane->name) || strcmp(lane->app, c->app.p ? c->app.p : "") != 0 ||
            strcmp(lane->task, c->task.p ? c->task.p : "") != 0)
            continue;
        return err_set(
            err, RC_REJECT,
            "these jobs go to lane %s already: `inferq lane assign %s` without --app and "
            "--task ends that",
            lane->name, lane->name);
    }
    return RC_OK;
}

static const char *rule_text(const struct change *c, char out[DETAIL_BYTES])
{
    if (!c->app.p && !c->task.p)
        (void)snprintf(out, DETAIL_BYTES, "jobs that name it");
    else
        (void)snprintf(out, DETAIL_BYTES, "jobs that name it, and those of %s%.*s%s%s%.*s",
                       c->app.p ? "app " : "", (int)c->app.n, c->app.p ? c->app.p : "",
                       c->app.p && c->task.p ? ", " : "", c->task.p ? "task " : "", (int)c->task.n,
                       c->task.p ? c->task.p : "");
    return out;
}

static enum rc say_json(const struct change *c, const char *state, struct err *err)
{
    struct buf out;
    buf_init(&out, 4096);
    struct jsonw w = {.out = &out};
    jsonw_open(&w, '{');
    jsonw_key(&w, "lane");
    jsonw_text(&w, c->name);
    jsonw_key(&w, "code");
    jsonw_int(&w, c->code);
    jsonw_key(&w, "state");
    jsonw_text(&w, span_of(state));
    jsonw_key(&w, "app");
    jsonw_text(&w, c->app);
    jsonw_key(&w, "task");
    jsonw_text(&w, c->task);
    jsonw_close(&w, '}');
    buf_add_byte(&out, '\n');
    enum rc rc = out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

/* The statement, which gives the code, and its audit row. */
static enum rc write_change(struct ctx *ctx, struct change *c, const char *sql, bool rules,
                            const char *action, struct err *err)
{
    char detail[DETAIL_BYTES], rule[DETAIL_BYTES];
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_text(p, c->name);
    if (rules) {
        pg_add_text(p, c->app);
        pg_add_text(p, c->task);
    }
    rc = ctx_exec(ctx, sql, p, &rows, err);
    if (rc == RC_OK && pg_row_count(rows) == 1)
        c->code = pg_get_int(rows, 0, 0);
    const char *reason = opts_text(&ctx->opts, "reason", "");
    (void)snprintf(detail, sizeof detail, "%.250s%s%.200s", rules ? rule_text(c, rule) : "",
                   rules && *reason ? "; " : "", reason);
    if (rc == RC_OK)
        rc = audit(ctx, action, c->name.p, detail, err);
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

/* ---- lane add ----------------------------------------------------------------------------- */

/* *ret_there: it is just so already, and only its topic is seen to. */
static enum rc check_new(struct change *c, bool *ret_there, struct err *err)
{
    const struct lane_entry *lane = lane_set_find(&c->lanes, c->name);
    bool same = lane && strcmp(lane->app, c->app.p ? c->app.p : "") == 0 &&
                strcmp(lane->task, c->task.p ? c->task.p : "") == 0;
    if (lane && !same)
        return err_set(err, RC_REJECT,
                       "there is a lane '%s' already, of other jobs: `inferq lane assign` says "
                       "whose jobs go there",
                       lane->name);
    if (!lane && c->lanes.count == LANE_SET_MAX)
        return err_set(err, RC_REJECT,
                       "there are %d lanes, and no more are possible: `inferq lane "
                       "remove` one that is not needed",
                       c->lanes.count);
    *ret_there = same;
    c->code = same ? lane->code : 0;
    return same ? RC_OK : check_rule(c, err);
}

/* One that was removed gets back its code. */
static const char add_sql[] =
    "INSERT INTO lane (code, name, app, task) "
    "SELECT coalesce((SELECT code FROM lane WHERE name = $1), "
    "                (SELECT max(code) + 1 FROM lane)::int2), $1, $2, $3 "
    "ON CONFLICT (name) DO UPDATE SET app = excluded.app, task = excluded.task, "
    " added_at = now(), removed_at = NULL RETURNING code";

enum rc lane_add(struct ctx *ctx, struct err *err)
{
    struct change c = {0};
    char rule[DETAIL_BYTES];
    bool there = false;
    enum rc rc = read_change(ctx, true, &c, err);
    if (rc != RC_OK)
        return rc;
    rc = begin(ctx, &c, err);
    if (rc == RC_OK)
        rc = check_new(&c, &there, err);
    if (rc == RC_OK)
        rc = lane_topic_ensure(ctx, c.name.p, &c.topic, err);
    if (rc == RC_OK && !there)
        rc = write_change(ctx, &c, add_sql, true, "lane add", err);
    rc = ctx->conn ? ctx_end(ctx, rc, err) : rc;
    if (rc == RC_OK && opts_set(&ctx->opts, "json"))
        return say_json(&c, there ? "exists" : "added", err);
    return rc == RC_OK
               ? out_writef(err,
                            "lane %s: %s, for %s\ntopic %s.jobs.%s: %s, %d partitions\n"
                            "Workers serve it when they have started anew (those with a setting "
                            "`lanes`, if it names it).\n",
                            c.name.p, there ? "is there" : "added", rule_text(&c, rule),
                            config_text(ctx->config, "prefix"), c.name.p,
                            c.topic.created ? "made" : "was there", c.topic.partitions)
               : rc;
}

/* ---- lane assign -------------------------------------------------------------------------- */

enum rc lane_assign(struct ctx *ctx, struct err *err)
{
    struct change c = {0};
    char rule[DETAIL_BYTES];
    enum rc rc = read_change(ctx, true, &c, err);
    if (rc != RC_OK)
        return rc;
    rc = begin(ctx, &c, err);
    if (rc == RC_OK && !lane_set_find(&c.lanes, c.name))
        rc = lane_set_unknown(&c.lanes, c.name, err);
    if (rc == RC_OK)
        rc = check_rule(&c, err);
    if (rc == RC_OK)
        rc = write_change(ctx, &c,
                          "UPDATE lane SET app = $2, task = $3 WHERE name = $1 RETURNING code",
                          true, "lane assign", err);
    rc = ctx->conn ? ctx_end(ctx, rc, err) : rc;
    if (rc == RC_OK && opts_set(&ctx->opts, "json"))
        return say_json(&c, "assigned", err);
    return rc == RC_OK ? out_writef(err, "lane %s: for %s, from the next submit on\n", c.name.p,
                                    rule_text(&c, rule))
                       : rc;
}

/* ---- lane remove -------------------------------------------------------------------------- */

/* Of one lane's topic, what the group has not passed; 0 also where the topic is gone. */
static int64_t left_of(const struct kafka_parts *parts, const char *topic)
{
    int64_t left = 0;
    for (int i = 0; i < parts->count; i++) {
        const struct kafka_part *part = &parts->all[i];
        if (strcmp(part->topic, topic) != 0)
            continue;
        int64_t from = part->committed > part->low ? part->committed : part->low;
        left += part->high > from ? part->high - from : 0;
    }
    return left;
}

static enum rc check_topic(struct ctx *ctx, const struct change *c, struct err *err)
{
    struct kafka_producer *producer = NULL;
    struct kafka_parts parts = {0};
    char topic[KAFKA_TOPIC_BYTES];
    (void)snprintf(topic, sizeof topic, "%s.jobs.%s", config_text(ctx->config, "prefix"),
                   c->name.p);
    enum rc rc = lane_topics_open(ctx, "inferq-lane", &producer, err);
    if (rc == RC_OK)
        rc = lane_topics_read(ctx, producer, NULL, &parts, err);
    int64_t left = left_of(&parts, topic);
    if (rc == RC_OK && left > 0)
        rc = err_set(err, RC_REJECT,
                     "%" PRId64 " records of its topic are not done: let workers finish them "
                     "(`inferq lane assign %s` without --app and --task sends no more there)",
                     left, c->name.p);
    kafka_parts_done(&parts);
    ctx_kafka_free(ctx, producer);
    return rc;
}

/* What Postgres knows to be under way: parked, or a batch that has not ended; one that nobody has
 * sealed counts for an hour. */
static enum rc check_rows(struct ctx *ctx, const struct change *c, struct err *err)
{
    struct pg_rows *rows = NULL;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc != RC_OK)
        return rc;
    pg_add_int(p, PG_INT2, c->code);
    rc = ctx_exec(ctx,
                  "SELECT (SELECT count(*) FROM parked WHERE priority = $1), "
                  "(SELECT count(*) FROM batch b WHERE b.priority = $1 AND CASE "
                  " WHEN b.sealed_at IS NULL THEN b.registered_at > now() - interval '1 hour' "
                  " ELSE b.total + b.requeued > (SELECT coalesce(sum(g.n), 0) FROM progress g "
                  "  WHERE g.batch_id = b.batch_id) END)",
                  p, &rows, err);
    if (rc == RC_OK && pg_get_int(rows, 0, 0) > 0)
        rc = err_set(err, RC_REJECT,
                     "%" PRId64 " of its jobs wait in Postgres: let workers finish them, or "
                     "`inferq batch cancel` theirs",
                     pg_get_int(rows, 0, 0));
    else if (rc == RC_OK && pg_get_int(rows, 0, 1) > 0)
        rc = err_set(err, RC_REJECT,
                     "%" PRId64 " batches that go there have not ended: `inferq batch list "
                     "--active` shows them",
                     pg_get_int(rows, 0, 1));
    pg_rows_free(rows);
    pg_params_free(p);
    return rc;
}

static enum rc check_empty(struct ctx *ctx, struct change *c, struct err *err)
{
    const struct lane_entry *lane = lane_set_find(&c->lanes, c->name);
    if (!lane)
        return lane_set_unknown(&c->lanes, c->name, err);
    if (lane->code < PRIORITY_COUNT)
        return err_set(err, RC_REJECT, "%s is a priority's lane, and stays", lane->name);
    c->code = lane->code;
    enum rc rc = check_rows(ctx, c, err);
    if (rc == RC_OK)
        rc = check_topic(ctx, c, err);
    return rc == RC_OK ? rc : err_prefix(err, rc, "lane %s", lane->name);
}

enum rc lane_remove(struct ctx *ctx, struct err *err)
{
    struct change c = {0};
    enum rc rc = read_change(ctx, false, &c, err);
    if (rc != RC_OK)
        return rc;
    rc = begin(ctx, &c, err);
    if (rc == RC_OK)
        rc = check_empty(ctx, &c, err);
    if (rc == RC_OK)
        rc = write_change(ctx, &c,
                          "UPDATE lane SET removed_at = now(), app = NULL, task = NULL "
                          "WHERE name = $1 RETURNING code",
                          false, "lane remove", err);
    rc = ctx->conn ? ctx_end(ctx, rc, err) : rc;
    if (rc == RC_OK && opts_set(&ctx->opts, "json"))
        return say_json(&c, "removed", err);
    return rc == RC_OK ? out_writef(err,
                                    "lane %s: removed; its topic %s.jobs.%s is yours to delete, "
                                    "once no worker that was started before is left\n",
                                    c.name.p, config_text(ctx->config, "prefix"), c.name.p)
                       : rc;
}
