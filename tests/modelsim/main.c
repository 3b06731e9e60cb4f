#include "tests/modelsim/base.h"
#include "tests/modelsim/server.h"

/*
 * Purpose: modelsim, a model server that tests command and believe. Command line, set-up, the loop.
 * One turn of the loop: take what arrived, compute replies, write the witness lines, and only then
 * let replies leave. Happy path: runs until SIGTERM, exits 0. Failure: 2 for wrong arguments or
 * files, 3 when it cannot listen or its witness file refuses.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MODELS_MAX 256
#define EVENTS_MAX 512
/* How long finished requests' lines may wait for company before they are written. */
#define WITNESS_WAIT_US 1000

static const char help[] =
    "usage: modelsim [options]\n"
    "An OpenAI-shaped model server for tests: answers are a function of the request, faults come\n"
    "from a script, and every request is witnessed. See tests/modelsim/README.md.\n"
    "  --port N            port; 0 (default): any free one\n"
    "  --address A         IPv4 address to listen on (default 127.0.0.1)\n"
    "  --port-file FILE    the port is written here once it listens\n"
    "  --script FILE       rules: faults, delays, limits\n"
    "  --witness FILE      JSON lines are appended here, two per request\n"
    "  --models A,B,C      the models that exist (default: all)\n"
    "  --latency DIST      0, 50ms, uniform:A:B, lognormal:MEDIAN:SIGMA, quantiles:P50:P99\n"
    "  --ledger CONNINFO   libpq connection string: each call is looked up in inferq.call\n"
    "  --price-table FILE  lines MODEL INPUT OUTPUT, pico-USD per token\n"
    "  --require-key KEY   other Authorization headers than Bearer KEY get 401\n"
    "  --seed N            of delays and probabilities (default 1)\n"
    "  --help\n";

struct options {
    long port;
    const char *address;
    const char *port_file;
    const char *script;
    const char *witness;
    char *models;
    const char *latency;
    const char *ledger;
    const char *price_table;
    const char *require_key;
    const char *seed;
};

static int64_t clock_us(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static enum rc read_number(const char *text, long max, long *ret_number, struct err *err)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || number < 0 || number > max || errno != 0) {
        err_set(err, "'%.60s' is not a number in 0 .. %ld", text, max);
        return RC_REJECT;
    }
    *ret_number = number;
    return RC_OK;
}

/* Reads the command line. *ret_help: only the help was asked for. */
static enum rc read_options(int argc, char **argv, struct options *o, bool *ret_help,
                            struct err *err)
{
    static const struct option names[] = {{"port", required_argument, NULL, 'p'},
                                          {"address", required_argument, NULL, 'a'},
                                          {"port-file", required_argument, NULL, 'f'},
                                          {"script", required_argument, NULL, 's'},
                                          {"witness", required_argument, NULL, 'w'},
                                          {"models", required_argument, NULL, 'm'},
                                          {"latency", required_argument, NULL, 'l'},
                                          {"ledger", required_argument, NULL, 'd'},
                                          {"price-table", required_argument, NULL, 't'},
                                          {"require-key", required_argument, NULL, 'k'},
                                          {"seed", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (c) {
        case 'p':
            if (read_number(optarg, 65535, &o->port, err) != RC_OK)
                return RC_REJECT;
            break;
        case 'a':
            o->address = optarg;
            break;
        case 'f':
            o->port_file = optarg;
            break;
        case 's':
            o->script = optarg;
            break;
        case 'w':
            o->witness = optarg;
            break;
        case 'm':
            o->models = optarg;
            break;
        case 'l':
            o->latency = optarg;
            break;
        case 'd':
            o->ledger = optarg;
            break;
        case 't':
            o->price_table = optarg;
            break;
        case 'k':
            o->require_key = optarg;
            break;
        case 'r':
            o->seed = optarg;
            break;
        case 'h':
            *ret_help = true;
            return RC_OK;
        default:
            err_set(err, "see modelsim --help");
            return RC_REJECT;
        }
    }
    if (optind < argc) {
        err_set(err, "unexpected argument '%.60s'", argv[optind]);
        return RC_REJECT;
    }
    return RC_OK;
}

static enum rc load_script(struct server *server, const char *path, struct err *err)
{
    struct buf text = {0};
    struct err why;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        err_set(err, "%.120s: %s", path, strerror(errno));
        return RC_REJECT;
    }
    for (size_t n = 1; n > 0;) {
        buf_reserve(&text, 4096);
        n = fread(text.data + text.len, 1, 4096, file);
        text.len += n;
    }
    (void)fclose(file);
    struct span span = {text.data, text.len};
    enum rc rc = script_load(server->script, span, false, server->now_us, &why);
    if (rc != RC_OK)
        err_set(err, "%.80s: %.150s", path, why.text);
    buf_done(&text);
    return rc;
}

