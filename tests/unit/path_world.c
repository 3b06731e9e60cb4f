/*
 * path_world.c - see path_world.h.
 */
#include "tests/unit/path_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- edges -------------------------------------------------------------------------------- */

enum { REFUSED = -1 /* ends_at_us of a call that its gate did not let go */ };

static void count_parked(void *arg, int32_t wait_key, int64_t most)
{
    struct world *w = arg;
    (void)most;
    w->counts_asked++;
    w->count_key = wait_key;
}

static bool ask_known(void *arg, struct job *const *jobs, int n)
{
    struct world *w = arg;
    if (w->no_asks)
        return false;
    w->times_asked++;
    for (int i = 0; i < n; i++) {
        w->asked_offsets[w->asked_count] = (int)jobs[i]->offset;
        w->asked[w->asked_count++] = jobs[i]->msg.job_id;
    }
    return true;
}

static void ask_skips(void *arg)
{
    ((struct world *)arg)->skips_asked++;
}

static void others_wait(void *arg, int lane, const struct job *job)
{
    struct world *w = arg;
    assert_true(span_eq(job->msg.app, SPAN_LIT("app")));
    w->others_asked++;
    if (w->others_wait)
        path_others_wait(w->path, lane);
}

static void pause_lane(void *arg, int lane, bool on)
{
    (void)arg, (void)lane, (void)on;
}

static void store_offset(void *arg, int lane, int32_t partition, uint32_t epoch, int64_t next)
{
    struct world *w = arg;
    (void)lane, (void)partition, (void)epoch;
    assert_true(next > w->watermark);
    for (; w->watermark < next; w->watermark++)
        assert_true(w->is_over[w->watermark]);
}

static void nothing(void *arg)
{
    (void)arg;
}

static bool may_claim(void *arg)
{
    const struct world *w = arg;
    return !w->cut_off;
}

static void claim(void *arg, struct job *job)
{
    struct world *w = arg;
    w->claims[w->claim_count++] = job;
}

static void store(void *arg, struct job *job)
{
    struct world *w = arg;
    w->stores[w->store_count++] = job;
}

static void park(void *arg, struct job *job)
{
    struct world *w = arg;
    w->parks[w->park_count++] = job;
    if (job->offset == 0)
        w->row = (struct parked_row){.number = job->number,
                                     .attempts = job->attempts,
                                     .reasks = job->reasks,
                                     .partition = -1};
}

static void bury(void *arg, struct job *job)
{
    struct world *w = arg;
    w->buries[w->bury_count++] = job;
}

static void pay(void *arg, struct job *job)
{
    struct world *w = arg;
    assert_int_equal(w->pay_count, 0);
    w->pays[w->pay_count++] = job;
}

static void pull(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    struct world *w = arg;
    (void)lane;
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        assert_true(apps[i].rows > 0);
        w->pulled_rows += (int)apps[i].rows;
        w->pulled_of_others += span_is(apps[i].app, "app") ? 0 : (int)apps[i].rows;
    }
    w->pull_key = wait_key;
}

void world_due(struct world *w, int32_t wait_key, int64_t rows)
{
    struct pull_app app = {.app = SPAN_LIT("app"), .rows = rows};
    path_due(w->path, wait_key, 0, &app, 1);
}

static enum rc call(void *arg, struct job *job, struct err *err)
{
    struct world *w = arg;
    (void)err;
    assert_true(w->call_count < AT_ONCE * ENDPOINTS);
    w->ends_at_us[w->call_count] = path_may_leave(w->path, job) ? w->now_us + w->call_us : REFUSED;
    w->calls[w->call_count++] = job;
    return RC_OK;
}

static void give_up(void *arg, struct job *job)
{
    (void)arg, (void)job;
}

static void scrub(void *arg, int endpoint, char *text, size_t n)
{
    (void)arg, (void)endpoint, (void)text, (void)n;
}

static void unused(void *arg, struct catalogue *catalogue)
{
    ((struct world *)arg)->unused = catalogue;
}

static uint64_t no_chance(void *arg)
{
    (void)arg;
    return 4;
}

static int64_t mono_us(void *arg)
{
    return ((struct world *)arg)->now_us;
}

static int64_t wall_ms(void *arg)
{
    return WALL_MS + ((struct world *)arg)->now_us / 1000;
}

static void seen(void *arg, enum path_sight what, const struct job *job)
{
    struct world *w = arg;
    if (what == SIGHT_ENDED) {
        w->validation = job->validation;
        w->class = job->class;
        (void)snprintf(w->reason, sizeof w->reason, "%s", job->reason ? job->reason : "");
    }
    w->ended += what == SIGHT_ENDED;
    w->parked += what == SIGHT_PARKED;
    if (what == SIGHT_PARKED)
        w->park_key = job->park_key;
    w->buried += what == SIGHT_BURIED;
    if (what == SIGHT_ENDED || what == SIGHT_PARKED || what == SIGHT_BURIED)
        w->is_over[job->offset] = true;
}

