/*
 * claim_rule.c - see claim_rule.h. The order of the questions is the rule.
 */
#include "worker/claim_rule.h"

enum claim_answer claim_rule(const struct claim_facts *f, const struct claim_ask *ask)
{
    if (f->done)
        return CLAIM_DONE;
    /* Our own claim was committed and only its answer was lost: without this the job would wait for
     * itself for ever. */
    if (f->mine && ask->claim_sent && f->mine == ask->number)
        return CLAIM_GRANTED;
    /* Parked, and not as the row that we hold: whoever pulls it will see to it. */
    if (f->parked && !(ask->from_parked && f->parked_mine))
        return CLAIM_PARKED;
    if (f->live || f->mine)
        return CLAIM_LIVE;
    if (ask->ask_only)
        return CLAIM_FREE;
    if (!f->lease)
        return CLAIM_NO_LEASE;
    if (f->larger > ask->larger) /* whose route and attempts are others, perhaps */
        return CLAIM_LARGER;
    if (f->unknown && ask->calls_once)
        return CLAIM_UNKNOWN;
    if (f->attempts >= ask->max_attempts)
        return CLAIM_SPENT;
    return CLAIM_FREE;
}
