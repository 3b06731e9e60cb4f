/*
 * shares.h - which share of each limit every worker may hold: the keeper's round (pure).
 *
 * One worker of the fleet, the keeper, reads all rows of all limits once a second, hands them to
 * shares_round limit by limit, and writes what comes back. Two rules keep the sum of all shares
 * within the limit, whatever is lost, late or dead:
 *
 *   A row counts with the largest of its share, what its worker last said that it holds, and what
 *   is given now (and its calls in flight, where those are limited). Only what is free by this
 *   count is given; what is taken away is free once the worker has said so, a round later.
 *
 *   A worker that says nothing uses its share for SHARES_LEASE_US at most, on its own clock. Its
 *   row is dead once this keeper, on its own clock, has watched it unchanged for longer than that,
 *   and longer than it takes to pay for the largest call that it may have made last (window.h). A
 *   dead row is to be deleted only if it is still unchanged then; what it held is given a round
 *   later.
 *
 * Calls that run when a limit of calls comes in force count as well: their workers say so with
 * their first exchange for it, and nothing is given until all have had the time for that.
 *
 * What is given follows what is wanted: lanes by weight and minimum share, apps in a lane equally,
 * and so the workers of an app; nobody more than he wants, and nothing is left while somebody wants
 * more; what nobody wants is spread evenly. Workers whose part is smaller than their next call take
 * turns with a share that is large enough.
 */
#ifndef INFERQ_WORKER_SHARES_H
#define INFERQ_WORKER_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "worker/lanes.h"

#define SHARES_LEASE_US INT64_C(5000000) /* from when the exchange was sent, on CLOCK_BOOTTIME */
#define SHARES_DEAD_US INT64_C(7000000)  /* unchanged for so long, on CLOCK_MONOTONIC */
#define SHARES_NEW_US INT64_C(2000000)   /* until then all have heard of it, and said what runs */

/* Jobs that wait, of one lane and app. Apps are told apart by a hash of their name. */
struct share_want {
    uint32_t app;
    int lane;
    int64_t units; /* a minute, or calls: what they could use */
};

struct share_row {
    int64_t worker_id;
    int64_t asks;        /* changes with each exchange */
    int64_t share, seen; /* what it may hold, and what it last said that it holds */
    int64_t need;        /* units of the largest call that it has made lately or wants to make */
    int64_t in_use;      /* calls in flight, where those are limited; else not looked at */
    const struct share_want *wants;
    size_t want_count;
    /* what comes back */
    int64_t give; /* its share from now on */
    bool dead;    /* delete it, if `asks` is still the same */
};

struct share_limit {
    int32_t limit_id;
    int64_t amount;    /* 1 .. */
    int64_t minute_us; /* window_minute_us; 0: the limit is of calls in flight */
};

struct shares;

/* returns owned; NULL: no memory. A new keeper has seen nobody: it waits before it takes anybody
 * for dead. */
struct shares *shares_new(void);
void shares_free(struct shares *s);

/* The lanes' weights and minimum shares; wants of other lanes count as of the last one. */
void shares_lanes(struct shares *s, const struct lane_conf *conf, int lane_count);

/* The limits in force, before they have their rounds. What is known of others is forgotten; one
 * that is new, and of calls in flight, has none of them given out for SHARES_NEW_US. */
void shares_limits(struct shares *s, const int32_t *limit_ids, size_t n, int64_t now_us);
/* Sets `give` and `dead` of all n rows of one limit, which are in the order of their worker_id.
 * RC_NOMEM: what they are set to means nothing. */
enum rc shares_round(struct shares *s, const struct share_limit *limit, struct share_row *rows,
                     size_t n, int64_t now_us, struct err *err) MUST_CHECK;

#endif