/* ---- the world ---------------------------------------------------------------------------- */

static void make_catalogue(struct world *w)
{
    static char empty[] = "", one[] = "1", upstream[] = "up";
    static char names[ENDPOINTS][8] = {"m0", "m1"};
    for (int i = 0; i < ENDPOINTS; i++) {
        w->endpoints[i] = (struct cat_endpoint){.index = i,
                                                .db_id = i + 1,
                                                .name = names[i],
                                                .version = 1,
                                                .base_url = empty,
                                                .credential = empty,
                                                .ca_file = empty,
                                                .max_in_flight = AT_ONCE};
        w->versions[i] = (struct cat_model_version){.index = i,
                                                    .db_id = i + 1,
                                                    .model = names[i],
                                                    .version = one,
                                                    .label = names[i],
                                                    .upstream_model = upstream,
                                                    .endpoint = i,
                                                    .state = VERSION_APPROVED,
                                                    .provider = empty,
                                                    .owner = empty};
        w->models[i] = (struct cat_model){names[i], i};
    }
    w->catalogue = (struct catalogue){.name = names[0],
                                      .endpoints = w->endpoints,
                                      .endpoint_count = ENDPOINTS,
                                      .versions = w->versions,
                                      .version_count = ENDPOINTS,
                                      .models = w->models,
                                      .model_count = ENDPOINTS};
}

enum rc world_make_path(struct world *w, struct err *err)
{
    struct path_conf conf = {.lane_count = 1,
                             .catalogue = &w->catalogue,
                             .admission = w->admission,
                             .max_in_flight = AT_ONCE * ENDPOINTS,
                             .max_attempts = 3,
                             .memory_bytes = INT64_C(1) << 30,
                             .reply_max_bytes = 1 << 20,
                             .short_wait_us = SHORT_WAIT_US,
                             .takeover_us = 20 * SECOND_US,
                             .parked_max = PARKED_JOBS,
                             .offset_span = 100000};
    conf.lanes[0] = (struct lane_conf){
        .name = "normal", .weight = 1, .max_jobs = LANE_JOBS, .max_bytes = 64 << 20};
    struct path_edges edges = {.arg = w,
                               .pause_lane = pause_lane,
                               .store_offset = store_offset,
                               .release = nothing,
                               .may_claim = may_claim,
                               .claim = claim,
                               .store = store,
                               .park = park,
                               .bury = bury,
                               .pay = pay,
                               .pull = pull,
                               .others_wait = others_wait,
                               .count_parked = count_parked,
                               .ask_known = ask_known,
                               .ask_skips = ask_skips,
                               .call = call,
                               .abort = give_up,
                               .scrub = scrub,
                               .unused = unused,
                               .random = no_chance,
                               .mono_us = mono_us,
                               .boot_us = mono_us,
                               .wall_ms = wall_ms,
                               .seen = seen};
    return path_new(&conf, &edges, &w->path, err);
}

struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    make_catalogue(w);
    w->now_us = SECOND_US;
    w->admission = admission_new(NULL, 0);
    assert_non_null(w->admission);
    return w;
}

void world_free(struct world *w)
{
    admission_free(w->admission);
    free(w);
}

int world_setup(void **state)
{
    struct world *w = world_new();
    struct err err = {0};
    if (world_make_path(w, &err) != RC_OK)
        fail_msg("%s", err.text);
    path_assigned(w->path, 0, 0, 1);
    path_skips(w->path, NULL, 0);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;
    path_free(w->path);
    world_free(w);
    return 0;
}

void world_make_record(int number, int endpoint, struct span labels, struct buf *value)
{
    char id[16], body[128];
    struct err err = {0};
    (void)snprintf(id, sizeof id, "d%d", number);
    (void)snprintf(body, sizeof body,
                   "{\"model\":\"m%d\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\","
                   "\"content\":\"x\"}]}",
                   endpoint);
    struct job_msg msg = {.batch = SPAN_LIT("b"),
                          .custom_id = span_of(id),
                          .app = SPAN_LIT("app"),
                          .task = SPAN_LIT("task"),
                          .priority = -1,
                          .url = SPAN_LIT("/v1/chat/completions"),
                          .body = span_of(body),
                          .created_at_ms = WALL_MS,
                          .output_kind = labels.n ? OUTPUT_LABEL : OUTPUT_TEXT,
                          .output_labels = labels,
                          .output_label_count = labels.n ? 2 : 0,
                          .max_attempts = 9,
                          .max_cost_nusd = -1};
    msg.batch_id = batchid_make(WALL_MS, msg.app, msg.batch);
    msg.job_id = jobid_make(WALL_MS, msg.app, msg.batch, msg.custom_id, 0);
    buf_init(value, 4096);
    if (job_msg_encode(&msg, value, &err) != RC_OK)
        fail_msg("%s", err.text);
}

