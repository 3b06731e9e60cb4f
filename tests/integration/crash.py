"""What the crash tests share: a fleet under load, and what is said about it in the end."""
import collections
import json
import os

import pytest

import tally
from harness import QUICK_LEASE, VARIANT, model, wait_for

# A fault in the midst of work means this many calls in flight, as the witness sees it.
IN_FLIGHT_MIN = 50
# A dead worker's jobs wait for its lease, for a connection that stood long enough to fence it, and
# 30 s where a living one had parked them as live elsewhere.
RECOVERY_S = 150

# Fifty in flight are a matter of how long calls last and how many are begun in a second; sanitizers on a
# crowded machine begin few.
LATENCY = "uniform:500ms:900ms" if tally.LONG and VARIANT == "asan" else "uniform:150ms:250ms"

ours = pytest.mark.skipif("INFERQ_STACK_PG" not in os.environ or
                          "INFERQ_STACK_KAFKA" not in os.environ,
                          reason="the servers are not the stack's own: they are left alone")


def requests(tmp_path, count, name):
    path = tmp_path / "requests.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(count):
            label = "Labels: yes, no, maybe\n" if i % 3 == 0 else ""
            file.write(json.dumps({"custom_id": f"{name}-{i}", "model": "busy", "max_tokens": 100,
                                   "messages": [{"role": "user",
                                                 "content": f"{label}text {i} of {name}"}]}) + "\n")
    return path


def busy_world(make, workers=3, latency=LATENCY, max_in_flight=40, conf=QUICK_LEASE):
    """`make`: the fixture lone_world."""
    world = make(models=[model("busy", max_in_flight=max_in_flight)], latency=latency, partitions=4,
                 conf={**conf, "kafka.session.timeout.ms": "6000"})
    for _ in range(workers):
        world.start_worker()
    return world


def under_load(world, least=IN_FLIGHT_MIN, load=None, left=1000):
    """Until so many calls are in flight; how many there are. With a Load, however long the fleet takes
    to form again, and with so many jobs left: seconds of work, or it may end before what is done next."""
    def many():
        if load:
            load.keep_up(left)
        now = world.sim.summary()["in_flight"]
        return now if now >= least else None
    return wait_for(many, 60, f"{least} calls in flight", 0.01)


class Load:
    """Jobs that do not run out before the faults do, however long each of these takes: a batch, and
    another when few of it are left."""

    def __init__(self, world, tmp_path, jobs, name):
        self.world, self.tmp_path, self.jobs, self.name = world, tmp_path, jobs, name
        self.batches = []
        self.more()

    def more(self):
        name = f"{self.name}{len(self.batches)}"
        self.batches.append(self.world.submit(requests(self.tmp_path, self.jobs, name)))

    @property
    def total(self):
        return self.jobs * len(self.batches)

    def ended(self):
        return self.world.value("SELECT count(*) FROM result")

    def keep_up(self, least):
        if self.total - self.ended() < least:
            self.more()

    def wait_ended(self):
        for batch in self.batches:
            assert self.world.wait_ended(batch, RECOVERY_S)["succeeded"] == self.jobs


def ended(world, batch):
    counts = world.counts(batch)
    return counts["accepted"] - counts["pending"] if counts.get("accepted") is not None else 0


def report(world, what, capsys):
    """What a note about this run should say."""
    extra = collections.Counter(
        (kind, outcome) for kind, outcome in world.rows(
            "SELECT code_name('call_kind', c.kind), code_name('class', c.class) FROM call c"
            " JOIN result r USING (job_id) WHERE r.call_number IS DISTINCT FROM c.number"))
    seen = world.sim.summary()["requests"]
    with capsys.disabled():
        print(f"\n{what}: {world.value('SELECT count(*) FROM result')} jobs, {seen} calls seen by the model,"
              f" {sum(extra.values())} extra calls in the ledger: {dict(extra)}")
