/*
 * catalogue_db.c - writes a catalogue into its tables, and waits for it.
 *
 * Happy path: one transaction, in which catalogue_write says each statement.
 *
 * Failure modes: an entry that stands in the tables with another content is RC_REJECT, names the
 * entry and says what to do; the transaction is rolled back and every db_id is 0 again. A broken
 * connection is RC_RETRY: doing it all once more is harmless.
 */
#include "common/catalogue.h"

#include "common/catalogue_write.h"
#include "common/pg.h"

static enum rc run(struct pgc *conn, int statement, const struct pg_params *params,
                   struct pg_rows **ret_rows, struct err *err)
{
    return pgc_exec(conn, catalogue_write_statements[statement].sql, params, ret_rows, err);
}

static enum rc write_all(struct catalogue_write *w, struct pgc *conn, struct err *err)
{
    for (;;) {
        int statement = -1;
        const struct pg_params *params = NULL;
        struct pg_rows *rows = NULL;
        enum rc rc = catalogue_write_next(w, &statement, &params, err);
        if (rc != RC_OK || statement < 0)
            return rc;
        rc = run(conn, statement, params, &rows, err);
        if (rc == RC_OK)
            rc = catalogue_write_take(w, rows, err);
        pg_rows_free(rows);
        if (rc != RC_OK)
            return rc;
    }
}

enum rc catalogue_apply(struct catalogue *cat, struct pgc *conn, const char *actor, int *ret_new,
                        struct err *err)
{
    struct catalogue_write *w = catalogue_write_new(cat, actor);
    if (!w)
        return err_set(err, RC_NOMEM, "no memory to apply the catalogue");
    enum rc rc = run(conn, CATALOGUE_WRITE_BEGIN, NULL, NULL, err);
    bool begun = rc == RC_OK;
    if (rc == RC_OK)
        rc = write_all(w, conn, err);
    if (rc == RC_OK)
        rc = run(conn, CATALOGUE_WRITE_COMMIT, NULL, NULL, err);
    if (rc != RC_OK && begun) {
        /* A connection that broke has rolled back by itself: the first error is the one to tell. */
        enum rc undone = pgc_exec(conn, "ROLLBACK", NULL, NULL, NULL);
        (void)undone;
    }
    if (rc == RC_OK)
        *ret_new = catalogue_write_changes(w);
    catalogue_write_free(w, rc == RC_OK);
    return rc;
}
