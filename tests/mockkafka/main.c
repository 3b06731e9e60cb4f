/*
 * mockkafka: librdkafka's mock cluster as a program of its own, for fault tests, and in Kafka's
 * place where no Java can be had.
 *
 * Happy path: starts N brokers on free loopback ports, creates the topics asked for, prints
 * "bootstrap=HOST:PORT,..." and "control=HOST:PORT" on standard output, writes the same values to
 * the files asked for (whole or not at all: renamed into place), then serves control commands
 * (control.c; standard input with --stdin) until SIGTERM or SIGINT, and exits 0.
 * What goes wrong: anything before the bootstrap line: a message and exit 1 (2 for bad options).
 *
 * What a mock is not: nothing survives it; a partition keeps 5 MiB or 100,000 messages; there is
 * no topic admin API (topics appear when first asked about, with 4 partitions); transactions are
 * faked. Its clients want fetch.wait.max.ms=10 and a session timeout of 6 s.
 */
#define _GNU_SOURCE
#include "tests/mockkafka/control.h"
#include "tests/mockkafka/server.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

enum { TOPICS_MAX = 64, BROKERS_MAX = 16 };

struct options {
    int brokers;
    const char *port_file;    /* NULL: none */
    const char *control_file; /* NULL: none */
    bool with_stdin;
    int topic_count;
    struct {
        char *name; /* cut out of argv */
        int partitions;
    } topics[TOPICS_MAX];
};

static const char USAGE[] =
    "usage: mockkafka [--brokers N] [--port-file FILE] [--control FILE] [--stdin]\n"
    "                 [--topic NAME:PARTITIONS]...\n"
    "Prints bootstrap=... and control=127.0.0.1:PORT; FILEs get the values. Connect to the\n"
    "control port (or use --stdin) and say help. Runs until SIGTERM.\n";

static bool parse_count(const char *text, int max, int *ret_value)
{
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > max)
        return false;
    *ret_value = (int)value;
    return true;
}

static bool add_topic(struct options *options, char *spec)
{
    char *colon = strrchr(spec, ':');
    if (colon == NULL || colon == spec || options->topic_count == TOPICS_MAX)
        return false;
    *colon = '\0';
    int slot = options->topic_count++;
    options->topics[slot].name = spec;
    return parse_count(colon + 1, 10000, &options->topics[slot].partitions);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {
        {"brokers", required_argument, NULL, 'b'},
        {"port-file", required_argument, NULL, 'p'},
        {"control", required_argument, NULL, 'c'},
        {"stdin", no_argument, NULL, 's'},
        {"topic", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    *options = (struct options){.brokers = 1};
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) {
        bool good = true;
        switch (c) {
        case 'b':
            good = parse_count(optarg, BROKERS_MAX, &options->brokers);
            break;
        case 'p':
            options->port_file = optarg;
            break;
        case 'c':
            options->control_file = optarg;
            break;
        case 's':
            options->with_stdin = true;
            break;
        case 't':
            good = add_topic(options, optarg);
            break;
        case 'h':
            fputs(USAGE, stdout);
            exit(EXIT_SUCCESS);
        default:
            return false;
        }
        if (!good) {
            fprintf(stderr, "mockkafka: bad value: %s\n", optarg);
            return false;
        }
    }
    return optind == argc;
}

/* A reader sees the whole value or no file. */
static bool write_file(const char *path, const char *value)
{
    char temporary[PATH_MAX];
    if (path == NULL)
        return true;
    int n = snprintf(temporary, sizeof(temporary), "%s.new", path);
    if (n < 0 || (size_t)n >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return false;
    }
    FILE *file = fopen(temporary, "w");
    if (file == NULL)
        return false;
    bool written = fprintf(file, "%s\n", value) > 0;
    written = fclose(file) == 0 && written;
    return written && rename(temporary, path) == 0;
}

static int block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0)
        return -1;
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

/* The client that hosts the cluster; it never connects anywhere itself. */
static rd_kafka_t *new_host(char *reason, size_t reason_bytes)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    /* Level 3: its complaint that it has no bootstrap servers is a warning. */
    if (rd_kafka_conf_set(conf, "log_level", "3", reason, reason_bytes) != RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "client.id", "mockkafka", reason, reason_bytes) !=
            RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, reason_bytes);
    if (host == NULL)
        rd_kafka_conf_destroy(conf);
    return host;
}

static bool create_topics(rd_kafka_mock_cluster_t *cluster, const struct options *options)
{
    char reply[CONTROL_REPLY_MAX_BYTES];
    for (int i = 0; i < options->topic_count; i++) {
        if (!control_create_topic(cluster, options->topics[i].name, options->topics[i].partitions,
                                  1, reply)) {
            fprintf(stderr, "mockkafka: topic %s: %s\n", options->topics[i].name, reply);
            return false;
        }
    }
    return true;
}

static bool announce(rd_kafka_mock_cluster_t *cluster, const struct options *options,
                     uint16_t control_port)
{
    char control[sizeof("127.0.0.1:65535")];
    const char *bootstrap = rd_kafka_mock_cluster_bootstraps(cluster);
    (void)snprintf(control, sizeof(control), "127.0.0.1:%u", (unsigned)control_port);
    /* The bootstrap file comes last: who waits for it finds everything there. */
    if (!write_file(options->control_file, control) || !write_file(options->port_file, bootstrap)) {
        fprintf(stderr, "mockkafka: cannot write a port file: %s\n", strerror(errno));
        return false;
    }
    return printf("bootstrap=%s\ncontrol=%s\n", bootstrap, control) > 0 && fflush(stdout) == 0;
}

static bool serve(rd_kafka_mock_cluster_t *cluster, const struct options *options, int signal_fd)
{
    uint16_t control_port;
    int listen_fd = server_listen(&control_port);
    if (listen_fd < 0) {
        fprintf(stderr, "mockkafka: cannot listen: %s\n", strerror(errno));
        return false;
    }
    bool good = create_topics(cluster, options) && announce(cluster, options, control_port) &&
                server_run(cluster, listen_fd, signal_fd, options->with_stdin);
    close(listen_fd);
    return good;
}

int main(int argc, char **argv)
{
    struct options options;
    char reason[512] = "";
    if (!parse_options(argc, argv, &options)) {
        fputs(USAGE, stderr);
        return 2;
    }
    /* Before any thread starts: they inherit the mask, and only the loop sees the signals. */
    int signal_fd = block_signals();
    if (signal_fd < 0) {
        fprintf(stderr, "mockkafka: signals: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    rd_kafka_t *host = new_host(reason, sizeof(reason));
    if (host == NULL) {
        fprintf(stderr, "mockkafka: %s\n", reason);
        return EXIT_FAILURE;
    }
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, options.brokers);
    bool good = cluster != NULL && serve(cluster, &options, signal_fd);
    if (cluster == NULL)
        fprintf(stderr, "mockkafka: cannot start the mock cluster\n");
    else
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(host);
    close(signal_fd);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
