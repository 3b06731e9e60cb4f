#include "tests/modelsim/answer.h"

/*
 * Purpose: labels, JSON, extracts and vectors from the request's own text.
 * Happy path: the hint (a list of labels or a schema) is found by its colon; the answer follows.
 * Failure: only an unsupported schema; everything else has an answer.
 */
#include "tests/modelsim/hash.h"
#include "tests/modelsim/schema.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#define LABELS_MAX 64
#define LABEL_BYTES_MAX 64
#define EXTRACT_WORDS 24

struct hint {
    enum { HINT_NONE, HINT_LABELS, HINT_SCHEMA } kind;
    struct span labels[LABELS_MAX];
    size_t label_count;
    struct span schema;
};

/* text[0 .. at) ends with word, whatever the case. */
static bool ends_with(struct span text, size_t at, const char *word)
{
    size_t len = strlen(word);
    return at >= len && strncasecmp(text.at + at - len, word, len) == 0;
}

static bool line_starts_at(struct span text, size_t at)
{
    while (at > 0 && (text.at[at - 1] == ' ' || text.at[at - 1] == '\t'))
        at--;
    return at == 0 || text.at[at - 1] == '\n';
}

static bool word_starts_at(struct span text, size_t at)
{
    char lower = at == 0 ? ' ' : (char)(text.at[at - 1] | 0x20);
    return lower < 'a' || lower > 'z';
}

static struct span trim(struct span s)
{
    static const char skin[] = " \t\r\"'`.";
    while (s.len > 0 && memchr(skin, s.at[0], sizeof skin - 1) != NULL) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && memchr(skin, s.at[s.len - 1], sizeof skin - 1) != NULL)
        s.len--;
    return s;
}

/* Reads `a, b, c` up to the end of the line. Overlong items mean prose, not labels. */
static bool read_labels(struct span rest, struct hint *hint)
{
    const char *newline = memchr(rest.at, '\n', rest.len);
    const char *end = newline == NULL ? rest.at + rest.len : newline;
    hint->label_count = 0;
    for (const char *p = rest.at; p <= end; p++) {
        const char *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
        const char *stop = comma == NULL ? end : comma;
        struct span label = trim((struct span){p, (size_t)(stop - p)});
        if (label.len > LABEL_BYTES_MAX)
            return false;
        if (label.len > 0 && hint->label_count < LABELS_MAX)
            hint->labels[hint->label_count++] = label;
        p = stop;
    }
    return hint->label_count > 0;
}

static bool read_schema(struct span rest, struct hint *hint)
{
    struct jscan s = {.p = rest.at, .end = rest.at + rest.len};
    return jscan_peek(&s) == '{' && jscan_value(&s, &hint->schema);
}

/* The first hint of a text, found by its colon. */
static bool find_hint(struct span text, bool labels, struct hint *hint)
{
    const char *end = text.at + text.len;
    const char *colon = text.len == 0 ? NULL : memchr(text.at, ':', text.len);
    for (; colon != NULL; colon = memchr(colon, ':', (size_t)(end - colon))) {
        size_t at = (size_t)(colon - text.at);
        colon++;
        struct span rest = {colon, (size_t)(end - colon)};
        if (labels && ((ends_with(text, at, "labels") && line_starts_at(text, at - 6)) ||
                       (ends_with(text, at, "one of") && word_starts_at(text, at - 6)))) {
            hint->kind = HINT_LABELS;
            if (read_labels(rest, hint))
                return true;
        } else if (ends_with(text, at, "json schema")) {
            hint->kind = HINT_SCHEMA;
            if (read_schema(rest, hint))
                return true;
        }
    }
    hint->kind = HINT_NONE;
    return false;
}

/* The text that is worked on: the prompt itself, or the first user message (else the last). */
static struct span user_text(const struct ask *ask, size_t which)
{
    if (ask->kind != ASK_CHAT)
        return ask_text(ask, which);
    for (size_t i = 0; i < ask->part_count; i++)
        if (ask->parts[i].role == ROLE_USER)
            return ask_text(ask, i);
    return ask_text(ask, ask->part_count - 1);
}

/* Appends `Extract: ` and the first words. */
static void extract(struct span text, struct buf *out)
{
    buf_add_text(out, "Extract: ");
    schema_words(text, EXTRACT_WORDS, out);
}

enum rc answer_text(const struct ask *ask, size_t which, struct buf *out, struct err *err)
{
    struct span text = user_text(ask, which);
    struct hint hint;
    hint.kind = HINT_NONE;
    if (ask->format == FORMAT_JSON_SCHEMA)
        return schema_answer(ask->schema, text, out, err);
    bool labels = ask->format == FORMAT_TEXT;
    if (ask->kind != ASK_CHAT)
        (void)find_hint(text, labels, &hint);
    for (size_t i = 0; ask->kind == ASK_CHAT && i < ask->part_count; i++)
        if (find_hint(ask_text(ask, i), labels, &hint))
            break;
    if (hint.kind == HINT_SCHEMA)
        return schema_answer(hint.schema, text, out, err);
    if (hint.kind == HINT_LABELS) {
        uint64_t h = hash_mix(hash_bytes(HASH_START, text.at, text.len));
        struct span label = hint.labels[h % hint.label_count];
        buf_add(out, label.at, label.len);
    } else if (ask->format == FORMAT_JSON_OBJECT) {
        struct buf plain = {0};
        extract(text, &plain);
        buf_add_text(out, "{\"answer\":");
        buf_add_json_string(out, plain.data, plain.len);
        buf_add_char(out, '}');
        buf_done(&plain);
    } else {
        extract(text, out);
    }
    return RC_OK;
}

int64_t answer_tokens(size_t bytes)
{
    return (int64_t)((bytes + 3) / 4);
}

size_t answer_cut(const char *text, size_t len, int64_t max_tokens, bool *ret_cut)
{
    *ret_cut = max_tokens >= 0 && answer_tokens(len) > max_tokens;
    if (!*ret_cut)
        return len;
    len = (size_t)max_tokens * 4;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

void answer_vector(struct span text, double *ret_vector, size_t count)
{
    uint64_t h = hash_bytes(HASH_START, text.at, text.len);
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t v = (int64_t)(hash_mix(h + i) % 2001) - 1000;
        ret_vector[i] = (double)v;
        squares += (double)(v * v);
    }
    if (squares == 0) {
        ret_vector[0] = 1;
        squares = 1;
    }
    double length = sqrt(squares);
    for (size_t i = 0; i < count; i++)
        ret_vector[i] /= length;
}
