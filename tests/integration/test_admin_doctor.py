"""`inferq doctor`: each test breaks one thing on the real servers, and sees that finding, its remedy,
and no other; where the remedy is a command, it is run, and mends it.

What one node cannot show (copies that lag, a clock that is wrong) is judged in tests/unit/test_doctor.c
and, where librdkafka's mock cluster can play it, here.
"""
import contextlib
import http.server
import json
import os
import shlex
import socket
import ssl
import subprocess
import threading
import uuid

import psycopg2
import pytest
import yaml

from admin_fixture import INFERQ, Database
from harness import TOOLS, away_from_midnight, run, wait_for
from kafka_admin import commit, create_topic, delete_records, delete_topic

# True of any stack of one node: a disk that goes takes what is on it.
ONE_NODE = {("kafka.replication", "warning"), ("pg.standby", "warning")}
HOUR_AGO = "now() - interval '1 hour'"


class Model(http.server.BaseHTTPRequestHandler):
    """GET /v1/models, for one key."""
    protocol_version = "HTTP/1.1"
    key = "sk-doctor-0123456789"

    def do_GET(self):
        status = 200 if self.headers.get("Authorization") == f"Bearer {self.key}" else 401
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(certificate=None, key=None):
    """The port of a model server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Patient:
    """A database with a small catalogue, topics, and a model server; nothing is wrong with them."""

    def __init__(self, model_port):
        self.name = f"doctor{uuid.uuid4().hex[:8]}"
        self.db = Database(self.name)
        self.env = {**self.db.env, "INFERQ_PREFIX": self.name, "INFERQ_GROUP": self.name,
                    "INFERQ_SIGNING_KEY": "", "DOCTOR_KEY": Model.key}
        self.endpoint, self.version, self.price = self.db.catalogue()
        self.db.rows("UPDATE endpoint SET base_url = %s, credential = 'env:DOCTOR_KEY'",
                     f"http://127.0.0.1:{model_port}")
        self.db.rows("UPDATE model SET current_version_id = %s", self.version)
        run(INFERQ, "topics", "--partitions", "1", env=self.env)

    def ask(self, *flags, code=None, **env):
        """(check, level) -> finding, of all that is wrong or was not looked at."""
        done = run(INFERQ, "doctor", "--json", *flags, env={**self.env, **env}, ok=None)
        report = json.loads(done.stdout)
        findings = report["findings"]
        assert not done.stderr
        wrong = [f for f in findings if f["level"] not in ("ok", "skipped")]
        assert all(f["remedy"] for f in wrong), wrong
        for level in ("error", "warning", "note"):
            assert report[f"{level}s"] == sum(f["level"] == level for f in findings)
        wanted = code if code is not None else 1 if report["errors"] else 0
        assert done.returncode == wanted, (done.returncode, wrong)
        return findings

    def only(self, check, level, *words, flags=(), remedy="", beside=(), **env):
        """The one thing that is wrong beside what is always so, and `beside`."""
        findings = self.ask(*flags, **env)
        wrong = {(f["check"], f["level"]) for f in findings if f["level"] not in ("ok", "skipped")}
        assert wrong == ONE_NODE | {(check, level)} | set(beside), [
            f for f in findings if f["level"] != "ok"]
        finding = next(f for f in findings if (f["check"], f["level"]) == (check, level))
        for word in words:
            assert word in finding["found"], finding
        assert remedy in finding["remedy"], finding
        return finding

    def healthy(self, *flags, **env):
        found = self.ask(*flags, **env)
        assert {(f["check"], f["level"]) for f in found
                if f["level"] not in ("ok", "skipped")} == ONE_NODE, found
        return found

    def alone(self):
        """Until Postgres knows of no client but this one: a server process lives on for a moment when
        its client has ended, or was told to end itself."""
        wait_for(lambda: self.db.value("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND"
                                       " backend_type = 'client backend'", self.name) == 1,
                 what="the end of all other connections")

    @contextlib.contextmanager
    def but(self, broken, mended):
        """Between two statements of SQL."""
        self.db.rows(broken)
        try:
            yield
        finally:
            self.db.rows(mended)


def superuser():
    """A cursor; only the local stack's superuser has the login's password."""
    try:
        connection = psycopg2.connect(dbname="postgres", user="postgres")
    except psycopg2.OperationalError as problem:
        pytest.skip(f"THE SERVER'S SUPERUSER CANNOT LOG IN: {problem}")
    connection.autocommit = True
    return connection.cursor()


@pytest.fixture(scope="module")
def patient():
    with serving() as port:
        made = Patient(port)
        yield made
        made.db.drop()
        for lane in ("jobs.high", "jobs.normal", "jobs.low", "dead"):
            delete_topic(f"{made.name}.{lane}")


# ---- as a whole ---------------------------------------------------------------------------------

def test_nothing_is_found_where_nothing_is_wrong(patient):
    found = patient.healthy("--call")
    skipped = {f["check"] for f in found if f["level"] == "skipped"}
    assert skipped == {"catalogue.file", "catalogue.applied", "signing.ring"}
    listed = json.loads(run(INFERQ, "doctor", "--list", "--json", env=patient.env).stdout)
    assert [c["check"] for c in listed] == list(dict.fromkeys(f["check"] for f in found))
    assert patient.ask("--strict", code=1)


def test_people_read_a_line_a_check_and_the_remedy(patient):
    text = run(INFERQ, "doctor", env=patient.env).stdout
    assert "ok       pg.version" in text and "warning  pg.standby" in text
    assert text.splitlines()[-1] == "0 errors, 2 warnings, 4 not looked at"
    assert text.count("remedy: ") == 2


def test_nothing_reachable_exits_3_and_says_all_the_same(patient):
    found = patient.ask(code=3, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", PGPORT="1")
    by_check = {f["check"]: f for f in found}
    for check, word in (("kafka.reachable", "127.0.0.1:1"), ("pg.reachable", "127.0.0.1:1")):
        assert by_check[check]["level"] == "error" and word in by_check[check]["found"]
    rest = [f for f in found if not f["check"].endswith(".reachable")]
    assert {f["level"] for f in rest if f["check"] != "signing.key"} == {"skipped"}
    assert all("cannot be reached" in f["found"] or "--ca" in f["found"] for f in rest
               if f["level"] == "skipped" and f["check"] != "catalogue.applied"), rest


# ---- Kafka --------------------------------------------------------------------------------------

@pytest.fixture
def prefix(patient):
    """Names of topics of a test's own; those that are made are deleted."""
    name = f"{patient.name}x{uuid.uuid4().hex[:4]}"
    yield name
    for lane in ("jobs.high", "jobs.normal", "jobs.low", "dead"):
        with contextlib.suppress(RuntimeError):
            delete_topic(f"{name}.{lane}")


