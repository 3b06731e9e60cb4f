/*
 * doctor_kafka.c - what is found about Kafka: topics, their settings and copies, the group and
 * where it stands (pure).
 *
 * The lanes' topics come first among those looked at, the dead letters' last: of that one only what
 * keeps it alive matters, as letters are rows in Postgres before they are records.
 */
#include <inttypes.h>
#include <string.h>

#include "admin/doctor.h"
#include "admin/topic_sizes.h"

typedef void (*each_topic)(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                           struct doctor_says *s);

static int lane_count(const struct kafka_look *look)
{
    return look->topic_count - 1;
}

/* Says once of how many nothing can be known. */
static void say_missing(int missing, struct doctor_says *s)
{
    if (missing)
        doctor_say(s, DOCTOR_SKIPPED, "not looked at for %d topic%s that %s missing", missing,
                   missing == 1 ? "" : "s", missing == 1 ? "is" : "are");
}

/* Those that are there. */
static void for_topics(const struct doctor_facts *f, int count, each_topic judge,
                       struct doctor_says *s)
{
    int missing = 0;
    for (int i = 0; i < count; i++)
        if (f->kafka->topics[i].partition_count > 0)
            judge(f, &f->kafka->topics[i], s);
        else
            missing++;
    say_missing(missing, s);
}

/* Those whose settings are known; that others' are not is said. */
static void for_settings(const struct doctor_facts *f, int count, each_topic judge,
                         struct doctor_says *s)
{
    int missing = 0;
    for (int i = 0; i < count; i++) {
        const struct kafka_topic_look *topic = &f->kafka->topics[i];
        if (topic->settings.how == KAFKA_ANSWERED)
            judge(f, topic, s);
        else if (topic->settings.how == KAFKA_NOT_ASKED)
            missing++;
        else
            doctor_say(s, DOCTOR_SKIPPED, "%s: %s: %s%s", topic->name,
                       topic->settings.how == KAFKA_NOT_ALLOWED ? "not allowed to ask"
                                                                : "not looked at",
                       topic->settings.why,
                       topic->settings.how == KAFKA_NOT_ALLOWED
                           ? "; grant this login DescribeConfigs on it"
                           : "");
    }
    say_missing(missing, s);
}

/* ---- the cluster -------------------------------------------------------------------------- */

static void judge_reachable(const struct doctor_facts *f, struct doctor_says *s)
{
    doctor_say(s, DOCTOR_OK, "%d broker%s", f->kafka->broker_count,
               f->kafka->broker_count == 1 ? "" : "s");
}

static void judge_api(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct kafka_look *look = f->kafka;
    const struct kafka_answer *answers[] = {&look->group, &look->offsets,
                                            &look->topics[0].settings};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        if (answers[i]->how == KAFKA_TOO_OLD)
            doctor_say(s, DOCTOR_ERROR, "the broker lacks a request: %s", answers[i]->why);
        else if (answers[i]->how == KAFKA_NO_ANSWER) {
            doctor_say(s, DOCTOR_WARNING, "a request was not answered: %s", answers[i]->why);
            doctor_mend(s, "look again; when it stays so, the broker's log says why");
        }
}

static void judge_topics(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->kafka->topic_count; i++)
        if (f->kafka->topics[i].partition_count == 0)
            doctor_say(s, DOCTOR_ERROR, "%s is missing", f->kafka->topics[i].name);
}

static void lane_partitions(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                            struct doctor_says *s)
{
    if (f->kafka->group.how != KAFKA_ANSWERED || topic->partition_count >= f->kafka->member_count)
        return;
    doctor_say(s, DOCTOR_WARNING, "%s has %d partitions for %d workers: %d of them read none of it",
               topic->name, topic->partition_count, f->kafka->member_count,
               f->kafka->member_count - topic->partition_count);
    doctor_mend(s,
                "kafka-topics.sh --alter --topic %s --partitions %d, or fewer workers with a "
                "larger max_in_flight",
                topic->name, f->kafka->member_count);
}

static void judge_partitions(const struct doctor_facts *f, struct doctor_says *s)
{
    for_topics(f, lane_count(f->kafka), lane_partitions, s);
}

/* ---- copies ------------------------------------------------------------------------------- */

