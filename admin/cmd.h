/*
 * cmd.h - what every command of `inferq` is given, and the table that names them all.
 *
 * A command is one function. It returns RC_OK, or a failure whose text is for the person at the
 * terminal; main turns that into the exit code: 0 done, 1 some jobs failed (the command sets
 * ctx->exit_code), 2 usage or bad input, 3 a server cannot be reached.
 */
#ifndef INFERQ_ADMIN_CMD_H
#define INFERQ_ADMIN_CMD_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/opts.h"
#include "admin/table.h"
#include "common/config.h"
#include "common/err.h"
#include "common/pg.h"

enum { EXIT_DONE = 0, EXIT_JOBS_FAILED = 1, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

enum { LOGIN_BYTES = 128 };

struct ctx {
    const struct cmd *cmd;
    struct config *config; /* loaded and checked */
    struct opts opts;
    struct pgc *conn;        /* opened by ctx_connect; closed by main */
    char login[LOGIN_BYTES]; /* there; "" unless the schema is there, and this login may not use it
                              */
    int exit_code;           /* of a command that returns RC_OK */
    bool kafka_stays;        /* librdkafka cannot be ended: main leaves by _exit */
};

struct cmd {
    const char *name; /* "batch show" */
    const char *args; /* "BATCH", "ID..."; "" none */
    int args_min, args_max;
    const char *summary; /* one line, for the list */
    const char *help;    /* the rest of --help; may be NULL */
    const struct opt *opts;
    enum rc (*run)(struct ctx *ctx, struct err *err);
    bool raw; /* words are handed over unread (submit) */
};

extern const struct config_key cmd_keys[]; /* the configuration of `inferq` */
extern const struct cmd cmd_table[];       /* ends with a NULL name */

/* Opens ctx->conn unless it is open. */
enum rc ctx_connect(struct ctx *ctx, struct err *err) MUST_CHECK;
/* The same as pgc_exec on ctx->conn; a missing table or right is said with its remedy. */
enum rc ctx_exec(struct ctx *ctx, const char *sql, const struct pg_params *params,
                 struct pg_rows **ret_rows, struct err *err) MUST_CHECK;
enum rc ctx_stream(struct ctx *ctx, const char *sql, const struct pg_params *params, pgc_row row,
                   void *arg, struct err *err) MUST_CHECK;
/* BEGIN; COMMIT when `rc` is RC_OK, else ROLLBACK. ctx_end returns `rc`, or the COMMIT's failure.
 */
enum rc ctx_begin(struct ctx *ctx, struct err *err) MUST_CHECK;
enum rc ctx_end(struct ctx *ctx, enum rc rc, struct err *err) MUST_CHECK;

/* kafka_producer_free, as every command ends its connection. Takes NULL. */
struct kafka_producer;
void ctx_kafka_free(struct ctx *ctx, struct kafka_producer *producer);

/* Who does this, for the audit: --actor, else "user@host". `out` at least 128 bytes. The command's
 * table must have "actor". */
enum { ACTOR_BYTES = 128 };
const char *ctx_actor(const struct ctx *ctx, char out[ACTOR_BYTES]);

/* Prints as the command's --json says. */
enum rc ctx_print_table(struct ctx *ctx, const struct table *t, struct err *err) MUST_CHECK;

/* RC_REJECT when `t` is NULL for want of memory, else RC_OK: for objects made with `_new`. */
enum rc cmd_have(const void *p, struct err *err) MUST_CHECK;

/* The migration files (--sql-dir; the command's table must have it) held against the database. To
 * be freed unless it failed. RC_REJECT as migrations_read and migrations_match. */
struct migrations;
enum rc migrate_compare(struct ctx *ctx, struct migrations *ret, struct err *err) MUST_CHECK;

/* The commands, by file. */
enum rc batch_list(struct ctx *ctx, struct err *err);
enum rc batch_show(struct ctx *ctx, struct err *err);
enum rc batch_watch(struct ctx *ctx, struct err *err);
enum rc batch_cancel(struct ctx *ctx, struct err *err);
enum rc batch_seal(struct ctx *ctx, struct err *err);
enum rc cost(struct ctx *ctx, struct err *err);
enum rc dead_accept(struct ctx *ctx, struct err *err);
enum rc dead_discard(struct ctx *ctx, struct err *err);
enum rc dead_edit(struct ctx *ctx, struct err *err);
enum rc dead_list(struct ctx *ctx, struct err *err);
enum rc dead_show(struct ctx *ctx, struct err *err);
enum rc dead_requeue(struct ctx *ctx, struct err *err);
enum rc doctor(struct ctx *ctx, struct err *err);
enum rc endpoint_pause(struct ctx *ctx, struct err *err);
enum rc endpoint_resume(struct ctx *ctx, struct err *err);
enum rc endpoint_show(struct ctx *ctx, struct err *err);
enum rc explain(struct ctx *ctx, struct err *err);
enum rc help(struct ctx *ctx, struct err *err);
enum rc lane_add(struct ctx *ctx, struct err *err);
enum rc lane_assign(struct ctx *ctx, struct err *err);
enum rc lane_list(struct ctx *ctx, struct err *err);
enum rc lane_remove(struct ctx *ctx, struct err *err);
enum rc limit_clear(struct ctx *ctx, struct err *err);
enum rc limit_set(struct ctx *ctx, struct err *err);
enum rc limit_show(struct ctx *ctx, struct err *err);
enum rc migrate(struct ctx *ctx, struct err *err);
enum rc results(struct ctx *ctx, struct err *err);
enum rc rewind_group(struct ctx *ctx, struct err *err);
enum rc skip_jobs(struct ctx *ctx, struct err *err);
enum rc submit(struct ctx *ctx, struct err *err);
enum rc top(struct ctx *ctx, struct err *err);
enum rc topics(struct ctx *ctx, struct err *err);
enum rc upkeep(struct ctx *ctx, struct err *err);
enum rc worker_drain(struct ctx *ctx, struct err *err);
enum rc worker_list(struct ctx *ctx, struct err *err);

#endif
