"""What workers learn of an endpoint while they call it: the rate limits that its replies tell.

modelsim enforces the limits and is the witness; counts and orders are compared, never times.
"""
import pytest

from harness import model


def refused(world):
    """How many requests modelsim answered with 429."""
    return world.sim.summary()["statuses"].get("429", 0)


@pytest.mark.parametrize("maker", ["openai", "anthropic"])
def test_calls_wait_for_the_reset_that_replies_tell(lone_world, maker):
    """More work than the limit lets through: it is waited for, not run into. One provider tells
    durations, the other dates in whole seconds."""
    world = lone_world(models=[model("told", max_in_flight=6)], latency="20ms",
                       script=f"model=told requests=12 window=2s tell={maker}\n")
    worker = world.start_worker()
    batch = world.ask(*[f"job {i}" for i in range(40)], model="told")
    assert world.wait_ended(batch, 60)["succeeded"] == 40
    assert refused(world) == 0
    assert len(world.calls(batch)) == 40
    assert worker.metric("inferq_endpoint_limit_pauses_total", endpoint="at-told") >= 1
    assert worker.metric("inferq_endpoint_pauses_total", endpoint="at-told") == 0
    assert worker.log().count("rate limit is used up") == 1
