"""`inferq` on a real Postgres: results, dead letters, explain, on rows made by hand."""

import csv
import hashlib
import hmac
import io
import json
import os
import re
import threading
import time

import msgpack
import pytest

from admin_fixture import (CANCELLED, CLASS, DISCARDED, EXPIRED, INFERQ, REQUEUED, Database, fails,
                           fill, peak_kb, works)

KEY = "ab" * 32


@pytest.fixture(scope="module")
def shared():
    database = Database(f"admin_jobs_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, without rows."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, dead_letter, review_event, "
                "model_default, audit_log, price, model, model_version, endpoint RESTART IDENTITY "
                "CASCADE")
    return shared


# ---- results --------------------------------------------------------------------------------------

def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_results_as_json_lines(db):
    b = fill(db)
    _, version, _ = db.catalogue()
    db.result(b, "odd", answer='line\\nwith \\"quotes\\", \\u0000 and ü', model_version_id=version,
              input_tokens=3, cost_nusd=None, finish_reason="stop")
    done = db.inferq("results", b.ref)
    rows = {row["custom_id"]: row for row in lines(works(done))}
    assert "1 of 6 jobs have not ended yet" in done.stderr
    assert list(rows) == sorted(rows, key=lambda name: b.job(name).bytes)
    assert set(rows) == {"ok", "dead", "cancelled", "expired", "odd"}
    odd = rows["odd"]
    assert odd["answer"] == 'line\nwith "quotes", \ufffd and ü' and odd["model_version"] == "m@1"
    assert odd["cost_usd"] is None and odd["input_tokens"] == 3 and odd["output_tokens"] is None
    assert rows["ok"]["cost_usd"] == "0.000001" and rows["ok"]["cost_nusd"] == 1000
    assert rows["ok"]["job_id"] == str(b.job("ok")) and rows["ok"]["call_number"] == 1
    dead = rows["dead"]
    assert (dead["status"], dead["class"], dead["reason"]) == ("dead", "refused",
                                                              "the model declined")
    assert dead["answer"] is None and dead["call_number"] is None and dead["dead_id"] == 1
    chosen = works(db.inferq("results", b.ref, "--fields", "status,custom_id")).splitlines()
    assert '{"status":"succeeded","custom_id":"ok"}' in chosen
    assert "answer" in works(db.inferq("results", "--fields", "list")).splitlines()
    fails(db.inferq("results", b.ref, "--fields", "staus"), 2, "did you mean 'status'?")
    fails(db.inferq("results", b.ref, "--fields", "status,status"), 2, "named twice")


def test_raw_bodies_that_are_no_text(db):
    b = db.batch("raw", 1)
    db.result(b, "a", body=b'\xff\x00{"x":1}')
    row = lines(works(db.inferq("results", b.ref, "--fields", "body,answer")))[0]
    assert row == {"body": '\ufffd\x00{"x":1}', "answer": None}


def test_results_as_csv(db):
    b = db.batch("c", 2)
    db.result(b, "a", answer='say \\"hi\\",\\nthen go', team=None)
    db.result(b, "b", answer="")
    done = db.inferq("results", b.ref, "--format", "csv", "--fields", "custom_id,answer,team,cost_usd",
                     text=False)
    assert done.returncode == 0
    raw = done.stdout.decode()
    short = db.inferq("results", b.ref, "--csv", "--fields", "custom_id,answer,team,cost_usd",
                      text=False)
    assert short.stdout == done.stdout, "--csv is short for it"
    assert raw.startswith("custom_id,answer,team,cost_usd\r\n")
    rows = {row["custom_id"]: row for row in csv.DictReader(io.StringIO(raw, newline=""))}
    assert rows["a"]["answer"] == 'say "hi",\nthen go' and rows["a"]["team"] == ""
    assert 'b,"",t,0.000001\r\n' in raw, "an empty text is not an absent one"


