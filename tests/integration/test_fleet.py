"""What one worker's calls taught it of an endpoint, and the others go by. The witness is the judge."""
import json
import re

from checks import finish
from harness import SLOW, model, wait_for

REFUSED = 60  # so many calls have begun before the one that is refused
JOBS = 700  # 18 at once of 300 ms: more than begin before everybody knows
PAUSE_S = 8
HEARD_US = 2_000_000 * SLOW  # by then everybody knows


def calls_of(world, name):
    """(when it began, its line of the end) of each call that has ended, as they began."""
    lines = world.sim.lines()
    begun = {line["n"]: line["at_us"] for line in lines if line["kind"] == "begin"}
    return sorted(((begun[line["n"]], line) for line in lines
                   if line["kind"] == "end" and line["model"] == name), key=lambda call: call[0])


def test_a_refusal_that_one_worker_hears_stops_all_and_one_probe_opens_all(lone_world):
    """Three workers, and one call of one of them is answered with 429 and a time: nobody calls until
    then, but for what was on its way; one call goes alone, and when it has ended well the others
    follow."""
    world = lone_world(models=[model("shared", max_in_flight=6)], latency="300ms", partitions=6,
                       script=f"model=shared ordinal={REFUSED} status=429 retry-after={PAUSE_S}\n")
    workers = [world.start_worker() for _ in range(3)]
    world.settle()
    batch = world.ask(*[f"text {i}" for i in range(JOBS)], model="shared")
    assert world.wait_ended(batch, 120)["succeeded"] == JOBS
    calls = calls_of(world, "shared")
    [refused_us] = [end["at_us"] for _, end in calls if end["status"] == 429]
    over_us = refused_us + PAUSE_S * 1_000_000
    before = [call for call in calls if call[0] < refused_us]
    meanwhile = [begun for begun, _ in calls if refused_us + HEARD_US < begun < over_us]
    assert not meanwhile, f"{len(meanwhile)} calls began when all had to know better"
    (probe_us, probe), *others = [call for call in calls if call[0] >= over_us]
    assert others[0][0] > probe["at_us"] > probe_us, "the first call after it went alone"
    assert len(before) >= REFUSED and len(others) > 100
    assert sum(w.metric("inferq_endpoint_pauses_total", endpoint="at-shared") for w in workers) == 1
    owners = world.rows("SELECT worker_id, count(*) FROM call WHERE class = 1 GROUP BY 1")
    assert len(owners) == 3, "all three have worked"
    assert world.rows("SELECT endpoint, paused_until, probing, probe_worker FROM limit_learned") == [
        ("at-shared@1", None, False, None)]
    finish(world)


def show(world, name):
    return json.loads(world.inferq("endpoint", "show", name, "--json").stdout)[0]


def test_a_new_worker_starts_with_what_was_learned_and_an_operator_may_forget_it(lone_world):
    """One call is refused for ten minutes, and its worker dies. The next one does not call, and says
    why; `endpoint resume` ends that for good. What the endpoint was seen to bear is known as well."""
    world = lone_world(models=[model("shut", max_in_flight=8)],
                       script="model=shut ordinal=1 status=429 retry-after=600\n")
    first = world.start_worker()
    batch = world.ask("the first", model="shut")
    wait_for(lambda: show(world, "at-shut")["state"] == "closed", what="what its call taught")
    first.kill()
    more = world.ask(*[f"text {i}" for i in range(30)], model="shut")
    world.rows("UPDATE limit_learned SET concurrency = 3, multiplier = 700")
    second = world.start_worker()
    wait_for(second.ready, what="a second worker")
    wait_for(lambda: second.metric("inferq_endpoint_paused_seconds", endpoint="at-shut") > 0,
             what="its knowledge of the pause")
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 31, 60, "its jobs in Postgres")
    assert len(world.sim.lines("begin")) == 1, "nobody called again"
    shown = show(world, "at-shut")
    assert (shown["closed_for"], shown["probe_worker"]) == ("throttled", None)
    assert (shown["multiplier_permille"], shown["concurrency"]) == (700, 3)
    told = world.inferq("endpoint", "show").stderr
    closed = re.search(r"at-shut@1 is closed for (\d+) s", told)
    assert closed and 0 < int(closed[1]) <= 600 and "700 permille" in told, told

    done = world.inferq("endpoint", "resume", "at-shut", "--reason", "they called us")
    assert "what calls had taught of it is forgotten" in done.stdout
    for ids in (batch, more):
        assert world.wait_ended(ids, 60)["succeeded"] == (1 if ids == batch else 30)
    assert world.rows("SELECT action, subject, detail FROM audit_log WHERE action LIKE 'endpoint %%'"
                      ) == [("endpoint resume", "at-shut", "they called us")]
    assert show(world, "at-shut")["state"] == "open"
    assert "was not paused" in world.inferq("endpoint", "resume", "at-shut").stdout
    begins = [begun for begun, _ in calls_of(world, "shut")]
    ends = [end["at_us"] for _, end in calls_of(world, "shut")]
    assert begins[2] >= ends[1], "the first call after it went alone"
    assert second.metric("inferq_endpoint_concurrency", endpoint="at-shut") >= 3
    finish(world)
