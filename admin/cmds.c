/*
 * cmds.c - the commands of `inferq`, their options, and the configuration that they read: the one
 * table behind dispatch, --help, `inferq help` and the manual.
 */
#include <stddef.h>

#include "admin/cmd.h"

const struct config_key cmd_keys[] = {
    {.name = "prefix",
     .type = CONFIG_TEXT,
     .deflt = "inferq",
     .min = 1,
     .max = 200,
     .help = "Topics are PREFIX.jobs.LANE and PREFIX.dead; separates environments."},
    {.name = "group",
     .type = CONFIG_TEXT,
     .deflt = "inferq-workers",
     .min = 1,
     .max = 200,
     .help = "Kafka consumer group of the workers."},
    {.name = "postgres",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 4096,
     .help = "libpq connection string or URI; what it leaves out comes from PGHOST and the like."},
    {.name = "signing.key",
     .type = CONFIG_TEXT,
     .deflt = "",
     .max = 4096,
     .secret = true,
     .help =
         "Key that signs requeued jobs, as env:NAME or file:PATH; absent: they are not signed."},
    {0},
};

#define JSON_OPT                                                             \
    {                                                                        \
        .name = "json", .type = OPT_FLAG, .help = "print JSON, for programs" \
    }
#define ACTOR_OPT                                                  \
    {                                                              \
        .name = "actor", .type = OPT_TEXT, .arg = "NAME",          \
        .help = "who does this, for the audit (default: you@host)" \
    }
#define REASON_OPT                                                                             \
    {                                                                                          \
        .name = "reason", .type = OPT_TEXT, .arg = "TEXT", .help = "why, kept with who did it" \
    }
#define END_OPT \
    {           \
        0       \
    }

static const struct opt no_opts[] = {END_OPT};

static const struct opt migrate_opts[] = {
    {.name = "status", .type = OPT_FLAG, .help = "only say what is applied and what is not"},
    {.name = "sql-dir",
     .type = OPT_TEXT,
     .arg = "DIR",
     .help = "where the files are (also INFERQ_SQL_DIR)"},
    {.name = "json", .type = OPT_FLAG, .help = "with --status: print JSON"},
    END_OPT,
};
#define TOPIC_OPTS                                                                        \
    {.name = "partitions",                                                                \
     .type = OPT_INT,                                                                     \
     .arg = "N",                                                                          \
     .min = 1,                                                                            \
     .max = 10000,                                                                        \
     .help = "of a topic that is made (default: 12); one that exists must have as many"}, \
    {                                                                                     \
        .name = "replication", .type = OPT_INT, .arg = "N", .min = 1, .max = 100,         \
        .help = "copies of each record (default: the broker's)"                           \
    }
static const struct opt topics_opts[] = {TOPIC_OPTS, JSON_OPT, END_OPT};
#define RULE_OPTS                                                                            \
    {.name = "app", .type = OPT_TEXT, .arg = "APP", .help = "batches of this app go there"}, \
    {                                                                                        \
        .name = "task", .type = OPT_TEXT, .arg = "TASK",                                     \
        .help = "those with this task (with --app: of that app) go there"                    \
    }
static const struct opt lane_add_opts[] = {RULE_OPTS, TOPIC_OPTS, REASON_OPT,
                                           ACTOR_OPT, JSON_OPT,   END_OPT};
