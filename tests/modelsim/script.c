#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memmem */
#endif
#include "tests/modelsim/script.h"

/*
 * Purpose: rules in force. Happy path of a plain benchmark: no rules, nothing to do.
 * Per-job counts live in one open-addressing table keyed by hash(job, rule); it only grows while
 * rules with `times` or `after` are in use. Failure: a bad line rejects the whole new script.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct active {
    struct rule rule;
    int64_t seen; /* requests that passed the other selectors: the ordinal */
    double requests_left;
    double tokens_left;
    int64_t filled_us; /* when the buckets were last refilled */
    int64_t in_flight;
};

struct count {
    uint64_t key; /* 0: free */
    int64_t n;
};

struct script {
    struct active *rules;
    size_t rule_count;
    struct buf text;
    int64_t start_us;
    uint64_t generation;
    struct count *counts;
    size_t counts_used;
    size_t counts_cap; /* a power of two */
};

struct script *script_new(void)
{
    struct script *script = base_calloc(1, sizeof *script);
    return script;
}

void script_free(struct script *script)
{
    if (script == NULL)
        return;
    free(script->rules);
    free(script->counts);
    buf_done(&script->text);
    free(script);
}

static bool is_limit(const struct rule *rule)
{
    return rule->limit.requests > 0 || rule->limit.tokens > 0 || rule->limit.concurrency > 0;
}

static double bucket_size(const struct limit *limit, int64_t amount)
{
    return (double)(limit->burst > 0 ? limit->burst : amount);
}

static void fill_up(struct active *active, int64_t now_us)
{
    active->requests_left = bucket_size(&active->rule.limit, active->rule.limit.requests);
    active->tokens_left = bucket_size(&active->rule.limit, active->rule.limit.tokens);
    active->filled_us = now_us;
    active->seen = 0;
}

static enum rc read_line(struct span line, struct active **rules, size_t *count, int64_t now_us,
                         struct err *err)
{
    while (line.len > 0 && (line.at[0] == ' ' || line.at[0] == '\t'))
        line = (struct span){line.at + 1, line.len - 1};
    if (line.len == 0 || line.at[0] == '#' || line.at[0] == '\r')
        return RC_OK;
    struct active active = {0};
    if (rule_parse(line, &active.rule, err) != RC_OK)
        return RC_REJECT;
    struct active *grown = base_realloc(*rules, (*count + 1) * sizeof *grown);
    fill_up(&active, now_us);
    grown[(*count)++] = active;
    *rules = grown;
    return RC_OK;
}

static enum rc read_lines(struct span text, struct active **rules, size_t *count, int64_t now_us,
                          struct err *err)
{
    const char *end = text.at + text.len;
    int number = 0;
    for (const char *p = text.at; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline == NULL ? end : newline;
        struct err why;
        number++;
        struct span line = {p, (size_t)(stop - p)};
        if (read_line(line, rules, count, now_us, &why) != RC_OK) {
            err_set(err, "line %d: %s", number, why.text);
            return RC_REJECT;
        }
        p = stop + 1;
    }
    return RC_OK;
}

enum rc script_load(struct script *script, struct span text, bool append, int64_t now_us,
                    struct err *err)
{
    struct active *rules = NULL;
    size_t count = 0;
    if (read_lines(text, &rules, &count, now_us, err) != RC_OK) {
        free(rules);
        return RC_REJECT;
    }
    if (!append) {
        free(script->rules);
        script->rules = NULL;
        script->rule_count = 0;
        script->text.len = 0;
        script->generation++;
        script_reset(script, now_us);
    }
    size_t all = script->rule_count + count;
    struct active *joined = base_realloc(script->rules, (all + 1) * sizeof *joined);
    if (count > 0)
        memcpy(joined + script->rule_count, rules, count * sizeof *joined);
    free(rules);
    script->rules = joined;
    script->rule_count = all;
    buf_add(&script->text, text.at, text.len);
    if (text.len > 0 && text.at[text.len - 1] != '\n')
        buf_add_char(&script->text, '\n');
    return RC_OK;
}

void script_reset(struct script *script, int64_t now_us)
{
    for (size_t i = 0; i < script->rule_count; i++)
        fill_up(&script->rules[i], now_us);
    script->start_us = now_us;
    free(script->counts);
    script->counts = NULL;
    script->counts_used = 0;
    script->counts_cap = 0;
}

