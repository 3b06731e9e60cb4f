#ifndef MODELSIM_TIMERS_H
#define MODELSIM_TIMERS_H
/*
 * Purpose: a binary heap of deadlines. An owner embeds a struct timer; each timer is in at most one
 * heap, at most once. Times are monotonic microseconds.
 */
#include <stddef.h>
#include <stdint.h>

struct timer {
    int64_t due_us;
    size_t slot; /* position in the heap + 1; 0: not armed */
};

struct timers {
    struct timer **heap;
    size_t count;
    size_t cap;
};

/* Arms or re-arms a timer (borrowed until it fires or is dropped). */
void timers_arm(struct timers *timers, struct timer *timer, int64_t due_us);
/* Disarms; harmless when not armed. */
void timers_drop(struct timers *timers, struct timer *timer);
/* Takes out one timer due at now_us, or returns NULL. */
struct timer *timers_pop(struct timers *timers, int64_t now_us);
/* When the next one is due; INT64_MAX when none is armed. */
int64_t timers_next(const struct timers *timers);
/* Frees the heap, not the timers. */
void timers_done(struct timers *timers);

#endif
