/*
 * why.c - the words for endings.
 */
#include "admin/why.h"

#include "admin/table.h"
#include "common/codes.h"

const char *why_class(int class_code)
{
    static const struct {
        int code;
        const char *text;
    } words[] = {
        {CLASS_OK, "the model answered"},
        {CLASS_MALFORMED, "the record's bytes are no job"},
        {CLASS_INVALID_JOB, "a field of the job breaks the message format"},
        {CLASS_FORGED_ID,
         "the job's id does not follow from its fields, or its time is out of range"},
        {CLASS_BAD_SIGNATURE, "the job's signature does not verify"},
        {CLASS_NO_MODEL, "the catalogue has no such model, or no default for this app and task"},
        {CLASS_EXPIRED, "its deadline passed"},
        {CLASS_CANCELLED, "its batch was cancelled"},
        {CLASS_ATTEMPTS_SPENT, "all the attempts that it may have were spent"},
        {CLASS_OVER_COST, "it could cost more than its max_cost allows"},
        {CLASS_OVER_LIMIT, "one call of it would take more than a whole limit allows"},
        {CLASS_UNSTORABLE, "the database refused its result's row"},
        {CLASS_MODEL_NOT_LIVE, "its model version is retired or blocked"},
        {CLASS_HELD,
         "what became of a call is not known, and its route holds such jobs for review"},
        {CLASS_GIVEN_UP, "what became of a call is not known, and its route gives such jobs up"},
        {CLASS_SKIPPED, "an operator left it out (inferq skip)"},
        {CLASS_RETRY_BUDGET, "its route's retries are used up for now"},
        {CLASS_UNSENT, "the endpoint could not be reached; nothing was sent"},
        {CLASS_TLS_CONFIG, "the endpoint's certificate was not accepted"},
        {CLASS_AMBIGUOUS, "the request was sent and no whole answer came back"},
        {CLASS_INVALID, "the server refused the request as invalid"},
        {CLASS_CONTEXT_TOO_LONG, "the request is longer than the model's context"},
        {CLASS_CREDENTIAL, "the endpoint refused the credential"},
        {CLASS_NO_UPSTREAM_MODEL, "the endpoint does not know the model"},
        {CLASS_BILLING, "the endpoint's account is out of credit or quota"},
        {CLASS_CONFLICT, "the server reported a conflict or a timeout of its own"},
        {CLASS_THROTTLED, "the server asked to slow down"},
        {CLASS_SERVER_ERROR, "the server failed"},
        {CLASS_OVERLOADED, "the server was overloaded"},
        {CLASS_REFUSED, "the model declined to answer"},
        {CLASS_BAD_OUTPUT, "the answer is not what the job asked for"},
        {CLASS_BAD_REPLY, "the reply is not one of the protocol"},
        {CLASS_UNKNOWN_STATUS, "the server answered with a status that means nothing here"},
        {CLASS_LOST, "the worker died or was cut off with the call open"},
        {CLASS_ABORTED, "the call was given up on our side"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].code == class_code)
            return words[i].text;
    return "for a reason that this release does not know";
}

static void succeeded(const struct why *w, struct buf *out)
{
    switch (w->validation) {
    case VALIDATION_PASSED:
        buf_addf(out, "It succeeded: the answer to call %d passed its check.", w->call_number);
        return;
    case VALIDATION_REASKED:
        buf_addf(out,
                 "It succeeded: the first answer failed its check, the re-ask (call %d) passed.",
                 w->call_number);
        return;
    default:
        buf_addf(out, "It succeeded: call %d gave the answer.", w->call_number);
        return;
    }
}

static void calls(const struct why *w, struct buf *out)
{
    if (w->call_count == 0)
        buf_add_text(out, " without any call");
    else
        buf_addf(out, " after %d call%s", w->call_count, w->call_count == 1 ? "" : "s");
}

void why_sentence(const struct why *w, struct buf *out)
{
    switch (w->status) {
    case STATUS_SUCCEEDED:
        succeeded(w, out);
        return;
    case STATUS_DEAD:
        buf_add_text(out, "It died");
        break;
    case STATUS_CANCELLED:
        buf_add_text(out, "It was cancelled");
        break;
    case STATUS_EXPIRED:
        buf_add_text(out, "It expired");
        break;
    default:
        buf_add_text(out, "It ended");
        break;
    }
    calls(w, out);
    buf_addf(out, ": %s", why_class(w->class_code));
    if (w->reason.p) {
        buf_add_text(out, " (");
        table_clean(w->reason, 0, out);
        buf_add_byte(out, ')');
    }
    buf_add_byte(out, '.');
}
