/*
 * test_fake_pg.c - the simulation's Postgres is like Postgres: random histories of the workers' own
 * statements run on both, with the same parameters and the same clock, and after each transaction
 * the answers agree, byte for byte, and every few transactions the tables do, row for row.
 *
 * The real side is the workers' own edge (common/pg.h) with the text of worker/store_sql.c and its
 * planner settings, on a database of its own, whose clock the test sets (scratch.h): so leases end,
 * waits are over and deadlines pass within a history. Transactions run one after the other: what
 * concurrent ones do to each other is not compared here (test_race_pg.c attacks that on the real
 * server alone; the simulation has transactions follow each other too). test_fake_pg_schema.c holds
 * the fake's tables against the schema.
 *
 * INFERQ_FAKE_SEED: the first history's seed (1); INFERQ_FAKE_HISTORIES: how many (25), each with
 * the next seed; INFERQ_FAKE_TRACE=1 prints each statement. A failure says how to repeat it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "common/log.h"
#include "common/pg_internal.h"
#include "tests/live/fake_args.h"
#include "tests/live/fake_limits.h"
#include "tests/live/scratch.h"
#include "tests/sim/fake_pg.h"
#include "tests/sim/fake_pg_impl.h"
#include "worker/store_sql.h"

enum {
    CONNECTIONS = 4, /* claim, store, and two for housekeeping, so that one can be the keeper */
    STATEMENTS_MAX = 48,
    STEPS_MAX = 4, /* and the clock's */
    TXNS = 100,
    CHECK_EVERY = 5,
    DEFAULT_HISTORIES = 25,
};

/* A Friday noon; partitions reach from the week before to two weeks after. */
#define START_US INT64_C(1763726400000000)

/* ---- the real side ------------------------------------------------------------------------ */

struct connection {
    const struct pg_stmt *own; /* the workers' */
    const char *const *settings;
    struct pg_stmt statements[STATEMENTS_MAX]; /* own, and the clock at the end */
    const char *all_settings[STATEMENTS_MAX];
    int count; /* of own */
    struct pg *pg;
};

static struct scratch scratch;
static uv_loop_t loop;
static struct connection connections[CONNECTIONS] = {
    {.own = store_sql_claim, .settings = store_settings_sync},
    {.own = store_sql_store, .settings = store_settings_sync},
    {.own = store_sql_keep, .settings = store_settings_keep},
    {.own = store_sql_keep, .settings = store_settings_keep},
};

static void on_up(void *arg)
{
    (void)arg;
}

static void on_down(void *arg, const char *why)
{
    (void)arg, (void)why;
}

static void on_notify(void *arg, const char *channel, const char *payload)
{
    (void)arg, (void)channel, (void)payload;
}

static void wait_up(const struct connection *c)
{
    while (!pg_is_up(c->pg)) /* a run that hangs is ended by its runner */
        uv_run(&loop, UV_RUN_ONCE);
}

static void connect_one(struct connection *c)
{
    struct err err = {""};
    int settings = 0;
    c->count = 0;
    for (; c->own[c->count].name; c->count++)
        c->statements[c->count] = c->own[c->count];
    c->statements[c->count] = (struct pg_stmt){"scratch_clock", SCRATCH_CLOCK_SET};
    c->statements[c->count + 1] = (struct pg_stmt){0};
    for (; c->settings[settings]; settings++)
        c->all_settings[settings] = c->settings[settings];
    c->all_settings[settings] = SCRATCH_CLOCK_PATH;
    c->all_settings[settings + 1] = "SET synchronous_commit = off"; /* nothing is cut off here */
    c->all_settings[settings + 2] = NULL;
    struct pg_conf conf = {.conninfo = scratch.conninfo,
                           .name = "fake-test",
                           .statements = c->statements,
                           .settings = c->all_settings,
                           .on_up = on_up,
                           .on_down = on_down,
                           .on_notify = on_notify};
    c->pg = pg_new(&loop, &conf, &err);
    if (!c->pg)
        fail_msg("%s", err.text);
    wait_up(c);
}

