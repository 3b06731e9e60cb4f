/*
 * doctor_postgres.c - what is found about the database: schema, rights, partitions, clocks (pure
 * but for the texts of its questions).
 */
#include <inttypes.h>
#include <string.h>

#include "admin/doctor.h"

enum {
    VERSION_MIN = 150000, /* views with security_invoker */
    CLOCK_WARN_MS = 1000,
    CLOCK_ERROR_MS = 60000, /* ids more than five minutes ahead are refused; leases are seconds */
    PARTITIONS_MAX = 60,
};

static bool is(const char *text, const char *word)
{
    return strcmp(text, word) == 0;
}

static int64_t size(int64_t n)
{
    return n < 0 ? -n : n;
}

/* ---- the server --------------------------------------------------------------------------- */

static void judge_reachable(const struct doctor_facts *f, struct doctor_says *s)
{
    doctor_say(s, DOCTOR_OK, "database %s, as %s", f->rows[0].subject, f->rows[0].detail);
}

static void judge_version(const struct doctor_facts *f, struct doctor_says *s)
{
    bool old = f->rows[0].a < VERSION_MIN;
    doctor_say(s, old ? DOCTOR_ERROR : DOCTOR_OK, "Postgres %s%s", f->rows[0].subject,
               old ? ", and 15 is the oldest that inferq works with" : "");
}

static void judge_writable(const struct doctor_facts *f, struct doctor_says *s)
{
    if (f->rows[0].a)
        doctor_say(s, DOCTOR_ERROR, "this server is a standby: it takes no writes");
    else if (f->rows[0].b) {
        doctor_say(s, DOCTOR_ERROR, "transactions are read-only here");
        doctor_mend(s,
                    "ALTER DATABASE %s SET default_transaction_read_only = off (or ALTER ROLE, "
                    "or postgresql.conf: where it is set)",
                    f->rows[0].subject);
    }
}

static void judge_encoding(const struct doctor_facts *f, struct doctor_says *s)
{
    if (!is(f->rows[0].subject, "UTF8"))
        doctor_say(s, DOCTOR_ERROR,
                   "the database's encoding is %s: texts are stored unchecked or "
                   "refused",
                   f->rows[0].subject);
}

static void judge_clock(const struct doctor_facts *f, struct doctor_says *s)
{
    int64_t ahead = f->rows[0].a, trip = f->rows[0].b;
    char age[DOCTOR_AGE_BYTES];
    /* Half the way back and forth is not known to the one side or the other. */
    enum doctor_level level = size(ahead) > CLOCK_ERROR_MS + trip  ? DOCTOR_ERROR
                              : size(ahead) > CLOCK_WARN_MS + trip ? DOCTOR_WARNING
                                                                   : DOCTOR_OK;
    doctor_say(s, level, "Postgres's clock is %s %s this machine's", doctor_age(size(ahead), age),
               ahead < 0 ? "behind" : "ahead of");
}

static void judge_producers(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    for (int i = 0; i < f->row_count; i++)
        doctor_say(s, f->rows[i].a > CLOCK_ERROR_MS ? DOCTOR_ERROR : DOCTOR_WARNING,
                   "batch %s was made %s ahead of Postgres's clock", f->rows[i].subject,
                   doctor_age(f->rows[i].a, age));
}

/* ---- schema ------------------------------------------------------------------------------- */

static void judge_migrations(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct doctor_row *row = &f->rows[0];
    if (row->b) {
        doctor_say(s, DOCTOR_ERROR, "%s", row->subject);
        doctor_mend(s, "the inferq that belongs to this database, or --sql-dir with its files");
    } else if (row->a) {
        doctor_say(s, DOCTOR_ERROR, "%" PRId64 " not applied, the first of them %s", row->a,
                   row->subject);
    } else {
        doctor_say(s, DOCTOR_OK, "all applied, the last is %s", row->subject);
    }
}

