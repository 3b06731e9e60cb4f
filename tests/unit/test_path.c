/*
 * test_path.c - which jobs the path keeps in memory and which it sends to `parked`, and how many it
 * takes back; what a re-ask says, whatever comes between it and its answer; jobs whose partition is
 * dropped; memory that runs out at each allocation in turn. On a virtual clock with edges of the
 * test's own. What happens to jobs when other things break is the simulation's matter (tests/sim).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "common/job_msg.h"
#include "tests/unit/no_memory.h"
#include "worker/path.h"

enum {
    ENDPOINTS = 2,
    AT_ONCE = 2,
    TURN_US = 10 * 1000,
    SECOND_US = 1000 * 1000,
    SHORT_WAIT_US = 5 * SECOND_US,
    LANE_JOBS = 200,
    JOBS_MAX = 400,
};
#define WALL_MS INT64_C(1763726400000)

struct world {
    struct path *path;
    struct catalogue catalogue;
    struct cat_endpoint endpoints[ENDPOINTS];
    struct cat_model_version versions[ENDPOINTS];
    struct cat_model models[ENDPOINTS];
    int64_t now_us, call_us; /* how long a call takes; 0: for ever */
    struct job *claims[JOBS_MAX], *stores[JOBS_MAX], *parks[JOBS_MAX], *buries[JOBS_MAX];
    struct job *calls[AT_ONCE * ENDPOINTS];
    int64_t ends_at_us[AT_ONCE * ENDPOINTS];
    int claim_count, store_count, park_count, bury_count, call_count;
    int ended, parked, buried, pulled_rows, offset;
    bool is_over[JOBS_MAX];     /* by offset: a result, a parked row or a letter stands */
    int64_t watermark;          /* offsets below it will not be delivered again */
    struct parked_row row;      /* what the first record's job had counted when it was parked */
    enum validation validation; /* of the last to end */
};

/* ---- edges -------------------------------------------------------------------------------- */

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
    (void)arg;
    return true;
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

static void pull(void *arg, int32_t wait_key, int priority, int max_rows)
{
    (void)wait_key, (void)priority;
    ((struct world *)arg)->pulled_rows += max_rows;
}

static enum rc call(void *arg, struct job *job, struct err *err)
{
    struct world *w = arg;
    (void)err;
    assert_true(w->call_count < AT_ONCE * ENDPOINTS);
    w->ends_at_us[w->call_count] = w->now_us + w->call_us;
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
    if (what == SIGHT_ENDED)
        w->validation = job->validation;
    w->ended += what == SIGHT_ENDED;
    w->parked += what == SIGHT_PARKED;
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

static enum rc make_path(struct world *w, struct err *err)
{
    struct path_conf conf = {.lane_count = 1,
                             .catalogue = &w->catalogue,
                             .max_in_flight = AT_ONCE * ENDPOINTS,
                             .max_attempts = 3,
                             .memory_bytes = INT64_C(1) << 30,
                             .reply_max_bytes = 1 << 20,
                             .short_wait_us = SHORT_WAIT_US,
                             .takeover_us = 20 * SECOND_US,
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
                               .pull = pull,
                               .call = call,
                               .abort = give_up,
                               .scrub = scrub,
                               .random = no_chance,
                               .mono_us = mono_us,
                               .wall_ms = wall_ms,
                               .seen = seen};
    return path_new(&conf, &edges, &w->path, err);
}

static struct world *make_world(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    make_catalogue(w);
    w->now_us = SECOND_US;
    return w;
}

static int setup(void **state)
{
    struct world *w = make_world();
    struct err err = {0};
    if (make_path(w, &err) != RC_OK)
        fail_msg("%s", err.text);
    path_assigned(w->path, 0, 0, 1);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    path_free(w->path);
    free(w);
    return 0;
}

/* A job of this endpoint; with labels (a msgpack array of two) its answer must be one of them. */
static void make_record(int number, int endpoint, struct span labels, struct buf *value)
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

static void deliver(struct world *w, int64_t offset, uint32_t epoch, struct span value)
{
    struct record record = {.epoch = epoch, .offset = offset, .value = value};
    path_record(w->path, &record);
}

static void add_job(struct world *w, int endpoint, struct span labels)
{
    struct buf value;
    make_record(w->offset, endpoint, labels, &value);
    deliver(w, w->offset++, 1, buf_span(&value));
    buf_done(&value);
}

static void add_record(struct world *w, int endpoint)
{
    add_job(w, endpoint, (struct span){NULL, 0});
}

static void end_call(struct world *w, int i, int status, const char *content)
{
    char reply[256];
    (void)snprintf(
        reply, sizeof reply,
        "{\"model\":\"up\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
        "\"content\":\"%s\"},\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1,\"total_tokens\":2}}",
        content);
    struct job *job = w->calls[i];
    w->call_count--;
    w->calls[i] = w->calls[w->call_count];
    w->ends_at_us[i] = w->ends_at_us[w->call_count];
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
    end_call(w, i, 200, "y");
}

/* One turn of the loop: every edge answers what it was given before. */
static void turn(struct world *w)
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
    for (int i = 0; i < parks; i++)
        path_parked(w->path, parked[i]);
    for (int i = 0; i < buries; i++)
        path_buried(w->path, buried[i]);
    for (int i = w->call_count; i-- > 0;)
        if (w->call_us && w->ends_at_us[i] <= w->now_us)
            answer_call(w, i);
    (void)path_tick(w->path);
}

