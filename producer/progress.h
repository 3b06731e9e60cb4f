/*
 * progress.h - one line on a terminal that shows how far things are; nothing anywhere else.
 */
#ifndef INFERQ_PRODUCER_PROGRESS_H
#define INFERQ_PRODUCER_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;
    bool on; /* `out` is a terminal */
    int64_t begin_us, shown_us;
    int columns; /* of the line that stands; 0: none */
};

/* `out` is borrowed. */
void progress_init(struct progress *p, FILE *out);
/* A new count begins: the rate is taken from here. */
void progress_begin(struct progress *p, int64_t now_us);

/* Shows, at most five times a second: "sent 1,200 of 5,000 (24%), 560/s, 7 s left, 3 left out".
 * `total` -1: not known. */
void progress_show(struct progress *p, int64_t now_us, const char *verb, int64_t done,
                   int64_t total, int64_t left_out);
/* Takes the line off, so that something else can be printed. */
void progress_clear(struct progress *p);

/* The line's text (pure). */
void progress_text(char *out, size_t out_bytes, const char *verb, int64_t done, int64_t total,
                   int64_t left_out, int64_t elapsed_us);
/* "1,234,567"; at least 32 bytes. Returns `out`. */
const char *progress_number(int64_t n, char *out, size_t out_bytes);

#endif
