/*
 * split.h - how an amount is divided among those who want some of it (pure).
 *
 * Weighted max-min fairness: everybody gets what he wants or as much as anybody of his weight, and
 * nothing is left while somebody wants more. Source: Bertsekas and Gallager, "Data Networks", 6.5.
 */
#ifndef INFERQ_WORKER_SPLIT_H
#define INFERQ_WORKER_SPLIT_H

#include <stddef.h>
#include <stdint.h>

/* Divides `amount` among n demands by weight (NULL: equally); weights are above 0. */
void split_fair(double amount, const double *demand, const double *weight, double *ret, size_t n);

/* Weights so that each of n has at least its minimum (in permille of all; together <= 1000) of what
 * is divided, and the others divide the rest by their own. weight 0: takes no part. */
void split_minimum(const int *weight, const int *min_permille, double *ret_weight, size_t n);

/* Whole numbers that add up to `amount`, each the floor of its target or one more; targets add up
 * to about `amount`. Who has more than the floor now keeps it, then the largest remainders go
 * first. `scratch`: room for n. */
void split_whole(int64_t amount, const double *target, const int64_t *now, int64_t *ret,
                 size_t *scratch, size_t n);

/* `free` divided by deficits, to nobody more than his own; what the division leaves goes to the
 * first ones from `turn` on. Adds to `ret`; returns what is left. */
int64_t split_free(int64_t free, const int64_t *deficit, int64_t *ret, size_t n, size_t turn);

#endif
