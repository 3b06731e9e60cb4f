/*
 * test_doctor.c - what `inferq doctor` makes of facts: each check with facts that are fine and with
 * facts that are not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "admin/doctor.h"
#include "admin/topic_sizes.h"
#include "common/catalogue.h"
#include "common/limits.h"

enum {
    TOPICS = 4,
    PARTITIONS = 2,
    HOUR_MS = 3600 * 1000,
    DAY_MS = 24 * HOUR_MS,
    MINUTE_MS = 60000
};

static const struct doctor_check *check_of(const char *id)
{
    for (int i = 0; doctor_checks(i); i++)
        for (const struct doctor_check *check = doctor_checks(i); check->id; check++)
            if (strcmp(check->id, id) == 0)
                return check;
    fail_msg("no check %s", id);
    return NULL;
}

/* The worst that the check says; it must hold `word`, and its remedy `remedy` (NULL: none). */
static void expect(const char *id, const struct doctor_facts *facts, enum doctor_level level,
                   const char *word, const char *remedy)
{
    struct doctor_says s = {0};
    doctor_judge(check_of(id), facts, &s);
    assert_false(s.failed);
    assert_true(s.count > 0);
    const struct doctor_finding *worst = &s.all[0];
    for (int i = 1; i < s.count; i++)
        if (s.all[i].level > worst->level)
            worst = &s.all[i];
    if (worst->level != level || !strstr(worst->found, word) ||
        (remedy ? !strstr(worst->remedy, remedy) : *worst->remedy != '\0'))
        fail_msg("%s: %s: %s (%s), not %s: %s (%s)", id, doctor_level_name(worst->level),
                 worst->found, worst->remedy, doctor_level_name(level), word, remedy);
    doctor_says_done(&s);
}

/* ---- the tables --------------------------------------------------------------------------- */

static void test_checks_are_whole(void **state)
{
    const char *seen[100];
    int n = 0;
    (void)state;
    for (int i = 0; doctor_checks(i); i++)
        for (const struct doctor_check *check = doctor_checks(i); check->id; check++) {
            for (int j = 0; j < n; j++)
                assert_string_not_equal(seen[j], check->id);
            seen[n++] = check->id;
            assert_non_null(strchr(check->id, '.'));
            assert_true(*check->asks && *check->mend && check->judge);
        }
    assert_true(n > 40);
}

/* ---- Kafka -------------------------------------------------------------------------------- */

static struct kafka_partition_look partitions[TOPICS][PARTITIONS];
static struct kafka_topic_look topics[TOPICS];
static struct kafka_look look;
static struct doctor_facts facts;

static char *const topic_names[TOPICS] = {(char[]){"q.jobs.high"}, (char[]){"q.jobs.normal"},
                                          (char[]){"q.jobs.low"}, (char[]){"q.dead"}};

/* Three brokers, three copies, a group at the end of its lanes. */
static void healthy(void)
{
    for (int i = 0; i < TOPICS; i++) {
        for (int j = 0; j < PARTITIONS; j++)
            partitions[i][j] = (struct kafka_partition_look){1, 3, 3, 10, 20, i < 3 ? 20 : -1};
        topics[i] = (struct kafka_topic_look){.name = topic_names[i],
                                              .partition_count = PARTITIONS,
                                              .partitions = partitions[i],
                                              .cleanup_policy = "delete",
                                              .retention_ms = -1,
                                              .retention_bytes = -1,
                                              .max_message_bytes = TOPIC_DEAD_BYTES,
                                              .min_insync = 2};
    }
    look = (struct kafka_look){.broker_count = 3,
                               .topic_count = TOPICS,
                               .topics = topics,
                               .group_state = "Stable",
                               .member_count = 2};
    facts = (struct doctor_facts){.prefix = "q",
                                  .group = "g",
                                  .now_ms = 1800000000000,
                                  .patience_ms = 10 * MINUTE_MS,
                                  .kafka = &look,
                                  .fleet_known = true,
                                  .calls_exist = true};
}

static void test_kafka_healthy(void **state)
{
    (void)state;
    healthy();
    for (const struct doctor_check *check = doctor_kafka_checks; check->id; check++)
        expect(check->id, &facts, DOCTOR_OK, "", NULL);
}

