#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memmem */
#endif
#include "tests/modelsim/script.h"

/*
 * Purpose: rules in force. Happy path of a plain benchmark: no rules, nothing to do.
 * Per-job counts live in one open-addressing table keyed by hash(job, rule); it only grows while
 * rules with `times` or `after` are in use. Failure: a bad line rejects the whole new script.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct active {
    struct rule rule;
    int64_t seen;       /* requests that passed the other selectors: the ordinal */
    struct gauge gauge; /* of a limit */
    size_t text_at;     /* where its line lies in the script's text, */
    size_t text_len;    /* and how long it is */
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

static void fill_up(struct active *active, int64_t now_us)
{
    gauge_fill(&active->gauge, &active->rule.limit, now_us);
    active->seen = 0;
}

static void rules_free(struct active *rules, size_t count)
{
    for (size_t i = 0; i < count; i++)
        gauge_done(&rules[i].gauge);
    free(rules);
}

/* The limit of this name; NULL: none, as of rules without one. */
static struct active *find_limit(struct active *rules, size_t count, const char *name)
{
    for (size_t i = 0; i < count && name[0] != '\0'; i++)
        if (strcmp(rules[i].rule.limit.name, name) == 0)
            return &rules[i];
    return NULL;
}

void script_free(struct script *script)
{
    if (script == NULL)
        return;
    rules_free(script->rules, script->rule_count);
    free(script->counts);
    buf_done(&script->text);
    free(script);
}

/* text: the whole, in which the line lies. */
static enum rc read_line(struct span text, struct span line, struct active **rules, size_t *count,
                         struct err *err)
{
    while (line.len > 0 && (line.at[0] == ' ' || line.at[0] == '\t'))
        line = (struct span){line.at + 1, line.len - 1};
    if (line.len == 0 || line.at[0] == '#' || line.at[0] == '\r')
        return RC_OK;
    struct active active = {.text_at = (size_t)(line.at - text.at), .text_len = line.len};
    if (rule_parse(line, &active.rule, err) != RC_OK)
        return RC_REJECT;
    if (find_limit(*rules, *count, active.rule.limit.name) != NULL) {
        err_set(err, "limit: '%.80s' is there already", active.rule.limit.name);
        return RC_REJECT;
    }
    struct active *grown = base_realloc(*rules, (*count + 1) * sizeof *grown);
    grown[(*count)++] = active;
    *rules = grown;
    return RC_OK;
}

/* Rules without a memory yet, owned by the caller. */
static enum rc read_lines(struct span text, struct active **ret_rules, size_t *ret_count,
                          struct err *err)
{
    struct active *rules = NULL;
    size_t count = 0;
    const char *end = text.at + text.len;
    int number = 0;
    for (const char *p = text.at; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline == NULL ? end : newline;
        struct err why;
        number++;
        struct span line = {p, (size_t)(stop - p)};
        if (read_line(text, line, &rules, &count, &why) != RC_OK) {
            err_set(err, "line %d: %s", number, why.text);
            rules_free(rules, count);
            return RC_REJECT;
        }
        p = stop + 1;
    }
    *ret_rules = rules;
    *ret_count = count;
    return RC_OK;
}

/* Two limits of one name could not be told apart. */
static enum rc check_names(const struct script *script, const struct active *rules, size_t count,
                           struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (find_limit(script->rules, script->rule_count, rules[i].rule.limit.name) != NULL) {
            err_set(err, "limit: '%.80s' is there already", rules[i].rule.limit.name);
            return RC_REJECT;
        }
    return RC_OK;
}

static void drop_rules(struct script *script, int64_t now_us)
{
    rules_free(script->rules, script->rule_count);
    script->rules = NULL;
    script->rule_count = 0;
    script->text.len = 0;
    script->generation++;
    script_reset(script, now_us);
}

enum rc script_load(struct script *script, struct span text, bool append, int64_t now_us,
                    struct err *err)
{
    struct active *rules = NULL;
    size_t count = 0;
    if (read_lines(text, &rules, &count, err) != RC_OK)
        return RC_REJECT;
    if (append && check_names(script, rules, count, err) != RC_OK) {
        rules_free(rules, count);
        return RC_REJECT;
    }
    if (!append)
        drop_rules(script, now_us);
    script->rules =
        base_realloc(script->rules, (script->rule_count + count + 1) * sizeof *script->rules);
    for (size_t i = 0; i < count; i++) {
        fill_up(&rules[i], now_us);
        rules[i].text_at += script->text.len;
        script->rules[script->rule_count++] = rules[i];
    }
    free(rules);
    buf_add(&script->text, text.at, text.len);
    if (text.len > 0 && text.at[text.len - 1] != '\n')
        buf_add_char(&script->text, '\n');
    return RC_OK;
}

/* Writes this line over the rule's own in the script's text. */
static void replace_text(struct script *script, struct active *active, struct span line)
{
    struct buf text = {0};
    size_t at = active->text_at;
    size_t end = at + active->text_len;
    buf_add(&text, script->text.data, at);
    buf_add(&text, line.at, line.len);
    buf_add(&text, script->text.data + end, script->text.len - end);
    buf_done(&script->text);
    script->text = text;
    for (size_t i = 0; i < script->rule_count; i++)
        if (script->rules[i].text_at > at)
            script->rules[i].text_at = script->rules[i].text_at + line.len - active->text_len;
    active->text_len = line.len;
}

