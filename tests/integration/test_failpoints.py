"""Failpoints: a worker dies by kill -9 at every place of its table, arrow by arrow, on the real stack,
while others go on; then the guarantees are asked for.

One world; the victims come in rounds, each with one failpoint, set to a random hit of those that it
passes with at least 50 calls in flight (where the place is met under load). The load holds jobs for
every arrow that some living victim waits for (failpoint_load.py). The seed is printed by the runner;
INFERQ_CHAOS_SEED repeats it. The long form (INFERQ_CHAOS=1, three minutes) visits all places, the
short one, of a minute, those of SHORT.
"""
import random
import re
import signal
import time

import pytest

import tally
from checks import finish
from failpoint_load import MODELS, PARTITIONS, Bulk, Odd, signing_key
from harness import BIN, QUICK_LEASE, VARIANT, Late, run, wait_for

IN_FLIGHT_MIN = 50
# What the short form runs, in one round: the ways to and from CLAIM, CALL, STORE and PARK, and the edges
# around them, in so far as any job takes them or a few do at once.
SHORT = ["path.throttle>claim", "path.claim>call", "path.call>parse", "path.check>store",
         "path.store>settled", "path.store>retry", "path.store>park", "path.throttle>park",
         "path.park>settled", "path.claim>store", "path.claim>settled", "path.claim>wait",
         "claim.sent", "claim.answered", "store.sent", "store.answered", "park.sent",
         "park.answered", "take.sent", "take.answered"]
ROUND, LEFT = 16, 6  # victims at once; so many may be left when the next are started
ODD_EVERY_S, BULK_EVERY_S = 2.0, 1.0
KILLED = -9

# By which odd jobs a place is reached; where nothing stands, the plain jobs do.
REACHED_BY = {
    "bury.sent": ["garbage"], "bury.answered": ["garbage"], "path.fetched>bury": ["garbage"],
    "path.bury>settled": ["garbage"], "path.admit>bury": ["forged"],
    "path.claim>bury": ["dropped"] * 2, "path.store>bury": ["droppedcall"] * 2,
    "path.throttle>bury": ["droppedlane"] * 2, "path.throttle>settled": ["narrow"],
    "path.admit>store": ["expired"], "path.route>store": ["nowhere"],
    "outcome.answered": ["retried"], "path.store>retry": ["retried"],
    "path.retry>throttle": ["retried"], "path.retry>settled": ["retried"] * 2,
    "path.store>park": ["parked"], "path.throttle>park": ["parked"],
    "path.park>settled": ["parked"], "park.sent": ["parked"], "park.answered": ["parked"],
    "pull.sent": ["parked"], "pull.answered": ["parked"],
    "path.store>throttle": ["reasked"], "path.store>store": ["refused"],
    "path.park>store": ["unparkable"], "path.throttle>store": ["narrow"] * 2,
    "path.fetched>wait": ["twin"], "path.wait>fetched": ["twin"], "path.wait>settled": ["twin"],
    "path.claim>settled": ["twin"], "path.fetched>settled": ["slowtwin"],
    "path.settled>claim": ["crossing"],
    "path.store>route": ["long"], "path.claim>route": ["long"] * 3,
    "facts.sent": ["orphan"], "facts.answered": ["orphan"], "take.sent": ["orphan"],
    "take.answered": ["orphan"], "path.claim>store": ["spent"],
    "path.claim>wait": ["owned"], "path.wait>throttle": ["owned"], "path.claim>park": ["owned"],
    "path.store>claim": ["late"], "path.wait>claim": ["late"],
    **{name: ["invalid"] for name in ("letters.answered", "letter.send", "letter.sent",
                                      "letter.published", "letters.mark", "letters.marked")},
}
# Only the keeper of the house publishes letters: these take turns, one elected after the other, or
# after another victim who was elected has died.
KEEPERS = [name for name in REACHED_BY if name.startswith("letter")]
# Workers without jobs (they watch topics of another prefix): these publish the letters, or are fenced
# in mid-life, which none may be who has calls in flight.
ASIDE = [*KEEPERS, "lease.fenced"]
# Met when the worker's calls have ended or it has none: no load is asked for.
UNLOADED = {"assign.take": "nothing has been fetched yet", "stop.sent": "after the drain",
            "revoke.taken": "whenever others join",
            "revoke.commit": "calls had 3 s to end", "revoke.committed": "calls had 3 s to end",
            "path.wait>settled": "at a drain or a rebalance", "lease.fenced": "it has no jobs",
            "path.retry>settled": "at a drain or a rebalance",
            "path.claim>bury": "the refused batch, and so all claims, waited before",
            "path.store>bury": "claims were refused as well, and waited",
            "path.throttle>bury": "claims were refused, and waited, when the worker heard of it",
            "path.settled>claim": "claims waited behind the slow payload",
            **{name: "they have no jobs" for name in KEEPERS}}
# A SIGTERM brings them there; those with a state once a job is in it.
STOPPED_IN = {"stop.sent": None, "revoke.commit": None, "revoke.committed": None,
              "path.throttle>settled": "throttle", "path.retry>settled": "retry",
              "path.wait>settled": "wait"}
