/*
 * shares.c - which share of each limit every worker may hold: the keeper's round (pure).
 *
 * Happy path of a limit's round: rows are met with what is remembered of them (who is dead?); wants
 * are summed by lane and app, the amount is divided among those and then among rows (what each
 * should have); rows that cannot make their next call with that take turns; targets become whole
 * numbers; rows that have too much are lowered where others lack it, and what is free is given.
 *
 * Shares move no more than they must: a share that moves is used by nobody for a second or two, and
 * who is lowered calls nothing until he has paid (window.h), however little he is lowered by. So a
 * few large moves are better than many small ones. Rows are lowered only once those that lack what
 * is not free have missed as much by it as the lowered will by paying, or it has lasted; then those
 * that have far too much give it, all at once.
 *
 * Failure modes: no memory: the caller is to write nothing, the next round tries again. A worker
 * that states absurd wants gets at most what its lane and app get.
 */
#include "worker/shares.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/split.h"
#include "worker/window.h"

enum {
    TURN_CALLS = 6,          /* a turn lasts for so many of the largest call ... */
    LOAN_CALLS = 2,          /* ... or so many, when others lend for it */
    SETTLE_ROUNDS = 8,       /* so often is what nobody wants spread evenly */
    SOON_ROUNDS = 8,         /* for so long at most somebody lacks much ... */
    LATE_ROUNDS = 64,        /* ... or little */
    SILENCE_US = 250000,     /* who is lowered calls nothing for so long (window.h) ... */
    ON_ITS_WAY_US = 1500000, /* ... and nobody what moves */
    CALL_TURN_US = 2500000,  /* a call in flight counts as so long */
    MOVE_US = 5 * 1000000,   /* a share is on its way for so long */
};
static const double CREDIT_MAX = 8; /* in needs */
static const double NEAR = 1e-6;
static const double LACKS_MUCH = 1 / 8., LACKS_LITTLE = 1 / 33.; /* of what it wants */
static const double HAS_MORE = 1 / 16., FAR_FROM_EVEN = 1 / 4.;  /* of what it should have */

/* What is remembered of a row between rounds. */
struct watched {
    int64_t worker_id, asks;
    int64_t since_us;      /* it has said nothing else since */
    int64_t turn_until_us; /* it holds what its next call needs; 0: it waits for that */
    double credit;         /* units that it should have had and had not */
};

struct limit_memory {
    int32_t limit_id;
    int64_t new_us; /* when it was seen first */
    size_t count;
    struct watched *rows; /* in the order of worker_id */
    int64_t last_us;
    size_t rounds;
    double missed; /* see struct round */
    size_t missed_rounds;
};

/* One call of shares_round. */
struct round {
    const struct share_limit *limit;
    struct share_row *rows;
    struct watched *watched; /* of each row */
    size_t n;
    int64_t now_us, dt_us, new_us;
    size_t number;
    double missed;        /* since rows lack something and none was lowered; units x us */
    size_t missed_rounds; /* for so long */
    double *want;         /* what a row should have of what is wanted */
    double *target;       /* and with its part of what nobody wants */
    int64_t *whole;       /* target in whole units, but for the dead */
    int64_t *lack;        /* scratch */
    int64_t *now;         /* scratch */
    size_t *order;        /* scratch */
    bool *small;          /* its part is less than its next call needs */
    struct shares *shares;
    int64_t *elsewhere; /* until when it has its turn at another limit */
};

/* Sums of wants by lane and app. */
struct group {
    uint32_t app;
    int lane;
    double units, gets;
    double rest;  /* of `gets`, for those that want more than ... */
    double level; /* ... this; */
    size_t open;  /* so many do */
};

struct shares {
    int weight[LANES_MAX], min_permille[LANES_MAX];
    int lane_count;
    struct limit_memory *limits;
    size_t limit_count;
};

/* ---- making and unmaking --------------------------------------------------------------------- */

struct shares *shares_new(void)
{
    struct shares *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->lane_count = 1;
    s->weight[0] = 1;
    return s;
}

void shares_free(struct shares *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->limit_count; i++)
        free(s->limits[i].rows);
    free(s->limits);
    free(s);
}

