"""`inferq rewind`: Postgres is set back, as by a backup, and the fleet reads Kafka again: what was lost
runs, what was not is not called again."""

import concurrent.futures
import datetime
import json
import os
import subprocess

import pytest
from admin_fixture import Database, fails, run
from checks import finish
from harness import TOOLS, VARIANT, wait_for

WORDS = ["rewind", "--json"]


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def forget(world, batch):
    """The database of before this batch."""
    for table in ("result", "call", "progress", "batch"):
        world.rows(f"DELETE FROM {table} WHERE batch_id = %s", batch)


def stands(world):
    return [(row["partition"], row["committed"]) for row in world.committed()]


def test_jobs_that_a_backup_has_lost_run_again_and_no_others(lone_world):
    world = lone_world()
    worker = world.start_worker()
    before = world.ask(*[f"early {i}" for i in range(12)])
    world.wait_ended(before)
    time = now()
    after = world.ask(*[f"late {i}" for i in range(10)], batch="late")
    world.wait_ended(after)
    group = ["--group", world.name]

    # While a worker is there Kafka would refuse, and it is said who it is.
    done = fails(world.inferq(*WORDS, *group, "--to", time, ok=None), 2, "has 1 members",
                 "inferq-worker", "scale them to 0")
    assert done.stdout == ""
    done = world.inferq(*WORDS, *group, "--to", time, "--dry-run")
    assert "it would be refused" in done.stderr
    assert worker.alive
    world.stop_workers()
    forget(world, after)

    stood = stands(world)
    would = json.loads(world.inferq(*WORDS, *group, "--to", time, "--dry-run").stdout)
    assert sum(row["records"] for row in would) == 10
    assert stands(world) == stood and not world.rows("SELECT * FROM audit_log WHERE action = 'rewind'")
    done = world.inferq(*WORDS, *group, "--to", time, "--reason", "the disk died")
    assert "to be read again: 10 records" in done.stderr
    moved = [row for row in json.loads(done.stdout) if row["state"] == "moved"]
    assert sum(row["from"] - row["to"] for row in moved) == 10
    assert world.value("SELECT subject || ': ' || detail FROM audit_log WHERE action = 'rewind'"
                       ).startswith(f"{world.name}: lane all, to ")

    world.start_worker()
    world.inferq("batch", "seal", str(after), "--total", "10", "--app", "pipe", "--name", "late")
    assert world.wait_ended(after)["succeeded"] == 10
    world.stop_workers()
    assert world.sim.summary()["requests"] == 12 + 10 + 10
    assert (len(world.calls(before)), len(world.calls(after))) == (12, 10)

    # All of it once more: nothing is left to do, and nothing is called.
    done = world.inferq(*WORDS, *group, "--to", "start", "--lane", "normal")
    assert "to be read again: 22 records" in done.stderr
    again = world.inferq(*WORDS, *group, "--to", "start")
    assert "to be read again: 0 records" in again.stderr, "never forward, and not twice"
    world.start_worker()
    wait_for(lambda: all(row["committed"] == row["high"] for row in world.committed() if row["high"]),
             what="the third reading")
    finish(world)
    assert world.sim.summary()["requests"] == 32
    assert world.value("SELECT count(*) FROM audit_log WHERE action = 'rewind'") == 2


@pytest.mark.parametrize("words, said", [
    ([], "--to TIME is missing"),
    (["--to", "soon"], "'soon' is no time that is past"),
    (["--to", "2999-01-01T00:00:00Z"], "no time that is past"),
    (["--to", "+1h"], "no time that is past"),
    (["--to", "start", "--reason", "x" * 5000], "at most 4096 bytes"),
    (["--to", "start", "high"], "too many arguments"),
])
def test_bad_arguments_are_told_before_anything_connects(words, said):
    fails(run("rewind", *words, env={"PGPORT": "1"}), 2, said)


def test_servers_and_topics_that_are_not_there():
    to = ["rewind", "--to", "1h"]
    fails(run(*to, env={"PGPORT": "1"}), 3, "127.0.0.1")
    done = fails(run(*to, env={"PGUSER": "nobody_here", "PGPASSWORD": "hush-hush"}), 3)
    assert "hush" not in done.stderr
    fails(run(*to, "--kafka.bootstrap.servers", "127.0.0.1:1"), 3, "127.0.0.1:1", "refused")
    fails(run(*to, "--prefix", "nowhere"), 2, "no topic nowhere.jobs.*", "inferq topics")


@pytest.fixture
def deaf(tmp_path):
    """The environment of a stand-in for Kafka that knows lists of topics and records, and drops every
    request of the admin interface without an answer, as a broker that freezes midway does."""
    port_file, name = tmp_path / "mock", f"deaf_{os.getpid()}"
    mock = subprocess.Popen([str(TOOLS / "mockkafka"), "--port-file", str(port_file), "--topic",
                             f"{name}.jobs.normal:1"], stdout=subprocess.DEVNULL)
    database = Database(name)
    try:
        wait_for(port_file.exists, what="the mock cluster")
        yield {**database.env, "INFERQ_PREFIX": name,
               "KAFKA_BOOTSTRAP_SERVERS": port_file.read_text().strip()}
    finally:
        mock.terminate()
        assert mock.wait(20) == 0
        database.drop()


def test_requests_that_nobody_answers_end(deaf):
    """librdkafka 2.0 hangs, or aborts, when a connection ends whose request got no answer."""
    words = {"rewind": (["rewind", "--to", "start"], 3), "top": (["top", "--once"], 0),
             "doctor": (["doctor"], 1)}
    if VARIANT == "asan":  # librdkafka looks at what it has freed there; only this allocator shows it
        del words["rewind"]
    with concurrent.futures.ThreadPoolExecutor(len(words)) as pool:
        ended = {name: pool.submit(run, *line, env=deaf) for name, (line, _) in words.items()}
    for name, (_, code) in words.items():
        done = ended[name].result()
        assert done.returncode == code, (name, done.stdout, done.stderr)
        assert name == "doctor" or done.stderr.startswith("inferq rewind: Kafka at 127.0.0.1:"
                                                          if code else ""), done.stderr


def test_a_lane_that_is_not_there_and_a_database_that_is_not_ours(lone_world):
    world = lone_world()
    fails(world.inferq("rewind", "--to", "1h", "--lane", "norma", ok=None), 2,
          f"no topic {world.name}.jobs.norma")
    done = world.inferq(*WORDS, "--group", "unheard-of", "--to", "1h")
    assert {row["state"] for row in json.loads(done.stdout)} == {"never read"}
    empty = Database(f"rewind_{os.getpid()}_own", migrated=False)
    try:
        fails(empty.inferq("rewind", "--to", "1h", "--prefix", world.name), 2,
              "run `inferq migrate`")
    finally:
        empty.drop()
