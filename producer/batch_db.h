/*
 * batch_db.h - what submit reads and writes in Postgres, statement by statement.
 */
#ifndef INFERQ_PRODUCER_BATCH_DB_H
#define INFERQ_PRODUCER_BATCH_DB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/hash.h"
#include "common/jobid.h"
#include "common/pg.h"
#include "common/price.h"
#include "common/span.h"

/* Everything here: RC_RETRY: the server is not there; RC_REJECT: it is, and refuses; the message
 * says what to do about it (missing tables, missing rights). */

struct batch_row {
    struct jobid id;
    int64_t created_ms;
    int64_t deadline_ms; /* 0: none */
    int64_t total;       /* -1: not sealed */
    int64_t sealed_ms;   /* 0: not sealed */
    int lane;            /* its code; -1: not said */
    bool cancelled;
    bool has_digest;
    uint8_t digest[HASH_BYTES];
};

struct batch_want {
    struct span app, name, task, team; /* task and team may be absent */
    int lane;                          /* its code */
    int64_t deadline_ms;               /* 0: none */
    const uint8_t *digest;             /* NULL: not known yet */
};

struct batch_counts {
    int64_t accepted, succeeded, dead, cancelled, expired, pending;
    int64_t requeued;      /* of the accepted */
    int64_t dead_accepted; /* of the dead: a reviewer took their answer */
    int64_t cost_nusd;     /* -1: nothing known */
};

/* Postgres's clock, and the creation time of the oldest ids that it still can hold. */
enum rc batch_db_clock(struct pgc *conn, int64_t *ret_now_ms, int64_t *ret_oldest_ms,
                       struct err *err) MUST_CHECK;

/* The lanes that there are. */
struct lane_set;
enum rc batch_db_lanes(struct pgc *conn, struct lane_set *ret_lanes, struct err *err) MUST_CHECK;

/* The batch of that app and name; *ret_found false: there is none. */
enum rc batch_db_find(struct pgc *conn, struct span app, struct span name, bool *ret_found,
                      struct batch_row *ret_row, struct err *err) MUST_CHECK;

/* Registers it, created now_ms, unless it stands; gives the row that then stands. */
enum rc batch_db_register(struct pgc *conn, const struct batch_want *want, int64_t now_ms,
                          struct batch_row *ret_row, struct err *err) MUST_CHECK;

/* *ret_sealed false: somebody else had sealed it already. */
enum rc batch_db_seal(struct pgc *conn, const struct jobid *id, int64_t total,
                      const uint8_t digest[HASH_BYTES], bool *ret_sealed,
                      struct err *err) MUST_CHECK;

enum rc batch_db_add_prompt(struct pgc *conn, struct span version, struct span prompt,
                            struct err *err) MUST_CHECK;

enum rc batch_db_counts(struct pgc *conn, const struct jobid *id, struct batch_counts *ret_counts,
                        struct err *err) MUST_CHECK;

/* The model version that would serve, and its price in force; *ret_found false: none. `label` is
 * NUL-terminated and cut to fit. */
struct batch_model {
    char label[160];
    int64_t max_output_tokens; /* 0: not said */
    bool priced;
    struct price price;
};
enum rc batch_db_model(struct pgc *conn, struct span model, struct span app, struct span task,
                       bool *ret_found, struct batch_model *ret_model, struct err *err) MUST_CHECK;

/* Whether workers have applied any catalogue yet. */
enum rc batch_db_has_catalogue(struct pgc *conn, bool *ret_has, struct err *err) MUST_CHECK;

#endif
