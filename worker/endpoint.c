/*
 * endpoint.c - may an endpoint take one more call now? (pure)
 *
 * Happy path: calls begin and end; while nothing speaks against the endpoint only its configured
 * concurrency limits it. What an ended call says of the endpoint:
 *
 *   life     the server answered as a server that works (a reply, a refusal, "your request is bad")
 *   fault    it cannot or will not serve now (unsent, overloaded, throttled, credential, ...)
 *   doubt    it may be the job's own trouble (500, reset, timeout, 502): one says nothing, but
 *            DOUBTS_MAX in a row without any life are a fault, so that an outage behind a gateway
 *            that answers 502 does not eat every job's attempts
 *   nothing  of our own making, or too particular to mean anything
 *
 * A fault pauses; after the pause one probe goes alone, and life opens the endpoint again. Calls
 * that began before the pause still end during and after it: a fault of theirs while the pause runs
 * lengthens it only if the server named a longer time (256 calls cut at once are one fault, not
 * 256); life of theirs while it runs starts the backoff over, but the pause runs its course and a
 * probe still follows; after it, life counts whoever brings it.
 *
 * What an endpoint bears (AIMD, after V. Jacobson, "Congestion avoidance and control", 1988): all
 * that is configured, until something speaks against it. An endpoint that opens again bears two
 * calls, and one more with each success up to its goal (1, 2, 4, ... by round trips), then a step
 * more with each round trip in which it really had as many. The goal is what it bore before; a
 * tenth less after an overload, half once a probe has failed, too: once an outage, however many of
 * its probes fail (RFC 5681: slow start up to ssthresh, then additively). A timeout takes a tenth
 * off at once: calls that began before that was done say nothing more (those of one burst are one
 * sign). Calls begun before the fault are not counted, as they may hang for long and would keep out
 * those that show that it works; those that succeed let it grow as well, so that a lone fault among
 * many long calls costs next to nothing. "Overloaded" from a server that has not answered yet since
 * it was unreachable, or at all, is one that loads its model: it is asked again every few seconds,
 * and lowers nothing.
 *
 * Rate limits that replies speak of: where nothing is left, nothing begins until the limit's reset;
 * else so many requests may begin until the next reply tells more as are left beside those that run
 * (the server may not have counted these yet). They are no faults: what follows such a pause is no
 * probe, unless the pause was cut because the reset is far away.
 *
 * Shared with the fleet is what a server said of itself, to whoever asked: that it has too much to
 * do, that the rate, the key or the bill is at its end, or (8 times in a row) an error of its own.
 * That it was not reached, that a connection broke or its certificate was not believed may be this
 * worker's network, files or clock, and pauses this worker alone: or one bad host would stop all.
 *
 * A hold is an operator's: it lasts until it is taken back, calls that run end by themselves, and
 * what they say of the endpoint counts as ever.
 */
#include "worker/endpoint.h"

#include <assert.h>
#include <limits.h>

#include "worker/outcome_table.h"

enum {
    PAUSE_BASE_US = 1000 * 1000,
    PAUSE_CAP_US = 60 * 1000 * 1000,
    DOUBTS_MAX = 8,
    FAULTS_MAX = 30, /* counted no further */
    LOADING_CAP_US = 5 * 1000 * 1000,
    THROTTLED_CAP_US = 30 * 1000 * 1000, /* rates are of a minute, mostly: it is over by then */
    OPENS_WITH = 2,                      /* calls at once, when a probe has shown that it works */
    STEPS = 64,                          /* from nothing to what is configured, slowly */
};
static const int64_t HELD_US = INT64_C(3600) * 1000 * 1000; /* longer than any wait in memory */

void endpoint_init(struct endpoint *e, int max_in_flight)
{
    *e = (struct endpoint){
        .max_in_flight = max_in_flight,
        .bears = INT_MAX,
        .goal = INT_MAX,
        .old_us = INT64_MIN,
        .cut_us = INT64_MIN,
        .left = -1,
        .left_then = -1,
    };
}

