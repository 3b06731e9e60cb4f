"""`inferq worker` and `inferq endpoint` on a real Postgres: what is shown, what is written, what is
refused, on rows made by hand. What a fleet makes of it: test_operate.py."""

import os

import pytest

from admin_fixture import CLASS, DEAD, Database, asked, audits, columns, fails, notified, works


@pytest.fixture(scope="module")
def shared():
    database = Database(f"admin_fleet_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, without rows."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, dead_letter, audit_log, "
                "endpoint_pause, price, model, model_version, endpoint RESTART IDENTITY CASCADE")
    return shared


# ---- workers --------------------------------------------------------------------------------------

def five_workers(db):
    """alive, draining, silent, fenced, stopped"""
    ids = [db.worker() for _ in range(5)]
    db.rows("UPDATE worker SET drain_requested_at = now() WHERE worker_id = %s", ids[1])
    db.rows("UPDATE worker SET lease_until = now() - interval '1 s' WHERE worker_id = ANY (%s)",
            ids[2:4])
    db.rows("UPDATE worker SET fenced = true WHERE worker_id = %s", ids[3])
    db.rows("UPDATE worker SET fenced = true, stopped_at = now() WHERE worker_id = %s", ids[4])
    return ids


def test_worker_list(db):
    ids = five_workers(db)
    catalogue = db.catalogue()
    b = db.batch("b", 9)
    ended = {"done_at": "now", "certainty": 1, "cost_nusd": 1}
    for name in ("one", "two"):
        db.call(b, name, 1, ids[0], *catalogue, **ended, **{"class": CLASS["ok"]})
        db.result(b, name)
    db.call(b, "refused", 1, ids[0], *catalogue, **ended, **{"class": CLASS["refused"]})
    db.result(b, "refused", DEAD, "refused", call_number=1)
    db.call(b, "again", 1, ids[0], *catalogue, **ended, **{"class": CLASS["ambiguous"]})
    db.call(b, "again", 2, ids[1], *catalogue)
    db.call(b, "old", 1, ids[1], *catalogue, claimed_at="2026-01-01T00:00:00Z")
    rows = {row["worker_id"]: row for row in asked(db, "worker", "list", "--all")}
    assert [rows[i]["state"] for i in ids] == ["alive", "draining", "silent", "fenced", "stopped"]
    assert (rows[ids[0]]["jobs_per_minute"], rows[ids[0]]["in_flight"]) == (3, 0)
    assert (rows[ids[1]]["jobs_per_minute"], rows[ids[1]]["in_flight"]) == (0, 1), \
        "no call can be in flight for longer than its endpoint's timeout"
    assert rows[ids[0]]["build"] == "b1" and rows[ids[0]]["lease_until"].startswith("2030-01-01")
    assert rows[ids[4]]["stopped_at"] and not rows[ids[0]]["drain_requested_at"]
    assert [row["worker_id"] for row in asked(db, "worker", "list")] == ids[:3]
    assert [row["worker_id"] for row in asked(db, "worker", "list", "--all", "--limit", "2")] == ids[3:]
    lines = works(db.inferq("worker", "list")).splitlines()
    assert columns(lines[0])[:4] == ["ID", "HOST", "PID", "STATE"] and len(lines) == 4


def test_worker_drain_tells_and_audits(db):
    ids = five_workers(db)
    done = db.inferq("worker", "drain", str(ids[0]), str(ids[2]), "--actor", "ann", "--reason",
                     "a new kernel")
    assert "draining" in works(done) and "silent" in works(done)
    told = "SELECT worker_id FROM worker WHERE drain_requested_at IS NOT NULL ORDER BY 1"
    assert db.rows(told) == [(ids[0],), (ids[1],), (ids[2],)]
    assert audits(db) == [
        ("ann", "worker drain", f"worker {i} (h1, pid 7)", "a new kernel") for i in (ids[0], ids[2])]
    at = db.value("SELECT drain_requested_at FROM worker WHERE worker_id = %s", ids[0])
    rows = asked(db, "worker", "drain", str(ids[0]))
    assert rows == [{"worker_id": ids[0], "host": "h1", "pid": 7, "state": "draining"}]
    assert db.value("SELECT drain_requested_at FROM worker WHERE worker_id = %s", ids[0]) == at


