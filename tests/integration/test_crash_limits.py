"""What a machine has little of: memory with the largest answers and many calls in flight (guarantee 8),
and file descriptors that something else eats up. Nothing is lost, nothing is called twice without a
reason, and nobody dies.

The forms in `make test` are short; `make chaos` runs the long ones.
"""
import json
import resource

import pytest

import tally
from checks import conservation, finish, one_ending
from harness import VARIANT, model, stack, wait_for
from kafka_chaos import pick
from memory import peak_kb
from test_kill import ours

MIB = 1 << 20


# ---- memory --------------------------------------------------------------------------------------

# Besides the budget: the program, its libraries and the catalogue; librdkafka's own queues and buffers
# (queued.max.messages.kbytes and a fetch); statements on their way to Postgres; heap that is free again.
BESIDE_BUDGET_MIB = 80


OVERSIZED = 6  # so many past the bound of one call; a few more in a row would pause the endpoint


def large_answers(tmp_path, jobs, size="78k", tokens=1000, oversized=OVERSIZED):
    """Requests whose answers are as large as their calls allow, or larger."""
    path = tmp_path / "large.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(jobs):
            file.write(json.dumps({
                "custom_id": f"job-{i}", "model": "m", "max_tokens": tokens,
                "messages": [{"role": "user", "content": f"[[sim: size={'3m' if i < oversized else size}]] {i}"}]}) + "\n")
    return path


def test_memory_stays_within_its_budget_with_the_largest_answers(lone_world, tmp_path, capsys):
    """An answer to 1,000 tokens may be 80,000 bytes: all of them are, but some that are larger and are
    refused. The budget holds fewer calls than may be in flight otherwise, and it alone must hold them
    back."""
    small, large = (1000, 1500, 64), (10000, 12000, 640)
    calls, jobs, budget_mib = pick(small, large if VARIANT != "asan" else small)
    world = lone_world(latency="500ms", partitions=4, conf={
        "max_in_flight": calls, "memory.max_bytes": f"{budget_mib}MiB", "reply.max_bytes": "1MiB",
        **{f"lane.{lane}.max_bytes": "8MiB" for lane in ("high", "normal", "low")}})
    world.write_catalogue([model("m", max_in_flight=calls, timeout="120s")])
    batch = world.submit("--max-attempts", "1", large_answers(tmp_path, jobs))
    worker = world.start_worker()
    started_kb = peak_kb(worker.pid)
    reserved, flying = 0, 0

    def ended():
        nonlocal reserved, flying
        reserved = max(reserved, worker.metric("inferq_memory_reserved_bytes"))
        flying = max(flying, world.sim.summary()["in_flight"])
        return world.counts(batch).get("pending") == 0

    wait_for(ended, pick(90, 400), "the end of all jobs")
    counts, peak = world.counts(batch), peak_kb(worker.pid)
    with capsys.disabled():
        print(f"\n{jobs} answers of 78 kB, at most {flying:.0f} in flight: budget {budget_mib} MiB, "
              f"reserved {reserved / MIB:.0f}, peak {peak / 1024:.0f} MiB ({started_kb / 1024:.0f} at the start)")
    assert (counts["succeeded"], counts["dead"]) == (jobs - OVERSIZED, OVERSIZED)
    assert budget_mib / 2 < reserved / MIB <= budget_mib, "the budget is used, and never passed"
    assert flying < calls, "the budget was what held calls back"
    # What the sanitizers put around each block, and keep of what was freed, is not the worker's.
    assert VARIANT == "asan" or peak / 1024 <= budget_mib + BESIDE_BUDGET_MIB
    finish(world)


@ours
@pytest.mark.skipif(not tally.LONG, reason="moves 300 MB: in the long form only")
def test_answers_that_waited_for_postgres_are_stored_though_no_statement_holds_them(lone_world, tmp_path):
    """300 MB of answers wait while Postgres is silent; a statement of ours may have 256 MiB."""
    world = lone_world(latency="8s", conf={"max_in_flight": 300})
    world.write_catalogue([model("m", max_in_flight=300, timeout="120s")])
    path = large_answers(tmp_path, 300, size="1000k", tokens=30000, oversized=0)
    worker = world.start_worker()
    batch = world.submit(path)
    wait_for(lambda: world.sim.summary()["in_flight"] == 300, what="300 calls in flight")
    stack("pause", "postgres")
    try:
        wait_for(lambda: worker.metric("inferq_jobs", state="store") == 300, 60, "300 whole answers")
    finally:
        stack("resume", "postgres")
    assert world.wait_ended(batch, 60)["succeeded"] == 300
    # A worker that was starved beyond its lease's margin sends nothing, and claims again.
    assert world.sim.summary()["requests"] == 300
    assert sum(call["class"] == "ok" for call in world.calls(batch)) == 300
    assert {call["class"] for call in world.calls(batch)} <= {"ok", "unsent"}
    # Not all checks: they would read these answers into Python, one by one.
    assert not [*conservation(world), *one_ending(world)]


# ---- descriptors ---------------------------------------------------------------------------------


def limit_descriptors(worker, soft):
    """Sets the running worker's limit; returns the one before. Those it has stay open."""
    before, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before


def test_descriptors_run_out_and_come_back(lone_world):
    """The limit was enough at the start; then others have what was left. Calls that get none end as ours,
    cost nothing, are no attempts and are made again; the log says what is short."""
    world = lone_world(latency="300ms", conf={"max_in_flight": "100"})
    world.write_catalogue([model("m", max_in_flight=100)])
    worker = world.start_worker()
    before = limit_descriptors(worker, 40)
    batch = world.ask(*[f"text {i}" for i in range(300)], options=("--max-attempts", "1"))
    wait_for(lambda: world.value("SELECT count(*) FROM call WHERE done_at IS NOT NULL AND class ="
                                 " (SELECT code FROM code WHERE kind = 'class' AND name = 'unsent')") >= 100,
             what="a hundred calls without a descriptor")
    assert world.rows("SELECT DISTINCT error FROM call WHERE class = (SELECT code FROM code"
                      " WHERE kind = 'class' AND name = 'unsent')")[0][0].startswith(
                          "the worker had no memory or descriptor for the call")
    wait_for(lambda: worker.logged("ulimit -n"), what="a line that says what to do")
    assert worker.alive
    limit_descriptors(worker, before)
    assert world.wait_ended(batch, 60)["succeeded"] == 300
    calls = world.calls(batch)
    assert {(c["class"], c["cost_nusd"]) for c in calls if c["class"] != "ok"} == {("unsent", 0)}
    assert sum(c["class"] == "ok" for c in calls) == 300
    finish(world)
