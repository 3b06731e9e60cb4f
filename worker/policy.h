/*
 * policy.h - what a job's route says about calling it again (pure).
 *
 * A call whose bytes may have left and whose outcome nobody knows may have done its work at the
 * model, and may be charged. Routes say what follows: call again (and pay twice at worst), hold the
 * job for a person, or give it up. schemas/catalogue.md tells people.
 */
#ifndef INFERQ_WORKER_POLICY_H
#define INFERQ_WORKER_POLICY_H

#include <stdbool.h>

#include "common/catalogue.h"
#include "common/codes.h"

/* May the call have reached the model without anybody knowing what came of it? So it is with a
 * reply that did not come whole, with a worker that died, and with a call that was given up. */
bool policy_unknown(enum class class);

/* Is what such calls cost bounded, when they are made again? */
bool policy_pays(const struct cat_retry *retry);

/* How a job of the route ends when a call of it ended as `class`: CLASS_HELD or CLASS_GIVEN_UP;
 * CLASS_NONE: its route leaves that to the class. */
enum class policy_ending(const struct cat_retry *retry, enum class class);

/* Why, for the dead letter; what came of the call is said behind it. NULL for other classes. */
const char *policy_reason(enum class ending);

/* Counted calls that the job may have: what it says itself (0: nothing) and what its route says
 * bound each other; where both are silent, the worker's number. */
int policy_max_attempts(const struct cat_retry *retry, int of_job, int of_worker);

#endif
