/*
 * outspec.c - what a job's output must look like, and whether an answer does.
 *
 * Happy path: a spec is made once from a schema, a list of labels, or a job message; outspec_check
 * says yes, or no with a reason that outspec_reask turns into a second question to the model.
 *
 * Failure modes: bad specs and bad answers are RC_REJECT; memory is RC_NOMEM. Reasons may go to a
 * model and to a dead letter: they name places and what is wanted, and quote no part of the answer
 * but the names of its members.
 */
#include "common/outspec.h"

#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/json_schema.h"
#include "common/utf8.h"

enum { LABEL_BYTES_MAX = 128, LABELS_SHOWN_BYTES = 300 };

_Static_assert((int)OUTSPEC_SCHEMA_BYTES_MAX == (int)JSON_SCHEMA_BYTES_MAX &&
                   (int)OUTSPEC_DEPTH_MAX == (int)JSON_SCHEMA_DEPTH_MAX,
               "the bounds that outspec.h promises are the schema's");

struct outspec {
    enum output_kind kind;
    struct json_schema *schema; /* OUTPUT_JSON */
    struct span *labels;        /* OUTPUT_LABEL: point into `text` */
    uint32_t label_count;
    char *text; /* OUTPUT_JSON: the schema's text; OUTPUT_LABEL: the labels' */
    size_t text_bytes;
};

/* ---- text --------------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct span trim_space(struct span s)
{
    while (s.n && is_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* White space and NULs say nothing. */
static bool is_blank(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] && !is_space(s.p[i]))
            return false;
    return true;
}

/* ---- labels -------------------------------------------------------------------------------- */

/* Lower case of a character, one to one, for the Latin, Greek and Cyrillic letters labels are
 * written in (Unicode's simple case folding). The C library's towlower would do, but for its
 * answer depending on the process's locale. */
static uint32_t fold(uint32_t c)
{
    if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
        (c >= 0x391 && c <= 0x3ab && c != 0x3a2) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f)
        return c + 80;
    if (c == 0x3c2) /* the final sigma */
        return 0x3c3;
    if (c == 0x178)
        return 0xff;
    bool upper_is_even = (c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) ||
                         (c >= 0x14a && c <= 0x177) || (c >= 0x460 && c <= 0x481) ||
                         (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f) ||
                         (c >= 0x1e00 && c <= 0x1e95) || (c >= 0x1ea0 && c <= 0x1eff);
    bool upper_is_odd = (c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e);
    if ((upper_is_even && c % 2 == 0) || (upper_is_odd && c % 2 == 1))
        return c + 1;
    return c;
}

/* The next character folded; a byte that is no UTF-8 stands for itself, beyond all characters. */
static uint32_t next_folded(struct span *s)
{
    uint32_t c;
    size_t n = utf8_next(s->p, s->n, &c);
    if (n == 0) {
        c = 0x110000u + (unsigned char)s->p[0];
        n = 1;
    }
    s->p += n;
    s->n -= n;
    return fold(c);
}

/* Orders texts without case; 0: the same label. */
static int compare_folded(struct span a, struct span b)
{
    while (a.n && b.n) {
        uint32_t x = next_folded(&a), y = next_folded(&b);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a.n > 0) - (b.n > 0);
}

static int compare_labels(const void *a, const void *b)
{
    return compare_folded(*(const struct span *)a, *(const struct span *)b);
}

static struct span find_label(const struct outspec *s, struct span wanted)
{
    for (uint32_t i = 0; i < s->label_count; i++)
        if (compare_folded(s->labels[i], wanted) == 0)
            return s->labels[i];
    return (struct span){NULL, 0};
}

/* Takes one quotation mark off each end where there is one: ASCII's, a backquote, typographic. */
static struct span trim_quotes(struct span s)
{
    static const char *const marks[] = {"\"",     "'",      "`",      "\u201c", "\u201d", "\u201e",
                                        "\u2018", "\u2019", "\u201a", "\u00ab", "\u00bb"};
    bool front = false, back = false;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t n = strlen(marks[i]);
        if (!front && s.n >= n && memcmp(s.p, marks[i], n) == 0) {
            s.p += n;
            s.n -= n;
            front = true;
        }
        if (!back && s.n >= n && memcmp(s.p + s.n - n, marks[i], n) == 0) {
            s.n -= n;
            back = true;
        }
    }
    return s;
}

/* Peels white space, quotes and one final full stop off, layer by layer, and asks the list before
 * each layer: so a label that itself ends in a full stop, or is quoted, is found as well. */
