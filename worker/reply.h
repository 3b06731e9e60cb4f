/*
 * reply.h - the adapter of the OpenAI protocol: a job's body into the request to send, the model's
 * reply into usage and the text to check (pure).
 */
#ifndef INFERQ_WORKER_REPLY_H
#define INFERQ_WORKER_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"
#include "worker/outcome.h"

enum api { API_CHAT, API_COMPLETIONS, API_EMBEDDINGS };

/* From the job's url; RC_REJECT: not one that is served, with the list of those that are. */
enum rc api_of_url(struct span url, enum api *ret_api, struct err *err) MUST_CHECK;

enum { REQUEST_MODEL_BYTES = 128 };

/* What the path needs of a body before calling. */
struct request_facts {
    struct span model_value;   /* of body.model, as the body writes it; absent allowed */
    int64_t max_output_tokens; /* max_completion_tokens or max_tokens, times n; -1: not said */
    bool open_ended; /* logprobs or the like: the reply's size does not follow from tokens */
};
/* RC_REJECT: no JSON object, stream:true, no messages (API_CHAT), or a field of a wrong type. null
 * is as absent. Borrows from `body`, which is UTF-8. */
enum rc request_read(enum api api, struct span body, struct request_facts *ret,
                     struct err *err) MUST_CHECK;

/* The model's name there, absent where none is said. Points into the body, or into `scratch` where
 * the body writes it with escapes ("org\/name"). */
struct span request_model(const struct request_facts *facts, char scratch[REQUEST_MODEL_BYTES]);

/* The body to send: `body`, of which `facts` were read, byte for byte except that "model" says
 * `upstream_model`. Where it says so already *ret_request is `body` itself; else it points into
 * `out`, to which it is appended. RC_FULL: `out` refused. */
enum rc request_write(struct span body, const struct request_facts *facts,
                      const char *upstream_model, struct buf *out, struct span *ret_request,
                      struct err *err) MUST_CHECK;
/* Appends the body of a re-ask (API_CHAT): two messages more, the model's answer (unless it is
 * empty: servers refuse empty messages) and `complaint`. RC_REJECT: the body has no messages. */
enum rc request_write_reask(struct span body, const char *upstream_model, struct span answer,
                            const char *complaint, struct buf *out, struct err *err) MUST_CHECK;

/*
 * Reads a 2xx reply. Sets o->class to CLASS_OK, CLASS_REFUSED (message.refusal, or finish_reason
 * content_filter without an answer), CLASS_BAD_OUTPUT (empty, or cut: finish_reason "length" counts
 * as cut only where `whole_output_wanted`), or CLASS_BAD_REPLY (no JSON, not this protocol's
 * shape), and usage, finish_reason, model_reported, error. The answer's text, that of the first
 * choice, is appended to `answer` (UTF-8, may hold NULs; embeddings and tool calls: empty).
 *
 * Usage is made to agree with itself: where the server reports usage but no details, nothing was
 * cached and nothing reasoned (0, not absent: a price list with a cached price needs a count);
 * details never exceed their whole; a count that `total_tokens` implies is filled in; zero tokens
 * of a prompt, or of an answer that has text, mean that the server did not count (absent).
 */
void reply_read(enum api api, struct span body, bool whole_output_wanted, struct outcome *o,
                struct buf *answer);

#endif
