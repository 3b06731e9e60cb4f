"""Limits that hold across the fleet: real workers, killed and added, before a model that knows what it
allows. The witness's log is the judge (arrivals.py): what came within any minute, whose it was, what
was refused.

Happy path: the fleets below run side by side, as each waits most of the time; each test judges a part
of what one of them did. A fleet runs when a chosen test asks for it.
What goes wrong: what a fleet's run raises is raised in every test that asks for it.

"Never above" is exact, at any speed of the machine. What a fleet uses is a part of what it may use,
over a time in which work was waiting for it.
"""
import concurrent.futures
import functools
import json
import pathlib
import random
import re
import time
import types

import pytest

import arrivals
import tally
from arrivals import Arrivals, between, most, most_at_once, refused_share, used_share
from checks import finish
from harness import QUICK_LEASE, Message, World, model, wait_for
from memory import peak_kb

SECOND = 1_000_000
USED = 0.95  # of a limit, while there is work for it and a processor for whoever wants one
# Less by the part of the time in which something waited for a processor or a disk, as a stall beyond what
# the pace saves up (300 ms) is lost; but not below this. The kernel says how crowded it was, not what came
# of it.
USED_CROWDED = 0.6
# While shares still go to where the work is, in the first half minute of a load.
USED_EARLY = 0.9
CONF = {**QUICK_LEASE, "kafka.session.timeout.ms": "6000", "lane.age_boost": "0s"}
# A dead worker's share is free when nobody has heard of it for 7 s and the minute of its largest call
# is over; its jobs are another's when Kafka and the others know that it is gone.
AFTER_DEATH_US = 12 * SECOND


def stalled_us():
    """For how long something has waited for a processor or a disk on this machine; where that is not told,
    always."""
    try:
        return sum(int(re.search(r"some .*total=(\d+)", pathlib.Path("/proc/pressure", what).read_text())[1])
                   for what in ("cpu", "io"))
    except OSError:
        return time.monotonic_ns() // 1000


class Stretch:
    """A stretch of the witness's time, from now to end(), and how crowded the machine was in it."""

    def __init__(self):
        self.from_us, self.until_us, self.crowded = now_us(), None, None
        self._stalled_us = stalled_us()

    def end(self):
        self.until_us = now_us()
        self.crowded = (stalled_us() - self._stalled_us) / (self.until_us - self.from_us)
        return self

    def uses(self, calls, amount, unit=None, calm=USED):
        """Of the limit as much was used in it as must be; where nothing waits for a processor, `calm`."""
        least = max(USED_CROWDED, calm - self.crowded)
        used = used_share(calls, amount, self.from_us, self.until_us, unit)
        print(f"used {used:.3f} of {amount}; the machine was crowded by {self.crowded:.2f}")
        assert used >= least, f"{used:.3f} of {amount}; the machine was crowded by {self.crowded:.2f}"
        return True

    def of(self, calls):
        return between(calls, self.from_us, self.until_us)


def now_us():
    """By the witness's clock, which is this machine's."""
    return time.time_ns() // 1000


def start(world, count):
    """So many workers, at once; each holds its partitions."""
    fleet = [world.start_worker(ready=False) for _ in range(count)]
    for worker in fleet:
        wait_for(worker.ready, 60, "a ready worker")
    world.settle()
    return fleet


def holders(world, endpoint):
    """[(share, pid)] of an endpoint's limit, the largest first."""
    return sorted(world.rows("SELECT share, pid FROM limit_holder WHERE scope = 'endpoint' AND key = %s",
                             f"{endpoint}@1"), reverse=True)


def by_pid(world, pid):
    return next(worker for worker in world.live_workers() if worker.pid == pid)


def end(world, *batches, crashed=True):
    """What still waits is cancelled; then everything must add up."""
    for batch in batches:
        world.inferq("batch", "cancel", str(batch))
    for batch in batches:
        world.wait_ended(batch, 120)
    finish(world, crashed=crashed)


# ---- three workers -------------------------------------------------------------------------------

