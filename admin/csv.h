/*
 * csv.h - one field of a CSV file (RFC 4180; pure).
 */
#ifndef INFERQ_ADMIN_CSV_H
#define INFERQ_ADMIN_CSV_H

#include "common/buf.h"
#include "common/span.h"

/* Appends the field: quoted where it holds a quote, comma, CR or LF, or is empty; an absent one is
 * nothing at all. */
void csv_add(struct buf *out, struct span value);

#endif
