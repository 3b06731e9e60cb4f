"""`inferq` on a real Postgres and a real Kafka: every command, on rows made by hand."""

import csv
import hashlib
import hmac
import io
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import threading
import time

import msgpack
import psycopg2
import pytest

from admin_fixture import (CANCELLED, CLASS, DISCARDED, EXPIRED, INFERQ, REQUEUED, SQL_DIR,
                           Batch, Database, columns, peak_kb, run)

KEY = "ab" * 32


@pytest.fixture(scope="module")
def shared():
    database = Database(f"admin_{os.getpid()}")
    yield database
    database.drop()


@pytest.fixture
def db(shared):
    """The shared database, without rows."""
    shared.rows("TRUNCATE batch, progress, result, call, worker, parked, dead_letter, review_event, "
                "model_default, audit_log, price, model, model_version, endpoint RESTART IDENTITY "
                "CASCADE")
    return shared


@pytest.fixture
def empty():
    """A database of its own, not migrated."""
    database = Database(f"admin_{os.getpid()}_own", migrated=False)
    yield database
    database.drop()


def fails(done, code, *words):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    return done


def works(done, code=0):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


# ---- the front command ---------------------------------------------------------------------------

def test_version_and_help_go_to_standard_output():
    assert works(run("--version")).startswith("inferq ")
    listed = works(run("--help"))
    assert listed == works(run("help"))
    for command in ("migrate", "batch show", "dead requeue", "explain"):
        assert command in listed
        assert works(run(*command.split(), "--help")) == works(run("help", *command.split()))
    assert "signing.key" in works(run("help", "config"))


def test_no_command_is_a_usage_error():
    done = fails(run(), 2, "usage: inferq COMMAND")
    assert done.stdout == ""


