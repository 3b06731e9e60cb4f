/*
 * store_learned.c - what calls taught about endpoints, between this worker and Postgres.
 *
 * Happy path, from the housekeeping's timer: the path is asked whether it has something to say; if
 * so, or when somebody notified, or every 5 s, one exchange leaves: a transaction of what is to be
 * said and, last, the rows of all endpoints as they then stand. One is under way at a time, and
 * five a second are the most, however many calls fail. The keeper raises lowered limits again.
 *
 * Failure modes: what an exchange that is lost said is said again, since it follows from how things
 * are. A probe that was lent is forgotten when the machine has slept (the clocks that run and stand
 * still meanwhile tell), and when this worker got another id: the lease is another's by then.
 */
#include "worker/store_learned.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/learned.h"
#include "worker/store_internal.h"

enum {
    LOOK_US = 5 * 1000 * 1000,
    APART_US = 200 * 1000,
    SAYS_MAX = 64, /* in one exchange; the others in the next */
    SLEPT_US = 500 * 1000,
    SETTLE_US = 10 * 1000 * 1000, /* between two steps down of a multiplier */
    RAISE_US = 10 * 1000 * 1000,  /* a step up after so long without a 429 */
    KINDS = SQL_LEARNED_LOWER - SQL_LEARNED + 1,
};

struct store_learned {
    struct learned_say says[SAYS_MAX];
    int count;
    struct pg_params *params[KINDS]; /* by statement, from SQL_LEARNED on */
    int64_t worker_id;               /* whose probes are known here */
    int64_t slept_us;                /* since the machine was started, when it was last looked */
    int64_t next_us, next_look_us, next_raise_us;
    bool busy;
};

/* ---- what is said ---------------------------------------------------------------------------- */

static struct pg_params *params_of(struct store *s, int statement)
{
    return s->learned->params[statement - SQL_LEARNED];
}

static void pack_look(struct store *s)
{
    struct pg_params *p = params_of(s, SQL_LEARNED);
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, s->worker_id);
}

/* ---- which of what is said goes into which statement? ---- */

static bool of_pause(const struct learned_say *say)
{
    return say->pauses;
}

static bool of_open(const struct learned_say *say)
{
    return say->opens;
}

static bool of_probe(const struct learned_say *say)
{
    return say->probe == PROBE_ASK;
}

static bool of_leave(const struct learned_say *say)
{
    return say->probe == PROBE_LEAVE;
}

static bool of_bears(const struct learned_say *say)
{
    return say->concurrency >= 0;
}

static bool of_lower(const struct learned_say *say)
{
    return say->throttled_before_us >= 0;
}

typedef bool (*of_fn)(const struct learned_say *say);

static int64_t class_of(const struct learned_say *say)
{
    return say->class;
}

static int64_t pause_us_of(const struct learned_say *say)
{
    return say->pause_us;
}

static int64_t faults_of(const struct learned_say *say)
{
    return say->faults;
}

static int64_t probing_of(const struct learned_say *say)
{
    return say->probing;
}

static int64_t renewed_of(const struct learned_say *say)
{
    return say->renewed;
}

static int64_t concurrency_of(const struct learned_say *say)
{
    return say->concurrency;
}

static int64_t before_of(const struct learned_say *say)
{
    return say->throttled_before_us;
}

/* The statements, in the order in which they are sent: a pause before the probe after it. */
static const struct part {
    int statement;
    of_fn of;
    bool worker, lease, settle; /* scalars before the arrays */
    struct {
        enum pg_type type;
        int64_t (*value)(const struct learned_say *say);
    } columns[4]; /* after the endpoints' names */
} parts[] = {
    {.statement = SQL_LEARNED_PAUSE,
     .of = of_pause,
     .columns = {{PG_INT8, pause_us_of},
                 {PG_INT2, class_of},
                 {PG_INT2, faults_of},
                 {PG_BOOL, probing_of}}},
    {.statement = SQL_LEARNED_OPEN, .of = of_open, .worker = true},
    {.statement = SQL_LEARNED_LEAVE, .of = of_leave, .worker = true},
    {.statement = SQL_LEARNED_PROBE,
     .of = of_probe,
     .worker = true,
     .lease = true,
     .columns = {{PG_BOOL, renewed_of}}},
    {.statement = SQL_LEARNED_BEARS, .of = of_bears, .columns = {{PG_INT4, concurrency_of}}},
    {.statement = SQL_LEARNED_LOWER,
     .of = of_lower,
     .settle = true,
     .columns = {{PG_INT8, before_of}}},
};

enum { PARTS = sizeof parts / sizeof parts[0] };

static void pack_column(struct store *s, const struct part *part, int column, struct pg_params *p)
{
    const struct store_learned *l = s->learned;
    enum pg_type type = part->columns[column].type;
    pg_array(p, type);
    for (int i = 0; i < l->count; i++) {
        if (!part->of(&l->says[i]))
            continue;
        int64_t value = part->columns[column].value(&l->says[i]);
        if (type == PG_BOOL)
            pg_elem_bool(p, value);
        else
            pg_elem_int(p, value);
    }
}

/* False: there is nothing of this kind to say. */
static bool pack(struct store *s, const struct part *part)
{
    const struct store_learned *l = s->learned;
    struct pg_params *p = params_of(s, part->statement);
    int n = 0;
    pg_params_reset(p);
    if (part->worker)
        pg_add_int(p, PG_INT8, s->worker_id);
    if (part->lease)
        pg_add_int(p, PG_INT8, LEARNED_PROBE_LEASES * s->conf.lease_us);
    if (part->settle)
        pg_add_int(p, PG_INT8, SETTLE_US);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < l->count; i++) {
        if (part->of(&l->says[i]))
            pg_elem_span(p, span_of(l->says[i].endpoint));
        n += part->of(&l->says[i]);
    }
    for (int column = 0; column < 4 && part->columns[column].value; column++)
        pack_column(s, part, column, p);
    return n > 0;
}

