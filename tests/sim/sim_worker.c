/*
 * sim_worker.c - one worker: the path and the store edge, put together as worker/worker.c does, on
 * a loop whose turns are events of the world.
 *
 * Happy path: something happens to a worker (a record, an answer, a timer); soon after, its turn
 * ends: the path is told that time has passed and the store edge sends what was handed to it, as
 * on_before_wait does. Between any two of these it can be killed, frozen or put to sleep.
 *
 * Replaced at link time: libuv's timer of store_keep.c, and path_move, to see the arrows taken.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "tests/sim/sim.h"
#include "worker/admission.h"
#include "worker/job.h"
#include "worker/path_internal.h"

enum {
    ABORT_WAIT_US = 10 * 1000 * 1000,
    TURN_US = 300,
    NAP_US = 10 * 1000,
    START_AGAIN_US = 3 * 1000 * 1000,
};

/* ---- its clocks ------------------------------------------------------------------------- */

int64_t sim_worker_boot(const struct sim_worker *w)
{
    int64_t now = w->sim->now_us;
    return w->clock_base_us + now + now * w->ppm / 1000000;
}

int64_t sim_worker_mono(const struct sim_worker *w)
{
    return sim_worker_boot(w) - w->slept_us;
}

/* ---- the loop --------------------------------------------------------------------------- */

static void end_life(struct sim_worker *w)
{
    models_forget(w);
    w->dying = true; /* connections are closed without a word to anybody */
    w->sim->running = w;
    store_free(w->store);
    path_free(w->path);
    admission_free(w->admission);
    w->admission = NULL;
    w->sim->running = NULL;
    w->store = NULL;
    w->path = NULL;
    w->conn_count = 0;
    w->dying = false;
    w->phase = SIM_DOWN;
    w->watching_count = 0;
    w->timer = NULL;
    w->life++;
}

/* The real one's patience, or in every other life a tenth of it: what hangs longer than that, and
 * would be rare, is under way then as the worker leaves. */
static int64_t abort_wait_us(const struct sim_worker *w)
{
    uint64_t draw = draw_mix(w->sim->plan->seed, 0x61626f7274, (uint64_t)w->slot, w->life);
    return draw % 2 ? ABORT_WAIT_US : ABORT_WAIT_US / 10;
}

static void store_stopped(void *arg)
{
    struct sim_worker *w = arg;
    w->stopped = true;
}

/* As step_shutdown of worker.c. */
static void step_shutdown(struct sim_worker *w, int64_t now)
{
    if (w->phase == SIM_DRAINING && now >= w->drain_until_us) {
        w->phase = SIM_ABORTING;
        w->drain_until_us = now + abort_wait_us(w);
        path_abort_calls(w->path);
    }
    bool over = path_idle(w->path) || (w->phase == SIM_ABORTING && now >= w->drain_until_us);
    if ((w->phase == SIM_DRAINING || w->phase == SIM_ABORTING) && over) {
        w->phase = SIM_STOPPING;
        store_stop(w->store, store_stopped, w);
    }
}

static void end_of_turn(struct sim *s, struct sim_worker *w, void *arg);

static void turn_within(struct sim_worker *w, int64_t in_us)
{
    int64_t at = w->sim->now_us + in_us;
    if (w->turn_at_us > w->sim->now_us && w->turn_at_us <= at)
        return;
    w->turn_at_us = at;
    sim_after_for(w, in_us, end_of_turn, NULL);
}

/* As on_before_wait. An event that a sooner one has overtaken does nothing. */
static void end_of_turn(struct sim *s, struct sim_worker *w, void *arg)
{
    (void)arg;
    if (w->turn_at_us > s->now_us || w->turn_at_us == 0)
        return;
    w->turn_at_us = 0;
    w->in_turn = true;
    int64_t next = path_tick(w->path);
    int64_t now = sim_worker_mono(w);
    if (w->phase != SIM_RUNNING)
        step_shutdown(w, now);
    store_flush(w->store);
    if (w->phase != SIM_RUNNING && next > w->drain_until_us)
        next = w->drain_until_us;
    if (next != INT64_MAX)
        turn_within(w, next > now + 1000 ? (next - now + 999) / 1000 * 1000 : 1000);
}