@pytest.mark.parametrize("words, said", [
    (["frobnicate"], "no command 'frobnicate'"),
    (["batch", "lsit"], "did you mean 'batch list'?"),
    (["explian", "x"], "did you mean 'explain'?"),
    (["batch"], "one of list, show, watch, cancel, seal must follow"),
    (["batch", "list", "--ap", "x"], "did you mean --app?"),
    (["batch", "list", "--limit", "0"], "not a whole number from 1"),
    (["batch", "list", "--limit"], "--limit needs a value"),
    (["batch", "list", "--json=1"], "--json takes no value"),
    (["batch", "show"], "BATCH is missing"),
    (["batch", "show", "a", "b"], "too many arguments"),
    (["batch", "show", "nonsense"], "give its id, or APP/NAME"),
    (["dead", "show", "x1"], "no dead letter's id"),
    (["results", "a/b", "--format", "xml"], "--format is jsonl or csv"),
    (["results", "a/b", "--failed", "--format", "csv"], "goes with no other option"),
    (["dead", "list", "--class", "odd"], "no class 'odd'"),
    (["dead", "list", "--since", "soon"], "neither a time nor"),
    (["dead", "list", "--state", "gone"], "--state: one of open"),
    (["dead", "requeue"], "give ids, or a filter"),
    (["dead", "requeue", "1", "--app", "a"], "ids or a filter, not both"),
    (["dead", "requeue", "--app", "a"], "a filter needs --yes"),
    (["dead", "requeue", "1", "--deadline", "yesterday"], "not a time to come"),
    (["explain", "nonsense"], "no job id"),
    (["batch", "seal", "a/b"], "--total N is missing"),
    (["migrate", "--sql-dir", "/nowhere"], "/nowhere: No such file or directory"),
    (["batch", "list", "--config", "/nowhere"], "/nowhere"),
])
def test_usage_errors(db, words, said):
    done = fails(db.inferq(*words), 2, said)
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_unreachable_servers_exit_3_and_show_no_secret():
    env = {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGPASSWORD": "hush-hush-hush"}
    for words in (["batch", "list"], ["migrate", "--sql-dir", SQL_DIR], ["explain", "a/b", "c"]):
        done = fails(run(*words, env=env), 3, "127.0.0.1", "1")
        assert "hush" not in done.stderr
    done = fails(run("batch", "list", "--postgres", "host=127.0.0.1 port=1 password=hush-hush"), 3)
    assert "hush" not in done.stderr


def test_no_tables_says_migrate(empty):
    for words in (["batch", "list"], ["dead", "list"], ["results", "a/b"]):
        fails(empty.inferq(*words), 2, "run `inferq migrate`")


def test_a_reader_that_leaves_is_no_error(db):
    b = db.batch("big", 400)
    db.rows("INSERT INTO batch (batch_id, app, name, created_ms) "
            "SELECT gen_random_uuid(), 'x', repeat('n', 200) || i, 1 FROM generate_series(1, 3000) i")
    process = subprocess.Popen([INFERQ, "batch", "list", "--limit", "3001", "--json"],
                               env={**os.environ, **db.env}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
    assert b.name == "big"


def test_a_full_disk_is_an_error(db):
    db.batch("b", 1)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([INFERQ, "batch", "list"], env={**os.environ, **db.env}, stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and "No space left" in done.stderr


def test_submit_runs_the_program_beside_it(tmp_path):
    shutil.copy(INFERQ, tmp_path / "inferq")
    script = tmp_path / "inferq-submit"
    script.write_text('#!/bin/sh\necho "got $0: $*"\nexit 7\n')
    script.chmod(0o755)
    done = subprocess.run([tmp_path / "inferq", "submit", "--app", "a", "--help"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stdout.endswith("--app a --help\n")
    script.unlink()
    done = subprocess.run([tmp_path / "inferq", "submit"], capture_output=True, text=True,
                          env={**os.environ, "PATH": "/nowhere"}, check=False)
    fails(done, 2, "inferq-submit stands neither beside this program nor on PATH")


# ---- migrate --------------------------------------------------------------------------------------

def files_in(directory):
    return sorted(name for name in os.listdir(directory) if name.endswith(".sql"))


def write_sql(directory, *files):
    for name, text in files:
        (directory / name).write_text(text)
    return ["--sql-dir", str(directory)]


def test_migrate_applies_once_and_records_checksums(empty):
    said = works(empty.inferq("migrate"))
    names = files_in(SQL_DIR)
    assert [f"applied {name}" for name in names] == said.splitlines()[:len(names)]
    empty.connect()
    rows = empty.rows("SELECT number, name, sha256 FROM migration ORDER BY number")
    for (number, name, digest), file in zip(rows, names, strict=True):
        with open(os.path.join(SQL_DIR, file), "rb") as sql:
            assert bytes(digest) == hashlib.sha256(sql.read()).digest()
        assert file == f"{number:04}_{name}.sql"
    assert empty.value("SELECT count(*) FROM partition_span") >= 3
    assert "already" in works(empty.inferq("migrate"))
    status = json.loads(works(empty.inferq("migrate", "--status", "--json")))
    assert {row["state"] for row in status} == {"applied"}


def test_status_changes_nothing(empty):
    status = works(empty.inferq("migrate", "--status"))
    assert status.count("pending") == len(files_in(SQL_DIR))
    connection = empty.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'inferq'")
        assert cursor.fetchone()[0] == 0


def test_many_at_once_apply_each_file_once(empty):
    started = [subprocess.Popen([INFERQ, "migrate"], env={**os.environ, **empty.env}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 4, outputs
    said = "".join(out for out, _ in outputs)
    for name in files_in(SQL_DIR):
        assert said.count(f"applied {name}\n") == 1
    empty.connect()
    assert empty.value("SELECT count(*) FROM migration") == len(files_in(SQL_DIR))


def test_it_waits_for_another_and_says_so(empty):
    connection = empty.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('inferq migrate', 0))")
    process = subprocess.Popen([INFERQ, "migrate"], env={**os.environ, **empty.env}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "waiting" in process.stderr.readline()
    assert process.poll() is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "applied" in out


ENSURE = "CREATE FUNCTION inferq.ensure_partitions() RETURNS int LANGUAGE sql RETURN 0;"


def test_a_broken_file_leaves_the_one_before(empty, tmp_path):
    flags = write_sql(tmp_path, ("0001_good.sql", f"CREATE TABLE inferq.a (i int);\n{ENSURE}"),
                      ("0002_bad.sql", "CREATE TABLE inferq.b (i int);\n\nSELECT nonsense;\n"))
    done = fails(empty.inferq("migrate", *flags), 2, "0002_bad.sql: not applied", "line 3")
    assert done.stdout == "applied 0001_good.sql\n"
    empty.connect()
    assert empty.rows("SELECT number FROM migration") == [(1,)]
    assert empty.value("SELECT to_regclass('inferq.b')") is None
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE inferq.b (i int);")
    assert works(empty.inferq("migrate", *flags)).startswith("applied 0002_bad.sql\n")


def test_a_file_that_ends_its_transaction_is_found_out(empty, tmp_path):
    flags = write_sql(tmp_path, ("0001_sly.sql", "CREATE TABLE inferq.a (i int); COMMIT;"))
    fails(empty.inferq("migrate", *flags), 2, "0001_sly.sql", "ends its transaction itself")
    empty.connect()
    assert empty.value("SELECT count(*) FROM migration") == 0


def test_a_changed_file_is_refused(empty, tmp_path):
    flags = write_sql(tmp_path, ("0001_a.sql", ENSURE))
    works(empty.inferq("migrate", *flags))
    (tmp_path / "0001_a.sql").write_text(ENSURE + " -- oh")
    write_sql(tmp_path, ("0002_b.sql", "CREATE TABLE inferq.b (i int);"))
    fails(empty.inferq("migrate", *flags), 2, "0001_a.sql was changed after it was applied",
          "number 0003")
    done = fails(empty.inferq("migrate", "--status", *flags), 2, "0001_a.sql was changed")
    assert columns(done.stdout.splitlines()[1])[:3] == ["1", "a", "changed"]
    empty.connect()
    assert empty.value("SELECT to_regclass('inferq.b')") is None


@pytest.mark.parametrize("files, said", [
    (["0001_a.sql", "0003_c.sql"], "migration 0002 is missing: the next file is 0003_c.sql"),
    (["0001_a.sql", "0001_b.sql"], "0001_a.sql and 0001_b.sql have the same number"),
    (["1_a.sql"], "is called NNNN_name.sql"),
    ([], "no migration"),
])
def test_gaps_and_duplicates_are_refused_before_anything(empty, tmp_path, files, said):
    flags = write_sql(tmp_path, *[(name, ENSURE) for name in files])
    fails(empty.inferq("migrate", *flags), 2, said)
    connection = empty.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'inferq'")
        assert cursor.fetchone()[0] == 0


def test_a_newer_database_is_refused(empty, tmp_path):
    works(empty.inferq("migrate"))
    flags = write_sql(tmp_path, *[(name, open(os.path.join(SQL_DIR, name), encoding="utf-8").read())
                                  for name in files_in(SQL_DIR)[:-1]])
    fails(empty.inferq("migrate", *flags), 2, "this program knows up to", "install the newer inferq")


# ---- topics ---------------------------------------------------------------------------------------

def test_topics_are_made_once():
    prefix = f"adm{os.getpid()}"
    flags = ["--prefix", prefix, "--partitions", "2"]
    made = json.loads(works(run("topics", *flags, "--json")))
    assert [row["topic"] for row in made] == [f"{prefix}.{name}" for name in
                                              ("jobs.high", "jobs.normal", "jobs.low", "dead")]
    assert {row["state"] for row in made} == {"created"}
    again = works(run("topics", *flags))
    assert again.count("exists") == 4 and "created" not in again
    fails(run("topics", "--prefix", prefix, "--partitions", "3"), 2, f"{prefix}.jobs.high",
          "2 partitions")


def test_topics_without_a_broker():
    fails(run("topics", "--kafka.bootstrap.servers", "127.0.0.1:1", timeout=90), 3, "127.0.0.1:1")


# ---- batch ----------------------------------------------------------------------------------------

def fill(db, name="night", **values):
    """Four ended, one parked, one not seen: of each kind one."""
    b = db.batch(name, 6, **values)
    db.result(b, "ok")
    db.dead(b, "dead")
    db.result(b, "cancelled", CANCELLED, "cancelled", cost_nusd=0)
    db.result(b, "expired", EXPIRED, "expired", cost_nusd=0)
    db.parked(b, "parked")
    return b


def test_batch_list(db):
    fill(db, registered_at="2026-01-01T00:00:00Z")
    done = db.batch("done", 1)
    db.result(done, "a", cost_nusd=1_234_500_000)
    db.batch("open", None, app="other")
    rows = json.loads(works(db.inferq("batch", "list", "--json")))
    assert {row["name"] for row in rows} == {"night", "done", "open"} and rows[-1]["name"] == "night"
    by_name = {row["name"]: row for row in rows}
    night = by_name["night"]
    assert (night["accepted"], night["succeeded"], night["dead"], night["cancelled"],
            night["expired"], night["pending"]) == (6, 1, 1, 1, 1, 2)
    assert night["state"] == "running" and night["cost_usd"] == "0.0000015"
    assert by_name["done"]["state"] == "done" and by_name["done"]["cost_usd"] == "1.2345"
    assert by_name["open"]["accepted"] is None and by_name["open"]["state"] == "open"
    active = json.loads(works(db.inferq("batch", "list", "--json", "--active")))
    assert {row["name"] for row in active} == {"night", "open"}
    table = works(db.inferq("batch", "list", "--app", "pipe", "--limit", "1")).splitlines()
    assert len(table) == 2 and columns(table[1])[1] == "pipe/done"


def test_batch_show_by_name_and_id(db):
    b = fill(db)
    endpoint, version, price = db.catalogue()
    worker = db.worker()
    db.call(b, "ok", 1, worker, endpoint, version, price, **{"class": CLASS["throttled"]},
            certainty=0, done_at="2026-11-21T00:00:00Z", cost_nusd=0)
    db.call(b, "parked", 1, worker, endpoint, version, price)
    text = works(db.inferq("batch", "show", b.ref))
    assert "6 accepted = 1 succeeded + 1 dead + 1 cancelled + 1 expired + 2 pending\n" in text
    assert "cost: 0.0000015 USD\n" in text and "parked: 1, of which due 0" in text
    assert "calls without an outcome: 1" in text and "dead letters: 1 open" in text
    assert text == works(db.inferq("batch", "show", str(b.id).upper()))
    shown = json.loads(works(db.inferq("batch", "show", str(b.id), "--json")))
    assert shown["pending"] == 2 and shown["parked"] == 1 and shown["calls_open"] == 1
    assert {(row["status"], row["class"], row["jobs"]) for row in shown["outcomes"]} == {
        ("succeeded", "ok", 1), ("dead", "refused", 1), ("cancelled", "cancelled", 1),
        ("expired", "expired", 1)}
    assert sum(row["calls"] for row in shown["calls"]) == 2 and shown["dead_letters"] == {"open": 1}
    fails(db.inferq("batch", "show", "pipe/other"), 2, "knows no batch pipe/other")


def test_two_batches_of_one_millisecond_are_told_apart(db):
    now = int(time.time() * 1000)
    one, two = db.batch("one", 1, created_ms=now), db.batch("two", 1, created_ms=now)
    db.result(one, "a")
    db.result(two, "a")
    assert json.loads(works(db.inferq("batch", "show", one.ref, "--json")))["outcomes"][0]["jobs"] == 1
    assert len(works(db.inferq("results", two.ref)).splitlines()) == 1


def test_watch_prints_changes_and_exits_by_the_outcome(db):
    b = db.batch("w", 3)
    db.result(b, "a")
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"], text=True,
                               env={**os.environ, **db.env}, stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith("1/3: 1 succeeded, 0 dead")
    time.sleep(0.3)
    db.result(b, "b")
    assert process.stdout.readline().startswith("2/3:")
    db.result(b, "c")
    rest = process.communicate(timeout=20)[0]
    assert process.returncode == 0 and rest.count("\n") == 1 and rest.startswith("3/3:")
    bad = db.batch("bad", 1)
    db.dead(bad, "a")
    works(db.inferq("batch", "watch", bad.ref), 1)
    assert json.loads(works(db.inferq("batch", "watch", bad.ref, "--json"), 1))["dead"] == 1


def test_watch_redraws_one_line_on_a_terminal(db):
    b = db.batch("w", 2)
    db.result(b, "a")
    master, slave = pty.openpty()
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"],
                               env={**os.environ, **db.env}, stdout=slave)
    os.close(slave)
    time.sleep(0.5)
    db.result(b, "b")
    seen = b""
    while select.select([master], [], [], 10)[0]:
        try:
            seen += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
    os.close(master)
    assert process.wait(10) == 0
    assert seen.count(b"\n") == 1 and seen.count(b"\r\x1b[K") >= 3 and b"[############...." in seen


def test_watch_outlives_a_broken_connection(db):
    b = db.batch("w", 1)
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"], text=True,
                               env={**os.environ, **db.env}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith("0/1:")
    cut = db.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                   "WHERE datname = %s AND application_name LIKE 'inferq%%'", db.name)
    assert cut == 1
    db.result(b, "a")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out.startswith("1/1:")
    assert "trying again" in err


def test_cancel_asks_wakes_audits_and_notifies(db):
    b, other = fill(db), db.batch("other", 1)
    db.parked(other, "x")
    listener = psycopg2.connect(dbname=db.name)
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute("LISTEN inferq_cancel")
    said = works(db.inferq("batch", "cancel", b.ref, "--actor", "ann"))
    assert said == "cancel requested; parked jobs woken: 1; pending: 2\n"
    select.select([listener], [], [], 5)
    listener.poll()
    assert [note.payload for note in listener.notifies] == [str(b.id)]
    listener.close()
    assert db.rows("SELECT batch_id, wait_key, next_at <= now() FROM parked ORDER BY 3") == [
        (other.id, 0, False), (b.id, 0, True)]
    first = db.value("SELECT cancel_requested_at FROM batch WHERE batch_id = %s", b.id)
    assert first is not None
    assert db.rows("SELECT actor, action, subject FROM audit_log") == [
        ("ann", "batch cancel", str(b.id))]
    assert "cancelled already" in works(db.inferq("batch", "cancel", str(b.id)))
    assert db.value("SELECT cancel_requested_at FROM batch WHERE batch_id = %s", b.id) == first
    assert db.value("SELECT cancel_requested_at FROM batch WHERE batch_id = %s", other.id) is None
    fails(db.inferq("batch", "cancel", "pipe/nothing"), 2, "knows no batch")


def test_cancel_of_a_finished_batch(db):
    b = db.batch("f", 1)
    db.result(b, "a")
    assert "nothing left to cancel" in works(db.inferq("batch", "cancel", b.ref))


def test_seal(db):
    b = db.batch("s", None)
    db.result(b, "a")
    db.result(b, "b")
    fails(db.inferq("batch", "seal", b.ref, "--total", "1"), 2, "2 of its jobs have ended already")
    assert db.progress(b)[0] is None, "a refused total leaves it open"
    assert works(db.inferq("batch", "seal", b.ref, "--total", "3")) == "sealed with 3 jobs\n"
    assert db.progress(b) == (3, 2, 0, 0, 0, 1)
    assert "already" in works(db.inferq("batch", "seal", b.ref, "--total", "3"))
    fails(db.inferq("batch", "seal", b.ref, "--total", "4"), 2, "with 3 jobs, not 4")
    assert db.value("SELECT count(*) FROM audit_log") == 1


def test_seal_of_a_batch_that_only_kafka_has_seen(db):
    b = Batch("pipe", "ghost", int(time.time() * 1000))
    fails(db.inferq("batch", "seal", b.ref, "--total", "5"), 2, "give its id with --app and --name")
    fails(db.inferq("batch", "seal", str(b.id), "--total", "5"), 2, "--app and --name")
    flags = ["--app", "pipe", "--name"]
    fails(db.inferq("batch", "seal", str(b.id), "--total", "5", *flags, "gost"), 2,
          "do not make this batch id")
    works(db.inferq("batch", "seal", str(b.id), "--total", "5", *flags, "ghost"))
    assert db.rows("SELECT batch_id, created_ms, total FROM batch") == [(b.id, b.created_ms, 5)]
    twin = Batch("pipe", "ghost", b.created_ms + 1)
    fails(db.inferq("batch", "seal", str(twin.id), "--total", "5", *flags, "ghost"), 2,
          "is another batch already")


def test_seal_takes_requeues_into_account(db):
    b = db.batch("s", None)
    works(db.inferq("dead", "requeue", str(db.dead(b, "a"))))
    works(db.inferq("batch", "seal", b.ref, "--total", "1"))
    assert db.progress(b) == (2, 0, 1, 0, 0, 1)
    assert "already" in works(db.inferq("batch", "seal", b.ref, "--total", "1"))


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


def test_failed_requests_can_be_submitted_again(db):
    b = db.batch("f", 6)
    db.result(b, "fine")
    body = b'{"model": "m",\n "messages": [{"content": "a\\nb"}]}\r\n'
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
                 "2 requests; submit them under a new batch name (not 'f'", "--output again"):
        assert said in done.stderr
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
        fails(db.inferq("dead", "requeue", letters[1], env=flags["operator"]), 2, "may not do that")
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
    fails(db.inferq("explain", "pipe/none", "a"), 2, "knows no batch")


def test_explain_a_success_after_a_re_ask(db):
    b = db.batch("x", 1)
    db.result(b, "a", validation=2, call_number=2)
    assert "the re-ask (call 2) passed" in works(db.inferq("explain", b.ref, "a"))


def test_interrupted_watch_ends_by_the_signal(db):
    b = db.batch("w", 1)
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref], env={**os.environ, **db.env},
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    process.stdout.close()
