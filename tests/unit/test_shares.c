/*
 * test_shares.c - the keeper's round: who gets what, who is dead, and that no round ever lets more
 * be held than there is. The rows behave as Postgres and the workers have them behave: an exchange
 * tells what is held, and hears the share.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/no_memory.h"
#include "worker/shares.h"
#include "worker/window.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SECOND INT64_C(1000000)

enum { WORKERS = 64, WANTS = 4 };

static const struct lane_conf three_lanes[] = {
    {"high", 60, 0, 1, 1, 0},
    {"normal", 30, 0, 1, 1, 0},
    {"low", 10, 50, 1, 1, 0},
};

/* One limit, its rows, and what its workers hold. */
struct books {
    struct shares *keeper;
    struct share_limit limit;
    struct share_row rows[WORKERS];
    struct share_want wants[WORKERS][WANTS];
    int64_t holds[WORKERS];
    bool gone[WORKERS]; /* says nothing */
    size_t n;
    int64_t now_us;
};

static struct books *open_books(int64_t amount, bool of_calls)
{
    struct books *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->keeper = shares_new();
    assert_non_null(b->keeper);
    shares_lanes(b->keeper, three_lanes, 3);
    b->limit = (struct share_limit){7, amount, of_calls ? 0 : window_minute_us(20)};
    b->now_us = 1000 * SECOND;
    return b;
}

static void close_books(struct books *b)
{
    shares_free(b->keeper);
    free(b);
}

static size_t join(struct books *b, int lane, uint32_t app, int64_t units)
{
    size_t i = b->n++;
    b->wants[i][0] = (struct share_want){app, lane, units};
    b->rows[i] = (struct share_row){.worker_id = b->n > 1 ? b->rows[i - 1].worker_id + 1 : 5,
                                    .need = 1,
                                    .wants = b->wants[i],
                                    .want_count = 1};
    b->holds[i] = 0;
    b->gone[i] = false;
    return i;
}

static void also_want(struct books *b, size_t i, int lane, uint32_t app, int64_t units)
{
    b->wants[i][b->rows[i].want_count++] = (struct share_want){app, lane, units};
}

