/*
 * batch_watch.c - `inferq batch watch`: looks at a batch until every job of it has ended.
 *
 * On a terminal one line is redrawn; elsewhere a line is written when a number changed. A database
 * that goes away is waited for, up to a minute. A batch that is not sealed has no end yet: it is
 * watched until it is sealed and done.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "admin/fleet.h"
#include "admin/fmt.h"
#include "admin/jsonw.h"
#include "admin/out.h"
#include "common/clock.h"

enum {
    INTERVAL_DEFAULT_MS = 1000,
    PATIENCE_US = 60 * 1000000, /* with a database that does not answer */
    BAR_WIDTH = 24,
    RATE_WINDOW_US = 10 * 1000000,
};

struct watch {
    struct ctx *ctx;
    struct batch batch;
    struct progress now, shown;
    bool any_shown, terminal, json;
    int64_t away_since_us; /* 0: the database answers */
    int64_t rate_from_us, rate_from_ended;
    double per_second; /* < 0: not known yet */
    bool told_idle;    /* that nobody works */
};

static void sleep_ms(int64_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

static bool is_done(const struct progress *p)
{
    return p->accepted >= 0 && p->pending <= 0;
}

static bool differs(const struct progress *a, const struct progress *b)
{
    return a->accepted != b->accepted || a->succeeded != b->succeeded || a->dead != b->dead ||
           a->cancelled != b->cancelled || a->expired != b->expired ||
           a->cost_nusd != b->cost_nusd || a->cancel_ms != b->cancel_ms;
}

/* Asks; a broken connection is replaced until the patience ends. */
static enum rc look(struct watch *w, struct err *err)
{
    int64_t now_us = clock_mono_us();
    enum rc rc = batch_progress(w->ctx, &w->batch, &w->now, err);
    if (rc != RC_RETRY) {
        w->away_since_us = 0;
        return rc;
    }
    pgc_close(w->ctx->conn);
    w->ctx->conn = NULL;
    if (!w->away_since_us) {
        w->away_since_us = now_us;
        out_note("%s; trying again for a minute", err->text);
    }
    return now_us - w->away_since_us < PATIENCE_US ? RC_OK : rc;
}

static void update_rate(struct watch *w)
{
    int64_t now_us = clock_mono_us();
    int64_t span_us = now_us - w->rate_from_us;
    if (w->rate_from_us == 0 || span_us > RATE_WINDOW_US) {
        if (w->rate_from_us)
            w->per_second = (double)(w->now.ended - w->rate_from_ended) * 1e6 / (double)span_us;
        w->rate_from_us = now_us;
        w->rate_from_ended = w->now.ended;
    } else if (span_us >= 900000 && w->per_second < 0) { /* a first idea */
        w->per_second = (double)(w->now.ended - w->rate_from_ended) * 1e6 / (double)span_us;
    }
}

/* ---- showing ------------------------------------------------------------------------------ */

static void counts(const struct progress *p, struct buf *out)
{
    char usd[FMT_BYTES];
    if (p->accepted < 0)
        buf_addf(out, "%" PRId64 " ended, not sealed", p->ended);
    else
        buf_addf(out, "%" PRId64 "/%" PRId64, p->ended, p->accepted);
    buf_addf(out, ": %" PRId64 " succeeded, %" PRId64 " dead", p->succeeded, p->dead);
    if (p->requeued > 0)
        buf_addf(out, " (%" PRId64 " ran again)", p->requeued);
    buf_addf(out, ", %" PRId64 " cancelled, %" PRId64 " expired", p->cancelled, p->expired);
    if (p->accepted >= 0)
        buf_addf(out, ", %" PRId64 " pending", p->pending);
    if (p->cost_nusd >= 0)
        buf_addf(out, ", %s USD", fmt_usd(p->cost_nusd, usd));
    if (p->cancel_ms && !is_done(p))
        buf_add_text(out, ", cancelling");
}

static void bar(const struct progress *p, struct buf *out)
{
    int64_t full = p->accepted > 0 ? p->ended * BAR_WIDTH / p->accepted : 0;
    buf_add_byte(out, '[');
    for (int64_t i = 0; i < BAR_WIDTH; i++)
        buf_add_byte(out, i < full ? '#' : '.');
    buf_add_text(out, "] ");
}

static void rate(const struct watch *w, struct buf *out)
{
    char left[FMT_BYTES];
    if (w->per_second <= 0 || is_done(&w->now))
        return;
    buf_addf(out, ", %.0f/s", w->per_second);
    if (w->now.pending > 0)
        buf_addf(out, ", %s left",
                 fmt_duration((int64_t)((double)w->now.pending / w->per_second) * 1000000, left));
}

static void json_line(const struct watch *w, struct buf *out)
{
    struct jsonw j = {.out = out};
    const struct progress *p = &w->now;
    jsonw_open(&j, '{');
    const struct {
        const char *key;
        int64_t v;
    } fields[] = {{"accepted", p->accepted},   {"succeeded", p->succeeded}, {"dead", p->dead},
                  {"cancelled", p->cancelled}, {"expired", p->expired},     {"pending", p->pending},
                  {"cost_nusd", p->cost_nusd}, {"unpriced", p->unpriced}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        jsonw_key(&j, fields[i].key);
        bool unknown = fields[i].v < 0 && (i != 5 || p->accepted < 0);
        if (unknown)
            jsonw_null(&j);
        else
            jsonw_int(&j, fields[i].v);
    }
    jsonw_close(&j, '}');
}

static enum rc show(struct watch *w, struct err *err)
{
    if (!w->terminal && w->any_shown && !differs(&w->now, &w->shown))
        return RC_OK;
    struct buf line;
    buf_init(&line, 4096);
    if (w->json) {
        json_line(w, &line);
    } else if (w->terminal) {
        buf_add_text(&line, "\r\x1b[K"); /* back to the start, line wiped */
        bar(&w->now, &line);
        counts(&w->now, &line);
        rate(w, &line);
    } else {
        counts(&w->now, &line);
    }
    if (!w->terminal || is_done(&w->now))
        buf_add_byte(&line, '\n');
    enum rc rc = out_write(buf_span(&line), err);
    buf_done(&line);
    w->shown = w->now;
    w->any_shown = true;
    return rc == RC_OK ? out_flush(err) : rc;
}

/* A dead job that was requeued is judged by its new generation, not by its old end; one whose
 * answer a reviewer accepted has an answer. */
static bool all_succeeded(const struct progress *p)
{
    return p->succeeded + p->dead_accepted >= p->accepted - p->requeued;
}

/* ---- what to do next ---------------------------------------------------------------------- */

/* Once, when nothing has moved since the last look: a batch that nobody works on never ends. Who
 * may not read `worker` is not told. */
static void tell_idle(struct watch *w)
{
    struct err err;
    struct pg_rows *rows = NULL;
    if (w->told_idle || is_done(&w->now) ||
        ctx_exec(w->ctx,
                 "SELECT EXISTS (SELECT FROM worker w WHERE " WORKER_STATE
                 " IN ('alive', 'draining'))",
                 NULL, &rows, &err) != RC_OK)
        return;
    if (!pg_get_bool(rows, 0, 0)) {
        w->told_idle = true;
        if (w->terminal)
            (void)!out_write(SPAN_LIT("\r\x1b[K"), &err); /* the line is drawn again below it */
        out_note(
            "no worker is alive, so nothing moves: start inferq-worker; one that ends says why "
            "in its log");
    }
    pg_rows_free(rows);
}

static void tell_dead(const struct watch *w)
{
    const struct progress *p = &w->now;
    char shown[BATCH_SHOWN_BYTES];
    if (p->dead > p->requeued + p->dead_accepted)
        out_note("`inferq dead list --batch %s` says why they died", batch_shown(&w->batch, shown));
}

enum rc batch_watch(struct ctx *ctx, struct err *err)
{
    struct watch w = {.ctx = ctx, .json = opts_set(&ctx->opts, "json"), .per_second = -1};
    w.terminal = out_is_terminal() && !w.json;
    int64_t interval_ms = opts_int(&ctx->opts, "interval-ms", INTERVAL_DEFAULT_MS);
    enum rc rc = batch_find(ctx, ctx->opts.args[0], &w.batch, NULL, err);
    if (rc == RC_OK && w.batch.total < 0)
        out_note("the batch is not sealed yet: it cannot be done before it is");
    while (rc == RC_OK) {
        rc = look(&w, err);
        if (rc == RC_OK && !w.away_since_us) {
            if (!w.any_shown || !differs(&w.now, &w.shown))
                tell_idle(&w);
            update_rate(&w);
            rc = show(&w, err);
        }
        if (rc != RC_OK || (!w.away_since_us && is_done(&w.now)))
            break;
        sleep_ms(interval_ms);
    }
    if (rc == RC_OK && !all_succeeded(&w.now)) {
        ctx->exit_code = EXIT_JOBS_FAILED;
        tell_dead(&w);
    }
    batch_done(&w.batch);
    return rc;
}
