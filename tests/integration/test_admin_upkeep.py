"""`inferq upkeep`: each act on a real Postgres, on rows made by hand; Kafka's records and a call that
is left open for good on a real fleet."""

import json
import os
import signal
import subprocess

import pytest
from admin_fixture import CANCELLED, DISCARDED, INFERQ, OPEN, Database, fails, run, works
from checks import finish, learn_messages
from harness import LANES, QUICK_LEASE, Message, model, wait_for

ACTS = ["partitions", "drop", "calls", "progress", "workers", "records"]
ROWS_ONLY = [word for act in ACTS[:-1] for word in ("--only", act)]


@pytest.fixture(scope="module")
def shared():
    database = Database(f"upkeep_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, without rows. What was made ahead stays."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, dead_letter, audit_log, "
                "partition_leaving, price, model, model_version, endpoint RESTART IDENTITY CASCADE")
    shared.rows("UPDATE setting SET value = 0 WHERE name IN ('retention_days', 'calls_swept_ms')")
    return shared


def upkeep(db, *words, code=0):
    """{act: [row...]} of what was done."""
    if "--only" not in words:
        words = (*ROWS_ONLY, *words)
    acts = {}
    for row in json.loads(works(db.inferq("upkeep", *words, "--json"), code)):
        acts.setdefault(row["act"], []).append(row)
    return acts


def states(rows):
    return [(row["subject"], row["state"], row["count"]) for row in rows]


def audits(db):
    return db.rows("SELECT action, subject FROM audit_log WHERE action LIKE 'upkeep%%'"
                   " ORDER BY audit_id")


def old_spans(db, count):
    """So many before the oldest; [(suffix, lower_ms)...], the oldest first."""
    (lower_ms, upper_ms), = db.rows("SELECT lower_ms, upper_ms FROM partition_span"
                                    " ORDER BY lower_ms LIMIT 1")
    width = upper_ms - lower_ms
    made = []
    for i in range(count, 0, -1):
        lower = lower_ms - i * width
        suffix = f"old{i}"
        for parent in ("result", "call"):
            db.rows("SELECT attach_partition(%s, %s, %s, %s)", parent, suffix, lower, lower + width)
        db.rows("INSERT INTO partition_span VALUES (%s, %s, %s)", lower, lower + width, suffix)
        made.append((suffix, lower))
    return made


def tables(db, suffix):
    return db.value("SELECT count(*) FROM pg_class WHERE relname IN (%s, %s)", f"result_{suffix}",
                    f"call_{suffix}")


# ---- partitions -----------------------------------------------------------------------------------

def test_partitions_are_made_ahead(db):
    spans = "SELECT count(*) FROM partition_span"
    before = db.value(spans)
    assert states(upkeep(db)["partitions"]) == [("result, call", "nothing", 0)]
    assert states(upkeep(db, "--dry-run")["partitions"]) == [("result, call", "nothing", 0)]
    db.rows("UPDATE setting SET value = value + 3 WHERE name = 'partitions_ahead'")
    assert states(upkeep(db, "--dry-run")["partitions"]) == [("result, call", "would do", 3)]
    assert db.value(spans) == before and audits(db) == []
    assert states(upkeep(db)["partitions"]) == [("result, call", "done", 3)]
    assert db.value(spans) == before + 3
    assert audits(db) == [("upkeep partitions", "result, call")]
    assert states(upkeep(db)["partitions"]) == [("result, call", "nothing", 0)]


