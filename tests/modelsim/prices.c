#include "tests/modelsim/prices.h"

/*
 * Purpose: load and apply the price table. Failure: a line that is not understood stops the start.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_DEFAULT_PUSD 150000
#define OUTPUT_DEFAULT_PUSD 600000

struct price {
    char model[128];
    int64_t input_pusd;
    int64_t output_pusd;
};

static enum rc read_row(char *line, struct price *ret_row)
{
    char *model = line + strspn(line, " \t");
    size_t len = strcspn(model, " \t");
    char *end = model + len;
    if (len >= sizeof ret_row->model || *end == '\0')
        return RC_REJECT;
    (void)snprintf(ret_row->model, sizeof ret_row->model, "%.*s", (int)len, model);
    char *input = end;
    ret_row->input_pusd = strtoll(input, &end, 10);
    char *output = end;
    ret_row->output_pusd = strtoll(output, &end, 10);
    bool ok = input != output && end != output && end[strspn(end, " \t\r\n")] == '\0' &&
              ret_row->input_pusd >= 0 && ret_row->output_pusd >= 0;
    return ok ? RC_OK : RC_REJECT;
}

static void add_row(struct prices *prices, const struct price *row)
{
    struct price *rows = base_realloc(prices->rows, (prices->count + 1) * sizeof *rows);
    rows[prices->count++] = *row;
    prices->rows = rows;
}

enum rc prices_load(struct prices *prices, const char *path, struct err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        err_set(err, "%.120s: %s", path, strerror(errno));
        return RC_REJECT;
    }
    char line[512];
    enum rc rc = RC_OK;
    for (int number = 1; rc == RC_OK && fgets(line, sizeof line, file) != NULL; number++) {
        struct price row;
        char first = line[strspn(line, " \t\r\n")];
        if (first == '\0' || first == '#')
            continue;
        rc = read_row(line, &row);
        if (rc == RC_OK)
            add_row(prices, &row);
        else
            err_set(err, "%.120s line %d: want MODEL INPUT OUTPUT", path, number);
    }
    (void)fclose(file);
    return rc;
}

int64_t prices_of(const struct prices *prices, const char *model, int64_t prompt_tokens,
                  int64_t completion_tokens)
{
    int64_t input_pusd = INPUT_DEFAULT_PUSD;
    int64_t output_pusd = OUTPUT_DEFAULT_PUSD;
    for (size_t i = 0; i < prices->count; i++) {
        const struct price *row = &prices->rows[i];
        bool exact = strcmp(row->model, model) == 0;
        if (!exact && strcmp(row->model, "*") != 0)
            continue;
        input_pusd = row->input_pusd;
        output_pusd = row->output_pusd;
        if (exact)
            break;
    }
    return prompt_tokens * input_pusd + completion_tokens * output_pusd;
}

void prices_done(struct prices *prices)
{
    free(prices->rows);
    *prices = (struct prices){0};
}
