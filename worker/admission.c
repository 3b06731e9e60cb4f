/*
 * admission.c - a worker's own view of the shared limits: calls (pure).
 *
 * Happy path: a gate knows its limits by index; a call asks each of them (its lease, then its
 * window, its calls in flight or the rest of its day) and takes from all at once. Rules that change
 * keep what is known of limits that stay, and have every gate find its limits anew.
 *
 * Failure modes: a worker without memory for a gate or for rules says so and stays as it was. A
 * call's usage that is not known counts as reserved.
 */
#include "worker/admission.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "worker/admission_impl.h"

enum {
    WAITER_US = 200 * 1000, /* who waits is asked more often than that */
    PATIENCE_US = 2 * 1000 * 1000,
    LARGE = 2, /* so many times another's call */
    TABLE_FIRST = 64,
    GATES_MANY = 4096, /* from then on those that rest make room */
    HALF_MINUTE_US = 30 * 1000 * 1000
};

/* ---- making and unmaking --------------------------------------------------------------------- */

static void free_limit(struct admission_limit *l)
{
    if (!l)
        return;
    free(l->window);
    free((char *)(uintptr_t)l->rule.key.p);
    free(l);
}

static void free_model(struct admission_model *m)
{
    free((char *)(uintptr_t)m->endpoint);
    free((char *)(uintptr_t)m->label);
}

static bool is_same(const struct admission_model *a, const struct admission_model *b)
{
    return strcmp(a->endpoint, b->endpoint) == 0 && strcmp(a->label, b->label) == 0;
}

enum rc admission_models(struct admission *a, const struct admission_model *models, int model_count,
                         struct err *err)
{
    if (model_count >= a->model_count) {
        struct admission_model *list = realloc(a->models, ((size_t)model_count + 1) * sizeof *list);
        if (!list)
            return err_set(err, RC_NOMEM, "no memory for %d model versions", model_count);
        a->models = list;
    }
    for (int i = 0; i < model_count; i++) {
        if (i < a->model_count && is_same(&a->models[i], &models[i]))
            continue;
        struct admission_model m = {strdup(models[i].endpoint), strdup(models[i].label)};
        if (!m.endpoint || !m.label) {
            free_model(&m);
            return err_set(err, RC_NOMEM, "no memory for %d model versions", model_count);
        }
        if (i < a->model_count)
            free_model(&a->models[i]);
        a->models[i] = m;
        a->model_count = i < a->model_count ? a->model_count : i + 1;
    }
    return RC_OK;
}

struct admission *admission_new(const struct admission_model *models, int model_count)
{
    struct admission *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->lapse_at_us = INT64_MAX;
    a->minute_us = window_minute_us(0);
    a->sweep_at = GATES_MANY;
    a->table = calloc(TABLE_FIRST, sizeof *a->table);
    a->table_mask = TABLE_FIRST - 1;
    a->gates = calloc(TABLE_FIRST, sizeof(struct admission_gate *));
    if (a->table && a->gates && admission_models(a, models, model_count, NULL) == RC_OK)
        return a;
    admission_free(a);
    return NULL;
}

void admission_free(struct admission *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->model_count; i++)
        free_model(&a->models[i]);
    free(a->models);
    for (size_t i = 0; i < a->limit_count; i++)
        free_limit(a->limits[i]);
    free(a->limits);
    for (size_t i = 0; i < a->gate_count; i++) {
        free(a->gates[i]->app);
        free(a->gates[i]);
    }
    free(a->gates);
    free(a->table);
    free(a->says);
    free(a->wants);
    free(a);
}

/* ---- gates ----------------------------------------------------------------------------------- */

static bool binds(const struct admission *a, const struct admission_rule *rule,
                  const struct admission_gate *g)
{
    const struct admission_model *m = &a->models[g->model];
    switch (rule->scope) {
    case LIMIT_ENDPOINT:
        return span_is(rule->key, m->endpoint);
    case LIMIT_MODEL:
        return span_is(rule->key, m->label);
    case LIMIT_APP:
        return span_eq(rule->key, (struct span){g->app, g->app_n});
    case LIMIT_SCOPE_END:
        break;
    }
    return false;
}

static void find_limits(const struct admission *a, struct admission_gate *g)
{
    g->count = 0;
    g->blocked_by = -1;
    for (size_t i = 0; i < a->limit_count && g->count < ADMISSION_GATE_LIMITS; i++)
        if (binds(a, &a->limits[i]->rule, g))
            g->limits[g->count++] = (int)i;
}

