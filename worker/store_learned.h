/*
 * store_learned.h - the part of the store edge that tells the fleet what calls taught about
 * endpoints, and brings what others learned; of store_keep.c.
 */
#ifndef INFERQ_WORKER_STORE_LEARNED_H
#define INFERQ_WORKER_STORE_LEARNED_H

#include <stdint.h>

#include "common/err.h"

struct store;

/* Nothing where conf.learns is NULL. */
enum rc store_learned_start(struct store *s, struct err *err) MUST_CHECK;
void store_learned_free(struct store *s);
/* Again and again, while the connection is up, and before the lease is renewed: a worker that comes
 * claims nothing before it has heard; now_us: CLOCK_MONOTONIC. */
void store_learned_tick(struct store *s, int64_t now_us);
/* Somebody has learned something. */
void store_learned_notify(struct store *s);
/* This worker leaves: others may probe. Sent before what is sent next. */
void store_learned_stop(struct store *s);
/* The connection is gone, and what was under way. */
void store_learned_down(struct store *s);

#endif