struct span outspec_label(const struct outspec *s, struct span answer)
{
    struct span found = {NULL, 0}, rest = trim_space(answer);
    bool stop_taken = false;
    if (s->kind != OUTPUT_LABEL)
        return found;
    while (rest.n && !(found = find_label(s, rest)).p) {
        struct span less = rest;
        if (!stop_taken && rest.p[rest.n - 1] == '.') {
            less.n--;
            stop_taken = true;
        } else {
            less = trim_quotes(rest);
        }
        less = trim_space(less);
        if (less.n == rest.n)
            break;
        rest = less;
    }
    return found;
}

static enum rc labels_differ(const struct outspec *s, struct err *err)
{
    struct span *sorted = malloc(s->label_count * sizeof *sorted);
    if (!sorted)
        return err_set(err, RC_NOMEM, "no memory for %u labels", (unsigned)s->label_count);
    memcpy(sorted, s->labels, s->label_count * sizeof *sorted);
    qsort(sorted, s->label_count, sizeof *sorted, compare_labels);
    enum rc rc = RC_OK;
    for (uint32_t i = 1; rc == RC_OK && i < s->label_count; i++)
        if (compare_labels(&sorted[i - 1], &sorted[i]) == 0)
            rc = err_set(err, RC_REJECT, "two labels are the same without case: '%.*s' and '%.*s'",
                         (int)sorted[i - 1].n, sorted[i - 1].p, (int)sorted[i].n, sorted[i].p);
    free(sorted);
    return rc;
}

static enum rc label_ok(struct span label, uint32_t i, struct err *err)
{
    if (!label.p || label.n < 1 || label.n > LABEL_BYTES_MAX)
        return err_set(err, RC_REJECT, "label %u must have 1 to %d bytes, and has %zu",
                       (unsigned)i + 1, (int)LABEL_BYTES_MAX, label.n);
    if (trim_space(label).n != label.n)
        return err_set(err, RC_REJECT, "label %u starts or ends with white space: remove it",
                       (unsigned)i + 1);
    return RC_OK;
}

/* ---- making specs -------------------------------------------------------------------------- */

/* Fails softly: NULL, and the error set. */
static struct outspec *spec_new(enum output_kind kind, size_t text_bytes, uint32_t label_count,
                                struct err *err)
{
    struct outspec *s = calloc(1, sizeof *s);
    if (s) {
        s->kind = kind;
        s->text = malloc(text_bytes + 1);
        s->labels = label_count ? calloc(label_count, sizeof *s->labels) : NULL;
    }
    if (!s || !s->text || (label_count && !s->labels)) {
        outspec_free(s);
        (void)err_set(err, RC_NOMEM, "no memory for an output spec");
        return NULL;
    }
    s->text_bytes = text_bytes;
    return s;
}

void outspec_free(struct outspec *s)
{
    if (!s)
        return;
    json_schema_free(s->schema);
    free(s->labels);
    free(s->text);
    free(s);
}

enum rc outspec_json(struct span schema, struct outspec **ret_spec, struct err *err)
{
    struct json_schema *compiled = NULL;
    enum rc rc = json_schema_new(schema, &compiled, err);
    if (rc != RC_OK)
        return rc;
    struct span text = trim_space(schema);
    struct outspec *s = spec_new(OUTPUT_JSON, text.n, 0, err);
    if (!s) {
        json_schema_free(compiled);
        return RC_NOMEM;
    }
    memcpy(s->text, text.p, text.n);
    s->schema = compiled;
    *ret_spec = s;
    return RC_OK;
}

enum rc outspec_labels(const struct span *labels, uint32_t count, struct outspec **ret_spec,
                       struct err *err)
{
    if (count < 1 || count > OUTSPEC_LABELS_MAX)
        return err_set(err, RC_REJECT, "there must be 1 to %d labels, and there are %u",
                       (int)OUTSPEC_LABELS_MAX, (unsigned)count);
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum rc rc = label_ok(labels[i], i, err);
        if (rc != RC_OK)
            return rc;
        bytes += labels[i].n;
    }
    struct outspec *s = spec_new(OUTPUT_LABEL, bytes, count, err);
    if (!s)
        return RC_NOMEM;
    char *at = s->text;
    for (; s->label_count < count; at += labels[s->label_count++].n) {
        memcpy(at, labels[s->label_count].p, labels[s->label_count].n);
        s->labels[s->label_count] = (struct span){at, labels[s->label_count].n};
    }
    enum rc rc = labels_differ(s, err);
    if (rc != RC_OK) {
        outspec_free(s);
        return rc;
    }
    *ret_spec = s;
    return RC_OK;
}

