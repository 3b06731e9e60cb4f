/*
 * rate_headers.c - see rate_headers.h.
 *
 * Happy path: a prefix is known, each word behind it says which amount, of what, or over which
 * window; the value goes into the slot of that dimension and window. Failure modes: an unknown
 * word, an overlong or unreadable value, one slot too many: not heard.
 */
#include "worker/rate_headers.h"

#include <string.h>
#include <strings.h>

enum {
    VALUE_BYTES = 64,
    AMOUNT_DIGITS = 15, /* more is as good as no limit, and kept at that */
    PASSED_ON = 1,      /* window's mark of what a proxy's upstream said */
    NO_DIMENSION = RATE_DIMENSIONS,
};

/* Roughly now, for years of two digits. */
static const int64_t NEAR_MS = INT64_C(1767225600000);

static bool is(struct span s, const char *lower)
{
    return s.n == strlen(lower) && strncasecmp(s.p, lower, s.n) == 0;
}

static bool strip(struct span *s, const char *lower)
{
    size_t n = strlen(lower);
    if (s->n < n || strncasecmp(s->p, lower, n) != 0)
        return false;
    *s = (struct span){s->p + n, s->n - n};
    return true;
}

static struct span trim(struct span s)
{
    while (s.n > 0 && (*s.p == ' ' || *s.p == '\t'))
        s = (struct span){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* ---- amounts --------------------------------------------------------------------------------- */

/* Digits, perhaps a fraction that is cut; then the end, or what a list or parameters begin with. */
static int64_t amount(struct span s)
{
    int64_t v = 0;
    size_t i = 0, digits = 0;
    s = trim(s);
    for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
        digits += v > 0 || s.p[i] != '0';
        if (digits <= AMOUNT_DIGITS)
            v = v * 10 + (s.p[i] - '0');
    }
    if (i == 0)
        return -1;
    if (i < s.n && s.p[i] == '.')
        for (i++; i < s.n && s.p[i] >= '0' && s.p[i] <= '9';)
            i++;
    struct span rest = trim((struct span){s.p + i, s.n - i});
    return rest.n == 0 || *rest.p == ',' || *rest.p == ';' ? v : -1;
}

static void lower(int64_t *have, int64_t said)
{
    if (said >= 0 && (*have < 0 || said < *have))
        *have = said;
}

static void later(struct when *have, struct when said)
{
    if (have->kind == WHEN_NOTHING || (have->kind == said.kind && said.us > have->us))
        *have = said;
}

static struct when reset_of(struct span value, bool in_ms)
{
    char text[VALUE_BYTES];
    if (value.n >= sizeof text)
        return (struct when){0};
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    return in_ms ? when_read_ms(text) : when_read(text, NEAR_MS);
}

/* ---- slots ----------------------------------------------------------------------------------- */

/* NULL: there are too many. */
static struct rate_slot *slot(struct rate_heard *heard, int dimension, uint32_t window)
{
    for (int i = 0; i < heard->count; i++)
        if (heard->slots[i].dimension == dimension && heard->slots[i].window == window)
            return &heard->slots[i];
    if (heard->count == RATE_SLOTS)
        return NULL;
    struct rate_slot *s = &heard->slots[heard->count++];
    *s = (struct rate_slot){
        .limit = -1, .remaining = -1, .dimension = (uint8_t)dimension, .window = window};
    return s;
}

static uint32_t hash(uint32_t h, struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ ((unsigned char)s.p[i] | 0x20)) * 16777619U;
    return h;
}

/* ---- a name and its words -------------------------------------------------------------------- */

enum word {
    WORD_LIMIT,
    WORD_REMAINING,
    WORD_RESET,
    WORD_REQUESTS,
    WORD_TOKENS,
    WORD_INPUT,
    WORD_OUTPUT,
    WORD_WINDOW, /* what it is stands in the slot's window */
    WORD_MS,
    WORD_FILL, /* says nothing */
    WORD_UNKNOWN,
};

