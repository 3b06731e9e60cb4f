/*
 * path_output.c - is a reply's output what its job asked for, and what does a re-ask say?
 *
 * Happy path: the adapter's text is held against the job's schema or labels, compiled once for all
 * jobs that ask for the same. Failure mode: anything else becomes bad_output, with the complaint
 * for a re-ask if there is one.
 */
#include <stdlib.h>
#include <string.h>

#include "common/outspec.h"
#include "worker/path_internal.h"

static const struct outspec *spec_of(struct path *p, const struct job *job, struct err *err)
{
    struct span key =
        job->msg.output_kind == OUTPUT_JSON ? job->msg.output_schema : job->msg.output_labels;
    if (p->spec && span_eq(key, buf_span(&p->spec_key)))
        return p->spec;
    outspec_free(p->spec);
    p->spec = NULL;
    buf_reset(&p->spec_key);
    if (outspec_of_job(&job->msg, &p->spec, err) == RC_OK && !buf_add_span(&p->spec_key, key)) {
        outspec_free(p->spec);
        p->spec = NULL;
    }
    return p->spec;
}

void path_check_output(struct path *p, struct job *job)
{
    struct err err = {0};
    struct outcome *o = &job->call->outcome;
    if (o->class == CLASS_BAD_OUTPUT) /* empty or cut: the adapter saw it */
        job->validation = VALIDATION_FAILED;
    if (o->class != CLASS_OK || job->msg.output_kind == OUTPUT_TEXT)
        return;
    const struct outspec *spec = spec_of(p, job, &err);
    if (spec && outspec_check(spec, buf_span(&job->answer), &err) == RC_OK) {
        job->validation = job->reasks ? VALIDATION_REASKED : VALIDATION_PASSED;
        return;
    }
    job->validation = VALIDATION_FAILED;
    o->class = CLASS_BAD_OUTPUT;
    free(o->error);
    o->error = strdup(err.text);
    struct buf complaint;
    buf_init(&complaint, 8 << 10);
    size_t n = 0;
    if (spec && outspec_reask(spec, err.text, &complaint) && buf_add_byte(&complaint, 0)) {
        free(job->complaint);
        job->complaint = buf_take(&complaint, &n);
    }
    buf_done(&complaint);
}