static void disconnect_one(struct connection *c)
{
    pg_free(c->pg);
    c->pg = NULL;
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void set_scratch_clock(int64_t now_us)
{
    struct pg_params *p = pg_params_new();
    pg_add_int(p, PG_INT8, now_us);
    pg_rows_free(scratch_ask(&scratch, SCRATCH_CLOCK_SET, p));
    pg_params_free(p);
}

static int open_all(void **state)
{
    (void)state;
    if (!scratch_open(&scratch, "fake"))
        return -1;
    scratch_take_clock(&scratch);
    set_scratch_clock(START_US);
    scratch_run(&scratch, "SELECT ensure_partitions();"
                          "INSERT INTO endpoint (name, version, base_url, adapter, credential,"
                          " ca_file, max_in_flight, timeout_ms, connect_timeout_ms, send_ids,"
                          " idempotency_key, sha256)"
                          " SELECT 'e' || i, 1, '', 0, '', '', 1, 1, 1, false, false, ''"
                          " FROM generate_series(1, 4) i");
    uv_loop_init(&loop);
    for (int i = 0; i < CONNECTIONS; i++)
        connect_one(&connections[i]);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    for (int i = 0; i < CONNECTIONS; i++)
        disconnect_one(&connections[i]);
    while (uv_run(&loop, UV_RUN_ONCE))
        continue;
    uv_loop_close(&loop);
    scratch_close(&scratch);
    return 0;
}

/* ---- rows as text ------------------------------------------------------------------------- */

/* One line per row: each value's bytes on the wire, in hex; "-": NULL. The first line of a
 * statement's answer has the columns' names and types. */
struct lines {
    char **line;
    int n;
};

static void lines_done(struct lines *lines)
{
    for (int i = 0; i < lines->n; i++)
        free(lines->line[i]);
    free(lines->line);
    *lines = (struct lines){0};
}

static char *row_text(const PGresult *res, int row)
{
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    assert_non_null(out);
    for (int col = 0; col < PQnfields(res); col++) {
        if (row < 0)
            (void)fprintf(out, "%s:%u ", PQfname(res, col), PQftype(res, col));
        else if (PQgetisnull(res, row, col))
            (void)fputs("- ", out);
        for (int i = 0; row >= 0 && i < PQgetlength(res, row, col); i++)
            (void)fprintf(out, "%02x", (unsigned char)PQgetvalue(res, row, col)[i]);
        (void)fputs(row >= 0 ? ", " : "", out);
    }
    (void)fclose(out);
    return text;
}

static struct lines lines_of(const struct pg_rows *rows, bool with_head)
{
    int n = PQntuples(rows->res);
    struct lines lines = {calloc((size_t)n + 1, sizeof(char *)), 0};
    assert_non_null(lines.line);
    if (with_head)
        lines.line[lines.n++] = row_text(rows->res, -1);
    for (int i = 0; i < n; i++)
        lines.line[lines.n++] = row_text(rows->res, i);
    return lines;
}

static int cmp_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(struct lines *lines, int from)
{
    if (lines->n - from > 1)
        qsort(lines->line + from, (size_t)(lines->n - from), sizeof(char *), cmp_lines);
}

/* ---- one history -------------------------------------------------------------------------- */

struct history {
    uint64_t seed;
    int txn;
    struct fake_pg *db;
    struct args args;
    struct pg_params *params[STEPS_MAX];
    const char *name[STEPS_MAX];
    int steps;
};

/* What the statements met, over all histories: a test that never met it shows nothing. */
static struct {
    char name[32];
    int runs, rows;
} met[96];
static int met_count;

static void note(const char *name, int rows)
{
    int i = 0;
    while (i < met_count && strcmp(met[i].name, name) != 0)
        i++;
    if (i == met_count) {
        assert_true((size_t)i < sizeof met / sizeof met[0]);
        (void)snprintf(met[met_count++].name, sizeof met[0].name, "%s", name);
    }
    met[i].runs++;
    met[i].rows += rows;
}

#define fail_history(h, ...)                                                                 \
    do {                                                                                     \
        print_error("history %llu, transaction %d; to repeat: INFERQ_FAKE_SEED=%llu "        \
                    "INFERQ_FAKE_HISTORIES=1 INFERQ_FAKE_TRACE=1\n",                         \
                    (unsigned long long)(h)->seed, (h)->txn, (unsigned long long)(h)->seed); \
        fail_msg(__VA_ARGS__);                                                               \
    } while (0)

static void expect_same(const struct history *h, const char *what, const struct lines *real,
                        const struct lines *fake)
{
    int most = real->n > fake->n ? real->n : fake->n;
    for (int i = 0; i < most; i++) {
        const char *r = i < real->n ? real->line[i] : "(no row)";
        const char *f = i < fake->n ? fake->line[i] : "(no row)";
        if (strcmp(r, f) != 0)
            fail_history(h, "%s, line %d of %d and %d\n  real %s\n  fake %s", what, i, real->n,
                         fake->n, r, f);
    }
}

/* ---- what the simulation looks at ----------------------------------------------------------- */

/* Each row is found by its key, and what is told of a transaction's changes is what changed. */
static void check_lookups(const struct history *h)
{
    const struct fake_pg *db = h->db;
    for (int i = 0; i < fake_pg_count(db, FAKE_BATCH); i++)
        assert_ptr_equal(fake_pg_batch(db, &fake_pg_batch_at(db, i)->batch_id),
                         fake_pg_batch_at(db, i));
    for (int i = 0; i < fake_pg_count(db, FAKE_RESULT); i++)
        assert_ptr_equal(fake_pg_result(db, &fake_pg_result_at(db, i)->job_id),
                         fake_pg_result_at(db, i));
    for (int i = 0; i < fake_pg_count(db, FAKE_PARKED); i++)
        assert_ptr_equal(fake_pg_parked(db, &fake_pg_parked_at(db, i)->job_id),
                         fake_pg_parked_at(db, i));
    for (int i = 0; i < fake_pg_count(db, FAKE_WORKER); i++)
        assert_ptr_equal(fake_pg_worker(db, fake_pg_worker_at(db, i)->worker_id),
                         fake_pg_worker_at(db, i));
    for (int i = 0; i < fake_pg_count(db, FAKE_CALL); i++) {
        const struct fake_call_row *call = fake_pg_call_at(db, i);
        const struct fake_call_row *first = fake_pg_calls(db, &call->job_id);
        assert_ptr_equal(fake_pg_call(db, &call->job_id, call->number), call);
        assert_true(first->number <= call->number);
        assert_true(!call->next || call->next->number > call->number);
    }
}

static void check_changes(struct history *h, const int before[FAKE_TABLES])
{
    int n = 0, rows[FAKE_TABLES];
    const struct fake_change *changes = fake_pg_changes(h->db, &n);
    memcpy(rows, before, sizeof rows);
    for (int i = 0; i < n; i++) {
        assert_true(changes[i].row || changes[i].before);
        rows[changes[i].table] += changes[i].before ? 0 : 1;
        rows[changes[i].table] -= changes[i].row ? 0 : 1;
    }
    for (enum fake_table table = 0; table < FAKE_TABLES; table++)
        assert_int_equal(rows[table], fake_pg_count(h->db, table));
}

/* ---- one transaction on both --------------------------------------------------------------- */

struct real {
    bool done;
    enum rc rc;
    char sqlstate[6];
    char text[ERR_TEXT_BYTES];
    struct lines lines[STEPS_MAX];
};

static void on_done(void *arg, const struct pg_answer *answer)
{
    struct real *real = arg;
    real->done = true;
    real->rc = answer->rc;
    memcpy(real->sqlstate, answer->sqlstate, sizeof real->sqlstate);
    memcpy(real->text, answer->err.text, sizeof real->text);
    for (int i = 1; answer->rc == RC_OK && i < answer->step_count; i++)
        real->lines[i - 1] = lines_of(answer->rows[i], true);
}

static int statement_index(const struct connection *c, const char *name)
{
    int i = 0;
    while (strcmp(c->statements[i].name, name) != 0)
        i++;
    return i;
}

static void run_real(struct history *h, struct connection *c, struct real *real)
{
    struct err err = {""};
    struct pg_params *clock = pg_params_new();
    struct pg_step steps[STEPS_MAX + 1] = {{c->count, clock}};
    pg_add_int(clock, PG_INT8, h->args.now_us);
    for (int i = 0; i < h->steps; i++)
        steps[i + 1] = (struct pg_step){statement_index(c, h->name[i]), h->params[i]};
    *real = (struct real){0};
    if (pg_txn(c->pg, steps, h->steps + 1, on_done, real, &err) != RC_OK)
        fail_history(h, "%s: %s", h->name[0], err.text);
    while (!real->done)
        uv_run(&loop, UV_RUN_ONCE);
    pg_params_free(clock);
}

/* SQL leaves the order of the cancelled batches open, and that of an UPDATE's rows. */
static void settle_order(const char *name, struct lines *real, struct lines *fake)
{
    if (strcmp(name, "cancelled") != 0 && strcmp(name, "learned_lower") != 0)
        return;
    sort_lines(real, 1);
    sort_lines(fake, 1);
}

static void compare_step(struct history *h, int i, struct lines *real, struct pg_rows *rows)
{
    struct lines fake = lines_of(rows, true);
    settle_order(h->name[i], real, &fake);
    expect_same(h, h->name[i], real, &fake);
    note(h->name[i], pg_row_count(rows));
    lines_done(&fake);
    lines_done(real);
    pg_rows_free(rows);
}

static bool run_both(struct history *h, int session)
{
    struct real real;
    struct fake_stmt *steps[STEPS_MAX];
    struct pg_rows *rows[STEPS_MAX] = {0};
    char sqlstate[6];
    struct err err = {""};
    for (int i = 0; i < h->steps; i++) {
        steps[i] = fake_stmt_new(h->name[i], h->params[i]);
        assert_non_null(steps[i]);
        if (getenv("INFERQ_FAKE_TRACE"))
            print_message("%d.%d %s\n", h->txn, i, h->name[i]);
    }
    int before[FAKE_TABLES];
    for (enum fake_table table = 0; table < FAKE_TABLES; table++)
        before[table] = fake_pg_count(h->db, table);
    run_real(h, &connections[session], &real);
    enum rc rc = fake_pg_txn(h->db, session, h->args.now_us, steps, h->steps, rows, sqlstate, &err);
    if (rc != real.rc || strcmp(sqlstate, real.sqlstate) != 0)
        fail_history(h, "%s ...: real %s %s (%s), fake %s %s (%s)", h->name[0], rc_name(real.rc),
                     real.sqlstate, real.text, rc_name(rc), sqlstate, err.text);
    for (int i = 0; i < h->steps; i++) {
        if (rc == RC_OK)
            compare_step(h, i, &real.lines[i], rows[i]);
        fake_stmt_free(steps[i]);
    }
    check_changes(h, before);
    if (rc != RC_OK)
        note(sqlstate, 1);
    return rc == RC_OK;
}

/* ---- the tables --------------------------------------------------------------------------- */

static struct pg_rows *fake_table(const struct fake_pg *db, enum fake_table table)
{
    int n = 0;
    struct fake_field fields[64];
    const struct fake_column *cols = fake_pg_columns(table, &n);
    for (int i = 0; i < n; i++)
        fields[i] = (struct fake_field){cols[i].name, cols[i].type};
    struct pg_rows *rows = fake_rows_new(fields, n);
    for (int row = 0; row < fake_pg_count(db, table); row++)
        for (int i = 0; i < n; i++) {
            const void *field = (const char *)db->tables[table].rows[row] + cols[i].at;
            if (cols[i].type == PG_UUID)
                fake_rows_id(rows, row, i, field);
            else if (cols[i].type == PG_TEXT || cols[i].type == PG_BYTEA)
                fake_rows_span(rows, row, i, *(const struct span *)field);
            else
                fake_rows_int(rows, row, i, *(const int64_t *)field);
        }
    return rows;
}

static struct pg_rows *real_table(enum fake_table table)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SELECT * FROM inferq.%s", fake_pg_table_name(table));
    return scratch_ask(&scratch, sql, NULL);
}

