/*
 * jobs.c - the jobs of a plan as records, and the catalogue that serves them.
 */
#include <stdio.h>
#include <string.h>

#include "common/buf.h"
#include "common/job_msg.h"
#include "tests/sim/sim.h"

enum { CREATED_BEFORE_MS = 60 * 1000, MAX_TOKENS = 50 };

/* ---- which job is it? ------------------------------------------------------------------- */

static void remember(struct sim *s, int job)
{
    size_t at = jobid_hash(&s->jobs[job].id) & s->by_id_mask;
    while (s->by_id[at])
        at = (at + 1) & s->by_id_mask;
    s->by_id[at] = (int32_t)job + 1;
}

int sim_job_of(const struct sim *s, const struct jobid *id)
{
    size_t at = jobid_hash(id) & s->by_id_mask;
    for (; s->by_id[at]; at = (at + 1) & s->by_id_mask)
        if (jobid_eq(&s->jobs[s->by_id[at] - 1].id, id))
            return s->by_id[at] - 1;
    return -1;
}

/* ---- records ---------------------------------------------------------------------------- */

static struct span kept(struct sim *s, const struct buf *b)
{
    char *p = sim_alloc(s, b->n + 1);
    memcpy(p, b->p, b->n);
    return (struct span){p, b->n};
}

static void write_job_body(const struct plan_job *job, int index, struct buf *out)
{
    char model[16];
    (void)snprintf(model, sizeof model, "m%d", job->endpoint);
    const char *name = job->sort == SORT_RETIRED    ? "gone"
                       : job->sort == SORT_NO_MODEL ? "unheard-of"
                                                    : model;
    if (job->sort == SORT_EMBEDDING)
        buf_addf(out, "{\"model\":\"%s\",\"input\":\"document %d\"}", name, index);
    else
        buf_addf(out,
                 "{\"model\":\"%s\",\"max_tokens\":%d,\"messages\":[{\"role\":\"user\","
                 "\"content\":\"document %d\"}]}",
                 name, MAX_TOKENS, index);
}

static void make_job_record(struct sim *s, int index)
{
    const struct plan_job *plan = &s->plan->jobs[index];
    struct sim_job *job = &s->jobs[index];
    struct span labels[] = {SPAN_LIT("spam"), SPAN_LIT("ham")};
    char batch[16], custom_id[16];
    struct buf body, label_list, value;
    struct err err = {0};
    (void)snprintf(batch, sizeof batch, "batch-%d", plan->batch);
    (void)snprintf(custom_id, sizeof custom_id, "doc-%d", index);
    buf_init(&body, 4096);
    buf_init(&label_list, 4096);
    buf_init(&value, 8192);
    write_job_body(plan, index, &body);
    enum rc rc = job_msg_labels_encode(labels, 2, &label_list, &err);
    struct job_msg msg = {
        .batch = span_of(batch),
        .custom_id = span_of(custom_id),
        .app = plan->batch % 2 ? SPAN_LIT("app2") : SPAN_LIT("app1"),
        .task = SPAN_LIT("task"),
        .priority = -1,
        .url = plan->sort == SORT_BAD_URL     ? SPAN_LIT("/v1/images")
               : plan->sort == SORT_EMBEDDING ? SPAN_LIT("/v1/embeddings")
                                              : SPAN_LIT("/v1/chat/completions"),
        .body = buf_span(&body),
        .output_kind = plan->sort == SORT_LABEL ? OUTPUT_LABEL : OUTPUT_TEXT,
        .created_at_ms = SIM_WALL_US / 1000 - CREATED_BEFORE_MS - plan->batch,
        .deadline_ms = plan->deadline_us ? (SIM_WALL_US + plan->deadline_us) / 1000 : 0,
        .max_attempts = plan->max_attempts,
        .max_cost_nusd = plan->sort == SORT_POOR ? 0 : -1,
    };
    if (plan->sort == SORT_LABEL) {
        msg.output_labels = buf_span(&label_list);
        msg.output_label_count = 2;
    }
    msg.batch_id = batchid_make(msg.created_at_ms, msg.app, msg.batch);
    msg.job_id = jobid_make(msg.created_at_ms, msg.app, msg.batch, msg.custom_id, 0);
    if (plan->sort == SORT_FORGED)
        msg.job_id.b[ID_BYTES - 1] ^= 1;
    job->id = msg.job_id;
    job->batch_id = msg.batch_id;
    if (rc == RC_OK)
        rc = job_msg_encode(&msg, &value, &err);
    if (rc != RC_OK)
        sim_break(s, "SIM", "job %d cannot be written: %s", index, err.text);
    if (plan->sort == SORT_MALFORMED)
        value.n /= 2;
    job->value = kept(s, &value);
    buf_done(&body);
    buf_done(&label_list);
    buf_done(&value);
}

