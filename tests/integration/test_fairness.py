"""Apps inside one lane: who comes late with little does not wait for who came first with much."""

from checks import finish

CROWD = 3000


def test_a_crowd_ahead_in_kafka_does_not_delay_ten_of_another_app(lone_world):
    """The lane holds 100 jobs and the model takes 8 a second; the records of the ten lie behind
    3,000. Once the lane has stood still for a while, jobs of the crowd wait in Postgres, the ten are
    read, and take turns with it."""
    world = lone_world(conf={"lane.normal.max_jobs": "100", "short_wait": "1s", "max_in_flight": "4"},
                       latency="500ms")
    crowd = world.ask(*[f"text {i}" for i in range(CROWD)], app="crowd")
    few = world.ask(*[f"word {i}" for i in range(10)], app="few")
    world.start_worker()
    assert world.wait_ended(few, seconds=120)["succeeded"] == 10
    done = world.value("SELECT count(*) FROM result WHERE batch_id = %s", crowd)
    assert done < CROWD / 2, f"the ten came after {done} of the crowd"
    assert world.value("SELECT count(*) FROM parked WHERE batch_id = %s", crowd) > 0
    world.inferq("batch", "cancel", str(crowd))
    world.wait_ended(crowd, seconds=120)
    finish(world)
