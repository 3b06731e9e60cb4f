/*
 * migrations.h - the numbered SQL files, and what a database has to do with them (pure but for
 * reading the directory).
 *
 * A file is NNNN_name.sql, numbered from 1 without a gap. An applied one is immutable: its SHA-256
 * is kept in inferq.migration, and a file that no longer has it is refused.
 */
#ifndef INFERQ_ADMIN_MIGRATIONS_H
#define INFERQ_ADMIN_MIGRATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

enum { MIGRATION_NAME_MAX = 96, MIGRATION_BYTES_MAX = 4 << 20, MIGRATIONS_MAX = 9999 };

struct migration {
    int number;
    char name[MIGRATION_NAME_MAX]; /* "core", of 0001_core.sql */
    char file[MIGRATION_NAME_MAX]; /* "0001_core.sql" */
    uint8_t sha256[32];
    char *sql;          /* owned, NUL-terminated */
    int64_t applied_ms; /* 0: not yet; set by migrations_match */
    bool changed;       /* applied with another content; so too */
};

struct migrations {
    struct migration *all; /* by number, from 1, dense */
    int count;
};

/* One row of inferq.migration. */
struct migration_row {
    int number;
    struct span name, sha256;
    int64_t applied_ms;
};

/* "0001_core.sql" -> 1, "core". False: not a migration's name. */
bool migration_parse_name(const char *file, int *ret_number, char name[MIGRATION_NAME_MAX]);

/* RC_REJECT: no such directory, no files, a duplicate, a gap, an unreadable or odd file. */
enum rc migrations_read(const char *dir, struct migrations *ret, struct err *err) MUST_CHECK;
void migrations_done(struct migrations *m);

/* Orders the files by number and refuses gaps and duplicates. */
enum rc migrations_order(struct migrations *m, struct err *err) MUST_CHECK;

/* Marks what is applied (rows by number, ascending). RC_REJECT: the database is newer than these
 * files, an earlier one was left out, or an applied one was changed (then all marks are set). */
enum rc migrations_match(struct migrations *m, const struct migration_row *rows, int row_count,
                         struct err *err) MUST_CHECK;

#endif
