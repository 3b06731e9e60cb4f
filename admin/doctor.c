/*
 * doctor.c - `inferq doctor`: looks at everything that a fleet stands on, and says of each finding
 * how to mend it.
 *
 * Happy path: Postgres is asked, then Kafka, then endpoints; each check judges what was heard; the
 * report has a line a check, and the exit status says whether anything is wrong. Nothing is
 * changed anywhere.
 *
 * Failure modes are its subject: it goes on after each of them, and says of every check that it
 * could not look at because of an earlier one. Each question is bounded in time.
 *
 * Exit: 0 no error; 1 errors (with --strict also warnings); 3 neither Kafka nor Postgres answers.
 */
#include "admin/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/doctor_ask.h"
#include "admin/jsonw.h"
#include "admin/lanes.h"
#include "admin/out.h"
#include "common/clock.h"
#include "common/codes.h"

enum {
    TOPICS_MAX = LANE_SET_MAX + 1,
    TOPIC_NAME_BYTES = 256,
    PING_MS = 10000,
    LOOK_MS = 20000,
    PATIENCE_S = 600,
    REPORT_BYTES_MAX = 4 << 20,
};

struct exam {
    struct ctx *ctx;
    struct doctor_facts facts;
    struct doctor_says says;
    struct doctor_file file;
    struct kafka_look *kafka;
    struct doctor_endpoint *endpoints;
    bool postgres; /* answers */
    bool schema;   /* and has inferq's */
    bool usage;    /* and this login may look into it */
    struct err kafka_why, postgres_why, endpoints_why;
    bool endpoints_known;
};

/* ---- asking ------------------------------------------------------------------------------- */

static void nothing_is_produced(void *arg, void *opaque, enum rc rc, const char *why)
{
    (void)arg;
    (void)opaque;
    (void)rc;
    (void)why;
}

/* The lanes in their order, then the dead letters: what doctor_kafka.c expects. */
static enum rc look_at_topics(struct exam *x, struct kafka_producer *producer, struct err *err)
{
    char names[TOPICS_MAX][TOPIC_NAME_BYTES];
    const char *list[TOPICS_MAX];
    struct lane_set lanes;
    lane_set_default(&lanes);
    if (x->postgres)
        (void)lanes_read_or_default(x->ctx, &lanes);
    for (int i = 0; i <= lanes.count; i++) {
        if (i < lanes.count)
            (void)snprintf(names[i], sizeof names[i], "%s.jobs.%s", x->facts.prefix,
                           lanes.lanes[i].name);
        else
            (void)snprintf(names[i], sizeof names[i], "%s.dead", x->facts.prefix);
        list[i] = names[i];
    }
    return kafka_look(producer, list, lanes.count + 1, x->facts.group, LOOK_MS, &x->kafka, err);
}

static void ask_kafka(struct exam *x)
{
    struct kafka_producer *producer = NULL;
    struct err *err = &x->kafka_why;
    enum rc rc = kafka_producer_new(x->ctx->config, "inferq-doctor", nothing_is_produced, NULL,
                                    &producer, err);
    if (rc == RC_OK)
        rc = kafka_producer_ping(producer, PING_MS, err);
    if (rc == RC_OK)
        rc = look_at_topics(x, producer, err);
    ctx_kafka_free(x->ctx, producer);
    x->facts.kafka = rc == RC_OK ? x->kafka : NULL;
}

/* The catalogue tells it to logins without any right on it, too. */
static bool has_schema(struct exam *x)
{
    struct err ignored;
    struct doctor_answers answers = {0};
    bool has = doctor_ask_rows(x->ctx,
                               "SELECT nspname::text, '', has_schema_privilege(oid, 'USAGE')::int"
                               "::bigint, 0::bigint FROM pg_namespace WHERE nspname = 'inferq'",
                               NULL, &answers, &ignored) == RC_OK &&
               answers.count > 0;
    x->usage = has && answers.rows[0].a;
    doctor_answers_done(&answers);
    return has;
}

