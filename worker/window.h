/*
 * window.h - how much of a limit per minute one worker may send now (pure).
 *
 * The rule: what was sent within any minute is at most what the worker held within that very minute
 * (a share of 60 for half a minute is 30 units). What all workers hold never adds up to more than
 * the limit at any moment, so neither does what they send within any minute, however often shares
 * move. No burst is set apart: the whole limit can be shared out, down to a unit a worker.
 *
 * So a share that came has gained nothing yet. And a lower share is taken on only once what was
 * sent is paid for: nothing goes until, of every stretch of time that ends now, no more was sent
 * than was held; only then does the worker hold less, and say so (window_holds), and only then may
 * another hold the rest. Else the last call of one holder and the first ones of the next would
 * meet in one minute. That silence is as long as the share's pace between two calls, what it had
 * saved up beside, and the rest of a slot. What was
 * paid for then stays so: a share that falls again waits for what was sent since alone.
 *
 * A minute is a little longer than 60 s (window_minute_us): calls that leave within a minute may
 * arrive that much closer together. That is all the headroom there is.
 *
 * Beside the rule there is a pace: after so many units a share needs so long to be ready for more,
 * and saves up no more than WINDOW_PACE_US of itself. It keeps calls evenly apart, and bounds what
 * is unpaid when a worker dies: its largest call, and that, and what calls may gather that wait to
 * leave (WINDOW_AIR_US of the share). (The generic cell rate algorithm, ITU-T
 * I.371, on a debt: a large call may begin when a small one may.)
 *
 * Time is the caller's, in us, and never goes back. Kept in slots of a 255th of a minute: what was
 * sent counts until its slot is wholly over, so at most 0.4 % of a minute is lost. All figures are
 * integers: nothing drifts.
 */
#ifndef INFERQ_WORKER_WINDOW_H
#define INFERQ_WORKER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum { WINDOW_SLOTS = 256, WINDOW_PACE_US = 300 * 1000, WINDOW_AIR_US = 1000 * 1000 };

/* Private: 6 KiB, so that asking needs no pointer and nothing can fail. */
struct window {
    int64_t minute_us, slot_us;
    int64_t at_us;       /* all is counted up to here */
    int64_t slot;        /* at_us lies in this one, counted from time 0 ... */
    int64_t slot_end_us; /* ... which lasts until here */
    int64_t share;       /* units a minute that are held */
    int64_t target;      /* while `lowering`: what is to be held once all is paid for */
    bool lowering;
    int64_t paid_slot; /* all that was sent before this one is paid for */
    int64_t taken;     /* units of calls that have not left yet */
    int64_t gained;    /* sums over the slots; in units x minute_us ... */
    int64_t sent;      /* ... and in units */
    int64_t owed;      /* no more is unpaid, in units x minute_us */
    int64_t level;     /* of the pace, in units x minute_us: below 0 nothing goes */
    struct window_slot {
        int64_t gained, sent;
        int64_t most; /* no faster was it gained, in units x minute_us per us */
    } slots[WINDOW_SLOTS];
};

/* A minute with so much headroom (0 .. 500): 60 s x 1000 / (1000 - permille), in whole slots. */
int64_t window_minute_us(int headroom_permille);
/* Starts without a share. */
void window_init(struct window *w, int64_t minute_us, int64_t now_us);

/* The worker may hold 0 .. LIMIT_PER_MINUTE_MAX units a minute: at once if that is more, else as
 * soon as it can. */
void window_share(struct window *w, int64_t share, int64_t now_us);
/* What it holds. */
int64_t window_holds(struct window *w, int64_t now_us);

/* Is all that was sent paid for, so that others may hold the share from now on? */
bool window_is_paid(struct window *w, int64_t now_us);

/* May a call of so many units leave now? */
bool window_has(struct window *w, int64_t units, int64_t now_us);
/* When it is worth asking again for them, if the share stays: later than now; INT64_MAX: never,
 * the share is too small for them. */
int64_t window_when(struct window *w, int64_t units, int64_t now_us);

/* A call takes units (0 .. LIMIT_PER_MINUTE_MAX), whether the window has them or not; it is about
 * to leave. */
void window_take(struct window *w, int64_t units, int64_t now_us);
/* It leaves: its first byte is sent. Its minute begins. */
void window_leave(struct window *w, int64_t units, int64_t now_us);
/* It never left. */
void window_give_back(struct window *w, int64_t units, int64_t now_us);
/* A call that left at `left_us` with `reserved` units took `used`: what it did not take is given
 * back in the minute that it left in, if that is not over; what it took beside counts from now. */
void window_settle(struct window *w, int64_t reserved, int64_t used, int64_t left_us,
                   int64_t now_us);

/* Units sent within the last minute, and taken. */
int64_t window_sent(struct window *w, int64_t now_us);

#endif
