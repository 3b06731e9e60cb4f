/*
 * submit.c - `inferq submit ...` becomes `inferq-submit ...`: the one beside this program, else the
 * one on PATH. It takes the process over, so its signals, output and exit code are its own.
 */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/cmd.h"

#define PROGRAM "inferq-submit"

/* "/usr/bin/inferq" -> "/usr/bin/inferq-submit" */
static bool sibling(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - sizeof PROGRAM - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (!slash)
        return false;
    memcpy(slash + 1, PROGRAM, sizeof PROGRAM);
    return true;
}

enum rc submit(struct ctx *ctx, struct err *err)
{
    const struct opts *o = &ctx->opts;
    char path[PATH_MAX];
    char **argv = calloc((size_t)o->arg_count + 2, sizeof *argv);
    if (!argv)
        return err_set(err, RC_NOMEM, "no memory for the command line");
    argv[0] = (char *)(uintptr_t)PROGRAM; /* execv promises to leave them alone */
    for (int i = 0; i < o->arg_count; i++)
        argv[i + 1] = (char *)(uintptr_t)o->args[i];

    if (sibling(path))
        (void)execv(path, argv);
    (void)execvp(PROGRAM, argv);
    enum rc rc = err_set(err, RC_REJECT, "%s stands neither beside this program nor on PATH: %s",
                         PROGRAM, strerror(errno));
    free(argv);
    return rc;
}
