/*
 * metrics.c - counters, gauges and histograms (Prometheus text format 0.0.4).
 *
 * Happy path: a series is looked up by its label values once, then held and added to; rendering
 * walks the table. Failure: a full metric, or no memory for a series, gives the metric's "other"
 * series, which was made with it; a render that does not fit leaves the buffer as it was.
 *
 * Numbers are printed by printf: the program must stay in the C locale, as it does when it never
 * calls setlocale.
 */
#include "common/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

const double metric_seconds_buckets[] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5,    1,       2.5,    5,     10,     30,    60,   120,   300,  600, 0,
};

struct metric_series {
    const struct metric_def *def;
    double value;     /* histogram: the sum */
    uint64_t *counts; /* histogram: one per bucket and one for +Inf */
    int bucket_count;
    uint32_t hash;
    bool shown; /* asked for once, or without labels */
    char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
};

struct metric {
    const struct metric_def *def;
    int label_count;
    int bucket_count;
    int series_count;
    struct metric_series
        *series[METRICS_SERIES_MAX]; /* [0] is "other", or the one without labels */
};

struct metrics {
    int count;
    struct metric metric[];
};

static const char *const other = "other";

/* ---- making ------------------------------------------------------------------------------- */

static bool is_name(const char *p)
{
    size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n > 0 && p[n] == '\0' && !(*p >= '0' && *p <= '9');
}

static bool ends_in(const char *text, const char *tail)
{
    size_t n = strlen(text), tail_n = strlen(tail);
    return n >= tail_n && strcmp(text + n - tail_n, tail) == 0;
}

/* Counts labels and buckets, and holds our own table to its rules. */
static void metric_init(struct metric *m, const struct metric_def *def)
{
    *m = (struct metric){.def = def};
    assert(is_name(def->name) && def->help);
    assert(ends_in(def->name, "_total") == (def->type == METRIC_COUNTER));
    while (m->label_count < METRIC_LABELS_MAX && def->labels[m->label_count]) {
        assert(is_name(def->labels[m->label_count]));
        m->label_count++;
    }
    if (def->type != METRIC_HISTOGRAM)
        return;
    assert(def->buckets);
    while (def->buckets[m->bucket_count] != 0) {
        assert(m->bucket_count == 0 ||
               def->buckets[m->bucket_count] > def->buckets[m->bucket_count - 1]);
        m->bucket_count++;
    }
    assert(m->bucket_count >= 1 && m->bucket_count <= METRIC_BUCKETS_MAX);
}

/* What a label value may hold: whole UTF-8 characters, within its bound. One bad byte would make
 * the server refuse the whole page. */
static void clean_value(char out[METRIC_VALUE_BYTES], const char *value)
{
    size_t left = strlen(value), n = 0;
    while (left > 0) {
        size_t len = utf8_next(value, left, NULL);
        size_t take = len > 0 ? len : 1;
        if (n + take >= METRIC_VALUE_BYTES)
            break;
        if (len > 0)
            memcpy(out + n, value, len);
        else
            out[n] = '?';
        n += take;
        value += take;
        left -= take;
    }
    memset(out + n, 0, METRIC_VALUE_BYTES - n);
}

/* FNV-1a, 32 bits: saves most of the comparisons. */
static uint32_t hash_labels(char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES])
{
    uint32_t h = 2166136261u;
    for (int i = 0; i < METRIC_LABELS_MAX; i++) {
        for (const char *p = labels[i]; *p; p++)
            h = (h ^ (unsigned char)*p) * 16777619u;
        h = (h ^ 0xff) * 16777619u;
    }
    return h;
}

