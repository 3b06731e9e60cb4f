/*
 * child.c - servers of a test's own. A server that does not come up ends the test program: nothing
 * after it would mean anything.
 */
#include "tests/live/child.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGS_MAX = 32, WAIT_MS = 60000, STEP_MS = 10, REPLY_BYTES = 64 << 10 };

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static void find_program(const char *name, char *path, size_t path_bytes)
{
    const char *tools = getenv("INFERQ_TOOLS"), *build = getenv("BUILD");
    if (strchr(name, '/'))
        (void)snprintf(path, path_bytes, "%s", name);
    else if (tools)
        (void)snprintf(path, path_bytes, "%s/%s", tools, name);
    else
        (void)snprintf(path, path_bytes, "%s/bin/%s", build && *build ? build : "build", name);
}

static void run(const char *const *argv, const char *port_file)
{
    char path[512];
    char *args[ARGS_MAX] = {NULL};
    find_program(argv[0], path, sizeof path);
    for (int i = 0; i < ARGS_MAX - 1 && argv[i]; i++)
        args[i] = strdup(strcmp(argv[i], "@PORT") == 0 ? port_file : argv[i]);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nothing behind */
    if (!freopen("/dev/null", "w", stdout))
        _exit(126);
    execv(path, args);
    perror(path);
    _exit(127);
}

static int read_port(const char *port_file, struct child *child)
{
    FILE *file = fopen(port_file, "re");
    if (!file)
        return 0;
    char *line = fgets(child->port_text, sizeof child->port_text, file);
    fclose(file);
    if (!line)
        return 0;
    line[strcspn(line, "\n")] = '\0';
    const char *colon = strrchr(line, ':');
    child->port = (int)strtol(colon ? colon + 1 : line, NULL, 10);
    return child->port;
}

struct child child_start(const char *const *argv)
{
    char port_file[] = "/tmp/inferq-live-XXXXXX";
    struct child child = {0};
    int fd = mkstemp(port_file);
    if (fd < 0)
        die(port_file);
    close(fd);
    child.pid = fork();
    if (child.pid < 0)
        die("fork");
    if (child.pid == 0)
        run(argv, port_file);
    for (int waited = 0; !read_port(port_file, &child); waited += STEP_MS) {
        if (waited > WAIT_MS || waitpid(child.pid, NULL, WNOHANG) != 0)
            die(argv[0]);
        usleep(STEP_MS * 1000);
    }
    unlink(port_file);
    return child;
}

void child_stop(struct child *child)
{
    int status = 0;
    if (child->pid <= 0)
        return;
    kill(child->pid, SIGTERM);
    if (waitpid(child->pid, &status, 0) != child->pid || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0) {
        fprintf(stderr, "a server of the test did not end well: %d\n", status);
        exit(1);
    }
    child->pid = 0;
}

const char *child_ask(int port, const char *method, const char *path, const char *body)
{
    static char reply[REPLY_BYTES];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    if (dprintf(fd,
                "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                method, path, strlen(body), body) < 0)
        die("send");
    size_t n = 0;
    ssize_t got;
    while ((got = recv(fd, reply + n, sizeof reply - 1 - n, 0)) > 0)
        n += (size_t)got;
    close(fd);
    reply[n] = '\0';
    const char *end = strstr(reply, "\r\n\r\n");
    return end ? end + 4 : reply;
}

long child_witness(int port, const char *name)
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(child_ask(port, "GET", "/witness", ""), key);
    return at ? strtol(at + strlen(key), NULL, 10) : -1;
}
