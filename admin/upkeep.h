/*
 * upkeep.h - what the acts of `inferq upkeep` share: upkeep.c runs them, upkeep_parts.c has those
 * about partitions, upkeep_rows.c those about rows, upkeep_kafka.c that about records.
 *
 * Each act may be run again at any time, does nothing where there is nothing to do, and in a dry
 * run never; it adds a line to the report and, for what it changed, a row to the audit log.
 */
#ifndef INFERQ_ADMIN_UPKEEP_H
#define INFERQ_ADMIN_UPKEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/cmd.h"
#include "admin/table.h"

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS, UPKEEP_DETAIL_BYTES = 512 };

struct upkeep {
    struct ctx *ctx;
    struct table *table;
    bool dry_run;
    int64_t retention_ms;  /* 0: for good */
    int64_t kafka_keep_ms; /* of settled records */
    int64_t lost_after_ms; /* a call open for longer than this, whose worker is gone, is lost */
};

/* One line of the report. `detail` may be NULL. */
void upkeep_line(struct upkeep *u, const char *act, const char *subject, const char *state,
                 int64_t count, const char *detail);
/* The line of what was done ("done"; in a dry run "would do") and, but for a dry run, its audit
 * row, in the transaction that is open where there is one. */
enum rc upkeep_did(struct upkeep *u, const char *act, const char *subject, int64_t count,
                   const char *detail, struct err *err) MUST_CHECK;

/* Runs one statement whose parameters are int8; ret_rows: returns owned, may be NULL. */
enum rc upkeep_query(struct upkeep *u, const char *sql, const int64_t *params, int count,
                     struct pg_rows **ret_rows, struct err *err) MUST_CHECK;

/* The acts. */
enum rc upkeep_make(struct upkeep *u, struct err *err) MUST_CHECK;
enum rc upkeep_drop(struct upkeep *u, struct err *err) MUST_CHECK;
enum rc upkeep_calls(struct upkeep *u, struct err *err) MUST_CHECK;
enum rc upkeep_progress(struct upkeep *u, struct err *err) MUST_CHECK;
enum rc upkeep_workers(struct upkeep *u, struct err *err) MUST_CHECK;
enum rc upkeep_records(struct upkeep *u, struct err *err) MUST_CHECK;

#endif
