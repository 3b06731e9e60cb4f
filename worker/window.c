/*
 * window.c - how much of a limit per minute one worker may send now (pure).
 *
 * Happy path: a ring of 256 slots, of which 255 are a minute: the current one, and as many behind
 * it as a minute reaches into. Time passing adds to the current slot what the share gained, and
 * clears the oldest slot whenever a new one begins; sums over the ring are kept. The minute that
 * ends now begins within the oldest slot, as far into it as now is into the current one: of what
 * was gained there so much at most is over as its largest share gives in that time; of what was
 * sent there all still counts. Both err to the safe side.
 *
 * A lower share waits until nothing is owed: what was sent adds to that, what is gained takes from
 * it, down to nothing. Calls that took less than was reserved for them are not taken from it, so
 * the ring is asked as well: for each slot, what was sent in it and since is to be no more than
 * what was gained after it. Then what was gained is set to what was sent, slot by slot: what was
 * not used is gone, and the lower share begins evenly.
 *
 * Failure modes: none. Sizes: units x minute_us is below 2^60 for 10^10 units; what may grow beyond
 * (debts, times) is multiplied in 128 bits and cut.
 */
#include "worker/window.h"

#include <assert.h>
#include <string.h>

#include "common/limits.h"

__extension__ typedef __int128 i128;

enum { MINUTE_SLOTS = WINDOW_SLOTS - 1, PERMILLE = 1000 };
static const int64_t MINUTE_US = INT64_C(60) * 1000 * 1000;
static const int64_t DEBT_MAX = INT64_MAX / 2;
/* Faster than anything is gained: 2^62 in a slot of a quarter of a second. */
static const int64_t AT_ONCE = INT64_C(10000000000000);

int64_t window_minute_us(int headroom_permille)
{
    int64_t us = MINUTE_US * PERMILLE / (PERMILLE - headroom_permille);
    return (us + MINUTE_SLOTS - 1) / MINUTE_SLOTS * MINUTE_SLOTS;
}

void window_init(struct window *w, int64_t minute_us, int64_t now_us)
{
    assert(minute_us > 0 && minute_us % MINUTE_SLOTS == 0);
    *w = (struct window){.minute_us = minute_us, .slot_us = minute_us / MINUTE_SLOTS};
    w->at_us = now_us;
    w->slot = now_us / w->slot_us;
    w->slot_end_us = (w->slot + 1) * w->slot_us;
}

/* ---- time passes ----------------------------------------------------------------------------- */

static struct window_slot *slot_at(struct window *w, int64_t slot)
{
    return &w->slots[(uint64_t)slot % WINDOW_SLOTS];
}

static void count(struct window *w, struct window_slot *s, int64_t units)
{
    s->sent += units;
    w->sent += units;
    assert(s->sent >= 0);
    i128 owed = (i128)w->owed + (i128)units * w->minute_us;
    if (units > 0)
        w->owed = (int64_t)(owed < DEBT_MAX ? owed : DEBT_MAX);
}

static void add_level(struct window *w, i128 add)
{
    i128 level = w->level + add;
    i128 over = (i128)w->taken * w->minute_us - (i128)w->share * WINDOW_AIR_US;
    i128 cap = (i128)w->share * WINDOW_PACE_US - (over > 0 ? over : 0);
    level = level > cap ? cap : level;
    w->level = (int64_t)(level < -DEBT_MAX ? -DEBT_MAX : level);
}

static void gain_until(struct window *w, int64_t until_us)
{
    i128 gain = (i128)w->share * (until_us - w->at_us);
    slot_at(w, w->slot)->gained += (int64_t)gain;
    w->gained += (int64_t)gain;
    if (w->owed < DEBT_MAX) /* else nobody knows how much: the slots will tell */
        w->owed -= gain < w->owed ? (int64_t)gain : w->owed;
    add_level(w, gain);
    w->at_us = until_us;
}

/* Of any stretch of time until now, in whole slots, was no more sent than gained? Of those that
 * began before a share fell that much is known: what was sent until then was paid for then. */
