/*
 * log.c - one line per event, in one write, to standard error.
 *
 * Happy path: the site's bucket lets the line pass, the line is built on the stack, and one
 * write(2) under the mutex puts it out, so lines of threads and processes do not mix. Failure: what
 * is too long is cut within a value, with the line still well-formed and `cut=true` at its end; a
 * standard error that does not take the bytes loses them, for there is nobody left to tell.
 */
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/utf8.h"

enum { BURST = 20, TAIL_BYTES = 96, PROGRAM_BYTES = 32, ESCAPE_BYTES = 16, NUMBER_BYTES = 24 };

static struct {
    pthread_mutex_t lock; /* holds sites and the order of writes */
    char program[PROGRAM_BYTES];
    atomic_int level;
    enum log_format format;
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .program = "inferq", .level = LOG_INFO, .format = LOG_KV};

void log_setup(const char *program, enum log_level level, enum log_format format)
{
    pthread_mutex_lock(&logger.lock);
    snprintf(logger.program, sizeof logger.program, "%s", program);
    logger.format = format;
    pthread_mutex_unlock(&logger.lock);
    atomic_store_explicit(&logger.level, (int)level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&logger.level, (int)level, memory_order_relaxed);
}

bool log_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

/* ---- the line ----------------------------------------------------------------------------- */

/* Fields go up to `limit`; the bytes behind it are kept for closing quotes and the tail. */
struct line {
    char text[LOG_LINE_BYTES];
    size_t n;
    size_t limit;
    bool json;
    bool cut;
};

/* All or nothing; after the first piece that does not fit, nothing more is taken. */
static bool put(struct line *l, const char *p, size_t n)
{
    if (l->cut || n > l->limit - l->n) {
        l->cut = true;
        return false;
    }
    memcpy(l->text + l->n, p, n);
    l->n += n;
    return true;
}

/* Puts a piece of at most TAIL_BYTES in all behind the limit. */
static void put_tail(struct line *l, const char *text)
{
    size_t n = strlen(text);
    if (n > sizeof l->text - l->n)
        return;
    memcpy(l->text + l->n, text, n);
    l->n += n;
}

/* What a terminal or a line reader would obey instead of showing: controls, line and paragraph
 * separators, and the marks that turn the direction of the text around them. */
