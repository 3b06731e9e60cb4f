/*
 * admission_fleet.c - a worker's own view of the shared limits: what the fleet is told, and what it
 * answers (pure).
 *
 * Happy path: once a second all limits that mattered within the last minute are said: what waits
 * and what went within about a minute, by lane and app; the largest call; what is held. The answer
 * gives each a share and a lease, counted from when the exchange began.
 *
 * Failure modes: an exchange without an answer is lost; the lease runs out unless a later one is
 * answered. An answer to any but the last exchange is dropped: the server may have heard newer
 * words since, and count by those.
 */
#include "worker/admission.h"

#include <limits.h>
#include <stdlib.h>

#include "worker/admission_impl.h"

enum {
    EVERY_US = 1000 * 1000,
    SOON_US = 200 * 1000,         /* at most so often, when somebody waits for it */
    ACTIVE_US = 65 * 1000 * 1000, /* a limit that mattered so lately is exchanged */
    DAY_AGAIN_US = 5 * 1000 * 1000,
    DAY_CHUNKS = 256,               /* a chunk is at most this part of a day's budget ... */
    DAY_CALLS = 8,                  /* ... or so many of the largest call, where that is more */
    DAY_LOOK_US = 10 * 1000 * 1000, /* so often it is looked for what is spare */
    MINUTE_US = 60 * 1000 * 1000,
    READY_US = 5 * 1000 * 1000,  /* of a share, stands ready in memory */
    BEHIND_US = 3 * 1000 * 1000, /* rows of `parked` are looked at every second */
    BACK_US = 8 * 1000 * 1000,   /* a rebalance, and the first records after it ... */
    DEALT_US = 3 * 1000 * 1000,  /* ... and those alone */
    SEEDS = 8,                   /* jobs that a worker asks with, before it has any share */
};

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t need_of(const struct admission_limit *l)
{
    int64_t need = larger(l->need[0], larger(l->need[1], l->need[2]));
    return larger(need < l->rule.amount ? need : l->rule.amount, 1);
}

static int64_t holds(struct admission_limit *l, int64_t now_us)
{
    return l->window ? window_holds(l->window, now_us) : l->share;
}

/* ---- what is said ---------------------------------------------------------------------------- */

static int64_t count_of(enum limit_dimension dimension, const struct admission_count *c)
{
    switch (dimension) {
    case LIMIT_INPUT_TOKENS_PER_MINUTE:
        return c->input_tokens;
    case LIMIT_OUTPUT_TOKENS_PER_MINUTE:
        return c->output_tokens;
    case LIMIT_TOKENS_PER_MINUTE:
    case LIMIT_TOKENS_PER_DAY:
        return c->input_tokens + c->output_tokens;
    case LIMIT_REQUESTS_PER_MINUTE:
    case LIMIT_IN_FLIGHT:
    case LIMIT_DIMENSION_END:
        break;
    }
    return c->jobs;
}

static void add_count(struct admission_count *sum, const struct admission_count *c)
{
    sum->jobs += c->jobs;
    sum->input_tokens += c->input_tokens;
    sum->output_tokens += c->output_tokens;
}

void admission_due(struct admission *a, int lane, struct span app, int64_t rows, int64_t now_us)
{
    for (size_t i = 0; i < a->gate_count; i++) {
        struct admission_sums *s = &a->gates[i]->lanes[lane];
        if (!s->waiting.jobs || !span_eq(app, (struct span){a->gates[i]->app, a->gates[i]->app_n}))
            continue;
        bool lasts = s->behind_until_us > now_us; /* the largest of several keys */
        s->behind = lasts ? larger(rows, s->behind) : rows;
        s->behind_until_us = now_us + BEHIND_US;
    }
}

void admission_close(struct admission *a, bool (*is_closed)(void *arg, int model), void *arg)
{
    for (size_t i = 0; i < a->gate_count; i++) {
        struct admission_gate *g = a->gates[i];
        bool was = g->closed;
        g->closed = is_closed(arg, g->model);
        a->urgent = a->urgent || (was && !g->closed && g->count > 0);
    }
}

void admission_expect_back(struct admission *a, int64_t now_us)
{
    bool lasts = a->kept_until_us > now_us; /* one rebalance upon another */
    a->kept_until_us = now_us + BACK_US;
    for (size_t i = 0; i < a->gate_count; i++) {
        for (int lane = 0; lane < LANES_MAX; lane++) {
            struct admission_sums *s = &a->gates[i]->lanes[lane];
            if (!lasts || s->waiting.jobs > s->kept.jobs)
                s->kept = s->waiting;
        }
    }
}

