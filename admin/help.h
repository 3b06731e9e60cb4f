/*
 * help.h - finding a command by its words, and what is said about it.
 */
#ifndef INFERQ_ADMIN_HELP_H
#define INFERQ_ADMIN_HELP_H

#include "admin/cmd.h"
#include "common/buf.h"
#include "common/err.h"

/* The command named by the first words; *ret_words says how many they are. RC_REJECT: no such
 * command, with the nearest one, or with the commands of the group that was named. Pure. */
enum rc help_find(int argc, const char *const *argv, const struct cmd **ret_cmd, int *ret_words,
                  struct err *err) MUST_CHECK;

bool help_is_group(const char *word); /* "batch", "dead" */

void help_usage(struct buf *out);                          /* all commands */
void help_command(const struct cmd *cmd, struct buf *out); /* one */
void help_group(const char *group, struct buf *out);       /* those of one group */

#endif
