/*
 * admission_impl.h - what admission.c and admission_fleet.c share.
 */
#ifndef INFERQ_WORKER_ADMISSION_IMPL_H
#define INFERQ_WORKER_ADMISSION_IMPL_H

#include "worker/admission.h"
#include "worker/window.h"

enum { RECENT_US = 15 * 1000 * 1000 };

/* One limit as this worker knows it. */
struct admission_limit {
    struct admission_rule rule; /* its key is owned */
    bool stays;                 /* admission_rules: it is in force still */
    uint32_t generation;        /* of the rules that it came with */
    struct window *window;      /* owned; of limits per minute */
    int64_t lease_until_us;     /* nothing goes from then on */
    bool leased;
    int64_t share, in_use; /* in_use: its gates' calls in flight, whenever they began */
    int64_t excess;        /* units that calls took beyond what was reserved, in all */
    int64_t left;          /* of a day's budget ... */
    int64_t from_us;       /* ... that lasts from here ... */
    int64_t until_us;      /* ... to here */
    int32_t day;
    bool day_asked;
    int64_t day_ask_at_us; /* not before */
    int64_t day_look_us;   /* nor, before this, is looked for what is spare */
    int64_t need[3];       /* largest call made or refused in this half minute and two before */
    int64_t said_need;     /* in the last exchange */
    int64_t known_need;    /* the fleet's, as the last answer shows: no larger call goes */
    int64_t active_us;     /* when it last mattered */
    int waiter;            /* the gate whose call is the largest that waits for it; -1: none */
    int64_t waiter_units, waiter_us; /* so many, and when it was asked last */
    int64_t waits_since_us;          /* so long */
    int64_t no_turn_until_us;        /* the last such call has had its due */
    int64_t said;                    /* what it held in the last exchange */
    bool said_wanted;                /* and whether anything was wanted */
};

/* Of one gate and lane. */
struct admission_sums {
    struct admission_count {
        int64_t jobs, input_tokens, output_tokens;
    } waiting, kept, recent[2]; /* recent: taken in these RECENT_US, and in those before */
    int64_t in_flight;
    int64_t behind, behind_until_us; /* rows of `parked`, as was told last */
};

struct admission_gate {
    int model;
    char *app; /* owned */
    size_t app_n;
    uint32_t app_hash;
    bool closed; /* its jobs cannot go, whatever the limits let */
    int count;
    int limits[ADMISSION_GATE_LIMITS]; /* indexes */
    int64_t blocked_us;                /* in all, up to blocked_since_us */
    bool blocked;                      /* now */
    int blocked_by;                    /* by which of them, now or last; -1: none yet */
    int64_t blocked_since_us;
    int held_at;                            /* `blocked`: the place of what blocks it */
    int32_t held_by[ADMISSION_GATE_LIMITS]; /* limit_ids, by place: scope and dimension */
    int64_t held_us[ADMISSION_GATE_LIMITS]; /* of blocked_us */
    struct admission_sums lanes[LANES_MAX];
};

struct admission {
    struct admission_model *models; /* owned, with its texts */
    int model_count;
    struct admission_limit **limits;
    size_t limit_count;
    int64_t minute_us;
    uint32_t generation; /* of the rules */
    struct admission_gate **gates;
    size_t gate_count;
    size_t free_count; /* of them; these have no app */
    size_t sweep_at;   /* so many gates are looked through for idle ones */
    int32_t *table;    /* of gates: indexes + 1 */
    size_t table_mask;
    int64_t lapse_at_us; /* no lease ends before */
    int64_t number, sent_us;
    int64_t turned_us;     /* when the half minutes were moved on ... */
    int64_t recent_us;     /* ... and `recent` was */
    int64_t kept_until_us; /* what waited before a rebalance is `kept`, and wanted, until then */
    bool urgent;           /* somebody waits for the next exchange */
    struct admission_say *says;
    struct share_want *wants;
    size_t say_cap, want_cap;
};

/* Leases that are over end, half minutes are moved on. */
void admission_advance(struct admission *a, int64_t now_us);

#endif
