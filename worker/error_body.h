/*
 * error_body.h - what a model server says went wrong, in any of the shapes that are out there
 * (pure).
 */
#ifndef INFERQ_WORKER_ERROR_BODY_H
#define INFERQ_WORKER_ERROR_BODY_H

#include <stdbool.h>

#include "common/span.h"

enum { ERROR_CODE_BYTES = 96, ERROR_MESSAGE_BYTES = 2049 };

/* Texts are valid UTF-8 without NULs, NUL-terminated, "" where the body does not say. */
struct error_body {
    char code[ERROR_CODE_BYTES]; /* "context_length_exceeded"; numbers are no codes */
    char type[ERROR_CODE_BYTES]; /* "invalid_request_error" */
    char message[ERROR_MESSAGE_BYTES];
    bool is_list; /* of field errors: they quote the request */
};

/* Shapes: {"error":{"message","type","code"}}; the same with strings for null and numbers, or flat
 * ({"object":"error","message",...}); {"error":"..."}; {"detail":"..."}; {"detail":[...]}; any
 * other text is the message itself. */
void error_body_read(struct span body, struct error_body *ret);

#endif
