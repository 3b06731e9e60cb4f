/*
 * submit.h - the whole of inferq-submit between its options and its exit status.
 */
#ifndef INFERQ_PRODUCER_SUBMIT_H
#define INFERQ_PRODUCER_SUBMIT_H

#include "common/config.h"
#include "producer/submit_args.h"

/* Does what the options ask for. Returns the exit status: 0 done; 1 some jobs failed or records
 * were left out; 2 bad input or set-up; 3 a server cannot be reached; 128 + signal. */
int submit_run(const struct submit_args *args, const struct config *config, int stop_fd);

#endif