static void test_kafka_topics(void **state)
{
    (void)state;
    healthy();
    topics[1].partition_count = 0;
    topics[1].settings.how = KAFKA_NOT_ASKED;
    expect("kafka.topics", &facts, DOCTOR_ERROR, "q.jobs.normal is missing", "inferq topics");
    expect("kafka.retention", &facts, DOCTOR_SKIPPED, "1 topic that is missing", NULL);
    expect("kafka.leaders", &facts, DOCTOR_SKIPPED, "1 topic that is missing", NULL);
    healthy();
    look.member_count = 5;
    expect("kafka.partitions", &facts, DOCTOR_WARNING, "2 partitions for 5 workers",
           "--partitions 5");
    healthy();
    look.offsets = (struct kafka_answer){KAFKA_TOO_OLD, "OffsetFetch: unsupported"};
    expect("kafka.api", &facts, DOCTOR_ERROR, "OffsetFetch", "Kafka 2.4");
    look.offsets.how = KAFKA_NO_ANSWER;
    expect("kafka.api", &facts, DOCTOR_WARNING, "not answered", "log");
}

static void test_kafka_copies(void **state)
{
    (void)state;
    healthy();
    partitions[0][1].leader = -1;
    expect("kafka.leaders", &facts, DOCTOR_ERROR, "q.jobs.high: 1 of 2 partitions have no leader",
           "start the broker");
    healthy();
    partitions[3][0].in_sync = 2;
    expect("kafka.leaders", &facts, DOCTOR_WARNING, "q.dead: 1 of 2 partitions have copies",
           "start the broker");
    healthy();
    partitions[2][1].replicas = partitions[2][1].in_sync = 1;
    expect("kafka.replication", &facts, DOCTOR_ERROR, "q.jobs.low", "--replication 3");
    look.broker_count = 1;
    expect("kafka.replication", &facts, DOCTOR_WARNING, "the only broker", "three brokers");
    healthy();
    topics[0].min_insync = 4;
    expect("kafka.min_insync", &facts, DOCTOR_ERROR, "every write is refused",
           "min.insync.replicas=2");
    topics[0].min_insync = 3;
    expect("kafka.min_insync", &facts, DOCTOR_WARNING, "writes stop", "min.insync.replicas=2");
    topics[0].min_insync = 1;
    expect("kafka.min_insync", &facts, DOCTOR_WARNING, "one broker alone", "min.insync.replicas=2");
    healthy();
    topics[1].unclean_election = true;
    expect("kafka.unclean_election", &facts, DOCTOR_ERROR, "q.jobs.normal",
           "unclean.leader.election.enable=false");
}

static void test_kafka_keeps(void **state)
{
    const char *remedy = "retention.ms=-1,retention.bytes=-1";
    (void)state;
    healthy();
    topics[0].retention_ms = DAY_MS;
    expect("kafka.retention", &facts, DOCTOR_WARNING, "after 1 d, read or not", remedy);
    facts.open_batches = 1;
    facts.longest_wait_ms = 2 * HOUR_MS;
    expect("kafka.retention", &facts, DOCTOR_OK, "", NULL);
    facts.longest_wait_ms = 2 * (int64_t)DAY_MS;
    expect("kafka.retention", &facts, DOCTOR_ERROR, "may wait 2 d", remedy);
    facts.without_deadline = 1;
    expect("kafka.retention", &facts, DOCTOR_ERROR, "have no deadline", remedy);
    healthy();
    topics[0].retention_bytes = 1000;
    expect("kafka.retention", &facts, DOCTOR_ERROR, "beyond 1000 bytes", remedy);
    healthy();
    topics[3].retention_ms = DAY_MS; /* letters are rows first */
    expect("kafka.retention", &facts, DOCTOR_OK, "", NULL);
    topics[0].settings = (struct kafka_answer){KAFKA_NOT_ALLOWED, "no right"};
    expect("kafka.retention", &facts, DOCTOR_SKIPPED, "not allowed to ask: no right", NULL);
    healthy();
    (void)snprintf(topics[0].cleanup_policy, sizeof topics[0].cleanup_policy, "compact,delete");
    expect("kafka.cleanup", &facts, DOCTOR_ERROR, "compact,delete", "cleanup.policy=delete");
    healthy();
    topics[0].max_message_bytes = TOPIC_LANE_BYTES;
    expect("kafka.message_bytes", &facts, DOCTOR_OK, "", NULL);
    topics[0].max_message_bytes--;
    expect("kafka.message_bytes", &facts, DOCTOR_WARNING, "largest job", "max.message.bytes=");
    healthy();
    topics[3].max_message_bytes = TOPIC_LANE_BYTES;
    expect("kafka.message_bytes", &facts, DOCTOR_WARNING, "largest dead letter", "--topic q.dead");
}

