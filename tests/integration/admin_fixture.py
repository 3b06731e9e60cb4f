"""Rows made by hand for the tests of `inferq`: batches, results, calls, parked jobs, dead letters.

`Database` is a private, migrated database; its methods insert rows as workers would have left them.
Ids and messages are made here in Python, by the rules of the message format, not by the code under
test.
"""

import hashlib
import json
import os
import re
import subprocess
import time
import uuid

import msgpack
import psycopg2
import psycopg2.extras

from memory import wait_with_peak_kb

psycopg2.extras.register_uuid()

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
SQL_DIR = os.path.join(ROOT, "schemas", "sql")
BIN = os.environ.get("INFERQ_BIN") or os.path.join(ROOT, "build", "bin")
INFERQ = os.path.join(BIN, "inferq")

SUCCEEDED, DEAD, CANCELLED, EXPIRED = 1, 2, 3, 4
CLASS = {"ok": 1, "malformed": 10, "expired": 15, "cancelled": 16, "ambiguous": 32, "throttled": 39,
         "refused": 42, "bad_output": 43}
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OPEN, CLAIMED, REQUEUED, DISCARDED = 1, 2, 3, 6


def run(*args, env=None, timeout=60, text=True):
    """`inferq ARGS`, to the end."""
    return subprocess.run([INFERQ, *args], capture_output=True, text=text, timeout=timeout,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})


def _id(tag, created_ms, parts, tail):
    """Bytes 0-5 the time, then SHA-256 over the tag and the parts; version 7, RFC variant."""
    digest = hashlib.sha256(tag)
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    digest.update(tail)
    raw = bytearray(created_ms.to_bytes(6, "big") + digest.digest()[:10])
    raw[6] = (raw[6] & 0x0F) | 0x70
    raw[8] = (raw[8] & 0x3F) | 0x80
    return uuid.UUID(bytes=bytes(raw))


def job_id(created_ms, app, batch, custom_id, generation=0):
    return _id(b"inferq-id-1", created_ms, [app, batch, custom_id], generation.to_bytes(4, "big"))


def batch_id(created_ms, app, batch):
    return _id(b"inferq-batch-1", created_ms, [app, batch], b"")


class Batch:
    def __init__(self, app, name, created_ms):
        self.app, self.name, self.created_ms = app, name, created_ms
        self.id = batch_id(created_ms, app, name)

    @property
    def ref(self):
        return f"{self.app}/{self.name}"

    def job(self, custom_id, generation=0):
        return job_id(self.created_ms, self.app, self.name, custom_id, generation)

    def message(self, custom_id, generation=0, body=BODY, **more):
        fields = {"v": 1, "job_id": self.job(custom_id, generation).bytes, "batch_id": self.id.bytes,
                  "batch": self.name, "custom_id": custom_id, "app": self.app, "task": "sum",
                  "team": "t", "url": "/v1/chat/completions", "body": body,
                  "created_at": self.created_ms, "generation": generation, **more}
        return msgpack.packb(fields, use_bin_type=True)