/* A turn of a worker whose partitions never run dry. */
static void busy_turn(struct world *w)
{
    if (!path_lane_paused(w->path, 0) && w->offset < JOBS_MAX)
        add_record(w, 0);
    turn(w);
}

static void run_for(struct world *w, int64_t us)
{
    for (int64_t until_us = w->now_us + us; w->now_us < until_us;)
        busy_turn(w);
}

static void fill_lane(struct world *w)
{
    while (path_lane_jobs(w->path, 0) < LANE_JOBS) {
        add_record(w, 0);
        (void)path_tick(w->path);
    }
    assert_true(path_lane_paused(w->path, 0));
}

/* ---- tests -------------------------------------------------------------------------------- */

/* A lane full of one endpoint's jobs, that it works through in ten seconds. */
static void test_a_busy_endpoint_keeps_its_jobs(void **state)
{
    struct world *w = *state;
    w->call_us = SECOND_US / 10;
    fill_lane(w);
    while (w->ended + w->parked < w->offset)
        busy_turn(w);
    assert_int_equal(w->parked, 0);
    assert_int_equal(w->ended, JOBS_MAX);
}

/* One that takes calls and never answers gives way after the short wait. */
static void test_an_endpoint_that_hangs_gives_way(void **state)
{
    struct world *w = *state;
    fill_lane(w);
    run_for(w, SHORT_WAIT_US - SECOND_US);
    assert_int_equal(w->parked, 0);
    run_for(w, 2 * SECOND_US);
    assert_true(w->parked > LANE_JOBS / 8);
}

/* One that works, but would take minutes for what waits, gives way in the end. */
static void test_a_slow_endpoint_gives_way_later(void **state)
{
    struct world *w = *state;
    w->call_us = 2 * SECOND_US;
    fill_lane(w);
    run_for(w, 5 * SHORT_WAIT_US);
    assert_int_equal(w->parked, 0);
    run_for(w, 2 * SHORT_WAIT_US);
    assert_true(w->parked > 0);
}

/* Rows are pulled before an endpoint idles: also while all its calls are out. */
static void test_pulls_ahead_of_a_busy_endpoint(void **state)
{
    struct world *w = *state;
    path_due(w->path, 1, 0, 1000);
    assert_int_equal(w->pulled_rows, 2 * AT_ONCE);
    for (int i = 0; i < AT_ONCE + 1; i++)
        add_record(w, 0);
    turn(w);
    turn(w);
    assert_int_equal(w->call_count, AT_ONCE);
    w->pulled_rows = 0;
    path_due(w->path, 1, 0, 1000);
    assert_int_equal(w->pulled_rows, AT_ONCE - 1); /* one waits already */
    path_due(w->path, 77, 0, 10); /* an endpoint of another catalogue: routing decides anew */
    assert_int_equal(w->pulled_rows, AT_ONCE - 1 + 10);
}

/* ---- re-asks: an answer that is none of the labels is complained of, once ------------------ */

static const struct span labels = {"\x92\xa1y\xa1n", 5};

/* Until so many calls are out. */
static void turn_until_called(struct world *w, int calls)
{
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && w->call_count < calls; i++)
        turn(w);
    assert_int_equal(w->call_count, calls);
}