static void compare_tables(struct history *h)
{
    for (enum fake_table table = 0; table < FAKE_TABLES; table++) {
        struct pg_rows *real_rows = real_table(table), *fake_rows = fake_table(h->db, table);
        struct lines real = lines_of(real_rows, true), fake = lines_of(fake_rows, true);
        sort_lines(&real, 1);
        sort_lines(&fake, 1);
        expect_same(h, fake_pg_table_name(table), &real, &fake);
        lines_done(&real);
        lines_done(&fake);
        pg_rows_free(real_rows);
        pg_rows_free(fake_rows);
    }
    check_lookups(h);
}

/* ---- histories ---------------------------------------------------------------------------- */

/* What workers send, and how often; steps of one transaction follow each other. */
static const struct {
    int session, weight;
    const char *names[STEPS_MAX];
} moves[] = {
    {0, 14, {"claim"}},
    {0, 4, {"claim", "claim"}},
    {0, 10, {"fence", "facts"}},
    {0, 10, {"lose", "take"}},
    {0, 4, {"take", "drop_done", "facts"}},
    {0, 10, {"park"}},
    {0, 3, {"park", "park"}},
    {0, 10, {"pull"}},
    {0, 3, {"bury"}},
    {0, 4, {"pay"}},
    {0, 2, {"fence", "lose", "take", "park"}},
    {1, 12, {"store", "outcome"}},
    {1, 4, {"outcome"}},
    {1, 4, {"outcome", "store"}},
    {1, 2, {"store", "store"}},
    {1, 12, {"store_called", "outcome"}},
    {1, 2, {"store_called", "store"}},
    {2, 4, {"register"}},
    {2, 28, {"heartbeat"}},
    {2, 3, {"stop", "stop_free"}},
    {2, 3, {"fence_dead", "free_taken"}},
    {3, 3, {"due"}},
    {3, 3, {"wake_expired", "due"}},
    {3, 2, {"cancelled"}},
    {3, 3, {"batch_seen"}},
    {3, 2, {"batch_seen", "cancelled"}},
    {3, 3, {"held"}},
    {3, 2, {"cancelled", "held", "skips"}},
    {3, 3, {"others_wait"}},
    {3, 3, {"parked_count"}},
    {3, 2, {"elect"}},
    {2, 2, {"elect"}},
    {3, 2, {"partitions", "oldest_live"}},
    {3, 3, {"roll_up"}},
    {3, 3, {"figures"}},
    {3, 3, {"wake_key"}},
    {3, 4, {"letters", "published"}},
    {2, 10, {"durable", "exchange"}},
    {3, 2, {"exchange", "exchange"}},
    {3, 3, {"limits", "shares"}},
    {3, 6, {"durable", "share_dead", "share"}},
    {3, 2, {"share"}},
    {3, 2, {"leave", "shares"}},
    {3, 6, {"durable", "day_take"}},
    {3, 3, {"day_take", "day_give"}},
    {2, 8, {"learned_pause", "learned_probe", "learned_bears", "learned"}},
    {3, 8, {"learned_probe", "learned"}},
    {3, 4, {"learned_open", "learned_leave", "learned_probe", "learned"}},
    {2, 4, {"learned_lower", "limits"}},
    {3, 2, {"learned_raise", "learned_leave"}},
};
enum { MOVES = sizeof moves / sizeof moves[0] };

