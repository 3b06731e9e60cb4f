/*
 * dead_filter.h - which dead letters a command is about.
 */
#ifndef INFERQ_ADMIN_DEAD_FILTER_H
#define INFERQ_ADMIN_DEAD_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/batch_ref.h"
#include "admin/cmd.h"
#include "common/err.h"
#include "common/pg.h"

struct dead_filter {
    bool by_batch;
    struct batch batch; /* by_batch; owned */
    int class;          /* -1: any */
    int state;          /* -1: any */
    const char *app;    /* NULL: any */
    int64_t since_ms;   /* 0: any */
};

/* From --batch, --class, --app and --since; `state` is the caller's. */
enum rc dead_filter_read(struct ctx *ctx, int state, struct dead_filter *ret,
                         struct err *err) MUST_CHECK;
void dead_filter_done(struct dead_filter *f);
bool dead_filter_is_empty(const struct dead_filter *f); /* nothing but the state was said */

/* $1 .. $5, which DEAD_FILTER wants. */
void dead_filter_params(struct pg_params *p, const struct dead_filter *f);
#define DEAD_FILTER                                                                 \
    "($1::uuid IS NULL OR d.batch_id = $1) AND ($2::int2 IS NULL OR d.class = $2) " \
    "AND ($3::int2 IS NULL OR d.state = $3) AND ($4::text IS NULL OR d.app = $4) "  \
    "AND ($5::timestamptz IS NULL OR d.created_at >= $5)"

/* The states of a letter whose job runs again, as its next generation: requeued, edited. */
#define DEAD_RUNS_AGAIN "IN (3, 4)"

/* "24h" and "7d" ago, "2026-11-21T10:43:00Z"; -1: neither. Pure. */
int64_t dead_since_parse(const char *text, int64_t now_ms);
/* A dead letter's id. RC_REJECT: no positive number. Pure. */
enum rc dead_id_parse(const char *text, int64_t *ret, struct err *err) MUST_CHECK;

#endif
