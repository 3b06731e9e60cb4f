"""The names of all figures, DESIGN 12's aims, and what is printed of them.

A run is {"machine": {...}, "sizes": {...}, "parts": {name: part}}, a part {"title", "load",
"figures": {variant: {figure: value}}}, as tests/bench/run writes it with --json. Nothing here
measures, or fails on a figure.
"""
import dataclasses

FIGURES = [
    ("rate", "jobs/s, end to end", "{:,.0f}"),
    ("program_us", "CPU us/job: the program", "{:.1f}"),
    ("postgres_us", "            Postgres", "{:.1f}"),
    ("both_us", "            both", "{:.1f}"),
    ("kafka_us", "            Kafka", "{:.1f}"),
    ("modelsim_us", "            modelsim", "{:.1f}"),
    ("idle_program_ms_s", "CPU ms/s, idle: the program", "{:.1f}"),
    ("idle_postgres_ms_s", "                Postgres", "{:.1f}"),
    ("byte_p50_ms", "acknowledged to first byte p50, ms", "{:.2f}"),
    ("byte_p99_ms", "                           p99, ms", "{:.2f}"),
    ("byte_max_ms", "                       slowest, ms", "{:.2f}"),
    ("claim_p50_ms", "acknowledged to claim p50, ms", "{:.2f}"),
    ("wal_bytes", "WAL bytes/job", "{:,.0f}"),
    ("disk_bytes", "table and index bytes/job", "{:,.0f}"),
    ("commits", "transactions/1,000 jobs", "{:.1f}"),
    ("rss_mib", "peak RSS, MiB", "{:.0f}"),
    ("rss_kib_call", "peak RSS / calls in flight, KiB", "{:.1f}"),
    ("turn_p50_ms", "loop turn p50, ms", "{:.3f}"),
    ("turn_p99_ms", "          p99, ms", "{:.2f}"),
    ("idle_percent", "machine: idle %", "{:.0f}"),
    ("others_percent", "         other processes %", "{:.0f}"),
    ("stolen_percent", "         stolen by the host %", "{:.0f}"),
]
FORMATS = {key: form for key, _, form in FIGURES}

# What one run differs from the next by on a busy machine, where an aim says "does not grow".
NOISE = 1.10


# Why an aim may not be met, where perf and auto_explain have shown it (at 46 us a job).
WHY_CPU = ("libcurl and its memory 16, the kernel's side of HTTP 14, own code 8, libc under it 3, "
           "librdkafka 2, signatures and ids 1 of 46 us")
WHY_SLOW = ("10,000 connections are made for 20,000 jobs (kernel 35 % of it), and libcurl looks "
            "through a handle's 64 connections at each start and each end: 20 %")
WHY_POSTGRES = ("before its first row a transaction costs 0.4 ms (claim) and 0.7 (store); then a "
                "row, executor alone: claim 7 us, result 9, outcome 5, most of it index look-ups")
WHY_RATE = "all share these cores, and claim, index and outcome cost Postgres as well"
WHY_MEMORY = "libcurl's transfer is 17 KiB of it; the rest is mostly the lane of waiting jobs"
WHY_TURN = ("of CPU a turn takes 4 to 5 ms at the p99, the most of it one answer of Postgres for "
            "up to 500 rows; beyond that the core was somebody else's, as in the bare loop's p99")
WHY_PARKED = ("claim and store each look the job up in `parked`: in an index of 200,000 rows 3.5 us "
              "more each than in an empty one")
WHY_IDLE = ("the slowest waited for the disk: their claims began 1 to 3 ms after the acknowledgement, "
            "and their commits took the rest; a run with a quieter disk gave 9.2")
WHY_WORKERS = "one worker fills these cores; with more, each transaction has fewer rows"


@dataclasses.dataclass
class Aim:
    """`bound` at most (or at least) for a figure of a part's variant: a number, or with `beside` a
    multiple of that variant's same figure. `floor_us`: what the bare loop cost where the number was
    set; the same share of this machine's floor is shown as well. `why`: where it is not met."""

    text: str
    part: str
    variant: str
    figure: str
    bound: float
    least: bool = False
    beside: str = ""
    floor_us: float = 0
    why: str = ""


