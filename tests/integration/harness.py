"""The whole path under test: a database and topics of its own, a modelsim as model and witness, and
a fleet of workers.

Happy path: world = World(tmp_path, models=[model("m")]); world.start_worker();
batch = world.submit("--prompt", "...", "docs"); world.wait_ended(batch); world.check();
world.stop_workers(); world.check(). Nothing sleeps to let things happen: wait_for polls a condition
up to a bound, and says what it last saw.

What is checked, and against whom, stands in checks.py. Messages are made here by the prose of
schemas/messages (make_vectors.py), not by the code under test.
"""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import time
import uuid

import msgpack
import psycopg2
import psycopg2.extras
import yaml

import tally

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "modelsim"), str(ROOT / "schemas" / "messages")]
import make_vectors  # noqa: E402  (found by the line above)
import reference  # noqa: E402
from client import Sim  # noqa: E402

psycopg2.extras.register_uuid()

BIN = pathlib.Path(os.environ.get("INFERQ_BIN") or ROOT / "build" / "bin")
TOOLS = pathlib.Path(os.environ.get("INFERQ_TOOLS") or ROOT / "build" / "bin")
VARIANT = os.environ.get("INFERQ_VARIANT", "release")
STACK = ROOT / "deploy" / "local" / "stack"
SLOW = 3 if VARIANT == "asan" else 2  # sanitizers take their time; so do two busy cores

LANES = ("high", "normal", "low")
PRICE = {"from": "2025-01-01", "input_per_million_usd": 0.15, "output_per_million_usd": 0.60}
# Takeovers in seconds instead of most of a minute.
QUICK_LEASE = {"lease.time": "6s", "lease.heartbeat": "1s"}

STACK_FAULTS = {"kill": "killed", "restart": "restarted", "stop": "stopped", "pause": "paused"}

WORLDS = []  # those alive: conftest.py shows their logs when a test fails


class Late(AssertionError):
    """A condition did not come true within its bound."""


def wait_for(condition, seconds=30, what="the condition", every=0.05):
    """Polls until condition() is true and returns what it gave. A lost connection is no answer, nor is
    a server that is too busy to give one."""
    end = time.monotonic() + seconds * SLOW
    seen = None
    while True:
        with contextlib.suppress(psycopg2.OperationalError, psycopg2.InterfaceError,
                                 ConnectionError, TimeoutError, http.client.HTTPException):
            seen = condition()
            if seen:
                return seen
        if time.monotonic() > end:
            raise Late(f"{what}: not within {seconds * SLOW} s; last seen: {seen!r}")
        time.sleep(every)


def away_from_midnight(seconds=60):
    """Until at least so many seconds are left of the day (UTC): what is of today stays so meanwhile."""
    wait_for(lambda: time.time() % 86400 < 86400 - seconds, seconds, "another day", every=1)


def free_port():
    """For a server that can only be told a number: of those below the range from which the kernel
    takes ports for whoever asks for any, and beside those of the local stacks, so that nobody takes it
    by accident before that server does."""
    for port in random.sample(range(30000, 32768), 100):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port between 30000 and 32767")


def run(*command, ok=(0,), env=None, timeout=120, stdin=None, text=True):
    """A program to its end; any other exit status than those in `ok` fails, with what it said."""
    done = subprocess.run([str(c) for c in command], env={**os.environ, **(env or {})},
                          input=stdin, capture_output=True, text=text, timeout=timeout * SLOW,
                          check=False, **({} if stdin is not None
                                          else {"stdin": subprocess.DEVNULL}))
    assert ok is None or done.returncode in ok, (command, done.returncode, done.stdout, done.stderr)
    return done


def stack(*arguments):
    """Does something to this stack's servers, such as `restart kafka`."""
    if arguments[0] in STACK_FAULTS:
        tally.fault(f"{arguments[1]} {STACK_FAULTS[arguments[0]]}")
    run(STACK, "--name", os.environ["INFERQ_STACK"], *arguments)


def model(name, endpoint=None, version=None, retry=None, **more):
    """A model of the catalogue, on an endpoint of its own unless one is named: what pauses one
    leaves the others alone. `version`: keys of its version, such as {"prices": []}; `retry`: what
    a route for it says; `more`: the endpoint's, such as timeout="1s"."""
    return {"name": name, "endpoint": endpoint or f"at-{name}", "conf": more, "retry": retry,
            "version": {"max_output_tokens": 1000, "prices": [PRICE]} | (version or {})}


