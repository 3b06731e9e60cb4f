/*
 * test_claim_rule.c - the slow path of CLAIM: every combination of what Postgres says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "worker/claim_rule.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct claim_facts f;
        struct claim_ask ask;
        enum claim_answer answer;
    } rows[] = {
        {"nothing stands", {.lease = true}, {.number = 1, .max_attempts = 5}, CLAIM_FREE},
        {"a result stands", {.done = true, .lease = true}, {.max_attempts = 5}, CLAIM_DONE},
        {"done wins over all",
         {.done = true, .parked = true, .live = true, .mine = 1, .attempts = 9},
         {.claim_sent = true, .number = 1, .max_attempts = 5},
         CLAIM_DONE},
        {"our claim, its answer lost",
         {.mine = 2, .lease = true, .attempts = 2},
         {.claim_sent = true, .number = 2, .max_attempts = 5},
         CLAIM_GRANTED},
        {"also when it was the last attempt",
         {.mine = 5, .attempts = 5},
         {.claim_sent = true, .number = 5, .max_attempts = 5},
         CLAIM_GRANTED},
        {"an open call of ours, another number",
         {.mine = 1, .lease = true},
         {.claim_sent = true, .number = 2, .max_attempts = 5},
         CLAIM_LIVE},
        {"an open call of ours that this job did not send",
         {.mine = 1, .lease = true},
         {.number = 1, .max_attempts = 5},
         CLAIM_LIVE},
        {"parked", {.parked = true, .lease = true}, {.max_attempts = 5}, CLAIM_PARKED},
        {"the row that we took",
         {.parked = true, .parked_mine = true, .lease = true},
         {.from_parked = true, .max_attempts = 5},
         CLAIM_FREE},
        {"a row of ours, but the record came from Kafka",
         {.parked = true, .parked_mine = true, .lease = true},
         {.max_attempts = 5},
         CLAIM_PARKED},
        {"our row was freed and taken by another",
         {.parked = true, .lease = true},
         {.from_parked = true, .max_attempts = 5},
         CLAIM_PARKED},
        {"another worker calls", {.live = true, .lease = true}, {.max_attempts = 5}, CLAIM_LIVE},
        {"asking only: what stands is told", {.live = true}, {.ask_only = true}, CLAIM_LIVE},
        {"asking only needs no lease and no attempts",
         {.attempts = 9},
         {.ask_only = true, .max_attempts = 5},
         CLAIM_FREE},
        {"no lease", {0}, {.max_attempts = 5}, CLAIM_NO_LEASE},
        {"no lease comes before spent", {.attempts = 5}, {.max_attempts = 5}, CLAIM_NO_LEASE},
        {"spent", {.lease = true, .attempts = 5}, {.max_attempts = 5}, CLAIM_SPENT},
        {"nobody knows, and its route wants no call then",
         {.lease = true, .unknown = true, .attempts = 1},
         {.calls_once = true, .max_attempts = 5},
         CLAIM_UNKNOWN},
        {"nobody knows comes before spent",
         {.lease = true, .unknown = true, .attempts = 5},
         {.calls_once = true, .max_attempts = 5},
         CLAIM_UNKNOWN},
        {"nobody knows, and its route calls again",
         {.lease = true, .unknown = true, .attempts = 1},
         {.max_attempts = 5},
         CLAIM_FREE},
        {"too long for the version that it was routed to",
         {.lease = true, .larger = 1, .unknown = true, .attempts = 5},
         {.calls_once = true, .max_attempts = 5},
         CLAIM_LARGER},
        {"that is known already",
         {.lease = true, .larger = 1},
         {.larger = 1, .max_attempts = 5},
         CLAIM_FREE},
        {"too long, and its lease is over", {.larger = 1}, {.max_attempts = 5}, CLAIM_NO_LEASE},
        {"too long, and only asking", {.larger = 1}, {.ask_only = true}, CLAIM_FREE},
        {"all is known, whatever its route says",
         {.lease = true, .attempts = 1},
         {.calls_once = true, .max_attempts = 5},
         CLAIM_FREE},
        {"our own claim is granted: it was never sent",
         {.mine = 2, .lease = true, .unknown = true, .attempts = 2},
         {.claim_sent = true, .number = 2, .calls_once = true, .max_attempts = 5},
         CLAIM_GRANTED},
        {"one left", {.lease = true, .attempts = 4}, {.max_attempts = 5}, CLAIM_FREE},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        if (claim_rule(&rows[i].f, &rows[i].ask) != rows[i].answer)
            fail_msg("%s: answer %d", rows[i].what, (int)claim_rule(&rows[i].f, &rows[i].ask));
}

/* Over all combinations: what may never be. */
static void test_never(void **state)
{
    (void)state;
    for (int bits = 0; bits < 1 << 11; bits++) {
        struct claim_facts f = {.done = bits & 1,
                                .parked = bits & 2,
                                .parked_mine = bits & 4,
                                .live = bits & 8,
                                .lease = bits & 16,
                                .mine = bits & 32 ? 3 : 0,
                                .attempts = bits & 64 ? 5 : 1,
                                .unknown = bits & 512};
        struct claim_ask ask = {.claim_sent = bits & 128,
                                .ask_only = bits & 256,
                                .calls_once = bits & 1024,
                                .number = 3,
                                .max_attempts = 5};
        enum claim_answer answer = claim_rule(&f, &ask);
        assert_true(answer != CLAIM_NONE);
        if (answer == CLAIM_GRANTED) /* only what was committed already */
            assert_true(f.mine == 3 && ask.claim_sent && !f.done);
        if (answer == CLAIM_FREE) /* nobody else calls, nothing ended */
            assert_true(!f.done && !f.live && !f.mine && (f.lease || ask.ask_only) &&
                        (!(f.unknown && ask.calls_once) || ask.ask_only));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_never),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
