/*
 * loop.h - the end of a live test's event loop.
 */
#ifndef INFERQ_TESTS_LIVE_LOOP_H
#define INFERQ_TESTS_LIVE_LOOP_H

struct uv_loop_s;

/* Turns the loop until every handle is closed, and closes it. Where one stays open (a leak, or a
 * test that failed half way) it is named, and the result is not 0: a teardown that waited for it
 * would hide why. */
int loop_end(struct uv_loop_s *loop);

#endif
