"""What a route says when nobody knows what came of a call: the job is held for review or given up,
and the model is not called again by itself. The faults of replies are in test_faults.py."""
import json

import pytest

from checks import check, finish
from harness import QUICK_LEASE, model, wait_for

HELD, GIVEN_UP = {"ambiguous": "hold"}, {"ambiguous": "give_up"}


@pytest.fixture(scope="module")
def world(worlds):
    made = worlds(models=[model("held", retry=HELD), model("dropped", retry=GIVEN_UP)])
    made.start_worker()
    return made


def states(world, batch):
    """{custom id: (class, state of its letter)}"""
    return {row[0]: row[1:] for row in world.rows(
        "SELECT custom_id, code_name('class', class), code_name('dead_state', state)"
        " FROM dead_letter WHERE batch_id = %s AND generation = 0", batch)}


def seen(world, batch):
    """How often the model saw each of the batch's jobs."""
    jobs = {str(job): 0 for job, in world.rows("SELECT job_id FROM result WHERE batch_id = %s", batch)}
    for line in world.sim.lines("begin"):
        if line["job"] in jobs:
            jobs[line["job"]] += 1
    return sorted(jobs.values())


def test_held_jobs_are_called_once_and_reviewed(world):
    batch = world.ask(*[f"[[sim: status=502]] text {i}" for i in range(3)], model="held")
    counts = world.wait_ended(batch)
    assert (counts["dead"], counts["pending"]) == (3, 0)
    assert states(world, batch) == {f"job-{i}": ("held", "open") for i in range(3)}
    assert seen(world, batch) == [1, 1, 1]
    for row in world.results(batch).values():
        assert row["class"] == "held" and row["cost_nusd"] > 0 and row["call_number"] == 1
    told = world.inferq("explain", str(batch), "job-0").stdout
    assert "its route holds such jobs for review" in told and "HTTP 502" in told

    letters = {row["custom_id"]: str(row["dead_id"]) for row in json.loads(
        world.inferq("dead", "list", "--class", "held", "--json").stdout)}
    world.inferq("dead", "requeue", letters["job-0"])
    world.inferq("dead", "discard", letters["job-1"])
    answer = world.tmp / "answer.txt"
    answer.write_text("found in their log")
    world.inferq("dead", "accept", letters["job-2"], "--output", answer)
    # As a new generation, to which the model answers as badly: it is held again.
    wait_for(lambda: seen(world, batch) == [1, 1, 1, 1], what="the requeued job's call")
    assert world.wait_ended(batch)["dead"] == 4
    assert world.results(batch)["job-0"]["class"] == "held"
    assert {state for _, state in states(world, batch).values()} == {
        "requeued", "discarded", "accepted"}
    check(world)


def test_given_up_jobs_need_no_review(world):
    batch = world.ask(*[f"[[sim: fault=reset-within]] text {i}" for i in range(3)], model="dropped")
    assert world.wait_ended(batch)["dead"] == 3
    assert states(world, batch) == {f"job-{i}": ("given_up", "discarded") for i in range(3)}
    assert seen(world, batch) == [1, 1, 1]
    assert "given_up" not in world.inferq("dead", "list").stdout
    check(world)


def test_at_the_end_everything_is_committed(world):
    finish(world)


def test_calls_of_a_worker_that_died_are_not_made_again(lone_world):
    """Its successor finds them in the ledger, lost: it holds one batch and gives the other up."""
    world = lone_world(models=[model("held", retry=HELD), model("dropped", retry=GIVEN_UP)],
                       conf=QUICK_LEASE)
    first = world.start_worker()
    batches = {name: world.ask(*[f"[[sim: latency=60s]] text {i}" for i in range(5)], model=name)
               for name in ("held", "dropped")}
    wait_for(lambda: world.sim.summary()["in_flight"] == 10, what="ten calls in flight")
    first.kill()
    world.start_worker()
    for batch in batches.values():
        assert world.wait_ended(batch, 60)["dead"] == 5
        assert seen(world, batch) == [1] * 5
        assert {(c["class"], c["certainty"], c["cost_nusd"] == c["estimated_nusd"] > 0)
                for c in world.calls(batch)} == {("lost", "estimated", True)}
        assert all(row["cost_nusd"] > 0 for row in world.results(batch).values())
    assert set(states(world, batches["held"]).values()) == {("held", "open")}
    assert set(states(world, batches["dropped"]).values()) == {("given_up", "discarded")}
    finish(world, crashed=True)
