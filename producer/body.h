/*
 * body.h - request bodies: what is checked before one is sent, and the few edits that are made
 * (pure).
 *
 * A body is kept byte for byte as it was given. Only two things are ever changed, both asked for:
 * a top-level `custom_id` is taken out (it is ours, not the model's), and a model or an output
 * limit given on the command line is put first where the body itself says none.
 */
#ifndef INFERQ_PRODUCER_BODY_H
#define INFERQ_PRODUCER_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/span.h"

/* What a checked body says; the spans borrow from it. */
struct body_facts {
    struct span model;         /* JSON string, quotes included; absent: none */
    struct span custom_id;     /* likewise */
    int64_t max_output_tokens; /* -1: not said */
    bool limits_output;        /* a member for it stands there, be it null */
};

/* Is it a JSON object in valid UTF-8 that a server behind `url` could accept? stream:true and wrong
 * types of the members that inferq relies on are refused; unknown members are not its business.
 * RC_REJECT says where and why. */
enum rc body_check(struct span body, struct span url, struct body_facts *ret_facts,
                   struct err *err) MUST_CHECK;

/* Paths only: "/v1/chat/completions". RC_REJECT: a scheme or host, blanks, control bytes, or too
 * long. */
enum rc body_check_url(struct span url, struct err *err) MUST_CHECK;

/* One line of an OpenAI batch input file; all spans borrow from it. */
struct openai_line {
    struct span custom_id; /* JSON string, quotes included */
    struct span url;       /* JSON string, quotes included; absent: not said */
    struct span body;      /* JSON object, not checked further */
};
/* RC_REJECT: not such a line, or a method other than POST. */
enum rc body_split_openai(struct span line, struct openai_line *ret_line,
                          struct err *err) MUST_CHECK;
/* Whether a line looks like one: it has a member `body` that is an object. */
bool body_is_openai(struct span line);

/* Appends `object` without its top-level member `key`, whose value (as json_members found it) is
 * `value`; the comma that it needed goes with it. false: `out` refused. */
bool body_cut(struct span object, struct span value, struct buf *out);

/* Appends `object` with `members` ("\"model\":\"m\"", without a comma at either end) put first. */
bool body_put_first(struct span object, struct span members, struct buf *out);

/* RC_REJECT: "not UTF-8 at byte 17 (0xe9): ...". `text` may hold NUL. */
enum rc body_check_utf8(struct span text, struct err *err) MUST_CHECK;

#endif