def test_worker_drain_tells_all_or_none(db):
    ids = five_workers(db)
    for bad, said in ((99, "there is no worker 99"), (ids[3], f"worker {ids[3]} is fenced already"),
                      (ids[4], f"worker {ids[4]} is stopped already")):
        fails(db.inferq("worker", "drain", str(ids[0]), str(bad)), 2, said, "nobody was told")
    fails(db.inferq("worker", "drain", "h1"), 2, "'h1' is no worker's id")
    fails(db.inferq("worker", "drain"), 2, "WORKER... is missing")
    fails(db.inferq("worker", "drain", "1", env={"PGPORT": "1"}), 3)
    assert audits(db) == [] and db.value("SELECT drain_requested_at FROM worker "
                                         "WHERE worker_id = %s", ids[0]) is None


def test_worker_drain_waits_no_longer_than_asked(db):
    ids = five_workers(db)
    done = db.inferq("worker", "drain", str(ids[0]), str(ids[2]), "--wait", "--timeout", "1")
    assert "draining" in works(done, 1) and "1 of them are still there" in done.stderr


# ---- endpoints ------------------------------------------------------------------------------------

def test_endpoint_show(db):
    endpoint, version, price = db.catalogue()
    worker, b = db.worker(), db.batch("b", 9)
    db.insert("endpoint", name="us", version=2, base_url="https://us.example", adapter=0,
              credential="", ca_file="", max_in_flight=1, timeout_ms=1000, connect_timeout_ms=1000,
              send_ids=False, idempotency_key=False, sha256=b"y")
    db.parked(b, "waits", wait_key=endpoint)
    db.parked(b, "waits too", wait_key=endpoint)
    db.parked(b, "waits for nobody")
    db.call(b, "open", 1, worker, endpoint, version, price)
    for i, class_ in enumerate(("ok", "throttled", "ok")):
        db.call(b, f"c{i}", 1, worker, endpoint, version, price, done_at="now", certainty=1,
                cost_nusd=0, **{"class": CLASS[class_]})
    rows = asked(db, "endpoint", "show")
    assert [(row["endpoint"], row["version"], row["state"]) for row in rows] == [
        ("eu", 1, "open"), ("us", 2, "open")]
    eu = rows[0]
    assert (eu["in_flight"], eu["calls_per_minute"], eu["failed_per_minute"]) == (1, 3, 1)
    assert (eu["waiting"], eu["waiting_for"], eu["models"]) == (2, "throttled", "m@1")
    assert eu["base_url"] == "https://models.example" and eu["paused_by"] is None
    assert asked(db, "endpoint", "show", "us") == rows[1:]
    fails(db.inferq("endpoint", "show", "uk"), 2, "the catalogue has no endpoint 'uk'")


def test_endpoint_pause_and_resume(db):
    db.catalogue()
    b = db.batch("b", 1)
    endpoint = db.value("SELECT endpoint_id FROM endpoint")
    db.parked(b, "waits", wait_key=endpoint)
    heard = notified(db, "inferq_endpoint", lambda: works(db.inferq("endpoint", "pause", "eu", "--actor", "ann",
                                                 "--reason", "their maintenance")))
    assert heard == 1
    assert db.rows("SELECT name, version, actor, reason FROM endpoint_pause") == [
        ("eu", 0, "ann", "their maintenance")]
    done = db.inferq("endpoint", "show", "eu")
    assert "paused" in works(done) and "eu was paused by ann: their maintenance" in done.stderr
    assert asked(db, "endpoint", "show")[0]["paused_reason"] == "their maintenance"
    assert ("endpoint eu was paused by ann (their maintenance), until `inferq endpoint resume eu`"
            in works(db.inferq("explain", b.ref, "waits")))
    again = db.inferq("endpoint", "pause", "eu", "--actor", "ben")
    assert "is paused already" in works(again)
    assert db.value("SELECT actor FROM endpoint_pause") == "ann"
    assert notified(db, "inferq_endpoint", lambda: works(db.inferq(
        "endpoint", "resume", "eu", "--actor", "ben"))) == 1
    assert db.rows("SELECT * FROM endpoint_pause") == []
    assert "was not paused" in works(db.inferq("endpoint", "resume", "eu"))
    assert asked(db, "endpoint", "resume", "eu") == {"endpoint": "eu", "state": "open",
                                                     "changed": False, "forgot": False}
    assert audits(db) == [("ann", "endpoint pause", "eu", "their maintenance"),
                          ("ben", "endpoint resume", "eu", "")]


