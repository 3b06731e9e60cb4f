/*
 * store_keep.c - what keeps the worker alive in the eyes of others, and the house in order.
 *
 * Every 3 s the heartbeat, whose answer may tell this worker to drain; every second a look at due
 * parked jobs and letters to publish; every 5 s, and when notified, one at what operators want
 * (batches cancelled, endpoints paused, records left out); every 5 s dead workers are fenced and
 * what they had taken is freed. One worker in the fleet, the keeper (a session advisory lock),
 * makes partitions, rolls up progress and publishes dead letters. All on a connection of its own,
 * without waiting for the disk but where others rely on what was said.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "worker/store_internal.h"
#include "worker/store_learned.h"
#include "worker/store_limits.h"

enum {
    TIMER_MS = 100,
    SECOND_US = 1000 * 1000,
    SLOW_US = 5 * 1000 * 1000,
    DUE_MAX = 1000,     /* due rows are counted up to this, per key */
    EXPIRED_MAX = 500,  /* parked rows woken by their deadline, a second */
    WOKEN_MAX = 2000,   /* parked rows woken for their endpoint's sake, a transaction */
    LETTERS_MAX = 200,  /* dead letters on their way to the topic */
    ROLL_UP_ROWS = 200, /* progress rows of a batch before they are rolled up */
    CLOCK_ALERT_MS = 1000,
    CANCELS_AGAIN_MS = 3600 * 1000, /* cancellations are read again for so long */
    FIGURES_US = 30 * 1000 * 1000,  /* how often the keeper counts for those who watch */
};

static void keep_txn(struct store *s, const struct pg_step *steps, int count, pg_done done,
                     bool *busy)
{
    struct err err = {0};
    if (pg_txn(s->keep_conn, steps, count, done, s, &err) == RC_OK && busy)
        *busy = true;
}

static void warn(const char *what, const struct pg_answer *answer)
{
    if (answer->rc != RC_OK && answer->sqlstate[0])
        log_event(LOG_WARN, "housekeeping failed", LF_STR("what", what),
                  LF_STR("sqlstate", answer->sqlstate), LF_STR("why", answer->err.text));
}

/* ---- the lease ------------------------------------------------------------------------------- */

static void take_time(struct store *s, int64_t postgres_ms)
{
    s->clock_offset_ms = postgres_ms - clock_wall_ms();
    if (llabs(s->clock_offset_ms) > CLOCK_ALERT_MS)
        log_event(LOG_WARN, "this machine's clock is off", LF_INT("offset_ms", s->clock_offset_ms));
}

/* The lease counts from when its renewal was sent: by Postgres's clock it ends no earlier. */
static void lease_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->renewing = false;
    FAILPOINT("lease.answered");
    if (answer->rc != RC_OK) {
        warn("lease", answer);
        return;
    }
    const struct pg_rows *row = answer->rows[answer->step_count - 1];
    if (pg_row_count(row) == 0) {
        FAILPOINT("lease.fenced");
        log_event(LOG_WARN, "this worker was fenced; it goes on under a new id",
                  LF_INT("worker", s->worker_id));
        s->figures.fenced++;
        s->worker_id = 0;
        s->next_heartbeat_us = 0;
        return;
    }
    int64_t id = pg_get_int(row, 0, 0);
    if (id != s->worker_id)
        log_event(LOG_INFO, "registered", LF_INT("worker", id));
    s->worker_id = id;
    s->lease_until_us = s->renewal_sent_us + s->conf.lease_us;
    take_time(s, pg_get_int(row, 0, 1));
    if (pg_get_bool(row, 0, 2))
        s->conf.drain(s->conf.arg);
}

/* A beat that Postgres forgets in a crash is only sent again. But an id that it forgets, it gives
 * to another: then one says good-bye for both, and what the other has open is called again. */
