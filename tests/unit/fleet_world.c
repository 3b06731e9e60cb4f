/*
 * fleet_world.c - a fleet under shared limits, on a virtual clock.
 *
 * Happy path: one queue of events; each is handled by the module that it would meet, and sends on
 * what follows from it. What a worker does waits while the worker is paused and is dropped once it
 * is dead; what is on a wire goes on.
 */
#include "tests/unit/fleet_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "worker/window.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum happening {
    WAKE,    /* a worker looks for calls that may go */
    LEAVE,   /* a claim was granted */
    ARRIVE,  /* a call reaches the model */
    FINISH,  /* the model has answered it */
    END,     /* its answer comes back */
    JOB,     /* a job comes to a source that has few */
    SAY,     /* a worker begins an exchange */
    HEAR,    /* its statement runs */
    ANSWER,  /* what it returned comes back */
    GIVE_UP, /* no answer came */
    LOOK,    /* the keeper reads the rows */
    WRITE,   /* its transaction commits */
    MISHAP,  /* something of the plan */
};

struct event {
    int64_t at_us;
    uint64_t order;
    enum happening what;
    int worker;
    void *message; /* owned: a call, an exchange, a round */
};

struct row {
    int64_t worker_id, asks, share, seen, need, in_use;
    struct share_want *wants;
    size_t want_count;
};

struct exchange {
    int64_t number, sent_us;
    size_t count;
    struct said {
        int32_t limit_id;
        int64_t need, in_use, holds, share; /* share: -1: no answer */
        struct share_want *wants;
        size_t want_count;
    } said[LIMITS];
};

struct keepers_round {
    uint64_t keeper; /* a newer one: this one's connection is gone */
    struct {
        struct share_row *rows;
        size_t n;
    } of[LIMITS];
};

struct call {
    struct admission_call admitted;
    int64_t units, lasts_us;
    int source;
};

static const struct lane_conf lanes[] = {
    {"high", 60, 0, 1, 1, 0}, {"normal", 30, 0, 1, 1, 0}, {"low", 10, 50, 1, 1, 0}};
static const char *const apps[] = {"a", "b", "c", "d"};

/* The wires between workers and rows. */
static bool is_lost(struct fleet *w)
{
    return fleet_chance(w, w->now_us < w->lossy_until_us ? 400 : w->plan.lose_permille);
}

/* ---- the queue of events --------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push(struct fleet *w, int64_t at_us, enum happening what, int worker, void *message)
{
    if (w->heap_count == w->heap_cap) {
        w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 1024;
        w->heap = realloc(w->heap, w->heap_cap * sizeof *w->heap);
        assert_non_null(w->heap);
    }
    struct event e = {at_us, w->order++, what, worker, message};
    size_t i = w->heap_count++;
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event pop(struct fleet *w)
{
    struct event top = w->heap[0], last = w->heap[--w->heap_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->heap_count; i = child) {
        if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
    }
    w->heap[i] = last;
    return top;
}

/* ---- the model ------------------------------------------------------------------------------- */

static void witness_age(struct witness *m, int64_t now_us)
{
    while (m->head < m->count && m->list[m->head].at_us <= now_us - MINUTE)
        m->sum -= m->list[m->head++].units;
}

static void judge(const struct fleet *w, int limit)
{
    const struct witness *m = &w->witness[limit];
    int64_t has = w->plan.limit[limit].dimension == LIMIT_IN_FLIGHT ? m->in_flight : m->sum;
    if (has > m->allowed)
        fail_msg("%.3f s: limit %d (%s): %lld units of %lld within 60 s",
                 (double)w->now_us / SECOND, limit,
                 limit_dimension_name((int)w->plan.limit[limit].dimension), (long long)has,
                 (long long)m->allowed);
}

static void witness_sees(struct fleet *w, int limit, int64_t units)
{
    struct witness *m = &w->witness[limit];
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 1024;
        m->list = realloc(m->list, m->cap * sizeof *m->list);
        assert_non_null(m->list);
    }
    m->list[m->count++] = (struct arrival){w->now_us, units};
    witness_age(m, w->now_us);
    m->sum += units;
    m->in_flight++;
    int64_t lapse = 3 * MINUTE; /* a lower limit acts once the last calls are paid for */
    if (m->allowed > m->amount && w->now_us > m->lowered_us + lapse)
        m->allowed = m->amount;
    judge(w, limit);
}

static int64_t units_of(const struct fleet *w, int limit, const struct call *c)
{
    return limit_is_tokens(w->plan.limit[limit].dimension) ? c->units : 1;
}

