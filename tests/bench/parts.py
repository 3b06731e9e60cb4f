"""The parts of the bench: each measures one thing under two or more conditions, in one run.

A part is a function from Bench to {variant: {figure: value}}; PARTS lists them with their titles.
Figures are named in figures.py. What each one means stands in README.md.
"""
import collections.abc
import dataclasses
import json
import os
import statistics
import subprocess
import time

from crowd import history, park
from machine import Problem
from servers import (BODY_BYTES, database, fill, modelsim, new_prefix, program, say, server_pids,
                     servers_cpu_us, wait_for)
from trial import (Fleet, Meter, feed, report_trial, run_floor, run_workers, usage_us, wait_end)

WAIT_S = 120
PAUSE_S = 600  # the longest that a server may ask for, so the pause lasts while it is measured
LINES_PER_DIRECTORY = 100


@dataclasses.dataclass
class Sizes:
    """How much is run: jobs of the columns, of a side part's runs, and the crowds beside them."""

    column_jobs: int
    slow_jobs: int
    side_jobs: int
    rows: int
    parked: int
    deep: int
    shallow: int
    lines: int
    files: int
    lone_jobs: int = 200
    pace_us: int = 50_000
    idle_s: float = 10
    slow_in_flight: int = 10_000
    slow_latency: str = "10s"


TINY = Sizes(column_jobs=400, slow_jobs=300, side_jobs=300, rows=2000, parked=1000, deep=600,
             shallow=200, lines=300, files=100, lone_jobs=10, pace_us=20_000, idle_s=0.5,
             slow_in_flight=200, slow_latency="200ms")
USUAL = Sizes(column_jobs=100_000, slow_jobs=20_000, side_jobs=60_000, rows=1_000_000,
              parked=200_000, deep=150_000, shallow=10_000, lines=100_000, files=5_000)
FULL = Sizes(column_jobs=200_000, slow_jobs=30_000, side_jobs=100_000, rows=10_000_000,
             parked=1_000_000, deep=500_000, shallow=10_000, lines=500_000, files=20_000)


@dataclasses.dataclass
class Bench:
    directory: str
    sizes: Sizes


def in_turns(fleet, prefix, batch, rounds, each, created_ms=0):
    """What feed() calls: writes so many jobs, waits for their end, and again."""
    def write(await_stored):
        done = fleet.stored()
        for number in range(rounds):
            fill(prefix, each, batch=f"{batch}-{number}", created_ms=created_ms)
            done += each
            await_stored(done)
    return write


# ---- the three columns -------------------------------------------------------------------------


def column(bench, jobs, in_flight, latency):
    prefix = new_prefix()
    fill(prefix, jobs)
    with modelsim(bench.directory, latency) as model:
        floor = run_floor(bench, prefix, model, jobs, in_flight)
        report_trial("floor", floor)
        with database("worker") as psql:
            worker = run_workers(bench, prefix, model, psql, jobs, in_flight)
        report_trial("worker", worker)
    return {"floor": floor, "worker": worker}


def instant(bench):
    return column(bench, bench.sizes.column_jobs, 256, "0")


def fifty(bench):
    return column(bench, bench.sizes.column_jobs, 1000, "50ms")


def slow(bench):
    sizes = bench.sizes
    return column(bench, sizes.slow_jobs, sizes.slow_in_flight, sizes.slow_latency)


# ---- an idle queue -----------------------------------------------------------------------------


