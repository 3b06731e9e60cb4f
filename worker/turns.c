/*
 * turns.c - see turns.h. A turn is what the loop does between two waits, callbacks included.
 *
 * Why naps: thousands of long calls end one by one, and each end would have a turn of the loop and
 * a transaction of its own. What is a thousandth of such a call's time is nobody's loss, so their
 * events are let come together. Not while something is due, and not where calls are few or short:
 * an idle queue answers at once.
 */
#include "worker/turns.h"

#include <stddef.h>
#include <time.h>
#include <uv.h>

#include "common/clock.h"

enum {
    NAP_CALLS = 250,       /* with fewer in flight each event has a turn of its own */
    NAP_SHARE = 1000,      /* a nap is that part of a call's time, */
    NAP_MAX_US = 10000,    /* and no longer */
    NAP_MIN_US = 1000,     /* or none at all */
    CALL_TIME_WEIGHT = 64, /* a mean over about so many calls */
};

void turns_called(struct turns *t, int64_t took_us)
{
    t->call_us += (took_us - t->call_us) / CALL_TIME_WEIGHT;
}

void turns_nap(struct turns *t, int in_flight)
{
    int64_t nap_us = t->call_us / NAP_SHARE;
    if (nap_us < NAP_MIN_US || in_flight < NAP_CALLS)
        return;
    uv_update_time(t->loop);
    int64_t due_us = uv_backend_timeout(t->loop) * INT64_C(1000); /* negative: nothing is due */
    nap_us = nap_us < NAP_MAX_US ? nap_us : NAP_MAX_US;
    nap_us = due_us < 0 || nap_us < due_us ? nap_us : due_us;
    if (nap_us <= 0)
        return;
    int64_t from_us = clock_mono_us();
    struct timespec left = {.tv_nsec = nap_us * 1000};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL); /* a signal ends it */
    t->napped_us += clock_mono_us() - from_us;
    uv_update_time(t->loop);
}

int64_t turns_end(struct turns *t)
{
    int64_t now = clock_mono_us();
    int64_t idle_us = (int64_t)(uv_metrics_idle_time(t->loop) / 1000) + t->napped_us;
    int64_t busy_us = t->from_us ? now - t->from_us - (idle_us - t->idle_us) : -1;
    t->from_us = now;
    t->idle_us = idle_us;
    return busy_us;
}
