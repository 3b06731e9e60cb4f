"""What the tests of a misbehaving Kafka share: the numbers of their short and long forms, a fleet that
is scaled up and down, a watch over committed offsets, the mock cluster and its control port.

tally.py tells which form runs, and by which seed.
"""
import json
import random
import signal
import socket
import subprocess
import threading
import uuid

import msgpack
import psycopg2

import tally
from harness import LANES, TOOLS, Database, Late, run, wait_for

# Members are missed in seconds, not in tens of them.
QUICK_GROUP = {"kafka.session.timeout.ms": "3000", "kafka.heartbeat.interval.ms": "500",
               "kafka.reconnect.backoff.max.ms": "500"}
# Full after a hundred jobs: partitions are paused and resumed several times a second.
SMALL_LANES = {f"lane.{lane}.max_jobs": "100" for lane in LANES}


def pick(short, long):
    """A number by the form that runs."""
    return long if tally.LONG else short


def requests(tmp_path, count, model="m", text="text"):
    """A file of so many chat requests; two batches of it differ by their names."""
    path = tmp_path / f"{uuid.uuid4().hex}.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            file.write(json.dumps({"custom_id": f"job-{i}", "model": model, "max_tokens": 100,
                                   "messages": [{"role": "user", "content": f"{text} {i}"}]}) + "\n")
    return path


def ended(world, batch):
    """How many of a sealed batch's jobs have ended."""
    counts = world.counts(batch)
    return counts["accepted"] - counts["pending"] if counts.get("accepted") is not None else 0


def moves_on(world, batches, jobs=10, seconds=60):
    """Each batch has ended, or ends so many more jobs: nothing is stuck."""
    for batch in batches:
        before = ended(world, batch)
        goal = min(before + jobs, world.counts(batch)["accepted"])
        wait_for(lambda b=batch, g=goal: ended(world, b) >= g, seconds,
                 f"{goal} ended jobs of {batch}, of which {before} had ended")


# ---- a fleet that is scaled ----------------------------------------------------------------------


def assignments(worker):
    """How often it was given partitions."""
    return worker.log().count("kafka partitions assigned")


def scale_up(world, workers):
    """By workers that join at once; until each of them has been given partitions, and the old ones
    anew."""
    before = {worker: assignments(worker) for worker in world.live_workers()}
    while len(world.live_workers()) < workers:
        before[world.start_worker(ready=False)] = 0
    wait_for(lambda: all(assignments(worker) > n for worker, n in before.items()), 60,
             f"{workers} workers with partitions")


def scale_down(world, rng, kinds):
    """One worker leaves for each of the kinds, "killed" or "stopped", all at the same moment; until
    the others have been given their partitions."""
    leaving = rng.sample(world.live_workers(), len(kinds))
    stopping = [worker for worker, kind in zip(leaving, kinds) if kind == "stopped"]
    before = {worker: assignments(worker) for worker in world.live_workers()}
    for worker, kind in zip(leaving, kinds):
        if kind == "killed":
            worker.kill()
        else:
            worker.signal(signal.SIGTERM)
    for worker in stopping:
        assert worker.wait() == 0
        tally.fault("worker stopped")
    wait_for(lambda: all(assignments(worker) > before[worker] for worker in world.live_workers()), 60,
             "partitions of those that left")


class OffsetWatch(threading.Thread):
    """Guarantee 3 at random moments: no committed offset has passed a job that has neither a result
    nor its payload in Postgres.

    Happy path: with OffsetWatch(world): ... ; it looks until the block ends, and then fails if any
    look found anything, or if none fell into the middle of the work. The group's offsets are asked
    for first: what they have passed must be in Postgres afterwards, and stays there. The topics are
    read by a program that shares no code with the worker, once, as all is submitted before.
    What goes wrong: while Kafka or Postgres is away a look is left out.
    """

    def __init__(self, world, midway=3):
        super().__init__(daemon=True)
        self.world, self.midway_least = world, midway
        self.jobs = {}  # (topic, partition) -> [(offset, job id)]
        for record in world.records(*[world.topic(lane) for lane in LANES]):
            place = self.jobs.setdefault((record["topic"], record["partition"]), [])
            place.append((record["offset"], uuid.UUID(
                bytes=msgpack.unpackb(record["value"])["job_id"])))
        self.total = sum(len(place) for place in self.jobs.values())
        self.safe = set()
        self.looks = self.midway = 0
        self.problems = []
        self.rng = random.Random(tally.SEED)
        self.over = threading.Event()

    def _committed(self):
        done = run(TOOLS / "ktail", "--committed", self.world.conf["group"],
                   *[self.world.topic(lane) for lane in LANES], env=self.world.env, ok=None)
        return [json.loads(line) for line in done.stdout.splitlines()] if not done.returncode else []

    def _look(self, connection):
        committed = self._committed()
        passed = {job for c in committed
                  for offset, job in self.jobs.get((c["topic"], c["partition"]), [])
                  if offset < c["committed"]}
        unknown = list(passed - self.safe)
        with connection.cursor() as cursor:
            cursor.execute("SELECT job_id FROM result WHERE job_id = ANY(%s) UNION"
                           " SELECT job_id FROM parked WHERE job_id = ANY(%s)", (unknown, unknown))
            self.safe |= {row[0] for row in cursor.fetchall()}
        self.problems += [f"look {self.looks}: an offset has passed {job}, which is nowhere: {committed}"
                          for job in passed - self.safe]
        self.looks += bool(committed)
        self.midway += 0 < len(passed) < self.total

    def run(self):
        connection = None
        while not self.over.wait(self.rng.uniform(0.05, pick(0.5, 2.0))):
            try:
                connection = connection or Database._connect(self.world.name)
                self._look(connection)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                connection = None
            except subprocess.TimeoutExpired:
                continue
        if connection:
            connection.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.over.set()
        self.join()
        assert not self.problems, self.problems[:5]
        if kind is None:
            assert self.midway >= self.midway_least, (
                f"of {self.looks} looks {self.midway} fell into the middle of the work")


# ---- the mock cluster ----------------------------------------------------------------------------


class MockCluster:
    """tests/mockkafka with so many brokers; say("down 2") and the like reach its control port."""

    def __init__(self, tmp_path, brokers=1):
        bootstrap, control = tmp_path / "mock.bootstrap", tmp_path / "mock.control"
        self.brokers = brokers
        self.process = subprocess.Popen(
            [str(TOOLS / "mockkafka"), "--brokers", str(brokers), "--port-file", str(bootstrap),
             "--control", str(control)], stdout=subprocess.DEVNULL)
        try:
            wait_for(bootstrap.exists, what="the mock cluster")
        except Late:
            self.stop()
            raise
        self.bootstrap = bootstrap.read_text().strip()
        host, port = control.read_text().strip().split(":")
        self.control = socket.create_connection((host, int(port)), timeout=10)
        self.answers = self.control.makefile("r")

    def say(self, command):
        """Its answer's text behind `ok`; an error fails."""
        self.control.sendall(command.encode() + b"\n")
        answer = self.answers.readline().strip()
        assert answer.startswith("ok"), f"{command}: {answer}"
        return answer[3:]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0