static void judge_login(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct doctor_row *row = &f->rows[0]; /* who; roles; b: 1 superuser; a: 1 owner */
    if (row->b) {
        doctor_say(s, DOCTOR_WARNING,
                   "%s is a superuser or passes over row security: it may do "
                   "more than any program here needs",
                   row->subject);
        doctor_mend(s,
                    "log in as one of deploy/logins.sql; or ALTER ROLE \"%s\" NOSUPERUSER "
                    "NOBYPASSRLS",
                    row->subject);
    } else if (!*row->detail && !row->a) {
        doctor_say(s, DOCTOR_ERROR, "%s has none of inferq's roles", row->subject);
        doctor_mend(s,
                    "GRANT inferq_operator TO \"%s\" (or inferq_worker, inferq_producer, "
                    "inferq_reviewer, inferq_reader)",
                    row->subject);
    } else {
        doctor_say(s, DOCTOR_OK, "%s: %s", row->subject,
                   row->a ? "owner of the schema" : row->detail);
    }
}

static void judge_roles(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* role; "SELECT ON result"; a: wanted */
        if (row->b) {
            doctor_say(s, DOCTOR_ERROR, "role %s is missing", row->subject);
            doctor_mend(s, "psql -c 'CREATE ROLE %s NOLOGIN', then the GRANTs of schemas/sql to it",
                        row->subject);
        } else if (row->a) {
            doctor_say(s, DOCTOR_ERROR, "%s lacks %s", row->subject, row->detail);
            doctor_mend(s, "GRANT %s TO %s", row->detail, row->subject);
        } else {
            doctor_say(s, DOCTOR_WARNING, "%s has %s, and should not", row->subject, row->detail);
            doctor_mend(s, "REVOKE %s FROM %s", row->detail, row->subject);
        }
    }
}

/* ---- partitions --------------------------------------------------------------------------- */

static void partition_row(const struct doctor_row *row, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    if (is(row->subject, "gap")) {
        doctor_say(s, DOCTOR_ERROR, "no partition for ids from %s: their jobs cannot be stored",
                   row->detail);
        doctor_mend(s, "SELECT inferq.attach_partition(...) for result and call (schemas/sql), and "
                       "a row in inferq.partition_span");
    } else if (is(row->subject, "detached")) {
        doctor_say(s, DOCTOR_ERROR, "%s is not attached", row->detail);
        doctor_mend(s,
                    "ALTER TABLE inferq.TABLE ATTACH PARTITION inferq.%s FOR VALUES FROM ... TO "
                    "... (inferq.partition_span has its span)",
                    row->detail);
    } else if (row->a <= 0) {
        doctor_say(s, DOCTOR_ERROR, "no partition for jobs of today: nothing can be stored");
    } else if (row->a < row->b) {
        doctor_say(s, DOCTOR_WARNING, "the last partition ends in %s", doctor_age(row->a, age));
    } else {
        doctor_say(s, DOCTOR_OK, "made for %s ahead", doctor_age(row->a, age));
    }
}

static void judge_partitions(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++)
        partition_row(&f->rows[i], s);
}

static void judge_partition_count(const struct doctor_facts *f, struct doctor_says *s)
{
    bool many = f->rows[0].a > PARTITIONS_MAX;
    doctor_say(s, many ? DOCTOR_WARNING : DOCTOR_OK, "%" PRId64 " partitions%s", f->rows[0].a,
               many ? ": above 60 each statement gets dearer, and locks run out" : "");
}

/* ---- questions ---------------------------------------------------------------------------- */

