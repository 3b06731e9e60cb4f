"""`inferq limit` on a real Postgres: what is set and audited, what is refused, what is shown, on rows
made by hand. What workers make of it is theirs to show."""

import json
import os
import re

import psycopg2
import pytest

from admin_fixture import CLASS, Database, asked, audits, columns, fails, notified, works
from harness import away_from_midnight

TIME_LEFT = r"\([\d hmins.]+\)"
RULES = ("SELECT code_name('limit_scope', scope) || ':' || key, code_name('limit_dimension', dimension),"
         " of_catalogue, of_operator FROM limit_rule ORDER BY scope, key, dimension")


@pytest.fixture(scope="module")
def shared():
    database = Database(f"admin_limit_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, without rows but a small catalogue with one limit."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, audit_log, limit_rule, "
                "limit_share, limit_day, limit_learned, price, model, model_version, endpoint "
                "RESTART IDENTITY CASCADE")
    shared.ids = shared.catalogue()
    shared.rows("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) "
                "VALUES (1, 'eu@1', 1, 500, 'file')")
    return shared


# ---- set and clear --------------------------------------------------------------------------------

def test_set_goes_before_the_catalogue_and_clear_ends_it(db):
    done = []
    assert notified(db, "inferq_limit", lambda: done.append(db.inferq(
        "limit", "set", "endpoint:eu", "requests_per_minute", "300", "--actor", "ann", "--reason",
        "their mail of today"))) == 1
    lines = works(done[0]).splitlines()
    assert columns(lines[1]) == ["endpoint:eu@1", "requests_per_minute", "500", "300", "operator",
                                 "changed"]
    assert db.rows(RULES) == [("endpoint:eu@1", "requests_per_minute", 500, 300)]
    assert db.value("SELECT changed_by FROM limit_rule") == "ann"
    works(db.inferq("limit", "set", "endpoint:eu@1", "requests_per_minute", "400", "--actor", "ben"))
    assert notified(db, "inferq_limit", lambda: done.append(db.inferq(
        "limit", "clear", "endpoint:eu", "requests_per_minute", "--actor", "cleo", "--json"))) == 1
    assert json.loads(works(done[1])) == [
        {"limit": "endpoint:eu@1", "dimension": "requests_per_minute", "was": 400, "amount": 500,
         "source": "catalogue", "state": "changed"}]
    assert db.rows(RULES) == [("endpoint:eu@1", "requests_per_minute", 500, None)]
    assert audits(db) == [
        ("ann", "limit set", "endpoint:eu@1 requests_per_minute", "none -> 300: their mail of today"),
        ("ben", "limit set", "endpoint:eu@1 requests_per_minute", "300 -> 400"),
        ("cleo", "limit clear", "endpoint:eu@1 requests_per_minute", "400 -> none")]


def test_limits_of_models_and_apps(db):
    db.batch("b", 1, app="nightly")
    done = db.inferq("limit", "set", "app:nightly", "tokens_per_day", "2M")
    assert "nightly" in works(done) and not done.stderr
    works(db.inferq("limit", "set", "model:m", "in_flight", "8"))
    works(db.inferq("limit", "set", "model:m@1", "tokens_per_minute", "200_000"))
    done = db.inferq("limit", "set", "app:nigthly", "in_flight", "5")
    assert "no job of an app 'nigthly' has been seen so far" in done.stderr and works(done)
    assert db.rows(RULES) == [
        ("endpoint:eu@1", "requests_per_minute", 500, None),
        ("model:m@1", "tokens_per_minute", None, 200000), ("model:m@1", "in_flight", None, 8),
        ("app:nightly", "tokens_per_day", None, 2000000), ("app:nigthly", "in_flight", None, 5)]
    rows = asked(db, "limit", "clear", "model:m")
    assert [(row["dimension"], row["was"], row["amount"], row["source"]) for row in rows] == [
        ("tokens_per_minute", 200000, None, None), ("in_flight", 8, None, None)]
    works(db.inferq("limit", "clear", "app:nigthly"))
    assert [row["limit"] for row in asked(db, "limit", "show")] == ["endpoint:eu@1", "app:nightly"]