static bool is_paid(struct window *w)
{
    if (w->owed == 0)
        return w->taken == 0;
    i128 sent = 0, gained = 0;
    for (int64_t i = 0; i < WINDOW_SLOTS && w->slot - i >= w->paid_slot; i++) {
        const struct window_slot *s = slot_at(w, w->slot - i);
        sent += (i128)s->sent * w->minute_us;
        if (sent > gained)
            return false;
        gained += s->gained;
    }
    return w->taken == 0;
}

static void lower(struct window *w)
{
    w->gained = 0;
    for (int i = 0; i < WINDOW_SLOTS; i++) {
        struct window_slot *s = &w->slots[i];
        s->gained = s->sent * w->minute_us; /* no more than was gained: it is paid */
        s->most = AT_ONCE;
        w->gained += s->gained;
    }
    w->share = w->target;
    w->lowering = false;
    w->paid_slot = w->slot; /* it begins just now */
    w->owed = 0;
    slot_at(w, w->slot)->most = w->share;
    add_level(w, 0); /* a lower share saves up less */
}

static void next_slot(struct window *w)
{
    gain_until(w, w->slot_end_us);
    w->slot++;
    w->slot_end_us += w->slot_us;
    struct window_slot *s = slot_at(w, w->slot);
    w->gained -= s->gained;
    w->sent -= s->sent;
    *s = (struct window_slot){.most = w->share};
    if (w->lowering && is_paid(w))
        lower(w);
}

/* All slots are over: begin in the first one that the minute before `now` needs. */
static void skip(struct window *w, int64_t now_us)
{
    int64_t slot = now_us / w->slot_us - WINDOW_SLOTS, at_us = slot * w->slot_us;
    memset(w->slots, 0, sizeof w->slots);
    w->gained = w->sent = w->owed = 0;
    add_level(w, (i128)w->share * (at_us - w->at_us));
    w->at_us = at_us;
    w->slot = slot;
    w->slot_end_us = at_us + w->slot_us;
    slot_at(w, slot)->most = w->share;
}

static void advance(struct window *w, int64_t now_us)
{
    if (now_us <= w->at_us)
        return;
    if (now_us - w->at_us > 2 * w->minute_us)
        skip(w, now_us);
    while (now_us >= w->slot_end_us)
        next_slot(w);
    gain_until(w, now_us);
}

void window_share(struct window *w, int64_t share, int64_t now_us)
{
    assert(share >= 0 && share <= LIMIT_PER_MINUTE_MAX);
    advance(w, now_us);
    if (w->lowering || share < w->share) {
        w->lowering = true;
        w->target = share;
        return;
    }
    w->share = share;
    struct window_slot *s = slot_at(w, w->slot);
    s->most = share > s->most ? share : s->most;
}

bool window_is_paid(struct window *w, int64_t now_us)
{
    advance(w, now_us);
    return is_paid(w);
}

int64_t window_holds(struct window *w, int64_t now_us)
{
    advance(w, now_us);
    return w->share;
}

/* ---- may it go? ------------------------------------------------------------------------------ */

/* What was gained within the minute that ends `into` its slot and begins in `oldest`. */
static int64_t gained_since(const struct window_slot *oldest, int64_t gained, int64_t into_us)
{
    int64_t over = oldest->most * into_us;
    return gained - (over < oldest->gained ? over : oldest->gained);
}

static int64_t gained_now(struct window *w)
{
    int64_t into_us = w->at_us - (w->slot_end_us - w->slot_us);
    return gained_since(slot_at(w, w->slot + 1), w->gained, into_us);
}

bool window_has(struct window *w, int64_t units, int64_t now_us)
{
    if (units <= 0)
        return true;
    advance(w, now_us);
    if (w->lowering || w->level < 0)
        return false;
    return (i128)(w->sent + w->taken + units) * w->minute_us <= gained_now(w);
}

static int64_t div_up(i128 a, int64_t b)
{
    return (int64_t)((a + b - 1) / b);
}

/* How long from `into_us` in a slot, `left_us` before its end, until `missing` more are gained; -1:
 * not in this slot. */