static void pick_move(struct history *h, int *ret_session)
{
    int64_t total = 0, at = 0;
    for (int i = 0; i < MOVES; i++)
        total += moves[i].weight;
    int64_t wanted = args_below(&h->args, total);
    int move = 0;
    for (at = moves[0].weight; at <= wanted; at += moves[move].weight)
        move++;
    *ret_session = moves[move].session;
    for (h->steps = 0; h->steps < STEPS_MAX && moves[move].names[h->steps]; h->steps++) {
        h->name[h->steps] = moves[move].names[h->steps];
        args_fill(&h->args, h->name[h->steps], h->params[h->steps]);
    }
}

static void pass_time(struct history *h)
{
    int64_t second_us = 1000 * 1000;
    if (args_chance(&h->args, 3))
        h->args.now_us += 10 * second_us + args_below(&h->args, 30 * second_us);
    else
        h->args.now_us += 1 + args_below(&h->args, second_us);
}

/* `inferq batch cancel`, on both. */
static void cancel_batch(struct history *h)
{
    int64_t which = args_below(&h->args, ARGS_BATCHES);
    const struct jobid *id = &h->args.batch[which];
    const struct fake_batch_row *batch = fake_pg_batch(h->db, id);
    if (batch && batch->created_ms != h->args.batch_ms[which])
        return; /* spoilt: no range of ids follows from it */
    struct pg_params *p = pg_params_new();
    set_scratch_clock(h->args.now_us);
    pg_add_uuid(p, id);
    pg_rows_free(scratch_ask(&scratch,
                             "UPDATE batch SET cancel_requested_at = now()"
                             " WHERE batch_id = $1 AND cancel_requested_at IS NULL",
                             p));
    if (batch) {
        pg_add_int(p, PG_INT8, batch->created_ms);
        pg_rows_free(scratch_ask(&scratch,
                                 "UPDATE parked SET next_at = least(next_at, now()), wait_key = 0"
                                 " WHERE batch_id = $1 AND job_id >= uuid_floor($2)"
                                 " AND job_id < uuid_floor($2 + 1)",
                                 p));
    }
    pg_params_free(p);
    if (fake_pg_cancel(h->db, id, h->args.now_us) != (batch != NULL))
        fail_history(h, "cancel: the batch is there, and is not");
    note("(cancel)", batch != NULL);
}