def test_saying_it_again_changes_nothing_and_tells_once_more(db):
    works(db.inferq("limit", "set", "endpoint:eu", "in_flight", "9", "--actor", "ann"))
    rows = []
    assert notified(db, "inferq_limit", lambda: rows.extend(
        asked(db, "limit", "set", "endpoint:eu", "in_flight", "9", "--actor", "ben"))) == 1
    assert (rows[0]["state"], rows[0]["was"], rows[0]["amount"]) == ("unchanged", 9, 9)
    assert len(audits(db)) == 1
    works(db.inferq("limit", "clear", "endpoint:eu", "in_flight"))
    done = db.inferq("limit", "clear", "endpoint:eu", "--json")
    assert works(done) == "[]\n" and "no operator has set a limit there" in done.stderr
    assert len(audits(db)) == 2


def test_a_dry_run_does_nothing(db):
    assert notified(db, "inferq_limit", lambda: works(db.inferq("limit", "set", "endpoint:eu", "in_flight", "9",
                                                "--dry-run"))) == 0
    rows = asked(db, "limit", "set", "endpoint:eu", "requests_per_minute", "1", "--dry-run")
    assert (rows[0]["was"], rows[0]["amount"], rows[0]["state"]) == (500, 1, "would change")
    fails(db.inferq("limit", "set", "endpoint:uk", "in_flight", "9", "--dry-run"), 2, "no endpoint")
    done = db.inferq("limit", "clear", "endpoint:eu", "--dry-run")
    assert works(done) and "no operator has set a limit there" in done.stderr
    assert "told" not in done.stderr
    assert db.rows(RULES) == [("endpoint:eu@1", "requests_per_minute", 500, None)]
    assert audits(db) == []


def test_refusals(db):
    db.insert("endpoint", name="us", version=1, base_url="https://us.example", adapter=0, credential="",
              ca_file="", max_in_flight=1, timeout_ms=1000, connect_timeout_ms=1000, send_ids=False,
              idempotency_key=False, sha256=b"y")
    db.insert("endpoint", name="us", version=2, base_url="https://us.example", adapter=0, credential="",
              ca_file="", max_in_flight=1, timeout_ms=1000, connect_timeout_ms=1000, send_ids=False,
              idempotency_key=False, sha256=b"z")
    for limit, dimension, n, said in (
            ("endpoint:uk", "in_flight", "5", "the catalogue has no endpoint 'uk'; it has: eu@1, us@1, us@2"),
            ("endpoint:us", "in_flight", "5", "several versions, with limits of their own: which of us@1, us@2?"),
            ("model:mm", "in_flight", "5", "the catalogue has no model 'mm'; it has: m@1"),
            ("eu", "in_flight", "5", "'eu' is none of endpoint:NAME[@VERSION]"),
            ("endpont:eu", "in_flight", "5", "did you mean 'endpoint'?"),
            ("endpoint:", "in_flight", "5", "which? endpoint:NAME"),
            ("app", "in_flight", "5", "which? endpoint:NAME"),
            ("app:" + "x" * 400, "in_flight", "5", "is too long for a name"),
            ("endpoint:eu", "in_flihgt", "5", "did you mean in_flight?"),
            ("endpoint:eu", "speed", "5", "'speed' is no dimension; there are requests_per_minute"),
            ("endpoint:eu", "in_flight", "0", "pause the endpoint"),
            ("endpoint:eu", "in_flight", "1.5", "is no amount"),
            ("endpoint:eu", "in_flight", "9999M", "is more than a limit of in_flight can be: 1000000"),
            ("endpoint:eu", "tokens_per_day", "99999999999999999999", "is more than a limit")):
        fails(db.inferq("limit", "set", limit, dimension, n), 2, said)
    fails(db.inferq("limit", "set", "endpoint:eu", "in_flight"), 2,
          "N is missing, of LIMIT DIMENSION N; --help")
    fails(db.inferq("limit", "set", "endpoint:eu", "in_flight", "5", "--reason", "x" * 5000), 2,
          "at most 4096 bytes")
    fails(db.inferq("limit", "clear", "endpoint:uk"), 2, "the catalogue has no endpoint 'uk'")
    fails(db.inferq("limit", "show", "endpont"), 2, "did you mean 'endpoint'?")
    fails(db.inferq("limit", "show", "endpoint:uk"), 2, "the catalogue has no endpoint 'uk'")
    fails(db.inferq("limit", "set", "endpoint:eu", "in_flight", "5", env={"PGPORT": "1"}), 3)
    assert audits(db) == [] and len(db.rows(RULES)) == 1


