"""Neighbours in lanes: what is blocked holds up nobody else, and lanes that operators add. Told by the
order of endings and by the witness, never by seconds. Apps beside each other are in test_fairness.py,
a slow job among fast ones in test_span.py, the commands in test_admin_lanes.py."""
from checks import finish
from harness import VARIANT, model, wait_for
from memory import peak_kb
from tally import LONG

DEAD, HEALTHY = (50_000, 1_000) if LONG else (5_000, 300)
LANE_JOBS = 500
GROWTH_KB = 48 << 10  # far below what the crowd would take, were it held in memory
HIGH, LOW = 2_000, 40
PARKED, CROWD, NEIGHBOURS = 100, 1_500, 60
OF_ONE_APP, OF_THE_OTHER = (10_000 if VARIANT == "release" else 4_000), 200
WEIGHTS, OF_EACH = {"l8": 8, "l4": 4, "l2": 2, "l1": 1}, 320


def seen(world, batch):
    """How often the model saw each job of the batch, most often first."""
    jobs = {str(job): 0 for job, in world.rows("SELECT job_id FROM result WHERE batch_id = %s", batch)}
    for line in world.sim.lines("begin"):
        if line["job"] in jobs:
            jobs[line["job"]] += 1
    return sorted(jobs.values(), reverse=True)


def test_the_jobs_of_a_dead_endpoint_hold_up_nobody_behind_them(lone_world):
    """They fill the lane many times over. They leave for Postgres and are probed one at a time; those
    behind them in the lane are served, once each, while not one of them has ended."""
    gone = model("gone", base_url="http://127.0.0.1:9")  # the discard port: nobody listens
    world = lone_world(models=[gone], partitions=1, conf={
        "lane.normal.max_jobs": str(LANE_JOBS), "short_wait": "500ms"})
    crowd = world.ask(*[f"never {i}" for i in range(DEAD)], model="gone")
    behind = world.ask(*[f"soon {i}" for i in range(HEALTHY)])
    worker = world.start_worker()
    wait_for(lambda: world.value("SELECT count(*) FROM parked") >= 2 * LANE_JOBS, 120,
             "a part of the crowd in Postgres")
    early_kb = peak_kb(worker.pid)
    assert world.wait_ended(behind, 300)["succeeded"] == HEALTHY
    assert seen(world, behind) == [1] * HEALTHY
    assert world.counts(crowd)["pending"] == DEAD, "nothing ended of what cannot be called"
    calls = world.calls(crowd)
    ended = [c for c in calls if c["class"]]
    assert {(c["class"], c["cost_nusd"]) for c in ended} == {("unsent", 0)}
    assert len(calls) - len(ended) <= 1, "probed one at a time: a probe may be out just now"
    assert len(calls) < DEAD / 10, "most of the crowd was never tried"
    wait_for(lambda: worker.metric("inferq_lag_records", lane="normal") <= 2 * LANE_JOBS, 120,
             "a lag without the crowd")
    if VARIANT != "asan":  # which keeps what was freed
        assert peak_kb(worker.pid) - early_kb < GROWTH_KB
    world.inferq("batch", "cancel", str(crowd))
    assert world.wait_ended(crowd, 300)["cancelled"] == DEAD
    finish(world)


def test_the_low_lane_has_its_share_while_the_high_one_never_ends(lone_world):
    """By weight it would get one dispatch in a thousand; its minimum share is a twentieth. Calls are slow
    enough that the high lane's work lasts, though the low one's records may be fetched seconds later."""
    world = lone_world(models=[model("narrow", max_in_flight=4)], conf={
        "lane.high.weight": "1000", "lane.low.weight": "1", "lane.low.min_share": "50",
        "lane.age_boost": "0s"})
    high = world.ask(*[f"[[sim: latency=15ms]] word {i}" for i in range(HIGH)], model="narrow",
                     options=("--priority", "high"))
    low = world.ask(*[f"[[sim: latency=15ms]] text {i}" for i in range(LOW)], model="narrow",
                    options=("--priority", "low"))
    world.start_worker()
    assert world.wait_ended(low, 300)["succeeded"] == LOW
    # Of the calls from the low lane's first to its last; a twentieth, but for what a batch rounds.
    [(beside,)] = world.rows(
        "SELECT count(*) FROM call, (SELECT min(claimed_at) AS first, max(claimed_at) AS last"
        " FROM call WHERE batch_id = %s) l WHERE batch_id = %s AND claimed_at BETWEEN first AND last",
        low, high)
    assert beside > 0, "the high lane had work meanwhile"
    assert LOW / (LOW + beside) > 0.03, f"{beside} calls of the high lane beside {LOW}"
    assert world.wait_ended(high, 300)["succeeded"] == HIGH
    [(after,)] = world.rows(
        "SELECT count(*) FROM call WHERE batch_id = %s AND claimed_at >"
        " (SELECT max(claimed_at) FROM call WHERE batch_id = %s)", high, low)
    assert after > 0, "the high lane's work outlasted the low one's"
    finish(world)


