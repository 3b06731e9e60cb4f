/*
 * fake_limits.h - limits as a catalogue, an operator and failing calls would write them, by chance,
 * on the real server and on the fake one alike.
 */
#ifndef INFERQ_TESTS_LIVE_FAKE_LIMITS_H
#define INFERQ_TESTS_LIVE_FAKE_LIMITS_H

#include "tests/live/fake_args.h"
#include "tests/live/scratch.h"

/* The amounts of one of eight limits of two endpoints. The session's clock stands at a->now_us. */
void limits_set(struct scratch *s, struct fake_pg *db, struct args *a);
/* The multiplier of one of the two endpoints. */
void limits_learn(struct scratch *s, struct fake_pg *db, struct args *a);

#endif
