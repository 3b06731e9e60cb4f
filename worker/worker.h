/*
 * worker.h - the process: edges, path and loop put together.
 */
#ifndef INFERQ_WORKER_WORKER_H
#define INFERQ_WORKER_WORKER_H

#include "common/config.h"
#include "common/err.h"

/* Exit codes of the program. */
enum { EXIT_DONE = 0, EXIT_USAGE = 2, EXIT_UNREACHABLE = 3, EXIT_BROKEN = 4 };

/* The settings as a start would have them now, checked. RC_REJECT says what is wrong, where, and
 * how to mend it. returns owned */
typedef enum rc (*worker_reread)(void *arg, struct config **ret_config, struct err *err);

/*
 * Runs until SIGTERM or SIGINT has been served, or something fatal. Returns the exit code:
 * EXIT_DONE after a clean drain, EXIT_USAGE for what the configuration, catalogue or database does
 * not allow, EXIT_UNREACHABLE when Postgres cannot be reached at start, EXIT_BROKEN for a fatal
 * fault while running (the message is logged). SIGHUP reloads: `reread` gives the new settings, and
 * the reloadable ones are put into `config`.
 */
int worker_run(struct config *config, worker_reread reread, void *reread_arg);

#endif
