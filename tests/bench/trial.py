"""One run of one program: the bare loop, or a fleet of workers; and what it cost.

Happy path: a Meter is made, the program works, stop() at once after its last result, figures() when
it is known that the run was whole. What goes wrong (a job that did not succeed, a call too many or
too few, a program that ends early or takes too long) is a Problem: no figure of such a run is seen.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
import urllib.request

from machine import Problem, cores_us, cpu_us, peak_rss_kib
from servers import (START_TIMEOUT_S, checkpoint, database, program, say, server_pids,
                     servers_cpu_us, tail, topic, wait_for)

RUN_TIMEOUT_S = 900
POLL_S = 0.25

CATALOGUE = """\
catalogue: bench
endpoints:
  - name: sim
    base_url: {url}
    max_in_flight: {in_flight}
    timeout: 2m
    connect_timeout: 30s
    send_ids: {send_ids}
{limits}{more_endpoints}models:
  - name: small
    versions:
      - version: "1"
        upstream_model: small
        endpoint: sim
        context_tokens: 32768
        max_output_tokens: 4096
        prices:
          - from: 2025-01-01
            input_per_million_usd: 0.15
            output_per_million_usd: 0.60
{more_models}"""

# Of every kind, so large that they never bind: what it costs to keep them.
LIMITS = """\
    limits:
      requests_per_minute: 10_000_000
      input_tokens_per_minute: 10_000_000_000
      output_tokens_per_minute: 10_000_000_000
      tokens_per_minute: 10_000_000_000
      tokens_per_day: 10_000_000_000_000
      in_flight: 1_000_000
"""

HELD_ENDPOINT = """\
  - name: held
    base_url: {url}
"""
HELD_MODEL = """\
  - name: held
    versions:
      - {version: "1", upstream_model: held, endpoint: held}
"""

SETTINGS = """\
prefix = {prefix}
group = {prefix}-{database}
catalogue = {directory}/catalogue.yaml
listen = 127.0.0.1:0
max_in_flight = {in_flight}
signature.check = require
signature.keys = file:{directory}/ring
log.level = info
"""


class Meter:
    """What servers, machine and tables spend from its making to stop(). `model` is None where none
    is called. `pids`: programs that run all the while; others' time is known from their end."""

    def __init__(self, psql, model=None, pids=()):
        self.psql = psql
        self.model = model
        self.pids = pids
        self.servers = server_pids()
        if model:
            self.servers["modelsim"] = model.pid
            model.forget()
        self.mark = psql.ask("SELECT clock_timestamp()")
        self.before = self._now()

    def _now(self):
        taken = servers_cpu_us(self.servers)
        taken["busy"], taken["idle"], taken["stolen"] = cores_us()
        taken["program"] = sum(cpu_us(pid) for pid in self.pids)
        taken["wal"] = self.psql.wal_bytes()
        taken["disk"] = self.psql.disk_bytes()
        taken["commits"] = self.psql.commits()
        taken["wall"] = time.monotonic() * 1e6
        return taken

    def stop(self, program_us=None):
        after = self._now()
        self.spent = {name: after[name] - self.before[name] for name in after}
        if program_us is not None:
            self.spent["program"] = program_us

    def figures(self, jobs, seconds):
        """Of a whole run of so many jobs, which took so long from the first to the last."""
        spent = self.spent
        figures = {"rate": jobs / seconds, "wal_bytes": spent["wal"] / jobs,
                   "disk_bytes": spent["disk"] / jobs, "commits": 1000 * spent["commits"] / jobs}
        known = 0
        for name in ("program", "postgres", "kafka", "modelsim"):
            if name in spent:
                figures[f"{name}_us"] = spent[name] / jobs
                known += spent[name]
        if "postgres" in spent:
            figures["both_us"] = figures["program_us"] + figures["postgres_us"]
        total = spent["busy"] + spent["idle"] + spent["stolen"]
        figures["idle_percent"] = 100 * max(0, spent["idle"]) / total  # a tick may be taken back
        figures["others_percent"] = 100 * max(0, spent["busy"] - known) / total
        figures["stolen_percent"] = 100 * spent["stolen"] / total
        return figures

    def check_calls(self, jobs):
        calls = self.model.calls()
        if calls != jobs:
            raise Problem(f"{jobs} jobs, but modelsim saw {calls} calls")


def wait_end(process, what):
    """Resources of a process that ends by itself; killed when that takes too long, and when the
    bench itself is told to end."""
    end = time.monotonic() + RUN_TIMEOUT_S
    try:
        while time.monotonic() < end:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage
            time.sleep(0.02)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    raise Problem(f"{what}: not done after {RUN_TIMEOUT_S} s")