def test_results_show_each_job_under_its_latest_generation(db):
    b = db.batch("g", 2)
    db.result(b, "plain")
    works(db.inferq("dead", "requeue", str(db.dead(b, "again"))))
    assert [row["custom_id"] for row in lines(works(db.inferq("results", b.ref)))] == ["plain"]
    db.result(b, "again", generation=1)
    rows = lines(works(db.inferq("results", b.ref)))
    assert {(row["custom_id"], row["generation"], row["status"]) for row in rows} == {
        ("plain", 0, "succeeded"), ("again", 1, "succeeded")}
    assert len(lines(works(db.inferq("results", b.ref, "--all-generations")))) == 3


def test_a_requeue_that_succeeds_makes_the_batch_succeed(db):
    b = db.batch("g", 1)
    works(db.inferq("dead", "requeue", str(db.dead(b, "a"))))
    db.rows("DELETE FROM parked")
    db.result(b, "a", generation=1)
    works(db.inferq("batch", "watch", b.ref), 0)


def test_failed_requests_can_be_submitted_again(db, tmp_path):
    b = db.batch("f", 6)
    db.result(b, "fine")
    body = b'{"model": "m",\n "messages": [{"role": "user", "content": "a\\nb"}]}\r\n'
    db.dead(b, "dead", payload=b.message("dead", body=body))
    db.dead(b, "label", payload=b.message("label", output={"kind": "label", "labels": ["A", "B"]}))
    db.dead(b, "broken", payload=b"\xc1")
    db.result(b, "late", EXPIRED, "expired")
    db.result(b, "gone", CANCELLED, "cancelled")
    done = db.inferq("results", b.ref, "--failed")
    rows = {row["custom_id"]: row for row in lines(works(done))}
    assert set(rows) == {"dead", "label"}
    assert rows["dead"] == {"custom_id": "dead", "method": "POST", "url": "/v1/chat/completions",
                            "body": json.loads(body)}
    for said in ("1 expired jobs", "1 cancelled jobs", "1 dead jobs whose letter",
                 "2 requests; submit them under a new name, `inferq submit --app pipe --batch",
                 "as 'f' nothing would run", "--output again"):
        assert said in done.stderr
    (tmp_path / "failed.jsonl").write_text(done.stdout)
    tried = db.inferq("submit", "--app", "pipe", "--batch", "f2", "--dry-run",
                      str(tmp_path / "failed.jsonl"))
    assert "jobs: 2," in works(tried)
    for row in db.rows("SELECT dead_id FROM dead_letter WHERE custom_id <> 'broken'"):
        works(db.inferq("dead", "requeue", str(row[0])))
    done = db.inferq("results", b.ref, "--failed")
    assert works(done) == "" and "no failed job of this batch can be written" in done.stderr


def many_results(db, b, count, answer_bytes):
    db.rows("INSERT INTO result (job_id, batch_id, created_at, cost_nusd, generation, status, class, "
            "call_number, validation, priority, app, task, team, custom_id, url, body) "
            "SELECT (substr(%s::text, 1, 14) || '7' || substr(md5(i::text), 1, 3) || '-8' || "
            "substr(md5(i::text), 5, 3) || '-' || substr(md5(i::text), 9, 12))::uuid, %s, now(), i, "
            "0, 1, 1, 1, 0, 1, 'pipe', 't', 't', 'c' || i, '/v1/chat/completions', "
            "convert_to(format('{\"choices\":[{\"message\":{\"content\":\"%%s\"}}]}', "
            "repeat(chr(97 + i %% 26), %s)), 'UTF8') FROM generate_series(1, %s) i",
            b.id, b.id, answer_bytes, count)


