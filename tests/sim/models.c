/*
 * models.c - the models, and the HTTP edge in front of them.
 *
 * Happy path: a call connects, the worker's gate is asked, the first byte leaves and is written
 * down (the witness: `sim->seen`), the reply comes after its latency. What kind of reply it is
 * follows from the job, the number of the call and what befalls the endpoint at that moment, so
 * that it is the same in a replay. A call ends for its sender at its reply, at its timeout or when
 * it is given up; for a worker that died its calls go on without anybody.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "tests/sim/sim.h"
#include "worker/job.h"

enum { SLOWER = 10 };

struct sim_call {
    struct sim_call *next;
    struct sim_worker *w;
    struct job *job;
    int index, number; /* index: of the job; copied, as the job moves on */
    int seen;          /* index in sim->seen; -1: no byte left */
    struct sim_load *load;
    bool over, aborted;
};

/* ---- what the model makes of it --------------------------------------------------------- */

static uint64_t chance_of(const struct sim *s, int job, int number, int what)
{
    return draw_mix(s->plan->seed, 0x6d6f64656c, (uint64_t)job << 16 | (uint64_t)number,
                    (uint64_t)what);
}

static bool endpoint_has(const struct sim *s, int endpoint, enum fault_kind kind)
{
    return s->endpoint_until_us[endpoint] > s->now_us && s->endpoint_fault[endpoint] == kind;
}

static bool by_fault(const struct sim *s, int endpoint, enum reply_kind *ret)
{
    if (s->endpoint_until_us[endpoint] <= s->now_us)
        return false;
    switch ((int)s->endpoint_fault[endpoint]) {
    case FAULT_ENDPOINT_BUSY:
        *ret = REPLY_503;
        return true;
    case FAULT_ENDPOINT_THROTTLES:
        *ret = REPLY_429;
        return true;
    case FAULT_ENDPOINT_KEY:
        *ret = REPLY_401;
        return true;
    case FAULT_ENDPOINT_MODEL:
        *ret = REPLY_404;
        return true;
    case FAULT_ENDPOINT_HANGS:
        *ret = REPLY_TIMEOUT;
        return true;
    case FAULT_ENDPOINT_CUTS:
        *ret = REPLY_CUT;
        return true;
    default:
        return false;
    }
}

static bool by_temper(const struct sim *s, const struct plan_job *job, enum reply_kind *ret)
{
    static const enum reply_kind kinds[TEMPER_COUNT] = {
        [TEMPER_CRASHES] = REPLY_500,
        [TEMPER_CUTS] = REPLY_CUT,
        [TEMPER_BAD] = REPLY_400,
        [TEMPER_REFUSES] = REPLY_REFUSED,
        [TEMPER_BABBLES] = REPLY_BAD_OUTPUT,
        [TEMPER_GARBLES] = REPLY_GARBLED,
        [TEMPER_SNUBBED] = REPLY_403,
    };
    if (job->temper == TEMPER_PLAIN || job->temper == TEMPER_SLOW ||
        (job->temper == TEMPER_SNUBBED && s->calm) ||
        (job->temper == TEMPER_REFUSES && job->sort == SORT_EMBEDDING))
        return false;
    *ret = kinds[job->temper];
    return true;
}

/* By the endpoint that is called: which one serves a model, the worker's catalogue says. `version`:
 * its row. */