def test_a_lane_blocks_when_no_more_of_its_jobs_may_be_parked(lone_world):
    """An endpoint is paused, and its jobs fill Postgres up to the cap, and then their lane. Who is in
    the lane beside them is served. With room again everything goes on, and nothing is lost."""
    world = lone_world(models=[model("away"), model("near", max_in_flight=2)], partitions=1, conf={
        "parked.max_jobs": str(PARKED), "lane.normal.max_jobs": str(LANE_JOBS)})
    worker = world.start_worker()
    world.inferq("endpoint", "pause", "at-away", "--reason", "a test")
    wait_for(lambda: worker.metric("inferq_endpoint_paused_seconds", endpoint="at-away") > 0,
             what="the worker's knowledge of it")
    beside = world.ask(*[f"[[sim: latency=20ms]] near {i}" for i in range(NEIGHBOURS)], model="near")
    crowd = world.ask(*[f"away {i}" for i in range(CROWD)], model="away")
    wait_for(lambda: worker.metric("inferq_parking_full", endpoint="at-away") == 1, 60,
             "parking that is full")
    wait_for(lambda: worker.metric("inferq_lane_paused", lane="normal") == 1, 60, "a lane that blocks")
    assert world.wait_ended(beside, 60)["succeeded"] == NEIGHBOURS
    wait_for(lambda: worker.logged("parking is full"), what="a line in the log")
    assert worker.log().count("parking is full") == 1
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == PARKED, what="its jobs in Postgres")
    assert world.counts(crowd)["pending"] == CROWD and world.calls(crowd) == []
    assert worker.metric("inferq_parking_full", endpoint="at-near") == 0
    world.inferq("endpoint", "resume", "at-away")
    assert world.wait_ended(crowd, 120)["succeeded"] == CROWD
    assert seen(world, crowd) == [1] * CROWD
    wait_for(lambda: worker.metric("inferq_parking_full", endpoint="at-away") == 0, what="room again")
    finish(world)


def test_an_app_with_a_lane_of_its_own_holds_back_nobody_in_kafka(lone_world):
    """Its jobs can neither run nor be parked, and stand in their topic. In one partition with them, the
    other app's jobs would stand behind; as it is they all end while that lane's lag stays."""
    world = lone_world(models=[model("away")], partitions=1, conf={
        "parked.max_jobs": str(PARKED), "lane.own.max_jobs": str(LANE_JOBS)})
    world.add_lane("own", "--app", "crowd")
    worker = world.start_worker()
    world.inferq("endpoint", "pause", "at-away", "--reason", "a test")
    wait_for(lambda: worker.metric("inferq_endpoint_paused_seconds", endpoint="at-away") > 0,
             what="the worker's knowledge of it")
    crowd = world.ask(*[f"own {i}" for i in range(OF_ONE_APP)], app="crowd", model="away")
    wait_for(lambda: worker.metric("inferq_lane_paused", lane="own") == 1, 60, "a lane that blocks")
    wait_for(lambda: worker.metric("inferq_parking_full", endpoint="at-away") == 1, 60,
             "parking that is full")
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == PARKED, what="its jobs in Postgres")
    other = world.ask(*[f"other {i}" for i in range(OF_THE_OTHER)], app="other")
    assert world.wait_ended(other, 60)["succeeded"] == OF_THE_OTHER
    wait_for(lambda: worker.metric("inferq_lag_records", lane="normal") == 0, what="no lag beside it")
    assert world.counts(crowd)["pending"] == OF_ONE_APP
    assert world.value("SELECT lane_name(priority) FROM batch WHERE batch_id = %s", crowd) == "own"
    lanes = {line.split()[0]: line.split() for line in
             world.inferq("top", "--once", "--group", world.name).stdout.splitlines() if line.strip()}
    assert int(lanes["own"][1]) > OF_ONE_APP / 2 and lanes["high"][1] == "0"
    assert int(lanes["own"][3]) == PARKED
    world.inferq("endpoint", "resume", "at-away")
    assert world.wait_ended(crowd, 120)["succeeded"] == OF_ONE_APP
    assert world.rows("SELECT lane_name(priority), count(*) FROM result GROUP BY 1 ORDER BY 1") == [
        ("normal", OF_THE_OTHER), ("own", OF_ONE_APP)]
    finish(world)


