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
    *e = (struct endpoint){.max_in_flight = max_in_flight};
}

static bool is_paused(const struct endpoint *e, int64_t now_us)
{
    return now_us < e->paused_until_us;
}

bool endpoint_can_run(const struct endpoint *e, int64_t now_us)
{
    return !e->held && e->in_flight < e->max_in_flight && !is_paused(e, now_us) &&
           !(e->probing && e->probe_out);
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

void endpoint_cancel(struct endpoint *e)
{
    leave(e);
    e->probe_out = false;
}