static void renew(struct store *s)
{
    if (s->renewing || s->stopping)
        return;
    pg_params_reset(s->params);
    int statement = SQL_HEARTBEAT;
    if (s->worker_id) {
        pg_add_int(s->params, PG_INT8, s->worker_id);
    } else {
        statement = SQL_REGISTER;
        pg_add_text(s->params, span_of(s->conf.host));
        pg_add_int(s->params, PG_INT4, getpid());
        pg_add_text(s->params, span_of(s->conf.build));
    }
    pg_add_int(s->params, PG_INT8, s->conf.lease_us / SECOND_US);
    s->renewal_sent_us = clock_boot_us();
    struct pg_step steps[] = {{SQL_DURABLE, NULL}, {statement, s->params}};
    bool durably = statement == SQL_REGISTER;
    keep_txn(s, durably ? steps : steps + 1, durably ? 2 : 1, lease_answered, &s->renewing);
    FAILPOINT("lease.sent");
}

/* ---- every second
 * -------------------------------------------------------------------------------- */

/* An operator has paused it: what waits for it cannot run, however due it is. */
static bool is_held(const struct store *s, int64_t endpoint_id)
{
    for (int i = 0; i < s->held_count; i++)
        if (s->held[i] == endpoint_id)
            return true;
    return false;
}

/* The rows of a key and lane from `from` on, as the path is told of them. Returns the row behind
 * them. */
static int tell_due(struct store *s, const struct pg_rows *due, int from, struct pull_app *apps)
{
    int64_t key = pg_get_int(due, from, 0), code = pg_get_int(due, from, 1), rows = 0;
    int lane = store_lane_of(s, code), count = 0, i = from;
    for (; i < pg_row_count(due) && pg_get_int(due, i, 0) == key && pg_get_int(due, i, 1) == code;
         i++) {
        struct pull_app app = {.app = pg_get_span(due, i, 3), .rows = pg_get_int(due, i, 2)};
        if (app.rows > 0)
            apps[count++] = app;
        rows += app.rows;
    }
    if (lane < 0)
        return i; /* other workers serve it */
    /* More workers would not help those of a held endpoint, or of a limit. */
    if (!is_held(s, key) && key >= 0)
        s->parked_due += rows;
    if (count)
        s->conf.due(s->conf.arg, (int32_t)key, lane, apps, count);
    return i;
}

static void second_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->second_busy = false;
    warn("due", answer);
    if (answer->rc != RC_OK)
        return;
    const struct pg_rows *due = answer->rows[1];
    struct pull_app *apps = malloc(((size_t)pg_row_count(due) + 1) * sizeof *apps);
    s->parked_due = apps ? 0 : s->parked_due; /* else it is asked again in a second */
    for (int i = 0; apps && i < pg_row_count(due);)
        i = tell_due(s, due, i, apps);
    free(apps);
}

static void look_for_due(struct store *s)
{
    if (s->second_busy)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, EXPIRED_MAX);
    pg_params_reset(s->more_params);
    pg_add_int(s->more_params, PG_INT8, DUE_MAX);
    struct pg_step steps[] = {{SQL_WAKE_EXPIRED, s->params}, {SQL_DUE, s->more_params}};
    keep_txn(s, steps, 2, second_answered, &s->second_busy);
}

static void freed(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->free_busy = false;
    warn("free", answer);
    if (answer->rc != RC_OK)
        s->pull_lost = true;
}

/* A pull may have taken rows and its answer never came: nobody would look at them while we live. So
 * all that are ours are let go, those of jobs that run here too: whoever pulls one of these finds
 * the call in the ledger, and we find that the row is not ours any more. */
static void free_unknown(struct store *s)
{
    if (!s->pull_lost || s->free_busy || s->pulling || !s->worker_id)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    struct pg_step step = {SQL_STOP_FREE, s->params};
    s->pull_lost = false;
    keep_txn(s, &step, 1, freed, &s->free_busy);
    s->pull_lost = !s->free_busy;
}

static void woken(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->wake_busy = false;
    warn("wake", answer);
    if (answer->rc == RC_OK && pg_get_int(answer->rows[0], 0, 0) < WOKEN_MAX)
        s->wake_count--;
}

/* The last of the list, again and again until none of its rows is left to wake: those that are due
 * already are not looked at again, so all of it is linear. */
static void wake_next(struct store *s)
{
    if (s->wake_busy || !s->wake_count)
        return;
    const struct store_wake *wake = &s->wakes[s->wake_count - 1];
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT4, wake->wait_key);
    pg_add_int(s->params, PG_INT2, s->conf.lane_codes[wake->lane]);
    pg_add_int(s->params, PG_INT8, WOKEN_MAX);
    struct pg_step step = {SQL_WAKE_KEY, s->params};
    keep_txn(s, &step, 1, woken, &s->wake_busy);
}

