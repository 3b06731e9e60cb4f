/*
 * catalogue_write.h - a catalogue on its way into its tables, one statement at a time (pure).
 *
 * Whoever has a connection asks for the next statement, runs it, and hands its rows back, until
 * there is none: catalogue_apply does so on a blocking connection, a worker that runs on its
 * asynchronous one. All of them go in one transaction, which is the caller's to begin and commit.
 */
#ifndef INFERQ_COMMON_CATALOGUE_WRITE_H
#define INFERQ_COMMON_CATALOGUE_WRITE_H

#include <stdbool.h>

#include "common/catalogue.h"
#include "common/pg.h"

struct catalogue_write;

enum {
    CATALOGUE_WRITE_BEGIN, /* the caller's own */
    CATALOGUE_WRITE_COMMIT,
    CATALOGUE_WRITE_FIRST, /* those that catalogue_write_next names */
};
/* By these numbers; ends with a NULL name. */
extern const struct pg_stmt catalogue_write_statements[];

/* Entries that left the file are passed over. Both are borrowed. returns owned; NULL: no memory */
struct catalogue_write *catalogue_write_new(struct catalogue *cat, const char *actor);
/* The statement that is next, and its parameters, which live until the next call; -1: all is
 * written, and every db_id is set. RC_NOMEM: end the transaction. */
enum rc catalogue_write_next(struct catalogue_write *w, int *ret_statement,
                             const struct pg_params **ret_params, struct err *err) MUST_CHECK;
/* What it returned. RC_REJECT: an entry that is immutable stands there with another content; end
 * the transaction. */
enum rc catalogue_write_take(struct catalogue_write *w, const struct pg_rows *rows,
                             struct err *err) MUST_CHECK;
/* Rows of audit_log so far, one for each change. */
int catalogue_write_changes(const struct catalogue_write *w);
/* `committed`: else every db_id is 0 again. NULL is fine. */
void catalogue_write_free(struct catalogue_write *w, bool committed);

#endif