def usage_us(usage):
    return (usage.ru_utime + usage.ru_stime) * 1e6


# ---- histograms --------------------------------------------------------------------------------


def quantile(buckets, share):
    """Seconds, interpolated within the bucket; `buckets` are pairs of an upper bound and how many
    lie up to it, the last without a bound. None where nothing was observed."""
    if not buckets or buckets[-1][1] == 0:
        return None
    wanted = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for upper, count in buckets:
        if count >= wanted:
            if upper == float("inf"):
                return lower
            return lower + (upper - lower) * (wanted - below) / (count - below)
        lower, below = upper, count
    return None


def turn_figures(buckets):
    return {f"turn_p{percent}_ms": seconds * 1000 for percent in (50, 99)
            if (seconds := quantile(buckets, percent / 100)) is not None}


# ---- the bare loop -----------------------------------------------------------------------------


def run_floor(bench, prefix, model, jobs, in_flight):
    """Figures of bench-floor over the topic's first jobs."""
    with database("floor", migrated=False) as psql, \
            open(f"{bench.directory}/floor.out", "w+b") as out:
        checkpoint()
        meter = Meter(psql, model)
        process = subprocess.Popen(
            [program("bench-floor"), "--topic", topic(prefix), "--group", f"{prefix}-floor",
             "--url", f"{model.url}/v1/chat/completions", "--jobs", str(jobs), "--in-flight",
             str(in_flight)],
            env={**os.environ, "PGDATABASE": psql.name}, stdout=out, stdin=subprocess.DEVNULL)
        usage = wait_end(process, "bench-floor")
        if process.returncode != 0:
            raise Problem(f"bench-floor ended with {process.returncode}")
        meter.stop(usage_us(usage))
        out.seek(0)
        said = json.load(out)
        meter.check_calls(jobs)
        stored = psql.number("SELECT count(DISTINCT job_id) FROM bench.result")
        if stored != jobs:
            raise Problem(f"bench-floor stored {stored:.0f} of {jobs} jobs")
    buckets, below = [], 0
    for upper, count in said["turns"]:
        below += count
        buckets.append((float("inf") if upper is None else upper, below))
    return {**meter.figures(jobs, said["seconds"]), **turn_figures(buckets),
            **memory_figures(usage.ru_maxrss, in_flight)}


def memory_figures(kib, in_flight):
    return {"rss_mib": kib / 1024, "rss_kib_call": kib / in_flight}


# ---- workers -----------------------------------------------------------------------------------


