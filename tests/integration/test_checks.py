"""The checks that all other tests of the whole path rely on must themselves fail where something is
wrong: each is shown a database, a witness or an offset that was tampered with."""
import uuid

import pytest

import checks
import tally
from client import chat, job_headers, request_bytes
from harness import ROOT, Message, run, wait_for


@pytest.fixture(scope="module")
def world(worlds):
    """One honest batch, ended; nothing runs any more."""
    made = worlds(latency="20ms")
    made.start_worker()
    made.batch = made.ask("first", "second", "[[sim: fault=reset-before times=1]] third",
                          "[[sim: status=400]] fourth")
    made.wait_ended(made.batch)
    checks.finish(made)
    return made


def must_fail(world, match, **how):
    with pytest.raises(AssertionError, match=match):
        checks.check(world, **how)


JOB = "(SELECT job_id FROM result WHERE custom_id = '%s')"
TAMPERED = {
    "a result too many in progress": (
        "UPDATE progress SET n = n + 1 WHERE status = 1",
        "UPDATE progress SET n = n - 1 WHERE status = 1", "progress is not the count of results"),
    "a cost lost in progress": (
        "UPDATE progress SET cost_nusd = cost_nusd + 1 WHERE status = 1",
        "UPDATE progress SET cost_nusd = cost_nusd - 1 WHERE status = 1",
        "progress is not the count of results"),
    "fewer accepted than ended": (
        "UPDATE batch SET total = total - 1", "UPDATE batch SET total = total + 1",
        "does not add up|more results than accepted"),
    "a letter gone": (
        "ALTER TABLE dead_letter RENAME TO kept; CREATE TABLE dead_letter (LIKE kept)",
        "DROP TABLE dead_letter; ALTER TABLE kept RENAME TO dead_letter", "dead without a letter"),
    "ended and parked": (
        "INSERT INTO parked (job_id, batch_id, next_at, wait_key, priority, number, attempts, reasks,"
        " waited_us, model_us, reason, payload) SELECT job_id, batch_id, now(), 0, 1, 1, 0, 0, 0, 0,"
        f" 0, '' FROM result WHERE job_id = {JOB % 'job-0'}", "DELETE FROM parked",
        "ended, and still parked"),
    "a call that no row knows": (
        f"UPDATE call SET number = 7 WHERE job_id = {JOB % 'job-0'}",
        "UPDATE call SET number = 1 WHERE number = 7", "in no row"),
    "a call after its worker's lease": (
        "UPDATE worker SET lease_until = lease_until - interval '1 hour'",
        "UPDATE worker SET lease_until = lease_until + interval '1 hour'", "its worker's lease was over"),
    "an open call": (
        f"UPDATE call SET done_at = NULL WHERE job_id = {JOB % 'job-0'}",
        "UPDATE call SET done_at = now() WHERE done_at IS NULL", "call 1 is open"),
    "an unexplained extra call": (
        f"UPDATE call SET class = 1 WHERE job_id = {JOB % 'job-2'} AND number = 1",
        f"UPDATE call SET class = 32 WHERE job_id = {JOB % 'job-2'} AND number = 1",
        "extra call 1 of class ok"),
    "a wrong kind": (
        f"UPDATE call SET kind = 1 WHERE job_id = {JOB % 'job-2'} AND number = 2",
        "UPDATE call SET kind = 2 WHERE number = 2", "call 2 is of kind primary"),
    "a wrong cost": (
        f"UPDATE call SET cost_nusd = cost_nusd + 5 WHERE job_id = {JOB % 'job-0'}",
        f"UPDATE call SET cost_nusd = cost_nusd - 5 WHERE job_id = {JOB % 'job-0'}",
        "charged|costs"),
    "another job's answer": (
        "UPDATE result SET body = convert_to(replace(convert_from(body, 'UTF8'), 'first', 'worst'),"
        f" 'UTF8') WHERE job_id = {JOB % 'job-0'}",
        "UPDATE result SET body = convert_to(replace(convert_from(body, 'UTF8'), 'worst', 'first'),"
        f" 'UTF8') WHERE job_id = {JOB % 'job-0'}", "the model's answer is"),
    "a row without a call": (
        "INSERT INTO call (job_id, batch_id, worker_id, model_version_id, endpoint_id, number, kind,"
        " done_at, class, certainty, cost_nusd) SELECT job_id, batch_id, worker_id, model_version_id,"
        " endpoint_id, 9, 2, now(), 32, 2, 0 FROM call"
        f" WHERE job_id = {JOB % 'job-0'} AND number = 1", "DELETE FROM call WHERE number = 9",
        "a row without a call"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_the_checks_see(world, name):
    change, undo, match = TAMPERED[name]
    world.rows(change)
    try:
        must_fail(world, match)
    finally:
        world.rows(undo)
    checks.check(world)


def test_the_checks_see_an_offset_beyond_an_unfinished_job(world, monkeypatch):
    placed = world.produce(Message().pack("unfinished"), partition=1)[0]
    honest = world.committed

    def beyond():
        return [{**c, "committed": placed["offset"] + 1}
                if (c["topic"], c["partition"]) == (world.topic(), 1) else c for c in honest()]

    monkeypatch.setattr(world, "committed", beyond)
    must_fail(world, "committed .* beyond", stopped=True)


def test_the_checks_see_work_that_is_done_and_not_committed(world, monkeypatch):
    monkeypatch.setattr(world, "committed", lambda: [
        {"topic": world.topic(), "partition": 0, "low": 0, "high": 5, "committed": -1}])
    monkeypatch.setattr(world, "records", lambda *topics: [])
    monkeypatch.setattr(checks, "answers", lambda w: [])
    must_fail(world, "all done, and", stopped=True)


def test_tallies_count_what_is_broken_and_add_up(world, tmp_path, monkeypatch):
    """What make chaos says in the end: the zeros of an honest world, and what two worlds sum up to."""
    honest, broken = tmp_path / "honest", tmp_path / "broken"
    doubled = 2 * world.value("SELECT count(*) FROM progress WHERE status = 1")
    monkeypatch.setenv("INFERQ_CHAOS_TALLY", str(honest))
    tally.fault("worker killed", 3)
    tally.count(world)
    monkeypatch.setenv("INFERQ_CHAOS_TALLY", str(broken))
    tally.fault("worker killed")
    change = "UPDATE progress SET n = n %s 2 WHERE status = 1; UPDATE batch SET total = total %s %d"
    world.rows(change % ("+", "+", doubled + 5))
    tally.count(world)
    world.rows(change % ("-", "-", doubled + 5))
    checks.check(world)

    def figures(code, *paths):
        said = run(ROOT / "tests" / "chaos" / "run", "--sum", *paths, ok=(code,)).stdout
        rows = (line.rsplit(maxsplit=1) for line in said.splitlines() if line.startswith("  "))
        return {name.strip(): int(value) for name, value in rows}

    one, both = figures(0, honest), figures(1, honest, broken)
    assert [one[name] for name in ("worker killed", "jobs", "calls seen by models", "lost", "doubled",
                                   "unrecorded")] == [3, 4, 5, 0, 0, 0]
    assert [both[name] for name in ("worker killed", "jobs", "lost", "doubled", "unrecorded")] == [
        4, 8, 5, doubled, 0]
    assert one["extra calls in the ledger"] == 1 and both["extra calls in the ledger"] == 2


def test_the_checks_see_two_calls_at_once_and_calls_without_a_row(world):
    """Last, for a witness forgets nothing."""
    headers = job_headers(uuid.uuid4())
    with world.sim.socket() as first:
        first.sendall(request_bytes(chat("[[sim: latency=1000s]] hello"), headers))
        wait_for(lambda: world.sim.summary()["in_flight"] == 1, what="the first call")
        world.sim.say("hello", headers=headers)
    wait_for(lambda: world.sim.summary()["in_flight"] == 0, what="its end")
    must_fail(world, "two calls of a job at once")
    must_fail(world, "before their row was committed")