static uint32_t hash_app(struct span app)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < app.n; i++)
        hash = (hash ^ (uint8_t)app.p[i]) * 16777619u;
    return hash;
}

static int32_t *table_place(const struct admission *a, int model, struct span app, uint32_t hash)
{
    uint32_t mixed = hash ^ (uint32_t)model * 2654435761u;
    for (size_t at = mixed & a->table_mask;; at = (at + 1) & a->table_mask) {
        if (!a->table[at])
            return &a->table[at];
        const struct admission_gate *g = a->gates[a->table[at] - 1];
        if (g->model == model && g->app_hash == hash &&
            span_eq(app, (struct span){g->app, g->app_n}))
            return &a->table[at];
    }
}

static void fill_table(struct admission *a)
{
    memset(a->table, 0, (a->table_mask + 1) * sizeof *a->table);
    for (size_t i = 0; i < a->gate_count; i++) {
        const struct admission_gate *g = a->gates[i];
        if (g->app)
            *table_place(a, g->model, (struct span){g->app, g->app_n}, g->app_hash) =
                (int32_t)i + 1;
    }
}

static bool rests(const struct admission_gate *g)
{
    for (int lane = 0; lane < LANES_MAX; lane++) {
        const struct admission_sums *s = &g->lanes[lane];
        if (s->waiting.jobs || s->in_flight || s->recent[0].jobs || s->recent[1].jobs)
            return false;
    }
    return true;
}

/* No job knows the gates that rest. As often as the gates that work have doubled, so that it costs
 * little for each. */
static void free_resting(struct admission *a)
{
    for (size_t i = 0; i < a->gate_count; i++) {
        struct admission_gate *g = a->gates[i];
        if (!g->app || !rests(g))
            continue;
        free(g->app);
        *g = (struct admission_gate){.blocked_by = -1};
        a->free_count++;
    }
    fill_table(a);
    a->sweep_at = 2 * (a->gate_count - a->free_count);
    a->sweep_at = a->sweep_at > GATES_MANY ? a->sweep_at : GATES_MANY;
}

static bool grow_table(struct admission *a)
{
    if (2 * (a->gate_count + 1) <= a->table_mask)
        return true;
    size_t size = 2 * (a->table_mask + 1);
    int32_t *table = calloc(size, sizeof *table);
    struct admission_gate **gates = realloc(a->gates, size * sizeof *gates);
    if (gates)
        a->gates = gates;
    if (!table || !gates) {
        free(table);
        return false;
    }
    free(a->table);
    a->table = table;
    a->table_mask = size - 1;
    fill_table(a);
    return true;
}

/* A place without an app: one that was freed, or one more. gate_count: no memory. */
static size_t free_place(struct admission *a)
{
    size_t at = 0;
    if (!a->free_count && a->gate_count >= a->sweep_at)
        free_resting(a);
    if (!a->free_count) {
        if (!grow_table(a) || !(a->gates[a->gate_count] = calloc(1, sizeof **a->gates)))
            return a->gate_count;
        a->free_count++;
        return a->gate_count++;
    }
    while (a->gates[at]->app)
        at++;
    return at;
}