def percentile(values, share):
    """The smallest value that so many of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def delays_ms(acknowledged, moments):
    if acknowledged.keys() != moments.keys():
        raise Problem(f"{len(acknowledged)} jobs were sent, of {len(moments)} is known when they "
                      "were called")
    return [(moments[job] - at) / 1000 for job, at in acknowledged.items()]


def idle_latency(bench):
    """One job at a time, on a worker that has nothing else to do."""
    prefix, witness = new_prefix(), f"{bench.directory}/witness"
    with modelsim(bench.directory, witness=witness) as model, database("idle") as psql, \
            Fleet(bench, prefix, model, psql, send_ids=True) as fleet:
        fleet.await_ready()
        acknowledged = {}
        figures = feed(fleet, model, psql, bench.sizes.lone_jobs, lambda _: acknowledged.update(
            fill(prefix, bench.sizes.lone_jobs, pace_us=bench.sizes.pace_us)))
        claimed = dict(line.split("=") for line in psql.ask(
            "SELECT string_agg(job_id || '=' || (extract(epoch FROM claimed_at) * 1000000)::int8,"
            " ' ') FROM inferq.call").split())
        fleet.stop()
    called = {}
    with open(witness, encoding="ascii") as file:
        for line in map(json.loads, file):
            if line["kind"] == "begin":
                called[line["job"]] = line["at_us"]
    to_byte = delays_ms(acknowledged, called)
    to_claim = delays_ms(acknowledged, {job: int(at) for job, at in claimed.items()})
    say(f"  p50 {statistics.median(to_byte):.1f} ms, p99 {percentile(to_byte, 99):.1f} ms")
    return {"worker": {
        "byte_p50_ms": statistics.median(to_byte), "byte_p99_ms": percentile(to_byte, 99),
        "byte_max_ms": max(to_byte), "claim_p50_ms": statistics.median(to_claim),
        "both_us": figures.get("both_us"), "program_us": figures["program_us"],
        "idle_percent": figures["idle_percent"], "others_percent": figures["others_percent"]}}


# ---- more workers ------------------------------------------------------------------------------


def fleets(bench):
    jobs, prefix, variants = bench.sizes.column_jobs, new_prefix(), {}
    fill(prefix, jobs)
    with modelsim(bench.directory) as model:
        for workers in (1, 2, 4):
            with database(f"fleet_{workers}") as psql:
                variants[str(workers)] = run_workers(bench, prefix, model, psql, jobs,
                                                     workers=workers)
            report_trial(f"{workers} workers", variants[str(workers)])
    return variants


# ---- shared limits -----------------------------------------------------------------------------


def limits(bench):
    """None, and limits of every kind that do not bind, over the same records."""
    jobs, prefix, variants = bench.sizes.column_jobs, new_prefix(), {}
    fill(prefix, jobs)
    with modelsim(bench.directory) as model:
        for label, some in (("none", False), ("far off", True)):
            with database(f"limits_{int(some)}") as psql:
                variants[label] = run_workers(bench, prefix, model, psql, jobs, limits=some)
            report_trial(f"limits {label}", variants[label])
    return variants


# ---- rows that are there already ---------------------------------------------------------------


def seed(bench, model, psql):
    """A job that ran, whose rows are then copied; it brings the catalogue's rows too."""
    prefix = new_prefix()
    fill(prefix, 1, batch="seed")
    run_workers(bench, prefix, model, psql, 1)


def rows(bench):
    jobs, prefix, batch_ms = bench.sizes.side_jobs, new_prefix(), int(time.time() * 1000)
    fill(prefix, jobs, created_ms=batch_ms)
    variants = {}
    with modelsim(bench.directory) as model:
        for label, count in (("none", 0), ("loaded", bench.sizes.rows)):
            with database(f"rows_{label}") as psql:
                if count:
                    seed(bench, model, psql)
                    began = time.monotonic()
                    history(psql, count, batch_ms)
                    say(f"  {count:,} results and calls stand after "
                        f"{time.monotonic() - began:.0f} s")
                variants[label] = run_workers(bench, prefix, model, psql, jobs)
            report_trial(f"{label} rows", variants[label])
    return variants


# ---- parked jobs -------------------------------------------------------------------------------


def idle(bench, fleet):
    """CPU milliseconds a second of those who have nothing to do."""
    def taken():
        return {**servers_cpu_us(server_pids()), "program": fleet.cpu_us()}
    began, before = time.monotonic(), taken()
    time.sleep(bench.sizes.idle_s)
    after, seconds = taken(), time.monotonic() - began
    return {f"idle_{role}_ms_s": (after[role] - before[role]) / 1000 / seconds
            for role in ("program", "postgres") if role in after}


def hold(prefix, model, psql):
    """A job whose endpoint asks for patience: it is parked, and its endpoint pauses."""
    model.script(f"model=held status=429 error=openai retry-after={PAUSE_S}\n")
    fill(prefix, 1, batch="held", model="held")
    wait_for("the held job is parked", WAIT_S,
             lambda: psql.number("SELECT count(*) FROM inferq.parked") == 1)
    return int(psql.number("SELECT wait_key FROM inferq.parked"))


