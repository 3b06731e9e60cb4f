/*
 * settings.h - inferq-worker's configuration: one table, and what the table alone cannot say.
 */
#ifndef INFERQ_WORKER_SETTINGS_H
#define INFERQ_WORKER_SETTINGS_H

#include "common/config.h"
#include "common/lane_set.h"

enum { SIGNATURE_OFF, SIGNATURE_REQUIRE };

extern const struct config_key settings_keys[];

/* Bounds between keys: the lanes fit the memory, the lease outlasts its heartbeats. RC_REJECT says
 * which keys and how to mend them. */
enum rc settings_check(const struct config *c, struct err *err) MUST_CHECK;

/* The lanes that this worker serves, in the order of `known`: those of `lanes`, or all. RC_REJECT:
 * `lanes` or a key lane.NAME.* names one that there is not, or they do not fit the memory. */
enum rc settings_lanes(const struct config *c, const struct lane_set *known,
                       struct lane_set *ret_served, struct err *err) MUST_CHECK;

/* A lane's settings, lane.NAME.*: `name` is borrowed. */
struct lane_conf;
void settings_lane(const struct config *config, const char *name, struct lane_conf *ret);

/* What the path is to know of them: all of `ret` but its catalogue and its ring. `lane_names` is
 * borrowed. */
struct path_conf;
void settings_path(const struct config *c, const char *const *lane_names, int lane_count,
                   struct path_conf *ret);

#endif