void shares_lanes(struct shares *s, const struct lane_conf *conf, int lane_count)
{
    assert(lane_count >= 1 && lane_count <= LANES_MAX);
    s->lane_count = lane_count;
    for (int i = 0; i < lane_count; i++) {
        s->weight[i] = conf[i].weight;
        s->min_permille[i] = conf[i].min_share_permille;
    }
}

static struct limit_memory *memory_of(struct shares *s, int32_t limit_id, int64_t now_us)
{
    for (size_t i = 0; i < s->limit_count; i++)
        if (s->limits[i].limit_id == limit_id)
            return &s->limits[i];
    struct limit_memory *limits = realloc(s->limits, (s->limit_count + 1) * sizeof *limits);
    if (!limits)
        return NULL;
    s->limits = limits;
    limits[s->limit_count] = (struct limit_memory){.limit_id = limit_id, .new_us = now_us};
    return &limits[s->limit_count++];
}

static bool is_one_of(int32_t limit_id, const int32_t *limit_ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (limit_ids[i] == limit_id)
            return true;
    return false;
}

void shares_limits(struct shares *s, const int32_t *limit_ids, size_t n, int64_t now_us)
{
    for (size_t i = s->limit_count; i-- > 0;) {
        if (is_one_of(s->limits[i].limit_id, limit_ids, n))
            continue;
        free(s->limits[i].rows);
        s->limits[i] = s->limits[--s->limit_count];
    }
    for (size_t i = 0; i < n; i++)
        (void)memory_of(s, limit_ids[i], now_us); /* no memory: it is new in its round */
}

/* ---- who is alive? --------------------------------------------------------------------------- */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What the rest of the fleet must leave to a row. */
static int64_t counted(const struct share_limit *limit, const struct share_row *row)
{
    int64_t held = larger(row->share, row->seen);
    return limit->minute_us ? held : larger(held, row->in_use);
}

/* Both are in the order of worker_id. `watched` has room for all rows. */
static void meet(const struct limit_memory *m, struct round *r)
{
    for (size_t i = 0, k = 0; i < r->n; i++) {
        const struct share_row *row = &r->rows[i];
        assert(i == 0 || r->rows[i - 1].worker_id < row->worker_id);
        while (k < m->count && m->rows[k].worker_id < row->worker_id)
            k++;
        bool known = k < m->count && m->rows[k].worker_id == row->worker_id;
        struct watched *w = &r->watched[i];
        *w = known ? m->rows[k] : (struct watched){.worker_id = row->worker_id};
        if (known && w->asks == row->asks)
            continue;
        w->asks = row->asks;
        w->since_us = r->now_us;
    }
}

/* Its lease is over for certain, and the last call that it may have made is paid for: window.h. */
static bool is_dead(const struct share_limit *limit, const struct share_row *row, int64_t silent_us)
{
    int64_t held = larger(row->share, row->seen);
    if (silent_us < SHARES_DEAD_US)
        return false;
    if (!limit->minute_us || !held)
        return true;
    double pay_us = row->need < held ? (double)limit->minute_us * (double)row->need / (double)held
                                     : (double)limit->minute_us;
    return (double)(silent_us - SHARES_LEASE_US - WINDOW_PACE_US - WINDOW_AIR_US) >= pay_us;
}

static void find_dead(struct round *r)
{
    for (size_t i = 0; i < r->n; i++) {
        r->rows[i].give = r->rows[i].share;
        r->rows[i].dead = is_dead(r->limit, &r->rows[i], r->now_us - r->watched[i].since_us);
    }
}

/* Says nothing, and is not dead yet: what it holds is its, but it cannot use more. */
static bool is_silent(const struct round *r, size_t i)
{
    return r->now_us - r->watched[i].since_us >= SHARES_LEASE_US;
}

/* ---- what should each have? ------------------------------------------------------------------ */

struct groups {
    struct group *list;
    size_t count;
    int32_t *table; /* of indexes + 1 */
    size_t mask;
    uint32_t *of_want; /* of each want, row by row: its index */
};

static void groups_done(struct groups *g)
{
    free(g->list);
    free(g->table);
    free(g->of_want);
}

static bool groups_init(struct groups *g, size_t wants)
{
    size_t size = 16;
    while (size < 2 * wants)
        size *= 2;
    *g = (struct groups){.mask = size - 1};
    g->list = calloc(wants + 1, sizeof *g->list);
    g->table = calloc(size, sizeof *g->table);
    g->of_want = calloc(wants + 1, sizeof *g->of_want);
    return g->list && g->table && g->of_want;
}