void sim_worker_turn(struct sim_worker *w)
{
    if (w->stopped) {
        TELL(w->sim, w, "exits");
        kafka_leave(w);
        end_life(w);
        return;
    }
    if (!w->in_turn)
        turn_within(w, sim_range(sim_draw(w), 0, w->turn_us));
    w->in_turn = false;
}

/* ---- the path's edges, as in worker.c --------------------------------------------------- */

static void edge_pause_lane(void *arg, int lane, bool on)
{
    kafka_pause(arg, lane, on);
}

static void edge_store_offset(void *arg, int lane, int32_t partition, uint32_t epoch, int64_t next)
{
    kafka_store(arg, lane, partition, epoch, next);
}

static void edge_release(void *arg)
{
    kafka_release(arg);
}

static bool edge_may_claim(void *arg)
{
    return store_may_claim(((struct sim_worker *)arg)->store);
}

static void edge_claim(void *arg, struct job *job)
{
    struct sim_worker *w = arg;
    int64_t held_us = job->begun ? w->told_held_us[job->endpoint_id - 1] : 0;
    if (held_us && job->dispatched_us >= held_us)
        sim_break(w->sim, "HD", "worker %s begins a call at endpoint %d, which it knows paused",
                  w->name, job->endpoint_id - 1);
    check_claimed(w->sim, w, job);
    check_dispatched(w->sim, w, job);
    if (job->begun)
        limits_asked(w, job);
    if (job->in_table)
        store_batch_seen(w->store, &job->msg, job->lane);
    store_claim(w->store, job);
}

static void edge_store(void *arg, struct job *job)
{
    struct sim_worker *w = arg;
    if (job->status == STATUS_DEAD && job->class == CLASS_OVER_LIMIT)
        limits_refused(w, job);
    store_batch_seen(w->store, &job->msg, job->lane);
    store_end(w->store, job);
}

static void edge_park(void *arg, struct job *job)
{
    store_park(((struct sim_worker *)arg)->store, job);
}

static void edge_bury(void *arg, struct job *job)
{
    store_bury(((struct sim_worker *)arg)->store, job);
}

static void edge_pay(void *arg, struct job *job)
{
    store_pay(((struct sim_worker *)arg)->store, job);
}

static void edge_pull(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    store_pull(((struct sim_worker *)arg)->store, wait_key, lane, apps, count);
}

static void edge_count_parked(void *arg, int32_t wait_key, int64_t most)
{
    store_count_parked(((struct sim_worker *)arg)->store, wait_key, most);
}

static void edge_others_wait(void *arg, int lane, const struct job *job)
{
    store_others_wait(((struct sim_worker *)arg)->store, lane, job);
}

static bool edge_ask_known(void *arg, struct job *const *jobs, int n)
{
    return store_ask_known(((struct sim_worker *)arg)->store, jobs, n);
}

static void edge_ask_skips(void *arg)
{
    store_ask_skips(((struct sim_worker *)arg)->store);
}

static enum rc edge_call(void *arg, struct job *job, struct err *err)
{
    return models_call(arg, job, err);
}

static void edge_abort(void *arg, struct job *job)
{
    models_abort(arg, job);
}

static void edge_scrub(void *arg, int endpoint, char *text, size_t n)
{
    (void)arg, (void)endpoint, (void)text, (void)n; /* these models know no secrets */
}

static void edge_unused(void *arg, struct catalogue *catalogue)
{
    (void)arg, (void)catalogue; /* the world's */
}

static uint64_t edge_random(void *arg)
{
    return sim_draw(arg);
}

static int64_t edge_mono_us(void *arg)
{
    return sim_worker_mono(arg);
}