FEW, OFTEN = 3, 30  # hits at most of a place that few jobs reach; that all do
# Once in seconds, whatever jobs there are.
SELDOM = ("lease.", "fence.", "pull.")

needs_failpoints = pytest.mark.skipif(VARIANT == "release",
                                      reason="release builds have no failpoints: run it on asan")


def places():
    """[(name, source file)...] of the program under test."""
    done = run(BIN / "inferq-worker", env={"INFERQ_FAILPOINT": "list"}, ok=(2,))
    found = [line.split()[:2] for line in done.stderr.splitlines() if line.startswith("  ")]
    assert len(found) > 60, done.stderr
    return [(name, source) for name, source in found]


def aside(world):
    """The prefix of topics without jobs."""
    return f"{world.name}-aside"


def keeps_house(worker):
    """It was elected: it alone publishes letters, until it ends."""
    return "keeps house for the fleet" in worker.log()


# ---- victims -------------------------------------------------------------------------------------


class Victim:
    """A worker that is to die at a failpoint."""

    def __init__(self, world, name, rng):
        self.name = name
        self.hits_path = world.tmp / f"hits-{name}"
        self.load = 1 if name in UNLOADED else IN_FLIGHT_MIN
        nth = rng.randint(1, FEW if name in REACHED_BY else OFTEN)
        if name in UNLOADED or name in STOPPED_IN or name.startswith(SELDOM):
            nth = 1
        load = "" if name in UNLOADED else f"+{IN_FLIGHT_MIN}"
        how = {"prefix": aside(world), "group": aside(world)}
        self.worker = world.start_worker(
            ready=False, env={"INFERQ_FAILPOINT": f"{name}{load}@{nth}=kill",
                              "INFERQ_FAILPOINT_LOG": str(self.hits_path)},
            **(how if name in ASIDE else {}))
        self.told_to_stop = False
        self.promised = None  # the end of its lease, as it knows it, where Postgres has another

    def dead(self):
        return not self.worker.alive

    def restore_lease(self, world):
        """Its last calls were sent under the lease that it knew of."""
        if self.promised:
            world.rows("UPDATE worker SET lease_until = greatest(lease_until, %s) WHERE worker_id = %s",
                       self.promised, self.id())

    def hits(self):
        """{place: how often it was passed}"""
        return {line.split()[0]: int(line.split()[1])
                for line in self.hits_path.read_text().splitlines()}

    def kinds(self):
        return REACHED_BY.get(self.name, [])

    def id(self):
        """Its row's; None until it has one."""
        found = re.findall(r"msg=registered worker=(\d+)", self.worker.log())
        return int(found[-1]) if found else None

    def provoke(self, world):
        """What jobs alone do not bring about."""
        if self.name == "path.claim>throttle" and self.has_load():
            # Its lease is over by Postgres's clock, once what was claimed under it is sent; and is
            # renewed before anybody fences it.
            self.promised = world.value(
                "UPDATE worker w SET lease_until = now() + interval '0.3 s' FROM worker before"
                " WHERE w.worker_id = %s AND w.lease_until > now() + interval '1 s'"
                " AND before.worker_id = w.worker_id RETURNING before.lease_until",
                self.id()) or self.promised
        if self.name == "lease.fenced" and self.id():
            # Not beside a call (of a row that it pulled), or the call's successor would be in the right.
            world.rows("UPDATE worker w SET fenced = true WHERE worker_id = %s AND NOT EXISTS"
                       " (SELECT FROM call c WHERE c.worker_id = w.worker_id AND done_at IS NULL)",
                       self.id())
        if self.name in STOPPED_IN and not self.told_to_stop:
            self.stop_in(STOPPED_IN[self.name])

    def has_load(self, state=None):
        """It is ready, has as many calls as it needs, and a job in this state."""
        try:
            return (self.id() is not None and self.worker.ready()
                    and self.worker.metric("inferq_calls_in_flight") >= self.load
                    and (state is None or self.worker.metric("inferq_jobs", state=state)))
        except AssertionError:  # the harness does not expect it to be gone by now
            if self.worker.alive:
                raise
            return False

    def stop_in(self, state):
        if self.has_load(state):
            self.worker.signal(signal.SIGTERM)
            self.told_to_stop = True

    def check(self):
        """It died of its failpoint; what it said then: (calls in flight, hits that counted)."""
        assert self.worker.process.returncode == KILLED, self.name
        said = re.findall(rf'msg=failpoint name="?{re.escape(self.name)}"? action=kill'
                          r" hit=(\d+) load=(\d+)", self.worker.log())
        assert len(said) == 1 and self.hits()[self.name] >= 1, (self.name, said)
        return int(said[0][1]), int(said[0][0])