def test_results_stream_in_bounded_memory(db, tmp_path):
    """200,000 results of 1 KB: about 300 MB of JSON lines through a process that stays small."""
    b = db.batch("big", 200_000)
    many_results(db, b, 200_000, 1000)
    paths = {}
    for count, name in ((200_000, b.ref), (1, None)):
        if name is None:
            small = db.batch("small", 1)
            many_results(db, small, 1, 1000)
            name = small.ref
        paths[count] = tmp_path / f"{count}.jsonl"
        with open(paths[count], "wb") as out:
            code, kb = peak_kb([INFERQ, "results", name], db.env, out)
        assert code == 0
        paths[count] = (paths[count], kb)
    (path, many_kb), (_, one_kb) = paths[200_000], paths[1]
    with open(path, "rb") as file:
        ids = [json.loads(line)["job_id"] for line in file]
    assert len(ids) == len(set(ids)) == 200_000 and ids == sorted(ids)
    # a sanitizer keeps freed memory back, up to its quarantine
    allowed_kb = 400_000 if os.environ.get("INFERQ_VARIANT") == "asan" else 16_000
    assert many_kb - one_kb < allowed_kb, (many_kb, one_kb)


def test_results_walk_the_index_of_their_partition_only(db):
    """The plan needs no sort, touches one partition, and reads no more rows than the batch has."""
    b, other = db.batch("a", 20), db.batch("b", 5000, created_ms=int(time.time() * 1000) - 900)
    many_results(db, other, 5000, 10)
    for i in range(20):
        db.result(b, f"c{i}")
    db.rows("ANALYZE result")
    low = b.created_ms.to_bytes(6, "big").hex() + "0" * 20
    high = (b.created_ms + 1).to_bytes(6, "big").hex() + "0" * 20
    db.rows("SET enable_sort = off; SET enable_seqscan = off; SET enable_bitmapscan = off")
    plan = "\n".join(row[0] for row in db.rows(
        "EXPLAIN SELECT r.job_id FROM result r WHERE r.batch_id = %s AND r.job_id >= %s::uuid "
        "AND r.job_id < %s::uuid ORDER BY r.job_id", b.id, low, high))
    db.rows("RESET ALL; SET search_path = inferq")
    assert "Sort" not in plan and plan.count("Index") >= 1 and plan.count("Scan") == 1, plan


# ---- dead letters ---------------------------------------------------------------------------------

def test_dead_list_filters(db):
    b, other = db.batch("a", 3), db.batch("b", 1, app="other")
    db.dead(b, "one")
    old = db.dead(b, "two", class_="bad_output", reason="tab\there \x1b[31mred",
                  created_at="2026-01-01T00:00:00Z")
    db.dead(b, "three", state=DISCARDED)
    db.dead(other, "four")
    bad = db.letter(b, None, "malformed", payload=b"\xc1", job=False, reason="no msgpack")

    def ids(*flags):
        listed = works(db.inferq("dead", "list", "--json", *flags))
        return [row["dead_id"] for row in json.loads(listed)]

    assert ids() == [5, 4, 2, 1] and bad == 5
    assert ids("--state", "all") == [5, 4, 3, 2, 1] and ids("--state", "discarded") == [3]
    assert ids("--batch", b.ref) == [2, 1] and ids("--app", "other") == [4]
    assert ids("--class", "bad_output") == [old] and ids("--limit", "1") == [5]
    assert ids("--since", "1h") == [5, 4, 1]
    assert ids("--since", "2025-01-01T00:00:00Z", "--app", "pipe") == [2, 1]
    table = works(db.inferq("dead", "list", "--class", "bad_output"))
    assert "tab?here ?[31mred" in table and "\x1b" not in table


