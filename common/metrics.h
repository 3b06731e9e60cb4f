/*
 * metrics.h - counters, gauges and histograms in Prometheus' text format.
 *
 * A program states its metrics in one table; series are made on first use with label values from
 * small closed sets (lane, class, endpoint name: never a job, user or raw model name), at most
 * METRICS_SERIES_MAX per metric, past which everything falls into the label value "other".
 * Single-threaded: the loop's thread only. Updating a held series is one addition.
 */
#ifndef INFERQ_COMMON_METRICS_H
#define INFERQ_COMMON_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
enum { METRIC_LABELS_MAX = 3, METRICS_SERIES_MAX = 256, METRIC_BUCKETS_MAX = 24 };
enum { METRIC_VALUE_BYTES = 128 };

struct metric_def {
    const char *name; /* "inferq_calls_total": base units, counters end in _total */
    enum metric_type type;
    const char *labels[METRIC_LABELS_MAX]; /* NULL-filled */
    const double *buckets;                 /* histogram: upper bounds, ascending, 0-terminated */
    const char *help;
};

struct metrics;
struct metric_series; /* stable address for the life of `metrics` */

/* `defs` is borrowed, ends with a NULL name and must be sound (asserted): names and labels of the
 * format's characters, counters end in _total, buckets ascend. returns owned; NULL: no memory */
struct metrics *metrics_new(const struct metric_def *defs);
void metrics_free(struct metrics *m);

/* The series of defs[def_index] with these label values (NULL for unused). Never NULL: past the
 * cap, or out of memory, it is the series whose label values are all "other". Values are copied, at
 * most METRIC_VALUE_BYTES - 1 of their bytes; what is not UTF-8 in them becomes '?'. */
struct metric_series *metrics_series(struct metrics *m, int def_index, const char *l0,
                                     const char *l1, const char *l2);
/* Takes a series out of the exposition and frees it; nobody may hold it. "other" stays. */
void metrics_drop(struct metrics *m, int def_index, const char *l0, const char *l1, const char *l2);
void metric_add(struct metric_series *s, double v);     /* counter (v >= 0) or gauge */
void metric_set(struct metric_series *s, double v);     /* gauge */
void metric_observe(struct metric_series *s, double v); /* histogram */
double metric_value(const struct metric_series *s);     /* histogram: its count */

/* Appends the whole exposition. false: `out`'s cap was reached; what it held stays as it was.
 * Series without labels, and all that were asked for, are there from the start, with 0. */
bool metrics_render(const struct metrics *m, struct buf *out);
/* Histogram buckets for times in seconds from 100 us to 10 min, 0-terminated. */
extern const double metric_seconds_buckets[];

#endif
