"""modelsim is what the other tests believe, so it is tested first: every fault, every limit, the
witness, the ledger check, and its agreement with the reference in Python.

Happy path: each test starts a modelsim of its own on a free port (tens of milliseconds) and talks
to it with http.client or a raw socket. The ledger tests want a Postgres named by PG* variables and
fail without one; they work in a scratch database of their own.
"""
import base64
import email.utils
import json
import os
import pathlib
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid

import psycopg2
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "modelsim"))
import reference  # noqa: E402  (found by the line above)
from client import (BIN, CHAT, Sim, chat, content, job_headers, read_all,  # noqa: E402
                    read_reply, request_bytes, wait_for)


@pytest.fixture
def start(tmp_path):
    """Starts modelsims; each must stop with 0 in the end."""
    running = []

    def begin(*arguments, script=None):
        sim = Sim(tmp_path, *arguments, script=script)
        running.append(sim)
        return sim

    yield begin
    codes = [sim.stop() for sim in running]
    assert all(code in (0, -signal.SIGKILL) for code in codes), codes


# ---- answers ----

SCHEMA = {
    "type": "object", "additionalProperties": False, "required": ["kind", "score", "extra"],
    "properties": {
        "kind": {"type": "string", "enum": ["a", "bé", "c\n"]}, "score": {"type": "number"},
        "count": {"type": ["null", "integer"]}, "yes": {"type": "boolean"},
        "words": {"type": "array", "items": {"type": "string"}}, "none": {"type": "null"},
        "one": {"const": {"x": [1, True, None]}}, "deep": {"properties": {"q": {"items": {}}}}}}


def random_text(rng):
    """Words with everything that JSON and UTF-8 have in store, and sometimes a hint."""
    parts = ["plain", "é", "語", "😀", "\x00", "\n", "\t", '"', "\\", "  ", "\x7f", "\u2028", "a:b",
             "long" * 20, "\r\n", "none of: x, y"]
    hints = ["\nLabels: one, two, 'three four'.\n", " please say one of: ja, nein ",
             "\nJSON schema: " + json.dumps(SCHEMA) + "\n", "\n labels: , ,\n", "json schema: {bad",
             "one of: " + "too long " * 20]
    text = " ".join(rng.choice(parts) for _ in range(rng.randrange(40)))
    return text + rng.choice(hints) + rng.choice(parts) if rng.random() < 0.6 else text