def test_lanes_share_dispatches_by_their_weights(lone_world):
    """Four lanes that were added, with 8, 4, 2 and 1 of weight, and one narrow endpoint: while all four
    have jobs, each has its part of the calls."""
    conf = {"lane.age_boost": "0s", "lanes": " ".join(WEIGHTS)}
    for lane, weight in WEIGHTS.items():
        conf |= {f"lane.{lane}.weight": str(weight), f"lane.{lane}.min_share": "0"}
    world = lone_world(models=[model("narrow", max_in_flight=2)], conf=conf)
    for lane in WEIGHTS:
        world.add_lane(lane)
    batches = {lane: world.ask(*[f"[[sim: latency=12ms]] {lane} {i}" for i in range(OF_EACH)],
                               model="narrow", options=("--lane", lane)) for lane in WEIGHTS}
    world.start_worker()
    for batch in batches.values():
        assert world.wait_ended(batch, 120)["succeeded"] == OF_EACH
    calls = dict(world.rows(
        "SELECT lane_name(b.priority), count(c.*) FROM batch b JOIN call c USING (batch_id), ("
        "  SELECT max(first) AS begin, min(last) AS past FROM (SELECT min(claimed_at) AS first,"
        "  max(claimed_at) AS last FROM call GROUP BY batch_id) spans) w"
        " WHERE c.claimed_at BETWEEN w.begin AND w.past GROUP BY 1"))
    whole = sum(calls.values())
    # Of some 600, less what others had begun before the last of the four was fetched.
    assert whole > OF_EACH / 2, calls
    for lane, weight in WEIGHTS.items():  # claims go in batches, which rounds a little
        due = whole * weight / sum(WEIGHTS.values())
        assert due / 1.5 - 3 < calls[lane] < due * 1.5 + 3, (lane, calls)
    finish(world)


def test_a_worker_of_one_lane_serves_that_and_no_other(lone_world):
    """In Kafka, and of what is parked: requeued jobs, which go back to the lanes that they died in."""
    world = lone_world()
    world.add_lane("solo")
    solo = world.start_worker(lanes="solo")
    bad = "[[sim: status=400 latency=0]] bad"
    theirs = world.ask(bad, "good")
    ours = world.ask(bad, "good", options=("--lane", "solo"))
    assert world.wait_ended(ours)["succeeded"] == 1
    assert world.counts(theirs)["pending"] == 2 and world.calls(theirs) == []
    others = world.start_worker(lanes="high, normal,low")
    assert world.wait_ended(theirs)["succeeded"] == 1
    assert others.stop() == 0

    letters = [letter for batch in (theirs, ours) for letter in world.letters(batch)]
    assert [letter["topic"] for letter in letters] == [world.topic("normal"), world.topic("solo")]
    for letter in letters:  # the other lane's first: were it taken at all, it would be by now
        world.inferq("dead", "requeue", str(letter["dead_id"]))
    wait_for(lambda: len(world.letters(ours)) == 2, what="another end of our job")
    assert world.rows("SELECT lane_name(priority), taken_by FROM parked") == [("normal", None)]
    wait_for(lambda: solo.metric("inferq_parked_due") == 0, what="no more that it could run")
    assert world.rows("SELECT generation, lane_name(priority) FROM result WHERE batch_id = %s AND"
                      " class = 33 ORDER BY 1", ours) == [(0, "solo"), (1, "solo")]
    # Its second generation came by no topic, and goes there yet.
    world.inferq("dead", "requeue", str(world.letters(ours)[1]["dead_id"]))
    wait_for(lambda: len(world.letters(ours)) == 3, what="a third end")

    world.start_worker(lanes="normal high low")
    wait_for(lambda: len(world.letters(theirs)) == 2, what="its end, from a worker of its lane")
    assert [world.counts(batch)["pending"] for batch in (theirs, ours)] == [0, 0]
    assert world.value("SELECT count(*) FROM parked") == 0
    finish(world)
