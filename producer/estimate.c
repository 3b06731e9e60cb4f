/*
 * estimate.c - sums per model, and the text of the dry run.
 *
 * Happy path: each draft adds to its model's row; at the end each row gets its price. Input tokens
 * are estimated from the body's length (price.h), output tokens are the limit that each body sets,
 * or else the model's own. Failures are part of the answer: a price that is missing, a model that
 * nobody knows. Past ESTIMATE_MODELS_MAX models the rest share one row without a price.
 */
#include "producer/estimate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/price.h"
#include "common/utf8.h"

enum { NAME_BYTES = 160 };

struct row {
    char name[NAME_BYTES];
    bool is_default, is_rest;
    int64_t jobs, input_tokens;
    int64_t limited_tokens; /* output limits that bodies set */
    int64_t unlimited;      /* jobs whose body sets none */
};

struct sample {
    char custom_id[80], url[80], body[ESTIMATE_SAMPLE_BYTES + 1];
    bool cut;
};

struct estimate {
    struct row rows[ESTIMATE_MODELS_MAX + 1];
    int row_count;
    struct sample samples[ESTIMATE_SAMPLES];
    int sample_count;
    int64_t jobs, bytes;
};

struct estimate *estimate_new(void)
{
    return calloc(1, sizeof(struct estimate));
}

void estimate_free(struct estimate *e)
{
    free(e);
}

static struct row *row_of(struct estimate *e, struct span model)
{
    for (int i = 0; i < e->row_count; i++) {
        struct row *row = &e->rows[i];
        if (row->is_rest ||
            (model.p ? !row->is_default && span_is(model, row->name) : row->is_default))
            return row;
    }
    struct row *row = &e->rows[e->row_count++];
    row->is_default = !model.p;
    row->is_rest = e->row_count > ESTIMATE_MODELS_MAX;
    if (row->is_rest)
        snprintf(row->name, sizeof row->name, "(other models)");
    else if (model.p)
        snprintf(row->name, sizeof row->name, "%.*s", (int)model.n, model.p);
    else
        snprintf(row->name, sizeof row->name, "(default)");
    return row;
}