void store_wake(struct store *s, int32_t wait_key)
{
    size_t count = (size_t)s->wake_count + (size_t)s->conf.lane_count;
    struct store_wake *grown = realloc(s->wakes, count * sizeof *grown);
    if (!grown)
        return; /* they wake when their pause is over */
    s->wakes = grown;
    /* Before those that wait already: the last one's transaction may be under way. */
    memmove(grown + s->conf.lane_count, grown, (size_t)s->wake_count * sizeof *grown);
    for (int i = 0; i < s->conf.lane_count; i++)
        grown[i] = (struct store_wake){.wait_key = wait_key, .lane = i};
    s->wake_count = (int)count;
}

/* The first row says when it was looked, by Postgres's clock: the next look asks from an hour
 * before that on, for a transaction may commit after one that began later, and clocks are set back.
 */
static void take_cancelled(struct store *s, const struct pg_rows *rows)
{
    bool all = true;
    for (int i = 1; i < pg_row_count(rows); i++) {
        struct jobid id = pg_get_uuid(rows, i, 0);
        all &= s->conf.cancelled(s->conf.arg, &id);
    }
    if (all)
        s->cancelled_from_ms = pg_get_time_ms(rows, 0, 1) - CANCELS_AGAIN_MS;
}

static void take_held(struct store *s, const struct pg_rows *rows)
{
    int n = pg_row_count(rows);
    int32_t *held = malloc(((size_t)n + 1) * sizeof *held);
    if (!held)
        return; /* it is asked again in a few seconds */
    for (int i = 0; i < n; i++)
        held[i] = (int32_t)pg_get_int(rows, i, 0);
    free(s->held);
    s->held = held;
    s->held_count = n;
    s->conf.held(s->conf.arg, held, n);
}

static int lane_of(const struct store *s, struct span topic)
{
    for (int lane = 0; lane < s->conf.lane_count; lane++)
        if (span_is(topic, s->conf.topics[lane]))
            return lane;
    return -1; /* of another environment in this database */
}

static void take_skips(struct store *s, const struct pg_rows *rows)
{
    int n = pg_row_count(rows), count = 0;
    struct skip *list = calloc((size_t)n + 1, sizeof *list);
    if (!list)
        return; /* it is asked again in a few seconds */
    for (int i = 0; i < n; i++) {
        int lane = lane_of(s, pg_get_span(rows, i, 0));
        if (lane >= 0)
            list[count++] = (struct skip){.lane = lane,
                                          .partition = (int32_t)pg_get_int(rows, i, 1),
                                          .offset = pg_get_int(rows, i, 2),
                                          .reason = pg_get_span(rows, i, 3)};
    }
    s->conf.skips(s->conf.arg, list, count);
    free(list);
}

void store_tell_held(struct store *s)
{
    s->conf.held(s->conf.arg, s->held, s->held_count);
}

static void look_for_wishes(struct store *s);

static void wishes_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    bool again = s->wishes_again;
    s->wishes_busy = false;
    warn("wishes", answer);
    if (again)
        look_for_wishes(s);
    if (answer->rc != RC_OK)
        return;
    take_cancelled(s, answer->rows[0]);
    take_held(s, answer->rows[1]);
    if (!again) /* who asked meanwhile wants them as they stand now */
        take_skips(s, answer->rows[2]);
}

/* What operators want: batches cancelled, endpoints paused, records left out. A notification that
 * comes while the tables are being read may be of what the answer does not hold yet. */
static void look_for_wishes(struct store *s)
{
    s->wishes_again = s->wishes_busy;
    if (s->wishes_busy)
        return;
    pg_params_reset(s->params);
    pg_add_time_ms(s->params, s->cancelled_from_ms);
    struct pg_step steps[] = {{SQL_CANCELLED, s->params}, {SQL_HELD, NULL}, {SQL_SKIPS, NULL}};
    keep_txn(s, steps, 3, wishes_answered, &s->wishes_busy);
}

void store_ask_skips(struct store *s)
{
    if (pg_is_up(s->keep_conn)) /* else once it is */
        look_for_wishes(s);
}