/* The call's request holds the first answer and what was wrong with it, or neither. */
static void check_complains(const struct job *job, bool wanted)
{
    struct span request = job->call->http.request;
    assert_int_equal(memmem(request.p, request.n, "perhaps", 7) != NULL, wanted);
    assert_int_equal(job->kind == CALL_REASK, wanted);
}

static void test_a_reask_complains(void **state)
{
    struct world *w = *state;
    add_job(w, 0, labels);
    turn_until_called(w, 1);
    check_complains(w->calls[0], false);
    end_call(w, 0, 200, "perhaps");
    turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    end_call(w, 0, 200, "y");
    turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->validation, VALIDATION_REASKED);
}

/* Nobody answers it: what is sent again is the complaint. */
static void test_a_failed_reask_is_sent_as_it_was(void **state)
{
    struct world *w = *state;
    add_job(w, 0, labels);
    turn_until_called(w, 1);
    end_call(w, 0, 200, "perhaps");
    turn_until_called(w, 1);
    end_call(w, 0, 502, "");
    turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    end_call(w, 0, 200, "perhaps not");
    turn(w);
    assert_int_equal(w->ended, 1); /* complained of once */
    assert_int_equal(w->validation, VALIDATION_FAILED);
}

/* A reply that cannot be read has nothing to complain of; it is asked again all the same, once. */
static void test_an_unreadable_reply_is_reasked_once(void **state)
{
    struct world *w = *state;
    add_job(w, 0, labels);
    turn_until_called(w, 1);
    end_call(w, 0, 200, "\"");
    turn_until_called(w, 1);
    assert_int_equal(w->calls[0]->kind, CALL_REASK);
    assert_null(memmem(w->calls[0]->call->http.request.p, w->calls[0]->call->http.request.n,
                       "assistant", 9));
    end_call(w, 0, 200, "\"");
    turn(w);
    assert_int_equal(w->ended, 1);
}

/* Its endpoint is paused before the re-ask is sent: the complaint is gone with the job, and who
 * pulls the row may make one. */
static void test_a_reask_that_was_parked_is_still_to_be_made(void **state)
{
    struct world *w = *state;
    struct buf value;
    add_job(w, 0, labels);
    add_record(w, 0);
    turn_until_called(w, 2);
    int asked = w->calls[0]->offset == 0 ? 0 : 1;
    struct job *other = w->calls[1 - asked];
    end_call(w, asked, 200, "perhaps");
    assert_ptr_equal(w->calls[0], other);
    end_call(w, 0, 401, "");
    turn(w);
    turn(w);
    assert_int_equal(w->parked, 2); /* the other, too, waits for its endpoint */
    w->now_us += 3600 * (int64_t)SECOND_US;
    make_record(0, 0, labels, &value);
    w->row.payload = buf_span(&value);
    w->row.offset = 2; /* of no record: nothing stands for it yet */
    path_pulled(w->path, &w->row);
    buf_done(&value);
    turn_until_called(w, 1);
    check_complains(w->calls[0], false);
    end_call(w, 0, 200, "perhaps");
    turn_until_called(w, 1);
    check_complains(w->calls[0], true);
    end_call(w, 0, 200, "n");
    turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(w->validation, VALIDATION_REASKED);
}

/* ---- memory: the text that was read out of a reply, to be checked ---------------------------- */

/* What is stored is the reply; its text would only take as much memory again. */
static void test_an_answer_waits_once_for_its_store(void **state)
{
    struct world *w = *state;
    add_record(w, 0);
    turn_until_called(w, 1);
    end_call(w, 0, 200, "y");
    assert_int_equal(w->store_count, 1);
    assert_int_equal(w->stores[0]->status, STATUS_SUCCEEDED);
    assert_true(w->stores[0]->call->http.reply.n > 0);
    assert_null(w->stores[0]->answer.p);
}

