/*
 * help.c - the command list, one command's help, and the word that was meant.
 */
#include "admin/help.h"

#include <stdio.h>
#include <string.h>

#include "admin/out.h"
#include "admin/suggest.h"

enum { HELP_BYTES_MAX = 1 << 20 };

/* How many of argv's first words spell the command's name; 0: another command. */
static int matches(const struct cmd *cmd, int argc, const char *const *argv)
{
    const char *space = strchr(cmd->name, ' ');
    struct span first = {cmd->name, space ? (size_t)(space - cmd->name) : strlen(cmd->name)};
    if (argc < 1 || !span_is(first, argv[0]))
        return 0;
    if (!space)
        return 1;
    return argc > 1 && strcmp(space + 1, argv[1]) == 0 ? 2 : 0;
}

bool help_is_group(const char *word)
{
    size_t n = strlen(word);
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (strncmp(c->name, word, n) == 0 && c->name[n] == ' ')
            return true;
    return false;
}

void help_group(const char *group, struct buf *out)
{
    size_t n = strlen(group);
    buf_addf(out, "Usage: inferq %s COMMAND [OPTION...]\n\n", group);
    for (const struct cmd *c = cmd_table; c->name; c++) {
        char left[64];
        if (strncmp(c->name, group, n) != 0 || c->name[n] != ' ')
            continue;
        (void)snprintf(left, sizeof left, "%s %s", c->name, c->args);
        buf_addf(out, "  %-30s %s\n", left, c->summary);
    }
}

static enum rc group_without_verb(const char *group, struct err *err)
{
    char verbs[128] = "";
    size_t used = 0, n = strlen(group);
    for (const struct cmd *c = cmd_table; c->name; c++)
        if (strncmp(c->name, group, n) == 0 && c->name[n] == ' ' && used < sizeof verbs)
            used += (size_t)snprintf(verbs + used, sizeof verbs - used, "%s%s", used ? ", " : "",
                                     c->name + n + 1);
    return err_set(err, RC_REJECT, "%s: one of %s must follow", group, verbs);
}

/* The only command whose second word this is: `watch` is `batch watch`. NULL: none, or several. */
static const char *by_verb(const char *word)
{
    const char *found = NULL;
    for (const struct cmd *c = cmd_table; c->name; c++) {
        const char *space = strchr(c->name, ' ');
        if (!space || strcmp(space + 1, word) != 0)
            continue;
        if (found)
            return NULL;
        found = c->name;
    }
    return found;
}

static enum rc unknown(int argc, const char *const *argv, struct err *err)
{
    char said[2 * SUGGEST_WORD_MAX + 2];
    bool two = argc > 1 && argv[1][0] != '-' && help_is_group(argv[0]);
    (void)snprintf(said, sizeof said, two ? "%s %s" : "%s", argv[0], two ? argv[1] : "");
    char both[2 * SUGGEST_WORD_MAX + 2];
    (void)snprintf(both, sizeof both, "%s %s", argv[0], argc > 1 ? argv[1] : "");
    struct suggest near = {0};
    for (const struct cmd *c = cmd_table; c->name; c++) {
        suggest_offer(&near, said, c->name);
        suggest_offer(&near, both, c->name);
    }
    if (!near.best)
        near.best = by_verb(argv[0]);
    if (near.best)
        return err_set(err, RC_REJECT, "no command '%s'; did you mean '%s'?", said, near.best);
    return err_set(err, RC_REJECT, "no command '%s'; `inferq help` lists them", said);
}

enum rc help_find(int argc, const char *const *argv, const struct cmd **ret_cmd, int *ret_words,
                  struct err *err)
{
    for (const struct cmd *c = cmd_table; c->name; c++) {
        int words = matches(c, argc, argv);
        if (words) {
            *ret_cmd = c;
            *ret_words = words;
            return RC_OK;
        }
    }
    if (help_is_group(argv[0]) && (argc == 1 || argv[1][0] == '-'))
        return group_without_verb(argv[0], err);
    return unknown(argc, argv, err);
}

/* ---- text --------------------------------------------------------------------------------- */

void help_usage(struct buf *out)
{
    buf_add_text(out, "Usage: inferq COMMAND [OPTION...]\n\n");
    for (const struct cmd *c = cmd_table; c->name; c++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%s %s", c->name, c->args);
        buf_addf(out, "  %-29s %s\n", left, c->summary);
    }
    buf_add_text(
        out, "\n"
             "Every command: --help, --config FILE, and any configuration key as --KEY VALUE\n"
             "(`inferq help config`). `inferq --version`. Exit codes: 0 done, 1 some jobs failed,\n"
             "2 usage or bad input, 3 a server cannot be reached.\n");
}

static void option_line(const char *name, const char *arg, const char *text, struct buf *out)
{
    char left[64];
    (void)snprintf(left, sizeof left, "--%s%s%s", name, arg ? " " : "", arg ? arg : "");
    buf_addf(out, "  %-24s %s\n", left, text);
}

void help_command(const struct cmd *cmd, struct buf *out)
{
    buf_addf(out, "Usage: inferq %s%s%s [OPTION...]\n\n%s\n", cmd->name, *cmd->args ? " " : "",
             cmd->args, cmd->summary);
    if (cmd->help)
        buf_addf(out, "\n%s\n", cmd->help);
    buf_add_text(out, "\n");
    for (const struct opt *o = cmd->opts; o->name; o++)
        option_line(o->name, o->arg, o->help, out);
    option_line("config", "FILE", "read configuration from it (also INFERQ_CONFIG)", out);
    option_line("KEY", "VALUE", "a configuration key, see `inferq help config`", out);
}

static enum rc help_config(struct err *err)
{
    config_help(cmd_keys, stdout);
    return out_flush(err);
}

enum rc help(struct ctx *ctx, struct err *err)
{
    const struct opts *o = &ctx->opts;
    const struct cmd *cmd = NULL;
    int words = 0;
    enum rc rc = RC_OK;
    if (o->arg_count == 1 && strcmp(o->args[0], "config") == 0)
        return help_config(err);
    bool group = o->arg_count == 1 && help_is_group(o->args[0]);
    if (o->arg_count > 0 && !group)
        rc = help_find(o->arg_count, o->args, &cmd, &words, err);
    if (rc != RC_OK)
        return rc;
    struct buf text;
    buf_init(&text, HELP_BYTES_MAX);
    if (cmd)
        help_command(cmd, &text);
    else if (group)
        help_group(o->args[0], &text);
    else
        help_usage(&text);
    rc = out_write(buf_span(&text), err);
    buf_done(&text);
    return rc;
}
