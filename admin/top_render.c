/*
 * top_render.c - what `inferq top` found, as lines of text (pure).
 *
 * Happy path: a head of two lines, the limits that hold the fleet, then the sections: lanes, calls
 * by outcome, endpoints, workers, batches. Lists that are too long for the screen are cut evenly,
 * the longest first. A screen that holds not even the head shows as much of it as fits.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin/fmt.h"
#include "admin/table.h"
#include "admin/top.h"
#include "common/clock.h"
#include "common/codes.h"

enum {
    LINE_BYTES = 512,
    LISTS = 3,
    BAR = 16,
    FIXED_LINES = 7 /* beside lanes and lists */,
    LIMITS = 3
};

struct page {
    struct buf *out;
    int width, left; /* columns; lines that still fit, < 0: any number */
};

static void PRINTF_LIKE(2, 3) line(struct page *p, const char *fmt, ...)
{
    char text[LINE_BYTES];
    va_list args;
    if (p->left == 0)
        return;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    (void)table_clean((struct span){text, bytes}, p->width, p->out);
    buf_add_byte(p->out, '\n');
    p->left -= p->left > 0;
}

/* Per second of the window. */
static double rate(int64_t n)
{
    return (double)n / TOP_WINDOW_S;
}

/* A count that is counted no further. */
static const char *counted(int64_t n, char out[FMT_BYTES])
{
    (void)snprintf(out, FMT_BYTES, "%" PRId64 "%s", n, n >= TOP_COUNT_MAX ? "+" : "");
    return out;
}

static void head(struct page *p, const struct top_facts *f)
{
    char usd[FMT_BYTES], took[FMT_BYTES], at[CLOCK_RFC3339_BYTES];
    clock_rfc3339(f->at_ms, at, sizeof at);
    if (f->away[0])
        line(p, "inferq top  Postgres does not answer: %s", f->away);
    else
        line(p, "inferq top  %s  asked in %s%s", at, fmt_duration(f->took_us, took),
             f->held ? "  HELD: p goes on" : "");
    line(p, "%d worker%s  %" PRId64 " call%s in flight  %.1f jobs/s  %.1f calls/s  %s USD/min%s",
         f->worker_count, f->worker_count == 1 ? "" : "s", f->in_flight,
         f->in_flight == 1 ? "" : "s", rate(f->ended), rate(f->calls),
         fmt_usd(f->cost_nusd * 60 / TOP_WINDOW_S, usd),
         f->unpriced ? "  and calls of unknown cost" : "");
    line(p, "%s", "");
}

/* Limits that hold the fleet: LIMITS of them, and how many more; then a line of its own. */
static int limit_lines(const struct top_facts *f)
{
    int shown = f->limits.count < LIMITS ? f->limits.count : LIMITS;
    return shown ? shown + (shown < f->limits.count) + 1 : 0;
}

static void limits(struct page *p, const struct top_facts *f)
{
    for (int i = 0; i < f->limits.count && i < LIMITS; i++) {
        struct buf text;
        buf_init(&text, LINE_BYTES);
        held_line(&f->limits.all[i], &text);
        line(p, "LIMIT  %.*s", (int)text.n, text.p);
        buf_done(&text);
    }
    if (f->limits.count > LIMITS)
        line(p, "  and %d%s more", f->limits.count - LIMITS, f->limits.more ? "+" : "");
    if (f->limits.count)
        line(p, "%s", "");
}

static void lanes(struct page *p, const struct top_facts *f)
{
    char lag[FMT_BYTES], waiting[FMT_BYTES], due[FMT_BYTES];
    int wide = 8;
    for (int i = 0; i < f->lane_count; i++) {
        int n = (int)strlen(f->lanes[i].name);
        wide = n > wide ? n : wide;
    }
    line(p, "%-*s %10s %10s %10s %10s", wide, "LANE", "LAG", "JOBS/S", "PARKED", "DUE");
    for (int i = 0; i < f->lane_count; i++) {
        (void)snprintf(lag, sizeof lag, "%" PRId64, f->lanes[i].lag);
        line(p, "%-*s %10s %10.1f %10s %10s", wide, f->lanes[i].name,
             f->lanes[i].lag < 0 ? "-" : lag, rate(f->lanes[i].ended),
             counted(f->lanes[i].waiting, waiting), counted(f->lanes[i].due, due));
    }
    line(p, "%s", "");
}