def test_what_left_the_catalogue_can_be_cleared(db):
    db.rows("INSERT INTO limit_rule (scope, key, dimension, of_operator, changed_by) "
            "VALUES (1, 'old@3', 6, 5, 'ann')")
    works(db.inferq("limit", "clear", "endpoint:old@3"))
    assert [row["limit"] for row in asked(db, "limit", "show")] == ["endpoint:eu@1"]


# ---- show -----------------------------------------------------------------------------------------

def test_show(db):
    away_from_midnight()
    db.rows("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, of_operator, changed_by) "
            "VALUES (1, 'eu@1', 4, NULL, 1000, 'ann'), (1, 'eu@1', 6, 10, 8, 'ann'), "
            "(2, 'm@1', 2, 5000, NULL, 'file'), (3, 'pipe', 5, 9000, NULL, 'file'), "
            "(3, 'pipe', 1, NULL, NULL, 'file'), (3, 'other', 3, 70, NULL, 'file')")
    db.rows("INSERT INTO limit_learned (endpoint, multiplier) VALUES ('eu@1', 700)")
    first, second = db.worker(), db.worker()
    db.rows("INSERT INTO limit_share (limit_id, worker_id, asks, want, need, in_use, share, seen, wants) "
            "VALUES (1, %s, 1, 600, 1, 0, 200, 250, ''), (1, %s, 1, 100, 1, 0, 90, 90, '')",
            first, second)
    db.rows("INSERT INTO limit_day VALUES "
            "(5, floor(extract(epoch FROM now()) / 86400)::int, 1234, 100, 9000)")
    b = db.batch("b", 9)
    ended = {"done_at": "now", "certainty": 1, "cost_nusd": 0, "class": CLASS["ok"]}
    db.call(b, "one", 1, first, *db.ids, input_tokens=100, output_tokens=20, **ended)
    db.call(b, "two", 1, first, *db.ids, input_tokens=50, output_tokens=7, **ended)
    db.call(b, "long", 1, first, *db.ids, claimed_at="2020-01-01T00:00:00Z", input_tokens=7, **ended)
    db.call(b, "open", 1, second, *db.ids)
    db.call(b, "old", 1, second, *db.ids, claimed_at="2026-01-01T00:00:00Z", input_tokens=9, **{
        **ended, "done_at": "2026-01-01T00:00:01Z"})
    db.parked(b, "waits", wait_key=-1)
    rows = asked(db, "limit", "show")
    assert [(row["limit"], row["dimension"], row["amount"], row["source"], row["usable"], row["used"])
            for row in rows] == [
        ("endpoint:eu@1", "requests_per_minute", 500, "catalogue", 343, 3),
        ("endpoint:eu@1", "tokens_per_minute", 1000, "operator", 686, 177),
        ("endpoint:eu@1", "in_flight", 8, "operator", 8, 1),
        ("model:m@1", "input_tokens_per_minute", 5000, "catalogue", 4900, 150),
        ("app:other", "output_tokens_per_minute", 70, "catalogue", 68, 0),
        ("app:pipe", "tokens_per_day", 9000, "catalogue", 9000, 177)]
    eu = rows[0]
    assert (eu["held"], eu["workers"], eu["wanted"], eu["waiting"]) == (340, 2, 700, 1)
    pipe = rows[5]  # of what workers have taken, calls have used some
    assert (pipe["held"], pipe["workers"], pipe["wanted"]) == (1234 - 177, None, None)
    assert (eu["multiplier_permille"], eu["of_operator"], eu["changed_by"]) == (700, None, "file")
    assert (rows[2]["of_catalogue"], rows[2]["held"], rows[3]["waiting"]) == (10, 0, 0)
    assert asked(db, "limit", "show", "endpoint:eu") == rows[:3]
    assert asked(db, "limit", "show", "model") == rows[3:4]
    assert asked(db, "limit", "show", "app:pipe") == rows[5:]
    assert asked(db, "limit", "show", "app:nobody") == []
    done = db.inferq("limit", "show")
    lines = works(done).splitlines()
    assert columns(lines[0]) == ["LIMIT", "DIMENSION", "AMOUNT", "FROM", "USABLE", "HELD", "WORKERS",
                                 "WANTED", "USED", "WAITING"]
    assert columns(lines[1]) == ["endpoint:eu@1", "requests_per_minute", "500", "catalogue", "343",
                                 "340", "2", "700", "3", "1"]
    assert "endpoint:eu@1 requests_per_minute: throttling has lowered it to 70.0 %" in done.stderr
    assert "used up" not in done.stderr
    db.rows("UPDATE limit_day SET used = 9000")
    assert ("app:pipe tokens_per_day: all of it is taken; 8823 of it is left to workers"
            ) in db.inferq("limit", "show").stderr
    db.rows("UPDATE limit_day SET used = 177, amount = 177")
    db.rows("UPDATE limit_rule SET of_operator = 177 WHERE dimension = 5")
    assert "app:pipe tokens_per_day: used up; no more" in db.inferq("limit", "show").stderr
    db.rows("UPDATE limit_day SET used = 100")  # it was set later in the day: what was before is not of it
    pipe = asked(db, "limit", "show", "app:pipe")[0]
    assert (pipe["used"], pipe["held"]) == (100, 0)