static void ask_postgres(struct exam *x)
{
    struct err ignored; /* what the fleet's tables lack, their own checks say */
    enum rc rc = ctx_connect(x->ctx, &x->postgres_why);
    if (rc == RC_OK)
        rc = pgc_script(x->ctx->conn, "SET statement_timeout = '10s'; SET lock_timeout = '5s'",
                        &x->postgres_why);
    x->postgres = rc == RC_OK;
    if (!x->postgres)
        return;
    x->schema = has_schema(x);
    if (x->schema)
        (void)!doctor_ask_fleet(x->ctx, &x->facts, &ignored);
}

static void ask_endpoints(struct exam *x)
{
    x->facts.called = opts_set(&x->ctx->opts, "call");
    if (!x->file.cat && !x->postgres) {
        (void)err_set(&x->endpoints_why, RC_RETRY,
                      "Postgres cannot be reached, and no catalogue "
                      "file was read");
        return;
    }
    x->endpoints_known = doctor_ask_endpoints(x->ctx, x->file.cat, x->facts.called, &x->endpoints,
                                              &x->facts.endpoint_count, &x->endpoints_why) == RC_OK;
    x->facts.endpoints = x->endpoints;
}

static void read_file(struct exam *x)
{
    x->file.path = opts_text(&x->ctx->opts, "catalogue", NULL);
    if (x->file.path && catalogue_load(x->file.path, &x->file.cat, &x->file.err) != RC_OK)
        x->file.cat = NULL;
}

/* ---- one check ---------------------------------------------------------------------------- */

/* The facts of checks that are neither all of Kafka's nor one statement. */
static enum rc ask_special(struct exam *x, const char *id, struct doctor_answers *ret,
                           struct err *err)
{
    if (strcmp(id, "pg.migrations") == 0)
        return doctor_ask_migrations(x->ctx, ret, err);
    if (strcmp(id, "clock.postgres") == 0)
        return doctor_ask_clock(x->ctx, ret, err);
    if (strcmp(id, "signing.key") == 0)
        return doctor_ask_signing(x->ctx, ret, err);
    if (strcmp(id, "signing.ring") == 0)
        return doctor_ask_ring(x->ctx, ret, err);
    if (strcmp(id, "catalogue.file") == 0)
        return doctor_ask_file(&x->file, ret, err);
    if (strcmp(id, "limit.holds") == 0)
        return doctor_ask_held(x->ctx, ret, err);
    if (strcmp(id, "catalogue.applied") == 0 && x->file.cat)
        return doctor_ask_applied(x->ctx, x->file.cat, ret, err);
    if (strcmp(id, "catalogue.applied") == 0)
        return err_set(err, RC_FULL, "no catalogue file was read");
    return RC_OK;
}

static bool starts(const char *id, const char *area)
{
    return strncmp(id, area, strlen(area)) == 0;
}

static bool needs_postgres(const struct doctor_check *check)
{
    return check->sql || strcmp(check->id, "pg.migrations") == 0 ||
           strcmp(check->id, "clock.postgres") == 0 || strcmp(check->id, "signing.ring") == 0 ||
           strcmp(check->id, "catalogue.applied") == 0 || strcmp(check->id, "limit.holds") == 0;
}

/* What could be asked, but means nothing without the schema. */
static bool needs_schema(const struct doctor_check *check)
{
    return strcmp(check->id, "pg.login") == 0 || strcmp(check->id, "pg.roles") == 0 ||
           strcmp(check->id, "pg.partition_count") == 0;
}