def random_body(rng):
    """(path, body) of a random request."""
    more = {}
    if rng.random() < 0.3:
        more[rng.choice(["max_tokens", "max_completion_tokens"])] = rng.randrange(1, 12)
    if rng.random() < 0.2:
        more["response_format"] = rng.choice([
            {"type": "json_object"}, {"type": "text"},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}])
    if rng.random() < 0.3:
        prompt = [random_text(rng) for _ in range(rng.randrange(1, 4))]
        return "/v1/completions", {"model": "m", "prompt": rng.choice([prompt, prompt[0]]), **more}
    messages = [{"role": rng.choice(["system", "user", "assistant", "developer"]),
                 "content": random_text(rng)} for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.2:
        messages.append({"role": "user", "content": [
            {"type": "text", "text": random_text(rng)}, {"type": "image_url", "image_url": {}}]})
    return CHAT, {"model": "m", "messages": messages, **more}


def test_answers_agree_with_the_reference(start):
    sim = start()
    rng = random.Random(7)
    connection = sim.connect()
    kinds = set()
    for _ in range(1500):
        path, body = random_body(rng)
        data = json.dumps(body, ensure_ascii=rng.random() < 0.5).encode()
        status, _, reply = sim.ask(data, path, connection=connection)
        assert status == 200, (body, reply)
        answer = json.loads(reply)
        got = [((c["message"]["content"] if path == CHAT else c["text"]), c["finish_reason"])
               for c in answer["choices"]]
        want = reference.expect(path, body)
        assert got == want["choices"], body
        assert answer["usage"] == want["usage"]
        kinds.update(("{" if text.startswith("{") else text[:4]) for text, _ in got)
    assert {"Extr", "{", "one", "two", "ja", "nein"} <= kinds
    # the long-hand JSON answer is JSON and satisfies its schema
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    made = json.loads(content(sim.say("some words here", response_format=form)))
    assert list(made) == [*SCHEMA["properties"], "extra"] and made["kind"] in ["a", "bé", "c\n"]
    assert isinstance(made["score"], float) and isinstance(made["count"], int)
    assert made["words"] == ["some words here"] * 2 and made["one"] == {"x": [1, True, None]}


def test_embeddings_agree_with_the_reference(start):
    sim = start()
    texts = ["hello", "", "é" * 100]
    _, _, data = sim.ask({"model": "m", "input": texts, "dimensions": 5}, "/v1/embeddings")
    answer = json.loads(data)
    want = [reference.vector(t.encode(), 5) for t in texts]
    assert [d["embedding"] for d in answer["data"]] == want
    assert all(abs(sum(v * v for v in row) - 1) < 1e-4 for row in want)
    tokens = (5 + 200 + 3) // 4
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    _, _, data = sim.ask({"model": "m", "input": "hello", "encoding_format": "base64"},
                         "/v1/embeddings")
    raw = base64.b64decode(json.loads(data)["data"][0]["embedding"])
    assert struct.unpack("<8f", raw) == pytest.approx(reference.vector(b"hello"), abs=1e-6)


def test_bad_requests(start):
    sim = start("--models", "m,other", "--require-key", "sesame")
    key = {"Authorization": "Bearer sesame"}
    cases = [(b"{", 400), (b"[]", 400), (b'{"model":"m"}', 400), (b'{"model":"m","messages":[]}', 400),
             (json.dumps(chat("x", max_tokens=0)).encode(), 400),
             (json.dumps(chat("x", stream=True)).encode(), 400),
             (json.dumps(chat("x", n=2)).encode(), 400),
             (json.dumps(chat("x")).encode() + b"x", 400),
             (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', 400),
             (json.dumps(chat("[[sim: nonsense=1]]")).encode(), 400),
             (json.dumps(chat("x", response_format={"type": "json_schema", "json_schema": {
                 "schema": {"type": "string", "pattern": "a+"}}})).encode(), 400),
             (json.dumps({**chat("x"), "model": "foreign"}).encode(), 404)]
    for body, want in cases:
        status, _, data = sim.ask(body, headers=key)
        assert status == want and json.loads(data)["error"]["message"], (body, data)
    assert sim.ask(chat("x"))[0] == 401
    assert sim.ask(chat("x"), headers={"Authorization": "Bearer sesam"})[0] == 401
    assert sim.ask(chat("x"), "/v1/nothing", headers=key)[0] == 404
    models = json.loads(sim.ask(None, "/v1/models", "GET", key)[2])
    assert [m["id"] for m in models["data"]] == ["m", "other"]


# ---- HTTP ----

def test_keep_alive_and_pipelining(start):
    sim = start("--latency", "uniform:0:3ms")
    bodies = [chat(f"text number {i}") for i in range(300)]
    with sim.socket() as sock:
        data = b"".join(request_bytes(b) for b in bodies)
        for at in range(0, len(data), 997):
            sock.sendall(data[at:at + 997])
        for body in bodies:
            status, reply = read_reply(sock)
            want = reference.expect(CHAT, body)["choices"][0][0]
            assert status == 200 and content(json.loads(reply)) == want
    assert sim.summary()["max_in_flight"] == 1


def test_chunked_request_in_small_pieces_and_expect(start):
    sim = start()
    body = json.dumps(chat("in chunks é")).encode()
    data = b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" \
           b"Expect: 100-continue\r\n\r\n"
    for at in range(0, len(body), 7):
        piece = body[at:at + 7]
        data += b"%x;ext=1\r\n%s\r\n" % (len(piece), piece)
    data += b"0\r\nTrailer: x\r\n\r\n"
    with sim.socket() as sock:
        for byte in data:
            sock.sendall(bytes([byte]))
        assert content(json.loads(read_reply(sock)[1])) == "Extract: in chunks é"
        sock.sendall(request_bytes(chat("again")))
        assert read_reply(sock)[0] == 200


@pytest.mark.parametrize("head, status", [
    (b"GARBAGE\r\n\r\n", 400), (b"GET / HTTP/2.0\r\n\r\n", 505),
    (b"POST /v1/models HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
    (b"GET / HTTP/1.1\r\nx: " + b"y" * 70000, 431)],
    ids=["garbage", "version", "two-lengths", "length-and-chunks", "gzip", "too-big", "long-head"])
def test_malformed_heads(start, head, status):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(head)
        data, _ = read_all(sock)
    assert data.startswith(b"HTTP/1.1 %d " % status)


def test_close_is_respected(start):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"Connection": "close"}))
        data, reset = read_all(sock)
    assert b"connection: close" in data and not reset