def test_what_is_older_than_the_retention_is_dropped_oldest_first(db):
    """A span with jobs that have not ended, or letters under review, stays, and so do those after
    it; what was reviewed goes with its span."""
    spans = old_spans(db, 3)
    ended = db.batch("ended", 2, created_ms=spans[0][1] + 1000)
    db.result(ended, "a")
    letter = db.dead(ended, "b", state=DISCARDED)
    reviewed = db.batch("reviewed", 1, created_ms=spans[1][1] + 1000)
    under_review = db.dead(reviewed, "c", state=OPEN)
    unfinished = db.batch("unfinished", 2, created_ms=spans[2][1] + 1000)
    db.result(unfinished, "d")
    db.parked(unfinished, "e")
    young = db.batch("young", 1)
    db.result(young, "f")

    assert states(upkeep(db)["drop"]) == [("result, call", "nothing", 0)], "nothing is set"
    db.rows("UPDATE setting SET value = 7 WHERE name = 'retention_days'")
    would = upkeep(db, "--dry-run")["drop"]
    assert states(would) == [("old3", "would do", 1), ("old2", "kept", 2)]
    assert tables(db, "old3") == 2 and audits(db) == []

    drops = upkeep(db)["drop"]
    assert states(drops) == [("old2", "kept", 2), ("old3", "done", 1)]
    assert "dead letters under review: 1" in drops[0]["detail"]
    assert tables(db, "old3") == 0 and tables(db, "old2") == 2
    assert db.value("SELECT oldest_live_ms()") == spans[1][1]
    assert db.value("SELECT count(*) FROM dead_letter WHERE dead_id = %s", letter) == 0
    assert db.progress(ended) == (2, 1, 1, 0, 0, 0), "what the batch came to is kept"
    assert audits(db) == [("upkeep drop", "old3")]

    db.rows("UPDATE dead_letter SET state = %s WHERE dead_id = %s", DISCARDED, under_review)
    drops = upkeep(db)["drop"]
    assert states(drops) == [("old1", "kept", 1), ("old2", "done", 1)]
    assert "have not ended: 1, of them parked: 1;" in drops[0]["detail"]
    assert states(upkeep(db, "--drop-unfinished")["drop"])[0] == ("old1", "done", 1)
    assert db.value("SELECT count(*) FROM result") == 1 and db.progress(young)[1] == 1
    assert db.value("SELECT count(*) FROM partition_leaving") == 0


def test_a_reader_holds_a_dropping_up_and_no_writer(db):
    """Detaching waits for the reader's end, a bounded time, and others read and write meanwhile."""
    (suffix, _), = old_spans(db, 1)
    reader = Database.connect(db)
    reader.autocommit = False
    reader.cursor().execute("SELECT count(*) FROM result")
    db.connect()
    dropping = subprocess.Popen([INFERQ, "upkeep", "--only", "drop", "--retention", "7d", "--json"],
                                env={**os.environ, **db.env}, stdout=subprocess.PIPE)
    wait_for(lambda: db.value("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"),
             what="a partition that is being detached")
    db.result(db.batch("meanwhile", 1), "x")
    reader.rollback()
    reader.close()
    said = json.loads(dropping.communicate(timeout=120)[0])
    assert dropping.returncode == 0 and (suffix, "done", 1) in states(said)
    assert tables(db, suffix) == 0


def test_a_dropping_that_was_killed_is_gone_on_with(db):
    (suffix, lower), = old_spans(db, 1)
    db.rows("WITH gone AS (DELETE FROM partition_span WHERE suffix = %s RETURNING *)"
            " INSERT INTO partition_leaving SELECT suffix, lower_ms, upper_ms FROM gone", suffix)
    db.rows(f"ALTER TABLE call DETACH PARTITION call_{suffix}")
    assert db.value("SELECT oldest_live_ms()") > lower
    assert states(upkeep(db)["drop"]) == [(suffix, "done", 1)], "without any retention too"
    assert tables(db, suffix) == 0


# ---- rows -----------------------------------------------------------------------------------------

def test_calls_that_nobody_will_close_are_lost(db):
    """Those of ended jobs whose workers are gone; not those that may still end."""
    catalogue = db.catalogue()
    gone, dead, alive = db.worker(), db.worker(), db.worker()
    db.rows("UPDATE worker SET fenced = true WHERE worker_id = %s", gone)
    db.rows("UPDATE worker SET lease_until = now() - interval '2 hours' WHERE worker_id = %s", dead)
    b = db.batch("b", 5)
    for custom_id in ("fenced", "silent", "living", "young"):
        db.result(b, custom_id, call_number=1)
    long_ago = {"claimed_at": "2026-01-05T00:00:00.0007Z"}
    for custom_id, worker, more in (("fenced", gone, long_ago), ("silent", dead, long_ago),
                                    ("living", alive, long_ago), ("young", gone, {}),
                                    ("queued", gone, long_ago)):
        db.call(b, custom_id, 2, worker, *catalogue, **more)
    db.call(b, "fenced", 1, dead, *catalogue, **long_ago, done_at="2026-01-05T00:01:00Z",
            **{"class": 1, "certainty": 1, "cost_nusd": 500})
    open_calls = "SELECT count(*) FROM call WHERE done_at IS NULL"

    would = upkeep(db, "--dry-run")["calls"]
    assert states(would) == [("call", "would do", 2)] and "0.0000018 USD" in would[0]["detail"]
    assert db.value(open_calls) == 5
    assert states(upkeep(db)["calls"]) == [("call", "done", 2)]
    assert db.rows("SELECT code_name('class', class), code_name('certainty', certainty), cost_nusd,"
                   " upper_nusd FROM call WHERE number = 2 AND done_at IS NOT NULL") == [
                       ("lost", "estimated", 900, 5000)] * 2
    assert db.value(open_calls) == 3
    assert states(upkeep(db)["calls"]) == [("call", "nothing", 0)]

    cost, = json.loads(works(db.inferq("cost", "--since", "2026-01-01T00:00:00Z", "--json")))
    assert cost["calls"] == 6 and cost["cost_nusd"] == 500 + 2 * 900
    story = works(db.inferq("explain", "pipe/b", "fenced"))
    assert "lost" in story
    db.rows("UPDATE worker SET fenced = true WHERE worker_id = %s", alive)
    assert states(upkeep(db)["calls"]) == [("call", "done", 1)], "the mark did not pass it"