def make_topics(patient, prefix):
    run(INFERQ, "topics", "--partitions", "1", env={**patient.env, "INFERQ_PREFIX": prefix})


def test_missing_topics(patient, prefix):
    found = [f for f in patient.ask(INFERQ_PREFIX=prefix) if f["check"] == "kafka.topics"]
    assert [f["level"] for f in found] == ["error"] * 4
    assert found[0]["found"] == f"{prefix}.jobs.high is missing"
    run(*["env", f"INFERQ_PREFIX={prefix}", INFERQ, *shlex.split(found[0]["remedy"])[1:]],
        env=patient.env)
    patient.healthy(INFERQ_PREFIX=prefix)


@pytest.mark.parametrize("lane, check, level, settings, words", [
    ("jobs.high", "kafka.retention", "warning", {"retention.ms": 3600000}, "after 1 h"),
    ("jobs.low", "kafka.retention", "error", {"retention.bytes": 1000000}, "beyond 1000000 bytes"),
    ("jobs.normal", "kafka.cleanup", "error", {"cleanup.policy": "compact"}, "compact"),
    ("dead", "kafka.message_bytes", "warning", {"max.message.bytes": 100000}, "is 100000"),
    ("jobs.low", "kafka.unclean_election", "error", {"unclean.leader.election.enable": "true"}, ""),
    ("jobs.high", "kafka.min_insync", "error", {"min.insync.replicas": 2}, "2 of 1 copies"),
])
def test_a_topics_settings(patient, prefix, lane, check, level, settings, words):
    lasting = {"retention.ms": -1, "max.message.bytes": 9000000}
    create_topic(f"{prefix}.{lane}", 1, **{**lasting, **settings})
    make_topics(patient, prefix)
    name = next(iter(settings))
    finding = patient.only(check, level, f"{prefix}.{lane}", words, remedy=f"{name}=",
                           INFERQ_PREFIX=prefix)
    assert f"--topic {prefix}.{lane}" in finding["remedy"]


