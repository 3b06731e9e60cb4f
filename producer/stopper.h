/*
 * stopper.h - SIGINT and SIGTERM as something to look at, instead of something that happens.
 */
#ifndef INFERQ_PRODUCER_STOPPER_H
#define INFERQ_PRODUCER_STOPPER_H

#include "common/err.h"

/* Blocks both for this thread and those made later, ignores SIGPIPE, and gives a descriptor that is
 * readable once one of the two has come (and stays so). Call before any thread is made. */
enum rc stopper_new(int *ret_fd, struct err *err) MUST_CHECK;
/* The signal that came, 0: none yet. Waits up to wait_ms for one. */
int stopper_signal(int fd, int wait_ms);

#endif
