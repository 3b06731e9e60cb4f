#ifndef MODELSIM_PRICES_H
#define MODELSIM_PRICES_H
/*
 * Purpose: the witness's own price table, so that the costs in the ledger are checked against
 * somebody who did not compute them. Prices are pico-USD per token.
 */
#include "tests/modelsim/base.h"

#include <stddef.h>
#include <stdint.h>

struct price;

struct prices {
    struct price *rows;
    size_t count;
};

/* Reads a file of `MODEL INPUT OUTPUT` lines (# comments; `*` is everybody else). Without a row a
 * model costs 150000 in and 600000 out. */
MUST_CHECK enum rc prices_load(struct prices *prices, const char *path, struct err *err);
/* The price of one answered call, pico-USD. */
int64_t prices_of(const struct prices *prices, const char *model, int64_t prompt_tokens,
                  int64_t completion_tokens);
void prices_done(struct prices *prices);

#endif