static bool is_paused(const struct endpoint *e, int64_t now_us)
{
    return now_us < e->paused_until_us;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Calls at once, as far as faults say. */
static int borne(const struct endpoint *e)
{
    return least(e->bears, e->max_in_flight);
}

static int64_t left_at(const struct endpoint *e, int64_t now_us)
{
    return now_us < e->left_until_us ? e->left : e->left_then;
}

/* A limit that leaves nothing still lets one call go where none runs that could tell more. */
static bool is_used_up(const struct endpoint *e, int64_t now_us)
{
    return e->in_flight > 0 && left_at(e, now_us) == 0;
}

bool endpoint_needs_leave(const struct endpoint *e, int64_t now_us)
{
    return e->probing && e->shared && now_us >= e->may_probe_us;
}

bool endpoint_is_closed(const struct endpoint *e, int64_t now_us)
{
    return e->held || is_paused(e, now_us) || endpoint_needs_leave(e, now_us);
}

/* What follows a pause is one call at a time, of one worker if the pause was the fleet's. */
static bool is_closed(const struct endpoint *e, int64_t now_us)
{
    return (e->probing && e->probe_out) || endpoint_is_closed(e, now_us);
}

bool endpoint_can_run(const struct endpoint *e, int64_t now_us)
{
    return !is_closed(e, now_us) && e->in_flight < e->max_in_flight &&
           e->in_flight - e->old < e->bears && !is_used_up(e, now_us);
}

int endpoint_bears(const struct endpoint *e, int64_t now_us)
{
    if (e->held || is_paused(e, now_us))
        return 0;
    return e->probing ? 1 : borne(e);
}

int endpoint_room(const struct endpoint *e, int64_t now_us)
{
    if (is_closed(e, now_us))
        return 0;
    int room = e->probing ? 1 : 2 * borne(e) - (e->in_flight - e->old);
    return room > 0 ? room : 0;
}

int64_t endpoint_free_at(const struct endpoint *e, int64_t now_us)
{
    return e->held ? now_us + HELD_US : endpoint_due_at(e, now_us);
}

int64_t endpoint_due_at(const struct endpoint *e, int64_t now_us)
{
    return is_paused(e, now_us) ? e->paused_until_us : now_us;
}

void endpoint_hold(struct endpoint *e, bool on)
{
    e->held = on;
}

bool endpoint_renew(struct endpoint *e, int64_t now_us)
{
    bool rests = e->paused_for == CLASS_CREDENTIAL || e->paused_for == CLASS_BILLING;
    if (!rests || !is_paused(e, now_us))
        return false;
    e->paused_until_us = e->own_until_us = e->fleet_until_us = now_us;
    e->faults = e->doubts = 0;
    return true;
}

void endpoint_begin(struct endpoint *e, int64_t now_us)
{
    int64_t *left = now_us < e->left_until_us ? &e->left : &e->left_then;
    *left -= *left > 0;
    e->begun_us = now_us;
    e->in_flight++;
    if (e->in_flight - e->old > e->peak)
        e->peak = e->in_flight - e->old;
    if (!e->probing)
        return;
    e->probe_out = true;
    e->probe_us = now_us;
}

static void leave(struct endpoint *e, int64_t begun_us)
{
    assert(e->in_flight > 0);
    e->in_flight--;
    e->old -= e->old > 0 && begun_us <= e->old_us;
    if (e->probe_out && begun_us >= e->probe_us)
        e->probe_out = false;
}

/* ---- what it bears --------------------------------------------------------------------------- */

static void set_bears(struct endpoint *e, int bears)
{
    e->bears = bears < e->max_in_flight ? bears : INT_MAX;
    if (e->bears >= e->grow_to)
        e->grow_to = 0;
}

static void open_again(struct endpoint *e, int calls, int64_t now_us)
{
    e->grow_to = e->goal;
    e->peak = 1;
    e->round_us = now_us;
    set_bears(e, least(calls, e->goal));
}

/* A call succeeded. */
static void grow(struct endpoint *e, int64_t begun_us, int64_t now_us)
{
    bool round_ends = begun_us >= e->round_us;
    if (e->bears == INT_MAX)
        return;
    if (e->grow_to && e->bears / 2 < e->peak)
        set_bears(e, e->bears + 1);
    else if (!e->grow_to && round_ends && e->peak >= e->bears)
        set_bears(e, e->bears + 1 + e->max_in_flight / STEPS);
    if (!round_ends)
        return;
    e->round_us = now_us;
    e->peak = e->in_flight - e->old + 1; /* as it was until now */
}

static void cut(struct endpoint *e, int64_t begun_us, int64_t now_us)
{
    int bears = borne(e);
    if (begun_us <= e->cut_us)
        return;
    e->cut_us = e->round_us = now_us;
    e->grow_to = 0;
    e->bears = bears > 10 ? bears - bears / 10 : bears > 1 ? bears - 1 : 1;
}

/* ---- ends of calls --------------------------------------------------------------------------- */

static void alive(struct endpoint *e, int64_t now_us)
{
    e->lived = true;
    e->unreachable = false;
    e->faults = e->doubts = 0;
    if (is_paused(e, now_us))
        return;
    e->turn += e->probing && e->shared;
    if (e->probing)
        open_again(e, OPENS_WITH, now_us);
    e->probing = e->probe_out = false;
    e->paused_until_us = e->own_until_us = e->fleet_until_us = 0;
    e->paused_for = CLASS_NONE;
}

static bool is_loading(const struct endpoint *e, enum class class)
{
    return class == CLASS_OVERLOADED && (!e->lived || e->unreachable);
}

/* The server's wish where it named one. A server whose wishes proved too short is not believed: the
 * backoff then counts when it is longer. */
static int64_t pause_us(const struct endpoint *e, enum class class, int64_t wish_us, uint64_t seed)
{
    int64_t cap_us = is_loading(e, class)       ? LOADING_CAP_US
                     : class == CLASS_THROTTLED ? THROTTLED_CAP_US
                                                : PAUSE_CAP_US;
    int64_t backoff = backoff_us(e->faults - 1, PAUSE_BASE_US, cap_us, seed);
    if (wish_us > 0 && class == CLASS_THROTTLED && e->faults == 1)
        return wish_us;
    return wish_us > backoff ? wish_us : backoff;
}

/* What it shall bear again when it works again. A limit of its rate, or a key, says nothing of
 * that. */
static void set_goal(struct endpoint *e, enum class class)
{
    bool speaks = class == CLASS_UNSENT || outcome_rule(class)->sign == SIGN_DOUBT ||
                  (class == CLASS_OVERLOADED && !is_loading(e, class));
    if (!e->probing) {
        e->goal = e->grow_to > e->bears ? e->grow_to : borne(e);
        e->goal -= speaks && class == CLASS_OVERLOADED ? e->goal / 10 : 0;
        e->halved = false;
    } else if (speaks && !e->halved) {
        e->goal = e->goal > 1 ? e->goal / 2 : 1;
        e->halved = true;
    }
}

/* Calls that run say nothing more of what it bears; the next one goes alone. When one from before
 * the probe is refused while that is under way, the probe is that next one. */
static void close_down(struct endpoint *e, int64_t now_us)
{
    e->old = e->in_flight - e->probe_out;
    e->old_us = e->probe_out ? e->probe_us - 1 : now_us;
    e->bears = 1;
    e->grow_to = 0;
}

static void pause_until(struct endpoint *e, int64_t until_us, enum class class, bool shares)
{
    int64_t *of = shares ? &e->fleet_until_us : &e->own_until_us;
    if (until_us > *of) {
        *of = until_us;
        e->turn += shares;
    }
    if (until_us > e->paused_until_us) {
        e->paused_until_us = until_us;
        e->paused_for = class;
    }
}

static bool is_fleets(const struct endpoint *e, enum class class, const struct decision *d)
{
    bool of_us = class == CLASS_UNSENT || class == CLASS_TLS_CONFIG;
    bool doubtful = outcome_rule(class)->sign == SIGN_DOUBT && !d->answered;
    return e->fleet && !of_us && !doubtful;
}

static bool fault(struct endpoint *e, enum class class, const struct decision *d, int64_t now_us,
                  uint64_t seed)
{
    bool was_paused = is_paused(e, now_us), shares = is_fleets(e, class, d);
    e->faults += !was_paused && e->faults < FAULTS_MAX;
    if (!was_paused || !e->probing)
        set_goal(e, class);
    if (!was_paused)
        close_down(e, now_us);
    int64_t pause = was_paused ? d->pause_us : pause_us(e, class, d->pause_us, seed);
    if (!was_paused || now_us + pause > e->paused_until_us) {
        e->shared |= shares;
        pause_until(e, now_us + pause, class, shares);
    }
    e->unreachable |= class == CLASS_UNSENT;
    e->doubts = 0;
    e->probing = true;
    return !was_paused;
}

bool endpoint_shows_rate(const struct endpoint *e, int64_t begun_us, int64_t now_us)
{
    return !e->probing && !is_paused(e, now_us) && begun_us > e->old_us;
}

bool endpoint_end(struct endpoint *e, enum class class, const struct decision *d, int64_t begun_us,
                  int64_t now_us, uint64_t seed)
{
    leave(e, begun_us);
    switch (d->ours ? SIGN_NOTHING : outcome_rule(class)->sign) {
    case SIGN_LIFE:
    case SIGN_MODEL:
        if (!e->probing)
            grow(e, begun_us, now_us);
        alive(e, now_us);
        return false;
    case SIGN_DOUBT:
        if (is_paused(e, now_us))
            return false;
        if (!e->probing && ++e->doubts < DOUBTS_MAX) {
            if (d->late)
                cut(e, begun_us, now_us);
            return false;
        }
        return fault(e, class, d, now_us, seed);
    case SIGN_FAULT:
        return fault(e, class, d, now_us, seed);
    case SIGN_NOTHING:
        break;
    }
    return false;
}

/* ---- what replies say of rate limits --------------------------------------------------------- */

/* The reset to wait for where a limit leaves nothing, or too little for one more call like that
 * which tells; 0: it does. */
static int64_t exhausted_us(const struct rate_limit *of, int64_t used)
{
    bool too_little = of->remaining == 0 || of->remaining < used;
    return of->remaining >= 0 && of->reset_us > 0 && too_little ? of->reset_us : 0;
}

/* What runs may not be counted yet. But a call that ran for longer than the limit's window says
 * nothing of the others: they began in windows that are over. */
static void note_left(struct endpoint *e, const struct rate_limit *requests, int64_t took_us,
                      int64_t now_us)
{
    bool known = requests->remaining >= 0 && requests->reset_us > took_us;
    int64_t left = requests->remaining - e->in_flight;
    e->left = !known ? -1 : left > 0 ? left : 0;
    e->left_until_us = known ? now_us + requests->reset_us : 0;
    e->left_then = known && requests->limit > 0 ? requests->limit : -1;
}

bool endpoint_is_limited(const struct endpoint *e)
{
    return e->left >= 0 || e->left_then >= 0;
}

bool endpoint_told(struct endpoint *e, const struct rate_told *told,
                   const int64_t used[RATE_DIMENSIONS], int64_t took_us, int64_t now_us)
{
    bool was_paused = is_paused(e, now_us);
    int64_t wait_us = 0;
    for (int i = 0; i < RATE_DIMENSIONS; i++) {
        int64_t us = exhausted_us(&told->of[i], used[i]);
        wait_us = us > wait_us ? us : wait_us;
    }
    note_left(e, &told->of[RATE_REQUESTS], took_us, now_us);
    if (wait_us == 0)
        return false;
    if (wait_us > ENDPOINT_TOLD_MAX_US && !e->probing) { /* then it is not over yet */
        set_goal(e, CLASS_THROTTLED);
        e->probing = true;
        e->shared |= e->fleet;
    }
    wait_us = wait_us < ENDPOINT_TOLD_MAX_US ? wait_us : ENDPOINT_TOLD_MAX_US;
    pause_until(e, now_us + wait_us, CLASS_THROTTLED, e->fleet);
    return !was_paused;
}

/* ---- what the fleet knows -------------------------------------------------------------------- */

static void pause_as_known(struct endpoint *e, int64_t now_us)
{
    bool fleets = e->fleet_until_us > e->own_until_us;
    e->paused_until_us = fleets ? e->fleet_until_us : e->own_until_us;
    if (!is_paused(e, now_us) && !e->probing)
        e->paused_for = CLASS_NONE;
}

void endpoint_fleet_pauses(struct endpoint *e, int64_t until_us, enum class class, bool probing,
                           int faults, int64_t now_us)
{
    bool was_closed = is_paused(e, now_us) || e->probing;
    if (probing && !was_closed) {
        set_goal(e, class);
        close_down(e, now_us);
    }
    e->shared |= probing;
    e->probing |= probing;
    if (probing && faults > e->faults)
        e->faults = faults < FAULTS_MAX ? faults : FAULTS_MAX;
    e->fleet_until_us = until_us;
    pause_as_known(e, now_us);
    if (e->paused_until_us == until_us)
        e->paused_for = class;
}

void endpoint_fleet_opens(struct endpoint *e, int64_t now_us)
{
    bool opens = e->shared && e->probing && e->own_until_us <= now_us;
    e->shared = false;
    e->fleet_until_us = 0;
    if (opens) {
        open_again(e, 1, now_us);
        e->probing = e->probe_out = false;
        e->faults = e->doubts = 0;
    }
    pause_as_known(e, now_us);
}

int endpoint_has_borne(const struct endpoint *e)
{
    int bears = e->probing ? e->goal : e->grow_to > e->bears ? e->grow_to : e->bears;
    return bears < e->max_in_flight ? bears : 0;
}

void endpoint_bears_at_first(struct endpoint *e, int calls)
{
    if (calls > 0 && calls < e->max_in_flight)
        e->bears = e->goal = calls;
}

void endpoint_cancel(struct endpoint *e, int64_t begun_us)
{
    leave(e, begun_us);
}