static void drop_row(struct books *b, size_t i)
{
    b->n--;
    for (size_t k = i; k < b->n; k++) {
        b->rows[k] = b->rows[k + 1];
        memcpy(b->wants[k], b->wants[k + 1], sizeof b->wants[k]);
        b->rows[k].wants = b->wants[k];
        b->holds[k] = b->holds[k + 1];
        b->gone[k] = b->gone[k + 1];
    }
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void exchange(struct books *b, size_t i)
{
    struct share_row *row = &b->rows[i];
    int64_t said = b->holds[i] < row->seen ? b->holds[i] : row->seen;
    row->seen = larger(row->share, said);
    row->asks++;
    b->holds[i] = row->share;
}

static int64_t held(const struct books *b)
{
    int64_t sum = 0;
    for (size_t i = 0; i < b->n; i++)
        sum += b->limit.minute_us ? b->holds[i] : larger(b->holds[i], b->rows[i].in_use);
    return sum;
}

/* A round, and the exchanges of a second. */
static void second(struct books *b)
{
    struct err err = {0};
    b->now_us += SECOND;
    assert_int_equal(shares_round(b->keeper, &b->limit, b->rows, b->n, b->now_us, &err), RC_OK);
    for (size_t i = 0; i < b->n; i++)
        b->rows[i].share = b->rows[i].give;
    for (size_t i = b->n; i-- > 0;)
        if (b->rows[i].dead)
            drop_row(b, i);
    for (size_t i = 0; i < b->n; i++)
        if (!b->gone[i])
            exchange(b, i);
}

static void seconds(struct books *b, int count)
{
    for (int i = 0; i < count; i++)
        second(b);
}

static void expect(const struct books *b, size_t n, const int64_t *shares)
{
    assert_int_equal(b->n, n);
    for (size_t i = 0; i < n; i++)
        if (b->holds[i] != shares[i])
            fail_msg("worker %zu holds %lld, not %lld", i, (long long)b->holds[i],
                     (long long)shares[i]);
}

/* The same after a minute, but for what is not worth a move. */
static void settle(struct books *b, size_t n, const int64_t *shares)
{
    seconds(b, 60);
    assert_int_equal(b->n, n);
    for (size_t i = 0; i < n; i++)
        if (llabs(b->holds[i] - shares[i]) > shares[i] * 4 / 100 + 3)
            fail_msg("worker %zu holds %lld, not about %lld", i, (long long)b->holds[i],
                     (long long)shares[i]);
}

/* ---- who gets what --------------------------------------------------------------------------- */

static void test_wants(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t amount, wants[3], holds[3];
    } rows[] = {
        {"equal", 900, {900, 900, 900}, {300, 300, 300}},
        {"equal, not to be divided", 1000, {5000, 5000, 5000}, {334, 333, 333}},
        {"100 : 1 : 0", 1010, {100000000, 10, 0}, {1000, 10, 0}},
        {"little of it", 1000, {100, 50, 0}, {384, 333, 283}},
        {"one alone", 500, {500, 0, 0}, {500, 0, 0}},
        {"none", 999, {0, 0, 0}, {333, 333, 333}},
        {"less than a unit each", 2, {60, 60, 60}, {1, 1, 0}},
        {"much",
         INT64_C(10000000000),
         {INT64_MAX, INT64_MAX, 0},
         {INT64_C(5000000000), INT64_C(5000000000), 0}},
        {"absurd", 100, {-5, INT64_MIN, INT64_MAX}, {0, 0, 100}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct books *b = open_books(rows[i].amount, false);
        for (int k = 0; k < 3; k++)
            join(b, 0, 1, rows[i].wants[k]);
        seconds(b, 12);
        for (int k = 0; k < 3; k++)
            if (llabs(b->holds[k] - rows[i].holds[k]) > 1)
                fail_msg("%s: worker %d holds %lld, not %lld", rows[i].what, k,
                         (long long)b->holds[k], (long long)rows[i].holds[k]);
        assert_int_equal(held(b), rows[i].amount);
        close_books(b);
    }
}

static void test_lanes_share_by_weight(void **state)
{
    (void)state;
    struct books *b = open_books(1000, false);
    for (int lane = 0; lane < 3; lane++)
        join(b, lane, 1, 5000);
    settle(b, 3, (int64_t[]){600, 300, 100});
    b->wants[0][0].units = 0; /* what one does not want the others have, by weight */
    settle(b, 3, (int64_t[]){0, 750, 250});
    b->wants[0][0].units = 100;
    settle(b, 3, (int64_t[]){100, 675, 225});
    close_books(b);

    b = open_books(1000, false);
    struct lane_conf steep[] = {{"high", 980, 0, 1, 1, 0}, {"low", 1, 50, 1, 1, 0}};
    shares_lanes(b->keeper, steep, 2);
    join(b, 0, 1, 5000);
    join(b, 1, 1, 5000);
    settle(b, 2, (int64_t[]){950, 50}); /* its minimum */
    b->wants[1][0].units = 20;
    settle(b, 2, (int64_t[]){980, 20});
    b->wants[1][0].lane = 99; /* a lane that the keeper does not know: as the last */
    b->wants[1][0].units = 5000;
    settle(b, 2, (int64_t[]){950, 50});
    close_books(b);
}

/* However many workers an app's jobs wait in, and however many there are. */
static void test_apps_share_equally(void **state)
{
    (void)state;
    struct books *b = open_books(1200, false);
    join(b, 1, 11, 1000000);
    join(b, 1, 11, 1000000);
    join(b, 1, 22, 900);
    join(b, 1, 33, 100);
    settle(b, 4, (int64_t[]){275, 275, 550, 100});
    also_want(b, 3, 1, 11, 2000000); /* clipped to all there is, as the others' */
    settle(b, 4, (int64_t[]){183, 183, 550, 283});
    close_books(b);
}

/* Whoever's part is less than his next call takes turns with a share that it fits in. */
static void test_turns(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t amount;
        int workers;
        int64_t need;
        int together; /* that hold enough */
    } rows[] = {
        {"fewer units than workers", 5, 20, 1, 5},
        {"calls that need nearly all", 10000, 3, 8000, 1},
        {"calls that need a third", 9000, 9, 3000, 3},
        {"calls larger than all", 1000, 2, 5000, 1},
        {"no turns needed", 9000, 3, 3000, 3},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct books *b = open_books(rows[r].amount, false);
        int64_t had[WORKERS] = {0};
        int64_t need = rows[r].need < rows[r].amount ? rows[r].need : rows[r].amount;
        for (int i = 0; i < rows[r].workers; i++)
            b->rows[join(b, 0, 1, 100000)].need = rows[r].need;
        enum { HOURS = 4 };
        int64_t enough = 0;
        for (int s = 0; s < HOURS * 3600; s++) {
            second(b);
            assert_true(held(b) <= rows[r].amount);
            for (int i = 0; i < rows[r].workers; i++) {
                had[i] += b->holds[i];
                enough += b->holds[i] >= need;
            }
        }
        double together = (double)enough / (HOURS * 3600);
        if (together < rows[r].together * .97)
            fail_msg("%s: %f at a time hold what they need", rows[r].what, together);
        int64_t even = rows[r].amount * HOURS * 3600 / rows[r].workers;
        for (int i = 0; i < rows[r].workers; i++)
            if (had[i] < even * 85 / 100 || had[i] > even * 115 / 100)
                fail_msg("%s: worker %d had %lld, even is %lld", rows[r].what, i, (long long)had[i],
                         (long long)even);
        close_books(b);
    }
}