static enum reply_kind reply_of(const struct sim *s, int endpoint, int64_t version, int index,
                                int number)
{
    static const enum reply_kind troubles[] = {
        REPLY_BAD_OUTPUT, REPLY_GARBLED,   REPLY_OTHER_MODEL, REPLY_401,     REPLY_404,
        REPLY_429,        REPLY_429,       REPLY_500,         REPLY_500,     REPLY_503,
        REPLY_502,        REPLY_CUT,       REPLY_CUT,         REPLY_CUT,     REPLY_TIMEOUT,
        REPLY_403,        REPLY_OVERSIZED, REPLY_400,         REPLY_REFUSED,
    };
    const struct plan_job *job = &s->plan->jobs[index];
    const struct plan_scene *scene = s->plan->scene;
    enum reply_kind kind = REPLY_GOOD;
    uint64_t draw = chance_of(s, index, number, 0);
    if (by_fault(s, endpoint, &kind))
        return kind;
    if (s->now_us >= s->plan->conflict_from_us && s->now_us < s->plan->conflict_until_us)
        return REPLY_409;
    if (sim_model_of(s, version) - job->endpoint < job->too_long)
        return REPLY_TOO_LONG;
    if (by_temper(s, job, &kind))
        return kind;
    if (scene && scene->bears && s->tally.at_models >= scene->bears)
        return REPLY_503;
    if (scene && scene->per_minute && limits_calls(s) >= scene->per_minute)
        return REPLY_429;
    if (s->calm || (int)(draw % 1000) >= s->plan->trouble_permille)
        return REPLY_GOOD;
    kind = troubles[(draw >> 16) % (sizeof troubles / sizeof troubles[0])];
    return kind == REPLY_REFUSED && job->sort == SORT_EMBEDDING ? REPLY_GARBLED : kind;
}

static int64_t latency_us(const struct sim *s, int index, int number, enum reply_kind kind)
{
    uint64_t draw = chance_of(s, index, number, 1);
    const struct plan_scene *scene = s->plan->scene;
    if (kind == REPLY_TIMEOUT)
        return s->plan->timeout_us;
    if (scene && kind != REPLY_GOOD)
        return sim_range(draw, 1000, 20000);
    if (scene)
        return sim_range(draw, scene->least_us, scene->most_us);
    int64_t us =
        draw % 3 == 0 ? sim_range(draw >> 8, 100, 5000) : sim_range(draw >> 8, 20000, 2000000);
    if (s->plan->jobs[index].temper == TEMPER_SLOW && !s->calm)
        us = sim_range(draw >> 8, 2000000, 45000000);
    return us < s->plan->timeout_us ? us : s->plan->timeout_us;
}

/* ---- replies ---------------------------------------------------------------------------- */

static const char *content_of(const struct plan_job *job, enum reply_kind kind)
{
    if (kind == REPLY_BAD_OUTPUT)
        return job->sort == SORT_LABEL ? "perhaps" : "";
    return job->sort == SORT_LABEL ? "spam" : "a summary of it";
}

static void write_body(const struct sim *s, int index, enum reply_kind kind, struct buf *out)
{
    const struct plan_job *job = &s->plan->jobs[index];
    int64_t input, output;
    sim_usage(s, index, &input, &output);
    const char *model = kind == REPLY_OTHER_MODEL ? "somebody-else" : "upstream";
    char usage[96];
    (void)snprintf(usage, sizeof usage,
                   "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld}",
                   (long long)input, (long long)output);
    if (kind == REPLY_GARBLED) {
        buf_add_text(out, "{\"choices\":[{\"ind");
    } else if (job->sort == SORT_EMBEDDING) {
        buf_addf(out, "{\"model\":\"%s\",\"data\":[%s],\"usage\":{\"prompt_tokens\":%lld}}", model,
                 kind == REPLY_BAD_OUTPUT ? "" : "{\"index\":0,\"embedding\":[0.5,1]}",
                 (long long)input);
    } else if (kind == REPLY_REFUSED) {
        buf_addf(out,
                 "{\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                 "\"content\":null,\"refusal\":\"no\"},\"finish_reason\":\"stop\"}],%s}",
                 model, usage);
    } else {
        buf_addf(out,
                 "{\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                 "\"content\":\"%s\"},\"finish_reason\":\"stop\"}],%s}",
                 model, content_of(job, kind), usage);
    }
}

static int status_of(enum reply_kind kind)
{
    static const int statuses[REPLY_KINDS] = {
        [REPLY_400] = 400,      [REPLY_401] = 401, [REPLY_403] = 403, [REPLY_404] = 404,
        [REPLY_429] = 429,      [REPLY_500] = 500, [REPLY_503] = 503, [REPLY_502] = 502,
        [REPLY_TOO_LONG] = 400, [REPLY_409] = 409,
    };
    return statuses[kind] ? statuses[kind] : 200;
}

