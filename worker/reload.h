/*
 * reload.h - settings, signature keys, credentials and the catalogue taken over while the worker
 * runs (SIGHUP).
 *
 * All or nothing: everything is read, checked and made ready first, and what is then put in force
 * cannot fail. A catalogue file that has changed is written into its tables in between, without
 * blocking the loop; until that is committed everything stays as it was. Jobs under way are not
 * touched: a call keeps the credential and the model version that it was sent with, a job that was
 * admitted stays so, a lower bound is reached as calls end; a job that waits is routed anew.
 */
#ifndef INFERQ_WORKER_RELOAD_H
#define INFERQ_WORKER_RELOAD_H

#include "common/config.h"
#include "common/sign.h"
#include "worker/path.h"
#include "worker/served.h"
#include "worker/store.h"
#include "worker/targets.h"
#include "worker/watch.h"

struct uv_loop_s;
struct reload;

/* What a reload works on; all borrowed. */
struct reload_conf {
    struct uv_loop_s *loop;
    struct config *config; /* in force; the reloadable keys of the new one are swapped into it */
    struct sign_ring **ring;
    struct catalogue **catalogue; /* in force; the one before goes when edges.unused names it */
    struct path *path;
    struct store *store;
    struct targets *targets;
    struct watch *watch;
    const struct served *served; /* the lanes, which stay as they are */
    void *arg;
    /* The settings as a start would have them now, checked as a start's. returns owned */
    enum rc (*reread)(void *arg, struct config **ret_config, struct err *err);
};

/* The keys of signature.keys when signatures are required, else none (NULL). returns owned */
enum rc reload_ring(const struct config *config, struct sign_ring **ret_ring,
                    struct err *err) MUST_CHECK;

/* returns owned; NULL: no memory */
struct reload *reload_new(const struct reload_conf *conf);
void reload_free(struct reload *r); /* gives up what is being applied; before the loop ends */
/* Reloads, and logs and counts what came of it: at once, or later where the catalogue is to be
 * written. Keys that differ and need a restart are logged by name, and counted. Asked again while
 * one is under way, it begins anew after that. */
void reload_now(struct reload *r);

#endif
