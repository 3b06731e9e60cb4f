/*
 * reload.h - settings, signature keys and credentials taken over while the worker runs (SIGHUP).
 *
 * All or nothing: everything is read, checked and made ready first, and what is then put in force
 * cannot fail. Jobs under way are not touched: a call keeps the credential that it was sent with, a
 * job that was admitted stays so, a lower bound is reached as calls end.
 */
#ifndef INFERQ_WORKER_RELOAD_H
#define INFERQ_WORKER_RELOAD_H

#include "common/config.h"
#include "common/sign.h"
#include "worker/path.h"
#include "worker/store.h"
#include "worker/targets.h"

/* What a reload works on; all borrowed. */
struct reload {
    struct config *config; /* in force; the reloadable keys of the new one are swapped into it */
    struct sign_ring **ring;
    struct path *path;
    struct store *store;
    struct targets *targets;
    const struct catalogue *catalogue;
    const char *const *lane_names;
    int lane_count;
};

/* The keys of signature.keys when signatures are required, else none (NULL). returns owned */
enum rc reload_ring(const struct config *config, struct sign_ring **ret_ring,
                    struct err *err) MUST_CHECK;

/* Takes over from `next` (as checked as a start's; afterwards it holds what was before). Keys that
 * differ and need a restart are logged by name, and counted in *ret_restart. RC_REJECT, RC_NOMEM:
 * nothing has changed. */
enum rc reload_take(const struct reload *r, struct config *next, int *ret_restart,
                    struct err *err) MUST_CHECK;

#endif