/* ---- how many are parked?
 * ----------------------------------------------------------------------- */

static void count_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->count_busy = false;
    warn("count", answer);
    if (answer->rc == RC_OK)
        s->conf.parked_count(s->conf.arg, s->counted_key, pg_get_int(answer->rows[0], 0, 0));
}

void store_count_parked(struct store *s, int32_t wait_key, int64_t most)
{
    if (s->count_busy)
        return;
    s->counted_key = wait_key;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT4, wait_key);
    pg_add_int(s->params, PG_INT8, most);
    struct pg_step step = {SQL_PARKED_COUNT, s->params};
    keep_txn(s, &step, 1, count_answered, &s->count_busy);
}

/* ---- who waits behind a crowd?
 * ------------------------------------------------------------------- */

static void others_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->others_busy = false;
    warn("others", answer);
    if (answer->rc == RC_OK && pg_get_bool(answer->rows[0], 0, 0))
        s->conf.others_wait(s->conf.arg, s->others_lane);
}

void store_others_wait(struct store *s, int lane, const struct job *job)
{
    if (s->others_busy || !s->worker_id)
        return;
    s->others_lane = lane;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT2, s->conf.lane_codes[lane]);
    pg_add_text(s->params, job->msg.app);
    pg_add_time_ms(s->params, job->timestamp_ms);
    struct pg_step step = {SQL_OTHERS_WAIT, s->params};
    keep_txn(s, &step, 1, others_answered, &s->others_busy);
}

/* ---- batches that are new to us
 * ------------------------------------------------------------------ */

static void seen_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->seen_busy = false;
    warn("batches", answer);
    if (answer->rc != RC_OK)
        return; /* they are told again by the records that follow */
    s->seen_count = 0;
}

static void add_name(struct pg_params *p, const char *name)
{
    pg_elem_span(p, name[0] ? span_of(name) : (struct span){NULL, 0});
}

static void register_batches(struct store *s)
{
    if (s->seen_busy || !s->seen_count)
        return;
    struct pg_params *p = s->params;
    int n = s->seen_count;
    pg_params_reset(p);
    pg_array(p, PG_UUID);
    for (int i = 0; i < n; i++)
        pg_elem_uuid(p, &s->seen[i].batch_id);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        add_name(p, s->seen[i].app);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        add_name(p, s->seen[i].name);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        add_name(p, s->seen[i].task);
    pg_array(p, PG_TEXT);
    for (int i = 0; i < n; i++)
        add_name(p, s->seen[i].team);
    pg_array(p, PG_INT2);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, s->conf.lane_codes[s->seen[i].lane]);
    pg_array(p, PG_INT8);
    for (int i = 0; i < n; i++)
        pg_elem_int(p, s->seen[i].created_ms);
    struct pg_step step = {SQL_BATCH_SEEN, p};
    keep_txn(s, &step, 1, seen_answered, &s->seen_busy);
}

static void copy_name(char *out, size_t out_bytes, struct span name)
{
    size_t n = name.n < out_bytes - 1 ? name.n : out_bytes - 1;
    if (n)
        memcpy(out, name.p, n);
    out[n] = '\0';
}

void store_batch_seen(struct store *s, const struct job_msg *msg, int lane)
{
    struct jobid *known = &s->known[jobid_hash(&msg->batch_id) % STORE_KNOWN_BATCHES];
    if (jobid_eq(known, &msg->batch_id) || s->seen_busy || s->seen_count == STORE_SEEN_MAX)
        return;
    *known = msg->batch_id;
    struct store_seen *seen = &s->seen[s->seen_count++];
    seen->batch_id = msg->batch_id;
    copy_name(seen->app, sizeof seen->app, msg->app);
    copy_name(seen->name, sizeof seen->name, msg->batch);
    copy_name(seen->task, sizeof seen->task, msg->task);
    copy_name(seen->team, sizeof seen->team, msg->team);
    seen->lane = lane;
    seen->created_ms = msg->created_at_ms;
}

/* ---- every five seconds ---------------------------------------------------------------------- */

static void oldest_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->slow_busy = false;
    FAILPOINT("fence.answered");
    warn("fence", answer);
    if (answer->rc != RC_OK)
        return;
    s->oldest_live_ms = pg_get_int(answer->rows[answer->step_count - 1], 0, 0);
    s->conf.oldest_live(s->conf.arg, s->oldest_live_ms);
}