def test_show_nothing(db):
    db.rows("DELETE FROM limit_rule")
    done = db.inferq("limit", "show")
    assert works(done) and "no limit is in force" in done.stderr
    done = db.inferq("limit", "show", "app:x")
    assert works(done) and "no limit is in force for app:x" in done.stderr
    assert "no job of an app 'x' has been seen" in done.stderr
    done = db.inferq("limit", "show", "endpoint:eu")  # it is there, and has none
    assert works(done) and "no limit is in force for endpoint:eu" in done.stderr


# ---- what holds the fleet: top, endpoint show -------------------------------------------------------

def day(db, limit, used, amount):
    db.rows("INSERT INTO limit_day VALUES (%s, floor(extract(epoch FROM now()) / 86400)::int, %s, 100, %s)"
            " ON CONFLICT (limit_id, day) DO UPDATE SET used = excluded.used", limit, used, amount)


def share(db, limit, want, in_use, need=1):
    db.rows("INSERT INTO limit_share (limit_id, worker_id, asks, want, need, in_use, share, seen, wants) "
            "VALUES (%s, %s, 1, %s, %s, %s, 0, 0, '')", limit, db.worker(), want, need, in_use)


def holding(db):
    """What `inferq top` says of limits, without what is the time's."""
    text = works(db.inferq("top", "--once"))
    lines = [line[7:] for line in text.splitlines() if line.startswith("LIMIT  ")]
    return [re.sub(TIME_LEFT, "(time)", line) for line in lines]


def test_a_used_up_day_is_told_wherever_people_look(db):
    away_from_midnight()
    db.rows("INSERT INTO limit_rule (scope, key, dimension, of_operator, changed_by) VALUES "
            "(1, 'eu@1', 5, 5000, 'ann'), (3, 'pipe', 5, 900, 'ann'), (2, 'm@1', 5, 70, 'ann')")
    for limit, used, amount in ((2, 4999, 5000), (3, 900, 900), (4, 69, 70)):
        day(db, limit, used, amount)
    b = db.batch("b", 9)
    db.batch("others", 5, app="other")
    line = "app:pipe tokens_per_day 900: all taken, more at 00:00 UTC (time), up to 9 jobs wait; inferq limit show"
    assert holding(db) == [line]
    day(db, 2, 5000, 5000)
    for name in ("one", "two"):
        db.parked(b, name, wait_key=-2)
    hosted = ("endpoint:eu@1 tokens_per_day 5000: all taken, more at 00:00 UTC (time), up to 14 jobs wait, "
              "2 of them parked; inferq limit show")
    assert holding(db) == [line, hosted]
    done = db.inferq("endpoint", "show", "--json")
    assert json.loads(works(done))[0]["limited_by"] == "endpoint:eu@1 tokens_per_day"
    assert [re.sub(TIME_LEFT, "(time)", said) for said in done.stderr.splitlines()] == [
        f"inferq: {line}", f"inferq: {hosted}"]
    db.rows("DELETE FROM limit_day WHERE limit_id = 2")
    day(db, 4, 70, 70)
    done = db.inferq("endpoint", "show", "eu", "--json")
    assert json.loads(works(done))[0]["limited_by"] == "model:m@1 tokens_per_day"  # whose endpoint it is
    db.rows("UPDATE limit_day SET day = day - 1")
    done = db.inferq("endpoint", "show", "--json")
    assert json.loads(works(done))[0]["limited_by"] is None and not done.stderr
    assert holding(db) == []


