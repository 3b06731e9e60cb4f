/*
 * top.c - `inferq top`: a live view of the fleet, refreshed until q is pressed.
 *
 * Happy path: look (top_ask.c), render (top_render.c), show (screen.c), wait for a key. Each look
 * waits at least nine times as long as the last one took, so that the view never takes more than a
 * tenth of one of Postgres's processes, whatever the tables hold. With --once one look is printed
 * as text. Failure: a database that goes away while the view runs is shown as such and asked again;
 * at the start it ends the command, as for all others.
 */
#include "admin/top.h"

#include <string.h>

#include "admin/cmd.h"
#include "admin/out.h"
#include "admin/screen.h"

enum { INTERVAL_DEFAULT_MS = 2000, REST = 9, ONCE_WIDTH = 200, PAGE_BYTES_MAX = 1 << 20 };

struct view {
    struct ctx *ctx;
    struct screen *screen;
    struct top_kafka *kafka;
    struct top_facts facts;
    struct buf page;
    int64_t interval_ms;
};

/* A database that is away is said on the screen; anything else ends the view. */
static enum rc look(struct view *v, struct err *err)
{
    enum rc rc = top_look(v->ctx, &v->facts, err);
    top_kafka_look(v->kafka, &v->facts);
    if (rc != RC_RETRY)
        return rc;
    size_t n = strcspn(err->text, "\n");
    n = n < sizeof v->facts.away - 1 ? n : sizeof v->facts.away - 1;
    memcpy(v->facts.away, err->text, n);
    v->facts.away[n] = '\0';
    return RC_OK;
}

static enum rc show(struct view *v, struct err *err)
{
    int width = 0, height = 0;
    screen_size(v->screen, &width, &height);
    buf_reset(&v->page);
    enum rc rc = top_render(&v->facts, width, height, &v->page, err);
    if (rc == RC_OK)
        screen_show(v->screen, buf_span(&v->page));
    return rc;
}

/* Until the next look is due, or the end. */
static enum rc serve_keys(struct view *v, bool *ret_goes_on, struct err *err)
{
    for (;;) {
        int64_t rest_ms = REST * v->facts.took_us / 1000;
        int64_t wait_ms = v->interval_ms > rest_ms ? v->interval_ms : rest_ms;
        int key = screen_key(v->screen, wait_ms);
        if (key == 'q' || key == SCREEN_ENDED) {
            *ret_goes_on = false;
            return RC_OK;
        }
        if (key == 'p')
            v->facts.held = !v->facts.held;
        bool due = key == SCREEN_NOTHING || key == ' ';
        if ((due || key == 'p') && !v->facts.held)
            return RC_OK;
        enum rc rc = due ? RC_OK : show(v, err);
        if (rc != RC_OK)
            return rc;
    }
}

static enum rc live(struct view *v, struct err *err)
{
    bool goes_on = true;
    enum rc rc = screen_new(&v->screen, err);
    while (rc == RC_OK && goes_on) {
        rc = show(v, err);
        if (rc == RC_OK)
            rc = serve_keys(v, &goes_on, err);
        if (rc == RC_OK && goes_on)
            rc = look(v, err);
    }
    screen_free(v->screen);
    return rc;
}

static enum rc once(struct view *v, struct err *err)
{
    enum rc rc = top_render(&v->facts, ONCE_WIDTH, 0, &v->page, err);
    return rc == RC_OK ? out_write(buf_span(&v->page), err) : rc;
}

enum rc top(struct ctx *ctx, struct err *err)
{
    struct view v = {.ctx = ctx,
                     .interval_ms = opts_int(&ctx->opts, "interval-ms", INTERVAL_DEFAULT_MS)};
    buf_init(&v.page, PAGE_BYTES_MAX);
    enum rc rc = top_look(ctx, &v.facts, err);
    v.kafka = rc == RC_OK ? top_kafka_new(ctx) : NULL;
    top_kafka_look(v.kafka, &v.facts);
    if (rc == RC_OK)
        rc = opts_set(&ctx->opts, "once") ? once(&v, err) : live(&v, err);
    top_kafka_free(v.kafka);
    buf_done(&v.page);
    return rc;
}
