/*
 * wait.c - asks for a batch's progress until nothing is pending.
 *
 * Happy path: a query every 200 ms at first, every 2 s after a while. Failure: a lost connection is
 * made anew for up to a minute, because a database that restarts ends no batch; a signal ends the
 * waiting, and the jobs go on.
 */
#include "producer/wait.h"

#include "common/clock.h"
#include "producer/stopper.h"

enum { FIRST_MS = 200, LAST_MS = 2000, AWAY_US = 60 * 1000 * 1000 };

static enum rc ask(struct pgc **conn, const struct jobid *id, const struct wait_conf *conf,
                   struct batch_counts *ret_counts, struct err *err)
{
    if (!*conn) {
        enum rc rc = pgc_open(conf->conninfo, "inferq-submit", conn, err);
        if (rc != RC_OK)
            return rc;
    }
    enum rc rc = batch_db_counts(*conn, id, ret_counts, err);
    if (rc == RC_RETRY) {
        pgc_close(*conn);
        *conn = NULL;
    }
    return rc;
}

enum rc wait_batch(struct pgc **conn, const struct jobid *id, const struct wait_conf *conf,
                   struct batch_counts *ret_counts, int *ret_signal, struct err *err)
{
    int pause_ms = FIRST_MS;
    int64_t heard_us = clock_mono_us();
    *ret_signal = 0;
    progress_begin(conf->progress, heard_us);
    for (;;) {
        enum rc rc = ask(conn, id, conf, ret_counts, err);
        int64_t now_us = clock_mono_us();
        if (rc == RC_OK) {
            heard_us = now_us;
            progress_show(conf->progress, now_us, "ended",
                          ret_counts->accepted - ret_counts->pending, ret_counts->accepted, 0);
            if (ret_counts->pending <= 0)
                return RC_OK;
        } else if (rc != RC_RETRY || now_us - heard_us > AWAY_US) {
            return rc;
        }
        *ret_signal = stopper_signal(conf->stop_fd, pause_ms);
        if (*ret_signal != 0)
            return err_set(err, RC_RETRY, "no longer waiting; the jobs go on");
        pause_ms = pause_ms * 5 / 4 < LAST_MS ? pause_ms * 5 / 4 : LAST_MS;
    }
}
