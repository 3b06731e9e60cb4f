"""What a run of the crash tests adds up, and how long and by which seed they run.

LONG: the real durations (`make chaos`) in place of the short forms that `make test` runs. SEED: what
a test's random numbers begin with; it is printed by the runner, and INFERQ_CHAOS_SEED repeats it.

fault("worker killed") and count(world) each append a JSON line to the file INFERQ_CHAOS_TALLY, if
that is set; tests/chaos/run adds them up. Nobody has to call them for the usual things: Worker.kill,
harness.stack and the end of a world do. count() asks Postgres and the witness anew, apart from the
checks that the tests themselves make, so that the table's zeros are measured and not presumed.
"""
import json
import os
import time
import uuid

import psycopg2

LONG = os.environ.get("INFERQ_CHAOS") == "1"
SEED = int(os.environ.get("INFERQ_CHAOS_SEED") or time.time_ns() % 1_000_000)

# Calls beside the one that gave a job's result whose class says why they were made, or what became
# of them; `ok` too, where two workers were both answered because one had been fenced.
UNEXPLAINED = """
SELECT count(*) FROM call c JOIN result r USING (job_id) LEFT JOIN worker w USING (worker_id)
WHERE r.call_number IS DISTINCT FROM c.number
  AND (c.class IS NULL OR code_name('class', c.class) IN ('refused', 'invalid')
       OR (code_name('class', c.class) = 'ok' AND NOT coalesce(w.fenced, false)))
"""


def _append(line):
    path = os.environ.get("INFERQ_CHAOS_TALLY")
    if path:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" (", 1)[0]
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"test": test, **line}) + "\n")


def fault(what, count=1):
    """Something was killed, cut, stopped or taken away on purpose."""
    _append({"fault": what, "count": count})


def figures(world):
    """What became of a world's jobs and calls. extra: calls beside the one that gave a job's result,
    and by class: what became of them. lost: accepted by a sealed batch, and nowhere now.
    doubled: terminal rows beyond one per job, and progress counted twice. unrecorded: calls that the
    model saw and the ledger does not know, or learnt of too late. What left with a partition that was
    dropped is not asked for."""
    summary = world.sim.summary()
    oldest = uuid.UUID(int=world.value("SELECT min(lower_ms) FROM partition_span") << 80)
    seen = {(line["job"], line["call"]) for line in world.sim.lines("begin")
            if not line["job"] or uuid.UUID(line["job"]) >= oldest}
    known = {(str(job), number) for job, number in world.rows("SELECT job_id, number FROM call")}
    extra = dict(world.rows("SELECT coalesce(code_name('class', c.class), 'open'), count(*)"
                            " FROM call c JOIN result r USING (job_id)"
                            " WHERE r.call_number IS DISTINCT FROM c.number GROUP BY 1"))
    return {
        "jobs": world.value("SELECT count(*) FROM result"),
        "calls": summary["requests"],
        "extra": sum(extra.values()),
        "classes": extra,
        "unexplained": world.value(UNEXPLAINED),
        "lost": int(world.value("SELECT coalesce(sum(greatest(pending, 0)), 0) FROM batch_progress")),
        "doubled": int(world.value(
            "SELECT (SELECT count(*) - count(DISTINCT (batch_id, custom_id, generation)) FROM result)"
            " + greatest((SELECT coalesce(sum(n), 0) FROM progress WHERE batch_id >= %s)"
            " - (SELECT count(*) FROM result), 0)", oldest)),
        "unrecorded": max(len(seen - known), summary["ledger_missing"]),
    }


def count(world):
    """At the end of a world, while its database and its model still stand."""
    if not os.environ.get("INFERQ_CHAOS_TALLY"):
        return
    try:
        _append(figures(world))
    except (psycopg2.Error, OSError) as problem:
        _append({"uncounted": str(problem)})