static void topic_leaders(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                          struct doctor_says *s)
{
    int headless = 0, behind = 0;
    (void)f;
    for (int i = 0; i < topic->partition_count; i++) {
        headless += topic->partitions[i].leader < 0;
        behind += topic->partitions[i].in_sync < topic->partitions[i].replicas;
    }
    if (headless)
        doctor_say(s, DOCTOR_ERROR,
                   "%s: %d of %d partitions have no leader: nothing is read or written there",
                   topic->name, headless, topic->partition_count);
    else if (behind)
        doctor_say(s, DOCTOR_WARNING, "%s: %d of %d partitions have copies that lag or are away",
                   topic->name, behind, topic->partition_count);
}

static void judge_leaders(const struct doctor_facts *f, struct doctor_says *s)
{
    for_topics(f, f->kafka->topic_count, topic_leaders, s);
}

static int replicas_of(const struct kafka_topic_look *topic)
{
    int least = topic->partitions[0].replicas;
    for (int i = 1; i < topic->partition_count; i++)
        if (topic->partitions[i].replicas < least)
            least = topic->partitions[i].replicas;
    return least;
}

static void judge_replication(const struct doctor_facts *f, struct doctor_says *s)
{
    const char *first = NULL;
    int single = 0, missing = 0;
    for (int i = 0; i < f->kafka->topic_count; i++) {
        const struct kafka_topic_look *topic = &f->kafka->topics[i];
        bool there = topic->partition_count > 0;
        missing += !there;
        if (!there || replicas_of(topic) > 1)
            continue;
        first = single++ ? first : topic->name;
    }
    bool choice = f->kafka->broker_count > 1;
    if (single)
        doctor_say(s, choice ? DOCTOR_ERROR : DOCTOR_WARNING,
                   "%d topics (%s ...): each record has one copy, on %s: it goes with that disk",
                   single, first, choice ? "one of several brokers" : "the only broker");
    say_missing(missing, s);
}

static void topic_min_insync(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                             struct doctor_says *s)
{
    int replicas = replicas_of(topic);
    (void)f;
    if (topic->min_insync > replicas)
        doctor_say(s, DOCTOR_ERROR,
                   "%s: min.insync.replicas is %" PRId64 " of %d copies: every "
                   "write is refused",
                   topic->name, topic->min_insync, replicas);
    else if (replicas > 1 && topic->min_insync == replicas)
        doctor_say(s, DOCTOR_WARNING,
                   "%s: min.insync.replicas is all %d copies: writes stop when "
                   "one broker does",
                   topic->name, replicas);
    else if (replicas > 2 && topic->min_insync < 2)
        doctor_say(s, DOCTOR_WARNING,
                   "%s: min.insync.replicas is 1 of %d copies: what was "
                   "acknowledged may be on one broker alone",
                   topic->name, replicas);
    else
        return;
    doctor_mend(s, "kafka-configs.sh --alter --topic %s --add-config min.insync.replicas=%d",
                topic->name, replicas > 2 ? replicas - 1 : 1);
}

static void judge_min_insync(const struct doctor_facts *f, struct doctor_says *s)
{
    for_settings(f, f->kafka->topic_count, topic_min_insync, s);
}

static void topic_unclean(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                          struct doctor_says *s)
{
    (void)f;
    if (!topic->unclean_election)
        return;
    doctor_say(s, DOCTOR_ERROR,
               "%s: a copy that lags may become leader: acknowledged jobs are lost", topic->name);
    doctor_mend(s,
                "kafka-configs.sh --alter --topic %s --add-config "
                "unclean.leader.election.enable=false",
                topic->name);
}

static void judge_unclean(const struct doctor_facts *f, struct doctor_says *s)
{
    for_settings(f, f->kafka->topic_count, topic_unclean, s);
}

/* ---- what is kept ------------------------------------------------------------------------- */

/* A job that is still wanted must not be deleted by age: how long one may wait is its deadline. */
static void lane_age(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                     struct doctor_says *s)
{
    char kept[DOCTOR_AGE_BYTES], wait[DOCTOR_AGE_BYTES];
    (void)doctor_age(topic->retention_ms, kept);
    (void)doctor_age(f->longest_wait_ms, wait);
    if (f->fleet_known && f->without_deadline > 0)
        doctor_say(s, DOCTOR_ERROR,
                   "%s: records are deleted after %s, read or not, and %" PRId64
                   " open batches have no deadline",
                   topic->name, kept, f->without_deadline);
    else if (f->fleet_known && f->longest_wait_ms > topic->retention_ms)
        doctor_say(s, DOCTOR_ERROR,
                   "%s: records are deleted after %s, read or not, and an open "
                   "batch may wait %s",
                   topic->name, kept, wait);
    else if (f->fleet_known && f->open_batches > 0)
        return; /* checked against the longest deadline */
    else
        doctor_say(s, DOCTOR_WARNING, "%s: records are deleted after %s, read or not", topic->name,
                   kept);
}