/* `inferq worker drain`, on both. */
static void drain_worker(struct history *h)
{
    int64_t id = 1 + args_below(&h->args, 8);
    struct pg_params *p = pg_params_new();
    set_scratch_clock(h->args.now_us);
    pg_add_int(p, PG_INT8, id);
    pg_rows_free(scratch_ask(
        &scratch, "UPDATE worker SET drain_requested_at = now() WHERE worker_id = $1", p));
    pg_params_free(p);
    note("(drain)", fake_pg_drain(h->db, id, h->args.now_us));
}

/* `inferq endpoint pause` and `resume`, on both. The scratch database has endpoints named e1 to e4,
 * each in one version; what is paused may be a version that there is not. */
enum { ENDPOINTS = 4 };
static void hold_endpoint(struct history *h)
{
    int id = 1 + (int)args_below(&h->args, ENDPOINTS);
    int version = (int)args_below(&h->args, 3); /* 0: all, 1: the one there is, 2: none */
    bool on = args_chance(&h->args, 60);
    char sql[160];
    if (on)
        (void)snprintf(sql, sizeof sql,
                       "INSERT INTO endpoint_pause (name, version, actor)"
                       " VALUES ('e%d', %d, 't') ON CONFLICT DO NOTHING",
                       id, version);
    else
        (void)snprintf(sql, sizeof sql, "DELETE FROM endpoint_pause WHERE name = 'e%d'", id);
    scratch_run(&scratch, sql);
    if (!on || version < 2)
        fake_pg_hold(h->db, id, on);
    note("(hold)", 1);
}

