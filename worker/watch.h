/*
 * watch.h - what the worker shows: its metrics, and the log lines of the job's path.
 */
#ifndef INFERQ_WORKER_WATCH_H
#define INFERQ_WORKER_WATCH_H

#include "common/catalogue.h"
#include "common/metrics.h"
#include "worker/path.h"
#include "worker/store.h"

struct watch;

/* `lane_names` and `catalogue` are borrowed. returns owned; NULL: no memory */
struct watch *watch_new(const struct catalogue *catalogue, const char *const *lane_names,
                        int lane_count);
/* Room for a catalogue that was merged with this one; nothing can be seen of it. RC_NOMEM. */
enum rc watch_prepare(struct watch *w, const struct catalogue *next, struct err *err) MUST_CHECK;
/* From now on this one is shown; watch_prepare has made room for it. */
void watch_take(struct watch *w, const struct catalogue *next);
void watch_free(struct watch *w);
const struct metrics *watch_metrics(const struct watch *w);

/* Something happened to a job. */
void watch_sight(struct watch *w, enum path_sight what, const struct job *job, int64_t now_us);
/* One turn of the loop took so long (CPU and callbacks, without waiting). */
void watch_turn(struct watch *w, int64_t turn_us);
void watch_letter(struct watch *w, bool published);
/* SIGHUP was served; so many changed settings wait for a restart. */
void watch_reload(struct watch *w, bool taken, int restart_needed);

/* Gauges, refreshed before they are read. */
struct admission;

struct watch_gauges {
    const struct path *path;
    struct admission *admission;
    int64_t boot_us;
    const struct store_figures *store;
    int64_t lag[LANES_MAX]; /* -1: not known */
    int64_t parked_due, lease_left_us, clock_offset_ms, worker_id;
    size_t store_queued;
    bool postgres_up, kafka_up;
};
void watch_refresh(struct watch *w, const struct watch_gauges *g);

extern const struct metric_def watch_defs[]; /* for the docs' test; ends with a NULL name */

#endif