# ---- faults ----

SHAPES = {
    "openai": lambda b: b["error"]["message"] == "oops" and b["error"]["code"] is None,
    "openai-strings": lambda b: b["error"]["param"] == "None" and b["error"]["code"] == "500",
    "detail": lambda b: b == {"detail": "oops"},
    "detail-list": lambda b: b["detail"][0]["msg"] == "oops",
    "string": lambda b: b == {"error": "oops"}}


def test_error_shapes_and_codes(start):
    sim = start()
    for shape, check in SHAPES.items():
        status, _, data = sim.sim(f"status=500 message=oops error={shape}")
        assert status == 500 and check(json.loads(data)), data
    status, head, data = sim.sim('status=418 message="plain words" error=text')
    assert (status, data, head["content-type"]) == (418, b"plain words", "text/plain")
    data = json.loads(sim.sim("status=400 code=context_length_exceeded")[2])
    assert data["error"]["code"] == "context_length_exceeded"
    status, _, data = sim.ask(chat("x"), headers={
        "Authorization": "Bearer planted", "x-sim": "status=401 echo-key=1"})
    assert status == 401 and b"Bearer planted" in data
    assert sim.summary()["statuses"] == {"400": 1, "401": 1, "418": 1, "500": 5}


def test_retry_after_spellings(start):
    sim = start()

    def headers(form):
        status, head, _ = sim.sim(f"status=429 retry-after=2 retry-form={form}")
        assert status == 429
        return {k: v for k, v in head.items() if "retry" in k or "ratelimit" in k}

    def two_seconds_on(form, moment):
        """The moment told, in whole seconds, is two seconds after one between question and answer."""
        asked = time.time()
        told = moment(headers(form))
        assert asked + 1 <= told <= time.time() + 3

    assert headers("seconds") == {"retry-after": "2"}
    assert headers("ms") == {"retry-after-ms": "2000"}
    assert headers("provider") == {"llm_provider-retry-after": "2"}
    assert headers("none") == {}
    assert headers("reset")["x-ratelimit-reset-requests"] == "2000ms"
    assert headers("reset")["x-ratelimit-reset-tokens"] == "2s"
    two_seconds_on("date", lambda h: email.utils.parsedate_to_datetime(h["retry-after"]).timestamp())
    two_seconds_on("reset-epoch", lambda h: int(h["x-ratelimit-reset"]))
    assert headers("reset-date")["x-ratelimit-reset-requests"].endswith(" UTC")
    status, head, _ = sim.sim("status=429")
    assert status == 429 and "retry-after" not in head


@pytest.mark.parametrize("fault, some, reset", [
    ("reset-before", False, True), ("reset-within", True, True), ("close-before", False, False),
    ("close-within", True, False)])
def test_cut_connections(start, fault, some, reset):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"x-sim": f"fault={fault}"}))
        data, was_reset = read_all(sock)
    assert bool(data) == some and was_reset == reset
    if some:
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"200 OK" in head and b"content-length: %d" % len(body) not in head
    assert sim.summary()["outcomes"]["cut"] == 1
    (end,) = sim.lines("end")
    assert end["fault"] == fault and end["status"] == (200 if some else 0)


@pytest.mark.parametrize("fault, reset", [("reset-after", True), ("close-after", False)])
def test_connection_ends_after_a_whole_reply(start, fault, reset):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"x-sim": f"fault={fault}"}))
        assert read_reply(sock)[0] == 200
        assert read_all(sock) == (b"", reset)
    assert sim.summary()["outcomes"]["replied"] == 1


@pytest.mark.parametrize("fault", ["die-reset", "die-hang", "die-close"])
def test_connection_dies_after_an_error_answer(start, fault):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"x-sim": f"status=500 fault={fault}"}))
        status, _ = read_reply(sock)
        assert status == 500
        sock.sendall(request_bytes(chat("y"), job_headers()))
        if fault == "die-hang":
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        else:
            assert read_all(sock) == (b"", fault == "die-reset")
    # The request that died is witnessed as well.
    wait_for(lambda: sim.summary()["requests"] == 2 and sim.summary()["in_flight"] == 0)
    summary = sim.summary()
    assert summary["requests"] == 2 and summary["jobs"] == 1
    assert summary["outcomes"]["client_gone" if fault == "die-hang" else "cut"] == 1


