/*
 * clock.h - the three clocks that edges read. Pure modules take `now_us` as an argument instead.
 */
#ifndef INFERQ_COMMON_CLOCK_H
#define INFERQ_COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_mono_us(void); /* CLOCK_MONOTONIC: timers and latencies; stands still in suspend */
int64_t clock_boot_us(void); /* CLOCK_BOOTTIME: leases; runs on while the machine sleeps */
int64_t clock_wall_ms(void); /* CLOCK_REALTIME, Unix milliseconds: only for what people read */

enum { CLOCK_RFC3339_BYTES = 32 };
/* "2026-11-21T10:43:00.123Z" into `out` (at least CLOCK_RFC3339_BYTES). Years 0..9999. */
void clock_rfc3339(int64_t unix_ms, char *out, size_t out_bytes);

/* Parses RFC 3339 ("2026-11-21T10:43:00Z", offsets allowed) or a relative "+90s", "+30m", "+24h",
 * "+7d" against `now_ms`. Returns -1 when it is neither. */
int64_t clock_parse(const char *text, int64_t now_ms);

#endif
