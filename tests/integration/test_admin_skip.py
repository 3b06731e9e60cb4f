"""`inferq skip`: jobs that an operator leaves out end before their next call, and nothing is lost."""

import json
import os
import signal
import uuid

import pytest
from admin_fixture import Database, fails, run
from checks import finish
from harness import QUICK_LEASE, VARIANT, Message, model, wait_for


def job_of(world, batch, custom_id):
    """The id of a parked or ended job."""
    return str(Message(batch=world.value("SELECT name FROM batch WHERE batch_id = %s", batch),
                       created_ms=world.value("SELECT created_ms FROM batch WHERE batch_id = %s",
                                              batch)).job_id(custom_id))


def test_jobs_in_kafka_and_in_postgres_are_left_out_and_come_back(lone_world):
    """One that no worker has read, one that waits parked; their neighbours run; a requeue runs them."""
    world = lone_world(models=[model("held")])
    queued = world.ask(*[f"text {i}" for i in range(5)])
    unread = job_of(world, queued, "job-2")
    done = world.inferq("skip", unread, "--reason", "not wanted", "--actor", "ann", "--json")
    assert json.loads(done.stdout) == [
        {"job_id": unread, "state": "asked", "was": "queued, or unknown"}]
    worker = world.start_worker()
    counts = world.wait_ended(queued)
    assert (counts["succeeded"], counts["dead"]) == (4, 1)

    world.inferq("endpoint", "pause", "at-held")
    waiting = world.ask(*[f"text {i}" for i in range(3)], model="held")
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 3, what="parked jobs")
    parked = job_of(world, waiting, "job-0")
    again = json.loads(world.inferq("skip", unread, parked, "--json", ok=(1,)).stdout)
    assert {row["job_id"]: (row["state"], row["was"]) for row in again} == {
        unread: ("has ended", "dead"), parked: ("asked", "parked")}
    wait_for(lambda: world.counts(waiting)["dead"] == 1, what="the end of the one that waited")
    assert world.value("SELECT count(*) FROM parked") == 2
    world.inferq("endpoint", "resume", "at-held")
    assert world.wait_ended(waiting)["succeeded"] == 2

    for batch, job in ((queued, unread), (waiting, parked)):
        letter, = world.letters(batch)
        assert (str(letter["job_id"]), letter["class"]) == (job, "skipped")
        assert world.value("SELECT count(*) FROM call WHERE job_id = %s", job) == 0
    assert "left it out" in world.inferq("explain", unread).stdout
    assert world.rows("SELECT actor, subject, detail FROM audit_log WHERE action = 'skip'"
                      " ORDER BY audit_id")[0] == ("ann", unread, "not wanted")
    world.inferq("dead", "requeue", "--class", "skipped", "--yes")
    assert world.wait_ended(queued)["succeeded"] == 5
    assert world.wait_ended(waiting)["succeeded"] == 3
    assert worker.alive
    finish(world)


@pytest.mark.skipif(VARIANT == "release", reason="release builds have no failpoints")
def test_a_job_that_crashes_every_worker_is_left_out(lone_world):
    """Before its attempts are spent: the next worker does not call for it, and lives."""
    world = lone_world(conf={**QUICK_LEASE, "kafka.session.timeout.ms": "1000",
                             "kafka.heartbeat.interval.ms": "300"})
    poison = {"INFERQ_FAILPOINT": "path.claim>call?poison*=abort"}
    message = Message()
    world.produce(message.pack("poison", max_attempts=9), *[message.pack(f"j{i}") for i in range(9)])
    first = world.start_worker(ready=False, env=poison)
    wait_for(lambda: not first.alive, what="a crash")
    assert first.process.returncode == -signal.SIGABRT
    world.rows("UPDATE worker SET fenced = true")
    world.inferq("skip", str(message.job_id("poison")), "--reason", "crashes workers")
    second = world.start_worker(env=poison)
    world.seal(message, 10)
    counts = world.wait_ended(message.batch_id)
    assert (counts["succeeded"], counts["dead"]) == (9, 1) and second.alive
    call, = world.calls(message.batch_id, "poison")
    assert call["class"] == "lost"
    finish(world, crashed=True)


@pytest.mark.parametrize("words, said", [
    ([], "JOB... is missing"),
    (["pipe/b"], "'pipe/b' is no job id"),
    ([str(uuid.UUID(int=7)), "x"], "'x' is no job id"),
    ([str(uuid.UUID(int=7)), "--reason", "x" * 5000], "at most 4096 bytes"),
])
def test_bad_arguments_are_told_before_anything_connects(words, said):
    fails(run("skip", *words, env={"PGPORT": "1"}), 2, said)


def test_servers_that_are_away_and_databases_that_are_not_ours():
    job = str(uuid.UUID(int=7))
    fails(run("skip", job, env={"PGPORT": "1"}), 3, "127.0.0.1")
    empty = Database(f"skip_{os.getpid()}_own", migrated=False)
    try:
        fails(empty.inferq("skip", job), 2, "run `inferq migrate`")
    finally:
        empty.drop()