def test_retention_is_held_against_the_longest_deadline(patient, prefix):
    create_topic(f"{prefix}.jobs.high", 1, **{"retention.ms": 3600000, "max.message.bytes": 9000000})
    make_topics(patient, prefix)
    batch = patient.db.batch("deadline", 1)
    try:
        patient.only("kafka.retention", "error", "1 open batches have no deadline",
                     remedy="retention.ms=-1", INFERQ_PREFIX=prefix)
        patient.db.rows("UPDATE batch SET deadline_at = now() + interval '2 h'")
        patient.only("kafka.retention", "error", "may wait 2 h", INFERQ_PREFIX=prefix)
        patient.db.rows("UPDATE batch SET deadline_at = now() + interval '10 min'")
        patient.healthy(INFERQ_PREFIX=prefix)
    finally:
        patient.db.rows("DELETE FROM batch WHERE batch_id = %s", batch.id)


def put(topic, count):
    lines = [json.dumps({"topic": topic, "value": "00", "partition": 0})] * count
    run(TOOLS / "kput", stdin="\n".join(lines) + "\n")


def test_records_that_nobody_reads(patient, prefix):
    make_topics(patient, prefix)
    put(f"{prefix}.jobs.low", 3)
    patient.only("kafka.group", "error", "no members, and 3 records wait",
                 remedy="start workers", beside={("fleet.workers", "error")}, INFERQ_PREFIX=prefix)


def test_offsets_outside_the_log(patient, prefix):
    make_topics(patient, prefix)
    topic = f"{prefix}.jobs.normal"
    put(topic, 5)
    group = {"INFERQ_PREFIX": prefix, "INFERQ_GROUP": prefix}
    commit(prefix, topic, 0, 9)
    patient.only("kafka.offsets", "error", "is at 9, and the log ends at 5",
                 remedy=f"--to-earliest --group {prefix} --topic {topic}", **group)
    delete_records(topic, 0, 5)
    commit(prefix, topic, 0, 2)
    patient.only("kafka.offsets", "error", "3 records were deleted before they were read",
                 remedy="inferq batch list --active", **group)


def test_offsets_that_were_lost(patient, prefix):
    make_topics(patient, prefix)
    put(f"{prefix}.jobs.high", 2)
    batch, worker = patient.db.batch("called", 1), patient.db.worker()
    patient.db.call(batch, "one", 1, worker, patient.endpoint, patient.version, patient.price)
    try:
        patient.only("kafka.offsets", "warning", "2 records are read from the beginning",
                     beside={("kafka.group", "error")}, INFERQ_PREFIX=prefix)
    finally:
        patient.db.rows("DELETE FROM call; DELETE FROM batch; DELETE FROM worker")


def tell_mock(address, *words):
    with socket.create_connection(address.rsplit(":", 1), 10) as connection:
        connection.sendall((" ".join(words) + "\n").encode())
        assert connection.makefile().readline().startswith("ok")


def test_three_brokers_and_what_they_cannot_be_asked(patient, tmp_path):
    """The mock cluster: three copies, and none of the requests of newer brokers."""
    ports, control = tmp_path / "mock", tmp_path / "control"
    topics = [f"{patient.name}.{lane}" for lane in ("jobs.high", "jobs.normal", "jobs.low", "dead")]
    mock = subprocess.Popen([str(TOOLS / "mockkafka"), "--brokers", "3", "--port-file", str(ports),
                             "--control", str(control),
                             *[w for t in topics for w in ("--topic", f"{t}:1")]],
                            stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: ports.exists() and control.exists(), what="the mock cluster")
        tell_mock(control.read_text().strip(), "leader", topics[0], "0", "-1")
        found = patient.ask(KAFKA_BOOTSTRAP_SERVERS=ports.read_text().strip())
        levels = {}
        for f in found:
            levels.setdefault(f["check"], []).append(f["level"])
        assert levels["kafka.replication"] == ["ok"] and levels["kafka.leaders"] == ["error"]
        assert set(levels["kafka.api"]) <= {"warning", "error"}  # dropped, or said to be unknown
        assert set(levels["kafka.retention"]) == {"skipped"}
    finally:
        mock.terminate()
        assert mock.wait(20) == 0


# ---- Postgres -----------------------------------------------------------------------------------