/* Why a question got no answer. */
static void say_unasked(struct exam *x, enum rc rc, const struct err *err)
{
    const char *state = x->postgres ? pgc_sqlstate(x->ctx->conn) : "";
    if (*state && x->schema && !x->usage)
        doctor_say(&x->says, DOCTOR_SKIPPED,
                   "not allowed to ask: this login may not use schema "
                   "inferq; grant it inferq_operator");
    else if (strcmp(state, "42501") == 0)
        doctor_say(&x->says, DOCTOR_SKIPPED,
                   "not allowed to ask: %s; grant this login "
                   "inferq_operator",
                   err->text);
    else if (strcmp(state, "42P01") == 0 || strcmp(state, "42703") == 0 ||
             strcmp(state, "3F000") == 0 || strcmp(state, "42883") == 0)
        doctor_say(&x->says, DOCTOR_SKIPPED,
                   "not looked at: the schema lacks it: see "
                   "pg.migrations");
    else
        doctor_say(&x->says, DOCTOR_SKIPPED, "not looked at: %s%s",
                   rc == RC_RETRY && !*state ? "Postgres went away: " : "", err->text);
}

/* Says why a check cannot be looked at at all. */
static bool out_of_reach(struct exam *x, const struct doctor_check *check)
{
    if (starts(check->id, "kafka.") && !x->facts.kafka) {
        if (strcmp(check->id, "kafka.reachable") == 0)
            doctor_say(&x->says, DOCTOR_ERROR, "%s", x->kafka_why.text);
        else
            doctor_say(&x->says, DOCTOR_SKIPPED, "not looked at: Kafka cannot be reached");
    } else if (needs_postgres(check) && !x->postgres) {
        if (strcmp(check->id, "pg.reachable") == 0)
            doctor_say(&x->says, DOCTOR_ERROR, "%s", x->postgres_why.text);
        else
            doctor_say(&x->says, DOCTOR_SKIPPED, "not looked at: Postgres cannot be reached");
    } else if (needs_schema(check) && !x->schema) {
        doctor_say(&x->says, DOCTOR_SKIPPED,
                   "not looked at: the schema is missing: see "
                   "pg.migrations");
    } else if (starts(check->id, "endpoint.") && !check->sql && !x->endpoints_known) {
        doctor_say(&x->says, DOCTOR_SKIPPED, "not looked at: %s", x->endpoints_why.text);
    } else {
        return false;
    }
    return true;
}

static void examine(struct exam *x, const struct doctor_check *check)
{
    struct doctor_answers answers = {0};
    struct err err = {0};
    x->says.check = check;
    if (out_of_reach(x, check))
        return;
    enum rc rc = check->sql ? doctor_ask_rows(x->ctx, check->sql, NULL, &answers, &err)
                            : ask_special(x, check->id, &answers, &err);
    x->facts.rows = answers.rows;
    x->facts.row_count = answers.count;
    if (rc == RC_OK)
        doctor_judge(check, &x->facts, &x->says);
    else
        say_unasked(x, rc, &err);
    doctor_answers_done(&answers);
}

static void examine_all(struct exam *x)
{
    read_file(x);
    ask_postgres(x); /* first: it knows the lanes */
    ask_kafka(x);
    ask_endpoints(x);
    for (int i = 0; doctor_checks(i); i++)
        for (const struct doctor_check *check = doctor_checks(i); check->id; check++)
            examine(x, check);
}

/* ---- report ------------------------------------------------------------------------------- */

static void print_text(const struct doctor_says *s, struct buf *out)
{
    for (int i = 0; i < s->count; i++) {
        const struct doctor_finding *f = &s->all[i];
        buf_addf(out, "%-8s %-23s ", doctor_level_name(f->level), f->check);
        (void)table_clean(span_of(f->found), 0, out);
        if (*f->remedy) {
            buf_add_text(out, "\n                                 remedy: ");
            (void)table_clean(span_of(f->remedy), 0, out);
        }
        buf_add_byte(out, '\n');
    }
    int errors = doctor_count(s, DOCTOR_ERROR), warnings = doctor_count(s, DOCTOR_WARNING);
    int notes = doctor_count(s, DOCTOR_NOTE);
    buf_addf(out, "%d error%s, %d warning%s, ", errors, errors == 1 ? "" : "s", warnings,
             warnings == 1 ? "" : "s");
    if (notes)
        buf_addf(out, "%d note%s, ", notes, notes == 1 ? "" : "s");
    buf_addf(out, "%d not looked at\n", doctor_count(s, DOCTOR_SKIPPED));
}