static void test_kafka_group(void **state)
{
    (void)state;
    healthy();
    partitions[0][0].committed = 15;
    expect("kafka.group", &facts, DOCTOR_OK, "2 members, Stable, 5 records behind", NULL);
    look.member_count = 0;
    expect("kafka.group", &facts, DOCTOR_ERROR, "no members, and 5 records wait", "start workers");
    look.group = (struct kafka_answer){KAFKA_NOT_ALLOWED, "no right"};
    expect("kafka.group", &facts, DOCTOR_SKIPPED, "not allowed to ask: no right", NULL);
    healthy();
    partitions[0][0].committed = 7;
    expect("kafka.offsets", &facts, DOCTOR_ERROR, "q.jobs.high[0]: 3 records were deleted",
           "submit the batches");
    partitions[0][0].committed = 21;
    expect("kafka.offsets", &facts, DOCTOR_ERROR, "the log ends at 20", "--to-earliest --group g");
    healthy();
    for (int i = 0; i < TOPICS; i++)
        partitions[i][0].committed = partitions[i][1].committed = -1;
    expect("kafka.offsets", &facts, DOCTOR_WARNING, "60 records are read from the beginning",
           "nothing is lost");
    facts.calls_exist = false; /* nothing has run yet */
    expect("kafka.offsets", &facts, DOCTOR_OK, "", NULL);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* One row of facts, and the judgement. */
static const struct {
    const char *id, *subject, *detail;
    int64_t a, b;
    enum doctor_level level;
    const char *found, *remedy;
} judgements[] = {
    {"pg.reachable", "db", "me", 0, 0, DOCTOR_OK, "database db, as me", NULL},
    {"pg.version", "15.4", "", 150004, 0, DOCTOR_OK, "Postgres 15.4", NULL},
    {"pg.version", "14.9", "", 140009, 0, DOCTOR_ERROR, "14.9", "15"},
    {"pg.writable", "db", "", 0, 0, DOCTOR_OK, "", NULL},
    {"pg.writable", "db", "", 1, 1, DOCTOR_ERROR, "standby", "primary"},
    {"pg.writable", "db", "", 0, 1, DOCTOR_ERROR, "read-only", "ALTER DATABASE db"},
    {"pg.encoding", "UTF8", "", 0, 0, DOCTOR_OK, "", NULL},
    {"pg.encoding", "SQL_ASCII", "", 0, 0, DOCTOR_ERROR, "SQL_ASCII", "UTF8"},
    {"pg.migrations", "0006_x.sql", "", 0, 0, DOCTOR_OK, "0006_x.sql", NULL},
    {"pg.migrations", "0005_x.sql", "", 2, 0, DOCTOR_ERROR, "2 not applied", "inferq migrate"},
    {"pg.migrations", "newer", "", 0, 1, DOCTOR_ERROR, "newer", "the inferq that belongs"},
    {"pg.login", "me", "inferq_operator", 0, 0, DOCTOR_OK, "inferq_operator", NULL},
    {"pg.login", "me", "", 1, 0, DOCTOR_OK, "owner", NULL},
    {"pg.login", "me", "", 0, 0, DOCTOR_ERROR, "none of inferq's roles", "GRANT inferq_operator"},
    {"pg.login", "me", "", 1, 1, DOCTOR_WARNING, "superuser", "NOSUPERUSER"},
    {"pg.roles", "r", "SELECT ON t", 1, 0, DOCTOR_ERROR, "r lacks", "GRANT SELECT ON t TO r"},
    {"pg.roles", "r", "DELETE ON t", 0, 0, DOCTOR_WARNING, "r has", "REVOKE DELETE ON t FROM r"},
    {"pg.roles", "r", "", 1, 1, DOCTOR_ERROR, "role r is missing", "CREATE ROLE r"},
    {"pg.partitions", "ahead", "", 2 * DAY_MS, DAY_MS, DOCTOR_OK, "2 d ahead", NULL},
    {"pg.partitions", "ahead", "", HOUR_MS, DAY_MS, DOCTOR_WARNING, "ends in 1 h",
     "ensure_partitions"},
    {"pg.partitions", "ahead", "", -1, DAY_MS, DOCTOR_ERROR, "no partition", "ensure_partitions"},
    {"pg.partitions", "gap", "2026-01-01", 0, 0, DOCTOR_ERROR, "from 2026-01-01",
     "attach_partition"},
    {"pg.partitions", "detached", "call_1", 0, 0, DOCTOR_ERROR, "call_1", "ATTACH PARTITION"},
    {"pg.partition_count", "", "", 60, 0, DOCTOR_OK, "60 partitions", NULL},
    {"pg.partition_count", "", "", 61, 0, DOCTOR_WARNING, "61 partitions", "partition_days"},
    {"clock.postgres", "", "", 1000, 1, DOCTOR_OK, "1 s ahead", NULL},
    {"clock.postgres", "", "", 1010, 50, DOCTOR_OK, "", NULL},
    {"clock.postgres", "", "", -1500, 1, DOCTOR_WARNING, "1.5 s behind", "NTP"},
    {"clock.postgres", "", "", 2 * MINUTE_MS, 1, DOCTOR_ERROR, "2 min ahead", "NTP"},
    {"clock.producers", "a/b", "", 2000, 0, DOCTOR_WARNING, "batch a/b was made 2 s ahead", "NTP"},
    {"clock.producers", "a/b", "", 2 * MINUTE_MS, 0, DOCTOR_ERROR, "2 min", "NTP"},
    {"pg.durability", "fsync", "off", 0, 0, DOCTOR_ERROR, "fsync is off", "SET fsync = on"},
    {"pg.durability", "synchronous_commit", "off", 0, 0, DOCTOR_WARNING, "may be lost",
     "synchronous_commit = on"},
    {"pg.standby", "", "seen", 0, 0, DOCTOR_WARNING, "no synchronous standby", "set up a standby"},
    {"pg.standby", "s1", "", 0, 0, DOCTOR_SKIPPED, "not allowed to ask", NULL},
    {"pg.standby", "s1", "seen", 0, 1, DOCTOR_ERROR, "every commit waits", "start the standby"},
    {"pg.standby", "s1", "seen", 1, 2, DOCTOR_OK, "1 of 2 standbys in sync", NULL},
    {"pg.autovacuum", "autovacuum", "", 0, 0, DOCTOR_ERROR, "autovacuum is off",
     "SET autovacuum = on"},
    {"pg.autovacuum", "inferq.call", "", 1, 0, DOCTOR_WARNING, "inferq.call",
     "ALTER TABLE inferq.call RESET"},
    {"pg.connections", "the server", "max_connections", 50, 100, DOCTOR_OK, "50 of 100", NULL},
    {"pg.connections", "the server", "max_connections", 91, 100, DOCTOR_WARNING, "91 of 100",
     "raise max_connections"},
    {"pg.connections", "the login", "its limit", 3, 3, DOCTOR_ERROR, "3 of 3", "raise its limit"},
    {"pg.transactions", "one", "end it", 9 * MINUTE_MS, 0, DOCTOR_OK, "", NULL},
    {"pg.transactions", "one", "pg_x(1)", 11 * MINUTE_MS, 0, DOCTOR_WARNING, "open for 11 min",
     "pg_x(1)"},
    {"pg.transactions", "!not allowed", "GRANT it", 0, 0, DOCTOR_SKIPPED,
     "not allowed to ask: GRANT it", NULL},
    {"pg.slots", "s", "", 5 << 20, 0, DOCTOR_WARNING, "slot s has no reader and keeps 5 MiB",
     "pg_drop_replication_slot('s')"},
    {"catalogue.file", "", "f: 1 endpoints", 0, 0, DOCTOR_OK, "f: 1 endpoints", NULL},
    {"catalogue.file", "", "f:7: bad", 1, 0, DOCTOR_ERROR, "f:7: bad", "mend the line"},
    {"catalogue.applied", "endpoint e@1", "is not applied yet", 0, 0, DOCTOR_WARNING,
     "1 entries of the file: endpoint e@1 is not applied yet", "start a worker"},
    {"catalogue.applied", "endpoint e@1", "differs", 1, 0, DOCTOR_ERROR, "endpoint e@1: differs",
     "new version"},
    {"catalogue.prices", "m@1", "has no price", 0, 0, DOCTOR_WARNING, "m@1 has no price",
     "add a price"},
    {"catalogue.current", "m", "", 0, 0, DOCTOR_ERROR, "no current version", "set `current`"},
    {"catalogue.current", "m", "m@1", VERSION_DEPRECATED, 0, DOCTOR_WARNING, "deprecated",
     "set `current`"},
    {"catalogue.current", "m", "m@1", VERSION_RETIRED, 0, DOCTOR_ERROR, "retired", "set `current`"},
    {"catalogue.current", "m", "m@1", VERSION_BLOCKED, 0, DOCTOR_ERROR, "blocked", "set `current`"},
    {"signing.key", "", "key k", 0, 0, DOCTOR_OK, "key k", NULL},
    {"signing.key", "", "env:X is not set", 1, 0, DOCTOR_ERROR, "env:X", "KEY-ID:HEX"},
    {"signing.ring", "", "2 keys", 0, 0, DOCTOR_OK, "2 keys", NULL},
    {"signing.ring", "", "line 3: no", 1, 0, DOCTOR_ERROR, "line 3: no", "APP KEY-ID:HEX"},
    {"endpoint.pause", "eu", "me: why", 2000, 0, DOCTOR_WARNING, "eu was paused 2 s ago by me: why",
     "inferq endpoint resume eu"},
    {"fleet.silent", "7", "h, pid 1", 2000, 0, DOCTOR_WARNING,
     "worker 7 on h, pid 1 has not renewed its lease for 2 s", "look at its host"},
    {"fleet.fenced", "7", "h, pid 1", 0, 0, DOCTOR_WARNING, "worker 7", "look at its log"},
    {"fleet.builds", "b1", "h", 2, 0, DOCTOR_OK, "all run b1", NULL},
    {"fleet.draining", "7", "h", 9 * MINUTE_MS, 0, DOCTOR_OK, "", NULL},
    {"fleet.draining", "7", "h", 11 * MINUTE_MS, 0, DOCTOR_WARNING, "told to leave 11 min ago",
     "SIGTERM"},
    {"fleet.letters", "", "", 0, 0, DOCTOR_OK, "", NULL},
    {"fleet.letters", "", "", 3, 9 * MINUTE_MS, DOCTOR_OK, "", NULL},
    {"fleet.letters", "", "", 3, 11 * MINUTE_MS, DOCTOR_WARNING, "3 dead letters", "kafka.topics"},
    {"fleet.parked", "for a time", "", 3, 9 * MINUTE_MS, DOCTOR_OK, "", NULL},
    {"fleet.parked", "for a time", "", 3, 11 * MINUTE_MS, DOCTOR_WARNING, "3 parked jobs",
     "start or restart workers"},
    {"limit.unknown", "endpoint:eu@1", "the catalogue has no such endpoint", 0, 0, DOCTOR_WARNING,
     "a limit is set for endpoint:eu@1, and the catalogue has no such endpoint",
     "inferq limit clear endpoint:eu@1"},
    {"limit.keeper", "", "", 0, 3, DOCTOR_OK, "no limit is in force", NULL},
    {"limit.keeper", "", "", 2, 0, DOCTOR_OK, "no worker is alive", NULL},
    {"limit.keeper", "held", "", 2, 3, DOCTOR_OK, "", NULL},
    {"limit.keeper", "", "", 2, 3, DOCTOR_WARNING, "none of 3 workers shares them out",
     "look again in ten seconds"},
    {"limit.learned", "endpoint:eu@1", "", 345, 0, DOCTOR_WARNING,
     "throttling has brought the limits of endpoint:eu@1 down to 34.5 %", "ask who runs it"},
    {"limit.holds", "app:pipe", "app:pipe tokens_per_day 9: all taken", LIMIT_TOKENS_PER_DAY, 0,
     DOCTOR_NOTE, "app:pipe tokens_per_day 9: all taken",
     "wait until then, or allow more: inferq limit set app:pipe tokens_per_day N"},
    {"limit.holds", "app:pipe", "app:pipe in_flight 9: 9 in flight", LIMIT_IN_FLIGHT, 0,
     DOCTOR_NOTE, "9 in flight", "none is needed; to allow more: inferq limit set app:pipe in_fl"},
};

static void test_rows(void **state)
{
    (void)state;
    healthy();
    for (size_t i = 0; i < sizeof judgements / sizeof judgements[0]; i++) {
        struct doctor_row row = {.a = judgements[i].a, .b = judgements[i].b};
        (void)snprintf(row.subject, sizeof row.subject, "%s", judgements[i].subject);
        (void)snprintf(row.detail, sizeof row.detail, "%s", judgements[i].detail);
        facts.rows = &row;
        facts.row_count = 1;
        expect(judgements[i].id, &facts, judgements[i].level, judgements[i].found,
               judgements[i].remedy);
    }
}

static void test_workers(void **state)
{
    struct doctor_row row = {.a = 0, .b = 0};
    struct doctor_row builds[2] = {{"b1", "h1", 3, 0}, {"b2", "h2", 1, 0}};
    (void)state;
    healthy();
    facts.rows = &row;
    facts.row_count = 1;
    expect("fleet.workers", &facts, DOCTOR_OK, "nothing waits", NULL);
    row.b = 4;
    expect("fleet.workers", &facts, DOCTOR_ERROR, "4 parked jobs wait", "start workers");
    row.b = 0;
    partitions[0][0].committed = 15;
    expect("fleet.workers", &facts, DOCTOR_ERROR, "5 records", "start workers");
    row.a = 1;
    expect("fleet.workers", &facts, DOCTOR_OK, "1 alive", NULL);
    facts.rows = builds;
    facts.row_count = 2;
    expect("fleet.builds", &facts, DOCTOR_WARNING, "1 workers run build b2 (h2), 3 run b1",
           "worker drain");
    facts.row_count = 0;
    expect("catalogue.file", &facts, DOCTOR_SKIPPED, "--catalogue", NULL);
    facts = (struct doctor_facts){0};
}

/* ---- endpoints ---------------------------------------------------------------------------- */

static void test_endpoints(void **state)
{
    char url[] = "https://h", none[] = "";
    struct doctor_endpoint e = {
        .name = "eu@1", .base_url = url, .ca_file = none, .credential = none};
    (void)state;
    healthy();
    expect("endpoint.connect", &facts, DOCTOR_SKIPPED, "no endpoint", NULL);
    expect("endpoint.call", &facts, DOCTOR_SKIPPED, "--call", NULL);
    facts.endpoints = &e;
    facts.endpoint_count = 1;
    facts.called = true;
    e.probe = (struct probe_result){.step = PROBE_URL, .why = "bad"};
    expect("endpoint.address", &facts, DOCTOR_ERROR, "bad", "mend base_url");
    e.probe.step = PROBE_ADDRESS;
    expect("endpoint.address", &facts, DOCTOR_ERROR, "https://h: bad", "DNS");
    expect("endpoint.connect", &facts, DOCTOR_SKIPPED, "not reached", NULL);
    e.probe.step = PROBE_CONNECT;
    expect("endpoint.address", &facts, DOCTOR_OK, "", NULL);
    expect("endpoint.connect", &facts, DOCTOR_ERROR, "https://h: bad", "firewall");
    e.probe.step = PROBE_TLS;
    expect("endpoint.connect", &facts, DOCTOR_OK, "https://h", NULL);
    expect("endpoint.certificate", &facts, DOCTOR_ERROR, "bad", "renew");
    e.probe = (struct probe_result){.step = PROBE_REACHED, .http_status = 200};
    expect("endpoint.certificate", &facts, DOCTOR_OK, "no TLS", NULL);
    e.probe.certificate_ends_ms = facts.now_ms + 13 * (int64_t)DAY_MS;
    expect("endpoint.certificate", &facts, DOCTOR_WARNING, "ends in 13 d", "renew");
    e.probe.certificate_ends_ms = facts.now_ms + 15 * (int64_t)DAY_MS;
    expect("endpoint.certificate", &facts, DOCTOR_OK, "ends in 15 d", NULL);
    expect("endpoint.call", &facts, DOCTOR_OK, "answers 200", NULL);
    e.probe.http_status = 401;
    expect("endpoint.call", &facts, DOCTOR_ERROR, "answers 401", "valid key");
    e.probe.http_status = 503;
    expect("endpoint.call", &facts, DOCTOR_WARNING, "answers 503", "later");
    e.probe.step = PROBE_EXCHANGE;
    expect("endpoint.call", &facts, DOCTOR_ERROR, "no answer", "model server");
    expect("endpoint.credential", &facts, DOCTOR_OK, "", NULL);
    (void)snprintf(e.credential_why, sizeof e.credential_why, "env:KEY is not set");
    expect("endpoint.credential", &facts, DOCTOR_ERROR, "eu@1: env:KEY is not set", "variable");
    facts = (struct doctor_facts){0};
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks_are_whole),
        cmocka_unit_test(test_kafka_healthy),
        cmocka_unit_test(test_kafka_topics),
        cmocka_unit_test(test_kafka_copies),
        cmocka_unit_test(test_kafka_keeps),
        cmocka_unit_test(test_kafka_group),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