def test_limits_in_full_use_are_told_too(db):
    db.rows("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) VALUES "
            "(1, 'eu@1', 6, 8, 'file'), (1, 'eu@1', 4, 1000, 'file'), (3, 'pipe', 1, 100, 'file')")
    share(db, 1, want=600, in_use=440)    # 490 are usable
    share(db, 2, want=30, in_use=7)
    share(db, 3, want=5000, in_use=580, need=400)
    share(db, 4, want=90, in_use=98)
    assert holding(db) == []              # nothing is short: not all of it is used, or wanted
    share(db, 1, want=50, in_use=1)
    share(db, 2, want=10, in_use=1)
    share(db, 3, want=1, in_use=1)        # 980 are usable, and the next call may take 400
    assert holding(db) == [
        "endpoint:eu@1 requests_per_minute 500: 441 in the last minute of 650 wanted, more within seconds; "
        "inferq limit show",
        "endpoint:eu@1 tokens_per_minute 1000: 581 in the last minute of 5001 wanted, more within seconds; "
        "inferq limit show",
        "endpoint:eu@1 in_flight 8: 8 in flight of 40 wanted, the next as one ends; inferq limit show"]
    for app in range(3):
        db.rows("INSERT INTO limit_rule (scope, key, dimension, of_operator, changed_by) "
                "VALUES (3, %s, 6, 1, 'ann')", f"app {app}")
        share(db, 5 + app, want=9, in_use=1)
    assert len(holding(db)) == 3 and "  and 3 more\n" in works(db.inferq("top", "--once"))
    db.rows("DELETE FROM limit_share WHERE limit_id <> 1")
    db.rows("UPDATE limit_share SET in_use = 0")
    assert holding(db) == []
    db.parked(db.batch("b", 9), "waits", wait_key=-1)
    assert holding(db) == ["endpoint:eu@1 requests_per_minute 500: 0 in the last minute of 650 wanted, more "
                           "within seconds, 1 job parked for it; inferq limit show"]


def test_top_tells_what_calls_closed(db):
    state = lambda: re.search(r"^eu .*", works(db.inferq("top", "--once")), re.MULTILINE)[0]
    db.rows("INSERT INTO limit_learned (endpoint, paused_until, paused_for, probing) "
            "VALUES ('eu@1', now() + interval '5 minutes', %s, true)", CLASS["throttled"])
    assert re.search(r"closed for 4 min (\d+ s )?\(throttled\)$", state())
    db.rows("UPDATE limit_learned SET paused_until = now()")
    assert state().endswith(" probed")
    db.rows("UPDATE limit_learned SET probing = false")
    assert state().endswith(" open")


# ---- rights ---------------------------------------------------------------------------------------

def test_operators_may_and_others_may_not(db):
    logins = {}
    for role in ("operator", "reviewer", "reader", "worker"):
        user = f"limit_{role}_{os.getpid()}"
        db.rows(f"CREATE ROLE {user} LOGIN PASSWORD 'pw' IN ROLE inferq_{role}")
        logins[role] = {"PGUSER": user, "PGPASSWORD": "pw"}
    try:
        for role, env in logins.items():
            db.rows("UPDATE limit_rule SET of_operator = 7 WHERE limit_id = 1")
            for words in (["limit", "set", "endpoint:eu", "in_flight", "5"],
                          ["limit", "clear", "endpoint:eu"]):
                done = db.inferq(*words, env=env)
                if role == "operator":
                    works(done)
                else:
                    fails(done, 2, "may not do that")
        for role in ("operator", "reviewer", "worker"):
            works(db.inferq("limit", "show", env=logins[role]))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            reader = psycopg2.connect(dbname=db.name, user=logins["operator"]["PGUSER"], password="pw",
                                      host=os.environ.get("PGHOST"), port=os.environ.get("PGPORT"))
            try:
                reader.cursor().execute("UPDATE inferq.limit_rule SET of_catalogue = 1")
            finally:
                reader.close()
        assert [audit[1] for audit in audits(db)] == ["limit set", "limit clear", "limit clear"]
    finally:
        for env in logins.values():
            db.rows(f"DROP ROLE {env['PGUSER']}")