HUNDRED, MIXED, SLOW = 1800, 1200, 60  # requests a minute
LANE_WEIGHTS = {"high": 8, "normal": 3, "low": 1}


def three_workers(make):
    """Wants of 100 : 1 : 0, lanes and apps at one limit, a slow model with a crowd before it. The worker
    that wants most is killed."""
    world = make(models=[
        model("hundred", limits={"requests_per_minute": HUNDRED}),
        model("mixed", limits={"requests_per_minute": MIXED}),
        model("slow", limits={"requests_per_minute": SLOW}), model("free")],
        latency="uniform:20ms:60ms", partitions=3, conf=CONF)
    run = types.SimpleNamespace(world=world, seen=Arrivals(world))
    fleet = start(world, 3)
    run.slow = world.ask(*[f"slow {i}" for i in range(3000)], model="slow", app="crowd")
    run.free = world.ask(*[f"free {i}" for i in range(600)], model="free", app="crowd")
    message = Message(app="wants")
    body = {"model": "hundred", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
    wants = {0: 8000, 1: HUNDRED // 100}  # of the third partition nobody wants anything
    for partition, count in wants.items():
        world.produce(*[message.pack(f"{partition}-{i}", body=body) for i in range(count)],
                      partition=partition)
    world.seal(message, sum(wants.values()))
    run.wants = message.batch_id
    run.lanes = {lane: world.ask(*[f"{lane} {i}" for i in range(count)], model="mixed", app="crowd",
                                 options=("--priority", lane))
                 for lane, count in (("high", 4000), ("normal", 1500), ("low", 600))}

    run.seen.wait(lambda: len(run.seen.of("hundred")) > HUNDRED // 6, what="a sixth of a minute's")
    run.before = Stretch()
    run.few = world.ask(*[f"few {i}" for i in range(10)], model="mixed", app="few")
    run.asked_few_us = now_us()  # all of them are there by now
    assert world.wait_ended(run.few, 60)["succeeded"] == 10
    assert world.wait_ended(run.free, 60)["succeeded"] == 600
    run.slow_left = world.counts(run.slow)["pending"]
    run.seen.wait_until(run.before.from_us + 20 * SECOND)

    run.shares = holders(world, "at-hundred")
    run.peaks_kb = [peak_kb(worker.pid) for worker in fleet]
    run.before.end()
    by_pid(world, run.shares[0][1]).kill()
    world.settle()
    run.seen.wait_until(now_us() + AFTER_DEATH_US)
    run.after = Stretch()
    run.seen.wait_until(run.after.from_us + 61 * SECOND)
    run.after.end()
    run.left = {name: world.counts(batch)["pending"] for name, batch in
                {"wants": run.wants, "slow": run.slow, **run.lanes}.items()}
    run.shown = json.loads(world.inferq("limit", "show", "--json").stdout)
    end(world, run.wants, run.slow, *run.lanes.values())
    return run


# ---- four workers --------------------------------------------------------------------------------

EXACT, TOKENS, FLIGHT, WRONG, HAND, SMALL = 900, 30_000, 4, 600, 600, 400
LOWER = 60
TOO_HIGH = 10
SCRIPT = f"""\
limit=exact model=exact requests={EXACT} exact=1 tell=openai
limit=tokens model=tokens tokens={TOKENS} exact=1 tell=openai
limit=flight model=flight concurrency={FLIGHT}
limit=wrong model=wrong requests={WRONG} exact=1 retry-form=none
"""
DOCUMENTS = ("brief", "a document of some length, as they come; " * 4, "one that is longer: " + "word " * 90)


def four_workers(make):
    """The model enforces what was configured, exactly; of one model a tenth of it. Workers are killed and
    others come; before that, an operator is at work."""
    world = make(models=[
        model("exact", limits={"requests_per_minute": EXACT}),
        model("tokens", limits={"tokens_per_minute": TOKENS}),
        model("flight", limits={"in_flight": FLIGHT}),
        model("wrong", limits={"requests_per_minute": TOO_HIGH * WRONG}),
        model("hand", limits={"requests_per_minute": HAND}),
        model("small", limits={"output_tokens_per_minute": SMALL})],
        script=SCRIPT, latency="uniform:20ms:60ms", partitions=4, conf=CONF)
    run = types.SimpleNamespace(world=world, seen=Arrivals(world), rng=random.Random(tally.SEED))
    start(world, 4)
    run.batches = {
        "exact": world.ask(*[f"exact {i}" for i in range(4500)], model="exact"),
        "tokens": world.ask(*[f"{i} {DOCUMENTS[i % 3]}" for i in range(2500)], model="tokens"),
        "flight": world.ask(*[f"[[sim: latency=250ms]] {i}" for i in range(4000)], model="flight"),
        "wrong": world.ask(*[f"wrong {i}" for i in range(6000)], model="wrong"),
        "hand": world.ask(*[f"hand {i}" for i in range(2000)], model="hand")}
    refuse_the_large(run)
    run.seen.wait(lambda: len(run.seen.of("exact")) > EXACT // 6, what="a sixth of a minute's calls")
    run.calm = Stretch()
    by_hand(run)
    run.calm.end()
    for _ in range(2):
        run.rng.choice(world.live_workers()).kill()
        world.start_worker(ready=False)
        run.seen.wait_until(run.seen.now_us() + 20 * SECOND)
    world.start_worker(ready=False)
    run.seen.wait(lambda: run.seen.of("wrong")[-1].at_us - run.seen.of("wrong")[0].at_us
                  > 120 * SECOND, 180, "two minutes of the limit that is too high")
    run.left = {name: world.counts(batch)["pending"] for name, batch in run.batches.items()}
    run.learned = json.loads(world.inferq("limit", "show", "endpoint:at-wrong", "--json").stdout)
    end(world, *run.batches.values())
    return run


def refuse_the_large(run):
    """Two jobs that may answer more than the limit of output tokens allows in a minute, among others."""
    world = run.world
    path = world.tmp / "large.jsonl"
    path.write_text("".join(json.dumps({
        "custom_id": f"job-{i}", "model": "small", "max_tokens": SMALL + 100 if i in (1, 4) else 20,
        "messages": [{"role": "user", "content": f"text {i}"}]}) + "\n" for i in range(8)))
    run.large = world.submit("--format", "jsonl", path)
    run.large_counts = world.wait_ended(run.large, 60)


def by_hand(run):
    """A limit lowered and cleared, an endpoint paused and resumed: when each command was given, and when
    it had returned. In between nobody knows which of the two holds."""
    world, run.given, run.acts = run.world, {}, {}

    def act(name, seconds, *words):
        run.given[name] = now_us()
        world.inferq(*words, "--actor", "ann")
        run.acts[name] = now_us()
        run.seen.wait_until(run.acts[name] + seconds * SECOND)
    act("lowered", 12, "limit", "set", "endpoint:at-hand", "requests_per_minute", str(LOWER),
        "--reason", "their mail of today")
    run.shown_lowered = json.loads(world.inferq("limit", "show", "endpoint:at-hand", "--json").stdout)
    act("cleared", 8, "limit", "clear", "endpoint:at-hand")
    act("paused", 8, "endpoint", "pause", "at-hand", "--reason", "their maintenance")
    act("resumed", 8, "endpoint", "resume", "at-hand")
    run.acts["over"] = run.acts["resumed"] + 8 * SECOND
    asked_us = now_us()
    run.shown = {row["limit"]: row for row in json.loads(world.inferq("limit", "show", "--json").stdout)}
    run.shown_us = asked_us, now_us()
    run.shown_pending = {name: world.counts(batch)["pending"] for name, batch in run.batches.items()}


# ---- one worker with a crowd ---------------------------------------------------------------------

CROWD, BEHIND = (10_000, 1_000) if tally.LONG else (2_500, 200)
LANE_JOBS = 300
GROWTH_KB = 24 << 10  # the crowd's texts alone are twice that


def one_worker(make):
    """A crowd of long texts waits for a limit, many times what the lane holds; others behind it in the
    same partition."""
    world = make(models=[model("slow", limits={"requests_per_minute": SLOW})], partitions=1,
                 conf={"lane.normal.max_jobs": str(LANE_JOBS), "short_wait": "500ms"})
    run = types.SimpleNamespace(world=world, seen=Arrivals(world))
    text = "word " * 4000
    run.crowd = world.ask(*[f"{i} {text}" for i in range(CROWD)], model="slow", timeout=300)
    run.behind = world.ask(*[f"soon {i}" for i in range(BEHIND)])
    worker = world.start_worker()
    wait_for(lambda: world.value("SELECT count(*) FROM parked") >= 2 * LANE_JOBS, 120,
             "a part of the crowd in Postgres")
    early_kb = peak_kb(worker.pid)
    run.behind_counts = world.wait_ended(run.behind, 300)
    run.crowd_left = world.counts(run.crowd)["pending"]
    wait_for(lambda: worker.metric("inferq_lag_records", lane="normal") <= 2 * LANE_JOBS, 300,
             "a lag without the crowd")
    run.grown_kb = peak_kb(worker.pid) - early_kb
    end(world, run.crowd, crashed=False)
    return run


# ---- a limit that is not true ----------------------------------------------------------------------


def learning_workers(make):
    """Four workers, and a limit ten times what the model allows; for three minutes."""
    world = make(models=[model("wrong", limits={"requests_per_minute": TOO_HIGH * WRONG})],
                 script=SCRIPT, latency="uniform:20ms:60ms", partitions=4, conf=CONF)
    run = types.SimpleNamespace(world=world, seen=Arrivals(world))
    start(world, 4)
    batch = world.ask(*[f"wrong {i}" for i in range(6 * WRONG)], model="wrong")
    run.seen.wait(lambda: run.seen.of("wrong"), what="a call")
    begun_us = run.seen.of("wrong")[0].at_us
    wait_for(lambda: now_us() > begun_us + 180 * SECOND, 200, "three minutes")
    run.left = world.counts(batch)["pending"]
    end(world, batch, crashed=False)
    return run


# ---- running them --------------------------------------------------------------------------------

FLEETS = (three_workers, four_workers, one_worker, learning_workers)


@pytest.fixture(scope="module")
def fleets(request, tmp_path_factory):
    """{name: the future of its run}, of those that chosen tests ask for."""
    wanted = {name for item in request.session.items if item.path == request.path
              for name in item.fixturenames}
    worlds = []
    directory = tmp_path_factory.mktemp("fleets")  # here: it is not for several threads

    def make(name, **how):
        worlds.append(World(directory / name, **how))
        return worlds[-1]

    with concurrent.futures.ThreadPoolExecutor(len(FLEETS)) as pool:
        yield {fleet.__name__: pool.submit(fleet, functools.partial(make, fleet.__name__))
               for fleet in FLEETS if fleet.__name__.split("_")[0] in wanted}
    for world in worlds:
        world.close()


@pytest.fixture(scope="module")
def three(fleets):
    return fleets["three_workers"].result()


@pytest.fixture(scope="module")
def four(fleets):
    return fleets["four_workers"].result()


@pytest.fixture(scope="module")
def learning(fleets):
    return fleets["learning_workers"].result()


@pytest.fixture(scope="module")
def one(fleets):
    return fleets["one_worker"].result()


# ---- never above ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name, amount", [("hundred", HUNDRED), ("mixed", MIXED), ("slow", SLOW)])
def test_three_workers_of_which_one_is_killed_never_send_more_than_a_limit(three, name, amount):
    calls = three.seen.of(name)
    assert three.left["wants"] > 0 and three.left["slow"] > 0, "work was there all the time"
    print(f"{name}: {most(calls)} of {amount} in the fullest minute")
    assert most(calls) <= amount


def test_one_who_wants_a_hundred_times_as_much_has_it(three):
    """Almost all of the limit is where the work is, and after a death where the work has gone."""
    shares = [share for share, _ in three.shares]
    assert shares[0] >= 0.95 * HUNDRED and sum(shares) <= HUNDRED, shares
    assert three.before.uses(three.seen.of("hundred"), HUNDRED, calm=USED_EARLY)


@pytest.mark.parametrize("name, amount", [("hundred", HUNDRED), ("mixed", MIXED)])
def test_what_a_dead_worker_held_is_used_by_others(three, name, amount):
    assert three.left["wants"] > 0 and min(three.left[lane] for lane in LANE_WEIGHTS) > 0
    assert three.after.uses(three.seen.of(name), amount)


# ---- who gets it ---------------------------------------------------------------------------------

def test_lanes_share_a_limit_by_their_weights(three):
    """Before the death and after it, while all three have work."""
    calls = three.seen.by_batch(three.seen.of("mixed"))
    for stretch in (three.before, three.after):
        came = {lane: len(stretch.of(calls[batch])) for lane, batch in three.lanes.items()}
        whole = sum(came.values())
        for lane, weight in LANE_WEIGHTS.items():
            due = whole * weight / sum(LANE_WEIGHTS.values())
            assert due * 0.8 - 5 < came[lane] < due * 1.25 + 5, came


def test_ten_jobs_of_an_app_do_not_wait_for_thousands_of_another(three):
    """Of the same lane, at the same limit: told in calls of the other, not in seconds."""
    batches = three.seen.by_batch(three.seen.of("mixed"))
    few = batches[three.few]
    assert len(few) == 10
    crowd = between(batches[three.lanes["normal"]], three.asked_few_us, max(call.at_us for call in few))
    assert len(crowd) <= 60


def test_a_slow_model_leaves_others_at_full_speed(three):
    """The jobs of a model without a limit stood behind 3,000 of one that allows 60 a minute."""
    batches = three.seen.by_batch(three.seen.of("free") + three.seen.of("slow"))
    last_us = max(call.at_us for call in batches[three.free])
    assert sum(call.at_us < last_us for call in batches[three.slow]) <= SLOW
    assert three.slow_left > 2800


def test_a_crowd_that_waits_is_not_held_in_memory_and_holds_back_no_partition(one):
    assert one.behind_counts["succeeded"] == BEHIND
    assert one.crowd_left > CROWD * 0.9, "those behind came first"
    assert most(one.seen.of("slow")) <= SLOW
    assert one.grown_kb < GROWTH_KB


# ---- a model that enforces its limits --------------------------------------------------------------

@pytest.mark.parametrize("name, amount, unit", [("exact", EXACT, None), ("tokens", TOKENS, "tokens")])
def test_a_limit_given_exactly_is_not_run_into(four, name, amount, unit):
    """While workers are killed and added."""
    calls = four.seen.of(name)
    assert four.left[name] > 0
    assert refused_share(calls) < 0.005
    assert most([call for call in calls if not call.refused], unit) <= amount
    if unit is None:
        assert most(calls) <= amount
    assert four.calm.uses(calls, amount, unit)
    used = used_share(calls, amount, four.calm.from_us, calls[-1].at_us, unit)
    print(f"{name}: refused {refused_share(calls):.4f} of {len(calls)}; used {used:.3f} in all")
    assert used >= 0.4


def test_calls_in_flight_are_the_fleets(four):
    calls = four.seen.of("flight")
    assert most_at_once(calls) <= FLIGHT
    assert refused_share(calls) == 0 and four.left["flight"] > 0
    # While nobody dies. Between two calls of a place lie a store and a claim.
    busy_us = sum(call.end_us - call.at_us for call in four.calm.of(calls))
    used = busy_us / FLIGHT / (four.calm.until_us - four.calm.from_us)
    print(f"used {used:.3f} of {FLIGHT} at once")
    assert used > 0.5, "and they are used"


def test_a_limit_that_is_too_high_is_lowered_for_all(four):
    """By nothing but refusals, and whoever joins knows it. What was on its way when the first refusal came
    knew of none: how much that is, the machine decides."""
    calls = four.seen.of("wrong")
    assert four.left["wrong"] > 0 and len(calls) >= WRONG
    known_us = min(call.end_us for call in calls if call.refused) + 2 * SECOND
    for what, from_us, share in (("all know of one", known_us, 0.05),
                                 ("the first minute", calls[0].at_us + 60 * SECOND, 0.04)):
        late = [call for call in calls if call.at_us >= from_us]
        print(f"refused after {what}: {sum(call.refused for call in late)} of {len(late)}")
        assert len(late) > WRONG // 3 and refused_share(late) < share
    assert most([call for call in calls if not call.refused], when="asked_us") <= WRONG, \
        "by the model's own word"
    row = four.learned[0]
    assert row["multiplier_permille"] <= 700 and row["usable"] < 0.7 * TOO_HIGH * WRONG


@pytest.mark.skipif(not tally.LONG, reason="three minutes of its own")
def test_within_a_minute_few_calls_are_refused_at_a_limit_given_ten_times_too_high(learning):
    calls = learning.seen.of("wrong")
    late = [call for call in calls if call.at_us >= calls[0].at_us + 60 * SECOND]
    assert learning.left > 0 and len(late) > WRONG // 2
    print(f"refused {sum(call.refused for call in late)} of {len(late)} after the first minute")
    assert refused_share(late) < 0.02


# ---- the operator's hand -------------------------------------------------------------------------

def test_a_limit_is_changed_for_all_workers_at_once(four):
    """Told by what comes more than two seconds after the command: at the old pace it would be ten times
    as much."""
    calls, acts, given = four.seen.of("hand"), four.acts, four.given
    lowered = between(calls, acts["lowered"] + 2 * SECOND, given["cleared"])
    seconds = (given["cleared"] - acts["lowered"]) / SECOND - 2
    assert len(lowered) <= 0.3 * HAND * seconds / 60
    again = between(calls, acts["cleared"] + 2 * SECOND, given["paused"])
    assert len(again) > 3 * LOWER * ((given["paused"] - acts["cleared"]) / SECOND - 2) / 60
    assert most(calls) <= HAND
    row = four.shown_lowered[0]
    assert (row["amount"], row["source"], row["of_catalogue"], row["changed_by"]) == (
        LOWER, "operator", HAND, "ann")


def test_a_pause_stops_all_workers(four):
    calls, acts = four.seen.of("hand"), four.acts
    paused = between(calls, acts["paused"] + 2 * SECOND, four.given["resumed"])
    assert len(paused) <= 2 * HAND / 60, "a second or two late at the most"
    assert between(calls, acts["resumed"], acts["over"])


def test_what_operators_did_is_audited(four):
    done = four.world.rows("SELECT actor, action, detail FROM audit_log WHERE actor = 'ann'"
                           " ORDER BY audit_id")
    assert [action for _, action, _ in done] == [
        "limit set", "limit clear", "endpoint pause", "endpoint resume"]
    assert "their mail of today" in done[0][2] and "their maintenance" in done[2][2]


def test_limit_show_tells_what_the_witness_saw(four):
    row = four.shown["at-exact"] if "at-exact" in four.shown else four.shown["endpoint:at-exact@1"]
    assert (row["dimension"], row["amount"], row["source"]) == (
        "requests_per_minute", EXACT, "catalogue")
    assert row["workers"] == 4 and row["held"] <= EXACT and row["usable"] <= EXACT
    came = [len(between(four.seen.of("exact"), at_us - arrivals.MINUTE_US, at_us)) for at_us in four.shown_us]
    assert min(came) * 0.9 - 20 <= row["used"] <= max(came) * 1.1 + 20
    assert row["wanted"] > 0 and row["waiting"] <= four.shown_pending["exact"] + EXACT


# ---- what never fits -----------------------------------------------------------------------------

def test_a_job_larger_than_a_limit_is_a_dead_letter_and_others_go_on(four):
    assert (four.large_counts["succeeded"], four.large_counts["dead"]) == (6, 2)
    letters = four.world.letters(four.large)
    assert [letter["class"] for letter in letters] == ["over_limit", "over_limit"]
    for letter in letters:
        assert "output_tokens_per_minute" in letter["reason"] and "at-small" in letter["reason"]
        assert "max_tokens" in letter["reason"] and "inferq limit set" in letter["reason"]
    assert len(four.seen.of("small")) == 6
