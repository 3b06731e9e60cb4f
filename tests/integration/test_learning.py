"""What workers learn of an endpoint while they call it: the rate limits that its replies tell, how much
it bears, how many tokens calls take.

modelsim enforces the limits and is the witness; counts and orders are compared, never times.
"""
import pytest

from harness import model, wait_for


def refused(world):
    """How many requests modelsim answered with 429."""
    return world.sim.summary()["statuses"].get("429", 0)


@pytest.mark.parametrize("maker", ["openai", "anthropic"])
def test_calls_wait_for_the_reset_that_replies_tell(lone_world, maker):
    """More work than the limit lets through: it is waited for, not run into. One provider tells
    durations, the other dates in whole seconds. (Replies may overtake each other on a busy machine, and
    the older one tells of more than is left: then a call is refused, one in a window.)"""
    world = lone_world(models=[model("told", max_in_flight=6)], latency="20ms",
                       script=f"model=told requests=12 window=2s tell={maker}\n")
    worker = world.start_worker()
    batch = world.ask(*[f"job {i}" for i in range(26)], model="told")
    assert world.wait_ended(batch, 60)["succeeded"] == 26
    assert refused(world) <= 2
    assert len(world.calls(batch)) == 26 + refused(world)
    assert worker.metric("inferq_endpoint_limit_pauses_total", endpoint="at-told") >= 1
    assert worker.metric("inferq_endpoint_pauses_total", endpoint="at-told") <= refused(world)
    assert worker.log().count("rate limit is used up") == 1


def begins_and_ends(world, model_name):
    """The witness's lines of one model, in order: (kind, end line)."""
    lines = world.sim.lines()
    ends = {line["n"]: line for line in lines if line["kind"] == "end"}
    return [(line["kind"], ends[line["n"]]) for line in lines
            if line["kind"] in ("begin", "end") and line.get("n") in ends
            and ends[line["n"]]["model"] == model_name]


def since_the_last_refusal(events):
    """What came after it."""
    last = max(i for i, (kind, end) in enumerate(events) if kind == "end" and end["status"] == 503)
    return events[last + 1:]


def test_after_an_outage_calls_ramp_up(lone_world):
    """One probe, then two calls for each that has ended, and never a crowd; in the end as many at
    once as before, or nearly. The outage ends only once no call is out, so that what comes after the
    last refusal began after it; calls are long beside their claims, or few would be at the model."""
    world = lone_world(models=[model("down", max_in_flight=32)], latency="300ms")
    worker = world.start_worker()

    def gauge(name):
        return worker.metric(f"inferq_endpoint_{name}", endpoint="at-down")

    assert gauge("concurrency") == 32
    status, _, _ = world.sim.control("model=down ordinal=41- status=503 retry-after=1\n")
    assert status == 200
    batch = world.ask(*[f"down {i}" for i in range(300)], model="down")
    wait_for(lambda: gauge("pauses_total") and not gauge("in_flight"), what="a pause with no call out")
    status, _, _ = world.sim.control("")
    assert status == 200
    assert world.wait_ended(batch, 60)["succeeded"] == 300

    events = since_the_last_refusal(begins_and_ends(world, "down"))
    begun = ended = most = 0
    for kind, end in events:
        if kind == "end":
            assert end["status"] == 200
            ended += 1
            continue
        begun += 1
        assert begun <= 1 + 2 * ended, f"call {begun} began when {ended} had ended"
        most = max(most, begun - ended)
    assert most >= 12, "it has not grown"
    assert 12 <= gauge("concurrency") <= 32


def test_a_model_that_loads_is_waited_for(lone_world):
    """A model that still loads is no outage: its jobs wait, and afterwards it has all its calls."""
    world = lone_world(models=[model("loads", max_in_flight=8)], latency="60ms",
                       script="model=loads ordinal=1-10 status=503 error=string"
                              " message=\"Loading model\"\n")
    worker = world.start_worker()
    batch = world.ask(*[f"loads {i}" for i in range(60)], model="loads")
    assert world.wait_ended(batch, 60)["succeeded"] == 60
    assert any(call["class"] == "overloaded" for call in world.calls(batch))
    assert worker.metric("inferq_endpoint_concurrency", endpoint="at-loads") == 8


def test_tokens_are_learned(lone_world):
    """The ledger's estimates, made before each call, come close to what calls cost."""
    world = lone_world(latency="5ms")
    worker = world.start_worker()
    labels = {"model_version": "m@1"}

    def off(batch):
        """How far estimates were off, as a part of what the calls cost."""
        calls = world.calls(batch)
        assert all(call["cost_nusd"] > 0 for call in calls)
        return (sum(abs(call["estimated_nusd"] - call["cost_nusd"]) for call in calls)
                / sum(call["cost_nusd"] for call in calls))

    texts = [f"document {i}: " + "some words of it " * (5 + i % 20) for i in range(100)]
    first = world.ask(texts[0])
    assert world.wait_ended(first)["succeeded"] == 1
    assert off(first) > 0.5, "max_tokens was reckoned with, and four bytes a token"
    assert world.wait_ended(world.ask(*texts))["succeeded"] == 100
    before = worker.metric("inferq_tokens_error_total", kind="output", **labels)
    last = world.ask(*texts[:50])
    assert world.wait_ended(last)["succeeded"] == 50
    assert off(last) < 0.5
    for kind in ("input", "output"):
        assert (worker.metric("inferq_tokens_estimated_total", kind=kind, **labels)
                >= worker.metric("inferq_tokens_total", kind=kind, **labels) / 2 > 0)
    assert worker.metric("inferq_tokens_error_total", kind="output", **labels) >= before > 0
