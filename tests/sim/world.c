/*
 * world.c - the clock, the queue of events, chance, the story; and what is replaced at link time:
 * the three clocks of common/clock.h and the logger's two functions.
 *
 * Happy path: the earliest event is taken from the heap, the clock is set to its time, it runs. An
 * event of a worker that is frozen waits until it runs again; one of an earlier life is dropped.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

struct sim *sim_here;

/* ---- memory that lives as long as the world -------------------------------------------------- */

enum { CHUNK_BYTES = 256 << 10 };

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

static void no_memory(void)
{
    (void)fputs("sim: no memory\n", stderr);
    exit(3);
}

void *sim_alloc(struct sim *s, size_t n)
{
    struct chunk *chunk = s->arena;
    n = (n + 15) & ~(size_t)15;
    if (!chunk || chunk->used + n > chunk->size) {
        size_t size = n > CHUNK_BYTES ? n : CHUNK_BYTES;
        chunk = malloc(sizeof *chunk + size);
        if (!chunk)
            no_memory();
        chunk->next = s->arena;
        chunk->used = 0;
        chunk->size = size;
        s->arena = chunk;
    }
    void *p = chunk->bytes + chunk->used;
    chunk->used += n;
    return memset(p, 0, n);
}

void sim_world_done(struct sim *s)
{
    struct chunk *chunk = s->arena;
    sim_pg_done(s);
    kafka_done(s);
    limits_done(s);
    while (chunk) {
        struct chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    free(s->heap);
    free(s->seen);
    fake_pg_free(s->db);
    sign_ring_free(s->ring);
    memset(s, 0, sizeof *s);
}

/* ---- events: a binary heap by time, then by the order in which they were made ---------------- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->seq < b->seq);
}

static void push(struct sim *s, struct sim_event event)
{
    if (s->heap_count == s->heap_cap) {
        s->heap_cap = s->heap_cap ? 2 * s->heap_cap : 256;
        struct sim_event *grown = realloc(s->heap, s->heap_cap * sizeof *grown);
        if (!grown)
            no_memory();
        s->heap = grown;
    }
    size_t at = s->heap_count++;
    while (at > 0 && before(&event, &s->heap[(at - 1) / 2])) {
        s->heap[at] = s->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->heap[at] = event;
}

static struct sim_event pop(struct sim *s)
{
    struct sim_event first = s->heap[0], last = s->heap[--s->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &last))
            break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return first;
}

static void add(struct sim *s, int64_t in_us, sim_fn fn, void *arg, int slot, uint32_t life)
{
    push(s, (struct sim_event){s->now_us + (in_us > 0 ? in_us : 0), s->seq++, fn, arg, slot, life});
}

void sim_after(struct sim *s, int64_t in_us, sim_fn fn, void *arg)
{
    add(s, in_us, fn, arg, -1, 0);
}

void sim_after_for(struct sim_worker *w, int64_t in_us, sim_fn fn, void *arg)
{
    add(w->sim, in_us, fn, arg, w->slot, w->life);
}

/* A worker's event: its clocks hold, and its loop's turn ends soon after. */
static void run_for(struct sim *s, const struct sim_event *event)
{
    struct sim_worker *w = &s->workers[event->slot];
    if (w->life != event->life || w->phase == SIM_DOWN)
        return;
    if (w->frozen_until_us > s->now_us) {
        add(s, w->frozen_until_us - s->now_us, event->fn, event->arg, event->slot, event->life);
        return;
    }
    s->running = w;
    event->fn(s, w, event->arg);
    s->running = NULL;
    if (w->life != event->life || w->phase == SIM_DOWN)
        return;
    check_worker(s, w);
    if (w->dying)
        sim_worker_crash(w);
    else
        sim_worker_turn(w);
}

void sim_run(struct sim *s, int64_t until_us)
{
    while (s->heap_count && !s->broken[0]) {
        if (s->heap[0].at_us > until_us)
            break;
        struct sim_event event = pop(s);
        s->now_us = event.at_us;
        s->counts->events++;
        sim_note(s, event.seq, (uint64_t)event.at_us, (uint64_t)event.slot);
        if (event.slot >= 0)
            run_for(s, &event);
        else
            event.fn(s, NULL, event.arg);
    }
    if (!s->broken[0] && until_us > s->now_us)
        s->now_us = until_us;
}

/* ---- chance, the record of what happened, the story ------------------------------------------ */

uint64_t sim_draw(struct sim_worker *w)
{
    return draw_mix(w->sim->plan->seed, (uint64_t)w->slot + 1, w->life, w->draws++);
}

int64_t sim_range(uint64_t draw, int64_t least, int64_t most)
{
    return least + (int64_t)(draw % (uint64_t)(most - least + 1));
}

void sim_note(struct sim *s, uint64_t what, uint64_t a, uint64_t b)
{
    const uint64_t words[] = {what, a, b};
    for (int i = 0; i < 3; i++) /* FNV-1a, by words */
        s->hash = (s->hash ^ words[i]) * UINT64_C(0x100000001b3);
    s->hash ^= s->hash >> 29;
}

void sim_tell(struct sim *s, const struct sim_worker *w, const char *fmt, ...)
{
    va_list args;
    printf("%10.4f s  %-10s ", (double)s->now_us / 1e6, w ? w->name : "");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

void sim_break(struct sim *s, const char *guarantee, const char *fmt, ...)
{
    va_list args;
    if (s->broken[0])
        return;
    (void)snprintf(s->broken, sizeof s->broken, "%s", guarantee);
    va_start(args, fmt);
    (void)vsnprintf(s->why, sizeof s->why, fmt, args);
    va_end(args);
    s->broken_us = s->now_us;
    TELL(s, NULL, "%s IS BROKEN: %s", s->broken, s->why);
}

/* ---- replaced at link time ------------------------------------------------------------------- */

noreturn void __wrap___assert_fail(const char *what, const char *file, unsigned line,
                                   const char *function);

/* An assertion of the worker's code that fails breaks the seed, not the run: back to sim_play. What
 * the worker held is in no state to be freed, and stays. */
noreturn void __wrap___assert_fail(const char *what, const char *file, unsigned line,
                                   const char *function)
{
    if (!sim_here || !sim_here->in_play) {
        (void)fprintf(stderr, "%s:%u: %s: %s\n", file, line, function, what);
        abort();
    }
    sim_break(sim_here, "AS", "%s: %s failed in %s",
              sim_here->running ? sim_here->running->name : "the world", what, function);
    longjmp(sim_here->back, 1);
}

int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_boot_us(void);
int64_t __wrap_clock_wall_ms(void);
bool __wrap_log_on(enum log_level level);
void __wrap_log_write(struct log_site *site, enum log_level level, const char *message,
                      const struct log_field *fields, int field_count);

int64_t __wrap_clock_mono_us(void)
{
    return sim_here->running ? sim_worker_mono(sim_here->running) : sim_here->now_us;
}

int64_t __wrap_clock_boot_us(void)
{
    return sim_here->running ? sim_worker_boot(sim_here->running) : sim_here->now_us;
}

int64_t __wrap_clock_wall_ms(void)
{
    int64_t off_us = sim_here->running ? sim_here->running->wall_off_us : 0;
    return (sim_wall_us(sim_here) + off_us) / 1000;
}

bool __wrap_log_on(enum log_level level)
{
    (void)level;
    return sim_here && sim_here->telling;
}

void __wrap_log_write(struct log_site *site, enum log_level level, const char *message,
                      const struct log_field *fields, int field_count)
{
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof text, "log: %s", message);
    (void)site, (void)level;
    for (int i = 0; i < field_count && n < sizeof text; i++) {
        const struct log_field *f = &fields[i];
        if (f->type == LOG_FIELD_STR)
            n += (size_t)snprintf(text + n, sizeof text - n, " %s=%s", f->key, f->str);
        else if (f->type == LOG_FIELD_INT)
            n += (size_t)snprintf(text + n, sizeof text - n, " %s=%lld", f->key, (long long)f->num);
    }
    sim_tell(sim_here, sim_here->running, "%s", text);
}