/* What `inferq limit` and failing calls write, on both. */
static void change_limits(struct history *h)
{
    set_scratch_clock(h->args.now_us);
    if (args_chance(&h->args, 75))
        limits_set(&scratch, h->db, &h->args);
    else
        limits_learn(&scratch, h->db, &h->args);
    note("(limits)", 1);
}

/* The housekeeping connections end, and with them their locks: the server is waited for. */
static void reconnect(void)
{
    for (int i = CONNECTIONS - 2; i < CONNECTIONS; i++)
        disconnect_one(&connections[i]);
    while (scratch_int(&scratch, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                                 " AND database = (SELECT oid FROM pg_database"
                                 "   WHERE datname = current_database())") > 0)
        scratch_run(&scratch, "SELECT pg_sleep(0.001)");
    for (int i = CONNECTIONS - 2; i < CONNECTIONS; i++)
        connect_one(&connections[i]);
}

static void lose_keepers(struct history *h)
{
    reconnect();
    for (int i = CONNECTIONS - 2; i < CONNECTIONS; i++)
        fake_pg_session_end(h->db, i);
}

static void history_begin(struct history *h, uint64_t seed)
{
    *h = (struct history){.seed = seed, .db = fake_pg_new()};
    for (int i = 0; i < STEPS_MAX; i++)
        h->params[i] = pg_params_new();
    args_init(&h->args, seed, h->db, START_US);
    scratch_run(&scratch, "DELETE FROM batch; DELETE FROM progress; DELETE FROM result;"
                          "DELETE FROM call; DELETE FROM worker; DELETE FROM parked;"
                          "DELETE FROM dead_letter; DELETE FROM endpoint_pause;"
                          "DELETE FROM limit_share; DELETE FROM limit_day; DELETE FROM retry_cost;"
                          "DELETE FROM limit_learned; DELETE FROM limit_rule;"
                          "SELECT setval(pg_get_serial_sequence('limit_rule', 'limit_id'), 1,"
                          "    false);"
                          "SELECT setval(pg_get_serial_sequence('worker', 'worker_id'), 1, false),"
                          "    setval(pg_get_serial_sequence('dead_letter', 'dead_id'), 1, false)");
    reconnect();
    struct fake_stmt *partitions = fake_stmt_new("partitions", NULL);
    struct pg_rows *rows = NULL;
    char sqlstate[6];
    assert_int_equal(fake_pg_txn(h->db, 3, START_US, &partitions, 1, &rows, sqlstate, NULL), RC_OK);
    pg_rows_free(rows);
    fake_stmt_free(partitions);
}

static void history_end(struct history *h)
{
    for (int i = 0; i < STEPS_MAX; i++)
        pg_params_free(h->params[i]);
    fake_pg_free(h->db);
}

