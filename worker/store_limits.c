/*
 * store_limits.c - shared limits between this worker and Postgres: what it wants and holds, what it
 * may hold, and, as the keeper, what everybody may.
 *
 * Happy path, from the housekeeping's timer: the limits in force every 5 s and when notified; an
 * exchange when admission says that one is due; chunks of days' budgets come when they are wanted,
 * and go back when they are not. The keeper reads limits and rows in one transaction, lets shares.c
 * decide, and writes in another, on the connection whose session holds the lock: so no two keepers'
 * rounds ever overlap. One of each is under way at a time.
 *
 * Failure modes: an exchange that is not answered is lost, and the lease with it unless a later one
 * is answered. A round that fails, or for which there is no memory, is left out: the next one reads
 * anew. A connection that goes takes the lock along: the next keeper has seen nobody.
 */
#include "worker/store_limits.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/limits.h"
#include "common/log.h"
#include "worker/admission.h"
#include "worker/store_internal.h"
#include "worker/wants.h"
#include "worker/window.h"

enum {
    ROUND_US = 1000 * 1000,
    RULES_US = 5 * 1000 * 1000,
    CHUNKS_MAX = 64,
    UNPAID_MAX = 256, /* limits of which a worker that stops has sent too much to leave at once */
    WANTS_BYTES_MAX = 4 << 20,
    PERMILLE = 1000,
};

struct store_limits {
    struct shares *shares; /* while this worker keeps house */
    struct pg_params *more, *third;
    int64_t number; /* of the exchange under way */
    int64_t next_rules_us, next_round_us;
    int64_t asked_us, known_us; /* limits in force: when they were asked for; when those were that
                                   are known. 0: none are */
    bool rules_busy, rules_again, exchange_busy, round_busy, day_busy;
    struct admission_chunk asked[CHUNKS_MAX];
    size_t asked_count;
};

static void send(struct store *s, const struct pg_step *steps, int count, pg_done done, bool *busy)
{
    struct err err = {0};
    if (pg_txn(s->keep_conn, steps, count, done, s, &err) == RC_OK)
        *busy = true;
}

/* ---- the limits in force --------------------------------------------------------------------- */

/* With what was learned; a limit of a unit stays one. */
static int64_t effective(const struct pg_rows *r, int row)
{
    int64_t amount = pg_get_int(r, row, 4), multiplier = pg_get_int(r, row, 5);
    if (!limit_is_rate((enum limit_dimension)pg_get_int(r, row, 3)))
        return amount;
    int64_t less = amount / PERMILLE * multiplier + amount % PERMILLE * multiplier / PERMILLE;
    return less > 1 ? less : 1;
}

static int headroom_of(const struct pg_rows *r)
{
    return pg_row_count(r) ? (int)pg_get_int(r, 0, 6) : 0;
}

static void rules_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct err err = {0};
    s->limits->rules_busy = false;
    if (s->limits->rules_again)
        s->limits->next_rules_us = 0;
    if (answer->rc != RC_OK)
        return;
    const struct pg_rows *r = answer->rows[0];
    size_t n = (size_t)pg_row_count(r);
    struct admission_rule *rules = calloc(n + 1, sizeof *rules);
    for (size_t i = 0; rules && i < n; i++)
        rules[i] =
            (struct admission_rule){.limit_id = (int32_t)pg_get_int(r, (int)i, 0),
                                    .scope = (enum limit_scope)pg_get_int(r, (int)i, 1),
                                    .key = pg_get_span(r, (int)i, 2),
                                    .dimension = (enum limit_dimension)pg_get_int(r, (int)i, 3),
                                    .amount = effective(r, (int)i),
                                    .configured = pg_get_int(r, (int)i, 4)};
    enum rc rc =
        rules ? admission_rules(s->conf.admission, rules, n, headroom_of(r), clock_boot_us(), &err)
              : err_set(&err, RC_NOMEM, "no memory for %zu limits", n);
    if (rc == RC_OK)
        s->limits->known_us = s->limits->asked_us;
    else
        log_event(LOG_WARN, "limits are not taken up", LF_STR("why", err.text));
    free(rules);
    s->conf.limits_moved(s->conf.arg);
}

