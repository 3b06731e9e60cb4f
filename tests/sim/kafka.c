/*
 * kafka.c - Kafka for the simulation: logs with holes, one group with an eager assignor, and the
 * consumer's side as worker/consumer.c has it.
 *
 * Happy path: records are appended at their planned times and delivered to the partition's owner,
 * from the committed offset on; what the path says is done is committed every second.
 *
 * Rebalances: a member joins, leaves, or is silent for the session's time (a frozen one works on
 * and hears of its loss later). Everybody is told to give back, gives back (the path may wait for
 * calls in flight), joins again; when all have, the generation rises and partitions are dealt
 * round robin. Commits of another generation, or of a member thrown out, are refused.
 */
#include <stdlib.h>

#include "tests/sim/sim.h"

enum {
    TICK_US = 500 * 1000,
    SESSION_US = 10 * 1000 * 1000,
    HEARTBEAT_US = 3 * 1000 * 1000,
    COMMIT_US = 1000 * 1000,
};

struct commit {
    int slot, generation, count;
    uint32_t life;
    int64_t seq;
    struct sim_held of[];
};

struct deal {
    int generation, count;
    struct sim_held of[];
};

static bool is_down(const struct sim *s)
{
    return s->kafka.down_until_us > s->now_us;
}

static bool runs(const struct sim *s, const struct sim_worker *w)
{
    return w->phase != SIM_DOWN && w->frozen_until_us <= s->now_us;
}

static struct sim_partition *partition_of(struct sim *s, const struct sim_held *h)
{
    return &s->kafka.of[h->lane][h->partition];
}

/* ---- delivery --------------------------------------------------------------------------- */

static bool has_next(struct sim *s, const struct sim_held *h)
{
    return !h->paused && h->next < partition_of(s, h)->count;
}

static struct sim_held *next_held(struct sim *s, struct sim_consumer *c)
{
    if (c->revoking || c->stopped || is_down(s))
        return NULL;
    for (int i = 0; i < c->held_count; i++) {
        struct sim_held *h = &c->held[(c->turn + i) % c->held_count];
        if (!has_next(s, h))
            continue;
        c->turn = (c->turn + i + 1) % c->held_count;
        return h;
    }
    return NULL;
}

static void deliver(struct sim *s, struct sim_worker *w, void *arg);

static void kick(struct sim_worker *w)
{
    struct sim_consumer *c = &w->consumer;
    int turn = c->turn;
    if (w->phase == SIM_DOWN || c->delivering || !next_held(w->sim, c))
        return;
    c->turn = turn;
    c->delivering = true;
    sim_after_for(w, sim_range(sim_draw(w), 50, 3000), deliver, NULL);
}

static void kick_all(struct sim *s)
{
    for (int i = 0; i < s->plan->slots; i++)
        kick(&s->workers[i]);
}

static void deliver(struct sim *s, struct sim_worker *w, void *arg)
{
    struct sim_consumer *c = &w->consumer;
    struct sim_held *h;
    (void)arg;
    c->delivering = false;
    for (int64_t n = sim_range(sim_draw(w), 1, 5); n > 0 && (h = next_held(s, c)) != NULL; n--) {
        const struct sim_record *r = &partition_of(s, h)->records[h->next++];
        struct record record = {
            .lane = h->lane,
            .partition = h->partition,
            .epoch = c->epoch,
            .offset = r->offset,
            .timestamp_ms = r->timestamp_ms,
            .key = {(const char *)s->jobs[r->job].id.b, ID_BYTES},
            .value = r->value,
            .signature = s->jobs[r->job].signature,
        };
        TELL(s, w, "fetches job %d (lane %d, partition %d, offset %lld)", r->job, h->lane,
             h->partition, (long long)r->offset);
        path_record(w->path, &record);
    }
    kick(w);
}

static void make_room(struct sim_partition *p)
{
    if (p->count < p->room)
        return;
    p->room = p->room ? 2 * p->room : 64;
    p->records = realloc(p->records, (size_t)p->room * sizeof *p->records);
    if (!p->records)
        exit(3);
}

static void append(struct sim *s, struct sim_worker *nobody, void *arg)
{
    const struct plan_record *r = arg;
    struct sim_partition *p = &s->kafka.of[r->lane][r->partition];
    struct sim_job *job = &s->jobs[r->job];
    (void)nobody;
    uint64_t draw = draw_mix(s->plan->seed, 0x686f6c65, (uint64_t)p->end, (uint64_t)r->lane);
    p->end += draw % 20 == 0 ? sim_range(draw >> 8, 1, 3) : 0; /* control records leave holes */
    make_room(p);
    p->records[p->count++] =
        (struct sim_record){r->job, p->end++, sim_wall_us(s) / 1000, job->value};
    job->accepted = sim_is_job(s, r->job);
    kick_all(s);
}

