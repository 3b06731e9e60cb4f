#ifndef MODELSIM_LEDGER_H
#define MODELSIM_LEDGER_H
/*
 * Purpose: asks Postgres whether the row of a call stands in the ledger, on a connection of its
 * own, never blocking. The edge to libpq.
 *
 * A reply waits for its verdict as long as Postgres answers: a row written after the reply would
 * hide the fault that is looked for. While Postgres is away, or slower than LEDGER_PATIENCE_US, the
 * reply goes out and only the verdict is late; the question is asked again until it is answered.
 */
#include "tests/modelsim/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEDGER_PATIENCE_US 5000000

struct ledger;

/* One question. Owned by the ledger; the asker may clear `asker` at any time to lose interest. */
struct lookup {
    struct lookup *next;
    uint8_t job[16];
    int32_t call;
    uint64_t n; /* the request's number */
    int64_t asked_us;
    bool released;
    void *asker; /* NULL: nobody waits any more */
};

/* Called once per question with its answer. */
typedef void ledger_answer_fn(void *context, const struct lookup *lookup, bool present);
/* Called for a question that still has its asker when waiting has become pointless. */
typedef void ledger_release_fn(void *context, const struct lookup *lookup);

/* Starts towards a libpq connection string (borrowed during the call; copied). epoll_fd gets the
 * socket, with data.ptr = tag. Connection faults are retried for ever. Returned owned. */
struct ledger *ledger_new(const char *conninfo, int epoll_fd, void *tag, ledger_answer_fn *answer,
                          ledger_release_fn *release, void *context);
void ledger_free(struct ledger *ledger);
/* Asks; returns the question (borrowed until it is answered). */
struct lookup *ledger_ask(struct ledger *ledger, const uint8_t job[16], int32_t call, uint64_t n,
                          void *asker, int64_t now_us);
/* Does what can be done now; call after socket events and at every turn of the loop. */
void ledger_step(struct ledger *ledger, int64_t now_us);
/* When ledger_step wants to be called next at the latest; INT64_MAX: only after events. */
int64_t ledger_due(const struct ledger *ledger);
/* Questions without an answer. */
size_t ledger_open(const struct ledger *ledger);

#endif