void admission_dealt(struct admission *a, int64_t now_us)
{
    if (a->kept_until_us > now_us + DEALT_US)
        a->kept_until_us = now_us + DEALT_US;
}

/* What waits here, or did before a rebalance. */
static const struct admission_count *waits(const struct admission *a,
                                           const struct admission_sums *s, int64_t now_us)
{
    bool keeps = a->kept_until_us > now_us && s->kept.jobs > s->waiting.jobs;
    return keeps ? &s->kept : &s->waiting;
}

/* Of the `behind` that wait in Postgres, as much a job as of what waits here. */
static int64_t behind(const struct admission *a, enum limit_dimension dimension,
                      const struct admission_sums *s, int64_t now_us)
{
    const struct admission_count *here = waits(a, s, now_us);
    bool any = here->jobs > 0 && s->behind_until_us > now_us;
    return any ? count_of(dimension, here) / here->jobs * s->behind : 0;
}

/* What waits here, and behind it in Postgres: of those a worker takes only as many as it can soon
 * use. And what goes in a minute, if all goes on as in the last 15 to 30 s (or is in flight): what
 * a worker uses without a queue is wanted as well. */
static int64_t wanted(const struct admission *a, enum limit_dimension dimension,
                      const struct admission_sums *s, int64_t now_us)
{
    int64_t waiting = count_of(dimension, waits(a, s, now_us)) + behind(a, dimension, s, now_us);
    if (dimension == LIMIT_IN_FLIGHT)
        return waiting + s->in_flight;
    double minutes = (double)(RECENT_US + now_us - a->recent_us) / MINUTE_US;
    double recent =
        (double)count_of(dimension, &s->recent[0]) + (double)count_of(dimension, &s->recent[1]);
    return waiting + (int64_t)(recent / minutes);
}

static bool bound_by(const struct admission_gate *g, int limit)
{
    for (int k = 0; k < g->count; k++)
        if (g->limits[k] == limit)
            return true;
    return false;
}

/* Appends a limit's wants at `at`; counts on if there is no room. */
static size_t list_wants(const struct admission *a, int limit, int64_t now_us, size_t at,
                         int64_t *ret_behind)
{
    enum limit_dimension dimension = a->limits[limit]->rule.dimension;
    for (size_t i = 0; i < a->gate_count; i++) {
        const struct admission_gate *g = a->gates[i];
        if (g->closed || !bound_by(g, limit))
            continue;
        for (int lane = 0; lane < LANES_MAX; lane++) {
            int64_t units = wanted(a, dimension, &g->lanes[lane], now_us);
            if (units <= 0)
                continue;
            *ret_behind += behind(a, dimension, &g->lanes[lane], now_us);
            if (at < a->want_cap)
                a->wants[at] = (struct share_want){g->app_hash, lane, units};
            at++;
        }
    }
    return at;
}

static bool grow(void **list, size_t *cap, size_t count, size_t size)
{
    if (count <= *cap)
        return true;
    void *more = realloc(*list, 2 * count * size);
    if (!more)
        return false;
    *list = more;
    *cap = 2 * count;
    return true;
}

static bool is_exchanged(const struct admission_limit *l)
{
    return l->rule.dimension != LIMIT_TOKENS_PER_DAY;
}

/* Fills in wants; the returned count is beyond want_cap when there was no room. */
static size_t say_all(struct admission *a, int64_t now_us, size_t *ret_says)
{
    size_t says = 0, wants = 0;
    for (size_t i = 0; i < a->limit_count; i++) {
        struct admission_limit *l = a->limits[i];
        size_t first = wants;
        int64_t parked = 0;
        l->said_wanted = false;
        if (!is_exchanged(l))
            continue;
        wants = list_wants(a, (int)i, now_us, wants, &parked);
        if (wants > first || l->in_use)
            l->active_us = now_us;
        if (l->active_us + ACTIVE_US <= now_us || l->active_us == 0)
            continue;
        l->said_wanted = wants > first;
        l->said = holds(l, now_us);
        l->said_need = need_of(l);
        int64_t in_use = l->window ? window_sent(l->window, now_us) : l->in_use;
        a->says[says++] = (struct admission_say){.limit_id = l->rule.limit_id,
                                                 .need = l->said_need,
                                                 .in_use = in_use > 0 ? in_use : 0,
                                                 .holds = l->said,
                                                 .want_count = wants - first,
                                                 .behind = parked};
    }
    *ret_says = says;
    return wants;
}