static void arrive(struct fleet *w, int worker, struct call *c)
{
    for (int i = 0; i < w->plan.limits; i++)
        witness_sees(w, i, units_of(w, i, c));
    const struct source *s = &w->workers[worker].sources[c->source];
    if (w->now_us > w->calm_us + 2 * MINUTE) {
        w->by_lane[s->lane] += c->units;
        w->by_app[s->app] += c->units;
    }
    push(w, w->now_us + c->lasts_us, FINISH, worker, c);
}

/* ---- a worker's calls ------------------------------------------------------------------------ */

void fleet_wake(struct fleet *w, int worker, int64_t at_us)
{
    struct worker *k = &w->workers[worker];
    if (at_us >= k->wake_us && k->wake_us > w->now_us)
        return;
    k->wake_us = at_us;
    push(w, at_us, WAKE, worker, NULL);
}

static void say_at(struct fleet *w, int worker)
{
    struct worker *k = &w->workers[worker];
    if (k->exchange)
        return;
    int64_t at = admission_exchange_at(k->admission, w->now_us);
    if (at == INT64_MAX)
        return;
    at = at > w->now_us ? at : w->now_us;
    if (k->say_us > w->now_us && k->say_us <= at)
        return;
    k->say_us = at;
    push(w, at, SAY, worker, NULL);
}

static void next_job(struct fleet *w, struct source *s)
{
    s->next_units = fleet_between(w, s->units_min, s->units_max);
}

static struct admission_units tokens(int64_t units)
{
    return (struct admission_units){units, 0};
}

static struct row *row_of(struct table *t, int64_t worker_id, bool make)
{
    size_t i = 0, beyond = t->count;
    while (i < beyond) { /* the first that is not before it */
        size_t middle = (i + beyond) / 2;
        if (t->rows[middle].worker_id < worker_id)
            i = middle + 1;
        else
            beyond = middle;
    }
    if (i < t->count && t->rows[i].worker_id == worker_id)
        return &t->rows[i];
    if (!make)
        return NULL;
    if (t->count == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        t->rows = realloc(t->rows, t->cap * sizeof *t->rows);
        assert_non_null(t->rows);
    }
    memmove(&t->rows[i + 1], &t->rows[i], (t->count++ - i) * sizeof *t->rows);
    t->rows[i] = (struct row){.worker_id = worker_id};
    return &t->rows[i];
}

static void drop_row(struct table *t, struct row *row)
{
    free(row->wants);
    size_t i = (size_t)(row - t->rows);
    memmove(row, row + 1, (--t->count - i) * sizeof *row);
}

/* SQL_LEAVE */
static void go(struct fleet *w, int worker)
{
    int32_t unpaid[LIMITS];
    size_t n = admission_unpaid(w->workers[worker].admission, unpaid, LIMITS, w->now_us);
    for (int l = 0; l < w->plan.limits; l++) {
        struct row *row = row_of(&w->tables[l], worker, false);
        for (size_t i = 0; i < n; i++)
            row = unpaid[i] == l ? NULL : row;
        if (row)
            drop_row(&w->tables[l], row);
    }
    w->workers[worker].dead = true;
}

/* Takes calls in turn from the sources until none may go; false: and when to look again. */
static bool take_one(struct fleet *w, int worker, struct source *s, int64_t *when)
{
    struct worker *k = &w->workers[worker];
    struct admission_units units = tokens(s->next_units);
    if (k->idle || k->stopping || (s->every_us && !s->waiting))
        return false;
    if (!admission_may(k->admission, s->gate, &units, w->now_us)) {
        int64_t at = admission_when(k->admission, s->gate, &units, w->now_us);
        *when = at < *when ? at : *when;
        return false;
    }
    struct call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->units = s->next_units;
    c->source = (int)(s - k->sources);
    c->lasts_us = fleet_between(w, w->plan.lasts_us / 4, w->plan.lasts_us);
    admission_take(k->admission, s->gate, s->lane, &units, w->now_us, &c->admitted);
    int64_t claim = fleet_chance(w, 5) ? w->plan.claim_us * 20 : w->plan.claim_us;
    push(w, w->now_us + fleet_between(w, MS, MS + claim), LEAVE, worker, c);
    k->calls++;
    if (s->every_us) {
        admission_waits(k->admission, s->gate, s->lane, &units, -1);
        s->waiting--;
    }
    next_job(w, s);
    return true;
}