static void look_for_rules(struct store *s)
{
    struct pg_step step = {SQL_LIMITS, NULL};
    s->limits->rules_again = false;
    s->limits->asked_us = clock_boot_us();
    send(s, &step, 1, rules_answered, &s->limits->rules_busy);
}

/* ---- an exchange ----------------------------------------------------------------------------- */

static void exchange_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->limits->exchange_busy = false;
    if (answer->rc != RC_OK)
        return;
    const struct pg_rows *r = answer->rows[1];
    int64_t now = clock_boot_us();
    for (int i = 0; i < pg_row_count(r); i++)
        admission_answer(s->conf.admission, s->limits->number, (int32_t)pg_get_int(r, i, 0),
                         pg_get_int(r, i, 1), now);
    s->conf.limits_moved(s->conf.arg);
}

static bool pack_says(struct pg_params *p, const struct admission_say *says, size_t n)
{
    struct buf wants;
    buf_init(&wants, WANTS_BYTES_MAX);
    int64_t *totals = calloc(n + 1, sizeof *totals);
    pg_array(p, PG_INT4);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, says[i].limit_id);
    pg_array(p, PG_BYTEA);
    for (size_t i = 0; totals && i < n; i++) {
        buf_reset(&wants);
        /* For people, who sum it up: each worker that waits for parked rows counts all of them. */
        totals[i] = wants_pack(says[i].wants, says[i].want_count, &wants) - says[i].behind;
        pg_elem_span(p, wants.n ? buf_span(&wants) : SPAN_LIT("")); /* none is no NULL */
    }
    bool ok = totals && !wants.failed;
    pg_array(p, PG_INT8);
    for (size_t i = 0; ok && i < n; i++)
        pg_elem_int(p, totals[i]);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, says[i].need);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, says[i].in_use);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, says[i].holds);
    free(totals);
    buf_done(&wants);
    return ok;
}

/* The lease counts from here. */
static void exchange(struct store *s)
{
    const struct admission_say *says;
    size_t n;
    struct err err = {0};
    if (admission_exchange(s->conf.admission, clock_boot_us(), &says, &n, &s->limits->number,
                           &err) != RC_OK ||
        !n)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    pg_add_int(s->params, PG_INT8, s->limits->number);
    if (!pack_says(s->params, says, n))
        return;
    struct pg_step steps[] = {{SQL_DURABLE, NULL}, {SQL_EXCHANGE, s->params}};
    send(s, steps, 2, exchange_answered, &s->limits->exchange_busy);
}

/* ---- the keeper's round ---------------------------------------------------------------------- */

struct limit_rows {
    struct share_row *rows;
    struct share_want *wants;
    size_t n;
};

static void free_rows(struct limit_rows *l)
{
    free(l->rows);
    free(l->wants);
}

/* The rows of one limit: first .. first + n. */
static bool read_rows(const struct pg_rows *r, int first, int n, struct limit_rows *ret)
{
    size_t wants = 0, at = 0;
    for (int i = first; i < first + n; i++)
        wants += wants_count(pg_get_span(r, i, 3));
    *ret = (struct limit_rows){calloc((size_t)n + 1, sizeof *ret->rows),
                               calloc(wants + 1, sizeof *ret->wants), (size_t)n};
    for (int i = 0; ret->rows && ret->wants && i < n; i++) {
        int row = first + i;
        size_t count = wants_count(pg_get_span(r, row, 3));
        wants_unpack(pg_get_span(r, row, 3), ret->wants + at, count);
        ret->rows[i] = (struct share_row){.worker_id = pg_get_int(r, row, 1),
                                          .asks = pg_get_int(r, row, 2),
                                          .need = pg_get_int(r, row, 5),
                                          .in_use = pg_get_int(r, row, 6),
                                          .share = pg_get_int(r, row, 7),
                                          .seen = pg_get_int(r, row, 8),
                                          .wants = ret->wants + at,
                                          .want_count = count};
        at += count;
    }
    return ret->rows && ret->wants;
}

