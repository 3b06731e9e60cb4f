/*
 * claim_rule.h - how a job stands, from what Postgres says of it (pure). The slow path of CLAIM.
 */
#ifndef INFERQ_WORKER_CLAIM_RULE_H
#define INFERQ_WORKER_CLAIM_RULE_H

#include <stdbool.h>

#include "worker/job.h"

/* What SQL_FACTS says, after owners whose lease is over were fenced. */
struct claim_facts {
    bool done;        /* a result stands */
    bool parked;      /* a row in `parked` */
    bool parked_mine; /* and it is taken by this worker */
    bool live;        /* an open call of another worker that is not fenced */
    bool lease;       /* this worker's lease stands, by Postgres's clock */
    int mine;         /* number of this worker's own open call; 0: none */
    int attempts;     /* calls that count, lost ones and open ones included */
    bool unknown;     /* nobody knows what came of one of its calls (policy.h) */
    int larger;       /* versions whose context it was too long for */
};

/* What the job knows of itself. */
struct claim_ask {
    bool ask_only; /* a verdict that yielded: it wants no call */
    bool from_parked;
    bool calls_once; /* its route: no call after one whose outcome is not known */
    bool claim_sent; /* a claim of `number` left and its answer never came */
    int number;
    int larger; /* so many its version stands for */
    int max_attempts;
};

/* CLAIM_FREE means: take it, with the next number. Never CLAIM_NONE. */
enum claim_answer claim_rule(const struct claim_facts *f, const struct claim_ask *ask);

#endif
