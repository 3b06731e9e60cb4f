/*
 * editor.c - a temporary file, the editor on it, and what it holds afterwards.
 *
 * The editor is a command line for the shell, as others take it ("code --wait"); the file's name is
 * handed over as an argument of its own. An editor that ends with another status than 0 says that
 * nothing is to be done: the file goes.
 */
#include "admin/editor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/file.h"

static const char suffix[] = ".json";

static enum rc write_file(struct span text, char path[EDITOR_PATH], struct err *err)
{
    const char *dir = getenv("TMPDIR");
    int n = snprintf(path, EDITOR_PATH, "%s/inferq-XXXXXX%s", dir && *dir ? dir : "/tmp", suffix);
    int fd = n < EDITOR_PATH ? mkstemps(path, (int)sizeof suffix - 1) : -1;
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool written = file && fwrite(text.p, 1, text.n, file) == text.n;
    int why = errno;
    if (file && fclose(file) != 0) {
        why = errno;
        written = false;
    } else if (!file && fd >= 0) {
        (void)close(fd);
    }
    if (written)
        return RC_OK;
    enum rc rc = err_set(err, RC_REJECT, "no file for the editor, %s: %s", path, strerror(why));
    if (fd >= 0)
        (void)unlink(path);
    path[0] = '\0';
    return rc;
}

static enum rc run(const char *editor, const char *path, struct err *err)
{
    char script[EDITOR_PATH];
    int status = 0;
    if (snprintf(script, sizeof script, "%s \"$1\"", editor) >= (int)sizeof script)
        return err_set(err, RC_REJECT, "the editor's command line is too long");
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, editor, path, (char *)NULL);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            pid = -1;
    if (pid < 0)
        return err_set(err, RC_REJECT, "the editor cannot be run: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return RC_OK;
    return err_set(err, RC_REJECT, "the editor '%s' ended with %s %d: nothing was done", editor,
                   WIFEXITED(status) ? "status" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

enum rc editor_run(struct span text, char path[EDITOR_PATH], struct buf *out, struct err *err)
{
    const char *editor = getenv("VISUAL");
    path[0] = '\0';
    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        return err_set(err, RC_REJECT,
                       "no editor: set EDITOR, or give --body FILE or --set KEY=VALUE");
    enum rc rc = write_file(text, path, err);
    if (rc != RC_OK)
        return rc;
    rc = run(editor, path, err);
    if (rc == RC_OK)
        rc = file_read(path, out, err);
    if (rc == RC_OK && out->n == 0)
        rc = err_set(err, RC_REJECT, "the text is empty: nothing was done");
    if (rc != RC_OK)
        editor_forget(path);
    return rc;
}

void editor_forget(char path[EDITOR_PATH])
{
    if (path[0])
        (void)unlink(path);
    path[0] = '\0';
}
