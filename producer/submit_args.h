/*
 * submit_args.h - the command line of inferq-submit: one table of options, from which --help is
 * made too.
 */
#ifndef INFERQ_PRODUCER_SUBMIT_ARGS_H
#define INFERQ_PRODUCER_SUBMIT_ARGS_H

#include <stdbool.h>
#include <stdio.h>

#include "common/config.h"
#include "common/err.h"

enum { SUBMIT_SETTINGS_MAX = 64 };

/* All texts are borrowed from argv; NULL: not given. */
struct submit_args {
    const char *app, *team, *task, *batch, *priority, *lane, *deadline;
    const char *prompt, *prompt_file, *model, *max_output_tokens, *output, *url;
    const char *max_attempts, *max_cost, *context_version;
    const char *format, *include, *on_error, *catalogue, *config;
    bool wait, dry_run, print_config, help, version;

    const char **inputs; /* owned: free with submit_args_done */
    int input_count;

    struct {
        char key[96]; /* a configuration key */
        const char *value;
    } settings[SUBMIT_SETTINGS_MAX];
    int setting_count;
};

/* The configuration keys (config.h), for config_new and for options like --prefix VALUE. */
extern const struct config_key submit_config_keys[];

/* RC_REJECT: an unknown option (with the nearest), a missing value, an option given twice. */
enum rc submit_args_parse(int argc, char **argv, struct submit_args *ret_args,
                          struct err *err) MUST_CHECK;
void submit_args_done(struct submit_args *args);

void submit_args_help(FILE *out);

#endif
