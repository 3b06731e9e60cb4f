"""`inferq skip`: jobs that an operator leaves out end before their next call, records that are named by
their place are not decoded, and nothing is lost."""

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
    wait_for(lambda: worker.metric("inferq_endpoint_paused_seconds", endpoint="at-held"),
             what="the worker's hearing of the pause")
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


# ---- records, by their place --------------------------------------------------------------------

def place(world, record, lane="normal"):
    return ["--topic", world.topic(lane), "--partition", str(record["partition"]),
            "--offset", str(record["offset"]), "--group", world.name]


def skip_rows(world):
    return world.rows("SELECT topic, partition, record_offset, actor, reason FROM record_skip")


@pytest.mark.skipif(VARIANT == "release", reason="release builds have no failpoints")
def test_a_record_that_crashes_whoever_decodes_it_is_left_out(lone_world):
    """The fleet dies of it, one after the other; then it is skipped, and the rest of its partition
    runs."""
    poison = b"no decoder survives this"
    dies = {"INFERQ_FAILPOINT": f"record.decode?{poison.decode()}*=abort"}
    world = lone_world(partitions=1, conf={**QUICK_LEASE, "kafka.session.timeout.ms": "1000",
                                           "kafka.heartbeat.interval.ms": "300"})
    message = Message()
    world.produce(*[message.pack(f"a{i}") for i in range(5)])
    record, = world.produce(poison)
    world.produce(*[message.pack(f"b{i}") for i in range(5)])
    for _ in range(2):
        worker = world.start_worker(ready=False, env=dies)
        wait_for(lambda: not worker.alive, what="a crash")
        assert worker.process.returncode == -signal.SIGABRT
        world.rows("UPDATE worker SET fenced = true")
    words = ["skip", *place(world, record), "--reason", "kills the decoder", "--actor", "ann"]
    assert json.loads(world.inferq(*words, "--json").stdout)[0]["state"] == "asked"
    world.start_worker(env=dies)
    world.seal(message, 10)
    assert world.wait_ended(message.batch_id)["succeeded"] == 10
    letter, = wait_for(world.letters, what="the letter")
    assert (bytes(letter["payload"]), letter["class"], letter["topic"], letter["partition"],
            letter["record_offset"]) == (poison, "skipped", world.topic(), record["partition"],
                                         record["offset"])
    assert letter["reason"] == "ann left it out (inferq skip): kills the decoder"
    finish(world, crashed=True)
    fails(world.inferq(*words, ok=None), 2, f"offset {record['offset']} is done")
    assert len(world.letters()) == 1


def test_a_place_is_told_in_time_and_forgotten_when_kafka_has(lone_world):
    """Told before any worker reads; asked twice; read again after a rewind; then deleted."""
    world = lone_world(partitions=1)
    message = Message()
    world.produce(message.pack("one"))
    record, = world.produce(message.pack("two"))
    world.produce(message.pack("three"))
    words = ["skip", *place(world, record), "--json"]
    would, = json.loads(world.inferq(*words, "--dry-run").stdout)
    assert would == {"topic": world.topic(), "partition": 0, "offset": record["offset"],
                     "state": "would ask", "group_at": None}
    assert skip_rows(world) == []
    for state in ("asked", "asked already"):
        row, = json.loads(world.inferq(*words, "--reason", "not this one", "--actor", "ann").stdout)
        assert row["state"] == state
    assert skip_rows(world) == [(world.topic(), 0, record["offset"], "ann", "not this one")]
    assert world.rows("SELECT actor, subject, detail FROM audit_log WHERE action = 'skip'") == [
        ("ann", f"{world.topic()}/0/{record['offset']}", "not this one")]

    world.start_worker()
    world.seal(message, 2)
    assert world.wait_ended(message.batch_id)["succeeded"] == 2
    letter, = wait_for(world.letters, what="the letter")
    assert bytes(letter["payload"]) == message.pack("two") and letter["job_id"] is None
    world.stop_workers()
    world.inferq("rewind", "--to", "start", "--group", world.name)
    upkeep = ["upkeep", "--only", "records", "--group", world.name]
    world.inferq(*upkeep)
    assert len(skip_rows(world)) == 1, "Kafka holds the record"
    world.start_worker()
    wait_for(lambda: world.committed()[1]["committed"] == world.committed()[1]["high"],
             what="the second reading")
    finish(world)
    assert len(world.letters()) == 1 and world.counts(message.batch_id)["succeeded"] == 2
    world.inferq(*upkeep, "--kafka-keep", "0s")
    assert skip_rows(world) == []


def test_places_that_cannot_be_in_the_way(lone_world):
    world = lone_world(partitions=1)
    record, = world.produce(b"x")
    at = ["--partition", "0", "--offset", str(record["offset"]), "--group", world.name]
    end = record["offset"] + 1
    for words, said in (
            (["--topic", f"{world.name}.jobs.norma", *at], "there are"),
            (["--topic", f"{world.name}.dead", *at], f"{world.topic('high')}, {world.topic('low')}"),
            (["--topic", world.topic(), "--partition", "7", "--offset", "0"], "they are 0 to 0"),
            (["--topic", world.topic(), "--partition", "0", "--offset", str(end)], "ends before 1")):
        fails(world.inferq("skip", *words, ok=None), 2, said)
    world.rows("INSERT INTO record_skip (topic, partition, record_offset, actor)"
               " SELECT 't', 0, i, 'x' FROM generate_series(1, 1000) i")
    fails(world.inferq("skip", "--topic", world.topic(), *at, ok=None), 2,
          "1000 records are skipped already", "inferq upkeep")
    assert world.value("SELECT count(*) FROM record_skip") == 1000
    assert not world.rows("SELECT * FROM audit_log WHERE action = 'skip'")


def test_a_dry_run_asks_nothing(lone_world):
    world = lone_world()
    job = str(Message().job_id("x"))
    rows = json.loads(world.inferq("skip", job, "--dry-run", "--json").stdout)
    assert rows == [{"job_id": job, "state": "would ask", "was": "queued, or unknown"}]
    assert world.value("SELECT count(*) FROM job_skip") == 0
    assert not world.rows("SELECT * FROM audit_log")


@pytest.mark.parametrize("words, said", [
    ([], "JOB... is missing"),
    (["--topic", "t"], "go together"),
    (["--partition", "0", "--offset", "1"], "go together"),
    (["--topic", "t", "--partition", "-1", "--offset", "1"], "--partition"),
    (["--topic", "t", "--partition", "0", "--offset", "1", str(uuid.UUID(int=7))], "either jobs"),
    (["--topic", "t", "--partition", "0", "--offset", "1", "--reason", "x" * 5000], "4096 bytes"),
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