/* What each role cannot do without, and what none may (schemas/sql/0004_roles.sql). */
static const char roles_sql[] =
    "WITH w (role, tab, privilege, col, wanted) AS (VALUES "
    "('inferq_worker', 'result', 'INSERT', '', 1), ('inferq_worker', 'call', 'INSERT', '', 1), "
    "('inferq_worker', 'call', 'UPDATE', '', 1), ('inferq_worker', 'worker', 'UPDATE', '', 1), "
    "('inferq_worker', 'parked', 'DELETE', '', 1), ('inferq_worker', 'progress', 'INSERT', '', 1), "
    "('inferq_worker', 'dead_letter', 'INSERT', '', 1), "
    "('inferq_worker', 'dead_letter', 'UPDATE', 'published_at', 1), "
    "('inferq_worker', 'endpoint_pause', 'SELECT', '', 1), "
    "('inferq_worker', 'limit_share', 'INSERT', '', 1), "
    "('inferq_worker', 'limit_share', 'DELETE', '', 1), "
    "('inferq_worker', 'limit_day', 'UPDATE', '', 1), "
    "('inferq_worker', 'limit_rule', 'UPDATE', 'of_catalogue', 1), "
    "('inferq_worker', 'limit_rule', 'UPDATE', 'of_operator', 0), "
    "('inferq_worker', 'job_skip', 'SELECT', '', 1), "
    "('inferq_worker', 'record_skip', 'SELECT', '', 1), "
    "('inferq_operator', 'job_skip', 'INSERT', '', 1), "
    "('inferq_operator', 'record_skip', 'INSERT', '', 1), "
    "('inferq_producer', 'batch', 'INSERT', '', 1), "
    "('inferq_producer', 'batch', 'UPDATE', 'total', 1), "
    "('inferq_producer', 'batch_progress', 'SELECT', '', 1), "
    "('inferq_operator', 'result', 'SELECT', '', 1), ('inferq_operator', 'batch', 'UPDATE', '', "
    "1), "
    "('inferq_operator', 'audit_log', 'INSERT', '', 1), "
    "('inferq_operator', 'worker', 'UPDATE', 'drain_requested_at', 1), "
    "('inferq_operator', 'endpoint_pause', 'INSERT', '', 1), "
    "('inferq_operator', 'limit_rule', 'UPDATE', 'of_operator', 1), "
    "('inferq_reviewer', 'dead_letter', 'UPDATE', 'state', 1), "
    "('inferq_reviewer', 'parked', 'INSERT', '', 1), "
    "('inferq_reviewer', 'review_event', 'INSERT', '', 1), "
    "('inferq_reader', 'result', 'SELECT', '', 1), "
    "('inferq_reader', 'result_text', 'SELECT', '', 1), "
    "('inferq_worker', 'result', 'DELETE', '', 0), ('inferq_worker', 'call', 'DELETE', '', 0), "
    "('inferq_worker', 'result', 'UPDATE', '', 0), ('inferq_producer', 'result', 'INSERT', '', 0), "
    "('inferq_worker', 'audit_log', 'UPDATE', '', 0), "
    "('inferq_operator', 'audit_log', 'UPDATE', '', 0), "
    "('inferq_operator', 'audit_log', 'DELETE', '', 0), "
    "('inferq_reviewer', 'review_event', 'UPDATE', '', 0), "
    "('inferq_reviewer', 'review_event', 'DELETE', '', 0), "
    "('inferq_reviewer', 'result', 'UPDATE', '', 0), "
    "('inferq_reader', 'parked', 'SELECT', '', 0), "
    "('inferq_reader', 'dead_letter', 'SELECT', '', 0), "
    "('inferq_reader', 'result', 'UPDATE', '', 0)), "
    "h AS (SELECT w.*, r.oid IS NULL AS missing, CASE WHEN r.oid IS NULL THEN false "
    " WHEN col <> '' THEN has_column_privilege(r.oid, 'inferq.' || tab, col, privilege) "
    " ELSE has_table_privilege(r.oid, 'inferq.' || tab, privilege) END AS has "
    " FROM w LEFT JOIN pg_roles r ON r.rolname = w.role) "
    "SELECT DISTINCT role, CASE WHEN missing THEN '' ELSE privilege || "
    "CASE WHEN col <> '' THEN ' (' || col || ')' ELSE '' END || ' ON inferq.' || tab END, "
    "CASE WHEN missing THEN 1 ELSE wanted END::bigint, missing::int::bigint "
    "FROM h WHERE missing OR has <> (wanted = 1) ORDER BY 4 DESC, 3 DESC, 1, 2";