/* What a re-ask repeats is held until that is answered, and is of the byte budget. */
static void test_an_answer_to_be_repeated_is_of_the_budget(void **state)
{
    struct world *w = *state;
    add_job(w, 0, labels);
    turn_until_called(w, 1);
    int64_t before = path_memory_used(w->path);
    end_call(w, 0, 200, "perhaps");
    const struct job *job = w->stores[0];
    assert_int_equal(job->answer.n, 7);
    assert_int_equal(path_memory_used(w->path), before + (int64_t)job->answer.cap);
    turn_until_called(w, 1);
    end_call(w, 0, 200, "n");
    assert_null(job->answer.p);
    turn(w);
    assert_int_equal(w->ended, 1);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* ---- partitions that are dropped ------------------------------------------------------------ */

/* Claimed or stored for a span that is no more: a letter, and its slot is free again. */
static void test_jobs_of_a_dropped_span_make_room(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < AT_ONCE; i++)
        add_record(w, 0);
    turn(w);
    assert_int_equal(w->claim_count, AT_ONCE);
    struct job *gone = w->claims[--w->claim_count];
    path_gone(w->path, gone);
    assert_int_equal(path_endpoint_in_flight(w->path, 0), AT_ONCE - 1);
    turn_until_called(w, AT_ONCE - 1);
    assert_int_equal(w->buried, 1);
    end_call(w, 0, 200, "y");
    assert_int_equal(w->store_count, 1);
    gone = w->stores[--w->store_count];
    path_gone(w->path, gone);
    turn(w);
    turn(w);
    assert_int_equal(w->buried, 2);
    assert_int_equal(w->ended, 0);
    assert_int_equal(w->watermark, 2);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Heard of before they are claimed: they are not called. */
static void test_jobs_of_a_dropped_span_are_not_called(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < AT_ONCE + 3; i++)
        add_record(w, 0);
    turn_until_called(w, AT_ONCE);
    path_oldest_live(w->path, WALL_MS + 1);
    add_record(w, 1);
    for (int i = 0; i < AT_ONCE; i++)
        answer_call(w, 0);
    for (int i = 0; i < 5; i++)
        turn(w);
    assert_int_equal(w->call_count, 0);
    assert_int_equal(w->buried, 3 + 1);
    assert_int_equal(w->ended, AT_ONCE);
}

/* ---- parked while it runs ---------------------------------------------------------------------
 */

/* A job is called, and delivered once more: its payload goes to `parked` while it runs. Returns it,
 * with the row on its way. */
static struct job *park_running(struct world *w)
{
    struct buf value;
    make_record(0, 0, (struct span){NULL, 0}, &value);
    deliver(w, 0, 1, buf_span(&value));
    deliver(w, 1, 1, buf_span(&value));
    buf_done(&value);
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && !w->park_count; i++)
        turn(w);
    assert_int_equal(w->park_count, 1);
    assert_true(w->parks[0]->parking);
    assert_ptr_equal(w->parks[0], w->calls[0]);
    w->is_over[0] = w->is_over[1] = true; /* once the row stands, which it does by its answer */
    return w->parks[0];
}

/* It has to wait, and its row on the way says that it runs: another must follow. */
static void test_a_job_that_waits_as_it_is_parked(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    end_call(w, 0, 401, "");
    turn(w);
    assert_int_equal(w->park_count, 1);
    assert_ptr_equal(w->parks[0], job);
    assert_false(job->parking);
    assert_int_equal(job->park_key, 1);
    assert_int_equal(w->parked, 0);
    turn(w);
    assert_int_equal(w->parked, 1);
    for (int i = 0; i < SHORT_WAIT_US / TURN_US && path_memory_used(w->path); i++)
        turn(w); /* until the other copy hears of it */
    assert_int_equal(w->watermark, 2);
    assert_int_equal(path_memory_used(w->path), 0);
}

/* Let go in between, it finds itself the holder of a row that nobody else would look at. */
static void test_a_job_let_go_as_it_is_parked(void **state)
{
    struct world *w = *state;
    struct job *job = park_running(w);
    w->park_count = 0; /* the answer takes its time */
    end_call(w, 0, 409, "");
    turn(w);
    assert_int_equal(path_jobs(w->path, JOB_RETRY), 1);
    path_revoke(w->path, true);
    assert_int_equal(path_jobs(w->path, JOB_SETTLED), 1);
    path_parked(w->path, job);
    assert_int_equal(w->claim_count, 1);
    assert_true(job->ask_only);
    w->claim_count = 0;
    job->claim_answer = CLAIM_FREE;
    path_claimed(w->path, job);
    assert_int_equal(w->park_count, 1);
    assert_false(job->parking);
    turn(w);
    assert_int_equal(w->parked, 1);
    assert_true(path_idle(w->path));
    assert_int_equal(path_memory_used(w->path), 0);
}

