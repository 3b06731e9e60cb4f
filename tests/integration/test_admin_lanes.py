"""`inferq lane`, and who refuses a lane that is not there: submit, a worker's settings. What lanes are
for is in test_lanes.py."""
import json
import os

import pytest
from admin_fixture import Database, fails, run
from harness import BIN
from harness import run as run_program


def lanes(world):
    return json.loads(world.inferq("lane", "list", "--json").stdout)


def topics(world):
    return {row["topic"]: row["state"] for row in
            json.loads(world.inferq("topics", "--json").stdout)}


def refused(world, *words, said):
    done = world.inferq("lane", *words, ok=None)
    assert done.returncode == 2 and said in done.stderr, done
    assert done.stdout == ""


def dry_topic(world, *options, app="shop"):
    path = world.tmp / "one.jsonl"
    path.write_text(json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}) + "\n")
    done = run_program(BIN / "inferq-submit", "--app", app, "--batch", "b", "--dry-run", *options, path,
                       env=world.env)
    return done.stdout.splitlines()[0].split("topic ")[1]


def test_lanes_are_added_assigned_and_removed(lone_world):
    world = lone_world(partitions=1)
    assert [(row["lane"], row["code"]) for row in lanes(world)] == [
        ("high", 0), ("normal", 1), ("low", 2)]
    done = world.inferq("lane", "add", "bulk", "--app", "shop", "--partitions", "3",
                        "--reason", "many", "--actor", "ann")
    assert f"topic {world.topic('bulk')}: made, 3 partitions" in done.stdout
    assert "for jobs that name it, and those of app shop" in done.stdout
    world.add_lane("embed", "--app", "shop", "--task", "embed")
    world.add_lane("plain")
    assert topics(world)[world.topic("bulk")] == "exists"
    assert lanes(world)[3] == {"lane": "bulk", "code": 3, "app": "shop", "task": None, "parked": 0,
                               "topic": world.topic("bulk")}

    # Which lane a submit takes: what it names, the rule that fits best, the priority.
    low = ("--priority", "low")
    for options, app, lane in (
            ((), "shop", "bulk"), (low, "shop", "bulk"), (("--task", "embed"), "shop", "embed"),
            (("--task", "other"), "shop", "bulk"), (("--task", "embed"), "bank", "normal"),
            (low, "bank", "low"), (("--lane", "plain"), "shop", "plain"),
            (("--lane", "high", *low), "bank", "high")):
        assert dry_topic(world, *options, app=app) == world.topic(lane), (options, app)
    world.inferq("lane", "assign", "bulk", "--task", "embed")
    assert dry_topic(world) == world.topic("normal")
    assert dry_topic(world, "--task", "embed", app="bank") == world.topic("bulk")
    world.inferq("lane", "assign", "bulk")
    assert dry_topic(world, "--task", "embed", app="bank") == world.topic("normal")

    world.inferq("lane", "assign", "plain", "--app", "late")
    assert "is there, for jobs that name it" in world.inferq("lane", "add", "bulk").stdout
    refused(world, "add", "bulk", "--app", "x", said="there is a lane 'bulk' already, of other jobs")
    refused(world, "add", "more", "--app", "late", said="these jobs go to lane plain already")
    refused(world, "assign", "bulk", "--app", "shop", "--task", "embed",
            said="these jobs go to lane embed already")
    refused(world, "assign", "nope", said="there is no lane 'nope': the lanes are high, normal, low")
    refused(world, "remove", "nope", said="there is no lane 'nope'")
    refused(world, "remove", "low", said="low is a priority's lane, and stays")
    refused(world, "add", "Bulk", said="'Bulk' is no name of a lane")
    refused(world, "add", "more", "--app", "", said="--app: 1 to 128 bytes")
    assert f"{world.name}.jobs.more" not in topics(world)

    world.inferq("lane", "remove", "bulk", "--reason", "few")
    assert [row["lane"] for row in lanes(world)][3:] == ["embed", "plain"]
    again = json.loads(world.inferq("lane", "add", "bulk", "--json").stdout)
    assert (again["code"], again["state"], again["app"]) == (3, "added", None), "its code is its own"
    assert world.rows("SELECT actor, action, subject, detail FROM audit_log WHERE actor = 'ann'") == [
        ("ann", "lane add", "bulk", "jobs that name it, and those of app shop; many")]
    assert world.rows("SELECT action, subject, detail FROM audit_log WHERE action = 'lane remove'") == [
        ("lane remove", "bulk", "few")]
    assert world.value("SELECT count(*) FROM audit_log WHERE action LIKE 'lane %%'") == 8

    for i in range(10):
        world.rows("INSERT INTO lane (code, name) VALUES (%s, %s)", 20 + i, f"more-{i}")
    refused(world, "add", "one-more", said="there are 16 lanes, and no more are possible")