/* now() as milliseconds: spans are of ids, whose first bytes are those. */
#define NOW_MS "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
static const char partitions_sql[] =
    "SELECT 'ahead', '', coalesce(max(upper_ms), 0) - " NOW_MS ", "
    "coalesce((SELECT value FROM setting WHERE name = 'partition_days'), 7) * 86400000 "
    "FROM partition_span "
    "UNION ALL SELECT 'gap', to_timestamp(upper_ms / 1000)::text, 0, 0 FROM (SELECT upper_ms, "
    " lead(lower_ms) OVER (ORDER BY lower_ms) AS next FROM partition_span) g WHERE next > upper_ms "
    "UNION ALL SELECT 'detached', t.name || '_' || p.suffix, 0, 0 FROM partition_span p, "
    " (VALUES ('result'), ('call')) t (name) WHERE NOT EXISTS (SELECT FROM pg_inherits i "
    " WHERE i.inhparent = to_regclass('inferq.' || t.name) "
    " AND i.inhrelid = to_regclass('inferq.' || t.name || '_' || p.suffix))";

const struct doctor_check doctor_postgres_checks[] = {
    {"pg.reachable", "Postgres does not answer, or refuses the login",
     "start Postgres, or mend `postgres` (a libpq connection string) or PGHOST, PGPORT, PGUSER, "
     "PGPASSWORD; pg_hba.conf says who may log in from where",
     "SELECT current_database()::text, current_user::text, 0::bigint, 0::bigint", judge_reachable},
    {"pg.version", "Postgres is older than 15", "upgrade the server to Postgres 15 or newer",
     "SELECT current_setting('server_version'), '', current_setting('server_version_num')::bigint, "
     "0::bigint",
     judge_version},
    {"pg.writable", "The database takes no writes: a standby, or read-only",
     "connect to the primary (host=A,B target_session_attrs=read-write finds it)",
     "SELECT current_database()::text, '', pg_is_in_recovery()::int::bigint, "
     "(current_setting('transaction_read_only') = 'on')::int::bigint",
     judge_writable},
    {"pg.encoding", "The database is not UTF8",
     "make the database anew: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0",
     "SELECT current_setting('server_encoding'), '', 0::bigint, 0::bigint", judge_encoding},
    {"pg.migrations", "The schema is older or newer than the program", "inferq migrate", NULL,
     judge_migrations},
    {"pg.login", "This login may do too little, or too much", "GRANT inferq_operator TO LOGIN",
     "SELECT current_user::text, coalesce((SELECT string_agg(r.rolname::text, ', ' "
     "ORDER BY r.rolname) FROM pg_roles r WHERE r.rolname IN ('inferq_worker', 'inferq_producer', "
     "'inferq_operator', 'inferq_reviewer', 'inferq_reader') "
     "AND pg_has_role(current_user, r.oid, 'USAGE')), ''), "
     "coalesce((SELECT pg_has_role(current_user, nspowner, 'USAGE')::int FROM pg_namespace "
     "WHERE nspname = 'inferq'), 0)::bigint, "
     "(SELECT (rolsuper OR rolbypassrls)::int FROM pg_roles WHERE rolname = current_user)::bigint",
     judge_login},
    {"pg.roles", "A role lacks a right that its programs need, or has one that none may",
     "GRANT or REVOKE as schemas/sql says", roles_sql, judge_roles},
    {"pg.partitions",
     "Partitions of result and call are not ahead of today, or one is not attached",
     "SELECT inferq.ensure_partitions() (workers do it every few minutes)", partitions_sql,
     judge_partitions},
    {"pg.partition_count", "More than 60 partitions",
     "keep fewer: drop the oldest, or raise partition_days in inferq.setting",
     "SELECT '', '', count(*), 0::bigint FROM pg_inherits "
     "WHERE inhparent = to_regclass('inferq.result')",
     judge_partition_count},
    {"clock.postgres", "This machine's clock and Postgres's differ by more than a second",
     "run NTP (chrony, systemd-timesyncd) on both", NULL, judge_clock},
    {"clock.producers", "A batch of the last week was made ahead of Postgres's clock",
     "run NTP where that app submits: ids more than 5 minutes ahead are refused",
     "SELECT app || '/' || name, '', "
     "created_ms - (extract(epoch FROM registered_at) * 1000)::bigint, 0::bigint FROM batch "
     "WHERE registered_at > now() - interval '7 days' "
     "AND created_ms > extract(epoch FROM registered_at) * 1000 + 1000 ORDER BY 3 DESC LIMIT 3",
     judge_producers},
    {0},
};
