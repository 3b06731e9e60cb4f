"""The limits that modelsim enforces and counts, held against the reference in Python: tests of limits
across a fleet believe both.

Happy path: each test starts a modelsim of its own on a free port and talks to it.
"""
import json
import random
import signal
import uuid

import pytest

import harness  # noqa: F401  (puts modelsim's directory on the path)
import reference
from client import CHAT, Sim, chat, read_reply, request_bytes, wait_for

UNITS = ("requests", "tokens", "input", "output")
WINDOW_US = 500_000
REQUESTS = 2500  # several windows full, be they asked fast or slowly


@pytest.fixture
def start(tmp_path):
    """Starts modelsims; each must stop with 0 in the end."""
    running = []

    def begin(script):
        running.append(Sim(tmp_path, script=script))
        return running[-1]

    yield begin
    codes = [sim.stop() for sim in running]
    assert all(code in (0, -signal.SIGKILL) for code in codes), codes


def weigh(body):
    """What a request weighs, by the reference: by unit."""
    usage = reference.expect(CHAT, body)["usage"]
    return {"requests": 1, "tokens": usage["total_tokens"], "input": usage["prompt_tokens"],
            "output": usage["completion_tokens"]}


def crowd(sim, rng, count):
    """That many requests of random sizes, one after another on kept connections of their own turn.
    Returns (when it was whole, weight, passed) of each, by the witness."""
    weights = {}
    connections = [sim.connect() for _ in range(3)]
    for i in range(count):
        body = chat("word " * rng.randrange(1, 60), max_tokens=rng.randrange(1, 30))
        job = str(uuid.uuid4())
        weights[job] = weigh(body)
        status, _, _ = sim.ask(body, connection=connections[i % 3],
                               headers={"x-inferq-job": job, "x-inferq-call": "1"})
        assert status in (200, 429)
    for connection in connections:
        connection.close()
    wait_for(lambda: len(sim.lines("end")) >= count)
    return [(end["asked_us"], weights[end["job"]], end["limited"] == "")
            for end in sim.lines("end") if end["job"] in weights]


@pytest.mark.parametrize("unit", UNITS)
def test_an_exact_limit_lets_through_what_it_says_and_no_more(start, unit):
    amount = {"requests": 50, "tokens": 2000, "input": 1600, "output": 400}[unit]
    sim = start(f"limit=it {unit}={amount} window=500ms exact=1\n")
    asked = crowd(sim, random.Random(7), REQUESTS)
    assert sum(not passed for _, _, passed in asked) > 100, "the limit was never reached"
    assert not reference.misjudged([(at, weight[unit], passed) for at, weight, passed in asked],
                                   amount, WINDOW_US)
    most, _ = reference.heaviest([(at, weight[unit]) for at, weight, passed in asked if passed],
                                 WINDOW_US)
    counted = sim.summary()["limits"]["it"]
    assert amount * 0.9 <= most <= amount
    assert counted["most"][unit] == most and counted["over"] == counted["in_flight"] == 0
    assert counted["passed"] == sum(passed for _, _, passed in asked)
    assert counted["refused"] == len(asked) - counted["passed"]


def test_a_bucket_lets_through_more_than_an_exact_limit(start):
    """The difference between the two, which is why there are both."""
    sim = start("requests=40 window=500ms\n")
    asked = crowd(sim, random.Random(8), REQUESTS)
    most, _ = reference.heaviest([(at, 1) for at, _, passed in asked if passed], WINDOW_US)
    assert 40 < most <= 80
    assert {end["limited"] for end in sim.lines("end")} == {"", "limit"}


def test_the_reference_sees_what_is_wrong():
    assert reference.heaviest([(0, 1), (10, 2), (19, 3), (20, 1)], 10) == (5, 19)
    assert reference.heaviest([], 10) == (0, None)
    assert reference.misjudged([(0, 2, True), (9, 1, True)], 2, 10) == [(9, 1, True, 3)]
    assert reference.misjudged([(0, 2, True), (10, 1, False)], 2, 10) == [(10, 1, False, 0)]
    assert reference.misjudged([(0, 2, True), (9, 1, False), (10, 2, True)], 2, 10) == []


