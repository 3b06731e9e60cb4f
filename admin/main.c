/*
 * main.c - `inferq`, the front command: finds the command, reads its options and the
 * configuration, runs it, and turns its outcome into an exit code and one line on standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cmd.h"
#include "admin/help.h"
#include "admin/out.h"
#include "common/log.h"

enum { HELP_BYTES_MAX = 1 << 20 };

static int exit_code(enum rc rc, int done)
{
    switch (rc) {
    case RC_OK:
        return done;
    case RC_RETRY:
        return EXIT_UNREACHABLE;
    case RC_REJECT:
    case RC_FULL:
    case RC_NOMEM:
    case RC_FATAL:
    default:
        return EXIT_USAGE;
    }
}

static int fail(const char *command, enum rc rc, const struct err *err)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "inferq%s%s: %s\n", command ? " " : "", command ? command : "",
                  err->text);
    return exit_code(rc, EXIT_DONE);
}

/* Text that `write` makes of `about`, to standard output. */
static int print_text(void (*write)(struct buf *out, const void *about), const void *about)
{
    struct err err = {0};
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    write(&text, about);
    enum rc rc = out_finish(out_write(buf_span(&text), &err), &err);
    buf_done(&text);
    return rc == RC_OK ? EXIT_DONE : fail(NULL, rc, &err);
}

static void write_usage(struct buf *out, const void *about)
{
    (void)about;
    help_usage(out);
}

static void write_command(struct buf *out, const void *about)
{
    help_command(about, out);
}

static void write_group(struct buf *out, const void *about)
{
    help_group(about, out);
}

static void write_version(struct buf *out, const void *about)
{
    (void)about;
    buf_add_text(out, "inferq " INFERQ_VERSION "\n");
}

static bool is_word(const char *arg, const char *a, const char *b)
{
    return strcmp(arg, a) == 0 || (b && strcmp(arg, b) == 0);
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (is_word(argv[i], "--help", "-h"))
            return true;
    return false;
}

/* ---- configuration ------------------------------------------------------------------------ */

/* --config is no key: it says where the keys are. It is taken out of the settings' way here. */
static const char *config_file(int *argc, char **argv)
{
    const char *file = getenv("INFERQ_CONFIG");
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (i < *argc)
                argv[kept++] = argv[i++];
        } else if (strncmp(argv[i], "--config=", 9) == 0) {
            file = argv[i] + 9;
        } else if (strcmp(argv[i], "--config") == 0 && i + 1 < *argc) {
            file = argv[++i];
        } else {
            argv[kept++] = argv[i];
        }
    }
    *argc = kept;
    return file && *file ? file : NULL;
}

static enum rc load_config(struct ctx *ctx, const char *file, struct err *err)
{
    ctx->config = config_new(cmd_keys);
    enum rc rc = cmd_have(ctx->config, err);
    if (rc == RC_OK && file)
        rc = config_load_file(ctx->config, file, err);
    if (rc == RC_OK)
        rc = config_load_env(ctx->config, err);
    for (int i = 0; rc == RC_OK && i < ctx->opts.setting_count; i++)
        rc = config_set(ctx->config, ctx->opts.settings[i].key, ctx->opts.settings[i].value, err);
    return rc == RC_OK ? config_check(ctx->config, err) : rc;
}

/* ---- running ------------------------------------------------------------------------------ */

/* Of a command's arguments those that come after the first `given`, which are words each. */
static const char *args_after(const char *args, int given)
{
    for (const char *blank; given > 0 && (blank = strchr(args, ' ')); given--)
        args = blank + 1;
    return args;
}

static enum rc check_args(const struct cmd *cmd, int count, struct err *err)
{
    if (count < cmd->args_min)
        return err_set(err, RC_REJECT, "%s is missing%s%s; --help says more",
                       args_after(cmd->args, count), count ? ", of " : "", count ? cmd->args : "");
    if (cmd->args_max >= 0 && count > cmd->args_max)
        return err_set(err, RC_REJECT, "too many arguments; --help says more");
    return RC_OK;
}

static enum rc prepare(struct ctx *ctx, int argc, char **argv, struct err *err)
{
    if (ctx->cmd->raw) {
        ctx->opts = (struct opts){.table = ctx->cmd->opts, .arg_count = argc};
        ctx->opts.args = calloc((size_t)argc + 1, sizeof *ctx->opts.args);
        if (argc && ctx->opts.args)
            memcpy(ctx->opts.args, argv, (size_t)argc * sizeof *argv);
        return cmd_have(ctx->opts.args, err);
    }
    const char *file = config_file(&argc, argv);
    enum rc rc =
        opts_parse(ctx->cmd->opts, cmd_keys, argc, (const char *const *)argv, &ctx->opts, err);
    if (rc == RC_OK)
        rc = check_args(ctx->cmd, ctx->opts.arg_count, err);
    return rc == RC_OK ? load_config(ctx, file, err) : rc;
}

static int run_command(const struct cmd *cmd, int argc, char **argv)
{
    struct err err = {0};
    struct ctx ctx = {.cmd = cmd};
    if (!cmd->raw && asks_help(argc, argv))
        return print_text(write_command, cmd);
    enum rc rc = prepare(&ctx, argc, argv, &err);
    if (rc == RC_OK)
        rc = cmd->run(&ctx, &err);
    rc = out_finish(rc, &err);
    int code = rc == RC_OK ? ctx.exit_code : fail(cmd->name, rc, &err);
    pgc_close(ctx.conn);
    config_free(ctx.config);
    opts_done(&ctx.opts);
    if (ctx.kafka_stays) { /* its threads are not to meet what exit takes down */
        (void)fflush(NULL);
        _exit(code);
    }
    return code;
}

static int usage_error(void)
{
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    help_usage(&text);
    (void)fwrite(buf_span(&text).p, 1, text.n, stderr);
    buf_done(&text);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    out_setup();
    log_setup("inferq", LOG_ERROR, LOG_KV);
    if (argc < 2)
        return usage_error();
    if (is_word(argv[1], "--help", "-h"))
        return print_text(write_usage, NULL);
    if (is_word(argv[1], "--version", "-V"))
        return print_text(write_version, NULL);
    if (argc == 3 && help_is_group(argv[1]) && is_word(argv[2], "--help", "-h"))
        return print_text(write_group, argv[1]);

    struct err err = {0};
    const struct cmd *cmd;
    int used;
    enum rc rc = help_find(argc - 1, (const char *const *)argv + 1, &cmd, &used, &err);
    if (rc != RC_OK)
        return fail(NULL, rc, &err);
    return run_command(cmd, argc - 1 - used, argv + 1 + used);
}