int admission_gate(struct admission *a, int model, struct span app)
{
    assert(model >= 0 && model < a->model_count);
    uint32_t hash = hash_app(app);
    int32_t found = *table_place(a, model, app, hash);
    if (found)
        return found - 1;
    char *name = malloc(app.n + 1);
    size_t at = name ? free_place(a) : a->gate_count;
    if (at == a->gate_count) {
        free(name);
        return -1;
    }
    if (app.n)
        memcpy(name, app.p, app.n);
    name[app.n] = '\0';
    struct admission_gate *g = a->gates[at];
    *g = (struct admission_gate){.model = model, .app = name, .app_n = app.n, .app_hash = hash};
    a->free_count--;
    find_limits(a, g);
    *table_place(a, model, app, hash) = (int32_t)at + 1;
    return (int)at;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static struct admission_limit *find_limit(const struct admission *a,
                                          const struct admission_rule *rule)
{
    for (size_t i = 0; i < a->limit_count; i++)
        if (a->limits[i]->rule.limit_id == rule->limit_id)
            return a->limits[i];
    return NULL;
}

static struct admission_limit *new_limit(const struct admission_rule *rule, int64_t minute_us,
                                         int64_t now_us)
{
    struct admission_limit *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->rule = *rule;
    l->waiter = -1;
    char *key = malloc(rule->key.n + 1);
    l->rule.key.p = key;
    if (key)
        memcpy(key, rule->key.p, rule->key.n);
    bool is_rate = limit_is_rate(rule->dimension);
    l->window = is_rate ? malloc(sizeof *l->window) : NULL;
    if (!key || (is_rate && !l->window)) {
        free_limit(l);
        return NULL;
    }
    if (is_rate)
        window_init(l->window, minute_us, now_us);
    return l;
}

/* The new list: limits that stay, and new ones. NULL: no memory. */
static struct admission_limit **list_limits(struct admission *a, const struct admission_rule *rules,
                                            size_t count, int64_t minute_us, int64_t now_us)
{
    struct admission_limit **list = calloc(2 * count + 1, sizeof *list);
    size_t new = 0;
    for (size_t i = 0; list && i < count; i++) {
        struct admission_limit *l = find_limit(a, &rules[i]);
        if (!l || (l->window && minute_us != a->minute_us)) {
            l = new_limit(&rules[i], minute_us, now_us);
            list[count + new ++] = l; /* behind all: what is new */
        }
        list[i] = l;
        if (l)
            continue;
        while (new -- > 0)
            free_limit(list[count + new]);
        free(list);
        return NULL;
    }
    return list;
}

static int64_t flights(const struct admission_gate *g)
{
    int64_t calls = 0;
    for (int lane = 0; lane < LANES_MAX; lane++)
        calls += g->lanes[lane].in_flight;
    return calls;
}

/* Gates find their limits anew, and calls that run are in flight for those that have come. */
static void bind_gates(struct admission *a)
{
    for (size_t i = 0; i < a->gate_count; i++) {
        struct admission_gate *g = a->gates[i];
        if (!g->app)
            continue;
        find_limits(a, g);
        for (int k = 0; k < g->count; k++) {
            struct admission_limit *l = a->limits[g->limits[k]];
            l->in_use += l->generation == a->generation ? flights(g) : 0;
        }
    }
}

/* What is in force already, in the same order. */
static bool are_known(const struct admission *a, const struct admission_rule *rules, size_t count,
                      int64_t minute_us)
{
    if (count != a->limit_count || minute_us != a->minute_us)
        return false;
    for (size_t i = 0; i < count; i++)
        if (a->limits[i]->rule.limit_id != rules[i].limit_id ||
            a->limits[i]->rule.amount != rules[i].amount ||
            a->limits[i]->rule.configured != rules[i].configured)
            return false;
    return true;
}

enum rc admission_rules(struct admission *a, const struct admission_rule *rules, size_t count,
                        int headroom_permille, int64_t now_us, struct err *err)
{
    int64_t minute_us = window_minute_us(headroom_permille);
    if (are_known(a, rules, count, minute_us))
        return RC_OK;
    struct admission_limit **list = list_limits(a, rules, count, minute_us, now_us);
    if (!list)
        return err_set(err, RC_NOMEM, "no memory for %zu limits", count);
    for (size_t i = 0; i < count; i++)
        list[i]->stays = true;
    for (size_t i = 0; i < a->limit_count; i++)
        if (!a->limits[i]->stays)
            free_limit(a->limits[i]);
    free(a->limits);
    a->limits = list;
    a->limit_count = count;
    a->minute_us = minute_us;
    a->generation++;
    for (size_t i = 0; i < count; i++) {
        list[i]->stays = false;
        if (!list[i]->generation)
            list[i]->generation = a->generation;
        list[i]->rule.amount = rules[i].amount;
        list[i]->rule.configured = rules[i].configured;
    }
    bind_gates(a);
    a->urgent = true;
    return RC_OK;
}

bool admission_on(const struct admission *a)
{
    return a->limit_count > 0;
}

uint32_t admission_generation(const struct admission *a)
{
    return a->generation;
}

/* ---- may it go? ------------------------------------------------------------------------------ */

/* No limit of tokens a minute is larger, and sums of these stay far from the end. */
static int64_t bounded(int64_t tokens)
{
    if (tokens < 0)
        return 0;
    return tokens <= LIMIT_PER_MINUTE_MAX ? tokens : LIMIT_PER_MINUTE_MAX + 1;
}

static int64_t units_of(const struct admission_limit *l, const struct admission_units *units)
{
    switch (l->rule.dimension) {
    case LIMIT_REQUESTS_PER_MINUTE:
    case LIMIT_IN_FLIGHT:
        return 1;
    case LIMIT_INPUT_TOKENS_PER_MINUTE:
        return bounded(units->input_tokens);
    case LIMIT_OUTPUT_TOKENS_PER_MINUTE:
        return bounded(units->output_tokens);
    case LIMIT_TOKENS_PER_MINUTE:
    case LIMIT_TOKENS_PER_DAY:
        return bounded(units->input_tokens) + bounded(units->output_tokens);
    case LIMIT_DIMENSION_END:
        break;
    }
    return 0;
}

const struct admission_rule *admission_over(const struct admission *a, int gate,
                                            const struct admission_units *units)
{
    const struct admission_gate *g = a->gates[gate];
    for (int k = 0; k < g->count; k++) {
        const struct admission_limit *l = a->limits[g->limits[k]];
        int64_t of = units_of(l, units);
        if (of > l->rule.amount && of > l->rule.configured)
            return &l->rule;
    }
    return NULL;
}

static void note_need(struct admission_limit *l, int64_t units, int64_t now_us)
{
    l->need[0] = units > l->need[0] ? units : l->need[0];
    l->active_us = now_us;
}

/* A gate that is not asked any more waits for nothing. */
static bool has_waiter(const struct admission_limit *l, int64_t now_us)
{
    return l->waiter >= 0 && now_us - l->waiter_us < WAITER_US;
}

/* Calls of about one size go as they are asked, which is by lanes' and apps' turns. But a large one
 * might wait for ever: each small one takes of what it waits for. After a while they leave it its
 * units; and once it has gone, none has to for as long as it waited. What a call of `of` units is
 * to leave. */
static int64_t left_for_others(const struct admission_limit *l, int gate, int64_t of,
                               int64_t now_us)
{
    bool waits = has_waiter(l, now_us) && l->waiter != gate && l->waiter_units >= LARGE * of &&
                 now_us - l->waits_since_us >= PATIENCE_US && now_us >= l->no_turn_until_us;
    return waits ? l->waiter_units : 0;
}

/* This gate's call finds too little. */
static void note_waiter(struct admission_limit *l, int gate, int64_t of, int64_t now_us)
{
    bool same = has_waiter(l, now_us) && l->waiter == gate;
    if (!same && has_waiter(l, now_us) && l->waiter_units >= of)
        return;
    l->waits_since_us = same ? l->waits_since_us : now_us;
    l->waiter = gate;
    l->waiter_units = of;
    l->waiter_us = now_us;
}

static void note_taken(struct admission_limit *l, int gate, int64_t now_us)
{
    if (l->waiter != gate)
        return;
    l->no_turn_until_us = now_us + (now_us - l->waits_since_us);
    l->waiter = -1;
}

/* What is blocked by one limit needs its units of the others all the same: who is to have his turn
 * there must not seem to need nothing meanwhile. */
static void note_needs(struct admission *a, const struct admission_gate *g,
                       const struct admission_units *units, int64_t now_us)
{
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = a->limits[g->limits[k]];
        note_need(l, units_of(l, units), now_us);
    }
}

