"""Postgres taken away, cut off, slowed down, filled up and repartitioned under a working fleet.

A transaction that committed and whose answer was lost is the hard case: a proxy that knows where a
transaction ends (pgproxy.py) loses exactly that answer, for claims and for stores. modelsim is the
judge: it looks up every call's row, on its own connection, before it answers.
"""
import contextlib
import errno
import os
import pathlib
import random
import subprocess
import time
import uuid

import psycopg2
import pytest

import tally
from checks import conservation, finish
from crash import RECOVERY_S, Load, busy_world, ended, ours, report, requests, under_load
from harness import QUICK_LEASE, Message, model, stack, wait_for
from pgproxy import LOSE_REPLY, LOSE_REQUEST, PASS, Proxy

pytestmark = ours
long_only = pytest.mark.skipif(not tally.LONG, reason="mostly waits: in make chaos only")


def all_checked(world):
    """The witness asked for the row of every call, and was answered. (checks.py: none was missing.)"""
    summary = world.sim.summary()
    return summary["ledger_unverified"] == 0 and summary["ledger_checked"] == summary["requests"]


# ---- answers lost --------------------------------------------------------------------------------


class Cutter:
    """Every few transactions that hold one of its statements, one is cut; counts what it did. Each
    statement is counted on its own: a rare one gets its turn."""

    def __init__(self, rng, cuts):
        self.rng = rng
        self.left = dict(cuts)  # (statement, action) -> how many yet
        self.done = dict.fromkeys(cuts, 0)
        self.wait = {statement: 2 for statement, _ in cuts}

    def __call__(self, statements):
        for statement in {key[0] for key, left in self.left.items() if left} & set(statements):
            self.wait[statement] -= 1
        due = [key for key, left in self.left.items()
               if left and key[0] in statements and self.wait[key[0]] <= 0]
        if not due:
            return PASS
        key = self.rng.choice(due)
        self.wait[key[0]] = self.rng.randrange(1, 6)
        self.left[key] -= 1
        self.done[key] += 1
        return key[1]