def test_dead_show(db):
    b = db.batch("a", 1)
    body = b'{"model":"m","messages":["x"]}'
    payload = b.message("one", body=body, deadline=1_800_000_000_000, max_cost=2_500_000,
                        output={"kind": "label", "labels": ["A", "B"]})
    dead_id = str(db.dead(b, "one", payload=payload))
    text = works(db.inferq("dead", "show", dead_id))
    for said in ("the model declined", "inferq.jobs.low partition 3 offset 17", body.decode(),
                 "2027-01-15T08:00:00", f"inferq dead requeue {dead_id}", "0.0025"):
        assert said in text, text
    shown = json.loads(works(db.inferq("dead", "show", dead_id, "--json")))
    assert shown["job"]["output_labels"] == ["A", "B"] and shown["job"]["body"] == body.decode()
    raw = db.inferq("dead", "show", dead_id, "--payload", text=False)
    assert raw.returncode == 0 and raw.stdout == payload
    bad = str(db.letter(b, None, "malformed", payload=b"\xc1\x00", job=False))
    text = works(db.inferq("dead", "show", bad))
    assert "the record is no job" in text and "requeue" not in text
    fails(db.inferq("dead", "show", "99"), 2, "there is no dead letter 99")
    fails(db.inferq("dead", "show", bad, "--json", "--payload"), 2, "does not go with --json")


def test_requeue_keeps_conservation(db):
    b = db.batch("r", 2)
    db.result(b, "fine")
    payload = b.message("dead", tags={"k": "v"}, later_key=[1, {"x": b"\x00"}], priority="high")
    dead_id = db.dead(b, "dead", payload=payload, headers=b"v1:k1:00\n00-trace\n")
    assert db.progress(b) == (2, 1, 1, 0, 0, 0)
    out = json.loads(works(db.inferq("dead", "requeue", str(dead_id), "--json", "--actor", "ann")))
    new_id = b.job("dead", 1)
    assert out == [{"dead_id": dead_id, "custom_id": "dead", "job_id": str(b.job("dead")),
                    "new_job_id": str(new_id), "generation": 1}]
    assert db.progress(b) == (3, 1, 1, 0, 0, 1)
    row = db.rows("SELECT job_id, batch_id, next_at <= now(), wait_key, priority, number, attempts, "
                  "reasks, spent_nusd, waited_us, model_us, reason, topic, partition, record_offset, "
                  "deadline_at, taken_by FROM parked")[0]
    assert row == (new_id, b.id, True, 0, 2, 1, 0, 0, 0, 0, 0, 0, None, None, None, None, None)
    old = msgpack.unpackb(payload)
    new = msgpack.unpackb(bytes(db.value("SELECT payload FROM parked")))
    assert new == {**old, "generation": 1, "job_id": new_id.bytes}, "all other keys stay, known or not"
    assert bytes(db.value("SELECT headers FROM parked")).endswith(b"\n00-trace\n")
    assert db.value("SELECT state FROM dead_letter") == REQUEUED
    assert db.rows("SELECT actor, action, dead_id, job_id, new_job_id FROM review_event") == [
        ("ann", "requeue", dead_id, b.job("dead"), new_id)]
    fails(db.inferq("dead", "requeue", str(dead_id)), 2, "requeued already", str(new_id), "by ann")
    assert db.progress(b)[0] == 3 and db.value("SELECT count(*) FROM parked") == 1


def test_requeue_before_the_seal_and_after_it(db):
    """What was put in and what was requeued are counted apart: the order does not matter."""
    b = db.batch("r", None)
    db.result(b, "fine")
    letters = [str(db.dead(b, name)) for name in "ab"]
    counts = "SELECT total, requeued FROM batch WHERE batch_id = %s"
    works(db.inferq("dead", "requeue", letters[0]))
    assert db.rows(counts, b.id) == [(None, 1)]
    assert db.progress(b) == (None, 1, 2, 0, 0, None), "not sealed: what is accepted is not known"
    fails(db.inferq("batch", "seal", b.ref, "--total", "1"), 2, "2 of its jobs have ended already")
    assert works(db.inferq("batch", "seal", b.ref, "--total", "3")) == "sealed with 3 jobs\n"
    assert db.rows(counts, b.id) == [(3, 1)] and db.progress(b) == (4, 1, 2, 0, 0, 1)
    works(db.inferq("dead", "requeue", letters[1]))
    assert db.rows(counts, b.id) == [(3, 2)] and db.progress(b) == (5, 1, 2, 0, 0, 2)
    assert "already, with 3 jobs" in works(db.inferq("batch", "seal", b.ref, "--total", "3"))
    fails(db.inferq("batch", "seal", b.ref, "--total", "5"), 2, "with 3 jobs, not 5")
    assert json.loads(works(db.inferq("batch", "show", b.ref, "--json")))["accepted"] == 5
    for name in "ab":
        assert db.progress(b)[5] > 0
        db.result(b, name, generation=1)
    assert db.progress(b) == (5, 3, 2, 0, 0, 0)
    works(db.inferq("batch", "watch", b.ref))  # exits 0: each job has succeeded in the end