static enum word word_of(struct span s)
{
    static const struct {
        const char *text;
        enum word word;
    } words[] = {
        {"limit", WORD_LIMIT},
        {"remaining", WORD_REMAINING},
        {"reset", WORD_RESET},
        {"requests", WORD_REQUESTS},
        {"request", WORD_REQUESTS},
        {"req", WORD_REQUESTS},
        {"tokens", WORD_TOKENS},
        {"token", WORD_TOKENS},
        {"input", WORD_INPUT},
        {"prompt", WORD_INPUT},
        {"output", WORD_OUTPUT},
        {"completion", WORD_OUTPUT},
        {"generated", WORD_OUTPUT},
        {"second", WORD_WINDOW},
        {"minute", WORD_WINDOW},
        {"hour", WORD_WINDOW},
        {"day", WORD_WINDOW},
        {"week", WORD_WINDOW},
        {"month", WORD_WINDOW},
        {"project", WORD_WINDOW},
        {"usage", WORD_WINDOW},
        {"based", WORD_WINDOW},
        {"ms", WORD_MS},
        {"per", WORD_FILL},
        {"after", WORD_FILL},
        {"at", WORD_FILL},
        {"time", WORD_FILL},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if ((*s.p | 0x20) == *words[i].text && is(s, words[i].text))
            return words[i].word;
    return WORD_UNKNOWN;
}

struct meaning {
    int amount; /* WORD_LIMIT, _REMAINING or _RESET; -1: none yet */
    bool requests, tokens, input, output, in_ms;
    bool any_word; /* the names of what is limited stand in it as well */
    uint32_t window;
};

static bool add_word(struct meaning *m, struct span s)
{
    enum word word = word_of(s);
    switch (word) {
    case WORD_LIMIT:
    case WORD_REMAINING:
    case WORD_RESET:
        if (m->amount >= 0)
            return false;
        m->amount = (int)word;
        return true;
    case WORD_REQUESTS:
        return m->requests = true;
    case WORD_TOKENS:
        return m->tokens = true;
    case WORD_INPUT:
        return m->input = true;
    case WORD_OUTPUT:
        return m->output = true;
    case WORD_MS:
        return m->in_ms = true;
    case WORD_FILL:
        return true;
    case WORD_UNKNOWN:
        if (!m->any_word)
            return false;
        break;
    case WORD_WINDOW:
        break;
    }
    m->window = hash(m->window, s);
    return true;
}

static bool read_name(struct span rest, struct meaning *m)
{
    while (rest.n > 0) {
        size_t n = 0;
        while (n < rest.n && rest.p[n] != '-' && rest.p[n] != '_')
            n++;
        if (n == 0 || !add_word(m, (struct span){rest.p, n}))
            return false;
        n += n < rest.n;
        rest = (struct span){rest.p + n, rest.n - n};
    }
    return m->amount >= 0;
}

static int dimension_of(const struct meaning *m)
{
    if (m->input)
        return m->output ? NO_DIMENSION : RATE_INPUT;
    if (m->output)
        return RATE_OUTPUT;
    if (m->tokens)
        return m->requests ? NO_DIMENSION : RATE_TOKENS;
    return RATE_REQUESTS;
}

static bool take_amount(struct rate_heard *heard, const struct meaning *m, struct span value)
{
    int dimension = dimension_of(m);
    bool is_reset = m->amount == WORD_RESET;
    struct when reset = is_reset ? reset_of(value, m->in_ms) : (struct when){0};
    int64_t n = is_reset ? -1 : amount(value);
    if (dimension == NO_DIMENSION || (n < 0 && reset.kind == WHEN_NOTHING))
        return true; /* one of these, that says nothing */
    struct rate_slot *s = slot(heard, dimension, m->window);
    if (!s)
        return true;
    if (is_reset)
        later(&s->reset, reset);
    else
        lower(m->amount == WORD_LIMIT ? &s->limit : &s->remaining, n);
    return true;
}

/* ---- the IETF's structured fields ------------------------------------------------------------ */

/* Up to the next `mark` that stands in no quotes; `rest` goes on behind it. */
static struct span piece(struct span *rest, char mark)
{
    bool quoted = false;
    size_t n = 0;
    for (; n < rest->n && (quoted || rest->p[n] != mark); n++)
        quoted ^= rest->p[n] == '"';
    struct span head = {rest->p, n};
    n += n < rest->n;
    *rest = (struct span){rest->p + n, rest->n - n};
    return trim(head);
}

static bool contains(struct span s, const char *part)
{
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, part, n) == 0)
            return true;
    return false;
}

/* By the name that a policy was given; drafts know no tokens. */
static int dimension_of_policy(struct span name)
{
    struct meaning m = {
        .tokens = contains(name, "token"),
        .input = contains(name, "input") || contains(name, "prompt"),
        .output = contains(name, "output") || contains(name, "completion"),
    };
    return dimension_of(&m);
}

