/*
 * apply.h - a catalogue written into its tables while the worker runs: on a connection of its own,
 * which lives as long as that takes, without ever blocking the loop.
 */
#ifndef INFERQ_WORKER_APPLY_H
#define INFERQ_WORKER_APPLY_H

#include "common/catalogue.h"
#include "common/err.h"

struct uv_loop_s;
struct apply;

/* RC_OK: committed, with so many changes, and the catalogue's ids are set. Else nothing is known to
 * be written: RC_REJECT, an immutable entry was changed; RC_RETRY, Postgres is away or refuses, or
 * it took longer than APPLY_TIME_US. From the loop, once; `apply` is gone when it is called. */
typedef void (*apply_done)(void *arg, enum rc rc, int changes, const struct err *err);

enum { APPLY_TIME_US = 20 * 1000 * 1000 };

/* `cat` and `conninfo` are borrowed until `done`, `actor` is a literal. returns owned */
enum rc apply_new(struct uv_loop_s *loop, const char *conninfo, struct catalogue *cat,
                  const char *actor, apply_done done, void *arg, struct apply **ret_apply,
                  struct err *err) MUST_CHECK;
/* Gives it up: `done` is not called. NULL is fine; from any callback but its own `done`. */
void apply_free(struct apply *a);

#endif