def test_a_limit_that_watches_refuses_nothing_and_counts(start):
    sim = start("limit=eye requests=3 window=60s exact=1 watch=1\nlimit=all concurrency=9\n")
    assert all(sim.ask(chat("x"))[0] == 200 for _ in range(5))
    counted = sim.summary()["limits"]
    assert (counted["eye"]["passed"], counted["eye"]["over"], counted["eye"]["refused"]) == (5, 2, 0)
    assert counted["eye"]["most"] == {"requests": 5, "tokens": 20, "input": 5, "output": 15,
                                      "in_flight": 1}
    assert counted["all"]["passed"] == 5 and counted["all"]["most"]["requests"] == 0
    sim.ask(b"", "/witness/reset")
    counted = sim.summary()["limits"]["eye"]
    assert (counted["passed"], counted["over"], counted["most"]["requests"]) == (0, 0, 5)


def test_limits_are_chosen_by_key_model_path_and_text(start):
    sim = start("limit=mine key=secret-1 requests=1 exact=1\n"
                "limit=theirs key=secret-2 requests=2 exact=1\n"
                "limit=gold model=gold requests=3 exact=1\n"
                "limit=app contains=\"[app-a]\" path=/v1/chat/completions requests=1 exact=1\n")

    def statuses(count, text="x", model="m", key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return [sim.ask({**chat(text), "model": model}, headers=headers)[0] for _ in range(count)]

    assert statuses(2, key="secret-1") == [200, 429]
    assert statuses(3, key="secret-2") == [200, 200, 429]
    assert statuses(2, key="secret-1", model="gold") == [429, 429]
    assert statuses(4, model="gold") == [200, 200, 200, 429], "the refused ones count nowhere"
    assert statuses(2, text="hello [app-a]") == [200, 429]
    assert statuses(3) == [200, 200, 200]
    wait_for(lambda: len(sim.lines("end")) == 16)
    assert [end["limited"] for end in sim.lines("end") if end["limited"]] == [
        "mine", "theirs", "mine", "mine", "gold", "app"]


def test_calls_in_flight_are_counted_to_their_end(start):
    """Whoever asked goes, with or without its answer."""
    sim = start("limit=c concurrency=2\nlatency=5s\n")
    sockets = [sim.socket() for _ in range(3)]
    for sock in sockets:
        sock.sendall(request_bytes(chat("x")))
    wait_for(lambda: sim.summary()["limits"]["c"]["refused"] == 1)
    assert sim.summary()["limits"]["c"]["in_flight"] == 2
    for sock in sockets:
        sock.close()
    wait_for(lambda: sim.summary()["limits"]["c"]["in_flight"] == 0)
    counted = sim.summary()["limits"]["c"]
    assert counted["most"]["in_flight"] == counted["passed"] == 2


def test_a_limit_is_changed_while_it_runs(start):
    """It keeps what it has counted, and those in flight their places."""
    script = "# two\nlimit=r model=r requests=5 window=60s exact=1\n\n  limit=c model=c concurrency=1 # one\n"
    sim = start(script.replace(" # one", ""))
    assert sim.control("\n".join(["limit=r model=r requests=9 exact=1", "limit=none requests=1"]),
                       "?mode=change")[0] == 400
    assert sim.control("requests=1", "?mode=change")[0] == 400
    assert sim.control("limit=r requests=1", "?mode=append")[0] == 400
    assert sim.control("limit=x requests=1\nlimit=x requests=2")[0] == 400
    assert sim.control("limit=x")[0] == sim.control("exact=1")[0] == 400
    assert sim.control("limit=x requests=1 exact=1 burst=2")[0] == 400
    assert sim.ask(None, "/control", "GET")[2].decode() == script.replace(" # one", "")

    def statuses(count):
        return [sim.ask({**chat("x"), "model": "r"})[0] for _ in range(count)]

    assert statuses(6) == [200] * 5 + [429]
    sim.change_limits("limit=r model=r requests=7 window=60s exact=1\nlimit=c model=c concurrency=2\n")
    assert statuses(3) == [200, 200, 429]
    sim.change_limits("limit=r model=r requests=3 window=60s exact=1\n")
    assert statuses(1) == [429]
    assert sim.ask(None, "/control", "GET")[2].decode() == (
        "# two\nlimit=r model=r requests=3 window=60s exact=1\n\n  limit=c model=c concurrency=2\n")
    counted = sim.summary()["limits"]["r"]
    assert (counted["passed"], counted["refused"], counted["most"]["requests"]) == (7, 3, 7)
    with sim.socket() as first, sim.socket() as second:
        for sock in (first, second):
            sock.sendall(request_bytes({**chat("[[sim: latency=5s]] x"), "model": "c"}))
        wait_for(lambda: sim.summary()["limits"]["c"]["in_flight"] == 2)
        sim.change_limits("limit=c model=c concurrency=1\n")
        assert sim.ask({**chat("x"), "model": "c"})[0] == 429
        assert read_reply(first)[0] == read_reply(second)[0] == 200
    wait_for(lambda: sim.summary()["limits"]["c"]["in_flight"] == 0)
    assert sim.ask({**chat("x"), "model": "c"})[0] == 200


@pytest.mark.parametrize("maker", ["openai", "anthropic", "none"])
def test_refusals_speak_as_the_maker_does(start, maker):
    """The head and the body; or nothing of when, by rule. A refusal waits for no latency."""
    words = f"tell={maker}" if maker != "none" else "retry-form=none"
    sim = start(f"requests=2 tokens=1000 input=500 output=400 exact=1 {words}\nlatency=30s model=slow\n")
    body = chat("x")
    answers = [sim.ask(body) for _ in range(2)] + [sim.ask({**body, "model": "slow"})]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    heads = [{name: value for name, value in head.items() if "ratelimit" in name or "retry" in name}
             for _, head, _ in answers]
    error = json.loads(answers[2][2])
    if maker == "none":
        assert heads == [{}, {}, {}] and error["error"]["code"] == "rate_limit_exceeded"
    elif maker == "openai":
        assert error["error"]["type"] == "rate_limit_error"
        assert error["error"]["code"] == "rate_limit_exceeded"
        assert [(head["x-ratelimit-limit-requests"], head["x-ratelimit-remaining-requests"],
                 head["x-ratelimit-limit-tokens"], head["x-ratelimit-remaining-tokens"])
                for head in heads] == [("2", "1", "1000", "996"), ("2", "0", "1000", "992"),
                                       ("2", "0", "1000", "992")]
        assert 50 < int(heads[2]["retry-after"]) <= 60 and "retry-after" not in heads[1]
        assert not any("input" in name for name in heads[2])
    else:
        assert error["type"] == "error" and error["error"]["type"] == "rate_limit_error"
        assert [(head["anthropic-ratelimit-requests-remaining"],
                 head["anthropic-ratelimit-input-tokens-limit"],
                 head["anthropic-ratelimit-input-tokens-remaining"],
                 head["anthropic-ratelimit-output-tokens-remaining"])
                for head in heads] == [("1", "500", "499", "397"), ("0", "500", "498", "394"),
                                       ("0", "500", "498", "394")]
        assert heads[2]["anthropic-ratelimit-tokens-reset"].endswith("Z")
        assert 50 < int(heads[2]["retry-after"]) <= 60


def test_the_delay_that_a_refusal_tells_is_true(start):
    """Whoever waits for so long passes; whoever waits for less does not. Told for the unit that needs
    longest: here the second request's tokens."""
    sim = start("tokens=100 requests=3 window=10s exact=1 retry-form=ms\n")
    for words in (3, 60, 2):
        assert sim.ask(chat("word " * words, max_tokens=1))[0] == 200
    status, head, _ = sim.ask(chat("word " * 60, max_tokens=1))
    told_us = int(head["retry-after-ms"]) * 1000
    wait_for(lambda: len(sim.lines("end")) == 4)
    asked = [end["asked_us"] for end in sim.lines("end")]
    assert status == 429 and abs(asked[3] + told_us - (asked[1] + 10_000_000)) <= 2000
    status, head, _ = sim.ask(chat("word " * 1000, max_tokens=1))
    assert status == 429, "larger than the whole limit: it never passes"
