"""What a run needs around the program that is measured: programs, databases, topics, the model.

Happy path: enter_stack() puts the servers of a stack of our own into the environment; database()
makes an empty one; fill() writes jobs into a topic; Modelsim answers and counts.

What goes wrong is a Problem that says what was missing, with the end of the log where there is one.
"""
import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request

from machine import Problem, cpu_us, tree_cpu_us

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
sys.path.append(os.path.join(ROOT, "tests"))
import local_stack  # pylint: disable=wrong-import-position
BIN = os.path.join(ROOT, os.environ.get("BUILD") or "build", "bin")
STACK_NAME = "bench"
BODY_BYTES = 1024
MAX_TOKENS = 32
START_TIMEOUT_S = 60


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def program(name):
    path = os.path.join(BIN, name)
    if not os.access(path, os.X_OK):
        raise Problem(f"{path} is not built: make VARIANT=release all")
    return path


def run(*command, database=None, **keywords):
    """The output of a program that must end with 0."""
    env = {**os.environ, **keywords.pop("env", {})}
    if database:
        env["PGDATABASE"] = database
    done = subprocess.run(command, check=False, text=True, stdin=subprocess.DEVNULL, env=env,
                          stdout=subprocess.PIPE, **keywords)
    if done.returncode != 0:
        raise Problem(f"{shlex.join(command)} ended with {done.returncode}")
    return done.stdout


def tail(path, lines=15):
    with open(path, encoding="utf-8", errors="replace") as file:
        return "".join(file.readlines()[-lines:])


def wait_for(what, timeout_s, ready, process=None, every_s=0.05):
    """Polls until ready() gives something true, and returns it."""
    end = time.monotonic() + timeout_s
    while True:
        seen = ready()
        if seen:
            return seen
        if process is not None and process.poll() is not None:
            raise Problem(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise Problem(f"{what}: not after {timeout_s} s")
        time.sleep(every_s)


# ---- the stack ---------------------------------------------------------------------------------


def enter_stack():
    try:
        os.environ.update(local_stack.fresh(STACK_NAME))
    except subprocess.CalledProcessError as problem:
        raise Problem(f"{shlex.join(problem.cmd)} ended with {problem.returncode}") from problem


def leave_stack():
    if os.environ.get("KEEP") != "1":
        local_stack.call(STACK_NAME, "destroy")


def _read_pid(path):
    with open(path, encoding="ascii") as file:
        return int(file.readline())


def server_pids():
    """The pids of the servers that are ours, by role; those of the user's are not known."""
    directory, pids = os.environ.get("INFERQ_STACK_DIR"), {}
    kafka = os.environ.get("INFERQ_STACK_KAFKA")
    if kafka and os.environ["KAFKA_BOOTSTRAP_SERVERS"] == kafka:
        pids["kafka"] = _read_pid(f"{directory}/kafka/pid")
    if os.environ.get("INFERQ_STACK_PG"):
        pids["postgres"] = _read_pid(f"{directory}/postgres/postmaster.pid")
    return pids


def servers_cpu_us(pids):
    return {role: tree_cpu_us(pid) if role == "postgres" else cpu_us(pid)
            for role, pid in pids.items()}


# ---- Postgres ----------------------------------------------------------------------------------


class Psql:
    """One psql, kept open: connecting for every question would be measured as well."""

    def __init__(self, name):
        self.name = name
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PGDATABASE": name, "PGOPTIONS": "-c client_min_messages=error"})

    def ask(self, sql):
        """The one line that the question gives."""
        self.process.stdin.write(f"{sql};\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Problem(f"psql gave no answer to: {sql}")
        return answer.strip()

    def number(self, sql):
        return float(self.ask(sql) or 0)

    def wal_bytes(self):
        return self.number("SELECT pg_current_wal_lsn() - '0/0'")

    def disk_bytes(self):
        """Of all tables, their indexes and what they keep out of line."""
        return self.number(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND n.nspname IN ('inferq', 'bench')")

    def commits(self):
        """In this database; backends say so a second late at most, when they have nothing to do."""
        return self.number("SELECT pg_stat_get_db_xact_commit(oid) FROM pg_database"
                           " WHERE datname = current_database()")

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def database(name, migrated=True):
    """An empty database, named so and after this process, which goes at the end; a psql in it."""
    name = f"inferq_bench_{name}_{os.getpid()}"
    run("psql", "-X", "-q", "-c", f"CREATE DATABASE {name}")
    try:
        if migrated:
            run(program("inferq"), "migrate", database=name, stderr=subprocess.DEVNULL)
        psql = Psql(name)
        try:
            yield psql
        finally:
            psql.close()
    finally:
        run("psql", "-X", "-q", "-c", f"DROP DATABASE {name} WITH (FORCE)")


def checkpoint():
    """So that none falls into a run because of what was before. Only a superuser may: no harm."""
    if os.environ.get("INFERQ_STACK_PG"):
        run("psql", "-X", "-q", "-c", "CHECKPOINT", database="postgres", env={"PGUSER": "postgres"})


# ---- Kafka -------------------------------------------------------------------------------------

_prefixes = 0


def new_prefix():
    """Topics of their own, empty; returns the first part of their names."""
    global _prefixes
    _prefixes += 1
    prefix = f"inferq-bench-{int(time.time())}-{os.getpid()}-{_prefixes}"
    run(program("inferq"), "topics", "--prefix", prefix)
    return prefix


def topic(prefix):
    return f"{prefix}.jobs.normal"


def fill(prefix, jobs, batch="bench", model="small", created_ms=0, pace_us=0):
    """Writes signed jobs into the topic; with a pace, {job id: when it was acknowledged, in us}."""
    lines = run(
        program("bench-gen"), "--topic", topic(prefix), "--jobs", str(jobs), "--body.bytes",
        str(BODY_BYTES), "--max.tokens", str(MAX_TOKENS), "--model", model, "--batch", batch,
        "--created.ms", str(created_ms), "--pace.us", str(pace_us), "--signing.key",
        os.environ["INFERQ_SIGNING_KEY"]).split("\n")
    *acknowledged, written = [line for line in lines if line]
    if int(written) != jobs:
        raise Problem(f"bench-gen wrote {written} of {jobs} jobs")
    return {line.split()[0]: int(line.split()[1]) for line in acknowledged}


# ---- modelsim ----------------------------------------------------------------------------------


class Modelsim:
    """The model; `witness`: the file into which it writes when each request came."""

    def __init__(self, directory, latency="0", witness=None):
        port_file = f"{directory}/port"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(port_file)
        command = [program("modelsim"), "--port-file", port_file, "--latency", latency]
        self.process = subprocess.Popen(
            command + (["--witness", witness] if witness else []),
            stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        wait_for("modelsim", START_TIMEOUT_S, lambda: os.path.exists(port_file) and
                 os.path.getsize(port_file) > 0, self.process)
        with open(port_file, encoding="ascii") as file:
            self.url = f"http://127.0.0.1:{int(file.read())}"

    def _get(self, path, data=None):
        with urllib.request.urlopen(f"{self.url}{path}", data=data, timeout=30) as reply:
            return reply.read()

    def calls(self):
        return json.loads(self._get("/witness"))["requests"]

    def forget(self):
        self._get("/witness/reset", data=b"")

    def script(self, text):
        self._get("/control", data=text.encode())

    def stop(self):
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def modelsim(*arguments, **keywords):
    sim = Modelsim(*arguments, **keywords)
    try:
        yield sim
    finally:
        sim.stop()