static uint32_t group_index(struct groups *g, uint32_t app, int lane)
{
    uint64_t key = ((uint64_t)(uint32_t)lane << 32 | app) * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t at = (size_t)(key >> 20) & g->mask;; at = (at + 1) & g->mask) {
        if (!g->table[at]) {
            g->list[g->count] = (struct group){.app = app, .lane = lane};
            g->table[at] = (int32_t)++g->count;
        }
        struct group *found = &g->list[g->table[at] - 1];
        if (found->app == app && found->lane == lane)
            return (uint32_t)(g->table[at] - 1);
    }
}

/* No row can use more than all there is. */
static double want_units(const struct round *r, const struct share_want *w)
{
    int64_t units = w->units < r->limit->amount ? w->units : r->limit->amount;
    return units > 0 ? (double)units : 0;
}

static void sum_wants(const struct shares *s, const struct round *r, struct groups *g)
{
    size_t at = 0;
    for (size_t i = 0; i < r->n; i++) {
        for (size_t k = 0; k < r->rows[i].want_count; k++, at++) {
            const struct share_want *w = &r->rows[i].wants[k];
            int lane = w->lane >= 0 && w->lane < s->lane_count ? w->lane : s->lane_count - 1;
            g->of_want[at] = group_index(g, w->app, lane);
            if (!is_silent(r, i))
                g->list[g->of_want[at]].units += want_units(r, w);
        }
    }
}

/* The apps of a lane, equally. */
static void divide_lane(struct groups *g, int lane, double amount, double *scratch)
{
    size_t n = 0;
    for (size_t i = 0; i < g->count; i++)
        if (g->list[i].lane == lane)
            scratch[n++] = g->list[i].units;
    split_fair(amount, scratch, NULL, scratch + n, n);
    double *gets = scratch + n;
    for (size_t i = 0; i < g->count; i++)
        if (g->list[i].lane == lane)
            g->list[i].gets = *gets++;
}

/* The lanes, by weight and minimum, and the apps of each. */
static void divide(const struct shares *s, struct groups *g, double amount, double *scratch)
{
    size_t lanes = (size_t)s->lane_count;
    double demand[LANES_MAX] = {0}, weight[LANES_MAX], gets[LANES_MAX];
    int shares[LANES_MAX];
    for (size_t i = 0; i < g->count; i++)
        demand[g->list[i].lane] += g->list[i].units;
    for (size_t i = 0; i < lanes; i++)
        shares[i] = demand[i] > 0 ? s->weight[i] : 0;
    split_minimum(shares, s->min_permille, weight, lanes);
    for (size_t i = 0; i < lanes; i++)
        weight[i] = weight[i] > NEAR ? weight[i] : NEAR; /* it wants nothing, or next to nothing */
    split_fair(amount, demand, weight, gets, lanes);
    for (size_t i = 0; i < lanes; i++)
        if (demand[i] > 0)
            divide_lane(g, (int)i, gets[i], scratch);
}

/* What one may have of `units` at least: all of them, or as much as anybody of its group. */
static double at_level(const struct group *of, double units)
{
    return units < of->level ? units : of->level;
}

/* Who wants less than an even part of what is left of its group's has all that it wants, and the
 * others have the more: again, until none is left that wants less. Not by what each wants: queues
 * flicker between full and half full, and shares should not. */
static void find_levels(const struct round *r, struct groups *g)
{
    for (size_t i = 0; i < g->count; i++)
        g->list[i].level = 0;
    for (bool again = true; again;) {
        for (size_t i = 0; i < g->count; i++) {
            g->list[i].rest = g->list[i].gets;
            g->list[i].open = 0;
        }
        size_t at = 0;
        for (size_t i = 0; i < r->n; i++)
            for (size_t k = 0; k < r->rows[i].want_count; k++, at++) {
                struct group *of = &g->list[g->of_want[at]];
                double units = is_silent(r, i) ? 0 : want_units(r, &r->rows[i].wants[k]);
                of->open += units > of->level;
                of->rest -= units > of->level ? 0 : units;
            }
        again = false;
        for (size_t i = 0; i < g->count; i++) {
            struct group *of = &g->list[i];
            double level = of->open ? of->rest / (double)of->open : of->level;
            again = again || level > of->level + NEAR * of->gets;
            of->level = level > of->level ? level : of->level;
        }
    }
}