static enum rc check_known(const struct script *script, const struct active *rules, size_t count,
                           struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (find_limit(script->rules, script->rule_count, rules[i].rule.limit.name) == NULL) {
            err_set(err, "limit: there is no '%.80s' to change", rules[i].rule.limit.name);
            return RC_REJECT;
        }
    return RC_OK;
}

enum rc script_change(struct script *script, struct span text, struct err *err)
{
    struct active *rules = NULL;
    size_t count = 0;
    if (read_lines(text, &rules, &count, err) != RC_OK)
        return RC_REJECT;
    enum rc rc = check_known(script, rules, count, err);
    for (size_t i = 0; i < count && rc == RC_OK; i++) {
        const struct rule *rule = &rules[i].rule;
        struct active *active = find_limit(script->rules, script->rule_count, rule->limit.name);
        if (active == NULL)
            continue;
        active->rule = *rule;
        gauge_change(&active->gauge, &rule->limit);
        replace_text(script, active, (struct span){text.at + rules[i].text_at, rules[i].text_len});
    }
    rules_free(rules, count);
    return rc;
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
    if (who->key[0] != '\0' && strcmp(who->key, subject->key) != 0)
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
        if (rule_is_limit(rule) || !concerns(rule, subject))
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

static void tell_all(const struct active *active, int64_t now_us, struct effect *effect)
{
    effect->tell = active->rule.what.tell;
    for (enum unit u = 0; u < UNIT_COUNT; u++)
        if (active->rule.limit.amount[u] > 0)
            effect->told[u] = gauge_told(&active->gauge, &active->rule.limit, u, now_us);
}

static void refuse(struct active *active, int64_t wait_us, int64_t now_us, struct effect *effect)
{
    const struct effect *what = &active->rule.what;
    active->gauge.refusals++;
    effect_merge(effect, what);
    if (!effect_sets(what, "status"))
        effect->status = 429;
    if (!effect_sets(what, "retry-after"))
        effect->retry_after_us = wait_us;
    if (what->tell == TELL_ANTHROPIC && !effect_sets(what, "error"))
        effect->error = SHAPE_ANTHROPIC;
    if (effect->message[0] == '\0')
        (void)snprintf(effect->message, sizeof effect->message, "Rate limit reached");
    if (!effect_sets(what, "latency"))
        effect->latency = (struct dist){.kind = DIST_FIXED};
    if (what->tell != TELL_NOT)
        tell_all(active, now_us, effect);
}

static void take(struct script *script, const uint32_t *rules, uint32_t count,
                 const struct subject *subject, int64_t now_us, struct effect *effect,
                 struct slots *slots)
{
    *slots = (struct slots){.generation = script->generation};
    for (uint32_t i = 0; i < count; i++) {
        struct active *active = &script->rules[rules[i]];
        gauge_take(&active->gauge, &active->rule.limit, subject->units, now_us);
        slots->rules[slots->count++] = rules[i];
        if (active->rule.what.tell != TELL_NOT)
            tell_all(active, now_us, effect);
    }
}

const char *script_admit(struct script *script, const struct subject *subject, int64_t now_us,
                         struct effect *effect, struct slots *slots)
{
    uint32_t matching[SCRIPT_LIMITS_MAX];
    bool over[SCRIPT_LIMITS_MAX];
    uint32_t count = 0;
    slots->count = 0;
    for (uint32_t i = 0; i < script->rule_count && count < SCRIPT_LIMITS_MAX; i++) {
        struct active *active = &script->rules[i];
        if (!rule_is_limit(&active->rule) || !concerns(&active->rule, subject))
            continue;
        int64_t wait_us = gauge_wait(&active->gauge, &active->rule.limit, subject->units, now_us);
        if (wait_us > 0 && !active->rule.limit.watch) {
            const char *name = active->rule.limit.name;
            refuse(active, wait_us, now_us, effect);
            return name[0] != '\0' ? name : "limit";
        }
        over[count] = wait_us > 0;
        matching[count++] = i;
    }
    for (uint32_t i = 0; i < count; i++)
        script->rules[matching[i]].gauge.overs += over[i] ? 1 : 0;
    if (count > 0)
        take(script, matching, count, subject, now_us, effect, slots);
    return NULL;
}

void script_release(struct script *script, struct slots *slots)
{
    if (slots->generation == script->generation)
        for (uint32_t i = 0; i < slots->count; i++)
            gauge_release(&script->rules[slots->rules[i]].gauge);
    slots->count = 0;
}

void script_summary(const struct script *script, struct buf *out)
{
    bool first = true;
    buf_add_char(out, '{');
    for (size_t i = 0; i < script->rule_count; i++) {
        const struct active *active = &script->rules[i];
        if (active->rule.limit.name[0] == '\0')
            continue;
        buf_add_text(out, first ? "" : ",");
        buf_add_json_string(out, active->rule.limit.name, strlen(active->rule.limit.name));
        buf_add_char(out, ':');
        gauge_summary(&active->gauge, out);
        first = false;
    }
    buf_add_char(out, '}');
}

void script_reset_summary(struct script *script)
{
    for (size_t i = 0; i < script->rule_count; i++)
        gauge_reset(&script->rules[i].gauge);
}