static void fill_in(const struct sim *s, const struct sim_call *c, enum reply_kind kind)
{
    struct http_call *call = &c->job->call->http;
    uint64_t draw = chance_of(s, c->index, c->number, 2);
    call->facts = (struct http_facts){.status = status_of(kind)};
    if (kind == REPLY_CUT || kind == REPLY_TIMEOUT || kind == REPLY_OVERSIZED) {
        call->facts.fault = kind == REPLY_CUT       ? HTTP_FAULT_SENT
                            : kind == REPLY_TIMEOUT ? HTTP_FAULT_TIMEOUT
                                                    : HTTP_FAULT_OVERSIZED;
        call->facts.status = kind == REPLY_TIMEOUT || draw % 2 ? 0 : 200;
    } else if (call->facts.status == 200) {
        write_body(s, c->index, kind, &call->reply);
    } else {
        buf_addf(&call->reply, "{\"error\":{\"message\":\"status %d%s\"}}", call->facts.status,
                 kind == REPLY_TOO_LONG ? ": maximum context length" : "");
        if (kind == REPLY_429 && draw % 3)
            (void)snprintf(call->facts.retry_after, sizeof call->facts.retry_after, "%d",
                           (int)(draw >> 8) % 8);
    }
    call->facts.body = buf_span(&call->reply);
}

/* ---- the edge --------------------------------------------------------------------------- */

static void unlink_call(struct sim_call *c)
{
    struct sim_call **at = &c->w->calls;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->over = true;
}

static void count_end(struct sim *s, const struct http_call *call, int seen)
{
    s->tally.unsent += seen < 0;
    s->tally.refused += call->facts.status == 429;
    s->tally.overloaded += call->facts.status == 503;
    s->tally.answered += call->facts.status == 200;
}

static void finish(struct sim *s, struct sim_call *c, enum http_fault fault)
{
    struct http_call *call = &c->job->call->http;
    unlink_call(c);
    if (c->seen >= 0) {
        s->seen[c->seen].open = false;
        limits_end(s, c->load);
    }
    if (fault != HTTP_FAULT_NONE) {
        call->facts = (struct http_facts){.fault = fault};
    } else {
        s->seen[c->seen].given = true;
        fill_in(s, c, s->seen[c->seen].kind);
    }
    count_end(s, call, c->seen);
    call->done_us = sim_worker_mono(c->w);
    check_call_ended(s, c->w, c->job, &call->facts);
    check_retry_ended(s, c->w, c->job, fault == HTTP_FAULT_NONE ? (int)s->seen[c->seen].kind : -1);
    path_called(c->w->path, c->job);
}

static void reply_comes(struct sim *s, struct sim_worker *w, void *arg)
{
    struct sim_call *c = arg;
    (void)w;
    if (!c->over && !c->aborted)
        finish(s, c, HTTP_FAULT_NONE);
}

static void abort_comes(struct sim *s, struct sim_worker *w, void *arg)
{
    struct sim_call *c = arg;
    (void)w;
    if (!c->over)
        finish(s, c, HTTP_FAULT_ABORTED);
}

/* Its sender hears of it a little later, or much later if it is frozen. */
static void model_ends(struct sim *s, struct sim_worker *nobody, void *arg)
{
    (void)nobody;
    limits_end(s, ((struct sim_call *)arg)->load);
}

/* An earlier answer is among the messages, and so what was wrong with it. */
static bool complains(struct span request)
{
    static const char role[] = "\"role\":\"assistant\"";
    return memmem(request.p, request.n, role, sizeof role - 1) != NULL;
}

static void write_down(struct sim *s, struct sim_call *c)
{
    if (s->seen_count == s->seen_cap) {
        s->seen_cap = s->seen_cap ? 2 * s->seen_cap : 256;
        struct sim_seen *grown = realloc(s->seen, s->seen_cap * sizeof *grown);
        if (!grown)
            exit(3);
        s->seen = grown;
    }
    enum reply_kind kind = reply_of(s, c->job->endpoint, c->job->mv->db_id, c->index, c->number);
    c->seen = (int)s->seen_count++;
    s->seen[c->seen] = (struct sim_seen){
        .job = c->index,
        .number = c->number,
        .slot = c->w->slot,
        .life = c->w->life,
        .worker_id = c->job->claimed_by,
        .at_us = s->now_us,
        .kind = kind,
        .complains = complains(c->job->call->http.request),
        .open = true,
        .earlier = s->jobs[c->index].seen,
    };
    s->jobs[c->index].seen = c->seen + 1;
    s->jobs[c->index].calls++;
    s->counts->calls++;
    s->counts->reply[kind]++;
    TELL(s, c->w, "calls for job %d, call %d, as worker id %lld", c->index, c->number,
         (long long)c->job->claimed_by);
    check_first_byte(s, c->w, c->job, c->seen);
}

