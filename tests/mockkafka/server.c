/*
 * mockkafka: the loop that serves control connections.
 *
 * Happy path: poll on the signal, the listener, standard input and up to CLIENTS_MAX connections;
 * each complete line is run at once and answered with one line on the same connection.
 * What goes wrong: a client that goes away or sends an endless line is dropped; with all slots
 * taken, new connections wait in the listener's backlog. Commands are rare and local, so answers
 * are written with blocking sends under a short timeout.
 */
#define _GNU_SOURCE
#include "tests/mockkafka/server.h"

#include "tests/mockkafka/control.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 16, SLOT_STDIN = 0, SEND_TIMEOUT_S = 2 };

/* One source of lines. Slot 0 is standard input, answered on standard output. */
struct client {
    int fd; /* -1: free */
    size_t used_bytes;
    char line[CONTROL_LINE_MAX_BYTES];
};

struct server {
    struct rd_kafka_mock_cluster_s *cluster;
    struct client clients[1 + CLIENTS_MAX];
};

int server_listen(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&address, length) != 0 || listen(fd, CLIENTS_MAX) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void drop(struct server *server, struct client *client)
{
    if (client != &server->clients[SLOT_STDIN])
        close(client->fd);
    client->fd = -1;
}

static bool write_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool answer(struct server *server, struct client *client, char *line)
{
    char reply[CONTROL_REPLY_MAX_BYTES + 1];
    (void)control_run(server->cluster, line, reply);
    size_t bytes = strlen(reply);
    reply[bytes++] = '\n';
    bool is_stdin = client == &server->clients[SLOT_STDIN];
    return write_all(is_stdin ? STDOUT_FILENO : client->fd, reply, bytes);
}

/* Runs the complete lines that have arrived; false: drop the client. */
static bool run_lines(struct server *server, struct client *client)
{
    char *start = client->line;
    size_t left = client->used_bytes;
    for (char *end; (end = memchr(start, '\n', left)) != NULL;) {
        *end = '\0';
        if (!answer(server, client, start))
            return false;
        left -= (size_t)(end + 1 - start);
        start = end + 1;
    }
    memmove(client->line, start, left);
    client->used_bytes = left;
    return left < sizeof(client->line);
}

static void on_readable(struct server *server, struct client *client)
{
    size_t room = sizeof(client->line) - client->used_bytes;
    ssize_t n = read(client->fd, client->line + client->used_bytes, room);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        client->used_bytes += (size_t)n;
        if (run_lines(server, client))
            return;
    }
    drop(server, client);
}

static struct client *free_slot(struct server *server)
{
    for (size_t i = SLOT_STDIN + 1; i <= CLIENTS_MAX; i++)
        if (server->clients[i].fd < 0)
            return &server->clients[i];
    return NULL;
}

static void on_connection(struct server *server, int listen_fd)
{
    struct client *client = free_slot(server);
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (client == NULL) {
        close(fd);
        return;
    }
    const struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    client->fd = fd;
    client->used_bytes = 0;
}

bool server_run(struct rd_kafka_mock_cluster_s *cluster, int listen_fd, int signal_fd,
                bool with_stdin)
{
    struct server server = {.cluster = cluster};
    for (size_t i = 0; i <= CLIENTS_MAX; i++)
        server.clients[i].fd = -1;
    if (with_stdin)
        server.clients[SLOT_STDIN].fd = STDIN_FILENO;
    for (;;) {
        /* poll skips negative descriptors, so every slot keeps its place. */
        struct pollfd polls[2 + 1 + CLIENTS_MAX] = {{.fd = signal_fd, .events = POLLIN},
                                                    {.fd = -1, .events = POLLIN}};
        if (free_slot(&server) != NULL)
            polls[1].fd = listen_fd;
        for (size_t i = 0; i <= CLIENTS_MAX; i++)
            polls[2 + i] = (struct pollfd){.fd = server.clients[i].fd, .events = POLLIN};
        if (poll(polls, sizeof(polls) / sizeof(polls[0]), -1) < 0) {
            if (errno == EINTR)
                continue;
            return false;
        }
        if (polls[0].revents != 0)
            return true;
        if (polls[1].revents != 0)
            on_connection(&server, listen_fd);
        for (size_t i = 0; i <= CLIENTS_MAX; i++)
            if (polls[2 + i].fd >= 0 && polls[2 + i].revents != 0)
                on_readable(&server, &server.clients[i]);
    }
}
