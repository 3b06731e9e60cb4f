/*
 * main.c - inferq-worker's command line.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/config.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "common/secret.h"
#include "common/streams.h"
#include "worker/failpoints.h"
#include "worker/settings.h"
#include "worker/worker.h"

#ifndef INFERQ_VERSION
#define INFERQ_VERSION "unknown"
#endif

static void help(FILE *out)
{
    fputs("Usage: inferq-worker [--config FILE] [--KEY VALUE ...]\n"
          "\n"
          "Consumes inference jobs from Kafka, calls the model that the catalogue names, and\n"
          "stores results, versions and costs in Postgres. Run as many as you like.\n"
          "\n"
          "  --config FILE    settings as `key = value` lines\n"
          "  --print-config   show all settings and where each comes from, and exit\n"
          "  --markdown       print the table of settings for the README, and exit\n"
          "  --version, --help\n"
          "\n"
          "Each setting is a flag (--max_in_flight 512), an environment variable\n"
          "(INFERQ_MAX_IN_FLIGHT), or a line of the file, in this order of precedence.\n"
          "kafka.* settings go to librdkafka under their own names; PG* variables to libpq.\n"
          "SIGTERM drains and exits 0; a second one gives up calls in flight. SIGHUP takes over\n"
          "settings that allow it, signature keys, credentials and the catalogue, all or nothing\n"
          "and without a restart.\n"
          "Exit codes: 0 stopped, 2 usage or bad input, 3 a server cannot be reached, 4 broken.\n"
          "\n"
          "Settings:\n",
          out);
    config_help(settings_keys, out);
}

enum { GO_ON = -1 };

/* Flags into the configuration; `--config` is looked at first so that flags win whatever their
 * order. GO_ON, or the exit code. */
static int read_flags(struct config *c, int argc, char **argv, bool *print, struct err *err)
{
    for (int i = 1; i < argc; i++) {
        const char *flag = argv[i];
        if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0)
            return help(stdout), EXIT_DONE;
        if (strcmp(flag, "--version") == 0)
            return puts("inferq-worker " INFERQ_VERSION), EXIT_DONE;
        if (strcmp(flag, "--markdown") == 0)
            return config_markdown(settings_keys, stdout), EXIT_DONE;
        if (strcmp(flag, "--print-config") == 0) {
            *print = true;
            continue;
        }
        if (strncmp(flag, "--", 2) != 0 || i + 1 == argc) {
            (void)err_set(err, RC_REJECT, "%s: a flag with a value is expected; see --help", flag);
            return EXIT_USAGE;
        }
        const char *value = argv[++i];
        enum rc rc = strcmp(flag, "--config") == 0 ? config_load_file(c, value, err)
                                                   : config_set(c, flag + 2, value, err);
        if (rc != RC_OK)
            return EXIT_USAGE;
    }
    return GO_ON;
}

struct line {
    int argc;
    char **argv;
};

/* Flags, environment and file, as at the start: for SIGHUP. */
static enum rc reread(void *arg, struct config **ret_config, struct err *err)
{
    const struct line *line = arg;
    bool print = false;
    struct config *c = config_new(settings_keys);
    if (!c)
        return err_set(err, RC_NOMEM, "no memory for the settings");
    enum rc rc = read_flags(c, line->argc, line->argv, &print, err) == GO_ON ? RC_OK : RC_REJECT;
    if (rc == RC_OK)
        rc = config_load_env(c, err);
    if (rc == RC_OK)
        rc = settings_check(c, err);
    if (rc == RC_OK)
        *ret_config = c;
    else
        config_free(c);
    return rc;
}

static int run(struct config *c, struct line *line)
{
    struct err err = {0};
    bool print = false;
    int code = failpoints_setup(&err) == RC_OK ? read_flags(c, line->argc, line->argv, &print, &err)
                                               : EXIT_USAGE;
    if (code == GO_ON &&
        (config_load_env(c, &err) != RC_OK || (!print && settings_check(c, &err) != RC_OK)))
        code = EXIT_USAGE;
    if (code == EXIT_USAGE)
        fprintf(stderr, "inferq-worker: %s\n", err.text);
    if (code != GO_ON)
        return code;
    if (print) {
        config_print(c, stdout);
        return EXIT_DONE;
    }
    log_setup("inferq-worker", (enum log_level)config_int(c, "log.level"),
              (enum log_format)config_int(c, "log.format"));
    return worker_run(c, reread, line);
}

int main(int argc, char **argv)
{
    streams_fill();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* until there is something to reload */
    secret_harden_process();
    struct config *c = config_new(settings_keys);
    if (!c)
        return EXIT_BROKEN;
    struct line line = {argc, argv};
    int code = run(c, &line);
    config_free(c);
    return code;
}
