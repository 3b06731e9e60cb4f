/*
 * proxy.c - one thread, one poll loop, a few pairs of sockets. Blocking writes are good enough: the
 * two ends read at all times. A pair in whose direction nothing may move is not polled.
 */
#include "tests/live/proxy.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAIRS_MAX = 8, CHUNK_BYTES = 65536, TICK_MS = 10 };

struct pair {
    int client, server; /* -1: free */
};

struct proxy {
    pthread_t thread;
    int listener;
    int port;
    atomic_int mode;
    atomic_bool stop, cut;
    struct pair pairs[PAIRS_MAX];
    char chunk[CHUNK_BYTES];
};

static void die(const char *what)
{
    perror(what);
    abort();
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static int connect_unix(const char *directory, const char *port)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s/.s.PGSQL.%s", directory, port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int connect_tcp(const char *host, const char *port)
{
    struct addrinfo *list = NULL, hints = {.ai_socktype = SOCK_STREAM};
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static int connect_server(void)
{
    const char *host = env_or("PGHOST", "localhost"), *port = env_or("PGPORT", "5432");
    return *host == '/' ? connect_unix(host, port) : connect_tcp(host, port);
}

static void close_pair(struct pair *pair)
{
    if (pair->client >= 0)
        close(pair->client);
    if (pair->server >= 0)
        close(pair->server);
    *pair = (struct pair){-1, -1};
}

static void accept_one(struct proxy *p)
{
    int client = accept(p->listener, NULL, NULL);
    struct pair *pair = NULL;
    for (int i = 0; i < PAIRS_MAX && !pair; i++)
        if (p->pairs[i].client < 0)
            pair = &p->pairs[i];
    if (client < 0)
        return;
    if (!pair || p->mode == PROXY_REFUSE) {
        close(client);
        return;
    }
    *pair = (struct pair){client, connect_server()};
    if (pair->server < 0)
        close_pair(pair);
}

/* False: an end has closed. `to` < 0: what is read is thrown away. */
static bool move(struct proxy *p, int from, int to)
{
    ssize_t n = recv(from, p->chunk, sizeof p->chunk, 0);
    if (n <= 0)
        return false;
    for (ssize_t sent = 0; to >= 0 && sent < n;) {
        ssize_t k = send(to, p->chunk + sent, (size_t)(n - sent), MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        sent += k;
    }
    return true;
}

static void serve_pair(struct proxy *p, struct pair *pair, const struct pollfd *fds)
{
    bool alive = true;
    if (fds[0].revents)
        alive = move(p, pair->client, pair->server);
    if (alive && fds[1].revents)
        alive = move(p, pair->server, p->mode == PROXY_MUTE ? -1 : pair->client);
    if (!alive)
        close_pair(pair);
}

static void turn(struct proxy *p)
{
    struct pollfd fds[1 + 2 * PAIRS_MAX];
    bool stalled = p->mode == PROXY_STALL;
    fds[0] = (struct pollfd){p->listener, POLLIN, 0};
    for (int i = 0; i < PAIRS_MAX; i++) {
        fds[1 + 2 * i] = (struct pollfd){stalled ? -1 : p->pairs[i].client, POLLIN, 0};
        fds[2 + 2 * i] = (struct pollfd){stalled ? -1 : p->pairs[i].server, POLLIN, 0};
    }
    if (poll(fds, 1 + 2 * PAIRS_MAX, TICK_MS) <= 0)
        return;
    for (int i = 0; i < PAIRS_MAX; i++)
        serve_pair(p, &p->pairs[i], &fds[1 + 2 * i]);
    if (fds[0].revents)
        accept_one(p);
}

static void *run(void *arg)
{
    struct proxy *p = arg;
    while (!p->stop) {
        if (p->cut) {
            for (int i = 0; i < PAIRS_MAX; i++)
                close_pair(&p->pairs[i]);
            p->cut = false;
        }
        turn(p);
    }
    for (int i = 0; i < PAIRS_MAX; i++)
        close_pair(&p->pairs[i]);
    return NULL;
}

struct proxy *proxy_new(enum proxy_mode mode)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    struct proxy *p = calloc(1, sizeof *p);
    if (!p)
        die("proxy");
    for (int i = 0; i < PAIRS_MAX; i++)
        p->pairs[i] = (struct pair){-1, -1};
    p->mode = mode;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->listener < 0 || bind(p->listener, (struct sockaddr *)&at, n) != 0 ||
        listen(p->listener, PAIRS_MAX) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&at, &n) != 0)
        die("proxy: listen");
    p->port = ntohs(at.sin_port);
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        die("proxy: thread");
    return p;
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    p->stop = true;
    pthread_join(p->thread, NULL);
    close(p->listener);
    free(p);
}

int proxy_port(const struct proxy *p)
{
    return p->port;
}

void proxy_set(struct proxy *p, enum proxy_mode mode)
{
    p->mode = (int)mode;
}

void proxy_cut(struct proxy *p)
{
    p->cut = true;
    while (p->cut)
        usleep(1000);
}
