/*
 * when.h - moments as servers write them in headers (pure): numbers, durations, dates.
 *
 * A number is seconds from now; from 1e9 on it is a Unix time in seconds, from 1e11 on in
 * milliseconds. Durations are "6m0s", "7.66s", "120ms". Dates are those of RFC 9110 (5.6.7, three
 * forms) and of RFC 3339.
 */
#ifndef INFERQ_WORKER_WHEN_H
#define INFERQ_WORKER_WHEN_H

#include <stdbool.h>
#include <stdint.h>

enum when_kind {
    WHEN_NOTHING, /* the text says nothing */
    WHEN_AFTER,   /* us from now: 0 to 30 days */
    WHEN_AT,      /* us since 1970, by the server's clock */
};

struct when {
    enum when_kind kind;
    int64_t us;
};

/* `near_ms`: roughly now; only years of two digits depend on it (never more than 50 years ahead).
 */
struct when when_read(const char *text, int64_t near_ms);
/* The same for a plain number of milliseconds, which may have a fraction; anything else says
 * nothing. */
struct when when_read_ms(const char *text);
/* From now, 0 (past, or negative) to 30 days; -1: nothing. `server_ms`: the server's clock. */
int64_t when_us(struct when w, int64_t server_ms);
/* What the server's clock shows: its Date header, or `wall_ms` where that is none. */
int64_t when_server_ms(const char *date, int64_t wall_ms);

#endif
