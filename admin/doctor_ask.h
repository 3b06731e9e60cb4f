/*
 * doctor_ask.h - the edge of `inferq doctor`: asks Postgres, the catalogue file and the references
 * to secrets for facts.
 */
#ifndef INFERQ_ADMIN_DOCTOR_ASK_H
#define INFERQ_ADMIN_DOCTOR_ASK_H

#include "admin/cmd.h"
#include "admin/doctor.h"
#include "common/catalogue.h"

/* Rows of facts, owned. */
struct doctor_answers {
    struct doctor_row *rows;
    int count;
};
void doctor_answers_done(struct doctor_answers *a);

struct doctor_file {
    const char *path;      /* NULL: none was given */
    struct catalogue *cat; /* owned; NULL: none, or it cannot be read */
    struct err err;
};

/* Each: RC_OK with rows, to be freed in any case; else why they could not be had. */
enum rc doctor_ask_rows(struct ctx *ctx, const char *sql, const struct pg_params *params,
                        struct doctor_answers *ret, struct err *err) MUST_CHECK;
enum rc doctor_ask_clock(struct ctx *ctx, struct doctor_answers *ret, struct err *err) MUST_CHECK;
enum rc doctor_ask_migrations(struct ctx *ctx, struct doctor_answers *ret,
                              struct err *err) MUST_CHECK;
enum rc doctor_ask_signing(struct ctx *ctx, struct doctor_answers *ret, struct err *err) MUST_CHECK;
/* A row that says of the ring itself (a: 1 when it cannot be used), then one of each app that has
 * submitted within a week and has no key in it (subject; b: its batches). */
enum rc doctor_ask_ring(struct ctx *ctx, struct doctor_answers *ret, struct err *err) MUST_CHECK;
enum rc doctor_ask_file(const struct doctor_file *file, struct doctor_answers *ret,
                        struct err *err) MUST_CHECK;
enum rc doctor_ask_applied(struct ctx *ctx, const struct catalogue *cat, struct doctor_answers *ret,
                           struct err *err) MUST_CHECK;
/* A row for each limit that holds the fleet: the limit, the line that says so; a: its dimension. */
enum rc doctor_ask_held(struct ctx *ctx, struct doctor_answers *ret, struct err *err) MUST_CHECK;
/* What checks of Kafka hold against Postgres. */
enum rc doctor_ask_fleet(struct ctx *ctx, struct doctor_facts *facts, struct err *err) MUST_CHECK;

/* The endpoints in use, of the file or, without one, of the tables; their credentials are resolved
 * and each is probed (`call`: with a request). Owned, and freed by doctor_endpoints_free. */
enum rc doctor_ask_endpoints(struct ctx *ctx, const struct catalogue *cat, bool call,
                             struct doctor_endpoint **ret, int *ret_count,
                             struct err *err) MUST_CHECK;
void doctor_endpoints_free(struct doctor_endpoint *all, int count);

#endif