static int64_t edge_boot_us(void *arg)
{
    return sim_worker_boot(arg);
}

static int64_t edge_wall_ms(void *arg)
{
    const struct sim_worker *w = arg;
    return (sim_wall_us(w->sim) + w->wall_off_us) / 1000 + store_clock_offset_ms(w->store);
}

static void edge_seen(void *arg, enum path_sight what, const struct job *job)
{
    (void)arg, (void)what, (void)job;
}

/* ---- what the store edge tells ---------------------------------------------------------- */

static void on_claimed(void *arg, struct job *job)
{
    struct sim_worker *w = arg;
    path_claimed(w->path, job);
}

static void on_stored(void *arg, struct job *job)
{
    path_stored(((struct sim_worker *)arg)->path, job);
}

static void on_refused(void *arg, struct job *job, const char *why)
{
    path_store_refused(((struct sim_worker *)arg)->path, job, why);
}

static void on_park_refused(void *arg, struct job *job, const char *why)
{
    path_park_refused(((struct sim_worker *)arg)->path, job, why);
}

static void on_parked(void *arg, struct job *job)
{
    path_parked(((struct sim_worker *)arg)->path, job);
}

static void on_buried(void *arg, struct job *job)
{
    path_buried(((struct sim_worker *)arg)->path, job);
}

static void on_paid(void *arg, struct job *job)
{
    path_paid(((struct sim_worker *)arg)->path, job);
}

static void on_gone(void *arg, struct job *job)
{
    path_gone(((struct sim_worker *)arg)->path, job);
}

static void on_pulled(void *arg, const struct parked_row *row)
{
    struct sim_worker *w = arg;
    TELL(w->sim, w, "pulls parked job %d", sim_job_of(w->sim, &row->job_id));
    path_pulled(w->path, row);
}

static void on_due(void *arg, int32_t wait_key, int lane, const struct pull_app *apps, int count)
{
    path_due(((struct sim_worker *)arg)->path, wait_key, lane, apps, count);
}

static bool on_cancelled(void *arg, const struct jobid *batch_id)
{
    return path_cancelled(((struct sim_worker *)arg)->path, batch_id);
}

static void on_parked_count(void *arg, int32_t wait_key, int64_t rows)
{
    (void)path_parked_count(((struct sim_worker *)arg)->path, wait_key, rows);
}

static void on_others_wait(void *arg, int lane)
{
    path_others_wait(((struct sim_worker *)arg)->path, lane);
}

static void on_known(void *arg, const struct jobid *id)
{
    path_known(((struct sim_worker *)arg)->path, id);
}

static void on_skips(void *arg, const struct skip *list, int count)
{
    path_skips(((struct sim_worker *)arg)->path, list, count);
}

static void on_held(void *arg, const int32_t *endpoint_ids, int count)
{
    struct sim_worker *w = arg;
    for (int i = 0; i < PLAN_ENDPOINTS; i++) {
        bool held = false;
        for (int k = 0; k < count; k++)
            held |= endpoint_ids[k] == i + 1;
        if (!held)
            w->told_held_us[i] = 0;
        else if (!w->told_held_us[i])
            w->told_held_us[i] = sim_worker_mono(w) + 1;
    }
    path_held(w->path, endpoint_ids, count);
}

static void on_limits_moved(void *arg)
{
    path_limits_moved(((struct sim_worker *)arg)->path);
}

static void on_drain(void *arg)
{
    struct sim_worker *w = arg;
    if (w->phase == SIM_RUNNING)
        sim_worker_term(w);
}

static void on_oldest_live(void *arg, int64_t oldest_live_ms)
{
    path_oldest_live(((struct sim_worker *)arg)->path, oldest_live_ms);
}

static void letter_arrives(struct sim *s, struct sim_worker *w, void *arg)
{
    const int64_t *dead_id = arg;
    bool ok = s->calm || sim_draw(w) % 10 != 0;
    store_published(w->store, *dead_id, ok);
}