class Siege:
    """The world under load, and what was done to it."""

    def __init__(self, world):
        self.world = world
        self.rng = random.Random(tally.SEED)
        self.bulk, self.odd = Bulk(world), Odd(world)
        self.killed = []
        self.company = None  # for the last of them: a worker that is to live
        self.odd_at = self.bulk_at = self.killing_s = 0.0

    def feed(self, victims):
        """New jobs for the victims that live, every other second; and as many calls as they take."""
        now = time.monotonic()
        if now - self.odd_at >= ODD_EVERY_S:
            self.odd_at = now
            wanted = {tuple(victim.kinds()) for victim in victims}
            self.odd.feed(sorted(kind for kinds in wanted for kind in kinds))
        loaded = sum(v.worker.alive and v.name not in ASIDE for v in victims)
        if (now - self.bulk_at >= BULK_EVERY_S
                and self.world.sim.summary()["in_flight"] < 80 * loaded):  # more would wait in lanes
            self.bulk_at = now
            self.bulk.feed(50 * loaded)

    def kill(self, names, size):
        """Starts a victim for each, a round of this size at once; the next round when few are left."""
        living = []
        while names or living:
            living += [Victim(self.world, name, self.rng) for name in names[:size]]
            names = names[size:]
            wait_for(lambda: self.world.value("SELECT count(*) FROM model_version"),
                     what="a worker's catalogue in Postgres")
            living = self.go_on(living, LEFT if names else 0)

    def go_on(self, living, until_left):
        """Until so few live on; returns these."""

        def fallen():
            for victim in [v for v in living if v.dead()]:
                living.remove(victim)
                if victim.told_to_stop and victim.worker.process.returncode == 0:
                    # Its jobs had left the state before the signal came: once more.
                    living.append(Victim(self.world, victim.name, self.rng))
                    continue
                victim.restore_lease(self.world)
                self.killed.append(victim)
                tally.fault(f"killed at {victim.name}")
            if len(living) <= until_left:
                return True
            self.keep_company(living)
            for victim in living:
                victim.provoke(self.world)
            self.feed(living)
            return False

        try:
            wait_for(fallen, 180, "the end of every victim", every=0.1)
        except Late as late:
            left = {v.name: v.hits()[v.name] for v in living}
            raise Late(f"alive, and so often there: {left}; {late}") from None
        return living

    def keep_company(self, living):
        """Letters are of jobs, and the last victims have none: while one of those keeps the house, a
        worker that is to live makes some. It must not become the keeper, whom they wait to be."""
        if self.company and keeps_house(self.company):
            self.company.stop()
            self.company = None
        if (not self.company and all(victim.name in ASIDE for victim in living)
                and any(keeps_house(victim.worker) for victim in living)):
            self.company = self.world.start_worker()


def report(siege, started, capsys):
    loads = {v.name: v.check() for v in siege.killed}
    with capsys.disabled():
        print(f"\nseed {tally.SEED}: {len(loads)} failpoints, {sum(j for _, j in siege.bulk.batches)}"
              f" plain and {len(siege.odd.jobs)} odd jobs, {siege.killing_s:.0f} s of killing,"
              f" {time.monotonic() - started:.0f} s until the last end;"
              f" calls in flight at each kill: {sorted(load for load, _ in loads.values())}")
    return loads


@needs_failpoints
def test_kill_9_at_every_failpoint(lone_world, tmp_path, capsys):
    """Guarantees 1, 2, 3 and 5, wherever a worker is cut; the short form: at the places of SHORT."""
    started = time.monotonic()
    ring = tmp_path / "ring"
    ring.write_text(signing_key()[0])
    ring.chmod(0o600)
    world = lone_world(models=MODELS, latency="uniform:2s:4s", partitions=PARTITIONS, conf={
        **QUICK_LEASE, "kafka.session.timeout.ms": "3000", "kafka.heartbeat.interval.ms": "500",
        "signature.check": "require", "signature.keys": f"file:{ring}", "short_wait": "4s",
        "max_in_flight": "100", "max_attempts": "90"})
    world.inferq("topics", "--partitions", "1", env={"INFERQ_PREFIX": aside(world)})
    if not tally.LONG:
        # One without jobs fences the dead meanwhile, and the end comes sooner. (In the long form it
        # would be the keeper of the house, which some victims must become.)
        world.start_worker(prefix=aside(world), group=aside(world))
    siege = Siege(world)
    registered = [name for name, _ in places()]
    names = list(registered if tally.LONG else SHORT)
    assert set(names) <= set(registered)
    siege.rng.shuffle(names)
    # First those that wait for one another, and those for whom rebalances are; with company.
    names.sort(key=lambda name: name not in KEEPERS and name not in STOPPED_IN)
    siege.kill(names, ROUND if tally.LONG else len(names))
    siege.killing_s = time.monotonic() - started
    healthy = world.start_worker(max_in_flight="1000")
    siege.odd.seal()
    for batch, _ in siege.bulk.batches:
        world.wait_ended(batch, 90)
    world.wait_ended(siege.odd.message.batch_id, 90)
    loads = report(siege, started, capsys)
    assert loads.keys() == set(names)
    assert all(load >= IN_FLIGHT_MIN for name, (load, _) in loads.items() if name not in UNLOADED)
    finish(world, crashed=True)
    siege.bulk.check_endings()
    siege.odd.check_endings()
    assert healthy.process.returncode == 0