def test_requeue_signs_with_the_key(db, tmp_path):
    b = db.batch("r", 1)
    dead_id = str(db.dead(b, "dead", headers=b"v1:old:00\n\n"))
    key = tmp_path / "key"
    key.write_text(f"k7:{KEY}\n")
    done = db.inferq("dead", "requeue", dead_id, "--signing.key", f"file:{key}")
    works(done)
    payload, headers = db.rows("SELECT payload, headers FROM parked")[0]
    digest = hmac.new(bytes.fromhex(KEY), bytes(payload), hashlib.sha256).hexdigest()
    assert bytes(headers) == f"v1:k7:{digest}\n\n".encode()
    assert KEY not in done.stdout + done.stderr
    other = str(db.dead(b, "second"))
    done = fails(db.inferq("dead", "requeue", other, env={"INFERQ_SIGNING_KEY": "env:NO_SUCH"}), 2,
                 "signing.key", "NO_SUCH")
    assert db.value("SELECT count(*) FROM parked") == 1


def test_requeue_races_requeue_once(db):
    b = db.batch("r", 20)
    ids = [str(db.dead(b, f"c{i}")) for i in range(20)]
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(
        db.inferq("dead", "requeue", *ids).returncode)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {0, 1, 2} and len(codes) == 3
    assert db.value("SELECT count(*) FROM parked") == db.value("SELECT count(*) FROM review_event") == 20
    assert db.progress(b) == (40, 0, 20, 0, 0, 20)


def test_requeue_refusals(db):
    b = db.batch("r", 9)
    cases = {
        "holds no job": db.letter(b, None, "malformed", payload=b"\xc1", job=False),
        "it is discarded": db.dead(b, "discarded", state=DISCARDED),
        "its deadline was 2020": db.dead(b, "late", payload=b.message("late", deadline=1_600_000_000_000)),
        "another job than the letter says": db.dead(b, "odd", payload=b.message("even")),
        "its payload is no job": db.dead(b, "cut", payload=b.message("cut")[:-3]),
        "there is no such dead letter": 999,
    }
    gone = db.batch("gone", 1, cancel_requested_at="2026-01-01T00:00:00Z")
    cases["its batch was cancelled"] = db.dead(gone, "a")
    waiting = db.dead(b, "waits")
    db.parked(b, "waits", job_id=b.job("waits", 1))
    cases["waiting or has ended already"] = waiting
    before = db.progress(b)
    for said, dead_id in cases.items():
        done = fails(db.inferq("dead", "requeue", str(dead_id)), 2, f"dead letter {dead_id}: ", said)
        assert done.stdout == ""
    assert db.progress(b) == before and db.value("SELECT count(*) FROM review_event") == 0
    good = db.dead(b, "good")
    done = db.inferq("dead", "requeue", "999", str(good))
    assert works(done, 1).count("good") == 1 and "requeued: 1; refused: 1" in done.stderr


def test_requeue_deadlines(db):
    b = db.batch("r", 3)
    past = 1_600_000_000_000
    ids = [str(db.dead(b, name, payload=b.message(name, deadline=past))) for name in "ab"]
    works(db.inferq("dead", "requeue", ids[0], "--deadline", "+24h"))
    works(db.inferq("dead", "requeue", ids[1], "--deadline", "none"))
    rows = dict(db.rows("SELECT job_id, payload FROM parked"))
    first = msgpack.unpackb(bytes(rows[b.job("a", 1)]))["deadline"]
    assert abs(first / 1000 - time.time() - 86400) < 60
    assert "deadline" not in msgpack.unpackb(bytes(rows[b.job("b", 1)]))
    assert db.value("SELECT count(deadline_at) FROM parked") == 1