#define KEY_TEXT "k1:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
static const char ring_text[] = "app1 " KEY_TEXT "\napp2 " KEY_TEXT "\n";

static void sign_records(struct sim *s)
{
    struct sign_key key;
    struct err err = {0};
    if (sign_key_parse(SPAN_LIT(KEY_TEXT), &key, &err) != RC_OK ||
        sign_ring_parse(SPAN_LIT(ring_text), &s->ring, &err) != RC_OK)
        sim_break(s, "SIM", "no signatures can be made: %s", err.text);
    for (int i = 0; i < s->plan->job_count && !s->broken[0]; i++) {
        if (s->plan->jobs[i].sort == SORT_UNSIGNED)
            continue;
        char *header = sim_alloc(s, SIGN_HEADER_BYTES);
        size_t n = sign_header(&key, s->jobs[i].value, header);
        s->jobs[i].signature = (struct span){header, n};
    }
}

bool sim_is_job(const struct sim *s, int job)
{
    enum job_sort sort = s->plan->jobs[job].sort;
    return sort != SORT_MALFORMED && sort != SORT_FORGED &&
           !(sort == SORT_UNSIGNED && s->plan->signatures);
}

void sim_jobs_make(struct sim *s)
{
    size_t count = (size_t)s->plan->job_count, size = 64;
    while (size < 2 * count)
        size *= 2;
    s->jobs = sim_alloc(s, (count + 1) * sizeof *s->jobs);
    s->by_id = sim_alloc(s, size * sizeof *s->by_id);
    s->by_id_mask = size - 1;
    for (int i = 0; i < s->plan->job_count; i++) {
        make_job_record(s, i);
        remember(s, i);
    }
    if (s->plan->signatures)
        sign_records(s);
}

void sim_usage(const struct sim *s, int job, int64_t *ret_input, int64_t *ret_output)
{
    uint64_t draw = draw_mix(s->plan->seed, 0x746f6b656e, (uint64_t)job, 0);
    *ret_input = sim_range(draw, 5, 30);
    *ret_output =
        s->plan->jobs[job].sort == SORT_EMBEDDING ? 0 : sim_range(draw >> 16, 1, MAX_TOKENS);
}

/* ---- the catalogue ---------------------------------------------------------------------- */

static char *name_of(struct sim *s, const char *letter, int number)
{
    char *name = sim_alloc(s, 16);
    (void)snprintf(name, 16, "%s%d", letter, number);
    return name;
}

static void make_model(struct sim *s, int i, bool retired)
{
    static char empty[] = "", one[] = "1", upstream[] = "upstream", gone[] = "gone";
    struct cat_model_version *v = &s->catalogue.versions[i];
    struct cat_price *price = sim_alloc(s, sizeof *price);
    *price = (struct cat_price){
        .db_id = i + 1,
        .price = {
            .input_pusd = 150000, .cached_pusd = -1, .output_pusd = 600000, .reasoning_pusd = -1}};
    char *name = retired ? gone : name_of(s, "m", i);
    *v = (struct cat_model_version){
        .index = i,
        .db_id = i + 1,
        .model = name,
        .version = one,
        .label = name_of(s, "m@", i),
        .upstream_model = upstream,
        .endpoint = retired ? 0 : i,
        .state = retired ? VERSION_RETIRED : VERSION_APPROVED,
        .provider = empty,
        .owner = empty,
        .prices = price,
        .price_count = 1,
        .larger = !retired && s->plan->larger[i] ? i + 2 : 0,
    };
    s->catalogue.models[i] = (struct cat_model){name, i};
}