/* As much of the text as fits, at a character's end, control bytes as spaces. */
static bool copy_text(char *out, size_t out_bytes, struct span text)
{
    size_t n = text.n < out_bytes - 1 ? text.n : utf8_trim(text.p, out_bytes - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f ? ' ' : text.p[i];
    out[n] = '\0';
    return n < text.n;
}

void estimate_add(struct estimate *e, const struct draft *draft)
{
    struct row *row = row_of(e, draft->model);
    row->jobs++;
    row->input_tokens += price_estimate_tokens((int64_t)draft->body.n);
    if (draft->max_output_tokens < 0)
        row->unlimited++;
    else if (__builtin_add_overflow(row->limited_tokens, draft->max_output_tokens,
                                    &row->limited_tokens))
        row->limited_tokens = INT64_MAX;
    e->jobs++;
    e->bytes += (int64_t)draft->body.n;
    if (e->sample_count < ESTIMATE_SAMPLES) {
        struct sample *sample = &e->samples[e->sample_count++];
        (void)copy_text(sample->custom_id, sizeof sample->custom_id, draft->custom_id);
        (void)copy_text(sample->url, sizeof sample->url, draft->url);
        sample->cut = copy_text(sample->body, sizeof sample->body, draft->body);
    }
}

int64_t estimate_cost_nusd(const struct price *price, int64_t jobs, int64_t input_tokens,
                           int64_t output_tokens)
{
    struct price per_token = *price;
    per_token.request_pusd = 0; /* price_cost_nusd counts one request */
    const struct usage usage = {
        .input = input_tokens, .cached = 0, .output = output_tokens, .reasoning = 0};
    int64_t tokens_nusd = price_cost_nusd(&per_token, &usage);
    int64_t requests_pusd, sum;
    if (tokens_nusd < 0 || __builtin_mul_overflow(jobs, price->request_pusd, &requests_pusd))
        return -1;
    return __builtin_add_overflow(tokens_nusd, (requests_pusd + 999) / 1000, &sum) ? -1 : sum;
}

/* What a row comes to once its model is known. */
struct priced {
    char label[NAME_BYTES];
    char note[ERR_TEXT_BYTES]; /* why the cost is unknown; "" when it is known */
    int64_t output_tokens;     /* at most; -1: no limit is known */
    int64_t nusd;              /* at most; -1: unknown */
};

/* false: no version serves this row's jobs, and the note says so. */
static bool find_model(const struct row *row, estimate_lookup lookup, void *arg,
                       struct batch_model *ret_model, struct priced *priced)
{
    static const char no_default[] = "the catalogue has no default for this app and task";
    static const char no_model[] = "the catalogue has no such model: these jobs would fail";
    struct span model = {0};
    struct err err = {0};
    bool found = false;
    if (!row->is_default)
        model = span_of(row->name);
    if (row->is_rest)
        snprintf(priced->note, sizeof priced->note, "too many models to price each");
    else if (lookup(arg, model, &found, ret_model, &err) != RC_OK)
        snprintf(priced->note, sizeof priced->note, "%s", err.text);
    else if (!found)
        snprintf(priced->note, sizeof priced->note, "%s", row->is_default ? no_default : no_model);
    return found;
}

/* All limits together, those that bodies lack taken from the model; -1: no limit is known. */
static int64_t output_limit(const struct row *row, int64_t model_max_tokens)
{
    int64_t own, sum;
    if (row->unlimited == 0)
        return row->limited_tokens;
    if (model_max_tokens <= 0 || __builtin_mul_overflow(row->unlimited, model_max_tokens, &own) ||
        __builtin_add_overflow(row->limited_tokens, own, &sum))
        return -1;
    return sum;
}

static void price_row(const struct row *row, estimate_lookup lookup, void *arg,
                      struct priced *priced)
{
    struct batch_model model;
    *priced = (struct priced){.output_tokens = output_limit(row, 0), .nusd = -1};
    snprintf(priced->label, sizeof priced->label, "%s", row->name);
    if (!find_model(row, lookup, arg, &model, priced))
        return;
    snprintf(priced->label, sizeof priced->label, "%s", model.label);
    priced->output_tokens = output_limit(row, model.max_output_tokens);
    if (!model.priced)
        snprintf(priced->note, sizeof priced->note, "no price is in force");
    else if (priced->output_tokens < 0)
        snprintf(priced->note, sizeof priced->note,
                 "%" PRId64 " jobs set no limit to the output: --max-output-tokens",
                 row->unlimited);
    else
        priced->nusd =
            estimate_cost_nusd(&model.price, row->jobs, row->input_tokens, priced->output_tokens);
}

static void print_row(const struct row *row, const struct priced *priced, FILE *out)
{
    char usd[32], tokens[32] = "unknown";
    if (priced->output_tokens >= 0)
        snprintf(tokens, sizeof tokens, "%" PRId64, priced->output_tokens);
    fprintf(out, "  %-32s %10" PRId64 " %14" PRId64 " %14s  %s", priced->label, row->jobs,
            row->input_tokens, tokens, price_usd_text(priced->nusd, usd, sizeof usd));
    if (*priced->note)
        fprintf(out, " (%s)", priced->note);
    fputc('\n', out);
}

void estimate_print(const struct estimate *e, estimate_lookup lookup, void *arg, FILE *out)
{
    int64_t total_nusd = 0;
    char usd[32];
    fprintf(out, "jobs: %" PRId64 ", bodies: %" PRId64 " bytes\n\n", e->jobs, e->bytes);
    fprintf(out, "  %-32s %10s %14s %14s  %s\n", "model", "jobs", "input tokens", "output tokens",
            "cost in USD, at most");
    fprintf(out, "  %-32s %10s %14s %14s\n", "", "", "(estimated)", "(at most)");
    for (int i = 0; i < e->row_count; i++) {
        struct priced priced;
        price_row(&e->rows[i], lookup, arg, &priced);
        print_row(&e->rows[i], &priced, out);
        if (priced.nusd < 0 || total_nusd < 0 ||
            __builtin_add_overflow(total_nusd, priced.nusd, &total_nusd))
            total_nusd = -1;
    }
    fprintf(out, "\ncost at most, one call a job: %s%s\n",
            price_usd_text(total_nusd, usd, sizeof usd), total_nusd < 0 ? "" : " USD");
    if (e->sample_count > 0)
        fprintf(out, "\nthe first %s:\n", e->sample_count == 1 ? "job" : "jobs");
    for (int i = 0; i < e->sample_count; i++)
        fprintf(out, "  %s  %s\n    %s%s\n", e->samples[i].custom_id, e->samples[i].url,
                e->samples[i].body, e->samples[i].cut ? " ..." : "");
}
