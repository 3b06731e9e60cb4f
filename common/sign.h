/*
 * sign.h - the signature header: `inferq-signature: v1:<key id>:<hex HMAC-SHA-256 of the value>`.
 */
#ifndef INFERQ_COMMON_SIGN_H
#define INFERQ_COMMON_SIGN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/span.h"

enum {
    SIGN_KEY_BYTES_MIN = 32,
    SIGN_KEY_BYTES_MAX = 128,
    SIGN_KEY_ID_MAX = 64,
    SIGN_HEADER_BYTES = 3 + SIGN_KEY_ID_MAX + 1 + 64 + 1, /* with NUL */
};

struct sign_key {
    char id[SIGN_KEY_ID_MAX + 1]; /* [A-Za-z0-9._-]+ */
    unsigned char key[SIGN_KEY_BYTES_MAX];
    size_t key_bytes;
};

/* Reads "<key id>:<hex>" or bare "<hex>" (its id is then "default"). Surrounding space and one
 * newline are dropped. RC_REJECT says what is wrong and never shows the key. */
enum rc sign_key_parse(struct span text, struct sign_key *ret_key, struct err *err) MUST_CHECK;
void sign_key_wipe(struct sign_key *key);

/* Writes the header's value, NUL-terminated, and returns its length. */
size_t sign_header(const struct sign_key *key, struct span value, char out[SIGN_HEADER_BYTES]);

/* The keys that verify, by app: lines of `<app> <key id>:<hex>`; `#` comments. */
struct sign_ring;
enum rc sign_ring_parse(struct span text, struct sign_ring **ret_ring, struct err *err) MUST_CHECK;
void sign_ring_free(struct sign_ring *ring);
size_t sign_ring_count(const struct sign_ring *ring);
/* Whether it holds a key of this app. */
bool sign_ring_knows(const struct sign_ring *ring, struct span app);
/* Whether `header` is a valid signature of `value` by a key of `app`. Constant time in the MAC. */
bool sign_verify(const struct sign_ring *ring, struct span app, struct span header,
                 struct span value);

#endif