static void on_publish(void *arg, const struct store_letter *letter)
{
    struct sim_worker *w = arg;
    int64_t *dead_id = sim_alloc(w->sim, sizeof *dead_id);
    *dead_id = letter->dead_id;
    sim_after_for(w, sim_range(sim_draw(w), 1000, 100000), letter_arrives, dead_id);
}

/* ---- making ----------------------------------------------------------------------------- */

static void settings(const struct sim_worker *w, struct path_conf *conf)
{
    const struct plan *plan = w->sim->plan;
    *conf = (struct path_conf){
        .lane_count = plan->lanes,
        .catalogue = &w->sim->catalogue,
        .ring = w->sim->ring,
        .max_in_flight = plan->max_in_flight,
        .max_attempts = plan->max_attempts,
        .memory_bytes = plan->memory_bytes,
        .reply_max_bytes = plan->reply_max_bytes,
        .short_wait_us = plan->short_wait_us,
        .takeover_us = plan->lease_us * 3 / 2,
        .fleet_lease_us = plan->lease_us,
        .parked_max = plan->parked_max,
        .offset_span = plan->offset_span,
    };
    for (int i = 0; i < plan->lanes; i++)
        conf->lanes[i] = (struct lane_conf){
            .name = plan_lane_names[i],
            .weight = plan->lane_weights[i],
            .min_share_permille = 50,
            .max_jobs = (size_t)plan->lane_jobs,
            .max_bytes = 1 << 20,
            .age_boost_us = 10 * INT64_C(1000000),
        };
}

static enum rc make_path(struct sim_worker *w, struct err *err)
{
    struct path_conf conf;
    settings(w, &conf);
    w->catalogue = conf.catalogue;
    w->admission = conf.admission = admission_new(NULL, 0);
    assert(w->admission);
    struct path_edges edges = {
        .arg = w,
        .pause_lane = edge_pause_lane,
        .store_offset = edge_store_offset,
        .release = edge_release,
        .may_claim = edge_may_claim,
        .claim = edge_claim,
        .store = edge_store,
        .park = edge_park,
        .bury = edge_bury,
        .pay = edge_pay,
        .pull = edge_pull,
        .others_wait = edge_others_wait,
        .count_parked = edge_count_parked,
        .ask_known = edge_ask_known,
        .ask_skips = edge_ask_skips,
        .call = edge_call,
        .abort = edge_abort,
        .scrub = edge_scrub,
        .unused = edge_unused,
        .random = edge_random,
        .mono_us = edge_mono_us,
        .boot_us = edge_boot_us,
        .wall_ms = edge_wall_ms,
        .seen = edge_seen,
    };
    return path_new(&conf, &edges, &w->path, err);
}

static enum rc make_store(struct sim_worker *w, struct err *err)
{
    const struct plan *plan = w->sim->plan;
    struct store_conf conf = {
        .conninfo = "",
        .host = w->name,
        .build = "sim",
        .cluster = "sim",
        .topics = plan_lane_topics,
        .lane_codes = plan->lane_codes,
        .lane_count = plan->lanes,
        .lease_us = plan->lease_us,
        .heartbeat_us = plan->heartbeat_us,
        .lease_margin_us = plan->lease_us / 5,
        .fence_after_us = plan->lease_us / 3,
        .unbroken_us = plan->lease_us * 4 / 3,
        .admission = w->admission,
        .lanes = path_lanes(w->path),
        .arg = w,
        .limits_moved = on_limits_moved,
        .learns = w->path,
        .claimed = on_claimed,
        .stored = on_stored,
        .refused = on_refused,
        .park_refused = on_park_refused,
        .gone = on_gone,
        .parked = on_parked,
        .buried = on_buried,
        .paid = on_paid,
        .pulled = on_pulled,
        .due = on_due,
        .cancelled = on_cancelled,
        .skips = on_skips,
        .held = on_held,
        .others_wait = on_others_wait,
        .known = on_known,
        .parked_count = on_parked_count,
        .drain = on_drain,
        .oldest_live = on_oldest_live,
        .publish = on_publish,
    };
    return store_new((struct uv_loop_s *)(void *)w, &conf, &w->store, err);
}