static void classes(struct page *p, const struct top_facts *f)
{
    char text[LINE_BYTES] = "";
    size_t n = 0;
    for (int i = 0; i < f->class_count && n < sizeof text; i++) {
        int more = snprintf(text + n, sizeof text - n, "  %s %.1f/s",
                            class_name(f->classes[i].class), rate(f->classes[i].calls));
        n += more > 0 ? (size_t)more : 0;
    }
    line(p, "CALLS %s", f->class_count ? text : " none ended");
    line(p, "%s", "");
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void more(struct page *p, int shown, int count)
{
    if (shown < count)
        line(p, "  and %d more", count - shown);
}

static const char *state_of(const struct top_endpoint *e, char out[LINE_BYTES])
{
    char left[FMT_BYTES];
    if (e->paused_by[0])
        (void)snprintf(out, LINE_BYTES, "paused by %s", e->paused_by);
    else if (e->closed_ms > 0)
        (void)snprintf(out, LINE_BYTES, "closed for %s (%s)",
                       fmt_duration(e->closed_ms * 1000, left), class_name(e->closed_for));
    else
        (void)snprintf(out, LINE_BYTES, "%s", e->probed ? "probed" : "open");
    return out;
}

static void endpoints(struct page *p, const struct top_facts *f, int shown)
{
    char waiting[FMT_BYTES], state[LINE_BYTES];
    line(p, "%-24s %11s %9s %9s %8s  %s", "ENDPOINT", "IN FLIGHT", "CALLS/S", "FAILED/S", "PARKED",
         "STATE");
    for (int i = 0; i < shown; i++) {
        const struct top_endpoint *e = &f->endpoints[i];
        char flight[FMT_BYTES];
        (void)snprintf(flight, sizeof flight, "%" PRId64 "/%d", e->in_flight, e->max_in_flight);
        line(p, "%-24.24s %11s %9.1f %9.1f %8s  %s", e->name, flight, rate(e->calls),
             rate(e->failed), counted(e->waiting, waiting), state_of(e, state));
    }
    more(p, shown, f->endpoint_count);
    line(p, "%s", "");
}

static void workers(struct page *p, const struct top_facts *f, int shown)
{
    line(p, "%-8s %-20s %-9s %9s %9s %9s  %s", "WORKER", "HOST:PID", "STATE", "IN FLIGHT",
         "CALLS/S", "LEASE", "BUILD");
    for (int i = 0; i < shown; i++) {
        const struct top_worker *w = &f->workers[i];
        char host[LINE_BYTES], lease[FMT_BYTES];
        (void)snprintf(host, sizeof host, "%.13s:%d", w->host, w->pid);
        (void)snprintf(lease, sizeof lease, "%.1f s", (double)w->lease_left_ms / 1e3);
        line(p, "%-8" PRId64 " %-20s %-9s %9" PRId64 " %9.1f %9s  %s", w->id, host, w->state,
             w->in_flight, rate(w->calls), lease, w->build);
    }
    more(p, shown, f->worker_count);
    line(p, "%s", "");
}

static void bar(const struct top_batch *b, char out[BAR + 1])
{
    int64_t full = b->accepted > 0 ? b->ended * BAR / b->accepted : 0;
    for (int i = 0; i < BAR; i++)
        out[i] = i < full ? '#' : '.';
    out[BAR] = '\0';
}

static void batches(struct page *p, const struct top_facts *f, int shown)
{
    line(p, "%-28s %-16s %15s %6s %9s  %s", "BATCH", "", "ENDED", "DEAD", "JOBS/S", "LEFT");
    for (int i = 0; i < shown; i++) {
        const struct top_batch *b = &f->batches[i];
        char ended[FMT_BYTES], left[FMT_BYTES] = "-", done[BAR + 1];
        bar(b, done);
        if (b->accepted < 0)
            (void)snprintf(ended, sizeof ended, "%" PRId64 "/?", b->ended);
        else
            (void)snprintf(ended, sizeof ended, "%" PRId64 "/%" PRId64, b->ended, b->accepted);
        if (b->recent > 0 && b->accepted >= 0)
            fmt_duration((int64_t)((double)b->pending / rate(b->recent)) * 1000000, left);
        line(p, "%-28.28s %s %15s %6" PRId64 " %9.1f  %s", b->name, done, ended, b->dead,
             rate(b->recent), left);
    }
    more(p, shown, f->batch_count);
}

/* How many of each list are shown, beside so many other lines: the longest gives up one after the
 * other until all fit, and one line more for "and N more" where some are left out. */
static void cut(int height, int others, const int *counts, int *shown)
{
    for (int i = 0; i < LISTS; i++)
        shown[i] = counts[i];
    for (;;) {
        int lines = FIXED_LINES + others + LISTS - 1, longest = 0;
        for (int i = 0; i < LISTS; i++) {
            lines += 1 + shown[i] + (shown[i] < counts[i]);
            longest = shown[i] > shown[longest] ? i : longest;
        }
        if (height <= 0 || lines <= height || shown[longest] == 0)
            return;
        shown[longest]--;
    }
}

enum rc top_render(const struct top_facts *facts, int width, int height, struct buf *out,
                   struct err *err)
{
    struct page page = {.out = out, .width = width, .left = height > 0 ? height : -1};
    int shown[LISTS];
    cut(height, facts->lane_count + limit_lines(facts),
        (int[LISTS]){facts->endpoint_count, facts->worker_count, facts->batch_count}, shown);
    head(&page, facts);
    limits(&page, facts);
    lanes(&page, facts);
    classes(&page, facts);
    endpoints(&page, facts, shown[0]);
    workers(&page, facts, shown[1]);
    batches(&page, facts, shown[2]);
    return out->failed ? err_set(err, RC_NOMEM, "no memory for the screen") : RC_OK;
}