class Database:
    """Made by the server's own means, dropped by `drop`."""

    def __init__(self, name, migrated=True):
        self.name = name
        self.env = {"PGDATABASE": name, "INFERQ_SQL_DIR": SQL_DIR}
        with self._admin() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            cursor.execute(f'CREATE DATABASE "{name}"')
        if migrated:
            done = self.inferq("migrate")
            assert done.returncode == 0, done.stderr
            self.connect()

    def _admin(self):
        connection = psycopg2.connect(dbname=os.environ.get("PGDATABASE", "postgres"))
        connection.autocommit = True
        return connection.cursor()

    def connect(self):
        self.connection = psycopg2.connect(dbname=self.name, options="-c search_path=inferq")
        self.connection.autocommit = True
        return self.connection

    def drop(self):
        if getattr(self, "connection", None):
            self.connection.close()
        with self._admin() as cursor:
            cursor.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')

    def inferq(self, *args, **kwargs):
        env = {**self.env, **kwargs.pop("env", {})}
        return run(*args, env=env, **kwargs)

    def rows(self, sql, *params):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else None

    def value(self, sql, *params):
        return self.rows(sql, *params)[0][0]

    def insert(self, table, returning=None, **values):
        columns = ", ".join(values)
        places = ", ".join(["%s"] * len(values))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({places})"
        if returning:
            return self.value(f"{sql} RETURNING {returning}", *values.values())
        self.rows(sql, *values.values())
        return None

    # -- what producers and workers would have written

    def batch(self, name, total, app="pipe", created_ms=None, **values):
        created_ms = created_ms or int(time.time() * 1000) - 5000
        b = Batch(app, name, created_ms)
        self.insert("batch", batch_id=b.id, app=app, name=name, task="sum", team="t", priority=1,
                    created_ms=created_ms, total=total, **values)
        return b

    def catalogue(self):
        """One endpoint, one model version with a price: (endpoint, version, price)."""
        endpoint = self.insert("endpoint", "endpoint_id", name="eu", version=1,
                               base_url="https://models.example", adapter=0, credential="env:KEY",
                               ca_file="", max_in_flight=8, timeout_ms=60000, connect_timeout_ms=5000,
                               send_ids=False, idempotency_key=False, sha256=b"x")
        self.insert("model", name="m", provider="p", owner="o")
        version = self.insert("model_version", "model_version_id", model="m", version="1",
                              label="m@1", upstream_model="up-m", endpoint_id=endpoint, state=2,
                              context_tokens=8000, max_output_tokens=1000, sha256=b"x")
        price = self.insert("price", "price_id", model_version_id=version,
                            valid_from="2026-01-01T00:00:00Z", input_pusd=2_500_000,
                            output_pusd=10_000_000, request_pusd=0)
        return endpoint, version, price

    def worker(self):
        return self.insert("worker", "worker_id", host="h1", pid=7, build="b1",
                           lease_until="2030-01-01T00:00:00Z")

    def result(self, b, custom_id, status=SUCCEEDED, class_="ok", generation=0, cost_nusd=1000,
               answer="yes", **more):
        body = None
        if status == SUCCEEDED:
            body = ('{"choices":[{"message":{"content":"%s"}}]}' % answer).encode()
        values = {"job_id": b.job(custom_id, generation), "batch_id": b.id,
                  "created_at": psycopg2.TimestampFromTicks(b.created_ms / 1000),
                  "cost_nusd": cost_nusd, "generation": generation, "status": status,
                  "class": CLASS[class_], "call_number": 1 if status == SUCCEEDED else None,
                  "validation": 0, "priority": 1, "app": b.app, "task": "sum", "team": "t",
                  "custom_id": custom_id, "url": "/v1/chat/completions", "body": body, **more}
        self.insert("result", **values)
        self.insert("progress", batch_id=b.id, status=status, n=1, cost_nusd=cost_nusd)

    def letter(self, b, custom_id, class_="refused", state=OPEN, payload=None, generation=0,
               reason="the model declined", job=True, **more):
        payload = b.message(custom_id, generation) if payload is None else payload
        values = {"source": os.urandom(32), "job_id": b.job(custom_id, generation) if job else None,
                  "batch_id": b.id if job else None, "generation": generation if job else None,
                  "class": CLASS[class_], "state": state, "attempts": 1, "topic": "inferq.jobs.low",
                  "partition": 3, "record_offset": 17, "app": b.app if job else None, "task": "sum",
                  "team": "t", "custom_id": custom_id if job else None, "model_version": "m@1",
                  "reason": reason, "payload": payload, **more}
        return self.insert("dead_letter", "dead_id", **values)

    def dead(self, b, custom_id, class_="refused", **more):
        """A dead job: its result and its letter."""
        generation = more.get("generation", 0)
        self.result(b, custom_id, DEAD, class_, generation, 500, priority=2)  # as its topic says
        return self.letter(b, custom_id, class_, **more)

    def parked(self, b, custom_id, wait_key=0, **more):
        values = {"job_id": b.job(custom_id), "batch_id": b.id, "next_at": "2029-01-01T00:00:00Z",
                  "wait_key": wait_key, "priority": 1, "number": 2, "attempts": 1, "reasks": 0,
                  "spent_nusd": 10, "waited_us": 1_500_000, "model_us": 20_000,
                  "reason": CLASS["throttled"], "payload": b.message(custom_id), **more}
        self.insert("parked", **values)

    def call(self, b, custom_id, number, worker, endpoint, version, price, **more):
        values = {"job_id": b.job(custom_id), "batch_id": b.id, "worker_id": worker,
                  "model_version_id": version, "endpoint_id": endpoint, "price_id": price,
                  "number": number, "kind": 1 if number == 1 else 2, "estimated_nusd": 900,
                  "upper_nusd": 5000, **more}
        self.insert("call", **values)

    def progress(self, b):
        """(accepted, succeeded, dead, cancelled, expired, pending)"""
        return self.rows("SELECT accepted, succeeded, dead, cancelled, expired, pending "
                         "FROM batch_progress WHERE batch_id = %s", b.id)[0]


def peak_kb(args, env, stdout):
    """Runs a command and returns (exit code, its peak resident set in KiB). A command that was over
    before anybody could look at it is run again."""
    peak = 0
    while not peak:
        stdout.seek(0)
        stdout.truncate()
        started = subprocess.Popen(args, env={**os.environ, **env}, stdout=stdout,
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        peak = wait_with_peak_kb(started)
        started.stderr.close()
    return started.returncode, peak


def columns(line):
    return re.split(r" {2,}", line.strip())


def fails(done, code, *words):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    return done


def works(done, code=0):
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def asked(db, *words):
    """What a command shows, as its --json has it."""
    return json.loads(works(db.inferq(*words, "--json")))


def audits(db):
    return db.rows("SELECT actor, action, subject, detail FROM audit_log ORDER BY audit_id")


def notified(db, channel, act):
    """How often that channel is told something while act() runs."""
    db.connection.notifies.clear()
    db.rows(f"LISTEN {channel}")
    act()
    db.rows(f"UNLISTEN {channel}")
    db.connection.poll()
    return len(db.connection.notifies)


def fill(db, name="night", **values):
    """Four ended, one parked, one not seen: of each kind one."""
    b = db.batch(name, 6, **values)
    db.result(b, "ok")
    db.dead(b, "dead")
    db.result(b, "cancelled", CANCELLED, "cancelled", cost_nusd=0)
    db.result(b, "expired", EXPIRED, "expired", cost_nusd=0)
    db.parked(b, "parked")
    return b
