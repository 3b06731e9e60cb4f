/*
 * dead_show.c - `inferq dead show`: one dead letter: why, where it came from, the job in it.
 *
 * The payload may be anything (a letter without a job holds bytes that are none): it is decoded
 * where it can be, and `--payload` writes it as it is.
 */
#include <inttypes.h>

#include "admin/cmd.h"
#include "admin/dead_filter.h"
#include "admin/fmt.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "common/clock.h"
#include "common/codes.h"
#include "common/job_msg.h"

enum { OUTPUT_BYTES_MAX = 96 << 20 };

struct shown {
    struct pg_rows *rows;   /* owned */
    struct pg_rows *events; /* at, actor, action, new_job_id, detail; owned */
    struct pg_rows *edited; /* body, where it was edited; owned */
    bool is_job;
    struct job_msg msg; /* is_job; points into rows */
    struct err why_no_job;
};

enum { /* the columns of letter_sql */
       DEAD_ID,
       DIED,
       JOB_ID,
       BATCH_ID,
       BATCH,
       CUSTOM_ID,
       GENERATION,
       CLASS,
       STATE,
       ATTEMPTS,
       MODEL,
       REASON,
       TOPIC,
       PARTITION,
       OFFSET,
       RECORD_AT,
       PUBLISHED,
       PAYLOAD,
       APP,
       TASK,
       TEAM
};
static const char letter_sql[] =
    "SELECT d.dead_id, d.created_at, d.job_id, d.batch_id, b.app || '/' || b.name, d.custom_id, "
    "d.generation, d.class, d.state, d.attempts, d.model_version, d.reason, d.topic, d.partition, "
    "d.record_offset, d.record_at, d.published_at, d.payload, d.app, d.task, d.team "
    "FROM dead_letter d LEFT JOIN batch b USING (batch_id) WHERE d.dead_id = $1";

static enum rc read_letter(struct ctx *ctx, struct shown *l, struct err *err)
{
    int64_t id = 0;
    int class;
    struct pg_params *p = pg_params_new();
    enum rc rc = cmd_have(p, err);
    if (rc == RC_OK)
        rc = dead_id_parse(ctx->opts.args[0], &id, err);
    if (rc != RC_OK)
        goto out;
    pg_add_int(p, PG_INT8, id);
    rc = ctx_exec(ctx, letter_sql, p, &l->rows, err);
    if (rc == RC_OK && pg_row_count(l->rows) == 0)
        rc = err_set(err, RC_REJECT, "there is no dead letter %" PRId64, id);
    if (rc == RC_OK)
        rc = ctx_exec(ctx,
                      "SELECT at, actor, action, new_job_id, detail FROM review_event "
                      "WHERE dead_id = $1 ORDER BY event_id",
                      p, &l->events, err);
    if (rc == RC_OK)
        rc = ctx_exec(ctx, "SELECT body FROM edited WHERE dead_id = $1", p, &l->edited, err);
    if (rc != RC_OK)
        goto out;
    struct span payload = pg_get_span(l->rows, 0, PAYLOAD);
    l->is_job = job_msg_decode(payload.p, payload.n, &l->msg, &class, &l->why_no_job) == RC_OK;
out:
    pg_params_free(p);
    return rc;
}

/* ---- for people --------------------------------------------------------------------------- */

static void line(struct buf *out, const char *name, struct span value)
{
    if (!value.p)
        return;
    buf_addf(out, "%-16s ", name);
    table_clean(value, 0, out);
    buf_add_byte(out, '\n');
}

static void line_int(struct buf *out, const char *name, int64_t v)
{
    buf_addf(out, "%-16s %" PRId64 "\n", name, v);
}

static void line_time(struct buf *out, const char *name, int64_t unix_ms)
{
    char text[CLOCK_RFC3339_BYTES];
    if (unix_ms == 0)
        return;
    clock_rfc3339(unix_ms, text, sizeof text);
    line(out, name, span_of(text));
}

