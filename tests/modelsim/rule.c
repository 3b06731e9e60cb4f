#include "tests/modelsim/rule.h"

/*
 * Purpose: `word=value word="two words" ...` -> struct rule, by one table of words.
 * Failure: an unknown word or a value out of range is rejected; nothing is guessed.
 */
#include "tests/modelsim/hash.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
    KIND_DIST,
    KIND_NUMBER,
    KIND_DURATION,
    KIND_SIZE,
    KIND_FLAG,
    KIND_TEXT,
    KIND_NAME,
    KIND_DRIP,
    KIND_PROBABILITY,
    KIND_ORDINAL,
    KIND_WINDOW_MINUTE,
};

struct word {
    const char *name;
    enum kind kind;
    size_t at;
    size_t size;
    const char *names; /* KIND_NAME: the enum's words in order, separated by spaces */
    bool script_only;
};

static const char fault_words[] =
    "none reset-before reset-within reset-after close-before close-within close-after die-reset "
    "die-hang die-close hang hang-within";

#define AT(field) offsetof(struct rule, field), sizeof(((struct rule *)0)->field)

static const struct word words[] = {
    {"latency", KIND_DIST, AT(what.latency), NULL, false},
    {"status", KIND_NUMBER, AT(what.status), NULL, false},
    {"error", KIND_NAME, AT(what.error),
     "openai openai-strings detail detail-list string text anthropic", false},
    {"message", KIND_TEXT, AT(what.message), NULL, false},
    {"code", KIND_TEXT, AT(what.code), NULL, false},
    {"retry-after", KIND_DURATION, AT(what.retry_after_us), NULL, false},
    {"retry-form", KIND_NAME, AT(what.retry_form),
     "seconds date ms reset reset-epoch reset-date provider none", false},
    {"fault", KIND_NAME, AT(what.fault), fault_words, false},
    {"drip", KIND_DRIP, AT(what.drip_bytes), NULL, false},
    {"truncate", KIND_SIZE, AT(what.truncate_bytes), NULL, false},
    {"size", KIND_SIZE, AT(what.size_bytes), NULL, false},
    {"chunked", KIND_FLAG, AT(what.chunked), NULL, false},
    {"close", KIND_FLAG, AT(what.close), NULL, false},
    {"wrong", KIND_NAME, AT(what.wrong), "not cut-json html empty object no-choices", false},
    {"body", KIND_TEXT, AT(what.body), NULL, false},
    {"content", KIND_TEXT, AT(what.content), NULL, false},
    {"answer", KIND_NAME, AT(what.answer), "good empty nul bad-label bad-json null", false},
    {"refusal", KIND_NAME, AT(what.refusal), "not content-filter message", false},
    {"finish", KIND_TEXT, AT(what.finish), NULL, false},
    {"model-name", KIND_TEXT, AT(what.model_name), NULL, false},
    {"usage", KIND_NAME, AT(what.usage), "full absent zero partial null", false},
    {"echo-key", KIND_FLAG, AT(what.echo_key), NULL, false},
    {"header", KIND_TEXT, AT(what.header), NULL, false},
    {"tell", KIND_NAME, AT(what.tell), "not openai anthropic", true},
    {"times", KIND_NUMBER, AT(who.times), NULL, false},
    {"after", KIND_NUMBER, AT(who.after), NULL, false},
    {"p", KIND_PROBABILITY, AT(who.probability), NULL, false},
    {"until-reask", KIND_FLAG, AT(who.until_reask), NULL, false},
    {"model", KIND_TEXT, AT(who.model), NULL, true},
    {"path", KIND_TEXT, AT(who.path), NULL, true},
    {"contains", KIND_TEXT, AT(who.contains), NULL, true},
    {"key", KIND_TEXT, AT(who.key), NULL, true},
    {"ordinal", KIND_ORDINAL, AT(who.first), NULL, true},
    {"every", KIND_NUMBER, AT(who.every), NULL, true},
    {"slow-start", KIND_DURATION, AT(who.slow_start_us), NULL, true},
    {"limit", KIND_TEXT, AT(limit.name), NULL, true},
    {"rpm", KIND_WINDOW_MINUTE, AT(limit.amount[UNIT_REQUESTS]), NULL, true},
    {"tpm", KIND_WINDOW_MINUTE, AT(limit.amount[UNIT_TOKENS]), NULL, true},
    {"requests", KIND_NUMBER, AT(limit.amount[UNIT_REQUESTS]), NULL, true},
    {"tokens", KIND_NUMBER, AT(limit.amount[UNIT_TOKENS]), NULL, true},
    {"input", KIND_NUMBER, AT(limit.amount[UNIT_INPUT]), NULL, true},
    {"output", KIND_NUMBER, AT(limit.amount[UNIT_OUTPUT]), NULL, true},
    {"concurrency", KIND_NUMBER, AT(limit.concurrency), NULL, true},
    {"window", KIND_DURATION, AT(limit.window_us), NULL, true},
    {"burst", KIND_NUMBER, AT(limit.burst), NULL, true},
    {"exact", KIND_FLAG, AT(limit.exact), NULL, true},
    {"watch", KIND_FLAG, AT(limit.watch), NULL, true},
};
#define WORD_COUNT (sizeof words / sizeof words[0])
_Static_assert(WORD_COUNT <= 64, "one bit of effect.set per word");

