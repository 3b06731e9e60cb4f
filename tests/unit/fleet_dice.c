/*
 * fleet_dice.c - what a played fleet draws, and what it has used of a limit.
 *
 * Happy path: one seed gives one row of numbers. Failure modes: none.
 */
#include "tests/unit/fleet_world.h"

uint64_t fleet_draw(struct fleet *w, int64_t below)
{
    w->seed += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = w->seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return below > 0 ? (z ^ (z >> 31)) % (uint64_t)below : 0;
}

int64_t fleet_between(struct fleet *w, int64_t least, int64_t most)
{
    return least + (int64_t)fleet_draw(w, most - least + 1);
}

bool fleet_chance(struct fleet *w, int permille)
{
    return (int)fleet_draw(w, 1000) < permille;
}

/* Units of the last `us`, in permille of what the limit allows. */
int64_t fleet_used(const struct fleet *w, int limit, int64_t us)
{
    const struct witness *m = &w->witness[limit];
    int64_t units = 0;
    for (size_t i = m->count; i-- > 0 && m->list[i].at_us > w->now_us - us;)
        units += m->list[i].units;
    return units * 1000 * MINUTE / us / m->amount;
}