static void lane_retention(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                           struct doctor_says *s)
{
    int before = s->count;
    if (topic->retention_bytes >= 0)
        doctor_say(s, DOCTOR_ERROR,
                   "%s: records beyond %" PRId64 " bytes a partition are deleted, "
                   "read or not",
                   topic->name, topic->retention_bytes);
    else if (topic->retention_ms >= 0)
        lane_age(f, topic, s);
    if (s->count > before)
        doctor_mend(s,
                    "kafka-configs.sh --alter --topic %s --add-config "
                    "retention.ms=-1,retention.bytes=-1",
                    topic->name);
}

static void judge_retention(const struct doctor_facts *f, struct doctor_says *s)
{
    for_settings(f, lane_count(f->kafka), lane_retention, s);
}

static void topic_cleanup(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                          struct doctor_says *s)
{
    (void)f;
    if (!strstr(topic->cleanup_policy, "compact"))
        return;
    doctor_say(s, DOCTOR_ERROR,
               "%s: cleanup.policy is %s: offsets get holes, and records of one "
               "key are deleted",
               topic->name, topic->cleanup_policy);
    doctor_mend(s, "kafka-configs.sh --alter --topic %s --add-config cleanup.policy=delete",
                topic->name);
}

static void judge_cleanup(const struct doctor_facts *f, struct doctor_says *s)
{
    for_settings(f, f->kafka->topic_count, topic_cleanup, s);
}

static void topic_message_bytes(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                                struct doctor_says *s)
{
    bool dead = topic == &f->kafka->topics[lane_count(f->kafka)];
    int64_t wanted = dead ? TOPIC_DEAD_BYTES : TOPIC_LANE_BYTES;
    if (topic->max_message_bytes >= wanted)
        return;
    doctor_say(s, DOCTOR_WARNING,
               "%s: max.message.bytes is %" PRId64 ", the largest %s needs %" PRId64, topic->name,
               topic->max_message_bytes, dead ? "dead letter" : "job", wanted);
    doctor_mend(s, "kafka-configs.sh --alter --topic %s --add-config max.message.bytes=%" PRId64,
                topic->name, wanted);
}

static void judge_message_bytes(const struct doctor_facts *f, struct doctor_says *s)
{
    for_settings(f, f->kafka->topic_count, topic_message_bytes, s);
}

/* ---- the group ---------------------------------------------------------------------------- */

static int64_t lag_of(const struct kafka_partition_look *p)
{
    int64_t from = p->committed > p->low ? p->committed : p->low;
    return p->high > from ? p->high - from : 0;
}

int64_t doctor_lag(const struct kafka_look *look)
{
    int64_t sum = 0;
    for (int i = 0; look && i < lane_count(look); i++)
        for (int j = 0; j < look->topics[i].partition_count; j++)
            sum += lag_of(&look->topics[i].partitions[j]);
    return sum;
}

/* Says why something of the group is not known. */
static bool group_unknown(const struct kafka_answer *answer, const char *right,
                          struct doctor_says *s)
{
    if (answer->how == KAFKA_NOT_ALLOWED)
        doctor_say(s, DOCTOR_SKIPPED, "not allowed to ask: %s; grant this login %s", answer->why,
                   right);
    else if (answer->how != KAFKA_ANSWERED)
        doctor_say(s, DOCTOR_SKIPPED, "not looked at: %s",
                   *answer->why ? answer->why : "no topic is there");
    return answer->how != KAFKA_ANSWERED;
}

static void judge_group(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct kafka_look *look = f->kafka;
    if (group_unknown(&look->group, "Describe on the group", s))
        return;
    int64_t behind = look->offsets.how == KAFKA_ANSWERED ? doctor_lag(look) : 0;
    if (look->member_count == 0 && behind > 0)
        doctor_say(s, DOCTOR_ERROR, "group %s has no members, and %" PRId64 " records wait",
                   f->group, behind);
    else
        doctor_say(s, DOCTOR_OK, "group %s: %d members, %s, %" PRId64 " records behind", f->group,
                   look->member_count, look->group_state, behind);
}