/* Calls that need most of two limits: every worker has both at once, long enough to gain a call. */
static void test_turns_at_two_limits_meet(void **state)
{
    (void)state;
    enum { WORKERS_HERE = 4, FIRST_NEEDS = 21, SECOND_NEEDS = 50 };
    struct books *b = open_books(22, false), *other = open_books(57, false);
    int64_t together[WORKERS_HERE] = {0}, longest[WORKERS_HERE] = {0};
    shares_free(other->keeper);
    other->keeper = b->keeper; /* one keeper has both */
    other->limit.limit_id = 8;
    for (int i = 0; i < WORKERS_HERE; i++) {
        b->rows[join(b, 0, 1, FIRST_NEEDS)].need = FIRST_NEEDS;
        other->rows[join(other, 0, 1, SECOND_NEEDS)].need = SECOND_NEEDS;
    }
    for (int s = 0; s < 7200; s++) {
        other->rows[0].want_count = s > 0; /* another one has the first turn there */
        second(b);
        second(other);
        for (int i = 0; i < WORKERS_HERE; i++) {
            bool both = b->holds[i] >= FIRST_NEEDS && other->holds[i] >= SECOND_NEEDS;
            together[i] = both ? together[i] + 1 : 0;
            longest[i] = larger(longest[i], together[i]);
        }
    }
    for (int i = 0; i < WORKERS_HERE; i++)
        if (longest[i] < 70)
            fail_msg("worker %d had both for %lld s at most", i, (long long)longest[i]);
    free(other);
    close_books(b);
}

/* A large call of one does not wait for ever behind the small ones of others, nor stop them. */
static void test_a_large_call_gets_its_turn(void **state)
{
    (void)state;
    struct books *b = open_books(1000, false);
    for (int i = 0; i < 4; i++)
        join(b, 0, 1, 100000);
    b->rows[2].need = 700;
    int64_t large = 0, small = 0;
    for (int s = 0; s < 7200; s++) {
        second(b);
        large += b->holds[2] >= 700;
        small += b->holds[0];
    }
    assert_in_range(large, 7200 * 250 / 700 * 9 / 10, 7200 * 250 / 700 * 11 / 10);
    assert_in_range(small, 7200 * 225, 7200 * 280);
    close_books(b);
}

static void test_calls_in_flight(void **state)
{
    (void)state;
    struct books *b = open_books(10, true);
    join(b, 0, 1, 50);
    seconds(b, 4);
    expect(b, 1, (int64_t[]){10});
    b->rows[0].in_use = 10;
    join(b, 0, 1, 50);
    seconds(b, 5);
    expect(b, 2, (int64_t[]){5, 0}); /* lowered, but its calls run on */
    b->rows[0].in_use = 7;
    seconds(b, 3);
    expect(b, 2, (int64_t[]){5, 3});
    b->rows[0].in_use = 5;
    seconds(b, 3);
    expect(b, 2, (int64_t[]){5, 5});
    b->gone[0] = true; /* and the dead do not hold their calls for ever */
    seconds(b, 10);
    expect(b, 1, (int64_t[]){10});
    close_books(b);
}

/* A limit that is new: calls may run that its keeper has not heard of, so nobody is given anything
 * until all have had time to say so. */
