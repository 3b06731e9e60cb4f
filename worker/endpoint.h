/*
 * endpoint.h - may an endpoint take one more call now? (pure)
 *
 * How many calls may run at once is at most what is configured, which is also what an endpoint
 * starts with. Faults that speak of the endpoint, not of the job (unsent, overloaded, throttled,
 * credential, billing, certificate) pause it: exponentially, with full jitter, or as long as the
 * server said; after a pause one probe goes alone, and its success opens the endpoint again: for
 * two calls at once, then with each success for one more, and soon for as many as before. Timeouts
 * lower the number by a tenth. What its replies say of rate limits pauses it before it has to
 * refuse. Nothing else decides.
 *
 * Where workers share what they learn (`fleet`), a pause that speaks of the endpoint to all of them
 * is the fleet's: it ends when they know it over, and the probe after it is sent by that one worker
 * which the fleet lets send it (learned.h).
 */
#ifndef INFERQ_WORKER_ENDPOINT_H
#define INFERQ_WORKER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/outcome.h"

enum { ENDPOINT_TOLD_MAX_US = 60 * 1000 * 1000 };

struct endpoint {
    int max_in_flight; /* configured; may be set at any time */
    int in_flight;
    int64_t begun_us;        /* when the last call began; 0: none yet */
    int64_t paused_until_us; /* 0: not paused */
    bool held;               /* an operator has paused it */
    bool probing;            /* after a pause: one call at a time until one succeeds */
    bool probe_out;          /* that call is under way, */
    int64_t probe_us;        /* since then */
    int faults;              /* consecutive endpoint faults */
    int doubts;              /* ends in a row that may be the endpoint's fault (500, reset, 502) */
    bool lived;              /* it has answered as a server that works */
    bool unreachable;        /* and did not listen since */
    enum class paused_for;   /* class that paused it */
    /* what of it is shared with the fleet */
    bool fleet;             /* something is */
    bool shared;            /* the pause, or the probe after it, is the fleet's */
    int64_t own_until_us;   /* paused_until_us is the later of these: of what this worker alone */
    int64_t fleet_until_us; /* knows, and of what it shares */
    int64_t may_probe_us;   /* until then the fleet's probe is this worker's to send */
    uint32_t turn;          /* counts what calls taught that the fleet is to know */
    /* what it has shown that it bears */
    int bears;        /* calls at once; INT_MAX: all that are configured */
    int grow_to;      /* up to here one more with each success; 0: slowly */
    int goal;         /* grow_to of the next recovery, */
    bool halved;      /* and that a probe has failed is heeded in it */
    int peak;         /* most calls at once, of late */
    int old;          /* of those in flight: begun before the last fault, and not counted, */
    int64_t old_us;   /* by then; INT64_MIN: none yet */
    int64_t round_us; /* `peak` is since then */
    int64_t cut_us;   /* when `bears` was lowered; INT64_MIN: never */
    /* what its rate limit of requests leaves, by the reply that came last */
    int64_t left;          /* calls that may yet begin; -1: it did not say */
    int64_t left_until_us; /* then the limit is whole again: */
    int64_t left_then;     /* as `left` */
};

void endpoint_init(struct endpoint *e, int max_in_flight);
bool endpoint_can_run(const struct endpoint *e, int64_t now_us);
/* It is paused, held, or another worker's to probe: nothing of this worker's can begin, whatever
 * ends. */
bool endpoint_is_closed(const struct endpoint *e, int64_t now_us);
/* How many calls may run at once now: 0 while it is paused or held, 1 while it is probed. */
int endpoint_bears(const struct endpoint *e, int64_t now_us);
/* How many more could begin now if nothing else limited them, and as many again to stand ready. */
int endpoint_room(const struct endpoint *e, int64_t now_us);
/* When a job that cannot run now may be looked at again: paused_until, or `now` when only the
 * concurrency is full. While it is held nobody knows: an hour from now. */
int64_t endpoint_free_at(const struct endpoint *e, int64_t now_us);
/* The same for a job that leaves for `parked`, whose rows wait for held endpoints by themselves:
 * from when on it may come back. */
int64_t endpoint_due_at(const struct endpoint *e, int64_t now_us);
/* An operator pauses it, or ends that; nothing else about it changes. */
void endpoint_hold(struct endpoint *e, bool on);
/* What its pauses for a refused credential or an unpaid bill rested on has changed: one probe may
 * go at once. True: it was paused for that. */
bool endpoint_renew(struct endpoint *e, int64_t now_us);
void endpoint_begin(struct endpoint *e, int64_t now_us);
/* The fleet has paused it until then, and that is the fleet's last word: an earlier one does not
 * count any more. `probing`: one probe is to show that it works, at what was its `faults`th fault.
 */
void endpoint_fleet_pauses(struct endpoint *e, int64_t until_us, enum class class, bool probing,
                           int faults, int64_t now_us);
/* For the fleet it is not paused, or not any more. A pause that was shared is over, and the
 * endpoint opens: for one call, then with each success for one more. One of this worker's own goes
 * on. */
void endpoint_fleet_opens(struct endpoint *e, int64_t now_us);
/* It is to be probed, and this worker has to be let. */
bool endpoint_needs_leave(const struct endpoint *e, int64_t now_us);
/* How many calls at once it has borne, or will when it works again; 0: all that are configured. */
int endpoint_has_borne(const struct endpoint *e);
/* What another worker has learned of that: nothing has been called here yet. */
void endpoint_bears_at_first(struct endpoint *e, int calls);
/* A call that began at `begun_us` ended with this class and decision. True: the endpoint was paused
 * by it just now. */
bool endpoint_end(struct endpoint *e, enum class class, const struct decision *d, int64_t begun_us,
                  int64_t now_us, uint64_t seed);
/* A call ended well, and its reply spoke of rate limits. `used`: what it took of each, -1 not
 * known; `took_us`: how long it ran. A limit that is used up, or has less left than another such
 * call will take, pauses the endpoint until its reset, or for ENDPOINT_TOLD_MAX_US, and then one
 * probe goes alone. True: it was paused by it just now. */
bool endpoint_told(struct endpoint *e, const struct rate_told *told,
                   const int64_t used[RATE_DIMENSIONS], int64_t took_us, int64_t now_us);
/* Did its replies say how much their limit of requests leaves? One that says nothing any more is to
 * be told, too. */
bool endpoint_is_limited(const struct endpoint *e);
/* Would a 429 for a call that began at `begun_us` speak of how fast calls come? It does while they
 * flow, if the call began since they do: a probe's says that it is too early yet, and one for a
 * call from before the pause nothing that the pause has not heeded. To be asked before
 * endpoint_end. */
bool endpoint_shows_rate(const struct endpoint *e, int64_t begun_us, int64_t now_us);
/* A call that began at `begun_us` never left (claim refused, gate). */
void endpoint_cancel(struct endpoint *e, int64_t begun_us);

#endif