/* Adds a series to the metric. NULL: no memory. */
static struct metric_series *
add_series(struct metric *m, char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES], uint32_t hash)
{
    bool histogram = m->def->type == METRIC_HISTOGRAM;
    size_t counts = histogram ? (size_t)m->bucket_count + 1 : 0;
    struct metric_series *s = calloc(1, sizeof *s);
    uint64_t *count = histogram ? calloc(counts, sizeof *count) : NULL;
    if (!s || (histogram && !count)) {
        free(s);
        free(count);
        return NULL;
    }
    s->def = m->def;
    s->counts = count;
    s->bucket_count = m->bucket_count;
    s->hash = hash;
    memcpy(s->labels, labels, sizeof s->labels);
    m->series[m->series_count++] = s;
    return s;
}

/* The labels a metric has no use for stay empty. */
static uint32_t fill_labels(const struct metric *m, const char *const values[METRIC_LABELS_MAX],
                            char out[METRIC_LABELS_MAX][METRIC_VALUE_BYTES])
{
    for (int i = 0; i < METRIC_LABELS_MAX; i++)
        clean_value(out[i], i < m->label_count && values[i] ? values[i] : "");
    return hash_labels(out);
}

struct metrics *metrics_new(const struct metric_def *defs)
{
    size_t n = 0;
    while (defs[n].name)
        n++;
    struct metrics *all = calloc(1, sizeof *all + n * sizeof all->metric[0]);
    if (!all)
        return NULL;
    for (; (size_t)all->count < n; all->count++) {
        struct metric *m = &all->metric[all->count];
        char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
        metric_init(m, &defs[all->count]);
        uint32_t hash = fill_labels(m, (const char *const[]){other, other, other}, labels);
        struct metric_series *first = add_series(m, labels, hash);
        if (!first) {
            metrics_free(all);
            return NULL;
        }
        first->shown = m->label_count == 0;
    }
    return all;
}

static void series_free(struct metric_series *s)
{
    free(s->counts);
    free(s);
}

void metrics_free(struct metrics *all)
{
    if (!all)
        return;
    for (int i = 0; i < all->count; i++) {
        for (int j = 0; j < all->metric[i].series_count; j++)
            series_free(all->metric[i].series[j]);
    }
    free(all);
}

/* series_count: it is not there. */
static int find_series(const struct metric *m, char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES],
                       uint32_t hash)
{
    int i = 0;
    while (i < m->series_count &&
           (m->series[i]->hash != hash ||
            memcmp(m->series[i]->labels, labels, sizeof m->series[i]->labels) != 0))
        i++;
    return i;
}

struct metric_series *metrics_series(struct metrics *all, int def_index, const char *l0,
                                     const char *l1, const char *l2)
{
    assert(def_index >= 0 && def_index < all->count);
    struct metric *m = &all->metric[def_index];
    char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
    uint32_t hash = fill_labels(m, (const char *const[]){l0, l1, l2}, labels);

    int at = find_series(m, labels, hash);
    struct metric_series *found = at < m->series_count ? m->series[at] : NULL;
    if (!found && m->series_count < METRICS_SERIES_MAX)
        found = add_series(m, labels, hash);
    if (!found)
        found = m->series[0];
    found->shown = true;
    return found;
}

void metrics_drop(struct metrics *all, int def_index, const char *l0, const char *l1,
                  const char *l2)
{
    assert(def_index >= 0 && def_index < all->count);
    struct metric *m = &all->metric[def_index];
    char labels[METRIC_LABELS_MAX][METRIC_VALUE_BYTES];
    uint32_t hash = fill_labels(m, (const char *const[]){l0, l1, l2}, labels);
    int at = find_series(m, labels, hash);
    if (at == 0 || at == m->series_count)
        return;
    series_free(m->series[at]);
    memmove(&m->series[at], &m->series[at + 1],
            (size_t)(m->series_count - at - 1) * sizeof m->series[0]);
    m->series_count--;
}

/* ---- counting ----------------------------------------------------------------------------- */

void metric_add(struct metric_series *s, double v)
{
    assert(s->def->type != METRIC_HISTOGRAM);
    assert(s->def->type == METRIC_GAUGE || v >= 0);
    s->value += v;
}