static void start_again(struct sim *s, struct sim_worker *nobody, void *arg)
{
    struct sim_worker *w = arg;
    (void)nobody;
    if (w->phase != SIM_DOWN)
        return;
    if (s->pg_down_until_us > s->now_us) /* it exits at once, and is started again */
        sim_after(s, START_AGAIN_US, start_again, w);
    else
        sim_worker_start(w);
}

void sim_worker_again(struct sim *s, int slot, int64_t in_us)
{
    sim_after(s, in_us, start_again, &s->workers[slot]);
}

void sim_worker_start(struct sim_worker *w)
{
    struct sim *s = w->sim;
    struct err err = {0};
    uint64_t draw = sim_draw(w);
    w->phase = SIM_RUNNING;
    w->stopped = w->in_turn = w->dying = w->lose_commit = false;
    w->frozen_until_us = w->pg_silent_until_us = w->turn_at_us = 0;
    w->conn_count = 0;
    w->clock_base_us = sim_range(draw, 1000000, INT64_C(1000000000));
    w->ppm = (int)sim_range(draw >> 20, -10000, 10000); /* a bad quartz: 1 % */
    w->wall_off_us = sim_range(draw >> 40, -400000, 400000);
    w->slept_us = 0;
    memset(w->told_held_us, 0, sizeof w->told_held_us);
    memset(w->ramp, 0, sizeof w->ramp);
    memset(w->retries, 0, sizeof w->retries);
    memset(w->known, 0, sizeof w->known);
    w->turn_us = (draw >> 12) % 4 ? TURN_US : NAP_US; /* as if it had thousands of long calls */
    (void)snprintf(w->name, sizeof w->name, "worker %d.%u", w->slot, (unsigned)w->life);
    TELL(s, w, "starts");
    s->running = w;
    enum rc rc = make_path(w, &err);
    if (rc == RC_OK)
        rc = make_store(w, &err);
    s->running = NULL;
    if (rc != RC_OK) {
        sim_break(s, "SIM", "a worker cannot be made: %s", err.text);
        return;
    }
    path_oldest_live(w->path, 0);
    kafka_join(w);
    turn_within(w, 0);
}

void sim_worker_crash(struct sim_worker *w)
{
    if (w->phase == SIM_DOWN)
        return;
    TELL(w->sim, w, "is killed");
    w->sim->counts->crashes++;
    sim_pg_freeze(w);
    end_life(w);
}

/* As reload.c does once it is in the tables. */
static void take_catalogue(struct sim_worker *w, struct catalogue *next)
{
    const struct catalogue *held = w->catalogue;
    struct err err = {0};
    for (int i = 0; i < held->endpoint_count; i++)
        if (catalogue_moved_off(held, next, i))
            store_wake(w->store, held->endpoints[i].db_id);
    enum rc rc = path_prepare(w->path, next, &err);
    assert(rc == RC_OK);
    (void)rc;
    w->catalogue = next;
    path_take(w->path, next);
    store_tell_held(w->store);
}

void sim_worker_reload(struct sim_worker *w, uint64_t draw)
{
    static const int64_t short_waits_us[] = {0, 1000000, 5000000};
    struct path_conf conf;
    struct err err = {0};
    settings(w, &conf);
    conf.max_in_flight = 1 + (int)(draw % (uint64_t)(2 * conf.max_in_flight));
    conf.short_wait_us = short_waits_us[draw / 64 % 3];
    conf.offset_span += (int64_t)(draw / 256 % 50);
    for (int i = 0; i < conf.lane_count; i++) {
        conf.lanes[i].weight = 1 + (int)(draw >> (8 * i) & 15);
        conf.lanes[i].max_jobs = 1 + (size_t)(draw >> (4 * i) & 31);
    }
    enum rc rc = path_configure(w->path, &conf, &err);
    assert(rc == RC_OK);
    (void)rc;
    take_catalogue(w, draw >> 63 ? &w->sim->moved : &w->sim->catalogue);
    int endpoint = (int)(draw / 4096 % (uint64_t)w->sim->catalogue.endpoint_count);
    path_renewed(w->path, endpoint);
    store_wake(w->store, w->sim->catalogue.endpoints[endpoint].db_id);
}

