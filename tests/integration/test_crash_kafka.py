"""Kafka misbehaves, or what reads it comes and goes: rebalances while partitions are paused, brokers
killed and stopped, coordinators and leaders that move, requests that fail, a dead topic that is not
there, offsets that are gone. Every job must end once, no lane may be stuck, and no committed offset may
pass a job that is nowhere else.

The forms in `make test` are short; `make chaos` runs the long ones.
"""
import random
import re
import uuid

import pytest

import kafka_admin
import tally
from checks import check, finish
from harness import LANES, QUICK_LEASE, stack, wait_for
from kafka_chaos import (QUICK_GROUP, SMALL_LANES, MockCluster, OffsetWatch, assignments, ended, moves_on, pick,
                         requests, scale_down, scale_up)
from test_kill import ours

# A dead worker's jobs wait for its lease, for a connection that stood long enough to fence it, and
# for the second look at a job that was live elsewhere.
RECOVERY_S = 150


def extra_calls(world):
    """Calls beside those that gave the results, in words."""
    rows = world.rows("SELECT code_name('class', c.class), count(*) FROM call c JOIN result r"
                      " USING (job_id) WHERE r.call_number IS DISTINCT FROM c.number"
                      " GROUP BY 1 ORDER BY 1")
    return ", ".join(f"{n} {outcome}" for outcome, n in rows) or "none"


def say(world, what, capsys):
    """What a note about this run should say."""
    with capsys.disabled():
        print(f"\nseed {tally.SEED}: {what}: {world.value('SELECT count(*) FROM result')} jobs,"
              f" {world.sim.summary()['requests']} calls seen by the model,"
              f" extra calls: {extra_calls(world)}")


def one_batch_per_lane(world, path):
    return [world.submit("--priority", lane, path) for lane in LANES]


def wait_all(world, batches, jobs, seconds=RECOVERY_S):
    for batch in batches:
        assert world.wait_ended(batch, seconds)["succeeded"] == jobs


# ---- rebalances ----------------------------------------------------------------------------------


def some_lane_is_full(world):
    return any(worker.metric("inferq_lane_paused") for worker in world.live_workers())


def test_workers_come_and_go_while_partitions_are_paused(lone_world, tmp_path, capsys):
    """1 -> 4 -> 2 -> 4 -> 2 ...: who leaves is stopped or killed; in the last round nobody is killed, so
    that its jobs need not wait for a dead worker's lease."""
    rng = random.Random(tally.SEED)
    jobs, rounds = pick(1000, 6000), pick(2, 4)
    world = lone_world(latency="uniform:60ms:180ms", partitions=4, conf={
        **QUICK_LEASE, **QUICK_GROUP, **SMALL_LANES, "max_in_flight": "8"})
    batches = one_batch_per_lane(world, requests(tmp_path, jobs))
    killed = 0
    with OffsetWatch(world) as watch:
        world.start_worker()
        for left in range(rounds - 1, -1, -1):
            wait_for(lambda: some_lane_is_full(world), what="a lane that is full")
            scale_up(world, 4)
            moves_on(world, batches)
            wait_for(lambda: some_lane_is_full(world), what="a lane that is full")
            kinds = rng.choice([["killed", "killed"], ["killed", "stopped"]]) if left else ["stopped"] * 2
            scale_down(world, rng, kinds)
            killed += kinds.count("killed")
            moves_on(world, batches)
        wait_all(world, batches, jobs, RECOVERY_S + jobs / 50)
    say(world, f"{rounds} times to 4 and to 2 workers, {killed} killed, {watch.midway} looks at offsets",
        capsys)
    assert killed >= rounds - 1
    finish(world, crashed=True)


# ---- the broker dies, stops, forgets -------------------------------------------------------------


def losses(worker):
    """How often its session ended before it had given its partitions back."""
    return len(re.findall(r"kafka partitions revoked.*lost=yes", worker.log()))


def holds(worker):
    """It has partitions: the last that its log says of them is not that they went."""
    said = re.findall(r'msg="kafka partitions (assigned|revoked)"', worker.log())
    return bool(said) and said[-1] == "assigned"