static void test_calls_that_ran_before_their_limit(void **state)
{
    (void)state;
    struct books *b = open_books(10, true);
    int64_t since_us = b->now_us;
    size_t quick = join(b, 0, 1, 50);
    shares_limits(b->keeper, (int32_t[]){3, 7}, 2, since_us);
    for (; b->now_us + SECOND < since_us + SHARES_NEW_US; second(b))
        expect(b, 1, (int64_t[]){0});
    b->rows[join(b, 0, 1, 50)].in_use = 8; /* it says so last */
    for (int i = 0; i < 5; i++) {
        second(b);
        assert_true(b->rows[quick].share <= 2);
    }
    assert_int_equal(b->rows[quick].share, 2);
    /* cleared and set again it is new, but for a keeper that finds shares it is not */
    shares_limits(b->keeper, (int32_t[]){3}, 1, b->now_us);
    shares_limits(b->keeper, (int32_t[]){3, 7}, 2, b->now_us);
    b->rows[1].in_use = 0;
    second(b);
    assert_int_equal(b->rows[0].share + b->rows[1].share, 10);
    b->rows[0].share = b->rows[1].share = b->rows[0].seen = b->rows[1].seen = 0;
    b->holds[0] = b->holds[1] = 0;
    shares_limits(b->keeper, (int32_t[]){3}, 1, b->now_us);
    shares_limits(b->keeper, (int32_t[]){3, 7}, 2, b->now_us);
    second(b);
    expect(b, 2, (int64_t[]){0, 0});
    close_books(b);
}

/* ---- change ---------------------------------------------------------------------------------- */

static void test_a_newcomer_waits_until_others_have_let_go(void **state)
{
    (void)state;
    struct books *b = open_books(100, false);
    join(b, 0, 1, 1000);
    seconds(b, 5);
    expect(b, 1, (int64_t[]){100});
    join(b, 0, 1, 1000);
    b->gone[0] = true; /* it does not answer for a while */
    seconds(b, 3);
    expect(b, 2, (int64_t[]){100, 0});
    b->gone[0] = false;
    second(b); /* it hears */
    expect(b, 2, (int64_t[]){50, 0});
    second(b); /* it says */
    second(b);
    expect(b, 2, (int64_t[]){50, 50});
    close_books(b);
}

static void test_amounts_change(void **state)
{
    (void)state;
    struct books *b = open_books(1000, false);
    for (int i = 0; i < 4; i++)
        join(b, 0, 1, 100000);
    seconds(b, 5);
    b->limit.amount = 100;
    second(b);
    expect(b, 4, (int64_t[]){25, 25, 25, 25});
    b->limit.amount = 2000;
    seconds(b, 3);
    expect(b, 4, (int64_t[]){500, 500, 500, 500});
    close_books(b);
}

static void test_the_dead(void **state)
{
    (void)state;
    static const struct {
        int64_t share_need;
        int at_least, at_most; /* seconds until its row goes */
    } rows[] = {{1, 7, 8}, {100, 19, 20}, {400, 56, 57}, {900, 68, 69}, {0, 7, 8}};
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct books *b = open_books(1000, false);
        join(b, 0, 1, 100000);
        join(b, 0, 1, 100000);
        b->rows[0].need = b->rows[1].need = rows[r].share_need;
        if (rows[r].share_need > 500)
            b->rows[0].need = b->rows[1].need = 500;
        seconds(b, 5);
        expect(b, 2, (int64_t[]){500, 500});
        b->gone[1] = true;
        int waited = 0;
        for (; b->n == 2 && waited < 100; waited++)
            second(b);
        assert_in_range(waited, rows[r].at_least, rows[r].at_most);
        assert_int_equal(b->holds[0], 500); /* its row is only being deleted */
        seconds(b, 2);
        expect(b, 1, (int64_t[]){1000});
        close_books(b);
    }
}

/* One that comes back before its row went has lost nothing; a new keeper watches anew. */
static void test_silence_and_new_keepers(void **state)
{
    (void)state;
    struct books *b = open_books(1000, false);
    join(b, 0, 1, 100000);
    join(b, 0, 1, 100000);
    seconds(b, 5);
    b->gone[1] = true;
    seconds(b, 6);
    b->gone[1] = false;
    seconds(b, 4);
    assert_int_equal(b->n, 2);
    assert_in_range(b->holds[1], 495, 505);
    b->gone[1] = true;
    for (int i = 0; i < 5; i++) { /* keepers that die every six seconds never take anybody so */
        shares_free(b->keeper);
        b->keeper = shares_new();
        assert_non_null(b->keeper);
        seconds(b, 6);
        assert_int_equal(b->n, 2);
        assert_true(held(b) <= 1000);
    }
    seconds(b, 5);
    assert_int_equal(b->n, 1);
    shares_limits(b->keeper, (int32_t[]){8}, 1, b->now_us); /* it is no more, and is again */
    seconds(b, 3);
    expect(b, 1, (int64_t[]){1000});
    close_books(b);
}