def test_one_version_of_an_endpoint(db):
    db.catalogue()
    works(db.inferq("endpoint", "pause", "eu@1"))
    assert db.rows("SELECT name, version FROM endpoint_pause") == [("eu", 1)]
    assert asked(db, "endpoint", "show")[0]["state"] == "paused"
    works(db.inferq("endpoint", "pause", "eu"))
    fails(db.inferq("endpoint", "resume", "eu@1"), 2, "all versions of 'eu' are paused together")
    assert db.value("SELECT count(*) FROM endpoint_pause") == 2, "refused: nothing was done"
    works(db.inferq("endpoint", "resume", "eu"))
    assert asked(db, "endpoint", "show")[0]["state"] == "open"
    assert [row[1:3] for row in audits(db)] == [
        ("endpoint pause", "eu@1"), ("endpoint pause", "eu"), ("endpoint resume", "eu")]


def test_endpoint_refusals(db):
    db.catalogue()
    for name, said in (("uk", "the catalogue has no endpoint 'uk'; it has: eu"),
                       ("eu@2", "the catalogue has no endpoint 'eu@2'"),
                       ("eu@", "is no endpoint: NAME, or NAME@VERSION"), ("eu@0", "is no endpoint"),
                       ("@1", "is no endpoint"), ("eu@1x", "is no endpoint")):
        fails(db.inferq("endpoint", "pause", name), 2, said)
        fails(db.inferq("endpoint", "resume", name), 2, said)
    fails(db.inferq("endpoint", "pause", "eu", "--reason", "x" * 5000), 2, "at most 4096 bytes")
    fails(db.inferq("endpoint", "pause"), 2, "NAME is missing")
    fails(db.inferq("endpoint", "pause", "eu", env={"PGPORT": "1"}), 3)
    assert audits(db) == [] and db.rows("SELECT * FROM endpoint_pause") == []


def test_operators_may_and_others_may_not(db):
    db.catalogue()
    worker = str(db.worker())
    logins = {}
    for role in ("operator", "reviewer", "reader", "worker"):
        user = f"fleet_{role}_{os.getpid()}"
        db.rows(f"CREATE ROLE {user} LOGIN PASSWORD 'pw' IN ROLE inferq_{role}")
        logins[role] = {"PGUSER": user, "PGPASSWORD": "pw"}
    try:
        for role, env in logins.items():
            acts = [["worker", "drain", worker], ["endpoint", "pause", "eu"],
                    ["endpoint", "resume", "eu"]]
            for words in acts:
                done = db.inferq(*words, env=env)
                # A worker writes its own row and others': it fences them.
                if role == "operator" or (role, words[0]) == ("worker", "worker"):
                    works(done)
                else:
                    fails(done, 2, "may not do that")
        for role in ("operator", "reviewer", "reader"):
            works(db.inferq("worker", "list", env=logins[role]))
        for role in ("operator", "reviewer"):
            works(db.inferq("endpoint", "show", env=logins[role]))
        assert [audit[1] for audit in audits(db)] == [
            "worker drain", "endpoint pause", "endpoint resume", "worker drain"]
    finally:
        for env in logins.values():
            db.rows(f"DROP ROLE {env['PGUSER']}")
