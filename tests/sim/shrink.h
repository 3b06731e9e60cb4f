/*
 * shrink.h - a failing plan made smaller, as long as the same guarantee breaks.
 */
#ifndef INFERQ_TESTS_SIM_SHRINK_H
#define INFERQ_TESTS_SIM_SHRINK_H

#include "tests/sim/sim.h"

/* `guarantee`: which one must break, as sim->broken says. At most `runs` plans are played. */
void shrink(struct sim *s, struct plan *plan, const char *guarantee, int runs);

#endif
