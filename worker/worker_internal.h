/*
 * worker_internal.h - what worker.c (the process and its loop) and worker_edges.c (who tells whom
 * what) share. Nobody else includes it.
 */
#ifndef INFERQ_WORKER_WORKER_INTERNAL_H
#define INFERQ_WORKER_WORKER_INTERNAL_H

#include <uv.h>

#include "common/catalogue.h"
#include "worker/consumer.h"
#include "worker/http.h"
#include "worker/letters.h"
#include "worker/ops.h"
#include "worker/path.h"
#include "worker/reload.h"
#include "worker/served.h"
#include "worker/store.h"
#include "worker/targets.h"
#include "worker/turns.h"
#include "worker/watch.h"
#include "worker/worker.h"

enum { WORKER_NAME_BYTES = 256 };

enum phase { RUNNING, DRAINING, ABORTING, STOPPING, STOPPED };

struct worker {
    struct config *config;
    worker_reread reread;
    void *reread_arg;
    uv_loop_t loop;
    uv_prepare_t before_wait;
    uv_timer_t timer;
    uv_signal_t sigterm, sigint, sighup;

    struct served served;
    char dead_topic[WORKER_NAME_BYTES], host[WORKER_NAME_BYTES];
    struct catalogue *catalogue;
    struct targets *targets;
    struct admission *admission;
    struct sign_ring *ring;
    int64_t oldest_live_ms; /* at start; the store edge tells of changes */

    struct consumer *consumer;
    struct http *http;
    struct store *store;
    struct letters *letters;
    struct ops *ops;
    struct path *path;
    struct watch *watch;
    struct reload *reload;

    enum phase phase;
    int64_t drain_until_us;
    struct turns turns;
    uint64_t random_state[2];
    int exit_code;
};

/* What the path has done for it: by these edges of the worker. */
void worker_path_edges(struct worker *w, struct path_edges *ret);
/* What the edges tell: their callbacks, and `arg`. */
void worker_hear_store(struct worker *w, struct store_conf *conf);
void worker_hear_kafka(struct worker *w, struct consumer_conf *conf);
void worker_hear_http(struct worker *w, struct http_conf *conf);
void worker_published(void *arg, int64_t dead_id, bool ok); /* of letters.h */

/* Nothing new starts; what is under way ends, within drain.timeout. */
void worker_drain(struct worker *w);
/* The process cannot go on: calls in flight may still end, then it exits non-zero. */
void worker_fails(struct worker *w, const char *what, const char *why);

#endif