static void line_id(struct buf *out, const char *name, const struct jobid *id)
{
    char text[ID_TEXT_BYTES];
    jobid_text(id, text);
    line(out, name, span_of(text));
}

static void write_head(const struct shown *l, struct buf *out)
{
    const struct pg_rows *r = l->rows;
    struct jobid job = pg_get_uuid(r, 0, JOB_ID);
    line_int(out, "dead letter", pg_get_int(r, 0, DEAD_ID));
    line(out, "state", span_of(dead_state_name((int)pg_get_int(r, 0, STATE))));
    line(out, "class", span_of(class_name((int)pg_get_int(r, 0, CLASS))));
    line(out, "reason", pg_get_span(r, 0, REASON));
    line_int(out, "calls", pg_get_int(r, 0, ATTEMPTS));
    line(out, "model version", pg_get_span(r, 0, MODEL));
    line_time(out, "died", pg_get_time_ms(r, 0, DIED));
    if (pg_null(r, 0, JOB_ID))
        line(out, "job", SPAN_LIT("none: the record is no job that can be trusted"));
    else
        line_id(out, "job", &job);
    line(out, "batch", pg_get_span(r, 0, BATCH));
    line(out, "custom id", pg_get_span(r, 0, CUSTOM_ID));
    if (!pg_null(r, 0, TOPIC))
        buf_addf(out, "%-16s %.*s partition %" PRId64 " offset %" PRId64 "\n", "record",
                 (int)pg_get_span(r, 0, TOPIC).n, pg_get_span(r, 0, TOPIC).p,
                 pg_get_int(r, 0, PARTITION), pg_get_int(r, 0, OFFSET));
    line_time(out, "recorded", pg_get_time_ms(r, 0, RECORD_AT));
    line_time(out, "published", pg_get_time_ms(r, 0, PUBLISHED));
}

static const char *output_name(enum output_kind kind)
{
    switch (kind) {
    case OUTPUT_JSON:
        return "json";
    case OUTPUT_LABEL:
        return "label";
    case OUTPUT_TEXT:
    default:
        return "text";
    }
}

static void write_job(const struct job_msg *m, struct buf *out)
{
    char usd[FMT_BYTES];
    buf_add_text(out, "\nthe job\n");
    line(out, "  app", m->app);
    line(out, "  batch", m->batch);
    line(out, "  custom id", m->custom_id);
    line(out, "  task", m->task);
    line(out, "  team", m->team);
    line_int(out, "  generation", m->generation);
    line(out, "  priority", span_of(m->priority < 0 ? NULL : priority_name(m->priority)));
    line(out, "  url", m->url);
    line(out, "  output", span_of(output_name(m->output_kind)));
    if (m->output_kind == OUTPUT_JSON)
        line(out, "  schema", m->output_schema);
    for (uint32_t i = 0; m->output_kind == OUTPUT_LABEL && i < m->output_label_count; i++)
        line(out, i ? "" : "  labels", job_msg_label(m, i));
    line(out, "  prompt version", m->prompt_version);
    line(out, "  context", m->context_version);
    line(out, "  sensitivity", m->sensitivity);
    line_time(out, "  created", m->created_at_ms);
    line_time(out, "  deadline", m->deadline_ms);
    if (m->max_attempts)
        line_int(out, "  max attempts", m->max_attempts);
    if (m->max_cost_nusd >= 0)
        line(out, "  max cost, USD", span_of(fmt_usd(m->max_cost_nusd, usd)));
    line(out, "  body", m->body);
}

static void write_events(const struct shown *l, struct buf *out)
{
    const struct pg_rows *e = l->events;
    for (int i = 0; i < pg_row_count(e); i++) {
        char at[CLOCK_RFC3339_BYTES], id[ID_TEXT_BYTES];
        struct jobid new_job = pg_get_uuid(e, i, 3);
        clock_rfc3339(pg_get_time_ms(e, i, 0), at, sizeof at);
        jobid_text(&new_job, id);
        buf_addf(out, "%s%s  ", i ? "" : "\n", at);
        table_clean(pg_get_span(e, i, 2), 0, out);
        buf_add_text(out, " by ");
        table_clean(pg_get_span(e, i, 1), 0, out);
        if (!pg_null(e, i, 3))
            buf_addf(out, ", as job %s", id);
        if (pg_get_span(e, i, 4).n) {
            buf_add_text(out, ": ");
            table_clean(pg_get_span(e, i, 4), 0, out);
        }
        buf_add_byte(out, '\n');
    }
}

