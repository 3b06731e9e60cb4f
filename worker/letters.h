/*
 * letters.h - dead letters to the dead topic: rows first, then the topic, then `published_at`.
 *
 * At least once: a crash between the delivery report and the mark publishes a letter again under
 * the same dead_id.
 */
#ifndef INFERQ_WORKER_LETTERS_H
#define INFERQ_WORKER_LETTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"
#include "common/err.h"
#include "worker/store.h"

struct uv_loop_s;
struct letters;

typedef void (*letters_done)(void *arg, int64_t dead_id, bool ok);

/* `topic` and `group` are borrowed. `done` is called once per letter, from the loop or from within
 * letters_send when it cannot be sent at all. */
enum rc letters_new(struct uv_loop_s *loop, const struct config *config, const char *topic,
                    const char *group, letters_done done, void *arg, struct letters **ret_letters,
                    struct err *err) MUST_CHECK;
void letters_free(struct letters *l);
void letters_send(struct letters *l, const struct store_letter *letter);

#endif
