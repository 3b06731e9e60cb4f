/*
 * learned.c - see learned.h.
 *
 * Happy path: a fault pauses the endpoint here; learned_says finds that the row knows less, and
 * says it; the others hear it (learned_heard) and pause, too. When it is over, whoever has a job
 * asks for the probe and gets it or not. The probe's success opens the endpoint here; the row still
 * says that it is to be probed, so learned_says says otherwise; the others hear that and open.
 *
 * What went on here since an exchange was sent is newer than its answer: then the row is noted, but
 * the endpoint stays as it is, and the next exchange tells (`turn`).
 */
#include "worker/learned.h"

enum {
    WANTED_US = 2 * 1000 * 1000, /* a job seen within so long counts */
    BEARS_EVERY_US = 5 * 1000 * 1000,
    LATE_US = 50 * 1000, /* a pause that ends so little later is no news */
};

void learned_init(struct learned *l, int64_t lease_us)
{
    *l = (struct learned){.lease_us = lease_us, .wanted_us = INT64_MIN};
}

void learned_wants(struct learned *l, int64_t now_us)
{
    l->wanted_us = now_us;
}

void learned_renewed(struct learned *l, const struct endpoint *e)
{
    l->renewed = e->shared;
}

void learned_throttled(struct learned *l, int64_t begun_us)
{
    if (!l->throttled || begun_us > l->throttled_us)
        l->throttled_us = begun_us;
    l->throttled = true;
}

/* ---- saying ---------------------------------------------------------------------------------- */

static bool is_news(const struct learned *l, const struct endpoint *e, int64_t now_us)
{
    bool longer = e->fleet_until_us > now_us && e->fleet_until_us > l->until_us + LATE_US;
    return longer || (e->probing && e->shared && !l->probing);
}

static enum learned_probe probe_of(const struct learned *l, const struct endpoint *e,
                                   int64_t now_us)
{
    bool wanted = l->wanted_us != INT64_MIN && now_us - l->wanted_us <= WANTED_US;
    bool ready = e->probing && e->shared && !e->held && now_us >= e->paused_until_us;
    if (l->mine_us && !e->probe_out && !(ready && wanted))
        return PROBE_LEAVE;
    if (l->mine_us)
        return l->mine_us - now_us < l->lease_us / 4 ? PROBE_ASK : PROBE_NONE;
    return ready && wanted && l->probing && now_us >= l->others_us ? PROBE_ASK : PROBE_NONE;
}

/* A number that wavers is not worth a statement. */
static bool bears_otherwise(const struct learned *l, const struct endpoint *e, int64_t now_us)
{
    int bears = endpoint_has_borne(e), off = bears > l->bears ? bears - l->bears : l->bears - bears;
    return now_us >= l->bears_at_us && bears != l->bears &&
           (!bears || !l->bears || off * 10 > l->bears);
}

bool learned_says(const struct learned *l, const struct endpoint *e, int64_t now_us,
                  struct learned_say *ret)
{
    int64_t left_us = e->fleet_until_us - now_us;
    *ret = (struct learned_say){
        .pauses = is_news(l, e, now_us),
        .pause_us = left_us > 0 ? left_us : 0,
        .class = e->paused_for,
        .probing = e->probing && e->shared,
        .faults = e->faults,
        .opens = l->probing && e->shared && !e->probing,
        .probe = probe_of(l, e, now_us),
        .concurrency = bears_otherwise(l, e, now_us) ? endpoint_has_borne(e) : -1,
        .throttled_before_us = l->throttled ? now_us - l->throttled_us : -1,
    };
    if (l->renewed && e->probing && e->shared) {
        ret->probe = PROBE_ASK;
        ret->renewed = true;
    }
    return ret->pauses || ret->opens || ret->probe != PROBE_NONE || ret->concurrency >= 0 ||
           l->throttled;
}

void learned_sent(struct learned *l, struct endpoint *e, const struct learned_say *say,
                  int64_t now_us)
{
    l->under_way = true;
    l->turn = e->turn;
    l->says_throttled = say && l->throttled;
    if (say && say->probe == PROBE_LEAVE) /* others may have it before the answer is here */
        learned_forget_probe(l, e);
    l->throttled &= !say;
    if (say && say->concurrency >= 0) {
        l->bears = say->concurrency; /* should this be lost, the next change is said */
        l->bears_at_us = now_us + BEARS_EVERY_US;
    }
}

/* ---- hearing --------------------------------------------------------------------------------- */

/* Of what is left of the lease in Postgres, the last part is not gone by: half a lease from the
 * moment it was asked for stays. */
static int64_t good_for_us(const struct learned *l, const struct learned_row *row)
{
    return row->probe_left_us - (LEARNED_PROBE_LEASES * l->lease_us - l->lease_us / 2);
}

static void note_probe(struct learned *l, struct endpoint *e, const struct learned_row *row,
                       int64_t sent_us, int64_t now_us)
{
    bool mine = row->probe_mine && row->probe_left_us > 0;
    l->others_us = mine || row->probe_left_us <= 0 ? 0 : now_us + row->probe_left_us;
    l->mine_us = mine ? sent_us + good_for_us(l, row) : 0;
    e->may_probe_us = l->mine_us;
}

/* The fleet has opened it, or an operator has; then it may be paused anew. */
static void take_over(struct endpoint *e, const struct learned_row *row, int64_t now_us)
{
    if (!row->probing && (e->shared || e->fleet_until_us > now_us))
        endpoint_fleet_opens(e, now_us);
    if (row->probing || row->left_us > 0)
        endpoint_fleet_pauses(e, row->left_us > 0 ? now_us + row->left_us : 0, row->class,
                              row->probing, row->faults, now_us);
}

void learned_heard(struct learned *l, struct endpoint *e, const struct learned_row *row,
                   int64_t sent_us, int64_t now_us)
{
    static const struct learned_row none;
    row = row ? row : &none;
    l->probing = row->probing;
    l->until_us = row->left_us > 0 ? now_us + row->left_us : 0;
    l->renewed &= e->shared && row->left_us > 0;
    l->under_way = l->says_throttled = false;
    if (e->turn == l->turn)
        take_over(e, row, now_us);
    note_probe(l, e, row, sent_us, now_us);
    if (!l->heard && !e->begun_us && row->concurrency > 0) {
        endpoint_bears_at_first(e, row->concurrency);
        l->bears = row->concurrency;
    }
    l->heard = true;
}

void learned_lost(struct learned *l)
{
    l->throttled |= l->says_throttled;
    l->under_way = l->says_throttled = false;
}

void learned_forget_probe(struct learned *l, struct endpoint *e)
{
    l->mine_us = 0;
    e->may_probe_us = 0;
}
