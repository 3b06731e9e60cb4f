#ifndef MODELSIM_ASK_H
#define MODELSIM_ASK_H
/*
 * Purpose: what one request asks for, read from its JSON body in a single pass.
 */
#include "tests/modelsim/base.h"
#include "tests/modelsim/buf.h"
#include "tests/modelsim/jscan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ask_kind { ASK_CHAT, ASK_COMPLETION, ASK_EMBEDDING };
enum ask_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_OTHER };
enum ask_format { FORMAT_TEXT, FORMAT_JSON_OBJECT, FORMAT_JSON_SCHEMA };

/* One message, prompt or input: text.data[at .. at + len). */
struct ask_part {
    size_t at;
    size_t len;
    enum ask_role role;
};

#define ASK_MODEL_MAX 96

/* Reused from request to request: all zero is valid, ask_parse resets it and keeps the storage. */
struct ask {
    enum ask_kind kind;
    char model[ASK_MODEL_MAX + 1]; /* unescaped; NUL-terminated */
    struct buf text;               /* every part's text, unescaped, one behind the other */
    struct ask_part *parts;
    size_t part_count;
    size_t part_cap;
    int64_t max_tokens; /* -1: not given */
    int64_t dimensions; /* of an embedding; 8 unless given */
    bool base64;        /* embedding as base64 of little-endian floats */
    bool reask;         /* the conversation holds an earlier answer */
    enum ask_format format;
    struct span schema; /* raw JSON inside the body; borrowed, valid while the body is */
};

/* Reads a body. RC_REJECT: err tells the sender what is wrong (an HTTP 400). */
MUST_CHECK enum rc ask_parse(enum ask_kind kind, const char *body, size_t len, struct ask *ask,
                             struct err *err);
/* The text of part i (borrowed). */
struct span ask_text(const struct ask *ask, size_t i);
/* ceil(bytes of all parts / 4): the honest count of prompt tokens. */
int64_t ask_prompt_tokens(const struct ask *ask);
/* Frees the storage. */
void ask_done(struct ask *ask);

#endif
