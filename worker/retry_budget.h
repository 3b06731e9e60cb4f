/*
 * retry_budget.h - how many of a route's calls may be retries? (pure)
 *
 * Of the calls that a worker begins within any minute at most so many are retries as the route's
 * share of its first calls in that minute, and RETRY_BUDGET_FLOOR besides, so that a lone job is
 * never starved. A retry that a working server answers gives its unit back and brings another:
 * while the endpoint works again what waits is called ever faster, and only retries that change
 * nothing are held to the share.
 *
 * Nothing of it is shared, and none of it needs to be: every worker keeps its own share of its own
 * first calls, so what all of them call is at most 1 + share times what they first call, and the
 * floors, however many there are. During a full outage nothing is answered, and that is the bound.
 *
 * A retry that the budget does not let go is not lost: it is told when to ask again. Who waits is
 * lined up, so that it is not asked about all the time.
 *
 * Times are monotonic microseconds; the owner locks nothing, as it is one thread.
 */
#ifndef INFERQ_WORKER_RETRY_BUDGET_H
#define INFERQ_WORKER_RETRY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum {
    RETRY_BUDGET_FLOOR = 10, /* retries a minute and worker, whatever the share */
    RETRY_BUDGET_SLOTS = 7,  /* of ten seconds: a whole minute, and the one that has begun */
    RETRY_BUDGET_SLOT_US = 10 * 1000 * 1000,
    RETRY_BUDGET_WAIT_MAX_US = 5 * 60 * 1000 * 1000, /* no retry is told to wait for longer */
};

/* Zeroed: nothing was called yet. */
struct retry_budget {
    int64_t newest;                     /* number of the newest slot */
    int64_t earned[RETRY_BUDGET_SLOTS]; /* thousandths of a retry; by a slot's number */
    int64_t spent[RETRY_BUDGET_SLOTS];
    int64_t line_us; /* when the last one in the line is to ask again */
};

/* A first call goes. `share_permille`: retries that 1,000 of them allow, 0 .. 1000. */
void retry_budget_first(struct retry_budget *b, int share_permille, int64_t now_us);
/* Takes what a retry costs, if there is as much: true, and it may go. */
bool retry_budget_take(struct retry_budget *b, int64_t now_us);
/* A retry goes, whether there was as much or not: what it is short of, others wait for. */
void retry_budget_charge(struct retry_budget *b, int64_t now_us);
/* It was taken, and no call came of it. */
void retry_budget_give_back(struct retry_budget *b, int64_t now_us);
/* A server that works answered a retry. */
void retry_budget_answered(struct retry_budget *b, int64_t now_us);
/* When one that could not take is to ask again: at least a second from now, behind all that wait
 * already, and at most RETRY_BUDGET_WAIT_MAX_US from now. */
int64_t retry_budget_ask_at(struct retry_budget *b, int64_t now_us, uint64_t seed);

#endif
