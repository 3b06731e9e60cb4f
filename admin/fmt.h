/*
 * fmt.h - numbers as text, for people and for files (pure).
 */
#ifndef INFERQ_ADMIN_FMT_H
#define INFERQ_ADMIN_FMT_H

#include <stdint.h>

enum { FMT_BYTES = 64 };

/* Exact: 1234500000 nano-USD is "1.2345", 1 is "0.000000001", 0 is "0". Returns `out`. */
const char *fmt_usd(int64_t nusd, char out[FMT_BYTES]);
/* pico-USD a unit as USD per million units, exact: 2500000 is "2.5". Returns `out`. */
const char *fmt_usd_per_million(int64_t pusd, char out[FMT_BYTES]);
/* For people, two units at most: "0 s", "850 us", "12 ms", "1.25 s", "3 min 20 s", "2 h 5 min",
 * "3 d 4 h". A negative one is "-" and its size. Returns `out`. */
const char *fmt_duration(int64_t us, char out[FMT_BYTES]);

#endif
