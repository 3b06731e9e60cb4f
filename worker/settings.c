/*
 * settings.c - see settings.h. The README's table is printed from this one.
 */
#include "worker/settings.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "common/job_msg.h"
#include "worker/lanes.h"
#include "worker/path.h"

#define SECOND INT64_C(1000000)
#define MIB (INT64_C(1) << 20)

enum { KEY_BYTES = 64 };
_Static_assert((int)LANES_MAX == (int)LANE_SET_MAX, "a worker may serve all lanes that there are");

/* Each lane's keys, with what differs; those of "NAME" hold for every lane that was added.
 * max_jobs: librdkafka 2.0 takes up to a second to fetch again after a resume, so the half that is
 * left by then has to last as long at full speed. */
#define LANE(name, weight)                                                                   \
    {"lane." name ".weight",                                                                 \
     CONFIG_INT,                                                                             \
     weight,                                                                                 \
     1,                                                                                      \
     1000,                                                                                   \
     NULL,                                                                                   \
     true,                                                                                   \
     false,                                                                                  \
     "",                                                                                     \
     "Share of dispatches of this lane beside the others"},                                  \
        {"lane." name ".min_share",                                                          \
         CONFIG_INT,                                                                         \
         "50",                                                                               \
         0,                                                                                  \
         333,                                                                                \
         NULL,                                                                               \
         true,                                                                               \
         false,                                                                              \
         "permille",                                                                         \
         "What this lane gets at least while it has jobs"},                                  \
        {"lane." name ".max_jobs",                                                           \
         CONFIG_INT,                                                                         \
         "32000",                                                                            \
         100,                                                                                \
         1000000,                                                                            \
         NULL,                                                                               \
         true,                                                                               \
         false,                                                                              \
         "jobs",                                                                             \
         "Jobs held in memory; a full lane pauses its partitions until it is half empty"},   \
    {                                                                                        \
        "lane." name ".max_bytes", CONFIG_BYTES, "64MiB", MIB, INT64_MAX, NULL, true, false, \
            "bytes", "The same bound in bytes of payload"                                    \
    }

const struct config_key settings_keys[] = {
    {"prefix", CONFIG_TEXT, "inferq", 1, 64, NULL, false, false, "",
     "Topics are PREFIX.jobs.LANE and PREFIX.dead; it separates environments"},
    {"group", CONFIG_TEXT, "inferq-workers", 1, 200, NULL, false, false, "",
     "Kafka consumer group; all workers of a fleet share it"},
    {"postgres", CONFIG_TEXT, "", 0, 4096, NULL, false, false, "",
     "libpq connection string; empty: the PG* variables"},
    {"catalogue", CONFIG_TEXT, NULL, 1, 4096, NULL, true, false, "",
     "Catalogue file: endpoints, models, versions, prices, defaults"},
    {"listen", CONFIG_TEXT, "127.0.0.1:9464", 1, 200, NULL, false, false, "",
     "Address of /metrics, /livez and /readyz; port 0 takes a free one and logs it"},
    {"log.level", CONFIG_CHOICE, "info", 0, 0, "debug|info|warn|error", true, false, "",
     "Lowest level that is logged"},
    {"log.format", CONFIG_CHOICE, "kv", 0, 0, "kv|json", false, false, "",
     "Lines as key=value or as JSON"},
    {"max_in_flight", CONFIG_INT, "256", 1, 100000, NULL, true, false, "calls",
     "Model calls at once from this worker, over all endpoints"},
    {"max_attempts", CONFIG_INT, "5", 1, 100, NULL, true, false, "calls",
     "Counted calls of a job that does not say its own number"},
    {"memory.max_bytes", CONFIG_BYTES, "1GiB", 64 * MIB, INT64_MAX, NULL, true, false, "bytes",
     "The one budget for payloads, requests and replies; reserved before a call starts"},
    {"reply.max_bytes", CONFIG_BYTES, "1MiB", 4096, 256 * MIB, NULL, true, false, "bytes",
     "Largest reply of a model that is accepted"},
    {"short_wait", CONFIG_DURATION, "5s", 0, 60 * SECOND, NULL, true, false, "",
     "Waits up to this stay in memory; longer ones are parked in Postgres"},
    {"parked.max_jobs", CONFIG_INT, "1000000", 100, 1000000000, NULL, true, false, "jobs",
     "Parked jobs that wait for one endpoint; beyond it their lanes block"},
    {"offset.span", CONFIG_INT, "100000", 1000, 10000000, NULL, true, false, "records",
     "Records that one unfinished job may hold back in its partition; at half of it a running "
     "job's payload is parked"},
    {"lanes", CONFIG_TEXT, "", 0, 1024, NULL, false, false, "",
     "Names of the lanes that this worker serves, with commas or blanks between (none: all that "
     "`inferq lane list` knows when it starts)"},
    {"lane.age_boost", CONFIG_DURATION, "10m", 0, 24 * 3600 * SECOND, NULL, true, false, "",
     "Each such age of a job counts its lane's weight once more for it, up to 8 times; 0: never"},
    LANE("high", "8"),
    LANE("normal", "3"),
    LANE("low", "1"),
    LANE("NAME", "3"),
    {"signature.check", CONFIG_CHOICE, "off", 0, 0, "off|require", true, false, "",
     "Whether jobs must carry a valid signature of their app"},
    {"signature.keys", CONFIG_TEXT, "", 0, 4096, NULL, true, true, "",
     "env:NAME or file:PATH with lines `APP KEY-ID:HEX`; needed when signatures are required"},
    {"lease.time", CONFIG_DURATION, "15s", 6 * SECOND, 600 * SECOND, NULL, false, false, "",
     "How long others wait for a silent worker before they may take its jobs"},
    {"lease.heartbeat", CONFIG_DURATION, "3s", SECOND / 2, 60 * SECOND, NULL, false, false, "",
     "How often the lease is renewed"},
    {"drain.timeout", CONFIG_DURATION, "30s", 0, 3600 * SECOND, NULL, true, false, "",
     "After SIGTERM calls in flight may end for so long; then they are given up"},
    {0},
};