static bool has(struct admission_limit *l, int64_t units, int64_t now_us)
{
    if (l->rule.dimension == LIMIT_TOKENS_PER_DAY)
        return now_us < l->until_us && units <= l->left;
    if (!l->leased)
        return false;
    return l->window ? window_has(l->window, units, now_us) : l->in_use < l->share;
}

/* How long a dead worker's share is kept for what it sent last goes by the largest call that it has
 * spoken of. */
static bool is_known(const struct admission_limit *l, int64_t units)
{
    return !l->window || units <= l->known_need;
}

static void unblock(struct admission_gate *g, int64_t now_us)
{
    if (!g->blocked)
        return;
    g->blocked_us += now_us - g->blocked_since_us;
    g->held_us[g->held_at] += now_us - g->blocked_since_us;
    g->blocked = false;
}

/* By the kth of its limits. */
static void block(const struct admission *a, struct admission_gate *g, int k, int64_t now_us)
{
    const struct admission_rule *rule = &a->limits[g->limits[k]]->rule;
    int place = ((int)rule->scope - 1) * (LIMIT_DIMENSION_END - 1) + (int)rule->dimension - 1;
    if (g->blocked && g->held_at != place)
        unblock(g, now_us);
    if (!g->blocked)
        g->blocked_since_us = now_us;
    g->blocked = true;
    g->blocked_by = k;
    g->held_at = place;
    g->held_by[place] = rule->limit_id;
}