class Database:
    """Made empty and migrated; a lost connection is made anew at the next question."""

    def __init__(self, name, migrate=True):
        self.name = name
        self.connection = None
        with contextlib.closing(self._connect(os.environ.get("PGDATABASE", "postgres"))) as admin:
            admin.cursor().execute(f'CREATE DATABASE "{name}"')
        if migrate:
            run(BIN / "inferq", "migrate", env={"PGDATABASE": name})

    @staticmethod
    def _connect(name):
        connection = psycopg2.connect(dbname=name, options="-c search_path=inferq",
                                      connect_timeout=5)
        connection.autocommit = True
        return connection

    def rows(self, sql, *parameters):
        """All rows, as tuples."""
        try:
            if self.connection is None or self.connection.closed:
                self.connection = self._connect(self.name)
            with self.connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            if self.connection is not None:
                self.connection.close()
            raise

    def reconnect(self):
        """After Postgres was away: the old connection is dead and does not know it yet."""
        if self.connection is not None:
            self.connection.close()
        self.connection = wait_for(lambda: self._connect(self.name), what="a connection to Postgres")

    def value(self, sql, *parameters):
        """The first column of the first row; None without one."""
        rows = self.rows(sql, *parameters)
        return rows[0][0] if rows else None

    @contextlib.contextmanager
    def locked(self, table):
        """Nobody else writes it meanwhile."""
        with contextlib.closing(self._connect(self.name)) as holder:
            holder.autocommit = False
            holder.cursor().execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")
            yield
            holder.rollback()

    def drop(self):
        if self.connection is not None:
            self.connection.close()
        with contextlib.closing(self._connect(os.environ.get("PGDATABASE", "postgres"))) as admin:
            admin.cursor().execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


class Worker:
    """One inferq-worker; its log is a file."""

    def __init__(self, world, binary, conf, env):
        self.log_path = world.tmp / f"worker-{len(world.workers)}.log"
        command = [str(binary), "--catalogue", str(world.catalogue_file)]
        for key, value in conf.items():
            command += [f"--{key}", str(value)]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT,
                                            env={**os.environ, **world.env, **env})
        self.port = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def logged(self, text):
        return text in self.log()

    def _find_port(self):
        assert self.alive, f"the worker ended with {self.process.returncode}:\n{self.log()[-3000:]}"
        found = re.search(r"listening.*?port\"?[=:]\"?(\d+)", self.log())
        return found and int(found.group(1))

    def get(self, path):
        """(status, body) of its HTTP port."""
        if self.port is None:
            self.port = wait_for(self._find_port, what="the worker's port")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def ready(self):
        return self.get("/readyz")[0] == 200

    def metric(self, name, **labels):
        """The sum over the series of this name that have these labels."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            found = re.match(rf"{name}(?:\{{(.*)\}})? (\S+)$", line)
            if found:
                have = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1) or ""))
                if all(have.get(k) == v for k, v in labels.items()):
                    total += float(found.group(2))
        return total

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL, and gone."""
        tally.fault("worker killed")
        self.signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self, seconds=60):
        """SIGTERM; returns the exit status."""
        if self.alive:
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds=60):
        """Its exit status, which must come by itself."""
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired as late:
            raise Late(f"no end in time:\n{self.log()[-3000:]}") from late


def claimed_late(world, batch):
    """How many of its calls were claimed after its deadline. By Postgres's clock when the claim came
    there, which says nothing of when it left the worker."""
    return world.value("SELECT count(*) FROM call c JOIN batch b USING (batch_id)"
                       " WHERE batch_id = %s AND c.claimed_at > b.deadline_at", batch)


class Message:
    """A job message by the prose: what a foreign producer would send."""

    def __init__(self, app="pipe", batch=None, created_ms=None):
        self.app = app
        self.batch = batch or f"batch-{uuid.uuid4().hex[:12]}"
        self.created_ms = created_ms or int(time.time() * 1000)

    @property
    def batch_id(self):
        return uuid.UUID(bytes=make_vectors.batch_id(self.created_ms, self.app, self.batch))

    def job_id(self, custom_id, generation=0):
        return uuid.UUID(bytes=make_vectors.job_id(self.created_ms, self.app, self.batch, custom_id,
                                                   generation))

    def fields(self, custom_id, text="hello there", body=None, **changes):
        body = body or {"model": "m", "messages": [{"role": "user", "content": text}]}
        message = {"v": 1, "job_id": self.job_id(custom_id).bytes, "batch_id": self.batch_id.bytes,
                   "batch": self.batch, "custom_id": custom_id, "app": self.app,
                   "url": "/v1/chat/completions", "body": json.dumps(body).encode(),
                   "created_at": self.created_ms}
        message.update(changes)
        return message

    def pack(self, custom_id, **more):
        return msgpack.packb(self.fields(custom_id, **more), use_bin_type=True)