# (check, level, words of the finding, the breaking SQL, the mending SQL; None: the remedy is it)
SQL_BREAKS = [
    ("pg.writable", "error", "read-only",
     "ALTER DATABASE {db} SET default_transaction_read_only = on",
     "ALTER DATABASE {db} RESET default_transaction_read_only"),
    ("pg.migrations", "error", "0002_catalogue.sql was changed",
     "UPDATE migration SET sha256 = sha256 || 'x' WHERE number = 2",
     "UPDATE migration SET sha256 = substr(sha256, 1, 32) WHERE number = 2"),
    ("pg.migrations", "error", "this program knows up to",
     "INSERT INTO migration (number, name, sha256) VALUES (999, 'later', 'x')",
     "DELETE FROM migration WHERE number = 999"),
    ("pg.roles", "error", "inferq_worker lacks INSERT ON inferq.call",
     "REVOKE INSERT ON call FROM inferq_worker", None),
    ("pg.roles", "error", "inferq_worker lacks SELECT ON inferq.record_skip",
     "REVOKE SELECT ON record_skip FROM inferq_worker", None),
    ("pg.roles", "error", "inferq_reviewer lacks UPDATE (state) ON inferq.dead_letter",
     "REVOKE UPDATE (state) ON dead_letter FROM inferq_reviewer", None),
    ("pg.roles", "warning", "inferq_worker has DELETE ON inferq.result",
     "GRANT DELETE ON result TO inferq_worker", None),
    ("pg.partitions", "warning", "the last partition ends in",
     "UPDATE setting SET value = 30 WHERE name = 'partition_days'",
     "UPDATE setting SET value = 7 WHERE name = 'partition_days'"),
    ("pg.durability", "warning", "synchronous_commit is off",
     "ALTER DATABASE {db} SET synchronous_commit = off",
     "ALTER DATABASE {db} RESET synchronous_commit"),
    ("pg.autovacuum", "warning", "inferq.worker",
     "ALTER TABLE worker SET (autovacuum_enabled = false)", None),
    # Two; and for a moment autovacuum's.
    ("pg.connections", "warning", " of 4 connections",
     "ALTER DATABASE {db} CONNECTION LIMIT 4", "ALTER DATABASE {db} CONNECTION LIMIT -1"),
    ("clock.producers", "warning", "batch pipe/ahead was made 29 s ahead",
     "INSERT INTO batch (batch_id, app, name, created_ms, registered_at, total) "
     "SELECT gen_random_uuid(), 'pipe', 'ahead', floor(extract(epoch FROM t) * 1000) + 29000, t, 0 "
     "FROM date_trunc('second', now()) t",
     "DELETE FROM batch"),
    ("catalogue.prices", "warning", "m@1 has half a price",
     "UPDATE price SET output_pusd = NULL", "UPDATE price SET output_pusd = 10000000"),
    ("catalogue.prices", "warning", "m@1 has a price only from later on",
     "UPDATE price SET valid_from = '2999-01-01'", "UPDATE price SET valid_from = '2026-01-01Z'"),
    ("catalogue.current", "warning", "m@1 is current and deprecated",
     "UPDATE model_version SET state = 3", "UPDATE model_version SET state = 2"),
    ("catalogue.current", "error", "m@1 is current and blocked",
     "UPDATE model_version SET state = 5", "UPDATE model_version SET state = 2"),
    ("fleet.workers", "error", "1 parked jobs wait",
     "INSERT INTO parked (job_id, batch_id, next_at, wait_key, priority, number, attempts, reasks, "
     "waited_us, model_us, reason, payload) SELECT gen_random_uuid(), gen_random_uuid(), "
     "now() - interval '1 s', 0, 1, 1, 0, 0, 0, 0, 0, ''", "DELETE FROM parked"),
    ("fleet.silent", "warning", "on h1, pid 7 has not renewed its lease for 1 h",
     f"INSERT INTO worker (host, pid, build, lease_until) VALUES ('h1', 7, 'b', {HOUR_AGO})",
     "DELETE FROM worker"),
    ("fleet.fenced", "warning", "on h1, pid 7 was fenced",
     "INSERT INTO worker (host, pid, build, lease_until, fenced) "
     f"VALUES ('h1', 7, 'b', {HOUR_AGO}, true)", "DELETE FROM worker"),
    ("fleet.builds", "warning", "1 workers run build b2 (h2), 2 run b1",
     "INSERT INTO worker (host, pid, build, lease_until) SELECT h, 7, b, now() + interval '1 h' "
     "FROM (VALUES ('h1', 'b1'), ('h3', 'b1'), ('h2', 'b2')) t (h, b)", "DELETE FROM worker"),
    ("fleet.draining", "warning", "was told to leave 1 h ago",
     "INSERT INTO worker (host, pid, build, lease_until, drain_requested_at) "
     f"VALUES ('h1', 7, 'b', now() + interval '1 h', {HOUR_AGO})", "DELETE FROM worker"),
    ("fleet.letters", "warning", "1 dead letters are not on the dead topic, the oldest for 1 h",
     "INSERT INTO dead_letter (source, class, reason, payload, created_at) "
     f"VALUES ('s', 42, 'r', 'p', {HOUR_AGO})", "DELETE FROM dead_letter"),
]


