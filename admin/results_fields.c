/*
 * results_fields.c - the one table of what a result line can hold.
 */
#include "admin/results_fields.h"

#include <string.h>

#include "admin/suggest.h"
#include "common/codes.h"

#define LETTER(column) \
    "(SELECT d." column " FROM dead_letter d WHERE r.status = 2 AND d.job_id = r.job_id LIMIT 1)"
/* A dead job whose answer a reviewer took. */
#define ACCEPTED(what) \
    "(SELECT " what " FROM accepted a WHERE r.status = 2 AND a.job_id = r.job_id)"
#define LABEL "(SELECT v.label FROM model_version v WHERE v.model_version_id = r.model_version_id)"

/* Scalar subqueries, not joins: so the rows come in the order of the primary key's index without a
 * sort of all bodies. */
const struct field fields_table[] = {
    {"custom_id", "r.custom_id", FIELD_TEXT, NULL, true},
    {"job_id", "r.job_id", FIELD_ID, NULL, true},
    {"generation", "r.generation", FIELD_INT, NULL, true},
    {"status", "r.status", FIELD_CODE, status_name, true},
    {"outcome", "coalesce(" ACCEPTED("'accepted'") ", code_name('status', r.status))", FIELD_TEXT,
     NULL, true},
    {"class", "r.class", FIELD_CODE, class_name, true},
    {"answer", "coalesce(" ACCEPTED("a.answer") ", reply_text(r.url, r.body))", FIELD_TEXT, NULL,
     true},
    {"reason", LETTER("reason"), FIELD_TEXT, NULL, true},
    {"dead_id", LETTER("dead_id"), FIELD_INT, NULL, true},
    {"model_version", LABEL, FIELD_TEXT, NULL, true},
    {"model_reported", "r.model_reported", FIELD_TEXT, NULL, true},
    {"prompt_version", "r.prompt_version", FIELD_TEXT, NULL, true},
    {"context_version", "r.context_version", FIELD_TEXT, NULL, true},
    {"call_number", "r.call_number", FIELD_INT, NULL, true},
    {"http_status", "r.http_status", FIELD_INT, NULL, true},
    {"finish_reason", "r.finish_reason", FIELD_TEXT, NULL, true},
    {"validation", "r.validation", FIELD_CODE, validation_name, true},
    {"input_tokens", "r.input_tokens", FIELD_INT, NULL, true},
    {"cached_tokens", "r.cached_tokens", FIELD_INT, NULL, true},
    {"output_tokens", "r.output_tokens", FIELD_INT, NULL, true},
    {"reasoning_tokens", "r.reasoning_tokens", FIELD_INT, NULL, true},
    {"cost_usd", "r.cost_nusd", FIELD_USD, NULL, true},
    {"cost_nusd", "r.cost_nusd", FIELD_INT, NULL, true},
    {"created_at", "r.created_at", FIELD_TIME, NULL, true},
    {"finished_at", "r.finished_at", FIELD_TIME, NULL, true},
    {"batch_id", "r.batch_id", FIELD_ID, NULL, false},
    {"app", "r.app", FIELD_TEXT, NULL, false},
    {"task", "r.task", FIELD_TEXT, NULL, false},
    {"team", "r.team", FIELD_TEXT, NULL, false},
    {"priority", "lane_name(r.priority)", FIELD_TEXT, NULL, false},
    {"url", "r.url", FIELD_TEXT, NULL, false},
    {"queue_us", "r.queue_us", FIELD_INT, NULL, false},
    {"throttle_us", "r.throttle_us", FIELD_INT, NULL, false},
    {"model_us", "r.model_us", FIELD_INT, NULL, false},
    {"store_us", "r.store_us", FIELD_INT, NULL, false},
    {"trace_id", "r.trace_id", FIELD_TEXT, NULL, false},
    {"body", "r.body", FIELD_TEXT, NULL, false},
    {0},
};

static const struct field *find(struct span name)
{
    for (const struct field *f = fields_table; f->name; f++)
        if (span_is(name, f->name))
            return f;
    return NULL;
}

static enum rc unknown(struct span name, struct err *err)
{
    char word[SUGGEST_WORD_MAX + 1] = "";
    struct suggest near = {0};
    if (name.n <= SUGGEST_WORD_MAX)
        memcpy(word, name.p, name.n);
    for (const struct field *f = fields_table; f->name; f++)
        suggest_offer(&near, word, f->name);
    if (near.best)
        return err_set(err, RC_REJECT, "no field '%.*s'; did you mean '%s'?", (int)name.n, name.p,
                       near.best);
    return err_set(err, RC_REJECT, "no field '%.*s'; `--fields list` names them all", (int)name.n,
                   name.p);
}

static enum rc add(struct field_list *list, struct span name, struct err *err)
{
    const struct field *f = find(name);
    if (!f)
        return unknown(name, err);
    for (int i = 0; i < list->count; i++)
        if (list->all[i] == f)
            return err_set(err, RC_REJECT, "field '%s' is named twice", f->name);
    list->all[list->count++] = f; /* no more than the table has: none stands twice */
    return RC_OK;
}

enum rc fields_parse(const char *text, struct field_list *ret, struct err *err)
{
    struct field_list list = {0};
    enum rc rc = RC_OK;
    if (!text)
        for (const struct field *f = fields_table; f->name; f++)
            if (f->standard)
                list.all[list.count++] = f;
    while (text && rc == RC_OK) {
        size_t n = strcspn(text, ",");
        rc = add(&list, (struct span){text, n}, err);
        text = text[n] ? text + n + 1 : NULL;
    }
    if (rc == RC_OK)
        *ret = list;
    return rc;
}