bool admission_may(struct admission *a, int gate, const struct admission_units *units,
                   int64_t now_us)
{
    struct admission_gate *g = a->gates[gate];
    admission_advance(a, now_us);
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = a->limits[g->limits[k]];
        int64_t of = units_of(l, units), others = left_for_others(l, gate, of, now_us);
        if (has(l, of + others, now_us) && is_known(l, of))
            continue;
        note_waiter(l, gate, of, now_us);
        a->urgent = a->urgent || !l->said_wanted ||
                    (!is_known(l, of) && of > l->said_need && of <= l->rule.amount);
        note_needs(a, g, units, now_us);
        block(a, g, k, now_us);
        return false;
    }
    unblock(g, now_us);
    return true;
}

int64_t admission_when(struct admission *a, int gate, const struct admission_units *units,
                       int64_t now_us)
{
    const struct admission_gate *g = a->gates[gate];
    admission_advance(a, now_us);
    int64_t when = now_us + 1;
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = a->limits[g->limits[k]];
        int64_t of = units_of(l, units), others = left_for_others(l, gate, of, now_us);
        bool known = is_known(l, of);
        if (known && has(l, of + others, now_us))
            continue;
        if (!l->window || !l->leased || !known)
            return INT64_MAX;
        int64_t at = window_when(l->window, of + others, now_us);
        if (at == INT64_MAX && others)
            at = now_us + WAITER_US;
        when = at > when ? at : when;
    }
    return when;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void add(struct admission_count *c, const struct admission_units *units, int64_t times)
{
    c->jobs += times;
    c->input_tokens += times * bounded(units->input_tokens);
    c->output_tokens += times * bounded(units->output_tokens);
}

void admission_waits(struct admission *a, int gate, int lane, const struct admission_units *units,
                     int count)
{
    add(&a->gates[gate]->lanes[lane].waiting, units, count);
}

void admission_take(struct admission *a, int gate, int lane, const struct admission_units *units,
                    int64_t now_us, struct admission_call *ret_call)
{
    struct admission_gate *g = a->gates[gate];
    admission_advance(a, now_us);
    *ret_call = (struct admission_call){.gate = gate,
                                        .lane = lane,
                                        .generation = a->generation,
                                        .reserved = *units,
                                        .taken_us = now_us};
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = a->limits[g->limits[k]];
        int64_t of = units_of(l, units);
        note_need(l, of, now_us);
        note_taken(l, gate, now_us);
        l->left -= l->rule.dimension == LIMIT_TOKENS_PER_DAY ? of : 0;
        l->in_use++;
        if (l->window)
            window_take(l->window, of, now_us);
    }
    add(&g->lanes[lane].recent[0], units, 1);
    g->lanes[lane].in_flight++;
}

void admission_running(struct admission *a, int gate, int lane, int64_t now_us,
                       struct admission_call *ret_call)
{
    struct admission_gate *g = a->gates[gate];
    *ret_call = (struct admission_call){.gate = gate, .lane = lane, .taken_us = now_us};
    for (int k = 0; k < g->count; k++)
        a->limits[g->limits[k]]->in_use++;
    g->lanes[lane].in_flight++;
}

/* The kth limit of its gate, if the call has taken units of it. */
static struct admission_limit *taken_from(const struct admission *a,
                                          const struct admission_call *call, int k)
{
    struct admission_limit *l = a->limits[a->gates[call->gate]->limits[k]];
    return l->generation <= call->generation ? l : NULL;
}

bool admission_leave(struct admission *a, struct admission_call *call, int64_t now_us)
{
    const struct admission_gate *g = a->gates[call->gate];
    admission_advance(a, now_us);
    for (int k = 0; k < g->count; k++) {
        const struct admission_limit *l = taken_from(a, call, k);
        if (!l || l->leased || l->rule.dimension == LIMIT_TOKENS_PER_DAY)
            continue;
        admission_give_back(a, call, now_us);
        return false;
    }
    call->left_us = now_us;
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = taken_from(a, call, k);
        if (l && l->window)
            window_leave(l->window, units_of(l, &call->reserved), now_us);
    }
    return true;
}

static void end_call(struct admission *a, const struct admission_call *call)
{
    struct admission_gate *g = a->gates[call->gate];
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = a->limits[g->limits[k]];
        l->in_use--;
        assert(l->in_use >= 0);
    }
    g->lanes[call->lane].in_flight--;
    assert(g->lanes[call->lane].in_flight >= 0);
}

/* Units of a day's budget come back only to the same day; what was taken beside is owed for ever.
 */