static enum rc labels_of_job(const struct job_msg *msg, struct outspec **ret_spec, struct err *err)
{
    uint32_t count = msg->output_label_count;
    if (count < 1 || count > OUTSPEC_LABELS_MAX)
        return outspec_labels(NULL, count, ret_spec, err); /* says what is wrong */
    struct span *labels = calloc(count, sizeof *labels);
    if (!labels)
        return err_set(err, RC_NOMEM, "no memory for %u labels", (unsigned)count);
    for (uint32_t i = 0; i < count; i++)
        labels[i] = job_msg_label(msg, i);
    enum rc rc = outspec_labels(labels, count, ret_spec, err);
    free(labels);
    return rc;
}

enum rc outspec_of_job(const struct job_msg *msg, struct outspec **ret_spec, struct err *err)
{
    switch (msg->output_kind) {
    case OUTPUT_JSON:
        return outspec_json(msg->output_schema, ret_spec, err);
    case OUTPUT_LABEL:
        return labels_of_job(msg, ret_spec, err);
    case OUTPUT_TEXT:
    default:
        break;
    }
    struct outspec *s = spec_new(OUTPUT_TEXT, 0, 0, err);
    if (!s)
        return RC_NOMEM;
    *ret_spec = s;
    return RC_OK;
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool is_json_word(struct span s)
{
    s = trim_space(s);
    return s.n == 0 || compare_folded(s, SPAN_LIT("json")) == 0;
}

/* Takes one Markdown fence off, ``` or ```json to ```, when it spans the whole answer. */
static struct span trim_fence(struct span answer)
{
    struct span s = trim_space(answer);
    if (s.n < 6 || memcmp(s.p, "```", 3) != 0 || memcmp(s.p + s.n - 3, "```", 3) != 0)
        return s;
    struct span inside = {s.p + 3, s.n - 6};
    const char *line_end = memchr(inside.p, '\n', inside.n);
    if (!line_end || !is_json_word((struct span){inside.p, (size_t)(line_end - inside.p)}))
        return s;
    return trim_space((struct span){line_end, inside.n - (size_t)(line_end - inside.p)});
}

/* "'a', 'b', ... (12 in all)", as far as an error text has room. */
static void labels_shown(const struct outspec *s, struct buf *out)
{
    for (uint32_t i = 0; i < s->label_count; i++) {
        if (out->n + s->labels[i].n > LABELS_SHOWN_BYTES) {
            buf_addf(out, " ... (%u in all)", (unsigned)s->label_count);
            break;
        }
        buf_addf(out, "%s'%.*s'", i ? ", " : "", (int)s->labels[i].n, s->labels[i].p);
    }
}

static enum rc check_label(const struct outspec *s, struct span answer, struct err *err)
{
    if (outspec_label(s, answer).p)
        return RC_OK;
    struct buf names;
    buf_init(&names, 2 * LABELS_SHOWN_BYTES);
    labels_shown(s, &names);
    enum rc rc = err_set(err, RC_REJECT, "the answer is not one of the labels %.*s", (int)names.n,
                         buf_span(&names).p);
    buf_done(&names);
    return rc;
}

enum rc outspec_check(const struct outspec *s, struct span answer, struct err *err)
{
    if (is_blank(answer))
        return err_set(err, RC_REJECT, "the answer is empty");
    switch (s->kind) {
    case OUTPUT_JSON:
        return json_schema_check(s->schema, trim_fence(answer), err);
    case OUTPUT_LABEL:
        return check_label(s, answer, err);
    case OUTPUT_TEXT:
    default:
        return RC_OK;
    }
}

/* ---- asking again -------------------------------------------------------------------------- */

static bool add_wanted(const struct outspec *s, struct buf *out)
{
    switch (s->kind) {
    case OUTPUT_JSON:
        return buf_add_text(out,
                            "Answer again with one JSON value and nothing else: no "
                            "explanation, no code fence. It must satisfy this JSON Schema:\n") &&
               buf_add(out, s->text, s->text_bytes);
    case OUTPUT_LABEL:
        if (!buf_add_text(out, "Answer again with exactly one of the following labels, spelled as "
                               "here, and nothing else:"))
            return false;
        for (uint32_t i = 0; i < s->label_count; i++)
            if (!buf_add_byte(out, '\n') || !buf_add_span(out, s->labels[i]))
                return false;
        return true;
    case OUTPUT_TEXT:
    default:
        return buf_add_text(out, "Answer again; the answer must not be empty.");
    }
}

bool outspec_reask(const struct outspec *s, const char *what_was_wrong, struct buf *out)
{
    size_t before = out->n;
    if (buf_add_text(out, "Your last answer cannot be used: ") &&
        buf_add_text(out, what_was_wrong) && buf_add_text(out, ".\n") && add_wanted(s, out))
        return true;
    out->n = before;
    return false;
}