static enum rc bad_value(const struct word *word, const char *value, struct err *err)
{
    err_set(err, "%s: '%.80s' is not possible", word->name, value);
    return RC_REJECT;
}

static enum rc read_number(const char *text, const char **ret_end, int64_t *ret_number)
{
    char *end;
    long long number = strtoll(text, &end, 10);
    if (end == text || number < 0 || number > 1000000000000)
        return RC_REJECT;
    *ret_end = end;
    *ret_number = number;
    return RC_OK;
}

static enum rc read_size(const char *text, const char **ret_end, int64_t *ret_bytes)
{
    if (read_number(text, ret_end, ret_bytes) != RC_OK)
        return RC_REJECT;
    if (**ret_end == 'k' || **ret_end == 'm') {
        *ret_bytes *= **ret_end == 'k' ? 1024 : 1024 * 1024;
        (*ret_end)++;
    }
    return *ret_bytes <= (int64_t)1 << 40 ? RC_OK : RC_REJECT;
}

/* The place of value among space-separated names, or -1. */
static int name_index(const char *names, const char *value)
{
    size_t len = strlen(value);
    for (int i = 0;; i++) {
        size_t size = strcspn(names, " ");
        if (size == len && memcmp(names, value, len) == 0)
            return i;
        if (names[size] == '\0')
            return -1;
        names += size + 1;
    }
}

/* `16/10ms`: bytes and pause. */
static enum rc set_drip(struct rule *rule, const char *value, struct err *err)
{
    const char *end;
    if (read_size(value, &end, &rule->what.drip_bytes) != RC_OK || *end != '/' ||
        rule->what.drip_bytes == 0) {
        err_set(err, "drip: '%.80s' is not BYTES/PAUSE", value);
        return RC_REJECT;
    }
    return dist_duration(end + 1, &rule->what.drip_us, err);
}

/* `5`, `5-9`, `5-`. */
static enum rc set_ordinal(struct rule *rule, const char *value)
{
    const char *end;
    if (read_number(value, &end, &rule->who.first) != RC_OK || rule->who.first == 0)
        return RC_REJECT;
    rule->who.last = rule->who.first;
    if (*end == '-' && end[1] == '\0') {
        rule->who.last = INT64_MAX;
        return RC_OK;
    }
    if (*end == '-' && read_number(end + 1, &end, &rule->who.last) != RC_OK)
        return RC_REJECT;
    return *end == '\0' ? RC_OK : RC_REJECT;
}

static enum rc set_text(const struct word *word, void *field, const char *value)
{
    if (strlen(value) >= word->size)
        return RC_REJECT;
    (void)snprintf(field, word->size, "%s", value);
    return RC_OK;
}

static enum rc set_name(const struct word *word, void *field, const char *value)
{
    int index = name_index(word->names, value);
    if (index < 0)
        return RC_REJECT;
    unsigned int choice = (unsigned int)index;
    _Static_assert(sizeof(enum fault) == sizeof choice, "enums are ints here");
    memcpy(field, &choice, sizeof choice);
    return RC_OK;
}

static enum rc set_probability(struct rule *rule, const char *value)
{
    char *end;
    rule->who.probability = strtod(value, &end);
    bool ok =
        end != value && *end == '\0' && rule->who.probability > 0 && rule->who.probability <= 1;
    return ok ? RC_OK : RC_REJECT;
}

static enum rc set_count(struct rule *rule, const struct word *word, int64_t *field,
                         const char *value)
{
    const char *end;
    bool size = word->kind == KIND_SIZE;
    if ((size ? read_size(value, &end, field) : read_number(value, &end, field)) != RC_OK ||
        *end != '\0')
        return RC_REJECT;
    if (word->kind == KIND_WINDOW_MINUTE)
        rule->limit.window_us = 60000000;
    return RC_OK;
}

static enum rc set_word(struct rule *rule, const struct word *word, const char *value,
                        struct err *err)
{
    void *field = (char *)rule + word->at;
    enum rc rc = RC_OK;
    switch (word->kind) {
    case KIND_DIST:
        return dist_parse(value, field, err);
    case KIND_DURATION:
        return dist_duration(value, field, err);
    case KIND_DRIP:
        return set_drip(rule, value, err);
    case KIND_NUMBER:
    case KIND_SIZE:
    case KIND_WINDOW_MINUTE:
        rc = set_count(rule, word, field, value);
        break;
    case KIND_FLAG:
        rc = strcmp(value, "1") == 0 || strcmp(value, "0") == 0 ? RC_OK : RC_REJECT;
        *(bool *)field = value[0] == '1';
        break;
    case KIND_TEXT:
        rc = set_text(word, field, value);
        break;
    case KIND_NAME:
        rc = set_name(word, field, value);
        break;
    case KIND_PROBABILITY:
        rc = set_probability(rule, value);
        break;
    case KIND_ORDINAL:
        rc = set_ordinal(rule, value);
        break;
    }
    return rc == RC_OK ? RC_OK : bad_value(word, value, err);
}

