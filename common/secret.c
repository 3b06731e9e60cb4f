/*
 * secret.c - credentials by reference, in memory of their own.
 *
 * Happy path: pages are mapped, locked and kept out of dumps, then the value is read straight into
 * them (no stdio, no second copy). Failure: RC_REJECT naming the reference; the pages are wiped and
 * given back. Locking and dump marks are best effort: a container may forbid them.
 */
#include "common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* The value, the newline that is dropped (CRLF), one byte to see that it is too long. */
    ROOM_BYTES = SECRET_BYTES_MAX + 3,
    SCRUB_LEAST_BYTES = 8,
};

struct secret {
    size_t n;
    char *p; /* mapped, ROOM_BYTES */
};

static struct secret *new_secret(void)
{
    struct secret *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    void *p = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        free(s);
        return NULL;
    }
    s->p = p;
    (void)mlock(p, ROOM_BYTES);
    (void)madvise(p, ROOM_BYTES, MADV_DONTDUMP);
    return s;
}

void secret_free(struct secret *s)
{
    if (!s)
        return;
    explicit_bzero(s->p, ROOM_BYTES);
    munmap(s->p, ROOM_BYTES); /* unlocks */
    free(s);
}

struct span secret_value(const struct secret *s)
{
    return s ? (struct span){s->p, s->n} : (struct span){0};
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool is_env_name(const char *p)
{
    if (*p >= '0' && *p <= '9')
        return false;
    size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return n > 0 && n <= 128 && p[n] == '\0';
}

static enum rc read_env(struct secret *s, const char *name, struct err *err)
{
    const char *value = getenv(name);
    if (!value)
        return err_set(err, RC_REJECT, "the variable is not set");
    size_t n = strlen(value);
    s->n = n < ROOM_BYTES ? n : ROOM_BYTES - 1;
    memcpy(s->p, value, s->n);
    return RC_OK;
}

static enum rc read_fd(struct secret *s, int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(err, RC_REJECT, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, RC_REJECT, "not a regular file");
    while (s->n < ROOM_BYTES - 1) {
        ssize_t r = read(fd, s->p + s->n, ROOM_BYTES - 1 - s->n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_set(err, RC_REJECT, "%s", strerror(errno));
        if (r == 0)
            break;
        s->n += (size_t)r;
    }
    return RC_OK;
}

static enum rc read_path(struct secret *s, const char *path, struct err *err)
{
    /* Not blocking: opening a pipe that nobody writes to would hang before it could be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_set(err, RC_REJECT, "%s", strerror(errno));
    enum rc rc = read_fd(s, fd, err);
    close(fd);
    return rc;
}

/* Drops one newline and judges the length. */
static enum rc finish(struct secret *s, struct err *err)
{
    if (s->n > 0 && s->p[s->n - 1] == '\n') {
        s->n--;
        if (s->n > 0 && s->p[s->n - 1] == '\r')
            s->n--;
    }
    if (s->n == 0)
        return err_set(err, RC_REJECT, "it is empty");
    if (s->n > SECRET_BYTES_MAX)
        return err_set(err, RC_REJECT, "longer than %d bytes", SECRET_BYTES_MAX);
    memset(s->p + s->n, 0, ROOM_BYTES - s->n);
    return RC_OK;
}

enum rc secret_load(const char *ref, struct secret **ret_secret, struct err *err)
{
    bool env = strncmp(ref, "env:", 4) == 0 && is_env_name(ref + 4);
    bool file = strncmp(ref, "file:", 5) == 0 && ref[5] != '\0';
    if (!env && !file)
        return err_set(err, RC_REJECT,
                       "credential is not a reference: write env:NAME or file:PATH");
    struct secret *s = new_secret();
    if (!s)
        return err_set(err, RC_NOMEM, "credential %.200s: out of memory", ref);
    enum rc rc = env ? read_env(s, ref + 4, err) : read_path(s, ref + 5, err);
    if (rc == RC_OK)
        rc = finish(s, err);
    if (rc != RC_OK) {
        secret_free(s);
        return err_prefix(err, rc, "credential %.200s", ref);
    }
    *ret_secret = s;
    return RC_OK;
}

/* ---- scrubbing ---------------------------------------------------------------------------- */

/* How much of the secret stands at p as it is: all of it, or its beginning up to the end of the
 * text. */
static size_t match_plain(const char *p, size_t n, struct span value)
{
    size_t len = value.n < n ? value.n : n;
    return len >= SCRUB_LEAST_BYTES && memcmp(p, value.p, len) == 0 ? len : 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Length of the escape at p if it stands for the byte c, as some writer of JSON has it. 0: another
 * byte's; `n`: the text ends within it. */
static size_t match_escape(const char *p, size_t n, char c)
{
    int code = 0;
    if (n < 2)
        return n;
    if (p[1] != 'u')
        return p[1] == c && strchr("\"\\/", c) ? 2 : 0;
    for (size_t i = 2; i < 6; i++) {
        int digit = i < n ? hex_value(p[i]) : 0;
        if (i >= n)
            return n;
        if (digit < 0)
            return 0;
        code = code << 4 | digit;
    }
    return code == (unsigned char)c ? 6 : 0;
}

/* As match_plain, within a JSON string: any of the secret's bytes may be written as an escape. */
static size_t match_json(const char *p, size_t n, struct span value)
{
    size_t at = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (at == n)
            return i >= SCRUB_LEAST_BYTES ? n : 0;
        size_t len = p[at] == '\\' ? match_escape(p + at, n - at, value.p[i])
                                   : (size_t)(p[at] == value.p[i]);
        if (len == 0)
            return 0;
        at += len;
    }
    return at;
}

static size_t find_byte(const char *text, size_t from, size_t n, char c)
{
    const char *at = memchr(text + from, c, n - from);
    return at ? (size_t)(at - text) : n;
}

/* A byte is overwritten only after every match that begins at or before it was seen, so that
 * occurrences which overlap are all found. Between occurrences it jumps to where one may begin. */
static void scrub_value(struct span value, char *text, size_t n)
{
    size_t end = 0, first = 0, escape = 0;
    for (size_t i = 0; i < n; i++) {
        if (i >= end) {
            if (i == 0 || first < i)
                first = find_byte(text, i, n, value.p[0]);
            if (i == 0 || escape < i)
                escape = find_byte(text, i, n, '\\');
            i = first < escape ? first : escape;
            if (i == n)
                return;
        }
        size_t len = match_plain(text + i, n - i, value);
        if (len == 0)
            len = match_json(text + i, n - i, value);
        if (len > 0 && i + len > end)
            end = i + len;
        if (i < end)
            text[i] = '*';
    }
}

void secret_blank(const struct secret *s, char *text, size_t n)
{
    struct span value = secret_value(s);
    if (value.n >= SCRUB_LEAST_BYTES && n > 0)
        scrub_value(value, text, n);
}

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-_.~+/=*", c));
}

static bool is_word_char(char c)
{
    return is_key_char(c) && !strchr("-.~+/=*", c);
}

static size_t key_length(const char *p, size_t n)
{
    size_t len = 0;
    while (len < n && is_key_char(p[len]))
        len++;
    return len;
}

/* Length of "Bearer" and the blanks behind it, at p; 0: it is not there. */
static size_t bearer_length(const char *p, size_t n)
{
    size_t len = sizeof "bearer" - 1;
    if (n <= len || strncasecmp(p, "bearer", len) != 0 || (p[len] != ' ' && p[len] != '\t'))
        return 0;
    while (len < n && (p[len] == ' ' || p[len] == '\t'))
        len++;
    return len;
}

/* Length of the known beginning of a key at p, when enough follows for it to be one. */
static size_t shape_length(const char *p, size_t n)
{
    static const char *const shapes[] = {"sk-",  "sk_",  "rk-",  "pk-",    "hf_",  "gsk_",
                                         "xai-", "AIza", "ghp_", "nvapi-", "AKIA", "eyJ"};
    enum { LEAST_TAIL_BYTES = 12 };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t len = strlen(shapes[i]);
        if (len <= n && memcmp(p, shapes[i], len) == 0 &&
            key_length(p + len, n - len) >= LEAST_TAIL_BYTES)
            return len;
    }
    return 0;
}

static void scrub_shapes(char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && is_word_char(text[i - 1])) /* within a word: "task-..." is no key */
            continue;
        size_t skip = bearer_length(text + i, n - i);
        if (skip == 0)
            skip = shape_length(text + i, n - i);
        if (skip == 0)
            continue;
        size_t len = key_length(text + i + skip, n - i - skip);
        memset(text + i + skip, '*', len);
        i += skip + len - 1;
    }
}

void secret_scrub(const struct secret *s, char *text, size_t n)
{
    secret_blank(s, text, n);
    scrub_shapes(text, n);
}

void secret_harden_process(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}