void world_deliver(struct world *w, int64_t offset, uint32_t epoch, struct span value)
{
    struct record record = {.epoch = epoch, .offset = offset, .value = value};
    path_record(w->path, &record);
}

void world_add_job(struct world *w, int endpoint, struct span labels)
{
    struct buf value;
    world_make_record(w->offset, endpoint, labels, &value);
    world_deliver(w, w->offset++, 1, buf_span(&value));
    buf_done(&value);
}

void world_add_record(struct world *w, int endpoint)
{
    world_add_job(w, endpoint, (struct span){NULL, 0});
}

static struct job *take_call(struct world *w, int i)
{
    struct job *job = w->calls[i];
    w->call_count--;
    w->calls[i] = w->calls[w->call_count];
    w->ends_at_us[i] = w->ends_at_us[w->call_count];
    return job;
}

static void refuse_call(struct world *w, int i)
{
    struct job *job = take_call(w, i);
    job->call->http.facts = (struct http_facts){.fault = HTTP_FAULT_GATE};
    job->call->http.done_us = w->now_us;
    w->refused++;
    path_called(w->path, job);
}

void world_end_call(struct world *w, int i, int status, const char *content)
{
    char reply[256];
    (void)snprintf(
        reply, sizeof reply,
        "{\"model\":\"up\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
        content);
    struct job *job = take_call(w, i);
    struct http_call *http = &job->call->http;
    buf_done(&http->reply);
    buf_init(&http->reply, sizeof reply);
    buf_add_text(&http->reply, reply);
    http->facts = (struct http_facts){.status = status, .body = buf_span(&http->reply)};
    http->done_us = w->now_us;
    path_called(w->path, job);
}

static void answer_call(struct world *w, int i)
{
    world_end_call(w, i, 200, "y");
}

void world_tell_known(struct world *w)
{
    int asked = w->asked_count;
    w->asked_count = 0;
    for (int i = 0; i < asked; i++)
        if (w->is_over[w->asked_offsets[i]])
            path_known(w->path, &w->asked[i]);
}

void world_turn(struct world *w)
{
    int claims = w->claim_count, stores = w->store_count, parks = w->park_count;
    int buries = w->bury_count;
    struct job *claimed[JOBS_MAX], *stored[JOBS_MAX], *parked[JOBS_MAX], *buried[JOBS_MAX];
    memcpy(claimed, w->claims, sizeof claimed);
    memcpy(stored, w->stores, sizeof stored);
    memcpy(parked, w->parks, sizeof parked);
    memcpy(buried, w->buries, sizeof buried);
    w->claim_count = w->store_count = w->park_count = w->bury_count = 0;
    w->now_us += TURN_US;
    for (int i = 0; i < claims; i++) {
        claimed[i]->claim_answer = w->is_over[claimed[i]->offset] ? CLAIM_DONE : CLAIM_GRANTED;
        path_claimed(w->path, claimed[i]);
    }
    for (int i = 0; i < stores; i++) {
        stored[i]->stored = true;
        path_stored(w->path, stored[i]);
    }
    world_tell_known(w);
    for (int i = 0; i < parks; i++)
        path_parked(w->path, parked[i]);
    for (int i = 0; i < buries; i++)
        path_buried(w->path, buried[i]);
    for (int i = w->call_count; i-- > 0;) {
        if (w->ends_at_us[i] == REFUSED)
            refuse_call(w, i);
        else if (w->call_us && w->ends_at_us[i] <= w->now_us)
            answer_call(w, i);
    }
    (void)path_tick(w->path);
}

void world_busy_turn(struct world *w)
{
    if (!path_lane_paused(w->path, 0) && w->offset < JOBS_MAX)
        world_add_record(w, 0);
    world_turn(w);
}

void world_run_for(struct world *w, int64_t us)
{
    for (int64_t until_us = w->now_us + us; w->now_us < until_us;)
        world_busy_turn(w);
}

void world_fill_lane(struct world *w)
{
    while (path_lane_jobs(w->path, 0) < LANE_JOBS) {
        world_add_record(w, 0);
        (void)path_tick(w->path);
    }
    assert_true(path_lane_paused(w->path, 0));
}

void world_turn_until_called(struct world *w, int calls)
{
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && w->call_count < calls; i++)
        world_turn(w);
    assert_int_equal(w->call_count, calls);
}