/* ---- the lanes served --------------------------------------------------------------------- */

/* The next word of `lanes`; false: there is none. */
static bool next_name(struct span *rest, struct span *ret)
{
    static const char between[] = ", ";
    while (rest->n && strchr(between, rest->p[0]))
        rest->p++, rest->n--;
    size_t n = 0;
    while (n < rest->n && !strchr(between, rest->p[n]))
        n++;
    *ret = (struct span){rest->p, n};
    rest->p += n;
    rest->n -= n;
    return n > 0;
}

static bool is_served(const struct config *c, const char *name)
{
    struct span rest = span_of(config_text(c, "lanes")), word;
    bool all = true;
    for (; next_name(&rest, &word); all = false)
        if (span_is(word, name))
            return true;
    return all;
}

static enum rc names_known(const struct config *c, const struct lane_set *known, struct err *err)
{
    struct span rest = span_of(config_text(c, "lanes")), name;
    const char *key;
    while (next_name(&rest, &name))
        if (!lane_set_find(known, name))
            return err_prefix(err, lane_set_unknown(known, name, err), "lanes");
    for (size_t i = 0; config_named_entry(c, i, &key, &name); i++)
        if (!lane_set_find(known, name))
            return err_prefix(err, lane_set_unknown(known, name, err), "%s", key);
    return RC_OK;
}

static enum rc lanes_fit(const struct config *c, const struct lane_set *served, struct err *err)
{
    int64_t lanes = 0, memory = config_int(c, "memory.max_bytes");
    for (int i = 0; i < served->count; i++) {
        struct lane_conf conf;
        settings_lane(c, served->lanes[i].name, &conf);
        lanes += (int64_t)conf.max_bytes;
    }
    if (lanes <= memory / 2)
        return RC_OK;
    return err_set(err, RC_REJECT,
                   "the lanes' max_bytes together (%lld) are more than half of memory.max_bytes "
                   "(%lld): lower lane.*.max_bytes or raise memory.max_bytes",
                   (long long)lanes, (long long)memory);
}

