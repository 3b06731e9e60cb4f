"""Planted secrets are searched for wherever the programs leave anything (guarantee 7): the credential of
an endpoint whose server repeats it in every place where a server can, Postgres's and Kafka's passwords,
a key that signs.

Looked at: the logs at level debug, every row of every table, every record of every topic with its
headers, /metrics, what `inferq` prints, the settings as printed, the command line; and whether a crash
leaves a core. Looked for: the secret itself, and what it becomes in JSON, in a URL, in base64 and in hex.

What a model answers with 200 is the customer's result, and stored as it came, except that the
endpoint's credential is blanked out of it: it is no part of any honest answer.
"""
import base64
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.parse

import pytest

from checks import conservation, one_ending
from harness import BIN, LANES, Message, model, run, wait_for
from client import read_all, request_bytes  # found by harness

# It has what escapes change: a quote, a slash, plus and ampersand.
KEY = 'p"k/q+r&s-97531'
SIGNING_KEY = hashlib.sha256(b"planted").hexdigest()
SASL_PASSWORD = 'sasl"planted/pass+word&9876543210'


def forms(secret):
    """How it may stand somewhere, besides in JSON: name -> bytes."""
    raw = secret.encode()
    found = {"literal": raw, "hex": raw.hex().encode(),
             "URL": urllib.parse.quote(secret, safe="").encode(),
             "form": urllib.parse.quote_plus(secret, safe="/").encode()}
    # In base64 a piece of text looks in three ways, by where it begins; its ends belong to others.
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw)
        found[f"base64, shifted by {shift}"] = text[(0, 2, 3)[shift]:len(text) - 4]
    return found


def every_byte_escaped(text):
    return "".join(f"\\u{ord(c):04X}" for c in text)


JSON_FORMS = {"JSON": json.dumps(KEY)[1:-1], "JSON of PHP": json.dumps(KEY)[1:-1].replace("/", "\\/"),
              "JSON of .NET": KEY.replace('"', "\\u0022").replace("+", "\\u002B"),
              "JSON of the wary": every_byte_escaped(KEY)}


def unescape(content):
    """What a reader of JSON makes of it, whichever bytes its writer escaped."""
    return re.sub(rb"\\(?:u00([0-9a-fA-F]{2})|([\"\\/]))",
                  lambda m: bytes.fromhex(m[1].decode()) if m[1] else m[2], content)


def holes(secret, where):
    """The places (name -> bytes or text) that hold the secret in some form, in words."""
    for place, content in where.items():
        content = content.encode() if isinstance(content, str) else content
        readings = [(content, form, piece) for form, piece in forms(secret).items()]
        for text, form, piece in [*readings, (unescape(content), "JSON", secret.encode())]:
            at = text.find(piece)
            if at >= 0:
                yield f"{place}: {form}: ...{text[max(0, at - 60):at + 80]!r}"


