/*
 * submit_main.c - inferq-submit: turns files, lines and ready requests into jobs on Kafka.
 *
 * Happy path: options, settings, submit_run. Failure: status 2 and one line on standard error for
 * anything wrong with options or settings, before anything is read or connected.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "common/secret.h"
#include "common/streams.h"
#include "producer/say.h"
#include "producer/stopper.h"
#include "producer/submit.h"

enum { EXIT_USAGE = 2, EXIT_SERVER = 3, ARENAS = 2 };

static enum rc load_config(const struct submit_args *args, struct config *config, struct err *err)
{
    enum rc rc = args->config ? config_load_file(config, args->config, err) : RC_OK;
    if (rc == RC_OK)
        rc = config_load_env(config, err);
    for (int i = 0; rc == RC_OK && i < args->setting_count; i++)
        rc = config_set(config, args->settings[i].key, args->settings[i].value, err);
    return rc == RC_OK ? config_check(config, err) : rc;
}

static int run(const struct submit_args *args)
{
    struct err err = {0};
    int stop_fd, status = EXIT_USAGE;
    struct config *config = config_new(submit_config_keys);
    if (!config) {
        say("no memory");
        return EXIT_SERVER;
    }
    if (load_config(args, config, &err) != RC_OK) {
        say("%s", err.text);
    } else if (args->print_config) {
        config_print(config, stdout);
        status = 0;
    } else if (stopper_new(&stop_fd, &err) != RC_OK) {
        say("%s", err.text);
        status = EXIT_SERVER;
    } else {
        status = submit_run(args, config, stop_fd);
    }
    config_free(config);
    return status;
}

int main(int argc, char **argv)
{
    struct submit_args args;
    struct err err = {0};
    int status = 0;
    streams_fill();
    secret_harden_process();
    /* librdkafka's threads free what this one allocates; many arenas would only hold on to it. */
    (void)mallopt(M_ARENA_MAX, ARENAS);
    log_setup("inferq-submit", LOG_WARN, LOG_KV);
    if (submit_args_parse(argc, argv, &args, &err) != RC_OK) {
        say("%s", err.text);
        return EXIT_USAGE;
    }
    if (args.help)
        submit_args_help(stdout);
    else if (args.version)
        printf("inferq-submit %s\n", INFERQ_VERSION);
    else
        status = run(&args);
    submit_args_done(&args);
    return status;
}
