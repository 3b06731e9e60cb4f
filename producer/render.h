/*
 * render.h - from a document and a prompt template to a request body (pure).
 *
 * The template is text that holds `{document}` at least once; other braces mean nothing. What is
 * sent is the template with the document in its place, as JSON, nothing added and nothing trimmed.
 */
#ifndef INFERQ_PRODUCER_RENDER_H
#define INFERQ_PRODUCER_RENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

struct render;

struct render_conf {
    struct span prompt;        /* UTF-8; absent: the document alone */
    struct span model;         /* absent: the body names none */
    int64_t max_output_tokens; /* 0: the body names none */
    struct span url;           /* decides the body's shape: chat, completions or embeddings */
    size_t body_bytes_max;
};

/* RC_REJECT: no `{document}` in the prompt, prompt not UTF-8, or a url whose body's shape is not
 * known. `conf` is copied from. returns owned */
enum rc render_new(const struct render_conf *conf, struct render **ret_render,
                   struct err *err) MUST_CHECK;
void render_free(struct render *r);

/* Appends the body. `document` must be UTF-8. false: `out` or body_bytes_max was too small. */
bool render_document(struct render *r, struct span document, struct buf *out);

#endif