/* Splits `a,b,c` in place. */
static enum rc read_models(char *list, const char **models, struct err *err)
{
    size_t count = 0;
    for (char *p = list; *p != '\0';) {
        size_t len = strcspn(p, ",");
        bool last = p[len] == '\0';
        if (len == 0 || len > ASK_MODEL_MAX || count + 1 == MODELS_MAX) {
            err_set(err, "--models: empty, too long or too many names");
            return RC_REJECT;
        }
        p[len] = '\0';
        models[count++] = p;
        p += len + (last ? 0 : 1);
    }
    models[count] = NULL;
    return RC_OK;
}

static enum rc listen_on(struct server *server, const char *host, long port, long *ret_port,
                         struct err *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        err_set(err, "--address %.60s: no IPv4 address", host);
        return RC_REJECT;
    }
    socklen_t size = sizeof address;
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16384) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        err_set(err, "cannot listen on %.15s:%ld: %s", host, port, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return RC_FATAL;
    }
    server->listen_fd = fd;
    *ret_port = ntohs(address.sin_port);
    return RC_OK;
}

/* Publishes the port: by rename, so that nobody reads half a number. */
static enum rc announce(const char *host, long port, const char *path, struct err *err)
{
    char temporary[4096];
    if (path != NULL) {
        (void)snprintf(temporary, sizeof temporary, "%s.new", path);
        FILE *file = fopen(temporary, "we");
        bool ok = file != NULL && fprintf(file, "%ld\n", port) > 0;
        ok = file != NULL && fclose(file) == 0 && ok;
        if (!ok || rename(temporary, path) != 0) {
            err_set(err, "%.120s: %s", path, strerror(errno));
            return RC_REJECT;
        }
    }
    (void)printf("listening %s:%ld\n", host, port);
    (void)fflush(stdout);
    return RC_OK;
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void on_verdict(void *context, const struct lookup *lookup, bool present)
{
    struct server *server = context;
    struct conn *conn = lookup->asker;
    enum verdict verdict = present ? VERDICT_PRESENT : VERDICT_MISSING;
    witness_verdict(server->witness, lookup->n, lookup->job, lookup->call, verdict, conn == NULL);
    if (conn != NULL) {
        conn->request.verdict = verdict;
        conn_ledger_over(server, conn);
    }
}

static void on_release(void *context, const struct lookup *lookup)
{
    conn_ledger_over(context, lookup->asker);
}

static bool watch(int epoll_fd, int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN};
    event.data.ptr = tag;
    return fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static int stop_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Milliseconds until something is due; rounded up, so that nothing is woken in vain. */
static int next_wait_ms(const struct server *server)
{
    int64_t due = timers_next(&server->timers);
    if (server->ledger != NULL && ledger_due(server->ledger) < due)
        due = ledger_due(server->ledger);
    if (witness_pending(server->witness) && server->now_us + WITNESS_WAIT_US < due)
        due = server->now_us + WITNESS_WAIT_US;
    if (due == INT64_MAX)
        return -1;
    int64_t left_us = due - clock_us(CLOCK_MONOTONIC);
    if (left_us <= 0)
        return 0;
    return left_us > 60000000 ? 60000 : (int)((left_us + 999) / 1000);
}

/* Witness first, then the replies; a reply may uncover the next request of its connection. */
static void send_replies(struct server *server)
{
    do {
        witness_flush(server->witness);
        struct conn *conn = server->ready;
        server->ready = NULL;
        server->ready_tail = &server->ready;
        while (conn != NULL) {
            struct conn *next = conn->next_ready;
            conn->queued = false;
            conn_write(server, conn);
            conn = next;
        }
    } while (server->ready != NULL);
}

static void run(struct server *server, int signal_fd)
{
    static char listen_tag;
    static char signal_tag;
    struct epoll_event events[EVENTS_MAX];
    if (!watch(server->epoll_fd, server->listen_fd, &listen_tag) ||
        !watch(server->epoll_fd, signal_fd, &signal_tag))
        base_die("epoll");
    for (bool stop = false; !stop;) {
        int n = epoll_wait(server->epoll_fd, events, EVENTS_MAX, next_wait_ms(server));
        server->now_us = clock_us(CLOCK_MONOTONIC);
        server->unix_us = clock_us(CLOCK_REALTIME);
        for (int i = 0; i < n; i++) {
            void *tag = events[i].data.ptr;
            if (tag == &listen_tag)
                conn_accept(server);
            else if (tag == &signal_tag)
                stop = true;
            else if (tag != server)
                conn_event(server, tag, events[i].events);
        }
        for (struct timer *t; (t = timers_pop(&server->timers, server->now_us)) != NULL;)
            conn_timer(server, conn_of_timer(t));
        if (server->ledger != NULL)
            ledger_step(server->ledger, server->now_us);
        send_replies(server);
        conn_bury(server);
    }
}

static enum rc set_up(struct server *server, struct options *o, const char **models,
                      struct err *err)
{
    long port;
    long seed = 1;
    if (o->seed != NULL && read_number(o->seed, INT32_MAX, &seed, err) != RC_OK)
        return RC_REJECT;
    server->rng.state = (uint64_t)seed;
    server->require_key = o->require_key;
    if (o->models != NULL && read_models(o->models, models, err) != RC_OK)
        return RC_REJECT;
    server->models = o->models == NULL ? NULL : models;
    if (o->latency != NULL && dist_parse(o->latency, &server->latency, err) != RC_OK)
        return RC_REJECT;
    if (o->script != NULL && load_script(server, o->script, err) != RC_OK)
        return RC_REJECT;
    if (o->price_table != NULL && prices_load(&server->prices, o->price_table, err) != RC_OK)
        return RC_REJECT;
    if (witness_open(o->witness, &server->witness, err) != RC_OK)
        return RC_REJECT;
    if (o->ledger != NULL)
        server->ledger =
            ledger_new(o->ledger, server->epoll_fd, server, on_verdict, on_release, server);
    enum rc rc = listen_on(server, o->address, o->port, &port, err);
    if (rc != RC_OK)
        return rc;
    return announce(o->address, port, o->port_file, err);
}

static void tear_down(struct server *server)
{
    if (server->witness != NULL)
        conn_shutdown_all(server);
    ledger_free(server->ledger);
    witness_free(server->witness);
    script_free(server->script);
    prices_done(&server->prices);
    timers_done(&server->timers);
    ask_done(&server->ask);
    reply_answer_done(&server->answer);
    free(server->all);
    (void)close(server->epoll_fd);
    (void)close(server->spare_fd);
    if (server->listen_fd >= 0)
        (void)close(server->listen_fd);
}

int main(int argc, char **argv)
{
    struct options options = {.address = "127.0.0.1"};
    struct err err = {""};
    bool only_help = false;
    if (read_options(argc, argv, &options, &only_help, &err) != RC_OK) {
        (void)fprintf(stderr, "modelsim: %s\n", err.text);
        return 2;
    }
    if (only_help)
        return fputs(help, stdout) < 0 ? 3 : 0;
    raise_descriptors();
    const char *models[MODELS_MAX];
    struct server server = {.epoll_fd = epoll_create1(EPOLL_CLOEXEC),
                            .listen_fd = -1,
                            .spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
                            .now_us = clock_us(CLOCK_MONOTONIC),
                            .script = script_new()};
    server.ready_tail = &server.ready;
    int signal_fd = stop_signals();
    enum rc rc = set_up(&server, &options, models, &err);
    if (rc == RC_OK)
        run(&server, signal_fd);
    else
        (void)fprintf(stderr, "modelsim: %s\n", err.text);
    tear_down(&server);
    (void)close(signal_fd);
    return rc == RC_OK ? 0 : rc == RC_REJECT ? 2 : 3;
}