AIMS = [
    Aim("worker CPU us/job, 256 in flight, instant model", "instant", "worker", "program_us", 35,
        floor_us=18, why=WHY_CPU),
    Aim("worker CPU us/job, 1,000 in flight, 50 ms", "50ms", "worker", "program_us", 45,
        floor_us=27, why=WHY_CPU),
    Aim("worker CPU us/job, 10,000 in flight, 10 s", "10s", "worker", "program_us", 75,
        floor_us=65, why=WHY_SLOW),
    Aim("worker and Postgres CPU us/job", "instant", "worker", "both_us", 65, floor_us=18,
        why=WHY_POSTGRES),
    Aim("jobs/s, half of the bare loop's", "instant", "worker", "rate", 0.5, True, "floor",
        why=WHY_RATE),
    Aim("KiB a call, 10,000 in flight", "10s", "worker", "rss_kib_call", 24, why=WHY_MEMORY),
    Aim("loop turn p99 ms, 256 in flight, instant model", "instant", "worker", "turn_p99_ms", 5,
        why=WHY_TURN),
    Aim("loop turn p99 ms, 1,000 in flight, 50 ms", "50ms", "worker", "turn_p99_ms", 5,
        why=WHY_TURN),
    Aim("loop turn p99 ms, 10,000 in flight, 10 s", "10s", "worker", "turn_p99_ms", 5,
        why=WHY_TURN),
    Aim("acknowledged to first byte p99 ms, idle queue", "idle-latency", "worker", "byte_p99_ms",
        25, why=WHY_IDLE),
    Aim("jobs/s of two workers, at least one's", "workers", "2", "rate", 1, True, "1",
        why=WHY_WORKERS),
    Aim("jobs/s with limits that do not bind, of those without", "limits", "far off", "rate", 0.92,
        True, "none"),
    Aim("CPU us/job does not grow with rows: worker + Postgres", "rows", "loaded", "both_us", NOISE,
        beside="none"),
    Aim("... with parked jobs that are not due", "parked", "not due", "both_us", NOISE,
        beside="none", why=WHY_PARKED),
    Aim("... with parked jobs of a paused endpoint", "parked", "paused", "both_us", NOISE,
        beside="none", why=WHY_PARKED),
    Aim("... with the backlog", "backlog", "deep", "both_us", NOISE, beside="shallow"),
]


# What the README shows beside the aims: (text, part, variants, figure).
ALSO = [
    ("CPU us/job, 256 in flight: bare loop, worker", "instant", ("floor", "worker"), "program_us"),
    ("CPU us/job, 1,000 in flight: bare loop, worker", "50ms", ("floor", "worker"), "program_us"),
    ("CPU us/job, 10,000 in flight: bare loop, worker", "10s", ("floor", "worker"), "program_us"),
    ("jobs/s, 256 in flight: bare loop, worker", "instant", ("floor", "worker"), "rate"),
    ("WAL bytes/job: bare loop, worker", "instant", ("floor", "worker"), "wal_bytes"),
    ("table and index bytes/job: bare loop, worker", "instant", ("floor", "worker"), "disk_bytes"),
    ("KiB a call, 10,000 in flight: bare loop, worker", "10s", ("floor", "worker"),
     "rss_kib_call"),
    ("loop turn p99 ms, 256 in flight: bare loop, worker", "instant", ("floor", "worker"),
     "turn_p99_ms"),
    ("acknowledged to first byte p50 ms, idle queue", "idle-latency", ("worker",), "byte_p50_ms"),
    ("jobs/s: 1, 2, 4 workers", "workers", ("1", "2", "4"), "rate"),
    ("worker CPU us/job: 1, 2, 4 workers", "workers", ("1", "2", "4"), "program_us"),
    ("idle worker, CPU ms/s: nothing parked, parked and not due, of a paused endpoint", "parked",
     ("none", "not due", "paused"), "idle_program_ms_s"),
    ("idle Postgres, CPU ms/s: the same", "parked", ("none", "not due", "paused"),
     "idle_postgres_ms_s"),
    ("submit, documents/s: lines of one file, small files", "submit", ("lines", "files"), "rate"),
    ("submit, CPU us/document: the same", "submit", ("lines", "files"), "program_us"),
]


@dataclasses.dataclass
class Verdict:
    """An aim beside what was seen; `here` is the limit at this machine's pace, or None."""

    aim: Aim
    seen: float
    limit: float
    here: float

    def met(self, limit=None):
        limit = self.limit if limit is None else limit
        return self.seen >= limit if self.aim.least else self.seen <= limit

    def limit_text(self):
        return (">= " if self.aim.least else "<= ") + self.number(self.limit)

    def number(self, value):
        return FORMATS[self.aim.figure].format(value)

    def words(self):
        if self.met():
            return "met"
        if self.here is None:
            return "not met"
        return f"not met; {'met' if self.met(self.here) else 'not met'} at {self.number(self.here)}"


def judge(aim, run):
    """None where this run has not measured it."""
    variants = run["parts"].get(aim.part, {}).get("figures", {})
    seen = variants.get(aim.variant, {}).get(aim.figure)
    base = variants.get(aim.beside, {}).get(aim.figure) if aim.beside else 1
    if seen is None or base is None:
        return None
    slower = pace(aim, variants)
    return Verdict(aim, seen, aim.bound * base, slower and aim.bound * base * slower)