@pytest.mark.parametrize("fault, some", [("hang", False), ("hang-within", True)])
def test_hangs_last_until_the_client_leaves(start, fault, some):
    sim = start()
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"x-sim": f"fault={fault}"}))
        wait_for(lambda: sim.summary()["in_flight"] == 1)
        if some:
            assert sock.recv(4096)
        sock.settimeout(0.3)
        got = b""
        with pytest.raises(TimeoutError):
            while piece := sock.recv(4096):
                got += piece
        assert (some or not got) and sim.summary()["in_flight"] == 1
    wait_for(lambda: sim.summary()["outcomes"]["client_gone"] == 1)


def test_drip_truncate_size_chunked_close_header(start):
    sim = start()
    began = time.monotonic()
    assert sim.sim("drip=40/10ms")[0] == 200
    assert time.monotonic() - began > 0.05
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), {"x-sim": "truncate=10"}))
        head, _, body = read_all(sock)[0].partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % (len(body) + 10) in head + b"\r\n" and json.loads(body)
    status, head, data = sim.sim("size=3m")
    assert status == 200 and len(data) == 3 << 20
    assert content(json.loads(data)).startswith("Extract: helloxxx")
    assert len(sim.sim("size=100k status=500")[2]) == 100 << 10
    status, head, data = sim.sim("size=100k chunked=1")
    assert head["transfer-encoding"] == "chunked" and len(json.loads(data)) and \
        len(data) == 100 << 10
    assert sim.sim("close=1")[1]["connection"] == "close"
    assert sim.sim('header="x-cost: 1.35e-05"')[1]["x-cost"] == "1.35e-05"


def test_wrong_bodies(start):
    sim = start()
    for word in ("cut-json", "html", "empty"):
        status, head, data = sim.sim(f"wrong={word}")
        assert status == 200 and int(head["content-length"]) == len(data)
        with pytest.raises(ValueError):
            json.loads(data)
    assert json.loads(sim.sim("wrong=object")[2]) == {}
    assert json.loads(sim.sim("wrong=no-choices")[2])["choices"] == []
    assert sim.sim('body="as it is"')[2] == b"as it is"


def test_spoilt_answers(start):
    sim = start()
    assert content(sim.say("x", "answer=nul")) == "before\0after"
    assert content(sim.say("x", "answer=empty")) == ""
    assert content(sim.say("x", "answer=null")) is None
    assert content(sim.say("x", 'content="my own \\"text\\""')) == 'my own "text"'
    assert sim.say("x", "model-name=other")["model"] == "other"
    filtered = sim.say("x", "refusal=content-filter")["choices"][0]
    assert filtered["finish_reason"] == "content_filter"
    refused = sim.say("x", "refusal=message")["choices"][0]["message"]
    assert refused["content"] is None and refused["refusal"]
    assert sim.say("x", "finish=length")["choices"][0]["finish_reason"] == "length"
    assert "usage" not in sim.say("x", "usage=absent")
    assert sim.say("x", "usage=null")["usage"] is None
    assert sim.say("x", "usage=zero")["usage"]["total_tokens"] == 0
    assert set(sim.say("x", "usage=partial")["usage"]) == {"prompt_tokens"}
    told = [e["usage_told"] for e in sim.lines("end")]
    assert told.count("zero") == 1 and all(e["prompt_tokens"] > 0 for e in sim.lines("end"))


def test_bad_until_reask(start):
    sim = start()
    text = "[[sim: answer=bad-label until-reask=1]] Labels\nlabels: red, blue\n"
    assert content(sim.say(text)) == "no-such-label"
    body = chat(text)
    body["messages"] += [{"role": "assistant", "content": "no-such-label"},
                         {"role": "user", "content": "Answer with one of: other, words"}]
    again = json.loads(sim.ask(body)[2])
    assert content(again) in ("red", "blue")
    assert content(again) == reference.expect(CHAT, body)["choices"][0][0]


# ---- control ----