/* limit_id's row among the rules, which are in its order; -1: it is in force no more. */
static int rule_of(const struct pg_rows *rules, int64_t limit_id)
{
    for (int i = 0; i < pg_row_count(rules); i++)
        if (pg_get_int(rules, i, 0) == limit_id)
            return i;
    return -1;
}

static bool decide(struct store *s, int64_t limit_id, const struct pg_rows *rules,
                   struct limit_rows *l)
{
    struct err err = {0};
    int rule = rule_of(rules, limit_id);
    if (rule < 0) { /* nobody asks for it any more: its rows go one by one */
        for (size_t i = 0; i < l->n; i++)
            l->rows[i].dead = true;
        return true;
    }
    bool of_calls = pg_get_int(rules, rule, 3) == LIMIT_IN_FLIGHT;
    struct share_limit limit = {.limit_id = (int32_t)limit_id,
                                .amount = effective(rules, rule),
                                .minute_us = of_calls ? 0 : window_minute_us(headroom_of(rules))};
    return shares_round(s->limits->shares, &limit, l->rows, l->n, clock_mono_us(), &err) == RC_OK;
}

/* What a round writes. */
struct changes {
    struct change {
        int64_t limit_id, worker_id, value; /* its share; of the dead: its asks */
    } * given, *dead;
    size_t given_count, dead_count;
};

static void note_changes(struct changes *c, int64_t limit_id, const struct limit_rows *l)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct share_row *row = &l->rows[i];
        if (row->dead)
            c->dead[c->dead_count++] = (struct change){limit_id, row->worker_id, row->asks};
        else if (row->give != row->share)
            c->given[c->given_count++] = (struct change){limit_id, row->worker_id, row->give};
    }
}

/* False: no memory. */
static bool tell_limits(struct store *s, const struct pg_rows *rules)
{
    size_t n = (size_t)pg_row_count(rules);
    int32_t *ids = calloc(n + 1, sizeof *ids);
    for (size_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)pg_get_int(rules, (int)i, 0);
    if (ids)
        shares_limits(s->limits->shares, ids, n, clock_mono_us());
    free(ids);
    return ids != NULL;
}

/* Limit by limit: the rows come in the order of limit and worker. A limit for which there is no
 * memory is left out. */
static void decide_all(struct store *s, const struct pg_rows *rules, const struct pg_rows *r,
                       struct changes *c)
{
    for (int first = 0, n = 0; first < pg_row_count(r); first += n, n = 0) {
        int64_t limit_id = pg_get_int(r, first, 0);
        while (first + n < pg_row_count(r) && pg_get_int(r, first + n, 0) == limit_id)
            n++;
        struct limit_rows l;
        if (read_rows(r, first, n, &l) && decide(s, limit_id, rules, &l))
            note_changes(c, limit_id, &l);
        free_rows(&l);
    }
}

static void add_changes(struct pg_params *p, const struct change *list, size_t n)
{
    pg_params_reset(p);
    pg_array(p, PG_INT4);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].limit_id);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].worker_id);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].value);
}

static void round_written(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->limits->round_busy = false;
    if (answer->rc == RC_REJECT)
        log_event(LOG_WARN, "shares of limits are not written", LF_STR("why", answer->err.text));
}

static void write_changes(struct store *s, const struct changes *c)
{
    struct store_limits *l = s->limits;
    struct pg_step steps[3] = {{SQL_DURABLE, NULL}};
    int count = 1;
    if (c->given_count) {
        add_changes(l->more, c->given, c->given_count);
        steps[count++] = (struct pg_step){SQL_SHARE, l->more};
    }
    if (c->dead_count) {
        add_changes(l->third, c->dead, c->dead_count);
        steps[count++] = (struct pg_step){SQL_SHARE_DEAD, l->third};
    }
    if (count > 1)
        send(s, steps, count, round_written, &l->round_busy);
}