static void dispatch(struct fleet *w, int worker)
{
    struct worker *k = &w->workers[worker];
    int64_t when = INT64_MAX;
    for (int idle = 0; idle < k->source_count;) {
        struct source *s = &k->sources[k->first++ % k->source_count];
        idle = take_one(w, worker, s, &when) ? 0 : idle + 1;
    }
    if (when != INT64_MAX)
        fleet_wake(w, worker, when);
    say_at(w, worker);
    if (k->stopping && !k->calls)
        go(w, worker);
}

static void leave(struct fleet *w, int worker, struct call *c)
{
    struct worker *k = &w->workers[worker];
    if (!admission_leave(k->admission, &c->admitted, w->now_us)) {
        free(c);
        k->calls--;
        fleet_wake(w, worker, w->now_us + MS);
        return;
    }
    push(w, w->now_us + fleet_between(w, 5 * MS, 5 * MS + w->plan.jitter_us), ARRIVE, worker, c);
}

static void finish_call(struct fleet *w, int worker, struct call *c)
{
    for (int l = 0; l < w->plan.limits; l++)
        w->witness[l].in_flight--;
    push(w, w->now_us + fleet_between(w, MS, 20 * MS), END, worker, c);
}

static void end(struct fleet *w, int worker, struct call *c)
{
    struct worker *k = &w->workers[worker];
    struct admission_units used = {-1, -1};
    admission_settle(k->admission, &c->admitted, &used, w->now_us);
    free(c);
    k->calls--;
    dispatch(w, worker);
}

