/*
 * served.c - see served.h.
 */
#include "worker/served.h"

#include <stdio.h>
#include <string.h>

#include "worker/settings.h"

enum rc served_read(struct served *s, struct pgc *conn, const struct config *config,
                    struct err *err)
{
    enum rc rc = lane_set_read(conn, &s->known, err);
    if (rc == RC_OK)
        rc = settings_lanes(config, &s->known, &s->lanes, err);
    if (rc != RC_OK)
        return rc;
    s->count = s->lanes.count;
    for (int i = 0; i < s->count; i++) {
        s->names[i] = s->lanes.lanes[i].name;
        s->codes[i] = s->lanes.lanes[i].code;
        char topic[SERVED_TOPIC_BYTES];
        (void)snprintf(topic, sizeof topic, "%s.jobs.%s", config_text(config, "prefix"),
                       s->names[i]);
        s->topics[i] = memcpy(s->topic_texts[i], topic, sizeof topic);
    }
    return RC_OK;
}

/* `lanes` itself holds until a restart, which its change asks for. */
enum rc served_check(const struct served *s, const struct config *config, struct err *err)
{
    struct lane_set served;
    return settings_lanes(config, &s->known, &served, err);
}