enum rc admission_exchange(struct admission *a, int64_t now_us, const struct admission_say **ret,
                           size_t *ret_count, int64_t *ret_number, struct err *err)
{
    size_t says = 0;
    admission_advance(a, now_us);
    if (!grow((void **)&a->says, &a->say_cap, a->limit_count + 1, sizeof *a->says))
        return err_set(err, RC_NOMEM, "no memory to say what is wanted of %zu limits",
                       a->limit_count);
    size_t wants = say_all(a, now_us, &says);
    if (wants > a->want_cap) {
        if (!grow((void **)&a->wants, &a->want_cap, wants, sizeof *a->wants))
            return err_set(err, RC_NOMEM, "no memory to say %zu wants", wants);
        (void)say_all(a, now_us, &says);
    }
    const struct share_want *next = a->wants;
    for (size_t i = 0; i < says; next += a->says[i++].want_count)
        a->says[i].wants = next;
    a->sent_us = now_us;
    a->urgent = false;
    *ret = a->says;
    *ret_count = says;
    *ret_number = ++a->number;
    return RC_OK;
}

int64_t admission_exchange_at(const struct admission *a, int64_t now_us)
{
    bool any = a->urgent;
    for (size_t i = 0; i < a->limit_count && !any; i++) {
        const struct admission_limit *l = a->limits[i];
        bool active = l->active_us && l->active_us + ACTIVE_US > now_us;
        any = is_exchanged(l) && (active || l->in_use);
    }
    if (!any || !a->limit_count)
        return INT64_MAX;
    bool first = a->number == 0;
    return first ? now_us : a->sent_us + (a->urgent ? SOON_US : EVERY_US);
}

/* ---- how many may come? ---------------------------------------------------------------------- */

/* What it may give within READY_US, in its units. */
static int64_t soon(const struct admission_limit *l, int64_t now_us)
{
    if (l->rule.dimension == LIMIT_TOKENS_PER_DAY)
        return now_us < l->until_us ? larger(l->left, 0) : 0;
    if (!l->leased)
        return 0;
    return l->window ? l->share / (MINUTE_US / READY_US) : 2 * l->share;
}

/* A day's budget of which the last chunk was empty is spent. */
static bool is_spent(const struct admission_limit *l, int64_t now_us)
{
    return l->rule.dimension == LIMIT_TOKENS_PER_DAY && l->left <= 0 && now_us < l->until_us &&
           now_us < l->day_ask_at_us;
}

static void count_jobs(const struct admission *a, int limit, struct admission_count *waiting,
                       struct admission_count *recent)
{
    for (size_t i = 0; i < a->gate_count; i++) {
        if (!bound_by(a->gates[i], limit))
            continue;
        for (int lane = 0; lane < LANES_MAX; lane++) {
            const struct admission_sums *s = &a->gates[i]->lanes[lane];
            add_count(waiting, &s->waiting);
            add_count(recent, &s->recent[0]);
            add_count(recent, &s->recent[1]);
        }
    }
}

bool admission_state(struct admission *a, size_t n, int64_t now_us, struct admission_state *ret)
{
    struct admission_count waiting = {0}, recent = {0};
    if (n >= a->limit_count)
        return false;
    admission_advance(a, now_us);
    struct admission_limit *l = a->limits[n];
    count_jobs(a, (int)n, &waiting, &recent);
    bool of_day = l->rule.dimension == LIMIT_TOKENS_PER_DAY;
    *ret = (struct admission_state){
        .rule = &l->rule,
        .share = of_day ? (now_us < l->until_us ? larger(l->left, 0) : 0) : l->share,
        .used = l->window ? window_sent(l->window, now_us)
                : of_day  ? 0
                          : l->in_use,
        .waiting = waiting.jobs,
        .excess = l->excess};
    return true;
}

void admission_held(const struct admission *a, int gate, int64_t now_us, struct admission_held *ret)
{
    const struct admission_gate *g = a->gates[gate];
    for (int i = 0; i < ADMISSION_GATE_LIMITS; i++) {
        bool now = g->blocked && i == g->held_at;
        ret->ms[i] = (uint32_t)((g->held_us[i] + (now ? now_us - g->blocked_since_us : 0)) / 1000);
    }
}