/* want: of what is wanted; target: with an even part of what is left. */
static void give_rows(struct round *r, struct groups *g)
{
    size_t at = 0, alive = 0;
    double wanted = 0, amount = (double)r->limit->amount;
    find_levels(r, g);
    for (size_t i = 0; i < r->n; i++) {
        r->want[i] = 0;
        for (size_t k = 0; k < r->rows[i].want_count; k++, at++)
            if (!is_silent(r, i))
                r->want[i] +=
                    at_level(&g->list[g->of_want[at]], want_units(r, &r->rows[i].wants[k]));
        wanted += r->want[i];
        alive += !is_silent(r, i);
    }
    for (size_t i = 0; i < r->n && wanted > amount; i++)
        r->want[i] *= amount / wanted;
    double rest = wanted < amount ? amount - wanted : 0;
    for (size_t i = 0; i < r->n; i++)
        r->target[i] = r->want[i] + (is_silent(r, i) ? 0 : rest / (double)alive);
}

static bool find_targets(const struct shares *s, struct round *r)
{
    struct groups g;
    size_t wants = 0;
    for (size_t i = 0; i < r->n; i++)
        wants += r->rows[i].want_count;
    bool ok = groups_init(&g, wants);
    double *scratch = ok ? calloc(2 * wants + 1, sizeof *scratch) : NULL;
    if (scratch) {
        sum_wants(s, r, &g);
        divide(s, &g, (double)r->limit->amount, scratch);
        give_rows(r, &g);
    }
    free(scratch);
    groups_done(&g);
    return scratch != NULL;
}

/* ---- turns: a part that is smaller than the next call is of no use --------------------------- */

static double need_of(const struct round *r, size_t i)
{
    int64_t need = r->rows[i].need < 1 ? 1 : r->rows[i].need;
    return (double)(need < r->limit->amount ? need : r->limit->amount);
}

static bool is_small(const struct round *r, size_t i)
{
    return r->want[i] > 0 && r->target[i] + NEAR < need_of(r, i);
}

static int64_t turn_us(const struct round *r, int calls, double need, double share)
{
    int64_t minute_us = r->limit->minute_us ? r->limit->minute_us : CALL_TURN_US;
    return (int64_t)((double)minute_us * calls * need / share) + MOVE_US;
}

/* A call may need the turn at two limits. If each went its own way, workers could have them in
 * opposite order for ever, and none ever call. So who has a turn elsewhere goes first, unless he
 * has had his part; and the turn there lasts until the new one is over. */
static struct watched *turn_at(const struct limit_memory *m, int64_t worker_id, int64_t now_us)
{
    size_t i = 0, beyond = m->count;
    while (i < beyond) {
        size_t middle = (i + beyond) / 2;
        if (m->rows[middle].worker_id < worker_id)
            i = middle + 1;
        else
            beyond = middle;
    }
    bool is_there = i < m->count && m->rows[i].worker_id == worker_id;
    return is_there && m->rows[i].turn_until_us > now_us ? &m->rows[i] : NULL;
}

static int64_t turn_elsewhere(const struct round *r, int64_t worker_id)
{
    int64_t until_us = 0;
    for (size_t k = 0; k < r->shares->limit_count; k++) {
        const struct limit_memory *m = &r->shares->limits[k];
        bool is_other = m->limit_id != r->limit->limit_id;
        const struct watched *w = is_other ? turn_at(m, worker_id, r->now_us) : NULL;
        if (w && w->turn_until_us > until_us)
            until_us = w->turn_until_us;
    }
    return until_us;
}

static void extend_elsewhere(struct round *r, int64_t worker_id, int64_t until_us)
{
    for (size_t k = 0; k < r->shares->limit_count; k++) {
        const struct limit_memory *m = &r->shares->limits[k];
        bool is_other = m->limit_id != r->limit->limit_id;
        struct watched *w = is_other ? turn_at(m, worker_id, r->now_us) : NULL;
        if (w && w->turn_until_us < until_us)
            w->turn_until_us = until_us;
    }
}

