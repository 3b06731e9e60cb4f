/*
 * retry_hint.c - when a server wants to be asked again (pure).
 *
 * Happy path: retry-after-ms, else retry-after (seconds, a date, or a duration such as "20s"), else
 * in a 429 what its rate limit headers say. Dates are taken relative to the server's own Date, so
 * that clocks need not agree.
 *
 * Failure mode: a text that says nothing is no hint; the next header is asked.
 */
#include "worker/outcome.h"
#include "worker/when.h"

int64_t retry_hint_us(const struct http_facts *facts, int64_t wall_ms)
{
    int64_t server_ms = when_server_ms(facts->date, wall_ms);
    int64_t us = when_us(when_read_ms(facts->retry_after_ms), server_ms);
    if (us < 0)
        us = when_us(when_read(facts->retry_after, server_ms), server_ms);
    if (us >= 0 || facts->status != 429)
        return us;
    struct rate_told told;
    rate_headers_read(&facts->rate, facts->date, wall_ms, &told);
    return rate_headers_wait_us(&told);
}
