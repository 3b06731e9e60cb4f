"""What a route says when nobody knows what came of a call: the job is held for review or given up,
and the model is not called again by itself. How many of its calls may be retries. And where a job
goes that is too long for its model. The faults of replies are in test_faults.py."""
import json

import pytest

from checks import check, finish
from harness import QUICK_LEASE, away_from_midnight, model, wait_for

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


def test_too_long_goes_to_the_larger_version(lone_world):
    """At its price; the result names it. What is too long for that as well is dead."""
    world = lone_world(models=[
        model("small", version={"larger_context": "large@1", "context_tokens": 10}),
        model("large", version={"context_tokens": 100})])
    world.start_worker()
    long = "[[sim: status=400 code=context_length_exceeded times=1]] a long text"
    batch = world.ask(long, "[[sim: status=400 code=context_length_exceeded]] a longer text",
                      "a short text", model="small")
    counts = world.wait_ended(batch)
    assert (counts["succeeded"], counts["dead"]) == (2, 1)
    rows = world.rows(
        "SELECT r.custom_id, c.number, code_name('call_kind', c.kind), v.label,"
        " code_name('class', c.class), c.cost_nusd, p.model_version_id = c.model_version_id"
        " FROM call c JOIN price p ON p.price_id = c.price_id"
        " JOIN result r ON r.job_id = c.job_id"
        " JOIN model_version v ON v.model_version_id = c.model_version_id"
        " WHERE c.batch_id = %s ORDER BY 1, 2", batch)
    assert [row[:5] for row in rows] == [
        ("job-0", 1, "primary", "small@1", "context_too_long"),
        ("job-0", 2, "fallback", "large@1", "ok"),
        ("job-1", 1, "primary", "small@1", "context_too_long"),
        ("job-1", 2, "fallback", "large@1", "context_too_long"),
        ("job-2", 1, "primary", "small@1", "ok")]
    assert rows[0][5] == 0 and rows[1][5] > 0 and all(row[6] for row in rows)
    results = {custom: label for custom, label in world.rows(
        "SELECT custom_id, label FROM result JOIN model_version USING (model_version_id)"
        " WHERE batch_id = %s", batch)}
    assert results == {"job-0": "large@1", "job-1": "large@1", "job-2": "small@1"}
    assert world.results(batch)["job-0"]["cost_nusd"] == rows[1][5]
    assert states(world, batch) == {"job-1": ("context_too_long", "open")}
    finish(world)


def test_calls_again_have_a_days_money(lone_world):
    """Of two workers together, and of those that come after them."""
    away_from_midnight(300)
    a_day_nusd = 2_000_000
    retry = {"ambiguous_usd_per_day": "0.002", "backoff_base": "10ms", "budget": 1}
    world = lone_world(models=[model("dear", retry=retry)])
    for _ in range(2):
        world.start_worker()
    texts = [f"[[sim: status=502 times=1]] text {i}" if i % 2 else f"text {i}" for i in range(60)]

    def spent():
        return world.rows(
            "SELECT count(*), coalesce(sum(c.upper_nusd), 0)::int8 FROM call c"
            " JOIN call again ON again.job_id = c.job_id AND again.number = c.number + 1"
            " WHERE c.class = 32")[0]

    first = world.ask(*texts, model="dear")
    counts = world.wait_ended(first, 90)
    calls, nusd = spent()
    assert 5 <= calls < 30 and nusd <= a_day_nusd, (calls, nusd)
    assert counts["succeeded"] == 30 + calls and counts["dead"] == 30 - calls
    held = states(world, first)
    assert len(held) == 30 - calls and set(held.values()) == {("held", "open")}
    job = min(held)
    assert "does not cover it" in world.inferq("explain", str(first), job).stdout
    assert world.rows("SELECT route, used_nusd, amount_nusd FROM retry_cost") == [
        ("app=* task=* model=dear", a_day_nusd, a_day_nusd)]
    world.stop_workers()
    world.start_worker()
    second = world.ask(*texts, model="dear")
    assert world.wait_ended(second, 90)["dead"] == 30
    assert spent() == (calls, nusd)
    finish(world)


def test_retries_never_storm(lone_world):
    """Everything fails, and nothing pauses the endpoint: the model sees 1.2 calls for each first
    one, and ten. Then it is well, and all that waited is answered."""
    world = lone_world(models=[model("busy", retry={"backoff_base": "10ms", "backoff_cap": "20ms"})])
    world.sim.control("status=409\n")
    world.start_worker()
    jobs = 200
    batch = world.ask(*[f"text {i}" for i in range(jobs)], model="busy",
                      options=("--max-attempts", "50"))

    def counts():
        return world.rows(
            "SELECT count(*) FILTER (WHERE number = 1), count(*) FILTER (WHERE number > 1)"
            " FROM call WHERE batch_id = %s", batch)[0]

    def waiting():
        return world.rows("SELECT count(*) FROM parked WHERE reason = 27")[0][0]

    wait_for(lambda: counts()[0] == jobs and waiting() >= jobs // 2, 30, "retries that wait")
    first, again = counts()
    assert first == jobs and again <= jobs // 5 + 10, (first, again)
    assert len(world.sim.lines("begin")) <= jobs + jobs // 5 + 10
    world.sim.control("")

    def answered():  # minutes, if nobody hurried them
        world.rows("UPDATE parked SET next_at = now() WHERE taken_by IS NULL AND reason = 27")
        return world.counts(batch).get("pending") == 0

    wait_for(answered, 60, "the answers of all that waited")
    assert world.wait_ended(batch)["succeeded"] == jobs
    finish(world)


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