def test_requeue_by_filter_wants_yes_and_can_be_tried(db):
    b = db.batch("r", 3)
    for i in range(3):
        db.dead(b, f"c{i}", class_="refused" if i else "bad_output")
    flags = ["dead", "requeue", "--batch", b.ref, "--class", "refused"]
    fails(db.inferq(*flags), 2, "needs --yes")
    done = db.inferq(*flags, "--dry-run")
    assert works(done).count("\n") == 3 and "would be requeued: 2; refused: 0" in done.stderr
    assert db.progress(b) == (3, 0, 3, 0, 0, 0) and db.value("SELECT count(*) FROM parked") == 0
    done = db.inferq(*flags, "--yes", "--limit", "1")
    assert "requeued: 1;" in done.stderr and db.progress(b)[0] == 4
    done = db.inferq(*flags, "--yes")
    assert "requeued: 1;" in done.stderr and db.progress(b)[0] == 5
    done = db.inferq(*flags, "--yes")
    assert works(done) == "" and "requeued: 0; refused: 0" in done.stderr


def test_a_requeued_generation_can_die_and_be_requeued_again(db):
    b = db.batch("r", 1)
    works(db.inferq("dead", "requeue", str(db.dead(b, "a"))))
    payload = bytes(db.value("SELECT payload FROM parked"))
    db.rows("DELETE FROM parked")
    works(db.inferq("dead", "requeue", str(db.dead(b, "a", generation=1, payload=payload))))
    assert db.rows("SELECT job_id FROM parked") == [(b.job("a", 2),)]
    assert db.progress(b) == (3, 0, 2, 0, 0, 1)


def test_roles_can_do_their_part(db):
    """Reviewers requeue, operators cancel and seal, and neither can do the other's."""
    b = db.batch("r", 2)
    letters = [str(db.dead(b, name)) for name in "ab"]
    password, flags = "pw", {}
    for role in ("operator", "reviewer"):
        user = f"adm_{role}_{os.getpid()}"
        db.rows(f"CREATE ROLE {user} LOGIN PASSWORD '{password}' IN ROLE inferq_{role}")
        flags[role] = {"PGUSER": user, "PGPASSWORD": password}
    try:
        works(db.inferq("dead", "requeue", letters[0], env=flags["reviewer"]))
        works(db.inferq("batch", "list", env=flags["reviewer"]))
        fails(db.inferq("batch", "cancel", b.ref, env=flags["reviewer"]), 2, "may not do that")
        done = fails(db.inferq("dead", "requeue", letters[1], letters[1], env=flags["operator"]), 2,
                     "may not do that")
        assert done.stderr.count("may not do that") == 1, "a missing right stops at once"
        works(db.inferq("batch", "seal", b.ref, "--total", "2", env=flags["operator"]))
        works(db.inferq("batch", "show", b.ref, env=flags["operator"]))
        works(db.inferq("batch", "cancel", b.ref, env=flags["operator"]))
    finally:
        for env in flags.values():
            db.rows(f"DROP ROLE {env['PGUSER']}")


# ---- explain --------------------------------------------------------------------------------------