static int64_t reached_after(const struct window *w, const struct window_slot *oldest,
                             int64_t into_us, i128 missing, int64_t left_us)
{
    if (missing <= 0)
        return 0;
    bool all_over = oldest->most * into_us >= oldest->gained;
    int64_t growth = all_over ? w->share : w->share - oldest->most;
    if (growth <= 0 || missing > (i128)growth * left_us)
        return -1;
    return div_up(missing, growth);
}

/* Plays the ring on, slot by slot, with the share as it is. */
static int64_t window_reaches(struct window *w, int64_t units)
{
    int64_t start_us = w->slot_end_us - w->slot_us, at_us = w->at_us;
    i128 gained = w->gained, sent = w->sent + w->taken;
    for (int64_t i = 1; i <= WINDOW_SLOTS + 1; i++) {
        struct window_slot over = {.most = w->share, .gained = w->share * w->slot_us};
        if (i <= WINDOW_SLOTS)
            over = *slot_at(w, w->slot + i);
        if (i == WINDOW_SLOTS) /* what is the current slot now will then have gained more */
            over.gained += w->share * (w->slot_end_us - w->at_us);
        int64_t into_us = at_us - start_us;
        i128 has = gained_since(&over, (int64_t)gained, into_us);
        i128 missing = (sent + units) * w->minute_us - has;
        int64_t after = reached_after(w, &over, into_us, missing, w->slot_us - into_us);
        if (after >= 0)
            return at_us + after;
        gained += (i128)w->share * (w->slot_us - into_us) - over.gained;
        sent -= over.sent;
        start_us += w->slot_us;
        at_us = start_us;
    }
    return INT64_MAX;
}

int64_t window_when(struct window *w, int64_t units, int64_t now_us)
{
    advance(w, now_us);
    if (w->lowering)
        return w->slot_end_us;
    if (w->share == 0)
        return INT64_MAX;
    int64_t at = window_reaches(w, units);
    if (at == INT64_MAX)
        return at;
    int64_t paced = w->level < 0 ? w->at_us + div_up(-(i128)w->level, w->share) : 0;
    at = paced > at ? paced : at;
    return at > now_us ? at : now_us + 1;
}

/* ---- what was sent --------------------------------------------------------------------------- */

static struct window_slot *slot_of(struct window *w, int64_t at_us)
{
    int64_t slot = at_us / w->slot_us;
    return w->slot - slot < WINDOW_SLOTS ? slot_at(w, slot) : NULL;
}

void window_take(struct window *w, int64_t units, int64_t now_us)
{
    assert(units >= 0 && units <= LIMIT_PER_MINUTE_MAX);
    advance(w, now_us);
    w->taken += units;
    add_level(w, -(i128)units * w->minute_us);
}

void window_leave(struct window *w, int64_t units, int64_t now_us)
{
    advance(w, now_us);
    w->taken -= units;
    assert(w->taken >= 0);
    count(w, slot_at(w, w->slot), units);
}

void window_give_back(struct window *w, int64_t units, int64_t now_us)
{
    advance(w, now_us);
    w->taken -= units;
    assert(w->taken >= 0);
    add_level(w, (i128)units * w->minute_us);
}

void window_settle(struct window *w, int64_t reserved, int64_t used, int64_t left_us,
                   int64_t now_us)
{
    advance(w, now_us);
    int64_t more = used - reserved;
    if (more > LIMIT_PER_MINUTE_MAX)
        more = LIMIT_PER_MINUTE_MAX; /* more than a minute of any limit */
    struct window_slot *s = more > 0 ? slot_at(w, w->slot) : slot_of(w, left_us);
    if (!s)
        return;
    count(w, s, more);
    if (s->most == AT_ONCE) { /* of a higher share that was given up: nothing of it can be used */
        s->gained += more * w->minute_us;
        w->gained += more * w->minute_us;
    }
    add_level(w, -(i128)more * w->minute_us);
}

int64_t window_sent(struct window *w, int64_t now_us)
{
    advance(w, now_us);
    return w->sent + w->taken;
}