/* limit=100, remaining=50, reset=50: one slot, and each item a part of it. */
static void take_pair(struct rate_heard *heard, struct span name, struct span value)
{
    struct meaning m = {.amount = -1};
    if (name.n > 0 && add_word(&m, name) && m.amount >= 0)
        (void)take_amount(heard, &m, value);
}

/* "default";r=50;t=30 or, of a policy, "default";q=100;w=60 */
static void take_item(struct rate_heard *heard, struct span name, struct span parameters)
{
    struct rate_slot said = {.limit = -1, .remaining = -1};
    while (parameters.n > 0) {
        struct span value = piece(&parameters, ';');
        struct span key = piece(&value, '=');
        if (is(key, "r"))
            said.remaining = amount(value);
        else if (is(key, "q"))
            said.limit = amount(value);
        else if (is(key, "t"))
            said.reset = reset_of(value, false);
        else if (is(key, "qu") && !is(value, "\"requests\""))
            return; /* bytes, or calls at once */
    }
    int dimension = dimension_of_policy(name);
    if (dimension == NO_DIMENSION ||
        (said.limit < 0 && said.remaining < 0 && said.reset.kind == WHEN_NOTHING))
        return;
    struct rate_slot *s = slot(heard, dimension, hash(2166136261U, name));
    if (!s)
        return;
    lower(&s->limit, said.limit);
    lower(&s->remaining, said.remaining);
    later(&s->reset, said.reset);
}

static void take_fields(struct rate_heard *heard, struct span value)
{
    while (value.n > 0) {
        struct span item = piece(&value, ',');
        struct span rest = item;
        struct span name = piece(&rest, ';');
        struct span number = name;
        struct span key = piece(&number, '=');
        if (key.n < name.n)
            take_pair(heard, key, number);
        else
            take_item(heard, name, rest);
    }
}

/* ---- one header, and all of them ------------------------------------------------------------- */

bool rate_headers_take(struct rate_heard *heard, struct span name, struct span value)
{
    struct meaning m = {.amount = -1};
    if (strip(&name, "llm_provider-"))
        m.window = PASSED_ON;
    if (is(name, "ratelimit") || is(name, "ratelimit-policy") || is(name, "x-ratelimit-policy")) {
        take_fields(heard, value);
        return true;
    }
    if (strip(&name, "x-tokenlimit-"))
        m.tokens = true;
    else if (strip(&name, "x-ai-ratelimit-"))
        m.tokens = m.any_word = true;
    else if (!strip(&name, "x-ratelimit-") && !strip(&name, "anthropic-ratelimit-") &&
             !strip(&name, "x-rate-limit-") && !strip(&name, "ratelimit-"))
        return false;
    return read_name(name, &m) && take_amount(heard, &m, trim(value));
}

/* Does `a` bind more than `b`? */
static bool binds(const struct rate_limit *a, const struct rate_limit *b)
{
    if (a->remaining == b->remaining)
        return a->reset_us > b->reset_us;
    if (a->remaining < 0 || b->remaining < 0)
        return a->remaining >= 0;
    return a->remaining < b->remaining;
}

void rate_headers_read(const struct rate_heard *heard, const char *date, int64_t wall_ms,
                       struct rate_told *ret)
{
    int64_t server_ms = -1; /* few say dates: it is read where one does */
    for (int i = 0; i < RATE_DIMENSIONS; i++)
        ret->of[i] = (struct rate_limit){-1, -1, -1};
    for (int i = 0; i < heard->count; i++) {
        const struct rate_slot *s = &heard->slots[i];
        struct rate_limit *of = &ret->of[s->dimension];
        if (s->reset.kind == WHEN_AT && server_ms < 0)
            server_ms = when_server_ms(date, wall_ms);
        struct rate_limit said = {s->limit, s->remaining, when_us(s->reset, server_ms)};
        bool first = of->limit < 0 && of->remaining < 0 && of->reset_us < 0;
        if (first || binds(&said, of))
            *of = said;
    }
}

int64_t rate_headers_wait_us(const struct rate_told *told)
{
    int64_t used_up = -1, tokens = -1;
    for (int i = 0; i < RATE_DIMENSIONS; i++) {
        const struct rate_limit *of = &told->of[i];
        if (of->remaining == 0 && of->reset_us > used_up)
            used_up = of->reset_us;
        if (i != RATE_REQUESTS && of->reset_us > tokens)
            tokens = of->reset_us;
    }
    if (used_up >= 0)
        return used_up;
    return tokens >= 0 ? tokens : told->of[RATE_REQUESTS].reset_us;
}
