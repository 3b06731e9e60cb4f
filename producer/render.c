/*
 * render.c - prompt templates, compiled once into escaped pieces.
 *
 * Happy path: the body is piece, document, piece, document, ... piece; the pieces (the JSON around
 * the text and the template's own text) are escaped when the template is compiled, the document
 * once per job. Failures: a bad template at compile time, a full buffer later.
 */
#define _GNU_SOURCE /* memmem */
#include "producer/render.h"

#include <stdlib.h>
#include <string.h>

#include "common/json_scan.h"
#include "common/utf8.h"

enum { PROMPT_BYTES_MAX = 1 << 20, PIECES_MAX = 64 };

#define MARK "{document}"

/* What stands around the prompt's text, by the end of the url. */
struct shape {
    const char *url_end, *before, *after, *max_tokens;
};

static const struct shape shapes[] = {
    {"/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":\"", "\"}]",
     "\"max_tokens\""},
    {"/completions", "\"prompt\":\"", "\"", "\"max_tokens\""},
    {"/responses", "\"input\":\"", "\"", "\"max_output_tokens\""},
    {"/embeddings", "\"input\":\"", "\"", NULL},
};

struct render {
    struct buf text;         /* all pieces, one after the other */
    size_t ends[PIECES_MAX]; /* where each piece ends in `text` */
    size_t piece_count;
    struct buf document; /* scratch: the document, escaped, quotes included */
};

static const struct shape *shape_of(struct span url)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct span end = span_of(shapes[i].url_end);
        if (url.n >= end.n && memcmp(url.p + url.n - end.n, end.p, end.n) == 0)
            return &shapes[i];
    }
    return NULL;
}

/* Appends the text as the inside of a JSON string. */
static bool add_escaped(struct buf *out, struct span text, struct buf *scratch)
{
    buf_reset(scratch);
    return json_add_string(scratch, text) && buf_add(out, scratch->p + 1, scratch->n - 2);
}

static void add_front(struct render *r, const struct render_conf *conf, const struct shape *shape)
{
    buf_add_byte(&r->text, '{');
    if (conf->model.p) {
        buf_add_text(&r->text, "\"model\":");
        if (!json_add_string(&r->text, conf->model))
            r->text.failed = true;
        buf_add_byte(&r->text, ',');
    }
    buf_add_text(&r->text, shape->before);
}

static void add_back(struct render *r, const struct render_conf *conf, const struct shape *shape)
{
    buf_add_text(&r->text, shape->after);
    if (conf->max_output_tokens > 0 && shape->max_tokens)
        buf_addf(&r->text, ",%s:%lld", shape->max_tokens, (long long)conf->max_output_tokens);
    buf_add_byte(&r->text, '}');
}

/* Cuts the prompt at its marks and closes a piece at each. */
static enum rc add_prompt(struct render *r, struct span prompt, struct err *err)
{
    for (;;) {
        const char *mark = memmem(prompt.p, prompt.n, MARK, strlen(MARK));
        size_t n = mark ? (size_t)(mark - prompt.p) : prompt.n;
        if (!add_escaped(&r->text, (struct span){prompt.p, n}, &r->document))
            return err_set(err, RC_NOMEM, "no memory for the prompt");
        if (!mark)
            return RC_OK;
        if (r->piece_count + 1 == PIECES_MAX)
            return err_set(err, RC_REJECT, "the prompt holds " MARK " more than %d times",
                           PIECES_MAX - 1);
        r->ends[r->piece_count++] = r->text.n;
        prompt = (struct span){mark + strlen(MARK), prompt.n - n - strlen(MARK)};
    }
}

static enum rc check_prompt(struct span prompt, struct err *err)
{
    if (prompt.n > PROMPT_BYTES_MAX)
        return err_set(err, RC_REJECT, "the prompt has %zu bytes; at most %d are taken", prompt.n,
                       PROMPT_BYTES_MAX);
    if (!utf8_text(prompt))
        return err_set(err, RC_REJECT, "the prompt is not UTF-8 text without NUL");
    if (!memmem(prompt.p, prompt.n, MARK, strlen(MARK)))
        return err_set(err, RC_REJECT,
                       "the prompt does not say where the document goes: put " MARK " in it");
    return RC_OK;
}

static enum rc compile(struct render *r, const struct render_conf *conf, struct err *err)
{
    struct span prompt = conf->prompt.p ? conf->prompt : span_of(MARK);
    const struct shape *shape = shape_of(conf->url);
    if (!shape)
        return err_set(err, RC_REJECT,
                       "documents can be sent to .../chat/completions, .../completions, "
                       ".../responses and .../embeddings, not to %.*s: give ready bodies as JSONL",
                       (int)conf->url.n, conf->url.p);
    enum rc rc = check_prompt(prompt, err);
    if (rc != RC_OK)
        return rc;
    add_front(r, conf, shape);
    rc = add_prompt(r, prompt, err);
    if (rc != RC_OK)
        return rc;
    add_back(r, conf, shape);
    r->ends[r->piece_count++] = r->text.n;
    return r->text.failed ? err_set(err, RC_NOMEM, "no memory for the prompt") : RC_OK;
}

enum rc render_new(const struct render_conf *conf, struct render **ret_render, struct err *err)
{
    struct render *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, RC_NOMEM, "no memory for the prompt");
    /* An escaped byte has at most six: \u0000. */
    buf_init(&r->text, 6 * (size_t)PROMPT_BYTES_MAX + (64 << 10));
    size_t most = 6 * (size_t)PROMPT_BYTES_MAX + 2;
    buf_init(&r->document, conf->body_bytes_max > most ? conf->body_bytes_max : most);
    enum rc rc = compile(r, conf, err);
    if (rc != RC_OK) {
        render_free(r);
        return rc;
    }
    *ret_render = r;
    return RC_OK;
}

void render_free(struct render *r)
{
    if (!r)
        return;
    buf_done(&r->text);
    buf_done(&r->document);
    free(r);
}

bool render_document(struct render *r, struct span document, struct buf *out)
{
    buf_reset(&r->document);
    if (!json_add_string(&r->document, document))
        return false;
    size_t begin = 0;
    for (size_t i = 0; i < r->piece_count; i++) {
        buf_add(out, r->text.p + begin, r->ends[i] - begin);
        begin = r->ends[i];
        if (i + 1 < r->piece_count)
            buf_add(out, r->document.p + 1, r->document.n - 2);
    }
    return !out->failed;
}
