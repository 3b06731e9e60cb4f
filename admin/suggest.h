/*
 * suggest.h - "did you mean": the known word nearest to one that is not known (pure).
 */
#ifndef INFERQ_ADMIN_SUGGEST_H
#define INFERQ_ADMIN_SUGGEST_H

enum { SUGGEST_WORD_MAX = 64 };

/* How many single-character insertions, deletions, replacements and swaps of neighbours lead from
 * one word to the other (optimal string alignment). Words past SUGGEST_WORD_MAX bytes are far from
 * everything: SUGGEST_WORD_MAX. */
int suggest_distance(const char *a, const char *b);

/* Keeps the best of many candidates: start with {0}, offer each, then read `best`. */
struct suggest {
    const char *best; /* borrowed; NULL: nothing is near enough to be what was meant */
    int distance;
};
void suggest_offer(struct suggest *s, const char *word, const char *candidate);

#endif
