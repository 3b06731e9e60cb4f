"""What reached the model, and whether it kept to limits: the judge of shared limits. It believes the
witness's log alone, and of Postgres only which batch a call belongs to.

Happy path: seen = Arrivals(world); seen.wait(lambda: len(seen.of("m")) > 100); most(seen.of("m"));
used_share(...). Calls are counted when their head arrived; their tokens are those the model counted.
What goes wrong: `wait` raises harness.Late.
"""
import json

from harness import reference, wait_for

MINUTE_US = 60_000_000


class Call:
    """One request at the model: its head came at at_us, the whole of it at asked_us; end_us is None while
    it runs."""

    def __init__(self, line):
        self.at_us = line["at_us"]
        self.job, self.number = line["job"], line["call"]
        self.model, self.end_us, self.status = None, None, None
        self.asked_us = self.at_us
        self.input = self.output = 0

    def end(self, line):
        self.model, self.end_us, self.status = line["model"], line["at_us"], line["status"]
        self.asked_us = line["asked_us"]
        self.input, self.output = line["prompt_tokens"], line["completion_tokens"]

    @property
    def tokens(self):
        return self.input + self.output

    @property
    def refused(self):
        return self.status == 429


class Arrivals:
    """The witness's calls in order, read as its file grows."""

    def __init__(self, world):
        self.world = world
        self.calls = []
        self._open = {}
        self._file = open(world.sim.witness_file, encoding="utf-8")  # closed with the process
        self._rest = ""

    def read(self):
        """Takes up what was written since; returns itself."""
        text = self._rest + self._file.read()
        whole, _, self._rest = text.rpartition("\n")
        for line in map(json.loads, whole.splitlines()):
            if line["kind"] == "begin":
                self._open[line["n"]] = Call(line)
                self.calls.append(self._open[line["n"]])
            elif line["kind"] == "end":
                self._open.pop(line["n"]).end(line)
        return self

    def of(self, model):
        """The calls of one model that have ended, as it is named there only."""
        return [call for call in self.read().calls if call.model == model]

    def now_us(self):
        """The witness's clock, as far as it has written."""
        return self.read().calls[-1].at_us if self.calls else 0

    def wait(self, condition, seconds=60, what="what the model should see"):
        return wait_for(condition, seconds, what, every=0.2)

    def wait_until(self, at_us, seconds=150):
        """Until calls have come that are later than this."""
        return self.wait(lambda: self.now_us() >= at_us, seconds, "calls of a later time")

    def by_batch(self, calls):
        """{batch id: its calls}"""
        batches = {str(job): batch for job, batch in self.world.rows(
            "SELECT DISTINCT job_id, batch_id FROM call")}
        found = {}
        for call in calls:
            found.setdefault(batches[call.job], []).append(call)
        return found


def between(calls, from_us, to_us):
    """The calls that came in this time, its end excluded."""
    return [call for call in calls if from_us <= call.at_us < to_us]


def most(calls, unit=None, when="at_us"):
    """The most calls, or units of them, that came within any minute. Who limits calls by when they were
    whole, as modelsim does, is asked by "asked_us"."""
    return reference.heaviest([(getattr(call, when), getattr(call, unit) if unit else 1)
                               for call in calls], MINUTE_US)[0]


def most_at_once(calls):
    """The most calls in flight at any time; one that ended in the microsecond in which another came
    was gone by then."""
    steps = sorted([(call.at_us, 1) for call in calls] +
                   [(call.end_us, -1) for call in calls if call.end_us is not None])
    at_once = top = 0
    for _, step in steps:
        at_once += step
        top = max(top, at_once)
    return top


def used_share(calls, amount, from_us, to_us, unit=None):
    """Which part of what a limit allows in this time was used."""
    came = between(calls, from_us, to_us)
    units = sum(getattr(call, unit) for call in came) if unit else len(came)
    return units / (amount * (to_us - from_us) / MINUTE_US)


def refused_share(calls):
    """Which part of the calls the model refused for its limit."""
    return sum(call.refused for call in calls) / max(1, len(calls))