static const struct opt lane_assign_opts[] = {RULE_OPTS, REASON_OPT, ACTOR_OPT, JSON_OPT, END_OPT};
static const struct opt lane_remove_opts[] = {REASON_OPT, ACTOR_OPT, JSON_OPT, END_OPT};
static const struct opt batch_list_opts[] = {
    {.name = "app", .type = OPT_TEXT, .arg = "APP", .help = "only this app's"},
    {.name = "active", .type = OPT_FLAG, .help = "only those with jobs that have not ended"},
    {.name = "limit",
     .type = OPT_INT,
     .arg = "N",
     .min = 1,
     .max = 100000,
     .help = "the latest N (default: 50)"},
    JSON_OPT,
    END_OPT,
};
static const struct opt json_opts[] = {JSON_OPT, END_OPT};
static const struct opt watch_opts[] = {
    {.name = "interval-ms",
     .type = OPT_INT,
     .arg = "MS",
     .min = 50,
     .max = 3600000,
     .help = "how often to look (default: 1000)"},
    {.name = "json", .type = OPT_FLAG, .help = "one JSON object a line, when something changed"},
    END_OPT,
};
static const struct opt top_opts[] = {
    {.name = "interval-ms",
     .type = OPT_INT,
     .arg = "MS",
     .min = 200,
     .max = 3600000,
     .help = "how often to look at the most (default: 2000)"},
    {.name = "once", .type = OPT_FLAG, .help = "one look, as text; no terminal is needed"},
    END_OPT,
};
static const struct opt cancel_opts[] = {ACTOR_OPT, JSON_OPT, END_OPT};
static const struct opt seal_opts[] = {
    {.name = "total",
     .type = OPT_INT,
     .arg = "N",
     .min = 0,
     .max = INT64_MAX,
     .help = "how many jobs were put into it"},
    {.name = "app", .type = OPT_TEXT, .arg = "APP", .help = "its app, when it is not known yet"},
    {.name = "name", .type = OPT_TEXT, .arg = "NAME", .help = "its name, when it is not known yet"},
    ACTOR_OPT,
    END_OPT,
};
static const struct opt results_opts[] = {
    {.name = "format", .type = OPT_TEXT, .arg = "jsonl|csv", .help = "(default: jsonl)"},
    {.name = "csv", .type = OPT_FLAG, .help = "the same as --format csv"},
    {.name = "fields",
     .type = OPT_TEXT,
     .arg = "A,B,...",
     .help = "which, in this order; `--fields list` names them all"},
    {.name = "all-generations",
     .type = OPT_FLAG,
     .help = "also what a requeue has put out of date"},
    {.name = "failed",
     .type = OPT_FLAG,
     .help = "the requests of jobs that did not succeed, as a file for inferq submit"},
    END_OPT,
};

#define DEAD_FILTER_OPTS                                                               \
    {.name = "batch", .type = OPT_TEXT, .arg = "BATCH", .help = "only of this batch"}, \
        {.name = "class",                                                              \
         .type = OPT_TEXT,                                                             \
         .arg = "CLASS",                                                               \
         .help = "only of this class (refused, ...)"},                                 \
        {.name = "app", .type = OPT_TEXT, .arg = "APP", .help = "only of this app"},   \
    {                                                                                  \
        .name = "since", .type = OPT_TEXT, .arg = "TIME",                              \
        .help = "only since then: 2026-11-21T10:43:00Z, or 90s, 30m, 24h, 7d ago"      \
    }

static const struct opt dead_list_opts[] = {
    DEAD_FILTER_OPTS,
    {.name = "state",
     .type = OPT_TEXT,
     .arg = "STATE",
     .help = "open (the default), claimed, requeued, edited, accepted, discarded, or all"},
    {.name = "limit",
     .type = OPT_INT,
     .arg = "N",
     .min = 1,
     .max = 1000000,
     .help = "the latest N (default: 50)"},
    JSON_OPT,
    END_OPT,
};
static const struct opt dead_show_opts[] = {
    {.name = "payload", .type = OPT_FLAG, .help = "only the record's bytes, as they were"},
    JSON_OPT,
    END_OPT,
};
/* What every act of the review desk takes (dead_walk.h). */
#define DEAD_ACT_OPTS                                                                           \
    DEAD_FILTER_OPTS,                                                                           \
        {.name = "limit",                                                                       \
         .type = OPT_INT,                                                                       \
         .arg = "N",                                                                            \
         .min = 1,                                                                              \
         .max = INT32_MAX,                                                                      \
         .help = "at most N, oldest first"},                                                    \
        {.name = "dry-run", .type = OPT_FLAG, .help = "say what would be done, do nothing"},    \
        {.name = "yes", .type = OPT_FLAG, .help = "really do it to all that the filter finds"}, \
        REASON_OPT, ACTOR_OPT, JSON_OPT
#define DEADLINE_OPT                                                             \
    {                                                                            \
        .name = "deadline", .type = OPT_TEXT, .arg = "TIME|none",                \
        .help = "a new deadline: +24h, a time, or none (default: the job's own)" \
    }