static void job(struct fleet *w, int worker)
{
    struct worker *k = &w->workers[worker];
    for (int i = 0; i < k->source_count; i++) {
        struct source *s = &k->sources[i];
        if (!s->every_us)
            continue;
        struct admission_units units = tokens(s->next_units);
        if (!s->waiting) { /* all that wait are as large: enough for a test */
            admission_waits(k->admission, s->gate, s->lane, &units, 1);
            s->waiting++;
        }
        push(w, w->now_us + fleet_between(w, 1, 2 * s->every_us), JOB, worker, NULL);
    }
    dispatch(w, worker);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

static void free_exchange(struct exchange *x)
{
    for (size_t i = 0; x && i < x->count; i++)
        free(x->said[i].wants);
    free(x);
}

static struct share_want *copy_wants(const struct share_want *wants, size_t n)
{
    struct share_want *copy = calloc(n + 1, sizeof *copy);
    assert_non_null(copy);
    if (n)
        memcpy(copy, wants, n * sizeof *copy);
    return copy;
}

static void say(struct fleet *w, int worker)
{
    struct worker *k = &w->workers[worker];
    const struct admission_say *says;
    struct err err = {0};
    if (k->exchange)
        return;
    struct exchange *x = calloc(1, sizeof *x);
    assert_non_null(x);
    assert_int_equal(
        admission_exchange(k->admission, w->now_us, &says, &x->count, &x->number, &err), RC_OK);
    for (size_t i = 0; i < x->count; i++)
        x->said[i] = (struct said){
            says[i].limit_id,  says[i].need, says[i].in_use,
            says[i].holds,     -1,           copy_wants(says[i].wants, says[i].want_count),
            says[i].want_count};
    x->sent_us = w->now_us;
    k->exchange = x->number;
    int64_t late = is_lost(w) ? fleet_between(w, SECOND, 30 * SECOND) : 0;
    push(w, w->now_us + fleet_between(w, MS, 30 * MS) + late, HEAR, worker, x);
    push(w, w->now_us + 3 * SECOND, GIVE_UP, worker, (void *)(uintptr_t)x->number);
}

/* SQL_EXCHANGE, for one limit. */
static void exchange_row(struct row *r, int64_t number, struct said *said)
{
    bool fresh = r->asks == 0;
    if (r->asks >= number)
        return;
    int64_t told = fresh || said->holds < r->seen ? said->holds : r->seen;
    r->seen = r->share > told ? r->share : told;
    r->asks = number;
    r->need = said->need;
    r->in_use = said->in_use;
    free(r->wants);
    r->wants = copy_wants(said->wants, said->want_count);
    r->want_count = said->want_count;
    said->share = r->share;
}

static void hear(struct fleet *w, int worker, struct exchange *x)
{
    for (size_t i = 0; i < x->count; i++)
        exchange_row(row_of(&w->tables[x->said[i].limit_id], worker, true), x->number, &x->said[i]);
    if (is_lost(w)) {
        free_exchange(x);
        return;
    }
    push(w, w->now_us + fleet_between(w, MS, 30 * MS), ANSWER, worker, x);
}

static void answer(struct fleet *w, int worker, struct exchange *x)
{
    struct worker *k = &w->workers[worker];
    for (size_t i = 0; i < x->count; i++)
        if (x->said[i].share >= 0)
            admission_answer(k->admission, x->number, x->said[i].limit_id, x->said[i].share,
                             w->now_us);
    if (k->exchange == x->number)
        k->exchange = 0;
    free_exchange(x);
    dispatch(w, worker);
}

/* ---- the keeper ------------------------------------------------------------------------------ */

static void free_round(struct keepers_round *r)
{
    for (int l = 0; l < LIMITS; l++) {
        for (size_t i = 0; i < r->of[l].n; i++)
            free((void *)(uintptr_t)r->of[l].rows[i].wants);
        free(r->of[l].rows);
    }
    free(r);
}

static void look(struct fleet *w, struct keepers_round *r)
{
    struct err err = {0};
    if (r->keeper != w->keeper_number) {
        free_round(r);
        return;
    }
    for (int l = 0; l < w->plan.limits; l++) {
        const struct table *t = &w->tables[l];
        r->of[l].n = t->count;
        r->of[l].rows = calloc(t->count + 1, sizeof *r->of[l].rows);
        assert_non_null(r->of[l].rows);
        for (size_t i = 0; i < t->count; i++)
            r->of[l].rows[i] =
                (struct share_row){.worker_id = t->rows[i].worker_id,
                                   .asks = t->rows[i].asks,
                                   .share = t->rows[i].share,
                                   .seen = t->rows[i].seen,
                                   .need = t->rows[i].need,
                                   .in_use = t->rows[i].in_use,
                                   .wants = copy_wants(t->rows[i].wants, t->rows[i].want_count),
                                   .want_count = t->rows[i].want_count};
        bool calls = w->plan.limit[l].dimension == LIMIT_IN_FLIGHT;
        struct share_limit limit = {l, w->plan.limit[l].amount,
                                    calls ? 0 : window_minute_us(HEADROOM)};
        assert_int_equal(shares_round(w->keeper, &limit, r->of[l].rows, t->count, w->now_us, &err),
                         RC_OK);
    }
    push(w, w->now_us + fleet_between(w, MS, fleet_chance(w, 20) ? 3 * SECOND : 50 * MS), WRITE, 0,
         r);
}

static void start_round(struct fleet *w, int64_t at_us)
{
    struct keepers_round *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->keeper = w->keeper_number;
    push(w, at_us, LOOK, 0, r);
}

static void write_round(struct fleet *w, struct keepers_round *r)
{
    bool stands = r->keeper == w->keeper_number;
    for (int l = 0; stands && l < w->plan.limits; l++) {
        for (size_t i = 0; i < r->of[l].n; i++) {
            const struct share_row *from = &r->of[l].rows[i];
            struct row *row = row_of(&w->tables[l], from->worker_id, false);
            if (row && from->dead && row->asks == from->asks)
                drop_row(&w->tables[l], row);
            else if (row && from->give != from->share)
                row->share = from->give;
        }
    }
    free_round(r);
    if (stands)
        start_round(w, w->now_us + SECOND);
}

static void new_keeper(struct fleet *w, int64_t at_us)
{
    shares_free(w->keeper);
    w->keeper = shares_new();
    assert_non_null(w->keeper);
    shares_lanes(w->keeper, lanes, COUNT(lanes));
    w->keeper_number++;
    start_round(w, at_us);
}

/* ---- workers come and go --------------------------------------------------------------------- */

static void tell_rules(struct fleet *w, struct worker *k)
{
    struct admission_rule rules[LIMITS];
    struct err err = {0};
    for (int l = 0; l < w->plan.limits; l++)
        rules[l] = (struct admission_rule){.limit_id = l,
                                           .scope = LIMIT_ENDPOINT,
                                           .key = SPAN_LIT("e@1"),
                                           .dimension = w->plan.limit[l].dimension,
                                           .amount = w->plan.limit[l].amount};
    assert_int_equal(
        admission_rules(k->admission, rules, (size_t)w->plan.limits, HEADROOM, w->now_us, &err),
        RC_OK);
}

/* Has more jobs than can be done. */
void fleet_busy(struct fleet *w, int worker, struct source *s)
{
    struct admission_units many = tokens(w->plan.units_max);
    s->every_us = 0;
    admission_waits(w->workers[worker].admission, s->gate, s->lane, &many, 1000000);
}

void fleet_seldom(struct fleet *w, int worker, int64_t every_us)
{
    struct worker *k = &w->workers[worker];
    struct admission_units many = tokens(w->plan.units_max);
    admission_waits(k->admission, k->sources[0].gate, k->sources[0].lane, &many, -1000000);
    k->sources[0].every_us = every_us;
    push(w, w->now_us + 1, JOB, worker, NULL);
}

static void shape_source(struct fleet *w, int worker, struct source *s)
{
    switch (w->plan.shape) {
    case MIXED:
        return;
    case BY_LANE:
        s->lane = worker % 3;
        s->app = 0;
        return;
    case BY_APP: /* most have jobs of the first app alone */
        s->lane = 0;
        s->app = worker < 3 ? worker : 0;
        return;
    case HUNDRED_ONE_NONE:
        s->lane = s->app = 0;
        s->every_us = worker == 1 ? 100 * MINUTE / w->plan.limit[0].amount : MINUTE;
    }
}

static void join(struct fleet *w)
{
    assert_true(w->worker_count < WORKERS_MAX);
    int worker = w->worker_count++;
    struct worker *k = &w->workers[worker];
    static const struct admission_model model = {"e@1", "m@1"};
    *k = (struct worker){.admission = admission_new(&model, 1), .source_count = w->plan.sources};
    assert_non_null(k->admission);
    tell_rules(w, k);
    for (int i = 0; i < k->source_count; i++) {
        struct source *s = &k->sources[i];
        *s = (struct source){.lane = (worker + i) % 3,
                             .app = (worker / 3 + i) % 4,
                             .units_min = w->plan.units_min,
                             .units_max = w->plan.units_max};
        shape_source(w, worker, s);
        s->gate = admission_gate(k->admission, 0, span_of(apps[s->app]));
        assert_true(s->gate >= 0);
        next_job(w, s);
        if (!s->every_us || worker == 0)
            fleet_busy(w, worker, s);
        else if (worker == 1)
            push(w, w->now_us + SECOND, JOB, worker, NULL);
    }
    fleet_wake(w, worker, w->now_us + fleet_between(w, 1, SECOND));
}

static int some_worker(struct fleet *w)
{
    for (int tries = 0; tries < 100; tries++) {
        int worker = (int)fleet_draw(w, w->worker_count);
        if (!w->workers[worker].dead)
            return worker;
    }
    return -1;
}

static void amount_changes(struct fleet *w, int l, int64_t amount)
{
    struct witness *m = &w->witness[l];
    if (amount < m->amount)
        m->lowered_us = w->now_us;
    m->amount = amount;
    m->allowed = amount > m->allowed ? amount : m->allowed;
    w->plan.limit[l].amount = amount;
    for (int i = 0; i < w->worker_count; i++)
        if (!w->workers[i].dead)
            tell_rules(w, &w->workers[i]);
}

/* A worker has no work any more, or has some again. */
static void turn_idle(struct fleet *w, int worker)
{
    struct worker *k = &w->workers[worker];
    struct admission_units many = tokens(w->plan.units_max);
    k->idle = !k->idle;
    for (int i = 0; i < k->source_count; i++)
        admission_waits(k->admission, k->sources[i].gate, k->sources[i].lane, &many,
                        k->idle ? -1000000 : 1000000);
    fleet_wake(w, worker, w->now_us + 1);
}

static void mishap(struct fleet *w)
{
    int worker = some_worker(w), l = (int)fleet_draw(w, w->plan.limits);
    struct worker *k = worker >= 0 ? &w->workers[worker] : NULL;
    w->calm_us = w->now_us;
    switch (fleet_draw(w, 10)) {
    case 0:
        if (k && w->worker_count > 1)
            k->dead = true;
        break;
    case 8:
        if (k && w->worker_count > 1) {
            k->stopping = true;
            fleet_wake(w, worker, w->now_us + 1);
        }
        break;
    case 1:
        if (k)
            k->paused_until_us = w->now_us + fleet_between(w, SECOND, 40 * SECOND);
        break;
    case 2:
        if (w->worker_count < WORKERS_MAX)
            join(w);
        break;
    case 3:
        new_keeper(w, w->now_us + fleet_between(w, SECOND, 10 * SECOND));
        break;
    case 4:
        amount_changes(w, l, w->plan.limit[l].amount * fleet_between(w, 50, 200) / 100 + 1);
        break;
    case 5:
    case 6:
    case 7:
        if (k)
            turn_idle(w, worker);
        break;
    default:
        w->lossy_until_us = w->now_us + fleet_between(w, SECOND, 20 * SECOND);
    }
    if (w->now_us + 2 * w->plan.mishap_every_us < w->mishaps_until_us)
        push(w, w->now_us + fleet_between(w, SECOND, 2 * w->plan.mishap_every_us), MISHAP, 0, NULL);
}

/* ---- playing --------------------------------------------------------------------------------- */

static void forget(struct event *e)
{
    if (e->what == HEAR || e->what == ANSWER)
        free_exchange(e->message);
    else if (e->what == LOOK || e->what == WRITE)
        free_round(e->message);
    else if (e->what == LEAVE || e->what == ARRIVE || e->what == FINISH || e->what == END)
        free(e->message);
}

/* What a worker does waits while it is paused, and is not done once it is dead; what is on the wire
 * goes on. True: it is done with. */
static bool put_off(struct fleet *w, struct event *e)
{
    struct worker *k = &w->workers[e->worker];
    bool own = e->what == WAKE || e->what == LEAVE || e->what == JOB || e->what == SAY ||
               e->what == ANSWER || e->what == GIVE_UP || e->what == END;
    if (!own)
        return false;
    if (k->dead) {
        forget(e);
        return true;
    }
    if (k->paused_until_us <= w->now_us)
        return false;
    push(w, k->paused_until_us, e->what, e->worker, e->message);
    return true;
}

static void give_up(struct fleet *w, int worker, int64_t number)
{
    struct worker *k = &w->workers[worker];
    if (k->exchange == number)
        k->exchange = 0;
    say_at(w, worker);
}

static void happen(struct fleet *w, struct event *e)
{
    if (put_off(w, e))
        return;
    switch (e->what) {
    case WAKE:
        if (w->workers[e->worker].wake_us == e->at_us || w->workers[e->worker].wake_us < w->now_us)
            dispatch(w, e->worker);
        break;
    case LEAVE:
        leave(w, e->worker, e->message);
        break;
    case ARRIVE:
        arrive(w, e->worker, e->message);
        break;
    case FINISH:
        finish_call(w, e->worker, e->message);
        break;
    case END:
        end(w, e->worker, e->message);
        break;
    case JOB:
        job(w, e->worker);
        break;
    case SAY:
        say(w, e->worker);
        break;
    case HEAR:
        hear(w, e->worker, e->message);
        break;
    case ANSWER:
        answer(w, e->worker, e->message);
        break;
    case GIVE_UP:
        give_up(w, e->worker, (int64_t)(uintptr_t)e->message);
        break;
    case LOOK:
        look(w, e->message);
        break;
    case WRITE:
        write_round(w, e->message);
        break;
    case MISHAP:
        mishap(w);
        break;
    }
}

struct fleet *fleet_begin(uint64_t seed, const struct plan *plan)
{
    struct fleet *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->seed = seed * 1000003;
    w->plan = *plan;
    w->now_us = 100 * SECOND;
    w->calm_us = w->now_us;
    w->end_us = w->now_us + plan->minutes * MINUTE;
    w->mishaps_until_us = w->now_us + plan->minutes * MINUTE / 2;
    for (int l = 0; l < plan->limits; l++)
        w->witness[l].amount = w->witness[l].allowed = plan->limit[l].amount;
    for (int i = 0; i < plan->workers; i++)
        join(w);
    new_keeper(w, w->now_us + 300 * MS);
    if (plan->mishap_every_us)
        push(w, w->now_us + fleet_between(w, 1, 2 * MINUTE), MISHAP, 0, NULL);
    return w;
}

void fleet_play(struct fleet *w, int64_t until_us)
{
    while (w->heap_count && w->heap[0].at_us <= until_us) {
        struct event e = pop(w);
        w->now_us = e.at_us;
        happen(w, &e);
    }
    w->now_us = until_us;
}

void fleet_end(struct fleet *w)
{
    for (size_t i = 0; i < w->heap_count; i++)
        forget(&w->heap[i]);
    for (int i = 0; i < w->worker_count; i++)
        admission_free(w->workers[i].admission);
    for (int l = 0; l < LIMITS; l++) {
        for (size_t i = 0; i < w->tables[l].count; i++)
            free(w->tables[l].rows[i].wants);
        free(w->tables[l].rows);
        free(w->witness[l].list);
    }
    shares_free(w->keeper);
    free(w->heap);
    free(w);
}
