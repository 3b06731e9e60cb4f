/*
 * prepare.c - each kind of record, made into a draft of a job.
 *
 * Happy path: a document is rendered through the prompt; a JSONL line is its own body; an OpenAI
 * line brings name, url and body. Bodies that came ready are checked and, where options ask for it,
 * get a model or an output limit put first. Failure: RC_REJECT with the reason; the caller adds
 * file and line.
 */
#include "producer/prepare.h"

#include <stdlib.h>

#include "common/buf.h"
#include "common/job_msg.h"
#include "common/json_scan.h"
#include "common/utf8.h"
#include "producer/body.h"
#include "producer/render.h"

enum { TEXT_BYTES = 1024 }; /* room for a decoded name, url or model: more is refused anyway */

struct preparer {
    struct prepare_conf conf;
    struct render *render; /* NULL: no documents */
    struct buf model_json; /* "model":"m" */
    struct buf members;    /* what is put into a body that lacks it */
    struct buf body;       /* rendered, or with its custom_id taken out */
    struct buf filled;     /* with the members put in */
    char custom_id[TEXT_BYTES], url[TEXT_BYTES], model[TEXT_BYTES];
};

static enum rc check_model(struct preparer *p, struct err *err)
{
    struct span model = p->conf.model;
    if (!model.p)
        return RC_OK;
    if (model.n == 0 || model.n > JOB_NAME_BYTES_MAX * 2 || !utf8_text(model))
        return err_set(err, RC_REJECT, "the model's name must be UTF-8 text of 1 to %d bytes",
                       JOB_NAME_BYTES_MAX * 2);
    buf_add_text(&p->model_json, "\"model\":");
    return json_add_string(&p->model_json, model) ? RC_OK : err_set(err, RC_NOMEM, "no memory");
}

static enum rc make_render(struct preparer *p, struct err *err)
{
    if (!p->conf.renders)
        return RC_OK;
    const struct render_conf conf = {
        .prompt = p->conf.prompt,
        .model = p->conf.model,
        .max_output_tokens = p->conf.max_output_tokens,
        .url = p->conf.url,
        .body_bytes_max = p->conf.body_bytes_max,
    };
    return render_new(&conf, &p->render, err);
}

enum rc preparer_new(const struct prepare_conf *conf, struct preparer **ret_preparer,
                     struct err *err)
{
    struct preparer *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, RC_NOMEM, "no memory");
    p->conf = *conf;
    buf_init(&p->model_json, 6 * TEXT_BYTES);
    buf_init(&p->members, 8 * TEXT_BYTES);
    buf_init(&p->body, conf->body_bytes_max);
    buf_init(&p->filled, conf->body_bytes_max);
    enum rc rc = body_check_url(conf->url, err);
    if (rc == RC_OK)
        rc = check_model(p, err);
    if (rc == RC_OK)
        rc = make_render(p, err);
    if (rc != RC_OK) {
        preparer_free(p);
        return rc;
    }
    *ret_preparer = p;
    return RC_OK;
}

void preparer_free(struct preparer *p)
{
    if (!p)
        return;
    render_free(p->render);
    buf_done(&p->model_json);
    buf_done(&p->members);
    buf_done(&p->body);
    buf_done(&p->filled);
    free(p);
}

/* ---- the parts of a draft ----------------------------------------------------------------- */

static enum rc too_long(const struct preparer *p, struct err *err)
{
    return err_set(err, RC_REJECT, "becomes a body of more than %zu bytes, which no message holds",
                   p->conf.body_bytes_max);
}

static enum rc set_custom_id(struct span id, struct draft *draft, struct err *err)
{
    if (id.n == 0 || id.n > JOB_TEXT_BYTES_MAX)
        return err_set(err, RC_REJECT, "its custom_id has %zu bytes; it must have 1 to %d", id.n,
                       JOB_TEXT_BYTES_MAX);
    if (!utf8_text(id))
        return err_set(err, RC_REJECT,
                       "its custom_id (the file's name, for a document) is not UTF-8 without NUL");
    draft->custom_id = id;
    return RC_OK;
}

/* `string` is JSON, quotes included. */
static enum rc set_quoted_id(struct preparer *p, struct span string, struct draft *draft,
                             struct err *err)
{
    struct span id = json_unquote(string, p->custom_id, sizeof p->custom_id);
    if (!id.p)
        return err_set(err, RC_REJECT, "\"custom_id\" must have at most %d bytes",
                       JOB_TEXT_BYTES_MAX);
    return set_custom_id(id, draft, err);
}

static bool ends_with(struct span text, struct span end)
{
    return text.n >= end.n && span_eq((struct span){text.p + text.n - end.n, end.n}, end);
}