class World:
    """A database, topics under a prefix of their own, a modelsim, workers."""

    def __init__(self, tmp_path, models=(), script=None, latency="0", partitions=2, conf=None,
                 kafka=None, make_topics=True):
        self.tmp = pathlib.Path(tmp_path)
        self.tmp.mkdir(parents=True, exist_ok=True)
        self.name = f"t{uuid.uuid4().hex[:10]}"
        self.database = Database(self.name)
        self.env = {"PGDATABASE": self.name, "INFERQ_PREFIX": self.name}
        if kafka:
            self.env["KAFKA_BOOTSTRAP_SERVERS"] = kafka
        if callable(make_topics):
            make_topics(self.name)
        elif make_topics:
            self.inferq("topics", "--partitions", str(partitions))
        self.sim = Sim(self.tmp, "--latency", latency, "--ledger", f"dbname={self.name}",
                       script=script)
        self.conf = {"prefix": self.name, "group": self.name, "listen": "127.0.0.1:0",
                     **(conf or {})}
        self.workers = []
        self.lanes = list(LANES)  # and those that add_lane adds
        self.broken = False  # a test failed with it: see conftest.py
        self.connections_die = False  # set by tests that have kept connections reset
        self.messages = {}  # job id -> (url, body) of what was sent; see checks.py
        self.catalogue_file = self.tmp / "catalogue.yaml"
        self.write_catalogue([model("m"), *models])
        WORLDS.append(self)

    def write_catalogue(self, models):
        """Each model under its own name upstream; prices are those of modelsim's own table."""
        endpoints = {}
        for m in models:
            conf = {"timeout": "20s", **m["conf"]}
            # A worker that is held up while it connects has not found its model server away.
            endpoints.setdefault(m["endpoint"], {
                "name": m["endpoint"], "base_url": f"http://127.0.0.1:{self.sim.port}",
                "send_ids": True, "connect_timeout": conf["timeout"], **conf})
        content = {"catalogue": self.name, "endpoints": list(endpoints.values()), "models": [
            {"name": m["name"], "versions": [
                {"version": "1", "upstream_model": m["name"], "endpoint": m["endpoint"],
                 **m["version"]}]} for m in models],
            "defaults": [{"model": "m"}],
            "routes": [{"model": m["name"], "retry": m["retry"]} for m in models if m["retry"]]}
        self.catalogue_file.write_text(yaml.safe_dump(content))

    # ---- programs

    def start_worker(self, binary=None, env=None, ready=True, **conf):
        """conf: settings with dots written as underscores of two: lease__time="6s"."""
        settings = {**self.conf, **{k.replace("__", "."): v for k, v in conf.items()}}
        worker = Worker(self, binary or BIN / "inferq-worker", settings, env or {})
        self.workers.append(worker)
        if ready:
            wait_for(worker.ready, what="a ready worker")
        return worker

    def live_workers(self):
        return [w for w in self.workers if w.alive]

    def settle(self):
        """Until every partition has an owner among the living, and each of them some: a worker is ready
        before it has any."""
        whole = len(self.committed())

        def held():
            said = [re.findall(r"kafka partitions (assigned|revoked).*?partitions=(\d+)", worker.log())
                    for worker in self.live_workers()]
            return [int(of[-1][1]) if of and of[-1][0] == "assigned" else 0 for of in said]
        wait_for(lambda: sum(held()) == whole and min(held()) > 0, 60, f"{whole} partitions with owners")

    def stop_workers(self):
        """SIGTERM to all at once; each must end with 0."""
        stopping = self.live_workers()
        for worker in stopping:
            worker.signal(signal.SIGTERM)
        codes = [worker.wait() for worker in stopping]
        assert all(code == 0 for code in codes), codes

    def seal(self, message, total):
        """Its batch is whole. Also before a worker has seen any of it, as app and name are told."""
        self.inferq("batch", "seal", str(message.batch_id), "--total", str(total),
                    "--app", message.app, "--name", message.batch)

    def inferq(self, *arguments, **how):
        return run(BIN / "inferq", *arguments, env={**self.env, **how.pop("env", {})}, **how)

    def add_lane(self, name, *options, partitions=1):
        self.inferq("lane", "add", name, "--partitions", str(partitions), *options)
        self.lanes.append(name)

    def submit(self, *arguments, app="pipe", batch=None, ok=(0,), **how):
        """The batch's id, as `inferq-submit` printed it (None when it printed none)."""
        batch = batch or f"batch-{uuid.uuid4().hex[:12]}"
        done = run(BIN / "inferq-submit", "--app", app, "--batch", batch, *arguments, ok=ok,
                   env={**self.env, **how.pop("env", {})}, **how)
        lines = done.stdout.split()
        return uuid.UUID(lines[-1]) if lines else None

    def ask(self, *texts, model="m", options=(), **how):
        """Submits one job per text, each a chat request of its own."""
        lines = [json.dumps({"custom_id": f"job-{i}", "model": model, "max_tokens": 200,
                             "messages": [{"role": "user", "content": text}]})
                 for i, text in enumerate(texts)]
        path = self.tmp / f"{uuid.uuid4().hex}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return self.submit("--format", "jsonl", *options, path, **how)

    # ---- Kafka

    def topic(self, lane="normal"):
        return f"{self.name}.jobs.{lane}"

    def produce(self, *values, lane="normal", partition=None, headers=None, key=None):
        """Raw records; returns [{"partition", "offset"}...]."""
        record = {"topic": self.topic(lane), "headers": {
            name: value.encode().hex() for name, value in (headers or {}).items()}}
        if partition is not None:
            record["partition"] = partition
        lines = [json.dumps({**record, "value": value.hex(),
                             "key": (key or hashlib.sha256(value).digest()[:16]).hex()})
                 for value in values]
        done = run(TOOLS / "kput", stdin="\n".join(lines) + "\n", env=self.env)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def records(self, *topics):
        """Every record of the topics: dicts with bytes for key, value and headers' values."""
        done = run(TOOLS / "ktail", *topics, env=self.env)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        for record in found:
            record["key"] = bytes.fromhex(record["key"])
            record["value"] = bytes.fromhex(record["value"])
            record["headers"] = {k: bytes.fromhex(v) for k, v in record["headers"].items()}
        return found

    def committed(self):
        """Where the group stands: [{"topic", "partition", "low", "high", "committed"}...]."""
        done = run(TOOLS / "ktail", "--committed", self.conf["group"],
                   *[self.topic(lane) for lane in self.lanes], env=self.env)
        return [json.loads(line) for line in done.stdout.splitlines()]

    # ---- what Postgres says

    def rows(self, sql, *parameters):
        return self.database.rows(sql, *parameters)

    def value(self, sql, *parameters):
        return self.database.value(sql, *parameters)

    def counts(self, batch):
        """accepted, succeeded, dead, cancelled, expired, pending of a batch."""
        rows = self.rows("SELECT accepted, succeeded, dead, cancelled, expired, pending"
                         " FROM batch_progress WHERE batch_id = %s", batch)
        names = ("accepted", "succeeded", "dead", "cancelled", "expired", "pending")
        return dict(zip(names, rows[0])) if rows else {}

    def wait_ended(self, batch, seconds=30):
        """Until nothing of a sealed batch is pending; its counts."""
        def ended():
            counts = self.counts(batch)
            return counts if counts.get("pending") == 0 else None
        try:
            return wait_for(ended, seconds, f"the end of batch {batch}")
        except Late as late:
            raise Late(f"{late}; {self.counts(batch)}") from None

    def results(self, batch):
        """{custom_id: row as dict} from result_text, the latest generation last."""
        names = ("custom_id status class answer finish_reason validation model_version cost_nusd"
                 " call_number generation job_id throttle_us").split()
        rows = self.rows(f"SELECT {', '.join(names)} FROM result_text WHERE batch_id = %s"
                         " ORDER BY generation", batch)
        return {row[0]: dict(zip(names, row)) for row in rows}

    def calls(self, batch, custom_id=None):
        """The batch's calls, in order: dicts."""
        names = "job_id number kind class certainty cost_nusd estimated_nusd http_status".split()
        rows = self.rows(
            "SELECT c.job_id, c.number, code_name('call_kind', c.kind), code_name('class', c.class),"
            " code_name('certainty', c.certainty), c.cost_nusd, c.estimated_nusd, c.http_status"
            " FROM call c LEFT JOIN result r USING (job_id) WHERE c.batch_id = %s"
            " AND coalesce(r.custom_id = %s, true) ORDER BY c.job_id, c.number", batch, custom_id)
        return [dict(zip(names, row)) for row in rows]

    def letters(self, batch=None):
        """Dead letters, of a batch or without a job."""
        names = "dead_id job_id class reason topic partition record_offset payload published".split()
        where = "d.batch_id = %s" if batch else "d.job_id IS NULL AND %s IS NULL"
        rows = self.rows(
            "SELECT d.dead_id, d.job_id, code_name('class', d.class), d.reason, d.topic, d.partition,"
            " d.record_offset, d.payload, d.published_at IS NOT NULL FROM dead_letter d"
            f" WHERE {where} ORDER BY d.dead_id", batch)
        return [dict(zip(names, row)) for row in rows]

    def close(self):
        """Ends everything that this world started, however it went."""
        WORLDS.remove(self)
        tally.count(self)
        for worker in self.live_workers():
            worker.signal(signal.SIGKILL)
            worker.process.wait(30)
        self.sim.stop()
        if not (self.broken and tally.LONG):  # else it is evidence
            self.database.drop()
