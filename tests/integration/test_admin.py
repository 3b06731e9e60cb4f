"""`inferq` on a real Postgres and a real Kafka: the front command, migrate, topics, batch."""

import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time

import psycopg2
import pytest

from admin_fixture import (CLASS, INFERQ, SQL_DIR, Batch, Database, columns, fails, fill, run,
                           works)
from harness import TOOLS


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


# ---- the front command ---------------------------------------------------------------------------

def test_version_and_help_go_to_standard_output():
    assert works(run("--version")).startswith("inferq ")
    listed = works(run("--help"))
    assert listed == works(run("help"))
    for command in ("migrate", "batch show", "dead requeue", "explain"):
        assert command in listed
        assert works(run(*command.split(), "--help")) == works(run("help", *command.split()))
    assert "signing.key" in works(run("help", "config"))
    group = works(run("dead", "--help"))
    assert group == works(run("help", "dead")) and group.count("inferq") == 1
    for verb in ("list", "show", "requeue"):
        assert f"dead {verb}" in group


def test_no_command_is_a_usage_error():
    done = fails(run(), 2, "Usage: inferq COMMAND")
    assert done.stdout == ""


@pytest.mark.parametrize("words, said", [
    (["frobnicate"], "no command 'frobnicate'"),
    (["batch", "lsit"], "did you mean 'batch list'?"),
    (["explian", "x"], "did you mean 'explain'?"),
    (["watch", "a/b"], "did you mean 'batch watch'?"),
    (["show", "a/b"], "no command 'show'; `inferq help` lists them"),
    (["batch"], "one of list, show, watch, cancel, seal must follow"),
    (["batch", "list", "--ap", "x"], "did you mean --app?"),
    (["batch", "list", "--limit", "0"], "not a whole number from 1"),
    (["batch", "list", "--limit"], "--limit needs a value"),
    (["batch", "list", "--json=1"], "--json takes no value"),
    (["batch", "list", "--config"], "--config needs a value"),
    (["batch", "show"], "BATCH is missing"),
    (["batch", "show", "a", "b"], "too many arguments"),
    (["batch", "show", "nonsense"], "give its id, or APP/NAME"),
    (["dead", "show", "x1"], "no dead letter's id"),
    (["results", "a/b", "--format", "xml"], "--format is jsonl or csv"),
    (["results", "a/b", "--failed", "--format", "csv"], "goes with no other option"),
    (["results", "a/b", "--failed", "--csv"], "goes with no other option"),
    (["results", "a/b", "--csv", "--format", "jsonl"], "contradict each other"),
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
    assert {(row["state"], row["partitions"]) for row in made} == {("created", 2)}
    again = works(run("topics", *flags))
    assert again.count("exists") == 4 and "created" not in again
    fails(run("topics", "--prefix", prefix, "--partitions", "3"), 2, f"{prefix}.jobs.high",
          "has 2 partitions, 3 are asked for", "--alter")
    plain = json.loads(works(run("topics", "--prefix", prefix, "--json")))
    assert {(row["state"], row["partitions"]) for row in plain} == {("exists", 2)}
    assert json.loads(works(run("topics", "--prefix", prefix, "--partitions", "1", "--json"))) == plain


def takes(topic, kib, path):
    """Whether the broker takes a record with a value of so many KiB less 500 bytes.

    It goes through a file: a large string here would count as the memory of programs that later
    tests start and measure.
    """
    with open(path, "w", encoding="ascii") as file:
        file.write(f'{{"topic": "{topic}", "value": "{"00" * 524}')
        for _ in range(kib - 1):
            file.write("00" * 1024)
        file.write('"}\n')
    with open(path, encoding="ascii") as file:
        done = subprocess.run([TOOLS / "kput"], stdin=file, capture_output=True, text=True,
                              check=False, timeout=60)
    assert done.returncode == 0 or "too large" in done.stderr.lower(), done.stderr
    return done.returncode == 0


def test_the_dead_topic_takes_what_a_lane_takes_and_the_letter_around_it(tmp_path):
    prefix = f"adm{os.getpid()}-large"
    works(run("topics", "--prefix", prefix, "--partitions", "1"))
    lane_kib = 8 * 1024 + 256
    for topic, kib in (("jobs.low", lane_kib), ("dead", lane_kib + 64)):
        assert takes(f"{prefix}.{topic}", kib, tmp_path / "record")
        assert not takes(f"{prefix}.{topic}", kib + 1, tmp_path / "record")


def test_topics_without_a_broker():
    fails(run("topics", "--kafka.bootstrap.servers", "127.0.0.1:1", timeout=90), 3, "127.0.0.1:1")


# ---- batch ----------------------------------------------------------------------------------------

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
    assert "calls without an outcome: 1" in text
    assert f"dead letters: 1 open; see `inferq dead list --batch {b.ref}`" in text
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


def test_seal_waits_for_a_requeue_under_way(db):
    """The requeue that it waited for is counted, though it was not there when the seal began."""
    b = db.batch("s", None)
    dead_id = db.dead(b, "a")
    other = psycopg2.connect(dbname=db.name, options="-c search_path=inferq")
    with other.cursor() as cursor:  # what a requeue does, half-way
        cursor.execute("UPDATE batch SET requeued = requeued + 1 WHERE batch_id = %s", (b.id,))
        cursor.execute("UPDATE dead_letter SET state = 3 WHERE dead_id = %s", (dead_id,))
    process = subprocess.Popen([INFERQ, "batch", "seal", b.ref, "--total", "1"],
                               env={**os.environ, **db.env}, stdout=subprocess.DEVNULL)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 60
    while db.value(waiting, db.name) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    other.commit()
    other.close()
    assert process.wait(60) == 0
    assert db.progress(b)[0] == 2


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
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and rest.count("\n") == 1 and rest.startswith("3/3:")
    bad = db.batch("bad", 1)
    db.dead(bad, "a")
    done = db.inferq("batch", "watch", bad.ref)
    works(done, 1)
    assert f"`inferq dead list --batch {bad.ref}` says why they died" in done.stderr
    assert json.loads(works(db.inferq("batch", "watch", bad.ref, "--json"), 1))["dead"] == 1


def test_watch_redraws_one_line_on_a_terminal(db):
    b = db.batch("w", 2)
    db.result(b, "a")
    master, slave = pty.openpty()
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"],
                               env={**os.environ, **db.env}, stdout=slave)
    os.close(slave)
    seen, ended = b"", False
    while select.select([master], [], [], 60)[0]:
        try:
            seen += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not ended and seen.count(b"[############....") >= 2:
            ended = True
            db.result(b, "b")
    os.close(master)
    assert process.wait(60) == 0
    assert seen.count(b"\n") == 1 and seen.count(b"\r\x1b[K") >= 3 and b"[############...." in seen


def test_watch_says_when_no_worker_is_alive(db):
    b = db.batch("w", 1)
    db.insert("worker", host="h", pid=1, build="b", lease_until="2020-01-01T00:00:00Z")
    command = [INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"]
    env = {**os.environ, **db.env}
    process = subprocess.Popen(command, text=True, env=env, stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL)
    assert "no worker is alive" in process.stderr.readline()
    db.result(b, "a")
    rest = process.communicate(timeout=60)[1]
    assert (process.returncode, rest) == (0, ""), "it is said once"
    other = db.batch("other", 1)
    db.worker()
    command[3] = other.ref
    process = subprocess.Popen(command, text=True, env=env, stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith("0/1:")
    db.result(other, "a")
    assert process.communicate(timeout=60)[1] == ""


def test_a_requeue_is_told_apart_from_new_jobs(db):
    b = db.batch("r", 2)
    db.result(b, "a")
    works(db.inferq("dead", "requeue", str(db.dead(b, "b"))))
    shown = works(db.inferq("batch", "show", b.ref))
    assert "3 accepted = 1 succeeded + 1 dead" in shown and "1 of the dead ran again:" in shown
    db.rows("DELETE FROM parked")
    db.result(b, "b", generation=1)
    assert "3/3: 2 succeeded, 1 dead (1 ran again)," in works(db.inferq("batch", "watch", b.ref))


def test_watch_outlives_a_broken_connection(db):
    b = db.batch("w", 1)
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref, "--interval-ms", "50"], text=True,
                               env={**os.environ, **db.env}, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert process.stdout.readline().startswith("0/1:")
    cut = db.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                   "WHERE datname = %s AND application_name LIKE 'inferq%%'", db.name)
    assert cut >= 1  # a program of just before may have left a server process that has not ended yet
    db.result(b, "a")
    out, err = process.communicate(timeout=60)
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


def test_interrupted_watch_ends_by_the_signal(db):
    b = db.batch("w", 1)
    process = subprocess.Popen([INFERQ, "batch", "watch", b.ref], env={**os.environ, **db.env},
                               stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    process.stdout.close()