def goes_on_alone(world, jobs):
    """Workers end so many more jobs with what they hold."""
    goal = world.value("SELECT count(*) FROM result") + jobs
    wait_for(lambda: world.value("SELECT count(*) FROM result") >= goal, 60,
             f"{goal} results")


def kafka_stops(world):
    """Until every member's session is over; each must have one, and partitions to lose."""
    wait_for(lambda: all(map(holds, world.workers)), 60, "partitions with every member")
    before = [losses(worker) for worker in world.workers]
    stack("pause", "kafka")
    try:
        wait_for(lambda: all(losses(w) > n for w, n in zip(world.workers, before)),
                 what="sessions that are over")
    finally:
        stack("resume", "kafka")


def kafka_dies(world):
    stack("kill", "kafka")
    goes_on_alone(world, 10)
    stack("start", "kafka")


@ours
def test_kafka_is_stopped_past_the_session_and_killed(lone_world, tmp_path, capsys):
    """What was fetched is worked on meanwhile; nobody gives up; afterwards the group forms anew. The
    short form stops it once; test_kill.py kills it once."""
    rng = random.Random(tally.SEED)
    jobs, stops, kills = pick(400, 3000), pick(1, 3), pick(0, 3)
    world = lone_world(latency="uniform:50ms:150ms", partitions=4, conf={
        **QUICK_LEASE, **QUICK_GROUP, **SMALL_LANES, "max_in_flight": "8"})
    batches = one_batch_per_lane(world, requests(tmp_path, jobs))
    with OffsetWatch(world) as watch:
        scale_up(world, 2)
        for fault in rng.sample([kafka_stops] * stops + [kafka_dies] * kills, stops + kills):
            moves_on(world, batches)
            fault(world)
            # Those that were stopped or killed in the middle of a rebalance join when they can.
            wait_for(lambda: all(w.metric("inferq_lag_records") >= 0 and w.metric("inferq_kafka_up")
                                 for w in world.workers), 90, "workers that read again")
        wait_all(world, batches, jobs, RECOVERY_S + jobs / 20)
    say(world, f"Kafka stopped {stops} times and killed {kills} times, {watch.looks} looks at offsets", capsys)
    assert len(world.live_workers()) == 2, "no worker gave up"
    finish(world, crashed=True)


# ---- letters that cannot be published ------------------------------------------------------------


def published(world, batch):
    return [letter["published"] for letter in world.letters(batch)]


def letters_sent(world):
    """Ids of the jobs whose letters lie on the dead topic."""
    return {uuid.UUID(bytes=record["key"]) for record in world.records(f"{world.name}.dead")}


def test_the_dead_topic_is_gone_and_comes_back(lone_world):
    """Letters wait in Postgres, jobs go on; once the topic is there, each letter is sent."""
    # How long librdkafka believes that a topic was only just made: half a minute otherwise.
    world = lone_world(conf={**QUICK_GROUP, "kafka.topic.metadata.propagation.max.ms": "1000"})
    kafka_admin.delete_topic(f"{world.name}.dead")
    world.start_worker()
    worker = world.start_worker()
    dying = world.ask(*[f"[[sim: status=400]] {i}" for i in range(20)])
    assert world.wait_ended(dying)["dead"] == 20
    wait_for(lambda: any(w.logged("a dead letter") for w in world.workers), what="a try that failed")
    healthy = world.ask(*[f"text {i}" for i in range(50)])
    assert world.wait_ended(healthy)["succeeded"] == 50
    assert published(world, dying) == [False] * 20
    wait_for(lambda: all(w.ready() for w in world.workers), what="workers that are ready all the same")
    # Who publishes may die meanwhile.
    worker.kill()
    world.inferq("topics", "--partitions", "2")
    wait_for(lambda: all(published(world, dying)), 60, "letters that are published")
    assert letters_sent(world) == {letter["job_id"] for letter in world.letters(dying)}
    finish(world, crashed=True)


# ---- offsets that are gone -----------------------------------------------------------------------


