/*
 * scenario.h - fleets under shared limits, told in numbers and curves: workers that come, go and
 * die, limits that change, models that slow down, refuse and fall silent.
 */
#ifndef INFERQ_TESTS_SIM_SCENARIO_H
#define INFERQ_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/sim/sim.h"

/* Plays a scenario on a world that is zeroed, and writes its numbers as one line to stdout; `curve`
 * (or NULL) gets what was measured, a line a second. False: something was above a limit, a
 * guarantee broke, or a number is out of its bounds: `ret_why` says which. */
bool scenario_play(struct sim *s, const char *name, uint64_t seed, FILE *curve, char *ret_why,
                   size_t why_bytes);
/* The name of each; NULL past the end. */
const char *scenario_name(int index);

#endif
