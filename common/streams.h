/*
 * streams.h - the three standard streams at a program's start.
 */
#ifndef INFERQ_COMMON_STREAMS_H
#define INFERQ_COMMON_STREAMS_H

/* Puts /dev/null where standard input, output or error is closed. Without it the next socket takes
 * that number, and what is printed is sent to a server. Writing to what was a closed standard
 * output still fails (EBADF); standard error takes all. To be called before anything is opened. */
void streams_fill(void);

#endif