def test_progress_of_batches_that_rest_is_rolled_up(db):
    resting, busy = db.batch("resting", 40), db.batch("busy", 3)
    for i in range(30):
        db.result(resting, f"s{i}")
    for i in range(10):
        db.result(resting, f"c{i}", CANCELLED, "cancelled", cost_nusd=None)
    for i in range(3):
        db.result(busy, f"s{i}")
    db.rows("UPDATE progress SET at = now() - interval '2 hours' WHERE batch_id = %s", resting.id)
    rows = "SELECT count(*) FROM progress WHERE batch_id = %s"
    before = db.progress(resting)
    assert states(upkeep(db, "--dry-run")["progress"]) == [("progress", "would do", 38)]
    assert db.value(rows, resting.id) == 40
    assert states(upkeep(db)["progress"]) == [("progress", "done", 38)]
    assert (db.value(rows, resting.id), db.value(rows, busy.id)) == (2, 3)
    assert db.progress(resting) == before == (40, 30, 0, 10, 0, 0)
    assert db.value("SELECT cost_nusd FROM batch_progress WHERE batch_id = %s", resting.id) == 30000
    assert states(upkeep(db)["progress"]) == [("progress", "nothing", 0)]


def test_workers_older_than_any_call_are_deleted(db):
    ids = [db.worker() for _ in range(3)]
    db.rows("UPDATE worker SET lease_until = '2020-01-01' WHERE worker_id = ANY (%s)", ids[:2])
    db.rows("UPDATE worker SET fenced = true WHERE worker_id = %s", ids[0])
    assert states(upkeep(db, "--dry-run")["workers"]) == [("worker", "would do", 1)]
    assert states(upkeep(db)["workers"]) == [("worker", "done", 1)]
    assert db.rows("SELECT worker_id FROM worker ORDER BY 1") == [(i,) for i in ids[1:]]


# ---- the command ----------------------------------------------------------------------------------

def test_a_second_one_leaves_it_to_the_first(db):
    db.rows("UPDATE setting SET value = value + 1 WHERE name = 'partitions_ahead'")
    db.rows("SELECT pg_advisory_lock(hashtextextended('inferq upkeep', 0))")
    done = db.inferq("upkeep", *ROWS_ONLY)
    assert works(done) == "" and "another upkeep is at work" in done.stderr
    assert json.loads(works(db.inferq("upkeep", *ROWS_ONLY, "--json"))) == []
    db.rows("SELECT pg_advisory_unlock_all()")
    assert states(upkeep(db)["partitions"]) == [("result, call", "done", 1)]


@pytest.mark.parametrize("words, said", [
    (["--only", "everything"], "no act 'everything'"),
    (["--retention", "long"], "--retention: 'long' is no duration"),
    (["--kafka-keep", "-7d"], "is no duration"),
    (["--lost-after", ""], "is no duration"),
    (["now"], "too many arguments"),
])
def test_bad_arguments_are_told_before_anything_connects(words, said):
    fails(run("upkeep", *words, env={"PGPORT": "1"}), 2, said)