@pytest.mark.parametrize("check, level, words, broken, mended", SQL_BREAKS,
                         ids=[f"{b[0]}-{i}" for i, b in enumerate(SQL_BREAKS)])
def test_what_sql_breaks(patient, check, level, words, broken, mended):
    patient.alone()
    patient.db.rows(broken.format(db=patient.name))
    try:
        remedy = patient.only(check, level, words)["remedy"]
    finally:
        if mended:
            patient.db.rows(mended.format(db=patient.name))
    if not mended:
        patient.db.rows(remedy)


def test_every_remedy_that_was_run_mended(patient):
    """After all of the above."""
    patient.healthy()


def test_a_worker_that_left_in_order_is_no_finding(patient):
    """Its last act fences it, so that nobody waits for its lease."""
    patient.db.rows("INSERT INTO worker (host, pid, build, lease_until, stopped_at, fenced) "
                    "VALUES ('h1', 7, 'b', now() + interval '9 s', now(), true)")
    try:
        patient.healthy()
    finally:
        patient.db.rows("DELETE FROM worker")


def test_due_jobs_that_workers_leave(patient):
    batch = patient.db.batch("due", 1)
    patient.db.worker()
    patient.db.parked(batch, "one", patient.endpoint, next_at="2026-01-01Z")
    try:
        patient.only("fleet.parked", "warning", "for endpoint eu", remedy="restart workers")
    finally:
        patient.db.rows("DELETE FROM parked; DELETE FROM worker; DELETE FROM batch")


def test_an_unmigrated_database(patient):
    empty = Database(f"{patient.name}e", migrated=False)
    try:
        finding = patient.only("pg.migrations", "error", "not applied, the first of them 0001_core",
                               PGDATABASE=empty.name)
        run(INFERQ, *shlex.split(finding["remedy"])[1:],
            env={**patient.env, "PGDATABASE": empty.name})
        patient.healthy(PGDATABASE=empty.name)
    finally:
        empty.drop()


