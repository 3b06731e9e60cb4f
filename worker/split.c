/*
 * split.c - how an amount is divided among those who want some of it (pure).
 *
 * Happy path: water-filling by passes: all that want less than their part of what is left get it
 * and are out; when nobody does, the others divide the rest. Failure modes: none. Fractions are
 * doubles: what is safe is decided on whole numbers elsewhere (shares.c).
 */
#include "worker/split.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

__extension__ typedef __int128 i128;

enum { PERMILLE = 1000 };

void split_fair(double amount, const double *demand, const double *weight, double *ret, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret[i] = -1; /* not settled */
    double rest = amount;
    for (bool again = true; again;) {
        double weights = 0, settled = 0;
        for (size_t i = 0; i < n; i++)
            weights += ret[i] < 0 ? (weight ? weight[i] : 1) : 0;
        again = false;
        for (size_t i = 0; i < n; i++) {
            double part = rest * (weight ? weight[i] : 1) / weights;
            if (ret[i] >= 0 || demand[i] > part)
                continue;
            settled += ret[i] = demand[i];
            again = true;
        }
        rest -= settled;
        for (size_t i = 0; !again && i < n; i++)
            if (ret[i] < 0)
                ret[i] = rest * (weight ? weight[i] : 1) / weights;
    }
}

void split_minimum(const int *weight, const int *min_permille, double *ret_weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret_weight[i] = -1;
    for (bool again = true; again;) {
        double rest = PERMILLE, weights = 0;
        for (size_t i = 0; i < n; i++) {
            if (ret_weight[i] >= 0)
                rest -= ret_weight[i];
            else
                weights += weight[i];
        }
        again = false;
        for (size_t i = 0; i < n && !again; i++) {
            if (ret_weight[i] >= 0 || !weight[i] || rest * weight[i] / weights >= min_permille[i])
                continue;
            ret_weight[i] = min_permille[i];
            again = true; /* the rest has changed: begin again */
        }
        for (size_t i = 0; !again && i < n; i++)
            if (ret_weight[i] < 0)
                ret_weight[i] = weight[i] ? rest * weight[i] / weights : 0;
    }
}

/* ---- whole numbers --------------------------------------------------------------------------- */

struct order {
    const double *target;
    const int64_t *now;
};

static int by_remainder(const void *a, const void *b, void *arg)
{
    const struct order *o = arg;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    double fi = floor(o->target[i]), fj = floor(o->target[j]);
    bool has_i = (double)o->now[i] > fi, has_j = (double)o->now[j] > fj;
    if (has_i != has_j)
        return has_i ? -1 : 1;
    double ri = o->target[i] - fi, rj = o->target[j] - fj;
    if (ri != rj)
        return ri > rj ? -1 : 1;
    return i < j ? -1 : i > j;
}

void split_whole(int64_t amount, const double *target, const int64_t *now, int64_t *ret,
                 size_t *scratch, size_t n)
{
    size_t some = 0;
    for (size_t i = 0; i < n; i++) {
        ret[i] = (int64_t)floor(target[i]);
        amount -= ret[i];
        if (target[i] > (double)ret[i])
            scratch[some++] = i;
    }
    struct order order = {target, now};
    qsort_r(scratch, some, sizeof *scratch, by_remainder, &order);
    for (size_t i = 0; i < some && amount > 0; i++, amount--)
        ret[scratch[i]]++;
}

int64_t split_free(int64_t free, const int64_t *deficit, int64_t *ret, size_t n, size_t turn)
{
    i128 all = 0;
    for (size_t i = 0; i < n; i++)
        all += deficit[i];
    if (free <= 0 || all == 0)
        return free;
    int64_t total = all > free ? free : (int64_t)all, left = total;
    for (size_t i = 0; i < n; i++) {
        int64_t part = (int64_t)((i128)total * deficit[i] / all);
        ret[i] += part;
        left -= part;
    }
    for (size_t k = 0; k < n && left > 0; k++) {
        size_t i = (turn + k) % n;
        bool more = (i128)total * deficit[i] / all < deficit[i];
        ret[i] += more;
        left -= more;
    }
    return free - total;
}
