"""Workers that are stopped for longer than their lease (SIGSTOP, then SIGCONT), as by a suspended
machine: others take their jobs, and what the woken ones still do harms nothing.

The stop between grant and send needs no luck: a proxy before Postgres holds back the answer to a
claim that is committed, and gives it to the worker while it stands still. So the grant lies before
it when it wakes. Builds with failpoints also stop themselves a step later, with the grant in hand.
"""
import pathlib
import signal
import time

import pytest

import tally
from checks import finish
from crash import ours, under_load
from harness import QUICK_LEASE, VARIANT, model, wait_for
from pgproxy import HOLD, PASS, Proxy

JOBS = 60
# Long: the default lease of 15 s, and a stop of at least 30 s.
LEASE = {} if tally.LONG else QUICK_LEASE
STOP_S = 30 if tally.LONG else 0
SLOW_S = 50 if tally.LONG else 26  # a call that lasts beyond the takeover
BRIEF_S = 7  # one that ends while its worker stands still, but not before all of them have begun
RECOVERY_S = 150

WAKES = ["while its successor calls", "when all has ended"]


def sleepy_world(lone_world):
    return lone_world(models=[model("busy", max_in_flight=2 * JOBS, timeout="60s")],
                      latency="300ms", partitions=4,
                      conf={**LEASE, "kafka.session.timeout.ms": "6000"})


def wake(sleeper, until):
    """When the stop has lasted long enough; until it has found out, and works again."""
    wait_for(lambda: time.monotonic() >= until, STOP_S + 1, "the end of the stop")
    sleeper.signal(signal.SIGCONT)
    wait_for(lambda: sleeper.logged("this worker was fenced"), what="a worker that sees its fence")
    wait_for(sleeper.ready, what="a worker that is ready again")


def all_accounted_for(world, seconds):
    wait_for(lambda: world.value("SELECT count(*) FROM call WHERE done_at IS NULL") == 0, seconds,
             "an outcome of every call")


def sleep_with_calls_and_a_grant(world, proxy):
    """A worker alone, stopped with JOBS calls in flight, and with the grants of others before it that
    it has not read; (it, its number, both batches, the jobs granted, when it may wake)."""
    sleeper = world.start_worker(env=proxy.env)
    number = world.value("SELECT worker_id FROM worker")
    flying = world.ask(*[f"[[sim: latency={SLOW_S if i % 2 else BRIEF_S}s times=1]] text {i}"
                         for i in range(JOBS)], model="busy")
    under_load(world, JOBS)
    proxy.judge = lambda statements: HOLD if "claim" in statements else PASS
    granting = world.ask(*[f"another {i}" for i in range(JOBS)], model="busy")
    wait_for(lambda: proxy.holding, what="a claim whose answer is held")
    granted = {str(row[0]) for row in world.rows(
        "SELECT job_id FROM call WHERE batch_id = %s", granting)}
    tally.fault("worker stopped")
    sleeper.signal(signal.SIGSTOP)
    proxy.judge = lambda statements: PASS
    proxy.release()
    assert granted
    return sleeper, number, (flying, granting), granted, time.monotonic() + STOP_S


@ours
@pytest.mark.parametrize("when", WAKES if tally.LONG else [WAKES[tally.SEED % 2]])
def test_a_worker_is_stopped_for_longer_than_its_lease(lone_world, when):
    """Its calls in flight are made again, both are in the ledger, and one gives the result. What it
    was granted it must not send any more: its lease is over, whether it has noticed or not."""
    world = sleepy_world(lone_world)
    with Proxy(tally.fault) as proxy:
        sleeper, number, batches, granted, until = sleep_with_calls_and_a_grant(world, proxy)
        world.start_worker()
        if when == WAKES[0]:
            wait_for(lambda: world.sim.summary()["overlaps"] >= JOBS // 4, RECOVERY_S,
                     "calls of a successor beside those of the stopped one")
        else:
            for batch in batches:
                assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == JOBS
        wake(sleeper, until)
        for batch in batches:
            assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == JOBS
        all_accounted_for(world, SLOW_S + 30)

        assert world.value("SELECT fenced FROM worker WHERE worker_id = %s", number)
        assert world.sim.summary()["overlaps"] > 0, "nothing was taken over"
        seen = {(line["job"], line["call"]) for line in world.sim.lines("begin")}
        assert not seen & {(job, 1) for job in granted}, "sent under a lease that was over"
        assert {c["class"] for c in world.calls(batches[1])
                if str(c["job_id"]) in granted and c["number"] == 1} <= {"unsent", "lost"}
        assert len(seen) == world.value(
            "SELECT count(*) FROM call WHERE code_name('class', class) NOT IN ('unsent', 'lost')"
            " OR batch_id = %s", batches[0])
        finish(world, crashed=True)


@pytest.mark.skipif(VARIANT == "release", reason="release builds have no failpoints")
def test_a_worker_stops_with_the_grant_in_hand(lone_world):
    """Some jobs of a granted batch are with libcurl, the others are not, and no byte was sent."""
    world = sleepy_world(lone_world)
    sleeper = world.start_worker(env={"INFERQ_FAILPOINT": f"path.claim>call@{JOBS // 4}=stop"})
    batch = world.ask(*[f"text {i}" for i in range(JOBS)], model="busy")
    state = pathlib.Path(f"/proc/{sleeper.pid}/stat")
    wait_for(lambda: state.read_text().rsplit(")", 1)[1].split()[0] == "T", what="a worker that stops")
    tally.fault("worker stopped")
    until = time.monotonic() + STOP_S
    world.start_worker()
    assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == JOBS
    wake(sleeper, until)
    all_accounted_for(world, 60)
    kept_back = world.value("SELECT count(*) FROM call WHERE code_name('class', class) = 'unsent'")
    assert kept_back > 0 and world.sim.summary()["requests"] + kept_back == world.value(
        "SELECT count(*) FROM call WHERE code_name('class', class) <> 'lost'")
    finish(world, crashed=True)