static void partition_offsets(const struct doctor_facts *f, const struct kafka_topic_look *topic,
                              int number, struct doctor_says *s)
{
    const struct kafka_partition_look *p = &topic->partitions[number];
    if (p->committed < 0 || p->high < 0)
        return;
    if (p->committed < p->low) {
        doctor_say(s, DOCTOR_ERROR,
                   "%s[%d]: %" PRId64 " records were deleted before they were "
                   "read (the group is at %" PRId64 ", the log begins at %" PRId64 ")",
                   topic->name, number, p->low - p->committed, p->committed, p->low);
        doctor_mend(s, "submit the batches that `inferq batch list --active` shows again: the same "
                       "input gives the same jobs; then see kafka.retention");
    } else if (p->committed > p->high) {
        doctor_say(s, DOCTOR_ERROR,
                   "%s[%d]: group %s is at %" PRId64 ", and the log ends at %" PRId64
                   ": the topic was made anew, or lost records",
                   topic->name, number, f->group, p->committed, p->high);
        doctor_mend(s,
                    "stop the workers, kafka-consumer-groups.sh --reset-offsets --to-earliest "
                    "--group %s --topic %s --execute, start them, and submit the open batches "
                    "again: what has ended is not done twice",
                    f->group, topic->name);
    }
}

static void judge_offsets(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct kafka_look *look = f->kafka;
    int64_t records = 0;
    bool committed = false;
    if (group_unknown(&look->offsets, "Describe on the group", s))
        return;
    for (int i = 0; i < lane_count(look); i++)
        for (int j = 0; j < look->topics[i].partition_count; j++) {
            const struct kafka_partition_look *p = &look->topics[i].partitions[j];
            partition_offsets(f, &look->topics[i], j, s);
            records += p->high > p->low ? p->high - p->low : 0;
            committed = committed || p->committed >= 0;
        }
    if (!committed && records > 0 && f->fleet_known && f->calls_exist)
        doctor_say(s, DOCTOR_WARNING,
                   "group %s has no offsets in any lane, though calls were made: "
                   "%" PRId64 " records are read from the beginning",
                   f->group, records);
}

const struct doctor_check doctor_kafka_checks[] = {
    {"kafka.reachable", "No broker answers",
     "start Kafka, or mend kafka.bootstrap.servers (HOST:PORT,...) and kafka.security.protocol",
     NULL, judge_reachable},
    {"kafka.api", "The broker lacks a request that inferq uses, or does not answer it",
     "use Kafka 2.4 or newer", NULL, judge_api},
    {"kafka.topics", "A lane's topic or the dead letters' is missing", "inferq topics", NULL,
     judge_topics},
    {"kafka.partitions", "A lane has fewer partitions than there are workers",
     "kafka-topics.sh --alter --topic TOPIC --partitions N", NULL, judge_partitions},
    {"kafka.leaders", "Partitions without a leader, or with copies that lag",
     "start the broker that is away; kafka-topics.sh --describe shows which", NULL, judge_leaders},
    {"kafka.replication", "Records have one copy",
     "three brokers, and topics of three copies: inferq topics --replication 3 makes new ones; "
     "kafka-reassign-partitions.sh adds copies to those that are there",
     NULL, judge_replication},
    {"kafka.min_insync", "min.insync.replicas does not fit the copies",
     "kafka-configs.sh --alter --topic TOPIC --add-config min.insync.replicas=2", NULL,
     judge_min_insync},
    {"kafka.unclean_election", "A copy that lags may become leader",
     "kafka-configs.sh --alter --topic TOPIC --add-config unclean.leader.election.enable=false",
     NULL, judge_unclean},
    {"kafka.retention", "Kafka deletes jobs by age or size before they are read",
     "kafka-configs.sh --alter --topic TOPIC --add-config retention.ms=-1,retention.bytes=-1", NULL,
     judge_retention},
    {"kafka.cleanup", "A topic is compacted",
     "kafka-configs.sh --alter --topic TOPIC --add-config cleanup.policy=delete", NULL,
     judge_cleanup},
    {"kafka.message_bytes", "A topic does not take the largest job or dead letter",
     "kafka-configs.sh --alter --topic TOPIC --add-config max.message.bytes=N", NULL,
     judge_message_bytes},
    {"kafka.group", "Records wait, and the group has no members",
     "start workers; theirs and this program's `group` and `prefix` must be the same", NULL,
     judge_group},
    {"kafka.offsets", "The group's offsets are lost, or lie outside the log",
     "nothing is lost: jobs that have ended are recognised by their ids and not called again; let "
     "the workers read",
     NULL, judge_offsets},
    {0},
};