def test_servers_that_are_away_and_databases_that_are_not_ours(db):
    fails(db.inferq("upkeep", env={"PGPORT": "1"}), 3, "127.0.0.1")
    done = fails(db.inferq("upkeep", env={"PGUSER": "nobody_here", "PGPASSWORD": "hush-hush"}), 3)
    assert "hush" not in done.stderr
    # What needs no Kafka is done, and told, all the same.
    db.rows("UPDATE setting SET value = value + 1 WHERE name = 'partitions_ahead'")
    done = fails(db.inferq("upkeep", "--json", "--kafka.bootstrap.servers", "127.0.0.1:1"), 3,
                 "records", "127.0.0.1:1", "refused")
    said = {row["act"]: row["state"] for row in json.loads(done.stdout)}
    assert (said["partitions"], said["records"]) == ("done", "failed")
    fails(db.inferq("upkeep", "--only", "records", "--prefix", "nowhere"), 2,
          "no topic nowhere.jobs.*", "inferq topics")
    empty = Database(f"upkeep_{os.getpid()}_own", migrated=False)
    try:
        fails(empty.inferq("upkeep", *ROWS_ONLY), 2, "run `inferq migrate`")
    finally:
        empty.drop()
    user = f"upkeep_operator_{os.getpid()}"
    db.rows(f"CREATE ROLE {user} LOGIN PASSWORD 'pw' IN ROLE inferq_operator")
    try:
        fails(db.inferq("upkeep", *ROWS_ONLY, env={"PGUSER": user, "PGPASSWORD": "pw"}), 2,
              "does not own inferq's tables")
    finally:
        db.rows(f"DROP ROLE {user}")


# ---- on a fleet -----------------------------------------------------------------------------------

def held(world):
    return sum(row["high"] - row["low"] for row in world.committed())


def test_settled_records_leave_kafka_and_others_stay(lone_world):
    """Nothing above the group's offset goes, however old; nothing below it that is to be kept."""
    world = lone_world()
    world.start_worker()
    first = world.ask(*[f"text {i}" for i in range(20)])
    world.wait_ended(first)
    world.stop_workers()
    message = Message()
    world.produce(*[message.pack(f"later-{i}") for i in range(10)])
    world.seal(message, 10)
    learn_messages(world, world.records(*[world.topic(lane) for lane in LANES]))
    words = ["--only", "records", "--group", world.name, "--json"]

    def records(*more):
        return json.loads(world.inferq("upkeep", *words, *more).stdout)

    assert states(records()) == [("", "nothing", 0)], "all are younger than kafka_keep_days"
    would = records("--kafka-keep", "0s", "--dry-run")
    assert sum(row["count"] for row in would) == 20 and held(world) == 30
    done = records("--kafka-keep", "0s")
    assert {row["state"] for row in done} == {"done"}
    assert sum(row["count"] for row in done) == 20 and held(world) == 10
    assert world.value("SELECT count(*) FROM audit_log WHERE action = 'upkeep records'") == len(done)
    assert states(records("--kafka-keep", "0s")) == [("", "nothing", 0)]
    world.start_worker()
    assert world.wait_ended(message.batch_id)["succeeded"] == 10
    assert world.sim.summary()["requests"] == 30
    finish(world)


def test_a_call_whose_job_a_predecessor_ended_is_closed(lone_world):
    """The worker is stopped in its call, another takes the job over; the first wakes and its answer
    ends the job; the second dies with its call open. No record will bring anybody back to it."""
    world = lone_world(models=[model("slow", timeout="60s")], latency="40s", partitions=1,
                       conf={**QUICK_LEASE, "kafka.session.timeout.ms": "6000"})
    first = world.start_worker()
    batch = world.ask("[[sim: latency=5s times=1]] text", model="slow")
    wait_for(lambda: world.sim.summary()["in_flight"] == 1, what="the first call")
    first.signal(signal.SIGSTOP)
    second = world.start_worker()
    wait_for(lambda: world.sim.summary()["requests"] == 2, 60, "the second call")
    first.signal(signal.SIGCONT)
    assert world.wait_ended(batch)["succeeded"] == 1
    second.kill()
    first.stop()
    calls = [(c["number"], c["class"]) for c in world.calls(batch)]
    assert calls == [(1, "ok"), (2, None)], "nobody has closed the second"

    def swept():
        done = world.inferq("upkeep", "--only", "calls", "--lost-after", "1s", "--json")
        return json.loads(done.stdout)[0]["count"]

    assert wait_for(swept, what="a lease that is over") == 1
    one, two = world.calls(batch)
    assert (two["class"], two["certainty"]) == ("lost", "estimated")
    assert two["cost_nusd"] == two["estimated_nusd"] > 0
    cost, = json.loads(world.inferq("cost", "--json").stdout)
    assert cost["cost_nusd"] == one["cost_nusd"] + two["cost_nusd"]
    story = world.inferq("explain", str(one["job_id"])).stdout
    assert "lost" in story and "succeeded" in story
    finish(world, crashed=True)