static void round_read(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->limits->round_busy = false;
    if (answer->rc != RC_OK || !s->keeper || !s->limits->shares)
        return;
    const struct pg_rows *r = answer->rows[1];
    size_t n = (size_t)pg_row_count(r) + 1;
    struct changes c = {calloc(n, sizeof *c.given), calloc(n, sizeof *c.dead), 0, 0};
    if (c.given && c.dead && tell_limits(s, answer->rows[0])) {
        decide_all(s, answer->rows[0], r, &c);
        write_changes(s, &c);
    }
    free(c.given);
    free(c.dead);
}

static void start_round(struct store *s)
{
    struct store_limits *l = s->limits;
    if (!l->shares && !(l->shares = shares_new()))
        return;
    shares_lanes(l->shares, s->conf.lanes, s->conf.lane_count);
    struct pg_step steps[] = {{SQL_LIMITS, NULL}, {SQL_SHARES, NULL}};
    send(s, steps, 2, round_read, &l->round_busy);
}

/* ---- a day's budget -------------------------------------------------------------------------- */

static void day_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    struct store_limits *l = s->limits;
    struct admission *a = s->conf.admission;
    int64_t now = clock_boot_us();
    l->day_busy = false;
    for (int i = 0; answer->rc == RC_OK && i < pg_row_count(answer->rows[1]); i++) {
        const struct pg_rows *r = answer->rows[1];
        struct admission_chunk chunk = {(int32_t)pg_get_int(r, i, 0), (int32_t)pg_get_int(r, i, 1),
                                        pg_get_int(r, i, 2)};
        /* By this machine's clock from when it was asked for: it ends no later than the day. */
        int64_t until = now - (answer->answered_us - answer->sent_us) + pg_get_int(r, i, 3) * 1000;
        admission_day_comes(a, &chunk, until, now);
        for (size_t k = 0; k < l->asked_count; k++)
            if (l->asked[k].limit_id == chunk.limit_id)
                l->asked[k] = l->asked[--l->asked_count];
    }
    for (size_t k = 0; k < l->asked_count; k++)
        admission_day_failed(a, l->asked[k].limit_id, now);
    s->conf.limits_moved(s->conf.arg);
}

static void ask_days(struct store *s)
{
    struct store_limits *l = s->limits;
    l->asked_count = admission_day_wants(s->conf.admission, l->asked, CHUNKS_MAX, clock_boot_us());
    if (!l->asked_count)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    pg_array(s->params, PG_INT4);
    for (size_t i = 0; i < l->asked_count; i++)
        pg_elem_int(s->params, l->asked[i].limit_id);
    pg_array(s->params, PG_INT8);
    for (size_t i = 0; i < l->asked_count; i++)
        pg_elem_int(s->params, l->asked[i].units);
    struct pg_step steps[] = {{SQL_DURABLE, NULL}, {SQL_DAY_TAKE, s->params}};
    send(s, steps, 2, day_answered, &l->day_busy);
    for (size_t i = 0; !l->day_busy && i < l->asked_count; i++)
        admission_day_failed(s->conf.admission, l->asked[i].limit_id, clock_boot_us());
}

static void pack_chunks(struct pg_params *p, const struct admission_chunk *list, size_t n)
{
    pg_params_reset(p);
    pg_array(p, PG_INT4);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].limit_id);
    pg_array(p, PG_INT4);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].day);
    pg_array(p, PG_INT8);
    for (size_t i = 0; i < n; i++)
        pg_elem_int(p, list[i].units);
}

static void day_given(void *arg, const struct pg_answer *answer)
{
    ((struct store *)arg)->limits->day_busy = false;
    (void)answer; /* should this be lost, nobody has them any more today */
}

static void give_days(struct store *s)
{
    struct store_limits *l = s->limits;
    struct admission_chunk spare[CHUNKS_MAX];
    size_t n = admission_day_spare(s->conf.admission, spare, CHUNKS_MAX, clock_boot_us());
    if (!n)
        return;
    l->asked_count = 0;
    pack_chunks(s->params, spare, n);
    struct pg_step steps[] = {{SQL_DURABLE, NULL}, {SQL_DAY_GIVE, s->params}};
    send(s, steps, 2, day_given, &l->day_busy);
    for (size_t i = 0; !l->day_busy && i < n; i++)
        admission_day_back(s->conf.admission, &spare[i]);
}