def test_times_counts_per_job_or_body(start):
    sim = start()
    words = {"x-sim": "status=503 times=2"}
    one, two = job_headers(), job_headers()
    statuses = [sim.ask(chat("x"), headers={**words, **h})[0] for h in (one, two, one, two, one, two)]
    assert statuses == [503] * 4 + [200] * 2
    marked = [sim.ask(chat("[[sim: status=500 times=1]] " + t))[0] for t in ("a", "b", "a", "b")]
    assert marked == [500, 500, 200, 200]
    after = [sim.ask(chat("z"), headers={"x-sim": "status=500 after=1 times=1"})[0]
             for _ in range(3)]
    assert after == [200, 500, 200]


def test_script_selectors(start):
    sim = start(script='# faults\nmodel=bad status=500\ncontains="make it fail" status=502\n'
                       'path=/v1/models status=503\n')
    assert sim.ask({**chat("x"), "model": "bad"})[0] == 500
    assert sim.ask(chat("please make it fail now"))[0] == 502
    assert sim.ask(None, "/v1/models", "GET")[0] == 503
    assert sim.ask(chat("x"))[0] == 200
    assert sim.control("ordinal=2-3 status=500\nevery=5 status=503\n")[0] == 200
    assert [sim.ask(chat("x"))[0] for _ in range(5)] == [200, 500, 500, 200, 503]
    assert sim.control("p=0.3 status=500")[0] == 200
    failed = sum(sim.ask(chat("x"))[0] == 500 for _ in range(200))
    assert 30 < failed < 90
    status, _, data = sim.control("status=500\nstatus=9")
    assert status == 400 and b"line 2" in data
    assert sim.ask(None, "/control", "GET")[2] == b"p=0.3 status=500\n"  # unchanged by the bad one
    assert sim.control("status=504", "?mode=append")[2] == b'{"rules":2}\n'
    assert sim.ask(chat("x"))[0] == 504
    assert sim.control("")[0] == 200 and sim.ask(chat("x"))[0] == 200


def test_slow_start(start):
    sim = start(script="slow-start=1000s\n")
    status, _, data = sim.ask(chat("x"))
    assert status == 503 and "loading" in json.loads(data)["error"]["message"]
    assert sim.control("slow-start=400ms\n")[0] == 200
    wait_for(lambda: sim.ask(chat("x"))[0] == 200, 30)


def latencies(sim, count):
    """Sorted seconds of so many requests at once."""
    sockets = [sim.socket() for _ in range(count)]
    began = time.monotonic()
    for sock in sockets:
        sock.sendall(request_bytes(chat("x")))
    pending, seconds = set(sockets), []
    while pending:
        ready, _, _ = select.select(list(pending), [], [], 10)
        seconds += [time.monotonic() - began] * len(ready)
        pending -= set(ready)
    for sock in sockets:
        sock.close()
    return sorted(seconds)


def test_latency_distributions(start):
    sim = start("--latency", "50ms")
    assert latencies(sim, 5)[0] > 0.049
    sim.control("latency=quantiles:50ms:400ms")

    def median_is_short():
        """A stall of this machine makes replies late, and none early: then it is measured again."""
        found = latencies(sim, 300)
        assert found[150] > 0.03 and found[-1] > 0.15
        return found[150] < 0.12

    wait_for(median_is_short, 60)
    sim.control("latency=uniform:10ms:20ms")
    assert latencies(sim, 50)[0] > 0.009
    for text in ("latency=uniform:20ms:10ms", "latency=fast", "latency=lognormal:5ms"):
        assert sim.control(text)[0] == 400


def test_limits_are_told(start):
    sim = start(script="model=o requests=3 window=60s tell=openai\n"
                       "model=a tokens=1000 window=60s tell=anthropic\n")
    left = []
    for _ in range(4):
        status, head, _ = sim.ask({**chat("x"), "model": "o"})
        left.append((status, head["x-ratelimit-limit-requests"],
                     head["x-ratelimit-remaining-requests"]))
        assert "x-ratelimit-limit-tokens" not in head
    assert left == [(200, "3", "2"), (200, "3", "1"), (200, "3", "0"), (429, "3", "0")]
    assert 50000 < int(head["x-ratelimit-reset-requests"].removesuffix("ms")) <= 60000
    head = sim.ask({**chat("x"), "model": "a"})[1]
    assert head["anthropic-ratelimit-tokens-limit"] == "1000"
    assert 900 < int(head["anthropic-ratelimit-tokens-remaining"]) < 1000
    assert head["anthropic-ratelimit-tokens-reset"].startswith("20")
    assert not any("ratelimit" in name for name in sim.ask(chat("x"))[1])