/* What a server behind `url` calls the limit of the output; absent: it knows none. */
static struct span limit_name(struct span url)
{
    if (ends_with(url, SPAN_LIT("/responses")))
        return SPAN_LIT("\"max_output_tokens\":");
    if (ends_with(url, SPAN_LIT("/completions")))
        return SPAN_LIT("\"max_tokens\":");
    return (struct span){0};
}

/* Puts in what the options say and the body does not. */
static enum rc fill_in(struct preparer *p, const struct body_facts *facts, struct draft *draft,
                       struct err *err)
{
    struct span limit = limit_name(draft->url);
    buf_reset(&p->members);
    if (p->conf.model.p && !facts->model.p) {
        buf_add_span(&p->members, buf_span(&p->model_json));
        draft->model = p->conf.model;
    }
    if (p->conf.max_output_tokens > 0 && !facts->limits_output && limit.p) {
        if (p->members.n > 0)
            buf_add_byte(&p->members, ',');
        buf_add_span(&p->members, limit);
        buf_addf(&p->members, "%lld", (long long)p->conf.max_output_tokens);
        draft->max_output_tokens = p->conf.max_output_tokens;
    }
    if (p->members.n == 0)
        return RC_OK;
    buf_reset(&p->filled);
    if (!body_put_first(draft->body, buf_span(&p->members), &p->filled))
        return too_long(p, err);
    draft->body = buf_span(&p->filled);
    return RC_OK;
}

static enum rc note_facts(struct preparer *p, const struct body_facts *facts, struct draft *draft,
                          struct err *err)
{
    draft->max_output_tokens = facts->max_output_tokens;
    draft->model = (struct span){0};
    if (!facts->model.p)
        return RC_OK;
    draft->model = json_unquote(facts->model, p->model, sizeof p->model);
    if (!draft->model.p)
        return err_set(err, RC_REJECT, "\"model\" is longer than %zu bytes", sizeof p->model);
    return RC_OK;
}

/* ---- the kinds of records ----------------------------------------------------------------- */

static enum rc from_document(struct preparer *p, const struct record *record, struct draft *draft,
                             struct err *err)
{
    enum rc rc = body_check_utf8(record->data, err);
    if (rc == RC_OK)
        rc = set_custom_id(record->name, draft, err);
    if (rc != RC_OK)
        return rc;
    buf_reset(&p->body);
    if (!render_document(p->render, record->data, &p->body))
        return too_long(p, err);
    draft->body = buf_span(&p->body);
    draft->url = p->conf.url;
    draft->model = p->conf.model;
    draft->max_output_tokens = p->conf.max_output_tokens > 0 ? p->conf.max_output_tokens : -1;
    return RC_OK;
}

static enum rc from_body(struct preparer *p, const struct record *record, struct draft *draft,
                         struct err *err)
{
    struct body_facts facts;
    draft->url = p->conf.url;
    enum rc rc = body_check(record->data, draft->url, &facts, err);
    if (rc == RC_OK)
        rc = facts.custom_id.p ? set_quoted_id(p, facts.custom_id, draft, err)
                               : set_custom_id(record->name, draft, err);
    if (rc == RC_OK)
        rc = note_facts(p, &facts, draft, err);
    if (rc != RC_OK)
        return rc;
    draft->body = record->data;
    if (facts.custom_id.p) {
        buf_reset(&p->body);
        if (!body_cut(record->data, facts.custom_id, &p->body))
            return too_long(p, err);
        draft->body = buf_span(&p->body);
    }
    return fill_in(p, &facts, draft, err);
}

static enum rc from_openai(struct preparer *p, const struct record *record, struct draft *draft,
                           struct err *err)
{
    struct openai_line line;
    struct body_facts facts;
    enum rc rc = body_split_openai(record->data, &line, err);
    if (rc != RC_OK)
        return rc;
    draft->url = line.url.p ? json_unquote(line.url, p->url, sizeof p->url) : p->conf.url;
    if (!draft->url.p)
        draft->url = (struct span){"", 0};
    rc = body_check_url(draft->url, err);
    if (rc == RC_OK)
        rc = set_quoted_id(p, line.custom_id, draft, err);
    if (rc == RC_OK) {
        rc = body_check(line.body, draft->url, &facts, err);
        if (rc != RC_OK)
            return err_prefix(err, rc, "in \"body\"");
    }
    if (rc == RC_OK)
        rc = note_facts(p, &facts, draft, err);
    if (rc != RC_OK)
        return rc;
    draft->body = line.body;
    return fill_in(p, &facts, draft, err);
}

enum rc prepare(struct preparer *p, const struct record *record, struct draft *ret_draft,
                struct err *err)
{
    switch (record->format) {
    case INPUT_DOCUMENTS:
    case INPUT_LINES:
        return from_document(p, record, ret_draft, err);
    case INPUT_OPENAI:
        return from_openai(p, record, ret_draft, err);
    case INPUT_JSONL:
    case INPUT_REQUESTS:
        break;
    }
    return from_body(p, record, ret_draft, err);
}