/* ---- commits ---------------------------------------------------------------------------- */

static bool is_member(const struct sim *s, int slot, uint32_t life, int generation)
{
    const struct sim_member *m = &s->kafka.members[slot];
    return m->in && m->life == life && generation == s->kafka.generation;
}

static void take_commit(struct sim *s, const struct commit *commit)
{
    struct sim_member *m = &s->kafka.members[commit->slot];
    if (is_down(s) || !is_member(s, commit->slot, commit->life, commit->generation) ||
        commit->seq <= m->commit_seq)
        return;
    m->commit_seq = commit->seq;
    struct sim_consumer *c = &s->workers[commit->slot].consumer;
    for (int i = 0; i < commit->count; i++) {
        const struct sim_held *h = &commit->of[i];
        struct sim_partition *p = &s->kafka.of[h->lane][h->partition];
        int64_t from = p->committed;
        p->committed = h->done;
        for (int k = 0; c->generation == commit->generation && k < c->held_count; k++)
            if (c->held[k].lane == h->lane && c->held[k].partition == h->partition)
                c->held[k].stored = h->done;
        TELL(s, NULL, "lane %d partition %d is committed up to %lld (from %lld)", h->lane,
             h->partition, (long long)h->done, (long long)from);
        sim_note(s, (uint64_t)h->lane, (uint64_t)h->partition, (uint64_t)h->done);
        check_committed(s, h->lane, h->partition, from, h->done);
    }
}

static void commit_arrives(struct sim *s, struct sim_worker *nobody, void *arg)
{
    (void)nobody;
    take_commit(s, arg);
}

/* What is new; NULL: nothing is. */
static struct commit *write_commit(struct sim_worker *w)
{
    struct sim_consumer *c = &w->consumer;
    bool any = false;
    c->commit_seq++;
    for (int i = 0; i < c->held_count; i++)
        any = any || c->held[i].done > c->held[i].stored;
    if (!any)
        return NULL;
    struct commit *commit =
        sim_alloc(w->sim, sizeof *commit + (size_t)c->held_count * sizeof *commit->of);
    *commit = (struct commit){
        .slot = w->slot, .generation = c->generation, .life = w->life, .seq = c->commit_seq};
    for (int i = 0; i < c->held_count; i++)
        if (c->held[i].done >= 0)
            commit->of[commit->count++] = c->held[i];
    return commit;
}

static void auto_commit(struct sim *s, struct sim_worker *w, void *arg)
{
    (void)arg;
    sim_after_for(w, COMMIT_US, auto_commit, NULL);
    struct commit *sent = w->consumer.revoking ? NULL : write_commit(w);
    if (!sent)
        return;
    if (w->lose_commit) {
        w->lose_commit = false;
        return;
    }
    sim_after(s, sim_range(sim_draw(w), 500, 50000), commit_arrives, sent);
}

void kafka_store(struct sim_worker *w, int lane, int32_t partition, uint32_t epoch, int64_t next)
{
    struct sim_consumer *c = &w->consumer;
    for (int i = 0; epoch == c->epoch && i < c->held_count; i++) {
        struct sim_held *h = &c->held[i];
        if (h->lane == lane && h->partition == partition && next > h->done)
            h->done = next;
    }
}

/* ---- the group -------------------------------------------------------------------------- */

static void try_complete(struct sim *s);
static void rebalance(struct sim *s);

static void join(struct sim *s, struct sim_worker *w)
{
    struct sim_member *m = &s->kafka.members[w->slot];
    w->consumer.member = true;
    w->consumer.told = false;
    bool fresh = !m->in || m->life != w->life;
    if (fresh)
        *m = (struct sim_member){.in = true, .life = w->life};
    m->heard_us = s->now_us;
    if (fresh || !s->kafka.rebalancing)
        rebalance(s);
    m->joined = true;
    try_complete(s);
}

static void join_later(struct sim *s, struct sim_worker *w, void *arg)
{
    (void)arg;
    if (is_down(s))
        sim_after_for(w, TICK_US, join_later, NULL);
    else
        join(s, w);
}