/* What it should have had since the last round, less what it had. */
static void add_credit(struct round *r, size_t i)
{
    struct watched *w = &r->watched[i];
    double minute_us = (double)(r->limit->minute_us ? r->limit->minute_us : CALL_TURN_US);
    double had = w->turn_until_us ? (double)r->rows[i].share : 0;
    double most = CREDIT_MAX * need_of(r, i);
    w->credit += (r->target[i] - had) * (double)r->dt_us / minute_us;
    w->credit = w->credit > most ? most : w->credit < -most ? -most : w->credit;
}

/* Whose turn lasts comes first, then who has one elsewhere, then who has waited for most of what he
 * needs. */
static int by_credit(const void *a, const void *b, void *arg)
{
    const struct round *r = arg;
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    bool on_i = r->watched[i].turn_until_us > r->now_us;
    bool on_k = r->watched[k].turn_until_us > r->now_us;
    if (on_i != on_k)
        return on_i ? -1 : 1;
    double ci = r->watched[i].credit / need_of(r, i), ck = r->watched[k].credit / need_of(r, k);
    bool also_i = r->elsewhere[i] && ci >= 0, also_k = r->elsewhere[k] && ck >= 0;
    if (also_i != also_k)
        return also_i ? -1 : 1;
    if (ci != ck)
        return ci > ck ? -1 : 1;
    return i < k ? -1 : i > k;
}

/* The rows that take turns, in the order in which they have them; their parts go to the pool. */
static size_t list_small(struct round *r, double *ret_pool)
{
    size_t small = 0;
    *ret_pool = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->small[i] = is_small(r, i);
        if (!r->small[i]) {
            r->watched[i].credit = 0;
            r->watched[i].turn_until_us = 0;
            continue;
        }
        add_credit(r, i);
        *ret_pool += r->target[i];
        r->elsewhere[i] = turn_elsewhere(r, r->rows[i].worker_id);
        r->order[small++] = i;
    }
    qsort_r(r->order, small, sizeof *r->order, by_credit, r);
    return small;
}

/* What those have that take no turns. */
static double others_have(const struct round *r)
{
    double others = 0;
    for (size_t i = 0; i < r->n; i++)
        others += r->small[i] ? 0 : r->target[i];
    return others;
}

/* Of those in order[0 .. small) the first that the pool has room for; else the first alone, if it
 * has waited for what others lend it, or there are none. They come to the front. Returns how many,
 * and what they need. */
static size_t choose_holders(struct round *r, size_t small, double pool, double others,
                             double *ret_used)
{
    size_t holders = 0;
    *ret_used = 0;
    for (size_t k = 0; k < small; k++) {
        size_t i = r->order[k];
        const struct watched *w = &r->watched[i];
        bool may_borrow =
            !holders && (others <= 0 || w->credit >= 0 || w->turn_until_us > r->now_us);
        if (*ret_used + need_of(r, i) > pool + NEAR && !may_borrow)
            continue;
        *ret_used += need_of(r, i);
        r->order[k] = r->order[holders];
        r->order[holders++] = i;
    }
    return holders;
}

/* The others get what no holder has (negative: lend it). */
static void scale_others(struct round *r, double others, double more)
{
    double times = others > 0 && others + more > 0 ? (others + more) / others : 0;
    for (size_t i = 0; i < r->n; i++) {
        if (r->small[i])
            continue;
        r->target[i] *= times;
        r->want[i] = r->want[i] < r->target[i] ? r->want[i] : r->target[i];
    }
}

static void take_turns(struct round *r)
{
    double pool, used;
    size_t small = list_small(r, &pool);
    if (!small)
        return;
    double others = others_have(r);
    size_t holders = choose_holders(r, small, pool, others, &used);
    bool borrow = used > pool;
    double times = borrow || !holders ? 1 : pool / used;
    if (borrow || !holders)
        scale_others(r, others, pool - used);
    for (size_t k = 0; k < small; k++) {
        size_t i = r->order[k];
        struct watched *w = &r->watched[i];
        r->want[i] = r->target[i] = k < holders ? need_of(r, i) * times : 0;
        if (k >= holders)
            w->turn_until_us = 0;
        if (k >= holders || w->turn_until_us > r->now_us)
            continue;
        w->turn_until_us =
            r->now_us + turn_us(r, borrow ? LOAN_CALLS : TURN_CALLS, need_of(r, i), r->target[i]);
        extend_elsewhere(r, w->worker_id, w->turn_until_us);
    }
}