int32_t admission_held_by(const struct admission *a, int gate, int place)
{
    return a->gates[gate]->held_by[place];
}

/* Its index; limit_count: there is none. */
static size_t find_limit(const struct admission *a, int32_t limit_id)
{
    size_t at = 0;
    while (at < a->limit_count && a->limits[at]->rule.limit_id != limit_id)
        at++;
    return at;
}

int admission_stock(struct admission *a, int32_t limit_id, int64_t now_us)
{
    struct admission_count waiting = {0}, recent = {0};
    admission_advance(a, now_us);
    size_t at = find_limit(a, limit_id);
    if (at == a->limit_count)
        return INT_MAX;
    const struct admission_limit *l = a->limits[at];
    if (is_spent(l, now_us))
        return 0;
    count_jobs(a, (int)at, &waiting, &recent);
    add_count(&recent, &waiting);
    int64_t each = recent.jobs ? count_of(l->rule.dimension, &recent) / recent.jobs : need_of(l);
    int64_t stock = soon(l, now_us) / larger(each, 1) + SEEDS;
    return stock < INT_MAX ? (int)stock : INT_MAX - 1;
}

/* By lane: or a few jobs of a low lane, which are not next, would keep those of a high one out. */
int64_t admission_stands(const struct admission *a, int32_t limit_id, int lane, struct span app)
{
    int64_t jobs = 0;
    size_t at = find_limit(a, limit_id);
    for (size_t i = 0; i < a->gate_count && at < a->limit_count; i++) {
        const struct admission_gate *g = a->gates[i];
        if (bound_by(g, (int)at) && (!app.p || span_eq(app, (struct span){g->app, g->app_n})))
            jobs += g->lanes[lane].waiting.jobs;
    }
    return jobs;
}

int32_t admission_endpoint_limit(const struct admission *a, struct span endpoint, int n)
{
    for (size_t i = 0; i < a->limit_count; i++) {
        const struct admission_rule *rule = &a->limits[i]->rule;
        if (rule->scope == LIMIT_ENDPOINT && span_eq(rule->key, endpoint) && n-- == 0)
            return rule->limit_id;
    }
    return 0;
}

size_t admission_unpaid(struct admission *a, int32_t *ret_limit_ids, size_t most, int64_t now_us)
{
    size_t n = 0;
    admission_advance(a, now_us);
    for (size_t i = 0; i < a->limit_count; i++) {
        struct admission_limit *l = a->limits[i];
        if (!l->window || window_is_paid(l->window, now_us))
            continue;
        if (n < most)
            ret_limit_ids[n] = l->rule.limit_id;
        n++;
    }
    return n;
}

/* ---- what is answered ------------------------------------------------------------------------ */

void admission_answer(struct admission *a, int64_t number, int32_t limit_id, int64_t share,
                      int64_t now_us)
{
    admission_advance(a, now_us);
    if (number != a->number || a->sent_us + SHARES_LEASE_US <= now_us)
        return;
    for (size_t i = 0; i < a->limit_count; i++) {
        struct admission_limit *l = a->limits[i];
        if (l->rule.limit_id != limit_id || !is_exchanged(l))
            continue;
        int64_t may = share < l->rule.amount ? share : l->rule.amount;
        may = may > 0 ? may : 0;
        a->urgent = a->urgent || may < l->said; /* somebody waits to hear that it is let go */
        l->leased = true;
        l->lease_until_us = a->sent_us + SHARES_LEASE_US;
        l->known_need = l->said_need;
        a->lapse_at_us = l->lease_until_us < a->lapse_at_us ? l->lease_until_us : a->lapse_at_us;
        l->share = may;
        if (l->window)
            window_share(l->window, may, now_us);
        return;
    }
}

/* ---- a day's budget -------------------------------------------------------------------------- */

static bool wants_day(const struct admission_limit *l, int64_t now_us)
{
    bool low = now_us >= l->until_us || l->left < need_of(l) * 2;
    return l->rule.dimension == LIMIT_TOKENS_PER_DAY && low && l->active_us && !l->day_asked &&
           l->active_us + ACTIVE_US > now_us && now_us >= l->day_ask_at_us;
}