def test_explain_tells_the_whole_story(db):
    b = db.batch("x", 1)
    endpoint, version, price = db.catalogue()
    worker = db.worker()
    at = "2026-11-21T10:00:0{}Z"
    db.call(b, "a", 1, worker, endpoint, version, price, claimed_at=at.format(1), done_at=at.format(2),
            **{"class": CLASS["throttled"]}, http_status=429, curl_code=0, certainty=0, cost_nusd=0,
            model_us=12_000, error="slow \x1b[1mdown", provider_request_id="req-9")
    db.call(b, "a", 2, worker, endpoint, version, price, claimed_at=at.format(3), done_at=at.format(4),
            **{"class": CLASS["refused"]}, http_status=200, certainty=1, cost_nusd=130_000,
            input_tokens=12, output_tokens=10)
    dead_id = db.dead(b, "a")
    db.rows("UPDATE result SET queue_us = 1250000, throttle_us = 61000000, model_us = 15000, "
            "store_us = 900, model_version_id = %s", version)
    text = works(db.inferq("explain", str(b.job("a"))))
    assert text == works(db.inferq("explain", b.ref, "a"))
    for said in ("call 1 (primary) claimed by worker 1 (h1, pid 7, build b1): m@1 at eu version 1 "
                 "<https://models.example>", "2.5 in, 10 out USD per million tokens",
                 "call 1 ended: throttled, HTTP 429, took 12 ms", "its request id req-9",
                 "error: slow ?[1mdown", "cost 0.00013 USD (cost: exact)", "input tokens 12",
                 "in the queue 1.25 s", "1 min 1 s", "in the model 15 ms", "being stored 900 us",
                 "It died after 2 calls: the model declined to answer (the model declined).",
                 f"To run the job again: inferq dead requeue {dead_id}"):
        assert said in text, f"{said!r} is not in\n{text}"
    times = [line.split("  ")[0] for line in text.splitlines() if line.startswith("20")]
    assert times == sorted(times) and len(times) >= 7
    story = json.loads(works(db.inferq("explain", str(b.job("a")), "--json")))
    assert story["state"] == "ended" and [call["number"] for call in story["calls"]] == [1, 2]
    assert story["calls"][0]["error"] == "slow \x1b[1mdown" and story["result"]["class"] == "refused"
    assert story["calls"][1]["price_input_pusd"] == 2_500_000


def test_explain_follows_generations(db):
    b = db.batch("x", 1)
    works(db.inferq("dead", "requeue", str(db.dead(b, "a"))))
    story = json.loads(works(db.inferq("explain", b.ref, "a", "--json")))
    assert story["job_id"] == str(b.job("a", 1)) and story["generation"] == 1
    assert story["state"] == "parked" and story["previous_job_id"] == str(b.job("a"))
    first = works(db.inferq("explain", b.ref, "a", "--generation", "0"))
    assert f"as job {b.job('a', 1)}" in first and "is requeued." in first


def test_explain_says_where_a_pending_job_is(db):
    b = db.batch("x", 5)
    endpoint, version, price = db.catalogue()
    worker = db.worker()
    db.parked(b, "waits", wait_key=endpoint)
    db.parked(b, "held", taken_by=worker)
    db.call(b, "live", 1, worker, endpoint, version, price)
    db.call(b, "between", 1, worker, endpoint, version, price, done_at="2026-11-21T10:00:00Z",
            **{"class": CLASS["ambiguous"]}, certainty=2)
    wanted = {
        "waits": "It is parked until 2029-01-01T00:00:00.000Z, then until endpoint eu has room; it "
                 "waits because the server asked to slow down. Its next call is number 2.",
        "held": f"Worker {worker} has it",
        "live": f"its worker {worker} has a lease until 2030-01-01",
        "between": "between two calls",
        "unseen": "it waits in the queue, or it was never submitted",
    }
    for custom_id, said in wanted.items():
        assert said in works(db.inferq("explain", b.ref, custom_id))
    fails(db.inferq("explain", str(b.job("unseen"))), 2, "nothing is known of job")
    done = db.batch("done", 1)
    db.result(done, "a")
    fails(db.inferq("explain", done.ref, "aa"), 2, "the batch has no job 'aa'")
    fails(db.inferq("explain", "pipe/none", "a"), 2, "knows no batch")


