/*
 * doctor.h - `inferq doctor`: facts about all that a fleet stands on, and what is found in them.
 *
 * A check is a row of a table: what it looks at, the remedy, perhaps the SQL that brings its facts,
 * and one pure function that judges them. Asking is done at the edge (doctor.c, doctor_ask.c,
 * probe.c, common/kafka_look.c); a fact that could not be had makes the check `skipped`, with the
 * reason, never `ok`.
 *
 * An error is what loses something or stops work, now or at the next fault; a warning is what will,
 * or what makes work dearer or slower. A note is what people have said that it should be, and may
 * have forgotten when nothing moves; it never changes the exit status.
 */
#ifndef INFERQ_ADMIN_DOCTOR_H
#define INFERQ_ADMIN_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/probe.h"
#include "common/err.h"
#include "common/kafka_look.h"

enum doctor_level { DOCTOR_OK, DOCTOR_SKIPPED, DOCTOR_NOTE, DOCTOR_WARNING, DOCTOR_ERROR };
const char *doctor_level_name(enum doctor_level level); /* "ok", "skipped", ... */

enum {
    DOCTOR_TEXT_BYTES = 512,
    DOCTOR_CELL_BYTES = 256,
    DOCTOR_WHY_BYTES = 300,
    DOCTOR_FINDINGS_MAX = 1000,
};

/* ---- facts -------------------------------------------------------------------------------- */

/* What a check's SQL returns: its four columns text, text, bigint, bigint. NULL is "" and 0. */
struct doctor_row {
    char subject[DOCTOR_CELL_BYTES], detail[DOCTOR_CELL_BYTES];
    int64_t a, b;
};

struct doctor_endpoint {
    char name[DOCTOR_CELL_BYTES]; /* "eu@1" */
    char *base_url, *ca_file, *credential;
    char credential_why[DOCTOR_WHY_BYTES]; /* "": it resolves, or there is none */
    struct probe_result probe;
};

struct doctor_facts {
    const char *prefix, *group;
    int64_t now_ms;      /* this machine's clock */
    int64_t patience_ms; /* how long a thing may wait before it is a finding */
    /* Kafka; NULL: could not be looked at */
    const struct kafka_look *kafka;
    /* Postgres, for checks that hold both against each other */
    bool fleet_known;
    int64_t workers_alive;
    bool calls_exist;         /* the fleet has worked before */
    int64_t open_batches;     /* not ended */
    int64_t longest_wait_ms;  /* of these, from creation to deadline; with deadline */
    int64_t without_deadline; /* of these */
    /* of the check's own SQL */
    const struct doctor_row *rows;
    int row_count;
    /* endpoints in use */
    const struct doctor_endpoint *endpoints;
    int endpoint_count;
    bool called; /* --call */
};

/* ---- findings ----------------------------------------------------------------------------- */

struct doctor_finding {
    const char *check; /* its id */
    enum doctor_level level;
    char found[DOCTOR_TEXT_BYTES], remedy[DOCTOR_TEXT_BYTES]; /* the second is "" when ok */
};

struct doctor_check;
struct doctor_says {
    struct doctor_finding *all; /* owned */
    int count, cap;
    const struct doctor_check *check; /* at work */
    bool failed;                      /* no memory */
};
void doctor_says_done(struct doctor_says *s);

/* A finding of the check at work; its remedy is the check's unless doctor_mend gives another. */
void doctor_say(struct doctor_says *s, enum doctor_level level, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void doctor_mend(struct doctor_says *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
int doctor_count(const struct doctor_says *s, enum doctor_level level);

/* ---- checks ------------------------------------------------------------------------------- */

struct doctor_check {
    const char *id;   /* stable: "kafka.retention" */
    const char *asks; /* what is wrong when it finds something; for the README's table */
    const char *mend; /* the remedy, where a finding has no nearer one */
    const char *sql;  /* NULL: its facts come otherwise */
    void (*judge)(const struct doctor_facts *f, struct doctor_says *s); /* pure */
};

/* By file; each ends with a NULL id. */
extern const struct doctor_check doctor_kafka_checks[];
extern const struct doctor_check doctor_postgres_checks[];
extern const struct doctor_check doctor_settings_checks[]; /* of the server */
extern const struct doctor_check doctor_catalogue_checks[];
extern const struct doctor_check doctor_endpoint_checks[];
extern const struct doctor_check doctor_fleet_checks[];
extern const struct doctor_check doctor_limit_checks[];

/* Runs the judgement, and says ok where it said nothing. */
void doctor_judge(const struct doctor_check *check, const struct doctor_facts *f,
                  struct doctor_says *s);

/* Records in the lanes that the group has not passed; 0 where that is not known. */
int64_t doctor_lag(const struct kafka_look *look);

/* "3 d 4 h" of milliseconds; `out` at least DOCTOR_AGE_BYTES. */
enum { DOCTOR_AGE_BYTES = 48 };
const char *doctor_age(int64_t ms, char out[DOCTOR_AGE_BYTES]);

/* Every table, in the order of the report; NULL past the last. */
const struct doctor_check *doctor_checks(int i);

#endif