static const struct opt requeue_opts[] = {DEAD_ACT_OPTS, DEADLINE_OPT, END_OPT};
static const struct opt discard_opts[] = {DEAD_ACT_OPTS, END_OPT};
static const struct opt accept_opts[] = {
    {.name = "output",
     .type = OPT_TEXT,
     .arg = "FILE",
     .help = "the answer, where it is not the model's own (one ID; - is standard input)"},
    DEAD_ACT_OPTS,
    END_OPT,
};
static const struct opt edit_opts[] = {
    {.name = "set",
     .type = OPT_LIST,
     .arg = "KEY=VALUE",
     .help = "set a member of the body, JSON or text; may stand many times"},
    {.name = "body",
     .type = OPT_TEXT,
     .arg = "FILE",
     .help = "the whole new body (one ID; - is standard input)"},
    DEAD_ACT_OPTS,
    DEADLINE_OPT,
    END_OPT,
};
static const struct opt cost_opts[] = {
    {.name = "by",
     .type = OPT_LIST,
     .arg = "A,B,...",
     .help = "app (the default), task, team, model-version, endpoint, batch, day"},
    {.name = "since",
     .type = OPT_TEXT,
     .arg = "TIME",
     .help = "calls since then: a time, or 24h, 7d ago (default: 30d, a batch: all)"},
    {.name = "until", .type = OPT_TEXT, .arg = "TIME", .help = "calls before then (default: now)"},
    {.name = "batch", .type = OPT_TEXT, .arg = "BATCH", .help = "only of this batch"},
    {.name = "csv", .type = OPT_FLAG, .help = "print CSV"},
    JSON_OPT,
    END_OPT,
};
static const struct opt worker_list_opts[] = {
    {.name = "all", .type = OPT_FLAG, .help = "also those that stopped or were fenced"},
    {.name = "limit",
     .type = OPT_INT,
     .arg = "N",
     .min = 1,
     .max = 1000000,
     .help = "the latest N (default: 1000)"},
    JSON_OPT,
    END_OPT,
};
static const struct opt drain_opts[] = {
    {.name = "wait", .type = OPT_FLAG, .help = "until they are gone; exits 1 when one stays"},
    {.name = "timeout",
     .type = OPT_INT,
     .arg = "SECONDS",
     .min = 1,
     .max = 86400,
     .help = "with --wait: for so long at most"},
    REASON_OPT,
    ACTOR_OPT,
    JSON_OPT,
    END_OPT,
};
static const struct opt pause_opts[] = {REASON_OPT, ACTOR_OPT, JSON_OPT, END_OPT};
static const struct opt limit_opts[] = {
    {.name = "dry-run", .type = OPT_FLAG, .help = "say what would be done, do nothing"},
    REASON_OPT,
    ACTOR_OPT,
    JSON_OPT,
    END_OPT,
};
static const struct opt doctor_opts[] = {
    {.name = "catalogue",
     .type = OPT_TEXT,
     .arg = "FILE",
     .help = "the workers' catalogue file; its endpoints, and whether it is applied"},
    {.name = "signature-keys",
     .type = OPT_TEXT,
     .arg = "REF",
     .help = "the workers' signature.keys (env:NAME or file:PATH), held against apps that submit"},
    {.name = "call", .type = OPT_FLAG, .help = "one GET /v1/models to each endpoint, with its key"},
    {.name = "patience",
     .type = OPT_INT,
     .arg = "SECONDS",
     .min = 0,
     .max = 86400,
     .help = "what waits or stays open for so long is a finding (default: 600)"},
    {.name = "strict", .type = OPT_FLAG, .help = "exit 1 also when there are only warnings"},
    {.name = "list", .type = OPT_FLAG, .help = "only list the checks and their remedies"},
    {.name = "sql-dir",
     .type = OPT_TEXT,
     .arg = "DIR",
     .help = "where the migrations are (also INFERQ_SQL_DIR)"},
    JSON_OPT,
    END_OPT,
};
static const struct opt upkeep_opts[] = {
    {.name = "only",
     .type = OPT_LIST,
     .arg = "ACT",
     .help = "partitions, drop, calls, progress, workers or records; may stand many times"},
    {.name = "retention",
     .type = OPT_TEXT,
     .arg = "DURATION",
     .help = "drop what is older: 180d (default: setting retention_days)"},
    {.name = "kafka-keep",
     .type = OPT_TEXT,
     .arg = "DURATION",
     .help = "keep settled records so long (default: setting kafka_keep_days)"},
    {.name = "lost-after",
     .type = OPT_TEXT,
     .arg = "DURATION",
     .help = "a call open for longer, whose worker is gone, is lost (default: 1h)"},
    {.name = "drop-unfinished",
     .type = OPT_FLAG,
     .help = "drop also what holds jobs that have not ended, or letters under review"},
    {.name = "dry-run", .type = OPT_FLAG, .help = "say what would be done, do nothing"},
    ACTOR_OPT,
    JSON_OPT,
    END_OPT,
};
static const struct opt skip_opts[] = {
    {.name = "topic", .type = OPT_TEXT, .arg = "TOPIC", .help = "of one record: its topic"},
    {.name = "partition",
     .type = OPT_INT,
     .arg = "N",
     .min = 0,
     .max = INT32_MAX,
     .help = "of one record: its partition"},
    {.name = "offset",
     .type = OPT_INT,
     .arg = "N",
     .min = 0,
     .max = INT64_MAX,
     .help = "of one record: its offset"},
    {.name = "dry-run", .type = OPT_FLAG, .help = "say what would be done, do nothing"},
    REASON_OPT,
    ACTOR_OPT,
    JSON_OPT,
    END_OPT,
};
static const struct opt rewind_opts[] = {
    {.name = "to",
     .type = OPT_TEXT,
     .arg = "TIME",
     .help = "2026-11-21T10:43:00Z, or 90m, 24h, 7d ago; or start: all that Kafka has kept"},
    {.name = "lane", .type = OPT_TEXT, .arg = "LANE", .help = "only this one (default: all)"},
    {.name = "dry-run", .type = OPT_FLAG, .help = "say what would be done, do nothing"},
    REASON_OPT,
    ACTOR_OPT,
    JSON_OPT,
    END_OPT,
};
static const struct opt explain_opts[] = {
    {.name = "generation",
     .type = OPT_INT,
     .arg = "N",
     .min = 0,
     .max = UINT32_MAX,
     .help = "with BATCH CUSTOM_ID: which one (default: the latest)"},
    JSON_OPT,
    END_OPT,
};