/* ---- the timer, and the connection's comings and goings -------------------------------------- */

enum rc store_limits_start(struct store *s, struct err *err)
{
    if (!s->conf.admission)
        return RC_OK;
    s->limits = calloc(1, sizeof *s->limits);
    if (s->limits) {
        s->limits->more = pg_params_new();
        s->limits->third = pg_params_new();
    }
    if (s->limits && s->limits->more && s->limits->third)
        return RC_OK;
    store_limits_free(s);
    return err_set(err, RC_NOMEM, "no memory for shared limits");
}

void store_limits_free(struct store *s)
{
    struct store_limits *l = s->limits;
    s->limits = NULL;
    if (!l)
        return;
    shares_free(l->shares);
    pg_params_free(l->more);
    pg_params_free(l->third);
    free(l);
}

bool store_limits_known(const struct store *s)
{
    const struct store_limits *l = s->limits;
    return !l || (l->known_us && clock_boot_us() - l->known_us < s->conf.lease_us);
}

void store_limits_tick(struct store *s, int64_t now_us)
{
    struct store_limits *l = s->limits;
    if (!l || !s->worker_id)
        return;
    if (now_us >= l->next_rules_us && !l->rules_busy) {
        l->next_rules_us = now_us + RULES_US;
        look_for_rules(s);
    }
    int64_t boot_us = clock_boot_us();
    if (!l->exchange_busy && admission_exchange_at(s->conf.admission, boot_us) <= boot_us)
        exchange(s);
    if (!l->day_busy)
        ask_days(s);
    if (!l->day_busy)
        give_days(s);
    if (s->keeper && now_us >= l->next_round_us && !l->round_busy) {
        l->next_round_us = now_us + ROUND_US;
        start_round(s);
    }
}

void store_limits_notify(struct store *s)
{
    if (!s->limits)
        return;
    s->limits->rules_again = s->limits->rules_busy;
    s->limits->next_rules_us = s->limits->next_round_us = 0;
}

static void left(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    (void)answer; /* should this be lost, its rows go as those of the dead, and chunks are spent */
}

/* False: too many limits are unpaid to name them. */
static bool pack_leave(struct store *s)
{
    int32_t unpaid[UNPAID_MAX];
    size_t n = admission_unpaid(s->conf.admission, unpaid, UNPAID_MAX, clock_boot_us());
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    pg_array(s->params, PG_INT4);
    for (size_t i = 0; i < n && i < UNPAID_MAX; i++)
        pg_elem_int(s->params, unpaid[i]);
    return n <= UNPAID_MAX;
}

void store_limits_stop(struct store *s)
{
    struct store_limits *l = s->limits;
    if (!l || !s->worker_id)
        return;
    struct admission_chunk rest[CHUNKS_MAX];
    size_t n = admission_day_rest(s->conf.admission, rest, CHUNKS_MAX, clock_boot_us());
    if (!pack_leave(s))
        return; /* its rows go as those of the dead */
    pack_chunks(l->more, rest, n);
    struct pg_step steps[] = {{SQL_DURABLE, NULL}, {SQL_LEAVE, s->params}, {SQL_DAY_GIVE, l->more}};
    struct err err = {0};
    if (pg_txn(s->keep_conn, steps, n ? 3 : 2, left, s, &err) != RC_OK)
        return; /* as above */
}

void store_limits_down(struct store *s)
{
    struct store_limits *l = s->limits;
    if (!l)
        return;
    shares_free(l->shares); /* the lock went with the session */
    l->shares = NULL;
    int64_t now = clock_boot_us();
    for (size_t i = 0; l->day_busy && i < l->asked_count; i++)
        admission_day_failed(s->conf.admission, l->asked[i].limit_id, now);
    l->asked_count = 0;
    l->rules_busy = l->exchange_busy = l->round_busy = l->day_busy = l->rules_again = false;
    l->next_rules_us = l->next_round_us = 0;
}
