"""What models do wrong, row by row of the table of outcomes: how often each is called, what the
ledger says of every call, how the job ends.

Each case has a model on an endpoint of its own, since most faults pause the endpoint; all cases are
submitted at once and run side by side, and each test waits for its own.
"""
import collections

import pytest

from checks import finish
from harness import claimed_late, model, wait_for

OK = ("ok", "exact")
# Of an endpoint that is silent: longer than a busy machine, whose Postgres is asked before each answer,
# takes for a call that is answered.
TIMEOUT = "6s"

# What modelsim is told; what the ledger must say of each call; how it ends.
Case = collections.namedtuple("Case", "sim calls status outcome endpoint options retry",
                              defaults=("succeeded", "ok", {}, (), None))
AMBIGUOUS_ONCE = [("ambiguous", "estimated"), OK]
THROTTLED_ONCE = [("throttled", "none"), OK]
CASES = {
    "timeout": Case("fault=hang times=1", AMBIGUOUS_ONCE, endpoint={"timeout": TIMEOUT}),
    "half an answer, then silence": Case("fault=hang-within times=1", AMBIGUOUS_ONCE,
                                         endpoint={"timeout": TIMEOUT}),
    "reset before the reply": Case("fault=reset-before times=1", AMBIGUOUS_ONCE),
    "reset within the reply": Case("fault=reset-within times=1", AMBIGUOUS_ONCE),
    "closed before the reply": Case("fault=close-before times=1", AMBIGUOUS_ONCE),
    "closed within the reply": Case("fault=close-within times=1", AMBIGUOUS_ONCE),
    "truncated": Case("truncate=40 close=1 times=1", AMBIGUOUS_ONCE),
    "502": Case("status=502 error=text times=1", AMBIGUOUS_ONCE),
    "504": Case("status=504 error=text times=1", AMBIGUOUS_ONCE),
    "reset each time": Case("fault=reset-before", [("ambiguous", "estimated")] * 3, "dead",
                            "ambiguous", options=("--max-attempts", "3")),
    "reset, held": Case("fault=reset-before", [("ambiguous", "estimated")], "dead", "held",
                        retry={"ambiguous": "hold"}),
    "cut off, given up": Case("fault=close-within", [("ambiguous", "estimated")], "dead",
                              "given_up", retry={"ambiguous": "give_up"}),
    "504, held": Case("status=504", [("ambiguous", "estimated")], "dead", "held",
                      retry={"ambiguous": "hold"}),
    "500 is known, and not held": Case("status=500 times=1", [("server_error", "unknown"), OK],
                                       retry={"ambiguous": "hold"}),
    "two attempts by its route": Case("fault=reset-before", [("ambiguous", "estimated")] * 2, "dead",
                                      "ambiguous", options=("--max-attempts", "9"),
                                      retry={"max_attempts": 2}),
    "400": Case("status=400", [("invalid", "none")], "dead", "invalid"),
    "413": Case("status=413", [("invalid", "none")], "dead", "invalid"),
    "422": Case("status=422 error=detail-list", [("invalid", "none")], "dead", "invalid"),
    "context too long": Case("status=400 code=context_length_exceeded",
                             [("context_too_long", "none")], "dead", "context_too_long"),
    "408": Case("status=408 times=1", [("conflict", "estimated"), OK]),
    "429 for a second": Case("status=429 retry-after=1 times=1", THROTTLED_ONCE),
    "429 in milliseconds": Case("status=429 retry-after=1200ms retry-form=ms times=1",
                                THROTTLED_ONCE),
    "429 with a date": Case("status=429 retry-after=2 retry-form=date times=1", THROTTLED_ONCE),
    "429 without a hint": Case("status=429 retry-form=none times=1", THROTTLED_ONCE),
    "429 for long": Case("status=429 retry-after=7 times=1", THROTTLED_ONCE),
    "500 once": Case("status=500 times=1", [("server_error", "unknown"), OK]),
    "500 always": Case("status=500", [("server_error", "unknown")] * 2, "dead", "server_error"),
    "409": Case("status=409 times=1", [("conflict", "estimated"), OK]),
    "524": Case("status=524 error=text times=1", AMBIGUOUS_ONCE),
    "empty": Case("answer=empty times=1", [("bad_output", "exact"), OK]),
    "empty twice": Case("answer=empty", [("bad_output", "exact")] * 2, "dead", "bad_output"),
    "a model of another name": Case("model-name=somebody-else", [OK]),
    "503": Case("status=503 times=1", [("overloaded", "none"), OK]),
    "529": Case("status=529 times=1", [("overloaded", "none"), OK]),
    "refusal in the message": Case("refusal=message", [("refused", "exact")], "dead", "refused"),
    "refusal by a filter": Case("refusal=content-filter", [("refused", "exact")], "dead", "refused"),
    "the server dies after an error": Case("status=500 fault=die-hang times=1",
                                           [("server_error", "unknown"), OK],
                                           endpoint={"timeout": TIMEOUT}),
}


