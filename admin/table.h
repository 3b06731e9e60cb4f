/*
 * table.h - rows that are printed as an aligned table for people, or as JSON or CSV for programs.
 *
 * Cells are added one after the other, row by row, then the table is printed once. In the human
 * form a missing value is "-", control characters (an answer may hold a terminal's escapes) become
 * '?', and text past a column's width is cut. In JSON and CSV everything stands whole, under the
 * columns' keys.
 */
#ifndef INFERQ_ADMIN_TABLE_H
#define INFERQ_ADMIN_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/jobid.h"
#include "common/span.h"

enum { TABLE_BYTES_MAX = 1 << 30 };

struct table_col {
    const char *key;   /* in JSON and CSV */
    const char *title; /* for people; NULL: only in JSON and CSV */
    int width_max;     /* characters; 0: not cut */
};

struct table;

/* `cols` is borrowed and ends with a NULL key. returns owned; NULL: no memory */
struct table *table_new(const struct table_col *cols);
void table_free(struct table *t);

/* The next cell. */
void table_null(struct table *t);
void table_int(struct table *t, int64_t v);
void table_bool(struct table *t, bool v);
void table_text(struct table *t, struct span s);   /* absent: null */
void table_time(struct table *t, int64_t unix_ms); /* 0: null */
void table_usd(struct table *t, int64_t nusd);     /* exact decimal text */
void table_id(struct table *t, const struct jobid *id);

int table_rows(const struct table *t); /* complete ones */

/* RC_NOMEM: the cells or the output did not fit. */
enum rc table_print(const struct table *t, struct buf *out, struct err *err) MUST_CHECK;
enum rc table_json(const struct table *t, struct buf *out, struct err *err) MUST_CHECK;
enum rc table_csv(const struct table *t, struct buf *out,
                  struct err *err) MUST_CHECK; /* RFC 4180 */

/* How many columns of a terminal UTF-8 text takes; a broken byte takes one. */
int table_width(struct span text);
/* Appends the text with control characters as '?' and broken bytes as U+FFFD, at most `width`
 * columns of it (0: all); a cut one ends in "…". Returns the columns written. */
int table_clean(struct span text, int width, struct buf *out);

#endif