static void fence_and_free(struct store *s)
{
    if (s->slow_busy)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->conf.fence_after_us / SECOND_US);
    struct pg_step steps[] = {
        {SQL_FENCE_DEAD, s->params}, {SQL_FREE_TAKEN, NULL}, {SQL_OLDEST_LIVE, NULL}};
    int64_t up_since = pg_up_since_us(s->keep_conn);
    bool may_fence = up_since && clock_mono_us() - up_since >= s->conf.unbroken_us;
    keep_txn(s, may_fence ? steps : steps + 2, may_fence ? 3 : 1, oldest_answered, &s->slow_busy);
    FAILPOINT("fence.sent");
}

/* ---- the keeper's work
 * --------------------------------------------------------------------------- */

static void elected(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    warn("election", answer);
    if (answer->rc != RC_OK || !pg_get_bool(answer->rows[0], 0, 0) || s->keeper)
        return;
    s->keeper = true;
    log_event(LOG_INFO, "this worker keeps house for the fleet", LF_INT("worker", s->worker_id));
}

static void kept(void *arg, const struct pg_answer *answer)
{
    (void)arg;
    warn("upkeep", answer);
}

static void figures_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    warn("figures", answer);
    if (answer->rc != RC_OK || !s->keeper)
        return;
    s->figures.letters_open = pg_get_int(answer->rows[0], 0, 0);
    s->figures.letters_unpublished = pg_get_int(answer->rows[0], 0, 1);
    s->figures.batches_late = pg_get_int(answer->rows[0], 0, 2);
}

/* Two counts of at most so many rows of a partial index, and the batches whose deadline was within
 * the last week with the few rows of progress that each has. */
static void count_for_watchers(struct store *s)
{
    int64_t now = clock_mono_us();
    if (now < s->next_figures_us)
        return;
    s->next_figures_us = now + FIGURES_US;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, STORE_LETTERS_COUNTED);
    struct pg_step step = {SQL_FIGURES, s->params};
    keep_txn(s, &step, 1, figures_answered, NULL);
}

static void keep_house(struct store *s)
{
    if (!s->keeper) {
        struct pg_step step = {SQL_ELECT, NULL};
        keep_txn(s, &step, 1, elected, NULL);
        return;
    }
    struct pg_step partitions = {SQL_PARTITIONS, NULL};
    keep_txn(s, &partitions, 1, kept, NULL);
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, ROLL_UP_ROWS);
    struct pg_step roll_up = {SQL_ROLL_UP, s->params};
    keep_txn(s, &roll_up, 1, kept, NULL);
    count_for_watchers(s);
}

static void hand_over_letters(struct store *s, const struct pg_rows *r)
{
    for (int i = 0; i < pg_row_count(r); i++) {
        struct store_letter letter = {
            .dead_id = pg_get_int(r, i, 0),
            .job_id = pg_get_uuid(r, i, 1),
            .class_code = (int)pg_get_int(r, i, 2),
            .attempts = (int)pg_get_int(r, i, 3),
            .reason = pg_get_span(r, i, 4),
            .app = pg_get_span(r, i, 5),
            .task = pg_get_span(r, i, 6),
            .custom_id = pg_get_span(r, i, 7),
            .model_version = pg_get_span(r, i, 8),
            .topic = pg_get_span(r, i, 9),
            .partition = pg_null(r, i, 10) ? -1 : (int32_t)pg_get_int(r, i, 10),
            .offset = pg_null(r, i, 11) ? -1 : pg_get_int(r, i, 11),
            .timestamp_ms = pg_get_time_ms(r, i, 12),
            .died_at_ms = pg_get_time_ms(r, i, 13),
            .payload = pg_get_span(r, i, 14),
        };
        s->letters_out++;
        s->conf.publish(s->conf.arg, &letter);
    }
}

static void letters_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    s->letters_busy = false;
    FAILPOINT("letters.answered");
    warn("letters", answer);
    if (answer->rc == RC_OK)
        hand_over_letters(s, answer->rows[0]);
}

