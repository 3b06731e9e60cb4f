"""A slow job holds back finished ones only within a bounded span: its payload is parked while it
runs, and the watermark passes it."""
from checks import finish
from door import Door
from harness import Message, model, wait_for
from tally import LONG

FAST, SPAN = 9_999 if LONG else 1300, 1000


def test_a_slow_job_does_not_hold_back_the_watermark(lone_world):
    world = lone_world(partitions=1)
    door = Door(world.sim.port)
    world.write_catalogue([model("m"), model("slow", base_url=door.url, timeout="300s")])
    worker = world.start_worker(offset__span=str(SPAN))
    message = Message()
    slow = {"model": "slow", "messages": [{"role": "user", "content": "slow"}]}
    world.produce(message.pack("slow", body=slow), *[message.pack(f"fast-{i}") for i in range(FAST)])
    world.seal(message, FAST + 1)
    wait_for(lambda: world.value("SELECT count(*) FROM result") == FAST, 60, "the fast ones' results")
    wait_for(lambda: all(max(c["committed"], c["low"]) == c["high"] for c in world.committed()),
             what="offsets past the slow job")
    wait_for(lambda: worker.metric("inferq_lag_records", lane="normal") <= SPAN, what="that as a metric")
    # It still runs, and only its payload lies in Postgres: rows that crossed a result are gone.
    assert world.rows("SELECT c.number, c.done_at FROM call c JOIN parked p USING (job_id)"
                      " WHERE p.taken_by IS NOT NULL") == [(1, None)]
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 1, what="no left-over rows")
    door.open()
    assert world.wait_ended(message.batch_id, 60)["succeeded"] == FAST + 1
    assert world.value("SELECT count(*) FROM parked") == 0
    finish(world)