/* A second version of each model, at the endpoint after its own; and a catalogue in which it
 * serves. */
static void make_moved(struct sim *s)
{
    static char two[] = "2";
    struct catalogue *cat = &s->catalogue;
    int endpoints = cat->endpoint_count;
    for (int i = 0; i < endpoints; i++) {
        struct cat_model_version *v = &cat->versions[cat->version_count];
        *v = cat->versions[i];
        v->index = cat->version_count++;
        v->db_id = cat->version_count;
        v->version = two;
        v->label = name_of(s, "n@", i);
        v->endpoint = (i + 1) % endpoints;
    }
    s->moved = *cat;
    s->moved.models = sim_alloc(s, SIM_MODELS * sizeof *cat->models);
    memcpy(s->moved.models, cat->models, (size_t)cat->model_count * sizeof *cat->models);
    for (int i = 0; i < endpoints; i++)
        s->moved.models[i].current = endpoints + 1 + i;
}

static void make_route(struct sim *s, struct catalogue *cat, const struct plan_route *plan,
                       char *app, int model)
{
    static char any[] = "*";
    static const enum ambiguous says[] = {[UNKNOWN_RETRY] = AMBIGUOUS_RETRY,
                                          [UNKNOWN_HOLD] = AMBIGUOUS_HOLD,
                                          [UNKNOWN_GIVE_UP] = AMBIGUOUS_GIVE_UP};
    if (!plan->is)
        return;
    struct cat_route *route = &cat->routes[cat->route_count++];
    *route = (struct cat_route){app, any, model, CATALOGUE_RETRY_DEFAULT};
    route->retry.ambiguous = says[plan->unknown];
    route->retry.max_attempts = plan->max_attempts;
    route->retry.budget_permille = plan->budget_permille;
    route->retry.ambiguous_nusd_per_day = plan->nusd_per_day;
    route->retry.route = name_of(s, "route", model);
}

static void make_routes(struct sim *s)
{
    static char any[] = "*", app2[] = "app2";
    struct catalogue *cat = &s->catalogue;
    cat->routes = sim_alloc(s, (PLAN_ENDPOINTS + 1) * sizeof *cat->routes);
    for (int i = 0; i < s->plan->endpoints; i++)
        make_route(s, cat, &s->plan->of_model[i], any, i);
    make_route(s, cat, &s->plan->of_app2, app2, -1);
}

struct span sim_endpoint_key(int endpoint)
{
    static const char *const keys[PLAN_ENDPOINTS] = {"e0@1", "e1@1", "e2@1"};
    return span_of(keys[endpoint]);
}

void sim_catalogue_make(struct sim *s)
{
    static char empty[] = "", name[] = "sim";
    struct catalogue *cat = &s->catalogue;
    int endpoints = s->plan->endpoints;
    cat->endpoints = sim_alloc(s, (size_t)endpoints * sizeof *cat->endpoints);
    cat->versions = sim_alloc(s, 2 * SIM_MODELS * sizeof *cat->versions);
    cat->models = sim_alloc(s, SIM_MODELS * sizeof *cat->models);
    cat->name = name;
    cat->endpoint_count = endpoints;
    cat->version_count = cat->model_count = endpoints + 1;
    for (int i = 0; i < endpoints; i++) {
        cat->endpoints[i] = (struct cat_endpoint){
            .index = i,
            .db_id = i + 1,
            .name = name_of(s, "e", i),
            .version = 1,
            .base_url = empty,
            .credential = empty,
            .ca_file = empty,
            .max_in_flight = s->plan->endpoint_in_flight,
            .timeout_us = s->plan->timeout_us,
        };
        make_model(s, i, false);
    }
    make_model(s, endpoints, true);
    make_routes(s);
    make_moved(s);
}
