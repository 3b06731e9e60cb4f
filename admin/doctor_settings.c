/*
 * doctor_settings.c - what is found about the Postgres server's settings and sessions: what makes
 * a commit last, what keeps tables small, what is left (pure but for the texts of its questions).
 */
#include <inttypes.h>
#include <string.h>

#include "admin/doctor.h"

enum { CONNECTIONS_LEFT_MIN = 5, CONNECTIONS_LEFT_PERCENT = 10 };

/* A question that needs a right answers with this alone where the right is missing. */
#define DENIED "!not allowed"

static bool is(const char *text, const char *word)
{
    return strcmp(text, word) == 0;
}

static bool denied(const struct doctor_facts *f, struct doctor_says *s)
{
    if (f->row_count == 0 || !is(f->rows[0].subject, DENIED))
        return false;
    doctor_say(s, DOCTOR_SKIPPED, "not allowed to ask: %s", f->rows[0].detail);
    return true;
}

static void judge_durability(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i];
        if (is(row->subject, "synchronous_commit")) {
            doctor_say(s, DOCTOR_WARNING,
                       "synchronous_commit is %s by default: what inferq-submit "
                       "and inferq were told is done may be lost (workers set it themselves)",
                       row->detail);
            doctor_mend(s, "synchronous_commit = on, where it was changed: postgresql.conf, ALTER "
                           "DATABASE or ALTER ROLE");
        } else {
            doctor_say(s, DOCTOR_ERROR, "%s is %s: a crash of the machine may leave no database",
                       row->subject, row->detail);
            doctor_mend(s, "ALTER SYSTEM SET %s = on; SELECT pg_reload_conf()", row->subject);
        }
    }
}

static void judge_standby(const struct doctor_facts *f, struct doctor_says *s)
{
    const struct doctor_row *row = &f->rows[0]; /* names; "seen"; a: in sync; b: standbys */
    if (!*row->subject) {
        doctor_say(s, DOCTOR_WARNING,
                   "no synchronous standby: calls that were committed here may "
                   "be unknown after a failover, and made again");
    } else if (!*row->detail) {
        doctor_say(s, DOCTOR_SKIPPED,
                   "not allowed to ask whether %s is connected: GRANT pg_monitor "
                   "to this login",
                   row->subject);
    } else if (row->a == 0) {
        doctor_say(s, DOCTOR_ERROR,
                   "synchronous_standby_names is %s, and none of them is "
                   "connected: every commit waits",
                   row->subject);
        doctor_mend(s, "start the standby, or name one that is there (ALTER SYSTEM SET "
                       "synchronous_standby_names; SELECT pg_reload_conf())");
    } else {
        doctor_say(s, DOCTOR_OK, "%" PRId64 " of %" PRId64 " standbys in sync", row->a, row->b);
    }
}

static void judge_autovacuum(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i];
        if (row->a) {
            doctor_say(s, DOCTOR_WARNING, "autovacuum is off for %s", row->subject);
            doctor_mend(s, "ALTER TABLE %s RESET (autovacuum_enabled)", row->subject);
        } else {
            doctor_say(s, DOCTOR_ERROR, "%s is off: tables grow without end", row->subject);
            doctor_mend(s, "ALTER SYSTEM SET %s = on; SELECT pg_reload_conf()", row->subject);
        }
    }
}

static void judge_connections(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* whose; setting; a: used; b: limit */
        int64_t left = row->b - row->a;
        bool few = left < CONNECTIONS_LEFT_MIN || left < row->b * CONNECTIONS_LEFT_PERCENT / 100;
        doctor_say(s,
                   left <= 0 ? DOCTOR_ERROR
                   : few     ? DOCTOR_WARNING
                             : DOCTOR_OK,
                   "%s: %" PRId64 " of %" PRId64 " connections in use", row->subject, row->a,
                   row->b);
        if (few)
            doctor_mend(s, "raise %s (a worker holds three connections, a command one)",
                        row->detail);
    }
}

static void judge_transactions(const struct doctor_facts *f, struct doctor_says *s)
{
    char age[DOCTOR_AGE_BYTES];
    if (denied(f, s))
        return;
    for (int i = 0; i < f->row_count; i++) {
        const struct doctor_row *row = &f->rows[i]; /* which; what ends it; a: age */
        if (row->a < f->patience_ms)
            continue;
        doctor_say(s, DOCTOR_WARNING, "%s has been open for %s: vacuum removes nothing younger",
                   row->subject, doctor_age(row->a, age));
        doctor_mend(s, "end it: %s", row->detail);
    }
}

