/*
 * served.h - the lanes that this worker serves, as its edges want them: by place, each with its
 * name, its code and its topic.
 */
#ifndef INFERQ_WORKER_SERVED_H
#define INFERQ_WORKER_SERVED_H

#include "common/config.h"
#include "common/err.h"
#include "common/lane_set.h"

enum { SERVED_TOPIC_BYTES = 128 };

struct served {
    struct lane_set known; /* all that there were at the start */
    int count;
    struct lane_set lanes;           /* those served; what follows is by place in it */
    const char *names[LANE_SET_MAX]; /* borrow from it: it must not move */
    int codes[LANE_SET_MAX];
    const char *topics[LANE_SET_MAX];
    char topic_texts[LANE_SET_MAX][SERVED_TOPIC_BYTES];
};

/* Asks Postgres which there are, and the settings which of them are served. RC_REJECT: as
 * lane_set_read and settings_lanes; RC_RETRY: Postgres is away. */
struct pgc;
enum rc served_read(struct served *s, struct pgc *conn, const struct config *config,
                    struct err *err) MUST_CHECK;
/* The settings read anew name no lane that there was not. */
enum rc served_check(const struct served *s, const struct config *config,
                     struct err *err) MUST_CHECK;

#endif
