/*
 * endpoint.c - may an endpoint take one more call now? (pure)
 *
 * Happy path: calls begin and end; while nothing speaks against the endpoint only its concurrency
 * limits it. What an ended call says of the endpoint:
 *
 *   life   the server answered as a server that works (a reply, a refusal, "your request is bad")
 *   fault  it cannot or will not serve now (unsent, overloaded, throttled, credential, billing,
 * ...) doubt  it may be the job's own trouble (500, reset, timeout, 502): one says nothing, but
 *          DOUBTS_MAX in a row without any life are a fault, so that an outage behind a gateway
 * that answers 502 does not eat every job's attempts nothing  of our own making, or too particular
 * to mean anything
 *
 * A fault pauses; after the pause one probe goes alone, and life opens the endpoint again. Calls
 * that began before the pause still end during and after it: a fault of theirs while the pause runs
 * lengthens it only if the server named a longer time (256 calls cut at once are one fault, not
 * 256); life of theirs while it runs starts the backoff over, but the pause runs its course and a
 * probe still follows; after it, life counts whoever brings it.
 *
 * Rate limits that replies speak of: where what is left is less than what runs (the server may not
 * have counted that yet), nothing begins until the limit's reset; else so many calls may begin
 * until the next reply says more. They are no faults: what follows such a pause is no probe, unless
 * the pause was cut because the reset is far away.
 *
 * A hold is an operator's: it lasts until it is taken back, calls that run end by themselves, and
 * what they say of the endpoint counts as ever.
 *
 * Failure mode: an old call that ends for nothing while a probe is out lets a second probe go.
 */
#include "worker/endpoint.h"

#include <assert.h>

#include "worker/outcome_table.h"

enum {
    PAUSE_BASE_US = 1000 * 1000,
    PAUSE_CAP_US = 60 * 1000 * 1000,
    DOUBTS_MAX = 8,
    FAULTS_MAX = 30, /* counted no further */
};
static const int64_t HELD_US = INT64_C(3600) * 1000 * 1000; /* longer than any wait in memory */

void endpoint_init(struct endpoint *e, int max_in_flight)
{
    *e = (struct endpoint){.max_in_flight = max_in_flight, .left = -1, .left_then = -1};
}

static bool is_paused(const struct endpoint *e, int64_t now_us)
{
    return now_us < e->paused_until_us;
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

bool endpoint_can_run(const struct endpoint *e, int64_t now_us)
{
    return !e->held && e->in_flight < e->max_in_flight && !is_paused(e, now_us) &&
           !(e->probing && e->probe_out) && !is_used_up(e, now_us);
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
    e->paused_until_us = now_us;
    e->faults = e->doubts = 0;
    return true;
}

void endpoint_begin(struct endpoint *e, int64_t now_us)
{
    int64_t *left = now_us < e->left_until_us ? &e->left : &e->left_then;
    *left -= *left > 0;
    e->begun_us = now_us;
    e->in_flight++;
    e->probe_out = e->probing;
}

static void leave(struct endpoint *e)
{
    assert(e->in_flight > 0);
    e->in_flight--;
}

static void alive(struct endpoint *e, int64_t now_us)
{
    e->faults = e->doubts = 0;
    if (is_paused(e, now_us))
        return;
    e->probing = e->probe_out = false;
    e->paused_until_us = 0;
    e->paused_for = CLASS_NONE;
}

/* The server's wish where it named one. A server whose wishes proved too short is not believed: the
 * backoff then counts when it is longer. */
static int64_t pause_us(const struct endpoint *e, enum class class, int64_t wish_us, uint64_t seed)
{
    int64_t backoff = backoff_us(e->faults - 1, PAUSE_BASE_US, PAUSE_CAP_US, seed);
    if (wish_us > 0 && class == CLASS_THROTTLED && e->faults == 1)
        return wish_us;
    return wish_us > backoff ? wish_us : backoff;
}

static bool fault(struct endpoint *e, enum class class, int64_t wish_us, int64_t now_us,
                  uint64_t seed)
{
    bool was_paused = is_paused(e, now_us);
    if (!was_paused)
        e->faults += e->faults < FAULTS_MAX;
    int64_t pause = was_paused ? wish_us : pause_us(e, class, wish_us, seed);
    if (now_us + pause > e->paused_until_us) {
        e->paused_until_us = now_us + pause;
        e->paused_for = class;
    }
    e->doubts = 0;
    e->probing = true;
    e->probe_out = false;
    return !was_paused;
}

bool endpoint_end(struct endpoint *e, enum class class, const struct decision *d, int64_t now_us,
                  uint64_t seed)
{
    leave(e);
    switch (d->ours ? SIGN_NOTHING : outcome_rule(class)->sign) {
    case SIGN_LIFE:
    case SIGN_MODEL:
        alive(e, now_us);
        return false;
    case SIGN_DOUBT:
        if (is_paused(e, now_us))
            return false;
        if (!e->probing && ++e->doubts < DOUBTS_MAX)
            return false;
        return fault(e, class, d->pause_us, now_us, seed);
    case SIGN_FAULT:
        return fault(e, class, d->pause_us, now_us, seed);
    case SIGN_NOTHING:
        break;
    }
    e->probe_out = false;
    return false;
}

/* The reset to wait for where a limit leaves no room; 0: it does. A call that ran for longer than
 * the limit's window says nothing of others that run: they were begun in windows that are over. */
static int64_t exhausted_us(const struct endpoint *e, int dimension, const struct rate_limit *of,
                            int64_t used, int64_t took_us)
{
    int64_t needs = used;
    if (of->remaining < 0 || of->reset_us <= 0)
        return 0;
    if (dimension == RATE_REQUESTS)
        needs = took_us < of->reset_us ? e->in_flight + 1 : 1;
    return of->remaining == 0 || of->remaining < needs ? of->reset_us : 0;
}

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
        int64_t us = exhausted_us(e, i, &told->of[i], used[i], took_us);
        wait_us = us > wait_us ? us : wait_us;
    }
    note_left(e, &told->of[RATE_REQUESTS], took_us, now_us);
    if (wait_us == 0)
        return false;
    e->probing |= wait_us > ENDPOINT_TOLD_MAX_US; /* then it is not over yet */
    wait_us = wait_us < ENDPOINT_TOLD_MAX_US ? wait_us : ENDPOINT_TOLD_MAX_US;
    if (now_us + wait_us > e->paused_until_us) {
        e->paused_until_us = now_us + wait_us;
        e->paused_for = CLASS_THROTTLED;
    }
    return !was_paused;
}

void endpoint_cancel(struct endpoint *e)
{
    leave(e);
    e->probe_out = false;
}