def test_a_database_of_another_encoding_with_too_many_partitions_and_one_detached(patient):
    """In one database of its own, which is thrown away."""
    name = f"{patient.name}p"
    with contextlib.closing(psycopg2.connect(dbname=patient.name)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' "
                           "LC_CTYPE 'C' TEMPLATE template0")
    try:
        run(INFERQ, "migrate", env={**patient.env, "PGDATABASE": name})
        with contextlib.closing(psycopg2.connect(dbname=name)) as admin:
            admin.autocommit = True
            with admin.cursor() as cursor:
                cursor.execute("SELECT inferq.attach_partition('result', 'far' || i, i, i + 1) "
                               "FROM generate_series(1, 61) i")
                cursor.execute("SELECT suffix FROM inferq.partition_span ORDER BY 1 LIMIT 1")
                child = f"call_{cursor.fetchone()[0]}"
                cursor.execute(f"ALTER TABLE inferq.call DETACH PARTITION inferq.{child}")
        patient.only("pg.encoding", "error", "SQL_ASCII", remedy="ENCODING 'UTF8'",
                     beside={("pg.partition_count", "warning"), ("pg.partitions", "error")},
                     PGDATABASE=name)
    finally:
        with contextlib.closing(psycopg2.connect(dbname=patient.name)) as admin:
            admin.autocommit = True
            with admin.cursor() as cursor:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_login_without_rights_and_one_with_all(patient):
    name, password = f"{patient.name}_nobody", "Zn4-nobody-secret"
    patient.db.rows(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    try:
        as_nobody = {"PGUSER": name, "PGPASSWORD": password}
        finding = patient.only("pg.login", "error", f"{name} has none of inferq's roles", **as_nobody)
        unasked = [f["found"] for f in patient.ask(**as_nobody) if f["level"] == "skipped"]
        assert sum("not allowed to ask" in text for text in unasked) > 5, unasked
        assert password not in json.dumps([finding, unasked])
        patient.db.rows(f"GRANT inferq_operator TO {name}")
        left = {f["check"] for f in patient.ask(**as_nobody) if "not allowed" in f["found"]}
        assert "pg.transactions" in left and "fleet.parked" not in left, left
    finally:
        patient.db.rows(f"DROP ROLE {name}")
    superuser().connection.close()
    patient.only("pg.login", "warning", "postgres is a superuser", remedy="deploy/logins.sql",
                 PGUSER="postgres")


def test_a_transaction_left_open(patient):
    with contextlib.closing(psycopg2.connect(dbname=patient.name)) as lazy:
        lazy.cursor().execute("SELECT 1")
        finding = patient.only("pg.transactions", "warning", "has been open", flags=["--patience", "0"])
        patient.db.rows(finding["remedy"].removeprefix("end it: "))
    patient.alone()
    patient.healthy("--patience", "0")


@pytest.mark.parametrize("setting, value, check, words", [
    ("fsync", "off", "pg.durability", "fsync is off"),
    ("full_page_writes", "off", "pg.durability", "full_page_writes is off"),
    ("autovacuum", "off", "pg.autovacuum", "autovacuum is off"),
    ("synchronous_standby_names", "nobody", "pg.standby", "every commit waits"),
])
def test_the_servers_settings(patient, setting, value, check, words):
    """Doctor writes nothing, so it does not wait for a standby that is away."""
    cursor = superuser()
    try:
        cursor.execute(f"ALTER SYSTEM SET {setting} = {value}")
        cursor.execute("SELECT pg_reload_conf()")
        wait_for(lambda: cursor.execute("SELECT current_setting(%s)", [setting])
                 or cursor.fetchone()[0] == value, what="the setting")
        found = patient.ask()
        wrong = {(f["check"], f["level"]): f for f in found if f["level"] in ("warning", "error")}
        assert set(wrong) == (ONE_NODE - {(check, "warning")}) | {(check, "error")}, wrong
        assert words in wrong[check, "error"]["found"]
        assert f"{setting}" in wrong[check, "error"]["remedy"]
    finally:
        cursor.execute(f"ALTER SYSTEM RESET {setting}")
        cursor.execute("SELECT pg_reload_conf()")
        wait_for(lambda: cursor.execute("SELECT current_setting(%s)", [setting])
                 or cursor.fetchone()[0] != value, what="the setting's return")
        cursor.connection.close()


def test_a_slot_without_a_reader(patient):
    cursor = superuser()
    slot = f"{patient.name}_slot"
    cursor.execute("SELECT pg_create_physical_replication_slot(%s, true)", [slot])
    try:
        patient.only("pg.slots", "warning", slot, remedy=f"pg_drop_replication_slot('{slot}')")
    finally:
        cursor.execute("SELECT pg_drop_replication_slot(%s)", [slot])
        cursor.connection.close()


# ---- catalogue and endpoints --------------------------------------------------------------------

def catalogue(patient, tmp_path, **endpoint):
    """The file that fits the tables; `endpoint`: what is different."""
    url = patient.db.value("SELECT base_url FROM endpoint")
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"catalogue": "c", "endpoints": [
        {"name": "eu", "base_url": url, "credential": "env:DOCTOR_KEY", "max_in_flight": 8,
         "timeout": "60s", "connect_timeout": "5s", **endpoint}],
        "models": [{"name": "m", "provider": "p", "owner": "o", "versions": [
            {"version": "1", "upstream_model": "up-m", "endpoint": "eu", "context_tokens": 8000,
             "max_output_tokens": 1000, "prices": [
                 {"from": "2026-01-01", "input_per_million_usd": 2.5,
                  "output_per_million_usd": 10}]}]}]}))
    return str(path)


def test_the_catalogue_file(patient, tmp_path):
    path = catalogue(patient, tmp_path)
    patient.healthy("--catalogue", path)
    patient.only("catalogue.applied", "error", "endpoint eu@1: differs", remedy="new version",
                 flags=["--catalogue", catalogue(patient, tmp_path, max_in_flight=9)])
    patient.only("catalogue.applied", "warning", "endpoint eu@2 is not applied yet",
                 remedy="start a worker", beside={("catalogue.applied", "error")},
                 flags=["--catalogue", catalogue(patient, tmp_path, version=2)])
    (tmp_path / "bad.yaml").write_text("catalogue: c\nendpoints: 7\n")
    patient.only("catalogue.file", "error", "bad.yaml:2", remedy="mend the line",
                 flags=["--catalogue", str(tmp_path / "bad.yaml")])


