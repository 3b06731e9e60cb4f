/*
 * fake_limits.c - see fake_limits.h. Few limits of few words, so that they meet; small amounts, so
 * that a day's budget ends within a history. Ids are drawn by an insert alone, as in the fake.
 */
#include "tests/live/fake_limits.h"

#include <stdio.h>

static const char *some_endpoint(struct args *a)
{
    return args_chance(a, 50) ? "e1@1" : "e2@1";
}

void limits_set(struct scratch *s, struct fake_pg *db, struct args *a)
{
    static const int dimensions[] = {1, 4, 5, 6};
    int dimension = dimensions[args_below(a, 4)];
    const char *key = some_endpoint(a);
    int64_t amounts[2] = {FAKE_NULL, FAKE_NULL};
    char sql[640], texts[2][24] = {"NULL", "NULL"};
    for (int i = 0; i < 2; i++)
        if (args_chance(a, i == 0 ? 90 : 30)) {
            amounts[i] = 1 + args_below(a, 300);
            (void)snprintf(texts[i], sizeof texts[i], "%d", (int)amounts[i]);
        }
    (void)snprintf(sql, sizeof sql,
                   "WITH old AS (UPDATE limit_rule SET of_catalogue = %s, of_operator = %s,"
                   " changed_at = now() WHERE scope = 1 AND key = '%s' AND dimension = %d"
                   " RETURNING 1)"
                   "INSERT INTO limit_rule (scope, key, dimension, of_catalogue, of_operator,"
                   " changed_by, changed_at) SELECT 1, '%s', %d, %s, %s, 't', now()"
                   " WHERE NOT EXISTS (SELECT FROM old)",
                   texts[0], texts[1], key, dimension, key, dimension, texts[0], texts[1]);
    scratch_run(s, sql);
    (void)fake_pg_limit(db, 1, span_of(key), dimension, amounts[0], amounts[1], a->now_us);
}

void limits_learn(struct scratch *s, struct fake_pg *db, struct args *a)
{
    int multiplier = 1 + (int)args_below(a, 1000);
    const char *key = some_endpoint(a);
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO limit_learned (endpoint, multiplier, changed_at)"
                   " VALUES ('%s', %d, now()) ON CONFLICT (endpoint) DO UPDATE SET"
                   " multiplier = excluded.multiplier, changed_at = now()",
                   key, multiplier);
    scratch_run(s, sql);
    fake_pg_learned(db, span_of(key), multiplier, a->now_us);
}