def test_a_group_without_its_offsets_begins_anew_and_does_nothing_twice(lone_world, tmp_path):
    """Deleted while the fleet is stopped, in the middle of the work: all records come again, those that
    had ended are passed over, the others run once. While it runs the broker refuses."""
    world = lone_world(latency="20ms", conf=QUICK_GROUP)
    jobs = 600
    batch = world.submit(requests(tmp_path, jobs))
    first = world.start_worker(max_in_flight=1)  # for ten seconds and more
    wait_for(lambda: ended(world, batch) >= 100, what="a hundred ended jobs")
    with pytest.raises(kafka_admin.Refused, match="GROUP_SUBSCRIBED_TO_TOPIC"):
        kafka_admin.delete_offsets(world.name, world.topic(), 2)
    assert first.stop() == 0
    done = ended(world, batch)
    assert 100 <= done < jobs, "stopped in the middle"
    assert sum(c["committed"] for c in world.committed() if c["topic"] == world.topic()) > 0
    kafka_admin.delete_group(world.name)
    assert {c["committed"] for c in world.committed()} == {-1}
    second = world.start_worker()
    assert world.wait_ended(batch, 60)["succeeded"] == jobs
    wait_for(lambda: second.metric("inferq_jobs_redelivered_total", lane="normal") == done,
             what="every job that had ended, passed over")
    assert second.metric("inferq_jobs_fetched_total", lane="normal") == jobs
    assert len(world.calls(batch)) == jobs
    finish(world)


# ---- the mock cluster's faults -------------------------------------------------------------------

MOCK = {**QUICK_GROUP, "kafka.session.timeout.ms": "6000", "kafka.fetch.wait.max.ms": "10"}


@pytest.fixture
def mock(tmp_path):
    cluster = MockCluster(tmp_path, brokers=3)
    yield cluster
    cluster.stop()


def mock_world(lone_world, mock, **how):
    """On topics with a replica on each broker."""
    def make(name):
        for topic in [f"{name}.jobs.{lane}" for lane in LANES] + [f"{name}.dead"]:
            mock.say(f"topic {topic} 3 {mock.brokers}")
    return lone_world(kafka=mock.bootstrap, make_topics=make, **how)


def fails(api, *errors, count=3):
    return [f"fail {api} {error} {count}" for error in errors]


def waves(world, rng):
    """What is done to the cluster, wave after wave; it lasts until it is undone, or used up."""
    topic, down = world.topic(), rng.randrange(1, 4)
    again = pick(1, 3)  # what a member must begin anew for takes the mock cluster 5 s and more
    return [
        [f"coordinator group {world.name} 2",
         *[f"leader {topic} {partition} {rng.randrange(1, 4)}" for partition in range(3)]],
        # As a cluster does, unlike the mock: who has no partitions just then gets none without one.
        [f"down {down}", f"coordinator group {world.name} {down % 3 + 1}"],
        [f"up {down}", f"leader {topic} 0 -1",
         *fails("Fetch", "NOT_LEADER_FOR_PARTITION", "UNKNOWN_TOPIC_OR_PART", "REQUEST_TIMED_OUT",
                "OFFSET_OUT_OF_RANGE"),
         *fails("ListOffsets", "LEADER_NOT_AVAILABLE"), *fails("Metadata", "LEADER_NOT_AVAILABLE")],
        [f"leader {topic} 0 {down}", *fails("Produce", "NOT_LEADER_FOR_PARTITION"),
         *fails("OffsetCommit", "REQUEST_TIMED_OUT", "COORDINATOR_LOAD_IN_PROGRESS",
                "ILLEGAL_GENERATION"),
         *fails("Heartbeat", "COORDINATOR_LOAD_IN_PROGRESS", "NOT_COORDINATOR")],
        [f"coordinator group {world.name} 3", *[f"rtt {broker} 300" for broker in (1, 2, 3)],
         *fails("FindCoordinator", "COORDINATOR_NOT_AVAILABLE"),
         *fails("JoinGroup", "COORDINATOR_LOAD_IN_PROGRESS", count=again),
         *fails("SyncGroup", "REBALANCE_IN_PROGRESS", count=again),
         *fails("OffsetFetch", "COORDINATOR_LOAD_IN_PROGRESS", count=again),
         *fails("Heartbeat", "REBALANCE_IN_PROGRESS", count=again)],
        [*[f"rtt {broker} 0" for broker in (1, 2, 3)],
         *[f"fail-broker {broker} Fetch NO_ERROR 2 2000" for broker in (1, 2, 3)],
         *fails("Heartbeat", "UNKNOWN_MEMBER_ID", count=again)],
    ]


