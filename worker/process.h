/*
 * process.h - what a worker asks of its process: descriptors, chance, the machine's name.
 */
#ifndef INFERQ_WORKER_PROCESS_H
#define INFERQ_WORKER_PROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* Room for a connection per call, and some. RC_REJECT, with the remedy: the limit is lower. */
enum rc process_descriptors(int64_t calls, struct err *err) MUST_CHECK;

/* The next number; the state must not be all zero. For jitter, not for secrets. */
uint64_t process_random(uint64_t state[2]);

void process_host(char *out, size_t out_bytes); /* "unknown" where it has no name */

#endif