def test_the_signing_key(patient, tmp_path):
    patient.only("signing.key", "error", "DOCTOR_NONE", INFERQ_SIGNING_KEY="env:DOCTOR_NONE")
    (tmp_path / "key").write_text("k:5ecret-that-is-no-hex")
    finding = patient.only("signing.key", "error", INFERQ_SIGNING_KEY=f"file:{tmp_path}/key")
    assert "5ecret" not in json.dumps(finding)


def test_the_workers_ring(patient, tmp_path):
    ring = tmp_path / "ring"
    flags = ["--signature-keys", f"file:{ring}"]
    planted = "5e" * 32
    patient.only("signing.ring", "error", "No such file", flags=flags)
    ring.write_text("# none yet\n")
    patient.only("signing.ring", "error", "holds no key", remedy="signature.keys", flags=flags)
    ring.write_text("other k1:5ecret-that-is-no-hex\n")
    finding = patient.only("signing.ring", "error", "line 1", flags=flags)
    assert "5ecret" not in json.dumps(finding)
    ring.write_text(f"other k1:{planted}\npip k1:{planted}\n")
    patient.db.batch("ringed", 1, deadline_at="2999-01-01Z")
    try:
        finding = patient.only("signing.ring", "error", "app pipe has no key, and 1 batches",
                               remedy="`pipe KEY-ID:HEX`", flags=flags)
        assert planted not in json.dumps(finding)
        ring.write_text(f"other k1:{planted}\npipe k1:{planted}\n")
        patient.healthy(*flags)
    finally:
        patient.db.rows("DELETE FROM batch")


def test_a_paused_endpoint(patient):
    run(INFERQ, "endpoint", "pause", "eu", "--reason", "they move", env=patient.env)
    finding = patient.only("endpoint.pause", "warning", "eu was paused", "they move")
    run(INFERQ, *finding["remedy"].partition(",")[0].split()[1:], env=patient.env)
    patient.healthy()


# ---- limits -------------------------------------------------------------------------------------

def test_limits_of_what_is_not_there(patient):
    for scope, key, word in ((1, "uk@1", "no such endpoint"), (2, "m@9", "no such model"),
                             (3, "nobody", "no job of that app")):
        with patient.but("INSERT INTO limit_rule (scope, key, dimension, of_operator, changed_by) "
                         f"VALUES ({scope}, '{key}', 6, 5, 'ann')", "DELETE FROM limit_rule"):
            finding = patient.only("limit.unknown", "warning", key, word)
            words = finding["remedy"].partition("inferq ")[2].partition(",")[0].split()
            run(INFERQ, *words, env=patient.env)
            patient.healthy()


def test_limits_that_nobody_shares_out(patient):
    limit = ("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) "
             "VALUES (1, 'eu@1', 1, 500, 'file')")
    worker = patient.db.worker()
    with patient.but(limit, f"DELETE FROM limit_rule; DELETE FROM worker WHERE worker_id = {worker}"):
        patient.only("limit.keeper", "warning", "1 limits are in force", remedy="restart a worker")
        patient.db.rows("SELECT pg_advisory_lock(hashtext('inferq keeper'))")
        try:
            patient.healthy()
        finally:
            patient.db.rows("SELECT pg_advisory_unlock(hashtext('inferq keeper'))")


def test_limits_that_throttling_has_halved(patient):
    with patient.but("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) "
                     "VALUES (1, 'eu@1', 1, 500, 'file'); "
                     "INSERT INTO limit_learned (endpoint, multiplier) VALUES ('eu@1', 345)",
                     "DELETE FROM limit_rule; DELETE FROM limit_learned"):
        patient.only("limit.learned", "warning", "eu@1 down to 34.5 %", remedy="inferq limit set")


def test_limits_that_hold_the_fleet(patient):
    """They are no fault: a note, with a remedy that works, and no other exit status."""
    away_from_midnight()
    with patient.but("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) "
                     "VALUES (1, 'eu@1', 5, 1000, 'file'); INSERT INTO limit_day SELECT limit_id, "
                     "floor(extract(epoch FROM now()) / 86400)::int, 1000, 9, 1000 FROM limit_rule",
                     "DELETE FROM limit_day; DELETE FROM limit_rule"):
        finding = patient.only("limit.holds", "note", "endpoint:eu@1 tokens_per_day 1000: all taken, "
                               "more at 00:00 UTC (", remedy="or allow more: inferq limit set")
        text = run(INFERQ, "doctor", env=patient.env).stdout
        assert text.splitlines()[-1] == "0 errors, 2 warnings, 1 note, 4 not looked at"
        words = finding["remedy"].partition("inferq ")[2].split()
        run(INFERQ, *words[:-1], "2000", env=patient.env)
        patient.healthy()


