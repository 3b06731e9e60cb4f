/* mockkafka: the loop that serves control connections on loopback. */
#ifndef INFERQ_TESTS_MOCKKAFKA_SERVER_H
#define INFERQ_TESTS_MOCKKAFKA_SERVER_H

#include <stdbool.h>
#include <stdint.h>

struct rd_kafka_mock_cluster_s;

/* Listens on a free port of 127.0.0.1. Returns the socket, or -1 with errno. */
int server_listen(uint16_t *ret_port);

/* Serves control connections, and lines on standard input if with_stdin, until a signal can be
 * read from signal_fd. Returns false, with errno, only where poll itself fails. */
bool server_run(struct rd_kafka_mock_cluster_s *cluster, int listen_fd, int signal_fd,
                bool with_stdin);

#endif
