/*
 * scratch.h - a database of a test's own, made from schemas/sql, and dropped at the end; with a
 * clock that the test sets, where it wants one.
 *
 * The PG* environment names the server; its user needs CREATEDB, and CREATEROLE where the roles are
 * not there yet. Tests run from the root of the tree.
 */
#ifndef INFERQ_TESTS_LIVE_SCRATCH_H
#define INFERQ_TESTS_LIVE_SCRATCH_H

#include <stdint.h>

#include "common/pg.h"

struct scratch {
    char database[64];
    char conninfo[96];
    struct pgc *conn; /* search_path is inferq */
};

/* `name` goes into the database's: [a-z_]. False: what went wrong was printed. */
bool scratch_open(struct scratch *s, const char *name);
void scratch_close(struct scratch *s);

/* Runs statements without parameters, or one with; fails the test unless they work. */
void scratch_run(struct scratch *s, const char *sql);
struct pg_rows *scratch_ask(struct scratch *s, const char *sql,
                            const struct pg_params *params); /* returns owned */
int64_t scratch_int(struct scratch *s, const char *sql);     /* the first row's first column */

/*
 * From here on now() and clock_timestamp() are what the test says: column defaults and functions of
 * the schema take the test's clock, and so does any session that has run SCRATCH_CLOCK_PATH.
 * SCRATCH_CLOCK_SET ($1: Unix us, bigint) sets it, for its session.
 */
void scratch_take_clock(struct scratch *s);
#define SCRATCH_CLOCK_PATH "SET search_path = scratch_clock, pg_catalog, inferq"
#define SCRATCH_CLOCK_SET "SELECT set_config('scratch.now_us', $1::int8::text, false)"

#endif
