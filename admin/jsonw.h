/*
 * jsonw.h - writes JSON text into a buf, piece by piece, on one line.
 *
 * Commas are its business, nesting the caller's. What does not fit marks the buf as failed; check
 * once, at the end.
 */
#ifndef INFERQ_ADMIN_JSONW_H
#define INFERQ_ADMIN_JSONW_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/jobid.h"
#include "common/span.h"

struct jsonw {
    struct buf *out;
    bool comma; /* a value stands before this place */
};

void jsonw_open(struct jsonw *w, char bracket);  /* '{' or '[' */
void jsonw_close(struct jsonw *w, char bracket); /* '}' or ']' */
void jsonw_key(struct jsonw *w, const char *key);

void jsonw_null(struct jsonw *w);
void jsonw_bool(struct jsonw *w, bool v);
void jsonw_int(struct jsonw *w, int64_t v);
/* Absent: null. What is not UTF-8 becomes U+FFFD. */
void jsonw_text(struct jsonw *w, struct span s);
void jsonw_time(struct jsonw *w, int64_t unix_ms); /* RFC 3339; 0: null */
void jsonw_id(struct jsonw *w, const struct jobid *id);
void jsonw_usd(struct jsonw *w, int64_t nusd); /* exact decimal text */
/* A JSON text as it is; its line breaks, which can stand only between tokens, become spaces. */
void jsonw_raw(struct jsonw *w, struct span json);

#endif