class Fleet:
    """Workers of one group, over one topic, into one database. `held`: their catalogue has a second
    model, at an endpoint of its own. `limits`: their endpoint has some, which do not bind."""

    def __init__(self, bench, prefix, model, psql, in_flight=256, workers=1, send_ids=False,
                 held=False, limits=False):
        self.psql = psql
        self.in_flight = in_flight
        self.workers = workers
        self.processes = []
        directory = bench.directory
        values = {"prefix": prefix, "directory": directory, "in_flight": in_flight,
                  "url": model.url, "database": psql.name, "send_ids": str(send_ids).lower()}
        values["more_endpoints"] = HELD_ENDPOINT.format(url=model.url) if held else ""
        values["more_models"] = HELD_MODEL if held else ""
        values["limits"] = LIMITS if limits else ""
        with open(os.environ["INFERQ_SIGNING_KEY"].removeprefix("file:"), encoding="ascii") as file:
            key = file.read().strip()
        for file_name, text in (("catalogue.yaml", CATALOGUE.format(**values)),
                                ("worker.conf", SETTINGS.format(**values)),
                                ("ring", f"bench default:{key}\n")):
            with open(f"{directory}/{file_name}", "w", encoding="ascii") as file:
                file.write(text)
        self.directory = directory
        self.env = {**os.environ, "PGDATABASE": psql.name}

    def _log(self, number):
        return f"{self.directory}/worker-{number}.log"

    def __enter__(self):
        for number in range(self.workers):
            with open(self._log(number), "wb") as log:
                self.processes.append(subprocess.Popen(
                    [program("inferq-worker"), "--config", f"{self.directory}/worker.conf"],
                    env=self.env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL))
        return self

    def __exit__(self, *_):
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                process.wait()

    def pids(self):
        return [process.pid for process in self.processes]

    def _port(self, number):
        with open(self._log(number), encoding="utf-8", errors="replace") as log:
            found = re.search(r"listening.*?port=(\d+)", log.read())
        return found and int(found.group(1))

    def _get(self, number, path):
        port = self._port(number)
        if not port:
            return None
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as reply:
                return reply.read().decode()
        return None

    def await_ready(self):
        for number, process in enumerate(self.processes):
            wait_for(f"inferq-worker: ready\n{tail(self._log(number))}", START_TIMEOUT_S,
                     lambda n=number: self._get(n, "/readyz"), process)

    def stored(self):
        """All that ended so far, in this database."""
        return int(self.psql.number("SELECT coalesce(sum(n), 0) FROM inferq.progress"))

    def await_stored(self, total):
        end = time.monotonic() + RUN_TIMEOUT_S
        while (stored := self.stored()) < total:
            for number, process in enumerate(self.processes):
                if process.poll() is not None:
                    raise Problem(f"inferq-worker ended with {process.returncode} after {stored} "
                                  f"jobs:\n{tail(self._log(number))}")
            if time.monotonic() > end:
                raise Problem(f"inferq-worker: {stored} of {total} jobs after {RUN_TIMEOUT_S} s:\n"
                              f"{tail(self._log(0))}")
            time.sleep(POLL_S)

    def metric(self, name, label=""):
        """Lines `name{..label..} value` of all workers, as floats."""
        found = []
        for number in range(self.workers):
            text = self._get(number, "/metrics") or ""
            found += [float(value) for labels, value in re.findall(
                rf"^{name}(\{{.*?\}})? (\S+)$", text, re.MULTILINE) if label in labels]
        return found

    def turns(self):
        """The turns of all workers' loops, as quantile() takes them."""
        total = {}
        for number in range(self.workers):
            for le, count in re.findall(r'^inferq_loop_turn_seconds_bucket{le="([^"]+)"} (\S+)',
                                        self._get(number, "/metrics") or "", re.MULTILINE):
                total[float(le)] = total.get(float(le), 0) + float(count)
        return sorted(total.items())

    def cpu_us(self):
        return sum(cpu_us(pid) for pid in self.pids())

    def memory(self):
        kib = sum(peak_rss_kib(pid) for pid in self.pids())
        return memory_figures(kib, self.in_flight * self.workers)

    def stop(self):
        """SIGTERM; each must end with 0. Their CPU time from start to end."""
        total = 0
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for number, process in enumerate(self.processes):
            total += usage_us(wait_end(process, "inferq-worker"))
            if process.returncode != 0:
                raise Problem(f"inferq-worker ended with {process.returncode}:\n"
                              f"{tail(self._log(number))}")
        return total

    def seconds(self, mark):
        """From the first claim since then to the last result."""
        return self.psql.number(
            f"SELECT extract(epoch FROM"
            f" (SELECT max(finished_at) FROM inferq.result WHERE finished_at >= '{mark}')"
            f" - (SELECT min(claimed_at) FROM inferq.call WHERE claimed_at >= '{mark}'))")

    def check(self, mark, jobs):
        succeeded = self.psql.number(
            f"SELECT count(*) FROM inferq.result WHERE finished_at >= '{mark}' AND status = 1")
        if succeeded != jobs:
            raise Problem(f"{succeeded:.0f} of {jobs} jobs succeeded")


def run_workers(bench, prefix, model, psql, jobs, in_flight=256, workers=1, limits=False):
    """Figures of workers that are started on a full topic, from their start to their end."""
    fleet = Fleet(bench, prefix, model, psql, in_flight, workers, limits=limits)
    total = fleet.stored() + jobs
    checkpoint()
    meter = Meter(psql, model)
    with fleet:
        fleet.await_stored(total)
        meter.stop()
        figures = {**fleet.memory(), **turn_figures(fleet.turns())}
        meter.spent["program"] = fleet.stop()
        meter.check_calls(jobs)
        fleet.check(meter.mark, jobs)
        return {**meter.figures(jobs, fleet.seconds(meter.mark)), **figures}


def feed(fleet, model, psql, jobs, write):
    """Figures of workers that stand ready, over the jobs that write() puts in, once or in turns:
    it is called with what awaits their end."""
    total = fleet.stored() + jobs
    checkpoint()
    meter = Meter(psql, model, fleet.pids())
    write(fleet.await_stored)
    fleet.await_stored(total)
    meter.stop()
    meter.check_calls(jobs)
    fleet.check(meter.mark, jobs)
    return meter.figures(jobs, fleet.seconds(meter.mark))


def report_trial(name, figures):
    say(f"  {name}: {figures['rate']:,.0f} jobs/s, {figures['program_us']:.1f} us a job")
