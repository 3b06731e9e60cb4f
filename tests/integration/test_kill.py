"""Killing: workers at random, Postgres, Kafka, submit. Afterwards every guarantee is asked for.

A kill of workers counts only with at least 50 calls in flight, as the witness sees it. The seed is
printed; INFERQ_KILL_SEED repeats it, INFERQ_KILL_ROUNDS sets the number of kills, INFERQ_KILL_JOBS
that of a batch's jobs.
"""
import os
import random
import signal
import subprocess

import pytest

import tally
from checks import finish
from crash import Load, busy_world, ours, report, requests, under_load
from harness import BIN, model, stack, wait_for

ROUNDS = int(os.environ.get("INFERQ_KILL_ROUNDS", "12" if tally.LONG else "8"))
JOBS = int(os.environ.get("INFERQ_KILL_JOBS", "2500"))
SEED = int(os.environ.get("INFERQ_KILL_SEED") or tally.SEED)


def test_kill_random_workers_under_load(lone_world, tmp_path, capsys):
    rng = random.Random(SEED)
    world = busy_world(lone_world)
    load = Load(world, tmp_path, JOBS, "kill")
    killed_in_flight = []
    for _ in range(ROUNDS):
        load.keep_up(1000)
        killed_in_flight.append(under_load(world, load=load))
        rng.choice(world.live_workers()).kill()
        world.start_worker(ready=False)
        goal = load.ended() + rng.randrange(50, 400)
        wait_for(lambda g=goal: load.ended() >= g, 90, f"{goal} ended jobs")
    load.wait_ended()
    with capsys.disabled():
        print(f"\nseed {SEED}: {ROUNDS} kills, with {killed_in_flight} calls in flight")
    report(world, "kill -9 of workers", capsys)
    finish(world, crashed=True)


def run_through(world, load, capsys, what, fault):
    """Lets some of the jobs end, does what is to be done to the servers, lets the rest end."""
    wait_for(lambda: load.ended() > 500, what="five hundred ended jobs")
    under_load(world, load=load)
    fault()
    load.wait_ended()
    assert len(world.live_workers()) == len(world.workers), "no worker gave up"
    report(world, what, capsys)
    finish(world, crashed=True)


@ours
def test_postgres_is_restarted(lone_world, tmp_path, capsys):
    world = busy_world(lone_world, workers=2)
    run_through(world, Load(world, tmp_path, 1500, "restart"), capsys, "Postgres restarted",
                lambda: stack("restart", "postgres"))


@ours
def test_postgres_is_killed(lone_world, tmp_path, capsys):
    world = busy_world(lone_world, workers=2)

    def fault():
        stack("kill", "postgres")
        # Away for long enough that every worker has noticed.
        wait_for(lambda: all(not w.ready() for w in world.workers), what="workers that are not ready")
        stack("start", "postgres")

    run_through(world, Load(world, tmp_path, 1500, "pgkill"), capsys, "Postgres killed", fault)


@ours
def test_kafka_is_killed(lone_world, tmp_path, capsys):
    world = busy_world(lone_world, workers=2)

    def fault():
        stack("kill", "kafka")
        stack("start", "kafka")

    run_through(world, Load(world, tmp_path, 1500, "kafka"), capsys, "Kafka killed", fault)


# ---- submit --------------------------------------------------------------------------------------


def records_sent(world):
    return sum(c["high"] - c["low"] for c in world.committed())


def test_submit_killed_half_way_and_run_again(lone_world, tmp_path):
    """Half of the input has certainly been sent when it is killed; the second run sends it all."""
    world = lone_world(models=[model("busy")])
    lines = requests(tmp_path, 3000, "half").read_text().splitlines(keepends=True)
    command = [str(BIN / "inferq-submit"), "--app", "pipe", "--batch", "half", "--format", "jsonl", "-"]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, **world.env})
    first.stdin.write("".join(lines[:1500]).encode())
    first.stdin.flush()
    wait_for(lambda: records_sent(world) > 0, what="records of the first run")
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdin.close()
    assert 0 < records_sent(world) <= 1500
    assert world.value("SELECT sealed_at FROM batch WHERE name = 'half'") is None
    world.start_worker()
    batch = world.submit("--format", "jsonl", "-", batch="half", stdin="".join(lines))
    assert world.wait_ended(batch, 60) == {"accepted": 3000, "succeeded": 3000, "dead": 0,
                                           "cancelled": 0, "expired": 0, "pending": 0}
    assert len(world.calls(batch)) == 3000
    assert records_sent(world) > 3000, "some were sent twice, and nothing was done twice"
    finish(world)


def test_submit_killed_at_any_moment(lone_world, tmp_path):
    """Of a file, killed wherever it happens to be, several times; then finished."""
    rng = random.Random(SEED)
    world = lone_world(models=[model("busy")])
    world.start_worker()
    path = requests(tmp_path, 2000, "any")
    command = [str(BIN / "inferq-submit"), "--app", "pipe", "--batch", "any", str(path)]
    for _ in range(5):
        victim = subprocess.Popen(command, env={**os.environ, **world.env},
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            victim.wait(rng.uniform(0.0, 0.15))
        except subprocess.TimeoutExpired:
            victim.kill()
            victim.wait()
    batch = world.submit(path, batch="any")
    assert world.wait_ended(batch, 60)["succeeded"] == 2000
    assert len(world.calls(batch)) == 2000
    finish(world)
