/*
 * store_limits.h - the part of the store edge that shares limits with the fleet; of store_keep.c.
 */
#ifndef INFERQ_WORKER_STORE_LIMITS_H
#define INFERQ_WORKER_STORE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct store;

/* Nothing where conf.admission is NULL. */
enum rc store_limits_start(struct store *s, struct err *err) MUST_CHECK;
void store_limits_free(struct store *s);
/* Have the limits in force been read? Until then nothing may be called for. */
bool store_limits_known(const struct store *s);
/* Again and again, while the connection is up; now_us: CLOCK_MONOTONIC. */
void store_limits_tick(struct store *s, int64_t now_us);
/* Somebody has changed a limit. */
void store_limits_notify(struct store *s);
/* This worker leaves: what it holds is free at once. Sent before what is sent next. */
void store_limits_stop(struct store *s);
/* The connection is gone, and all that was under way. */
void store_limits_down(struct store *s);

#endif