static void run_history(uint64_t seed)
{
    struct history h;
    history_begin(&h, seed);
    for (h.txn = 0; h.txn < TXNS; h.txn++) {
        int session = 2;
        pass_time(&h);
        if (h.txn < 2) {
            h.steps = 1;
            h.name[0] = "register";
            args_fill(&h.args, "register", h.params[0]);
        } else {
            pick_move(&h, &session);
        }
        bool well = run_both(&h, session);
        if (args_chance(&h.args, 2))
            cancel_batch(&h);
        if (args_chance(&h.args, 2))
            drain_worker(&h);
        if (args_chance(&h.args, 4))
            hold_endpoint(&h);
        if (h.txn < 5 || args_chance(&h.args, 6))
            change_limits(&h);
        if (args_chance(&h.args, 1))
            lose_keepers(&h);
        if (!well || h.txn % CHECK_EVERY == 0 || h.txn == TXNS - 1)
            compare_tables(&h);
    }
    history_end(&h);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static int met_runs(const char *name)
{
    for (int i = 0; i < met_count; i++)
        if (strcmp(met[i].name, name) == 0)
            return met[i].runs;
    return 0;
}

/* Each statement ran and, where it has rows to give, gave some; each kind of failure was met. */
static void expect_met(void)
{
    static const char *const states[] = {"23514", "23502", "22021", "21000",
                                         "22003", "22008", "2201W"};
    for (int c = 0; c < CONNECTIONS; c++)
        for (int i = 0; i < connections[c].count; i++)
            if (met_runs(connections[c].own[i].name) < 10)
                fail_msg("%s ran less than ten times", connections[c].own[i].name);
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (met_runs(states[i]) == 0)
            fail_msg("nothing failed with %s", states[i]);
}

static void histories_agree(void **state)
{
    (void)state;
    uint64_t first = number_from("INFERQ_FAKE_SEED", 1);
    uint64_t count = number_from("INFERQ_FAKE_HISTORIES", DEFAULT_HISTORIES);
    int total = 0;
    for (uint64_t i = 0; i < count; i++)
        run_history(first + i);
    for (int i = 0; i < met_count; i++) {
        total += met[i].runs;
        print_message("%s: %d times, %d rows\n", met[i].name, met[i].runs, met[i].rows);
    }
    print_message("%d statements in %llu histories agree\n", total, (unsigned long long)count);
    if (count >= DEFAULT_HISTORIES)
        expect_met();
}

/* ---- partitions --------------------------------------------------------------------------- */

enum { MOVES_IN_TIME = 8 };
#define DAY_US INT64_C(86400000000)

/* Ids of some weeks around now: some have a partition. */
static void scatter_jobs(struct args *a)
{
    for (int i = 0; i < ARGS_JOBS; i++) {
        int64_t at_us = a->now_us + (args_below(a, 60) - 30) * DAY_US;
        a->job[i] = jobid_make(at_us / 1000, SPAN_LIT("app"), SPAN_LIT("b"), SPAN_LIT("c"), 0);
    }
}

static void run_one(struct history *h, int session, const char *name)
{
    h->steps = 1;
    h->name[0] = name;
    args_fill(&h->args, name, h->params[0]);
    (void)run_both(h, session);
    h->txn++;
}

static void partitions_agree(void **state)
{
    struct history h;
    int unplaced = met_runs("23514");
    (void)state;
    history_begin(&h, number_from("INFERQ_FAKE_SEED", 1));
    for (int i = 0; i < MOVES_IN_TIME; i++) {
        h.args.now_us += args_below(&h.args, 13 * DAY_US);
        run_one(&h, 2, "partitions");
        run_one(&h, 2, "oldest_live");
        run_one(&h, 2, "fence_dead"); /* all those before: days have passed */
        run_one(&h, 2, "register");
        for (int k = 0; k < 4; k++) {
            scatter_jobs(&h.args);
            run_one(&h, 0, "claim");
            run_one(&h, 1, "store");
        }
        compare_tables(&h);
    }
    assert_true(fake_pg_count(h.db, FAKE_SPAN) > 5 && fake_pg_count(h.db, FAKE_CALL) > 0);
    assert_true(met_runs("23514") > unplaced);
    history_end(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_agree),
        cmocka_unit_test(partitions_agree), /* leaves others than the histories want */
    };
    log_setup("fake-test", LOG_ERROR, LOG_KV);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