def test_explain_says_how_long_a_job_waited_for_what(db):
    endpoint, _, _ = db.catalogue()
    db.rows("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) VALUES "
            "(1, 'eu@1', 1, 500, 'file'), (1, 'eu@1', 5, 9000, 'file'), (3, 'pipe', 6, 4, 'file')")
    requests, day, flight = [row[0] for row in db.rows("SELECT limit_id FROM limit_rule ORDER BY limit_id")]
    b = db.batch("x", 9)
    lists = {"one": (None, requests), "two": (f'{{"{day}":30000000,"{requests}":8000000}}', day),
             "more": (f'{{"{day}":20000000,"{requests}":8000000}}', day), "none": (None, None)}
    for custom_id, (waits, limit) in lists.items():
        db.result(b, custom_id)
        db.rows("UPDATE result SET throttle_us = 38200000, limit_us = %s, limit_id = %s, limit_waits = %s "
                "WHERE custom_id = %s", 38_000_000 if limit else None, limit, waits, custom_id)
    said = {"one": " (38 s of it for requests_per_minute of endpoint eu@1), in the model",
            "two": " (30 s of it for tokens_per_day of endpoint eu@1, 8 s for requests_per_minute of "
                   "endpoint eu@1), in the model",
            "more": " (20 s of it for tokens_per_day of endpoint eu@1, 10 s for other limits, 8 s for "
                    "requests_per_minute of endpoint eu@1), in the model",
            "none": ", in the model"}
    for custom_id, text in said.items():
        assert f"throttled, backing off or parked 38.2 s{text}" in works(db.inferq("explain", b.ref, custom_id))

    def parked(custom_id, wait_key, **more):
        db.parked(b, custom_id, wait_key=wait_key, next_at="2026-01-01T00:00:00Z", reason=0,
                  parked_at=db.value("SELECT now() - interval '95 seconds'"), **more)
        return works(db.inferq("explain", b.ref, custom_id))
    now = r"1 min (?:3[5-9]|[45]\d) s"  # 95 s when the row was made, and as long as explain took since
    for custom_id, text, told in (
            ("first", parked("first", -day), rf"parked {now} \({now} of it for tokens_per_day of endpoint eu@1\)"),
            ("again", parked("again", -day, limit_us=1_000_000, limit_id=requests),  # the last was not this one
             rf"\({now} of it for tokens_per_day of endpoint eu@1, 1 s for requests_per_minute of endpoint "
             r"eu@1\)"),
            ("both", parked("both", -day, limit_us=61_000_000, limit_id=requests,
                            limit_waits=f'{{"{requests}":60000000,"{day}":1000000}}'),
             r"\(1 min (?:3[6-9]|[45]\d) s of it for tokens_per_day of endpoint eu@1, 1 min for requests_per_min"),
            ("busy", parked("busy", endpoint), rf"\({now} of it for endpoint eu\)"),
            ("taken", parked("taken", -flight, limit_us=2_000_000, limit_id=flight, taken_by=db.worker()),
             r"parked 1.5 s \(2 s of it for in_flight of app pipe\)"),
            ("due", parked("due", 0), "It is parked, and due: a worker with room takes it")):
        assert re.search(told, text), (custom_id, text)
    assert ("It is parked until the limit tokens_per_day of endpoint eu@1 has room (inferq limit show). Its "
            "next call is number 2.") in works(db.inferq("explain", b.ref, "first"))
    story = json.loads(works(db.inferq("explain", b.ref, "again", "--json")))
    assert [wait["for"] for wait in story["waits"]] == ["tokens_per_day of endpoint eu@1",
                                                       "requests_per_minute of endpoint eu@1"]
    assert story["waits"][1]["us"] == 1_000_000 and story["parked"]["parked_us"] >= 95_000_000


def test_explain_a_success_after_a_re_ask(db):
    b = db.batch("x", 1)
    db.result(b, "a", validation=2, call_number=2)
    assert "the re-ask (call 2) passed" in works(db.inferq("explain", b.ref, "a"))