static bool is_unprintable(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Takes one character off the value and gives its escaped form; returns how many bytes it took.
 * Bytes that are no UTF-8 become the text \xNN in both formats (JSON has no escape for them). */
static size_t escape_next(const struct line *l, const char *p, size_t n, char out[ESCAPE_BYTES],
                          size_t *ret_n)
{
    uint32_t c = 0;
    size_t len = utf8_next(p, n, &c);
    int put_n;
    if (len == 0) {
        put_n = snprintf(out, ESCAPE_BYTES, "%sx%02x", l->json ? "\\\\" : "\\", (unsigned char)*p);
        len = 1;
    } else if (c == '"' || c == '\\') {
        put_n = snprintf(out, ESCAPE_BYTES, "\\%c", (char)c);
    } else if (c == '\n' || c == '\r' || c == '\t') {
        put_n = snprintf(out, ESCAPE_BYTES, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    } else if (is_unprintable(c)) {
        put_n = snprintf(out, ESCAPE_BYTES, "\\u%04x", (unsigned)c);
    } else {
        memcpy(out, p, len);
        put_n = (int)len;
    }
    *ret_n = (size_t)put_n;
    return len;
}

/* Values that any logfmt reader takes as they stand. */
static bool is_bare(const char *p, size_t n)
{
    if (n == 0 || (n == 4 && memcmp(p, "null", 4) == 0))
        return false;
    for (size_t i = 0; i < n; i++)
        if (p[i] <= ' ' || p[i] == 0x7f || p[i] == '"' || p[i] == '=' || p[i] == '\\' ||
            (unsigned char)p[i] >= 0x80)
            return false;
    return true;
}

static void put_text(struct line *l, const char *p, size_t n)
{
    if (!p) {
        put(l, "null", 4);
        return;
    }
    if (!l->json && is_bare(p, n) && n <= l->limit - l->n) {
        put(l, p, n);
        return;
    }
    if (!put(l, "\"", 1))
        return;
    char piece[ESCAPE_BYTES];
    size_t piece_n = 0;
    for (size_t i = 0; i < n && !l->cut;) {
        i += escape_next(l, p + i, n - i, piece, &piece_n);
        put(l, piece, piece_n);
    }
    put_tail(l, "\"");
}

/* A field is begun only when its key and any number, or a quote, fit: a cut line stays well-formed.
 */
static bool put_key(struct line *l, const char *key)
{
    char text[128];
    int n = snprintf(text, sizeof text, l->json ? ",\"%s\":" : " %s=", key);
    if (n < 0 || (size_t)n >= sizeof text || (size_t)n + NUMBER_BYTES > l->limit - l->n)
        l->cut = true;
    return put(l, text, l->cut ? 0 : (size_t)n);
}

static void put_field(struct line *l, const struct log_field *f)
{
    char text[ID_TEXT_BYTES]; /* also holds any number */
    _Static_assert(sizeof text >= NUMBER_BYTES, "room for a number");
    if (!f->key || !put_key(l, f->key))
        return;
    switch (f->type) {
    case LOG_FIELD_STR:
        put_text(l, f->str, f->str ? strlen(f->str) : 0);
        return;
    case LOG_FIELD_SPAN:
        put_text(l, f->str, (size_t)f->num);
        return;
    case LOG_FIELD_INT:
        put(l, text, (size_t)snprintf(text, sizeof text, "%" PRId64, f->num));
        return;
    case LOG_FIELD_ID:
        if (f->id)
            jobid_text(f->id, text);
        put_text(l, f->id ? text : NULL, ID_TEXT_BYTES - 1);
        return;
    }
}

static void put_head(struct line *l, enum log_level level, const char *message)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char at[CLOCK_RFC3339_BYTES];
    clock_rfc3339(clock_wall_ms(), at, sizeof at);
    const char *time_key = l->json ? "{\"time\":" : "time=";
    put(l, time_key, strlen(time_key));
    put_text(l, at, strlen(at));
    put_field(l, &LF_STR("level", names[level]));
    put_field(l, &LF_STR("program", logger.program));
    put_field(l, &LF_STR("msg", message));
}

static void put_end(struct line *l, int64_t left_out)
{
    char text[64];
    if (left_out > 0) {
        snprintf(text, sizeof text, l->json ? ",\"left_out\":%" PRId64 : " left_out=%" PRId64,
                 left_out);
        put_tail(l, text);
    }
    if (l->cut)
        put_tail(l, l->json ? ",\"cut\":true" : " cut=true");
    put_tail(l, l->json ? "}\n" : "\n");
}

/* ---- the way out -------------------------------------------------------------------------- */

static void write_all(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(STDERR_FILENO, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return;
        p += w;
        n -= (size_t)w;
    }
}

/* The site's bucket: BURST lines, one more each second. */
static bool site_admits(struct log_site *s, int64_t now_us)
{
    int64_t seconds = (now_us - s->window_us) / 1000000;
    if (seconds >= s->in_window) {
        s->in_window = 0;
        s->window_us = now_us;
    } else {
        s->in_window -= (int)seconds;
        s->window_us += seconds * 1000000;
    }
    if (s->in_window >= BURST) {
        s->left_out++;
        return false;
    }
    s->in_window++;
    return true;
}

void log_write(struct log_site *site, enum log_level level, const char *message,
               const struct log_field *fields, int field_count)
{
    int saved_errno = errno;
    struct line l; /* 4 KiB, not cleared: the fields around the text are */
    l.n = 0;
    l.limit = LOG_LINE_BYTES - TAIL_BYTES;
    l.cut = false;
    pthread_mutex_lock(&logger.lock);
    if (!site || site_admits(site, clock_mono_us())) {
        l.json = logger.format == LOG_JSON;
        put_head(&l, level, message);
        for (int i = 0; i < field_count && !l.cut; i++)
            put_field(&l, &fields[i]);
        put_end(&l, site ? site->left_out : 0);
        if (site)
            site->left_out = 0;
        write_all(l.text, l.n);
    }
    pthread_mutex_unlock(&logger.lock);
    errno = saved_errno;
}