def pace(aim, variants):
    """How much slower the cores were than where the limit comes from: what the bare loop cost here
    and there; or modelsim, which does the same for every job, beside this variant and the other."""
    if aim.floor_us:
        floor_us = variants.get("floor", {}).get("program_us")
        return floor_us and floor_us / aim.floor_us
    if not aim.beside or not aim.figure.endswith("_us"):
        return None
    beside, seen = (variants[v].get("modelsim_us") for v in (aim.beside, aim.variant))
    return seen / beside if seen and beside else None


def verdicts(run):
    return [v for v in (judge(aim, run) for aim in AIMS) if v]


def quietest(repeats):
    """Of each variant the run in which program and Postgres cost least (or calls came soonest): what
    other processes do to caches and time slices only adds."""
    def cost(found):
        return found.get("byte_p99_ms") or found.get("both_us") or found["program_us"]
    return {variant: min((found[variant] for found in repeats), key=cost)
            for variant in repeats[0]}


# ---- tables ------------------------------------------------------------------------------------


def cells(form, variants, key):
    """Each variant's figure, and from the second on its ratio to the first's."""
    first, found = None, []
    for number, figures in enumerate(variants.values()):
        value = figures.get(key)
        first = value if number == 0 else first
        found.append("-" if value is None else form.format(value))
        if number:
            compared = first and value is not None and not key.endswith("_percent")
            found.append(f"x {value / first:.2f}" if compared else "")
    return found


def heads(variants):
    """The variants' names, and a ratio after each but the first."""
    found = []
    for number, name in enumerate(variants):
        found += [name] if number == 0 else [name, ""]
    return found


def rows(part):
    """(figure, label, cells) of all that this part measured."""
    variants = part["figures"]
    return [(key, label, cells(form, variants, key)) for key, label, form in FIGURES
            if any(figures.get(key) is not None for figures in variants.values())]


def part_table(name, run):
    part = run["parts"][name]
    aims = {}
    for verdict in verdicts(run):
        if verdict.aim.part == name:
            aims.setdefault(verdict.aim.figure, []).append(
                f"{verdict.aim.variant} {verdict.limit_text()}: {verdict.words()}")
    lines = [f"{name}: {part['title']}  (load {part['load']})",
             f"{'':<35}" + "".join(f"{h:>10}" for h in heads(part["figures"]))]
    for key, label, found in rows(part):
        lines.append((f"{label:<35}" + "".join(f"{c:>10}" for c in found) + "   "
                      + ", ".join(aims.get(key, []))).rstrip())
    return "\n".join(lines)


def aims_table(run):
    lines = [f"{'aim':<56}{'limit':>12}{'seen':>10}"]
    lines += [f"{v.aim.text:<56}{v.limit_text():>12}{v.number(v.seen):>10}   {v.words()}"
              for v in verdicts(run)]
    return "\n".join(lines)


def machine_line(run):
    m = run["machine"]
    return (f"{m['cores']} cores of {m['processor']}, {m['memory_mib'] / 1024:.0f} GiB, "
            f"Linux {m['kernel']}; {m['inferq']}, Postgres {m['postgres']}, Kafka {m['kafka']}, "
            f"librdkafka {m['librdkafka']}, libcurl {m['libcurl']}")


def text(run):
    return "\n\n".join([machine_line(run)] + [part_table(name, run) for name in run["parts"]]
                       + [aims_table(run)])


def markdown_aims(run):
    """What the README shows: the aims, and why one was not met, with the share of the machine that
    other processes had meanwhile; then what has no aim."""
    lines = [f"{machine_line(run)}.", "", "| Aim | Limit | Seen | Met, or why not | Others |",
             "|---|--:|--:|---|--:|"]
    for v in verdicts(run):
        words = v.words() + (f": {v.aim.why}" if v.aim.why and not v.met() else "")
        busy = run["parts"][v.aim.part]["figures"][v.aim.variant]["others_percent"]
        lines.append(f"| {v.aim.text} | {v.limit_text()} | {v.number(v.seen)} | {words} |"
                     f" {busy:.0f} % |")
    lines += ["", "| Also measured | |", "|---|--:|"]
    for label, part, variants, key in ALSO:
        found = run["parts"].get(part, {}).get("figures", {})
        values = [found.get(variant, {}).get(key) for variant in variants]
        if None not in values:
            lines.append(f"| {label} | {', '.join(FORMATS[key].format(v) for v in values)} |")
    return "\n".join(lines)


def markdown(run):
    """The aims, then all figures, a table a part."""
    lines = [markdown_aims(run)]
    for name, part in run["parts"].items():
        columns = heads(part["figures"])
        lines += ["", f"**{name}**: {part['title']}; load {part['load']}", "",
                  "| | " + " | ".join(columns) + " |", "|---" + "|--:" * len(columns) + "|"]
        lines += [f"| {' '.join(label.split())} | " + " | ".join(found) + " |"
                  for _, label, found in rows(part)]
    return "\n".join(lines)
