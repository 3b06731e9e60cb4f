/*
 * top.h - `inferq top`: what one look at the fleet found, and that as lines of text (pure).
 */
#ifndef INFERQ_ADMIN_TOP_H
#define INFERQ_ADMIN_TOP_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/held.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/lane_set.h"

struct ctx;

enum {
    TOP_LANES = LANE_SET_MAX,
    TOP_ENDPOINTS = 100,
    TOP_WORKERS = 200,
    TOP_BATCHES = 50,
    TOP_CLASSES = 64,
    TOP_TEXT_BYTES = 96,
    TOP_COUNT_MAX = 10000, /* parked rows of one endpoint and priority are counted up to this */
    TOP_WINDOW_S = 10,     /* rates are over so long */
};

struct top_lane {
    int code;
    char name[LANE_NAME_BYTES];
    int64_t lag;          /* records of the lane's topic that are not done; -1: not known */
    int64_t waiting, due; /* parked; of them what could run now; up to TOP_COUNT_MAX per endpoint */
    int64_t ended;        /* jobs, within the window */
};

struct top_class {
    int class;
    int64_t calls; /* that ended within the window */
};

struct top_endpoint {
    char name[TOP_TEXT_BYTES];
    char paused_by[TOP_TEXT_BYTES]; /* an operator; "": nobody has paused it */
    bool probed;       /* calls taught that it is closed, and one tries it at a time; */
    int64_t closed_ms; /* not before; 0: now */
    int closed_for;    /* class */
    int max_in_flight;
    int64_t in_flight, calls, failed; /* the latter two within the window */
    int64_t waiting;                  /* parked */
};

struct top_worker {
    int64_t id;
    char host[TOP_TEXT_BYTES], build[TOP_TEXT_BYTES], state[16];
    int pid;
    int64_t in_flight, calls;
    int64_t lease_left_ms; /* < 0: it is over */
};

struct top_batch {
    char name[TOP_TEXT_BYTES]; /* "app/batch" */
    int64_t accepted, ended, dead, pending;
    int64_t recent; /* ended within the window */
};

struct top_facts {
    int64_t at_ms; /* Postgres's clock */
    int64_t took_us;
    char
        away[TOP_TEXT_BYTES]; /* why Postgres did not answer; "": it did. The rest is then older. */
    bool held;                /* the view stands still on purpose */

    struct top_lane lanes[TOP_LANES];
    int lane_count;
    struct top_class classes[TOP_CLASSES];
    int class_count;
    struct top_endpoint endpoints[TOP_ENDPOINTS];
    int endpoint_count;
    struct top_worker workers[TOP_WORKERS];
    int worker_count;
    struct top_batch batches[TOP_BATCHES];
    int batch_count;
    struct held_list limits;                              /* that hold the fleet */
    int64_t in_flight, calls, ended, cost_nusd, unpriced; /* the latter four within the window */
};

/* Looks. RC_RETRY: Postgres is away, and the next look opens a new connection. `ret` is untouched
 * then. */
enum rc top_look(struct ctx *ctx, struct top_facts *ret, struct err *err) MUST_CHECK;

/* Kafka's side: asked now and then, as it takes some round trips; without it no lag is known. */
struct top_kafka;
struct top_kafka *top_kafka_new(struct ctx *ctx); /* returns owned; NULL: no lag is shown */
void top_kafka_free(struct top_kafka *k);
/* Fills in the lanes' lag, as it was asked for within the last ten seconds. `k` may be NULL. */
void top_kafka_look(struct top_kafka *k, struct top_facts *facts);

/* At most `height` lines of at most `width` columns, each ended by '\n', as text without control
 * characters. What does not fit is left out from the lists that are longest, and their last line
 * says how much that is. Height 0: all of it. RC_NOMEM: `out` has no room. */
enum rc top_render(const struct top_facts *facts, int width, int height, struct buf *out,
                   struct err *err) MUST_CHECK;

#endif