/* What waits, and what goes in a minute. */
static int64_t day_wanted(const struct admission *a, size_t limit, int64_t now_us)
{
    int64_t units = 0;
    for (size_t i = 0; i < a->gate_count; i++) {
        const struct admission_gate *g = a->gates[i];
        if (g->closed || !bound_by(g, (int)limit))
            continue;
        for (int lane = 0; lane < LANES_MAX; lane++)
            units += wanted(a, LIMIT_TOKENS_PER_DAY, &g->lanes[lane], now_us);
    }
    return units;
}

/* Few workers that have much to do take large chunks, seldom; many that have little leave the day
 * to each other. */
static int64_t chunk_of(const struct admission_limit *l, int64_t units)
{
    int64_t most = l->rule.amount / DAY_CHUNKS;
    return larger(need_of(l) * DAY_CALLS, units < most ? units : most);
}

size_t admission_day_wants(struct admission *a, struct admission_chunk *ret, size_t max,
                           int64_t now_us)
{
    size_t count = 0;
    for (size_t i = 0; i < a->limit_count && count < max; i++) {
        struct admission_limit *l = a->limits[i];
        if (!wants_day(l, now_us))
            continue;
        int64_t units = chunk_of(l, day_wanted(a, i, now_us));
        l->day_asked = true;
        ret[count++] = (struct admission_chunk){.limit_id = l->rule.limit_id, .units = units};
    }
    return count;
}

static struct admission_limit *of_id(const struct admission *a, int32_t limit_id)
{
    for (size_t i = 0; i < a->limit_count; i++)
        if (a->limits[i]->rule.limit_id == limit_id)
            return a->limits[i];
    return NULL;
}

void admission_day_comes(struct admission *a, const struct admission_chunk *chunk, int64_t until_us,
                         int64_t now_us)
{
    struct admission_limit *l = of_id(a, chunk->limit_id);
    if (!l)
        return;
    l->day_asked = false;
    l->day_ask_at_us = now_us + (chunk->units > 0 ? 0 : DAY_AGAIN_US);
    if (chunk->day != l->day) {
        l->day = chunk->day;
        l->left = l->left < 0 ? l->left : 0; /* a debt stays */
        l->from_us = now_us;
    }
    l->left += chunk->units;
    l->until_us = until_us;
}

void admission_day_failed(struct admission *a, int32_t limit_id, int64_t now_us)
{
    struct admission_limit *l = of_id(a, limit_id);
    if (!l)
        return;
    l->day_asked = false;
    l->day_ask_at_us = now_us + DAY_AGAIN_US;
}

/* It is not asked for again before a job asks. */
size_t admission_day_spare(struct admission *a, struct admission_chunk *ret, size_t max,
                           int64_t now_us)
{
    size_t count = 0;
    admission_advance(a, now_us);
    for (size_t i = 0; i < a->limit_count && count < max; i++) {
        struct admission_limit *l = a->limits[i];
        if (l->rule.dimension != LIMIT_TOKENS_PER_DAY || l->left <= 0 || l->day_asked ||
            now_us >= l->until_us || now_us < l->day_look_us)
            continue;
        int64_t units = day_wanted(a, i, now_us), keep = units ? chunk_of(l, units) : 0;
        l->day_look_us = now_us + DAY_LOOK_US;
        if (l->left <= 2 * keep) /* what has just come is less */
            continue;
        ret[count++] = (struct admission_chunk){l->rule.limit_id, l->day, l->left - keep};
        l->left = keep;
        l->active_us = keep ? l->active_us : 0;
    }
    return count;
}

void admission_day_back(struct admission *a, const struct admission_chunk *chunk)
{
    struct admission_limit *l = of_id(a, chunk->limit_id);
    if (l && l->day == chunk->day)
        l->left += chunk->units;
}

size_t admission_day_rest(struct admission *a, struct admission_chunk *ret, size_t max,
                          int64_t now_us)
{
    size_t count = 0;
    for (size_t i = 0; i < a->limit_count && count < max; i++) {
        struct admission_limit *l = a->limits[i];
        if (l->rule.dimension != LIMIT_TOKENS_PER_DAY || l->left <= 0 || now_us >= l->until_us)
            continue;
        ret[count++] = (struct admission_chunk){l->rule.limit_id, l->day, l->left};
        l->left = 0;
        l->until_us = now_us;
    }
    return count;
}