def tables(world):
    """Every row of every table, whatever tables there are: name -> JSON. Bytes stand there in hex."""
    names = [row[0] for row in world.rows(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = 'inferq' AND relkind IN ('r', 'p') AND NOT relispartition")]
    assert {"result", "call", "parked", "dead_letter", "endpoint", "audit_log"} <= set(names)
    return {f"table {name}": "\n".join(row[0] for row in world.rows(f'SELECT to_jsonb(t)::text FROM "{name}" t'))
            for name in names}


def stored_bytes(world):
    """The columns of bytes, as they are: a secret in several pieces of hex would hide."""
    return {"bodies of results": b"\n".join(bytes(row[0]) for row in world.rows(
                "SELECT body FROM result WHERE body IS NOT NULL")),
            "parked payloads": b"\n".join(bytes(row[0]) for row in world.rows(
                "SELECT payload FROM parked"))}


def topics(world):
    names = [world.topic(lane) for lane in LANES] + [f"{world.name}.dead"]
    return {f"topic {r['topic']} {r['offset']}": b"\n".join(
        [r["key"], r["value"], *[k.encode() + b"=" + v for k, v in r["headers"].items()]])
        for r in world.records(*names)}


def commands(world, batch, env):
    """What the front command says about all of it."""
    jobs = [str(row[0]) for row in world.rows("SELECT DISTINCT job_id FROM call")]
    letters = [str(letter["dead_id"]) for letter in world.letters(batch)]
    asked = [("explain", job) for job in jobs] + [("dead", "show", letter) for letter in letters]
    asked += [("dead", "list"), ("batch", "show", str(batch)), ("results", str(batch)),
              ("results", str(batch), "--failed")]
    assert len(jobs) >= len(SHAPES) and letters
    return {f"inferq {' '.join(words)}": "".join(
        run(BIN / "inferq", *words, env={**world.env, **env}, ok=None).stdout) for words in asked}


# What each model's server does with the key that it was sent; KEY stands for it.
ERROR_BODY = json.dumps({"error": {"message": f"key {KEY}", "type": f"t {KEY}", "code": KEY}})
PLAIN_BODY = json.dumps({"x": {"deep": [f"you sent {KEY}"]}})
SHAPES = {
    **{f"echo-{status}-{shape}": f"status={status} error={shape} echo-key=1"
       for status in (400, 401, 500)
       for shape in ("openai", "openai-strings", "detail", "detail-list", "string", "text")},
    "message": "status=400 message=KEY",
    "code": "status=400 code=KEY",
    "all-members": "status=422 body=ERROR_BODY",
    "foreign-error": "status=418 body=PLAIN_BODY",
    "escaped": "status=400 body=ESCAPED_BODY",
    "redirect": 'status=302 header="Location: http://127.0.0.1:9/KEY"',
    "request-id": 'header="x-request-id: KEY"',
    "request-id-of-error": 'status=400 header="x-request-id: KEY"',
    "retry-after": 'status=429 header="retry-after: KEY" times=1',
    "answer": "content=KEY",
    "answer-within": 'content="it is KEY, is it not"',
    "answer-escaped": "body=ANSWER_ESCAPED",
    "answered-model": "model-name=KEY",
    "finish": "finish=KEY",
    "no-answer": "body=PLAIN_BODY",
    "no-json": "body=KEY",
    "cut": "content=KEY truncate=40 close=1 times=1",
}
SAID = re.compile(r"KEY|ERROR_BODY|PLAIN_BODY|ESCAPED_BODY|ANSWER_ESCAPED")


def script():
    """A rule per model. Where a word's value is a whole name from above, it is put in quotes."""
    values = {"KEY": KEY, "ERROR_BODY": ERROR_BODY, "PLAIN_BODY": PLAIN_BODY,
              "ESCAPED_BODY": '{"detail":"key: %s"}' % every_byte_escaped(KEY),
              "ANSWER_ESCAPED": '{"model":"m","choices":[{"message":{"role":"assistant","content":'
                                '"%s"},"finish_reason":"stop"}]}' % JSON_FORMS["JSON of .NET"]}
    lines = []
    for name, words in SHAPES.items():
        words = re.sub(rf"(?<==)({SAID.pattern})(?= |$)", r'"\1"', words)
        escape = {"\\": "\\\\", '"': '\\"'}
        words = SAID.sub(lambda m: re.sub(r'["\\]', lambda c: escape[c[0]], values[m[0]]), words)
        lines.append(f"model={name} {words}")
    return "\n".join(lines) + "\n"


def core_is_dumped(pid):
    """How a child ended; it stays to be waited for."""
    how = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert how.si_status == signal.SIGABRT
    return how.si_code == os.CLD_DUMPED


def with_cores(tmp_path, program):
    """A script that runs the program with cores allowed, where it may."""
    path = tmp_path / f"with-cores-{pathlib.Path(program).name}"
    path.write_text(f'#!/bin/sh\ncd "{tmp_path}"\nulimit -c unlimited 2>/dev/null\nexec "{program}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def leaky(worlds, tmp_path_factory):
    """A world in which everything that was planted had its chance, with a worker that still runs."""
    tmp = tmp_path_factory.mktemp("secrets")
    credential = tmp / "credential"
    credential.write_text(KEY + "\n")
    signing, keys = tmp / "signing.key", tmp / "signature.keys"
    signing.write_text(f"k1:{SIGNING_KEY}\n")
    keys.write_text(f"pipe k1:{SIGNING_KEY}\n")
    world = worlds(models=[model(name, credential=f"file:{credential}") for name in SHAPES],
                   script=script())
    world.settings = {"INFERQ_SIGNING_KEY": f"file:{signing}",
                      "INFERQ_KAFKA_SASL_PASSWORD": SASL_PASSWORD,
                      "INFERQ_KAFKA_SASL_USERNAME": "planted-user"}
    world.worker = world.start_worker(
        binary=with_cores(tmp, BIN / "inferq-worker"), env=world.settings, log__level="debug",
        signature__check="require", signature__keys=f"file:{keys}", catalogue=world.catalogue_file)
    lines = [json.dumps({"custom_id": name, "model": name, "max_tokens": 200, "messages": [
        {"role": "user", "content": f"about {name}"}]}) for name in SHAPES]
    world.batch = world.submit("--format", "jsonl", "-", stdin="\n".join(lines) + "\n", env=world.settings)
    forged = Message(app="pipe")
    world.produce(forged.pack("forged"), headers={"inferq-signature": "v1:k:00"})
    waiting = sum("401" in name for name in SHAPES)
    wait_for(lambda: world.value("SELECT count(*) FROM result") == len(SHAPES) - waiting and
             world.value("SELECT count(*) FROM parked") == waiting, 60, "everything that was planted")
    wait_for(lambda: not world.value("SELECT count(*) FROM dead_letter WHERE published_at IS NULL"),
             60, "letters that are published")
    return world


def everything(world):
    printed = run(BIN / "inferq-worker", "--print-config", "--catalogue", world.catalogue_file,
                  env={**world.env, **world.settings})
    return {"log": world.worker.log(), "/metrics": world.worker.get("/metrics")[1],
            "/readyz": world.worker.get("/readyz")[1], **tables(world), **stored_bytes(world),
            **topics(world), **commands(world, world.batch, world.settings),
            "--print-config": printed.stdout + printed.stderr,
            "command line": pathlib.Path(f"/proc/{world.worker.pid}/cmdline").read_bytes()}


def test_planted_secrets_are_nowhere(leaky):
    where = everything(leaky)
    planted = {"credential": KEY, "SASL password": SASL_PASSWORD, "signing key": SIGNING_KEY,
               "Postgres's password": os.environ.get("PGPASSWORD", SASL_PASSWORD)}
    found = [f"{name} in {hole}" for name, secret in planted.items() for hole in holes(secret, where)]
    assert not found, "\n".join(found)


def test_the_key_was_really_sent_and_repeated(leaky):
    """Otherwise nothing could have leaked: each server was asked, with the key, and said it."""
    assert set(SHAPES) <= {line["model"] for line in leaky.sim.lines("end")}
    for name in SHAPES:
        head = {"Authorization": f"Bearer {KEY}", "Connection": "close"}
        body = {"model": name, "messages": [{"role": "user", "content": f"once more {name}"}]}
        with leaky.sim.socket() as sock:
            sock.sendall(request_bytes(body, head))
            said, _ = read_all(sock)
        assert list(holes(KEY, {"reply": said})), (name, said)


def test_an_answer_keeps_all_but_the_key(leaky):
    """The rest of a 200 is the customer's, to the byte."""
    results = leaky.results(leaky.batch)
    stars = "*" * len(JSON_FORMS["JSON"])  # as it was written
    assert results["answer"]["answer"] == stars
    assert results["answer-within"]["answer"] == f"it is {stars}, is it not"
    assert results["request-id"]["answer"].startswith("Extract: ")


def test_the_search_finds_what_is_there(leaky):
    """Each form of a secret, in each kind of place."""
    pieces = {**forms(KEY), **{form: text.encode() for form, text in JSON_FORMS.items()}}
    for form, piece in pieces.items():
        assert list(holes(KEY, {"here": b"before " + piece + b" after"})), form
    leaky.rows("INSERT INTO audit_log (actor, action, subject) VALUES ('test', 'plants', %s)", KEY)
    try:
        assert any("audit_log" in hole for hole in holes(KEY, tables(leaky)))
    finally:
        leaky.rows("DELETE FROM audit_log WHERE actor = 'test'")


def test_a_crash_leaves_no_core(leaky, tmp_path):
    """Even where cores are allowed: the worker does not let itself be dumped."""
    other = subprocess.Popen([with_cores(tmp_path, "/bin/sleep"), "60"])
    wait_for(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n", what="sleep")
    other.send_signal(signal.SIGABRT)
    dumps_here = core_is_dumped(other.pid)
    other.wait()
    if not dumps_here:
        pytest.skip("this machine lets nobody leave a core")
    leaky.worker.signal(signal.SIGABRT)
    assert not core_is_dumped(leaky.worker.pid)
    leaky.worker.process.wait()
    assert not [*conservation(leaky), *one_ending(leaky)]
