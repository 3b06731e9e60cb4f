/*
 * log.h - the logger: the only global. One line per event to standard error, as key=value or JSON.
 *
 * Callers pass a fixed message and fields; never payloads, keys or connection strings. Lines past
 * LOG_LINE_BYTES are cut. Repeats of one message site are limited (burst 20, then 1 a second, with
 * a count of what was left out), so a fault storm cannot fill a disk. Thread-safe.
 */
#ifndef INFERQ_COMMON_LOG_H
#define INFERQ_COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/jobid.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_KV, LOG_JSON };
enum { LOG_LINE_BYTES = 4096 };

/* Before this: program "inferq", LOG_INFO, LOG_KV. Call it before the first other thread. `program`
 * is copied, at most 31 bytes of it. */
void log_setup(const char *program, enum log_level level, enum log_format format);
void log_set_level(enum log_level level); /* at any time, from any thread */
bool log_on(enum log_level level);

/* A message (a constant of the program) and any number of fields, none included. Values are quoted
 * and escaped by the logger where they need it; the fields are not evaluated when the level is off.
 *   log_event(LOG_WARN, "endpoint paused", LF_STR("endpoint", name), LF_INT("for_ms", ms));
 */
struct log_field {
    const char *key;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_ID, LOG_FIELD_SPAN } type;
    const char *str;
    int64_t num; /* the number, or the length of a span */
    const struct jobid *id;
};
#define LF_STR(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_STR, .str = (v)})
#define LF_INT(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_INT, .num = (int64_t)(v)})
#define LF_ID(k, v) ((struct log_field){.key = (k), .type = LOG_FIELD_ID, .id = (v)})
#define LF_SPAN(k, v) \
    ((struct log_field){.key = (k), .type = LOG_FIELD_SPAN, .str = (v).p, .num = (int64_t)(v).n})

/* One per call site; all zero at first. A bucket of 20 lines that fills again by one a second. */
struct log_site {
    int64_t window_us; /* when in_window was last brought up to date */
    int in_window;     /* lines that the bucket lacks */
    int64_t left_out;  /* lines suppressed since the last that passed; that one says how many */
};

/* What log_event calls, also for callers that keep their own site. `site` NULL: no limit. Fields
 * whose key is NULL are skipped. */
void log_write(struct log_site *site, enum log_level level, const char *message,
               const struct log_field *fields, int field_count);

#define LOG_NO_FIELD ((struct log_field){0}) /* so that a list of no fields is still a list */
#define log_event(level, ...) log_event_with(level, __VA_ARGS__, LOG_NO_FIELD)
#define log_event_with(level, message, ...)                                           \
    do {                                                                              \
        if (log_on(level)) {                                                          \
            static struct log_site log_site_here;                                     \
            const struct log_field log_fields_here[] = {__VA_ARGS__};                 \
            log_write(&log_site_here, (level), (message), log_fields_here,            \
                      (int)(sizeof log_fields_here / sizeof log_fields_here[0]) - 1); \
        }                                                                             \
    } while (0)

#endif
