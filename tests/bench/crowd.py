"""Rows that are there already: finished jobs by the million, and jobs that are parked.

They are copies of real rows of the same database, each under an id of its own that is made as real
ones are (a batch's creation, then 74 bits of a hash), so a column added later is filled as well.

Happy path: history() or park() once the database holds a finished (or a parked) job; then the
tables are vacuumed, as autovacuum would do by and by. What goes wrong: Postgres's own message.
"""
import os
import subprocess

from machine import Problem

BATCHES = 10
HISTORY = "now() - interval '1 day'"
TIMES = ("created_at", "finished_at", "claimed_at", "done_at")

JOB_ID = """(lpad(to_hex(g.ms), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 3)
    || substr(h, 7, 12))::uuid"""


def _run(psql, sql):
    return subprocess.Popen(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql],
                            env={**os.environ, "PGDATABASE": psql.name}, stdin=subprocess.DEVNULL)


def _finish(*processes):
    if any([process.wait() for process in processes]):
        raise Problem("Postgres did not take the rows")


def _columns(psql, table):
    return psql.ask(
        "SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute"
        f" WHERE attrelid = 'inferq.{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        ).split(",")


def _copies(psql, table, changes, which, source):
    """INSERT ... SELECT of one real row of `table`, with other values in some columns."""
    columns = _columns(psql, table)
    values = ", ".join(changes.get(c, f"t.{c}") for c in columns)
    return (f"INSERT INTO inferq.{table} ({', '.join(columns)}) SELECT {values}"
            f" FROM (SELECT * FROM inferq.{table} {which} LIMIT 1) t, ({source}) g,"
            f" LATERAL md5(g.ms || ':' || g.i) h")


def history(psql, rows, batch_ms):
    """So many finished jobs, with their calls. They belong to BATCHES batches: one made at
    `batch_ms`, the others spread evenly from the oldest live partition to then."""
    oldest = int(psql.number("SELECT inferq.oldest_live_ms()"))
    step = (batch_ms - oldest) // BATCHES
    source = (f"SELECT {batch_ms}::bigint - b * {step} AS ms, i FROM generate_series(0,"
              f" {BATCHES - 1}) b, generate_series(1, {rows // BATCHES}) i")
    changes = {"job_id": JOB_ID, "custom_id": "g.i::text", **{c: HISTORY for c in TIMES}}
    _finish(*[_run(psql, _copies(psql, table, changes, "", source))
              for table in ("result", "call")])
    _finish(*[_run(psql, f"VACUUM (ANALYZE) inferq.{table}") for table in ("result", "call")])


def park(psql, rows, batch_ms, wait_key, due):
    """So many parked jobs more that wait for this endpoint; due now, or in a day."""
    changes = {"job_id": JOB_ID, "next_at": "now()" if due else "now() + interval '1 day'",
               "parked_at": "now()", "wait_key": str(wait_key), "taken_by": "NULL",
               "deadline_at": "NULL"}
    source = f"SELECT {batch_ms}::bigint AS ms, i FROM generate_series(1, {rows}) i"
    _finish(_run(psql, _copies(psql, "parked", changes, "", source)))
    _finish(_run(psql, "VACUUM (ANALYZE) inferq.parked"))