static void write_text(const struct shown *l, struct buf *out)
{
    int64_t id = pg_get_int(l->rows, 0, DEAD_ID);
    int state = (int)pg_get_int(l->rows, 0, STATE);
    write_head(l, out);
    if (l->is_job)
        write_job(&l->msg, out);
    else
        buf_addf(out,
                 "\nthe record is no job: %s\nits %zu bytes: `inferq dead show %" PRId64
                 " --payload`\n",
                 l->why_no_job.text, pg_get_span(l->rows, 0, PAYLOAD).n, id);
    write_events(l, out);
    if (pg_row_count(l->edited)) {
        buf_add_text(out, "\nthe body that it runs with since\n");
        line(out, "  body", pg_get_span(l->edited, 0, 0));
    }
    if (l->is_job && !pg_null(l->rows, 0, JOB_ID) && (state == DEAD_OPEN || state == DEAD_CLAIMED))
        buf_addf(out,
                 "\nto run it again: inferq dead requeue %" PRId64 " (or edit, accept, discard)\n",
                 id);
}

/* ---- for programs ------------------------------------------------------------------------- */

static void key_text(struct jsonw *w, const char *key, struct span s)
{
    jsonw_key(w, key);
    jsonw_text(w, s);
}

static void key_int(struct jsonw *w, const char *key, int64_t v, bool null)
{
    jsonw_key(w, key);
    if (null)
        jsonw_null(w);
    else
        jsonw_int(w, v);
}

static void key_time(struct jsonw *w, const char *key, int64_t unix_ms)
{
    jsonw_key(w, key);
    jsonw_time(w, unix_ms);
}

static void key_id(struct jsonw *w, const char *key, const struct pg_rows *r, int row, int col)
{
    struct jobid id = pg_get_uuid(r, row, col);
    jsonw_key(w, key);
    if (pg_null(r, row, col))
        jsonw_null(w);
    else
        jsonw_id(w, &id);
}

static void json_job(struct jsonw *w, const struct job_msg *m)
{
    jsonw_open(w, '{');
    key_text(w, "app", m->app);
    key_text(w, "batch", m->batch);
    key_text(w, "custom_id", m->custom_id);
    key_text(w, "task", m->task);
    key_text(w, "team", m->team);
    key_int(w, "generation", m->generation, false);
    key_text(w, "priority", span_of(m->priority < 0 ? NULL : priority_name(m->priority)));
    key_text(w, "url", m->url);
    key_text(w, "output", span_of(output_name(m->output_kind)));
    key_text(w, "output_schema", m->output_schema);
    jsonw_key(w, "output_labels");
    jsonw_open(w, '[');
    for (uint32_t i = 0; m->output_kind == OUTPUT_LABEL && i < m->output_label_count; i++)
        jsonw_text(w, job_msg_label(m, i));
    jsonw_close(w, ']');
    key_text(w, "prompt_version", m->prompt_version);
    key_text(w, "context_version", m->context_version);
    key_text(w, "sensitivity", m->sensitivity);
    key_time(w, "created_at", m->created_at_ms);
    key_time(w, "deadline", m->deadline_ms);
    key_int(w, "max_attempts", m->max_attempts, m->max_attempts == 0);
    key_int(w, "max_cost_nusd", m->max_cost_nusd, m->max_cost_nusd < 0);
    key_text(w, "body", m->body); /* as text: it need not be JSON that others can read */
    jsonw_close(w, '}');
}