#define ENDPOINT_HELP "NAME is an endpoint's, all its versions, or NAME@VERSION."
#define LIMIT_HELP                                                                           \
    "LIMIT is endpoint:NAME, model:NAME (each with @VERSION where there are several) or "    \
    "app:NAME.\n"                                                                            \
    "DIMENSION is requests_per_minute, input_tokens_per_minute, output_tokens_per_minute,\n" \
    "tokens_per_minute, tokens_per_day or in_flight."
#define BATCH_HELP "BATCH is a batch id or APP/NAME."

const struct cmd cmd_table[] = {
    {.name = "migrate",
     .args = "",
     .opts = migrate_opts,
     .run = migrate,
     .summary = "bring the database to this program's schema",
     .help = "Applies the numbered SQL files that the database lacks, each in a transaction of its "
             "own,\nand makes the partitions. Safe to run at any time, also several at once."},
    {.name = "topics",
     .args = "",
     .opts = topics_opts,
     .run = topics,
     .summary = "make the Kafka topics that are missing",
     .help =
         "Of all lanes, and that of the dead letters. Existing topics keep their settings and,\n"
         "unless --partitions is given, may have any number of partitions."},
    {.name = "lane list",
     .args = "",
     .opts = json_opts,
     .run = lane_list,
     .summary = "lanes: whose jobs go there, how many wait in Postgres, their topics",
     .help =
         "A batch goes to the lane that its submit names (--lane), else to that of its app and\n"
         "task, its app, or its task, else to that of its priority."},
    {.name = "lane add",
     .args = "NAME",
     .args_min = 1,
     .args_max = 1,
     .opts = lane_add_opts,
     .run = lane_add,
     .summary = "a lane with a topic of its own, so that its jobs hold back nobody else's",
     .help = "NAME has lower-case letters, digits and '-'. Its topic is made. Without --app and "
             "--task\nonly batches that name it go there. Workers serve it when they have started "
             "anew; its\nweight and bounds are their settings lane.NAME.*."},
    {.name = "lane assign",
     .args = "LANE",
     .args_min = 1,
     .args_max = 1,
     .opts = lane_assign_opts,
     .run = lane_assign,
     .summary = "say whose batches go to a lane; without --app and --task: only who names it",
     .help = "For batches that are submitted from now on."},
    {.name = "lane remove",
     .args = "LANE",
     .args_min = 1,
     .args_max = 1,
     .opts = lane_remove_opts,
     .run = lane_remove,
     .summary = "end a lane in which no job waits any more",
     .help = "Refused while records of its topic are not done, jobs of it are parked, or batches "
             "that\ngo there have not ended. The topic is left."},
    {.name = "submit",
     .args = "...",
     .args_max = -1,
     .opts = no_opts,
     .run = submit,
     .raw = true,
     .summary = "put jobs into the queue (runs inferq-submit; see there)"},
    {.name = "batch list",
     .args = "",
     .opts = batch_list_opts,
     .run = batch_list,
     .summary = "the latest batches and how far they are"},
    {.name = "batch show",
     .args = "BATCH",
     .args_min = 1,
     .args_max = 1,
     .opts = json_opts,
     .run = batch_show,
     .summary = "one batch: conservation, outcomes, calls, cost",
     .help = BATCH_HELP},
    {.name = "batch watch",
     .args = "BATCH",
     .args_min = 1,
     .args_max = 1,
     .opts = watch_opts,
     .run = batch_watch,
     .summary = "follow a batch until all its jobs have ended",
     .help = BATCH_HELP " Exits 0 when every job succeeded, 1 when one did not."},
    {.name = "batch cancel",
     .args = "BATCH",
     .args_min = 1,
     .args_max = 1,
     .opts = cancel_opts,
     .run = batch_cancel,
     .summary = "let none of its waiting jobs be called any more",
     .help = BATCH_HELP " Calls in flight end by themselves; their results are kept."},
    {.name = "batch seal",
     .args = "BATCH",
     .args_min = 1,
     .args_max = 1,
     .opts = seal_opts,
     .run = batch_seal,
     .summary = "say how many jobs a batch has, when no submit did",
     .help = BATCH_HELP
     " A batch that the database does not know yet is given by its id, with\n"
     "--app and --name. --total counts the jobs as they were put in, without requeues."},
    {.name = "results",
     .args = "BATCH",
     .args_min = 0,
     .args_max = 1,
     .opts = results_opts,
     .run = results,
     .summary = "the results of a batch, as JSON lines or CSV",
     .help = BATCH_HELP " Each job stands once, under its latest outcome; a requeued one\n"
                        "returns when its new generation has ended."},
    {.name = "dead list",
     .args = "",
     .opts = dead_list_opts,
     .run = dead_list,
     .summary = "dead letters: jobs that need a person"},
    {.name = "dead show",
     .args = "ID",
     .args_min = 1,
     .args_max = 1,
     .opts = dead_show_opts,
     .run = dead_show,
     .summary = "one dead letter, with its job"},
    {.name = "dead requeue",
     .args = "[ID...]",
     .args_max = -1,
     .opts = requeue_opts,
     .run = dead_requeue,
     .summary = "run dead jobs again, as a new generation",
     .help =
         "Either ids, or a filter with --yes (or --dry-run). Without a filter's --yes nothing is\n"
         "done. Exits 1 when some were refused, 2 when all were."},
    {.name = "dead edit",
     .args = "[ID...]",
     .args_max = -1,
     .opts = edit_opts,
     .run = dead_edit,
     .summary = "run dead jobs again with another body",
     .help =
         "One ID opens its body in $VISUAL or $EDITOR, or takes --body FILE. --set works on ids "
         "and,\nwith --yes, on a filter: --set model=large, --set max_tokens=4096. The job runs "
         "as a new\ngeneration; the letter is kept as it was, and the new body beside it."},
    {.name = "dead accept",
     .args = "[ID...]",
     .args_max = -1,
     .opts = accept_opts,
     .run = dead_accept,
     .summary = "take what the model said, or --output, as the answer of a dead job",
     .help = "The job stays dead, and its result as it is. Reports see outcome 'accepted' and the\n"
             "answer. For ids, or with --yes for a filter. Exits 1 when some were refused, 2 when "
             "all were."},
    {.name = "dead discard",
     .args = "[ID...]",
     .args_max = -1,
     .opts = discard_opts,
     .run = dead_discard,
     .summary = "end the review of letters that need nothing more",
     .help = "Their jobs stay dead. For ids, or with --yes for a filter. Exits 1 when some were\n"
             "refused, 2 when all were."},
    {.name = "cost",
     .args = "",
     .opts = cost_opts,
     .run = cost,
     .summary = "what calls cost, by app, task, team, model version, day",
     .help =
         "Exact, in USD (JSON and CSV: nano-USD too). Calls of unknown cost are counted apart "
         "and in\nno sum; ESTIMATED is the part of USD that is an estimate; WASTED is what gave "
         "no result.\nOPEN calls have not ended. Several dimensions: --by team,model-version."},
    {.name = "explain",
     .args = "JOB | BATCH CUSTOM_ID",
     .args_min = 1,
     .args_max = 2,
     .opts = explain_opts,
     .run = explain,
     .summary = "a job's whole story: calls, waits, versions, prices, why it ended so",
     .help = "JOB is a job id; BATCH is a batch id or APP/NAME."},
    {.name = "worker list",
     .args = "",
     .opts = worker_list_opts,
     .run = worker_list,
     .summary = "workers: lease, build, calls in flight, jobs a minute",
     .help =
         "STATE: alive; draining; silent (its lease is over, and nobody has fenced it yet); with\n"
         "--all also fenced (its jobs are others' now) and stopped. A process has a new ID for\n"
         "each start, and when it was fenced."},
    {.name = "worker drain",
     .args = "WORKER...",
     .args_min = 1,
     .args_max = -1,
     .opts = drain_opts,
     .run = worker_drain,
     .summary = "let workers take no more jobs and leave",
     .help = "WORKER is an ID of `inferq worker list`. As SIGTERM does: within a few seconds it "
             "takes\nnothing new, its calls end (drain.timeout bounds them), it exits 0. All are "
             "told, or none."},
    {.name = "endpoint show",
     .args = "[NAME]",
     .args_max = 1,
     .opts = json_opts,
     .run = endpoint_show,
     .summary = "endpoints: paused or not, calls, what waits for them",
     .help = "WAITING are parked jobs, FOR is why most of them wait. CALLS/MIN and FAILED are of "
             "the\nlast minute. STATE is paused: by an operator; closed: by what calls taught, for "
             "a while;\nprobed: that is over, and one call of one worker is to show that it works; "
             "or open. Each limit of the fleet that holds back its jobs has a line below."},
    {.name = "endpoint pause",
     .args = "NAME",
     .args_min = 1,
     .args_max = 1,
     .opts = pause_opts,
     .run = endpoint_pause,
     .summary = "no calls there, from any worker, until it is resumed",
     .help = ENDPOINT_HELP " Calls in flight end by\n"
                           "themselves; its jobs wait and spend no attempt."},
    {.name = "endpoint resume",
     .args = "NAME",
     .args_min = 1,
     .args_max = 1,
     .opts = pause_opts,
     .run = endpoint_resume,
     .summary = "take a pause back",
     .help = ENDPOINT_HELP " What calls taught\n"
                           "of it is forgotten: a pause ends, and calls begin again one by one."},
    {.name = "limit show",
     .args = "[SCOPE[:NAME]]",
     .args_max = 1,
     .opts = json_opts,
     .run = limit_show,
     .summary = "the fleet's limits: amounts, shares held and wanted, what was used",
     .help =
         "SCOPE is endpoint, model or app. USABLE is AMOUNT less a headroom, and less what "
         "throttling has\ntaught. WORKERS share HELD of it, and could use WANTED for the jobs in "
         "their memory (tokens as\nestimated when they took them up). USED is of the last "
         "minute; of in_flight now; of\ntokens_per_day since midnight UTC, and what workers "
         "have taken of that beside is HELD. Tokens are\nUSED once their call has ended. WAITING "
         "are the jobs parked for the limit, which come on top of\nWANTED. What holds jobs back "
         "stands in `inferq top`, too."},
    {.name = "limit set",
     .args = "LIMIT DIMENSION N",
     .args_min = 3,
     .args_max = 3,
     .opts = limit_opts,
     .run = limit_set,
     .summary = "set a limit of the whole fleet, in place of the catalogue's",
     .help = LIMIT_HELP " N is as 500, 200_000, 200k or 2M.\nWorkers keep it within two seconds; "
                        "calls in flight end by themselves."},
    {.name = "limit clear",
     .args = "LIMIT [DIMENSION]",
     .args_min = 1,
     .args_max = 2,
     .opts = limit_opts,
     .run = limit_clear,
     .summary = "take back what was set: the catalogue's amount holds again",
     .help = LIMIT_HELP " Without one: all of\nthat LIMIT's."},
    {.name = "doctor",
     .args = "",
     .opts = doctor_opts,
     .run = doctor,
     .summary = "check all that a fleet stands on, and say how to mend what is wrong",
     .help =
         "Kafka, Postgres, catalogue, endpoints, workers, clocks: a line a check, ok, skipped "
         "(with\nthe reason), note (no fault, but jobs wait for what somebody has set), warning "
         "or error, and\nits remedy. It changes nothing. Exits 0 without errors, 1 with, 3 when "
         "neither Kafka nor\nPostgres answers."},
    {.name = "upkeep",
     .args = "",
     .opts = upkeep_opts,
     .run = upkeep,
     .summary = "the daily housekeeping: partitions, retention, Kafka's records, calls left open",
     .help =
         "Safe to run at any time, beside workers and another upkeep; with the login of `inferq "
         "migrate`.\n"
         "  partitions  makes those of the weeks to come\n"
         "  drop        drops those older than the retention; one that holds jobs that have not "
         "ended,\n"
         "              or dead letters under review, stays, and so do those after it\n"
         "  calls       closes calls that workers left open for good, as lost\n"
         "  progress    rolls up the progress rows of batches that rest\n"
         "  workers     deletes those that are older than any call\n"
         "  records     deletes from Kafka what is settled and old enough\n"
         "The settings are rows of inferq.setting: retention_days (0: all is kept), "
         "kafka_keep_days (7;\nat least the interval between two backups of Postgres), "
         "partition_days, partitions_ahead.\nOne act that fails leaves the others; the exit code "
         "is that of the first that failed."},
    {.name = "skip",
     .args = "[JOB...]",
     .args_max = -1,
     .opts = skip_opts,
     .run = skip_jobs,
     .summary = "leave jobs out: they end dead before their next call, wherever they wait",
     .help = "JOB is a job id. Such as one that crashes its workers: they read what is skipped "
             "before they\ncall for anything. It ends dead, of class skipped; its letter holds the "
             "request, for\n`inferq dead requeue`. A call in flight ends by itself, and its answer "
             "counts. Exits 1 when some\nhad ended already, 2 when all had.\n"
             "A record that crashes whoever decodes it is named by its place instead: --topic, "
             "--partition\nand --offset. Workers pass over it undecoded, and its letter holds its "
             "bytes: a job that is in it\ndoes not end. Submit it again once the fault is "
             "mended."},
    {.name = "rewind",
     .args = "",
     .opts = rewind_opts,
     .run = rewind_group,
     .summary = "let workers read Kafka again from a time on, after Postgres was restored",
     .help =
         "Sets the offsets of the workers' group back to the first records of TIME or later, never "
         "forward.\nStop all workers first: Kafka refuses while the group has members. What is "
         "read again and has\nended is settled without a call; what the restored database does "
         "not know runs.\n"
         "A record's time is that of its production, and it may have waited: take a TIME before "
         "the oldest\njob that had not ended when the backup was made. Earlier is always safe, and "
         "start is safest."},
    {.name = "top",
     .args = "",
     .opts = top_opts,
     .run = top,
     .summary = "live view: lanes, rates, errors, cost, endpoints, workers, batches",
     .help =
         "LIMIT names what holds jobs back: a day's tokens are used up, or more is wanted of "
         "another\n"
         "limit than it gives. STATE of an endpoint: who paused it, or for what calls closed it.\n"
         "Rates are over the last 10 s. LAG is the records of a lane's topic that are not done.\n"
         "PARKED jobs wait in Postgres, those DUE could run now; each is counted up to 10000 per\n"
         "endpoint. BATCH lists what has not ended of the 200 newest; LEFT is how long it takes\n"
         "at this rate. Keys: q ends, p holds the view still and lets it go on, space looks at\n"
         "once."},
    {.name = "help",
     .args = "[COMMAND | config]",
     .args_max = 2,
     .opts = no_opts,
     .run = help,
     .summary = "this list, one command's help, or the configuration keys"},
    {0},
};
