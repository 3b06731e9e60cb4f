/*
 * tokens.c - see tokens.h.
 *
 * Happy path: each report pulls the factor a sixteenth of the way towards its own (an exponentially
 * weighted mean), and adds one to the bin of its output; when the bins hold REPORTS_MAX they are
 * halved, so that old reports fade; the percentile is the upper edge of the bin in which it falls,
 * at most a quarter too high.
 *
 * Failure mode: reports that are far off (an image in base64, a server that counts oddly) count as
 * twice or half the present factor at most, so that a few of them change little and many are
 * followed.
 */
#include "worker/tokens.h"

enum {
    FIRST_PER_MILLION = 250 * 1000,
    LEAST_PER_MILLION = 10,             /* 100,000 bytes a token */
    MOST_PER_MILLION = 4 * 1000 * 1000, /* four tokens a byte */
    WEIGHT = 16,
    REPORTS_MIN = 20, /* before the percentile means anything */
    REPORTS_MAX = 1024,
    PERCENTILE = 95,
};

void tokens_init(struct tokens *t)
{
    *t =
        (struct tokens){.per_million_bytes = FIRST_PER_MILLION, .output_p95 = TOKENS_OUTPUT_UNSAID};
}

int64_t tokens_input(const struct tokens *t, int64_t bytes)
{
    if (bytes <= 0)
        return 0;
    return (bytes * t->per_million_bytes + 999999) / 1000000;
}

int64_t tokens_output(const struct tokens *t, int64_t most)
{
    return most >= 0 && most < t->output_p95 ? most : t->output_p95;
}

static int64_t clamp(int64_t v, int64_t least, int64_t most)
{
    return v < least ? least : v > most ? most : v;
}

/* ---- input ----------------------------------------------------------------------------------- */

static void learn_input(struct tokens *t, int64_t bytes, int64_t input)
{
    int64_t now = t->per_million_bytes;
    int64_t most = bytes * (MOST_PER_MILLION / 1000000); /* more would be absurd, and overflow */
    int64_t said = (input < most ? input : most) * 1000000 / bytes;
    said = clamp(said, now / 2, now * 2);
    int64_t step = said - now;
    /* Rounded away from zero, or a small factor could not change any more. */
    now += (step + (step > 0 ? WEIGHT - 1 : step < 0 ? 1 - WEIGHT : 0)) / WEIGHT;
    t->per_million_bytes = clamp(now, LEAST_PER_MILLION, MOST_PER_MILLION);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* Four bins to the octave; 0 and 1 share the first. */
static int bin_of(int64_t tokens)
{
    if (tokens < 1)
        return 0;
    int octave = 63 - __builtin_clzll((unsigned long long)tokens);
    int quarter =
        octave >= 2 ? (int)(tokens >> (octave - 2) & 3) : (int)(tokens << (2 - octave) & 3);
    int bin = 4 * octave + quarter;
    return bin < TOKENS_BINS ? bin : TOKENS_BINS - 1;
}

/* The most that a bin holds. */
static int64_t edge_of(int bin)
{
    int octave = bin / 4, quarter = bin % 4;
    int64_t next = (INT64_C(1) << octave) * (5 + quarter); /* four times where the next begins */
    return (next + 3) / 4 - 1;
}

static void fade(struct tokens *t)
{
    t->reports = 0;
    for (int i = 0; i < TOKENS_BINS; i++) {
        t->bins[i] /= 2;
        t->reports = (uint16_t)(t->reports + t->bins[i]);
    }
}

static int64_t percentile(const struct tokens *t)
{
    int above = t->reports * (100 - PERCENTILE) / 100; /* so many may be larger */
    int bin = TOKENS_BINS - 1;
    for (; bin > 0 && t->bins[bin] <= above; bin--)
        above -= t->bins[bin];
    return edge_of(bin);
}

static void learn_output(struct tokens *t, int64_t output)
{
    t->bins[bin_of(output)]++;
    t->reports++;
    if (t->reports >= REPORTS_MAX)
        fade(t);
    if (t->reports >= REPORTS_MIN)
        t->output_p95 = percentile(t);
}

void tokens_learn(struct tokens *t, int64_t bytes, int64_t input, int64_t output)
{
    if (bytes > 0 && input > 0)
        learn_input(t, bytes, input);
    if (output >= 0)
        learn_output(t, output);
}
