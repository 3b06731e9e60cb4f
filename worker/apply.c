/*
 * apply.c - see apply.h.
 *
 * Happy path: the connection comes up, BEGIN, then each statement that catalogue_write names, in a
 * round trip of its own, COMMIT. The path's transactions go on beside it.
 *
 * Failure modes: whatever ends it before COMMIT was answered closes the connection, and so rolls
 * back. A COMMIT whose answer is lost may have happened: the tables then know entries that this
 * worker does not use, which is harmless, and the next try finds them there. A Postgres that is
 * away is waited for, but not for long: somebody waits for the answer.
 */
#include "worker/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#include "common/catalogue_write.h"
#include "common/pg.h"

enum { STATEMENT_TIMEOUT_MS = 10 * 1000 };

struct apply {
    uv_timer_t timer;
    struct pg *pg;
    struct catalogue_write *write;
    apply_done done;
    void *arg;
    bool over;
};

static void free_closed(uv_handle_t *timer)
{
    free(timer->data);
}

static void close_all(struct apply *a, bool committed)
{
    a->over = true; /* what is pending at pg_free is answered in it */
    pg_free(a->pg);
    catalogue_write_free(a->write, committed);
    uv_close((uv_handle_t *)&a->timer, free_closed);
}

static void end(struct apply *a, enum rc rc, const struct err *err)
{
    int changes = catalogue_write_changes(a->write);
    apply_done done = a->done;
    void *arg = a->arg;
    struct err why = err ? *err : (struct err){0};
    close_all(a, rc == RC_OK);
    done(arg, rc, changes, &why);
}

static void answered(void *arg, const struct pg_answer *answer);

static enum rc ask(struct apply *a, int statement, const struct pg_params *params, struct err *err)
{
    struct pg_step step = {statement, params};
    return pg_txn(a->pg, &step, 1, answered, a, err);
}

static void committed(void *arg, const struct pg_answer *answer)
{
    struct apply *a = arg;
    if (!a->over)
        end(a, answer->rc, &answer->err);
}

static void send_next(struct apply *a)
{
    struct err err = {0};
    struct pg_step commit = {CATALOGUE_WRITE_COMMIT, NULL};
    int statement = -1;
    const struct pg_params *params = NULL;
    enum rc rc = catalogue_write_next(a->write, &statement, &params, &err);
    if (rc == RC_OK)
        rc = statement >= 0 ? ask(a, statement, params, &err)
                            : pg_txn(a->pg, &commit, 1, committed, a, &err);
    if (rc != RC_OK)
        end(a, rc, &err);
}

static void answered(void *arg, const struct pg_answer *answer)
{
    struct apply *a = arg;
    struct err err = answer->err;
    if (a->over)
        return;
    enum rc rc = answer->rc;
    if (rc == RC_OK)
        rc = catalogue_write_take(a->write, answer->rows[0], &err);
    if (rc == RC_OK)
        send_next(a);
    else
        end(a, rc, &err);
}

static void begun(void *arg, const struct pg_answer *answer)
{
    struct apply *a = arg;
    if (a->over)
        return;
    if (answer->rc == RC_OK)
        send_next(a);
    else
        end(a, answer->rc, &answer->err);
}

static void on_up(void *arg)
{
    struct apply *a = arg;
    struct err err = {0};
    struct pg_step begin = {CATALOGUE_WRITE_BEGIN, NULL};
    enum rc rc = pg_txn(a->pg, &begin, 1, begun, a, &err);
    if (rc != RC_OK)
        end(a, rc, &err);
}

/* What was pending is answered next, and ends it; nothing is pending between on_up's txn and the
 * last one's answer but then. */
static void on_down(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void on_time(uv_timer_t *timer)
{
    struct err err = {0};
    enum rc rc = err_set(&err, RC_RETRY, "Postgres did not take the catalogue within %d s",
                         (int)(APPLY_TIME_US / 1000000));
    end(timer->data, rc, &err);
}

enum rc apply_new(struct uv_loop_s *loop, const char *conninfo, struct catalogue *cat,
                  const char *actor, apply_done done, void *arg, struct apply **ret_apply,
                  struct err *err)
{
    struct apply *a = calloc(1, sizeof *a);
    struct catalogue_write *write = catalogue_write_new(cat, actor);
    if (!a || !write || uv_timer_init(loop, &a->timer) != 0) {
        catalogue_write_free(write, true); /* nothing was asked: its ids are as they were */
        free(a);
        return err_set(err, RC_NOMEM, "no memory to apply the catalogue");
    }
    a->timer.data = a;
    a->write = write;
    a->done = done;
    a->arg = arg;
    struct pg_conf conf = {
        .conninfo = conninfo,
        .name = "catalogue",
        .statements = catalogue_write_statements,
        .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
        .arg = a,
        .on_up = on_up,
        .on_down = on_down,
    };
    a->pg = pg_new(loop, &conf, err);
    if (!a->pg) {
        close_all(a, true);
        return RC_REJECT;
    }
    uv_timer_start(&a->timer, on_time, APPLY_TIME_US / 1000, 0);
    *ret_apply = a;
    return RC_OK;
}

void apply_free(struct apply *a)
{
    if (a)
        close_all(a, false);
}