/* ---- not ours any more ----------------------------------------------------------------------- */

static void test_what_comes_at_the_end_is_not_begun(void **state)
{
    struct world *w = *state;
    struct buf value;
    add_record(w, 0);
    turn_until_called(w, 1);
    int64_t used = path_memory_used(w->path);
    path_revoke(w->path, false);
    add_record(w, 1); /* it was on its way */
    assert_int_equal(path_memory_used(w->path), used);
    end_call(w, 0, 200, "y");
    turn(w);
    assert_int_equal(w->ended, 1);
    path_drain(w->path);
    make_record(7, 1, (struct span){NULL, 0}, &value);
    struct parked_row row = {.number = 1, .partition = -1, .payload = buf_span(&value)};
    path_pulled(w->path, &row);
    buf_done(&value);
    turn(w);
    assert_true(path_idle(w->path));
    assert_int_equal(path_memory_used(w->path), 0);
    assert_int_equal(w->watermark, 1);
}

/* ---- memory runs out ---------------------------------------------------------------------------
 */

/* A turn in which the first answer to each job is bad, its second call fails, and the third is
 * good; a job without labels succeeds at once. */
static void turn_with_answers(struct world *w)
{
    turn(w);
    for (int i = w->call_count; i-- > 0;) {
        bool plain = w->calls[i]->msg.output_kind == OUTPUT_TEXT;
        int number = w->calls[i]->number;
        end_call(w, i, number == 2 ? 409 : 200, plain || number > 2 ? "y" : "perhaps");
    }
}

static void deliver_from(struct world *w, const struct buf *values, int count, uint32_t epoch)
{
    path_assigned(w->path, 0, 0, epoch);
    for (int64_t i = w->watermark; i < count; i++)
        deliver(w, i, epoch, buf_span(&values[i]));
    for (int i = 0; i < 2 * SHORT_WAIT_US / TURN_US && w->watermark < count; i++)
        turn_with_answers(w);
}

/* Whatever allocation fails, no offset passes a job that has not ended (store_offset looks), and
 * once there is memory again all of them end. */
static void test_memory_runs_out(void **state)
{
    enum { COUNT = 80 }; /* more than a new partition has room for */
    struct buf values[COUNT];
    (void)state;
    for (int i = 0; i < COUNT; i++)
        make_record(i, i % ENDPOINTS, i % 3 ? (struct span){NULL, 0} : labels, &values[i]);
    int n = 0;
    for (bool failed = true; failed; n++) {
        struct world *w = make_world();
        struct err err = {0};
        no_memory_at(n);
        enum rc rc = make_path(w, &err);
        if (rc == RC_OK)
            deliver_from(w, values, COUNT, 1);
        failed = no_memory_over();
        if (rc == RC_OK) {
            path_revoke(w->path, true);
            deliver_from(w, values, COUNT, 2);
            assert_int_equal(w->watermark, COUNT);
            assert_int_equal(w->buried, 0);
            path_free(w->path);
        } else {
            assert_int_equal(rc, RC_NOMEM);
            assert_null(w->path);
        }
        free(w);
    }
    assert_true(n > 50);
    for (int i = 0; i < COUNT; i++)
        buf_done(&values[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_busy_endpoint_keeps_its_jobs),
        TEST(test_an_endpoint_that_hangs_gives_way),
        TEST(test_a_slow_endpoint_gives_way_later),
        TEST(test_pulls_ahead_of_a_busy_endpoint),
        TEST(test_a_reask_complains),
        TEST(test_a_failed_reask_is_sent_as_it_was),
        TEST(test_an_unreadable_reply_is_reasked_once),
        TEST(test_a_reask_that_was_parked_is_still_to_be_made),
        TEST(test_jobs_of_a_dropped_span_make_room),
        TEST(test_jobs_of_a_dropped_span_are_not_called),
        TEST(test_a_job_that_waits_as_it_is_parked),
        TEST(test_a_job_let_go_as_it_is_parked),
        TEST(test_what_comes_at_the_end_is_not_begun),
        cmocka_unit_test(test_memory_runs_out),
        TEST(test_an_answer_waits_once_for_its_store),
        TEST(test_an_answer_to_be_repeated_is_of_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
