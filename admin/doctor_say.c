/*
 * doctor_say.c - the list of findings (pure but for memory).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/doctor.h"
#include "admin/fmt.h"

const char *doctor_level_name(enum doctor_level level)
{
    static const char *const names[] = {"ok", "skipped", "note", "warning", "error"};
    return names[level];
}

const struct doctor_check *doctor_checks(int i)
{
    static const struct doctor_check *const tables[] = {
        doctor_kafka_checks,     doctor_postgres_checks, doctor_settings_checks,
        doctor_catalogue_checks, doctor_endpoint_checks, doctor_fleet_checks,
        doctor_limit_checks};
    return i >= 0 && (size_t)i < sizeof tables / sizeof tables[0] ? tables[i] : NULL;
}

static struct doctor_finding *grow(struct doctor_says *s)
{
    if (s->count == DOCTOR_FINDINGS_MAX)
        s->failed = true;
    if (s->failed)
        return NULL;
    if (s->count == s->cap) {
        int cap = s->cap ? 2 * s->cap : 64;
        struct doctor_finding *all = realloc(s->all, (size_t)cap * sizeof *all);
        s->failed = !all;
        if (!all)
            return NULL;
        s->all = all;
        s->cap = cap;
    }
    return &s->all[s->count++];
}

void doctor_say(struct doctor_says *s, enum doctor_level level, const char *fmt, ...)
{
    struct doctor_finding *f = grow(s);
    va_list args;
    if (!f)
        return;
    f->check = s->check->id;
    f->level = level;
    f->remedy[0] = '\0';
    va_start(args, fmt);
    (void)vsnprintf(f->found, sizeof f->found, fmt, args);
    va_end(args);
    if (level >= DOCTOR_NOTE)
        (void)snprintf(f->remedy, sizeof f->remedy, "%s", s->check->mend);
}

void doctor_mend(struct doctor_says *s, const char *fmt, ...)
{
    va_list args;
    if (s->failed || s->count == 0)
        return;
    struct doctor_finding *f = &s->all[s->count - 1];
    va_start(args, fmt);
    (void)vsnprintf(f->remedy, sizeof f->remedy, fmt, args);
    va_end(args);
}

int doctor_count(const struct doctor_says *s, enum doctor_level level)
{
    int n = 0;
    for (int i = 0; i < s->count; i++)
        n += s->all[i].level == level;
    return n;
}

void doctor_says_done(struct doctor_says *s)
{
    free(s->all);
    *s = (struct doctor_says){0};
}

void doctor_judge(const struct doctor_check *check, const struct doctor_facts *f,
                  struct doctor_says *s)
{
    int before = s->count;
    s->check = check;
    check->judge(f, s);
    if (s->count == before)
        doctor_say(s, DOCTOR_OK, "nothing found");
}

const char *doctor_age(int64_t ms, char out[DOCTOR_AGE_BYTES])
{
    char text[FMT_BYTES];
    int64_t us = ms > INT64_MAX / 1000 ? INT64_MAX : ms * 1000;
    (void)snprintf(out, DOCTOR_AGE_BYTES, "%s", fmt_duration(us, text));
    return out;
}