/* Shares that are good enough stay where they are. */
static void test_little_moves(void **state)
{
    (void)state;
    struct books *b = open_books(100000, false);
    for (int i = 0; i < 10; i++)
        join(b, 0, 1, 1000000);
    seconds(b, 5);
    int moved = 0;
    for (int s = 0; s < 100; s++) {
        int64_t before[WORKERS];
        memcpy(before, b->holds, sizeof before);
        for (int i = 0; i < 10; i++)
            b->wants[i][0].units = 99000 + (s * 7919 + i * 104729) % 1000;
        second(b);
        for (int i = 0; i < 10; i++)
            moved += b->holds[i] != before[i];
    }
    assert_int_equal(moved, 0);
    close_books(b);
}

/* Queues flicker between full and half full, and each alone could use what all have: once shares
 * are even nothing moves. */
static void test_flickering_queues(void **state)
{
    (void)state;
    struct books *b = open_books(10000, false);
    for (int i = 0; i < 10; i++)
        join(b, 0, 1, 2000);
    seconds(b, 60);
    for (int s = 0; s < 600; s++) {
        for (int i = 0; i < 10; i++)
            b->wants[i][0].units = 1001 + (s * 7919 + i * 104729) % 1000;
        second(b);
        for (int i = 0; i < 10; i++)
            assert_int_equal(b->holds[i], 1000);
    }
    close_books(b);
}

/* One comes, one goes: each worker is lowered once at most, and then all have what they should. */
static void test_few_large_moves(void **state)
{
    (void)state;
    struct books *b = open_books(6000, false);
    for (int i = 0; i < 4; i++)
        join(b, 0, 1, 100000);
    seconds(b, 20);
    expect(b, 4, (int64_t[]){1500, 1500, 1500, 1500});
    join(b, 0, 1, 100000);
    int lowered = 0;
    for (int s = 0; s < 60; s++) {
        int64_t before[WORKERS];
        memcpy(before, b->holds, sizeof before);
        second(b);
        for (int i = 0; i < 5; i++)
            lowered += b->holds[i] < before[i];
    }
    assert_int_equal(lowered, 4);
    expect(b, 5, (int64_t[]){1200, 1200, 1200, 1200, 1200});
    close_books(b);
}

/* What one lacks is his at once if it is much, soon if it is little (it waits until that has cost
 * him as much as lowering the other costs), and never if it is next to nothing. */
static void test_what_is_worth_a_move(void **state)
{
    (void)state;
    static const struct {
        int64_t wants;
        int at_least, at_most; /* seconds until it has that */
    } rows[] = {{1000, 1, 6}, {600, 4, 10}, {540, 8, 15}, {512, 1000, 1000}};
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct books *b = open_books(2000, false);
        join(b, 0, 1, 500);
        join(b, 0, 2, 100000);
        seconds(b, 20);
        expect(b, 2, (int64_t[]){500, 1500});
        b->wants[0][0].units = rows[r].wants;
        int waited = 0;
        for (; b->holds[0] < rows[r].wants && waited < 1000; waited++)
            second(b);
        assert_in_range(waited, rows[r].at_least, rows[r].at_most);
        close_books(b);
    }
}

/* Beside a large share a small one lacks few units, so that it would take minutes until they have
 * cost as much as lowering the large one; it waits for some rounds only, and the less it lacks the
 * longer. At once: who has nothing to call with, and where nobody uses what is taken. */
static void test_a_small_lack_beside_a_large_share(void **state)
{
    (void)state;
    static const struct {
        int64_t had, wants, others_want;
        int at_least, at_most; /* seconds until it has that */
    } rows[] = {{10, 20, 100000, 7, 12}, {41, 43, 100000, 60, 70}, {41, 100, 100000, 7, 12},
                {0, 20, 100000, 1, 4},   {41, 300, 100000, 2, 6},  {41, 45, 500, 1, 4}};
    for (size_t r = 0; r < COUNT(rows); r++) {
        struct books *b = open_books(2000, false);
        join(b, 0, 1, rows[r].had);
        join(b, 0, 2, 100000);
        join(b, 0, 2, 100000);
        seconds(b, 80);
        assert_int_equal(b->holds[0], rows[r].had);
        b->wants[0][0].units = rows[r].wants;
        b->wants[1][0].units = b->wants[2][0].units = rows[r].others_want;
        int waited = 0;
        for (; b->holds[0] < rows[r].wants && waited < 1000; waited++)
            second(b);
        if (waited < rows[r].at_least || waited > rows[r].at_most)
            fail_msg("row %zu: after %d s", r, waited);
        close_books(b);
    }
}