static void judge_slots(const struct doctor_facts *f, struct doctor_says *s)
{
    for (int i = 0; i < f->row_count; i++) {
        doctor_say(s, DOCTOR_WARNING,
                   "replication slot %s has no reader and keeps %" PRId64
                   " MiB of WAL, which grows until the disk is full",
                   f->rows[i].subject, f->rows[i].a >> 20);
        doctor_mend(s, "start what reads it, or SELECT pg_drop_replication_slot('%s')",
                    f->rows[i].subject);
    }
}

const struct doctor_check doctor_settings_checks[] = {
    {"pg.durability", "fsync, full_page_writes or synchronous_commit is off",
     "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()",
     "SELECT name, setting, 0::bigint, 0::bigint FROM pg_settings WHERE setting = 'off' "
     "AND name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name",
     judge_durability},
    {"pg.standby", "No synchronous standby, or it is away",
     "set up a standby and name it: ALTER SYSTEM SET synchronous_standby_names = '...'",
     "SELECT current_setting('synchronous_standby_names'), "
     "CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN 'seen' ELSE '' END, "
     "count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), count(*) FROM pg_stat_replication",
     judge_standby},
    {"pg.autovacuum", "autovacuum is off, for the server or a table",
     "ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()",
     "SELECT name, '', 0::bigint, 0::bigint FROM pg_settings "
     "WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off' UNION ALL "
     "SELECT 'inferq.' || quote_ident(c.relname), '', 1::bigint, 0::bigint FROM pg_class c "
     "JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'inferq' "
     "WHERE c.relkind = 'r' AND EXISTS (SELECT FROM pg_options_to_table(c.reloptions) "
     "WHERE option_name = 'autovacuum_enabled' AND NOT option_value::bool) ORDER BY 3, 1 LIMIT 20",
     judge_autovacuum},
    {"pg.connections", "Few connections are left",
     "raise max_connections (a worker holds three connections, a command one)",
     "SELECT 'the server', 'max_connections', count(*), "
     "current_setting('max_connections')::bigint - "
     "current_setting('superuser_reserved_connections')::bigint "
     "FROM pg_stat_activity WHERE datid IS NOT NULL UNION ALL "
     "SELECT 'the database', 'its limit: ALTER DATABASE ... CONNECTION LIMIT N', "
     "(SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid), d.datconnlimit::bigint "
     "FROM pg_database d WHERE d.datname = current_database() AND d.datconnlimit >= 0 UNION ALL "
     "SELECT 'the login', 'its limit: ALTER ROLE ... CONNECTION LIMIT N', "
     "(SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid), r.rolconnlimit::bigint "
     "FROM pg_roles r WHERE r.rolname = current_user AND r.rolconnlimit >= 0",
     judge_connections},
    {"pg.transactions", "A transaction has been open for long and holds back vacuum",
     "SELECT pg_terminate_backend(PID)",
     "SELECT * FROM (SELECT '" DENIED "', 'GRANT pg_monitor to this login', 0::bigint, 0::bigint "
     "WHERE NOT pg_has_role('pg_read_all_stats', 'USAGE') UNION ALL "
     "SELECT * FROM (SELECT 'a transaction of ' || usename || ' (' || application_name || ')', "
     " 'SELECT pg_terminate_backend(' || pid || ')', "
     " (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::bigint, 0::bigint "
     " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
     " AND xact_start IS NOT NULL AND backend_type = 'client backend' ORDER BY 3 DESC LIMIT 3) a "
     "UNION ALL SELECT 'prepared transaction ' || gid, 'ROLLBACK PREPARED ' || quote_literal(gid), "
     " (extract(epoch FROM clock_timestamp() - prepared) * 1000)::bigint, 0::bigint "
     " FROM pg_prepared_xacts WHERE database = current_database()) t",
     judge_transactions},
    {"pg.slots", "A replication slot without a reader keeps WAL",
     "SELECT pg_drop_replication_slot('NAME')",
     "SELECT slot_name::text, '', CASE WHEN pg_is_in_recovery() THEN 0 ELSE "
     "pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END, 0::bigint "
     "FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY 3 DESC "
     "LIMIT 5",
     judge_slots},
    {0},
};