/* ---- an exchange ----------------------------------------------------------------------------- */

static struct learned_row row_of(const struct pg_rows *r, int row)
{
    return (struct learned_row){
        .endpoint = pg_get_span(r, row, 0),
        .left_us = pg_get_int(r, row, 1),
        .class = (enum class)pg_get_int(r, row, 2),
        .probing = pg_get_bool(r, row, 3),
        .faults = (int)pg_get_int(r, row, 4),
        .probe_mine = pg_get_bool(r, row, 5),
        .probe_left_us = pg_get_int(r, row, 6),
        .concurrency = (int)pg_get_int(r, row, 7),
    };
}

static void answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->learned->busy = false;
    struct learned_row *list = NULL;
    int n = 0;
    if (answer->rc == RC_OK) {
        const struct pg_rows *r = answer->rows[answer->step_count - 1];
        n = pg_row_count(r);
        list = calloc((size_t)n + 1, sizeof *list);
        for (int i = 0; list && i < n; i++) {
            list[i] = row_of(r, i);
            if (list[i].probing && list[i].probe_mine)
                s->next_second_us = 0; /* a job for it may wait in `parked` */
        }
    } else if (answer->sqlstate[0]) {
        log_event(LOG_WARN, "what calls taught is not shared", LF_STR("sqlstate", answer->sqlstate),
                  LF_STR("why", answer->err.text));
    }
    if (list)
        path_learned_heard(s->conf.learns, list, n, answer->sent_us);
    else
        path_learned_lost(s->conf.learns);
    free(list);
}

static void exchange(struct store *s, int64_t now_us)
{
    struct store_learned *l = s->learned;
    struct pg_step steps[PARTS + 1];
    struct err err = {0};
    int count = 0;
    for (int i = 0; i < PARTS; i++)
        if (pack(s, &parts[i]))
            steps[count++] = (struct pg_step){parts[i].statement, params_of(s, parts[i].statement)};
    pack_look(s);
    steps[count++] = (struct pg_step){SQL_LEARNED, params_of(s, SQL_LEARNED)};
    l->next_us = now_us + APART_US;
    if (pg_txn(s->keep_conn, steps, count, answered, s, &err) != RC_OK)
        return;
    l->busy = true;
    l->next_look_us = now_us + LOOK_US;
    path_learned_sent(s->conf.learns, l->says, l->count);
}

/* Whoever this worker was or wherever its machine has been: what was lent to it may be another's.
 */
static void watch_probes(struct store *s, int64_t now_us)
{
    struct store_learned *l = s->learned;
    int64_t slept_us = clock_boot_us() - now_us;
    if (s->worker_id != l->worker_id || slept_us > l->slept_us + SLEPT_US)
        path_learned_forget_probe(s->conf.learns);
    l->worker_id = s->worker_id;
    l->slept_us = slept_us;
}

static void raised(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    (void)answer; /* the next one comes in a few seconds */
}

static void raise_limits(struct store *s, int64_t now_us)
{
    struct store_learned *l = s->learned;
    struct err err = {0};
    struct pg_step step = {SQL_LEARNED_RAISE, s->params};
    if (!s->keeper || now_us < l->next_raise_us)
        return;
    l->next_raise_us = now_us + RAISE_US;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, RAISE_US);
    if (pg_txn(s->keep_conn, &step, 1, raised, s, &err) != RC_OK)
        l->next_raise_us = now_us + APART_US;
}

void store_learned_tick(struct store *s, int64_t now_us)
{
    struct store_learned *l = s->learned;
    if (!l)
        return;
    watch_probes(s, now_us);
    raise_limits(s, now_us);
    if (l->busy || now_us < l->next_us)
        return;
    l->count = path_learned_says(s->conf.learns, l->says, SAYS_MAX);
    if (l->count || now_us >= l->next_look_us)
        exchange(s, now_us);
}

void store_learned_notify(struct store *s)
{
    if (s->learned)
        s->learned->next_look_us = 0;
}

static void left(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    (void)answer; /* should this be lost, its time runs out */
}

void store_learned_stop(struct store *s)
{
    struct err err = {0};
    if (!s->learned || !s->worker_id)
        return;
    struct pg_params *p = params_of(s, SQL_LEARNED_LEAVE);
    struct pg_step step = {SQL_LEARNED_LEAVE, p};
    pg_params_reset(p);
    pg_add_int(p, PG_INT8, s->worker_id);
    pg_array(p, PG_TEXT);
    if (pg_txn(s->keep_conn, &step, 1, left, s, &err) != RC_OK)
        return; /* as above */
}

void store_learned_down(struct store *s)
{
    struct store_learned *l = s->learned;
    if (!l)
        return;
    l->next_us = l->next_look_us = l->next_raise_us = 0;
}

enum rc store_learned_start(struct store *s, struct err *err)
{
    if (!s->conf.learns)
        return RC_OK;
    struct store_learned *l = s->learned = calloc(1, sizeof *l);
    bool ok = l != NULL;
    for (int i = 0; ok && i < KINDS; i++)
        ok = (l->params[i] = pg_params_new()) != NULL;
    if (!ok)
        return err_set(err, RC_NOMEM, "no memory for what is learned of endpoints");
    l->slept_us = clock_boot_us() - clock_mono_us();
    return RC_OK;
}

void store_learned_free(struct store *s)
{
    struct store_learned *l = s->learned;
    for (int i = 0; l && i < KINDS; i++)
        pg_params_free(l->params[i]);
    free(l);
    s->learned = NULL;
}
