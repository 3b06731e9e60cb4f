"""A job whose processing crashes each worker that calls for it (by a failpoint set to that job)."""
import signal

import pytest

from checks import finish
from harness import QUICK_LEASE, VARIANT, Message, wait_for

needs_failpoints = pytest.mark.skipif(VARIANT == "release", reason="compiled out")


@needs_failpoints
def test_a_job_that_crashes_every_worker_stops_at_max_attempts(lone_world):
    """Its attempts are counted in the ledger, whoever dies of it: then it is a dead letter, and its
    neighbours have all succeeded."""
    attempts = 3
    world = lone_world(conf={**QUICK_LEASE, "kafka.session.timeout.ms": "1000",
                             "kafka.heartbeat.interval.ms": "300"})
    message = Message()
    world.produce(*[message.pack(f"job-{i}") for i in range(30)],
                  message.pack("poison", max_attempts=attempts))

    def crashed_or_ended():
        return not worker.alive or world.value("SELECT count(*) FROM result") == 31

    crashes = 0
    while True:
        worker = world.start_worker(ready=False,
                                    env={"INFERQ_FAILPOINT": "path.claim>call?poison*=abort"})
        wait_for(crashed_or_ended, what="a crash, or the end")
        if worker.alive:
            break
        assert worker.process.returncode == -signal.SIGABRT
        crashes += 1
        # Others would fence it when its lease is over: nobody waits for that here.
        world.rows("UPDATE worker SET fenced = true")
    assert crashes == attempts
    world.seal(message, 31)
    counts = world.wait_ended(message.batch_id)
    assert (counts["succeeded"], counts["dead"]) == (30, 1)
    [letter] = world.letters(message.batch_id)
    assert letter["class"] == "attempts_spent"
    result = world.results(message.batch_id)["poison"]
    calls = world.calls(message.batch_id, "poison")
    assert [(c["number"], c["class"]) for c in calls] == [(i + 1, "lost") for i in range(attempts)]
    assert result["cost_nusd"] == sum(c["estimated_nusd"] for c in calls) > 0
    finish(world, crashed=True)
