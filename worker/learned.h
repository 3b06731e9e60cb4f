/*
 * learned.h - what calls taught about an endpoint, between one worker and the fleet (pure).
 *
 * Postgres has a row per endpoint (limit_learned): paused until when, and for what; whether a probe
 * is to show that it works again, and which worker sends it; how many calls at once it was seen to
 * bear. Each worker says what is new, and takes over what stands there. What there is to say
 * follows from how the endpoint stands here and how it stood there when that was last heard, never
 * from an event: so what was lost on the way is said again.
 *
 * The probe: when a shared pause is over, workers that have a job for the endpoint ask for it, and
 * one gets it, for LEASES leases; it asks again while it needs it. It goes by the half of a lease
 * only, counted from when it asked. So no call begins beside another's probe: not with clocks that
 * are off, not with lost answers, and not after the machine slept, because then the worker's own
 * lease is over before that of its probe (and store_learned.c forgets it before that is renewed).
 *
 * The multiplier, which lowers the endpoint's limits of units a minute (SQL_LEARNED_LOWER, _RAISE):
 *
 *   Evidence of a lower limit is a 429 while calls flow (endpoint_shows_rate), once a step: calls
 *   from before the last step, or within ten seconds of it, were sent at the rate before. None is a
 *   probe that is refused: the provider's minute may be full yet, or it throttles for another
 *   reason. So a storm that lets nothing through costs one step, however long it lasts.
 *
 *   A step down is to a tenth below what the fleet really sent within the last minute, of the limit
 *   that is used most: what was accepted is what the provider allows, as TCP goes by what was in
 *   flight and not by its window (RFC 5681, 3.1: ssthresh). But it goes to no less than a twentieth
 *   at once, as a single call that is refused says little, and to no less than seven tenths within
 *   a minute of another step, as what was sent in that minute was sent before it, too. Where
 *   nothing is known of what was sent: to seven tenths.
 *
 *   Upwards, after each ten seconds in which nothing is refused: half of the way to where it was
 *   throttled (the ceiling); there, and past it while the endpoint is closed, by a hundredth;
 *   and past it by as much again as it is past it. So it is near a limit soon, stays there for
 *   long, and leaves it, when it is not there any more, ever faster: from a tenth to all in three
 *   minutes. (L. Xu, K. Harfoush, I. Rhee, "Binary increase congestion control", 2004; the same
 *   idea in RFC 9438. Adding a constant share of the limit instead, as D. Chiu and R. Jain, 1989,
 *   would either take long after a storm or run into a limit that is far too high several times a
 *   minute.) A limit given ten times too high is run into about every two minutes, by a call or
 *   two: below 1 % of them.
 */
#ifndef INFERQ_WORKER_LEARNED_H
#define INFERQ_WORKER_LEARNED_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"
#include "worker/endpoint.h"

enum learned_probe { PROBE_NONE, PROBE_ASK, PROBE_LEAVE };

enum { LEARNED_KEY_BYTES = 160, LEARNED_PROBE_LEASES = 2 };

/* What a worker says of one endpoint. */
struct learned_say {
    char endpoint[LEARNED_KEY_BYTES]; /* NAME@VERSION */
    bool pauses;                      /* for so long from now on; else these say nothing */
    int64_t pause_us;
    enum class class;
    bool probing;
    int faults;
    bool opens; /* a call has shown that it works */
    enum learned_probe probe;
    bool renewed;                /* PROBE_ASK: what the pause rested on has changed, it ends */
    int concurrency;             /* calls at once; 0: all that are configured; -1: as it was said */
    int64_t throttled_before_us; /* a call was throttled that began so long ago; -1: none was */
};

/* How the fleet knows an endpoint. */
struct learned_row {
    struct span endpoint;
    int64_t left_us; /* of the pause; 0: it is not paused */
    enum class class;
    bool probing;
    int faults;
    bool probe_mine;
    int64_t probe_left_us; /* of the probe's lease, whoever has it; 0: nobody */
    int concurrency;       /* 0: all that are configured */
};

/* Private, per endpoint. */
struct learned {
    int64_t lease_us;     /* of a worker */
    bool heard;           /* the row, at all */
    bool probing;         /* it said */
    int64_t until_us;     /* and that: paused; 0: not */
    int64_t others_us;    /* the probe is another worker's until then */
    int64_t mine_us;      /* or this one's; 0: not */
    int64_t wanted_us;    /* a job that could be the probe was seen then */
    bool renewed;         /* its credential is another, and nobody was told */
    int64_t bears_at_us;  /* no sooner is a change of that said */
    int bears;            /* as said or heard; 0: all */
    bool throttled;       /* calls were, and nobody was told: */
    int64_t throttled_us; /* the last of them to begin began then */
    /* the exchange under way */
    bool under_way, says_throttled;
    uint32_t turn; /* of the endpoint, when it was sent */
};

void learned_init(struct learned *l, int64_t lease_us);
/* A job waits that could be the probe. */
void learned_wants(struct learned *l, int64_t now_us);
/* The endpoint has another credential: endpoint_renew was true. */
void learned_renewed(struct learned *l, const struct endpoint *e);
/* A call that began then was throttled. */
void learned_throttled(struct learned *l, int64_t begun_us);
/* Is there anything to say? Fills in *ret but for its name. */
bool learned_says(const struct learned *l, const struct endpoint *e, int64_t now_us,
                  struct learned_say *ret);
/* An exchange leaves; say: what learned_says gave, NULL: it is not in it. */
void learned_sent(struct learned *l, struct endpoint *e, const struct learned_say *say,
                  int64_t now_us);
/* Its answer: how the endpoint stands there now; NULL: there is no row. Sent at `sent_us`. */
void learned_heard(struct learned *l, struct endpoint *e, const struct learned_row *row,
                   int64_t sent_us, int64_t now_us);
/* It was lost. */
void learned_lost(struct learned *l);
/* Whatever was lent to this worker is not any more: it is another one for the fleet now, or the
 * machine has slept. */
void learned_forget_probe(struct learned *l, struct endpoint *e);

#endif