def holds_partitions(worker):
    """The mock cluster aborts where a member joins at another coordinator while the one before still
    owes it an answer."""
    return assignments(worker) > worker.log().count("kafka partitions revoked")


def test_a_cluster_whose_parts_move_fail_and_come_back(lone_world, mock, tmp_path, capsys):
    rng = random.Random(tally.SEED)
    jobs, rounds = pick(600, 3000), pick(1, 3)
    world = mock_world(lone_world, mock, latency="uniform:80ms:240ms",
                       conf={**QUICK_LEASE, **MOCK, **SMALL_LANES, "max_in_flight": "8"})
    batches = one_batch_per_lane(world, requests(tmp_path, jobs))
    dying = world.ask(*[f"[[sim: status=400]] {i}" for i in range(20)])
    with OffsetWatch(world) as watch:
        scale_up(world, 2)
        count = 0
        for _ in range(rounds):
            for commands in waves(world, rng):
                if any(command.startswith("coordinator") for command in commands):
                    wait_for(lambda: all(holds_partitions(w) for w in world.workers), 90,
                             "members that hold partitions")
                for command in commands:
                    mock.say(command)
                    count += 1
                tally.fault("faults of the mock cluster", len(commands))
                goes_on_alone(world, 100)
        wait_all(world, batches, jobs, RECOVERY_S)
    assert world.wait_ended(dying)["dead"] == 20
    wait_for(lambda: all(published(world, dying)), 60, "letters that are published")
    assert letters_sent(world) == {letter["job_id"] for letter in world.letters(dying)}
    say(world, f"{count} faults of the mock cluster, {watch.midway} looks at offsets", capsys)
    finish(world, crashed=True)


def test_a_dead_topic_without_a_leader(lone_world, mock):
    """The brokers are there, and cannot take letters: nothing else waits for them."""
    world = mock_world(lone_world, mock, conf=MOCK)
    world.start_worker()
    for partition in range(3):
        mock.say(f"leader {world.name}.dead {partition} -1")
    dying = world.ask(*[f"[[sim: status=400]] {i}" for i in range(20)])
    assert world.wait_ended(dying)["dead"] == 20
    assert world.wait_ended(world.ask(*[f"text {i}" for i in range(50)]))["succeeded"] == 50
    assert published(world, dying) == [False] * 20
    for partition in range(3):
        mock.say(f"leader {world.name}.dead {partition} 2")
    wait_for(lambda: all(published(world, dying)), 60, "letters that are published")
    assert letters_sent(world) == {letter["job_id"] for letter in world.letters(dying)}
    finish(world)


def test_a_consumer_that_failed_for_good_ends_the_worker(lone_world, mock):
    """Its calls in flight end and are stored; it exits non-zero, so that a supervisor starts another;
    and no offset has passed what it leaves behind."""
    world = mock_world(lone_world, mock, latency="300ms", conf=MOCK)
    jobs = 240  # ten seconds of work
    batch = world.ask(*[f"text {i}" for i in range(jobs)])
    worker = world.start_worker(max_in_flight=8)
    wait_for(lambda: world.sim.summary()["in_flight"] == 8, what="calls in flight")
    mock.say("fail Heartbeat FENCED_INSTANCE_ID 1")
    wait_for(lambda: worker.logged("kafka: a fatal error"), what="the fatal error")
    assert worker.wait() == 4
    calls = world.calls(batch)
    assert len(calls) >= 8 and {c["class"] for c in calls} == {"ok"}, "the calls in flight ended"
    assert len(world.results(batch)) == len(calls) < jobs
    assert world.value("SELECT count(*) FROM worker WHERE stopped_at IS NULL") == 0
    check(world, stopped=True)
    world.start_worker()
    assert world.wait_ended(batch)["succeeded"] == jobs == world.sim.summary()["requests"]
    wait_for(lambda: all(max(c["committed"], c["low"]) == c["high"] for c in world.committed()), 60,
             "what had ended, passed over")
    finish(world)