def test_limits_are_enforced(start):
    sim = start(script="model=h requests=5 window=3600s\nmodel=r requests=2 window=1s\n"
                       "model=t tokens=100 window=100s retry-form=ms\n"
                       "model=c concurrency=2\nmodel=c latency=1000s\n")
    answers = [sim.ask({**chat("x"), "model": "h"}) for _ in range(20)]
    assert [a[0] for a in answers] == [200] * 5 + [429] * 15
    assert all(600 < int(a[1]["retry-after"]) <= 720 for a in answers[5:])
    wait_for(lambda: sim.ask({**chat("x"), "model": "r"})[0] == 429, 30)
    wait_for(lambda: sim.ask({**chat("x"), "model": "r"})[0] == 200, 30)
    big = {**chat("word " * 40), "model": "t"}  # 50 + 38 tokens or so
    assert sim.ask(big)[0] == 200
    status, head, _ = sim.ask(big)
    assert status == 429 and 10_000 < int(head["retry-after-ms"]) <= 100_000

    # Two have the places for as long as they stay, and then others.
    with sim.socket() as one, sim.socket() as two:
        for sock in (one, two):
            sock.sendall(request_bytes({**chat("x"), "model": "c"}))
        wait_for(lambda: sim.summary()["in_flight"] == 2)
        assert [sim.ask({**chat("x"), "model": "c"})[0] for _ in range(2)] == [429, 429]
    wait_for(lambda: sim.summary()["in_flight"] == 0)
    with sim.socket() as one:
        one.sendall(request_bytes({**chat("x"), "model": "c"}))
        wait_for(lambda: sim.summary()["in_flight"] == 1)
        assert sim.ask({**chat("x"), "model": "c"}, headers={"x-sim": "latency=0"})[0] == 200
    assert sim.ask(chat("x"))[0] == 200


# ---- witness ----

def test_witness_lines_and_summary(start, tmp_path):
    prices = tmp_path / "prices"
    prices.write_text("# pico-USD\n* 1 1\nm 1000 3000\n")
    sim = start("--price-table", str(prices))
    job, asked = uuid.uuid4(), time.time()
    answer = sim.say("hello there", headers=job_headers(job, 3))
    answered = time.time()
    usage = answer["usage"]
    price = usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 3000
    summary = sim.summary()
    begin, end = sim.lines("begin")[0], sim.lines("end")[0]
    assert begin["job"] == end["job"] == str(job) and begin["call"] == 3 and begin["path"] == CHAT
    assert asked - 1 < begin["at_us"] / 1e6 < answered + 1 and end["at_us"] >= begin["at_us"]
    assert (end["outcome"], end["status"], end["model"]) == ("replied", 200, "m")
    assert end["price_pusd"] == price == summary["price_pusd"]
    assert end["bytes_in"] > 100 and end["bytes_out"] > 100
    assert summary["requests"] == summary["jobs"] == 1 and summary["jobs_repeated"] == 0
    sim.say("hello there", headers=job_headers(job, 4))
    sim.say("no job")
    summary = sim.summary()
    assert (summary["requests"], summary["jobs"], summary["jobs_repeated"]) == (3, 1, 1)
    assert summary["without_job"] == 1 and summary["overlaps"] == 0
    assert sim.ask(b"", "/witness/reset")[0] == 200
    assert sim.summary()["requests"] == 0


def test_overlaps_are_noticed(start):
    sim = start()
    job = uuid.uuid4()
    with sim.socket() as first, sim.socket() as second:
        first.sendall(request_bytes(chat("x"), {**job_headers(job, 1), "x-sim": "latency=1000s"}))
        wait_for(lambda: sim.summary()["in_flight"] == 1)
        second.sendall(request_bytes(chat("x"), job_headers(job, 2)))
        assert read_reply(second)[0] == 200
    wait_for(lambda: sim.summary()["in_flight"] == 0)
    sim.say("afterwards", headers=job_headers(job, 3))
    summary = sim.summary()
    assert summary["overlaps"] == 1 and summary["in_flight"] == 0
    assert summary["overlapping"] == [{"job": str(job), "call": 2}]
    assert [b.get("overlap") for b in sim.lines("begin")] == [None, True, None]


