/*
 * child.h - servers that a live test starts for itself: modelsim, mockkafka, anything that writes
 * its port into a file; and the few words that tests say to modelsim over HTTP.
 */
#ifndef INFERQ_TESTS_LIVE_CHILD_H
#define INFERQ_TESTS_LIVE_CHILD_H

#include <sys/types.h>

struct child {
    pid_t pid;
    char port_text[256]; /* what it wrote into its port file */
    int port;            /* the number behind the last ':' of it */
};

/* Starts argv (NULL-terminated); "@PORT" in it stands for the name of the port file. A program
 * without '/' is looked for in $INFERQ_TOOLS, else in build/bin ($BUILD/bin). Exits the test when
 * the port does not come. */
struct child child_start(const char *const *argv);
void child_stop(struct child *child); /* SIGTERM, waits; fails the test unless it exits with 0 */

/* GET or POST to 127.0.0.1:port; the reply's body in a static buffer. */
const char *child_ask(int port, const char *method, const char *path, const char *body);
/* The number behind "name": in modelsim's /witness. */
long child_witness(int port, const char *name);

#endif