/* Takes the next `word=value` or `word="value"` off the text; false at the end. */
static bool next_token(struct span *text, char *ret_token, size_t size, bool *ret_too_long)
{
    size_t i = 0;
    size_t used = 0;
    bool quoted = false;
    while (i < text->len && (text->at[i] == ' ' || text->at[i] == '\t' || text->at[i] == '\r'))
        i++;
    bool any = i < text->len;
    for (; i < text->len; i++) {
        char c = text->at[i];
        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (!quoted && (c == ' ' || c == '\t' || c == '\r'))
            break;
        if (quoted && c == '\\' && i + 1 < text->len)
            c = text->at[++i];
        if (used + 1 < size)
            ret_token[used++] = c;
        else
            *ret_too_long = true;
    }
    ret_token[used] = '\0';
    *text = (struct span){text->at + i, text->len - i};
    *ret_too_long = *ret_too_long || quoted;
    return any;
}

static enum rc read_token(struct rule *rule, char *token, struct err *err)
{
    char *equals = strchr(token, '=');
    if (equals != NULL)
        *equals = '\0';
    for (size_t i = 0; equals != NULL && i < WORD_COUNT; i++) {
        if (strcmp(words[i].name, token) != 0)
            continue;
        rule->what.set |= (uint64_t)1 << i;
        rule->script_only = rule->script_only || words[i].script_only;
        return set_word(rule, &words[i], equals + 1, err);
    }
    err_set(err, "unknown word '%.80s'", token);
    return RC_REJECT;
}

static enum rc check(struct rule *rule, struct err *err)
{
    struct effect *what = &rule->what;
    if (what->status != 0 && (what->status < 200 || what->status > 599)) {
        err_set(err, "status: not in 200 .. 599");
        return RC_REJECT;
    }
    if (strpbrk(what->header, "\r\n") != NULL || strpbrk(what->model_name, "\r\n") != NULL) {
        err_set(err, "header: one line only");
        return RC_REJECT;
    }
    if (rule->limit.window_us == 0)
        rule->limit.window_us = 60000000;
    if (rule->limit.exact && rule->limit.burst > 0) {
        err_set(err, "burst: an exact limit has no bucket");
        return RC_REJECT;
    }
    bool meant = rule->limit.name[0] != '\0' || rule->limit.exact || rule->limit.watch;
    if (meant && !rule_is_limit(rule)) {
        err_set(err, "limit: of what? requests, tokens, input, output or concurrency");
        return RC_REJECT;
    }
    if (rule->who.slow_start_us > 0 && !effect_sets(what, "status")) {
        what->status = 503;
        if (what->message[0] == '\0')
            (void)snprintf(what->message, sizeof what->message, "The model is loading");
    }
    return RC_OK;
}

enum rc rule_parse(struct span text, struct rule *ret_rule, struct err *err)
{
    struct rule rule = {.id = hash_mix(hash_bytes(HASH_START, text.at, text.len))};
    char token[RULE_TEXT_MAX * 2];
    bool too_long = false;
    while (next_token(&text, token, sizeof token, &too_long)) {
        if (too_long) {
            err_set(err, "a word is too long or a quote is open: '%.60s'", token);
            return RC_REJECT;
        }
        if (read_token(&rule, token, err) != RC_OK)
            return RC_REJECT;
    }
    if (check(&rule, err) != RC_OK)
        return RC_REJECT;
    *ret_rule = rule;
    return RC_OK;
}

bool rule_is_limit(const struct rule *rule)
{
    for (enum unit u = 0; u < UNIT_COUNT; u++)
        if (rule->limit.amount[u] > 0)
            return true;
    return rule->limit.concurrency > 0;
}

void effect_merge(struct effect *base, const struct effect *over)
{
    for (size_t i = 0; i < WORD_COUNT; i++) {
        size_t at = words[i].at - offsetof(struct rule, what);
        bool effect_word = words[i].at >= offsetof(struct rule, what) && at < sizeof(struct effect);
        if (!effect_word || (over->set >> i & 1) == 0)
            continue;
        memcpy((char *)base + at, (const char *)over + at, words[i].size);
        if (words[i].kind == KIND_DRIP)
            base->drip_us = over->drip_us;
    }
    /* slow-start brings a status and a message that no word set */
    if (base->status == 0)
        base->status = over->status;
    if (base->message[0] == '\0')
        memcpy(base->message, over->message, sizeof base->message);
    base->set |= over->set;
}

bool effect_sets(const struct effect *effect, const char *word)
{
    for (size_t i = 0; i < WORD_COUNT; i++)
        if (strcmp(words[i].name, word) == 0)
            return (effect->set >> i & 1) != 0;
    return false;
}

const char *fault_name(enum fault fault)
{
    static const char *const names[] = {"",
                                        "reset-before",
                                        "reset-within",
                                        "reset-after",
                                        "close-before",
                                        "close-within",
                                        "close-after",
                                        "die-reset",
                                        "die-hang",
                                        "die-close",
                                        "hang",
                                        "hang-within"};
    return names[fault];
}
