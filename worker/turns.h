/*
 * turns.h - the loop's turns: how long each was busy, and when the loop had better wait for more.
 */
#ifndef INFERQ_WORKER_TURNS_H
#define INFERQ_WORKER_TURNS_H

#include <stdint.h>

struct uv_loop_s;

/* Zeroed but for `loop`, which must count its idle time (UV_METRICS_IDLE_TIME). */
struct turns {
    struct uv_loop_s *loop; /* borrowed */
    int64_t from_us;        /* the last turn's end */
    int64_t idle_us;        /* how long was idled until then */
    int64_t napped_us;      /* in all: idle time that libuv does not know of */
    int64_t call_us;        /* how long calls take: a moving mean */
};

/* A call ended that took so long. */
void turns_called(struct turns *t, int64_t took_us);

/* Before the loop waits. Sleeps a little where many long calls are in flight. */
void turns_nap(struct turns *t, int in_flight);

/* The turn is over: for how long it was busy, in us; -1: it was the first. */
int64_t turns_end(struct turns *t);

#endif
