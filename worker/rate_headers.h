/*
 * rate_headers.h - what a reply's headers say of rate limits (pure).
 *
 * The spellings, as their makers document them or their servers were seen to write them:
 *   OpenAI      x-ratelimit-{limit,remaining,reset}-{requests,tokens}; resets "1s", "6m0s"; also
 *               -tokens_usage_based, -project-tokens (developers: guides/rate-limits)
 *   Azure       the same, reset in whole seconds; -1 where it does not know (openai-dotnet 838);
 *               x-rate-limit-reset-tokens alone in a 429 (openai-python 937)
 *   Groq        as OpenAI; requests are those of a day, "2m59.56s" (console.groq.com/docs)
 *   Anthropic   anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-
 *               {limit,remaining,reset}; RFC 3339 (docs: api/rate-limits)
 *   Mistral     x-ratelimit-{limit,remaining}-{req,tokens}-{minute,month} (client-ts 169)
 *   Cerebras    x-ratelimit-{limit,remaining,reset}-{requests-day,tokens-minute}; seconds
 *   DigitalOcean ...-tokens-per-{day,minute}; Unix seconds (docs: quota-specific headers)
 *   Fireworks   x-ratelimit-{limit,remaining}-tokens-{prompt,generated} (docs: rate-limits)
 *   Together    x-ratelimit-{limit,remaining,reset}, x-tokenlimit-{limit,remaining} (docs)
 *   OpenRouter  X-RateLimit-{Limit,Remaining,Reset}; Unix milliseconds
 *   LiteLLM     those of its upstream, behind "llm_provider-"
 *   APISIX      X-AI-RateLimit-{Limit,Remaining,Reset}-INSTANCE: tokens (plugins/ai-rate-limiting)
 *   Kong, Envoy ratelimit-*, x-ratelimit-*-minute, "100, 100;w=60"
 *   IETF        draft-ietf-httpapi-ratelimit-headers: -06 RateLimit-Limit, -Remaining, -Reset;
 *               -07 RateLimit: limit=100, remaining=50, reset=50;
 *               -08 on RateLimit: "default";r=50;t=30 and RateLimit-Policy: "default";q=100;w=60
 * They are one grammar: a prefix, then words in any order. A name with a word that is none of these
 * says nothing; neither does a negative or unreadable amount.
 *
 * What is heard only ever lowers what may be sent, never raises it.
 */
#ifndef INFERQ_WORKER_RATE_HEADERS_H
#define INFERQ_WORKER_RATE_HEADERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"
#include "worker/when.h"

enum rate_dimension { RATE_REQUESTS, RATE_INPUT, RATE_OUTPUT, RATE_TOKENS, RATE_DIMENSIONS };

enum { RATE_SLOTS = 8 }; /* limits that one reply may speak of; further ones are not heard */

/* One limit as it was heard: a dimension over a window. */
struct rate_slot {
    int64_t limit, remaining; /* -1: not said */
    struct when reset;
    uint32_t window; /* tells a minute's limit from a day's, and policies of different names */
    uint8_t dimension;
};

/* All that a reply said; zeroed: nothing. */
struct rate_heard {
    int count;
    struct rate_slot slots[RATE_SLOTS];
};

struct rate_limit {
    int64_t limit, remaining; /* -1: not said */
    int64_t reset_us;         /* from the reply on; -1: not said */
};

struct rate_told {
    struct rate_limit of[RATE_DIMENSIONS];
};

/* One header line. false: it is none of these. Said twice, the stricter counts. */
bool rate_headers_take(struct rate_heard *heard, struct span name, struct span value);
/* By dimension; of several windows that which binds: used up for longest, else least left. Dates
 * count from the server's own, `date`, or from `wall_ms` where that is none. */
void rate_headers_read(const struct rate_heard *heard, const char *date, int64_t wall_ms,
                       struct rate_told *ret);
/* In a 429: until what is used up comes back; where nothing says so, the tokens' reset, else the
 * requests'. -1: not said. */
int64_t rate_headers_wait_us(const struct rate_told *told);

#endif