static void print_json(const struct doctor_says *s, struct buf *out)
{
    struct jsonw w = {.out = out};
    jsonw_open(&w, '{');
    jsonw_key(&w, "errors");
    jsonw_int(&w, doctor_count(s, DOCTOR_ERROR));
    jsonw_key(&w, "warnings");
    jsonw_int(&w, doctor_count(s, DOCTOR_WARNING));
    jsonw_key(&w, "notes");
    jsonw_int(&w, doctor_count(s, DOCTOR_NOTE));
    jsonw_key(&w, "skipped");
    jsonw_int(&w, doctor_count(s, DOCTOR_SKIPPED));
    jsonw_key(&w, "findings");
    jsonw_open(&w, '[');
    for (int i = 0; i < s->count; i++) {
        const struct doctor_finding *f = &s->all[i];
        jsonw_open(&w, '{');
        jsonw_key(&w, "check");
        jsonw_text(&w, span_of(f->check));
        jsonw_key(&w, "level");
        jsonw_text(&w, span_of(doctor_level_name(f->level)));
        jsonw_key(&w, "found");
        jsonw_text(&w, span_of(f->found));
        jsonw_key(&w, "remedy");
        jsonw_text(&w, *f->remedy ? span_of(f->remedy) : (struct span){0});
        jsonw_close(&w, '}');
    }
    jsonw_close(&w, ']');
    jsonw_close(&w, '}');
    buf_add_byte(out, '\n');
}

static enum rc print(struct ctx *ctx, const struct doctor_says *s, struct err *err)
{
    struct buf out;
    buf_init(&out, REPORT_BYTES_MAX);
    if (opts_set(&ctx->opts, "json"))
        print_json(s, &out);
    else
        print_text(s, &out);
    enum rc rc = s->failed || out.failed ? err_set(err, RC_NOMEM, "no memory for the report")
                                         : out_write(buf_span(&out), err);
    buf_done(&out);
    return rc;
}

/* The checks themselves: what each looks at, and the usual remedy. */
static enum rc print_list(struct ctx *ctx, struct err *err)
{
    static const struct table_col cols[] = {
        {"check", "CHECK", 0}, {"finds", "FINDS", 0}, {"remedy", "REMEDY", 0}, {0}};
    struct table *t = table_new(cols);
    enum rc rc = cmd_have(t, err);
    for (int i = 0; rc == RC_OK && doctor_checks(i); i++)
        for (const struct doctor_check *check = doctor_checks(i); check->id; check++) {
            table_text(t, span_of(check->id));
            table_text(t, span_of(check->asks));
            table_text(t, span_of(check->mend));
        }
    if (rc == RC_OK)
        rc = ctx_print_table(ctx, t, err);
    table_free(t);
    return rc;
}

static int exit_code(const struct exam *x)
{
    if (!x->facts.kafka && !x->postgres)
        return EXIT_UNREACHABLE;
    bool wrong = doctor_count(&x->says, DOCTOR_ERROR) > 0 ||
                 (opts_set(&x->ctx->opts, "strict") && doctor_count(&x->says, DOCTOR_WARNING) > 0);
    return wrong ? EXIT_JOBS_FAILED : EXIT_DONE;
}

enum rc doctor(struct ctx *ctx, struct err *err)
{
    if (opts_set(&ctx->opts, "list"))
        return print_list(ctx, err);
    struct exam x = {.ctx = ctx,
                     .facts = {.prefix = config_text(ctx->config, "prefix"),
                               .group = config_text(ctx->config, "group"),
                               .now_ms = clock_wall_ms(),
                               .patience_ms = opts_int(&ctx->opts, "patience", PATIENCE_S) * 1000}};
    examine_all(&x);
    enum rc rc = print(ctx, &x.says, err);
    ctx->exit_code = exit_code(&x);
    doctor_says_done(&x.says);
    doctor_endpoints_free(x.endpoints, x.facts.endpoint_count);
    kafka_look_free(x.kafka);
    catalogue_free(x.file.cat);
    return rc;
}