/* ---- from targets to shares ------------------------------------------------------------------ */

/* Targets in whole units: of those that are alive. */
static void round_targets(struct round *r)
{
    size_t alive = 0;
    for (size_t i = 0; i < r->n; i++) {
        r->whole[i] = 0;
        if (r->rows[i].dead)
            r->target[i] = r->want[i] = 0;
        alive += !r->rows[i].dead;
        r->now[i] = r->rows[i].share;
    }
    if (alive)
        split_whole(r->limit->amount, r->target, r->now, r->whole, r->order, r->n);
}

/* What a row lacks of what it wants, if that is worth a move. */
static int64_t lacks(const struct round *r, size_t i, double at_least)
{
    int64_t want = (int64_t)ceil(r->want[i] - NEAR);
    want = want < r->whole[i] ? want : r->whole[i];
    int64_t lack = want - r->rows[i].give;
    return lack > 0 && (double)lack > (double)want * at_least ? lack : 0;
}

static bool has_more(const struct round *r, size_t i, double than)
{
    int64_t more = r->rows[i].share - r->whole[i];
    return !r->rows[i].dead && (double)more > (double)r->whole[i] * than + 1;
}

/* What rows lack and what others have too much. */
struct gaps {
    int64_t missing; /* is lacked, and will not be free once all is said */
    int64_t more;    /* beyond targets */
    bool over;       /* shares are more than the limit */
    bool starved;    /* somebody cannot make its next call */
    bool much;       /* somebody lacks much of what it wants */
    bool uneven;     /* somebody has far more than it should have */
};

static struct gaps find_gaps(const struct round *r)
{
    struct gaps g = {0};
    int64_t left = r->limit->amount;
    for (size_t i = 0; i < r->n; i++) {
        left -= r->rows[i].share;
        if (r->rows[i].dead)
            continue;
        g.missing += lacks(r, i, LACKS_LITTLE);
        g.starved = g.starved || (lacks(r, i, 0) && (double)r->rows[i].give < need_of(r, i));
        g.much = g.much || lacks(r, i, LACKS_MUCH);
        g.uneven = g.uneven || has_more(r, i, FAR_FROM_EVEN);
        g.more += r->rows[i].share > r->whole[i] ? r->rows[i].share - r->whole[i] : 0;
    }
    g.over = left < 0;
    g.missing = g.missing > left ? g.missing - left : 0;
    return g;
}

/* A row that wants less than it has makes up for a silence. */
static bool uses_all(const struct round *r, size_t i)
{
    const struct share_row *row = &r->rows[i];
    double wants = 0;
    for (size_t k = 0; k < row->want_count; k++)
        wants += want_units(r, &row->wants[k]);
    return wants >= (double)row->share;
}

/* Those that have far too much go down to their targets; the others only if that is not enough. In
 * `now`; returns what they do not call while they pay for it, in units x us. */
static double choose_lowered(struct round *r, int64_t missing)
{
    double costs = 0;
    for (size_t i = 0; i < r->n; i++)
        r->now[i] = r->rows[i].give;
    for (int pass = 0; pass < 2 && missing > 0; pass++)
        for (size_t i = 0; i < r->n; i++) {
            const struct share_row *row = &r->rows[i];
            if (row->dead || r->now[i] <= r->whole[i] || (!pass && !has_more(r, i, HAS_MORE)))
                continue;
            int64_t moves = r->now[i] - r->whole[i];
            if (uses_all(r, i))
                costs += (double)row->share * SILENCE_US + (double)moves * ON_ITS_WAY_US;
            missing -= moves;
            r->now[i] = r->whole[i];
        }
    return r->limit->minute_us ? costs : 0; /* calls in flight end by themselves */
}

/* Is it time to lower rows for what others miss? Once that has cost them as much as lowering costs
 * (who rents skis should buy them then), or it has lasted; at once for who has nothing to call
 * with. */
static bool is_worth_it(struct round *r, const struct gaps *g, double costs)
{
    r->missed += (double)g->missing * (double)r->dt_us;
    r->missed_rounds++;
    return g->starved || r->missed >= costs ||
           r->missed_rounds >= (g->much ? SOON_ROUNDS : LATE_ROUNDS);
}

