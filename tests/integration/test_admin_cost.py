"""`inferq cost` on a real Postgres: sums of the ledger, on rows made by hand."""

import csv
import io
import json
import os

import pytest

from admin_fixture import CLASS, DEAD, Database, columns, fails, works

TODAY, YESTERDAY = "2026-11-21T10:00:00Z", "2026-11-20T23:59:59Z"
ALL = ["--since", "2020-01-01T00:00:00Z"]
EXACT, ESTIMATED, UNKNOWN = 1, 2, 3


@pytest.fixture(scope="module")
def db():
    """Two apps. pipe: a plain success, one after a lost call, one whose cost is not known, an open
    call. other: a dead job, paid for; one call of a job that ended without any."""
    database = Database(f"admin_cost_{os.getpid()}")
    catalogue = database.catalogue()
    worker = database.worker()
    b, other = database.batch("night", 4), database.batch("day", 2, app="other")

    def call(batch, custom_id, number, **more):
        values = {"claimed_at": TODAY, "done_at": TODAY, "class": CLASS["ok"], "certainty": EXACT,
                  "cost_nusd": 1000, "input_tokens": 10, "output_tokens": 3, **more}
        database.call(batch, custom_id, number, worker, *catalogue, **values)

    call(b, "plain", 1, cost_nusd=9_000_000_000_000_000_001, claimed_at=YESTERDAY)
    database.result(b, "plain", task="other task")
    call(b, "again", 1, cost_nusd=700, certainty=ESTIMATED, **{"class": 46})
    call(b, "again", 2)
    database.result(b, "again", call_number=2)
    call(b, "free", 1, cost_nusd=None, certainty=UNKNOWN, input_tokens=None, output_tokens=None)
    database.result(b, "free", cost_nusd=None)
    call(b, "open", 1, done_at=None, cost_nusd=None, certainty=None, **{"class": None})
    call(other, "dead", 1, cost_nusd=50, **{"class": CLASS["refused"]})
    database.result(other, "dead", DEAD, "refused", call_number=1)
    call(other, "late", 1, cost_nusd=None, certainty=UNKNOWN, **{"class": 46})
    database.result(other, "late", 4, "expired")
    yield database
    database.drop()


def cost(db, *flags):
    return json.loads(works(db.inferq("cost", *ALL, *flags, "--json")))


def test_by_app_exact_and_apart(db):
    rows = cost(db)
    assert [row["app"] for row in rows] == ["pipe", "other"], "what costs most first"
    assert rows[0] == {
        "app": "pipe", "calls": 5, "input_tokens": 40, "output_tokens": 12,
        "cost_usd": "9000000000.000001701", "cost_nusd": 9_000_000_000_000_001_701,
        "estimated_usd": "0.0000007", "estimated_nusd": 700, "unpriced_calls": 1,
        "wasted_calls": 1, "wasted_usd": "0.0000007", "wasted_nusd": 700, "open_calls": 1}
    assert (rows[1]["cost_nusd"], rows[1]["unpriced_calls"], rows[1]["open_calls"]) == (50, 1, 0)
    assert rows[1]["wasted_calls"] == 1 and rows[1]["wasted_nusd"] is None, "not known is not zero"


def test_by_each_dimension(db):
    def by(*names, value="calls"):
        rows = cost(db, "--by", ",".join(names))
        keys = [name.replace("-", "_") for name in names]
        return {tuple(row[key] for key in keys): row[value] for row in rows}

    assert by("task") == {("sum",): 6, ("other task",): 1}, "a job's own task, not its batch's"
    assert by("team") == {("t",): 7} and by("endpoint") == {("eu",): 7}
    assert by("model-version") == {("m@1",): 7}
    assert by("batch") == {("pipe/night",): 5, ("other/day",): 2}
    assert by("day") == {("2026-11-20",): 1, ("2026-11-21",): 6}
    assert by("app", "day", value="cost_nusd") == {
        ("pipe", "2026-11-20"): 9_000_000_000_000_000_001, ("pipe", "2026-11-21"): 1700,
        ("other", "2026-11-21"): 50}
    rows = cost(db, "--by", "day", "--by", "app")
    assert [(row["day"], row["app"]) for row in rows] == [
        ("2026-11-20", "pipe"), ("2026-11-21", "other"), ("2026-11-21", "pipe")]


def test_times_and_a_batch(db):
    assert [row["calls"] for row in cost(db, "--until", TODAY)] == [1]
    rows = json.loads(works(db.inferq("cost", "--json", "--since", TODAY)))
    assert sum(row["calls"] for row in rows) == 6
    rows = json.loads(works(db.inferq("cost", "--json", "--batch", "other/day")))
    assert [(row["app"], row["calls"]) for row in rows] == [("other", 2)]
    assert json.loads(works(db.inferq("cost", "--json", "--until", "2020-01-01T00:00:00Z",
                                      "--since", "2019-01-01T00:00:00Z"))) == []


def test_for_people_and_for_spreadsheets(db):
    done = db.inferq("cost", *ALL, "--by", "app")
    lines = [columns(line) for line in works(done).splitlines()]
    assert lines[0][:4] == ["APP", "CALLS", "TOKENS IN", "OUT"] and len(lines) == 4
    assert lines[3][0] == "total" and lines[3][4] == "9000000000.000001751"
    assert "the cost of 2 calls is not known" in done.stderr
    assert "calls begun from 2020-01-01T00:00:00.000Z to now" in done.stderr
    one = works(db.inferq("cost", *ALL, "--by", "team"))
    assert one.count("\n") == 2 and "total" not in one, "of one row the sum is that row"
    raw = db.inferq("cost", *ALL, "--csv", text=False).stdout.decode()
    assert raw.count("\r\n") == 3 and "total" not in raw
    rows = list(csv.DictReader(io.StringIO(raw, newline="")))
    assert rows[0]["cost_nusd"] == "9000000000000001701" and rows[1]["wasted_usd"] == ""


def test_bad_questions(db):
    fails(db.inferq("cost", "--by", "taem"), 2, "did you mean team?")
    fails(db.inferq("cost", "--by", "app,app"), 2, "app stands there twice")
    fails(db.inferq("cost", "--since", "soon"), 2, "--since: 'soon' is neither a time")
    fails(db.inferq("cost", "--since", "1h", "--until", "2h"), 2, "--until is not after --since")
    fails(db.inferq("cost", "--csv", "--json"), 2, "not both")
    fails(db.inferq("cost", "--batch", "no/such"), 2, "knows no batch")
    fails(db.inferq("cost", "extra"), 2, "too many arguments")
    fails(db.inferq("cost", env={"PGPORT": "1"}), 3)
    empty = Database(f"admin_cost_empty_{os.getpid()}", migrated=False)
    try:
        fails(empty.inferq("cost"), 2, "inferq migrate")
    finally:
        empty.drop()


def test_whoever_reports_may_ask(db):
    user = f"cost_reader_{os.getpid()}"
    db.rows(f"CREATE ROLE {user} LOGIN PASSWORD 'pw' IN ROLE inferq_reader")
    try:
        works(db.inferq("cost", *ALL, "--by", "task,endpoint",
                        env={"PGUSER": user, "PGPASSWORD": "pw"}))
    finally:
        db.rows(f"DROP ROLE {user}")