static void give_back(struct sim_worker *w)
{
    struct sim *s = w->sim;
    struct sim_consumer *c = &w->consumer;
    const struct commit *commit = c->lost ? NULL : write_commit(w);
    if (commit)
        take_commit(s, commit);
    c->revoking = c->lost = false;
    c->held_count = 0;
    c->epoch++;
    sim_after_for(w, sim_range(sim_draw(w), 500, 50000), join_later, NULL);
}

void kafka_release(struct sim_worker *w)
{
    if (!w->consumer.revoking)
        return;
    TELL(w->sim, w, "gives its partitions back");
    give_back(w);
}

static void take_revoke(struct sim_worker *w, bool lost)
{
    struct sim_consumer *c = &w->consumer;
    if (c->revoking) {
        c->lost = c->lost || lost;
        return;
    }
    c->revoking = true;
    c->lost = lost;
    TELL(w->sim, w,
         lost ? "hears that it was thrown out of the group"
              : "is asked to give its partitions back");
    if (c->held_count == 0)
        give_back(w);
    else
        path_revoke(w->path, lost);
}

static void hear_revoke(struct sim *s, struct sim_worker *w, void *arg)
{
    const struct sim_member *m = &s->kafka.members[w->slot];
    (void)arg;
    if (m->in && m->life == w->life && s->kafka.rebalancing && !m->joined)
        take_revoke(w, false);
}

static void hear_loss(struct sim *s, struct sim_worker *w, void *arg)
{
    const struct sim_member *m = &s->kafka.members[w->slot];
    (void)arg;
    if (!m->in || m->life != w->life)
        take_revoke(w, true);
}

static void rebalance(struct sim *s)
{
    s->kafka.rebalancing = true;
    for (int i = 0; i < s->plan->slots; i++) {
        struct sim_member *m = &s->kafka.members[i];
        if (!m->in)
            continue;
        m->joined = false;
        struct sim_worker *w = &s->workers[i];
        if (w->life == m->life && w->phase != SIM_DOWN)
            sim_after_for(w, sim_range(sim_draw(w), 1000, HEARTBEAT_US), hear_revoke, NULL);
    }
}

static void take_deal(struct sim *s, struct sim_worker *w, void *arg)
{
    const struct deal *deal = arg;
    struct sim_consumer *c = &w->consumer;
    if (s->kafka.rebalancing || !is_member(s, w->slot, w->life, deal->generation))
        return; /* it was overtaken by the next */
    c->generation = deal->generation;
    c->epoch++;
    c->held = sim_alloc(s, (size_t)(deal->count + 1) * sizeof *c->held);
    c->held_count = deal->count;
    c->turn = 0;
    for (int i = 0; i < deal->count; i++) {
        struct sim_held *h = &c->held[i];
        *h = deal->of[i];
        const struct sim_partition *p = &s->kafka.of[h->lane][h->partition];
        while (h->next < p->count && p->records[h->next].offset < p->committed)
            h->next++;
        h->paused = c->lane_paused[h->lane] || c->stopped;
        TELL(s, w, "is given lane %d partition %d, from offset %lld", h->lane, h->partition,
             (long long)p->committed);
    }
    for (int i = 0; i < deal->count; i++)
        path_assigned(w->path, c->held[i].lane, c->held[i].partition, c->epoch);
    kick(w);
}

/* Round robin; who comes first changes from one to the next. */
static struct deal *deal_out(struct sim *s, int member, int members, int all)
{
    struct deal *deal = sim_alloc(s, sizeof *deal + (size_t)(all / members + 1) * sizeof *deal->of);
    int generation = deal->generation = s->kafka.generation;
    int first = (member - generation % members + members) % members;
    for (int n = first; n < all; n += members)
        deal->of[deal->count++] = (struct sim_held){.lane = n / s->plan->partitions,
                                                    .partition = n % s->plan->partitions,
                                                    .done = -1,
                                                    .stored = -1};
    return deal;
}

static void try_complete(struct sim *s)
{
    int count = 0, all = s->plan->lanes * s->plan->partitions;
    int *slots = sim_alloc(s, (size_t)s->plan->slots * sizeof *slots);
    for (int i = 0; i < s->plan->slots; i++) {
        const struct sim_member *m = &s->kafka.members[i];
        if (m->in && !m->joined)
            return;
        if (m->in)
            slots[count++] = i;
    }
    s->kafka.rebalancing = false;
    s->kafka.generation++;
    for (int i = 0; i < count; i++) {
        struct sim_worker *w = &s->workers[slots[i]];
        struct deal *deal = deal_out(s, i, count, all);
        sim_after_for(w, sim_range(sim_draw(w), 1000, 50000), take_deal, deal);
    }
}