CRASHER = """
import socket, sys, time
port, requests = int(sys.argv[1]), sys.stdin.buffer.read().split(b"\\0")
sockets = [socket.create_connection(("127.0.0.1", port)) for _ in requests]
for sock, data in zip(sockets, requests):
    sock.sendall(data)
print("sent", flush=True)
time.sleep(60)
"""


def test_client_killed_in_flight_loses_nothing(start):
    sim = start("--latency", "30s")
    jobs = [uuid.uuid4() for _ in range(60)]
    requests = [request_bytes(chat("x"), job_headers(j)) for j in jobs]
    with subprocess.Popen([sys.executable, "-c", CRASHER, str(sim.port)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as client:
        client.stdin.write(b"\0".join(requests))
        client.stdin.close()
        assert client.stdout.readline() == b"sent\n"
        wait_for(lambda: sim.summary()["in_flight"] == 60)
        client.kill()
    wait_for(lambda: sim.summary()["in_flight"] == 0)
    assert sim.summary()["outcomes"]["client_gone"] == 60
    sim.ask(None, "/witness", "GET")
    assert {b["job"] for b in sim.lines("begin")} == {str(j) for j in jobs}
    assert {e["outcome"] for e in sim.lines("end")} == {"client_gone"}


def test_witness_itself_killed_loses_no_answered_request(start):
    sim = start()
    connection = sim.connect()
    jobs = [uuid.uuid4() for _ in range(200)]
    for job in jobs:
        assert sim.ask(chat("x"), headers=job_headers(job), connection=connection)[0] == 200
    sim.process.kill()
    sim.process.wait()
    assert [b["job"] for b in sim.lines("begin")] == [str(j) for j in jobs]


def test_sigterm_flushes_and_marks_what_was_open(start):
    sim = start("--latency", "30s")
    with sim.socket() as sock:
        sock.sendall(request_bytes(chat("x"), job_headers()))
        wait_for(lambda: sim.summary()["in_flight"] == 1)
        assert sim.stop() == 0
    assert [(line["kind"], line.get("outcome")) for line in sim.lines()] == \
        [("begin", None), ("end", "shutdown")]


def test_many_connections_in_flight(start):
    sim = start("--latency", "1000s")

    def send_all():
        sockets = [sim.socket() for _ in range(900)]
        for sock in sockets:
            sock.sendall(request_bytes(chat("x"), job_headers()))
        return sockets

    def close_all(sockets):
        for sock in sockets:
            sock.close()

    held = send_all()
    wait_for(lambda: sim.summary()["in_flight"] == 900)
    close_all(held)
    wait_for(lambda: sim.summary()["in_flight"] == 0)
    assert sim.control("latency=800ms\n")[0] == 200
    answered = send_all()
    assert all(read_reply(sock)[0] == 200 for sock in answered)
    close_all(answered)
    summary = sim.summary()
    assert summary["max_in_flight"] == 900 and summary["jobs"] == 1800
    assert summary["outcomes"]["client_gone"] == 900


def test_command_line(tmp_path):
    def run(*arguments):
        return subprocess.run([f"{BIN}/modelsim", *arguments], capture_output=True, text=True,
                              timeout=10, check=False)

    assert run("--help").returncode == 0 and "--ledger" in run("--help").stdout
    (tmp_path / "bad").write_text("ok=1\n")
    for arguments in (["--nonsense"], ["--port", "x"], ["extra"], ["--latency", "soon"],
                      ["--script", str(tmp_path / "bad")], ["--script", "/nonexistent"],
                      ["--price-table", str(tmp_path / "bad")], ["--models", "a,,b"],
                      ["--witness", "/nonexistent/w"]):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr, arguments


# ---- ledger ----

@pytest.fixture
def ledger():
    """(connection, conninfo) of a scratch database with a table inferq.call."""
    if not os.environ.get("PGHOST"):
        pytest.fail("PGHOST and its kin must name a Postgres (deploy/local/stack env prints them)")
    name = "modelsim_" + uuid.uuid4().hex[:12]
    root = psycopg2.connect(dbname=os.environ.get("PGDATABASE", "postgres"))
    root.autocommit = True
    with root.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    own = psycopg2.connect(dbname=name)
    own.autocommit = True
    with own.cursor() as cursor:
        cursor.execute("CREATE SCHEMA inferq; CREATE TABLE inferq.call"
                       "(job_id uuid, number smallint, PRIMARY KEY (job_id, number))")
    yield own, f"dbname={name}"
    own.close()
    with root.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    root.close()


def claim(connection, job, number):
    """Writes a ledger row."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO inferq.call VALUES (%s, %s)", (str(job), number))


def test_ledger_counts_what_is_missing(start, ledger):
    connection, conninfo = ledger
    sim = start("--ledger", conninfo)
    good, bad, other = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
    claim(connection, good, 1)
    claim(connection, other, 1)
    sim.say("x", headers=job_headers(good, 1))
    sim.say("x", headers=job_headers(bad, 1))
    sim.say("x", headers=job_headers(other, 2))
    sim.say("x")
    summary = sim.summary()
    assert (summary["ledger_checked"], summary["ledger_missing"]) == (3, 2)
    assert summary["missing"] == [{"job": str(bad), "call": 1}, {"job": str(other), "call": 2}]
    assert summary["ledger_unattributed"] == 1 and summary["ledger_late"] == 0
    assert [e["ledger"] for e in sim.lines("end")] == \
        ["present", "missing", "missing", "unattributed"]


def test_ledger_is_asked_before_the_reply_in_batches(start, ledger):
    connection, conninfo = ledger
    sim = start("--ledger", conninfo)
    jobs = [uuid.uuid4() for _ in range(300)]
    for job in jobs[::2]:
        claim(connection, job, 1)
    sockets = [sim.socket() for _ in jobs]
    for sock, job in zip(sockets, jobs):
        sock.sendall(request_bytes(chat("x"), job_headers(job)))
    for sock, job in zip(sockets, jobs):
        assert read_reply(sock)[0] == 200
        sock.close()
    for job in jobs[1::2]:
        claim(connection, job, 1)  # too late: the question was asked before the reply
    summary = sim.summary()
    assert (summary["ledger_checked"], summary["ledger_missing"]) == (300, 150)
    assert {m["job"] for m in summary["missing"]} <= {str(j) for j in jobs[1::2]}


def test_ledger_survives_an_outage(start, ledger):
    connection, conninfo = ledger
    sim = start("--ledger", conninfo)
    jobs = [uuid.uuid4() for _ in range(4)]
    for job in jobs[:3]:
        claim(connection, job, 1)
    sim.say("x", headers=job_headers(jobs[0]))
    with connection.cursor() as cursor:  # every lookup fails from here on
        cursor.execute("ALTER TABLE inferq.call RENAME TO away")
    sim.say("x", headers=job_headers(jobs[1]))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE datname = current_database() AND pid <> pg_backend_pid()")
    sim.say("x", headers=job_headers(jobs[2]))
    sim.say("x", headers=job_headers(jobs[3]))
    assert sim.summary()["ledger_unverified"] == 3
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE inferq.away RENAME TO call")
    wait_for(lambda: sim.summary()["ledger_unverified"] == 0)
    summary = sim.summary()
    assert (summary["ledger_checked"], summary["ledger_missing"]) == (4, 1)
    assert summary["ledger_late"] == 3 and summary["missing"][0]["job"] == str(jobs[3])
    sim.say("x", headers=job_headers(jobs[0]))
    assert sim.summary()["ledger_late"] == 3
    late = sim.lines("ledger")
    assert [(row["job"], row["ledger"]) for row in late] == \
        [(str(jobs[1]), "present"), (str(jobs[2]), "present"), (str(jobs[3]), "missing")]


def test_it_listens_where_it_is_told(tmp_path):
    """On loopback without being told; a container's stand-in is asked from outside."""
    done = subprocess.run([f"{BIN}/modelsim", "--address", "nowhere", "--witness", "/dev/null"],
                          capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2 and "--address nowhere" in done.stderr
    process = subprocess.Popen([f"{BIN}/modelsim", "--address", "127.0.0.2", "--witness",
                                "/dev/null"], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    assert line.startswith("listening 127.0.0.2:")
    socket.create_connection(("127.0.0.2", int(line.rsplit(":", 1)[1])), timeout=10).close()
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()