def test_limits_of_the_catalogue_file(patient, tmp_path):
    path = catalogue(patient, tmp_path, limits={"requests_per_minute": 500})
    patient.only("catalogue.applied", "warning", "limit endpoint:eu@1 requests_per_minute is not applied",
                 flags=["--catalogue", path])
    with patient.but("INSERT INTO limit_rule (scope, key, dimension, of_catalogue, changed_by) "
                     "VALUES (1, 'eu@1', 1, 400, 'file')", "DELETE FROM limit_rule"):
        patient.only("catalogue.applied", "warning", "has another amount there",
                     flags=["--catalogue", path])
        patient.db.rows("UPDATE limit_rule SET of_catalogue = 500, of_operator = 7")
        patient.healthy("--catalogue", path)
        patient.only("catalogue.applied", "warning", "is not in the file any more",
                     flags=["--catalogue", catalogue(patient, tmp_path)])


@contextlib.contextmanager
def endpoint(patient, **columns):
    sets = ", ".join(f"{name} = %s" for name in columns)
    before = patient.db.rows(f"SELECT {', '.join(columns)} FROM endpoint")[0]
    patient.db.rows(f"UPDATE endpoint SET {sets}", *columns.values())
    try:
        yield
    finally:
        patient.db.rows(f"UPDATE endpoint SET {sets}", *before)


def test_an_endpoint_that_cannot_be_reached(patient):
    with endpoint(patient, base_url="http://no-such-host.invalid:1"):
        patient.only("endpoint.address", "error", "no-such-host.invalid", remedy="DNS")
    with endpoint(patient, base_url="http://127.0.0.1:1"):
        patient.only("endpoint.connect", "error", "eu@1: http://127.0.0.1:1", remedy="firewall")
    with endpoint(patient, ca_file="/no/such/file", base_url="https://127.0.0.1:1"):
        assert {f["check"] for f in patient.ask() if f["level"] == "error"} <= {
            "endpoint.address", "endpoint.connect"}


def test_an_endpoints_credential(patient):
    with endpoint(patient, credential="env:DOCTOR_NONE"):
        patient.only("endpoint.credential", "error", "DOCTOR_NONE", remedy="wherever workers run")
    finding = patient.only("endpoint.call", "error", "answers 401", remedy="a valid key",
                           flags=["--call"], DOCTOR_KEY="sk-planted-wrong-key")
    assert "planted" not in json.dumps(finding)


def make_certificate(directory, start, end):
    """(certificate, key) that signs itself, for 127.0.0.1."""
    (directory / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\n"
        "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n"
        "[e]\nsubjectAltName=IP:127.0.0.1\n")
    (directory / "index").write_text("")
    (directory / "serial").write_text("01")
    for command in ("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=test "
                    "-keyout key -out request",
                    "ca -batch -notext -selfsign -config ca.cnf -in request -keyfile key "
                    f"-startdate {start} -enddate {end} -out certificate"):
        subprocess.run(["openssl", *command.split()], cwd=directory, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return str(directory / "certificate"), str(directory / "key")


@pytest.mark.parametrize("days, level, words", [(7, "warning", "ends in 6 d"),
                                                (-7, "error", "expired")])
def test_an_endpoints_certificate(patient, tmp_path, days, level, words):
    end = patient.db.value("SELECT to_char(now() AT TIME ZONE 'UTC' + %s * interval '1 day', "
                           "'YYYYMMDDHH24MISS') || 'Z'", days)
    certificate, key = make_certificate(tmp_path, "20200101000000Z", end)
    with serving(certificate, key) as port:
        url = f"https://127.0.0.1:{port}"
        with endpoint(patient, base_url=url, ca_file=certificate):
            patient.only("endpoint.certificate", level, words, remedy="renew")
        if days > 0:
            with endpoint(patient, base_url=url):
                patient.only("endpoint.certificate", "error", "certificate", remedy="ca_file")


def test_the_table_of_the_readme_has_every_check(patient):
    """By id, in the order of the report; test_docs.py holds the rest of the table."""
    listed = json.loads(run(INFERQ, "doctor", "--list", "--json", env=patient.env).stdout)
    with open(os.path.join(os.path.dirname(__file__), "..", "..", "README.md"),
              encoding="utf-8") as file:
        table = file.read().partition("<!-- doctor -->")[2].partition("<!-- /doctor -->")[0]
    for check in listed:
        assert f"| `{check['check']}` | " in table
    assert table.count("\n| `") == len(listed)