enum rc settings_lanes(const struct config *c, const struct lane_set *known,
                       struct lane_set *ret_served, struct err *err)
{
    struct lane_set served = {0};
    enum rc rc = names_known(c, known, err);
    if (rc != RC_OK)
        return rc;
    for (int i = 0; i < known->count; i++)
        if (is_served(c, known->lanes[i].name))
            served.lanes[served.count++] = known->lanes[i];
    rc = lanes_fit(c, &served, err);
    if (rc == RC_OK)
        *ret_served = served;
    return rc;
}

/* What can be said of the lanes before the database is asked which there are. */
static enum rc lanes_possible(const struct config *c, struct err *err)
{
    struct span rest = span_of(config_text(c, "lanes")), name;
    struct lane_set served;
    lane_set_default(&served); /* they are always there; without `lanes`, they are served */
    if (rest.n)
        served.count = 0;
    while (next_name(&rest, &name)) {
        if (!lane_name_ok(name))
            return err_set(err, RC_REJECT, "lanes: '%.*s' is no name of a lane",
                           name.n < 64 ? (int)name.n : 64, name.p);
        if (lane_set_find(&served, name) || served.count == LANE_SET_MAX)
            continue;
        struct lane_entry *lane = &served.lanes[served.count++];
        (void)snprintf(lane->name, sizeof lane->name, "%.*s", (int)name.n, name.p);
    }
    return lanes_fit(c, &served, err);
}

/* ---- bounds between keys ------------------------------------------------------------------ */

static enum rc memory_fits(const struct config *c, struct err *err)
{
    int64_t memory = config_int(c, "memory.max_bytes");
    if (memory / 2 >= config_int(c, "reply.max_bytes") + JOB_MSG_BYTES_MAX + MIB)
        return RC_OK;
    return err_set(
        err, RC_REJECT,
        "half of memory.max_bytes does not hold one call of the largest job (8 MiB) with a "
        "reply of reply.max_bytes: raise the one or lower the other");
}

enum rc settings_check(const struct config *c, struct err *err)
{
    enum rc rc = config_check(c, err);
    if (rc != RC_OK)
        return rc;
    if (config_int(c, "signature.check") == SIGNATURE_REQUIRE &&
        !config_text(c, "signature.keys")[0])
        return err_set(err, RC_REJECT,
                       "signature.check = require needs signature.keys = file:PATH");
    if (config_int(c, "lease.time") < 4 * config_int(c, "lease.heartbeat"))
        return err_set(err, RC_REJECT, "lease.time must be at least four times lease.heartbeat");
    rc = lanes_possible(c, err);
    return rc == RC_OK ? memory_fits(c, err) : rc;
}

void settings_path(const struct config *c, const char *const *lane_names, int lane_count,
                   struct path_conf *ret)
{
    ret->lane_count = lane_count;
    ret->max_in_flight = (int)config_int(c, "max_in_flight");
    ret->max_attempts = (int)config_int(c, "max_attempts");
    ret->memory_bytes = config_int(c, "memory.max_bytes");
    ret->reply_max_bytes = config_int(c, "reply.max_bytes");
    ret->short_wait_us = config_int(c, "short_wait");
    ret->takeover_us = config_int(c, "lease.time") * 3 / 2;
    ret->parked_max = config_int(c, "parked.max_jobs");
    ret->offset_span = config_int(c, "offset.span");
    for (int i = 0; i < lane_count; i++)
        settings_lane(c, lane_names[i], &ret->lanes[i]);
}

void settings_lane(const struct config *config, const char *name, struct lane_conf *ret)
{
    char key[KEY_BYTES];
#define LANE_KEY(what) (snprintf(key, sizeof key, "lane.%s." what, name), key)
    *ret = (struct lane_conf){
        .name = name,
        .weight = (int)config_int(config, LANE_KEY("weight")),
        .min_share_permille = (int)config_int(config, LANE_KEY("min_share")),
        .max_jobs = (size_t)config_int(config, LANE_KEY("max_jobs")),
        .max_bytes = (size_t)config_int(config, LANE_KEY("max_bytes")),
        .age_boost_us = config_int(config, "lane.age_boost"),
    };
#undef LANE_KEY
}