static void json_events(struct jsonw *w, const struct pg_rows *e)
{
    jsonw_open(w, '[');
    for (int i = 0; i < pg_row_count(e); i++) {
        jsonw_open(w, '{');
        key_time(w, "at", pg_get_time_ms(e, i, 0));
        key_text(w, "actor", pg_get_span(e, i, 1));
        key_text(w, "action", pg_get_span(e, i, 2));
        key_id(w, "new_job_id", e, i, 3);
        key_text(w, "detail", pg_get_span(e, i, 4));
        jsonw_close(w, '}');
    }
    jsonw_close(w, ']');
}

static void write_json(const struct shown *l, struct buf *out)
{
    const struct pg_rows *r = l->rows;
    struct jsonw w = {.out = out};
    jsonw_open(&w, '{');
    key_int(&w, "dead_id", pg_get_int(r, 0, DEAD_ID), false);
    key_text(&w, "state", span_of(dead_state_name((int)pg_get_int(r, 0, STATE))));
    key_text(&w, "class", span_of(class_name((int)pg_get_int(r, 0, CLASS))));
    key_text(&w, "reason", pg_get_span(r, 0, REASON));
    key_int(&w, "attempts", pg_get_int(r, 0, ATTEMPTS), false);
    key_text(&w, "model_version", pg_get_span(r, 0, MODEL));
    key_time(&w, "died_at", pg_get_time_ms(r, 0, DIED));
    key_id(&w, "job_id", r, 0, JOB_ID);
    key_id(&w, "batch_id", r, 0, BATCH_ID);
    key_text(&w, "batch", pg_get_span(r, 0, BATCH));
    key_text(&w, "custom_id", pg_get_span(r, 0, CUSTOM_ID));
    key_int(&w, "generation", pg_get_int(r, 0, GENERATION), pg_null(r, 0, GENERATION));
    key_text(&w, "app", pg_get_span(r, 0, APP));
    key_text(&w, "task", pg_get_span(r, 0, TASK));
    key_text(&w, "team", pg_get_span(r, 0, TEAM));
    key_text(&w, "topic", pg_get_span(r, 0, TOPIC));
    key_int(&w, "partition", pg_get_int(r, 0, PARTITION), pg_null(r, 0, PARTITION));
    key_int(&w, "offset", pg_get_int(r, 0, OFFSET), pg_null(r, 0, OFFSET));
    key_time(&w, "record_at", pg_get_time_ms(r, 0, RECORD_AT));
    key_time(&w, "published_at", pg_get_time_ms(r, 0, PUBLISHED));
    key_int(&w, "payload_bytes", (int64_t)pg_get_span(r, 0, PAYLOAD).n, false);
    jsonw_key(&w, "job");
    if (l->is_job)
        json_job(&w, &l->msg);
    else
        jsonw_null(&w);
    key_text(&w, "edited_body",
             pg_row_count(l->edited) ? pg_get_span(l->edited, 0, 0) : (struct span){0});
    jsonw_key(&w, "events");
    json_events(&w, l->events);
    jsonw_close(&w, '}');
    buf_add_byte(out, '\n');
}

static enum rc show(const struct shown *l, bool json, struct err *err)
{
    struct buf out;
    buf_init(&out, OUTPUT_BYTES_MAX);
    if (json)
        write_json(l, &out);
    else
        write_text(l, &out);
    enum rc rc = out.failed ? err_set(err, RC_NOMEM, "no memory to print the letter")
                            : out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

enum rc dead_show(struct ctx *ctx, struct err *err)
{
    struct shown l = {0};
    bool payload = opts_set(&ctx->opts, "payload"), json = opts_set(&ctx->opts, "json");
    if (payload && json)
        return err_set(err, RC_REJECT, "--payload writes bytes: it does not go with --json");
    enum rc rc = read_letter(ctx, &l, err);
    if (rc == RC_OK)
        rc = payload ? out_write(pg_get_span(l.rows, 0, PAYLOAD), err) : show(&l, json, err);
    pg_rows_free(l.rows);
    pg_rows_free(l.events);
    pg_rows_free(l.edited);
    return rc;
}