/* Heartbeats, seen from the coordinator. */
static void tick(struct sim *s, struct sim_worker *nobody, void *arg)
{
    bool changed = false;
    (void)nobody, (void)arg;
    sim_after(s, TICK_US, tick, NULL);
    if (is_down(s)) {
        for (int i = 0; i < s->plan->slots; i++)
            s->kafka.members[i].heard_us = s->now_us;
        return;
    }
    for (int i = 0; i < s->plan->slots; i++) {
        struct sim_member *m = &s->kafka.members[i];
        struct sim_worker *w = &s->workers[i];
        if (m->in && w->life == m->life && runs(s, w))
            m->heard_us = s->now_us;
        if (m->in && s->now_us - m->heard_us > SESSION_US) {
            TELL(s, NULL, "the group throws %s out", w->name);
            m->in = false;
            changed = true;
        }
        if (w->consumer.member && !w->consumer.told && runs(s, w) &&
            (!m->in || m->life != w->life)) {
            w->consumer.told = true;
            sim_after_for(w, sim_range(sim_draw(w), 1000, HEARTBEAT_US), hear_loss, NULL);
        }
    }
    if (changed) {
        rebalance(s);
        try_complete(s);
    }
}

void kafka_move(struct sim *s)
{
    rebalance(s);
    try_complete(s);
}

/* ---- what the worker's glue calls ------------------------------------------------------- */

void kafka_begin(struct sim *s)
{
    s->kafka.members = sim_alloc(s, (size_t)s->plan->slots * sizeof *s->kafka.members);
    for (int lane = 0; lane < s->plan->lanes; lane++)
        s->kafka.of[lane] =
            sim_alloc(s, (size_t)s->plan->partitions * sizeof(struct sim_partition));
    for (int i = 0; i < s->plan->record_count; i++) {
        const struct plan_record *r = &s->plan->records[i];
        if (r->off || s->plan->jobs[r->job].off)
            continue;
        struct plan_record *arg = sim_alloc(s, sizeof *arg);
        *arg = *r;
        sim_after(s, r->at_us, append, arg);
    }
    sim_after(s, TICK_US, tick, NULL);
}

static void poll_again(struct sim *s, struct sim_worker *w, void *arg)
{
    (void)s, (void)arg;
    kick(w);
    sim_after_for(w, COMMIT_US, poll_again, NULL);
}

void kafka_join(struct sim_worker *w)
{
    w->consumer = (struct sim_consumer){.generation = -1};
    sim_after_for(w, sim_range(sim_draw(w), 1000, 100000), join_later, NULL);
    sim_after_for(w, COMMIT_US, auto_commit, NULL);
    sim_after_for(w, COMMIT_US, poll_again, NULL);
}

void kafka_pause(struct sim_worker *w, int lane, bool on)
{
    struct sim_consumer *c = &w->consumer;
    c->lane_paused[lane] = on;
    for (int i = 0; !c->revoking && !c->stopped && i < c->held_count; i++)
        if (c->held[i].lane == lane)
            c->held[i].paused = on;
    kick(w);
}

void kafka_stop(struct sim_worker *w)
{
    w->consumer.stopped = true;
}

void kafka_leave(struct sim_worker *w)
{
    struct sim *s = w->sim;
    struct sim_member *m = &s->kafka.members[w->slot];
    const struct commit *commit = w->consumer.lost ? NULL : write_commit(w);
    if (commit)
        take_commit(s, commit);
    if (!m->in || m->life != w->life || is_down(s))
        return; /* else the session's time will tell */
    m->in = false;
    rebalance(s);
    try_complete(s);
}

void kafka_done(struct sim *s)
{
    for (int lane = 0; s->plan && lane < s->plan->lanes; lane++)
        for (int i = 0; s->kafka.of[lane] && i < s->plan->partitions; i++)
            free(s->kafka.of[lane][i].records);
}

bool kafka_settled(const struct sim *s)
{
    for (int lane = 0; lane < s->plan->lanes; lane++)
        for (int i = 0; i < s->plan->partitions; i++) {
            const struct sim_partition *p = &s->kafka.of[lane][i];
            if (p->count && p->committed <= p->records[p->count - 1].offset)
                return false;
        }
    return true;
}
