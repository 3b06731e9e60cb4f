/*
 * hex.h - bytes as hexadecimal text and back (pure).
 */
#ifndef INFERQ_COMMON_HEX_H
#define INFERQ_COMMON_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/span.h"

/* Writes 2 * n lower-case digits and no NUL; returns what stands behind them. */
char *hex_encode(const uint8_t *p, size_t n, char *out);

/* Writes hex.n / 2 bytes, digits of any case. False: an odd length or another character; `out` may
 * then be partly written. */
bool hex_decode(struct span hex, uint8_t *out);

#endif
