"""A slow job holds back finished ones only within a bounded span: its payload is parked while it
runs, and the watermark passes it."""
from checks import finish
from harness import model, wait_for
from tally import LONG

FAST, SPAN = 9_999 if LONG else 1300, 1000
SLOW_S = 60 if LONG else 20


def test_a_slow_job_does_not_hold_back_the_watermark(lone_world):
    world = lone_world(partitions=1)
    world.write_catalogue([model("m", timeout="120s")])
    worker = world.start_worker(offset__span=str(SPAN))
    batch = world.ask(f"[[sim: latency={SLOW_S}s]] slow", *[f"fast {i}" for i in range(FAST)])
    wait_for(lambda: world.value("SELECT count(*) FROM result WHERE custom_id <> 'job-0'") == FAST,
             60, "the fast ones' results")
    wait_for(lambda: all(max(c["committed"], c["low"]) == c["high"] for c in world.committed()), 8,
             "offsets past the slow job")
    assert worker.metric("inferq_lag_records", lane="normal") <= SPAN
    # It still runs, and only its payload lies in Postgres: rows that crossed a result are gone.
    assert world.rows("SELECT c.number, c.done_at FROM call c JOIN parked p USING (job_id)"
                      " WHERE p.taken_by IS NOT NULL") == [(1, None)]
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == 1, 5, "no left-over rows")
    assert world.wait_ended(batch, 60)["succeeded"] == FAST + 1
    assert world.value("SELECT count(*) FROM parked") == 0
    finish(world)