/* ---- whatever happens ------------------------------------------------------------------------ */

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) % below;
}

/* Changes something about a random worker. */
static void disturb(struct books *b, uint64_t *seed)
{
    size_t i = draw(seed, b->n);
    switch (draw(seed, 6)) {
    case 0:
        b->gone[i] = !b->gone[i];
        break;
    case 1:
        b->rows[i].need = (int64_t)draw(seed, (uint64_t)b->limit.amount * 2 / 3 + 1);
        break;
    case 2:
        b->wants[i][0].lane = (int)draw(seed, 4);
        b->wants[i][0].app = (uint32_t)draw(seed, 3);
        break;
    case 3:
        if (b->n < WORKERS)
            join(b, (int)draw(seed, 3), (uint32_t)draw(seed, 3), (int64_t)draw(seed, 1000));
        break;
    case 4:
        if (draw(seed, 4))
            break;
        shares_free(b->keeper);
        b->keeper = shares_new();
        assert_non_null(b->keeper);
        break;
    default:
        b->wants[i][0].units = draw(seed, 3) ? (int64_t)draw(seed, 2000) : 0;
    }
}

static void test_never_more_than_there_is(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 60; run++) {
        uint64_t seed = run;
        struct books *b =
            open_books((int64_t)(1 + draw(&seed, draw(&seed, 2) ? 20 : 5000)), draw(&seed, 2));
        for (int i = 0; i < 8; i++)
            join(b, 0, 1, (int64_t)draw(&seed, 1000));
        for (int s = 0; s < 400; s++) {
            if (b->n == 0)
                join(b, 0, 1, 100);
            if (draw(&seed, 3) == 0)
                disturb(b, &seed);
            for (size_t i = 0; !b->limit.minute_us && i < b->n; i++)
                if (!b->gone[i] && draw(&seed, 3) == 0)
                    b->rows[i].in_use = (int64_t)draw(&seed, (uint64_t)b->holds[i] + 1);
            second(b);
            if (held(b) > b->limit.amount)
                fail_msg("run %llu, second %d: %lld of %lld are held", (unsigned long long)run, s,
                         (long long)held(b), (long long)b->limit.amount);
        }
        close_books(b);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    for (int nth = 0, failed = 1; failed; nth++) {
        no_memory_at(nth);
        struct shares *s = shares_new();
        struct share_want want = {1, 0, 10};
        struct share_row row = {.worker_id = 1, .wants = &want, .want_count = 1};
        struct share_limit limit = {1, 100, window_minute_us(20)};
        struct err err = {0};
        enum rc rc = s ? shares_round(s, &limit, &row, 1, SECOND, &err) : RC_NOMEM;
        failed = no_memory_over();
        assert_int_equal(rc, failed ? RC_NOMEM : RC_OK);
        if (s)
            assert_int_equal(shares_round(s, &limit, &row, 1, 2 * SECOND, &err), RC_OK);
        assert_int_equal(s ? row.give : 100, 100);
        shares_free(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wants),
        cmocka_unit_test(test_lanes_share_by_weight),
        cmocka_unit_test(test_apps_share_equally),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_a_large_call_gets_its_turn),
        cmocka_unit_test(test_turns_at_two_limits_meet),
        cmocka_unit_test(test_calls_in_flight),
        cmocka_unit_test(test_calls_that_ran_before_their_limit),
        cmocka_unit_test(test_a_newcomer_waits_until_others_have_let_go),
        cmocka_unit_test(test_amounts_change),
        cmocka_unit_test(test_the_dead),
        cmocka_unit_test(test_silence_and_new_keepers),
        cmocka_unit_test(test_little_moves),
        cmocka_unit_test(test_flickering_queues),
        cmocka_unit_test(test_few_large_moves),
        cmocka_unit_test(test_what_is_worth_a_move),
        cmocka_unit_test(test_a_small_lack_beside_a_large_share),
        cmocka_unit_test(test_never_more_than_there_is),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
