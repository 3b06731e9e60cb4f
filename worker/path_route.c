/*
 * path_route.c - who serves a job by the catalogue in force, and what a call of it may take and
 * cost.
 *
 * Happy path: path_choose finds the model version, its endpoint, its retry policy and its price,
 * and estimates one call. Failure modes: nobody serves it, or one call may cost more than the job's
 * max_cost leaves; the reason says which.
 */
#include "common/utf8.h"
#include "worker/path_internal.h"
#include "worker/policy.h"

enum {
    REPLY_BASE_BYTES = 16 << 10, /* a reply's envelope */
    REPLY_BYTES_PER_TOKEN = 64,  /* more than one token's JSON takes */
};

int64_t path_worst_output_tokens(const struct job *job)
{
    if (job->api == API_EMBEDDINGS)
        return 0;
    if (job->request.max_output_tokens >= 0)
        return job->request.max_output_tokens;
    return job->mv->max_output_tokens > 0 ? job->mv->max_output_tokens : -1;
}

size_t path_reply_cap(const struct path *p, const struct job *job)
{
    int64_t max = p->conf.reply_max_bytes;
    int64_t worst = path_worst_output_tokens(job);
    if (job->api == API_EMBEDDINGS || job->request.open_ended || worst < 0 ||
        worst > max / REPLY_BYTES_PER_TOKEN)
        return (size_t)max;
    int64_t cap = REPLY_BASE_BYTES + worst * REPLY_BYTES_PER_TOKEN;
    return (size_t)(cap < max ? cap : max);
}

/* What one call may take and cost: likely, by what calls of its model version took of late, and at
 * most (a token has at least one byte). -1: not known. */
static void estimate(const struct path *p, struct job *job)
{
    const struct tokens *learned = &p->tokens[job->mv->index];
    int64_t worst = path_worst_output_tokens(job);
    job->estimated_nusd = job->upper_nusd = -1;
    job->estimated_input = tokens_input(learned, (int64_t)job->msg.body.n);
    job->estimated_output = tokens_output(learned, worst);
    if (!job->price)
        return;
    struct usage usage = {.input = job->estimated_input,
                          .cached = -1,
                          .output = job->estimated_output,
                          .reasoning = -1};
    job->estimated_nusd = price_cost_nusd(&job->price->price, &usage);
    if (worst < 0)
        return;
    usage.input = (int64_t)job->msg.body.n;
    usage.output = worst;
    job->upper_nusd = price_cost_nusd(&job->price->price, &usage);
}

const char path_over_cost_reason[] = "its calls so far and one more may cost more than max_cost, "
                                     "or what they cost cannot be bounded "
                                     "(no price in force, or no limit of the output)";

bool path_over_cost(const struct job *job)
{
    if (job->msg.max_cost_nusd < 0)
        return false;
    return job->spent_nusd < 0 || job->upper_nusd < 0 ||
           job->upper_nusd > job->msg.max_cost_nusd - job->spent_nusd;
}

static void no_model(struct span model, struct err *why)
{
    enum { NAMED_BYTES = 160 };
    int n = (int)(model.n > NAMED_BYTES ? utf8_trim(model.p, NAMED_BYTES) : model.n);
    if (model.p)
        (void)err_set(why, RC_REJECT, "the catalogue has no model '%.*s'", n, model.p);
    else
        (void)err_set(why, RC_REJECT,
                      "no model is named, and the catalogue has no default for this app and task");
}

/* As many versions on as its calls have shown that it is too long for; the last one keeps it. What
 * a job is too long for is never guessed: an estimate of tokens is none of the model's, and to be
 * told so costs nothing. */
static const struct cat_model_version *large_enough(const struct path *p, const struct job *job)
{
    const struct cat_model_version *mv = job->mv;
    for (int i = 0; i < job->larger && mv->larger; i++)
        mv = &p->conf.catalogue->versions[mv->larger - 1];
    return mv;
}

/* Who serves it by the catalogue in force. False: nobody, and how it ends. */
bool path_choose(struct path *p, struct job *job, int *ret_class, struct err *why)
{
    char scratch[REQUEST_MODEL_BYTES];
    struct span model = request_model(&job->request, scratch);
    path_serve(p, job);
    job->mv = catalogue_route(p->conf.catalogue, model, job->msg.app, job->msg.task);
    if (!job->mv) {
        *ret_class = CLASS_NO_MODEL;
        no_model(model, why);
        return false;
    }
    job->mv = large_enough(p, job);
    if (job->mv->state == VERSION_RETIRED || job->mv->state == VERSION_BLOCKED) {
        *ret_class = CLASS_MODEL_NOT_LIVE;
        (void)err_set(why, RC_REJECT, "the model version is retired or blocked");
        return false;
    }
    job->endpoint = job->mv->endpoint;
    job->endpoint_id = p->conf.catalogue->endpoints[job->endpoint].db_id;
    job->retry = catalogue_retry(p->conf.catalogue, job->mv, job->msg.app, job->msg.task);
    job->budget = path_budget_of(job);
    job->max_attempts =
        policy_max_attempts(job->retry, job->msg.max_attempts, p->conf.max_attempts);
    job->price = catalogue_price(job->mv, p->edges.wall_ms(p->edges.arg));
    estimate(p, job);
    job->gate = -1;
    if (path_over_cost(job)) {
        *ret_class = CLASS_OVER_COST;
        (void)err_set(why, RC_REJECT, "%s", path_over_cost_reason);
        return false;
    }
    if (job->larger && job->attempts >= job->max_attempts) { /* which are another route's now */
        *ret_class = CLASS_ATTEMPTS_SPENT;
        (void)err_set(why, RC_REJECT,
                      "it is too long for the version that it named, and its attempts are spent");
        return false;
    }
    *ret_class = CLASS_OVER_LIMIT; /* for good: not by limits that were heard of long ago */
    return !p->edges.may_claim(p->edges.arg) || !path_over_limit(p, job, why);
}