static void look_for_letters(struct store *s)
{
    if (!s->keeper || s->letters_busy || s->letters_out || s->stopping)
        return;
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, LETTERS_MAX);
    struct pg_step step = {SQL_LETTERS, s->params};
    keep_txn(s, &step, 1, letters_answered, &s->letters_busy);
}

static void mark_published(struct store *s)
{
    if (!s->published_count)
        return;
    pg_params_reset(s->params);
    pg_array(s->params, PG_INT8);
    for (int i = 0; i < s->published_count; i++)
        pg_elem_int(s->params, s->published[i]);
    s->published_count = 0; /* should this fail, they are published once more */
    struct pg_step step = {SQL_PUBLISHED, s->params};
    FAILPOINT("letters.mark");
    keep_txn(s, &step, 1, kept, NULL);
    FAILPOINT("letters.marked");
}

void store_published(struct store *s, int64_t dead_id, bool ok)
{
    if (ok && s->published_count < STORE_ROWS_MAX)
        s->published[s->published_count++] = dead_id;
    if (--s->letters_out == 0)
        mark_published(s);
}

/* ---- the timer, and the connection's comings and goings
 * ------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
    struct store *s = timer->data;
    int64_t now = clock_mono_us();
    if (!pg_is_up(s->keep_conn) || s->stopping)
        return;
    store_learned_tick(s, now);
    if (now >= s->next_heartbeat_us) {
        s->next_heartbeat_us = now + s->conf.heartbeat_us;
        renew(s);
    }
    register_batches(s);
    wake_next(s);
    store_limits_tick(s, now);
    if (now >= s->next_second_us) {
        s->next_second_us = now + SECOND_US;
        free_unknown(s);
        look_for_due(s);
        look_for_letters(s);
    }
    if (now >= s->next_slow_us) {
        s->next_slow_us = now + SLOW_US;
        look_for_wishes(s);
        fence_and_free(s);
        keep_house(s);
    }
}

void store_keep_up(struct store *s)
{
    s->next_heartbeat_us = s->next_second_us = s->next_slow_us = 0;
    look_for_wishes(s); /* notifications were missed while away */
}

void store_keep_down(struct store *s)
{
    s->keeper = false; /* the lock went with the session, and another counts for those who watch */
    s->figures.letters_open = s->figures.letters_unpublished = s->figures.batches_late = 0;
    s->next_figures_us = 0;
    s->renewing = s->second_busy = s->slow_busy = s->letters_busy = s->wishes_busy = false;
    s->seen_busy = s->wishes_again = s->others_busy = s->count_busy = s->wake_busy = false;
    s->pull_lost = s->pull_lost || s->free_busy;
    s->free_busy = false;
}

void store_keep_notify(struct store *s)
{
    look_for_wishes(s);
}

enum rc store_keep_start(struct store *s, struct uv_loop_s *loop, struct err *err)
{
    s->timer = calloc(1, sizeof *s->timer);
    if (!s->timer)
        return err_set(err, RC_NOMEM, "no memory for the housekeeping timer");
    uv_timer_init(loop, s->timer);
    s->timer->data = s;
    uv_timer_start(s->timer, on_timer, 0, TIMER_MS);
    return RC_OK;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void store_keep_free(struct store *s)
{
    if (s->timer)
        uv_close((uv_handle_t *)s->timer, timer_closed);
    s->timer = NULL;
}

/* ---- good-bye
 * --------------------------------------------------------------------------------------- */

static void stop_answered(void *arg, const struct pg_answer *answer)
{
    struct store *s = arg;
    warn("stop", answer);
    s->stopped(s->stopped_arg);
}

void store_stop(struct store *s, void (*stopped)(void *arg), void *arg)
{
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_arg = arg;
    mark_published(s);
    store_limits_stop(s);
    store_learned_stop(s);
    pg_params_reset(s->params);
    pg_add_int(s->params, PG_INT8, s->worker_id);
    struct pg_step steps[] = {{SQL_STOP, s->params}, {SQL_STOP_FREE, s->params}};
    struct err err = {0};
    if (!s->worker_id || pg_txn(s->keep_conn, steps, 2, stop_answered, s, &err) != RC_OK)
        stopped(arg); /* Postgres is away: the lease runs out, and others fence us */
    FAILPOINT("stop.sent");
}