static void connected(struct sim *s, struct sim_worker *w, void *arg)
{
    struct sim_call *c = arg;
    if (c->over || c->aborted)
        return;
    if (endpoint_has(s, c->job->endpoint, FAULT_ENDPOINT_DOWN)) {
        finish(s, c, HTTP_FAULT_UNSENT);
        return;
    }
    if (!store_may_send(w->store, c->job->claimed_by) || !path_may_leave(w->path, c->job)) {
        TELL(s, w, "may not send: job %d, call %d", c->index, c->number);
        finish(s, c, HTTP_FAULT_GATE);
        return;
    }
    c->job->call->http.first_byte_us = sim_worker_mono(w);
    write_down(s, c);
    enum reply_kind kind = s->seen[c->seen].kind;
    c->load = limits_leave(w, c->job, c->index, kind != REPLY_429 && kind != REPLY_503);
    int64_t us = latency_us(s, c->index, c->number, kind);
    if (endpoint_has(s, c->job->endpoint, FAULT_ENDPOINT_SLOW))
        us *= SLOWER;
    us = c->load->way_us + us < s->plan->timeout_us ? c->load->way_us + us : s->plan->timeout_us;
    sim_after(s, us, model_ends, c);
    sim_after_for(w, us, reply_comes, c);
}

/* Most connections stand already; some are made, and a few take as long as a worker would wait:
 * between the grant and the first byte a lease can end. */
static int64_t connects_in_us(const struct sim *s, uint64_t draw)
{
    if (s->plan->scene || draw % 8)
        return sim_range(draw >> 8, 100, 4000);
    return draw % 32 ? sim_range(draw >> 8, 1000, 900000) : sim_range(draw >> 8, 1000000, 30000000);
}

enum rc models_call(struct sim_worker *w, struct job *job, struct err *err)
{
    struct sim *s = w->sim;
    uint64_t draw = sim_draw(w);
    if (!s->calm && !s->plan->scene && draw % 500 == 0)
        return err_set(err, RC_NOMEM, "no memory for a request");
    struct sim_call *c = sim_alloc(s, sizeof *c);
    *c = (struct sim_call){.w = w,
                           .job = job,
                           .index = sim_job_of(s, &job->msg.job_id),
                           .number = job->number,
                           .seen = -1,
                           .next = w->calls};
    w->calls = c;
    s->tally.begun++;
    s->tally.first += job->number == 1;
    struct http_call *http = &job->call->http;
    buf_done(&http->reply);
    buf_init(&http->reply, http->reply_max_bytes);
    http->transfer = c;
    http->started_us = sim_worker_mono(w);
    http->first_byte_us = http->done_us = 0;
    check_call_begun(s, w, job->endpoint, job);
    check_retry_begun(s, w, job);
    sim_after_for(w, connects_in_us(s, draw), connected, c);
    return RC_OK;
}

void models_abort(struct sim_worker *w, struct job *job)
{
    struct sim_call *c = job->call->http.transfer;
    if (!c || c->over || c->aborted)
        return;
    c->aborted = true;
    sim_after_for(w, 0, abort_comes, c);
}

int models_waited_for(const struct sim *s, int64_t worker_id)
{
    for (int i = 0; i < s->plan->slots; i++)
        for (const struct sim_call *c = s->workers[i].calls; c; c = c->next)
            if (c->seen >= 0 && !c->aborted && s->seen[c->seen].worker_id == worker_id)
                return c->index;
    return -1;
}

void models_forget(struct sim_worker *w)
{
    for (struct sim_call *c = w->calls; c; c = c->next) {
        c->over = true;
        if (c->seen >= 0) {
            w->sim->seen[c->seen].open = false;
            limits_end(w->sim, c->load);
        }
    }
    w->calls = NULL;
}