void metric_set(struct metric_series *s, double v)
{
    assert(s->def->type == METRIC_GAUGE);
    s->value = v;
}

void metric_observe(struct metric_series *s, double v)
{
    assert(s->def->type == METRIC_HISTOGRAM);
    int i = 0;
    while (i < s->bucket_count && !(v <= s->def->buckets[i]))
        i++;
    s->counts[i]++;
    s->value += v;
}

double metric_value(const struct metric_series *s)
{
    if (s->def->type != METRIC_HISTOGRAM)
        return s->value;
    uint64_t n = 0;
    for (int i = 0; i <= s->bucket_count; i++)
        n += s->counts[i];
    return (double)n;
}

/* ---- showing ------------------------------------------------------------------------------ */

/* The shortest text that reads back as the same number. */
static void add_number(struct buf *out, double v)
{
    char text[40];
    if (isnan(v) || isinf(v)) {
        buf_add_text(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    static const double exact = 9007199254740992.0; /* 2^53: whole numbers below it are exact */
    if (v > -exact && v < exact && v == (double)(int64_t)v) {
        buf_addf(out, "%.0f", v == 0 ? 0.0 : v);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_add_text(out, text);
}

static void add_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\n')
            buf_add(out, "\\n", 2);
        else if (*text == '\\' || (quotes && *text == '"'))
            buf_add(out, (const char[]){'\\', *text}, 2);
        else
            buf_add(out, text, 1);
    }
}

/* NAME SUFFIX {label="value",...,le="..."}, and the blank before the number. `le` NULL: none. */
static void add_series_name(struct buf *out, const struct metric *m, const struct metric_series *s,
                            const char *suffix, const double *le)
{
    buf_addf(out, "%s%s", m->def->name, suffix);
    const char *open = "{";
    for (int i = 0; i < m->label_count; i++, open = ",") {
        buf_addf(out, "%s%s=\"", open, m->def->labels[i]);
        add_escaped(out, s->labels[i], true);
        buf_add(out, "\"", 1);
    }
    if (le) {
        buf_addf(out, "%sle=\"", open);
        add_number(out, *le);
        buf_add(out, "\"", 1);
    }
    buf_add_text(out, m->label_count > 0 || le ? "} " : " ");
}

static void add_histogram(struct buf *out, const struct metric *m, const struct metric_series *s)
{
    uint64_t n = 0;
    for (int i = 0; i <= m->bucket_count; i++) {
        double le = i < m->bucket_count ? m->def->buckets[i] : (double)INFINITY;
        n += s->counts[i];
        add_series_name(out, m, s, "_bucket", &le);
        buf_addf(out, "%" PRIu64 "\n", n);
    }
    add_series_name(out, m, s, "_sum", NULL);
    add_number(out, s->value);
    buf_add(out, "\n", 1);
    add_series_name(out, m, s, "_count", NULL);
    buf_addf(out, "%" PRIu64 "\n", n);
}

static void add_metric(struct buf *out, const struct metric *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    buf_addf(out, "# HELP %s ", m->def->name);
    add_escaped(out, m->def->help, false);
    buf_addf(out, "\n# TYPE %s %s\n", m->def->name, types[m->def->type]);
    for (int i = 0; i < m->series_count; i++) {
        const struct metric_series *s = m->series[i];
        if (!s->shown)
            continue;
        if (m->def->type == METRIC_HISTOGRAM) {
            add_histogram(out, m, s);
            continue;
        }
        add_series_name(out, m, s, "", NULL);
        add_number(out, s->value);
        buf_add(out, "\n", 1);
    }
}

bool metrics_render(const struct metrics *all, struct buf *out)
{
    size_t before = out->n;
    for (int i = 0; i < all->count; i++)
        add_metric(out, &all->metric[i]);
    if (out->failed)
        out->n = before;
    return !out->failed;
}
