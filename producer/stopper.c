/*
 * stopper.c - a signalfd, looked at with poll.
 *
 * Happy path: the loops of submit ask between two records, and wait on it together with their
 * input. The signal is never taken off the descriptor: it stays pending, so that everyone who looks
 * sees it. Failure: a kernel without signalfd, told at the start.
 */
#include "producer/stopper.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include <sys/signalfd.h>

enum rc stopper_new(int *ret_fd, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return err_set(err, RC_FATAL, "signals: %s", strerror(errno));
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return err_set(err, RC_FATAL, "signals: %s", strerror(errno));
    *ret_fd = fd;
    return RC_OK;
}

int stopper_signal(int fd, int wait_ms)
{
    sigset_t pending;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (poll(&readable, 1, wait_ms) != 1 || sigpending(&pending) != 0)
        return 0;
    return sigismember(&pending, SIGINT) == 1    ? SIGINT
           : sigismember(&pending, SIGTERM) == 1 ? SIGTERM
                                                 : 0;
}