struct span script_text(const struct script *script)
{
    return (struct span){script->text.data == NULL ? "" : script->text.data, script->text.len};
}

size_t script_count(const struct script *script)
{
    return script->rule_count;
}

bool script_empty(const struct script *script)
{
    return script->rule_count == 0;
}

static struct count *find_count(struct count *counts, size_t cap, uint64_t key)
{
    size_t at = key & (cap - 1);
    while (counts[at].key != 0 && counts[at].key != key)
        at = (at + 1) & (cap - 1);
    return &counts[at];
}

static void grow_counts(struct script *script)
{
    size_t cap = script->counts_cap == 0 ? 1024 : script->counts_cap * 2;
    struct count *counts = base_calloc(cap, sizeof *counts);
    for (size_t i = 0; i < script->counts_cap; i++)
        if (script->counts[i].key != 0)
            *find_count(counts, cap, script->counts[i].key) = script->counts[i];
    free(script->counts);
    script->counts = counts;
    script->counts_cap = cap;
}

/* How often this rule has met this job, this time included. */
static int64_t count_job(struct script *script, const struct rule *rule, uint64_t job_hash)
{
    if ((script->counts_used + 1) * 2 > script->counts_cap)
        grow_counts(script);
    uint64_t key = hash_mix(rule->id ^ hash_mix(job_hash)) | 1;
    struct count *count = find_count(script->counts, script->counts_cap, key);
    if (count->key == 0) {
        count->key = key;
        script->counts_used++;
    }
    return ++count->n;
}

static bool concerns(const struct rule *rule, const struct subject *subject)
{
    const struct selector *who = &rule->who;
    if (who->model[0] != '\0' && strcmp(who->model, "*") != 0 &&
        strcmp(who->model, subject->model) != 0)
        return false;
    if (who->path[0] != '\0' && strcmp(who->path, subject->path) != 0)
        return false;
    if (who->until_reask && subject->reask)
        return false;
    return who->contains[0] == '\0' ||
           (subject->text.len > 0 && memmem(subject->text.at, subject->text.len, who->contains,
                                            strlen(who->contains)) != NULL);
}

/* The selectors with a memory; asked last, so that only true candidates are counted. */
static bool strikes(struct script *script, const struct rule *rule, const struct subject *subject,
                    struct rng *rng)
{
    if (rule->who.probability > 0 && rng_unit(rng) >= rule->who.probability)
        return false;
    if (rule->who.times == 0 && rule->who.after == 0)
        return true;
    int64_t n = count_job(script, rule, subject->job_hash) - rule->who.after;
    return n > 0 && (rule->who.times == 0 || n <= rule->who.times);
}

static bool ordinal_fits(const struct selector *who, int64_t seen)
{
    if (who->first > 0 && (seen < who->first || seen > who->last))
        return false;
    return who->every == 0 || seen % who->every == 0;
}

void script_apply(struct script *script, const struct subject *subject, int64_t now_us,
                  struct rng *rng, struct effect *effect)
{
    for (size_t i = 0; i < script->rule_count; i++) {
        struct active *active = &script->rules[i];
        const struct rule *rule = &active->rule;
        if (is_limit(rule) || !concerns(rule, subject))
            continue;
        if (rule->who.slow_start_us > 0 && now_us - script->start_us >= rule->who.slow_start_us)
            continue;
        if (ordinal_fits(&rule->who, ++active->seen) && strikes(script, rule, subject, rng))
            effect_merge(effect, &rule->what);
    }
}

void script_apply_own(struct script *script, const struct rule *rule, const struct subject *subject,
                      struct rng *rng, struct effect *effect)
{
    if (concerns(rule, subject) && strikes(script, rule, subject, rng))
        effect_merge(effect, &rule->what);
}

/* Refills one bucket for the time that went by. */
static void refill(double *left, const struct limit *limit, int64_t amount, int64_t elapsed_us)
{
    double size = bucket_size(limit, amount);
    *left += (double)amount * (double)elapsed_us / (double)limit->window_us;
    if (*left > size)
        *left = size;
}

/* Microseconds until `want` is in the bucket; 0: it is. A want beyond the bucket's size passes when
 * the bucket is full (it then goes into debt), or it could never pass. */