static void give_day(struct admission_limit *l, const struct admission_call *call, int64_t units)
{
    bool same = call->taken_us >= l->from_us;
    if (l->rule.dimension == LIMIT_TOKENS_PER_DAY && (same || units < 0))
        l->left += units;
}

void admission_give_back(struct admission *a, const struct admission_call *call, int64_t now_us)
{
    struct admission_gate *g = a->gates[call->gate];
    admission_advance(a, now_us);
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = taken_from(a, call, k);
        if (!l)
            continue;
        int64_t of = units_of(l, &call->reserved);
        give_day(l, call, of);
        if (l->window)
            window_give_back(l->window, of, now_us);
    }
    end_call(a, call);
}

void admission_settle(struct admission *a, const struct admission_call *call,
                      const struct admission_units *used, int64_t now_us)
{
    struct admission_gate *g = a->gates[call->gate];
    admission_advance(a, now_us);
    struct admission_units all = *used;
    if (all.input_tokens < 0)
        all.input_tokens = call->reserved.input_tokens;
    if (all.output_tokens < 0)
        all.output_tokens = call->reserved.output_tokens;
    for (int k = 0; k < g->count; k++) {
        struct admission_limit *l = taken_from(a, call, k);
        if (!l)
            continue;
        int64_t reserved = units_of(l, &call->reserved), of = units_of(l, &all);
        give_day(l, call, reserved - of);
        l->excess += of > reserved ? of - reserved : 0;
        if (l->rule.dimension != LIMIT_TOKENS_PER_DAY) /* it asks for no more of a day */
            l->active_us = now_us;
        if (l->window)
            window_settle(l->window, reserved, of, call->left_us, now_us);
    }
    end_call(a, call);
}

const struct admission_rule *admission_bound(const struct admission *a, int gate, int k)
{
    const struct admission_gate *g = a->gates[gate];
    return k < g->count ? &a->limits[g->limits[k]]->rule : NULL;
}

int64_t admission_blocked_us(const struct admission *a, int gate, int64_t now_us)
{
    const struct admission_gate *g = a->gates[gate];
    return g->blocked_us + (g->blocked ? now_us - g->blocked_since_us : 0);
}

const struct admission_rule *admission_blocker(const struct admission *a, int gate)
{
    const struct admission_gate *g = a->gates[gate];
    return g->blocked_by < 0 ? NULL : &a->limits[g->limits[g->blocked_by]]->rule;
}

/* ---- time passes ----------------------------------------------------------------------------- */

static void lapse(struct admission_limit *l)
{
    l->leased = false;
    l->share = 0;
    if (l->window)
        window_share(l->window, 0, l->lease_until_us);
}

static void end_leases(struct admission *a, int64_t now_us)
{
    a->lapse_at_us = INT64_MAX;
    for (size_t i = 0; i < a->limit_count; i++) {
        struct admission_limit *l = a->limits[i];
        if (l->leased && l->lease_until_us <= now_us)
            lapse(l);
        if (l->leased && l->lease_until_us < a->lapse_at_us)
            a->lapse_at_us = l->lease_until_us;
    }
}

static void turn_recent(struct admission *a, int64_t now_us)
{
    bool both = now_us - a->recent_us >= 2 * RECENT_US;
    a->recent_us = now_us;
    for (size_t i = 0; i < a->gate_count; i++) {
        for (int lane = 0; lane < LANES_MAX; lane++) {
            struct admission_sums *s = &a->gates[i]->lanes[lane];
            s->recent[1] = s->recent[0];
            s->recent[0] = (struct admission_count){0};
            if (both)
                s->recent[1] = s->recent[0];
        }
    }
}

static void turn_half_minute(struct admission *a, int64_t now_us)
{
    bool both = now_us - a->turned_us >= 2 * HALF_MINUTE_US;
    a->turned_us = now_us;
    for (size_t i = 0; i < a->limit_count; i++) {
        struct admission_limit *l = a->limits[i];
        l->need[2] = both ? 0 : l->need[1];
        l->need[1] = both ? 0 : l->need[0];
        l->need[0] = 0;
    }
}

void admission_advance(struct admission *a, int64_t now_us)
{
    if (now_us >= a->lapse_at_us)
        end_leases(a, now_us);
    if (now_us - a->recent_us >= RECENT_US)
        turn_recent(a, now_us);
    if (now_us - a->turned_us >= HALF_MINUTE_US)
        turn_half_minute(a, now_us);
}