DYING = ("die-reset", "die-hang", "die-close")


def slug(name):
    return "f-" + name.replace(" ", "-").replace(",", "")


@pytest.fixture(scope="module")
def world(worlds):
    models = [model(slug(name), retry=case.retry, **case.endpoint) for name, case in CASES.items()]
    gone = model("f-gone", base_url="http://127.0.0.1:9")  # the discard port: nobody listens
    dying = [model(f"f-{fault}", max_in_flight=1, timeout=TIMEOUT) for fault in DYING]
    made = worlds(models=[*models, gone, *dying])
    made.start_worker()
    made.batches = {name: made.ask(f"[[sim: {case.sim}]] case {name}", model=slug(name),
                                   batch=slug(name), options=case.options)
                    for name, case in CASES.items()}
    return made


@pytest.mark.parametrize("name", CASES)
def test_fault(world, name):
    case, batch = CASES[name], world.batches[name]
    world.wait_ended(batch, 60)
    result = world.results(batch)["job-0"]
    calls = world.calls(batch)
    assert [(c["class"], c["certainty"]) for c in calls] == case.calls
    assert (result["status"], result["class"]) == (case.status, case.outcome)
    for call in calls:
        if call["certainty"] == "none":
            assert call["cost_nusd"] == 0
        elif call["certainty"] == "unknown":
            assert call["cost_nusd"] is None
        elif call["certainty"] == "estimated":
            assert call["cost_nusd"] == call["estimated_nusd"] > 0
        else:
            assert call["cost_nusd"] > 0
    if any(call["cost_nusd"] is None for call in calls):
        assert result["cost_nusd"] is None, "absent is not zero"
    letters = world.letters(batch)
    assert [x["class"] for x in letters] == ([case.outcome] if case.status == "dead" else [])
    # The model saw each of these calls, once, and no other.
    begun = [(line["job"], line["call"]) for line in world.sim.lines("begin")]
    assert [call for job, call in begun if job == str(calls[0]["job_id"])] == [
        c["number"] for c in calls]


def gap_us(world, name):
    """Between the end of the first call and the begin of the second, as the model saw them: when they
    were stored says less."""
    job = str(world.calls(world.batches[name])[0]["job_id"])
    at_us = {(line["kind"], line["call"]): line["at_us"] for line in world.sim.lines()
             if line["kind"] in ("begin", "end") and line["job"] == job}
    return at_us["begin", 2] - at_us["end", 1]


@pytest.mark.parametrize("name, seconds", [("429 for a second", 1), ("429 in milliseconds", 1.2),
                                           ("429 for long", 7)])
def test_the_servers_delay_is_kept(world, name, seconds):
    world.wait_ended(world.batches[name], 60)
    # The witness and the worker look at two clocks, one of which may be set right meanwhile.
    assert gap_us(world, name) > (seconds - 0.05) * 1e6


def test_a_long_delay_parks_and_returns(world):
    world.wait_ended(world.batches["429 for long"], 60)
    parked = sum(w.metric("inferq_jobs_parked_total", **{"class": "throttled"})
                 for w in world.workers)
    assert parked >= 1
    assert world.results(world.batches["429 for long"])["job-0"]["throttle_us"] > 6_500_000
    assert world.value("SELECT count(*) FROM parked WHERE batch_id = %s",
                       world.batches["429 for long"]) == 0


def test_a_reply_that_came_whole_counts_even_if_the_connection_is_reset(world):
    """The reset may overtake the reply within the kernel; then the call is ambiguous and repeated."""
    world.connections_die = True
    batch = world.ask("[[sim: fault=reset-after times=1]] whole", model="m")
    assert world.wait_ended(batch)["succeeded"] == 1
    assert [c["class"] for c in world.calls(batch)] in (["ok"], ["ambiguous", "ok"])


def test_a_model_of_another_name_is_told_and_changes_nothing(world):
    """What an answer calls its model proves no version: it is kept, beside the version that was
    asked."""
    batch = world.batches["a model of another name"]
    assert world.wait_ended(batch, 60)["succeeded"] == 1
    assert world.rows("SELECT DISTINCT c.model_reported, v.label FROM call c JOIN model_version v"
                      " USING (model_version_id) WHERE c.batch_id = %s", batch) == [
        ("somebody-else", slug("a model of another name") + "@1")]


@pytest.mark.parametrize("fault", DYING)
def test_connections_that_die_after_an_error_harm_nobody(world, fault):
    """One call at a time: were the connection used again, the next job would meet its end. Errors
    that are the job's own leave nothing behind for its neighbours."""
    world.connections_die = True
    texts = [text for i in range(4) for text in (f"[[sim: status=400 fault={fault}]] bad {i}",
                                                 f"good {i}")]
    batch = world.ask(*texts, model=f"f-{fault}")
    counts = world.wait_ended(batch, 60)
    assert (counts["dead"], counts["succeeded"]) == (4, 4)
    calls = world.calls(batch)
    assert {c["class"] for c in calls} <= {"ok", "invalid", "ambiguous"}
    begun = [(line["job"], line["call"]) for line in world.sim.lines("begin")]
    mine = [call for call in begun if call[0] in {str(c["job_id"]) for c in calls}]
    assert len(mine) == len(set(mine)), "a call was sent twice"
    for i in range(4):  # an error is told once, whatever its connection does afterwards
        assert [c["class"] for c in world.calls(batch, f"job-{2 * i}")][-1] == "invalid"