/* A first SIGTERM drains; a second one gives calls up. */
void sim_worker_term(struct sim_worker *w)
{
    if (w->phase == SIM_RUNNING) {
        TELL(w->sim, w, "is told to stop");
        w->phase = SIM_DRAINING;
        w->drain_until_us = sim_worker_mono(w) + w->sim->plan->drain_us;
        kafka_stop(w);
        path_drain(w->path);
    } else if (w->phase == SIM_DRAINING) {
        TELL(w->sim, w, "is told to stop at once");
        w->drain_until_us = sim_worker_mono(w);
    }
}

/* ---- replaced at link time -------------------------------------------------------------- */

int __wrap_uv_timer_init(uv_loop_t *loop, uv_timer_t *timer);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t first_ms, uint64_t every_ms);
void __wrap_uv_close(uv_handle_t *handle, uv_close_cb closed);
void __wrap_path_move(struct path *p, struct job *job, enum job_state next);
void __real_path_move(struct path *p, struct job *job, enum job_state next);
void __wrap_path_learned_heard(struct path *p, const struct learned_row *rows, int n,
                               int64_t sent_us);
void __real_path_learned_heard(struct path *p, const struct learned_row *rows, int n,
                               int64_t sent_us);

int __wrap_uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    timer->loop = loop;
    return 0;
}

static void timer_fires(struct sim *s, struct sim_worker *w, void *arg)
{
    (void)s, (void)arg;
    if (!w->timer)
        return;
    sim_after_for(w, w->timer_every_us, timer_fires, NULL);
    w->timer_fn(w->timer);
}

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb fn, uint64_t first_ms, uint64_t every_ms)
{
    struct sim_worker *w = (struct sim_worker *)(void *)timer->loop;
    w->timer = timer;
    w->timer_fn = fn;
    w->timer_every_us = (int64_t)every_ms * 1000;
    sim_after_for(w, (int64_t)first_ms * 1000, timer_fires, NULL);
    return 0;
}

void __wrap_uv_close(uv_handle_t *handle, uv_close_cb closed)
{
    struct sim_worker *w = (struct sim_worker *)(void *)handle->loop;
    w->timer = NULL;
    closed(handle);
}

void __wrap_path_learned_heard(struct path *p, const struct learned_row *rows, int n,
                               int64_t sent_us)
{
    struct sim_worker *w = sim_here->running;
    for (int i = 0; i < PLAN_ENDPOINTS; i++) {
        bool closed = false;
        for (int k = 0; k < n; k++)
            closed |= rows[k].probing && span_eq(rows[k].endpoint, sim_endpoint_key(i));
        check_learned(w, i, closed, sent_us);
    }
    __real_path_learned_heard(p, rows, n, sent_us);
}

void __wrap_path_move(struct path *p, struct job *job, enum job_state next)
{
    struct sim_worker *w = sim_here->running;
    enum job_state from = job->state;
    __real_path_move(p, job, next);
    if (!w)
        return;
    sim_here->counts->arrow[from][next]++;
    if (sim_here->telling && next != JOB_ADMIT && next != JOB_ROUTE && next != JOB_CHECK)
        TELL(sim_here, w, "job %d: %s > %s", sim_job_of(sim_here, &job->msg.job_id),
             job_state_name(from), job_state_name(next));
    faults_arrow(w, from, next);
}