def test_a_lane_is_removed_when_no_job_waits_in_it(lone_world):
    world = lone_world(partitions=1)
    world.add_lane("own")
    group = ("--group", world.name)
    batch = world.ask("[[sim: status=400]] bad", "good", options=("--lane", "own"))
    refused(world, "remove", "own", *group, said="1 batches that go there have not ended")
    world.rows("UPDATE batch SET sealed_at = NULL, total = NULL, registered_at = now() - interval '1 day'")
    refused(world, "remove", "own", *group, said="2 records of its topic are not done")
    world.inferq("batch", "seal", str(batch), "--total", "2")
    world.start_worker()
    assert world.wait_ended(batch)["succeeded"] == 1
    world.stop_workers()
    world.inferq("dead", "requeue", str(world.letters(batch)[0]["dead_id"]))
    refused(world, "remove", "own", *group, said="1 of its jobs wait in Postgres")
    world.start_worker()
    assert world.wait_ended(batch)["pending"] == 0
    world.stop_workers()
    world.inferq("lane", "remove", "own", *group)
    # A letter of that lane runs again where its message says.
    world.inferq("dead", "requeue", str(world.letters(batch)[1]["dead_id"]))
    assert world.rows("SELECT lane_name(priority) FROM parked") == [("normal",)]


def test_a_lane_that_is_not_there_is_refused_where_it_is_named(lone_world):
    world = lone_world()
    world.add_lane("nightly")
    path = world.tmp / "x.jsonl"
    path.write_text(json.dumps({"model": "m", "messages": []}) + "\n")

    def submit(*words):
        return run_program(BIN / "inferq-submit", "--app", "a", "--batch", "b", *words, path, ok=(2,),
                           env=world.env).stderr
    known = "the lanes are high, normal, low, nightly; `inferq lane add nite` adds it"
    assert f"--lane: there is no lane 'nite': {known}" in submit("--lane", "nite")
    assert f"there is no lane 'nite': {known}" in submit("--lane", "nite", "--dry-run")
    assert "--lane 'Nite!' is no name of a lane" in submit("--lane", "Nite!")
    assert world.value("SELECT count(*) FROM batch") == 0

    def worker(**conf):
        started = world.start_worker(ready=False, **conf)
        assert started.wait() == 2
        return started.log()
    assert f"lanes: there is no lane 'nite': {known}" in worker(lanes="nite")
    assert f"lane.nite.weight: there is no lane 'nite': {known}" in worker(lane__nite__weight="3")
    assert "more than half of memory.max_bytes" in worker(lane__nightly__max_bytes="400MiB")
    assert "minimum shares add up to" in worker(lane__nightly__min_share="333", lane__low__min_share="333",
                                                lane__high__min_share="333")
    world.start_worker(lanes="nightly", lane__nightly__weight="3")
    world.stop_workers()


@pytest.mark.parametrize("words, said", [
    (["add"], "NAME is missing"),
    (["add", "a_b"], "'a_b' is no name of a lane"),
    (["remove"], "LANE is missing"),
    (["remove", "-"], "'-' is no name of a lane"),
    (["assign", "x", "--app", "y" * 129], "--app: 1 to 128 bytes"),
])
def test_bad_arguments_are_told_before_anything_connects(words, said):
    fails(run("lane", *words, env={"PGPORT": "1"}), 2, said)


def test_servers_that_are_away_and_databases_that_are_not_ours():
    for words in (["list"], ["add", "x"], ["assign", "x"], ["remove", "x"]):
        fails(run("lane", *words, env={"PGPORT": "1"}), 3, "127.0.0.1")
    empty = Database(f"lane_{os.getpid()}_own", migrated=False)
    try:
        fails(empty.inferq("lane", "list"), 2, "run `inferq migrate`")
        fails(empty.inferq("lane", "add", "x"), 2, "run `inferq migrate`")
    finally:
        empty.drop()


def test_topics_are_made_without_postgres_and_it_is_said(lone_world):
    world = lone_world(make_topics=False)
    world.add_lane("extra")
    done = world.inferq("topics", "--json", "--partitions", "1", env={"PGPORT": "1"})
    assert {row["topic"] for row in json.loads(done.stdout)} == {
        world.topic(lane) for lane in ("high", "normal", "low")} | {f"{world.name}.dead"}
    assert "Postgres could not be asked for lanes" in done.stderr
    whole = world.inferq("topics", "--json")
    assert json.loads(whole.stdout)[3] == {"topic": world.topic("extra"), "state": "exists",
                                           "partitions": 1}
    assert whole.stderr == ""