def parked_beside(bench, model, label, due=None):
    """Figures of one worker with parked jobs beside it: none, or so many that are not due, of the
    endpoint in use, or that are due, of one that is paused. Not one of them may move."""
    sizes, prefix, batch_ms = bench.sizes, new_prefix(), int(time.time() * 1000)
    rounds = max(2, sizes.side_jobs // sizes.shallow)
    with database("parked") as psql, Fleet(bench, prefix, model, psql, held=True) as fleet:
        fleet.await_ready()
        if due is not None:
            began, key = time.monotonic(), hold(prefix, model, psql)
            if not due:
                key = int(psql.number("SELECT endpoint_id FROM inferq.endpoint WHERE name = 'sim'"))
            park(psql, sizes.parked, batch_ms, key, due)
            say(f"  {sizes.parked:,} parked jobs stand after {time.monotonic() - began:.0f} s")
        figures = idle(bench, fleet)
        figures.update(feed(fleet, model, psql, rounds * sizes.shallow, in_turns(
            fleet, prefix, label, rounds, sizes.shallow, batch_ms)))
        if due is not None:
            still = psql.number("SELECT count(*) FROM inferq.parked WHERE taken_by IS NULL"
                                f" AND wait_key = {key}")
            if still < sizes.parked:
                raise Problem(f"of {sizes.parked} parked jobs {still:.0f} still wait: {label}")
            if max(fleet.metric("inferq_endpoint_paused_seconds", 'endpoint="held"')) <= 0:
                raise Problem("the held endpoint is no longer paused")
        fleet.stop()
    report_trial(label, figures)
    return figures


def parked(bench):
    variants = {}
    for label, due in (("none", None), ("not due", False), ("paused", True)):
        with modelsim(bench.directory) as model:
            variants[label] = parked_beside(bench, model, label, due)
    return variants


# ---- submit ------------------------------------------------------------------------------------


def write_inputs(bench):
    """(a file of many lines, a directory of many files), BODY_BYTES a document."""
    words = "the quick brown fox jumps over the lazy dog and runs on "
    words *= BODY_BYTES // len(words) + 1
    lines, directory = f"{bench.directory}/lines.txt", f"{bench.directory}/documents"
    with open(lines, "w", encoding="ascii") as file:
        for i in range(bench.sizes.lines):
            file.write(f"Document {i}. {words}"[:BODY_BYTES - 1] + "\n")
    for i in range(bench.sizes.files):
        if i % LINES_PER_DIRECTORY == 0:
            os.makedirs(f"{directory}/{i // LINES_PER_DIRECTORY:05}")
        with open(f"{directory}/{i // LINES_PER_DIRECTORY:05}/{i:07}.txt", "w",
                  encoding="ascii") as file:
            file.write(f"Document {i}. {words}"[:BODY_BYTES])
    return lines, directory


def submit_one(psql, documents, *arguments):
    """Figures of one run of inferq-submit, which must have put in so many documents."""
    prefix = new_prefix()
    meter = Meter(psql)
    began = time.monotonic()
    process = subprocess.Popen(
        [program("inferq-submit"), "--app", "bench", "--batch", prefix, "--prefix", prefix,
         "--signing.key", os.environ["INFERQ_SIGNING_KEY"], "--model", "small",
         "--max-output-tokens", "32", "--prompt", "Summarise: {document}", *arguments],
        env={**os.environ, "PGDATABASE": psql.name}, stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL)
    usage = wait_end(process, "inferq-submit")
    meter.stop(usage_us(usage))
    seconds = time.monotonic() - began
    if process.returncode != 0:
        raise Problem(f"inferq-submit ended with {process.returncode}")
    sealed = psql.number(f"SELECT total FROM inferq.batch WHERE name = '{prefix}'")
    if sealed != documents:
        raise Problem(f"inferq-submit put in {sealed:.0f} of {documents} documents")
    return {**meter.figures(documents, seconds), "rss_mib": usage.ru_maxrss / 1024}


def submit(bench):
    lines, directory = write_inputs(bench)
    sizes, variants = bench.sizes, {}
    with database("submit") as psql:
        for label, documents, arguments in (
                ("lines", sizes.lines, ("--format", "lines", lines)),
                ("files", sizes.files, (directory,))):
            variants[label] = submit_one(psql, documents, *arguments)
            report_trial(label, variants[label])
    return variants


# ---- backlogs ----------------------------------------------------------------------------------


def backlog(bench):
    """With little queued at any time, and with very much."""
    sizes, variants = bench.sizes, {}
    rounds = max(2, sizes.side_jobs // sizes.shallow)
    for label, count, each in (("shallow", rounds, sizes.shallow), ("deep", 1, sizes.deep)):
        prefix = new_prefix()
        with modelsim(bench.directory) as model, database("backlog") as psql, \
                Fleet(bench, prefix, model, psql) as fleet:
            fleet.await_ready()
            variants[label] = feed(fleet, model, psql, count * each,
                                   in_turns(fleet, prefix, label, count, each))
            fleet.stop()
        report_trial(f"{label} queued", variants[label])
    return variants


@dataclasses.dataclass
class Part:
    """`title` says what is measured; {sizes.NAME} in it are filled in."""

    name: str
    measure: collections.abc.Callable
    title: str


PARTS = [
    Part("instant", instant, "256 in flight, instant model, {sizes.column_jobs:,} jobs"),
    Part("50ms", fifty, "1,000 in flight, model 50 ms, {sizes.column_jobs:,} jobs"),
    Part("10s", slow, "{sizes.slow_in_flight:,} in flight, model {sizes.slow_latency},"
                      " {sizes.slow_jobs:,} jobs"),
    Part("idle-latency", idle_latency, "idle queue: {sizes.lone_jobs} jobs, one at a time"),
    Part("workers", fleets, "1, 2 and 4 workers, 256 in flight each, instant model,"
                            " {sizes.column_jobs:,} jobs"),
    Part("limits", limits, "shared limits that do not bind, {sizes.column_jobs:,} jobs"),
    Part("rows", rows, "{sizes.rows:,} results and calls in the tables before,"
                       " {sizes.side_jobs:,} jobs"),
    Part("parked", parked, "{sizes.parked:,} parked jobs standing by, {sizes.side_jobs:,} jobs"),
    Part("submit", submit, "inferq submit: {sizes.lines:,} lines, {sizes.files:,} files, of 1 KB"),
    Part("backlog", backlog, "{sizes.shallow:,} jobs queued at most, and {sizes.deep:,} at once"),
]