static int64_t wait_for(double left, const struct limit *limit, int64_t amount, double want)
{
    double size = bucket_size(limit, amount);
    double need = (want < size ? want : size) - left;
    if (amount == 0 || need <= 0)
        return 0;
    return (int64_t)ceil(need * (double)limit->window_us / (double)amount);
}

static int64_t limit_wait(struct active *active, const struct subject *subject, int64_t now_us)
{
    const struct limit *limit = &active->rule.limit;
    int64_t elapsed_us = now_us - active->filled_us;
    active->filled_us = now_us;
    refill(&active->requests_left, limit, limit->requests, elapsed_us);
    refill(&active->tokens_left, limit, limit->tokens, elapsed_us);
    int64_t wait_us = wait_for(active->requests_left, limit, limit->requests, 1);
    int64_t tokens_us =
        wait_for(active->tokens_left, limit, limit->tokens, (double)subject->tokens);
    if (tokens_us > wait_us)
        wait_us = tokens_us;
    if (wait_us == 0 && limit->concurrency > 0 && active->in_flight >= limit->concurrency)
        wait_us = 1000000; /* nobody knows when a place frees; servers guess as well */
    return wait_us;
}

/* How full a bucket is, and when it will be. */
static void tell(struct effect *effect, int which, double left, const struct limit *limit,
                 int64_t amount)
{
    double missing = bucket_size(limit, amount) - left;
    if (amount == 0)
        return;
    effect->told[which].limit = (int64_t)bucket_size(limit, amount);
    effect->told[which].left = left > 0 ? (int64_t)left : 0;
    effect->told[which].reset_us =
        (int64_t)ceil(missing * (double)limit->window_us / (double)amount);
}

static void tell_all(const struct active *active, struct effect *effect)
{
    const struct limit *limit = &active->rule.limit;
    effect->tell = active->rule.what.tell;
    tell(effect, 0, active->requests_left, limit, limit->requests);
    tell(effect, 1, active->tokens_left, limit, limit->tokens);
}

static void refuse(const struct rule *rule, int64_t wait_us, struct effect *effect)
{
    effect_merge(effect, &rule->what);
    if (!effect_sets(&rule->what, "status"))
        effect->status = 429;
    if (!effect_sets(&rule->what, "retry-after"))
        effect->retry_after_us = wait_us;
    if (effect->message[0] == '\0')
        (void)snprintf(effect->message, sizeof effect->message, "Rate limit reached");
    effect->latency = (struct dist){.kind = DIST_FIXED};
}

static void take(struct script *script, const uint32_t *rules, uint32_t count, int64_t tokens,
                 struct slots *slots)
{
    *slots = (struct slots){.generation = script->generation};
    for (uint32_t i = 0; i < count; i++) {
        struct active *active = &script->rules[rules[i]];
        active->requests_left -= 1;
        active->tokens_left -= (double)tokens;
        active->in_flight++;
        slots->rules[slots->count++] = rules[i];
    }
}

bool script_admit(struct script *script, const struct subject *subject, int64_t now_us,
                  struct effect *effect, struct slots *slots)
{
    uint32_t matching[SCRIPT_LIMITS_MAX];
    uint32_t count = 0;
    slots->count = 0;
    for (uint32_t i = 0; i < script->rule_count && count < SCRIPT_LIMITS_MAX; i++) {
        struct active *active = &script->rules[i];
        if (!is_limit(&active->rule) || !concerns(&active->rule, subject))
            continue;
        int64_t wait_us = limit_wait(active, subject, now_us);
        if (wait_us > 0) {
            refuse(&active->rule, wait_us, effect);
            if (active->rule.what.tell != TELL_NOT)
                tell_all(active, effect);
            return false;
        }
        matching[count++] = i;
    }
    if (count > 0)
        take(script, matching, count, subject->tokens, slots);
    for (uint32_t i = 0; i < count; i++)
        if (script->rules[matching[i]].rule.what.tell != TELL_NOT)
            tell_all(&script->rules[matching[i]], effect);
    return true;
}

void script_release(struct script *script, struct slots *slots)
{
    if (slots->generation == script->generation)
        for (uint32_t i = 0; i < slots->count; i++)
            script->rules[slots->rules[i]].in_flight--;
    slots->count = 0;
}
