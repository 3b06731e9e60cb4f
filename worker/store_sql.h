/*
 * store_sql.h - the statements of the claim and store protocol, by name.
 */
#ifndef INFERQ_WORKER_STORE_SQL_H
#define INFERQ_WORKER_STORE_SQL_H

#include "common/pg.h"

/* On the claim connection. */
enum {
    SQL_CLAIM,
    SQL_FENCE,     /* owners of open calls whose lease is over */
    SQL_FACTS,     /* how jobs stand */
    SQL_LOSE,      /* open calls of fenced owners are lost */
    SQL_TAKE,      /* a claim after a fence */
    SQL_DROP_DONE, /* parked rows of jobs that ended */
    SQL_PARK,
    SQL_PULL,
    SQL_BURY,
    SQL_PAY, /* for calls again of which nobody knows what came */
};
/* On the store connection. */
enum {
    SQL_STORE_LOSE, /* as SQL_LOSE, for jobs that end without a call */
    SQL_STORE,
    SQL_STORE_CALLED, /* where each ending is that of a call, and none is a death */
    SQL_OUTCOME,
};
/* On the housekeeping connection. */
enum {
    SQL_REGISTER,
    SQL_HEARTBEAT,
    SQL_STOP,
    SQL_STOP_FREE,
    SQL_FENCE_DEAD,
    SQL_FREE_TAKEN,
    SQL_DUE,
    SQL_WAKE_EXPIRED,
    SQL_WAKE_KEY,
    SQL_CANCELLED,
    SQL_HELD,
    SQL_SKIPS,
    SQL_OTHERS_WAIT,
    SQL_PARKED_COUNT,
    SQL_BATCH_SEEN,
    SQL_ELECT,
    SQL_PARTITIONS,
    SQL_OLDEST_LIVE,
    SQL_ROLL_UP,
    SQL_FIGURES,
    SQL_LETTERS,
    SQL_PUBLISHED,
    /* Shared limits. What others rely on must be on disk: a transaction of these but SQL_LIMITS
     * and SQL_SHARES begins with SQL_DURABLE, as SQL_REGISTER's does. */
    SQL_DURABLE,
    SQL_LIMITS,     /* what limits there are */
    SQL_EXCHANGE,   /* what a worker wants, for what it may use */
    SQL_LEAVE,      /* a worker uses nothing any more */
    SQL_SHARES,     /* the keeper: who holds what */
    SQL_SHARE,      /* the keeper: who may use what from now on */
    SQL_SHARE_DEAD, /* the keeper: rows of the dead */
    SQL_DAY_TAKE,   /* a chunk of a day's budget */
    SQL_DAY_GIVE,   /* what was left of one */
    /* What calls taught about endpoints. */
    SQL_LEARNED,       /* all of it */
    SQL_LEARNED_PAUSE, /* it cannot or will not serve */
    SQL_LEARNED_OPEN,  /* a probe has shown that it does */
    SQL_LEARNED_PROBE, /* who may send the probe */
    SQL_LEARNED_LEAVE, /* and does not */
    SQL_LEARNED_BEARS, /* how many calls at once */
    SQL_LEARNED_LOWER, /* it throttles: its limits are too high */
    SQL_LEARNED_RAISE, /* the keeper: it does not any more */
};

extern const struct pg_stmt store_sql_claim[];
extern const struct pg_stmt store_sql_store[];
extern const struct pg_stmt store_sql_keep[];

/* Planner settings: statements are prepared on empty tables and must keep their plans. */
extern const char *const store_settings_sync[];
extern const char *const store_settings_keep[];

#endif