def test_answers_are_lost_after_the_commit(lone_world, tmp_path, capsys):
    """Claims whose answer is lost are asked for again and found; stores are repeated and change
    nothing; what never arrived is sent again. No call is made twice."""
    jobs, times = (5000, 20) if tally.LONG else (1200, 6)  # and more jobs until all cuts have been made
    cutter = Cutter(random.Random(tally.SEED), {
        ("claim", LOSE_REPLY): times, ("store_called", LOSE_REPLY): times, ("facts", LOSE_REPLY): times // 3,
        ("claim", LOSE_REQUEST): times // 3, ("store_called", LOSE_REQUEST): times // 3,
        ("heartbeat", LOSE_REPLY): times // 3})
    world = busy_world(lone_world, workers=0)
    with Proxy(tally.fault) as proxy:
        proxy.judge = cutter
        for _ in range(2):
            world.start_worker(env=proxy.env)
        load = Load(world, tmp_path, jobs, "cut")

        def all_cut():
            # `facts` is asked after a lost claim, for all the jobs of it at once: how often is chance.
            if all(not left or (key[0] == "facts" and cutter.done[key])
                   for key, left in cutter.left.items()):
                return True
            load.keep_up(300)
            return False

        wait_for(all_cut, RECOVERY_S, "all the cuts")
        load.wait_ended()
        report(world, f"answers lost, seed {tally.SEED}: {cutter.done}", capsys)
        # Each says that its last statement is done, that nothing failed, and that no transaction is
        # open: it was committed.
        assert all(lost.endswith(b"Z\0\0\0\5I") and b"SERROR" not in lost
                   and any(word in lost for word in (b"INSERT 0", b"SELECT ", b"UPDATE "))
                   for lost in proxy.lost)
        assert world.sim.summary()["requests"] == load.total, "a cut store or claim made a call again"
        assert world.value("SELECT count(*) FROM call WHERE number > 1"
                           " AND code_name('class', class) = 'ok'") == world.value(
            "SELECT count(*) FROM call WHERE code_name('class', class) = 'unsent'")
        finish(world, crashed=True)
        assert all_checked(world)


def test_the_answer_to_a_takeover_is_lost(lone_world):
    """A dead worker's calls are taken over, and nobody hears that it was done: who did it finds its own
    claims in the ledger, and makes each call once."""
    jobs, cuts = 5, []
    world = lone_world()

    def judge(statements):
        if "take" in statements and not cuts:
            cuts.append(statements)
            return LOSE_REPLY
        return PASS

    with Proxy(tally.fault) as proxy:
        proxy.judge = judge
        world.start_worker(env=proxy.env)
        message = Message()
        gone = world.value("INSERT INTO worker (host, pid, build, lease_until, fenced) VALUES"
                           " ('elsewhere', 1, 'other', now(), true) RETURNING worker_id")
        for i in range(jobs):
            world.rows("INSERT INTO call (job_id, batch_id, worker_id, model_version_id, endpoint_id,"
                       " number, kind) SELECT %s, %s, %s, model_version_id, endpoint_id, 1, 1"
                       " FROM model_version", message.job_id(f"j{i}"), message.batch_id, gone)
        world.produce(*[message.pack(f"j{i}") for i in range(jobs)])
        world.seal(message, jobs)
        assert world.wait_ended(message.batch_id, RECOVERY_S)["succeeded"] == jobs
        assert cuts and "lose" in cuts[0]
        calls = world.calls(message.batch_id)
        assert [(c["number"], c["class"]) for c in calls] == [(1, "lost"), (2, "ok")] * jobs
        assert world.sim.summary()["requests"] == jobs
        finish(world, crashed=True)
        assert all_checked(world)


# ---- Postgres gone -------------------------------------------------------------------------------


def test_postgres_is_killed_in_a_loop(lone_world, tmp_path, capsys):
    """Whatever was sent to the model had its row on disk: none is missing after any of the kills."""
    kills = 6 if tally.LONG else 2
    rng = random.Random(tally.SEED)
    world = busy_world(lone_world, workers=2)
    load = Load(world, tmp_path, 1200, "loop")
    for i in range(kills):
        load.keep_up(1000)
        goal = load.ended() + rng.randrange(20, 600)
        wait_for(lambda g=goal: load.ended() >= g, 90, f"{goal} ended jobs before kill {i + 1}")
        under_load(world, load=load)
        stack("kill", "postgres")
        stack("start", "postgres")
        world.database.reconnect()
    load.wait_ended()
    assert len(world.live_workers()) == 2, "no worker gave up"
    report(world, f"Postgres killed {kills} times", capsys)
    assert world.sim.summary()["requests"] == load.total
    wait_for(lambda: all_checked(world), what="the row of every call looked up")
    finish(world, crashed=True)


def test_postgres_is_away_for_longer_than_the_lease(lone_world, tmp_path, capsys):
    """Calls in flight are answered meanwhile; what was answered is stored later and not paid twice.
    Nobody calls while nobody can claim. Owners come first when Postgres is back."""
    jobs, away_s = (5000, 120) if tally.LONG else (1500, 9)
    world = busy_world(lone_world, workers=2, latency="uniform:1s:2s", max_in_flight=150,
                       conf={} if tally.LONG else QUICK_LEASE)
    batch = world.submit(requests(tmp_path, jobs, "away"))
    under_load(world, 200)
    wait_for(lambda: ended(world, batch) > 100, what="stored results")
    stack("stop", "postgres")
    back = time.monotonic() + away_s
    try:
        wait_for(lambda: world.sim.summary()["in_flight"] == 0, 20, "an answer to every call")
        seen = world.sim.summary()["requests"]
        wait_for(lambda: time.monotonic() >= back, away_s + 1, "the end of the outage")
        assert world.sim.summary()["requests"] == seen, "calls while nothing could be claimed"
        assert not any(w.ready() for w in world.workers) and len(world.live_workers()) == 2
        held = sum(w.metric("inferq_store_queued") for w in world.workers)
    finally:
        stack("start", "postgres")
        world.database.reconnect()
    assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == jobs
    report(world, f"Postgres away for {away_s} s, with {held:.0f} answers held", capsys)
    assert held >= 50
    assert world.sim.summary()["requests"] == jobs, "an answer that was held was paid for again"
    assert world.value("SELECT count(*) FROM worker WHERE fenced") == 0
    wait_for(lambda: all_checked(world), what="the row of every call looked up")
    finish(world, crashed=True)


# ---- Postgres slow, and half there ---------------------------------------------------------------


@long_only
def test_postgres_answers_slowly(lone_world, tmp_path, capsys):
    """Two seconds for each answer: leases hold, nobody is fenced, nothing is called twice."""
    jobs = 3000
    world = busy_world(lone_world, workers=0, max_in_flight=400)
    with Proxy(tally.fault) as proxy:
        for _ in range(2):
            world.start_worker(env=proxy.env)
        proxy.delay_s = 2.0
        tally.fault("postgres slowed down")
        batch = world.submit(requests(tmp_path, jobs, "slow"))
        assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == jobs
        report(world, "Postgres answers after 2 s", capsys)
        assert world.sim.summary()["requests"] == jobs
        assert world.value("SELECT count(*) FROM worker WHERE fenced") == 0
        proxy.delay_s = 0.0
        finish(world)


@long_only
def test_postgres_is_half_open_for_one_worker(lone_world, tmp_path, capsys):
    """Its connections stand and say nothing. It notices after statement_timeout and 5 s, long after the
    other one has fenced it, and goes on under a new number. Its calls were answered meanwhile, its
    partitions were its own all the time: so nothing is paid twice."""
    limit_s = 30 + 5
    world = busy_world(lone_world, workers=1, latency="uniform:1s:2s", max_in_flight=100)
    with Proxy(tally.fault) as proxy:
        cut_off = world.start_worker(env=proxy.env)
        batch = world.submit(requests(tmp_path, 4000, "half"))
        under_load(world, 150)
        began = time.monotonic()
        proxy.silence()
        wait_for(lambda: cut_off.logged("postgres is away"), limit_s + 5, "a worker that notices")
        noticed_s = time.monotonic() - began
        proxy.speak()
        wait_for(cut_off.ready, 30, "a worker that is ready again")
        assert world.wait_ended(batch, RECOVERY_S)["succeeded"] == 4000
        report(world, f"Postgres half-open, noticed after {noticed_s:.1f} s", capsys)
        wait_for(lambda: world.value("SELECT count(*) FROM call WHERE done_at IS NULL") == 0, 60,
                 "an outcome of every call")
        assert world.value("SELECT count(*) FROM worker WHERE fenced") == 1
        assert world.sim.summary()["requests"] == 4000, "an answer that was held was paid for again"
        finish(world, crashed=True)


# ---- partitions ----------------------------------------------------------------------------------


def make_span(world, lower_ms, upper_ms):
    """A span of the past: ensure_partitions makes those of the future."""
    tag = time.strftime("%Y%m%d", time.gmtime(lower_ms / 1000))
    for table in ("result", "call"):
        world.rows("SELECT attach_partition(%s, %s, %s, %s)", table, tag, lower_ms, upper_ms)
    world.rows("INSERT INTO partition_span VALUES (%s, %s, %s)", lower_ms, upper_ms, tag)
    return tag


def drop_span(world, tag):
    """As an operator does: nobody is held up behind a lock, and no job of it can come back before it
    is gone, since its ids are refused first."""
    world.rows("DELETE FROM partition_span WHERE suffix = %s", tag)
    for table in ("result", "call"):
        world.rows(f"ALTER TABLE {table} DETACH PARTITION {table}_{tag} CONCURRENTLY")
        world.rows(f"DROP TABLE {table}_{tag}")


def test_partitions_come_and_go_under_load(lone_world, tmp_path, capsys):
    """Those of the future are made, of the past made and dropped, by hand and by the keeper: no
    transaction is refused, and nothing is lost."""
    rounds = 10 if tally.LONG else 4
    ahead = "UPDATE setting SET value = value + 1 WHERE name = 'partitions_ahead'"
    spans = "SELECT count(*) FROM partition_span"
    world = busy_world(lone_world, workers=2)
    (lower_ms, upper_ms), = world.rows("SELECT lower_ms, upper_ms FROM partition_span"
                                       " ORDER BY lower_ms LIMIT 1")
    width_ms = upper_ms - lower_ms
    had = world.value(spans)
    load = Load(world, tmp_path, 1500, "parts")
    for i in range(rounds):
        load.keep_up(600)
        wait_for(lambda n=load.ended(): load.ended() > n + 100, 60, "jobs that end")
        under_load(world, 30, load, left=1500)
        world.rows(ahead)
        world.rows("SELECT ensure_partitions()")
        tally.fault("partitions made and dropped")
        drop_span(world, make_span(world, lower_ms - (i + 2) * width_ms,
                                   lower_ms - (i + 1) * width_ms))
    assert load.total - load.ended() >= 30, "the load ended before the partitions were made"
    world.rows(ahead)
    load.wait_ended()
    wait_for(lambda: world.value(spans) == had + rounds + 1, 20, "a partition made by the keeper")
    report(world, f"{rounds} rounds of partitions made and dropped", capsys)
    for worker in world.workers:
        assert not worker.logged("postgres refused") and not worker.logged("housekeeping failed")
    finish(world)


def test_a_partition_is_dropped_under_jobs_that_wait(lone_world):
    """Jobs of a span that goes while they wait in a lane, are claimed or run have no place any more:
    they become letters without a job, and all others go on."""
    world = lone_world(models=[model("narrow", max_in_flight=2)], latency="500ms")
    (lower_ms, upper_ms), = world.rows("SELECT lower_ms, upper_ms FROM partition_span"
                                       " ORDER BY lower_ms LIMIT 1")
    span = make_span(world, 2 * lower_ms - upper_ms, lower_ms)
    worker = world.start_worker()
    old = Message(batch="old", created_ms=lower_ms - 1000)
    body = {"model": "narrow", "messages": [{"role": "user", "content": "x"}]}
    world.produce(*[old.pack(f"old-{i}", body=body) for i in range(80)])
    wait_for(lambda: world.value("SELECT count(*) FROM result") >= 2, what="results of the old batch")
    tally.fault("partition dropped under its jobs")
    drop_span(world, span)
    batch = world.ask(*[f"text {i}" for i in range(100)])
    assert world.wait_ended(batch, 40)["succeeded"] == 100
    wait_for(lambda: worker.metric("inferq_jobs") == 0, 60, "a worker that holds nothing")
    gone = [letter for letter in world.letters() if letter["class"] == "forged_id"]
    assert len(gone) >= 20 and all("oldest results kept" in letter["reason"] for letter in gone)
    world.stop_workers()
    assert all(max(c["committed"], c["low"]) == c["high"] for c in world.committed())


# ---- no room -------------------------------------------------------------------------------------


def superuser():
    connection = psycopg2.connect(dbname="postgres", user="postgres")
    connection.autocommit = True
    return contextlib.closing(connection)


@pytest.fixture
def small_disk(monkeypatch):
    """A file system of 64 MB under Postgres, on which whatever is created from now on lies; its
    mount point. Only root may mount."""
    name = f"small{uuid.uuid4().hex[:8]}"
    place = pathlib.Path(os.environ["INFERQ_STACK_DIR"]) / name
    owner = os.stat(place.parent / "postgres")
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size=64m,mode=700,uid={owner.st_uid},gid={owner.st_gid}",
         "none", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        place.rmdir()
        pytest.skip(f"A FULL DISK UNDER POSTGRES IS NOT TESTED HERE: {mounted.stderr.strip()}")
    try:
        with superuser() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'")
            cursor.execute(f"GRANT CREATE ON TABLESPACE {name} TO PUBLIC")
        monkeypatch.setenv("PGOPTIONS", f"-c default_tablespace={name}")
        yield place
        monkeypatch.delenv("PGOPTIONS")
        # A failed test's database is kept, though what it had here goes.
        with (superuser() as connection, connection.cursor() as cursor,
              contextlib.suppress(psycopg2.errors.DependentObjectsStillExist)):
            cursor.execute(f"DROP TABLESPACE {name}")
    finally:
        # Lazily: a checkpoint may have a dropped file open.
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def fill(place):
    """A file as large as there is room."""
    ballast = place / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as full:
            assert full.errno == errno.ENOSPC
    tally.fault("disk full")
    return ballast


def test_the_disk_under_postgres_is_full(small_disk, lone_world, tmp_path, capsys):
    """Workers say so and wait, with what they were answered; when there is room they go on."""
    rounds = 3 if tally.LONG else 1
    world = busy_world(lone_world, workers=2)
    load = Load(world, tmp_path, 1500, "full")
    for _ in range(rounds):
        load.keep_up(1200)
        wait_for(lambda n=load.ended(): load.ended() > n + 300, 60, "jobs that end")
        under_load(world, load=load, left=1200)
        said = [worker.log().count("sqlstate=53100") for worker in world.workers]
        ballast = fill(small_disk)
        wait_for(lambda before=said: all(worker.log().count("sqlstate=53100") > n for worker, n
                                         in zip(world.workers, before)), 60, "workers that say so")
        wait_for(lambda: world.sim.summary()["in_flight"] == 0, what="no calls any more")
        assert not list(conservation(world)) and load.ended() < load.total
        ballast.unlink()
    load.wait_ended()
    report(world, f"the disk full {rounds} times", capsys)
    assert world.sim.summary()["requests"] == load.total, "what was answered was paid for again"
    finish(world, crashed=True)
