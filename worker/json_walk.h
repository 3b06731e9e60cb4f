/*
 * json_walk.h - the elements of a list in JSON text that json_scan.h has checked already (pure).
 */
#ifndef INFERQ_WORKER_JSON_WALK_H
#define INFERQ_WORKER_JSON_WALK_H

#include <stdbool.h>

#include "common/json_scan.h"

/* What json_walk_next reads from: the inside of a list; absent for any other value. */
struct span json_walk_begin(const struct json_value *list);

/* The next element. false: there is none. Only for text that was checked: it is not checked again.
 */
bool json_walk_next(struct span *rest, struct json_value *ret);

/* What a checked string says; where that is longer than `scratch`, the string as it is written. */
struct span json_walk_text(const struct json_value *string, char *scratch, size_t scratch_bytes);

#endif