static void lower(struct round *r)
{
    struct gaps g = find_gaps(r);
    bool evens_out = !g.missing && g.uneven && r->number % SETTLE_ROUNDS == 0;
    double costs = choose_lowered(r, evens_out ? g.more : g.missing);
    if (g.missing && !is_worth_it(r, &g, costs) && !g.over)
        return;
    r->missed = 0;
    r->missed_rounds = 0;
    for (size_t i = 0; i < r->n; i++)
        r->rows[i].give = r->now[i];
}

/* A limit of calls that nobody has a share of yet: of those that may run not all have been said. */
static bool is_too_early(const struct round *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].share)
            return false;
    return !r->limit->minute_us && r->now_us - r->new_us < SHARES_NEW_US;
}

/* First to those that lack what they want, then towards all targets. */
static void raise(struct round *r)
{
    int64_t left = is_too_early(r) ? 0 : r->limit->amount;
    for (size_t i = 0; i < r->n; i++)
        left -= counted(r->limit, &r->rows[i]); /* its share counts until it is known as lower */
    for (int pass = 0; pass < 2 && left > 0; pass++) {
        for (size_t i = 0; i < r->n; i++) {
            const struct share_row *row = &r->rows[i];
            int64_t lack = pass ? r->whole[i] - row->give : lacks(r, i, LACKS_LITTLE);
            r->lack[i] = row->dead || lack < 0 ? 0 : lack;
            r->now[i] = row->give;
        }
        left = split_free(left, r->lack, r->now, r->n, r->number);
        for (size_t i = 0; i < r->n; i++)
            r->rows[i].give = r->now[i];
    }
}

/* ---- a round --------------------------------------------------------------------------------- */

static bool round_init(struct round *r)
{
    size_t n = r->n + 1; /* never an allocation of 0 bytes */
    r->watched = calloc(n, sizeof *r->watched);
    r->want = calloc(n, sizeof *r->want);
    r->target = calloc(n, sizeof *r->target);
    r->whole = calloc(n, sizeof *r->whole);
    r->lack = calloc(n, sizeof *r->lack);
    r->now = calloc(n, sizeof *r->now);
    r->order = calloc(n, sizeof *r->order);
    r->small = calloc(n, sizeof *r->small);
    r->elsewhere = calloc(n, sizeof *r->elsewhere);
    return r->watched && r->want && r->target && r->whole && r->lack && r->now && r->order &&
           r->small && r->elsewhere;
}

static void round_done(struct round *r)
{
    free(r->watched);
    free(r->want);
    free(r->target);
    free(r->whole);
    free(r->lack);
    free(r->now);
    free(r->order);
    free(r->small);
    free(r->elsewhere);
}

/* Remembers the rows, but for nothing that was only thought of: a round that fails changes none. */
static void remember(struct limit_memory *m, struct round *r)
{
    free(m->rows);
    m->rows = r->watched;
    r->watched = NULL;
    m->count = r->n;
    m->last_us = r->now_us;
    m->missed = r->missed;
    m->missed_rounds = r->missed_rounds;
    m->rounds++;
}

enum rc shares_round(struct shares *s, const struct share_limit *limit, struct share_row *rows,
                     size_t n, int64_t now_us, struct err *err)
{
    assert(limit->amount > 0);
    struct limit_memory *m = memory_of(s, limit->limit_id, now_us);
    struct round r = {.shares = s, .limit = limit, .rows = rows, .n = n, .now_us = now_us};
    bool ok = m && round_init(&r);
    if (ok) {
        r.new_us = m->new_us;
        r.number = m->rounds;
        r.missed = m->missed;
        r.missed_rounds = m->missed_rounds;
        r.dt_us = m->rounds && now_us - m->last_us < MOVE_US ? now_us - m->last_us : 0;
        meet(m, &r);
        find_dead(&r);
        ok = find_targets(s, &r);
    }
    if (ok) {
        take_turns(&r);
        round_targets(&r);
        lower(&r);
        raise(&r);
        remember(m, &r);
    }
    round_done(&r);
    return ok ? RC_OK : err_set(err, RC_NOMEM, "no memory to share a limit among %zu workers", n);
}