def test_oversized_and_foreign_replies_die_after_bounded_tries(world):
    """A reply past reply.max_bytes, and 200s that are no reply of the protocol."""
    batch = world.ask("[[sim: size=3m]] large", "[[sim: wrong=html]] html",
                      "[[sim: wrong=cut-json]] cut", "[[sim: wrong=empty]] empty", model="m")
    counts = world.wait_ended(batch, 60)
    assert counts["dead"] == 4
    for calls in (world.calls(batch, f"job-{i}") for i in range(4)):
        assert 1 <= len(calls) <= 5
        assert all(c["class"] in ("bad_reply", "bad_output", "ambiguous") for c in calls)


def test_an_endpoint_that_nobody_listens_at(world):
    """Nothing was sent: such calls cost nothing and are no attempts; the deadline ends the job, and
    neighbours in the same lane do not wait for it."""
    gone = world.ask(*[f"never {i}" for i in range(40)], model="f-gone",
                     options=("--deadline", "+8s", "--max-attempts", "1"))
    healthy = world.ask(*[f"soon {i}" for i in range(40)])
    assert world.wait_ended(healthy)["succeeded"] == 40
    assert world.wait_ended(gone, 60)["expired"] == 40
    calls = world.calls(gone)
    assert calls and {(c["class"], c["certainty"], c["cost_nusd"]) for c in calls} == {
        ("unsent", "none", 0)}
    # A claim that left in time may be written late: of one probe at a time, no more than one.
    assert claimed_late(world, gone) <= 1


def test_no_fault_broke_a_guarantee(world):
    for batch in world.batches.values():
        world.wait_ended(batch, 60)
    finish(world)


OPERATOR = {"401": ("status=401 echo-key=1", "credential"),
            "403": ("status=403 error=string echo-key=1", "credential"),
            "404": ("status=404 code=model_not_found", "no_upstream_model"),
            "402": ("status=402", "billing")}


def holds(world, text):
    """Tables in which some row holds the text."""
    tables = "batch result call parked dead_letter endpoint worker audit_log progress".split()
    return [t for t in tables if world.value(
        f"SELECT count(*) FROM {t} t WHERE t::text LIKE %s OR t::text LIKE %s", f"%{text}%",
        f"%{text.encode().hex()}%")]


def test_what_an_operator_must_mend_pauses_alerts_and_waits(lone_world):
    """The endpoint (or the model) pauses for a minute, its jobs wait in Postgres with all their attempts. The
    operator mends it, wakes them, and they run. The key, echoed by the answer, is nowhere."""
    key = "sk-planted-0123456789"
    models = [model(f"f-{name}", credential="env:SIM_KEY") for name in OPERATOR]
    sibling = model("sibling", endpoint="at-f-404", credential="env:SIM_KEY")
    world = lone_world(models=[*models, sibling])
    first = world.start_worker(env={"SIM_KEY": key})
    batches = {name: world.ask(f"[[sim: {sim} times=1]] {name}", model=f"f-{name}",
                               options=("--max-attempts", "1"))
               for name, (sim, _) in OPERATOR.items()}
    wait_for(lambda: world.value("SELECT count(*) FROM parked") == len(OPERATOR), what="parked jobs")
    for name, (_, outcome) in OPERATOR.items():
        assert [(c["class"], c["certainty"], c["cost_nusd"]) for c in world.calls(batches[name])] == [
            (outcome, "none", 0)]
        assert first.metric("inferq_alerts_total", endpoint=f"at-f-{name}",
                            **{"class": outcome}) == 1
        paused = first.metric("inferq_endpoint_paused_seconds", endpoint=f"at-f-{name}")
        assert (paused > 30) == (outcome != "no_upstream_model")
    # A model that is gone pauses alone: its endpoint serves the others.
    assert world.wait_ended(world.ask("served on", model="sibling"))["succeeded"] == 1
    assert world.rows("SELECT DISTINCT attempts FROM parked") == [(0,)]
    assert first.stop() == 0
    world.rows("UPDATE parked SET next_at = now()")
    second = world.start_worker(env={"SIM_KEY": key})
    for name, (_, outcome) in OPERATOR.items():  # once the pause is over, which the fleet remembers
        assert world.wait_ended(batches[name], 90)["succeeded"] == 1
        assert [c["class"] for c in world.calls(batches[name])] == [outcome, "ok"]
    assert holds(world, key) == [] and key not in second.get("/metrics")[1]
    assert key not in first.log() + second.log()
    finish(world)
