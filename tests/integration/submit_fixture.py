"""inferq-submit as tests run it, and its records as another language reads them: ids, signatures and
headers are computed here anew, by the rules of the message format."""
import fcntl
import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import sys
import termios
import time
import uuid

import msgpack
import psycopg2

import kafka_read

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("INFERQ_BIN") or ROOT / "build" / "bin")
KEY_ID, KEY = "tests", "5eed" * 16
PREFIX = f"submit{os.getpid()}"
NORMAL = f"{PREFIX}.jobs.normal"
MIB = 1 << 20
SANITIZED = os.environ.get("INFERQ_VARIANT") == "asan"


class Submit:
    """Runs inferq-submit with the module's database, topics and key; `app` differs by test."""

    def __init__(self, database, app, directory):
        self.app, self.dir = app, directory
        self.env = {**os.environ, "PGDATABASE": database, "INFERQ_PREFIX": PREFIX,
                    "INFERQ_SIGNING_KEY": "env:SUBMIT_TEST_KEY",
                    "SUBMIT_TEST_KEY": f"{KEY_ID}:{KEY}"}
        self.database = database

    def command(self, *args):
        return [str(BIN / "inferq-submit"), "--app", self.app, *map(str, args)]

    def run(self, *args, data=None, env=None, timeout=120):
        if isinstance(data, str):
            data = data.encode()
        done = subprocess.run(self.command(*args), input=data, capture_output=True,
                              cwd=self.dir, env={**self.env, **(env or {})}, timeout=timeout,
                              check=False)
        assert KEY.encode() not in done.stdout + done.stderr
        return done

    def ok(self, *args, **more):
        """Runs it, expects success and silence but for the batch's id, which is given back."""
        done = self.run(*args, **more)
        assert (done.returncode, done.stderr) == (0, b""), done
        return uuid.UUID(done.stdout.decode().strip())

    def refused(self, why, *args, code=2, **more):
        done = self.run(*args, **more)
        message = done.stderr.decode()
        assert done.returncode == code, done
        assert why in message and message.startswith("inferq-submit: "), message
        assert done.stdout == b"", done
        return message

    def start(self, *args, **more):
        return subprocess.Popen(self.command(*args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, cwd=self.dir, env=self.env, **more)

    def write(self, name, content):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def sql(self, text, *values):
        with psycopg2.connect(dbname=self.database, options="-csearch_path=inferq") as conn:
            with conn.cursor() as cursor:
                cursor.execute(text, values)
                return cursor.fetchall() if cursor.description else None

    def row(self):
        """The app's only batch: (id, name, total, sealed, digest)."""
        rows = self.sql("SELECT batch_id::text, name, total, sealed_at IS NOT NULL, input_sha256 "
                        "FROM batch WHERE app = %s", self.app)
        assert len(rows) == 1, rows
        return rows[0]

    def records(self, topic=NORMAL):
        return [r for r in kafka_read.records(topic)
                if r.headers["inferq-app"].decode() == self.app]

    def jobs(self, topic=NORMAL):
        """The app's jobs by custom_id; every record is verified on the way, and repeats of a job
        must be the same to the byte."""
        found = {}
        for record in self.records(topic):
            job = verified(record, self.app)
            again = found.setdefault(job["custom_id"], (record.value, job))
            assert again[0] == record.value
        return {name: job for name, (_, job) in found.items()}


def field(text):
    return len(text.encode()).to_bytes(4, "big") + text.encode()


def id_of(tag, created_ms, fields, tail=b""):
    digest = hashlib.sha256(tag + b"".join(map(field, fields)) + tail).digest()
    raw = bytearray(created_ms.to_bytes(6, "big") + digest[:10])
    raw[6] = raw[6] & 0x0f | 0x70
    raw[8] = raw[8] & 0x3f | 0x80
    return bytes(raw)


def verified(record, app):
    """The job in a record whose key, id, signature and headers are what the format says."""
    job = msgpack.unpackb(record.value)
    assert job["v"] == 1 and job["app"] == app
    assert job["job_id"] == record.key
    assert job["job_id"] == id_of(b"inferq-id-1", job["created_at"],
                                  [app, job["batch"], job["custom_id"]], b"\0\0\0\0")
    assert job["batch_id"] == id_of(b"inferq-batch-1", job["created_at"], [app, job["batch"]])
    mac = hmac.new(bytes.fromhex(KEY), record.value, "sha256").hexdigest()
    trace = f"00-{job['batch_id'].hex()}-{record.key[8:].hex()}-00"
    assert record.headers == {"inferq-schema": b"job/1", "inferq-app": app.encode(),
                              "inferq-signature": f"v1:{KEY_ID}:{mac}".encode(),
                              "traceparent": trace.encode()}
    json.loads(job["body"])
    return job


def unread(pipe):
    """How many bytes its other end has not taken yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)


def chat(text, **more):
    return json.dumps({**more, "messages": [{"role": "user", "content": text}]},
                      ensure_ascii=False)


def chat_lines(count):
    return "".join(f"{chat(f'question {i}')}\n" for i in range(1, count + 1))


def scratch_database(name):
    conn = psycopg2.connect("")
    conn.autocommit = True
    with conn.cursor() as cursor:
        cursor.execute(f'CREATE DATABASE "{name}"')
    return conn


def drop_database(conn, name):
    with conn.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    conn.close()
