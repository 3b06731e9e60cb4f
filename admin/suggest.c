/*
 * suggest.c - the nearest known word, by edit distance.
 *
 * A candidate counts when at most a third of the word's letters (and at least one) would have to
 * change: "batch lsit" finds "batch list", "frobnicate" finds nothing.
 */
#include "admin/suggest.h"

#include <string.h>

static int min3(int a, int b, int c)
{
    int least = a < b ? a : b;
    return least < c ? least : c;
}

int suggest_distance(const char *a, const char *b)
{
    size_t a_n = strlen(a), b_n = strlen(b);
    if (a_n > SUGGEST_WORD_MAX || b_n > SUGGEST_WORD_MAX)
        return SUGGEST_WORD_MAX;
    int rows[3][SUGGEST_WORD_MAX + 1]; /* of the matrix: two ago, the last, this */
    int *ago = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_n; j++)
        last[j] = ago[j] = (int)j;
    for (size_t i = 1; i <= a_n; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= b_n; j++) {
            row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = min3(row[j], ago[j - 2] + 1, row[j]);
        }
        int *spare = ago;
        ago = last;
        last = row;
        row = spare;
    }
    return last[b_n];
}

void suggest_offer(struct suggest *s, const char *word, const char *candidate)
{
    int distance = suggest_distance(word, candidate);
    int allowed = (int)strlen(word) / 3;
    if (distance > (allowed ? allowed : 1))
        return;
    if (!s->best || distance < s->distance)
        *s = (struct suggest){candidate, distance};
}
