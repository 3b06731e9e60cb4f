/*
 * cost.h - what `inferq cost` can tell costs apart by (pure).
 */
#ifndef INFERQ_ADMIN_COST_H
#define INFERQ_ADMIN_COST_H

#include "common/buf.h"
#include "common/err.h"

struct cost_dim {
    const char *name;        /* "model-version", as --by has it */
    const char *key, *title; /* of its column */
    const char *sql;         /* over call c, batch b, result r, model_version v, endpoint e: text */
};

enum { COST_DIMS_MAX = 8 };
struct cost_by {
    const struct cost_dim *dims[COST_DIMS_MAX];
    int count;
};

/* Adds the names of "app,day". RC_REJECT: an unknown one, with the nearest or all; one twice. */
enum rc cost_by_add(struct cost_by *by, const char *names, struct err *err) MUST_CHECK;

#endif
