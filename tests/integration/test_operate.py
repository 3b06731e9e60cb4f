"""What operators tell a running fleet through Postgres: workers that are to drain, endpoints that
are to get no calls."""

import json

from checks import finish
from harness import QUICK_LEASE, model, wait_for


def in_flight(world):
    return world.sim.summary()["in_flight"]


def workers(world, *flags):
    """{pid: row} of `inferq worker list`."""
    rows = json.loads(world.inferq("worker", "list", "--json", *flags).stdout)
    return {row["pid"]: row for row in rows}


def endpoint(world, name):
    return json.loads(world.inferq("endpoint", "show", name, "--json").stdout)[0]


# ---- workers --------------------------------------------------------------------------------------

def test_a_worker_that_is_told_to_drain_leaves_and_the_other_goes_on(lone_world):
    world = lone_world(models=[model("slow", max_in_flight=3)], conf=QUICK_LEASE, latency="400ms")
    first, second = world.start_worker(), world.start_worker()
    world.settle()
    jobs = 160
    batch = world.ask(*[f"text {i}" for i in range(jobs)], model="slow")
    wait_for(lambda: min(row["in_flight"] for row in workers(world).values()) > 0,
             what="calls of both in flight")
    seen = workers(world)
    assert {seen[w.pid]["state"] for w in (first, second)} == {"alive"}
    done = world.inferq("worker", "drain", str(seen[first.pid]["worker_id"]), "--wait",
                        "--reason", "a new build", "--json")
    assert json.loads(done.stdout)[0]["state"] == "stopped"
    assert first.wait() == 0 and first.logged("an operator asked for it")
    assert second.alive and set(workers(world)) == {second.pid}
    assert workers(world, "--all")[first.pid]["state"] == "stopped"
    assert world.wait_ended(batch, 60)["succeeded"] == jobs
    assert len(world.calls(batch)) == jobs, "its calls ended, and none was made twice"
    assert world.rows("SELECT action, detail FROM audit_log WHERE action LIKE 'worker%%'") == [
        ("worker drain", "a new build")]
    wait_for(lambda: workers(world)[second.pid]["jobs_per_minute"] > 0, what="its rate")
    finish(world)


# ---- endpoints ------------------------------------------------------------------------------------

def test_a_paused_endpoint_gets_no_calls_and_its_jobs_spend_no_attempt(lone_world):
    """On the whole fleet, also by a worker that starts later; its neighbours go on; when it is
    resumed everything ends, with one call each."""
    world = lone_world(models=[model("held", max_in_flight=2)], latency="300ms")
    first = world.start_worker()
    held = world.ask(*[f"text {i}" for i in range(40)], model="held")
    wait_for(lambda: in_flight(world) > 0, what="calls in flight")
    world.inferq("endpoint", "pause", "at-held", "--reason", "their maintenance")

    def waiting():
        """All that have not ended wait in Postgres, and no call is open."""
        rest = 40 - world.counts(held)["succeeded"]
        open_calls = world.value("SELECT count(*) FROM call WHERE done_at IS NULL")
        return rest if open_calls == 0 and endpoint(world, "at-held")["waiting"] == rest else 0

    rest = wait_for(waiting, what="its jobs in Postgres")
    calls = len(world.calls(held))
    assert calls == 40 - rest and endpoint(world, "at-held")["state"] == "paused"
    second = world.start_worker()
    other = world.ask(*[f"text {i}" for i in range(20)])
    assert world.wait_ended(other)["succeeded"] == 20
    for worker in (first, second):
        wait_for(lambda: worker.metric("inferq_parked_due") == 0,  # pylint: disable=cell-var-from-loop
                 what="no job that could run")
        wait_for(lambda: worker.metric(  # pylint: disable=cell-var-from-loop
            "inferq_endpoint_paused_seconds", endpoint="at-held") > 0, what="its knowledge of the pause")
        assert worker.metric("inferq_endpoint_paused_seconds", endpoint="at-m") == 0
    assert len(world.calls(held)) == calls and waiting() == rest
    world.inferq("endpoint", "resume", "at-held")
    assert world.wait_ended(held)["succeeded"] == 40
    assert len(world.calls(held)) == 40, "waiting cost no attempt"
    assert world.rows("SELECT action, subject, detail FROM audit_log WHERE action LIKE 'endpoint %%'") \
        == [("endpoint pause", "at-held", "their maintenance"), ("endpoint resume", "at-held", "")]
    finish(world)


def test_a_cancelled_batch_of_a_paused_endpoint_ends(lone_world):
    world = lone_world(models=[model("held")])
    world.start_worker()
    world.inferq("endpoint", "pause", "at-held@1")
    held = world.ask(*[f"text {i}" for i in range(5)], model="held")
    wait_for(lambda: endpoint(world, "at-held")["waiting"] == 5, what="its jobs in Postgres")
    world.inferq("batch", "cancel", str(held))
    assert world.wait_ended(held)["cancelled"] == 5
    assert world.calls(held) == []
    finish(world)
