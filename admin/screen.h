/*
 * screen.h - the terminal of a live view: its size, its keys, its restoration.
 *
 * The edge to ncurses. What is shown stands on the alternate screen, so that what was there before
 * comes back when the view ends, however it ends short of SIGKILL: SIGINT, SIGTERM, SIGHUP and
 * SIGQUIT only end the wait for a key.
 */
#ifndef INFERQ_ADMIN_SCREEN_H
#define INFERQ_ADMIN_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/span.h"

struct screen;

enum {
    SCREEN_NOTHING = 0, /* the time is over */
    SCREEN_RESIZED = -1,
    SCREEN_ENDED = -2, /* a signal, or the terminal is gone */
};

/* RC_REJECT: standard input or output is no terminal, or one of an unknown kind. One at a time.
 * returns owned */
enum rc screen_new(struct screen **ret_screen, struct err *err) MUST_CHECK;
void screen_free(struct screen *s); /* restores the terminal */

void screen_size(const struct screen *s, int *ret_width, int *ret_height);
/* Shows these lines, each ended by '\n', and nothing else. The first stands out, unless NO_COLOR is
 * set. Text without control characters. */
void screen_show(struct screen *s, struct span lines);
/* Waits for a key (its character) or one of the above. */
int screen_key(struct screen *s, int64_t wait_ms);

#endif
