/*
 * process.h - what a worker asks of its process: descriptors, chance, what it takes of its machine,
 * and that one's name.
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

/* What this process takes of its machine. */
struct process_facts {
    double started_s; /* Unix time */
    double cpu_s;     /* user and system */
    int64_t resident_bytes, open_descriptors, descriptors_max;
};
/* From /proc and the kernel; what cannot be read is 0. The start is told apart from the clock's
 * later corrections by asking once and keeping it. */
void process_facts(struct process_facts *ret);

void process_host(char *out, size_t out_bytes); /* "unknown" where it has no name */

#endif
